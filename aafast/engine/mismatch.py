"""The mismatch networks on the native stacks: their value, and the gradients of the misfit in z and in theta."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, describe
from ..nets.residual import (
    ConvMismatch,
    HazeMismatch,
    MismatchNetwork,
    Theta,
    WaveletFeatureMismatch,
    WaveletMismatch,
)
from ..ops import _arena, _native
from ..ops.correlate_time import correlate_time, correlate_time_kernel
from ..physics import ForwardModel
from .features import Features, Outer
from .theta_stack import Names, ThetaGradients, ThetaStack, chunks

ThetaGradient = dict[str, Any]  # Tensor, or Outer for the weight of a linear layer


@dataclass
class Seeds:
    """The misfit of a batch and its derivatives in z and theta, where they were asked for."""

    z: Tensor | None = None
    theta: ThetaGradient | None = None


class FusedMismatch:
    """One mismatch network in one dtype: callable as the network is, with gradients of the misfit beside."""

    def __init__(self, network: MismatchNetwork, dtype: torch.dtype, tile: int) -> None:
        self.network, self.dtype, self.tile = network, dtype, tile

    def start(self, samples: int) -> Theta:
        return self.network.start(samples)

    def linearised(self, theta: Theta, A0: ForwardModel) -> ForwardModel:
        return self.network.linearised(theta, A0)

    def wavelet(self, theta: Theta, A0: ForwardModel) -> Tensor | None:
        return self.network.wavelet(theta, A0)

    def forget(self) -> None:
        """Drop what was derived from theta, which is about to change in place."""

    def nominal(self, z: Tensor, A0: ForwardModel) -> Tensor:
        """A0 z as the native code may read it; InputError where a user's A0 returns something else than before."""
        image = A0.A(z)
        if image.shape != z.shape or image.dtype != z.dtype:
            raise InputError(
                describe("A0(z)", f"{image.dtype} {list(image.shape)}", f"{z.dtype} {list(z.shape)}, as z",
                         "Return the same kind of tensor at every call")
            )
        return image.contiguous()

    def __call__(self, theta: Theta, z: Tensor, A0: ForwardModel) -> tuple[Tensor, Tensor]:
        nominal = self.nominal(z, A0)
        return nominal, nominal

    def gradients(
        self, theta: Theta, z: Tensor, y: Tensor, A0: ForwardModel, scale: float, gamma: float, of: str
    ) -> Seeds:
        """Derivatives of scale / 2 (sum (y_hat - y)^2 + gamma sum (y_hat - A0 z)^2) in z, or in theta, as `of` says."""
        if of == "theta":
            return Seeds(theta={})
        return Seeds(z=A0.A_adjoint((A0.A(z) - y) * scale))


def _theta(network: MismatchNetwork, dtype: torch.dtype) -> Theta:
    return {name: value.detach().to(dtype) for name, value in network.start_values.items()}


