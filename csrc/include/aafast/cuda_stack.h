// The stack of stack.h on a CUDA device: the same convolutions, GroupNorm and GELU, with activations channels last.
// Every launch goes to the caller's stream; nothing is allocated and nothing waits for the device, so that all of it
// can be captured in a graph. A sample's bits depend neither on the batch nor on its neighbours.
#pragma once
#include <cstdint>
#include <vector>

#include "aafast/conv3x3.h"
#include "aafast/stack.h"

namespace aafast {

// What wide layers compute in, and keep their activations in:
//   half    operands and activations in fp16, sums in fp32, tensor cores
//   tf32    activations in fp32, operands rounded to 11 bits of mantissa, sums in fp32, tensor cores
//   single  fp32 throughout
enum class Arithmetic { half, tf32, single };

// Weights [S, ...], S = 1 (stride 0) or one set per sample; strides in elements, those of `packed` in bytes.
struct CudaStackWeights {
  Rows<char> packed;                     // as CudaStack::pack writes it
  std::vector<Rows<float>> bias;         // per convolution, null where it has none
  std::vector<Rows<float>> norm_weight;  // per hidden layer, null where it has no GroupNorm
  std::vector<Rows<float>> norm_bias;    // likewise
};

// As StackGradients<float>, in device memory.
using CudaStackGradients = StackGradients<float>;

class CudaStack {
 public:
  // channels: inputs, hidden..., outputs; normed: per hidden layer. 1 to 8 planes at either end; hidden layers all of
  // 16, 32, 48 or 64 channels. Throws std::invalid_argument for others.
  CudaStack(std::vector<int> channels, std::vector<bool> normed, int groups, Arithmetic arithmetic);

  int layers() const { return int(channels_.size()) - 1; }

  // Bytes of one packed set of weights. `adjoint`: with those of the backward pass.
  i64 packed_size(bool adjoint) const;
  // weights: per convolution [sets, outputs, inputs, 3, 3]. packed: [sets, packed_size]; must start on 256 bytes, as
  // must every `saved` and `workspace` below.
  void pack(const std::vector<const float*>& weights, i64 sets, bool adjoint, int device, void* stream,
            void* packed) const;

  // Bytes that a sample keeps between `forward` and `backward`.
  i64 saved_size(Image) const;
  // Bytes of workspace.
  i64 forward_workspace(Image, i64 batch, bool saves) const;
  i64 backward_workspace(Image, i64 batch, bool weights) const;

  // planes: one per input, sample b's at planes[i].row(b), [H, W]. status: [B] or null; a sample whose status is not 0
  // is skipped, and its outputs are left as they are. saved: [B, saved_size] or null. out: [B, outputs, H, W].
  void forward(Image, i64 batch, const std::vector<Rows<float>>& planes, const CudaStackWeights&,
               const std::int8_t* status, int device, void* stream, void* saved, void* workspace, float* out) const;

  // d_out: [B, outputs, H, W]. d_in: [B, inputs, H, W] or null. The packed weights must hold the adjoint. Gradients
  // are carried times loss_scale, a power of two, and divided by it where they are written.
  void backward(Image, i64 batch, const std::vector<Rows<float>>& planes, const CudaStackWeights&, const float* d_out,
                const void* saved, float loss_scale, const std::int8_t* status, int device, void* stream,
                void* workspace, float* d_in, const CudaStackGradients&) const;

 private:
  template <Arithmetic A>
  struct Passes;  // the launches of one arithmetic
  template <class F>
  auto with_arithmetic(const F& f) const;
  int hidden() const { return channels_[1]; }

  std::vector<int> channels_;
  std::vector<bool> normed_;
  int groups_;
  Arithmetic arithmetic_;
};

}  // namespace aafast
