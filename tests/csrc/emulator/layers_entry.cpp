// The kernels around the thin layers, of weights' gradients and of packing as C functions, for tests of the emulated
// kernels one at a time.
#include <cstring>

#include "conv.cuh"

using namespace aafast;

namespace {

char message[256];

template <class F>
int guarded(const F& f) {
  try {
    f();
  } catch (const std::exception& error) {
    std::strncpy(message, error.what(), sizeof(message) - 1);
    return 1;
  }
  return 0;
}

struct Given {
  int height, width, channels, thin, read, write, planes_are_outputs, device;
  i64 batch, packed_stride;
  float scale, plane_scale;
  const std::int8_t* status;
  const float* planes;  // [B, thin, H, W]
  const char* packed;
  const void *x, *x2;
  const float* coefficients;  // [B, 3, C] or null
  const void *d, *d2;         // the gradient that a wide weight's gradient reads
  const float* d_coefficients;
  void* y;
  const float* bias;
  const void* h;
  const float* norm;  // [B, 2, C] or null
  float* sums;
  void* workspace;
  float* out;
};

template <Arithmetic A>
struct Functions {
  using T = Storage<A>;
  const Given& g;
  i64 pixels() const { return i64(g.height) * g.width; }
  Call call() const { return {{g.height, g.width}, g.batch, g.channels, g.status, g.device, nullptr}; }
  Planes planes() const {
    Planes found{g.thin, {}};
    for (int p = 0; p < g.thin; ++p) found.plane[p] = {g.planes + p * pixels(), g.thin * pixels()};
    return found;
  }
  Batched<const T> image(const void* at) const { return {static_cast<const T*>(at), pixels() * g.channels}; }
  Batched<const float> row(const float* at, int rows, int index) const {
    return {at ? at + index * g.channels : nullptr, rows * g.channels};
  }
  WideSource<A> source(int kind, const void* x, const void* x2, const float* c) const {
    return {Read(kind), image(x), image(x2), row(c, 3, 0), row(c, 3, 1), row(c, 3, 2)};
  }
  WideSource<A> input() const { return source(g.read, g.x, g.x2, g.coefficients); }

  void widen() const {
    const i64 parts = widen_parts(call().image, g.channels);
    conv_widen<A>(call(), planes(), g.plane_scale, {g.packed, g.packed_stride},
                  {Write(g.write), {static_cast<T*>(g.y), pixels() * g.channels}, {g.bias, 0}, image(g.h),
                   row(g.norm, 2, 0), row(g.norm, 2, 1), {g.sums, parts * 2 * g.channels}});
  }
  void narrow() const {
    conv_narrow<A>(call(), input(), {g.packed, g.packed_stride}, g.thin, {g.bias, 0}, g.scale, g.out);
  }
  void thin_weight() const {
    thin_weight_gradient<A>(call(), planes(), g.plane_scale, g.planes_are_outputs, input(), g.scale, g.workspace,
                            g.out);
  }
  void wide_weight() const {
    wide_weight_gradient<A>(call(), input(), source(g.write, g.d, g.d2, g.d_coefficients), g.scale, g.workspace, g.out);
  }
  void sums() const { plane_sums(call(), planes(), g.out); }
};

template <class F>
int with(int arithmetic, const F& f) {
  return guarded([&] {
    arithmetic == 0   ? f(std::integral_constant<Arithmetic, Arithmetic::half>())
    : arithmetic == 1 ? f(std::integral_constant<Arithmetic, Arithmetic::tf32>())
                      : f(std::integral_constant<Arithmetic, Arithmetic::single>());
  });
}

}  // namespace

extern "C" {

const char* last_error() { return message; }

int layer_parts(int height, int width, int channels) { return widen_parts({height, width}, channels); }

// kind: 0 widen, 1 narrow packed weights; 2 wide, 3 thin weight gradient's workspace.
int layer_bytes(int arithmetic, int kind, int height, int width, i64 batch, int thin, int channels, i64* out) {
  return with(arithmetic, [&](auto a) {
    constexpr Arithmetic A = decltype(a)::value;
    *out = kind == 0   ? widen_packed_size<A>(thin, channels)
           : kind == 1 ? narrow_packed_size<A>(channels, thin)
           : kind == 2 ? wide_weight_workspace<A>({height, width}, batch, channels)
                       : thin_weight_workspace<A>({height, width}, batch, thin, channels);
  });
}

int layer_pack(int arithmetic, const PackJob* jobs, int count, i64 sets, i64 set_size, char* packed) {
  return with(arithmetic, [&](auto a) {
    pack_layers<decltype(a)::value>(jobs, count, sets, set_size, 1, nullptr, packed);
  });
}

#define AAFAST_ENTRY(name)                                                     \
  int layer_##name(int arithmetic, const Given* given) {                       \
    return with(arithmetic, [&](auto a) { Functions<decltype(a)::value>{*given}.name(); }); \
  }
AAFAST_ENTRY(widen)
AAFAST_ENTRY(narrow)
AAFAST_ENTRY(thin_weight)
AAFAST_ENTRY(wide_weight)
AAFAST_ENTRY(sums)

int layer_places(int arithmetic, int channels, int* out) {
  return with(arithmetic, [&](auto a) {
    for (int t = 0; t < 9; ++t)
      for (int k = 0; k < channels; ++k)
        for (int n = 0; n < channels; ++n) *out++ = wide_place<decltype(a)::value>(channels, t, k, n);
  });
}
}
