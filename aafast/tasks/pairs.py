"""Pairs of every task behind one face: truth, measurement, the forward model told and the one that made it."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from ..checks import MIN_SIDE, check_choice
from ..data.splits import SPLITS
from ..errors import InputError, describe
from .batch import TaskBatch
from .build import TASKS

SHAPES = {name: module.SHAPE for name, module in TASKS.items()}


def draw_pairs(
    task: str,
    batch: int,
    shape: tuple[int, int] | None = None,
    seed: int = 0,
    mismatch: Any = "in",
    start: int = 0,
    split: str = "train",
    source: str | os.PathLike[str] = "generated",
    **options: Any,
) -> TaskBatch:
    """Draw pairs of a task; pair i depends on (seed, start + i, split) alone, never on the size of the batch.

    The truth, the true forward model and the noise of the image tasks do not depend on `mismatch` either.

    Args:
        task: "deconv", "deblur" or "defog".
        batch: number of pairs B, at least 1.
        shape: (H, W) of the images, each at least 8; None is SHAPES[task].
        seed: 0 or more.
        mismatch: "none", "in", "out", "beyond", or a Mismatch, BlurMismatch or HazeMismatch of aafast.data.
        start: index of the first pair.
        split: "train", "valid" or "test", which share no image.
        source: "generated"; "photographs", scikit-image's test images (deblur, defog; split test); or a folder with
            CelebA or your own images (deblur), Cityscapes (defog), wells or models (deconv; split test). docs/data.md
            says how they are laid out.
        options: of the task, see its `draw`: deconv snr_db, taps; deblur sigma, noise; defog beta, noise, nominal,
            fog.

    Returns:
        TaskBatch on the CPU.

    Raises:
        InputError: an argument is out of range.
        FileError: the source, or a part of it, is missing; says what to download and where to put it.
        FormatError: a file of the source is damaged or does not fit the others.
    """
    module = TASKS[check_choice("task", task, tuple(TASKS))]
    check_choice("split", split, tuple(SPLITS))
    size = tuple(module.SHAPE if shape is None else shape)
    if batch < 1 or len(size) != 2 or min(size) < MIN_SIDE:
        raise InputError(
            describe(
                "size of the pairs",
                f"batch {batch}, shape {size}",
                f"batch of at least 1, (H, W) of at least {MIN_SIDE} each",
                "Ask for more",
            )
        )
    if seed < 0 or start < 0:
        raise InputError(describe("seed and start", (seed, start), "0 or more", "Pass non-negative integers"))
    known = set(inspect.signature(module.draw).parameters) - set(inspect.signature(draw_pairs).parameters)
    if not known.issuperset(options):
        unknown = ", ".join(sorted(set(options) - known))
        raise InputError(describe(f"options of {task}", unknown, ", ".join(sorted(known)), "Correct the name"))
    return module.draw(batch, size, seed, mismatch, start, split, source, **options)


class PairStream(IterableDataset):
    """Endless batches of `draw_pairs`; batch b holds the pairs b * batch, ..., b * batch + batch - 1.

    Iterate it directly, or hand it to `torch.utils.data.DataLoader(stream, batch_size=None, num_workers=n)`:
    worker k makes batches k, k + n, ..., which the loader returns in order, so the sequence is the same for
    every number of workers.

    Args:
        task: as in `draw_pairs`.
        batch: pairs per batch.
        first: number of the first batch, to continue an interrupted training.
        options: as in `draw_pairs`, without `start`.
    """

    def __init__(self, task: str, batch: int, first: int = 0, **options: Any) -> None:
        super().__init__()
        self.task, self.batch, self.first, self.options = task, batch, first, options

    def __iter__(self) -> Iterator[TaskBatch]:
        worker = get_worker_info()
        number, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        number += self.first
        while True:
            yield draw_pairs(self.task, self.batch, start=number * self.batch, **self.options)
            number += step
