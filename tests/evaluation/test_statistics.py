"""Means over seeds and differences on the same pairs, against simulated seeds and pairs."""

import math

import numpy as np
import pytest

from aafast.errors import InputError
from aafast.evaluation.statistics import CLAIM, difference, same_weights, score, select, share_of_gap


def row(values, seed=1, weights=None, **fields):
    values = [float(v) for v in values]
    summary = {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)), "se": 0.0}
    test = {"task": "deconv", "mismatch": "out", "split": "test", "source": "generated", "seed": 0,
            "pairs": len(values), "shape": [1, 8, 8]}  # fmt: skip
    known = {"training_seed": seed, "weights": weights or f"w{seed}"}
    return {**test, **known, "psnr": summary, "per_pair": {"psnr": values}, **fields}


def test_a_score_is_the_mean_over_seeds_with_their_deviation():
    found = score([row([1, 3], 1), row([2, 6], 2), row([3, 9], 3)])
    assert found.mean == pytest.approx(4.0) and found.seed_sd == pytest.approx(2.0) and found.seeds == 3
    assert found.pair_sd == pytest.approx(np.mean([np.std(v, ddof=1) for v in ([1, 3], [2, 6], [3, 9])]))
    assert found.text() == "4.00 ± 2.00" and score([row([1, 3])]).text() == "2.00"
    assert math.isnan(score([row([1, 3])]).seed_sd)


def test_a_difference_on_the_same_pairs_cancels_what_both_find_hard():
    rng = np.random.default_rng(0)
    hard = 10 * rng.standard_normal(50)
    a = [row(hard + 0.3 + 0.01 * rng.standard_normal(50), s) for s in (1, 2, 3)]
    b = [row(hard + 0.01 * rng.standard_normal(50), s) for s in (1, 2, 3)]
    found = difference(a, b)
    assert found.mean == pytest.approx(0.3, abs=0.01) and found.error < 0.01 and found.sign == 1
    assert difference(b, a).sign == -1 and difference(b, a).mean == pytest.approx(-found.mean)


def test_the_spread_of_the_seeds_is_part_of_the_error():
    same = np.linspace(0, 1, 20)
    a = [row(same + shift, s) for s, shift in ((1, -1.0), (2, 0.0), (3, 1.6))]
    b = [row(same, s) for s in (1, 2, 3)]
    found = difference(a, b)
    assert found.mean == pytest.approx(0.2)
    assert found.error == pytest.approx(np.std([-1, 0, 1.6], ddof=1) / math.sqrt(3))
    assert found.sign == 0 and found.seeds == (3, 3)


def test_trainings_from_the_same_weights_are_paired_by_seed():
    """What a start is worth cancels where both methods had it, and only where both had it for every seed."""
    same, starts = np.linspace(0, 1, 20), {1: -1.0, 2: 0.0, 3: 1.6}
    a = [row(same + shift + 0.1 + 0.01 * s, s, init=f"weights {s}") for s, shift in reversed(starts.items())]
    b = [row(same + shift, s, init=f"weights {s}") for s, shift in starts.items()]
    found = difference(a, b)
    assert found.mean == pytest.approx(0.12)
    assert found.error == pytest.approx(0.01 / math.sqrt(3)) and found.sign == 1
    for other in (
        [row(same + shift, s, init="-") for s, shift in starts.items()],
        [row(same + shift, s) for s, shift in starts.items()],  # of before this was noted
        [row(same + shift, s, init=f"weights {s}" if s < 3 else "others") for s, shift in starts.items()],
        b[:2],
    ):
        assert difference(a, other).sign == 0


def test_the_error_is_that_of_repeated_experiments():
    """Many experiments of known spread: the estimated error is the deviation of the estimates, or a little more."""
    rng = np.random.default_rng(1)
    estimates, errors = [], []
    for _ in range(300):
        pair = rng.standard_normal(30)
        parts = []
        for gap in (0.5 * pair, 0 * pair):  # the methods differ from pair to pair by 0.5
            seeds = 0.3 * rng.standard_normal(3)
            parts.append([row(5 * pair + gap + s + 0.2 * rng.standard_normal(30), i) for i, s in enumerate(seeds)])
        found = difference(*parts)
        estimates.append(found.mean)
        errors.append(found.error**2)
    assert 0.9 < np.std(estimates) / math.sqrt(np.mean(errors)) < 1.1


def test_a_claim_needs_twice_the_error():
    values = np.array([1.0, -1.0] * 8)
    error = np.std(values, ddof=1) / 4
    zero = row(np.zeros(16))
    assert difference([row(values + 1.01 * CLAIM * error)], [zero]).sign == 1
    assert difference([row(values + 0.99 * CLAIM * error)], [zero]).sign == 0


def test_variants_of_one_model_are_paired_by_seed():
    base = np.arange(6.0)
    saved = [row(base + 10 * s, s, variant="as-saved") for s in (1, 2)]
    other = [row(base + 10 * s + 0.1, s, variant="theta-uniform") for s in (2, 1)]
    found = same_weights(other, saved)
    assert found.mean == pytest.approx(0.1) and found.error == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(InputError, match="weights of two variants"):
        same_weights(other, saved[:1])


def test_different_pairs_are_not_compared():
    with pytest.raises(InputError, match="test sets of the rows"):
        difference([row([1, 2])], [row([1, 2], mismatch="in")])


def test_share_of_the_gap():
    rng = np.random.default_rng(2)
    noise = 0.01 * rng.standard_normal(40)
    none, ours, oracle = (lambda v=v: [row(noise + v + 0.01 * rng.standard_normal(40))] for v in (1.0, 1.6, 2.0))
    assert share_of_gap(none(), ours(), oracle()) == pytest.approx(0.6, abs=0.02)
    assert math.isnan(share_of_gap(none(), ours(), none()))


def test_select_takes_values_and_tuples():
    rows = [row([1, 2], mismatch=level) for level in ("none", "in", "out")]
    assert len(select(rows, mismatch="in")) == 1 and len(select(rows, mismatch=("in", "out"), seed=0)) == 2
