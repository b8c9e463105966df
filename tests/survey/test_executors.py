"""Workers in processes and on Dask: the same bytes as one process, and a death or a lost scheduler costs little."""

import asyncio
import collections
import os
import threading

import numpy as np
import pytest
import survey_solvers

from aafast.errors import BackendError, InputError
from aafast.survey import memory
from aafast.survey.job import job_folder
from aafast.survey.ledger import Ledger
from aafast.survey.memory import parse_size, share_out
from aafast.survey.section import plan_section

from .conftest import synthetic, write_segy
from .test_resume import solve_in


@pytest.fixture
def line(tmp_path):
    """A 2D line of 300 traces, some of them dead."""
    data = synthetic(100, 300)
    data[:, [0, 77, 78, 150]] = 0
    return write_segy(tmp_path / "in.sgy", data)


def both(line, folder, name, **options):
    """Bytes of the output and of the misfit."""
    out, misfit = folder / f"{name}.sgy", folder / f"{name}-misfit.sgy"
    result = solve_in(line, out, misfit=misfit, **options)
    return out.read_bytes(), misfit.read_bytes(), result


def test_workers_give_the_bytes_of_one_process_even_when_one_of_them_dies(line, tmp_path, monkeypatch):
    flag = tmp_path / "flag"
    monkeypatch.setenv("FRAGILE_SOLVER", str(flag))
    fragile = {"solve": survey_solvers.fragile}
    one = both(line, tmp_path, "one", **fragile)
    flag.touch()
    two = both(line, tmp_path, "two", workers=2, **fragile)
    assert not flag.exists() and two[:2] == one[:2]
    assert two[2].blocks > one[2].blocks == 2 and two[2].misfit == pytest.approx(one[2].misfit, rel=1e-12)
    assert np.array_equal(two[2].wavelets.sum(0), one[2].wavelets.sum(0))
    assert two[2].iterations.size == one[2].iterations.size
    assert sum(v for k, v in two[2].seconds.items() if k != "total") <= two[2].seconds["total"] * 1.001


def test_an_error_in_a_worker_is_the_run_s_error(line, tmp_path):
    with pytest.raises(ArithmeticError, match="no answer"):
        solve_in(line, tmp_path / "out.sgy", solve=survey_solvers.broken, workers=2)
    assert [p.name for p in tmp_path.iterdir()] == ["in.sgy"]
    with pytest.raises(BackendError, match="Define the solver in a module"):
        solve_in(line, tmp_path / "out.sgy", solve=lambda y, A0: None, workers=2)


@pytest.fixture
def cluster(monkeypatch):
    """A scheduler and a worker of two threads, reached by TCP."""
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")
    from aafast.survey import cluster as module

    monkeypatch.setattr(module, "_WAIT", "2s")
    options = {"processes": False, "dashboard_address": None, "protocol": "tcp"}
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, **options) as made:
        yield made
    while module._kept:
        module._kept.popitem()[1].worker.close()


quiet = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning")


@quiet
def test_dask_gives_the_bytes_of_one_process(line, tmp_path, cluster):
    one = both(line, tmp_path, "one")
    many = both(line, tmp_path, "many", scheduler=cluster.scheduler_address, workers=2)
    assert many[:2] == one[:2] and many[2].blocks > 2
    with pytest.raises(ArithmeticError, match="no answer"):
        solve_in(line, tmp_path / "bad.sgy", solve=survey_solvers.broken, scheduler=cluster.scheduler_address)


@quiet
def test_a_lost_scheduler_is_an_error_and_the_run_goes_on_without_it(line, tmp_path, cluster, monkeypatch):
    monkeypatch.setenv("SLOW_SOLVER", "0.1")
    out, address, add = tmp_path / "out.sgy", cluster.scheduler_address, Ledger.add
    slow = {"solve": survey_solvers.slow, "batch": 1}

    def lose(self, sync=True, **record):
        add(self, sync, **record)
        if "done" in record and "lost" not in seen:
            seen.append("lost")
            threading.Thread(target=cluster.close).start()

    seen: list[str] = []
    monkeypatch.setattr(Ledger, "add", lose)
    with pytest.raises(BackendError, match=f"scheduler {address}.*goes on"):
        solve_in(line, out, scheduler=address, workers=2, **slow)
    monkeypatch.setattr(Ledger, "add", add)
    left = len(list(job_folder(out).glob("block-*.npz")))
    with pytest.raises(BackendError, match=f"scheduler {address}"):
        solve_in(line, out, scheduler=address, **slow)
    result = solve_in(line, out, **slow)
    assert left >= result.resumed > 0
    assert out.read_bytes() == both(line, tmp_path, "one", **slow)[0]


