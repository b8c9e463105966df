"""Brief training of the authors' proximal networks on generated data, so that the solve suite has an answer to score.

Run: python bench/train_reference.py [--task TASK] [--steps N] [--out FOLDER]
A few minutes a task on one thread. The adaptive unrolled model is trained whole; the other two then train their own
first and last layer and eta around its trunk. z is held at y, from which a solve moves it by 5e-4 at most.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from aafast.adaptive import Model
from aafast.adaptive.objective import Problem
from aafast.adaptive.step import AdaptiveStep
from aafast.bench.cases import METHODS, TASKS, draw
from aafast.bench.networks import FOLDER, save_proximal
from aafast.nets import build_residual
from aafast.nets.spectral_norm import refresh
from aafast.tasks import build
from aafast.verify.product import forward_model

BATCH, PATCH = 4, {"deblur": (48, 40), "deconv": (128, 24), "defog": (40, 48)}
UNROLLED = 2  # iterations with gradients
WARM = 12  # an equilibrium model makes up to so many before them, so that it learns to stay where it arrives
RATE = 2e-3
SHARE = {"adaptive-lu": 1.0, "robust-lu": 0.4, "adaptive-deq": 0.4}  # of the steps


def iteration(model: Model, y: Tensor, A0: object) -> Callable[[Tensor], Tensor]:
    """x -> x of a model, z being y."""
    if model.config.method == "robust-lu":
        return lambda x: model.prox(x - torch.exp(model.eta) * A0.A_adjoint(A0.A(x) - y))
    step = AdaptiveStep(Problem(y, A0, build_residual(model.config), model.config), model.prox, model.eta)
    return lambda x: step.prox_step(x, y)


def loss_of(model: Model, task: str, step: int) -> tuple[Tensor, Tensor]:
    """The mean squared error of the iterates on a fresh batch, and that of the measurement itself."""
    x, y, given = draw(task, (BATCH, 0, *PATCH[task]), 1000 + step)
    phi = iteration(model, y, forward_model(task, given))
    point = y
    refresh(model)
    equilibrium = model.config.method == "adaptive-deq"
    if equilibrium:
        with torch.no_grad():
            for _ in range(step % (WARM + 1)):
                point = phi(point)
    losses = []
    for _ in range(UNROLLED):
        before, point = point, phi(point)
        losses.append((point - x).square().mean())
    if equilibrium:
        losses.append((point - before).square().mean())
    return torch.stack(losses).mean(), (y - x).square().mean()


def train(model: Model, trained: list[nn.Parameter], task: str, steps: int) -> None:
    """Adam on some of a model's parameters, the rate falling to nothing."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_()
    optimiser = torch.optim.Adam(trained, lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    begin, seen = time.perf_counter(), []
    for step in range(steps):
        loss, start = loss_of(model, task, step)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        schedule.step()
        seen.append(10 * torch.log10(start / loss).item())
        if (step + 1) % 25 == 0 or step + 1 == steps:
            gain = sum(seen[-25:]) / len(seen[-25:])
            print(f"{task} {model.config.method} {step + 1}: {gain:.2f} dB better than the measurement, "
                  f"{time.perf_counter() - begin:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", action="append", choices=TASKS, help="may be given again (default: all)")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    for task in arguments.task or TASKS:
        models = {method: build(task, method, residual="none") for method in METHODS}
        base = models["adaptive-lu"]
        train(base, [*base.prox.parameters(), base.eta], task, round(arguments.steps * SHARE["adaptive-lu"]))
        for method in (m for m in METHODS if m != "adaptive-lu"):
            layers = models[method].prox.R
            layers[1:-1].load_state_dict(base.prox.R[1:-1].state_dict(), strict=False)
            own = [layers[0].weight, layers[-1].weight, models[method].eta]
            train(models[method], own, task, round(arguments.steps * SHARE[method]))
        path = save_proximal(models, task, arguments.out)
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB", flush=True)


if __name__ == "__main__":
    main()
