// The first layer, and the adjoint of the last: thin planes to a wide image.
//
// A block stages a tile of the planes, with the pixels around it, in shared memory; the fragments of mma are gathered
// from there, one plane's nine taps after the other's along the sum. The columns of the product are dealt out so that a
// lane has adjacent channels, and goes from its accumulators to memory without another stop.
#include "launch_conv.cuh"
#include "staged_planes.cuh"
#include "thin_layout.cuh"

namespace aafast {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kWarpTiles = kTileRows * kTileColumns / 16 / kWarps;  // of 16 pixels in a row, for a warp

// Blocks of a multiprocessor, at least.
template <Arithmetic A>
constexpr int kResident = A == Arithmetic::half ? 4 : 3;

template <Arithmetic A>
struct WidenArguments {
  Image image;
  int tiles_across, parts;
  const std::int8_t* status;
  Planes planes;
  float scale;
  Batched<const char> packed;
  WideTarget<A> target;
};

template <Arithmetic A, int C>
struct WidenShared {
  alignas(16) Storage<A> weights[widen_elements<A>(kThin, C)];
  alignas(16) int offsets[widen_steps<A>(kThin)][4][4];  // of a lane's elements of A from its pixel, by step and q
  Storage<A> planes[kThin * kPlane];
  alignas(16) float coefficients[3][C];  // bias, a, b of the target
  float sums[kWarps][2 * C];
};

// From the upper left neighbour of a pixel in the first staged plane to where element k of the pixel's sum stands. Past
// the end of the sum weights are 0, and any pixel of the tile will do.
__device__ __forceinline__ int staged_offset(int k, int planes) {
  return k < 9 * planes ? k / 9 * kPlane + k % 9 / 3 * kLine + k % 3 : 0;
}

// Values of 16 pixels by C channels: [unit][tile of the unit][as the lanes of mma hold them].
template <int C>
using Sixteen = float[C / 16][2][4];

__device__ __forceinline__ unsigned staged_pair(const __half* low, const __half* high) {
  const __half pair[2] = {*low, *high};
  unsigned word;
  std::memcpy(&word, pair, 4);
  return word;
}

template <int C>
__device__ __forceinline__ void multiply(Sixteen<C>& sums, const WidenShared<Arithmetic::half, C>& shared, int planes,
                                         const __half* pixel, int lane) {
  const int steps = widen_steps<Arithmetic::half>(planes);
  for (int step = 0; step < steps; ++step) {
    const int4 at = *reinterpret_cast<const int4*>(shared.offsets[step][lane % 4]);
    const Fragment a = {staged_pair(pixel + at.x, pixel + at.y), staged_pair(pixel + at.x + 8, pixel + at.y + 8),
                        staged_pair(pixel + at.z, pixel + at.w), staged_pair(pixel + at.z + 8, pixel + at.w + 8)};
#pragma unroll
    for (int unit = 0; unit < C / 16; ++unit) {
      const uint4 b = reinterpret_cast<const uint4*>(shared.weights)[(step * (C / 16) + unit) * kWarp + lane];
      mma_half(sums[unit][0], a, b.x, b.y);
      mma_half(sums[unit][1], a, b.z, b.w);
    }
  }
}

template <int C>
__device__ __forceinline__ void multiply(Sixteen<C>& sums, const WidenShared<Arithmetic::tf32, C>& shared, int planes,
                                         const float* pixel, int lane) {
  const int steps = widen_steps<Arithmetic::tf32>(planes);
  for (int step = 0; step < steps; ++step) {
    const int4 at = *reinterpret_cast<const int4*>(shared.offsets[step][lane % 4]);
    const Fragment a = {bits_of(pixel[at.x]), bits_of(pixel[at.x + 8]), bits_of(pixel[at.y]), bits_of(pixel[at.y + 8])};
#pragma unroll
    for (int unit = 0; unit < C / 16; ++unit) {
      const uint4 b = reinterpret_cast<const uint4*>(shared.weights)[(step * (C / 16) + unit) * kWarp + lane];
      mma_tf32(sums[unit][0], a, b.x, b.y);
      mma_tf32(sums[unit][1], a, b.z, b.w);
    }
  }
}

template <int C>
__device__ __forceinline__ void multiply(Sixteen<C>& sums, const WidenShared<Arithmetic::single, C>& shared, int planes,
                                         const float* pixel, int lane) {
  for (int p = 0; p < planes; ++p) {
#pragma unroll
    for (int tap = 0; tap < 9; ++tap) {
      const float* at = pixel + p * kPlane + tap / 3 * kLine + tap % 3;
      const float v[2] = {at[0], at[8]};
#pragma unroll
      for (int unit = 0; unit < C / 16; ++unit) {
        const float4 w =
            *reinterpret_cast<const float4*>(&shared.weights[(9 * p + tap) * C + 16 * unit + lane % 4 * 4]);
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          sums[unit][0][2 * h] = fmaf(v[h], w.x, sums[unit][0][2 * h]);
          sums[unit][0][2 * h + 1] = fmaf(v[h], w.y, sums[unit][0][2 * h + 1]);
          sums[unit][1][2 * h] = fmaf(v[h], w.z, sums[unit][1][2 * h]);
          sums[unit][1][2 * h + 1] = fmaf(v[h], w.w, sums[unit][1][2 * h + 1]);
        }
      }
    }
  }
}

