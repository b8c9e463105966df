"""Evaluations of a whole folder of trained models, as the scripts of bench/tables/ run them.

The folder is MODELS/TASK/LABEL/seed-S, each a model that `aafast.load` takes. Whatever models are there are evaluated,
what lacks is said; rows that the file of results has already, of the same weights and pairs, are not made again.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from ..checks import check_device
from ..config import METHODS
from ..errors import FileError, describe
from ..physics import GaussianBlur
from ..tasks import TASKS, TaskBatch
from ..tasks.checkpoint import CARD
from . import pictures
from .contestants import Entry, ModelContestant, digest
from .rows import Row, key, read, write
from .scoring import PairSet, contestant_of, evaluate, line, method_of, score, tuned
from .tracing import curve
from .variants import AS_SAVED, applies

LEVELS = ("none", "in", "out", "beyond")
SEEDS = 3  # that a claim needs
CURVE_PAIRS = 16
# Labels of trained models beside the methods: adaptive LU without calibration, and a larger one with it.
PLAIN, LARGE = "adaptive-lu-uncalibrated", "adaptive-lu-large"


def find(folder: Path, task: str) -> dict[str, list[Path]]:
    """The models of a task by label, each in the order of its seeds; labels that are methods come first."""
    found: dict[str, list[Path]] = {}
    for card in sorted((folder / task).glob(f"*/seed-*/{CARD}"), key=lambda path: (len(path.parent.name), path)):
        found.setdefault(card.parent.parent.name, []).append(card.parent)
    order = {name: index for index, name in enumerate(METHODS)}
    return dict(sorted(found.items(), key=lambda item: (order.get(item[0], len(order)), item[0])))


class Experiment:
    """One script's run: its options, the models it found, and its file of rows."""

    def __init__(
        self,
        folder: Path,
        out: Path,
        tasks: Sequence[str] = tuple(TASKS),
        pairs: int = 64,
        seed: int = 0,
        device: str = "cpu",
        again: bool = False,
        say: Callable[[str], None] = print,
        **test: Any,
    ) -> None:
        """folder: MODELS. out: the file of rows. again: make every row anew. test: further fields of PairSet."""
        if not folder.is_dir():
            raise FileError(describe(f"folder of models {folder}", "no such folder", "MODELS/TASK/METHOD/seed-S",
                                     "Train models into it: aafast train TASK METHOD --out ..."))  # fmt: skip
        self.folder, self.out, self.tasks, self.say = folder, out, tasks, say
        self.device, self.test = str(check_device(device)), {"pairs": pairs, "seed": seed, **test}
        self.models = {task: find(folder, task) for task in tasks}
        self.rows = {} if again else {key(row): row for row in self._still_valid()}
        self.images = self._images()
        for task in tasks:
            for label in METHODS:
                count = len(self.models[task].get(label, ()))
                if count < SEEDS:
                    say(f"missing: {task}/{label} has {count} of {SEEDS} seeds")

    @classmethod
    def from_command_line(cls, doc: str, out: Path, words: Sequence[str] | None = None) -> Experiment:
        """The experiment that a script's command line asks for; `out` is its file of rows by default."""
        parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("folder", type=Path, metavar="MODELS", help="models at MODELS/TASK/METHOD/seed-S")
        parser.add_argument("--tasks", nargs="+", choices=tuple(TASKS), default=tuple(TASKS))
        parser.add_argument("--pairs", type=int, default=64)
        parser.add_argument("--seed", type=int, default=0, help="of the pairs")
        parser.add_argument("--source", default="generated", help="of the truth")
        parser.add_argument("--device", default="cpu")
        parser.add_argument("--threads", type=int)
        parser.add_argument("--again", action="store_true", help="make every row anew")
        parser.add_argument("--out", type=Path, default=out, help=f"default: {out.name} of bench/results")
        options = vars(parser.parse_args(words))
        threads = options.pop("threads")
        if threads:
            torch.set_num_threads(threads)
        return cls(**options, say=lambda text: print(text, file=sys.stderr, flush=True))

    def entries(self, task: str, methods: Sequence[str] = METHODS) -> Iterator[Entry]:
        """The models of a task whose method is one of these, loaded one by one."""
        for folders in self.models[task].values():
            for folder in folders:
                entry = Entry.of(folder, self.device)
                if entry.model.config.method in methods:
                    yield entry

    def scores(
        self,
        methods: Sequence[str] = METHODS,
        classical: dict[str, Sequence[str]] | None = None,
        mismatch: Sequence[str] = LEVELS,
        tasks: Sequence[str] = tuple(TASKS),
        **options: Any,
    ) -> None:
        """Rows of scores; classical: methods without training by task; options: `told` and `variants` of `evaluate`."""
        for task in (name for name in self.tasks if name in tasks):
            variants = options.get("variants", (AS_SAVED,))
            models = [e for e in self.entries(task, methods) if any(applies(v, e.model.config) for v in variants)]
            fits: list[Entry | str] = [*models, *(classical or {}).get(task, ())]
            if fits:
                self._keep(evaluate(fits, task, mismatch, done=set(self.rows), device=self.device, say=self.say,
                                    **options, **self.test))  # fmt: skip

    def curves(
        self, methods: Sequence[str], iterations: int, mismatch: Sequence[str] = ("out",),
        variants: Sequence[str] = (AS_SAVED,),
    ) -> None:  # fmt: skip
        """Rows of curves over so many iterations, on the first 16 pairs of the test set."""
        for task in self.tasks:
            self._keep(self._curves(task, list(self.entries(task, methods)), iterations, mismatch, variants))

    def _curves(self, task, entries, iterations, mismatch, variants) -> Iterator[Row]:
        for level in mismatch:
            pairs = PairSet(task, level, **{**self.test, "pairs": self._curve_pairs})
            chunks = [chunk.to(device=self.device) for chunk in pairs.chunks()]
            for contestant in _contestants(entries, variants):
                about = {**contestant.facts(), **pairs.facts(chunks[0].x.shape[1:]), "told": "nominal", "kind": "curve",
                         "length": iterations}  # fmt: skip
                if key(about) in self.rows:
                    continue
                row = curve(contestant.model, chunks, about, self.device)
                self.say(f"{task} {level:6s} {contestant.label}, {contestant.variant}: {iterations} iterations, "
                         f"PSNR {row['psnr'][-1]:.2f} dB at the end")  # fmt: skip
                yield row

    def told(self, task: str, methods: Sequence[str], tellers: dict[str, Callable], mismatch: str = "none") -> None:
        """Rows of scores where each entry of `tellers`, batch -> forward model, is told under its name."""
        if task not in self.tasks:
            return
        pairs = PairSet(task, mismatch, **self.test)
        chunks = [chunk.to(device=self.device) for chunk in pairs.chunks()]
        for contestant, name in itertools.product(_contestants(self.entries(task, methods)), tellers):
            about = {**contestant.facts(), **pairs.facts(chunks[0].x.shape[1:]), "told": name, "kind": "score"}
            if key(about) not in self.rows:
                row = score(contestant, chunks, about, self.device, tellers[name])
                self.say(line(row))
                self._keep([row])

    def picture(
        self, task: str, figure: str, methods: Sequence[str], mismatch: str = "out", index: int = 0,
        tellers: dict[str, Callable] | None = None, classical: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """A row and the images of pair `index`, by the first seed of every label, each forward model told in turn;
        classical: methods without training, told the nominal one."""
        if task not in self.tasks:
            return
        tellers = tellers or {"nominal": lambda batch: batch.nominal}
        first: dict[str, ModelContestant] = {}
        for contestant in _contestants(self.entries(task, methods)):
            first.setdefault(contestant.label, contestant)
        if not first:
            return
        pairs = PairSet(task, mismatch, **{**self.test, "pairs": 1})
        pair = pairs.draw(1, index).to(device=self.device)
        shown = [pictures.Shown(label, contestant, tell(pair), told)
                 for told, tell in tellers.items() for label, contestant in first.items()]  # fmt: skip
        for name in classical:
            method = tuned(method_of(name, task), pairs.examples(), "nominal")
            shown.insert(0, pictures.Shown(name, method, pair.nominal))
        about = {**pairs.facts(pair.x.shape[1:]), "index": index}
        row, images = pictures.picture(shown, pair, about, figure, self.device)
        self.images |= images
        pictures.save(self.out, self.images)
        self._keep([row])
        self.say(f"{task} {mismatch:6s} {figure}: {len(shown)} panels of pair {index}")

    def _still_valid(self) -> list[Row]:
        """The rows of the file that need not be made again: of other tasks, or of these weights and pairs."""
        if not self.out.is_file():
            return []
        folders = [folder for labels in self.models.values() for found in labels.values() for folder in found]
        known = {digest(folder) for folder in folders} | {"-"}
        pairs = {"score": self.test["pairs"], "curve": self._curve_pairs, "picture": 1}
        return [
            row
            for row in read(self.out)
            if row["task"] not in self.tasks
            or (row["weights"] in known and row["seed"] == self.test["seed"] and row["pairs"] == pairs[row["kind"]])
        ]

    def _images(self) -> dict[str, Any]:
        """The images that belong to the rows that were there."""
        names = [p["array"] for row in self.rows.values() if row["kind"] == "picture" for p in row["panels"]]
        return pictures.load(self.out, names) if names else {}

    @property
    def _curve_pairs(self) -> int:
        return min(CURVE_PAIRS, self.test["pairs"])

    def _keep(self, rows: Iterable[Row]) -> None:
        """Enter rows as they are made, and write the file after each."""
        for row in rows:
            self.rows[key(row)] = row
            write(self.out, self.rows.values())


def variance_times(ratio: float) -> Callable[[TaskBatch], GaussianBlur]:
    """A batch -> its true Gaussian blur with `ratio` times the variance, on the same number of pixels.

    `exp(-r^2 / (2 v)) ** (1 / ratio)`, normalised: exact for a sampled Gaussian, whatever its own variance v.
    """

    def tell(batch: TaskBatch) -> GaussianBlur:
        kernel = batch.true.tensors()["kernel"] ** (1 / ratio)
        return GaussianBlur(kernel / kernel.sum((2, 3), keepdim=True))

    return tell


def _contestants(entries: Iterable[Entry], variants: Sequence[str] = (AS_SAVED,)) -> Iterator[ModelContestant]:
    for entry in entries:
        for name in variants:
            if applies(name, entry.model.config):
                yield contestant_of(entry, name)
