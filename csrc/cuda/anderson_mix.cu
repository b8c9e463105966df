// One launch: a block, or where the code is compiled for clusters a cluster of blocks, does a whole sample.
// Each block sums its share of the new Gram row; after the barrier every block adds the shares in the same
// order, solves the same small system and mixes its share of the sample, so no second launch and no atomic is
// needed.
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>

#include "aafast/anderson_mix.h"
#include "launch.cuh"

namespace aafast {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / kWarp;
constexpr int kSums = kMaxRows + 1;  // <G_i, G_newest> for every valid row, then ||F_newest||^2
constexpr int kSide = kMaxRows + 1;  // bordered system
constexpr int kStride = kSide + 2;   // one right-hand side; an odd row length keeps lanes on different banks
constexpr int kMaxCluster = 8;       // the largest cluster every device accepts
constexpr i64 kBlockShare = 2048;    // elements of a sample worth a block of their own

template <class T>
struct MixShared {
  T warp_sums[kWarps][kSums];
  double sums[kSums];
  double A[kSide][kStride];
  double solution[kSide];
  T f_weight[kMaxRows];
  T x_weight[kMaxRows];
};

template <class T>
__device__ __forceinline__ T warp_sum(T v) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) v += __shfl_xor_sync(kAllLanes, v, offset);
  return v;
}

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

// Rows: compile-time bound on count, so that the sums live in registers. blocks: cluster size.
template <class T, int Rows>
__global__ void __launch_bounds__(kThreads, 1)
    anderson_mix_kernel(MixInputs<T> in, MixShape s, MixRule rule, int blocks,
                        double* scratch,  // [B, blocks, kSums]
                        MixOutputs<T> out) {
  AAFAST_SHARED(MixShared<T>, shared);
  const int thread = threadIdx.x, lane = thread % kWarp, warp = thread / kWarp;
  const i64 sample = blockIdx.x / blocks;
  const int rank = blockIdx.x % blocks;
  const i64 N = s.length, first = rank * i64(kThreads) + thread, stride = blocks * i64(kThreads);
  const T* X = in.X + sample * s.slots * N;
  const T* F = in.F + sample * s.slots * N;

  T sums[Rows + 1] = {};
#pragma unroll 1
  for (i64 n = first; n < N; n += stride) {
    const T f = F[s.newest * N + n];
    const T g = f - X[s.newest * N + n];
    sums[Rows] += f * f;
#pragma unroll
    for (int i = 0; i < Rows; ++i)
      if (i < s.count) sums[i] += (F[i * N + n] - X[i * N + n]) * g;
  }
#pragma unroll
  for (int i = 0; i <= Rows; ++i) {
    const T total = warp_sum(sums[i]);
    if (lane == 0) shared.warp_sums[warp][i] = total;
  }
  __syncthreads();
  if (thread <= Rows) {
    double total = 0.0;
    for (int w = 0; w < kWarps; ++w) total += double(shared.warp_sums[w][thread]);
    if (blocks == 1)
      shared.sums[thread] = total;
    else
      scratch[(sample * blocks + rank) * kSums + thread] = total;
  }
  if (blocks > 1) {
    cluster_barrier();
    if (thread <= Rows) {
      double total = 0.0;
      for (int r = 0; r < blocks; ++r) total += scratch[(sample * blocks + r) * kSums + thread];
      shared.sums[thread] = total;
    }
  }
  __syncthreads();

  const T* gram_in = in.gram + sample * s.slots * s.slots;
  const auto entry = [&](int i, int j) {
    return i == s.newest ? shared.sums[j] : j == s.newest ? shared.sums[i] : double(gram_in[i * s.slots + j]);
  };
  if (warp == 0) {
    const int side = s.count + 1;
    if (lane < side) {
      double mean = 0.0;
      for (int i = 0; i < s.count; ++i) mean += entry(i, i) / s.count;
      const double ridge = rule.relative ? rule.ridge * mean : rule.ridge;
      for (int c = 0; c < side; ++c) {
        const bool border = lane == 0 || c == 0;
        const double diagonal = lane == c ? ridge : 0.0;
        shared.A[lane][c] = border ? double(lane != c) : entry(lane - 1, c - 1) + diagonal;
      }
      shared.A[lane][side] = double(lane == 0);
    }
    const bool solved = warp_solve(shared.A, side, lane, shared.solution);
    if (lane < s.slots) {
      const double w = lane >= s.count ? 0.0 : solved ? shared.solution[lane + 1] : double(lane == s.newest);
      const double alpha = double(T(w));
      shared.f_weight[lane] = T(rule.beta * alpha);
      shared.x_weight[lane] = T((1.0 - rule.beta) * alpha);
      if (rank == 0) out.alpha[sample * s.slots + lane] = T(w);
    }
  }
  __syncthreads();

  const bool images_only = rule.beta == 1.0;
#pragma unroll 1
  for (i64 n = first; n < N; n += stride) {
    T x = 0;
#pragma unroll
    for (int i = 0; i < Rows; ++i)
      if (i < s.count) {
        x += shared.f_weight[i] * F[i * N + n];
        if (!images_only) x += shared.x_weight[i] * X[i * N + n];
      }
    out.x[sample * N + n] = x;
  }
  if (rank != 0) return;
  if (thread < s.slots * s.slots) {
    const int i = thread / s.slots, j = thread % s.slots;
    const bool fresh = i < s.count && j < s.count && (i == s.newest || j == s.newest);
    out.gram[sample * s.slots * s.slots + thread] = fresh ? T(entry(i, j)) : gram_in[thread];
  }
  if (thread == 0) out.norms[2 * sample] = T(shared.sums[s.newest]);
  if (thread == 1) out.norms[2 * sample + 1] = T(shared.sums[Rows]);
}

