"""A model made ready to run: packed weights and native stacks, built once while its weights stay as they are."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass

import torch
from torch import Tensor

from ..adaptive.models import Model
from ..nets.residual import MismatchNetwork
from ..nets.spectral_norm import Written
from ..ops import _native
from ..ops._stack import FusedStack, StackShape, StackWeights
from ..ops._stacks import refusal
from .mismatch import FUSED, FusedMismatch
from .place import Place


@dataclass(frozen=True, eq=False)
class Plan:
    """The packed proximal network of a model, its step exp(eta), and its mismatch network; shared by threads."""

    prox: FusedStack
    weights: StackWeights
    step: float
    skip: bool
    place: Place
    made_from: tuple[Tensor | Written, ...]  # copies of the weights; on a device, marks of them
    settings: tuple[object, ...]

    def apply_prox(self, images: tuple[Tensor, ...], status: Tensor | None = None) -> Tensor:
        """R_rho of the images' planes, [B, C, H, W]."""
        first = images[0]
        out = self.place.empty(len(first), self.prox.shape.channels[-1], *first.shape[2:])
        self.prox.forward(images, self.weights, out, status=status)
        return out.add_(first[:, : out.shape[1]]) if self.skip else out

    def mismatch(self, network: MismatchNetwork) -> FusedMismatch:
        """A mismatch network made ready afresh: what it derives from theta belongs to one solve."""
        return FUSED[type(network)](network, self.place)

    @property
    def bytes(self) -> int:
        kept = [value for value in (self.weights.packed, *self.made_from) if isinstance(value, Tensor)]
        return sum(tensor.numel() * tensor.itemsize for tensor in kept)


def prox_shape(model: Model) -> StackShape:
    """The stack of a model's proximal network."""
    convs, norms = model.prox.convolutions(), model.prox.norms()
    return StackShape(
        (convs[0].in_channels, *(conv.out_channels for conv in convs)),
        tuple(norm is not None for norm in norms),
        model.config.groups,
        model.precision,
    )


def reason_against(model: Model, dtype: torch.dtype, backend: str) -> str | None:
    """Why a model cannot be planned for a backend, or None: another network, hooks, or channel counts it has not."""
    if backend != "triton" and _native.load()[0] is None:
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
        channels = (planes + 1, width, width, planes)
        shapes.append(StackShape(channels, (True, True), model.config.groups, model.precision))
    for shape in shapes:
        against = refusal(shape, dtype, backend)
        if against is not None:
            return f"{against} (its channels are {', '.join(map(str, shape.channels))})"
    return None


_lock = threading.Lock()
_plans: weakref.WeakKeyDictionary[Model, dict[str, Plan]] = weakref.WeakKeyDictionary()  # of each backend


def _tensors(model: Model) -> list[Tensor]:
    norms = [value for name, value in model.prox.named_buffers() if name.endswith("sigma")]
    return [tensor.detach() for tensor in (*model.prox.parameters(), *norms, model.eta)]


def _settings(model: Model, backend: str) -> tuple[object, ...]:
    """What a plan depends on beside the weights."""
    isa = _native.invoke("selected_isa") if backend == "cpp" else ""
    return model.precision, isa, model.prox.skip


def _is_still(plan: Plan, model: Model) -> bool:
    """Whether a plan is that of the model as it is.

    On a CPU it looks at the values, since writes through `.data` leave no trace. On a device that would wait for it.
    """
    now = _tensors(model)
    if plan.settings != _settings(model, plan.place.backend) or len(now) != len(plan.made_from):
        return False
    return all(
        made.is_still(tensor) if isinstance(made, Written)
        else made.dtype == tensor.dtype and made.device == tensor.device and torch.equal(made, tensor)
        for made, tensor in zip(plan.made_from, now, strict=True)
    )


@torch.no_grad()
def plan_of(model: Model, backend: str = "cpp") -> Plan:
    """The plan of a model, built again where its weights, precision, device or instruction set have changed."""
    with _lock:
        kept = _plans.get(model, {}).get(backend)
    if kept is not None and _is_still(kept, model):
        return kept
    built = _build(model, backend)
    with _lock:
        _plans.setdefault(model, {})[backend] = built
    return built


def _build(model: Model, backend: str) -> Plan:
    shape = prox_shape(model)
    place = Place(backend, model.eta.device, model.eta.dtype, model.precision)
    on_device = place.device.type != "cpu"
    made_from = tuple(Written.now(tensor) if on_device else tensor.clone() for tensor in _tensors(model))
    fused = place.stack(shape.channels, shape.normed, shape.groups)
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
    return Plan(fused, packed, step, model.prox.skip, place, made_from, _settings(model, backend))


def plan_bytes() -> int:
    """Bytes that plans hold."""
    with _lock:
        return sum(plan.bytes for plans in _plans.values() for plan in plans.values())


def release_plans() -> None:
    """Forget the plans; the next solve builds what it needs."""
    with _lock:
        _plans.clear()
