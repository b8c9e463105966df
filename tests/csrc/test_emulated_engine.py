"""Whole solves by the engine of a CUDA device, its kernels run thread by thread on the CPU, against plain torch."""

import copy

import pytest
import torch

import aafast
from aafast.adaptive.engines import _engines
from aafast.config import FixedPointConfig, InnerSolver
from aafast.engine import gpu, loop, plan
from aafast.errors import BackendError
from aafast.ops import _dispatch, _native, _stack_cuda
from aafast.physics import WaveletConvolution
from tests.engine.problems import as_float, distance, double, make_problem, model_of, parts

SMOOTH = {
    # Soft signs of large eps are gradient steps: they do not amplify rounding.
    "z_solver": InnerSolver("adamw", lr=0.5, eps=2.0),
    "theta_solver": InnerSolver("adamw", lr=1e-3, eps=1e-2),
    "channels": 16, "residual_channels": 16, "depth": 3, "iterations": 2, "normalise": False, "lam": 0.3,
}
ANDERSON = {"fixed_point": FixedPointConfig(max_iter=5, tol=0.0)}
LU, DEQ = "adaptive-lu", "adaptive-deq"
SHARED = {"theta_scope": "batch"}
CASES = {
    "deconv direct": ("deconv", "direct", {}),
    "deblur robust": ("deblur", "robust-lu", {}),
    "deconv lu": ("deconv", LU, {"feed_y": True}),
    "deblur lu, two steps": (
        "deblur", LU, {"z_solver": InnerSolver("adamw", steps=2, lr=0.3, eps=2.0),
                       "theta_solver": InnerSolver("adamw", steps=2, lr=1e-3, eps=1e-2)},
    ),
    "defog lu": ("defog", LU, {}),
    "deconv deq": ("deconv", DEQ, ANDERSON),
    "deconv deq shared": ("deconv", DEQ, {**ANDERSON, **SHARED}),
    "deblur no residual": ("deblur", LU, {"residual": "none"}),
    "defog no theta step": ("defog", LU, {"theta_solver": InnerSolver("none")}),
    "deconv exact": ("deconv", LU, {"z_solver": InnerSolver("exact"), "lam": 0.4}),
}
# Of the arithmetic: the largest relative error of x. What is kept of theta moves by signs of its gradients.
TOLERANCE = {"strict": 2e-5, "tf32": 4e-3, "fast": 8e-3}


@pytest.fixture
def device(emulated, use_device, monkeypatch):
    """CPU tensors stand in for those of a device with clusters; every operation takes its CUDA kernel."""

    def use(seed=0):
        use_device(emulated, 1, seed)
        monkeypatch.setattr(_native, "where", lambda tensor: (1, 0))
        monkeypatch.setitem(_dispatch.PREFERENCE, "cpu", ("cuda", "eager"))
        _stack_cuda._native_stack.cache_clear()
        gpu.release_loops()
        plan.release_plans()

    yield use
    _stack_cuda._native_stack.cache_clear()
    gpu.release_loops()
    plan.release_plans()


def solved(model, problem):
    model.backend = "cuda"
    with torch.no_grad():
        found = model(*problem)
    assert found.backend == "cuda"
    return found


def problem_of(task, batch=2, height=11, width=9):
    return make_problem(task, torch.float32, batch, height, width)


def reference(model, problem):
    with torch.no_grad():
        return double(model)(*as_float(problem, torch.float64))


@pytest.mark.parametrize("case", CASES)
def test_a_solve_is_that_of_plain_torch(device, case):
    task, method, overrides = CASES[case]
    model, problem = model_of(task, method, torch.float32, **{**SMOOTH, **overrides}), problem_of(task)
    want = reference(model, problem)
    device()
    model.precision = "strict"
    got = solved(model, problem)
    assert torch.equal(got.status, want.status) and torch.equal(got.iterations, want.iterations)
    mine, true = parts(got), parts(want)
    assert mine.keys() == true.keys()
    for name in ("x", *(name for name in mine if name in ("z", "wavelet", "count", "point"))):
        error = distance(mine[name], true[name])
        assert error <= TOLERANCE["strict"], f"{name}: error {error:.2e}"
    for name in mine:
        if name.startswith(("theta.", "moment")):
            assert distance(mine[name], true[name]) <= 2e-3, name
    torch.testing.assert_close(
        got.residuals[: len(want.residuals)].double(), want.residuals, rtol=1e-3, atol=1e-5, equal_nan=True
    )


