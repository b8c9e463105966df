"""What an iteration does beside its convolutions, on a CUDA device: one pass each, so that memory is their floor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from aafast.bench.device_table import DeviceOp, Program, Tensors
from aafast.bench.floors import Work
from aafast.bench.op_table import OPS, Op
from aafast.engine.pointwise import POINTWISE
from aafast.ops import _arena, _native
from aafast.reference import ops as oracle
from aafast.reference.build import TASKS

SCALE, GAMMA = 0.7, 0.1
Z_RULE = {"pull": 0.3, "keep": 1 - 1e-4, "lr": 1e-2, "eps": 1.0, "step": 0.4}  # eps: a soft sign that keeps digits
ADAMW = {"lr": 1e-3, "weight_decay": 1e-2, "eps": 1e-8, "beta1": 0.9, "beta2": 0.999}
PAST, RIDGE = 5, 1e-3  # points that are mixed, and the ridge
FLOAT32 = ("strict",)
DECONV, DEBLUR, DEFOG = (TASKS[task].shape for task in ("deconv", "deblur", "defog"))
# The authors' MLP's last weight, 6400 x 1600, and 32 samples whose gradient is a sum of outer products.
OUTPUTS, INPUTS = 6400, 1600


class Parts(tuple[Tensor, ...]):
    """Tensors that move together."""

    def to(self, device: str) -> Parts:
        return Parts(tensor.to(device) for tensor in self)


def normal(count: int) -> Callable[[tuple[int, ...], torch.Generator], Parts]:
    """So many random tensors of the shape."""
    return lambda shape, generator: Parts(torch.randn(count, *shape, generator=generator))


def passes(count: float) -> Callable[[tuple[int, ...], int], Work]:
    """So many tensors of the shape, read or written once."""
    return lambda shape, stored: Work(0.0, count * stored * torch.Size(shape).numel())


def gradients(loss: Callable[..., Tensor], count: int) -> Callable[[Parts], Tensors]:
    """Derivatives of a loss of all tensors in the first `count`, in their type."""
    def run(parts: Parts) -> Tensors:
        with torch.enable_grad():
            leaves = [part.detach().requires_grad_() for part in parts[:count]]
            return torch.autograd.grad(loss(*leaves, *parts[count:]), leaves)

    return run


def _additive_loss(nominal: Tensor, f: Tensor, y: Tensor) -> Tensor:
    return SCALE / 2 * ((nominal + f - y).square().sum() + GAMMA * f.square().sum())


def _haze_loss(nominal: Tensor, light: Tensor, logit: Tensor, y: Tensor) -> Tensor:
    t = torch.sigmoid(logit)
    found = nominal * t + light * (1 - t)
    return SCALE / 2 * ((found - y).square().sum() + GAMMA * (found - nominal).square().sum())


def _seeds(name: str, loss: Callable[..., Tensor], count: int) -> Callable[[Parts, str, str], Program]:
    truth = gradients(loss, count)

    def program(parts: Parts, backend: str, precision: str) -> Program:
        def want() -> Tensors:
            return truth(Parts(part.double() for part in parts))

        if backend == "eager":
            return Program(lambda: truth(parts), want, (lambda: truth(parts),))
        found = tuple(torch.empty_like(part) for part in parts[:count])
        function = getattr(POINTWISE[backend](), name)

        def run() -> Tensors:
            function(SCALE, GAMMA, *parts, *found)
            return found

        return Program(run, want, (run,))

    return program


def _moved(towards: Tensor, x: Tensor, start: Tensor, z: Tensor) -> Tensors:
    rule = Z_RULE
    g = towards + rule["pull"] * (z - x)
    z = z * rule["keep"] - rule["lr"] * g / (g.abs() + rule["eps"])
    centred = x - start
    return z, centred - rule["step"] * (centred - z)


def _z_point(parts: Parts, backend: str, precision: str) -> Program:
    def want() -> Tensors:
        return _moved(*(part.double() for part in parts))

    if backend == "eager":
        return Program(lambda: _moved(*parts), want, (lambda: _moved(*parts),))
    towards, x, start, z = parts
    moved, point = z.clone(), torch.empty_like(z)

    def run() -> None:
        _native.invoke(
            "z_point_cuda", len(z), z[0].numel(), *Z_RULE.values(), towards.data_ptr(), 0, x.data_ptr(),
            start.data_ptr(), 0, _native.where(z), moved.data_ptr(), point.data_ptr(),
        )  # fmt: skip

    def result() -> Tensors:
        moved.copy_(z)
        run()
        return moved, point

    return Program(result, want, (run,))


def _adamw_inputs(shape: tuple[int, ...], generator: torch.Generator) -> Parts:
    """theta, first and second moment [1, outputs, inputs], left [B, outputs], right [B, inputs]."""
    batch, _, outputs, inputs = shape
    theta, first, second = torch.randn(3, 1, outputs, inputs, generator=generator)
    left, right = (torch.randn(batch, n, generator=generator) for n in (outputs, inputs))
    return Parts((0.02 * theta, first, second.square() + 0.1, left, right))


def _adamw_step(theta: Tensor, first: Tensor, second: Tensor, left: Tensor, right: Tensor) -> Tensors:
    """The first step of AdamW for a gradient sum_b left right^T."""
    rule, g = ADAMW, left.mT @ right
    first = rule["beta1"] * first + (1 - rule["beta1"]) * g
    second = rule["beta2"] * second + (1 - rule["beta2"]) * g * g
    size, unbias = rule["lr"] / (1 - rule["beta1"]), (1 - rule["beta2"]) ** 0.5
    decay = 1 - rule["lr"] * rule["weight_decay"]
    return theta * decay - size * first / (second.sqrt() / unbias + rule["eps"]), first, second


def _adamw(parts: Parts, backend: str, precision: str) -> Program:
    def want() -> Tensors:
        return _adamw_step(*(part.double() for part in parts))

    if backend == "eager":
        return Program(lambda: _adamw_step(*parts), want, (lambda: _adamw_step(*parts),))
    *state, left, right = parts
    moved = [part.clone() for part in state]
    iterations = torch.zeros(len(left), dtype=torch.int32, device=left.device)

    def run() -> None:
        _native.invoke(
            "adamw_outer_cuda", left.shape[1], right.shape[1], left.data_ptr(), right.data_ptr(),
            tuple(ADAMW.values()), (iterations.data_ptr(), 1, 0, len(left)), 0, _native.where(left),
            *(part.data_ptr() for part in moved),
        )  # fmt: skip

    def result() -> Tensors:
        for part, start in zip(moved, state, strict=True):
            part.copy_(start)
        run()
        return tuple(moved)

    return Program(result, want, (run,))


def _adamw_work(shape: tuple[int, ...], stored: int) -> Work:
    batch, _, outputs, inputs = shape
    return Work(2.0 * batch * outputs * inputs, 6.0 * stored * outputs * inputs)


def _ring_inputs(shape: tuple[int, ...], generator: torch.Generator) -> Parts:
    """Rings X, F [B, m, N], a point x and its image [B, N]."""
    batch, length = shape[0], torch.Size(shape[1:]).numel()
    X, G = torch.randn(2, batch, PAST, length, generator=generator)
    x, g = torch.randn(2, batch, length, generator=generator)
    return Parts((X, X + G, x, x + g))


def _fixed_point(parts: Parts, backend: str, precision: str) -> Program:
    X, ring, x, image = parts

    def want() -> Tensors:
        points, images = X.double(), ring.double()
        points[:, 0], images[:, 0] = x.double(), image.double()  # evaluation number m writes the first row
        gram = (images - points) @ (images - points).mT
        return (oracle.anderson_mix(points, images, gram, 0, PAST, RIDGE, 1.0, True)[0],)

    batch, length = x.shape
    mine = [part.clone() for part in (X, ring, (ring - X) @ (ring - X).mT, x)]
    best, status = x.new_full((batch,), torch.inf), torch.zeros(batch, dtype=torch.int8, device=x.device)
    iterations = torch.empty(batch, dtype=torch.int32, device=x.device)
    residuals, better = x.new_empty(PAST + 1, batch), torch.zeros_like(status)
    point, kept = torch.empty_like(x), torch.empty_like(x)
    rule = ("anderson", PAST, 1.0, RIDGE, True, 0.0, 0.0, 0.0, 2 * PAST, "best")

    def restore() -> None:
        """The state before evaluation number m: run again on what it left, the step would soon have nothing to mix."""
        iterations.fill_(PAST)
        best.fill_(torch.inf)
        mine[3].copy_(x)

    def step() -> None:
        restore()
        memory = [*(part.data_ptr() for part in mine[:3]), 0, 0, 0]
        size = _native.invoke("fixed_point_step_cuda_scratch", batch, length)
        scratch = _arena.take("fixed point", (size,), torch.float64, x.device)
        _native.invoke(
            "fixed_point_step_cuda", (batch, length), rule,
            (*memory, best.data_ptr(), status.data_ptr(), iterations.data_ptr()), image.data_ptr(),
            _native.where(x), scratch.data_ptr(), mine[3].data_ptr(),
            tuple(part.data_ptr() for part in (residuals, better, point, kept)),
        )  # fmt: skip

    def result() -> Tensors:
        step()
        return (mine[3],)

    return Program(result, want, (step, restore), (1.0, -1.0))


def _norm_inputs(shape: tuple[int, ...], generator: torch.Generator) -> Parts:
    """d, h [B, H W, C] and rows [B, 3, C] of coefficients."""
    batch, channels, height, width = shape
    d, h = torch.randn(2, batch, height * width, channels, generator=generator)
    return Parts((d, h, torch.randn(batch, 3, channels, generator=generator)))


def _activated(d: Tensor, h: Tensor, rows: Tensor) -> Tensor:
    return F.gelu(rows[:, :1] * h + rows[:, 1:2])


def _through(d: Tensor, h: Tensor, rows: Tensor) -> Tensor:
    return rows[:, :1] * d + rows[:, 1:2] * h + rows[:, 2:]


def _norm_pass(plain: Callable[..., Tensor]) -> Callable[[Parts, str, str], Program]:
    """A pass over a wide image that the Triton stack makes by itself, which the CUDA stack has inside its layers."""
    def program(parts: Parts, backend: str, precision: str) -> Program:
        dtype = torch.float16 if precision == "fast" else torch.float32
        d, h = (part.to(dtype) for part in parts[:2])
        rows = parts[2].to(dtype) if backend == "eager" else parts[2]

        def want() -> Tensors:
            return (plain(d.double(), h.double(), parts[2].double()),)

        if backend == "eager":
            return Program(lambda: (plain(d, h, rows),), want, (lambda: plain(d, h, rows),))
        run, result = _triton_pass(plain, d, h, rows, precision)
        return Program(result, want, (run,))

    return program


def _triton_pass(plain: Callable[..., Tensor], d: Tensor, h: Tensor, rows: Tensor, precision: str) -> tuple[Any, Any]:
    from aafast.kernels.conv_stack import TritonStack
    from aafast.kernels.stack_launches import Launches
    from aafast.kernels.stack_layout import Image
    from aafast.ops._dispatch import current_device
    from aafast.ops._stack_cuda import ARITHMETIC

    channels, out = h.shape[2], d.clone()
    layout = TritonStack([1, channels, 1], [True], 4, ARITHMETIC[precision])
    launches = Launches(layout, Image(1, h.shape[1]), len(h), None)
    flat = rows.flatten(1)
    images = [part.flatten(1) for part in (h, out)]

    def run() -> None:
        with current_device(h.device):
            if plain is _activated:
                launches.activate(images[0], flat, channels, images[1])
            else:
                launches.through_norm(images[1], images[0], flat, channels)

    def result() -> Tensors:
        out.copy_(d)
        run()
        return (out,)

    return run, result


def _public(op: Op, reads_and_writes: float, backends: tuple[str, ...]) -> DeviceOp:
    """A public operation of op_table.py, as a captured iteration runs it."""
    def inputs(shape: tuple[int, ...], generator: torch.Generator) -> _Arguments:
        return _Arguments(op.inputs(shape, generator))

    def program(given: _Arguments, backend: str, precision: str) -> Program:
        def run() -> Any:
            return op.function(*given.values, backend=backend)

        def each(value: Any) -> Tensors:
            return (value,) if isinstance(value, Tensor) else tuple(value)

        doubled = _Arguments(tuple(v.double() if isinstance(v, Tensor) else v for v in given.values))
        return Program(lambda: each(run()), lambda: each(op.oracle(*doubled.values)), (run,))

    small = (2, op.shape[1], 16, 12)
    bytes_ = passes(reads_and_writes)
    return DeviceOp(
        f"{op.name}, captured", op.shape, small, inputs, lambda s, b: Work(op.flops(s), bytes_(s, b).bytes), program,
        dict.fromkeys(backends, FLOAT32), {"strict": op.tolerance},
    )  # fmt: skip


class _Arguments:
    """Tensors and numbers that move together."""

    def __init__(self, values: tuple[Any, ...]) -> None:
        self.values = values

    def to(self, device: str) -> _Arguments:
        return _Arguments(tuple(v.to(device) if isinstance(v, Tensor) else v for v in self.values))


_BY_NAME = {op.name: op for op in OPS}
_ALL, _CUDA = ("eager", "cuda", "triton"), ("eager", "cuda")
_WIDE, _SMALL = (DECONV[0], 64, *DECONV[2:]), (2, 64, 9, 10)
_IN_HALF = dict.fromkeys(("eager", "triton"), ("fast", "strict"))
POINTWISE_OPS = (
    DeviceOp("seeds of a sum", DEBLUR, (2, 3, 9, 10), normal(3), passes(5), _seeds("additive_seeds", _additive_loss, 2),
             dict.fromkeys(_ALL, FLOAT32), {"strict": 2e-6}),
    DeviceOp("seeds of haze", DEFOG, (2, 3, 9, 10), normal(4), passes(7), _seeds("haze_seeds", _haze_loss, 3),
             dict.fromkeys(_ALL, FLOAT32), {"strict": 2e-6}),
    DeviceOp("z-step and the prox's point", DECONV, (2, 1, 16, 12), normal(4), passes(6), _z_point,
             dict.fromkeys(_CUDA, FLOAT32), {"strict": 2e-6}),
    DeviceOp("AdamW, gradient of rank B", (32, 1, OUTPUTS, INPUTS), (3, 1, 40, 70), _adamw_inputs, _adamw_work, _adamw,
             dict.fromkeys(_CUDA, FLOAT32), {"strict": 1e-5}),
    # All rows but the one that is overwritten, the point and its image in; the row, the next point and the best out.
    DeviceOp("fixed-point step", DECONV, (2, 1, 16, 12), _ring_inputs, passes(2 * PAST + 5), _fixed_point,
             {"cuda": FLOAT32}, {"strict": 1e-4}),
    DeviceOp("GroupNorm and GELU", _WIDE, _SMALL, _norm_inputs, passes(2), _norm_pass(_activated), _IN_HALF,
             {"fast": 1e-3, "strict": 1e-5}),
    DeviceOp("GroupNorm's gradient", _WIDE, _SMALL, _norm_inputs, passes(3), _norm_pass(_through), _IN_HALF,
             {"fast": 1e-3, "strict": 1e-5}),
    _public(_BY_NAME["z_step"], 3, _ALL),
    _public(_BY_NAME["anderson_mix"], 11, ("cuda", "triton")),  # plain torch allocates, which a capture forbids
    _public(_BY_NAME["correlate_time"], 2, _CUDA),
    _public(_BY_NAME["correlate_planes"], 2, _CUDA),
)  # fmt: skip
