#include "kernels.h"
#include "spans.h"

namespace aafast::AAFAST_ISA {
namespace {

template <class T>
double additive_seeds(Planes planes, int f_channels, double scale, double gamma, const T* nominal, const T* f,
                      const T* y, T* d_nominal, T* d_f) {
  const int served = planes.channels / f_channels;  // channels that one plane of f serves
  const T size = T(scale), pull = T(scale * gamma * served);
  double misfit = 0;
  for (int group = 0; group < f_channels; ++group) {
    const i64 f_at = group * planes.pixels, at = f_at * served;
    for (i64 begin = 0; begin < planes.pixels; begin += kSumChunk<T>) {
      const i64 end = begin + kSumChunk<T> < planes.pixels ? begin + kSumChunk<T> : planes.pixels;
      Vec<T> errors{}, corrections{};
      each_vector<T>(begin, end, [&](i64 i, int count) AAFAST_LAMBDA {
        const Vec<T> correction = load(f + f_at + i, count);
        Vec<T> seeds{};
        for (int c = 0; c < served; ++c) {
          const i64 from = at + c * planes.pixels + i;
          const Vec<T> error = load(nominal + from, count) + correction - load(y + from, count);
          const Vec<T> seed = all(size) * error;
          errors += error * error;
          seeds += seed;
          store(d_nominal + from, seed, count);
        }
        corrections += correction * correction;
        store(d_f + f_at + i, seeds + all(pull) * correction, count);
      });
      misfit += total<T>(errors) + gamma * served * total<T>(corrections);
    }
  }
  return scale / 2 * misfit;
}

// t = 1 / (1 + exp(-logit)) and 1 - t, each to full relative accuracy.
template <class T>
struct Transmission {
  Vec<T> t, rest;
  AAFAST_INLINE explicit Transmission(Vec<T> logit) {
    const Vec<T> bounded = exp_negative(-magnitude<T>(logit));
    const Vec<T> small = logit == logit ? bounded : logit;  // the exponential's bounds would hide a NaN
    const Vec<T> large = all(T(1)) / (all(T(1)) + small);
    const Vec<T> tail = small * large;
    t = logit < Vec<T>{} ? tail : large;
    rest = logit < Vec<T>{} ? large : tail;
  }
};

template <class T>
double haze_seeds(Planes planes, double scale, double gamma, const T* nominal, const T* light, const T* logit,
                  const T* y, T* d_nominal, T* d_light, T* d_logit) {
  const T size = T(scale), pull = T(scale * gamma);
  const i64 n = planes.channels * planes.pixels;
  double misfit = 0;
  for (i64 begin = 0; begin < n; begin += kSumChunk<T>) {
    const i64 end = begin + kSumChunk<T> < n ? begin + kSumChunk<T> : n;
    Vec<T> errors{}, corrections{};
    each_vector<T>(begin, end, [&](i64 i, int count) AAFAST_LAMBDA {
      const Vec<T> clear = load(nominal + i, count);
      const Vec<T> contrast = clear - load(light + i, count);
      const Transmission<T> haze(load(logit + i, count));
      const Vec<T> correction = -contrast * haze.rest;  // y_hat - nominal
      const Vec<T> error = clear + correction - load(y + i, count);
      const Vec<T> pulled = all(pull) * correction;
      const Vec<T> seed = all(size) * error + pulled;  // the derivative in y_hat
      errors += error * error;
      corrections += correction * correction;
      store(d_nominal + i, seed * haze.t - pulled, count);
      store(d_light + i, seed * haze.rest, count);
      store(d_logit + i, seed * contrast * haze.t * haze.rest, count);
    });
    misfit += total<T>(errors) + gamma * total<T>(corrections);
  }
  return scale / 2 * misfit;
}

template <class T>
void prox_point(i64 n, double step, const T* x, const T* z, const T* start, T* point) {
  const T size = T(step);
  each_vector<T>(0, n, [&](i64 i, int count) AAFAST_LAMBDA {
    Vec<T> c = load(x + i, count);
    if (start) c -= load(start + i, count);
    store(point + i, c - all(size) * (c - load(z + i, count)), count);
  });
}

}  // namespace

template <class T>
void loss_entries(Pointwise<T>& table) {
  table.additive_seeds = additive_seeds<T>;
  table.haze_seeds = haze_seeds<T>;
  table.prox_point = prox_point<T>;
}

template void loss_entries(Pointwise<float>&);
template void loss_entries(Pointwise<double>&);

}  // namespace aafast::AAFAST_ISA
