"""The equilibrium models of the authors' scripts: blocks, fixed-point modules, and their Anderson acceleration.

A block carries z and theta along: each call makes a z-step, a theta-step and an x-step, in that order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ... import ops
from ...solvers.anderson import Anderson
from .steps import Losses, step

Map = Callable[[Tensor], Tensor]
_WEIGHT_DECAY, _EPS = 0.01, 1e-8  # AdamW's own: z moves by the first step of a fresh one
_FLOOR = 1e-5  # of the size that a residual is relative to


class _Block(nn.Module):
    """x -> R([x - x0 - exp(eta) (x - x0 - z), y]) after a z-step and a theta-step (paper eq. 7).

    args: `eta`, `gamma`, `lamb`, `lr_Z`. netR, netA: of `network_hqs`, or modules called alike. optA: the optimiser of
    netA's parameters; its moments live on from batch to batch, and so does theta. optR is kept and not used.
    criteria: the loss of both steps, called with two images. `eta` of the block is a parameter that nothing reads.
    """

    adds_start_back = False
    A0: Any
    Zk: Tensor
    X0: Tensor

    def __init__(
        self, args: Any, netR: nn.Module, netA: nn.Module, optR: Any, optA: torch.optim.Optimizer, criteria: Any
    ) -> None:
        super().__init__()
        self.eta = nn.Parameter(torch.ones(1) * args.eta)
        self.R, self.netA = netR, netA
        self.optR, self.optA, self.criteria = optR, optA, criteria
        self.gamma, self.lamb, self.lr_Z = args.gamma, args.lamb, args.lr_Z

    def init_setup(self, A0: Any, Zk: Tensor, X0: Tensor) -> None:
        """Begin a solve: the nominal model, z and x0. A module A0 becomes one of this block's."""
        self.A0, self.Zk, self.X0 = A0, Zk, X0

    def set_Zk(self, Zk: Tensor) -> None:
        """Put z somewhere else."""
        self.Zk = Zk

    def forward(self, Xk: Tensor, y: Tensor, no_grad: bool = True) -> Tensor:
        """One iteration at Xk [B, C, H, W] for y like it; its x-step is recorded for gradients unless `no_grad`."""
        losses = Losses(self.netA, self.A0, y, self.gamma, self.lamb, self.criteria)
        self.netA.eval()
        with torch.no_grad():
            z = self.Zk.detach()
            self.Zk = ops.z_step(z, losses.gradient_z(z, Xk.detach()), self.lr_Z, _WEIGHT_DECAY, _EPS)
        self.netA.train()
        self.optA.zero_grad()
        losses.fill_theta_gradients(self.Zk)
        step(self.optA)
        self.netA.eval()
        self.R.train()  # at evaluation too: each of its calls makes its power iterations
        with torch.set_grad_enabled(torch.is_grad_enabled() and not no_grad):
            x = self.R(Xk - self.X0, self.Zk, y)
            return x + self.X0 if self.adds_start_back else x


class deblur_deq_kth_iter(_Block):
    """The block for blurred colour images, A0 a callable; x0 is added back to the result."""

    adds_start_back = True


class deconv_deq_kth_iter(_Block):
    """The block for seismic sections of 128 x 50, A0 dense matrices [B, 1, 128, 128]."""


class defog_deq_kth_iter(_Block):
    """The block for foggy colour images, A0 the depth map [B, 1, H, W]."""


def _solve(
    f: Map, x0: Tensor, m: int, lam: float, max_iter: int, tol: float, beta: float
) -> tuple[Tensor, list[float], list[Tensor]]:
    solver = Anderson(m, beta, lam, relative=False)
    memory = solver.init(x0)
    x, residuals, points = x0, [], []
    calls = max(max_iter, 2)
    for k in range(calls):
        following, norms, memory = solver.propose(memory, k, x, f(x))
        if k >= 2:
            change, size = norms.detach().double().sum(0).sqrt().tolist()
            residuals.append(change / (_FLOOR + size))
            points.append(x)
        if k + 1 == calls or (residuals and residuals[-1] < tol):
            break
        x = following
    return x, residuals, points


