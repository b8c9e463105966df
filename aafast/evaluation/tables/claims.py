"""What this evaluation is to show, each claim with its figure and whether the stored rows bear it out."""

from __future__ import annotations

from collections.abc import Callable

from ...config import METHODS
from ..statistics import difference, paired, per_pair, select
from ..variants import AS_SAVED
from . import adaptation, iterations
from .reconstruction import ORDER, plain, steps
from .results import TASKS, Absent, Results, Section, levels, names, table, title

OUT = ("out", "beyond")
HALF, EARNS, COSTS = 0.5, 1.0, -0.05
FISTA, DEQ, LU, START = 3.0, 0.1, 0.5, 0.05

Verdict = tuple[str, bool]


def claims(results: Results) -> Section:
    """Every claim, what was measured, and yes or no; a claim without rows is said to be unmeasured."""
    lines = []
    for words, check in CLAIMS:
        found = check(results)
        lines.append(
            [words, *(("no rows", "not measured") if found is None else (found[0], "yes" if found[1] else "**no**"))]
        )
    if all(line[-1] == "not measured" for line in lines):
        raise Absent("scores of models")
    return Section("claims", "What was to be shown", table(["claim", "measured", "holds"], lines))


def _ordering(results: Results) -> Verdict | None:
    rows = plain(results)
    every = [step for task in TASKS for level in levels(select(rows, task=task)) for step in steps(rows, task, level)]
    found = {(better, worse): [gap for a, b, gap in every if (a, b) == (better, worse) and gap is not None]
             for better, worse, _ in every}  # fmt: skip
    signs = [gap.sign for gaps in found.values() for gap in gaps]
    if not signs:
        return None
    whole = len(found) == len(ORDER) - 1 and all(found.values())
    return f"{signs.count(1)} of {len(signs)} steps of the ordering", signs.count(1) == len(signs) and whole


def _best_gaps(results: Results, wanted: tuple[str, ...]) -> dict[str, dict[tuple[str, str], adaptation.Gap]]:
    """By task, the gaps of every (label, level) among these levels."""
    found = {}
    for task in TASKS:
        gaps = {}
        for label, rows in adaptation.models(results, task).items():
            for level in levels(rows):
                gap = adaptation.gap(select(rows, mismatch=level))
                if level in wanted and gap is not None:
                    gaps[label, level] = gap
        if gaps:
            found[task] = gaps
    return found


def _half(results: Results) -> Verdict | None:
    found = _best_gaps(results, ("out",))
    if not found:
        return None
    best = {task: max(gaps.items(), key=lambda item: (item[1].share == item[1].share, item[1].share))
            for task, gaps in found.items()}  # fmt: skip
    words = "; ".join(f"{task} {adaptation.share(gap)} ({title(label)})" for task, ((label, _), gap) in best.items())
    return words, sum(gap.share >= HALF for _, gap in best.values()) >= 2


def _earns(results: Results) -> Verdict | None:
    found = _best_gaps(results, OUT)
    if not found:
        return None
    best = {task: max(gaps.items(), key=lambda item: item[1].gain.mean) for task, gaps in found.items()}
    words = "; ".join(f"{task} {gap.gain.text()} dB ({title(label)}, {level})"
                      for task, ((label, level), gap) in best.items())  # fmt: skip
    return words, any(gap.gain.mean >= EARNS for _, gap in best.values())


def _costs(results: Results) -> Verdict | None:
    """The level "in" decides; what a right forward model is worth less for being calibrated is said beside it."""
    words, good = [], None
    for level, where in (("in", ""), ("none", "told the truth: ")):
        gaps = _best_gaps(results, (level,))
        every = [(task, label, gap) for task, found in gaps.items() for (label, _), gap in found.items()
                 if label in METHODS]  # fmt: skip
        if not every:
            continue
        task, label, worst = min(every, key=lambda item: item[2].gain.mean)
        words.append(f"{where}least gain {worst.gain.text()} dB ({task}, {title(label)}, {level})")
        good = worst.gain.mean >= COSTS if level == "in" else good
    return None if good is None else ("; ".join(words), good)


