"""The authors' nine models at their sizes with their settings, and problems of those sizes to run them on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from aafast.reference.adaptive_deq import AdaptiveDEQ
from aafast.reference.adaptive_lu import AdaptiveLU
from aafast.reference.networks import DeblurMismatch, DeconvMismatch, DefogMismatch, ProximalNetwork
from aafast.reference.physics import blur, convolve
from aafast.reference.robust_lu import RobustLU


@dataclass(frozen=True)
class Task:
    """Sizes of a task: its reference batch [B, C, H, W], the layers of R_rho, its mismatch network."""

    shape: tuple[int, int, int, int]
    layers: int
    mismatch: type[torch.nn.Module]


TASKS = {
    "deblur": Task((32, 3, 110, 88), 5, DeblurMismatch),
    "deconv": Task((32, 1, 128, 50), 9, DeconvMismatch),
    "defog": Task((8, 3, 128, 256), 7, DefogMismatch),
}
ETA = {  # at the start of training
    "robust_lu": {"deblur": -1.0, "deconv": 0.01, "defog": -1.0},
    "adaptive_lu": {"deblur": 0.01, "deconv": 0.01, "defog": -5.0},
    "adaptive_deq": {"deblur": -1.0, "deconv": -1.0, "defog": -1.0},
}
WEIGHTS = {  # gamma, lam
    "adaptive_lu": {"deblur": (0.01, 0.1), "deconv": (0.01, 0.1), "defog": (1e-4, 0.1)},
    "adaptive_deq": {"deblur": (0.01, 0.1), "deconv": (0.01, 0.01), "defog": (0.0, 0.01)},
}


def build(
    task: str, method: str, seed: int = 0, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> RobustLU | AdaptiveLU | AdaptiveDEQ:
    """Build a model with initial weights: its `run(y, A0, ...)` is the baseline of every benchmark.

    Convolutions are Kaiming normal (fan_out) over ten, GroupNorm and BatchNorm 1 / 0, linear layers and
    biases torch's default. `run` takes the number of iterations (RobustLU, AdaptiveLU), or max_iter and tol
    (AdaptiveDEQ).

    Args:
        task: "deblur", "deconv" or "defog".
        method: "robust_lu", "adaptive_lu" or "adaptive_deq".
        seed: of the weights; torch's global random state is left as found.
        dtype: of the weights.
        device: of the weights.

    Returns:
        The model; the adaptive ones own theta and its AdamW, which move in every run.
    """
    sizes, eta = TASKS[task], ETA[method][task]
    channels = sizes.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if method == "robust_lu":
            return RobustLU(task, channels, sizes.layers, eta).to(device, dtype)
        normalised = method == "adaptive_deq"
        mismatch = sizes.mismatch(normalised).to(device, dtype)
        prox = ProximalNetwork(channels, sizes.layers, eta, normalised).to(device, dtype)
    gamma, lam = WEIGHTS[method][task]
    if method == "adaptive_lu":
        return AdaptiveLU(mismatch, prox, gamma, lam)
    return AdaptiveDEQ(task, mismatch, prox, gamma, lam)


def problem(
    task: str, seed: int = 0, batch: int | None = None, dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Draw a random measurement y and nominal model A0 of the reference size.

    Args:
        task: "deblur", "deconv" or "defog".
        seed: of the data.
        batch: number of samples; the task's own if None.
        dtype: of both.
        device: of both.

    Returns:
        y [B, C, H, W] and A0: a Gaussian kernel [3, 1, 7, 7], dense Ricker matrices [B, 1, 128, 128], or
        depth maps [B, 1, H, W] in 0..1.
    """
    rng = torch.Generator().manual_seed(seed)
    count, channels, height, width = TASKS[task].shape
    count = count if batch is None else batch
    x = torch.rand(count, channels, height, width, generator=rng)
    if task == "deblur":
        A0 = gaussian_kernel(2.0, 7).expand(channels, 1, 7, 7)
        y = blur(x, A0)
    elif task == "deconv":
        frequency = 0.06 + 0.08 * torch.rand(count, generator=rng)
        A0 = torch.stack([toeplitz(ricker(float(f), 51), height) for f in frequency])[:, None]
        y = convolve(torch.where(x > 0.9, 2 * x - 1.9, torch.zeros(())), A0)
    else:
        A0 = torch.rand(count, 1, height, width, generator=rng)
        y = x * torch.exp(-A0) + 0.8 * (1 - torch.exp(-A0))
    y = y + 0.01 * torch.randn(y.shape, generator=rng)
    return y.to(device, dtype), A0.contiguous().to(device, dtype)


def gaussian_kernel(sigma: float, taps: int) -> Tensor:
    """A normalised Gaussian [taps, taps] of width sigma pixels."""
    line = torch.exp(-0.5 * ((torch.arange(taps) - taps // 2) / sigma) ** 2)
    return torch.outer(line, line) / line.sum() ** 2


def ricker(frequency: float, taps: int) -> Tensor:
    """A centred Ricker wavelet [taps] of peak 1; frequency in cycles per sample."""
    a = (torch.pi * frequency * (torch.arange(taps) - taps // 2)) ** 2
    return (1 - 2 * a) * torch.exp(-a)


def toeplitz(wavelet: Tensor, samples: int) -> Tensor:
    """The dense matrix [samples, samples] of convolution with a centred wavelet [taps], zero outside."""
    lag = torch.arange(samples)[:, None] - torch.arange(samples) + wavelet.numel() // 2
    inside = (lag >= 0) & (lag < wavelet.numel())
    return torch.where(inside, wavelet[lag.clamp(0, wavelet.numel() - 1)], torch.zeros(()))
