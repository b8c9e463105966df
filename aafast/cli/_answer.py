"""What a command found, for programs: one JSON object on stdout, while what people read goes to stderr."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What a command returns: `data`, the fields that `--json` prints, and the exit code."""

    data: Mapping[str, Any] = field(default_factory=dict)
    code: int = 0


class Channel:
    """Where a command's words and its answer go; with `json`, words to stderr and the answer to stdout.

    Whatever a command ends by, an error included, stdout then holds exactly one object with the fields `command`,
    `exit_code` and, after an error, `error`.
    """

    def __init__(self, json: bool) -> None:
        self.json = json
        self.command: str | None = None

    @contextlib.contextmanager
    def words(self) -> Iterator[None]:
        """Let what is printed meanwhile be for people."""
        with contextlib.redirect_stdout(sys.stderr) if self.json else contextlib.nullcontext():
            yield

    def answer(self, answer: Answer) -> int:
        """Print the answer where a program asked for it; return the exit code."""
        self._print(answer.code, answer.data)
        return answer.code

    def error(self, kind: str, message: str, code: int) -> int:
        """Say what went wrong, to people and to a program that asked; return the exit code."""
        print(f"aafast: error: {message}", file=sys.stderr)
        self._print(code, {"error": {"type": kind, "message": message}})
        return code

    def _print(self, code: int, data: Mapping[str, Any]) -> None:
        if self.json:
            record = {"command": self.command, "exit_code": code, **data}
            print(json.dumps(plain(record), allow_nan=False), flush=True)


def plain(value: Any) -> Any:
    """`value` as JSON knows it: paths, NaN and infinities as words, arrays and tuples as lists, records as objects."""
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if hasattr(value, "tolist"):  # arrays, tensors and their numbers
        return plain(value.tolist())
    if isinstance(value, list | tuple | set):
        return [plain(part) for part in value]
    return str(value)