def _nearer(results: Results) -> Verdict | None:
    rows = [row for row in results.tested(task="deconv", variant=AS_SAVED, told="nominal")
            if "estimated" in row.get("operator", {}) and row["mismatch"] != "none"]  # fmt: skip
    if not rows:
        return None
    words, good = [], []
    for label in names(rows):
        for level in levels(select(rows, label=label)):
            found = select(rows, label=label, mismatch=level)
            told, ours = (per_pair(found, f"{which}_operator") for which in ("told", "estimated"))
            words.append(f"{title(label)}, {level}: {told.mean():.3f} to {ours.mean():.3f}")
            good.append(paired(ours - told).sign > 0)
    return "; ".join(words), all(good)


def _fista(results: Results) -> Verdict | None:
    rows = select(plain(results), task="deconv")
    fista = [row for row in rows if row["label"] == "fista"]
    found = []
    for label in names([row for row in rows if row["method"].startswith("adaptive")]):
        for level in OUT:
            a, b = select(rows, label=label, mismatch=level), select(fista, mismatch=level)
            if a and b:
                times = ", ".join(f"{1e3 * sum(r['seconds'] for r in part) / len(part):.0f}" for part in (a, b))
                found.append((difference(a, b), f"{title(label)}, {level}", times))
    if not found:
        return None
    words = [f"{who} {gap.text()} dB ({times} ms a pair)" for gap, who, times in found]
    told = results.tested(task="deconv", mismatch=OUT, told="true")
    groups = {(r["label"], r["variant"], r["mismatch"]): select(fista, mismatch=r["mismatch"]) for r in told}
    bounds = [
        (difference(select(told, label=label, variant=variant, mismatch=level), wrong), f"{title(label)}, {level}")
        for (label, variant, level), wrong in groups.items() if wrong
    ]  # fmt: skip
    if bounds:
        gap, who = max(bounds, key=lambda bound: bound[0].mean)
        words.append(f"told the true wavelet nothing here is more than {gap.text()} dB better ({who})")
    return "; ".join(words), any(gap.mean >= FISTA for gap, _, _ in found)


def _stable(method: str, least: int, most: float) -> Callable[[Results], Verdict | None]:
    def check(results: Results) -> Verdict | None:
        try:
            rows = iterations.saved(results, (method,), least)
        except Absent:
            return None
        found = {f"{task}, {level}": iterations.stability(part)["largest"]
                 for task, level, label, part in iterations.groups(rows) if label == method}  # fmt: skip
        if not found:
            return None
        return "; ".join(f"{who} {value:.3f} dB" for who, value in found.items()), max(found.values()) <= most

    return check


def _start(results: Results) -> Verdict | None:
    """The schemes' own scales decide; what a tenth of them changes, this package's scale, is said beside it."""
    words, good = [], True
    for task in TASKS:
        rows = results.tested(task=task, told="nominal")
        full, tenth = (adaptation.changes(rows, names) for names in (adaptation.FULL, adaptation.TENTH))
        if not full:
            continue
        largest = max(abs(change.mean) for change in full)
        words.append(f"{task} {largest:.3f} dB at the schemes' own scales")
        if tenth:
            words[-1] += f", {max(abs(change.mean) for change in tenth):.3f} dB at a tenth of them"
        good &= largest <= START
    return ("; ".join(words), good) if words else None


CLAIMS: tuple[tuple[str, Callable[[Results], Verdict | None]], ...] = (
    ("A-adaptive DEQ > A-adaptive LU > robust LU > direct inverse, every task and level", _ordering),
    ("Out of distribution adaptation closes half of the gap to the oracle or more, on two tasks", _half),
    ("It earns 1.0 dB or more on one task", _earns),
    ("In distribution it never costs more than 0.05 dB", _costs),
    ("The estimated wavelet is nearer to the true one than the nominal was", _nearer),
    ("Deconvolution beats FISTA by 3 dB or more with the wrong wavelet", _fista),
    ("The equilibrium model stays within 0.1 dB from its stop to 100 iterations", _stable("adaptive-deq", 100, DEQ)),
    ("The unrolled model stays within 0.5 dB from K = 5 to 10", _stable("adaptive-lu", 10, LU)),
    ("Another start of theta changes the PSNR by 0.05 dB or less", _start),
)
