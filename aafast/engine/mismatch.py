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
from ..ops.correlate_time import correlate_time, correlate_time_kernel
from ..physics import ForwardModel
from .features import Features, Outer
from .place import Place
from .theta_stack import Names, ThetaGradients, ThetaStack

ThetaGradient = dict[str, Any]  # Tensor, or Outer for the weight of a linear layer


@dataclass
class Seeds:
    """The misfit of a batch and its derivatives in z and theta, where they were asked for."""

    z: Any = None  # Tensor [B, C, H, W]
    theta: Any = None  # ThetaGradient


class FusedMismatch:
    """One mismatch network in one dtype: callable as the network is, with gradients of the misfit beside."""

    def __init__(self, network: MismatchNetwork, place: Place) -> None:
        self.network, self.place, self.pointwise = network, place, place.pointwise()
        self.status: Tensor | None = None  # on a device: the samples that have stopped, int8 [B], not 0

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


def _theta(network: MismatchNetwork, place: Place) -> Theta:
    return {name: value.detach().to(place.device, place.dtype) for name, value in network.start_values.items()}


class _FusedConv(FusedMismatch):
    """f = stack([A0 z, planes of theta]) added to A0 z; the wavelet network's dw * z beside it."""

    NAMES = Names(("conv1", "conv2", "conv3"), (None, "norm2"), bias=False)

    def __init__(self, network: ConvMismatch, place: Place) -> None:
        super().__init__(network, place)
        self.stack = ThetaStack("f", self.NAMES, _theta(network, place), network.groups, place)

    def _planes(self, theta: Theta, nominal: Tensor, A0: ForwardModel) -> tuple[Tensor, ...]:
        return (nominal,)

    def _linear(self, theta: Theta, z: Tensor) -> Tensor | None:
        return None

    def __call__(self, theta: Theta, z: Tensor, A0: ForwardModel) -> tuple[Tensor, Tensor]:
        nominal = self.nominal(z, A0)
        weights = self.stack.weights(theta, adjoint=False)
        f = self.stack.value(self._planes(theta, nominal, A0), weights, len(z), "value", self.status)
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
        d_in = self.place.empty(batch, inputs, *size) if of == "z" or len(planes) > 1 else None
        found = ThetaGradients(self.stack, weights, len(weights.packed) == 1, batch) if of == "theta" else None
        for begin, end in self.place.chunks(batch):
            f = self.place.take("f.chunk", (end - begin, self.stack.outputs, *size))
            saved = self.stack.saved(end - begin, planes)
            self.stack.fused.forward(planes, weights, f, saved, begin, self.status)
            if linear is not None:
                f.add_(linear[begin:end])
            part = slice(begin, end)
            self.pointwise.additive_seeds(
                scale, gamma, nominal[part], f, y[part], d_nominal[part], d_f[part], self.status
            )
            written = None if found is None else found.chunk(begin, end)
            towards = None if d_in is None else d_in[part]
            self.stack.fused.backward(
                planes, weights, d_f[part], saved, towards, written, begin, scale, self.status
            )
        if of == "z":
            assert d_in is not None
            towards = A0.A_adjoint(d_nominal.add_(d_in[:, :channels]))
            return Seeds(z=self._add_linear_adjoint(theta, d_f, towards))
        gradient: ThetaGradient = {}
        assert found is not None
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
    network: WaveletFeatureMismatch

    def __init__(self, network: WaveletFeatureMismatch, place: Place) -> None:
        super().__init__(network, place)
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
        assert self.features is not None and d_in is not None
        gradient.update(self.features.gradients(d_in[:, -1]))


class _FusedHaze(FusedMismatch):
    """y_hat = A0 z T + L (1 - T), T and L each a stack."""

    TRANSMISSION = Names(("trans1", "trans2"), ("trans_norm1",), bias=True)
    LIGHT = Names(("light1", "light2", "light3"), ("light_norm1", "light_norm2"), bias=True)
    network: HazeMismatch

    def __init__(self, network: HazeMismatch, place: Place) -> None:
        super().__init__(network, place)
        theta = _theta(network, place)
        self.transmission = ThetaStack("t", self.TRANSMISSION, theta, network.groups, place)
        self.light = ThetaStack("l", self.LIGHT, theta, network.groups, place)

    def _depth(self, z: Tensor, A0: ForwardModel) -> Tensor:
        depth = self.network._depth(z, A0)
        return depth[:1] if depth.stride(0) == 0 else depth.contiguous()

    def __call__(self, theta: Theta, z: Tensor, A0: ForwardModel) -> tuple[Tensor, Tensor]:
        nominal, z = self.nominal(z, A0), z.contiguous()
        depth, weights = self._depth(z, A0), self.transmission.weights(theta, False)
        logit = self.transmission.value((depth,), weights, len(z), "value", self.status)
        light = self.light.value((z,), self.light.weights(theta, False), len(z), "value", self.status)
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
        d_z = torch.empty_like(nominal) if of == "z" else nominal  # not read where theta is asked for
        shared = len(l_weights.packed) == 1
        found = (
            (ThetaGradients(self.transmission, t_weights, shared, batch),
             ThetaGradients(self.light, l_weights, shared, batch))
            if adjoint else None
        )
        for begin, end in self.place.chunks(batch):
            shape = (end - begin, channels, *size)
            logit, light, d_light, d_logit = (
                self.place.take(f"haze.{name}", shape) for name in ("logit", "light", "d_light", "d_logit")
            )
            t_saved = self.transmission.saved(end - begin, (depth,)) if adjoint else None
            l_saved = self.light.saved(end - begin, (z,))
            self.transmission.fused.forward((depth,), t_weights, logit, t_saved, begin, self.status)
            self.light.fused.forward((z,), l_weights, light, l_saved, begin, self.status)
            part = slice(begin, end)
            self.pointwise.haze_seeds(
                scale, gamma, nominal[part], light, logit, y[part], d_nominal[part], d_light, d_logit, self.status
            )
            if found is None:
                self.light.fused.backward(
                    (z,), l_weights, d_light, l_saved, d_z[part], None, begin, scale, self.status
                )
                continue
            t_found, l_found = found
            assert t_saved is not None
            t_part, l_part = t_found.chunk(begin, end), l_found.chunk(begin, end)
            self.light.fused.backward((z,), l_weights, d_light, l_saved, None, l_part, begin, scale, self.status)
            self.transmission.fused.backward(
                (depth,), t_weights, d_logit, t_saved, None, t_part, begin, scale, self.status
            )
        if found is None:
            return Seeds(z=A0.A_adjoint(d_nominal) + d_z)
        gradient: ThetaGradient = {}
        for gradients in found:
            gradients.into(gradient)
        return Seeds(theta=gradient)


FUSED: dict[type[MismatchNetwork], type[FusedMismatch]] = {
    MismatchNetwork: FusedMismatch,
    ConvMismatch: _FusedConv,
    WaveletMismatch: _FusedWavelet,
    WaveletFeatureMismatch: _FusedWaveletFeature,
    HazeMismatch: _FusedHaze,
}

__all__ = ["FUSED", "FusedMismatch", "Outer", "Seeds"]
