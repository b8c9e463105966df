// The gradient of a wide layer's weight, dW[tap][i][o] = sum over pixels p of input_i(p + tap) gradient_o(p).
//
// A block owns a share of one sample and keeps all 9 C C sums in registers: a warp has 16 inputs by 16 outputs of all
// taps. The image is cut into strips of columns. A strip is read as one line of positions, row after row, each row with
// a column more on either side: there the input is what it is in the image, the gradient is 0. Then tap (ky, kx) is
// nothing but a shift along the line, and no product is spent on the ends of rows that are not multiples of 16:
//   dW[ky, kx] = sum over u of input(u + kx - 1) gradient(u - (ky - 1) pitch).
// Both go through rings in shared memory, to which the Source has been applied once. At every step of the sum three
// shifts of the one meet three of the other, so that 18 mma take 6 loads. While a step is multiplied, the next part of
// the line is on its way from memory.
#include "launch_conv.cuh"
#include "lanes.cuh"

namespace aafast {
namespace {

constexpr int kRing = 256, kLast = kRing - 1;  // positions
constexpr int kMostColumns = 62;    // of a strip: 2 pitches and 2 steps fit the ring
constexpr int kSharePixels = 1536;  // a share has so many at least, where the image has
constexpr int kFinishThreads = 256;
constexpr int kFinishOutputs = 8;

// Positions of a step.
template <Arithmetic A>
constexpr int kStep = A == Arithmetic::half ? 64 : 32;

template <int C>
constexpr int kThreads = C / 16 * (C / 16) * kWarp;

struct Cut {
  int strips, columns, row_shares;  // columns: of a strip, the last may have fewer
  int shares() const { return strips * row_shares; }
};

Cut cut_of(Image image) {
  const int strips = int(divide_up(image.width, kMostColumns)), columns = int(divide_up(image.width, strips));
  i64 shares = 1;
  while (2 * shares * kSharePixels <= image.pixels()) shares *= 2;
  const i64 rows = shares / strips < 1 ? 1 : shares / strips;
  return {strips, columns, int(rows < image.height ? rows : image.height)};
}

template <Arithmetic A>
struct WideWeightArguments {
  Image image;
  int strips, columns, row_shares;
  unsigned reciprocal;  // of the pitch, times 2^32, rounded up
  const std::int8_t* status;
  WideSource<A> input, gradient;
  float* partial;  // [B, shares, 9, C, C]: tap, input, output
};

template <class T, int C>
struct WideWeightShared {
  static constexpr int kPitch = C + 8;  // lanes that read a column of a fragment meet different banks
  alignas(16) T input[kRing][kPitch];
  alignas(16) T gradient[kRing][kPitch];
  alignas(16) float coefficients[5][C];  // a, b of the input, a, b, c of the gradient; see quad_place
};

// Where a channel's coefficient stands: a thread takes them for adjacent channels four at a time, and the threads of
// a quarter of a warp, with all chunks of a pixel, then read adjacent words.
template <int C, int kChunk>
__host__ __device__ constexpr int quad_place(int channel) {
  return channel % kChunk / 4 * (4 * C / kChunk) + channel / kChunk * 4 + channel % 4;
}

template <int C, int kChunk>
__device__ __forceinline__ void take_coefficients(const float (&row)[C], int channel, float (&to)[kChunk]) {
#pragma unroll
  for (int i = 0; i < kChunk; i += 4) {
    const float4 quad = *reinterpret_cast<const float4*>(&row[quad_place<C, kChunk>(channel + i)]);
    to[i] = quad.x, to[i + 1] = quad.y, to[i + 2] = quad.z, to[i + 3] = quad.w;
  }
}

// sums[3 ky + kx] += 16 positions' products, from position u of the line. i0, o0: the warp's inputs and outputs.
template <int C>
__device__ __forceinline__ void multiply(float (&sums)[9][2][4], const WideWeightShared<__half, C>& shared, int u,
                                         int pitch, int i0, int o0, int lane, Constant<int(Arithmetic::half)>) {
  Fragment b[3];
#pragma unroll
  for (int ky = 0; ky < 3; ++ky) {
    const int position = u + (2 - ky) * pitch + lane % 16;
    load_matrix_transposed(b[ky], &shared.gradient[position & kLast][o0 + lane / 16 * 8]);
  }
  // Each shift of the input is asked for before the one ahead of it is multiplied.
  Fragment a[2];
  const auto load_input = [&](int kx) {
    const int position = u + kx + lane % 8 + lane / 16 * 8;
    load_matrix_transposed(a[kx % 2], &shared.input[position & kLast][i0 + lane / 8 % 2 * 8]);
  };
  load_input(0);
#pragma unroll
  for (int kx = 0; kx < 3; ++kx) {
    if (kx < 2) load_input(kx + 1);
#pragma unroll
    for (int ky = 0; ky < 3; ++ky) {
      mma_half(sums[3 * ky + kx][0], a[kx % 2], b[ky][0], b[ky][1]);
      mma_half(sums[3 * ky + kx][1], a[kx % 2], b[ky][2], b[ky][3]);
    }
  }
}

template <int C>
__device__ __forceinline__ void multiply(float (&sums)[9][2][4], const WideWeightShared<float, C>& shared, int u,
                                         int pitch, int i0, int o0, int lane, Constant<int(Arithmetic::tf32)>) {
  const int g = lane / 4, q = lane % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half, u += 8) {
    unsigned b[3][2][2];
#pragma unroll
    for (int ky = 0; ky < 3; ++ky)
#pragma unroll
      for (int upper = 0; upper < 2; ++upper) {
        const float* from = &shared.gradient[(u + (2 - ky) * pitch + q + 4 * upper) & kLast][o0 + g];
        b[ky][0][upper] = bits_of(from[0]);
        b[ky][1][upper] = bits_of(from[8]);
      }
#pragma unroll
    for (int kx = 0; kx < 3; ++kx) {
      const float* low = &shared.input[(u + kx + q) & kLast][i0 + g];
      const float* high = &shared.input[(u + kx + q + 4) & kLast][i0 + g];
      const Fragment a = {bits_of(low[0]), bits_of(low[8]), bits_of(high[0]), bits_of(high[8])};
#pragma unroll
      for (int ky = 0; ky < 3; ++ky)
#pragma unroll
        for (int n = 0; n < 2; ++n) mma_tf32(sums[3 * ky + kx][n], a, b[ky][n][0], b[ky][n][1]);
    }
  }
}

// A lane has inputs 2 g and 2 g + 1 and outputs 4 q to 4 q + 3.
template <int C>
__device__ __forceinline__ void multiply(float (&sums)[9][2][4], const WideWeightShared<float, C>& shared, int u,
                                         int pitch, int i0, int o0, int lane, Constant<int(Arithmetic::single)>) {
  const int g = lane / 4, q = lane % 4;
#pragma unroll 2
  for (int k = 0; k < 16; ++k, ++u) {
    float4 b[3];
#pragma unroll
    for (int ky = 0; ky < 3; ++ky)
      b[ky] = *reinterpret_cast<const float4*>(&shared.gradient[(u + (2 - ky) * pitch) & kLast][o0 + 4 * q]);
#pragma unroll
    for (int kx = 0; kx < 3; ++kx) {
      const float2 a = *reinterpret_cast<const float2*>(&shared.input[(u + kx) & kLast][i0 + 2 * g]);
#pragma unroll
      for (int ky = 0; ky < 3; ++ky)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float(&to)[4] = sums[3 * ky + kx][i];
          const float v = i ? a.y : a.x;
          to[0] = fmaf(v, b[ky].x, to[0]);
          to[1] = fmaf(v, b[ky].y, to[1]);
          to[2] = fmaf(v, b[ky].z, to[2]);
          to[3] = fmaf(v, b[ky].w, to[3]);
        }
    }
  }
}

