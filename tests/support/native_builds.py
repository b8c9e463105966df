"""Compiles the native sources for tests, each object once: kept under build/ by what went into it."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sysconfig
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"
EMULATOR = ROOT / "tests" / "csrc" / "emulator"
NATIVE = ROOT / "tests" / "csrc" / "native"
CACHE = ROOT / "build" / "tests"
CUDA = sorted(CSRC.glob("cuda/*.cu"))
# The operations that have a CUDA half, without the CPU engine.
TWINS = [path for path in sorted(CSRC.glob("cpu/*.cpp")) if (CSRC / "cuda" / f"{path.stem}.cu").exists()]
SOURCES = [CSRC / "module.cpp", CSRC / "engine_cuda.cpp", *TWINS, *CUDA]


_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)  # two threads may want one object


def cached(command: list[str], source: str, suffix: str) -> tuple[Path, str]:
    """Run a compiler on a source text once; `@in` and `@out` are its files. Returns output and messages."""
    headers = sorted([*CSRC.rglob("*.h"), *CSRC.rglob("*.cuh"), *EMULATOR.glob("*.h"), *NATIVE.glob("*.h")])
    digest = hashlib.sha256("\0".join([*command, source, *(path.read_text() for path in headers)]).encode())
    CACHE.mkdir(parents=True, exist_ok=True)
    out = CACHE / f"{digest.hexdigest()[:32]}{suffix}"
    messages = out.with_suffix(".txt")
    with _locks[out.stem]:
        if not (out.exists() and messages.exists()):
            _compile(command, source, suffix, out, messages)
    return out, messages.read_text()


def _compile(command: list[str], source: str, suffix: str, out: Path, messages: Path) -> None:
    stem = f"{out.stem}.{os.getpid()}"
    text, fresh = CACHE / f"{stem}.in{Path(command[-1]).suffix or '.cpp'}", CACHE / f"{stem}{suffix}"
    text.write_text(source)
    words = [word.replace("@in", str(text)).replace("@out", str(fresh)) for word in command]
    done = subprocess.run(words, capture_output=True, text=True)
    text.unlink()
    assert done.returncode == 0, done.stderr
    messages.write_text(done.stderr)
    os.replace(fresh, out)


def emulated_module(replaced: dict[str, str] | None = None) -> ModuleType:
    """The native module with its CUDA half run on the CPU; `replaced` maps file names to other texts."""
    import pybind11

    flags = ["-std=c++17", "-O1", "-fPIC", "-fopenmp", "-ffp-contract=off", "-w", "-fvisibility=hidden"]
    flags += [
        "-DAAFAST_WITH_CUDA=1",
        "-DAAFAST_WITH_ENGINE=0",
        '-DAAFAST_ARCHS="80;90a"',
        f"-I{EMULATOR}",
        f"-I{CSRC / 'include'}",
        f"-I{CSRC / 'cuda'}",
    ]
    flags += [f"-I{pybind11.get_include()}", f"-I{sysconfig.get_path('include')}"]
    command = ["g++", *flags, "-x", "c++", "-c", "-o", "@out", "@in"]
    texts = [(replaced or {}).get(path.name, path.read_text()) for path in SOURCES]
    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(lambda text: cached(command, text, ".o")[0], texts))
    link = ["g++", "-shared", "-fopenmp", *map(str, objects), "-o", "@out"]
    library, _ = cached(link, "", ".so")
    # A name of its own for each: pybind11 hands out one module per name.
    spec = importlib.util.spec_from_file_location(f"emulated_{library.stem}._C", library)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
