// sources: widen.cpp narrow.cpp thin_weight.cpp
// The layers between thin planes and a wide image against plain loops in double. Arrays are as long as they must be
// and full of NaN, so that the sanitizer sees a step beside them and the comparison a value that nobody wrote.
#include "check.h"
#include "kernels.h"

using namespace aafast;
using check::poisoned;
using std::vector;

namespace {

struct Case {
  int height, width, channels, planes;
};

// One pixel; one row and one column; odd sizes; several jobs; rows longer than what is staged at once, also by one
// pixel; each group of planes; channels in unequal blocks.
const Case kCases[] = {{1, 1, 16, 1},  {1, 9, 16, 8},   {97, 1, 48, 2}, {8, 8, 32, 2},   {9, 13, 16, 5},
                       {33, 17, 64, 3}, {64, 50, 16, 2}, {7, 33, 80, 7}, {3, 131, 16, 4}, {18, 67, 48, 6}};

const char* const kReads[] = {"plain", "gelu", "gradient"};
const char* const kWrites[] = {"plain", "sums", "gelu_gradient"};

double gelu(double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }
double gelu_gradient(double x) {
  return 0.5 * (1 + std::erf(x / std::sqrt(2.0))) + x * std::exp(-0.5 * x * x) / std::sqrt(2 * std::acos(-1.0));
}

// From input i to output o of the convolution that was asked for; `inputs` of the array.
template <class T>
double weight_of(const vector<T>& weight, int inputs, bool transpose, int i, int o, int k) {
  return transpose ? weight[(i * inputs + o) * 9 + 8 - k] : weight[(o * inputs + i) * 9 + k];
}

// The pixel that tap k of pixel `at` reads, or -1 outside.
int neighbour(const Case& c, int at, int k) {
  const int y = at / c.width + k / 3 - 1, x = at % c.width + k % 3 - 1;
  return y < 0 || x < 0 || y >= c.height || x >= c.width ? -1 : y * c.width + x;
}

template <class T>
struct Inputs {
  vector<T> planes, wide, wide2, a, b, c, weight, plane_bias, wide_bias;
  vector<const T*> plane;

  Inputs(const Case& s, std::uint64_t seed) {
    const int pixels = s.height * s.width;
    planes = check::random<T>(pixels * s.planes, seed);
    wide = check::random<T>(pixels * s.channels, seed + 1, 2);
    wide2 = check::random<T>(pixels * s.channels, seed + 2, 2);
    a = check::random<T>(s.channels, seed + 3, 1, 1.2);
    b = check::random<T>(s.channels, seed + 4);
    c = check::random<T>(s.channels, seed + 5);
    weight = check::random<T>(s.channels * s.planes * 9, seed + 6, 0.3);
    plane_bias = check::random<T>(s.planes, seed + 7);
    wide_bias = check::random<T>(s.channels, seed + 8);
    for (int p = 0; p < s.planes; ++p) plane.push_back(planes.data() + p * pixels);
  }

  Source<T> source(Read kind) const {
    const bool affine = kind != Read::plain, both = kind == Read::gradient;
    return {kind, wide.data(), both ? wide2.data() : nullptr, affine ? a.data() : nullptr,
            affine ? b.data() : nullptr, both ? c.data() : nullptr};
  }

