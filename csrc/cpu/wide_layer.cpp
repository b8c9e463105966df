#include "aafast/wide_layer.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

namespace aafast {
namespace {

template <class T>
const Conv3x3<T>& kernels(int inputs, int outputs) {
  const int channels[2] = {inputs, outputs};
  const Conv3x3<T>* found = conv3x3<T>(channels, 2);
  if (!found) throw std::invalid_argument("channels fit no instruction set's vectors: make them a multiple of 4");
  return *found;
}

void reduce(const double* jobs, int count, int channels, double* sums) {
  std::fill(sums, sums + 2 * channels, 0.0);
  for (int job = 0; job < count; ++job)
    for (int i = 0; i < 2 * channels; ++i) sums[i] += jobs[i64(job) * 2 * channels + i];
}

}  // namespace

template <class T>
void wide_forward(const WideLayer<T>& l, const T* x, const T* a, const T* b, T* y, double* sums, int threads) {
  const Conv3x3<T>& k = kernels<T>(l.inputs, l.outputs);
  const int jobs = k.winograd_jobs(l.tile, l.image);
  const i64 in = l.image.pixels() * l.inputs, out = l.image.pixels() * l.outputs;
  const i64 scratch = k.winograd_scratch(l.tile, l.image, l.inputs, l.outputs);
#pragma omp parallel num_threads(threads)
  {
    std::vector<T> own(scratch);
    std::vector<double> parts(i64(jobs) * 2 * l.outputs);
#pragma omp for schedule(dynamic, 1)
    for (i64 n = 0; n < l.batch; ++n) {
      const Source<T> source{Read::gelu, x + n * in, nullptr, a, b, nullptr};
      const Target<T> target{Write::sums, y + n * out, nullptr, nullptr, nullptr, nullptr, parts.data()};
      for (int job = 0; job < jobs; ++job)
        k.winograd(l.tile, l.image, l.inputs, l.outputs, source, l.packed, target, job, own.data());
      reduce(parts.data(), jobs, l.outputs, sums + n * 2 * l.outputs);
    }
  }
}

template <class T>
void wide_input_gradient(const WideLayer<T>& l, const T* d, const T* h, const T* pqr, const T* x, const T* a, const T* b,
                         T* d_x, double* sums, int threads) {
  const Conv3x3<T>& k = kernels<T>(l.inputs, l.outputs);
  const int jobs = k.winograd_jobs(l.tile, l.image);
  const i64 in = l.image.pixels() * l.inputs, out = l.image.pixels() * l.outputs;
  const i64 scratch = k.winograd_scratch(l.tile, l.image, l.outputs, l.inputs);
#pragma omp parallel num_threads(threads)
  {
    std::vector<T> own(scratch);
    std::vector<double> parts(i64(jobs) * 2 * l.inputs);
#pragma omp for schedule(dynamic, 1)
    for (i64 n = 0; n < l.batch; ++n) {
      const Source<T> source{Read::gradient, d + n * out, h + n * out, pqr, pqr + l.outputs, pqr + 2 * l.outputs};
      const Target<T> target{Write::gelu_gradient, d_x + n * in, nullptr, x + n * in, a, b, parts.data()};
      for (int job = 0; job < jobs; ++job)
        k.winograd(l.tile, l.image, l.outputs, l.inputs, source, l.packed, target, job, own.data());
      reduce(parts.data(), jobs, l.inputs, sums + n * 2 * l.inputs);
    }
  }
}

template <class T>
void wide_weight_gradient(const WideLayer<T>& l, const T* x, const T* a, const T* b, const T* d, const T* h, const T* pqr,
                          T* gradient, int threads) {
  const Conv3x3<T>& k = kernels<T>(l.inputs, l.outputs);
  const int jobs = k.winograd_weight_jobs(l.tile, l.image);
  const i64 in = l.image.pixels() * l.inputs, out = l.image.pixels() * l.outputs;
  const i64 part = k.winograd_weight_partial(l.tile, l.inputs, l.outputs);
  const i64 scratch = k.winograd_weight_scratch(l.tile, l.image, l.inputs, l.outputs);
#pragma omp parallel num_threads(threads)
  {
    std::vector<T> own(scratch), parts(jobs * part);
#pragma omp for schedule(dynamic, 1)
    for (i64 n = 0; n < l.batch; ++n) {
      const Source<T> source{Read::gelu, x + n * in, nullptr, a, b, nullptr};
      const Source<T> towards{Read::gradient, d + n * out, h + n * out, pqr, pqr + l.outputs, pqr + 2 * l.outputs};
      for (int job = 0; job < jobs; ++job)
        k.winograd_weight(l.tile, l.image, l.inputs, l.outputs, source, towards, job, parts.data() + job * part,
                          own.data());
      k.winograd_weight_finish(l.tile, l.inputs, l.outputs, parts.data(), jobs,
                               gradient + n * i64(l.inputs) * l.outputs * 9);
    }
  }
}

template <class T>
i64 wide_packed_size(int inputs, int outputs, int tile) {
  return kernels<T>(inputs, outputs).winograd_packed(tile, inputs, outputs);
}

template <class T>
void wide_pack(const T* weight, int inputs, int outputs, int tile, bool adjoint, T* packed) {
  kernels<T>(inputs, outputs).winograd_pack(tile, weight, inputs, outputs, adjoint, packed);
}

#define AAFAST_INSTANTIATE(T)                                                                                      \
  template void wide_forward(const WideLayer<T>&, const T*, const T*, const T*, T*, double*, int);                 \
  template void wide_input_gradient(const WideLayer<T>&, const T*, const T*, const T*, const T*, const T*, const T*, \
                                    T*, double*, int);                                                             \
  template void wide_weight_gradient(const WideLayer<T>&, const T*, const T*, const T*, const T*, const T*,        \
                                     const T*, T*, int);                                                           \
  template i64 wide_packed_size<T>(int, int, int);                                                                 \
  template void wide_pack(const T*, int, int, int, bool, T*);

AAFAST_INSTANTIATE(float)
AAFAST_INSTANTIATE(double)

}  // namespace aafast
