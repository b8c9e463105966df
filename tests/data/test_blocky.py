"""Blocky reflectivity: few strong interfaces, written to samples in three ways; the sources that draw it."""

import numpy as np
import pytest
import torch

from aafast.data.blocky import LEAST, THICKNESS, blocky_column, blocky_section
from aafast.data.reflectivity import OVER, STD, reflectivity_section
from aafast.errors import InputError
from aafast.tasks import draw_pairs


def columns(count: int, samples: int = 400) -> list[np.ndarray]:
    return [blocky_column(np.random.default_rng([5, i]), samples) for i in range(count)]


def test_layers_are_thick_and_interfaces_strong():
    for column in columns(60):
        log = column[::OVER]
        share = np.cumsum(np.sort(log**2)[::-1]) / (log**2).sum()
        used = np.searchsorted(share, 0.9) / len(log)
        assert used < 2 / (LEAST * THICKNESS[0])  # two samples of every interface at the most
    logs = np.concatenate([c[::OVER] for c in columns(200)])
    wells = np.concatenate(
        [reflectivity_section(np.random.default_rng([6, i]), 400, 2)[:, 0] for i in range(60)]
    )
    quiet = [(np.abs(r) < 0.05 * np.abs(r).max()).mean() for r in (logs, wells)]
    assert quiet[0] > 0.75 > quiet[1]
    assert 0.3 * STD < logs[logs != 0].std() < 3 * STD


def test_wherever_sampling_starts_every_interface_is_there_once():
    """The three ways to write an interface keep its sum: 1 for a box and a triangle, 2 for two samples alike."""
    whole = [c for c in columns(200) if not c[: 2 * OVER].any() and not c[-2 * OVER :].any()]
    assert len(whole) > 40  # no interface at the ends, which would be cut
    for column in whole:
        sums = [column[start::OVER].sum() for start in range(OVER)]
        np.testing.assert_allclose(sums, sums[0], rtol=0, atol=1e-12)


def test_a_column_has_the_length_asked_for_and_follows_its_seed():
    for samples in (1, 2, 7, 130):
        first, again = (blocky_column(np.random.default_rng(3), samples) for _ in range(2))
        assert first.shape == (samples * OVER,) and np.array_equal(first, again)


def test_a_section_is_laid_out_as_those_of_wells():
    section = blocky_section(np.random.default_rng(1), 128, 50)
    assert section.shape == (128, 50) and section.dtype == np.float32 and np.isfinite(section).all()
    beside = np.corrcoef(section[:, :-1].ravel(), section[:, 1:].ravel())[0, 1]
    assert beside > 0.5  # interfaces go on from trace to trace


def test_mixed_pairs_are_those_of_both_in_turn():
    drawn = {s: draw_pairs("deconv", 4, (64, 16), seed=2, split="train", source=s)
             for s in ("generated", "blocky", "mixed")}  # fmt: skip
    for i in range(4):
        own = drawn["blocky" if i % 2 else "generated"]
        assert torch.equal(drawn["mixed"].x[i], own.x[i]) and torch.equal(drawn["mixed"].y[i], own.y[i])
    assert not torch.equal(drawn["generated"].x, drawn["blocky"].x)


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_the_true_model_of_blocky_pairs_leaves_the_noise(split):
    pairs = draw_pairs("deconv", 3, (96, 24), seed=4, split=split, source="blocky", snr_db=(20.0, 20.0))
    inside = slice(26, -26)
    wrong = (pairs.y - pairs.true.A(pairs.x))[:, :, inside]
    level = 20 * torch.log10(pairs.y.square().mean((1, 2, 3)).sqrt() / wrong.square().mean((1, 2, 3)).sqrt())
    assert ((level > 17) & (level < 23)).all()


def test_an_unknown_source_says_what_there_is():
    with pytest.raises(InputError, match="blocky"):
        draw_pairs("deconv", 1, (64, 16), split="train", source="wells_of_mine.npz")