class _FusedConv(FusedMismatch):
    """f = stack([A0 z, planes of theta]) added to A0 z; the wavelet network's dw * z beside it."""

    NAMES = Names(("conv1", "conv2", "conv3"), (None, "norm2"), bias=False)

    def __init__(self, network: ConvMismatch, dtype: torch.dtype, tile: int) -> None:
        super().__init__(network, dtype, tile)
        self.stack = ThetaStack("f", self.NAMES, _theta(network, dtype), network.groups, tile)

    def _planes(self, theta: Theta, nominal: Tensor, A0: ForwardModel) -> tuple[Tensor, ...]:
        return (nominal,)

    def _linear(self, theta: Theta, z: Tensor) -> Tensor | None:
        return None

    def __call__(self, theta: Theta, z: Tensor, A0: ForwardModel) -> tuple[Tensor, Tensor]:
        nominal = self.nominal(z, A0)
        weights = self.stack.weights(theta, adjoint=False)
        f = self.stack.value(self._planes(theta, nominal, A0), weights, len(z), "value")
        linear = self._linear(theta, z)
        return nominal + (f if linear is None else f + linear), nominal

    def gradients(
        self, theta: Theta, z: Tensor, y: Tensor, A0: ForwardModel, scale: float, gamma: float, of: str
    ) -> Seeds:
        nominal = self.nominal(z, A0)
        batch, channels, *size = nominal.shape
        planes = self._planes(theta, nominal, A0)
        weights = self.stack.weights(theta, adjoint=True)
        linear = self._linear(theta, z)
        d_nominal, d_f = torch.empty_like(nominal), torch.empty_like(nominal[:, : self.stack.outputs])
        inputs = sum(image.shape[1] for image in planes)
        d_in = torch.empty(batch, inputs, *size, dtype=self.dtype) if of == "z" or len(planes) > 1 else None
        found = ThetaGradients(self.stack, weights, len(weights.packed) == 1, batch) if of == "theta" else None
        for begin, end in chunks(batch):
            f = _arena.take("f.chunk", (end - begin, self.stack.outputs, *size), self.dtype)
            saved = self.stack.saved(end - begin, planes)
            self.stack.fused.forward(planes, weights, f, saved, begin)
            if linear is not None:
                f.add_(linear[begin:end])
            _additive_seeds(scale, gamma, nominal, f, y, d_nominal, d_f, begin, end)
            written = None if found is None else found.chunk(begin, end)
            self.stack.fused.backward(
                planes, weights, d_f[begin:end], saved, None if d_in is None else d_in[begin:end], written, begin
            )
        if of == "z":
            towards = A0.A_adjoint(d_nominal.add_(d_in[:, :channels]))
            return Seeds(z=self._add_linear_adjoint(theta, d_f, towards))
        gradient: ThetaGradient = {}
        found.into(gradient)
        self._theta_beside(theta, z, A0, d_f, d_in, gradient)
        return Seeds(theta=gradient)

    def _add_linear_adjoint(self, theta: Theta, d_f: Tensor, towards: Tensor) -> Tensor:
        return towards

    def _theta_beside(
        self, theta: Theta, z: Tensor, A0: ForwardModel, d_f: Tensor, d_in: Tensor | None, gradient: ThetaGradient
    ) -> None:
        """Enter the gradients of what stands beside the stack."""


class _FusedWavelet(_FusedConv):
    def _linear(self, theta: Theta, z: Tensor) -> Tensor:
        return correlate_time(z, theta["dw"].flip(1))

    def _add_linear_adjoint(self, theta: Theta, d_f: Tensor, towards: Tensor) -> Tensor:
        return towards + correlate_time(d_f, theta["dw"])

    def _theta_beside(
        self, theta: Theta, z: Tensor, A0: ForwardModel, d_f: Tensor, d_in: Tensor | None, gradient: ThetaGradient
    ) -> None:
        taps = theta["dw"].shape[1]
        each = correlate_time_kernel(d_f, z, taps).flip(1)
        gradient["dw"] = each if len(theta["dw"]) > 1 or len(each) == 1 else each.sum(0, keepdim=True)


class _FusedWaveletFeature(_FusedConv):
    def __init__(self, network: WaveletFeatureMismatch, dtype: torch.dtype, tile: int) -> None:
        super().__init__(network, dtype, tile)
        self.features: Features | None = None

    def forget(self) -> None:
        self.features = None

    def _planes(self, theta: Theta, nominal: Tensor, A0: ForwardModel) -> tuple[Tensor, ...]:
        if self.features is None or not self.features.of(theta):  # z and theta are updated at the same theta
            self.features = Features(theta, self.network._wavelets(nominal, A0), self.network.SHAPE)
        return nominal, self.features.image

    def _theta_beside(
        self, theta: Theta, z: Tensor, A0: ForwardModel, d_f: Tensor, d_in: Tensor | None, gradient: ThetaGradient
    ) -> None:
        gradient.update(self.features.gradients(d_in[:, -1]))


