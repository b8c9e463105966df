"""Training of a deconvolution model on generated seismic pairs; a run that was stopped goes on where it was."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..adaptive import Model
from ..checks import check_device
from ..config import InnerSolver
from ..data import PairStream, SeismicBatch, seismic_pairs
from ..errors import AafastError, CheckpointError, InputError, describe, require
from ..physics import WaveletConvolution
from ..solvers import Status
from ..tasks import build, build_from, make_folder, save

STATE, CURVE = "training.safetensors", "curve.jsonl"
# Small enough for a CPU, and without GroupNorm: the answer at a sample depends on its neighbourhood alone, so a
# survey's patches fit together.
COMPACT: dict[str, Any] = {
    "channels": 32,
    "depth": 7,
    "norm": "none",
    "skip": True,
    "lam": 0.2,
    "residual_channels": 16,
    "z_solver": InnerSolver("exact", differentiate=True),
    "theta_solver": InnerSolver("none"),
}
# Training without the theta-step is several times faster; docs/models.md has what the step earns afterwards.
ADAPTING: dict[str, Any] = {"theta_solver": InnerSolver("least-squares", damping=3.0)}


@dataclass(frozen=True)
class TrainingPlan:
    """What fixes a training run: the same plan gives the same batches in the same order.

    shape is (T, X) in samples; snr_db the range of the pairs' signal-to-noise ratio; mismatch a level of
    `aafast.data.LEVELS`; ema the decay of the averaged weights that are saved; settings override ModelConfig while
    training, shipped overrides it once more in what is saved. The default is the plan of the shipped model.
    """

    method: str = "adaptive-lu"
    steps: int = 4200
    batch: int = 8
    shape: tuple[int, int] = (128, 32)
    mismatch: str = "out"
    snr_db: tuple[float, float] = (5.0, 30.0)
    learning_rate: float = 2e-3
    warm_up: int = 100
    clip: float = 1.0
    ema: float = 0.998
    seed: int = 1
    settings: dict[str, Any] = field(default_factory=lambda: dict(COMPACT))
    shipped: dict[str, Any] = field(default_factory=lambda: dict(ADAPTING))


def relative_error(x: Tensor, truth: Tensor) -> Tensor:
    """||x - truth||^2 / ||truth||^2 per sample [B]."""
    return (x - truth).flatten(1).square().sum(1) / truth.flatten(1).square().sum(1).clamp_min(1e-12)


def decibel(error: Tensor) -> float:
    """Mean over samples of -10 log10 of the relative error: the signal-to-error ratio in dB."""
    return float((-10 * error.clamp_min(1e-12).log10()).mean())


def learning_rate(plan: TrainingPlan, step: int) -> float:
    """Linear warm-up, then half a cosine to zero."""
    rise = min(1.0, (step + 1) / plan.warm_up)
    return plan.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * step / plan.steps))


@torch.no_grad()
def validate(model: Model, batch: SeismicBatch) -> dict[str, float]:
    """Signal-to-error ratio in dB of the model and of the data themselves on held-out pairs."""
    device = next(model.parameters()).device
    y, x, nominal = (t.to(device) for t in (batch.y, batch.x, batch.w_nominal))
    solution = model(y, WaveletConvolution(nominal))
    return {"ser_db": decibel(relative_error(solution.x, x)), "input_ser_db": decibel(relative_error(y, x))}


class Trainer:
    """One run in one folder: `run()` starts it or continues it, and leaves a model that `aafast.load` takes."""

    def __init__(self, plan: TrainingPlan, out: str | os.PathLike[str], device: str = "cpu") -> None:
        for name in ("steps", "batch", "warm_up"):
            count = getattr(plan, name)
            if count < 1:
                raise InputError(describe(f"{name} of the training plan", count, "at least 1", "Raise it"))
        self.plan, self.out, self.device = plan, make_folder(out), torch.device(device)
        self.model = build("deconv", plan.method, seed=plan.seed, **plan.settings).to(self.device)
        self.average = build("deconv", plan.method, seed=plan.seed, **plan.settings).to(self.device)
        self.weights = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.weights, lr=plan.learning_rate, weight_decay=1e-4)
        self.step, self.seconds = 0, 0.0
        self.held_out = seismic_pairs(
            24, plan.shape, seed=10_000 + plan.seed, mismatch=plan.mismatch, snr_db=plan.snr_db, surround=True
        )

    def run(self, log: Any = print, save_every: int = 250) -> Model:
        """Train to the plan's last step; `log` gets one line per validation. Returns the averaged model."""
        self._resume()
        plan, started = self.plan, time.perf_counter() - self.seconds
        stream = iter(
            PairStream(
                plan.batch,
                first=self.step,
                shape=plan.shape,
                seed=plan.seed,
                mismatch=plan.mismatch,
                snr_db=plan.snr_db,
                surround=True,
            )
        )
        losses = []
        while self.step < plan.steps:
            losses.append(self._one_step(next(stream)))
            self.step += 1
            if self.step % save_every == 0 or self.step == plan.steps:
                self.seconds = time.perf_counter() - started
                scores = validate(self.average, self.held_out)
                row = {"step": self.step, "loss": sum(losses) / len(losses), "seconds": self.seconds, **scores}
                losses = []
                self._save(row)
                log(json.dumps(row))
        return self.average

    def _one_step(self, pairs: SeismicBatch) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.plan, self.step)
        y, x, nominal = (t.to(self.device) for t in (pairs.y, pairs.x, pairs.w_nominal))
        solution = self.model(y, WaveletConvolution(nominal))
        loss = relative_error(solution.x, x).mean()
        # A solve that blows up returns its last finite point, so the loss alone would not show it.
        if not torch.isfinite(loss) or (solution.status == Status.DIVERGED).any():
            raise AafastError(
                describe(
                    f"training loss at batch {self.step}",
                    "a solve that diverged" if torch.isfinite(loss) else float(loss.detach()),
                    "a finite number",
                    f"The last good state is in {self.out}; lower the learning rate and run again",
                )
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.weights, self.plan.clip)
        self.optimizer.step()
        decay = min(self.plan.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
        return float(loss.detach())

    def _save(self, row: dict[str, float]) -> None:
        config = replace(self.average.config, **(self.plan.shipped if self.plan.method.startswith("adaptive") else {}))
        shipped = build_from(config)
        shipped.load_state_dict(self.average.state_dict())
        save(
            shipped,
            self.out,
            command=self._command(),
            plan=asdict(self.plan),
            data="aafast.data.seismic_pairs",
            scores=row,
            device=str(self.device),
            torch=torch.__version__,
            python=platform.python_version(),
        )
        tensors = {f"model.{k}": v.cpu() for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v.cpu() for k, v in self.average.state_dict().items()}
        for index, weight in enumerate(self.weights):
            for name, value in self.optimizer.state[weight].items():
                tensors[f"optimizer.{index}.{name}"] = value.cpu()
        facts = {"step": str(self.step), "seconds": str(self.seconds), "plan": json.dumps(asdict(self.plan))}
        temporary = self.out / f".{STATE}"
        require("safetensors.torch", extra="all").save_file(tensors, temporary, metadata=facts)
        os.replace(temporary, self.out / STATE)
        with open(self.out / CURVE, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def _command(self) -> str:
        plan = self.plan
        return (
            f"aafast train deconv --out DIR --method {plan.method} --steps {plan.steps} --batch {plan.batch} "
            f"--mismatch {plan.mismatch} --seed {plan.seed}"
        )

    def _resume(self) -> None:
        if not (self.out / STATE).is_file():
            return
        safetensors = require("safetensors", extra="all")
        try:
            with safetensors.safe_open(self.out / STATE, framework="pt") as file:
                facts = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        except safetensors.SafetensorError as error:
            raise CheckpointError(
                describe(
                    f"training state {self.out / STATE}",
                    f"a damaged or truncated file ({error})",
                    "a state written by this command",
                    "Remove it to start anew, or choose another folder",
                )
            ) from error
        if json.loads(facts["plan"]) != json.loads(json.dumps(asdict(self.plan))):
            raise CheckpointError(
                describe(
                    f"training state in {self.out}",
                    "a run of another plan",
                    "the same plan as asked for now",
                    "Choose another folder, or give the plan it was started with",
                )
            )
        for prefix, model in (("model.", self.model), ("average.", self.average)):
            model.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        for index, weight in enumerate(self.weights):
            prefix = f"optimizer.{index}."
            found = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            self.optimizer.state[weight] = {k: v if k == "step" else v.to(weight.device) for k, v in found.items()}
        self.step, self.seconds = int(facts["step"]), float(facts["seconds"])


def train(out: str | os.PathLike[str], device: str = "cpu", **plan: Any) -> Model:
    """Train a deconvolution model into the folder `out`, or continue there; `plan` changes TrainingPlan's fields.

    Prints one JSON line per validation. Returns the averaged model. Raises CheckpointError where `out` holds a run
    of another plan, AafastError where the training diverges, BackendError for a device that cannot be used.
    """
    return Trainer(TrainingPlan(**plan), out, device=str(check_device(device))).run()
