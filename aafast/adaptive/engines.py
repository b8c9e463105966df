"""Where engines plug in: a faster way to run a whole solve, registered by the floor above."""

from __future__ import annotations

import os
from typing import Any, Protocol

from torch import Tensor, nn

from ..errors import BackendError, describe
from ..ops._dispatch import VARIABLE
from ..physics import ForwardModel
from ..solvers import Solution


class Engine(Protocol):
    """Solves what a model's own `solve` would, to rounding, when no gradient is asked for. `model` is a Model."""

    name: str  # of the backend

    def refusal(self, model: Any, y: Tensor, A0: ForwardModel) -> str | None:
        """Why it cannot take this model, or None."""

    def solve(self, model: Any, y: Tensor, A0: ForwardModel) -> Solution:
        """Solve one checked batch."""


_engines: dict[str, Engine] = {}


def register(engine: Engine) -> None:
    """Make an engine known; later ones are tried after earlier ones."""
    _engines[engine.name] = engine


def find(backend: str, model: nn.Module, y: Tensor, A0: ForwardModel) -> Engine | None:
    """The engine for a solve: the one asked for by name, else the first that can, else None (the eager loop).

    The name is that of `model.backend`, or of AAFAST_BACKEND where that is "auto". Raises BackendError where `backend`
    names an engine that cannot run this model, with its reason.
    """
    if backend != "auto":
        if backend not in _engines:
            return None
        reason = _engines[backend].refusal(model, y, A0)
        if reason is not None:
            raise BackendError(
                describe(f"backend {backend} of the model", reason, "a model and data it can run", "Use backend='auto'")
            )
        return _engines[backend]
    asked = os.environ.get(VARIABLE, "auto")
    for name, engine in _engines.items():
        if asked in ("auto", name) and engine.refusal(model, y, A0) is None:
            return engine
    return None
