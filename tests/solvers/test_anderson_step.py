"""The proposal of Anderson acceleration in one native call against the same by tensor operations."""

import pytest
import torch

from aafast.errors import InputError
from aafast.ops.anderson_step import can_step
from aafast.solvers import Anderson

SETTINGS = [
    {},
    {"restart": 2.0},
    {"beta": 1.0},
    {"beta": 0.6, "restart": 1.2},
    {"drop": 3.0, "ridge": 1e-4, "relative": False},
    {"beta": 1.0, "restart": 1.2, "drop": 4.0, "m": 16},
    {"m": 1},
]


def steps(batch, size, dtype, count=24, seed=0):
    """A sequence of points and images whose residuals fall and now and then leap."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.randn(24, *size, generator=generator, dtype=torch.float64)
    for k in range(count):
        x = torch.randn(batch, *size, generator=generator, dtype=torch.float64)
        weights = torch.randn(batch, 24, generator=generator, dtype=torch.float64)
        residual = torch.tensordot(weights, basis, 1) + 0.1 * x
        leap = torch.where(torch.rand(batch, generator=generator) < 0.2, 30.0, 1.0).view(-1, *(1,) * len(size))
        yield k, x.to(dtype), (x + residual * leap * 0.8**k).to(dtype)


def copied(memory):
    return {name: value.clone() for name, value in memory.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("size", [(37,), (2, 3, 11), (17000,)], ids=str)
def test_one_call_does_what_the_tensor_operations_do(size, settings, dtype):
    native, plain = Anderson(**settings), Anderson(**settings, backend="eager")
    memory, forgot, damped = native.init(torch.zeros(3, *size, dtype=dtype)), 0, 0
    tolerance = {"rtol": 1e-3, "atol": 1e-3} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-9}
    for k, x, image in steps(3, size, dtype, 24 if size[0] < 100 else 12):
        before = copied(memory)
        expected, sizes, after = plain.propose(copied(memory), k, x, image)
        assert can_step(memory, x, image, "auto")
        found, norms, memory = native.propose(memory, k, x, image)
        assert found.shape == x.shape
        scale = float(expected.abs().max())
        torch.testing.assert_close(found / scale, expected / scale, **tolerance)
        torch.testing.assert_close(norms, sizes)
        valid = min(k + 1, native.m)
        for name, value in after.items():
            part = {"gram": (slice(None), slice(valid), slice(valid)), "X": (slice(None), slice(valid)),
                    "F": (slice(None), slice(valid))}.get(name, ())  # fmt: skip
            scale = max(float(value[part].abs().max()), 1e-30)
            torch.testing.assert_close(memory[name][part] / scale, value[part] / scale, **tolerance)
        if k >= native.m:
            others = [i for i in range(native.m) if i != k % native.m]
            forgot += int((memory["X"][:, others] != before["X"][:, others]).flatten(1).any(1).sum())
        damped += int(((memory["beta"] > 0.3) & (memory["beta"] < 1)).sum()) if "beta" in memory else 0
    if native.m < 12 and native.m > 1 and (native.restart or native.drop):
        assert forgot > 0  # so that letting go was compared too
    if native.beta is None:
        assert damped > 0


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_sample_is_rounded_the_same_whatever_stands_beside_it(settings, threads):
    size, solver = (20000,), Anderson(**settings)
    whole, alone = solver.init(torch.zeros(4, *size)), solver.init(torch.zeros(1, *size))
    for k, x, image in steps(4, size, torch.float32, 10):
        threads(2)
        together, norms, whole = solver.propose(whole, k, x, image)
        threads(1)
        single, own, alone = solver.propose(alone, k, x[2:3].clone(), image[2:3].clone())
        assert torch.equal(together[2:3], single) and torch.equal(norms[2:3], own)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_gradients_are_recorded_by_the_tensor_operations():
    solver = Anderson()
    x = torch.randn(2, 5)
    memory = solver.init(x)
    assert can_step(memory, x, x + 1, "auto")
    assert not can_step(memory, x.requires_grad_(), x + 1, "auto")
    with torch.no_grad():
        assert can_step(memory, x, x + 1, "auto")
    assert not can_step(memory, x.detach(), x.detach() + 1, "eager")


def test_points_of_another_shape_are_refused():
    solver, x = Anderson(), torch.randn(2, 5)
    memory = solver.init(x)
    for other in (torch.randn(2, 6), torch.randn(3, 5), x.double()):
        assert not can_step(memory, x, other, "auto") and not can_step(memory, other, other, "auto")
    with pytest.raises(InputError, match="rows m of X"):
        Anderson(m=17).propose(Anderson(m=17).init(x), 0, x, x + 1)


def test_nan_ends_in_that_sample_alone():
    solver = Anderson(restart=2.0)
    memory = solver.init(torch.zeros(2, 9))
    for k, x, image in steps(2, (9,), torch.float32, 6):
        image[0] = float("nan") if k >= 2 else image[0]
        found, norms, memory = solver.propose(memory, k, x, image)
    assert norms[0].isnan().all() and found[1].isfinite().all() and norms[1].isfinite().all()
