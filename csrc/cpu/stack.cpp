#include "aafast/stack.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "aafast/threads.h"

namespace aafast {
namespace {

constexpr double kEps = 1e-5;   // GroupNorm's
constexpr i64 kAlign = 64;      // elements; every part of a workspace starts on a cache line of its own

i64 aligned(i64 n) { return divide_up(n, kAlign) * kAlign; }

// Calls f(job, thread) for every job, on `threads` threads.
template <class F>
void each(int jobs, int threads, const F& f) {
  if (threads <= 1 || jobs <= 1) {
    for (int job = 0; job < jobs; ++job) f(job, 0);
    return;
  }
#pragma omp parallel num_threads(threads)
  {
    const int thread = thread_number();
#pragma omp for schedule(dynamic, 1)
    for (int job = 0; job < jobs; ++job) f(job, thread);
  }
}

// Deals samples out to threads, f(sample, lane, threads within): as many as fill them evenly one each, the rest one
// after the other with all threads within.
template <class F>
void each_sample(i64 batch, int threads, const F& f) {
  const i64 even = threads > 1 ? batch / threads * threads : batch;
  if (threads > 1 && even > 0) {
#pragma omp parallel num_threads(threads)
    {
      const int lane = thread_number();
#pragma omp for schedule(dynamic, 1)
      for (i64 b = 0; b < even; ++b) f(b, lane, 1);
    }
  } else {
    for (i64 b = 0; b < even; ++b) f(b, 0, 1);
  }
  for (i64 b = even; b < batch; ++b) f(b, 0, threads);
}

}  // namespace

template <class T>
Stack<T>::Stack(std::vector<int> channels, std::vector<bool> normed, int groups, int tile)
    : channels_(std::move(channels)), normed_(std::move(normed)), groups_(groups), tile_(tile) {
  const int count = layers() - 1;
  if (count < 1 || int(normed_.size()) != count) throw std::invalid_argument("a stack has two convolutions or more");
  if (tile != 2 && tile != 4) throw std::invalid_argument("Winograd tiles have 2 or 4 pixels a side");
  if (channels_.front() > kThin || channels_.back() > kThin || channels_.front() < 1 || channels_.back() < 1)
    throw std::invalid_argument("a stack starts and ends with 1 to 8 planes");
  kernels_ = conv3x3<T>(channels_.data() + 1, count);
  if (!kernels_) throw std::invalid_argument("hidden channels fit no instruction set's vectors: make them a multiple of 4");
  for (int l = 0; l < count; ++l)
    if (normed_[l] && (groups < 1 || hidden(l) % groups)) throw std::invalid_argument("groups do not divide the channels");
}

// ---- packed weights: every layer's forward pack, then every layer's adjoint pack

template <class T>
i64 Stack<T>::layer_packed(int l, bool adjoint) const {
  const int in = adjoint ? channels_[l + 1] : channels_[l], out = adjoint ? channels_[l] : channels_[l + 1];
  const bool first = l == 0, last = l == layers() - 1;
  if (adjoint ? last : first) return aligned(kernels_->widen_packed(in, out));
  if (adjoint ? first : last) return aligned(kernels_->narrow_packed(in, out));
  return aligned(kernels_->winograd_packed(tile_, in, out));
}

template <class T>
i64 Stack<T>::weight_offset(int layer, bool adjoint) const {
  i64 at = adjoint ? packed_size(false) : 0;
  for (int l = 0; l < layer; ++l) at += layer_packed(l, adjoint);
  return at;
}

template <class T>
i64 Stack<T>::packed_size(bool adjoint) const {
  i64 size = 0;
  for (int l = 0; l < layers(); ++l) size += layer_packed(l, false) + (adjoint ? layer_packed(l, true) : 0);
  return size;
}

template <class T>
void Stack<T>::pack(const std::vector<const T*>& weights, i64 sets, bool adjoint, int threads, T* packed) const {
  const i64 size = packed_size(adjoint);
  const int passes = adjoint ? 2 : 1;
  each(int(sets) * layers() * passes, threads, [&](int job, int) {
    const bool back = job % passes == 1;
    const int l = job / passes % layers();
    const i64 set = job / passes / layers();
    const int in = channels_[l], out = channels_[l + 1];
    const T* weight = weights[l] + set * (i64(in) * out * 9);
    T* to = packed + set * size + weight_offset(l, back);
    if (back ? l == layers() - 1 : l == 0) return kernels_->widen_pack(weight, in, out, back, to);
    if (back ? l == 0 : l == layers() - 1) return kernels_->narrow_pack(weight, in, out, back, to);
    kernels_->winograd_pack(tile_, weight, in, out, back, to);
  });
}

// ---- what a sample keeps: per hidden layer its raw values, then a, b, mean, 1 / deviation and sum, by channel

template <class T>
i64 Stack<T>::saved_offset(Image image, int layer) const {
  i64 at = 0;
  for (int l = 0; l < layer; ++l) at += aligned(image.pixels() * hidden(l)) + aligned(5 * hidden(l));
  return at;
}

template <class T>
i64 Stack<T>::saved_size(Image image) const {
  return saved_offset(image, layers() - 1);
}

template <class T>
i64 Stack<T>::scratch_size(Image image, bool backward, bool weights) const {
  i64 most = 0;
  const int last = layers() - 1, in = channels_.front(), out = channels_.back();
  const Conv3x3<T>& k = *kernels_;
  if (!backward) {
    most = std::max(k.widen_scratch(image, in, hidden(0)), k.narrow_scratch(image, hidden(last - 1), out));
    for (int l = 1; l < last; ++l) most = std::max(most, k.winograd_scratch(tile_, image, channels_[l], hidden(l)));
  } else {
    most = std::max(k.widen_scratch(image, out, hidden(last - 1)), k.narrow_scratch(image, hidden(0), in));
    for (int l = 1; l < last; ++l) {
      most = std::max(most, k.winograd_scratch(tile_, image, hidden(l), channels_[l]));
      if (weights) most = std::max(most, k.winograd_weight_scratch(tile_, image, channels_[l], hidden(l)));
    }
    if (weights)
      most = std::max({most, k.thin_weight_scratch(image, in, hidden(0)),
                       k.thin_weight_scratch(image, out, hidden(last - 1))});
  }
  return aligned(most);
}

// One sample in flight: buffers that its layers pass on, the jobs' sums, the jobs' parts of a weight's gradient.
template <class T>
struct Stack<T>::Lane {
  T* buffer[2];
  T* coefficients;  // [2, 5, C]: of a layer and the one before it
  T* partials;
  double* sums;  // [jobs, 2, C]
};

template <class T>
struct Stack<T>::Pass {
  const Stack<T>& stack;
  Image image;
  bool backward, weights, saves;
  i64 widest, buffers, jobs, partials, lane, scratch;
  int lanes, threads;
  T* workspace;

