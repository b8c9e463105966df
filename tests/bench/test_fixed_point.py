"""The measurement of the fixed-point solvers: its tables, its lower bound, and what it counts."""

import json
from pathlib import Path

import pytest
import torch
from affine_maps import affine, apply

from aafast.bench import fixed_point
from aafast.bench.report import filled
from aafast.config import FixedPointConfig
from aafast.solvers import iterate
from aafast.tasks import build, save

ROOT = Path(__file__).resolve().parents[2]


def committed():
    return [json.loads(line) for line in fixed_point.RESULTS.read_text(encoding="utf-8").splitlines()]


def test_the_documents_tables_come_from_the_results():
    text = (ROOT / "docs" / "solvers.md").read_text(encoding="utf-8")
    assert filled(text, fixed_point.tables()) == text


def test_the_committed_counts_keep_what_is_promised():
    """At most 0.6 of the reference's evaluations to 1e-6 wherever any method can; to 1e-3 no more than its."""
    rows = {(row["problem"], row["solver"]): row["evaluations"] for row in committed()}
    for index in range(3):
        mine, theirs, least = (rows[f"golden {index}", name] for name in ("default", "reference", "least possible"))
        for tolerance, share in fixed_point.LIMITS.items():
            key = f"{tolerance:g}"
            for a, b, c in zip(mine[key], theirs[key], least[key], strict=True):
                assert a <= share * b or c + 2 >= max(a, share * b), (index, key, a, b, c)


def test_nothing_beats_the_lower_bound():
    m, c, _ = affine(batch=2, size=20)
    least = fixed_point.krylov(m, c, 15)
    for name, window in (("anderson", 16), ("anderson", 3), ("broyden", 16), ("picard", 1)):
        config = FixedPointConfig(name, m=window, ridge=0.0, tol=0.0, max_iter=15, restart=0.0)
        found = iterate(apply(m, c), torch.zeros_like(c), {}, config).residuals
        assert (found > (1 - 1e-9) * least).all(), name
    assert (least[1:] < least[:-1]).all() and (found[8] < 30 * least[8]).all()


def test_counts():
    residuals = torch.tensor([[1.0, 1.0], [0.1, 2.0], [0.5, 3.0]])
    assert fixed_point.first(residuals, 0.2) == [2, None]
    assert fixed_point.mean([2, None], 40) == "21.0 (1)"
    scores = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    assert fixed_point.best_so_far(residuals, scores).tolist() == [[1.0, 1.0], [2.0, 1.0], [2.0, 1.0]]


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.setattr(fixed_point, "PAIRS", 2)
    monkeypatch.setattr(fixed_point, "SHAPE", (16, 12))
    model = build("deconv", "adaptive-deq", channels=4, depth=3, residual_channels=4)
    save(model, tmp_path / "model")
    return fixed_point.small(tmp_path / "model")


def test_a_model_is_measured_and_the_reference_is_our_solver_with_its_settings(tiny):
    rows = fixed_point.model_rows(tiny, {"same": fixed_point.AUTHORS, "default": fixed_point.DEFAULT}, 8)
    found = {row["solver"]: row for row in rows}
    assert set(found) == {"reference", "same", "default"}
    assert found["reference"]["evaluations"] == found["same"]["evaluations"]
    assert found["reference"]["floor"] == pytest.approx(found["same"]["floor"], abs=0.05)
    text = fixed_point.table(rows, tiny.name)
    assert len(text.splitlines()) == 5
