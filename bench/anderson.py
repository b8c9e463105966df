"""Our Anderson acceleration against that of torchdeq and of deepinv: evaluations and time to 1e-3 and 1e-6.

Run: python bench/anderson.py --golden FOLDER --task deblur --task deconv [--time] [--out FILE.jsonl]
     python bench/anderson.py --write        makes the tables of docs/compat.md from the committed results
FOLDER holds anderson_0.npz to anderson_2.npz. Every solver iterates the same map from the same point, no sample ever
stopping; an evaluation is one call of the map, the one that finds the residual small enough included. The residuals
are not the solvers' own: numpy computes them again in float64 from the points that were evaluated. The trained models
are those of bench/weights: their iteration as it is (z and theta move with every call, so there is a floor), and held
at its end, which is a fixed map. Times are taken with --time alone, on a quiet machine: one thread, solvers in turns.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from aafast.adaptive.state import Aux
from aafast.adaptive.step import AdaptiveStep
from aafast.bench import libraries
from aafast.bench.cases import Case
from aafast.bench.fixed_point import DEFAULT, Trained, full
from aafast.bench.gates import Gate
from aafast.bench.rows import Row, complaints, facts, line, quantiles, read
from aafast.config import FixedPointConfig
from aafast.reference.golden import ANDERSON_NAMES, load
from aafast.solvers import iterate

RESULTS = Path(__file__).resolve().parent / "results" / "anderson.jsonl"
OURS, TORCHDEQ, DEEPINV = "aafast", "torchdeq", "deepinv"
LIBRARIES = (OURS, TORCHDEQ, DEEPINV)
OWN = "the file's settings"
LOOSE, TIGHT = 1e-3, 1e-6
AFFINE, MOVING, HELD = 80, 10, 30  # evaluations at most
RIDGES = (1e-4, 1e-6, 1e-8, 1e-10, 1e-12, 1e-14)  # to choose from; ours are relative, the others' absolute
WINDOWS = (8, 16)  # at which every library is compared; the first is our default
SMALL = 1e-10  # a ridge of ours for float64
SAMPLES = 3
ROUNDS, REPEATS = {"affine": 40, "adaptive-deq": 5}, {"affine": 5, "adaptive-deq": 1}
Map = Callable[[Tensor], Tensor]
Solve = Callable[..., Tensor]


def ours(f: Map, x0: Tensor, count: int, **settings: Any) -> Tensor:
    """x after a number of evaluations by our solver."""
    config = FixedPointConfig(tol=0.0, max_iter=count, **settings)
    return iterate(lambda x, aux: (f(x), aux), x0, {}, config).x


def torchdeq(f: Map, x0: Tensor, count: int, **settings: Any) -> Tensor:
    """x after a number of evaluations (3 or more) by torchdeq's."""
    from torchdeq.solver import get_solver

    return get_solver("anderson")(f, x0, max_iter=count, tol=0.0, stop_mode="rel", **settings)[0]


def deepinv(f: Map, x0: Tensor, count: int, **settings: Any) -> Tensor:
    """x after a number of evaluations by deepinv's, its test of convergence on, as in the others."""
    optim = libraries.deepinv().optim

    class Iterator(torch.nn.Module):
        cost_fn = None

        def forward(self, X: dict[str, Any], *rest: Any) -> dict[str, Any]:
            return {"est": (f(X["est"][0]),), "cost": None}

    loop = optim.FixedPoint(
        Iterator(),
        init_iterate_fn=lambda *rest, **named: {"est": (x0,), "cost": None},
        check_conv_fn=lambda it, before, after: optim.utils.check_conv(before, after, it, thres_conv=0.0),
        max_iter=count,
        anderson_acceleration_config=optim.optimizers.AndersonAccelerationConfig(**settings),
    )
    return loop()[0]["est"][0]


