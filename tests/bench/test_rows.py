"""What a row must hold, and what a red gate keeps out of it."""

import math

import pytest

from aafast.bench import rows
from aafast.bench.gates import Gate, worst


def test_a_whole_row_has_nothing_to_complain_of(contest):
    assert [rows.complaints(row) for row in contest] == [[]] * 4


@pytest.mark.parametrize("name", rows.FIELDS)
def test_every_field_is_missed(row, name):
    given = row()
    del given[name]
    assert rows.complaints(given) == [f"no {name}"]


@pytest.mark.parametrize("change, words", [
    ({"gate": {"metric": "m", "value": 1.0, "tolerance": 0.1, "ok": False}}, "red gate"),
    ({"gate": {"metric": "m", "value": 1.0, "tolerance": 0.1, "ok": False}, "speedup": None}, "red gate"),
    ({"gate": {"ok": True}}, "without metric"),
    ({"baseline": None}, "go together"),
    ({"p20_s": 2.5}, "out of order"),
])  # fmt: skip
def test_what_does_not_fit_is_named(row, change, words):
    assert any(words in complaint for complaint in rows.complaints(row(**change)))


def test_nan_is_the_worst_gate_and_never_ok():
    good, near, nan = Gate("a", 1e-7, 1e-5), Gate("b", 0.019, 0.02), Gate("c", math.nan, 0.02)
    assert worst([good, near]) is near and worst([nan, near]) is nan
    assert near.ok and not nan.ok and nan.row() == {"metric": "c", "value": "nan", "tolerance": 0.02, "ok": False}


def test_quantiles_are_those_of_the_times():
    assert rows.quantiles([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == {"median_s": 3.5, "p20_s": 2.0, "p80_s": 5.0}


def test_the_table_and_the_progress_show_speedups_of_green_rows_alone(contest, row):
    red = {"metric": "m", "value": 0.5, "tolerance": 1e-5, "ok": False}
    nothing = dict.fromkeys(("median_s", "p20_s", "p80_s", "s_per_iteration", "baseline", "speedup",
                             "plain_baseline", "speedup_over_plain"))  # fmt: skip
    text = rows.table([*contest, row(backend="other", gate=red, **nothing)])
    lines = {line.split()[2]: line for line in text.splitlines()}
    assert "10.00" in lines["cpp"] and "ok 1.0e-07" in lines["cpp"]
    assert "RED 5.0e-01" in lines["other"] and "not timed" in lines["other"] and "10.00" not in lines["other"]
    assert "10.00x of reference" in rows.line(contest[-1])
    assert "no speed-up" in rows.line(row(gate=red, **nothing)) and "x of" not in rows.line(row(gate=red, **nothing))
