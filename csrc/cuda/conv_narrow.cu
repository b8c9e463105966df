// The last layer, and the adjoint of the first: a wide image to thin planes.
//
// A warp walks down a strip of the image and reads each of its pixels once, from memory straight into the fragments of
// mma. A row is multiplied by the weights of all three ky, whose results belong to three rows of the output: those are
// kept in registers and move up by one with every row. What is left, the sum over kx, is made of neighbouring pixels
// of a finished row, and goes through a few words of shared memory that are the warp's own.
#include "launch_conv.cuh"
#include "thin_layout.cuh"

namespace aafast {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kRows = 8;  // that a warp writes: it reads two more
constexpr int kResident = 2;  // blocks of a multiprocessor, at least

// Tiles of 16 pixels that a warp has side by side; the outermost pixels are read for their neighbours alone.
template <Arithmetic A>
constexpr int kTiles = A == Arithmetic::half ? 2 : 1;
template <Arithmetic A>
constexpr int kStrip = 16 * kTiles<A> - 2;

template <Arithmetic A>
struct NarrowArguments {
  Image image;
  int outputs, passes, strips, jobs;
  const std::int8_t* status;
  WideSource<A> source;
  Batched<const char> packed;
  Batched<const float> bias;
  float scale;
  float* out;  // [B, outputs, H, W]
};

// kColumns: of the product, 8 of a tile. What belongs to one row of the output, as the lanes hold it.
template <Arithmetic A, int kColumns>
struct RowSums {
  static constexpr int kPitch = 16 * kTiles<A> + 4;  // so that the lanes of a fragment store to different banks
  float sums[kTiles<A>][kColumns / 8][4];

  // to: [kColumns][kPitch], by column and pixel.
  __device__ __forceinline__ void store(float (&to)[kColumns][kPitch], int g, int q) const {
#pragma unroll
    for (int m = 0; m < kTiles<A>; ++m)
#pragma unroll
      for (int n = 0; n < kColumns / 8; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) to[8 * n + 2 * q + i % 2][16 * m + i / 2 * 8 + g] = sums[m][n][i];
  }
};

// By threads: a lane's own channels of its two pixels, for every column. Added up over the lanes that share a pixel.
template <int kColumns>
struct RowSums<Arithmetic::single, kColumns> {
  static constexpr int kPitch = 20;
  float sums[2][kColumns];

  __device__ __forceinline__ void store(float (&to)[kColumns][kPitch], int g, int q) const {
#pragma unroll
    for (int n = 0; n < kColumns; ++n)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float sum = sums[h][n];
        sum += __shfl_xor_sync(kAllLanes, sum, 1);
        sum += __shfl_xor_sync(kAllLanes, sum, 2);
        if (q == 0) to[n][8 * h + g] = sum;
      }
  }
};

// rows[2 - ky] += values times the weights of ky, for one unit of channels. values: [pixel][channel]; weights: those of
// the unit, kStride elements from one ky to the next.
template <int kColumns, int kStride>
__device__ __forceinline__ void multiply_unit(RowSums<Arithmetic::half, kColumns> (&rows)[3],
                                              const float (&values)[4][4], const bool (&present)[4],
                                              const __half* weights, int g, int q) {
  Fragment a[2];
#pragma unroll
  for (int p = 0; p < 4; ++p)
#pragma unroll
    for (int upper = 0; upper < 2; ++upper)
      a[p / 2][p % 2 + 2 * upper] = present[p] ? pair_of(values[p][2 * upper], values[p][2 * upper + 1]) : 0u;
#pragma unroll
  for (int ky = 0; ky < 3; ++ky)
#pragma unroll
    for (int n = 0; n < kColumns / 8; ++n) {
      const uint2 b = *reinterpret_cast<const uint2*>(weights + ky * kStride + (n * kWarp + 4 * g + q) * 4);
#pragma unroll
      for (int m = 0; m < 2; ++m) mma_half(rows[2 - ky].sums[m][n], a[m], b.x, b.y);
    }
}

