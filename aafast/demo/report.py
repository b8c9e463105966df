"""The demo's page: the report of a run, with the truth, FISTA and the table of the comparison added."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..survey.report import Report, Table, write_report
from .outcome import DemoResult
from .scores import cells, verdict

PAGE, RUN_PAGE = "report.html", "run.html"
_COLUMNS = ("method", "wavelet", "PSNR (dB)", "correlation", "Q (dB)", "seconds")
_NUMBERS = ("", "", *[">"] * 4)  # the cells are text already, with the digits of the printed table


def demo_report(result: DemoResult) -> Report:
    """Lay out the page; sections are shown in their own amplitudes, the table scales each to the truth."""
    line, outcome = result.line, result.outcome
    samples, traces = line.data.shape
    ours, fista = (result.row(name, "nominal") for name in ("aafast", "FISTA"))
    sentences = verdict(result.rows).splitlines()
    note = "\n".join([*sentences, " ".join(result.conditions()[2:])])
    rows = [cells(row) for row in result.rows]
    return Report(
        title="aafast demo: a line whose truth is known",
        lead=" ".join([*result.conditions()[:2], f"The run by itself, with its residual: {RUN_PAGE}."]),
        tiles=[
            (f"{ours.psnr:.2f} dB", f"PSNR, FISTA {fista.psnr:.2f} dB"),
            (f"{ours.correlation:.3f}", f"correlation, FISTA {fista.correlation:.3f}"),
            (f"{ours.quality:.2f} dB", f"quality Q, FISTA {fista.quality:.2f} dB"),
            (f"{ours.seconds:.1f} s", f"for the line, FISTA {fista.seconds:.1f} s"),
            ("yes" if result.beats_fista else "no", "better than FISTA with this wavelet"),
        ],
        panels=[
            ("Before: d", line.data), ("After: r", result.estimates["aafast"]), ("Truth", line.target),
            ("FISTA", result.estimates["FISTA"]),
        ],
        spectra=[("before", line.data), ("after", result.estimates["aafast"]), ("truth", line.target)],
        dt=1000 * line.dt,
        t0=0.0,
        axis="CDP",
        numbers=1001 + np.arange(traces),
        wavelet=outcome.wavelet.samples,
        residuals=outcome.residuals,
        iterations=outcome.iterations,
        seconds=outcome.seconds,
        parameters=outcome.parameters | {"line": result.input.name, "truth": result.truth.name},
        corrected=outcome.wavelets,
        true_wavelet=line.wavelet_true,
        tables=[Table("Against the truth", _COLUMNS, rows, note, _NUMBERS)],
        warnings=outcome.warnings + [s for s in sentences if "beats" not in s],
    )


def write(result: DemoResult, path: Path) -> Path:
    """Write the page; it appears under its name only when it is complete."""
    return write_report(path, demo_report(result))
