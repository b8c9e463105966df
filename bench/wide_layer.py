"""One wide layer of a stack, 64 to 64 channels with what is fused into it: what the ops suite holds against the peak.

Values as in csrc/include/aafast/wide_layer.h: the layer reads gelu(a x + b), its gradient reads p d + q h + r. The
plain form is torch on channels-last memory, which is oneDNN's faster layout.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from aafast.ops import _native

WIDTH, TILE = 64, 4


def forward_inputs(shape: tuple[int, ...], generator: torch.Generator) -> tuple:
    """x [B, H, W, 64], a, b [64], weight [64, 64, 3, 3]."""
    batch, _, height, width = shape
    x = torch.randn(batch, height, width, WIDTH, generator=generator)
    a, b = 1 + 0.1 * torch.randn(WIDTH, generator=generator), 0.1 * torch.randn(WIDTH, generator=generator)
    return x, a, b, torch.randn(WIDTH, WIDTH, 3, 3, generator=generator) / 24


def gradient_inputs(shape: tuple[int, ...], generator: torch.Generator) -> tuple:
    """The same, then d, h [B, H, W, 64] and p, q, r as one tensor [3, 64]."""
    given = forward_inputs(shape, generator)
    d, h = torch.randn(2, *given[0].shape, generator=generator)
    return *given, d, h, 0.3 * torch.randn(3, WIDTH, generator=generator) + torch.tensor([[1.0], [0.0], [0.0]])


def flops(shape: tuple[int, ...]) -> float:
    """Of the direct method."""
    return 18.0 * shape[0] * shape[2] * shape[3] * WIDTH**2


def _image(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


def _sums(y: Tensor, other: Tensor) -> Tensor:
    return torch.stack([y.sum((2, 3)), (y * other).sum((2, 3))], dim=1)


def forward(x: Tensor, a: Tensor, b: Tensor, weight: Tensor, backend: str = "eager") -> tuple[Tensor, Tensor]:
    """conv(gelu(a x + b)) as [B, H, W, 64], and its sums [B, 2, 64]."""
    if backend == "cpp":
        y, sums = torch.empty_like(x), torch.empty(len(x), 2, WIDTH, dtype=torch.float64)
        _native.call("wide_forward_cpu", x.dtype, _shape(x), _packed(weight, False).data_ptr(), x.data_ptr(),
                     a.data_ptr(), b.data_ptr(), y.data_ptr(), sums.data_ptr(), torch.get_num_threads())
        return y, sums.to(x.dtype)
    y = F.conv2d(F.gelu(_image(x * a + b)), weight, padding=1)
    return y.permute(0, 2, 3, 1), _sums(y, y)


def input_gradient(
    x: Tensor, a: Tensor, b: Tensor, weight: Tensor, d: Tensor, h: Tensor, pqr: Tensor, backend: str = "eager"
) -> tuple[Tensor, Tensor]:
    """conv^T(p d + q h + r) gelu'(a x + b) as [B, H, W, 64], and the sums [B, 2, 64] of it and of it times x."""
    if backend == "cpp":
        d_x, sums = torch.empty_like(x), torch.empty(len(x), 2, WIDTH, dtype=torch.float64)
        _native.call("wide_input_gradient_cpu", x.dtype, _shape(x), _packed(weight, True).data_ptr(), d.data_ptr(),
                     h.data_ptr(), pqr.data_ptr(), x.data_ptr(), a.data_ptr(), b.data_ptr(), d_x.data_ptr(),
                     sums.data_ptr(), torch.get_num_threads())
        return d_x, sums.to(x.dtype)
    p, q, r = pqr
    towards = F.conv_transpose2d(_image(p * d + q * h + r), weight, padding=1)
    d_x = torch.ops.aten.gelu_backward(towards, _image(x * a + b))
    return d_x.permute(0, 2, 3, 1), _sums(d_x, _image(x))


def weight_gradient(
    x: Tensor, a: Tensor, b: Tensor, weight: Tensor, d: Tensor, h: Tensor, pqr: Tensor, backend: str = "eager"
) -> Tensor:
    """The gradient of the weight, summed over the batch [64, 64, 3, 3]."""
    if backend == "cpp":
        each = torch.empty(len(x), *weight.shape, dtype=x.dtype)
        _native.call("wide_weight_gradient_cpu", x.dtype, _shape(x), x.data_ptr(), a.data_ptr(), b.data_ptr(),
                     d.data_ptr(), h.data_ptr(), pqr.data_ptr(), each.data_ptr(), torch.get_num_threads())
        return each.sum(0)
    p, q, r = pqr
    values, towards = F.gelu(_image(x * a + b)), _image(p * d + q * h + r)
    return torch.ops.aten.convolution_backward(
        towards, values, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [False, True, False]
    )[1]


def _shape(x: Tensor) -> tuple[int, ...]:
    return x.shape[1], x.shape[2], WIDTH, WIDTH, TILE, len(x)


def _packed(weight: Tensor, adjoint: bool) -> Tensor:
    """Weights as the kernels read them; a plan does this once, so its time is not the layer's (0.1 ms)."""
    key = (weight.data_ptr(), adjoint)
    if key not in _packs:
        _packs.clear()
        module, _ = _native.load()
        suffix = f"cpu_{str(weight.dtype).removeprefix('torch.')}"
        packed = torch.empty(getattr(module, f"wide_packed_size_{suffix}")(WIDTH, WIDTH, TILE), dtype=weight.dtype)
        _native.call("wide_pack_cpu", weight.dtype, weight.data_ptr(), WIDTH, WIDTH, TILE, adjoint, packed.data_ptr())
        _packs[key] = packed
    return _packs[key]


_packs: dict[tuple[int, bool], Tensor] = {}
