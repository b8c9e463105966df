"""The gradients of weights, wide and thin, run thread by thread on the CPU."""

import re
import shutil

import pytest
import torch
from layer_kernels import (
    ARITHMETICS,
    GELU,
    GRADIENT,
    STORAGE,
    TOLERANCE,
    Fenced,
    library,
    run,
    size_of,
    source,
    weight_gradient,
)
from native_builds import CSRC

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")


@pytest.fixture(autouse=True)
def _order(monkeypatch):
    monkeypatch.setenv("EMULATED_CUDA_SEED", "0")


def close(got, want, arithmetic):
    error = (got.double() - want).abs().max()
    assert error <= TOLERANCE[arithmetic] * want.abs().max(), (error, want.abs().max())


def randn(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape))).to(dtype)


class Weight:
    """What both kinds share: tensors by sample, and calls of a subset of them."""

    SAMPLES: tuple[str, ...] = ()

    def sample(self, b):
        one = object.__new__(type(self))
        one.__dict__ |= self.__dict__
        for name in self.SAMPLES:
            value = getattr(self, name)
            setattr(one, name, None if value is None else value[b : b + 1].clone())
        return one

    def workspace(self, kind, batch, thin):
        count = size_of(kind, self.arithmetic, self.size, batch, thin, self.channels) // 4
        return Fenced((count,))

    def check(self, functions=None):
        close(self.run(functions), self.oracle(), self.arithmetic)


class Wide(Weight):
    """The gradient of a wide layer's weight, from its input (through GELU) and the gradient at its output."""

    SAMPLES = ("x", "coefficients", "d", "d2", "d_coefficients")

    def __init__(self, arithmetic, size, channels, kind=GRADIENT, batch=2, normed=True):
        self.arithmetic, self.size, self.channels, self.kind = arithmetic, size, channels, kind
        image, storage = (batch, *size, channels), STORAGE[arithmetic]
        self.x, self.d = randn(*image, dtype=storage), randn(*image, seed=1, dtype=storage)
        self.d2 = randn(*image, seed=2, dtype=storage) if kind == GRADIENT else None
        self.coefficients = randn(batch, 3, channels, seed=3) if normed else None
        self.d_coefficients = randn(batch, 3, channels, seed=4) if kind == GRADIENT else None
        self.scale = 0.25

    def run(self, functions=None, status=None):
        batch = len(self.x)
        workspace = self.workspace("wide_weight", batch, 1)
        out = Fenced((batch, self.channels, self.channels, 3, 3))
        run("wide_weight", self.arithmetic, self.size, functions, channels=self.channels, read=GELU, write=self.kind,
            batch=batch, scale=self.scale, status=status, x=self.x, coefficients=self.coefficients, d=self.d,
            d2=self.d2, d_coefficients=self.d_coefficients, workspace=workspace.inside, out=out.inside)
        workspace.check()
        return out.check()

    def oracle(self):
        inputs = source(self.x, GELU, None, self.coefficients)
        return self.scale * weight_gradient(inputs, source(self.d, self.kind, self.d2, self.d_coefficients))


class Thin(Weight):
    """The gradient of the first layer's weight (`read` a gradient) or of the last one's (through GELU)."""

    SAMPLES = ("planes", "x", "x2", "coefficients")

    def __init__(self, arithmetic, size, planes, channels, read, batch=2):
        self.arithmetic, self.size, self.channels, self.read = arithmetic, size, channels, read
        image, storage = (batch, *size, channels), STORAGE[arithmetic]
        self.planes = randn(batch, planes, *size)
        self.x = randn(*image, seed=1, dtype=storage)
        self.x2 = randn(*image, seed=2, dtype=storage) if read == GRADIENT else None
        self.coefficients = randn(batch, 3, channels, seed=3)
        self.plane_scale, self.scale = (4.0, 0.25) if read == GELU else (1.0, 0.25)

    def run(self, functions=None, status=None):
        batch, count = self.planes.shape[:2]
        workspace = self.workspace("thin_weight", batch, count)
        shape = (count, self.channels) if self.read == GELU else (self.channels, count)
        out = Fenced((batch, *shape, 3, 3))
        run("thin_weight", self.arithmetic, self.size, functions, channels=self.channels, thin=count, read=self.read,
            planes_are_outputs=int(self.read == GELU), batch=batch, scale=self.scale, plane_scale=self.plane_scale,
            status=status, planes=self.planes, x=self.x, x2=self.x2, coefficients=self.coefficients,
            workspace=workspace.inside, out=out.inside)
        workspace.check()
        return out.check()

    def oracle(self):
        wide = source(self.x, self.read, self.x2, self.coefficients)
        planes = self.plane_scale * self.planes.double()
        return self.scale * (weight_gradient(wide, planes) if self.read == GELU else weight_gradient(planes, wide))


@pytest.mark.parametrize("kind", [0, GRADIENT])
@pytest.mark.parametrize("size", [(8, 8), (13, 21), (24, 20)], ids=str)
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_wide_matches_the_oracle(arithmetic, size, kind):
    Wide(arithmetic, size, 16, kind).check()


