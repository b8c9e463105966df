"""A script of the authors' shape with two sets of imports: their names over the reference, and aafast.compat.invprobs.

Run: python bench/compat.py [--task T] [--method M] [--quick] [--batch N] [--batches N] [--rounds N] [--out FILE.jsonl]
The two take turns in every round. A row says the ratio of their medians for a batch, unless a PSNR differs; exit code 1
where one does, or where a row at the authors' sizes is not TARGET times faster.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from torch import Tensor

from aafast.bench.cases import METHODS, SEED, TASKS, Case, draw
from aafast.bench.gates import SCORE_TOLERANCE, Gate
from aafast.bench.rows import Row, complaints, duration, facts, line, quantiles
from aafast.reference import AdaptiveDEQ, RobustLU
from aafast.reference.build import ETA, WEIGHTS
from aafast.verify.weights import Reference

SCRIPT = Path(__file__).resolve().parent / "evaluation_loop.py"
IMPORTS = {
    "from aafast.compat.invprobs import deq": "from aafast.bench import authors as deq",
    "from aafast.compat.invprobs import network_hqs as nets": "from aafast.bench import authors as nets",
    "from aafast.compat.invprobs import network_lu as lu_nets": "from aafast.bench import authors as lu_nets",
    "from aafast.compat.invprobs.forward_models import GaussianBlur": "from aafast.bench.authors import GaussianBlur",
}
REFERENCE, COMPAT = "reference", "compat"
TARGET = 4.0
MAX_ITER = {"deblur": 40, "deconv": 40, "defog": 30}
QUICK_ITER = 4


def script(side: str) -> ModuleType:
    """The script as it stands, or with its import lines changed to the reference's names."""
    text = SCRIPT.read_text(encoding="utf-8")
    if side == REFERENCE:
        lines = text.splitlines(keepends=True)
        absent = set(IMPORTS) - {entry.rstrip("\n") for entry in lines}
        if absent:
            raise SystemExit(f"{SCRIPT.name} has no line: {', '.join(sorted(absent))}")
        text = "".join(IMPORTS.get(entry.rstrip("\n"), entry.rstrip("\n")) + "\n" for entry in lines)
    module = ModuleType(f"{SCRIPT.stem}_{side}")
    exec(compile(text, f"{SCRIPT.name} ({side})", "exec"), module.__dict__)
    return module


def arguments(case: Case) -> SimpleNamespace:
    """The published scripts' settings of a task and method."""
    method = case.method.replace("-", "_")
    gamma, lamb = WEIGHTS.get(method, {}).get(case.task, (0.0, 0.0))
    return SimpleNamespace(
        task=case.task, device="cpu", sigma=2.0, eta=ETA[method][case.task], gamma=gamma, lamb=lamb,
        lr=1e-4, lr_A=1e-4, lr_Z=1e-4, kernel_size=3, padding=1, maxiters=5,
        and_m=5, and_beta=1.0, and_tol=1e-3, and_maxiters=QUICK_ITER if case.quick else MAX_ITER[case.task],
    )


def weights(case: Case, model: Reference) -> dict[str, Any]:
    """The trained weights of the solve suite under the names that the scripts load."""
    if isinstance(model, RobustLU):
        return model.state_dict()
    netA, netR = model.mismatch.state_dict(), model.prox.state_dict()
    if not isinstance(model, AdaptiveDEQ):
        return {"netA": netA, "netR": netR}
    named = {f"invBlock.R.{name}": value for name, value in netR.items()}
    named |= {f"invBlock.netA.{name}": value for name, value in netA.items()}
    return {"invBlock.eta": netR["eta"].clone(), **named}


def batches(case: Case, count: int, size: int | None) -> list[tuple[Tensor, Tensor, Tensor]]:
    """(truth, measurement, nominal model) of each batch."""
    shape = (case.shape[0] if size is None else size, *case.shape[1:])
    return [tuple(draw(case.task, shape, SEED + i)) for i in range(count)]


