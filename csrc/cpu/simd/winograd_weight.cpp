// Weight gradient of a wide to wide 3x3 convolution on Winograd's tiles: dW = G^T [sum (B^T d B) (.) (A dy A^T)] G.
// At each point of the transform the sum over the tiles is a product [inputs, tiles] [tiles, outputs].
#include "winograd.h"

namespace aafast::AAFAST_ISA {
namespace {

// Accumulators of the products: kRows inputs by kVectors vectors of outputs fill the registers.
constexpr int kRows = 6;
constexpr int kVectors = AAFAST_VECTOR_BYTES == 64 ? 4 : 2;
constexpr int kEach = 13;  // tiles of a group
constexpr int kMostJobs = 8;

// Tiles transformed at a time: with 64 channels, they and the sums at every point fit a core's second cache.
template <int kTile>
Cuts cuts(Image image) {
  return kTile == 4 ? Cuts(4, image, 26, 13) : Cuts(2, image, 52, 26);
}

// Enough tiles to a job that adding up the jobs costs little.
template <int kTile>
int jobs_of(Image image) {
  const Cuts all = cuts<kTile>(image);
  const i64 jobs = i64(all.rows) * all.columns * kTile * kTile / 3328;
  const i64 most = all.count() < kMostJobs ? all.count() : kMostJobs;
  return int(jobs < 1 ? 1 : jobs > most ? most : jobs);
}

// The gradient's tiles, transformed: A dy A^T. Every pixel is in one tile, and is read where it lies.
template <int kTile, Read kRead, class T>
void transform_gradient(const Source<T>& source, Image image, int channels, Tiles tiles, const Groups<kTile>& groups,
                        T* stored) {
  constexpr int n = Winograd<kTile>::kPoints;
  for (int t = 0; t < tiles.count(); ++t) {
    const int y = (tiles.row + t / tiles.columns) * kTile, x = (tiles.column + t % tiles.columns) * kTile;
    const bool whole = y + kTile <= image.height && x + kTile <= image.width;
    const i64 line = i64(image.width) * channels, corner = y * line + i64(x) * channels;
    T* to = stored + groups.place(t);
    for (int c = 0; c < channels; c += kWidth<T>) {
      Vec<T> dy[kTile][kTile] = {}, down[n][kTile], z[n];
      if (whole) {
        for (int j = 0; j < kTile; ++j)
          for (int i = 0; i < kTile; ++i) dy[j][i] = read<kRead>(source, corner + i * line + j * channels, c);
      } else {
        for (int j = 0; j < kTile && x + j < image.width; ++j)
          for (int i = 0; i < kTile && y + i < image.height; ++i)
            dy[j][i] = read<kRead>(source, corner + i * line + j * channels, c);
      }
      for (int j = 0; j < kTile; ++j) {
        Winograd<kTile>::spread(dy[j], z);
        for (int i = 0; i < n; ++i) down[i][j] = z[i];
      }
      for (int i = 0; i < n; ++i) {
        Winograd<kTile>::spread(down[i], z);
        for (int j = 0; j < n; ++j) store(to + (i * n + j) * groups.step + c, z[j]);
      }
    }
  }
}

template <int kTile, class T>
void transform_gradient(const Source<T>& source, Image image, int channels, Tiles tiles, const Groups<kTile>& groups,
                        T* stored) {
  switch (source.kind) {
    case Read::plain:
      return transform_gradient<kTile, Read::plain>(source, image, channels, tiles, groups, stored);
    case Read::gelu: return transform_gradient<kTile, Read::gelu>(source, image, channels, tiles, groups, stored);
    case Read::gradient:
      return transform_gradient<kTile, Read::gradient>(source, image, channels, tiles, groups, stored);
  }
}

template <int kTile, class T>
struct Shape {
  int inputs, outputs;
  int count;  // tiles
  i64 patch;  // elements of the input's staged pixels
  Groups<kTile> input, gradient;

