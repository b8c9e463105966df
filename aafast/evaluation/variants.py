"""Variants of a trained model for the ablations, each the same weights with one thing changed.

| variant | what it changes |
|---|---|
| as-saved | nothing |
| frozen | z and theta untouched, nothing calibrated: what the network does by itself |
| no-theta | theta untouched, nothing calibrated: z descends on the nominal forward model |
| authors | one AdamW step of size 1e-4 for z and for theta per iteration, nothing calibrated |
| no-calibration | nothing calibrated before the iterations, theta updated as saved |
| calibration-only | calibrated as saved, theta untouched |
| theta-uniform, theta-xavier | theta's matrices and kernels start at other random values: Kaiming uniform, Xavier |
| theta-uniform-10, theta-xavier-10 | the same over 10, the scale at which this package starts its networks |
| as-published | robust-lu as its deblurring script runs it, `x - exp(eta) A0 A0 x - A0 y`: a misplaced bracket |

A theta-step that fits its convolutional rest to the data leaves next to nothing of it. A model that was trained so has
none in "no-theta" and "calibration-only" either: y_hat = A z, not A z and kernels that it never met.

What is a vector in theta (biases, GroupNorm's factors, the wavelet correction) keeps its start in the last but one:
neither scheme is defined for vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..adaptive import Model, RobustLU
from ..adaptive.theta_solvers import THETA_STARTS
from ..config import InnerSolver, ModelConfig
from ..errors import InputError, describe
from ..physics import ForwardModel
from ..solvers import Solution, iterate
from ..tasks import build_from

NO_Z = InnerSolver("adamw", lr=0.0, weight_decay=0.0)
NO_THETA = InnerSolver("none")
AUTHORS = InnerSolver("adamw")
AS_SAVED = "as-saved"
_SOLVERS: dict[str, dict[str, Any]] = {
    "frozen": {"z_solver": NO_Z, "theta_solver": NO_THETA, "calibration": "none"},
    "no-theta": {"theta_solver": NO_THETA, "calibration": "none"},
    "authors": {"z_solver": AUTHORS, "theta_solver": AUTHORS, "calibration": "none"},
    "no-calibration": {"calibration": "none"},
    "calibration-only": {"theta_solver": NO_THETA},
}
_STARTS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "theta-uniform": (nn.init.kaiming_uniform_, 1.0),
    "theta-xavier": (nn.init.xavier_uniform_, 1.0),
    "theta-uniform-10": (nn.init.kaiming_uniform_, 0.1),
    "theta-xavier-10": (nn.init.xavier_uniform_, 0.1),
}
AS_PUBLISHED = "as-published"
VARIANTS = (AS_SAVED, *_SOLVERS, *_STARTS, AS_PUBLISHED)


class PublishedRobustLU(RobustLU):
    """Robust LU with the misplaced bracket of the published deblurring script, to evaluate what was compared.

    x <- R(x - exp(eta) A0 A0 x - A0 y), K times from x = y: the data are subtracted where the step should add them.
    A0 stands where its adjoint should, which is the same for a symmetric kernel.
    """

    def solve(self, y: Tensor, A0: ForwardModel) -> Solution:
        def step(x: Tensor, aux: dict) -> tuple[Tensor, dict]:
            return self.prox(x - torch.exp(self.eta) * A0.A(A0.A(x)) - A0.A(y)), aux

        return iterate(step, y, {}, *self.outer())


def applies(name: str, config: ModelConfig) -> bool:
    """Whether a variant changes anything of a model with these settings."""
    adaptive = config.method.startswith("adaptive")
    calibrated = config.calibration != "none"
    if name == AS_PUBLISHED:
        return config.method == "robust-lu"
    if name in ("no-calibration", "calibration-only"):
        return calibrated and (adaptive or name == "no-calibration")
    if name in _SOLVERS:
        return adaptive
    if name in _STARTS:
        return adaptive and config.residual != "none"
    return name == AS_SAVED


def variant(model: Model, name: str, seed: int = 0) -> Model:
    """A copy of the model with what the variant changes; `seed` is that of a random start of theta.

    Raises InputError on an unknown name, or one that does not apply to this model.
    """
    if not applies(name, model.config):
        raise InputError(
            describe(
                f"variant {name!r} of a model",
                f"{model.config.method} of {model.config.task}",
                " | ".join(n for n in VARIANTS if applies(n, model.config)),
                "Use one of these for it",
            )
        )
    found = PublishedRobustLU(model.config) if name == AS_PUBLISHED else build_from(model.config)
    model.refresh()  # else the copy would take norms for known that are not
    found.load_state_dict(model.state_dict())
    found = found.to(model.eta.device, model.eta.dtype).eval()
    found.backend, found.precision = model.backend, model.precision
    if name in _SOLVERS:
        found.config = replace(model.config, **_SOLVERS[name])
        if found.config.theta_solver == NO_THETA and model.config.theta_solver.name in THETA_STARTS:
            with torch.no_grad():
                found.residual.start_values["conv3_weight"].zero_()
    elif name in _STARTS:
        draw, factor = _STARTS[name]
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            for name, value in found.named_parameters():
                if name.startswith("residual.start_values.") and value.ndim > 1:
                    value.copy_(factor * draw(torch.empty_like(value, device="cpu")))
        found.refresh()
    elif name == AS_PUBLISHED:
        found.backend = "eager"  # an engine knows the corrected iteration alone
    return found
