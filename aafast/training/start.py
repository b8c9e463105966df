"""Where a run's weights begin, and which of them stay as they are."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..adaptive import Model
from ..errors import CheckpointError, InputError, describe
from ..tasks import load

_CALIBRATION = "calibration."


def load_start(name: str | None, model: Model) -> list[str]:
    """Give `model` the weights of a saved one of its task (None: leave it); return the parts that keep fresh weights.

    Every tensor of the saved model must have its place, and the parts that are missing in it must be missing whole
    (a "calibration", say). Raises CheckpointError where it does not fit.
    """
    if name is None:
        return []
    given = load(name, task=model.config.task).state_dict()
    own = model.state_dict()
    # Norms follow from the weights; a model without normalisation has none.
    derived = {key for key in own.keys() ^ given.keys() if key.rpartition(".")[2] == "sigma"}
    wrong = [key for key in given if key not in derived and (key not in own or own[key].shape != given[key].shape)]
    missing = [key for key in own if key not in given and key not in derived]
    fresh = sorted({key.partition(".")[0] for key in missing})
    wrong += [key for key in missing if any(part.partition(".")[0] == key.partition(".")[0] for part in given)]
    if wrong:
        raise CheckpointError(
            describe(
                f"model to start from, {name!r}",
                f"other tensors at {sorted(wrong)[:4]}",
                f"those of the {model.config.method} that is to be trained",
                "Start from a model of the same settings, or change the plan's",
            )
        )
    with torch.no_grad():
        for key, value in own.items():
            if key in given and key not in derived:
                value.copy_(given[key])
    return fresh


def load_calibration(name: str | None, model: Model) -> None:
    """Give `model` the calibration network of a saved one (None: leave it); CheckpointError where it does not fit."""
    if name is None:
        return
    given = {k: v for k, v in load(name, task=model.config.task).state_dict().items() if k.startswith(_CALIBRATION)}
    own = {k: v for k, v in model.state_dict().items() if k.startswith(_CALIBRATION)}
    if not own or {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in given.items()}:
        raise CheckpointError(
            describe(
                f"model to take the calibration from, {name!r}",
                f"{len(given)} tensors of a calibration",
                f"the {len(own)} of the model that is to be trained",
                'Name a model trained with the loss "calibration", and set `calibration` in the plan\'s settings',
            )
        )
    with torch.no_grad():
        for key, value in own.items():
            value.copy_(given[key])


def freeze(model: Model, prefixes: Sequence[str], calibrating: bool = False) -> None:
    """Let no parameter be trained whose name begins with one of the prefixes; InputError where one names nothing.

    A calibration network is trained alone (`calibrating`) or not at all: a model's iteration keeps no graph of it.
    """
    named = dict(model.named_parameters())
    if calibrating and not any(name.startswith(_CALIBRATION) for name in named):
        raise InputError(
            describe(
                'loss "calibration"',
                f"a {model.config.method} without a calibration",
                "an adaptive model with one",
                "Name it in the settings: calibration = wavelet, width or haze",
            )
        )
    for name, value in named.items():
        if name.startswith(_CALIBRATION) != calibrating:
            value.requires_grad_(False)
    for prefix in prefixes:
        found = [value for name, value in named.items() if name.startswith(prefix)]
        if not found:
            parts = sorted({name.partition(".")[0] for name in named})
            names = f"the beginning of a name, such as {', '.join(parts)}"
            raise InputError(describe("what to freeze", repr(prefix), names, "Correct it"))
        for value in found:
            value.requires_grad_(False)
    if not any(value.requires_grad for value in named.values()):
        raise InputError(describe("what to freeze", ", ".join(prefixes), "something left to train", "Freeze less"))


def check_same_weights(trained: Model, shipped: Model) -> None:
    """Raise InputError unless the saved model has the weights of the trained one."""
    ours, theirs = ({key: value.shape for key, value in m.state_dict().items()} for m in (trained, shipped))
    if ours != theirs:
        other = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
        raise InputError(
            describe(
                "shipped settings of the training plan",
                f"other weights at {other[:4]}",
                "settings that leave the weights as they are",
                "Move them to `settings`",
            )
        )