template <Arithmetic A, int C>
__global__ void __launch_bounds__(kThreads<C>, 1) wide_weight_kernel(WideWeightArguments<A> args) {
  using T = Storage<A>;
  using Shared = WideWeightShared<T, C>;
  constexpr int kChunk = 16 / int(sizeof(T)), kChunks = C / kChunk;  // what a thread moves at once
  constexpr int kPieces = kStep<A> * kChunks, kItems = (kPieces + kThreads<C> - 1) / kThreads<C>;
  constexpr int kAhead = 128 / kStep<A> + 1;  // steps of the gradient in the ring before the first is multiplied
  static_assert(sizeof(Shared) <= 163 * 1024, "the least that a block can have where tensor cores know tf32");
  AAFAST_DYNAMIC_SHARED(Shared, memory);
  Shared& shared = *memory;
  const int thread = threadIdx.x, lane = thread % kWarp, warp = thread / kWarp;
  const int shares = args.strips * args.row_shares, share = int(blockIdx.x) % shares;
  const i64 sample = int(blockIdx.x) / shares;
  if (args.status && args.status[sample] != 0) return;

  const int height = args.image.height, width = args.image.width, pitch = args.columns + 2;
  const int left = share / args.row_shares * args.columns, rest = width - left;
  const int columns = rest < args.columns ? rest : args.columns, row_share = share % args.row_shares;
  const int begin = int(i64(height) * row_share / args.row_shares);
  const int rows = int(i64(height) * (row_share + 1) / args.row_shares) - begin;
  const T* const x = args.input.x.row(sample);
  const T* const d = args.gradient.x.row(sample);
  const T* const h = args.gradient.kind == Read::gradient ? args.gradient.x2.row(sample) : nullptr;

  const float* from[5] = {args.input.a.row(sample), args.input.b.row(sample), args.gradient.a.row(sample),
                          args.gradient.b.row(sample), args.gradient.c.row(sample)};
  for (int i = thread; i < C; i += kThreads<C>)
#pragma unroll
    for (int r = 0; r < 5; ++r)
      shared.coefficients[r][quad_place<C, kChunk>(i)] = from[r] ? from[r][i] : r == 0 || r == 2 ? 1.0f : 0.0f;
  __syncthreads();

  // A part of the line on its way: the input stands a position late, so that its first neighbour has a place.
  Adjacent<T, kChunk> raw_x[kItems][1] = {}, raw_d[kItems][1] = {}, raw_h[kItems][1] = {};
  bool has_x[kItems], has_d[kItems];
  const auto ask = [&](int x_step, int d_step) {
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      const int piece = thread + i * kThreads<C>, within = piece / kChunks, channel = piece % kChunks * kChunk;
      has_x[i] = has_d[i] = false;
      if (kPieces % kThreads<C> != 0 && piece >= kPieces) continue;
      const unsigned at_x = unsigned(x_step * kStep<A> + within) - 1u;
      const int row_x = int(std::uint64_t(at_x) * args.reciprocal >> 32);
      const int column_x = int(at_x) - row_x * pitch + left - 1;
      has_x[i] = at_x != ~0u && row_x < rows && column_x >= 0 && column_x < width;
      if (has_x[i]) raw_x[i][0].load(x + (i64(begin + row_x) * width + column_x) * C + channel);
      const unsigned at_d = unsigned(d_step * kStep<A> + within);
      const int line = int(std::uint64_t(at_d) * args.reciprocal >> 32), column_d = int(at_d) - line * pitch;
      const int row_d = begin + line - 1;
      has_d[i] = line < rows + 2 && row_d >= 0 && row_d < height && column_d >= 1 && column_d <= columns;
      if (!has_d[i]) continue;
      const i64 at = (i64(row_d) * width + left + column_d - 1) * C + channel;
      raw_d[i][0].load(d + at);
      if (h) raw_h[i][0].load(h + at);
    }
  };
  const auto keep = [&](bool there, float (&values)[1][kChunk], T* to) {
#pragma unroll
    for (int n = 0; n < kChunk; ++n) {
      if constexpr (A == Arithmetic::tf32) values[0][n] = round_tf32(values[0][n]);
      values[0][n] = there ? values[0][n] : 0.0f;
    }
    Adjacent<T, kChunk> words;
    set_values(words, values[0]);
    words.store(to);
  };
  const auto put = [&](int x_step, int d_step) {
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      const int piece = thread + i * kThreads<C>, within = piece / kChunks, channel = piece % kChunks * kChunk;
      if (kPieces % kThreads<C> != 0 && piece >= kPieces) continue;
      float a[kChunk], b[kChunk], c[kChunk], values[1][kChunk];
      take_coefficients<C, kChunk>(shared.coefficients[0], channel, a);
      take_coefficients<C, kChunk>(shared.coefficients[1], channel, b);
      read_as<A, Read::gelu>(raw_x[i], raw_x[i], a, b, b, values);
      keep(has_x[i], values, &shared.input[(x_step * kStep<A> + within) & kLast][channel]);
      take_coefficients<C, kChunk>(shared.coefficients[2], channel, a);
      take_coefficients<C, kChunk>(shared.coefficients[3], channel, b);
      take_coefficients<C, kChunk>(shared.coefficients[4], channel, c);
      if (h)
        read_as<A, Read::gradient>(raw_d[i], raw_h[i], a, b, c, values);
      else
        read_as<A, Read::plain>(raw_d[i], raw_d[i], a, b, c, values);
      keep(has_d[i], values, &shared.gradient[(d_step * kStep<A> + within) & kLast][channel]);
    }
  };