template <int kColumns, int kStride>
__device__ __forceinline__ void multiply_unit(RowSums<Arithmetic::tf32, kColumns> (&rows)[3],
                                              const float (&values)[2][4], const bool (&present)[2],
                                              const float* weights, int g, int q) {
  Fragment a[2];  // by the half of the unit
#pragma unroll
  for (int p = 0; p < 2; ++p)
#pragma unroll
    for (int i = 0; i < 4; ++i) a[i / 2][p + i % 2 * 2] = present[p] ? bits_of(round_tf32(values[p][i])) : 0u;
#pragma unroll
  for (int ky = 0; ky < 3; ++ky)
#pragma unroll
    for (int n = 0; n < kColumns / 8; ++n) {
      const uint4 b = *reinterpret_cast<const uint4*>(weights + ky * kStride + (n * kWarp + 4 * g + q) * 4);
      mma_tf32(rows[2 - ky].sums[0][n], a[0], b.x, b.y);
      mma_tf32(rows[2 - ky].sums[0][n], a[1], b.z, b.w);
    }
}

template <int kColumns, int kStride>
__device__ __forceinline__ void multiply_unit(RowSums<Arithmetic::single, kColumns> (&rows)[3],
                                              const float (&values)[2][4], const bool (&present)[2],
                                              const float* weights, int, int q) {
  float v[2][4];
#pragma unroll
  for (int p = 0; p < 2; ++p)
#pragma unroll
    for (int i = 0; i < 4; ++i) v[p][i] = present[p] ? values[p][i] : 0.0f;
#pragma unroll
  for (int ky = 0; ky < 3; ++ky)
#pragma unroll
    for (int n = 0; n < kColumns; ++n) {
      const float4 w = *reinterpret_cast<const float4*>(weights + ky * kStride + (n * 4 + q) * 4);
#pragma unroll
      for (int p = 0; p < 2; ++p) {
        float& sum = rows[2 - ky].sums[p][n];
        sum = fmaf(v[p][0], w.x, sum);
        sum = fmaf(v[p][1], w.y, sum);
        sum = fmaf(v[p][2], w.z, sum);
        sum = fmaf(v[p][3], w.w, sum);
      }
    }
}

template <Arithmetic A, int C, int kColumns>
struct NarrowShared {
  alignas(16) Storage<A> weights[3 * C * kColumns];
  alignas(16) float coefficients[3][C];
  float finished[kWarps][kColumns][RowSums<A, kColumns>::kPitch];
};