class _FusedHaze(FusedMismatch):
    """y_hat = A0 z T + L (1 - T), T and L each a stack."""

    TRANSMISSION = Names(("trans1", "trans2"), ("trans_norm1",), bias=True)
    LIGHT = Names(("light1", "light2", "light3"), ("light_norm1", "light_norm2"), bias=True)

    def __init__(self, network: HazeMismatch, dtype: torch.dtype, tile: int) -> None:
        super().__init__(network, dtype, tile)
        theta = _theta(network, dtype)
        self.transmission = ThetaStack("t", self.TRANSMISSION, theta, network.groups, tile)
        self.light = ThetaStack("l", self.LIGHT, theta, network.groups, tile)

    def _depth(self, z: Tensor, A0: ForwardModel) -> Tensor:
        depth = self.network._depth(z, A0)
        return depth[:1] if depth.stride(0) == 0 else depth.contiguous()

    def __call__(self, theta: Theta, z: Tensor, A0: ForwardModel) -> tuple[Tensor, Tensor]:
        nominal, z = self.nominal(z, A0), z.contiguous()
        logit = self.transmission.value((self._depth(z, A0),), self.transmission.weights(theta, False), len(z), "value")
        light = self.light.value((z,), self.light.weights(theta, False), len(z), "value")
        t = torch.sigmoid(logit)
        return nominal * t + light * (1 - t), nominal

    def gradients(
        self, theta: Theta, z: Tensor, y: Tensor, A0: ForwardModel, scale: float, gamma: float, of: str
    ) -> Seeds:
        z, nominal, depth = z.contiguous(), self.nominal(z, A0), self._depth(z, A0)
        batch, channels, *size = nominal.shape
        adjoint = of == "theta"
        t_weights, l_weights = self.transmission.weights(theta, adjoint), self.light.weights(theta, True)
        d_nominal = torch.empty_like(nominal)
        d_z = torch.empty_like(nominal) if of == "z" else None
        shared = len(l_weights.packed) == 1
        found = (
            (ThetaGradients(self.transmission, t_weights, shared, batch),
             ThetaGradients(self.light, l_weights, shared, batch))
            if adjoint else None
        )
        for begin, end in chunks(batch):
            shape = (end - begin, channels, *size)
            logit, light, d_light, d_logit = (
                _arena.take(f"haze.{name}", shape, self.dtype) for name in ("logit", "light", "d_light", "d_logit")
            )
            t_saved = self.transmission.saved(end - begin, (depth,)) if adjoint else None
            l_saved = self.light.saved(end - begin, (z,))
            self.transmission.fused.forward((depth,), t_weights, logit, t_saved, begin)
            self.light.fused.forward((z,), l_weights, light, l_saved, begin)
            _haze_seeds(scale, gamma, nominal, light, logit, y, d_nominal, d_light, d_logit, begin, end)
            if found is None:
                self.light.fused.backward((z,), l_weights, d_light, l_saved, d_z[begin:end], None, begin)
                continue
            t_found, l_found = found
            t_part, l_part = t_found.chunk(begin, end), l_found.chunk(begin, end)
            self.light.fused.backward((z,), l_weights, d_light, l_saved, None, l_part, begin)
            self.transmission.fused.backward((depth,), t_weights, d_logit, t_saved, None, t_part, begin)
        if found is None:
            return Seeds(z=A0.A_adjoint(d_nominal) + d_z)
        gradient: ThetaGradient = {}
        for part in found:
            part.into(gradient)
        return Seeds(theta=gradient)


def _additive_seeds(
    scale: float, gamma: float, nominal: Tensor, f: Tensor, y: Tensor, d_nominal: Tensor, d_f: Tensor,
    begin: int, end: int,
) -> None:
    batch, channels, height, width = nominal[begin:end].shape
    misfit = _arena.take("misfit", (batch,), torch.float64)
    _native.call(
        "additive_seeds_cpu", nominal.dtype, batch, channels, height * width, f.shape[1], scale, gamma,
        nominal[begin:].data_ptr(), f.data_ptr(), y[begin:].data_ptr(), d_nominal[begin:].data_ptr(),
        d_f[begin:].data_ptr(), misfit.data_ptr(), torch.get_num_threads(),
    )


def _haze_seeds(
    scale: float, gamma: float, nominal: Tensor, light: Tensor, logit: Tensor, y: Tensor, d_nominal: Tensor,
    d_light: Tensor, d_logit: Tensor, begin: int, end: int,
) -> None:
    batch, channels, height, width = light.shape
    misfit = _arena.take("misfit", (batch,), torch.float64)
    _native.call(
        "haze_seeds_cpu", nominal.dtype, batch, channels, height * width, scale, gamma, nominal[begin:].data_ptr(),
        light.data_ptr(), logit.data_ptr(), y[begin:].data_ptr(), d_nominal[begin:].data_ptr(), d_light.data_ptr(),
        d_logit.data_ptr(), misfit.data_ptr(), torch.get_num_threads(),
    )


FUSED: dict[type[MismatchNetwork], type[FusedMismatch]] = {
    MismatchNetwork: FusedMismatch,
    ConvMismatch: _FusedConv,
    WaveletMismatch: _FusedWavelet,
    WaveletFeatureMismatch: _FusedWaveletFeature,
    HazeMismatch: _FusedHaze,
}

__all__ = ["FUSED", "FusedMismatch", "Outer", "Seeds"]
