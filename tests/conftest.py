"""Fixtures shared by the whole suite."""

import os
from pathlib import Path

# A worker of several says so to all that it starts, and pytest-benchmark would time nothing there.
if os.environ.pop("PYTEST_XDIST_WORKER", None) is not None:
    # Workers share the cores, and threads that spin while they wait would take them from one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden numbers and data beside the checkout; tests that need it skip where it is absent."""
    folder = ROOT.parent / "shared"
    if not (folder / "golden").is_dir():
        pytest.skip(f"no golden numbers and data at {folder.name}/ beside the checkout")
    return folder


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run every case of tests of which one stands for many")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--long"):
        return
    seen = set()
    for item in items:
        if item.get_closest_marker("first_of_many") is None:
            continue
        case = (item.path, item.originalname, item.callspec.params.get("kernel"))
        if case in seen:
            item.add_marker(pytest.mark.skip(reason="one case stands for many; --long runs all"))
        seen.add(case)
