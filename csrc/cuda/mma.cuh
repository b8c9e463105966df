// Tensor cores, the loads that feed them, copies that run beside the threads, and barriers of a part of a block, as one
// instruction each. Fragments are those of PTX's mma: lane 4 g + q of a warp holds
//   A [16, K]  a0 row g, a1 row g + 8, a2 and a3 the same rows in the upper half of K
//   B [K, 8]   b0 column g in the lower half of K, b1 in the upper
//   C [16, 8]  c0, c1 row g, columns 2 q and 2 q + 1; c2, c3 row g + 8
// with K = 16 of fp16, elements 2 q and 2 q + 1 of a half in one register, or K = 8 of tf32, element q of a half.
// Either way a row of A or a column of B is 32 bytes, so that one load_matrix serves both.
#pragma once
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "launch.cuh"
#ifdef AAFAST_EMULATED
#include "tensor_cores.h"
#endif

namespace aafast {

using Fragment = unsigned[4];

// Four 8 x 16-byte matrices: lane 8 m + r gives the address (shared memory, 16-byte aligned) of row r of matrix m; lane
// 4 g + q gets word q of row g of matrix m in to[m].
__device__ __forceinline__ void load_matrix(Fragment& to, const void* row) {
#ifdef AAFAST_EMULATED
  emulated::load_matrix(row, false, to);
#else
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
#endif
}

// The same of the transposed matrices of 16-bit elements: lane 4 g + q gets rows 2 q and 2 q + 1 of column g.
__device__ __forceinline__ void load_matrix_transposed(Fragment& to, const void* row) {
#ifdef AAFAST_EMULATED
  emulated::load_matrix(row, true, to);
#else
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
#endif
}

// c += A B on fp16, m16n8k16.
__device__ __forceinline__ void mma_half(float (&c)[4], const Fragment& a, unsigned b0, unsigned b1) {
#ifdef AAFAST_EMULATED
  const unsigned b[2] = {b0, b1};
  emulated::publish_operands(a, 4, b, 2);
  emulated::multiply<16>(c, emulated::half_a, emulated::half_b);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

// c += A B on tf32, m16n8k8. The operands' low 13 bits are ignored: round them first.
__device__ __forceinline__ void mma_tf32(float (&c)[4], const Fragment& a, unsigned b0, unsigned b1) {
#ifdef AAFAST_EMULATED
  const unsigned b[2] = {b0, b1};
  emulated::publish_operands(a, 4, b, 2);
  emulated::multiply<8>(c, emulated::tf32_a, emulated::tf32_b);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

// Rounded to tf32: to nearest, ties away from zero; still an fp32 number.
__device__ __forceinline__ float round_tf32(float v) {
#ifdef AAFAST_EMULATED
  std::uint32_t word;
  std::memcpy(&word, &v, 4);
  if ((word & 0x7f800000u) != 0x7f800000u) word = (word + 0x1000u) & 0xffffe000u;
  std::memcpy(&v, &word, 4);
  return v;
#else
  unsigned word;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(word) : "f"(v));
  return __uint_as_float(word);
#endif
}

// Starts to copy 16 bytes from global to shared memory, or 16 zero bytes where not `present`; `from` is not read then.
// The bytes are there for this thread after wait_copies, for others after a barrier behind it.
__device__ __forceinline__ void copy_async(void* to, const void* from, bool present = true) {
#ifdef AAFAST_EMULATED
  emulated::copy_async(to, from, present);
#else
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(to));
  const int bytes = present ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(bytes) : "memory");
#endif
}

// Closes a group of copies.
__device__ __forceinline__ void commit_copies() {
#ifdef AAFAST_EMULATED
  emulated::commit_copies();
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most kPending of this thread's latest groups are under way.
template <int kPending>
__device__ __forceinline__ void wait_copies() {
#ifdef AAFAST_EMULATED
  emulated::wait_copies(kPending);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

// Barrier `index` (1 to 15; 0 is that of __syncthreads) of `count` threads, whole warps, with their shared memory made
// visible to each other.
__device__ __forceinline__ void named_barrier(int index, int count) {
#ifdef AAFAST_EMULATED
  emulated::named_barrier(index, count);
#else
  asm volatile("bar.sync %0, %1;" ::"r"(index), "r"(count) : "memory");
#endif
}

// Asks for the line at `address` (global) to be brought into the L2 cache.
__device__ __forceinline__ void prefetch(const void* address) {
#ifndef AAFAST_EMULATED
  asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
#else
  (void)address;
#endif
}

}  // namespace aafast