# One strip in two shares of rows; two strips of different widths; two shares of rows in each of two strips.
@pytest.mark.parametrize("size", [(62, 50), (9, 67), (70, 101)], ids=str)
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_wide_in_shares(arithmetic, size):
    case = Wide(arithmetic, size, 16, batch=1)
    shares = {(62, 50): 2, (9, 67): 2, (70, 101): 4}[size]
    assert size_of("wide_weight", arithmetic, size, 1, 1, 16) == shares * 9 * 16 * 16 * 4
    case.check()


@pytest.mark.parametrize("channels", [32, 48, 64])
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_wide_of_every_number_of_channels(arithmetic, channels):
    Wide(arithmetic, (12, 14), channels, batch=1).check()
    Wide(arithmetic, (8, 9), channels, batch=1, normed=False).check()


@pytest.mark.parametrize("read", [0, GELU, GRADIENT])
@pytest.mark.parametrize("planes", [1, 3, 8])
@pytest.mark.parametrize("size", [(8, 8), (13, 37), (41, 33)], ids=str)
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_thin_matches_the_oracle(arithmetic, size, planes, read):
    Thin(arithmetic, size, planes, 16, read).check()


@pytest.mark.parametrize("channels", [32, 48, 64])
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_thin_of_every_number_of_channels(arithmetic, channels):
    Thin(arithmetic, (10, 18), 1, channels, GELU, batch=1).check()
    Thin(arithmetic, (10, 18), 2, channels, GRADIENT, batch=1).check()


@pytest.mark.parametrize("size", [(8, 8), (31, 37)], ids=str)
def test_sums_of_planes(size):
    planes = randn(3, 5, *size)
    status = torch.tensor([0, 0, 1], dtype=torch.int8)
    out = Fenced((3, 5))
    run("sums", "single", size, channels=16, thin=5, batch=3, status=status, planes=planes, out=out.inside)
    want = planes.double().sum((2, 3))
    assert ((out.check()[:2].double() - want[:2]).abs().max() <= 1e-5 * planes.abs().sum((2, 3)).max()) and (
        out.inside[2].isnan().all()
    )


def case_of(kind, arithmetic, batch=3):
    if kind == "weight_wide":
        return Wide(arithmetic, (13, 70), 16, batch=batch)
    return Thin(arithmetic, (41, 33), 2, 16, GRADIENT, batch)


@pytest.mark.parametrize("kind", ["weight_wide", "weight_thin"])
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_a_sample_depends_neither_on_its_batch_nor_on_the_order_of_warps(monkeypatch, arithmetic, kind):
    case = case_of(kind, arithmetic)
    alone = [case.sample(b).run() for b in range(3)]
    monkeypatch.setenv("EMULATED_CUDA_SEED", "9")
    assert torch.equal(case.run(), torch.cat(alone))


def test_sixteen_warps_in_any_order_give_the_same_bits(monkeypatch):
    case = Wide("half", (9, 10), 64, batch=1)
    found = case.run()
    monkeypatch.setenv("EMULATED_CUDA_SEED", "9")
    assert torch.equal(found, case.run())


@pytest.mark.parametrize("kind", ["weight_wide", "weight_thin"])
def test_a_stopped_sample_is_left_alone(kind):
    case = case_of(kind, "half")
    got, want = case.run(status=torch.tensor([0, 2, 0], dtype=torch.int8)), case.run()
    assert got[1].isnan().all() and torch.equal(got[::2], want[::2])


def test_an_input_that_is_not_read_through_gelu_is_refused():
    case = Wide("half", (8, 8), 16, GELU, batch=1)
    with pytest.raises(RuntimeError, match="reads through GELU"):
        case.run()


def barriers():
    for kernel in ("weight_wide", "weight_thin"):
        text = (CSRC / "cuda" / f"{kernel}.cu").read_text()
        for found in re.finditer(r"__sync(?:threads|warp)\(\);", text):
            yield pytest.param(kernel, text[: found.start()] + text[found.end() :], id=f"{kernel}-{found.start()}")


@pytest.mark.parametrize(("kernel", "text"), [*barriers()])
@pytest.mark.first_of_many
def test_a_missing_barrier_is_caught(monkeypatch, kernel, text):
    wide = kernel == "weight_wide"  # with 16 channels its block is one warp
    functions = library(kernel, text, 32 if wide else 16)
    case = Wide("half", (9, 40), 32, batch=1) if wide else case_of(kernel, "half", 1)
    planes = randn(1, 3, 31, 37)

    def is_right(seed):
        monkeypatch.setenv("EMULATED_CUDA_SEED", str(seed))
        try:
            case.check(functions)
            out = Fenced((1, 3))
            run("sums", "half", (31, 37), functions, channels=16, thin=3, batch=1, planes=planes, out=out.inside)
            assert (out.check() - planes.sum((2, 3))).abs().max() <= 1e-3
        except AssertionError:
            return False
        return True

    assert not all(is_right(seed) for seed in range(4))
