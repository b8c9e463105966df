"""The authors' names: signatures, states, several batches in a row, training, and what goes another way."""

import copy
import inspect
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from aafast.bench import authors
from aafast.compat import invprobs
from aafast.compat.invprobs import deq, steps
from aafast.compat.invprobs import network_hqs as nets
from aafast.errors import CheckpointError, FileError, InputError
from aafast.reference import golden
from aafast.reference.build import problem

DEFAULTS = "m=5, lam=0.0001, max_iter=50, tol=0.01, beta=1.0"
SIGNATURES = {
    "anderson": f"f, x0, {DEFAULTS}",
    "anderson_mse": f"f, x0, {DEFAULTS}",
    "DEQIPFixedPoint": "invBlock, anderson, **kwargs",
    "DEQIPFixedPoint_v2": "invBlock, anderson, **kwargs",
    "DEQIPFixedPoint_v3": "invBlock, anderson, **kwargs",
    "DEQIPFixedPoint.forward": "self, y, X0, Z0, A0, train=True",
    "DEQIPFixedPoint_v3.forward_iteration": "self, X0, y",
    **{
        f"{task}_deq_kth_iter{part}": names
        for task in ("deblur", "deconv", "defog")
        for part, names in {
            "": "args, netR, netA, optR, optA, criteria",
            ".init_setup": "self, A0, Zk, X0",
            ".set_Zk": "self, Zk",
            ".forward": "self, Xk, y, no_grad=True",
        }.items()
    },
    **dict.fromkeys(("netA_deblur", "netA_deblur_sn", "netA_kernel", "netA_kernel_sn"), "args, nlayers"),
    **dict.fromkeys(("netA_foggy", "netA_fogging_sn"), "args"),
    **dict.fromkeys(("netA_foggy.forward", "netA_fogging_sn.forward"), "self, xk, D"),
    **dict.fromkeys(("netA_deblur.forward", "netA_kernel.forward"), "self, xk, A0"),
    **dict.fromkeys(
        ("proxNet_deblur", "proxNet_deblur_sn", "proxNet_deconv", "proxNet_deconv_sn"), "args, nlayers"
    ),
    **dict.fromkeys(("proxNet_fog", "proxNet_fog_sn"), "nlayers, args"),
    **dict.fromkeys(("proxNet_deconv.forward", "proxNet_fog.forward"), "self, zk, xk, y"),
    "proxNet_deblur.forward": "self, Xk, Zk, y",
    **dict.fromkeys(("LU_deconv", "LU_deconv_defog", "LU_deblur"), "args, nlayers"),
    "LU_deconv.forward": "self, xk, y, A",
    "LU_deconv_defog.forward": "self, xk, y",
    "LU_deblur.forward": "self, xk, y, Ak",
    **dict.fromkeys(
        ("GaussianBlur", "noisyGaussianBlur"), "sigma, kernel_size=5, n_channels=1, n_spatial_dimensions=2"
    ),
    "GaussianBlur.create_gaussian_kernel": "self, sigma, kernel_size, n_channels",
}
DOUBLE = torch.float64
SIZES = {"deblur": (14, 12), "defog": (12, 16)}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(name):
    found = invprobs
    for part in name.split("."):
        found = getattr(found, part)
    parameters = inspect.signature(found).parameters.values()
    plain = (p.replace(annotation=inspect.Parameter.empty) for p in parameters)
    assert ", ".join(map(str, plain)) == SIGNATURES[name]


def arguments(task):
    gamma = 0.0 if task == "defog" else 0.01
    return SimpleNamespace(eta=-1.0, gamma=gamma, lamb=0.1, lr_Z=1e-4, kernel_size=3, padding=1)


def build(names, task, criteria=None, rate=1e-3):
    """A fixed point of the smaller tasks in float64, from one side's names, with weights of ordinary size."""
    args = arguments(task)
    if task == "deblur":
        netA, netR = names.netA_deblur_sn(args, nlayers=3), names.proxNet_deblur_sn(args, nlayers=4)
    else:
        netA, netR = names.netA_fogging_sn(args), names.proxNet_fog_sn(4, args)
    optA = torch.optim.AdamW(netA.parameters(), lr=rate)
    block = getattr(names, f"{task}_deq_kth_iter")(args, netR, netA, None, optA, criteria or nn.MSELoss())
    kind = names.DEQIPFixedPoint_v3 if task == "defog" else names.DEQIPFixedPoint
    return kind(block, names.anderson, m=4, beta=1.0, lam=1e-3, max_iter=4, tol=0.0).double()