def measure(case: Case, count: int, size: int | None, rounds: int) -> Row:
    """One case: both scripts in turns, after a round that warms up and is checked."""
    args, loader, params = arguments(case), batches(case, count, size), weights(case, case.reference())
    sides = {side: getattr(script(side), case.method.replace("-", "_")) for side in (REFERENCE, COMPAT)}
    scores = {side: [found[0] for found in run(args, loader, params)] for side, run in sides.items()}
    gate = score_gate(scores[REFERENCE], scores[COMPAT])
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds if gate.ok else 0):
        for side, run in sides.items():
            seconds[side] += [found[1] for found in run(args, loader, params)]
    medians = {side: statistics.median(times) for side, times in seconds.items() if times}
    spread = quantiles(seconds[COMPAT]) if medians else dict.fromkeys(("median_s", "p20_s", "p80_s"))
    return {
        "suite": "compat",
        "task": case.task,
        "method": case.method,
        "backend": COMPAT,
        "batch": len(loader[0][1]),
        "shape": list(case.shape[1:]),
        "iterations": args.and_maxiters if case.method == "adaptive-deq" else args.maxiters,
        "batches": count,
        **spread,
        "reference_s": medians.get(REFERENCE),
        "rounds": rounds,
        "peak_mb": None,
        "baseline": REFERENCE if medians else None,
        "speedup": medians[REFERENCE] / medians[COMPAT] if medians else None,
        "psnr": statistics.fmean(scores[COMPAT]),
        "gate": gate.row(),
        "quick": case.quick,
        **facts("cpu"),
    }


def score_gate(theirs: list[float], mine: list[float]) -> Gate:
    """The largest difference in a batch's PSNR."""
    differences = [abs(a - b) for a, b in zip(theirs, mine, strict=True)]
    worst = max(differences, key=lambda value: math.inf if math.isnan(value) else value)
    return Gate("evaluation loop: PSNR difference, dB", worst, SCORE_TOLERANCE)


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        f"{rows[0]['device_name']}, {rows[0]['threads']} thread(s), torch {rows[0]['versions']['torch']}; medians of "
        f"{rows[0]['rounds']} rounds.",
        "",
        "| script | batch | the names over the reference | aafast.compat.invprobs | times | PSNR differs by |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        size = "x".join(str(n) for n in [row["batch"], *row["shape"]])
        lines.append(
            f"| {row['task']}, {row['method']} | {size} | {duration(row['reference_s'])} "
            f"| {duration(row['median_s'])} | {row['speedup']:.1f} | {row['gate']['value']:.0e} dB |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, action="append", help="may be given again (default: all)")
    parser.add_argument("--method", choices=METHODS, action="append", help="may be given again (default: all)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    parser.add_argument("--batch", type=int, help="samples of a batch (default: the authors')")
    parser.add_argument("--batches", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write the rows to this file")
    chosen = parser.parse_args()
    rows = []
    for task in chosen.task or TASKS:
        for method in chosen.method or METHODS:
            row = measure(Case(task, method, chosen.quick), chosen.batches, chosen.batch, chosen.rounds)
            wrong = complaints(row)
            if wrong:
                raise SystemExit(f"a row is not what it should be: {'; '.join(wrong)}")
            print(line(row), file=sys.stderr, flush=True)
            rows.append(row)
    if chosen.out is not None:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text("".join(json.dumps(row, allow_nan=False) + "\n" for row in rows), encoding="utf-8")
    whole = not chosen.quick and chosen.batch is None
    slow = [row for row in rows if whole and row["gate"]["ok"] and not row["speedup"] >= TARGET]
    for row in slow:
        print(f"below {TARGET:g}: {row['task']} {row['method']} {row['speedup']:.2f}", file=sys.stderr)
    return 1 if slow or not all(row["gate"]["ok"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
