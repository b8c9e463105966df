"""Reconstruct one section by overlapping patches: gain, solve, blend, residual."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import AafastError, InputError, describe
from ..physics import WaveletConvolution
from .gain import nearest, smooth_gain
from .plan import SMALLEST, Plan, make_plan
from .wavelet import Wavelet, check_length

PATCH, BATCH = (256, 64), 8
Solve = Callable[[torch.Tensor, WaveletConvolution], object]


@dataclass
class SectionResult:
    """A reconstructed section and how each patch went.

    x: [T, X] float32 reflectivity in the data's units. residual: [T, X], d - W x with each patch's own
    wavelet where the model gave one; both are zero on dead traces. patches: [n] numbers in `plan` of the
    patches solved (not those without a live trace). iterations, status: [n]. residuals: [K, n], NaN after a
    patch stopped. wavelets: [n, taps] or None. wavelet: [taps] nominal. seconds: per stage. backend: what
    computed it.
    """

    x: np.ndarray
    residual: np.ndarray
    plan: Plan
    patches: np.ndarray
    iterations: np.ndarray
    status: np.ndarray
    residuals: np.ndarray
    wavelets: np.ndarray | None
    wavelet: np.ndarray
    seconds: dict[str, float]
    backend: str


def reconstruct_section(
    section: np.ndarray,
    wavelet: Wavelet | np.ndarray,
    solve: Solve,
    *,
    live: np.ndarray | None = None,
    patch: tuple[int, int] = PATCH,
    overlap: tuple[int, int] | None = None,
    halo: tuple[int, int] | None = None,
    batch: int = BATCH,
    origin: tuple[int, int] = (0, 0),
    gain: np.ndarray | None = None,
    on_batch: Callable[[int, int], None] | None = None,
) -> SectionResult:
    """Solve d = W r for a whole section, patch by patch, so that patch borders do not show.

    y = d / g with one smooth gain g for the section, r = g sum_p m_p x_p, where x_p solves patch p and the
    tapers m_p sum to one. Dead traces are filled from their live neighbours for the solve and come out as
    zeros.

    section: [T, X] float, finite on live traces. wavelet: unit-norm taps [K], K odd and at most T. solve:
    called with y [B, 1, T', X'] float32 and A0, returns an object with the fields of `aafast.Solution`.
    live: [X] bool, by default the traces that are not all zero. patch, overlap, halo, origin: samples,
    traces; see `make_plan`; overlap is a quarter of the patch, halo a quarter of that, by default. batch:
    patches per call. gain: [T, X], by default `smooth_gain`. on_batch: called with (patches done, all).
    Raises InputError for bad shapes, AafastError where the solver returns numbers that are not finite.
    """
    section, live = _check(section, live)
    taps = np.asarray(getattr(wavelet, "samples", wavelet), np.float32)
    check_length(taps.size, section.shape[0], getattr(wavelet, "source", "given"))
    if batch < 1:
        raise InputError(describe("batch", batch, "1 or more patches", "Choose a larger batch"))
    seconds = {}

    clock = time.perf_counter()
    gain = smooth_gain(section, live) if gain is None else np.asarray(gain, np.float32)
    y = _pad(_fill_dead(section, live) / gain)
    overlap = overlap or tuple(n // 4 for n in patch)
    halo = halo or tuple(n // 4 for n in overlap)
    plan = make_plan(y.shape, patch, overlap, halo, origin)
    width = np.pad(live, (0, y.shape[1] - live.size))
    todo = [p.number for p in plan if width[p.trace].any()]
    seconds["gain"] = time.perf_counter() - clock

    clock = time.perf_counter()
    x = np.zeros(y.shape, np.float32)
    parts = []
    nominal = torch.from_numpy(taps.copy())
    for numbers in _batches(todo, batch):
        stack = np.stack([y[plan[n].time, plan[n].trace] for n in numbers])
        solution = solve(torch.from_numpy(stack)[:, None], WaveletConvolution(nominal))
        parts.append(_to_numpy(solution, plan, numbers))
        for n, image in zip(numbers, parts[-1]["x"], strict=True):
            x[plan[n].time, plan[n].trace] += plan[n].weight * image
        del parts[-1]["x"]
        if on_batch is not None:
            on_batch(sum(len(p["status"]) for p in parts), len(todo))
    seconds["solve"] = time.perf_counter() - clock

    clock = time.perf_counter()
    with np.errstate(over="ignore"):
        x = x[: section.shape[0], : section.shape[1]] * gain
    if not np.isfinite(x).all():
        raise AafastError(describe("amplitudes", f"data up to {np.abs(section).max():.1e}",
                                   "a result within the range of 4-byte floats", "Scale the data down"))
    wavelets = None if parts[0]["wavelet"] is None else np.concatenate([p["wavelet"] for p in parts])
    predicted = _predict(_pad(x), plan, todo, taps, wavelets, batch)
    residual = section - predicted[: section.shape[0], : section.shape[1]]
    x[:, ~live] = 0
    residual[:, ~live] = 0
    seconds["residual"] = time.perf_counter() - clock
    return SectionResult(
        x=x,
        residual=residual,
        plan=plan,
        patches=np.asarray(todo),
        iterations=np.concatenate([p["iterations"] for p in parts]),
        status=np.concatenate([p["status"] for p in parts]),
        residuals=join_residuals([p["residuals"] for p in parts]),
        wavelets=wavelets,
        wavelet=taps,
        seconds=seconds,
        backend=parts[-1]["backend"],
    )


def _check(section: np.ndarray, live: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    section = np.asarray(section)
    if section.ndim != 2 or section.size == 0 or not np.issubdtype(section.dtype, np.number):
        raise InputError(describe("section", f"{section.dtype} of shape {section.shape}",
                                  "numbers [T, X], at least one sample and one trace", "Give one line"))
    section = section.astype(np.float32, copy=False)
    live = section.any(0) if live is None else np.asarray(live, bool)
    if live.shape != (section.shape[1],):
        raise InputError(describe("mask of live traces", f"shape {live.shape}", f"({section.shape[1]},)",
                                  "Give one flag per trace"))
    if not live.any():
        raise InputError(describe("section", "only dead traces", "one live trace or more", "Check the input"))
    bad = np.flatnonzero(live & ~np.isfinite(section).all(0))
    if bad.size:
        raise InputError(describe("section", f"NaN or Inf in trace {bad[0] + 1} ({bad.size} such)",
                                  "finite numbers on live traces", "Mark such traces as dead"))
    return np.where(live, section, np.float32(0)), live


def _fill_dead(section: np.ndarray, live: np.ndarray) -> np.ndarray:
    """Dead traces drawn linearly between the live traces beside them."""
    if live.all():
        return section
    known = np.flatnonzero(live)
    filled = section.copy()
    for k in np.flatnonzero(~live):
        right = min(int(np.searchsorted(known, k)), known.size - 1)
        left = max(right - 1, 0) if known[right] > k else right
        a, b = known[left], known[right]
        if a < k < b:
            share = np.float32((k - a) / (b - a))
            filled[:, k] = (1 - share) * section[:, a] + share * section[:, b]
        else:
            filled[:, k] = section[:, nearest(known, live.size)[k]]
    return filled


def _pad(section: np.ndarray) -> np.ndarray:
    """At least 8 x 8: zeros below, copies of the last trace beside."""
    down, right = (max(0, SMALLEST - n) for n in section.shape)
    section = np.pad(section, ((0, down), (0, 0)))
    return np.pad(section, ((0, 0), (0, right)), mode="edge")


def _batches(numbers: list[int], batch: int) -> Iterator[list[int]]:
    return (numbers[k:k + batch] for k in range(0, len(numbers), batch))


def _to_numpy(solution, plan: Plan, numbers: list[int]) -> dict:
    """The fields of a Solution that outlive its batch, as numpy on the host."""
    def host(value, dtype=None):
        return value.detach().cpu().numpy().astype(dtype or np.float32, copy=False)

    x = host(solution.x)
    expected = (len(numbers), 1, *plan.patch)
    if x.shape != expected:
        raise AafastError(describe("solver's answer", f"shape {x.shape}", f"{expected}", "Use another model"))
    bad = ~np.isfinite(x).all((1, 2, 3))
    if bad.any():
        where = plan[numbers[int(bad.argmax())]]
        got = f"NaN or Inf in the patch at sample {where.time.start}, trace {where.trace.start + 1}"
        raise AafastError(describe("solver's answer", got, "finite numbers", "Use another model or wavelet"))
    wavelet = getattr(solution, "wavelet", None)
    return {
        "x": x[:, 0],
        "status": host(solution.status, np.int8),
        "iterations": host(solution.iterations, np.int64),
        "residuals": host(solution.residuals),
        "wavelet": None if wavelet is None else host(wavelet),
        "backend": str(getattr(solution, "backend", "")),
    }


def join_residuals(parts: list[np.ndarray]) -> np.ndarray:
    """Curves [K_i, n_i] side by side, padded with NaN to the longest: [K, n]."""
    longest = max(len(p) for p in parts)
    padded = [np.pad(p, ((0, longest - len(p)), (0, 0)), constant_values=np.nan) for p in parts]
    return np.concatenate(padded, axis=1)


def _predict(
    x: np.ndarray, plan: Plan, todo: list[int], taps: np.ndarray, wavelets: np.ndarray | None, batch: int
) -> np.ndarray:
    """W x [T, X]: the nominal wavelet everywhere, or each patch's own, blended as the patches are."""
    if wavelets is None:
        image = torch.from_numpy(np.ascontiguousarray(x))[None, None]
        return WaveletConvolution(torch.from_numpy(taps.copy())).A(image)[0, 0].numpy()
    reach = wavelets.shape[1] // 2
    framed = np.pad(x, ((reach, reach), (0, 0)))
    predicted = np.zeros_like(x)
    rows = {number: k for k, number in enumerate(todo)}
    for numbers in _batches(todo, batch):
        places = [plan[n] for n in numbers]
        stack = np.stack([framed[p.time.start:p.time.stop + 2 * reach, p.trace] for p in places])
        own = torch.from_numpy(wavelets[[rows[n] for n in numbers]])
        images = WaveletConvolution(own).A(torch.from_numpy(stack)[:, None])[:, 0].numpy()
        for p, image in zip(places, images, strict=True):
            predicted[p.time, p.trace] += p.weight * image[reach:image.shape[0] - reach]
    return predicted
