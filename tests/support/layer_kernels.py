"""The emulated kernels around a stack's wide layers: packing, thin layers, weights' gradients; and float64 oracles."""

from __future__ import annotations

import ctypes
import functools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from native_builds import CSRC, EMULATOR, cached
from torch import Tensor
from torch.nn import functional as F
from wide_kernels import ARITHMETICS, FENCE, GELU, GRADIENT, STORAGE, address, call, gelu_gradient

WIDEN, WIDE, NARROW = range(3)  # Layer
WRITE_PLAIN, WRITE_SUMS, WRITE_GELU_GRADIENT = range(3)  # Write
KERNELS = ("pack", "conv_widen", "conv_narrow", "weight_thin", "weight_wide")
# Relative to the largest value: fp16 rounds operands and results to 11 bits and GELU errs by 4e-4, tf32 the operands.
TOLERANCE = {"half": 3e-3, "tf32": 1e-3, "single": 5e-6}


class Given(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in (
            "height", "width", "channels", "thin", "read", "write", "planes_are_outputs", "device",
        )),
        *((name, ctypes.c_int64) for name in ("batch", "packed_stride")),
        *((name, ctypes.c_float) for name in ("scale", "plane_scale")),
        *((name, ctypes.c_void_p) for name in (
            "status", "planes", "packed", "x", "x2", "coefficients", "d", "d2", "d_coefficients", "y", "bias", "h",
            "norm", "sums", "workspace", "out",
        )),
    ]


class PackJob(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_int),
        ("weight", ctypes.c_void_p),
        ("inputs", ctypes.c_int),
        ("outputs", ctypes.c_int),
        ("adjoint", ctypes.c_bool),
        ("offset", ctypes.c_int64),
    ]


@functools.lru_cache
def library(kernel: str = "", text: str = "", width: int = 16) -> ctypes.CDLL:
    """The kernels and the functions of layers_entry.cpp; `text` stands in for one kernel's file, `width` channels."""
    flags = ["-std=c++17", "-O1", "-fPIC", "-ffp-contract=off", "-w"]
    flags += [f"-DAAFAST_ONE_WIDTH={width}"] if text else []
    flags += [f"-I{path}" for path in (EMULATOR, CSRC / "include", CSRC / "cuda")]
    sources = {name: (CSRC / "cuda" / f"{name}.cu").read_text() for name in KERNELS}
    sources["entry"] = (EMULATOR / "layers_entry.cpp").read_text()
    sources |= {kernel: text} if text else {}
    command = ["g++", *flags, "-x", "c++", "-c", "-o", "@out", "@in"]
    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(lambda source: cached(command, source, ".o")[0], sources.values()))
    path, _ = cached(["g++", "-shared", *map(str, objects), "-o", "@out"], "", ".so")
    loaded = ctypes.CDLL(str(Path(path)))
    loaded.last_error.restype = ctypes.c_char_p
    return loaded


def size_of(kind: str, arithmetic: str, image: tuple[int, int], batch: int, thin: int, channels: int) -> int:
    """Bytes of a packed layer ("widen", "narrow") or of a workspace ("wide_weight", "thin_weight")."""
    out = ctypes.c_int64()
    index = ("widen", "narrow", "wide_weight", "thin_weight").index(kind)
    call(library(), "layer_bytes", ARITHMETICS.index(arithmetic), index, *image, ctypes.c_int64(batch), thin,
         channels, ctypes.byref(out))
    return out.value


