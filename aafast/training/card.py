"""What the card of a trained model says of its origin."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path
from typing import Any

import torch

from ..tasks.checkpoint import WEIGHTS
from .plan import TrainingPlan
from .presets import NAMES, preset
from .processes import Processes

PLAN = "plan.json"
_OPTIONS = ("steps", "batch", "shape", "mismatch", "seed", "source", "init", "freeze", "amp")


def command(plan: TrainingPlan) -> str:
    """The command line that trains this plan: a preset and options, or else its own file of a plan."""
    asked, start = plan.to_dict(), f"aafast train {plan.task} {plan.method}"
    for name in NAMES:
        usual = preset(plan.task, plan.method, name).to_dict()
        other = [key for key in asked if asked[key] != usual[key]]
        if set(other) <= set(_OPTIONS):
            words = [word for key in _OPTIONS if key in other for word in _option(key, asked[key])]
            return " ".join([start, "--out DIR", *([] if name == NAMES[0] else ["--preset", name]), *words])
    return f"{start} --out DIR --config {PLAN}"


def _option(key: str, value: Any) -> list[str]:
    if key == "amp":
        return ["--amp"]
    if isinstance(value, list):
        return [f"--{key}", "x".join(str(n) for n in value)] if key == "shape" else [f"--{key}", *value]
    return [f"--{key}", str(value)]


def start_of(plan: TrainingPlan) -> dict[str, str] | None:
    """The model whose weights a run starts from, and which weights those were."""
    if plan.init is None:
        return None
    from ..tasks import shipped

    folder = shipped().get(plan.init, Path(plan.init))
    return {"folder": plan.init, "sha256": hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()}


def facts(plan: TrainingPlan, processes: Processes) -> dict[str, Any]:
    """Command, plan, data, code and machine of a run."""
    from .. import __version__
    from ..bench.rows import commit, processor

    device = processes.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    count = f"{torch.get_num_threads()} thread(s)" if device.type == "cpu" else ""
    machine = ", ".join(part for part in (device.type, name, count) if part)
    data = {"pairs": plan.steps * plan.batch, "source": plan.source, "mismatch": plan.mismatch, "seed": plan.seed}
    return {
        "command": command(plan),
        "plan": plan.to_dict(),
        "data": {"function": "aafast.tasks.draw_pairs", "shape": list(plan.shape or ()), **data, **plan.data},
        "code": {"aafast": __version__, "commit": commit()},
        "device": machine if processes.world == 1 else f"{processes.world} processes, each: {machine}",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
