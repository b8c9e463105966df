// sources: ../stack.cpp winograd.cpp winograd_weight.cpp widen.cpp narrow.cpp thin_weight.cpp
// The stack of convolutions, forward and backward, against direct sums in double. Packed weights, activations,
// workspace and outputs have exactly the sizes that the stack asks for and start as NaN.
#include "aafast/stack.h"

#include <stdexcept>
#include <string>

#include "check.h"
#include "kernels.h"

using namespace aafast;
using check::poisoned;
using check::random;
typedef std::vector<double> Doubles;

namespace aafast {

// One instruction set is linked here; it takes what its vectors divide.
template <class T>
const Conv3x3<T>* conv3x3(const int* channels, int count) {
  static const Conv3x3<T> table = [] {
    Conv3x3<T> entries{};
    entries.isa = "tested";
    entries.width = AAFAST_ISA::kWidth<T>;
    AAFAST_ISA::winograd_entries(entries);
    AAFAST_ISA::winograd_weight_entries(entries);
    AAFAST_ISA::widen_entries(entries);
    AAFAST_ISA::narrow_entries(entries);
    AAFAST_ISA::thin_weight_entries(entries);
    return entries;
  }();
  for (int c = 0; c < count; ++c)
    if (channels[c] % table.width) return nullptr;
  return &table;
}
template const Conv3x3<float>* conv3x3(const int*, int);
template const Conv3x3<double>* conv3x3(const int*, int);

}  // namespace aafast

namespace {

struct Case {
  std::vector<int> channels;
  std::vector<bool> normed, biased;
  int groups;
  Image image;
  i64 batch;
  bool shared;
  int layers() const { return int(channels.size()) - 1; }
  i64 sets() const { return shared ? 1 : batch; }
};

template <class T>
std::string text(const Case& one, int tile, int threads, const char* what, int layer = -1) {
  char line[200];
  std::snprintf(line, sizeof line, "%s F(%d,3) %d layers %dx%d batch %d %s %d threads: %s %d", check::name<T>(), tile,
                one.layers(), one.image.height, one.image.width, int(one.batch), one.shared ? "shared" : "own",
                threads, what, layer);
  return line;
}

// Numbers of a case, per layer [S, ...]; an absent part is empty.
template <class T>
struct Numbers {
  std::vector<T> image, seeds;
  std::vector<std::vector<T>> weight, bias, norm_weight, norm_bias;

  explicit Numbers(const Case& one) {
    const i64 pixels = one.image.pixels();
    image = random<T>(one.batch * one.channels.front() * pixels, 1);
    seeds = random<T>(one.batch * one.channels.back() * pixels, 2);
    for (int l = 0; l < one.layers(); ++l) {
      const i64 in = one.channels[l], out = one.channels[l + 1], s = one.sets();
      weight.push_back(random<T>(s * in * out * 9, 10 + l, 1.5 / std::sqrt(9.0 * in)));
      bias.push_back(random<T>(one.biased[l] ? s * out : 0, 30 + l, 0.5));
      if (l == one.layers() - 1) break;
      norm_weight.push_back(random<T>(one.normed[l] ? s * out : 0, 50 + l, 0.5, 1));
      norm_bias.push_back(random<T>(one.normed[l] ? s * out : 0, 70 + l, 0.5));
    }
  }
};

// ---- one sample, plainly: planes [C, H, W] in double

double phi(double x) { return 0.5 * std::erfc(-x * std::sqrt(0.5)); }
double density(double x) { return std::exp(-0.5 * x * x) / std::sqrt(2 * std::acos(-1.0)); }

// Calls f(output, input, tap, pixel read, pixel written) for every product of a convolution.
template <class F>
void products(Image image, int in, int out, const F& f) {
  for (int tap = 0; tap < 9; ++tap)
    for (int i = 0; i < image.height; ++i)
      for (int j = 0; j < image.width; ++j) {
        const int row = i + tap / 3 - 1, column = j + tap % 3 - 1;
        if (row < 0 || row >= image.height || column < 0 || column >= image.width) continue;
        const i64 from = i64(row) * image.width + column, to = i64(i) * image.width + j;
        for (int o = 0; o < out; ++o)
          for (int k = 0; k < in; ++k) f(o, k, tap, from, to);
      }
}

struct Plain {
  Doubles out, d_in;
  std::vector<Doubles> d_weight, d_bias, d_norm_weight, d_norm_bias;

