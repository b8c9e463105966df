"""One pair as every method reconstructs it: a row with the figures, and a small file with the images."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import FileError, FormatError, describe
from ..physics import ForwardModel
from ..tasks import TaskBatch
from .contestants import Contestant
from .metrics import psnr, ssim
from .rows import PEAK, SUITE, Row, facts, peak_words, write_whole

ZOOM = 0.25  # side of the enlarged window over the image's


class Shown(NamedTuple):
    """A panel to make: its title, who reconstructs, and the forward model that is told, with a word for it."""

    title: str
    contestant: Contestant
    A0: ForwardModel
    told: str = "nominal"


def picture(shown: Sequence[Shown], pair: TaskBatch, about: Row, figure: str, device: str = "cpu") -> tuple[Row, dict]:
    """The row of one pair (a batch of one) and its images by name, as `save` takes them.

    Panels are truth, data and one per entry of `shown`; images keep 8 bits of 0..1, sections 16-bit floats. `figure`
    says which figure of the tables they are for; `about` holds the fields of the test set.
    """
    task = about["task"]
    truth = pair.x[0].cpu().numpy()
    estimates = [("truth", "-", truth), ("data", "-", pair.y[0].cpu().numpy())]
    estimates += [(s.title, s.told, s.contestant.solve(pair.y, s.A0).x[0].cpu().numpy()) for s in shown]
    images, panels = {}, []
    for number, (title, told, image) in enumerate(estimates):
        name = f"{figure}.{task}.{about['mismatch']}.{number}"
        images[name] = _small(image, task)
        figures = {} if title == "truth" else {
            "psnr": float(psnr(truth[None], image[None], PEAK[task])[0]),
            "ssim": float(ssim(truth[None], image[None], span=PEAK[task])[0]),
        }  # fmt: skip
        panels.append({"title": title, "told": told, "array": name, **figures})
    peak, span = peak_words(task)
    row = {
        "suite": SUITE, **about, "kind": "picture", "figure": figure, "label": "-", "method": "-", "variant": "-",
        "training_seed": None, "weights": "-", "told": "-", "zoom": zoom(truth), "panels": panels,
        "peak": peak, "span": span,
    }  # fmt: skip
    return row | facts(device), images


def _small(image: np.ndarray, task: str) -> np.ndarray:
    if task == "deconv":
        return image[0].astype(np.float16)
    return np.round(255 * np.clip(image, 0, 1)).astype(np.uint8).transpose(1, 2, 0)


def zoom(truth: np.ndarray) -> list[int]:
    """Top, left, height and width of the window of a quarter of the side where the truth [C, H, W] varies most."""
    grey = truth.mean(0).astype(np.float64)
    height, width = (max(8, round(ZOOM * n)) for n in grey.shape)

    def windows(image: np.ndarray) -> np.ndarray:
        sums = np.pad(image, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
        return (sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]) / (
            height * width
        )

    variance = windows(grey**2) - windows(grey) ** 2
    top, left = np.unravel_index(int(variance.argmax()), variance.shape)
    return [int(top), int(left), height, width]


def file_of(rows: Path) -> Path:
    """The file of images beside a file of rows."""
    return rows.with_suffix(".npz")


def save(rows: Path, images: dict[str, Any]) -> None:
    """Write the images beside the rows, the file whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **images)
    write_whole(file_of(rows), buffer.getvalue())


def load(rows: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The images of these names beside a file of rows; FileError or FormatError where they are not there."""
    path = file_of(rows)
    try:
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in names}
    except OSError as error:
        raise FileError(
            describe(f"images {path}", error, "the file beside the rows", "Keep both files together")
        ) from error
    except (ValueError, KeyError) as error:
        raise FormatError(
            describe(f"images {path}", error, f"the arrays {', '.join(names[:3])}, ...", "Make the pictures again")
        ) from error
