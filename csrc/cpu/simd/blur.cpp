#include "correlate.h"
#include "kernels.h"

namespace aafast::AAFAST_ISA {
namespace {

template <class T>
void correlate_plane(int height, int width, int size, const T* kernel, bool reverse, const T* in, T* out) {
  correlate<T, kRows>(Correlation<T>{height, width, size, size, kernel, reverse, false}, in, out);
}

template <class T>
void correlate_separable(int height, int width, int size, const T* column, const T* row, bool reverse, const T* in,
                         T* scratch, T* out) {
  correlate<T, kRows>(Correlation<T>{height, width, size, 1, column, reverse, false}, in, scratch);
  correlate<T, 1>(Correlation<T>{height, width, 1, size, row, reverse, false}, scratch, out);
}

}  // namespace

template <class T>
void blur_entries(Pointwise<T>& table) {
  table.correlate_plane = correlate_plane<T>;
  table.correlate_separable = correlate_separable<T>;
}

template void blur_entries(Pointwise<float>&);
template void blur_entries(Pointwise<double>&);

}  // namespace aafast::AAFAST_ISA
