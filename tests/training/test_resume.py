"""A run that was stopped gives the losses and weights of one that was not, to the bit."""

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from aafast.errors import CheckpointError, FileError
from aafast.tasks import load
from aafast.training import Trainer, read_curve, steps_done, train
from aafast.training.interrupts import Interrupts
from aafast.training.state import STATE

from .plans import plan, silent

ROOT = Path(__file__).resolve().parents[2]


def losses(folder):
    return [(row["step"], row.get("loss"), row.get("valid_loss"), row.get("psnr_db")) for row in read_curve(folder)]


def assert_same(one, other):
    assert losses(one) == losses(other)
    a, b = (load(folder).state_dict() for folder in (one, other))
    assert all(torch.equal(a[name], b[name]) for name in a)


class Killed(Exception):
    pass


@pytest.mark.parametrize("method", ["adaptive-lu", "adaptive-deq", "direct"])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(method, tmp_path):
    normed = {"normalise": True} if method == "adaptive-deq" else {}
    asked = plan("deconv", method, normed)
    Trainer(asked, tmp_path / "whole").run(log=silent)

    trainer = Trainer(asked, tmp_path / "parts")
    one_step = trainer._one_step

    def dies(pairs, stop):
        if trainer.step == 9:  # rows up to 9 are there, the state is of step 6
            raise Killed
        return one_step(pairs, stop)

    trainer._one_step = dies
    with pytest.raises(Killed):
        trainer.run(log=silent)
    assert steps_done(tmp_path / "parts") == 6 and read_curve(tmp_path / "parts")[-1]["step"] == 9
    Trainer(asked, tmp_path / "parts").run(log=silent)
    assert_same(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_saves_the_step_at_hand(number, tmp_path):
    Trainer(plan(), tmp_path / "whole").run(log=silent)
    trainer = Trainer(plan(), tmp_path / "parts")
    one_step, seen = trainer._one_step, []

    def interrupted(pairs, stop):
        if trainer.step == 3:
            signal.raise_signal(number)
        return one_step(pairs, stop)

    def ended(signum, frame):
        seen.append(signum)
        raise Killed

    trainer._one_step = interrupted
    before = signal.signal(number, ended)
    try:
        with pytest.raises(Killed):
            trainer.run(log=silent)
        assert signal.getsignal(number) is ended
    finally:
        signal.signal(number, before)
    assert seen == [number] and steps_done(tmp_path / "parts") in (4, 5)
    Trainer(plan(), tmp_path / "parts").run(log=silent)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_the_second_ctrl_c_interrupts_at_once_and_ignored_signals_stay_so():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), Interrupts() as noted:
        signal.raise_signal(signal.SIGINT)
        assert noted.number == signal.SIGINT
        signal.raise_signal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with Interrupts() as noted:
            signal.raise_signal(signal.SIGINT)
        assert noted.number == 0
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_run_in_another_thread_leaves_signals_alone(tmp_path):
    before, found = signal.getsignal(signal.SIGINT), []
    thread = threading.Thread(target=lambda: found.append(train(plan(steps=2), out=tmp_path, log=silent)))
    thread.start()
    thread.join()
    assert found and signal.getsignal(signal.SIGINT) is before


def test_a_killed_process_goes_on_from_its_last_state(tmp_path):
    """SIGKILL at any moment: the state on disk is whole."""
    asked = plan(steps=400, validate_every=3, validation_pairs=1)
    file = tmp_path / "given.json"
    file.write_text(json.dumps(asked.to_dict()))
    words = [sys.executable, "-m", "aafast", "train", "deconv", "adaptive-lu", "--config", str(file), "--out",
             str(tmp_path / "killed")]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for _ in range(2):
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as process:
            try:
                said = [process.stdout.readline() for _ in range(4)]
            finally:
                process.kill()
        assert all(line.startswith("step ") for line in said), said
    done = steps_done(tmp_path / "killed")
    assert 18 <= done < 400 and done % 3 == 0
    kept = read_curve(tmp_path / "killed")
    assert [row["step"] for row in kept[: done + 1]] == list(range(done + 1))
    assert all(torch.isfinite(p).all() for p in load(tmp_path / "killed").parameters())
    trainer = Trainer(asked, tmp_path / "whole")
    with pytest.raises(Killed):
        trainer.run(log=lambda line: stop_at(trainer, done))
    whole = read_curve(tmp_path / "whole")
    assert [row.get("loss") for row in whole[: done + 1]] == [row.get("loss") for row in kept[: done + 1]]


def stop_at(trainer, step):
    if trainer.step >= step:
        raise Killed


def test_another_plan_is_refused_and_says_what_differs(tmp_path):
    train(plan(), out=tmp_path, log=silent)
    with pytest.raises(CheckpointError, match=r"\(steps differ\)"):
        train(replace(plan(), steps=13), out=tmp_path, log=silent)
    train(replace(plan(), steps=3), out=tmp_path, resume=False, log=silent)
    assert [row["step"] for row in read_curve(tmp_path)] == [0, 1, 2, 3]


def test_a_finished_run_is_left_as_it_is(tmp_path):
    train(plan(), out=tmp_path, log=silent)
    before, seen = losses(tmp_path), []
    model = train(plan(), out=tmp_path, resume=True, log=seen.append)
    assert losses(tmp_path) == before and seen == []
    saved = load(tmp_path).state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())


def test_resuming_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="resume"):
        train(plan(), out=tmp_path, resume=True, log=silent)
    assert steps_done(tmp_path) == 0


@pytest.mark.parametrize("contents", ["cut", "other"])
def test_a_damaged_state_is_refused(contents, tmp_path):
    train(plan(steps=2), out=tmp_path, log=silent)
    state = tmp_path / STATE
    state.write_bytes(state.read_bytes()[:500] if contents == "cut" else (tmp_path / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="damaged or truncated.*--restart"):
        train(plan(steps=2), out=tmp_path, log=silent)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="folder"):
        train(plan(), out=tmp_path / "file" / "out", log=silent)
