"""The models of the tables: calibrations, then every method of every task by seed, as MODELS/TASK/LABEL/seed-S.

Run: python bench/tables/train.py MODELS [--tasks TASK...] [--seeds N] [--jobs N] [--print]
Every model is trained in two halves of as many steps, the first under MODELS/base: the equilibrium models go on from
the unrolled ones of the same seed, and those go on themselves, so that both had the same start and the same number of
steps. About three hours of one processor core. A training that was stopped goes on where it was; a finished one is
not repeated.
"""

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aafast.tasks import TASKS
from aafast.training import preset

CALIBRATION = {"deconv": (1500, "128x40"), "deblur": (1200, "48x48"), "defog": (2500, "64x64")}
PLAIN = "adaptive-lu-uncalibrated"


def command(folder: Path, task: str, method: str, *options: str) -> list[str]:
    """One training on one thread."""
    return [sys.executable, "-m", "aafast", "train", task, method, "--out", str(folder), "--threads", "1", *options]


def uncalibrated(models: Path, task: str) -> Path:
    """The compact plan of adaptive LU without its calibration, as a file of settings."""
    path = models / f"uncalibrated-{task}.json"
    settings = preset(task, "adaptive-lu").to_dict()["settings"] | {"calibration": "none"}
    path.write_text(json.dumps({"settings": settings}) + "\n", encoding="utf-8")
    return path


def chain(models: Path, task: str, seed: int) -> list[list[str]]:
    """The trainings of one task and seed, in an order in which each finds what it starts from."""
    first, then, own = models / "base" / task, models / task, ("--seed", str(seed))
    other = ("--seed", str(100 + seed))  # the weights are there: pairs that the first half has not seen
    calibration = ("--calibration", str(models / "calibration" / task))
    options = {"direct": (), "robust-lu": (), "adaptive-lu": calibration}
    if seed == 1:
        options[PLAIN] = ("--config", str(uncalibrated(models, task)))
    jobs = []
    for label, given in options.items():
        method, place = label.removesuffix("-uncalibrated"), Path(label, f"seed-{seed}")
        jobs.append(command(first / place, task, method, *own, *given))
        again = given if label == PLAIN else ()
        jobs.append(command(then / place, task, method, *other, *again, "--init", str(first / place)))
    lu, deq = (Path(name, f"seed-{seed}") for name in ("adaptive-lu", "adaptive-deq"))
    jobs.append(command(then / deq, task, "adaptive-deq", *other, "--init", str(first / lu)))
    return jobs


def run(jobs: list[list[str]]) -> None:
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
    first = []
    for task in arguments.tasks:
        steps, shape = CALIBRATION[task]
        folder = arguments.models / "calibration" / task
        options = ("--preset", "calibration", "--steps", str(steps), "--shape", shape)
        first.append([command(folder, task, "adaptive-lu", *options)])
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
