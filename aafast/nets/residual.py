"""The mismatch network f_theta: how the true forward model differs from the nominal one."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import ops
from ..config import ModelConfig
from ..errors import InputError, describe
from ..ops import correlate_time
from ..physics import ForwardModel, WaveletConvolution
from .prox import initialise
from .spectral_norm import CONTRACTION, Written, conv_operator_norm, start_vector, was_loaded

Theta = dict[str, Tensor]


class MismatchNetwork(nn.Module):
    """f_theta as a function of explicit parameters: y_hat = A0 z + f_theta(A0 z, features of A0).

    The module owns only where theta starts (`start`, saved with a model, never trained by backpropagation through
    it); a solve works on copies [S, ...], S = 1 for theta scope "batch" and S = B for "sample".
    """

    def __init__(self) -> None:
        super().__init__()
        self.start_values = nn.ParameterDict()
        self.groups = 1
        self.backend = "auto"  # of ops.conv_stack
        self.normalised: tuple[str, ...] = ()

    def _start(self, name: str, value: Tensor) -> None:
        self.start_values[name] = nn.Parameter(value, requires_grad=False)

    def _start_conv(self, name: str, outputs: int, inputs: int, bias: bool = False) -> None:
        weight = torch.empty(outputs, inputs, 3, 3)
        initialise(weight)
        self._start(f"{name}_weight", weight)
        if bias:
            self._start(f"{name}_bias", torch.zeros(outputs))

    def _start_norm(self, name: str, channels: int) -> None:
        self._start(f"{name}_weight", torch.ones(channels))
        self._start(f"{name}_bias", torch.zeros(channels))

    def _normalise(self, *names: str) -> None:
        """Take theta's start of these convolutions under spectral normalisation, its norms saved with the model."""
        self.normalised = names
        self.register_buffer("sigma", torch.ones(len(names)))
        self._known: tuple[Written, ...] | None = None  # the weights that sigma belongs to
        self.register_load_state_dict_post_hook(MismatchNetwork._loaded)

    @staticmethod
    def _loaded(network: MismatchNetwork, incompatible: Any) -> None:
        network._known = network._written() if was_loaded(incompatible) else None

    def _apply(self, fn: Any, recurse: bool = True) -> MismatchNetwork:
        known = bool(self.normalised) and self._is_known()  # a move takes the norms along with the weights
        super()._apply(fn, recurse)
        if known:
            self._known = self._written()
        return self

    def _written(self) -> tuple[Written, ...]:
        return tuple(Written.now(self.start_values[name]) for name in self.normalised)

    def _is_known(self) -> bool:
        weights = [self.start_values[name] for name in self.normalised]
        return self._known is not None and all(
            known.is_still(weight) for known, weight in zip(self._known, weights, strict=True)
        )

    def refresh(self) -> None:
        """Bring the norms of theta's start up to date with it; they are held while theta moves in a solve."""
        if not self.normalised or self._is_known():
            return
        weights = [self.start_values[name].detach() for name in self.normalised]
        norms = [conv_operator_norm(weight, start_vector(weight.shape[0]).to(weight))[0] for weight in weights]
        self.sigma, self._known = torch.stack(norms), self._written()

    def start(self, samples: int) -> Theta:
        """Fresh copies of theta for a solve: every tensor [samples, ...]."""
        theta = {name: value.detach() for name, value in self.start_values.items()}
        for name, sigma in zip(self.normalised, getattr(self, "sigma", ()), strict=True):
            theta[name] = theta[name] * (CONTRACTION / sigma)
        return {name: value.expand(samples, *value.shape).clone() for name, value in theta.items()}

    def forward(self, theta: Theta, z: Tensor, A0: ForwardModel) -> tuple[Tensor, Tensor]:
        """Return (y_hat, A0 z), both shaped as the measurement."""
        nominal = A0.A(z)
        return self.corrected(theta, z, nominal, A0), nominal

    def corrected(self, theta: Theta, z: Tensor, nominal: Tensor, A0: ForwardModel) -> Tensor:
        """y_hat from z and A0 z."""
        return nominal

    def _stack(self, theta: Theta, convs: tuple[str, ...], norms: tuple[str | None, ...], image: Tensor) -> Tensor:
        """The convolutions of these names on an image [B, C, H, W], with the GroupNorms of theirs."""
        return ops.conv_stack(
            image,
            [theta[f"{name}_weight"] for name in convs],
            [theta.get(f"{name}_bias") for name in convs],
            [None if name is None else theta[f"{name}_weight"] for name in norms],
            [None if name is None else theta[f"{name}_bias"] for name in norms],
            self.groups,
            backend=self.backend,
        )

    def linearised(self, theta: Theta, A0: ForwardModel) -> ForwardModel:
        """The part of the corrected model that stays linear in z with a closed form (A0 itself by default)."""
        return A0

    def wavelet(self, theta: Theta, A0: ForwardModel) -> Tensor | None:
        """The estimate of the true wavelet [B, K], where this network has one."""
        return None