SOLVES: dict[str, Solve] = {OURS: ours, TORCHDEQ: torchdeq, DEEPINV: deepinv}
# What window, ridge and damping are called.
NAMES = {OURS: ("m", "ridge", "beta"), TORCHDEQ: ("m", "lam", "tau"), DEEPINV: ("history_size", "eps", "beta")}


class Problem(NamedTuple):
    """A map to iterate: `start` gives it fresh, `again` the image of a point once more (None: it does not stand still).

    settings: m, lam and beta of the golden file, or none.
    """

    task: str
    method: str
    x0: Tensor
    start: Callable[[], Map]
    again: Callable[[Tensor], np.ndarray] | None
    tolerances: tuple[float, ...]
    budget: int
    settings: dict[str, Any]


def golden(folder: Path) -> Iterator[Problem]:
    """The affine map of the golden files, with the settings of each."""
    for index, name in enumerate(ANDERSON_NAMES):
        arrays = load(folder / f"{name}.npz")
        M, c = arrays["M"], arrays["c"]
        settings = {key: arrays[key].item() for key in ("m", "lam", "beta")}
        yield affine(f"golden {index}", M, c, torch.zeros(arrays["x"].shape, dtype=c.dtype), settings)


def affine(task: str, M: Tensor, c: Tensor, x0: Tensor, settings: dict[str, Any]) -> Problem:
    """v -> M v + c."""

    def apply(v: Tensor) -> Tensor:
        return (torch.einsum("bij,bj->bi", M, v.flatten(1)) + c).reshape(v.shape)

    def again(v: Tensor) -> np.ndarray:
        return np.stack([m @ row + b for m, row, b in zip(M.numpy(), v.flatten(1).numpy(), c.numpy(), strict=True)])

    return Problem(task, "affine", x0, lambda: apply, again, (LOOSE, TIGHT), AFFINE, settings)


def moving(trained: Trained, task: str) -> Problem:
    """A trained model's iteration from its start, z and theta going along."""

    def start() -> Map:
        step, state = trained.start()

        def apply(x: Tensor) -> Tensor:
            nonlocal state
            image, state = step(x, state)
            return image

        return apply

    return Problem(task, "adaptive-deq", trained.y, start, None, (LOOSE,), MOVING, {})


def held(step: AdaptiveStep, state: Aux, x0: Tensor, task: str) -> Problem:
    """The x-step of a trained model, z and theta held at the end of a solve."""
    phi = step.frozen(state)

    def again(x: Tensor) -> np.ndarray:
        with torch.no_grad():
            return phi(x).flatten(1).numpy()

    return Problem(f"{task}, held", "adaptive-deq", x0, lambda: phi, again, (LOOSE, TIGHT), HELD, {})


@torch.no_grad()
def trained(task: str) -> Iterator[Problem]:
    """The two maps of a model at the authors' sizes with trained weights; the held one in float64."""
    yield moving(full(task, SAMPLES), task)
    case = Case(task, "adaptive-deq")
    data, y = case.part(SAMPLES), case.part(SAMPLES).y.double()
    model = case.product(MOVING, torch.float64)
    whole = Trained(task, model, data.x, y, case.A0(data, torch.float64))
    step, state = whole.start()
    found = iterate(step, y, state, FixedPointConfig(tol=0.0, max_iter=MOVING))
    yield held(step, found.aux, y, task)


@torch.no_grad()
def residuals(problem: Problem, solve: Solve, settings: dict[str, Any]) -> np.ndarray:
    """||f(x) - x|| / ||f(x)|| [K, B] at every point that a solver evaluates, in float64 and not by the solver."""
    f, found = problem.start(), []

    def seen(x: Tensor) -> Tensor:
        image = f(x)
        again = image.flatten(1).numpy() if problem.again is None else problem.again(x)
        again = again.astype(np.float64)
        norm = np.linalg.norm(again - x.flatten(1).numpy().astype(np.float64), axis=1)
        found.append(norm / np.linalg.norm(again, axis=1))
        return image

    solve(seen, problem.x0, problem.budget, **settings)
    return np.stack(found)