#pragma unroll 1
  for (int step = 0; step < kAhead; ++step) {
    ask(step, step);
    put(step, step);  // of the input two steps are needed here; what follows comes again, the same
  }
  __syncthreads();

  const int i0 = warp / (C / 16) * 16, o0 = warp % (C / 16) * 16;
  const int steps = (rows * pitch + kStep<A> - 1) / kStep<A>;
  float sums[9][2][4] = {};
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
    ask(step + 2, step + kAhead);
#pragma unroll 1
    for (int u = step * kStep<A>; u < (step + 1) * kStep<A>; u += 16)
      multiply<C>(sums, shared, u, pitch, i0, o0, lane, Constant<int(A)>{});
    put(step + 2, step + kAhead);
    __syncthreads();
  }

  float* const to = args.partial + (sample * shares + share) * (9 * C * C);
  const int g = lane / 4, q = lane % 4;
#pragma unroll
  for (int tap = 0; tap < 9; ++tap)
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const float(&sum)[4] = sums[tap][n];
      if constexpr (A == Arithmetic::single) {
        *reinterpret_cast<float4*>(&to[(tap * C + i0 + 2 * g + n) * C + o0 + 4 * q]) =
            make_float4(sum[0], sum[1], sum[2], sum[3]);
      } else {
        const int place = (tap * C + i0 + g) * C + o0 + 8 * n + 2 * q;
        *reinterpret_cast<float2*>(&to[place]) = make_float2(sum[0], sum[1]);
        *reinterpret_cast<float2*>(&to[place + 8 * C]) = make_float2(sum[2], sum[3]);
      }
    }
}

