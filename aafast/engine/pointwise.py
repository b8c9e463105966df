"""What an iteration does element by element, for each backend: the derivatives of the losses, and the prox's point."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ..ops import _arena, _dispatch, _native


class Pointwise(Protocol):
    """Element-wise parts of an iteration. All tensors are contiguous; outputs are written whole.

    status: on a device, int8 [B], not 0 for samples that may be left out.
    """

    def additive_seeds(
        self, scale: float, gamma: float, nominal: Tensor, f: Tensor, y: Tensor, d_nominal: Tensor, d_f: Tensor,
        status: Tensor | None = None,
    ) -> None:
        """For y_hat = nominal + f, the derivatives of scale / 2 (sum (y_hat - y)^2 + gamma sum f^2) in nominal and f.

        nominal, y, d_nominal [B, C, H, W]; f, d_f [B, F, H, W], F = C or one plane for all channels.
        """

    def haze_seeds(
        self, scale: float, gamma: float, nominal: Tensor, light: Tensor, logit: Tensor, y: Tensor, d_nominal: Tensor,
        d_light: Tensor, d_logit: Tensor, status: Tensor | None = None,
    ) -> None:
        """For y_hat = nominal t + light (1 - t), t = sigmoid(logit), the derivatives in nominal, light and logit."""

    def prox_point(self, step: float, x: Tensor, z: Tensor, start: Tensor | None) -> Tensor:
        """c - step (c - z), c = x or x - start; valid until the next call."""


class CpuPointwise:
    """One pass in vectors, by the native module."""

    def additive_seeds(
        self, scale: float, gamma: float, nominal: Tensor, f: Tensor, y: Tensor, d_nominal: Tensor, d_f: Tensor,
        status: Tensor | None = None,
    ) -> None:
        batch, channels, height, width = nominal.shape
        misfit = _arena.take("misfit", (batch,), torch.float64)
        _native.call(
            "additive_seeds_cpu", nominal.dtype, batch, channels, height * width, f.shape[1], scale, gamma,
            nominal.data_ptr(), f.data_ptr(), y.data_ptr(), d_nominal.data_ptr(), d_f.data_ptr(), misfit.data_ptr(),
            torch.get_num_threads(),
        )

    def haze_seeds(
        self, scale: float, gamma: float, nominal: Tensor, light: Tensor, logit: Tensor, y: Tensor, d_nominal: Tensor,
        d_light: Tensor, d_logit: Tensor, status: Tensor | None = None,
    ) -> None:
        batch, channels, height, width = light.shape
        misfit = _arena.take("misfit", (batch,), torch.float64)
        _native.call(
            "haze_seeds_cpu", nominal.dtype, batch, channels, height * width, scale, gamma, nominal.data_ptr(),
            light.data_ptr(), logit.data_ptr(), y.data_ptr(), d_nominal.data_ptr(), d_light.data_ptr(),
            d_logit.data_ptr(), misfit.data_ptr(), torch.get_num_threads(),
        )

    def prox_point(self, step: float, x: Tensor, z: Tensor, start: Tensor | None) -> Tensor:
        point = _arena.take("point", tuple(x.shape), x.dtype)
        _native.call(
            "prox_point_cpu", x.dtype, x.numel(), step, x.data_ptr(), z.data_ptr(),
            0 if start is None else start.data_ptr(), point.data_ptr(), torch.get_num_threads(),
        )
        return point


class _OnDevice:
    """What the backends of a device share."""

    def prox_point(self, step: float, x: Tensor, z: Tensor, start: Tensor | None) -> Tensor:
        centred = x if start is None else x - start
        return centred - step * (centred - z)


class TritonPointwise(_OnDevice):
    """One Triton kernel each."""

    def additive_seeds(
        self, scale: float, gamma: float, nominal: Tensor, f: Tensor, y: Tensor, d_nominal: Tensor, d_f: Tensor,
        status: Tensor | None = None,
    ) -> None:
        from ..kernels import loss_seeds

        with _dispatch.current_device(nominal.device):
            loss_seeds.additive_seeds(scale, gamma, nominal, f, y, d_nominal, d_f, status=status)

    def haze_seeds(
        self, scale: float, gamma: float, nominal: Tensor, light: Tensor, logit: Tensor, y: Tensor, d_nominal: Tensor,
        d_light: Tensor, d_logit: Tensor, status: Tensor | None = None,
    ) -> None:
        from ..kernels import loss_seeds

        with _dispatch.current_device(light.device):
            loss_seeds.haze_seeds(scale, gamma, nominal, light, logit, y, d_nominal, d_light, d_logit, status)


class CudaPointwise(_OnDevice):
    """One kernel each, by the native module."""

    def additive_seeds(
        self, scale: float, gamma: float, nominal: Tensor, f: Tensor, y: Tensor, d_nominal: Tensor, d_f: Tensor,
        status: Tensor | None = None,
    ) -> None:
        batch, channels, height, width = nominal.shape
        _native.invoke(
            "additive_seeds_cuda", batch, channels, height * width, f.shape[1], scale, gamma, nominal.data_ptr(),
            f.data_ptr(), 0, y.data_ptr(), _native.address(status), _native.where(nominal), d_nominal.data_ptr(),
            d_f.data_ptr(),
        )

    def haze_seeds(
        self, scale: float, gamma: float, nominal: Tensor, light: Tensor, logit: Tensor, y: Tensor, d_nominal: Tensor,
        d_light: Tensor, d_logit: Tensor, status: Tensor | None = None,
    ) -> None:
        _native.invoke(
            "haze_seeds_cuda", len(light), light[0].numel(), scale, gamma, nominal.data_ptr(), light.data_ptr(),
            logit.data_ptr(), y.data_ptr(), _native.address(status), _native.where(light), d_nominal.data_ptr(),
            d_light.data_ptr(), d_logit.data_ptr(),
        )


POINTWISE: dict[str, type[Pointwise]] = {"cpp": CpuPointwise, "cuda": CudaPointwise, "triton": TritonPointwise}
