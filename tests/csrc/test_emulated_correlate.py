"""The CUDA correlations run on the CPU, against the plain path of the same operations in double."""

import re

import pytest
import torch
from fenced import Fenced
from native_builds import CSRC, emulated_module
from op_cases import relative_error

from aafast.ops import correlate_planes, correlate_separable, correlate_time, correlate_time_kernel

DTYPES = (torch.float32, torch.float64)
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-14}
WHERE = (1, 0)  # device, stream
# batch, time, traces, taps: below, at and above a tile of 32 and a stage of 64 taps
SECTIONS = [
    (1, 1, 1, 1),
    (2, 33, 35, 11),
    (1, 32, 32, 3),
    (2, 40, 9, 131),
    (1, 70, 40, 65),
    (2, 8, 8, 51),
    (0, 5, 4, 3),
]
# batch, channels, height, width, K: whole tiles, halos, stages of 16 x 32 taps, one launch and two
PLANES = [(1, 1, 1, 1, 1), (2, 3, 8, 9, 3), (1, 2, 33, 35, 17), (1, 1, 34, 20, 33), (1, 1, 5, 70, 31), (2, 0, 5, 4, 3)]
SHARING = [(False, False), (True, False), (False, True), (True, True)]


@pytest.fixture(autouse=True)
def _poisoned():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def rand(*shape, dtype=torch.float32, seed=0):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def close(got, want, tolerance):
    error = relative_error(got, want)
    assert error <= tolerance, f"error {error:.2e}"


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("size", SECTIONS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_correlate_time(emulated, use_device, dtype, size, shared):
    *shape, taps = size
    use_device(emulated, 1, seed=taps)
    x, kernel = rand(shape[0], 1, *shape[1:], dtype=dtype), rand(1 if shared else shape[0], taps, dtype=dtype, seed=1)
    want = correlate_time(x.double(), kernel.double(), backend="eager")
    close(correlate_time(x, kernel, backend="cuda"), want, TOLERANCE[dtype])


@pytest.mark.parametrize("size", SECTIONS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_correlate_time_kernel(emulated, use_device, dtype, size):
    batch, time, traces, taps = size
    use_device(emulated, 0, seed=taps)
    g, x = (rand(batch, 1, time, traces, dtype=dtype, seed=seed) for seed in range(2))
    want = correlate_time_kernel(g.double(), x.double(), taps, backend="eager")
    close(correlate_time_kernel(g, x, taps, backend="cuda"), want, TOLERANCE[dtype])


def test_a_sum_of_many_products_keeps_its_digits(emulated, use_device):
    use_device(emulated, 1)
    g, x = (rand(1, 1, 700, 61, seed=seed) for seed in range(2))
    want = correlate_time_kernel(g.double(), x.double(), 3, backend="eager")
    close(correlate_time_kernel(g, x, 3, backend="cuda"), want, TOLERANCE[torch.float32])


@pytest.mark.parametrize("size", PLANES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_correlate_planes_and_separable(emulated, use_device, dtype, size):
    batch, channels, height, width, K = size
    use_device(emulated, 1, seed=K)
    x = rand(batch, channels, height, width, dtype=dtype)
    for sharing in SHARING if K <= 17 else SHARING[:1]:
        sets = [1 if shared else count for count, shared in zip(size[:2], sharing, strict=True)]
        kernel = rand(*sets, K, K, dtype=dtype, seed=9)
        want = correlate_planes(x.double(), kernel.double(), backend="eager")
        close(correlate_planes(x, kernel, backend="cuda"), want, TOLERANCE[dtype])
        column, row = (rand(*sets, K, dtype=dtype, seed=seed) for seed in (7, 8))
        want = correlate_separable(x.double(), column.double(), row.double(), backend="eager")
        close(correlate_separable(x, column, row, backend="cuda"), want, TOLERANCE[dtype])


def test_gradients_go_through(emulated, use_device):
    use_device(emulated, 1)
    inputs = [rand(2, 1, 9, 12), rand(2, 5, seed=1)]
    found = []
    for backend in ("cuda", "eager"):
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]
        loss = correlate_time(*leaves, backend=backend).square().sum()
        found.append(torch.autograd.grad(loss, leaves))
    for got, want in zip(*found, strict=True):
        close(got, want, 2e-6)


def every_correlation(module, batch, status=None, reverse=False, add=False, seeds=range(4)):
    """All five kernels on the same samples by address: outputs between guard zones, 5 where none is written."""
    fenced = Fenced()
    x, g, tall, wide = rand(4, 35, 33)[:batch], rand(4, 35, 33, seed=1)[:batch], rand(4, 5, seed=2), rand(4, 37, seed=3)
    square = rand(4, 5, 5, seed=4)
    out = [fenced.like(torch.full((batch, *shape), 5.0)) for shape in [(35, 33), (5,), (35, 33), (35, 33), (35, 33)]]
    flags = 0 if status is None else status.data_ptr()
    image, pair = x.data_ptr(), (tall.data_ptr(), 5)
    scratch = torch.full((module.correlate_separable_cuda_scratch(batch, 1, 35, 33, 37),), torch.nan)
    to = [tensor.data_ptr() for tensor in out]
    module.correlate_time_cuda_float32(batch, 35, 33, 5, pair, reverse, add, image, flags, WHERE, to[0])
    module.correlate_time_kernel_cuda_float32(batch, 35, 33, 5, reverse, g.data_ptr(), image, flags, WHERE, to[1])
    size = (batch, 1, 35, 33)
    module.correlate_planes_cuda_float32(*size, 5, (square.data_ptr(), 25), 0, reverse, image, flags, WHERE, to[2])
    module.correlate_separable_cuda_float32(*size, 5, pair, tall.data_ptr(), 0, reverse, image, flags, WHERE, 0, to[3])
    module.correlate_separable_cuda_float32(
        *size, 37, (wide.data_ptr(), 37), wide.data_ptr(), 0, reverse, image, flags, WHERE, scratch.data_ptr(), to[4]
    )
    fenced.check()
    return out


def by_product(reverse):
    x, g, tall, wide = (
        tensor.double()
        for tensor in (rand(4, 1, 35, 33), rand(4, 1, 35, 33, seed=1), rand(4, 5, seed=2), rand(4, 37, seed=3))
    )
    square = rand(4, 1, 5, 5, seed=4).double()
    gradient = correlate_time_kernel(g, x, 5, backend="eager")
    if reverse:
        tall, wide, square, gradient = tall.flip(1), wide.flip(1), square.flip(2, 3), gradient.flip(1)
    small, large = tall[:, None], wide[:, None]
    images = [
        correlate_time(x, tall, backend="eager"),
        correlate_planes(x, square, backend="eager"),
        correlate_separable(x, small, small, backend="eager"),
        correlate_separable(x, large, large, backend="eager"),
    ]
    first, *rest = (image[:, 0] for image in images)
    return [first, gradient, *rest]


@pytest.mark.parametrize("reverse", [False, True])
def test_the_adjoint_reads_a_kernel_from_its_end(emulated, reverse):
    for got, want in zip(every_correlation(emulated, 4, reverse=reverse), by_product(reverse), strict=True):
        close(got, want, 5e-6)
    added = every_correlation(emulated, 4, reverse=reverse, add=True)
    close(added[0], by_product(reverse)[0] + 5, 2e-6)


def test_stopped_samples_are_left_alone_and_the_others_do_not_notice(emulated, monkeypatch):
    whole = every_correlation(emulated, 4)
    monkeypatch.setenv("EMULATED_CUDA_SEED", "7")
    some = every_correlation(emulated, 4, status=torch.tensor([0, 2, 0, 1], dtype=torch.int8))
    alone = every_correlation(emulated, 1)
    for mine, part, one in zip(whole, some, alone, strict=True):
        assert torch.equal(part[::2], mine[::2]) and (part[1::2] == 5).all()
        assert torch.equal(one, mine[:1])


FILES = ("correlate.cuh", "correlate_planes.cu", "correlate_time.cu")
SOURCES = {name: (CSRC / "cuda" / name).read_text() for name in FILES}
BARRIERS = [(name, found) for name in FILES for found in re.finditer(r"__syncthreads\(\);", SOURCES[name])]


@pytest.mark.parametrize("place", BARRIERS, ids=lambda place: f"{place[0]}-at-{place[1].start()}")
@pytest.mark.first_of_many
def test_a_missing_barrier_is_caught(use_device, place):
    name, barrier = place
    source = SOURCES[name]
    module = emulated_module({name: source[: barrier.start()] + ";" + source[barrier.end() :]})
    x, kernel, line = rand(1, 1, 35, 9), rand(1, 1, 33, 33, seed=1), rand(1, 1, 5, seed=2)
    g = rand(1, 1, 35, 9, seed=3)
    runs = [
        lambda x, backend: correlate_planes(x, kernel.to(x), backend=backend),
        lambda x, backend: correlate_separable(x, line.to(x), line.to(x), backend=backend),
        lambda x, backend: correlate_time_kernel(g.to(x), x, 9, backend=backend),
    ]

    def is_right(seed):
        use_device(module, 1, seed)
        return all(relative_error(run(x, "cuda"), run(x.double(), "eager")) <= 1e-5 for run in runs)

    assert len(BARRIERS) == 5
    assert not all(is_right(seed) for seed in range(4))
