"""Rows of an evaluation: the same pairs for all, figures as the metrics give them, what fits and what does not."""

import numpy as np
import pytest
import torch

from aafast.cli import main
from aafast.errors import InputError
from aafast.evaluation import correlation, evaluate, psnr, snr, ssim
from aafast.evaluation.contestants import Entry
from aafast.evaluation.rows import complaints, key, read

SMALL = {"shape": (56, 12), "pairs": 5, "batch": 2}


def by(rows, **fields):
    found = [row for row in rows if all(row[name] == value for name, value in fields.items())]
    assert len(found) == 1
    return found[0]


@pytest.fixture(scope="module")
def rows(build):
    models = [build("deconv", "adaptive-lu"), build("deconv", "direct")]
    return list(evaluate([*models, "data", "wiener"], mismatch=("none", "out"), told=("nominal", "true"), **SMALL))


def test_every_row_is_whole(rows):
    assert [complaints(row) for row in rows] == [[]] * len(rows)
    assert len({key(row) for row in rows}) == len(rows)
    # direct and data take no forward model: one row a level; the two others one for each that is told
    assert len(rows) == 2 * (1 + 1 + 2 + 2)
    assert {row["told"] for row in rows if row["label"] in ("direct", "data")} == {"-"}


def test_figures_are_those_of_the_metrics_on_the_same_pairs(rows, build, pairs):
    batch = pairs("deconv", 5)
    with torch.no_grad():
        x = build("deconv", "adaptive-lu")(batch.y, batch.nominal).x
    row = by(rows, label="adaptive-lu", mismatch="out", told="nominal")
    for name, values in (("psnr", psnr(batch.x, x)), ("ssim", ssim(batch.x, x)), ("signal_to_error", snr(batch.x, x)),
                         ("correlation", correlation(batch.x, x))):  # fmt: skip
        assert row[name]["mean"] == pytest.approx(values.mean(), rel=1e-6)
        assert row[name]["sd"] == pytest.approx(values.std(ddof=1), rel=1e-5)
        assert row[name]["se"] == pytest.approx(values.std(ddof=1) / np.sqrt(5), rel=1e-5)
    assert row["per_pair"]["psnr"] == pytest.approx(psnr(batch.x, x), rel=1e-5)
    told = correlation(batch.true.wavelet, batch.nominal.wavelet)
    assert row["operator"]["told"]["mean"] == pytest.approx(told.mean(), rel=1e-6)
    assert row["operator"]["told"]["p50"] == pytest.approx(np.median(told), rel=1e-6)
    assert row["iterations"]["mean"] == 5 and row["seconds"] > 0
    assert by(rows, label="data", mismatch="out")["psnr"]["mean"] == pytest.approx(psnr(batch.x, batch.y).mean())


def test_the_true_model_is_told_where_that_is_asked_for(rows):
    wrong, right = (by(rows, label="wiener", mismatch="out", told=t) for t in ("nominal", "true"))
    assert right["operator"]["told"]["mean"] == pytest.approx(1.0)
    assert wrong["operator"]["told"]["mean"] < 0.99
    assert right["psnr"]["mean"] > wrong["psnr"]["mean"] and right["parameters"]["damping"] > 0
    same = [by(rows, label="wiener", mismatch="none", told=t)["psnr"] for t in ("nominal", "true")]
    assert same[0] == same[1]


def test_images_are_scored_against_their_range(build, pairs):
    batch = pairs("deblur", 2)
    (row,) = evaluate(["data"], "deblur", ("out",), shape=(20, 18), pairs=2)
    assert row["per_pair"]["psnr"] == pytest.approx(psnr(batch.x, batch.y, peak=1.0), rel=1e-5)
    assert row["per_pair"]["ssim"] == pytest.approx(ssim(batch.x, batch.y, span=1.0), rel=1e-5)
    assert row["peak"] == "1" and "signal_to_error" not in row


