"""The Triton kernels compiled for sm_80 and sm_90 with no GPU: registers, spills and shared memory."""

from pathlib import Path

import pytest
from offline_triton import Usage, Variant, compiled

SCALARS = {
    "n": "i32",
    "m": "i32",
    "N": "i32",
    "newest": "i32",
    "count": "i32",
    "chunks": "i32",
    "blocks": "i32",
}
SCALARS |= {name: "fp64" for name in ("keep", "lr", "eps", "ridge", "beta")}


def usage(kernel, dtype: str, constants: dict, options: dict, arch: int, folder: Path) -> Usage:
    names = kernel.arg_names
    types = tuple("constexpr" if name in constants else SCALARS.get(name, f"*{dtype}") for name in names)
    values = tuple(((names.index(name),), value) for name, value in constants.items())
    aligned = tuple((at,) for at, kind in enumerate(types) if kind.startswith("*"))
    return compiled(Variant(kernel, types, values, aligned, tuple(options.items())), arch, folder)


@pytest.mark.parametrize("arch", [80, 90])
@pytest.mark.parametrize(("dtype", "registers"), [("fp32", 40), ("fp64", 80)])
def test_z_step(arch, dtype, registers, tmp_path):
    from aafast.kernels import z_step as module

    got = usage(module.z_step_kernel, dtype, {"BLOCK": module.BLOCK}, module.OPTIONS, arch, tmp_path)
    assert got.stack == 0 and got.shared == 0
    assert got.registers <= registers


@pytest.mark.parametrize("arch", [80, 90])
@pytest.mark.parametrize(
    ("dtype", "size", "m", "registers"), [("fp32", 4, 5, 96), ("fp32", 4, 16, 224), ("fp64", 8, 16, 224)]
)
def test_anderson_mix(arch, dtype, size, m, registers, tmp_path):
    from aafast.kernels import anderson_mix as module

    sums, mix = module.constants(m, size, relative=True, beta=0.5)
    for kernel, constants in ((module.gram_kernel, sums), (module.mix_kernel, mix)):
        got = usage(kernel, dtype, constants, module.OPTIONS, arch, tmp_path)
        assert got.stack == 0, kernel.__name__
        assert got.shared <= 2048, kernel.__name__
        assert got.registers <= registers, kernel.__name__
