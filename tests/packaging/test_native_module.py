"""The native module: what it links, what a rebuild compiles, and what a source distribution carries."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_links_neither_torch_nor_the_cuda_runtime():
    if shutil.which("ldd") is None:
        pytest.skip("ldd is not installed")
    from aafast import _C

    text = subprocess.run(["ldd", _C.__file__], capture_output=True, text=True, check=True).stdout
    libraries = [line.split()[0] for line in text.splitlines()]
    assert any(name.startswith("libstdc++") for name in libraries), text
    assert not [name for name in libraries if name.startswith(("libtorch", "libc10", "libcud", "libpython"))]


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A copy of what the build reads, so that it can be changed."""
    for name in (
        "setup.py",
        "pyproject.toml",
        "MANIFEST.in",
        "LICENSE",
        "README.md",
        "constraints.txt",
        "Makefile",
    ):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, tmp_path)
    ignore = shutil.ignore_patterns("__pycache__", "*.so")
    for name in ("csrc", "kernels", "bench", "aafast"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
    return tmp_path


def build(checkout: Path, *command: str) -> str:
    environment = {**os.environ, "AAFAST_CUDA": "0", "CXXFLAGS": ""}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "setup.py", *command],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def compiled(log: str) -> set[str]:
    return {Path(line.split()[-1]).name for line in log.splitlines() if "] c++ " in line}


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_a_rebuild_compiles_only_what_changed(checkout):
    first = build(checkout, "build_ext", "--inplace")
    assert "CUDA sources left out (AAFAST_CUDA=0)" in first
    sources = (*(ROOT / "csrc").glob("*.cpp"), *(ROOT / "csrc" / "cpu").rglob("*.cpp"))
    assert compiled(first) == {path.name for path in sources}
    assert not compiled(build(checkout, "build_ext", "--inplace"))

    source = checkout / "csrc" / "cpu" / "z_step.cpp"
    source.write_text(source.read_text() + "\n// changed\n")
    assert compiled(build(checkout, "build_ext", "--inplace")) == {"z_step.cpp"}

    header = checkout / "csrc" / "include" / "aafast" / "anderson_mix.h"
    header.write_text(header.read_text() + "\n// changed\n")
    assert compiled(build(checkout, "build_ext", "--inplace")) == {"module.cpp", "anderson_mix.cpp"}

    check = "import sys; sys.path.insert(0, '.'); import aafast._C as c; print(c.__file__, c.with_cuda)"
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=checkout, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(str(checkout)) and done.stdout.rstrip().endswith("False")


def test_a_wheel_carries_weights_kernels_and_types(checkout):
    build(checkout, "build_py", "--build-lib", "lib")
    there = {path.relative_to(checkout / "lib").as_posix() for path in (checkout / "lib").rglob("*")}
    weights = {f"aafast/weights/deconv/{name}" for name in ("model.safetensors", "card.json")}
    suites = {f"aafast/bench/{name}.py" for name in ("conftest", "ops", "run", "solve")}
    networks = {f"aafast/bench/weights/{task}.safetensors" for task in ("deblur", "deconv", "defog")}
    assert {"aafast/py.typed", "aafast/kernels/z_step.py", *weights, *suites, *networks} <= there
    assert not [name for name in there if name.startswith("aafast/bench/results")]


def test_a_source_distribution_carries_all_sources(checkout):
    build(checkout, "sdist")
    (archive,) = (checkout / "dist").glob("aafast-*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    wanted = [path for folder in ("csrc", "kernels", "bench", "aafast") for path in (checkout / folder).rglob("*")]
    kinds = {".py", ".cpp", ".cu", ".cuh", ".h", ".json", ".safetensors", ".typed"}
    missing = [
        path for path in wanted if path.suffix in kinds and str(path.relative_to(checkout)) not in names
    ]
    assert not missing
    assert {"setup.py", "pyproject.toml", "LICENSE"} <= names
