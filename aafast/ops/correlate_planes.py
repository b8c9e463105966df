"""Cross-correlation of image planes with small kernels, whole or as a column times a row."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight

from ..errors import InputError, describe
from . import _dispatch, _native
from ._tensors import check_compute_tensors, check_shape

TWO_PASSES = 9  # smallest K for which the library convolves faster with a column and a row than with their product


def correlate_planes(x: Tensor, kernel: Tensor, backend: str = "auto") -> Tensor:
    """Cross-correlate every plane of a batch of images with a square kernel.

    `out[i, j] = sum_ab kernel[a, b] x[i + a - K // 2, j + b - K // 2]`, zero outside; the kernel turned by half
    a turn gives the adjoint.

    Args:
        x: images [B, C, H, W], float32 or float64, contiguous or not.
        kernel: [1 or B, 1 or C, K, K], K odd (it may exceed H and W), dtype and device of x.
        backend: auto, eager, cpp or cuda.

    Returns:
        [B, C, H, W], in units of x times kernel.

    Raises:
        InputError: tensors that differ in dtype or device, or a shape that does not fit.
        BackendError: the backend asked for is unknown or cannot run here.

    Source: section 6 (blur with zero padding) and its adjoint.
    """
    check_compute_tensors(x=x, kernel=kernel)
    return _correlate_planes(x, kernel, backend)


def correlate_separable(x: Tensor, column: Tensor, row: Tensor, backend: str = "auto") -> Tensor:
    """Cross-correlate every plane of a batch of images with the kernel `column[a] row[b]`.

    The sum of `correlate_planes` in 2 K products a pixel instead of K^2; both factors flipped give the adjoint.

    Args:
        x: images [B, C, H, W], float32 or float64, contiguous or not.
        column: factor along H, [1 or B, 1 or C, K], K odd, dtype and device of x.
        row: factor along W, shape of column.
        backend: auto, eager, cpp or cuda.

    Returns:
        [B, C, H, W], in units of x times column times row.

    Raises:
        InputError: tensors that differ in dtype or device, or a shape that does not fit.
        BackendError: the backend asked for is unknown or cannot run here.

    Source: section 6 (blur with zero padding) for kernels of rank one.
    """
    check_compute_tensors(x=x, column=column, row=row)
    return _correlate_separable(x, column, row, backend)


def _check_kernel(name: str, kernel: Tensor, x: Tensor, sides: int) -> None:
    if x.ndim != 4:
        raise InputError(describe("shape of x", list(x.shape), "[B, C, H, W]", "Add the missing axes"))
    fits = kernel.ndim == 2 + sides and kernel.shape[0] in (1, x.shape[0]) and kernel.shape[1] in (1, x.shape[1])
    if not fits or kernel.shape[2] != kernel.shape[-1] or kernel.shape[-1] % 2 == 0:
        expected = f"[1 or {x.shape[0]}, 1 or {x.shape[1]}, {', '.join(['K'] * sides)}] with K odd"
        raise InputError(describe(f"shape of {name}", list(kernel.shape), expected, "Match the batch"))


def _check_planes(x: Tensor, kernel: Tensor) -> None:
    check_compute_tensors(x=x, kernel=kernel)
    _check_kernel("kernel", kernel, x, 2)


def _check_separable(x: Tensor, column: Tensor, row: Tensor) -> None:
    check_compute_tensors(x=x, column=column, row=row)
    _check_kernel("column", column, x, 1)
    check_shape("row", row, column.shape, "the shape of column")


@torch.library.custom_op("aafast::correlate_planes", mutates_args=())
def _correlate_planes(x: Tensor, kernel: Tensor, backend: str) -> Tensor:
    _check_planes(x, kernel)
    run = _PLANES[_dispatch.select("correlate_planes", backend, x.device, x.dtype)]
    out = x.new_empty(x.shape)
    if x.numel() > 0:
        run(x.contiguous(), kernel.contiguous(), out)
    return out


@_correlate_planes.register_fake
def _(x: Tensor, kernel: Tensor, backend: str) -> Tensor:
    _check_planes(x, kernel)
    return x.new_empty(x.shape)


@torch.library.custom_op("aafast::correlate_separable", mutates_args=())
def _correlate_separable(x: Tensor, column: Tensor, row: Tensor, backend: str) -> Tensor:
    _check_separable(x, column, row)
    run = _SEPARABLE[_dispatch.select("correlate_separable", backend, x.device, x.dtype)]
    out = x.new_empty(x.shape)
    if x.numel() > 0:
        run(x.contiguous(), column.contiguous(), row.contiguous(), out)
    return out


@_correlate_separable.register_fake
def _(x: Tensor, column: Tensor, row: Tensor, backend: str) -> Tensor:
    _check_separable(x, column, row)
    return x.new_empty(x.shape)


def _save(ctx, inputs: tuple, output: Tensor) -> None:
    *tensors, ctx.backend = inputs
    ctx.save_for_backward(*tensors)


def _planes_backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, kernel = ctx.saved_tensors
    to_x = to_kernel = None
    if ctx.needs_input_grad[0]:
        to_x = _correlate_planes(grad, kernel.flip(2, 3), ctx.backend)
    if ctx.needs_input_grad[1]:
        to_kernel = _kernel_gradient(grad, x, kernel.shape[-1]).sum_to_size(kernel.shape)
    return to_x, to_kernel, None


def _separable_backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, column, row = ctx.saved_tensors
    to_x = to_column = to_row = None
    if ctx.needs_input_grad[0]:
        to_x = _correlate_separable(grad, column.flip(2), row.flip(2), ctx.backend)
    if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
        size = column.shape[-1]
        to_kernel = _kernel_gradient(grad, x, size).sum_to_size((*column.shape, size))
        to_column = (to_kernel * row[:, :, None]).sum(3) if ctx.needs_input_grad[1] else None
        to_row = (to_kernel * column[..., None]).sum(2) if ctx.needs_input_grad[2] else None
    return to_x, to_column, to_row, None


def _kernel_gradient(grad: Tensor, x: Tensor, size: int) -> Tensor:
    """`sum_ij grad[i, j] x[i + a - size // 2, j + b - size // 2]` for each plane: [B, C, size, size]."""
    batch, channels, height, width = x.shape
    planes = batch * channels
    if x.numel() == 0:
        return x.new_zeros(batch, channels, size, size)
    half = size // 2
    # Padded by hand: oneDNN's weight gradient writes out of bounds where its own padding exceeds the image.
    padded = F.pad(x, (half,) * 4).reshape(1, planes, height + 2 * half, width + 2 * half)
    grad = grad.reshape(1, planes, height, width)
    weight = conv2d_weight(padded, (planes, 1, size, size), grad, groups=planes)
    return weight.reshape(batch, channels, size, size)


_correlate_planes.register_autograd(_planes_backward, setup_context=_save)
_correlate_separable.register_autograd(_separable_backward, setup_context=_save)


def _grouped(x: Tensor, kernel: Tensor) -> Tensor:
    """Planes [B, C, H, W], each with its own kernel of [1 or B, 1 or C, P, Q]."""
    batch, channels, height, width = x.shape
    tall, wide = kernel.shape[2:]
    weight = kernel.expand(batch, channels, tall, wide).reshape(batch * channels, 1, tall, wide)
    stacked = x.reshape(1, batch * channels, height, width)
    out = F.conv2d(stacked, weight, padding=(tall // 2, wide // 2), groups=batch * channels)
    return out.reshape(x.shape)


def _planes_eager(x: Tensor, kernel: Tensor, out: Tensor) -> None:
    out.copy_(_grouped(x, kernel))


def _separable_eager(x: Tensor, column: Tensor, row: Tensor, out: Tensor) -> None:
    column, row = column[..., None], row[:, :, None]
    if row.shape[-1] < TWO_PASSES:
        out.copy_(_grouped(x, column * row))
    else:
        out.copy_(_grouped(_grouped(x, column), row))


def _strides(kernel: Tensor) -> tuple[int, int]:
    """Elements from the kernel of one sample, and of one channel, to the next; 0 where it is shared."""
    sets, channels = kernel.shape[:2]
    size = kernel[0, 0].numel()
    return (channels * size if sets > 1 else 0), (size if channels > 1 else 0)


def _planes_cpp(x: Tensor, kernel: Tensor, out: Tensor) -> None:
    sample, channel = _strides(kernel)
    kernels = ((kernel.data_ptr(), sample), channel)
    _native.call(
        "correlate_planes_cpu",
        x.dtype,
        *x.shape,
        kernel.shape[-1],
        *kernels,
        False,
        x.data_ptr(),
        out.data_ptr(),
        torch.get_num_threads(),
    )


def _separable_cpp(x: Tensor, column: Tensor, row: Tensor, out: Tensor) -> None:
    threads = torch.get_num_threads()
    scratch = x.new_empty(threads, *x.shape[2:])
    sample, channel = _strides(column)
    kernels = ((column.data_ptr(), sample), row.data_ptr(), channel)
    _native.call(
        "correlate_separable_cpu",
        x.dtype,
        *x.shape,
        column.shape[-1],
        *kernels,
        False,
        x.data_ptr(),
        scratch.data_ptr(),
        out.data_ptr(),
        threads,
    )


def _planes_cuda(x: Tensor, kernel: Tensor, out: Tensor) -> None:
    sample, channel = _strides(kernel)
    kernels = ((kernel.data_ptr(), sample), channel)
    addresses = (x.data_ptr(), 0, _native.where(x), out.data_ptr())
    _native.call("correlate_planes_cuda", x.dtype, *x.shape, kernel.shape[-1], *kernels, False, *addresses)


def _separable_cuda(x: Tensor, column: Tensor, row: Tensor, out: Tensor) -> None:
    size = (*x.shape, column.shape[-1])
    scratch = x.new_empty(_native.invoke("correlate_separable_cuda_scratch", *size))
    sample, channel = _strides(column)
    kernels = ((column.data_ptr(), sample), row.data_ptr(), channel)
    addresses = (x.data_ptr(), 0, _native.where(x), scratch.data_ptr(), out.data_ptr())
    _native.call("correlate_separable_cuda", x.dtype, *size, *kernels, False, *addresses)


_PLANES = _dispatch.register("correlate_planes", {"eager": _planes_eager, "cpp": _planes_cpp, "cuda": _planes_cuda})
_SEPARABLE = _dispatch.register(
    "correlate_separable", {"eager": _separable_eager, "cpp": _separable_cpp, "cuda": _separable_cuda}
)