def anderson(
    f: Map, x0: Tensor, m: int = 5, lam: float = 1e-4, max_iter: int = 50, tol: float = 1e-2, beta: float = 1.0
) -> tuple[Tensor, list[float]]:
    """Solve x = f(x) by mixing the last m points; each sample has its own weights, all stop together.

    `[[0, 1^T], [1, G G^T + lam I]] [nu; alpha] = [1; 0]`, G the rows f(x_i) - x_i;
    `x <- beta alpha F + (1 - beta) alpha X`.

    Args:
        f: the map, [B, C, H, W] to the same; called `max_iter` times at most, twice at least.
        x0: start, [B, ...], float32 or float64.
        m: points mixed, 1 to 16.
        lam: absolute ridge, in units of ||f(x) - x||^2.
        max_iter: number of calls of f.
        tol: stop below this residual `||f(x) - x|| / (1e-5 + ||f(x)||)` of the whole batch.
        beta: weight of the images against the points.

    Returns:
        The last point (a mix, not its image), and the residual of each call but the first two.

    Raises:
        InputError: tensors or numbers that cannot be used.
    """
    return _solve(f, x0, m, lam, max_iter, tol, beta)[:2]


def anderson_mse(
    f: Map, x0: Tensor, m: int = 5, lam: float = 1e-4, max_iter: int = 50, tol: float = 1e-2, beta: float = 1.0
) -> tuple[Tensor, list[float], list[Tensor]]:
    """`anderson`, which also returns the points that the residuals belong to."""
    return _solve(f, x0, m, lam, max_iter, tol, beta)


class DEQIPFixedPoint(nn.Module):
    """The fixed point of a block, with the Jacobian-free gradient: one recorded call behind the solve.

    invBlock: a block. anderson: the solver, called `anderson(f, x0, **kwargs) -> (x, residuals)`. After a solve
    `forward_res` holds the residuals.
    """

    invBlock: Any  # a module with init_setup

    def __init__(self, invBlock: nn.Module, anderson: Callable[..., Any], **kwargs: Any) -> None:
        super().__init__()
        self.invBlock, self.solver, self.kwargs = invBlock, anderson, kwargs
        self.forward_res: list[float] = []

    def forward(self, y: Tensor, X0: Tensor, Z0: Tensor, A0: Any, train: bool = True) -> Tensor:
        """Solve for y [B, C, H, W] from x = X0 and z = Z0; with `train` the result is one more call of the block."""
        self.invBlock.init_setup(A0, Z0, X0)
        with torch.no_grad():
            Xk, self.forward_res = self._search(X0, y)
        return self._recorded(Xk, y) if train else Xk

    def _search(self, X0: Tensor, y: Tensor) -> tuple[Tensor, list[float]]:
        return self.solver(lambda Xk: self.invBlock(Xk, y), X0, **self.kwargs)

    def _recorded(self, Xk: Tensor, y: Tensor) -> Tensor:
        return self.invBlock(Xk, y, no_grad=False)


class DEQIPFixedPoint_v2(DEQIPFixedPoint):
    """`DEQIPFixedPoint` with the implicit gradient `g = v + J^T g`, found by the same solver in the backward pass.

    J is the Jacobian of one more recorded call; `backward_res` holds the residuals of the last backward pass.
    """

    def __init__(self, invBlock: nn.Module, anderson: Callable[..., Any], **kwargs: Any) -> None:
        super().__init__(invBlock, anderson, **kwargs)
        self.backward_res: list[float] = []

    def _recorded(self, Xk: Tensor, y: Tensor) -> Tensor:
        x = super()._recorded(Xk, y)
        if not x.requires_grad:
            return x
        point = x.detach().clone().requires_grad_()
        image = super()._recorded(point, y)

        def implicit(v: Tensor) -> Tensor:
            def adjoint(g: Tensor) -> Tensor:
                return torch.autograd.grad(image, point, g, retain_graph=True)[0] + v

            g, self.backward_res = self.solver(adjoint, v, **self.kwargs)
            return g

        x.register_hook(implicit)
        return x


class DEQIPFixedPoint_v3(DEQIPFixedPoint):
    """`DEQIPFixedPoint` by the plain iteration: `max_iter` and `tol` of kwargs count, the solver does not."""

    def forward_iteration(self, X0: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor], list[float]]:
        """The last image, all images but the first, and their residuals: `max_iter` calls after the first at most."""
        Xk = self.invBlock(X0, y)
        images: list[Tensor] = []
        residuals: list[float] = []
        for _ in range(self.kwargs["max_iter"]):
            previous, Xk = Xk, self.invBlock(Xk, y, no_grad=True)
            images.append(Xk)
            residuals.append(((Xk - previous).norm() / (_FLOOR + Xk.norm())).item())
            if residuals[-1] < self.kwargs["tol"]:
                break
        return Xk, images, residuals

    def _search(self, X0: Tensor, y: Tensor) -> tuple[Tensor, list[float]]:
        Xk, _, residuals = self.forward_iteration(X0, y)
        return Xk, residuals