class Fenced:
    """A tensor of NaN between two fences of 7; `inside` is handed out, `check` sees that the fences stand."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> None:
        count = int(torch.Size(shape).numel())
        # The inside begins on 256 bytes, as memory from an allocator does.
        room = torch.full((count + 2 * FENCE + 256,), 7.0, dtype=dtype)
        first = FENCE + (-(room[FENCE:].data_ptr()) % 256) // room.itemsize
        self.room, self.inside = room, room[first : first + count].view(shape)
        self.inside.fill_(torch.nan)
        self.span = first, first + count

    def check(self) -> Tensor:
        assert (self.room[: self.span[0]] == 7).all() and (self.room[self.span[1] :] == 7).all()
        return self.inside


def pack(weight: Tensor, kind: int, arithmetic: str, adjoint: bool) -> Tensor:
    """One layer [S, outputs, inputs, 3, 3] as the emulated pack_layers writes it: [S, bytes]."""
    sets, outputs, inputs = weight.shape[:3]
    to, from_ = (inputs, outputs) if adjoint else (outputs, inputs)
    if kind == WIDE:
        size = 9 * to * from_ * STORAGE[arithmetic].itemsize
    else:
        thin, wide = (from_, to) if kind == WIDEN else (to, from_)
        size = size_of("widen" if kind == WIDEN else "narrow", arithmetic, (8, 8), 1, thin, wide)
    jobs = (PackJob * 1)(PackJob(kind, address(weight), inputs, outputs, adjoint, 0))
    fenced = Fenced((sets, size // STORAGE[arithmetic].itemsize), STORAGE[arithmetic])
    call(library(), "layer_pack", ARITHMETICS.index(arithmetic), jobs, 1, ctypes.c_int64(sets), ctypes.c_int64(size),
         address(fenced.inside))
    assert not fenced.check().isnan().any()
    return fenced.inside


def source(x: Tensor, read: int, x2: Tensor | None, coefficients: Tensor | None) -> Tensor:
    """What a Source makes of [B, H, W, C], in float64 and torch's order [B, C, H, W]."""
    v = x.double()
    if coefficients is not None and read != 0:
        a, b, c = (coefficients[:, i, None, None, :].double() for i in range(3))
        v = a * v + b if read == GELU else a * v + b * x2.double() + c
    return (F.gelu(v) if read == GELU else v).permute(0, 3, 1, 2)


def each(convolve, images: Tensor, weight: Tensor) -> Tensor:
    """A convolution of every sample with its own set of weights, or with the one there is."""
    sets = weight.double().expand(len(images), *weight.shape[1:])
    return torch.cat([convolve(images[b : b + 1], sets[b], padding=1) for b in range(len(images))])


def run(name: str, arithmetic: str, image: tuple[int, int], functions: ctypes.CDLL | None = None, **given) -> None:
    """Call a layer_* function; tensors are given as such."""
    fields = {key: address(value) if isinstance(value, Tensor) else value for key, value in given.items()}
    fields = {"scale": 1.0, "plane_scale": 1.0, "device": 1} | fields
    call(functions or library(), f"layer_{name}", ARITHMETICS.index(arithmetic),
         ctypes.byref(Given(*image, **fields)))


def widened(planes: Tensor, weight: Tensor, write: int, adjoint: bool, scale: float, bias, h, norm):
    """conv_widen in float64: y and sums, [B, H, W, C] and [B, 2, C]."""
    convolve = F.conv_transpose2d if adjoint else F.conv2d
    y = each(convolve, scale * planes.double(), weight).permute(0, 2, 3, 1)
    if write == WRITE_GELU_GRADIENT:
        a, b = ((norm[:, i, None, None, :].double() for i in range(2)) if norm is not None else (1.0, 0.0))
        y = y * gelu_gradient(a * h.double() + b)
        return y, torch.stack([y.sum((1, 2)), (y * h.double()).sum((1, 2))], 1)
    y = y + bias.double() if bias is not None else y
    return y, torch.stack([y.sum((1, 2)), (y * y).sum((1, 2))], 1)


def weight_gradient(inputs: Tensor, gradient: Tensor) -> Tensor:
    """[B, outputs, inputs, 3, 3] from [B, inputs, H, W] and [B, outputs, H, W]."""
    return torch.stack([
        F.conv2d(v[:, None], d[:, None], padding=1).transpose(0, 1)
        for v, d in zip(inputs, gradient, strict=True)
    ])


__all__ = [
    "ARITHMETICS", "GELU", "GRADIENT", "KERNELS", "NARROW", "STORAGE", "TOLERANCE", "WIDE", "WIDEN",
    "WRITE_GELU_GRADIENT", "WRITE_PLAIN", "WRITE_SUMS", "Fenced", "each", "library", "pack", "run", "size_of", "source",
    "weight_gradient", "widened",
]
