"""Scores of models, their variants and classical methods on the same test pairs, as rows."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..adaptive import Model
from ..checks import check_choice, check_device
from ..errors import InputError, describe
from ..physics import ForwardModel
from ..solvers import Status
from ..tasks import TASKS, TaskBatch, draw_pairs
from .classical import Truths, classical
from .contestants import ClassicalContestant, Contestant, Entry, Estimate, ModelContestant, split_names
from .metrics import correlation, psnr, quality, snr, ssim
from .operators import MEASURES, distribution, nearness
from .rows import PEAK, SUITE, Row, facts, key, peak_words, summary
from .variants import AS_SAVED, VARIANTS, applies, variant

LEVELS = ("none", "in", "out", "beyond")
TOLD = ("nominal", "true")
EXAMPLES = 16  # pairs of the valid split that a classical method's parameters are chosen on
_DIGITS = 6  # significant ones of numbers per pair


@dataclass(frozen=True)
class PairSet:
    """The pairs of a test: `start` on, drawn from a task's split and source with one seed."""

    task: str
    mismatch: str = "out"
    split: str = "test"
    source: str = "generated"
    pairs: int = 64
    seed: int = 0
    shape: tuple[int, int] | None = None
    batch: int = 8

    def chunks(self) -> list[TaskBatch]:
        """All pairs in batches; pair i is the same whatever the batches."""
        counts = [min(self.batch, self.pairs - first) for first in range(0, self.pairs, self.batch)]
        return [self.draw(count, k * self.batch) for k, count in enumerate(counts)]

    def draw(self, count: int, start: int = 0) -> TaskBatch:
        """Pairs `start` to `start + count - 1`."""
        return draw_pairs(
            self.task, count, self.shape, seed=self.seed, mismatch=self.mismatch, start=start, split=self.split,
            source=self.source,
        )  # fmt: skip

    def examples(self) -> TaskBatch:
        """Pairs to choose parameters on: generated ones of the valid split, with the same mismatch."""
        return draw_pairs(self.task, EXAMPLES, self.shape, seed=self.seed, mismatch=self.mismatch, split="valid")

    def facts(self, shape: Sequence[int]) -> Row:
        """Its fields of a row."""
        names = ("task", "mismatch", "split", "source", "pairs", "seed")
        source = self.source if self.source.isidentifier() else Path(self.source).name
        return {name: getattr(self, name) for name in names} | {"source": source, "shape": list(shape)}


def evaluate(
    models: Sequence[str | Path | Model | Entry],
    task: str | None = None,
    mismatch: Sequence[str] = ("none", "in", "out"),
    told: Sequence[str] = ("nominal",),
    variants: Sequence[str] = (AS_SAVED,),
    done: Container[tuple[Any, ...]] = (),
    device: str = "cpu",
    say: Callable[[str], None] | None = None,
    **test: Any,
) -> Iterator[Row]:
    """Score models, their variants and classical methods on the same pairs; rows come as they are made.

    Per row, over pairs: mean, standard deviation and standard error of PSNR and SSIM (their peak and range stated in
    the row), of the correlation, and for deconv of the signal-to-error ratio; seconds and iterations per pair, and how
    many solves diverged (they return their last finite point); and how near the told and the corrected forward model
    are to the true one (`operators.nearness`).

    Args:
        models: shipped names, folders, models, or names of classical methods: data (the measurement itself), wiener
            (deconv, deblur), fista (deconv), tikhonov (deblur), dark-channel and inversion (defog).
        task: of the pairs; None takes the models'. Needed where there are classical methods alone.
        mismatch: levels, each its own rows: none, in, out, beyond.
        told: nominal, true or both: the forward model the methods are given. What takes none has one row, told "-".
        variants: of `variants.VARIANTS`; those that do not apply to a model are left out.
        done: keys of rows (`rows.key`) that are not wanted again.
        device: cpu, cuda or cuda:N.
        say: receives a line per row.
        test: further fields of PairSet: pairs, seed, split, source, shape, batch.

    Returns:
        An iterator of rows.

    Raises:
        InputError, CheckpointError, FileError, BackendError: what was asked for does not fit.
    """
    device = str(check_device(device))
    for what, names, known in (("forward model that is told", told, TOLD), ("variant", variants, VARIANTS)):
        for name in names:
            check_choice(what, name, known)
    given, names = split_names(models)
    entries = [Entry.of(model, device) for model in given]
    task = _task(entries, names, task)
    contestants = [contestant_of(entry, name) for entry in entries for name in variants
                   if applies(name, entry.model.config)]  # fmt: skip
    if not contestants and not names:
        raise InputError(describe("contestants", f"no model that {', '.join(variants)} applies to",
                                  "at least one", "Change --variants, or the models"))  # fmt: skip
    return _rows(contestants, [method_of(name, task) for name in names], [PairSet(task, level, **test)
                 for level in mismatch], told, done, device, say)  # fmt: skip


def _task(entries: Sequence[Entry], names: Sequence[str], task: str | None) -> str:
    """The one task of all that is asked for."""
    tasks = sorted({entry.model.config.task for entry in entries} | ({task} if task else set()))
    if len(tasks) != 1:
        got = ", ".join(tasks) or f"none for {', '.join(names) or 'nothing'}"
        raise InputError(describe("task of the evaluation", got, "one task", "Pass models of one task, or the task"))
    return check_choice("task", tasks[0], tuple(TASKS))


