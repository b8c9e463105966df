// Between two evaluations of a fixed-point iteration, one launch: a block, or where the code is compiled for clusters a
// cluster of blocks, does a whole sample, as in anderson_mix.cu. Each block sums its share of the inner products; after
// the barrier every block adds the shares in the same order and comes to the same verdict. An element is read and
// written by one thread alone; what all blocks read of a sample's small state is written by the first, after the
// barrier.
#include <algorithm>
#include <cfloat>

#include "mixing.cuh"
#include "samples.cuh"

namespace aafast {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / kWarp;
constexpr int kSums = kMaxRows + 3;  // <G_i, g> for every valid row, <f, f>, <mean, change>, <change, change>
constexpr float kTiny = 1e-12f;      // as in aafast/solvers/progress.py
constexpr double kLeastChange = 1e-30, kFloor = 0.3;  // as in aafast/solvers/rows.py
enum Status : std::int8_t { kRunning, kConverged, kMaxIter, kDiverged };

struct Rule {  // of FixedPointRule, for the device
  bool anderson, adapted, relative, best;
  int m, max_iter;
  float beta, restart2, drop2, tol;  // the squares of restart and drop, 0: never
  double ridge;
};

struct StepShared {
  double warp_sums[kWarps][kSums];
  double sums[kSums];
  float gram[kMaxRows][kMaxRows];
  Bordered system;
  float weight[kMaxRows];
};

// Not to be less than `least`, but NaN where it is NaN.
template <class T>
__device__ __forceinline__ T at_least(T v, T least) {
  return v < least ? least : v;
}

// The damping that the last step asks for; see secant of aafast/solvers/rows.py.
__device__ __forceinline__ float damping(double step_change, double change_change) {
  const double t = -step_change / at_least(change_change, kLeastChange);
  return float(t < kFloor ? kFloor : t > 1.0 ? 1.0 : t);
}

// Rows: compile-time bound on the window, so that the sums live in registers. blocks: cluster size.
template <int Rows>
__global__ void __launch_bounds__(kThreads, 1)
    fixed_point_kernel(i64 batch, i64 N, Rule rule, FixedPointState state, const float* images, int blocks,
                       double* scratch,  // [B, blocks, kSums]
                       float* points, FixedPointOutputs out) {
  AAFAST_SHARED(StepShared, shared);
  const int thread = threadIdx.x, lane = thread % kWarp, warp = thread / kWarp;
  const i64 sample = blockIdx.x / blocks;
  const int rank = blockIdx.x % blocks;
  const bool writes = rank == 0 && thread == 0;
  if (state.status[sample] != kRunning) {
    if (writes) out.better[sample] = 0;
    return;
  }
  const i64 begin = rank * i64(kThreads) + thread, stride = blocks * i64(kThreads);
  const int m = rule.anderson ? rule.m : 1, count = state.iterations[sample];
  const int slot = count % m, valid = count + 1 < m ? count + 1 : m;
  float* X = state.X + sample * m * N;
  float* F = state.F + sample * m * N;
  float* gram = state.gram + sample * m * m;
  float* mean = state.mean + sample * N;
  float* point = points + sample * N;
  const float* image = images + sample * N;
  const bool follows = rule.adapted && count > 0;  // the mean is that of the evaluation before
  const float beta_before = follows ? state.beta[sample] : 1.0f;
  const float least = rule.restart2 > 0 && count > 0 ? state.least[sample] : 0.0f;
  const float best = state.best[sample];
  if (rule.anderson && thread < m * m) shared.gram[thread / m][thread % m] = gram[thread];

  float totals[Rows + 3] = {};
#pragma unroll 1
  for (i64 n = begin; n < N; n += stride) {
    const float x = point[n], f = image[n], g = f - x;
    totals[Rows] += f * f;
    if (follows) {
      const float before = mean[n], change = g - before;
      totals[Rows + 1] += before * change;
      totals[Rows + 2] += change * change;
    }
#pragma unroll
    for (int i = 0; i < Rows; ++i)
      if (i < valid) totals[i] += (i == slot ? g : F[i * N + n] - X[i * N + n]) * g;
    if (rule.anderson) {
      X[slot * N + n] = x;
      F[slot * N + n] = f;
    }
  }
#pragma unroll
  for (int i = 0; i < Rows + 3; ++i) {
    const double total = warp_sum(double(totals[i]));  // a thread's few terms aside, as exact as the plain solver
    if (lane == 0) shared.warp_sums[warp][i] = total;
  }
  __syncthreads();
  if (thread < Rows + 3) {
    double total = 0.0;
    for (int w = 0; w < kWarps; ++w) total += shared.warp_sums[w][thread];
    if (blocks == 1)
      shared.sums[thread] = total;
    else
      scratch[(sample * blocks + rank) * kSums + thread] = total;
  }
  if (blocks > 1) {
    cluster_barrier();
    if (thread < Rows + 3) {
      double total = 0.0;
      for (int r = 0; r < blocks; ++r) total += scratch[(sample * blocks + r) * kSums + thread];
      shared.sums[thread] = total;
    }
  }
  __syncthreads();

  // The verdict, by every thread alike.
  const float now = float(shared.sums[slot]);
  const float residual = sqrtf(now) / at_least(sqrtf(float(shared.sums[Rows])), kTiny);
  const bool finite = fabsf(residual) <= FLT_MAX;
  const bool better = finite && (!rule.best || residual < best);
  const Status status = !finite                      ? kDiverged
                        : residual < rule.tol        ? kConverged
                        : count + 1 >= rule.max_iter ? kMaxIter
                                                     : kRunning;
  const bool grown = rule.restart2 > 0 && count > 0 && now > rule.restart2 * least;
  const float beta = follows        ? damping(double(beta_before) * shared.sums[Rows + 1], shared.sums[Rows + 2])
                     : rule.adapted ? 1.0f
                                    : rule.beta;
  unsigned old = 0;  // rows that become copies of the newest
  for (int i = 0; i < valid; ++i) {
    const bool outlived = rule.drop2 > 0 && shared.gram[i][i] > rule.drop2 * now;
    if (rule.anderson && i != slot && (grown || outlived)) old |= 1u << i;
  }
  const auto entry = [&](int i, int j) {
    return i == slot ? shared.sums[j] : j == slot ? shared.sums[i] : double(shared.gram[i][j]);
  };
  const bool mixes = rule.anderson && status == kRunning && count > 0 && !grown;
  if (mixes && warp == 0) {
    const double w = mix_weight(shared.system, valid, slot, rule.ridge, rule.relative, lane, entry);
    if (lane < kMaxRows) shared.weight[lane] = float(w);
  }
  __syncthreads();

  const bool images_only = !rule.adapted && beta == 1.0f;
#pragma unroll 1
  for (i64 n = begin; n < N; n += stride) {
    const float x = point[n], f = image[n], g = f - x;
    if (better) {
      out.point[sample * N + n] = x;
      out.image[sample * N + n] = f;
    }
    if (status != kRunning) continue;
    float mixed = 0, residuals = 0, points_mixed = 0;
    if (mixes) {
#pragma unroll
      for (int i = 0; i < Rows; ++i)
        if (i < valid) {
          const float Fi = i == slot ? f : F[i * N + n], w = shared.weight[i];
          mixed += w * Fi;
          if (images_only) continue;
          const float Xi = i == slot ? x : X[i * N + n];
          residuals += w * (Fi - Xi);
          points_mixed += w * Xi;
        }
    } else {
      mixed = f;
      residuals = g;
      points_mixed = x;
    }
    for (int i = 0; i < valid; ++i)
      if (old >> i & 1) {
        X[i * N + n] = x;
        F[i * N + n] = f;
      }
    if (rule.adapted) mean[n] = residuals;
    const bool whole = images_only || (rule.anderson && count == 0);
    point[n] = whole ? mixed : grown ? x + beta * g : rule.adapted ? mixed - (1 - beta) * residuals
                                                                   : beta * mixed + (1 - beta) * points_mixed;
  }
  if (rank != 0) return;
  if (rule.anderson && thread < m * m) {
    const int i = thread / m, j = thread % m;
    const int from_i = old >> i & 1 ? slot : i, from_j = old >> j & 1 ? slot : j;
    if (i < valid && j < valid) gram[thread] = float(entry(from_i, from_j));
  }
  if (thread != 0) return;
  if (count < rule.max_iter) out.residuals[count * batch + sample] = residual;
  out.better[sample] = better;
  if (better) state.best[sample] = residual;
  if (rule.adapted) state.beta[sample] = beta;
  if (rule.restart2 > 0) state.least[sample] = count == 0 || grown || now < least ? now : least;
  state.iterations[sample] = count + 1;
  state.status[sample] = status;
}

constexpr int kCopyThreads = 256;
constexpr i64 kCopyShare = 4096;  // words of 4 bytes that a block copies

struct Copies {
  const std::uint32_t* from[kMaxKept];
  std::uint32_t* to[kMaxKept];
  i64 words[kMaxKept];
  int end[kMaxKept];  // blocks of one sample up to and with this tensor
  int count;
};

__global__ void __launch_bounds__(kCopyThreads) keep_rows_kernel(Copies copies, const std::int8_t* better) {
  const int blocks = copies.end[copies.count - 1], block = blockIdx.x % blocks;
  const i64 sample = blockIdx.x / blocks;
  if (better[sample] == 0) return;
  int which = 0;
  while (block >= copies.end[which]) ++which;
  const i64 words = copies.words[which], begin = (block - (which > 0 ? copies.end[which - 1] : 0)) * kCopyShare;
  const i64 end = begin + kCopyShare < words ? begin + kCopyShare : words;
  const std::uint32_t* from = copies.from[which] + sample * words;
  std::uint32_t* to = copies.to[which] + sample * words;
#pragma unroll 4
  for (i64 i = begin + threadIdx.x; i < end; i += kCopyThreads) to[i] = from[i];
}

template <int Rows>
void launch(i64 batch, i64 length, const Rule& rule, const FixedPointState& state, const float* image,
            const Where& where, double* scratch, float* x, const FixedPointOutputs& out) {
  const char* what = "launching fixed_point_step";
  const auto kernel = fixed_point_kernel<Rows>;
  const DeviceGuard guard(where.device);
  const int blocks = has_clusters(kernel, where.device, what) ? blocks_for(length) : 1;
  cudaLaunchAttribute cluster = {};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim.x = blocks;
  cluster.val.clusterDim.y = 1;
  cluster.val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(unsigned(batch * blocks));
  config.blockDim = dim3(kThreads);
  config.stream = static_cast<cudaStream_t>(where.stream);
  config.attrs = &cluster;
  config.numAttrs = blocks > 1;
  check(cudaLaunchKernelEx(&config, kernel, batch, length, rule, state, image, blocks, scratch, x, out), what);
}

}  // namespace

