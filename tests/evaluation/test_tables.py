"""A folder of tiny models through the experiments to the tables: what is made, kept, left out and said."""

import io
import json
import re
import shutil

import numpy as np
import pytest

import aafast
from aafast.cli import main
from aafast.errors import FileError, FormatError, InputError
from aafast.evaluation import pictures
from aafast.evaluation.experiments import Experiment, find, variance_times
from aafast.evaluation.rows import complaints, read, write
from aafast.evaluation.tables import Results, build
from aafast.evaluation.tables.adaptation import gap
from aafast.evaluation.tables.build import SECTIONS
from aafast.evaluation.tables.claims import claims
from aafast.evaluation.tables.reconstruction import ordering

pytest.importorskip("matplotlib")
LU, DEQ = "adaptive-lu", "adaptive-deq"


@pytest.fixture(scope="module")
def stored(models, tmp_path_factory):
    """The rows of every experiment, and what was said on the way."""
    folder, said = tmp_path_factory.mktemp("results"), []

    def experiment(name, task, **options):
        shape = (56, 12) if task == "deconv" else (20, 18)
        return Experiment(models, folder / f"{name}-{task}.jsonl", (task,), pairs=3, shape=shape, batch=3,
                          say=said.append, **options)  # fmt: skip

    for task in ("deconv", "deblur"):
        experiment("table1", task).scores(
            classical={"deconv": ("data", "wiener"), "deblur": ("data", "wiener")}, mismatch=("in", "out")
        )
    experiment("published", "deblur").scores(("robust-lu",), variants=("as-published",), mismatch=("in", "out"))
    experiment("ablation", "deconv").scores(
        (LU,), {"deconv": ("wiener",)}, ("none", "out"), variants=("as-saved", "frozen", "no-theta", "authors"),
        told=("nominal", "true"),
    )  # fmt: skip
    experiment("table2", "deconv").scores((LU,), variants=("as-saved", "theta-uniform", "theta-xavier-10"),
                                          mismatch=("out",))  # fmt: skip
    experiment("curves", "deconv").curves(("robust-lu", LU), 10)
    experiment("deq", "deconv").curves((DEQ,), 100)
    experiment("pictures", "deconv").picture("deconv", "figure4", ("direct", "robust-lu", LU), classical=("wiener",))
    nine = experiment("nine", "deblur")
    told = {f"variance x {k}/7": variance_times(k / 7) for k in (3, 7)}
    nine.told("deblur", (LU,), told)
    nine.picture("deblur", "figure9", (LU,), "none", tellers=told)
    return folder, said


@pytest.fixture(scope="module")
def made(stored, tmp_path_factory):
    out = tmp_path_factory.mktemp("tables") / "new"
    files, absent = build([stored[0]], out)
    return files, absent, (out / "tables.md").read_text()


def test_all_rows_are_whole(stored):
    rows = [row for path in sorted(stored[0].glob("*.jsonl")) for row in read(path)]
    assert len(rows) > 50 and not [complaints(row) for row in rows if complaints(row)]
    assert not any(str(part) in json.dumps(rows) for part in stored[0].parents if len(str(part)) > 4)


def test_missing_models_are_said(stored):
    assert "missing: deblur/direct has 0 of 3 seeds" in stored[1]
    assert "missing: deconv/adaptive-lu has 2 of 3 seeds" in stored[1]


def test_every_section_is_made_but_those_without_rows(made):
    files, absent, text = made
    assert set(absent) == {"table3"}
    assert "Table 3" not in text.split("## Left out")[0] and "- table3: no rows of the solve suite" in text
    assert text.count("\n## ") == len(SECTIONS)  # all but one, and what was left out
    linked = re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)
    assert sorted(linked) == sorted(path.name for path in files if path.suffix == ".png") and len(linked) >= 7
    for path in files:
        if path.suffix == ".png":
            assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 3000


def test_table1_says_what_the_rows_say(stored, made):
    rows = [row for row in read(stored[0] / "table1-deconv.jsonl") if row["label"] == LU and row["mismatch"] == "out"]
    means = [row["psnr"]["mean"] for row in rows]
    assert len(means) == 2
    line = next(line for line in made[2].splitlines() if line.startswith("| A-adaptive LU |") and "27.27" in line)
    cell = line.split("|")[4]  # beside none, which the ablation has, and in
    assert f"{np.mean(means):.2f} ± {np.std(means, ddof=1):.2f} (" in cell
    published = next(line for line in made[2].splitlines() if line.startswith("| robust LU, as published |"))
    row = read(stored[0] / "published-deblur.jsonl")[0]
    assert row["variant"] == "as-published" and published.count("/") == 2