def state(task):
    torch.manual_seed(3)
    return {name: value.clone() for name, value in build(authors, task).state_dict().items()}


def batch(task, seed):
    """y and A0 as the scripts hand them over, in float64."""
    y, A0 = problem(task, seed, batch=2, dtype=DOUBLE)
    height, width = SIZES[task]
    y = y[:, :, :height, :width].contiguous()
    return y, None if task == "deblur" else A0[:, :, :height, :width].contiguous()


def nominal(names, task, A0):
    return names.GaussianBlur(sigma=2, kernel_size=5, n_channels=3).double() if task == "deblur" else A0


def solve(names, model, task, seed, **options):
    y, A0 = batch(task, seed)
    return model(y, y.clone(), y.clone(), nominal(names, task, A0), **options)


@pytest.mark.parametrize("task", SIZES)
def test_theta_and_its_moments_go_on_from_batch_to_batch(task):
    models = {}
    for names in (authors, invprobs):
        models[names] = build(names, task)
        models[names].load_state_dict(state(task))
    for seed in (0, 1):
        theirs, mine = (solve(names, model, task, seed, train=False) for names, model in models.items())
        # Their blur's kernel is computed in float32, ours in float64.
        assert golden.vector_error([(mine, theirs)]) < (1e-7 if task == "deblur" else 1e-9)
    theirs, mine = (model.invBlock.netA.state_dict() for model in models.values())
    assert golden.vector_error([(mine[name], theirs[name]) for name in theirs]) < 1e-7
    fresh = build(invprobs, task)
    fresh.load_state_dict(state(task))
    again = solve(invprobs, fresh, task, 1, train=False)
    assert not torch.equal(again, solve(invprobs, fresh, task, 1, train=False)), "theta has moved in between"


@pytest.mark.parametrize("task", SIZES)
def test_engine_and_plain_torch_leave_the_same_behind(task, monkeypatch):
    """A training call: the result, its gradients in R, and the theta-step's gradients that stay in netA."""
    found = []
    for backend in ("auto", "eager"):
        monkeypatch.setenv("AAFAST_BACKEND", backend)
        model = build(invprobs, task)
        model.load_state_dict(state(task))
        x = solve(invprobs, model, task, 0)
        x.square().mean().backward()
        gradients = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
        assert {"invBlock.eta"} == {name for name, p in model.named_parameters() if p.requires_grad} - set(gradients)
        found.append({"x": x.detach(), **gradients})
    engine, plain = found
    for name, value in plain.items():
        assert (engine[name] - value).norm() <= 1e-8 * value.norm(), name


def test_training_returns_one_more_call_of_the_block():
    model = build(invprobs, "deblur")
    model.load_state_dict(state("deblur"))
    other = copy.deepcopy(model)
    other.invBlock.optA = torch.optim.AdamW(other.invBlock.netA.parameters(), lr=1e-3)
    trained = solve(invprobs, model, "deblur", 0)
    y, _ = batch("deblur", 0)
    once_more = other.invBlock(solve(invprobs, other, "deblur", 0, train=False), y)
    assert torch.equal(trained.detach(), once_more) and trained.requires_grad and not once_more.requires_grad


