"""The demo's table: each method's figures against the truth, and a plain sentence on who won."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..evaluation import compare


@dataclass(frozen=True)
class Row:
    """One method on the line.

    Attributes:
        name: of the method.
        wavelet: which it was told: "-", "nominal" or "estimated".
        psnr: dB, peak max |x|, after one least-squares factor for the line.
        correlation: -1 to 1.
        quality: Q in dB, independent of scale.
        seconds: of the deconvolution alone, without reading, gain and writing; 0 where nothing is computed.
    """

    name: str
    wavelet: str
    psnr: float
    correlation: float
    quality: float
    seconds: float


def score(
    name: str, wavelet: str, truth: np.ndarray, estimate: np.ndarray, live: np.ndarray, seconds: float
) -> Row:
    """Compare an estimate [T, X] with the truth on the live traces [X], in the line's own amplitudes."""
    figures = compare(truth[None, :, live], estimate[None, :, live], scale="least-squares")
    psnr, correlation, quality = (float(figures[k][0]) for k in ("psnr", "correlation", "quality"))
    return Row(name, wavelet, psnr, correlation, quality, seconds)


def margin(ours: Row, other: Row) -> tuple[float, float]:
    """Gain in PSNR (dB) and in correlation, rounded as they are printed: rounding errors beat nobody."""
    return round(ours.psnr - other.psnr, 2), round(ours.correlation - other.correlation, 3)


def verdict(rows: Iterable[Row]) -> str:
    """Say plainly whether aafast beats the data, and FISTA told the same wavelet, by PSNR and correlation."""
    rows = list(rows)
    lines = []
    for ours in (row for row in rows if row.name == "aafast"):
        for other in rows:
            if other.name == "data" or (other.name == "FISTA" and other.wavelet == ours.wavelet):
                gain, more = margin(ours, other)
                if gain > 0 and more > 0:
                    word = "beats"
                else:
                    word = "does not clearly beat" if gain > 0 or more > 0 else "DOES NOT BEAT"
                label = "the data themselves" if other.name == "data" else "FISTA"
                lines.append(f"With the {ours.wavelet} wavelet aafast {word} {label}: "
                             f"{gain:+.2f} dB PSNR, {more:+.3f} correlation.")
    return "\n".join(lines)


def cells(row: Row) -> tuple[str, ...]:
    """A row as it is printed and shown; every column has its own number of digits."""
    seconds = f"{row.seconds:.3f}" if row.seconds else "-"
    return row.name, row.wavelet, f"{row.psnr:.2f}", f"{row.correlation:.3f}", f"{row.quality:.2f}", seconds


def table(rows: Iterable[Row]) -> str:
    """The rows as aligned text."""
    lines = [("method", "wavelet", "PSNR dB", "correlation", "Q dB", "seconds"), *map(cells, rows)]
    return "\n".join(f"{a:<10}{b:<11}{c:>9}{d:>13}{e:>8}{f:>10}" for a, b, c, d, e, f in lines)
