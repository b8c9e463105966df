"""From one format of a survey to the other."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError, describe
from .mdio import is_mdio, mdio_to_segy, segy_to_mdio


def convert(source: str | Path, target: str | Path, interval: float | None = None) -> list[str]:
    """Convert SEG-Y to MDIO or MDIO to SEG-Y, whichever the names say; returns notes.

    interval: ms, in place of the SEG-Y header's. Raises InputError where both names mean the same format.
    """
    kinds = is_mdio(source), is_mdio(target)
    if kinds == (False, True):
        return segy_to_mdio(source, target, interval)
    if kinds == (True, False):
        return mdio_to_segy(source, target)
    got = "two MDIO stores" if kinds[0] else "two SEG-Y files"
    raise InputError(describe(f"{source} and {target}", got, "one MDIO store (NAME.mdio or a URL) and one SEG-Y file",
                              "Choose the output's name by its format"))
