"""The solve suite: the same weights on both sides, gates that can fail, and a row from end to end."""

import functools
import json
import math
import os
import subprocess
import sys

import pytest
import torch

from aafast.bench import backends, memory
from aafast.bench.cases import METHODS, TASKS, Case
from aafast.bench.gates import StepGate, score_gate
from aafast.bench.images import disc_images
from aafast.bench.networks import FOLDER
from aafast.bench.rows import complaints, read
from aafast.reference import build as build_reference
from aafast.reference.golden import relative_error

# Spectral norms are found to convergence, which takes seconds; they are made alike for all tasks.
CASES = [(task, method) for task in TASKS for method in METHODS if method != "adaptive-deq" or task == "deblur"]


@functools.cache
def case_of(task, method):
    return Case(task, method, quick=True)


@pytest.mark.parametrize("task, method", CASES)
def test_both_sides_have_the_same_weights(task, method):
    """One call of each R_rho on the same arguments; where both normalise, by norms found in two ways."""
    case = case_of(task, method)
    reference, model = case.reference(), case.product()
    y = case.data.y
    with torch.no_grad():
        if method == "robust-lu":
            mine, theirs = model.prox(y), reference.prox(y)
        else:
            point = y - torch.exp(model.eta) * (y - 0.9 * y)
            mine, theirs = model.prox(torch.cat([point, y], dim=1)), reference.prox(y, 0.9 * y, y)
    assert not relative_error("x", mine, theirs) > (2e-3 if method == "adaptive-deq" else 1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_the_reference_scores_what_the_product_does(task):
    case = case_of(task, "adaptive-lu")
    gate = score_gate(case, backends.eager, 2)
    assert gate.ok and gate.value < 0.02


def spoiled(model, y, A0):
    """A solve whose x is off by 1e-4."""
    solution = backends.eager(model, y, A0)
    solution.x = solution.x * (1 + 1e-4)
    return solution


def forgetful(model, y, A0):
    """A solve whose z-step misses the gradient of one colour or trace."""
    solution = backends.eager(model, y, A0)
    solution.aux["z"][..., 0] = y[..., 0]
    return solution


def undefined(model, y, A0):
    """A solve with one NaN in a moment of theta."""
    solution = backends.eager(model, y, A0)
    name = next(name for name in solution.aux if name.startswith("moment1."))
    solution.aux[name] = solution.aux[name].clone()
    solution.aux[name].view(-1)[0] = math.nan
    return solution


def test_the_step_gate_passes_what_is_right_and_nothing_else():
    case = case_of("deblur", "adaptive-lu")
    gate = StepGate(case)
    assert gate.check(backends.eager).ok and gate.check(backends.engine).ok
    for wrong in (spoiled, forgetful, undefined):
        assert not gate.check(wrong).ok, wrong.__name__
    assert not gate.check(backends.engine, expected_backend="another").ok


def test_the_score_gate_notices_a_worse_answer():
    def worse(model, y, A0):
        solution = backends.eager(model, y, A0)
        solution.x = solution.x + 0.2
        return solution

    assert not score_gate(case_of("deblur", "robust-lu"), worse, 2).ok


def test_the_compiled_baseline_is_the_same_iteration(monkeypatch):
    """Its formulas, without the compiler."""
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    for task, method in (("deblur", "robust-lu"), ("defog", "adaptive-lu"), ("deblur", "adaptive-deq")):
        gate = StepGate(case_of(task, method)).check(backends.Compiled())
        assert gate.ok, (task, method, gate)


def test_the_reference_makes_the_calls_that_it_is_asked_for():
    for task in ("deblur", "defog"):
        model, calls = build_reference(task, "adaptive_deq"), []
        model.prox.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        backends.run_reference(model, case_of(task, "adaptive-lu").data, 3)
        assert len(calls) == 3


def test_images_are_what_their_seed_and_index_make_them():
    x, depth = disc_images(3, 20, 24, seed=1)
    assert x.shape == (3, 3, 20, 24) and depth.shape == (3, 1, 20, 24)
    assert 0 <= x.min() and x.max() <= 1 and 0 <= depth.min() and depth.max() <= 1
    assert torch.equal(disc_images(1, 20, 24, seed=1)[0], x[:1]) and not torch.equal(x[0], x[1])


def test_the_weights_are_small_and_finite():
    files = [FOLDER / f"{task}.safetensors" for task in TASKS]
    assert all(path.stat().st_size < 1e6 for path in files) and sum(path.stat().st_size for path in files) < 3e6


def test_memory_is_that_of_the_solve_alone():
    """A stand-in solve of a known size, in a process that held and freed more before."""
    code = (
        "import numpy as np\n"
        "from aafast.bench import memory\n"
        "from aafast.bench.cases import Case\n"
        "np.ones(60_000_000)\n"
        "sizes = iter([10_000_000, 25_000_000])\n"
        "def prepared(case, name):\n"
        "    size = next(sizes)\n"
        "    assert case.quick == (size == 10_000_000)\n"
        "    return lambda: np.ones(size).sum()\n"
        "memory.prepared = prepared\n"
        "print(memory.peak(Case('deblur', 'robust-lu'), 'reference'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert 180 < float(done.stdout) < 220  # 25 million doubles are 191 MB; 458 MB had been held before


def test_memory_that_cannot_be_measured_is_none(capfd):
    assert memory.measure(Case("deblur", "no-method"), "reference") is None
    assert "invalid choice" in capfd.readouterr().err


def bench(*words, **environment):
    return subprocess.run([sys.executable, "-m", "aafast", "bench", *words], capture_output=True, text=True,
                          timeout=300, env={**os.environ, **environment})  # fmt: skip


def test_a_quick_run_from_end_to_end(tmp_path):
    file = tmp_path / "rows.jsonl"
    words = "--suite solve --task deblur --method robust-lu --quick --without compile --out".split()
    done = bench(*words, str(file))
    assert done.returncode == 0, done.stderr
    found = read(file)
    assert [row["backend"] for row in found][:2] == ["reference", "eager-nhwc"] and len(found) == 3
    for row in found:
        assert not complaints(row) and row["iterations"] == 2 and row["quick"] and row["peak_mb"] > 0
        assert row["absent"] == {"compile": "left out"}
    assert found[2]["baseline"] == "reference" and found[2]["plain_baseline"] == "eager-nhwc"
    assert found[2]["speedup"] == found[0]["median_s"] / found[2]["median_s"]
    assert [gate["tolerance"] for gate in found[2]["gates"]] == [1e-5, 0.02]
    assert done.stderr.count("solve deblur robust-lu") == 4 and "over reference" in done.stdout
    assert json.loads(file.read_text().splitlines()[0])["gate"]["ok"]


def test_a_red_gate_prints_no_speedup_and_fails(tmp_path):
    """An answer made wrong by a thousandth before the suite starts."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if any(word.endswith('solve.py') for word in sys.orig_argv):\n"
        "    from aafast.bench import backends\n"
        "    engine = backends.engine\n"
        "    def wrong(model, y, A0):\n"
        "        solution = engine(model, y, A0)\n"
        "        solution.x = solution.x * 1.001\n"
        "        return solution\n"
        "    backends.engine = wrong\n"
    )
    file = tmp_path / "rows.jsonl"
    words = "--suite solve --task deblur --method robust-lu --quick --without compile --out".split()
    done = bench(*words, str(file), PYTHONPATH=str(tmp_path))
    assert done.returncode == 1, done.stderr
    *_, red = read(file)
    assert not red["gate"]["ok"] and red["speedup"] is None and red["median_s"] is None
    assert "RED" in done.stdout and "no speed-up" in done.stderr and "x of" not in done.stderr
