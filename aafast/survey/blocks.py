"""Cut a survey into blocks: the unit of work, of resuming and of distribution.

A block is a run of patch columns of one section. It reads its core and a halo around it, and writes its core only.
What it writes is a function of the section's own grid of patches: where blocks are cut changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .plan import Axis, Plan

COLUMNS = 20  # patch columns of a block at most: one in so many is solved again by the neighbour


@dataclass(frozen=True)
class Block:
    """Traces first to stop - 1 of a section, and its columns of patches begin to end - 1, which are counted here."""

    number: int
    section: int
    first: int
    stop: int
    begin: int
    end: int


@dataclass(frozen=True)
class Halo:
    """What a block needs: patch columns that reach into its core, and traces first to stop - 1 that they cover."""

    columns: tuple[int, ...]
    first: int
    stop: int


def cut_sections(sizes: Sequence[int], axes: Sequence[Axis], most: int = COLUMNS) -> list[Block]:
    """Blocks of at most `most` patch columns each, of about equal width, in the order of sections and traces.

    sizes: traces of each section. axes: the trace axis of each section's plan.
    """
    blocks: list[Block] = []
    for section, (size, axis) in enumerate(zip(sizes, axes, strict=True)):
        columns = len(axis.starts)
        count = -(-columns // most)
        cuts = [round(k * columns / count) for k in range(count + 1)]
        borders = np.maximum.accumulate([0, *(_first_of(axis, begin) for begin in cuts[1:-1]), size]).tolist()
        for k in range(count):
            if borders[k] < borders[k + 1]:
                blocks.append(Block(len(blocks), section, borders[k], borders[k + 1], cuts[k], cuts[k + 1]))
    return blocks


def find_halo(block: Block, axis: Axis) -> Halo:
    """Columns whose weights are not all zero in the block's core, and the traces that they cover."""
    starts = np.asarray(axis.starts)
    near = np.flatnonzero((starts + axis.patch > block.first) & (starts < block.stop))
    columns = []
    for column in near.tolist():
        core = slice(max(0, block.first - axis.starts[column]), block.stop - axis.starts[column])
        if axis.weights[column, core].any():
            columns.append(column)
    first = min(axis.starts[column] for column in columns)
    stop = max(axis.starts[column] for column in columns) + axis.patch
    return Halo(tuple(columns), first, stop)


def patches_of(plan: Plan, columns: Sequence[int]) -> list[int]:
    """Numbers of the patches of these columns, ascending: the order in which every sample adds up its patches."""
    width = len(plan.trace.starts)
    return [row * width + column for row in range(len(plan.time.starts)) for column in sorted(columns)]


def _first_of(axis: Axis, column: int) -> int:
    """The first trace at which a column has a weight; where it has none, its start."""
    weighted = np.flatnonzero(axis.weights[column])
    return axis.starts[column] + (int(weighted[0]) if weighted.size else 0)
