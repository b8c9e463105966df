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

#include "activation.cuh"
#include "conv.cuh"
#include "mma.cuh"
#include "vector_io.cuh"

namespace aafast {

constexpr int kGroupWarps = 4, kGroupThreads = kGroupWarps * kWarp;
constexpr int kTileLines = 8, kTileLength = 16;
constexpr int kHaloLines = kTileLines + 2, kHaloLength = kTileLength + 2, kHaloPixels = kHaloLines * kHaloLength;

template <Arithmetic A, int C>
struct WideShape {
  using T = Storage<A>;
  static constexpr int kPixelBytes = C * int(sizeof(T));
  static constexpr int kChunks = kPixelBytes / 16;     // of 16 bytes
  static constexpr int kLaneChannels = 16 / int(sizeof(T));
  static constexpr bool kSwizzled = kChunks % 8 == 0;
  static constexpr int kStride = kSwizzled ? kPixelBytes : kPixelBytes + 16;
  static constexpr int kHaloBytes = kHaloPixels * kStride;

  // How a group's warps share a tile: kAcross over the output channels, the others over its lines.
  static constexpr int kAcross = C == 64 ? 2 : 1, kDown = kGroupWarps / kAcross;
  static constexpr int kOwnLines = kTileLines / kDown;
  static constexpr int kWidth = C / kAcross;     // a warp's output channels
  static constexpr int kColumns = kWidth / 8;    // its tiles of 8 columns
  static constexpr int kOwn = 2 * kColumns;      // a lane's adjacent output channels
  static constexpr int kBlocks = kPixelBytes / 32;  // steps over the input channels
  static constexpr int kStepBytes = kWidth * 32 * kAcross;  // of the weights of one step and tap

  // Weights that would fill the shared memory go through it in parts, three taps and half of the input channels each,
  // one computed while the next arrives; all groups then go in step.
  static constexpr bool kStreamed = sizeof(T) == 4 && C >= 48;
  static constexpr int kPartSteps = kBlocks / 2;
  static constexpr int kTapBytes = kBlocks * kStepBytes;
  static constexpr int kPieceBytes = kPartSteps * kStepBytes, kPartBytes = 3 * kPieceBytes, kParts = 6;
  static constexpr int kWeightBytes = kStreamed ? 2 * kPartBytes : 9 * kTapBytes;

