"""A solve of many samples in a batch of few: finished samples leave, and waiting ones take their place."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ..config import FixedPointConfig
from ..errors import InputError, describe
from ..solvers import Progress, Solution, make_solver
from ..solvers.base import Aux, FixedPointSolver
from ..solvers.progress import poll_of


class Work(Protocol):
    """A batch of problems, any subset of which can be iterated. Every entry of the state has one row per sample.

    An index is an int64 tensor on the CPU; while the subset stays the same it is the same object.
    """

    def __len__(self) -> int:
        """Samples in all."""

    def start(self, index: Tensor) -> tuple[Tensor, Aux]:
        """x0 [b, ...] and the first state of the samples `index`."""

    def step(self, index: Tensor, x: Tensor, aux: Aux) -> tuple[Tensor, Aux]:
        """One iteration of the samples `index`: new tensors, or the arguments; the state's names stay the same."""


class _Active:
    """The samples under way: slot for slot their numbers, evaluations, points, states and records."""

    def __init__(self, work: Work, solver: FixedPointSolver, config: FixedPointConfig, keep: str, count: int) -> None:
        self.work, self.solver, self.config, self.keep = work, solver, config, keep
        self.samples = list(range(count))
        self.slots = list(range(count))
        self.ages = [0] * count
        self.index = torch.tensor(self.samples)
        self.waiting = count  # the next sample that has not started
        self.x, self.aux, self.progress = self._start(self.index)
        self.memory = solver.init(self.x)  # one row per slot, whoever is in it
        # A stopped sample may go on, unseen, until the next look.
        longest = config.max_iter + poll_of(self.x.device) - 1
        self.curve = self.x.new_full((longest, len(work)), float("nan"))

    def _start(self, index: Tensor) -> tuple[Tensor, Aux, Progress]:
        x, aux = self.work.start(index)
        for name, value in {"x0": x, **aux}.items():
            if len(value) != len(index):
                raise InputError(
                    describe(f"rows of {name}", len(value), f"{len(index)}, one per sample", "Give each sample its own")
                )
        return x, aux, Progress(x, aux, self.config, self.keep)

    def turn(self) -> None:
        """One evaluation of all."""
        image, fresh = self.work.step(self.index, self.x, self.aux)
        following, norms = self._propose(image)
        residual = self.progress.record(self.x, image, fresh, norms)
        self.curve[torch.tensor(self.ages), self.index] = residual
        self.ages = [age + 1 for age in self.ages]
        self.x, self.aux = self.progress.advance(following, fresh, (self.x, self.aux))

    def _propose(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The solver's proposals: one call for neighbours in the memory that have made equally many evaluations."""
        cuts = [0]
        for i in range(1, len(self.slots)):
            if self.slots[i] != self.slots[i - 1] + 1 or self.ages[i] != self.ages[i - 1]:
                cuts.append(i)
        cuts.append(len(self.slots))
        rows = len(next(iter(self.memory.values()), self.slots))
        if len(cuts) == 2 and len(self.slots) == rows:
            following, norms, self.memory = self.solver.propose(self.memory, self.ages[0], self.x, image)
            return following, norms
        parts, sizes = [], []
        for begin, end in zip(cuts, cuts[1:], strict=False):
            at = slice(self.slots[begin], self.slots[begin] + end - begin)
            own = {name: value[at] for name, value in self.memory.items()}
            part, size, after = self.solver.propose(own, self.ages[begin], self.x[begin:end], image[begin:end])
            for name, value in after.items():
                if value.data_ptr() != own[name].data_ptr():
                    own[name].copy_(value)
            parts.append(part)
            sizes.append(size)
        return torch.cat(parts), torch.cat(sizes)

    def exchange(self) -> tuple[Tensor, Progress] | None:
        """Take out the samples that have stopped and let waiting ones in; None where none has stopped."""
        stopped = (~self.progress.running).tolist()
        if not any(stopped):
            return None
        if all(stopped) and self.waiting == len(self.work):
            found = self.index, self.progress
            self.samples = []
            return found
        out = torch.tensor([i for i, stop in enumerate(stopped) if stop])
        found = self.index[out], self.progress.rows(out)
        free = [self.slots[i] for i in out.tolist()]
        fresh = list(range(self.waiting, min(len(self.work), self.waiting + len(free))))
        self.waiting += len(fresh)
        # (slot, row of the active ones or, after them, of the new ones, sample, age), in the order of the slots
        entries = [(self.slots[i], i, self.samples[i], self.ages[i]) for i, stop in enumerate(stopped) if not stop]
        entries += [(slot, len(stopped) + j, n, 0) for j, (slot, n) in enumerate(zip(free, fresh, strict=False))]
        self.slots, order, self.samples, self.ages = (list(column) for column in zip(*sorted(entries), strict=True))
        rows, self.index = torch.tensor(order), torch.tensor(self.samples)
        x, aux, progress = self.x, self.aux, self.progress
        if fresh:
            x0, aux0, start = self._start(torch.tensor(fresh))
            x, progress = torch.cat([x, x0]), progress.joined(start)
            aux = {name: torch.cat([value, aux0[name]]) for name, value in aux.items()}
        self.x, self.progress = x[rows], progress.rows(rows)
        self.aux = {name: value[rows] for name, value in aux.items()}
        return found


@torch.no_grad()
def stream(work: Work, config: FixedPointConfig, capacity: int, keep: str = "best", backend: str = "auto") -> Solution:
    """Solve all samples of `work`, at most `capacity` of them at a time.

    Rules, results and arguments are those of `iterate`, and each sample's answer is the one it has alone, to the last
    bit on a CPU where `step` treats samples alike whatever stands beside them. Without gradients. Raises InputError on
    an empty work or a capacity below 1.
    """
    for name, count in (("samples of a solve", len(work)), ("capacity of a solve", capacity)):
        if count < 1:
            raise InputError(describe(name, count, "at least 1", "Raise it"))
    active = _Active(work, make_solver(config, backend), config, keep, min(capacity, len(work)))
    poll, turns = poll_of(active.x.device), 0
    found: list[tuple[Tensor, Progress]] = []
    while active.samples:
        active.turn()
        turns += 1
        if turns % poll == 0:
            left = active.exchange()
            if left is not None:
                found.append(left)
    index, progress = found[0]
    if len(found) > 1:
        index = torch.cat([part for part, _ in found])
        for _, part in found[1:]:
            progress = progress.joined(part)
        progress = progress.rows(index.argsort())
    return progress.solution(active.curve[: int(progress.iterations.max())])
