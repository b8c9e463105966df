"""Inputs, oracles and tolerances of the two operations, shared by the tests of every path."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from aafast.reference import ops as oracle

Z_SHAPES = [(), (1,), (7,), (0,), (3, 0, 2), (2, 3, 5), (16385,), (3, 1, 129, 51)]
Z_NUMBERS = (1e-2, 0.01, 1e-8)

# Largest |got - oracle| over the largest |oracle|, the oracle in float64 on the same inputs.
# The mix: sums of float32 products run in double on the CPU and in float on a GPU.
TOLERANCE = {
    ("z_step", torch.float32): 2e-7,
    ("z_step", torch.float64): 4e-16,
    ("anderson_mix", torch.float32): 5e-7,
    ("anderson_mix", torch.float64): 1e-14,
    ("anderson_mix on a gpu", torch.float32): 5e-6,
    ("anderson_mix on a gpu", torch.float64): 1e-14,
}


class Mix(NamedTuple):
    """One call of anderson_mix, but for its tensors."""

    batch: int
    m: int
    length: int
    newest: int
    count: int
    ridge: float
    beta: float
    relative: bool

    def __str__(self) -> str:
        return "-".join(str(value) for value in self)

    @property
    def numbers(self) -> tuple[int, int, float, float, bool]:
        return self[3:]


MIXES = [
    Mix(1, 1, 1, 0, 1, 1e-3, 1.0, True),
    Mix(2, 5, 1, 0, 1, 1e-3, 1.0, False),
    Mix(3, 5, 7, 2, 4, 1e-3, 0.7, False),
    Mix(1, 2, 33, 1, 2, 1e-2, 1.0, True),
    Mix(2, 5, 6400, 4, 5, 1e-3, 1.0, True),
    Mix(2, 9, 1025, 0, 9, 1e-3, 0.5, True),
    Mix(2, 16, 16400, 9, 16, 1e-2, 0.9, False),
    Mix(1, 16, 300, 15, 16, 1e-2, 0.9, False),
    Mix(2, 2, 4100, 1, 2, 1e-2, 1.0, True),
    Mix(0, 5, 7, 1, 2, 1e-3, 1.0, True),
    Mix(2, 3, 0, 1, 2, 1e-3, 1.0, False),
]

# Where every program is interpreted, long rows only where few are needed to pass a border between programs.
SHORT_MIXES = [case for case in MIXES if case.m * case.length < 10_000]


def z_inputs(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, Tensor]:
    """z of order 1 and g around eps, where the soft sign bends, with a zero among them."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(shape, dtype=dtype, generator=generator)
    g = torch.randn(shape, dtype=dtype, generator=generator) * 1e-8
    if g.numel() > 2:
        g.view(-1)[0], g.view(-1)[1] = 0.0, 1e30
    return z, g


def mix_inputs(case: Mix, dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """X, F, gram with NaN in all that must not be read: rows past `count`, and the stale row of gram."""
    generator = torch.Generator().manual_seed(seed)
    shape = (case.batch, case.m, case.length)
    X = torch.randn(shape, dtype=dtype, generator=generator)
    F = X + 0.3 * torch.randn(shape, dtype=dtype, generator=generator)
    gram = (F - X) @ (F - X).mT
    for tensor in (X, F, gram):
        tensor[:, case.count :] = torch.nan
    gram[:, :, case.count :] = torch.nan
    gram[:, case.newest] = gram[:, :, case.newest] = torch.nan
    return X, F, gram


def relative_error(got: Tensor, want: Tensor) -> float:
    """Largest difference over the largest wanted value; infinite where either holds a NaN."""
    assert got.shape == want.shape
    if want.numel() == 0:
        return 0.0
    got, want = got.double(), want.double()
    if not (torch.isfinite(got).all() and torch.isfinite(want).all()):
        return float("inf")
    return float((got - want).abs().max() / want.abs().max().clamp_min(1e-300))


def check_z(run: Callable[..., Tensor], z: Tensor, g: Tensor, tolerance: float) -> None:
    """Hold `run(z, g, *Z_NUMBERS)` against the oracle."""
    got = run(z, g, *Z_NUMBERS)
    want = oracle.z_step(z.double(), g.double(), *Z_NUMBERS)
    assert got.dtype == z.dtype
    error = relative_error(got.cpu(), want.cpu())
    assert error <= tolerance, f"error {error:.2e} above {tolerance:.0e}"


def check_mix(
    run: Callable[..., tuple[Tensor, ...]], case: Mix, inputs: tuple[Tensor, ...], tolerance: float
) -> None:
    """Hold `run(X, F, gram, *numbers)` against the oracle, where its outputs are defined."""
    got = run(*inputs, *case.numbers)
    want = oracle.anderson_mix(*(tensor.double().cpu() for tensor in inputs), *case.numbers)
    valid = slice(None, case.count)
    for name, mine, true in zip(("x", "gram", "alpha", "norms"), got, want, strict=True):
        assert mine.dtype == inputs[0].dtype
        if name == "gram":
            mine, true = mine[:, valid, valid], true[:, valid, valid]
        error = relative_error(mine.cpu(), true)
        assert error <= tolerance, f"{name}: error {error:.2e} above {tolerance:.0e}"
    assert not got[2][:, case.count :].any()
