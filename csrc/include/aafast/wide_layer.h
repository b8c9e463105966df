// One wide layer of a stack by itself, over a batch: what benchmarks time and tests look at. A stack runs the same
// kernels with the same reads and writes.
#pragma once
#include "aafast/conv3x3.h"

namespace aafast {

template <class T>
struct WideLayer {
  Image image;
  int inputs, outputs, tile;
  i64 batch;
  const T* packed;  // Conv3x3::winograd_pack, of the adjoint for wide_input_gradient
};

// y = conv(gelu(a x + b)) and its sums [B, 2, outputs]. x: [B, H, W, inputs]; a, b: [inputs].
template <class T>
void wide_forward(const WideLayer<T>&, const T* x, const T* a, const T* b, T* y, double* sums, int threads);

// d_x = conv^T(p d + q h + r) gelu'(a x + b) and the sums [B, 2, inputs] of d_x and d_x x. d, h: [B, H, W, outputs];
// p, q, r: [outputs].
template <class T>
void wide_input_gradient(const WideLayer<T>&, const T* d, const T* h, const T* pqr, const T* x, const T* a, const T* b,
                         T* d_x, double* sums, int threads);

// The gradient of the weight [B, outputs, inputs, 3, 3] from the same.
template <class T>
void wide_weight_gradient(const WideLayer<T>&, const T* x, const T* a, const T* b, const T* d, const T* h, const T* pqr,
                          T* gradient, int threads);

// Elements of a pack, and packing.
template <class T>
i64 wide_packed_size(int inputs, int outputs, int tile);
template <class T>
void wide_pack(const T* weight, int inputs, int outputs, int tile, bool adjoint, T* packed);

}  // namespace aafast
