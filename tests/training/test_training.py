"""Training: the loss of every task and method falls, what goes wrong stops it, and what it leaves is a model."""

import hashlib
import json
import math

import pytest
import torch

import aafast
from aafast.config import METHODS
from aafast.errors import AafastError, BackendError, CheckpointError, InputError
from aafast.evaluation.contestants import Entry
from aafast.nets.spectral_norm import refresh
from aafast.tasks import TASKS, load
from aafast.training import Trainer, preset, read_curve, train
from aafast.training.batches import batches
from aafast.training.losses import log_error, relative_error, squared_error, validate
from aafast.training.plan import depth, learning_rate
from aafast.training.precision import autocast_network
from aafast.training.processes import Processes

from .plans import plan, silent


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("method", METHODS)
def test_loss_falls_and_the_result_loads(task, method, tmp_path):
    asked = plan(task, method, steps=30, batch=4, learning_rate=4e-3, validate_every=30, ema=0.9)
    trainer = Trainer(asked, tmp_path)
    trainer.run(log=silent)
    before, *rows = read_curve(tmp_path)
    assert before["step"] == 0 and [row["step"] for row in rows] == list(range(1, 31))
    assert all(math.isfinite(row["loss"]) for row in rows)
    assert rows[-1]["valid_loss"] < 0.97 * before["valid_loss"] and rows[-1]["psnr_db"] > before["psnr_db"]
    model = load(tmp_path, task=task)
    assert model.config == asked.config("shipped")
    assert validate(model, trainer.held_out, asked.loss)["psnr_db"] == rows[-1]["psnr_db"]


@pytest.mark.parametrize("gradient", ["one-step", "phantom", "implicit", "unrolled"])
def test_an_equilibrium_is_trained_by_each_of_its_gradients(gradient, tmp_path):
    asked = plan("deconv", "adaptive-deq", {"gradient": gradient, "eta": -1.0}, steps=30, batch=4, ema=0.9,
                 validate_every=30, learning_rate=4e-3)  # fmt: skip
    train(asked, out=tmp_path, log=silent)
    before, *rows = read_curve(tmp_path)
    assert rows[-1]["valid_loss"] < before["valid_loss"]
    assert math.isfinite(rows[-1]["gradient_norm"]) and load(tmp_path).config.gradient == gradient


def test_losses_are_what_they_say():
    truth, x = torch.tensor([[[[1.0, 2.0]]], [[[0.0, 0.0]]]]), torch.tensor([[[[1.0, 0.0]]], [[[0.0, 0.0]]]])
    assert relative_error(x, truth).tolist() == pytest.approx([0.8, 0.0])
    assert squared_error(x, truth).tolist() == [2.0, 0.0]
    assert log_error(x, truth).tolist() == pytest.approx([math.log(0.8 + 1e-4), math.log(1e-4)])


def test_the_rate_rises_falls_and_ends_at_nothing():
    rates = [learning_rate(plan(steps=100, warm_up=10, learning_rate=1.0), step) for step in range(100)]
    assert rates[0] == 0.1 and max(rates) == rates[9] and rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] < 1e-3
    constant = plan(steps=100, warm_up=0, learning_rate=1.0, schedule="constant")
    assert {learning_rate(constant, step) for step in range(100)} == {1.0}
    assert learning_rate(plan(steps=20, warm_up=100, learning_rate=1.0), 4) > 0.8  # no longer than a quarter


@pytest.mark.parametrize("weight", [1e30, float("nan")])
def test_a_loss_that_is_not_finite_stops_and_names_the_batch(tmp_path, weight):
    trainer = Trainer(plan(), tmp_path)
    with torch.no_grad():
        trainer.model.prox.R[-1].weight.fill_(weight)
    with pytest.raises(AafastError, match="batch 0.*No state was saved"):
        trainer.run(log=silent)
    assert not (tmp_path / "training.safetensors").exists()


def test_a_broken_run_keeps_its_last_good_state(tmp_path):
    trainer = Trainer(plan(), tmp_path)
    model = trainer.objective.model
    forward, seen = model.forward, []

    def breaks(y, A0):
        solution = forward(y, A0)
        seen.append(1)
        if len(seen) == 9:
            solution.x = solution.x * float("nan")
        return solution

    model.forward = breaks
    with pytest.raises(AafastError, match=f"batch 8: got nan.*last good state is in {tmp_path}"):
        trainer.run(log=silent)
    again = Trainer(plan(), tmp_path)
    again.run(log=silent)
    assert [row["step"] for row in read_curve(tmp_path)] == list(range(13))
    assert all(torch.isfinite(p).all() for p in load(tmp_path).parameters())


