"""Rows of results: where and with what they were measured, what each must say, and their files."""

from __future__ import annotations

import functools
import json
import math
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import FileError, FormatError, describe

Row = dict[str, Any]
SUITE = "evaluation"
KINDS = ("score", "curve", "picture")
FIELDS = (
    "suite", "kind", "task", "label", "method", "variant", "training_seed", "weights", "told", "mismatch", "split",
    "source", "seed", "pairs", "shape", "device", "device_name", "threads", "versions", "commit",
)  # fmt: skip
SUMMARY = ("mean", "sd", "se")
# What tells rows apart: two rows that agree in all of it answer the same question.
KEY = (
    "kind", "task", "label", "variant", "training_seed", "weights", "told", "mismatch", "split", "source", "seed",
    "pairs", "shape", "figure", "length",
)  # fmt: skip
# Images are scored against their range 0..1; signed reflectivity against its own.
PEAK: dict[str, float | None] = {"deconv": None, "deblur": 1.0, "defog": 1.0}
_PEAK_WORDS = {None: ("max |x| of each pair", "max x - min x of each pair"), 1.0: ("1", "1, images in 0..1")}
_ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def facts(device: str) -> Row:
    """What a machine's rows share: device, threads, versions, commit."""
    from .. import __version__

    on_gpu = torch.device(device).type == "cuda"
    versions = {
        "aafast": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    return {
        "device": torch.device(device).type,
        "device_name": torch.cuda.get_device_name(device) if on_gpu else processor(),
        "threads": torch.get_num_threads(),
        "versions": versions,
        "commit": commit(),
    }


def processor() -> str:
    """The processor's name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as handle:
            names = [line.split(":", 1)[1].strip() for line in handle if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


@functools.cache
def commit() -> str | None:
    """The commit of the checkout that this package is used from, with `+` where files differ; None outside of one."""
    if not (_ROOT / ".git").exists():
        return None

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(_ROOT), *words], capture_output=True, text=True, check=True).stdout

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "aafast", "bench", "csrc", "kernels")
        return git("rev-parse", "--short=12", "HEAD").strip() + ("+" if changed.strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def peak_words(task: str) -> tuple[str, str]:
    """The peak of a task's PSNR and the span of its SSIM, in words."""
    return _PEAK_WORDS[PEAK[task]]


def summary(values: Iterable[float]) -> dict[str, float | int]:
    """Mean, standard deviation over the values (n - 1) and standard error of the mean."""
    found = np.asarray(list(values), np.float64)
    sd = float(found.std(ddof=1)) if len(found) > 1 else 0.0
    return {"mean": float(found.mean()), "sd": sd, "se": sd / math.sqrt(len(found))}


def complaints(row: Row) -> list[str]:
    """What is wrong with a row of an evaluation: fields that lack, summaries that are none, numbers per pair that are
    not as many as pairs."""
    found = [f"no {name}" for name in FIELDS if name not in row]
    if found:
        return found
    if row["suite"] != SUITE or row["kind"] not in KINDS:
        return [f"suite {row['suite']} and kind {row['kind']}"]
    if row["kind"] == "score":
        for name in ("psnr", "ssim", "correlation"):
            parts = row.get(name)
            if not isinstance(parts, dict) or not all(isinstance(parts.get(p), float) for p in SUMMARY):
                found.append(f"{name} without {', '.join(SUMMARY)}")
        if not row.get("peak") or not row.get("span"):
            found.append("no peak or span of the metrics")
        per_pair = row.get("per_pair", {})
        found += [f"{name} of {len(v)} pairs" for name, v in per_pair.items() if len(v) != row["pairs"]]
        if "psnr" not in per_pair:
            found.append("no psnr per pair")
    return found


def key(row: Row) -> tuple[Any, ...]:
    """What tells a row from others."""
    return tuple(tuple(v) if isinstance(v, list) else v for v in map(row.get, KEY))


def read(path: Path) -> list[Row]:
    """The rows of a JSON-lines file; FileError where it cannot be read, FormatError where a line is no row."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(
            describe(f"rows {path}", error, "a file of JSON lines", "Check the path; `aafast evaluate` writes one")
        ) from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            row = error
        if not isinstance(row, dict):
            raise FormatError(
                describe(f"line {number} of {path}", repr(line[:40]), "a JSON object", "Give a file of rows")
            )
        rows.append(row)
    return rows


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as JSON lines, the file whole or not at all; ValueError where a row holds NaN or Inf."""
    text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    write_whole(path, text.encode())


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; its folder is made. Raises FileError."""
    from ..tasks import checkpoint

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            describe(f"folder {path.parent}", error.strerror, "a folder that can be made", "Choose another place")
        ) from error
    checkpoint.write_whole(path, data, what="results")
