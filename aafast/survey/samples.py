"""Samples of a SEG-Y file: from the bytes of every format to float32 and back."""

from __future__ import annotations

import numpy as np

from ..errors import InputError, describe
from .layout import Format

_DTYPES = {1: "u4", 2: "i4", 3: "i2", 5: "f4", 6: "f8", 8: "i1"}
_IBM = 1
# An IBM float is (-1)^s 16^(e - 64) F / 2^24; its first byte holds s and e, so one table of 256 factors
# turns the 24-bit fraction F into the value, exactly in float64 and, where it is in range, in float32.
_FACTORS = np.array([(-1.0 if k > 127 else 1.0) * 16.0 ** ((k & 127) - 64) * 2.0**-24 for k in range(256)])


def decode(raw: np.ndarray, form: Format, endian: str) -> np.ndarray:
    """Samples [n, T] float32 from bytes [n, T * size] uint8; what float32 cannot hold becomes Inf."""
    values = raw.view(_dtype(form, endian))
    with np.errstate(over="ignore", invalid="ignore"):
        if form.code != _IBM:
            return values.astype(np.float32)
        words = values.astype(np.uint32)
        factors = _FACTORS[words >> np.uint32(24)]
        words &= np.uint32(0xFFFFFF)
        factors *= words
        return factors.astype(np.float32)


def encode(rows: np.ndarray, form: Format, endian: str) -> np.ndarray:
    """Bytes [n, T * size] uint8 of samples [n, T] float32, rounded to nearest, integers cut at their largest.

    Raises InputError for NaN or Inf where the format has none.
    """
    if form.code not in (5, 6) and not np.isfinite(rows).all():
        raise InputError(describe("samples to write", "NaN or Inf", f"numbers, as {form.name} has no others",
                                  "Write another format"))
    if form.code == _IBM:
        values = _to_ibm(rows)
    elif form.largest is not None:
        values = np.rint(rows.astype(np.float64))
        np.clip(values, -form.largest, form.largest, out=values)
    else:
        values = rows
    return np.ascontiguousarray(values.astype(_dtype(form, endian))).view(np.uint8)


def _dtype(form: Format, endian: str) -> np.dtype:
    return np.dtype((">" if endian == "big" else "<") + _DTYPES[form.code])


def _to_ibm(rows: np.ndarray) -> np.ndarray:
    """Words uint32 of the IBM floats nearest to `rows`; every float32 is in their range."""
    mantissa, exponent = np.frexp(np.abs(rows).astype(np.float64))
    power = -(-exponent // 4)  # of 16, rounded up, so that the fraction lies in [1/16, 1)
    fraction = np.rint(np.ldexp(mantissa, 24 + exponent - 4 * power)).astype(np.uint32)
    carried = fraction >> np.uint32(24) != 0
    fraction = np.where(carried, np.uint32(1 << 20), fraction)
    words = (power + 64 + carried).astype(np.uint32) << np.uint32(24) | fraction
    words = np.where(fraction == 0, np.uint32(0), words)
    return words | np.signbit(rows).astype(np.uint32) << np.uint32(31)
