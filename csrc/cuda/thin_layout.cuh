// The order in which the packed weights of the thin layers stand: that in which the lanes of a warp take them.
#pragma once
#include "lanes.cuh"

namespace aafast {

// Which weight stands at a place: tap 3 ky + kx from input `from` to output `to`; `tap` -1 where a zero fills up.
struct WeightAt {
  int tap, from, to;
};

// ---- widen: planes to C channels. The sum runs over k = 9 plane + tap, in steps of one mma.

template <Arithmetic A>
__host__ __device__ constexpr int widen_depth() {
  return A == Arithmetic::half ? 16 : A == Arithmetic::tf32 ? 8 : 1;
}

template <Arithmetic A>
__host__ __device__ constexpr int widen_steps(int planes) {
  return (9 * planes + widen_depth<A>() - 1) / widen_depth<A>();
}

// Elements of Storage: [steps][units][lanes][16 bytes], the fragments of two tiles of 8 columns; single: [k][C].
template <Arithmetic A>
__host__ __device__ constexpr int widen_elements(int planes, int channels) {
  return widen_steps<A>(planes) * widen_depth<A>() * channels;
}

template <Arithmetic A>
__host__ __device__ constexpr WeightAt widen_weight_at(int planes, int channels, int place) {
  int k, channel;
  if (A == Arithmetic::single) {
    k = place / channels;
    channel = place % channels;
  } else {
    const int pair = A == Arithmetic::half ? 2 : 1;  // elements of a register
    const int e = place % pair, upper = place / pair % 2, tile = place / pair / 2 % 2;
    const int lane = place / (4 * pair) % 32, g = lane / 4, q = lane % 4;
    const int unit = place / (128 * pair) % (channels / 16), step = place / (128 * pair) / (channels / 16);
    k = step * widen_depth<A>() + upper * 4 * pair + q * pair + e;
    channel = lane_channel<A>(channels, unit, g / 2, 2 * tile + g % 2);
  }
  return {k < 9 * planes ? k % 9 : -1, k / 9, channel};
}

// ---- narrow: C channels to planes. A row of the image is multiplied by the taps of one ky at a time; the columns of
// the product are 3 output + kx.

// Planes of one pass over the image: all, or for single as many as registers hold and divide the number.
template <Arithmetic A>
__host__ __device__ constexpr int narrow_pass(int outputs) {
  return A != Arithmetic::single ? outputs : outputs % 3 == 0 ? 3 : outputs % 2 == 0 ? 2 : 1;
}

// Columns of a pass, in tiles of 8 for mma.
template <Arithmetic A>
__host__ __device__ constexpr int narrow_columns(int outputs) {
  return A != Arithmetic::single ? (3 * outputs + 7) / 8 * 8 : 3 * narrow_pass<A>(outputs);
}

// Elements of one pass: [ky][units][columns / 8][lanes][4]; single: [ky][units][columns][q][4].
template <Arithmetic A>
__host__ __device__ constexpr int narrow_pass_elements(int channels, int outputs) {
  return 3 * channels * narrow_columns<A>(outputs);
}

template <Arithmetic A>
__host__ __device__ constexpr WeightAt narrow_weight_at(int channels, int outputs, int place) {
  const int columns = narrow_columns<A>(outputs), size = narrow_pass_elements<A>(channels, outputs);
  const int pass = place / size, within = place % size;
  const int i = within % 4, row = within / (16 * columns), unit = row % (channels / 16), ky = row / (channels / 16);
  const int lanes = within / 4 % (4 * columns);
  const int q = lanes % 4, column = lanes / 4;  // tiles of 8 columns by g, one after the other, are all columns
  const int o = pass * narrow_pass<A>(outputs) + column / 3;
  return {column / 3 < narrow_pass<A>(outputs) ? 3 * ky + column % 3 : -1,
          lane_channel<A>(channels, unit, q, i), o};
}

}  // namespace aafast
