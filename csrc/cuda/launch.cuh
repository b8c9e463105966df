// Shared by the CUDA sources: errors as exceptions, the device of a call, and what differs between targets.
#pragma once
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

// Declares the shared memory of a block. A test build of these sources for the CPU gives its own meaning.
#ifndef AAFAST_SHARED
#define AAFAST_SHARED(type, name) __shared__ type name
#endif

// The memory whose size the launch gives (dynamicSmemBytes), as `type* name`, on 128 bytes. One per kernel.
#ifndef AAFAST_DYNAMIC_SHARED
#define AAFAST_DYNAMIC_SHARED(type, name)                  \
  extern __shared__ __align__(128) char aafast_dynamic[]; \
  type* const name = reinterpret_cast<type*>(aafast_dynamic)
#endif

namespace aafast {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

inline void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
}

// Makes `device` current for a scope, in this module's own (static) runtime.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device) {
    check(cudaGetDevice(&before_), "asking for the current device");
    if (before_ != device) check(cudaSetDevice(device), "selecting the device");
    changed_ = before_ != device;
  }
  ~DeviceGuard() {
    if (changed_) cudaSetDevice(before_);
  }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int before_ = 0;
  bool changed_ = false;
};

// Waits for every thread of the cluster and makes their global writes visible. Only code compiled for
// clusters may be launched in clusters of more than one block; elsewhere this is never reached with more than
// one.
__device__ __forceinline__ void cluster_barrier() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  __cluster_barrier_arrive();
  __cluster_barrier_wait();
#endif
}

}  // namespace aafast
