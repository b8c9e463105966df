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
constexpr double kLeastDamping = 0.3, kLeastChange = 1e-30;  // FLOOR and _TINY of aafast/solvers/rows.py
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

// Enters x and f as one row of X and F over elements [begin, end), and the partial sums of the last step's secant:
// sums[0] = <mean, g - mean>, sums[1] = ||g - mean||^2 with g = f - x. mean: null where nothing is adapted.
template <class T>
AAFAST_INLINE void enter_range(const T* x, const T* f, const T* mean, i64 begin, i64 end, T* X, T* F, double* sums) {
  T before[kBlock], change[kBlock];
  sums[0] = sums[1] = 0.0;
  for (i64 at = begin; at < end; at += kBlock) {
    const i64 n = std::min(kBlock, end - at);
    std::copy(x + at, x + at + n, X + at);
    std::copy(f + at, f + at + n, F + at);
    if (mean == nullptr) continue;
    for (i64 j = 0; j < n; ++j) {
      before[j] = mean[at + j];
      change[j] = f[at + j] - x[at + j] - before[j];
    }
    sums[0] += dot(before, change, n);
    sums[1] += dot(change, change, n);
  }
}

// mean[j] = sum_i weight[i] (F[i, j] - X[i, j]) and point[j] = sum_i weight[i] F[i, j] - (1 - beta) mean[j] over
// elements [begin, end) of one sample.
template <class T>
AAFAST_INLINE void damp_range(const T* X, const T* F, i64 N, int count, const T* weight, T beta, i64 begin, i64 end,
                              T* mean, T* point) {
  for (i64 at = begin; at < end; at += kBlock) {
    const i64 n = std::min(kBlock, end - at);
    T mixed[kBlock] = {}, residual[kBlock] = {};
    for (int i = 0; i < count; ++i) {
      const T *f = F + i * N + at, *x = X + i * N + at;
      const T a = weight[i];
      for (i64 j = 0; j < n; ++j) {
        mixed[j] += a * f[j];
        residual[j] += a * (f[j] - x[j]);
      }
    }
    for (i64 j = 0; j < n; ++j) {
      mean[at + j] = residual[j];
      point[at + j] = mixed[j] - (1 - beta) * residual[j];
    }
  }
}

