// Correlation of one plane with a kernel of any odd size, zero outside.
#pragma once
#include "spans.h"

namespace aafast::AAFAST_ISA {

// in[row, at + lane] of a plane [height, width] for every lane, zero where that is no column of the row.
template <class T>
AAFAST_INLINE Vec<T> window(const T* plane, i64 height, i64 width, i64 row, i64 at) {
  constexpr int W = kWidth<T>;
  typedef typename VectorOf<T>::bits Bits;
  const i64 from = row * width + at;
  if (at >= 0 && at + W <= width) return load(plane + from);
  if (from >= 0 && from + W <= height * width) {  // a neighbouring row is read and left out
    Bits column;
    for (int lane = 0; lane < W; ++lane) column[lane] = lane;
    column += Bits{} + decltype(column[0] + 0)(at);
    return (column >= 0) & (column < Bits{} + decltype(column[0] + 0)(width)) ? load(plane + from) : Vec<T>{};
  }
  Vec<T> v{};
  for (int lane = 0; lane < W; ++lane)
    if (at + lane >= 0 && at + lane < width) v[lane] = plane[from + lane];
  return v;
}

template <class T>
struct Correlation {
  int height, width;
  int tall, wide;   // of the kernel, odd
  const T* kernel;  // [tall, wide]
  bool reverse;     // the kernel turned by half a turn
  bool add;
};

template <class T, int N>
AAFAST_INLINE void correlate_block(const Correlation<T>& job, const T* in, T* out, int i, int j) {
  constexpr int W = kWidth<T>;
  const int up = job.tall / 2, left = job.wide / 2;
  const int first = i < up ? up - i : 0;
  const int last = i + job.tall - up > job.height ? job.height + up - i : job.tall;
  Vec<T> sum[N] = {};
  for (int a = first; a < last; ++a)
    for (int b = 0; b < job.wide; ++b) {
      const int tap = a * job.wide + b;
      const Vec<T> weight = all(job.kernel[job.reverse ? job.tall * job.wide - 1 - tap : tap]);
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n)
        sum[n] += weight * window(in, job.height, job.width, i + a - up, j + b - left + n * W);
    }
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n) {
    T* to = out + i64(i) * job.width + j + n * W;
    const int rest = job.width - j - n * W, count = rest < W ? rest : W;
    store(to, job.add ? load(to, count) + sum[n] : sum[n], count);
  }
}

template <class T>
void correlate(const Correlation<T>& job, const T* in, T* out) {
  constexpr int W = kWidth<T>;
  for (int i = 0; i < job.height; ++i)
    for (int j = 0; j < job.width;) {
      const int vectors = (job.width - j + W - 1) / W;
      switch (vectors < 4 ? vectors : 4) {
        case 1: correlate_block<T, 1>(job, in, out, i, j); j += W; break;
        case 2: correlate_block<T, 2>(job, in, out, i, j); j += 2 * W; break;
        case 3: correlate_block<T, 3>(job, in, out, i, j); j += 3 * W; break;
        default: correlate_block<T, 4>(job, in, out, i, j); j += 4 * W;
      }
    }
}

}  // namespace aafast::AAFAST_ISA