  static constexpr int kGroups = C >= 48 ? 3 : 4;        // at most; fewer have more registers each
  static constexpr int kTeam = kGroupThreads / kChunks;  // pixels that a group copies at a time
  static constexpr int kCopies = (kHaloPixels + kTeam - 1) / kTeam;  // chunks of a thread
  static_assert(kCopies <= 32, "a bit for each says whether it lies inside the image");
};

// How an image is cut. `lines` x `length` pixels, of which a tile has 8 x 16; steps in pixels to the next line and to
// the next pixel of a line; steps in taps likewise.
struct Cut {
  int lines, length, line_step, pixel_step, line_tap, pixel_tap, tiles_down, tiles_along;
  int tiles() const { return tiles_down * tiles_along; }
};

inline Cut cut(Image image) {
  const auto along = [](int lines, int length, bool rows) {
    const int width = rows ? length : lines;
    return Cut{lines, length, rows ? width : 1, rows ? 1 : width, rows ? 3 : 1, rows ? 1 : 3,
               int(divide_up(lines, kTileLines)), int(divide_up(length, kTileLength))};
  };
  // What the tensor cores do: whole 16 pixels of a line, and 4 lines, which is what a warp has of 64 channels.
  const auto work = [](const Cut& c) { return divide_up(c.lines, 4) * 4 * i64(c.tiles_along) * kTileLength; };
  const Cut rows = along(image.height, image.width, true), columns = along(image.width, image.height, false);
  return work(columns) < work(rows) ? columns : rows;
}

template <Arithmetic A>
struct WideWork {
  WideSource<A> source;
  WideTarget<A> target;
  Batched<const char> packed;
  const std::int8_t* status;
  Cut cut;
  int blocks;   // of a sample
  int buffers;  // halos of a group, 1 or 2
};

// Byte in a halo of a pixel's chunk of 16 bytes.
template <class S>
__device__ __forceinline__ int place(int pixel, int along, int chunk) {
  return pixel * S::kStride + (S::kSwizzled ? chunk ^ (along & 7) : chunk) * 16;
}

// A tile's corner.
struct Corner {
  int line, along;
  __device__ Corner(const Cut& c, int tile)
      : line(tile / c.tiles_along * kTileLines), along(tile % c.tiles_along * kTileLength) {}
};

// Starts a thread's share of the copies of a halo; says which of its chunks lie inside the image.
template <Arithmetic A, int C, Read kRead>
__device__ __forceinline__ unsigned start_halo(const WideWork<A>& work, i64 sample, int tile, int thread, char* halo) {
  using S = WideShape<A, C>;
  const Cut& cut = work.cut;
  const Corner corner(cut, tile);
  const auto* x = reinterpret_cast<const char*>(work.source.x.row(sample));
  const auto* x2 = kRead == Read::gradient ? reinterpret_cast<const char*>(work.source.x2.row(sample)) : nullptr;
  const int chunk = thread % S::kChunks;
  unsigned inside = 0;
  if (thread >= S::kTeam * S::kChunks) return inside;
#pragma unroll 4
  for (int k = 0; k < S::kCopies; ++k) {
    const int pixel = thread / S::kChunks + k * S::kTeam;
    if (k == S::kCopies - 1 && pixel >= kHaloPixels) break;
    const int line = corner.line + pixel / kHaloLength - 1, along = corner.along + pixel % kHaloLength - 1;
    const bool present = line >= 0 && line < cut.lines && along >= 0 && along < cut.length;
    const int at = present ? line * cut.line_step + along * cut.pixel_step : 0;
    const i64 byte = i64(at) * S::kPixelBytes + chunk * 16;
    copy_async(halo + place<S>(pixel, pixel % kHaloLength, chunk), x + byte, present);
    if (kRead == Read::gradient && present) prefetch(x2 + byte);
    inside |= unsigned(present) << k;
  }
  return inside;
}

// Puts a thread's chunks, which have landed, through the Source.
template <Arithmetic A, int C, Read kRead>
__device__ __forceinline__ void apply_source(const WideWork<A>& work, i64 sample, int tile, int thread, unsigned inside,
                                             char* halo) {
  using S = WideShape<A, C>;
  using T = Storage<A>;
  constexpr int kOwn = S::kLaneChannels;
  if (kRead == Read::plain && A != Arithmetic::tf32) return;
  if (inside == 0) return;
  const Cut& cut = work.cut;
  const Corner corner(cut, tile);
  const WideSource<A>& source = work.source;
  const int chunk = thread % S::kChunks;
  const T* x2 = kRead == Read::gradient ? source.x2.row(sample) : nullptr;
  float a[kOwn], b[kOwn], c[kOwn];
  if (kRead != Read::plain) {
    const float* rows[3] = {source.a.row(sample), source.b.row(sample),
                            kRead == Read::gradient ? source.c.row(sample) : nullptr};
#pragma unroll
    for (int i = 0; i < kOwn; ++i) a[i] = 1.0f, b[i] = c[i] = 0.0f;
    if (rows[0]) load_channels<kOwn>(rows[0] + chunk * kOwn, a);
    if (rows[0]) load_channels<kOwn>(rows[1] + chunk * kOwn, b);
    if (kRead == Read::gradient) load_channels<kOwn>(rows[2] + chunk * kOwn, c);
  }
#pragma unroll 4
  for (int k = 0; k < S::kCopies; ++k) {
    if (!(inside >> k & 1)) continue;
    const int pixel = thread / S::kChunks + k * S::kTeam;
    T* const at = reinterpret_cast<T*>(halo + place<S>(pixel, pixel % kHaloLength, chunk));
    float v[kOwn], v2[kOwn];
    load_channels<kOwn>(at, v);
    if (kRead == Read::gradient) {
      const int line = corner.line + pixel / kHaloLength - 1, along = corner.along + pixel % kHaloLength - 1;
      const int where = line * cut.line_step + along * cut.pixel_step;
      load_channels<kOwn>(x2 + i64(where) * C + chunk * kOwn, v2);
    }
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      if (kRead == Read::gelu) v[i] = gelu<A>(fmaf(a[i], v[i], b[i]));
      if (kRead == Read::gradient) v[i] = fmaf(a[i], v[i], fmaf(b[i], v2[i], c[i]));
      if (A == Arithmetic::tf32) v[i] = round_tf32(v[i]);
    }
    store_channels<kOwn>(v, at);
  }
}

