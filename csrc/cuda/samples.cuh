// Launches of kernels that deal a batch out to blocks, sample after sample.
#pragma once
#include <limits>

#include "aafast/cuda_iteration.h"
#include "launch.cuh"

namespace aafast {

// Whether a sample is to be left alone.
__device__ __forceinline__ bool stopped(const std::int8_t* status, i64 sample) {
  return status != nullptr && status[sample] != 0;
}

// Runs `kernel` on a row of blocks; nothing to do where there are none.
template <class... Expected, class... Given>
void launch_blocks(const char* what, const Where& where, i64 blocks, int threads, void (*kernel)(Expected...),
                   const Given&... given) {
  if (blocks <= 0) return;
  if (blocks > std::numeric_limits<int>::max()) throw std::invalid_argument(std::string(what) + ": too many elements");
  const DeviceGuard guard(where.device);
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(unsigned(blocks));
  config.blockDim = dim3(unsigned(threads));
  config.stream = static_cast<cudaStream_t>(where.stream);
  check(cudaLaunchKernelEx(&config, kernel, Expected(given)...), what);
}

}  // namespace aafast
