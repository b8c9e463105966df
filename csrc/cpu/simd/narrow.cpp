// A wide image to thin planes. Lanes hold channels: a block of pixels keeps one vector of partial sums per result,
// and the lanes are added up at the end, a square of vectors at a time. Against a product with the weights of all
// taps as columns (then shifted and added) this wastes no lane on columns that 9 taps do not fill.
#include "thin.h"

namespace aafast::AAFAST_ISA {
namespace {

constexpr int kOutputs = 3;  // planes that are summed together, at most
// Columns of a strip: three staged rows of 64 channels then stay in the nearest cache. A strip reads a column more on
// either side than it writes.
constexpr int kStrip = 32;

i64 narrow_packed(int inputs, int outputs) { return i64(inputs) * outputs * 9; }

// Groups of 3, 2 or 1 planes; 4 are twice 2.
int group_outputs(int left) { return left >= kOutputs && left != 4 ? kOutputs : left >= 2 ? 2 : 1; }

// [group][dy][vector of channels][dx][plane of the group][lane]; the group of plane o begins at o * inputs * 9.
// With `transpose`, `outputs` wide channels and `inputs` planes of the array change places: the packed weights go to
// narrow(image, outputs, inputs, ...).
template <class T>
void narrow_pack(const T* weight, int inputs, int outputs, bool transpose, T* packed) {
  const int channels = transpose ? outputs : inputs, planes = transpose ? inputs : outputs;
  for (int o = 0, group; o < planes; o += group) {
    group = group_outputs(planes - o);
    for (int dy = 0; dy < 3; ++dy) {
      for (int c = 0; c < channels; c += kWidth<T>) {
        for (int dx = 0; dx < 3; ++dx) {
          for (int g = 0; g < group; ++g) {
            for (int i = 0; i < kWidth<T>; ++i) {
              *packed++ = weight_at(weight, inputs, transpose, c + i, o + g, 3 * dy + dx);
            }
          }
        }
      }
    }
  }
}

template <class T>
i64 narrow_scratch(Image, int inputs, int) {
  return 3 * i64(inputs) * (kStrip + 2) + kLine<T>;
}

// Lane l of the result is the sum of lanes of vector l. Each step adds halves of pairs of vectors, and so halves
// both the vectors and the lanes that one sum is spread over.
template <class T, int kHalf>
AAFAST_INLINE Vec<T> fold(Vec<T> low, Vec<T> high) {
  typename VectorOf<T>::bits kept, moved;
#pragma GCC unroll 16
  for (int l = 0; l < kWidth<T>; ++l) {
    kept[l] = (l & kHalf) ? kWidth<T> + l : l;
    moved[l] = (l & kHalf) ? kWidth<T> + l - kHalf : l + kHalf;
  }
  return __builtin_shuffle(low, high, kept) + __builtin_shuffle(low, high, moved);
}

template <class T, int kHalf>
AAFAST_INLINE Vec<T> fold_all(Vec<T>* sums) {
#pragma GCC unroll 8
  for (int l = 0; l < kHalf; ++l) sums[l] = fold<T, kHalf>(sums[l], sums[l + kHalf]);
  if constexpr (kHalf == 1) {
    return sums[0];
  } else {
    return fold_all<T, kHalf / 2>(sums);
  }
}

template <class T>
AAFAST_INLINE Vec<T> lane_sums(const T* lanes) {
  Vec<T> sums[kWidth<T>];
#pragma GCC unroll 16
  for (int l = 0; l < kWidth<T>; ++l) sums[l] = load(lanes + l * kWidth<T>);
  return fold_all<T, kWidth<T> / 2>(sums);
}

// The staged rows above, at and below the row that is computed; null outside the image.
template <class T>
struct Around {
  const T* row[3];
  i64 stride;  // pixels from one vector of channels to the next
  int vectors;
};

// kPixels by kGroup results, still spread over lanes: lanes[g][pixel][lane]. Few results would wait for one another's
// additions, so each is then kept as three sums, by dx.
template <class T, int kPixels, int kGroup>
AAFAST_INLINE void narrow_block(const Around<T>& around, int x, const T* packed, T* lanes) {
  constexpr int kParts = kPixels * kGroup < 8 ? 3 : 1;
  Vec<T> sums[kParts][kPixels][kGroup] = {};
  for (int dy = 0; dy < 3; ++dy) {
    if (!around.row[dy]) {
      packed += i64(around.vectors) * 3 * kGroup * kWidth<T>;
      continue;
    }
    const T* pixel = around.row[dy] + i64(x) * kWidth<T>;
    for (int j = 0; j < around.vectors; ++j, pixel += around.stride * kWidth<T>) {
#pragma GCC unroll 3
      for (int dx = 0; dx < 3; ++dx, packed += kGroup * kWidth<T>) {
        Vec<T> weight[kGroup];
#pragma GCC unroll 3
        for (int g = 0; g < kGroup; ++g) weight[g] = load(packed + g * kWidth<T>);
#pragma GCC unroll 8
        for (int i = 0; i < kPixels; ++i) {
          const Vec<T> value = load(pixel + (i + dx) * kWidth<T>);
#pragma GCC unroll 3
          for (int g = 0; g < kGroup; ++g) sums[dx % kParts][i][g] += value * weight[g];
        }
      }
    }
  }
#pragma GCC unroll 3
  for (int g = 0; g < kGroup; ++g) {
#pragma GCC unroll 8
    for (int i = 0; i < kPixels; ++i) {
      Vec<T> sum = sums[0][i][g];
      if constexpr (kParts == 3) sum += sums[1][i][g] + sums[2][i][g];
      store(lanes + (g * kWidth<T> + i) * kWidth<T>, sum);
    }
  }
}

// One row of kGroup planes, kWidth pixels at a time.
template <class T, int kGroup>
void narrow_row(const Around<T>& around, int width, const T* packed, const T* bias, T* const* planes, i64 offset) {
  constexpr int kMost = kManyRegisters || kGroup == 1 ? 8 : 4;
  constexpr int kPixels = kMost < kWidth<T> ? kMost : kWidth<T>;
  alignas(64) T lanes[kGroup * kWidth<T> * kWidth<T>] = {};
  for (int x = 0; x < width; x += kWidth<T>) {
    const int count = width - x < kWidth<T> ? width - x : kWidth<T>;
    int i = 0;
    for (; i + kPixels <= count; i += kPixels) {
      narrow_block<T, kPixels, kGroup>(around, x + i, packed, lanes + i * kWidth<T>);
    }
    if constexpr (kPixels > 2) {
      for (; i + 2 <= count; i += 2) narrow_block<T, 2, kGroup>(around, x + i, packed, lanes + i * kWidth<T>);
    }
    for (; i < count; ++i) narrow_block<T, 1, kGroup>(around, x + i, packed, lanes + i * kWidth<T>);
    for (int g = 0; g < kGroup; ++g) {
      const Vec<T> sums = lane_sums<T>(lanes + g * kWidth<T> * kWidth<T>) + all(bias ? bias[g] : T(0));
      __builtin_memcpy(planes[g] + offset + x, &sums, std::size_t(count) * sizeof(T));
    }
  }
}

// Columns [begin, end) of the rows. The staged rows follow one another around a ring of three.
template <class T>
void narrow_strip(Image image, int inputs, int outputs, const Source<T>& source, const T* packed, const T* bias,
                  T* const* planes, Rows rows, int begin, int end, T* ring) {
  constexpr i64 kStride = kStrip + 2;
  const int first = begin > 0 ? begin - 1 : 0, last = end < image.width ? end + 1 : end;  // columns that are read
  const int vectors = inputs / kWidth<T>;
  const auto staged = [&](int row) { return ring + (row % 3) * kStride * inputs; };
  // Zeros outside the image stay where they are: every row is put beside them.
  for (int row = 0; row < 3; ++row) {
    for (int j = 0; j < vectors; ++j) {
      T* const line = staged(row) + j * kStride * kWidth<T>;
      if (begin == 0) store(line, Vec<T>{});
      if (end == image.width) store(line + (end - begin + 1) * kWidth<T>, Vec<T>{});
    }
  }
  for (int next = rows.begin > 0 ? rows.begin - 1 : 0, row = rows.begin; row < rows.end; ++row) {
    for (; next <= row + 1 && next < image.height; ++next) {
      stage_wide(source, next * i64(image.width) + first, last - first, inputs,
                 staged(next) + (first - begin + 1) * kWidth<T>, kStride);
    }
    const Around<T> around{{row > 0 ? staged(row - 1) : nullptr, staged(row),
                            row + 1 < image.height ? staged(row + 1) : nullptr},
                           kStride, vectors};
    const i64 offset = i64(row) * image.width + begin;
    for (int o = 0, group; o < outputs; o += group) {
      group = group_outputs(outputs - o);
      const T* weights = packed + i64(o) * inputs * 9;
      const T* shift = bias ? bias + o : nullptr;
      if (group == 3) {
        narrow_row<T, 3>(around, end - begin, weights, shift, planes + o, offset);
      } else if (group == 2) {
        narrow_row<T, 2>(around, end - begin, weights, shift, planes + o, offset);
      } else {
        narrow_row<T, 1>(around, end - begin, weights, shift, planes + o, offset);
      }
    }
  }
}

template <class T>
void narrow(Image image, int inputs, int outputs, const Source<T>& source, const T* packed, const T* bias,
            T* const* planes, int job, T* scratch) {
  const Rows rows = rows_of(image, job);
  for (int x = 0; x < image.width; x += kStrip) {
    const int end = image.width - x < kStrip ? image.width : x + kStrip;
    narrow_strip(image, inputs, outputs, source, packed, bias, planes, rows, x, end, at_line(scratch));
  }
}

}  // namespace

template <class T>
void narrow_entries(Conv3x3<T>& table) {
  table.narrow_packed = narrow_packed;
  table.narrow_pack = narrow_pack<T>;
  table.narrow_jobs = row_jobs;
  table.narrow_scratch = narrow_scratch<T>;
  table.narrow = narrow<T>;
}

template void narrow_entries(Conv3x3<float>&);
template void narrow_entries(Conv3x3<double>&);

}  // namespace aafast::AAFAST_ISA
