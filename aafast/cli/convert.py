"""`aafast convert`: SEG-Y to MDIO and back."""

from __future__ import annotations

import argparse
import sys

from ._answer import Answer


def register(commands: argparse._SubParsersAction) -> None:
    """Add `convert`."""
    parser = commands.add_parser(
        "convert",
        help="convert SEG-Y to MDIO (Zarr), or back",
        description="Convert a SEG-Y file to an MDIO store, or a store to SEG-Y, whichever the names say: a name that "
                    "ends in .mdio or .zarr, a URL or a folder is a store. There and back, every byte stays. "
                    "Needs the extra mdio.",
    )
    parser.add_argument("input", help="SEG-Y file or MDIO store")
    parser.add_argument("output", help="MDIO store or SEG-Y file to make")
    parser.add_argument("--sample-interval", type=float, metavar="MS", help="instead of the SEG-Y header's")
    parser.set_defaults(command=command)


def command(arguments: argparse.Namespace) -> Answer:
    """Call the conversion that the names ask for and print its notes."""
    from ..survey.convert import convert

    notes = convert(arguments.input, arguments.output, arguments.sample_interval)
    for note in notes:
        print(f"aafast: note: {note}", file=sys.stderr)
    return Answer({"output": arguments.output, "notes": notes})
