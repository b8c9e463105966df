"""SEG-Y files written here byte by byte, so that the reader is not tested against its own library."""

import struct
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from aafast.survey import ricker, run

DTYPES = {2: "i4", 3: "i2", 5: "f4", 6: "f8", 8: "i1"}


def to_ibm(values: np.ndarray) -> np.ndarray:
    """Big-endian bytes of IBM floats: sign, exponent of 16 biased by 64, 24-bit fraction."""
    out = np.zeros(values.shape, ">u4")
    for k, value in np.ndenumerate(values):
        if value == 0:
            continue
        exponent, fraction = 64, abs(float(value))
        while fraction >= 1:
            fraction, exponent = fraction / 16, exponent + 1
        while fraction < 1 / 16:
            fraction, exponent = fraction * 16, exponent - 1
        out[k] = (0x80000000 if value < 0 else 0) | exponent << 24 | int(fraction * 2**24)
    return out


def write_segy(
    path, data, dt=4.0, code=5, endian="big", headers=None, text=None, codec="cp037", extended=0, t0=0
):
    """Write data [T, X]; headers: {byte: [X] of 4-byte integers}; text: lines by number."""
    word = ">" if endian == "big" else "<"
    lines = [f"C{k:2d} ".ljust(80) for k in range(1, 41)]
    for number, line in (text or {1: "TEST LINE"}).items():
        lines[number - 1] = f"C{number:2d} {line}"[:80].ljust(80)
    binary = bytearray(400)
    binary[16:18] = struct.pack(word + "H", round(dt * 1000))
    binary[20:22] = struct.pack(word + "H", data.shape[0])
    binary[24:26] = struct.pack(word + "H", code)
    binary[300:302] = struct.pack(word + "H", 0x0100)
    binary[304:306] = struct.pack(word + "h", extended)
    out = ["".join(lines).encode(codec), bytes(binary), *([(" " * 3200).encode(codec)] * extended)]
    samples = to_ibm(data) if code == 1 else data.astype(word + DTYPES[code])
    samples = samples.astype(word + "u4") if code == 1 else samples
    rng = np.random.default_rng(0)
    for k in range(data.shape[1]):
        header = bytearray(rng.bytes(240))  # junk where nothing is read: every byte must survive
        header[28:30] = struct.pack(word + "h", 1)
        for byte in (20, 188, 192):
            header[byte : byte + 4] = bytes(4)
        header[108:110] = struct.pack(word + "h", t0)
        header[114:118] = struct.pack(word + "HH", data.shape[0], round(dt * 1000))
        header[214:216] = bytes(2)
        header[20:24] = struct.pack(word + "i", 1000 + k)
        for byte, values in (headers or {}).items():
            header[byte - 1 : byte + 3] = struct.pack(word + "i", int(values[k]))
        out += [bytes(header), samples[:, k].tobytes()]
    path.write_bytes(b"".join(out))
    return path


def wiener(y, A0):
    """A linear solver with a Solution's fields: (A^T A + mu)^-1 A^T y."""
    batch = len(y)
    return SimpleNamespace(
        x=A0.solve_normal(A0.A_adjoint(y), 0.1),
        status=torch.ones(batch, dtype=torch.int8),
        iterations=torch.arange(batch) % 3 + 2,
        residuals=torch.full((4, batch), 0.1).cumprod(0),
        wavelet=None,
        backend="wiener",
    )


def correcting(y, A0):
    """The same, claiming a corrected wavelet per patch: the nominal one delayed by one sample."""
    solution = wiener(y, A0)
    solution.wavelet = torch.roll(A0.wavelet, 1, dims=1).repeat(len(y), 1)
    return solution


def give(survey, target, traces, samples):
    """Give a target these samples [T, n] for these traces, and all other traces as they stand in the survey."""
    traces = np.asarray(traces)
    target.write(traces, survey.gather(traces)[:, :240], samples)
    others = np.setdiff1d(np.arange(survey.layout.traces), traces)
    target.put(others, survey.gather(others))


def quick(source, target, **options):
    """`run` with a fast solver and a fixed wavelet."""
    return run(source, target, **{"solve": wiener, "progress": False, "wavelet": "ricker:25", **options})


def synthetic(samples=160, traces=40, seed=0, scale=100.0):
    """A layered section: sparse reflectivity, coherent from trace to trace, under a 25 Hz Ricker wavelet."""
    rng = np.random.default_rng(seed)
    column = rng.standard_normal(samples + traces) * (rng.random(samples + traces) < 0.15)
    reflectivity = np.stack([np.roll(column, k // 4)[:samples] for k in range(traces)], 1)
    wavelet = ricker(25, 4.0).samples
    data = np.stack([np.convolve(trace, wavelet, "same") for trace in reflectivity.T], 1)
    return (scale * data + rng.standard_normal(data.shape)).astype(np.float32)


@pytest.fixture
def line():
    return synthetic()


@pytest.fixture
def segy(tmp_path, line):
    """A float line on disk: 40 traces of 160 samples; traces 6 and 7 (from 1) are dead."""
    data = line.copy()
    data[:, 5:7] = 0
    return write_segy(tmp_path / "in.sgy", data)
