// What an iteration does outside its convolutions, on a CUDA device: float32 but for the correlations. Every launch
// goes to `where`, waits for nothing and allocates nothing, so that it can be captured; a refused one throws
// std::runtime_error, arguments that no kernel takes std::invalid_argument.
//
// status: int8 [B], 0 where a sample runs; the others are skipped, their outputs untouched. Null: all run. A sample's
// bits depend neither on its batch nor on the grid.
//
// Python sees each function under its own name in aafast._C (the correlations with the suffix _float32 or _float64),
// with the arguments in the order given here: addresses are integers, 0 for null; `where` is the pair (device, stream);
// the structures are tuples of their fields in order, lists of structures lists of tuples.
#pragma once
#include <string>
#include <vector>

#include "aafast/common.h"

namespace aafast {

struct Where {
  int device;
  void* stream;
};

// Seeds of the misfit scale / 2 (sum (y_hat - y)^2 + gamma sum f^2), y_hat = nominal + f: see pointwise.h. f + linear
// stands for f where linear is given. d_nominal or d_f may be null where it is not wanted.
//   Python: additive_seeds_cuda(batch, channels, pixels, f_channels, scale, gamma, nominal, f, linear, y, status,
//   where, d_nominal, d_f)
struct AdditiveSeeds {
  i64 batch;
  int channels;  // C
  i64 pixels;
  int f_channels;  // Cf: C, or 1 plane that serves all
  float scale, gamma;
};
void additive_seeds_cuda(const AdditiveSeeds& s, const float* nominal,  // [B, C, pixels]
                         const float* f,                                // [B, Cf, pixels]
                         const float* linear,                           // [B, Cf, pixels] or null
                         const float* y,                                // [B, C, pixels]
                         const std::int8_t* status, const Where& where,
                         float* d_nominal,  // [B, C, pixels] or null
                         float* d_f);       // [B, Cf, pixels] or null

// The same for y_hat = nominal t + light (1 - t), t = 1 / (1 + exp(-logit)), everything [B, length]. Outputs may be
// null where they are not wanted.
//   Python: haze_seeds_cuda(batch, length, scale, gamma, nominal, light, logit, y, status, where, d_nominal, d_light,
//   d_logit)
void haze_seeds_cuda(i64 batch, i64 length, float scale, float gamma, const float* nominal, const float* light,
                     const float* logit, const float* y, const std::int8_t* status, const Where& where,
                     float* d_nominal, float* d_light, float* d_logit);

// One pass over a sample: g = towards + extra + pull (z - x); z <- keep z - lr g / (|g| + eps);
// point = c - step (c - z) with the new z, c = x - start where start is given, else x. Everything [B, length].
//   Python: z_point_cuda(batch, length, pull, keep, lr, eps, step, towards, extra, x, start, status, where, z,
//   point)
struct ZRule {
  double pull;  // scale * lam, scale as for the seeds
  double keep;  // 1 - lr * weight_decay
  double lr, eps;
  double step;  // exp(eta)
};
void z_point_cuda(i64 batch, i64 length, const ZRule& rule, const float* towards,  // A0^T of the seeds
                  const float* extra,                                             // or null
                  const float* x, const float* start,                             // or null
                  const std::int8_t* status, const Where& where,
                  float* z,       // in place
                  float* point);  // or null where it is not wanted

// One AdamW step of tensors of theta in place, by the formulas of aafast/adaptive/theta_solvers.py, in one launch for
// every kMaxTensors of them. With n_b = iterations[b] * steps + step + 1: size = lr / (1 - beta1^n), unbias =
// sqrt(1 - beta2^n). Where the tensors have a set per sample (sets == batch) each goes by its own n and status; a set
// shared by all (sets == 1) goes by the largest n, and stays where no sample runs.
//   Python: adamw_cuda([(theta, first, second, gradient, n, gradients), ...], sets, (lr, weight_decay, eps, beta1,
//   beta2), (iterations, steps, step, batch), status, where)
struct AdamwTensor {
  float *theta, *first, *second;  // [sets, n]
  const float* gradient;          // [gradients, n]
  i64 n;
  i64 gradients;  // sets, or where sets == 1 any number, added in order
};
struct AdamwStep {
  double lr, weight_decay, eps, beta1, beta2;
};
struct AdamwCount {
  const std::int32_t* iterations;  // [batch], finished iterations of each sample
  int steps, step;                 // optimiser steps an iteration, and which of them this is, from 0
  i64 batch;
};
constexpr int kMaxTensors = 24;
void adamw_cuda(const std::vector<AdamwTensor>& tensors, i64 sets, const AdamwStep& rule, const AdamwCount& count,
                const std::int8_t* status, const Where& where);

// The same for one weight [outputs, inputs] of one set whose gradient is sum_b left[b, o] right[b, i], never formed.
//   Python: adamw_outer_cuda(outputs, inputs, left, right, (lr, weight_decay, eps, beta1, beta2), (iterations, steps,
//   step, batch), status, where, theta, first, second)
void adamw_outer_cuda(int outputs, int inputs, const float* left,  // [batch, outputs]
                      const float* right,                          // [batch, inputs]
                      const AdamwStep& rule, const AdamwCount& count, const std::int8_t* status, const Where& where,
                      float* theta, float* first, float* second);

// Correlations as in iteration.h, float and double. kernels: `stride` elements from one sample's to the next, 0 where
// shared.
//   Python: correlate_time_cuda_float32(batch, time, traces, taps, (kernels, stride), reverse, add, in, status, where,
//   out)
template <class T>
void correlate_time_cuda(i64 batch, int time, int traces, int taps, const T* kernels, i64 stride, bool reverse,
                         bool add, const T* in, const std::int8_t* status, const Where& where, T* out);

//   Python: correlate_time_kernel_cuda_float32(batch, time, traces, taps, reverse, gradient, in, status, where, out)
// `reverse` writes the taps from the last to the first: the gradient in a kernel that was read from its end.
template <class T>
void correlate_time_kernel_cuda(i64 batch, int time, int traces, int taps, bool reverse, const T* gradient,
                                const T* in, const std::int8_t* status, const Where& where,
                                T* out);  // [B, taps]

//   Python: correlate_planes_cuda_float32(batch, channels, height, width, size, (kernels, sample_stride),
//   channel_stride, reverse, in, status, where, out)
template <class T>
void correlate_planes_cuda(i64 batch, int channels, int height, int width, int size, const T* kernels,
                           i64 sample_stride, i64 channel_stride, bool reverse, const T* in,
                           const std::int8_t* status, const Where& where, T* out);

//   Python: correlate_separable_cuda_float32(batch, channels, height, width, size, (columns, sample_stride), rows,
//   channel_stride, reverse, in, status, where, scratch, out);
//   correlate_separable_cuda_scratch(batch, channels, height, width, size)
i64 correlate_separable_cuda_scratch(i64 batch, int channels, int height, int width, int size);  // elements of T
template <class T>
void correlate_separable_cuda(i64 batch, int channels, int height, int width, int size, const T* columns,
                              const T* rows, i64 sample_stride, i64 channel_stride, bool reverse, const T* in,
                              const std::int8_t* status, const Where& where, T* scratch, T* out);

// One evaluation of a fixed-point solve, everything that aafast.solvers does between two of them, in one launch: from a
// point x and its image f(x) the residual, the sample's status, whether this is its best point so far, and the next
// point. A sample that has stopped is untouched but for `better`, which becomes 0.
//   Python: fixed_point_step_cuda((batch, length), ("anderson" | "picard", m, beta or None, ridge, relative, restart,
//   drop, tol, max_iter, "best" | "last"), (X, F, gram, mean, beta, least, best, status, iterations), image, where,
//   scratch, x, (residuals, better, point, image));
//   fixed_point_step_cuda_scratch(batch, length) doubles
struct FixedPointRule {
  bool anderson;  // or the plain iteration x <- (1 - beta) x + beta f(x)
  int m;          // rows of the rings, at most 16
  bool adapted;   // anderson: beta of each sample is found at every step; `beta` is then not read
  double beta;
  double ridge;
  bool relative;         // ridge is in units of the mean valid diagonal of the Gram matrix
  double restart, drop;  // 0: never
  double tol;
  int max_iter;
  bool best;  // keep the point of least residual, or else the last finite one
};
struct FixedPointState {
  // Of anderson; whatever stands there before a sample's first evaluation has no effect.
  float *X, *F;          // [B, m, length], points and images
  float* gram;           // [B, m, m]
  float* mean;           // [B, length], the last mixed residual; null unless adapted
  float* beta;           // [B]; null unless adapted
  float* least;          // [B], least squared residual since the last restart; null unless restart
  // Of both. Before the first evaluation: infinity, 0 and 0.
  float* best;               // [B], least relative residual
  std::int8_t* status;       // [B], 0 running, 1 converged, 2 max_iter, 3 diverged
  std::int32_t* iterations;  // [B], evaluations of each sample
};
struct FixedPointOutputs {
  float* residuals;     // [max_iter, B], row iterations[b] of column b is written; NaN elsewhere is the caller's
  std::int8_t* better;  // [B], 1 where this evaluation's state is to be kept
  float *point, *image; // [B, length], of the kept evaluation; before the first one both are x0
};
i64 fixed_point_step_cuda_scratch(i64 batch, i64 length);  // doubles
void fixed_point_step_cuda(i64 batch, i64 length, const FixedPointRule& rule, const FixedPointState& state,
                           const float* image,  // [B, length]
                           const Where& where, double* scratch,
                           float* x,  // [B, length], the point; becomes the next one of samples that go on
                           const FixedPointOutputs& out);

// Copies row b of every tensor where better[b], one launch for every kMaxKept of them.
//   Python: keep_rows_cuda([(from, to, bytes), ...], batch, better, where)
struct KeptRows {
  const void* from;  // [B, bytes]
  void* to;          // [B, bytes]
  i64 bytes;         // of one row, a multiple of 4, as both addresses
};
constexpr int kMaxKept = 32;
void keep_rows_cuda(const std::vector<KeptRows>& tensors, i64 batch, const std::int8_t* better, const Where& where);

// A whole solve as one launch: the body, a captured iteration, runs while any status is 0, at most max_turns times.
//   Python: graph_while_supported(device) -> str; graph_while_build(body, status, batch, turns, max_turns, device) ->
//   int; graph_while_launch(handle, stream); graph_while_destroy(handle)
//
// Why there are no such loops here (driver or toolkit before 12.4, no CUDA), or an empty string.
std::string graph_while_supported(int device);
// body: the cudaGraph_t of one iteration (torch.cuda.CUDAGraph(keep_graph=True).raw_cuda_graph()), copied; its memory
// must outlive the loop. turns: int32 [1], set to 0 by every launch, then the number of turns taken.
void* graph_while_build(void* body, const std::int8_t* status, i64 batch, std::int32_t* turns, int max_turns,
                        int device);
void graph_while_launch(void* loop, void* stream);
void graph_while_destroy(void* loop);

}  // namespace aafast