AAFAST_CLONES void enter_part(const float* x, const float* f, const float* mean, i64 begin, i64 end, float* X,
                              float* F, double* sums) {
  enter_range(x, f, mean, begin, end, X, F, sums);
}
AAFAST_CLONES void enter_part(const double* x, const double* f, const double* mean, i64 begin, i64 end, double* X,
                              double* F, double* sums) {
  enter_range(x, f, mean, begin, end, X, F, sums);
}
AAFAST_CLONES void damp_part(const float* X, const float* F, i64 N, int count, const float* weight, float beta,
                             i64 begin, i64 end, float* mean, float* point) {
  damp_range(X, F, N, count, weight, beta, begin, end, mean, point);
}
AAFAST_CLONES void damp_part(const double* X, const double* F, i64 N, int count, const double* weight, double beta,
                             i64 begin, i64 end, double* mean, double* point) {
  damp_range(X, F, N, count, weight, beta, begin, end, mean, point);
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

// The damping that the last step asks for; see secant of aafast/solvers/rows.py. parts: [chunks, 2]; NaN stays NaN.
double damping(double beta, const double* parts, i64 chunks) {
  double step_change = 0.0, change_change = 0.0;
  for (i64 c = 0; c < chunks; ++c) {
    step_change += parts[2 * c];
    change_change += parts[2 * c + 1];
  }
  const double t = -beta * step_change / (change_change < kLeastChange ? kLeastChange : change_change);
  return t < kLeastDamping ? kLeastDamping : t > 1.0 ? 1.0 : t;
}

// Makes the rows that are old copies of the newest in the Gram matrix [m, m].
template <class T>
void forget_gram(const char* old, const MixShape& s, T* gram) {
  if (std::find(old, old + s.count, char(1)) == old + s.count) return;
  T before[kMaxRows * kMaxRows];
  std::copy(gram, gram + s.slots * s.slots, before);
  for (int i = 0; i < s.count; ++i)
    for (int j = 0; j < s.count; ++j)
      gram[i * s.slots + j] = before[(old[i] ? s.newest : i) * s.slots + (old[j] ? s.newest : j)];
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

template <class T>
void anderson_step_cpu(const T* x, const T* image, const MixShape& s, const StepRule& rule, i64 evaluations,
                       int threads, const StepMemory<T>& memory, T* point, T* norms) {
  const i64 chunks = divide_up(s.length, kChunk), jobs = s.batch * chunks, ring = s.slots * s.length;
  const bool first = evaluations == 0, images_only = !rule.adapted && rule.mix.beta == 1.0;
  std::vector<double> parts(jobs * kSums), secants(jobs * 2);
  std::vector<T> alpha(s.batch * s.slots), betas(s.batch, T(rule.adapted ? 1.0 : rule.mix.beta));
  std::vector<char> grown(s.batch, 0), old(s.batch * s.slots, 0);  // samples that restart; rows to forget
#pragma omp parallel num_threads(threads) if (jobs > 1 && threads > 1)
  {
#pragma omp for schedule(static)
    for (i64 job = 0; job < jobs; ++job) {
      const i64 b = job / chunks, at = job % chunks * kChunk, end = std::min(at + kChunk, s.length);
      const i64 row = b * ring + s.newest * s.length;
      const T* mean = rule.adapted && !first ? memory.mean + b * s.length : nullptr;
      enter_part(x + b * s.length, image + b * s.length, mean, at, end, memory.X + row, memory.F + row,
                 secants.data() + 2 * job);
      gram_part(memory.X + b * ring, memory.F + b * ring, s.length, s.newest, s.count, at, end,
                parts.data() + job * kSums);
    }
#pragma omp for schedule(static)
    for (i64 b = 0; b < s.batch; ++b) {
      T* gram = memory.gram + b * s.slots * s.slots;
      weights(parts.data() + b * chunks * kSums, chunks, s, rule.mix, gram, gram, alpha.data() + b * s.slots,
              norms + 2 * b);
      if (rule.adapted) {
        if (!first) betas[b] = T(damping(double(memory.beta[b]), secants.data() + 2 * b * chunks, chunks));
        memory.beta[b] = betas[b];
      }
      const T now = norms[2 * b];
      if (rule.restart2 > 0) {
        const T least = first ? now : memory.least[b];
        grown[b] = now > T(rule.restart2) * least;
        memory.least[b] = grown[b] || !(now > least) ? now : least;
      }
      for (int i = 0; i < s.count; ++i)
        old[b * s.slots + i] =
            i != s.newest && (grown[b] || (rule.drop2 > 0 && gram[i * s.slots + i] > T(rule.drop2) * now));
      forget_gram(old.data() + b * s.slots, s, gram);
    }
#pragma omp for schedule(static)
    for (i64 job = 0; job < jobs; ++job) {
      const i64 b = job / chunks, at = job % chunks * kChunk, end = std::min(at + kChunk, s.length);
      const T* weight = alpha.data() + b * s.slots;
      const T *f = image + b * s.length, *from = x + b * s.length;
      T *X = memory.X + b * ring, *F = memory.F + b * ring, *to = point + b * s.length;
      T* mean = rule.adapted ? memory.mean + b * s.length : nullptr;
      if (grown[b]) {
        for (i64 j = at; j < end; ++j) to[j] = from[j] + betas[b] * (f[j] - from[j]);
        if (mean != nullptr)
          for (i64 j = at; j < end; ++j) mean[j] = f[j] - from[j];
      } else if (rule.adapted) {
        damp_part(X, F, s.length, s.count, weight, betas[b], at, end, mean, to);
      } else {
        T f_weight[kMaxRows], x_weight[kMaxRows];
        for (int i = 0; i < s.count; ++i) {
          f_weight[i] = T(rule.mix.beta * double(weight[i]));
          x_weight[i] = T((1.0 - rule.mix.beta) * double(weight[i]));
        }
        mix_part(X, F, s.length, s.count, f_weight, x_weight, images_only, at, end, to);
      }
      if (first) std::copy(f + at, f + end, to + at);
      for (int i = 0; i < s.count; ++i)
        if (old[b * s.slots + i]) {
          std::copy(from + at, from + end, X + i * s.length + at);
          std::copy(f + at, f + end, F + i * s.length + at);
        }
    }
  }
}

template void anderson_mix_cpu(const MixInputs<float>&, const MixShape&, const MixRule&, int,
                               const MixOutputs<float>&);
template void anderson_mix_cpu(const MixInputs<double>&, const MixShape&, const MixRule&, int,
                               const MixOutputs<double>&);

template void anderson_step_cpu(const float*, const float*, const MixShape&, const StepRule&, i64, int,
                                const StepMemory<float>&, float*, float*);
template void anderson_step_cpu(const double*, const double*, const MixShape&, const StepRule&, i64, int,
                                const StepMemory<double>&, double*, double*);

}  // namespace aafast
