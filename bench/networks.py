"""Trained weights of the authors' proximal networks: one file a task, the methods sharing all but first and last layer.

GroupNorm undoes the scale of every layer between, so the same trunk serves with and without spectral normalisation.
The mismatch networks stay at their seeded start, as in every solve.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from aafast.adaptive import Model
from aafast.errors import FileError, describe, require
from aafast.reference import RobustLU
from aafast.verify.weights import Reference, proximal

FOLDER = Path(__file__).resolve().parent / "weights"


def _parameters(layers: nn.Sequential, method: str) -> Iterator[tuple[str, Tensor]]:
    """Name in the file and tensor; of a layer normalised live, the one before normalisation."""
    last = len(layers) - 1
    for index, layer in enumerate(layers):
        owner = method if index in (0, last) else "trunk"
        for name, value in layer.named_parameters():
            yield f"{owner}.{index}.{name.removesuffix('_orig')}", value


def load_proximal(reference: Reference, task: str, method: str, folder: Path = FOLDER) -> None:
    """Give a reference model the trained R_rho and eta of its task and method."""
    path = folder / f"{task}.safetensors"
    if not path.is_file():
        raise FileError(describe(f"weights {path}", "no such file", "a file of bench/train_reference.py", "Make it"))
    tensors = require("safetensors.torch", extra="bench").load(path.read_bytes())
    with torch.no_grad():
        for name, value in _parameters(proximal(reference), method):
            value.copy_(tensors[name])
        eta = reference.eta if isinstance(reference, RobustLU) else reference.prox.eta
        eta.copy_(tensors[f"{method}.eta"])
        for layer in proximal(reference):
            if hasattr(layer, "weight_orig"):
                layer.weight.copy_(layer.weight_orig)  # what a z-step before the first normalisation would see


def save_proximal(models: dict[str, Model], task: str, folder: Path = FOLDER) -> Path:
    """Write the R_rho and eta of a task's product models, by method, as float16."""
    tensors: dict[str, Tensor] = {}
    for method, model in models.items():
        tensors |= {name: value.detach().half().contiguous() for name, value in _parameters(model.prox.R, method)}
        tensors[f"{method}.eta"] = model.eta.detach().half()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{task}.safetensors"
    path.write_bytes(require("safetensors.torch", extra="bench").save(tensors))
    return path
