"""The main job: a survey goes in, its reconstruction comes out under the same headers."""

from __future__ import annotations

import functools
import os
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from .. import __version__
from ..errors import InputError, describe, require
from .files import AtomicFile
from .gain import smooth_gain
from .outcome import RunResult, Tally, describe_run, header_lines
from .progress import StopWatch, trace_bar
from .section import BATCH, PATCH, Solve, reconstruct_section
from .segy import Survey
from .segy_output import Output
from .wavelet import TAPS, Wavelet, estimate_wavelet
from .wavelet_file import parse_wavelet

_SHORTEST = 16  # samples of a trace: less holds no wavelet
_LOOKED_AT = 8  # sections from which a wavelet is estimated


def run(
    input: str | Path,
    output: str | Path,
    wavelet: str = "auto",
    model: str = "deconv",
    device: str | None = None,
    report: str | Path | None = None,
    keep_text_header: bool = False,
    skip_bad: bool = False,
    patch: tuple[int, int] = PATCH,
    overlap: tuple[int, int] | None = None,
    halo: tuple[int, int] | None = None,
    batch: int = BATCH,
    phase: str = "constant",
    polarity: int = 1,
    sample_interval: float | None = None,
    solve: Solve | None = None,
    progress: bool = True,
) -> RunResult:
    """Reconstruct the reflectivity of a post-stack SEG-Y survey and write it under the same headers.

    Each 2D line, or inline of a 3D survey, is solved by `reconstruct_section`. Dead traces and, with
    `skip_bad`, traces with NaN or Inf keep their bytes. The output appears under its name only when it is
    complete.

    input, output: SEG-Y. wavelet: "auto", "ricker:HZ" or a file. model: name or folder. device: "cpu" or
    "cuda". report: HTML file to write. patch, overlap, halo: samples, traces; see `reconstruct_section`.
    batch: patches per call. phase: of the automatic wavelet, "constant" or "zero". polarity: 1 or -1.
    sample_interval: ms, in place of the header's. solve: called instead of the model, (y [B, 1, T, X], A0)
    -> Solution. progress: show a bar. Raises FileError, FormatError, InputError, CheckpointError,
    BackendError, MissingDependency.
    """
    clock = StopWatch()
    with ExitStack() as stack:
        survey = stack.enter_context(Survey(input, sample_interval))
        layout = survey.layout
        target = stack.enter_context(Output(layout, output))
        page = None
        if report is not None:
            page = stack.enter_context(_report_file(report, layout.path, output))
        nominal = parse_wavelet(wavelet, layout.interval, layout.samples, polarity=polarity)
        solve = solve or load_solver(model, device)
        with clock("scan"):
            live, skipped = _find_live(survey, skip_bad)
        with clock("copy"):
            target.start()
        with clock("wavelet"):
            nominal = nominal or _estimate(survey, live, phase, polarity)

        tally = Tally()
        sections = [s for s in survey.geometry.sections if live[s.traces].any()]
        shown = None
        with trace_bar(int(live.sum()), progress) as advance:
            for number, section in enumerate(sections):
                alive = live[section.traces]
                with clock("read"):
                    data = survey.read(section.traces)
                result = reconstruct_section(
                    data, nominal, solve, live=alive, patch=patch, overlap=overlap, halo=halo, batch=batch,
                    on_batch=functools.partial(advance, int(alive.sum())),
                )
                with clock("write"):
                    target.write(section.traces[alive], result.x[:, alive])
                clock.add(result.seconds)
                tally.add(result, data, alive)
                if page is not None and number == len(sections) // 2:
                    shown = section, np.where(alive, data, np.float32(0)), result

        parameters = describe_run(__version__, nominal, tally, os.fspath(model), device or "cpu", batch)
        with clock("write"):
            notes = target.commit([] if keep_text_header else header_lines(parameters))
        outcome = RunResult(
            output=target.path,
            report=None if page is None else page.path,
            layout=layout,
            wavelet=nominal,
            kind=survey.geometry.kind,
            sections=len(survey.geometry.sections),
            live=int(live.sum()),
            dead=live.size - int(live.sum()) - len(skipped),
            skipped=skipped,
            backend=tally.backend,
            iterations=tally.iterations,
            status=tally.status,
            residuals=tally.residuals,
            wavelets=tally.wavelets,
            misfit=tally.misfit,
            scale=target.scale,
            parameters=parameters,
            seconds=clock.seconds(),
            warnings=[*layout.warnings, *survey.geometry.notes, *nominal.notes, *tally.warnings(), *notes],
        )
        if page is not None:
            from .report import survey_report, write_page

            with clock("report"):
                write_page(page, survey_report(outcome, survey.text, *shown))
            outcome.seconds = clock.seconds()
    return outcome


def load_solver(model: str, device: str | None) -> Solve:
    """The front door with its model loaded once: (y, A0) -> Solution."""
    from ..reconstruct import check_device, reconstruct
    from ..tasks import load

    where = None if device is None else check_device(device)
    return functools.partial(reconstruct, model=load(model, task="deconv"), device=where)


def _report_file(report: str | Path, source: Path, output: str | Path) -> AtomicFile:
    """Everything that could keep a report from being written shows here, before the solve."""
    require("matplotlib", extra="report")
    if os.path.realpath(report) == os.path.realpath(output):
        raise InputError(describe(f"report {report}", "the same file as the output", "another file",
                                  "Choose another name"))
    return AtomicFile(report, (source,), room=1 << 22, what="report")


def _find_live(survey: Survey, skip_bad: bool) -> tuple[np.ndarray, list[int]]:
    """Mask [N] of traces to solve, and the numbers (from 1) of those with NaN or Inf."""
    name, samples = survey.layout.path, survey.layout.samples
    if samples < _SHORTEST:
        raise InputError(describe(f"{name}: samples per trace", samples, f"{_SHORTEST} or more",
                                  "Such traces are too short to hold a wavelet"))
    dead, bad = survey.scan()
    numbers = (np.flatnonzero(bad) + 1).tolist()
    if numbers and not skip_bad:
        listed = ", ".join(map(str, numbers[:10]))
        listed += f" and {len(numbers) - 10} more" if len(numbers) > 10 else ""
        raise InputError(describe(f"{name}", f"NaN or Inf in trace {listed}", "finite samples",
                                  "Repair these traces, or pass them through unchanged with --skip-bad"))
    live = ~(dead | bad)
    if not live.any():
        raise InputError(describe(f"{name}", f"{live.size} traces, all dead", "one live trace or more",
                                  "Check the export that made this file"))
    return live, numbers


def _estimate(survey: Survey, live: np.ndarray, phase: str, polarity: int) -> Wavelet:
    """A wavelet for the whole survey from some of its sections, each divided by its gain."""
    sections = [s for s in survey.geometry.sections if live[s.traces].any()]
    chosen = np.linspace(0, len(sections) - 1, min(_LOOKED_AT, len(sections))).round().astype(int)
    images, masks = [], []
    for k in chosen:
        alive = live[sections[k].traces]
        data = np.where(alive, survey.read(sections[k].traces), np.float32(0))
        images.append(data / smooth_gain(data, alive))
        masks.append(alive)
    samples = survey.layout.samples
    taps = min(TAPS, samples - 1 + samples % 2)
    return estimate_wavelet(images, survey.layout.interval, taps, phase, live=masks, polarity=polarity)
