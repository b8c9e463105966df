"""A progress bar on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


class Progress:
    """Counts steps on stderr where that is a terminal and tqdm is installed, and is silent elsewhere."""

    def __init__(self, total: int, done: int, show: bool) -> None:
        self._bar: Any = None
        if not show or not sys.stderr.isatty():
            return
        try:
            from tqdm import tqdm
        except ImportError:  # the lines per validation are enough to follow a run
            return
        self._bar = tqdm(total=total, initial=done, unit="step", smoothing=0.1)

    def advance(self, loss: float) -> None:
        """One step more."""
        if self._bar is not None:
            self._bar.update()
            self._bar.set_postfix(loss=f"{loss:.4g}", refresh=False)

    def say(self, log: Callable[[str], Any], line: str) -> None:
        """Log a line without tearing the bar."""
        if self._bar is not None:
            self._bar.clear()
        log(line)
        if self._bar is not None:
            self._bar.refresh()

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()
