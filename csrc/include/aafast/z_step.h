// z_step: out = z * keep - lr * g / (|g| + eps), with keep = 1 - lr * weight_decay.
#pragma once
#include "aafast/common.h"

namespace aafast {

template <class T>
void z_step_cpu(const T* z,  // [n]
                const T* g,  // [n]
                i64 n, double keep, double lr, double eps, int threads,
                T* out);  // [n]

// Throws std::runtime_error if the launch is refused.
template <class T>
void z_step_cuda(const T* z,  // [n]
                 const T* g,  // [n]
                 i64 n, double keep, double lr, double eps, int device, void* stream,
                 T* out);  // [n]

}  // namespace aafast