  Shape(Tiles area, int inputs, int outputs)
      : inputs(inputs), outputs(outputs), count(area.count()),
        patch(area.patch(kTile, 2) * inputs), input(count, kEach, inputs, kLine / sizeof(T)),
        gradient(count, kEach, outputs, kLine / sizeof(T)) {}
};

// sum [kR, outputs] (+)= v^T z over the tiles at one point; v: first of kR inputs, z: first of kN vectors of outputs.
template <int kR, int kN, int kTile, class T>
void accumulate(const Shape<kTile, T>& shape, const T* v, const T* z, bool add, T* sum) {
  Vec<T> total[kR][kN] = {};
  for (int left = shape.count; left > 0; left -= kEach) {
    const T *value = v, *gradient = z;
    for (int t = left < kEach ? left : kEach; t > 0; --t) {
      Vec<T> columns[kN];
#pragma GCC unroll 4
      for (int j = 0; j < kN; ++j) columns[j] = load(gradient + j * kWidth<T>);
#pragma GCC unroll 6
      for (int r = 0; r < kR; ++r) {
        const Vec<T> one = all(value[r]);
#pragma GCC unroll 4
        for (int j = 0; j < kN; ++j) total[r][j] += one * columns[j];
      }
      value += shape.inputs;
      gradient += shape.outputs;
    }
    v += shape.input.size;
    z += shape.gradient.size;
  }
#pragma GCC unroll 6
  for (int r = 0; r < kR; ++r)
#pragma GCC unroll 4
    for (int j = 0; j < kN; ++j) {
      T* at = sum + i64(r) * shape.outputs + j * kWidth<T>;
      store(at, add ? load(at) + total[r][j] : total[r][j]);
    }
}

template <int kN, int kTile, class T>
AAFAST_INLINE void accumulate(int rows, const Shape<kTile, T>& shape, const T* v, const T* z, bool add, T* sum) {
  switch (rows) {
    case 1: return accumulate<1, kN>(shape, v, z, add, sum);
    case 2: return accumulate<2, kN>(shape, v, z, add, sum);
    case 3: return accumulate<3, kN>(shape, v, z, add, sum);
    case 4: return accumulate<4, kN>(shape, v, z, add, sum);
    case 5: return accumulate<5, kN>(shape, v, z, add, sum);
    default: return accumulate<6, kN>(shape, v, z, add, sum);
  }
}

template <int kTile, class T>
void accumulate_points(const Shape<kTile, T>& shape, const T* input, const T* gradient, bool add, T* partial,
                       Ahead (&ahead)[4]) {
  const i64 calls = kPlaces<kTile> * divide_up(shape.inputs, kRows) * divide_up(shape.outputs, kVectors * kWidth<T>);
  i64 share[4];
  for (int i = 0; i < 4; ++i) share[i] = divide_up(ahead[i].lines(), calls);
  constexpr int block = kVectors * kWidth<T>;
  for (int p = 0; p < kPlaces<kTile>; ++p)
    for (int o = 0; o < shape.outputs; o += block)
      for (int k = 0; k < shape.inputs; k += kRows) {
        for (int i = 0; i < 4; ++i) ahead[i].template fetch<false>(share[i]);
        const int rows = shape.inputs - k < kRows ? shape.inputs - k : kRows;
        const int width = shape.outputs - o < block ? (shape.outputs - o) / kWidth<T> : kVectors;
        const T *v = input + p * shape.input.step + k, *z = gradient + p * shape.gradient.step + o;
        T* sum = partial + (i64(p) * shape.inputs + k) * shape.outputs + o;
        switch (width) {
          case 1: accumulate<1>(rows, shape, v, z, add, sum); break;
          case 2: accumulate<2>(rows, shape, v, z, add, sum); break;
          case 3: accumulate<3>(rows, shape, v, z, add, sum); break;
          default: accumulate<kVectors>(rows, shape, v, z, add, sum); break;
        }
      }
}

template <int kTile, class T>
void weight(Image image, int inputs, int outputs, const Source<T>& input, const Source<T>& gradient, int job,
            T* partial, T* scratch) {
  const Cuts all = cuts<kTile>(image);
  const int jobs = jobs_of<kTile>(image);
  const i64 count = all.count();
  const int begin = int(job * count / jobs), end = int((job + 1) * count / jobs);
  T* patch = aligned(scratch);
  for (int index = begin; index < end; ++index) {
    const Tiles tiles = all.rectangle(index);
    const Shape<kTile, T> shape(tiles, inputs, outputs);
    T* from_input = patch + shape.patch;
    T* from_gradient = from_input + shape.input.all();
    transform_input(input, image, inputs, tiles, patch, shape.input, from_input);
    transform_gradient(gradient, image, outputs, tiles, shape.gradient, from_gradient);
    const Tiles next = index + 1 < count ? all.rectangle(index + 1) : Tiles{0, 0, 0, 0};
    auto read_next = [&](const T* base, int channels, int halo) {
      return Ahead::of(base, image, channels, next.row * kTile - halo, next.column * kTile - halo,
                       next.rows * kTile + 2 * halo, next.columns * kTile + 2 * halo, next.count() > 0);
    };
    Ahead ahead[4] = {read_next(input.x, inputs, 1), read_next(input.x2, inputs, 1), read_next(gradient.x, outputs, 0),
                      read_next(gradient.x2, outputs, 0)};
    accumulate_points(shape, from_input, from_gradient, index > begin, partial, ahead);
  }
}

template <int kTile, class T>
void finish(int inputs, int outputs, const T* partials, int jobs, T* weight_gradient) {
  constexpr int n = Winograd<kTile>::kPoints;
  const i64 plane = i64(inputs) * outputs;
  for (int o = 0; o < outputs; o += kWidth<T>)
    for (int k = 0; k < inputs; ++k) {
      Vec<T> down[3][n], g[3];
      for (int j = 0; j < n; ++j) {
        Vec<T> u[n];
        for (int i = 0; i < n; ++i) {
          const T* at = partials + (i * n + j) * plane + i64(k) * outputs + o;
          u[i] = load(at);
          for (int job = 1; job < jobs; ++job) u[i] += load(at + job * kPlaces<kTile> * plane);
        }
        Winograd<kTile>::gather(u, g);
        for (int i = 0; i < 3; ++i) down[i][j] = g[i];
      }
      T taps[9][kWidth<T>];
      for (int i = 0; i < 3; ++i) {
        Winograd<kTile>::gather(down[i], g);
        for (int j = 0; j < 3; ++j) store(taps[3 * i + j], g[j]);
      }
      for (int e = 0; e < kWidth<T>; ++e)
        for (int i = 0; i < 9; ++i) weight_gradient[(i64(o + e) * inputs + k) * 9 + i] = taps[i][e];
    }
}

template <class T>
struct Entries {
  static int jobs(int tile, Image image) { return tile == 4 ? jobs_of<4>(image) : jobs_of<2>(image); }
  static i64 partial(int tile, int inputs, int outputs) { return i64(tile + 2) * (tile + 2) * inputs * outputs; }
  template <int kTile>
  static i64 scratch_of(Image image, int inputs, int outputs) {
    const Shape<kTile, T> shape(cuts<kTile>(image).largest(), inputs, outputs);
    return shape.patch + shape.input.all() + shape.gradient.all() + kWidth<T>;
  }
  static i64 scratch(int tile, Image image, int inputs, int outputs) {
    return tile == 4 ? scratch_of<4>(image, inputs, outputs) : scratch_of<2>(image, inputs, outputs);
  }
  static void weight(int tile, Image image, int inputs, int outputs, const Source<T>& input, const Source<T>& gradient,
                     int job, T* partial, T* scratch) {
    tile == 4 ? AAFAST_ISA::weight<4>(image, inputs, outputs, input, gradient, job, partial, scratch)
              : AAFAST_ISA::weight<2>(image, inputs, outputs, input, gradient, job, partial, scratch);
  }
  static void finish(int tile, int inputs, int outputs, const T* partials, int jobs, T* weight_gradient) {
    tile == 4 ? AAFAST_ISA::finish<4>(inputs, outputs, partials, jobs, weight_gradient)
              : AAFAST_ISA::finish<2>(inputs, outputs, partials, jobs, weight_gradient);
  }
};

}  // namespace

template <class T>
void winograd_weight_entries(Conv3x3<T>& table) {
  table.winograd_weight_jobs = Entries<T>::jobs;
  table.winograd_weight_partial = Entries<T>::partial;
  table.winograd_weight_scratch = Entries<T>::scratch;
  table.winograd_weight = Entries<T>::weight;
  table.winograd_weight_finish = Entries<T>::finish;
}

template void winograd_weight_entries(Conv3x3<float>&);
template void winograd_weight_entries(Conv3x3<double>&);

}  // namespace aafast::AAFAST_ISA
