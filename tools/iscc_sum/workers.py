"""Share work among processes: items in, results out, and a name for the item that killed one.

The library that codes the bytes holds Python's lock, so threads would not help. Not a pool of the
standard library, because such a pool cannot say which item its dead worker was at.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait

# A forked worker has everything imported and starts at once. It must not be forked from a process
# that has coded bytes itself: the threads that the library keeps for that do not come along.
# Elsewhere than on Linux the system's own libraries have threads, too.
START_METHOD = "fork" if sys.platform == "linux" else "spawn"
SECONDS_BETWEEN_LOOKS = 1.0


class WorkerError(Exception):
    """A worker ended while it was at an item: `index` of the item, `status` of the process."""

    def __init__(self, index: int, status: int | None):
        super().__init__(f"a worker ended with status {status} at item {index}")
        self.index = index
        self.status = status

    @property
    def how(self) -> str:
        """The end of a sentence for the user."""
        return (
            f"died with status {self.status}; -9 is what a process gets that takes too much memory"
        )


class Shared(ctypes.Structure):
    """What a worker lets us see while it works: where it is, and how many bytes it has read."""

    _fields_ = (("index", ctypes.c_int64), ("bytes_read", ctypes.c_int64))


def in_processes(
    work: Callable[[object, Callable[[int], None]], object],
    items: Sequence[object],
    portions: Sequence[Sequence[int]],
    jobs: int,
    look: Callable[[int], None],
) -> Iterator[tuple[int, object]]:
    """Work on all items in `jobs` processes; give (index, result) in whatever order they come.

    `portions` are the indices that are handed out together, in their order. `work(item, read)`
    calls `read(n)` for every n bytes that it reads, and `look(n)` is told of all of them, at least
    once a second. An exception that `work` raises is raised here. A worker that ends raises
    WorkerError. Workers never outlive the iteration.
    """
    context = multiprocessing.get_context(START_METHOD)
    waiting = iter(portions)
    workers: dict[Connection, tuple[multiprocessing.process.BaseProcess, Shared]] = {}
    try:
        for portion in (next(waiting, None) for _ in range(jobs)):
            if portion is None:
                break
            ours, theirs = context.Pipe()
            shared = context.RawValue(Shared)
            # Our ends come along when we fork; a worker that kept them would never see us go.
            not_its_own = [*workers, ours] if START_METHOD == "fork" else []
            process = context.Process(
                target=serve, args=(work, items, theirs, shared, not_its_own), daemon=True
            )
            process.start()
            theirs.close()
            workers[ours] = process, shared
            ours.send(portion)
        at_work = set(workers)
        while at_work:
            for connection in wait(at_work, timeout=SECONDS_BETWEEN_LOOKS):
                yield from received(connection, *workers[connection])
                portion = next(waiting, None)
                if portion is None:
                    at_work.remove(connection)
                else:
                    with suppress(BrokenPipeError):  # it has died: the next look will tell
                        connection.send(portion)
            look(sum(shared.bytes_read for _, shared in workers.values()))
    finally:
        for process, _ in workers.values():
            process.terminate()
        for process, _ in workers.values():
            process.join()


def received(
    connection: Connection, process: multiprocessing.process.BaseProcess, shared: Shared
) -> list[tuple[int, object]]:
    """The results of a portion; raises what the worker raised, or WorkerError."""
    try:
        answer = connection.recv()
    except (EOFError, ConnectionError):
        process.join()
        raise WorkerError(shared.index, process.exitcode) from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def serve(
    work: Callable,
    items: Sequence,
    connection: Connection,
    shared: Shared,
    not_its_own: list[Connection],
) -> None:
    """The life of a worker: portions in, lists of results out, until nobody is there any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that we work for
    for other in not_its_own:
        other.close()

    parent = os.getppid()

    def read(byte_count: int) -> None:
        shared.bytes_read += byte_count
        if os.getppid() != parent:
            sys.exit()  # killed in the midst of it: nobody wants to know the rest

    while True:
        try:
            portion = connection.recv()
        except EOFError:
            return
        answer: object = []
        for index in portion:
            shared.index = index
            try:
                answer.append((index, work(items[index], read)))
            except Exception as error:
                error.add_note(traceback.format_exc())
                answer = error
                break
        try:
            connection.send(answer)
        except BrokenPipeError:
            return
