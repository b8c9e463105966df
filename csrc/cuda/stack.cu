// The stack of cuda_stack.h as launches of the kernels of conv.cuh, one after the other on the caller's stream.
#include "aafast/cuda_stack.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "conv.cuh"

namespace aafast {
namespace {

constexpr i64 kAlign = 256;  // bytes; every part of a memory starts on a line of its own

i64 aligned(i64 bytes) { return divide_up(bytes, kAlign) * kAlign; }

template <class T>
Batched<const T> batched(const Rows<T>& rows) {
  return {rows.at, rows.stride};
}

Planes planes_of(const std::vector<Rows<float>>& rows) {
  Planes planes{int(rows.size()), {}};
  for (std::size_t i = 0; i < rows.size(); ++i) planes.plane[i] = batched(rows[i]);
  return planes;
}

// The planes of a tensor [B, count, H, W].
Planes planes_of(const float* images, int count, i64 pixels) {
  Planes planes{count, {}};
  for (int i = 0; i < count; ++i) planes.plane[i] = {images + i * pixels, count * pixels};
  return planes;
}

}  // namespace

CudaStack::CudaStack(std::vector<int> channels, std::vector<bool> normed, int groups, Arithmetic arithmetic)
    : channels_(std::move(channels)), normed_(std::move(normed)), groups_(groups), arithmetic_(arithmetic) {
  const int count = layers() - 1;
  if (count < 1 || int(normed_.size()) != count) throw std::invalid_argument("a stack has two convolutions or more");
  if (layers() > kPackJobs / 2) throw std::invalid_argument("a stack on a CUDA device has at most 16 convolutions");
  if (channels_.front() > kThin || channels_.back() > kThin || channels_.front() < 1 || channels_.back() < 1)
    throw std::invalid_argument("a stack starts and ends with 1 to 8 planes");
  for (int l = 1; l <= count; ++l)
    if (channels_[l] != hidden() || hidden() % 16 || hidden() < 16 || hidden() > 64)
      throw std::invalid_argument("on a CUDA device all hidden layers have 16, 32, 48 or 64 channels, the same number");
  if (std::find(normed_.begin(), normed_.end(), true) != normed_.end() && (groups < 1 || hidden() % groups))
    throw std::invalid_argument("groups do not divide the channels");
}

// What a layer leaves, for one sample: its raw values, then its NormRow rows.
template <Arithmetic A>
struct CudaStack::Passes {
  using T = Storage<A>;
  const CudaStack& stack;
  const int last = stack.layers() - 1, C = stack.hidden();
  const int inputs = stack.channels_.front(), outputs = stack.channels_.back();

  // ---- packed weights: every layer's forward pack, then every layer's adjoint pack

  Layer kind(int l, bool adjoint) const {
    if (l == (adjoint ? last : 0)) return Layer::widen;
    return l == (adjoint ? 0 : last) ? Layer::narrow : Layer::wide;
  }
  i64 layer_packed(int l, bool adjoint) const {
    switch (kind(l, adjoint)) {
      case Layer::widen: return aligned(widen_packed_size<A>(adjoint ? outputs : inputs, C));
      case Layer::narrow: return aligned(narrow_packed_size<A>(C, adjoint ? inputs : outputs));
      default: return aligned(wide_packed_size<A>(C));
    }
  }
  i64 offset(int layer, bool adjoint) const {
    i64 at = adjoint ? packed_size(false) : 0;
    for (int l = 0; l < layer; ++l) at += layer_packed(l, adjoint);
    return at;
  }
  i64 packed_size(bool adjoint) const {
    i64 size = 0;
    for (int l = 0; l <= last; ++l) size += layer_packed(l, false) + (adjoint ? layer_packed(l, true) : 0);
    return size;
  }
  void pack(const std::vector<const float*>& weights, i64 sets, bool adjoint, int device, void* stream,
            void* packed) const {
    PackJob jobs[kPackJobs];
    int count = 0;
    for (int back = 0; back <= int(adjoint); ++back)
      for (int l = 0; l <= last; ++l)
        jobs[count++] = {kind(l, back), weights[l],       stack.channels_[l], stack.channels_[l + 1],
                         back == 1,     offset(l, back == 1)};
    pack_layers<A>(jobs, count, sets, packed_size(adjoint), device, static_cast<cudaStream_t>(stream),
                   static_cast<char*>(packed));
  }
  Batched<const char> packed(const CudaStackWeights& w, int l, bool adjoint) const {
    return {w.packed.at + offset(l, adjoint), w.packed.stride};
  }

  // ---- memory

