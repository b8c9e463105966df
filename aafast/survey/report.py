"""One HTML file that shows what a run did: sections, spectra, wavelets, convergence, time, parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np

from .. import __version__
from ..errors import FileError, describe
from . import figures
from .files import AtomicFile
from .geometry import Section
from .outcome import RunResult
from .section import SectionResult
from .template import PAGE

_SYMBOLS = "d: the data; r: the reconstructed reflectivity, in the data's units"
_CHANGE = "x: a patch's answer; f(x): the same one iteration later. What still changes is the residual here."


@dataclass
class Table:
    """A table of the report: a heading, column names, rows, and lines of text above it.

    formats: per column, how its numbers are written; "" or none for a column of text.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""
    formats: Sequence[str] = ()


@dataclass
class Report:
    """Everything a page shows; all text is escaped when the page is made.

    title, lead: heading and the line under it. tiles: (figure, what it is). panels: (title, section [T,
    X]); the first sets the clip. spectra: (name, section). dt, t0: ms. axis, numbers: what counts the
    traces [X]. wavelet: [K] nominal; corrected: [n, K] per patch; true_wavelet: [K]. residuals: [K, n].
    iterations: [n]. patch_map: iterations [n_t, n_x], first times [n_t] in ms, first trace numbers [n_x].
    seconds: per stage. parameters: name to value. tables: shown after the sections. text: lines of the
    input's text header. symbols: what the letters in the panels' titles mean. pictures: (heading, note, PNG in base64,
    words) of the whole survey.
    """

    title: str
    lead: str
    tiles: list[tuple[str, str]]
    panels: list[tuple[str, np.ndarray]]
    spectra: list[tuple[str, np.ndarray]]
    dt: float
    t0: float
    axis: str
    numbers: np.ndarray
    wavelet: np.ndarray
    residuals: np.ndarray
    iterations: np.ndarray
    seconds: dict[str, float]
    parameters: dict[str, str]
    corrected: np.ndarray | None = None
    true_wavelet: np.ndarray | None = None
    patch_map: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
    tables: list[Table] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    symbols: str = _SYMBOLS
    pictures: list[tuple[str, str, str, str]] = field(default_factory=list)


def survey_report(
    outcome: RunResult, text: list[str], section: Section, data: np.ndarray, result: SectionResult,
    pictures: Sequence[tuple[str, str, str, str]] = (),
) -> Report:  # fmt: skip
    """The page of `run`: one section of the survey at full resolution, all of it in maps and numbers.

    text: lines of the text header. section, data [T, X], result: of the section to show. pictures: of the survey.
    """
    layout = outcome.layout
    part = "" if outcome.sections == 1 else f", {outcome.sections} sections, shown: {section.title}"
    return Report(
        title=f"Reconstruction of {layout.path.name}",
        lead=f"{outcome.kind} survey, {layout.traces} traces x {layout.samples} samples at "
             f"{layout.interval:g} ms, {layout.format.name}, {layout.endian}-endian{part}. "
             f"Result: {outcome.output.name}",
        tiles=summary_tiles(outcome),
        panels=[("Before: d", data), ("After: r", result.x), ("Residual: d - W r", result.residual)],
        spectra=[("before", data), ("after", result.x)],
        dt=layout.interval,
        t0=layout.t0,
        axis=section.axis,
        numbers=section.numbers,
        wavelet=outcome.wavelet.samples,
        residuals=outcome.residuals,
        iterations=outcome.iterations,
        seconds=outcome.seconds,
        parameters=outcome.parameters,
        corrected=outcome.wavelets,
        patch_map=iteration_map(result, layout.interval, layout.t0, section.numbers),
        text=text,
        warnings=outcome.warnings,
        symbols=f"{_SYMBOLS}; W: convolution with the wavelet that each patch used",
        pictures=list(pictures),
    )


def summary_tiles(outcome: RunResult) -> list[tuple[str, str]]:
    """The figures a reader looks for first."""
    total = max(outcome.seconds.get("total", 0.0), 1e-9)
    tiles = [
        (f"{outcome.live}", "traces solved"),
        (f"{outcome.dead}", "dead traces, unchanged"),
        (f"{outcome.live / total:.0f} traces/s", f"throughput over {total:.1f} s, without this page"),
        (f"{100 * outcome.misfit:.1f} %", "data misfit |d - W r| / |d|"),
        (f"{np.median(outcome.iterations):g}", "iterations, median of patches"),
    ]
    if outcome.skipped:
        tiles.insert(2, (f"{len(outcome.skipped)}", "traces with NaN or Inf, unchanged"))
    return tiles


