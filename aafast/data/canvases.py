"""Crops of generated images, of which a few are kept: painting one costs far more than cutting from it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .leaves import dead_leaves
from .scenes import dead_leaves_scene
from .splits import generator

_PAINTERS = {"leaves": lambda rng, *size: (dead_leaves(rng, *size),), "scene": dead_leaves_scene}
# Smallest canvas (H, W) and the rim left around a crop to move in.
_SIZES = {"leaves": ((256, 256), 32), "scene": ((144, 288), 16)}
# Neighbouring pairs come from this many canvases in turn, so that a batch is not all of one.
POOL = 8
# How often each pixel of a canvas is used on average; every test pair has a canvas to itself.
_USE = {"train": 6.0, "valid": 2.0, "test": 0.0}


def crop(
    kind: str, rng: np.random.Generator, shape: tuple[int, int], seed: int, split: str, index: int
) -> tuple[np.ndarray, ...]:
    """Cut what pair `index` of a split sees out of its canvas, at a random place.

    Args:
        kind: "leaves" for an image, "scene" for an image and its depth.
        rng: of the pair; draws the place.
        shape: (H, W) of the crop in pixels.
        seed, split, index: of the pair; canvases of different splits or seeds share no random number.

    Returns:
        Image [3, H, W] float32 in 0..1 and, of a scene, depth [H, W] float32; views that cannot be written to.
    """
    (smallest_height, smallest_width), rim = _SIZES[kind]
    height, width = max(smallest_height, shape[0] + rim), max(smallest_width, shape[1] + rim)
    uses = max(1, int(_USE[split] * height * width / (shape[0] * shape[1])))
    number = index // (POOL * uses) * POOL + index % POOL
    canvas = _canvas(kind, seed, split, number, height, width)
    top, left = int(rng.integers(height - shape[0] + 1)), int(rng.integers(width - shape[1] + 1))
    return tuple(part[..., top : top + shape[0], left : left + shape[1]] for part in canvas)


@lru_cache(maxsize=4 * POOL)
def _canvas(kind: str, seed: int, split: str, number: int, height: int, width: int) -> tuple[np.ndarray, ...]:
    canvas = _PAINTERS[kind](generator(seed, split, number, "image"), height, width)
    for part in canvas:
        part.flags.writeable = False
    return canvas
