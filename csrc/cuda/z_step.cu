#include <algorithm>

#include "aafast/z_step.h"
#include "launch.cuh"

namespace aafast {
namespace {

constexpr int kThreads = 256;
constexpr i64 kMaxBlocks = 4096;

template <class T>
__global__ void __launch_bounds__(kThreads) z_step_kernel(const T* __restrict__ z,  // [n]
                                                          const T* __restrict__ g,  // [n]
                                                          i64 n, T keep, T lr, T eps,
                                                          T* __restrict__ out) {  // [n]
  for (i64 i = blockIdx.x * i64(kThreads) + threadIdx.x; i < n; i += gridDim.x * i64(kThreads)) {
    const T v = g[i];
    out[i] = z[i] * keep - lr * v / (fabs(v) + eps);
  }
}

}  // namespace

template <class T>
void z_step_cuda(const T* z, const T* g, i64 n, double keep, double lr, double eps, int device, void* stream,
                 T* out) {
  if (n == 0) return;
  const DeviceGuard guard(device);
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(unsigned(std::min(divide_up(n, kThreads), kMaxBlocks)));
  config.blockDim = dim3(kThreads);
  config.stream = static_cast<cudaStream_t>(stream);
  check(cudaLaunchKernelEx(&config, z_step_kernel<T>, z, g, n, T(keep), T(lr), T(eps), out),
        "launching z_step");
}

template void z_step_cuda(const float*, const float*, i64, double, double, double, int, void*, float*);
template void z_step_cuda(const double*, const double*, i64, double, double, double, int, void*, double*);

}  // namespace aafast
