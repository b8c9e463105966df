// Wide to wide 3x3 convolution of one image by Winograd's F(4, 3) or F(2, 3).
//
// A job takes a rectangle of tiles through three stages in scratch that its core's second cache holds: stage the
// pixels and transform them, multiply by the transformed weight at every point, transform back and write. Tiles go
// in groups of kRows, the rows of the products' kernel: [group][point][kRows][channels].
#include "winograd.h"

namespace aafast::AAFAST_ISA {
namespace {

// Accumulators of the products: kRows tiles by kVectors vectors of outputs fill the registers.
constexpr int kRows = 6;
constexpr int kVectors = AAFAST_VECTOR_BYTES == 64 ? 4 : 2;

// Tiles per job: the transformed tiles of 64 channels are half a megabyte, as large as the transformed weight.
template <int kTile>
Cuts cuts(Image image) {
  return kTile == 4 ? Cuts(4, image, 52, 16) : Cuts(2, image, 104, 26);
}

template <int kTile, class T>
struct Shape {
  int inputs, outputs;
  i64 patch;          // elements of the staged pixels
  Groups<kTile> tiles;  // products replace what they are made of: deep enough for either

  Shape(Tiles area, int inputs, int outputs)
      : inputs(inputs), outputs(outputs), patch(area.patch(kTile, 2) * inputs),
        tiles(area.count(), kRows, inputs > outputs ? inputs : outputs, kLine / sizeof(T)) {}
};

// m [kR, depth] = v [kR, inputs] u [inputs, kN vectors]; m may be where v is.
template <int kR, int kN, class T>
void multiply(const T* v, i64 v_depth, const T* u, int inputs, T* m, i64 m_depth) {
  Vec<T> sum[kR][kN] = {};
  for (int k = 0; k < inputs; ++k) {
    Vec<T> weight[kN];
#pragma GCC unroll 4
    for (int j = 0; j < kN; ++j) weight[j] = load(u + j * kWidth<T>);
    u += kN * kWidth<T>;
#pragma GCC unroll 6
    for (int r = 0; r < kR; ++r) {
      const Vec<T> value = all(v[r * v_depth + k]);
#pragma GCC unroll 4
      for (int j = 0; j < kN; ++j) sum[r][j] += value * weight[j];
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < kR; ++r)
#pragma GCC unroll 4
    for (int j = 0; j < kN; ++j) store(m + r * m_depth + j * kWidth<T>, sum[r][j]);
}

template <int kN, class T>
AAFAST_INLINE void multiply(int rows, const T* v, i64 v_depth, const T* u, int inputs, T* m, i64 m_depth) {
  switch (rows) {
    case 1: return multiply<1, kN>(v, v_depth, u, inputs, m, m_depth);
    case 2: return multiply<2, kN>(v, v_depth, u, inputs, m, m_depth);
    case 3: return multiply<3, kN>(v, v_depth, u, inputs, m, m_depth);
    case 4: return multiply<4, kN>(v, v_depth, u, inputs, m, m_depth);
    case 5: return multiply<5, kN>(v, v_depth, u, inputs, m, m_depth);
    default: return multiply<6, kN>(v, v_depth, u, inputs, m, m_depth);
  }
}

// The products at every point: tiles [rows, inputs] by the packed weight, in place. `spare` [kRows, inputs] keeps a
// group's inputs where its outputs take more than one block.
template <int kTile, class T>
void multiply_points(const Shape<kTile, T>& shape, int count, const T* packed, T* stored, T* spare, Ahead (&ahead)[4]) {
  const i64 calls = i64(kPlaces<kTile>) * shape.tiles.count;
  i64 share[4];
  for (int i = 0; i < 4; ++i) share[i] = divide_up(ahead[i].lines(), calls);
  constexpr int block = kVectors * kWidth<T>;
  const int inputs = shape.inputs, outputs = shape.outputs;
  for (int p = 0; p < kPlaces<kTile>; ++p, packed += i64(inputs) * outputs)
    for (int g = 0; g < shape.tiles.count; ++g) {
      const int rows = count - g * kRows < kRows ? count - g * kRows : kRows;
      T* m = stored + g * shape.tiles.size + p * shape.tiles.step;
      const T* v = m;
      i64 depth = shape.tiles.depth;
      if (outputs > block) {
        for (int r = 0; r < rows; ++r)
          for (int k = 0; k < inputs; k += kWidth<T>) store(spare + r * inputs + k, load(m + r * depth + k));
        v = spare;
        depth = inputs;
      }
      ahead[0].template fetch<true>(share[0]);
      for (int i = 1; i < 4; ++i) ahead[i].template fetch<false>(share[i]);
      const T* u = packed;
      int o = 0;
      for (; o + block <= outputs; o += block, u += i64(inputs) * block)
        multiply<kVectors>(rows, v, depth, u, inputs, m + o, shape.tiles.depth);
      switch ((outputs - o) / kWidth<T>) {
        case 1: multiply<1>(rows, v, depth, u, inputs, m + o, shape.tiles.depth); break;
        case 2: multiply<2>(rows, v, depth, u, inputs, m + o, shape.tiles.depth); break;
        case 3: multiply<3>(rows, v, depth, u, inputs, m + o, shape.tiles.depth); break;
        default: break;
      }
    }
}

// What is stored at element `at` of the image for the value v; adds to the two sums.
template <Write kWrite, class T>
AAFAST_INLINE void write(const Target<T>& target, i64 at, Vec<T> v, Vec<T> first, Vec<T> second, Vec<T> (&sums)[2]) {
  if (kWrite == Write::sums) {
    v += first;  // the bias
    sums[0] += v;
    sums[1] += v * v;
  }
  if (kWrite == Write::gelu_gradient) {
    const Vec<T> h = load(target.h + at);
    v *= gelu_gradient<T>(first * h + second);
    sums[0] += v;
    sums[1] += v * h;
  }
  store(target.y + at, v);
}

// Tiles back to pixels, A^T m A, and written. sums: [2, outputs].
template <int kTile, Write kWrite, class T>
void transform_output(const Shape<kTile, T>& shape, Image image, Tiles tiles, const T* stored, const Target<T>& target,
                      T* sums) {
  constexpr int n = Winograd<kTile>::kPoints;
  const int outputs = shape.outputs;
  const i64 step = shape.tiles.step;
  for (int t = 0; t < tiles.count(); ++t) {
    const int y = (tiles.row + t / tiles.columns) * kTile, x = (tiles.column + t % tiles.columns) * kTile;
    const int height = image.height - y, width = image.width - x;  // of the tile, where less than kTile
    const T* from = stored + shape.tiles.place(t);
    const i64 corner = (i64(y) * image.width + x) * outputs;
    for (int c = 0; c < outputs; c += kWidth<T>) {
      Vec<T> down[kTile][n];
      for (int j = 0; j < n; ++j) {
        Vec<T> m[n], o[kTile];
        for (int i = 0; i < n; ++i) m[i] = load(from + (i * n + j) * step + c);
        Winograd<kTile>::output(m, o);
        for (int i = 0; i < kTile; ++i) down[i][j] = o[i];
      }
      Vec<T> first{}, second{}, sum[2] = {};
      if (kWrite == Write::sums && target.bias) first = load(target.bias + c);
      if (kWrite == Write::gelu_gradient) first = load(target.a + c), second = load(target.b + c);
      for (int i = 0; i < kTile && i < height; ++i) {
        Vec<T> o[kTile];
        Winograd<kTile>::output(down[i], o);
        const i64 at = corner + i64(i) * image.width * outputs + c;
        if (width >= kTile)
          for (int j = 0; j < kTile; ++j) write<kWrite>(target, at + j * outputs, o[j], first, second, sum);
        else
          for (int j = 0; j < width; ++j) write<kWrite>(target, at + j * outputs, o[j], first, second, sum);
      }
      if (kWrite != Write::plain) {
        store(sums + c, load(sums + c) + sum[0]);
        store(sums + outputs + c, load(sums + outputs + c) + sum[1]);
      }
    }
  }
}

template <int kTile, class T>
void convolve(Image image, int inputs, int outputs, const Source<T>& source, const T* packed, const Target<T>& target,
              int job, T* scratch) {
  const Tiles tiles = cuts<kTile>(image).rectangle(job);
  const Shape<kTile, T> shape(tiles, inputs, outputs);
  T* patch = aligned(scratch);
  T* stored = patch + shape.patch;
  T* spare = stored + shape.tiles.all();
  T* sums = spare + kRows * inputs;

  transform_input(source, image, inputs, tiles, patch, shape.tiles, stored);
  const Cuts all = cuts<kTile>(image);
  const bool last = job + 1 == all.count();
  const Tiles next = last ? Tiles{0, 0, 0, 0} : all.rectangle(job + 1);
  auto written = [&](const T* base) {
    return Ahead::of(base, image, outputs, tiles.row * kTile, tiles.column * kTile, tiles.rows * kTile,
                     tiles.columns * kTile, true);
  };
  auto read_next = [&](const T* base) {
    return Ahead::of(base, image, inputs, next.row * kTile - 1, next.column * kTile - 1,
                     next.rows * kTile + 2, next.columns * kTile + 2, !last);
  };
  Ahead ahead[4] = {written(target.y), written(target.h), read_next(source.x), read_next(source.x2)};
  multiply_points(shape, tiles.count(), packed, stored, spare, ahead);
  if (target.kind == Write::plain)
    return transform_output<kTile, Write::plain>(shape, image, tiles, stored, target, sums);
  for (int c = 0; c < 2 * outputs; c += kWidth<T>) store(sums + c, Vec<T>{});
  if (target.kind == Write::sums)
    transform_output<kTile, Write::sums>(shape, image, tiles, stored, target, sums);
  else
    transform_output<kTile, Write::gelu_gradient>(shape, image, tiles, stored, target, sums);
  for (int c = 0; c < 2 * outputs; ++c) target.sums[i64(job) * 2 * outputs + c] = double(sums[c]);
}

template <int kTile, class T>
i64 scratch_of(Image image, int inputs, int outputs) {
  const Shape<kTile, T> shape(cuts<kTile>(image).largest(), inputs, outputs);
  return shape.patch + shape.tiles.all() + i64(kRows) * inputs + 2 * outputs + kWidth<T>;
}

// Packed as [point][block of outputs][inputs][outputs of the block], in the order that the products read it.
template <int kTile, class T>
void pack(const T* weight, int inputs, int outputs, bool transpose, T* packed) {
  constexpr int n = Winograd<kTile>::kPoints;
  const int from = transpose ? outputs : inputs, to = transpose ? inputs : outputs;
  const i64 from_step = transpose ? i64(inputs) * 9 : 9, to_step = transpose ? 9 : i64(inputs) * 9;
  for (int o = 0; o < to; o += kWidth<T>) {
    const int block = o - o % (kVectors * kWidth<T>);
    const int width = to - block < kVectors * kWidth<T> ? to - block : kVectors * kWidth<T>;
    for (int k = 0; k < from; ++k) {
      const T* taps = weight + o * to_step + k * from_step;
      T columns[9][kWidth<T>];
      for (int e = 0; e < kWidth<T>; ++e)
        for (int i = 0; i < 9; ++i) columns[transpose ? 8 - i : i][e] = taps[e * to_step + i];
      Vec<T> down[n][3], u[n];
      for (int j = 0; j < 3; ++j) {
        const Vec<T> g[3] = {load(columns[j]), load(columns[3 + j]), load(columns[6 + j])};
        Winograd<kTile>::taps(g, u);
        for (int i = 0; i < n; ++i) down[i][j] = u[i];
      }
      T* at = packed + i64(block) * from + i64(k) * width + (o - block);
      for (int i = 0; i < n; ++i) {
        Winograd<kTile>::taps(down[i], u);
        for (int j = 0; j < n; ++j) store(at + i64(i * n + j) * from * to, u[j]);
      }
    }
  }
}

template <class T>
struct Entries {
  static i64 packed(int tile, int inputs, int outputs) { return i64(tile + 2) * (tile + 2) * inputs * outputs; }
  static void pack(int tile, const T* weight, int inputs, int outputs, bool transpose, T* packed) {
    tile == 4 ? AAFAST_ISA::pack<4>(weight, inputs, outputs, transpose, packed)
              : AAFAST_ISA::pack<2>(weight, inputs, outputs, transpose, packed);
  }
  static int jobs(int tile, Image image) { return (tile == 4 ? cuts<4>(image) : cuts<2>(image)).count(); }
  static i64 scratch(int tile, Image image, int inputs, int outputs) {
    return tile == 4 ? scratch_of<4, T>(image, inputs, outputs) : scratch_of<2, T>(image, inputs, outputs);
  }
  static void convolve(int tile, Image image, int inputs, int outputs, const Source<T>& source, const T* packed,
                       const Target<T>& target, int job, T* scratch) {
    tile == 4 ? AAFAST_ISA::convolve<4>(image, inputs, outputs, source, packed, target, job, scratch)
              : AAFAST_ISA::convolve<2>(image, inputs, outputs, source, packed, target, job, scratch);
  }
};

}  // namespace

template <class T>
void winograd_entries(Conv3x3<T>& table) {
  table.winograd_packed = Entries<T>::packed;
  table.winograd_pack = Entries<T>::pack;
  table.winograd_jobs = Entries<T>::jobs;
  table.winograd_scratch = Entries<T>::scratch;
  table.winograd = Entries<T>::convolve;
}

template void winograd_entries(Conv3x3<float>&);
template void winograd_entries(Conv3x3<double>&);

}  // namespace aafast::AAFAST_ISA
