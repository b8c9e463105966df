// What the layers between thin planes and a wide image share: their jobs, and rows copied to where the inner loops
// want them.
#pragma once
#include "kernels.h"

namespace aafast::AAFAST_ISA {

#if AAFAST_VECTOR_BYTES == 64 || defined(__aarch64__)
constexpr bool kManyRegisters = true;  // 32 vector registers
#else
constexpr bool kManyRegisters = false;  // 16
#endif

// Rows of a job, at most. A job of `narrow` reads two rows more than it writes, so fewer rows mean more work in all.
constexpr int kShare = 32;

struct Rows {
  int begin, end;
};

inline int row_jobs(Image image) { return int(divide_up(image.height, kShare)); }

inline Rows rows_of(Image image, int job) {
  const i64 jobs = row_jobs(image);
  return {int(image.height * i64(job) / jobs), int(image.height * (i64(job) + 1) / jobs)};
}

// Vectors that straddle two cache lines load at half the speed: every scratch begins at a line.
template <class T>
constexpr i64 kLine = 64 / i64(sizeof(T));

template <class T>
AAFAST_INLINE T* at_line(T* scratch) {
  const std::uintptr_t address = reinterpret_cast<std::uintptr_t>(scratch);
  return scratch + (((address + 63) & ~std::uintptr_t(63)) - address) / sizeof(T);
}

// The weight from input i to output o at tap k of the convolution that was asked for. `inputs` are those of the array
// [outputs, inputs, 3, 3]; with `transpose` the convolution goes from the array's outputs to its inputs.
template <class T>
AAFAST_INLINE T weight_at(const T* weight, int inputs, bool transpose, int i, int o, int k) {
  return transpose ? weight[(i64(i) * inputs + o) * 9 + 8 - k] : weight[(i64(o) * inputs + i) * 9 + k];
}

// Rows [rows.begin - 1, rows.end + 1) of thin planes with a zero all around: [planes, rows + 2, width + 2].
inline i64 staged_planes(Image image, int planes) { return i64(planes) * (kShare + 2) * (image.width + 2); }

template <class T>
void stage_planes(Image image, int planes, const T* const* plane, Rows rows, T* staged) {
  const i64 width = image.width;
  for (int p = 0; p < planes; ++p) {
    for (int row = rows.begin - 1; row <= rows.end; ++row, staged += width + 2) {
      if (row < 0 || row >= image.height) {
        for (i64 x = 0; x < width + 2; ++x) staged[x] = T(0);
        continue;
      }
      staged[0] = T(0);
      __builtin_memcpy(staged + 1, plane[p] + row * width, std::size_t(width) * sizeof(T));
      staged[width + 1] = T(0);
    }
  }
}

// `count` pixels of a wide image, read as the source says, with the channels cut into vectors:
// staged[(j * stride + pixel) * kWidth + i] is channel j * kWidth + i, so that neighbours stand one vector apart
// whatever the number of channels.
template <class T, Read kind, int kPixels>
AAFAST_INLINE void stage_pixels(const Source<T>& source, i64 offset, int channels, T* staged, i64 stride) {
  for (int c = 0; c < channels; c += kWidth<T>, staged += stride * kWidth<T>) {
    const Vec<T> a = kind == Read::plain ? Vec<T>{} : load(source.a + c);
    const Vec<T> b = kind == Read::plain ? Vec<T>{} : load(source.b + c);
    const Vec<T> shift = kind == Read::gradient ? load(source.c + c) : Vec<T>{};
#pragma GCC unroll 4
    for (int i = 0; i < kPixels; ++i) {
      const i64 at = offset + i64(i) * channels + c;
      Vec<T> v = load(source.x + at);
      if (kind == Read::gelu) v = gelu<T>(a * v + b);
      if (kind == Read::gradient) v = a * v + (b * load(source.x2 + at) + shift);
      store(staged + i * kWidth<T>, v);
    }
  }
}

template <class T, Read kind>
void stage_as(const Source<T>& source, i64 first, int count, int channels, T* staged, i64 stride) {
  int x = 0;
  for (; x + 4 <= count; x += 4) {
    stage_pixels<T, kind, 4>(source, (first + x) * channels, channels, staged + i64(x) * kWidth<T>, stride);
  }
  for (; x < count; ++x) {
    stage_pixels<T, kind, 1>(source, (first + x) * channels, channels, staged + i64(x) * kWidth<T>, stride);
  }
}

template <class T>
void stage_wide(const Source<T>& source, i64 first, int count, int channels, T* staged, i64 stride) {
  switch (source.kind) {
    case Read::plain: return stage_as<T, Read::plain>(source, first, count, channels, staged, stride);
    case Read::gelu: return stage_as<T, Read::gelu>(source, first, count, channels, staged, stride);
    case Read::gradient: return stage_as<T, Read::gradient>(source, first, count, channels, staged, stride);
  }
}

}  // namespace aafast::AAFAST_ISA
