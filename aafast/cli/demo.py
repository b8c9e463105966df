"""`aafast demo`: the main job on a synthetic line whose truth is known."""

from __future__ import annotations

import argparse

from ._answer import Answer
from ._options import positive


def register(commands: argparse._SubParsersAction) -> None:
    """Add `demo`."""
    parser = commands.add_parser(
        "demo",
        help="reconstruct a synthetic line and compare with the truth and with FISTA",
        description="Synthesise a faulted line with a wrong nominal wavelet, reconstruct it as `aafast run` "
                    "does, and compare with the truth beside classical methods on the same data.",
    )
    parser.add_argument("--out", default="aafast-demo", metavar="DIR",
                        help="folder for its files (default: aafast-demo)")
    parser.add_argument("--seed", type=int, default=0, help="of the line (default: 0)")
    parser.add_argument("--traces", type=positive, help="of the line")
    parser.add_argument("--samples", type=positive, help="of the line")
    parser.add_argument("--model", default="deconv", metavar="NAME|DIR", help="model (default: deconv)")
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--quick", action="store_true", help="a small line")
    parser.add_argument("--no-report", action="store_true", help="write no HTML report")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(command=command)


def command(arguments: argparse.Namespace) -> Answer:
    """Call `aafast.demo.run_demo`, which prints its table."""
    from ..demo import run_demo

    sizes = {name: getattr(arguments, name) for name in ("traces", "samples")}
    result = run_demo(
        arguments.out,
        seed=arguments.seed,
        model=arguments.model,
        device=arguments.device,
        quick=arguments.quick,
        report=not arguments.no_report,
        progress=not arguments.quiet,
        **{name: size for name, size in sizes.items() if size is not None},
    )
    return Answer(result.as_dict())
