// The Python face of the CPU engine: stacks of convolutions and the operations of an iteration, by addresses and
// sizes. Checks are made by the callers in aafast.ops and aafast.engine.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "aafast/isa.h"
#include "aafast/iteration.h"
#include "aafast/stack.h"
#include "aafast/wide_layer.h"

namespace py = pybind11;
using namespace aafast;
using Address = std::uintptr_t;
using Unlocked = py::call_guard<py::gil_scoped_release>;
using Row = std::pair<Address, i64>;  // address, elements from one sample's row to the next

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

template <class T>
std::vector<Rows<T>> rows(const std::vector<Row>& given) {
  std::vector<Rows<T>> found;
  for (const auto& [address, stride] : given) found.push_back({at<const T>(address), stride});
  return found;
}

using Weights = std::tuple<Row, std::vector<Row>, std::vector<Row>, std::vector<Row>>;

template <class T>
StackWeights<T> weights(const Weights& given) {
  const auto& [packed, bias, norm_weight, norm_bias] = given;
  return {{at<const T>(packed.first), packed.second}, rows<T>(bias), rows<T>(norm_weight), rows<T>(norm_bias)};
}

std::vector<AdamwRule> rules(const std::vector<std::pair<double, double>>& sizes, double keep, double eps) {
  std::vector<AdamwRule> found;
  for (const auto& [size, unbias] : sizes) found.push_back({keep, size, unbias, eps, 0.9, 0.999});
  return found;
}

