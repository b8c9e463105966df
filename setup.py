"""Build of the native module: one pybind11 extension, compiled by g++ and nvcc through ninja."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
CSRC = ROOT / "csrc"

# No -march: one build runs everywhere, wider vectors are chosen at run time by function clones.
# No contraction into fused multiply-adds either, so that every clone gives the same numbers.
CXX_FLAGS = ["-O3", "-std=c++17", "-fPIC", "-fvisibility=hidden", "-fopenmp", "-ffp-contract=off", "-Wall"]
# Sources of csrc/cpu/simd are compiled once per instruction set, and one is chosen when the module runs. Their sums are
# not promised to agree to the last bit between sets, so they may contract.
ISAS = {
    "portable": ["-DAAFAST_VECTOR_BYTES=16"],
    "avx2": ["-DAAFAST_VECTOR_BYTES=32", "-mavx2", "-mfma"],
    "avx512": [
        "-DAAFAST_VECTOR_BYTES=64", "-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma",
        "-mprefer-vector-width=512",
    ],
}
SIMD_FLAGS = ["-ffp-contract=fast", "-fno-math-errno", "-Wno-psabi"]
NVCC_FLAGS = ["-O3", "-std=c++17", "-Xcompiler", "-fPIC,-fvisibility=hidden"]


def isas() -> dict[str, list[str]]:
    """The instruction sets to compile for on this machine's architecture."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return ISAS if x86 else {"portable": ISAS["portable"]}


def say(message: str) -> None:
    print(f"aafast build: {message}", flush=True)


def find_nvcc() -> str | None:
    """Path of nvcc, or None where CUDA is switched off or absent; says which in the build log."""
    if os.environ.get("AAFAST_CUDA") == "0":
        say("CUDA sources left out (AAFAST_CUDA=0); the module will run on the CPU only")
        return None
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    candidates = [
        os.environ.get("NVCC"),
        shutil.which("nvcc"),
        *(f"{home}/bin/nvcc" for home in homes if home),
    ]
    nvcc = next((path for path in candidates if path and os.access(path, os.X_OK)), None)
    if nvcc is None:
        say(
            "no nvcc in NVCC, PATH, CUDA_HOME or /usr/local/cuda: CUDA sources left out, "
            "the module will run on the CPU only"
        )
    return nvcc


def cuda_archs() -> list[str]:
    chosen = os.environ.get("AAFAST_ARCHS") or "80;90a"
    return [arch.strip() for arch in chosen.replace(",", ";").split(";")]


def gencode(archs: list[str]) -> list[str]:
    """Machine code for each architecture, and PTX of the newest portable one for devices to come."""
    flags = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
    portable = [arch for arch in archs if arch.isdigit()]
    if portable:
        newest = max(portable, key=int)
        flags.append(f"-gencode=arch=compute_{newest},code=compute_{newest}")
    return flags


def ninja_command() -> str:
    try:
        import ninja
    except ImportError:
        path = shutil.which("ninja")
    else:
        path = str(Path(ninja.BIN_DIR) / "ninja")
    if path is None:
        raise SystemExit("aafast build: ninja is missing; install it with: pip install ninja")
    return path


def escaped(value: object) -> str:
    """A path as ninja wants it on a build line."""
    return str(value).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")


def joined(words: list[str]) -> str:
    """A shell command as ninja wants it in a variable."""
    return shlex.join(words).replace("$", "$$")


