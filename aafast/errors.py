"""The one exception tree: every error says what, what was got, what was expected, and what to do."""

from __future__ import annotations

import importlib
from types import ModuleType


class AafastError(Exception):
    """Base of every error this package raises on purpose."""


class InputError(AafastError, ValueError):
    """A tensor or an argument cannot be used."""


class FormatError(InputError):
    """A file exists but is not what it claims to be."""


class FileError(AafastError, OSError):
    """A file or folder is missing, truncated, unreadable or cannot be written."""


class CheckpointError(AafastError, ValueError):
    """A model file does not fit: wrong task, truncated, or a format that is never opened."""


class BackendError(AafastError, RuntimeError):
    """A backend is unknown or cannot run here; the message gives the reason."""


class MissingDependency(AafastError, ImportError):
    """An optional package is needed for what was asked."""


def describe(what: str, got: object, expected: object, do: str) -> str:
    """Build the message every error carries: `what: got X; expected Y. Do Z.`"""
    return f"{what}: got {got}; expected {expected}. {do.rstrip('.')}."


def require(module: str, extra: str) -> ModuleType:
    """Import an optional package, or raise MissingDependency that names the pip command for its extra."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependency(
            describe(
                f"package {module}",
                f"no usable installation ({error})",
                f"{module} to be importable",
                f'Install it with: pip install "aafast[{extra}]"',
            )
        ) from error
