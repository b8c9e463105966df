"""Run the reference on the inputs and weights of a golden file and set every stored array beside its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aafast.reference.adaptive_deq import AdaptiveDEQ
from aafast.reference.adaptive_lu import AdaptiveLU
from aafast.reference.anderson import anderson
from aafast.reference.build import ETA, TASKS, build
from aafast.reference.robust_lu import RobustLU

Pairs = dict[str, tuple[Tensor, Tensor]]
DEQ_ITERATIONS = 8
STATE = "final."
ANDERSON_NAMES = tuple(f"anderson_{i}" for i in range(3))
NAMES = (*ANDERSON_NAMES, *(f"{task}_{method}" for task in TASKS for method in ETA))


def load(path: Path) -> dict[str, Tensor]:
    """Read a golden file, never unpickling; float16 weights become the float64 numbers they were used as."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    other = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]
    if other:
        raise ValueError(f"{other[0]} is no array")
    return {
        name: torch.from_numpy(np.asarray(array, np.float64 if array.dtype == np.float16 else None))
        for name, array in arrays.items()
    }


def reproduce(name: str, arrays: dict[str, Tensor]) -> Pairs:
    """Compute every stored result of a golden file.

    Args:
        name: the file's name without suffix, `{task}_{method}` or `anderson_{i}`.
        arrays: what `load` returns.

    Returns:
        For each quantity the pair (computed, expected): iterates, losses and residuals stacked along the
        first axis, and each `final.*`, the state of the mismatch network after the run.
    """
    if name.startswith("anderson_"):
        return _anderson(arrays)
    task, method = name.split("_", 1)
    model = restore(task, method, arrays)
    y, A0 = arrays["y"], arrays["A0"]
    with torch.no_grad():
        if isinstance(model, RobustLU):
            return {"xs": (torch.stack(model.run(y, A0, len(arrays["xs"]))), arrays["xs"])}
        if isinstance(model, AdaptiveLU):
            run = _stacked(model.run(y, A0, len(arrays["xs"])), ("zs", "xs", "loss_z", "loss_theta"))
        else:
            solve = model.run(y, A0, DEQ_ITERATIONS, record=True)
            run = _stacked(solve, ("x_in", "x_out", "zs"))
            run |= {"x": solve.x, "residuals": torch.tensor(solve.residuals, dtype=torch.float64)}
    pairs = {key: (value, arrays[key]) for key, value in run.items()}
    return pairs | state(model.mismatch, arrays)


def _stacked(record: object, names: tuple[str, ...]) -> dict[str, Tensor]:
    return {name: torch.stack(getattr(record, name)) for name in names}


def required(name: str) -> set[str]:
    """The arrays that a golden file of this name must hold."""
    if name.startswith("anderson_"):
        return {"M", "c", "m", "lam", "beta", "max_iter", "tol", "x", "residuals"}
    task, method = name.split("_", 1)
    model = build(task, method)
    if isinstance(model, RobustLU):
        return {"y", "A0", "xs", *(f"net.{key}" for key in model.state_dict())}
    results = {
        "adaptive_lu": ("zs", "xs", "loss_z", "loss_theta"),
        "adaptive_deq": ("x_in", "x_out", "zs", "x", "residuals"),
    }[method]
    theta = model.mismatch.state_dict()
    final = (key for key in theta if not key.endswith("weight_u"))
    return {
        "y", "A0", *results, *(f"netA.{key}" for key in theta), *(f"{STATE}{key}" for key in final),
        *(f"netR.{key}" for key in model.prox.state_dict()),
    }


def restore(task: str, method: str, arrays: dict[str, Tensor]) -> RobustLU | AdaptiveLU | AdaptiveDEQ:
    """Build the float64 model that a golden file's weights belong to, every weight loaded by name."""
    model = build(task, method, dtype=torch.float64)
    if isinstance(model, RobustLU):
        model.load_state_dict(under("net.", arrays))
    else:
        model.mismatch.load_state_dict(under("netA.", arrays))
        model.prox.load_state_dict(under("netR.", arrays))
    return model


def under(prefix: str, arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    """The arrays whose names start with prefix, without it."""
    return {name[len(prefix):]: array for name, array in arrays.items() if name.startswith(prefix)}


def state(mismatch: nn.Module, arrays: dict[str, Tensor]) -> Pairs:
    """Pair each array of `final.*` with the network's; large ones are stored as [sum, 2-norm].

    Not stored: u of the power iterations, and the normalised weights of linear layers.
    """
    values = mismatch.state_dict()
    pairs: Pairs = {}
    for name, expected in under(STATE, arrays).items():
        computed = values[name]
        if computed.shape != expected.shape:
            computed = torch.stack([computed.sum(), computed.norm()])
        pairs[STATE + name] = computed, expected
    return pairs


def errors(pairs: Pairs) -> dict[str, float]:
    """The error of each quantity; all of `final.*` is one of them, a vector.

    Not array by array: biases in front of a BatchNorm have zero gradient, what AdamW makes of them is rounding,
    and their array differs by 1e-8 between machines (see `tests/reference/test_rounding.py`).
    """
    found = {name: relative_error(name, *pair) for name, pair in pairs.items() if not name.startswith(STATE)}
    parts = [pair for name, pair in pairs.items() if name.startswith(STATE)]
    if parts:
        found["final"] = vector_error(parts)
    return found


def vector_error(parts: list[tuple[Tensor, Tensor]]) -> float:
    """The relative error of several (computed, expected) tensors taken as one vector."""
    return relative_error("vector", *(torch.cat([part[k].double().flatten() for part in parts]) for k in (0, 1)))


def relative_error(quantity: str, computed: Tensor, expected: Tensor) -> float:
    """The error of one quantity, `||computed - expected||_2 / ||expected||_2`.

    Quantities with one entry per iteration (iterates, losses) are held iteration by iteration, and the worst
    counts. `x`, `vector`, and the residuals of a solve (small differences of large numbers) are one vector each.

    Returns:
        The error; infinite where shapes differ, NaN where either side is not finite.
    """
    if computed.shape != expected.shape:
        return float("inf")
    rows = 1 if quantity in ("x", "residuals", "vector") else len(expected)
    error = (computed - expected).double().reshape(rows, -1).norm(dim=1)
    return (error / expected.double().reshape(rows, -1).norm(dim=1)).max().item()


def _anderson(arrays: dict[str, Tensor]) -> Pairs:
    M, c = arrays["M"], arrays["c"]
    shape = arrays["x"].shape

    def affine(v: Tensor) -> Tensor:
        return (torch.einsum("bij,bj->bi", M, v.reshape(len(M), -1)) + c).reshape(shape)

    settings: dict[str, Any] = {key: arrays[key].item() for key in ("m", "lam", "beta", "max_iter", "tol")}
    x, residuals = anderson(affine, torch.zeros(shape, dtype=torch.float64), **settings)
    computed = torch.tensor(residuals, dtype=torch.float64)
    return {"x": (x, arrays["x"]), "residuals": (computed, arrays["residuals"])}
