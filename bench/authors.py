"""The names that the authors' scripts import, on top of the reference: the other side of bench/compat.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from aafast.reference.anderson import anderson, picard
from aafast.reference.build import gaussian_kernel
from aafast.reference.iteration import Adaptation
from aafast.reference.networks import DeblurMismatch, DeconvMismatch, DefogMismatch, ProximalNetwork
from aafast.reference.physics import blur
from aafast.reference.robust_lu import GRADIENTS, RobustLU

__all__ = ["DEQIPFixedPoint", "DEQIPFixedPoint_v3", "GaussianBlur", "anderson"]


class GaussianBlur(nn.Module):
    """Blur by a kernel [n_channels, 1, kernel_size, kernel_size]."""

    def __init__(self, sigma: float, kernel_size: int = 5, n_channels: int = 1) -> None:
        super().__init__()
        kernel = gaussian_kernel(sigma, kernel_size).expand(n_channels, 1, -1, -1).contiguous()
        self.gaussian_kernel = nn.Parameter(kernel, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return blur(x, self.gaussian_kernel)


def _given(A0: Any) -> Any:
    """A0 as the reference takes it."""
    return A0.gaussian_kernel if isinstance(A0, GaussianBlur) else A0


class _Block(nn.Module):
    adds_start_back = False

    def __init__(self, args: Any, netR: nn.Module, netA: nn.Module, optR: Any, optA: Any, criteria: Any) -> None:
        super().__init__()
        self.eta = nn.Parameter(torch.ones(1) * args.eta)
        self.R, self.netA = netR, netA
        self.adaptation = Adaptation(netA, args.gamma, args.lamb)
        self.adaptation.theta_optimizer = optA

    def init_setup(self, A0: Any, Zk: Tensor, X0: Tensor) -> None:
        self.A0, self.Zk, self.X0 = _given(A0), Zk, X0

    def forward(self, Xk: Tensor, y: Tensor) -> Tensor:
        self.Zk, _ = self.adaptation.z_step(Xk, self.Zk, y, self.A0)
        self.adaptation.theta_step(self.Zk, y, self.A0)
        self.R.train()
        x = self.R(Xk - self.X0, self.Zk, y)
        return x + self.X0 if self.adds_start_back else x


class deblur_deq_kth_iter(_Block):
    adds_start_back = True


class deconv_deq_kth_iter(_Block):
    pass


class defog_deq_kth_iter(_Block):
    pass


class DEQIPFixedPoint(nn.Module):
    """A solve without gradients."""

    def __init__(self, invBlock: nn.Module, anderson: Callable[..., Any], **kwargs: Any) -> None:
        super().__init__()
        self.invBlock, self.solver, self.kwargs = invBlock, anderson, kwargs

    def forward(self, y: Tensor, X0: Tensor, Z0: Tensor, A0: Any, train: bool = True) -> Tensor:
        self.invBlock.init_setup(A0, Z0, X0)
        with torch.no_grad():
            return self.solver(lambda Xk: self.invBlock(Xk, y), X0, **self.kwargs)[0]


class DEQIPFixedPoint_v3(DEQIPFixedPoint):
    def __init__(self, invBlock: nn.Module, anderson: Callable[..., Any], **kwargs: Any) -> None:
        super().__init__(invBlock, picard, max_iter=kwargs["max_iter"], tol=kwargs["tol"])


def _mismatch(base: type[nn.Module], normalised: bool) -> Callable[..., nn.Module]:
    """The equilibrium's block takes the network as it is; the unrolled script calls it for (A0 x, y_hat)."""

    class Paired(base):
        def forward(self, xk: Tensor, A0: Any) -> tuple[Tensor, Tensor]:
            A0 = _given(A0)
            return self.forward_model(xk, A0), super().forward(xk, A0)

    return lambda args, nlayers=3: base(True) if normalised else Paired(False)


def _prox(channels: int, normalised: bool) -> Callable[[Any, int], nn.Module]:
    return lambda args, nlayers: ProximalNetwork(channels, nlayers, args.eta, normalised)


netA_deblur, netA_deblur_sn = _mismatch(DeblurMismatch, False), _mismatch(DeblurMismatch, True)
netA_kernel, netA_kernel_sn = _mismatch(DeconvMismatch, False), _mismatch(DeconvMismatch, True)
netA_foggy, netA_fogging_sn = _mismatch(DefogMismatch, False), _mismatch(DefogMismatch, True)
proxNet_deblur, proxNet_deblur_sn = _prox(3, False), _prox(3, True)
proxNet_deconv, proxNet_deconv_sn = _prox(1, False), _prox(1, True)


def proxNet_fog(nlayers: int, args: Any) -> nn.Module:
    return _prox(3, False)(args, nlayers)


def proxNet_fog_sn(nlayers: int, args: Any) -> nn.Module:
    return _prox(3, True)(args, nlayers)


class _LU(RobustLU):
    task, channels = "", 3

    def __init__(self, args: Any, nlayers: int) -> None:
        super().__init__(self.task, self.channels, nlayers, args.eta)

    def forward(self, xk: Tensor, y: Tensor, A: Any = None) -> Tensor:
        return self.prox(GRADIENTS[self.task](xk, y, _given(A), self.eta.exp()))


class LU_deblur(_LU):
    task = "deblur"


class LU_deconv(_LU):
    task, channels = "deconv", 1


class LU_deconv_defog(_LU):
    task = "defog"
