"""`aafast tables`: the paper's tables and figures from stored rows."""

from __future__ import annotations

import argparse

from ._answer import Answer


def register(commands: argparse._SubParsersAction) -> None:
    """Add `tables`."""
    parser = commands.add_parser(
        "tables",
        help="make the paper's tables and figures from stored rows",
        description="Make every table and figure of the paper, and the ablation it lacks, from rows that `aafast "
        "evaluate`, the scripts of bench/tables and `aafast bench` wrote: one Markdown page and a PNG per figure. What "
        "lacks its rows is left out and said. It needs the extra report.",
    )
    parser.add_argument("rows", nargs="+", metavar="ROWS", help="file of JSON lines, or a folder of them")
    parser.add_argument("--out", default="aafast-tables", metavar="DIR", help="folder (default: aafast-tables)")
    parser.set_defaults(command=command)


def command(arguments: argparse.Namespace) -> Answer:
    """Call `aafast.evaluation.tables.build` and say what was made and what was left out."""
    from ..evaluation.tables import build

    files, absent = build(arguments.rows, arguments.out)
    for path in files:
        print(path)
    for name, reason in absent.items():
        print(f"left out: {name}, no {reason}")
    return Answer({"files": files, "left_out": absent})
