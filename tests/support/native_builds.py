"""Compiles the native sources for tests, each object once: kept under build/ by what went into it."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
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
BINDINGS = [CSRC / "module.cpp", *sorted(CSRC.glob("*_cuda.cpp"))]
TWINS = [CSRC / "cpu" / f"{op}.cpp" for op in ("anderson_mix", "z_step")]  # what module.cpp binds without the engine
SOURCES = [*BINDINGS, *TWINS, *CUDA]
HEADERS = [*CSRC.rglob("*.h"), *CSRC.rglob("*.cuh"), *EMULATOR.glob("*.h"), *NATIVE.glob("*.h")]

_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)  # two threads may want one object


def included(source: str) -> list[Path]:
    """The project's headers that a source text includes, and those that they do; by name, so rather too many."""
    found: dict[Path, None] = {}
    texts = [source]
    while texts:
        for name in re.findall(r'^\s*#\s*include\s*["<]([^">]+)[">]', texts.pop(), re.MULTILINE):
            for path in HEADERS:
                if path not in found and path.as_posix().endswith(f"/{name}"):
                    found[path] = None
                    texts.append(path.read_text())
    return sorted(found)


def cached(command: list[str], source: str, suffix: str) -> tuple[Path, str]:
    """Run a compiler on a source text once; `@in` and `@out` are its files. Returns output and messages."""
    texts = [*command, source, *(path.read_text() for path in included(source))]
    digest = hashlib.sha256("\0".join(texts).encode())
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


def _folder(headers: dict[str, str]) -> Path:
    """A folder that holds these headers, named by what is in them."""
    digest = hashlib.sha256("\0".join(word for item in sorted(headers.items()) for word in item).encode())
    folder = CACHE / f"headers-{digest.hexdigest()[:32]}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in headers.items():
        fresh = folder / f"{name}.{os.getpid()}.{threading.get_ident()}"
        fresh.write_text(text)
        os.replace(fresh, folder / name)
    return folder


def emulated_module(replaced: dict[str, str] | None = None) -> ModuleType:
    """The native module with its CUDA half run on the CPU; `replaced` maps names of its files to other texts."""
    import pybind11

    replaced = replaced or {}
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

    def compiled(path: Path) -> Path:
        text = replaced.get(path.name, path.read_text())
        headers = {path.name: path.read_text() for path in included(text) if path.suffix == ".cuh"}
        # A header finds its neighbours beside it: where one is replaced, all stand together elsewhere.
        first = [f"-I{_folder(headers | replaced)}"] if headers.keys() & replaced.keys() else []
        return cached(["g++", *first, *flags, "-x", "c++", "-c", "-o", "@out", "@in"], text, ".o")[0]

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compiled, SOURCES))
    link = ["g++", "-shared", "-fopenmp", *map(str, objects), "-o", "@out"]
    library, _ = cached(link, "", ".so")
    # A name of its own for each: pybind11 hands out one module per name.
    spec = importlib.util.spec_from_file_location(f"emulated_{library.stem}._C", library)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