// A warp's accumulators: [line][tile of columns][as mma has them]. A lane's channels are kOwn adjacent ones, two of
// each tile of columns, for pixels lane / 4 and lane / 4 + 8 of each line.
template <class S>
using Sums = float[S::kOwnLines][S::kColumns][4];

// Adds the products of one shift along the lines (kOwnLines + 2 lines of the halo from `halo` on) with the three taps
// across them, over the input channels of steps [first, first + steps). weights: of the first tap and step, tap_bytes
// from one tap to the next.
template <Arithmetic A, int C>
__device__ __forceinline__ void multiply(const char* halo, int shift, int first, int steps, const char* weights,
                                         int tap_bytes, int lane, int column_warp, Sums<WideShape<A, C>>& sums) {
  using S = WideShape<A, C>;
  if constexpr (A != Arithmetic::single) {
    const int along = lane % 16 + shift;
    const char* const from = halo + along * S::kStride;
    weights += column_warp * (S::kColumns / 2) * 512 + lane * 16;
#pragma unroll
    for (int step = 0; step < (S::kStreamed ? S::kPartSteps : S::kBlocks); ++step) {
      const int chunk = 2 * (first + step) + lane / 16;
      const char* const at = from + (S::kSwizzled ? chunk ^ (along & 7) : chunk) * 16;
      Fragment a[S::kOwnLines + 2];
#pragma unroll
      for (int line = 0; line < S::kOwnLines + 2; ++line)
        load_matrix(a[line], at + line * kHaloLength * S::kStride);
#pragma unroll
      for (int tap = 0; tap < 3; ++tap) {
#pragma unroll
        for (int pair = 0; pair < S::kColumns / 2; ++pair) {
          const int at_pair = tap * tap_bytes + step * S::kStepBytes + pair * 512;
          const uint4 b = *reinterpret_cast<const uint4*>(weights + at_pair);
#pragma unroll
          for (int line = 0; line < S::kOwnLines; ++line) {
            if constexpr (A == Arithmetic::half) {
              mma_half(sums[line][2 * pair], a[line + tap], b.x, b.y);
              mma_half(sums[line][2 * pair + 1], a[line + tap], b.z, b.w);
            } else {
              mma_tf32(sums[line][2 * pair], a[line + tap], b.x, b.y);
              mma_tf32(sums[line][2 * pair + 1], a[line + tap], b.z, b.w);
            }
          }
        }
      }
    }
  } else {
    // weights [tap][input][output]: four input channels at a time, in the same lanes as the accumulators of mma.
    const float* const own = reinterpret_cast<const float*>(weights) + column_warp * S::kWidth + lane % 4 * S::kOwn;
#pragma unroll 1
    for (int step = 0; step < 2 * steps; ++step) {
#pragma unroll 1
      for (int tap = 0; tap < 3; ++tap) {
        float a[2 * S::kOwnLines][4];
#pragma unroll
        for (int i = 0; i < 2 * S::kOwnLines; ++i) {
          const int along = lane / 4 + i % 2 * 8 + shift, pixel = (i / 2 + tap) * kHaloLength + along;
          load_channels<4>(reinterpret_cast<const float*>(halo + place<S>(pixel, along, 2 * first + step)), a[i]);
        }
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          float b[S::kOwn];
          load_channels<S::kOwn>(own + tap * (tap_bytes / 4) + (4 * step + k) * C, b);
#pragma unroll
          for (int i = 0; i < 2 * S::kOwnLines; ++i)
#pragma unroll
            for (int j = 0; j < S::kOwn; ++j) {
              float& sum = sums[i / 2][j / 2][i % 2 * 2 + j % 2];
              sum = fmaf(a[i][k], b[j], sum);
            }
        }
      }
    }
  }
}

