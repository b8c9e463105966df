"""Models by name and on disk: the paper's settings, round trips, and files that do not fit."""

import errno
import json
import pickle
import zipfile
from dataclasses import replace

import pytest
import torch

import aafast
from aafast.config import InnerSolver
from aafast.errors import BackendError, CheckpointError, FileError, InputError
from aafast.tasks import SHAPES, TASKS, build, draw_pairs, load, save, settings, shipped

SMALL = {"channels": 8, "residual_channels": 8, "depth": 3}


def test_the_papers_settings():
    lu, deq = settings("deconv", "adaptive-lu"), settings("deblur", "adaptive-deq")
    assert (lu.depth, lu.channels, lu.eta, lu.gamma, lu.lam, lu.iterations) == (9, 64, 0.01, 0.01, 0.1, 5)
    assert (deq.depth, deq.eta, deq.offset, deq.normalise) == (5, -1.0, "residual", True)
    assert (deq.fixed_point.m, deq.fixed_point.max_iter, deq.fixed_point.tol) == (8, 40, 1e-3)
    assert settings("defog", "adaptive-deq").fixed_point.name == "picard"


def test_settings_survive_json():
    config = settings("deconv", "adaptive-deq", lam=0.3)
    assert type(config).from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    "call",
    [
        lambda: settings("deblurr", "adaptive-lu"),
        lambda: settings("deblur", "adaptive"),
        lambda: settings("deblur", "adaptive-lu", chanels=3),
        lambda: settings("deblur", "adaptive-lu", channels=10),
        lambda: settings("deblur", "adaptive-lu", taps=50),
        lambda: settings("deblur", "adaptive-lu", theta_scope="survey"),
        lambda: settings("deblur", "adaptive-lu", residual="blur"),
        lambda: settings("deblur", "adaptive-lu", residual_channels=6),
        lambda: settings("deblur", "adaptive-lu", depth=1),
        lambda: settings("deblur", "adaptive-lu", iterations=0),
        lambda: settings("deconv", "adaptive-lu", residual="wavelet-mlp"),
        lambda: settings("deconv", "adaptive-lu", lam=0.0, z_solver=InnerSolver("exact")),
    ],
)
def test_bad_settings(call):
    with pytest.raises(InputError):
        call()


def test_the_same_seed_gives_the_same_weights():
    def first(seed):
        return build("deconv", "adaptive-lu", seed=seed, **SMALL).prox.R[0].weight

    assert torch.equal(first(1), first(1)) and not torch.equal(first(1), first(2))


@pytest.mark.parametrize("method", ["direct", "robust-lu", "adaptive-lu", "adaptive-deq"])
def test_a_model_comes_back_from_disk(tmp_path, method):
    model = build("deconv", method, seed=3, **SMALL)
    save(model, tmp_path / "m", note="kept")
    again = load(tmp_path / "m", task="deconv")
    assert again.config == model.config
    assert json.loads((tmp_path / "m" / "card.json").read_text())["note"] == "kept"
    for (name, a), (_, b) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert torch.equal(a, b), name


def saved(tmp_path):
    return save(build("deconv", "adaptive-lu", **SMALL), tmp_path / "m")


def test_a_model_of_another_task_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="task"):
        load(saved(tmp_path), task="deblur")


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_truncated_weights_are_refused(tmp_path, keep):
    file = saved(tmp_path) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="truncated"):
        load(tmp_path / "m")


class Bomb:
    """Unpickling this would fail the test."""

    def __reduce__(self):
        return (pytest.fail, ("a pickled file was opened",))


def test_pickles_are_never_opened(tmp_path):
    for name in ("model.pt", "model.pth", "model.ckpt", "model.pkl"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(CheckpointError, match="never opened"):
            load(tmp_path / name)
    folder = saved(tmp_path)
    with zipfile.ZipFile(folder / "model.safetensors", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError):
        load(folder)


def test_weights_and_card_that_do_not_belong_together_are_refused(tmp_path):
    folder = saved(tmp_path)
    card = json.loads((folder / "card.json").read_text())
    card["config"]["depth"] = 4
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match="differ"):
        load(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 99, "config": {}}', '{"format": 1, "config": {}}'])
