"""conv_stack on the native kernels, against plain torch in float64."""

from typing import NamedTuple

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from aafast.errors import BackendError, InputError
from aafast.ops import _arena, _native, conv_stack

DTYPES = (torch.float32, torch.float64)
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}  # relative 2-norm of a value or a gradient


class Stack(NamedTuple):
    """A stack and an image for it, but for its numbers; `normed` and `biased` say which layers are."""

    channels: tuple[int, ...]
    size: tuple[int, int]
    batch: int = 2
    normed: str = ""  # "1" per hidden layer with a GroupNorm; "" is none
    biased: str = ""  # "1" per convolution with a bias
    shared: bool = True
    groups: int = 4

    def __str__(self):
        parts = ("-".join(map(str, self.channels)), "x".join(map(str, self.size)), self.batch, self.normed, self.biased)
        return "_".join(map(str, parts)) + ("" if self.shared else "_per-sample")


STACKS = [
    Stack((1, 8, 1), (8, 8)),
    Stack((2, 16, 3), (9, 13), normed="1", biased="11", shared=False),
    Stack((8, 8, 8), (33, 17), biased="01"),
    Stack((3, 32, 5), (1, 1), normed="1", biased="10", groups=8),
    Stack((1, 64, 3), (1, 20), batch=1, normed="1", groups=1),
    Stack((4, 8, 8, 2), (20, 1), batch=3, normed="01", shared=False),
    Stack((2, 64, 64, 1), (9, 13), batch=1, normed="01", biased="111"),
    Stack((1, 16, 16, 1), (8, 300), batch=1, normed="10", biased="010", groups=2),
    Stack((7, 8, 8, 6), (33, 17), batch=3, normed="11", biased="111", shared=False, groups=1),
    Stack((6, 16, 32, 8, 4), (9, 13), normed="110", biased="1011", groups=8),
    Stack((5, 8, 16, 64, 7), (8, 8), normed="001", biased="0110", shared=False),
    Stack((2, 32, 32, 32, 32, 1), (64, 50), batch=1, normed="0111"),
    Stack((6, 16, 16, 16, 16, 3), (8, 8), batch=5, normed="0111", biased="00101", shared=False),
    Stack((2, *(16,) * 8, 1), (33, 17), normed="01111111"),
    Stack((1, *(8,) * 8, 2), (9, 13), batch=3, biased="111111111", shared=False),
]
SMALL = Stack((2, 16, 16, 3), (9, 13), batch=3, normed="11", biased="111", shared=False)


def make(case, dtype=torch.float64, seed=0):
    """image, weights, bias, norm_weight, norm_bias with numbers that keep every layer at order one."""
    g = torch.Generator().manual_seed(seed)

    def rand(*shape, scale=1.0, middle=0.0):
        return (middle + scale * torch.randn(*shape, generator=g, dtype=torch.float64)).to(dtype)

    sets, pairs = (1 if case.shared else case.batch), list(zip(case.channels, case.channels[1:], strict=False))
    normed = case.normed or "0" * (len(pairs) - 1)
    biased = case.biased or "0" * len(pairs)
    image = rand(case.batch, case.channels[0], *case.size)
    weights = [rand(sets, outputs, inputs, 3, 3, scale=(1.5 / (9 * inputs)) ** 0.5) for inputs, outputs in pairs]
    bias = [rand(sets, c[1], scale=0.3) if on == "1" else None for c, on in zip(pairs, biased, strict=True)]
    scale, shift = (
        [rand(sets, c[1], scale=0.3, middle=middle) if on == "1" else None for c, on in zip(pairs, normed)]  # noqa: B905
        for middle in (1.0, 0.0)
    )
    return image, weights, bias, scale, shift


def flat(inputs):
    image, *parts = inputs
    return [image, *(t for part in parts for t in part if t is not None)]


def names(case):
    """The names of `flat`'s tensors."""
    found = ["image"]
    for part, tensors in zip(("weight", "bias", "norm_weight", "norm_bias"), make(case)[1:], strict=True):
        found += [f"{part}{i}" for i, t in enumerate(tensors) if t is not None]
    return found


def mapped(inputs, function):
    image, *parts = inputs
    return function(image), *([None if t is None else function(t) for t in part] for part in parts)


