"""The `aafast` command. Each module of this package registers one subcommand and holds no logic."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from .. import __version__
from ..errors import AafastError

_ORDER = ("run", "demo", "info", "verify", "train")
_FAILED, _INTERRUPTED, _TERMINATED = 2, 130, 143


class _Parser(argparse.ArgumentParser):
    """Reports wrong usage in the form of every other error."""

    def error(self, message: str) -> None:
        self.exit(_FAILED, f"aafast: error: {message}. See: {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser with every subcommand; commands import what they need when they are called."""
    parser = _Parser(prog="aafast", description="Reconstruct when the assumed forward model is wrong.")
    parser.add_argument("--version", action="version", version=f"aafast {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    names = {module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")}
    for name in [n for n in _ORDER if n in names] + sorted(names.difference(_ORDER)):
        importlib.import_module(f".{name}", __name__).register(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0 well, 1 a check failed, 2 an error, 130 interrupted."""
    try:
        with _terminate_cleanly():
            arguments = build_parser().parse_args(argv)
            return arguments.command(arguments) or 0
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else _FAILED
    except KeyboardInterrupt:
        return _fail("interrupted; nothing incomplete was left under the output's name", _INTERRUPTED)
    except BrokenPipeError:  # the reader of a pipe went away: what it wanted it has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except AafastError as error:
        return _fail(str(error), _FAILED)
    except MemoryError:
        return _fail("out of memory: choose a smaller --batch or --patch", _FAILED)
    except Exception as error:
        return _fail(f"unexpected {type(error).__name__}: {error} (AAFAST_DEBUG=1 shows where)", _FAILED)


def _fail(message: str, code: int) -> int:
    if os.environ.get("AAFAST_DEBUG") == "1":
        traceback.print_exc()
    print(f"aafast: error: {message}", file=sys.stderr)
    return code


@contextmanager
def _terminate_cleanly() -> Iterator[None]:
    """Let a polite kill (SIGTERM) unwind like any error, so that temporary files are removed."""
    def stop(number: int, frame: object) -> None:
        raise SystemExit(_TERMINATED)

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread: whoever started it decides
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
