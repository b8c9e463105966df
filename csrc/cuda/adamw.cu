// AdamW in place: many tensors in one launch, and one weight whose gradient is an outer product. Both are bound by the
// memory of theta and its moments, which is read and written once.
#include <algorithm>

#include "samples.cuh"

namespace aafast {
namespace {

constexpr int kThreads = 256;
constexpr int kEach = 4;           // elements whose loads are under way together
constexpr i64 kShare = 4096;       // elements of a block
constexpr int kRows = 4;           // rows of the outer product that a thread sums
constexpr int kColumns = 4;        // its columns, a warp apart
constexpr int kTileRows = kThreads / kWarp * kRows;
constexpr int kTileColumns = kWarp * kColumns;
constexpr int kSamples = 32;       // of the outer product, staged at a time

struct Numbers {  // of AdamwStep, in float
  float keep, lr, eps, beta1, rest1, beta2, rest2;
  double exact_beta1, exact_beta2;
};

Numbers numbers_of(const AdamwStep& rule) {
  return {float(1 - rule.lr * rule.weight_decay), float(rule.lr), float(rule.eps), float(rule.beta1),
          float(1 - rule.beta1), float(rule.beta2), float(1 - rule.beta2), rule.beta1, rule.beta2};
}

struct Turn {
  float size, rescale;  // lr / (1 - beta1^n), 1 / sqrt(1 - beta2^n)
  bool runs;
};

__device__ __forceinline__ double power(double base, i64 exponent) {
  double value = 1;
  for (; exponent > 0; exponent /= 2, base *= base)
    if (exponent % 2) value *= base;
  return value;
}

// By the first warp of a block: the corrections of one set, or of the one set of all samples.
__device__ __forceinline__ void find_turn(const Numbers& rule, double lr, const AdamwCount& count,
                                          const std::int8_t* status, bool shared_set, i64 set, Turn& turn) {
  const int lane = threadIdx.x;
  if (lane >= kWarp) return;
  int most = 0, runs = 0;
  if (shared_set) {
    for (i64 b = lane; b < count.batch; b += kWarp) {
      most = count.iterations[b] > most ? count.iterations[b] : most;
      runs |= int(!stopped(status, b));
    }
#pragma unroll
    for (int offset = kWarp / 2; offset > 0; offset /= 2) {
      const int other = __shfl_xor_sync(kAllLanes, most, offset);
      most = other > most ? other : most;
      runs |= __shfl_xor_sync(kAllLanes, runs, offset);
    }
  } else {
    most = count.iterations[set];
    runs = int(!stopped(status, set));
  }
  if (lane != 0) return;
  const i64 n = i64(most) * count.steps + count.step + 1;
  turn.size = float(lr / (1 - power(rule.exact_beta1, n)));
  turn.rescale = float(1 / sqrt(1 - power(rule.exact_beta2, n)));
  turn.runs = runs != 0;
}

struct Value {
  float theta, first, second;
};

__device__ __forceinline__ Value moved(const Numbers& rule, const Turn& turn, Value v, float g) {
  v.first = rule.beta1 * v.first + rule.rest1 * g;
  v.second = rule.beta2 * v.second + rule.rest2 * g * g;
  v.theta = rule.keep * v.theta - turn.size * v.first / (sqrtf(v.second) * turn.rescale + rule.eps);
  return v;
}

struct Tensors {
  AdamwTensor at[kMaxTensors];
  int end[kMaxTensors];  // blocks of one set up to and with this tensor
  int count;
};

__global__ void __launch_bounds__(kThreads) adamw_kernel(Tensors tensors, Numbers rule, double lr, i64 sets,
                                                         AdamwCount count, const std::int8_t* status) {
  AAFAST_SHARED(Turn, turn);
  const int blocks = tensors.end[tensors.count - 1], block = blockIdx.x % blocks;
  const i64 set = blockIdx.x / blocks;
  find_turn(rule, lr, count, status, sets == 1, set, turn);
  int which = 0;
  while (block >= tensors.end[which]) ++which;
  const AdamwTensor tensor = tensors.at[which];
  const i64 begin = (block - (which > 0 ? tensors.end[which - 1] : 0)) * kShare;
  const i64 end = begin + kShare < tensor.n ? begin + kShare : tensor.n;
  const i64 row = set * tensor.n;
  __syncthreads();
  if (!turn.runs) return;
  const Turn now = turn;
#pragma unroll 1
  for (i64 at = begin + threadIdx.x; at < end; at += kThreads * kEach) {
    Value v[kEach];
    float g[kEach];
#pragma unroll
    for (int n = 0; n < kEach; ++n) {
      const i64 i = at + n * kThreads;
      if (i >= end) continue;
      v[n] = {tensor.theta[row + i], tensor.first[row + i], tensor.second[row + i]};
      g[n] = tensor.gradient[row + i];
    }
    if (tensor.gradients > sets) {
#pragma unroll 1
      for (i64 b = 1; b < tensor.gradients; ++b)
#pragma unroll
        for (int n = 0; n < kEach; ++n)
          if (at + n * kThreads < end) g[n] += tensor.gradient[b * tensor.n + at + n * kThreads];
    }
#pragma unroll
    for (int n = 0; n < kEach; ++n) {
      const i64 i = at + n * kThreads;
      if (i >= end) continue;
      const Value next = moved(rule, now, v[n], g[n]);
      tensor.theta[row + i] = next.theta;
      tensor.first[row + i] = next.first;
      tensor.second[row + i] = next.second;
    }
  }
}

struct OuterShared {
  float left[kSamples][kTileRows];
  float right[kSamples][kTileColumns];
  Turn turn;
};

struct Outer {
  int outputs, inputs, across;  // across: tiles of columns
  const float *left, *right;
  float *theta, *first, *second;
};

__global__ void __launch_bounds__(kThreads, 3)
    adamw_outer_kernel(Outer outer, Numbers rule, double lr, AdamwCount count, const std::int8_t* status) {
  AAFAST_SHARED(OuterShared, shared);
  find_turn(rule, lr, count, status, true, 0, shared.turn);
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int top = blockIdx.x / outer.across * kTileRows, left = blockIdx.x % outer.across * kTileColumns;
  float g[kRows][kColumns] = {};
  for (i64 b0 = 0; b0 < count.batch; b0 += kSamples) {
    const int samples = count.batch - b0 < kSamples ? int(count.batch - b0) : kSamples;
    __syncthreads();
    for (int i = threadIdx.x; i < samples * kTileRows; i += kThreads) {
      const int b = i / kTileRows, o = top + i % kTileRows;
      shared.left[b][i % kTileRows] = o < outer.outputs ? outer.left[(b0 + b) * outer.outputs + o] : 0.0f;
    }
    for (int i = threadIdx.x; i < samples * kTileColumns; i += kThreads) {
      const int b = i / kTileColumns, o = left + i % kTileColumns;
      shared.right[b][i % kTileColumns] = o < outer.inputs ? outer.right[(b0 + b) * outer.inputs + o] : 0.0f;
    }
    __syncthreads();
    for (int b = 0; b < samples; ++b) {
      float factor[kColumns];
#pragma unroll
      for (int c = 0; c < kColumns; ++c) factor[c] = shared.right[b][c * kWarp + lane];
#pragma unroll
      for (int r = 0; r < kRows; ++r)
#pragma unroll
        for (int c = 0; c < kColumns; ++c) g[r][c] += shared.left[b][warp * kRows + r] * factor[c];
    }
  }
  const Turn now = shared.turn;  // written before the barriers of the first samples
  if (!now.runs) return;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const int o = top + warp * kRows + r;
    if (o >= outer.outputs) return;
    const i64 row = i64(o) * outer.inputs;
    Value v[kColumns];
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const int i = left + c * kWarp + lane;
      if (i < outer.inputs) v[c] = {outer.theta[row + i], outer.first[row + i], outer.second[row + i]};
    }
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const int i = left + c * kWarp + lane;
      if (i >= outer.inputs) continue;
      const Value next = moved(rule, now, v[c], g[r][c]);
      outer.theta[row + i] = next.theta;
      outer.first[row + i] = next.first;
      outer.second[row + i] = next.second;
    }
  }
}

