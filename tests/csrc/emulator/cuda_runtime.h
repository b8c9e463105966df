// Stands in for NVIDIA's header of this name when the .cu sources are compiled by g++: it runs a kernel's
// threads on the CPU, one at a time, so that its logic can be tested and raced without a GPU.
//
// A thread is a fiber. It runs until it meets another: a warp operation, __syncthreads, a named barrier, or a cluster
// barrier. One warp runs as far as it can before the next, in an order drawn anew after each barrier, and its lanes in
// random order, so that a kernel which relies on an order it did not ask for goes wrong. Shared memory starts as NaN,
// and a write past the end of a block's dynamic shared memory is reported. Device 0 runs code compiled without clusters
// (an sm_80), device 1 code compiled with them (an sm_90).
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

#ifndef AAFAST_EMULATED
#define AAFAST_EMULATED 1
#endif
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __align__(n) alignas(n)
#define __grid_constant__
#define __launch_bounds__(...)
#define __CUDA_ARCH__ 900
#define AAFAST_SHARED(type, name) \
  type& name = *static_cast<type*>(emulated::shared_memory(__LINE__, sizeof(type)))
#define AAFAST_DYNAMIC_SHARED(type, name) type* const name = static_cast<type*>(emulated::dynamic_shared_memory())

struct dim3 {
  unsigned x, y, z;
  explicit dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

namespace emulated {

enum State { kReady, kAtWarp, kAtNamed, kAtBlock, kAtCluster, kDone };
constexpr int kLanes = 32;
constexpr std::size_t kStack = 1 << 16;
constexpr std::size_t kFence = 64;  // bytes watched behind a block's dynamic shared memory
constexpr unsigned char kPoison = 0xff;

// A copy to shared memory that is under way: its bytes land when the thread waits for them.
struct Copy {
  void* to;
  const void* from;  // null: zeros
  int group;         // how many groups the thread had committed before it
};

struct Thread {
  State state = kReady;
  bool begun = false;
  ucontext_t start;
  jmp_buf at;
  std::unique_ptr<char[]> stack{new char[kStack]};
  double slot;  // what a warp operation hands to the other lanes
  // The same for operations of several registers. Two in turn: a lane that is one operation ahead has not yet
  // overwritten what the others still read.
  alignas(16) unsigned char wide_slots[2][32];
  int turn = 0;
  int barrier = 0, expected = 0;  // of a named barrier
  int committed = 0;              // groups of asynchronous copies
  std::vector<Copy> copies;
};

struct Block {
  std::map<int, std::unique_ptr<char[]>> shared;  // by the line that declares it
  std::vector<uint4> dynamic;
};

// One cluster at a time is alive; a launch without clusters has clusters of one block.
inline std::vector<Thread> threads;
inline std::vector<Block> blocks;
inline int current, block_size, first_block;
inline std::size_t dynamic_bytes;
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

inline void* dynamic_shared_memory() { return blocks[current / block_size].dynamic.data(); }

inline bool fence_is_whole(const Block& block) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(block.dynamic.data());
  return std::all_of(bytes + dynamic_bytes, bytes + dynamic_bytes + kFence,
                     [](unsigned char byte) { return byte == kPoison; });
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
  const unsigned block = first_block + index / block_size;
  blockIdx = dim3(block % gridDim.x, block / gridDim.x % gridDim.y, block / gridDim.x / gridDim.y);
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

// Makes the threads of a block ready that wait at a named barrier which all it expects have reached.
inline bool release_named(int from, int to) {
  std::map<int, int> waiting;
  for (int t = from; t < to; ++t)
    if (threads[t].state == kAtNamed) ++waiting[threads[t].barrier];
  bool any = false;
  for (int t = from; t < to; ++t)
    if (threads[t].state == kAtNamed && waiting[threads[t].barrier] == threads[t].expected)
      threads[t].state = kReady, any = true;
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
  for (Block& block : blocks) {
    block.dynamic.resize((dynamic_bytes + kFence + 15) / 16);
    std::memset(block.dynamic.data(), kPoison, block.dynamic.size() * 16);
  }
  if (int(threads.size()) != total) threads = std::vector<Thread>(total);
  for (Thread& thread : threads) {
    thread.state = kReady, thread.begun = false, thread.committed = 0;
    thread.copies.clear();
  }
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
    for (int b = 0; b < block_count; ++b) {
      moved |= release(b * block_size, (b + 1) * block_size, kAtBlock);
      moved |= release_named(b * block_size, (b + 1) * block_size);
    }
    if (moved) continue;
    for (const Thread& thread : threads)
      if (thread.state != kDone) throw std::runtime_error("threads wait for others that never come");
    for (const Block& block : blocks)
      if (!fence_is_whole(block)) throw std::runtime_error("a block writes past its dynamic shared memory");
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

enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount, cudaDevAttrMaxSharedMemoryPerBlockOptin };
// The number of multiprocessors is read from EMULATED_CUDA_SMS, a block's shared memory (163 or 227 KB by default) from
// EMULATED_CUDA_SHARED.
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  const bool count = attribute == cudaDevAttrMultiProcessorCount;
  const char* given = std::getenv(count ? "EMULATED_CUDA_SMS" : "EMULATED_CUDA_SHARED");
  *value = given ? std::atoi(given) : count ? 3 : (device == 0 ? 163 : 227) * 1024;
  return cudaSuccess;
}

enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
namespace emulated {
inline std::map<std::pair<int, const void*>, int> allowed_dynamic;  // by device and kernel
}
template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute, int bytes) {
  emulated::allowed_dynamic[{emulated::device, reinterpret_cast<const void*>(kernel)}] = bytes;
  return cudaSuccess;
}

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
  emulated::dynamic_bytes = config->dynamicSmemBytes;
  try {
    const auto allowed = emulated::allowed_dynamic.find({emulated::device, reinterpret_cast<const void*>(kernel)});
    int most = 0;
    cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, emulated::device);
    const int granted = allowed == emulated::allowed_dynamic.end() ? 48 * 1024 : std::min(most, allowed->second);
    if (emulated::dynamic_bytes > std::size_t(granted))
      throw std::runtime_error("more dynamic shared memory than the kernel was granted");
    if (cluster > 1 && emulated::device == 0)
      throw std::runtime_error("a cluster on a device without clusters");
    if (gridDim.x % cluster) throw std::runtime_error("a grid that is no multiple of its cluster");
    const unsigned count = gridDim.x * gridDim.y * gridDim.z;
    for (unsigned block = 0; block < count; block += cluster) {
      emulated::first_block = block;
      emulated::run_cluster(cluster);
    }
  } catch (const std::runtime_error& error) {
    emulated_error = error.what();
    return cudaErrorLaunchFailure;
  }
  return cudaSuccess;
}
inline float __saturatef(float v) { return v > 0.0f ? (v < 1.0f ? v : 1.0f) : 0.0f; }
