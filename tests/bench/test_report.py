"""Every table and picture of the documents is what the committed results say."""

import json
import re
from pathlib import Path

import pytest

from aafast.bench import plot, report
from aafast.bench.rows import complaints, read
from aafast.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("document", list(report.TABLES))
def test_the_documents_tables_come_from_the_results(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    assert report.filled(text, report.TABLES[document]) == text


def test_a_document_without_its_markers_is_noticed():
    with pytest.raises(SystemExit, match="markers"):
        report.filled("no table here", report.TABLES["README.md"])


def test_committed_rows_keep_to_the_schema_at_full_size():
    names = ("solve-cpu.jsonl", "ops-cpu.jsonl", *(path.name for path in report.RESULTS.glob("gpu-*.jsonl")))
    for name in names:
        path = report.RESULTS / name
        for row in read(path) if path.is_file() else ():
            assert not complaints(row) and row["gate"]["ok"] and not row.get("quick")


def test_the_picture_was_drawn_from_the_committed_results():
    path, picture = report.RESULTS / "solve-cpu.jsonl", ROOT / report.PICTURE
    assert path.is_file() == picture.is_file()
    if path.is_file():
        assert plot.digest(path) in picture.read_text(encoding="utf-8")


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path)

    def write(rows, name="solve-cpu.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path / name

    return write


def test_the_table_of_solves_says_what_the_rows_say(results, contest):
    results(contest)
    text = report.solve_figures()
    assert "| 4 s | 2 s | 1.6 s | 400 ms | 10.0 | 4.0 | 900 to 100 | 1.0e-07 / 1e-05 |" in text
    assert "a processor" in text and Path(report.PICTURE).name in text
    summary = report.solve_summary()
    assert "10.0 to 10.0 times" in summary and "4.0 to 4.0 times" in summary and report.PICTURE in summary
    assert "failed" not in summary


def test_a_red_row_has_no_speedup_in_the_table(results, contest, row):
    red = {"metric": "m", "value": "nan", "tolerance": 1e-5, "ok": False}
    nothing = dict.fromkeys(("median_s", "p20_s", "p80_s", "s_per_iteration", "peak_mb", "baseline", "speedup",
                             "plain_baseline", "speedup_over_plain"))  # fmt: skip
    results([*contest[:-1], row(gate=red, gates=[red], **nothing)])
    assert "| not timed | - | - | 900 to - | RED nan / 1e-05 |" in report.solve_figures()


def test_floors_and_growth_say_what_their_rows_say(contest, row):
    peak = row(suite="ops", op="sgemm", gflops=200.0)
    lines = report.performance.floors(contest, [peak]).splitlines()
    engine = contest[-1]
    assert lines[0].endswith("200 GFLOP/s.") and len(lines) == 5
    per_pixel = report.performance.work(engine["task"], engine["method"])
    gflop = 1e-9 * engine["batch"] * engine["shape"][1] * engine["shape"][2] * per_pixel
    assert f"| {gflop:.0f} |" in lines[-1] and f"{gflop / 200 / engine['s_per_iteration']:.0%}" in lines[-1]
    trial = {"trial": "linear", "rows": [{"mb": 100.0, "seconds": 4.0, "all_s": [3.0, 4.0, 9.0], "peak_mb": 321.0}],
             "off the line": 0.2, "ok": False, "threads": 3, "device_name": "a processor"}  # fmt: skip
    text = report.survey_tables.growth([dict(trial, rows=[]), trial])
    assert "| 100 MB | 4.0 s (3.0 to 9.0) | 25 | 321 MB |" in text and "20%, more than" in text


def test_the_long_trials_say_what_failed():
    trials = [{"trial": "workers", "ratio": 1.5, "same bytes": True, "ok": False},
              {"trial": "direct", "rows": [{"model": "m", "mb": 9.0, "peak_mb": 400.0}], "ok": True},
              {"trial": "disks", "full disk is an error": True, "goes on": True, "read-only is an error": True,
               "ok": True},
              {"trial": "kills", "kills": 50, "of the parent": 30, "same bytes": True, "solved again": 40,
               "in flight at a kill": 40, "ok": True}]  # fmt: skip
    bad = {"kind": "all", "files": 9, "valid": 5, "error": 3, "wrong": 0, "crash": 1, "hang": 0, "slow": 0, "memory": 0,
           "slowest_s": 1.0, "added_mb": 5.0}  # fmt: skip
    text = report.survey_tables.endurance(trials, [bad])
    assert "1.50 times as fast, same bytes | **no**" in text and "5 valid results, 3 clear errors, 1 else" in text
    assert text.count("**no**") == 2 and text.count("| yes |") == 3


def test_the_work_of_an_iteration_is_what_torch_counts():
    """R_rho forward; f_theta forward and back towards z, and again towards theta: torch takes no gradient of depths."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    import aafast

    class Identity(aafast.physics.ForwardModel):
        A = A_adjoint = staticmethod(lambda x: x)

    for task in ("deblur", "deconv"):
        model = aafast.build(task, "adaptive-lu", **({"residual": "conv"} if task == "deconv" else {}))
        model.backend = "eager"
        z = torch.rand(1, model.config.image_channels, 16, 24)
        with FlopCounterMode(display=False) as counter:
            with torch.no_grad():
                model.prox(torch.cat([z, z], dim=1))
            for of_z in (True, False):
                theta = {name: value.requires_grad_(not of_z) for name, value in model.residual.start(1).items()}
                y_hat, _ = model.residual(theta, z.requires_grad_(of_z), Identity())
                y_hat.square().sum().backward()
        counted = counter.get_total_flops() / (16 * 24)
        assert counted == pytest.approx(report.performance.work(task, "adaptive-lu"), rel=0.05), task


def test_without_results_the_documents_say_how_to_make_them(results):
    assert "aafast bench --suite solve" in report.solve_figures() and "--suite ops" in report.op_figures()


def test_the_table_of_operations_says_what_the_rows_say(results, row):
    results([row(suite="ops", op="z_step", gflops=12.34, peak_share=0.5, median_s=2e-5, p20_s=1e-5, p80_s=3e-5)],
            "ops-cpu.jsonl")  # fmt: skip
    assert "| z_step | cpp | 32x1x128x50 | 20 us | 12.3 | 50% | 10.0 of reference | 1.0e-07 / 1e-05 |" in (
        report.op_figures()
    )


def test_without_a_device_s_results_the_document_says_that_nothing_is_measured(results):
    assert "no figure of this page was read from a device" in report.gpu_figures()


def test_the_tables_of_a_device_say_what_its_rows_say(results, row):
    gate = {"metric": "m", "value": 1e-3, "tolerance": 5e-3, "ok": True}
    facts = {"suite": "ops", "batch": 32, "shape": [64, 128, 50], "device_name": "Some GPU", "gate": gate}
    peak = {**facts, "backend": "eager", "floor_s": None}
    of = {**facts, "op": "layer", "precision": "fast", "bound": "products", "floor_s": 2e-5}
    results([
        row(backend="cuda", precision="fast", device_name="Some GPU", s_per_iteration=6e-4, speedup=12.0, gates=[gate]),
        row(**peak, op="product, float16", precision="fast", gflops=8e5, bandwidth=None),
        row(**peak, op="copy", precision="strict", gflops=0.0, bandwidth=3e12),
        row(**of, backend="eager", median_s=1e-4, floor_share=0.2, gflops=1.0, bandwidth=3e12),
        row(**of, backend="cuda", median_s=4e-5, floor_share=0.5, gflops=1.0, bandwidth=3e12),
        row(**{**of, "gate": {**gate, "value": "nan", "ok": False}}, backend="triton", median_s=None, floor_share=None,
            gflops=None, bandwidth=3e12),
    ], "gpu-some-gpu.jsonl")  # fmt: skip
    text = report.gpu_figures()
    assert "### Some GPU" in text and "float16 products 800 TFLOP/s, memory 3.00 TB/s" in text
    assert "| deconv, adaptive-lu | cuda | fast | 32x1x128x50 | 600 us | 7.2 ms | 12.0 | 4.0 (compile) | 100 |" in text
    assert "| layer | fast | 32x64x128x50 | 20 us, products | 40 us (50%) | RED | 100 us (20%) | 1.0e-03 /" in text
    assert "RED nan / 0.005" in text and "no figure of this page" not in text


def test_the_picture_has_a_bar_for_every_speedup_and_none_for_a_red_gate(results, contest, tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.rcParams["svg.fonttype"] = "none"  # labels as text, so that they can be read back
    try:
        text = plot.draw(results(contest), tmp_path / "a.svg").read_text()
        assert re.findall(r">(\d+\.\d)</text>", text).count("10.0") == 1 and ">2.5<" in text
        red = dict(contest[-1], speedup=None, speedup_over_plain=None)
        assert ">10.0<" not in plot.draw(results([*contest[:-1], red]), tmp_path / "b.svg").read_text()
    finally:
        matplotlib.rcdefaults()
    assert plot.digest(tmp_path / "solve-cpu.jsonl") in (tmp_path / "b.svg").read_text()
    again = plot.draw(tmp_path / "solve-cpu.jsonl", tmp_path / "c.svg").read_bytes()
    assert again == plot.draw(tmp_path / "solve-cpu.jsonl", tmp_path / "d.svg").read_bytes()
    assert plot.draw(tmp_path / "solve-cpu.jsonl", tmp_path / "e.png").stat().st_size > 5000


def test_a_file_without_speedups_makes_no_picture(results, contest, tmp_path):
    with pytest.raises(InputError, match="no speed-up"):
        plot.draw(results(contest[:1]), tmp_path / "a.svg")