class ConvMismatch(MismatchNetwork):
    """Three convolutions on A0 z, one output channel broadcast to all (the authors' network for blur).

    f = W3 * GELU(GN(W2 * GELU(W1 * A0 z))).
    """

    def __init__(self, config: ModelConfig, inputs: int | None = None) -> None:
        super().__init__()
        width = config.residual_channels
        self.groups = config.groups
        self._start_conv("conv1", width, config.image_channels if inputs is None else inputs)
        self._start_conv("conv2", width, width)
        self._start_norm("norm2", width)
        self._start_conv("conv3", 1, width)
        if config.normalise:
            self._normalise("conv1_weight", "conv2_weight", "conv3_weight")

    def stack(self, theta: Theta, image: Tensor) -> Tensor:
        """The three convolutions on an image [B, C, H, W] -> [B, 1, H, W]."""
        return self._stack(theta, ("conv1", "conv2", "conv3"), (None, "norm2"), image)

    def corrected(self, theta: Theta, z: Tensor, nominal: Tensor, A0: ForwardModel) -> Tensor:
        return nominal + self.stack(theta, nominal)


class WaveletMismatch(ConvMismatch):
    """A wavelet correction plus a small convolutional residual, free of the section's size.

    y_hat = A0 z + dw * z + f_conv(A0 z); dw [S, K] starts at zero, so w0 + dw estimates the true wavelet.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self._start("dw", torch.zeros(config.taps))

    def corrected(self, theta: Theta, z: Tensor, nominal: Tensor, A0: ForwardModel) -> Tensor:
        return nominal + correlate_time(z, theta["dw"].flip(1)) + self.stack(theta, nominal)

    def linearised(self, theta: Theta, A0: ForwardModel) -> ForwardModel:
        estimate = self.wavelet(theta, A0)
        return A0 if estimate is None else WaveletConvolution.unchecked(estimate)

    def wavelet(self, theta: Theta, A0: ForwardModel) -> Tensor | None:
        if not isinstance(A0, WaveletConvolution):
            return None
        nominal, dw = A0.wavelet, theta["dw"]
        short = nominal.shape[1] - dw.shape[1]
        if short < 0:
            nominal = F.pad(nominal, (-short // 2, -short // 2))
        elif short > 0:
            dw = F.pad(dw, (short // 2, short // 2))
        return nominal + dw


class WaveletFeatureMismatch(ConvMismatch):
    """The authors' seismic network: an MLP of the wavelet makes a second input channel of fixed 128 x 50.

    f = stack([A0 z, MLP(w0)]), MLP = Linear(51, 1600), BatchNorm, GELU, Linear(1600, 6400), BatchNorm over the batch.
    BatchNorm ties the samples of a batch together, so this network needs theta scope "batch" and B > 1.
    """

    SHAPE = (128, 50)

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, inputs=2)
        pixels = self.SHAPE[0] * self.SHAPE[1]
        for name, outputs, inputs in (
            ("linear1", pixels // 4, config.taps),
            ("linear2", pixels, pixels // 4),
        ):
            weight = torch.empty(outputs, inputs)
            initialise(weight)
            self._start(f"{name}_weight", weight)
            self._start(f"{name}_bias", torch.zeros(outputs))
            self._start_norm(f"batch{name[-1]}", outputs)

    def _wavelets(self, nominal: Tensor, A0: ForwardModel) -> Tensor:
        """The wavelets [B, 51] of a batch this network can take, else InputError."""
        found, taps = A0.features(), self.start_values["linear1_weight"].shape[1]
        batch, _, *size = nominal.shape
        if not isinstance(found, Tensor) or found.ndim != 2 or found.shape[1] != taps:
            got = list(found.shape) if isinstance(found, Tensor) else f"none from {type(A0).__name__}"
            raise InputError(
                describe("wavelets of A0", got, f"[B, {taps}]", f"Pass a WaveletConvolution of {taps} taps")
            )
        if batch < 2 or tuple(size) != self.SHAPE:
            raise InputError(
                describe(
                    'shape of y for the residual "wavelet-mlp"',
                    list(nominal.shape),
                    f"[B, 1, {self.SHAPE[0]}, {self.SHAPE[1]}] with B >= 2",
                    'Use the residual "wavelet", which takes any size',
                )
            )
        return found.expand(batch, -1)

    def features(self, theta: Theta, wavelets: Tensor) -> Tensor:
        """The second channel [B, 1, 128, 50] from the wavelets [B, 51]."""
        hidden = wavelets
        for layer in "12":
            hidden = F.linear(hidden, theta[f"linear{layer}_weight"][0], theta[f"linear{layer}_bias"][0])
            hidden = F.batch_norm(
                hidden,
                None,
                None,
                theta[f"batch{layer}_weight"][0],
                theta[f"batch{layer}_bias"][0],
                training=True,
            )
            hidden = F.gelu(hidden) if layer == "1" else hidden
        return hidden.reshape(-1, 1, *self.SHAPE)

    def corrected(self, theta: Theta, z: Tensor, nominal: Tensor, A0: ForwardModel) -> Tensor:
        wavelets = self._wavelets(nominal, A0)
        return nominal + self.stack(theta, torch.cat([nominal, self.features(theta, wavelets)], dim=1))


class HazeMismatch(MismatchNetwork):
    """A transmission network on depth and an airlight network on z.

    y_hat = z T + L (1 - T), T = sigmoid(W2 * GELU(GN(W1 * depth))), L = three layers on z (paper eq. 8).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, colours = config.residual_channels, config.image_channels
        self.groups = config.groups
        self._start_conv("trans1", width, 1, bias=True)
        self._start_norm("trans_norm1", width)
        self._start_conv("trans2", colours, width, bias=True)
        for index, (outputs, inputs) in enumerate(((width, colours), (width, width), (colours, width)), start=1):
            self._start_conv(f"light{index}", outputs, inputs, bias=True)
            if index < 3:
                self._start_norm(f"light_norm{index}", outputs)
        if config.normalise:
            self._normalise(*(f"{name}_weight" for name in ("trans1", "trans2", "light1", "light2", "light3")))

    def _depth(self, z: Tensor, A0: ForwardModel) -> Tensor:
        """The depth map of every sample [B, 1, H, W], else InputError."""
        found, wanted = A0.features(), (len(z), 1, *z.shape[2:])
        if not isinstance(found, Tensor) or found.shape not in (wanted, (1, *wanted[1:])):
            got = list(found.shape) if isinstance(found, Tensor) else f"none from {type(A0).__name__}"
            raise InputError(
                describe("depth maps of A0", got, f"{list(wanted)}, or one for all", "Pass a Haze with its depth")
            )
        return found.expand(wanted)

    def corrected(self, theta: Theta, z: Tensor, nominal: Tensor, A0: ForwardModel) -> Tensor:
        depth = self._depth(z, A0)
        transmission = torch.sigmoid(self._stack(theta, ("trans1", "trans2"), ("trans_norm1",), depth))
        light = self._stack(theta, ("light1", "light2", "light3"), ("light_norm1", "light_norm2"), z)
        return nominal * transmission + light * (1 - transmission)


RESIDUALS: dict[str, type[Any]] = {
    "none": MismatchNetwork,
    "conv": ConvMismatch,
    "wavelet": WaveletMismatch,
    "wavelet-mlp": WaveletFeatureMismatch,
    "haze": HazeMismatch,
}


def build_residual(config: ModelConfig) -> MismatchNetwork:
    """The mismatch network that `config.residual` names."""
    kind = RESIDUALS[config.residual]
    return kind() if kind is MismatchNetwork else kind(config)
