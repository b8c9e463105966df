// The functions of one instruction set, gathered by table.cpp.
#pragma once
#include "aafast/conv3x3.h"
#include "aafast/pointwise.h"
#include "vector.h"

namespace aafast::AAFAST_ISA {

template <class T>
void winograd_entries(Conv3x3<T>& table);  // winograd.cpp
template <class T>
void winograd_weight_entries(Conv3x3<T>& table);  // winograd_weight.cpp
template <class T>
void widen_entries(Conv3x3<T>& table);  // widen.cpp
template <class T>
void narrow_entries(Conv3x3<T>& table);  // narrow.cpp
template <class T>
void thin_weight_entries(Conv3x3<T>& table);  // thin_weight.cpp
template <class T>
void optimiser_entries(Pointwise<T>& table);  // optimiser.cpp
template <class T>
void wavelet_entries(Pointwise<T>& table);  // wavelet.cpp
template <class T>
void blur_entries(Pointwise<T>& table);  // blur.cpp
template <class T>
void loss_entries(Pointwise<T>& table);  // loss.cpp

}  // namespace aafast::AAFAST_ISA
