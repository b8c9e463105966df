"""deepinv: our models as its reconstructors, its linear physics as forward models, and ours as its physics."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..adaptive import Model
from ..errors import InputError, MissingDependency, describe, require
from ..physics import (
    ForwardModel,
    GaussianBlur,
    GivenForwardModel,
    Haze,
    WaveletConvolution,
    as_forward_model,
)
from ..solvers import Solution

IMAGE_AXES = 4  # of what deepinv keeps per sample: [B, C, H, W] and more
_NOISE = "noise_model"
_DEVICE = "_device_holder"  # a buffer of deepinv's that is no parameter


def forward_model(physics: Any, per_sample: Sequence[str] | None = None) -> ForwardModel:
    """A deepinv.physics.LinearPhysics as forward model, without its noise.

    Parameters with one row per sample go along with their samples: those named by per_sample ("filter", "mask", ...),
    or, where None, every parameter of four axes or more with more than one row, deepinv's layout of a batch. Physics
    with a singular value decomposition have a closed form, so the z solver "exact" takes them. One that `physics`
    made gives back its forward model. Raises InputError on what is no linear physics, MissingDependency.
    """
    kinds = _kinds()
    if isinstance(physics, (kinds.Linear, kinds.Affine)):
        return physics.A0
    if not isinstance(physics, _library().physics.LinearPhysics):
        wanted = "a deepinv.physics.LinearPhysics"
        raise InputError(describe("physics", type(physics).__name__, wanted, "Use a linear one, or a model of aafast"))
    if per_sample is None:
        chosen = [name for name, value in _parameters(physics) if value.ndim >= IMAGE_AXES and len(value) > 1]
    else:
        known = dict(_parameters(physics))
        chosen = list(per_sample)
        unknown = [name for name in chosen if name not in known]
        if unknown:
            raise InputError(describe("per_sample", unknown, f"some of {sorted(known)}", "Correct the names"))
    return PhysicsForwardModel(physics, frozenset(chosen))


def physics(A0: Any, **settings: Any) -> Any:
    """A forward model as deepinv physics, for its data terms, algorithms, losses and trainer.

    A0: a forward model; a linear one gives a LinearPhysics, whose proximal operator is the closed form where A0 has
    one, an affine one (Haze) a Physics. settings: deepinv's own, such as noise_model. Its parameters follow the
    module's device and dtype, and can be set by name as deepinv's generators do: wavelet of WaveletConvolution,
    kernel of GaussianBlur, depth, beta and airlight of Haze. Raises InputError, MissingDependency.
    """
    model = as_forward_model(A0)
    kinds = _kinds()
    return (kinds.Linear if model.linear else kinds.Affine)(model, **settings)


def reconstructor(model: Model, A0: Any = None) -> Any:
    """A model as deepinv.models.Reconstructor, called `x = reconstructor(y, physics)`.

    deepinv hands a reconstructor the physics that made y. A0 is the nominal model, which may be wrong, and all that
    the model is told: a forward model, a deepinv physics, or a function from the physics at hand to one of these.
    With A0=None the model is told the physics itself, so the truth.

    `solve(y, physics)` returns the whole Solution. Gradients reach the model's weights where they are recorded.
    Raises InputError, MissingDependency.
    """
    return _kinds().Reconstructor(model, A0)


def _library() -> ModuleType:
    try:
        return require("deepinv", extra="deepinv")
    except RuntimeError as error:  # how a torchvision that does not fit torch fails to import
        what = f"an installation that fails ({error})"
        do = "Install torch and torchvision from one package index, so that both are for CUDA or neither is"
        raise MissingDependency(describe("package deepinv", what, "deepinv to be importable", do)) from error


def _parameters(module: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers of a physics' forward map by name."""
    for named in (module.named_parameters, module.named_buffers):
        for name, value in named():
            if _NOISE not in name.split(".") and name.rpartition(".")[2] != _DEVICE:
                yield name, value


