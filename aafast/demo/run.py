"""The demo: the main job on a line whose truth is known, beside classical methods on the same data."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..data import synthetic_line
from ..errors import FileError, InputError, describe, require
from ..survey.pipeline import run
from ..survey.section import Solve
from ..survey.segy import Survey
from .contest import MISMATCH, NOMINAL_HZ, SEEDS, SNR_DB, baselines, choose_settings, same_threads
from .outcome import DemoResult
from .report import PAGE, RUN_PAGE, write
from .scores import score
from .segy import write_segy


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
    if result.report is not None:
        write(result, result.report)
    say("\n" + result.text())
    return result


def _check(traces: int, samples: int, seed: int, report: bool) -> None:
    """Everything that could stop the demo half-way shows here."""
    if traces < 64 or samples < 128 or not 0 <= seed < SEEDS:
        raise InputError(describe("demo", f"{traces} traces x {samples} samples, seed {seed}",
                                  f"at least 64 x 128 and a seed of 0 to {SEEDS - 1}",
                                  "Change the size or the seed"))
    extras = "survey,report,baselines" if report else "survey,baselines"
    for module in ("pylops", "scipy", "segyio", *["matplotlib"] * report):
        require(module, extras)  # one command to install all that is missing


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
