// 3x3 convolutions of one image, zero outside, with what comes before and after each fused in. Channels last:
// an image of C channels is [H, W, C]. "Wide" means many channels, a multiple of the vector's width; "thin" means
// at most kThin, held as separate planes [H, W].
//
// A convolution is cut into jobs by the size of the image alone. Jobs write apart from each other, so any number
// of threads gives the same bits.
#pragma once
#include "aafast/common.h"

namespace aafast {

constexpr int kThin = 8;

struct Image {
  int height, width;
  i64 pixels() const { return i64(height) * width; }
};

// How a wide image is read, per channel c (outside the image v = 0, whatever the kind):
//   plain     v = x
//   gelu      v = gelu(a[c] x + b[c])                    GroupNorm's affine form, then GELU
//   gradient  v = a[c] x + b[c] x2 + c[c]                GroupNorm's backward pass: x the gradient after it, x2 its input
enum class Read { plain, gelu, gradient };

template <class T>
struct Source {
  Read kind;
  const T* x;   // [H, W, C]
  const T* x2;  // [H, W, C], gradient only
  const T* a;   // [C]
  const T* b;   // [C]
  const T* c;   // [C], gradient only
};

// What is done with each value v of a wide result before it is stored as y, per channel c:
//   plain          y = v
//   sums           y = v (+ bias[c]);               sums[0, c] += y, sums[1, c] += y^2
//   gelu_gradient  y = v gelu'(a[c] h + b[c]);      sums[0, c] += y, sums[1, c] += y h
enum class Write { plain, sums, gelu_gradient };

template <class T>
struct Target {
  Write kind;
  T* y;           // [H, W, C]
  const T* bias;  // [C] or null
  const T* h;     // [H, W, C], gelu_gradient only
  const T* a;     // [C], gelu_gradient only
  const T* b;     // [C], gelu_gradient only
  double* sums;   // [jobs, 2, C], each job its own row, written whole; null for plain
};

// One instruction set's functions. Weights come as torch keeps them, [outputs, inputs, 3, 3], and are packed once.
// `transpose` packs the adjoint: inputs and outputs change places and the taps are turned by half a turn.
template <class T>
struct Conv3x3 {
  const char* isa;
  int width;  // elements of a vector; wide channel counts are multiples of it

  // Wide to wide by Winograd's F(tile, 3), tile 4 (fast) or 2 (strict).
  i64 (*winograd_packed)(int tile, int inputs, int outputs);  // elements of T
  void (*winograd_pack)(int tile, const T* weight, int inputs, int outputs, bool transpose, T* packed);
  int (*winograd_jobs)(int tile, Image);
  i64 (*winograd_scratch)(int tile, Image, int inputs, int outputs);  // elements of T, per thread
  void (*winograd)(int tile, Image, int inputs, int outputs, const Source<T>&, const T* packed, const Target<T>&,
                   int job, T* scratch);

  // Gradient of the weight of a wide to wide convolution: dW = sum over pixels of source (x) gradient, on the same
  // tiles. A job adds up a fixed share of the tiles; the shares are added in order by winograd_weight_finish.
  int (*winograd_weight_jobs)(int tile, Image);
  i64 (*winograd_weight_partial)(int tile, int inputs, int outputs);  // elements of T, per job
  i64 (*winograd_weight_scratch)(int tile, Image, int inputs, int outputs);
  void (*winograd_weight)(int tile, Image, int inputs, int outputs, const Source<T>& input, const Source<T>& gradient,
                          int job, T* partial, T* scratch);
  void (*winograd_weight_finish)(int tile, int inputs, int outputs, const T* partials, int jobs,
                                 T* weight_gradient);  // [outputs, inputs, 3, 3], overwritten

  // Thin planes to wide. planes: `inputs` addresses of [H, W].
  i64 (*widen_packed)(int inputs, int outputs);
  void (*widen_pack)(const T* weight, int inputs, int outputs, bool transpose, T* packed);
  int (*widen_jobs)(Image);
  i64 (*widen_scratch)(Image, int inputs, int outputs);
  void (*widen)(Image, int inputs, int outputs, const T* const* planes, const T* packed, const Target<T>&, int job,
                T* scratch);

  // Wide to thin planes. bias: [outputs] or null.
  i64 (*narrow_packed)(int inputs, int outputs);
  void (*narrow_pack)(const T* weight, int inputs, int outputs, bool transpose, T* packed);
  int (*narrow_jobs)(Image);
  i64 (*narrow_scratch)(Image, int inputs, int outputs);
  void (*narrow)(Image, int inputs, int outputs, const Source<T>&, const T* packed, const T* bias, T* const* planes,
                 int job, T* scratch);

  // Gradient of the weight between thin planes and a wide image:
  //   out[p, k, c] = sum over pixels q of plane_p(q + tap k) v(q)[c],  k = 3 dy + dx, tap k shifts by (dy - 1, dx - 1).
  // A job covers a fixed share of the rows and overwrites its own partial [planes, 9, C].
  int (*thin_weight_jobs)(Image);
  i64 (*thin_weight_scratch)(Image, int planes, int channels);
  void (*thin_weight)(Image, int planes, int channels, const T* const* plane, const Source<T>&, int job, T* partial,
                      T* scratch);
};

// The widest set that this processor runs, that is not above the one asked for by select_isa, and whose vectors
// divide every one of the channel counts; null where there is none.
template <class T>
const Conv3x3<T>* conv3x3(const int* channels, int count);

}  // namespace aafast