class PhysicsForwardModel(GivenForwardModel):
    """The forward map of a linear deepinv physics; made by `forward_model`."""

    def __init__(self, physics: Any, per_sample: frozenset[str]) -> None:
        super().__init__(physics)
        self.linear, self.per_sample = True, per_sample

    def solve_normal(self, rhs: Tensor, mu: float) -> Tensor | None:
        if not isinstance(self.given, _library().physics.DecomposablePhysics):
            return None
        # prox of gamma / 2 ||A z||^2 at rhs / mu, gamma = 1 / mu: (A^T A / mu + I) z = rhs / mu.
        return self.given.prox_l2(rhs / mu, torch.zeros_like(self.given.A(rhs)), 1 / mu)

    def select(self, index: int) -> ForwardModel:
        return self.take(torch.tensor([index]))

    def take(self, index: Tensor) -> ForwardModel:
        if not self.per_sample:
            return self

        def rows(name: str, value: Tensor) -> Tensor:
            return value[index.to(value.device)] if name in self.per_sample else value

        return PhysicsForwardModel(_changed(self.given, rows), self.per_sample)

    def tensors(self) -> dict[str, Tensor]:
        return dict(_parameters(self.given))

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> ForwardModel:
        """A copy on that device and of that dtype; the physics itself, and its noise, stay as they are."""
        place = None if device is None else torch.empty(0, device=device).device

        def moved(name: str, value: Tensor) -> Tensor:
            kind = dtype if dtype is None or value.is_floating_point() else None
            if dtype is not None and value.is_complex():
                kind = dtype.to_complex()
            return value.to(device=place, dtype=kind)

        if all(moved(name, value) is value for name, value in _parameters(self.given)):
            return self
        return PhysicsForwardModel(_changed(self.given, moved), self.per_sample)


def _changed(module: torch.nn.Module, change: Callable[[str, Tensor], Tensor], prefix: str = "") -> torch.nn.Module:
    """A shallow copy of a module with each tensor of its forward map replaced by change(name, tensor)."""
    changed = copy.copy(module)
    for kind in ("_parameters", "_buffers"):
        tensors = dict(getattr(module, kind))
        tensors.update({name: change(prefix + name, value) for name, value in tensors.items() if value is not None})
        setattr(changed, kind, tensors)
    changed._modules = {
        name: part if part is None or name == _NOISE else _changed(part, change, f"{prefix}{name}.")
        for name, part in module._modules.items()
    }
    return changed


def _updated(A0: ForwardModel, values: dict[str, Any]) -> ForwardModel:
    """A forward model of the same kind with the given parameters of its own replaced."""

    def new(name: str, old: Tensor) -> Tensor:
        value = values.get(name)
        return old if value is None else torch.as_tensor(value).to(old)

    if isinstance(A0, WaveletConvolution) and values.get("wavelet") is not None:
        return WaveletConvolution(new("wavelet", A0.wavelet))
    if isinstance(A0, GaussianBlur) and values.get("kernel") is not None:
        return GaussianBlur(new("kernel", A0.kernel))
    if isinstance(A0, Haze) and any(values.get(name) is not None for name in ("depth", "beta", "airlight")):
        return Haze(new("depth", A0.depth), new("beta", A0.beta.flatten()), new("airlight", A0.airlight.flatten(1)))
    return A0


class _Kinds(NamedTuple):
    """Classes that derive from deepinv's."""

    Linear: Any
    Affine: Any
    Reconstructor: Any


