"""Options of the suites, and where their rows go."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable

import pytest

from aafast.bench.rows import Row, complaints, line


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("aafast")
    group.addoption("--device", default="cpu", help="cpu or cuda")
    group.addoption("--task", help="one task of the solve suite (default: all)")
    group.addoption("--method", help="one method of the solve suite (default: all)")
    group.addoption("--precision", default="fast", help="of the product's engine: fast, tf32 or strict")
    group.addoption("--quick", action="store_true", help="tiny sizes, to see that it works")
    group.addoption("--without", action="append", default=[], help="leave a baseline out; may be given again")
    group.addoption("--rows", metavar="FILE.jsonl", help="append each row to this file")


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[[Row], None]:
    """Takes a row: checked, written and said."""

    def take(row: Row) -> None:
        wrong = complaints(row)
        assert not wrong, f"{'; '.join(wrong)}: {row}"
        path = request.config.getoption("--rows")
        if path:
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row, allow_nan=False) + "\n")
        print(line(row), file=sys.stderr, flush=True)

    return take


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say on stderr what was left out and why: who calls `aafast bench` does not see pytest's own words."""
    reports = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reports)
    for reason, count in sorted(reasons.items()):
        print(f"{count} left out: {reason}", file=sys.stderr, flush=True)