  i64 values_size(Image image) const { return aligned(image.pixels() * C * i64(sizeof(T))); }
  i64 layer_size(Image image) const { return values_size(image) + aligned(kNormRows * C * i64(sizeof(float))); }
  i64 saved_size(Image image) const { return last * layer_size(image); }
  int parts(Image image) const { return std::max(widen_parts(image, C), wide_parts(image, C)); }
  i64 sums_size(Image image, i64 batch) const {
    return aligned(batch * parts(image) * 2 * C * i64(sizeof(float)));
  }
  i64 forward_workspace(Image image, i64 batch, bool saves) const {
    return sums_size(image, batch) + (saves ? 0 : 2 * batch * layer_size(image));
  }
  i64 coefficients_size(i64 batch) const { return aligned(batch * 3 * C * i64(sizeof(float))); }
  i64 gradients_workspace(Image image, i64 batch) const {
    i64 most = std::max(thin_weight_workspace<A>(image, batch, inputs, C),
                        thin_weight_workspace<A>(image, batch, outputs, C));
    if (last > 1) most = std::max(most, wide_weight_workspace<A>(image, batch, C));
    return aligned(most);
  }
  i64 backward_workspace(Image image, i64 batch, bool weights) const {
    return sums_size(image, batch) + coefficients_size(batch) + 2 * batch * values_size(image) +
           (weights ? gradients_workspace(image, batch) : 0);
  }

  // One layer's share of the memory of all samples, `stride` bytes from one sample to the next.
  struct Kept {
    char* at;
    i64 stride, values;
    int C;
    bool normed;
    Batched<T> y() const { return {reinterpret_cast<T*>(at), stride / i64(sizeof(T))}; }
    Batched<const T> x() const { return {y().at, y().stride}; }
    Batched<float> record() const {
      return {reinterpret_cast<float*>(at + values), stride / i64(sizeof(float))};
    }
    Batched<const float> row(int i) const {
      return normed ? Batched<const float>{record().at + i * C, record().stride} : Batched<const float>{};
    }
    WideSource<A> activation() const { return {Read::gelu, x(), {}, row(kNormA), row(kNormB), {}}; }
  };
  Kept kept(Image image, char* memory, i64 stride, int slot, int l) const {
    return {memory + slot * layer_size(image), stride, values_size(image), C, bool(stack.normed_[l])};
  }

  // ---- the passes

  void forward(const Call& call, const std::vector<Rows<float>>& planes, const CudaStackWeights& w, char* saved,
               char* workspace, float* out) const {
    const Image image = call.image;
    const i64 part = 2 * C;
    auto* const sums = reinterpret_cast<float*>(workspace);
    char* const moving = workspace + sums_size(image, call.batch);
    // Kept layers stand side by side; others take turns in two places.
    const auto layer = [&](int l) {
      return saved ? kept(image, saved, saved_size(image), l, l) : kept(image, moving, 2 * layer_size(image), l % 2, l);
    };
    for (int l = 0; l < last; ++l) {
      const Kept to = layer(l);
      const int parts = l == 0 ? widen_parts(image, C) : wide_parts(image, C);
      const Batched<float> found = {stack.normed_[l] ? sums : nullptr, parts * part};
      const WideTarget<A> target = {Write::sums, to.y(), batched(w.bias[l]), {}, {}, {}, found};
      if (l == 0)
        conv_widen<A>(call, planes_of(planes), 1.0f, packed(w, l, false), target);
      else
        conv_wide<A>(call, packed(w, l, false), layer(l - 1).activation(), target);
      if (stack.normed_[l])
        finish_norm_forward(call, stack.groups_, parts, {sums, parts * part}, batched(w.norm_weight[l]),
                            batched(w.norm_bias[l]), to.record());
    }
    conv_narrow<A>(call, layer(last - 1).activation(), packed(w, last, false), outputs, batched(w.bias[last]), 1.0f,
                   out);
  }

