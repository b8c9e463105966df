#include "aafast/anderson_mix.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

namespace aafast {
namespace {

constexpr int kSide = kMaxRows + 1;
constexpr int kSums = kMaxRows + 1;  // <G_i, G_newest> for every valid row, then ||F_newest||^2
constexpr int kLanes = 16;           // independent partial sums, so that the compiler may use vectors
constexpr i64 kBlock = 1024;         // elements of G_newest kept in the first-level cache while rows pass by

// Sum of a[j] * b[j] in double, in an order fixed by n alone.
template <class T>
AAFAST_INLINE double dot(const T* a, const T* b, i64 n) {
  double lane[kLanes] = {};
  i64 j = 0;
  for (; j + kLanes <= n; j += kLanes)
    for (int l = 0; l < kLanes; ++l) lane[l] += double(a[j + l]) * double(b[j + l]);
  for (int l = 0; j < n; ++j, ++l) lane[l] += double(a[j]) * double(b[j]);
  for (int step = kLanes / 2; step > 0; step /= 2)
    for (int l = 0; l < step; ++l) lane[l] += lane[l + step];
  return lane[0];
}

// Partial sums over elements [begin, end) of one sample. X, F: [m, N]; sums: [kSums].
template <class T>
AAFAST_INLINE void gram_range(const T* X, const T* F, i64 N, int newest, int count, i64 begin, i64 end,
                              double* sums) {
  T g[kBlock], row[kBlock];
  std::fill(sums, sums + kSums, 0.0);
  for (i64 at = begin; at < end; at += kBlock) {
    const i64 n = std::min(kBlock, end - at);
    const T* f = F + newest * N + at;
    const T* x = X + newest * N + at;
    for (i64 j = 0; j < n; ++j) g[j] = f[j] - x[j];
    sums[count] += dot(f, f, n);
    for (int i = 0; i < count; ++i) {
      const T* fi = F + i * N + at;
      const T* xi = X + i * N + at;
      for (i64 j = 0; j < n; ++j) row[j] = fi[j] - xi[j];
      sums[i] += dot(row, g, n);
    }
  }
}

// x[j] = sum_i f_weight[i] F[i, j] + x_weight[i] X[i, j] over elements [begin, end) of one sample; x: [N].
template <class T>
AAFAST_INLINE void mix_range(const T* X, const T* F, i64 N, int count, const T* f_weight, const T* x_weight,
                             bool images_only, i64 begin, i64 end, T* x) {
  for (i64 at = begin; at < end; at += kBlock) {
    const i64 n = std::min(kBlock, end - at);
    T* to = x + at;
    std::fill(to, to + n, T(0));
    for (int i = 0; i < count; ++i) {
      const T* f = F + i * N + at;
      const T a = f_weight[i];
      for (i64 j = 0; j < n; ++j) to[j] += a * f[j];
      if (images_only) continue;
      const T* xi = X + i * N + at;
      const T b = x_weight[i];
      for (i64 j = 0; j < n; ++j) to[j] += b * xi[j];
    }
  }
}

AAFAST_CLONES void gram_part(const float* X, const float* F, i64 N, int newest, int count, i64 begin, i64 end,
                             double* sums) {
  gram_range(X, F, N, newest, count, begin, end, sums);
}
AAFAST_CLONES void gram_part(const double* X, const double* F, i64 N, int newest, int count, i64 begin,
                             i64 end, double* sums) {
  gram_range(X, F, N, newest, count, begin, end, sums);
}
AAFAST_CLONES void mix_part(const float* X, const float* F, i64 N, int count, const float* f_weight,
                            const float* x_weight, bool images_only, i64 begin, i64 end, float* x) {
  mix_range(X, F, N, count, f_weight, x_weight, images_only, begin, end, x);
}
AAFAST_CLONES void mix_part(const double* X, const double* F, i64 N, int count, const double* f_weight,
                            const double* x_weight, bool images_only, i64 begin, i64 end, double* x) {
  mix_range(X, F, N, count, f_weight, x_weight, images_only, begin, end, x);
}

// Solves A v = b in place by elimination with row pivots; A: [side, kSide] rows, b: [side], the answer in b.
// Returns false where a pivot is exactly zero; a NaN is carried into the answer.
bool solve(double (*A)[kSide], double* b, int side) {
  for (int k = 0; k < side; ++k) {
    int p = k;
    for (int r = k + 1; r < side; ++r)
      if (std::abs(A[r][k]) > std::abs(A[p][k])) p = r;
    if (A[p][k] == 0.0) return false;
    if (p != k) {
      std::swap_ranges(A[k], A[k] + side, A[p]);
      std::swap(b[k], b[p]);
    }
    for (int r = k + 1; r < side; ++r) {
      const double factor = A[r][k] / A[k][k];
      for (int c = k + 1; c < side; ++c) A[r][c] -= factor * A[k][c];
      b[r] -= factor * b[k];
    }
  }
  for (int k = side - 1; k >= 0; --k) {
    for (int c = k + 1; c < side; ++c) b[k] -= A[k][c] * b[c];
    b[k] /= A[k][k];
  }
  return true;
}

// Adds up the partial sums of one sample, refreshes its Gram matrix and solves for its weights.
// parts: [chunks, kSums]; gram_in, gram: [m, m]; alpha: [m]; norms: [2].
template <class T>
void weights(const double* parts, i64 chunks, const MixShape& s, const MixRule& rule, const T* gram_in,
             T* gram, T* alpha, T* norms) {
  double sums[kSums] = {};
  for (i64 c = 0; c < chunks; ++c)
    for (int i = 0; i <= s.count; ++i) sums[i] += parts[c * kSums + i];

  double A[kSide][kSide], b[kSide] = {1.0};
  double mean = 0.0;
  const auto entry = [&](int i, int j) {
    return i == s.newest ? sums[j] : j == s.newest ? sums[i] : double(gram_in[i * s.slots + j]);
  };
  for (int i = 0; i < s.count; ++i) mean += entry(i, i) / s.count;
  const double ridge = rule.relative ? rule.ridge * mean : rule.ridge;
  A[0][0] = 0.0;
  for (int i = 0; i < s.count; ++i) {
    A[0][i + 1] = A[i + 1][0] = 1.0;
    for (int j = 0; j < s.count; ++j) A[i + 1][j + 1] = entry(i, j) + (i == j ? ridge : 0.0);
  }
  const bool solved = solve(A, b, s.count + 1);

  for (int i = 0; i < s.slots; ++i) {
    for (int j = 0; j < s.slots; ++j) {
      const bool fresh = i < s.count && j < s.count && (i == s.newest || j == s.newest);
      gram[i * s.slots + j] = fresh ? T(entry(i, j)) : gram_in[i * s.slots + j];
    }
    alpha[i] = i >= s.count ? T(0) : solved ? T(b[i + 1]) : T(i == s.newest);
  }
  norms[0] = T(sums[s.newest]);
  norms[1] = T(sums[s.count]);
}

}  // namespace

template <class T>
void anderson_mix_cpu(const MixInputs<T>& in, const MixShape& s, const MixRule& rule, int threads,
                      const MixOutputs<T>& out) {
  const i64 chunks = divide_up(s.length, kChunk), jobs = s.batch * chunks, stride = s.slots * s.length;
  const bool images_only = rule.beta == 1.0;
  std::vector<double> parts(jobs * kSums);
#pragma omp parallel num_threads(threads) if (jobs > 1 && threads > 1)
  {
#pragma omp for schedule(static)
    for (i64 job = 0; job < jobs; ++job) {
      const i64 sample = job / chunks, at = job % chunks * kChunk;
      gram_part(in.X + sample * stride, in.F + sample * stride, s.length, s.newest, s.count, at,
                std::min(at + kChunk, s.length), parts.data() + job * kSums);
    }
#pragma omp for schedule(static)
    for (i64 b = 0; b < s.batch; ++b) {
      const i64 square = b * s.slots * s.slots;
      weights(parts.data() + b * chunks * kSums, chunks, s, rule, in.gram + square, out.gram + square,
              out.alpha + b * s.slots, out.norms + 2 * b);
    }
#pragma omp for schedule(static)
    for (i64 job = 0; job < jobs; ++job) {
      const i64 sample = job / chunks, at = job % chunks * kChunk;
      T f_weight[kMaxRows], x_weight[kMaxRows];
      for (int i = 0; i < s.count; ++i) {
        f_weight[i] = T(rule.beta * double(out.alpha[sample * s.slots + i]));
        x_weight[i] = T((1.0 - rule.beta) * double(out.alpha[sample * s.slots + i]));
      }
      mix_part(in.X + sample * stride, in.F + sample * stride, s.length, s.count, f_weight, x_weight,
               images_only, at, std::min(at + kChunk, s.length), out.x + sample * s.length);
    }
  }
}

template void anderson_mix_cpu(const MixInputs<float>&, const MixShape&, const MixRule&, int,
                               const MixOutputs<float>&);
template void anderson_mix_cpu(const MixInputs<double>&, const MixShape&, const MixRule&, int,
                               const MixOutputs<double>&);

}  // namespace aafast
