"""The CUDA sources compiled for sm_80 and sm_90a where nvcc is found: registers, spills, shared memory."""

import os
import re
import shutil
import subprocess

import pytest
from native_builds import CSRC, cached

NVCC = os.environ.get("NVCC") or shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"

# Registers a thread, bytes of static shared memory a block, kernels: 512 threads may have 128 registers each, 384
# threads 168, blocks of 128 threads 255. What conv_wide takes of dynamic shared memory is tested with its plan, in
# test_emulated_conv.py.
LIMITS = {
    "z_step": (48, 0, 2),
    "anderson_mix": (128, 6144, 4),
    "conv_wide": (168, 0, 12),
    "conv_wide_tf32": (168, 0, 12),
    "conv_wide_single": (168, 0, 12),
    "finish_norm": (64, 9216, 2),
    "pack": (64, 0, 3),
    "conv_widen": (168, 37888, 12),
    "conv_narrow": (255, 27648, 36),
    "weight_thin": (255, 46080, 22),
    "weight_wide": (255, 18944, 16),
    "seeds": (48, 0, 3),
    "adamw": (80, 20608, 2),
    "correlate_time": (72, 24832, 4),
    "correlate_planes": (72, 48640, 8),
    "fixed_point": (96, 8192, 3),
    "graph_loop": (32, 0, 1),
}


@pytest.mark.skipif(
    not os.access(NVCC, os.X_OK), reason="nvcc is not installed: CUDA sources cannot be compiled"
)
@pytest.mark.parametrize("arch", ["80", "90a"])
@pytest.mark.parametrize("op", LIMITS)
def test_registers_spills_and_shared_memory(op, arch):
    version = subprocess.run([NVCC, "--version"], capture_output=True, text=True, check=True).stdout
    command = [NVCC, "-O3", "-std=c++17", f"-gencode=arch=compute_{arch},code=sm_{arch}", "-Xptxas", "-v"]
    command += [f"-I{CSRC / 'include'}", f"-I{CSRC / 'cuda'}", "-x", "cu", "-cubin", "-o", "@out", "@in"]
    command[1:1] = [f"-DCOMPILER={re.search(r'V([0-9]+)', version).group(1)}"]
    _, log = cached(command, (CSRC / "cuda" / f"{op}.cu").read_text(), ".cubin")
    used = [int(number) for number in re.findall(r"Used (\d+) registers", log)]
    spilled = [int(number) for number in re.findall(r"(\d+) bytes (?:stack|spill)", log)]
    shared = [int(number) for number in re.findall(r"(\d+) bytes smem", log)]
    registers, static, kernels = LIMITS[op]
    assert len(used) == kernels and len(spilled) == 3 * kernels, log
    assert not any(spilled), log
    assert max(used) <= registers, log
    assert max(shared, default=0) <= static, log
