"""The models of the tables: calibrations, then every method of every task by seed, as MODELS/TASK/LABEL/seed-S.

Run: python bench/tables/train.py MODELS [--tasks TASK...] [--seeds N] [--jobs N] [--print]
Images are trained for in three stages, the first two under MODELS/stage-1 and MODELS/stage-2: from fresh weights; once
more as long on other pairs; briefly on larger patches, with a calibration that was trained on such, adaptive
LU at several depths. The equilibrium models take part from the second on: they go on from the unrolled ones of the same
seed, as those do themselves, so that both had the same start and as many steps. Deconvolution has two stages, the
second a short one with the theta-step that the models are saved with, in which the equilibrium models take part in the
same way; the larger network beside them has three. About three hours of one processor core. A training that was stopped
goes on where it was; a finished one is not repeated.
"""

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aafast.config import METHODS
from aafast.evaluation.experiments import LARGE, PLAIN
from aafast.tasks import TASKS
from aafast.training import preset

# Steps, patches and batches of each stage of a calibration; None for the preset's batch.
CALIBRATION = {
    "deconv": [(3000, "128x40", 24)],
    "deblur": [(1200, "48x48", None), (2000, "64x64", 16)],
    "defog": [(2500, "64x64", None), (1500, "128x128", 8)],
}
PATCHES = {"deblur": "64x64", "defog": "128x128"}  # of the last stage
LAST = {"steps": 300, "learning_rate": 1e-3}
DEEPEN = 5  # of the A-adaptive unrolled models in the last stage; robust LU at K is the worse for it
SHORT = 400  # steps of deconvolution's second stage
LARGER: dict[str, Any] = {"channels": 32, "depth": 7}
UNADAPTED: dict[str, Any] = {"theta_solver": {"name": "none"}}  # faster, for the first steps
# Its stages: without calibration, with it, and with the theta-step too.
LARGE_STAGES: tuple[dict[str, Any], ...] = (
    {"steps": 5000}, {"steps": 1500, "learning_rate": 1e-3}, {"steps": 500, "learning_rate": 5e-4}
)  # fmt: skip
Command = list[str]


def command(folder: Path, task: str, method: str, *options: str) -> Command:
    """One training on one thread."""
    return [sys.executable, "-m", "aafast", "train", task, method, "--out", str(folder), "--threads", "1", *options]


def calibration(models: Path, task: str, stage: int) -> Path:
    """Where the calibration of a stage lies."""
    return models / f"stage-{stage + 1}" / task / "calibration"


def calibrations(models: Path, task: str) -> list[Command]:
    """The trainings of a task's calibration, each from the one before."""
    jobs = []
    for stage, (steps, shape, batch) in enumerate(CALIBRATION[task]):
        options = ["--preset", "calibration", "--steps", str(steps), "--shape", shape, "--seed", str(1 + 100 * stage)]
        options += ["--batch", str(batch)] if batch else []
        options += ["--init", str(calibration(models, task, stage - 1))] if stage else []
        jobs.append(command(calibration(models, task, stage), task, "adaptive-lu", *options))
    return jobs


def fields(models: Path, label: str, task: str, **values: Any) -> list[str]:
    """The option that gives a training fields of its plan, which are written to a file."""
    if label == PLAIN:
        values["settings"] = preset(task, "adaptive-lu").to_dict()["settings"] | {"calibration": "none"}
    if not values:
        return []
    path = models / f"{task}-{label}{'-last' if 'steps' in values else ''}.json"
    path.write_text(json.dumps(values) + "\n", encoding="utf-8")
    return ["--config", str(path)]


def at(models: Path, stage: int, task: str, label: str, seed: int) -> Path:
    """Where the models of a stage lie; those of the last, 3, are those of the tables."""
    return Path(models if stage == 3 else models / f"stage-{stage}", task, label, f"seed-{seed}")


