"""One evaluation of a fixed-point solve per launch, run on the CPU: whole solves against aafast.solvers.iterate."""

import re

import pytest
import torch
from fenced import Fenced
from native_builds import CSRC, emulated_module

from aafast.config import FixedPointConfig
from aafast.solvers import Progress, Status, iterate
from aafast.solvers.iterate import make_solver

WITHOUT_CLUSTERS, WITH_CLUSTERS = DEVICES = (0, 1)
ADAPTED = FixedPointConfig(tol=1e-4, max_iter=14)
AUTHORS = FixedPointConfig(m=5, beta=1.0, ridge=1e-3, relative=False, tol=1e-4, max_iter=14)
CONFIGS = {
    "adapted": ADAPTED,
    "authors": AUTHORS,
    "damped and dropping": FixedPointConfig(m=3, beta=0.7, ridge=1e-6, tol=1e-4, max_iter=14, drop=4.0, restart=1.5),
    "adapted without restarts": FixedPointConfig(m=4, tol=1e-4, max_iter=14, restart=0.0, drop=3.0),
    "a wide window": FixedPointConfig(m=12, ridge=1e-3, tol=1e-5, max_iter=14),
    "one point": FixedPointConfig(m=1, tol=1e-3, max_iter=14),
    "picard": FixedPointConfig("picard", tol=1e-3, max_iter=14),
    "damped picard": FixedPointConfig("picard", beta=0.5, tol=1e-3, max_iter=14),
}


class Maps:
    """Nonlinear maps, one a sample: fast, slow, too stiff for the plain iteration, growing, and one that is ruined."""

    NAMES = ("fast", "slow", "stiff", "growing", "ruined", "there")

    def __init__(self, length, seed=0):
        generator = torch.Generator().manual_seed(seed)
        samples = len(self.NAMES)
        self.x0 = torch.randn(samples, length, generator=generator)
        self.shift = torch.randn(samples, length, generator=generator)
        self.mean = torch.linspace(0.2, 1.0, length).repeat(samples, 1)
        self.gain = torch.tensor([0.2, 0.9, -1.6, 1.1, 0.5, 0.0])[:, None]
        self.bend = torch.tensor([0.02, 0.05, -0.16, 0.01, 0.05, 0.0])[:, None]  # more makes rounding grow

    def __call__(self, x, turn):
        """f(x) at evaluation number `turn`."""
        bent = self.gain * self.mean * x + self.bend * torch.sin(2 * x) + self.shift
        if turn >= 4:
            bent[4, 1] = torch.nan
        if turn == 6:
            bent[1] += 5.0  # a blow that makes the solver start anew
        return bent


class Buffers:
    """What fixed_point_step_cuda works on, as poison but for what has to be set."""

    def __init__(self, module, config, keep, x0, device):
        self.module, self.where, self.fenced = module, (device, 0), Fenced()
        self.batch, self.length = batch, length = x0.shape
        fenced, m = self.fenced, config.m
        self.x, self.point, self.image = fenced.like(x0), fenced.like(x0), fenced.like(x0)
        self.memory = {
            "X": fenced.empty(batch, m, length),
            "F": fenced.empty(batch, m, length),
            "gram": fenced.empty(batch, m, m),
            "mean": fenced.empty(batch, length),
            "beta": fenced.empty(batch),
            "least": fenced.empty(batch),
        }
        self.best = fenced.like(torch.full((batch,), torch.inf))
        self.status = fenced.like(torch.zeros(batch, dtype=torch.int8))
        self.iterations = fenced.like(torch.zeros(batch, dtype=torch.int32))
        self.residuals = fenced.like(torch.full((config.max_iter, batch), torch.nan))
        self.better = fenced.empty(batch, dtype=torch.int8)
        self.scratch = fenced.empty(module.fixed_point_step_cuda_scratch(batch, length), dtype=torch.float64)
        restart = getattr(make_solver(config), "restart", 0.0)
        rule = (config.name, config.m, config.beta, config.ridge, config.relative, restart, config.drop)
        self.rule = (*rule, config.tol, config.max_iter, keep)
        self.remembers = config.name == "anderson"

    def step(self, f):
        memory = [part.data_ptr() if self.remembers else 0 for part in self.memory.values()]
        state = (*memory, self.best.data_ptr(), self.status.data_ptr(), self.iterations.data_ptr())
        outputs = [tensor.data_ptr() for tensor in (self.residuals, self.better, self.point, self.image)]
        size, scratch, x = (self.batch, self.length), self.scratch.data_ptr(), self.x.data_ptr()
        self.module.fixed_point_step_cuda(size, self.rule, state, f.data_ptr(), self.where, scratch, x, tuple(outputs))
        self.fenced.check()

    def of(self, rows):
        """Copies of all that belongs to some samples."""
        parts = (self.x, self.point, self.image, *self.memory.values(), self.best, self.status, self.iterations)
        return [part[rows].nan_to_num(9.0) for part in parts]


