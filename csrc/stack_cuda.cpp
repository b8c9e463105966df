// The Python face of the stack of convolutions on a CUDA device: addresses and sizes, rows as (address, step) pairs.
#if AAFAST_WITH_CUDA
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "aafast/cuda_stack.h"

namespace py = pybind11;
using namespace aafast;
using Address = std::uintptr_t;
using Unlocked = py::call_guard<py::gil_scoped_release>;
using Row = std::pair<Address, i64>;  // address, elements (of packed weights: bytes) from one sample's row to the next

namespace {

template <class T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

template <class T>
std::vector<T*> all_at(const std::vector<Address>& addresses) {
  std::vector<T*> found;
  for (const Address one : addresses) found.push_back(at<T>(one));
  return found;
}

std::vector<Rows<float>> rows(const std::vector<Row>& given) {
  std::vector<Rows<float>> found;
  for (const auto& [address, stride] : given) found.push_back({at<const float>(address), stride});
  return found;
}

using Weights = std::tuple<Row, std::vector<Row>, std::vector<Row>, std::vector<Row>>;

CudaStackWeights weights(const Weights& given) {
  const auto& [packed, bias, norm_weight, norm_bias] = given;
  return {{at<const char>(packed.first), packed.second}, rows(bias), rows(norm_weight), rows(norm_bias)};
}

Arithmetic arithmetic(const std::string& name) {
  if (name == "half") return Arithmetic::half;
  if (name == "tf32") return Arithmetic::tf32;
  if (name == "single") return Arithmetic::single;
  throw std::invalid_argument("arithmetic is half, tf32 or single");
}

}  // namespace

void bind_cuda_stack(py::module_& m) {
  // Of this module alone: tests load several builds of it in one process.
  py::class_<CudaStack>(m, "CudaStack", py::module_local())
      .def(py::init([](std::vector<int> channels, std::vector<bool> normed, int groups, const std::string& name) {
        return CudaStack(std::move(channels), std::move(normed), groups, arithmetic(name));
      }))
      .def("packed_size", &CudaStack::packed_size)
      .def("saved_size", [](const CudaStack& s, int height, int width) { return s.saved_size({height, width}); })
      .def("forward_workspace",
           [](const CudaStack& s, int height, int width, i64 batch, bool saves) {
             return s.forward_workspace({height, width}, batch, saves);
           })
      .def("backward_workspace",
           [](const CudaStack& s, int height, int width, i64 batch, bool want) {
             return s.backward_workspace({height, width}, batch, want);
           })
      .def("pack",
           [](const CudaStack& s, const std::vector<Address>& given, i64 sets, bool adjoint, int device, Address stream,
              Address packed) {
             s.pack(all_at<const float>(given), sets, adjoint, device, at<void>(stream), at<void>(packed));
           },
           Unlocked())
      .def("forward",
           [](const CudaStack& s, int height, int width, i64 batch, const std::vector<Row>& planes, const Weights& w,
              Address status, int device, Address stream, Address saved, Address workspace, Address out) {
             s.forward({height, width}, batch, rows(planes), weights(w), at<const std::int8_t>(status), device,
                       at<void>(stream), at<void>(saved), at<void>(workspace), at<float>(out));
           },
           Unlocked())
      .def("backward",
           [](const CudaStack& s, int height, int width, i64 batch, const std::vector<Row>& planes, const Weights& w,
              Address d_out, Address saved, float loss_scale, Address status, int device, Address stream,
              Address workspace, Address d_in, const std::vector<std::vector<Address>>& want) {
             CudaStackGradients wanted;
             if (!want.empty())
               wanted = {all_at<float>(want[0]), all_at<float>(want[1]), all_at<float>(want[2]),
                        all_at<float>(want[3])};
             s.backward({height, width}, batch, rows(planes), weights(w), at<const float>(d_out), at<const void>(saved),
                        loss_scale, at<const std::int8_t>(status), device, at<void>(stream), at<void>(workspace),
                        at<float>(d_in), wanted);
           },
           Unlocked());
}
#endif
