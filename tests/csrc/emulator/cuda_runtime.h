// Stands in for NVIDIA's header of this name when the .cu sources are compiled by g++: it runs a kernel's
// threads on the CPU, one at a time, so that its logic can be tested and raced without a GPU.
//
// A thread is a fiber. It runs until it meets another: a warp operation, __syncthreads, or a cluster barrier.
// One warp runs as far as it can before the next, in an order drawn anew after each barrier, and its lanes in
// random order, so that a kernel which relies on an order it did not ask for goes wrong. Shared memory starts
// as NaN. Device 0 runs code compiled without clusters, device 1 code compiled with them.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __CUDA_ARCH__ 900
#define AAFAST_SHARED(type, name) \
  type& name = *static_cast<type*>(emulated::shared_memory(__LINE__, sizeof(type)))

struct dim3 {
  unsigned x, y, z;
  explicit dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {

enum State { kReady, kAtWarp, kAtBlock, kAtCluster, kDone };
constexpr int kLanes = 32;
constexpr std::size_t kStack = 1 << 16;

struct Thread {
  State state = kReady;
  bool begun = false;
  ucontext_t start;
  jmp_buf at;
  std::unique_ptr<char[]> stack{new char[kStack]};
  double slot;  // what a warp operation hands to the other lanes
};

struct Block {
  std::map<int, std::unique_ptr<char[]>> shared;  // by the line that declares it
};

// One cluster at a time is alive; a launch without clusters has clusters of one block.
inline std::vector<Thread> threads;
inline std::vector<Block> blocks;
inline int current, block_size, first_block;
inline std::function<void()> body;
inline jmp_buf scheduler;
inline ucontext_t scheduler_start;
inline std::mt19937 random;
inline int device;

inline void* shared_memory(int line, std::size_t size) {
  auto& memory = blocks[current / block_size].shared[line];
  if (!memory) {
    memory.reset(new char[size]);
    std::memset(memory.get(), 0xff, size);
  }
  return memory.get();
}

// Called by a thread: waits in `state` until the scheduler makes it ready.
inline void wait(State state) {
  Thread& me = threads[current];
  me.state = state;
  if (_setjmp(me.at) == 0) _longjmp(scheduler, 1);
}

inline void first_steps() {
  body();
  threads[current].state = kDone;
  _longjmp(scheduler, 1);
}

inline void resume(int index) {
  Thread& thread = threads[index];
  current = index;
  threadIdx = dim3(index % block_size);
  blockIdx = dim3(first_block + index / block_size);
  if (_setjmp(scheduler) != 0) return;
  if (thread.begun) _longjmp(thread.at, 1);
  thread.begun = true;
  getcontext(&thread.start);
  thread.start.uc_stack.ss_sp = thread.stack.get();
  thread.start.uc_stack.ss_size = kStack;
  thread.start.uc_link = nullptr;
  makecontext(&thread.start, first_steps, 0);
  swapcontext(&scheduler_start, &thread.start);
}

// Makes threads [from, to) ready if all that live wait in `state`; says whether any does.
inline bool release(int from, int to, State state) {
  bool any = false;
  for (int t = from; t < to; ++t) {
    if (threads[t].state != state && threads[t].state != kDone) return false;
    any |= threads[t].state == state;
  }
  for (int t = from; any && t < to; ++t)
    if (threads[t].state == state) threads[t].state = kReady;
  return any;
}

inline bool has_ready(int from, int to) {
  return std::any_of(threads.begin() + from, threads.begin() + to,
                     [](const Thread& t) { return t.state == kReady; });
}

// One warp runs to its next barrier, through any number of warp operations.
inline void run_warp(int from, int to) {
  std::vector<int> lanes(to - from);
  std::iota(lanes.begin(), lanes.end(), from);
  while (has_ready(from, to)) {
    std::shuffle(lanes.begin(), lanes.end(), random);
    for (const int lane : lanes)
      if (threads[lane].state == kReady) resume(lane);
    const bool met = release(from, to, kAtWarp);
    for (const int lane : lanes)
      if (!met && threads[lane].state == kAtWarp)
        throw std::runtime_error("lanes of one warp wait in different places");
  }
}

inline void run_cluster(int block_count) {
  const int total = block_count * block_size;
  blocks = std::vector<Block>(block_count);
  threads = std::vector<Thread>(total);
  std::vector<int> warps;
  for (int b = 0; b < block_count; ++b)
    for (int t = 0; t < block_size; t += kLanes) warps.push_back(b * block_size + t);
  for (;;) {
    std::shuffle(warps.begin(), warps.end(), random);
    for (const int from : warps) {
      const int end = (from / block_size + 1) * block_size;
      run_warp(from, std::min(from + kLanes, end));
    }
    bool moved = release(0, total, kAtCluster);
    for (int b = 0; b < block_count; ++b) moved |= release(b * block_size, (b + 1) * block_size, kAtBlock);
    if (moved) continue;
    for (const Thread& thread : threads)
      if (thread.state != kDone) throw std::runtime_error("threads wait for others that never come");
    return;
  }
}

template <class T>
T from_lane(T value, int lane) {
  static_assert(sizeof(T) <= sizeof(double), "a slot holds 8 bytes");
  std::memcpy(&threads[current].slot, &value, sizeof(T));
  wait(kAtWarp);
  std::memcpy(&value, &threads[current - current % block_size % kLanes + lane].slot, sizeof(T));
  wait(kAtWarp);
  return value;
}

}  // namespace emulated

inline void __syncthreads() { emulated::wait(emulated::kAtBlock); }
inline void __syncwarp() { emulated::wait(emulated::kAtWarp); }
inline void __cluster_barrier_arrive() {}
inline void __cluster_barrier_wait() { emulated::wait(emulated::kAtCluster); }
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return emulated::from_lane(value, int(threadIdx.x) % emulated::kLanes ^ mask);
}

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess, cudaErrorLaunchFailure };
inline std::string emulated_error;
inline const char* cudaGetErrorString(cudaError_t) { return emulated_error.c_str(); }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDeviceCount(int* count) { return *count = 2, cudaSuccess; }
inline cudaError_t cudaGetDevice(int* device) { return *device = emulated::device, cudaSuccess; }
inline cudaError_t cudaSetDevice(int device) { return emulated::device = device, cudaSuccess; }

