// The wide convolution, GELU and the tensor cores' wrappers as C functions, for tests of the emulated kernels one at a
// time.
#include <cstring>

#include "conv_wide.cuh"

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

template <Arithmetic A>
void places(int channels, int* out) {
  for (int t = 0; t < 9; ++t)
    for (int k = 0; k < channels; ++k)
      for (int n = 0; n < channels; ++n) *out++ = wide_place<A>(channels, t, k, n);
}

struct Given {
  int height, width, channels, read, write, device;
  i64 batch, packed_stride, coefficient_stride;
  const std::int8_t* status;
  const char* packed;
  const void *x, *x2;
  const float* coefficients;  // [S, 3, C]
  void* y;
  const float* bias;  // [C]
  const void* h;
  const float* norm;  // [B, 2, C]
  float* sums;
};

template <Arithmetic A>
void run(const Given& g) {
  using T = Storage<A>;
  const i64 image = i64(g.height) * g.width * g.channels;
  const Image size{g.height, g.width};
  const Call call{size, g.batch, g.channels, g.status, g.device, nullptr};
  const float* c = g.coefficients;
  const auto row = [&](int i) { return Batched<const float>{c ? c + i * g.channels : nullptr, g.coefficient_stride}; };
  const auto norm = [&](int i) {
    return Batched<const float>{g.norm ? g.norm + i * g.channels : nullptr, 2 * g.channels};
  };
  const WideSource<A> source{Read(g.read), {static_cast<const T*>(g.x), image}, {static_cast<const T*>(g.x2), image},
                             row(0), row(1), row(2)};
  const i64 parts = i64(cut(size).tiles()) * (g.channels == 64 ? 2 : 4);
  const WideTarget<A> target{Write(g.write), {static_cast<T*>(g.y), image}, {g.bias, 0},
                             {static_cast<const T*>(g.h), image}, norm(0), norm(1), {g.sums, parts * 2 * g.channels}};
#ifdef ONE_CASE_EACH  // for builds of which there are many
  constexpr int C = A == Arithmetic::half ? 16 : A == Arithmetic::tf32 ? 48 : 32;
  if (g.channels != C) throw std::invalid_argument("not built");
  launch_wide<A, C, Read::gelu>(call, WideWork<A>{source, target, {g.packed, g.packed_stride}, g.status, {}, 1, 1});
#else
  conv_wide<A>(call, {g.packed, g.packed_stride}, source, target);
#endif
}

// One warp: d = a b through load_matrix and mma. a [16, K] and b [8, K] (its columns) as they stand in memory.
struct Product {
  const void *a, *b;
  float *d, *zeros;  // zeros: [32, 4], what copies that were not present have left
};

