"""Run by a fresh interpreter under TRITON_INTERPRET=1: every Triton kernel against the oracle, on the CPU."""

import warnings

import torch
from op_cases import SHORT_MIXES, TOLERANCE, Z_SHAPES, Mix, check_mix, check_z, mix_inputs, z_inputs

from aafast.ops import anderson_mix, z_step


def main() -> None:
    # The interpreter computes lanes that a mask hides; numpy then warns of what is never stored.
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    torch.use_deterministic_algorithms(True)
    assert torch.empty(3).isnan().all(), "memory is not poisoned"
    for dtype in (torch.float32, torch.float64):
        for shape in Z_SHAPES:
            check_z(on_triton(z_step), *z_inputs(shape, dtype), TOLERANCE["z_step", dtype])
            print("z_step", dtype, shape, "ok")
        for case in SHORT_MIXES:
            tolerance = TOLERANCE["anderson_mix on a gpu", dtype]
            check_mix(on_triton(anderson_mix), case, mix_inputs(case, dtype), tolerance)
            print("anderson_mix", dtype, case, "ok")
    check_singular()
    check_ruined()
    print("all ok")


def on_triton(op):
    return lambda *args: op(*args, backend="triton")


def check_singular() -> None:
    X = torch.randn(2, 3, 10)
    x, _, alpha, _ = on_triton(anderson_mix)(X, X, torch.zeros(2, 3, 3), 1, 3, 0.0, 1.0, False)
    assert torch.equal(alpha, torch.tensor([[0.0, 1.0, 0.0]]).expand(2, 3)) and torch.equal(x, X[:, 1])


def check_ruined() -> None:
    case = Mix(3, 4, 100, 1, 4, 1e-3, 1.0, True)
    inputs = mix_inputs(case, torch.float32)
    clean = on_triton(anderson_mix)(*inputs, *case.numbers)
    inputs[1][1, 1, 5] = torch.nan
    ruined = on_triton(anderson_mix)(*inputs, *case.numbers)
    assert ruined[0][1].isnan().all() and ruined[2][1].isnan().all()
    for mine, want in zip(ruined, clean, strict=True):
        assert torch.equal(mine[::2], want[::2])


if __name__ == "__main__":
    main()
