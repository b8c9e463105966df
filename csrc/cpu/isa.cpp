#include "aafast/isa.h"

#include <atomic>

#include "aafast/conv3x3.h"
#include "aafast/pointwise.h"

// Each of these namespaces is one compilation of csrc/cpu/simd.
#define AAFAST_DECLARE(set)                            \
  namespace aafast::set {                              \
  template <class T>                                   \
  const Conv3x3<T>& conv3x3_table();                   \
  extern template const Conv3x3<float>& conv3x3_table();  \
  extern template const Conv3x3<double>& conv3x3_table(); \
  template <class T>                                   \
  const Pointwise<T>& pointwise_table();               \
  extern template const Pointwise<float>& pointwise_table();  \
  extern template const Pointwise<double>& pointwise_table(); \
  }

AAFAST_DECLARE(portable)
#if AAFAST_X86
AAFAST_DECLARE(avx2)
AAFAST_DECLARE(avx512)
#endif

namespace aafast {
namespace {

std::atomic<int> skipped{0};  // sets left out at the wide end

template <class T>
struct Tables {
  const char* name;
  bool (*runs)();
  const Conv3x3<T>& (*conv3x3)();
  const Pointwise<T>& (*pointwise)();
};

bool always() { return true; }
#if AAFAST_X86
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
}
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif

template <class T>
const std::vector<Tables<T>>& tables() {
  static const std::vector<Tables<T>> found = [] {
    std::vector<Tables<T>> all;
#if AAFAST_X86
    all.push_back({"avx512", has_avx512, avx512::conv3x3_table<T>, avx512::pointwise_table<T>});
    all.push_back({"avx2", has_avx2, avx2::conv3x3_table<T>, avx2::pointwise_table<T>});
#endif
    all.push_back({"portable", always, portable::conv3x3_table<T>, portable::pointwise_table<T>});
    std::vector<Tables<T>> usable;
    for (const auto& one : all)
      if (one.runs()) usable.push_back(one);
    return usable;
  }();
  return found;
}

}  // namespace

std::vector<std::string> isa_names() {
  std::vector<std::string> names;
  for (const auto& one : tables<float>()) names.push_back(one.name);
  return names;
}

bool select_isa(const std::string& name) {
  const auto names = isa_names();
  for (std::size_t i = 0; i < names.size(); ++i)
    if (names[i] == name || (i == 0 && (name.empty() || name == "auto"))) {
      skipped = int(i);
      return true;
    }
  return false;
}

std::string selected_isa() { return isa_names()[skipped]; }

template <class T>
const Conv3x3<T>* conv3x3(const int* channels, int count) {
  const auto& all = tables<T>();
  for (std::size_t i = skipped; i < all.size(); ++i) {
    const Conv3x3<T>& one = all[i].conv3x3();
    bool fits = true;
    for (int c = 0; c < count; ++c) fits = fits && channels[c] > 0 && channels[c] % one.width == 0;
    if (fits) return &one;
  }
  return nullptr;
}

template <class T>
const Pointwise<T>& pointwise() {
  return tables<T>()[skipped].pointwise();
}

template const Conv3x3<float>* conv3x3(const int*, int);
template const Conv3x3<double>* conv3x3(const int*, int);
template const Pointwise<float>& pointwise();
template const Pointwise<double>& pointwise();

}  // namespace aafast
