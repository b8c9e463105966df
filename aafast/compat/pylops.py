"""PyLops: any of its linear operators as forward model, and our forward models as operators of its own."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, describe, require
from ..physics import ForwardModel, as_forward_model

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def forward_model(operator: Any) -> ForwardModel:
    """A linear operator on vectors as the forward model y = A x of images [B, C, H, W].

    operator: a real pylops.LinearOperator (or one of scipy.sparse.linalg), shared by the batch, or a list of them of
    one shape, one per sample. Where it takes vectors of C H W numbers it acts on each sample, of H W on each channel,
    of H on each column (the traces of a section); numbers are taken in the order of the images' memory. A square
    operator gives images of the argument's shape, others ones of its `dimsd`, after the axes it left alone.

    Computed by numpy in the argument's dtype and returned in it, on its device. The gradient of A is the operator's
    adjoint, to any order. Raises InputError on what is no such operator, at once or at images that do not fit.
    """
    operators = tuple(operator) if isinstance(operator, (list, tuple)) else (operator,)
    wanted = "a LinearOperator of PyLops, or a list of them"
    if not operators:
        raise InputError(describe("operators", "an empty list", wanted, "Pass one, or one per sample"))
    for each in operators:
        if not all(hasattr(each, name) for name in ("shape", "matmat", "rmatmat")):
            raise InputError(describe("operator", type(each).__name__, wanted, "Pass a pylops.LinearOperator"))
        if np.issubdtype(getattr(each, "dtype", None) or np.float64, np.complexfloating):
            raise InputError(describe("dtype of the operator", each.dtype, "a real one", "Take its real part"))
        if tuple(each.shape) != tuple(operators[0].shape):
            found = sorted({tuple(one.shape) for one in operators})
            raise InputError(describe("shapes of the operators", found, "one shape for all samples", "Pad them"))
    return OperatorForwardModel(operators)


class OperatorForwardModel(ForwardModel):
    """The forward model of one linear operator on vectors, or of one per sample; made by `forward_model`."""

    def __init__(self, operators: tuple[Any, ...]) -> None:
        self.operators = operators

    def A(self, x: Tensor) -> Tensor:
        return self._map(x, adjoint=False)

    def A_adjoint(self, y: Tensor) -> Tensor:
        return self._map(y, adjoint=True)

    def select(self, index: int) -> ForwardModel:
        return self if len(self.operators) == 1 else OperatorForwardModel(self.operators[index : index + 1])

    def take(self, index: Tensor) -> ForwardModel:
        if len(self.operators) == 1:
            return self
        return OperatorForwardModel(tuple(self.operators[i] for i in index.tolist()))

    def _map(self, images: Tensor, adjoint: bool) -> Tensor:
        if len(self.operators) not in (1, len(images)):
            count = f"1 or the batch size {len(images)}"
            raise InputError(describe("number of operators", len(self.operators), count, "Pass one, or one per sample"))
        first = self.operators[0]
        (after, before), dims = first.shape, getattr(first, "dimsd", None)
        if adjoint:
            after, before, dims = before, after, getattr(first, "dims", None)
        batch, channels, height, width = images.shape
        dims = tuple(dims or (after,))
        lead: tuple[int, ...]
        tail: tuple[int, ...]
        if before == channels * height * width:
            lead, tail = (batch,), images.shape[1:] if after == before else (1,) * (3 - len(dims)) + dims
        elif before == height * width:
            lead, tail = (batch, channels), images.shape[2:] if after == before else (1,) * (2 - len(dims)) + dims
        elif before == height:
            lead, tail, images = (batch, channels, width), (after,), images.transpose(2, 3)
        else:
            sizes = f"{channels * height * width}, {height * width} or {height} for images {list(images.shape)}"
            what = f"{'rows' if adjoint else 'columns'} of the operator"
            raise InputError(describe(what, before, sizes, "Build it for one sample, one channel or one column"))
        found = _Product.apply(images.reshape(-1, before), self.operators, adjoint).reshape(*lead, *tail)
        return found.transpose(2, 3) if len(lead) == 3 else found


class _Product(torch.autograd.Function):
    """Rows [R, N] times the operators, each for its share of the rows: [R, M]."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, operators: tuple[Any, ...], adjoint: bool) -> Tensor:
        ctx.operators, ctx.adjoint = operators, adjoint
        parts = []
        for operator, part in zip(operators, rows.detach().cpu().chunk(len(operators)), strict=True):
            product = operator.rmatmat if adjoint else operator.matmat
            parts.append(np.asarray(product(np.ascontiguousarray(part.numpy().T))).T)
        found = np.concatenate(parts)
        if np.iscomplexobj(found):
            raise InputError(describe("product of the operator", found.dtype, "real numbers", "Take its real part"))
        return torch.from_numpy(np.ascontiguousarray(found)).to(rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _Product.apply(grad, ctx.operators, not ctx.adjoint), None, None


def linear_operator(A0: Any, shape: Sequence[int], dtype: str = "float64") -> Any:
    """A forward model as pylops.LinearOperator on images of one shape.

    A0: a linear forward model, such as WaveletConvolution. shape: [T, X], [C, H, W] or [B, C, H, W], the operator's
    `dims`; images are flattened in the order of memory. dtype: float32 or float64. Raises InputError on an affine or
    nonlinear A0, a bad shape or dtype, MissingDependency without PyLops.
    """
    model, kind = as_forward_model(A0), _operator()
    name = np.dtype(dtype).name
    if not model.linear:
        kinds = "a linear one: PyLops has no others"
        raise InputError(describe("forward model A0", type(model).__name__, kinds, "Use a WaveletConvolution or blur"))
    if name not in DTYPES:
        raise InputError(describe("dtype of the operator", name, " or ".join(DTYPES), "Use one of these"))
    if not 2 <= len(shape) <= 4 or min(shape) < 1:
        axes = "[T, X], [C, H, W] or [B, C, H, W]"
        raise InputError(describe("shape of the images", list(shape), axes, "Add or drop axes"))
    return kind(model, tuple(int(n) for n in shape), name)


@functools.cache
def _operator() -> type:
    """The class of our operators: one can only be derived where PyLops is there."""
    base: Any = require("pylops", extra="baselines").LinearOperator

    class ForwardModelOperator(base):
        """A forward model of images of one shape as a linear operator on vectors."""

        def __init__(self, A0: ForwardModel, shape: tuple[int, ...], name: str) -> None:
            self.A0 = A0.to(dtype=DTYPES[name])
            device = next((tensor.device for tensor in self.A0.tensors().values()), torch.device("cpu"))
            image = torch.zeros((1,) * (4 - len(shape)) + shape, dtype=DTYPES[name], device=device)
            with torch.no_grad():
                measurement = self.A0.A(image)
            self._image, self._measurement = image, measurement
            dimsd = shape if measurement.shape == image.shape else tuple(measurement.shape)
            super().__init__(dtype=np.dtype(name), dims=shape, dimsd=dimsd, name=type(A0).__name__)

        def _apply(self, method: str, vector: np.ndarray, like: Tensor) -> np.ndarray:
            if np.iscomplexobj(vector):
                raise InputError(describe("vector", vector.dtype, "real numbers", "Apply it to both parts by turns"))
            images = torch.from_numpy(np.array(vector, dtype=self.dtype)).to(like.device).view_as(like)
            with torch.no_grad():
                return getattr(self.A0, method)(images).reshape(-1).cpu().numpy()

        def _matvec(self, x: np.ndarray) -> np.ndarray:
            return self._apply("A", x, self._image)

        def _rmatvec(self, x: np.ndarray) -> np.ndarray:
            return self._apply("A_adjoint", x, self._measurement)

    return ForwardModelOperator
