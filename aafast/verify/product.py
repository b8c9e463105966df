"""The product's rows of a golden file: what it shares with the reference, fed with the golden inputs.

The product decides some things otherwise: frozen spectral norms, no misplaced bracket, all taps of a wavelet. So
its adaptive models are checked step by step: each step is given the golden x and z, and the weights that the
reference had at that moment, and one step's error never feeds the next.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import ops
from ..config import FixedPointConfig
from ..errors import BackendError, describe
from ..ops._dispatch import PREFERENCE, VARIABLE
from ..physics import ForwardModel, GaussianBlur, Haze, WaveletConvolution
from ..reference import RobustLU, golden, physics
from ..solvers import iterate
from ..tasks import build
from . import replay
from .files import unfit
from .rows import Row, row

TAPS = 51
RUN_OPERATIONS = ("anderson", "z-step")  # the checks that run one of `ops`, and so a backend


class Place(NamedTuple):
    """Where the product's checks run: device, and the name of the operations' backend."""

    device: torch.device
    backend: str


def place(backend: str | None) -> Place:
    """Find the device of a backend, asked for here or by AAFAST_BACKEND; by default the best that runs here.

    Raises BackendError where it cannot run in float64.
    """
    name = os.environ.get(VARIABLE, "auto") if backend is None else backend
    cuda = torch.cuda.is_available() and name in ("auto", "cuda", "triton")
    device = torch.device("cuda" if cuda else "cpu")
    if name == "auto":
        name = next(best for best in PREFERENCE[device.type] if ops.can_run(best, device, torch.float64) is None)
    else:
        reason = ops.can_run(name, device, torch.float64)
        if reason is not None:
            raise BackendError(
                describe(f"backend {name!r}", reason, "a backend that can run here",
                         "Leave --backend out, or see: aafast info")
            )
    return Place(device, name)


def check(name: str, path: Path, arrays: dict[str, Tensor], place: Place) -> list[Row]:
    """Every row of the product for one file."""
    with _forced(place.backend), torch.no_grad():
        try:
            found = list(_checks(name, arrays, place.device))
        except (RuntimeError, LookupError, ValueError) as error:
            if isinstance(error, BackendError):
                raise
            raise unfit(path, error) from error
    ran = {check: f"{check} [{place.backend}]" for check in RUN_OPERATIONS}
    return [row(path.name, ran.get(check, check), errors) for check, errors in found]


@contextmanager
def _forced(backend: str) -> Iterator[None]:
    """Make every operation of the product run on one backend."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = backend
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def _checks(name: str, arrays: dict[str, Tensor], device: torch.device) -> Iterator[tuple[str, list[float]]]:
    if name.startswith("anderson_"):
        yield "anderson", anderson(arrays, device)
        return
    task, method = name.split("_", 1)
    A0 = forward_model(task, arrays["A0"].to(device))
    yield "physics", physics_errors(task, A0, arrays, device)
    if method == "robust_lu":
        yield ("proximal network" if task == "deblur" else "robust LU"), robust_lu(task, A0, arrays, device)
        return
    steps = replay.deq_steps if method == "adaptive_deq" else replay.lu_steps
    yield from steps(task, A0, arrays, device).items()


def anderson(arrays: dict[str, Tensor], device: torch.device) -> list[float]:
    """The product's solver with the authors' absolute ridge and their stop over the whole batch."""
    M, c = arrays["M"].to(device), arrays["c"].to(device)
    setting: dict[str, Any] = {key: arrays[key].item() for key in ("m", "beta", "max_iter")}
    config = FixedPointConfig("anderson", ridge=arrays["lam"].item(), relative=False, tol=0.0, **setting)
    points: list[Tensor] = []
    residuals: list[Tensor] = []

    def affine(v: Tensor, aux: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return (torch.einsum("bij,bj->bi", M, v.flatten(1)) + c).view_as(v), aux

    def watch(k: int, x: Tensor, image: Tensor) -> None:
        points.append(x)
        residuals.append((image - x).norm() / (1e-5 + image.norm()))

    iterate(affine, torch.zeros_like(arrays["x"], device=device), {}, config, keep="last", watch=watch)
    pairs = {"x": points[-1], "residuals": torch.stack(residuals[2:])}
    return [golden.relative_error(key, value.cpu(), arrays[key]) for key, value in pairs.items()]


def forward_model(task: str, A0: Tensor) -> ForwardModel:
    """The product's forward model from what a golden file calls A0."""
    if task == "deblur":
        return GaussianBlur(A0.transpose(0, 1))
    if task == "deconv":
        half = TAPS // 2
        middle = A0.shape[-1] // 2
        return WaveletConvolution(A0[:, 0, middle - half : middle + half + 1, middle].contiguous())
    return Haze(A0)


def physics_errors(
    task: str, A0: ForwardModel, arrays: dict[str, Tensor], device: torch.device
) -> list[float]:
    """A and its adjoint on y against the reference's; a blur's adjoint has the kernel turned round."""
    y, given = arrays["y"], arrays["A0"]
    if task == "deblur":
        image, adjoint = physics.blur(y, given), physics.blur(y, given.flip(-1, -2))
    elif task == "deconv":
        image, adjoint = physics.convolve(y, given), physics.convolve_adjoint(y, given)
    else:
        image, adjoint = y, y
    at = y.to(device)
    return [
        golden.relative_error("A", A0.A(at).cpu(), image),
        golden.relative_error("A_adjoint", A0.A_adjoint(at).cpu(), adjoint),
    ]


def robust_lu(task: str, A0: ForwardModel, arrays: dict[str, Tensor], device: torch.device) -> list[float]:
    """The whole unrolled solve; for deblurring, whose bracket is corrected, the proximal network alone."""
    model = build(task, "robust-lu").to(device, torch.float64)
    reference = golden.restore(task, "robust_lu", arrays)
    assert isinstance(reference, RobustLU)
    model.prox.R.load_state_dict(reference.prox.state_dict())
    model.eta.copy_(reference.eta)
    xs = arrays["xs"]
    if task != "deblur":
        return [golden.relative_error("x", model(arrays["y"].to(device), A0).x.cpu(), xs[-1])]
    errors = []
    for before, after in zip([arrays["y"], *xs[:-1]], xs, strict=True):
        point = reference.gradient(before, arrays["y"], arrays["A0"], reference.eta.exp())
        errors.append(golden.relative_error("x", model.prox(point.to(device)).cpu(), after))
    return errors
