// Launches of the kernels around the thin layers and of weights' gradients.
#pragma once
#include <limits>
#include <type_traits>

#include "conv.cuh"

namespace aafast {

template <int n>
using Constant = std::integral_constant<int, n>;

// f(Constant<C>) for the number of channels of a wide image.
template <class F>
void with_channels(int channels, const F& f) {
  switch (channels) {
#ifdef AAFAST_ONE_WIDTH  // in test builds of which there are many
    case AAFAST_ONE_WIDTH: return f(Constant<AAFAST_ONE_WIDTH>{});
#else
    case 16: return f(Constant<16>{});
    case 32: return f(Constant<32>{});
    case 48: return f(Constant<48>{});
    case 64: return f(Constant<64>{});
#endif
  }
  throw std::invalid_argument("a wide image has 16, 32, 48 or 64 channels");
}

// Runs `kernel` on a row of blocks with `dynamic` bytes of shared memory; nothing to do where there are no blocks.
template <class... Expected, class... Given>
void launch_conv(const char* what, int device, cudaStream_t stream, i64 blocks, int threads, std::size_t dynamic,
                 void (*kernel)(Expected...), const Given&... given) {
  if (blocks <= 0) return;
  if (blocks > std::numeric_limits<int>::max()) throw std::invalid_argument(std::string(what) + ": too many samples");
  const DeviceGuard guard(device);
  if (dynamic > 0)
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(dynamic)), what);
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(unsigned(blocks));
  config.blockDim = dim3(unsigned(threads));
  config.dynamicSmemBytes = dynamic;
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, Expected(given)...), what);
}

template <class... Expected, class... Given>
void launch_conv(const char* what, const Call& call, i64 blocks, int threads, std::size_t dynamic,
                 void (*kernel)(Expected...), const Given&... given) {
  launch_conv(what, call.device, call.stream, blocks, threads, dynamic, kernel, given...);
}

}  // namespace aafast
