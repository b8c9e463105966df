"""Evaluations and time to tolerance of the fixed-point solvers, on affine maps and on trained equilibrium models.

Run: python bench/fixed_point.py --golden FOLDER [--model DIR ...] [--out FILE.jsonl]
     python bench/fixed_point.py --train DIR    trains the small model that the committed results use: 3 minutes
     python bench/fixed_point.py --write        makes the tables of docs/solvers.md from the committed results
FOLDER holds anderson_0.npz to anderson_2.npz. DIR is the folder of an adaptive-deq model of the task deconv; the
authors' sizes with the weights of bench/weights are measured as well. One thread; an evaluation is one call of the map.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import aafast
from aafast.adaptive import Model
from aafast.adaptive.objective import Problem
from aafast.adaptive.state import initial
from aafast.adaptive.step import AdaptiveStep
from aafast.bench.cases import Case
from aafast.bench.rows import facts
from aafast.config import FixedPointConfig, InnerSolver
from aafast.data import seismic_pairs
from aafast.evaluation import psnr
from aafast.nets.spectral_norm import refresh
from aafast.physics import ForwardModel, WaveletConvolution
from aafast.reference.anderson import anderson as reference
from aafast.reference.golden import load
from aafast.solvers import iterate
from aafast.training import Trainer, TrainingPlan

RESULTS = Path(__file__).resolve().parent / "results" / "fixed-point.jsonl"
DEFAULT = FixedPointConfig()
AUTHORS = FixedPointConfig(m=5, beta=1.0, ridge=1e-3, relative=False)
SOLVERS = {
    "default": DEFAULT,
    "anderson, authors' settings": AUTHORS,
    "anderson, their window, relative ridge": replace(AUTHORS, relative=True),
    "default, m=5": replace(DEFAULT, m=5),
    "default, m=12": replace(DEFAULT, m=12),
    "default, ridge=1e-4": replace(DEFAULT, ridge=1e-4),
    "default, beta=1": replace(DEFAULT, beta=1.0, restart=2.0),
    "default, beta=0.5": replace(DEFAULT, beta=0.5, restart=2.0),
    "default, restart=0": replace(DEFAULT, restart=0.0),
    "default, drop=10": replace(DEFAULT, drop=10.0),
    "default, drop=30": replace(DEFAULT, drop=30.0),
    "broyden": FixedPointConfig("broyden"),
    "broyden, beta=1": FixedPointConfig("broyden", beta=1.0),
    "momentum": FixedPointConfig("momentum"),
    "momentum, beta=1": FixedPointConfig("momentum", beta=1.0),
    "picard": FixedPointConfig("picard"),
    "picard, beta=0.5": FixedPointConfig("picard", beta=0.5),
}
MAIN = ("default", "anderson, authors' settings", "broyden", "momentum", "picard")  # measured at the authors' sizes
GOLDEN_TOLERANCES, MODEL_TOLERANCES = (1e-3, 1e-6), (1e-2, 1e-3)
LIMITS = {1e-3: 1.0, 1e-6: 0.6}  # of the reference's evaluations
MANY, BUDGET = 80, 40  # evaluations at most: of affine maps, of models
BAND = 0.02  # dB around the reference's final PSNR
PAIRS, LEVEL, SHAPE, SEED = 16, "out", (64, 32), 99
PLAN = TrainingPlan(
    "deconv",
    "adaptive-deq",
    steps=900,
    batch=4,
    shape=(64, 32),
    data={"snr_db": [5.0, 30.0]},
    validate_every=100,
    settings={
        "channels": 16,
        "residual_channels": 16,
        "fixed_point": FixedPointConfig(m=5, beta=1.0, ridge=1e-3, max_iter=10),
        "theta_solver": InnerSolver("none"),
    },
    shipped={"theta_solver": InnerSolver("adamw"), "fixed_point": DEFAULT},
)


def first(residuals: Tensor, tolerance: float) -> list[int | None]:
    """Evaluations until each sample's residual [K, B] is below the tolerance; None where it never is."""
    found = []
    for column in residuals.unbind(1):
        below = (column < tolerance).nonzero()
        found.append(int(below[0]) + 1 if len(below) else None)
    return found


