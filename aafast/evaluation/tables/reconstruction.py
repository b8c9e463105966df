"""Table 1: reconstruction by every method, and whether the paper's ordering holds."""

from __future__ import annotations

from collections.abc import Sequence

from ...config import METHODS
from .. import published
from ..experiments import SEEDS
from ..statistics import Difference, difference, score, select
from ..variants import AS_PUBLISHED, AS_SAVED
from .results import PUBLISHED_LU, TASKS, Absent, Results, Row, Section, levels, machine, names, table, title

# The claim: each is better than the next.
ORDER = ("adaptive-deq", "adaptive-lu", "robust-lu", "direct")


def table1(results: Results) -> Section:
    """PSNR and SSIM by task, method and level."""
    rows = plain(results)
    if not any(row["method"] in METHODS for row in rows):
        raise Absent("scores of trained models as saved, told the nominal forward model")
    parts = [part for task in TASKS for part in _task(task, results) if select(rows, task=task)]
    return Section("table1", "Table 1: reconstruction", "\n\n".join([*parts, ordering(rows)]))


def plain(results: Results) -> list[Row]:
    """Models as saved and classical methods, told what they would be told in use."""
    return results.tested(variant=(AS_SAVED, "-"), told=("nominal", "-"))


def _task(task: str, results: Results) -> list[str]:
    rows = select(plain(results), task=task)
    if not rows:
        return []
    broken = results.tested(task=task, variant=AS_PUBLISHED, told="nominal")
    columns = levels(rows)
    lines = []
    for label in names(rows):
        if label == "robust-lu" and broken:
            lines.append([PUBLISHED_LU, *_cells(broken, columns), ""])
        paper = published.TABLE1[task].get(label)
        lines.append(
            [title(label), *_cells(select(rows, label=label), columns), "" if paper is None else _paper(*paper)]
        )
    known = rows[0]
    seeds = {label: len({row["training_seed"] for row in select(rows, label=label)}) for label in names(rows)
             if select(rows, label=label)[0]["method"] in METHODS}  # fmt: skip
    head = (
        f"**{task}**: PSNR in dB / SSIM, mean over {known['pairs']} pairs of the {known['split']} split "
        f"({known['source']}, {'x'.join(map(str, known['shape']))}) and over training seeds ± standard deviation over "
        f"the seeds; in brackets the standard deviation of the PSNR over pairs. Peak of the PSNR: {known['peak']}; "
        f"span of the SSIM: {known['span']}. Seeds: {', '.join(f'{title(k)} {n}' for k, n in seeds.items())}. "
        f"{machine(rows)}. The last column is what the paper prints, for other data and another mismatch."
    )
    return [head + "\n\n" + table(["method", *columns, "paper"], lines)]


def _cells(rows: Sequence[Row], columns: Sequence[str]) -> list[str]:
    cells = []
    for level in columns:
        found = select(rows, mismatch=level)
        if not found:
            cells.append("-")
            continue
        psnr = score(found)
        cells.append(f"{psnr.text()} ({psnr.pair_sd:.2f}) / {score(found, 'ssim').text(4)}")
    return cells


def _paper(psnr: tuple[float, float], ssim: tuple[float, float]) -> str:
    return f"{psnr[0]:.2f} ± {psnr[1]:.2f} / {ssim[0]:.4f} ± {ssim[1]:.4f}"


def steps(rows: Sequence[Row], task: str, level: str) -> list[tuple[str, str, Difference | None]]:
    """The three differences of the ordering on one test set, None where a method's rows lack."""
    found = []
    for better, worse in zip(ORDER, ORDER[1:], strict=False):
        a, b = (select(rows, task=task, mismatch=level, label=label) for label in (better, worse))
        found.append((better, worse, difference(a, b) if a and b else None))
    return found


def verdict(found: Difference | None) -> str:
    """Whether a > b is shown: `holds`, `not shown`, `reversed`, or what lacks."""
    if found is None:
        return "no rows"
    return {1: "holds", 0: "not shown", -1: "reversed"}[found.sign]


def ordering(rows: Sequence[Row]) -> str:
    """The paired differences of the ordering, and in words where it does not hold."""
    lines, against, few = [], [], set()
    for task in TASKS:
        for level in levels(select(rows, task=task)):
            found = steps(rows, task, level)
            if all(step[2] is None for step in found):
                continue
            cells = []
            for better, worse, gap in found:
                word = verdict(gap)
                cells.append("-" if gap is None else f"{gap.text()}, {word}")
                if gap is not None and min(gap.seeds) < SEEDS:
                    few.add(f"{task}: {title(better)} {gap.seeds[0]}, {title(worse)} {gap.seeds[1]}")
                if gap is not None and gap.sign <= 0:
                    against.append(f"{task}, {level}: {title(better)} over {title(worse)} is {word} ({gap.text()} dB)")
            lines.append([task, level, *cells])
    heads = [f"{title(a)} - {title(b)}" for a, b in zip(ORDER, ORDER[1:], strict=False)]
    words = [
        "**Ordering** (A-adaptive DEQ > A-adaptive LU > robust LU > direct inverse): differences of PSNR in dB on the "
        "same pairs ± standard error over pairs and training seeds. An ordering holds where the difference exceeds "
        "twice its error.",
        table(["task", "mismatch", *heads], lines),
        "Where it does not hold: " + ("; ".join(against) + "." if against else "nowhere in this table."),
    ]
    if few:
        words.append(f"Fewer than {SEEDS} seeds, so that the error has no full part of the training: "
                     f"{'; '.join(sorted(few))}.")  # fmt: skip
    return "\n\n".join(words)
