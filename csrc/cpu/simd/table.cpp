#include "kernels.h"

#define AAFAST_TEXT_(word) #word
#define AAFAST_TEXT(word) AAFAST_TEXT_(word)

namespace aafast::AAFAST_ISA {

template <class T>
const Conv3x3<T>& conv3x3_table();
template <class T>
const Pointwise<T>& pointwise_table();

template <class T>
const Conv3x3<T>& conv3x3_table() {
  static const Conv3x3<T> table = [] {
    Conv3x3<T> entries{};
    entries.isa = AAFAST_TEXT(AAFAST_ISA);
    entries.width = kWidth<T>;
    winograd_entries(entries);
    winograd_weight_entries(entries);
    widen_entries(entries);
    narrow_entries(entries);
    thin_weight_entries(entries);
    return entries;
  }();
  return table;
}

template <class T>
const Pointwise<T>& pointwise_table() {
  static const Pointwise<T> table = [] {
    Pointwise<T> entries{};
    optimiser_entries(entries);
    wavelet_entries(entries);
    blur_entries(entries);
    loss_entries(entries);
    return entries;
  }();
  return table;
}

template const Conv3x3<float>& conv3x3_table();
template const Conv3x3<double>& conv3x3_table();
template const Pointwise<float>& pointwise_table();
template const Pointwise<double>& pointwise_table();

}  // namespace aafast::AAFAST_ISA
