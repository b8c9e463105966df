"""correlate_time and its gradient in the kernel on every path that runs without a GPU, against plain loops."""

import pytest
import torch
from op_cases import relative_error
from torch._dynamo.testing import CompileCounterWithBackend

from aafast.errors import BackendError, InputError
from aafast.ops import correlate_time, correlate_time_kernel

BACKENDS = ("eager", "cpp")
DTYPES = (torch.float32, torch.float64)
# Largest |got - loops| over the largest |loops|: sums of at most 51 products, and of thousands, which the kernels add
# in double from parts and a library in float.
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-14}
LIBRARY_SUMS = {torch.float32: 1e-5, torch.float64: 2e-14}
# batch, time, traces, taps; the last ones have more taps than samples of time
SIZES = [
    (1, 1, 1, 1),
    (2, 9, 13, 3),
    (3, 33, 17, 11),
    (2, 128, 64, 51),
    (1, 300, 5, 7),
    (2, 40, 1, 9),
    (1, 25, 150, 15),
    (2, 8, 8, 51),
    (3, 1, 7, 5),
    (1, 2, 130, 9),
    (0, 5, 4, 3),
    (2, 0, 4, 3),
    (2, 5, 0, 3),
]


def sections(batch, time, traces, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 1, time, traces, dtype=dtype, generator=generator)


