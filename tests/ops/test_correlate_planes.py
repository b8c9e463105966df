"""correlate_planes and correlate_separable on every path that runs without a GPU, against a dense matrix."""

import pytest
import torch
from op_cases import relative_error
from torch._dynamo.testing import CompileCounterWithBackend

from aafast.errors import BackendError, InputError
from aafast.ops import correlate_planes, correlate_separable

BACKENDS = ("eager", "cpp")
DTYPES = (torch.float32, torch.float64)
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-14}
# batch, channels, height, width, K; the kernel may be larger than the image
SIZES = [
    (1, 1, 1, 1, 1),
    (2, 3, 8, 8, 3),
    (1, 3, 9, 13, 5),
    (2, 1, 33, 17, 7),
    (1, 2, 20, 70, 5),
    (1, 1, 40, 40, 9),
    (2, 2, 3, 4, 9),
    (1, 2, 1, 25, 5),
    (1, 2, 25, 1, 5),
    (0, 3, 5, 4, 3),
    (2, 0, 5, 4, 3),
    (2, 3, 0, 4, 3),
    (2, 3, 4, 0, 3),
]
SHARING = [(False, False), (True, False), (False, True), (True, True)]


def rand(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def sets_of(size, sharing):
    return tuple(1 if shared else count for count, shared in zip(size[:2], sharing, strict=True))


def by_matrix(x, kernel):
    """Each plane as a vector, times the dense matrix of its kernel."""
    batch, channels, height, width = x.shape
    half, kernel = kernel.shape[-1] // 2, kernel.double().expand(batch, channels, *kernel.shape[2:])
    matrix = torch.zeros(batch, channels, height, width, height, width, dtype=torch.float64)
    for tap in range(kernel[0, 0].numel() if x.numel() else 0):
        down, right = tap // (2 * half + 1) - half, tap % (2 * half + 1) - half
        i = torch.tensor([i for i in range(height) if 0 <= i + down < height], dtype=torch.int64)[:, None]
        j = torch.tensor([j for j in range(width) if 0 <= j + right < width], dtype=torch.int64)
        matrix[:, :, i, j, i + down, j + right] = kernel[:, :, down + half, right + half, None, None]
    return torch.einsum("bcijkl,bckl->bcij", matrix, x.double())


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.usefixtures("poisoned")
def test_planes_match_the_dense_matrix(dtype, size):
    *shape, K = size
    x = rand(*shape, dtype=dtype)
    for sharing in SHARING:
        kernel = rand(*sets_of(size, sharing), K, K, dtype=dtype, seed=9)
        want = by_matrix(x, kernel)
        for backend in BACKENDS:
            got = correlate_planes(x, kernel, backend=backend)
            assert got.dtype == dtype and got.is_contiguous()
            error = relative_error(got, want)
            assert error <= TOLERANCE[dtype], f"{backend}, {sharing}: error {error:.2e}"


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.usefixtures("poisoned")
def test_separable_matches_the_dense_matrix(dtype, size):
    *shape, K = size
    x = rand(*shape, dtype=dtype)
    for sharing in SHARING:
        column, row = (rand(*sets_of(size, sharing), K, dtype=dtype, seed=seed) for seed in (8, 9))
        want = by_matrix(x, column.double()[..., None] * row.double()[:, :, None])
        for backend in BACKENDS:
            got = correlate_separable(x, column, row, backend=backend)
            assert got.dtype == dtype and got.is_contiguous()
            error = relative_error(got, want)
            assert error <= TOLERANCE[dtype], f"{backend}, {sharing}: error {error:.2e}"


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_strides_and_inputs_stay_as_they_are(backend):
    x, kernel, column, row = rand(2, 3, 9, 12), rand(2, 3, 5, 5), rand(2, 3, 5), rand(2, 3, 5, seed=1)
    views = {
        "transposed": lambda t: t.mT.contiguous().mT,
        "sliced": lambda t: t.repeat_interleave(2, -1)[..., ::2],
        "channels last": lambda t: t.movedim(1, -1).contiguous().movedim(-1, 1),
        "expanded": lambda t: t[:1, :1].expand(t.shape),
    }
    for name, view in views.items():
        mine = [view(tensor) for tensor in (x, kernel, column, row)]
        whole = [tensor.contiguous() for tensor in mine]
        got = correlate_planes(*mine[:2], backend=backend)
        assert torch.equal(got, correlate_planes(*whole[:2], backend=backend)), name
        got = correlate_separable(mine[0], *mine[2:], backend=backend)
        assert torch.equal(got, correlate_separable(whole[0], *whole[2:], backend=backend)), name
        assert all(torch.equal(a, b) for a, b in zip(mine, whole, strict=True)), name


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_sample_does_not_depend_on_its_batch_or_on_threads(dtype):
    x, kernel = rand(5, 3, 37, 51, dtype=dtype), rand(5, 3, 7, 7, dtype=dtype)
    column, row = rand(5, 1, 7, dtype=dtype), rand(5, 1, 7, dtype=dtype, seed=1)
    threads = torch.get_num_threads()
    found = {}
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found[count] = correlate_planes(x, kernel, "cpp"), correlate_separable(x, column, row, "cpp")
    finally:
        torch.set_num_threads(threads)
    ones = [slice(i, i + 1) for i in range(5)]
    alone = [
        torch.cat([correlate_planes(x[i], kernel[i], "cpp") for i in ones]),
        torch.cat([correlate_separable(x[i], column[i], row[i], "cpp") for i in ones]),
    ]
    for one, two, want in zip(found[1], found[2], alone, strict=True):
        assert torch.equal(one, two) and torch.equal(one, want)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_reaches_the_kernels_square_of_its_own_plane_alone(backend):
    x = rand(2, 2, 12, 11)
    x[1, 0, 4, 0] = torch.nan
    for out in (
        correlate_planes(x, rand(1, 1, 3, 3), backend=backend),
        correlate_separable(x, rand(1, 1, 3), rand(1, 1, 3, seed=1), backend=backend),
    ):
        assert out[1, 0, 3:6, :2].isnan().all() and out.isnan().sum() == 6


def test_schema_fake_and_autograd():
    x = rand(2, 2, 5, 4).requires_grad_()
    planes, separable = torch.ops.aafast.correlate_planes, torch.ops.aafast.correlate_separable
    kernel = rand(1, 2, 3, 3).requires_grad_()
    column, row = (rand(2, 1, 3, seed=seed).requires_grad_() for seed in (0, 1))
    for backend in ("auto", *BACKENDS):
        torch.library.opcheck(planes.default, (x, kernel, backend))
        torch.library.opcheck(separable.default, (x, column, row, backend))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("sets", "size"), [((1, 1), 3), ((2, 1), 5), ((1, 2), 3), ((2, 2), 7)])
