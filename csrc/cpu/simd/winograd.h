// What Winograd's convolution and its weight gradient share: the transforms of F(tile, 3), the tiles of an image,
// and the staging of a part of it.
//
// F(m, 3) gives m outputs of a 3-tap correlation from n = m + 2 inputs by n products, y = A^T [(G g) (.) (B^T d)];
// in two dimensions on n x n points. The same A, B and G give the weight gradient, with the transposes of A and G
// in place of them: dg = G^T [(B^T d) (.) (A dy)].
#pragma once
#include "kernels.h"

namespace aafast::AAFAST_ISA {

// Interpolation points 0, 1, -1, 1/2, -2 and infinity: their products grow less than those of 0, +-1, +-2, and so do
// rounding errors.
template <int kTile>
struct Winograd {
  static_assert(kTile == 4);
  static constexpr int kPoints = 6;

  template <class V>
  static AAFAST_INLINE void input(const V (&d)[6], V (&o)[6]) {  // B^T d
    typedef decltype(d[0][0] + d[0][0]) S;
    const V even = d[4] - d[2], odd = d[3] - d[1];
    const V low = d[0] - d[2], high = d[5] - d[3];
    const V sum = even + odd, difference = even - odd;
    o[0] = (low + even) + S(1.5) * odd;
    o[1] = sum + S(1.5) * (d[3] + d[2]);
    o[2] = difference + S(1.5) * (d[3] - d[2]);
    o[3] = even + S(2) * odd;
    o[4] = even - S(0.5) * odd;
    o[5] = (high - odd) + S(1.5) * even;
  }
  template <class V>
  static AAFAST_INLINE void output(const V (&m)[6], V (&y)[4]) {  // A^T m
    typedef decltype(m[0][0] + m[0][0]) S;
    const V sum = m[1] + m[2], difference = m[1] - m[2];
    y[0] = (m[0] + sum) + (m[3] + m[4]);
    y[1] = (difference + S(0.5) * m[3]) - S(2) * m[4];
    y[2] = (sum + S(0.25) * m[3]) + S(4) * m[4];
    y[3] = (difference + S(0.125) * m[3]) + (m[5] - S(8) * m[4]);
  }
  template <class V>
  static AAFAST_INLINE void spread(const V (&y)[4], V (&z)[6]) {  // A y
    typedef decltype(y[0][0] + y[0][0]) S;
    const V even = y[0] + y[2], odd = y[1] + y[3];
    z[0] = y[0];
    z[1] = even + odd;
    z[2] = even - odd;
    z[3] = (y[0] + S(0.25) * y[2]) + S(0.5) * (y[1] + S(0.25) * y[3]);
    z[4] = (y[0] + S(4) * y[2]) - S(2) * (y[1] + S(4) * y[3]);
    z[5] = y[3];
  }
  template <class V>
  static AAFAST_INLINE void taps(const V (&g)[3], V (&u)[6]) {  // G g
    typedef decltype(g[0][0] + g[0][0]) S;
    const V outer = g[0] + g[2];
    u[0] = g[0];
    u[1] = S(1.0 / 3) * (outer + g[1]);
    u[2] = S(1.0 / 3) * (g[1] - outer);
    u[3] = S(-16.0 / 15) * ((g[0] + S(0.25) * g[2]) + S(0.5) * g[1]);
    u[4] = S(1.0 / 15) * ((g[0] + S(4) * g[2]) - S(2) * g[1]);
    u[5] = g[2];
  }
  template <class V>
  static AAFAST_INLINE void gather(const V (&u)[6], V (&g)[3]) {  // G^T u
    typedef decltype(u[0][0] + u[0][0]) S;
    const V first = S(1.0 / 3) * (u[1] - u[2]), third = S(-16.0 / 15) * u[3], fourth = S(1.0 / 15) * u[4];
    g[0] = (u[0] + first) + (third + fourth);
    g[1] = (S(1.0 / 3) * (u[1] + u[2]) + S(0.5) * third) - S(2) * fourth;
    g[2] = (u[5] + first) + (S(0.25) * third + S(4) * fourth);
  }
};

template <>
struct Winograd<2> {  // points 0, 1, -1 and infinity
  static constexpr int kPoints = 4;

