// anderson_mix: one new row of the Gram matrix of G = F - X, the bordered system of Anderson acceleration
// solved with pivots, the mix of the valid rows, and the two norms of the stop test.
#pragma once
#include "aafast/common.h"

namespace aafast {

constexpr int kMaxRows = 16;

struct MixShape {
  i64 batch;   // B
  int slots;   // m, rows of the ring buffers, at most kMaxRows
  i64 length;  // N
  int newest;  // row written last
  int count;   // rows 0..count-1 are valid
};

struct MixRule {
  double ridge;   // added to the diagonal of the Gram matrix
  double beta;    // weight of F against X
  bool relative;  // ridge is in units of the mean valid diagonal
};

template <class T>
struct MixInputs {
  const T* X;     // [B, m, N]
  const T* F;     // [B, m, N]
  const T* gram;  // [B, m, m], row and column `newest` stale
};

template <class T>
struct MixOutputs {
  T* x;      // [B, N]
  T* gram;   // [B, m, m], row and column `newest` fresh
  T* alpha;  // [B, m], zero from `count` on
  T* norms;  // [B, 2], ||F_newest - X_newest||^2 and ||F_newest||^2
};

template <class T>
void anderson_mix_cpu(const MixInputs<T>& in, const MixShape& shape, const MixRule& rule, int threads,
                      const MixOutputs<T>& out);

struct StepRule {
  MixRule mix;              // its beta is not looked at where `adapted`
  bool adapted;             // beta from what the last step did to the mixed residual
  double restart2, drop2;   // the squares of restart and drop; 0: never
};

// The state of Anderson acceleration, changed in place.
template <class T>
struct StepMemory {
  T* X;      // [B, m, N]
  T* F;      // [B, m, N]
  T* gram;   // [B, m, m]
  T* mean;   // [B, N], the mixed residual; adapted only
  T* beta;   // [B]; adapted only
  T* least;  // [B], the least squared residual since the last restart; where restart2 > 0
};

// One whole proposal: enters x and its image as row `newest`, mixes, adapts the damping, lets points go.
// x, image: [B, N]; evaluations: those made before this one; point: [B, N]; norms: [B, 2].
template <class T>
void anderson_step_cpu(const T* x, const T* image, const MixShape& shape, const StepRule& rule, i64 evaluations,
                       int threads, const StepMemory<T>& memory, T* point, T* norms);

// Doubles of scratch that anderson_mix_cuda needs.
i64 anderson_mix_cuda_scratch(const MixShape& shape);

// Throws std::runtime_error if the launch is refused.
template <class T>
void anderson_mix_cuda(const MixInputs<T>& in, const MixShape& shape, const MixRule& rule, int device,
                       void* stream, double* scratch, const MixOutputs<T>& out);

}  // namespace aafast
