"""Reconstruct a section, or a block of it, by overlapping patches: gain, solve, blend, residual."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import AafastError, InputError, describe
from ..physics import WaveletConvolution
from .blocks import Block, find_halo, patches_of
from .gain import smooth_gain
from .plan import SMALLEST, Patch, Plan, make_plan
from .wavelet import Wavelet, check_length

PATCH, BATCH = (256, 64), 8
_TILE = 64  # traces that are convolved at once where one wavelet is everywhere
Solve = Callable[[torch.Tensor, WaveletConvolution], object]
Taps = Callable[[Sequence[Patch]], np.ndarray]  # the nominal wavelet: [K] of all these patches, or [B, K]


@dataclass
class Part:
    """Traces of a section that are read together: data [T, n] float32, zero where dead; `at` [n], their ascending
    positions in the section; live [n] bool. All of first to stop - 1 are among them, and so are the live traces
    nearest to these on either side where one of these is dead."""

    data: np.ndarray
    at: np.ndarray
    live: np.ndarray
    first: int
    stop: int


@dataclass
class PartResult:
    """The reconstruction of a block's core and how its patches went.

    x: [T, X] float32 reflectivity in the data's units. residual: [T, X], d - W x with each patch's own
    wavelet where the model gave one; both are zero on dead traces. patches: [n] numbers in the section's plan of the
    patches solved that are counted here (not those without a live trace). iterations, status: [n]. residuals: [K, n],
    NaN after a patch stopped. wavelets: [n, taps] or None. seconds: per stage. backend: what computed it.
    """

    x: np.ndarray
    residual: np.ndarray
    patches: np.ndarray
    iterations: np.ndarray
    status: np.ndarray
    residuals: np.ndarray
    wavelets: np.ndarray | None
    seconds: dict[str, float]
    backend: str


@dataclass
class SectionResult(PartResult):
    """A reconstructed section; the same for all of its traces and patches, with its plan and nominal wavelet [taps]."""

    plan: Plan
    wavelet: np.ndarray


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
    traces; see `plan_section`. batch: patches per call. gain: [T, X], by default `smooth_gain`. on_batch: called with
    (patches done, all).
    Raises InputError for bad shapes, AafastError where the solver returns numbers that are not finite.
    """
    section, live = check_section(section, live)
    taps = np.asarray(getattr(wavelet, "samples", wavelet), np.float32)
    check_length(taps.size, section.shape[0], getattr(wavelet, "source", "given"))
    check_batch(batch)
    clock = time.perf_counter()
    gain = smooth_gain(section, live) if gain is None else np.asarray(gain, np.float32)
    seconds = time.perf_counter() - clock
    plan = plan_section(section.shape, patch, overlap, halo, origin)
    count = section.shape[1]
    part = Part(section, np.arange(count), live, 0, count)
    block = Block(0, 0, 0, count, 0, len(plan.trace.starts))
    found = reconstruct_part(part, gain, block, plan, lambda patches: taps, solve, batch, on_batch)
    found.seconds["gain"] += seconds
    return SectionResult(**vars(found), plan=plan, wavelet=taps)


