"""`aafast train`: train a model on generated data."""

from __future__ import annotations

import argparse

from ._options import positive


def register(commands: argparse._SubParsersAction) -> None:
    """Add `train`."""
    parser = commands.add_parser(
        "train",
        help="train a deconvolution model on generated seismic pairs",
        description="Train a deconvolution model on generated seismic pairs. Without options this is the run that "
        "made the shipped model. A run that was stopped goes on where it was when the same command is given again.",
    )
    parser.add_argument("task", choices=("deconv",), help="what to train for")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the model, its state and its curve")
    parser.add_argument(
        "--method",
        choices=("direct", "robust-lu", "adaptive-lu", "adaptive-deq"),
        default="adaptive-lu",
        help="model to train (default: adaptive-lu)",
    )
    parser.add_argument("--steps", type=positive, help="number of batches")
    parser.add_argument("--batch", type=positive, help="pairs per batch")
    parser.add_argument("--mismatch", choices=("none", "in", "out"), help="how wrong the nominal wavelets are")
    parser.add_argument("--seed", type=int, help="of the weights and the data")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.set_defaults(command=command)


def command(arguments: argparse.Namespace) -> int:
    """Call `aafast.training.train`, which prints a line per validation."""
    from ..training import train

    given = {name: getattr(arguments, name) for name in ("method", "steps", "batch", "mismatch", "seed")}
    train(arguments.out, device=arguments.device, **{name: v for name, v in given.items() if v is not None})
    return 0
