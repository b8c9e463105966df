"""The CUDA kernels of an iteration outside its convolutions, run on the CPU: seeds, z-step, AdamW."""

import re
from types import SimpleNamespace

import pytest
import torch
from fenced import Fenced
from native_builds import CSRC, emulated_module
from op_cases import relative_error

from aafast.adaptive import theta_solvers
from aafast.adaptive.state import initial, moments_of, theta_of
from aafast.config import InnerSolver

WHERE = (1, 0)  # device, stream
TOLERANCE = 2e-6  # largest difference over the largest value: a few roundings of float32


def at(tensor):
    return 0 if tensor is None else tensor.data_ptr()


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(got, want, tolerance=TOLERANCE):
    error = relative_error(got, want)
    assert error <= tolerance, f"error {error:.2e}"


def status_of(*values):
    return torch.tensor(values, dtype=torch.int8)


# batch, channels, channels of f, pixels
SEEDS = [(1, 1, 1, 64), (3, 1, 1, 1025), (2, 3, 3, 700), (2, 3, 1, 35 * 31), (2, 4, 2, 2050), (0, 1, 1, 9)]


@pytest.mark.parametrize("with_linear", [False, True])
@pytest.mark.parametrize("size", SEEDS, ids=str)
def test_additive_seeds_are_the_misfits_gradients(emulated, size, with_linear):
    batch, channels, f_channels, pixels = size
    scale, gamma = 0.25, 0.3
    nominal, y = rand(batch, channels, pixels), rand(batch, channels, pixels, seed=1)
    f, linear = rand(batch, f_channels, pixels, seed=2), rand(batch, f_channels, pixels, seed=3)
    linear = linear if with_linear else None
    leaves = [tensor.double().requires_grad_() for tensor in (nominal, f)]
    correction = leaves[1] + (linear.double() if with_linear else 0)
    correction = correction.repeat_interleave(channels // f_channels, 1)
    misfit = (leaves[0] + correction - y).square().sum() + gamma * correction.square().sum()
    want = torch.autograd.grad(scale / 2 * misfit, leaves)
    numbers = (batch, channels, pixels, f_channels, scale, gamma)
    inputs = [at(tensor) for tensor in (nominal, f, linear, y, None)]
    fenced = Fenced()
    got = [fenced.empty(*tensor.shape) for tensor in (nominal, f)]
    emulated.additive_seeds_cuda(*numbers, *inputs, WHERE, *map(at, got))
    fenced.check()
    for mine, other in zip(got, want, strict=True):
        close(mine, other)
    for skipped in range(2):  # an output that is not wanted
        some = [None if n == skipped else fenced.empty(*tensor.shape) for n, tensor in enumerate(got)]
        emulated.additive_seeds_cuda(*numbers, *inputs, WHERE, *map(at, some))
        assert torch.equal(some[1 - skipped], got[1 - skipped])


def test_planes_that_do_not_divide_are_refused(emulated):
    with pytest.raises(ValueError, match="planes of f"):
        emulated.additive_seeds_cuda(1, 3, 9, 2, 1.0, 0.0, 0, 0, 0, 0, 0, WHERE, 0, 0)


@pytest.mark.parametrize(("batch", "length"), [(1, 7), (3, 1025), (2, 3000)])
def test_haze_seeds_are_the_misfits_gradients(emulated, batch, length):
    scale, gamma = 0.5, 0.2
    nominal, light, y = (rand(batch, length, seed=seed) for seed in range(3))
    logit = rand(batch, length, seed=4) * 8
    logit[0, :2] = torch.tensor([60.0, -60.0])
    leaves = [tensor.double().requires_grad_() for tensor in (nominal, light, logit)]
    t = torch.sigmoid(leaves[2])
    y_hat = leaves[0] * t + leaves[1] * (1 - t)
    misfit = (y_hat - y).square().sum() + gamma * (y_hat - leaves[0]).square().sum()
    want = torch.autograd.grad(scale / 2 * misfit, leaves)
    fenced = Fenced()
    got = [fenced.empty(batch, length) for _ in range(3)]
    inputs = [at(tensor) for tensor in (nominal, light, logit, y, None)]
    emulated.haze_seeds_cuda(batch, length, scale, gamma, *inputs, WHERE, *map(at, got))
    fenced.check()
    for mine, other in zip(got, want, strict=True):
        close(mine, other)
    for only in range(3):
        some = [fenced.empty(batch, length) if n == only else None for n in range(3)]
        emulated.haze_seeds_cuda(batch, length, scale, gamma, *inputs, WHERE, *map(at, some))
        assert torch.equal(some[only], got[only])


def test_a_ruined_value_stays_ruined_and_alone(emulated):
    tensors = [rand(1, 40, seed=seed) for seed in range(4)]
    tensors[2][0, 5] = torch.nan
    got = [torch.zeros(1, 40) for _ in range(3)]
    emulated.haze_seeds_cuda(1, 40, 1.0, 0.1, *map(at, tensors), 0, WHERE, *map(at, got))
    for found in got:
        assert found[0, 5].isnan() and found.isnan().sum() == 1


Z_NUMBERS = {"pull": 0.3, "keep": 1 - 1e-4, "lr": 1e-2, "eps": 1e-8, "step": 0.4}


def z_inputs(batch, length):
    return [rand(batch, length, seed=seed) for seed in range(5)]


def run_z(emulated, inputs, status=None, with_extra=True, with_start=True, with_point=True):
    towards, extra, x, start, z = inputs
    fenced = Fenced()
    moved, point = fenced.like(z), fenced.empty(*z.shape)
    given = (towards, extra if with_extra else None, x, start if with_start else None, status)
    emulated.z_point_cuda(
        *z.shape, *Z_NUMBERS.values(), *map(at, given), WHERE, at(moved), at(point) if with_point else 0
    )
    fenced.check()
    return moved, point


@pytest.mark.parametrize("with_start", [False, True])
@pytest.mark.parametrize("with_extra", [False, True])
@pytest.mark.parametrize(("batch", "length"), [(1, 1), (3, 1025), (2, 4100)])
def test_z_point_is_a_step_and_the_networks_point(emulated, batch, length, with_extra, with_start):
    inputs = z_inputs(batch, length)
    towards, extra, x, start, z = (tensor.double() for tensor in inputs)
    n = SimpleNamespace(**Z_NUMBERS)
    g = towards + (extra if with_extra else 0) + n.pull * (z - x)
    want = z * n.keep - n.lr * g / (g.abs() + n.eps)
    centred = x - start if with_start else x
    moved, point = run_z(emulated, inputs, None, with_extra, with_start)
    close(moved, want)
    close(point, centred - n.step * (centred - want))
    assert run_z(emulated, inputs, None, with_extra, with_start, with_point=False)[1].isnan().all()


def test_stopped_samples_are_left_alone_and_the_others_do_not_notice(emulated, monkeypatch):
    inputs, status = z_inputs(4, 1100), status_of(0, 1, 0, 3)
    whole, point = run_z(emulated, inputs)
    monkeypatch.setenv("EMULATED_CUDA_SEED", "5")
    moved, some = run_z(emulated, inputs, status)
    running = status == 0
    assert torch.equal(moved[running], whole[running]) and torch.equal(some[running], point[running])
    assert torch.equal(moved[~running], inputs[-1][~running]) and some[~running].isnan().all()
    alone, _ = run_z(emulated, [tensor[2:3] for tensor in inputs])
    assert torch.equal(alone, whole[2:3])

    tensors = [rand(4, 1100, seed=seed) for seed in range(4)]
    d_nominal, d_f = torch.full((4, 1100), 5.0), torch.full((4, 1100), 5.0)
    inputs = [*map(at, (tensors[0], tensors[1], None, tensors[2], status))]
    emulated.additive_seeds_cuda(4, 1, 1100, 1, 1.0, 0.1, *inputs, WHERE, at(d_nominal), at(d_f))
    light, logit, d_haze = torch.full((4, 1100), 5.0), torch.full((4, 1100), 5.0), torch.full((4, 1100), 5.0)
    outputs = [*map(at, (d_haze, light, logit))]
    emulated.haze_seeds_cuda(4, 1100, 1.0, 0.1, *map(at, tensors), at(status), WHERE, *outputs)
    for found in (d_nominal, d_f, d_haze, light, logit):
        assert (found[~running] == 5).all() and (found[running] != 5).any(1).all()


RULE = InnerSolver("adamw", steps=3, lr=1e-2, weight_decay=0.01, eps=1e-8)
STEP = (RULE.lr, RULE.weight_decay, RULE.eps, theta_solvers.BETA1, theta_solvers.BETA2)
SHAPES = {"a": (5, 3, 3), "b": (4097,), "c": (1,), "d": (2, 4, 3)}


class Quadratic:
    """A problem whose gradient in theta is fixed."""

    def __init__(self, gradients):
        self.config = SimpleNamespace(theta_solver=RULE)
        self.gradients = gradients

    def gradient_theta(self, theta, z):
        return {name: g.to(theta[name].dtype) for name, g in self.gradients.items()}


def theta_case(sets, batch, seed=0):
    """theta, positive moments and gradients of some tensors, and how far each sample is."""
    theta = {name: rand(sets, *shape, seed=seed + n) for n, (name, shape) in enumerate(SHAPES.items())}
    state = initial(torch.zeros(batch, 1), theta)
    for n, (name, shape) in enumerate(SHAPES.items()):
        state[f"moment1.{name}"] = rand(sets, *shape, seed=seed + 10 + n)
        state[f"moment2.{name}"] = rand(sets, *shape, seed=seed + 20 + n).square()
    state["count"] = torch.arange(batch) * 3
    gradients = {name: rand(sets, *shape, seed=seed + 30 + n) for n, (name, shape) in enumerate(SHAPES.items())}
    return state, gradients


def by_product(state, gradients):
    """theta and moments after the steps of aafast.adaptive.theta_solvers.adamw, in double."""
    double = {name: value.double() if value.is_floating_point() else value for name, value in state.items()}
    return theta_solvers.adamw(Quadratic(gradients), double, None)


def run_adamw(emulated, state, gradients, sets, batch, status=None, names=None):
    fenced = Fenced()
    theta, (first, second) = theta_of(state), moments_of(state)
    mine = {name: [fenced.like(part[name]) for part in (theta, first, second)] for name in names or theta}
    iterations = state["count"].to(torch.int32)
    for step in range(RULE.steps):
        tensors = [
            (*map(at, parts), at(gradients[name]), parts[0][0].numel(), len(gradients[name]))
            for name, parts in mine.items()
        ]
        emulated.adamw_cuda(tensors, sets, STEP, (at(iterations), RULE.steps, step, batch), at(status), WHERE)
    fenced.check()
    return mine


@pytest.mark.parametrize(("sets", "batch"), [(1, 1), (3, 3), (1, 3), (1, 37)])
def test_adamw_steps_as_the_plain_loop(emulated, sets, batch):
    state, gradients = theta_case(sets, batch)
    want = by_product(state, gradients)
    got = run_adamw(emulated, state, gradients, sets, batch)
    for name, parts in got.items():
        for mine, part in zip(parts, want, strict=True):
            close(mine, part[name])


def test_gradients_of_samples_are_added_for_a_shared_theta(emulated):
    state, _ = theta_case(1, 3)
    each = {name: rand(3, *shape, seed=40 + n) for n, (name, shape) in enumerate(SHAPES.items())}
    want = by_product(state, {name: g.double().sum(0, keepdim=True) for name, g in each.items()})
    for name, parts in run_adamw(emulated, state, each, 1, 3).items():
        for mine, part in zip(parts, want, strict=True):
            close(mine, part[name], 1e-5)
    total = {name: (g[0] + g[1] + g[2])[None] for name, g in each.items()}  # in this order
    summed, one = run_adamw(emulated, state, each, 1, 3), run_adamw(emulated, state, total, 1, 3)
    assert all(torch.equal(a, b) for name in each for a, b in zip(summed[name], one[name], strict=True))


def test_more_tensors_than_fit_one_launch(emulated):
    state, gradients = theta_case(2, 2)
    for n in range(30):
        for prefix in ("theta.", "moment1.", "moment2."):
            state[f"{prefix}e{n}"] = state[f"{prefix}d"] * (n + 1)
        gradients[f"e{n}"] = gradients["d"] / (n + 1)
    want = by_product(state, gradients)
    for name, parts in run_adamw(emulated, state, gradients, 2, 2).items():
        for mine, part in zip(parts, want, strict=True):
            close(mine, part[name])


def test_adamw_skips_stopped_samples_and_keeps_samples_apart(emulated, monkeypatch):
    state, gradients = theta_case(3, 3)
    status = status_of(0, 2, 0)
    whole = run_adamw(emulated, state, gradients, 3, 3)
    monkeypatch.setenv("EMULATED_CUDA_SEED", "3")
    some = run_adamw(emulated, state, gradients, 3, 3, status)
    one = {name: value[2:] for name, value in state.items()}
    alone = run_adamw(emulated, one, {name: g[2:] for name, g in gradients.items()}, 1, 1)
    for name in gradients:
        for part, prefix in enumerate(("theta.", "moment1.", "moment2.")):
            assert torch.equal(some[name][part][::2], whole[name][part][::2])
            assert torch.equal(some[name][part][1], state[prefix + name][1])
            assert torch.equal(alone[name][part], whole[name][part][2:])


def test_a_shared_theta_goes_on_while_one_sample_runs(emulated):
    state, gradients = theta_case(1, 3)
    whole = run_adamw(emulated, state, gradients, 1, 3)
    one_runs = run_adamw(emulated, state, gradients, 1, 3, status_of(1, 0, 3))
    none_runs = run_adamw(emulated, state, gradients, 1, 3, status_of(1, 2, 3))
    for name in gradients:
        assert torch.equal(one_runs[name][0], whole[name][0])
        assert torch.equal(none_runs[name][0], state[f"theta.{name}"])


def test_sets_and_gradients_that_do_not_fit_are_refused(emulated):
    with pytest.raises(ValueError, match="one set, or one for each sample"):
        emulated.adamw_cuda([(0, 0, 0, 0, 1, 2)], 2, STEP, (0, 1, 0, 3), 0, WHERE)
    with pytest.raises(ValueError, match="gradients"):
        emulated.adamw_cuda([(0, 0, 0, 0, 1, 1)], 3, STEP, (0, 1, 0, 3), 0, WHERE)


# samples, outputs, inputs
OUTER = [(1, 1, 1), (3, 33, 129), (32, 40, 70), (35, 7, 260)]


def outer_case(batch, outputs, inputs):
    state = {"count": torch.arange(batch)}
    state["theta.w"] = rand(1, outputs, inputs)
    state["moment1.w"], state["moment2.w"] = rand(1, outputs, inputs, seed=1), rand(1, outputs, inputs, seed=2).square()
    return state, rand(batch, outputs, seed=3), rand(batch, inputs, seed=4)


def run_outer(emulated, state, left, right, status=None):
    fenced = Fenced()
    parts = [fenced.like(state[name]) for name in ("theta.w", "moment1.w", "moment2.w")]
    iterations = state["count"].to(torch.int32)
    sizes = (left.shape[1], right.shape[1], at(left), at(right))
    for step in range(RULE.steps):
        count = (at(iterations), RULE.steps, step, len(left))
        emulated.adamw_outer_cuda(*sizes, STEP, count, at(status), WHERE, *map(at, parts))
    fenced.check()
    return parts


@pytest.mark.parametrize("size", OUTER, ids=str)
def test_adamw_with_an_outer_product_for_gradient(emulated, size):
    state, left, right = outer_case(*size)
    want = by_product(state, {"w": (left.double().mT @ right.double())[None]})
    for mine, part in zip(run_outer(emulated, state, left, right), want, strict=True):
        close(mine, part["w"], 1e-5)
    stopped = run_outer(emulated, state, left, right, torch.ones(size[0], dtype=torch.int8))
    assert torch.equal(stopped[0], state["theta.w"]) and torch.equal(stopped[2], state["moment2.w"])


SOURCE = (CSRC / "cuda" / "adamw.cu").read_text()
BARRIERS = list(re.finditer(r"__syncthreads\(\);", SOURCE))


@pytest.mark.parametrize("barrier", BARRIERS, ids=lambda found: f"at-{found.start()}")
@pytest.mark.first_of_many
def test_a_missing_barrier_is_caught(monkeypatch, barrier):
    broken = emulated_module({"adamw.cu": SOURCE[: barrier.start()] + SOURCE[barrier.end() :]})
    state, gradients = theta_case(2, 2)
    outer, left, right = outer_case(70, 40, 150)
    want, want_outer = by_product(state, gradients), by_product(outer, {"w": (left.double().mT @ right.double())[None]})

    def is_right(seed):
        monkeypatch.setenv("EMULATED_CUDA_SEED", str(seed))
        theta = run_adamw(broken, state, gradients, 2, 2, names=["b"])["b"][0]
        weight = run_outer(broken, outer, left, right)[0]
        errors = [relative_error(theta, want[0]["b"]), relative_error(weight, want_outer[0]["w"])]
        return all(error <= 1e-5 for error in errors)

    assert len(BARRIERS) == 3
    assert not all(is_right(seed) for seed in range(4))
