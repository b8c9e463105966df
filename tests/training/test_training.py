"""Training: the loss falls, and a run that was stopped gives the losses of one that was not."""

import json
from dataclasses import replace

import pytest
import torch

from aafast.config import InnerSolver
from aafast.errors import AafastError, CheckpointError, InputError
from aafast.tasks import load
from aafast.training import Trainer, TrainingPlan
from aafast.training.deconv import validate

PLAN = TrainingPlan(
    steps=12,
    batch=2,
    shape=(32, 16),
    warm_up=2,
    mismatch="in",
    snr_db=(15.0, 30.0),
    shipped={},
    settings={
        "channels": 8,
        "depth": 3,
        "norm": "none",
        "skip": True,
        "residual_channels": 8,
        "iterations": 2,
        "z_solver": InnerSolver("exact", differentiate=True),
        "theta_solver": InnerSolver("none"),
    },
)


def curve(folder):
    return [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]


def test_loss_falls_and_the_result_loads(tmp_path):
    trainer = Trainer(replace(PLAN, steps=40, batch=4), tmp_path)
    before = validate(trainer.model, trainer.held_out)
    trainer.run(log=lambda line: None, save_every=20)
    after = curve(tmp_path)[-1]
    assert after["ser_db"] > before["ser_db"] and after["ser_db"] > after["input_ser_db"]
    model = load(tmp_path, task="deconv")
    assert model.config.iterations == 2


def test_a_stopped_run_goes_on_as_if_it_had_not_been(tmp_path):
    Trainer(PLAN, tmp_path / "whole").run(log=lambda line: None, save_every=6)

    class Killed(Exception):
        pass

    def die(line):
        raise Killed

    with pytest.raises(Killed):
        Trainer(PLAN, tmp_path / "parts").run(log=die, save_every=6)
    Trainer(PLAN, tmp_path / "parts").run(log=lambda line: None, save_every=6)
    whole, parts = curve(tmp_path / "whole"), curve(tmp_path / "parts")
    assert [row["loss"] for row in whole] == [row["loss"] for row in parts]
    a, b = load(tmp_path / "whole"), load(tmp_path / "parts")
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_another_plan_is_refused(tmp_path):
    Trainer(PLAN, tmp_path).run(log=lambda line: None)
    with pytest.raises(CheckpointError, match="plan"):
        Trainer(replace(PLAN, steps=13), tmp_path).run(log=lambda line: None)


def test_a_damaged_state_is_refused(tmp_path):
    Trainer(PLAN, tmp_path).run(log=lambda line: None)
    state = tmp_path / "training.safetensors"
    state.write_bytes(state.read_bytes()[:500])
    with pytest.raises(CheckpointError, match="truncated"):
        Trainer(PLAN, tmp_path).run(log=lambda line: None)


@pytest.mark.parametrize("name", ["steps", "batch", "warm_up"])
def test_a_plan_of_nothing_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=name):
        Trainer(replace(PLAN, **{name: 0}), tmp_path)


def test_a_loss_that_is_not_finite_stops_and_names_the_batch(tmp_path):
    trainer = Trainer(PLAN, tmp_path)
    with torch.no_grad():
        trainer.model.prox.R[-1].weight.fill_(1e30)
    with pytest.raises(AafastError, match="batch 0"):
        trainer.run(log=lambda line: None)
