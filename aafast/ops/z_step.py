"""The step of z: the first step of a fresh AdamW, which is a soft sign of the gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from . import _dispatch, _native
from ._tensors import arranged_as, check_compute_tensors, check_number, check_shape


def z_step(z: Tensor, g: Tensor, lr: float, weight_decay: float, eps: float, backend: str = "auto") -> Tensor:
    """Take one AdamW step on z from fresh moments.

    `z (1 - lr weight_decay) - lr g / (|g| + eps)`; its derivative in g is `-lr eps / (|g| + eps)^2`.

    Args:
        z: auxiliary variable, any shape, float32 or float64, contiguous or not.
        g: gradient of the z-objective, shape, dtype and device of z.
        lr: step size, in units of z, >= 0.
        weight_decay: decoupled decay, dimensionless, >= 0.
        eps: softening of the sign, in units of g, > 0.
        backend: auto, eager, cpp, cuda or triton.

    Returns:
        The new z, shape and dtype of z.

    Raises:
        InputError: tensors that differ in shape, dtype or device, or a number out of range.
        BackendError: the backend asked for is unknown or cannot run here.

    Source: first line of eq. 7, as one AdamW step.
    """
    check_compute_tensors(z=z, g=g)
    return _z_step(z, g, float(lr), float(weight_decay), float(eps), backend)


def _check(z: Tensor, g: Tensor, lr: float, weight_decay: float, eps: float) -> None:
    check_compute_tensors(z=z, g=g)
    check_shape("g", g, z.shape, "the shape of z")
    check_number("lr", lr, 0.0)
    check_number("weight_decay", weight_decay, 0.0)
    check_number("eps", eps, 0.0, inclusive=False)


@torch.library.custom_op("aafast::z_step", mutates_args=())
def _z_step(z: Tensor, g: Tensor, lr: float, weight_decay: float, eps: float, backend: str) -> Tensor:
    _check(z, g, lr, weight_decay, eps)
    out = torch.empty_like(z)
    run = _IMPLEMENTATIONS[_dispatch.select("z_step", backend, z.device, z.dtype)]
    run(arranged_as(z, out), arranged_as(g, out), 1 - lr * weight_decay, lr, eps, out)
    return out


@_z_step.register_fake
def _(z: Tensor, g: Tensor, lr: float, weight_decay: float, eps: float, backend: str) -> Tensor:
    _check(z, g, lr, weight_decay, eps)
    return torch.empty_like(z)


def _save(ctx, inputs: tuple, output: Tensor) -> None:
    _, g, ctx.lr, ctx.weight_decay, ctx.eps, _ = inputs
    ctx.save_for_backward(g)


def _backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
    (g,) = ctx.saved_tensors
    to_z = grad * (1 - ctx.lr * ctx.weight_decay) if ctx.needs_input_grad[0] else None
    to_g = grad * (-ctx.lr * ctx.eps) / (g.abs() + ctx.eps).square() if ctx.needs_input_grad[1] else None
    return to_z, to_g, None, None, None, None


_z_step.register_autograd(_backward, setup_context=_save)


def _eager(z: Tensor, g: Tensor, keep: float, lr: float, eps: float, out: Tensor) -> None:
    torch.sub(z * keep, lr * g / (g.abs() + eps), out=out)


def _cpp(z: Tensor, g: Tensor, keep: float, lr: float, eps: float, out: Tensor) -> None:
    _native.call(
        "z_step_cpu",
        z.dtype,
        z.data_ptr(),
        g.data_ptr(),
        z.numel(),
        keep,
        lr,
        eps,
        torch.get_num_threads(),
        out.data_ptr(),
    )


def _cuda(z: Tensor, g: Tensor, keep: float, lr: float, eps: float, out: Tensor) -> None:
    stream = torch.cuda.current_stream(z.device).cuda_stream
    _native.call(
        "z_step_cuda",
        z.dtype,
        z.data_ptr(),
        g.data_ptr(),
        z.numel(),
        keep,
        lr,
        eps,
        z.get_device(),
        stream,
        out.data_ptr(),
    )


def _triton(z: Tensor, g: Tensor, keep: float, lr: float, eps: float, out: Tensor) -> None:
    from ..kernels.z_step import z_step as launch

    with _dispatch.current_device(z.device):
        launch(z, g, keep, lr, eps, out)


_IMPLEMENTATIONS = _dispatch.register(
    "z_step", {"eager": _eager, "cpp": _cpp, "cuda": _cuda, "triton": _triton}
)