def kernels(sets, taps, dtype=torch.float64, seed=9):
    return torch.randn(sets, taps, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def shifted(x, lag):
    """x[t + lag] for each t, zero outside."""
    out = torch.zeros_like(x)
    for t in range(x.shape[2]):
        if 0 <= t + lag < x.shape[2]:
            out[:, :, t] = x[:, :, t + lag]
    return out


def by_loops(x, kernel):
    x, taps = x.double(), kernel.shape[1]
    return sum(kernel.double()[:, k, None, None, None] * shifted(x, k - taps // 2) for k in range(taps))


def kernel_by_loops(g, x, taps):
    g, x = g.double(), x.double()
    return torch.stack([(g * shifted(x, k - taps // 2)).sum((1, 2, 3)) for k in range(taps)], 1)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.usefixtures("poisoned")
def test_matches_plain_loops(backend, dtype, size, shared):
    *shape, taps = size
    x, kernel = sections(*shape, dtype), kernels(1 if shared else shape[0], taps, dtype)
    got = correlate_time(x, kernel, backend=backend)
    assert got.dtype == dtype and got.is_contiguous()
    error = relative_error(got, by_loops(x, kernel))
    assert error <= TOLERANCE[dtype], f"error {error:.2e}"


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.usefixtures("poisoned")
def test_the_kernels_gradient_matches_plain_loops(backend, dtype, size):
    *shape, taps = size
    g, x = sections(*shape, dtype), sections(*shape, dtype, seed=1)
    got = correlate_time_kernel(g, x, taps, backend=backend)
    assert got.dtype == dtype and got.is_contiguous()
    error = relative_error(got, kernel_by_loops(g, x, taps))
    assert error <= (TOLERANCE if backend == "cpp" else LIBRARY_SUMS)[dtype], f"error {error:.2e}"


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_strides_and_inputs_stay_as_they_are(backend):
    x, g, kernel = sections(3, 20, 14), sections(3, 20, 14, seed=1), kernels(3, 7)
    views = {
        "transposed": lambda t: t.mT.contiguous().mT,
        "sliced": lambda t: t.repeat_interleave(2, -1)[..., ::2],
        "flipped twice": lambda t: t.flip(-1).flip(-1),
        "expanded": lambda t: t[:1].expand(t.shape),
    }
    for name, view in views.items():
        whole = [view(tensor).contiguous() for tensor in (x, g, kernel)]
        mine = [view(tensor) for tensor in (x, g, kernel)]
        got = correlate_time(mine[0], mine[2], backend=backend)
        assert torch.equal(got, correlate_time(whole[0], whole[2], backend=backend)), name
        got = correlate_time_kernel(mine[1], mine[0], 9, backend=backend)
        assert torch.equal(got, correlate_time_kernel(whole[1], whole[0], 9, backend=backend)), name
        assert all(torch.equal(a, b) for a, b in zip(mine, whole, strict=True)), name


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", [(5, 129, 51, 51), (4, 17, 200, 9)], ids=str)
def test_a_sample_does_not_depend_on_its_batch_or_on_threads(dtype, size):
    *shape, taps = size
    x, g, kernel = sections(*shape, dtype), sections(*shape, dtype, seed=1), kernels(shape[0], taps, dtype)
    threads = torch.get_num_threads()
    found = {}
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found[count] = correlate_time(x, kernel, "cpp"), correlate_time_kernel(g, x, taps, "cpp")
    finally:
        torch.set_num_threads(threads)
    alone = [
        torch.cat([correlate_time(x[i : i + 1], kernel[i : i + 1], "cpp") for i in range(len(x))]),
        torch.cat([correlate_time_kernel(g[i : i + 1], x[i : i + 1], taps, "cpp") for i in range(len(x))]),
    ]
    for one, two, want in zip(found[1], found[2], alone, strict=True):
        assert torch.equal(one, two) and torch.equal(one, want)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_is_carried_to_its_own_sample_alone(backend):
    x, kernel = sections(2, 30, 12), kernels(2, 5)
    x[0, 0, 4, 3] = torch.nan
    out = correlate_time(x, kernel, backend=backend)
    assert out[0, 0, 2:7, 3].isnan().all() and out.isnan().sum() == 5
    found = correlate_time_kernel(sections(2, 30, 12, seed=1), x, 5, backend=backend)
    assert found[0].isnan().all() and found[1].isfinite().all()


def test_schema_fake_and_autograd():
    x, g = (sections(2, 7, 5, seed=seed).requires_grad_() for seed in (0, 1))
    for backend in ("auto", *BACKENDS):
        for sets in (1, 2):
            kernel = kernels(sets, 3).requires_grad_()
            torch.library.opcheck(torch.ops.aafast.correlate_time.default, (x, kernel, backend))
        torch.library.opcheck(torch.ops.aafast.correlate_time_kernel.default, (g, x, 3, backend))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("sets", "time", "taps"), [(1, 6, 3), (2, 6, 5), (1, 3, 9), (2, 3, 9)])
def test_gradients(backend, sets, time, taps):
    x, g = (sections(2, time, 3, seed=seed).requires_grad_() for seed in (0, 1))
    kernel = kernels(sets, taps).requires_grad_()

    def of_time(x, kernel):
        return correlate_time(x, kernel, backend=backend)

    def of_kernel(g, x):
        return correlate_time_kernel(g, x, taps, backend=backend)

    for run, inputs in ((of_time, (x, kernel)), (of_kernel, (g, x))):
        assert torch.autograd.gradcheck(run, inputs)
        assert torch.autograd.gradgradcheck(run, inputs)


def test_compiles_whole_and_once():
    counter = CompileCounterWithBackend("aot_eager")

    def plain(x, kernel):
        return correlate_time(x * 2, kernel).sin()

    run = torch.compile(plain, fullgraph=True, backend=counter)
    for seed in range(3):
        inputs = sections(2, 9, 5, seed=seed).requires_grad_(), kernels(1, 3, seed=seed + 9).requires_grad_()
        got = torch.autograd.grad(run(*inputs).sum(), inputs)
        torch.testing.assert_close(got, torch.autograd.grad(plain(*inputs).sum(), inputs))
    assert counter.frame_count == 1


def test_a_variable_that_forces_other_operations_leaves_these_their_best(monkeypatch):
    x, kernel = sections(1, 9, 5), kernels(1, 3)
    monkeypatch.setenv("AAFAST_BACKEND", "triton")
    assert torch.equal(correlate_time(x, kernel), correlate_time(x, kernel, backend="cpp"))
    with pytest.raises(BackendError, match="backend triton of correlate_time: got the operation has no such"):
        correlate_time(x, kernel, backend="triton")


def test_the_variable_forces_eager(monkeypatch):
    monkeypatch.setenv("AAFAST_BACKEND", "eager")
    x, kernel = sections(2, 60, 33, torch.float32), kernels(1, 51, torch.float32)
    assert torch.equal(correlate_time(x, kernel), correlate_time(x, kernel, backend="eager"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": [1.0]}, "x: got list; expected a torch.Tensor"),
        ({"x": torch.ones(2, 9, 4)}, r"shape of x: got \[2, 9, 4\]; expected \[B, 1, T, X\]"),
        ({"x": torch.ones(2, 3, 9, 4)}, r"shape of x: got \[2, 3, 9, 4\]; expected \[B, 1, T, X\]"),
        ({"kernel": torch.ones(3)}, r"shape of kernel: got \[3\]; expected \[1, K\] or \[2, K\]"),
        ({"kernel": torch.ones(3, 5)}, r"shape of kernel: got \[3, 5\]; expected \[1, K\] or \[2, K\]"),
        ({"kernel": torch.ones(1, 4)}, "number of taps: got 4; expected an odd number"),
        ({"kernel": torch.ones(1, 3).double()}, "dtype of kernel: got torch.float64; expected torch.float32, as x"),
        ({"kernel": torch.ones(1, 3, device="meta")}, "device of kernel: got meta"),
        ({"x": torch.ones(2, 1, 9, 4).half()}, "dtype of x: got torch.float16"),
    ],
    ids=str,
)
def test_bad_input_is_named(change, words):
    with pytest.raises(InputError, match=words):
        correlate_time(**{"x": torch.ones(2, 1, 9, 4), "kernel": torch.ones(1, 3), **change})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"g": torch.ones(2, 9, 4)}, r"shape of g: got \[2, 9, 4\]; expected \[B, 1, T, X\]"),
        ({"x": torch.ones(2, 1, 9, 5)}, r"shape of x: got \[2, 1, 9, 5\]; expected \[2, 1, 9, 4\], the shape of g"),
        ({"x": torch.ones(2, 1, 9, 4).double()}, "dtype of x: got torch.float64"),
        ({"taps": 4}, "number of taps: got 4"),
        ({"taps": -1}, "number of taps: got -1"),
    ],
    ids=str,
)
def test_bad_input_of_the_kernels_gradient_is_named(change, words):
    with pytest.raises(InputError, match=words):
        correlate_time_kernel(**{"g": torch.ones(2, 1, 9, 4), "x": torch.ones(2, 1, 9, 4), "taps": 3, **change})
