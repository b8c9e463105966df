"""Tiny untrained models, in memory and as a folder of trained models would be."""

import pytest

import aafast
from aafast.config import FixedPointConfig, InnerSolver
from aafast.tasks import draw_pairs

TINY = {"channels": 4, "groups": 2, "depth": 3, "residual_channels": 4}
SHAPES = {"deconv": (56, 12), "deblur": (20, 18), "defog": (16, 24)}
METHODS = ("direct", "robust-lu", "adaptive-lu", "adaptive-deq")


@pytest.fixture(scope="session")
def build():
    """A function (task, method, seed) -> a tiny model; deconv and deblur adapt by linear solves."""

    def make(task, method, seed=0, **settings):
        adapting = {"z_solver": InnerSolver("cg", steps=2)} if method.startswith("adaptive") else {}
        if method == "adaptive-deq":
            adapting["fixed_point"] = FixedPointConfig(max_iter=6)
        return aafast.build(task, method, seed=seed, **{**TINY, **adapting, **settings})

    return make


@pytest.fixture(scope="session")
def pairs():
    """A function (task, count) -> test pairs of a small shape."""

    def draw(task, count=3, mismatch="out", **options):
        return draw_pairs(task, count, SHAPES[task], mismatch=mismatch, split="test", **options)

    return draw


@pytest.fixture(scope="session")
def models(build, tmp_path_factory):
    """MODELS/TASK/METHOD/seed-S: two seeds of every method for deconv, adaptive LU and robust LU for deblur."""
    folder = tmp_path_factory.mktemp("models")
    for task, methods in (("deconv", METHODS), ("deblur", ("robust-lu", "adaptive-lu"))):
        for method in methods:
            for seed in (1, 2):
                aafast.save(build(task, method, seed), folder / task / method / f"seed-{seed}", plan={"seed": seed})
    return folder
