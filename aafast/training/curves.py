"""The curve of a run: a CSV row per step, and TensorBoard events where they are asked for."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

from ..errors import require

CURVE, EVENTS = "curve.csv", "tensorboard"
STEP = ("step", "loss", "learning_rate", "gradient_norm", "seconds")
SCORES = ("valid_loss", "input_loss", "psnr_db", "input_psnr_db", "ser_db", "input_ser_db", "iterations")


def read_curve(folder: str | os.PathLike[str]) -> list[dict[str, float]]:
    """The rows of a run's curve: scores where validation was due, and those alone at step 0, before the first batch."""
    path = Path(folder) / CURVE
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if None not in row.values()]
    kept = [{name: float(text) for name, text in row.items() if text} for row in rows]
    return [{**row, "step": int(row["step"])} for row in kept]


class Curve:
    """The rows of a run in `folder`; those after step `done` are dropped, as the run goes on from there."""

    def __init__(self, folder: Path, done: int, tensorboard: bool = False) -> None:
        self.path = folder / CURVE
        kept = [row for row in read_curve(folder) if row["step"] <= done]
        self._events = None
        if tensorboard:
            writer = require("torch.utils.tensorboard", extra="tensorboard").SummaryWriter
            self._events = writer(str(folder / EVENTS), purge_step=done + 1)
        temporary = folder / f".{CURVE}"
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow([*STEP, *SCORES])
        self._append(temporary, kept)
        os.replace(temporary, self.path)
        self._waiting: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any]) -> None:
        """Take a row in; it is on disk after `flush`."""
        self._waiting.append(row)
        if self._events is not None:
            for name, value in row.items():
                if name not in ("step", "seconds"):
                    self._events.add_scalar(name, value, row["step"])

    def flush(self) -> None:
        """Bring the rows to disk."""
        self._append(self.path, self._waiting)
        self._waiting = []
        if self._events is not None:
            self._events.flush()

    def close(self) -> None:
        """Let go of the events' file."""
        if self._events is not None:
            self._events.close()

    @staticmethod
    def _append(path: Path, rows: list[dict[str, Any]]) -> None:
        with open(path, "a", newline="", encoding="utf-8") as file:
            # repr has every digit of a float, so that runs can be compared to the bit.
            csv.DictWriter(file, [*STEP, *SCORES]).writerows(rows)
