"""The batches of a run: the same ones whatever number of processes share them and of workers draw them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset

from .. import tasks
from ..tasks import TaskBatch
from .plan import TrainingPlan
from .processes import Processes


def options(plan: TrainingPlan, split: str) -> dict[str, Any]:
    """The arguments of `aafast.tasks.draw_pairs` that a plan's pairs have in common."""
    # JSON has lists where options are tuples.
    own = {name: tuple(value) if isinstance(value, list) else value for name, value in plan.data.items()}
    common = {"shape": plan.shape, "seed": plan.seed, "mismatch": plan.mismatch, "source": plan.source, "split": split}
    return {**own, **common}


def held_out(plan: TrainingPlan) -> TaskBatch:
    """The pairs of validation."""
    return tasks.draw_pairs(plan.task, plan.validation_pairs, **options(plan, "valid"))


class _Share(Dataset):
    """This process's part of batch `first`, `first + 1`, ...: batch b holds the pairs b * batch, b * batch + 1, ..."""

    def __init__(self, plan: TrainingPlan, first: int, processes: Processes) -> None:
        self.plan, self.first, self.options = plan, first, options(plan, "train")
        self.size = plan.batch // processes.world
        self.offset = processes.rank * self.size

    def __len__(self) -> int:
        return self.plan.steps - self.first

    def __getitem__(self, index: int) -> TaskBatch:
        start = (self.first + index) * self.plan.batch + self.offset
        return tasks.draw_pairs(self.plan.task, self.size, start=start, **self.options)


def batches(plan: TrainingPlan, first: int, processes: Processes, workers: int = 0) -> Iterator[TaskBatch]:
    """This process's part of every batch from `first` on, drawn by `workers` further processes (0: by this one)."""
    share = _Share(plan, first, processes)
    # The order is the plan's and nothing is shuffled, so that a resumed run meets the same batches.
    return iter(DataLoader(share, batch_size=None, shuffle=False, num_workers=workers))