  Pass(const Stack<T>& s, Image im, i64 batch, int threads_, bool back, bool want, bool keep, T* memory)
      : stack(s), image(im), backward(back), weights(want), saves(keep), threads(threads_), workspace(memory) {
    const Conv3x3<T>& k = *s.kernels_;
    widest = jobs = partials = 0;
    const int in = s.channels_.front(), out = s.channels_.back();
    for (int l = 0; l < s.layers() - 1; ++l) widest = std::max<i64>(widest, s.hidden(l));
    jobs = std::max({k.widen_jobs(im), k.narrow_jobs(im), k.winograd_jobs(s.tile_, im)});
    if (want) {
      const i64 thin = std::max(in, out) * 9 * widest * k.thin_weight_jobs(im);
      partials = thin;
      for (int l = 1; l < s.layers() - 1; ++l)
        partials = std::max(partials, k.winograd_weight_jobs(s.tile_, im) *
                                          k.winograd_weight_partial(s.tile_, s.channels_[l], s.hidden(l)));
    }
    buffers = aligned(im.pixels() * widest);
    const int moving = back || !keep ? 2 : 0;
    const i64 doubles = jobs * 2 * widest * i64(sizeof(double) / sizeof(T));
    lane = moving * buffers + aligned(10 * widest) + aligned(partials) + aligned(doubles);
    scratch = s.scratch_size(im, back, want);
    lanes = threads > 1 && batch >= threads ? threads : 1;
  }

  i64 size() const { return lanes * lane + threads * scratch + kAlign; }

  Lane lane_at(int index) const {
    T* at = workspace + index * lane;
    Lane found{};
    if (backward || !saves) {
      found.buffer[0] = at;
      found.buffer[1] = at + buffers;
      at += 2 * buffers;
    }
    found.coefficients = at;
    at += aligned(10 * widest);
    found.partials = at;
    at += aligned(partials);
    found.sums = reinterpret_cast<double*>(at);
    return found;
  }

