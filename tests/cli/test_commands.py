"""The command line: exit codes, one-line errors, output that is whole or absent."""

import json
import os
import re
import signal
import struct
import subprocess
import sys
import types
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import aafast
from aafast.cli import main
from aafast.survey.segy import Survey

ROOT = Path(__file__).resolve().parents[2]


def write_line(path, data, dt=4000):
    """A SEG-Y file of IEEE floats from data [T, X]."""
    binary = bytearray(400)
    binary[16:18], binary[20:22], binary[24:26] = (struct.pack(">H", v) for v in (dt, data.shape[0], 5))
    traces = b"".join(bytes(240) + trace.astype(">f4").tobytes() for trace in data.T)
    path.write_bytes(b"".join(f"C{k:2d}".ljust(80).encode("cp037") for k in range(1, 41)) + binary + traces)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny untrained model on disk."""
    folder = tmp_path_factory.mktemp("model")
    aafast.save(aafast.build("deconv", "direct", channels=4, groups=2, depth=3), folder)
    return str(folder)


@pytest.fixture
def line(tmp_path):
    return write_line(tmp_path / "in.sgy", np.random.default_rng(0).standard_normal((100, 20)))


def test_run_writes_the_survey_and_the_report_and_says_so(line, tmp_path, model, capsys):
    out, page = tmp_path / "out.sgy", tmp_path / "r.html"
    arguments = [
        "run",
        str(line),
        str(out),
        "--model",
        model,
        "--wavelet",
        "ricker:30",
        "--report",
        str(page),
    ]
    assert main([*arguments, "--patch", "64x16", "--overlap", "32x8", "--batch", "3"]) == 0
    text = capsys.readouterr().out
    assert "20 solved" in text and "ricker:30" in text and str(out) in text and str(page) in text
    assert out.stat().st_size == line.stat().st_size and page.read_text().endswith("</html>\n")
    with Survey(out) as survey:
        found = survey.read(np.arange(20))
        assert re.fullmatch("C 2 PATCH 64 samples x 16 traces, BACKEND (cpp|eager), MODEL model0", survey.text[1])
    assert np.isfinite(found).all() and (np.abs(found).max(0) > 0).all()


def test_every_option_reaches_the_run(line, tmp_path, model, monkeypatch):
    seen = {}

    def fake(*paths, **options):
        seen.update(options, paths=paths)
        return types.SimpleNamespace(summary=lambda: "done", as_dict=dict)

    monkeypatch.setattr("aafast.survey.run", fake)
    arguments = "run a b --wavelet w.txt --model m --device cuda:1 --report r --keep-text-header --skip-bad"
    arguments += " --phase zero --polarity reverse --sample-interval 2.5 --patch 64X16 --batch 3 --quiet"
    arguments += " --memory 2GB --workers 3 --scheduler tcp://h:1 --restart --misfit d.sgy --no-calibrate"
    assert main(arguments.split()) == 0
    assert seen == {
        "paths": ("a", "b"), "wavelet": "w.txt", "model": "m", "device": "cuda:1", "report": "r",
        "patch": (64, 16), "keep_text_header": True, "skip_bad": True, "phase": "zero", "polarity": -1,
        "sample_interval": 2.5, "batch": 3, "progress": False, "memory": "2GB", "workers": 3, "scheduler": "tcp://h:1",
        "restart": True, "misfit": "d.sgy", "calibrate": False,
    }  # fmt: skip


@pytest.mark.parametrize("wrong, words", [
    (["run", "none.sgy", "out.sgy"], "No such file"),
    (["run", "in.sgy", "out.sgy", "--model", "nowhere"], "model 'nowhere'"),
    (["run", "in.sgy", "out.sgy", "--device", "tpu", "--model", "MODEL"], "device"),
    (["run", "in.sgy", "in.sgy", "--model", "MODEL"], "the same file"),
    (["run", "in.sgy", "out.sgy", "--wavelet", "ricker:x"], "ricker:HZ"),
    (["run", "in.sgy", "out.sgy", "--patch", "64"], "SAMPLESxTRACES"),
    (["run", "in.sgy", "out.sgy", "--batch", "0"], "1 or more"),
    (["run", "in.sgy"], "required"),
    (["nonsense"], "invalid choice"),
    ([], "required"),
])  # fmt: skip
def test_errors_are_one_line_with_exit_code_2(line, model, wrong, words, monkeypatch, capsys):
    monkeypatch.chdir(line.parent)
    monkeypatch.delenv("AAFAST_DEBUG", raising=False)
    assert main([model if part == "MODEL" else part for part in wrong]) == 2
    captured = capsys.readouterr()
    assert (
        captured.err.startswith("aafast: error: ") and words in captured.err and captured.err.count("\n") == 1
    )
    assert captured.out == "" and [p.name for p in line.parent.iterdir()] == ["in.sgy"]


def test_a_traceback_is_shown_on_request(monkeypatch, capsys):
    monkeypatch.setenv("AAFAST_DEBUG", "1")
    assert main(["run", "none.sgy", "out.sgy"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("error, code, words", [
    (KeyboardInterrupt(), 130, "interrupted"),
    (MemoryError(), 2, "out of memory"),
    (RuntimeError("odd"), 2, "unexpected RuntimeError: odd"),
    (SystemExit(7), 7, ""),
])  # fmt: skip
def test_other_ends(line, tmp_path, model, monkeypatch, capsys, error, code, words):
    def broken(*arguments, **options):
        raise error

    monkeypatch.setattr("aafast.survey.worker.reconstruct_part", broken)
    assert main(["run", str(line), str(tmp_path / "out.sgy"), "--model", model, "--quiet"]) == code
    assert words in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["in.sgy"]


SLOW = """
import sys, time
import aafast.survey.worker as worker
from aafast.cli import main
def slow(*arguments, **options):
    print("solving", flush=True)
    time.sleep(60)
