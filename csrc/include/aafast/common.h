// What every source shares. Pointers and sizes only: this module knows neither Python tensors nor torch.
#pragma once
#include <cstdint>

namespace aafast {

using i64 = std::int64_t;

// Elements one thread takes at a time. Fixed, so that sums are added in the same order whatever the number of
// threads or samples.
constexpr i64 kChunk = 16384;

constexpr i64 divide_up(i64 a, i64 b) { return (a + b - 1) / b; }

}  // namespace aafast

// Wider vectors where the processor has them, chosen when the module is loaded.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define AAFAST_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define AAFAST_CLONES
#endif
#define AAFAST_INLINE inline __attribute__((always_inline))
