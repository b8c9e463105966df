// The Python face of the engine on a CUDA device: functions of addresses and sizes. Checks are made by the callers in
// aafast.ops and aafast.engine.
#if AAFAST_WITH_CUDA
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <utility>
#include <vector>

namespace py = pybind11;

void bind_cuda_iteration(py::module_& m);  // iteration_cuda.cpp
void bind_cuda_stack(py::module_& m);      // stack_cuda.cpp

void bind_cuda_engine(py::module_& m) {
  bind_cuda_iteration(m);
  bind_cuda_stack(m);
}
#endif
