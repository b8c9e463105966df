// Vectors of one instruction set. Every source of this folder is compiled once per set, in a namespace of its own
// (AAFAST_ISA), and uses nothing that another set's objects might define: no templates of the standard library,
// whose one linked copy could be the one that this processor cannot run.
#pragma once
#include "aafast/common.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if !defined(AAFAST_ISA) || !defined(AAFAST_VECTOR_BYTES)
#error "compile with -DAAFAST_ISA=NAME -DAAFAST_VECTOR_BYTES=N"
#endif

namespace aafast::AAFAST_ISA {

template <class T>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef float type __attribute__((vector_size(AAFAST_VECTOR_BYTES)));
  typedef std::int32_t bits __attribute__((vector_size(AAFAST_VECTOR_BYTES)));
};
template <>
struct VectorOf<double> {
  typedef double type __attribute__((vector_size(AAFAST_VECTOR_BYTES)));
  typedef std::int64_t bits __attribute__((vector_size(AAFAST_VECTOR_BYTES)));
};
template <class T>
using Vec = typename VectorOf<T>::type;
template <class T>
constexpr int kWidth = AAFAST_VECTOR_BYTES / int(sizeof(T));

template <class T>
AAFAST_INLINE Vec<T> load(const T* p) {
  Vec<T> v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
template <class T>
AAFAST_INLINE void store(T* p, Vec<T> v) {
  __builtin_memcpy(p, &v, sizeof(v));
}
template <class T>
AAFAST_INLINE Vec<T> all(T value) {
  return value - Vec<T>{};
}
template <class V>
AAFAST_INLINE V least(V a, V b) {
  return a < b ? a : b;
}
template <class V>
AAFAST_INLINE V most(V a, V b) {
  return a > b ? a : b;
}

// In float these are one instruction of x86, which the compiler does not see in the comparisons above.
#if defined(__AVX512F__) && AAFAST_VECTOR_BYTES == 64
AAFAST_INLINE Vec<float> least(Vec<float> a, Vec<float> b) { return _mm512_min_ps(a, b); }
AAFAST_INLINE Vec<float> most(Vec<float> a, Vec<float> b) { return _mm512_max_ps(a, b); }
#elif defined(__AVX__) && AAFAST_VECTOR_BYTES == 32
AAFAST_INLINE Vec<float> least(Vec<float> a, Vec<float> b) { return _mm256_min_ps(a, b); }
AAFAST_INLINE Vec<float> most(Vec<float> a, Vec<float> b) { return _mm256_max_ps(a, b); }
#elif defined(__x86_64__)
AAFAST_INLINE Vec<float> least(Vec<float> a, Vec<float> b) { return _mm_min_ps(a, b); }
AAFAST_INLINE Vec<float> most(Vec<float> a, Vec<float> b) { return _mm_max_ps(a, b); }
#endif

// p / q, in float on 64-byte vectors to 1e-7: their division takes as long as eight products, an estimate of 1 / q (off
// by 2^-14) with a step of Newton's takes three.
AAFAST_INLINE Vec<float> quotient(Vec<float> p, Vec<float> q) {
#if defined(__AVX512F__) && AAFAST_VECTOR_BYTES == 64
  const Vec<float> r = _mm512_rcp14_ps(q);
  return p * (r + r * (all(1.0f) - q * r));
#else
  return p / q;
#endif
}

// exp(x) for x <= 0, relative error 1e-7 in float: 2^n times a polynomial on |r| <= ln 2 / 2. Below the smallest
// normal number it is 0.
AAFAST_INLINE Vec<float> exp_negative(Vec<float> x) {
  typedef VectorOf<float>::bits Bits;
  const Vec<float> kept = most(x, all(-87.0f));
  const Vec<float> shifted = kept * all(1.44269504f) + all(12582912.0f);  // rounds to the nearest whole number
  const Vec<float> n = shifted - all(12582912.0f);
  Vec<float> r = kept - n * all(0.693359375f);
  r = r + n * all(2.12194440e-4f);
  Vec<float> p = all(1.0f / 5040);
  p = p * r + all(1.0f / 720);
  p = p * r + all(1.0f / 120);
  p = p * r + all(1.0f / 24);
  p = p * r + all(1.0f / 6);
  p = p * r + all(0.5f);
  p = p * r + all(1.0f);
  p = p * r + all(1.0f);
  const Bits power = (__builtin_convertvector(n, Bits) + 127) << 23;
  return x < all(-87.0f) ? Vec<float>{} : p * (Vec<float>)power;
}

// erf(x), error 3e-7 of 1: the quotient of two polynomials, x kept in [-4, 4].
AAFAST_INLINE Vec<float> erf(Vec<float> x) {
  x = least(most(x, all(-4.0f)), all(4.0f));
  const Vec<float> s = x * x;
  Vec<float> p = all(-2.72614225801306e-10f);
  p = p * s + all(2.77068142495902e-08f);
  p = p * s + all(-2.10102402082508e-06f);
  p = p * s + all(-5.69250639462346e-05f);
  p = p * s + all(-7.34990630326855e-04f);
  p = p * s + all(-2.95459980854025e-03f);
  p = p * s + all(-1.60960333262415e-02f);
  Vec<float> q = all(-1.45660718464996e-05f);
  q = q * s + all(-2.13374055278905e-04f);
  q = q * s + all(-1.68282697438203e-03f);
  q = q * s + all(-7.37332916720468e-03f);
  q = q * s + all(-1.42647390514189e-02f);
  return quotient(x * p, q);
}

// In double there is one use, the test of the logic to the last digits: element by element, by the C library.
AAFAST_INLINE Vec<double> exp_negative(Vec<double> x) {
  for (int i = 0; i < kWidth<double>; ++i) x[i] = __builtin_exp(x[i]);
  return x;
}
AAFAST_INLINE Vec<double> erf(Vec<double> x) {
  for (int i = 0; i < kWidth<double>; ++i) x[i] = __builtin_erf(x[i]);
  return x;
}

// gelu(x) = x Phi(x), Phi(x) = (1 + erf(x / sqrt 2)) / 2.
template <class T>
AAFAST_INLINE Vec<T> gelu(Vec<T> x) {
  const Vec<T> half = x * all(T(0.5));
  return half + half * erf(x * all(T(0.70710678118654752440)));
}

// gelu'(x) = Phi(x) + x exp(-x^2 / 2) / sqrt(2 pi). In float, error 3e-7: 1/2 and an odd function that is 1/2 to the
// last digit from 5.8 on, by the quotient of two polynomials, which spares the exponential. A NaN stays one.
AAFAST_INLINE Vec<float> gelu_gradient_of(Vec<float> x) {
  x = least(all(5.8f), most(all(-5.8f), x));
  const Vec<float> s = x * x;
  Vec<float> p = all(1.9292653519187297e-07f);
  p = p * s + all(3.5955737985204905e-05f);
  p = p * s + all(1.9223814888391644e-05f);
  p = p * s + all(1.4230286702513695e-02f);
  p = p * s + all(-3.0995704233646393e-02f);
  p = p * s + all(7.9788535833358765e-01f);
  Vec<float> q = all(8.9523291535442695e-06f);
  q = q * s + all(1.9203689589630812e-04f);
  q = q * s + all(3.5230366047471762e-03f);
  q = q * s + all(4.0980253368616104e-02f);
  q = q * s + all(2.9449424147605896e-01f);
  q = q * s + all(1.0f);
  return all(0.5f) + quotient(x * p, q);
}
AAFAST_INLINE Vec<double> gelu_gradient_of(Vec<double> x) {
  const Vec<double> phi = all(0.5) + all(0.5) * erf(x * all(0.70710678118654752440));
  return phi + x * all(0.39894228040143267794) * exp_negative(x * x * all(-0.5));
}
template <class T>
AAFAST_INLINE Vec<T> gelu_gradient(Vec<T> x) {
  return gelu_gradient_of(x);
}

}  // namespace aafast::AAFAST_ISA
