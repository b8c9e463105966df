"""What is done: checksummed records in one file that only ever grows."""

from __future__ import annotations

import errno
import json
import os
import threading
import zlib
from pathlib import Path

from ..errors import FileError, describe


class Ledger:
    """Records of a job, written by one process, from any of its threads; a record is on the disk before `add` returns.

    A record is a line: a checksum, then JSON. A process or a machine that dies while it writes leaves at most one
    broken line at the end, which is cut off when the ledger is opened again.

    path: the file, made if absent. Raises FileError where it cannot be written or is damaged before its end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            self.records = self._load()
        except OSError as error:
            raise self._failed(error) from error

    def add(self, sync: bool = True, **record: object) -> None:
        """Append a record; without `sync` it outlives this process, but not a power failure."""
        text = json.dumps(record, sort_keys=True).encode()
        line = b"%08x %s\n" % (zlib.crc32(text), text)
        with self._lock:
            try:
                if os.pwrite(self._handle, line, self._size) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if sync:
                    os.fdatasync(self._handle)
            except OSError as error:
                raise self._failed(error) from error  # what is half-written is written over, or cut off later
            self._size += len(line)
            self.records.append(record)

    def close(self) -> None:
        """Close the file."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _load(self) -> list[dict]:
        raw = bytearray()
        while chunk := os.read(self._handle, 1 << 20):
            raw += chunk
        records, good = [], 0
        lines = bytes(raw).split(b"\n")[:-1]
        for number, line in enumerate(lines):
            record = _parse(line)
            if record is None:
                if any(_parse(later) is not None for later in lines[number + 1:]):
                    raise FileError(describe(f"ledger {self.path}", f"damage in record {number + 1}", "whole records",
                                             "Start anew with --restart"))
                break
            records.append(record)
            good += len(line) + 1
        os.ftruncate(self._handle, good)
        self._size = good
        return records

    def _failed(self, error: OSError) -> FileError:
        if isinstance(error, FileError):
            return error
        return FileError(describe(f"ledger {self.path}", error.strerror or error, "a file that can be written",
                                  "Make room, or correct what is named; the same command then goes on"))


def _parse(line: bytes) -> dict | None:
    checksum, _, text = line.partition(b" ")
    try:
        return json.loads(text) if int(checksum, 16) == zlib.crc32(text) else None
    except ValueError:
        return None
