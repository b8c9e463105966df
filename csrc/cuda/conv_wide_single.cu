#include "conv_wide.cuh"

namespace aafast {

template void conv_wide<Arithmetic::single>(const Call&, Batched<const char>, const WideSource<Arithmetic::single>&,
                                        const WideTarget<Arithmetic::single>&);

}  // namespace aafast
