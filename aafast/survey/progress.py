"""A progress bar and a stop watch per stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import require


class StopWatch:
    """Seconds per stage, added up over repeats; `seconds()` includes the total since it was made. busy: seconds of what
    may go on beside something else, and so is in no total."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._stages: dict[str, float] = {}
        self.busy: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add({stage: time.perf_counter() - start})

    def add(self, stages: dict[str, float]) -> None:
        """Add seconds measured elsewhere."""
        for stage, seconds in stages.items():
            self._stages[stage] = self._stages.get(stage, 0.0) + seconds

    def take(self, stage: str) -> float:
        """Forget a stage and return its seconds, to be told in another way."""
        return self._stages.pop(stage, 0.0)

    def seconds(self) -> dict[str, float]:
        """Seconds per stage, and `total`."""
        return {**self._stages, "total": time.perf_counter() - self._start}


@contextmanager
def trace_bar(total: int, show: bool) -> Iterator[Callable[[int, int, int], None]]:
    """A bar that counts traces; yields advance(traces of a section, its patches done, its patches).

    It is drawn on stderr where that is a terminal, and not at all with `show` false.
    """
    if not show:
        yield lambda traces, done, patches: None
        return
    tqdm = require("tqdm", extra="survey").tqdm
    with tqdm(total=total, unit="traces", disable=None, smoothing=0.1) as bar:
        finished, current = 0, 0

        def advance(traces: int, done: int, patches: int) -> None:
            nonlocal finished, current
            current = traces * done // patches
            bar.update(finished + current - bar.n)
            if done == patches:
                finished, current = finished + traces, 0

        yield advance
