// GroupNorm's statistics, forward and backward, from sums over parts of an image: one block a sample, sums in double,
// always added in the same order. A block is as large as may be, since it only waits for memory.
#include <stdexcept>

#include "conv.cuh"

namespace aafast {
namespace {

constexpr int kThreads = 1024;
constexpr int kMaxChannels = 64;
constexpr double kEps = 1e-5;

struct TotalShared {
  double part[kThreads];
  double total[2 * kMaxChannels];
};

// total[2, C] of sums [parts, 2, C]: rows are dealt out to teams of 2 C threads, whose shares are then added in order.
__device__ __forceinline__ void add_parts(const float* sums, int parts, int channels, TotalShared& shared) {
  const int columns = 2 * channels, teams = kThreads / columns;
  const int column = int(threadIdx.x) % columns, team = int(threadIdx.x) / columns;
  double sum = 0.0;
  if (team < teams)
#pragma unroll 8
    for (int part = team; part < parts; part += teams) sum += double(sums[i64(part) * columns + column]);
  shared.part[threadIdx.x] = sum;
  __syncthreads();
  if (team == 0) {
    for (int other = 1; other < teams; ++other) sum += shared.part[other * columns + column];
    shared.total[column] = sum;
  }
  __syncthreads();
}

struct ForwardNorm {
  int channels, groups, parts;
  i64 pixels;
  const std::int8_t* status;
  Batched<const float> sums, weight, bias;
  Batched<float> record;
};

__global__ void __launch_bounds__(kThreads, 1) finish_forward_kernel(ForwardNorm work) {
  AAFAST_SHARED(TotalShared, shared);
  const i64 sample = blockIdx.x;
  if (work.status && work.status[sample] != 0) return;
  const int C = work.channels, c = int(threadIdx.x);
  add_parts(work.sums.row(sample), work.parts, C, shared);
  if (c >= C) return;
  const int width = C / work.groups, first = c / width * width;
  double total = 0.0, squares = 0.0;
  for (int i = first; i < first + width; ++i) total += shared.total[i], squares += shared.total[C + i];
  const double count = double(work.pixels) * width, mean = total / count;
  const double variance = squares / count - mean * mean;
  const double scale = 1.0 / sqrt((variance < 0.0 ? 0.0 : variance) + kEps);
  const double a = scale * double(work.weight.row(sample)[c]);
  float* const record = work.record.row(sample) + c;
  record[kNormA * C] = float(a);
  record[kNormB * C] = float(double(work.bias.row(sample)[c]) - mean * a);
  record[kNormMean * C] = float(mean);
  record[kNormScale * C] = float(scale);
  record[kNormSum * C] = float(shared.total[c]);
}

struct BackwardNorm {
  int channels, groups, parts;
  i64 pixels;
  const std::int8_t* status;
  Batched<const float> sums, weight, record;
  float scale;
  Batched<float> coefficients;
  float *d_weight, *d_bias, *d_conv_bias;
};

__global__ void __launch_bounds__(kThreads, 1) finish_backward_kernel(BackwardNorm work) {
  AAFAST_SHARED(TotalShared, shared);
  const i64 sample = blockIdx.x;
  if (work.status && work.status[sample] != 0) return;
  const int C = work.channels, c = int(threadIdx.x);
  add_parts(work.sums.row(sample), work.parts, C, shared);
  if (c >= C) return;
  const double sum = shared.total[c];
  const i64 at = sample * C + c;
  const float* const weight = work.weight.row(sample);
  if (!weight) {
    if (work.d_conv_bias) work.d_conv_bias[at] = float(sum * work.scale);
    return;
  }
  const float* const record = work.record.row(sample);
  const int width = C / work.groups, first = c / width * width;
  const double mean = record[kNormMean * C + c], scale = record[kNormScale * C + c];
  double m1 = 0.0, m2 = 0.0;
  for (int i = first; i < first + width; ++i) {
    m1 += double(weight[i]) * shared.total[i];
    m2 += double(weight[i]) * scale * (shared.total[C + i] - mean * shared.total[i]);
  }
  const double count = double(work.pixels) * width;
  m1 /= count, m2 /= count;
  const double a = scale * double(weight[c]), b = -scale * scale * m2, constant = scale * (scale * mean * m2 - m1);
  float* const coefficients = work.coefficients.row(sample) + c;
  coefficients[0] = float(a);
  coefficients[C] = float(b);
  coefficients[2 * C] = float(constant);
  if (work.d_weight) work.d_weight[at] = float(scale * (shared.total[C + c] - mean * sum) * work.scale);
  if (work.d_bias) work.d_bias[at] = float(sum * work.scale);
  if (work.d_conv_bias) {
    const double before = a * sum + b * double(record[kNormSum * C + c]) + constant * double(work.pixels);
    work.d_conv_bias[at] = float(before * work.scale);
  }
}

template <class Kernel, class Work>
void launch(const Call& call, Kernel kernel, const Work& work, const char* what) {
  if (call.batch == 0) return;
  if (2 * call.channels > kThreads || call.channels > kMaxChannels)
    throw std::invalid_argument("finish_norm: at most 64 channels");
  const DeviceGuard guard(call.device);
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(unsigned(call.batch));
  config.blockDim = dim3(kThreads);
  config.stream = call.stream;
  check(cudaLaunchKernelEx(&config, kernel, work), what);
}

}  // namespace

void finish_norm_forward(const Call& call, int groups, int parts, Batched<const float> sums,
                         Batched<const float> norm_weight, Batched<const float> norm_bias, Batched<float> record) {
  const ForwardNorm work = {call.channels, groups,      parts,     call.image.pixels(), call.status, sums,
                            norm_weight,   norm_bias,   record};
  launch(call, finish_forward_kernel, work, "launching finish_norm_forward");
}

void finish_norm_backward(const Call& call, int groups, int parts, Batched<const float> sums,
                          Batched<const float> norm_weight, Batched<const float> record, float result_scale,
                          Batched<float> coefficients, float* d_norm_weight, float* d_norm_bias, float* d_bias) {
  const BackwardNorm work = {call.channels, groups, parts,        call.image.pixels(), call.status,
                             sums,          norm_weight, record,  result_scale,        coefficients,
                             d_norm_weight, d_norm_bias, d_bias};
  launch(call, finish_backward_kernel, work, "launching finish_norm_backward");
}

}  // namespace aafast
