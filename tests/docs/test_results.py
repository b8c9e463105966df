"""The page of results is what the committed rows make."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    *(f"evaluation-{name}.jsonl" for name in ("table1", "table2", "ablation", "figures3to5", "figures6and8", "figure7",
                                             "figure9", "proposition51", "blocky")),
    "solve-cpu.jsonl",
]  # fmt: skip


def test_the_page_of_results_comes_from_the_committed_rows(tmp_path):
    pytest.importorskip("matplotlib", reason="the figures need matplotlib")
    from aafast.evaluation.tables import build

    build([ROOT / "bench" / "results" / name for name in ROWS], tmp_path)
    page = (tmp_path / "tables.md").read_text(encoding="utf-8")
    assert page == (ROOT / "docs" / "results" / "tables.md").read_text(encoding="utf-8")
    assert {p.name for p in tmp_path.iterdir()} == {p.name for p in (ROOT / "docs" / "results").iterdir()}
