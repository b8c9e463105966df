"""The proximal network R_rho: a stack of 3x3 convolutions with GroupNorm and GELU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from .spectral_norm import NormalisedConv2d


def initialise(weight: Tensor) -> None:
    """Kaiming normal (fan_out) / 10, the authors' start of every convolution."""
    with torch.no_grad():
        nn.init.kaiming_normal_(weight, mode="fan_out").div_(10)


class ProximalNetwork(nn.Module):
    """R_rho of the paper: `depth` 3x3 convolutions, GroupNorm + GELU between them, none after the last, no bias.

    Takes [B, C or 2C, H, W] (the point to denoise and, with `feed_y`, the measurement), returns [B, C, H, W]. The
    first layer has no GroupNorm. norm="none" leaves every GroupNorm out, so that the answer at a pixel depends on its
    neighbourhood alone; skip=True adds the first C input channels to the output.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        conv = NormalisedConv2d if config.normalise else _plain_conv
        inputs = config.image_channels * (2 if config.feed_y and config.method.startswith("adaptive") else 1)
        width, group = config.channels, config.norm == "group"
        layers: list[nn.Module] = [conv(inputs, width), nn.GELU()]
        for _ in range(config.depth - 2):
            layers += [
                conv(width, width),
                nn.GroupNorm(config.groups, width) if group else nn.Identity(),
                nn.GELU(),
            ]
        layers.append(conv(width, config.image_channels))
        self.R = nn.Sequential(*layers)
        self.skip = config.skip
        self.image_channels = config.image_channels
        for layer in self.R:
            if isinstance(layer, nn.Conv2d):
                initialise(layer.weight)
        if not group:  # without GroupNorm the tenth of Kaiming would let the signal die out layer by layer
            with torch.no_grad():
                for layer in self.R[:-1]:
                    if isinstance(layer, nn.Conv2d):
                        layer.weight.mul_(10)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and x.dtype == torch.float32:
            x = x.contiguous(memory_format=torch.channels_last)  # the faster layout of the CPU's convolutions
        out = self.R(x).contiguous()
        return out + x[:, : self.image_channels] if self.skip else out


def _plain_conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
