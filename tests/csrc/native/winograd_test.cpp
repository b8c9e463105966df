// sources: winograd.cpp winograd_weight.cpp
// Winograd's convolution and weight gradient against direct sums in double.
#include <string>

#include "check.h"
#include "kernels.h"

using namespace aafast;
using namespace aafast::AAFAST_ISA;
using check::poisoned;
using check::random;
typedef std::vector<double> Doubles;

namespace {

double phi(double x) { return 0.5 * std::erfc(-x * std::sqrt(0.5)); }

// A wide image and how it is read, with the numbers that a direct sum sees.
template <class T>
struct Input {
  std::vector<T> x, x2, a, b, c;
  Source<T> source;
  Doubles values;

  Input(Read kind, Image image, int channels, int seed) : source{} {
    const i64 n = image.pixels() * channels;
    x = random<T>(n, seed + 1);
    a = random<T>(channels, seed + 2, 0.7, 1);
    b = random<T>(channels, seed + 3);
    c = random<T>(channels, seed + 4);
    if (kind == Read::gradient) x2 = random<T>(n, seed + 5);
    source.kind = kind;
    source.x = x.data();
    if (kind != Read::plain) source.a = a.data(), source.b = b.data();
    if (kind == Read::gradient) source.c = c.data(), source.x2 = x2.data();
    for (i64 i = 0; i < n; ++i) {
      const int k = int(i % channels);
      double v = x[i];
      if (kind == Read::gelu) v = double(a[k]) * v + b[k], v *= phi(v);
      if (kind == Read::gradient) v = double(a[k]) * v + double(b[k]) * x2[i] + c[k];
      values.push_back(v);
    }
  }
};

// weight(o, k, tap) seen as an array [outputs][inputs][9].
Doubles direct(Image image, int inputs, int outputs, const Doubles& x, const Doubles& weight) {
  Doubles y(image.pixels() * outputs, 0.0), turned(weight.size());  // turned: [tap][inputs][outputs]
  for (int o = 0; o < outputs; ++o)
    for (int k = 0; k < inputs; ++k)
      for (int tap = 0; tap < 9; ++tap)
        turned[(i64(tap) * inputs + k) * outputs + o] = weight[(i64(o) * inputs + k) * 9 + tap];
  for (int i = 0; i < image.height; ++i)
    for (int j = 0; j < image.width; ++j)
      for (int tap = 0; tap < 9; ++tap) {
        const int row = i + tap / 3 - 1, column = j + tap % 3 - 1;
        if (row < 0 || row >= image.height || column < 0 || column >= image.width) continue;
        double* to = &y[(i64(i) * image.width + j) * outputs];
        for (int k = 0; k < inputs; ++k) {
          const double v = x[(i64(row) * image.width + column) * inputs + k];
          const double* from = &turned[(i64(tap) * inputs + k) * outputs];
          for (int o = 0; o < outputs; ++o) to[o] += v * from[o];
        }
      }
  return y;
}

Doubles direct_weight(Image image, int inputs, int outputs, const Doubles& x, const Doubles& dy) {
  Doubles dw(i64(outputs) * inputs * 9, 0.0);
  for (int i = 0; i < image.height; ++i)
    for (int j = 0; j < image.width; ++j)
      for (int tap = 0; tap < 9; ++tap) {
        const int row = i + tap / 3 - 1, column = j + tap % 3 - 1;
        if (row < 0 || row >= image.height || column < 0 || column >= image.width) continue;
        const double* v = &x[(i64(row) * image.width + column) * inputs];
        const double* d = &dy[(i64(i) * image.width + j) * outputs];
        for (int o = 0; o < outputs; ++o)
          for (int k = 0; k < inputs; ++k) dw[(i64(o) * inputs + k) * 9 + tap] += d[o] * v[k];
      }
  return dw;
}

struct Case {
  int tile;
  Image image;
  int inputs, outputs;
};

template <class T>
std::string text(const Case& one, const char* what) {
  char line[160];
  std::snprintf(line, sizeof line, "%s F(%d,3) %dx%d %d->%d %s", check::name<T>(), one.tile, one.image.height,
                one.image.width, one.inputs, one.outputs, what);
  return line;
}

// One convolution written in one way. `backwards`: the jobs in the other order, which may change no bit.
template <class T>
std::vector<T> run(const Conv3x3<T>& table, const Case& one, const Source<T>& source, const std::vector<T>& packed,
                   Target<T> target, std::vector<double>& sums, bool backwards) {
  const int jobs = table.winograd_jobs(one.tile, one.image);
  auto y = poisoned<T>(one.image.pixels() * one.outputs);
  sums = poisoned<double>(target.kind == Write::plain ? 0 : i64(jobs) * 2 * one.outputs);
  target.y = y.data();
  target.sums = sums.empty() ? nullptr : sums.data();
  auto scratch = poisoned<T>(table.winograd_scratch(one.tile, one.image, one.inputs, one.outputs));
  for (int job = 0; job < jobs; ++job)
    table.winograd(one.tile, one.image, one.inputs, one.outputs, source, packed.data(), target,
                   backwards ? jobs - 1 - job : job, scratch.data());
  return y;
}

template <class T>
void convolution(const Conv3x3<T>& table, const Case& one, Read kind, bool transpose) {
  const int inputs = one.inputs, outputs = one.outputs;
  const i64 pixels = one.image.pixels();
  // Kept as torch keeps it; the adjoint of a convolution from `outputs` to `inputs` goes from `inputs` to `outputs`.
  const auto kept = random<T>(i64(outputs) * inputs * 9, 11, 0.3);
  Doubles weight(kept.size());
  for (int o = 0; o < outputs; ++o)
    for (int k = 0; k < inputs; ++k)
      for (int tap = 0; tap < 9; ++tap)
        weight[(i64(o) * inputs + k) * 9 + tap] =
            transpose ? kept[(i64(k) * outputs + o) * 9 + 8 - tap] : kept[(i64(o) * inputs + k) * 9 + tap];
  auto packed = poisoned<T>(table.winograd_packed(one.tile, inputs, outputs));
  table.winograd_pack(one.tile, kept.data(), transpose ? outputs : inputs, transpose ? inputs : outputs, transpose,
                      packed.data());

  const Input<T> input(kind, one.image, inputs, 20);
  const Doubles v = direct(one.image, inputs, outputs, input.values, weight);
  const auto h = random<T>(pixels * outputs, 31), a = random<T>(outputs, 32, 0.7, 1), b = random<T>(outputs, 33),
             bias = random<T>(outputs, 34);
  const double tolerance = check::tolerance<T>(one.tile == 4 ? 3e-6 : 1.5e-6);

  for (const Write write : {Write::plain, Write::sums, Write::gelu_gradient})
    for (int biased = 0; biased < (write == Write::sums ? 2 : 1); ++biased) {
      Target<T> target{};
      target.kind = write;
      if (biased) target.bias = bias.data();
      if (write == Write::gelu_gradient) target.h = h.data(), target.a = a.data(), target.b = b.data();
      std::vector<double> sums, again_sums;
      const auto y = run(table, one, input.source, packed, target, sums, false);
      const auto again = run(table, one, input.source, packed, target, again_sums, true);
      char kinds[80];
      std::snprintf(kinds, sizeof kinds, "read %d write %d bias %d transpose %d", int(kind), int(write), biased,
                    int(transpose));
      const std::string what = text<T>(one, kinds);
      check::expect(y == again && sums == again_sums, "%s: bits change with the order of the jobs", what.c_str());

      Doubles want = v, want_sums(2 * outputs, 0.0);
      Doubles size(2 * outputs, 0.0);  // of what is added up: a sum near 0 has no relative error
      for (i64 i = 0; i < pixels * outputs; ++i) {
        const int o = int(i % outputs);
        if (biased) want[i] += bias[o];
        if (write == Write::gelu_gradient) {
          const double x = double(a[o]) * h[i] + b[o];
          want[i] *= phi(x) + x * std::exp(-0.5 * x * x) * 0.39894228040143267794;
        }
        const double other = write == Write::sums ? want[i] : h[i];
        want_sums[o] += want[i];
        want_sums[outputs + o] += want[i] * other;
        size[o] += std::fabs(want[i]);
        size[outputs + o] += std::fabs(want[i] * other);
      }
      check::close(y, want, tolerance, what.c_str());
      if (write == Write::plain) continue;
      double largest[2] = {0, 0};
      for (int c = 0; c < 2 * outputs; ++c) largest[c / outputs] = std::fmax(largest[c / outputs], size[c]);
      for (int c = 0; c < 2 * outputs; ++c) {
        double sum = 0;
        for (std::size_t job = 0; job < sums.size() / (2 * outputs); ++job) sum += sums[job * 2 * outputs + c];
        const double apart = std::fabs(sum - want_sums[c]);
        if (!check::expect(apart <= tolerance * largest[c / outputs], "%s: sum %d is %.9g, not %.9g", what.c_str(), c,
                           sum, want_sums[c]))
          break;
      }
    }
}

template <class T>
void weight_gradient(const Conv3x3<T>& table, const Case& one, Read first, Read second) {
  const int jobs = table.winograd_weight_jobs(one.tile, one.image);
  const Input<T> input(first, one.image, one.inputs, 40), gradient(second, one.image, one.outputs, 50);
  const i64 size = table.winograd_weight_partial(one.tile, one.inputs, one.outputs);
  auto partials = poisoned<T>(jobs * size);
  auto scratch = poisoned<T>(table.winograd_weight_scratch(one.tile, one.image, one.inputs, one.outputs));
  for (int job = jobs - 1; job >= 0; --job)
    table.winograd_weight(one.tile, one.image, one.inputs, one.outputs, input.source, gradient.source, job,
                          partials.data() + job * size, scratch.data());
  auto dw = poisoned<T>(i64(one.outputs) * one.inputs * 9);
  table.winograd_weight_finish(one.tile, one.inputs, one.outputs, partials.data(), jobs, dw.data());
  char kinds[80];
  std::snprintf(kinds, sizeof kinds, "weight gradient, reads %d and %d, %d jobs", int(first), int(second), jobs);
  check::close(dw, direct_weight(one.image, one.inputs, one.outputs, input.values, gradient.values),
               check::tolerance<T>(one.tile == 4 ? 3e-6 : 1.5e-6), text<T>(one, kinds).c_str());
}

template <class T>
void all_cases() {
  Conv3x3<T> table{};
  winograd_entries(table);
  winograd_weight_entries(table);
  // Sizes with every remainder of tiles, of rows of products and of blocks of outputs; wider than a job; in several
  // jobs of the weight gradient.
  const struct {
    Image image;
    int inputs, outputs;
  } cases[] = {{{8, 8}, 16, 16},   {{1, 1}, 16, 32},  {{9, 13}, 32, 80}, {{33, 17}, 48, 16},
               {{5, 150}, 16, 16}, {{64, 50}, 16, 32}, {{9, 13}, 64, 64}, {{96, 71}, 16, 16}};
  for (const int tile : {4, 2})
    for (const auto& one : cases) {
      const Case kept{tile, one.image, one.inputs, one.outputs};
      const bool large = one.image.pixels() > 3000;
      for (const Read kind : {Read::plain, Read::gelu, Read::gradient}) {
        if (!large || kind == Read::gelu) convolution(table, kept, kind, kind == Read::gradient);
        const Read other = kind == Read::plain ? Read::gelu : kind == Read::gelu ? Read::gradient : Read::plain;
        if (!large || kind == Read::gelu) weight_gradient(table, kept, kind, other);
      }
    }
  const int jobs = table.winograd_weight_jobs(4, {96, 71});
  check::expect(jobs > 1, "the largest case has %d job of the weight gradient: too small to test several", jobs);
  check::expect(table.winograd_weight_jobs(4, {1024, 1024}) <= 8, "more than 8 jobs of the weight gradient");
}

}  // namespace

int main() {
  all_cases<float>();
  all_cases<double>();
  return check::finish("winograd");
}