// out [B, C, C, 3, 3] from the partials; a block has some outputs of a sample.
template <int C>
struct FinishShared {
  float filters[kFinishOutputs][9 * C + 1];
};

template <int C>
__global__ void __launch_bounds__(kFinishThreads)
    wide_weight_finish_kernel(const float* partial, int shares, const std::int8_t* status, float scale, float* out) {
  using Shared = FinishShared<C>;
  AAFAST_SHARED(Shared, shared);
  constexpr int kBlocks = C / kFinishOutputs, kWeights = 9 * C * kFinishOutputs;
  const int thread = threadIdx.x, first = int(blockIdx.x) % kBlocks * kFinishOutputs;
  const i64 sample = int(blockIdx.x) / kBlocks;
  if (status && status[sample] != 0) return;
  for (int i = thread; i < kWeights; i += kFinishThreads) {
    const int output = i % kFinishOutputs, input = i / kFinishOutputs % C, tap = i / kFinishOutputs / C;
    const float* from = partial + sample * shares * (9 * C * C) + (tap * C + input) * C + first + output;
    float sum = 0.0f;
    for (int share = 0; share < shares; ++share) sum += from[i64(share) * (9 * C * C)];
    shared.filters[output][9 * input + tap] = scale * sum;
  }
  __syncthreads();
  float* const to = out + (sample * C + first) * (9 * C);
  for (int i = thread; i < kWeights; i += kFinishThreads) to[i] = shared.filters[i / (9 * C)][i % (9 * C)];
}

}  // namespace

template <Arithmetic A>
i64 wide_weight_workspace(Image image, i64 batch, int channels) {
  return batch * cut_of(image).shares() * 9 * channels * channels * i64(sizeof(float));
}

template <Arithmetic A>
void wide_weight_gradient(const Call& call, const WideSource<A>& input, const WideSource<A>& gradient, float scale,
                          void* workspace, float* out) {
  if (input.kind != Read::gelu || gradient.kind == Read::gelu)
    throw std::invalid_argument("the gradient of a wide weight is of a layer that reads through GELU");
  const Cut cut = cut_of(call.image);
  const unsigned reciprocal = unsigned((std::uint64_t(1) << 32) / unsigned(cut.columns + 2)) + 1u;
  const WideWeightArguments<A> args{call.image,  cut.strips, cut.columns, cut.row_shares,
                                    reciprocal,  call.status, input,      gradient,
                                    static_cast<float*>(workspace)};
  with_channels(call.channels, [&](auto channels) {
    constexpr int C = decltype(channels)::value;
    launch_conv("launching wide_weight_gradient", call, call.batch * cut.shares(), kThreads<C>,
                sizeof(WideWeightShared<Storage<A>, C>), wide_weight_kernel<A, C>, args);
    launch_conv("finishing wide_weight_gradient", call, call.batch * (C / kFinishOutputs), kFinishThreads, 0,
                wide_weight_finish_kernel<C>, static_cast<const float*>(workspace), cut.shares(), call.status, scale,
                out);
  });
}

#define AAFAST_WIDE_WEIGHT(A)                                                                           \
  template i64 wide_weight_workspace<A>(Image, i64, int);                                               \
  template void wide_weight_gradient(const Call&, const WideSource<A>&, const WideSource<A>&, float, void*, float*);
AAFAST_WIDE_WEIGHT(Arithmetic::half)
AAFAST_WIDE_WEIGHT(Arithmetic::tf32)
AAFAST_WIDE_WEIGHT(Arithmetic::single)
#undef AAFAST_WIDE_WEIGHT

}  // namespace aafast