class Affine(nn.Module):
    """x -> W x + b as a block."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.W = nn.Parameter(0.3 * torch.randn(6, 6, generator=generator, dtype=DOUBLE) / 6**0.5)
        self.b = nn.Parameter(torch.randn(6, generator=generator, dtype=DOUBLE))

    def init_setup(self, A0, Zk, X0):
        self.begun = A0, Zk, X0

    def forward(self, Xk, y, no_grad=True):
        with torch.set_grad_enabled(torch.is_grad_enabled() and not no_grad):
            return Xk @ self.W.mT + self.b


@pytest.mark.parametrize("kind", [deq.DEQIPFixedPoint, deq.DEQIPFixedPoint_v2, deq.DEQIPFixedPoint_v3])
def test_gradients_of_the_three_fixed_points(kind):
    block, start = Affine(), torch.zeros(1, 6, dtype=DOUBLE)
    model = kind(block, deq.anderson, m=5, lam=1e-12, max_iter=100, tol=1e-12)
    x = model(start, start, start, "A0")
    assert block.begun[0] == "A0"
    inverse = torch.linalg.inv(torch.eye(6, dtype=DOUBLE) - block.W.detach())
    assert (x - inverse @ block.b).abs().max() < 1e-9
    assert model.forward_res[-1] < 1e-12
    v = torch.arange(1.0, 7.0, dtype=DOUBLE)
    (x @ v).sum().backward()
    wanted = inverse.mT @ v if kind is deq.DEQIPFixedPoint_v2 else v
    assert (block.b.grad - wanted).abs().max() < 1e-9
    if kind is deq.DEQIPFixedPoint_v2:
        assert model.backward_res[-1] < 1e-12
    with torch.no_grad():
        assert not model(start, start, start, None).requires_grad


def test_anderson_stops_together_and_calls_at_least_twice():
    calls = []

    def halve(v):
        calls.append(v)
        return 0.5 * v + 1

    x, residuals = deq.anderson(halve, torch.zeros(2, 3, dtype=DOUBLE), max_iter=1)
    assert len(calls) == 2 and residuals == [] and torch.equal(x, torch.ones(2, 3, dtype=DOUBLE))
    x, residuals = deq.anderson(halve, torch.zeros(2, 3, dtype=DOUBLE), tol=1e-2, lam=1e-12)
    assert len(calls) == 2 + 2 + len(residuals) and residuals[-1] < 1e-2
    assert all(residual >= 1e-2 for residual in residuals[:-1])
    with pytest.raises(InputError, match="m of X"):
        deq.anderson(halve, torch.zeros(2, 3), m=40)


@pytest.mark.parametrize("task", SIZES)
def test_state_names_are_those_of_the_recorded_files(task, shared):
    arrays = golden.load(shared / "golden" / f"{task}_adaptive_deq.npz")
    args, layers = arguments(task), 5 if task == "deblur" else 7
    if task == "deblur":
        netA, netR = nets.netA_deblur_sn(args, 3), nets.proxNet_deblur_sn(args, layers)
    else:
        netA, netR = nets.netA_fogging_sn(args), nets.proxNet_fog_sn(layers, args)
    block = getattr(deq, f"{task}_deq_kth_iter")(args, netR, netA, None, None, nn.MSELoss())
    model = deq.DEQIPFixedPoint(block, deq.anderson)
    recorded = [f"invBlock.R.{name}" for name in golden.under("netR.", arrays)]
    recorded += [f"invBlock.netA.{name}" for name in golden.under("netA.", arrays)]
    assert list(model.state_dict()) == ["invBlock.eta", *recorded], "in the order that optimisers count by"


def test_a_module_A0_is_part_of_the_state_after_a_solve():
    model = build(invprobs, "deblur")
    solve(invprobs, model, "deblur", 0, train=False)
    assert "invBlock.A0.gaussian_kernel" in model.state_dict()


def test_states_on_disk_are_safetensors(tmp_path):
    model = build(invprobs, "deblur")
    invprobs.save_state(model, tmp_path / "state.safetensors")
    loaded = invprobs.load_state(tmp_path / "state.safetensors")
    assert all(torch.equal(loaded[name], value) for name, value in model.state_dict().items())
    invprobs.save_state(loaded, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "state.safetensors").read_bytes()
    (tmp_path / "checkpoint.pth").write_bytes(b"not opened")
    with pytest.raises(CheckpointError, match="never opened"):
        invprobs.load_state(tmp_path / "checkpoint.pth")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "state.safetensors").read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="damaged"):
        invprobs.load_state(tmp_path / "cut.safetensors")
    with pytest.raises(FileError, match="none.safetensors"):
        invprobs.load_state(tmp_path / "none.safetensors")
    with pytest.raises(FileError, match="nowhere"):
        invprobs.save_state(model, tmp_path / "nowhere" / "state.safetensors")


def begun(task, criteria=None, A0=None):
    model = build(invprobs, task, criteria)
    model.load_state_dict(state(task))
    y, own = batch(task, 0)
    model.invBlock.init_setup(nominal(invprobs, task, own) if A0 is None else A0, y, y)
    return model.invBlock, y


def hooked(block, y):
    calls = []
    block.netA.data_layer[0].register_forward_hook(lambda *_: calls.append(1))
    block(y, y)
    assert len(calls) == 2, "the hook is called in the z-step and in the theta-step"


def exchanged(block, y):
    block.netA.data_layer[1] = nn.ReLU()
    block(y, y)


@pytest.mark.parametrize("change", [hooked, exchanged])
def test_networks_that_were_changed_are_run_as_they_are(change):
    block, y = begun("deblur")
    assert steps.refusal(block.netA, block.A0, y, block.criteria) is None
    change(block, y)
    assert steps.refusal(block.netA, block.A0, y, block.criteria) is not None


@pytest.mark.parametrize("criteria", [nn.L1Loss(), nn.MSELoss(reduction="sum")])
def test_other_losses_and_other_forward_models_go_by_autograd(criteria):
    kernel = torch.full((3, 1, 3, 3), 1 / 9, dtype=DOUBLE)
    block, y = begun("deblur", criteria, A0=lambda x: F.conv2d(x, kernel, padding=1, groups=3))
    assert "loss" in steps.refusal(block.netA, block.A0, y, criteria)
    assert "GaussianBlur" in steps.refusal(block.netA, block.A0, y, nn.MSELoss())
    point = y.clone().requires_grad_()
    block.netA.eval()
    y0, yk = block.netA(point, block.A0)
    loss = criteria(y, yk) + block.gamma * criteria(yk, y0) + block.lamb * criteria(y, point)
    (gradient,) = torch.autograd.grad(loss, point)
    block(y, y)
    wanted = y * (1 - 1e-4 * 0.01) - 1e-4 * gradient / (gradient.abs() + 1e-8)
    assert (block.Zk - wanted).abs().max() < 1e-12


def test_any_optimiser_moves_theta():
    block, y = begun("deblur")
    before = block.netA.data_layer[2].weight_orig.detach().clone()
    block.optA = torch.optim.SGD(block.netA.parameters(), lr=0.1)
    block(y, y)
    layer = block.netA.data_layer[2]
    assert (layer.weight_orig.detach() - (before - 0.1 * layer.weight_orig.grad)).abs().max() < 1e-15


def test_fused_adamw_keeps_the_settings_and_follows_the_rule():
    values = {}
    for by in (steps.step, torch.optim.AdamW.step):
        torch.manual_seed(0)
        value = nn.Parameter(torch.randn(50, dtype=DOUBLE))
        optimiser = torch.optim.AdamW([value], lr=1e-2)
        settings = dict(optimiser.param_groups[0])
        for _ in range(3):
            optimiser.zero_grad()
            value.square().sum().backward()
            by(optimiser)
        assert {name: optimiser.param_groups[0][name] for name in settings} == settings
        values[by] = value.detach(), optimiser.state[value]["exp_avg_sq"]
    for mine, theirs in zip(*values.values(), strict=True):
        assert (mine - theirs).abs().max() < 1e-14


def test_blur_follows_its_kernel():
    blur = invprobs.GaussianBlur(sigma=2.5, kernel_size=7, n_channels=3)
    x = torch.randn(2, 3, 12, 11)
    assert blur.gaussian_kernel.shape == (3, 1, 7, 7) and not blur.gaussian_kernel.requires_grad

    def plain(x):
        return F.conv2d(x, blur.gaussian_kernel, padding=blur.padding, groups=blur.groups)

    assert (blur(x) - plain(x)).abs().max() < 1e-5
    blur.load_state_dict({"gaussian_kernel": torch.randn(3, 1, 7, 7)})
    assert (blur(x) - plain(x)).abs().max() < 1e-4, "made again where the kernel was written to"
    blur.double()
    x = x.double()
    assert (blur(x) - plain(x)).abs().max() < 1e-12
    blur.gaussian_kernel.requires_grad_()
    (mine,) = torch.autograd.grad(blur(x).square().sum(), blur.gaussian_kernel)
    (theirs,) = torch.autograd.grad(plain(x).square().sum(), blur.gaussian_kernel)
    assert (mine - theirs).norm() < 1e-10 * theirs.norm()
    with pytest.raises(InputError, match="n_spatial_dimensions"):
        invprobs.GaussianBlur(2.0, n_spatial_dimensions=3)
    with pytest.raises(InputError, match="blur kernel"):
        invprobs.GaussianBlur(2.0, kernel_size=4)


def test_noisy_blur_carries_noise_of_a_thousandth():
    torch.manual_seed(0)
    clean, noisy = (kind(5.0, 31, 3).gaussian_kernel for kind in (invprobs.GaussianBlur, invprobs.noisyGaussianBlur))
    assert (noisy - clean).std() == pytest.approx(1e-3, rel=0.05)


def test_settings_that_cannot_be_built_are_refused():
    with pytest.raises(InputError, match="kernel_size"):
        nets.netA_foggy(SimpleNamespace(kernel_size=5, padding=2))
    with pytest.raises(InputError, match="nlayers"):
        nets.proxNet_deconv(SimpleNamespace(eta=0.0), nlayers=1)
