"""The models of the tables: calibrations, then every method of every task by seed, as MODELS/TASK/LABEL/seed-S.

Run: python bench/tables/train.py MODELS [--tasks TASK...] [--seeds N] [--jobs N] [--print]
Images are trained for in three stages, the first two under MODELS/stage-1 and MODELS/stage-2: from fresh weights; once
more as long on other pairs; briefly on larger patches, with a calibration that was trained on such, adaptive
LU at several depths. The equilibrium models take part from the second on: they go on from the unrolled ones of the same
seed, as those do themselves, so that both had the same start and as many steps. Deconvolution has two stages, the
second a short one, in which the equilibrium models take part in the same way; beside them a larger network is trained
for surveys, without calibration. About three hours of one processor core. A training that was stopped goes on where it
was; a finished one is not repeated.
"""

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aafast.config import METHODS
from aafast.evaluation.experiments import PLAIN, SURVEY
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
SHORT = 400  # steps of deconvolution's second stage: a longer one changed nothing
OTHERS: dict[str, dict[str, Any]] = {
    PLAIN: {"calibration": "none"},
    SURVEY: {"calibration": "none", "channels": 32, "depth": 7},
}
SURVEY_STEPS = 5000
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
    if label in OTHERS:
        values["settings"] = preset(task, "adaptive-lu").to_dict()["settings"] | OTHERS[label]
    if not values:
        return []
    path = models / f"{task}-{label}{'-last' if 'steps' in values else ''}.json"
    path.write_text(json.dumps(values) + "\n", encoding="utf-8")
    return ["--config", str(path)]


def chain(models: Path, task: str, seed: int) -> list[Command]:
    """The trainings of one task and seed, in an order in which each finds what it starts from."""
    own, calibrated = ["--seed", str(seed)], ["--calibration", str(calibration(models, task, 0))]
    extra = [] if seed > 1 else [PLAIN] if task in PATCHES else [SURVEY]
    labels = [name for name in METHODS if name != "adaptive-deq"] + extra

    def at(stage: int, label: str) -> Path:
        last = stage == 3 or label == SURVEY
        return Path(models if last else models / f"stage-{stage}", task, label, f"seed-{seed}")

    jobs = []
    for label in labels:
        method = "adaptive-lu" if label in OTHERS else label
        given = calibrated if label == "adaptive-lu" else ["--steps", str(SURVEY_STEPS)] if label == SURVEY else []
        jobs.append(command(at(1, label), task, method, *own, *given, *fields(models, label, task)))
    for label in [*labels, "adaptive-deq"]:
        method = "adaptive-lu" if label in OTHERS else label
        start = ["--init", str(at(1, "adaptive-lu" if label == "adaptive-deq" else label))]
        # The weights are there: pairs that were not seen before.
        other = ["--seed", str(100 + seed), *start, *fields(models, label, task)]
        if task not in PATCHES:
            if label != SURVEY:
                jobs.append(command(at(3, label), task, method, *other, "--steps", str(SHORT)))
            continue
        jobs.append(command(at(2, label), task, method, *other))
        last = LAST | ({"deepen": DEEPEN} if method == "adaptive-lu" else {})
        options = ["--seed", str(200 + seed), "--init", str(at(2, label)), "--shape", PATCHES[task]]
        if method.startswith("adaptive") and label != PLAIN:
            options += ["--calibration", str(calibration(models, task, 1))]
        jobs.append(command(at(3, label), task, method, *options, *fields(models, label, task, **last)))
    return jobs


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
