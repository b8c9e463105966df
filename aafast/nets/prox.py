"""The proximal network R_rho: a stack of 3x3 convolutions with GroupNorm and GELU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .. import ops
from ..config import ModelConfig
from .spectral_norm import NormalisedConv2d


def initialise(weight: Tensor) -> None:
    """Kaiming normal (fan_out) / 10, the authors' start of every convolution."""
    with torch.no_grad():
        nn.init.kaiming_normal_(weight, mode="fan_out").div_(10)


_KINDS = {nn.Conv2d: "conv", NormalisedConv2d: "conv", nn.GroupNorm: "norm", nn.Identity: "norm", nn.GELU: "gelu"}
_BEFORE = {"conv": ("gelu",), "norm": ("conv",), "gelu": ("conv", "norm")}  # what each may follow in a stack


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
        self.skip, self.groups = config.skip, config.groups
        self.backend = "auto"  # of ops.conv_stack
        self.image_channels = config.image_channels
        for layer in self.R:
            if isinstance(layer, nn.Conv2d):
                initialise(layer.weight)
        if not group:  # without GroupNorm the tenth of Kaiming would let the signal die out layer by layer
            with torch.no_grad():
                for layer in layers[:-1]:
                    if isinstance(layer, nn.Conv2d):
                        layer.weight.mul_(10)

    def convolutions(self) -> list[nn.Conv2d]:
        """The convolutions, in order."""
        return [layer for layer in self.R if isinstance(layer, nn.Conv2d)]

    def norms(self) -> list[nn.GroupNorm | None]:
        """The GroupNorm after each hidden convolution, None where it has none."""
        found: list[nn.GroupNorm | None] = []
        for layer in self.R:
            if isinstance(layer, nn.Conv2d):
                found.append(None)
            elif isinstance(layer, nn.GroupNorm):
                found[-1] = layer
        return found[:-1]

    def effective_weights(self) -> list[Tensor]:
        """What each convolution convolves with, as one set [1, outputs, inputs, 3, 3]."""
        return [
            (layer.effective_weight() if isinstance(layer, NormalisedConv2d) else layer.weight)[None]
            for layer in self.convolutions()
        ]

    def peculiarity(self) -> str | None:
        """What keeps this network from being run as one stack: other layers, or hooks on them; None if nothing does."""
        if type(self) is not ProximalNetwork:
            return f"its proximal network is a {type(self).__name__}, not the package's ProximalNetwork"
        if any(module._forward_hooks or module._forward_pre_hooks for module in self.modules() if module is not self):
            return "hooks are registered on its layers, and a stack does not call them"
        before = "gelu"
        for layer in self.R:
            kind = _KINDS.get(type(layer), "")
            if before not in _BEFORE.get(kind, ()) or not self._is_plain(layer):
                what = layer if kind else type(layer).__name__
                return f"its proximal network has a layer {what} after {before}, and a stack has none there"
            before = kind
        return None if before == "conv" else f"its proximal network ends with {before}"

    def _is_plain(self, layer: nn.Module) -> bool:
        """Whether a stack has layers with the settings of this one."""
        if isinstance(layer, nn.Conv2d):
            sizes = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
            return sizes == ((3, 3), (1, 1), (1, 1), (1, 1)) and layer.groups == 1 and layer.padding_mode == "zeros"
        if isinstance(layer, nn.GroupNorm):
            return layer.num_groups == self.groups and layer.eps == 1e-5 and layer.affine
        return not isinstance(layer, nn.GELU) or layer.approximate == "none"

    def forward(self, x: Tensor) -> Tensor:
        if self.peculiarity() is not None:
            out = self.R(x)
        else:
            convs, norms = self.convolutions(), self.norms()
            out = ops.conv_stack(
                x,
                self.effective_weights(),
                [None if conv.bias is None else conv.bias[None] for conv in convs],
                [None if norm is None else norm.weight[None] for norm in norms],
                [None if norm is None else norm.bias[None] for norm in norms],
                self.groups,
                backend=self.backend,
            )
        return out + x[:, : self.image_channels] if self.skip else out


def _plain_conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
