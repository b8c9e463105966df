"""`aafast train`: options reach the plan, plans go through files, and stops say how to go on."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aafast.cli import main
from aafast.tasks import load
from aafast.training import preset, read_curve

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--steps", "3", "--batch", "2", "--shape", "16x16"]
TINY = {"settings": {"channels": 4, "depth": 2, "norm": "none"}, "validation_pairs": 1}


@pytest.fixture
def tiny(tmp_path):
    """A file of fields that make a plan tiny."""
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(TINY))
    return str(path)


@pytest.mark.parametrize("task", ["deconv", "deblur", "defog"])
def test_a_command_trains_and_the_same_command_goes_on(task, tiny, tmp_path, capsys):
    words = ["train", task, "robust-lu", "--config", tiny, *SMALL, "--out", str(tmp_path / "out"), "--json"]
    assert main(words) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["step"] == 3 and found["output"] == str(tmp_path / "out") and found["psnr_db"] > 0
    assert captured.err.startswith("step 3/3, loss ") and "\r" not in captured.err
    assert load(tmp_path / "out", task=task).config.channels == 4
    assert main([*words, "--resume"]) == 0 and json.loads(capsys.readouterr().out) == found
    assert main([*words, "--steps", "4"]) == 2 and "steps differ" in capsys.readouterr().err
    assert main([*words, "--steps", "4", "--restart"]) == 0
    assert [row["step"] for row in read_curve(tmp_path / "out")] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("task", ["deconv", "deblur", "defog"])
def test_twenty_steps_of_the_command_in_the_readme_lower_the_loss(task, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("aafast train "))
    words = shlex.split(line, comments=True)[1:]
    words[1] = task
    assert main([*words, "--steps", "20", "--batch", "2"]) == 0
    before, *_, after = read_curve(words[words.index("--out") + 1])
    assert after["valid_loss"] < before["valid_loss"]


def test_every_option_reaches_the_plan(monkeypatch, tiny, tmp_path):
    seen = {}

    def fake(plan, **options):
        seen.update(options, plan=plan)

    monkeypatch.setattr("aafast.training.train", fake)
    monkeypatch.setattr("aafast.training.read_curve", lambda out: [{}])
    words = "train deblur adaptive-lu --preset paper --steps 5 --batch 3 --shape 40X24 --mismatch beyond --seed 7"
    words += " --source folder --init model --calibration other --freeze eta prox.R.0 --device cuda:1 --amp"
    words += " --threads 2 --workers 3 --tensorboard --quiet --restart --out here"
    assert main(words.split()) == 0
    plan = seen.pop("plan")
    assert plan == preset(
        "deblur", "adaptive-lu", "paper", steps=5, batch=3, shape=(40, 24), mismatch="beyond", seed=7,
        source="folder", init="model", calibration="other", freeze=("eta", "prox.R.0"), amp=True,
    )  # fmt: skip
    assert seen.pop("log")("a line") is None
    assert seen == {"out": "here", "device": "cuda:1", "threads": 2, "workers": 3, "resume": False,
                    "tensorboard": True, "progress": False}  # fmt: skip
    assert main(["train", "defog", "direct", "--config", tiny, "--resume"]) == 0
    assert seen["out"] == "aafast-defog-direct" and seen["resume"] is True and seen["progress"] is True
    assert seen["plan"] == preset("defog", "direct", **TINY)


def test_a_printed_plan_is_the_plan(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "deconv", "adaptive-deq", "--steps", "9", "--print-config"]) == 0
    text = capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "plan.json").write_text(text)
    assert main(["train", "deconv", "adaptive-deq", "--config", "plan.json", "--print-config"]) == 0
    assert capsys.readouterr().out == text and json.loads(text)["steps"] == 9
    assert main(["train", "deblur", "adaptive-deq", "--config", "plan.json", "--print-config"]) == 2
    assert "task of the training plan" in capsys.readouterr().err


@pytest.mark.parametrize("words, says", [
    (["deconv"], "required"),
    (["denoise", "direct"], "invalid choice"),
    (["deconv", "magic"], "invalid choice"),
    (["deconv", "direct", "--config", "none.json"], "No such file"),
    (["deconv", "direct", "--config", "odd.json"], "stepz"),
    (["deconv", "direct", "--resume"], "run to resume"),
    (["deconv", "direct", "--resume", "--restart"], "not allowed with"),
    (["deconv", "direct", "--amp"], "amp"),
    (["deconv", "direct", "--device", "tpu"], "device"),
    (["deconv", "direct", "--init", "nowhere"], "nowhere"),
    (["deconv", "direct", "--freeze", "theta"], "freeze"),
    (["deconv", "direct", "--shape", "16"], "16"),
])  # fmt: skip
def test_errors_are_one_line_with_exit_code_2(words, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AAFAST_DEBUG", raising=False)
    (tmp_path / "odd.json").write_text('{"stepz": 3}')
    assert main(["train", *words, *(SMALL if len(words) > 1 else [])]) == 2
    error = capsys.readouterr().err
    assert error.startswith("aafast: error: ") and says in error and error.count("\n") == 1


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_polite_kill_saves_the_run_and_says_so(number, code, tmp_path):
    (tmp_path / "tiny.json").write_text(json.dumps({**TINY, "steps": 100_000, "validate_every": 5}))
    words = [sys.executable, "-m", "aafast", "train", "deconv", "direct", "--config", str(tmp_path / "tiny.json"),
             "--batch", "2", "--shape", "16x16", "--out", str(tmp_path / "out")]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout.readline().startswith("step 5/100000")
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    done = read_curve(tmp_path / "out")[-1]["step"]
    assert process.returncode == code and f"{done} of 100000 steps are saved" in said
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]