template <bool kHalf>
void product_kernel(Product p) {
  AAFAST_DYNAMIC_SHARED(char, memory);
  const int lane = int(threadIdx.x);
  copy_async(memory + lane * 16, static_cast<const char*>(p.a) + lane * 16);
  commit_copies();
  copy_async(memory + 512 + lane * 16, static_cast<const char*>(p.b) + lane * 16, lane < 16);
  commit_copies();
  wait_copies<0>();
  __syncwarp();
  for (int i = 0; i < 4; ++i) p.zeros[4 * lane + i] = reinterpret_cast<const float*>(memory)[192 + 4 * (lane % 16) + i];
  Fragment a, b;
  load_matrix(a, memory + lane % 16 * 32 + lane / 16 * 16);
  load_matrix(b, memory + 512 + lane % 8 * 32 + lane / 8 % 2 * 16);
  float c[4] = {};
  if (kHalf)
    mma_half(c, a, b[0], b[1]);
  else
    mma_tf32(c, a, b[0], b[1]);
  for (int i = 0; i < 4; ++i) p.d[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = c[i];
}

// A 16 x 16 matrix of fp16 through load_matrix_transposed: out [16, 16].
struct Transposition {
  const __half* from;
  unsigned* out;  // [4, 32]
};
void transpose_kernel(Transposition t) {
  AAFAST_DYNAMIC_SHARED(char, memory);
  const int lane = int(threadIdx.x);
  copy_async(memory + lane * 16, reinterpret_cast<const char*>(t.from) + lane * 16);
  commit_copies();
  wait_copies<0>();
  __syncwarp();
  Fragment words;
  load_matrix_transposed(words, memory + lane % 16 * 32 + lane / 16 * 16);
  for (int m = 0; m < 4; ++m) t.out[m * 32 + lane] = words[m];
}

// What a thread sees of a copy before and after it waits.
struct Landing {
  const float* from;
  float* seen;  // [3, 4]
  int barrier;
};
void landing_kernel(Landing l) {
  AAFAST_DYNAMIC_SHARED(float, memory);
  if (threadIdx.x == 0) {
    copy_async(memory, l.from);
    commit_copies();
    copy_async(memory + 4, l.from + 4);
    commit_copies();
    wait_copies<1>();
    std::memcpy(l.seen, memory, 32);
    wait_copies<0>();
    std::memcpy(l.seen + 8, memory + 4, 16);
  }
  if (l.barrier && threadIdx.x < 64) named_barrier(1, l.barrier);
}

template <class Kernel, class Work>
void launch(Kernel kernel, const Work& work, int threads, int bytes) {
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(1);
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = bytes;
  check(cudaLaunchKernelEx(&config, kernel, work), "launching a test");
}

}  // namespace

extern "C" {

const char* last_error() { return message; }

int wide_places(int arithmetic, int channels, int* out) {
  return guarded([&] {
    arithmetic == 0   ? places<Arithmetic::half>(channels, out)
    : arithmetic == 1 ? places<Arithmetic::tf32>(channels, out)
                      : places<Arithmetic::single>(channels, out);
  });
}

void gelu_values(int n, const float* x, float* half, float* half_gradient, float* single, float* single_gradient) {
  for (int i = 0; i < n; ++i) {
    half[i] = gelu<Arithmetic::half>(x[i]);
    half_gradient[i] = gelu_gradient<Arithmetic::half>(x[i]);
    single[i] = gelu<Arithmetic::single>(x[i]);
    single_gradient[i] = gelu_gradient<Arithmetic::single>(x[i]);
  }
}

int wide_tiles(int height, int width) { return cut({height, width}).tiles(); }

int wide_plan_of(int arithmetic, int channels, int limit, int* out) {
  return guarded([&] {
    const auto of = [&](auto shape) {
      constexpr int C = decltype(shape)::value;
      return arithmetic == 0   ? wide_plan<Arithmetic::half, C>(limit)
             : arithmetic == 1 ? wide_plan<Arithmetic::tf32, C>(limit)
                               : wide_plan<Arithmetic::single, C>(limit);
    };
    const WidePlan plan = channels == 16   ? of(std::integral_constant<int, 16>())
                          : channels == 32 ? of(std::integral_constant<int, 32>())
                          : channels == 48 ? of(std::integral_constant<int, 48>())
                                           : of(std::integral_constant<int, 64>());
    out[0] = plan.groups, out[1] = plan.buffers, out[2] = plan.bytes;
  });
}

int wide_run(int arithmetic, const Given* given) {
  return guarded([&] {
    arithmetic == 0   ? run<Arithmetic::half>(*given)
    : arithmetic == 1 ? run<Arithmetic::tf32>(*given)
                      : run<Arithmetic::single>(*given);
  });
}

int tensor_product(int half, const void* a, const void* b, float* d, float* zeros) {
  const Product product{a, b, d, zeros};
  return guarded([&] { launch(half ? product_kernel<true> : product_kernel<false>, product, 32, 1024); });
}

int tensor_transposition(const void* from, void* out) {
  return guarded([&] {
    launch(transpose_kernel, Transposition{static_cast<const __half*>(from), static_cast<unsigned*>(out)}, 32, 512);
  });
}

int copy_landing(const float* from, float* seen, int barrier, int bytes) {
  return guarded([&] { launch(landing_kernel, Landing{from, seen, barrier}, 96, bytes); });
}
}
