"""Run `aafast.survey` on mutated surveys: each gives a valid result or a clear error, soon, in bounded memory.

    python bench/survey_fuzz.py [--files 10000] [--stores 500] [--seed 0] [--json FILE.jsonl]

SEG-Y files, and MDIO stores (survey_fuzz_stores.py), which are compared with what they were made of as well. Some are
run with an estimated wavelet: in windows of time and areas, or tied to a well, whose LAS file may be mutated itself.
All are run in a process of its own, which is watched: its death is a crash, silence a hang. A valid result has the
input's size, its trace headers byte for byte, and finite samples. The process may add at most 256 MB to what it takes
after a plain file, whatever headers claim.
"""

from __future__ import annotations

import argparse
import json
import resource
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from aafast.bench import survey_fuzz_stores as stores
from aafast.bench.rows import facts

LIMIT_S, LIMIT_MB = 5.0, 256
_CODES = {1: ">u4", 2: "i4", 3: "i2", 5: "f4", 6: "f8", 8: "i1"}
_ODD = (0, 1, -1, 2, 3, 255, 256, 0x3FFF, 0x7FFF, -0x8000)
_LOUD = ("7fffffff", "7f800000", "0000807f", "ffffffff", "7f7fffff")
_GOOD, _BAD = ("valid", "error"), ("wrong", "crash", "hang", "slow", "memory")
_BINARY = (3213, 3215, 3217, 3221, 3225, 3255, 3261, 3269, 3271, 3273, 3297, 3501, 3503, 3505, 3507, 3521, 3525, 3529)
_TRACE = (1, 5, 9, 21, 29, 71, 109, 115, 117, 181, 185, 189, 193, 215)


