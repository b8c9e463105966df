"""`--json`: one object on stdout whatever happens, people's words on stderr."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

import aafast
from aafast.cli import build_parser, main
from aafast.cli._answer import Answer, plain
from aafast.cli._parser import EXIT_CODES
from aafast.survey import SyntheticSurvey, write_survey

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = sorted(next(a for a in build_parser()._actions if a.dest == "name").choices)


def answer(capsys) -> dict:
    """What stdout holds: one line, one object."""
    text = capsys.readouterr().out
    assert text.count("\n") == 1 and text.endswith("\n")
    return json.loads(text)


@pytest.fixture
def cube(tmp_path):
    return str(write_survey(tmp_path / "in.sgy", SyntheticSurvey(2, 24, 64)))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_json(name, capsys):
    assert main([name, "--help"]) == 0
    assert "--json" in capsys.readouterr().out


def test_run_tells_figures_and_files(cube, tmp_path, capsys):
    folder = tmp_path / "model"
    aafast.save(aafast.build("deconv", "direct", channels=4, groups=2, depth=3), folder)
    capsys.readouterr()
    out = tmp_path / "out.sgy"
    words = ["run", cube, str(out), "--model", str(folder), "--wavelet", "ricker:30", "--batch", "4", "--json"]
    assert main(words) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["command"] == "run" and found["exit_code"] == 0 and found["output"] == str(out)
    assert found["traces"] == {"live": 47, "dead": 1, "skipped": []} and found["kind"] == "3D"
    assert found["patches"]["limit"] == found["patches"]["all"] > 0 and found["wavelet"]["source"] == "ricker:30"
    assert 0 < found["misfit"] < 10 and found["seconds"]["total"] > 0 and found["report"] is None
    assert "47 solved" in captured.err and "misfit" in captured.err


def test_other_commands_tell_theirs(cube, tmp_path, capsys):
    other = tmp_path / "b.sgy"
    assert main(["synth", str(other), "--inlines", "2", "--crosslines", "24", "--samples", "64", "--json"]) == 0
    found = answer(capsys)
    assert (found["traces"], found["bytes"], found["output"]) == (48, other.stat().st_size, str(other))
    assert main(["compare", cube, str(other), "--json"]) == 0
    assert answer(capsys)["agree"] is True
    assert main(["synth", str(other), "--inlines", "2", "--crosslines", "24", "--samples", "64", "--seed", "1",
                 "--json"]) == 0  # fmt: skip
    capsys.readouterr()
    assert main(["compare", cube, str(other), "--json"]) == 1
    found = answer(capsys)
    assert found["agree"] is False and found["exit_code"] == 1 and found["samples"] > 0
    assert main(["info", "--json"]) == 0
    assert answer(capsys)["versions"]["aafast"] == aafast.__version__


@pytest.mark.parametrize("words, kind, says", [
    (["run", "none.sgy", "out.sgy", "--json"], "FileError", "No such file"),
    (["run", "--json"], "UsageError", "required"),
    (["nonsense", "--json"], "UsageError", "invalid choice"),
    (["bench", "--json", "--suite", "ops", "--task", "deconv"], "InputError", "solve suite"),
])  # fmt: skip
def test_errors_are_told_to_programs_and_to_people(words, kind, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["exit_code"] == 2 and found["error"]["type"] == kind and says in found["error"]["message"]
    assert captured.err == f"aafast: error: {found['error']['message']}\n"


@pytest.mark.parametrize("error, code", [(KeyboardInterrupt(), 130), (SystemExit(143), 143), (SystemExit("odd"), 2)])
def test_other_ends_are_told_as_well(error, code, monkeypatch, capsys):
    def broken(arguments):
        print("on my way")
        raise error

    monkeypatch.setattr("aafast.cli.info.command", broken)
    assert main(["info", "--json"]) == code and code in EXIT_CODES
    captured = capsys.readouterr()
    assert json.loads(captured.out)["exit_code"] == code and captured.err.startswith("on my way\naafast: error: ")


def test_a_command_without_an_answer_has_its_code_told(monkeypatch, capsys):
    monkeypatch.setattr("aafast.cli.info.command", lambda arguments: 1)
    assert main(["info", "--json"]) == 1
    assert answer(capsys) == {"command": "info", "exit_code": 1}
    monkeypatch.setattr("aafast.cli.info.command", lambda arguments: Answer({"a": 1}, code=1))
    assert main(["info"]) == 1 and capsys.readouterr().out == ""


class Named(NamedTuple):
    x: float


def test_plain_values_are_what_json_knows():
    given = {"path": Path("a/b"), "nan": math.nan, "inf": -math.inf, "row": Named(np.float32(0.5)), 3: (np.int64(2),),
             "array": np.array([[1.0, np.nan]]), "tensor": torch.tensor([True]), "none": None, "other": 1 + 2j,
             "settings": aafast.config.InnerSolver("cg")}  # fmt: skip
    found = json.loads(json.dumps(plain(given), allow_nan=False))
    assert found.pop("settings")["name"] == "cg"
    assert found == {"path": "a/b", "nan": "nan", "inf": "-inf", "row": {"x": 0.5}, "3": [2], "array": [[1.0, "nan"]],
                     "tensor": [True], "none": None, "other": "(1+2j)"}  # fmt: skip


def test_without_a_terminal_nothing_moves_or_asks(tmp_path):
    """No progress bar, no colour, no prompt; a name that the output's encoding lacks is written with escapes."""
    out = tmp_path / "w\u0142\u00f3.sgy"
    command = [sys.executable, "-m", "aafast", "synth", str(out), "--inlines", "2", "--crosslines", "8",
               "--samples", "16"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii", "FORCE_COLOR": "1"}
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=environment, timeout=60)
    assert done.returncode == 0 and out.is_file(), done.stderr
    assert done.stderr == b"" and b"w\\u0142\\xf3.sgy" in done.stdout
    assert b"\r" not in done.stdout and b"\x1b" not in done.stdout
