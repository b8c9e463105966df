"""Models by task and method: the paper's settings as default, any field overridden by name."""

from __future__ import annotations

from typing import Any

import torch

from ..adaptive import MODELS, Model
from ..checks import check_choice
from ..config import METHODS, FixedPointConfig, ModelConfig
from ..errors import InputError, describe
from . import deblur, deconv, defog

TASKS = {"deblur": deblur, "deconv": deconv, "defog": defog}


def settings(task: str, method: str, **overrides: Any) -> ModelConfig:
    """The paper's settings of a task and method, with `overrides` of ModelConfig's fields.

    Raises InputError on an unknown task, method or field.
    """
    module = TASKS[check_choice("task", task, tuple(TASKS))]
    check_choice("method", method, METHODS)
    values: dict[str, Any] = {
        "task": task,
        "method": method,
        "image_channels": module.IMAGE_CHANNELS,
        "depth": module.DEPTH,
        "eta": module.ETA.get(method, 0.0),
        **module.PENALTIES.get(method, {}),
    }
    if method.startswith("adaptive"):
        values["residual"] = module.RESIDUAL
    if method == "adaptive-deq":
        values |= {
            "normalise": True,
            "gradient": "one-step",
            "fixed_point": FixedPointConfig(**module.FIXED_POINT),
        }
        values |= module.DEQ
    known = set(ModelConfig.__dataclass_fields__)
    unknown = sorted(set(overrides) - known)
    if unknown:
        raise InputError(describe("settings", ", ".join(unknown), ", ".join(sorted(known)), "Correct the name"))
    return ModelConfig(**(values | overrides))


def build(task: str, method: str, seed: int = 0, **overrides: Any) -> Model:
    """A model with fresh weights, the same for the same seed; see `settings` for the arguments."""
    return build_from(settings(task, method, **overrides), seed)


def build_from(config: ModelConfig, seed: int = 0) -> Model:
    """A model with fresh weights from its settings."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MODELS[config.method](config)
