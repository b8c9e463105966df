"""What an evaluation compares: models in their variants and classical methods, behind one call."""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..adaptive import Model
from ..errors import InputError, describe
from ..physics import ForwardModel, WaveletConvolution
from ..solvers import Solution
from ..tasks import load
from ..tasks.checkpoint import WEIGHTS, read_card, root, shipped
from .classical import CLASSICAL, Classical
from .variants import AS_SAVED

DIGITS = 12
_SEED = re.compile(r"seed-(\d+)")


class Estimate(NamedTuple):
    """What a contestant gave for a batch: x [B, C, H, W], seconds of it all, iterations and status [B] or None, the
    corrected forward model or None, and what computed it."""

    x: Tensor
    seconds: float
    iterations: Tensor | None = None
    status: Tensor | None = None
    operator: ForwardModel | None = None
    backend: str = "-"


def digest(folder: Path) -> str:
    """What tells a model's weights from others: the first 12 hexadecimal digits of the SHA-256 of their file."""
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()[:DIGITS]


@dataclass(frozen=True)
class Entry:
    """A model of an evaluation and its origin.

    label: what its rows are called by. training_seed: None where it is not known. weights: `digest` of its folder,
    "-" for a model that was handed over in memory. init: that of the weights its trainings began with, "-" for none.
    variant: what its rows are called by beside the label, where the
    settings of the model were changed.
    """

    label: str
    model: Model
    training_seed: int | None = None
    weights: str = "-"
    variant: str = AS_SAVED
    init: str = "-"

    @classmethod
    def of(cls, given: str | Path | Model | Entry, device: str = "cpu") -> Entry:
        """The entry of a model, of a shipped name, or of a folder, where MODELS/TASK/LABEL/seed-S gives label and seed.

        A shipped model is called by that and its name, another folder by its method, with the seed of its card. Raises
        CheckpointError or BackendError.
        """
        if isinstance(given, Entry):
            return given
        if isinstance(given, Model):
            return cls(given.config.method, given.to(device))
        model = load(given, device)
        folder = shipped().get(str(given), Path(given))
        folder = folder.parent if folder.suffix == ".safetensors" else folder
        weights = digest(folder)
        card = read_card(folder)
        first = root(folder)
        init = "-" if first is None else first[:DIGITS]
        found = _SEED.fullmatch(folder.absolute().name)
        if found:
            return cls(folder.absolute().parent.name, model, int(found[1]), weights, init=init)
        plan = card.get("plan")
        seed = plan.get("seed") if isinstance(plan, dict) else None
        label = f"shipped {given}" if str(given) in shipped() else model.config.method
        return cls(label, model, seed if isinstance(seed, int) else None, weights, init=init)


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One line of an evaluation: `solve(y, A0)` with what its rows say of it.

    method: of the model's settings, or the classical method's name. takes_operator: whether A0 matters to it.
    """

    label: str
    method: str
    variant: str = "-"
    training_seed: int | None = None
    weights: str = "-"
    init: str = "-"
    takes_operator: bool = True
    parameters: dict[str, Any] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """Its fields of a row."""
        names = ("label", "method", "variant", "training_seed", "weights", "init")
        return {name: getattr(self, name) for name in names}

    def solve(self, y: Tensor, A0: ForwardModel) -> Estimate:
        """x from y with the forward model that is told."""
        raise InputError(describe("contestant", type(self).__name__, "a model or a classical method", "Use one"))


@dataclass(frozen=True, kw_only=True)
class ModelContestant(Contestant):
    """A variant of a model."""

    model: Model

    def solve(self, y: Tensor, A0: ForwardModel) -> Estimate:
        with torch.no_grad(), _clock(y.device) as clock:
            solution = self.model(y, A0)
        operator = estimated(solution, self.model.config.calibration != "none")
        return Estimate(solution.x, clock.seconds, solution.iterations, solution.status, operator, solution.backend)


@dataclass(frozen=True, kw_only=True)
class ClassicalContestant(Contestant):
    """A classical method with parameters chosen on other pairs."""

    classical: Classical

    def solve(self, y: Tensor, A0: ForwardModel) -> Estimate:
        with _clock(y.device) as clock:
            x = self.classical.apply(y, A0, **self.parameters)
        return Estimate(x, clock.seconds)


def estimated(solution: Solution, calibrated: bool) -> ForwardModel | None:
    """The forward model that a solve corrected, or None where it corrected none that can be shown."""
    if solution.wavelet is not None:
        return WaveletConvolution.unchecked(solution.wavelet.detach())
    return solution.operator if calibrated else None


def split_names(given: Any) -> tuple[list[Any], list[str]]:
    """Models and classical methods among what was asked for: a name of the latter is never a model's."""
    names = {name for _, name in CLASSICAL}
    return [g for g in given if not (isinstance(g, str) and g in names)], [g for g in given if g in names]


class _clock:
    """Seconds between enter and exit, the device's work included."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.seconds = device, 0.0

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def __enter__(self) -> _clock:
        self.begin = self._now()
        return self

    def __exit__(self, *error: object) -> None:
        self.seconds = self._now() - self.begin
