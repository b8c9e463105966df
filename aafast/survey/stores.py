"""`run` on MDIO stores: through a SEG-Y file beside the output, so that blocks, restarts and bytes are those of SEG-Y.

A chunk of a store spans many inlines while a block is a piece of one: reading and writing blocks in place would go
through every chunk many times, and two writers of one chunk would lose each other's samples.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import FileError, describe
from .job import kept_when_finished, remove_finished
from .mdio import check_new, is_mdio, mdio_to_segy, segy_to_mdio

_RESULT = "result-"


def through_segy(run: Callable) -> Callable:
    """Let `run` take and give MDIO stores for its input, output and misfit."""
    @functools.wraps(run)
    def wrapped(input: str | Path, output: str | Path, *arguments, **options):
        misfit = options.get("misfit")
        targets = [t for t in (output, misfit) if t is not None and is_mdio(t)]
        if not targets and not is_mdio(input):
            return run(input, output, *arguments, **options)
        for target in targets:
            check_new(target)
        with _folder(output) as folder:
            source, notes = input, []
            if is_mdio(input):
                source = folder / f"input-{_stem(input)}.sgy"
                notes = mdio_to_segy(input, source)
                os.utime(source, ns=(0, 0))  # what tells one input from another is its content
            staged = {target: folder / f"{_RESULT}{k}-{_stem(target)}.sgy" for k, target in enumerate(targets)}
            if misfit is not None:
                options["misfit"] = staged.get(misfit, misfit)
            real = staged.get(output, output)
            with kept_when_finished(bool(staged)):  # until what it made is the stores that were asked for
                outcome = run(source, real, *arguments, **options)
            for target, path in staged.items():
                segy_to_mdio(path, target)
            if staged:
                remove_finished(Path(os.path.realpath(real)))
            shutil.rmtree(folder)
        final: Any = outcome.output if output not in staged else output  # a URL is no Path
        return replace(outcome, output=final, warnings=[*outcome.warnings, *notes])

    return wrapped


@contextmanager
def _folder(output: str | Path) -> Iterator[Path]:
    """Where the SEG-Y files lie: beside a local output, else in the current folder. It stays while a job or a result is
    in it."""
    place = Path.cwd() / _stem(output) if "://" in str(output) else Path(os.path.realpath(output))
    folder = place.with_name(f"{place.name}.aafast-store")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise FileError(describe(f"folder {folder}", error.strerror, "a folder to write in",
                                 "Choose another folder")) from error
    try:
        yield folder
    except BaseException:
        if not any(path.name.startswith(_RESULT) for path in folder.iterdir()):  # a job is called by its result, too
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _stem(name: str | Path) -> str:
    return Path(str(name).rstrip("/").rpartition("/")[2]).stem or "survey"
