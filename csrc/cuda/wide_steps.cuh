// What a group of the wide convolution (conv_wide.cuh) does with a tile: copy its halo, put it through the Source,
// multiply, finish.
#pragma once
#include "lanes.cuh"
#include "wide_shape.cuh"

namespace aafast {

template <class T, int N>
__device__ __forceinline__ void load_channels(const T* from, float (&to)[N]) {
  Adjacent<T, N> words;
  words.load(from);
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = value_of(words, i);
}

template <class T, int N>
__device__ __forceinline__ void store_channels(const float (&from)[N], T* to) {
  Adjacent<T, N> words;
  set_values(words, from);
  words.store(to);
}

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
  constexpr int kOwn = S::kLaneChannels, kAtOnce = sizeof(T) == 2 ? (kRead == Read::gradient ? 2 : 4) : 2;
  static_assert(S::kCopies + kAtOnce <= 32, "a bit for each");
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
    if (rows[0]) load_channels(rows[0] + chunk * kOwn, a);
    if (rows[0]) load_channels(rows[1] + chunk * kOwn, b);
    if (kRead == Read::gradient) load_channels(rows[2] + chunk * kOwn, c);
  }
#pragma unroll 1
  for (int first = 0; first < S::kCopies; first += kAtOnce) {
    // All of a batch's loads are under way before the first is used.
    Adjacent<T, kOwn> words[kAtOnce], words2[kAtOnce];
    int at[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int pixel = thread / S::kChunks + (first + i) * S::kTeam;
      at[i] = place<S>(pixel, pixel % kHaloLength, chunk);
      if (!(inside >> (first + i) & 1)) continue;
      if (kRead == Read::gradient) {
        const int line = corner.line + pixel / kHaloLength - 1, along = corner.along + pixel % kHaloLength - 1;
        const int where = line * cut.line_step + along * cut.pixel_step;
        words2[i].load(x2 + i64(where) * C + chunk * kOwn);
      }
      words[i].load(reinterpret_cast<const T*>(halo + at[i]));
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (!(inside >> (first + i) & 1)) continue;
      float v[kOwn];
#pragma unroll
      for (int j = 0; j < kOwn; ++j) {
        v[j] = value_of(words[i], j);
        if (kRead == Read::gelu) v[j] = gelu<A>(fmaf(a[j], v[j], b[j]));
        if (kRead == Read::gradient) v[j] = fmaf(a[j], v[j], fmaf(b[j], value_of(words2[i], j), c[j]));
        if (A == Arithmetic::tf32) v[j] = round_tf32(v[j]);
      }
      store_channels(v, reinterpret_cast<T*>(halo + at[i]));
    }
  }
}

// Asks for what finish_tile will read besides the accumulators, while they are being computed.
template <Arithmetic A, int C>
__device__ __forceinline__ void ask_for_target(const WideWork<A>& work, i64 sample, int tile, int thread) {
  using S = WideShape<A, C>;
  const Corner corner(work.cut, tile);
  const int line = corner.line + thread / kTileLength, along = corner.along + thread % kTileLength;
  if (line >= work.cut.lines || along >= work.cut.length) return;
  const i64 at = i64(line * work.cut.line_step + along * work.cut.pixel_step) * S::kPixelBytes;
#pragma unroll
  for (int byte = 0; byte < S::kPixelBytes; byte += 128)
    prefetch(reinterpret_cast<const char*>(work.target.h.row(sample)) + at + byte);
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
          load_channels(reinterpret_cast<const float*>(halo + place<S>(pixel, along, 2 * first + step)), a[i]);
        }
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          float b[S::kOwn];
          load_channels(own + tap * (tap_bytes / 4) + (4 * step + k) * C, b);
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
  constexpr int kOwn = S::kOwn, kAtOnce = sizeof(T) == 2 && C == 64 ? 2 : 1;
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
    if (const float* const row = target.a.row(sample)) load_channels(row + channel, a);
    if (const float* const row = target.b.row(sample)) load_channels(row + channel, b);
  } else if (const float* const row = target.bias.row(sample)) {
#pragma unroll
    for (int j = 0; j < kOwn; ++j) b[j] = row[channel + j];  // the caller's own memory, of any alignment
  }
  float total[2][kOwn] = {};
#pragma unroll
  for (int first = 0; first < 2 * S::kOwnLines; first += kAtOnce) {
    Adjacent<T, kOwn> words[kAtOnce];
    int at[kAtOnce];
    bool inside[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int line = first_line + (first + i) / 2, along = first_along + (first + i) % 2 * 8;
      inside[i] = line < cut.lines && along < cut.length;
      at[i] = line * cut.line_step + along * cut.pixel_step;
      if (kWrite == Write::gelu_gradient && inside[i]) words[i].load(h + i64(at[i]) * C);
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (!inside[i]) continue;
      float v[kOwn];
#pragma unroll
      for (int j = 0; j < kOwn; ++j) {
        v[j] = sums[(first + i) / 2][j / 2][(first + i) % 2 * 2 + j % 2];
        if constexpr (kWrite == Write::gelu_gradient) {
          const float before = value_of(words[i], j);
          v[j] *= gelu_gradient<A>(fmaf(a[j], before, b[j]));
          total[1][j] = fmaf(v[j], before, total[1][j]);
        } else {
          v[j] += b[j];
          total[1][j] = fmaf(v[j], v[j], total[1][j]);
        }
        total[0][j] += v[j];
      }
      store_channels(v, y + i64(at[i]) * C);
    }
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
    if (lane < 4) store_channels(total[k], part + k * C);
  }
}

}  // namespace aafast