// Finishes a warp's share of a tile: bias or GELU's derivative, the store, the sums over its pixels.
template <Arithmetic A, int C, Write kWrite>
__device__ __forceinline__ void finish_tile(const WideWork<A>& work, i64 sample, int tile, int warp, int lane,
                                            const Sums<WideShape<A, C>>& sums) {
  using S = WideShape<A, C>;
  using T = Storage<A>;
  constexpr int kOwn = S::kOwn;
  const Cut& cut = work.cut;
  const WideTarget<A>& target = work.target;
  const Corner corner(cut, tile);
  const int channel = warp % S::kAcross * S::kWidth + lane % 4 * kOwn;
  const int first_line = corner.line + warp / S::kAcross * S::kOwnLines, first_along = corner.along + lane / 4;
  T* const y = target.y.row(sample) + channel;
  const T* const h = kWrite == Write::gelu_gradient ? target.h.row(sample) + channel : nullptr;
  float a[kOwn], b[kOwn];  // for Write::sums, b is the bias
#pragma unroll
  for (int j = 0; j < kOwn; ++j) a[j] = 1.0f, b[j] = 0.0f;
  if (kWrite == Write::gelu_gradient) {
    if (const float* const row = target.a.row(sample)) load_channels<kOwn>(row + channel, a);
    if (const float* const row = target.b.row(sample)) load_channels<kOwn>(row + channel, b);
  } else if (const float* const row = target.bias.row(sample)) {
#pragma unroll
    for (int j = 0; j < kOwn; ++j) b[j] = row[channel + j];  // the caller's own memory, of any alignment
  }
  float total[2][kOwn] = {};
#pragma unroll
  for (int i = 0; i < 2 * S::kOwnLines; ++i) {
    const int line = first_line + i / 2, along = first_along + i % 2 * 8;
    if (line >= cut.lines || along >= cut.length) continue;
    const i64 at = i64(line * cut.line_step + along * cut.pixel_step) * C;
    float v[kOwn], other[kOwn];
    if (kWrite == Write::gelu_gradient) load_channels<kOwn>(h + at, other);
#pragma unroll
    for (int j = 0; j < kOwn; ++j) {
      v[j] = sums[i / 2][j / 2][i % 2 * 2 + j % 2];
      if (kWrite == Write::gelu_gradient) {
        v[j] *= gelu_gradient<A>(fmaf(a[j], other[j], b[j]));
      } else {
        v[j] += b[j];
        other[j] = v[j];
      }
      total[0][j] += v[j];
      total[1][j] = fmaf(v[j], other[j], total[1][j]);
    }
    store_channels<kOwn>(v, y + at);
  }
  float* const parts = target.sums.row(sample);
  if (!parts) return;
  float* const part = parts + (i64(tile) * S::kDown + warp / S::kAcross) * 2 * C + channel;
#pragma unroll
  for (int k = 0; k < 2; ++k) {
#pragma unroll
    for (int j = 0; j < kOwn; ++j)
#pragma unroll
      for (int offset = 4; offset < kWarp; offset *= 2) total[k][j] += __shfl_xor_sync(kAllLanes, total[k][j], offset);
    if (lane < 4) store_channels<kOwn>(total[k], part + k * C);
  }
}

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
