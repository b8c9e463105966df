"""`aafast evaluate`: score models, their variants and classical methods on the same test pairs."""

from __future__ import annotations

import argparse

from ._answer import Answer
from ._options import positive

_LEVELS = ("none", "in", "out", "beyond")


def register(commands: argparse._SubParsersAction) -> None:
    """Add `evaluate`."""
    parser = commands.add_parser(
        "evaluate",
        help="score models and classical methods on test pairs whose truth is known",
        description="Score models, their variants and classical methods on the same test pairs: PSNR, SSIM, "
        "correlation, seconds, iterations, and how near the corrected forward model comes to the true one, in "
        "one line per row. --out writes all figures, one JSON object a line, for `aafast tables`.",
    )
    parser.add_argument(
        "models", nargs="+", metavar="MODEL",
        help="shipped name, model folder, or a classical method: data, wiener, fista, tikhonov, dark-channel, "
        "inversion",
    )  # fmt: skip
    parser.add_argument("--task", choices=("deblur", "deconv", "defog"), help="of the pairs (default: the models')")
    parser.add_argument(
        "--mismatch",
        default="none,in,out",
        metavar="LEVELS",
        help=f"levels of the forward model's error: {', '.join(_LEVELS)} (default: none,in,out)",
    )
    parser.add_argument("--split", choices=("train", "valid", "test"), default="test", help="default: test")
    parser.add_argument(
        "--source",
        default="generated",
        help="of the truth: generated, another source of the task, or a folder of its data set (default: generated)",
    )
    parser.add_argument("--pairs", type=positive, default=64, help="number of pairs (default: 64)")
    parser.add_argument("--batch", type=positive, default=8, help="pairs at a time (default: 8)")
    parser.add_argument("--seed", type=int, default=0, help="of the pairs (default: 0)")
    parser.add_argument(
        "--told",
        default="nominal",
        metavar="WHICH",
        help="forward models given to the methods: nominal,true (default: nominal)",
    )
    parser.add_argument(
        "--variants",
        default="as-saved",
        metavar="NAMES",
        help="of each model: as-saved,frozen,no-theta,authors,... (docs/evaluation.md)",
    )
    parser.add_argument("--threads", type=positive, help="CPU threads (default: torch's)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--out", metavar="FILE.jsonl", help="write the rows here")
    parser.set_defaults(command=command)


def command(arguments: argparse.Namespace) -> Answer:
    """Call `aafast.evaluation.evaluate`, print a line per row, and write the rows."""
    from pathlib import Path

    import torch

    from ..evaluation.rows import write
    from ..evaluation.scoring import evaluate

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    rows = evaluate(
        arguments.models,
        task=arguments.task,
        mismatch=_names(arguments.mismatch),
        told=_names(arguments.told),
        variants=_names(arguments.variants),
        device=arguments.device,
        say=lambda text: print(text, flush=True),
        **{name: getattr(arguments, name) for name in ("split", "source", "pairs", "batch", "seed")},
    )
    found = list(rows)
    if arguments.out:
        write(Path(arguments.out), found)
    return Answer({"rows": found})


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
