"""The Triton kernels compiled for sm_80 and sm_90 with no GPU: registers, spills and shared memory."""

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

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


class Usage(NamedTuple):
    """What one compiled kernel takes: registers a thread, bytes of stack, bytes of shared memory a block."""

    registers: int
    stack: int
    shared: int


def usage(kernel, dtype: str, constants: dict, options: dict, arch: int, folder: Path) -> Usage:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = kernel.arg_names
    types = {name: SCALARS.get(name, f"*{dtype}") for name in names if name not in constants}
    types |= dict.fromkeys(constants, "constexpr")
    signature = {name: types[name] for name in names}
    aligned = {
        (at,): [["tt.divisibility", 16]] for at, name in enumerate(names) if signature[name].startswith("*")
    }
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    compiled = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    cubin = folder / "kernel.cubin"
    cubin.write_bytes(compiled.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    text = subprocess.run([tool, "-res-usage", cubin], capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)", text)
    assert found, text
    registers, stack, local = (int(number) for number in found.groups())
    return Usage(registers, stack + local, compiled.metadata.shared)


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
