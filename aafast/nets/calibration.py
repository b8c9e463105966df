"""The calibration network: an estimate of how the nominal forward model differs from the one that made the data."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ModelConfig
from ..physics import ForwardModel
from ..physics.deformations import DEFORMATIONS

ROUNDS = 2  # how often the network looks at the data through the model that it found last
WIDTHS = (16, 24, 32, 64)
# The most that one round may move a number: an estimate far outside what was seen in training stays a bounded one.
REACH = 1.5


class CalibrationNetwork(nn.Module):
    """A0 -> A: the numbers of a deformation of A0, estimated from the data and what A0 makes of them.

    Four 3x3 convolutions on the deformation's images (the last three with stride 2), pooled over the image by mean and
    by a softmax of learned scores, then three linear layers beside the deformation's numbers: any size of image from 8
    up. The same weights serve each of the rounds; untrained, it returns A0 itself.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.deformation = DEFORMATIONS[config.calibration](config.image_channels)
        inputs, layers = self.deformation.images, []
        for index, width in enumerate(WIDTHS):
            layers.append(nn.Conv2d(inputs, width, 3, stride=1 if index == 0 else 2, padding=1))
            inputs = width
        self.images = nn.ModuleList(layers)
        pooled = WIDTHS[-1] + WIDTHS[-1] // 2
        self.numbers = nn.Sequential(
            nn.Linear(pooled + self.deformation.numbers + self.deformation.size, 96),
            nn.GELU(),
            nn.Linear(96, 64),
            nn.GELU(),
            nn.Linear(64, self.deformation.size),
        )
        last = self.numbers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def fits(self, A0: ForwardModel) -> bool:
        """Whether A0 is of the kind that this network was made for; others are used as they are."""
        return self.deformation.fits(A0)

    def change(self, A: ForwardModel, y: Tensor, numbers: Tensor) -> Tensor:
        """The change of the numbers [B, P] that one look at y through A suggests."""
        with torch.no_grad():
            images, facts = self.deformation.evidence(A, y)
        features = images
        for layer in self.images:
            features = F.gelu(layer(features))
        values, scores = features.flatten(2).split(WIDTHS[-1] // 2, dim=1)
        pooled = [features.mean((2, 3)), (values * scores.softmax(2)).sum(2)]
        found = self.numbers(torch.cat([*pooled, facts, numbers], dim=1))
        return REACH * torch.tanh(found / REACH)

    def rounds(self, y: Tensor, A0: ForwardModel) -> list[Tensor]:
        """The numbers [B, P] after each round; gradients reach a round's own look alone."""
        numbers = self.deformation.start(A0, len(y))
        found: list[Tensor] = []
        for _ in range(ROUNDS):
            held = numbers.detach()
            with torch.no_grad():
                A = self.deformation.deform(A0, held) if found else A0
            numbers = held + self.change(A, y, held)
            found.append(numbers)
        return found

    def forward(self, y: Tensor, A0: ForwardModel) -> ForwardModel:
        """The calibrated model, one per sample."""
        return self.deformation.deform(A0, self.rounds(y, A0)[-1])
