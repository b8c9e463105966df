"""Types of options that several commands share."""

from __future__ import annotations

import argparse


def pair(text: str) -> tuple[int, int]:
    """`TxX`: samples x traces."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.strip().isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not SAMPLESxTRACES, such as 256x64")
    return int(parts[0]), int(parts[1])


def positive(text: str) -> int:
    """An integer of 1 or more."""
    if not text.strip().isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)
