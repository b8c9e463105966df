"""`aafast bench`: time every backend beside its baselines, behind a gate."""

from __future__ import annotations

import argparse

from ._answer import Answer

_TASKS = ("deblur", "deconv", "defog")
_METHODS = ("robust-lu", "adaptive-lu", "adaptive-deq")
_BASELINES = ("eager-nhwc", "compile")


def register(commands: argparse._SubParsersAction) -> None:
    """Add `bench`."""
    parser = commands.add_parser(
        "bench",
        help="time every backend beside its baselines, behind a gate",
        description="Time operations (ops), whole solves at the reference's sizes (solve) and a synthesised survey "
        "(survey, which needs the extra baselines) beside their baselines in the same run. A result that is off is not "
        "timed, no speed-up is printed for it, and the exit code is 1.",
    )
    parser.add_argument("--suite", choices=("ops", "solve", "survey"), help="one suite (default: ops and solve)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    parser.add_argument("--task", choices=_TASKS, help="one task of the solve suite")
    parser.add_argument("--method", choices=_METHODS, help="one method of the solve suite")
    parser.add_argument(
        "--precision", choices=("fast", "tf32", "strict"), default="fast",
        help="of the product's engine (default: fast)",
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    parser.add_argument(
        "--without", action="append", default=[], choices=_BASELINES, help="leave a baseline of the solve suite out"
    )
    parser.add_argument("--out", metavar="FILE.jsonl", help="also write the rows, one JSON object a line")
    parser.set_defaults(command=command)


def command(arguments: argparse.Namespace) -> Answer:
    """Call `aafast.bench.run`, print its rows, and say by the exit code whether every gate is green."""
    from ..bench.rows import table
    from ..bench.run import SUITES, BrokenRun, run
    from ..survey.files import AtomicFile

    options = {name: getattr(arguments, name) for name in ("device", "task", "method", "precision", "quick", "without")}
    suites = (arguments.suite,) if arguments.suite else ("solve",) if arguments.task or arguments.method else SUITES
    try:
        if arguments.out is None:
            rows = run(suites, **options)
        else:
            with AtomicFile(arguments.out, what="file of rows") as target:
                try:
                    rows = run(suites, rows_file=target.temporary, **options)
                except BrokenRun:
                    target.commit()  # the rows that it had made
                    raise
                target.commit()
    except BrokenRun as end:
        print(table(end.rows))
        raise
    print(table(rows))
    green = bool(rows) and all(row["gate"]["ok"] for row in rows)
    return Answer({"rows": rows, "ok": green}, code=0 if green else 1)