def test_haze_is_measured_by_the_error_of_its_density(pairs):
    batch = pairs("defog", 2)
    (row,) = evaluate(["inversion"], "defog", ("out",), shape=(16, 24), pairs=2)
    error = (batch.nominal.beta - batch.true.beta).abs().flatten()
    assert row["per_pair"]["told_operator"] == pytest.approx(error.tolist(), rel=1e-5)
    assert row["operator"]["measure"] == "|beta error|" and not row["operator"]["larger_is_nearer"]


def test_rows_that_are_there_are_not_made_again(build):
    model = build("deconv", "direct")
    first = list(evaluate([model, "data"], mismatch=("none",), **SMALL))
    again = list(evaluate([model, "data"], mismatch=("none", "in"), done={key(row) for row in first}, **SMALL))
    assert [row["mismatch"] for row in again] == ["in", "in"]


def test_label_and_seed_come_from_the_folder(models):
    entry = Entry.of(models / "deconv" / "adaptive-deq" / "seed-2")
    assert (entry.label, entry.training_seed) == ("adaptive-deq", 2) and len(entry.weights) == 12
    other = Entry.of(models / "deconv" / "adaptive-deq" / "seed-1")
    assert other.weights != entry.weights
    assert Entry.of("deconv").label == "shipped deconv"


@pytest.mark.parametrize("call, words", [
    (lambda build: evaluate(["data"]), "task of the evaluation"),
    (lambda build: evaluate([build("deconv", "direct"), build("deblur", "direct")]), "one task"),
    (lambda build: evaluate([build("deconv", "direct")], "deblur"), "one task"),
    (lambda build: evaluate(["fista"], "deblur"), "classical method for deblur"),
    (lambda build: evaluate([build("deconv", "direct")], variants=("authors",)), "no model that authors applies to"),
    (lambda build: evaluate([build("deconv", "direct")], variants=("author",)), "variant"),
    (lambda build: evaluate([build("deconv", "direct")], told=("both",)), "forward model that is told"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_before_anything_is_computed(build, call, words):
    with pytest.raises(InputError, match=words):
        call(build)


def test_a_solve_that_diverges_is_counted(build):
    """It returns its last finite point, so the figures alone would not show it."""
    model = build("deconv", "direct")
    with torch.no_grad():
        next(model.prox.parameters()).fill_(float("nan"))
    (row,) = evaluate([model], mismatch=("none",), **SMALL)
    assert row["diverged"] == 5
    (row,) = evaluate([build("deconv", "direct")], mismatch=("none",), **SMALL)
    assert row["diverged"] == 0


def test_the_command_writes_the_rows(models, tmp_path, capsys):
    out = tmp_path / "rows.jsonl"
    words = ["evaluate", str(models / "deconv" / "direct" / "seed-1"), "data", "--pairs", "1", "--mismatch", "none"]
    assert main([*words, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "direct, as-saved (seed 1), told -: PSNR" in text and text.count("\n") == 2
    assert [row["label"] for row in read(out)] == ["direct", "data"]
    assert all(row["shape"] == [1, 128, 50] and not complaints(row) for row in read(out))


@pytest.mark.parametrize("task, calibration, shape", [("deblur", "width", (20, 18)), ("defog", "haze", (16, 24))])
def test_a_calibrated_operator_is_measured(build, task, calibration, shape):
    model = build(task, "adaptive-lu", calibration=calibration)
    with torch.no_grad():
        model.calibration.numbers[-1].bias.fill_(0.2)
    options = {"mismatch": ("out",), "shape": shape, "pairs": 2}
    rows = list(evaluate([model], variants=("as-saved", "no-calibration"), **options))
    found, plain = by(rows, variant="as-saved"), by(rows, variant="no-calibration")
    told, ours = (found["per_pair"][f"{which}_operator"] for which in ("told", "estimated"))
    assert all(a != pytest.approx(b) for a, b in zip(told, ours, strict=True))
    assert "estimated" not in plain["operator"] and plain["per_pair"]["told_operator"] == told
