"""The four models: direct inverse, robust LU, A-adaptive LU, A-adaptive DEQ."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from .. import ops
from ..checks import COMPUTE_DTYPES, check_choice, check_image, check_same_device
from ..config import FixedPointConfig, ModelConfig
from ..errors import BackendError, InputError, describe
from ..nets import CalibrationNetwork, ProximalNetwork, build_residual
from ..nets.residual import MismatchNetwork
from ..nets.spectral_norm import refresh
from ..ops import _tracing
from ..physics import ForwardModel, GivenForwardModel, as_forward_model
from ..solvers import Solution, iterate, join
from ..solvers.adjoint import implicit, one_step, phantom
from . import engines
from .objective import Problem
from .state import initial, theta_of
from .step import AdaptiveStep
from .theta_solvers import start_theta

BACKENDS = ("auto", *ops.BACKENDS)


@_tracing.constant
def _backends(operations: tuple[str, ...], backend: str, device: torch.device, dtype: torch.dtype) -> str:
    """What the loop in plain torch runs on, and the other backends among these operations."""
    names = {ops.select(op, backend, device, dtype) for op in operations}
    return "+".join(["eager", *sorted(names - {"eager"})])


class Model(nn.Module):
    """A reconstruction model, called `solution = model(y, A0)`.

    y: [B, C, H, W], float32 or float64 (float16 and bfloat16 are computed in the model's own type and returned in
    theirs), H and W from 8, on the model's device. A0: a ForwardModel, or any object with `A` and `A_adjoint`.
    Returns a Solution, without a graph where gradients are off. Raises InputError on tensors that do not fit,
    BackendError on a backend that cannot run.
    """

    method = ""
    residual: MismatchNetwork  # of an adaptive model
    calibration: CalibrationNetwork  # of one that has it

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.method != self.method:
            raise InputError(
                describe("method of the settings", config.method, self.method, "Build it by aafast.tasks.build")
            )
        self.config = config
        self.prox = ProximalNetwork(config)
        self.eta = nn.Parameter(torch.tensor([float(config.eta)]))
        self._backend, self._precision = "auto", "fast"

    @property
    def backend(self) -> str:
        """What runs a solve: auto | eager | cpp | cuda | triton.

        auto takes the engine of the device where there is one and it can, else the loop in plain torch ("eager") with
        the fastest operations. With gradients recorded it is that loop in any case, with this backend's operations.
        """
        return self._backend

    @backend.setter
    def backend(self, name: str) -> None:
        if name not in BACKENDS:
            raise BackendError(
                describe("backend of a model", repr(name), " | ".join(BACKENDS), "See `aafast info` for the reasons")
            )
        self._backend = name
        # The networks' stacks exist as eager and cpp: with another backend they take the best they have.
        for part in (self.prox, getattr(self, "residual", None)):
            if part is not None:
                part.backend = name if name in ("eager", "cpp") else "auto"

    @property
    def precision(self) -> str:
        """How an engine rounds: fast, tf32 or strict.

        On a CPU strict convolves with less rounding, at up to twice the work, and the others are one. On a GPU fast
        multiplies in 16 bits, tf32 in 19, strict in 32; their sums have 32.
        """
        return self._precision

    @precision.setter
    def precision(self, name: str) -> None:
        self._precision = check_choice("precision of a model", name, ops.PRECISIONS)

    def outer(self) -> tuple[FixedPointConfig, str]:
        """How the iteration is run, and which iterate is returned ("best" or "last")."""
        return FixedPointConfig("picard", tol=0.0, max_iter=self.config.iterations), "last"

    def finish(self, solution: Solution, A0: ForwardModel) -> Solution:
        """Enter what the model knows beside x."""
        return solution

    def operations(self) -> tuple[str, ...]:
        """The operations with several implementations that a solve of this model runs."""
        return ()

    def forward(self, y: Tensor, A0: Any) -> Solution:
        given = check_image("y", y, self.config.image_channels).dtype
        model = as_forward_model(A0)
        compiling = torch.compiler.is_compiling()
        if not compiling and torch.is_inference_mode_enabled():
            # z and theta descend by gradients, which inference mode does not record; nor may it keep its tensors.
            with torch.inference_mode(False), torch.no_grad():
                own = any(tensor.is_inference() for tensor in model.tensors().values())
                return self.forward(y.clone(), copy.deepcopy(model) if own else model)
        weight = self.eta
        check_same_device(y, **{"the model's weights": weight}, **model.tensors())
        y = y.detach().to(weight.dtype).contiguous()
        model = model.to(dtype=weight.dtype)
        self._check_problem(y, model)
        model = self.calibrate(y, model)
        recording = torch.is_grad_enabled() and any(p.requires_grad for p in self.parameters())
        # In a graph an engine would be a hole.
        engine = None if recording or compiling else engines.find(self._backend, self, y, model)
        names = _backends(self.operations(), self._backend, y.device, y.dtype)
        self.refresh()
        if recording:
            solution = self.solve(y, model)
        else:
            with torch.no_grad():
                solution = self._solve_samples(y, model) if engine is None else engine.solve(self, y, model)
        solution.backend = names if engine is None else engine.name
        solution.operator = model
        if given not in COMPUTE_DTYPES:
            solution.x = solution.x.to(given)
        return solution

    @_tracing.constant
    def refresh(self) -> None:
        """Bring spectral norms up to date with weights that were written: at each call, or once while it is traced."""
        refresh(self)

    def calibrate(self, y: Tensor, A0: ForwardModel) -> ForwardModel:
        """The forward model that the iteration starts from: A0, unless the settings name a calibration."""
        return A0

    def _check_problem(self, y: Tensor, A0: ForwardModel) -> None:
        """Raise InputError unless A0 maps an image like y to one like y; a user's own model is looked at closer."""
        given = isinstance(A0, GivenForwardModel)
        if given and len(y) > 1 and y.device.type == "cpu" and self.config.theta_scope == "sample":
            self._check_problem(y[:1], A0.select(0))  # each sample will have its own turn
        for name, apply in {"A0(y)": A0.A, **({"the adjoint of A0": A0.A_adjoint} if given else {})}.items():
            with torch.no_grad():
                image = apply(y)
            if not isinstance(image, Tensor):
                raise InputError(describe(name, type(image).__name__, "a torch.Tensor", "Convert it in A0's class"))
            if image.shape != y.shape:
                raise InputError(
                    describe(
                        f"shape of {name}",
                        list(image.shape),
                        f"{list(y.shape)}, the shape of y",
                        "These models need a forward model whose image has the measurement's shape; one with "
                        "parameters per sample needs a method select(index)",
                    )
                )
            if given and (image.dtype != y.dtype or image.device != y.device):
                raise InputError(
                    describe(
                        f"type of {name}",
                        f"{image.dtype} on {image.device}",
                        f"{y.dtype} on {y.device}, as the argument",
                        "Return tensors of the dtype and device of the argument",
                    )
                )

    def _solve_samples(self, y: Tensor, A0: ForwardModel) -> Solution:
        # On a CPU the samples are solved one by one: libraries choose other algorithms for other batch sizes, and a
        # sample's answer must not depend on its neighbours to the last bit. A graph would grow with the batch.
        together = y.device.type != "cpu" or self.config.theta_scope == "batch" or torch.compiler.is_compiling()
        if len(y) == 1 or together:
            return self.solve(y, A0)
        return join([self.solve(y[i : i + 1].clone(), A0.select(i)) for i in range(len(y))])

    def solve(self, y: Tensor, A0: ForwardModel) -> Solution:
        """Solve one checked batch."""
        raise InputError(describe("model", type(self).__name__, "one of the four models", "Use aafast.tasks.build"))


