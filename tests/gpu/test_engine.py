"""The engines of a CUDA device on one: whole solves against plain torch in double, one launch, no wait."""

import pytest
import torch

import aafast
from aafast.config import METHODS, FixedPointConfig, InnerSolver
from aafast.engine import gpu
from aafast.errors import BackendError
from aafast.ops import can_run
from aafast.physics import GaussianBlur
from tests.engine.problems import as_float, distance, double, make_problem, model_of

SMOOTH = {
    # Soft signs of large eps are gradient steps: they do not amplify rounding.
    "z_solver": InnerSolver("adamw", lr=0.5, eps=2.0),
    "theta_solver": InnerSolver("adamw", lr=1e-3, eps=1e-2),
    "channels": 64, "residual_channels": 64, "depth": 4, "iterations": 3, "normalise": False, "lam": 0.3,
    "fixed_point": FixedPointConfig(max_iter=12, tol=0.0),
}
TOLERANCE = {"strict": 5e-5, "tf32": 8e-3, "fast": 1e-2}
DEQ, LU = "adaptive-deq", "adaptive-lu"


@pytest.fixture(params=["cuda", "triton"])
def backend(request):
    reason = can_run(request.param, torch.device("cuda", torch.cuda.current_device()))
    if reason is not None:
        pytest.skip(f"backend {request.param}: {reason}")
    return request.param


@pytest.fixture
def needs_cuda():
    reason = can_run("cuda", torch.device("cuda", torch.cuda.current_device()))
    if reason is not None:
        pytest.skip(f"backend cuda: {reason}")


def on_gpu(problem):
    return problem[0].cuda(), problem[1].to("cuda")


def solved(model, problem, backend="cuda"):
    model.backend = backend
    with torch.no_grad():
        found = model(*problem)
    assert found.backend == backend
    return found


def small(task, method, **overrides):
    return model_of(task, method, torch.float32, **{**SMOOTH, **overrides})


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("task", ["deconv", "deblur", "defog"])
def test_a_solve_is_that_of_plain_torch(backend, task, method, precision):
    model, problem = small(task, method), make_problem(task, torch.float32, 3, 41, 23)
    with torch.no_grad():
        want = double(model)(*as_float(problem, torch.float64))
    model = model.cuda()
    model.precision = precision
    got = solved(model, on_gpu(problem), backend)
    assert torch.equal(got.status.cpu(), want.status)
    assert distance(got.x.cpu(), want.x) <= TOLERANCE[precision]


@pytest.mark.parametrize("case", [("deconv", {"theta_scope": "batch"}), ("deblur", {"residual": "none"}),
                                  ("deconv", {"z_solver": InnerSolver("exact"), "lam": 0.4})], ids=str)
def test_other_settings(backend, case):
    task, overrides = case
    model, problem = small(task, LU, **overrides), make_problem(task, torch.float32, 2, 33, 20)
    with torch.no_grad():
        want = double(model)(*as_float(problem, torch.float64))
    model = model.cuda()
    model.precision = "strict"
    assert distance(solved(model, on_gpu(problem), backend).x.cpu(), want.x) <= 1e-4


def test_the_host_waits_for_nothing(needs_cuda):
    model, (y, A0) = small("deconv", DEQ).cuda(), on_gpu(make_problem("deconv", torch.float32))
    model.backend = "cuda"
    engine = gpu.GpuEngine("cuda")
    want = engine.solve(model, y, A0)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        got = engine.solve(model, y, A0)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(got.x, want.x)


def test_ways_to_launch_agree(needs_cuda, monkeypatch):
    solver = FixedPointConfig(max_iter=20, tol=1e-2)
    model, (y, A0) = small("deconv", DEQ, fixed_point=solver).cuda(), on_gpu(make_problem("deconv", torch.float32))
    y[1] *= 1e-3  # stops at another time
    found = {}
    for kind in ("loop", "replay"):
        gpu.release_loops()
        if kind == "replay":
            monkeypatch.setattr("aafast.engine.graphs.Launcher._choose", lambda _: "replay")
        found[kind] = solved(model, (y, A0))
        (loops,) = gpu._loops.values()
        (only,) = loops.values()
        if only.launcher.kind != kind:
            pytest.skip("this driver has no WHILE nodes")
    gpu.release_loops()
    assert torch.equal(found["loop"].x, found["replay"].x)
    assert torch.equal(found["loop"].iterations, found["replay"].iterations)
    assert len(set(found["loop"].iterations.tolist())) > 1


