"""A stack of 3x3 convolutions with GroupNorm and GELU between them, as one differentiable operation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import BackendError, InputError, describe
from . import _dispatch, _stack, _stacks, _tracing
from ._stack import FusedStack, StackGradients, StackShape, StackWeights
from ._tensors import check_compute_tensors, check_shape

Optional = Sequence[Tensor | None]


def conv_stack(
    image: Tensor,
    weights: Sequence[Tensor],
    bias: Optional | None = None,
    norm_weight: Optional | None = None,
    norm_bias: Optional | None = None,
    groups: int = 1,
    strict: bool = False,
    backend: str = "auto",
) -> Tensor:
    """Run `W_L * GELU(GN(W_{L-1} * ... GELU(GN(W_1 * image))))`, every convolution 3x3 with zeros outside.

    Args:
        image: [B, C_0, H, W], float32 or float64.
        weights: L >= 2 tensors [S, C_l, C_{l-1}, 3, 3], S = 1 (shared) or B (one set per sample).
        bias: L tensors [S, C_l], or None for a layer without; None for all.
        norm_weight, norm_bias: L - 1 tensors [S, C_l] of the GroupNorm after each hidden convolution, or None for a
            layer without.
        groups: of the GroupNorms (eps 1e-5).
        strict: convolve with less rounding (Winograd on tiles of 2 instead of 4).
        backend: auto, eager or cpp; auto takes cpp on the CPU where the channel counts fit its vectors: hidden ones a
            multiple of 4, first and last at most 8.

    Returns:
        [B, C_L, H, W]. Differentiable once on cpp, any number of times on eager.

    Raises:
        InputError: tensors that do not fit one another.
        BackendError: the backend asked for cannot run here.
    """
    layers = len(weights)
    bias = tuple(bias) if bias is not None else (None,) * layers
    norm_weight = tuple(norm_weight) if norm_weight is not None else (None,) * (layers - 1)
    norm_bias = tuple(norm_bias) if norm_bias is not None else (None,) * (layers - 1)
    _check(image, weights, bias, norm_weight, norm_bias, groups)
    shape = _shape(weights, norm_weight, groups, strict)
    if _select(backend, image.device, image.dtype, shape.channels, shape.normed, groups, shape.precision) == "eager":
        return _eager(image, weights, bias, norm_weight, norm_bias, groups)
    given = [tensor for tensor in (*bias, *norm_weight, *norm_bias) if tensor is not None]
    there = [tensor is not None for tensor in (*bias, *norm_weight, *norm_bias)]
    saves = torch.is_grad_enabled() and any(t.requires_grad for t in (image, *weights, *given))
    return _conv_stack(image, list(weights), given, there, groups, shape.precision, saves)[0]


def _check(
    image: Tensor, weights: Sequence[Tensor], bias: Optional, norm_weight: Optional, norm_bias: Optional, groups: int
) -> None:
    layers = len(weights)
    if layers < 2 or (len(bias), len(norm_weight), len(norm_bias)) != (layers, layers - 1, layers - 1):
        raise InputError(
            describe("layers of a stack", [layers, len(bias), len(norm_weight), len(norm_bias)],
                     "L >= 2 weights, L biases, L - 1 norms", "Pass None where a layer has none")
        )
    named = {f"weights[{i}]": weight for i, weight in enumerate(weights)}
    for name, part in (("bias", bias), ("norm_weight", norm_weight), ("norm_bias", norm_bias)):
        named |= {f"{name}[{i}]": tensor for i, tensor in enumerate(part) if tensor is not None}
    check_compute_tensors(image=image, **named)
    if image.ndim != 4:
        raise InputError(describe("shape of image", list(image.shape), "[B, C, H, W]", "Add the missing axes"))
    sets = (1, len(image))
    inputs = image.shape[1]
    for i, weight in enumerate(weights):
        outputs = weight.shape[1] if weight.ndim == 5 else 0
        if weight.ndim != 5 or len(weight) not in sets:
            raise InputError(
                describe(f"shape of weights[{i}]", list(weight.shape), f"[1 or {len(image)}, outputs, inputs, 3, 3]",
                         "Add the axis of the sets")
            )
        check_shape(f"weights[{i}]", weight, (len(weight), outputs, inputs, 3, 3), "the outputs of the layer before")
        here = {f"bias[{i}]": bias[i]}
        if i < layers - 1:
            here |= {f"norm_weight[{i}]": norm_weight[i], f"norm_bias[{i}]": norm_bias[i]}
            if (norm_weight[i] is None) != (norm_bias[i] is None):
                raise InputError(describe(f"GroupNorm {i}", "weight or bias alone", "both or none", "Pass the other"))
            if norm_weight[i] is not None and outputs % groups:
                raise InputError(describe("groups", groups, f"a divisor of {outputs} channels", "Change one of them"))
        for name, tensor in here.items():
            if tensor is not None:
                check_shape(name, tensor, (len(weight), outputs), "one number per output channel and set")
        inputs = outputs


def _shape(weights: Sequence[Tensor], norm_weight: Optional, groups: int, strict: bool) -> StackShape:
    channels = (weights[0].shape[2], *(weight.shape[1] for weight in weights))
    precision = "strict" if strict else "fast"
    return StackShape(channels, tuple(norm is not None for norm in norm_weight), groups, precision)


@_tracing.constant  # a trace can neither load a module nor ask it
def _select(
    backend: str, device: torch.device, dtype: torch.dtype, channels: tuple[int, ...], normed: tuple[bool, ...],
    groups: int, precision: str,
) -> str:
    chosen = _dispatch.select("conv_stack", backend, device, dtype)
    shape = StackShape(channels, normed, groups, precision)
    against = _stacks.refusal(shape, dtype) if chosen == "cpp" else None
    if against is None:
        return chosen
    if backend == "auto":
        return "eager"
    raise BackendError(
        describe("backend cpp of conv_stack", against, "channel counts that fit its vectors", "Use backend='auto'")
    )


def _eager(
    image: Tensor, weights: Sequence[Tensor], bias: Optional, norm_weight: Optional, norm_bias: Optional, groups: int
) -> Tensor:
    hidden = image
    if image.dtype == torch.float32:
        hidden = hidden.contiguous(memory_format=torch.channels_last)  # the faster layout of libraries' convolutions
    for i, weight in enumerate(weights):
        hidden = _convolve(hidden, weight, bias[i])
        if i == len(weights) - 1:
            break
        scale, shift = norm_weight[i], norm_bias[i]
        if scale is None or shift is None:
            pass
        elif len(scale) == 1:
            hidden = F.group_norm(hidden, groups, scale[0], shift[0])
        else:
            hidden = F.group_norm(hidden, groups) * scale[:, :, None, None] + shift[:, :, None, None]
        hidden = F.gelu(hidden)
    return hidden.contiguous()


def _convolve(image: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """3x3 convolution of [B, C, H, W] with weights [S, C_out, C, 3, 3] (and bias [S, C_out]), S = 1 or B."""
    if len(weight) == 1:
        return F.conv2d(image, weight[0], None if bias is None else bias[0], padding=1)
    batch, _, height, width = image.shape
    stacked = F.conv2d(
        image.reshape(1, -1, height, width),
        weight.flatten(0, 1),
        None if bias is None else bias.flatten(),
        padding=1,
        groups=batch,
    )
    return stacked.reshape(batch, weight.shape[1], height, width)


def _parts(given: Sequence[Tensor], there: Sequence[bool], layers: int) -> tuple[list[Tensor | None], ...]:
    """bias, norm_weight and norm_bias from the tensors that were given and the list of which those are."""
    found = iter(given)
    every = [next(found) if is_there else None for is_there in there]
    return every[:layers], every[layers : 2 * layers - 1], every[2 * layers - 1 :]


def _fused(
    weights: Sequence[Tensor], given: Sequence[Tensor], there: Sequence[bool], groups: int, precision: str,
    adjoint: bool,
) -> tuple[FusedStack, StackWeights]:
    bias, norm_weight, norm_bias = (
        tuple(None if t is None else t.contiguous() for t in part) for part in _parts(given, there, len(weights))
    )
    channels = (weights[0].shape[2], *(weight.shape[1] for weight in weights))
    shape = StackShape(channels, tuple(n is not None for n in norm_weight), groups, precision)
    fused = FusedStack(shape, weights[0].dtype)
    return fused, StackWeights(fused.pack(tuple(weights), adjoint, "conv_stack"), bias, norm_weight, norm_bias)


@torch.library.custom_op("aafast::conv_stack", mutates_args=())
def _conv_stack(
    image: Tensor, weights: list[Tensor], given: list[Tensor], there: list[bool], groups: int, precision: str,
    saves: bool,
) -> tuple[Tensor, Tensor]:
    fused, packed = _fused(weights, given, there, groups, precision, adjoint=False)
    batch, _, height, width = image.shape
    out = image.new_empty(batch, fused.shape.channels[-1], height, width)
    saved = fused.saved(batch, height, width) if saves else image.new_empty(0)
    fused.forward((image.contiguous(),), packed, out, saved if saves else None)
    return out, saved


@_conv_stack.register_fake
def _(
    image: Tensor, weights: list[Tensor], given: list[Tensor], there: list[bool], groups: int, precision: str,
    saves: bool,
) -> tuple[Tensor, Tensor]:
    batch, _, height, width = image.shape
    hidden = [weight.shape[1] for weight in weights[:-1]]
    size = _stack.saved_size(hidden, height * width) if saves else None
    saved = image.new_empty(0) if size is None else image.new_empty(batch, size)
    return image.new_empty(batch, weights[-1].shape[1], height, width), saved


@torch.library.custom_op("aafast::conv_stack_backward", mutates_args=())
def _conv_stack_backward(
    d_out: Tensor,
    saved: Tensor,
    image: Tensor,
    weights: list[Tensor],
    given: list[Tensor],
    there: list[bool],
    groups: int,
    precision: str,
    want_image: bool,
    want_weights: bool,
) -> list[Tensor]:
    fused, packed = _fused(weights, given, there, groups, precision, adjoint=True)
    batch = len(image)
    d_image = torch.empty_like(image, memory_format=torch.contiguous_format) if want_image else None
    found = fused.gradients(batch, packed) if want_weights else None
    fused.backward((image.contiguous(),), packed, d_out.contiguous(), saved, d_image, found)
    gradients = [image.new_empty(0) if d_image is None else d_image]
    return gradients + ([] if found is None else _collected(found, len(weights[0])))


def _collected(found: StackGradients, sets: int) -> list[Tensor]:
    parts = (found.weight, found.bias, found.norm_weight, found.norm_bias)
    every = [t for part in parts for t in part if t is not None]
    return [t.sum(0, keepdim=True) if len(t) != sets else t for t in every]


@_conv_stack_backward.register_fake
def _(
    d_out: Tensor,
    saved: Tensor,
    image: Tensor,
    weights: list[Tensor],
    given: list[Tensor],
    there: list[bool],
    groups: int,
    precision: str,
    want_image: bool,
    want_weights: bool,
) -> list[Tensor]:
    d_image = torch.empty_like(image, memory_format=torch.contiguous_format) if want_image else image.new_empty(0)
    of_weights = [t.new_empty(t.shape) for t in (*weights, *given)] if want_weights else []
    return [d_image, *of_weights]


def _save(ctx, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    image, weights, given, ctx.there, ctx.groups, ctx.precision, _ = inputs
    ctx.layers, ctx.count = len(weights), len(given)
    ctx.save_for_backward(image, output[1], *weights, *given)
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _backward(ctx, d_out: Tensor | None, _: Tensor | None) -> tuple[object, ...]:
    image, saved, *rest = ctx.saved_tensors
    weights, given = rest[: ctx.layers], rest[ctx.layers :]
    nothing = (None, [None] * ctx.layers, [None] * ctx.count, None, None, None, None)
    if d_out is None:
        return nothing
    wants = ctx.needs_input_grad
    want_weights = _any(wants[1]) or _any(wants[2])
    found = _conv_stack_backward(
        d_out, saved, image, weights, given, ctx.there, ctx.groups, ctx.precision, bool(wants[0]), want_weights
    )
    d_image = found[0] if wants[0] else None
    if not want_weights:
        return d_image, *nothing[1:]
    return d_image, found[1 : 1 + ctx.layers], found[1 + ctx.layers :], None, None, None, None


def _any(flags: object) -> bool:
    return any(flags) if isinstance(flags, (list, tuple)) else bool(flags)


_conv_stack.register_autograd(_backward, setup_context=_save)
_dispatch.register("conv_stack", {"eager": _eager, "cpp": _conv_stack})