def test_pictures_match_what_was_computed(stored):
    path = stored[0] / "pictures-deconv.jsonl"
    (row,) = read(path)
    names = [panel["array"] for panel in row["panels"]]
    found = pictures.load(path, names)
    assert [panel["title"] for panel in row["panels"]] == ["truth", "data", "wiener", "direct", "robust-lu", LU]
    assert all(found[name].shape == (56, 12) for name in names)
    truth, data = (found[name].astype(float) for name in names[:2])
    psnr = 10 * np.log10(np.abs(truth).max() ** 2 / np.mean((truth - data) ** 2))
    assert row["panels"][1]["psnr"] == pytest.approx(psnr, abs=0.05)
    top, left, height, width = row["zoom"]
    inside = truth[top:top + height, left:left + width]
    assert inside.shape == (14, 8) and inside.var() >= truth.var()


def test_rows_are_kept_until_the_weights_change(models, build, tmp_path):
    folder = tmp_path / "models"
    shutil.copytree(models / "deconv" / "direct", folder / "deconv" / "direct")
    options = {"tasks": ("deconv",), "pairs": 2, "shape": (56, 12)}

    def run():
        said = []
        Experiment(folder, tmp_path / "rows.jsonl", say=said.append, **options).scores(mismatch=("out",))
        return [line for line in said if "PSNR" in line]

    assert len(run()) == 2 and len(run()) == 0
    before = read(tmp_path / "rows.jsonl")
    aafast.save(build("deconv", "direct", 9), folder / "deconv" / "direct" / "seed-1")
    assert len(run()) == 1
    after = read(tmp_path / "rows.jsonl")
    assert len(after) == 2 and sum(row in before for row in after) == 1


def test_models_are_found_in_order(models):
    assert list(find(models, "deconv")) == ["direct", "robust-lu", "adaptive-lu", "adaptive-deq"]
    assert [path.name for path in find(models, "deconv")[LU]] == ["seed-1", "seed-2"] and find(models, "defog") == {}
    with pytest.raises(FileError, match="folder of models"):
        Experiment(models / "nowhere", models / "rows.jsonl")


def scored(label, values, seed=1, variant="as-saved", told="nominal", task="deconv", mismatch="out", **fields):
    values = [float(v) for v in values]
    figure = {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)), "se": 0.1}
    return {"suite": "evaluation", "kind": "score", "task": task, "label": label, "method": label, "variant": variant,
            "training_seed": seed, "weights": f"{label}-{seed}", "told": told, "mismatch": mismatch, "split": "test",
            "source": "generated", "seed": 0, "pairs": len(values), "shape": [1, 8, 8], "device": "cpu",
            "device_name": "a processor", "threads": 1, "versions": {"aafast": "0", "torch": "2"}, "commit": "abc",
            "peak": "p", "span": "s", "psnr": figure, "ssim": figure, "correlation": figure, "seconds": 0.01,
            "per_pair": {"psnr": values}, **fields}  # fmt: skip


def of(rows):
    return Results(rows, [], [], [])


def test_the_ordering_is_claimed_only_where_it_exceeds_its_error():
    rng = np.random.default_rng(0)
    pair = rng.standard_normal(30)
    rows = [scored(label, pair + level + 0.05 * rng.standard_normal(30), seed)
            for label, level in ((DEQ, 3.0), (LU, 3.0), ("robust-lu", 1.0), ("direct", 1.5))
            for seed in (1, 2, 3)]  # fmt: skip
    text = ordering(rows)
    cells = [cell.strip() for cell in text.splitlines()[4].split("|")[1:-1]]
    assert cells[:2] == ["deconv", "out"]
    assert [cell.split(", ")[1] for cell in cells[2:]] == ["not shown", "holds", "reversed"]
    assert "A-adaptive DEQ over A-adaptive LU is not shown" in text
    assert "robust LU over direct inverse is reversed" in text
    assert "Fewer than" not in text and "Fewer than 3 seeds" in ordering(rows[:3] + rows[3:4])


def gap_rows(none, ours, oracle_ours, oracle_none, **where):
    noise = 0.01 * np.random.default_rng(1).standard_normal(20)
    return [scored(LU, noise + none, variant="no-theta", **where), scored(LU, noise + ours, **where),
            scored(LU, noise + oracle_ours, told="true", **where),
            scored(LU, noise + oracle_none, variant="no-theta", told="true", **where)]  # fmt: skip


