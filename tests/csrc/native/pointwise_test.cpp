// sources: optimiser.cpp wavelet.cpp blur.cpp loss.cpp
#include <algorithm>

#include "check.h"
#include "kernels.h"

using aafast::AdamwRule;
using aafast::i64;
using check::close;
using check::expect;
using check::poisoned;
using check::random;

namespace {

using Doubles = std::vector<double>;

template <class T>
Doubles exact(const std::vector<T>& values) {
  return Doubles(values.begin(), values.end());
}

template <class T>
aafast::Pointwise<T> entries() {
  aafast::Pointwise<T> table{};
  aafast::AAFAST_ISA::optimiser_entries(table);
  aafast::AAFAST_ISA::wavelet_entries(table);
  aafast::AAFAST_ISA::blur_entries(table);
  aafast::AAFAST_ISA::loss_entries(table);
  return table;
}

const i64 kLengths[] = {1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 100, 1027};

struct Moments {
  Doubles theta, first, second;
};

// AdamW as torch states it, on elements [begin, end).
void adamw_by_hand(const AdamwRule& rule, i64 begin, i64 end, const Doubles& g, Moments& state) {
  for (i64 i = begin; i < end; ++i) {
    state.first[i] = rule.beta1 * state.first[i] + (1 - rule.beta1) * g[i];
    state.second[i] = rule.beta2 * state.second[i] + (1 - rule.beta2) * g[i] * g[i];
    state.theta[i] = rule.keep * state.theta[i] -
                     rule.size * state.first[i] / (std::sqrt(state.second[i]) / rule.unbias + rule.eps);
  }
}

const AdamwRule kRule{1 - 1e-3 * 0.05, 1e-3 / (1 - 0.9 * 0.9), std::sqrt(1 - 0.999 * 0.999), 1e-8, 0.9, 0.999};

// Weights, moments and where the new ones go: beside them, or in their place.
template <class T>
struct Update {
  std::vector<T> theta, first, second, theta_out, first_out, second_out;
  bool in_place;
  Update(i64 n, bool in_place)
      : theta(random<T>(n, 1)), first(random<T>(n, 2, 0.1)), second(random<T>(n, 3, 0.05, 0.06)),
        theta_out(poisoned<T>(n)), first_out(poisoned<T>(n)), second_out(poisoned<T>(n)), in_place(in_place) {}
  Moments moments() const { return {exact(theta), exact(first), exact(second)}; }
  aafast::AdamwState<T> state() {
    if (in_place) return {theta.data(), first.data(), second.data(), theta.data(), first.data(), second.data()};
    return {theta.data(), first.data(), second.data(), theta_out.data(), first_out.data(), second_out.data()};
  }
  const T* result(int which) {
    const auto state = this->state();
    return which == 0 ? state.theta_out : which == 1 ? state.first_out : state.second_out;
  }
};

template <class T>
void hold(Update<T>& update, const Moments& want, i64 begin, i64 end, const char* what) {
  const double tolerance = check::tolerance<T>(4e-7);
  close(update.result(0) + begin, want.theta.data() + begin, end - begin, tolerance, what);
  close(update.result(1) + begin, want.first.data() + begin, end - begin, tolerance, what);
  close(update.result(2) + begin, want.second.data() + begin, end - begin, tolerance, what);
}

template <class T>
void test_adamw(const aafast::Pointwise<T>& table) {
  for (i64 n : kLengths)
    for (bool in_place : {false, true}) {
      const auto gradient = random<T>(n, 4);
      Update<T> update(n, in_place);
      Moments want = update.moments();
      adamw_by_hand(kRule, 0, n, exact(gradient), want);
      table.adamw(kRule, n, gradient.data(), update.state());
      hold(update, want, 0, n, "adamw");
    }
}

template <class T>
void test_adamw_outer(const aafast::Pointwise<T>& table) {
  struct Case {
    int batch, outputs, inputs, begin, end;
  };
  const Case cases[] = {{1, 1, 1, 0, 1},     {2, 3, 5, 0, 3},     {32, 24, 100, 0, 24}, {32, 24, 100, 5, 22},
                        {7, 19, 33, 2, 2},   {256, 9, 47, 0, 9},  {300, 17, 40, 1, 17}, {3, 16, 160, 0, 16}};
  for (const Case& c : cases)
    for (bool in_place : {false, true}) {
      const i64 n = i64(c.outputs) * c.inputs, begin = i64(c.begin) * c.inputs, end = i64(c.end) * c.inputs;
      const auto left = random<T>(i64(c.batch) * c.outputs, 5), right = random<T>(i64(c.batch) * c.inputs, 6);
      Doubles gradient(n);
      for (int b = 0; b < c.batch; ++b)
        for (i64 i = 0; i < n; ++i)
          gradient[i] += double(left[i64(b) * c.outputs + i / c.inputs]) * right[i64(b) * c.inputs + i % c.inputs];
      Update<T> update(n, in_place);
      const auto before = update.theta;
      Moments want = update.moments();
      adamw_by_hand(kRule, begin, end, gradient, want);
      table.adamw_outer(kRule, c.batch, c.outputs, c.inputs, left.data(), right.data(), c.begin, c.end,
                        update.state());
      hold(update, want, begin, end, "adamw_outer");
      for (i64 i = 0; i < n; ++i) {
        if (i >= begin && i < end) continue;
        const bool kept = in_place ? update.theta[i] == before[i] : std::isnan(update.theta_out[i]);
        if (!expect(kept, "adamw_outer wrote outside its rows, at %lld", (long long)i)) break;
      }
    }
}

// A row's gradient may not depend on which rows are taken along with it.
template <class T>
void test_adamw_outer_rows(const aafast::Pointwise<T>& table) {
  const int batch = 32, outputs = 21, inputs = 75;
  const auto left = random<T>(batch * outputs, 7), right = random<T>(batch * inputs, 8);
  Update<T> whole(outputs * inputs, false), parts(outputs * inputs, false);
  table.adamw_outer(kRule, batch, outputs, inputs, left.data(), right.data(), 0, outputs, whole.state());
  for (int cut : {0, 3, 4, 13})
    table.adamw_outer(kRule, batch, outputs, inputs, left.data(), right.data(), cut,
                      cut == 0 ? 3 : cut == 3 ? 4 : cut == 4 ? 13 : outputs, parts.state());
  expect(whole.theta_out == parts.theta_out && whole.first_out == parts.first_out &&
             whole.second_out == parts.second_out,
         "adamw_outer: other bits where the rows are cut otherwise");
}

// sum_ab kernel[a, b] in[i + a - tall / 2, j + b - wide / 2], zero outside.
Doubles correlate_by_hand(int height, int width, int tall, int wide, const Doubles& kernel, bool reverse,
                          const Doubles& in) {
  Doubles out(i64(height) * width);
  for (int i = 0; i < height; ++i)
    for (int j = 0; j < width; ++j)
      for (int a = 0; a < tall; ++a)
        for (int b = 0; b < wide; ++b) {
          const int row = i + a - tall / 2, column = j + b - wide / 2, tap = a * wide + b;
          if (row < 0 || row >= height || column < 0 || column >= width) continue;
          out[i64(i) * width + j] += kernel[reverse ? tall * wide - 1 - tap : tap] * in[i64(row) * width + column];
        }
  return out;
}

struct Size {
  int height, width;
};
// The last two are summed in chunks: of many rows, and of rows longer than a chunk.
const Size kSizes[] = {{1, 1},   {1, 40},  {40, 1}, {8, 8},  {9, 13},  {33, 17},
                       {64, 50}, {21, 130}, {5, 16}, {3, 97}, {140, 61}, {5, 4200}};

template <class T>
void test_time(const aafast::Pointwise<T>& table) {
  const double tolerance = check::tolerance<T>(1e-6);  // sums of up to 129 taps, or of the whole plane
  for (const Size& size : kSizes)
    for (int taps : {1, 3, 51, 129}) {
      const i64 n = i64(size.height) * size.width;
      // No mean of zero: sums that cancel have no relative accuracy.
      const auto kernel = random<T>(taps, 9), in = random<T>(n, 10, 1, 0.5), old = random<T>(n, 11);
      for (bool reverse : {false, true})
        for (bool add : {false, true}) {
          Doubles want = correlate_by_hand(size.height, size.width, taps, 1, exact(kernel), reverse, exact(in));
          for (i64 i = 0; add && i < n; ++i) want[i] += old[i];
          auto out = add ? old : poisoned<T>(n);
          table.correlate_time(size.height, size.width, taps, kernel.data(), reverse, add, in.data(), out.data());
          close(out, want, tolerance, "correlate_time");
        }
      Doubles want(taps);
      const auto gradient = random<T>(n, 12, 1, 0.5);
      for (int k = 0; k < taps; ++k)
        for (int t = 0; t < size.height; ++t) {
          const int row = t + k - taps / 2;
          for (int x = 0; row >= 0 && row < size.height && x < size.width; ++x)
            want[k] += double(gradient[t * size.width + x]) * in[row * size.width + x];
        }
      auto out = poisoned<T>(taps);
      table.correlate_time_kernel(size.height, size.width, taps, gradient.data(), in.data(), out.data());
      close(out, want, tolerance, "correlate_time_kernel");
    }
}

template <class T>
void test_blur(const aafast::Pointwise<T>& table) {
  const double tolerance = check::tolerance<T>(4e-7);
  for (const Size& shape : kSizes)
    for (int size : {1, 3, 5, 7, 19}) {
      const i64 n = i64(shape.height) * shape.width;
      const auto kernel = random<T>(size * size, 13), in = random<T>(n, 14);
      const auto column = random<T>(size, 15), row = random<T>(size, 16);
      Doubles outer(size * size);
      for (int a = 0; a < size * size; ++a) outer[a] = double(column[a / size]) * row[a % size];
      for (bool reverse : {false, true}) {
        auto out = poisoned<T>(n), scratch = poisoned<T>(n);
        table.correlate_plane(shape.height, shape.width, size, kernel.data(), reverse, in.data(), out.data());
        close(out, correlate_by_hand(shape.height, shape.width, size, size, exact(kernel), reverse, exact(in)),
              tolerance, "correlate_plane");
        out = poisoned<T>(n);
        table.correlate_separable(shape.height, shape.width, size, column.data(), row.data(), reverse, in.data(),
                                  scratch.data(), out.data());
        close(out, correlate_by_hand(shape.height, shape.width, size, size, outer, reverse, exact(in)), tolerance,
              "correlate_separable");
      }
    }
}

// What lies outside an output's support may be infinite.
template <class T>
void test_support(const aafast::Pointwise<T>& table) {
  const int height = 12, width = 40, size = 3;
  auto in = random<T>(height * width, 17);
  in[5 * width] = std::numeric_limits<T>::infinity();
  const std::vector<T> kernel(size * size, T(1));
  auto out = poisoned<T>(height * width);
  table.correlate_plane(height, width, size, kernel.data(), false, in.data(), out.data());
  for (int i = 0; i < height * width; ++i) {
    const bool meets = std::abs(i / width - 5) <= 1 && i % width <= 1;
    expect(std::isfinite(out[i]) == !meets, "correlate_plane: %g at %d, %d", double(out[i]), i / width, i % width);
  }
}

template <class T>
void test_additive_seeds(const aafast::Pointwise<T>& table) {
  const double scale = 2.0 / 77, gamma = 0.3, tolerance = check::tolerance<T>(2e-6);  // of a difference
  for (i64 pixels : {i64(1), i64(7), i64(64), i64(1027), i64(9001)})
    for (int channels : {1, 2, 3})
      for (int f_channels : {1, channels}) {
        const i64 n = channels * pixels;
        const auto nominal = random<T>(n, 18), f = random<T>(f_channels * pixels, 19, 0.3), y = random<T>(n, 20);
        double misfit = 0;
        Doubles d_nominal(n), d_f(f_channels * pixels);
        for (i64 i = 0; i < n; ++i) {
          const i64 at = f_channels == 1 ? i % pixels : i;
          const double error = double(nominal[i]) + f[at] - y[i];
          misfit += scale / 2 * (error * error + gamma * double(f[at]) * f[at]);
          d_nominal[i] = scale * error;
          d_f[at] += scale * (error + gamma * f[at]);
        }
        auto got = poisoned<T>(n), got_f = poisoned<T>(f_channels * pixels);
        const double found = table.additive_seeds({channels, pixels}, f_channels, scale, gamma, nominal.data(),
                                                  f.data(), y.data(), got.data(), got_f.data());
        close(&found, &misfit, 1, tolerance, "additive_seeds: misfit");
        close(got, d_nominal, tolerance, "additive_seeds: d_nominal");
        close(got_f, d_f, tolerance, "additive_seeds: d_f");
      }
}

double haze_misfit(double scale, double gamma, double nominal, double light, double logit, double y) {
  const double t = 1 / (1 + std::exp(-logit)), y_hat = nominal * t + light * (1 - t);
  return scale / 2 * ((y_hat - y) * (y_hat - y) + gamma * (y_hat - nominal) * (y_hat - nominal));
}

template <class T>
void test_haze_seeds(const aafast::Pointwise<T>& table) {
  const double scale = 2.0 / 91, gamma = 0.3, tolerance = check::tolerance<T>(2e-6), step = 1e-6;
  for (i64 pixels : {i64(1), i64(6), i64(48), i64(1027), i64(3001)})
    for (double range : {2.0, 200.0}) {
      const int channels = 3;
      const i64 n = channels * pixels;
      const auto nominal = random<T>(n, 21), light = random<T>(n, 22), y = random<T>(n, 23);
      const auto logit = random<T>(n, 24, range);
      double misfit = 0;
      Doubles d_nominal(n), d_light(n), d_logit(n);
      for (i64 i = 0; i < n; ++i) {
        const double t = 1 / (1 + std::exp(-double(logit[i]))), y_hat = nominal[i] * t + light[i] * (1 - t);
        const double seed = scale * (y_hat - y[i] + gamma * (y_hat - nominal[i]));
        misfit += haze_misfit(scale, gamma, nominal[i], light[i], logit[i], y[i]);
        d_nominal[i] = seed * t - scale * gamma * (y_hat - nominal[i]);
        d_light[i] = seed * (1 - t);
        d_logit[i] = seed * (double(nominal[i]) - light[i]) * t * (1 - t);
      }
      auto got = poisoned<T>(n), got_light = got, got_logit = got;
      const double found = table.haze_seeds({channels, pixels}, scale, gamma, nominal.data(), light.data(),
                                            logit.data(), y.data(), got.data(), got_light.data(), got_logit.data());
      close(&found, &misfit, 1, tolerance, "haze_seeds: misfit");
      close(got, d_nominal, tolerance, "haze_seeds: d_nominal");
      close(got_light, d_light, tolerance, "haze_seeds: d_light");
      close(got_logit, d_logit, tolerance, "haze_seeds: d_logit");
      // The formulas above against differences of the misfit itself.
      for (i64 i = 0; i < n; i += 1 + n / 50) {
        const double a = nominal[i], l = light[i], q = logit[i], o = y[i];
        auto slope = [&](double da, double dl, double dq) {
          return (haze_misfit(scale, gamma, a + da, l + dl, q + dq, o) -
                  haze_misfit(scale, gamma, a - da, l - dl, q - dq, o)) /
                 (2 * step);
        };
        const double want[3] = {slope(step, 0, 0), slope(0, step, 0), slope(0, 0, step)};
        const double made[3] = {d_nominal[i], d_light[i], d_logit[i]};
        for (int k = 0; k < 3; ++k)
          expect(std::abs(want[k] - made[k]) <= 1e-8, "haze_seeds: slope %d %g, expected %g", k, made[k], want[k]);
      }
    }
  const T nan = std::numeric_limits<T>::quiet_NaN(), one = 1;
  T a, b, c;
  expect(std::isnan(table.haze_seeds({1, 1}, scale, gamma, &one, &one, &nan, &one, &a, &b, &c)),
         "haze_seeds: a NaN logit is hidden");
}

template <class T>
void test_updates(const aafast::Pointwise<T>& table) {
  const double step = 0.37, tolerance = check::tolerance<T>(4e-7);
  for (i64 n : kLengths) {
    const auto x = random<T>(n, 25), z = random<T>(n, 26), start = random<T>(n, 27);
    for (bool shifted : {false, true}) {
      Doubles want(n);
      for (i64 i = 0; i < n; ++i) {
        const double c = shifted ? double(x[i]) - start[i] : double(x[i]);
        want[i] = c - step * (c - z[i]);
      }
      auto point = poisoned<T>(n);
      table.prox_point(n, step, x.data(), z.data(), shifted ? start.data() : nullptr, point.data());
      close(point, want, tolerance, "prox_point");
    }
  }
}

template <class T>
void test_all() {
  const auto table = entries<T>();
  test_adamw(table);
  test_adamw_outer(table);
  test_adamw_outer_rows(table);
  test_time(table);
  test_blur(table);
  test_support(table);
  test_additive_seeds(table);
  test_haze_seeds(table);
  test_updates(table);
}

}  // namespace

int main() {
  test_all<float>();
  test_all<double>();
  return check::finish("pointwise");
}
