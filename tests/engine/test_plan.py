"""When the engine runs, on which weights, and what it says where it does not."""

import copy
import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

import aafast.engine
from aafast.config import METHODS
from aafast.engine import plan as plans
from aafast.errors import BackendError
from aafast.nets import ProximalNetwork
from aafast.nets.residual import MismatchNetwork
from aafast.solvers import Solution
from aafast.tasks import TASKS

from .problems import assert_close, assert_same, distance, make_problem, model_of, parts, solve

LU, DEQ = "adaptive-lu", "adaptive-deq"


def changed_by_hand(model):
    with torch.no_grad():
        weight = model.prox.convolutions()[1].weight
        weight.add_(weight.flip(0))


def changed_norm(model):
    with torch.no_grad():
        next(norm for norm in model.prox.norms() if norm is not None).bias.add_(0.3)


def changed_step(model):
    with torch.no_grad():
        model.eta.sub_(1.0)


def changed_theta(model):
    with torch.no_grad():
        for value in model.residual.start_values.values():
            value.mul_(1.4)


def loaded(model):
    model.load_state_dict({k: v * 1.2 for k, v in model.state_dict().items()})


def loaded_in_place_of(model):
    model.load_state_dict({k: v * 1.2 for k, v in model.state_dict().items()}, assign=True)


def optimised(model):
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.3, momentum=0.9)
    for _ in range(2):
        optimiser.zero_grad()
        sum(p.square().sum() for p in model.parameters() if p.requires_grad).backward()
        optimiser.step()


def given_other_data(model):
    weight = model.prox.convolutions()[2].weight
    weight.data = weight.data.flip(0)


def written_through_data(model):
    model.prox.convolutions()[2].weight.data.mul_(1.5)


def replaced(model):
    layer = model.prox.convolutions()[-1]
    layer.weight = nn.Parameter(layer.weight.detach() * 1.5)


def moved_there_and_back(model):
    model.half().double()


CHANGES = [
    changed_by_hand, changed_norm, changed_step, changed_theta, loaded, loaded_in_place_of, optimised, given_other_data,
    written_through_data, replaced, moved_there_and_back,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_solve_uses_the_weights_as_they_are(change):
    model, problem = model_of("deblur", LU), make_problem("deblur")
    before = solve(model, problem)
    change(model)
    after = solve(model, problem)
    assert distance(after.x, before.x) > 1e-6
    assert_close(after, solve(model, problem, "eager"), 1e-11)


@pytest.mark.parametrize("change", [changed_by_hand, loaded, given_other_data, optimised], ids=lambda c: c.__name__)
def test_normalised_weights_too(change):
    model, problem = model_of("deblur", DEQ, depth=3), make_problem("deblur")
    before = solve(model, problem)
    change(model)
    after = solve(model, problem)
    assert distance(after.x, before.x) > 1e-6
    assert_close(after, solve(model, problem, "eager"), 1e-11)


def test_a_plan_is_made_once():
    model, problem = model_of("deblur", LU), make_problem("deblur")
    solve(model, problem)
    made = plans.plan_of(model)
    solve(model, make_problem("deblur", height=30, width=9, batch=1))
    assert plans.plan_of(model) is made
    changed_by_hand(model)
    assert plans.plan_of(model) is not made


def test_precision_and_instruction_set_make_other_plans(native):
    model, problem = model_of("deblur", LU, torch.float32), make_problem("deblur", torch.float32)
    want, found = solve(model, problem, "eager").x, {}
    for isa in native.isa_names():
        native.select_isa(isa)
        for model.precision in ("fast", "strict"):
            found[isa, model.precision] = solve(model, problem).x
            assert distance(found[isa, model.precision], want) <= 1e-5
    values = list(found.values())
    assert not torch.equal(values[0], values[1])
    for (isa, precision), value in found.items():
        native.select_isa(isa)
        model.precision = precision
        assert torch.equal(solve(model, problem).x, value)


def test_a_copy_goes_its_own_way():
    model, problem = model_of("deblur", LU), make_problem("deblur")
    first = solve(model, problem)
    twin = copy.deepcopy(model)
    changed_by_hand(twin)
    other = solve(twin, problem)
    assert_same(solve(model, problem), first)
    assert distance(other.x, first.x) > 1e-6
    assert_close(other, solve(twin, problem, "eager"), 1e-11)


def test_a_plan_dies_with_its_model():
    aafast.engine.release()
    problem = make_problem("deblur")
    model = model_of("deblur", LU)
    solve(model, problem)
    assert len(plans._plans) == 1
    del model
    gc.collect()
    assert len(plans._plans) == 0


def test_release_gives_memory_back():
    model, problem = model_of("deblur", LU), make_problem("deblur")
    first = solve(model, problem)
    held = aafast.engine.held_bytes()
    assert held > plans.plan_of(model).bytes > 0
    solve(model, problem)
    assert aafast.engine.held_bytes() == held
    aafast.engine.release()
    assert aafast.engine.held_bytes() == 0
    assert_same(solve(model, problem), first)
    assert aafast.engine.held_bytes() == held


def test_two_threads_share_a_model():
    model = model_of("deconv", LU, torch.float32)
    problems = [make_problem("deconv", torch.float32, batch=2, height=size, seed=size) for size in (17, 30)]
    want = [solve(model, problem) for problem in problems]
    aafast.engine.release()  # so that both find no plan
    barrier, failures = threading.Barrier(2), []

    def run(i):
        try:
            with torch.no_grad():
                barrier.wait(30)
                for _ in range(8):
                    assert_same(model(*problems[i]), want[i])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures and not any(thread.is_alive() for thread in threads)


def test_memory_of_a_thread_goes_with_it():
    model, problem = model_of("deconv", LU, torch.float32), make_problem("deconv", torch.float32)
    aafast.engine.release()
    thread = threading.Thread(target=solve, args=(model, problem))
    thread.start()
    thread.join(60)
    gc.collect()
    assert aafast.engine.held_bytes() == plans.plan_of(model).bytes


class Twice(ProximalNetwork):
    def forward(self, x):
        return 2 * super().forward(x)


class Constant(MismatchNetwork):
    def corrected(self, theta, z, nominal, A0):
        return nominal + 1


def subclassed(model):
    model.prox.__class__ = Twice


def hook_on_a_layer(model):
    model.prox.R[0].register_forward_hook(lambda module, inputs, out: 2 * out)


def hook_before_a_layer(model):
    model.prox.R[2].register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))