def test_gradients(backend, sets, size):
    x = rand(2, 2, 3, 4).requires_grad_()
    kernel = rand(*sets, size, size, seed=1).requires_grad_()
    column, row = (rand(*sets, size, seed=seed).requires_grad_() for seed in (2, 3))

    def planes(x, kernel):
        return correlate_planes(x, kernel, backend=backend)

    def separable(x, column, row):
        return correlate_separable(x, column, row, backend=backend)

    for run, inputs in ((planes, (x, kernel)), (separable, (x, column, row))):
        assert torch.autograd.gradcheck(run, inputs)
        assert torch.autograd.gradgradcheck(run, inputs, fast_mode=True)


def test_gradients_where_there_is_no_image():
    x, kernel = rand(2, 3, 0, 4).requires_grad_(), rand(1, 1, 3, 3).requires_grad_()
    correlate_planes(x, kernel).sum().backward()
    assert x.grad.shape == x.shape and torch.equal(kernel.grad, torch.zeros(1, 1, 3, 3, dtype=torch.float64))


def test_compiles_whole_and_once():
    counter = CompileCounterWithBackend("aot_eager")

    def plain(x, kernel, column, row):
        return correlate_separable(correlate_planes(x * 2, kernel), column, row).sin()

    run = torch.compile(plain, fullgraph=True, backend=counter)
    for seed in range(3):
        shapes = (2, 2, 9, 5), (1, 1, 3, 3), (2, 1, 5), (2, 1, 5)
        inputs = [rand(*shape, seed=seed + i).requires_grad_() for i, shape in enumerate(shapes)]
        got = torch.autograd.grad(run(*inputs).sum(), inputs)
        torch.testing.assert_close(got, torch.autograd.grad(plain(*inputs).sum(), inputs))
    assert counter.frame_count == 1


def test_a_variable_that_forces_other_operations_leaves_these_their_best(monkeypatch):
    x, kernel = rand(1, 1, 9, 8), rand(1, 1, 3, 3)
    monkeypatch.setenv("AAFAST_BACKEND", "triton")
    assert torch.equal(correlate_planes(x, kernel), correlate_planes(x, kernel, backend="cpp"))
    with pytest.raises(BackendError, match="backend triton of correlate_planes: got the operation has no such"):
        correlate_planes(x, kernel, backend="triton")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": [1.0]}, "x: got list; expected a torch.Tensor"),
        ({"x": torch.ones(3, 9, 8)}, r"shape of x: got \[3, 9, 8\]; expected \[B, C, H, W\]"),
        ({"kernel": torch.ones(3, 3)}, r"shape of kernel: got \[3, 3\]; expected \[1 or 2, 1 or 3, K, K\] with K odd"),
        ({"kernel": torch.ones(3, 1, 3, 3)}, r"shape of kernel: got \[3, 1, 3, 3\]"),
        ({"kernel": torch.ones(1, 2, 3, 3)}, r"shape of kernel: got \[1, 2, 3, 3\]"),
        ({"kernel": torch.ones(1, 1, 3, 5)}, r"shape of kernel: got \[1, 1, 3, 5\]"),
        ({"kernel": torch.ones(1, 1, 4, 4)}, r"shape of kernel: got \[1, 1, 4, 4\]"),
        ({"kernel": torch.ones(1, 1, 3, 3).double()}, "dtype of kernel: got torch.float64"),
        ({"kernel": torch.ones(1, 1, 3, 3, device="meta")}, "device of kernel: got meta"),
    ],
    ids=str,
)
def test_bad_input_is_named(change, words):
    with pytest.raises(InputError, match=words):
        correlate_planes(**{"x": torch.ones(2, 3, 9, 8), "kernel": torch.ones(1, 1, 3, 3), **change})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"column": torch.ones(3)}, r"shape of column: got \[3\]; expected \[1 or 2, 1 or 3, K\] with K odd"),
        ({"column": torch.ones(1, 1, 4)}, r"shape of column: got \[1, 1, 4\]"),
        ({"row": torch.ones(2, 1, 3)}, r"shape of row: got \[2, 1, 3\]; expected \[1, 1, 3\], the shape of column"),
        ({"row": torch.ones(1, 1, 3).double()}, "dtype of row: got torch.float64"),
    ],
    ids=str,
)
def test_bad_factors_are_named(change, words):
    call = {"x": torch.ones(2, 3, 9, 8), "column": torch.ones(1, 1, 3), "row": torch.ones(1, 1, 3)}
    with pytest.raises(InputError, match=words):
        correlate_separable(**{**call, **change})