def contestant_of(entry: Entry, name: str) -> ModelContestant:
    """A variant of a model as it takes part."""
    model = variant(entry.model, name)
    method = model.config.method
    return ModelContestant(
        label=entry.label,
        method=method,
        variant=entry.variant if name == AS_SAVED else name,
        training_seed=entry.training_seed,
        weights=entry.weights,
        init=entry.init,
        takes_operator=method != "direct",
        model=model,
    )


def _rows(contestants, methods, tests, told, done, device, say) -> Iterator[Row]:
    for test in tests:
        chunks = [chunk.to(device=device) for chunk in test.chunks()]
        examples = None
        for name, contestant in itertools.product(told, [*contestants, *methods]):
            if not contestant.takes_operator and name != told[0]:
                continue
            known = name if contestant.takes_operator else "-"
            about = {**contestant.facts(), **test.facts(chunks[0].x.shape[1:]), "told": known, "kind": "score"}
            if key(about) in done:
                continue
            if isinstance(contestant, ClassicalContestant):
                examples = examples or test.examples()
                contestant = tuned(contestant, examples, name)
            row = score(contestant, chunks, about, device)
            if say is not None:
                say(line(row))
            yield row


def method_of(name: str, task: str) -> ClassicalContestant:
    """A classical method as it takes part, its parameters still to be chosen."""
    found = classical(name, task)
    return ClassicalContestant(label=name, method=name, takes_operator=found.takes_operator, classical=found)


def tuned(contestant: ClassicalContestant, examples: TaskBatch, told: str) -> ClassicalContestant:
    """The classical method with its parameters chosen on the examples."""
    known = Truths(examples.x, examples.y, getattr(examples, told))
    return replace(contestant, parameters=contestant.classical.choose(known, PEAK[contestant.classical.task]))


def score(
    contestant: Contestant,
    chunks: Sequence[TaskBatch],
    about: Row,
    device: str = "cpu",
    tell: Callable[[TaskBatch], ForwardModel] | None = None,
) -> Row:
    """The row of a contestant on pairs; `about` says which they are and what is told ("nominal", "true" or "-").

    tell: the forward model of a batch that the contestant is given, where it is none of these.
    """
    task, told = about["task"], "nominal" if about["told"] == "-" else about["told"]
    tell = operator.attrgetter(told) if tell is None else tell
    first = chunks[0]
    contestant.solve(first.y[:1], tell(first).take(torch.tensor([0], device=first.y.device)))  # warms up
    found: dict[str, list[np.ndarray]] = {}
    seconds, diverged, backend = 0.0, 0, "-"
    for chunk in chunks:
        A0 = tell(chunk)
        estimate = contestant.solve(chunk.y, A0)
        seconds, backend = seconds + estimate.seconds, estimate.backend
        diverged += 0 if estimate.status is None else int((estimate.status == Status.DIVERGED).sum())
        for name, part in _figures(task, chunk, estimate, A0, contestant).items():
            found.setdefault(name, []).append(part)
    values = {name: np.concatenate(parts) for name, parts in found.items()}
    peak, span = peak_words(task)
    row = {"suite": SUITE, **about, "peak": peak, "span": span}
    operators = {name: values[name] for name in ("told_operator", "estimated_operator") if name in values}
    row |= {name: summary(v) for name, v in values.items() if name not in operators}
    if operators:
        measure, larger = MEASURES[task]
        row["operator"] = {"measure": measure, "larger_is_nearer": larger}
        row["operator"] |= {name.removesuffix("_operator"): distribution(v) for name, v in operators.items()}
    per_pair = {name: v for name, v in values.items() if name in ("psnr", "ssim") or name in operators}
    row["per_pair"] = {name: [float(f"{x:.{_DIGITS}g}") for x in v] for name, v in per_pair.items()}
    row["seconds"], row["diverged"] = seconds / about["pairs"], diverged
    row["backend"], row["parameters"] = backend, contestant.parameters
    return row | facts(device)


def _figures(task, chunk: TaskBatch, estimate: Estimate, A0, contestant: Contestant) -> dict[str, np.ndarray]:
    """Every figure per pair of a batch."""
    x, e = chunk.x.cpu(), estimate.x.cpu()
    if not torch.isfinite(e).all():
        bad = torch.nonzero(~torch.isfinite(e).flatten(1).all(1)).flatten().tolist()
        raise InputError(describe(f"result of {contestant.label}, {contestant.variant}", f"NaN or Inf for pairs {bad}",
                                  "finite numbers", "Look at this model's training"))  # fmt: skip
    peak = PEAK[task]
    found = {"psnr": psnr(x, e, peak), "ssim": ssim(x, e, span=peak), "correlation": correlation(x, e)}
    if task == "deconv":
        found |= {"signal_to_error": snr(x, e), "quality": quality(x, e)}
    if estimate.iterations is not None:
        found["iterations"] = estimate.iterations.cpu().numpy().astype(float)
    if contestant.takes_operator:
        found["told_operator"] = nearness(A0, chunk.true, len(x))
    if estimate.operator is not None:
        found["estimated_operator"] = nearness(estimate.operator, chunk.true, len(x))
    return found


def line(row: Row) -> str:
    """A row in one line of progress."""
    who = f"{row['label']}, {row['variant']}" if row["variant"] != "-" else row["label"]
    seed = "" if row["training_seed"] is None else f" (seed {row['training_seed']})"
    psnr_db, similarity = row["psnr"], row["ssim"]
    return (
        f"{row['task']} {row['mismatch']:6s} {who}{seed}, told {row['told']}: PSNR {psnr_db['mean']:.2f} "
        f"+- {psnr_db['se']:.2f} dB, SSIM {similarity['mean']:.4f}, {1000 * row['seconds']:.1f} ms a pair"
    )
