"""CelebA, the faces of the paper's deblurring task: aligned images and their official split."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..errors import FileError, FormatError, describe
from .images import as_array, at_least, fit, place, random_crop, read_image, shown
from .splits import SPLITS

IMAGES, PARTITION = "img_align_celeba", "list_eval_partition"
# As the archives unpack, and as copies of the set are often laid out.
_IMAGES = (IMAGES, f"{IMAGES}/{IMAGES}", f"Img/{IMAGES}", f"Img/{IMAGES}/{IMAGES}")
_PARTITIONS = tuple(f"{folder}{PARTITION}{suffix}" for folder in ("", "Eval/") for suffix in (".txt", ".csv"))
HOW = (
    "Download img_align_celeba.zip and list_eval_partition.txt from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, "
    "unpack both into one folder and give that folder as the source"
)


def is_celeba(root: Path) -> bool:
    """Whether a folder holds a part of CelebA."""
    return any((root / name).exists() for name in (*_IMAGES, *_PARTITIONS))


class CelebA:
    """The images below `root`, cropped about their centre and resized to `size` (H, W), or larger where asked for.

    The split is that of list_eval_partition: 0 train, 1 valid, 2 test. Raises FileError where a part is missing or
    listed images are, FormatError where the list is damaged.
    """

    def __init__(self, root: Path, size: tuple[int, int]) -> None:
        self.size = size
        folder = next((root / name for name in reversed(_IMAGES) if (root / name).is_dir()), None)
        listed = next((root / name for name in _PARTITIONS if (root / name).is_file()), None)
        if folder is None or listed is None:
            missing = [name for name, found in ((IMAGES, folder), (f"{PARTITION}.txt", listed)) if found is None]
            raise FileError(
                describe(f"CelebA in {root}", f"no {' and no '.join(missing)} there", "images and their split", HOW)
            )
        self.folder, self.names = folder, _read_partition(listed)
        absent = sorted({name for names in self.names.values() for name in names} - set(os.listdir(self.folder)))
        if absent:
            raise FileError(
                describe(
                    f"images of {listed}",
                    f"{len(absent)} that are not in {self.folder}: {shown(absent)}",
                    "every image listed",
                    "Unpack the archive again",
                )
            )

    def __call__(
        self, rng: np.random.Generator, shape: tuple[int, int], seed: int, split: str, index: int
    ) -> np.ndarray:
        """What pair `index` of a split sees: [3, H, W] float32 in 0..1."""
        names = self.names[split]
        name = names[place(seed, split, len(names), index)]
        image = as_array(fit(read_image(self.folder / name), at_least(shape, self.size)))
        return random_crop(rng, [image], shape, mirror=split == "train")[0]


def _read_partition(path: Path) -> dict[str, list[str]]:
    """Names of the images of each split; every line is `NAME NUMBER`, or `NAME,NUMBER` below a heading."""
    names: dict[str, list[str]] = {split: [] for split in SPLITS}
    by_number = {str(number): split for split, number in SPLITS.items()}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    heading = path.suffix == ".csv"
    for number, line in list(enumerate(lines, 1))[heading:]:
        words = line.replace(",", " ").split()
        if not words:
            continue
        if len(words) != 2 or words[1] not in by_number:
            raise FormatError(
                describe(f"{path}, line {number}", repr(line[:80]), "a file's name and 0, 1 or 2", "Download it again")
            )
        names[by_number[words[1]]].append(words[0])
    empty = [split for split, found in names.items() if not found]
    if empty:
        raise FormatError(
            describe(f"split {path}", f"no image of {', '.join(empty)}", "images of each split", "Download it again")
        )
    return names