def solve(module, maps, config, keep="best", device=WITH_CLUSTERS, rows=None):
    """A whole solve by fixed_point_step_cuda and keep_rows_cuda."""
    rows = slice(None) if rows is None else rows
    mine = Buffers(module, config, keep, maps.x0[rows], device)
    z = mine.fenced.like(maps.x0[rows])
    for _ in range(config.max_iter + 2):  # two more than any sample takes
        stopped = mine.status != 0
        f = maps(_scattered(mine.x, maps.x0, rows), int(mine.iterations.max()))[rows]
        f[stopped] = torch.nan  # what a stopped sample's evaluation leaves is nobody's
        before = mine.of(stopped)
        mine.step(f)
        assert all(torch.equal(a, b) for a, b in zip(before, mine.of(stopped), strict=True))
        assert not mine.better[stopped].any()
        job = (f.data_ptr(), z.data_ptr(), f[0].numel() * 4)
        module.keep_rows_cuda([job], len(f), mine.better.data_ptr(), mine.where)
    mine.fenced.check()
    assert torch.equal(z, mine.image)  # rows kept beside the solver's own are those of the same evaluation
    return mine


def _scattered(part, whole, rows):
    full = whole.clone()
    full[rows] = part
    return full


def by_product(maps, config, keep, x0=None):
    turns = iter(range(config.max_iter))
    x0 = maps.x0 if x0 is None else x0
    return iterate(lambda x, aux: (maps(x, next(turns)), aux), x0, {}, config, keep, backend="eager")


def moved_by_rounding(maps, config, keep):
    """How far the plain loop's own residuals and answers go apart where its start is rounded otherwise."""
    want, curves, ends = by_product(maps, config, keep), [], []
    for seed in range(3):
        noise = torch.rand(maps.x0.shape, generator=torch.Generator().manual_seed(seed)) - 0.5
        other = by_product(maps, config, keep, maps.x0 * (1 + 4e-7 * noise))
        curve = torch.zeros(config.max_iter, len(noise))
        turns = min(len(want.residuals), len(other.residuals))
        curve[:turns] = (other.residuals[:turns] - want.residuals[:turns]).abs().nan_to_num(0)
        curves.append(curve.cummax(0).values)
        ends.append((other.x - want.x).abs().nan_to_num(0).amax(1))
    return torch.stack(curves).amax(0), torch.stack(ends).amax(0)


