"""A nominal wavelet that is wrong by stated amounts in frequency, phase and length."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from aafast.errors import InputError, describe

from .wavelets import WaveletSpec


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
            low, high = getattr(self, name)
            if not 0 <= low <= high <= top:
                raise InputError(describe(f"mismatch of {name}", (low, high),
                                          f"0 <= low <= high <= {top:.3g}",
                                          "Pass the smallest and the largest size; the sign is drawn"))

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


def mismatch_level(level: str | Mismatch) -> Mismatch:
    """Return a named level of mismatch, or the given one; an unknown name is an InputError."""
    if isinstance(level, Mismatch):
        return level
    if level not in LEVELS:
        raise InputError(describe("level of mismatch", repr(level), " | ".join(LEVELS),
                                  "Use a name, or an aafast.data.Mismatch"))
    return LEVELS[level]
