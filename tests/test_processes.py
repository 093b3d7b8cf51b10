"""Servers of the local Galaxy end with all their child processes, whatever happens."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from dev import processes
from dev.environments import PROJECT

# A server as Galaxy is one: it starts a job in a process group of its own, says so, and waits.
SERVER = """
    import os, subprocess, sys, time
    job = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                           preexec_fn=os.setpgrp)
    print("ready", os.getpid(), job.pid, flush=True)
    time.sleep(600)
"""


def server_command(tmp_path: Path) -> list[str]:
    path = tmp_path / "server.py"
    path.write_text(textwrap.dedent(SERVER))
    return [sys.executable, str(path)]


def wait_for_ids(log: Path) -> list[int]:
    """The process ids of the server and its job, as soon as its log has them."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        words = log.read_text().split() if log.exists() else []
        if len(words) == 3:
            return [int(word) for word in words[1:]]
        time.sleep(0.05)
    raise TimeoutError(log)


def alive(process_id: int) -> bool:
    try:
        return psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_server_ends_with_the_jobs_that_it_started(tmp_path):
    log = tmp_path / "server.log"
    with processes.running("Server", server_command(tmp_path), log, dict(os.environ)):
        ids = wait_for_ids(log)
        assert all(map(alive, ids))
    assert not any(map(alive, ids))


def test_a_server_that_ignores_its_end_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "SECONDS_TO_END", 1)
    log = tmp_path / "server.log"
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    command = server_command(tmp_path)
    script = Path(command[1])
    script.write_text(stubborn + script.read_text())
    with processes.running("Server", command, log, dict(os.environ)):
        ids = wait_for_ids(log)
    assert not any(map(alive, ids))


def test_a_server_that_does_not_start_is_an_error_with_its_log(tmp_path):
    command = [sys.executable, "-c", "print('what went wrong'); raise SystemExit(3)"]
    with (
        pytest.raises(processes.ServerError) as error,
        processes.running("Server", command, tmp_path / "a.log", dict(os.environ)) as server,
    ):
        processes.wait_until(lambda: False, [server], "Server", seconds=30)
    assert str(error.value) == (
        "Server ended with status 3\n--- the last lines of a.log:\nwhat went wrong"
    )


def test_a_server_that_does_not_answer_is_an_error_with_its_log(tmp_path):
    log = tmp_path / "a.log"
    with (
        pytest.raises(processes.ServerError) as error,
        processes.running("Server", server_command(tmp_path), log, dict(os.environ)) as server,
    ):
        ids = wait_for_ids(log)
        processes.wait_until(lambda: False, [server], "Server", seconds=0)
    assert str(error.value).startswith("Server does not answer after 0 s\n--- the last lines of a")
    assert not any(map(alive, ids))


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_servers_end_when_we_are_interrupted(tmp_path, sent):
    """By Ctrl-C, kill, or a closed terminal."""
    program = """
        import os, signal, sys, time
        from pathlib import Path
        from dev import processes
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup ignores, and we with it
        log, *command = sys.argv[1:]
        try:
            with (
                processes.ended_in_order(),
                processes.running("Server", command, Path(log), dict(os.environ)),
            ):
                time.sleep(600)
        except KeyboardInterrupt:
            sys.exit("interrupted")
    """
    log = tmp_path / "server.log"
    command = [sys.executable, "-c", textwrap.dedent(program), str(log), *server_command(tmp_path)]
    ours = psutil.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True)
    try:
        ids = wait_for_ids(log)
        ours.send_signal(sent)
        _, errors = ours.communicate(timeout=30)
    finally:
        processes.kill(ours)
    assert errors == "interrupted\n"
    assert not any(map(alive, ids))


def test_a_free_port_is_the_preferred_one_if_it_can_be():
    port = processes.free_port()
    assert processes.free_port(port) == port


def test_nothing_of_ours_is_on_the_path_of_a_server(monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    path = processes.bare_environment()["PATH"].split(":")
    assert not any(Path(folder).is_relative_to(PROJECT) for folder in path)
