"""The long trials of a run: kills, linear time, memory, two workers, full and read-only disks.

Run: python bench/survey_torture.py [--only NAME ...] [--folder DIR] [--kills N] [--sizes MB,MB,...] [--out FILE.jsonl]
Each trial prints its row and appends it to the file; the exit code is 1 where a claim does not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import torch

import aafast
from aafast.bench.rows import Row, facts
from aafast.survey import SyntheticSurvey, run, write_survey

CHILD = """
import json, sys
from aafast.survey import run
from aafast.bench import survey_torture
options = json.loads(sys.argv[1])
if "solve" in options:
    options["solve"] = getattr(survey_torture, options["solve"])
run(**options, wavelet="ricker:25", progress=False)
"""
TRIALS: dict[str, Callable[..., Row]] = {}


def slow(y, A0):
    """The data through the adjoint, after half a second a call."""
    time.sleep(0.5)
    batch = len(y)
    return SimpleNamespace(
        x=torch.tanh(A0.A_adjoint(y)), status=torch.ones(batch), iterations=torch.ones(batch),
        residuals=torch.zeros(1, batch), wavelet=None, backend="slow",
    )  # fmt: skip


def trial(function: Callable[..., Row]) -> Callable[..., Row]:
    """Enter a trial under its name."""
    TRIALS[function.__name__] = function
    return function


def start(options: dict, **popen) -> subprocess.Popen:
    """A run in a process of its own, with one thread for torch in each process."""
    root = str(Path(aafast.__file__).resolve().parents[1])
    search = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": search}
    return subprocess.Popen([sys.executable, "-c", CHILD, json.dumps(options)], env=environment, **popen)


def measured(options: dict) -> tuple[float, float]:
    """Seconds and peak MB of a whole run, its start among them."""
    begin, process = time.perf_counter(), start(options)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"a run ended with code {process.returncode}: {options}")
    return time.perf_counter() - begin, usage.ru_maxrss / 1024


class Repeated(SyntheticSurvey):
    """One inline again and again under other numbers, which is quick to make: what is timed does not look inside."""

    def inline(self, number: int):
        return _first_inline(self.inlines, self.crosslines, self.samples)


@functools.lru_cache(maxsize=1)
def _first_inline(*size: int):
    return SyntheticSurvey(*size, seed=1).inline(0)


def synthesise(path: Path, inlines: int, crosslines: int, samples: int) -> Path:
    """A survey for the trials, unless it is there already."""
    if not path.exists():
        write_survey(path, Repeated(inlines, crosslines, samples, seed=1))
    return path


def sized(folder: Path, mb: int) -> Path:
    """A survey of about so many MB, of traces of 1250 samples."""
    return synthesise(folder / f"sized-{mb}.sgy", max(1, round(mb * 1e6 / (500 * 5240))), 500, 1250)


def digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _hash(file)


def _hash(file) -> str:
    found = hashlib.sha256()
    for part in iter(lambda: file.read(1 << 20), b""):
        found.update(part)
    return found.hexdigest()


def ledger_of(out: Path) -> Path:
    """Where the ledger of an output's job lies."""
    return out.with_name(out.name + ".aafast-job") / "ledger"


def read_ledger(path: Path) -> list[dict]:
    """The whole records of a ledger; none where there is no such file."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line.split(b" ", 1)[1]) for line in lines]


def ledger(out: Path) -> tuple[list[int], Counter]:
    """Blocks that a job's ledger calls done, and how often each was begun."""
    records = read_ledger(ledger_of(out))
    return [r["done"] for r in records if "done" in r], Counter(r["begun"] for r in records if "begun" in r)


def solved_again(records: list[dict], killed: set[int]) -> tuple[int, list[int]]:
    """How often a block was begun again, and the blocks for which no kill accounts.

    A kill accounts for it where the process that began the block before was killed and had not finished it: the block
    was then in flight. records: of a ledger, in order. killed: the processes that were killed.
    """
    again, unexplained = 0, []
    solver: dict[int, int | None] = {}  # of blocks that are begun: who solves them, None once they are done
    for record in records:
        if "begun" in record:
            block = record["begun"]
            if block in solver:
                again += 1
                if solver[block] not in killed:
                    unexplained.append(block)
            solver[block] = record["by"]
        elif "done" in record:
            solver[record["done"]] = None
    return again, unexplained


def wait_for(process, reached: Callable[[], bool]) -> None:
    """Until something is reached or a run has ended, at most two minutes."""
    until = time.monotonic() + 120
    while process.is_alive() and not reached() and time.monotonic() < until:
        time.sleep(0.01)