def plan_section(
    shape: tuple[int, int],
    patch: tuple[int, int] = PATCH,
    overlap: tuple[int, int] | None = None,
    halo: tuple[int, int] | None = None,
    origin: tuple[int, int] = (0, 0),
) -> Plan:
    """The patches of a section [T, X] or, if that is smaller, of 8 x 8; see `make_plan`.

    overlap is a quarter of the patch, halo a quarter of that, by default.
    """
    overlap = overlap or (patch[0] // 4, patch[1] // 4)
    halo = halo or (overlap[0] // 4, overlap[1] // 4)
    return make_plan((max(SMALLEST, shape[0]), max(SMALLEST, shape[1])), patch, overlap, halo, origin)


def check_batch(batch: int) -> None:
    """Raise InputError unless `batch` is a number of patches."""
    if batch < 1:
        raise InputError(describe("batch", batch, "1 or more patches", "Choose a larger batch"))


def reconstruct_part(
    part: Part,
    gain: np.ndarray,
    block: Block,
    plan: Plan,
    taps: Taps,
    solve: Solve,
    batch: int = BATCH,
    on_batch: Callable[[int, int], None] | None = None,
) -> PartResult:
    """Reconstruct the core of a block; every trace comes out as it would from the whole section, to the last bit,
    where a solver's answer for a patch does not depend on the patches beside it in the batch.

    part: the block's halo (see `find_halo`). gain: [T, part.stop - part.first]. plan: of the whole section. taps:
    gives the nominal wavelets of a batch's patches. Raises as `reconstruct_section` does.
    """
    seconds, clock = {}, time.perf_counter()
    halo = find_halo(block, plan.trace)
    here = slice(*np.searchsorted(part.at, [part.first, part.stop]))
    live = part.live[here]
    y = flatten(part, gain)
    width = np.pad(live, (0, y.shape[1] - live.size))
    todo = [n for n in patches_of(plan, halo.columns) if width[_shifted(plan[n].trace, halo.first)].any()]
    seconds["gain"] = time.perf_counter() - clock

    clock = time.perf_counter()
    x = np.zeros((y.shape[0], block.stop - block.first), np.float32)
    parts, nominal = [], []
    for numbers in _batches(todo, batch):
        places = [plan[n] for n in numbers]
        stack = np.stack([y[p.time, _shifted(p.trace, halo.first)] for p in places])
        nominal.append(np.ascontiguousarray(taps(places), np.float32))
        solution = solve(torch.from_numpy(stack)[:, None], WaveletConvolution(torch.from_numpy(nominal[-1].copy())))
        parts.append(_to_numpy(solution, plan, numbers))
        for p, image in zip(places, parts[-1].pop("x"), strict=True):
            core, own = _core(p, block)
            x[p.time, core] += p.weight[:, own] * image[:, own]
        if on_batch is not None:
            on_batch(sum(len(p["status"]) for p in parts), len(todo))
    seconds["solve"] = time.perf_counter() - clock

    clock = time.perf_counter()
    core = slice(block.first - part.first, block.stop - part.first)
    data, alive = part.data[:, here][:, core], live[core]
    with np.errstate(over="ignore"):
        x = x[: data.shape[0]] * gain[:, core]
    if not np.isfinite(x).all():
        raise AafastError(describe("amplitudes", f"data up to {np.abs(part.data).max():.1e}",
                                   "a result within the range of 4-byte floats", "Scale the data down"))
    residual = data - _predict(x, block, plan, todo, parts, nominal, batch)
    x[:, ~alive] = 0
    residual[:, ~alive] = 0
    seconds["residual"] = time.perf_counter() - clock
    column = np.asarray(todo, np.int64) % len(plan.trace.starts)
    return _join(x, residual, todo, (column >= block.begin) & (column < block.end), parts, seconds)


def flatten(part: Part, gain: np.ndarray) -> np.ndarray:
    """What a solver sees of traces part.first to part.stop - 1: dead ones filled, over the gain, 8 x 8 or more."""
    here = slice(*np.searchsorted(part.at, [part.first, part.stop]))
    return _pad(_fill_dead(part)[:, here] / gain)


def _shifted(traces: slice, first: int) -> slice:
    return slice(traces.start - first, traces.stop - first)


def _core(place: Patch, block: Block) -> tuple[slice, slice]:
    """Where a patch lies in a block's core, and what of the patch that is; both empty where it does not."""
    first, stop = max(place.trace.start, block.first), min(place.trace.stop, block.stop)
    stop = max(first, stop)
    return slice(first - block.first, stop - block.first), slice(first - place.trace.start, stop - place.trace.start)


def check_section(section: np.ndarray, live: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The section as float32, zero on dead traces, and which are live; InputError where either is no such thing."""
    section = np.asarray(section)
    if section.ndim != 2 or section.size == 0 or not np.issubdtype(section.dtype, np.number):
        raise InputError(describe("section", f"{section.dtype} of shape {section.shape}",
                                  "numbers [T, X], at least one sample and one trace", "Give one line"))
    section = section.astype(np.float32, copy=False)
    live = np.asarray(section.any(0) if live is None else live, bool)
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


def _fill_dead(part: Part) -> np.ndarray:
    """Dead traces drawn linearly between the live traces beside them; at an end, copies of the nearest."""
    if part.live.all():
        return part.data
    known = np.flatnonzero(part.live)
    filled = part.data.copy()
    if not known.size:
        return filled
    for k in np.flatnonzero(~part.live):
        right = min(int(np.searchsorted(known, k)), known.size - 1)
        left = max(right - 1, 0) if known[right] > k else right
        a, b = known[left], known[right]
        if a < k < b:
            share = np.float32((part.at[k] - part.at[a]) / (part.at[b] - part.at[a]))
            filled[:, k] = (1 - share) * part.data[:, a] + share * part.data[:, b]
        else:
            filled[:, k] = part.data[:, a if k > a else b]
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
    longest = max((len(p) for p in parts), default=0)
    padded = [np.pad(p, ((0, longest - len(p)), (0, 0)), constant_values=np.nan) for p in parts]
    return np.concatenate([np.empty((longest, 0), np.float32), *padded], axis=1)


def _join(
    x: np.ndarray, residual: np.ndarray, todo: list[int], counted: np.ndarray, parts: list[dict], seconds: dict
) -> PartResult:
    """The result of a block: of its patches those that are counted."""
    def joined(name: str, dtype) -> np.ndarray:
        return np.concatenate([np.empty(0, dtype), *(p[name] for p in parts)])[counted]

    has_wavelets = parts and all(p["wavelet"] is not None for p in parts)
    return PartResult(
        x=x,
        residual=residual,
        patches=np.asarray(todo, np.int64)[counted],
        iterations=joined("iterations", np.int64),
        status=joined("status", np.int8),
        residuals=join_residuals([p["residuals"] for p in parts])[:, counted],
        wavelets=np.concatenate([p["wavelet"] for p in parts])[counted] if has_wavelets else None,
        seconds=seconds,
        backend=parts[-1]["backend"] if parts else "",
    )


def _predict(
    x: np.ndarray, block: Block, plan: Plan, todo: list[int], parts: list[dict], nominal: list[np.ndarray], batch: int
) -> np.ndarray:
    """W x [T, X] of a block's core: each patch's own wavelet, or the nominal one, blended as the patches are.

    Every convolution has a shape and a place that do not depend on the block, and so has a trace's rounding.
    """
    if all(taps.ndim == 1 and part["wavelet"] is None for taps, part in zip(nominal, parts, strict=True)):
        return _predict_alike(x, block, nominal[0] if nominal else None)
    samples, (height, width) = x.shape[0], plan.patch
    predicted = np.zeros((plan.shape[0], x.shape[1]), np.float32)
    for numbers, part, taps in zip(_batches(todo, batch), parts, nominal, strict=True):
        own = taps if part["wavelet"] is None else part["wavelet"]
        reach = own.shape[-1] // 2
        places = [plan[n] for n in numbers]
        stack = np.zeros((len(places), 1, height + 2 * reach, width), np.float32)
        for frame, p in zip(stack[:, 0], places, strict=True):
            low, high = max(0, p.time.start - reach), min(samples, p.time.stop + reach)
            core, inside = _core(p, block)
            frame[low - p.time.start + reach:high - p.time.start + reach, inside] = x[low:high, core]
        images = WaveletConvolution(torch.from_numpy(own.copy())).A(torch.from_numpy(stack))[:, 0].numpy()
        for p, image in zip(places, images, strict=True):
            core, inside = _core(p, block)
            predicted[p.time, core] += p.weight[:, inside] * image[reach:reach + height, inside]
    return predicted[:samples]


def _predict_alike(x: np.ndarray, block: Block, taps: np.ndarray | None) -> np.ndarray:
    """W x [T, X] under one wavelet, in tiles of the section's traces."""
    if taps is None:
        return np.zeros_like(x)
    predicted, model = np.empty_like(x), WaveletConvolution(torch.from_numpy(taps.copy()))
    for tile in range(block.first // _TILE, -(-block.stop // _TILE)):
        first, stop = max(tile * _TILE, block.first), min((tile + 1) * _TILE, block.stop)
        frame = np.zeros((1, 1, x.shape[0], _TILE), np.float32)
        inside, core = slice(first - tile * _TILE, stop - tile * _TILE), slice(first - block.first, stop - block.first)
        frame[0, 0, :, inside] = x[:, core]
        predicted[:, core] = model.A(torch.from_numpy(frame))[0, 0].numpy()[:, inside]
    return predicted
