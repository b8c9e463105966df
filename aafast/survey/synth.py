"""A faulted 3D survey whose truth is known, of any size: made and written one inline at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..data import ricker
from ..data.reflectivity import OVER, reflectivity_column
from ..errors import FileError, InputError, describe
from .files import AtomicFile

_SPACING = 25.0  # metres between midpoints
_ORIGIN = (431_000.0, 6_782_000.0)  # metres, a place in no country
_FIRST = 1001  # number of the first inline and crossline
_FAULTS = 6
_DEAD = 0.002  # of the traces
_DECAY = 1.5  # nepers of amplitude from top to bottom
_NOISE = 0.1  # RMS, of the signal's
_SCALE = 1000.0  # of reflectivity to samples, so that these are of the size that real files have
_HEADER = np.dtype({
    "names": ["line", "trace", "cdp", "code", "scalar", "samples", "interval", "x", "y", "inline", "crossline"],
    "formats": [">i4", ">i4", ">i4", ">i2", ">i2", ">u2", ">u2", ">i4", ">i4", ">i4", ">i4"],
    "offsets": [0, 4, 20, 28, 70, 114, 116, 180, 184, 188, 192],
    "itemsize": 240,
})  # fmt: skip


@dataclass(frozen=True)
class SyntheticSurvey:
    """Layers like those of a well, folded, dipping and cut by faults, under a Ricker wavelet, with noise.

    inlines, crosslines, samples: size. seed: of everything. interval: ms. frequency: Hz, of the wavelet. An inline
    is made from the seed and its number alone, so any part of a survey of any size can be made again.
    """

    inlines: int
    crosslines: int
    samples: int
    seed: int = 0
    interval: float = 4.0
    frequency: float = 25.0
    wavelet: np.ndarray = field(init=False, repr=False, compare=False)
    _column: np.ndarray = field(init=False, repr=False, compare=False)
    _shape: dict = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if min(self.inlines, self.crosslines) < 1 or not 16 <= self.samples <= 65_535 or self.seed < 0:
            raise InputError(describe(
                "size of a survey", f"{self.inlines} x {self.crosslines} x {self.samples}, seed {self.seed}",
                "1 inline and crossline or more, 16 to 65535 samples, a seed of 0 or more", "Change them"))
        rng = np.random.default_rng([self.seed, 0])
        reach = self._reach
        object.__setattr__(self, "_column", reflectivity_column(rng, self.samples + 2 * reach))
        object.__setattr__(self, "wavelet", ricker(self.frequency, self.interval / 1000).astype(np.float32))
        long = max(self.inlines, self.crosslines, 64)
        faults = [
            (rng.uniform(0, 1), rng.uniform(-0.6, 0.6), rng.uniform(-0.5, 0.5) / self.samples * self.crosslines,
             rng.uniform(4, 16) * rng.choice([-1, 1]))
            for _ in range(_FAULTS)
        ]  # fmt: skip
        waves = [(rng.uniform(1, 4) / long, rng.uniform(1, 4) / long, rng.uniform(0, 2 * np.pi), rng.uniform(2, 8))
                 for _ in range(3)]
        object.__setattr__(self, "_shape", {"faults": faults, "waves": waves, "dip": rng.uniform(-0.05, 0.05, 2)})

    @property
    def _reach(self) -> int:
        """Samples that layers may be moved up or down."""
        return 40 + 16 * _FAULTS + (self.inlines + self.crosslines) // 20

    def inline(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Reflectivity [T, X] float32, data [T, X] float32, which are zero on dead traces, and the mask of these."""
        rng = np.random.default_rng([self.seed, 1 + number])
        across, time = np.arange(self.crosslines), np.arange(self.samples)[:, None]
        shift = self._shape["dip"][0] * number + self._shape["dip"][1] * across
        for along, beside, phase, size in self._shape["waves"]:
            shift = shift + size * np.sin(2 * np.pi * (along * number + beside * across) + phase)
        moved = np.broadcast_to(shift, (self.samples, self.crosslines)).copy()
        for place, angle, lean, throw in self._shape["faults"]:
            # A plane: it moves with the inline and leans with depth; one side of it is thrown.
            moved += throw * (across > place * self.crosslines + angle * number + lean * (time - self.samples / 2))
        cell = (time + self._reach + moved) * OVER
        cell = np.clip(np.rint(cell), 0, self._column.size - 1).astype(np.int64)
        x = self._column[cell] * np.exp(-_DECAY * time / self.samples)
        dead = rng.random(self.crosslines) < _DEAD
        x[:, dead] = 0
        x *= _SCALE
        data = _convolve(x.astype(np.float32), self.wavelet)
        level = _NOISE * float(np.sqrt(np.mean(np.square(data), dtype=np.float64)))
        data += np.float32(level) * rng.standard_normal(data.shape, np.float32)
        data[:, dead] = 0
        return x.astype(np.float32), data, dead

    @property
    def size(self) -> int:
        """Bytes of its SEG-Y file."""
        return 3600 + self.inlines * self.crosslines * (240 + 4 * self.samples)


