"""The `aafast` command. Each module of this package registers one subcommand and holds no logic."""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .. import __version__
from ..errors import AafastError
from ._answer import Answer, Channel
from ._parser import CommandParser, Parser, exit_codes

_ORDER = ("run", "demo", "train", "evaluate", "tables", "convert", "compare", "synth", "verify", "bench", "info")
_FAILED, _INTERRUPTED, _TERMINATED = 2, 130, 143
_WHOLE = "nothing incomplete was left under the output's name"


def build_parser() -> Parser:
    """The parser with every subcommand; commands import what they need when they are called."""
    parser = Parser(
        prog="aafast",
        description="Reconstruct when the assumed forward model is wrong. `aafast COMMAND --help` has examples.",
        epilog=exit_codes(),
    )
    parser.add_argument("--version", action="version", version=f"aafast {__version__}")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="name", required=True, parser_class=CommandParser
    )
    names = {module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")}
    for name in [n for n in _ORDER if n in names] + sorted(names.difference(_ORDER)):
        importlib.import_module(f".{name}", __name__).register(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code, one of `_parser.EXIT_CODES`."""
    words = sys.argv[1:] if argv is None else argv
    channel = Channel(json="--json" in words)
    streams: tuple[Any, ...] = (sys.stdout, sys.stderr)
    for stream in streams:
        with contextlib.suppress(AttributeError):  # a name that this terminal cannot show ends no run
            stream.reconfigure(errors="backslashreplace")
    try:
        with _terminate_cleanly():
            return _run(words, channel)
    except SystemExit as stop:
        if not stop.code:  # --help and --version
            return 0
        if stop.code == _TERMINATED:
            return _fail(channel, stop, _TERMINATED, f"terminated; {_WHOLE}")
        return _fail(channel, stop, stop.code if isinstance(stop.code, int) else _FAILED, f"ended with {stop.code}")
    except KeyboardInterrupt as stop:
        return _fail(channel, stop, _INTERRUPTED, f"interrupted; {_WHOLE}")
    except BrokenPipeError:  # the reader of a pipe went away: what it wanted it has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except AafastError as error:
        return _fail(channel, error, _FAILED, str(error))
    except MemoryError as error:
        return _fail(channel, error, _FAILED, "out of memory: choose a smaller --batch or --patch")
    except Exception as error:
        message = f"unexpected {type(error).__name__}: {error} (AAFAST_DEBUG=1 shows where)"
        return _fail(channel, error, _FAILED, message)


def _run(words: Sequence[str], channel: Channel) -> int:
    arguments = build_parser().parse_args(words)
    channel.command = arguments.name
    with channel.words():
        answer = arguments.command(arguments)
    return channel.answer(answer if isinstance(answer, Answer) else Answer(code=answer or 0))


def _fail(channel: Channel, error: BaseException, code: int, message: str) -> int:
    if os.environ.get("AAFAST_DEBUG") == "1":
        traceback.print_exception(error)
    return channel.error(type(error).__name__, message, code)


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
