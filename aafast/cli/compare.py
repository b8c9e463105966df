"""`aafast compare`: how two surveys differ."""

from __future__ import annotations

import argparse

from ._answer import Answer


def register(commands: argparse._SubParsersAction) -> None:
    """Add `compare`."""
    parser = commands.add_parser(
        "compare",
        help="say how two surveys differ",
        description="Compare samples and headers of two surveys, SEG-Y files or MDIO stores of any formats, trace by "
                    "trace; a store stands for the SEG-Y file that it would be converted to. "
                    "Exit code 0 where they agree, 1 where they do not.",
    )
    parser.add_argument("a", metavar="A", help="SEG-Y file or MDIO store")
    parser.add_argument("b", metavar="B", help="SEG-Y file or MDIO store")
    parser.add_argument("--tolerance", type=float, default=0.0, metavar="X",
                        help="largest difference allowed, over the largest sample of A (default: 0)")
    parser.add_argument("--headers", action="store_true", help="headers must agree as well")
    parser.set_defaults(command=command)


def command(arguments: argparse.Namespace) -> Answer:
    """Call `aafast.survey.compare_surveys` and print what it found."""
    from ..survey.compare import check_tolerance, compare_surveys

    check_tolerance(arguments.tolerance)
    found = compare_surveys(arguments.a, arguments.b)
    agree = found.is_within(arguments.tolerance, arguments.headers)
    if not arguments.json:
        print(found.summary())
    return Answer({**found.as_dict(), "agree": agree}, code=0 if agree else 1)