def make_file(number: int) -> bytes:
    """A small survey of the kind that its number gives: format, byte order, text, revision, line or cube."""
    rng = np.random.default_rng(number)
    code = list(_CODES)[number % len(_CODES)]
    word = "<" if code != 1 and number // 6 % 2 else ">"
    ascii_text, cube, revision = number // 2 % 2, number // 3 % 2, number % 3
    traces, samples = 36, 56 + 8 * (number % 5) if number % 5 < 4 else 208  # the long ones have windows in time
    binary = bytearray(400)
    for place, form, value in ((16, "H", 4000), (20, "H", samples), (24, "H", code), (300, "H", revision << 8)):
        struct.pack_into(word + form, binary, place, value)
    extended = revision if number % 4 == 0 else 0
    struct.pack_into(word + "h", binary, 304, extended)
    text = "".join(f"C{k:2d} LINE".ljust(80) for k in range(1, 41)).encode("ascii" if ascii_text else "cp037")
    data = 100 * rng.standard_normal((traces, samples)) * (rng.random((traces, samples)) < 0.3)
    parts = [text, bytes(binary), *[text] * extended]
    for k in range(traces):
        header = bytearray(240)
        struct.pack_into(word + "i", header, 20, k + 1)
        struct.pack_into(word + "ii", header, 188, *((k // 9 + 1, k % 9 + 1) if cube else (0, 0)))
        struct.pack_into(word + "hHH", header, 108, 0, 0, 0)
        struct.pack_into(word + "HH", header, 114, samples, 4000)
        row = (np.abs(data[k]).astype(np.uint32) << 12 | 0x46000000) if code == 1 else np.rint(data[k])
        parts += [bytes(header), row.astype(_CODES[code] if code == 1 else word + _CODES[code]).tobytes()]
    return b"".join(parts)


def flip(raw: bytearray, rng: np.random.Generator) -> None:
    """Bits of up to 16 bytes, most of them in headers."""
    for _ in range(rng.integers(1, 17)):
        place = int(rng.integers(3200, 3840) if rng.random() < 0.6 else rng.integers(len(raw)))
        raw[place] ^= 1 << int(rng.integers(8))


def truncate(raw: bytearray, rng: np.random.Generator) -> None:
    """Cut somewhere, often in the headers or between traces, or lengthened by junk."""
    draw = rng.random()
    if draw > 0.8:
        samples = int.from_bytes(raw[3220:3222], "big")
        del raw[-int(rng.integers(1, 3)) * (240 + 4 * samples):]
        return
    if draw < 0.2:
        raw += rng.bytes(int(rng.integers(1, 5000)))
    else:
        del raw[int(rng.integers(0, 4000) if draw < 0.4 else rng.integers(0, len(raw))):]


def nonsense(raw: bytearray, rng: np.random.Generator) -> None:
    """Numbers of the headers set to what no survey has."""
    for _ in range(rng.integers(1, 5)):
        if rng.random() < 0.6:
            place = int(rng.choice(_BINARY)) - 1
        else:
            place = min(3600 + int(rng.integers(0, 36)) * 400 + int(rng.choice(_TRACE)) - 1, len(raw) - 8)
        value = int(rng.choice(_ODD)) if rng.random() < 0.7 else int(rng.integers(-0x8000, 0x8000))
        struct.pack_into(rng.choice([">h", "<h", ">i", "<i"]), raw, place, value)


def junk(raw: bytearray, rng: np.random.Generator) -> None:
    """A piece of the file overwritten by zeros, ones or noise: traces, headers or both."""
    start = int(rng.integers(0, len(raw)))
    size = min(int(rng.integers(1, 2000)), len(raw) - start)
    raw[start:start + size] = (bytes(size), b"\xff" * size, rng.bytes(size))[int(rng.integers(3))]


def loud(raw: bytearray, rng: np.random.Generator) -> None:
    """Samples that are huge, NaN or Inf in one format or another."""
    for _ in range(rng.integers(1, 9)):
        place = min(3840 + 4 * int(rng.integers(0, len(raw) // 4)), len(raw) - 8)
        raw[place:place + 4] = bytes.fromhex(str(rng.choice(_LOUD)))


MUTATIONS: dict[str, Callable] = {f.__name__: f for f in (flip, truncate, nonsense, junk, loud)}


def mutated(seed: int, number: int) -> tuple[str, bytes]:
    """The kind of mutation and the bytes of one file: the same for the same seed and number."""
    rng = np.random.default_rng([seed, number])
    kind = list(MUTATIONS)[number % len(MUTATIONS)]
    raw = bytearray(make_file(int(rng.integers(60))))
    MUTATIONS[kind](raw, rng)
    return kind, bytes(raw)


def las() -> bytes:
    """The logs of a well of 100 m, some 80 ms of two-way time."""
    head = "~V\nVERS. 2.0 :\nWRAP. NO :\n~W\nSTRT.M 1000 :\nSTOP.M 1100 :\nSTEP.M 0.5 :\nNULL. -999.25 :\n~C\n"
    rng = np.random.default_rng(0)
    rows = "".join(f"{1000 + k / 2:.1f} {400 + 40 * rng.standard_normal():.2f} {2.3 + 0.1 * rng.random():.3f}\n"
                   for k in range(201))  # fmt: skip
    return (head + "DEPT.M :\nDT.US/M :\nRHOB.G/C3 :\n~A\n" + rows).encode()


def options_of(seed: int, number: int, folder: Path) -> dict:
    """How a survey is run: four of five with a Ricker wavelet, the others with one that is estimated."""
    rng = np.random.default_rng([seed, number, 2])
    draw, options = rng.random(), {"model": "identity", "wavelet": "ricker:25"}
    if draw < 0.1:
        windows = int(rng.integers(0, 4)), int(rng.integers(0, 40)) if rng.random() < 0.2 else int(rng.integers(1, 4))
        options |= {"wavelet": "auto", "wavelet_windows": windows}
    elif draw < 0.2:
        logs = bytearray(las())
        if rng.random() < 0.5:
            _pick_mutation(rng)(logs, rng)
        (folder / "well.las").write_bytes(bytes(logs))
        trace = int(rng.integers(1, 37)) if rng.random() < 0.9 else int(rng.choice([0, 37, 10**9]))
        start = "" if rng.random() < 0.7 else f":{int(rng.integers(-100, 1000))}"
        options |= {"wavelet": "auto", "well": f"{folder / 'well.las'}@{trace}{start}"}
    return options


def _pick_mutation(rng: np.random.Generator) -> Callable:
    return (truncate_text, junk, flip_text)[int(rng.integers(3))]


def truncate_text(raw: bytearray, rng: np.random.Generator) -> None:
    """The end of a text lost."""
    del raw[int(rng.integers(0, len(raw))):]


def flip_text(raw: bytearray, rng: np.random.Generator) -> None:
    """Characters of a text replaced."""
    for _ in range(rng.integers(1, 30)):
        raw[int(rng.integers(len(raw)))] = int(rng.integers(256))


def check(raw: bytes, folder: Path, options: dict | None = None) -> tuple[str, str]:
    """Run one file: ("valid", ""), ("error", its class) or ("wrong", what)."""
    from aafast.survey import run
    from aafast.survey.layout import inspect
    from aafast.survey.segy import Survey

    source, target = folder / "in.sgy", folder / "out.sgy"
    source.write_bytes(raw)
    target.unlink(missing_ok=True)
    given = options or {"model": "identity", "wavelet": "ricker:25"}
    found = stores.judged(
        lambda: run(source, target, skip_bad=True, progress=False, restart=True, **given), source, target
    )
    if found[0] != "valid":
        return found
    with Survey(source) as a, Survey(target) as b:
        every = np.arange(inspect(source).traces)
        finite = np.isfinite(a.read(every)).all(0)
        if not np.isfinite(b.read(every)[:, finite]).all():
            return "wrong", "samples that are not finite"
    return "valid", ""


def serve(seed: int) -> None:
    """The watched process: takes numbers of files on stdin, answers with a line of JSON each."""
    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        check(make_file(9), folder)  # a first run imports what runs import
        (folder / "well.las").write_bytes(las())
        check(make_file(9), folder, {"model": "identity", "wavelet": "auto", "well": f"{folder / 'well.las'}@5"})
        base = peak()
        print(json.dumps({"ready": True}), flush=True)
        for line in sys.stdin:
            for left in folder.iterdir():  # of a run that failed after some blocks that is also its job
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            form, number = line.split()[0], int(line.split()[1])
            if form == "store":
                kind, store = stores.kind_of(number), stores.make_mutated(seed, number, make_file, folder)
            else:
                kind, raw = mutated(seed, number)
            options = options_of(seed, number, folder)
            start = time.perf_counter()
            verdict, words = stores.check_store(store, folder, options) if form == "store" else check(
                raw, folder, options)  # fmt: skip
            seconds = time.perf_counter() - start
            print(json.dumps({"number": number, "kind": kind, "verdict": verdict, "words": words,
                              "seconds": seconds, "mb": peak() - base}), flush=True)


class Watched:
    """A process that runs files, started again after it died or fell silent."""

    def __init__(self, seed: int):
        self._command = [sys.executable, "-W", "ignore", __file__, "--serve", "--seed", str(seed)]
        self._process: subprocess.Popen | None = None

    def run(self, number: int, form: str = "file") -> dict:
        """What came of one file, or one store."""
        if self._process is None:
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self._answer(120)
        try:
            self._process.stdin.write(f"{form} {number}\n")
            self._process.stdin.flush()
            answer = self._answer(4 * LIMIT_S)
        except BrokenPipeError:
            answer = None
        if answer is None:
            ended = bool(select.select([self._process.stdout], [], [], 0)[0])  # at its end a pipe can be read
            self.close()
            verdict = "crash" if ended else "hang"
            return {"number": number, "verdict": verdict, "words": "", "seconds": LIMIT_S, "mb": 0}
        return answer

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _answer(self, seconds: float) -> dict | None:
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            return None
        line = self._process.stdout.readline()
        return json.loads(line) if line else None


def fuzz(files: int, seed: int, count_stores: int = 0) -> Iterator[dict]:
    """What came of each of so many files and stores."""
    watched = Watched(seed)
    cases = [("file", number) for number in range(files)] + [("store", number) for number in range(count_stores)]
    try:
        for form, number in cases:
            found = watched.run(number, form)
            found.setdefault("kind", stores.kind_of(number) if form == "store" else mutated(seed, number)[0])
            if found["seconds"] > LIMIT_S and found["verdict"] in _GOOD:
                found.update(verdict="slow")
            if found["mb"] > LIMIT_MB:
                found.update(verdict="memory")
            yield found
    finally:
        watched.close()


def summarise(found: list[dict], seed: int) -> list[dict]:
    """A row per kind of mutation, and one of all."""
    rows = []
    for kind in [*MUTATIONS, *(kind for kind in stores.MUTATIONS if any(f["kind"] == kind for f in found)), "all"]:
        of = [f for f in found if kind in (f["kind"], "all")]
        errors = sorted({f["words"] for f in of if f["verdict"] == "error"})
        rows.append({
            "suite": "survey-fuzz", "kind": kind, "seed": seed, "files": len(of),
            **{v: sum(f["verdict"] == v for f in of) for v in (*_GOOD, *_BAD)},
            "errors": {e: sum(f["words"] == e and f["verdict"] == "error" for f in of) for e in errors},
            "slowest_s": round(max((f["seconds"] for f in of), default=0.0), 3),
            "added_mb": round(max((f["mb"] for f in of), default=0.0), 1),
            **facts("cpu"),
        })
    return rows


def main() -> int:
    """Fuzz, print the rows; exit code 1 where a file did what none may do."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--stores", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.seed)
        return 0
    found = []
    for item in fuzz(arguments.files, arguments.seed, arguments.stores):
        found.append(item)
        if item["verdict"] not in _GOOD:
            print(json.dumps(item), file=sys.stderr)
    rows = summarise(found, arguments.seed)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    print(text, end="")
    if arguments.json is not None:
        arguments.json.write_text(text, encoding="utf-8")
    return int(any(item["verdict"] not in _GOOD for item in found))


if __name__ == "__main__":
    sys.exit(main())