def counts(curve: np.ndarray, tolerance: float) -> list[int | None]:
    """Evaluations until each sample is below the tolerance; None where it never is."""
    below = curve < tolerance
    return [int(column.argmax()) + 1 if column.any() else None for column in below.T]


def total(curve: np.ndarray, tolerance: float) -> int:
    """The sum of `counts`, one more than there were evaluations for a sample that never got there."""
    return sum(len(curve) + 1 if count is None else count for count in counts(curve, tolerance))


class Entry(NamedTuple):
    """One solver with its settings, and what it found."""

    library: str
    label: str
    settings: dict[str, Any]
    curve: np.ndarray


def entries(problem: Problem) -> list[Entry]:
    """Every library as it comes and with our window and ridge; on an affine map also with the golden file's settings,
    and at each window with the ridge that suits it best.
    """
    found = []
    for library in LIBRARIES:
        names = NAMES[library]

        def tried(label: str, settings: dict[str, Any], library: str = library) -> Entry:
            return Entry(library, label, settings, residuals(problem, SOLVES[library], settings))

        def named(*values: float, names: tuple[str, ...] = names) -> dict[str, float]:
            return dict(zip(names, values, strict=True))

        found.append(tried("default", {}))
        if library == OURS:
            found.append(tried("fixed damping", {"beta": 1.0}))
            if not problem.settings:
                found.append(tried(f"ridge={SMALL:g}", {"ridge": SMALL}))
        elif not problem.settings:
            found.append(tried("our window and ridge", named(DEFAULT.m, DEFAULT.ridge, 1.0)))
        else:
            found.append(tried(OWN, named(*(problem.settings[key] for key in ("m", "lam", "beta")))))
        for window in WINDOWS if problem.settings else ():
            choice = [tried(f"m={window}, ridge chosen", named(window, ridge, 1.0)) for ridge in RIDGES]
            found.append(min(choice, key=lambda entry: total(entry.curve, problem.tolerances[-1])))
    return found


def row(problem: Problem, entry: Entry) -> Row:
    """An entry as a row, not timed."""
    tolerance = problem.tolerances[-1]
    reached = counts(entry.curve, tolerance)
    lowest = np.minimum.accumulate(entry.curve)[-1].max()
    gate = Gate("relative residual reached, computed again", float(lowest), tolerance)
    return {
        "suite": "anderson",
        "task": problem.task,
        "method": problem.method,
        "backend": entry.library,
        "label": entry.label,
        "settings": entry.settings,
        "batch": len(problem.x0),
        "shape": list(problem.x0.shape[1:]),
        "iterations": None if None in reached else max(reached),
        "evaluations": {f"{t:g}": counts(entry.curve, t) for t in problem.tolerances},
        **dict.fromkeys(("median_s", "p20_s", "p80_s", "s_per_iteration", "s_to_loose", "peak_mb")),
        "baseline": None,
        "speedup": None,
        "speedup_per_iteration": None,
        "gate": gate.row(),
    }


@torch.no_grad()
def timed(problem: Problem, found: list[Entry], rows: list[Row]) -> None:
    """Enter the time to each tolerance of the slowest sample, and an evaluation's; all solvers in turns.

    Ours get their speed-up over the fastest other that reached the tolerance.
    """
    rounds, repeats = ROUNDS[problem.method], REPEATS[problem.method]
    green = [k for k, each in enumerate(rows) if each["gate"]["ok"]]
    least = {k: [max(rows[k]["evaluations"][f"{t:g}"]) for t in problem.tolerances] for k in green}
    seconds: dict[tuple[int, int], list[float]] = {}
    for _ in range(rounds):
        for k in green:
            for count in set(least[k]):
                begin = time.perf_counter()
                for _ in range(repeats):
                    SOLVES[found[k].library](problem.start(), problem.x0, max(count, 3), **found[k].settings)
                seconds.setdefault((k, count), []).append((time.perf_counter() - begin) / repeats)
    for k in green:
        last = least[k][-1]
        rows[k] |= quantiles(seconds[k, last])
        rows[k] |= {"s_per_iteration": rows[k]["median_s"] / max(last, 3), "rounds": rounds}
        rows[k]["s_to_loose"] = quantiles(seconds[k, least[k][0]])["median_s"]
    others = [rows[k] for k in green if rows[k]["backend"] != OURS]
    for each in (rows[k] for k in green if rows[k]["backend"] == OURS and others):
        best = min(others, key=lambda other: other["median_s"])
        quickest = min(other["s_per_iteration"] for other in others)
        each |= {"baseline": f"{best['backend']}, {best['label']}", "speedup": best["median_s"] / each["median_s"]}
        each["speedup_per_iteration"] = quickest / each["s_per_iteration"]


