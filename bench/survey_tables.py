"""Tables of docs/performance.md on surveys: throughput, growth with their size, and the long trials."""

from __future__ import annotations

from collections.abc import Sequence

from aafast.bench.rows import Row, duration
from aafast.evaluation.tables.results import title

NAMES = {"pass-through": "pass-through: reading, cutting, writing", "fista": "FISTA of PyLops, 100 iterations"}


def throughput(found: Sequence[Row]) -> str:
    """Traces per second of a survey by model, and what part of the time is left to input and output."""
    first = found[0]
    inlines, (crosslines, samples) = first["batch"], first["shape"]
    lines = [
        f"{inlines} x {crosslines} traces of {samples} samples, {first['threads']} thread(s) of "
        f"{first['device_name']}; each output equals the plain solve of an inline bit for bit.",
        "",
        "| model | time | traces/s | MB/s | waiting for input and output | times FISTA's speed |",
        "|---|---|---|---|---|---|",
    ]
    for row in found:
        waited = "-" if row["method"] == "fista" else f"{row['share_waited_io']:.1%}"
        times = "-" if row["speedup"] is None else f"{row['speedup']:.2f}"
        lines.append(
            f"| {NAMES.get(row['method'], title(row['method']))} | {duration(row['median_s'])} "
            f"| {row['traces_per_s']:.0f} | {row['mb_per_s']:.1f} | {waited} | {times} |"
        )
    return "\n".join(lines)


def last(trials: Sequence[Row], name: str) -> Row:
    """The latest row of a trial."""
    return [row for row in trials if row.get("trial") == name][-1]


def growth(trials: Sequence[Row]) -> str:
    """Seconds and peak memory of one process as a survey grows, from the last such trial."""
    found = last(trials, "linear")
    lines = [
        "`aafast run --memory` on synthetic surveys, model `identity`: reading, cutting, writing, on "
        f"{found['threads']} thread(s) of {found['device_name']}, median of {len(found['rows'][0]['all_s'])} runs. Off "
        f"a straight line by {found['off the line']:.0%}"
        f"{'' if found['ok'] else ', more than the 10 % that the trial allows'}.",
        "",
        "| survey | time | MB/s | peak memory |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {row['mb']:.0f} MB | {row['seconds']:.1f} s ({min(row['all_s']):.1f} to {max(row['all_s']):.1f}) "
        f"| {row['mb'] / row['seconds']:.0f} | {row['peak_mb']:.0f} MB |"
        for row in found["rows"]
    ]
    return "\n".join(lines)


def endurance(trials: Sequence[Row], fuzz: Sequence[Row]) -> str:
    """What the trials with workers, kills, disks and mutated files found, each with its figures."""
    workers, direct, kills, disks = (last(trials, name) for name in ("workers", "direct", "kills", "disks"))
    lines = ["| trial | found | holds |", "|---|---|---|"]

    def line(name: str, words: str, ok: bool) -> None:
        lines.append(f"| {name} | {words} | {'yes' if ok else '**no**'} |")

    same = "same" if workers["same bytes"] else "other"
    gain = f"{workers['ratio']:.2f} times as fast, {same} bytes"
    line("two single-threaded workers against one", gain, workers["ok"])
    for row in direct["rows"]:
        line(f"a direct inverse ({row['model']}) under `--memory 1.5GB`",
             f"a survey of {row['mb']:.0f} MB takes {row['peak_mb']:.0f} MB at its peak", direct["ok"])  # fmt: skip
    line(
        f"{kills['kills']} times SIGKILL, {kills['of the parent']} of them to the parent",
        f"{'same' if kills['same bytes'] else 'other'} bytes as undisturbed; {kills['solved again']} blocks begun "
        f"again, {kills['in flight at a kill']} of them in flight at a kill",
        kills["ok"],
    )
    said = ("full disk is an error", "goes on", "read-only is an error")
    line("a disk that fills, a read-only folder",
         "; ".join(name if disks[name] else f"NOT: {name}" for name in said), disks["ok"])  # fmt: skip
    for row in (row for row in fuzz if row["kind"] == "all"):
        bad = sum(row[name] for name in ("wrong", "crash", "hang", "slow", "memory"))
        line(f"{row['files']} mutated surveys", f"{row['valid']} valid results, {row['error']} clear errors, {bad} "
             f"else; slowest {row['slowest_s']:.1f} s, {row['added_mb']:.0f} MB added", bad == 0)  # fmt: skip
    return "\n".join(lines)
