"""Cross-correlation of seismic sections with short kernels along time, and its gradient in the kernel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight

from ..errors import InputError, describe
from . import _dispatch, _native
from ._tensors import check_compute_tensors, check_shape


def correlate_time(x: Tensor, kernel: Tensor, backend: str = "auto") -> Tensor:
    """Cross-correlate sections with one kernel, or one per sample, along time.

    `out[t] = sum_k kernel[k] x[t + k - K // 2]`, zero outside; the flipped kernel gives the adjoint.

    Args:
        x: sections [B, 1, T, X] of T time samples and X traces, float32 or float64, contiguous or not.
        kernel: [1, K] for all samples or [B, K], K odd (it may exceed T), dtype and device of x.
        backend: auto, eager, cpp or cuda.

    Returns:
        [B, 1, T, X], in units of x times kernel.

    Raises:
        InputError: tensors that differ in dtype or device, or a shape that does not fit.
        BackendError: the backend asked for is unknown or cannot run here.

    Source: section 6 (A0 as a Toeplitz matrix) and its adjoint.
    """
    check_compute_tensors(x=x, kernel=kernel)
    return _correlate_time(x, kernel, backend)


def correlate_time_kernel(g: Tensor, x: Tensor, taps: int, backend: str = "auto") -> Tensor:
    """Correlate pairs of sections at `taps` lags of time: the gradient of `correlate_time` in its kernel.

    `out[b, k] = sum_tx g[b, t, x] x[b, t + k - taps // 2, x]`, zero outside.

    Args:
        g: sections [B, 1, T, X], float32 or float64, contiguous or not.
        x: sections, shape, dtype and device of g.
        taps: number of lags, odd; it may exceed T.
        backend: auto, eager, cpp or cuda.

    Returns:
        [B, taps], in units of g times x.

    Raises:
        InputError: tensors that differ in shape, dtype or device, or an even number of taps.
        BackendError: the backend asked for is unknown or cannot run here.

    Source: derivative of section 6's A0 in its wavelet.
    """
    check_compute_tensors(g=g, x=x)
    return _correlate_time_kernel(g, x, taps, backend)


def _check_section(name: str, section: Tensor) -> None:
    if section.ndim != 4 or section.shape[1] != 1:
        raise InputError(
            describe(f"shape of {name}", list(section.shape), "[B, 1, T, X]", "Add the channel axis")
        )


def _check_taps(taps: int) -> None:
    if taps < 1 or taps % 2 == 0:
        raise InputError(
            describe("number of taps", taps, "an odd number, the middle one at time zero", "Add or drop one")
        )


def _check_time(x: Tensor, kernel: Tensor) -> None:
    check_compute_tensors(x=x, kernel=kernel)
    _check_section("x", x)
    if kernel.ndim != 2 or kernel.shape[0] not in (1, x.shape[0]):
        raise InputError(
            describe(
                "shape of kernel",
                list(kernel.shape),
                f"[1, K] or [{x.shape[0]}, K]",
                "Pass one kernel, or one per sample",
            )
        )
    _check_taps(kernel.shape[1])


def _check_kernel(g: Tensor, x: Tensor, taps: int) -> None:
    check_compute_tensors(g=g, x=x)
    _check_section("g", g)
    check_shape("x", x, g.shape, "the shape of g")
    _check_taps(taps)


@torch.library.custom_op("aafast::correlate_time", mutates_args=())
def _correlate_time(x: Tensor, kernel: Tensor, backend: str) -> Tensor:
    _check_time(x, kernel)
    run = _TIME[_dispatch.select("correlate_time", backend, x.device, x.dtype)]
    out = x.new_empty(x.shape)
    if x.numel() > 0:
        run(x.contiguous(), kernel.contiguous(), out)
    return out


@_correlate_time.register_fake
def _(x: Tensor, kernel: Tensor, backend: str) -> Tensor:
    _check_time(x, kernel)
    return x.new_empty(x.shape)


@torch.library.custom_op("aafast::correlate_time_kernel", mutates_args=())
def _correlate_time_kernel(g: Tensor, x: Tensor, taps: int, backend: str) -> Tensor:
    _check_kernel(g, x, taps)
    run = _KERNEL[_dispatch.select("correlate_time_kernel", backend, g.device, g.dtype)]
    if g.numel() == 0:
        return g.new_zeros(g.shape[0], taps)
    out = g.new_empty(g.shape[0], taps)
    run(g.contiguous(), x.contiguous(), out)
    return out


@_correlate_time_kernel.register_fake
def _(g: Tensor, x: Tensor, taps: int, backend: str) -> Tensor:
    _check_kernel(g, x, taps)
    return g.new_empty(g.shape[0], taps)


def _save(ctx, inputs: tuple, output: Tensor) -> None:
    *tensors, ctx.backend = inputs
    ctx.save_for_backward(*tensors)


def _time_backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, kernel = ctx.saved_tensors
    to_x = to_kernel = None
    if ctx.needs_input_grad[0]:
        to_x = _correlate_time(grad, kernel.flip(1), ctx.backend)
    if ctx.needs_input_grad[1]:
        to_kernel = _correlate_time_kernel(grad, x, kernel.shape[1], ctx.backend)
        if kernel.shape[0] == 1 and x.shape[0] != 1:
            to_kernel = to_kernel.sum(0, keepdim=True)
    return to_x, to_kernel, None


def _save_kernel(ctx, inputs: tuple, output: Tensor) -> None:
    g, x, _, ctx.backend = inputs
    ctx.save_for_backward(g, x)


def _kernel_backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
    g, x = ctx.saved_tensors
    to_g = _correlate_time(x, grad, ctx.backend) if ctx.needs_input_grad[0] else None
    to_x = _correlate_time(g, grad.flip(1), ctx.backend) if ctx.needs_input_grad[1] else None
    return to_g, to_x, None, None


_correlate_time.register_autograd(_time_backward, setup_context=_save)
_correlate_time_kernel.register_autograd(_kernel_backward, setup_context=_save_kernel)


def _padded(x: Tensor, taps: int) -> Tensor:
    # Padded by hand: oneDNN's weight gradient writes out of bounds where its own padding exceeds the trace.
    return F.pad(x, (0, 0, taps // 2, taps // 2))


def _time_eager(x: Tensor, kernel: Tensor, out: Tensor) -> None:
    sets, taps = kernel.shape
    weight, padded = kernel.reshape(sets, 1, taps, 1), _padded(x, taps)
    if sets == 1:
        out.copy_(F.conv2d(padded, weight))
    else:
        out.copy_(F.conv2d(padded.transpose(0, 1), weight, groups=sets).transpose(0, 1))


def _time_cpp(x: Tensor, kernel: Tensor, out: Tensor) -> None:
    batch, _, time, traces = x.shape
    sets, taps = kernel.shape
    row = (kernel.data_ptr(), taps if sets > 1 else 0)
    size = (batch, time, traces, taps)
    addresses = (x.data_ptr(), out.data_ptr())
    _native.call("correlate_time_cpu", x.dtype, *size, row, False, False, *addresses, torch.get_num_threads())


def _kernel_eager(g: Tensor, x: Tensor, out: Tensor) -> None:
    batch, taps = out.shape
    padded = _padded(x, taps).transpose(0, 1)
    weight = conv2d_weight(padded, (batch, 1, taps, 1), g.transpose(0, 1), groups=batch)
    out.copy_(weight.reshape(batch, taps))


def _kernel_cpp(g: Tensor, x: Tensor, out: Tensor) -> None:
    batch, _, time, traces = g.shape
    size = (batch, time, traces, out.shape[1])
    addresses = (g.data_ptr(), x.data_ptr(), out.data_ptr())
    _native.call("correlate_time_kernel_cpu", g.dtype, *size, *addresses, torch.get_num_threads())


def _time_cuda(x: Tensor, kernel: Tensor, out: Tensor) -> None:
    batch, _, time, traces = x.shape
    sets, taps = kernel.shape
    row = (kernel.data_ptr(), taps if sets > 1 else 0)
    size = (batch, time, traces, taps)
    _native.call(
        "correlate_time_cuda", x.dtype, *size, row, False, False, x.data_ptr(), 0, _native.where(x), out.data_ptr()
    )


def _kernel_cuda(g: Tensor, x: Tensor, out: Tensor) -> None:
    batch, _, time, traces = g.shape
    size = (batch, time, traces, out.shape[1])
    addresses = (g.data_ptr(), x.data_ptr(), 0, _native.where(x), out.data_ptr())
    _native.call("correlate_time_kernel_cuda", g.dtype, *size, False, *addresses)


_TIME = _dispatch.register("correlate_time", {"eager": _time_eager, "cpp": _time_cpp, "cuda": _time_cuda})
_KERNEL = _dispatch.register(
    "correlate_time_kernel", {"eager": _kernel_eager, "cpp": _kernel_cpp, "cuda": _kernel_cuda}
)
