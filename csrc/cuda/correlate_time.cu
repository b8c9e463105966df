// Correlation of sections along time: a kernel of one column; and its gradient in the kernel.
#include "correlate.cuh"
#include "warp.cuh"

namespace aafast {
namespace {

constexpr int kTallTaps = 64;    // of a kernel, staged at a time
constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kTaps = 8;         // of the gradient, made by one block
constexpr int kTimes = 4;        // times of a section that a thread takes together
constexpr int kInOneSum = 16;    // such groups added before the sum is kept in double

template <class T>
struct KernelGradient {
  int time, traces, taps;
  bool reverse;
  const T *gradient, *in;
  const std::int8_t* status;
  T* out;
};

template <class T>
struct GradientShared {
  double sums[kWarps][kTaps];
};

template <class T>
__global__ void __launch_bounds__(kThreads) correlate_time_kernel_kernel(KernelGradient<T> job, int groups) {
  AAFAST_SHARED(GradientShared<T>, shared);
  const i64 sample = blockIdx.x / groups, size = i64(job.time) * job.traces;
  if (stopped(job.status, sample)) return;
  const int first = blockIdx.x % groups * kTaps;
  const int thread = threadIdx.x, lane = thread % kWarp, warp = thread / kWarp;
  const T *gradient = job.gradient + sample * size, *in = job.in + sample * size;
  const i64 items = i64((job.time + kTimes - 1) / kTimes) * job.traces;
  double totals[kTaps] = {};
  T sums[kTaps] = {};
  int held = 0;
#pragma unroll 1
  for (i64 item = thread; item < items; item += kThreads) {
    const int x = int(item % job.traces), t = int(item / job.traces) * kTimes;
    T g[kTimes];
#pragma unroll
    for (int r = 0; r < kTimes; ++r) g[r] = t + r < job.time ? gradient[i64(t + r) * job.traces + x] : T(0);
#pragma unroll
    for (int j = 0; j < kTaps + kTimes - 1; ++j) {
      const int row = t + j + first - job.taps / 2;
      const T v = row >= 0 && row < job.time ? in[i64(row) * job.traces + x] : T(0);
#pragma unroll
      for (int r = 0; r < kTimes; ++r)
        if (j >= r && j - r < kTaps) sums[j - r] += g[r] * v;
    }
    if (++held < kInOneSum) continue;
    held = 0;
#pragma unroll
    for (int k = 0; k < kTaps; ++k) {
      totals[k] += double(sums[k]);
      sums[k] = 0;
    }
  }
#pragma unroll
  for (int k = 0; k < kTaps; ++k) {
    const double total = warp_sum(totals[k] + double(sums[k]));
    if (lane == 0) shared.sums[warp][k] = total;
  }
  __syncthreads();
  const int tap = first + thread;
  if (thread >= kTaps || tap >= job.taps) return;
  double total = 0;
  for (int w = 0; w < kWarps; ++w) total += shared.sums[w][thread];
  job.out[sample * job.taps + (job.reverse ? job.taps - 1 - tap : tap)] = T(total);
}

}  // namespace

template <class T>
void correlate_time_cuda(i64 batch, int time, int traces, int taps, const T* kernels, i64 stride, bool reverse,
                         bool add, const T* in, const std::int8_t* status, const Where& where, T* out) {
  const Correlation<T> job{1, time, traces, taps, 1, kernels, stride, 0, reverse, add, in, status, out};
  launch_correlation<kTallTaps, 1>("launching correlate_time", job, batch, where);
}

template <class T>
void correlate_time_kernel_cuda(i64 batch, int time, int traces, int taps, bool reverse, const T* gradient,
                                const T* in, const std::int8_t* status, const Where& where, T* out) {
  const int groups = int(divide_up(taps, kTaps));
  launch_blocks("launching correlate_time_kernel", where, batch * groups, kThreads, correlate_time_kernel_kernel<T>,
                KernelGradient<T>{time, traces, taps, reverse, gradient, in, status, out}, groups);
}

#define AAFAST_INSTANTIATE(T)                                                                                       \
  template void correlate_time_cuda(i64, int, int, int, const T*, i64, bool, bool, const T*, const std::int8_t*,    \
                                    const Where&, T*);                                                              \
  template void correlate_time_kernel_cuda(i64, int, int, int, bool, const T*, const T*, const std::int8_t*,        \
                                           const Where&, T*);

AAFAST_INSTANTIATE(float)
AAFAST_INSTANTIATE(double)

}  // namespace aafast
