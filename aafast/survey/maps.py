"""Pictures of a whole survey from its QC: maps, time slices, sections, spectra by window in time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from . import figures
from .figures import BLUE, ORANGE
from .geometry import Geometry
from .qc import SurveyQc

_NAMES = ("Before", "Residual", "After")
Picture = tuple[str, str, str, str]  # heading, note, PNG in base64, words


def survey_pictures(qc: SurveyQc, geometry: Geometry) -> list[Picture]:
    """The part of a page that shows all of the survey: what a map, a slice or a curve can tell of it.

    Data, result and residual of all sections and slices have one clip, that of the data.
    """
    pictures = [("Survey", _words(qc), maps_figure(qc, geometry), "Maps of the survey")]
    if qc.slices.shape[1]:
        pictures.append(("Time slices", "One clip for all, that of the data.", slices_figure(qc, geometry),
                         "Time slices before, after and residual"))
    if qc.plan.sections > 1:
        pictures += [_section(qc, geometry, number, images) for number, images in qc.images]
    pictures.append(("Spectra by window", "Mean over all live traces.", bands_figure(qc), "Spectra by window"))
    return pictures


def linked_clip(qc: SurveyQc) -> float:
    """The clip of all pictures of samples: of the data of all sections that are drawn."""
    drawn = [images[0].ravel() for _, images in qc.images]
    return figures.clip_of(np.concatenate(drawn) if drawn else np.zeros(1))


def maps_figure(qc: SurveyQc, geometry: Geometry) -> str:
    """Misfit, iterations, change of the wavelet and dead traces at their places: of a cube by inline and crossline, of
    a line by time and trace."""
    cube = qc.plan.kind == "3D"
    traces = qc.live + qc.dead
    with np.errstate(invalid="ignore", divide="ignore"):
        dead = np.where(traces > 0, qc.dead / traces, np.nan)
    grids = [("Misfit |d - W r| / |d|", qc.misfit(), "magma_r", False), ("Iterations", qc.iterations, "viridis", False)]
    if np.nanmax(np.abs(qc.frequency), initial=0) > 0 or np.nanmax(np.abs(qc.phase), initial=0) > 0:
        grids.append(("Change of the wavelet's frequency (Hz)", qc.frequency, "RdBu_r", True))
        grids.append(("Change of the wavelet's phase (degrees)", qc.phase, "RdBu_r", True))
    if qc.dead.any():
        grids.append(("Dead traces, share", dead, "Greys", False))
    plt = figures._pyplot()
    rows = -(-len(grids) // 2)
    with plt.rc_context({**figures._STYLE, "axes.grid": False}):
        figure, axes = plt.subplots(rows, 2, figsize=(11, 3.4 * rows), layout="constrained", squeeze=False)
        for axis, (title, grid, colours, symmetric) in zip(axes.flat, grids, strict=False):
            _map(figure, axis, title, grid, colours, symmetric)
            line = grid.shape[0] == 1 and not cube
            _label(axis, qc, geometry, grid.shape, cube, line)
        for spare in axes.flat[len(grids):]:
            spare.remove()
        return figures._encode(plt, figure)


def slices_figure(qc: SurveyQc, geometry: Geometry) -> str:
    """Time slices of data, result and residual, one row per time, one clip for all."""
    clip, plt = linked_clip(qc), figures._pyplot()
    count = qc.slices.shape[1]
    with plt.rc_context({**figures._STYLE, "axes.grid": False}):
        figure, axes = plt.subplots(count, 3, figsize=(11, 3.2 * count), layout="constrained", squeeze=False)
        for row, sample in enumerate(qc.plan.slices):
            for axis, k in zip(axes[row], (0, 2, 1), strict=True):
                shown = axis.imshow(np.ma.masked_invalid(qc.slices[k, row]), cmap="gray_r", vmin=-clip, vmax=clip,
                                    aspect="auto", interpolation="nearest")
                axis.set_title(f"{_NAMES[k]}, {qc.plan.t0 + sample * qc.plan.dt:g} ms")
                _label(axis, qc, geometry, qc.slices.shape[2:], True, False)
        figure.colorbar(shown, ax=list(axes.flat), shrink=0.5, aspect=30, pad=0.01, extend="both",
                        label="amplitude, one clip for all")
        return figures._encode(plt, figure)


def bands_figure(qc: SurveyQc) -> str:
    """Mean spectra before and after in windows of time, in dB below each one's peak."""
    plt = figures._pyplot()
    count = qc.power.shape[1]
    frequency = np.linspace(0, 500 / qc.plan.dt, qc.power.shape[2])
    with plt.rc_context(figures._STYLE):
        figure, axes = plt.subplots(1, count, figsize=(11, 3.2), layout="constrained", sharey=True, squeeze=False)
        for k, axis in enumerate(axes[0]):
            for name, power, colour in (("before", qc.power[0, k], BLUE), ("after", qc.power[1, k], ORANGE)):
                level = 10 * np.log10(np.maximum(power / max(float(power.max()), 1e-30), 1e-12))
                axis.plot(frequency, level, color=colour, label=name, linewidth=1.4)
            start, stop = (qc.plan.t0 + qc.plan.dt * edge for edge in qc.plan.bands[k:k + 2])
            axis.set(title=f"{start:g} to {stop:g} ms", xlabel="frequency (Hz)", ylim=(-60, 3))
        axes[0, 0].set_ylabel("dB below its peak")
        axes[0, 0].legend()
        return figures._encode(plt, figure)


