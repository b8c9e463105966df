"""A script of the authors' shape runs on either set of imports and scores the same; its measurement guards itself."""

import math
import re
from pathlib import Path

import pytest
import torch

from aafast.bench import compat
from aafast.bench.cases import Case
from aafast.bench.rows import complaints
from aafast.reference import build


def test_only_import_lines_differ():
    lines = compat.SCRIPT.read_text().splitlines()
    changed = [compat.IMPORTS.get(line, line) for line in lines]
    assert sum(a != b for a, b in zip(lines, changed, strict=True)) == len(compat.IMPORTS)
    assert all(line.startswith("from ") for pair in compat.IMPORTS.items() for line in pair)
    mine, theirs = compat.script(compat.COMPAT), compat.script(compat.REFERENCE)
    assert mine.deq.__name__ == "aafast.compat.invprobs.deq"
    assert theirs.deq.__name__ == "aafast.bench.authors"
    used = {module.__name__.split(".")[1] for module in (theirs.deq, theirs.nets, theirs.lu_nets)}
    assert used == {"bench"}, "nothing of the product on the other side"


@pytest.mark.parametrize("method", ["robust-lu", "adaptive-lu", "adaptive-deq"])
@pytest.mark.parametrize("task", ["deblur", "defog"])
def test_the_script_scores_the_same(task, method):
    row = compat.measure(Case(task, method, quick=True), count=2, size=None, rounds=1)
    assert complaints(row) == []
    assert row["gate"]["ok"] and row["gate"]["value"] < 1e-3
    assert row["speedup"] == pytest.approx(row["reference_s"] / row["median_s"])
    assert math.isfinite(row["psnr"])


def test_the_seismic_state_fits_the_names_it_is_loaded_under():
    case = Case("deconv", "adaptive-deq", quick=True)
    script = compat.script(compat.COMPAT)
    args = compat.arguments(case)
    netA, netR = script.nets.netA_kernel_sn(args, nlayers=3), script.nets.proxNet_deconv_sn(args, nlayers=9)
    block = script.deq.deconv_deq_kth_iter(args, netR, netA, None, None, torch.nn.MSELoss())
    model = script.deq.DEQIPFixedPoint(block, script.deq.anderson)
    assert set(model.state_dict()) == set(compat.weights(case, build("deconv", "adaptive_deq")))


def test_a_wrong_score_is_red_and_not_timed(monkeypatch):
    assert not compat.score_gate([20.0, 20.0], [20.0, math.nan]).ok
    assert not compat.score_gate([20.0, 20.0], [20.0, 20.03]).ok
    assert compat.score_gate([20.0, 20.0], [20.01, 20.0]).ok

    given = compat.script

    def spoilt(side):
        module = given(side)
        if side == compat.COMPAT:
            module.score = lambda Xk, X: 0.0
        return module

    monkeypatch.setattr(compat, "script", spoilt)
    row = compat.measure(Case("deblur", "robust-lu", quick=True), count=1, size=None, rounds=1)
    assert not row["gate"]["ok"] and row["speedup"] is None and row["median_s"] is None
    assert complaints(row) == []


def test_the_example_of_the_page_runs():
    page = (Path(__file__).resolve().parents[2] / "docs" / "compat.md").read_text(encoding="utf-8")
    section = page.split("## Scripts written for the authors' repository")[1].split("\n## ")[0]
    (example,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(example, "docs/compat.md", "exec"), names)
    assert names["Xk"].shape == names["y"].shape and torch.isfinite(names["Xk"]).all()
    for line in re.findall(r"\| `(from aafast[^`]*)` \|", section):
        exec(line, {})
