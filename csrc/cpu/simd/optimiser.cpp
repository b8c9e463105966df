#include "kernels.h"
#include "spans.h"

namespace aafast::AAFAST_ISA {
namespace {

template <class T>
struct Rule {
  T keep, size, rescale, eps, beta1, rest1, beta2, rest2;
  explicit Rule(const AdamwRule& rule)
      : keep(T(rule.keep)), size(T(rule.size)), rescale(T(1 / rule.unbias)), eps(T(rule.eps)),
        beta1(T(rule.beta1)), rest1(T(1 - rule.beta1)), beta2(T(rule.beta2)), rest2(T(1 - rule.beta2)) {}
};

template <class T>
AAFAST_INLINE void step(const Rule<T>& rule, const AdamwState<T>& state, i64 i, int count, Vec<T> g) {
  const Vec<T> first = all(rule.beta1) * load(state.first + i, count) + all(rule.rest1) * g;
  const Vec<T> second = all(rule.beta2) * load(state.second + i, count) + all(rule.rest2) * g * g;
  const Vec<T> kept = all(rule.keep) * load(state.theta + i, count);
  store(state.first_out + i, first, count);
  store(state.second_out + i, second, count);
  const Vec<T> moved = kept - all(rule.size) * first / (root(second) * all(rule.rescale) + all(rule.eps));
  store(state.theta_out + i, moved, count);
}

template <class T>
void adamw(const AdamwRule& given, i64 n, const T* gradient, const AdamwState<T>& state) {
  const Rule<T> rule(given);
  each_vector<T>(0, n, [&](i64 i, int count) AAFAST_LAMBDA { step(rule, state, i, count, load(gradient + i, count)); });
}

// Rows and vectors of columns whose gradient is summed in registers: 16 sums of 32 registers, or 12 of 16.
constexpr int kRows = AAFAST_VECTOR_BYTES == 64 ? 8 : 4, kColumns = AAFAST_VECTOR_BYTES == 64 ? 2 : 3;
constexpr int kPacked = 256;  // samples whose left factors are gathered beside each other

template <class T>
struct Outer {
  int batch, inputs;
  const T* left;  // row r of sample b at left[b * stride + r]
  i64 stride;
  const T* right;
};

// Ask for the state of a tile to come, while the sums of this one keep the core busy.
template <class T, int R, int N>
AAFAST_INLINE void expect_tile(i64 inputs, i64 row, i64 column, const AdamwState<T>& state) {
  for (int r = 0; r < R; ++r)
    for (int line = 0; line < N * AAFAST_VECTOR_BYTES; line += 64) {
      const i64 at = (row + r) * inputs + column + line / int(sizeof(T));
      __builtin_prefetch(state.theta + at, 0, 2);
      __builtin_prefetch(state.first + at, 0, 2);
      __builtin_prefetch(state.second + at, 0, 2);
    }
}

template <class T, int R, int N>
AAFAST_INLINE void outer_tile(const Rule<T>& rule, const Outer<T>& outer, i64 row, i64 column, int count,
                              const AdamwState<T>& state) {
  Vec<T> g[R][N] = {};
  for (int b = 0; b < outer.batch; ++b) {
    const T* left = outer.left + b * outer.stride;
    const T* right = outer.right + i64(b) * outer.inputs + column;
    Vec<T> factor[N];
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) factor[n] = load(right + n * kWidth<T>, count);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) g[r][n] += all(left[r]) * factor[n];
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n)
      step(rule, state, (row + r) * outer.inputs + column + n * kWidth<T>, count, g[r][n]);
}

template <class T, int R>
void outer_rows(const Rule<T>& rule, const Outer<T>& outer, i64 row, const AdamwState<T>& state) {
  constexpr int W = kWidth<T>, wide = kColumns * W;
  i64 column = 0;
  for (; column + wide <= outer.inputs; column += wide) {
    if (column + 2 * wide <= outer.inputs)
      expect_tile<T, R, kColumns>(outer.inputs, row, column + wide, state);
    outer_tile<T, R, kColumns>(rule, outer, row, column, W, state);
  }
  each_vector<T>(column, outer.inputs, [&](i64 at, int count) AAFAST_LAMBDA {
    outer_tile<T, R, 1>(rule, outer, row, at, count, state);
  });
}

template <class T>
void adamw_outer(const AdamwRule& given, int batch, int outputs, int inputs, const T* left, const T* right, int begin,
                 int end, const AdamwState<T>& state) {
  const Rule<T> rule(given);
  Outer<T> outer{batch, inputs, left, outputs, right};
  i64 row = begin;
  for (; row + kRows <= end; row += kRows) {
    // Samples lie `outputs` apart in left: read by column they would share few lines of the cache.
    T packed[kPacked * kRows];
    const bool fits = batch <= kPacked;
    for (int b = 0; fits && b < batch; ++b)
      __builtin_memcpy(packed + b * kRows, left + i64(b) * outputs + row, sizeof(T) * kRows);
    outer.left = fits ? packed : left + row;
    outer.stride = fits ? kRows : outputs;
    outer_rows<T, kRows>(rule, outer, row, state);
  }
  outer.stride = outputs;
  for (; row < end; ++row) {
    outer.left = left + row;
    outer_rows<T, 1>(rule, outer, row, state);
  }
}

}  // namespace

template <class T>
void optimiser_entries(Pointwise<T>& table) {
  table.adamw = adamw<T>;
  table.adamw_outer = adamw_outer<T>;
}

template void optimiser_entries(Pointwise<float>&);
template void optimiser_entries(Pointwise<double>&);

}  // namespace aafast::AAFAST_ISA
