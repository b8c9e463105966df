"""What importing the package costs: torch and numpy, little time, no GPU."""

import os
import subprocess
import sys

import pytest

OPTIONAL = [
    "scipy",
    "segyio",
    "matplotlib",
    "pylops",
    "torchdeq",
    "deepinv",
    "triton",
    "tqdm",
    "safetensors",
    "setuptools",
    "pybind11",
]


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", ["aafast", "aafast.ops"])
def test_import_is_lean(module):
    code = (
        "import sys, torch, numpy; before = set(sys.modules)\n"
        f"import {module}\n"
        f"print([name for name in {OPTIONAL} if name in sys.modules and name not in before])"
    )
    assert run(code).strip() == "[]"


def test_import_takes_less_than_three_tenths_of_a_second_over_torch():
    """Processor seconds of a whole import with and without the package, taken in turns, the best of each."""
    code = "import time; start = time.process_time(); import {}; print(time.process_time() - start)"
    rounds = [[float(run(code.format(names))) for names in ("torch, numpy", "aafast")] for _ in range(3)]
    bare, ours = map(min, zip(*rounds, strict=True))
    assert bare > 0.05 and ours - bare < 0.3, (bare, ours)


def test_import_touches_no_gpu():
    code = "import torch, aafast.ops; print(torch.cuda.is_initialized())"
    assert run(code).strip() == "False"
    assert run("import aafast._C; print('ok')", CUDA_VISIBLE_DEVICES="").strip() == "ok"


@pytest.mark.parametrize("name", ["aafast.kernels", "aafast.bench"])
def test_folders_beside_the_package_are_packaged(name):
    assert run(f"import {name}; print({name}.__name__)").strip() == name
