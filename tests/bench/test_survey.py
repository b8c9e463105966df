"""The survey suite's rows: whole, gated on the plain solve, with shares that add up; who solved what twice, and why."""

import os
import subprocess
import sys

import numpy as np
import pytest

from aafast.bench.rows import complaints, line, read
from aafast.bench.survey import MODELS, QUICK, fista_row, gate_of, make_row, spec_of
from aafast.bench.survey_torture import solved_again
from aafast.survey import run, write_survey
from aafast.survey.ledger import Ledger
from aafast.survey.segy import Survey


def test_a_row_is_whole_and_its_gate_sees_a_changed_sample(tmp_path):
    path, out = write_survey(tmp_path / "in.sgy", QUICK), tmp_path / "out.sgy"
    spec = spec_of(MODELS[0], tmp_path / "model")
    result = run(path, out, wavelet=f"ricker:{QUICK.frequency:g}", model=spec.model, progress=False)
    gate = gate_of(path, out, spec, QUICK)
    row = make_row(MODELS[0], QUICK, [result], 1.0, gate, True)
    assert gate["ok"] and complaints(row) == [] and "survey" in line(row)
    shares = [row[f"share_{name}"] for name in ("waited_io", "solve", "before")]
    assert min(shares) >= 0 and 0 < sum(shares) <= 1 and row["traces_per_s"] > 0
    assert complaints(fista_row(QUICK, 1.0, True)) == []
    with Survey(out) as survey:
        place = survey.layout.data + int(survey.geometry.sections[1].traces[3]) * survey.layout.stride + 240 + 200
    raw = bytearray(out.read_bytes())
    raw[place : place + 4] = np.array([1e6], ">f4").tobytes()
    out.write_bytes(bytes(raw))
    red = gate_of(path, out, spec, QUICK)
    row = make_row(MODELS[0], QUICK, [result], 1.0, red, True)
    assert not red["ok"] and row["speedup"] is None and complaints(row) == []


def test_only_a_kill_accounts_for_a_block_that_is_solved_again():
    def begun(block, by):
        return {"begun": block, "by": by}

    first = [begun(0, 10), begun(1, 11), {"done": 0}, begun(2, 10)]
    assert solved_again(first, set()) == (0, [])
    again = [*first, begun(1, 12), begun(2, 12), {"done": 2}]
    assert solved_again(again, {10, 11}) == (2, [])
    assert solved_again(again, {11}) == (2, [2])  # nobody killed the one that had block 2
    assert solved_again([*again, begun(0, 13)], {10, 11}) == (3, [0])  # it was done: no kill excuses that
    assert solved_again([*first, begun(1, 11), begun(1, 11)], {12}) == (2, [1, 1])


def test_the_ledger_says_who_solves_a_block(tmp_path):
    path, out, seen = write_survey(tmp_path / "in.sgy", QUICK), tmp_path / "out.sgy", []
    add = Ledger.add

    def noted(self, sync=True, **record):
        seen.append(record)
        add(self, sync, **record)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "add", noted)
        run(path, out, wavelet=f"ricker:{QUICK.frequency:g}", model="identity", progress=False)
        begun = [record for record in seen if "begun" in record]
        assert begun and all(record["by"] == os.getpid() for record in begun)
        seen.clear()
        run(path, out, wavelet=f"ricker:{QUICK.frequency:g}", model="identity", progress=False, workers=2)
    begun = [record for record in seen if "begun" in record]
    assert len({record["by"] for record in begun} - {os.getpid()}) == 2
    assert solved_again(seen, set()) == (0, [])


def test_the_suite_runs_in_the_bench_command_and_its_table_shows_it(tmp_path):
    pytest.importorskip("pylops", reason="the extra baselines is not installed")
    file = tmp_path / "rows.jsonl"
    command = [sys.executable, "-m", "aafast", "bench", "--suite", "survey", "--quick", "--out", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    found = read(file)
    assert [row["method"] for row in found] == ["pass-through", "direct", "adaptive-lu", "fista"]
    for row in found:
        assert row["suite"] == "survey" and complaints(row) == [] and row["gate"]["ok"] and row["traces_per_s"] > 0
        assert (row["speedup"] is None) == (row["method"] == "fista") and row["method"] in done.stdout
