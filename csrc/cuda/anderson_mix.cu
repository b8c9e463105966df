// One launch: a block, or where the code is compiled for clusters a cluster of blocks, does a whole sample.
// Each block sums its share of the new Gram row; after the barrier every block adds the shares in the same
// order, solves the same small system and mixes its share of the sample, so no second launch and no atomic is
// needed.
#include "mixing.cuh"

namespace aafast {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / kWarp;
constexpr int kSums = kMaxRows + 1;  // <G_i, G_newest> for every valid row, then ||F_newest||^2

template <class T>
struct MixShared {
  T warp_sums[kWarps][kSums];
  double sums[kSums];
  Bordered system;
  T f_weight[kMaxRows];
  T x_weight[kMaxRows];
};

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
    const double w = mix_weight(shared.system, s.count, s.newest, rule.ridge, rule.relative, lane, entry);
    if (lane < s.slots) {
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

template <class T, int Rows>
void launch(const MixInputs<T>& in, const MixShape& s, const MixRule& rule, int device, void* stream,
            double* scratch, const MixOutputs<T>& out) {
  const auto kernel = anderson_mix_kernel<T, Rows>;
  const int blocks = has_clusters(kernel, device, "loading anderson_mix") ? blocks_for(s.length) : 1;
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
