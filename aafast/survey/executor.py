"""Who does the work: this process, several on this machine, or a Dask cluster, behind one face."""

from __future__ import annotations

import collections
import contextlib
import ctypes
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Protocol

from ..errors import AafastError, BackendError, describe
from .blocks import Block
from .section import Solve
from .worker import Context, OnBatch, Worker, work

Begun = Callable[[Block, int | None], None]  # and the process that solves it, where that is known
Done = Callable[[Block, dict], None]
_AHEAD = 3  # blocks that a worker has: one to read, one to solve, one to write
_ATTEMPTS = 5  # workers that may die over one block


class Executor(Protocol):
    """Takes blocks to workers; all of them give the same bytes, in whatever order."""

    def run(self, blocks: Sequence[Block], begun: Begun, done: Done) -> None:
        """Work on the blocks. begun: called when a block's solve starts. done: called with its record once it is on
        the disk. Both may be called in any thread, one at a time for a worker."""


class SerialExecutor:
    """All in this process, where the caller's thread solves by `solve`. on_batch: called as patches are solved."""

    def __init__(self, context: Context, solve: Solve, on_batch: OnBatch | None = None) -> None:
        self._context, self._solve, self._on_batch = context, solve, on_batch

    def run(self, blocks: Sequence[Block], begun: Begun, done: Done) -> None:
        """See `Executor`."""
        worker = Worker(self._context, self._solve)
        try:
            work(worker, blocks, lambda block: begun(block, os.getpid()), done, self._on_batch)
        finally:
            worker.close()


class ProcessExecutor:
    """`count` processes of this machine, each with its own files. One that dies costs the blocks that it had, which
    go to others; a new one takes its place."""

    def __init__(self, context: Context, count: int) -> None:
        self._context, self._count = context, count

    def run(self, blocks: Sequence[Block], begun: Begun, done: Done) -> None:
        """See `Executor`. Raises what a worker raises, BackendError where workers die again and again."""
        crew = _Crew(self._context, blocks)
        try:
            crew.hire(self._count)
            while crew.members:
                for member in crew.ready():
                    crew.listen(member, begun, done)
        finally:
            crew.dismiss()


class _Member:
    """A worker process, the connection to it, and the blocks that it has, in order."""

    def __init__(self, context: bytes) -> None:
        self.connection, theirs = Pipe()
        command = [sys.executable, "-c", "from aafast.survey.executor import serve; serve()", str(theirs.fileno())]
        package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        search = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            [*command, str(os.getpid())], stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": search},
        )  # fmt: skip
        theirs.close()
        self.blocks: collections.deque[Block] = collections.deque()
        try:
            self.connection.send(sys.path)
            self.connection.send_bytes(context)
        except OSError:
            pass  # it died already: the next look at its connection shows that

    def give(self, block: Block | None) -> None:
        if block is not None:
            self.blocks.append(block)
        with contextlib.suppress(OSError):
            self.connection.send(block)

    def end(self, kill: bool) -> int:
        if kill:
            self.process.kill()
        self.connection.close()
        return self.process.wait()


class _Crew:
    """The workers, what waits for them, and how often a block has lost its worker."""

    def __init__(self, context: Context, blocks: Sequence[Block]) -> None:
        self._context = _pickled(context)
        self._waiting = collections.deque(blocks)
        self._lost: collections.Counter[int] = collections.Counter()
        self.members: list[_Member] = []

    def hire(self, count: int = 1) -> None:
        """Start workers, each with a block before any has two; none without one, which would be waited for."""
        fresh = [_Member(self._context) for _ in range(min(count, len(self._waiting)))]
        self.members += fresh
        for _ in range(_AHEAD):
            for member in fresh:
                self._feed(member)

    def ready(self) -> list[_Member]:
        live = wait([member.connection for member in self.members])
        return [member for member in self.members if member.connection in live]

    def listen(self, member: _Member, begun: Begun, done: Done) -> None:
        """Take one message of a worker; its silence for good is its death."""
        try:
            kind, *rest = member.connection.recv()
        except (EOFError, OSError):
            self._bury(member)
            return
        if kind == "failed":
            raise rest[0]
        block = next(b for b in member.blocks if b.number == rest[0])
        if kind == "begun":
            begun(block, member.process.pid)
            return
        member.blocks.remove(block)
        done(block, rest[1])
        self._feed(member)
        if not member.blocks:
            self._dismiss(member)

    def dismiss(self) -> None:
        while self.members:
            self.members.pop().end(kill=True)

    def _feed(self, member: _Member) -> None:
        if self._waiting:
            member.give(self._waiting.popleft())

    def _dismiss(self, member: _Member) -> None:
        member.give(None)
        member.end(kill=False)
        self.members.remove(member)

    def _bury(self, member: _Member) -> None:
        code = member.end(kill=True)
        self.members.remove(member)
        for block in member.blocks:
            self._lost[block.number] += 1
            if self._lost[block.number] >= _ATTEMPTS:
                raise BackendError(describe(
                    f"workers at block {block.number + 1}", f"{_ATTEMPTS} that died, the last with code {code}",
                    "one that ends it", "Give less to each with --memory or --workers; the same command goes on"))
        self._waiting.extendleft(reversed(member.blocks))
        self.hire()


def serve() -> None:
    """The main function of a worker process: takes blocks from a connection, and tells of them through it."""
    parent = int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: where it exists, die with the parent
    if os.getppid() != parent:
        os._exit(1)
    connection, lock = Connection(int(sys.argv[1])), threading.Lock()

    def tell(*message: object) -> None:
        with lock:
            connection.send(message)

    def turns():
        while (block := connection.recv()) is not None:
            yield block

    try:
        sys.path[:] = connection.recv()
        worker = Worker(pickle.loads(connection.recv_bytes()))
        work(worker, turns(), lambda block: tell("begun", block.number),
             lambda block, record: tell("done", block.number, record))
    except EOFError:
        os._exit(1)  # the parent is gone
    except BaseException as error:
        with contextlib.suppress(OSError):
            tell("failed", _sendable(error))
    os._exit(0)


def _pickled(context: Context) -> bytes:
    try:
        return pickle.dumps(context)
    except Exception as error:
        raise BackendError(describe("what is sent to the workers", error, "names that they can import",
                                    "Define the solver in a module, or use one worker")) from error


def _sendable(error: BaseException) -> BaseException:
    """An error that survives its way to the parent."""
    try:
        copy = pickle.loads(pickle.dumps(error))
        if isinstance(error, AafastError) or type(copy) is type(error):
            return copy
    except Exception:
        pass
    return RuntimeError(f"{type(error).__name__} in a worker: {error}")