def ninja_text(target: str) -> str:
    """The whole build as one ninja file; each object depends on its headers through a depfile."""
    try:
        import pybind11
    except ImportError as error:
        message = "aafast build: pybind11 is missing; install it with: pip install pybind11"
        raise SystemExit(message) from error

    cxx = shlex.split(os.environ.get("CXX", "g++"))
    nvcc = find_nvcc()
    archs = cuda_archs()
    sets = isas()
    cpu = [*cxx, *CXX_FLAGS, f"-DAAFAST_X86={int(len(sets) > 1)}", f"-I{CSRC / 'include'}"]
    # Only the bindings see Python: another interpreter or a moved pybind11 recompiles nothing else.
    bindings = [
        *cpu,
        f"-I{pybind11.get_include()}",
        f"-I{sysconfig.get_path('include')}",
        f"-DAAFAST_WITH_CUDA={int(nvcc is not None)}",
    ]
    link = [*cxx, "-shared", "-fopenmp", "-Wl,--exclude-libs,ALL"]
    sources = [
        *((path, "bindings") for path in sorted(CSRC.glob("*.cpp"))),
        *((path, "cpu") for path in sorted((CSRC / "cpu").glob("*.cpp"))),
    ]
    lines = ["ninja_required_version = 1.5"]
    if nvcc is not None:
        say(f"CUDA sources compiled with {nvcc} for {', '.join('sm_' + arch for arch in archs)}")
        bindings.append(f'-DAAFAST_ARCHS="{";".join(archs)}"')
        sources += [(path, "cuda") for path in sorted((CSRC / "cuda").glob("*.cu"))]
        link = [
            nvcc,
            "-ccbin",
            cxx[0],
            "-shared",
            "-cudart",
            "static",
            "-Xcompiler",
            "-fopenmp",
            "-Xlinker",
            "--exclude-libs=ALL",
        ]
        cuda = [nvcc, "-ccbin", cxx[0], *NVCC_FLAGS, *gencode(archs), f"-I{CSRC / 'include'}"]
        lines += [
            "rule cuda",
            f"  command = {joined(cuda)} -MMD -MF $out.d -c $in -o $out",
            "  depfile = $out.d",
            "  deps = gcc",
            "  description = nvcc $in",
        ]
    simd = {
        f"simd_{name}": [*cpu, *SIMD_FLAGS, f"-DAAFAST_ISA={name}", *flags] for name, flags in sets.items()
    }
    for rule, command in {"cpu": cpu, "bindings": bindings, **simd}.items():
        lines += [
            f"rule {rule}",
            f"  command = {joined(command)} -MMD -MF $out.d -c $in -o $out",
            "  depfile = $out.d",
            "  deps = gcc",
            "  description = c++ $in",
        ]
    lines += ["rule link", f"  command = {joined(link)} $in -o $out", "  description = link $out"]
    sources += [(path, rule) for path in sorted((CSRC / "cpu" / "simd").glob("*.cpp")) for rule in simd]
    objects = []
    for path, rule in sources:
        variant = rule.removeprefix("simd") if rule in simd else ""
        objects.append(escaped(path.relative_to(CSRC).as_posix() + f"{variant}.o"))
        lines.append(f"build {objects[-1]}: {rule} {escaped(path)}")
    lines.append(f"build {escaped(target)}: link {' '.join(objects)}")
    return "\n".join(lines) + "\n"


class NinjaBuild(build_ext):
    """Writes build/native-TAG/build.ninja and runs it, so that a rebuild compiles only what changed."""

    def build_extension(self, ext: Extension) -> None:
        # Not build_temp: an editable install makes that a fresh folder each time.
        tag = f"{sysconfig.get_platform()}-{sys.implementation.cache_tag}"
        folder = ROOT / "build" / f"native-{tag}"
        folder.mkdir(parents=True, exist_ok=True)
        target = Path(self.get_ext_filename(ext.name)).name
        (folder / "build.ninja").write_text(ninja_text(target))
        command = [ninja_command(), "-C", str(folder)]
        if self.parallel:
            command += ["-j", str(self.parallel)]
        if subprocess.call(command) != 0:
            raise SystemExit(
                "aafast build: compilation failed (see above); AAFAST_CUDA=0 builds without the CUDA sources"
            )
        place = Path(self.get_ext_fullpath(ext.name))
        place.parent.mkdir(parents=True, exist_ok=True)
        # A new file moved into place: a process that has the old module loaded keeps it.
        fresh = place.with_name(f".{place.name}.{os.getpid()}")
        shutil.copy2(folder / target, fresh)
        os.replace(fresh, place)


setup(
    packages=[*find_packages(include=["aafast", "aafast.*"]), "aafast.kernels", "aafast.bench"],
    package_dir={"aafast.kernels": "kernels", "aafast.bench": "bench"},
    ext_modules=[Extension("aafast._C", ["csrc/module.cpp"])],
    cmdclass={"build_ext": NinjaBuild},
)