def relative(x: Tensor, image: Tensor) -> Tensor:
    """||f(x) - x|| / ||f(x)|| per sample."""
    return (image - x).flatten(1).norm(dim=1) / image.flatten(1).norm(dim=1)


def krylov(M: Tensor, c: Tensor, most: int) -> Tensor:
    """A relative residual per sample [K, B] below which no method can be at its k-th evaluation, k = 1, 2, ...

    For methods that evaluate combinations of the images they have seen, from 0: the k-th point lies in the span of
    c, M c, .. M^(k-2) c, and the least ||r||, r = f(x) - x, in it is what GMRES finds. Since f(x) is
    x* - M (I - M)^-1 r, ||f(x)|| is at most ||x*|| + kappa ||r||, so the relative residual is at least
    ||r|| / (||x*|| + kappa ||r||).
    """
    found = torch.full((most, len(c)), float("inf"), dtype=c.dtype)
    for b in range(len(c)):
        system = torch.eye(c.shape[1], dtype=c.dtype) - M[b]
        size = torch.linalg.solve(system, c[b]).norm()
        kappa = torch.linalg.matrix_norm(torch.linalg.solve(system, M[b], left=False), 2)
        basis: list[Tensor] = []
        vector = c[b]
        found[0, b] = c[b].norm() / (size + kappa * c[b].norm())
        for k in range(1, most):
            for q in basis * 2:  # twice, to stay orthogonal to rounding
                vector = vector - (q @ vector) * q
            basis.append(vector / vector.norm())
            Q = torch.stack(basis, dim=1)
            y = torch.linalg.lstsq(system @ Q, c[b, :, None]).solution
            residual = (c[b] - (system @ Q @ y)[:, 0]).norm()
            found[k, b] = residual / (size + kappa * residual)
            vector = M[b] @ basis[-1]
    return found


