"""The steps of the product's adaptive models, each fed with the golden inputs and the reference's weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import ops
from ..adaptive.objective import Problem
from ..adaptive.state import Aux, initial, moments_of, theta_of
from ..adaptive.step import AdaptiveStep
from ..adaptive.theta_solvers import update_theta
from ..adaptive.z_solvers import update_z
from ..nets.residual import Theta
from ..physics import ForwardModel, WaveletConvolution
from ..reference import AdaptiveDEQ, AdaptiveLU, golden
from ..reference.iteration import STEP, Adaptation
from ..reference.spectral_norm import refresh
from ..tasks import build
from .weights import mismatch_tensors, take_applied

Errors = dict[str, list[float]]
WEIGHT_DECAY, EPS = 0.01, 1e-8


class _CutWavelets(WaveletConvolution):
    """The wavelet convolution, whose features lack the first five of 51 samples as in the authors' runs."""

    def features(self) -> Tensor:
        return torch.cat([self.wavelet[:, 5:], torch.zeros_like(self.wavelet[:, :5])], dim=1)


class _Product:
    """One iteration of the product, its weights replaced by those of a reference model."""

    def __init__(self, task: str, method: str, A0: ForwardModel, y: Tensor) -> None:
        # A network of theta's whole batch, its kernels taken as given: as the authors run it.
        override: dict[str, Any] = {"residual": "wavelet-mlp"} if task == "deconv" else {}
        model = build(task, method, theta_scope="batch", normalise=False, **override).to(y.device, y.dtype)
        if task == "deconv":
            assert isinstance(A0, WaveletConvolution)
            A0 = _CutWavelets(A0.wavelet)
        self.task, self.model = task, model
        self.problem = Problem(y, A0, model.residual, model.config)
        self.step = AdaptiveStep(self.problem, model.prox, model.eta)

    def take_prox(self, prox: Any) -> None:
        """Take eta and the proximal network's weights as they are applied."""
        self.model.eta.copy_(prox.eta)
        take_applied(self.model.prox.R, prox.R)

    def state(self, adaptation: Adaptation) -> Aux:
        """theta and its moments as the reference has them; z is not used of it."""
        named = mismatch_tensors(self.task, adaptation.mismatch)
        theta = {name: value.detach().to(self.problem.y, copy=True)[None] for name, value in named.items()}
        state = initial(self.problem.y, theta)
        for name, value in named.items():
            moments = adaptation.theta_optimizer.state.get(value)
            if moments:
                state["count"].fill_(int(moments["step"]))
                state[f"moment1.{name}"] = moments["exp_avg"].to(self.problem.y, copy=True)[None]
                state[f"moment2.{name}"] = moments["exp_avg_sq"].to(self.problem.y, copy=True)[None]
        return state


def lu_steps(task: str, A0: ForwardModel, arrays: dict[str, Tensor], device: torch.device) -> Errors:
    """z-, theta- and x-step of every iteration; for deconvolution the first theta-step, the z-step's formula.

    The product's BatchNorm has no running statistics, so its gradient for z is another one there.
    """
    reference = golden.restore(task, "adaptive_lu", arrays)
    assert isinstance(reference, AdaptiveLU)
    y, A0_given = arrays["y"], arrays["A0"]
    product = _Product(task, "adaptive-lu", A0, y.to(device))
    product.take_prox(reference.prox)
    errors: Errors = {"z-step": [], "theta-step": [], "x-step": []}
    x = z = y
    for index, (after_z, after_x) in enumerate(zip(arrays["zs"], arrays["xs"], strict=True)):
        if task == "deconv" and index == 0:
            errors["z-step"].append(_formula(reference.adaptation, x, z, y, A0_given, after_z, device))
        elif task != "deconv":
            errors["z-step"].append(_z_step(product, reference.adaptation, x, z, after_z))
        if task != "deconv" or index == 0:
            errors["theta-step"] += _theta_step(product, reference.adaptation, after_z, y, A0_given)
        errors["x-step"].append(_x_step(product, x, after_z, after_x))
        x, z = after_x, after_z
    return errors


def deq_steps(task: str, A0: ForwardModel, arrays: dict[str, Tensor], device: torch.device) -> Errors:
    """z- and x-step of every call of the block, with the normalised weights of the reference in that call."""
    reference = golden.restore(task, "adaptive_deq", arrays)
    assert isinstance(reference, AdaptiveDEQ)
    y, A0_given = arrays["y"], arrays["A0"]
    product = _Product(task, "adaptive-deq", A0, y.to(device))
    errors: Errors = {"z-step": [], "x-step": []}
    z = y
    calls = zip(arrays["x_in"], arrays["zs"], arrays["x_out"], strict=True)
    for index, (x, after_z, after_x) in enumerate(calls):
        if task == "deconv" and index == 0:
            errors["z-step"].append(_formula(reference.adaptation, x, z, y, A0_given, after_z, device))
        elif task != "deconv":
            errors["z-step"].append(_z_step(product, reference.adaptation, x, z, after_z))
            reference.adaptation.theta_step(after_z, y, A0_given)
        refresh(reference.prox)
        product.take_prox(reference.prox)
        errors["x-step"].append(_x_step(product, x, after_z, after_x))
        z = after_z
    return errors


def _z_step(product: _Product, adaptation: Adaptation, x: Tensor, z: Tensor, expected: Tensor) -> float:
    like = product.problem.y
    theta = theta_of(product.state(adaptation))
    computed = update_z(product.problem, theta, z.to(like), x.to(like))
    return _moved(computed, z, expected)


def _formula(
    adaptation: Adaptation, x: Tensor, z: Tensor, y: Tensor, A0: Tensor, expected: Tensor,
    device: torch.device,
) -> float:
    gradient = adaptation.z_gradient(x, z, y, A0)
    computed = ops.z_step(z.to(device), gradient.to(device), STEP, WEIGHT_DECAY, EPS)
    return _moved(computed, z, expected)


def _moved(computed: Tensor, start: Tensor, expected: Tensor) -> float:
    """The error relative to the step, not to the values: a step is 1e-4 of them."""
    return golden.relative_error("x", computed.cpu() - start, expected - start)


def _theta_step(
    product: _Product, adaptation: Adaptation, z: Tensor, y: Tensor, A0: Tensor
) -> list[float]:
    """The error of the first moments, and of how far theta went.

    The latter not where a BatchNorm makes biases' gradients zero: AdamW turns their rounding into a step.
    """
    before = product.state(adaptation)
    theta, first, _ = update_theta(product.problem, before, z.to(product.problem.y))
    adaptation.theta_step(z, y, A0)
    after = product.state(adaptation)
    errors = [_vector_error(first, moments_of(after)[0])]
    if product.task != "deconv":
        start, end = theta_of(before), theta_of(after)
        errors.append(_vector_error(*({name: values[name] - start[name] for name in start} for values in (theta, end))))
    return errors


def _vector_error(computed: Theta, expected: Theta) -> float:
    return golden.vector_error([(computed[name], expected[name]) for name in expected])


def _x_step(product: _Product, x: Tensor, z: Tensor, expected: Tensor) -> float:
    like = product.problem.y
    return golden.relative_error("x", product.step.prox_step(x.to(like), z.to(like)).cpu(), expected)
