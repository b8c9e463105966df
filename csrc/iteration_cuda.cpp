// The Python face of cuda_iteration.h: functions of addresses and sizes, structures as tuples of their fields.
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
using Row = std::pair<Address, i64>;    // address, elements from one sample's row to the next
using Place = std::pair<int, Address>;  // device, stream

namespace {

template <class T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

Where where_of(const Place& given) { return {given.first, at<void>(given.second)}; }

const std::int8_t* flags(Address address) { return at<const std::int8_t>(address); }

using Step = std::tuple<double, double, double, double, double>;
using Count = std::tuple<Address, int, int, i64>;

AdamwStep step_of(const Step& given) {
  const auto& [lr, weight_decay, eps, beta1, beta2] = given;
  return {lr, weight_decay, eps, beta1, beta2};
}

AdamwCount count_of(const Count& given) {
  const auto& [iterations, steps, step, batch] = given;
  return {at<const std::int32_t>(iterations), steps, step, batch};
}

void bind_pointwise(py::module_& m) {
  m.def("additive_seeds_cuda",
        [](i64 batch, int channels, i64 pixels, int f_channels, float scale, float gamma, Address nominal, Address f,
           Address linear, Address y, Address status, const Place& where, Address d_nominal, Address d_f) {
          additive_seeds_cuda({batch, channels, pixels, f_channels, scale, gamma}, at<const float>(nominal),
                              at<const float>(f), at<const float>(linear), at<const float>(y), flags(status),
                              where_of(where), at<float>(d_nominal), at<float>(d_f));
        },
        Unlocked());
  m.def("haze_seeds_cuda",
        [](i64 batch, i64 length, float scale, float gamma, Address nominal, Address light, Address logit, Address y,
           Address status, const Place& where, Address d_nominal, Address d_light, Address d_logit) {
          haze_seeds_cuda(batch, length, scale, gamma, at<const float>(nominal), at<const float>(light),
                          at<const float>(logit), at<const float>(y), flags(status), where_of(where),
                          at<float>(d_nominal), at<float>(d_light), at<float>(d_logit));
        },
        Unlocked());
  m.def("z_point_cuda",
        [](i64 batch, i64 length, double pull, double keep, double lr, double eps, double step, Address towards,
           Address extra, Address x, Address start, Address status, const Place& where, Address z, Address point) {
          z_point_cuda(batch, length, {pull, keep, lr, eps, step}, at<const float>(towards), at<const float>(extra),
                       at<const float>(x), at<const float>(start), flags(status), where_of(where), at<float>(z),
                       at<float>(point));
        },
        Unlocked());
}

void bind_adamw(py::module_& m) {
  using Tensor = std::tuple<Address, Address, Address, Address, i64, i64>;
  m.def("adamw_cuda",
        [](const std::vector<Tensor>& given, i64 sets, const Step& rule, const Count& count, Address status,
           const Place& where) {
          std::vector<AdamwTensor> tensors;
          for (const auto& [theta, first, second, gradient, n, gradients] : given)
            tensors.push_back({at<float>(theta), at<float>(first), at<float>(second), at<const float>(gradient), n,
                               gradients});
          adamw_cuda(tensors, sets, step_of(rule), count_of(count), flags(status), where_of(where));
        },
        Unlocked());
  m.def("adamw_outer_cuda",
        [](int outputs, int inputs, Address left, Address right, const Step& rule, const Count& count, Address status,
           const Place& where, Address theta, Address first, Address second) {
          adamw_outer_cuda(outputs, inputs, at<const float>(left), at<const float>(right), step_of(rule),
                           count_of(count), flags(status), where_of(where), at<float>(theta), at<float>(first),
                           at<float>(second));
        },
        Unlocked());
}

template <class T>
void bind_correlations(py::module_& m, const std::string& suffix) {
  const auto name = [&](const char* base) { return std::string(base) + "_cuda_" + suffix; };
  m.def(name("correlate_time").c_str(),
        [](i64 batch, int time, int traces, int taps, const Row& kernels, bool reverse, bool add, Address in,
           Address status, const Place& where, Address out) {
          correlate_time_cuda(batch, time, traces, taps, at<const T>(kernels.first), kernels.second, reverse, add,
                              at<const T>(in), flags(status), where_of(where), at<T>(out));
        },
        Unlocked());
  m.def(name("correlate_time_kernel").c_str(),
        [](i64 batch, int time, int traces, int taps, bool reverse, Address gradient, Address in, Address status,
           const Place& where, Address out) {
          correlate_time_kernel_cuda(batch, time, traces, taps, reverse, at<const T>(gradient), at<const T>(in),
                                     flags(status), where_of(where), at<T>(out));
        },
        Unlocked());
  m.def(name("correlate_planes").c_str(),
        [](i64 batch, int channels, int height, int width, int size, const Row& kernels, i64 channel_stride,
           bool reverse, Address in, Address status, const Place& where, Address out) {
          correlate_planes_cuda(batch, channels, height, width, size, at<const T>(kernels.first), kernels.second,
                                channel_stride, reverse, at<const T>(in), flags(status), where_of(where), at<T>(out));
        },
        Unlocked());
  m.def(name("correlate_separable").c_str(),
        [](i64 batch, int channels, int height, int width, int size, const Row& columns, Address rows,
           i64 channel_stride, bool reverse, Address in, Address status, const Place& where, Address scratch,
           Address out) {
          correlate_separable_cuda(batch, channels, height, width, size, at<const T>(columns.first),
                                   at<const T>(rows), columns.second, channel_stride, reverse, at<const T>(in),
                                   flags(status), where_of(where), at<T>(scratch), at<T>(out));
        },
        Unlocked());
}

// A word out of two, or ValueError.
bool is_first(const char* what, const std::string& word, const char* first, const char* second) {
  if (word != first && word != second)
    throw std::invalid_argument(std::string(what) + " " + word + ": " + first + " or " + second);
  return word == first;
}

void bind_fixed_point(py::module_& m) {
  using Given = std::tuple<std::string, int, std::optional<double>, double, bool, double, double, double, int,
                           std::string>;
  using State = std::tuple<Address, Address, Address, Address, Address, Address, Address, Address, Address>;
  using Outputs = std::tuple<Address, Address, Address, Address>;
  m.def("fixed_point_step_cuda_scratch", &fixed_point_step_cuda_scratch);
  m.def("fixed_point_step_cuda",
        [](const std::pair<i64, i64>& size, const Given& given, const State& state, Address image, const Place& where,
           Address scratch, Address x, const Outputs& out) {
          const auto& [kind, window, beta, ridge, relative, restart, drop, tol, max_iter, keep] = given;
          const auto& [X, F, gram, mean, betas, least, best, status, iterations] = state;
          const auto& [residuals, better, kept_point, kept_image] = out;
          const bool anderson = is_first("solver", kind, "anderson", "picard");
          const FixedPointRule rule{anderson, window,  !beta, beta.value_or(1.0), ridge, relative, restart,
                                    drop,     tol,     max_iter, is_first("keep", keep, "best", "last")};
          fixed_point_step_cuda(
              size.first, size.second, rule,
              {at<float>(X), at<float>(F), at<float>(gram), at<float>(mean), at<float>(betas), at<float>(least),
               at<float>(best), at<std::int8_t>(status), at<std::int32_t>(iterations)},
              at<const float>(image), where_of(where), at<double>(scratch), at<float>(x),
              {at<float>(residuals), at<std::int8_t>(better), at<float>(kept_point), at<float>(kept_image)});
        },
        Unlocked());
  m.def("keep_rows_cuda",
        [](const std::vector<std::tuple<Address, Address, i64>>& given, i64 batch, Address better,
           const Place& where) {
          std::vector<KeptRows> tensors;
          for (const auto& [from, to, bytes] : given) tensors.push_back({at<const void>(from), at<void>(to), bytes});
          keep_rows_cuda(tensors, batch, flags(better), where_of(where));
        },
        Unlocked());
}

void bind_loops(py::module_& m) {
  m.def("graph_while_supported", &graph_while_supported);
  m.def("graph_while_build",
        [](Address body, Address status, i64 batch, Address turns, int max_turns, int device) {
          return Address(graph_while_build(at<void>(body), flags(status), batch, at<std::int32_t>(turns), max_turns,
                                           device));
        },
        Unlocked());
  m.def("graph_while_launch",
        [](Address loop, Address stream) { graph_while_launch(at<void>(loop), at<void>(stream)); }, Unlocked());
  m.def("graph_while_destroy", [](Address loop) { graph_while_destroy(at<void>(loop)); }, Unlocked());
}

}  // namespace

void bind_cuda_iteration(py::module_& m) {
  bind_pointwise(m);
  bind_adamw(m);
  m.def("correlate_separable_cuda_scratch", &correlate_separable_cuda_scratch);
  bind_correlations<float>(m, "float32");
  bind_correlations<double>(m, "float64");
  bind_fixed_point(m);
  bind_loops(m);
}
#endif