def iteration_map(
    result: SectionResult, dt: float, t0: float, numbers: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`Report.patch_map` of a section; dt and t0 in ms, numbers [X] of its traces."""
    rows, columns = result.plan.time.starts, result.plan.trace.starts
    grid = np.full((len(rows), len(columns)), np.nan)
    grid.flat[result.patches] = result.iterations
    return grid, t0 + np.asarray(rows) * dt, numbers[np.asarray(columns)]


def write_report(path: str | Path, report: Report) -> Path:
    """Write a page so that it appears under its name only when it is complete; returns its path."""
    with AtomicFile(path, what="report") as page:
        write_page(page, report)
        return page.path


def write_page(page: AtomicFile, report: Report) -> None:
    """Fill a report file that was opened before the solve, and commit it."""
    text = render(report)
    try:
        page.temporary.write_text(text, encoding="utf-8")
        page.commit()
    except OSError as error:
        raise FileError(describe(f"report {page.path}", error.strerror, "a file that can be written",
                                 "Check the disk; the reconstruction itself is complete")) from error


def render(report: Report) -> str:
    """The page as HTML."""
    clip = figures.clip_of(report.panels[0][1])
    sections = figures.sections_figure(report.panels, clip, report.dt, report.t0, report.axis, report.numbers)
    spectra = figures.spectra_figure(report.spectra, report.dt)
    wavelets = figures.wavelet_figure(report.wavelet, report.dt, report.corrected, report.true_wavelet)
    convergence = figures.convergence_figure(report.residuals, report.iterations)
    body = [_tiles(report.tiles), _warnings(report.warnings)]
    body += ["<h2>Sections</h2>", _note(f"{report.symbols}. Dark is positive.")]
    body.append(_figure(sections, ", ".join(title for title, _ in report.panels)))
    body += [_table(table) for table in report.tables]
    for heading, note, png, words in report.pictures:
        body += [f"<h2>{escape(heading)}</h2>", _note(note), _figure(png, words)]
    body += ["<h2>Spectra</h2>", _figure(spectra, "Amplitude spectra and autocorrelations")]
    body += ["<h2>Wavelet</h2>", _figure(wavelets, "Wavelets in time, amplitude and phase")]
    body += ["<h2>Convergence</h2>", _note(_CHANGE)]
    body.append(_figure(convergence, "Residual per iteration, iterations per patch"))
    if report.patch_map is not None and np.ptp(report.iterations) > 0:  # else the map is one colour
        body.append(_figure(figures.map_figure(*report.patch_map, report.axis), "Iterations of each patch"))
    body += ["<h2>Time</h2>", _figure(figures.seconds_figure(report.seconds), "Seconds per stage")]
    body.append(_table(Table("Parameters", ("name", "value"), list(report.parameters.items()))))
    if report.text:
        lines = escape("\n".join(report.text))
        body.append(f"<details><summary>Text header of the input</summary><pre>{lines}</pre></details>")
    lead = f"{report.lead} (aafast {__version__})"
    return PAGE.substitute(title=escape(report.title), lead=escape(lead), body="\n".join(filter(None, body)))


def _tiles(tiles: list[tuple[str, str]]) -> str:
    inner = "".join(f'<div class="tile"><b>{escape(a)}</b><span>{escape(b)}</span></div>' for a, b in tiles)
    return f'<div class="tiles">{inner}</div>' if inner else ""


def _warnings(warnings: list[str]) -> str:
    inner = "".join(f"<li>{escape(line)}</li>" for line in warnings)
    return f'<ul class="warnings">{inner}</ul>' if inner else ""


def _figure(png: str, words: str) -> str:
    return f'<figure><img alt="{escape(words)}" src="data:image/png;base64,{png}"></figure>'


def _note(text: str) -> str:
    return "".join(f'<p class="note">{escape(line)}</p>' for line in text.splitlines())


def _table(table: Table) -> str:
    formats = [*table.formats, *[""] * (len(table.columns) - len(table.formats))]
    head = "".join(f"<th{_side(f)}>{escape(str(c))}</th>" for c, f in zip(table.columns, formats, strict=True))
    rows = "".join("<tr>" + "".join(map(_cell, row, formats)) + "</tr>" for row in table.rows)
    note = _note(table.note)
    return (f"<h2>{escape(table.title)}</h2>{note}<div class=\"scroll\"><table><thead><tr>{head}</tr></thead>"
            f"<tbody>{rows}</tbody></table></div>")


def _side(form: str) -> str:
    return ' class="number"' if form else ""


def _cell(value: object, form: str) -> str:
    text = str(value) if isinstance(value, str) else format(value, form)
    return f"<td{_side(form)}>{escape(text)}</td>"