def test_a_gradient_that_is_not_finite_stops_before_it_reaches_the_weights(tmp_path):
    trainer = Trainer(plan(), tmp_path)
    trainer.model.eta.register_hook(lambda gradient: gradient * float("inf"))
    before = trainer.model.eta.item()
    with pytest.raises(AafastError, match="training gradient at batch 0"):
        trainer.run(log=silent)
    assert trainer.model.eta.item() == before


def test_frozen_parts_stay_and_the_others_move(tmp_path):
    trainer = Trainer(plan(freeze=["prox.R.0", "eta"], weight_decay=0.1), tmp_path)
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    trainer.run(log=silent)
    moved = {name for name, value in trainer.model.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {"prox.R.2.weight", "prox.R.5.weight"}
    with pytest.raises(InputError, match="'nothing'.*prox"):
        Trainer(plan(freeze=["nothing"]), tmp_path)
    with pytest.raises(InputError, match="left to train"):
        Trainer(plan(freeze=["prox", "eta"]), tmp_path)


def test_a_run_starts_from_a_given_model(tmp_path):
    given = aafast.build("deconv", "adaptive-lu", seed=5, **plan().settings)
    aafast.save(given, tmp_path / "given")
    trainer = Trainer(plan(init=str(tmp_path / "given")), tmp_path / "out")
    for model in (trainer.model, trainer.average, trainer.shipped):
        assert all(torch.equal(p, q) for p, q in zip(model.parameters(), given.parameters(), strict=True))
    trainer.run(log=silent)
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["init"]["folder"] == str(tmp_path / "given") and len(card["init"]["sha256"]) == 64
    # An equilibrium has the same weights; another width or task has not.
    Trainer(plan(method="adaptive-deq", init=str(tmp_path / "given")), tmp_path / "deq")
    with pytest.raises(CheckpointError, match="start from.*prox"):
        Trainer(plan(settings={"channels": 12}, init=str(tmp_path / "given")), tmp_path / "wide")
    with pytest.raises(CheckpointError, match="task"):
        Trainer(plan("deblur", init=str(tmp_path / "given")), tmp_path / "deblur")


def test_the_card_names_the_weights_that_a_chain_of_trainings_began_with(tmp_path):
    names, cards, init = ("a", "b", "c"), {}, None
    for name in names:
        train(plan("deblur", "robust-lu", steps=1, init=init), out=tmp_path / name, log=silent)
        cards[name], init = json.loads((tmp_path / name / "card.json").read_text()), str(tmp_path / name)
    first = hashlib.sha256((tmp_path / "a" / "model.safetensors").read_bytes()).hexdigest()
    second = hashlib.sha256((tmp_path / "b" / "model.safetensors").read_bytes()).hexdigest()
    assert "init" not in cards["a"] and cards["b"]["init"]["root"] == cards["b"]["init"]["sha256"] == first
    assert cards["c"]["init"]["root"] == first and cards["c"]["init"]["sha256"] == second
    assert Entry.of(tmp_path / "c").init == Entry.of(tmp_path / "b").init == first[:12]
    assert Entry.of(tmp_path / "a").init == "-"


@pytest.mark.parametrize("method", ["robust-lu", "adaptive-lu"])
def test_deepened_training_runs_what_its_plan_draws_and_saves_the_first_depth(method, tmp_path, monkeypatch):
    asked, seen = plan("deblur", method, deepen=3, steps=8), []
    forward = aafast.adaptive.Model.__call__

    def watched(model, *given, **named):
        solution = forward(model, *given, **named)
        if torch.is_grad_enabled():
            seen.append(int(solution.iterations[0]))
        return solution

    monkeypatch.setattr(aafast.adaptive.Model, "__call__", watched)
    train(asked, out=tmp_path, log=silent)
    assert seen == [depth(asked, step) for step in range(8)] and len(set(seen)) > 1
    assert load(tmp_path).config.iterations == 2


def test_norms_are_those_of_the_weights_that_are_saved(tmp_path):
    asked = plan("deconv", "adaptive-deq", {"normalise": True}, ema=0.0, learning_rate=0.02)
    trainer = Trainer(asked, tmp_path)
    trainer.run(log=silent)
    fresh = aafast.build("deconv", "adaptive-deq", **asked.settings)
    fresh.load_state_dict({k: v for k, v in load(tmp_path).state_dict().items() if "sigma" not in k}, strict=False)
    refresh(fresh)
    for saved, found in zip(load(tmp_path).prox.convolutions(), fresh.prox.convolutions(), strict=True):
        assert float(saved.sigma) == pytest.approx(float(found.sigma), rel=1e-4)


@pytest.mark.parametrize("task, kind", [("deconv", "wavelet"), ("defog", "haze")])
def test_a_calibration_is_trained_alone_and_taken_along(task, kind, tmp_path):
    alone = plan(task, "adaptive-lu", {"calibration": kind}, loss="calibration", steps=60, batch=8, ema=0.9,
                 mismatch="out", validate_every=60, validation_pairs=16)  # fmt: skip
    first = Trainer(alone, tmp_path / "calibration")
    before = {name: value.clone() for name, value in first.model.named_parameters()}
    first.run(log=silent)
    moved = {name.partition(".")[0] for name, p in first.model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"calibration"}
    rows = read_curve(tmp_path / "calibration")
    assert rows[0]["valid_loss"] == pytest.approx(rows[0]["input_loss"])  # untrained, it returns the nominal model
    assert rows[-1]["valid_loss"] < 0.9 * rows[0]["valid_loss"]

    asked = plan(task, "adaptive-lu", {"calibration": kind}, calibration=str(tmp_path / "calibration"), seed=3)
    second = Trainer(asked, tmp_path / "model")
    second.run(log=silent)
    learned, saved = load(tmp_path / "calibration").calibration, load(tmp_path / "model").calibration
    assert all(torch.equal(p, q) for p, q in zip(learned.parameters(), saved.parameters(), strict=True))
    assert not torch.equal(load(tmp_path / "model").eta, first.model.eta)
    card = json.loads((tmp_path / "model" / "card.json").read_text())
    assert len(card["calibration"]["sha256"]) == 64 and "init" not in card
    with pytest.raises(CheckpointError, match="take the calibration from"):
        Trainer(plan(task, "adaptive-lu", calibration=str(tmp_path / "calibration")), tmp_path / "none")
    with pytest.raises(InputError, match="without a calibration"):
        Trainer(plan(task, "adaptive-lu", loss="calibration"), tmp_path / "none")


def test_a_saved_model_may_differ_in_settings_but_not_in_weights(tmp_path):
    asked = plan(shipped={"iterations": 3})
    assert train(asked, out=tmp_path, log=silent).config.iterations == load(tmp_path).config.iterations == 3
    with pytest.raises(InputError, match="shipped"):
        Trainer(plan(shipped={"channels": 12}), tmp_path)


def test_the_card_says_how_the_model_came_to_be(tmp_path):
    asked = preset("deblur", "robust-lu", steps=3, batch=2, shape=(16, 16), seed=4, validation_pairs=2)
    train(asked, out=tmp_path, log=silent)
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["plan"] == asked.to_dict() and card["scores"]["step"] == 3 and card["seconds"] > 0
    assert card["data"]["pairs"] == 6 and card["versions"]["aafast"] == aafast.__version__
    assert {"commit", "device", "device_name", "threads", "processes"} <= card.keys()
    assert card["command"] == "aafast train deblur robust-lu --out DIR --config plan.json"
    train(preset("deblur", "robust-lu", "paper", steps=1, batch=2, shape=(16, 16), settings={}), out=tmp_path,
          resume=False, log=silent)  # fmt: skip
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["command"].endswith("--preset paper --steps 1 --batch 2 --shape 16x16")


def test_workers_draw_the_same_batches():
    asked = plan("deblur", steps=5)
    alone, helped = (list(batches(asked, 2, Processes(), workers)) for workers in (0, 2))
    assert len(alone) == len(helped) == 3
    for a, b in zip(alone, helped, strict=True):
        assert torch.equal(a.y, b.y) and torch.equal(a.nominal.kernel, b.nominal.kernel)
    assert not torch.equal(alone[0].y, alone[1].y)


def test_mixed_precision_needs_a_gpu_and_keeps_the_solve_in_float32(tmp_path):
    with pytest.raises(BackendError, match="amp.*cpu.*CUDA"):
        Trainer(plan(amp=True), tmp_path)
    model = aafast.build("deconv", "robust-lu", channels=8, depth=3, norm="none", skip=True)
    model.backend = "eager"  # plain convolutions, as on a GPU
    y, A0 = torch.randn(2, 1, 16, 16), aafast.WaveletConvolution(torch.randn(5))
    exact = model(y, A0).x
    autocast_network(model, "cpu")
    mixed = model(y, A0).x
    mixed.square().sum().backward()
    assert mixed.dtype == torch.float32 and model.prox.R[0].weight.grad.dtype == torch.float32
    assert 1e-6 < float((mixed - exact).detach().norm() / exact.detach().norm()) < 2e-2
