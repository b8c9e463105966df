// The gradient of the weight between thin planes and a wide image: for one plane and a few vectors of channels, the
// 9 taps' sums stay in registers while a run of pixels goes by.
#include "thin.h"

namespace aafast::AAFAST_ISA {
namespace {

// Pixels that are read (and passed through GELU) at once and then used by every plane. Their sums are added up on
// their own before they join the partial: long sums of floats lose digits.
constexpr int kRun = 64;
constexpr int kBlockVectors = kManyRegisters ? 2 : 1;

template <class T>
i64 thin_weight_scratch(Image image, int planes, int channels) {
  const i64 run = image.width < kRun ? image.width : kRun;
  return run * channels + staged_planes(image, planes) + 2 * kLine<T>;
}

// partial[k, c] += sum over the run of plane(q + tap k) v(q)[c]. `plane` is the tap above and left of the first pixel.
template <class T, int kVectors>
AAFAST_INLINE void add_taps(const T* plane, i64 row, const T* staged, int count, int channels, T* partial) {
  Vec<T> sums[9][kVectors] = {};
  for (int x = 0; x < count; ++x) {
    Vec<T> v[kVectors];
#pragma GCC unroll 2
    for (int n = 0; n < kVectors; ++n) v[n] = load(staged + (i64(n) * count + x) * kWidth<T>);
#pragma GCC unroll 9
    for (int k = 0; k < 9; ++k) {
      const Vec<T> value = all(plane[k / 3 * row + k % 3 + x]);
#pragma GCC unroll 2
      for (int n = 0; n < kVectors; ++n) sums[k][n] += value * v[n];
    }
  }
#pragma GCC unroll 9
  for (int k = 0; k < 9; ++k) {
#pragma GCC unroll 2
    for (int n = 0; n < kVectors; ++n) {
      T* const at = partial + i64(k) * channels + n * kWidth<T>;
      store(at, load(at) + sums[k][n]);
    }
  }
}

template <class T>
void thin_weight(Image image, int planes, int channels, const T* const* plane, const Source<T>& source, int job,
                 T* partial, T* scratch) {
  const Rows rows = rows_of(image, job);
  const i64 width = image.width, line = width + 2;
  const i64 size = (rows.end - rows.begin + 2) * line;  // of a staged plane
  T* const run = at_line(scratch);
  T* const staged = at_line(run + (width < kRun ? width : kRun) * channels);
  stage_planes(image, planes, plane, rows, staged);
  for (i64 i = 0; i < i64(planes) * 9 * channels; ++i) partial[i] = T(0);
  for (int row = rows.begin; row < rows.end; ++row) {
    for (i64 x = 0; x < width; x += kRun) {
      const int count = width - x < kRun ? int(width - x) : kRun;
      stage_wide(source, row * width + x, count, channels, run, count);
      for (int p = 0; p < planes; ++p) {
        const T* const at = staged + p * size + (row - rows.begin) * line + x;
        T* const sums = partial + i64(p) * 9 * channels;
        int c = 0;
        for (; c + kBlockVectors * kWidth<T> <= channels; c += kBlockVectors * kWidth<T>) {
          add_taps<T, kBlockVectors>(at, line, run + i64(c) * count, count, channels, sums + c);
        }
        for (; c < channels; c += kWidth<T>) {
          add_taps<T, 1>(at, line, run + i64(c) * count, count, channels, sums + c);
        }
      }
    }
  }
}

}  // namespace

template <class T>
void thin_weight_entries(Conv3x3<T>& table) {
  table.thin_weight_jobs = row_jobs;
  table.thin_weight_scratch = thin_weight_scratch<T>;
  table.thin_weight = thin_weight<T>;
}

template void thin_weight_entries(Conv3x3<float>&);
template void thin_weight_entries(Conv3x3<double>&);

}  // namespace aafast::AAFAST_ISA