  template <class V>
  static AAFAST_INLINE void input(const V (&d)[4], V (&o)[4]) {
    o[0] = d[0] - d[2];
    o[1] = d[1] + d[2];
    o[2] = d[2] - d[1];
    o[3] = d[3] - d[1];
  }
  template <class V>
  static AAFAST_INLINE void output(const V (&m)[4], V (&y)[2]) {
    y[0] = (m[0] + m[1]) + m[2];
    y[1] = (m[1] - m[2]) + m[3];
  }
  template <class V>
  static AAFAST_INLINE void spread(const V (&y)[2], V (&z)[4]) {
    z[0] = y[0];
    z[1] = y[0] + y[1];
    z[2] = y[0] - y[1];
    z[3] = y[1];
  }
  template <class V>
  static AAFAST_INLINE void taps(const V (&g)[3], V (&u)[4]) {
    typedef decltype(g[0][0] + g[0][0]) S;
    const V outer = g[0] + g[2];
    u[0] = g[0];
    u[1] = S(0.5) * (outer + g[1]);
    u[2] = S(0.5) * (outer - g[1]);
    u[3] = g[2];
  }
  template <class V>
  static AAFAST_INLINE void gather(const V (&u)[4], V (&g)[3]) {
    typedef decltype(u[0][0] + u[0][0]) S;
    const V half = S(0.5) * (u[1] + u[2]);
    g[0] = u[0] + half;
    g[1] = S(0.5) * (u[1] - u[2]);
    g[2] = half + u[3];
  }
};

template <int kTile>
constexpr int kPlaces = Winograd<kTile>::kPoints * Winograd<kTile>::kPoints;  // points of the plane

// A rectangle of tiles.
struct Tiles {
  int row, column, rows, columns;
  int count() const { return rows * columns; }
  i64 patch(int tile, int more) const { return i64(rows * tile + more) * (columns * tile + more); }  // its pixels
};

// Transformed tiles in memory, in groups: [group][point][tile of the group][depth], and to the next point an odd number
// of lines: the points of one tile, which are stored together, fall into different sets of the cache.
template <int kTile>
struct Groups {
  int each;   // tiles of a group
  int depth;  // channels
  i64 step;   // from point to point
  i64 size;   // of a group
  int count;

  Groups(int tiles, int each, int depth, int line)  // `line`: elements of a line of the cache
      : each(each), depth(depth), step((divide_up(i64(each) * depth, line) | 1) * line), size(kPlaces<kTile> * step),
        count(int(divide_up(tiles, each))) {}
  i64 place(int tile) const { return tile / each * size + i64(tile % each) * depth; }
  i64 all() const { return count * size; }
};

// An image's tiles, cut evenly into rectangles of at most `most` tiles, so that what is made of one stays in a
// core's second cache.
struct Cuts {
  int rows, columns;            // tiles of the image
  int row_cuts, column_cuts;    // rectangles down and across

  Cuts(int tile, Image image, int most, int widest) {
    rows = int(divide_up(image.height, tile));
    columns = int(divide_up(image.width, tile));
    column_cuts = int(divide_up(columns, widest));
    const int deepest = most / int(divide_up(columns, column_cuts));
    row_cuts = int(divide_up(rows, deepest > 1 ? deepest : 1));
  }
  int count() const { return row_cuts * column_cuts; }
  Tiles largest() const { return {0, 0, int(divide_up(rows, row_cuts)), int(divide_up(columns, column_cuts))}; }
  Tiles rectangle(int index) const {
    const i64 down = index / column_cuts, across = index % column_cuts;
    const int row = int(down * rows / row_cuts), column = int(across * columns / column_cuts);
    return {row, column, int((down + 1) * rows / row_cuts) - row, int((across + 1) * columns / column_cuts) - column};
  }
};

constexpr int kLine = 64;  // bytes of a line of the cache

// Rows of memory to be brought into the second cache piece by piece, while the products leave the memory idle.
struct Ahead {
  const char* row;
  i64 step, length;  // bytes from row to row, and of a row
  int rows;
  i64 at = 0;

