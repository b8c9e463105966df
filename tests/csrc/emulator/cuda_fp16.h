// Stands in for NVIDIA's header of this name: fp16 numbers kept as their bits, rounded to nearest even.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "cuda_runtime.h"

struct alignas(2) __half {
  std::uint16_t bits;
};
struct alignas(4) __half2 {
  __half x, y;
};
using half = __half;
using half2 = __half2;

namespace emulated {

inline float float_of(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  float value;
  if (exponent == 31)
    value = mantissa ? std::nanf("") : INFINITY;
  else
    value = exponent ? std::ldexp(float(1024 + mantissa), exponent - 25) : std::ldexp(float(mantissa), -24);
  return bits >> 15 ? -value : value;
}

inline std::uint16_t half_of(float value) {
  std::uint32_t word;
  std::memcpy(&word, &value, 4);
  const std::uint16_t sign = word >> 16 & 0x8000u;
  word &= 0x7fffffffu;
  if (word > 0x7f800000u) return sign | 0x7fffu;
  if (word >= 0x477ff000u) return sign | 0x7c00u;  // 65520 and above round to infinity
  const int exponent = int(word >> 23) - 127;
  if (exponent < -25) return sign;
  // The mantissa with as many bits dropped as fp16 has fewer: more of them below its smallest normal number.
  const std::uint32_t mantissa = (word & 0x7fffffu) | 0x800000u;
  const int dropped = exponent < -14 ? -1 - exponent : 13;
  const std::uint32_t half = 1u << (dropped - 1), rest = mantissa & ((1u << dropped) - 1);
  std::uint32_t kept = mantissa >> dropped;
  kept += rest > half || (rest == half && (kept & 1));
  // A carry out of the mantissa goes into the exponent, as it should.
  return sign | std::uint16_t(exponent < -14 ? kept : kept + (std::uint32_t(exponent + 14) << 10));
}

}  // namespace emulated

inline float __half2float(__half h) { return emulated::float_of(h.bits); }
inline __half __float2half_rn(float f) { return {emulated::half_of(f)}; }
inline __half __float2half(float f) { return __float2half_rn(f); }
inline __half2 __floats2half2_rn(float x, float y) { return {__float2half_rn(x), __float2half_rn(y)}; }
inline float2 __half22float2(__half2 h) { return {__half2float(h.x), __half2float(h.y)}; }
inline float __low2float(__half2 h) { return __half2float(h.x); }
inline float __high2float(__half2 h) { return __half2float(h.y); }
