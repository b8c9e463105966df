"""anderson_mix on every path that runs without a GPU, against the oracle."""

import pytest
import torch
from op_cases import MIXES, TOLERANCE, Mix, check_mix, mix_inputs, relative_error
from torch._dynamo.testing import CompileCounterWithBackend

from aafast.errors import InputError
from aafast.ops import anderson_mix

BACKENDS = ("eager", "cpp")
DTYPES = (torch.float32, torch.float64)


def on(backend):
    return lambda *args: anderson_mix(*args, backend=backend)


@pytest.mark.parametrize("case", MIXES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.usefixtures("poisoned")
def test_matches_the_oracle(backend, dtype, case):
    check_mix(on(backend), case, mix_inputs(case, dtype), TOLERANCE["anderson_mix", dtype])


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_strides_and_inputs_stay_as_they_are(backend):
    case = Mix(3, 5, 40, 2, 4, 1e-3, 0.8, True)
    X, F, gram = mix_inputs(case, torch.float64)
    strided = (torch.stack([X, F], 3)[..., 0], F.mT.contiguous().mT, gram.repeat_interleave(2, 2)[..., ::2])
    copies = [tensor.clone() for tensor in strided]
    got = anderson_mix(*strided, *case.numbers, backend=backend)
    for mine, want in zip(got, anderson_mix(X, F, gram, *case.numbers, backend=backend), strict=True):
        assert torch.equal(mine.nan_to_num(), want.nan_to_num()) and mine.is_contiguous()
    for tensor, copy in zip(strided, copies, strict=True):
        assert torch.equal(tensor.nan_to_num(), copy.nan_to_num())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("length", [1, 77, 40001])
def test_a_sample_does_not_depend_on_its_batch_or_on_threads(dtype, length):
    case = Mix(5, 5, length, 1, 5, 1e-3, 0.7, True)
    inputs = mix_inputs(case, dtype)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = [on("cpp")(*(tensor[i : i + 1] for tensor in inputs), *case.numbers) for i in range(5)]
        torch.set_num_threads(3)
        together = on("cpp")(*inputs, *case.numbers)
    finally:
        torch.set_num_threads(threads)
    for k in range(4):
        assert torch.equal(together[k], torch.cat([outputs[k] for outputs in alone]))


def test_a_ruined_sample_does_not_touch_its_neighbours():
    case = Mix(3, 4, 100, 1, 4, 1e-3, 1.0, True)
    inputs = mix_inputs(case, torch.float32)
    clean = on("cpp")(*inputs, *case.numbers)
    inputs[1][1, 2, 5] = torch.nan
    inputs[2][1, 2] = inputs[2][1, :, 2] = torch.nan
    for backend in BACKENDS:
        ruined = on(backend)(*inputs, *case.numbers)
        assert ruined[0][1].isnan().all() and ruined[2][1].isnan().all()
        for mine, want in zip(ruined, clean, strict=True):
            assert relative_error(mine[::2], want[::2]) <= TOLERANCE["anderson_mix", torch.float32]


def test_a_ring_kept_up_row_by_row_gives_the_whole_gram_matrix():
    generator = torch.Generator().manual_seed(1)
    X, F = torch.full((2, 2, 4, 60), torch.nan, dtype=torch.float64)
    gram = torch.full((2, 4, 4), torch.nan, dtype=torch.float64)
    for k in range(7):
        slot, count = k % 4, min(k + 1, 4)
        X[:, slot] = torch.randn(2, 60, dtype=torch.float64, generator=generator)
        F[:, slot] = torch.randn(2, 60, dtype=torch.float64, generator=generator)
        gram = anderson_mix(X, F, gram, slot, count, 1e-3, 1.0, True)[1]
        G = (F - X)[:, :count]
        torch.testing.assert_close(gram[:, :count, :count], G @ G.mT)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_singular_system_picks_the_newest_row(backend):
    X = torch.randn(2, 3, 10)
    x, _, alpha, norms = anderson_mix(X, X, torch.zeros(2, 3, 3), 1, 3, 0.0, 1.0, False, backend=backend)
    assert torch.equal(alpha, torch.tensor([[0.0, 1.0, 0.0]]).expand(2, 3))
    assert torch.equal(x, X[:, 1]) and not norms[:, 0].any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_small_residuals_need_pivots(backend):
    # The border is 1 and the Gram matrix 1e-16: without row exchanges this divides by what is almost 0.
    case = Mix(2, 5, 500, 3, 5, 1e-3, 1.0, True)
    X, F, _ = mix_inputs(case, torch.float64)
    F = X + 1e-8 * (F - X)
    inputs = (X, F, (F - X) @ (F - X).mT)
    check_mix(on(backend), case, inputs, 1e-10)


def test_schema_fake_and_autograd():
    case = Mix(2, 4, 6, 1, 3, 1e-2, 0.6, True)
    X, F, gram = (tensor.nan_to_num().requires_grad_() for tensor in mix_inputs(case, torch.float64))
    for backend in ("auto", *BACKENDS):
        torch.library.opcheck(torch.ops.aafast.anderson_mix.default, (X, F, gram, *case.numbers, backend))


GRADIENTS = [
    Mix(2, 3, 6, 1, 3, 0.3, 1.0, True),
    Mix(2, 4, 6, 2, 3, 0.5, 0.6, False),
    Mix(1, 2, 3, 0, 1, 0.1, 0.8, True),
]


@pytest.mark.parametrize("case", GRADIENTS, ids=str)
def test_gradient(case):
    X, F, _ = (t.nan_to_num() for t in mix_inputs(case, torch.float64))
    gram = (F - X) @ (F - X).mT
    inputs = [tensor.requires_grad_() for tensor in (X, F, gram.detach())]

    def run(X, F, gram):
        return anderson_mix(X, F, gram, *case.numbers)

    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs, atol=1e-4)


