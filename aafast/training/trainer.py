"""One training run in one folder; a run that was stopped goes on where it was."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..adaptive import Model
from ..errors import AafastError, describe
from ..nets.spectral_norm import refresh
from ..solvers import Status
from ..tasks import TaskBatch, build_from, make_folder, save
from ..tasks.checkpoint import write_whole
from .batches import batches, held_out
from .card import PLAN, origin
from .curves import Curve
from .interrupts import Interrupts
from .losses import CALIBRATION, LOSSES, calibration_error, validate
from .plan import TrainingPlan, depth, learning_rate
from .precision import use_bfloat16
from .processes import Processes
from .progress import Progress
from .start import check_same_weights, freeze, load_calibration, load_start
from .state import STATE, State, load_model, load_optimizer, model_tensors, optimizer_tensors, read_state


class Objective(nn.Module):
    """(pairs, K) -> (mean loss, whether a solve diverged): what the processes of a run differentiate together."""

    def __init__(self, model: Model, loss: str) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, pairs: TaskBatch, iterations: int) -> tuple[Tensor, Tensor]:
        if self.loss == CALIBRATION:
            return calibration_error(self.model.calibration, pairs).mean(), torch.tensor(False)
        self.model.config = replace(self.model.config, iterations=iterations)  # an equilibrium model looks at none
        solution = self.model(pairs.y, pairs.nominal)
        # A solve that blows up returns its last finite point, so the loss alone would not show it.
        return LOSSES[self.loss](solution.x, pairs.x).mean(), (solution.status == Status.DIVERGED).any()


class Trainer:
    """One run in one folder: `run()` starts it or continues it, and leaves a model that `aafast.load` takes.

    Raises InputError on a plan that cannot be trained, CheckpointError where its `init` does not fit, BackendError
    where the device cannot do what it asks for.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        out: str | os.PathLike[str],
        processes: Processes | None = None,
        tensorboard: bool = False,
        workers: int = 0,
    ) -> None:
        assert plan.loss is not None  # the plan has chosen
        self.plan, self.processes, self.loss = plan, processes or Processes(), plan.loss
        self.tensorboard, self.workers = tensorboard, workers
        self.processes.share(plan.batch)
        device = self.processes.device
        self.model = build_from(plan.config("settings"), plan.seed).to(device)
        load_start(plan.init, self.model)
        load_calibration(plan.calibration, self.model)
        freeze(self.model, plan.freeze, calibrating=plan.loss == CALIBRATION)
        self.average = build_from(plan.config("settings"), plan.seed).to(device)
        self.average.load_state_dict(self.model.state_dict())
        self.shipped = build_from(plan.config("shipped"), plan.seed).to(device)
        check_same_weights(self.average, self.shipped)
        self._ship()
        if plan.amp:
            use_bfloat16(self.model, device)
        self.weights = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.weights, lr=plan.learning_rate, weight_decay=plan.weight_decay)
        self.objective = self.processes.wrap(Objective(self.model, self.loss))
        self.held_out = held_out(plan).to(device)
        self.out = make_folder(out)
        self.step, self.seconds = 0, 0.0

    def run(self, log: Callable[[str], Any] = print, progress: bool = False) -> Model:
        """Train to the plan's last step; `log` gets a line per validation. Returns the averaged model, as it is saved.

        Ctrl-C and SIGTERM take effect after the step at hand is saved. Raises AafastError where the loss or the
        gradient is no longer finite or a solve diverges: the last saved state stays.
        """
        plan, first = self.plan, self.processes.first
        self._resume()
        self.processes.wait()  # until every process has read the state, none may write the next
        curve = None
        if first:
            write_whole(self.out / PLAN, (json.dumps(plan.to_dict(), indent=2) + "\n").encode(), what="training plan")
            curve = Curve(self.out, self.step, self.tensorboard)
            if self.step == 0:
                curve.add({"step": 0, "seconds": 0.0, **self._validate()})
        stream = batches(plan, self.step, self.processes, self.workers)
        begun = time.perf_counter() - self.seconds
        bar = Progress(plan.steps, self.step, show=progress and first)
        try:
            with Interrupts() as interrupts:
                while self.step < plan.steps:
                    row, stop = self._one_step(next(stream), bool(interrupts.number))
                    self.step += 1
                    self.seconds = time.perf_counter() - begun
                    due = self.step % plan.validate_every == 0 or self.step == plan.steps
                    if curve is not None:
                        scores = self._validate() if due else {}
                        curve.add({"step": self.step, **row, "seconds": self.seconds, **scores})
                        bar.advance(row["loss"])
                        if due:
                            self._save_model(row, scores)
                            bar.say(log, _line(self.step, plan.steps, row, scores, self.seconds))
                        if due or stop:
                            curve.flush()
                            self._save_state()
                    if stop:
                        break
                interrupts.deliver()
        finally:
            bar.close()
            if curve is not None:
                curve.flush()
                curve.close()
        self._ship()
        return self.shipped

    def _one_step(self, pairs: TaskBatch, stop: bool) -> tuple[dict[str, float], bool]:
        """One update of the weights; the row of the curve, and whether some process was told to stop."""
        rate = learning_rate(self.plan, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss, diverged = self.objective(pairs.to(self.processes.device), depth(self.plan, self.step))
        # One process must not go on where another stops: they decide together.
        total, bad, stops = self.processes.sum([float(loss.detach()), float(diverged), float(stop)])
        mean = total / self.processes.world
        if bad:
            raise self._broken("loss", "a solve that diverged")
        if not abs(mean) < float("inf"):
            raise self._broken("loss", str(mean))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(self.weights, self.plan.clip or float("inf")))
        if not norm < float("inf"):
            raise self._broken("gradient", f"a norm of {norm}")
        self.optimizer.step()
        self._follow()
        return {"loss": mean, "learning_rate": rate, "gradient_norm": norm}, stops > 0

    def _follow(self) -> None:
        """Move the averaged weights; less slowly at first, when there is little to average."""
        decay = min(self.plan.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)

    def _broken(self, what: str, got: str) -> AafastError:
        saved = (self.out / STATE).is_file()
        there = f"The last good state is in {self.out}" if saved else "No state was saved before it"
        return AafastError(
            describe(
                f"training {what} at batch {self.step}",
                got,
                "a finite number",
                f"{there}; lower the learning rate and run again into another folder",
            )
        )

    @torch.no_grad()
    def _ship(self) -> None:
        refresh(self.average)  # its norms travel with its weights
        self.shipped.load_state_dict(self.average.state_dict())

    def _validate(self) -> dict[str, float]:
        self._ship()
        return validate(self.shipped, self.held_out, self.loss)

    @torch.no_grad()  # with gradients, saving would look for the norms once more
    def _save_model(self, row: dict[str, float], scores: dict[str, float]) -> None:
        scores = {"step": self.step, "loss": row["loss"], **scores}
        save(self.shipped, self.out, **origin(self.plan, self.processes), seconds=round(self.seconds, 3), scores=scores)

    def _save_state(self) -> None:
        tensors = {f"model.{name}": value for name, value in model_tensors(self.model).items()}
        tensors |= {f"average.{name}": value for name, value in model_tensors(self.average).items()}
        tensors |= optimizer_tensors(self.optimizer, self.weights)
        State(tensors, self.step, self.seconds).write(self.out, self.plan)

    def _resume(self) -> None:
        state = read_state(self.out, self.plan)
        if state is None:
            return
        load_model(self.model, state.part("model."))
        load_model(self.average, state.part("average."))
        load_optimizer(self.optimizer, self.weights, state)
        self.step, self.seconds = state.step, state.seconds


def _line(step: int, steps: int, row: dict[str, float], scores: dict[str, float], seconds: float) -> str:
    """What a validation found, for people."""
    parts = [f"step {step}/{steps}", f"loss {row['loss']:.4g}"]
    for name in ("psnr", "ser"):
        if f"{name}_db" in scores:
            found, given = scores[f"{name}_db"], scores[f"input_{name}_db"]
            parts.append(f"{name.upper()} {found:.2f} dB (measurement {given:.2f})")
    if "input_loss" in scores:
        parts.append(f"operator error {scores['valid_loss']:.4g} (nominal {scores['input_loss']:.4g})")
    return ", ".join([*parts, f"{seconds:.0f} s"])
