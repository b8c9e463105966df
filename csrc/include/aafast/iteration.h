// The operations of pointwise.h over a batch, dealt out to threads. Everything is cut by the size of a sample alone,
// so neither the batch nor the number of threads shows in the bits.
#pragma once
#include <vector>

#include "aafast/pointwise.h"

namespace aafast {

// One AdamW step of a tensor of `sets` rows of n. rules: one a set, or one for all. In place where the outputs are
// the inputs.
template <class T>
void adamw_cpu(const std::vector<AdamwRule>& rules, i64 sets, i64 n, const T* gradient, const AdamwState<T>& state,
               int threads);

// One AdamW step of a weight [outputs, inputs] with the gradient left^T right, left [batch, outputs], right
// [batch, inputs].
template <class T>
void adamw_outer_cpu(const AdamwRule& rule, int batch, int outputs, int inputs, const T* left, const T* right,
                     const AdamwState<T>& state, int threads);

// correlate_time for every sample; kernels [S, taps] with `stride` 0 (shared) or taps.
template <class T>
void correlate_time_cpu(i64 batch, int time, int traces, int taps, const T* kernels, i64 stride, bool reverse, bool add,
                        const T* in, T* out, int threads);

// The gradient in the kernels: out [B, taps].
template <class T>
void correlate_time_kernel_cpu(i64 batch, int time, int traces, int taps, const T* gradient, const T* in, T* out,
                               int threads);

// A plane by plane correlation of [B, C, H, W]; kernels [S, K, size, size] with strides 0 where shared.
template <class T>
void correlate_planes_cpu(i64 batch, int channels, int height, int width, int size, const T* kernels, i64 sample_stride,
                          i64 channel_stride, bool reverse, const T* in, T* out, int threads);

// The same for kernels column[a] row[b]; columns and rows [S, K, size]. scratch: [threads, H, W].
template <class T>
void correlate_separable_cpu(i64 batch, int channels, int height, int width, int size, const T* columns, const T* rows,
                             i64 sample_stride, i64 channel_stride, bool reverse, const T* in, T* scratch, T* out,
                             int threads);

// Seeds of every sample, misfits [B]; see pointwise.h.
template <class T>
void additive_seeds_cpu(i64 batch, Planes planes, int f_channels, double scale, double gamma, const T* nominal,
                        const T* f, const T* y, T* d_nominal, T* d_f, double* misfit, int threads);
template <class T>
void haze_seeds_cpu(i64 batch, Planes planes, double scale, double gamma, const T* nominal, const T* light,
                    const T* logit, const T* y, T* d_nominal, T* d_light, T* d_logit, double* misfit, int threads);

template <class T>
void prox_point_cpu(i64 n, double step, const T* x, const T* z, const T* start, T* point, int threads);

}  // namespace aafast