def _run(options: dict) -> None:
    """A run in this process."""
    from aafast.bench import survey_torture  # by the name under which workers find its solver

    torch.set_num_threads(1)
    run(**{**options, "solve": getattr(survey_torture, options["solve"])}, wavelet="ricker:25", progress=False)


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(word) for word in task.read_text().split()]
    return found


@trial
def kills(folder: Path, count: int = 50, **_) -> Row:
    """SIGKILL at random times, parent or worker, over one survey; then the bytes of an undisturbed run."""
    source = synthesise(folder / "kills.sgy", 110, 100, 128)
    whole, out, rng = folder / "whole.sgy", folder / "killed.sgy", random.Random(0)
    options = {"input": str(source), "output": str(out), "solve": "slow"}
    if start({**options, "output": str(whole), "workers": 4}).wait():
        raise SystemExit("the undisturbed run failed")
    # Forked, so that a run starts at once and most of its life is work; its workers are processes of their own.
    fork = multiprocessing.get_context("fork")
    kept, dealt, parents, runs = folder / "ledger", 0, 0, 0
    killed: set[int] = set()
    process = None
    while dealt < count:
        if process is None or not process.is_alive():
            if out.exists():
                break  # it ended before all kills were dealt
            runs += 1
            process = fork.Process(target=_run, args=({**options, "workers": rng.choice([1, 1, 1, 2])},))
            before = sum(ledger(out)[1].values())
            process.start()
            wait_for(process, lambda before=before: sum(ledger(out)[1].values()) > before)
            if not kept.exists():
                os.link(ledger_of(out), kept)  # it outlives the job's folder, with what the last run enters
        # By blocks, not by seconds alone, so that a slow machine gets on and a fast one does not end too soon.
        goal = len(ledger(out)[0]) + rng.choice([0, 1, 2])
        wait_for(process, lambda goal=goal: len(ledger(out)[0]) >= goal)
        time.sleep(rng.uniform(0, 0.6))
        if not process.is_alive():
            continue
        crew = children(process.pid)
        if crew and rng.random() < 0.5:
            worker = rng.choice(crew)
            os.kill(worker, signal.SIGKILL)
            killed.add(worker)
        else:
            os.kill(process.pid, signal.SIGSTOP)  # so that none of its workers is missed
            killed |= {process.pid, *children(process.pid)}
            process.kill()
            process.join()
            parents += 1
        dealt += 1
    if process is not None:
        process.join()
    if not out.exists() and start({**options, "workers": 2}).wait():
        raise SystemExit("the last run failed")
    records = read_ledger(kept)
    again, unexplained = solved_again(records, killed)
    done = [r["done"] for r in records if "done" in r]
    same, once = digest(out) == digest(whole), len(done) == len(set(done))
    # A worker that dies may have a block that it solves and one that is written but not entered.
    ok = same and once and not unexplained and again <= 2 * 2 * dealt and dealt == count
    return {"kills": dealt, "of the parent": parents, "runs": runs, "blocks": len(set(done)), "solved again": again,
            "in flight at a kill": again - len(unexplained), "same bytes": same, "no block entered twice": once,
            "ok": ok}  # fmt: skip


@trial
def linear(folder: Path, sizes: tuple[int, ...] = (64, 256, 1024, 4096), rounds: int = 3, **_) -> Row:
    """Time and memory of the pass-through model from 64 MB to 4 GB under --memory 1.5GB, the median of a few runs."""
    rows = []
    for size in sizes:
        source = sized(folder, size)
        out = folder / "linear-out.sgy"
        options = {"input": str(source), "output": str(out), "model": "identity", "memory": "1.5GB"}
        times, peaks = [], []
        for _ in range(rounds):
            os.sync()  # what was written before is not to be written out beside what is timed
            seconds, peak = measured(options)
            times.append(seconds)
            peaks.append(peak)
            out.unlink()
        rows.append({"mb": source.stat().st_size / 1e6, "seconds": statistics.median(times), "all_s": times,
                     "peak_mb": max(peaks)})  # fmt: skip
        source.unlink()
    # The start of the process is no part of a survey's time: a straight line through the smallest and the largest.
    first, last = rows[0], rows[-1]
    slope = (last["seconds"] - first["seconds"]) / max(last["mb"] - first["mb"], 1e-9)
    off = [abs(r["seconds"] - first["seconds"] - slope * (r["mb"] - first["mb"])) / r["seconds"] for r in rows]
    return {"rows": rows, "mb_per_s": 1 / slope if slope > 0 else None, "off the line": max(off),
            "ok": max(off) <= 0.1 and max(r["peak_mb"] for r in rows) < 1500}  # fmt: skip


