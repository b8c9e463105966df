"""The report's figures, each a PNG in base64; matplotlib is imported on first use and opens no window."""

from __future__ import annotations

import base64
import io
import math

import numpy as np

from ..errors import require

_PAGE = 11.2  # inches: the width of the page at 110 dots each
_INK, _SOFT, _RULE = "#1d2733", "#5b6875", "#d8dee4"
BLUE, ORANGE, GREEN = "#1f6fb2", "#d1661a", "#2e8b57"
_STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": _SOFT,
    "axes.labelcolor": _INK,
    "axes.titlecolor": _INK,
    "axes.linewidth": 0.8,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _RULE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 110,
}


def clip_of(section: np.ndarray) -> float:
    """The shared symmetric clip: 99th percentile of |section| over samples that are not zero."""
    size = np.abs(section[section != 0])
    return float(np.quantile(size, 0.99)) if size.size else 1.0


def sections_figure(
    panels: list[tuple[str, np.ndarray]], clip: float, dt: float, t0: float, axis: str, numbers: np.ndarray
) -> str:
    """Panels [T, X], at most three side by side, in grey with one clip; time in ms downwards, traces on top."""
    plt = _pyplot()
    samples, traces = panels[0][1].shape
    columns = len(panels) if len(panels) <= 3 else 2
    rows = math.ceil(len(panels) / columns)
    # No wider than the page, or its text would shrink; there, more dots keep the traces apart.
    most, wanted = (_PAGE - 1) / columns, max(3.2, 1.6 + 0.012 * traces)
    width, dots = (wanted, 110) if wanted < most else (most, 160)
    height = min(9.0, max(4.5, 0.0055 * samples + 2))
    with plt.rc_context({**_STYLE, "axes.grid": False, "axes.spines.top": True, "axes.spines.right": True}):
        figure, axes = plt.subplots(rows, columns, figsize=(width * columns + 1, height * rows), dpi=dots,
                                    sharey=True, layout="constrained", squeeze=False)
        extent = (-0.5, traces - 0.5, t0 + (samples - 0.5) * dt, t0 - 0.5 * dt)
        places, labels = _trace_ticks(numbers)
        for k, (axes_k, (title, image)) in enumerate(zip(axes.flat, panels, strict=False)):
            shown = axes_k.imshow(_thin(image), cmap="gray_r", vmin=-clip, vmax=clip, extent=extent,
                                  aspect="auto", interpolation="antialiased")
            axes_k.set_title(title, pad=8)
            axes_k.xaxis.set_ticks_position("top")
            axes_k.xaxis.set_label_position("top")
            outer = axes_k.set_xticks(places, labels)[:: len(places) - 1 or 1]
            for tick, side in zip(outer, ("left", "right"), strict=False):
                tick.label2.set_horizontalalignment(side)
            axes_k.set_xlabel(axis)
            axes_k.set_ylabel("two-way time (ms)" if k % columns == 0 else "")
        for spare in axes.flat[len(panels):]:
            spare.remove()
        bar = figure.colorbar(shown, ax=list(axes.flat[:len(panels)]), shrink=0.5, aspect=30, pad=0.01, extend="both")
        bar.set_label("amplitude, one clip for all")
        bar.outline.set_edgecolor(_SOFT)
        return _encode(plt, figure)


def spectra_figure(sections: list[tuple[str, np.ndarray]], dt: float) -> str:
    """Mean amplitude spectra of named sections [T, X] in dB, and their mean autocorrelations."""
    plt = _pyplot()
    with plt.rc_context(_STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.6), layout="constrained")
        for (name, section), colour in zip(sections, (BLUE, ORANGE, GREEN, _SOFT), strict=False):
            power, size = _mean_power(section)
            frequency = np.fft.rfftfreq(size, dt / 1000)
            level = 10 * np.log10(np.maximum(power / power.max(), 1e-12))
            left.plot(frequency, level, color=colour, label=name, linewidth=1.4)
            lags = np.fft.irfft(power, size)[: max(2, int(200 / dt) + 1)]
            right.plot(np.arange(lags.size) * dt, lags / lags[0], color=colour, label=name, linewidth=1.4)
        left.set(title="Amplitude spectrum", xlabel="frequency (Hz)", ylabel="dB below its peak",
                 ylim=(-60, 3), xlim=(0, 500 / dt))
        right.set(title="Autocorrelation", xlabel="lag (ms)", ylabel="relative to lag 0")
        right.axhline(0, color=_SOFT, linewidth=0.8)
        left.legend()
        right.legend()
        return _encode(plt, figure)


