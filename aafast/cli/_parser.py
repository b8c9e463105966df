"""The parsers: errors in the form of every other error, `--json` on every command, examples below the help."""

from __future__ import annotations

import argparse
import textwrap
from typing import Any, NoReturn

from ..errors import AafastError
from ._examples import EXAMPLES

EXIT_CODES = {
    0: "well",
    1: "a check failed: a red gate, surveys that differ, recorded numbers that are not met",
    2: "an error: wrong usage, a file, a model, a device, memory, a package that is missing",
    130: "interrupted (Ctrl-C)",
    143: "terminated (SIGTERM)",
}


class UsageError(AafastError):
    """A command line that is not understood."""


class _Help(argparse.HelpFormatter):
    """Text of several lines as it was written, one line as it fits."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return textwrap.indent(text, indent)
        return super()._fill_text(text, width, indent)


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": _Help, "allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}. See: {self.prog} --help")


class CommandParser(Parser):
    """A command's parser: it has `--json`, and its examples stand below its help."""

    def __init__(self, **options: Any) -> None:
        name = options["prog"].split()[-1]
        super().__init__(**{"epilog": examples(name), "conflict_handler": "resolve", **options})
        self.add_argument(
            "--json", action="store_true", help="print the result on stdout as one JSON object, all else on stderr"
        )


def examples(name: str) -> str | None:
    """The examples of a command as they stand below its help."""
    lines = [line for command, why in EXAMPLES.get(name, ()) for line in (f"  {command}", f"      {why}")]
    return "\n".join(["examples:", *lines]) if lines else None


def exit_codes() -> str:
    """The exit codes as they stand below the help of `aafast`."""
    return "\n".join(["exit codes:", *(f"  {code:<4} {meaning}" for code, meaning in EXIT_CODES.items())])
