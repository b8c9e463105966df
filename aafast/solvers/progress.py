"""The rules of a solve, per sample: which point is the best so far, and when and why a sample stops."""

from __future__ import annotations

import torch
from torch import Tensor

from ..config import FixedPointConfig
from .base import Aux, Solution, Status

POLL = {"cpu": 1}  # on other devices the host looks at the flags only now and then
POLL_OTHER = 8
_TINY = 1e-12
_POINT = "point"  # of a merged state


def poll_of(device: torch.device) -> int:
    """Iterations between two looks at the flags."""
    return POLL.get(device.type, POLL_OTHER)


def _can_look(mask: Tensor) -> bool:
    # Elsewhere a look waits for the device, and a traced loop can hold no decision of the host's.
    return mask.device.type == "cpu" and not torch.compiler.is_compiling()


def merge(mask: Tensor, new: Aux, old: Aux) -> Aux:
    """Per sample `new` where mask, else `old`; what all samples share is always new.

    Without a copy where the mask is seen to be the same for all: the result then refers to the tensors given.
    """
    look = _can_look(mask)
    if look and mask.all():
        return new
    none = look and not mask.any()
    return {name: _choose(mask, none, value, old.get(name)) for name, value in new.items()}


def _choose(mask: Tensor, none: bool, new: Tensor, old: Tensor | None) -> Tensor:
    if old is None or new is old or len(new) != len(mask) or new.shape != old.shape:
        return new
    return old if none else torch.where(mask.view(-1, *(1,) * (new.ndim - 1)), new, old)


class Progress:
    """What is known of the samples under way.

    kept: the state, "point" and "image" of each sample's returned iterate, by reference where all samples took it from
    one evaluation. least [B]: its residual. status [B], iterations [B]: see Solution.
    """

    def __init__(self, x0: Tensor, aux0: Aux, config: FixedPointConfig, keep: str) -> None:
        batch, device = len(x0), x0.device
        self.config, self.keep = config, keep
        self.kept: Aux = {**aux0, "point": x0, "image": x0}
        self.least = torch.full((batch,), float("inf"), dtype=x0.dtype, device=device)
        self.status = torch.zeros(batch, dtype=torch.int8, device=device)
        self.iterations = torch.zeros(batch, dtype=torch.int64, device=device)

    @property
    def running(self) -> Tensor:
        """[B] bool: the samples that have not stopped."""
        return self.status == int(Status.RUNNING)  # an enum would not be traced

    def record(self, x: Tensor, image: Tensor, state: Aux, norms: Tensor) -> Tensor:
        """Enter one evaluation; return its relative residuals [B], NaN for samples that had stopped.

        norms [B, 2] are (||image - x||^2, ||image||^2). The tensors given are referred to: they may not change later.
        """
        running = self.running
        residual = (norms[:, 0].sqrt() / norms[:, 1].sqrt().clamp_min(_TINY)).detach().to(x.dtype)
        finite = torch.isfinite(residual)
        better = running & finite & ((residual < self.least) if self.keep == "best" else finite)
        self.least = torch.where(better, residual, self.least)
        self.kept = merge(better, {**state, "point": x, "image": image}, self.kept)
        self.iterations = self.iterations + running
        status = torch.where(running & ~finite, int(Status.DIVERGED), self.status)
        status = torch.where(running & finite & (residual < self.config.tol), int(Status.CONVERGED), status)
        last = (status == int(Status.RUNNING)) & (self.iterations >= self.config.max_iter)
        self.status = torch.where(last, int(Status.MAX_ITER), status)
        return torch.where(running, residual, float("nan"))

    def advance(self, x: Tensor, state: Aux, before: tuple[Tensor, Aux]) -> tuple[Tensor, Aux]:
        """The next point and state: the given ones, but those before for samples that have stopped."""
        following = merge(self.running, {**state, _POINT: x}, {**before[1], _POINT: before[0]})
        return following.pop(_POINT), following

    def rows(self, index: Tensor) -> Progress:
        """What is known of these samples, for a state that has a row per sample."""
        other = object.__new__(Progress)
        other.config, other.keep = self.config, self.keep
        other.kept = {name: value[index] for name, value in self.kept.items()}
        other.least, other.status, other.iterations = (t[index] for t in (self.least, self.status, self.iterations))
        return other

    def joined(self, other: Progress) -> Progress:
        """These samples and then the other's."""
        both = object.__new__(Progress)
        both.config, both.keep = self.config, self.keep
        both.kept = {name: torch.cat([value, other.kept[name]]) for name, value in self.kept.items()}
        both.least = torch.cat([self.least, other.least])
        both.status = torch.cat([self.status, other.status])
        both.iterations = torch.cat([self.iterations, other.iterations])
        return both

    def solution(self, residuals: Tensor) -> Solution:
        """The result; residuals [K, B] as Solution has them."""
        aux = dict(self.kept)
        image = aux.pop("image")
        return Solution(image, self.status, self.iterations, residuals, aux=aux)
