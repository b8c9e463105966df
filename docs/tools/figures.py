"""The figures of docs/method.md and docs/performance.md, drawn from committed results and from the shipped model.

Run: python docs/tools/figures.py          draws docs/figures/*.svg (needs matplotlib)
A figure holds the digest of what it was drawn from; the tests notice one that is out of date.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

import aafast
from aafast.data import synthetic_line
from aafast.survey import make_wavelet, reconstruct_section

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "figures"
RESULTS = ROOT / "bench" / "results"
WEIGHTS = ROOT / "aafast" / "weights" / "deconv"
STYLE = {"svg.hashsalt": "aafast", "svg.fonttype": "none", "font.size": 9}
STYLE |= {"axes.spines.top": False, "axes.spines.right": False}
TRUE, TOLD, OURS, PLAIN = "#444444", "#a9b4c2", "#c8553d", "#6c8ead"
LEVELS = {"none": "right wavelet", "in": "wrong by up to 20 %", "out": "wrong by up to 40 %"}


def example_line() -> Any:
    """The line of the figures: that of the demo's seed 0, smaller, its nominal wavelet wrong by a level."""
    return synthetic_line(72, 200, seed=0, mismatch="out", frequency=30.0, snr_db=15.0)


def wavelets() -> Figure:
    """The wavelet that made a line's data, the one that is told, and what of the spectrum they share."""
    line = example_line()
    figure = Figure(figsize=(7.2, 2.6), layout="constrained")
    time, spectrum = figure.subplots(1, 2)
    t = 1000 * line.dt * (np.arange(line.wavelet_true.size) - line.wavelet_true.size // 2)
    frequency = np.fft.rfftfreq(512, line.dt)
    for name, taps, colour in (("true", line.wavelet_true, TRUE), ("nominal", line.wavelet_nominal, OURS)):
        time.plot(t, taps, color=colour, label=name)
        spectrum.plot(frequency, np.abs(np.fft.rfft(taps, 512)), color=colour, label=name)
    time.set_xlabel("time, ms")
    time.set_yticks([])
    spectrum.set_xlabel("frequency, Hz")
    spectrum.set_yticks([])
    spectrum.set_xlim(0, 90)
    time.legend(frameon=False)
    return figure


def sections() -> Figure:
    """Data, reconstruction by the shipped model with the nominal wavelet, and truth, under one colour scale each."""
    line = example_line()
    model = aafast.load("deconv")
    told = make_wavelet(line.wavelet_nominal, 1000 * line.dt, "nominal")
    found = reconstruct_section(line.data, told, lambda y, A0: aafast.reconstruct(y, A0, model), live=~line.dead).x
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    milliseconds = 1000 * line.dt * line.data.shape[0]
    images = {"data y": line.data, "aafast, told the nominal wavelet": found, "truth x": line.target}
    for axes, (title, image) in zip(panels, images.items(), strict=True):
        clip = float(np.quantile(np.abs(image), 0.99))
        axes.imshow(image, cmap="gray", vmin=-clip, vmax=clip, aspect="auto", interpolation="none",
                    extent=(0, image.shape[1], milliseconds, 0))  # fmt: skip
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("trace")
    panels[0].set_ylabel("time, ms")
    return figure


def levels() -> Figure:
    """PSNR of the shipped model and of classical methods as the nominal wavelet gets worse."""
    kept = [r for r in rows("evaluation-shipped.jsonl") if r["task"] == "deconv" and r["variant"] in ("-", "as-saved")]
    found = {(r["mismatch"], r["label"], r["told"]): r["psnr"]["mean"] for r in kept}
    methods = {"fista": PLAIN, "wiener": TOLD, "shipped deconv": OURS}
    names = {"fista": "FISTA", "wiener": "Wiener", "shipped deconv": "aafast"}
    figure = Figure(figsize=(7.2, 2.6), layout="constrained")
    axes = figure.subplots()
    for index, (method, colour) in enumerate(methods.items()):
        bars = [found[level, method, "nominal"] - found[level, "data", "-"] for level in LEVELS]
        places = np.arange(len(LEVELS)) + (index - 1) * 0.26
        drawn = axes.bar(places, bars, 0.26, color=colour, label=names[method])
        axes.bar_label(drawn, fmt="%.2f", fontsize=7, padding=1)
    axes.axhline(0, color=TRUE, linewidth=0.8)
    axes.set_xticks(range(len(LEVELS)), list(LEVELS.values()))
    axes.set_ylabel("dB gained over the data")
    axes.margins(y=0.15)
    axes.legend(frameon=False, ncols=3, loc="upper right", fontsize=8)
    return figure


def evaluations() -> Figure:
    """Evaluations that fixed-point solvers take on a small trained model, mean over samples."""
    small = [r for r in rows("fixed-point.jsonl") if r["problem"].startswith("deconv, 16 channels")]
    chosen = ("picard, beta=0.5", "anderson, authors' settings", "broyden", "default")
    means = {r["solver"]: float(np.mean([min(v, r["budget"]) if v else r["budget"] for v in r["evaluations"]["0.001"]]))
             for r in small if r["solver"] in chosen}  # fmt: skip
    figure = Figure(figsize=(7.2, 2.0), layout="constrained")
    axes = figure.subplots()
    colours = [OURS if name == "default" else TOLD for name in chosen]
    labels = [name.replace("default", "anderson, default") for name in chosen]
    drawn = axes.barh(labels, [means[name] for name in chosen], color=colours)
    axes.bar_label(drawn, fmt="%.1f", fontsize=8, padding=2)
    axes.set_xlabel("evaluations to a residual of 1e-3")
    return figure


def rows(name: str) -> list[dict[str, Any]]:
    """The rows of a results file."""
    return [json.loads(line) for line in (RESULTS / name).read_text(encoding="utf-8").splitlines()]


# Each figure with the files that it is drawn from.
FIGURES: dict[str, tuple[Callable[[], Figure], tuple[Path, ...]]] = {
    "wavelets": (wavelets, ()),
    "sections": (sections, (WEIGHTS / "model.safetensors", WEIGHTS / "card.json")),
    "levels": (levels, (RESULTS / "evaluation-shipped.jsonl",)),
    "evaluations": (evaluations, (RESULTS / "fixed-point.jsonl",)),
}


def digest(name: str) -> str:
    """What tells a figure's sources from others: this file's text and the files it is drawn from."""
    found = hashlib.sha256(Path(__file__).read_bytes())
    for path in FIGURES[name][1]:
        found.update(path.read_bytes())
    return found.hexdigest()


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, (draw, _) in FIGURES.items():
        with matplotlib.rc_context(STYLE):
            metadata = {"Date": None, "Description": f"sources sha256 {digest(name)}"}
            draw().savefig(FOLDER / f"{name}.svg", metadata=metadata, dpi=110)


if __name__ == "__main__":
    main()