void check_count(const AdamwCount& count) {
  if (count.batch < 1) throw std::invalid_argument("adamw: it goes by the iterations of at least one sample");
}

}  // namespace

void adamw_cuda(const std::vector<AdamwTensor>& tensors, i64 sets, const AdamwStep& rule, const AdamwCount& count,
                const std::int8_t* status, const Where& where) {
  check_count(count);
  if (sets != 1 && sets != count.batch) throw std::invalid_argument("adamw: one set, or one for each sample");
  for (std::size_t begin = 0; begin < tensors.size(); begin += kMaxTensors) {
    Tensors part = {};
    part.count = int(std::min(tensors.size() - begin, std::size_t(kMaxTensors)));
    i64 blocks = 0;
    for (int n = 0; n < part.count; ++n) {
      const AdamwTensor& tensor = tensors[begin + n];
      if (tensor.gradients != sets && (sets != 1 || tensor.gradients < 1))
        throw std::invalid_argument("adamw: gradients that fit no set");
      part.at[n] = tensor;
      blocks += divide_up(tensor.n, kShare);
      part.end[n] = int(blocks);
    }
    launch_blocks("launching adamw", where, blocks * sets, kThreads, adamw_kernel, part, numbers_of(rule), rule.lr,
                  sets, count, status);
  }
}

void adamw_outer_cuda(int outputs, int inputs, const float* left, const float* right, const AdamwStep& rule,
                      const AdamwCount& count, const std::int8_t* status, const Where& where, float* theta,
                      float* first, float* second) {
  check_count(count);
  const int across = int(divide_up(inputs, kTileColumns));
  const Outer outer{outputs, inputs, across, left, right, theta, first, second};
  launch_blocks("launching adamw_outer", where, divide_up(outputs, kTileRows) * across, kThreads, adamw_outer_kernel,
                outer, numbers_of(rule), rule.lr, count, status);
}

}  // namespace aafast
