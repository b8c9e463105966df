"""`aafast synth`: write a synthetic survey."""

from __future__ import annotations

import argparse

from ._answer import Answer
from ._options import positive


def register(commands: argparse._SubParsersAction) -> None:
    """Add `synth`."""
    parser = commands.add_parser(
        "synth",
        help="write a faulted synthetic 3D survey of any size",
        description="Write a faulted synthetic 3D survey as SEG-Y, one inline in memory at a time: something to try "
        "sizes, speeds and failures on. The same numbers give the same file.",
    )
    parser.add_argument("output", metavar="OUT.sgy", help="SEG-Y file to write")
    parser.add_argument("--inlines", type=positive, default=100, help="default: 100")
    parser.add_argument("--crosslines", type=positive, default=300, help="default: 300")
    parser.add_argument("--samples", type=positive, default=500, help="of a trace, at 4 ms (default: 500)")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--quiet", action="store_true", help="say nothing")
    parser.set_defaults(command=command)


def command(arguments: argparse.Namespace) -> Answer:
    """Call `aafast.survey.synth.write_survey`."""
    from ..survey.progress import trace_bar
    from ..survey.synth import SyntheticSurvey, write_survey

    survey = SyntheticSurvey(arguments.inlines, arguments.crosslines, arguments.samples, arguments.seed)
    with trace_bar(survey.inlines * survey.crosslines, not arguments.quiet) as advance:
        path = write_survey(arguments.output, survey, lambda number: advance(survey.crosslines, 1, 1))
    traces = survey.inlines * survey.crosslines
    if not arguments.quiet:
        print(f"written    {path}, {traces} traces, {survey.size / 1e6:.1f} MB")
    return Answer({"output": path, "traces": traces, "bytes": survey.size})
