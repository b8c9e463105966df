"""`aafast completion`: a script that completes this command in a shell."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import Any

from ._answer import Answer

SHELLS = ("bash", "zsh", "fish")
_FILES = re.compile(r"FILE|\.sgy|\b(input|output|a|b)$")
_FOLDERS = re.compile(r"DIR|\bfolder$")


def register(commands: argparse._SubParsersAction) -> None:
    """Add `completion`."""
    parser = commands.add_parser(
        "completion",
        help="print a script that completes commands and options in your shell",
        description="Print a script that completes commands, options, their choices and file names. It is made once: "
                    "pressing TAB starts no Python. Needs the extra completion.",
    )
    parser.add_argument("shell", choices=SHELLS, help="which shell")
    parser.set_defaults(command=command)


def command(arguments: argparse.Namespace) -> Answer:
    """Print the script for the whole command line."""
    text = script(arguments.shell)
    if not arguments.json:
        print(text)
    return Answer({"shell": arguments.shell, "script": text})


def script(shell: str) -> str:
    """The completion script of `aafast`. Raises MissingDependency without shtab."""
    from ..errors import require
    from . import build_parser

    shtab = require("shtab", extra="completion")
    parser = build_parser()
    for action in _actions(parser):
        name = f"{action.metavar or ''} {action.dest}"
        if action.choices is None and action.nargs != 0 and action.type is None:
            if _FOLDERS.search(name):
                action.complete = shtab.DIRECTORY
            elif _FILES.search(name):
                action.complete = shtab.FILE
    return shtab.complete(parser, shell=shell)


def _actions(parser: argparse.ArgumentParser) -> Iterator[Any]:
    """Every action of a parser and of its commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _actions(inner)
        else:
            yield action
