"""The scripts as programs: exit status, closed or full streams, signals, processes, subcommands."""

import gc
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

import messages
from conftest import SCRIPTS
from dev import processes
from dev.environments import PROJECT
from oracle import HEADER, codes_of, manifest_line
from samples import NEEDS_FORK

NEEDS_FULL_DISK = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
NO_ROOM = "iscc_manifest: cannot write to standard output: No space left on device\n"


@pytest.fixture
def a(tmp_path: Path) -> Path:
    """A dataset, and a manifest with another code for it."""
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "old").write_text(HEADER + manifest_line("a", b"before"))
    return tmp_path


# Standard output and standard error


def test_data_on_standard_output_are_alone_there(a, program):
    """The summary goes to standard error, so that the next program can read the pipe."""
    for path in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
        done = program("iscc_manifest", "a", "--manifest", path)
        assert done.stdout == HEADER + manifest_line("a", b"a")
        assert done.stderr.startswith("1 dataset, 1 byte, ")


def test_standard_output_in_a_file_keeps_its_order(a, program):
    """Earlier and later output of other programs stays in order."""
    with (a / "out").open("w") as out:
        out.write("before\n")
        out.flush()
        program("iscc_manifest", "a", "--manifest", "/dev/stdout", stdout=out)
        out.write("after\n")
    assert (a / "out").read_text() == "before\n" + HEADER + manifest_line("a", b"a") + "after\n"


@NEEDS_FULL_DISK
def test_standard_output_that_is_full(a, program):
    with Path("/dev/full").open("w") as full:
        done = program("iscc_manifest", "a", "--manifest", "m", stdout=full)
    assert (done.returncode, done.stderr) == (2, NO_ROOM)


def test_standard_output_of_which_nobody_reads(a, program):
    reader, writer = os.pipe()
    os.close(reader)
    done = program("iscc_manifest", "a", "--manifest", "m", stdout=writer)
    assert (done.returncode, done.stderr) == (0, "")
    done = program("iscc_manifest", "a", "--manifest", "/dev/stdout", stdout=writer)
    os.close(writer)
    assert done.returncode == 2
    assert done.stderr == 'iscc_manifest: cannot write "/dev/stdout": Broken pipe\n'


def shell(folder: Path, command: str) -> subprocess.CompletedProcess:
    """Run a script by a shell, which can close streams; $1 and so on are the scripts."""
    arguments = [sys.executable, *SCRIPTS.values()]
    return subprocess.run(
        ["sh", "-c", command, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
def test_closed_streams_change_nothing(a, closed):
    done = shell(a, f'"$0" "$1" a --manifest /dev/stdout {closed}')
    assert (done.returncode, done.stdout) == (0, HEADER + manifest_line("a", b"a"))


def test_closed_standard_output(a):
    done = shell(a, '"$0" "$1" a --manifest m >&-')
    assert (done.returncode, done.stderr) == (0, "")
    assert (a / "m").read_text() == HEADER + manifest_line("a", b"a")
    done = shell(a, '"$0" "$1" a --manifest /dev/stdout >&-')
    assert done.returncode == 2
    assert done.stderr == 'iscc_manifest: cannot write "/dev/stdout": Bad file descriptor\n'


def test_news_never_stand_before_the_data(a, monkeypatch, capfd):
    """Even if standard error is closed, and Python would write to standard output."""
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(messages, "SECONDS_BETWEEN_REPORTS", 0)
    messages.Progress().report(lambda seconds: "news")
    assert capfd.readouterr().out == ""


VERIFY = '"$0" "$4" a --manifest old --on-mismatch fail'


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (VERIFY, 1),
        (f"{VERIFY} 2>&-", 1),
        (f"{VERIFY} 2>/dev/full", 1),
        # Where nothing was compared, the status is never that of a mismatch.
        ('"$0" "$4" gone --manifest old --on-mismatch fail 2>/dev/full', 2),
        ('"$0" "$4" gone --manifest old --on-mismatch fail 2>&-', 2),
        ('"$0" "$4" --no-such-option 2>/dev/full', 2),
        ('"$0" -S "$4" a --manifest old --on-mismatch fail', 2),  # no packages
        ('"$0" -P "$4" a --manifest old --on-mismatch report', 0),
    ],
)
@NEEDS_FULL_DISK
def test_only_a_mismatch_ends_with_status_one(a, command, status):
    assert shell(a, command).returncode == status


def test_a_package_that_is_missing_is_named(a):
    done = shell(a, '"$0" -S "$1" a --manifest m')
    assert done.returncode == 2
    assert re.fullmatch(
        r"iscc_manifest: No module named '\w+'; install the packages that this tool requires\n",
        done.stderr,
    )