def check(got, maps, config, keep="best"):
    """The plain loop's solve, but for a few times what rounding does to it."""
    want, (curve, ends) = by_product(maps, config, keep), moved_by_rounding(maps, config, keep)
    assert got.status.tolist() == want.status.tolist()
    assert got.iterations.tolist() == want.iterations.tolist()
    turns = len(want.residuals)
    assert got.residuals[turns:].isnan().all()
    mine = got.residuals[:turns]
    assert torch.equal(mine.isnan(), want.residuals.isnan())
    allowed = 10 * curve[:turns] + 1e-5 * want.residuals
    assert not ((mine - want.residuals).abs() > allowed).any()
    for mine, other in ((got.image, want.x), (got.point, want.aux["point"])):
        assert mine.isfinite().all()
        allowed = 10 * ends + 1e-5 * other.abs().amax(1)
        assert not ((mine - other).abs().amax(1) > allowed).any()


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_solve_is_that_of_the_plain_loop(emulated, monkeypatch, name, keep):
    config, maps = CONFIGS[name], Maps(45)
    monkeypatch.setenv("EMULATED_CUDA_SEED", str(len(name)))
    check(solve(emulated, maps, config, keep), maps, config, keep)


def as_double(tensors):
    return {name: value.double() for name, value in tensors.items()}


def no_worse(got, plain, true):
    """As near to the step in double as the plain solver in float32 is, give or take."""
    allowed = 5 * (plain - true).abs().max() + 1e-6 * true.abs().max()
    assert not ((got - true).abs().max() > allowed)


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("name", [name for name in CONFIGS if "picard" not in name])
def test_a_step_is_that_of_the_solver(emulated, name, keep):
    """From the plain solver's own state each time, so that rounding has no time to grow."""
    config, maps = CONFIGS[name], Maps(45)
    solver, mine = make_solver(config, "eager"), Buffers(emulated, config, keep, maps.x0, WITH_CLUSTERS)
    memory, x, progress = solver.init(maps.x0), maps.x0, Progress(maps.x0, {}, config, keep)
    restarts = 0
    for turn in range(config.max_iter):
        for part, value in memory.items():
            if turn > 0:
                mine.memory[part].copy_(value)
        mine.x.copy_(x)
        f, before, running = maps(x, turn), {part: v.clone() for part, v in memory.items()}, progress.running
        true, _, exact = solver.propose(as_double(memory), turn, x.double(), f.double())
        following, norms, memory = solver.propose(memory, turn, x, f)
        if turn > 0 and "least" in memory:
            restarts += int((running & (memory["least"] > before["least"])).sum())
        row = progress.record(x, f, {}, norms)
        mine.step(f)
        torch.testing.assert_close(mine.residuals[turn], row, rtol=1e-6, atol=0, equal_nan=True)
        assert torch.equal(mine.status, progress.status) and torch.equal(mine.iterations, progress.iterations.int())
        assert torch.equal(mine.point, progress.kept["point"]) and torch.equal(mine.image, progress.kept["image"])
        on, valid = progress.running, min(turn + 1, config.m)
        for part in ("X", "F"):
            assert torch.equal(mine.memory[part][on, :valid], memory[part][on, :valid])
        for sample in on.nonzero()[:, 0].tolist():
            no_worse(mine.x[sample], following[sample], true[sample])
            for part in ("gram", "mean", "beta", "least"):
                if part in memory:
                    three = [one[part][sample] for one in (mine.memory, memory, exact)]
                    no_worse(*(values[:valid, :valid] if part == "gram" else values for values in three))
        x, _ = progress.advance(following, {}, (x, {}))
        if not on.any():
            break
    assert restarts > 0 or not solver.restart


def test_the_maps_end_in_every_way(emulated):
    found = by_product(Maps(45), ADAPTED, "best")
    assert {Status.CONVERGED, Status.DIVERGED} <= set(found.status.tolist())
    assert len(set(found.iterations.tolist())) >= 4
    assert Status.MAX_ITER in by_product(Maps(45), CONFIGS["picard"], "best").status.tolist()


@pytest.mark.parametrize("device", DEVICES)
def test_long_samples(emulated, device):
    """More than one block a sample, or several turns of one block."""
    config, maps = FixedPointConfig(m=3, tol=1e-4, max_iter=7), Maps(4100)
    check(solve(emulated, maps, config, device=device), maps, config)


