"""The folder of a run under way, beside its output: what it was begun with, what is done, and everything unfinished."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FileError, InputError, describe
from .ledger import Ledger

_SUFFIX, _OLD = ".aafast-job", ".aafast-old"
_VERSION = 2  # of the folder's layout
_kept: ContextVar[bool] = ContextVar("kept when finished", default=False)


class Job:
    """A folder that outlives a killed run and lets the same command go on; a context manager that unlocks it.

    folder: `OUT.aafast-job` beside the output. ledger: what is done. resumed: whether it was found.
    """

    def __init__(self, folder: Path, lock: int, resumed: bool) -> None:
        self.folder, self.resumed = folder, resumed
        self._lock: int | None = lock
        self.ledger = Ledger(folder / "ledger")

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def path(self, name: str) -> Path:
        """A file of this job."""
        return self.folder / name

    def piece(self, number: int) -> Path:
        """What a block leaves beside its samples."""
        return self.folder / f"block-{number:07d}.npz"

    @property
    def done(self) -> set[int]:
        """Numbers of the blocks that are written and entered."""
        return {r["done"] for r in self.ledger.records if "done" in r and self.piece(r["done"]).exists()}

    @property
    def facts(self) -> dict[str, Any]:
        """Everything entered under a name, the last of each."""
        return {name: value for record in self.ledger.records for name, value in record.items()}

    def close(self) -> None:
        """Unlock the folder and leave it as it is."""
        self.ledger.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def finish(self) -> None:
        """The output has its name: remove the folder, unless more is to come of the output (`kept_when_finished`)."""
        if _kept.get():
            self.close()
        else:
            self.remove()

    def remove(self) -> None:
        """Unlock and remove the folder."""
        self.ledger.close()
        _throw_away(self.folder)
        self.close()


def remove_finished(output: Path) -> None:
    """Remove the job of an output that `kept_when_finished` let stay."""
    _throw_away(job_folder(output))


@contextlib.contextmanager
def kept_when_finished(kept: bool) -> Iterator[None]:
    """Let jobs that finish meanwhile stay, so that the same run finds everything done: for who works on from its output
    and may be killed at that."""
    token = _kept.set(kept)
    try:
        yield
    finally:
        _kept.reset(token)


def open_job(output: Path, begun_with: dict[str, str], restart: bool = False) -> Job:
    """The job of an output: the one found beside it if it was begun with the same, else a new one.

    begun_with: what the result depends on, by name, in words or as a digest. restart: throw away what is found.
    Raises InputError where a job was begun with something else, FileError where another run is at it, or where the
    folder is not a job's or cannot be written.
    """
    folder = job_folder(output)
    _remove_leftovers(output)
    while True:
        lock = _find(folder, output) if folder.exists() else None
        if lock is not None:
            try:
                changed = "" if restart else _changes(folder, begun_with)
                if changed and _has_blocks(folder):
                    do = "Repeat the first command to go on, or throw its blocks away with --restart"
                    raise InputError(describe(f"job {folder}", f"other {changed}", "what it was begun with", do))
                if not restart and not changed:
                    return Job(folder, lock, True)
                _throw_away(folder)
            except BaseException:
                os.close(lock)
                raise
            os.close(lock)
            continue
        made = _make(folder, output, begun_with)
        if made is not None:
            return Job(folder, made, False)


def job_folder(output: Path) -> Path:
    """Where the job of an output lies."""
    return output.parent / f"{_stem(output)}{_SUFFIX}"


def count_done(output: str | Path) -> int:
    """Blocks that wait in the job of an output; 0 where there is none."""
    return sum(1 for _ in job_folder(Path(os.path.realpath(output))).glob("block-*.npz"))


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """An npz file that appears under its name only when it is whole, and is on the disk then. Raises FileError."""
    # A name of its own: a worker that was given up may still be writing the same.
    part = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}.part")
    try:
        with open(part, "wb") as handle:
            words: dict[str, Any] = arrays  # whose values np.savez takes for its flags
            np.savez(handle, **words)
            handle.flush()
            os.fdatasync(handle.fileno())
        os.replace(part, path)
    except OSError as error:
        raise FileError(describe(f"{path}", error.strerror or error, "a file that can be written",
                                 "Make room, or correct what is named; the same command then goes on")) from error


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of such a file. Raises FileError."""
    try:
        with np.load(path, allow_pickle=False) as held:
            return {name: held[name] for name in held.files}
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise FileError(describe(f"{path}", error, "a whole file of this job", "Start anew with --restart")) from error


