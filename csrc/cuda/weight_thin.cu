// Gradients of the first and the last layer's weights, out[9 p + k, c] = sum over pixels of plane_p(pixel + tap k)
// v(pixel)[c], and the sums of planes.
//
// The wide image is read once, by each lane two or more pixels of some adjacent channels, and goes straight into the
// fragments of mma: along the sum, which runs over pixels, fragments pair neighbours, and a lane has read both. The
// planes are staged in shared memory and gathered from there. Every block has its own tiles of the image; what the
// blocks found is added in order by a second kernel.
#include "launch_conv.cuh"
#include "lanes.cuh"
#include "staged_planes.cuh"
#include "warp.cuh"

namespace aafast {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kWarpSteps = kTileRows * kTileColumns / 16 / kWarps;  // of 16 pixels in a row, for a warp
constexpr int kShare = 4;                                           // tiles of a block
constexpr int kFinishThreads = 256;

// Blocks of a multiprocessor, at least.
template <Arithmetic A>
constexpr int kResident = A == Arithmetic::half ? 3 : 2;

template <Arithmetic A>
struct ThinArguments {
  Image image;
  int tiles, tiles_across, shares, passes;
  const std::int8_t* status;
  Planes planes;
  float plane_scale;
  WideSource<A> wide;
  float* partial;  // [B, shares, 9 planes, C]
};

// Rows 9 p + k of the result that one pass over the image finds: tiles of 16, or one plane's nine taps.
template <Arithmetic A, int kTiles>
constexpr int kPassRows = A == Arithmetic::single ? 9 : 16 * kTiles;

// What a lane adds up. own: its adjacent channels; it reads them at four pixels of a step of 16: 2 q, 2 q + 1, and the
// same 8 pixels on. `taps` are the places of the pass's rows of the result at the step's first pixel.
template <Arithmetic A, int C, int kTiles>
struct LaneSums {
  static constexpr int kOwn = C / 8;
  static constexpr int kTaps = 2 * kTiles;  // rows of A that a lane holds
  float sums[kTiles][kOwn][4] = {};

  template <class T>
  __device__ __forceinline__ void add(const float (&values)[4][kOwn], const T* planes, const int (&taps)[kTaps],
                                      int q) {
    if constexpr (A == Arithmetic::half) {
      unsigned b[kOwn][2];
#pragma unroll
      for (int n = 0; n < kOwn; ++n)
#pragma unroll
        for (int upper = 0; upper < 2; ++upper) b[n][upper] = pair_of(values[2 * upper][n], values[2 * upper + 1][n]);
#pragma unroll
      for (int m = 0; m < kTiles; ++m) {
        Fragment a;
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          const T* at = planes + taps[2 * m + r % 2] + 2 * q + r / 2 * 8;
          const T pair[2] = {at[0], at[1]};
          std::memcpy(&a[r], pair, 4);
        }
#pragma unroll
        for (int n = 0; n < kOwn; ++n) mma_half(sums[m][n], a, b[n][0], b[n][1]);
      }
    } else {
#pragma unroll
      for (int upper = 0; upper < 2; ++upper)
#pragma unroll
        for (int m = 0; m < kTiles; ++m) {
          Fragment a;
#pragma unroll
          for (int r = 0; r < 4; ++r) a[r] = bits_of(planes[taps[2 * m + r % 2] + 2 * q + r / 2 + upper * 8]);
#pragma unroll
          for (int n = 0; n < kOwn; ++n)
            mma_tf32(sums[m][n], a, bits_of(round_tf32(values[2 * upper][n])),
                     bits_of(round_tf32(values[2 * upper + 1][n])));
        }
    }
  }

  // to: [kPassRows][C].
  __device__ __forceinline__ void store(float (&to)[kPassRows<A, kTiles>][C], int g, int q) {
#pragma unroll
    for (int m = 0; m < kTiles; ++m)
#pragma unroll
      for (int n = 0; n < kOwn; ++n)
#pragma unroll
        for (int r = 0; r < 4; ++r) to[16 * m + r / 2 * 8 + g][(2 * q + r % 2) * kOwn + n] = sums[m][n][r];
  }
};

template <int C, int kTiles>
struct LaneSums<Arithmetic::single, C, kTiles> {
  static constexpr int kOwn = C / 8;
  static constexpr int kTaps = 1;  // the plane
  float sums[9][kOwn] = {};

  __device__ __forceinline__ void add(const float (&values)[4][kOwn], const float* planes, const int (&taps)[1],
                                      int q) {
#pragma unroll
    for (int p = 0; p < 4; ++p)
#pragma unroll
      for (int k = 0; k < 9; ++k) {
        const float at = planes[taps[0] + k / 3 * kLine + k % 3 + 2 * q + p % 2 + p / 2 * 8];
#pragma unroll
        for (int n = 0; n < kOwn; ++n) sums[k][n] = fmaf(at, values[p][n], sums[k][n]);
      }
  }

