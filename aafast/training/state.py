"""The state of a run on disk, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..adaptive import Model
from ..errors import CheckpointError, describe, require
from ..tasks.checkpoint import write_whole
from .plan import TrainingPlan

STATE = "training.safetensors"


@dataclass
class State:
    """What a run needs to go on as if it had not stopped. Its batches follow from the plan, and nothing else is random.

    tensors: "model.*", "average.*" and "optimizer.*". step: of the plan's, done. seconds: spent so far.
    """

    tensors: dict[str, Tensor]
    step: int
    seconds: float

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors below one prefix, named without it."""
        return {name[len(prefix) :]: value for name, value in self.tensors.items() if name.startswith(prefix)}

    def write(self, folder: Path, plan: TrainingPlan) -> None:
        """Take the place of the state in `folder`; FileError where it cannot be written."""
        facts = {"step": str(self.step), "seconds": repr(self.seconds), "plan": json.dumps(plan.to_dict())}
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.tensors.items()}
        blob = require("safetensors.torch", extra="all").save(tensors, metadata=facts)
        write_whole(folder / STATE, blob, what="training state")


def read_state(folder: Path, plan: TrainingPlan) -> State | None:
    """The state in `folder`, None where there is none; CheckpointError where it is damaged or of another plan."""
    if not (folder / STATE).is_file():
        return None
    safetensors = require("safetensors", extra="all")
    try:
        with safetensors.safe_open(folder / STATE, framework="pt") as file:
            facts: dict[str, Any] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        state = State(tensors, int(facts["step"]), float(facts["seconds"]))
        found = json.loads(facts["plan"])
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(
            describe(
                f"training state {folder / STATE}",
                f"a damaged or truncated file ({error})",
                "a state written by this command",
                "Start anew with --restart, or choose another folder",
            )
        ) from error
    asked = plan.to_dict()
    if found != asked:
        other = sorted(name for name in found.keys() | asked.keys() if found.get(name) != asked.get(name))
        raise CheckpointError(
            describe(
                f"training state in {folder}",
                f"a run of another plan ({', '.join(other)} differ)",
                "the same plan as asked for now",
                "Give the plan it was started with (plan.json there), start anew with --restart, or choose another "
                "folder",
            )
        )
    return state


def steps_done(folder: str | os.PathLike[str]) -> int:
    """How many steps of a run are saved in `folder`; 0 where none or a damaged state is."""
    try:
        safetensors = require("safetensors", extra="all")
        with safetensors.safe_open(Path(folder) / STATE, framework="pt") as file:
            return int((file.metadata() or {}).get("step", 0))
    except (OSError, ValueError, safetensors.SafetensorError):
        return 0


def model_tensors(model: Model) -> dict[str, Tensor]:
    """Weights and every buffer, those that no checkpoint keeps too: the search for a norm goes on from the last one."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


@torch.no_grad()
def load_model(model: Model, tensors: dict[str, Tensor]) -> None:
    """Put `model_tensors` back. Being written to, weights are known to need their norms found anew."""
    for name, own in model_tensors(model).items():
        own.copy_(tensors[name])


def optimizer_tensors(optimizer: torch.optim.Optimizer, weights: Sequence[Tensor]) -> dict[str, Tensor]:
    """The optimiser's memory of each weight, by the weight's number."""
    return {
        f"optimizer.{index}.{name}": value
        for index, weight in enumerate(weights)
        for name, value in optimizer.state[weight].items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, weights: Sequence[Tensor], state: State) -> None:
    """Put `optimizer_tensors` back."""
    for index, weight in enumerate(weights):
        found = state.part(f"optimizer.{index}.")
        optimizer.state[weight] = {
            name: value if name == "step" else value.to(weight.device) for name, value in found.items()
        }
