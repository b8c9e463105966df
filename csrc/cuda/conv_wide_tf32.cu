#include "conv_wide.cuh"

namespace aafast {

template void conv_wide<Arithmetic::tf32>(const Call&, Batched<const char>, const WideSource<Arithmetic::tf32>&,
                                        const WideTarget<Arithmetic::tf32>&);

}  // namespace aafast
