// Thin planes to a wide image: a matrix product of the pixels' 9 * planes neighbours with the weights, done directly.
#include "thin.h"

namespace aafast::AAFAST_ISA {
namespace {

// Pixels whose outputs are finished together, while they are in the nearest cache; the sums of so few are added up
// in T, and from there on in double.
constexpr int kChunk = 60;
// A block of results that stays in registers.
constexpr int kBlockPixels = 6;
constexpr int kBlockVectors = kManyRegisters ? 4 : 2;

i64 widen_packed(int inputs, int outputs) { return i64(inputs) * outputs * 9; }

// Blocks of 4, 2 or 1 vectors of channels, largest first, each [planes, 9, channels of the block]. The block that
// begins at channel c lies at c * planes * 9.
int block_vectors(int vectors) { return vectors >= kBlockVectors ? kBlockVectors : vectors >= 2 ? 2 : 1; }

// With `transpose`, `inputs` wide channels and `outputs` planes of the array change places: the packed weights go to
// widen(image, outputs, inputs, ...).
template <class T>
void widen_pack(const T* weight, int inputs, int outputs, bool transpose, T* packed) {
  const int planes = transpose ? outputs : inputs, channels = transpose ? inputs : outputs;
  for (int c = 0, size; c < channels; c += size) {
    size = block_vectors((channels - c) / kWidth<T>) * kWidth<T>;
    for (int p = 0; p < planes; ++p) {
      for (int k = 0; k < 9; ++k) {
        for (int i = 0; i < size; ++i) {
          *packed++ = weight_at(weight, inputs, transpose, p, c + i, k);
        }
      }
    }
  }
}

i64 widen_scratch(int channels, int planes, Image image) {
  return staged_planes(image, planes) + 2 * i64(channels);
}

template <class T>
i64 widen_scratch(Image image, int inputs, int outputs) {
  return widen_scratch(outputs, inputs, image) + 2 * kLine<T>;
}

// The rows and planes around a pixel: its neighbour at tap (dy, dx) of plane p is at[p * plane + dy * row + dx].
template <class T>
struct Around {
  const T* at;
  i64 row, plane;
  int planes;
};

// kPixels by kVectors results to y; their sums and sums of squares are added to sums and sums + channels.
template <class T, int kPixels, int kVectors, bool kSums>
AAFAST_INLINE void widen_block(const Around<T>& around, const T* packed, const T* bias, int channels, T* y, T* sums) {
  Vec<T> result[kPixels][kVectors];
#pragma GCC unroll 4
  for (int n = 0; n < kVectors; ++n) {
    const Vec<T> start = bias ? load(bias + n * kWidth<T>) : Vec<T>{};
#pragma GCC unroll 8
    for (int i = 0; i < kPixels; ++i) result[i][n] = start;
  }
  for (int p = 0; p < around.planes; ++p) {
    for (int dy = 0; dy < 3; ++dy) {
      const T* neighbour = around.at + p * around.plane + dy * around.row;
#pragma GCC unroll 3
      for (int dx = 0; dx < 3; ++dx, packed += kVectors * kWidth<T>) {
        Vec<T> weight[kVectors];
#pragma GCC unroll 4
        for (int n = 0; n < kVectors; ++n) weight[n] = load(packed + n * kWidth<T>);
#pragma GCC unroll 8
        for (int i = 0; i < kPixels; ++i) {
          const Vec<T> value = all(neighbour[i + dx]);
#pragma GCC unroll 4
          for (int n = 0; n < kVectors; ++n) result[i][n] += value * weight[n];
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int n = 0; n < kVectors; ++n) {
#pragma GCC unroll 8
    for (int i = 0; i < kPixels; ++i) store(y + i64(i) * channels + n * kWidth<T>, result[i][n]);
    if (!kSums) continue;
    Vec<T> sum = load(sums + n * kWidth<T>), square = load(sums + channels + n * kWidth<T>);
#pragma GCC unroll 8
    for (int i = 0; i < kPixels; ++i) {
      sum += result[i][n];
      square += result[i][n] * result[i][n];
    }
    store(sums + n * kWidth<T>, sum);
    store(sums + channels + n * kWidth<T>, square);
  }
}

template <class T, int kVectors, bool kSums>
void widen_pixels(Around<T> around, int count, const T* packed, const T* bias, int channels, T* y, T* sums) {
  int x = 0;
  const T* const first = around.at;
  for (; x + kBlockPixels <= count; x += kBlockPixels, around.at = first + x, y += i64(kBlockPixels) * channels) {
    widen_block<T, kBlockPixels, kVectors, kSums>(around, packed, bias, channels, y, sums);
  }
  for (; x + 2 <= count; x += 2, around.at = first + x, y += i64(2) * channels) {
    widen_block<T, 2, kVectors, kSums>(around, packed, bias, channels, y, sums);
  }
  if (x < count) widen_block<T, 1, kVectors, kSums>(around, packed, bias, channels, y, sums);
}

template <class T, bool kSums>
void widen_chunk(const Around<T>& around, int count, const T* packed, const T* bias, int channels, T* y, T* sums) {
  for (int c = 0, size; c < channels; c += size) {
    const int vectors = block_vectors((channels - c) / kWidth<T>);
    const T* weights = packed + i64(c) * around.planes * 9;
    const T* shift = bias ? bias + c : nullptr;
    size = vectors * kWidth<T>;
    if (vectors == kBlockVectors) {
      widen_pixels<T, kBlockVectors, kSums>(around, count, weights, shift, channels, y + c, sums + c);
    } else if (vectors == 2) {
      widen_pixels<T, 2, kSums>(around, count, weights, shift, channels, y + c, sums + c);
    } else {
      widen_pixels<T, 1, kSums>(around, count, weights, shift, channels, y + c, sums + c);
    }
  }
}

// y *= gelu'(a h + b), and the sums of y and y h.
template <class T, int kPixels>
AAFAST_INLINE void gelu_backward(const Target<T>& target, i64 offset, int channels, T* sums) {
  for (int c = 0; c < channels; c += kWidth<T>) {
    const Vec<T> a = load(target.a + c), b = load(target.b + c);
    Vec<T> sum = load(sums + c), product = load(sums + channels + c);
#pragma GCC unroll 4
    for (int i = 0; i < kPixels; ++i) {
      T* const y = target.y + offset + i64(i) * channels + c;
      const Vec<T> h = load(target.h + offset + i64(i) * channels + c);
      const Vec<T> value = load(y) * gelu_gradient<T>(a * h + b);
      store(y, value);
      sum += value;
      product += value * h;
    }
    store(sums + c, sum);
    store(sums + channels + c, product);
  }
}

template <class T>
void widen(Image image, int inputs, int outputs, const T* const* planes, const T* packed, const Target<T>& target,
           int job, T* scratch) {
  const Rows rows = rows_of(image, job);
  const i64 width = image.width;
  T* const sums = at_line(scratch);  // [2, outputs]
  T* const staged = at_line(sums + 2 * i64(outputs));
  stage_planes(image, inputs, planes, rows, staged);
  double* const total = target.kind == Write::plain ? nullptr : target.sums + i64(job) * 2 * outputs;
  if (total) {
    for (int c = 0; c < 2 * outputs; ++c) total[c] = 0;
  }
  Around<T> around{staged, width + 2, (rows.end - rows.begin + 2) * (width + 2), inputs};
  for (int row = rows.begin; row < rows.end; ++row) {
    for (i64 x = 0; x < width; x += kChunk) {
      const int count = width - x < kChunk ? int(width - x) : kChunk;
      const i64 offset = (row * width + x) * outputs;
      around.at = staged + (row - rows.begin) * (width + 2) + x;
      if (total) {
        for (int c = 0; c < 2 * outputs; ++c) sums[c] = T(0);
      }
      if (target.kind == Write::sums) {
        widen_chunk<T, true>(around, count, packed, target.bias, outputs, target.y + offset, sums);
      } else {
        widen_chunk<T, false>(around, count, packed, nullptr, outputs, target.y + offset, sums);
      }
      if (target.kind == Write::gelu_gradient) {
        int i = 0;
        for (; i + 4 <= count; i += 4) gelu_backward<T, 4>(target, offset + i64(i) * outputs, outputs, sums);
        for (; i < count; ++i) gelu_backward<T, 1>(target, offset + i64(i) * outputs, outputs, sums);
      }
      if (total) {
        for (int c = 0; c < 2 * outputs; ++c) total[c] += double(sums[c]);
      }
    }
  }
}

}  // namespace

template <class T>
void widen_entries(Conv3x3<T>& table) {
  table.widen_packed = widen_packed;
  table.widen_pack = widen_pack<T>;
  table.widen_jobs = row_jobs;
  table.widen_scratch = widen_scratch<T>;
  table.widen = widen<T>;
}

template void widen_entries(Conv3x3<float>&);
template void widen_entries(Conv3x3<double>&);

}  // namespace aafast::AAFAST_ISA
