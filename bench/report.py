"""Tables and the picture of the documents, made from the committed results.

Run: python bench/report.py           prints the tables
     python bench/report.py --write   puts them between the documents' markers, and draws docs/solve-cpu.svg
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from aafast.bench import compat, performance, survey_tables
from aafast.bench.plot import contestant, draw
from aafast.bench.rows import ORACLE, Row, duration
from aafast.evaluation.tables.results import title

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
PICTURE = "docs/solve-cpu.svg"
LEVELS = ("none", "in", "out")


def rows(name: str) -> list[dict]:
    """The rows of one results file."""
    return [json.loads(line) for line in (RESULTS / name).read_text(encoding="utf-8").splitlines()]


MISMATCH = {
    "deconv": "in: the nominal wavelet is off by up to 20 % in frequency and length and 0.6 rad in phase; out: by up "
    "to 40 % and 1.2 rad",
    "deblur": "in: the nominal kernel's width is off by up to 20 %; out: by up to 40 %",
    "defog": "in: the nominal density is off by up to 25 % and the airlight by 0.05; out: by up to 60 % and 0.12",
}
SHIPPED = "evaluation-shipped.jsonl"


def cells(found: list[dict], levels: Sequence[str] = LEVELS, **fields: str) -> str:
    """PSNR in dB / SSIM of the rows with these fields, a column per level."""
    chosen = {r["mismatch"]: r for r in found if all(r[name] == value for name, value in fields.items())}
    return " | ".join(f"{chosen[v]['psnr']['mean']:.2f} / {chosen[v]['ssim']['mean']:.3f}" for v in levels)


def contest_table(mine: list[dict], levels: Sequence[str] = LEVELS) -> list[str]:
    """The shipped models and the classical methods of one task on one test, told the nominal forward model."""
    lines = [f"| method | {' | '.join(levels)} |", f"|---|{'---|' * len(levels)}"]
    for label in dict.fromkeys(r["label"] for r in sorted(mine, key=lambda r: r["variant"] != "-")):
        told = "-" if label in ("data", "dark-channel") else "nominal"
        variant = "as-saved" if label.startswith("shipped") else "-"
        name = f"aafast, {label}" if label.startswith("shipped") else title(label)
        lines.append(f"| {name} | {cells(mine, levels, label=label, told=told, variant=variant)} |")
    return lines


def other_sources() -> str:
    """The shipped models on pairs of other sources than those of the tables."""
    parts = []
    found = rows("evaluation-sources.jsonl")
    for task, source in dict.fromkeys((r["task"], r["source"]) for r in found):
        mine = [r for r in found if (r["task"], r["source"]) == (task, source)]
        head = f"**{task}**, {source}, {mine[0]['pairs']} pairs of {'x'.join(map(str, mine[0]['shape']))}:"
        parts.append("\n".join([head, "", *contest_table(mine, ("in", "out"))]))
    return "\n\n".join(parts)


def shipped_scores() -> str:
    """The shipped models beside the classical methods, told the nominal forward model."""
    found = rows(SHIPPED)
    parts = []
    for task in MISMATCH:
        mine = [r for r in found if r["task"] == task]
        head = f"**{task}** ({MISMATCH[task]}; PSNR with the peak {mine[0]['peak']}):"
        parts.append("\n".join([head, "", *contest_table(mine)]))
    head = (
        f"The shipped models on {found[0]['pairs']} held-out generated pairs a column: PSNR in dB / SSIM, told the "
        "nominal forward model. The columns say how wrong that is; none: not at all. The classical methods' parameters "
        "are tuned for PSNR on other pairs of each column."
    )
    return "\n\n".join([head, *parts])


def line_figures() -> str:
    """The run on a real line."""
    r = rows("run-line.jsonl")[0]
    return (
        f"`aafast run` with a report on a real line ({r['file']}, {r['bytes'] / 1e6:.1f} MB) takes "
        f"{r['median_s']:.0f} s ({r['min_s']:.0f} to {r['max_s']:.0f} over {r['runs']} runs) "
        f"and {r['peak_mb']:.0f} MB at its peak on {r['threads']} CPU thread(s)."
    )


def ablation() -> str:
    """What the updates of z and theta and the calibration earn in the shipped models, and what the truth would earn."""
    found = rows(SHIPPED)
    parts = []
    for label in dict.fromkeys(r["label"] for r in found if r["label"].startswith("shipped")):
        mine = [r for r in found if r["label"] == label]
        task = mine[0]["task"]
        lines = [f"| {label}: variant | told | {' | '.join(LEVELS)} |", f"|---|---|{'---|' * len(LEVELS)}"]
        told = [("nominal", variant) for variant in dict.fromkeys(r["variant"] for r in mine)]
        told += [("true", variant) for variant in ("as-saved", "no-theta") if ("nominal", variant) in told]
        lines += [f"| {variant} | {which} | {cells(mine, told=which, variant=variant)} |" for which, variant in told]
        beside = [r for r in found if r["task"] == task and r["variant"] == "-" and r["told"] == "true"]
        for name in dict.fromkeys(r["label"] for r in beside):
            lines.append(f"| {title(name)} | true | {cells(beside, label=name)} |")
        nearer = [f"{o['told']['mean']:.3f} to {o['estimated']['mean']:.3f} ({r['mismatch']})" for r in mine
                  if r["variant"] == "as-saved" and r["told"] == "nominal" and "estimated" in (o := r["operator"])]
        if nearer:
            lines += ["", f"Mean {mine[0]['operator']['measure']}, nominal to estimated: {', '.join(nearer)}."]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def where(row: Row) -> str:
    """The machine of a row, as a clause."""
    versions = row["versions"]
    return (
        f"{row['device_name']}, {row['threads']} thread(s), torch {versions['torch']}, "
        f"aafast {versions['aafast']} at {row['commit'] or 'no commit'}"
    )


def suite_rows(name: str, suite: str) -> list[Row]:
    """The rows of a suite's results file; none where there is no such file yet."""
    path = RESULTS / name
    return [row for row in rows(name) if row["suite"] == suite] if path.is_file() else []


