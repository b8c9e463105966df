// Correlation of planes with small kernels, whole or as a column times a row.
#include "correlate.cuh"

namespace aafast {
namespace {

constexpr int kTallTaps = 16, kWideTaps = 32;  // of a square kernel, staged at a time
constexpr int kLineTaps = 64;                  // of a row or column
constexpr int kFused = 31;                     // largest row and column that are taken in one launch

// Both factors of a rank-one kernel: the rows of the tile and of its halo are correlated along the width into shared
// memory, then down the height.
template <class T>
struct SeparableShared {
  static constexpr int kPitch = kTileColumns + kFused - 1;
  static constexpr int kMost = (kTileRows + kFused - 1 + kTileRows - 1) / kTileRows * kTileRows;  // whole turns
  T tile[kMost][kPitch];
  T across[kMost][kTileColumns];
  T column[kFused], row[kFused];
};

template <class T>
__global__ void __launch_bounds__(kTileThreads) separable_kernel(Correlation<T> job, const T* rows_of_kernels) {
  using Shared = SeparableShared<T>;
  AAFAST_SHARED(Shared, shared);
  const Tile tile(job);
  if (stopped(job.status, tile.sample)) return;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, taps = job.tall, rows = kTileRows + taps - 1;
  const i64 kernel = kernel_offset(job, tile);
  if (threadIdx.x < unsigned(taps)) {
    const int at = job.reverse ? taps - 1 - int(threadIdx.x) : int(threadIdx.x);
    shared.column[threadIdx.x] = job.kernels[kernel + at];
    shared.row[threadIdx.x] = rows_of_kernels[kernel + at];
  }
  stage(job.in + tile.plane * job.height * job.width, job.height, job.width, tile.top - taps / 2,
        tile.left - taps / 2, rows, kTileColumns + taps - 1, &shared.tile[0][0], Shared::kPitch);
  __syncthreads();
  for (int r = warp * kTileEach; r < rows; r += kTileRows) {  // rows past the last are never read
    T sums[kTileEach] = {};
#pragma unroll 4
    for (int b = 0; b < taps; ++b)
#pragma unroll
      for (int n = 0; n < kTileEach; ++n) sums[n] += shared.row[b] * shared.tile[r + n][lane + b];
#pragma unroll
    for (int n = 0; n < kTileEach; ++n) shared.across[r + n][lane] = sums[n];
  }
  __syncthreads();
  T sums[kTileEach] = {};
  slide(&shared.across[warp * kTileEach][lane], kTileColumns, shared.column, 1, taps, sums);
  write_tile(job, tile, sums);
}

}  // namespace

template <class T>
void correlate_planes_cuda(i64 batch, int channels, int height, int width, int size, const T* kernels,
                           i64 sample_stride, i64 channel_stride, bool reverse, const T* in,
                           const std::int8_t* status, const Where& where, T* out) {
  const Correlation<T> job{channels, height, width, size, size, kernels, sample_stride, channel_stride,
                           reverse,  false,  in,    status, out};
  launch_correlation<kTallTaps, kWideTaps>("launching correlate_planes", job, batch, where);
}

i64 correlate_separable_cuda_scratch(i64 batch, int channels, int height, int width, int size) {
  return size <= kFused ? 0 : batch * channels * height * width;
}

template <class T>
void correlate_separable_cuda(i64 batch, int channels, int height, int width, int size, const T* columns,
                              const T* rows, i64 sample_stride, i64 channel_stride, bool reverse, const T* in,
                              const std::int8_t* status, const Where& where, T* scratch, T* out) {
  const char* what = "launching correlate_separable";
  Correlation<T> job{channels, height, width, size, 1, columns, sample_stride, channel_stride,
                     reverse,  false,  in,    status, out};
  if (size <= kFused) {
    launch_blocks(what, where, tiles_of(job, batch), kTileThreads, separable_kernel<T>, job, rows);
    return;
  }
  Correlation<T> first = job;
  first.tall = 1;
  first.wide = size;
  first.kernels = rows;
  first.out = scratch;
  launch_correlation<1, kLineTaps>(what, first, batch, where);
  job.in = scratch;
  launch_correlation<kLineTaps, 1>(what, job, batch, where);
}

#define AAFAST_INSTANTIATE(T)                                                                                        \
  template void correlate_planes_cuda(i64, int, int, int, int, const T*, i64, i64, bool, const T*,                   \
                                      const std::int8_t*, const Where&, T*);                                         \
  template void correlate_separable_cuda(i64, int, int, int, int, const T*, const T*, i64, i64, bool, const T*,      \
                                         const std::int8_t*, const Where&, T*, T*);

AAFAST_INSTANTIATE(float)
AAFAST_INSTANTIATE(double)

}  // namespace aafast
