// What the mixes of Anderson acceleration share: a sample dealt out to a cluster of blocks, and the bordered system
// solved by one warp.
#pragma once
#include <array>
#include <atomic>
#include <cmath>

#include "aafast/anderson_mix.h"
#include "warp.cuh"

namespace aafast {

constexpr int kSide = kMaxRows + 1;  // bordered system
constexpr int kStride = kSide + 2;   // one right-hand side; an odd row length keeps lanes on different banks
constexpr int kMaxCluster = 8;       // the largest cluster every device accepts
constexpr i64 kBlockShare = 2048;    // elements of a sample worth a block of their own

// Solves A v = b by one warp, lane r owning row r of [A | b]: Gauss-Jordan, each column's pivot the largest
// entry among the rows not yet used. Returns false where a pivot is exactly zero; a NaN is carried into the
// answer. A: [side, kStride] shared, destroyed; solution: [side] shared.
__device__ __forceinline__ bool warp_solve(double (*A)[kStride], int side, int lane, double* solution) {
  bool used = lane >= side;
  int column = 0;
  for (int k = 0; k < side; ++k) {
    __syncwarp();
    double best = used ? -1.0 : fabs(A[lane][k]);
    if (best != best) best = INFINITY;
    int pivot = lane;
#pragma unroll
    for (int offset = kWarp / 2; offset > 0; offset /= 2) {
      const double other = __shfl_xor_sync(kAllLanes, best, offset);
      const int lane_of_other = __shfl_xor_sync(kAllLanes, pivot, offset);
      if (other > best || (other == best && lane_of_other < pivot)) {
        best = other;
        pivot = lane_of_other;
      }
    }
    if (best == 0.0) return false;
    if (lane == pivot) {
      used = true;
      column = k;
    } else if (lane < side) {
      const double factor = A[lane][k] / A[pivot][k];
      for (int c = k + 1; c <= side; ++c) A[lane][c] -= factor * A[pivot][c];
    }
  }
  if (lane < side) solution[column] = A[lane][side] / A[lane][column];
  __syncwarp();
  return true;
}

struct Bordered {
  double A[kSide][kStride];
  double solution[kSide];
};

// Lane i of one warp gets the weight of row i in the mix, 0 from `count` on; where the system is exactly singular the
// newest row has all of it. entry(i, j): the Gram matrix, rows and columns 0..count-1.
template <class Entry>
__device__ __forceinline__ double mix_weight(Bordered& system, int count, int newest, double ridge, bool relative,
                                             int lane, Entry entry) {
  const int side = count + 1;
  if (lane < side) {
    double mean = 0.0;
    for (int i = 0; i < count; ++i) mean += entry(i, i) / count;
    if (relative) ridge *= mean;
    for (int c = 0; c < side; ++c) {
      const bool border = lane == 0 || c == 0;
      const double diagonal = lane == c ? ridge : 0.0;
      system.A[lane][c] = border ? double(lane != c) : entry(lane - 1, c - 1) + diagonal;
    }
    system.A[lane][side] = double(lane == 0);
  }
  const bool solved = warp_solve(system.A, side, lane, system.solution);
  return lane >= count ? 0.0 : solved ? system.solution[lane + 1] : double(lane == newest);
}

// Blocks that share one sample: a function of its length alone, so that a sample's answer does not depend on
// how many others there are.
inline int blocks_for(i64 length) {
  int blocks = 1;
  while (blocks < kMaxCluster && blocks * kBlockShare < length) blocks *= 2;
  return blocks;
}

// Whether the code that runs on `device` was compiled for clusters. Code translated from older PTX was not,
// on whatever device it runs.
template <class Kernel>
bool has_clusters(Kernel kernel, int device, const char* what) {
  static std::array<std::atomic<int>, 64> known{};
  std::atomic<int>& slot = known[device % known.size()];
  if (slot == 0) {
    cudaFuncAttributes attributes;
    check(cudaFuncGetAttributes(&attributes, kernel), what);
    slot = attributes.ptxVersion >= 90 ? 2 : 1;
  }
  return slot == 2;
}

}  // namespace aafast
