// The Python face of the engine on a CUDA device: functions of addresses and sizes. Checks are made by the callers in
// aafast.ops and aafast.engine.
#if AAFAST_WITH_CUDA
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "aafast/cuda_iteration.h"

namespace py = pybind11;
using namespace aafast;
using Address = std::uintptr_t;
using Unlocked = py::call_guard<py::gil_scoped_release>;
using Row = std::pair<Address, i64>;  // address, elements from one sample's row to the next

void bind_cuda_engine(py::module_& m) {
  (void)m;
}
#endif
