"""The way in: train a model by task and method."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..adaptive import Model
from ..errors import CheckpointError, InputError, describe
from ..tasks import make_folder
from . import presets
from .curves import CURVE
from .plan import TrainingPlan
from .processes import Processes, joined
from .state import STATE
from .trainer import Trainer


def train(
    task: str | TrainingPlan,
    method: str | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    preset: str = "compact",
    device: str = "cpu",
    threads: int | None = None,
    workers: int = 0,
    resume: bool | None = None,
    tensorboard: bool = False,
    progress: bool = False,
    log: Callable[[str], Any] = print,
    **fields: Any,
) -> Model:
    """Train a model for a task by a method into the folder `out`, or continue there.

    task: a name, with `method`, of the `preset` ("compact" or "paper") whose TrainingPlan takes `fields` in the
    place of its own; or a TrainingPlan. out: aafast-TASK-METHOD where it is None. device: cpu, cuda or cuda:N; under
    `torchrun` every process takes a GPU, or shares the CPU. threads: of torch in this process. workers: processes that
    draw the pairs ahead. resume: True asks for a run to continue, False throws away what an earlier run left, None
    continues where there is one. tensorboard: write events beside the CSV curve. progress: a bar on a terminal.
    Returns the averaged model, as it is saved in `out`. Raises InputError on a bad plan, CheckpointError where `out`
    holds a run of another plan, AafastError where the training diverges, BackendError for a device that cannot be used.
    """
    plan = _plan(task, method, preset, fields)
    if threads is not None:
        torch.set_num_threads(threads)
    folder = make_folder(f"aafast-{plan.task}-{plan.method}" if out is None else out)
    with joined(device) as processes:
        if resume and not (folder / STATE).is_file():
            raise CheckpointError(
                describe(f"run to resume in {folder}", f"no {STATE}", "a run that was stopped", "Start it without this")
            )
        if resume is False:
            _clear(folder, processes)
        trainer = Trainer(plan, folder, processes, tensorboard=tensorboard, workers=workers)
        return trainer.run(log=log, progress=progress)


def _plan(task: str | TrainingPlan, method: str | None, preset: str, fields: dict[str, Any]) -> TrainingPlan:
    if not isinstance(task, TrainingPlan):
        if method is None:
            raise InputError(describe("method to train", None, "the name of one", 'Pass "adaptive-lu", say'))
        return presets.preset(task, method, preset, **fields)
    if method not in (None, task.method) or fields:
        given = ", ".join([*([] if method is None else ["method"]), *fields])
        raise InputError(
            describe("arguments beside a TrainingPlan", given, "none", "Change the plan by dataclasses.replace")
        )
    return task


def _clear(folder: os.PathLike[str], processes: Processes) -> None:
    if processes.first:
        for name in (STATE, CURVE):
            Path(folder, name).unlink(missing_ok=True)
    processes.wait()
