"""torchdeq with our solvers and our step, against its own solvers and our own models."""

import warnings

import pytest
import torch
from affine_maps import affine, apply

from aafast import WaveletConvolution, anderson, build
from aafast.compat import torchdeq as ours
from aafast.config import FixedPointConfig, InnerSolver
from aafast.data import seismic_pairs
from aafast.errors import InputError, MissingDependency
from aafast.solvers import iterate


@pytest.fixture(scope="module")
def library():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its text, where nothing has compiled it yet
        found = pytest.importorskip("torchdeq", reason="torchdeq is not installed: pip install aafast[torchdeq]")
    ours.register()
    return found


def plain(m, c):
    step = apply(m, c)
    return lambda x: step(x, {})[0]


@pytest.mark.parametrize("name", ["aafast_anderson", "aafast_broyden"])
@pytest.mark.parametrize("mode", ["abs", "rel"])
def test_a_registered_solver_finds_the_fixed_point_and_keeps_its_record(library, name, mode):
    m, c, exact = affine(radius=0.6)
    calls = []
    f = plain(m, c)

    def seen(x):
        calls.append((f(x) - x).norm(dim=1) / (1.0 if mode == "abs" else f(x).norm(dim=1)))
        return f(x)

    deq = library.get_deq(f_solver=name, f_tol=1e-8, f_stop_mode=mode, f_max_iter=80).eval()
    (x,), info = deq(seen, torch.zeros_like(c))
    torch.testing.assert_close(x, exact, rtol=1e-6, atol=1e-6)
    residuals = torch.stack(calls, dim=1)
    assert (info[f"{mode}_lowest"] < 1e-8).all() and residuals.shape[1] < 60
    count = info["nstep"].long()
    torch.testing.assert_close(residuals.gather(1, count[:, None] - 1)[:, 0], info[f"{mode}_lowest"], rtol=1e-6, atol=0)
    assert info["abs_trace"].shape == info["rel_trace"].shape == (3, 80)
    for b in range(3):  # the record is of the calls up to the sample's own stop, then its lowest
        trace = info[f"{mode}_trace"][b]
        torch.testing.assert_close(trace[: count[b]], residuals[b, : count[b]], rtol=1e-6, atol=0)
        assert (trace[count[b] :] == info[f"{mode}_lowest"][b]).all()


def test_the_solver_is_ours_and_takes_both_libraries_settings(library):
    m, c, _ = affine()
    f, start = plain(m, c), torch.zeros_like(c)
    solve = library.solver.get_solver("aafast_anderson")
    assert torch.equal(solve(f, start, tol=1e-7, stop_mode="rel")[0], anderson(f, start, tol=1e-7).x)
    theirs = dict(m=5, tau=0.8, lam=1e-4)
    config = FixedPointConfig(m=5, beta=0.8, ridge=1e-4, relative=False, tol=0.0, max_iter=12)
    found = solve(f, start, max_iter=12, tol=0.0, stop_mode="rel", **theirs)[0]
    assert torch.equal(found, iterate(lambda x, aux: (f(x), aux), start, {}, config).x)
    last = solve(f, start, max_iter=5, tol=1e9, return_final=True)
    assert last[2]["abs_trace"].shape == (3, 5) and not torch.equal(last[0], solve(f, start, max_iter=5, tol=1e9)[0])
    with pytest.raises(InputError, match="bata"):
        solve(f, start, bata=1.0)
    with pytest.raises(InputError, match="stop_mode"):
        solve(f, start, stop_mode="both")
    with pytest.raises(InputError, match="dtype"):
        solve(f, start.half())


def test_with_the_same_settings_it_evaluates_where_torchdeqs_own_does(library):
    m, c, _ = affine(radius=0.6)
    f = plain(m, c)
    points = {}
    for name in ("anderson", "aafast_anderson"):
        seen = points.setdefault(name, [])
        library.solver.get_solver(name)(
            lambda x, seen=seen: seen.append(x.clone()) or f(x), torch.zeros_like(c), max_iter=9, tol=0.0,
            m=4, lam=1e-4, tau=0.9,
        )  # fmt: skip
    torch.testing.assert_close(
        torch.stack(points["aafast_anderson"]), torch.stack(points["anderson"]), rtol=1e-7, atol=1e-9
    )


def test_the_trajectory_is_sampled_and_lists_and_vectors_are_taken(library):
    m, c, exact = affine()
    f = plain(m, c)
    solve = library.solver.get_solver("aafast_anderson")
    found, samples, info = solve(f, torch.zeros_like(c), max_iter=60, tol=1e-6, indexing=[3, 6, 60])
    assert len(samples) == 3 and torch.equal(samples[2], found)
    errors = [(x - exact).norm() for x in samples]
    assert errors[0] > errors[1] > errors[2]
    deq = library.get_deq(f_solver="aafast_broyden", f_tol=1e-9, f_max_iter=100).eval()
    halves, _ = deq(lambda a, b: f(torch.cat([a, b], dim=1)).split(20, dim=1), (c[:, :20] * 0, c[:, 20:] * 0))
    torch.testing.assert_close(torch.cat(halves[0], dim=1), exact, rtol=1e-7, atol=1e-7)
    scalars, _, _ = solve(lambda x: 0.5 * (x + 2 / x), torch.tensor([1.0, 3.0]), tol=1e-6)
    torch.testing.assert_close(scalars, torch.full((2,), 2.0).sqrt())


