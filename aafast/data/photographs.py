"""The natural test images that lie in scikit-image's wheel; nothing is downloaded."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from ..errors import FileError, InputError, describe, require
from .depth import fill_holes
from .images import as_array, random_crop, read_image
from .scenes import Scene

# Colour photographs: NASA (public domain), S. van der Walt (CC0), R. Michetti (CC0), Middlebury 2014, SpaceX (public
# domain); and one in grey, L. Varshney (CC0).
NAMES = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg", "camera.png")
STEREO, DISPARITY = "motorcycle_left.png", "motorcycle_disp.npz"
# Added to the disparities of the stereo pair, in pixels: its two cameras' principal points differ by it.
_OFFSET = 31.086


def photograph(rng: np.random.Generator, shape: tuple[int, int], seed: int, split: str, index: int) -> np.ndarray:
    """What pair `index` of the test split sees: [3, H, W] float32 in 0..1, a random crop of photograph index mod 6.

    Photographs are seen at half their resolution, where they are sharp, or at the full one where a crop needs it.
    Raises InputError on another split, or a crop that does not fit.
    """
    _only_test(split)
    name = NAMES[index % len(NAMES)]
    return random_crop(rng, [_large_enough(name, shape)], shape, mirror=False)[0]


def photographed_scene(rng: np.random.Generator, shape: tuple[int, int], seed: int, split: str, index: int) -> Scene:
    """What pair `index` of the test split sees of the one photograph that comes with disparities, a motorcycle.

    Its depth is in units of the farthest point, 0.42..1; raises as `photograph` does.
    """
    _only_test(split)
    image = _large_enough(STEREO, shape)
    image, depth = random_crop(rng, [image, _depth(image.shape[1:])], shape, mirror=True)
    return Scene(image, depth)


def _only_test(split: str) -> None:
    if split != "test":
        raise InputError(
            describe(
                f"photographs for split {split!r}",
                "a handful of test images",
                'split "test"',
                "Train and validate on generated images or on a folder of your own",
            )
        )


def _large_enough(name: str, shape: tuple[int, int]) -> np.ndarray:
    for factor in (2, 1):
        image = _read(name, factor)
        if image.shape[1] >= shape[0] and image.shape[2] >= shape[1]:
            return image
    raise InputError(
        describe(
            "crop of a photograph",
            f"{shape[0]} x {shape[1]} pixels with its rim",
            f"at most the {image.shape[1]} x {image.shape[2]} of {name}",
            "Ask for a smaller shape",
        )
    )


def _file(name: str) -> Path:
    path = Path(str(require("skimage.data", extra="images").__file__)).parent / name
    if not path.is_file():
        raise FileError(
            describe(
                f"scikit-image's test image {name}",
                f"none at {path}",
                "a wheel of scikit-image that holds it",
                "Install another version of scikit-image",
            )
        )
    return path


@lru_cache(maxsize=2 * len(NAMES))
def _read(name: str, factor: int) -> np.ndarray:
    image = as_array(read_image(_file(name)).reduce(factor))
    image.flags.writeable = False
    return image


@lru_cache(maxsize=2)
def _depth(shape: tuple[int, int]) -> np.ndarray:
    with np.load(_file(DISPARITY), allow_pickle=False) as stored:
        disparity = stored["arr_0"]
    valid = np.isfinite(disparity)
    depth = 1 / (fill_holes(np.where(valid, disparity, 0), valid) + _OFFSET)
    factor = -(-depth.shape[0] // shape[0])
    return (depth[::factor, ::factor] / depth.max()).astype(np.float32)
