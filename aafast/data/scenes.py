"""Dead-leaves scenes with depth: sky, a ground plane, and leaves that stand on it, nearer ones in front."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .leaves import OVER, Leaves, bend, colour, paint, palette, power_law_radii, random_leaves, shrink

# Depth of the nearest leaf; the background lies at 1, the unit of all depths.
NEAREST = 0.1


class Scene(NamedTuple):
    """An image and how far away what it shows is.

    Attributes:
        image: [3, H, W] float32 in 0..1.
        depth: [H, W] float32.
        foggy: photograph of the scene in fog [3, H, W] float32 in 0..1, where there is one.
        beta: density of that fog, in the unit of 1 / depth.
        airlight: colour of that fog [3] in the unit of the image.
    """

    image: np.ndarray
    depth: np.ndarray
    foggy: np.ndarray | None = None
    beta: float = 0.0
    airlight: np.ndarray | None = None


def dead_leaves_scene(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a scene and its depth.

    The ground's depth is that of a plane seen from above, `d = c / (row - horizon)`; what stands on it has radii of
    density r^-3 before perspective, which divides them by their depth.

    Args:
        rng: source of every random number.
        height, width: H, W in pixels.

    Returns:
        Image [3, H, W] float32 in 0..1 and depth [H, W] float32 in 0.1..1, 1 the background (and the unit).
    """
    shape = (OVER * height, OVER * width)
    horizon = rng.uniform(0.3, 0.5) * shape[0]
    nearest_ground = rng.uniform(0.1, 0.16)
    plain = nearest_ground * (shape[0] - horizon)  # depth times rows below the horizon
    flat, flat_depth = _lying(rng, shape, horizon, plain)
    upright, upright_depth = _standing(rng, shape, horizon, plain)
    leaves = Leaves(
        *(np.concatenate([getattr(part, name) for part in (flat, upright)]) for name in Leaves.__dataclass_fields__)
    )
    depth = np.concatenate([flat_depth, upright_depth])
    on_ground = np.arange(len(depth)) < len(flat_depth)
    order = np.argsort(-depth, kind="stable")
    leaves, depth, on_ground = leaves.take(order), depth[order], on_ground[order]
    owner = paint(shape, leaves)
    owner = np.where(owner > 0, owner + 1, np.arange(shape[0])[:, None] > horizon)  # 0 sky, 1 ground, 2... leaves
    owner = bend(rng, owner.astype(np.int32))
    tone = palette(rng, len(depth) + 2)
    tone[0] = rng.uniform(0.55, 0.95) + rng.uniform(0.0, 0.12) * np.array([-1.0, 0.0, 1.0])
    image = shrink(colour(rng, owner, len(tone), np.clip(tone, 0.0, 1.0)))
    owner = owner[::OVER, ::OVER]
    rows = np.arange(0, shape[0], OVER)[:, None]
    ground = np.clip(plain / np.maximum(rows - horizon, 1.0), NEAREST, 1.0)
    own = np.concatenate([[1.0, 0.0], np.where(on_ground, 0.0, depth)])[owner]
    return image, np.where(own > 0, own, ground).astype(np.float32)


def _lying(rng: np.random.Generator, shape: tuple[int, int], horizon: float, plain: float) -> tuple[Leaves, np.ndarray]:
    """Leaves that lie on the ground, foreshortened, and the depths [N] of their centres."""
    area = (int(shape[0] - horizon), shape[1])
    radius = power_law_radii(rng, area, smallest=3.0, largest=0.5 * area[0], coverage=1.2)
    below = np.maximum(area[0] * rng.random(len(radius)), 2.0)
    leaves = random_leaves(rng, radius, horizon + below, rng.uniform(0, shape[1], len(radius)))
    # Level, and flatter the farther away: none reaches over the horizon.
    squeeze = np.minimum(0.2 + 0.5 * below / area[0], 0.8 * below / leaves.a)
    flat = Leaves(leaves.row, leaves.column, leaves.a, leaves.a * squeeze, np.zeros(len(radius)), leaves.boxy)
    return flat, np.clip(plain / below, NEAREST, 1.0)


def _standing(
    rng: np.random.Generator, shape: tuple[int, int], horizon: float, plain: float
) -> tuple[Leaves, np.ndarray]:
    """Leaves that stand on the ground or on one another, and their depths [N]."""
    base = power_law_radii(rng, shape, smallest=1.5, largest=0.15 * shape[0], coverage=0.25)
    depth = np.exp(rng.uniform(np.log(1.5 * NEAREST), np.log(0.95), len(base)))
    radius = np.clip(base * (0.5 / depth), 1.5, 0.4 * shape[0])
    ground = horizon + plain / depth
    height = radius + rng.exponential(0.12 * shape[0], len(base)) / depth * 0.5
    leaves = random_leaves(rng, radius, ground - height, rng.uniform(0, shape[1], len(base)))
    return leaves, depth
