"""A model made ready to run: packed weights and native stacks, built once while its weights stay as they are."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass

import torch
from torch import Tensor

from ..adaptive.models import Model
from ..nets.spectral_norm import Written
from ..ops import _arena, _native
from ..ops._stack import FAST, STRICT, FusedStack, StackShape, StackWeights, refusal
from .mismatch import FUSED, FusedMismatch

TILES = {"fast": FAST, "strict": STRICT}


@dataclass(frozen=True)
class Plan:
    """The packed proximal network of a model, its step exp(eta), and its mismatch network; shared by threads."""

    prox: FusedStack
    weights: StackWeights
    step: float
    skip: bool
    tile: int
    dtype: torch.dtype
    stamp: tuple[object, ...]

    def apply_prox(self, images: tuple[Tensor, ...]) -> Tensor:
        """R_rho of the images' planes, [B, C, H, W]."""
        first = images[0]
        out = torch.empty(len(first), self.prox.shape.channels[-1], *first.shape[2:], dtype=self.dtype)
        self.prox.forward(images, self.weights, out)
        return out.add_(first[:, : out.shape[1]]) if self.skip else out

    def mismatch(self, model: Model) -> FusedMismatch:
        """A fresh mismatch network: what it derives from theta belongs to one solve."""
        network = model.residual
        return FUSED[type(network)](network, self.dtype, self.tile)

    @property
    def bytes(self) -> int:
        return self.weights.packed.numel() * self.weights.packed.itemsize


def prox_shape(model: Model) -> StackShape:
    """The stack of a model's proximal network."""
    convs, norms = model.prox.convolutions(), model.prox.norms()
    return StackShape(
        (convs[0].in_channels, *(conv.out_channels for conv in convs)),
        tuple(norm is not None for norm in norms),
        model.config.groups,
        TILES[model.precision],
    )


def reason_against(model: Model, dtype: torch.dtype) -> str | None:
    """Why a model cannot be planned, or None: another network, hooks, or channel counts that fit no vector."""
    if _native.load()[0] is None:
        return _native.load()[1]
    against = model.prox.peculiarity()
    if against is not None:
        return against
    residual = getattr(model, "residual", None)
    if residual is not None and type(residual) not in FUSED:
        return f"its mismatch network is a {type(residual).__name__}, which has no fused form"
    shapes = [prox_shape(model)]
    if residual is not None and residual.start_values:
        width, planes = model.config.residual_channels, model.config.image_channels
        shapes.append(StackShape((planes + 1, width, width, planes), (True, True), model.config.groups))
    for shape in shapes:
        against = refusal(shape, dtype)
        if against is not None:
            return f"{against} (its channels are {', '.join(map(str, shape.channels))})"
    return None


_lock = threading.Lock()
_plans: weakref.WeakKeyDictionary[Model, Plan] = weakref.WeakKeyDictionary()


def _stamp(model: Model) -> tuple[object, ...]:
    """What a plan was made from: the weights by memory and count of writes, and the settings beside them."""
    module, _ = _native.load()
    tensors = [tensor for tensor in (*model.prox.parameters(), *model.prox.buffers(), model.eta)]
    return (model.precision, module.selected_isa(), *(Written.now(tensor) for tensor in tensors))


def _same(stamp: tuple[object, ...], model: Model) -> bool:
    now = _stamp(model)
    return len(now) == len(stamp) and all(
        old.count == new.count and old.memory.data_ptr() == new.memory.data_ptr()
        if isinstance(old, Written) and isinstance(new, Written)
        else old == new
        for old, new in zip(stamp, now, strict=True)
    )


@torch.no_grad()
def plan_of(model: Model) -> Plan:
    """The plan of a model, built again where its weights, precision or instruction set have changed."""
    with _lock:
        kept = _plans.get(model)
    if kept is not None and _same(kept.stamp, model):
        return kept
    built = _build(model)
    with _lock:
        _plans[model] = built
    return built


def _build(model: Model) -> Plan:
    dtype, shape = model.eta.dtype, prox_shape(model)
    fused = FusedStack(shape, dtype)
    convs, norms = model.prox.convolutions(), model.prox.norms()
    weights = tuple(weight.detach() for weight in model.prox.effective_weights())
    packed = StackWeights(
        fused.pack(weights, adjoint=False),
        tuple(None if conv.bias is None else conv.bias.detach()[None].clone() for conv in convs),
        *(
            tuple(None if norm is None else getattr(norm, part).detach()[None].clone() for norm in norms)
            for part in ("weight", "bias")
        ),
    )
    step = float(torch.exp(model.eta))
    return Plan(fused, packed, step, model.prox.skip, shape.tile, dtype, _stamp(model))


def held_bytes() -> int:
    """Bytes that plans and their working memory hold."""
    with _lock:
        return sum(plan.bytes for plan in _plans.values()) + _arena.held_bytes()


def release() -> None:
    """Give plans and working memory back; the next solve builds what it needs."""
    with _lock:
        _plans.clear()
    _arena.release()
