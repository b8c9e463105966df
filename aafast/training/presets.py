"""Named plans by task: the paper's, and those of small networks that a CPU trains."""

from __future__ import annotations

from typing import Any

from ..checks import check_choice
from ..config import METHODS, FixedPointConfig, InnerSolver
from ..tasks import TASKS
from .losses import CALIBRATION
from .plan import TrainingPlan

# Without GroupNorm the answer at a pixel depends on its neighbourhood alone, so patches of a survey fit together.
_SMALL: dict[str, Any] = {"channels": 16, "depth": 6, "norm": "none", "skip": True}
_BRIEF: dict[str, Any] = {"steps": 1200, "batch": 4}
_FIXED = InnerSolver("none")
_EXACT = InnerSolver("exact", differentiate=True)
_CG = InnerSolver("cg", steps=4, differentiate=True)
# The gradient is that of the fixed point: from looser solves the model drifts when it is iterated further.
_EQUILIBRIUM: dict[str, Any] = {
    "normalise": False,
    "offset": "none",
    "eta": 0.01,
    "fixed_point": FixedPointConfig(),
}

# The full networks and what the paper and the published scripts state: AdamW at 1e-4, no schedule, no average of the
# weights. They state neither a number of batches nor one of images: `steps` is ours.
_PAPER: dict[str, Any] = {
    "steps": 50_000,
    "learning_rate": 1e-4,
    "weight_decay": 0.01,
    "schedule": "constant",
    "warm_up": 0,
    "clip": 0.0,
    "ema": 0.0,
    "loss": "mse",
    "mismatch": "in",
    "validate_every": 500,
}

_DECONV: dict[str, dict[str, Any]] = {
    "paper": {**_PAPER, "batch": 32, "shape": (128, 50)},
    "compact": {
        **_BRIEF,
        "steps": 1500,
        "batch": 8,
        "shape": (128, 32),
        "source": "mixed",
        # Signal-to-noise ratios differ by 25 dB: a mean of squares would be that of the hopeless pairs alone.
        "loss": "log",
        "settings": {
            **_SMALL,
            "lam": 0.05,
            "residual_channels": 16,
            "calibration": "wavelet",
            "z_solver": _EXACT,
            "theta_solver": InnerSolver("least-squares", damping=3.0),
        },
    },
}
_DEBLUR: dict[str, dict[str, Any]] = {
    "paper": {**_PAPER, "batch": 32, "shape": (110, 88)},
    "compact": {
        **_BRIEF,
        "shape": (48, 48),
        "settings": {
            **_SMALL,
            "lam": 0.05,
            "residual": "none",
            "calibration": "width",
            "z_solver": _CG,
            "theta_solver": _FIXED,
        },
    },
}
_DEFOG: dict[str, dict[str, Any]] = {
    "paper": {**_PAPER, "batch": 8, "shape": (128, 256)},
    "compact": {
        **_BRIEF,
        "shape": (48, 48),
        "settings": {
            **_SMALL,
            "eta": 0.01,  # the paper's -5 would leave the z-step out
            "lam": 0.01,
            "residual": "none",
            "calibration": "haze",
            "z_solver": _EXACT,
            "theta_solver": _FIXED,
        },
    },
}
PRESETS = {"deconv": _DECONV, "deblur": _DEBLUR, "defog": _DEFOG}
NAMES = ("compact", "paper", "calibration")
_OF_ADAPTIVE = ("eta", "lam", "residual", "residual_channels", "calibration", "z_solver", "theta_solver")
# What differs from "compact" where the calibration network of its adaptive models is trained.
_CALIBRATION: dict[str, Any] = {"loss": CALIBRATION, "steps": 2000, "batch": 16, "ema": 0.99, "validation_pairs": 64}


def preset(task: str, method: str, name: str = "compact", /, **fields: Any) -> TrainingPlan:
    """The plan of that name for a task and method, with `fields` of TrainingPlan in the place of its own.

    Raises InputError on an unknown name, task, method or field.
    """
    check_choice("task", task, tuple(TASKS))
    check_choice("method", method, METHODS)
    check_choice("preset", name, NAMES)
    values = dict(PRESETS[task]["compact" if name == "calibration" else name])
    if name == "calibration":
        check_choice("method of a calibration", method, tuple(m for m in METHODS if m.startswith("adaptive")))
        values |= _CALIBRATION
    settings = dict(values.get("settings", {}))
    if not method.startswith("adaptive"):
        settings = {key: value for key, value in settings.items() if key not in _OF_ADAPTIVE}
    if name != "paper" and method == "adaptive-deq":
        settings |= _EQUILIBRIUM
    for key, own in (("task", task), ("method", method)):
        check_choice(f"{key} of the training plan", fields.pop(key, own), (own,))
    return TrainingPlan.from_dict(
        {"task": task, "method": method, **values, "settings": settings, **fields}
    )