def golden_rows(folder: Path) -> list[dict[str, Any]]:
    """Every solver on the affine map of the golden files, and the reference with the settings of each."""
    rows: list[dict[str, Any]] = []

    def enter(problem: str, solver: str, residuals: Tensor, settings: Any = None) -> None:
        counts = {f"{t:g}": first(residuals, t) for t in GOLDEN_TOLERANCES}
        rows.append({"problem": problem, "solver": solver, "settings": settings, "evaluations": counts})

    for index in range(3):
        arrays = load(folder / f"anderson_{index}.npz")
        M, c = arrays["M"], arrays["c"]

        def affine(v: Tensor, M: Tensor = M, c: Tensor = c) -> Tensor:
            return (torch.einsum("bij,bj->bi", M, v.flatten(1)) + c).reshape(v.shape)

        settings = {key: arrays[key].item() for key in ("m", "lam", "beta")}
        curve: list[Tensor] = []

        def seen(v: Tensor, f: Callable[[Tensor], Tensor] = affine, curve: list[Tensor] = curve) -> Tensor:
            image = f(v)
            curve.append(relative(v, image))
            return image

        reference(seen, torch.zeros(arrays["x"].shape, dtype=c.dtype), max_iter=MANY, tol=0.0, **settings)
        problem = f"golden {index}"
        enter(problem, "reference", torch.stack(curve), settings)
        enter(problem, "least possible", krylov(M, c, 2 * len(c[0]) // 3))
        for name, config in SOLVERS.items():
            config = replace(config, tol=0.0, max_iter=MANY)
            found = iterate(lambda v, aux, f=affine: (f(v), aux), torch.zeros_like(c), {}, config)
            enter(problem, name, found.residuals)
    return rows


class Trained:
    """An equilibrium model with data, and its iteration from the start, as often as wanted."""

    def __init__(self, name: str, model: Model, x: Tensor, y: Tensor, A0: ForwardModel) -> None:
        self.name, self.model, self.x, self.y, self.A0 = name, model, x, y, A0
        with torch.no_grad():
            refresh(model)

    def start(self) -> tuple[AdaptiveStep, dict[str, Tensor]]:
        model, rows = self.model, 1 if self.model.config.theta_scope == "batch" else len(self.y)
        step = AdaptiveStep(Problem(self.y, self.A0, model.residual, model.config, "auto"), model.prox, model.eta)
        return step, initial(self.y, model.residual.start(rows))

    def score(self, x: Tensor) -> Tensor:
        """PSNR in dB per sample."""
        return torch.from_numpy(psnr(self.x.numpy(), x.numpy()))

    def row(self, solver: str, residuals: Tensor, scores: Tensor, seconds: float, final: Tensor) -> dict[str, Any]:
        """residuals, scores [K, B]; final [B]: the reference's PSNR at its end."""
        returned = best_so_far(residuals, scores)
        outside = (returned - final).abs() > BAND
        within = [int(column.nonzero().max()) + 2 if column.any() else 1 for column in outside.unbind(1)]
        reached = [count if count <= len(scores) else None for count in within]
        return {
            "problem": self.name,
            "solver": solver,
            "evaluations": {f"{t:g}": first(residuals, t) for t in MODEL_TOLERANCES},
            "psnr_within_band": reached,
            "psnr": returned[-1].tolist(),
            "floor": float(residuals[-10:].log10().mean()),
            "seconds_per_evaluation": seconds / len(scores),
            "samples": len(self.x),
            "budget": len(scores),
        }


def best_so_far(residuals: Tensor, scores: Tensor) -> Tensor:
    """The score [K, B] of the iterate that a solve would return if it ended at each evaluation."""
    rows = [scores[0]]
    least = residuals[0]
    for residual, score in zip(residuals[1:], scores[1:], strict=True):
        rows.append(torch.where(residual < least, score, rows[-1]))
        least = torch.minimum(least, residual)
    return torch.stack(rows)


@torch.no_grad()
def model_rows(trained: Trained, solvers: dict[str, FixedPointConfig], budget: int) -> list[dict[str, Any]]:
    """The reference's Anderson and every solver on one model's iteration, no sample ever stopping."""
    step, state = trained.start()
    points: list[tuple[Tensor, Tensor]] = []

    def seen(x: Tensor) -> Tensor:
        nonlocal state
        image, state = step(x, state)
        points.append((x.clone(), image))  # it will write into x
        return image

    begin = time.process_time()
    last, whole = reference(seen, trained.y, max_iter=budget, tol=0.0)
    seconds, final = time.process_time() - begin, trained.score(last)
    residuals = torch.stack([relative(x, image) for x, image in points])
    scores = torch.stack([trained.score(x) for x, _ in points])  # it returns arguments, not images
    rows = [trained.row("reference", residuals, scores, seconds, final)]
    # It tests the whole batch at once, from the third evaluation on; its score there is that of its own end.
    rows[0]["stop"] = next((k + 3 for k, value in enumerate(whole) if value < 1e-3), None)
    for name, config in solvers.items():
        step, state = trained.start()
        images: list[Tensor] = []
        begin = time.process_time()
        found = iterate(
            step,
            trained.y,
            state,
            replace(config, tol=0.0, max_iter=budget),
            watch=lambda k, x, image, images=images: images.append(image),
        )
        seconds = time.process_time() - begin
        scores = torch.stack([trained.score(image) for image in images])
        rows.append(trained.row(name, found.residuals, scores, seconds, final))
        print(trained.name, name, rows[-1]["evaluations"], flush=True)
    return rows


def small(folder: Path) -> Trained:
    """A saved model on held-out pairs."""
    pairs = seismic_pairs(PAIRS, SHAPE, SEED, LEVEL, PLAN.data["snr_db"], surround=True)
    model = aafast.load(str(folder))
    size = f"{model.config.channels} channels, {model.config.depth} layers"
    return Trained(f"deconv, {size}", model, pairs.x, pairs.y, WaveletConvolution(pairs.w_nominal))


def full(task: str, samples: int = 3) -> Trained:
    """The authors' sizes with the weights that the solve suite scores."""
    case = Case(task, "adaptive-deq")
    data = case.part(samples)
    return Trained(f"{task}, authors' sizes", case.product(BUDGET), data.x, data.y, case.A0(data))


def table(rows: list[dict[str, Any]], problem: str) -> str:
    """Markdown: one row a solver, means over samples, in brackets how many samples never got there."""
    chosen = [row for row in rows if row["problem"] == problem]
    if problem.startswith("golden"):
        lines = ["| solver | evaluations to 1e-3 | to 1e-6 |", "|---|---|---|"]
        for row in chosen:
            cells = [", ".join(str(n or "-") for n in row["evaluations"][f"{t:g}"]) for t in GOLDEN_TOLERANCES]
            lines.append(f"| {row['solver']} | {' | '.join(cells)} |")
        return "\n".join(lines)
    head = "| solver | to 1e-2 | to 1e-3 | PSNR within 0.02 dB | lg residual at the end | CPU s a sample to 1e-3 |"
    lines = [head, "|---|---|---|---|---|---|"]
    for row in chosen:
        cells = [mean(row["evaluations"][f"{t:g}"], row["budget"]) for t in MODEL_TOLERANCES]
        cells.append(mean(row["psnr_within_band"], row["budget"]))
        counts = [n or row["budget"] for n in row["evaluations"]["0.001"]]
        each = row["seconds_per_evaluation"] * sum(counts) / row["samples"] / row["samples"]
        lines.append(f"| {row['solver']} | {' | '.join(cells)} | {row['floor']:.1f} | {each:.2f} |")
    return "\n".join(lines)


def mean(counts: list[int | None], budget: int) -> str:
    """The mean, those that never got there counting the whole budget."""
    missing = sum(n is None for n in counts)
    text = f"{sum(budget if n is None else n for n in counts) / len(counts):.1f}"
    return f"{text} ({missing})" if missing else text


def tables() -> dict[str, Callable[[], str]]:
    """The tables of docs/solvers.md, by marker."""
    rows = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
    problems = dict.fromkeys(row["problem"] for row in rows)

    def affine() -> str:
        shared = [row for row in rows if row["problem"] == "golden 0" and row["solver"] != "reference"]
        own = [row for row in rows if row["solver"] == "reference" and row["problem"].startswith("golden")]
        for row in own:
            s = row["settings"]
            label = f"reference of {row['problem']}: m={s['m']}, ridge {s['lam']:g}, beta {s['beta']:g}"
            shared.append({**row, "solver": label, "problem": "golden 0"})
        return table(shared, "golden 0")

    named = {"affine": affine}
    for problem in problems:
        if not problem.startswith("golden"):
            key = "small" if "channels" in problem else problem.split(",")[0]
            named[key] = lambda problem=problem: table(rows, problem)
    return named


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golden", type=Path)
    parser.add_argument("--model", type=Path, action="append", default=[])
    parser.add_argument("--full", action="append", choices=["deconv", "deblur"], default=[])
    parser.add_argument("--train", type=Path)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.train:
        Trainer(PLAN, arguments.train).run()
    rows = golden_rows(arguments.golden) if arguments.golden else []
    for folder in arguments.model:
        rows += model_rows(small(folder), SOLVERS, BUDGET)
    for task in arguments.full:
        rows += model_rows(full(task), {name: SOLVERS[name] for name in MAIN}, BUDGET // 2)
    if rows:
        shared = {"suite": "fixed-point", **facts("cpu")}
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text("".join(json.dumps({**shared, **row}) + "\n" for row in rows), encoding="utf-8")
    if arguments.write:
        from aafast.bench.report import filled

        path = RESULTS.parents[2] / "docs" / "solvers.md"
        path.write_text(filled(path.read_text(encoding="utf-8"), tables()), encoding="utf-8")


if __name__ == "__main__":
    main()
