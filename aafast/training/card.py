"""What the card of a trained model says of its origin."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ..evaluation.rows import facts
from ..tasks import shipped
from ..tasks.checkpoint import WEIGHTS, root
from .plan import TrainingPlan
from .presets import NAMES, preset
from .processes import Processes

PLAN = "plan.json"
_OPTIONS = ("steps", "batch", "shape", "mismatch", "seed", "source", "init", "calibration", "freeze", "amp")


def command(plan: TrainingPlan) -> str:
    """The command line that trains this plan: a preset and options, or else its own file of a plan."""
    asked, start = plan.to_dict(), f"aafast train {plan.task} {plan.method}"
    for name in NAMES if plan.method.startswith("adaptive") else NAMES[:2]:
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


def starts(plan: TrainingPlan) -> dict[str, dict[str, str]]:
    """The models that a run takes weights from ("init", "calibration"), and which weights those were.

    "root": where the training went on from weights that came about that way themselves, the first of them.
    """
    found = {}
    for part in ("init", "calibration"):
        name = getattr(plan, part)
        if name is not None:
            folder = shipped().get(name, Path(name))
            digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
            found[part] = {"folder": name, "sha256": digest, "root": root(folder) or digest}
    return found


def origin(plan: TrainingPlan, processes: Processes) -> dict[str, Any]:
    """Command, plan, data, versions of the code, and machine of a run."""
    data = {
        "function": "aafast.tasks.draw_pairs",
        "source": plan.source,
        "pairs": plan.steps * plan.batch,
        "shape": list(plan.shape or ()),
        "mismatch": plan.mismatch,
        "seed": plan.seed,
        **plan.data,
    }
    return {
        "command": command(plan),
        "plan": plan.to_dict(),
        "data": data,
        **facts(str(processes.device)),
        "processes": processes.world,
        **starts(plan),
    }
