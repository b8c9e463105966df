"""The atmospheric scattering model of fog and haze."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import COMPUTE_DTYPES
from ..errors import InputError, describe
from .base import ForwardModel


class Haze(ForwardModel):
    """Scattering by haze of density `beta` in front of a scene of known depth.

    A(x) = x t + L (1 - t) with t = exp(-beta depth) (paper eq. 8); beta = 0 is the identity, the paper's A0.

    depth: [B, 1, H, W] float32 or float64, in the unit of 1 / beta. beta: number or [B]. airlight: number, [C] or
    [B, C], in the unit of x. `A_adjoint` is the adjoint of the linear part, v -> t v. Raises InputError.
    """

    linear = False

    def __init__(self, depth: Tensor, beta: float | Tensor = 0.0, airlight: float | Tensor = 1.0) -> None:
        if not isinstance(depth, Tensor) or depth.dtype not in COMPUTE_DTYPES or depth.ndim != 4 or depth.shape[1] != 1:
            got = f"{depth.dtype} {list(depth.shape)}" if isinstance(depth, Tensor) else type(depth).__name__
            raise InputError(describe("depth", got, "a float32 or float64 tensor [B, 1, H, W]", "Reshape it"))
        if not torch.isfinite(depth).all() or (depth < 0).any():
            raise InputError(describe("depth", "NaN, Inf or negative values", "finite depths >= 0", "Fill the holes"))
        self.depth = depth
        self.beta = torch.as_tensor(beta, dtype=depth.dtype, device=depth.device).reshape(-1, 1, 1, 1)
        light = torch.as_tensor(airlight, dtype=depth.dtype, device=depth.device)
        self.airlight = light.reshape((1,) * (2 - light.ndim) + tuple(light.shape))[..., None, None]
        if not torch.isfinite(self.beta).all() or (self.beta < 0).any():
            raise InputError(describe("haze density beta", "NaN, Inf or negative", "a number >= 0", "Check its sign"))
        if not torch.isfinite(self.airlight).all():
            raise InputError(describe("airlight", "NaN or Inf", "finite numbers", "Check its source"))

    @classmethod
    def unchecked(cls, depth: Tensor, beta: Tensor, airlight: Tensor) -> Haze:
        """The model of values that were checked before, or that a solver has moved; beta and airlight are 4-d."""
        model = cls.__new__(cls)
        model.depth, model.beta, model.airlight = depth, beta, airlight
        return model

    @property
    def transmission(self) -> Tensor:
        """t = exp(-beta depth), [B, 1, H, W]."""
        return torch.exp(-self.beta * self.depth)

    def _check(self, x: Tensor) -> None:
        if x.shape[2:] != self.depth.shape[2:] or len(self.depth) not in (1, len(x)):
            raise InputError(
                describe(
                    "shape of the depth map",
                    list(self.depth.shape),
                    f"[1 or {len(x)}, 1, *{list(x.shape[2:])}]",
                    "Resample the depth to the image's pixels",
                )
            )
        for name, count in (("densities beta", len(self.beta)), ("airlights", len(self.airlight))):
            if count not in (1, len(x)):
                raise InputError(
                    describe(f"number of {name}", count, f"1 or the batch size {len(x)}", "Pass one, or one per sample")
                )

    def A(self, x: Tensor) -> Tensor:
        self._check(x)
        t = self.transmission
        return x * t + self.airlight * (1 - t)

    def A_adjoint(self, y: Tensor) -> Tensor:
        self._check(y)
        return y * self.transmission

    def norm(self, x: Tensor) -> Tensor:
        """max t per sample [B], exact."""
        return self.transmission.amax(dim=(1, 2, 3)).expand(len(x))

    def solve_normal(self, rhs: Tensor, mu: float) -> Tensor:
        """Solve (t^2 + mu) z = rhs pixel by pixel."""
        return rhs / (self.transmission.square() + mu)

    def features(self) -> Tensor:
        """The depth maps [B, 1, H, W]."""
        return self.depth

    def select(self, index: int) -> Haze:
        return self.take(torch.tensor([index]))

    def take(self, index: Tensor) -> Haze:
        parts = [t if len(t) == 1 else t[index] for t in (self.depth, self.beta, self.airlight)]
        if all(part is whole for part, whole in zip(parts, (self.depth, self.beta, self.airlight), strict=True)):
            return self
        return Haze.unchecked(*parts)

    def tensors(self) -> dict[str, Tensor]:
        return {"depth": self.depth}

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Haze:
        moved = self.depth.to(device=device, dtype=dtype)
        if moved is self.depth:
            return self
        return Haze(moved, self.beta.flatten().to(moved), self.airlight.flatten(1).to(moved))
