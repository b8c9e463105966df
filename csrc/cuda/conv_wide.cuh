// The wide convolution: a 3x3 convolution of C to C channels as nine products of matrices on tensor cores, with what
// comes before it applied once per input and what comes after it applied to the accumulators.
//
// A block stays with one sample and keeps the layer's weights in shared memory. Its threads form groups of four warps
// that share nothing else: a group takes one tile of 8 lines of 16 pixels after another, so that while one waits or
// computes GELU, another has the tensor cores. Lines run along either side of the image, whichever wastes less.
//
// A tile, in a group's own shared memory: its halo of 10 x 18 pixels is copied there asynchronously while the tile
// before it is computed; the threads that copied a chunk of 16 bytes put it through the Source in place (nothing is
// shared until then, so no barrier is needed); after one barrier of the group the warps multiply. A fragment of A is 16
// pixels of a line at one shift along it, and serves the three shifts across lines from registers.
//
// For 64 channels in fp16: weights 9 x 64 x 64 x 2 = 73,728 bytes, a halo 180 x 128 = 23,040, two a group:
// 211,968 bytes with three groups (227 KB allow it), 165,888 with two (163 KB). A tile is 9 x 4 x 8 x 8 = 2,304
// mma.m16n8k16 (4,096 operations each); for each of 12 steps (shift along the line, 16 input channels) a warp of 64
// pixels x 32 channels loads 6 fragments of A and 6 pairs of B, 512 bytes each, for 48 mma: 128 bytes of shared memory
// an mma. Reads of 16 bytes by 8 neighbouring pixels meet different banks: chunks are exchanged by the pixel's place in
// its line, or pixels padded to an odd number of chunks.
#pragma once
#include <algorithm>
#include <stdexcept>
#include <string>

#include "wide_steps.cuh"