@pytest.mark.parametrize(("error", "status"), [("MemoryError", 2), ("KeyError", 70)])
def test_errors_of_ours_are_no_mismatch(a, error, status):
    run = f"""
import audit, iscc_verify, sys
def broken(*_): raise {error}
audit.audit = broken
sys.exit(iscc_verify.main(["a", "--manifest", "old"]))
"""
    done = in_python(a, run)
    assert done.returncode == status
    first = "iscc_verify: not enough memory" if status == 2 else "Traceback"
    assert done.stderr.startswith(first)


def test_the_collector_of_garbage_stays_on_for_whoever_imports_a_script(a, script):
    assert gc.isenabled()
    script("iscc_manifest", "a", "--manifest", "m")
    script("iscc_verify", "a", "--manifest", "m")
    assert gc.isenabled()


# Processes


def in_python(
    folder: Path, lines: str, prepare: Callable[[], None] | None = None
) -> subprocess.CompletedProcess:
    """Run a few lines with the modules of iscc_sum and iscc_verify, in a separate process."""
    path = os.pathsep.join(str(SCRIPTS[name].parent) for name in ("iscc_manifest", "iscc_verify"))
    return subprocess.run(
        [sys.executable, "-c", lines],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=prepare,
    )


def large_files(folder: Path, names: str) -> list[Path]:
    """Sparse files that take minutes to read, but no disk space."""
    paths = [folder / name for name in names]
    for path in paths:
        with path.open("wb") as sparse:
            sparse.truncate(2**36)
    return paths


def started(
    folder: Path, processes: int, program: tuple[object, ...] = (SCRIPTS["iscc_manifest"],)
) -> tuple[psutil.Popen, list[psutil.Process]]:
    """A script that is working on large files in its own process group, and its workers."""
    command = [sys.executable, *program, *large_files(folder, "ab")]
    command += ["--processes", str(processes), "--manifest", folder / "m"]
    ours = psutil.Popen(
        list(map(str, command)), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 20
    while (
        len(workers := workers_of(ours)) < processes * (processes > 1)
        and time.monotonic() < deadline
    ):
        time.sleep(0.05)
    return ours, workers


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    """Its child processes, without the helper process of a spawning Python."""
    return [each for each in process.children() if "resource_tracker" not in str(each.cmdline())]


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL, signal.SIGINT])
def test_no_process_is_left_when_the_first_one_goes(tmp_path, sent):
    ours, workers = started(tmp_path, processes=2)
    try:
        assert len(workers) == 2
        if sent == signal.SIGINT:  # Ctrl-C reaches all of them
            os.killpg(ours.pid, sent)
        else:
            ours.send_signal(sent)
        said = ours.communicate(timeout=10)[1]
        _, alive = psutil.wait_procs([ours, *workers], timeout=10)
        assert not alive
    finally:
        processes.kill(ours, *workers)
    assert said == ("iscc_manifest: interrupted\n" if sent == signal.SIGINT else "")
    assert ours.returncode == (-sent if sent == signal.SIGKILL else 128 + sent)
    assert not (tmp_path / "m").exists()


@NEEDS_FORK
@pytest.mark.parametrize("delay", range(5))
def test_an_interrupt_while_workers_are_started_is_not_lost(tmp_path, delay):
    """Python would ignore an exception during a fork."""
    lines = f"""
import os, signal, sys
import command, iscc_manifest
forked = 0
def interrupt():
    global forked
    forked += 1
    if forked == {delay + 1}:
        os.kill(os.getpid(), signal.SIGINT)
os.register_at_fork(after_in_parent=interrupt)
options = ["--processes", "5", "--manifest", "m"]
command.run(lambda: iscc_manifest.main(["a", "b", "c", "d", "e", *options]))
"""
    large_files(tmp_path, "abcde")
    done = in_python(tmp_path, lines)
    assert (done.returncode, done.stderr) == (130, "iscc_manifest: interrupted\n")


def test_an_interrupt_during_imports_shows_no_traceback(a):
    """The first module that the script imports sends the signal."""
    folder = a / "modules"
    folder.mkdir()
    (folder / "argparse.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    done = subprocess.run(
        [sys.executable, SCRIPTS["iscc_manifest"], "a", "--manifest", "m"],
        cwd=a,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def limited(**limits: int) -> Callable[[], None]:
    """Limit the resources of a process."""

    def limit() -> None:
        for name, most in limits.items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))

    return limit


@NEEDS_FORK
def test_too_few_descriptors_for_so_many_workers(a, program):
    for name in "bcdefghijklmnopqrst":
        (a / name).write_bytes(b"a")
    names = list("abcdefghijklmnopqrst") * 40
    options = ["--processes", "1024", "--manifest", "out"]
    done = program("iscc_manifest", *names, *options, preexec_fn=limited(NOFILE=30))
    assert done.returncode == 2
    assert done.stderr == ("iscc_manifest: a process could not be started: Too many open files\n")