  // A lane that runs alone on its thread has scratch of that thread; one that shares all threads, all of it.
  T* scratch_at(int index, int thread) const { return workspace + lanes * lane + (index + thread) * scratch; }
};

template <class T>
i64 Stack<T>::forward_workspace(Image image, i64 batch, int threads, bool saves) const {
  return Pass(*this, image, batch, threads, false, false, saves, nullptr).size();
}

template <class T>
i64 Stack<T>::backward_workspace(Image image, i64 batch, int threads, bool weights) const {
  return Pass(*this, image, batch, threads, true, weights, true, nullptr).size();
}

namespace {

// Adds up the jobs' sums in order: totals [2, C] in the first row.
void reduce_sums(double* sums, int jobs, int channels) {
  for (int job = 1; job < jobs; ++job)
    for (int i = 0; i < 2 * channels; ++i) sums[i] += sums[i64(job) * 2 * channels + i];
}

// By channel: a, b of the affine form of GroupNorm, then its mean, 1 / deviation and the layer's sum.
template <class T>
struct Norm {
  T *a, *b, *mean, *scale, *sum;
  Norm(T* at, int channels)
      : a(at), b(at + channels), mean(at + 2 * channels), scale(at + 3 * channels), sum(at + 4 * channels) {}
};

template <class T>
void normalise(const double* sums, int channels, int groups, i64 pixels, const T* weight, const T* bias,
               const Norm<T>& norm) {
  const int width = channels / groups;
  for (int g = 0; g < groups; ++g) {
    double total = 0, squares = 0;
    for (int c = g * width; c < (g + 1) * width; ++c) total += sums[c], squares += sums[channels + c];
    const double count = double(pixels) * width, mean = total / count;
    const double variance = squares / count - mean * mean;
    const double scale = 1.0 / std::sqrt((variance < 0 ? 0 : variance) + kEps);
    for (int c = g * width; c < (g + 1) * width; ++c) {
      const double a = scale * double(weight[c]);
      norm.a[c] = T(a);
      norm.b[c] = T(double(bias[c]) - mean * a);
      norm.mean[c] = T(mean);
      norm.scale[c] = T(scale);
      norm.sum[c] = T(sums[c]);
    }
  }
}

template <class T>
void identity(const Norm<T>& norm, int channels) {
  for (int c = 0; c < channels; ++c) norm.a[c] = norm.scale[c] = T(1), norm.b[c] = norm.mean[c] = norm.sum[c] = T(0);
}

// From the sums of d and d h over the pixels (d the gradient after GroupNorm, h its input): the coefficients
// [3, C] of the gradient before it, A d + B h + C, and the gradients of its own weight and bias.
template <class T>
void norm_backward(const double* sums, int channels, int groups, i64 pixels, const T* weight, const Norm<T>& norm,
                   T* coefficients, T* d_weight, T* d_bias) {
  const int width = channels / groups;
  for (int g = 0; g < groups; ++g) {
    const double mean = norm.mean[g * width], scale = norm.scale[g * width];
    double m1 = 0, m2 = 0;
    for (int c = g * width; c < (g + 1) * width; ++c) {
      const double towards = scale * (sums[channels + c] - mean * sums[c]);
      m1 += double(weight[c]) * sums[c];
      m2 += double(weight[c]) * towards;
      if (d_weight) d_weight[c] = T(towards);
      if (d_bias) d_bias[c] = T(sums[c]);
    }
    const double count = double(pixels) * width;
    m1 /= count, m2 /= count;
    for (int c = g * width; c < (g + 1) * width; ++c) {
      coefficients[c] = T(scale * double(weight[c]));
      coefficients[channels + c] = T(-scale * scale * m2);
      coefficients[2 * channels + c] = T(scale * (scale * mean * m2 - m1));
    }
  }
}

}  // namespace

template <class T>
void Stack<T>::forward(Image image, i64 batch, const std::vector<Rows<T>>& planes, const StackWeights<T>& w,
                       int threads, T* saved, T* workspace, T* out) const {
  const Pass pass(*this, image, batch, threads, false, false, saved != nullptr, workspace);
  const Conv3x3<T>& k = *kernels_;
  const int last = layers() - 1;
  each_sample(batch, threads, [&](i64 b, int index, int within) {
    const Lane lane = pass.lane_at(index);
    const T* packed = w.packed.row(b);
    T* const kept = saved ? saved + b * saved_size(image) : nullptr;
    Source<T> source{};
    for (int l = 0; l < last; ++l) {
      const int in = channels_[l], channels = hidden(l);
      T* at = kept ? kept + saved_offset(image, l) : lane.buffer[l % 2];
      const Norm<T> norm(kept ? at + aligned(image.pixels() * channels) : lane.coefficients + l % 2 * 5 * pass.widest,
                         channels);
      const T* bias = w.bias[l].row(b);
      const bool sums = normed_[l] || bias;
      const Target<T> target{sums ? Write::sums : Write::plain, at, bias, nullptr, nullptr, nullptr,
                             sums ? lane.sums : nullptr};
      const T* weight = packed + weight_offset(l, false);
      int jobs;
      if (l == 0) {
        const T* from[kThin];
        for (int i = 0; i < in; ++i) from[i] = planes[i].row(b);
        jobs = k.widen_jobs(image);
        each(jobs, within, [&](int job, int thread) {
          k.widen(image, in, channels, from, weight, target, job, pass.scratch_at(index, thread));
        });
      } else {
        jobs = k.winograd_jobs(tile_, image);
        each(jobs, within, [&](int job, int thread) {
          k.winograd(tile_, image, in, channels, source, weight, target, job, pass.scratch_at(index, thread));
        });
      }
      if (sums) reduce_sums(lane.sums, jobs, channels);
      if (normed_[l])
        normalise(lane.sums, channels, groups_, image.pixels(), w.norm_weight[l].row(b), w.norm_bias[l].row(b), norm);
      else
        identity(norm, channels);
      source = {Read::gelu, at, nullptr, norm.a, norm.b, nullptr};
    }
    T* to[kThin];
    const int outputs = channels_.back();
    for (int o = 0; o < outputs; ++o) to[o] = out + (b * outputs + o) * image.pixels();
    each(k.narrow_jobs(image), within, [&](int job, int thread) {
      k.narrow(image, hidden(last - 1), outputs, source, packed + weight_offset(last, false), w.bias[last].row(b), to,
               job, pass.scratch_at(index, thread));
    });
  });
}

template <class T>
void Stack<T>::backward(Image image, i64 batch, const std::vector<Rows<T>>& planes, const StackWeights<T>& w,
                        const T* d_out, const T* saved, int threads, T* workspace, T* d_in,
                        const StackGradients<T>& want) const {
  const Pass pass(*this, image, batch, threads, true, want.wanted(), true, workspace);
  const Conv3x3<T>& k = *kernels_;
  const int last = layers() - 1, outputs = channels_.back(), inputs = channels_.front();
  const i64 pixels = image.pixels();
  each_sample(batch, threads, [&](i64 b, int index, int within) {
    const Lane lane = pass.lane_at(index);
    const T* packed = w.packed.row(b);
    const T* const kept = saved + b * saved_size(image);
    const auto values = [&](int l) { return kept + saved_offset(image, l); };
    const auto norm_of = [&](int l) {
      return Norm<T>(const_cast<T*>(values(l)) + aligned(pixels * hidden(l)), hidden(l));
    };
    const auto activation = [&](int l) {
      const Norm<T> norm = norm_of(l);
      return Source<T>{Read::gelu, values(l), nullptr, norm.a, norm.b, nullptr};
    };
    // Gradient of the weight between thin planes and a wide image; from -1: the wide image is the layer's input.
    const auto thin_weight = [&](int count, const T* const* plane, int channels, const Source<T>& wide, bool input,
                                 T* to) {
      const int jobs = k.thin_weight_jobs(image);
      const i64 part = i64(count) * 9 * channels;
      each(jobs, within, [&](int job, int thread) {
        k.thin_weight(image, count, channels, plane, wide, job, lane.partials + job * part,
                      pass.scratch_at(index, thread));
      });
      for (int job = 1; job < jobs; ++job)
        for (i64 i = 0; i < part; ++i) lane.partials[i] += lane.partials[job * part + i];
      for (int p = 0; p < count; ++p)
        for (int tap = 0; tap < 9; ++tap)
          for (int c = 0; c < channels; ++c) {
            const T value = lane.partials[(i64(p) * 9 + tap) * channels + c];
            // The planes are the outputs where the wide image is the input: their taps point the other way.
            if (input)
              to[(i64(p) * channels + c) * 9 + 8 - tap] = value;
            else
              to[(i64(c) * count + p) * 9 + tap] = value;
          }
    };

    const T* seeds[kThin];
    for (int o = 0; o < outputs; ++o) seeds[o] = d_out + (b * outputs + o) * pixels;
    const int top = hidden(last - 1);
    if (want.wanted()) {
      thin_weight(outputs, seeds, top, activation(last - 1), true, want.weight[last] + b * (i64(outputs) * top * 9));
      if (want.bias[last])
        for (int o = 0; o < outputs; ++o) {
          double sum = 0;
          for (i64 i = 0; i < pixels; ++i) sum += double(seeds[o][i]);
          want.bias[last][b * outputs + o] = T(sum);
        }
    }

    // Down the hidden layers: d is the gradient after the GroupNorm of layer l, `gradient` that before it.
    T* d = lane.buffer[0];
    T* next = lane.buffer[1];
    const auto target = [&](int l, T* to) {
      const Norm<T> norm = norm_of(l);
      return Target<T>{Write::gelu_gradient, to, nullptr, values(l), norm.a, norm.b, lane.sums};
    };
    {
      const Target<T> to = target(last - 1, d);
      const int jobs = k.widen_jobs(image);
      each(jobs, within, [&](int job, int thread) {
        k.widen(image, outputs, top, seeds, packed + weight_offset(last, true), to, job,
                pass.scratch_at(index, thread));
      });
      reduce_sums(lane.sums, jobs, top);
    }
    for (int l = last - 1;; --l) {
      const int channels = hidden(l), in = channels_[l];
      T* coefficients = lane.coefficients + l % 2 * 5 * pass.widest;
      Source<T> gradient{Read::plain, d, nullptr, nullptr, nullptr, nullptr};
      const Norm<T> norm = norm_of(l);
      if (normed_[l]) {
        norm_backward(lane.sums, channels, groups_, pixels, w.norm_weight[l].row(b), norm, coefficients,
                      want.wanted() ? want.norm_weight[l] + b * channels : nullptr,
                      want.wanted() ? want.norm_bias[l] + b * channels : nullptr);
        gradient = {Read::gradient, d, values(l), coefficients, coefficients + channels, coefficients + 2 * channels};
      }
      if (want.wanted() && want.bias[l])
        for (int c = 0; c < channels; ++c) {
          const double sum = normed_[l] ? double(coefficients[c]) * lane.sums[c] +
                                              double(coefficients[channels + c]) * double(norm.sum[c]) +
                                              double(coefficients[2 * channels + c]) * double(pixels)
                                        : lane.sums[c];
          want.bias[l][b * channels + c] = T(sum);
        }
      if (l == 0) {
        if (want.wanted()) {
          const T* from[kThin];
          for (int i = 0; i < inputs; ++i) from[i] = planes[i].row(b);
          thin_weight(inputs, from, channels, gradient, false, want.weight[0] + b * (i64(inputs) * channels * 9));
        }
        if (d_in) {
          T* to[kThin];
          for (int i = 0; i < inputs; ++i) to[i] = d_in + (b * inputs + i) * pixels;
          each(k.narrow_jobs(image), within, [&](int job, int thread) {
            k.narrow(image, channels, inputs, gradient, packed + weight_offset(0, true), nullptr, to, job,
                     pass.scratch_at(index, thread));
          });
        }
        return;
      }
      if (want.wanted()) {
        const int jobs = k.winograd_weight_jobs(tile_, image);
        const i64 part = k.winograd_weight_partial(tile_, in, channels);
        const Source<T> input = activation(l - 1);
        each(jobs, within, [&](int job, int thread) {
          k.winograd_weight(tile_, image, in, channels, input, gradient, job, lane.partials + job * part,
                            pass.scratch_at(index, thread));
        });
        k.winograd_weight_finish(tile_, in, channels, lane.partials, jobs, want.weight[l] + b * (i64(in) * channels * 9));
      }
      const Target<T> to = target(l - 1, next);
      const int jobs = k.winograd_jobs(tile_, image);
      each(jobs, within, [&](int job, int thread) {
        k.winograd(tile_, image, channels, in, gradient, packed + weight_offset(l, true), to, job,
                   pass.scratch_at(index, thread));
      });
      reduce_sums(lane.sums, jobs, in);
      std::swap(d, next);
    }
  });
}

template class Stack<float>;
template class Stack<double>;

}  // namespace aafast