  __device__ __forceinline__ void store(float (&to)[9][C], int g, int q) {
#pragma unroll
    for (int k = 0; k < 9; ++k)
#pragma unroll
      for (int n = 0; n < kOwn; ++n) {
        float sum = sums[k][n];
        sum += __shfl_xor_sync(kAllLanes, sum, 1);
        sum += __shfl_xor_sync(kAllLanes, sum, 2);
        if (q == 0) to[k][g * kOwn + n] = sum;
      }
  }
};

template <Arithmetic A, int C, int kTiles>
struct ThinShared {
  Storage<A> planes[kThin * kPlane];
  float coefficients[3][C];
  float sums[kWarps][kPassRows<A, kTiles>][C];
};

template <Arithmetic A, int C, int kTiles>
__global__ void __launch_bounds__(kThreads, kResident<A>) thin_weight_kernel(ThinArguments<A> args) {
  using T = Storage<A>;
  using Sums = LaneSums<A, C, kTiles>;
  using Shared = ThinShared<A, C, kTiles>;
  constexpr int kOwn = C / 8, kRows = kPassRows<A, kTiles>;
  AAFAST_SHARED(Shared, shared);
  const int thread = threadIdx.x, lane = thread % kWarp, warp = thread / kWarp, g = lane / 4, q = lane % 4;
  const int pass = int(blockIdx.x) % args.passes, share = int(blockIdx.x) / args.passes % args.shares;
  const i64 sample = int(blockIdx.x) / args.passes / args.shares;
  if (args.status && args.status[sample] != 0) return;
  const int height = args.image.height, width = args.image.width, count = args.planes.count;
  const int rows = 9 * count;  // of the result
  const Read kind = args.wide.kind;
  const T* const x = args.wide.x.row(sample);
  const T* const x2 = kind == Read::gradient ? args.wide.x2.row(sample) : nullptr;
  stage_coefficients<A, C>(args.wide, sample, thread, kThreads, shared.coefficients);

  int taps[Sums::kTaps];
#pragma unroll
  for (int r = 0; r < Sums::kTaps; ++r) {
    const int row = A == Arithmetic::single ? 9 * pass : pass * kRows + 8 * r + g;
    taps[r] = row < rows ? row / 9 * kPlane + row % 9 / 3 * kLine + row % 3 : 0;  // rows past the end are not kept
  }
  Sums sums;
  Adjacent<T, kOwn> raw[4] = {}, raw2[4] = {};
  bool present[4];

  const int last = (share + 1) * kShare < args.tiles ? (share + 1) * kShare : args.tiles;
#pragma unroll 1
  for (int tile = share * kShare; tile < last; ++tile) {
    const int top = tile / args.tiles_across * kTileRows, left = tile % args.tiles_across * kTileColumns;
    if (tile > share * kShare) __syncthreads();  // the planes of the tile before have been used
    stage_planes<A>(args.planes, sample, args.plane_scale, args.image, top, left, thread, kThreads, shared.planes);
    __syncthreads();

    const auto row_of = [&](int step) { return warp * (kTileRows / kWarps) + step / 2; };
    const auto ask = [&](int step) {
      const int py = top + row_of(step);
#pragma unroll
      for (int p = 0; p < 4; ++p) {
        const int px = left + step % 2 * 16 + p / 2 * 8 + 2 * q + p % 2;
        present[p] = py < height && px < width;
        if (!present[p]) continue;
        const i64 at = (i64(py) * width + px) * C + g * kOwn;
        raw[p].load(x + at);
        if (kind == Read::gradient) raw2[p].load(x2 + at);
      }
    };
    ask(0);
#pragma unroll 1
    for (int step = 0; step < kWarpSteps; ++step) {
      float values[4][kOwn];
      read_values<A>(kind, raw, raw2, &shared.coefficients[0][g * kOwn], &shared.coefficients[1][g * kOwn],
                     &shared.coefficients[2][g * kOwn], values);
#pragma unroll
      for (int p = 0; p < 4; ++p)
#pragma unroll
        for (int n = 0; n < kOwn; ++n) values[p][n] = present[p] ? values[p][n] : 0.0f;
      if (step + 1 < kWarpSteps) ask(step + 1);
      sums.add(values, shared.planes + row_of(step) * kLine + step % 2 * 16, taps, q);
    }
  }

  sums.store(shared.sums[warp], g, q);
  __syncthreads();
  float* const to = args.partial + ((sample * args.shares + share) * rows + pass * kRows) * C;
  for (int i = thread; i < kRows * C; i += kThreads) {
    if (pass * kRows + i / C >= rows) break;
    float sum = 0.0f;
    for (int w = 0; w < kWarps; ++w) sum += shared.sums[w][i / C][i % C];
    to[i] = sum;
  }
}

