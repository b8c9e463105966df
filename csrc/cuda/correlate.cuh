// Correlation of planes with a kernel of any odd size, zero outside. A block makes a tile of 32 x 32 values of one
// plane: it stages the part of the plane that some of the taps meet, and a thread slides a window of kTileEach rows
// down a column of it, so that a value read serves that many products.
#pragma once
#include "samples.cuh"

namespace aafast {

constexpr int kTileThreads = 256;
constexpr int kTileWarps = kTileThreads / kWarp;
constexpr int kTileEach = 4;                      // rows of a thread
constexpr int kTileRows = kTileWarps * kTileEach;
constexpr int kTileColumns = kWarp;

template <class T>
struct Correlation {
  int channels, height, width;
  int tall, wide;  // of the kernel
  const T* kernels;
  i64 sample_stride, channel_stride;
  bool reverse, add;
  const T* in;
  const std::int8_t* status;
  T* out;
};

// Which tile of which plane a block makes.
struct Tile {
  i64 plane, sample;
  int top, left;
  template <class T>
  __device__ __forceinline__ explicit Tile(const Correlation<T>& job) {
    const int across = (job.width + kTileColumns - 1) / kTileColumns;
    const int tiles = (job.height + kTileRows - 1) / kTileRows * across;
    plane = blockIdx.x / tiles;
    sample = plane / job.channels;
    const int tile = blockIdx.x % tiles;
    top = tile / across * kTileRows;
    left = tile % across * kTileColumns;
  }
};

template <class T>
i64 tiles_of(const Correlation<T>& job, i64 batch) {
  return batch * job.channels * divide_up(job.height, kTileRows) * divide_up(job.width, kTileColumns);
}

template <class T>
__device__ __forceinline__ i64 kernel_offset(const Correlation<T>& job, const Tile& tile) {
  return tile.sample * job.sample_stride + tile.plane % job.channels * job.channel_stride;
}

// Copies [rows, columns] of a plane from (top, left) on into shared memory, zero outside the plane.
template <class T>
__device__ __forceinline__ void stage(const T* plane, int height, int width, int top, int left, int rows, int columns,
                                      T* to, int pitch) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  for (int r = warp; r < rows; r += kTileWarps) {
    const int row = top + r;
    const bool inside = row >= 0 && row < height;
    for (int c = lane; c < columns; c += kWarp) {
      const int column = left + c;
      to[r * pitch + c] = inside && column >= 0 && column < width ? plane[i64(row) * width + column] : T(0);
    }
  }
}

// Adds the products of `taps` values of a kernel with a column of shared memory to the sums of kTileEach rows.
template <class T>
__device__ __forceinline__ void slide(const T* column, int pitch, const T* kernel, int kernel_pitch, int taps,
                                      T (&sums)[kTileEach]) {
  T window[kTileEach];
#pragma unroll
  for (int r = 0; r + 1 < kTileEach; ++r) window[r] = column[r * pitch];
#pragma unroll 4
  for (int a = 0; a < taps; ++a) {
    window[kTileEach - 1] = column[(a + kTileEach - 1) * pitch];
    const T weight = kernel[a * kernel_pitch];
#pragma unroll
    for (int r = 0; r < kTileEach; ++r) sums[r] += weight * window[r];
#pragma unroll
    for (int r = 0; r + 1 < kTileEach; ++r) window[r] = window[r + 1];
  }
}

template <class T>
__device__ __forceinline__ void write_tile(const Correlation<T>& job, const Tile& tile, const T (&sums)[kTileEach]) {
  const int column = tile.left + int(threadIdx.x) % kWarp, row = tile.top + int(threadIdx.x) / kWarp * kTileEach;
  if (column >= job.width) return;
#pragma unroll
  for (int r = 0; r < kTileEach; ++r) {
    if (row + r >= job.height) return;
    T& to = job.out[(tile.plane * job.height + row + r) * job.width + column];
    to = job.add ? to + sums[r] : sums[r];
  }
}

// Tall, Wide: taps that are staged at a time.
template <class T, int Tall, int Wide>
struct CorrelationShared {
  static constexpr int kPitch = kTileColumns + Wide - 1;
  T tile[kTileRows + Tall - 1][kPitch];
  T kernel[Tall][Wide];
};

template <class T, int Tall, int Wide>
__global__ void __launch_bounds__(kTileThreads) correlate_kernel(Correlation<T> job) {
  using Shared = CorrelationShared<T, Tall, Wide>;
  AAFAST_SHARED(Shared, shared);
  const Tile tile(job);
  if (stopped(job.status, tile.sample)) return;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, taps = job.tall * job.wide;
  const T* kernel = job.kernels + kernel_offset(job, tile);
  const T* plane = job.in + tile.plane * job.height * job.width;
  T sums[kTileEach] = {};
  for (int a0 = 0; a0 < job.tall; a0 += Tall)
    for (int b0 = 0; b0 < job.wide; b0 += Wide) {
      const int down = job.tall - a0 < Tall ? job.tall - a0 : Tall;
      const int across = job.wide - b0 < Wide ? job.wide - b0 : Wide;
      if (a0 + b0 > 0) __syncthreads();
      for (int i = threadIdx.x; i < down * across; i += kTileThreads) {
        const int at = (a0 + i / across) * job.wide + b0 + i % across;
        shared.kernel[i / across][i % across] = kernel[job.reverse ? taps - 1 - at : at];
      }
      stage(plane, job.height, job.width, tile.top + a0 - job.tall / 2, tile.left + b0 - job.wide / 2,
            kTileRows + down - 1, kTileColumns + across - 1, &shared.tile[0][0], Shared::kPitch);
      __syncthreads();
      for (int b = 0; b < across; ++b)
        slide(&shared.tile[warp * kTileEach][lane + b], Shared::kPitch, &shared.kernel[0][b], Wide, down, sums);
    }
  write_tile(job, tile, sums);
}

template <int Tall, int Wide, class T>
void launch_correlation(const char* what, const Correlation<T>& job, i64 batch, const Where& where) {
  launch_blocks(what, where, tiles_of(job, batch), kTileThreads, correlate_kernel<T, Tall, Wide>, job);
}

}  // namespace aafast
