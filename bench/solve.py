"""Time of a whole solve by the reference, two plain baselines and the product's engine: same network, weights and data.

Run by `aafast bench --suite solve`, or `python -m pytest bench/solve.py` with the options of conftest.py.
The contestants take turns in every round, so that what else the machine does hits all of them alike; a gate stands
before the first round, and behind a red one nothing is timed.
"""

from __future__ import annotations

import sys

import pytest

from aafast.bench.backends import ENGINE
from aafast.bench.cases import METHODS, TASKS, Case
from aafast.bench.contest import Contest

ROUNDS, QUICK_ROUNDS, DEVICE_ROUNDS = 3, 2, 15


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    option = metafunc.config.getoption
    chosen = [
        Case(task, method, option("--quick"), option("--device"), option("--precision"))
        for task in TASKS
        for method in METHODS
        if option("--task") in (None, task) and option("--method") in (None, method)
    ]
    metafunc.parametrize("case", chosen, ids=lambda case: f"{case.task}-{case.method}")


def test_solve(benchmark, case, record, pytestconfig):
    contest = Contest(case, pytestconfig.getoption("--without"))
    for name, reason in contest.absent.items():
        print(f"solve {case.task} {case.method} {name}: not run, {reason}", file=sys.stderr, flush=True)
    seconds: dict[str, list[float]] = {name: [] for name in contest.runs}
    green = [name for name in contest.runs if contest.ok(name)]

    def baselines() -> None:
        for name in green:
            if name != ENGINE:
                seconds[name].append(contest.timed(name))

    if ENGINE in green:
        benchmark.group = f"{case.task} {case.method}, {'x'.join(map(str, case.shape))}, {case.iterations} iterations"
        rounds = QUICK_ROUNDS if case.quick else ROUNDS if case.device == "cpu" else DEVICE_ROUNDS
        engine = lambda: seconds[ENGINE].append(contest.timed(ENGINE))  # noqa: E731
        benchmark.pedantic(engine, setup=baselines, rounds=rounds)
    rows = contest.rows(seconds)
    for row in rows:
        record(row)
    benchmark.extra_info["rows"] = rows
    red = [row["backend"] for row in rows if not row["gate"]["ok"]]
    assert not red, f"red gate of {', '.join(red)}"
