"""Reading ahead and writing behind, each in a thread, with few blocks held in between."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")
_END = object()


def read_ahead(items: Iterable[T], depth: int = 1) -> Generator[T]:
    """The items, made in a thread that is at most `depth` ahead; an error there is raised here, in its turn.

    Closing the generator ends the thread after the item that it makes.
    """
    line: queue.Queue = queue.Queue(depth)
    closed = threading.Event()

    def put(entry: tuple) -> bool:
        while not closed.is_set():
            try:
                line.put(entry, timeout=0.05)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((_END, None))
        except BaseException as error:
            put((_END, error))

    thread = threading.Thread(target=work, name="aafast-reader", daemon=True)
    thread.start()
    try:
        while True:
            item, error = line.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        closed.set()
        thread.join(1.0)  # one that waits for its source may stay behind


class WriteBehind(Generic[T]):
    """Calls `write(item)` in a thread, in order, with at most one item waiting; a context manager.

    After an error nothing more is written; it is raised by the next `put`, or at the end. Leaving by an
    exception drops what waits.
    """

    def __init__(self, write: Callable[[T], None]) -> None:
        self._write = write
        self._line: queue.Queue = queue.Queue(1)
        self._error: BaseException | None = None
        self._dropped = False
        self._thread = threading.Thread(target=self._work, name="aafast-writer", daemon=True)

    def __enter__(self) -> WriteBehind[T]:
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, *error: object) -> None:
        self._dropped = kind is not None
        self._line.put(_END)
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error

    def put(self, item: T) -> None:
        """Hand an item over; waits while another one waits."""
        if self._error is not None:
            raise self._error
        self._line.put(item)

    def _work(self) -> None:
        while (item := self._line.get()) is not _END:
            if self._error is not None or self._dropped:
                continue
            try:
                self._write(item)
            except BaseException as error:
                self._error = error
            del item