  void backward(const Call& call, const std::vector<Rows<float>>& planes, const CudaStackWeights& w, const float* d_out,
                char* saved, float loss_scale, char* workspace, float* d_in, const CudaStackGradients& want) const {
    const Image image = call.image;
    const i64 batch = call.batch, part = 2 * C;
    const float unscale = 1.0f / loss_scale;
    auto* const sums = reinterpret_cast<float*>(workspace);
    workspace += sums_size(image, batch);
    auto* const coefficients = reinterpret_cast<float*>(workspace);
    workspace += coefficients_size(batch);
    const i64 stride = values_size(image) / i64(sizeof(T));
    T* d = reinterpret_cast<T*>(workspace);
    T* next = d + batch * stride;
    void* const scratch = workspace + 2 * batch * values_size(image);
    const auto layer = [&](int l) { return kept(image, saved, saved_size(image), l, l); };
    const Planes seeds = planes_of(d_out, outputs, image.pixels());

    if (want.wanted()) {
      thin_weight_gradient<A>(call, seeds, loss_scale, true, layer(last - 1).activation(), unscale, scratch,
                              want.weight[last]);
      if (want.bias[last]) plane_sums(call, seeds, want.bias[last]);
    }
    // Down the hidden layers: d is the gradient after the GroupNorm of layer l, `gradient` that before it.
    int parts = widen_parts(image, C);
    const auto target = [&](int l, T* to) {
      const Kept h = layer(l);
      const bool summed = stack.normed_[l] || (want.wanted() && want.bias[l]);
      return WideTarget<A>{Write::gelu_gradient, {to, stride}, {}, h.x(), h.row(kNormA), h.row(kNormB),
                           {summed ? sums : nullptr, parts * part}};
    };
    conv_widen<A>(call, seeds, loss_scale, packed(w, last, true), target(last - 1, d));
    for (int l = last - 1;; --l) {
      const Kept h = layer(l);
      WideSource<A> gradient = {Read::plain, {d, stride}, {}, {}, {}, {}};
      float* const d_bias = want.wanted() ? want.bias[l] : nullptr;
      if (stack.normed_[l]) {
        finish_norm_backward(call, stack.groups_, parts, {sums, parts * part}, batched(w.norm_weight[l]),
                             {h.record().at, h.record().stride}, unscale, {coefficients, 3 * C},
                             want.wanted() ? want.norm_weight[l] : nullptr, want.wanted() ? want.norm_bias[l] : nullptr,
                             d_bias);
        const auto row = [&](int i) { return Batched<const float>{coefficients + i * C, 3 * C}; };
        gradient = {Read::gradient, {d, stride}, h.x(), row(0), row(1), row(2)};
      } else if (d_bias) {
        finish_norm_backward(call, stack.groups_, parts, {sums, parts * part}, {}, {}, unscale, {}, nullptr, nullptr,
                             d_bias);
      }
      if (l == 0) {
        if (want.wanted())
          thin_weight_gradient<A>(call, planes_of(planes), 1.0f, false, gradient, unscale, scratch, want.weight[0]);
        if (d_in) conv_narrow<A>(call, gradient, packed(w, 0, true), inputs, {}, unscale, d_in);
        return;
      }
      if (want.wanted())
        wide_weight_gradient<A>(call, layer(l - 1).activation(), gradient, unscale, scratch, want.weight[l]);
      parts = wide_parts(image, C);
      conv_wide<A>(call, packed(w, l, true), gradient, target(l - 1, next));
      std::swap(d, next);
    }
  }
};

template <class F>
auto CudaStack::with_arithmetic(const F& f) const {
  switch (arithmetic_) {
    case Arithmetic::half: return f(Passes<Arithmetic::half>{*this});
    case Arithmetic::tf32: return f(Passes<Arithmetic::tf32>{*this});
    default: return f(Passes<Arithmetic::single>{*this});
  }
}

i64 CudaStack::packed_size(bool adjoint) const {
  return with_arithmetic([&](const auto& passes) { return passes.packed_size(adjoint); });
}

void CudaStack::pack(const std::vector<const float*>& weights, i64 sets, bool adjoint, int device, void* stream,
                     void* packed) const {
  with_arithmetic([&](const auto& passes) { passes.pack(weights, sets, adjoint, device, stream, packed); });
}

i64 CudaStack::saved_size(Image image) const {
  return with_arithmetic([&](const auto& passes) { return passes.saved_size(image); });
}

i64 CudaStack::forward_workspace(Image image, i64 batch, bool saves) const {
  return with_arithmetic([&](const auto& passes) { return passes.forward_workspace(image, batch, saves); });
}

i64 CudaStack::backward_workspace(Image image, i64 batch, bool weights) const {
  return with_arithmetic([&](const auto& passes) { return passes.backward_workspace(image, batch, weights); });
}

void CudaStack::forward(Image image, i64 batch, const std::vector<Rows<float>>& planes, const CudaStackWeights& w,
                        const std::int8_t* status, int device, void* stream, void* saved, void* workspace,
                        float* out) const {
  const Call call = {image, batch, hidden(), status, device, static_cast<cudaStream_t>(stream)};
  with_arithmetic([&](const auto& passes) {
    passes.forward(call, planes, w, static_cast<char*>(saved), static_cast<char*>(workspace), out);
  });
}

void CudaStack::backward(Image image, i64 batch, const std::vector<Rows<float>>& planes, const CudaStackWeights& w,
                         const float* d_out, const void* saved, float loss_scale, const std::int8_t* status, int device,
                         void* stream, void* workspace, float* d_in, const CudaStackGradients& want) const {
  const Call call = {image, batch, hidden(), status, device, static_cast<cudaStream_t>(stream)};
  char* const kept = static_cast<char*>(const_cast<void*>(saved));  // read alone, through the same layout as it is made
  with_arithmetic([&](const auto& passes) {
    passes.backward(call, planes, w, d_out, kept, loss_scale, static_cast<char*>(workspace), d_in, want);
  });
}

}  // namespace aafast