__global__ void __launch_bounds__(kFinishThreads)
    thin_weight_finish_kernel(const float* partial,  // [B, shares, 9 planes, C]
                              int shares, int planes, int channels, bool planes_are_outputs, int blocks,
                              const std::int8_t* status, float scale, float* out) {
  const i64 sample = int(blockIdx.x) / blocks;
  const int size = 9 * planes * channels, i = int(blockIdx.x) % blocks * kFinishThreads + int(threadIdx.x);
  if ((status && status[sample] != 0) || i >= size) return;
  // As an output, a plane is met by the wide image at the opposite tap.
  const int tap = planes_are_outputs ? 8 - i % 9 : i % 9, inner = i / 9;
  const int plane = planes_are_outputs ? inner / channels : inner % planes;
  const int channel = planes_are_outputs ? inner % channels : inner / planes;
  float sum = 0.0f;
  for (int share = 0; share < shares; ++share)
    sum += partial[(sample * shares + share) * size + (9 * plane + tap) * channels + channel];
  out[sample * size + i] = scale * sum;
}

int shares_of(Image image) { return int(divide_up(tiles_of(image).count, kShare)); }

struct WarpSums {
  float of[kFinishThreads / kWarp];
};

__global__ void __launch_bounds__(kFinishThreads)
    plane_sums_kernel(Planes planes, i64 pixels, const std::int8_t* status, float* out) {  // [B, planes]
  AAFAST_SHARED(WarpSums, shared);
  const int thread = threadIdx.x, plane = int(blockIdx.x) % planes.count;
  const i64 sample = int(blockIdx.x) / planes.count;
  if (status && status[sample] != 0) return;
  const float* from = planes.plane[plane].row(sample);
  float sum = 0.0f;
  for (i64 i = thread; i < pixels; i += kFinishThreads) sum += from[i];
  sum = warp_sum(sum);
  if (thread % kWarp == 0) shared.of[thread / kWarp] = sum;
  __syncthreads();
  if (thread != 0) return;
  sum = 0.0f;
  for (int w = 0; w < kFinishThreads / kWarp; ++w) sum += shared.of[w];
  out[sample * planes.count + plane] = sum;
}

}  // namespace

template <Arithmetic A>
i64 thin_weight_workspace(Image image, i64 batch, int planes, int channels) {
  return batch * shares_of(image) * 9 * planes * channels * i64(sizeof(float));
}

template <Arithmetic A>
void thin_weight_gradient(const Call& call, const Planes& planes, float plane_scale, bool planes_are_outputs,
                          const WideSource<A>& wide, float scale, void* workspace, float* out) {
  const Tiles all = tiles_of(call.image);
  const int shares = shares_of(call.image), rows = 9 * planes.count;
  with_channels(call.channels, [&](auto channels) {
    const auto launch = [&](auto tiles) {
      constexpr int kTiles = decltype(tiles)::value;
      const int passes = int(divide_up(rows, kPassRows<A, kTiles>));
      const ThinArguments<A> args{call.image,  all.count, all.across,  shares, passes,
                                  call.status, planes,    plane_scale, wide,   static_cast<float*>(workspace)};
      launch_conv("launching thin_weight_gradient", call, call.batch * shares * passes, kThreads, 0,
                  thin_weight_kernel<A, decltype(channels)::value, kTiles>, args);
    };
    if (A == Arithmetic::single || rows <= 16) return launch(Constant<1>{});
    if constexpr (A != Arithmetic::single) launch(Constant<2>{});
  });
  const int blocks = int(divide_up(rows * call.channels, kFinishThreads));
  launch_conv("finishing thin_weight_gradient", call, call.batch * blocks, kFinishThreads, 0, thin_weight_finish_kernel,
              static_cast<const float*>(workspace), shares, planes.count, call.channels, planes_are_outputs,
              blocks, call.status, scale, out);
}

void plane_sums(const Call& call, const Planes& planes, float* out) {
  launch_conv("launching plane_sums", call, call.batch * planes.count, kFinishThreads, 0, plane_sums_kernel, planes,
              call.image.pixels(), call.status, out);
}

#define AAFAST_THIN_WEIGHT(A)                                                                                 \
  template i64 thin_weight_workspace<A>(Image, i64, int, int);                                                \
  template void thin_weight_gradient(const Call&, const Planes&, float, bool, const WideSource<A>&, float, void*, \
                                     float*);
AAFAST_THIN_WEIGHT(Arithmetic::half)
AAFAST_THIN_WEIGHT(Arithmetic::tf32)
AAFAST_THIN_WEIGHT(Arithmetic::single)
#undef AAFAST_THIN_WEIGHT

}  // namespace aafast
