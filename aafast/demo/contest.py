"""The classical methods on the demo's line, under the same gain and with the same number of threads."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from ..data import Line, Mismatch, synthetic_line
from ..errors import require
from ..evaluation import BaselineSettings, fista, tune, wiener
from ..survey.gain import smooth_gain
from ..survey.wavelet import estimate_wavelet

# Wrong by stated amounts, signs drawn: a guess of the wavelet that is off, but not absurd.
MISMATCH = Mismatch(frequency=(0.25, 0.25), phase=(0.8, 0.8), length=(0.15, 0.15))
NOMINAL_HZ = 30.0
SNR_DB = 15.0
SEEDS = 100_000  # demo lines have seeds below this, lines to tune on have seeds above


def choose_settings(seed: int, samples: int, wavelet: np.ndarray | None, count: int) -> BaselineSettings:
    """Tune the baselines on `count` lines of other seeds with the same kind of error and the same noise.

    Args:
        seed: of the demo's line.
        samples: length of the traces.
        wavelet: nominal wavelet [K], given to the baselines on every line; None: each line's own estimate.
        count: number of lines, 64 traces each.

    Returns:
        BaselineSettings.
    """
    examples = []
    for k in range(count):
        line = synthetic_line(
            64, samples, seed=SEEDS * (k + 1) + seed, mismatch=MISMATCH, frequency=NOMINAL_HZ, snr_db=SNR_DB,
            faults=1, dead=0,
        )
        gain = smooth_gain(line.data, ~line.dead)
        flat = line.data / gain
        known = estimate_wavelet(flat, 1000 * line.dt).samples if wavelet is None else wavelet
        examples.append((line.target / gain, flat, known))
    return tune(examples)


def baselines(
    line: Line, wavelet: np.ndarray, settings: BaselineSettings
) -> Iterator[tuple[str, float, np.ndarray]]:
    """Yield name, seconds of the deconvolution alone, and estimate [T, X] of Wiener and FISTA.

    Data are divided by the same smooth gain as in a run, and results multiplied by it; dead traces stay zero.
    """
    live = ~line.dead
    gain = smooth_gain(line.data, live)[:, live]
    flat = line.data[:, live] / gain
    methods = {
        "Wiener": lambda: wiener(flat, wavelet, settings.damping),
        "FISTA": lambda: fista(flat, wavelet, settings.sparsity, settings.iterations),
    }
    for name, method in methods.items():
        start = time.perf_counter()
        found = method()
        seconds = time.perf_counter() - start
        estimate = np.zeros_like(line.data)
        estimate[:, live] = found * gain
        yield name, seconds, estimate


@contextmanager
def same_threads() -> Iterator[int]:
    """Let scipy's transforms use as many threads as torch; gives that number."""
    threads = torch.get_num_threads()
    with require("scipy.fft", extra="baselines").set_workers(threads):
        yield threads