// One step of a sum over the lanes that differ in g (their lane number's bits 2 to 4): a lane gives away half of its
// values and receives the other lane's share of those it keeps.
template <int kValues, int kBit>
__device__ __forceinline__ void halve(float* values, int lane) {
  const bool upper = lane & kBit;
#pragma unroll
  for (int i = 0; i < kValues / 2; ++i) {
    const float kept = upper ? values[i + kValues / 2] : values[i], given = upper ? values[i] : values[i + kValues / 2];
    values[i] = kept + __shfl_xor_sync(kAllLanes, given, kBit);
  }
}

template <Arithmetic A, int C>
__global__ void __launch_bounds__(kThreads, kResident<A>) conv_widen_kernel(WidenArguments<A> args) {
  using T = Storage<A>;
  using Shared = WidenShared<A, C>;
  constexpr int kUnits = C / 16, kSpan = lane_span<A>(C), kSpans = C / (4 * kSpan);
  AAFAST_SHARED(Shared, shared);
  const int thread = threadIdx.x, lane = thread % kWarp, warp = thread / kWarp, g = lane / 4, q = lane % 4;
  const int part = int(blockIdx.x) % args.parts;
  const i64 sample = int(blockIdx.x) / args.parts;
  if (args.status && args.status[sample] != 0) return;
  const int height = args.image.height, width = args.image.width, count = args.planes.count;
  const int top = part / args.tiles_across * kTileRows, left = part % args.tiles_across * kTileColumns;
  const WideTarget<A>& target = args.target;

  const uint4* packed = reinterpret_cast<const uint4*>(args.packed.row(sample));
  for (int i = thread; i < widen_elements<A>(count, C) * int(sizeof(T)) / 16; i += kThreads)
    reinterpret_cast<uint4*>(shared.weights)[i] = packed[i];
  if constexpr (A != Arithmetic::single) {
    constexpr int pair = A == Arithmetic::half ? 2 : 1;
    for (int i = thread; i < widen_steps<A>(count) * 16; i += kThreads) {
      const int e = i % 4, k = i / 16 * widen_depth<A>() + e / pair * 4 * pair + i / 4 % 4 * pair + e % pair;
      shared.offsets[i / 16][i / 4 % 4][e] = e < 2 * pair ? staged_offset(k, count) : 0;
    }
  }
  stage_planes<A>(args.planes, sample, args.scale, args.image, top, left, thread, kThreads, shared.planes);
  const float *bias = target.bias.row(sample), *a_row = target.a.row(sample), *b_row = target.b.row(sample);
  for (int i = thread; i < C; i += kThreads) {
    shared.coefficients[0][i] = bias ? bias[i] : 0.0f;
    shared.coefficients[1][i] = a_row ? a_row[i] : 1.0f;
    shared.coefficients[2][i] = b_row ? b_row[i] : 0.0f;
  }
  __syncthreads();

  float totals[8 * kUnits] = {};  // [first or second sum][unit][i] of this lane's channels
  const bool with_h = target.kind == Write::gelu_gradient;
  T* const y_image = target.y.row(sample);
  const T* const h_image = with_h ? target.h.row(sample) : nullptr;
#pragma unroll 1
  for (int tile = 0; tile < kWarpTiles; ++tile) {
    const int row = warp * (kTileRows / kWarps) + tile / 2, column = tile % 2 * 16;
    if (top + row >= height || left + column >= width) continue;
    Sixteen<C> sums = {};
    multiply<C>(sums, shared, count, shared.planes + row * kLine + column + g, lane);
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      const int x = left + column + 8 * side + g;
      if (x >= width) continue;
      const i64 pixel = (i64(top + row) * width + x) * C + q * kSpan;
#pragma unroll
      for (int span = 0; span < kSpans; ++span) {
        const int channel = span * 4 * kSpan + q * kSpan;
        float values[kSpan], seconds[kSpan];
#pragma unroll
        for (int i = 0; i < kSpan; ++i) values[i] = sums[span * (kSpan / 4) + i / 4][i % 4 / 2][2 * side + i % 2];
        if (with_h) {
          Adjacent<T, kSpan> h;
          h.load(h_image + pixel + span * 4 * kSpan);
          float a[kSpan], b[kSpan];
          take_floats(&shared.coefficients[1][channel], a);
          take_floats(&shared.coefficients[2][channel], b);
#pragma unroll
          for (int i = 0; i < kSpan; ++i) {
            const float hi = value_of(h, i);
            values[i] *= gelu_gradient<A>(fmaf(a[i], hi, b[i]));
            seconds[i] = values[i] * hi;
          }
        } else {
          float bias_here[kSpan];
          take_floats(&shared.coefficients[0][channel], bias_here);
#pragma unroll
          for (int i = 0; i < kSpan; ++i) {
            values[i] += bias_here[i];
            seconds[i] = values[i] * values[i];
          }
        }
#pragma unroll
        for (int i = 0; i < kSpan; ++i) {
          const int at = (span * (kSpan / 4) + i / 4) * 4 + i % 4;
          totals[at] += values[i];
          totals[4 * kUnits + at] += seconds[i];
        }
        Adjacent<T, kSpan> y;
        set_values(y, values);
        y.store(y_image + pixel + span * 4 * kSpan);
      }
    }
  }
  if (!target.sums.at) return;

  halve<8 * kUnits, 16>(totals, lane);
  halve<4 * kUnits, 8>(totals, lane);
  halve<2 * kUnits, 4>(totals, lane);