@trial
def direct(folder: Path, direct_mb: tuple[int, ...] = (64, 4096), **_) -> Row:
    """Memory under --memory 1.5GB: an untrained direct inverse of full size, and the shipped one on a large survey."""
    torch.manual_seed(0)
    full = str(aafast.save(aafast.build("deconv", "direct"), folder / "direct"))
    models = {"full size, untrained": full, "deconv-direct": "deconv-direct"}
    rows = []
    for size, (name, model) in zip(direct_mb, models.items(), strict=True):
        source = sized(folder, size)
        out = folder / "direct.sgy"
        seconds, peak = measured({"input": str(source), "output": str(out), "model": model, "memory": "1.5GB"})
        rows.append({"model": name, "mb": source.stat().st_size / 1e6, "seconds": seconds, "peak_mb": peak})
        out.unlink()
        source.unlink()
    return {"rows": rows, "ok": max(row["peak_mb"] for row in rows) < 1500}


@trial
def workers(folder: Path, **_) -> Row:
    """The shipped model with one single-threaded worker and with two; the start of each run is taken off."""
    source = synthesise(folder / "workers.sgy", 16, 250, 400)
    little = synthesise(folder / "little.sgy", 2, 64, 64)  # a block for each
    times = {}
    for count in (1, 2):
        options = {"workers": count, "output": str(folder / f"workers-{count}.sgy")}
        empty, _ = measured({**options, "input": str(little)})
        whole = [measured({**options, "input": str(source)})[0] for _ in range(2)]
        times[count] = min(whole) - empty
    same = digest(folder / "workers-1.sgy") == digest(folder / "workers-2.sgy")
    gain = times[1] / times[2]
    return {"one_s": times[1], "two_s": times[2], "ratio": gain, "same bytes": same, "ok": same and gain >= 1.7}


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path | None]:
    """A small file system in memory, or None where this process may not make one."""
    place = folder / "mounted"
    place.mkdir(exist_ok=True)
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True)
    try:
        yield place if made.returncode == 0 else None
    finally:
        if made.returncode == 0:
            subprocess.run(["umount", str(place)], check=True)


@trial
def disks(folder: Path, **_) -> Row:
    """A disk that fills on the way and is then given room, and a read-only folder."""
    source = synthesise(folder / "disks.sgy", 20, 100, 250)
    need = source.stat().st_size
    with mounted(folder, f"size={need * 2}") as place:
        if place is None:
            return {"skipped": "this process may not mount a file system", "ok": True}
        out, ballast = place / "out.sgy", place / "ballast"
        options = {"input": str(source), "output": str(out), "solve": "slow"}
        process = start(options, stderr=subprocess.PIPE, text=True)
        while len(ledger(out)[0]) < 2 and process.poll() is None:
            time.sleep(0.05)
        with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        _, errors = process.communicate()
        full = process.returncode != 0 and "No space left" in errors and not out.exists()
        left = len(ledger(out)[0])
        ballast.unlink()
        again = start(options).wait() == 0 and out.exists()
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        process = start({**options, "output": str(place / "other.sgy")}, stderr=subprocess.PIPE, text=True)
        _, errors = process.communicate()
        sealed = process.returncode != 0 and "Read-only file system" in errors
    return {"full disk is an error": full, "blocks left": left, "goes on": again,
            "read-only is an error": sealed, "ok": full and again and sealed and left > 0}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=TRIALS, default=list(TRIALS))
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--sizes", default="64,256,1024,4096", help="MB of the linear trial")
    parser.add_argument("--direct-mb", default="64,4096", help="MB of the direct inverses, full size and shipped")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "survey-torture.jsonl")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="aafast-torture-"))
    folder.mkdir(exist_ok=True)
    sizes, direct_mb = (tuple(map(int, words.split(","))) for words in (arguments.sizes, arguments.direct_mb))
    options = {"count": arguments.kills, "sizes": sizes, "direct_mb": direct_mb}
    good = True
    try:
        for name in arguments.only:
            row = {"suite": "survey-torture", "trial": name, **TRIALS[name](folder, **options), **facts("cpu"),
                   "threads": 1}
            good &= row["ok"]
            print(json.dumps(row), flush=True)
            with open(arguments.out, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
