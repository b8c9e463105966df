// Weights of torch's [outputs, inputs, 3, 3] to the orders in which the convolutions take them.
//
// A thread of a wide layer makes the 16 bytes of one place for all nine taps: it reads whole filters of nine adjacent
// weights, and the lanes of a warp write adjacent places. Thin layers are small: a thread makes an element at a time.
#include "launch_conv.cuh"
#include "thin_layout.cuh"

namespace aafast {
namespace {

constexpr int kThreads = 128;
constexpr int kJobBlocks = 8;  // blocks of a job, which share its places

struct Jobs {
  PackJob at[kPackJobs];
  int count;
};

// The weight from input `from` to output `to` of the layer that is packed.
__device__ __forceinline__ float weight_at(const PackJob& job, const float* weight, int tap, int from, int to) {
  return job.adjoint ? weight[(from * job.inputs + to) * 9 + 8 - tap] : weight[(to * job.inputs + from) * 9 + tap];
}

__device__ __forceinline__ void place(float v, __half& to) { to = __float2half_rn(v); }
__device__ __forceinline__ void place(float v, float& to) { to = v; }

// Places of a wide layer: (block of inputs, tile pair of outputs, lane), in the order of wide_place.
template <Arithmetic A>
struct WideSlot {
  static constexpr int kElements = 16 / int(sizeof(Storage<A>));
  int from[kElements], to[kElements];

  __device__ __forceinline__ WideSlot(int channels, int slot) {
    if constexpr (A == Arithmetic::single) {
#pragma unroll
      for (int e = 0; e < kElements; ++e) {
        from[e] = slot / (channels / kElements);
        to[e] = slot % (channels / kElements) * kElements + e;
      }
    } else {
      constexpr int kPair = kElements / 4, kDepth = 8 * kPair;
      const int across = channels == 64 ? 2 : 1, width = channels / across, own = width / 4;
      const int lane = slot % 32, g = lane / 4, q = lane % 4, pairs = slot / 32;
      const int tiles = pairs % (width / 16), warps = pairs / (width / 16), warp = warps % across, block = warps / across;
#pragma unroll
      for (int e = 0; e < kElements; ++e) {
        const int high = e / kPair % 2, tile = 2 * tiles + e / kPair / 2;
        from[e] = block * kDepth + high * (kDepth / 2) + q * kPair + e % kPair;
        to[e] = warp * width + g / 2 * own + 2 * tile + g % 2;
      }
    }
  }
};

template <Arithmetic A>
__device__ void pack_wide(const PackJob& job, const float* weight, int first, int step, Storage<A>* to) {
  constexpr int kElements = WideSlot<A>::kElements;
  const int channels = job.inputs, slots = channels * channels / kElements;
  for (int slot = first; slot < slots; slot += step) {
    const WideSlot<A> at(channels, slot);
#pragma unroll
    for (int tap = 0; tap < 9; ++tap) {
      float values[kElements];
#pragma unroll
      for (int e = 0; e < kElements; ++e) {
        values[e] = weight_at(job, weight, tap, at.from[e], at.to[e]);
        if (A == Arithmetic::tf32) values[e] = round_tf32(values[e]);
      }
      Adjacent<Storage<A>, kElements> words;
      set_values(words, values);
      words.store(to + (i64(tap) * slots + slot) * kElements);
    }
  }
}

template <Arithmetic A>
__global__ void __launch_bounds__(kThreads) pack_kernel(Jobs jobs, i64 set_size, char* packed) {
  const int part = int(blockIdx.x) % kJobBlocks;
  const i64 set = int(blockIdx.x) / kJobBlocks / jobs.count;
  const PackJob job = jobs.at[int(blockIdx.x) / kJobBlocks % jobs.count];
  const int first = part * kThreads + int(threadIdx.x), step = kJobBlocks * kThreads;
  const float* weight = job.weight + set * (i64(9) * job.inputs * job.outputs);
  Storage<A>* const to = reinterpret_cast<Storage<A>*>(packed + set * set_size + job.offset);
  if (job.kind == Layer::wide) return pack_wide<A>(job, weight, first, step, to);

  const int inputs = job.adjoint ? job.outputs : job.inputs, outputs = job.adjoint ? job.inputs : job.outputs;
  const bool widen = job.kind == Layer::widen;
  const int size = widen ? widen_elements<A>(inputs, outputs)
                         : outputs / narrow_pass<A>(outputs) * narrow_pass_elements<A>(inputs, outputs);
  for (int i = first; i < size; i += step) {
    const WeightAt at = widen ? widen_weight_at<A>(inputs, outputs, i) : narrow_weight_at<A>(inputs, outputs, i);
    const float v = at.tap < 0 ? 0.0f : weight_at(job, weight, at.tap, at.from, at.to);
    place(A == Arithmetic::tf32 ? round_tf32(v) : v, to[i]);
  }
}

}  // namespace

template <Arithmetic A>
i64 widen_packed_size(int inputs, int channels) {
  return widen_elements<A>(inputs, channels) * i64(sizeof(Storage<A>));
}

template <Arithmetic A>
i64 narrow_packed_size(int channels, int outputs) {
  return outputs / narrow_pass<A>(outputs) * narrow_pass_elements<A>(channels, outputs) * i64(sizeof(Storage<A>));
}

template <Arithmetic A>
void pack_layers(const PackJob* jobs, int count, i64 sets, i64 set_size, int device, cudaStream_t stream,
                 char* packed) {
  if (count > kPackJobs) throw std::invalid_argument("too many layers to pack in one launch");
  Jobs all = {};
  all.count = count;
  for (int j = 0; j < count; ++j) all.at[j] = jobs[j];
  launch_conv("launching pack_layers", device, stream, sets * count * kJobBlocks, kThreads, 0, pack_kernel<A>, all,
              set_size, packed);
}

#define AAFAST_PACK(A)                              \
  template i64 widen_packed_size<A>(int, int);      \
  template i64 narrow_packed_size<A>(int, int);     \
  template void pack_layers<A>(const PackJob*, int, i64, i64, int, cudaStream_t, char*);
AAFAST_PACK(Arithmetic::half)
AAFAST_PACK(Arithmetic::tf32)
AAFAST_PACK(Arithmetic::single)
#undef AAFAST_PACK

}  // namespace aafast