class DirectInverse(Model):
    """x = R(y): the proximal network alone."""

    method = "direct"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.eta.requires_grad_(False)

    def outer(self) -> tuple[FixedPointConfig, str]:
        return FixedPointConfig("picard", tol=0.0, max_iter=1), "last"

    def solve(self, y: Tensor, A0: ForwardModel) -> Solution:
        return iterate(lambda x, aux: (self.prox(x), aux), y, {}, *self.outer())


class RobustLU(Model):
    """x <- R(x - exp(eta) A0^T (A0 x - y)), `iterations` times from x = y."""

    method = "robust-lu"

    def solve(self, y: Tensor, A0: ForwardModel) -> Solution:
        def step(x: Tensor, aux: dict) -> tuple[Tensor, dict]:
            return self.prox(x - torch.exp(self.eta) * A0.A_adjoint(A0.A(x) - y)), aux

        return iterate(step, y, {}, *self.outer())


class _Adaptive(Model):
    """What the two adaptive models share: the mismatch network and one iteration."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.residual = build_residual(config)
        if config.calibration != "none":
            self.calibration = CalibrationNetwork(config)

    def calibrate(self, y: Tensor, A0: ForwardModel) -> ForwardModel:
        """A0 as the calibration network corrects it, where there is one and A0 is of its kind; no graph is kept.

        It is trained by itself, on known forward models (loss "calibration" of a training plan).
        """
        if self.config.calibration == "none" or not self.calibration.fits(A0):
            return A0
        together = torch.is_grad_enabled() or y.device.type != "cpu" or torch.compiler.is_compiling()
        with torch.no_grad():
            if together:
                return self.calibration(y, A0)
            # Sample by sample, for the reason that _solve_samples gives.
            found = [self.calibration.rounds(y[i : i + 1].clone(), A0.select(i))[-1] for i in range(len(y))]
            return self.calibration.deformation.deform(A0, torch.cat(found))

    def operations(self) -> tuple[str, ...]:
        z_step = ("z_step",) if self.config.z_solver.name == "adamw" else ()
        anderson = self.method == "adaptive-deq" and self.config.fixed_point.name == "anderson"
        return (*z_step, "anderson_mix") if anderson else z_step

    def _start(self, y: Tensor, A0: ForwardModel) -> tuple[AdaptiveStep, dict[str, Tensor]]:
        step = AdaptiveStep(Problem(y, A0, self.residual, self.config, self._backend), self.prox, self.eta)
        samples = 1 if self.config.theta_scope == "batch" else len(y)
        return step, initial(y, start_theta(step.problem, samples))

    def finish(self, solution: Solution, A0: ForwardModel) -> Solution:
        solution.z = solution.aux["z"]
        solution.wavelet = self.residual.wavelet(theta_of(solution.aux), A0)
        if solution.wavelet is not None:
            solution.wavelet = solution.wavelet.expand(len(solution.x), -1)
        return solution


class AdaptiveLU(_Adaptive):
    """`iterations` unrolled iterations of the adaptive step from x = z = y, trained end to end."""

    method = "adaptive-lu"

    def solve(self, y: Tensor, A0: ForwardModel) -> Solution:
        step, state = self._start(y, A0)
        return self.finish(iterate(step, y, state, *self.outer()), A0)


class AdaptiveDEQ(_Adaptive):
    """The adaptive step iterated to a fixed point in x, with z and theta carried along."""

    method = "adaptive-deq"

    def outer(self) -> tuple[FixedPointConfig, str]:
        return self.config.fixed_point, "best"

    def solve(self, y: Tensor, A0: ForwardModel) -> Solution:
        step, state = self._start(y, A0)
        config = self.config
        if config.gradient == "unrolled" or not torch.is_grad_enabled():
            return self.finish(iterate(step, y, state, config.fixed_point, backend=self._backend), A0)
        with torch.no_grad():
            solution = self.finish(iterate(step, y, state, config.fixed_point, backend=self._backend), A0)
        phi, point = step.frozen(solution.aux), solution.aux["point"]
        if config.gradient == "one-step":
            solution.x = one_step(phi, point, solution.x)
        elif config.gradient == "phantom":
            solution.x = phantom(phi, point, solution.x, config.phantom_steps)
        else:
            solution.x = implicit(phi, point, solution.x, config.fixed_point, self._backend)
        return solution


MODELS: dict[str, type[Model]] = {m.method: m for m in (DirectInverse, RobustLU, AdaptiveLU, AdaptiveDEQ)}
