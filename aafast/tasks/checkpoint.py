"""Models on disk: a folder with `model.safetensors` (weights) and `card.json` (settings and provenance)."""

from __future__ import annotations

import json
import os
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from ..adaptive import Model
from ..checks import check_device
from ..config import ModelConfig
from ..errors import CheckpointError, FileError, describe, require
from ..nets.spectral_norm import refresh
from .build import TASKS, build_from

WEIGHTS, CARD = "model.safetensors", "card.json"
FORMAT = 1
_PICKLED = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin")


def shipped() -> dict[str, Path]:
    """The models inside the package by name, TASK-METHOD; a task's own name is its best one."""
    root = Path(str(resources.files("aafast"))) / "weights"
    found = {p.name: p for p in sorted(root.iterdir()) if (p / CARD).is_file()} if root.is_dir() else {}
    best = {task: found.get(f"{task}-{module.BEST}") for task, module in TASKS.items()}
    return {**{task: folder for task, folder in best.items() if folder is not None}, **found}


def save(model: Model, folder: str | os.PathLike[str], **card: Any) -> Path:
    """Write weights and card (settings, and whatever else is given) into `folder`, each file whole or not at all."""
    target = make_folder(folder)
    refresh(model)
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    blob = require("safetensors.torch", extra="all").save(tensors)
    text = json.dumps({"format": FORMAT, "config": model.config.to_dict(), **card}, indent=2, sort_keys=True)
    for name, data in ((WEIGHTS, blob), (CARD, (text + "\n").encode())):
        write_whole(target / name, data)
    return target


def write_whole(path: Path, data: bytes, what: str = "model file") -> None:
    """Write a file whole or not at all, under a hidden name at first; FileError, of `what`, where that fails."""
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise FileError(
            describe(f"{what} {path}", error.strerror, "room for it in a folder that can be written", "Free space")
        ) from error


def make_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder of a model, made where it is missing; FileError where that, or writing into it, is not possible."""
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise FileError(
            describe(
                f"folder of the model {path}", error.strerror, "a folder that can be written", "Choose another one"
            )
        ) from error


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a model folder, checked for its format."""
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(
            describe(
                f"model card {folder / CARD}",
                f"text that is no JSON ({error})",
                "a JSON object",
                "Copy or train the model again",
            )
        ) from error
    if not isinstance(card, dict) or card.get("format") != FORMAT or not isinstance(card.get("config"), dict):
        raise CheckpointError(
            describe(
                f"model card {folder / CARD}",
                "other contents",
                f"format {FORMAT} with a config",
                "Use a model saved by this version of aafast",
            )
        )
    return card


def _folder(name: str | os.PathLike[str], task: str | None) -> Path:
    known = shipped()
    if str(name) in known:
        return known[str(name)]
    path = Path(name)
    if path.suffix.lower() in _PICKLED:
        raise CheckpointError(
            describe(
                f"model file {path}",
                f"a pickled checkpoint ({path.suffix})",
                f"a folder with {WEIGHTS} and {CARD}",
                "Pickled files are never opened: convert it to safetensors",
            )
        )
    if path.suffix == ".safetensors":
        path = path.parent
    missing = [part for part in (WEIGHTS, CARD) if not (path / part).is_file()]
    if missing:
        raise CheckpointError(
            describe(
                f"model {str(name)!r}",
                f"no {' and no '.join(missing)} there",
                f"one of the shipped models ({', '.join(known) or 'none'}) or a folder with {WEIGHTS} and {CARD}",
                "Check the name, or train a model",
            )
        )
    return path


def _build(config: ModelConfig, folder: Path) -> Model:
    check = {"task": config.task in TASKS, "eta": isinstance(config.eta, int | float)}
    wrong = [name for name, good in check.items() if not good]
    if wrong:
        got = ", ".join(f"{name} {getattr(config, name)!r}" for name in wrong)
        raise CheckpointError(
            describe(
                f"model card {folder / CARD}",
                got,
                f"one of the tasks {', '.join(TASKS)}, and a number eta",
                "Use a model saved by aafast",
            )
        )
    return build_from(config)


def load(name: str | os.PathLike[str], device: str | torch.device = "cpu", task: str | None = None) -> Model:
    """Load a model: the name of a shipped one ("deconv"), or a folder written by `save`.

    With `task` given, a model of another task is refused. Never unpickles. Raises CheckpointError, or BackendError
    for a device that cannot be used.
    """
    device = check_device(device)
    folder = _folder(name, task)
    card = read_card(folder)
    config = ModelConfig.from_dict(card["config"])
    if task is not None and config.task != task:
        raise CheckpointError(describe(f"task of model {str(name)!r}", config.task, task, "Load a model of this task"))
    safetensors = require("safetensors", extra="all")
    reader = require("safetensors.torch", extra="all")
    try:
        tensors = reader.load((folder / WEIGHTS).read_bytes())
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            describe(
                f"weights {folder / WEIGHTS}",
                f"a damaged or truncated file ({error})",
                "a safetensors file",
                "Copy or train the model again",
            )
        ) from error
    model = _build(config, folder)
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    got = {name: tuple(value.shape) for name, value in tensors.items()}
    if wanted != got:
        wrong = sorted(key for key in wanted.keys() | got.keys() if wanted.get(key) != got.get(key))
        raise CheckpointError(
            describe(
                f"weights {folder / WEIGHTS}",
                f"tensors that differ at {wrong[:4]}",
                "those of the card's settings",
                "Keep weights and card of one model together",
            )
        )
    bad = sorted(key for key, value in tensors.items() if not torch.isfinite(value).all())
    if bad:
        raise CheckpointError(
            describe(f"weights {folder / WEIGHTS}", f"NaN or Inf in {bad[:4]}", "finite weights", "Train it again")
        )
    model.load_state_dict(tensors)
    return model.to(device).eval()


def root(folder: Path) -> str | None:
    """The SHA-256 of the weights that a model's trainings began with, by its card; None where it began afresh."""
    start = read_card(folder).get("init")
    return str(start.get("root") or start["sha256"]) if isinstance(start, dict) else None