@NEEDS_FORK
@pytest.mark.parametrize("moment", ["at birth", "while it sends"])
def test_a_worker_that_is_killed_at_a_bad_moment_is_an_error(a, moment):
    (a / "b").write_bytes(b"b")
    lines = f"""
import os, signal, sys
import coding, iscc_manifest, workers
def killed(*_): os.kill(os.getpid(), signal.SIGKILL)
class Answer:
    def __reduce__(self): killed()
def code(source, report, wide): return bytes(10**6), Answer()
if {moment!r} == "at birth":
    workers.serve = killed
else:
    coding.code = code
sys.exit(iscc_manifest.main(["a", "b", "--processes", "2", "--manifest", "m"]))
"""
    done = in_python(a, lines)
    assert done.returncode == 2
    assert re.match('iscc_manifest: a process that read "[ab]" was killed by signal 9', done.stderr)
    assert done.stderr.count("\n") == 1


def test_workers_need_no_shared_memory(a):
    """Some containers have no /dev/shm, and hence no semaphores."""
    (a / "b").write_bytes(b"b")
    lines = """
import multiprocessing.context as context
import iscc_manifest, sys
def none(*_, **__): raise OSError(38, "Function not implemented")
context.BaseContext.Lock = context.BaseContext.Semaphore = context.BaseContext.Queue = none
sys.exit(iscc_manifest.main(["a", "b", "--processes", "2", "--manifest", "m"]))
"""
    done = in_python(a, lines)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("change", ["cut off", "overwritten", "grown"])
@NEEDS_FORK
def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path, change, processes):
    """Its code would be that of bytes that never were a file."""
    for name in "ab":
        (tmp_path / name).write_bytes(bytes(3_000_000))
    lines = f"""
import os, sys, iscc_manifest, coding
Processor = coding.IsccSumProcessor
def change():
    with open("a", "r+b") as file:
        if {change!r} == "cut off":
            file.truncate(2_500_000)
        elif {change!r} == "grown":
            file.seek(0, 2)
            file.write(b"x")
        else:
            file.write(b"x")
            file.flush()
            os.utime("a", ns=(10**18, 10**18))
class Late:
    def __init__(self): self.processor, self.done = Processor(), False
    def update(self, piece):
        if not self.done:
            self.done = True
            change()
        self.processor.update(piece)
    def result(self, **options): return self.processor.result(**options)
coding.IsccSumProcessor = Late
sys.exit(iscc_manifest.main(["a", "b", "--processes", "{processes}", "--manifest", "m"]))
"""
    done = in_python(tmp_path, lines)
    assert done.returncode == 2
    assert re.fullmatch(
        r'iscc_manifest: cannot read "[ab]": it was changed while being read\n', done.stderr
    )
    assert not (tmp_path / "m").exists()


def test_names_that_no_file_can_have(tmp_path, script):
    """One sentence, also if each file of a directory is requested."""
    for options in ([], ["--per-file"]):
        done = script("iscc_manifest", "x" * 300, "--manifest", "m", *options)
        assert done.returncode == 2
        assert done.stderr.endswith(": File name too long\n")
        assert done.stderr.count("\n") == 1


def test_too_little_memory_is_told_in_one_sentence(tmp_path, program):
    code = codes_of(b"").wide
    (tmp_path / "m").write_text("#name\tiscc\n" + "".join(f"{n}\t{code}\n" for n in range(400_000)))
    options = ["--join", "m", "--manifest", "out"]
    done = program("iscc_manifest", *options, preexec_fn=limited(AS=280_000_000))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "not enough memory" in done.stderr
    assert not (tmp_path / "out").exists()


def test_bad_usage_is_told_in_one_sentence(script):
    done = script("iscc_manifest", "--manifest", "m.tsv")
    assert done.returncode == 2
    assert done.stderr == "iscc_manifest: one of the arguments --inputs FILE --join is required\n"
    done = script("iscc_manifest", "a")
    assert done.stderr.endswith("required: --manifest\n")
    done = script("iscc_manifest", "a", "--manifest", "m", "--\x1b[31m\nred")
    assert done.stderr == "iscc_manifest: unrecognized arguments: --\\x1b[31m\\nred\n"


# Help


@pytest.mark.parametrize(("columns", "most"), [(100, 45), (80, 60)])
@pytest.mark.parametrize("name", SCRIPTS)
def test_help_fits_a_screen(program, name, columns, most):
    for subcommand in ([], ["sign"], ["verify"]) if name == "iscc_seal" else ([],):
        environment = os.environ | {"COLUMNS": str(columns)}
        lines = program(name, *subcommand, "--help", env=environment).stdout.splitlines()
        assert lines[0].startswith(f"usage: {name}")
        assert len(lines) <= most
        assert max(map(len, lines)) <= 100


