#include "aafast/runtime.h"
#include "launch.cuh"

namespace aafast {

int cuda_device_count(std::string& reason) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) {
    cudaGetLastError();  // an absent device is an answer, not an error to be met by the next call
    reason = cudaGetErrorString(status);
    return 0;
  }
  return count;
}

}  // namespace aafast
