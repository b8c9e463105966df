"""The texts of the package's errors, warnings and notes, read from its source, for docs/troubleshooting.md.

Run: python docs/tools/messages.py         prints them all, with where they stand
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
HOLE = "..."  # in the place of a value that is known when it happens
PARTS = ("", ": got ", "; expected ", ". ")  # as aafast.errors.describe joins them


class Message(NamedTuple):
    """A text of the source, with HOLE where a value goes in."""

    text: str
    place: str


def messages() -> Iterator[Message]:
    """What `describe` is called with, joined as it joins, and every other text of more than three words."""
    for path in sorted((ROOT / "aafast").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            place = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "describe":
                words = [_text(argument) for argument in node.args]
                text = "".join(mark + word for mark, word in zip(PARTS, words, strict=True))
                yield Message(_joined(text.rstrip(".") + "."), place)
            elif isinstance(node, ast.Constant | ast.JoinedStr) and len(_text(node).split()) > 3:
                yield Message(_joined(_text(node)), place)


def _joined(text: str) -> str:
    """Values that follow one another as one."""
    return re.sub(r"\.{6,}", HOLE, text)


def _text(node: ast.AST) -> str:
    """A text with HOLE for whatever is not written out."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    return HOLE


def main() -> None:
    for message in messages():
        if ": got " in message.text:
            print(message.text)


if __name__ == "__main__":
    main()
