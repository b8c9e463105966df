"""`aafast verify`: check an installation against recorded numbers."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from ._answer import Answer, plain


def register(commands: argparse._SubParsersAction) -> None:
    """Add `verify`."""
    parser = commands.add_parser(
        "verify",
        help="check this installation against a folder of recorded numbers",
        description="Recompute recorded numbers and print error, tolerance and verdict per file. "
                    "The exit code is 1 if a check fails.",
    )
    parser.add_argument("folder", help="folder of recorded numbers")
    parser.add_argument("--backend", help="backend to check (default: the best that runs here)")
    parser.add_argument("--out", metavar="FILE.json", help="also write the rows, as JSON")
    parser.set_defaults(command=command)


def command(arguments: argparse.Namespace) -> Answer:
    """Call `aafast.verify.verify`, print its rows, and say by the exit code whether all are ok."""
    from ..survey.files import AtomicFile
    from ..verify import verify

    if arguments.out is None:
        rows = verify(arguments.folder, backend=arguments.backend)
    else:
        with AtomicFile(arguments.out, what="file of rows") as target:
            rows = verify(arguments.folder, backend=arguments.backend)
            target.temporary.write_text(json.dumps(plain(rows), indent=1) + "\n")
            target.commit()
    print(_table(rows))
    well = bool(rows) and all(row.ok for row in rows)
    return Answer({"rows": rows, "ok": well}, code=0 if well else 1)


def _table(rows: Sequence) -> str:
    if not rows:
        return "no checks: nothing was found to compare with"
    cells = [("file", "check", "error", "tolerance", "")]
    for row in rows:
        cells.append((row.file, row.check, f"{row.error:.2e}", f"{row.tolerance:.0e}",
                      "ok" if row.ok else "FAILED"))
    widths = [max(len(line[k]) for line in cells) for k in range(5)]
    lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]
    return "\n".join([*lines, f"{len(rows)} checks, {sum(not row.ok for row in rows)} failed"])