namespace aafast {

// Starts to copy part `part` of streamed weights: a shift along the lines, half of the input channels, three taps.
template <Arithmetic A, int C>
__device__ __forceinline__ void start_part(const Cut& cut, const char* packed, int part, char* weights) {
  using S = WideShape<A, C>;
  const char* const from = packed + part / 2 * cut.pixel_tap * S::kTapBytes + part % 2 * S::kPieceBytes;
  char* const to = weights + part % 2 * S::kPartBytes;
  for (int byte = int(threadIdx.x) * 16; byte < S::kPartBytes; byte += int(blockDim.x) * 16) {
    const int tap = byte / S::kPieceBytes;
    copy_async(to + byte, from + tap * cut.line_tap * S::kTapBytes + byte % S::kPieceBytes);
  }
}

template <Arithmetic A, int C, Read kRead>
__global__ void __launch_bounds__((WideShape<A, C>::kGroups * kGroupThreads), 1)
    conv_wide_kernel(const __grid_constant__ WideWork<A> work) {
  using S = WideShape<A, C>;
  constexpr Write kWrite = kRead == Read::gelu ? Write::sums : Write::gelu_gradient;
  AAFAST_DYNAMIC_SHARED(char, memory);
  const i64 sample = blockIdx.x / work.blocks;
  if (work.status && work.status[sample] != 0) return;
  const Cut& cut = work.cut;
  const int tiles = cut.tiles_down * cut.tiles_along, share = int(blockIdx.x) % work.blocks;
  const int first = int(i64(tiles) * share / work.blocks), end = int(i64(tiles) * (share + 1) / work.blocks);
  const int groups = int(blockDim.x) / kGroupThreads, group = int(threadIdx.x) / kGroupThreads;
  const int thread = int(threadIdx.x) % kGroupThreads, lane = thread % kWarp, warp = thread / kWarp;
  const char* const packed = work.packed.row(sample);
  char* const weights = memory;
  char* const halos = memory + S::kWeightBytes + group * work.buffers * S::kHaloBytes;

  int tile = first + group, buffer = 0;
  unsigned inside = 0;
  if (tile < end) inside = start_halo<A, C, kRead>(work, sample, tile, thread, halos);
  commit_copies();
  if constexpr (S::kStreamed) {
    start_part<A, C>(cut, packed, 0, weights);
  } else {
    for (int byte = int(threadIdx.x) * 16; byte < S::kWeightBytes; byte += int(blockDim.x) * 16)
      copy_async(weights + byte, packed + byte);
  }
  commit_copies();
  wait_copies<1>();
  if (tile < end) apply_source<A, C, kRead>(work, sample, tile, thread, inside, halos);
  wait_copies<0>();
  __syncthreads();

  // Groups in step take as many turns as the first of them; others end with their tiles.
  const int turns = (end - first - (S::kStreamed ? 0 : group) + groups - 1) / groups;
#pragma unroll 1
  for (int turn = 0; turn < turns; ++turn, tile += groups) {
    const bool live = tile < end, more = tile + groups < end;
    const int next = work.buffers == 2 ? 1 - buffer : buffer;
    // The other halo was last read before the barrier that ended the turn before this.
    if (work.buffers == 2 && more) {
      inside = start_halo<A, C, kRead>(work, sample, tile + groups, thread, halos + next * S::kHaloBytes);
      commit_copies();
    }
    if (kWrite == Write::gelu_gradient && live) ask_for_target<A, C>(work, sample, tile, thread);
    Sums<S> sums = {};
    const int own_line = warp / S::kAcross * S::kOwnLines;
    const bool busy = live && Corner(cut, tile).line + own_line < cut.lines;
    const char* const own_halo = halos + buffer * S::kHaloBytes + own_line * kHaloLength * S::kStride;
    if constexpr (S::kStreamed) {
#pragma unroll 1
      for (int part = 0; part < S::kParts; ++part) {
        if (part + 1 < S::kParts || turn + 1 < turns) start_part<A, C>(cut, packed, (part + 1) % S::kParts, weights);
        commit_copies();
        if (busy)
          multiply<A, C>(own_halo, part / 2, part % 2 * S::kPartSteps, S::kPartSteps,
                         weights + part % 2 * S::kPartBytes, S::kPieceBytes, lane, warp % S::kAcross, sums);
        wait_copies<0>();
        __syncthreads();
      }
    } else if (busy) {
#pragma unroll 1
      for (int shift = 0; shift < 3; ++shift)
        multiply<A, C>(own_halo, shift, 0, S::kBlocks, weights + shift * cut.pixel_tap * S::kTapBytes,
                       cut.line_tap * S::kTapBytes, lane, warp % S::kAcross, sums);
    }
    if (work.buffers == 1 && more) {
      if (!S::kStreamed) named_barrier(1 + group, kGroupThreads);
      inside = start_halo<A, C, kRead>(work, sample, tile + groups, thread, halos);
      commit_copies();
    }
    if (live) finish_tile<A, C, kWrite>(work, sample, tile, warp, lane, sums);
    if (more) {
      wait_copies<0>();
      apply_source<A, C, kRead>(work, sample, tile + groups, thread, inside, halos + next * S::kHaloBytes);
    }
    named_barrier(1 + group, kGroupThreads);
    buffer = next;
  }
}

// Shared memory of a block, and what follows from it.
struct WidePlan {
  int groups, buffers, bytes;
};

template <Arithmetic A, int C>
WidePlan wide_plan(int limit) {
  using S = WideShape<A, C>;
  const int room = std::max(0, limit - S::kWeightBytes);
  const int one = std::min(S::kGroups, room / S::kHaloBytes), two = std::min(S::kGroups, room / (2 * S::kHaloBytes));
  if (one == 0) throw std::runtime_error("conv_wide: the device has too little shared memory for a block");
  // A second halo hides the copies; it is worth one group, not more. Groups in step wait for each other anyway.
  const bool second = !S::kStreamed && two >= 1 && two >= S::kGroups - 1;
  const int groups = second ? two : one, buffers = second ? 2 : 1;
  return {groups, buffers, S::kWeightBytes + groups * buffers * S::kHaloBytes};
}

// Blocks of a sample: as many as keep the device busy for the shortest time, at one block a multiprocessor, where a
// block's start (its weights) takes about as long as a tile.
inline int blocks_of_sample(i64 batch, int tiles, int groups, int processors) {
  const int most = int(divide_up(tiles, groups));
  int best = 1;
  i64 least = INT64_MAX;
  for (int blocks = 1; blocks <= most; ++blocks) {
    const i64 waves = divide_up(batch * blocks, processors);
    const i64 time = waves * (divide_up(divide_up(tiles, blocks), groups) + 1);
    if (time < least) least = time, best = blocks;
  }
  return best;
}

template <Arithmetic A, int C, Read kRead>
void launch_wide(const Call& call, WideWork<A> work) {
  const auto kernel = conv_wide_kernel<A, C, kRead>;
  int limit = 0, processors = 0;
  check(cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, call.device), "asking the device");
  check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, call.device), "asking the device");
  const WidePlan plan = wide_plan<A, C>(limit);
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, plan.bytes), "loading conv_wide");
  work.cut = cut(call.image);
  work.buffers = plan.buffers;
  work.blocks = blocks_of_sample(call.batch, work.cut.tiles(), plan.groups, processors);
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(unsigned(call.batch * work.blocks));
  config.blockDim = dim3(unsigned(plan.groups * kGroupThreads));
  config.dynamicSmemBytes = plan.bytes;
  config.stream = call.stream;
  check(cudaLaunchKernelEx(&config, kernel, work), "launching conv_wide");
}

template <Arithmetic A, int C>
void launch_wide(const Call& call, const WideWork<A>& work) {
  const Read read = work.source.kind;
  const Write write = work.target.kind;
  if (read == Read::gelu && write == Write::sums) return launch_wide<A, C, Read::gelu>(call, work);
  if (write == Write::gelu_gradient) {
    if (read == Read::gradient) return launch_wide<A, C, Read::gradient>(call, work);
    if (read == Read::plain) return launch_wide<A, C, Read::plain>(call, work);
  }
  throw std::invalid_argument("conv_wide: no stack pairs this source with this target");
}

template <Arithmetic A>
void conv_wide(const Call& call, Batched<const char> packed, const WideSource<A>& source, const WideTarget<A>& target) {
  if (call.batch == 0) return;
  const DeviceGuard guard(call.device);
  const WideWork<A> work = {source, target, packed, call.status, {}, 1, 1};
  switch (call.channels) {
    case 16: return launch_wide<A, 16>(call, work);
    case 32: return launch_wide<A, 32>(call, work);
    case 48: return launch_wide<A, 48>(call, work);
    case 64: return launch_wide<A, 64>(call, work);
    default: throw std::invalid_argument("conv_wide: 16, 32, 48 or 64 channels");
  }
}

}  // namespace aafast