def test_a_sample_does_not_depend_on_its_batch(needs_cuda):
    model, (y, A0) = small("deconv", DEQ).cuda(), on_gpu(make_problem("deconv", torch.float32, 5, 50, 30))
    together = solved(model, (y, A0))
    for i in (0, 3):
        alone = solved(model, (y[i : i + 1].clone(), A0.select(i)))
        assert torch.equal(together.x[i : i + 1], alone.x)


def test_a_captured_solve_takes_other_data(needs_cuda):
    for task in ("deconv", "deblur", "defog"):
        model = small(task, LU).cuda()
        first, second = (on_gpu(make_problem(task, torch.float32, seed=seed)) for seed in (0, 7))
        solved(model, first)
        again = solved(model, second)
        gpu.release_loops()
        assert torch.equal(solved(model, second).x, again.x)


def test_two_streams_and_threads_share_a_loop(needs_cuda):
    model = small("deconv", LU).cuda()
    problems = [on_gpu(make_problem("deconv", torch.float32, seed=seed)) for seed in range(4)]
    want = [solved(model, problem).x for problem in problems]
    streams = [torch.cuda.Stream() for _ in problems]
    torch.cuda.synchronize()
    got = []
    for stream, problem in zip(streams, problems, strict=True):
        with torch.cuda.stream(stream):
            got.append(solved(model, problem).x)
    torch.cuda.synchronize()
    for mine, true in zip(got, want, strict=True):
        assert torch.equal(mine, true)


def test_memory_is_reported_and_given_back(needs_cuda):
    aafast.engine.release()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    model, problem = small("deconv", DEQ).cuda(), on_gpu(make_problem("deconv", torch.float32, 8, 64, 48))
    given = torch.cuda.memory_allocated() - before
    solved(model, problem)
    assert aafast.engine.held_bytes() > 0
    aafast.engine.release()
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() - before <= given + (1 << 20)


def test_a_capture_inside_a_capture_is_named(needs_cuda):
    model, problem = small("deconv", LU).cuda(), on_gpu(make_problem("deconv", torch.float32))
    engine = gpu.GpuEngine("cuda")
    gpu.plan_of(model, "cuda")
    gpu.release_loops()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with pytest.raises(BackendError, match="inside another capture"), torch.cuda.graph(graph):
        engine.solve(model, *problem)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices")
def test_a_second_device(needs_cuda):
    model, problem = small("deconv", LU), make_problem("deconv", torch.float32)
    want = solved(model.cuda(), on_gpu(problem)).x
    got = solved(model.to("cuda:1"), (problem[0].to("cuda:1"), problem[1].to("cuda:1"))).x
    assert got.device.index == 1 and distance(got.cpu(), want.cpu()) <= 1e-6


def test_a_users_forward_model_runs_from_the_host(backend):
    class Own:
        def A(self, x):
            return 0.5 * x

        def A_adjoint(self, y):
            return 0.5 * y

    model = small("deblur", "robust-lu")
    y = make_problem("deblur", torch.float32)[0]
    with torch.no_grad():
        want = double(model)(y.double(), Own()).x
    model = model.cuda()
    model.precision = "strict"
    assert distance(solved(model, (y.cuda(), Own()), backend).x.cpu(), want) <= 1e-4


def test_kinds_of_forward_models_have_their_own_loops(needs_cuda):
    model = small("deblur", LU).cuda()
    y = make_problem("deblur", torch.float32)[0].cuda()
    whole = torch.rand(3, 5, 5, device="cuda")
    for kernel in (GaussianBlur().kernel.cuda(), whole / whole.sum((1, 2), keepdim=True)):
        solved(model, (y, GaussianBlur(kernel)))
    assert sum(len(loops) for loops in gpu._loops.values()) == 2
    gpu.release_loops()