worker.reconstruct_part = slow
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_polite_kill_removes_what_was_begun(line, tmp_path, model, number, code):
    command = [
        sys.executable,
        "-c",
        SLOW,
        "run",
        str(line),
        str(tmp_path / "out.sgy"),
        "--model",
        model,
        "--quiet",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout.readline() == "solving\n"
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == code and [p.name for p in tmp_path.iterdir()] == ["in.sgy"]


def test_info_says_what_is_here_and_why_not(capsys):
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert f"aafast       {aafast.__version__}" in text and "anderson_mix" in text and "devices" in text
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["versions"]["aafast"] == aafast.__version__ and facts["devices"][0]["device"] == "cpu"
    assert {(row["op"], row["backend"]) for row in facts["backends"]} >= {
        ("z_step", "eager"),
        ("z_step", "cuda"),
    }
    for row in facts["backends"]:
        assert row["available"] or row["reason"]


class Row(NamedTuple):
    file: str
    check: str
    error: float
    tolerance: float
    ok: bool


@pytest.mark.parametrize("rows, code", [
    ([Row("a.npz", "anderson", 1e-12, 1e-9, True)], 0),
    ([Row("a.npz", "anderson", 1e-12, 1e-9, True), Row("b.npz", "lu", float("nan"), 1e-9, False)], 1),
    ([], 1),
])  # fmt: skip
def test_verify_prints_rows_and_fails_when_one_does(rows, code, monkeypatch, tmp_path, capsys):
    asked = []
    fake = types.ModuleType("aafast.verify")
    fake.verify = lambda folder, backend=None: asked.append((folder, backend)) or rows
    monkeypatch.setitem(sys.modules, "aafast.verify", fake)
    target = tmp_path / "rows.json"
    assert main(["verify", "folder", "--backend", "cpp", "--out", str(target)]) == code
    assert asked == [("folder", "cpp")]
    text = capsys.readouterr().out
    assert all(row.file in text for row in rows) and ("FAILED" in text) == any(not row.ok for row in rows)
    found = json.loads(target.read_text())
    assert [row["ok"] for row in found] == [row.ok for row in rows]
    assert [row["error"] for row in found] == [1e-12, "nan"][: len(rows)]


def test_demo_passes_its_options_on(monkeypatch):
    seen = {}
    fake = types.ModuleType("aafast.demo")
    fake.run_demo = lambda out, **options: seen.update(options, out=out) or types.SimpleNamespace(as_dict=dict)
    monkeypatch.setitem(sys.modules, "aafast.demo", fake)
    assert main("demo --out here --seed 3 --traces 80 --quick --no-report --quiet".split()) == 0
    assert seen == {"out": "here", "seed": 3, "traces": 80, "quick": True, "report": False, "progress": False,
                    "model": "deconv", "device": None}  # fmt: skip


@pytest.mark.parametrize("ok, words, suites", [
    (True, "", ("ops", "solve")),
    (False, "--suite ops", ("ops",)),
    (True, "--task deconv --method adaptive-lu", ("solve",)),
])  # fmt: skip
def test_bench_prints_rows_writes_them_and_fails_on_a_red_gate(ok, words, suites, monkeypatch, tmp_path, capsys):
    asked = {}
    gate = {"metric": "m", "value": 0.5, "tolerance": 1.0 if ok else 0.1, "ok": ok}
    row = {"suite": "ops", "task": None, "method": None, "op": "z_step", "backend": "cpp", "batch": 2, "shape": [3],
           "median_s": 1e-3, "p20_s": 1e-3, "p80_s": 1e-3, "baseline": None, "speedup": None, "gate": gate}  # fmt: skip

    def fake(suites, rows_file=None, **options):
        asked.update(options, suites=suites)
        rows_file.write_text(json.dumps(row) + "\n")
        return [row]

    monkeypatch.setattr("aafast.bench.run.run", fake)
    target = tmp_path / "rows.jsonl"
    options = ["--device", "cpu", "--quick", "--without", "compile", "--out", str(target)]
    assert main(["bench", *words.split(), *options]) == (0 if ok else 1)
    assert asked["suites"] == suites and asked["quick"] and asked["without"] == ["compile"]
    assert (asked["task"], asked["method"]) == (("deconv", "adaptive-lu") if "--task" in words else (None, None))
    assert json.loads(target.read_text()) == row
    text = capsys.readouterr().out
    assert "z_step" in text and ("RED" in text) == (not ok)


def test_bench_names_the_package_it_lacks_and_the_suite_it_needs(monkeypatch, tmp_path, capsys):
    target = tmp_path / "rows.jsonl"
    assert main(["bench", "--suite", "ops", "--task", "deconv", "--out", str(target)]) == 2
    assert "--suite ops" in capsys.readouterr().err and not list(tmp_path.iterdir())
    monkeypatch.setitem(sys.modules, "pytest_benchmark", None)
    assert main(["bench"]) == 2
    error = capsys.readouterr().err
    assert "pytest_benchmark" in error and 'pip install "aafast[bench]"' in error and error.count("\n") == 1


def test_bench_that_breaks_is_an_error_with_its_end_shown(monkeypatch, tmp_path, capfd):
    (tmp_path / "solve.py").write_text("def test_broken():\n    raise RuntimeError('no such luck')\n")
    (tmp_path / "conftest.py").write_text((ROOT / "bench" / "conftest.py").read_text())
    monkeypatch.setattr("aafast.bench.run.FOLDER", tmp_path)
    assert main(["bench", "--suite", "solve"]) == 2
    error = capfd.readouterr().err
    assert "no such luck" in error and "aafast: error: benchmarks" in error


def test_the_module_and_the_version_work_from_another_folder(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", "aafast", "--version"], cwd=tmp_path, env=environment,
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode == 0 and done.stdout == f"aafast {aafast.__version__}\n"
    piped = subprocess.run(f"{sys.executable} -m aafast info --json | head -c 1", shell=True, cwd=tmp_path,
                           env=environment, capture_output=True, text=True, timeout=60)  # fmt: skip
    assert piped.stdout == "{" and piped.stderr == ""