def test_a_sample_stops_by_itself(library):
    m, c, _ = affine()
    m = m * torch.tensor([0.05, 1.0, 0.5], dtype=torch.float64)[:, None, None]
    f = plain(m, c)
    solve = library.solver.get_solver("aafast_anderson")
    together, _, info = solve(f, torch.zeros_like(c), tol=1e-8)
    assert len(set(info["nstep"].tolist())) == 3
    for b in range(3):
        alone, _, one = solve(plain(m[b : b + 1], c[b : b + 1]), torch.zeros_like(c[:1]), tol=1e-8)
        torch.testing.assert_close(alone[0], together[b], rtol=1e-12, atol=1e-13)
        assert one["nstep"].item() == info["nstep"][b].item()


@pytest.mark.parametrize("kind", [{"ift": True}, {"hook_ift": True}])
@pytest.mark.parametrize("core", ["indexing", "sliced"])
def test_the_implicit_gradient_is_that_of_the_fixed_point(library, kind, core):
    m, c, _ = affine(batch=2, size=12)
    scale = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    deq = library.get_deq(
        core=core, f_solver="aafast_anderson", b_solver="aafast_anderson", f_tol=1e-11, b_tol=1e-11,
        f_max_iter=60, b_max_iter=60, **kind,
    )  # fmt: skip
    (x,), _ = deq(lambda v: ((scale * m) @ v.unsqueeze(2)).squeeze(2) + c, torch.zeros_like(c))
    x.square().sum().backward()
    found, scale.grad = scale.grad.clone(), None
    exact = torch.linalg.solve(torch.eye(12, dtype=torch.float64) - scale * m, c)
    exact.square().sum().backward()
    torch.testing.assert_close(found, scale.grad, rtol=1e-7, atol=0)


def tiny(z_solver, theta_solver, **config):
    """A model with fresh weights and two pairs."""
    pairs = seismic_pairs(2, (24, 12), 3, "in", (20.0, 20.0))
    model = build(
        "deconv", "adaptive-deq", channels=4, depth=3, groups=2, residual_channels=4, gradient="implicit",
        z_solver=z_solver, theta_solver=theta_solver, fixed_point=FixedPointConfig(**config),
    ).double()  # fmt: skip
    return model, pairs.y.double(), WaveletConvolution(pairs.w_nominal.double())


@pytest.fixture(scope="module")
def still():
    """Its map stands still: z in closed form, no theta-step."""
    return tiny(InnerSolver("exact", differentiate=True), InnerSolver("none"), tol=1e-7, max_iter=60)


def get_deq(library, config, solver="aafast_anderson", **more):
    both = {"solver": solver, "tol": config.tol, "max_iter": config.max_iter, "stop_mode": "rel"}
    return library.get_deq(**{f"{end}_{name}": value for end in "fb" for name, value in both.items()}, **more)


def test_our_step_in_get_deq_gives_our_models_answer_and_gradient(library, still):
    model, y, A0 = still
    own = model(y, A0)
    own.x.square().sum().backward()
    weights = [p for p in model.parameters() if p.requires_grad]
    gradients = [p.grad.clone() for p in weights]
    model.zero_grad()
    iteration = ours.Iteration(model, y, A0)
    (x,), info = get_deq(library, model.config.fixed_point, ift=True)(iteration, iteration.x0)
    assert (info["rel_lowest"] < 1e-7).all() and (info["nstep"] > 3).all()
    assert (x - own.x).norm() < 1e-6 * own.x.norm()
    x.square().sum().backward()
    for found, wanted in zip((p.grad for p in weights), gradients, strict=True):
        assert (found - wanted).norm() <= 1e-5 * wanted.norm() + 1e-12
    assert gradients[0].norm() > 1e-3


def test_z_and_theta_move_in_a_solve_and_are_held_where_it_was_best(library):
    inner = InnerSolver("adamw", lr=1e-2)
    model, y, A0 = tiny(inner, inner, tol=1e-9, max_iter=12)
    with torch.no_grad():
        iteration = ours.Iteration(model, y, A0)
        (x,), info = get_deq(library, model.config.fixed_point).eval()(iteration, iteration.x0)
        own = model(y, A0)  # sample by sample; its last bits are its own
    torch.testing.assert_close(x, own.x, rtol=1e-7, atol=1e-8)
    assert (info["rel_lowest"] > 1e-9).all() and (info["nstep"] < 10).all()
    assert (iteration.state["count"] == 12).all()
    held, _ = model._start(y, A0)
    torch.testing.assert_close(iteration(x), held.frozen(own.aux)(x), rtol=1e-7, atol=1e-8)
    late = held.frozen(iteration.state)(x)
    assert (iteration(x) - late).abs().max() > 1e-6


def test_torchdeqs_own_solver_iterates_our_step_too(library, still):
    model, y, A0 = still
    with torch.no_grad():
        iteration = ours.Iteration(model, y, A0)
        (x,), info = get_deq(library, model.config.fixed_point, "anderson").eval()(iteration, iteration.x0)
        own = model(y, A0).x
    assert (info["rel_lowest"] < 1e-4).all()
    assert (x - own).norm() < 1e-3 * own.norm()


def test_what_an_iteration_refuses(still):
    model, y, A0 = still
    with pytest.raises(InputError, match="adaptive"):
        ours.Iteration(build("deconv", "robust-lu", channels=4, depth=2), y, A0)
    with pytest.raises(InputError, match="channels of y"):
        ours.Iteration(model, y.expand(-1, 3, -1, -1), A0)
    with pytest.raises(InputError, match="A0"):
        ours.Iteration(model, y, object())


def test_without_torchdeq_the_extra_is_named(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(MissingDependency, match=r"aafast\[torchdeq\]"):
        ours.register()