def test_the_share_of_the_gap_is_that_to_the_better_oracle():
    found = gap(gap_rows(10.0, 11.2, 11.5, 12.0))
    assert found.gain.mean == pytest.approx(1.2) and found.gap.mean == pytest.approx(2.0)
    assert found.share == pytest.approx(0.6)
    assert gap(gap_rows(10.0, 11.2, 11.5, 12.0)[:2]) is None


def test_claims_say_yes_and_no():
    good = [row for task in ("deconv", "deblur") for row in gap_rows(10.0, 11.2, 11.5, 12.0, task=task)]
    bad = gap_rows(10.0, 9.9, 10.0, 10.2, mismatch="in")
    fista = [scored("fista", np.full(20, 7.9), variant="-", seed=None)]
    text = claims(of([*good, *bad, *fista])).text
    lines = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in text.splitlines()}
    verdicts = {words[:30]: cells[-1] for words, cells in lines.items()}
    assert verdicts["Out of distribution adaptation"] == "yes" and verdicts["It earns 1.0 dB or more on one"] == "yes"
    assert verdicts["In distribution it never costs"] == "**no**"
    assert verdicts["Deconvolution beats FISTA by 3"] == "yes"
    assert verdicts["Another start of theta changes"] == "not measured"
    assert "told the true wavelet nothing here is more than +4.10" in text  # the oracle without adaptation
    truth = gap_rows(12.0, 11.0, 11.0, 12.0, mismatch="none")
    right = claims(of([*gap_rows(10.0, 10.0, 10.0, 10.2, mismatch="in"), *truth]))
    (line,) = (line for line in right.text.splitlines() if "never costs" in line)
    assert line.split("|")[-2].strip() == "yes" and "told the truth: least gain -1.00" in line
    half = claims(of([*gap_rows(10.0, 10.9, 11.5, 12.0), *gap_rows(10.0, 11.2, 11.5, 12.0, task="deblur")])).text
    assert "deblur 60%" in half and "deconv 45%" in half
    assert [line.split("|")[-2].strip() for line in half.splitlines() if "closes half" in line] == ["**no**"]


def test_other_sources_have_tables_of_their_own(tmp_path):
    rows = [scored("direct", [1.0, 2.0]), scored("direct", [3.0, 4.0], source="photographs")]
    write(tmp_path / "rows.jsonl", rows)
    files, _ = build([tmp_path / "rows.jsonl"], tmp_path / "out")
    text = files[0].read_text()
    assert "## Table 1: reconstruction\n" in text and "## Table 1: reconstruction: photographs" in text
    assert text.index("1.50") < text.index("3.50")


def test_the_last_row_of_a_question_counts(tmp_path):
    for name, value in (("a", 1.0), ("b", 5.0)):
        write(tmp_path / f"{name}.jsonl", [scored("direct", [value, value + 1])])
    assert [row["psnr"]["mean"] for row in Results.read([tmp_path]).scores] == [5.5]


def test_files_that_cannot_be_used(tmp_path):
    with pytest.raises(FileError, match="rows"):
        build([tmp_path / "none.jsonl"], tmp_path)
    (tmp_path / "broken.jsonl").write_text('{"suite": "evaluation"}\n[1]\n')
    with pytest.raises(FormatError, match="line 2"):
        build([tmp_path / "broken.jsonl"], tmp_path)
    (tmp_path / "short.jsonl").write_text('{"suite": "evaluation"}\n')
    with pytest.raises(InputError, match="no kind"):
        build([tmp_path / "short.jsonl"], tmp_path)
    (tmp_path / "other.jsonl").write_text('{"suite": "ops"}\n')
    with pytest.raises(InputError, match="none that a table is made of"):
        build([tmp_path / "other.jsonl"], tmp_path)


def test_images_are_never_unpickled(tmp_path):
    buffer = io.BytesIO()
    np.savez(buffer, a=np.array([{"x": 1}], dtype=object))
    (tmp_path / "rows.npz").write_bytes(buffer.getvalue())
    with pytest.raises(FormatError, match="images"):
        pictures.load(tmp_path / "rows.jsonl", ["a"])


def test_the_command_says_what_it_made_and_what_it_left_out(stored, tmp_path, capsys):
    assert main(["tables", str(stored[0] / "table1-deconv.jsonl"), "--out", str(tmp_path / "out"), "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert str(tmp_path / "out" / "tables.md") in found["files"] and "figure7" in found["left_out"]
    assert "left out: figure7" in captured.err