// Blocks that share one sample: a function of its length alone, so that a sample's answer does not depend on
// how many others there are.
int blocks_for(i64 length) {
  int blocks = 1;
  while (blocks < kMaxCluster && blocks * kBlockShare < length) blocks *= 2;
  return blocks;
}

// Whether the code that runs on `device` was compiled for clusters. Code translated from older PTX was not,
// on whatever device it runs.
template <class Kernel>
bool has_clusters(Kernel kernel, int device) {
  static std::array<std::atomic<int>, 64> known{};
  std::atomic<int>& slot = known[device % known.size()];
  if (slot == 0) {
    cudaFuncAttributes attributes;
    check(cudaFuncGetAttributes(&attributes, kernel), "loading anderson_mix");
    slot = attributes.ptxVersion >= 90 ? 2 : 1;
  }
  return slot == 2;
}

template <class T, int Rows>
void launch(const MixInputs<T>& in, const MixShape& s, const MixRule& rule, int device, void* stream,
            double* scratch, const MixOutputs<T>& out) {
  const auto kernel = anderson_mix_kernel<T, Rows>;
  const int blocks = has_clusters(kernel, device) ? blocks_for(s.length) : 1;
  cudaLaunchAttribute cluster = {};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim.x = blocks;
  cluster.val.clusterDim.y = 1;
  cluster.val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(unsigned(s.batch * blocks));
  config.blockDim = dim3(kThreads);
  config.stream = static_cast<cudaStream_t>(stream);
  config.attrs = &cluster;
  config.numAttrs = blocks > 1;
  check(cudaLaunchKernelEx(&config, kernel, in, s, rule, blocks, scratch, out), "launching anderson_mix");
}

}  // namespace

i64 anderson_mix_cuda_scratch(const MixShape& s) { return s.batch * blocks_for(s.length) * kSums; }

template <class T>
void anderson_mix_cuda(const MixInputs<T>& in, const MixShape& s, const MixRule& rule, int device,
                       void* stream, double* scratch, const MixOutputs<T>& out) {
  if (s.batch == 0) return;
  const DeviceGuard guard(device);
  if (s.count <= kMaxRows / 2)
    launch<T, kMaxRows / 2>(in, s, rule, device, stream, scratch, out);
  else
    launch<T, kMaxRows>(in, s, rule, device, stream, scratch, out);
}

template void anderson_mix_cuda(const MixInputs<float>&, const MixShape&, const MixRule&, int, void*, double*,
                                const MixOutputs<float>&);
template void anderson_mix_cuda(const MixInputs<double>&, const MixShape&, const MixRule&, int, void*,
                                double*, const MixOutputs<double>&);

}  // namespace aafast
