"""Plans so small that a step takes milliseconds."""

from aafast.config import FixedPointConfig, InnerSolver
from aafast.training import TrainingPlan

SOLVERS = {"z_solver": InnerSolver("cg", steps=2, differentiate=True), "theta_solver": InnerSolver("none")}
TINY = {"channels": 8, "depth": 3, "norm": "none", "skip": True, "iterations": 2}
ADAPTIVE = {**TINY, **SOLVERS, "residual": "none"}
EQUILIBRIUM = {"normalise": False, "offset": "none", "fixed_point": FixedPointConfig(m=3, max_iter=4)}
SIZES = {"steps": 12, "batch": 2, "shape": (32, 16), "warm_up": 2, "validate_every": 6, "validation_pairs": 4,
         "mismatch": "in"}  # fmt: skip


def plan(task="deconv", method="adaptive-lu", settings=None, **fields):
    """A tiny plan of a task and method; `settings` beside the tiny ones."""
    own = ADAPTIVE if method.startswith("adaptive") else TINY
    own = {**own, **(EQUILIBRIUM if method == "adaptive-deq" else {}), **(settings or {})}
    return TrainingPlan(task, method, settings=own, **{**SIZES, **fields})


def silent(line):
    """No log."""
