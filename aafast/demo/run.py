"""The demo: the main job on a line whose truth is known, beside classical methods on the same data."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data import Line, synthetic_line
from ..errors import FileError, InputError, describe, require
from ..evaluation import BaselineSettings
from ..survey.outcome import RunResult
from ..survey.pipeline import run
from ..survey.section import Solve
from ..survey.segy import Survey
from .contest import MISMATCH, NOMINAL_HZ, SEEDS, SNR_DB, baselines, choose_settings, same_threads
from .report import PAGE, RUN_PAGE, write
from .scores import Row, margin, score, table, verdict
from .segy import write_segy


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
            "by one least-squares factor per line; PSNR has the peak max |x|.",
            *(f"Chosen on other lines, {name} wavelet: FISTA sparsity {s.sparsity:g} with {s.iterations} "
              f"iterations, Wiener damping {s.damping:g}." for name, s in self.settings.items()),
        ]


def run_demo(
    out: str | Path,
    seed: int = 0,
    traces: int = 400,
    samples: int = 512,
    device: str | None = None,
    quick: bool = False,
    model: str = "deconv",
    solve: Solve | None = None,
    auto: bool = True,
    report: bool = True,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> DemoResult:
    """Reconstruct a synthetic faulted line with a wrong nominal wavelet as `aafast run` does, and compare.

    Args:
        out: folder for line.sgy, truth.sgy, reconstruction-*.sgy, report.html and run.html; made
            if its parent exists.
        seed: of the line, 0 to 99999; the baselines are tuned on lines of other seeds.
        traces, samples: size of the line, at least 64 x 128.
        device: "cpu" or "cuda" for the model; the baselines run on the CPU.
        quick: a small line (at most 96 x 256), and fewer lines to tune on.
        model: name or folder.
        solve: called instead of the model, (y [B, 1, T, X], A0) -> Solution.
        auto: also run every method with the estimated wavelet.
        report: write the HTML report (needs matplotlib).
        progress: show the bar of the run.
        say: receives what the command prints.

    Returns:
        DemoResult.

    Raises:
        InputError, FileError, CheckpointError, BackendError, MissingDependency.
    """
    clock = time.perf_counter()
    if quick:
        traces, samples = min(traces, 96), min(samples, 256)
    _check(traces, samples, seed, report)
    folder = _folder(out)
    line = synthetic_line(traces, samples, seed=seed, mismatch=MISMATCH, frequency=NOMINAL_HZ, snr_db=SNR_DB)
    notes = (f"NOMINAL WAVELET: ZERO-PHASE RICKER {line.nominal_hz:g} HZ (WRONG ON PURPOSE)",)
    source = write_segy(folder / "line.sgy", line.data, line.dt, line.dead, notes)
    truth = write_segy(folder / "truth.sgy", line.target, line.dt, None, ("TRUE REFLECTIVITY OF LINE.SGY",))
    live = ~line.dead

    rows = [score("data", "-", line.target, line.data, live, 0.0)]
    outcomes, settings, estimates = {}, {}, {}
    spellings = {"nominal": f"ricker:{line.nominal_hz:g}"} | ({"estimated": "auto"} if auto else {})
    with same_threads() as threads:
        for name, spelling in spellings.items():
            say(f"With the {name} wavelet: aafast run --wavelet {spelling}; Wiener and FISTA beside it")
            outcome = run(
                source, folder / f"reconstruction-{name}.sgy", wavelet=spelling, model=model, device=device,
                solve=solve, progress=progress,
                report=folder / RUN_PAGE if report and name == "nominal" else None,
            )
            known = outcome.wavelet.samples
            settings[name] = choose_settings(
                seed, samples, known if name == "nominal" else None, count=2 if quick else 4
            )
            found = {m: (seconds, x) for m, seconds, x in baselines(line, known, settings[name])}
            found["aafast"] = outcome.seconds["solve"], _read(outcome.output)
            rows += [score(m, name, line.target, x, live, seconds) for m, (seconds, x) in found.items()]
            outcomes[name] = outcome
            estimates[name] = {method: x for method, (_, x) in found.items()}
    result = DemoResult(
        rows=tuple(rows),
        line=line,
        settings=settings,
        estimates=estimates["nominal"],
        outcome=outcomes["nominal"],
        input=source,
        output=outcomes["nominal"].output,
        truth=truth,
        report=folder / PAGE if report else None,
        threads=threads,
        seconds=time.perf_counter() - clock,
    )
    if report:
        write(result, result.report)
    say("\n" + result.text())
    return result


def _check(traces: int, samples: int, seed: int, report: bool) -> None:
    """Everything that could stop the demo half-way shows here."""
    if traces < 64 or samples < 128 or not 0 <= seed < SEEDS:
        raise InputError(describe("demo", f"{traces} traces x {samples} samples, seed {seed}",
                                  f"at least 64 x 128 and a seed of 0 to {SEEDS - 1}",
                                  "Change the size or the seed"))
    for module, extra in (("pylops", "baselines"), ("scipy", "baselines"), ("segyio", "survey")):
        require(module, extra)
    if report:
        require("matplotlib", "report")


def _read(path: Path) -> np.ndarray:
    with Survey(path) as survey:
        return survey.read(survey.geometry.sections[0].traces)


def _folder(out: str | Path) -> Path:
    folder = Path(out)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise FileError(describe(f"folder of the demo {folder}", error.strerror, "a folder that can be made",
                                 "Choose another place, or make its parent first")) from error
    return folder
