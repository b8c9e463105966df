"""`aafast train`: train a model of any task and method on pairs that are drawn as they are needed."""

from __future__ import annotations

import argparse
import json
import sys

from ..config import METHODS
from ._answer import Answer
from ._options import pair, positive

_FIELDS = ("steps", "batch", "shape", "mismatch", "seed", "source", "init", "calibration", "freeze")


def register(commands: argparse._SubParsersAction) -> None:
    """Add `train`."""
    parser = commands.add_parser(
        "train",
        help="train a model for a task by a method",
        description="Train a model for a task by a method, on pairs that are drawn as they are needed. A run that was "
        "stopped goes on where it was when the same command is given again. `torchrun --nproc-per-node N -m aafast "
        "train ...` shares every batch among N processes.",
    )
    parser.add_argument("task", choices=("deconv", "deblur", "defog"), help="what to train for")
    parser.add_argument("method", choices=METHODS, help="model to train")
    parser.add_argument(
        "--out", metavar="DIR", help="folder for the model, its state and its curve (default: aafast-TASK-METHOD)"
    )
    parser.add_argument(
        "--preset",
        choices=("compact", "paper", "calibration"),
        help="plan to start from: small networks for a CPU, the paper's, or the calibration network of the small ones "
        "alone (default: compact)",
    )
    parser.add_argument("--config", metavar="FILE.json", help="fields of the plan, in the place of the preset's")
    parser.add_argument("--print-config", action="store_true", help="print the plan as --config takes it, and stop")
    parser.add_argument("--steps", type=positive, help="number of batches")
    parser.add_argument("--batch", type=positive, help="pairs per batch, over all processes")
    parser.add_argument("--shape", type=pair, metavar="HxW", help="of the images")
    parser.add_argument(
        "--mismatch", choices=("none", "in", "out", "beyond"), help="how wrong the nominal forward models are"
    )
    parser.add_argument(
        "--source", metavar="SOURCE|FOLDER",
        help="of the truth: generated (deconv also blocky or mixed), or a folder of a data set",
    )
    parser.add_argument("--seed", type=int, help="of the weights and the data")
    parser.add_argument("--init", metavar="NAME|DIR", help="model whose weights to start from")
    parser.add_argument("--calibration", metavar="NAME|DIR", help="model whose calibration network to take")
    parser.add_argument(
        "--freeze", nargs="+", metavar="PREFIX", help="parts that stay as they are, such as calibration"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--amp", action="store_true", help="the network in bfloat16, on a GPU that has it")
    parser.add_argument("--threads", type=positive, metavar="N", help="of this process")
    parser.add_argument("--workers", type=positive, default=0, metavar="N", help="processes that draw pairs ahead")
    parser.add_argument("--tensorboard", action="store_true", help="also write events for TensorBoard")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="ask for a run to go on with; without one it is an error")
    again.add_argument("--restart", action="store_true", help="throw away what an earlier run left")
    parser.add_argument("--quiet", action="store_true", help="print nothing, draw no bar")
    parser.set_defaults(command=command)


def command(arguments: argparse.Namespace) -> Answer:
    """Call `aafast.training.train`, which prints a line per validation."""
    from ..training import preset, read_curve, read_fields, train

    fields = {} if arguments.config is None else read_fields(arguments.config)
    given = {name: getattr(arguments, name) for name in _FIELDS}
    fields |= {name: value for name, value in given.items() if value is not None}
    if arguments.amp:
        fields["amp"] = True
    plan = preset(arguments.task, arguments.method, arguments.preset or "compact", **fields)
    if arguments.print_config:
        print(json.dumps(plan.to_dict(), indent=2))
        return Answer({"plan": plan.to_dict()})
    out = arguments.out or f"aafast-{plan.task}-{plan.method}"
    try:
        train(
            plan,
            out=out,
            device=arguments.device,
            threads=arguments.threads,
            workers=arguments.workers,
            resume=True if arguments.resume else False if arguments.restart else None,
            tensorboard=arguments.tensorboard,
            progress=not arguments.quiet,
            log=(lambda line: None) if arguments.quiet else print,
        )
    except (KeyboardInterrupt, SystemExit):
        _tell_of_state(out, plan.steps)
        raise
    return Answer({"output": out, **read_curve(out)[-1]})


def _tell_of_state(out: str, steps: int) -> None:
    """Say that the same command goes on, where steps are saved."""
    from ..training import steps_done

    done = steps_done(out)
    if done:
        print(f"aafast: note: {done} of {steps} steps are saved; the same command goes on from there", file=sys.stderr)
