"""The emulated wide convolution by itself: its C functions, its packing, and the same in float64."""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from pathlib import Path

import torch
from native_builds import CSRC, EMULATOR, cached
from torch import Tensor
from torch.nn import functional as F

ARITHMETICS = ("half", "tf32", "single")
STORAGE = {"half": torch.float16, "tf32": torch.float32, "single": torch.float32}
PLAIN, GELU, GRADIENT = range(3)  # Read
SUMS, GELU_GRADIENT = 1, 2  # Write
FENCE = 64
HEADER = CSRC / "cuda" / "conv_wide.cuh"


class Given(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("height", "width", "channels", "read", "write", "device")),
        *((name, ctypes.c_int64) for name in ("batch", "packed_stride", "coefficient_stride")),
        *((name, ctypes.c_void_p) for name in (
            "status", "packed", "x", "x2", "coefficients", "y", "bias", "h", "norm", "sums",
        )),
    ]


@functools.lru_cache
def library(header: str | None = None) -> ctypes.CDLL:
    """The compiled functions of wide_entry.cpp; `header` stands in for conv_wide.cuh, for a few cases only."""
    entry = (EMULATOR / "wide_entry.cpp").read_text()
    if header is not None:
        entry = entry.replace('#include "conv_wide.cuh"', header)
    command = ["g++", "-std=c++17", "-O1", "-fPIC", "-shared", "-ffp-contract=off", "-w"]
    command += [] if header is None else ["-DONE_CASE_EACH"]
    command += [f"-I{path}" for path in (EMULATOR, CSRC / "include", CSRC / "cuda")]
    path, _ = cached([*command, "-x", "c++", "-o", "@out", "@in"], entry, ".so")
    loaded = ctypes.CDLL(str(Path(path)))
    loaded.last_error.restype = ctypes.c_char_p
    return loaded


def call(functions: ctypes.CDLL, name: str, *args: object) -> None:
    if getattr(functions, name)(*args):
        raise RuntimeError(functions.last_error().decode())


def address(tensor: Tensor | None) -> ctypes.c_void_p | None:
    return None if tensor is None else ctypes.c_void_p(tensor.data_ptr())


@functools.lru_cache
def places(arithmetic: str, channels: int) -> Tensor:
    """Place in a packed layer of every [tap, input, output]."""
    out = torch.empty(9, channels, channels, dtype=torch.int32)
    call(library(), "wide_places", ARITHMETICS.index(arithmetic), channels, address(out))
    return out.long()