def hook_on_the_network(model):
    model.prox.register_forward_hook(lambda module, inputs, out: 2 * out)


def hook_before_the_network(model):
    model.prox.register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))


def hook_on_the_mismatch_network(model):
    model.residual.register_forward_hook(lambda module, inputs, out: (2 * out[0], out[1]))


def other_activation(model):
    model.prox.R[1] = nn.ReLU()


def approximate_activation(model):
    model.prox.R[1] = nn.GELU("tanh")


def no_activation(model):
    model.prox.R[1] = nn.Identity()


def other_padding(model):
    model.prox.R[0].padding_mode = "circular"
    model.prox.R[0]._reversed_padding_repeated_twice = [1, 1, 1, 1]


def dilated(model):
    layer = model.prox.R[2]
    layer.dilation, layer.padding = (2, 2), (2, 2)


def grouped(model):
    layer = nn.Conv2d(16, 16, 3, padding=1, groups=4, bias=False).to(model.eta)
    model.prox.R[2] = layer


def wide_kernel(model):
    model.prox.R[2] = nn.Conv2d(16, 16, 5, padding=2, bias=False).to(model.eta)


def other_groups(model):
    model.prox.R[3] = nn.GroupNorm(8, 16).to(model.eta)


def other_eps(model):
    model.prox.R[3].eps = 0.1


def norm_without_weights(model):
    model.prox.R[3] = nn.GroupNorm(4, 16, affine=False)


def parametrised(model):
    nn.utils.parametrizations.weight_norm(model.prox.R[2])


def other_mismatch(model):
    model.residual = Constant()


SURGERY = {
    subclassed: "Twice",
    hook_on_a_layer: "hooks",
    hook_before_a_layer: "hooks",
    hook_on_the_network: "hooks",
    hook_before_the_network: "hooks",
    hook_on_the_mismatch_network: "hooks",
    other_activation: "ReLU",
    approximate_activation: "tanh",
    no_activation: "layer",
    other_padding: "layer",
    dilated: "layer",
    grouped: "layer",
    wide_kernel: "layer",
    other_groups: "layer",
    other_eps: "layer",
    norm_without_weights: "layer",
    parametrised: "Conv2d",
    other_mismatch: "Constant",
}


@pytest.mark.parametrize("change", SURGERY, ids=lambda change: change.__name__)
def test_a_model_that_is_no_longer_the_packages_is_left_to_the_loop(change):
    model, problem = model_of("deblur", LU), make_problem("deblur")
    plain = solve(model, problem)
    change(model)
    with torch.no_grad():
        found = model(*problem)
        assert found.backend.startswith("eager")
        assert change is parametrised or distance(found.x, plain.x) > 1e-9
        assert_close(found, solve(model, problem, "eager"), 1e-11)
        model.backend = "cpp"
        with pytest.raises(BackendError, match=f"backend cpp of the model: got .*{SURGERY[change]}.*backend='auto'"):
            model(*problem)


@pytest.mark.parametrize("overrides", [{"channels": 6, "groups": 2}, {"residual_channels": 6, "groups": 2}], ids=str)
def test_channels_that_fit_no_vector(overrides):
    model, problem = model_of("deblur", LU, torch.float32, **overrides), make_problem("deblur", torch.float32)
    with torch.no_grad():
        assert model(*problem).backend == "eager+cpp"
        model.backend = "cpp"
        with pytest.raises(BackendError, match=r"channels.*multiple of 4.*\d, 6"):
            model(*problem)


