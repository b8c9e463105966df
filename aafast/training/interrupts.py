"""Ctrl-C and SIGTERM, noted until a step is whole."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any


class Interrupts:
    """Within it SIGINT and SIGTERM are noted in `number`; a second Ctrl-C interrupts at once.

    Outside of the main thread, and for signals that are ignored, nothing is changed.
    """

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) in (signal.SIG_IGN, None):
                continue
            try:
                self._before[number] = signal.signal(number, self._note)
            except ValueError:  # not the main thread: whoever started it decides
                break
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.number == signal.SIGINT:
            self._restore()
            signal.raise_signal(number)
        self.number = self.number or number

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def __exit__(self, *error: object) -> None:
        self._restore()

    def deliver(self) -> None:
        """Let what was noted have the effect it would have had."""
        self._restore()
        if self.number:
            signal.raise_signal(self.number)