def _section(qc: SurveyQc, geometry: Geometry, number: int, images: np.ndarray) -> Picture:
    section, (down, across) = geometry.sections[number], qc.plan.step
    panels = [(_NAMES[k], images[k]) for k in (0, 2, 1)]
    thinned = f"Every {down} samples and {across} traces. " if max(down, across) > 1 else ""
    drawn = figures.sections_figure(panels, linked_clip(qc), down * qc.plan.dt, qc.plan.t0, section.axis,
                                    section.numbers[::across][: images.shape[2]])
    title = section.title[:1].upper() + section.title[1:]
    return title, f"{thinned}One clip for all, that of the data.", drawn, f"{title} before, after and residual"


def _map(figure, axis, title: str, grid: np.ndarray, colours: str, symmetric: bool) -> None:
    finite = grid[np.isfinite(grid)]
    size = float(np.quantile(np.abs(finite), 0.99)) if finite.size and symmetric else 0.0
    limits = {"vmin": -size, "vmax": size} if size > 0 else {}
    shown = axis.imshow(np.ma.masked_invalid(grid), cmap=colours, aspect="auto", interpolation="nearest", **limits)
    axis.set_title(title)
    figure.colorbar(shown, ax=axis, pad=0.01)


def _label(axis, qc: SurveyQc, geometry: Geometry, shape: tuple[int, int], cube: bool, flat: bool) -> None:
    """Numbers of the traces along the map; down it those of the sections, or times."""
    name = geometry.sections[0].axis
    _ticks(axis.set_xticks, [qc.plan.lowest + k * qc.plan.width for k in range(shape[1])], 5)
    axis.set_xlabel(name)
    if cube:
        titles = [geometry.sections[k].title for k in range(0, qc.plan.sections, qc.plan.rows)]
        _ticks(axis.set_yticks, [title.rpartition(" ")[2] for title in titles], 6)
        axis.set_ylabel(titles[0].rpartition(" ")[0])
    elif flat:
        axis.set_yticks([])
    else:
        _ticks(axis.set_yticks, [f"{time:g}" for time in qc.times], 6)
        axis.set_ylabel("time (ms)")


def _ticks(put, names: Sequence[object], most: int) -> None:
    places = np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int))
    put(places, [str(names[k]) for k in places])


def _words(qc: SurveyQc) -> str:
    cells = f"{qc.live.shape[0]} x {qc.live.shape[1]} cells" if qc.plan.kind == "3D" else f"{qc.live.shape[1]} columns"
    energy = qc.energy.sum((1, 2, 3))
    misfit = math.sqrt(energy[1] / energy[0]) if energy[0] > 0 else 0.0
    return (f"{int(qc.live.sum())} live and {int(qc.dead.sum())} dead traces in {cells}; "
            f"misfit of all {100 * misfit:.1f} %.")