def solve_summary() -> str:
    """The engine's speed-ups in a sentence, for a document that has no room for the table."""
    found = suite_rows("solve-cpu.jsonl", "solve")
    if not found:
        return not_yet("solve")
    engine = [row for row in found if row["engine"]]
    over, plain = (
        [row[name] for row in engine if row[name] is not None] for name in ("speedup", "speedup_over_plain")
    )
    red = sum(not row["gate"]["ok"] for row in engine)
    return (
        f"![Speed-ups over the reference]({PICTURE})\n\n"
        f"{min(over):.1f} to {max(over):.1f} times the speed of the authors' iteration as they run it, and "
        f"{min(plain):.1f} to {max(plain):.1f} times that of the faster of channels-last eager and torch.compile, "
        f"{len(over)} solves on {where(found[0])}"
        f"{f'; {red} failed their gate' if red else ''}. [docs/performance.md](docs/performance.md) has the table."
    )


def solve_figures() -> str:
    """Time of an iteration by contestant, the engine's two speed-ups, its memory and its gates."""
    found = suite_rows("solve-cpu.jsonl", "solve")
    if not found:
        return not_yet("solve")
    lines = [
        f"![Speed-ups over the reference]({Path(PICTURE).name})",
        "",
        f"Seconds an iteration (median; p20 to p80 are in the file) on {where(found[0])}. The same network, weights "
        "and data in every column, all columns in turns in one run; `reference` is the authors' iteration as they run "
        "it. Plain is the faster of channels-last eager and torch.compile. A result outside its tolerance has no "
        "speed-up.",
        "",
        "| task, method | batch | reference | eager-nhwc | compile | aafast | over reference | over plain "
        "| peak MB, reference to aafast | largest error / tolerance |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for task, method in dict.fromkeys((row["task"], row["method"]) for row in found):
        by = {contestant(row): row for row in found if (row["task"], row["method"]) == (task, method)}
        lines.append(solve_line(task, method, by))
    return "\n".join(lines)


def solve_line(task: str, method: str, by: dict[str, Row]) -> str:
    """One line of the table of solves, from the rows of a task and method by contestant."""
    engine = by["engine"]

    def seconds(who: str) -> str:
        return duration(by[who]["s_per_iteration"]) if who in by else "-"

    def times(name: str) -> str:
        return "-" if engine[name] is None else f"{engine[name]:.1f}"

    def memory(who: str) -> str:
        return "-" if who not in by or by[who]["peak_mb"] is None else f"{by[who]['peak_mb']:.0f}"

    cells = [
        f"{task}, {method}",
        "x".join(str(n) for n in [engine["batch"], *engine["shape"]]),
        *(seconds(who) for who in ("reference", "eager-nhwc", "compile", "engine")),
        times("speedup"),
        times("speedup_over_plain"),
        f"{memory('reference')} to {memory('engine')}",
        "; ".join(error(gate) for gate in engine["gates"]),
    ]
    return f"| {' | '.join(cells)} |"


def error(gate: Row) -> str:
    """A gate's value beside its tolerance."""
    value = gate["value"] if isinstance(gate["value"], str) else f"{gate['value']:.1e}"
    return f"{'' if gate['ok'] else 'RED '}{value} / {gate['tolerance']:g}"


def op_figures() -> str:
    """Time, rate and speed-up of every backend of every operation."""
    found = suite_rows("ops-cpu.jsonl", "ops")
    if not found:
        return not_yet("ops")
    lines = [
        f"On {where(found[0])}. GFLOP/s are those of the direct method, whatever the method.",
        "",
        "| operation | backend | size | median | GFLOP/s | of SGEMM | speed-up | error / tolerance |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found:
        speed = "-" if row["speedup"] is None else f"{row['speedup']:.1f} of {row['baseline']}"
        share = "-" if row["peak_share"] is None else f"{row['peak_share']:.0%}"
        rate = "-" if row["gflops"] is None else f"{row['gflops']:.1f}"
        size = "x".join(str(n) for n in [row["batch"], *row["shape"]])
        checked = "-" if row["gate"] == ORACLE else error(row["gate"])
        cells = (row["op"], row["backend"], size, duration(row["median_s"]), rate, share, speed, checked)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def not_yet(suite: str) -> str:
    """What stands where no results are committed."""
    return (
        f"No figures are committed: `aafast bench --suite {suite} --out bench/results/{suite}-cpu.jsonl` measures "
        "them, and `python bench/report.py --write` puts them here."
    )


def gpu_figures() -> str:
    """What each device was measured to do: its peaks, solves, and operations against their floors."""
    found = sorted(RESULTS.glob("gpu-*.jsonl"))
    if not found:
        return (
            "**Nothing is measured yet: no figure of this page was read from a device.** What stands is logic checked "
            "on the CPU and code compiled for sm_80 and sm_90. `bench/gpu.sh OUT_DIR` measures everything in one "
            "command; its `gpu-DEVICE.jsonl`, copied to `bench/results/`, becomes the tables that stand here "
            "(`python bench/report.py --write`)."
        )
    return "\n\n".join(device_figures(rows(path.name)) for path in found)


def device_figures(found: list[Row]) -> str:
    """The tables of one device."""
    solves = [row for row in found if row["suite"] == "solve" and row["engine"]]
    ops = [row for row in found if row["suite"] == "ops" and "floor_s" in row]
    parts = [f"### {found[0]['device_name']}", f"Torch {found[0]['versions']['torch']}, aafast "
             f"{found[0]['versions']['aafast']} at {found[0]['commit'] or 'no commit'}."]  # fmt: skip
    if solves:
        parts.append(
            "Whole solves, time of an iteration. `reference` is the authors' iteration on the same device in the same "
            "run; plain is the faster of channels-last eager and torch.compile with CUDA graphs."
        )
        lines = ["| task, method | backend | precision | batch | an iteration | reference | over reference "
                 "| over plain | peak MB | largest error / tolerance |", f"|{'---|' * 10}"]  # fmt: skip
        parts.append("\n".join([*lines, *map(device_solve_line, solves)]))
    if ops:
        parts += floor_tables(ops)
    return "\n\n".join(parts)


def device_solve_line(row: Row) -> str:
    """One engine's line of the table of solves on a device."""
    timed = row["median_s"] is not None
    over = {name: "-" if row[name] is None else f"{row[name]:.1f}" for name in ("speedup", "speedup_over_plain")}
    if row["speedup_over_plain"] is not None:
        over["speedup_over_plain"] += f" ({row['plain_baseline']})"
    reference = row["s_per_iteration"] * row["speedup"] if row["speedup"] is not None else None
    cells = (
        f"{row['task']}, {row['method']}", row["backend"], row["precision"],
        "x".join(str(n) for n in [row["batch"], *row["shape"]]), duration(row["s_per_iteration"] if timed else None),
        "-" if reference is None else duration(reference), *over.values(),
        "-" if row["peak_mb"] is None else f"{row['peak_mb']:.0f}", "; ".join(error(gate) for gate in row["gates"]),
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def floor_tables(found: list[Row]) -> list[str]:
    """Peaks of a device, then each operation's floor and how near each backend comes to it."""
    products = [row for row in found if row["op"].startswith("product, ") and row["gflops"]]
    copies = [row for row in found if row["op"] == "copy" and row["bandwidth"]]
    seen = [f"{row['op'].removeprefix('product, ')} products {row['gflops'] / 1e3:.0f} TFLOP/s" for row in products]
    seen += [f"memory {row['bandwidth'] / 1e12:.2f} TB/s" for row in copies]
    parts = [
        f"Operations inside a captured iteration. Peaks of this run: {', '.join(seen) or 'none'}. The floor is the "
        "larger of flops / peak of the precision's products and bytes / bandwidth of the memory, every input read "
        "once and every result written once as it is stored; in brackets how much of it is reached.",
    ]
    lines = ["| operation | precision | size | floor | cuda | triton | plain torch | largest error |",
             f"|{'---|' * 8}"]  # fmt: skip
    cases: dict[tuple[str, str], dict[str, Row]] = {}
    for row in found:
        if row not in products and row not in copies:
            cases.setdefault((row["op"], row["precision"]), {})[row["backend"]] = row
    for (name, precision), by in cases.items():
        first = next(iter(by.values()))
        floor = "-" if first["floor_s"] is None else f"{duration(first['floor_s'])}, {first['bound']}"
        times = [floor_cell(by.get(backend)) for backend in ("cuda", "triton", "eager")]
        errors = [error(row["gate"]) for backend, row in by.items() if backend != "eager" or len(by) == 1]
        size = "x".join(str(n) for n in [first["batch"], *first["shape"]])
        lines.append(f"| {' | '.join((name, precision, size, floor, *times, '; '.join(errors)))} |")
    return [*parts, "\n".join(lines)]


def floor_cell(row: Row | None) -> str:
    """Time and share of the floor of one backend."""
    if row is None or row["median_s"] is None:
        return "-" if row is None or row["gate"]["ok"] else "RED"
    share = "" if row["floor_share"] is None else f" ({row['floor_share']:.0%})"
    return f"{duration(row['median_s'])}{share}"


TABLES: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {"solve": solve_summary, "scores": shipped_scores, "line": line_figures},
    "docs/models.md": {"ablation": ablation, "sources": other_sources},
    "docs/operations.md": {"ops": op_figures},
    "docs/performance.md": {
        "solve": solve_figures,
        "floors": lambda: performance.floors(
            suite_rows("solve-cpu.jsonl", "solve"), suite_rows("ops-cpu.jsonl", "ops")
        ),
        "throughput": lambda: survey_tables.throughput(rows("survey-cpu.jsonl")),
        "growth": lambda: survey_tables.growth(rows("survey-torture.jsonl")),
        "endurance": lambda: survey_tables.endurance(rows("survey-torture.jsonl"), rows("survey-fuzz.jsonl")),
        "line": line_figures,
    },
    "docs/compat.md": {"scripts": lambda: compat.table(rows("compat.jsonl"))},
    "docs/gpu.md": {"gpu": gpu_figures},
}


def filled(text: str, tables: dict[str, Callable[[], str]]) -> str:
    """The document with each table between its markers."""
    for name, make in tables.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise SystemExit(f"no markers for {name}")
        text = pattern.sub(lambda found, make=make: f"{found[1]}{make()}\n{found[2]}", text)
    return text


def main() -> None:
    solves = RESULTS / "solve-cpu.jsonl"
    if "--write" in sys.argv[1:] and solves.is_file():
        draw(solves, ROOT / PICTURE)
    for document, tables in TABLES.items():
        path = ROOT / document
        if "--write" in sys.argv[1:]:
            path.write_text(filled(path.read_text(encoding="utf-8"), tables), encoding="utf-8")
        else:
            print(*(f"{document}: {name}\n\n{make()}\n" for name, make in tables.items()), sep="\n")


if __name__ == "__main__":
    main()
