"""What the demo made."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data import Line
from ..evaluation import BaselineSettings
from ..survey.outcome import RunResult
from .scores import Row, margin, table, verdict


@dataclass(frozen=True)
class DemoResult:
    """What the demo made.

    Attributes:
        rows: one per method; "data" is the input itself.
        line: the synthetic line with its truth.
        settings: of the baselines by wavelet ("nominal", "estimated"), chosen on other lines.
        estimates: [T, X] by method, with the nominal wavelet.
        outcome: of the run with the nominal wavelet.
        input, output, truth: SEG-Y files.
        report: HTML file, or None.
        threads: CPU threads every method had.
        seconds: of everything.
    """

    rows: tuple[Row, ...]
    line: Line
    settings: dict[str, BaselineSettings]
    estimates: dict[str, np.ndarray]
    outcome: RunResult
    input: Path
    output: Path
    truth: Path
    report: Path | None
    threads: int
    seconds: float

    @property
    def beats_fista(self) -> bool:
        """Whether aafast has the higher PSNR and the higher correlation with the same nominal wavelet."""
        gain, more = margin(self.row("aafast", "nominal"), self.row("FISTA", "nominal"))
        return gain > 0 and more > 0

    def row(self, name: str, wavelet: str | None = None) -> Row:
        """The row of a method; without `wavelet` the first, which is the one with the nominal wavelet."""
        return next(r for r in self.rows if r.name == name and wavelet in (None, r.wavelet))

    def text(self) -> str:
        """The table with its conditions and the verdict."""
        return "\n".join([*self.conditions(), "", table(self.rows), "", verdict(self.rows)])

    def as_dict(self) -> dict[str, Any]:
        """Rows, verdict and files, without the images."""
        return {
            "rows": [asdict(row) for row in self.rows],
            "beats_fista": self.beats_fista,
            "files": {name: getattr(self, name) for name in ("input", "output", "truth", "report")},
            "threads": self.threads,
            "seconds": self.seconds,
        }

    def conditions(self) -> list[str]:
        """What was compared and how, in sentences."""
        line, error = self.line, self.line.error
        samples, traces = line.data.shape
        return [
            f"Line: {traces} traces x {samples} samples, {1000 * line.dt:g} ms, SNR {line.snr_db:g} dB, "
            f"{int(line.dead.sum())} dead traces.",
            f"Nominal wavelet: zero-phase Ricker, {line.nominal_hz:g} Hz; wrong by "
            f"{100 * error.frequency:+.0f} % in frequency, {error.phase:+.2f} rad in phase and "
            f"{100 * error.length:+.0f} % in length: its correlation with the true one is "
            f"{float(line.wavelet_true @ line.wavelet_nominal):.2f}.",
            f"Same data, gain and {self.threads} CPU thread(s) for all. Each result is scaled to the truth "
            "by one least-squares factor per line; e is what then remains of the truth x: "
            "PSNR is 10 log10(max |x|^2 / mean |e|^2), Q is 10 log10(mean |x|^2 / mean |e|^2).",
            *(f"Chosen on other lines, {name} wavelet: FISTA sparsity {s.sparsity:g} with {s.iterations} "
              f"iterations, Wiener damping {s.damping:g}." for name, s in self.settings.items()),
        ]
