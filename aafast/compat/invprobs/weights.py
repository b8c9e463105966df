"""States of the authors' networks on disk, as safetensors: pickles are never opened."""

from __future__ import annotations

import os
from pathlib import Path

from torch import Tensor, nn

from ...errors import CheckpointError, FileError, describe, require


def load_state(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read a state for `load_state_dict` from a .safetensors file.

    Raises FileError where there is none that can be read, CheckpointError where it is no safetensors file: a pickled
    checkpoint is refused by its name, and not opened.
    """
    file = Path(path)
    if file.suffix != ".safetensors":
        raise CheckpointError(
            describe(
                f"state {file}",
                f"a file {file.suffix or 'without a suffix'}",
                "a .safetensors file",
                "Pickled files are never opened here: write it anew by save_state where it is loaded",
            )
        )
    safetensors = require("safetensors", extra="all")
    try:
        return require("safetensors.torch", extra="all").load(file.read_bytes())
    except OSError as error:
        raise FileError(describe(f"state {file}", error.strerror, "a readable file", "Check the path")) from error
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            describe(f"state {file}", f"a damaged or truncated file ({error})", "a safetensors file", "Copy it again")
        ) from error


def save_state(state: nn.Module | dict[str, Tensor], path: str | os.PathLike[str]) -> None:
    """Write a module's state, or one that a script has loaded, as safetensors; raises FileError where it cannot."""
    tensors = state.state_dict() if isinstance(state, nn.Module) else state
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    blob = require("safetensors.torch", extra="all").save(plain)
    try:
        Path(path).write_bytes(blob)
    except OSError as error:
        raise FileError(describe(f"state {path}", error.strerror, "room in a writable folder", "Free space")) from error
