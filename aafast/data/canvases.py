"""Crops of generated images, of which a few are kept: painting one costs far more than cutting from it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .images import random_crop
from .leaves import dead_leaves
from .scenes import Scene, dead_leaves_scene
from .splits import generator

# Smallest canvas (H, W), and the rim left around a crop to move in.
_SIZES = {"leaves": ((256, 256), 32), "scene": ((144, 288), 16)}
# Neighbouring pairs come from this many canvases in turn, so that a batch is not all of one.
POOL = 8
# How often each pixel of a canvas is used on average; every test pair has a canvas to itself.
_USE = {"train": 6.0, "valid": 2.0, "test": 0.0}


def generated_image(rng: np.random.Generator, shape: tuple[int, int], seed: int, split: str, index: int) -> np.ndarray:
    """What pair `index` of a split sees: [3, H, W] float32 in 0..1, dead leaves with their channels in any order.

    Args:
        rng: of the pair; draws place, mirroring and order.
        shape: (H, W) of the crop in pixels.
        seed, split, index: of the pair; canvases of different splits or seeds share no random number.
    """
    (image,) = random_crop(rng, _canvas_of("leaves", shape, seed, split, index), shape, mirror=True)
    return image[rng.permutation(3)]


def generated_scene(rng: np.random.Generator, shape: tuple[int, int], seed: int, split: str, index: int) -> Scene:
    """What pair `index` of a split sees of a dead-leaves scene; arguments as in `generated_image`."""
    image, depth = random_crop(rng, _canvas_of("scene", shape, seed, split, index), shape, mirror=True)
    return Scene(image, depth)


def _canvas_of(kind: str, shape: tuple[int, int], seed: int, split: str, index: int) -> tuple[np.ndarray, ...]:
    smallest, rim = _SIZES[kind]
    height, width = (max(least, side + rim) for least, side in zip(smallest, shape, strict=True))
    uses = max(1, int(_USE[split] * height * width / (shape[0] * shape[1])))
    return _canvas(kind, seed, split, index // (POOL * uses) * POOL + index % POOL, height, width)


@lru_cache(maxsize=4 * POOL)
def _canvas(kind: str, seed: int, split: str, number: int, height: int, width: int) -> tuple[np.ndarray, ...]:
    rng = generator(seed, split, number, "image")
    canvas = (dead_leaves(rng, height, width),) if kind == "leaves" else dead_leaves_scene(rng, height, width)
    for part in canvas:
        part.flags.writeable = False
    return canvas
