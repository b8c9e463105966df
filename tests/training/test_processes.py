"""Two processes that share a batch do what one does with all of it, to rounding."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from aafast.errors import InputError
from aafast.tasks import load
from aafast.training import Trainer, read_curve, steps_done
from aafast.training.batches import batches
from aafast.training.processes import Processes

from .plans import plan, silent

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import json, sys
from safetensors.torch import save_file
from aafast.training import Trainer, TrainingPlan
from aafast.training.batches import batches
from aafast.training.processes import joined
folder = sys.argv[1]
with joined("cpu") as processes:
    plan = TrainingPlan.from_dict(json.load(open(sys.argv[2])))
    trainer = Trainer(plan, folder, processes)
    loss, _ = trainer.objective(next(batches(plan, 0, processes)), plan.config().iterations)
    loss.backward()
    found = {name: p.grad.clone() for name, p in trainer.model.named_parameters()}
    save_file(found, f"{folder}/gradient{processes.rank}.safetensors")
    trainer.run(log=lambda line: None)
"""


def torchrun(*words, **options):
    """Two processes of a script or module as `torchrun` starts them."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.Popen([*start, *map(str, words)], env=environment, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, **options)  # fmt: skip


def finish(process):
    try:
        return process.communicate(timeout=120)[0]
    finally:
        process.kill()


@pytest.fixture(scope="module")
def asked():
    return plan("deblur", "adaptive-lu", batch=4, steps=4, validate_every=2, shape=(16, 16))


def test_two_processes_have_the_gradient_of_one(asked, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "given.json").write_text(json.dumps(asked.to_dict()))
    process = torchrun(tmp_path / "script.py", tmp_path / "two", tmp_path / "given.json")
    trainer = Trainer(asked, tmp_path / "one")
    loss, _ = trainer.objective(next(batches(asked, 0, Processes())), asked.config().iterations)
    loss.backward()
    wanted = {name: p.grad.clone() for name, p in trainer.model.named_parameters()}
    trainer.run(log=silent)
    said = finish(process)
    assert process.returncode == 0, said
    halves = [load_file(tmp_path / "two" / f"gradient{rank}.safetensors") for rank in (0, 1)]
    for name, gradient in wanted.items():
        torch.testing.assert_close(halves[0][name], gradient, rtol=1e-4, atol=1e-6 * float(gradient.abs().max()))
        assert torch.equal(halves[0][name], halves[1][name])
    one, two = read_curve(tmp_path / "one"), read_curve(tmp_path / "two")
    assert [row["step"] for row in two] == [0, 1, 2, 3, 4]
    for name in ("loss", "gradient_norm", "psnr_db"):
        found, expected = ([row[name] for row in rows if name in row] for rows in (two, one))
        assert len(found) >= 3 and found == pytest.approx(expected, rel=1e-3)
    card = json.loads((tmp_path / "two" / "card.json").read_text())
    assert card["processes"] == 2 and load(tmp_path / "two").config == asked.config("shipped")


def test_a_batch_is_shared_out_whole(asked):
    whole = next(batches(asked, 3, Processes()))
    parts = [next(batches(asked, 3, Processes(rank, 2))) for rank in (0, 1)]
    assert torch.equal(torch.cat([part.y for part in parts]), whole.y)
    assert torch.equal(torch.cat([part.nominal.kernel for part in parts]), whole.nominal.kernel)
    with pytest.raises(InputError, match="batch.*multiple of the 3 processes"):
        Processes(0, 3).share(asked.batch)


def test_processes_stop_together_and_go_on(asked, tmp_path):
    words = ["-m", "aafast", "train", "deblur", "adaptive-lu", "--config", tmp_path / "given.json", "--out",
             tmp_path / "out"]  # fmt: skip
    long = plan("deblur", "adaptive-lu", batch=4, steps=100_000, validate_every=2, shape=(16, 16))
    (tmp_path / "given.json").write_text(json.dumps(long.to_dict()))
    process = torchrun(*words)
    try:
        while steps_done(tmp_path / "out") < 2 and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
    finally:
        said = finish(process)
    assert "steps are saved" in said, said
    done = steps_done(tmp_path / "out")
    rows = read_curve(tmp_path / "out")
    assert 2 <= done < 100_000 and rows[-1]["step"] == done
    trainer = Trainer(long, tmp_path / "out")
    trainer._resume()
    assert trainer.step == done
