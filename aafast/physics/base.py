"""What a forward model is: a forward map `A`, its adjoint, its norm, and (where there is one) a closed form."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, describe


class ForwardModel:
    """A forward model `y = A(x)` on images [B, C, H, W], with one set of parameters shared or one per sample.

    Subclasses give `A` and `A_adjoint`; for an affine or nonlinear map `A_adjoint` is the adjoint of its
    derivative. The names are those of deepinv's physics.
    """

    linear = True

    def A(self, x: Tensor) -> Tensor:
        """Apply the map: x [B, C, H, W] -> y of the measurement's shape."""
        raise InputError(describe("forward model", type(self).__name__, "a class with its own A", "Define A(x)"))

    def A_adjoint(self, y: Tensor) -> Tensor:
        """Apply the adjoint of the (linear part of the) map: y -> x [B, C, H, W]."""
        raise InputError(
            describe("forward model", type(self).__name__, "a class with its own A_adjoint", "Define A_adjoint(y)")
        )

    def norm(self, x: Tensor) -> Tensor:
        """The operator norm ||A||_2 per sample [B], by 30 power iterations from a fixed start of x's shape."""
        generator = torch.Generator().manual_seed(0)
        # One start for all samples: the iteration stops early, so the start shows in what is found.
        v = torch.randn(1, *x.shape[1:], generator=generator, dtype=torch.float64).to(x).repeat(len(x), 1, 1, 1)
        sigma = v.new_ones(len(v))
        offset = 0 if self.linear else self.A(torch.zeros_like(v))
        for _ in range(30):
            v = v / v.flatten(1).norm(dim=1).clamp_min(1e-30).view(-1, 1, 1, 1)
            u = self.A(v) - offset
            sigma = u.flatten(1).norm(dim=1)
            v = self.A_adjoint(u)
        return sigma

    def solve_normal(self, rhs: Tensor, mu: float) -> Tensor | None:
        """Solve `(A^T A + mu I) z = rhs` in closed form, or return None where there is no such form."""
        return None

    def features(self) -> Tensor | None:
        """What a mismatch network is told of this model, or None."""
        return None

    def select(self, index: int) -> ForwardModel:
        """The forward model of sample `index` alone (itself when parameters are shared)."""
        return self

    def take(self, index: Tensor) -> ForwardModel:
        """The forward model of the samples `index` (int64 [b]), in that order (itself when parameters are shared)."""
        if type(self).select is ForwardModel.select:
            return self
        models = [self.select(i) for i in index.tolist()]
        return self if all(model is self for model in models) else _Joined(models)

    def tensors(self) -> dict[str, Tensor]:
        """The parameters by name, for the check of devices."""
        return {}

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> ForwardModel:
        """A copy with its parameters on `device` and of `dtype`."""
        return self


class GivenForwardModel(ForwardModel):
    """A user's own object with `A` and `A_adjoint`, shared by the samples of a batch.

    Where its `A` does not record gradients (numpy code, say), the gradient of a linear `A` is taken from
    `A_adjoint`. `linear` follows the object's own `linear` attribute and is True without one.
    """

    def __init__(self, given: Any) -> None:
        self.given = given
        self.linear = bool(getattr(given, "linear", True))

    def A(self, x: Tensor) -> Tensor:
        return _Given.apply(x, self.given) if self.linear else self.given.A(x)

    def A_adjoint(self, y: Tensor) -> Tensor:
        return self.given.A_adjoint(y)

    def select(self, index: int) -> ForwardModel:
        return GivenForwardModel(self.given.select(index)) if hasattr(self.given, "select") else self


class _Joined(ForwardModel):
    """Models of one sample each, applied in turn to the samples of a batch."""

    def __init__(self, models: list[ForwardModel]) -> None:
        self.models = models
        self.linear = all(model.linear for model in models)

    def _each(self, method: str, images: Tensor, *rest: Any) -> list[Any]:
        if len(images) != len(self.models):
            raise InputError(
                describe("batch size", len(images), f"{len(self.models)}, one per model", "Match the batch")
            )
        return [getattr(model, method)(images[i : i + 1], *rest) for i, model in enumerate(self.models)]

    def A(self, x: Tensor) -> Tensor:
        return torch.cat(self._each("A", x))

    def A_adjoint(self, y: Tensor) -> Tensor:
        return torch.cat(self._each("A_adjoint", y))

    def norm(self, x: Tensor) -> Tensor:
        return torch.cat(self._each("norm", x))

    def solve_normal(self, rhs: Tensor, mu: float) -> Tensor | None:
        solved = self._each("solve_normal", rhs, mu)
        return None if any(z is None for z in solved) else torch.cat(solved)

    def features(self) -> Tensor | None:
        features = [f for f in (model.features() for model in self.models) if f is not None]
        return torch.cat(features) if len(features) == len(self.models) else None

    def select(self, index: int) -> ForwardModel:
        return self.models[index]

    def tensors(self) -> dict[str, Tensor]:
        named = [(i, model.tensors()) for i, model in enumerate(self.models)]
        return {f"{name} of sample {i}": tensor for i, tensors in named for name, tensor in tensors.items()}

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> ForwardModel:
        return _Joined([model.to(device, dtype) for model in self.models])


class _Given(torch.autograd.Function):
    """The pair (A, A^T) of a linear map as one differentiable operation."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, given: Any) -> Tensor:
        ctx.given = given
        return given.A(x.detach())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.given.A_adjoint(grad), None


def as_forward_model(given: object) -> ForwardModel:
    """Return `given` as a ForwardModel, or raise InputError if it has no `A` and `A_adjoint`."""
    if isinstance(given, ForwardModel):
        return given
    if callable(getattr(given, "A", None)) and callable(getattr(given, "A_adjoint", None)):
        return GivenForwardModel(given)
    raise InputError(
        describe(
            "forward model A0",
            type(given).__name__,
            "an object with methods A(x) and A_adjoint(y)",
            "Use aafast.WaveletConvolution, GaussianBlur or Haze, or write a class with these two methods",
        )
    )
