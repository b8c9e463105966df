"""What a run did: gathered block by block, for the caller, the text header and the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .layout import Layout
from .section import join_residuals
from .wavelet import Wavelet

CONVERGED, LIMIT, DIVERGED = 1, 2, 3  # of `aafast.solvers.Status`


@dataclass
class RunResult:
    """What `run` did.

    output, report: files. layout: facts of the input. wavelet: nominal. calibrated: what the model
    made of a given one before it solved, or None. kind: "2D", "3D" or "irregular".
    sections: number. live, dead: traces. skipped: numbers (from 1) of traces with NaN or Inf. backend: what
    computed it. iterations, status: [n] per patch. residuals: [K, n], NaN after a patch stopped. wavelets:
    [n, taps] corrected, or None. misfit: ||d - W r|| / ||d|| over live traces. scale: factor on the
    samples, 1 but for integer formats that could not hold the result. parameters: what it ran with.
    seconds: of the run per stage, with `total`; with several workers those of one, in the mean. busy: what reading,
    solving and writing took, also while something else went on; of the blocks of this run alone. blocks: number.
    resumed: those that an earlier run had done. warnings: what the user should know.
    """

    output: Path
    report: Path | None
    layout: Layout
    wavelet: Wavelet
    calibrated: Wavelet | None
    kind: str
    sections: int
    live: int
    dead: int
    skipped: list[int]
    backend: str
    iterations: np.ndarray
    status: np.ndarray
    residuals: np.ndarray
    wavelets: np.ndarray | None
    misfit: float
    scale: float
    parameters: dict[str, str]
    seconds: dict[str, float] = field(default_factory=dict)
    busy: dict[str, float] = field(default_factory=dict)
    blocks: int = 0
    resumed: int = 0
    warnings: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """What a user wants to know, in a few lines."""
        counts = f"{self.live} solved, {self.dead} dead"
        counts += f", {len(self.skipped)} with NaN or Inf (unchanged)" if self.skipped else ""
        total = self.seconds["total"]
        lines = [
            f"survey     {self.kind}, {self.sections} section(s), traces: {counts}",
            f"wavelet    {self.wavelet.source}, {self.wavelet.text()}",
            *([] if self.calibrated is None else [f"calibrated {self.calibrated.text()}"]),
            f"patches    {self.status.size}, {self._stops()}",
            f"misfit     {100 * self.misfit:.1f} % of the data",
            f"time       {total:.1f} s, {self.live / total:.1f} traces/s, of which solving "
            f"{self.seconds['solve']:.1f} s",
            f"written    {self.output}",
        ]
        lines += [f"resumed    {self.resumed} of {self.blocks} blocks were done before"] if self.resumed else []
        lines += [f"report     {self.report}"] if self.report is not None else []
        lines += [f"warning    {warning}" for warning in self.warnings]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """The figures and files of a run, without its arrays."""
        status = self.status
        stops = {"converged": CONVERGED, "limit": LIMIT, "diverged": DIVERGED}
        return {
            "output": self.output,
            "report": self.report,
            "kind": self.kind,
            "sections": self.sections,
            "traces": {"live": self.live, "dead": self.dead, "skipped": self.skipped},
            "wavelet": _figures(self.wavelet),
            "calibrated": None if self.calibrated is None else _figures(self.calibrated),
            "patches": {name: int((status == code).sum()) for name, code in stops.items()} | {"all": status.size},
            "iterations": {"least": int(self.iterations.min()), "most": int(self.iterations.max())},
            "misfit": self.misfit,
            "scale": self.scale,
            "backend": self.backend,
            "parameters": self.parameters,
            "blocks": {"all": self.blocks, "resumed": self.resumed},
            "seconds": self.seconds,
            "warnings": self.warnings,
        }

    def _stops(self) -> str:
        """Why patches stopped; an unrolled model makes its number of iterations, which is no failure."""
        least, most = int(self.iterations.min()), int(self.iterations.max())
        if (self.status == LIMIT).all():
            return f"{most} iterations each, as many as the model makes"
        converged = int((self.status == CONVERGED).sum())
        return f"{converged} converged, iterations {least} to {most}, median {np.median(self.iterations):g}"


class Tally:
    """The small numbers of every block's patches, without its images."""

    def __init__(self, patch: tuple[int, int]) -> None:
        self._pieces: list[dict[str, np.ndarray]] = []
        self._energy = np.zeros(2)
        self.backend = ""
        self.patch = patch

    def add(self, piece: dict[str, np.ndarray]) -> None:
        """Count one block, in the order of their numbers: what it left in the job."""
        if "status" not in piece:
            return
        self._energy += piece["energy"]
        self.backend = bytes(piece["backend"]).decode() or self.backend
        names = ("iterations", "status", "residuals", "wavelets")
        self._pieces.append({name: piece[name] for name in names if name in piece})

    @property
    def misfit(self) -> float:
        return float(np.sqrt(self._energy[0] / self._energy[1]))

    @property
    def iterations(self) -> np.ndarray:
        return np.concatenate([p["iterations"] for p in self._pieces])

    @property
    def status(self) -> np.ndarray:
        return np.concatenate([p["status"] for p in self._pieces])

    @property
    def residuals(self) -> np.ndarray:
        return join_residuals([p["residuals"] for p in self._pieces])

    @property
    def wavelets(self) -> np.ndarray | None:
        if any("wavelets" not in p for p in self._pieces):
            return None
        return np.concatenate([p["wavelets"] for p in self._pieces])

    def warnings(self) -> list[str]:
        diverged = int((self.status == DIVERGED).sum())
        if not diverged:
            return []
        return [f"{diverged} of {self.status.size} patches diverged: their best iterate is used"]


def _figures(w: Wavelet) -> dict[str, Any]:
    return {"source": w.source, "peak_hz": w.dominant, "band_hz": w.band, "phase_degrees": w.phase}


def describe_run(
    version: str, wavelet: Wavelet, calibrated: Wavelet | None, tally: Tally, model: str, device: str, batch: int
) -> dict[str, str]:
    """The run's parameters, in words."""
    low, high = wavelet.band
    return {
        "version": f"aafast {version}",
        "model": model,
        "device": device,
        "backend": tally.backend,
        "wavelet": wavelet.source,
        "taps": str(wavelet.samples.size),
        "peak frequency": f"{wavelet.dominant:.1f} Hz",
        "band (-10 dB)": f"{low:.1f} to {high:.1f} Hz",
        "phase": f"{round(wavelet.phase)} degrees",
        **({} if calibrated is None else {"calibrated to": calibrated.text()}),
        "patch": f"{tally.patch[0]} samples x {tally.patch[1]} traces",
        "batch": f"{batch} patches",
    }


def header_lines(parameters: dict[str, str]) -> list[str]:
    """Three lines for the text header, where 76 characters have room: names come last, as they may be cut."""
    p = parameters
    return [
        f"{p['version'].upper()}: SAMPLES ARE RECONSTRUCTED REFLECTIVITY",
        f"PATCH {p['patch']}, BACKEND {p['backend']}, MODEL {Path(p['model']).name}",
        f"WAVELET {p['taps']} TAPS, PEAK {p['peak frequency']}, PHASE {p['phase']}, "
        f"{'CALIBRATED, ' if 'calibrated to' in p else ''}{p['wavelet']}",
    ]
