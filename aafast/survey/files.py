"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
from pathlib import Path

from ..errors import FileError, describe


class AtomicFile:
    """A hidden file beside `path` that takes its name on `commit`, and is removed if that never comes.

    A process that is killed leaves the hidden file, never one that bears the final name; the next to make the
    same file removes it. Whoever writes one holds a lock on it, which dies with the process: an unlocked one has
    no owner.
    path: file to make or to replace. inputs: files that must not be the same one, also not through links.
    room: bytes that must be free. what: how errors call it. Raises FileError before anything is written.
    """

    def __init__(self, path: str | Path, inputs: tuple[Path, ...] = (), room: int = 0, what: str = "output"):
        self.path = Path(os.path.realpath(path))
        self.what = what
        check_target(self.path, inputs, what)
        stem = _hidden_stem(self.path)
        _remove_ownerless(self.path.parent, stem)
        check_room(self.path, room, what)
        self._handle: int | None = None
        while self._handle is None:
            self.temporary = self.path.parent / _hidden_name(stem)
            self._create()

    def __enter__(self) -> AtomicFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.discard()

    def commit(self) -> None:
        """Bring the bytes to the disk, then give the file its name in one step."""
        assert self._handle is not None
        os.fsync(self._handle)
        os.replace(self.temporary, self.path)
        self._release()
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
        self._release()

    def _create(self) -> None:
        """Make and lock the hidden file, unless another process took it for ownerless in between."""
        try:
            handle = self._handle = os.open(self.temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        except OSError as error:
            raise FileError(describe(f"folder of {self.what} {self.path}", error.strerror, "a folder to write in",
                                     "Choose another folder")) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return self.discard()
        except OSError:  # a file system without locks: nobody can take the file for ownerless
            return
        if os.fstat(handle).st_nlink == 0:
            self._release()

    def _release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


class HiddenFolder:
    """A hidden folder beside `path` that takes its name on `commit`; otherwise as `AtomicFile`.

    path: folder to make, which nothing may bear the name of. temporary: where to fill it.
    """

    def __init__(self, path: str | Path):
        self.path = Path(os.path.realpath(path))
        stem, handle = _hidden_stem(self.path), None
        _remove_ownerless(self.path.parent, stem)
        while handle is None:
            self.temporary = self.path.parent / _hidden_name(stem)
            try:
                self.temporary.mkdir()
                handle = _lock_folder(self.temporary)
            except OSError as error:
                raise FileError(describe(f"folder of output {self.path}", error.strerror, "a folder to write in",
                                         "Choose another folder")) from error
        self._handle = handle

    def __enter__(self) -> HiddenFolder:
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self.temporary, ignore_errors=True)
        os.close(self._handle)

    def commit(self) -> None:
        """Give the folder its name in one step."""
        os.rename(self.temporary, self.path)


def _lock_folder(folder: Path) -> int | None:
    """A lock on a folder just made, or None where another process took it for ownerless in between."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError:  # a file system without locks: nobody can take the folder for ownerless
        return handle
    if folder.exists():
        return handle
    os.close(handle)
    return None


def _hidden_stem(path: Path) -> str:
    return f".{os.fsdecode(os.fsencode(path.name)[:200])}"  # a name has room for 255 bytes


def _hidden_name(stem: str) -> str:
    return f"{stem}.{os.getpid()}-{os.urandom(4).hex()}.part"


def _remove_ownerless(folder: Path, stem: str) -> None:
    """Remove hidden files and folders of this name that a killed process left: those on which nobody holds a lock."""
    pattern = re.compile(re.escape(stem) + r"\.\d+-[0-9a-f]{8}\.part")
    with contextlib.suppress(OSError):  # whatever cannot be looked at or removed stays
        for name in filter(pattern.fullmatch, os.listdir(folder)):
            with contextlib.suppress(OSError):
                is_folder = stat.S_ISDIR(os.lstat(folder / name).st_mode)
                mode = os.O_RDONLY if is_folder else os.O_RDWR  # some file systems lock only what can be written
                handle = os.open(folder / name, mode | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if is_folder:
                        shutil.rmtree(folder / name, ignore_errors=True)
                    else:
                        os.unlink(folder / name)
                finally:
                    os.close(handle)


def check_target(path: Path, inputs: tuple[Path, ...], what: str) -> None:
    """Raise FileError unless `path` can be the name of a new file: not one of the inputs, in a folder that is there."""
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


def check_room(path: Path, room: int, what: str) -> None:
    """Raise FileError unless the disk of `path` has so many bytes free."""
    free = shutil.disk_usage(path.parent).free
    if free < room:
        raise FileError(describe(f"disk of {what} {path}", f"{free} bytes free", f"{room} or more",
                                 "Make room or choose another disk"))