template <Arithmetic A, int C, int kColumns>
__global__ void __launch_bounds__(kThreads, kResident) conv_narrow_kernel(NarrowArguments<A> args) {
  using T = Storage<A>;
  using Sums = RowSums<A, kColumns>;
  using Shared = NarrowShared<A, C, kColumns>;
  constexpr int kSpan = lane_span<A>(C), kSpans = C / (4 * kSpan), kPixels = 2 * kTiles<A>;
  AAFAST_SHARED(Shared, shared);
  const int thread = threadIdx.x, lane = thread % kWarp, warp = thread / kWarp, g = lane / 4, q = lane % 4;
  const int blocks = (args.jobs + kWarps - 1) / kWarps;
  const int job = int(blockIdx.x) % blocks * kWarps + warp, pass = int(blockIdx.x) / blocks % args.passes;
  const i64 sample = int(blockIdx.x) / blocks / args.passes;
  if (args.status && args.status[sample] != 0) return;

  const T* packed = reinterpret_cast<const T*>(args.packed.row(sample)) + pass * 3 * C * kColumns;
  constexpr int kVectors = sizeof(shared.weights) / 16;
  for (int i = thread; i < kVectors; i += kThreads)
    reinterpret_cast<uint4*>(shared.weights)[i] = reinterpret_cast<const uint4*>(packed)[i];
  stage_coefficients<A, C>(args.source, sample, thread, kThreads, shared.coefficients);
  __syncthreads();
  if (job >= args.jobs) return;

  const int height = args.image.height, width = args.image.width;
  const int left = job % args.strips * kStrip<A> - 1;  // the first column that is read
  const int begin = job / args.strips * kRows, end = begin + kRows < height ? begin + kRows : height;
  const int planes = args.passes == 1 ? args.outputs : kColumns / 3, first_plane = pass * planes;
  const Read kind = args.source.kind;
  const T* const x = args.source.x.row(sample);
  const T* const x2 = kind == Read::gradient ? args.source.x2.row(sample) : nullptr;
  bool present[kPixels];
  const i64 offset = i64(left + g) * C + q * kSpan;  // of the first pixel's first channel, in row 0
#pragma unroll
  for (int p = 0; p < kPixels; ++p) {
    const int column = left + 8 * p + g;
    present[p] = column >= 0 && column < width;
  }

  Adjacent<T, kSpan> raw[kSpans][kPixels] = {}, raw2[kSpans][kPixels] = {};
  const auto read_span = [&](int v, int row) {
    const i64 at = i64(row) * width * C + offset;
#pragma unroll
    for (int p = 0; p < kPixels; ++p) {
      if (!present[p]) continue;  // the values of such a pixel are not used
      raw[v][p].load(x + at + 8 * p * C + v * 4 * kSpan);
      if (kind == Read::gradient) raw2[v][p].load(x2 + at + 8 * p * C + v * 4 * kSpan);
    }
  };
  Sums rows[3] = {};  // of the output: the one above the row that is read, that row's own, the one below
  const auto inside = [&](int row) { return row >= 0 && row < height && row <= end; };
#pragma unroll
  for (int v = 0; v < kSpans; ++v)
    if (inside(begin - 1)) read_span(v, begin - 1);

#pragma unroll 1
  for (int row = begin - 1; row <= end; ++row) {
    // A span of the next row is asked for as soon as this row's has been used.
#pragma unroll
    for (int v = 0; v < kSpans; ++v) {
      if (inside(row)) {
        const int channel = v * 4 * kSpan + q * kSpan;
        float values[kPixels][kSpan];
        read_values<A>(kind, raw[v], raw2[v], &shared.coefficients[0][channel], &shared.coefficients[1][channel],
                       &shared.coefficients[2][channel], values);
#pragma unroll
        for (int u = 0; u < kSpan / 4; ++u) {
          float unit[kPixels][4];
#pragma unroll
          for (int p = 0; p < kPixels; ++p)
#pragma unroll
            for (int i = 0; i < 4; ++i) unit[p][i] = values[p][4 * u + i];
          multiply_unit<kColumns, C * kColumns>(rows, unit, present,
                                                shared.weights + (v * (kSpan / 4) + u) * 16 * kColumns, g, q);
        }
      }
      if (inside(row + 1)) read_span(v, row + 1);
    }
    if (row > begin) {
      rows[0].store(shared.finished[warp], g, q);
      __syncwarp();
      for (int i = lane; i < planes * 16 * kTiles<A>; i += kWarp) {
        const int pixel = i % (16 * kTiles<A>), o = i / (16 * kTiles<A>), column = left + pixel;
        if (pixel == 0 || pixel > kStrip<A> || column >= width) continue;
        const auto& finished = shared.finished[warp];
        const float sum = finished[3 * o][pixel - 1] + finished[3 * o + 1][pixel] + finished[3 * o + 2][pixel + 1];
        const i64 plane = sample * args.outputs + first_plane + o;
        const float bias = args.bias.at ? args.bias.row(sample)[first_plane + o] : 0.0f;
        args.out[(plane * height + row - 1) * width + column] = fmaf(args.scale, sum, bias);
      }
      __syncwarp();
    }
    rows[0] = rows[1];
    rows[1] = rows[2];
    rows[2] = Sums{};
  }
}

}  // namespace

template <Arithmetic A>
void conv_narrow(const Call& call, const WideSource<A>& source, Batched<const char> packed, int outputs,
                 Batched<const float> bias, float scale, float* out) {
  const int strips = int(divide_up(call.image.width, kStrip<A>));
  const int jobs = strips * int(divide_up(call.image.height, kRows));
  const int passes = outputs / narrow_pass<A>(outputs);
  const NarrowArguments<A> args{call.image, outputs, passes, strips, jobs, call.status,
                                source,     packed,  bias,   scale,  out};
  const i64 blocks = call.batch * passes * divide_up(jobs, kWarps);
  with_channels(call.channels, [&](auto channels) {
    const auto launch = [&](auto columns) {
      launch_conv("launching conv_narrow", call, blocks, kThreads, 0,
                  conv_narrow_kernel<A, decltype(channels)::value, decltype(columns)::value>, args);
    };
    const int columns = narrow_columns<A>(outputs);
    if constexpr (A == Arithmetic::single) {
      if (columns == 3) return launch(Constant<3>{});
      if (columns == 6) return launch(Constant<6>{});
      launch(Constant<9>{});
    } else {
      if (columns == 8) return launch(Constant<8>{});
      if (columns == 16) return launch(Constant<16>{});
      launch(Constant<24>{});
    }
  });
}

template void conv_narrow(const Call&, const WideSource<Arithmetic::half>&, Batched<const char>, int,
                          Batched<const float>, float, float*);
template void conv_narrow(const Call&, const WideSource<Arithmetic::tf32>&, Batched<const char>, int,
                          Batched<const float>, float, float*);
template void conv_narrow(const Call&, const WideSource<Arithmetic::single>&, Batched<const char>, int,
                          Batched<const float>, float, float*);

}  // namespace aafast
