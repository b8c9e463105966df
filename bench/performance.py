"""Table of docs/performance.md: the solves beside the floor of this machine."""

from __future__ import annotations

from collections.abc import Sequence

import aafast
from aafast.bench.rows import Row, duration


def work(task: str, method: str) -> float:
    """Multiplications and additions a pixel of one iteration at the authors' sizes, by the direct method.

    Of its 3x3 convolutions alone, which are nearly all: R_rho once; f_theta five times, forward and towards the input
    for z, forward, towards the input and towards the weights for theta.
    """
    settings = {"residual": "wavelet-mlp", "theta_scope": "batch"} if task == "deconv" else {}
    model = aafast.build(task, method, **(settings if method.startswith("adaptive") else {}))
    prox = sum(2 * layer.weight.numel() for layer in model.prox.convolutions())
    if not method.startswith("adaptive"):
        return prox
    kernels = [value for value in model.residual.start_values.values() if value.shape[-2:] == (3, 3)]
    return prox + 5 * sum(2 * value.numel() for value in kernels)


def floors(solves: Sequence[Row], ops: Sequence[Row]) -> str:
    """An iteration of the engine beside the time that its convolutions would take at the speed of a matrix product."""
    peak = max(row["gflops"] for row in ops if row["op"] == "sgemm")
    lines = [
        f"SGEMM on all threads of the same machine: {peak:.0f} GFLOP/s.",
        "",
        "| task, method | GFLOP an iteration | at the speed of SGEMM | measured | of SGEMM's speed |",
        "|---|---|---|---|---|",
    ]
    for row in (row for row in solves if row["engine"] and row["s_per_iteration"]):
        batch, (_, height, width) = row["batch"], row["shape"]
        flops = 1e-9 * batch * height * width * work(row["task"], row["method"])
        at_peak, measured = flops / peak, row["s_per_iteration"]
        lines.append(
            f"| {row['task']}, {row['method']} | {flops:.0f} | {duration(at_peak)} | {duration(measured)} "
            f"| {at_peak / measured:.0%} |"
        )
    return "\n".join(lines)
