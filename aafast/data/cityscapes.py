"""Cityscapes with its foggy images and disparities, the street scenes of the paper's defogging task."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import FileError, FormatError, describe
from .depth import shrink_disparity
from .images import as_array, at_least, centre_box, fit, place, random_crop, read_image, shown
from .scenes import Scene

CLEAR, FOGGY, DISPARITY, CAMERA, LABELS = "leftImg8bit", "leftImg8bit_foggy", "disparity", "camera", "gtFine"
_FOLDERS = {"train": "train", "valid": "val", "test": "test"}
HOW = (
    "Register at https://www.cityscapes-dataset.com, download leftImg8bit_trainvaltest.zip, "
    "leftImg8bit_trainvaltest_foggy.zip, disparity_trainvaltest.zip, camera_trainvaltest.zip and, to know the sky, "
    "gtFine_trainvaltest.zip, unpack all into one folder and give that folder as the source"
)
# Depths are in units of 100 m, so that a scene's streets lie within 1, and are cut off at 300 m, as the sky is.
UNIT_METRES, FARTHEST = 100.0, 3.0
# Baseline in metres and focal length in pixels where a scene has no camera file: those of most of its cameras.
_BASELINE, _FOCAL = 0.209313, 2262.52
_SKY = 23
_BETA = re.compile(r"_leftImg8bit_foggy_beta_(\d+(?:\.\d+)?)$")


class _Files(NamedTuple):
    clear: Path
    disparity: Path
    foggy: Path | None
    beta: float
    camera: Path | None
    labels: Path | None


class Cityscapes:
    """Scenes below `root`, resized to `size` (H, W), or larger where asked for; splits train, val and test.

    fog: "given" reads the foggy images, each of which is one scene, clear images without one being left out; "made"
    leaves the fog to the caller. The depth is `baseline focal / disparity`. With gtFine there, its sky lies at the
    farthest depth. Raises FileError where a part is missing or files have no partner (the first are listed).
    """

    def __init__(self, root: Path, size: tuple[int, int], fog: str) -> None:
        self.root, self.size, self.fog = root, size, fog
        parts = (CLEAR, DISPARITY, FOGGY) if fog == "given" else (CLEAR, DISPARITY)
        missing = [name for name in parts if not (root / name).is_dir()]
        if missing:
            got = f"no {' and no '.join(missing)} there" if root.is_dir() else "no such folder"
            raise FileError(describe(f"Cityscapes in {root}", got, f"folders {', '.join(parts)}", HOW))
        self._listed: dict[str, list[_Files]] = {}

    def __call__(self, rng: np.random.Generator, shape: tuple[int, int], seed: int, split: str, index: int) -> Scene:
        """What pair `index` of a split sees."""
        files = self.files(split)
        whole = _read(files[place(seed, split, len(files), index)], at_least(shape, self.size))
        planes = [whole.image, whole.depth, *([] if whole.foggy is None else [whole.foggy])]
        image, depth, *foggy = random_crop(rng, planes, shape, mirror=split == "train")
        return whole._replace(image=image, depth=depth, foggy=foggy[0] if foggy else None)

    def files(self, split: str) -> list[_Files]:
        """The files of a split, in the order of their names."""
        if split not in self._listed:
            self._listed[split] = self._pair(_FOLDERS[split])
        return self._listed[split]

    def _pair(self, folder: str) -> list[_Files]:
        def frames(part: str, ending: str) -> dict[str, Path]:
            found = sorted((self.root / part / folder).glob(f"*/*{ending}"))
            return {f"{path.parent.name}/{path.name.removesuffix(ending)}": path for path in found}

        clear = frames(CLEAR, "_leftImg8bit.png")
        disparity = frames(DISPARITY, "_disparity.png")
        cameras, labels = frames(CAMERA, "_camera.json"), frames(LABELS, "_gtFine_labelIds.png")
        scenes: list[tuple[str, Path | None, float]] = [(frame, None, 0.0) for frame in clear]
        if self.fog == "given":
            scenes = [_foggy(path) for path in frames(FOGGY, ".png").values()]
        if not scenes:
            raise FileError(
                describe(
                    f"scenes in {self.root / (FOGGY if self.fog == 'given' else CLEAR) / folder}",
                    "none",
                    "images named CITY_SEQUENCE_FRAME_leftImg8bit... in a folder per city",
                    HOW,
                )
            )
        optional = [(CAMERA, cameras), (LABELS, labels)]
        wanted = [(CLEAR, clear), (DISPARITY, disparity), *((name, found) for name, found in optional if found)]
        absent = [f"{frame} (no {part})" for part, found in wanted for frame, _, _ in scenes if frame not in found]
        if absent:
            raise FileError(
                describe(
                    f"partners of the {len(scenes)} scenes in {self.root}, {folder}",
                    f"{len(absent)} files missing: {shown(absent)}",
                    f"one file of each of {', '.join(part for part, _ in wanted)} per scene",
                    "Unpack the archives again, or remove these scenes",
                )
            )
        return [
            _Files(clear[frame], disparity[frame], path, beta, cameras.get(frame), labels.get(frame))
            for frame, path, beta in scenes
        ]


@lru_cache(maxsize=4)
def open_cityscapes(root: Path, size: tuple[int, int], fog: str) -> Cityscapes:
    """The scenes in a folder, whose files are listed once."""
    return Cityscapes(root, size, fog)


def _foggy(path: Path) -> tuple[str, Path, float]:
    """CITY/CITY_SEQUENCE_FRAME, the file, and the density of its fog in the unit of 1 / depth."""
    found = _BETA.search(path.stem)
    if found is None:
        raise FormatError(
            describe(f"name of {path}", path.name, "CITY_SEQUENCE_FRAME_leftImg8bit_foggy_beta_0.01.png", "Rename it")
        )
    return f"{path.parent.name}/{path.stem[: found.start()]}", path, float(found[1]) * UNIT_METRES


@lru_cache(maxsize=64)
def _read(files: _Files, shape: tuple[int, int]) -> Scene:
    """One scene, cropped about its centre to the aspect of `shape` and resized."""
    clear = read_image(files.clear)
    box = centre_box(clear.size, shape)
    raw = _same_size(files.disparity, files.clear, clear.size)
    if raw.dtype.itemsize < 2:
        raise FormatError(
            describe(f"disparity {files.disparity}", f"{8 * raw.dtype.itemsize} bits", "16 bits", "Download it again")
        )
    disparity = (raw.astype(np.float32) - 1) / 256  # pixels
    small = shrink_disparity(disparity, raw > 0, shape, box)
    if not (small > 0).any():
        raise FormatError(describe(f"disparity {files.disparity}", "no valid pixel", "some", "Remove this scene"))
    baseline, focal = _camera(files.camera)
    nearest = baseline * focal / (FARTHEST * UNIT_METRES)
    depth = baseline * focal / np.maximum(small, nearest) / UNIT_METRES
    if files.labels is not None:
        sky = _same_size(files.labels, files.clear, clear.size) == _SKY
        share = shrink_disparity(sky.astype(np.float32), np.ones_like(sky), shape, box)
        depth = np.where(share > 0.5, FARTHEST, depth)
    image, depth = as_array(fit(clear, shape)), depth.astype(np.float32)
    if files.foggy is None:
        return Scene(image, depth)
    fog = read_image(files.foggy)
    if fog.size != clear.size:
        raise _wrong_size(files.foggy, fog.size, files.clear, clear.size)
    foggy = as_array(fit(fog, shape))
    return Scene(image, depth, foggy, files.beta, _airlight(image, depth, foggy, files.beta))


def _airlight(image: np.ndarray, depth: np.ndarray, foggy: np.ndarray, beta: float) -> np.ndarray:
    """The airlight [3] that explains a foggy image best: least squares of y - x t = L (1 - t) over the scene."""
    t = np.exp(-beta * depth)
    return ((foggy - image * t) * (1 - t)).sum((1, 2)) / max(float(((1 - t) ** 2).sum()), 1e-12)


def _camera(path: Path | None) -> tuple[float, float]:
    """Baseline in metres and focal length in pixels."""
    if path is None:
        return _BASELINE, _FOCAL
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        baseline, focal = float(card["extrinsic"]["baseline"]), float(card["intrinsic"]["fx"])
        if not 0 < baseline * focal < float("inf"):
            raise ValueError(f"baseline {baseline}, fx {focal}")
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(
            describe(
                f"camera {path}",
                f"no usable numbers ({error!r})",
                "extrinsic.baseline and intrinsic.fx above 0",
                "Download it again",
            )
        ) from error
    return baseline, focal


def _same_size(path: Path, clear: Path, size: tuple[int, int]) -> np.ndarray:
    """A map [H, W] of whole numbers that must be as large as the clear image."""
    values = np.asarray(read_image(path, mode=None))
    if values.shape != (size[1], size[0]):
        raise _wrong_size(path, values.shape[1::-1], clear, size)
    return values


def _wrong_size(path: Path, got: tuple[int, ...], clear: Path, size: tuple[int, int]) -> FormatError:
    return FormatError(
        describe(
            f"size of {path}",
            f"{' x '.join(map(str, got))} pixels",
            f"{size[0]} x {size[1]} as {clear}",
            "Take both from the same release",
        )
    )