@quiet
def test_workers_that_offer_a_gpu_get_one_block_at_a_time(line, tmp_path, monkeypatch):
    """The scheduling of GPU workers, on processors that only claim to be some."""
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")
    from aafast.survey import cluster as module

    at_once, most, lock, solve = [0], [0], threading.Lock(), module.Worker.solve

    def counted(*arguments):
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        try:
            return solve(*arguments)
        finally:
            with lock:
                at_once[0] -= 1

    monkeypatch.setattr(module.Worker, "solve", counted)
    options = {"processes": False, "dashboard_address": None, "protocol": "tcp", "resources": {"GPU": 1}}
    with distributed.LocalCluster(n_workers=1, threads_per_worker=4, **options) as made:
        many = both(line, tmp_path, "many", scheduler=made.scheduler_address, workers=4)
    assert many[:2] == both(line, tmp_path, "one")[:2] and many[2].blocks > 2 and most[0] == 1
    while module._kept:
        module._kept.popitem()[1].worker.close()


def test_a_cluster_s_worker_keeps_a_job_that_is_in_use_and_closes_one_that_is_idle(tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason="dask.distributed is not installed")
    from aafast.survey import cluster as module

    closed = []
    fake = type("W", (), {"__init__": lambda self, context: setattr(self, "folder", context.folder),
                          "close": lambda self: closed.append(self.folder.name)})  # fmt: skip
    monkeypatch.setattr(module, "Worker", fake)
    monkeypatch.setattr(module, "_kept", {})
    jobs = {}
    for name in "abc":
        (tmp_path / name).mkdir()
        jobs[name] = type("C", (), {"folder": tmp_path / name})
    with module._lent(jobs["a"]) as first, module._lent(jobs["b"]):
        with module._lent(jobs["a"]) as again:
            assert again is first and closed == []
    with module._lent(jobs["c"]):
        assert sorted(closed) == ["a", "b"]
        asyncio.run(module.release(str(tmp_path / "c")))
        assert "c" not in closed
    asyncio.run(module.release(str(tmp_path / "c")))
    assert closed[-1] == "c" and not module._kept


def test_sizes_of_memory():
    sizes = {"2GB": 2 * 10**9, "1.5 GiB": 3 * 2**29, "800m": 800 * 10**6, 12345: 12345, "64": 64, None: None}
    assert {text: parse_size(text) for text in sizes} == sizes
    for wrong in ("", "GB", "2 XB", "-1", "0", "1e9", "2i"):
        with pytest.raises(InputError, match="2GB"):
            parse_size(wrong)


def test_blocks_narrow_with_memory_until_none_fits(monkeypatch):
    monkeypatch.setattr(memory, "_resident", lambda: 400 * 10**6)  # whatever other tests have left in this process
    axis = plan_section((2000, 5000)).trace
    widths = [share_out(limit, 1, 2000, axis).columns for limit in (None, 8 * 10**9, 900 * 10**6)]
    assert widths[0] == widths[1] == 20 and widths[0] > widths[2] > 0
    assert share_out(8 * 10**9, 4, 2000, axis).solver < share_out(8 * 10**9, 1, 2000, axis).solver
    with pytest.raises(InputError, match="--memory"):
        share_out(900 * 10**6, 4, 2000, axis)
    with pytest.raises(InputError, match="traces of 1000000 samples"):
        share_out(2 * 10**9, 1, 10**6, axis)


def test_too_little_memory_is_refused_before_anything_is_solved(line, tmp_path):
    with pytest.raises(InputError, match="MB or more"):
        solve_in(line, tmp_path / "out.sgy", memory="100MB", solve=survey_solvers.broken)
    with pytest.raises(InputError, match="workers: got 0"):
        solve_in(line, tmp_path / "out.sgy", workers=0)
    assert os.listdir(tmp_path) == ["in.sgy"]




def test_each_worker_gets_a_block_before_one_gets_two():
    """Two blocks for two workers: one must not take both and leave the other to be waited for."""
    from aafast.survey import executor

    crew = object.__new__(executor._Crew)
    crew._waiting, crew.members, given = collections.deque([1, 2]), [], []
    crew._feed = lambda member: given.append((member, crew._waiting.popleft())) if crew._waiting else None
    crew._context, before = b"", executor._Member
    executor._Member = lambda _: object()
    try:
        crew.hire(3)
    finally:
        executor._Member = before
    assert len(crew.members) == 2 and [member for member, _ in given] == crew.members
