// How the kernels between thin planes and a wide image deal a pixel's channels out to lanes, and read them from memory.
//
// In an mma four lanes (q = 0..3) share a pixel. Which of its channels each of them holds is free, as long as weights
// are packed alike: here a lane's are adjacent in memory, so that a wide image goes from memory to fragments and back
// without a stop in shared memory.
#pragma once
#include <cstring>

#include "activation.cuh"
#include "conv.cuh"
#include "mma.cuh"

namespace aafast {

// A unit is 16 channels, four to a lane. A lane reads a span of adjacent channels at once: 16 bytes, or 8 where fp16
// channels are no multiple of 32.
template <Arithmetic A>
__host__ __device__ constexpr int lane_span(int channels) {
  return A == Arithmetic::half && channels % 32 == 0 ? 8 : 4;
}

// The channel that lane q holds as its i-th of a unit.
template <Arithmetic A>
__host__ __device__ constexpr int lane_channel(int channels, int unit, int q, int i) {
  return lane_span<A>(channels) == 8 ? unit / 2 * 32 + 8 * q + unit % 2 * 4 + i : 16 * unit + 4 * q + i;
}

// N adjacent elements as they stand in memory.
template <class T, int N>
struct Adjacent {
  static constexpr int kWords = N * int(sizeof(T)) / 4;
  static constexpr int kAtOnce = kWords % 4 == 0 ? 4 : kWords % 2 == 0 ? 2 : 1;  // words of one access
  unsigned words[kWords];

  __device__ __forceinline__ void load(const T* from) {
#pragma unroll
    for (int w = 0; w < kWords; w += kAtOnce) {
      const void* at = reinterpret_cast<const unsigned*>(from) + w;
      if constexpr (kAtOnce == 4) {
        const uint4 v = *static_cast<const uint4*>(at);
        words[w] = v.x, words[w + 1] = v.y, words[w + 2] = v.z, words[w + 3] = v.w;
      } else if constexpr (kAtOnce == 2) {
        const uint2 v = *static_cast<const uint2*>(at);
        words[w] = v.x, words[w + 1] = v.y;
      } else {
        words[w] = *static_cast<const unsigned*>(at);
      }
    }
  }

  __device__ __forceinline__ void store(T* to) const {
#pragma unroll
    for (int w = 0; w < kWords; w += kAtOnce) {
      void* at = reinterpret_cast<unsigned*>(to) + w;
      if constexpr (kAtOnce == 4)
        *static_cast<uint4*>(at) = uint4{words[w], words[w + 1], words[w + 2], words[w + 3]};
      else if constexpr (kAtOnce == 2)
        *static_cast<uint2*>(at) = uint2{words[w], words[w + 1]};
      else
        *static_cast<unsigned*>(at) = words[w];
    }
  }
};

__device__ __forceinline__ unsigned bits_of(float v) {
  unsigned word;
  std::memcpy(&word, &v, 4);
  return word;
}

// Two fp16 numbers in a register, the first in its lower half.
__device__ __forceinline__ unsigned pair_of(float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  unsigned word;
  std::memcpy(&word, &pair, 4);
  return word;
}

template <int N>
__device__ __forceinline__ float value_of(const Adjacent<__half, N>& from, int i) {
  __half2 pair;
  std::memcpy(&pair, &from.words[i / 2], 4);
  return i % 2 ? __high2float(pair) : __low2float(pair);
}

template <int N>
__device__ __forceinline__ float value_of(const Adjacent<float, N>& from, int i) {
  float value;
  std::memcpy(&value, &from.words[i], 4);
  return value;
}

template <int N>
__device__ __forceinline__ void set_values(Adjacent<__half, N>& to, const float (&values)[N]) {
#pragma unroll
  for (int i = 0; i < N; i += 2) to.words[i / 2] = pair_of(values[i], values[i + 1]);
}

template <int N>
__device__ __forceinline__ void set_values(Adjacent<float, N>& to, const float (&values)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) to.words[i] = bits_of(values[i]);
}

// Adjacent floats on 16 bytes.
template <int N>
__device__ __forceinline__ void take_floats(const float* from, float (&to)[N]) {
  static_assert(N % 4 == 0, "16 bytes at a time");
#pragma unroll
  for (int i = 0; i < N; i += 4) {
    const float4 four = *reinterpret_cast<const float4*>(from + i);
    to[i] = four.x, to[i + 1] = four.y, to[i + 2] = four.z, to[i + 3] = four.w;
  }
}

// ---- what a Source makes of what it reads

template <Arithmetic A, Read kind>
__device__ __forceinline__ float read_value(float x, float x2, float a, float b, float c) {
  if constexpr (kind == Read::gelu) return gelu<A>(fmaf(a, x, b));
  if constexpr (kind == Read::gradient) return fmaf(a, x, fmaf(b, x2, c));
  return x;
}

// N adjacent channels of kPixels pixels; a, b and c at those channels.
template <Arithmetic A, Read kind, int kPixels, int N, class T>
__device__ __forceinline__ void read_as(const Adjacent<T, N> (&x)[kPixels], const Adjacent<T, N> (&x2)[kPixels],
                                        const float* a, const float* b, const float* c, float (&values)[kPixels][N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const float ai = kind == Read::plain ? 1.0f : a[i], bi = kind == Read::plain ? 0.0f : b[i];
    const float ci = kind == Read::gradient ? c[i] : 0.0f;
#pragma unroll
    for (int p = 0; p < kPixels; ++p) {
      const float second = kind == Read::gradient ? value_of(x2[p], i) : 0.0f;
      values[p][i] = read_value<A, kind>(value_of(x[p], i), second, ai, bi, ci);
    }
  }
}

template <Arithmetic A, int kPixels, int N, class T>
__device__ __forceinline__ void read_values(Read kind, const Adjacent<T, N> (&x)[kPixels],
                                            const Adjacent<T, N> (&x2)[kPixels], const float* a, const float* b,
                                            const float* c, float (&values)[kPixels][N]) {
  if (kind == Read::gelu)
    read_as<A, Read::gelu>(x, x2, a, b, c, values);
  else if (kind == Read::gradient)
    read_as<A, Read::gradient>(x, x2, a, b, c, values);
  else
    read_as<A, Read::plain>(x, x2, a, b, c, values);
}

// Puts a sample's coefficients [3, C] where its threads find them; absent ones are those of the identity.
template <Arithmetic A, int C>
__device__ __forceinline__ void stage_coefficients(const WideSource<A>& source, i64 sample, int thread, int threads,
                                                   float (&to)[3][C]) {
  const float* rows[3] = {source.a.row(sample), source.b.row(sample), source.c.row(sample)};
  for (int i = thread; i < C; i += threads) {
    to[0][i] = rows[0] ? rows[0][i] : 1.0f;
    to[1][i] = rows[1] ? rows[1][i] : 0.0f;
    to[2][i] = rows[2] ? rows[2][i] : 0.0f;
  }
}

}  // namespace aafast
