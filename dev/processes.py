"""Start programs that run beside us, wait until they answer, and end them with all they started."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from dev.environments import PROJECT

LOGS = PROJECT / "logs"
SECONDS_TO_END = 20
SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_BETWEEN_NEWS = 10
LINES_OF_LOG = 30
SYSTEM_PATH = os.defpath.lstrip(":")


class ServerError(Exception):
    """A server did not start, or ended before it was told to; the message ends with its log."""


class Server:
    """A program in the background. Its output goes to a log file, its standard input is empty."""

    def __init__(self, name: str, command: list[str], log: Path, environment: dict[str, str]):
        self.name = name
        self.log = log
        with log.open("wb") as output:
            # A session of its own: Ctrl-C reaches us alone, and we end the server in order.
            self.process = psutil.Popen(
                command,
                env=environment,
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def tail(self) -> str:
        """The last lines of the log."""
        lines = self.log.read_text(errors="replace").splitlines()[-LINES_OF_LOG:]
        return "\n".join([f"--- the last lines of {self.log.name}:", *lines])

    def check(self) -> None:
        """Raise ServerError if the program has ended."""
        if self.process.poll() is not None:
            raise ServerError(
                f"{self.name} ended with status {self.process.returncode}\n{self.tail()}"
            )

    def end(self) -> None:
        """Terminate the program and whatever it started, and return when all of it is gone.

        A job that Galaxy runs has a process group of its own and outlives Galaxy, so what is to
        be ended is found by descent. Programs start more until they end: look again and again.
        """
        started = {self.process} | descendants(self.process)
        terminate(self.process)
        deadline = time.monotonic() + SECONDS_TO_END
        while self.process.poll() is None and time.monotonic() < deadline:
            started |= descendants(self.process)
            time.sleep(SECONDS_BETWEEN_LOOKS)
        kill(*started)


def descendants(process: psutil.Process) -> set[psutil.Process]:
    """The processes that a process started, and those that they started."""
    try:
        return set(process.children(recursive=True))
    except psutil.NoSuchProcess:
        return set()


def terminate(process: psutil.Process, by: signal.Signals = signal.SIGTERM) -> None:
    """Send a process a signal, if it is still there. (psutil knows a reused id from the old.)"""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(by)


def kill(*processes: psutil.Process) -> None:
    """End processes and all that they started, at once, and return when they are gone."""
    started = set(processes).union(*map(descendants, processes))
    for process in started:
        terminate(process, by=signal.SIGKILL)
    psutil.wait_procs(started, timeout=SECONDS_TO_END)


@contextmanager
def running(
    name: str, command: list[str], log: Path, environment: dict[str, str]
) -> Iterator[Server]:
    """Run a server for the duration of a with-block."""
    server = Server(name, command, log, environment)
    try:
        yield server
    finally:
        with undisturbed():
            server.end()


def wait_until(answers: Callable[[], bool], servers: list[Server], what: str, seconds: int) -> None:
    """Wait until `answers()`; raise ServerError when a server ends, or the seconds are over."""
    start = time.monotonic()
    next_news = SECONDS_BETWEEN_NEWS
    while not answers():
        for server in servers:
            server.check()
        elapsed = time.monotonic() - start
        if elapsed > seconds:
            raise ServerError(f"{what} does not answer after {seconds} s\n{servers[-1].tail()}")
        if elapsed > next_news:
            print(f"  waiting for {what}: {elapsed:.0f} s", flush=True)
            next_news += SECONDS_BETWEEN_NEWS
        time.sleep(SECONDS_BETWEEN_LOOKS)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put off Ctrl-C and its like until the end of the block, which must not be left half done.

    They are caught and not blocked: the process of the tests has threads of a library, to one of
    which a blocked signal would be delivered.
    """
    caught: list[int] = []
    before = {
        number: signal.signal(number, lambda number, frame: caught.append(number))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in caught[:1]:
            signal.raise_signal(number)


@contextmanager
def ended_in_order() -> Iterator[None]:
    """Let a `kill` or a closed terminal unwind the program as Ctrl-C does, so that servers end."""

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {
        sig: signal.signal(sig, interrupt)
        for sig in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(sig) is not signal.SIG_IGN  # as with nohup
    }
    try:
        yield
    finally:
        for sig, handler in before.items():
            signal.signal(sig, handler)


@contextmanager
def fresh_folder(name: str) -> Iterator[Path]:
    """A folder for the duration of a with-block, which a `kill` unwinds as Ctrl-C does.

    The logs in it are kept in logs/NAME, in place of those of the run before.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"iscc-{name}-"))
    try:
        with ended_in_order():
            yield folder
    finally:
        with undisturbed():
            shutil.rmtree(LOGS / name, ignore_errors=True)
            (LOGS / name).mkdir(parents=True)
            for log in folder.glob("*.log"):
                shutil.copy(log, LOGS / name)
            shutil.rmtree(folder, ignore_errors=True)


def free_port(preferred: int = 0) -> int:
    """A loopback port that nobody listens on: the preferred one if it is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def path_with(folder: Path, program: Path) -> str:
    """The system's PATH with one more program on it, by a link in `folder`, and nothing else."""
    links = folder / "bin"
    links.mkdir()
    (links / program.name).symlink_to(program)
    return f"{links}:{SYSTEM_PATH}"


def bare_environment(**more: str) -> dict[str, str]:
    """An environment with the system's programs alone, so that nothing of ours is on its PATH."""
    kept = ("HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "LOGNAME")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    return environment | {"PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8"} | more
