#include "aafast/z_step.h"

#include <algorithm>
#include <cmath>

namespace aafast {
namespace {

template <class T>
AAFAST_INLINE void step_range(const T* z, const T* g, i64 n, T keep, T lr, T eps, T* out) {
  for (i64 i = 0; i < n; ++i) out[i] = z[i] * keep - lr * g[i] / (std::abs(g[i]) + eps);
}

AAFAST_CLONES void step(const float* z, const float* g, i64 n, float keep, float lr, float eps, float* out) {
  step_range(z, g, n, keep, lr, eps, out);
}

AAFAST_CLONES void step(const double* z, const double* g, i64 n, double keep, double lr, double eps,
                        double* out) {
  step_range(z, g, n, keep, lr, eps, out);
}

}  // namespace

template <class T>
void z_step_cpu(const T* z, const T* g, i64 n, double keep, double lr, double eps, int threads, T* out) {
  const i64 chunks = divide_up(n, kChunk);
#pragma omp parallel for num_threads(threads) if (chunks > 1 && threads > 1) schedule(static)
  for (i64 c = 0; c < chunks; ++c) {
    const i64 at = c * kChunk;
    step(z + at, g + at, std::min(kChunk, n - at), T(keep), T(lr), T(eps), out + at);
  }
}

template void z_step_cpu(const float*, const float*, i64, double, double, double, int, float*);
template void z_step_cpu(const double*, const double*, i64, double, double, double, int, double*);

}  // namespace aafast
