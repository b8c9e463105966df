"""The layers between thin planes and a wide image, and packing, run thread by thread on the CPU."""

import re
import shutil

import pytest
import torch
from layer_kernels import (
    ARITHMETICS,
    GELU,
    GRADIENT,
    NARROW,
    STORAGE,
    TOLERANCE,
    WIDE,
    WIDEN,
    WRITE_GELU_GRADIENT,
    WRITE_PLAIN,
    WRITE_SUMS,
    Fenced,
    each,
    library,
    pack,
    run,
    source,
    widened,
)
from native_builds import CSRC
from torch.nn import functional as F
from wide_kernels import packed

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
SIZES = [(8, 8), (13, 37), (9, 64)]


@pytest.fixture(autouse=True)
def _order(monkeypatch):
    monkeypatch.setenv("EMULATED_CUDA_SEED", "0")


def close(got, want, arithmetic):
    error = (got.double() - want).abs().max()
    assert error <= TOLERANCE[arithmetic] * want.abs().max(), (error, want.abs().max())


def randn(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape))).to(dtype)


# ---- packing


@pytest.mark.parametrize("channels", [16, 48, 64])
@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_a_wide_layer_is_packed_in_the_order_of_its_convolution(arithmetic, adjoint, channels):
    weight = randn(2, channels, channels, 3, 3)
    assert torch.equal(pack(weight, WIDE, arithmetic, adjoint), packed(weight, arithmetic, adjoint))


# ---- planes to a wide image


class Widen:
    """Inputs of one call, of the forward pass or as the last layer's adjoint."""

    def __init__(self, arithmetic, size, planes, channels, write, batch=2, sets=2):
        self.arithmetic, self.size, self.channels, self.write = arithmetic, size, channels, write
        self.adjoint = write == WRITE_GELU_GRADIENT
        self.scale = 8.0 if self.adjoint else 1.0
        self.planes = randn(batch, planes, *size)
        shape = (sets, planes, channels, 3, 3) if self.adjoint else (sets, channels, planes, 3, 3)
        self.weight = randn(*shape) * (2 / (9 * planes)) ** 0.5
        self.bias = randn(channels) if write == WRITE_SUMS else None
        image = (batch, *size, channels)
        self.h = randn(*image, seed=3, dtype=STORAGE[arithmetic]) if self.adjoint else None
        self.norm = randn(batch, 2, channels, seed=4) if self.adjoint else None

    def sample(self, b):
        one = object.__new__(Widen)
        one.__dict__ |= self.__dict__
        for name in ("planes", "weight", "h", "norm"):
            value = getattr(self, name)
            setattr(one, name, None if value is None else value[b : b + 1].clone())
        return one

    def run(self, functions=None, status=None):
        batch = len(self.planes)
        weight = pack(self.weight, WIDEN, self.arithmetic, self.adjoint)
        y = Fenced((batch, *self.size, self.channels), STORAGE[self.arithmetic])
        parts = library().layer_parts(*self.size, self.channels)
        sums = Fenced((batch, parts, 2, self.channels))
        run("widen", self.arithmetic, self.size, functions, channels=self.channels, thin=self.planes.shape[1],
            write=self.write, batch=batch, packed_stride=weight[0].nbytes if len(weight) > 1 else 0,
            plane_scale=self.scale, status=status, planes=self.planes, packed=weight, y=y.inside, bias=self.bias,
            h=self.h, norm=self.norm, sums=None if self.write == WRITE_PLAIN else sums.inside)
        return y.check(), sums.check()

    def check(self, functions=None):
        y, sums = self.run(functions)
        want, totals = widened(self.planes, self.weight, self.write, self.adjoint, self.scale, self.bias, self.h,
                               self.norm)
        close(y, want, self.arithmetic)
        if self.write == WRITE_PLAIN:
            assert sums.isnan().all()
        else:
            close(sums.double().sum(1), totals, self.arithmetic)


@pytest.mark.parametrize("write", [WRITE_SUMS, WRITE_GELU_GRADIENT])
@pytest.mark.parametrize("planes", [1, 2, 8])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_widen_matches_the_oracle(arithmetic, size, planes, write):
    Widen(arithmetic, size, planes, 16, write).check()


@pytest.mark.parametrize("channels", [32, 48, 64])
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_widen_to_every_number_of_channels(arithmetic, channels):
    Widen(arithmetic, (10, 18), 3, channels, WRITE_GELU_GRADIENT, batch=1, sets=1).check()
    Widen(arithmetic, (10, 18), 5, channels, WRITE_PLAIN, batch=1, sets=1).check()


# ---- a wide image to planes


