"""Start background programs, wait until they answer, and end them with all child processes."""

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
    """A server did not start, or ended unexpectedly; the message ends with its log."""


class Server:
    """A program in the background, with its output in a log file and no standard input."""

    def __init__(self, name: str, command: list[str], log: Path, environment: dict[str, str]):
        self.name = name
        self.log = log
        with log.open("wb") as output:
            # Its own session: Ctrl-C only reaches this process, which ends the server in order.
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
        """Terminate the program and all its descendants, and return when they are gone.

        A Galaxy job has its own process group and outlives Galaxy, so processes are found by
        descent. Programs may start more until they end, so this is repeated.
        """
        started = {self.process} | descendants(self.process)
        terminate(self.process)
        deadline = time.monotonic() + SECONDS_TO_END
        while self.process.poll() is None and time.monotonic() < deadline:
            started |= descendants(self.process)
            time.sleep(SECONDS_BETWEEN_LOOKS)
        kill(*started)


def descendants(process: psutil.Process) -> set[psutil.Process]:
    """The child processes of a process, and theirs."""
    try:
        return set(process.children(recursive=True))
    except psutil.NoSuchProcess:
        return set()


def terminate(process: psutil.Process, by: signal.Signals = signal.SIGTERM) -> None:
    """Send a process a signal, if it still exists. (psutil detects a reused process id.)"""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(by)


def kill(*processes: psutil.Process) -> None:
    """Kill processes and all their descendants, and return when they are gone."""
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
    """Wait until `answers()`. Raises ServerError if a server ends, or after the seconds."""
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
    """Delay signals like Ctrl-C until the end of the block, which must not be left half done.

    They are caught rather than blocked: the process of the tests has threads of a library, to which
    a blocked signal would be delivered.
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
    """Let a `kill` or a closed terminal unwind the program like Ctrl-C, so that servers end."""

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
    """A directory for the duration of a with-block, which a `kill` unwinds like Ctrl-C.

    The logs in it are kept in logs/NAME, replacing those of the previous run.
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
    """A free loopback port: the preferred one if possible."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def path_with(folder: Path, program: Path) -> str:
    """The system's PATH plus one more program, through a link in `folder`."""
    links = folder / "bin"
    links.mkdir()
    (links / program.name).symlink_to(program)
    return f"{links}:{SYSTEM_PATH}"


def bare_environment(**more: str) -> dict[str, str]:
    """An environment with only the system's programs on its PATH, and none of ours."""
    kept = ("HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "LOGNAME")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    return environment | {"PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8"} | more
