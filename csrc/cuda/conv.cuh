// The kernels that a stack of 3x3 convolutions is made of, over whole batches; conv3x3.h says what a Source reads and
// what a Target writes. Channels last; a wide image has 16, 32, 48 or 64 channels, a thin one is 1 to 8 fp32 planes.
//
// Common to all: weights are torch's cross-correlation, out[o](p) = sum_{i, ky, kx} w[o, i, ky, kx] in[i](p + (ky - 1,
// kx - 1)), zero outside; the adjoint is the same kernel on weights packed with inputs and outputs exchanged and taps
// turned by half a turn. Every image is cut into parts by its height, width and channels alone; whatever is summed over
// pixels is summed per part and the parts are added in order. A sample whose status is not 0 is skipped: its blocks
// return at once and leave what they would have written untouched. Launchers throw std::runtime_error naming the
// launch; they neither wait nor allocate. Pointers to wide images and packed weights are aligned to 16 bytes.
#pragma once
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "aafast/cuda_stack.h"
#include "launch.cuh"

namespace aafast {

// A wide image's elements in device memory.
template <Arithmetic A>
using Storage = std::conditional_t<A == Arithmetic::half, __half, float>;

// A tensor [S, n]: sample b's row is at + b stride; stride 0 where all share one. at may be null where a tensor is
// optional. T may be const; strides count elements of T.
template <class T>
struct Batched {
  T* at = nullptr;
  i64 stride = 0;
  __host__ __device__ T* row(i64 sample) const { return at ? at + sample * stride : nullptr; }
};

// What every launch needs to know. Grid and blocks are the launcher's own choice.
struct Call {
  Image image;
  i64 batch;
  int channels;               // of the wide images
  const std::int8_t* status;  // [batch] or null
  int device;
  cudaStream_t stream;
};

// Read::plain, gelu or gradient. For gelu, null a and b stand for 1 and 0 (a layer without GroupNorm).
template <Arithmetic A>
struct WideSource {
  Read kind = Read::plain;
  Batched<const Storage<A>> x;   // [S, H, W, C]
  Batched<const Storage<A>> x2;  // [S, H, W, C], gradient only
  Batched<const float> a;        // [S, C]
  Batched<const float> b;        // [S, C]
  Batched<const float> c;        // [S, C], gradient only
};

// Write::sums or gelu_gradient. sums[b, part, 0 or 1, c] in fp32, each part its own row, written whole (0 where it has
// no pixel); null where they are not wanted. For gelu_gradient, null a and b stand for 1 and 0. The sums are of the
// values before they are rounded to Storage.
template <Arithmetic A>
struct WideTarget {
  Write kind = Write::sums;
  Batched<Storage<A>> y;         // [B, H, W, C]
  Batched<const float> bias;     // [S, C] or null, sums only
  Batched<const Storage<A>> h;   // [B, H, W, C], gelu_gradient only
  Batched<const float> a;        // [B, C], gelu_gradient only
  Batched<const float> b;        // [B, C], gelu_gradient only
  Batched<float> sums;           // [B, parts, 2, C] or null
};

// Thin planes: sample b's plane i is at plane[i].row(b), [H, W] fp32.
struct Planes {
  int count;
  Batched<const float> plane[kThin];
};

// ---- wide to wide (conv_wide.cu)

// Bytes of one layer's packed weights: [9 taps, C, C] of Storage, in the order that wide_place gives.
template <Arithmetic A>
constexpr i64 wide_packed_size(int channels) {
  return i64(9) * channels * channels * sizeof(Storage<A>);
}

// Place (in elements of Storage) of the weight of tap t = 3 ky + kx from input k to output n. The adjoint puts
// w[k, n, 8 - t] (torch's [outputs, inputs, ...]) where the forward pack puts w[n, k, t]. For tf32 the value stored is
// rounded to tf32 (round_tf32 of mma.cuh). For half and tf32 this is the order in which the lanes of a warp take their
// fragments of mma: a lane's 16 bytes are adjacent, and the columns of its accumulators are adjacent channels.
template <Arithmetic A>
__host__ __device__ constexpr int wide_place(int channels, int t, int k, int n) {
  if (A == Arithmetic::single) return (t * channels + k) * channels + n;
  const int across = channels == 64 ? 2 : 1;      // warps side by side over the output channels
  const int width = channels / across;            // output channels of a warp
  const int own = width / 4;                      // adjacent output channels of a lane, two in each tile of 8
  const int depth = 32 / int(sizeof(Storage<A>));  // input channels of one mma
  const int pair = depth / 8;                     // input channels in a register: 2 of fp16, 1 of fp32
  const int warp = n / width, column = n % width;
  const int tile = column % own / 2, g = 2 * (column / own) + column % 2;  // column g of tile
  const int block = k / depth, row = k % depth;
  const int high = row / (depth / 2), q = row % (depth / 2) / pair;
  const int lane = 4 * g + q;
  const int pairs = ((t * (channels / depth) + block) * across + warp) * (width / 16) + tile / 2;
  const int registers = (pairs * 32 + lane) * 4 + tile % 2 * 2 + high;
  return registers * pair + row % pair;
}

// Rows of `sums` that conv_wide writes.
int wide_parts(Image, int channels);

// y <- convolution of v. Kinds that occur: gelu -> sums, gradient -> gelu_gradient, plain -> gelu_gradient; others
// throw std::invalid_argument.
template <Arithmetic A>
void conv_wide(const Call&, Batched<const char> packed, const WideSource<A>&, const WideTarget<A>&);

// ---- GroupNorm from the sums (finish_norm.cu)

// What a layer's GroupNorm leaves for its readers, by channel: a and b of its affine form, mean, 1 / deviation, and
// the sum of its input over the pixels.
enum NormRow { kNormA, kNormB, kNormMean, kNormScale, kNormSum, kNormRows };

// record [B, kNormRows, C] from sums [B, parts, 2, C].
void finish_norm_forward(const Call&, int groups, int parts, Batched<const float> sums,
                         Batched<const float> norm_weight, Batched<const float> norm_bias, Batched<float> record);

// From the sums of d and d h (Write::gelu_gradient): coefficients [B, 3, C], the rows a, b, c of the Source that
// reads the gradient before GroupNorm; and, each where its pointer is not null, the gradients [B, C] of GroupNorm's
// weight and bias and of the convolution's bias, times result_scale. norm_weight null: a layer without GroupNorm,
// d_bias only.
void finish_norm_backward(const Call&, int groups, int parts, Batched<const float> sums,
                          Batched<const float> norm_weight, Batched<const float> record, float result_scale,
                          Batched<float> coefficients, float* d_norm_weight, float* d_norm_bias, float* d_bias);

// ---- packing (pack.cu)

enum class Layer { widen, wide, narrow };

// One layer of torch's weights [S, outputs, inputs, 3, 3], packed as `kind`; adjoint: inputs and outputs are exchanged
// and the taps turned first, and `kind` is that of the exchanged layer (the first layer's adjoint is a narrow one).
struct PackJob {
  Layer kind;
  const float* weight;
  int inputs, outputs;  // of `weight` as torch has it
  bool adjoint;
  i64 offset;  // bytes from the start of a set, a multiple of 256
};
constexpr int kPackJobs = 32;

// Bytes that a packed thin layer takes.
template <Arithmetic A>
i64 widen_packed_size(int inputs, int channels);
template <Arithmetic A>
i64 narrow_packed_size(int channels, int outputs);

// All jobs (at most kPackJobs) of all sets in one launch. packed: [sets, set_size] bytes.
template <Arithmetic A>
void pack_layers(const PackJob* jobs, int count, i64 sets, i64 set_size, int device, cudaStream_t stream, char* packed);

// ---- thin planes to wide and back (conv_widen.cu, conv_narrow.cu)

// Rows of `sums` that conv_widen writes.
int widen_parts(Image, int channels);

// y <- convolution of scale times the planes; any Target.
template <Arithmetic A>
void conv_widen(const Call&, const Planes&, float scale, Batched<const char> packed, const WideTarget<A>&);

// out [B, outputs, H, W] <- scale times the convolution of v, plus bias ([S, outputs] or null); any Source.
template <Arithmetic A>
void conv_narrow(const Call&, const WideSource<A>&, Batched<const char> packed, int outputs, Batched<const float> bias,
                 float scale, float* out);

// ---- gradients of weights (weight_wide.cu, weight_thin.cu)

// Bytes of workspace for a batch.
template <Arithmetic A>
i64 wide_weight_workspace(Image, i64 batch, int channels);
template <Arithmetic A>
i64 thin_weight_workspace(Image, i64 batch, int planes, int channels);

// out[b, o, i, ky, kx] = scale times the sum over pixels p of gradient_o(p) input_i(p + (ky - 1, kx - 1)), input read
// as 0 outside. input: kind gelu; gradient: kind gradient or plain. out: [B, C, C, 3, 3].
template <Arithmetic A>
void wide_weight_gradient(const Call&, const WideSource<A>& input, const WideSource<A>& gradient, float scale,
                          void* workspace, float* out);

// The same with planes (times plane_scale when read) on one side. planes_are_outputs false: the planes are the inputs
// of the first layer, wide its gradient, out [B, C, planes, 3, 3]; true: the planes are the gradient of the last layer,
// wide its input, out [B, planes, C, 3, 3].
template <Arithmetic A>
void thin_weight_gradient(const Call&, const Planes&, float plane_scale, bool planes_are_outputs,
                          const WideSource<A>& wide, float scale, void* workspace, float* out);

// out[b, i] = sum of plane i over the pixels (the gradient of the last bias). No workspace: a block per plane.
void plane_sums(const Call&, const Planes&, float* out);

}  // namespace aafast