def test_the_variable_goes_round_the_engine(monkeypatch):
    model, problem = model_of("deblur", LU), make_problem("deblur")
    want = solve(model, problem, "eager")
    monkeypatch.setenv("AAFAST_BACKEND", "eager")
    with torch.no_grad():
        found = model(*problem)
    assert found.backend == want.backend == "eager"
    assert_same(found, want)
    monkeypatch.setenv("AAFAST_BACKEND", "cpp")
    with torch.no_grad():
        assert model(*problem).backend == "cpp"


def test_without_the_native_module(monkeypatch):
    model, problem = model_of("deblur", LU), make_problem("deblur")
    want = solve(model, problem, "eager")
    monkeypatch.setattr("aafast.ops._native.load", lambda: (None, "the native module is not built"))
    aafast.ops.can_run.cache_clear()
    try:
        with torch.no_grad():
            found = model(*problem)
            assert found.backend == "eager"
            assert_same(found, want)
            model.backend = "cpp"
            with pytest.raises(BackendError, match="not built"):
                model(*problem)
    finally:
        aafast.ops.can_run.cache_clear()


@pytest.mark.parametrize("method", METHODS)
def test_who_runs_and_that_no_graph_is_kept(method):
    model, (y, A0) = model_of("deblur", method, normalise=False), make_problem("deblur")
    with torch.no_grad():
        found = model(y.clone().requires_grad_(), A0)
    assert found.backend == "cpp"
    trained = model(y, A0)
    assert trained.backend.startswith("eager") and trained.x.requires_grad
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    frozen = model(y, A0)
    assert_same(frozen, found)
    for solution in (found, frozen):
        assert isinstance(solution, Solution) and solution.backend == "cpp"
        assert not any(value.requires_grad or value.grad_fn for value in parts(solution).values())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    for task in TASKS:
        model, (y, A0) = model_of(task, LU, torch.float32), make_problem(task, torch.float32)
        found = solve(model, (y.to(dtype), A0))
        assert found.x.dtype == dtype
        assert torch.equal(found.x, solve(model, (y.to(dtype).float(), A0)).x.to(dtype))


def test_strided_input():
    for task in TASKS:
        model, (y, A0) = model_of(task, LU, torch.float32), make_problem(task, torch.float32)
        want = solve(model, (y, A0))
        strided = torch.empty(*y.shape[:2], 2 * y.shape[2], 3 * y.shape[3])[:, :, ::2, ::3].copy_(y)
        assert_same(solve(model, (strided, A0)), want)
        assert_same(solve(model, (y.contiguous(memory_format=torch.channels_last), A0)), want)


def test_inference_mode():
    for task in TASKS:
        model, problem = model_of(task, LU, torch.float32), make_problem(task, torch.float32)
        want = solve(model, problem)
        with torch.inference_mode():
            fresh = model_of(task, LU, torch.float32)
            for found in (model(*problem), model(*make_problem(task, torch.float32)), fresh(*problem)):
                assert found.backend == "cpp"
                assert_same(found, want)
        assert_same(solve(model, problem), want)


def test_inputs_and_weights_stay_as_they_are():
    for task in TASKS:
        model, (y, A0) = model_of(task, LU, theta_scope="batch"), make_problem(task)
        kept = {name: value.clone() for name, value in model.state_dict().items()}
        image, tensors = y.clone(), {name: value.clone() for name, value in A0.tensors().items()}
        first = solve(model, (y, A0))
        copies = {name: value.clone() for name, value in parts(first).items()}
        solve(model, (y * 2, A0))
        assert torch.equal(y, image)
        assert all(torch.equal(value, tensors[name]) for name, value in A0.tensors().items())
        assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
        assert all(torch.equal(value, copies[name]) for name, value in parts(first).items())  # nor do solutions


# Prints by how many bytes a solve raises what the process holds at most: first the value at start, then the peak.
PEAK = """
import sys, torch
from aafast.config import FixedPointConfig
from aafast.physics import WaveletConvolution
from aafast.tasks import build

def held(what):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what + ":"))

backend, batch = sys.argv[1], int(sys.argv[2])
fixed_point = FixedPointConfig(max_iter=2, tol=0.0)
model = build("deconv", "adaptive-deq", normalise=False, depth=4, fixed_point=fixed_point)
model.backend = backend
y, A0 = torch.randn(batch, 1, 256, 128), WaveletConvolution(torch.randn(batch, 51))
with torch.no_grad():
    model(y[:1, :, :16, :16], A0.select(0))
    before = held("VmRSS")
    solution = model(y, A0)
assert solution.backend.startswith(backend)
print(held("VmHWM") - before)
"""


def peak(backend, batch):
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    environment.pop("AAFAST_BACKEND", None)
    command = [sys.executable, "-c", PEAK, backend, str(batch)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read where Linux tells it")
def test_peak_memory_is_below_the_loops():
    engine, loop = peak("cpp", 4), peak("eager", 4)
    assert engine < loop, f"{engine / 1e6:.0f} MB, the loop {loop / 1e6:.0f}"
    assert engine > 256 * 128 * 64 * 4  # at least one layer of one sample: it has been measured