def wavelet_figure(
    nominal: np.ndarray, dt: float, corrected: np.ndarray | None, truth: np.ndarray | None
) -> str:
    """Wavelets in time, amplitude (dB), phase: nominal, corrected (median of patches, 10 to 90 %), true."""
    plt = _pyplot()
    curves = [("nominal", _unit(nominal), BLUE, "-")]
    if corrected is not None:
        scaled = corrected / np.maximum(np.linalg.norm(corrected, axis=1, keepdims=True), 1e-12)
        curves.append(("corrected (median)", _unit(np.median(scaled, axis=0)), ORANGE, "-"))
    if truth is not None:
        curves.append(("true", _unit(truth), GREEN, "--"))
    with plt.rc_context(_STYLE):
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10.5, 3.4), layout="constrained")
        if corrected is not None:
            low, high = np.quantile(scaled, (0.1, 0.9), axis=0)
            left.fill_between(_times(low, dt), low, high, color=ORANGE, alpha=0.2, linewidth=0,
                              label="corrected, 10 to 90 % of patches")
        for name, taps, colour, line in curves:
            frequency, amplitude, phase = _response(taps, dt)
            strong = amplitude > 10 ** (-20 / 20) * amplitude.max()
            left.plot(_times(taps, dt), taps, line, color=colour, label=name, linewidth=1.4)
            level = 20 * np.log10(np.maximum(amplitude / max(amplitude.max(), 1e-12), 1e-6))
            middle.plot(frequency, level, line, color=colour)
            right.plot(frequency[strong], phase[strong], line, color=colour)
        left.set(title="Wavelet", xlabel="time (ms)", ylabel="amplitude (unit l2 norm)")
        middle.set(title="Its amplitude spectrum", xlabel="frequency (Hz)", ylabel="dB below its peak",
                   ylim=(-40, 2), xlim=(0, 500 / dt))
        right.set(title="Its phase (where above -20 dB)", xlabel="frequency (Hz)", ylabel="degrees",
                  ylim=(-180, 180), yticks=range(-180, 181, 90), xlim=(0, 500 / dt))
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
        return _encode(plt, figure)


def convergence_figure(residuals: np.ndarray, iterations: np.ndarray) -> str:
    """Relative residual per iteration (median, range over patches) and the iterations that patches took."""
    plt = _pyplot()
    with plt.rc_context(_STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.4), layout="constrained")
        rows = np.flatnonzero(np.isfinite(residuals).any(1))
        left.set(title="Residual per iteration", xlabel="iteration", ylabel="|f(x) - x| / |f(x)|")
        if rows.size and (residuals[rows][np.isfinite(residuals[rows])] > 0).any():
            curves = np.ma.masked_invalid(residuals[rows])
            low, middle, high = curves.min(1), np.ma.median(curves, axis=1), curves.max(1)
            left.fill_between(rows + 1, low, high, color=BLUE, alpha=0.18, linewidth=0,
                              label="range of patches")
            left.xaxis.get_major_locator().set_params(integer=True)
            left.plot(rows + 1, middle, color=BLUE, linewidth=1.6, marker="o", markersize=3, label="median")
            left.set_yscale("log")
            left.legend()
        else:
            left.text(0.5, 0.5, "this model does not iterate", ha="center", transform=left.transAxes,
                      color=_SOFT)
        highest = max(1, int(iterations.max()))
        edges = np.arange(-0.5, highest + 1.5, max(1, math.ceil(highest / 40)))
        right.hist(iterations, bins=edges if edges.size > 1 else 1, color=BLUE, rwidth=0.85)
        right.set(title=f"Iterations per patch ({iterations.size} patches)", xlabel="iterations",
                  ylabel="patches")
        for axis in (right.xaxis, right.yaxis):
            axis.get_major_locator().set_params(integer=True)
        right.grid(axis="x", visible=False)
        return _encode(plt, figure)


