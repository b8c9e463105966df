"""The section that a report shows: chosen before the first block, put together from what the blocks left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .geometry import Geometry, Section
from .plan import Axis, Plan
from .prepare import SurveyPlan
from .section import SectionResult

_MOST = 1 << 22  # samples


def choose_shown(survey: SurveyPlan) -> tuple[int, int, int]:
    """Number, first and stop trace: the middle one of the sections with live traces, or its middle if it is large."""
    alive = [k for k in range(len(survey.sizes)) if survey.live[survey.section(k)].any()]
    number = alive[len(alive) // 2]
    size = survey.sizes[number]
    width = min(size, max(64, _MOST // survey.samples))
    first = (size - width) // 2
    return number, first, first + width


def join_shown(
    shown: tuple[int, int, int], geometry: Geometry, plan: Plan, pieces: Sequence[dict[str, np.ndarray]]
) -> tuple[Section, np.ndarray, SectionResult]:
    """The shown traces, their data [T, X] and their result; zeros where no trace is live.

    plan: of the whole section. pieces: of the blocks that hold some of these traces.
    """
    number, first, stop = shown
    section = geometry.sections[number]
    images = np.zeros((3, plan.shape[0], stop - first), np.float32)
    for piece in pieces:
        begin = int(piece["first"]) - first
        for image, name in zip(images, ("data", "x", "residual"), strict=True):
            image[:, begin:begin + piece[name].shape[1]] = piece[name]
    names = ("patches", "iterations", "status")
    found = {name: np.concatenate([np.empty(0, np.int64), *(p[name] for p in pieces)]) for name in names}
    columns = [k for k, start in enumerate(plan.trace.starts) if first <= start < stop]
    row, column = np.divmod(found["patches"], len(plan.trace.starts))
    inside = np.isin(column, columns)
    axis = Axis(stop - first, plan.trace.patch, tuple(plan.trace.starts[k] - first for k in columns),
                plan.trace.weights[columns])
    result = SectionResult(
        x=images[1],
        residual=images[2],
        patches=row[inside] * len(columns) + column[inside] - columns[0],
        iterations=found["iterations"][inside],
        status=found["status"][inside],
        residuals=np.empty((0, int(inside.sum())), np.float32),
        wavelets=None,
        seconds={},
        backend="",
        plan=Plan(plan.time, axis),
        wavelet=np.empty(0, np.float32),
    )
    return replace(section, traces=section.traces[first:stop], numbers=section.numbers[first:stop]), images[0], result
