"""Settings of a model: plain frozen records, written to and read from a checkpoint's card."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from .checks import check_choice
from .errors import CheckpointError, InputError, describe

METHODS = ("direct", "robust-lu", "adaptive-lu", "adaptive-deq")
Z_SOLVERS = ("adamw", "gradient", "cg", "exact")
THETA_SOLVERS = ("none", "adamw", "gradient", "least-squares")
GRADIENTS = ("unrolled", "one-step", "phantom", "implicit")
SCOPES = ("sample", "batch")
OFFSETS = ("none", "subtract", "residual")
RESIDUALS = ("none", "conv", "wavelet", "wavelet-mlp", "haze")
CALIBRATIONS = ("none", "wavelet", "width", "haze")
FIXED_POINT = ("anderson", "broyden", "momentum", "picard")


@dataclass(frozen=True)
class InnerSolver:
    """How z or theta is updated within one iteration.

    name: z takes adamw | gradient | cg | exact, theta takes none | adamw | gradient | least-squares. `steps` is their
    count per iteration; `lr`, `weight_decay` and `eps` belong to adamw; `damping` is the relative ridge of
    least-squares; `differentiate` lets gradients of training pass through the z-update where it is smooth.
    """

    name: str
    steps: int = 1
    lr: float = 1e-4
    weight_decay: float = 0.01
    eps: float = 1e-8
    damping: float = 0.1
    differentiate: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(describe("steps of an inner solver", self.steps, "at least 1", "Raise it"))


@dataclass(frozen=True)
class FixedPointConfig:
    """How the outer fixed point is found; docs/solvers.md compares the choices.

    name: anderson, broyden, momentum (Nesterov's) or picard (the plain iteration). m: points that anderson and pairs
    that broyden remember. beta: the damping, a number, or None to find it per sample at every step (picard: 1).
    ridge: of anderson, relative to its mean squared residual where `relative`. A sample stops when its relative
    residual is below `tol`, or after `max_iter` evaluations. restart: anderson and broyden forget a sample's past when
    its residual exceeds this many times its least one (0: never; None: 2 for anderson with adapted beta, else never).
    drop: anderson forgets points whose residual exceeds the newest's this many times (0: never). m=5, beta=1,
    ridge=1e-3, relative=False is the authors' solver.
    """

    name: str = "anderson"
    m: int = 8
    beta: float | None = None
    ridge: float = 1e-8
    relative: bool = True
    tol: float = 1e-3
    max_iter: int = 40
    restart: float | None = None
    drop: float = 0.0

    def __post_init__(self) -> None:
        check_choice("fixed-point solver", self.name, FIXED_POINT)
        if not 1 <= self.m <= 16:
            raise InputError(describe("window m of the solver", self.m, "1 to 16", "Choose a window in that range"))
        if self.max_iter < 1:
            raise InputError(describe("max_iter", self.max_iter, "at least 1", "Raise it"))
        if self.beta is not None and not 0 < self.beta <= 2:
            raise InputError(describe("damping beta", self.beta, "None, or above 0 and up to 2", "Use 1, or None"))
        for name in ("restart", "drop"):
            factor = getattr(self, name) or 0.0
            if not (factor == 0 or factor > 1):
                raise InputError(describe(name, factor, "0 (never) or a factor above 1", "Raise it"))


@dataclass(frozen=True)
class ModelConfig:
    """All that is needed to build a model but for its weights; docs/models.md explains each field."""

    task: str
    method: str
    image_channels: int
    depth: int
    eta: float
    gamma: float = 0.01
    lam: float = 0.1
    channels: int = 64
    groups: int = 4
    norm: str = "group"
    skip: bool = False
    feed_y: bool = True
    iterations: int = 5
    offset: str = "none"
    residual: str = "none"
    residual_channels: int = 64
    taps: int = 51
    calibration: str = "none"
    normalise: bool = False
    theta_scope: str = "sample"
    z_solver: InnerSolver = field(default_factory=lambda: InnerSolver("adamw"))
    theta_solver: InnerSolver = field(default_factory=lambda: InnerSolver("adamw"))
    fixed_point: FixedPointConfig = field(default_factory=FixedPointConfig)
    gradient: str = "unrolled"
    phantom_steps: int = 3

    def __post_init__(self) -> None:
        check_choice("method", self.method, METHODS)
        check_choice("norm", self.norm, ("group", "none"))
        check_choice("offset", self.offset, OFFSETS)
        check_choice("theta scope", self.theta_scope, SCOPES)
        check_choice("z solver", self.z_solver.name, Z_SOLVERS)
        check_choice("theta solver", self.theta_solver.name, THETA_SOLVERS)
        check_choice("gradient mode", self.gradient, GRADIENTS)
        check_choice("residual", self.residual, RESIDUALS)
        check_choice("calibration", self.calibration, CALIBRATIONS)
        grouped = {"channels": self.norm == "group", "residual_channels": self.residual != "none"}
        least = {"image_channels": 1, "depth": 2, "channels": 1, "groups": 1, "residual_channels": 1}
        for name, low in {**least, "iterations": 1, "taps": 1, "phantom_steps": 1}.items():
            if not isinstance(getattr(self, name), int) or getattr(self, name) < low:
                raise InputError(describe(name, repr(getattr(self, name)), f"a whole number >= {low}", "Change it"))
        for name, normed in grouped.items():
            if normed and getattr(self, name) % self.groups:
                raise InputError(
                    describe(name, getattr(self, name), f"a multiple of the {self.groups} groups", "Change one of them")
                )
        if self.z_solver.name == "exact" and not self.lam > 0:
            raise InputError(describe('lam for the z solver "exact"', self.lam, "a positive number", "Raise it"))
        if self.residual == "wavelet-mlp" and self.theta_scope != "batch":
            raise InputError(
                describe(
                    'theta scope of the residual "wavelet-mlp"',
                    self.theta_scope,
                    "batch: its BatchNorm ties the samples together",
                    'Use theta_scope="batch", or the residual "wavelet"',
                )
            )
        if self.taps % 2 == 0:
            raise InputError(describe("taps", self.taps, "an odd number", "Add or drop one tap"))

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON-ready nested dictionaries."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Rebuild settings from `to_dict`; raise CheckpointError on an unknown, missing or bad field."""
        try:
            parts = dict(values)
            parts["z_solver"] = InnerSolver(**parts["z_solver"])
            parts["theta_solver"] = InnerSolver(**parts["theta_solver"])
            parts["fixed_point"] = FixedPointConfig(**parts["fixed_point"])
            return cls(**parts)
        except InputError as error:
            raise CheckpointError(f"settings of a model, {error}") from error
        except (KeyError, TypeError) as error:
            raise CheckpointError(
                describe("model settings", str(error), f"the fields of {cls.__name__}", "Save the model again")
            ) from error