i64 fixed_point_step_cuda_scratch(i64 batch, i64 length) { return batch * blocks_for(length) * kSums; }

void fixed_point_step_cuda(i64 batch, i64 length, const FixedPointRule& given, const FixedPointState& state,
                           const float* image, const Where& where, double* scratch, float* x,
                           const FixedPointOutputs& out) {
  if (given.anderson && (given.m < 1 || given.m > kMaxRows))
    throw std::invalid_argument("fixed_point_step: a window of 1 to 16 points");
  if (batch == 0) return;
  const bool anderson = given.anderson;
  const Rule rule{anderson,
                  anderson && given.adapted,
                  given.relative,
                  given.best,
                  given.m,
                  given.max_iter,
                  float(given.beta),
                  anderson ? float(given.restart * given.restart) : 0.0f,
                  anderson ? float(given.drop * given.drop) : 0.0f,
                  float(given.tol),
                  given.ridge};
  if (anderson && given.m > kMaxRows / 2)
    launch<kMaxRows>(batch, length, rule, state, image, where, scratch, x, out);
  else
    launch<kMaxRows / 2>(batch, length, rule, state, image, where, scratch, x, out);
}

void keep_rows_cuda(const std::vector<KeptRows>& tensors, i64 batch, const std::int8_t* better, const Where& where) {
  for (std::size_t begin = 0; begin < tensors.size(); begin += kMaxKept) {
    Copies copies = {};
    copies.count = int(std::min(tensors.size() - begin, std::size_t(kMaxKept)));
    i64 blocks = 0;
    for (int n = 0; n < copies.count; ++n) {
      const KeptRows& rows = tensors[begin + n];
      if (rows.bytes % 4) throw std::invalid_argument("keep_rows: rows of whole words of 4 bytes");
      copies.from[n] = static_cast<const std::uint32_t*>(rows.from);
      copies.to[n] = static_cast<std::uint32_t*>(rows.to);
      copies.words[n] = rows.bytes / 4;
      blocks += divide_up(copies.words[n], kCopyShare);
      copies.end[n] = int(blocks);
    }
    launch_blocks("launching keep_rows", where, blocks * batch, kCopyThreads, keep_rows_kernel, copies, better);
  }
}

}  // namespace aafast
