"""The kernels of the Triton stack, each variant that a solve launches, compiled for sm_80 and sm_90 with no GPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from offline_triton import Variant, compiled, launched

# Registers a thread and bytes of shared memory a block, by kernel, under the oldest and the newest Triton. 128 threads
# a block: 4 blocks fit a multiprocessor of 65536 registers at 128 each, 3 at 168, 2 at 255.
HALF = {
    "pack_kernel": (40, 0),
    "conv_widen_kernel": (168, 8192),
    "conv_wide_kernel": (128, 16384),
    "conv_narrow_kernel": (80, 11264),
    "norm_kernel": (104, 2048),
    "norm_backward_kernel": (152, 2048),
    "activate_kernel": (96, 0),
    "through_norm_kernel": (80, 0),
    "thin_weight_kernel": (72, 13312),
    "wide_weight_kernel": (184, 49152),
    "add_parts_kernel": (40, 0),
}
TF32 = {"conv_wide_kernel": (168, 32768), "conv_narrow_kernel": (96, 22528), "wide_weight_kernel": (184, 98304)}
SINGLE = {"conv_wide_kernel": (128, 65536), "conv_narrow_kernel": (80, 40960), "wide_weight_kernel": (255, 32768)}
SEEDS = {"additive_seeds_kernel": (64, 0), "haze_seeds_kernel": (64, 0)}


def variants(arithmetic: str) -> list[Variant]:
    """Those of packing, forward with and without what backward needs, and backward with all gradients."""
    from aafast.kernels.conv_stack import Gradients, TritonStack

    channels, normed, batch, size = [2, 64, 64, 1], [False, True], 2, (128, 50)

    def run() -> None:
        stack = TritonStack(channels, normed, 4, arithmetic)
        pairs = list(zip(channels, channels[1:], strict=False))
        weight = [torch.empty(batch, outputs, inputs, 3, 3) for inputs, outputs in pairs]
        bias = [None] * len(weight)
        norms = [torch.empty(batch, 64) if norm else None for norm in normed]
        planes = [torch.empty(batch, channels[0], *size)]
        out = torch.empty(batch, channels[-1], *size)
        status = torch.zeros(batch, dtype=torch.int8)
        scratch = [torch.empty(stack.workspace_bytes(*size, batch, back), dtype=torch.uint8) for back in (False, True)]
        saved = torch.empty(batch, stack.saved_bytes(*size), dtype=torch.uint8)
        given = planes, stack.pack(weight, True), bias, norms, norms
        for kept in (None, saved):
            stack.forward(*given, out, kept, scratch[0], status)
        found = Gradients(weight, bias, norms, norms)
        stack.backward(*given, out, saved, scratch[1], 2.0, status, torch.empty_like(planes[0]), found)

    return recorded(run)


def seeds() -> list[Variant]:
    from aafast.kernels.loss_seeds import additive_seeds, haze_seeds

    def run() -> None:
        one, three = torch.empty(2, 1, 128, 50), torch.empty(2, 3, 128, 50)
        status = torch.zeros(2, dtype=torch.int8)
        additive_seeds(0.1, 0.1, one, one, one, one, one, one, status)
        haze_seeds(0.1, 0.1, *[three] * 7, status)

    return recorded(run)


def recorded(run: Callable[[], None]) -> list[Variant]:
    with pytest.MonkeyPatch.context() as patch:
        return launched(patch, run)


def check(found: list[Variant], limits: dict[str, tuple[int, int]], arch: int, folder) -> None:
    """Compile those variants that have limits, every limit's kernel among them."""
    assert {seen.name for seen in found} >= set(limits)
    over = []
    for seen in found:
        if seen.name in limits:
            got, (registers, shared) = compiled(seen, arch, folder), limits[seen.name]
            if not (got.stack == 0 and got.registers <= registers and got.shared <= shared):
                over.append(f"{seen}: {got}, limits {registers} registers, {shared} bytes")
    assert not over, "\n".join(over)


@pytest.mark.parametrize("arch", [80, 90])
def test_half(arch, tmp_path):
    found = variants("half")
    assert {seen.name for seen in found} == set(HALF)
    check(found, HALF, arch, tmp_path)


@pytest.mark.parametrize("arch", [80, 90])
def test_seeds(arch, tmp_path):
    check(seeds(), SEEDS, arch, tmp_path)


@pytest.mark.parametrize(("arithmetic", "limits", "arch"), [("tf32", TF32, 90), ("single", SINGLE, 80)])
def test_float32_storage(arithmetic, limits, arch, tmp_path):
    found = variants(arithmetic)
    wide = [seen for seen in found if seen.name == "conv_wide_kernel"][:1]  # the one without the backward's finish
    check(wide + [seen for seen in found if seen.name != "conv_wide_kernel"], limits, arch, tmp_path)
