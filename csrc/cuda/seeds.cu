// One pass each: the derivatives of the misfit in what the networks put out, and the z-step with the point of the
// proximal network. A block takes kShare elements of one sample.
#include "samples.cuh"

namespace aafast {
namespace {

constexpr int kThreads = 256;
constexpr int kEach = 4;  // elements of a thread, so that their loads are under way together
constexpr i64 kShare = kThreads * kEach;

// Calls body(i) for this thread's elements of this block's share of [0, length).
template <class Body>
__device__ __forceinline__ void each_element(i64 length, i64 part, Body body) {
  const i64 first = part * kShare + threadIdx.x;
#pragma unroll
  for (int n = 0; n < kEach; ++n) {
    const i64 i = first + n * kThreads;
    if (i < length) body(i);
  }
}

struct AdditiveTensors {
  const float *nominal, *f, *linear, *y;
  float *d_nominal, *d_f;
};

__global__ void __launch_bounds__(kThreads)
    additive_seeds_kernel(AdditiveSeeds s, AdditiveTensors given, const std::int8_t* status, i64 parts) {
  const i64 sample = blockIdx.x / parts;
  if (stopped(status, sample)) return;
  const int served = s.channels / s.f_channels;  // channels that one plane of f serves
  const float pull = s.scale * s.gamma * float(served);
  const i64 f_at = sample * s.f_channels * s.pixels, at = sample * s.channels * s.pixels;
  each_element(s.f_channels * s.pixels, blockIdx.x % parts, [&](i64 i) {
    const i64 plane = served == 1 ? 0 : i / s.pixels * (served - 1);
    float correction = given.f[f_at + i];
    if (given.linear) correction += given.linear[f_at + i];
    float seeds = 0;
    for (int c = 0; c < served; ++c) {
      const i64 from = at + (plane + c) * s.pixels + i;
      const float seed = s.scale * (given.nominal[from] + correction - given.y[from]);
      seeds += seed;
      if (given.d_nominal) given.d_nominal[from] = seed;
    }
    if (given.d_f) given.d_f[f_at + i] = seeds + pull * correction;
  });
}

struct HazeTensors {
  const float *nominal, *light, *logit, *y;
  float *d_nominal, *d_light, *d_logit;
};

__global__ void __launch_bounds__(kThreads)
    haze_seeds_kernel(i64 length, float scale, float gamma, HazeTensors given, const std::int8_t* status, i64 parts) {
  const i64 sample = blockIdx.x / parts;
  if (stopped(status, sample)) return;
  each_element(length, blockIdx.x % parts, [&](i64 element) {
    const i64 i = sample * length + element;
    // t and 1 - t, each to full relative accuracy.
    const float logit = given.logit[i];
    const float small = expf(-fabsf(logit)), large = 1.0f / (1.0f + small), tail = small * large;
    const float t = logit < 0 ? tail : large, rest = logit < 0 ? large : tail;
    const float clear = given.nominal[i], contrast = clear - given.light[i];
    const float correction = -contrast * rest;  // y_hat - nominal
    const float pulled = scale * gamma * correction;
    const float seed = scale * (clear + correction - given.y[i]) + pulled;  // the derivative in y_hat
    if (given.d_nominal) given.d_nominal[i] = seed * t - pulled;
    if (given.d_light) given.d_light[i] = seed * rest;
    if (given.d_logit) given.d_logit[i] = seed * contrast * t * rest;
  });
}

struct ZTensors {
  const float *towards, *extra, *x, *start;
  float *z, *point;
};

struct ZNumbers {
  float pull, keep, lr, eps, step;
};

__global__ void __launch_bounds__(kThreads)
    z_point_kernel(i64 length, ZNumbers rule, ZTensors given, const std::int8_t* status, i64 parts) {
  const i64 sample = blockIdx.x / parts;
  if (stopped(status, sample)) return;
  each_element(length, blockIdx.x % parts, [&](i64 element) {
    const i64 i = sample * length + element;
    const float x = given.x[i], z = given.z[i];
    float g = given.towards[i];
    if (given.extra) g += given.extra[i];
    g += rule.pull * (z - x);
    const float moved = z * rule.keep - rule.lr * g / (fabsf(g) + rule.eps);
    given.z[i] = moved;
    if (!given.point) return;
    const float centred = given.start ? x - given.start[i] : x;
    given.point[i] = centred - rule.step * (centred - moved);
  });
}

}  // namespace

void additive_seeds_cuda(const AdditiveSeeds& s, const float* nominal, const float* f, const float* linear,
                         const float* y, const std::int8_t* status, const Where& where, float* d_nominal,
                         float* d_f) {
  if (s.f_channels < 1 || s.channels % s.f_channels)
    throw std::invalid_argument("additive_seeds: the planes of f do not divide those of the image");
  const i64 parts = divide_up(s.f_channels * s.pixels, kShare);
  launch_blocks("launching additive_seeds", where, s.batch * parts, kThreads, additive_seeds_kernel, s,
                AdditiveTensors{nominal, f, linear, y, d_nominal, d_f}, status, parts);
}

void haze_seeds_cuda(i64 batch, i64 length, float scale, float gamma, const float* nominal, const float* light,
                     const float* logit, const float* y, const std::int8_t* status, const Where& where,
                     float* d_nominal, float* d_light, float* d_logit) {
  const i64 parts = divide_up(length, kShare);
  launch_blocks("launching haze_seeds", where, batch * parts, kThreads, haze_seeds_kernel, length, scale, gamma,
                HazeTensors{nominal, light, logit, y, d_nominal, d_light, d_logit}, status, parts);
}

void z_point_cuda(i64 batch, i64 length, const ZRule& rule, const float* towards, const float* extra, const float* x,
                  const float* start, const std::int8_t* status, const Where& where, float* z, float* point) {
  const i64 parts = divide_up(length, kShare);
  const ZNumbers numbers{float(rule.pull), float(rule.keep), float(rule.lr), float(rule.eps), float(rule.step)};
  launch_blocks("launching z_point", where, batch * parts, kThreads, z_point_kernel, length, numbers,
                ZTensors{towards, extra, x, start, z, point}, status, parts);
}

}  // namespace aafast