def of_images(models: Path, task: str, seed: int) -> list[Command]:
    """The trainings of an image task and seed, in an order in which each finds what it starts from."""
    own, calibrated = ["--seed", str(seed)], ["--calibration", str(calibration(models, task, 0))]
    labels = [name for name in METHODS if name != "adaptive-deq"] + ([PLAIN] if seed == 1 else [])
    jobs = []
    for label in labels:
        method = "adaptive-lu" if label == PLAIN else label
        given = calibrated if label == "adaptive-lu" else []
        folder = at(models, 1, task, label, seed)
        jobs.append(command(folder, task, method, *own, *given, *fields(models, label, task)))
    for label in [*labels, "adaptive-deq"]:
        method = "adaptive-lu" if label == PLAIN else label
        start = at(models, 1, task, "adaptive-lu" if label == "adaptive-deq" else label, seed)
        second = at(models, 2, task, label, seed)
        # The weights are there: pairs that were not seen before.
        other = ["--seed", str(100 + seed), "--init", str(start), *fields(models, label, task)]
        jobs.append(command(second, task, method, *other))
        last = LAST | ({"deepen": DEEPEN} if method == "adaptive-lu" else {})
        options = ["--seed", str(200 + seed), "--init", str(second), "--shape", PATCHES[task]]
        if method.startswith("adaptive") and label != PLAIN:
            options += ["--calibration", str(calibration(models, task, 1))]
        given = fields(models, label, task, **last)
        jobs.append(command(at(models, 3, task, label, seed), task, method, *options, *given))
    return jobs


def of_sections(models: Path, task: str, seed: int) -> list[Command]:
    """The same for deconvolution."""
    calibrated = ["--calibration", str(calibration(models, task, 0))]

    def job(stage: int, label: str, method: str, *options: str, **values: Any) -> Command:
        given = []
        if values:
            path = models / f"{task}-{label}-{stage}.json"
            path.write_text(json.dumps(values) + "\n", encoding="utf-8")
            given = ["--config", str(path)]
        own = ["--seed", str({1: 0, 2: 100, 3: 200 if label == LARGE else 100}[stage] + seed)]
        return command(at(models, stage, task, label, seed), task, method, *own, *options, *given)

    def settings(**changes: Any) -> dict[str, Any]:
        return preset(task, "adaptive-lu").to_dict()["settings"] | changes

    def start(stage: int, label: str) -> list[str]:
        return ["--init", str(at(models, stage, task, label, seed))]

    jobs = [job(1, name, name) for name in ("direct", "robust-lu")]
    jobs.append(job(1, "adaptive-lu", "adaptive-lu", *calibrated, settings=settings(**UNADAPTED)))
    short = ["--steps", str(SHORT)]
    jobs += [job(3, name, name, *start(1, name), *short) for name in ("direct", "robust-lu")]
    jobs += [job(3, name, name, *start(1, "adaptive-lu"), *short) for name in ("adaptive-lu", "adaptive-deq")]
    if seed == 1:
        first, second, third = LARGE_STAGES
        plain = settings(**LARGER, **UNADAPTED)
        jobs.append(job(1, LARGE, "adaptive-lu", settings=plain | {"calibration": "none"}, **first))
        jobs.append(job(2, LARGE, "adaptive-lu", *start(1, LARGE), *calibrated, settings=plain, **second))
        jobs.append(job(3, LARGE, "adaptive-lu", *start(2, LARGE), settings=settings(**LARGER), **third))
    return jobs


def chain(models: Path, task: str, seed: int) -> list[Command]:
    """The trainings of one task and seed."""
    return (of_images if task in PATCHES else of_sections)(models, task, seed)


def run(jobs: list[Command]) -> None:
    """One after the other; stops at the first that fails."""
    for words in jobs:
        print(" ".join(words[2:]), flush=True)
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, metavar="MODELS")
    parser.add_argument("--tasks", nargs="+", choices=tuple(TASKS), default=tuple(TASKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    parser.add_argument("--print", action="store_true", help="only print the commands")
    arguments = parser.parse_args()
    arguments.models.mkdir(parents=True, exist_ok=True)
    first = [calibrations(arguments.models, task) for task in arguments.tasks]
    seeds = range(1, arguments.seeds + 1)
    then = [chain(arguments.models, task, seed) for seed in seeds for task in arguments.tasks]
    if arguments.print:
        print("\n".join(" ".join(words[2:]) for jobs in (*first, *then) for words in jobs))
        return
    for stage in (first, then):
        with ThreadPoolExecutor(arguments.jobs) as pool:
            list(pool.map(run, stage))


if __name__ == "__main__":
    main()
