"""The live spectral normalisation of the authors' equilibrium models: one power iteration per call."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LIPSCHITZ = 0.3 ** (1 / 17)  # every normalised layer gets this norm; 17 of them would compose to 0.3
PATCH = 40  # u is an image of this height and width, whatever the data's size


def _unit(image: Tensor) -> Tensor:
    # Comparing a tensor with a number waits for the device, as in the authors' runs: two waits per call.
    return image / max(image.norm(), 1e-12)


class SpectralConv2d(nn.Module):
    """A 3x3 convolution whose kernel is rescaled to a set operator norm.

    In train mode every call runs one power iteration `v = K^T u / |K^T u|`, `u = K v / |K v|` on
    (1, C, 40, 40) images, takes `sigma = <u, K v>` and stores `weight = weight_orig / sigma * 0.3^(1/17)`.
    The norm of K^T u is that of the full 42 x 42 image, whose border is cut off only afterwards: v is shorter
    than 1, which makes sigma 1.7 % small at first and less so as u settles in the middle. The gradient passes
    through sigma, with u and v constant. In eval mode `weight` is used as the last train-mode call left it
    (as stored, if there was none), cut off from weight_orig: a backward pass still computes its gradient.
    """

    weight: Tensor
    weight_u: Tensor

    def __init__(self, channels_in: int, channels_out: int, bias: bool = False) -> None:
        super().__init__()
        self.weight_orig = nn.Parameter(torch.empty(channels_out, channels_in, 3, 3))
        self.bias = nn.Parameter(torch.empty(channels_out)) if bias else None
        self.register_buffer("weight", torch.empty(channels_out, channels_in, 3, 3))
        self.register_buffer("weight_u", torch.empty(1, channels_out, PATCH, PATCH))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the first weights and the first u; `weight` starts as a copy, not normalised."""
        initialise(self.weight_orig, self.bias)
        with torch.no_grad():
            self.weight.copy_(self.weight_orig)
            self.weight_u.copy_(_unit(torch.randn_like(self.weight_u)))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.normalise()
        else:
            self.weight = self.weight.detach().requires_grad_(self.weight_orig.requires_grad)
        return F.conv2d(x, self.weight, self.bias, padding=1)

    def normalise(self) -> None:
        """One power iteration, and the weight it leads to."""
        with torch.no_grad():
            v = _unit(F.conv_transpose2d(self.weight_u, self.weight_orig))[:, :, 1:-1, 1:-1]
            u = _unit(F.conv2d(v, self.weight_orig, padding=1))
            self.weight_u = u
        sigma = torch.sum(u * F.conv2d(v, self.weight_orig, padding=1))
        self.weight = self.weight_orig / sigma * LIPSCHITZ


def refresh(network: nn.Module) -> None:
    """Do to every normalised convolution what a call in train mode does before convolving."""
    for layer in network.modules():
        if isinstance(layer, SpectralConv2d):
            layer.normalise()


def initialise(weight: Tensor, bias: Tensor | None) -> None:
    """Fill a convolution [C_out, C_in, 3, 3]: Kaiming normal by fan_out, over ten; bias as torch's own."""
    nn.init.kaiming_normal_(weight, mode="fan_out")
    with torch.no_grad():
        weight /= 10
    if bias is not None:
        bound = weight[0].numel() ** -0.5
        nn.init.uniform_(bias, -bound, bound)