@pytest.mark.parametrize("precision", ["fast", "tf32"])
def test_arithmetic_on_tensor_cores(device, precision):
    model, problem = model_of("deconv", DEQ, torch.float32, **{**SMOOTH, **ANDERSON}), problem_of("deconv")
    want = reference(model, problem)
    device()
    model.precision = precision
    got = solved(model, problem)
    error = distance(got.x, want.x)
    assert error <= TOLERANCE[precision]


def test_a_sample_does_not_depend_on_its_batch_nor_on_the_order_of_warps(device):
    model, problem = model_of("deconv", DEQ, torch.float32, **{**SMOOTH, **ANDERSON}), problem_of("deconv", batch=3)
    device()
    together = solved(model, problem)
    device(seed=5)
    alone = solved(model, (problem[0][1:2].clone(), problem[1].select(1)))
    assert torch.equal(together.x[1:2], alone.x) and torch.equal(together.wavelet[1:2], alone.wavelet)
    torch.testing.assert_close(together.residuals[:, 1:2], alone.residuals, rtol=0, atol=0, equal_nan=True)


def test_a_loop_is_kept_and_takes_other_data_and_parameters(device):
    model, (y, A0) = model_of("deconv", LU, torch.float32, **SMOOTH), problem_of("deconv")
    device()
    first = solved(model, (y, A0))
    other = (y.flip(0) * 0.5, WaveletConvolution(A0.wavelet.flip(1)))
    second = solved(model, other)
    assert sum(len(loops) for loops in gpu._loops.values()) == 1
    gpu.release_loops()
    assert torch.equal(solved(model, other).x, second.x)
    assert torch.equal(solved(model, (y, A0)).x, first.x) and not torch.equal(first.x, second.x)
    held = aafast.engine.held_bytes()
    aafast.engine.release()
    assert held > 0 and gpu.loop_bytes() == 0


def test_samples_stop_by_themselves(device):
    solver = FixedPointConfig(max_iter=12, tol=2e-2)
    model = model_of("deconv", DEQ, torch.float32, **{**SMOOTH, "fixed_point": solver})
    y, A0 = problem_of("deconv", batch=3)
    y[1] *= 1e-3
    want = reference(model, (y, A0))
    device()
    model.precision = "strict"
    got = solved(model, (y, A0))
    assert len(set(want.iterations.tolist())) > 1
    assert torch.equal(got.status, want.status) and torch.equal(got.iterations, want.iterations)
    assert distance(got.x, want.x) <= 1e-4


def test_a_sample_that_diverges_leaves_the_others_alone(device):
    model, (y, A0) = model_of("deconv", DEQ, torch.float32, **{**SMOOTH, **ANDERSON}), problem_of("deconv", batch=3)
    device()
    clean = solved(model, (y, A0))
    ruined = A0.wavelet.clone()
    ruined[1, 25] = torch.nan
    got = solved(model, (y, WaveletConvolution.unchecked(ruined)))
    assert got.status.tolist() == [2, 3, 2] and got.iterations[1] == 1
    assert torch.equal(got.x[::2], clean.x[::2])


def test_too_little_memory_cuts_the_batch(device, monkeypatch):
    model, problem = model_of("deconv", LU, torch.float32, **SMOOTH), problem_of("deconv", batch=3)
    device()
    want = solved(model, problem)
    run, sizes = loop.DeviceLoop.solve, []

    def short(self, model, y, A0):
        sizes.append(len(y))
        if len(y) > 1:
            raise torch.cuda.OutOfMemoryError("no room")
        return run(self, model, y, A0)

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(loop.DeviceLoop, "solve", short)
    got = solved(model, problem)
    assert sizes == [3, 2, 1, 1, 1]
    assert torch.equal(got.x, want.x)
    monkeypatch.setattr(loop.DeviceLoop, "solve", lambda *_: (_ for _ in ()).throw(torch.cuda.OutOfMemoryError("none")))
    with pytest.raises(BackendError, match=r"memory of .*too little for 1 sample"):
        solved(model, problem)


def test_who_is_refused(device):
    device()
    engine = _engines["cuda"]
    y, A0 = problem_of("deconv")
    wide = model_of("deconv", LU, torch.float32, **{**SMOOTH, "channels": 24})
    assert "16, 32, 48 or 64" in engine.refusal(wide, y, A0)
    model = model_of("deconv", LU, torch.float32, **SMOOTH)
    assert engine.refusal(model, y, A0) is None
    assert "float32" in engine.refusal(copy.deepcopy(model).double(), *as_float((y, A0), torch.float64))
