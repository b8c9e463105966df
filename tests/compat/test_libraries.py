"""What the modules for other libraries share: lean imports, and documented examples that run."""

import importlib.util
import subprocess
import sys
import warnings

import pytest
from documents import blocks, read

from aafast.bench import libraries

LIBRARIES = ("deepinv", "torchdeq", "pylops")
OPTIONAL = ("deepinv", "torchdeq")  # the documents' own tests have PyLops and run its example


def test_importing_the_modules_imports_no_library():
    code = (
        f"import sys, {', '.join(f'aafast.compat.{name}' for name in LIBRARIES)}\n"
        f"print([name for name in {LIBRARIES} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("library", OPTIONAL)
def test_the_documented_example_runs(library, tmp_path, monkeypatch):
    found = [block for block in blocks(read("docs/compat.md")) if block.reason == f"needs {library}"]
    assert len(found) == 1
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed: pip install aafast[{library}]")
    if library == "deepinv":
        libraries.deepinv()
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="non_blocking_transfers")  # deepinv's on a CPU
        exec(compile("\n" * found[0].line + found[0].code, "docs/compat.md", "exec"), {"__name__": "__main__"})
