"""Mutated files: the short part of `bench/survey_fuzz.py`, with its fixed seeds."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def survey_fuzz():
    spec = importlib.util.spec_from_file_location("survey_fuzz", ROOT / "bench" / "survey_fuzz.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_mutated_files_give_a_valid_result_or_a_clear_error(survey_fuzz):
    found = list(survey_fuzz.fuzz(100, seed=1))
    assert [f for f in found if f["verdict"] not in ("valid", "error")] == []
    rows = survey_fuzz.summarise(found, 1)
    assert [row["files"] for row in rows] == [20] * 5 + [100]
    assert all(row["error"] for row in rows if row["kind"] in ("truncate", "nonsense")) and rows[-1]["valid"] > 30


def test_files_are_the_same_for_the_same_seed_and_differ_from_what_they_were_made_from(survey_fuzz):
    for number in range(10):
        assert survey_fuzz.mutated(3, number) == survey_fuzz.mutated(3, number) != survey_fuzz.mutated(4, number)
    assert len({survey_fuzz.make_file(k) for k in range(30)}) == 30


def test_every_unmutated_file_is_valid(survey_fuzz, tmp_path):
    for number in range(6):
        assert survey_fuzz.check(survey_fuzz.make_file(number), tmp_path) == ("valid", "")
        for path in tmp_path.iterdir():
            path.unlink()


READY = "import time; print('{\"ready\": true}', flush=True); input(); "


@pytest.mark.parametrize("then, verdict", [("raise SystemExit(3)", "crash"), ("time.sleep(60)", "hang")])
def test_death_and_silence_of_the_watched_process_show(survey_fuzz, monkeypatch, then, verdict):
    monkeypatch.setattr(survey_fuzz, "LIMIT_S", 0.3)
    watched = survey_fuzz.Watched(0)
    watched._command = [sys.executable, "-c", READY + then]
    assert watched.run(5)["verdict"] == verdict and watched._process is None


def test_errors_that_are_not_the_package_s_show(survey_fuzz, tmp_path, monkeypatch):
    def broken(*arguments, **options):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("aafast.survey.run", broken)
    assert survey_fuzz.check(survey_fuzz.make_file(0), tmp_path) == ("wrong", "ZeroDivisionError: oh")