def test_gradient_through_a_run_is_that_of_the_oracle():
    """The gradient that reaches old rows through the returned gram equals differentiating every product."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(2, 4, 2, 9, dtype=torch.float64, generator=generator, requires_grad=True)

    def mix(X, F):
        gram = torch.zeros(2, 4, 4, dtype=torch.float64)
        for k in range(4):
            x, gram, _, _ = anderson_mix(X, F, gram, k, k + 1, 0.1, 0.7, True)
        return x

    def plain(X, F):
        G = F - X
        H = G @ G.mT
        H = H + 0.1 * H.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(4, dtype=torch.float64)
        alpha = torch.linalg.solve(H, torch.ones(2, 4, dtype=torch.float64))
        alpha = alpha / alpha.sum(1, keepdim=True)
        return (alpha[:, None] @ (0.7 * F + 0.3 * X))[:, 0]

    got, want = (f(rows[:, :, 0], rows[:, :, 1]) for f in (mix, plain))
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(*(torch.autograd.grad(x.square().sum(), rows)[0] for x in (got, want)))


def test_compiles_whole_and_once():
    counter = CompileCounterWithBackend("aot_eager")
    case = Mix(2, 4, 9, 1, 3, 1e-2, 0.6, True)

    def plain(X, F, gram):
        return anderson_mix(X, F, gram, *case.numbers)[0].sin()

    run = torch.compile(plain, fullgraph=True, backend=counter)
    for seed in range(3):
        inputs = [t.nan_to_num().requires_grad_() for t in mix_inputs(case, torch.float64, seed)]
        got = torch.autograd.grad(run(*inputs).sum(), inputs)
        torch.testing.assert_close(got, torch.autograd.grad(plain(*inputs).sum(), inputs))
    assert counter.frame_count == 1


def test_compiles_with_a_moving_ring():
    """Ring positions become symbols after the first change, so that a loop does not compile once per turn."""
    counter = CompileCounterWithBackend("aot_eager")
    run = torch.compile(anderson_mix, fullgraph=True, backend=counter)
    for newest, count in ((1, 2), (2, 3), (3, 4), (2, 4)):
        case = Mix(2, 5, 9, newest, count, 1e-2, 1.0, True)
        inputs = mix_inputs(case, torch.float64)
        check_mix(run, case, inputs, TOLERANCE["anderson_mix", torch.float64])
    assert counter.frame_count <= 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"X": "rows"}, "X: got str; expected a torch.Tensor"),
        ({"X": torch.ones(2, 3)}, r"shape of X: got \[2, 3\]; expected \[B, m, N\]"),
        ({"X": torch.ones(2, 17, 4)}, "rows m of X: got 17; expected 1 to 16"),
        ({"F": torch.ones(2, 3, 5)}, r"shape of F: got \[2, 3, 5\]; expected \[2, 3, 4\], the shape of X"),
        ({"gram": torch.ones(2, 3, 4)}, r"shape of gram: got \[2, 3, 4\]; expected \[2, 3, 3\]"),
        ({"F": torch.ones(2, 3, 4).double()}, "dtype of F: got torch.float64; expected torch.float32, as X"),
        ({"gram": torch.ones(2, 3, 3, device="meta")}, "device of gram: got meta"),
        ({"count": 4}, "count: got 4; expected 1 to m = 3"),
        ({"count": 0}, "count: got 0"),
        ({"newest": 2}, "newest: got 2; expected 0 to count - 1 = 1"),
        ({"newest": -1}, "newest: got -1"),
        ({"ridge": -1e-3}, "ridge: got -0.001"),
        ({"beta": float("nan")}, "beta: got nan"),
    ],
    ids=str,
)
def test_bad_input_is_named(change, words):
    call = {"X": torch.ones(2, 3, 4), "F": torch.ones(2, 3, 4), "gram": torch.ones(2, 3, 3), "newest": 0}
    call |= {"count": 2, "ridge": 1e-3, "beta": 1.0, "relative": True}
    with pytest.raises(InputError, match=words):
        anderson_mix(**{**call, **change})
