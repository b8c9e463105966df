"""What the tests read in the documents: code blocks, notes to the tests in comments, links, anchors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").glob("*.md"))
)
_PIECE = re.compile(
    r"^<!-- setup\n(?P<setup>.*?)\n-->$"
    r"|^<!-- not run: (?P<reason>[^\n]+?) -->$"
    r"|^(?P<indent> *)(?P<fence>```+)(?P<language>\w*)[^\n]*\n(?P<code>.*?)\n(?P=indent)(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
_LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(<?([^)<>\s]+)>?\)")


class Block(NamedTuple):
    """A piece of code of a document: kind `setup` (a comment for the tests), or the language of a fence ("" for none).

    reason: why it is not run, from the comment `<!-- not run: ... -->` before it.
    """

    kind: str
    code: str
    line: int
    reason: str


def read(document: str) -> str:
    """A document's text by its path from the root."""
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(text: str) -> Iterator[Block]:
    """The pieces of code of a text, in order."""
    reason = ""
    for found in _PIECE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        if found["reason"]:
            reason = found["reason"]
        elif found["setup"] is not None:
            yield Block("setup", found["setup"], line, "")
        else:
            yield Block(found["language"], found["code"], line, reason)
            reason = ""


def commands(text: str) -> Iterator[tuple[int, str]]:
    """Lines of fences that start with `aafast`, joined where they are continued, without what a shell does to them."""
    for block in blocks(text):
        if block.kind in ("", "sh", "bash", "console"):
            code = block.code.replace("\\\n", " " * 2)
            for number, line in enumerate(code.split("\n"), block.line + 1):
                if line.strip().removeprefix("$ ").startswith("aafast "):
                    words = re.split(r"\s(?:#|\||>|&&|;)", line.strip().removeprefix("$ ") + " ")[0]
                    yield number, words


def spans(text: str) -> Iterator[str]:
    """Code in the running text, between single backticks, that starts with `aafast`; no item that quotes a message."""
    prose = re.sub(r"^- `[^`]+`:", "", _PIECE.sub("", text), flags=re.MULTILINE)
    for found in re.findall(r"(?<!`)`(aafast [^`]+)`(?!`)", prose):
        yield " ".join(found.split())


def links(text: str) -> list[str]:
    """The targets of links and pictures."""
    return _LINK.findall(re.sub(r"`[^`\n]*`", "", _PIECE.sub("", text)))


def anchors(text: str) -> set[str]:
    """The anchors that headings make, as GitHub and MkDocs name them."""
    heads = re.findall(r"^#+ +(.+?) *#*$", _PIECE.sub("", text), re.MULTILINE)
    plain = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", head).lower() for head in heads)
    return {re.sub(r"[^\w\- ]", "", head).strip().replace(" ", "-") for head in plain}
