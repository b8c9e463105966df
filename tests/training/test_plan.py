"""Plans: presets by name, JSON there and back, and what is refused."""

import json
from dataclasses import replace

import pytest

from aafast.config import METHODS, FixedPointConfig, InnerSolver
from aafast.errors import FileError, FormatError, InputError
from aafast.tasks import SHAPES, TASKS, settings
from aafast.training import PRESETS, TrainingPlan, preset, read_fields
from aafast.training.card import command
from aafast.training.plan import depth
from aafast.training.presets import NAMES

from .plans import plan


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NAMES)
def test_every_preset_is_a_plan_that_goes_through_json(task, method, name):
    if name == "calibration" and not method.startswith("adaptive"):
        with pytest.raises(InputError, match="method of a calibration"):
            preset(task, method, name)
        return
    asked = preset(task, method, name)
    again = TrainingPlan.from_dict(json.loads(json.dumps(asked.to_dict())))
    assert again == asked and again.config("shipped") == asked.config("shipped")
    assert command(asked).split()[:4] == ["aafast", "train", task, method] and "--config" not in command(asked)


@pytest.mark.parametrize("task", TASKS)
def test_the_paper_trains_the_full_networks(task):
    assert set(PRESETS[task]) == {"compact", "paper"}
    asked = preset(task, "adaptive-deq", "paper")
    assert asked.config() == asked.config("shipped") == settings(task, "adaptive-deq")
    assert (asked.learning_rate, asked.weight_decay, asked.loss, asked.ema, asked.clip) == (1e-4, 0.01, "mse", 0, 0)
    assert asked.shape == SHAPES[task] and asked.batch == (8 if task == "defog" else 32)


def test_defaults_follow_the_task():
    bare = TrainingPlan("deblur", "direct")
    assert bare.shape == SHAPES["deblur"] and bare.loss == "mse" and TrainingPlan("deconv", "direct").loss == "relative"
    assert preset("deconv", "adaptive-lu").settings["theta_solver"].name == "least-squares"
    assert not {"theta_solver", "z_solver"} & set(preset("deconv", "robust-lu").settings)


def test_solvers_may_be_written_as_objects():
    read = TrainingPlan.from_dict(
        {"task": "deconv", "method": "adaptive-deq", "settings": {"z_solver": {"name": "cg", "steps": 3}},
         "shipped": {"fixed_point": {"name": "picard", "max_iter": 7}}, "shape": [16, 24], "freeze": ["prox"]}
    )  # fmt: skip
    assert read.settings["z_solver"] == InnerSolver("cg", steps=3) and read.shape == (16, 24)
    assert read.config("shipped").fixed_point == FixedPointConfig("picard", max_iter=7) and read.freeze == ("prox",)


@pytest.mark.parametrize("fields, words", [
    ({"stepz": 3}, "stepz"),
    ({"settings": {"chanels": 3}}, "chanels"),
    ({"deepen": -1}, "deepen"),
    ({"method": "direct", "deepen": 2}, "deepen"),
    ({"method": "adaptive-deq", "deepen": 2}, "deepen"),
    ({"settings": {"z_solver": {"name": "cg", "stepz": 3}}}, "stepz"),
    ({"settings": {"z_solver": {"steps": 3}}}, "name"),
    ({"settings": [1]}, "settings"),
    ({"steps": 0}, "steps"),
    ({"batch": 1.5}, "batch"),
    ({"warm_up": -1}, "warm_up"),
    ({"validate_every": 0}, "validate_every"),
    ({"learning_rate": 0}, "learning_rate.*above 0"),
    ({"learning_rate": "fast"}, "learning_rate"),
    ({"clip": -1}, "clip.*0 or more"),
    ({"ema": 1.0}, "ema.*below 1"),
    ({"shape": [3]}, "shape"),
    ({"loss": "l1"}, "loss.*relative"),
    ({"schedule": "steps"}, "schedule.*cosine"),
    ({"freeze": "prox"}, "freeze"),
    ({"task": "denoise"}, "task"),
    ({"method": "magic"}, "method"),
])  # fmt: skip
def test_bad_fields_are_refused_by_name(fields, words):
    with pytest.raises(InputError, match=words):
        TrainingPlan.from_dict({"task": "deconv", "method": "adaptive-lu", **fields})


def test_a_plan_needs_a_task_and_a_method():
    with pytest.raises(InputError, match="task and method"):
        TrainingPlan.from_dict({})
    with pytest.raises(InputError, match="preset.*compact"):
        preset("deconv", "direct", "huge")
    with pytest.raises(InputError, match="task of the training plan.*deblur.*deconv"):
        preset("deconv", "direct", task="deblur")


def test_a_file_of_fields_is_read_or_refused(tmp_path):
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(plan().to_dict()))
    assert TrainingPlan.from_dict(read_fields(file)) == plan()
    file.write_text("{")
    with pytest.raises(FormatError, match="no JSON"):
        read_fields(file)
    file.write_text("[]")
    with pytest.raises(FormatError, match="list"):
        read_fields(file)
    with pytest.raises(FileError, match="No such file"):
        read_fields(tmp_path / "none.json")


def test_the_command_of_a_plan_trains_that_plan():
    asked = preset("deblur", "adaptive-lu", "paper", steps=7, amp=True, freeze=["eta"], mismatch="in", shape=(16, 20))
    assert command(asked) == (
        "aafast train deblur adaptive-lu --out DIR --preset paper --steps 7 --shape 16x20 --freeze eta --amp"
    )
    assert command(replace(asked, clip=2.0)).endswith("--out DIR --config plan.json")


def test_deepened_training_draws_every_depth_by_seed_and_step():
    deep = TrainingPlan("deblur", "adaptive-lu", deepen=3)
    found = [depth(deep, step) for step in range(200)]
    assert set(found) == {5, 6, 7, 8} and found == [depth(deep, step) for step in range(200)]
    assert found != [depth(replace(deep, seed=2), step) for step in range(200)]
    assert {depth(replace(deep, deepen=0), step) for step in range(50)} == {5}