def map_figure(
    grid: np.ndarray, times: np.ndarray, numbers: np.ndarray, axis: str
) -> str:
    """Iterations of a section's patches at their places: grid [n_t, n_x], NaN where none was solved.

    times: [n_t] ms of the patches' first samples. numbers: [n_x] of their first traces.
    """
    plt = _pyplot()
    shape = grid.shape
    with plt.rc_context({**_STYLE, "axes.grid": False}):
        figure, axes = plt.subplots(figsize=(10.5, 1.6 + 0.22 * shape[0]), layout="constrained")
        shown = axes.imshow(np.ma.masked_invalid(grid), cmap="viridis", aspect="auto",
                            interpolation="nearest")
        columns = np.unique(np.linspace(0, shape[1] - 1, min(10, shape[1])).round().astype(int))
        rows = np.unique(np.linspace(0, shape[0] - 1, min(8, shape[0])).round().astype(int))
        axes.set_xticks(columns, [str(numbers[c]) for c in columns])
        axes.set_yticks(rows, [f"{times[r]:g}" for r in rows])
        axes.set(title="Iterations of each patch at its place", xlabel=f"first {axis} of the patch",
                 ylabel="first time (ms)")
        figure.colorbar(shown, ax=axes, label="iterations", pad=0.01)
        return _encode(plt, figure)


def seconds_figure(seconds: dict[str, float]) -> str:
    """Seconds per stage."""
    plt = _pyplot()
    stages = [(k, v) for k, v in seconds.items() if k != "total"]
    rest = seconds.get("total", 0.0) - sum(v for _, v in stages)
    stages += [("other", rest)] if rest > 0 else []
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(figsize=(10.5, 0.7 + 0.28 * len(stages)), layout="constrained")
        bars = axes.barh([k for k, _ in stages], [v for _, v in stages], color=BLUE, height=0.65)
        axes.bar_label(bars, [f" {v:.2f} s" for _, v in stages], color=_INK)
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.grid(axis="y", visible=False)
        axes.set(title="Seconds per stage", xlabel="seconds")
        return _encode(plt, figure)


def _pyplot():
    matplotlib = require("matplotlib", extra="report")
    matplotlib.use("agg", force=False)
    return require("matplotlib.pyplot", extra="report")


def _encode(plt, figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi="figure", metadata={"Software": None})
    plt.close(figure)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _thin(image: np.ndarray, most: int = 4000) -> np.ndarray:
    """Every k-th trace and sample of a section larger than any screen."""
    return image[:: math.ceil(image.shape[0] / most), :: math.ceil(image.shape[1] / most)]


def _trace_ticks(numbers: np.ndarray) -> tuple[np.ndarray, list[str]]:
    places = np.unique(np.linspace(0, numbers.size - 1, min(5, numbers.size)).round().astype(int))
    return places, [str(numbers[p]) for p in places]


def _mean_power(section: np.ndarray) -> tuple[np.ndarray, int]:
    section = section[:, section.any(0)][:, :4096]
    if section.shape[1] == 0:
        section = np.ones((section.shape[0], 1), np.float32)
    size = 2 ** math.ceil(math.log2(2 * section.shape[0]))
    taper = np.hanning(section.shape[0] + 2)[1:-1, None]
    power = np.zeros(size // 2 + 1)
    for first in range(0, section.shape[1], 256):
        power += (np.abs(np.fft.rfft(section[:, first:first + 256] * taper, size, axis=0)) ** 2).sum(1)
    smooth = np.convolve(power, np.hanning(9)[1:-1] / np.hanning(9).sum(), "same")
    return np.maximum(smooth, 1e-30), size


def _times(taps: np.ndarray, dt: float) -> np.ndarray:
    return (np.arange(taps.size) - taps.size // 2) * dt


def _unit(taps: np.ndarray) -> np.ndarray:
    return taps / max(float(np.linalg.norm(taps)), 1e-12)


def _response(taps: np.ndarray, dt: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    size = 8 * max(64, taps.size)
    spectrum = np.fft.rfft(np.roll(np.pad(taps, (0, size - taps.size)), -(taps.size // 2)))
    return np.fft.rfftfreq(size, dt / 1000), np.abs(spectrum), np.degrees(np.angle(spectrum))