def measure(problem: Problem, clock: bool = False) -> list[Row]:
    """The rows of one problem."""
    found = entries(problem)
    rows = [row(problem, entry) for entry in found]
    if clock:
        timed(problem, found, rows)
    return rows


def versions() -> dict[str, str]:
    """Of the libraries compared with."""
    return {name: importlib.metadata.version(name) for name in (TORCHDEQ, DEEPINV)}


def table(rows: list[Row], named: bool = True) -> str:
    """Markdown: a line a solver, with the problem's name where several are shown, and times where there are any."""
    times = any(each["s_per_iteration"] for each in rows)
    head = [*(["problem"] * named), "library", "settings", "evaluations to 1e-3", "to 1e-6"]
    head += ["us an evaluation"] * times
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for each in rows:
        cells = [*([each["task"]] * named), each["backend"], settings_text(each)]
        cells += [count_text(each["evaluations"].get(f"{t:g}")) for t in (LOOSE, TIGHT)]
        if times:
            cells.append("-" if each["s_per_iteration"] is None else f"{each['s_per_iteration'] * 1e6:.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def settings_text(each: Row) -> str:
    """The label, and the ridge where one was chosen."""
    if "chosen" not in each["label"]:
        return each["label"]
    return f"{each['label']} ({each['settings'][NAMES[each['backend']][1]]:g})"


def count_text(found: list[int | None] | None) -> str:
    """Counts of the samples."""
    return "" if found is None else ", ".join("-" if count is None else str(count) for count in found)


def tables() -> dict[str, Callable[[], str]]:
    """The tables of docs/compat.md, by marker."""
    rows = read(RESULTS)
    files = [each for each in rows if each["method"] == "affine"]
    models = [each for each in rows if each["method"] != "affine"]

    def one_map() -> str:
        """The files hold one map: what does not depend on their settings is shown once."""
        shown = []
        for each in files:
            if each["label"] == OWN:
                shown.append({**each, "label": f"those of {each['task']}"})
            elif each["task"] == files[0]["task"]:
                shown.append(each)
        return table(sorted(shown, key=lambda each: LIBRARIES.index(each["backend"])), named=False)

    return {"anderson-affine": one_map, "anderson-models": lambda: table(models)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golden", type=Path)
    parser.add_argument("--task", action="append", choices=["deconv", "deblur"], default=[])
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    problems = list(golden(arguments.golden)) if arguments.golden else []
    rows: list[Row] = []
    for problem in [*problems, *(each for task in arguments.task for each in trained(task))]:
        shared = facts("cpu")
        shared["versions"] = {**shared["versions"], **versions()}
        for each in measure(problem, arguments.time):
            rows.append({**each, **shared})
            assert not complaints(rows[-1]), complaints(rows[-1])
            print(line(rows[-1]), rows[-1]["label"], rows[-1]["evaluations"], flush=True)
    if rows:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    if arguments.write:
        from aafast.bench.report import filled

        path = RESULTS.parents[2] / "docs" / "compat.md"
        path.write_text(filled(path.read_text(encoding="utf-8"), tables()), encoding="utf-8")


if __name__ == "__main__":
    main()
