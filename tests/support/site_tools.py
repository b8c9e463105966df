"""The scripts of docs/tools as modules."""

import importlib.util
from types import ModuleType

from documents import ROOT


def load_tool(name: str) -> ModuleType:
    """A script of docs/tools, executed as a module of its own."""
    spec = importlib.util.spec_from_file_location(f"docs_tools_{name}", ROOT / "docs" / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
