"""Bad input, full disks, broken solvers and kills: a clear error, and nothing half-written."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aafast.errors import FileError, FormatError, InputError
from aafast.survey.files import AtomicFile

from .conftest import quick, write_segy

ROOT = Path(__file__).resolve().parents[2]


def bad_files(tmp_path, line):
    """Name, what `run` is given, error, words of its message."""
    good = write_segy(tmp_path / "good.sgy", line)
    short = tmp_path / "short.sgy"
    short.write_bytes(good.read_bytes()[:-100])
    (tmp_path / "empty.sgy").write_bytes(b"")
    (tmp_path / "word.sgy").write_text("hello " * 2000)
    no_interval = write_segy(tmp_path / "dt.sgy", line, dt=0.0)
    nan = tmp_path / "nan.txt"
    nan.write_text("0\n1\nnan\n1\n0\n")
    coarse = tmp_path / "coarse.txt"
    coarse.write_text("\n".join(f"{2 * k} {np.sin(k)}" for k in range(-5, 6)))
    long = tmp_path / "long.txt"
    long.write_text("\n".join(str(np.sin(k)) for k in range(161)))
    out = tmp_path / "out.sgy"
    return [
        (tmp_path / "none.sgy", out, {}, FileError, "No such file"),
        (tmp_path / "empty.sgy", out, {}, FileError, "empty"),
        (short, out, {}, FileError, "truncated"),
        (tmp_path / "word.sgy", out, {}, FormatError, "SEG-Y"),
        (no_interval, out, {}, FormatError, "sample interval"),
        (write_segy(tmp_path / "dead.sgy", 0 * line), out, {}, InputError, "40 traces, all dead"),
        (write_segy(tmp_path / "tiny.sgy", line[:10]), out, {"wavelet": "auto"}, InputError, "16 or more"),
        (good, out, {"wavelet": str(nan)}, InputError, "row 3"),
        (good, out, {"wavelet": str(coarse)}, InputError, "sample interval 2 ms"),
        (good, out, {"wavelet": str(long)}, InputError, "161 samples; expected at most the 160"),
        (good, out, {"wavelet": "ricker:2"}, InputError, "at most the 160 of a trace"),
        (good, out, {"wavelet": str(tmp_path / "none.txt")}, FileError, "wavelet file"),
        (good, good, {}, FileError, "the same file"),
        (good, tmp_path / "none" / "out.sgy", {}, FileError, "no such folder"),
        (good, tmp_path, {}, FileError, "a folder"),
        (good, out, {"report": tmp_path / "none" / "r.html"}, FileError, "folder of report"),
        (good, out, {"report": good}, FileError, "the same file"),
        (good, out, {"report": out}, InputError, "same file as the output"),
        (good, out, {"patch": (4, 4)}, InputError, "8 or more"),
        (good, out, {"overlap": (300, 10)}, InputError, "overlap"),
        (good, out, {"batch": 0}, InputError, "batch"),
        (good, out, {"phase": "minimum", "wavelet": "auto"}, InputError, "phase"),
        (good, out, {"sample_interval": -1.0}, FormatError, "sample interval"),
    ]


@pytest.mark.parametrize("case", range(23))
def test_bad_input_is_a_clear_error_and_leaves_nothing(tmp_path, line, case):
    cases = bad_files(tmp_path, line)
    assert len(cases) == 23
    source, out, options, error, words = cases[case]
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(error, match=words) as caught:
        quick(source, out, **options)
    assert "expected" in str(caught.value) and str(caught.value).endswith(".")
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_targets_are_checked_before_anything_is_solved(segy, tmp_path, monkeypatch):
    def never(y, A0):
        raise AssertionError("solved")

    with pytest.raises(FileError, match="folder of report"):
        quick(segy, tmp_path / "out.sgy", solve=never, report=tmp_path / "none" / "r.html")
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 100_000}))
    with pytest.raises(FileError, match="bytes free"):
        quick(segy, tmp_path / "out.sgy", solve=never, report=tmp_path / "r.html")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.sgy"]


def test_a_failing_solver_leaves_nothing(segy, tmp_path):
    def failing(y, A0):
        raise RuntimeError("solver broke")

    with pytest.raises(RuntimeError, match="broke"):
        quick(segy, tmp_path / "out.sgy", solve=failing, report=tmp_path / "r.html")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.sgy"]


CHILD = """
import sys, time
sys.path[:0] = {paths!r}
from aafast.survey import run
from conftest import wiener
def slow(y, A0):
    print("solving", flush=True)
    time.sleep({pause})
    return wiener(y, A0)
{extra}
run({source!r}, {out!r}, wavelet="ricker:25", solve=slow, progress=False)
"""


def child(source, out, pause=0.0, extra=""):
    paths = [str(ROOT), str(Path(__file__).parent)]
    code = CHILD.format(paths=paths, source=str(source), out=str(out), pause=pause, extra=extra)
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_killed_run_leaves_no_file_under_the_output_s_name(segy, tmp_path):
    out = tmp_path / "out.sgy"
    process = child(segy, out, pause=60)
    assert process.stdout.readline() == "solving\n"
    process.kill()
    process.communicate()
    assert process.returncode == -9 and not out.exists()
    (left,) = [p for p in tmp_path.iterdir() if p != segy]
    assert left.name == "out.sgy.aafast-job" and left.is_dir()
    quick(segy, out)
    assert out.stat().st_size == segy.stat().st_size and not left.exists()


def test_hidden_files_of_others_and_of_runs_under_way_stay(segy, tmp_path):
    others = [".out.sgy.1-0123456789.part", ".out.sgy.part", ".in.sgy.1-01234567.part", ".out_sgy.1-01234567.part"]
    for name in others:
        (tmp_path / name).write_bytes(b"mine")
    (tmp_path / ".out.sgy.1-01234567.part").symlink_to(segy)
    (tmp_path / ".out.sgy.1-76543210.part").write_bytes(b"ownerless")
    before = segy.read_bytes()
    with AtomicFile(tmp_path / "out.sgy") as first, AtomicFile(tmp_path / "out.sgy") as second:
        assert first.temporary.exists() and second.temporary.exists()
        quick(segy, tmp_path / "out.sgy")
        assert first.temporary.exists() and second.temporary.exists()
        first.temporary.write_bytes(b"whole")
        first.commit()
    assert (tmp_path / "out.sgy").read_bytes() == b"whole" and segy.read_bytes() == before
    left = {p.name for p in tmp_path.iterdir()} - {"in.sgy", "out.sgy"}
    assert left == {*others, ".out.sgy.1-01234567.part"}


def test_a_name_as_long_as_names_can_be(segy, tmp_path):
    for name in ("x" * 251 + ".sgy", "ä" * 125 + ".sgy"):
        assert quick(segy, tmp_path / name).output.name == name
    assert len(list(tmp_path.iterdir())) == 3


def test_a_disk_that_fills_is_a_clear_error(segy, tmp_path):
    # A limit on file size stands for the disk: writing past it fails just as writing to a full one does.
    extra = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))"
    process = child(segy, tmp_path / "out.sgy", extra=extra)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and "FileError: output" in errors and "File too large" in errors
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.sgy"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to a read-only folder")
def test_a_read_only_folder_is_a_clear_error(segy, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(0o500)
    with pytest.raises(FileError, match="Permission denied"):
        quick(segy, folder / "out.sgy")
