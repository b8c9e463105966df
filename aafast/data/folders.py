"""Images for deblurring from a folder: CelebA, or a user's own images in train/, valid/ and test/."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FileError, FormatError, describe
from .celeba import HOW, CelebA, is_celeba
from .images import SUFFIXES, as_array, place, random_crop, read_image
from .splits import SPLITS


@lru_cache(maxsize=4)
def open_images(root: Path, size: tuple[int, int]) -> Any:
    """The images in a folder: an object that takes (rng, shape, seed, split, index) and returns [3, H, W].

    `size` (H, W) is that to which CelebA's images are resized. Raises FileError where there are none.
    """
    if is_celeba(root):
        return CelebA(root, size)
    if root.is_dir() and any((root / split).is_dir() for split in SPLITS):
        return OwnImages(root)
    raise FileError(
        describe(
            f"images in {root}",
            "none there" if root.is_dir() else "no such folder",
            "CelebA, or your own images in folders train, valid and test",
            HOW,
        )
    )


class OwnImages:
    """A user's own images in train/, valid/ and test/ below `root`, seen in crops of their own resolution."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = {
            split: sorted(f for f in (root / split).glob("**/*") if f.suffix.lower() in SUFFIXES) for split in SPLITS
        }

    def __call__(
        self, rng: np.random.Generator, shape: tuple[int, int], seed: int, split: str, index: int
    ) -> np.ndarray:
        """What pair `index` of a split sees: [3, H, W] float32 in 0..1."""
        files = self.files[split]
        if not files:
            raise FileError(
                describe(f"images in {self.root / split}", "none", f"files {', '.join(SUFFIXES)}", "Put images there")
            )
        path = files[place(seed, split, len(files), index)]
        image = as_array(read_image(path))
        if image.shape[1] < shape[0] or image.shape[2] < shape[1]:
            raise FormatError(
                describe(
                    f"image {path}",
                    f"{image.shape[1]} x {image.shape[2]} pixels",
                    f"at least {shape[0]} x {shape[1]}, the size asked for and the rim that leaks in",
                    "Remove it, or ask for a smaller shape",
                )
            )
        return random_crop(rng, [image], shape, mirror=split == "train")[0]
