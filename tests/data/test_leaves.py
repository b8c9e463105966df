"""Dead leaves and scenes: statistics of photographs, occlusion, depth, canvases that splits do not share."""

import numpy as np
import pytest

from aafast.data import canvases
from aafast.data.canvases import generated_image, generated_scene
from aafast.data.leaves import Leaves, bend, dead_leaves, paint, pink_noise, power_law_radii
from aafast.data.scenes import NEAREST, dead_leaves_scene
from aafast.data.splits import SPLITS, generator
from aafast.errors import InputError


def slope(image: np.ndarray) -> float:
    """Exponent of the power spectrum of the brightness [3, H, W] over frequencies of 0.02 to 0.4 per pixel."""
    grey = image.mean(0) - image.mean()
    grey = grey * np.outer(*(np.hanning(n) for n in grey.shape))
    power = np.abs(np.fft.fft2(grey)) ** 2
    f = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n) for n in grey.shape), indexing="ij"))
    edges = np.geomspace(0.02, 0.4, 10)
    mean = [power[(f >= low) & (f < high)].mean() for low, high in zip(edges, edges[1:], strict=False)]
    return float(np.polyfit(np.log(edges[:-1]), np.log(mean), 1)[0])


def test_the_spectrum_is_that_of_photographs():
    images = [dead_leaves(np.random.default_rng(i), 160, 160) for i in range(6)]
    assert -3.0 < np.mean([slope(image) for image in images]) < -2.0


def test_edges_make_heavy_tails_and_channels_correlate():
    """Differences of neighbours are far from Gaussian (kurtosis 3), and the three channels share most of them."""
    images = [dead_leaves(np.random.default_rng(i), 128, 128) for i in range(6)]
    steps = [np.diff(image.mean(0), axis=1).ravel() for image in images]
    assert np.median([np.mean(d**4) / np.mean(d**2) ** 2 for d in steps]) > 8
    correlations = [np.corrcoef(image.reshape(3, -1))[np.triu_indices(3, 1)].mean() for image in images]
    assert 0.7 < np.mean(correlations) < 0.999


def test_images_are_within_range_and_follow_their_generator():
    a, b, c = (dead_leaves(np.random.default_rng(seed), 40, 56) for seed in (1, 1, 2))
    assert a.shape == (3, 40, 56) and a.dtype == np.float32 and a.min() >= 0 and a.max() <= 1
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_radii_follow_the_power_law():
    """With density r^-3 between l and h, P(radius > r) = (r^-2 - h^-2) / (l^-2 - h^-2)."""
    radius = power_law_radii(np.random.default_rng(0), (4000, 4000), 2.0, 100.0, 1.0)
    assert radius.min() >= 2 and radius.max() <= 100
    for r in (3.0, 6.0, 12.0):
        assert np.mean(radius > r) == pytest.approx((r**-2 - 1e-4) / (0.25 - 1e-4), rel=0.05)
    assert np.pi * (radius**2).sum() == pytest.approx(4000**2, rel=0.1)


def leaves_of(*rows: tuple[float, float, float, float, float, bool]) -> Leaves:
    return Leaves(*(np.array(column) for column in zip(*rows, strict=True)))


def test_leaves_are_painted_as_their_formula_says_later_ones_in_front():
    """Against a plain loop over pixels, for leaves of every class of sizes, some beyond the border."""
    rng = np.random.default_rng(3)
    rows = [
        (*rng.uniform(-5, 85, 2), size, size * rng.uniform(0.4, 1), rng.uniform(0, np.pi), bool(rng.random() < 0.5))
        for size in [50.0, 3.0, 7.0, 20.0, 2.5, 12.0, 40.0, 3.0, 5.0, 1.5]
    ]
    leaves = leaves_of(*rows)
    expected = np.zeros((80, 80), np.int32)
    row, column = np.mgrid[:80, :80]
    for k, (r, c, a, b, angle, boxy) in enumerate(rows):
        u = (np.cos(angle) * (column - c) + np.sin(angle) * (row - r)) / a
        v = (np.cos(angle) * (row - r) - np.sin(angle) * (column - c)) / b
        expected[(np.maximum(abs(u), abs(v)) if boxy else np.hypot(u, v)) <= 1] = k + 1
    # A pixel exactly on an outline may fall to either side in single precision.
    assert np.mean(paint((80, 80), leaves) != expected) < 5e-4
    assert len(np.unique(expected)) > 6


