"""Blocks on the workers of a Dask cluster that sees the same files."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ..errors import AafastError, BackendError, describe, require
from .blocks import Block
from .executor import Begun, Done
from .worker import Context, Worker

_RETRIES = 4  # of a block whose worker died
_WAIT = "20s"  # for a scheduler to answer
_kept: dict[str, _Held] = {}  # in a worker: the job that it is at, or several at once
_lock = threading.Lock()


class DaskExecutor:
    """The workers of the scheduler at `address`, with `ahead` blocks, or two for each of its threads, under way.

    Workers that offer a resource GPU get one block at a time for each. Raises MissingDependency without
    dask.distributed, BackendError where the scheduler cannot be reached or is lost.
    """

    def __init__(self, context: Context, address: str, ahead: int = 1) -> None:
        self._distributed = require("distributed", extra="dask")
        self._context, self._address, self._ahead = context, address, ahead

    def run(self, blocks: Sequence[Block], begun: Begun, done: Done) -> None:
        """See `Executor`."""
        with self._client() as client:
            facts = client.scheduler_info(n_workers=-1)["workers"].values()
            if not facts:
                raise BackendError(describe(f"scheduler {self._address}", "no workers", "one or more",
                                            "Start workers: dask worker ADDRESS"))
            gpus = any("GPU" in worker.get("resources", {}) for worker in facts)
            ahead = max(self._ahead, 2 * sum(worker["nthreads"] for worker in facts))
            options = {"pure": False, "retries": _RETRIES, **({"resources": {"GPU": 1}} if gpus else {})}
            context = client.scatter(self._context, broadcast=True, hash=False)
            waiting = iter(blocks)
            ready = self._distributed.as_completed(loop=client.loop)
            asked = {}

            def ask() -> None:
                block = next(waiting, None)
                if block is not None:
                    begun(block, None)
                    future = client.submit(solve_block, context, block, **options)
                    asked[future] = block
                    ready.add(future)

            for _ in range(ahead):
                ask()
            for future in ready:
                block = asked.pop(future)
                done(block, future.result())
                ask()
                if not asked:
                    break
            client.run(release, str(self._context.folder), wait=False)

    @contextmanager
    def _client(self) -> Iterator:
        """A connection; whatever shows that it is lost becomes a BackendError, and what is done stays in the ledger."""
        try:
            client = self._distributed.Client(self._address, timeout=_WAIT, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise BackendError(describe(f"scheduler {self._address}", error or "no answer", "a Dask scheduler",
                                        "Start it, or correct its address")) from error
        try:
            yield client
        except (AafastError, KeyboardInterrupt):
            raise
        except BaseException as error:
            lost = client.status != "running" or type(error).__name__ in _LOST
            if not lost:
                raise
            raise BackendError(describe(f"scheduler {self._address}", f"a lost connection ({type(error).__name__})",
                                        "one that lasts", "Start it again; the same command then goes on")) from error
        finally:
            client.close(timeout=2)


_LOST = ("CancelledError", "FutureCancelledError", "CommClosedError", "KilledWorker", "TimeoutError", "OSError")


def solve_block(context: Context, block: Block) -> dict:
    """One block, in a worker of the cluster: read, solved, written; what the ledger is to say of it."""
    with _lent(context) as worker:
        block, loaded = worker.read(block)
        result = None if loaded.part is None else worker.solve(block, loaded.part)
        record = worker.write(block, loaded, result)
    seconds = {} if result is None else result.seconds
    return {**record, "read": round(loaded.seconds, 4), **{name: round(value, 4) for name, value in seconds.items()}}


async def release(folder: str) -> None:
    """Close what this process keeps of a job that is over: files that were removed give their room back then.

    Asynchronous, as what nobody waits for has to be.
    """
    with _lock:
        _close_idle([name for name in _kept if name.endswith(folder)])


@dataclass
class _Held:
    """A job's worker in this process, and how many blocks use it now."""

    worker: Worker
    users: int = 0


@contextmanager
def _lent(context: Context) -> Iterator[Worker]:
    """This process's worker of a job, with its files open and its model loaded; those of other jobs that are idle go.

    One in use stays: another thread may be writing to its files, whose numbers would be given to others.
    """
    name = str(context.folder.stat().st_ino) + str(context.folder)
    with _lock:
        if name not in _kept:
            _close_idle(list(_kept))
            _kept[name] = _Held(Worker(context))
        held = _kept[name]
        held.users += 1
    try:
        yield held.worker
    finally:
        with _lock:
            held.users -= 1


def _close_idle(names: list[str]) -> None:
    for name in names:
        if not _kept[name].users:
            _kept.pop(name).worker.close()
