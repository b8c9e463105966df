// What csrc/cuda/mma.cuh wraps, lane by lane on the CPU: the real instructions' exchange of registers between the lanes
// of a warp, and copies that land no sooner than they are waited for.
#pragma once
#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace emulated {

// Publishes a lane's registers to its warp; lane_word(lane, index) then reads any lane's.
inline void publish(const void* words, std::size_t bytes) {
  Thread& me = threads[current];
  me.turn ^= 1;
  std::memcpy(me.wide_slots[me.turn], words, bytes);
  wait(kAtWarp);
}

template <class T>
T lane_word(int lane, int index) {
  T value;
  std::memcpy(&value, threads[current - current % block_size % kLanes + lane].wide_slots[threads[current].turn] +
                          index * sizeof(T), sizeof(T));
  return value;
}

inline int lane() { return current % block_size % kLanes; }

// ldmatrix.x4: lane 8 m + r holds the address of row r (16 bytes) of matrix m; lane i gets word i % 4 of row i / 4 of
// each matrix, or with `transposed` (of 16-bit elements) elements 2 (i % 4) and 2 (i % 4) + 1 of column i / 4.
inline void load_matrix(const void* row, bool transposed, unsigned (&to)[4]) {
  if (reinterpret_cast<std::uintptr_t>(row) % 16) throw std::runtime_error("a row of a matrix is not aligned");
  publish(row, 16);
  const int i = lane();
  for (int m = 0; m < 4; ++m) {
    if (!transposed) {
      to[m] = lane_word<unsigned>(8 * m + i / 4, i % 4);
    } else {
      const unsigned low = lane_word<std::uint16_t>(8 * m + i % 4 * 2, i / 4);
      const unsigned high = lane_word<std::uint16_t>(8 * m + i % 4 * 2 + 1, i / 4);
      to[m] = low | high << 16;
    }
  }
}

inline void publish_operands(const unsigned* a, int a_count, const unsigned* b, int b_count) {
  unsigned words[6];
  std::copy(a, a + a_count, words);
  std::copy(b, b + b_count, words + 4);
  publish(words, sizeof(words));
}

// Element (row, k) of A and (k, column) of B of mma.m16n8k16 on fp16.
inline float half_a(int row, int k) {
  const int reg = (row >= 8) + 2 * (k >= 8);
  return float_of(lane_word<std::uint16_t>(row % 8 * 4 + k % 8 / 2, 2 * reg + k % 2));
}
inline float half_b(int k, int column) {
  return float_of(lane_word<std::uint16_t>(column * 4 + k % 8 / 2, 2 * (4 + (k >= 8)) + k % 2));
}

// The same of mma.m16n8k8 on tf32, which reads the upper 19 bits of a register.
inline float tf32_of(unsigned word) {
  float value;
  word &= 0xffffe000u;
  std::memcpy(&value, &word, 4);
  return value;
}
inline float tf32_a(int row, int k) {
  return tf32_of(lane_word<unsigned>(row % 8 * 4 + k % 4, (row >= 8) + 2 * (k >= 4)));
}
inline float tf32_b(int k, int column) { return tf32_of(lane_word<unsigned>(column * 4 + k % 4, 4 + (k >= 4))); }

// Lane 4 g + q holds rows g, g, g + 8, g + 8 and columns 2 q, 2 q + 1, 2 q, 2 q + 1 of C.
template <int kDepth, class A, class B>
void multiply(float (&c)[4], const A& a, const B& b) {
  const int g = lane() / 4, q = lane() % 4;
  for (int i = 0; i < 4; ++i) {
    double sum = c[i];
    for (int k = 0; k < kDepth; ++k) sum += double(a(g + i / 2 * 8, k)) * double(b(k, 2 * q + i % 2));
    c[i] = float(sum);
  }
}

inline void land(const Copy& copy) {
  if (copy.from)
    std::memcpy(copy.to, copy.from, 16);
  else
    std::memset(copy.to, 0, 16);
}

// cp.async of 16 bytes. The destination holds poison until the thread has waited.
inline void copy_async(void* to, const void* from, bool present) {
  if (reinterpret_cast<std::uintptr_t>(to) % 16 || (present && reinterpret_cast<std::uintptr_t>(from) % 16))
    throw std::runtime_error("a copy is not aligned to 16 bytes");
  std::memset(to, kPoison, 16);
  threads[current].copies.push_back({to, present ? from : nullptr, threads[current].committed});
}

inline void commit_copies() { ++threads[current].committed; }

// Waits until at most `pending` of the latest committed groups are under way.
inline void wait_copies(int pending) {
  Thread& me = threads[current];
  std::vector<Copy> later;
  for (const Copy& copy : me.copies) {
    if (copy.group < me.committed - pending)
      land(copy);
    else
      later.push_back(copy);
  }
  me.copies = later;
}

inline void named_barrier(int index, int count) {
  threads[current].barrier = index, threads[current].expected = count;
  wait(kAtNamed);
}

}  // namespace emulated
