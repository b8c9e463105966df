"""Nominal forward models that are wrong by stated amounts: wavelets, blurs and haze."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from aafast.errors import InputError, describe

from .wavelets import WaveletSpec


def _signed(rng: np.random.Generator, sizes: tuple[float, float], count: int) -> np.ndarray:
    """`count` sizes uniform in a range, all of one random sign."""
    sign = -1.0 if rng.random() < 0.5 else 1.0
    return sign * (sizes[0] + rng.random(count) * (sizes[1] - sizes[0]))


def _check_sizes(name: str, sizes: tuple[float, float], top: float) -> None:
    low, high = sizes
    if not 0 <= low <= high <= top:
        raise InputError(describe(f"mismatch of {name}", (low, high), f"0 <= low <= high <= {top:.3g}",
                                  "Pass the smallest and the largest size; the sign is drawn"))


@dataclass(frozen=True)
class WaveletError:
    """How far a nominal wavelet is from the true one.

    Attributes:
        frequency: nominal dominant frequency = true * (1 + frequency).
        phase: nominal phase = true + phase, radians.
        length: nominal relative duration = true * (1 + length).
    """

    frequency: float = 0.0
    phase: float = 0.0
    length: float = 0.0

    def apply(self, true: WaveletSpec) -> WaveletSpec:
        """Return the nominal wavelet for a true one."""
        return replace(true, frequency=true.frequency * (1 + self.frequency), phase=true.phase + self.phase,
                       length=true.length * (1 + self.length))


@dataclass(frozen=True)
class Mismatch:
    """Distribution of wavelet errors: each size is uniform in its (low, high), its sign is random.

    Attributes:
        frequency: relative error of the dominant frequency.
        phase: error of the constant phase, radians.
        length: relative error of the duration.
    """

    frequency: tuple[float, float] = (0.0, 0.0)
    phase: tuple[float, float] = (0.0, 0.0)
    length: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        for name, top in (("frequency", 0.9), ("phase", np.pi), ("length", 0.9)):
            _check_sizes(name, getattr(self, name), top)

    def draw(self, rng: np.random.Generator) -> WaveletError:
        """Draw one error; it always takes six random numbers, so that what follows does not depend on it."""
        sizes = rng.random(3)
        signs = np.where(rng.random(3) < 0.5, -1.0, 1.0)
        ranges = np.array([self.frequency, self.phase, self.length])
        frequency, phase, length = signs * (ranges[:, 0] + sizes * (ranges[:, 1] - ranges[:, 0]))
        return WaveletError(float(frequency), float(phase), float(length))


# "out" is twice the range of "in", "beyond" the part of it that a model trained on "in" never met.
LEVELS: dict[str, Mismatch] = {
    "none": Mismatch(),
    "in": Mismatch((0.0, 0.2), (0.0, 0.6), (0.0, 0.2)),
    "out": Mismatch((0.0, 0.4), (0.0, 1.2), (0.0, 0.4)),
    "beyond": Mismatch((0.2, 0.4), (0.6, 1.2), (0.2, 0.4)),
}


@dataclass(frozen=True)
class BlurMismatch:
    """Distribution of errors of a blur: `sigma_nominal = sigma (1 + e)`, |e| uniform in `width`, its sign random."""

    width: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        _check_sizes("width", self.width, 0.9)

    def draw(self, rng: np.random.Generator) -> float:
        """Draw e; it always takes two random numbers, so that what follows does not depend on the level."""
        return float(_signed(rng, self.width, 1)[0])


@dataclass(frozen=True)
class HazeMismatch:
    """Distribution of errors of haze: `beta_nominal = beta (1 + e)` and `L_nominal = L + d`, d one per channel.

    |e| is uniform in `density`, each |d| in `airlight`, in the image's unit; the d of one image share their sign,
    since an airlight is taken for too bright or for too dark as a whole.
    """

    density: tuple[float, float] = (0.0, 0.0)
    airlight: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        _check_sizes("density", self.density, 0.9)
        _check_sizes("airlight", self.airlight, 0.5)

    def draw(self, rng: np.random.Generator) -> tuple[float, np.ndarray]:
        """Draw e and d [3]; it always takes the same number of random numbers."""
        return float(_signed(rng, self.density, 1)[0]), _signed(rng, self.airlight, 3)


BLUR_LEVELS: dict[str, BlurMismatch] = {
    "none": BlurMismatch(),
    "in": BlurMismatch((0.0, 0.2)),
    "out": BlurMismatch((0.0, 0.4)),
    "beyond": BlurMismatch((0.2, 0.4)),
}
HAZE_LEVELS: dict[str, HazeMismatch] = {
    "none": HazeMismatch(),
    "in": HazeMismatch((0.0, 0.25), (0.0, 0.05)),
    "out": HazeMismatch((0.0, 0.6), (0.0, 0.12)),
    "beyond": HazeMismatch((0.25, 0.6), (0.05, 0.12)),
}
_Level = TypeVar("_Level", Mismatch, BlurMismatch, HazeMismatch)


def mismatch_level(level: str | Mismatch) -> Mismatch:
    """Return a named level of a wavelet's mismatch, or the given one; an unknown name is an InputError."""
    return level_of(level, LEVELS)


def level_of(level: str | _Level, levels: dict[str, _Level]) -> _Level:
    """Return the named level of `levels`, or the given one of their kind; anything else is an InputError."""
    kind = type(levels["none"])
    if isinstance(level, kind):
        return level
    if not isinstance(level, str) or level not in levels:
        raise InputError(describe("level of mismatch", repr(level), " | ".join(levels),
                                  f"Use a name, or an aafast.data.{kind.__name__}"))
    return levels[level]
