"""Simple images for the colour tasks: overlapping discs on a shaded ground, with a depth map that goes with them."""

from __future__ import annotations

import torch
from torch import Tensor

DISCS = 12


def disc_images(count: int, height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draw images [count, 3, H, W] and depths [count, 1, H, W], both in 0..1; image i depends on (seed, i) alone.

    The ground is shaded from corner to corner and lies at depth 1 at the top, 0.3 at the bottom. Discs come nearer one
    after the other, each of one colour and one depth.
    """
    drawn = [_disc_image(torch.Generator().manual_seed(1000 * seed + i), height, width) for i in range(count)]
    return torch.stack([image for image, _ in drawn]), torch.stack([depth for _, depth in drawn])


def _disc_image(generator: torch.Generator, height: int, width: int) -> tuple[Tensor, Tensor]:
    def uniform(*size: int) -> Tensor:
        return torch.rand(size, generator=generator)

    row = torch.linspace(0, 1, height)[:, None].expand(height, width)
    column = torch.linspace(0, 1, width)[None].expand(height, width)
    corners = uniform(3, 4, 1, 1)
    image = corners[:, 0] * (1 - row) * (1 - column) + corners[:, 1] * (1 - row) * column
    image = image + corners[:, 2] * row * (1 - column) + corners[:, 3] * row * column
    depth = (1 - 0.7 * row)[None]
    for near in torch.sort(uniform(DISCS), descending=True).values:
        centre, radius, colour = uniform(2), 0.05 + 0.2 * uniform(1), uniform(3, 1, 1)
        across = (column - centre[1]) * (width / height)
        inside = (row - centre[0]).square() + across.square() < radius.square()
        image = torch.where(inside, colour, image)
        depth = torch.where(inside, near * (1 - 0.7 * row)[None], depth)
    return image, depth