def _physics(base: Any) -> Any:
    """A class of physics, derived from one of deepinv's, that applies a forward model of ours."""

    class ForwardModelPhysics(base):
        """A forward model as physics."""

        def __init__(self, A0: ForwardModel, **settings: Any) -> None:
            super().__init__(**settings)
            tensors = list(A0.tensors().values())
            like = torch.empty_like(tensors[0][:0]) if tensors else torch.empty(0)
            self.register_buffer("_like", like.detach(), persistent=False)
            self.A0 = A0

        def _apply(self, fn: Any, recurse: bool = True) -> Any:
            super()._apply(fn, recurse)
            if "A0" in self.__dict__:  # not yet while the base class sets itself up
                self.A0 = self.A0.to(device=self._like.device, dtype=self._like.dtype)
            return self

        def update_parameters(self, **values: Any) -> None:
            self.A0 = _updated(self.A0, values)

        def A(self, x: Tensor, **values: Any) -> Tensor:
            self.update_parameters(**values)
            return self.A0.A(x)

        def A_adjoint(self, y: Tensor, **values: Any) -> Tensor:
            self.update_parameters(**values)
            return self.A0.A_adjoint(y)

        def A_vjp(self, x: Tensor, v: Tensor) -> Tensor:
            return self.A0.A_adjoint(v)

    return ForwardModelPhysics


@functools.cache
def _kinds() -> _Kinds:
    """The classes that can only be made where deepinv is installed."""
    library = _library()
    linear: Any = _physics(library.physics.LinearPhysics)
    reconstructor: Any = library.models.Reconstructor

    class LinearForwardModelPhysics(linear):
        """A linear forward model as physics."""

        def prox_l2(self, z: Any, y: Tensor, gamma: Any, *rest: Any, **settings: Any) -> Tensor:
            """argmin_x gamma / 2 ||A x - y||^2 + 1/2 ||x - z||^2, in closed form where there is one."""
            if not isinstance(gamma, Tensor) or (gamma.numel() == 1 and not gamma.requires_grad):
                weight = 1 / float(gamma)
                pulled = self.A0.A_adjoint(y)
                solved = self.A0.solve_normal(pulled if z is None else pulled + weight * z, weight)
                if solved is not None:
                    return solved
            return super().prox_l2(z, y, gamma, *rest, **settings)

    class ModelReconstructor(reconstructor):
        """A model of aafast with its nominal forward model as deepinv reconstructor."""

        def __init__(self, model: Model, A0: Any) -> None:
            super().__init__()
            self.model = model
            # Not as a submodule: the nominal model is no part of the weights.
            given = A0 if A0 is None or _is_function(A0) else _as_given(A0)
            if isinstance(given, PhysicsForwardModel):  # what sets the physics' parameters later sets the truth's
                held = _changed(given.given, lambda name, value: value.detach().clone())
                given = PhysicsForwardModel(held, given.per_sample)
            object.__setattr__(self, "A0", given)

        def nominal(self, physics: Any = None) -> ForwardModel:
            """The forward model that the model is told when this physics made the data."""
            given = self.A0
            if given is None:
                if physics is None:
                    wanted = "the physics, as no nominal A0 was given"
                    raise InputError(describe("physics", None, wanted, "Call it with (y, physics)"))
                given = _as_given(physics)
            return _as_given(given(physics)) if _is_function(given) else given

        def solve(self, y: Tensor, physics: Any = None) -> Solution:
            """The model's Solution for this measurement."""
            A0 = self.nominal(physics)
            return self.model(y, A0.to(device=y.device) if isinstance(y, Tensor) else A0)

        def forward(
            self, y: Tensor, physics: Any = None, x_gt: Tensor | None = None, compute_metrics: bool = False
        ) -> Any:
            """x; with compute_metrics also the relative residuals of every sample, as deepinv's algorithms do."""
            solution = self.solve(y, physics)
            if not compute_metrics:
                return solution.x
            curves = [column[torch.isfinite(column)].tolist() for column in solution.residuals.unbind(1)]
            return solution.x, {"residual": curves}

    return _Kinds(LinearForwardModelPhysics, _physics(library.physics.Physics), ModelReconstructor)


def _is_function(A0: Any) -> bool:
    return callable(A0) and not hasattr(A0, "A")


def _as_given(A0: Any) -> ForwardModel:
    """A forward model, from one or from deepinv's physics."""
    return forward_model(A0) if isinstance(A0, _library().physics.Physics) else as_forward_model(A0)