def test_a_sample_does_not_depend_on_its_batch_or_on_the_order_of_warps(emulated, monkeypatch):
    config, maps = FixedPointConfig(m=3, tol=1e-3, max_iter=8), Maps(2100)
    whole = solve(emulated, maps, config)
    monkeypatch.setenv("EMULATED_CUDA_SEED", "11")
    for rows in (slice(1, 2), slice(2, 5)):
        part = solve(emulated, maps, config, rows=rows)
        for name in ("image", "point", "status", "iterations"):
            assert torch.equal(getattr(part, name), getattr(whole, name)[rows]), name
        assert torch.equal(part.residuals.nan_to_num(9), whole.residuals[:, rows].nan_to_num(9))


def test_bad_rules_are_refused(emulated):
    state, outputs = (0,) * 9, (0,) * 4
    for rule, words in [
        (("broyden", 5, 1.0, 0.0, True, 0.0, 0.0, 0.1, 5, "best"), "anderson or picard"),
        (("anderson", 17, 1.0, 0.0, True, 0.0, 0.0, 0.1, 5, "best"), "1 to 16"),
        (("anderson", 5, 1.0, 0.0, True, 0.0, 0.0, 0.1, 5, "worst"), "best or last"),
    ]:
        with pytest.raises(ValueError, match=words):
            emulated.fixed_point_step_cuda((1, 5), rule, state, 0, (1, 0), 0, 0, outputs)


def test_rows_of_many_tensors_are_kept(emulated):
    fenced, better = Fenced(), torch.tensor([1, 0, 1], dtype=torch.int8)
    sizes = [1, 5, 4097, 64] + [3] * 40  # more tensors than fit one launch
    given = [torch.arange(3.0 * size).view(3, size) for size in sizes]
    kept = [fenced.like(torch.full((3, size), -1.0)) for size in sizes]
    count, kept_count = torch.tensor([7, 8, 9]), fenced.like(torch.tensor([0, 0, 0]))  # of 8 bytes
    jobs = [(a.data_ptr(), b.data_ptr(), 4 * a.shape[1]) for a, b in zip(given, kept, strict=True)]
    emulated.keep_rows_cuda([*jobs, (count.data_ptr(), kept_count.data_ptr(), 8)], 3, better.data_ptr(), (1, 0))
    fenced.check()
    for mine, want in zip(kept, given, strict=True):
        assert torch.equal(mine[::2], want[::2]) and (mine[1] == -1).all()
    assert kept_count.tolist() == [7, 0, 9]
    with pytest.raises(ValueError, match="whole words"):
        emulated.keep_rows_cuda([(0, 0, 6)], 3, better.data_ptr(), (1, 0))


def test_loops_need_a_device(emulated):
    assert "12.4" in emulated.graph_while_supported(0)
    with pytest.raises(RuntimeError, match=r"12\.4"):
        emulated.graph_while_build(0, 0, 1, 0, 1, 0)


SOURCE = (CSRC / "cuda" / "fixed_point.cu").read_text()
BARRIERS = list(re.finditer(r"__syncthreads\(\);|cluster_barrier\(\);", SOURCE))


@pytest.mark.parametrize("barrier", BARRIERS, ids=lambda found: f"{found.group()[:-3]}-at-{found.start()}")
@pytest.mark.first_of_many
def test_a_missing_barrier_is_caught(monkeypatch, barrier):
    module = emulated_module({"fixed_point.cu": SOURCE[: barrier.start()] + SOURCE[barrier.end() :]})
    config, maps = FixedPointConfig(m=3, tol=1e-4, max_iter=5), Maps(2100)

    def is_right(seed):
        monkeypatch.setenv("EMULATED_CUDA_SEED", str(seed))
        try:
            check(solve(module, maps, config), maps, config)
        except (AssertionError, RuntimeError):  # the emulator itself sees some
            return False
        return True

    assert len(BARRIERS) == 4
    assert not all(is_right(seed) for seed in range(4))
