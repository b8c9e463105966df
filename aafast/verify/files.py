"""The golden folder: which files it must hold, and reading one without trusting it."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from torch import Tensor

from ..errors import FileError, FormatError, describe
from ..reference import golden

_COPY = "Copy the folder of golden numbers again"


def golden_files(folder: Path) -> dict[str, Path]:
    """The golden files of a folder by name, in order; raise unless they are exactly those that are known."""
    if not folder.is_dir():
        found = "a file" if folder.is_file() else "nothing there"
        raise FileError(describe(f"folder {folder}", found, "a folder of golden numbers", "Check the path"))
    there = {path.stem for path in folder.glob("*.npz")}
    missing = [name for name in golden.NAMES if name not in there]
    if missing:
        raise FileError(
            describe(f"folder {folder}", f"no {', '.join(f'{name}.npz' for name in missing)}",
                     f"{len(golden.NAMES)} golden files", _COPY)
        )
    unknown = sorted(there.difference(golden.NAMES))
    if unknown:
        raise FormatError(
            describe(f"folder {folder}", f"unknown {', '.join(f'{name}.npz' for name in unknown)}",
                     f"only the {len(golden.NAMES)} golden files", "Move other .npz files elsewhere")
        )
    return {name: folder / f"{name}.npz" for name in golden.NAMES}


def read(name: str, path: Path) -> dict[str, Tensor]:
    """The arrays of a golden file, the ones its name promises among them; never unpickles."""
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise zipfile.BadZipFile(f"{path.stat().st_size} bytes without an archive's end")
        arrays = golden.load(path)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise FileError(_describe(path, f"no archive, or a damaged one ({error})", "a whole .npz file")) from error
    except OSError as error:
        raise FileError(_describe(path, error.strerror or str(error), "a readable file")) from error
    except (ValueError, TypeError) as error:
        raise FormatError(_describe(path, f"contents refused ({error})", "plain arrays of numbers")) from error
    lacking = sorted(golden.required(name).difference(arrays))
    if lacking:
        raise FormatError(_describe(path, f"no array {', '.join(lacking[:4])}", "all arrays of this golden file"))
    return arrays


def unfit(path: Path, error: Exception) -> FormatError:
    """What to raise where a file's arrays have shapes that do not belong together."""
    why = " ".join(str(error).split())[:200]
    return FormatError(_describe(path, f"arrays that do not fit together ({why})", "those of this golden file"))


def _describe(path: Path, got: str, expected: str) -> str:
    return describe(f"file {path}", got, expected, _COPY)
