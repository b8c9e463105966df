"""Both operations on a real device, every backend that runs there, against the oracle."""

import pytest
import torch
from op_cases import MIXES, TOLERANCE, Z_NUMBERS, Z_SHAPES, Mix, check_mix, check_z, mix_inputs, z_inputs

from aafast.ops import anderson_mix, can_run, z_step

BACKENDS = ("eager", "cuda", "triton")
DTYPES = (torch.float32, torch.float64)


@pytest.fixture(params=BACKENDS)
def backend(request) -> str:
    reason = can_run(request.param, torch.device("cuda", torch.cuda.current_device()))
    if reason is not None:
        pytest.skip(f"backend {request.param}: {reason}")
    return request.param


def to_gpu(tensors):
    return tuple(tensor.cuda() for tensor in tensors)


def using(op, backend):
    return lambda *args: op(*args, backend=backend)


@pytest.mark.parametrize("shape", Z_SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_z_step_matches_the_oracle(backend, dtype, shape):
    check_z(using(z_step, backend), *to_gpu(z_inputs(shape, dtype)), TOLERANCE["z_step", dtype])


@pytest.mark.parametrize("case", [*MIXES, Mix(300, 5, 6400, 1, 5, 1e-3, 1.0, True)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_anderson_mix_matches_the_oracle(backend, dtype, case):
    tolerance = TOLERANCE["anderson_mix on a gpu", dtype]
    check_mix(using(anderson_mix, backend), case, to_gpu(mix_inputs(case, dtype)), tolerance)


@pytest.mark.parametrize("name", ["cuda", "triton"])
def test_a_sample_does_not_depend_on_its_batch(name):
    case = Mix(40, 5, 6400, 2, 5, 1e-3, 0.7, True)
    inputs = to_gpu(mix_inputs(case, torch.float32))
    together = using(anderson_mix, name)(*inputs, *case.numbers)
    for i in (0, 7, 39):
        alone = using(anderson_mix, name)(*(t[i : i + 1] for t in inputs), *case.numbers)
        for mine, want in zip(together, alone, strict=True):
            assert torch.equal(mine[i : i + 1], want)


def test_runs_on_the_current_stream(backend):
    z, g = to_gpu(z_inputs((1 << 22,), torch.float32))
    side = torch.cuda.Stream()
    want = z_step(z * 3, g, *Z_NUMBERS, backend=backend)
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.cuda._sleep(50_000_000)
        got = z_step(z * 3, g, *Z_NUMBERS, backend=backend)
    side.synchronize()
    assert torch.equal(got, want)


def test_a_captured_graph_gives_the_same(backend):
    case = Mix(4, 5, 6400, 2, 4, 1e-3, 1.0, True)
    if backend == "eager":
        pytest.skip("the eager path solves with a library that may allocate during capture")
    inputs = to_gpu(mix_inputs(case, torch.float32))
    z, g = to_gpu(z_inputs((4, 6400), torch.float32))

    def run():
        return using(anderson_mix, backend)(*inputs, *case.numbers), using(z_step, backend)(z, g, *Z_NUMBERS)

    want_mix, want_z = run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        mix, step = run()
    for _ in range(2):
        graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(step, want_z) and torch.equal(mix[0], want_mix[0]) and torch.equal(mix[2], want_mix[2])


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices")
def test_runs_on_the_device_of_its_tensors(backend):
    z, g = (tensor.to("cuda:1") for tensor in z_inputs((1000,), torch.float32))
    got = z_step(z, g, *Z_NUMBERS, backend=backend)
    assert got.device == z.device and torch.cuda.current_device() == 0
    check_z(using(z_step, backend), z, g, TOLERANCE["z_step", torch.float32])


def test_gradients_and_compilation():
    case = Mix(2, 4, 33, 1, 3, 1e-2, 0.6, True)
    X, F, gram = (t.nan_to_num().cuda().requires_grad_() for t in mix_inputs(case, torch.float64))
    for op, args in (
        (torch.ops.aafast.anderson_mix.default, (X, F, gram, *case.numbers, "auto")),
        (torch.ops.aafast.z_step.default, (X, F, *Z_NUMBERS, "auto")),
    ):
        torch.library.opcheck(op, args)
    run = torch.compile(lambda X, F, gram: anderson_mix(X, F, gram, *case.numbers)[0].sin(), fullgraph=True)
    got = torch.autograd.grad(run(X, F, gram).sum(), X)[0]
    want = torch.autograd.grad(anderson_mix(X, F, gram, *case.numbers)[0].sin().sum(), X)[0]
    torch.testing.assert_close(got, want)
