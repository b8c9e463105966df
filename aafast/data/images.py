"""Images of files: read by Pillow, cropped and resized, as [3, H, W] float32 in 0..1."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FileError, FormatError, describe, require
from .splits import generator

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".ppm")


def read_image(path: Path, mode: str | None = "RGB") -> Any:
    """The image in a file as a Pillow image of `mode` (None: as it is stored).

    Raises FileError where the file is missing or cannot be read, FormatError where it is damaged or no image.
    """
    library = require("PIL.Image", extra="images")
    try:
        with library.open(path) as image:
            image.load()
            return image if mode is None else image.convert(mode)
    except (OSError, SyntaxError, ValueError, EOFError, library.DecompressionBombError) as error:
        if isinstance(error, OSError) and error.errno:
            raise FileError(
                describe(f"image {path}", error.strerror, "a file that can be read", "Check its name and its rights")
            ) from error
        raise FormatError(
            describe(f"image {path}", f"a damaged or truncated file ({error})", "an image", "Copy it again, or drop it")
        ) from error


def fit(image: Any, shape: tuple[int, int]) -> Any:
    """The largest part of a Pillow image about its centre with the aspect of `shape` (H, W), resized to that shape."""
    box = centre_box(image.size, shape)
    return image.resize((shape[1], shape[0]), require("PIL.Image", extra="images").Resampling.BICUBIC, box=box)


def centre_box(size: tuple[int, int], shape: tuple[int, int]) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of the largest box of aspect `shape` (H, W) centred in `size` (width, height)."""
    width, height = size
    scale = min(width / shape[1], height / shape[0])
    left, top = (width - scale * shape[1]) / 2, (height - scale * shape[0]) / 2
    return left, top, left + scale * shape[1], top + scale * shape[0]


def as_array(image: Any) -> np.ndarray:
    """A Pillow RGB image as [3, H, W] float32 in 0..1."""
    return np.ascontiguousarray(np.asarray(image, np.float32).transpose(2, 0, 1)) / np.float32(255)


def random_crop(
    rng: np.random.Generator, parts: Iterable[np.ndarray], shape: tuple[int, int], mirror: bool
) -> tuple[np.ndarray, ...]:
    """Cut the same box of `shape` out of arrays [..., H, W], and mirror them left to right in half of the draws."""
    parts = tuple(parts)
    height, width = parts[0].shape[-2:]
    top, left = int(rng.integers(height - shape[0] + 1)), int(rng.integers(width - shape[1] + 1))
    step = -1 if mirror and rng.random() < 0.5 else 1
    return tuple(part[..., top : top + shape[0], left : left + shape[1]][..., ::step] for part in parts)


def at_least(shape: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """`size` where a crop of `shape` fits into it, else `shape` itself."""
    return size if shape[0] <= size[0] and shape[1] <= size[1] else shape


def place(seed: int, split: str, count: int, index: int) -> int:
    """Which of `count` files pair `index` sees: in a new random order at each pass of training, else in their order."""
    if split != "train":
        return index % count
    return int(_order(seed, split, count, index // count)[index % count])


@lru_cache(maxsize=4)
def _order(seed: int, split: str, count: int, epoch: int) -> np.ndarray:
    return generator(seed, split, epoch, "order").permutation(count)


def shown(names: Iterable[object], most: int = 5) -> str:
    """The first names of a list and how many there are: for errors."""
    words = [str(name) for name in names]
    rest = f" and {len(words) - most} more" if len(words) > most else ""
    return f"{', '.join(words[:most])}{rest}"
