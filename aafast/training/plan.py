"""What fixes a training run: one frozen record, written and read as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..checks import check_choice
from ..config import FixedPointConfig, InnerSolver, ModelConfig
from ..errors import FileError, FormatError, InputError, describe
from ..tasks import settings as model_settings
from .losses import CALIBRATION, LOSSES, OF_TASK

SCHEDULES = ("cosine", "constant")
_COUNTS = {"steps": 1, "batch": 1, "warm_up": 0, "seed": 0, "validate_every": 1, "validation_pairs": 1,
           "deepen": 0}  # fmt: skip
_RECORDS: dict[str, type[Any]] = {"z_solver": InnerSolver, "theta_solver": InnerSolver, "fixed_point": FixedPointConfig}


@dataclass(frozen=True)
class TrainingPlan:
    """What fixes a training run: the same plan gives the same batches in the same order, and the same losses.

    task, method: as in `aafast.build`. settings: ModelConfig's fields while training, beside the paper's; shipped:
    those that differ once more in the model that is saved.
    steps, batch: batches and pairs in each (over all processes). shape: (H, W), None for `tasks.SHAPES[task]`.
    mismatch, source, data: level, source and further options of `aafast.tasks.draw_pairs`.
    loss: a name of `losses.LOSSES`, "calibration" to train the calibration network alone, None for the task's.
    learning_rate, weight_decay: AdamW's, under a cosine to zero or constant, after `warm_up` linear steps (at most a
    quarter of the run). clip: of the gradient's norm, 0 for none.
    ema: decay of the averaged weights, which are what is saved, 0 for none. amp: the proximal network in bfloat16.
    deepen: an unrolled model is trained with K to K + deepen iterations, drawn anew for every batch, so that it may be
    run for longer than the K it is saved with; 0 for always K.
    init: folder of a model whose weights to start from; calibration: of one whose calibration network to take. freeze:
    beginnings of names of parameters that stay as they are. seed: of fresh weights and data. A row of scores on
    `validation_pairs` held-out pairs, and a saved state,
    every `validate_every` steps.
    """

    task: str
    method: str
    settings: dict[str, Any] = field(default_factory=dict)
    shipped: dict[str, Any] = field(default_factory=dict)
    steps: int = 4000
    batch: int = 8
    shape: tuple[int, int] | None = None
    mismatch: str = "out"
    source: str = "generated"
    data: dict[str, Any] = field(default_factory=dict)
    loss: str | None = None
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    schedule: str = "cosine"
    warm_up: int = 100
    clip: float = 1.0
    ema: float = 0.998
    amp: bool = False
    deepen: int = 0
    init: str | None = None
    calibration: str | None = None
    freeze: tuple[str, ...] = ()
    seed: int = 1
    validate_every: int = 250
    validation_pairs: int = 24

    def __post_init__(self) -> None:
        for name in ("settings", "shipped"):
            self._set(name, _records(name, getattr(self, name)))
            self.config(name)  # checks task, method and the settings
        for name, least in _COUNTS.items():
            count = getattr(self, name)
            if not isinstance(count, int) or isinstance(count, bool) or count < least:
                raise _wrong(name, repr(count), f"a whole number >= {least}", "Change it")
        ranges = {"learning_rate": (0.0, math.inf), "weight_decay": (-1e-300, math.inf), "clip": (-1e-300, math.inf)}
        for name, (low, high) in {**ranges, "ema": (-1e-300, 1.0)}.items():
            number = getattr(self, name)
            if not isinstance(number, int | float) or isinstance(number, bool) or not low < number < high:
                bound = "above 0" if low == 0 else "0 or more"
                raise _wrong(name, repr(number), bound + (", below 1" if high == 1 else ""), "Change it")
        loss = OF_TASK[self.task] if self.loss is None else self.loss
        self._set("loss", check_choice("loss", loss, (*LOSSES, CALIBRATION)))
        check_choice("schedule", self.schedule, SCHEDULES)
        if self.deepen and not self.method.endswith("-lu"):
            raise _wrong("deepen", f"{self.deepen} for {self.method}", "0, or an unrolled method", "Leave it out")
        if self.shape is None:
            from ..tasks import SHAPES

            self._set("shape", SHAPES[self.task])
        shape = self.shape
        if not isinstance(shape, list | tuple) or len(shape) != 2 or not all(isinstance(n, int) for n in shape):
            raise _wrong("shape", repr(shape), "two whole numbers, height and width", "Change it")
        self._set("shape", (shape[0], shape[1]))
        if isinstance(self.freeze, str) or not all(isinstance(name, str) for name in self.freeze):
            raise _wrong("freeze", repr(self.freeze), "a list of beginnings of names", 'Write ["calibration"], say')
        self._set("freeze", tuple(self.freeze))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def config(self, which: str = "settings") -> ModelConfig:
        """The settings of the model that is trained ("settings"), or of the one that is saved ("shipped")."""
        overrides = self.settings | (self.shipped if which == "shipped" else {})
        return model_settings(self.task, self.method, **overrides)

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON-ready values."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainingPlan:
        """Rebuild a plan from `to_dict`; raise InputError on an unknown, missing or bad field."""
        names = [f.name for f in dataclasses.fields(cls)]
        refuse_unknown("the training plan", values, names)
        missing = [name for name in ("task", "method") if name not in values]
        if missing:
            raise _wrong(" and ".join(missing), "nothing", "a task and a method", "Add them")
        return cls(**values)


def _wrong(name: str, got: str, expected: str, do: str) -> InputError:
    return InputError(describe(f"{name} of the training plan", got, expected, do))


def refuse_unknown(what: str, values: dict[str, Any], known: list[str]) -> None:
    """Raise InputError, by name, for what is not a known field."""
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InputError(
            describe(f"fields of {what}", ", ".join(unknown), ", ".join(sorted(known)), "Correct the name")
        )


def _records(name: str, values: Any) -> dict[str, Any]:
    """Overrides of ModelConfig with solvers that were read from JSON as the records they stand for."""
    if not isinstance(values, dict):
        raise _wrong(name, repr(values), "fields of ModelConfig by name", "Write an object")
    found = dict(values)
    for key, record in _RECORDS.items():
        if isinstance(found.get(key), dict):
            refuse_unknown(f"{key} in {name} of the training plan", found[key], [*record.__dataclass_fields__])
            try:
                found[key] = record(**found[key])
            except TypeError as error:
                raise _wrong(f"{key} in {name}", str(error), "its fields", "Correct them") from error
    return found


def read_fields(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The fields of a plan in a JSON file; FileError where it cannot be read, FormatError where it is no object."""
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(
            describe(f"training plan {path}", error.strerror, "a JSON file that can be read", "Check its name")
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FormatError(
            describe(
                f"training plan {path}",
                f"text that is no JSON ({error})",
                "a JSON object",
                "Start from what --print-config prints",
            )
        ) from error
    if not isinstance(values, dict):
        raise FormatError(
            describe(
                f"training plan {path}", type(values).__name__, "a JSON object", "Start from what --print-config prints"
            )
        )
    return values


def depth(plan: TrainingPlan, step: int) -> int:
    """The iterations of an unrolled model at one step, the same in every process: K to K + deepen."""
    return plan.config().iterations + random.Random(f"{plan.seed} {step}").randint(0, plan.deepen)


def learning_rate(plan: TrainingPlan, step: int) -> float:
    """The rate of one step: a linear warm-up, times half a cosine to zero unless the schedule is constant."""
    warm_up = max(1, min(plan.warm_up, plan.steps // 4))
    rise = min(1.0, (step + 1) / warm_up)
    fall = 0.5 * (1 + math.cos(math.pi * step / plan.steps)) if plan.schedule == "cosine" else 1.0
    return plan.learning_rate * rise * fall
