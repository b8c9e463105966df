#include "conv_wide.cuh"

namespace aafast {

int wide_parts(Image image, int channels) { return cut(image).tiles() * (channels == 64 ? 2 : 4); }

template void conv_wide<Arithmetic::half>(const Call&, Batched<const char>, const WideSource<Arithmetic::half>&,
                                          const WideTarget<Arithmetic::half>&);

}  // namespace aafast