def _stem(output: Path) -> str:
    """The output's name, cut to leave room in the 255 bytes of a name."""
    name = os.fsencode(output.name)
    if len(name) <= 200:
        return output.name
    return f"{os.fsdecode(name[:180])}-{hashlib.sha256(name).hexdigest()[:8]}"


def _find(folder: Path, output: Path) -> int | None:
    """A lock on the folder found, or None where it went away meanwhile."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FileError(describe(f"job {folder}", error.strerror, "a folder made by a run",
                                 "Remove it, or choose another output")) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise FileError(describe(f"job {folder}", "another run that is at it", "one run at a time",
                                 f"Wait for it, or choose another output than {output.name}")) from error
    except OSError:
        pass  # a file system without locks
    if not (folder / "job.json").exists() or os.fstat(handle).st_nlink == 0:
        os.close(handle)
        if not folder.exists():
            return None
        raise FileError(describe(f"job {folder}", "a folder that no run has made", "none, or a run's",
                                 "Remove it, or choose another output"))
    return handle


def _changes(folder: Path, begun_with: dict[str, str]) -> str:
    """What differs from what the job was begun with, in words; empty where nothing does."""
    try:
        before = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        version, facts = before["layout"], dict(before["begun with"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(describe(f"job {folder}", f"no readable job.json ({error})", "a job",
                                 "Start anew with --restart")) from error
    changed = [f"layout of its folder ({version} before, {_VERSION} now)"] if version != _VERSION else []
    for name in sorted({*facts, *begun_with}):
        old, new = facts.get(name, "nothing"), begun_with.get(name, "nothing")
        if old != new:
            changed.append(f"{name} ({_short(old)} before, {_short(new)} now)")
    return "; ".join(changed)


def _has_blocks(folder: Path) -> bool:
    """Whether anything would be lost with this job."""
    return any(folder.glob("block-*.npz"))


def _short(value: str) -> str:
    return value if len(value) <= 40 else f"{value[:12]}..."


def _make(folder: Path, output: Path, begun_with: dict[str, str]) -> int | None:
    """A new folder, locked, with its job.json inside before it has its name; None where another run was first."""
    hidden = _hidden(output)
    try:
        hidden.mkdir()
        handle = os.open(hidden, os.O_RDONLY | os.O_DIRECTORY)
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        text = json.dumps({"layout": _VERSION, "begun with": begun_with}, indent=1)
        (hidden / "job.json").write_text(text + "\n", encoding="utf-8")
        try:
            os.rename(hidden, folder)
        except OSError:
            if not folder.exists():
                raise
            shutil.rmtree(hidden, ignore_errors=True)
            os.close(handle)
            return None
    except OSError as error:
        shutil.rmtree(hidden, ignore_errors=True)
        raise FileError(describe(f"folder of output {output}", error.strerror, "a folder to write in",
                                 "Choose another folder")) from error
    return handle


def _hidden(output: Path) -> Path:
    return output.parent / f".{_stem(output)}.{os.getpid()}-{os.urandom(4).hex()}{_OLD}"


def _throw_away(folder: Path) -> None:
    """Take a job its name, then remove it: no half of one is ever found under that name."""
    hidden = folder.parent / f".{folder.name.removesuffix(_SUFFIX)}.{os.getpid()}-{os.urandom(4).hex()}{_OLD}"
    try:
        os.rename(folder, hidden)
    except FileNotFoundError:
        return
    except OSError as error:
        raise FileError(describe(f"job {folder}", error.strerror, "a folder that can be removed",
                                 "Remove it by hand")) from error
    shutil.rmtree(hidden, ignore_errors=True)


def _remove_leftovers(output: Path) -> None:
    """Remove folders that a run was killed in making or in removing: those that nobody holds a lock on."""
    pattern = re.compile(re.escape(f".{_stem(output)}.") + r"\d+-[0-9a-f]{8}" + re.escape(_OLD))
    with contextlib.suppress(OSError):
        for name in filter(pattern.fullmatch, os.listdir(output.parent)):
            with contextlib.suppress(OSError):
                handle = os.open(output.parent / name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(output.parent / name, ignore_errors=True)
                finally:
                    os.close(handle)
