// Ranges of any length in vectors, the last one in part.
#pragma once
#include "vector.h"

namespace aafast::AAFAST_ISA {

// The first `count` elements at p, zeros after them; nothing past them is read.
template <class T>
AAFAST_INLINE Vec<T> load(const T* p, int count) {
  if (count == kWidth<T>) return load(p);
  Vec<T> v{};
  __builtin_memcpy(&v, p, count * sizeof(T));
  return v;
}
template <class T>
AAFAST_INLINE void store(T* p, Vec<T> v, int count) {
  if (count == kWidth<T>)
    store(p, v);
  else
    __builtin_memcpy(p, &v, count * sizeof(T));
}

#define AAFAST_LAMBDA __attribute__((always_inline))

// step(i, count) for each vector of the range [begin, end), count elements from i.
template <class T, class Step>
AAFAST_INLINE void each_vector(i64 begin, i64 end, Step step) {
  i64 i = begin;
  for (; i + kWidth<T> <= end; i += kWidth<T>) step(i, kWidth<T>);
  if (i < end) step(i, int(end - i));
}

// Elements whose sum is kept in the lanes of a vector, 256 to a lane; such sums are added up in double.
template <class T>
constexpr i64 kSumChunk = 256 * kWidth<T>;

template <class T>
AAFAST_INLINE double total(Vec<T> v) {
  double sum = 0;
  for (int i = 0; i < kWidth<T>; ++i) sum += double(v[i]);
  return sum;
}

template <class T>
AAFAST_INLINE Vec<T> magnitude(Vec<T> v) {
  return v < Vec<T>{} ? -v : v;
}

AAFAST_INLINE Vec<float> root(Vec<float> x) {
  for (int i = 0; i < kWidth<float>; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
}
AAFAST_INLINE Vec<double> root(Vec<double> x) {
  for (int i = 0; i < kWidth<double>; ++i) x[i] = __builtin_sqrt(x[i]);
  return x;
}

}  // namespace aafast::AAFAST_ISA
