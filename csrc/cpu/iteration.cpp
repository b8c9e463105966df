#include "aafast/iteration.h"

#include <algorithm>

#include "aafast/threads.h"

namespace aafast {
namespace {

AdamwRule rule_of(const std::vector<AdamwRule>& rules, i64 set) { return rules[rules.size() == 1 ? 0 : set]; }

template <class T>
AdamwState<T> moved(const AdamwState<T>& s, i64 at) {
  return {s.theta + at, s.first + at, s.second + at, s.theta_out + at, s.first_out + at, s.second_out + at};
}

constexpr int kRows = 16;  // rows of a weight that one thread takes at a time

}  // namespace

template <class T>
void adamw_cpu(const std::vector<AdamwRule>& rules, i64 sets, i64 n, const T* gradient, const AdamwState<T>& state,
               int threads) {
  const Pointwise<T>& k = pointwise<T>();
  const i64 chunks = divide_up(n, kChunk);
#pragma omp parallel for num_threads(threads) if (threads > 1 && sets * chunks > 1) schedule(static)
  for (i64 job = 0; job < sets * chunks; ++job) {
    const i64 set = job / chunks, at = set * n + job % chunks * kChunk, end = (set + 1) * n;
    k.adamw(rule_of(rules, set), std::min(kChunk, end - at), gradient + at, moved(state, at));
  }
}

template <class T>
void adamw_outer_cpu(const AdamwRule& rule, int batch, int outputs, int inputs, const T* left, const T* right,
                     const AdamwState<T>& state, int threads) {
  const Pointwise<T>& k = pointwise<T>();
  const int jobs = int(divide_up(outputs, kRows));
#pragma omp parallel for num_threads(threads) if (threads > 1 && jobs > 1) schedule(static)
  for (int job = 0; job < jobs; ++job)
    k.adamw_outer(rule, batch, outputs, inputs, left, right, job * kRows, std::min(outputs, (job + 1) * kRows), state);
}

template <class T>
void correlate_time_cpu(i64 batch, int time, int traces, int taps, const T* kernels, i64 stride, bool reverse, bool add,
                        const T* in, T* out, int threads) {
  const Pointwise<T>& k = pointwise<T>();
  const i64 size = i64(time) * traces;
#pragma omp parallel for num_threads(threads) if (threads > 1 && batch > 1) schedule(static)
  for (i64 b = 0; b < batch; ++b)
    k.correlate_time(time, traces, taps, kernels + b * stride, reverse, add, in + b * size, out + b * size);
}

template <class T>
void correlate_time_kernel_cpu(i64 batch, int time, int traces, int taps, const T* gradient, const T* in, T* out,
                               int threads) {
  const Pointwise<T>& k = pointwise<T>();
  const i64 size = i64(time) * traces;
#pragma omp parallel for num_threads(threads) if (threads > 1 && batch > 1) schedule(static)
  for (i64 b = 0; b < batch; ++b)
    k.correlate_time_kernel(time, traces, taps, gradient + b * size, in + b * size, out + b * taps);
}

template <class T>
void correlate_planes_cpu(i64 batch, int channels, int height, int width, int size, const T* kernels, i64 sample_stride,
                          i64 channel_stride, bool reverse, const T* in, T* out, int threads) {
  const Pointwise<T>& k = pointwise<T>();
  const i64 pixels = i64(height) * width;
#pragma omp parallel for num_threads(threads) if (threads > 1 && batch * channels > 1) schedule(static)
  for (i64 p = 0; p < batch * channels; ++p)
    k.correlate_plane(height, width, size, kernels + p / channels * sample_stride + p % channels * channel_stride,
                      reverse, in + p * pixels, out + p * pixels);
}

template <class T>
void correlate_separable_cpu(i64 batch, int channels, int height, int width, int size, const T* columns, const T* rows,
                             i64 sample_stride, i64 channel_stride, bool reverse, const T* in, T* scratch, T* out,
                             int threads) {
  const Pointwise<T>& k = pointwise<T>();
  const i64 pixels = i64(height) * width;
#pragma omp parallel for num_threads(threads) if (threads > 1 && batch * channels > 1) schedule(static)
  for (i64 p = 0; p < batch * channels; ++p) {
    const i64 kernel = p / channels * sample_stride + p % channels * channel_stride;
    k.correlate_separable(height, width, size, columns + kernel, rows + kernel, reverse, in + p * pixels,
                          scratch + thread_number() * pixels, out + p * pixels);
  }
}

template <class T>
void additive_seeds_cpu(i64 batch, Planes planes, int f_channels, double scale, double gamma, const T* nominal,
                        const T* f, const T* y, T* d_nominal, T* d_f, double* misfit, int threads) {
  const Pointwise<T>& k = pointwise<T>();
  const i64 size = planes.channels * planes.pixels, f_size = f_channels * planes.pixels;
#pragma omp parallel for num_threads(threads) if (threads > 1 && batch > 1) schedule(static)
  for (i64 b = 0; b < batch; ++b)
    misfit[b] = k.additive_seeds(planes, f_channels, scale, gamma, nominal + b * size, f + b * f_size, y + b * size,
                                 d_nominal + b * size, d_f + b * f_size);
}

template <class T>
void haze_seeds_cpu(i64 batch, Planes planes, double scale, double gamma, const T* nominal, const T* light,
                    const T* logit, const T* y, T* d_nominal, T* d_light, T* d_logit, double* misfit, int threads) {
  const Pointwise<T>& k = pointwise<T>();
  const i64 size = planes.channels * planes.pixels;
#pragma omp parallel for num_threads(threads) if (threads > 1 && batch > 1) schedule(static)
  for (i64 b = 0; b < batch; ++b) {
    const i64 at = b * size;
    misfit[b] = k.haze_seeds(planes, scale, gamma, nominal + at, light + at, logit + at, y + at, d_nominal + at,
                             d_light + at, d_logit + at);
  }
}

template <class T>
void prox_point_cpu(i64 n, double step, const T* x, const T* z, const T* start, T* point, int threads) {
  const Pointwise<T>& k = pointwise<T>();
  const i64 chunks = divide_up(n, kChunk);
#pragma omp parallel for num_threads(threads) if (threads > 1 && chunks > 1) schedule(static)
  for (i64 c = 0; c < chunks; ++c) {
    const i64 at = c * kChunk;
    k.prox_point(std::min(kChunk, n - at), step, x + at, z + at, start ? start + at : nullptr, point + at);
  }
}

#define AAFAST_INSTANTIATE(T)                                                                                         \
  template void adamw_cpu(const std::vector<AdamwRule>&, i64, i64, const T*, const AdamwState<T>&, int);              \
  template void adamw_outer_cpu(const AdamwRule&, int, int, int, const T*, const T*, const AdamwState<T>&, int);      \
  template void correlate_time_cpu(i64, int, int, int, const T*, i64, bool, bool, const T*, T*, int);                 \
  template void correlate_time_kernel_cpu(i64, int, int, int, const T*, const T*, T*, int);                           \
  template void correlate_planes_cpu(i64, int, int, int, int, const T*, i64, i64, bool, const T*, T*, int);           \
  template void correlate_separable_cpu(i64, int, int, int, int, const T*, const T*, i64, i64, bool, const T*, T*, T*, \
                                        int);                                                                         \
  template void additive_seeds_cpu(i64, Planes, int, double, double, const T*, const T*, const T*, T*, T*, double*,   \
                                   int);                                                                              \
  template void haze_seeds_cpu(i64, Planes, double, double, const T*, const T*, const T*, const T*, T*, T*, T*,       \
                               double*, int);                                                                         \
  template void prox_point_cpu(i64, double, const T*, const T*, const T*, T*, int);

AAFAST_INSTANTIATE(float)
AAFAST_INSTANTIATE(double)

}  // namespace aafast
