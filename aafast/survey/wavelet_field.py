"""Nominal wavelets that vary with time and place: estimated in windows, blended between their centres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError, describe
from .job import load_arrays, save_arrays
from .plan import Patch
from .prepare import SurveyPlan
from .wavelet import TAPS, Wavelet, estimate_wavelet

_FILE = "wavelets.npz"
_LOOKED_AT, _WIDE = 4, 1 << 19  # pieces of an area that are looked at, and samples of each
_SHORTEST = 2 * TAPS  # samples of a window in time: less says little of a spectrum


@dataclass(frozen=True)
class WaveletField:
    """Wavelets taps [t, a, K] of unit norm at the centres of windows: times [t] in samples, places [a] in traces,
    counted section after section."""

    taps: np.ndarray
    times: np.ndarray
    places: np.ndarray

    def of(self, offset: int, patches: Sequence[Patch]) -> np.ndarray:
        """The wavelets [B, K] float32 at the middle of each patch: linear between the centres, constant beyond them,
        and of unit norm. offset: place of the section's first trace. They depend on nothing but the patch."""
        return np.stack([self._at(*_middle(patch, offset)) for patch in patches]).astype(np.float32)

    def _at(self, time: float, place: float) -> np.ndarray:
        taps = self.taps.astype(np.float64)
        for centres, where in ((self.times, time), (self.places, place)):  # each takes one axis away
            right = int(np.clip(np.searchsorted(centres, where), 1, max(1, centres.size - 1)))
            if centres.size == 1:
                taps = taps[0]
                continue
            share = np.clip((where - centres[right - 1]) / (centres[right] - centres[right - 1]), 0, 1)
            taps = (1 - share) * taps[right - 1] + share * taps[right]
        return taps / max(float(np.linalg.norm(taps)), 1e-12)


def check_windows(windows: tuple[int, int], samples: int, traces: int) -> None:
    """Raise InputError where windows in time and areas are none, too many, or too short."""
    times, areas = windows
    if times < 1 or areas < 1 or areas > traces or (times > 1 and 2 * samples // (times + 1) < _SHORTEST):
        most = max(1, 2 * samples // _SHORTEST - 1)
        raise InputError(describe("windows of the wavelet", f"{times} in time, {areas} areas",
                                  f"1 to {most} in time, 1 to {traces} areas", "Choose fewer"))


def estimate_field(
    source, plan: SurveyPlan, windows: tuple[int, int], nominal: Wavelet, phase: str, polarity: int
) -> WaveletField:
    """Estimate a wavelet per window in time and area, each as `estimate_wavelet` does, from a few pieces of an area.

    Windows in time overlap by half. Areas are equal shares of the traces, section after section. Where an area holds
    no live trace the wavelet is `nominal`, that of the whole survey.
    source, plan: see `prepare`. windows: number in time, number of areas. Returns unit norm.
    """
    times, areas = windows
    samples = source.layout.samples
    check_windows(windows, samples, plan.traces.size)
    length = samples if times == 1 else 2 * samples // (times + 1)
    starts = np.linspace(0, samples - length, times).round().astype(int)
    cuts = np.linspace(0, plan.traces.size, areas + 1).round().astype(int)
    taps = np.empty((times, areas, nominal.samples.size), np.float32)
    for area, (first, stop) in enumerate(zip(cuts, cuts[1:], strict=False)):
        images, lives = _look(source, plan, int(first), int(stop))
        for k, start in enumerate(starts):
            here = [image[start:start + length] for image in images]
            if not any(image[:, live].any() for image, live in zip(here, lives, strict=True)):
                taps[k, area] = nominal.samples
                continue
            taps[k, area] = estimate_wavelet(
                here, source.layout.interval, nominal.samples.size, phase, live=lives, polarity=polarity).samples
    return WaveletField(taps, starts + (length - 1) / 2, (cuts[:-1] + cuts[1:] - 1) / 2)


def save_field(folder: Path, field: WaveletField) -> None:
    """Keep the wavelets in a job's folder."""
    save_arrays(folder / _FILE, taps=field.taps, times=field.times, places=field.places)


def load_field(folder: Path) -> WaveletField | None:
    """The wavelets that a job's folder holds, if any."""
    return WaveletField(**load_arrays(folder / _FILE)) if (folder / _FILE).exists() else None


def _look(source, plan: SurveyPlan, first: int, stop: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Some pieces of an area, divided by their gain: images [T, n] and masks of live traces [n]."""
    widest = max(16, _WIDE // source.layout.samples)
    pieces = []  # (section, first, stop) within the section
    for number in range(len(plan.sizes)):
        offset, end = int(plan.offsets[number]), int(plan.offsets[number + 1])
        low, high = max(first, offset) - offset, min(stop, end) - offset
        pieces += [(number, a, min(a + widest, high)) for a in range(low, high, widest)
                   if plan.live[offset + a:offset + min(a + widest, high)].any()]
    images, lives = [], []
    for k in np.unique(np.linspace(0, len(pieces) - 1, min(_LOOKED_AT, len(pieces))).round().astype(int)):
        number, a, b = pieces[k]
        here = plan.section(number)
        live = plan.live[here][a:b]
        data = np.where(live, source.read(plan.traces[here][a:b]), np.float32(0))
        images.append(data / plan.gain(number).part(a, b))
        lives.append(live)
    return images, lives


def _middle(patch: Patch, offset: int) -> tuple[float, float]:
    return (patch.time.start + patch.time.stop - 1) / 2, offset + (patch.trace.start + patch.trace.stop - 1) / 2
