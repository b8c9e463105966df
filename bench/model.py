"""Scores of a deconvolution model on held-out generated pairs, beside its own ablation and the classical methods.

Run: python bench/model.py [--model NAME|DIR] [--pairs N] [--out FILE.jsonl]
Every method sees the same data and the same wrong wavelet. The classical methods' parameters are chosen on other pairs.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import aafast
from aafast.config import InnerSolver
from aafast.data import SeismicBatch, seismic_pairs
from aafast.evaluation import compare, fista, tune, wiener
from aafast.physics import WaveletConvolution

SHAPE, SNR_DB, SEED = (128, 48), (5.0, 30.0), 99
THETA = {
    "no theta-step": InnerSolver("none"),
    "adamw, lr 1e-4": InnerSolver("adamw"),
    "adamw, lr 1e-3": InnerSolver("adamw", lr=1e-3),
    "least-squares, damping 0.3": InnerSolver("least-squares", damping=0.3),
    "least-squares, damping 1": InnerSolver("least-squares", damping=1.0),
    "least-squares, damping 3": InnerSolver("least-squares", damping=3.0),
    "least-squares, damping 10": InnerSolver("least-squares", damping=10.0),
}


def figures(x: Tensor | np.ndarray, pairs: SeismicBatch) -> dict[str, float]:
    """Mean over pairs, without fitting a scale (psnr, snr) and independent of it (correlation, quality)."""
    found = compare(pairs.x[:, 0].numpy(), np.asarray(x)[:, 0], scale="none")
    return {name: float(np.mean(found[name])) for name in ("psnr", "snr", "correlation", "quality")}


def wavelet_correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a, b, dim=1).mean())


def each(method: Callable[..., np.ndarray], pairs: SeismicBatch, wavelets: Tensor, **options: float) -> np.ndarray:
    """A classical method on every pair."""
    jobs = zip(pairs.y[:, 0].numpy(), wavelets.numpy(), strict=True)
    return np.stack([method(y, w, **options) for y, w in jobs])[:, None]


def level_rows(name: str, level: str, count: int) -> list[dict]:
    """All rows of one level of mismatch."""
    pairs = seismic_pairs(count, SHAPE, SEED, level, SNR_DB, surround=True)
    rows = [{"method": "data", **figures(pairs.y, pairs)}]
    model = aafast.load(name)
    own = model.config
    variants = {f"{own.method}, as shipped": own}
    if own.method.startswith("adaptive"):
        variants |= {f"{own.method}, {label}": replace(own, theta_solver=solver) for label, solver in THETA.items()}
    for label, config in variants.items():
        model.config = config
        for which, wavelets in (("nominal", pairs.w_nominal), ("true", pairs.w_true)):
            begin = time.perf_counter()
            with torch.no_grad():
                solution = model(pairs.y, WaveletConvolution(wavelets))
            row = {"method": label, "wavelet": which, "seconds": time.perf_counter() - begin}
            if solution.wavelet is not None:
                row["nominal_correlation"] = wavelet_correlation(wavelets, pairs.w_true)
                row["wavelet_correlation"] = wavelet_correlation(solution.wavelet, pairs.w_true)
            rows.append({**row, **figures(solution.x, pairs)})
    train = seismic_pairs(8, SHAPE, SEED + 1, level, SNR_DB, surround=True)
    for which in ("nominal", "true"):
        told, wavelets = (p.w_nominal if which == "nominal" else p.w_true for p in (train, pairs))
        examples = list(zip(train.x[:, 0].numpy(), train.y[:, 0].numpy(), told.numpy(), strict=True))
        chosen = tune(examples)
        for label, x in (
            ("FISTA", each(fista, pairs, wavelets, sparsity=chosen.sparsity)),
            ("Wiener", each(wiener, pairs, wavelets, damping=chosen.damping)),
        ):
            rows.append({"method": label, "wavelet": which, **figures(x, pairs)})
    return [{"suite": "model", "task": own.task, "mismatch": level, "pairs": count, **row} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="deconv")
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "deconv-model.jsonl")
    arguments = parser.parse_args()
    where = {"device": "cpu", "threads": torch.get_num_threads(), "machine": platform.machine()}
    versions = {"aafast": aafast.__version__, "torch": torch.__version__, "numpy": np.__version__}
    lines = []
    for level in ("none", "in", "out"):
        for row in level_rows(arguments.model, level, arguments.pairs):
            lines.append(json.dumps({**row, **where, "versions": versions}))
            seen = {k: round(row[k], 3) for k in ("psnr", "snr", "correlation", "quality")}
            print(f"{level:5s} {row['method']:42s} {row.get('wavelet', '-'):8s} {seen}", flush=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
