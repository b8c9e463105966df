"""Throughput of whole surveys: traces and MB per second, and where the time goes, beside FISTA on the same data.

Run by `aafast bench --suite survey` (extras `bench`, `survey` and `baselines`). A survey is synthesised for it; every
contestant has the cores of this process, and a red gate leaves a contestant without a speed-up. With `--device cuda`
the models solve there, and FISTA stays on the CPU.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

import aafast
from aafast.bench.rows import ORACLE, Row, facts, quantiles
from aafast.evaluation import fista
from aafast.survey import SyntheticSurvey, Wavelet, reconstruct_section, run, write_survey
from aafast.survey.gain import smooth_gain
from aafast.survey.segy import Survey
from aafast.survey.solver import SolverSpec

SIZE, QUICK = SyntheticSurvey(8, 250, 500, seed=1), SyntheticSurvey(2, 70, 100, seed=1)
ROUNDS, QUICK_ROUNDS = 3, 2
FISTA = "fista (pylops), 100 iterations"
MODELS = ("identity", "direct", "deconv")
METHODS = {"identity": "pass-through", "direct": "direct", "deconv": "adaptive-lu"}


@pytest.fixture(scope="module")
def survey(request, tmp_path_factory) -> tuple[SyntheticSurvey, Path]:
    """What is solved, and its file."""
    made = QUICK if request.config.getoption("--quick") else SIZE
    return made, write_survey(tmp_path_factory.mktemp("survey") / "in.sgy", made)


@pytest.fixture(scope="module")
def baseline(survey) -> dict[str, float]:
    """Seconds of FISTA over the survey: every inline read, divided by its gain, solved and multiplied back."""
    made, path = survey
    fista(made.inline(0)[1][:, :8], made.wavelet, iterations=1)  # what is loaded at first use is loaded
    begin = time.perf_counter()
    with Survey(path) as file:
        for section in file.geometry.sections:
            data = file.read(section.traces)
            live = data.any(0)
            gain = smooth_gain(data, live)
            found = fista(data / gain, made.wavelet, iterations=100) * gain
            assert np.isfinite(found).all()
    return {"seconds": time.perf_counter() - begin}


def spec_of(name: str, folder: Path, device: str = "cpu") -> SolverSpec:
    """The shipped model, the pass-through model, or an untrained direct inverse of full size."""
    if name != "direct":
        return SolverSpec(name, device)
    torch.manual_seed(0)
    return SolverSpec(str(aafast.save(aafast.build("deconv", "direct"), folder)), device)


@pytest.mark.parametrize("name", MODELS)
def test_survey(benchmark, name, survey, baseline, record, request, tmp_path):
    made, path = survey
    quick = request.config.getoption("--quick")
    device = request.config.getoption("--device")
    spec = spec_of(name, tmp_path / "model", device)
    options = {"wavelet": f"ricker:{made.frequency:g}", "model": spec.model, "progress": False, "memory": "2GB",
               "device": device}  # fmt: skip
    results = []

    def whole() -> None:
        results.append(run(path, tmp_path / "out.sgy", **options))

    benchmark.group = f"survey of {made.size / 1e6:.0f} MB"
    benchmark.pedantic(whole, rounds=QUICK_ROUNDS if quick else ROUNDS, warmup_rounds=1)
    wavelet = results[-1].calibrated or results[-1].wavelet
    found = gate_of(path, tmp_path / "out.sgy", spec, wavelet)
    row = make_row(name, made, results[1:], baseline["seconds"], found, quick, device)
    record(row)
    if name == MODELS[-1]:
        record(fista_row(made, baseline["seconds"], quick))
    benchmark.extra_info["rows"] = [row]
    assert row["gate"]["ok"], f"red gate of {name}"


def gate_of(path: Path, out: Path, spec: SolverSpec, wavelet: Wavelet) -> Row:
    """One inline of the output against the plain solve of the whole inline with this wavelet: they must be the same."""
    with Survey(path) as before, Survey(out) as after:
        section = before.geometry.sections[len(before.geometry.sections) // 2]
        data, found = before.read(section.traces), after.read(section.traces)
    expected = reconstruct_section(data, wavelet, spec.load()).x
    error = float(np.abs(found - expected).max() / np.abs(expected).max())
    return {"metric": "largest difference from the plain solve of an inline", "value": error, "tolerance": 0.0,
            "ok": error <= 0.0}  # fmt: skip


def make_row(
    name: str, made: SyntheticSurvey, results: list, baseline: float, found: Row, quick: bool, device: str = "cpu"
) -> Row:
    """Speed of the median run, and shares of its time: what solving waited for, and what each stage took in all."""
    result = sorted(results, key=lambda r: r.seconds["total"])[len(results) // 2]
    total = result.seconds["total"]
    return {
        **common(made, quick, device),
        "method": METHODS[name],
        "backend": result.backend,
        "iterations": int(np.median(result.iterations)),
        **quantiles([r.seconds["total"] for r in results]),
        **speed(made, total),
        "share_waited_io": (result.seconds["read"] + result.seconds["write"]) / total,
        "share_solve": (result.seconds["solve"] + result.seconds["gain"] + result.seconds["residual"]) / total,
        "share_before": (result.seconds["scan"] + result.seconds["copy"]) / total,
        "busy_s": result.busy,
        "seconds": result.seconds,
        "baseline": FISTA if found["ok"] else None,
        "speedup": baseline / total if found["ok"] else None,
        "gate": found,
    }


def fista_row(made: SyntheticSurvey, seconds: float, quick: bool) -> Row:
    """The baseline's own row."""
    return {**common(made, quick), "method": "fista", "backend": FISTA, "iterations": 100, **quantiles([seconds]),
            **speed(made, seconds), "baseline": None, "speedup": None, "gate": ORACLE}  # fmt: skip


def common(made: SyntheticSurvey, quick: bool, device: str = "cpu") -> Row:
    """What all rows say."""
    return {"suite": "survey", "task": "deconv", "batch": made.inlines, "shape": [made.crosslines, made.samples],
            "peak_mb": None, "quick": quick, **facts(device)}  # fmt: skip


def speed(made: SyntheticSurvey, seconds: float) -> Row:
    """Traces and MB of the file per second."""
    return {"traces_per_s": made.inlines * made.crosslines / seconds, "mb_per_s": made.size / 1e6 / seconds}
