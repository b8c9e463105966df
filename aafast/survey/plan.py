"""Cut a section into overlapping patches whose weights sum to exactly one everywhere."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..errors import InputError, describe

SMALLEST = 8
_QUANTUM = 4096  # weights are multiples of 2^-12, so products of two and sums of many stay exact in float32


@dataclass(frozen=True)
class Axis:
    """Patches along one axis: `starts` [n], all `patch` samples long, and their `weights` [n, patch]."""

    size: int
    patch: int
    starts: tuple[int, ...]
    weights: np.ndarray


@dataclass(frozen=True)
class Patch:
    """One patch of a plan: its number, its place in the section and its weight [patch_t, patch_x]."""

    number: int
    time: slice
    trace: slice
    weight: np.ndarray


@dataclass(frozen=True)
class Plan:
    """All patches of a section [T, X]; every patch has the same size, so any of them share a batch."""

    time: Axis
    trace: Axis

    @property
    def shape(self) -> tuple[int, int]:
        """Samples and traces of the section."""
        return self.time.size, self.trace.size

    @property
    def patch(self) -> tuple[int, int]:
        """Samples and traces of one patch."""
        return self.time.patch, self.trace.patch

    def __len__(self) -> int:
        return len(self.time.starts) * len(self.trace.starts)

    def __getitem__(self, number: int) -> Patch:
        if not 0 <= number < len(self):
            raise IndexError(number)
        i, j = divmod(number, len(self.trace.starts))
        t, x = self.time.starts[i], self.trace.starts[j]
        return Patch(number, slice(t, t + self.time.patch), slice(x, x + self.trace.patch), self._weight(i, j))

    def __iter__(self) -> Iterator[Patch]:
        return (self[number] for number in range(len(self)))

    def _weight(self, i: int, j: int) -> np.ndarray:
        """The weight of a patch; most share one, which is not to be written to."""
        rows, columns, made = self._kinds
        key = int(rows[i]), int(columns[j])
        if key not in made:
            weight = np.outer(self.time.weights[i], self.trace.weights[j]).astype(np.float32)
            weight.flags.writeable = False
            made[key] = weight
        return made[key]

    @cached_property
    def _kinds(self) -> tuple[np.ndarray, np.ndarray, dict[tuple[int, int], np.ndarray]]:
        """Which weights along time and traces are equal, and the products made so far."""
        time, trace = (np.unique(a.weights, axis=0, return_inverse=True)[1].ravel() for a in (self.time, self.trace))
        return time, trace, {}


def make_plan(
    shape: tuple[int, int],
    patch: tuple[int, int],
    overlap: tuple[int, int],
    halo: tuple[int, int] = (0, 0),
    origin: tuple[int, int] = (0, 0),
) -> Plan:
    """Cut a section of `shape` [T, X] into patches on a grid anchored to absolute coordinates.

    A patch starts where the coordinate of its first sample is a multiple of `patch - overlap`; one more
    starts at either end of the section, so all have the same size. Weights are 0 in the halo, rise as sin^2
    through the rest of the overlap and are 1 inside; towards an end of the section they stay 1.

    shape: samples, traces. patch, overlap, halo: samples, traces; overlap is what neighbours share, halo the
    part of it, at each side, whose answer is thrown away (2 halo < overlap, or both 0). origin: absolute
    coordinate of the section's first sample and trace. Raises InputError where these do not fit together.
    """
    axes = (_axis(*arguments) for arguments in zip(("time", "trace"), shape, patch, overlap, halo, origin,
                                                   strict=True))
    return Plan(*axes)


def _axis(name: str, size: int, patch: int, overlap: int, halo: int, origin: int) -> Axis:
    if size < SMALLEST:
        raise InputError(describe(f"section along {name}", f"{size} samples", f"{SMALLEST} or more",
                                  "Pad the section"))
    if patch < SMALLEST:
        raise InputError(describe(f"patch along {name}", patch, f"{SMALLEST} or more", "Enlarge the patch"))
    if not 0 <= overlap < patch:
        raise InputError(describe(f"overlap along {name}", overlap, f"0 to {patch - 1}, less than the patch",
                                  "Choose a smaller overlap or a larger patch"))
    if halo < 0 or (halo and 2 * halo >= overlap):
        raise InputError(describe(f"halo along {name}", halo, f"at least 0, under half the overlap {overlap}",
                                  "Choose a smaller halo or a larger overlap"))
    patch = min(patch, size)
    overlap = min(overlap, patch - 1)
    step, last = patch - overlap, size - patch
    inner = range(-origin % step, last, step)
    starts = tuple(sorted({0, last, *inner}))
    return Axis(size, patch, starts, _weights(size, patch, starts, overlap, halo))


def _ramp(length: int) -> np.ndarray:
    """sin^2 from 0 to 1 in `length` steps, on multiples of 2^-12, symmetric: ramp + reversed ramp = 1."""
    phase = (np.arange(length) + 0.5) / max(length, 1)
    rise = np.round(np.sin(phase * math.pi / 2) ** 2 * _QUANTUM) / _QUANTUM
    half = length // 2
    rise[length - half:] = 1 - rise[:half][::-1]
    return rise


def _weights(size: int, patch: int, starts: tuple[int, ...], overlap: int, halo: int) -> np.ndarray:
    ramp = _ramp(overlap - 2 * halo)
    weights = np.ones((len(starts), patch))
    for k, start in enumerate(starts):
        if start > 0:
            weights[k, :halo] = 0
            weights[k, halo:halo + ramp.size] = ramp
        if start + patch < size:
            tail = weights[k, ::-1]
            tail[:halo] = 0
            tail[halo:halo + ramp.size] = np.minimum(tail[halo:halo + ramp.size], ramp)
    # Where the grid meets the end of the section three or more patches may share a sample: each takes what
    # the ones before it left, so the sum is exactly one whatever the spacing.
    left = np.ones(size)
    for k, start in enumerate(starts):
        here = slice(start, start + patch)
        closing = slice(start, starts[k + 1]) if k + 1 < len(starts) else here
        taken = np.minimum(weights[k], left[here])
        taken[: closing.stop - closing.start] = left[closing]
        weights[k] = taken
        left[here] -= taken
    return weights
