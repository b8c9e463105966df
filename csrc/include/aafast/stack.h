// A stack of 3x3 convolutions with GroupNorm and GELU between them, as R_rho and f_theta are built: thin planes
// widened to many channels, any number of wide layers, narrowed to thin planes. GroupNorm's statistics are taken
// while a layer is written and applied, with GELU, while the next one reads.
//
// A sample goes through all layers on one thread, while its activations are in the cache; samples that do not fill
// the threads share them within each layer. Both give the same bits.
#pragma once
#include <vector>

#include "aafast/conv3x3.h"

namespace aafast {

// A tensor [S, n], S = 1 (shared, stride 0) or one row per sample.
template <class T>
struct Rows {
  const T* at = nullptr;
  i64 stride = 0;
  const T* row(i64 sample) const { return at ? at + sample * stride : nullptr; }
};

template <class T>
struct StackWeights {
  Rows<T> packed;                     // as Stack::pack writes it
  std::vector<Rows<T>> bias;          // per convolution, null where it has none
  std::vector<Rows<T>> norm_weight;   // per hidden layer, null where it has no GroupNorm
  std::vector<Rows<T>> norm_bias;     // likewise
};

// Gradients of the weights, one set per sample, each sample's values whole; null where not wanted.
template <class T>
struct StackGradients {
  std::vector<T*> weight;       // per convolution [B, outputs, inputs, 3, 3]
  std::vector<T*> bias;         // per convolution [B, outputs]
  std::vector<T*> norm_weight;  // per hidden layer [B, channels]
  std::vector<T*> norm_bias;
  bool wanted() const { return !weight.empty(); }
};

template <class T>
class Stack {
 public:
  // channels: inputs, hidden..., outputs; normed: per hidden layer. Throws std::invalid_argument where no
  // instruction set can take these counts.
  Stack(std::vector<int> channels, std::vector<bool> normed, int groups, int tile);

  int layers() const { return int(channels_.size()) - 1; }
  const char* isa() const { return kernels_->isa; }

  // Elements of T of one packed set of weights. `adjoint`: with those of the backward pass.
  i64 packed_size(bool adjoint) const;
  // weights: per convolution [sets, outputs, inputs, 3, 3].
  void pack(const std::vector<const T*>& weights, i64 sets, bool adjoint, int threads, T* packed) const;

  // Elements of T that a sample's activations take, kept for `backward`.
  i64 saved_size(Image) const;
  // Elements of T of workspace.
  i64 forward_workspace(Image, i64 batch, int threads, bool saves) const;
  i64 backward_workspace(Image, i64 batch, int threads, bool weights) const;

  // planes: one per input, sample b's at planes[i].row(b), [H, W]. out: [B, outputs, H, W]. saved: [B, saved_size]
  // or null.
  void forward(Image, i64 batch, const std::vector<Rows<T>>& planes, const StackWeights<T>&, int threads, T* saved,
               T* workspace, T* out) const;

  // d_out: [B, outputs, H, W]. d_in: [B, inputs, H, W] or null. The packed weights must hold the adjoint.
  void backward(Image, i64 batch, const std::vector<Rows<T>>& planes, const StackWeights<T>&, const T* d_out,
                const T* saved, int threads, T* workspace, T* d_in, const StackGradients<T>&) const;

 private:
  struct Lane;  // what one sample in flight works in
  struct Pass;
  int hidden(int layer) const { return channels_[layer + 1]; }
  i64 weight_offset(int layer, bool adjoint) const;
  i64 layer_packed(int layer, bool adjoint) const;
  i64 scratch_size(Image, bool backward, bool weights) const;
  i64 lane_size(Image, bool backward, bool weights, bool saves) const;
  i64 saved_offset(Image, int layer) const;

  std::vector<int> channels_;
  std::vector<bool> normed_;
  int groups_, tile_;
  const Conv3x3<T>* kernels_;
};

}  // namespace aafast
