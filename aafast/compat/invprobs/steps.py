"""The z- and theta-gradients of eq. 7 on the authors' mismatch networks, by the CPU engine where it can."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from ... import ops
from ...checks import COMPUTE_DTYPES
from ...engine.mismatch import FusedMismatch, ThetaGradient, _FusedConv, _FusedHaze
from ...engine.place import Place
from ...engine.problem import FusedProblem
from ...engine.theta_stack import Names
from ...nets.residual import Theta
from ...physics import ForwardModel
from ...tasks import settings
from . import network_hqs as nets
from .forward_models import GaussianBlur
from .layers import GROUPS, Stack, StackTensors

_PLANE = "plane"  # the wavelet's features, beside theta


class Losses:
    """The two losses of a batch: mse(y, y_hat) + gamma mse(y_hat, A0 z), and that plus lamb mse(x, z).

    netA: called `netA(z, A0) -> (A0 z, y_hat)`, in the mode it is in. criteria: the loss, called with two images.
    y: [B, C, H, W]; z and x like it.
    """

    def __init__(self, netA: nn.Module, A0: Any, y: Tensor, gamma: float, lamb: float, criteria: Any) -> None:
        self.netA, self.A0, self.y, self.criteria = netA, A0, y, criteria
        self.gamma, self.lamb = gamma, lamb
        self._engine = None if refusal(netA, A0, y, criteria) else _Engine(netA, A0, y, gamma, lamb)

    def gradient_z(self, z: Tensor, x: Tensor) -> Tensor:
        """The gradient of the second loss in z; theta's gradients stay as they are."""
        if self._engine is not None:
            return self._engine.gradient_z(z, x)
        with torch.enable_grad():
            point = z.detach().requires_grad_()
            loss = self._misfit(point) + self.lamb * self.criteria(x.detach(), point)
            return torch.autograd.grad(loss, point)[0]

    def fill_theta_gradients(self, z: Tensor) -> None:
        """Add the gradient of the first loss to `.grad` of netA's parameters."""
        if self._engine is not None:
            self._engine.fill_theta_gradients(z)
            return
        with torch.enable_grad():
            self._misfit(z.detach()).backward()

    def _misfit(self, z: Tensor) -> Tensor:
        y0, yk = self.netA(z, self.A0)
        return self.criteria(self.y, yk) + self.gamma * self.criteria(yk, y0)


def refusal(netA: nn.Module, A0: Any, y: Tensor, criteria: Any) -> str | None:
    """Why the engine cannot take this batch, or None."""
    kind = _KINDS.get(type(netA))
    if kind is None:
        return f"its mismatch network is a {type(netA).__name__}"
    if type(criteria) is not nn.MSELoss or criteria.reduction != "mean":
        return "its loss is not the mean squared error"
    if any(part._forward_hooks or part._forward_pre_hooks for part in netA.modules()):
        return "hooks on the mismatch network"
    wanted = y.dtype, y.device
    if y.device.type != "cpu" or y.dtype not in COMPUTE_DTYPES or any(
        (value.dtype, value.device) != wanted for value in netA.parameters()
    ):
        return "it runs on CPU tensors of one type, float32 or float64"
    if ops.select("conv_stack", "auto", y.device, y.dtype) != "cpp":
        return "the native module is not in use"
    for stack, names in kind.stacks(netA):
        normed = tuple(name is not None for name in names.norms)
        if stack.peculiarity() is not None or stack.normed() != normed:
            return "layers other than the published ones"
    return kind.against(A0, y)


class _Engine:
    """The gradients by `aafast.engine`: theta under the engine's names, the network's own graph behind it."""

    def __init__(self, netA: nn.Module, A0: Any, y: Tensor, gamma: float, lamb: float) -> None:
        self.netA, self.given, self.kind = netA, A0, _KINDS[type(netA)]
        self.y, self.A0 = y.contiguous(), self.kind.model(A0)
        self.config = settings("deblur", "adaptive-lu", theta_scope="batch", gamma=float(gamma), lam=float(lamb))

    def _problem(self, theta: Theta) -> FusedProblem:
        place = Place("cpp", self.y.device, self.y.dtype)
        return FusedProblem(self.y, self.A0, self.kind.fused(theta, place), self.config)

    def gradient_z(self, z: Tensor, x: Tensor) -> Tensor:
        with torch.no_grad():
            theta = _sets(self.kind.applied(self.netA, self.given))
            return self._problem(theta).gradient_z(theta, z.contiguous(), x)

    def fill_theta_gradients(self, z: Tensor) -> None:
        with torch.enable_grad():
            tensors = self.kind.applied(self.netA, self.given)
        with torch.no_grad():
            theta = _sets(tensors)
            found = self._problem(theta).theta_gradient(theta, z.contiguous())
        learning = [name for name in found if tensors[name].requires_grad]
        if learning:
            gradients = [found[name].view_as(tensors[name]) for name in learning]
            torch.autograd.backward([tensors[name] for name in learning], gradients)


def _sets(tensors: Theta) -> Theta:
    """theta as the engine takes it: one set for all samples, without a graph."""
    return {name: value.detach()[None] for name, value in tensors.items()}


class _Network(NamedTuple):
    """What a FusedMismatch reads of a network: theta's shapes, the groups, and the depth of a scene."""

    start_values: Theta
    groups: int

    def _depth(self, z: Tensor, A0: ForwardModel) -> Tensor:
        return cast(Tensor, A0.features())


def _network(theta: Theta) -> Any:
    return _Network({name: value for name, value in theta.items() if name != _PLANE}, GROUPS)


