"""The problems of the solve suite: the authors' models with trained weights, on both sides, and data for them."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from aafast.adaptive import Model
from aafast.bench.images import disc_images
from aafast.bench.networks import load_proximal
from aafast.data import seismic_pairs
from aafast.nets.spectral_norm import refresh
from aafast.physics import ForwardModel
from aafast.reference import build as build_reference
from aafast.reference.build import TASKS as REFERENCE
from aafast.reference.build import gaussian_kernel, toeplitz
from aafast.reference.physics import blur
from aafast.tasks import build, settings
from aafast.verify.product import forward_model
from aafast.verify.weights import Reference, settle, take_weights

TASKS = tuple(REFERENCE)
METHODS = ("robust-lu", "adaptive-lu", "adaptive-deq")
# Iterations that are timed: all of an unrolled model; of an equilibrium model, whose 40 all cost the same but for the
# first few of Anderson's window, enough to say what one takes.
ITERATIONS = {"robust-lu": 5, "adaptive-lu": 5, "adaptive-deq": 8}
WHOLE = {"robust-lu": 5, "adaptive-lu": 5, "adaptive-deq": 40}
FEW = 2  # iterations of --quick
# The seismic mismatch network takes one size, and its BatchNorm is so ill-conditioned on two samples that float32
# leaves three digits of its gradient.
QUICK_BATCH = {"deblur": 2, "deconv": 6, "defog": 2}
QUICK_IMAGE = {"deblur": (24, 20), "deconv": (128, 50), "defog": (16, 24)}
QUICK_WHOLE = 12  # the reference returns an argument, the product its image: near a fixed point they agree
PROBE = 4  # samples of a whole solve that is only scored
SEED = 11


class Data(NamedTuple):
    """Truth x and measurement y [B, C, H, W], and the nominal model as the reference takes it."""

    x: Tensor
    y: Tensor
    A0: Tensor


@dataclass(frozen=True)
class Case:
    """One task and method at the reference's sizes (or tiny ones, `quick`), with everything drawn from fixed seeds."""

    task: str
    method: str
    quick: bool = False
    device: str = "cpu"
    precision: str = "fast"  # of the product's engine

    @property
    def shape(self) -> tuple[int, int, int, int]:
        batch, channels, *image = REFERENCE[self.task].shape
        return (QUICK_BATCH[self.task], channels, *QUICK_IMAGE[self.task]) if self.quick else (batch, channels, *image)

    @property
    def iterations(self) -> int:
        """Calls of the iteration in a solve that is timed."""
        return FEW if self.quick else ITERATIONS[self.method]

    @property
    def whole(self) -> int:
        """Calls of the iteration in a solve that is scored."""
        if self.quick and self.method != "adaptive-deq":
            return FEW
        if self.quick:
            return QUICK_WHOLE
        return 30 if (self.task, self.method) == ("defog", "adaptive-deq") else WHOLE[self.method]

    @cached_property
    def data(self) -> Data:
        return draw(self.task, self.shape, SEED, self.device)

    def part(self, count: int) -> Data:
        """The first samples of the data."""
        x, y, A0 = self.data
        return Data(x[:count], y[:count], A0 if self.task == "deblur" else A0[:count])

    def reference(self) -> Reference:
        """The authors' model, in the state in which training leaves it; its theta moves in every run."""
        model = copy.deepcopy(self._reference)
        if self.device != "cpu":
            for part in (model,) if isinstance(model, torch.nn.Module) else (model.mismatch, model.prox):
                part.to(self.device)
        return model

    def product(self, iterations: int | None = None, dtype: torch.dtype = torch.float32, **override: Any) -> Model:
        """The product's model with the reference's weights, shared theta, and its iterations forced."""
        count = self.iterations if iterations is None else iterations
        residual = {"residual": "wavelet-mlp"} if self.task == "deconv" and self.method != "robust-lu" else {}
        fixed_point = replace(settings(self.task, self.method).fixed_point, tol=0.0, max_iter=count)
        forced: dict[str, Any] = {"theta_scope": "batch", "iterations": count, "fixed_point": fixed_point}
        model = build(self.task, self.method, **forced, **residual, **override)
        model.load_state_dict(self._weights)
        model.precision = self.precision
        return model.to(self.device, dtype).eval()

    @cached_property
    def _weights(self) -> dict[str, Tensor]:
        """The product's weights, with the norms found once and in float32 for all types."""
        residual = {"residual": "wavelet-mlp", "theta_scope": "batch"} if self.task == "deconv" else {}
        model = build(self.task, self.method, **(residual if self.method != "robust-lu" else {}))
        take_weights(model, self._reference)
        with torch.no_grad():
            refresh(model)
        return model.state_dict()

    @cached_property
    def _reference(self) -> Reference:
        model = build_reference(self.task, self.method.replace("-", "_"))
        load_proximal(model, self.task, self.method)
        settle(model)
        return model

    def A0(self, data: Data, dtype: torch.dtype = torch.float32) -> ForwardModel:
        """The product's nominal model."""
        return forward_model(self.task, data.A0).to(dtype=dtype)


def draw(task: str, shape: tuple[int, ...], seed: int, device: str = "cpu") -> Data:
    """Data whose true model is not the nominal one, and with noise: SNR 10 to 30 dB, or 0.01 of the range.

    deconv: seismic pairs with a wrong wavelet. deblur: discs blurred more or less than assumed. defog: discs in fog of
    random density, the nominal model being no fog.
    """
    count, _, height, width = shape
    if task == "deconv":
        pairs = seismic_pairs(count, (height, width), seed, "in", (10.0, 30.0))
        matrices = torch.stack([toeplitz(wavelet, height) for wavelet in pairs.w_nominal])[:, None]
        return Data(pairs.x.to(device), pairs.y.to(device), matrices.contiguous().to(device))
    x, depth = disc_images(count, height, width, seed)
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.rand(count, generator=generator)
    if task == "deblur":
        kernels = [gaussian_kernel(1.4 + float(w), 7).expand(3, 1, 7, 7) for w in wrong]
        y = torch.cat([blur(image[None], kernel) for image, kernel in zip(x, kernels, strict=True)])
        A0 = gaussian_kernel(2.0, 7).expand(3, 1, 7, 7).contiguous()
    else:
        t = torch.exp(-(0.5 + wrong[:, None, None, None]) * depth)
        y, A0 = x * t + 0.9 * (1 - t), depth
    y = y + 0.01 * torch.randn(y.shape, generator=generator)
    return Data(x.to(device), y.to(device), A0.to(device))
