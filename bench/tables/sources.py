"""The shipped models on other pairs: photographs, blocky reflectivity, that of real wells, published sections.

Run: python bench/tables/sources.py [--wells FILE.npz] [--sections FILE...] [--pairs N]
Photographs need the extra `images`. Without its option a source of deconvolution keeps the rows that are there.
"""

import argparse
import sys
from pathlib import Path

from aafast.evaluation import evaluate
from aafast.evaluation.classical import CLASSICAL
from aafast.evaluation.contestants import Entry
from aafast.evaluation.rows import Row, read, write

OUT = Path(__file__).resolve().parents[1] / "results" / "evaluation-sources.jsonl"
LEVELS = ("in", "out")
MODELS = {"deblur": ("deblur",), "defog": ("defog",), "deconv": ("deconv", "deconv-adaptive-lu")}


def rows(task: str, source: str, pairs: int, name: str) -> list[Row]:
    """Scores of the shipped models and the classical methods of a task on one source, called `name`."""
    classical = [method for of, method in CLASSICAL if of == task]
    entries = [Entry.of(model) for model in MODELS[task]]
    found = evaluate([*entries, *classical], task, LEVELS, source=source, pairs=pairs,
                     say=lambda text: print(text, file=sys.stderr))  # fmt: skip
    return [{**row, "source": name} for row in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wells", type=Path, help="reflection coefficients, one array a well")
    parser.add_argument("--sections", type=Path, nargs="+", default=[], help="impedance models or .mat files")
    parser.add_argument("--pairs", type=int, default=48)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    jobs = [("deblur", "photographs", "photographs"), ("defog", "photographs", "photographs")]
    jobs += [("deconv", "blocky", "blocky")]
    jobs += [("deconv", str(arguments.wells), "wells")] if arguments.wells else []
    jobs += [("deconv", str(path), path.stem) for path in arguments.sections]
    kept = read(arguments.out) if arguments.out.is_file() else []
    for task, source, name in jobs:
        kept = [row for row in kept if (row["task"], row["source"]) != (task, name)]
        kept += rows(task, source, arguments.pairs, name)
        write(arguments.out, kept)


if __name__ == "__main__":
    main()
