"""Means over training seeds, and differences between methods on the same pairs with their error."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError, describe
from .rows import Row

# A difference counts where it exceeds this many of its standard errors.
CLAIM = 2.0


@dataclass(frozen=True)
class Score:
    """A figure of one method on one test set.

    mean: over pairs and seeds. seed_sd: standard deviation (n - 1) of the seeds' means, NaN for one seed. pair_sd: over
    pairs, mean over the seeds. seeds: how many.
    """

    mean: float
    seed_sd: float
    pair_sd: float
    seeds: int

    def text(self, digits: int = 2) -> str:
        """`mean ± seed_sd`, the latter where there are seeds enough."""
        spread = "" if self.seeds < 2 else f" ± {self.seed_sd:.{digits}f}"
        return f"{self.mean:.{digits}f}{spread}"


@dataclass(frozen=True)
class Difference:
    """a - b on the same pairs: mean, standard error, and the seeds of each."""

    mean: float
    error: float
    seeds: tuple[int, int]

    @property
    def sign(self) -> int:
        """1 or -1 where the difference exceeds twice its standard error, else 0."""
        return int(np.sign(self.mean)) if abs(self.mean) > CLAIM * self.error else 0

    def text(self, digits: int = 2) -> str:
        """`+mean ± error`."""
        return f"{self.mean:+.{digits}f} ± {self.error:.{digits}f}"


def select(rows: Iterable[Row], **fields: object) -> list[Row]:
    """The rows with these fields; a tuple of values allows each of them."""
    wanted = {name: value if isinstance(value, tuple) else (value,) for name, value in fields.items()}
    return [row for row in rows if all(row.get(name) in allowed for name, allowed in wanted.items())]


def score(rows: Sequence[Row], figure: str = "psnr") -> Score:
    """The figure of one method over its rows, one per training seed."""
    means = [row[figure]["mean"] for row in rows]
    spread = float(np.std(means, ddof=1)) if len(means) > 1 else math.nan
    return Score(float(np.mean(means)), spread, float(np.mean([row[figure]["sd"] for row in rows])), len(means))


def per_pair(rows: Sequence[Row], figure: str = "psnr") -> np.ndarray:
    """The figure by seed and pair [S, N]; InputError where the rows are of different pairs."""
    tests = {
        tuple(str(row.get(name)) for name in ("task", "mismatch", "split", "source", "seed", "pairs", "shape"))
        for row in rows
    }
    if len(tests) != 1:
        raise InputError(describe("test sets of the rows", f"{len(tests)}", "one, the same pairs for all",
                                  "Evaluate all methods with the same options"))  # fmt: skip
    return np.array([row["per_pair"][figure] for row in rows], np.float64)


def difference(a: Sequence[Row], b: Sequence[Row], figure: str = "psnr") -> Difference:
    """a - b with its standard error, for pairs and for training seeds.

    `error^2 = sd_pairs(d)^2 / N + sd_seeds(a)^2 / S_a + sd_seeds(b)^2 / S_b`: d is the difference of the two methods'
    means over seeds on each of the N pairs, so what both find easy or hard cancels. Where, seed by seed, the trainings
    went on from the same weights, what those weights are worth cancels too, and the error is that of `paired`. A method
    of one seed adds no spread of its own, and of one pair none either: say so beside it.
    """
    if one_start(a, b):
        return _paired_by_seed(a, b, figure)
    both = per_pair([*a, *b], figure)
    first, second = both[: len(a)], both[len(a) :]
    each = first.mean(0) - second.mean(0)
    square = each.var(ddof=1) / len(each) if len(each) > 1 else 0.0
    for part in (first, second):
        if len(part) > 1:
            square += part.mean(1).var(ddof=1) / len(part)
    return Difference(float(each.mean()), math.sqrt(square), (len(first), len(second)))


def one_start(a: Sequence[Row], b: Sequence[Row]) -> bool:
    """Whether the trainings of two methods went on from the same weights, for every seed."""
    ordered = [_by_seed(rows) for rows in (a, b)]
    if [row["training_seed"] for row in ordered[0]] != [row["training_seed"] for row in ordered[1]]:
        return False
    return all(
        "-" not in (one.get("init", "-"), other.get("init", "-")) and one["init"] == other["init"]
        for one, other in zip(*ordered, strict=True)
    )


def _by_seed(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (str(row["training_seed"]), row["weights"]))


def _paired_by_seed(a: Sequence[Row], b: Sequence[Row], figure: str) -> Difference:
    both = per_pair([*_by_seed(a), *_by_seed(b)], figure)
    return paired(both[: len(a)] - both[len(a) :])


def same_weights(a: Sequence[Row], b: Sequence[Row], figure: str = "psnr") -> Difference:
    """a - b of two variants of the same trained models, told or changed otherwise: paired by seed as well.

    The error is that of `paired`. InputError where the two are not of the same weights.
    """
    weights = [[(row["training_seed"], row["weights"]) for row in _by_seed(rows)] for rows in (a, b)]
    if weights[0] != weights[1]:
        raise InputError(describe("weights of two variants", f"{weights[0]} and {weights[1]}", "the same",
                                  "Evaluate both variants of the same models"))  # fmt: skip
    return _paired_by_seed(a, b, figure)


def paired(found: np.ndarray) -> Difference:
    """The mean of differences d by seed and pair [S, N]; `error^2 = sd_pairs(d)^2 / N + sd_seeds(d)^2 / S`, d averaged
    over seeds and over pairs.
    """
    square = found.mean(0).var(ddof=1) / found.shape[1] if found.shape[1] > 1 else 0.0
    if len(found) > 1:
        square += found.mean(1).var(ddof=1) / len(found)
    return Difference(float(found.mean()), math.sqrt(square), (len(found), len(found)))


def share_of_gap(none: Sequence[Row], ours: Sequence[Row], oracle: Sequence[Row], figure: str = "psnr") -> float:
    """(ours - none) / (oracle - none) of the means; NaN where the oracle is not above none by twice its error."""
    gap = same_weights(oracle, none, figure)
    return same_weights(ours, none, figure).mean / gap.mean if gap.sign > 0 else math.nan
