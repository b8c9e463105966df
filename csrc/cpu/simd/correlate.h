// Correlation of one plane with a kernel of any odd size, zero outside.
#pragma once
#include "spans.h"

namespace aafast::AAFAST_ISA {

constexpr int kRows = 4;  // of a plane that one vector in a register serves

// in[row, at + lane] of a plane [height, width] for every lane, zero where that is no column of the row.
template <class T>
AAFAST_INLINE Vec<T> window(const T* plane, i64 height, i64 width, i64 row, i64 at) {
  constexpr int W = kWidth<T>;
  typedef typename VectorOf<T>::bits Bits;
  const i64 from = row * width + at;
  if (at >= 0 && at + W <= width) return load(plane + from);
  if (from >= 0 && from + W <= height * width) {  // a neighbouring row is read and left out
    Bits lanes;
    for (int lane = 0; lane < W; ++lane) lanes[lane] = lane;
    const Bits column = lanes + int(at);
    return (column >= 0) & (column < int(width)) ? load(plane + from) : Vec<T>{};
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

// R rows and N vectors of columns of the output from (i, j) on. A vector of the input is loaded once for the rows that
// need it. `inside`: no tap leaves the columns of the plane.
template <class T, int R, int N, bool inside>
void correlate_block(const Correlation<T>& job, const T* in, T* out, int i, int j) {
  constexpr int W = kWidth<T>;
  const int up = job.tall / 2, left = job.wide / 2;
  const int step = job.reverse ? -1 : 1;
  const T* kernel = job.kernel + (job.reverse ? job.tall * job.wide - 1 : 0);
  const int begin = i > up ? i - up : 0;
  const int end = i + R + up < job.height ? i + R + up : job.height;
  Vec<T> sum[R][N] = {};
  for (int row = begin; row < end; ++row) {
    const int tap = row - i + up;  // of this row for the first output row; one less for each one after it
    const int first = tap < job.tall ? 0 : tap - job.tall + 1, last = tap < R ? tap + 1 : R;
    for (int b = 0; b < job.wide; ++b) {
      Vec<T> v[N];
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) {
        const i64 at = j + b - left + n * W;
        v[n] = inside ? load(in + i64(row) * job.width + at) : window(in, job.height, job.width, row, at);
      }
      auto weight = [&](int r) AAFAST_LAMBDA { return all(kernel[((tap - r) * job.wide + b) * step]); };
      if (first == 0 && last == R) {
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
          for (int n = 0; n < N; ++n) sum[r][n] += weight(r) * v[n];
      } else {
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r)
          if (r >= first && r < last)
#pragma GCC unroll 4
            for (int n = 0; n < N; ++n) sum[r][n] += weight(r) * v[n];
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    if (i + r >= job.height) break;
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      T* to = out + i64(i + r) * job.width + j + n * W;
      const int rest = job.width - j - n * W, count = inside || rest > W ? W : rest;
      store(to, job.add ? load(to, count) + sum[r][n] : sum[r][n], count);
    }
  }
}

// R: rows of the output taken at once, 1 for a kernel of one row.
template <class T, int R>
void correlate(const Correlation<T>& job, const T* in, T* out) {
  constexpr int W = kWidth<T>;
  const int left = job.wide / 2;
  for (int i = 0; i < job.height; i += R)
    for (int j = 0; j < job.width;) {
      const int columns = j < left ? 0 : job.width - left - j;  // that an `inside` block may take
      if (columns >= 3 * W)
        correlate_block<T, R, 3, true>(job, in, out, i, j), j += 3 * W;
      else if (columns >= W)
        correlate_block<T, R, 1, true>(job, in, out, i, j), j += W;
      else
        correlate_block<T, R, 1, false>(job, in, out, i, j), j += W;
    }
}

}  // namespace aafast::AAFAST_ISA