def run(inputs, groups, **options):
    """The value and the gradients of <value, seeds> in every input."""
    leaves = mapped(inputs, lambda t: t.detach().requires_grad_())
    out = conv_stack(*leaves, groups=groups, **options)
    seeds = torch.randn(out.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64).to(out.dtype)
    return [out.detach(), *torch.autograd.grad(out, flat(leaves), seeds)]


def distance(got, want):
    """Relative 2-norm; NaN and Inf are far from everything."""
    assert got.shape == want.shape
    got, want = got.double(), want.double()
    apart = float((got - want).norm() / want.norm().clamp_min(1e-300))
    return apart if apart == apart else float("inf")


@pytest.fixture
def native():
    """The native module, its instruction set put back afterwards."""
    module, _ = _native.load()
    before = module.selected_isa()
    yield module
    module.select_isa(before)


@pytest.fixture
def threads():
    """Set the number of threads, put back afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("case", STACKS, ids=str)
@pytest.mark.usefixtures("poisoned")
def test_value_and_gradients_match_plain_torch(case):
    for dtype in DTYPES:
        inputs = make(case, dtype)
        want = run(mapped(inputs, torch.Tensor.double), case.groups, backend="eager")
        for strict in (False, True):
            got = run(inputs, case.groups, strict=strict, backend="cpp")
            for name, mine, true in zip(["value", *names(case)], got, want, strict=True):
                assert mine.dtype == dtype and mine.is_contiguous()
                if true.norm() <= 1e-12 * want[0].norm():  # a bias in front of a GroupNorm of single channels
                    assert mine.abs().max() <= TOLERANCE[dtype] * want[0].norm(), name
                    continue
                error = distance(mine, true)
                assert error <= TOLERANCE[dtype], f"{name}, strict {strict}, {dtype}: error {error:.2e}"


def test_value_alone_is_the_value_with_gradients():
    for dtype in DTYPES:
        inputs = make(SMALL, dtype)
        assert torch.equal(conv_stack(*inputs, groups=4, backend="cpp"), run(inputs, 4, backend="cpp")[0])


def test_every_instruction_set(native):
    case = Stack((2, 32, 16, 3), (33, 17), normed="11", biased="111", shared=False)
    want = run(make(case), case.groups, backend="eager")
    for isa in native.isa_names():
        assert native.select_isa(isa) and native.selected_isa() == isa
        for dtype in DTYPES:
            for strict in (False, True):
                got = run(make(case, dtype), case.groups, strict=strict, backend="cpp")
                for name, mine, true in zip(["value", *names(case)], got, want, strict=True):
                    error = distance(mine, true)
                    assert error <= TOLERANCE[dtype], f"{name}, {isa}, {dtype}, strict {strict}: error {error:.2e}"
    assert not native.select_isa("neon2")


def test_the_sets_are_different_programs(native):
    inputs, found = make(SMALL, torch.float32), {}
    for isa in native.isa_names():
        native.select_isa(isa)
        found[isa] = conv_stack(*inputs, groups=4, backend="cpp")
    values = list(found.values())
    if len(values) > 1 and "avx2" in found:
        assert not torch.equal(found["avx2"], found["portable"])


def test_strict_rounds_less():
    case = Stack((2, *(64,) * 6, 1), (32, 24), normed="011111")
    inputs = make(case, torch.float32)
    want = conv_stack(*mapped(inputs, torch.Tensor.double), groups=4, backend="eager")
    fast, strict = (distance(conv_stack(*inputs, groups=4, strict=s, backend="cpp"), want) for s in (False, True))
    assert strict < 0.8 * fast and fast <= 1e-5


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shared", [True, False])
def test_bits_do_not_depend_on_batch_or_threads(dtype, shared, threads):
    case = Stack((2, 16, 16, 3), (37, 51), batch=3, normed="11", biased="111", shared=shared)
    inputs, found = make(case, dtype), {}
    for count in (1, 2):
        threads(count)
        found[count] = run(inputs, case.groups, backend="cpp")
    assert all(torch.equal(one, two) for one, two in zip(found[1], found[2], strict=True))
    for i in range(case.batch):
        own = mapped(inputs, lambda t, i=i: t if len(t) == 1 else t[i : i + 1])
        leaves = mapped(own, lambda t: t.detach().requires_grad_())
        out = conv_stack(*leaves, groups=case.groups, backend="cpp")
        assert torch.equal(out, found[1][0][i : i + 1])
        seeds = torch.randn(found[1][0].shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
        alone = torch.autograd.grad(out, flat(leaves), seeds[i : i + 1].to(dtype))
        for got, want in zip(alone, found[1][1:], strict=True):
            assert len(want) == 1 or torch.equal(got, want[i : i + 1])


def test_any_strides_and_inputs_stay_as_they_are():
    inputs = make(SMALL)
    want = run(inputs, 4, backend="cpp")
    views = {
        "sliced": lambda t: t.repeat_interleave(2, -1)[..., ::2],
        "last axis first": lambda t: t.movedim(-1, 0).contiguous().movedim(0, -1),
        "reversed sets": lambda t: t.flip(0).contiguous().flip(0),
        "shifted": lambda t: torch.cat([t.flatten()[:1], t.flatten()])[1:].view(t.shape),
    }
    for name, view in views.items():
        strided = mapped(inputs, view)
        got = run(strided, 4, backend="cpp")
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True)), name
        assert all(torch.equal(a, b) for a, b in zip(flat(strided), flat(inputs), strict=True)), name
    leaves = mapped(inputs, lambda t: t.detach().requires_grad_())
    out = conv_stack(*leaves, groups=4, backend="cpp")
    # An expanded seed has no memory of its own for most of its values.
    got = torch.autograd.grad(out.sum(), flat(leaves))
    eager = mapped(inputs, lambda t: t.detach().requires_grad_())
    true = torch.autograd.grad(conv_stack(*eager, groups=4, backend="eager").sum(), flat(eager))
    for name, mine, theirs in zip(names(SMALL), got, true, strict=True):
        assert distance(mine, theirs) <= 1e-11, name


def test_gradients_are_found_for_any_part_of_the_inputs():
    inputs = make(SMALL)
    full = dict(zip(names(SMALL), run(inputs, 4, backend="cpp")[1:], strict=True))
    seeds = torch.randn(3, 3, 9, 13, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    for wanted in ("image", "weight1", "bias2", "norm_weight0", "norm_bias1"):
        leaves = mapped(inputs, torch.Tensor.detach)
        leaf = flat(leaves)[names(SMALL).index(wanted)].requires_grad_()
        out = conv_stack(*leaves, groups=4, backend="cpp")
        assert torch.equal(torch.autograd.grad(out, leaf, seeds)[0], full[wanted]), wanted
        assert all(t.grad is None for t in flat(leaves))


def test_schema_fake_and_autograd():
    operation = torch.ops.aafast.conv_stack.default
    # 64 channels leave no gaps, which hold anything, in the activations that the operation returns.
    for case in (SMALL._replace(channels=(2, 64, 64, 3)), Stack((1, 64, 1), (8, 9), biased="10")):
        image, weights, *parts = mapped(make(case), lambda t: t.requires_grad_())
        given = [t for part in parts for t in part if t is not None]
        there = [t is not None for part in parts for t in part]
        torch.library.opcheck(operation, (image, weights, given, there, 4, "fast", True))
        with torch.no_grad():
            arguments = (image.detach(), weights, given, there, 4, "strict", False)
            torch.library.opcheck(operation, arguments, test_utils=("test_schema", "test_faketensor"))


def test_gradcheck():
    case = Stack((2, 4, 4, 1), (5, 6), batch=2, normed="01", biased="101", shared=False, groups=2)
    inputs = make(case)
    there = [t is not None for part in inputs[1:] for t in part]

    def call(*tensors):
        rest = iter(tensors[1:])
        parts = [next(rest) if on else None for on in there]
        return conv_stack(
            tensors[0], parts[:3], parts[3:6], parts[6:8], parts[8:], groups=2, strict=True, backend="cpp"
        )

    leaves = [t.requires_grad_() for t in flat(inputs)]
    torch.autograd.gradcheck(call, leaves, fast_mode=True)


def test_differentiable_once_on_cpp_and_twice_on_eager():
    inputs = mapped(make(SMALL), lambda t: t.requires_grad_())
    for backend in ("cpp", "eager"):
        out = conv_stack(*inputs, groups=4, backend=backend)
        (first,) = torch.autograd.grad(out.square().sum(), inputs[0], create_graph=True)
        if backend == "eager":
            assert torch.autograd.grad(first.square().sum(), inputs[0])[0].any()
        else:
            with pytest.raises(RuntimeError):
                torch.autograd.grad(first.square().sum(), inputs[0])


def test_compiles_whole_and_once():
    counter = CompileCounterWithBackend("aot_eager")

    def plain(image, weights, bias, scale, shift):
        return conv_stack(image * 2, weights, bias, scale, shift, groups=4, backend="cpp").sin()

    compiled = torch.compile(plain, fullgraph=True, backend=counter)
    for seed, size in enumerate([(9, 13), (9, 13), (12, 10), (30, 8)]):
        inputs = mapped(make(SMALL._replace(size=size), seed=seed), lambda t: t.requires_grad_())
        got = torch.autograd.grad(compiled(*inputs).sum(), flat(inputs))
        torch.testing.assert_close(got, torch.autograd.grad(plain(*inputs).sum(), flat(inputs)))
        assert counter.frame_count == (1 if seed < 2 else 2)  # once more for all other sizes


@pytest.mark.parametrize("shared", [True, False])
def test_nan_stays_in_its_sample(shared):
    case = SMALL._replace(shared=shared)
    inputs = make(case, torch.float32)
    want = run(inputs, 4, backend="cpp")
    inputs[0][1, 0, 4, 5] = torch.nan
    got = run(inputs, 4, backend="cpp")
    assert got[0][1].isnan().all()  # GroupNorm spreads it over the image
    for mine, clean in zip(got, want, strict=True):
        if len(clean) > 1:
            assert torch.equal(mine[[0, 2]], clean[[0, 2]])


def test_nan_without_norms_stays_in_its_neighbourhood():
    case = Stack((1, 16, 16, 16, 1), (40, 44), batch=1)
    inputs = make(case, torch.float32)
    want = conv_stack(*inputs, backend="cpp")
    inputs[0][0, 0, 20, 21] = torch.nan
    got = conv_stack(*inputs, backend="cpp")
    # four convolutions reach four pixels; a tile of 4 x 4 may be lost whole for each of the two inner ones
    far = torch.ones_like(got, dtype=torch.bool)
    far[..., 4:37, 5:38] = False
    assert got[..., 16:25, 17:26].isnan().all() and torch.equal(got[far], want[far])


def spoil_arena():
    """Fill all that this thread keeps with NaN; returns the number of buffers."""
    buffers = list(_arena._mine.buffers.values())
    for buffer in buffers:
        buffer.fill_(torch.nan)
    return len(buffers)


def test_nothing_is_read_from_memory_of_earlier_calls():
    for case in (SMALL, Stack((1, 16, 16, 1), (33, 17), normed="10")):
        for dtype in DTYPES:
            inputs = make(case, dtype)
            want = run(inputs, 4, backend="cpp")
            run(make(SMALL._replace(size=(40, 40)), dtype, seed=1), 4, backend="cpp")  # leaves larger buffers
            assert spoil_arena() >= 2
            got = run(inputs, 4, backend="cpp")
            assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_results_do_not_share_memory_with_later_calls():
    first, second = make(SMALL), make(SMALL, seed=1)
    kept = run(first, 4, backend="cpp")
    copies = [t.clone() for t in kept]
    run(second, 4, backend="cpp")
    spoil_arena()
    assert all(torch.equal(a, b) for a, b in zip(kept, copies, strict=True))


def test_interleaved_calls_keep_their_own_activations():
    first, second = make(SMALL), make(SMALL, seed=1)
    want = run(first, 4, backend="cpp")
    leaves = mapped(first, lambda t: t.detach().requires_grad_())
    out = conv_stack(*leaves, groups=4, backend="cpp")
    run(second, 4, backend="cpp")
    seeds = torch.randn(out.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    got = torch.autograd.grad(out, flat(leaves), seeds)
    assert all(torch.equal(a, b) for a, b in zip(got, want[1:], strict=True))


def test_empty_batches():
    for shared in (True, False):
        inputs = make(SMALL._replace(batch=0, shared=shared))
        out, *gradients = run(inputs, 4, backend="cpp")
        assert out.shape == (0, 3, 9, 13)
        for gradient, tensor in zip(gradients, flat(inputs), strict=True):
            assert gradient.shape == tensor.shape and not gradient.any()


def test_a_megapixel():
    case = Stack((1, 8, 8, 1), (1024, 1024), batch=1, normed="01")
    inputs = make(case, torch.float32)
    got = conv_stack(*inputs, groups=4, backend="cpp")
    want = conv_stack(*mapped(inputs, torch.Tensor.double), groups=4, backend="eager")
    assert distance(got, want) <= 1e-5


BAD = {
    "image axes": ({"image": torch.ones(2, 9, 13).double()}, r"shape of image: got \[2, 9, 13\]; expected \[B, C"),
    "image list": ({"image": [1.0]}, "image: got list"),
    "image type": ({"image": torch.ones(3, 2, 9, 13)}, "dtype of weights"),
    "image channels": ({"image": torch.ones(3, 3, 9, 13).double()}, r"shape of weights\[0\]"),
    "sets": ({"image": torch.ones(2, 2, 9, 13).double()}, r"shape of weights\[0\].*\[1 or 2, outputs"),
    "one layer": ({"weights": 1}, "layers of a stack"),
    "biases": ({"bias": [None]}, "layers of a stack"),
    "norms": ({"norm_weight": [None] * 3}, "layers of a stack"),
    "norm in part": ({"norm_bias": [None, None]}, "GroupNorm 0: got weight or bias alone"),
    "groups": ({"groups": 3}, "groups: got 3; expected a divisor of 16"),
    "bias shape": ({"bias": [torch.ones(3, 15).double(), None, None]}, r"shape of bias\[0\]"),
    "bias sets": ({"bias": [torch.ones(1, 16).double(), None, None]}, r"shape of bias\[0\]"),
    "norm shape": ({"norm_weight": [torch.ones(3, 8).double()] * 2}, r"shape of norm_weight\[0\]"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("backend", ["auto", "eager", "cpp"])
def test_bad_input_is_named(case, backend):
    change, words = BAD[case]
    image, weights, bias, scale, shift = make(SMALL)
    call = {"image": image, "weights": weights, "bias": bias, "norm_weight": scale, "norm_bias": shift, "groups": 4}
    if change.get("weights") == 1:
        change = {"weights": weights[:1], "bias": bias[:1], "norm_weight": [], "norm_bias": []}
    with pytest.raises(InputError, match=words):
        conv_stack(**{**call, **change}, backend=backend)


@pytest.mark.parametrize("size", [(2, 2), (3, 1), (5, 5), (1, 3)])
def test_kernels_of_another_size_are_refused(size):
    image, weights, *rest = make(SMALL)
    weights[1] = torch.ones(3, 16, 16, *size, dtype=torch.float64)
    with pytest.raises(InputError, match=r"shape of weights\[1\]"):
        conv_stack(image, weights, *rest, groups=4)


@pytest.mark.parametrize("channels", [(1, 6, 1), (9, 8, 1), (1, 8, 9), (2, 8, 10, 3)])
def test_channels_that_fit_no_vector(channels):
    case = Stack(channels, (9, 13))
    inputs = make(case, torch.float32)
    with pytest.raises(BackendError, match="backend cpp of conv_stack.*Use backend='auto'"):
        conv_stack(*inputs, backend="cpp")
    auto = run(inputs, 1)
    eager = run(inputs, 1, backend="eager")
    assert all(torch.equal(a, b) for a, b in zip(auto, eager, strict=True))


def test_which_backend_auto_takes(monkeypatch):
    inputs = make(SMALL, torch.float32)
    cpp, eager = (conv_stack(*inputs, groups=4, backend=name) for name in ("cpp", "eager"))
    assert not torch.equal(cpp, eager) and torch.equal(conv_stack(*inputs, groups=4), cpp)
    monkeypatch.setenv("AAFAST_BACKEND", "eager")
    assert torch.equal(conv_stack(*inputs, groups=4), eager)
    for name, words in (("cuda", "no such implementation"), ("numpy", "expected auto")):
        with pytest.raises(BackendError, match=words):
            conv_stack(*inputs, groups=4, backend=name)
