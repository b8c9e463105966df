"""The tables of docs/cli.md, made from the parser.

Run: python docs/tools/cli.py --write      puts them between the document's markers
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from aafast.bench.report import filled
from aafast.cli import build_parser
from aafast.cli._examples import EXAMPLES
from aafast.cli._parser import EXIT_CODES

PAGE = Path(__file__).resolve().parents[1] / "cli.md"


def commands() -> dict[str, argparse.ArgumentParser]:
    """The parsers of the commands, in the order of the help."""
    return next(action for action in build_parser()._actions if action.dest == "name").choices


def exit_codes() -> str:
    """The exit codes as a table."""
    return "\n".join(["| code | meaning |", "|---|---|", *(f"| {k} | {text} |" for k, text in EXIT_CODES.items())])


def reference() -> str:
    """Every command: description, arguments and options, examples."""
    return "\n\n".join(section(name, parser) for name, parser in commands().items())


def section(name: str, parser: argparse.ArgumentParser) -> str:
    """One command."""
    rows = ["| argument | meaning |", "|---|---|"]
    for action in parser._actions:
        if not isinstance(action, argparse._HelpAction):
            rows.append(f"| `{_spelling(action)}` | {(action.help or '').replace('|', chr(92) + '|')} |")
    lines = [line for command, why in EXAMPLES.get(name, ()) for line in (f"# {why}", command)]
    examples = "\n".join(["```", *lines, "```"])
    return f"### aafast {name}\n{parser.description}\n\n" + "\n".join(rows) + f"\n\n{examples}"


def _spelling(action: argparse.Action) -> str:
    """An argument as it is typed; a bar would end the table's cell."""
    choices = None if action.choices is None else ", ".join(map(str, action.choices))
    value = action.metavar or (f"{{{choices}}}" if choices else action.dest.upper().replace("_", "-"))
    if not action.option_strings:
        spelling = f"{{{choices}}}" if choices else str(action.metavar or action.dest)
        return spelling.replace("|", "\\|") + (" ..." if action.nargs == "+" else "")
    name = max(action.option_strings, key=len)
    return name if action.nargs == 0 else f"{name} {value}".replace("|", "\\|")


TABLES = {"exit codes": exit_codes, "commands": reference}


def main() -> None:
    text = filled(PAGE.read_text(encoding="utf-8"), TABLES)
    if "--write" in sys.argv[1:]:
        PAGE.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
