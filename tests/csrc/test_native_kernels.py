"""The programs of tests/csrc/native: the vector code, compiled for each instruction set, under the sanitizers."""

import ast
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from native_builds import CSRC, NATIVE, ROOT, cached

SIMD = CSRC / "cpu" / "simd"
TIMEOUT = 120  # seconds a program may run
CHECKS = ["-std=c++17", "-O1", "-g1", "-fopenmp", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
# A sixth of the compile time for what is seen anyway (a null pointer faults, the address sanitizer knows sizes) or
# cannot be (vectors are loaded by memcpy, from any alignment).
CHECKS += ["-fno-sanitize=null,alignment,object-size"]

pytestmark = pytest.mark.skipif(
    shutil.which("g++") is None, reason="g++ is not installed: the programs cannot be built"
)


def build_setting(name: str) -> dict | list:
    """A constant of setup.py, which cannot be imported: that would start a build."""
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
            return ast.literal_eval(node.value)
    raise LookupError(f"setup.py sets no {name}")


ISAS: dict[str, list[str]] = build_setting("ISAS")
SIMD_FLAGS: list[str] = build_setting("SIMD_FLAGS")
PROGRAMS = sorted(NATIVE.glob("*_test.cpp"))


def missing(isa: str) -> list[str]:
    """The features of an instruction set that this processor lacks."""
    needed = [flag[2:] for flag in ISAS[isa] if flag.startswith("-m") and "=" not in flag]
    if not needed:
        return []
    if platform.machine().lower() not in ("x86_64", "amd64") or not os.access("/proc/cpuinfo", os.R_OK):
        return needed
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    has = next((line.split(":")[1].split() for line in lines if line.startswith("flags")), [])
    return [feature for feature in needed if feature not in has]


def run(isa: str, path: Path, program: str) -> subprocess.CompletedProcess:
    """Build a program, whose first line names its sources, for an instruction set, and run it."""
    first = program.splitlines()[0]
    assert first.startswith("// sources:"), f"{path.name}: the first line must be `// sources: a.cpp b.cpp`"
    sources = [SIMD / name for name in first.removeprefix("// sources:").split()]
    command = ["g++", *CHECKS, *SIMD_FLAGS, f"-DAAFAST_ISA={isa}", *ISAS[isa]]
    command += [f"-I{CSRC / 'include'}", f"-I{SIMD}", f"-I{NATIVE}", "-c", "-o", "@out", "@in"]
    texts = [(path, program), *((source, source.read_text()) for source in sources)]
    built = [cached(command, f'#line 1 "{name}"\n{text}', ".o")[0] for name, text in texts]
    binary, _ = cached(["g++", *CHECKS, *map(str, built), "-o", "@out"], "", ".bin")
    # Nothing here allocates past its end, and the search for leaks wants rights that containers withhold.
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}
    return subprocess.run(
        [binary], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT, env=environment
    )


@pytest.fixture(scope="module")
def finished(request) -> Iterator[dict[tuple[Path, str], Future]]:
    """The runs that this session selected, two at a time from the first test on: most of it is compiling."""
    chosen = [item.callspec.params for item in request.session.items if item.name.startswith("test_program[")]
    pool = ThreadPoolExecutor(2)
    yield {
        (one["path"], one["isa"]): pool.submit(run, one["isa"], one["path"], one["path"].read_text())
        for one in chosen
        if not missing(one["isa"])
    }
    pool.shutdown(cancel_futures=True)


def test_programs_are_found():
    assert PROGRAMS


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem.removesuffix("_test"))
def test_program(finished, path, isa):
    lacking = missing(isa)
    if lacking:
        pytest.skip(f"this processor has no {', '.join(lacking)}")
    done = finished[path, isa].result()
    assert done.returncode == 0, f"{path.name} on {isa}:\n{done.stdout[-8000:]}"


def test_features_that_a_processor_lacks_are_named(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert missing("portable") == [] and missing("avx2") == ["avx2", "fma"]


# Calls a kernel on an array that is EXTRA elements too short, in its last vector.
SHORT = """// sources: optimiser.cpp
#include "check.h"
#include "kernels.h"
int main() {
  aafast::Pointwise<float> table{};
  aafast::AAFAST_ISA::optimiser_entries(table);
  const long held = 37, wanted = held + EXTRA;
  auto gradient = check::random<float>(wanted, 1), theta = check::random<float>(wanted, 2);
  auto first = check::random<float>(wanted, 3), second = check::random<float>(wanted, 4, 0.4, 0.5);
  auto out = check::poisoned<float>(held);
  const aafast::AdamwRule rule{0.99, 0.1, 0.5, 1e-8, 0.9, 0.999};
  table.adamw(rule, wanted, gradient.data(), {theta.data(), first.data(), second.data(),
                                              out.data(), first.data(), second.data()});
  return check::finish("short");
}
"""
FAILING = """// sources:
#include "check.h"
int main() {
  check::close(check::poisoned<float>(3), check::random<double>(3, 1), 1e30, "NaN");
  return check::finish("failing");
}
"""
OVERFLOWING = """// sources:
#include <climits>
volatile int most = INT_MAX;
int main() { most = most + 1; }
"""


def test_what_the_programs_must_catch():
    planted = NATIVE / "planted.cpp"
    assert run("portable", planted, SHORT.replace("EXTRA", "0")).returncode == 0
    caught = {
        "heap-buffer-overflow": SHORT.replace("EXTRA", "1"),
        "NaN: relative distance nan": FAILING,
        "signed integer overflow": OVERFLOWING,
    }
    for words, program in caught.items():
        done = run("portable", planted, program)
        assert done.returncode != 0 and words in done.stdout, done.stdout