class _FusedPlane(_FusedConv):
    """f = stack([A0 z, plane]): the plane is a part of theta, whose own gradient is the network's to carry on."""

    def _planes(self, theta: Theta, nominal: Tensor, A0: ForwardModel) -> tuple[Tensor, ...]:
        return nominal, theta[_PLANE][0]

    def _theta_beside(
        self, theta: Theta, z: Tensor, A0: ForwardModel, d_f: Tensor, d_in: Tensor | None, gradient: ThetaGradient
    ) -> None:
        gradient[_PLANE] = cast(Tensor, d_in)[:, -1:]


class _Matrix(ForwardModel):
    """Dense matrices [B, 1, T, T] on sections [B, 1, T, X]."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix

    def A(self, x: Tensor) -> Tensor:
        return self.matrix @ x

    def A_adjoint(self, y: Tensor) -> Tensor:
        return self.matrix.mT @ y


class _Depth(ForwardModel):
    """The identity, with a depth map [B, 1, H, W] to tell."""

    def __init__(self, depth: Tensor) -> None:
        self.depth = depth

    def A(self, x: Tensor) -> Tensor:
        return x

    def A_adjoint(self, y: Tensor) -> Tensor:
        return y

    def features(self) -> Tensor:
        return self.depth


def _named(names: Names, tensors: StackTensors) -> Theta:
    """The tensors of one call of a stack under the engine's names."""
    layers: list[tuple[str | None, Tensor | None, Tensor | None]] = []
    layers += zip(names.convs, tensors.weight, tensors.bias, strict=True)
    layers += zip(names.norms, tensors.norm_weight, tensors.norm_bias, strict=True)
    found: Theta = {}
    for name, *pair in layers:
        for part, value in zip(("weight", "bias"), pair, strict=True):
            if name is not None and value is not None:
                found[f"{name}_{part}"] = value
    return found


class _Blur:
    """How the engine sees a network: its stacks by name, theta of one call, and A0."""

    @staticmethod
    def fused(theta: Theta, place: Place) -> FusedMismatch:
        return _FusedConv(_network(theta), place)

    @staticmethod
    def stacks(netA: Any) -> list[tuple[Stack, Names]]:
        return [(netA.data_layer, _FusedConv.NAMES)]

    @classmethod
    def applied(cls, netA: Any, A0: Any) -> Theta:
        found: Theta = {}
        for stack, names in cls.stacks(netA):
            found |= _named(names, stack.applied())
        return found

    @staticmethod
    def against(A0: Any, y: Tensor) -> str | None:
        if not isinstance(A0, GaussianBlur) or A0._forward_hooks or A0._forward_pre_hooks:
            return "A0 is not a GaussianBlur of this module"
        kernel = A0.gaussian_kernel
        return None if (kernel.dtype, kernel.device) == (y.dtype, y.device) else "A0 has another type than y"

    @staticmethod
    def model(A0: Any) -> ForwardModel:
        return A0.model


class _Kernel(_Blur):
    @staticmethod
    def fused(theta: Theta, place: Place) -> FusedMismatch:
        return _FusedPlane(_network(theta), place)

    @classmethod
    def applied(cls, netA: Any, A0: Any) -> Theta:
        return {**super().applied(netA, A0), _PLANE: netA.features(A0)}

    @staticmethod
    def against(A0: Any, y: Tensor) -> str | None:
        time = y.shape[2]
        fits = isinstance(A0, Tensor) and A0.shape == (len(y), 1, time, time) and A0.dtype == y.dtype
        return None if fits and not A0.requires_grad else "A0 is not one matrix a sample"

    @staticmethod
    def model(A0: Any) -> ForwardModel:
        return _Matrix(A0)


class _Fog(_Blur):
    @staticmethod
    def fused(theta: Theta, place: Place) -> FusedMismatch:
        return _FusedHaze(_network(theta), place)

    @staticmethod
    def stacks(netA: Any) -> list[tuple[Stack, Names]]:
        return [(netA.trans_layer, _FusedHaze.TRANSMISSION), (netA.light_layer, _FusedHaze.LIGHT)]

    @staticmethod
    def against(A0: Any, y: Tensor) -> str | None:
        fits = isinstance(A0, Tensor) and A0.shape == (len(y), 1, *y.shape[2:]) and A0.dtype == y.dtype
        return None if fits and not A0.requires_grad else "D is not one depth map a sample"

    @staticmethod
    def model(A0: Any) -> ForwardModel:
        return _Depth(A0)


_KINDS: dict[type[nn.Module], type[_Blur]] = {
    nets.netA_deblur: _Blur, nets.netA_deblur_sn: _Blur, nets.netA_kernel: _Kernel, nets.netA_kernel_sn: _Kernel,
    nets.netA_foggy: _Fog, nets.netA_fogging_sn: _Fog,
}


def step(optimiser: torch.optim.Optimizer) -> None:
    """`optimiser.step()`, an AdamW on the CPU by torch's fused kernel: one pass over the memory, the same rule."""
    with _fused(optimiser):
        optimiser.step()


@contextmanager
def _fused(optimiser: torch.optim.Optimizer) -> Iterator[None]:
    chosen = [group for group in optimiser.param_groups if _may_fuse(optimiser, group)]
    for group in chosen:
        group["fused"] = True
    try:
        yield
    finally:
        for group in chosen:
            group["fused"] = None


def _may_fuse(optimiser: torch.optim.Optimizer, group: dict[str, Any]) -> bool:
    if type(optimiser) is not torch.optim.AdamW or group["fused"] is not None or group["foreach"]:
        return False
    if group["capturable"] or group["differentiable"] or isinstance(group["lr"], Tensor):
        return False
    return all(value.device.type == "cpu" and value.dtype in COMPUTE_DTYPES for value in group["params"])
