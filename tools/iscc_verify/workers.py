"""Share work among processes, and find the item during which a worker died.

The library that codes bytes holds Python's lock, so threads would not help. The pools of the
standard library need semaphores, which some containers lack, and report neither the item during
which a worker died nor its progress.
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

# A forked worker has everything imported and starts at once. A process that has coded bytes itself
# must not fork: the library's threads do not exist in the child. On other systems than Linux,
# system libraries have threads, too.
START_METHOD = "fork" if sys.platform == "linux" else "spawn"
SECONDS_BETWEEN_REPORTS = 1.0

# Progress callback of a worker: the amount done since the last call, in the caller's unit.
Report = Callable[[float], None]


class WorkerError(Exception):
    """A worker could not start, or died while working on the item with this index."""

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
    """Work on all items in `count` processes; yields (index, result) in any order.

    `portions` are the indices handed out together, in order. `report` is called here with the
    amounts that `work(item, report)` reports, at least once a second while it does. An exception
    raised by `work` is raised here. Raises WorkerError if a worker dies. Workers never outlive the
    iteration or this process.
    """
    context = multiprocessing.get_context(START_METHOD)
    waiting = iter(portions)
    processes: dict[Connection, multiprocessing.process.BaseProcess] = {}
    at: dict[Connection, ctypes.c_int64] = {}  # the current index of each worker
    try:
        for portion in islice(waiting, count):
            try:
                ours, theirs = context.Pipe()
                at[ours] = context.RawValue(ctypes.c_int64, portion[0])
                arguments = (work, items, theirs, at[ours])
                process = context.Process(target=serve, args=arguments, daemon=True)
                with undisturbed():  # an exception during a fork would be ignored
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
    with suppress(OSError):  # the worker has died, which `receive` will notice
        connection.send(portion)


def receive(
    connection: Connection, process: multiprocessing.process.BaseProcess, at: ctypes.c_int64
) -> tuple[float, list[tuple[int, object]] | Exception | None]:
    """A worker's next message: the amount done since the last, and the answer, if complete.

    Raises WorkerError if it has died.
    """
    try:
        return connection.recv()
    except (EOFError, OSError):
        process.join()
        raise WorkerError(describe_end(process.exitcode), at.value) from None


def describe_end(code: int) -> str:
    """How a process ended, for a message; `code` is multiprocessing's exit code."""
    if code >= 0:
        return f"ended with status {code}"
    names = {number.value: number.name for number in signal.Signals}
    how = f"was killed by signal {-code} ({names.get(-code, 'unknown')})"
    if code == -signal.SIGKILL:
        how += ", probably because the machine ran out of memory"
    return how


def serve(work: Callable, items: Sequence, connection: Connection, at: ctypes.c_int64) -> None:
    """Worker loop: receive portions, send results, until the parent ends us or is gone."""
    for number in (signal.SIGINT, signal.SIGHUP):  # these are for the parent
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

    with suppress(EOFError, ConnectionError):  # the parent is gone
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
    """End this process when its parent is gone."""
    while os.getppid() == multiprocessing.parent_process().pid:
        time.sleep(SECONDS_BETWEEN_REPORTS)
    os._exit(1)
