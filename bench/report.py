"""Tables of the documents, made from the committed results.

Run: python bench/report.py           prints them
     python bench/report.py --write   puts them between the markers of README.md and docs/models.md
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
LEVELS = ("none", "in", "out")


def rows(name: str) -> list[dict]:
    """The rows of one results file."""
    return [json.loads(line) for line in (RESULTS / name).read_text(encoding="utf-8").splitlines()]


def scores(methods: list[tuple[str, str, str]]) -> str:
    """PSNR in dB / correlation by method and level of mismatch; methods are (label, method, wavelet)."""
    found = {(r["mismatch"], r["method"], r.get("wavelet", "-")): r for r in rows("deconv-model.jsonl")}
    lines = ["| method | wavelet told | none | in | out |", "|---|---|---|---|---|"]
    for label, method, wavelet in methods:
        cells = [found[level, method, wavelet] for level in LEVELS]
        texts = [f"{r['psnr']:.2f} / {r['correlation']:.3f}" for r in cells]
        lines.append(f"| {label} | {wavelet} | {' | '.join(texts)} |")
    return "\n".join(lines)


def shipped_scores() -> str:
    """The shipped model beside the classical methods, with the wrong wavelet."""
    pairs = rows("deconv-model.jsonl")[0]["pairs"]
    head = (
        f"The shipped model on {pairs} held-out synthetic pairs: PSNR in dB, without fitting a scale / correlation; "
        "SNR 5 to 30 dB. The columns say how wrong the nominal wavelet is: none; in: by up to 20 % in frequency and "
        "length and 0.6 rad in phase; out: by up to 40 % and 1.2 rad, the range of its training. The classical "
        "methods' parameters are tuned on other pairs of each column.\n\n"
    )
    return head + scores(
        [
            ("data", "data", "-"),
            ("FISTA sparse spikes", "FISTA", "nominal"),
            ("Wiener", "Wiener", "nominal"),
            ("aafast, shipped model", "adaptive-lu, as shipped", "nominal"),
        ]
    )


def line_figures() -> str:
    """The run on a real line."""
    r = rows("run-line.jsonl")[0]
    return (
        f"`aafast run` with a report on a real line ({r['file']}, {r['bytes'] / 1e6:.1f} MB) takes "
        f"{r['median_s']:.0f} s ({r['min_s']:.0f} to {r['max_s']:.0f} over {r['runs']} runs) "
        f"and {r['peak_mb']:.0f} MB at its peak on {r['threads']} CPU thread(s)."
    )


def ablation() -> str:
    """The theta-step's part in the shipped model, and what a true wavelet would earn."""
    found = rows("deconv-model.jsonl")
    names = list(dict.fromkeys(r["method"] for r in found if r["method"].startswith("adaptive-lu, ")))
    methods = [(name.removeprefix("adaptive-lu, "), name, "nominal") for name in names]
    methods += [(label, label, "nominal") for label in ("FISTA", "Wiener")]
    methods += [("as shipped", "adaptive-lu, as shipped", "true")]
    methods += [(label, label, "true") for label in ("FISTA", "Wiener")]
    table = scores(methods)
    shipped = {r["mismatch"]: r for r in found if r["method"].endswith("shipped") and r["wavelet"] == "nominal"}
    wavelets = ", ".join(
        f"{shipped[level]['nominal_correlation']:.3f} to {shipped[level]['wavelet_correlation']:.3f} ({level})"
        for level in LEVELS
    )
    return f"{table}\n\nCorrelation of the wavelet with the true one, nominal to estimated: {wavelets}."


TABLES: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {"scores": shipped_scores, "line": line_figures},
    "docs/models.md": {"ablation": ablation},
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
    for document, tables in TABLES.items():
        path = ROOT / document
        if "--write" in sys.argv[1:]:
            path.write_text(filled(path.read_text(encoding="utf-8"), tables), encoding="utf-8")
        else:
            print(*(f"{document}: {name}\n\n{make()}\n" for name, make in tables.items()), sep="\n")


if __name__ == "__main__":
    main()
