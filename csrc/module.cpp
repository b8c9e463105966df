// The Python face of the native code: functions of addresses and sizes. Every check of shape, dtype, device
// and stride is made by aafast.ops before it calls in here.
#include <pybind11/pybind11.h>

#include <string>

#include "aafast/anderson_mix.h"
#include "aafast/runtime.h"
#include "aafast/z_step.h"

namespace py = pybind11;
using namespace aafast;
using Address = std::uintptr_t;
using Unlocked = py::call_guard<py::gil_scoped_release>;

#ifndef AAFAST_WITH_ENGINE  // 0 where tests need the operations alone
#define AAFAST_WITH_ENGINE 1
#endif
#if AAFAST_WITH_ENGINE
void bind_engine(py::module_& m);  // engine.cpp
#endif
#if AAFAST_WITH_CUDA
void bind_cuda_engine(py::module_& m);  // engine_cuda.cpp
#endif

namespace {

template <class T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

template <class T>
void bind_cpu(py::module_& m, const std::string& suffix) {
  m.def(("z_step_cpu_" + suffix).c_str(),
        [](Address z, Address g, i64 n, double keep, double lr, double eps, int threads, Address out) {
          z_step_cpu(at<const T>(z), at<const T>(g), n, keep, lr, eps, threads, at<T>(out));
        },
        Unlocked());
  m.def(("anderson_mix_cpu_" + suffix).c_str(),
        [](Address X, Address F, Address gram, i64 batch, int slots, i64 length, int newest, int count,
           double ridge, double beta, bool relative, int threads, Address x, Address gram_out, Address alpha,
           Address norms) {
          anderson_mix_cpu<T>({at<const T>(X), at<const T>(F), at<const T>(gram)},
                              {batch, slots, length, newest, count}, {ridge, beta, relative}, threads,
                              {at<T>(x), at<T>(gram_out), at<T>(alpha), at<T>(norms)});
        },
        Unlocked());
  m.def(("anderson_step_cpu_" + suffix).c_str(),
        [](Address x, Address image, i64 batch, int slots, i64 length, int newest, int count, double ridge,
           double beta, bool relative, bool adapted, double restart2, double drop2, i64 evaluations, int threads,
           Address X, Address F, Address gram, Address mean, Address damping, Address least, Address point,
           Address norms) {
          anderson_step_cpu<T>(at<const T>(x), at<const T>(image), {batch, slots, length, newest, count},
                               {{ridge, beta, relative}, adapted, restart2, drop2}, evaluations, threads,
                               {at<T>(X), at<T>(F), at<T>(gram), at<T>(mean), at<T>(damping), at<T>(least)},
                               at<T>(point), at<T>(norms));
        },
        Unlocked());
}

#if AAFAST_WITH_CUDA
template <class T>
void bind_cuda(py::module_& m, const std::string& suffix) {
  m.def(("z_step_cuda_" + suffix).c_str(),
        [](Address z, Address g, i64 n, double keep, double lr, double eps, int device, Address stream,
           Address out) {
          z_step_cuda(at<const T>(z), at<const T>(g), n, keep, lr, eps, device, at<void>(stream), at<T>(out));
        },
        Unlocked());
  m.def(("anderson_mix_cuda_" + suffix).c_str(),
        [](Address X, Address F, Address gram, i64 batch, int slots, i64 length, int newest, int count,
           double ridge, double beta, bool relative, int device, Address stream, Address scratch, Address x,
           Address gram_out, Address alpha, Address norms) {
          anderson_mix_cuda<T>({at<const T>(X), at<const T>(F), at<const T>(gram)},
                               {batch, slots, length, newest, count}, {ridge, beta, relative}, device,
                               at<void>(stream), at<double>(scratch),
                               {at<T>(x), at<T>(gram_out), at<T>(alpha), at<T>(norms)});
        },
        Unlocked());
}
#endif

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.attr("with_cuda") = bool(AAFAST_WITH_CUDA);
  bind_cpu<float>(m, "float32");
  bind_cpu<double>(m, "float64");
#if AAFAST_WITH_ENGINE
  bind_engine(m);
#endif
#if AAFAST_WITH_CUDA
  m.attr("cuda_archs") = AAFAST_ARCHS;
  m.def("cuda_device_count", [] {
    std::string reason;
    const int count = cuda_device_count(reason);
    return py::make_tuple(count, reason);
  });
  m.def("anderson_mix_cuda_scratch", [](i64 batch, int slots, i64 length) {
    return anderson_mix_cuda_scratch({batch, slots, length, 0, 1});
  });
  bind_cuda<float>(m, "float32");
  bind_cuda<double>(m, "float64");
  bind_cuda_engine(m);
#endif
}
