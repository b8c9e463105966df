// OpenMP, or one thread where the compiler has none.
#pragma once
#ifdef _OPENMP
#include <omp.h>
#endif

namespace aafast {

inline int thread_number() {
#ifdef _OPENMP
  return omp_get_thread_num();
#else
  return 0;
#endif
}

}  // namespace aafast
