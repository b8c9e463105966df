#include "correlate.h"
#include "kernels.h"

namespace aafast::AAFAST_ISA {
namespace {

template <class T>
void correlate_time(int time, int traces, int taps, const T* kernel, bool reverse, bool add, const T* in, T* out) {
  correlate<T, kRows>(Correlation<T>{time, traces, taps, 1, kernel, reverse, add}, in, out);
}

// Each vector of `in` meets kRows rows of the gradient while it is in a register, for this many taps at once.
constexpr int kTaps = 8;

template <class T>
void correlate_time_kernel(int time, int traces, int taps, const T* gradient, const T* in, T* out) {
  const int chunk = (int(kSumChunk<T> / traces) / kRows + 1) * kRows;
  for (int k = 0; k < taps; k += kTaps) {
    double sums[kTaps] = {};
    for (int begin = 0; begin < time; begin += chunk) {
      const int end = begin + chunk < time ? begin + chunk : time;
      Vec<T> sum[kTaps] = {};
      for (int t = begin; t < end; t += kRows)
        for (int x = 0; x < traces; x += kWidth<T>) {
          Vec<T> g[kRows];
#pragma GCC unroll 8
          for (int r = 0; r < kRows; ++r)
            g[r] = t + r < end ? window(gradient, time, traces, t + r, x) : Vec<T>{};
#pragma GCC unroll 16
          for (int j = 0; j < kTaps + kRows - 1; ++j) {
            const int row = t + j + k - taps / 2;
            if (row < 0 || row >= time) continue;
            const Vec<T> v = window(in, time, traces, row, x);
#pragma GCC unroll 8
            for (int r = 0; r < kRows; ++r)
              if (j >= r && j - r < kTaps) sum[j - r] += g[r] * v;
          }
        }
      for (int n = 0; n < kTaps; ++n) sums[n] += total<T>(sum[n]);
    }
    for (int n = 0; n < kTaps && k + n < taps; ++n) out[k + n] = T(sums[n]);
  }
}

}  // namespace

template <class T>
void wavelet_entries(Pointwise<T>& table) {
  table.correlate_time = correlate_time<T>;
  table.correlate_time_kernel = correlate_time_kernel<T>;
}

template void wavelet_entries(Pointwise<float>&);
template void wavelet_entries(Pointwise<double>&);

}  // namespace aafast::AAFAST_ISA
