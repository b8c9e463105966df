"""z_step on every path that runs without a GPU, against the oracle."""

import pytest
import torch
from op_cases import TOLERANCE, Z_NUMBERS, Z_SHAPES, check_z, z_inputs
from torch._dynamo.testing import CompileCounterWithBackend

from aafast.errors import InputError
from aafast.ops import z_step

BACKENDS = ("eager", "cpp")
DTYPES = (torch.float32, torch.float64)


@pytest.mark.parametrize("shape", Z_SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.usefixtures("poisoned")
def test_matches_the_oracle(backend, dtype, shape):
    def run(*args):
        return z_step(*args, backend=backend)

    check_z(run, *z_inputs(shape, dtype), TOLERANCE["z_step", dtype])


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_strides(backend):
    z, g = z_inputs((4, 6, 5, 8), torch.float64)
    views = {
        "sliced": lambda t: t[::2, 1:, :, ::3],
        "transposed": lambda t: t.transpose(1, 3),
        "channels last": lambda t: t.to(memory_format=torch.channels_last),
        "expanded": lambda t: t[:1, :1].expand(4, 6, 5, 8),
    }
    for name, view in views.items():
        want = z_step(view(z).contiguous(), view(g).contiguous(), *Z_NUMBERS, backend=backend)
        for mine in (view(z), view(z).contiguous()):
            got = z_step(mine, view(g), *Z_NUMBERS, backend=backend)
            assert torch.equal(got, want), name
            assert got.stride() == torch.empty_like(mine).stride(), name


@pytest.mark.parametrize("backend", BACKENDS)
def test_inputs_stay_as_they_are(backend):
    z, g = z_inputs((3, 50), torch.float32)
    copies = z.clone(), g.clone()
    z_step(z, g, *Z_NUMBERS, backend=backend)
    assert torch.equal(z, copies[0]) and torch.equal(g, copies[1])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_sample_does_not_depend_on_its_batch_or_on_threads(dtype):
    z, g = z_inputs((5, 20011), dtype)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = torch.cat([z_step(z[i : i + 1], g[i : i + 1], *Z_NUMBERS, backend="cpp") for i in range(5)])
        torch.set_num_threads(3)
        assert torch.equal(z_step(z, g, *Z_NUMBERS, backend="cpp"), alone)
    finally:
        torch.set_num_threads(threads)


def test_nan_and_infinity_are_carried():
    z = torch.tensor([1.0, torch.nan, 1.0, torch.inf])
    g = torch.tensor([torch.nan, 1.0, torch.inf, 1.0])
    for backend in BACKENDS:
        got = z_step(z, g, *Z_NUMBERS, backend=backend)
        assert got[:3].isnan().all() and got[3] == torch.inf


def test_schema_fake_and_autograd():
    z, g = (tensor.requires_grad_() for tensor in z_inputs((3, 7), torch.float64))
    for backend in ("auto", *BACKENDS):
        torch.library.opcheck(torch.ops.aafast.z_step.default, (z, g, *Z_NUMBERS, backend))


def test_gradient():
    z = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    g = (0.1 + torch.rand(4, 5, dtype=torch.float64)) * torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0])
    g = g.double().requires_grad_()

    def run(z, g):
        return z_step(z, g, 0.3, 0.2, 0.5)

    assert torch.autograd.gradcheck(run, (z, g))
    assert torch.autograd.gradgradcheck(run, (z, g))


def test_gradient_where_g_is_zero():
    g = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    z_step(torch.ones(3, dtype=torch.float64), g, 1e-2, 0.0, 1e-4).sum().backward()
    assert torch.allclose(g.grad, torch.full((3,), -1e-2 / 1e-4, dtype=torch.float64))


def test_compiles_whole_and_once():
    counter = CompileCounterWithBackend("aot_eager")

    @torch.compile(fullgraph=True, backend=counter)
    def run(z, g):
        return z_step(z * 2, g, *Z_NUMBERS).sin()

    for seed in range(3):
        z, g = (tensor.requires_grad_() for tensor in z_inputs((3, 7), torch.float32, seed))
        got = torch.autograd.grad(run(z, g).sum(), (z, g))
        want = torch.autograd.grad(z_step(z * 2, g, *Z_NUMBERS).sin().sum(), (z, g))
        torch.testing.assert_close(got, want)
    assert counter.frame_count == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"z": [1.0]}, "z: got list; expected a torch.Tensor"),
        ({"g": torch.ones(3)}, r"shape of g: got \[3\]; expected \[2\], the shape of z"),
        ({"g": torch.ones(2).double()}, "dtype of g: got torch.float64; expected torch.float32, as z"),
        ({"z": torch.ones(2).half()}, "dtype of z: got torch.float16; expected float32 or float64"),
        ({"z": torch.ones(2, dtype=torch.int64)}, "dtype of z: got torch.int64"),
        ({"g": torch.ones(2, device="meta")}, "device of g: got meta; expected cpu, as z"),
        ({"g": torch.ones(2).to_sparse()}, "layout of g: got torch.sparse_coo"),
        ({"lr": -1.0}, "lr: got -1.0; expected a finite number >= 0.0"),
        ({"lr": float("nan")}, "lr: got nan"),
        ({"weight_decay": float("inf")}, "weight_decay: got inf"),
        ({"eps": 0.0}, "eps: got 0.0; expected a finite number > 0.0"),
    ],
    ids=str,
)
def test_bad_input_is_named(change, words):
    call = {"z": torch.ones(2), "g": torch.ones(2), "lr": 0.1, "weight_decay": 0.0, "eps": 1e-8}
    with pytest.raises(InputError, match=words):
        z_step(**{**call, **change})