struct cudaFuncAttributes {
  int ptxVersion;
};
template <class Kernel>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, Kernel) {
  attributes->ptxVersion = emulated::device == 0 ? 80 : 90;
  return cudaSuccess;
}

enum cudaLaunchAttributeID { cudaLaunchAttributeIgnore, cudaLaunchAttributeClusterDimension };
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  struct {
    struct {
      unsigned x, y, z;
    } clusterDim;
  } val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute* attrs = nullptr;
  unsigned numAttrs = 0;
};

// The seed of this launch's orders is read from EMULATED_CUDA_SEED.
template <class... Expected, class... Given>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Expected...),
                               Given&&... given) {
  const unsigned cluster = config->numAttrs ? config->attrs[0].val.clusterDim.x : 1;
  const char* seed = std::getenv("EMULATED_CUDA_SEED");
  emulated::random.seed(seed ? std::atoi(seed) : 0);
  emulated::block_size = config->blockDim.x;
  emulated::body = [&] { kernel(given...); };
  blockDim = config->blockDim;
  gridDim = config->gridDim;
  try {
    if (cluster > 1 && emulated::device == 0)
      throw std::runtime_error("a cluster on a device without clusters");
    if (gridDim.x % cluster) throw std::runtime_error("a grid that is no multiple of its cluster");
    for (unsigned block = 0; block < gridDim.x; block += cluster) {
      emulated::first_block = block;
      emulated::run_cluster(cluster);
    }
  } catch (const std::runtime_error& error) {
    emulated_error = error.what();
    return cudaErrorLaunchFailure;
  }
  return cudaSuccess;
}
