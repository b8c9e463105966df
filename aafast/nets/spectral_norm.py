"""Spectral normalisation of convolutions: the operator norm to convergence, once, then frozen."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# The authors scale every normalised layer so that 17 of them contract by 0.3.
CONTRACTION = 0.3 ** (1 / 17)
_SIDE = 40
_TOLERANCE = 1e-3
_MAX_STEPS = 60


def start_vector(channels: int) -> Tensor:
    """Where the search for the largest singular vector starts: fixed random numbers [1, channels, 40, 40]."""
    return torch.randn(1, channels, _SIDE, _SIDE, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def conv_operator_norm(weight: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """The largest singular value of a zero-padded 3x3 convolution on 40x40 images, with its left vector.

    weight: [C_out, C_in, 3, 3]; u: [1, C_out, 40, 40], the start. Lanczos on A A^T until the residual of the
    largest pair is below 1e-3 of it, which leaves an error near 1e-5 in sigma. The top of a convolution's spectrum
    is crowded, and a power iteration seems to have settled long before it has. Returns (sigma [], u).
    """
    basis = [(u / u.norm()).flatten()]
    diagonal: list[Tensor] = []
    coupling: list[Tensor] = []
    for _ in range(_MAX_STEPS):
        image = F.conv2d(F.conv_transpose2d(basis[-1].view_as(u), weight, padding=1), weight, padding=1).flatten()
        diagonal.append(image @ basis[-1])
        stacked = torch.stack(basis)
        for _ in range(2):  # once more than in exact arithmetic: the basis must stay orthogonal
            image = image - stacked.mT @ (stacked @ image)
        coupling.append(image.norm())
        matrix = torch.diag(torch.stack(diagonal).double())
        if len(diagonal) > 1:
            off = torch.stack(coupling[:-1]).double()
            matrix = matrix + torch.diag(off, 1) + torch.diag(off, -1)
        values, vectors = torch.linalg.eigh(matrix)
        residual = float(coupling[-1] * vectors[-1, -1].abs())
        if not residual > _TOLERANCE * float(values[-1]):
            break
        basis.append(image / coupling[-1])
    top = torch.stack(basis[: len(diagonal)]).mT @ vectors[:, -1].to(weight)
    return values[-1].clamp_min(0).sqrt().to(weight), top.view_as(u) / top.norm()


class Written(NamedTuple):
    """A weight at one moment: its memory (held, so that no other weight can come to lie there) and count of writes."""

    memory: Tensor
    count: int  # type: ignore[assignment]  # of writes, not of items

    @classmethod
    def now(cls, weight: Tensor) -> Written:
        return cls(weight.detach(), 0 if weight.is_inference() else weight._version)

    def is_still(self, weight: Tensor) -> bool:
        """Whether `weight` is in the same memory and was not written since; writes through `.data` go unseen."""
        now = Written.now(weight)
        return self.count == now.count and self.memory.data_ptr() == weight.data_ptr()


def was_loaded(incompatible: Any) -> bool:
    """Whether a state that was loaded brought norms along with its weights."""
    return not any(key.rpartition(".")[2] == "sigma" for key in incompatible.missing_keys)


class NormalisedConv2d(nn.Conv2d):
    """A 3x3 convolution whose weight is W c / sigma(W), c = 0.3^(1/17).

    sigma is found to convergence by `refresh`, which the model calls before a solve and which does nothing while the
    weight is unchanged; within a solve it is a constant. It is saved with the weights, since finding it from nothing
    takes seconds. Gradients of training flow through sigma with its singular vectors held fixed.
    """

    sigma: Tensor
    u: Tensor

    def __init__(self, in_channels: int, out_channels: int, bias: bool = False, **options: Any) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, bias=bias, **options)
        self.register_buffer("u", start_vector(out_channels), persistent=False)
        self.register_buffer("sigma", torch.ones(()))
        self._known: Written | None = None  # the weight that sigma belongs to
        self._aligned: Written | None = None  # the weight whose singular vector u is
        self.register_load_state_dict_post_hook(NormalisedConv2d._loaded)

    @staticmethod
    def _loaded(layer: NormalisedConv2d, incompatible: Any) -> None:
        layer._known = Written.now(layer.weight) if was_loaded(incompatible) else None

    def _apply(self, fn: Any, recurse: bool = True) -> NormalisedConv2d:
        # A move to another device or dtype takes weight, sigma and u along: what belonged together still does.
        kept = [known is not None and known.is_still(self.weight) for known in (self._known, self._aligned)]
        super()._apply(fn, recurse)
        self._known, self._aligned = (Written.now(self.weight) if good else None for good in kept)
        return self

    def refresh(self) -> None:
        """Bring sigma up to date with the weight, and u where gradients will need it."""
        wanted = self._aligned if torch.is_grad_enabled() and self.weight.requires_grad else self._known
        if wanted is None or not wanted.is_still(self.weight):
            self.sigma, self.u = conv_operator_norm(self.weight.detach(), self.u.to(self.weight))
            self._known = self._aligned = Written.now(self.weight)

    def effective_weight(self) -> Tensor:
        """The normalised weight [C_out, C_in, 3, 3]."""
        sigma = self.sigma
        if torch.is_grad_enabled() and self.weight.requires_grad:
            v = F.conv_transpose2d(self.u, self.weight.detach(), padding=1)
            v = F.normalize(v.flatten(), dim=0).view_as(v)
            sigma = (self.u * F.conv2d(v, self.weight, padding=1)).sum()
        return self.weight * (CONTRACTION / sigma)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.effective_weight(), self.bias, padding=1)


def refresh(module: nn.Module) -> None:
    """Refresh every normalised layer below `module`."""
    for layer in module.modules():
        found = getattr(layer, "refresh", None)
        if layer is not module and callable(found):
            found()
