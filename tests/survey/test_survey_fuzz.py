"""Mutated surveys: the short part of `bench/survey_fuzz.py`, with its fixed seeds."""

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
    assert [row["kind"] for row in rows] == [*survey_fuzz.MUTATIONS, "all"]
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


def test_mutated_stores_give_a_valid_result_or_a_clear_error(survey_fuzz):
    pytest.importorskip("zarr", reason="the extra mdio is not installed")
    pytest.importorskip("lasio", reason="the extra wells is not installed")
    found = list(survey_fuzz.fuzz(0, 2, count_stores=15))
    assert [f for f in found if f["verdict"] not in ("valid", "error")] == []
    rows = {row["kind"]: row for row in survey_fuzz.summarise(found, 2)}
    assert all(rows[kind]["files"] == 3 for kind in survey_fuzz.stores.MUTATIONS)
    assert rows["all"]["valid"] >= 3 and rows["all"]["error"] >= 3


@pytest.mark.parametrize("elsewhere", [False, True])
def test_every_unmutated_store_is_valid(survey_fuzz, tmp_path, elsewhere):
    pytest.importorskip("zarr", reason="the extra mdio is not installed")
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        store = survey_fuzz.stores.make_store(survey_fuzz.make_file(number), elsewhere, folder)
        given = {"model": "identity", "wavelet": "ricker:25"}
        assert survey_fuzz.stores.check_store(store, folder, given) == ("valid", "")


def test_stores_and_options_are_the_same_for_the_same_seed(survey_fuzz, tmp_path):
    pytest.importorskip("zarr", reason="the extra mdio is not installed")

    def contents(name, seed, number):
        (tmp_path / name).mkdir()
        store = survey_fuzz.stores.make_mutated(seed, number, survey_fuzz.make_file, tmp_path / name)
        return {str(p.relative_to(store)): p.read_bytes() for p in store.rglob("*") if p.is_file()}

    for number in range(5):
        same = contents(f"a{number}", 3, number)
        assert same == contents(f"b{number}", 3, number) != contents(f"c{number}", 4, number)
    options = [survey_fuzz.options_of(0, number, tmp_path) for number in range(200)]
    assert options == [survey_fuzz.options_of(0, number, tmp_path) for number in range(200)]
    kinds = [("windows" if "wavelet_windows" in o else "well" if "well" in o else "ricker") for o in options]
    assert min(kinds.count(kind) for kind in ("windows", "well")) > 10 and kinds.count("ricker") > 120


def test_windows_and_wells_give_a_result_on_what_is_not_mutated(survey_fuzz, tmp_path):
    pytest.importorskip("lasio", reason="the extra wells is not installed")
    (tmp_path / "well.las").write_bytes(survey_fuzz.las())
    for more in ({"wavelet_windows": (2, 2)}, {"well": f"{tmp_path / 'well.las'}@5"}):
        given = {"model": "identity", "wavelet": "auto", **more}
        assert survey_fuzz.check(survey_fuzz.make_file(4), tmp_path, given) == ("valid", "")
        (tmp_path / "out.sgy").unlink()


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
