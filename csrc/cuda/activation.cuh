// GELU and its derivative, as precise as the arithmetic they serve.
#pragma once
#include <cuda_runtime.h>

#include "aafast/cuda_stack.h"

namespace aafast {

// gelu(x) = x Phi(x), Phi(x) = (1 + erf(x / sqrt 2)) / 2.
template <Arithmetic A>
__device__ __forceinline__ float gelu(float x) {
  const float half = 0.5f * x;
  return fmaf(half, erff(x * 0.70710678118654752440f), half);
}

// gelu'(x) = Phi(x) + x exp(-x^2 / 2) / sqrt(2 pi).
template <Arithmetic A>
__device__ __forceinline__ float gelu_gradient(float x) {
  const float phi = fmaf(0.5f, erff(x * 0.70710678118654752440f), 0.5f);
  return fmaf(x * 0.39894228040143267794f, expf(-0.5f * x * x), phi);
}

}  // namespace aafast