  vector<double> read(Read kind, int channels) const {
    vector<double> v(wide.size());
    for (std::size_t i = 0; i < v.size(); ++i) {
      const std::size_t at = i % channels;
      const double x = wide[i];
      v[i] = kind == Read::plain ? x
             : kind == Read::gelu ? gelu(a[at] * x + b[at])
                                  : a[at] * x + double(b[at]) * wide2[i] + c[at];
    }
    return v;
  }
};

template <class T>
void test_widen(const Conv3x3<T>& kernels, const Case& s, const Inputs<T>& in, Write kind, bool bias, bool transpose) {
  const Image image{s.height, s.width};
  const int pixels = s.height * s.width, C = s.channels, jobs = kernels.widen_jobs(image);
  // The array that is packed: [C, planes, 3, 3], or for the adjoint [planes, C, 3, 3].
  const int from = transpose ? C : s.planes, to = transpose ? s.planes : C;
  vector<T> packed = poisoned<T>(kernels.widen_packed(from, to));
  kernels.widen_pack(in.weight.data(), from, to, transpose, packed.data());

  vector<T> y = poisoned<T>(pixels * C);
  vector<double> sums = poisoned<double>(kind == Write::plain ? 0 : jobs * 2 * C);
  const bool backward = kind == Write::gelu_gradient;
  const Target<T> target{kind, y.data(), bias ? in.wide_bias.data() : nullptr, backward ? in.wide.data() : nullptr,
                         backward ? in.a.data() : nullptr, backward ? in.b.data() : nullptr,
                         kind == Write::plain ? nullptr : sums.data()};
  for (int job = jobs - 1; job >= 0; --job) {
    vector<T> scratch = poisoned<T>(kernels.widen_scratch(image, s.planes, C));
    kernels.widen(image, s.planes, C, in.plane.data(), packed.data(), target, job, scratch.data());
  }

  vector<double> want(pixels * C), want_sums(2 * C), got_sums(2 * C);
  for (int q = 0; q < pixels; ++q) {
    for (int c = 0; c < C; ++c) {
      double v = bias ? in.wide_bias[c] : 0;
      for (int p = 0; p < s.planes; ++p) {
        for (int k = 0; k < 9; ++k) {
          const int at = neighbour(s, q, k);
          if (at >= 0) v += in.plane[p][at] * weight_of(in.weight, from, transpose, p, c, k);
        }
      }
      const double h = in.wide[q * C + c];
      if (backward) v *= gelu_gradient(double(in.a[c]) * h + in.b[c]);
      want[q * C + c] = v;
      want_sums[c] += v;
      want_sums[C + c] += v * (backward ? h : v);
    }
  }
  char what[160];
  std::snprintf(what, sizeof(what), "widen %s %dx%d, %d planes, %d channels, write %s%s%s", check::name<T>(), s.height,
                s.width, s.planes, C, kWrites[int(kind)], bias ? ", bias" : "", transpose ? ", transposed" : "");
  check::close(y, want, check::tolerance<T>(1e-6), what);
  if (kind == Write::plain) return;
  for (int job = 0; job < jobs; ++job) {
    for (int c = 0; c < 2 * C; ++c) got_sums[c] += sums[job * 2 * C + c];
  }
  check::close(got_sums, want_sums, check::tolerance<T>(2e-6), what);
}

template <class T>
void test_narrow(const Conv3x3<T>& kernels, const Case& s, const Inputs<T>& in, Read kind, bool bias, bool transpose) {
  const Image image{s.height, s.width};
  const int pixels = s.height * s.width, C = s.channels;
  const int from = transpose ? s.planes : C, to = transpose ? C : s.planes;
  vector<T> packed = poisoned<T>(kernels.narrow_packed(from, to));
  kernels.narrow_pack(in.weight.data(), from, to, transpose, packed.data());

  vector<T> y = poisoned<T>(pixels * s.planes);
  vector<T*> planes;
  for (int p = 0; p < s.planes; ++p) planes.push_back(y.data() + p * pixels);
  for (int job = kernels.narrow_jobs(image) - 1; job >= 0; --job) {
    vector<T> scratch = poisoned<T>(kernels.narrow_scratch(image, C, s.planes));
    kernels.narrow(image, C, s.planes, in.source(kind), packed.data(), bias ? in.plane_bias.data() : nullptr,
                   planes.data(), job, scratch.data());
  }

  const vector<double> v = in.read(kind, C);
  vector<double> want(pixels * s.planes);
  for (int p = 0; p < s.planes; ++p) {
    for (int q = 0; q < pixels; ++q) {
      double sum = bias ? in.plane_bias[p] : 0;
      for (int k = 0; k < 9; ++k) {
        const int at = neighbour(s, q, k);
        if (at < 0) continue;
        for (int c = 0; c < C; ++c) sum += v[at * C + c] * weight_of(in.weight, from, transpose, c, p, k);
      }
      want[p * pixels + q] = sum;
    }
  }
  char what[160];
  std::snprintf(what, sizeof(what), "narrow %s %dx%d, %d channels, %d planes, read %s%s%s", check::name<T>(), s.height,
                s.width, C, s.planes, kReads[int(kind)], bias ? ", bias" : "", transpose ? ", transposed" : "");
  check::close(y, want, check::tolerance<T>(1e-6), what);
}

template <class T>
void test_thin_weight(const Conv3x3<T>& kernels, const Case& s, const Inputs<T>& in, Read kind) {
  const Image image{s.height, s.width};
  const int pixels = s.height * s.width, C = s.channels, size = s.planes * 9 * C;
  const int jobs = kernels.thin_weight_jobs(image);
  vector<T> partials = poisoned<T>(jobs * size);
  for (int job = jobs - 1; job >= 0; --job) {
    vector<T> scratch = poisoned<T>(kernels.thin_weight_scratch(image, s.planes, C));
    kernels.thin_weight(image, s.planes, C, in.plane.data(), in.source(kind), job, partials.data() + job * size,
                        scratch.data());
  }
  vector<double> got(size), want(size);
  for (int i = 0; i < jobs * size; ++i) got[i % size] += partials[i];

  const vector<double> v = in.read(kind, C);
  for (int p = 0; p < s.planes; ++p) {
    for (int k = 0; k < 9; ++k) {
      for (int q = 0; q < pixels; ++q) {
        const int at = neighbour(s, q, k);
        if (at < 0) continue;
        for (int c = 0; c < C; ++c) want[(p * 9 + k) * C + c] += in.plane[p][at] * v[q * C + c];
      }
    }
  }
  char what[160];
  std::snprintf(what, sizeof(what), "thin_weight %s %dx%d, %d planes, %d channels, read %s", check::name<T>(), s.height,
                s.width, s.planes, C, kReads[int(kind)]);
  check::close(got, want, check::tolerance<T>(1e-6), what);
}

template <class T>
void test_all() {
  Conv3x3<T> kernels{};
  AAFAST_ISA::widen_entries(kernels);
  AAFAST_ISA::narrow_entries(kernels);
  AAFAST_ISA::thin_weight_entries(kernels);
  std::uint64_t seed = 10;
  for (const Case& s : kCases) {
    const Inputs<T> in(s, seed += 10);
    for (const bool transpose : {false, true}) {
      test_widen(kernels, s, in, Write::plain, false, transpose);
      test_widen(kernels, s, in, Write::sums, false, transpose);
      test_widen(kernels, s, in, Write::sums, true, transpose);
      test_widen(kernels, s, in, Write::gelu_gradient, false, transpose);
    }
    for (const Read kind : {Read::plain, Read::gelu, Read::gradient}) {
      test_narrow(kernels, s, in, kind, false, kind == Read::gradient);
      test_narrow(kernels, s, in, kind, true, kind != Read::gradient);
      test_thin_weight(kernels, s, in, kind);
    }
  }
}

}  // namespace

int main() {
  test_all<float>();
  test_all<double>();
  return check::finish("thin");
}
