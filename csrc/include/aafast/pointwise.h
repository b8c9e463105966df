// What an iteration does outside its convolutions, on one sample or one range at a time: the caller deals the
// samples and ranges out to threads.
#pragma once
#include "aafast/common.h"

namespace aafast {

struct AdamwRule {
  double keep;    // 1 - lr * weight_decay
  double size;    // lr / (1 - beta1^t)
  double unbias;  // sqrt(1 - beta2^t)
  double eps;
  double beta1, beta2;
};

template <class T>
struct AdamwState {
  const T *theta, *first, *second;          // [n]
  T *theta_out, *first_out, *second_out;    // [n], may be the same addresses
};

// Planes of one sample, each [pixels], one after the other.
struct Planes {
  int channels;
  i64 pixels;
};

template <class T>
struct Pointwise {
  // first <- beta1 first + (1 - beta1) g;  second <- beta2 second + (1 - beta2) g^2;
  // theta <- keep theta - size first / (sqrt(second) / unbias + eps)
  void (*adamw)(const AdamwRule&, i64 n, const T* gradient, const AdamwState<T>&);

  // The same for rows [begin, end) of a weight [outputs, inputs] whose gradient is sum_b left[b, o] right[b, i],
  // never stored. left: [batch, outputs]; right: [batch, inputs].
  void (*adamw_outer)(const AdamwRule&, int batch, int outputs, int inputs, const T* left, const T* right, int begin,
                      int end, const AdamwState<T>&);

  // out[t, x] = sum_k kernel[k] in[t + k - taps / 2, x], zero outside; in, out: [time, traces]; taps odd.
  // `reverse` reads the kernel from its end (the adjoint). `add`: out is added to.
  void (*correlate_time)(int time, int traces, int taps, const T* kernel, bool reverse, bool add, const T* in, T* out);

  // The gradient of the above in the kernel: out[k] = sum_{t, x} gradient[t, x] in[t + k - taps / 2, x].
  void (*correlate_time_kernel)(int time, int traces, int taps, const T* gradient, const T* in, T* out);

  // out[i, j] = sum_ab kernel[a, b] in[i + a - size / 2, j + b - size / 2], zero outside, one plane; size odd.
  // `reverse` turns the kernel by half a turn (the adjoint).
  void (*correlate_plane)(int height, int width, int size, const T* kernel, bool reverse, const T* in, T* out);

  // The same for kernel[a, b] = column[a] row[b]. scratch: [height, width].
  void (*correlate_separable)(int height, int width, int size, const T* column, const T* row, bool reverse, const T* in,
                              T* scratch, T* out);

  // Seeds of the misfit scale / 2 * (sum (nominal + f - y)^2 + gamma sum f^2), f of 1 plane serving every channel or of
  // one plane each: d_nominal = scale (nominal + f - y); d_f = sum over the channels it serves of (d_nominal + scale gamma f).
  // Returns the misfit.
  double (*additive_seeds)(Planes, int f_channels, double scale, double gamma, const T* nominal, const T* f, const T* y,
                           T* d_nominal, T* d_f);

  // The same for y_hat = nominal t + light (1 - t), t = 1 / (1 + exp(-logit)), all of `channels` planes, and the misfit
  // scale / 2 * (sum (y_hat - y)^2 + gamma sum (y_hat - nominal)^2): derivatives in nominal, light and logit.
  double (*haze_seeds)(Planes, double scale, double gamma, const T* nominal, const T* light, const T* logit, const T* y,
                       T* d_nominal, T* d_light, T* d_logit);

  // point = c - step (c - z), c = x - start where start is given, else x. n elements.
  void (*prox_point)(i64 n, double step, const T* x, const T* z, const T* start, T* point);
};

// Of the widest set in use.
template <class T>
const Pointwise<T>& pointwise();

}  // namespace aafast
