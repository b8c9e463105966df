"""A forward model in memory that stays where it is, so that a captured iteration can be used with other parameters."""

from __future__ import annotations

import torch
from torch import Tensor

from ..physics import ForwardModel, GaussianBlur, Haze, WaveletConvolution
from ..physics.blur import Factors

REPLICABLE = (WaveletConvolution, GaussianBlur, Haze)


class Replica:
    """A copy of a forward model whose parameters are written over by those of others of the same `kind`."""

    def __init__(self, A0: ForwardModel) -> None:
        self.kind = kind_of(A0)
        self.tensors = [tensor.clone(memory_format=torch.contiguous_format) for tensor in _tensors(A0)]
        self.model = _rebuilt(A0, self.tensors)

    def load(self, A0: ForwardModel) -> None:
        """Take over the parameters of a model of the same kind."""
        torch._foreach_copy_(self.tensors, _tensors(A0))


def kind_of(A0: ForwardModel) -> tuple[object, ...]:
    """What two models must share to run as one captured iteration: class, shapes, and how they are applied."""
    shapes = tuple((tuple(tensor.shape), tensor.dtype, tensor.device) for tensor in _tensors(A0))
    factors = A0._separated() if isinstance(A0, GaussianBlur) else None
    return type(A0), shapes, factors is not None and factors.all_fit


def _tensors(A0: ForwardModel) -> list[Tensor]:
    if isinstance(A0, WaveletConvolution):
        return [A0.wavelet]
    if isinstance(A0, Haze):
        return [A0.depth, A0.beta, A0.airlight]
    assert isinstance(A0, GaussianBlur)
    factors = A0._separated()
    return [A0.kernel, *(() if factors is None else (factors.column, factors.row, factors.fits))]


def _rebuilt(A0: ForwardModel, tensors: list[Tensor]) -> ForwardModel:
    if isinstance(A0, WaveletConvolution):
        return WaveletConvolution.unchecked(tensors[0])
    if isinstance(A0, Haze):
        haze = type(A0).__new__(type(A0))
        haze.depth, haze.beta, haze.airlight = tensors
        return haze
    assert isinstance(A0, GaussianBlur)
    blur, factors = type(A0).__new__(type(A0)), A0._separated()
    if factors is None:
        blur._hold(tensors[0], None)
    else:
        kernel, column, row, fits = tensors
        blur._hold(kernel, Factors(column, row, fits, factors.all_fit))
    return blur
