"""Share work among processes: items in, results out, and a name for the item that killed one.

The library that codes the bytes holds Python's lock, so threads would not help. Not a pool of the
standard library: that needs semaphores, which some containers do not have, and it cannot say at
which item a worker died, nor how far it is.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from multiprocessing.connection import Connection, wait

from outputs import undisturbed

# A forked worker has everything imported and starts at once. It must not be forked from a process
# that has coded bytes itself: the threads that the library keeps for that do not come along.
# Elsewhere than on Linux the system's own libraries have threads, too.
START_METHOD = "fork" if sys.platform == "linux" else "spawn"
SECONDS_BETWEEN_REPORTS = 1.0

# What a worker calls to say that it has done some more; the unit is the caller's.
Report = Callable[[float], None]


class WorkerError(Exception):
    """A worker could not start, or died while it was at the item with this index."""

    def __init__(self, how: str, index: int | None = None):
        super().__init__(how)
        self.how = how
        self.index = index


def in_processes(
    work: Callable[[object, Report], object],
    items: Sequence[object],
    portions: Sequence[Sequence[int]],
    count: int,
    report: Report,
) -> Iterator[tuple[int, object]]:
    """Work on all items in `count` processes; give (index, result) in whatever order they come.

    `portions` are the indices that are handed out together, in their order. What `work(item,
    report)` reports comes out of `report` here, at least once a second while work reports. An
    exception that `work` raises is raised here. Raises WorkerError if a worker dies. Workers never
    outlive the iteration, nor this process.
    """
    context = multiprocessing.get_context(START_METHOD)
    waiting = iter(portions)
    processes: dict[Connection, multiprocessing.process.BaseProcess] = {}
    at: dict[Connection, ctypes.c_int64] = {}  # the index that each worker is at
    try:
        for portion in islice(waiting, count):
            try:
                ours, theirs = context.Pipe()
                at[ours] = context.RawValue(ctypes.c_int64, portion[0])
                arguments = (work, items, theirs, at[ours])
                process = context.Process(target=serve, args=arguments, daemon=True)
                with undisturbed():  # an exception in the midst of a fork would be ignored
                    process.start()
                    processes[ours] = process
            except OSError as error:
                raise WorkerError(f"could not be started: {error.strerror}") from None
            theirs.close()
            send(ours, portion)
        while at:
            for connection in wait(list(at)):
                amount, answer = receive(connection, processes[connection], at[connection])
                report(amount)
                if isinstance(answer, Exception):
                    raise answer
                if answer is None:
                    continue
                yield from answer
                if portion := next(waiting, None):
                    send(connection, portion)
                else:
                    del at[connection]
    finally:
        for process in processes.values():
            process.kill()
        for connection, process in processes.items():
            process.join()
            connection.close()


def send(connection: Connection, portion: Sequence[int]) -> None:
    with suppress(OSError):  # the worker has died: that is noticed when nothing comes back
        connection.send(portion)


def receive(
    connection: Connection, process: multiprocessing.process.BaseProcess, at: ctypes.c_int64
) -> tuple[float, list[tuple[int, object]] | Exception | None]:
    """What a worker sends next: how much more is done, and the answer to its portion, if it is.

    Raises WorkerError if it has died.
    """
    try:
        return connection.recv()
    except (EOFError, OSError):
        process.join()
        raise WorkerError(describe_end(process.exitcode), at.value) from None


def describe_end(code: int) -> str:
    """How a process ended, for a message; `code` is as multiprocessing gives it."""
    if code >= 0:
        return f"ended with status {code}"
    names = {number.value: number.name for number in signal.Signals}
    how = f"was killed by signal {-code} ({names.get(-code, 'unknown')})"
    if code == -signal.SIGKILL:
        how += ", probably because the machine ran out of memory"
    return how


def serve(work: Callable, items: Sequence, connection: Connection, at: ctypes.c_int64) -> None:
    """Worker loop: receive portions, send results, until the parent ends us or is gone."""
    for number in (signal.SIGINT, signal.SIGHUP):  # these are for the process that we work for
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=end_with_parent, daemon=True).start()
    unreported, last_report = 0.0, time.monotonic()

    def report(amount: float) -> None:
        nonlocal unreported, last_report
        unreported += amount
        if time.monotonic() - last_report >= SECONDS_BETWEEN_REPORTS:
            connection.send((unreported, None))
            unreported, last_report = 0.0, time.monotonic()

    with suppress(EOFError, ConnectionError):  # nobody is there any longer
        while True:
            answer: list | Exception = []
            for at.value in connection.recv():
                try:
                    answer.append((at.value, work(items[at.value], report)))
                except Exception as error:
                    error.add_note(traceback.format_exc())
                    answer = error
                    break
            connection.send((unreported, answer))
            unreported = 0.0


def end_with_parent() -> None:
    """End this process when its parent is gone, whatever it is doing."""
    while os.getppid() == multiprocessing.parent_process().pid:
        time.sleep(SECONDS_BETWEEN_REPORTS)
    os._exit(1)