  template <class T>
  Ahead(const T* first, i64 step, i64 length, int rows)
      : row(reinterpret_cast<const char*>(first)), step(step * i64(sizeof(T))), length(length * i64(sizeof(T))),
        rows(first ? rows : 0) {}
  template <class T>
  static Ahead of(const T* image, Image size, int channels, int row, int column, int rows, int columns, bool any) {
    const int top = row < 0 ? 0 : row, left = column < 0 ? 0 : column;
    const int bottom = row + rows < size.height ? row + rows : size.height;
    const int right = column + columns < size.width ? column + columns : size.width;
    return {image ? image + (i64(top) * size.width + left) * channels : image, i64(size.width) * channels,
            i64(right - left) * channels, any ? bottom - top : 0};
  }
  i64 lines() const { return rows > 0 ? rows * divide_up(length, kLine) : 0; }
  template <bool kWrite>
  AAFAST_INLINE void fetch(i64 count) {
    for (; count > 0 && rows > 0; --count) {
      __builtin_prefetch(row + at, kWrite, 2);
      at += kLine;
      if (at >= length) at = 0, row += step, --rows;
    }
  }
};

// The first address at or after p on a vector's boundary; scratch holds a vector more for it.
template <class T>
AAFAST_INLINE T* aligned(T* p) {
  const auto address = reinterpret_cast<std::uintptr_t>(p);
  return p + (AAFAST_VECTOR_BYTES - address % AAFAST_VECTOR_BYTES) % AAFAST_VECTOR_BYTES / sizeof(T);
}

template <Read kRead, class T>
AAFAST_INLINE Vec<T> read(const Source<T>& source, i64 at, int c) {
  const Vec<T> x = load(source.x + at + c);
  if (kRead == Read::plain) return x;
  if (kRead == Read::gelu) return gelu<T>(load(source.a + c) * x + load(source.b + c));
  return load(source.a + c) * x + (load(source.b + c) * load(source.x2 + at + c) + load(source.c + c));
}

template <Read kRead, class T>
void stage(const Source<T>& source, Image image, int channels, int row, int column, int rows, int columns, T* patch) {
  const int left = column < 0 ? -column : 0;
  const int right = column + columns > image.width ? image.width - column : columns;
  for (int i = 0; i < rows; ++i, patch += i64(columns) * channels) {
    const int y = row + i;
    const bool inside = y >= 0 && y < image.height;
    const i64 begin = inside ? i64(left) * channels : i64(columns) * channels;
    const i64 end = inside ? i64(right) * channels : i64(columns) * channels;
    for (i64 k = 0; k < begin; k += kWidth<T>) store(patch + k, Vec<T>{});
    const i64 from = (i64(y) * image.width + column) * channels;
    for (i64 k = begin; k < end; k += channels)
      for (int c = 0; c < channels; c += kWidth<T>) store(patch + k + c, read<kRead>(source, from + k, c));
    for (i64 k = end; k < i64(columns) * channels; k += kWidth<T>) store(patch + k, Vec<T>{});
  }
}

// patch [rows, columns, channels]: what is read at the pixels from (row, column) on, 0 outside the image. Every
// element is read, and its GELU evaluated, once.
template <class T>
void stage(const Source<T>& source, Image image, int channels, int row, int column, int rows, int columns, T* patch) {
  switch (source.kind) {
    case Read::plain: return stage<Read::plain>(source, image, channels, row, column, rows, columns, patch);
    case Read::gelu: return stage<Read::gelu>(source, image, channels, row, column, rows, columns, patch);
    case Read::gradient: return stage<Read::gradient>(source, image, channels, row, column, rows, columns, patch);
  }
}

// One row of tiles of a patch to the transformed tiles: B^T d B. Tile by tile, so that what is stored runs on.
template <int kTile, class T>
void transform_row(const T* patch, int channels, int row, int columns, const Groups<kTile>& groups, T* stored) {
  constexpr int n = Winograd<kTile>::kPoints;
  const i64 line = i64(columns * kTile + 2) * channels;
  for (int t = 0; t < columns; ++t) {
    const T* from = patch + row * kTile * line + i64(t) * kTile * channels;
    T* to = stored + groups.place(row * columns + t);
    for (int c = 0; c < channels; c += kWidth<T>) {
      Vec<T> down[n][n], o[n];
      for (int j = 0; j < n; ++j) {
        Vec<T> d[n];
        for (int i = 0; i < n; ++i) d[i] = load(from + i * line + j * channels + c);
        Winograd<kTile>::input(d, o);
        for (int i = 0; i < n; ++i) down[i][j] = o[i];
      }
      for (int i = 0; i < n; ++i) {
        Winograd<kTile>::input(down[i], o);
        for (int j = 0; j < n; ++j) store(to + (i * n + j) * groups.step + c, o[j]);
      }
    }
  }
}

// The pixels that the tiles need, staged in patch, and their transform.
template <int kTile, class T>
void transform_input(const Source<T>& source, Image image, int channels, Tiles tiles, T* patch,
                     const Groups<kTile>& groups, T* stored) {
  stage(source, image, channels, tiles.row * kTile - 1, tiles.column * kTile - 1, tiles.rows * kTile + 2,
        tiles.columns * kTile + 2, patch);
  for (int row = 0; row < tiles.rows; ++row) transform_row(patch, channels, row, tiles.columns, groups, stored);
}

}  // namespace aafast::AAFAST_ISA