# The scripts as subcommands of `python tools`

FRONT = PROJECT / "tools"
SUBCOMMANDS = {name.removeprefix("iscc_"): name for name in SCRIPTS if name != "iscc_gate"}


def front(*command: object, **options: object) -> subprocess.CompletedProcess:
    """Run Python with these arguments."""
    given = {"capture_output": True, "text": True, "timeout": 60} | options
    return subprocess.run([sys.executable, *map(str, command)], **given)


@pytest.mark.parametrize(("subcommand", "name"), SUBCOMMANDS.items())
def test_a_subcommand_is_its_script(program, subcommand, name):
    help_text = program(name, "--help").stdout
    assert help_text.startswith(f"usage: {name} ")
    done = front(FRONT, subcommand, "--help")
    assert (done.returncode, done.stdout, done.stderr) == (0, help_text, "")


def test_subcommands_are_listed_with_what_they_do(program):
    done = front(FRONT, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert front(FRONT, "-h").stdout == done.stdout
    listed = dict(re.findall(r"^  (\w+) +(.*)$", done.stdout, re.M))
    assert listed.keys() == SUBCOMMANDS.keys()
    for subcommand, about in listed.items():
        assert f"\n{about}\n" in program(SUBCOMMANDS[subcommand], "--help").stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    bare = front(FRONT)
    assert (bare.returncode, bare.stdout, bare.stderr) == (2, "", done.stdout)


def test_an_unknown_subcommand_is_told_in_one_sentence():
    done = front(FRONT, "\x1b[31m\ngate\udcff" + "x" * 100, "--help")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        rf"tools: '\x1b[31m\ngate\udcff{'x' * 29}' is not a subcommand: expected "
        "manifest, pixels, panels, trail, similarity, verify or seal\n"
    )


@pytest.mark.parametrize("safe", [[], ["-P"], ["-I", "-X", "utf8"]])
@pytest.mark.parametrize("place", ["tools", "my tools/the tools"])
def test_subcommands_run_from_anywhere(a, place, safe):
    linked = a / place
    linked.parent.mkdir(exist_ok=True)
    linked.symlink_to(FRONT)
    environment = os.environ | ({"PYTHONSAFEPATH": "1"} if safe else {})
    for path in (linked, f"{place}/"):
        arguments = [path, "manifest", "a", "--manifest", "/dev/stdout"]
        done = front(*safe, *arguments, cwd=a, env=environment)
        assert done.stdout == HEADER + manifest_line("a", b"a"), done.stderr


def test_subcommands_run_as_a_module():
    done = front("-m", "tools", "seal", cwd=PROJECT)
    assert (done.returncode, done.stderr[:10]) == (2, "iscc_seal:")


def test_options_of_python_reach_the_script(a):
    done = front("-S", FRONT, "manifest", "a", "--manifest", "m", cwd=a)  # no packages
    assert (done.returncode, "install the packages" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--manifest", "old", "--on-mismatch", "fail", "a"], 1),
        (["--manifest", "old", "--", "gone \udcff\n $HOME ünï"], 2),
        (["--help", "--no-such-option"], 0),
        (["--no-such-option"], 2),
    ],
)
def test_status_and_arguments_are_passed_on(a, program, arguments, status):
    done = program("iscc_verify", *arguments)
    same = front(FRONT, "verify", *arguments, cwd=a)
    assert (done.returncode, done.stdout, done.stderr) == (status, same.stdout, same.stderr)
    assert same.returncode == status


def test_streams_are_those_of_the_front(a):
    done = front(FRONT, "manifest", "a", "--manifest", "/dev/fd/1", cwd=a)
    assert done.stdout == HEADER + manifest_line("a", b"a")
    again = front(
        *(FRONT, "verify", "a", "--manifest", "/dev/stdin", "--report", "/dev/fd/1"),
        input=done.stdout,
        cwd=a,
    )
    assert "\na\tOK\t" in again.stdout


def test_signals_reach_the_script(tmp_path):
    """The process is the same one, so that its workers are known as its children."""
    ours, workers = started(tmp_path, processes=2, program=(FRONT, "manifest"))
    try:
        assert len(workers) == 2
        ours.send_signal(signal.SIGTERM)
        said = ours.communicate(timeout=10)[1]
        _, alive = psutil.wait_procs([ours, *workers], timeout=10)
        assert not alive
    finally:
        processes.kill(ours, *workers)
    assert (said, ours.returncode) == ("", 128 + signal.SIGTERM)