template <class T>
void bind(py::module_& m, const std::string& suffix) {
  py::class_<Stack<T>>(m, ("Stack_" + suffix).c_str())
      .def(py::init<std::vector<int>, std::vector<bool>, int, int>())
      .def_property_readonly("isa", &Stack<T>::isa)
      .def("packed_size", &Stack<T>::packed_size)
      .def("saved_size", [](const Stack<T>& s, int height, int width) { return s.saved_size({height, width}); })
      .def("forward_workspace",
           [](const Stack<T>& s, int height, int width, i64 batch, int threads, bool saves) {
             return s.forward_workspace({height, width}, batch, threads, saves);
           })
      .def("backward_workspace",
           [](const Stack<T>& s, int height, int width, i64 batch, int threads, bool want) {
             return s.backward_workspace({height, width}, batch, threads, want);
           })
      .def("pack",
           [](const Stack<T>& s, const std::vector<Address>& given, i64 sets, bool adjoint, int threads,
              Address packed) { s.pack(all_at<const T>(given), sets, adjoint, threads, at<T>(packed)); },
           Unlocked())
      .def("forward",
           [](const Stack<T>& s, int height, int width, i64 batch, const std::vector<Row>& planes, const Weights& w,
              int threads, Address saved, Address workspace, Address out) {
             s.forward({height, width}, batch, rows<T>(planes), weights<T>(w), threads, at<T>(saved), at<T>(workspace),
                       at<T>(out));
           },
           Unlocked())
      .def("backward",
           [](const Stack<T>& s, int height, int width, i64 batch, const std::vector<Row>& planes, const Weights& w,
              Address d_out, Address saved, int threads, Address workspace, Address d_in,
              const std::vector<std::vector<Address>>& want) {
             StackGradients<T> wanted;
             if (!want.empty())
               wanted = {all_at<T>(want[0]), all_at<T>(want[1]), all_at<T>(want[2]), all_at<T>(want[3])};
             s.backward({height, width}, batch, rows<T>(planes), weights<T>(w), at<const T>(d_out), at<const T>(saved),
                        threads, at<T>(workspace), at<T>(d_in), wanted);
           },
           Unlocked());

  m.def(("wide_packed_size_cpu_" + suffix).c_str(), &wide_packed_size<T>);
  m.def(("wide_pack_cpu_" + suffix).c_str(),
        [](Address weight, int inputs, int outputs, int tile, bool adjoint, Address packed) {
          wide_pack(at<const T>(weight), inputs, outputs, tile, adjoint, at<T>(packed));
        },
        Unlocked());
  // shape: height, width, inputs, outputs, tile, batch
  using Shape = std::tuple<int, int, int, int, int, i64>;
  const auto layer = [](const Shape& s, Address packed) {
    const auto& [height, width, inputs, outputs, tile, batch] = s;
    return WideLayer<T>{{height, width}, inputs, outputs, tile, batch, at<const T>(packed)};
  };
  m.def(("wide_forward_cpu_" + suffix).c_str(),
        [layer](const Shape& shape, Address packed, Address x, Address a, Address b, Address y, Address sums,
                int threads) {
          wide_forward(layer(shape, packed), at<const T>(x), at<const T>(a), at<const T>(b), at<T>(y),
                       at<double>(sums), threads);
        },
        Unlocked());
  m.def(("wide_input_gradient_cpu_" + suffix).c_str(),
        [layer](const Shape& shape, Address packed, Address d, Address h, Address pqr, Address x, Address a, Address b,
                Address d_x, Address sums, int threads) {
          wide_input_gradient(layer(shape, packed), at<const T>(d), at<const T>(h), at<const T>(pqr), at<const T>(x),
                              at<const T>(a), at<const T>(b), at<T>(d_x), at<double>(sums), threads);
        },
        Unlocked());
  m.def(("wide_weight_gradient_cpu_" + suffix).c_str(),
        [layer](const Shape& shape, Address x, Address a, Address b, Address d, Address h, Address pqr,
                Address gradient, int threads) {
          wide_weight_gradient(layer(shape, 0), at<const T>(x), at<const T>(a), at<const T>(b), at<const T>(d),
                               at<const T>(h), at<const T>(pqr), at<T>(gradient), threads);
        },
        Unlocked());

  const auto name = [&](const char* base) { return std::string(base) + "_cpu_" + suffix; };
  m.def(name("adamw").c_str(),
        [](const std::vector<std::pair<double, double>>& sizes, double keep, double eps, i64 sets, i64 n,
           Address gradient, const std::vector<Address>& state, int threads) {
          const auto s = all_at<T>(state);
          adamw_cpu<T>(rules(sizes, keep, eps), sets, n, at<const T>(gradient), {s[0], s[1], s[2], s[3], s[4], s[5]},
                       threads);
        },
        Unlocked());
  m.def(name("adamw_outer").c_str(),
        [](std::pair<double, double> size, double keep, double eps, int batch, int outputs, int inputs, Address left,
           Address right, const std::vector<Address>& state, int threads) {
          const auto s = all_at<T>(state);
          adamw_outer_cpu<T>(rules({size}, keep, eps)[0], batch, outputs, inputs, at<const T>(left),
                             at<const T>(right), {s[0], s[1], s[2], s[3], s[4], s[5]}, threads);
        },
        Unlocked());
  m.def(name("correlate_time").c_str(),
        [](i64 batch, int time, int traces, int taps, Row kernels, bool reverse, bool add, Address in, Address out,
           int threads) {
          correlate_time_cpu(batch, time, traces, taps, at<const T>(kernels.first), kernels.second, reverse, add,
                             at<const T>(in), at<T>(out), threads);
        },
        Unlocked());
  m.def(name("correlate_time_kernel").c_str(),
        [](i64 batch, int time, int traces, int taps, Address gradient, Address in, Address out, int threads) {
          correlate_time_kernel_cpu(batch, time, traces, taps, at<const T>(gradient), at<const T>(in), at<T>(out),
                                    threads);
        },
        Unlocked());
  m.def(name("correlate_planes").c_str(),
        [](i64 batch, int channels, int height, int width, int size, Row kernels, i64 channel_stride, bool reverse,
           Address in, Address out, int threads) {
          correlate_planes_cpu(batch, channels, height, width, size, at<const T>(kernels.first), kernels.second,
                               channel_stride, reverse, at<const T>(in), at<T>(out), threads);
        },
        Unlocked());
  m.def(name("correlate_separable").c_str(),
        [](i64 batch, int channels, int height, int width, int size, Row columns, Address rows_, i64 channel_stride,
           bool reverse, Address in, Address scratch, Address out, int threads) {
          correlate_separable_cpu(batch, channels, height, width, size, at<const T>(columns.first),
                                  at<const T>(rows_), columns.second, channel_stride, reverse, at<const T>(in),
                                  at<T>(scratch), at<T>(out), threads);
        },
        Unlocked());
  m.def(name("additive_seeds").c_str(),
        [](i64 batch, int channels, i64 pixels, int f_channels, double scale, double gamma, Address nominal, Address f,
           Address y, Address d_nominal, Address d_f, Address misfit, int threads) {
          additive_seeds_cpu(batch, {channels, pixels}, f_channels, scale, gamma, at<const T>(nominal), at<const T>(f),
                             at<const T>(y), at<T>(d_nominal), at<T>(d_f), at<double>(misfit), threads);
        },
        Unlocked());
  m.def(name("haze_seeds").c_str(),
        [](i64 batch, int channels, i64 pixels, double scale, double gamma, Address nominal, Address light,
           Address logit, Address y, Address d_nominal, Address d_light, Address d_logit, Address misfit, int threads) {
          haze_seeds_cpu(batch, {channels, pixels}, scale, gamma, at<const T>(nominal), at<const T>(light),
                         at<const T>(logit), at<const T>(y), at<T>(d_nominal), at<T>(d_light), at<T>(d_logit),
                         at<double>(misfit), threads);
        },
        Unlocked());
  m.def(name("prox_point").c_str(),
        [](i64 n, double step, Address x, Address z, Address start, Address point, int threads) {
          prox_point_cpu(n, step, at<const T>(x), at<const T>(z), at<const T>(start), at<T>(point), threads);
        },
        Unlocked());
}

}  // namespace

void bind_engine(py::module_& m) {
  m.def("isa_names", &isa_names);
  m.def("select_isa", &select_isa);
  m.def("selected_isa", &selected_isa);
  bind<float>(m, "float32");
  bind<double>(m, "float64");
}