def test_bent_leaves_keep_their_numbers():
    owner = np.arange(64 * 64, dtype=np.int32).reshape(64, 64)
    bent = bend(np.random.default_rng(0), owner)
    moved = np.hypot(bent // 64 - owner // 64, bent % 64 - owner % 64)
    assert 0 < moved.max() <= np.hypot(6, 6) and np.isin(bent, owner).all()


@pytest.mark.parametrize("exponent", [0.7, 1.5])
def test_texture_has_the_spectrum_it_claims(exponent):
    field = pink_noise(np.random.default_rng(0), 256, exponent)
    assert slope(np.tile(field, (3, 1, 1))) == pytest.approx(-2 * exponent, abs=0.3)
    assert field.std() == pytest.approx(1, abs=1e-3) and abs(field.mean()) < 1e-3


def test_a_scene_has_sky_ground_and_things_in_front():
    for seed in range(4):
        image, depth = dead_leaves_scene(np.random.default_rng(seed), 96, 192)
        assert image.shape == (3, 96, 192) and depth.shape == (96, 192)
        assert image.dtype == depth.dtype == np.float32
        assert NEAREST - 1e-6 <= depth.min() and depth.max() == 1  # the sky is seen somewhere
        rows = depth.mean(1)
        assert rows[:20].mean() > 2 * rows[-20:].mean()  # far above, near below
        assert (depth[:20] < 0.9).any()  # something stands before the sky


def test_nearer_leaves_hide_farther_ones():
    """Where a thing stands on the ground it is nearer than the ground behind it at almost every pixel."""
    image, depth = dead_leaves_scene(np.random.default_rng(1), 144, 288)
    bare = np.quantile(depth, 0.98, axis=1)  # the ground, where nothing stands before it
    below = slice(100, 144)
    assert np.mean(depth[below] <= bare[below, None] + 0.02) > 0.97
    assert np.mean(depth[below] < bare[below, None] - 0.02) > 0.03


@pytest.mark.parametrize("use", ["image", "order", "pair"])
def test_no_two_streams_meet(use):
    seen = {
        tuple(generator(seed, split, index, use).integers(0, 2**62, 2))
        for seed in (0, 1, 2)
        for split in SPLITS
        for index in (0, 1, 2, 7)
    }
    assert len(seen) == 3 * 3 * 4
    plain = {tuple(np.random.default_rng([seed, i]).integers(0, 2**62, 2)) for seed in (0, 1, 2) for i in (0, 1, 2, 7)}
    assert not seen & plain


def test_an_unknown_split_is_refused():
    with pytest.raises(InputError, match="train"):
        generator(0, "testing", 0)


def drawn(monkeypatch, count, shape):
    """Canvases drawn for the first pairs of each split: the numbers that their generators were made of."""
    made = []
    monkeypatch.setattr(canvases, "generator", lambda *words: made.append(words) or generator(*words))
    canvases._canvas.cache_clear()
    for split in SPLITS:
        for index in range(count):
            generated_scene(generator(5, split, index), shape, 5, split, index)
    canvases._canvas.cache_clear()
    return made


def test_splits_never_share_a_canvas_and_training_uses_one_often(monkeypatch):
    made = drawn(monkeypatch, 24, (64, 64))
    assert len(set(made)) == len(made)
    counts = {split: sum(words[1] == split for words in made) for split in SPLITS}
    assert counts == {"train": canvases.POOL, "valid": canvases.POOL, "test": 24}


def test_a_batch_of_training_sees_several_canvases_and_kept_ones_cannot_be_changed():
    shape = (200, 200)
    seen = [generated_image(generator(0, "train", i), shape, 0, "train", i) for i in range(3)]
    levels = [np.sort(image.mean((1, 2))) for image in seen]
    assert all(np.abs(a - b).max() > 1e-3 for a, b in zip(levels, levels[1:], strict=False))
    scene = generated_scene(generator(0, "train", 0), (32, 32), 0, "train", 0)
    with pytest.raises(ValueError, match="read-only"):
        scene.depth[0, 0] = 0


def test_a_crop_larger_than_the_usual_canvas():
    scene = generated_scene(generator(0, "train", 0), (150, 300), 0, "train", 0)
    assert scene.image.shape == (3, 150, 300) and scene.depth.shape == (150, 300)
