// Adjacent channels of a wide image as fp32 registers, by the widest accesses that their number allows.
#pragma once
#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace aafast {

__device__ __forceinline__ void unpack(unsigned word, float& low, float& high) {
  __half2 pair;
  memcpy(&pair, &word, sizeof(pair));
  const float2 both = __half22float2(pair);
  low = both.x, high = both.y;
}

__device__ __forceinline__ unsigned pack(float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  unsigned word;
  memcpy(&word, &pair, sizeof(word));
  return word;
}

// from: aligned to 16 bytes, or where kCount is no multiple of 8 to 8.
template <int kCount>
__device__ __forceinline__ void load_channels(const __half* from, float (&to)[kCount]) {
  static_assert(kCount % 4 == 0, "8 bytes at a time");
  if constexpr (kCount % 8 == 0) {
#pragma unroll
    for (int i = 0; i < kCount; i += 8) {
      const uint4 words = *reinterpret_cast<const uint4*>(from + i);
      unpack(words.x, to[i], to[i + 1]);
      unpack(words.y, to[i + 2], to[i + 3]);
      unpack(words.z, to[i + 4], to[i + 5]);
      unpack(words.w, to[i + 6], to[i + 7]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < kCount; i += 4) {
      const uint2 words = *reinterpret_cast<const uint2*>(from + i);
      unpack(words.x, to[i], to[i + 1]);
      unpack(words.y, to[i + 2], to[i + 3]);
    }
  }
}

// from: aligned to 16 bytes.
template <int kCount>
__device__ __forceinline__ void load_channels(const float* from, float (&to)[kCount]) {
  static_assert(kCount % 4 == 0, "16 bytes at a time");
#pragma unroll
  for (int i = 0; i < kCount; i += 4) {
    const float4 four = *reinterpret_cast<const float4*>(from + i);
    to[i] = four.x, to[i + 1] = four.y, to[i + 2] = four.z, to[i + 3] = four.w;
  }
}

template <int kCount>
__device__ __forceinline__ void store_channels(const float (&from)[kCount], __half* to) {
  if constexpr (kCount % 8 == 0) {
#pragma unroll
    for (int i = 0; i < kCount; i += 8)
      *reinterpret_cast<uint4*>(to + i) = make_uint4(pack(from[i], from[i + 1]), pack(from[i + 2], from[i + 3]),
                                                     pack(from[i + 4], from[i + 5]), pack(from[i + 6], from[i + 7]));
  } else {
#pragma unroll
    for (int i = 0; i < kCount; i += 4)
      *reinterpret_cast<uint2*>(to + i) = make_uint2(pack(from[i], from[i + 1]), pack(from[i + 2], from[i + 3]));
  }
}

template <int kCount>
__device__ __forceinline__ void store_channels(const float (&from)[kCount], float* to) {
#pragma unroll
  for (int i = 0; i < kCount; i += 4)
    *reinterpret_cast<float4*>(to + i) = make_float4(from[i], from[i + 1], from[i + 2], from[i + 3]);
}

}  // namespace aafast
