"""The weights of the package: of every task and method the seed whose validation gains most over the measurement; and
larger one, which goes by its task's name.

Run: python bench/tables/ship.py MODELS [--tasks TASK...] [--out FOLDER]
Test pairs have no say in the choice. In the cards, folders below MODELS are named from there.
"""

import argparse
import json
import re
import shutil
from pathlib import Path

from aafast.config import METHODS
from aafast.evaluation.experiments import LARGE, find
from aafast.tasks import TASKS
from aafast.tasks.checkpoint import CARD, WEIGHTS

OUT = Path(__file__).resolve().parents[2] / "aafast" / "weights"


def gain(folder: Path) -> float:
    """PSNR of validation over that of its measurements, in dB; validation pairs differ from seed to seed."""
    scores = json.loads((folder / CARD).read_text(encoding="utf-8"))["scores"]
    return scores["psnr_db"] - scores["input_psnr_db"]


def ship(folder: Path, out: Path, models: Path) -> None:
    """Copy weights and card; the card's folders are named from MODELS."""
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / WEIGHTS, out / WEIGHTS)
    text = (folder / CARD).read_text(encoding="utf-8")
    for name in (str(models.absolute()), str(models)):  # in fields of their own and within the command
        text = re.sub(rf"(?<![\w./-]){re.escape(name)}/", "MODELS/", text)
    card = json.loads(text)
    (out / CARD).write_text(json.dumps(card, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, metavar="MODELS")
    parser.add_argument("--tasks", nargs="+", choices=tuple(TASKS), default=tuple(TASKS))
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    for task in arguments.tasks:
        found = find(arguments.models, task)
        for method in (name for name in METHODS if name in found):
            best = max(found[method], key=gain)
            ship(best, arguments.out / f"{task}-{method}", arguments.models)
            print(f"{task}-{method}: {best.name}, {gain(best):+.2f} dB over the measurement")
        for large in found.get(LARGE, []):
            ship(large, arguments.out / task, arguments.models)


if __name__ == "__main__":
    main()