class Narrow:
    """Inputs of one call: the last layer (read through GELU) or the first one's adjoint."""

    def __init__(self, arithmetic, size, planes, channels, read, batch=2, sets=2, coefficients=True):
        self.arithmetic, self.size, self.channels, self.read, self.planes = arithmetic, size, channels, read, planes
        self.adjoint = read != GELU
        self.scale = 0.125 if self.adjoint else 1.0
        shape = (sets, channels, planes, 3, 3) if self.adjoint else (sets, planes, channels, 3, 3)
        self.weight = randn(*shape) * (2 / (9 * channels)) ** 0.5
        image = (batch, *size, channels)
        self.x = randn(*image, dtype=STORAGE[arithmetic])
        self.x2 = randn(*image, seed=1, dtype=STORAGE[arithmetic]) if read == GRADIENT else None
        self.coefficients = randn(batch, 3, channels, seed=2) if coefficients else None
        self.bias = None if self.adjoint else randn(planes)

    def sample(self, b):
        one = object.__new__(Narrow)
        one.__dict__ |= self.__dict__
        for name in ("x", "x2", "weight", "coefficients"):
            value = getattr(self, name)
            setattr(one, name, None if value is None else value[b : b + 1].clone())
        return one

    def run(self, functions=None, status=None):
        batch = len(self.x)
        weight = pack(self.weight, NARROW, self.arithmetic, self.adjoint)
        out = Fenced((batch, self.planes, *self.size))
        run("narrow", self.arithmetic, self.size, functions, channels=self.channels, thin=self.planes, read=self.read,
            batch=batch, packed_stride=weight[0].nbytes if len(weight) > 1 else 0, scale=self.scale, status=status,
            packed=weight, x=self.x, x2=self.x2, coefficients=self.coefficients, bias=self.bias, out=out.inside)
        return (out.check(),)

    def check(self, functions=None):
        convolve = F.conv_transpose2d if self.adjoint else F.conv2d
        want = self.scale * each(convolve, source(self.x, self.read, self.x2, self.coefficients), self.weight)
        want = want if self.bias is None else want + self.bias.double()[:, None, None]
        close(self.run(functions)[0], want, self.arithmetic)


@pytest.mark.parametrize("read", [0, GELU, GRADIENT])
@pytest.mark.parametrize("planes", [1, 2, 8])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_narrow_matches_the_oracle(arithmetic, size, planes, read):
    Narrow(arithmetic, size, planes, 16, read).check()


@pytest.mark.parametrize("channels", [32, 48, 64])
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_narrow_from_every_number_of_channels(arithmetic, channels):
    Narrow(arithmetic, (10, 18), 3, channels, GELU, batch=1, sets=1).check()
    Narrow(arithmetic, (10, 18), 4, channels, GELU, batch=1, sets=1, coefficients=False).check()
    Narrow(arithmetic, (10, 18), 6, channels, GRADIENT, batch=1, sets=1).check()


# ---- what holds for both


def case_of(kind, arithmetic, batch=3):
    if kind == "widen":
        return Widen(arithmetic, (11, 35), 2, 16, WRITE_SUMS, batch, batch)
    return Narrow(arithmetic, (11, 35), 2, 16, GELU, batch, batch)


@pytest.mark.parametrize("kind", ["widen", "narrow"])
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_a_sample_depends_neither_on_its_batch_nor_on_the_order_of_warps(monkeypatch, arithmetic, kind):
    case = case_of(kind, arithmetic)
    alone = [case.sample(b).run() for b in range(3)]
    monkeypatch.setenv("EMULATED_CUDA_SEED", "9")
    for index, together in enumerate(case.run()):
        assert torch.equal(together, torch.cat([one[index] for one in alone]))


@pytest.mark.parametrize("kind", ["widen", "narrow"])
def test_a_stopped_sample_is_left_alone(kind):
    case = case_of(kind, "half")
    status = torch.tensor([0, 2, 0], dtype=torch.int8)
    for got, want in zip(case.run(status=status), case.run(), strict=True):
        assert got[1].isnan().all() and torch.equal(got[::2], want[::2])


def barriers():
    for kernel in ("conv_widen", "conv_narrow"):
        text = (CSRC / "cuda" / f"{kernel}.cu").read_text()
        for found in re.finditer(r"__sync(?:threads|warp)\(\);", text):
            yield pytest.param(kernel, text[: found.start()] + text[found.end() :], id=f"{kernel}-{found.start()}")


@pytest.mark.parametrize(("kernel", "text"), [*barriers()])
@pytest.mark.first_of_many
def test_a_missing_barrier_is_caught(monkeypatch, kernel, text):
    functions = library(kernel, text)
    case = case_of(kernel.removeprefix("conv_"), "half", 1)

    def is_right(seed):
        monkeypatch.setenv("EMULATED_CUDA_SEED", str(seed))
        try:
            case.check(functions)
        except AssertionError:
            return False
        return True

    assert not all(is_right(seed) for seed in range(4))