def test_a_bad_card_is_refused(tmp_path, text):
    folder = saved(tmp_path)
    (folder / "card.json").write_text(text)
    with pytest.raises(CheckpointError):
        load(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"method": "lu"},
        {"residual": "blur"},
        {"depth": "7"},
        {"eta": "a"},
        {"task": "denoise"},
        {"channels": 1.5},
        {"image_channels": -1},
        {"z_solver": {"name": "newton"}},
        {"z_solver": 3},
    ],
)
def test_a_card_whose_settings_are_no_models_is_refused(tmp_path, change):
    folder = saved(tmp_path)
    card = json.loads((folder / "card.json").read_text())
    card["config"] |= change
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match=r"expected .*\. "):
        load(folder)


def test_eta_may_be_a_whole_number():
    assert build("deblur", "robust-lu", eta=-1, **SMALL).eta.item() == -1.0


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FileError, match="folder of the model"):
        save(build("deconv", "adaptive-lu", **SMALL), tmp_path / "file" / "m")


def test_a_full_disk_leaves_no_part_of_a_model(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(FileError, match="No space left"):
        saved(tmp_path)
    assert not any((tmp_path / "m").iterdir())


def test_nan_weights_are_refused(tmp_path):
    model = build("deconv", "adaptive-lu", **SMALL)
    with torch.no_grad():
        model.eta.fill_(float("nan"))
    with pytest.raises(CheckpointError, match="NaN"):
        load(save(model, tmp_path / "m"))


def test_an_unknown_name_lists_the_shipped_models():
    with pytest.raises(CheckpointError, match="deconv"):
        load("no-such-model")


def test_the_shipped_models_load_and_say_how_they_were_made():
    methods = ("direct", "robust-lu", "adaptive-lu", "adaptive-deq")
    assert set(shipped()) == {*TASKS, *(f"{task}-{method}" for task in TASKS for method in methods)}
    for task in TASKS:
        assert load(task).config.task == task and load(task).config.method.startswith("adaptive")
    for name, folder in shipped().items():
        model = load(name)
        card = json.loads((folder / "card.json").read_text())
        assert card["command"] and card["data"] and card["scores"]
        assert sum(f.stat().st_size for f in folder.iterdir()) < 3e6
        assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize("task", TASKS)
@torch.no_grad()
def test_the_shipped_models_earn_their_place_out_of_distribution(task):
    """Nearer to the truth than the data, and nearer than the same weights without their calibration."""
    pairs = draw_pairs(task, 6, SHAPES[task] if task == "deconv" else (64, 64), seed=8, mismatch="beyond", split="test")
    model = load(f"{task}-adaptive-lu")

    def error(x):
        return float((x - pairs.x).square().mean())

    calibrated = error(model(pairs.y, pairs.nominal).x)
    model.config = replace(model.config, calibration="none")
    assert calibrated < error(model(pairs.y, pairs.nominal).x) and calibrated < error(pairs.y)


def test_reconstruct_is_the_front_door():
    y = torch.randn(2, 1, 40, 16)
    wavelet = torch.hann_window(31, periodic=False)
    found = aafast.reconstruct(y, aafast.WaveletConvolution(wavelet / wavelet.norm()))
    assert found.x.shape == y.shape and not found.x.requires_grad


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "mps"])
def test_a_device_that_cannot_be_used_says_why(device):
    with pytest.raises(BackendError, match="device"):
        aafast.reconstruct(torch.zeros(1, 1, 8, 8), aafast.WaveletConvolution(torch.ones(3)), device=device)
    with pytest.raises(BackendError, match="device"):
        load("deconv", device=device)