#pragma unroll
  for (int j = 0; j < kUnits; ++j) {
    const int i = kUnits * g + j, unit = i / 4 % kUnits;  // in the order of `totals`
    shared.sums[warp][i / (4 * kUnits) * C + lane_channel<A>(C, unit, q, i % 4)] = totals[j];
  }
  __syncthreads();
  float* const to = target.sums.row(sample) + i64(part) * 2 * C;
  for (int i = thread; i < 2 * C; i += kThreads) {
    float sum = 0.0f;
    for (int w = 0; w < kWarps; ++w) sum += shared.sums[w][i];
    to[i] = sum;
  }
}

}  // namespace

int widen_parts(Image image, int) { return tiles_of(image).count; }

template <Arithmetic A>
void conv_widen(const Call& call, const Planes& planes, float scale, Batched<const char> packed,
                const WideTarget<A>& target) {
  const Tiles tiles = tiles_of(call.image);
  const WidenArguments<A> args{call.image, tiles.across, tiles.count, call.status, planes, scale, packed, target};
  with_channels(call.channels, [&](auto channels) {
    launch_conv("launching conv_widen", call, call.batch * tiles.count, kThreads, 0,
                conv_widen_kernel<A, decltype(channels)::value>, args);
  });
}

template void conv_widen(const Call&, const Planes&, float, Batched<const char>, const WideTarget<Arithmetic::half>&);
template void conv_widen(const Call&, const Planes&, float, Batched<const char>, const WideTarget<Arithmetic::tf32>&);
template void conv_widen(const Call&, const Planes&, float, Batched<const char>, const WideTarget<Arithmetic::single>&);

}  // namespace aafast
