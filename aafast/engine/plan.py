"""A model made ready to run: packed weights and native stacks, built once while its weights stay as they are."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass

import torch
from torch import Tensor

from ..adaptive.models import Model
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
    made_from: tuple[Tensor, ...]  # copies of the weights
    settings: tuple[object, ...]

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
        return sum(tensor.numel() * tensor.itemsize for tensor in (self.weights.packed, *self.made_from))


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
    networks = (model.prox, *(() if residual is None else (residual,)))
    if any(network._forward_hooks or network._forward_pre_hooks for network in networks):
        return "hooks are registered on its networks, and the engine does not call them"
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


def _tensors(model: Model) -> list[Tensor]:
    norms = [value for name, value in model.prox.named_buffers() if name.endswith("sigma")]
    return [tensor.detach() for tensor in (*model.prox.parameters(), *norms, model.eta)]


def _settings(model: Model) -> tuple[object, ...]:
    """What a plan depends on beside the weights."""
    module, _ = _native.load()
    return model.precision, module.selected_isa(), model.prox.skip


def _is_still(plan: Plan, model: Model) -> bool:
    """Whether a plan is that of the model as it is. It looks at the values: writes through `.data` leave no trace."""
    now = _tensors(model)
    return (
        plan.settings == _settings(model)
        and len(now) == len(plan.made_from)
        and all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(plan.made_from, now, strict=True))
    )


@torch.no_grad()
def plan_of(model: Model) -> Plan:
    """The plan of a model, built again where its weights, precision or instruction set have changed."""
    with _lock:
        kept = _plans.get(model)
    if kept is not None and _is_still(kept, model):
        return kept
    built = _build(model)
    with _lock:
        _plans[model] = built
    return built


def _build(model: Model) -> Plan:
    dtype, shape = model.eta.dtype, prox_shape(model)
    made_from = tuple(tensor.clone() for tensor in _tensors(model))
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
    return Plan(fused, packed, step, model.prox.skip, shape.tile, dtype, made_from, _settings(model))


def held_bytes() -> int:
    """Bytes that plans and their working memory hold."""
    with _lock:
        return sum(plan.bytes for plan in _plans.values()) + _arena.held_bytes()


def release() -> None:
    """Give plans and working memory back; the next solve builds what it needs."""
    with _lock:
        _plans.clear()
    _arena.release()
