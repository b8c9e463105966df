"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path

from ..errors import FileError, describe


class AtomicFile:
    """A hidden file beside `path` that takes its name on `commit`, and is removed if that never comes.

    A process that is killed leaves the hidden file, never one that bears the final name.
    path: file to make or to replace. inputs: files that must not be the same one, also not through links.
    room: bytes that must be free. what: how errors call it. Raises FileError before anything is written.
    """

    def __init__(self, path: str | Path, inputs: tuple[Path, ...] = (), room: int = 0, what: str = "output"):
        self.path = Path(os.path.realpath(path))
        self.what = what
        _check_target(self.path, inputs, room, what)
        unique = f"{os.getpid()}-{os.urandom(4).hex()}"
        self.temporary = self.path.parent / f".{self.path.name[:200]}.{unique}.part"
        try:
            os.close(os.open(self.temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except OSError as error:
            raise FileError(describe(f"folder of {what} {self.path}", error.strerror, "a folder to write in",
                                     "Choose another folder")) from error

    def __enter__(self) -> AtomicFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.discard()

    def commit(self) -> None:
        """Bring the bytes to the disk, then give the file its name in one step."""
        handle = os.open(self.temporary, os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(self.temporary, self.path)
        with contextlib.suppress(OSError):  # some file systems cannot sync a folder; the file is whole anyway
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def discard(self) -> None:
        """Remove the hidden file, if it is still there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.temporary)


def _check_target(path: Path, inputs: tuple[Path, ...], room: int, what: str) -> None:
    for source in inputs:
        if path == Path(os.path.realpath(source)) or (path.exists() and os.path.samefile(path, source)):
            raise FileError(describe(f"{what} {path}", f"the same file as {source}", "another file",
                                     "Choose another name: nothing is changed in place"))
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        kind = "a folder" if path.is_dir() else "not a plain file"
        raise FileError(describe(f"{what} {path}", kind, "the name of a file", "Add a file name"))
    if not path.parent.is_dir():
        got = "not a folder" if path.parent.exists() else "no such folder"
        raise FileError(describe(f"folder of {what} {path}", got, "an existing folder", "Make it first"))
    free = shutil.disk_usage(path.parent).free
    if free < room:
        raise FileError(describe(f"disk of {what} {path}", f"{free} bytes free", f"{room} or more",
                                 "Make room or choose another disk"))
