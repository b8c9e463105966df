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


def test_import_is_quick_beside_torch():
    code = (
        "import time, torch, numpy; start = time.process_time()\n"
        "import aafast\n"
        "print(time.process_time() - start)"
    )
    assert min(float(run(code)) for _ in range(3)) < 0.5


def test_import_touches_no_gpu():
    code = "import torch, aafast.ops; print(torch.cuda.is_initialized())"
    assert run(code).strip() == "False"
    assert run("import aafast._C; print('ok')", CUDA_VISIBLE_DEVICES="").strip() == "ok"


@pytest.mark.parametrize("name", ["aafast.kernels", "aafast.bench"])
def test_folders_beside_the_package_are_packaged(name):
    assert run(f"import {name}; print({name}.__name__)").strip() == name
