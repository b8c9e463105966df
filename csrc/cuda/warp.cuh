// Sums over the lanes of a warp.
#pragma once
#include "launch.cuh"

namespace aafast {

// The same in every lane.
template <class T>
__device__ __forceinline__ T warp_sum(T v) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) v += __shfl_xor_sync(kAllLanes, v, offset);
  return v;
}

}  // namespace aafast