def write_survey(
    path: str | Path, survey: SyntheticSurvey, on_inline: Callable[[int], None] | None = None
) -> Path:
    """Write a synthetic survey as revision 1 SEG-Y of IEEE floats, one inline in memory at a time.

    path: appears when it is complete. on_inline: called with the number of inlines written. Raises FileError.
    """
    with AtomicFile(path, room=survey.size, what="SEG-Y file") as target:
        try:
            with open(target.temporary, "r+b") as file:
                file.write(_head(survey))
                for number in range(survey.inlines):
                    _, data, dead = survey.inline(number)
                    file.write(_traces(survey, number, data, dead).tobytes())
                    if on_inline is not None:
                        on_inline(number + 1)
            target.commit()
        except OSError as error:
            if isinstance(error, FileError):
                raise
            raise FileError(describe(f"SEG-Y file {target.path}", error.strerror or error, "room for all of it",
                                     "Check the disk")) from error
        return target.path


def _convolve(x: np.ndarray, wavelet: np.ndarray) -> np.ndarray:
    """sum_k w[k] x[t - (k - K // 2)] along time of [T, X], float32."""
    half, data = wavelet.size // 2, np.zeros_like(x)
    for k, tap in enumerate(wavelet):
        late = k - half
        if abs(late) < len(x):
            data[max(0, late):len(x) + min(0, late)] += tap * x[max(0, -late):len(x) - max(0, late)]
    return data


def _head(survey: SyntheticSurvey) -> bytes:
    lines = [
        "SYNTHETIC 3D SURVEY: LAYERS OF A MADE-UP WELL, FOLDED AND FAULTED",
        f"{survey.inlines} INLINES X {survey.crosslines} CROSSLINES X {survey.samples} SAMPLES, SEED {survey.seed}",
        f"TRUE WAVELET: ZERO-PHASE RICKER {survey.frequency:g} HZ; NOISE {_NOISE:.0%} OF THE SIGNAL",
    ]
    text = "".join(f"C{k:2d} {lines[k - 1] if k <= len(lines) else ''}".ljust(80) for k in range(1, 41))
    binary = np.zeros(400, np.uint8)
    for byte, value in ((17, round(1000 * survey.interval)), (21, survey.samples), (25, 5), (301, 256), (303, 1)):
        binary[byte - 1:byte + 1] = np.array([value], ">u2").view(np.uint8)
    return text.encode("cp037") + binary.tobytes()


def _traces(survey: SyntheticSurvey, number: int, data: np.ndarray, dead: np.ndarray) -> np.ndarray:
    """Headers and samples [X, bytes] of an inline."""
    header = np.zeros(survey.crosslines, _HEADER)
    across = np.arange(survey.crosslines)
    first = number * survey.crosslines + 1
    values = {
        "line": first + across, "trace": 1 + across, "cdp": first + across, "code": np.where(dead, 2, 1),
        "scalar": -10, "samples": survey.samples, "interval": round(1000 * survey.interval),
        "x": np.rint(10 * (_ORIGIN[0] + _SPACING * number)), "y": np.rint(10 * (_ORIGIN[1] + _SPACING * across)),
        "inline": _FIRST + number, "crossline": _FIRST + across,
    }  # fmt: skip
    for name, value in values.items():
        header[name] = value
    rows = np.empty((survey.crosslines, 240 + 4 * survey.samples), np.uint8)
    rows[:, :240] = header.view(np.uint8).reshape(survey.crosslines, 240)
    rows[:, 240:] = np.ascontiguousarray(data.T, ">f4").view(np.uint8)
    return rows
