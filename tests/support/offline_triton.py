"""Compiles Triton kernels for a device that is not there, as a run would launch them, and reads what they take."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

ELEMENTS = {torch.float16: "fp16", torch.float32: "fp32", torch.float64: "fp64", torch.int8: "i8"}
DIVISIBLE = [["tt.divisibility", 16]]


class Usage(NamedTuple):
    """What one compiled kernel takes: registers a thread, bytes of stack, bytes of shared memory a block."""

    registers: int
    stack: int
    shared: int


class Variant(NamedTuple):
    """A kernel with its arguments' types, compile-time values and what is known of the arguments."""

    kernel: Any
    types: tuple[Any, ...]
    values: tuple[tuple[tuple[int, ...], Any], ...]
    divisible: tuple[tuple[int, ...], ...]
    options: tuple[tuple[str, int], ...]

    @property
    def name(self) -> str:
        return self.kernel.fn.__name__

    def __str__(self) -> str:
        return f"{self.name} {' '.join(str(kind) for kind in self.types)} {dict(self.values)}"


def variant(kernel: Any, arguments: tuple[Any, ...], constants: dict[str, Any], **options: int) -> Variant:
    """What Triton makes of these arguments: their types; a 1 and a None at compile time; which divide by 16."""
    values, divisible = {}, []

    def kind(value: Any, path: tuple[int, ...], special: bool) -> Any:
        if isinstance(value, tuple):
            return tuple(kind(item, (*path, at), special) for at, item in enumerate(value))
        if isinstance(value, torch.Tensor):
            if value.data_ptr() % 16 == 0:
                divisible.append(path)
            return f"*{ELEMENTS[value.dtype]}"
        if isinstance(value, float):
            return "fp32"
        if value is None or (special and value == 1):
            values[path] = value
            return "constexpr"
        if special and value % 16 == 0:
            divisible.append(path)
        return "i32" if -(2**31) <= value < 2**31 else "i64"

    params = kernel.params[: len(arguments)]
    types = [
        kind(value, (at,), not param.do_not_specialize)
        for at, (value, param) in enumerate(zip(arguments, params, strict=True))
    ]
    for name, value in constants.items():
        values[(kernel.arg_names.index(name),)] = value
        types.append("constexpr")
    assert len(types) == len(kernel.params), kernel
    return Variant(kernel, tuple(types), tuple(values.items()), tuple(divisible), tuple(options.items()))


def launched(monkeypatch: Any, run: Callable[[], None]) -> list[Variant]:
    """Every different variant that `run` launches through the kernels' one way of launching; nothing is run."""
    from aafast.kernels import conv_tile, loss_seeds, stack_launches

    found: dict[str, Variant] = {}

    def record(kernel: Any, programs: int, arguments: tuple[Any, ...], constants: dict[str, Any]) -> None:
        assert programs > 0
        seen = variant(kernel, arguments, constants, **conv_tile.OPTIONS)
        found.setdefault(str(seen), seen)

    with monkeypatch.context() as patch:
        for module in (stack_launches, loss_seeds):
            patch.setattr(module, "launch", record)
        run()
    return list(found.values())


def compiled(seen: Variant, arch: int, folder: Path) -> Usage:
    """Compile for sm_`arch` and read the machine code's own account."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = seen.kernel.arg_names
    source = ASTSource(
        fn=seen.kernel,
        signature=dict(zip(names, seen.types, strict=True)),
        constexprs=dict(seen.values),
        attrs={path: DIVISIBLE for path in seen.divisible},
    )
    binary = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=dict(seen.options))
    cubin = folder / "kernel.cubin"
    cubin.write_bytes(binary.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    text = subprocess.run([tool, "-res-usage", cubin], capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)", text)
    assert found, text
    registers, stack, local = (int(number) for number in found.groups())
    return Usage(registers, stack + local, binary.metadata.shared)
