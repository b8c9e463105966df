"""`aafast bench`: runs the suites through pytest in a process of their own and reads back their rows."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import aafast
from aafast.bench.rows import Row, read
from aafast.checks import check_device
from aafast.errors import AafastError, InputError, describe, require

FOLDER = Path(__file__).resolve().parent
SUITES = ("ops", "solve")  # those that are run where none is named
FILES = {"ops": ("ops.py", "device.py"), "solve": ("solve.py",), "survey": ("survey.py",)}
SHORT = ("--benchmark-max-time=0.2",)  # on a device, where a call takes microseconds
# So that --quick is: what it measures says nothing anyway.
BRIEF = ("--benchmark-max-time=0.01", "--benchmark-min-rounds=2", "--benchmark-calibration-precision=2")


class BrokenRun(AafastError):
    """A suite ended by anything but a red gate; `rows` are those that it had made."""

    def __init__(self, message: str, rows: list[Row]) -> None:
        super().__init__(message)
        self.rows = rows


def run(
    suites: Sequence[str] = SUITES,
    device: str = "cpu",
    task: str | None = None,
    method: str | None = None,
    quick: bool = False,
    without: Sequence[str] = (),
    precision: str = "fast",
    rows_file: str | os.PathLike[str] | None = None,
) -> list[Row]:
    """Run suites, a line of progress per row on stderr, and return their rows; those with a red gate are among them.

    suites: "ops", "solve", "survey". device: "cpu" or "cuda". task, method: of the solve suite, all where None. quick:
    tiny sizes. without: baselines to leave out. precision: of the product's engine. rows_file: a file that gets each
    row as JSON as soon as it is there. Raises MissingDependency without pytest and pytest-benchmark (and, for survey,
    pylops), BackendError on a device that cannot be used, BrokenRun where a suite ends by anything but a red gate.
    """
    require("pytest", extra="bench")
    require("pytest_benchmark", extra="bench")
    if "survey" in suites:
        require("pylops", extra="baselines")
    check_device(device)
    if (task or method) and "solve" not in suites:
        raise InputError(describe("task and method", f"{task}, {method}", "the solve suite", "Leave out --suite ops"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl" if rows_file is None else Path(rows_file)
        path.touch()
        options = {"--device": device, "--task": task, "--method": method, "--precision": precision}
        options["--rows"] = str(path)
        command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "--import-mode=importlib"]
        files = [str(FOLDER / name) for suite in suites for name in FILES[suite]]
        command += ["-c", os.devnull, "--rootdir", str(FOLDER), *files]
        command += [f"{name}={value}" for name, value in options.items() if value is not None]
        brief = ["--quick", *BRIEF] if quick else SHORT if device == "cuda" else []
        command += [*brief, *(f"--without={name}" for name in without)]
        root = str(Path(aafast.__file__).resolve().parents[1])  # the child shall run this very package
        search = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH")) if part)
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,  # pytest's own report, of use only where something breaks
            text=True,
            env={**os.environ, "PYTHONPATH": search},
        )
        rows = read(path)
    if done.returncode not in (0, 1) or (done.returncode == 1 and all(row["gate"]["ok"] for row in rows)):
        tail = "\n".join(done.stdout.splitlines()[-40:])
        print(tail, file=sys.stderr)
        got = f"an end with code {done.returncode} (see above)"
        raise BrokenRun(describe("benchmarks", got, "every row", "Correct what is named"), rows)
    return rows
