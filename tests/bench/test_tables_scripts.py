"""The scripts of bench/tables: their help, and a run of two of them on tiny models."""

import runpy
import sys
from pathlib import Path

import pytest

import aafast
from aafast.evaluation.rows import complaints, read

SCRIPTS = sorted((Path(__file__).resolve().parents[2] / "bench" / "tables").glob("*.py"))
TINY = {"channels": 4, "groups": 2, "depth": 3, "residual_channels": 4}


def run(script, *words, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(script), *map(str, words)])
    return runpy.run_path(str(script), run_name="__main__")


@pytest.mark.parametrize("script", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_every_script_explains_itself(script, monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        run(script, "--help", monkeypatch=monkeypatch)
    assert end.value.code == 0 and f"Run: python bench/tables/{script.name}" in capsys.readouterr().out


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for seed in (1, 2):
        aafast.save(aafast.build("deconv", "adaptive-lu", seed, **TINY), folder / "deconv/adaptive-lu" / f"seed-{seed}")
    return folder


@pytest.mark.parametrize("name, kind, count", [("table2", "score", 2 * 5), ("figures6and8", "curve", 2 * 2)])
def test_a_script_writes_its_rows(name, kind, count, models, tmp_path, monkeypatch, capsys):
    out = tmp_path / "rows.jsonl"
    script = next(path for path in SCRIPTS if path.stem == name)
    run(script, models, "--tasks", "deconv", "--pairs", 1, "--out", out, monkeypatch=monkeypatch)
    rows = read(out)
    assert len(rows) == count and all(row["kind"] == kind and not complaints(row) for row in rows)
    assert "missing: deconv/adaptive-deq has 0 of 3 seeds" in capsys.readouterr().err
