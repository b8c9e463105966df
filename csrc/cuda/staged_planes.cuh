// Tiles of thin planes in shared memory, with the pixels around them.
#pragma once
#include "conv.cuh"
#include "mma.cuh"

namespace aafast {

constexpr int kTileRows = 8, kTileColumns = 32;
// Of a staged plane: elements of a row, and of the plane. A tap (ky, kx) of the tile's pixel (row, column) stands at
// (row + ky) kLine + column + kx.
constexpr int kLine = kTileColumns + 4, kPlane = (kTileRows + 2) * kLine;

struct Tiles {
  int across, count;
};

inline Tiles tiles_of(Image image) {
  const int across = int(divide_up(image.width, kTileColumns));
  return {across, across * int(divide_up(image.height, kTileRows))};
}

// Operands of the tile whose first pixel is (top, left): planes times `scale`, 0 outside the image.
template <Arithmetic A>
__device__ __forceinline__ void stage_planes(const Planes& planes, i64 sample, float scale, Image image, int top,
                                             int left, int thread, int threads, Storage<A>* to) {
  constexpr int kColumns = kTileColumns + 2;
  for (int p = 0; p < planes.count; ++p, to += kPlane) {
    const float* plane = planes.plane[p].row(sample);
    for (int i = thread; i < (kTileRows + 2) * kColumns; i += threads) {
      const int row = i / kColumns, column = i % kColumns, y = top + row - 1, x = left + column - 1;
      const bool inside = y >= 0 && y < image.height && x >= 0 && x < image.width;
      const float v = inside ? scale * plane[i64(y) * image.width + x] : 0.0f;
      if constexpr (A == Arithmetic::half) to[row * kLine + column] = __float2half_rn(v);
      if constexpr (A == Arithmetic::tf32) to[row * kLine + column] = round_tf32(v);
      if constexpr (A == Arithmetic::single) to[row * kLine + column] = v;
    }
  }
}

}  // namespace aafast