def round_tf32(values: Tensor) -> Tensor:
    return ((values.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def packed(weight: Tensor, arithmetic: str, adjoint: bool) -> Tensor:
    """[S, C, C, 3, 3] as conv.cuh says that a wide layer is packed."""
    sets, channels = weight.shape[:2]
    taps = weight.transpose(1, 2).flip(3, 4) if adjoint else weight
    taps = taps.reshape(sets, channels, channels, 9).permute(0, 3, 2, 1)  # [S, tap, input, output]
    taps = round_tf32(taps) if arithmetic == "tf32" else taps
    out = torch.full((sets, 9 * channels * channels), torch.nan, dtype=STORAGE[arithmetic])
    out[:, places(arithmetic, channels).flatten()] = taps.reshape(sets, -1).to(out.dtype)
    assert not out.isnan().any()
    return out


def gelu_gradient(x: Tensor) -> Tensor:
    return 0.5 * (1 + torch.erf(x / 2**0.5)) + x * torch.exp(-x * x / 2) / (2 * torch.pi) ** 0.5


@dataclass
class Case:
    """One call of the kernel; images are [B, H, W, C]."""

    arithmetic: str
    weight: Tensor  # [S, C, C, 3, 3]
    read: int
    write: int
    x: Tensor
    x2: Tensor | None = None
    coefficients: Tensor | None = None  # [B, 3, C]
    bias: Tensor | None = None
    h: Tensor | None = None
    norm: Tensor | None = None  # [B, 2, C]
    status: Tensor | None = None

    def sample(self, b: int) -> Case:
        def row(t: Tensor | None) -> Tensor | None:
            return None if t is None else t[b : b + 1].clone()

        weight = self.weight if len(self.weight) == 1 else row(self.weight)
        images = map(row, (self.x, self.x2, self.coefficients))
        return Case(self.arithmetic, weight, self.read, self.write, *images, self.bias, row(self.h), row(self.norm))


def random_case(arithmetic: str, batch: int, height: int, width: int, channels: int, read: int, sets: int) -> Case:
    generator = torch.Generator().manual_seed(height * 1000 + width * 10 + channels + read)
    storage = STORAGE[arithmetic]

    def image() -> Tensor:
        return torch.randn(batch, height, width, channels, generator=generator).to(storage)

    weight = torch.randn(sets, channels, channels, 3, 3, generator=generator) * (2 / (9 * channels)) ** 0.5
    weight = weight.half().float() if arithmetic == "half" else weight
    coefficients = torch.randn(batch, 3, channels, generator=generator)
    if read == GELU:
        return Case(arithmetic, weight, read, SUMS, image(), None, coefficients,
                    torch.randn(channels, generator=generator))
    norm = torch.randn(batch, 2, channels, generator=generator)
    x2 = image() if read == GRADIENT else None
    coefficients = coefficients if read == GRADIENT else None
    return Case(arithmetic, weight, read, GELU_GRADIENT, image(), x2, coefficients, None, image(), norm)


def run(case: Case, device: int = 1, functions: ctypes.CDLL | None = None) -> tuple[Tensor, Tensor]:
    """y [B, H, W, C] and sums [B, parts, 2, C]; checks that nothing is written beside them."""
    functions = functions or library()
    batch, height, width, channels = case.x.shape
    weight = packed(case.weight, case.arithmetic, adjoint=case.write == GELU_GRADIENT)
    parts = functions.wide_tiles(height, width) * (2 if channels == 64 else 4)
    y = torch.full((case.x.numel() + 2 * FENCE,), 7.0, dtype=STORAGE[case.arithmetic])
    sums = torch.full((batch * parts * 2 * channels + 2 * FENCE,), 7.0)
    y[FENCE:-FENCE], sums[FENCE:-FENCE] = torch.nan, torch.nan
    given = Given(
        height, width, channels, case.read, case.write, device, batch,
        weight[0].numel() * weight.itemsize if len(weight) > 1 else 0, 3 * channels,
        address(case.status), address(weight), address(case.x), address(case.x2), address(case.coefficients),
        address(y[FENCE:]), address(case.bias), address(case.h), address(case.norm), address(sums[FENCE:]),
    )
    call(functions, "wide_run", ARITHMETICS.index(case.arithmetic), ctypes.byref(given))
    for tensor in (y, sums):
        assert (tensor[:FENCE] == 7).all() and (tensor[-FENCE:] == 7).all()
    return y[FENCE:-FENCE].view_as(case.x), sums[FENCE:-FENCE].view(batch, parts, 2, channels)


def oracle(case: Case) -> tuple[Tensor, Tensor]:
    """The same in float64: y, and the sums over all pixels [B, 2, C]."""
    batch = len(case.x)

    def rows(tensor: Tensor, index: int) -> Tensor:
        return tensor[:, index, None, None, :].double()

    v = case.x.double()
    if case.read == GELU:
        v = F.gelu(rows(case.coefficients, 0) * v + rows(case.coefficients, 1))
    elif case.read == GRADIENT:
        a, b, c = (rows(case.coefficients, i) for i in range(3))
        v = a * v + b * case.x2.double() + c
    v, weight = v.permute(0, 3, 1, 2), case.weight.double().expand(batch, *case.weight.shape[1:])
    convolve = F.conv2d if case.write == SUMS else F.conv_transpose2d
    y = torch.cat([convolve(v[b : b + 1], weight[b], padding=1) for b in range(batch)]).permute(0, 2, 3, 1)
    if case.write == SUMS:
        y = y + case.bias.double()
        return y, torch.stack([y.sum((1, 2)), (y * y).sum((1, 2))], 1)
    h = case.h.double()
    y = y * gelu_gradient(rows(case.norm, 0) * h + rows(case.norm, 1))
    return y, torch.stack([y.sum((1, 2)), (y * h).sum((1, 2))], 1)