  template <class T>
  Plain(const Case& one, const Numbers<T>& n, i64 b) {
    const int layers = one.layers();
    const i64 pixels = one.image.pixels(), set = one.shared ? 0 : b;
    std::vector<Doubles> inputs, raw, standard;  // of each convolution; after it; after GroupNorm's standardisation
    std::vector<Doubles> scale, shift, deviation;
    const T* first = n.image.data() + b * one.channels.front() * pixels;
    Doubles at(first, first + one.channels.front() * pixels);
    for (int l = 0; l < layers; ++l) {
      const int in = one.channels[l], out_count = one.channels[l + 1];
      const T* w = n.weight[l].data() + set * in * out_count * 9;
      Doubles y(out_count * pixels, 0.0);
      if (one.biased[l])
        for (i64 i = 0; i < out_count * pixels; ++i) y[i] = n.bias[l][set * out_count + i / pixels];
      products(one.image, in, out_count, [&](int o, int k, int tap, i64 from, i64 to) {
        y[o * pixels + to] += double(w[(i64(o) * in + k) * 9 + tap]) * at[k * pixels + from];
      });
      inputs.push_back(at);
      raw.push_back(y);
      if (l == layers - 1) break;
      Doubles a(out_count, 1.0), c(out_count, 0.0), dev(out_count, 1.0), hat = y;
      if (one.normed[l]) {
        const int width = out_count / one.groups;
        for (int g = 0; g < one.groups; ++g) {
          double mean = 0, variance = 0;
          const i64 begin = g * width * pixels, end = begin + width * pixels;
          for (i64 i = begin; i < end; ++i) mean += y[i] / double(end - begin);
          for (i64 i = begin; i < end; ++i) variance += (y[i] - mean) * (y[i] - mean) / double(end - begin);
          for (int k = g * width; k < (g + 1) * width; ++k) dev[k] = std::sqrt(variance + 1e-5);
          for (i64 i = begin; i < end; ++i) hat[i] = (y[i] - mean) / dev[i / pixels];
        }
        for (int k = 0; k < out_count; ++k)
          a[k] = n.norm_weight[l][set * out_count + k], c[k] = n.norm_bias[l][set * out_count + k];
      }
      standard.push_back(hat);
      scale.push_back(a), shift.push_back(c), deviation.push_back(dev);
      at.resize(hat.size());
      for (i64 i = 0; i < i64(hat.size()); ++i) {
        const double v = a[i / pixels] * hat[i] + c[i / pixels];
        at[i] = v * phi(v);
      }
    }
    out = raw.back();

    d_weight.resize(layers), d_bias.resize(layers), d_norm_weight.resize(layers - 1), d_norm_bias.resize(layers - 1);
    const T* seed = n.seeds.data() + b * one.channels.back() * pixels;
    Doubles d(seed, seed + one.channels.back() * pixels);
    for (int l = layers - 1; l >= 0; --l) {
      const int in = one.channels[l], out_count = one.channels[l + 1];
      const T* w = n.weight[l].data() + set * in * out_count * 9;
      if (l < layers - 1) {  // through GELU and GroupNorm
        d_norm_weight[l].assign(out_count, 0.0), d_norm_bias[l].assign(out_count, 0.0);
        for (i64 i = 0; i < i64(d.size()); ++i) {
          const i64 k = i / pixels;
          const double v = scale[l][k] * standard[l][i] + shift[l][k];
          d[i] *= phi(v) + v * density(v);
          d_norm_weight[l][k] += d[i] * standard[l][i];
          d_norm_bias[l][k] += d[i];
        }
        if (one.normed[l]) {
          const int width = out_count / one.groups;
          for (int g = 0; g < one.groups; ++g) {
            double m1 = 0, m2 = 0;
            const i64 begin = g * width * pixels, end = begin + width * pixels;
            for (i64 i = begin; i < end; ++i) {
              const double towards = d[i] * scale[l][i / pixels] / double(end - begin);
              m1 += towards, m2 += towards * standard[l][i];
            }
            for (i64 i = begin; i < end; ++i)
              d[i] = (d[i] * scale[l][i / pixels] - m1 - standard[l][i] * m2) / deviation[l][i / pixels];
          }
        }
      }
      d_bias[l].assign(out_count, 0.0);
      for (i64 i = 0; i < i64(d.size()); ++i) d_bias[l][i / pixels] += d[i];
      d_weight[l].assign(i64(in) * out_count * 9, 0.0);
      Doubles below(in * pixels, 0.0);
      products(one.image, in, out_count, [&](int o, int k, int tap, i64 from, i64 to) {
        d_weight[l][(i64(o) * in + k) * 9 + tap] += d[o * pixels + to] * inputs[l][k * pixels + from];
        below[k * pixels + from] += d[o * pixels + to] * double(w[(i64(o) * in + k) * 9 + tap]);
      });
      d = below;
    }
    d_in = d;
  }
};

// ---- the stack

template <class T>
Rows<T> rows(const std::vector<T>& values, i64 sets) {
  return {values.empty() ? nullptr : values.data(), sets > 1 ? i64(values.size()) / sets : 0};
}

// What a run returns: the value, and unless it is the value alone the gradients. `part`: 0 value, 1 also saved and
// gradients, 2 the gradient of the image alone, 3 those of the weights alone.
template <class T>
std::vector<std::vector<T>> run(const Case& one, const Numbers<T>& n, int tile, int threads, int part) {
  const Stack<T> stack(one.channels, one.normed, one.groups, tile);
  const int layers = one.layers(), inputs = one.channels.front();
  const i64 pixels = one.image.pixels(), sets = one.sets();
  std::vector<const T*> weights;
  for (const auto& weight : n.weight) weights.push_back(weight.data());
  auto packed = poisoned<T>(sets * stack.packed_size(part > 0));
  stack.pack(weights, sets, part > 0, threads, packed.data());

  StackWeights<T> w{rows(packed, sets), {}, {}, {}};
  for (int l = 0; l < layers; ++l) {
    w.bias.push_back(rows(n.bias[l], sets));
    if (l == layers - 1) break;
    w.norm_weight.push_back(rows(n.norm_weight[l], sets));
    w.norm_bias.push_back(rows(n.norm_bias[l], sets));
  }
  std::vector<Rows<T>> planes;
  for (int i = 0; i < inputs; ++i) planes.push_back({n.image.data() + i * pixels, inputs * pixels});

  std::vector<std::vector<T>> found{poisoned<T>(one.batch * one.channels.back() * pixels)};
  auto saved = poisoned<T>(part > 0 ? one.batch * stack.saved_size(one.image) : 0);
  {
    auto workspace = poisoned<T>(stack.forward_workspace(one.image, one.batch, threads, part > 0));
    stack.forward(one.image, one.batch, planes, w, threads, part > 0 ? saved.data() : nullptr, workspace.data(),
                  found[0].data());
  }
  if (part == 0) return found;

  const bool image = part != 3, weight = part != 2;
  auto workspace = poisoned<T>(stack.backward_workspace(one.image, one.batch, threads, weight));
  found.push_back(poisoned<T>(image ? one.batch * inputs * pixels : 0));
  StackGradients<T> want;
  if (weight) {
    found.reserve(2 + 4 * layers);
    const auto add = [&](std::vector<T*>& to, i64 size) {
      found.push_back(poisoned<T>(one.batch * size));
      to.push_back(size ? found.back().data() : nullptr);
    };
    for (int l = 0; l < layers; ++l) add(want.weight, i64(one.channels[l]) * one.channels[l + 1] * 9);
    for (int l = 0; l < layers; ++l) add(want.bias, one.biased[l] ? one.channels[l + 1] : 0);
    for (int l = 0; l < layers - 1; ++l) add(want.norm_weight, one.normed[l] ? one.channels[l + 1] : 0);
    for (int l = 0; l < layers - 1; ++l) add(want.norm_bias, one.normed[l] ? one.channels[l + 1] : 0);
  }
  stack.backward(one.image, one.batch, planes, w, n.seeds.data(), saved.data(), threads, workspace.data(),
                 image ? found[1].data() : nullptr, want);
  return found;
}

template <class T>
bool same(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || __builtin_memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

template <class T>
void test(const Case& one) {
  const Numbers<T> numbers(one);
  std::vector<Plain> plain;
  for (i64 b = 0; b < one.batch; ++b) plain.emplace_back(one, numbers, b);
  const double tolerance = check::tolerance<T>(1e-5);
  const int layers = one.layers();
  for (int tile : {2, 4}) {
    const auto found = run(one, numbers, tile, 1, 1);
    const auto hold = [&](const std::vector<T>& got, auto member, const char* what, int layer) {
      if (got.empty()) return;
      Doubles want;
      for (const Plain& sample : plain) {
        const Doubles& part = member(sample);
        want.insert(want.end(), part.begin(), part.end());
      }
      check::close(got, want, tolerance, text<T>(one, tile, 1, what, layer).c_str());
    };
    hold(found[0], [](const Plain& p) -> const Doubles& { return p.out; }, "value", -1);
    hold(found[1], [](const Plain& p) -> const Doubles& { return p.d_in; }, "image", -1);
    std::size_t at = 2;
    for (int l = 0; l < layers; ++l)
      hold(found[at++], [l](const Plain& p) -> const Doubles& { return p.d_weight[l]; }, "weight", l);
    for (int l = 0; l < layers; ++l)
      hold(found[at++], [l](const Plain& p) -> const Doubles& { return p.d_bias[l]; }, "bias", l);
    for (int l = 0; l < layers - 1; ++l)
      hold(found[at++], [l](const Plain& p) -> const Doubles& { return p.d_norm_weight[l]; }, "norm weight", l);
    for (int l = 0; l < layers - 1; ++l)
      hold(found[at++], [l](const Plain& p) -> const Doubles& { return p.d_norm_bias[l]; }, "norm bias", l);
    check::expect(at == found.size(), "%s", text<T>(one, tile, 1, "parts").c_str());

    const auto repeated = [&](int threads, int part) {
      const auto again = run(one, numbers, tile, threads, part);
      for (std::size_t i = 0; i < again.size(); ++i)
        check::expect(again[i].empty() || same(again[i], found[i]), "%s: other bits",
                      text<T>(one, tile, threads, "part", int(i)).c_str());
    };
    repeated(1, 0), repeated(2, 0), repeated(2, 1), repeated(1, 2), repeated(2, 3);
    if (one.batch == 1) repeated(3, 1);
  }
}

void refusals() {
  const auto refused = [](std::vector<int> channels, std::vector<bool> normed, int groups, int tile) {
    try {
      Stack<float> stack(channels, normed, groups, tile);
    } catch (const std::invalid_argument&) {
      return;
    }
    check::expect(false, "a stack of %d channels in its first layer was not refused", channels[1]);
  };
  refused({1, 2}, {}, 1, 4);
  refused({9, 16, 1}, {false}, 1, 4);
  refused({1, 16, 9}, {false}, 1, 4);
  refused({0, 16, 1}, {false}, 1, 4);
  refused({1, 18, 1}, {false}, 1, 4);
  refused({1, 16, 1}, {true}, 3, 4);
  refused({1, 16, 1}, {true}, 0, 4);
  refused({1, 16, 1}, {false, false}, 1, 4);
  refused({1, 16, 1}, {false}, 1, 3);
}

}  // namespace

int main() {
  const std::vector<Case> cases{
      {{1, 16, 1}, {false}, {false, false}, 4, {8, 8}, 1, true},
      {{2, 16, 3}, {true}, {true, true}, 4, {9, 13}, 3, false},
      {{8, 16, 16, 8}, {true, true}, {false, true, true}, 1, {9, 13}, 2, false},
      {{1, 16, 32, 1}, {false, true}, {true, false, false}, 8, {33, 17}, 1, true},
      {{3, 16, 16, 2}, {true, false}, {true, true, false}, 8, {33, 17}, 3, true},
      {{6, 32, 16, 16, 16, 3}, {false, true, true, true}, {true, false, true, false, true}, 4, {8, 8}, 2, true},
      {{5, 16, 16, 7}, {false, false}, {false, true, false}, 1, {1, 20}, 2, false},
      {{1, 16, 16, 1}, {false, true}, {false, false, false}, 2, {1, 1}, 1, true},
  };
  for (const Case& one : cases) test<float>(one), test<double>(one);
  refusals();
  return check::finish("stack");
}
