"""Outputs: all of a run, complete, or none; only the content of a file changes."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

import outputs
from conftest import SCRIPTS
from messages import InputError
from outputs import Outputs

NEEDS_ANOTHER_USER = pytest.mark.skipif(
    os.geteuid() == 0, reason="root may write wherever it likes"
)


def write(*files: tuple[Path, bytes]) -> None:
    with Outputs() as out:
        for path, content in files:
            out.write(path, [content])


def test_all_outputs_appear_together(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"old")
    with Outputs() as out:
        out.write(first, [b"new ", b"content"])
        out.write(second, [b"more"])
        assert first.read_bytes() == b"old"
        assert not second.exists()
    assert (first.read_bytes(), second.read_bytes()) == (b"new content", b"more")
    assert sorted(tmp_path.iterdir()) == [first, second]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_nothing_is_written_when_the_run_fails(tmp_path, error):
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"old")

    def pieces():
        yield b"a"
        raise error

    with pytest.raises(error), Outputs() as out:
        out.write(first, [b"new"])
        out.write(second, pieces())
    assert list(tmp_path.iterdir()) == [first]
    assert first.read_bytes() == b"old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_leaves_the_other_outputs_as_they_were(tmp_path):
    (tmp_path / "first").write_bytes(b"old")
    with pytest.raises(InputError, match='cannot write "/dev/full": No space left on device'):
        write((tmp_path / "first", b"new"), (Path("/dev/full"), b"data"))
    assert (tmp_path / "first").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o640])
def test_the_mode_stays(tmp_path, mode):
    path = tmp_path / "m"
    path.write_bytes(b"old")
    path.chmod(mode)
    write((path, b"new"))
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", mode)


def test_the_mode_of_a_new_file_is_that_of_the_user(tmp_path):
    before = os.umask(0o027)
    try:
        write((tmp_path / "m", b"new"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == 0o640


def test_names_and_links_of_a_file_stay(tmp_path):
    for name in ("file", "other"):
        (tmp_path / name).write_bytes(b"old and longer")
    (tmp_path / "hard").hardlink_to(tmp_path / "file")
    (tmp_path / "soft").symlink_to(tmp_path / "other")
    write((tmp_path / "hard", b"new"), (tmp_path / "soft", b"newer"))
    assert (tmp_path / "file").read_bytes() == b"new"
    assert (tmp_path / "file").stat().st_nlink == 2
    assert (tmp_path / "other").read_bytes() == b"newer"
    assert (tmp_path / "soft").is_symlink()
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that is small")
def test_a_full_disk_leaves_nothing_that_looks_whole(tmp_path):
    """A file that is copied over would otherwise keep its first pages."""
    program = """
import os, subprocess, sys
from pathlib import Path
from messages import InputError
from outputs import Outputs
os.mkdir("small")
mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=65536", "tmpfs", "small"])
if mounted.returncode:
    sys.exit(77)
Path("small/m").write_bytes(b"old")
os.link("small/m", "small/other")
Path("small/rest").write_bytes(bytes(40_000))
try:
    with Outputs() as out:
        out.write(Path("small/m"), [b"#name\\n" * 20_000])
except InputError as error:
    print(error, Path("small/m").stat().st_size)
"""
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(SCRIPTS["iscc_manifest"].parent)},
        capture_output=True,
        text=True,
    )
    if done.returncode == 77 or done.stderr.startswith("unshare: "):
        pytest.skip("may not mount one")
    assert done.stdout == 'cannot write "small/m": No space left on device 0\n', done.stderr


def test_a_link_to_nothing_yet_is_followed(tmp_path):
    (tmp_path / "soft").symlink_to(tmp_path / "later")
    write((tmp_path / "soft", b"new"))
    assert (tmp_path / "soft").is_symlink()
    assert (tmp_path / "later").read_bytes() == b"new"


def test_a_file_that_cannot_be_replaced_is_overwritten(tmp_path, monkeypatch):
    """As in a read-only directory; simulated, since root may write anywhere."""
    path = tmp_path / "m"
    path.write_bytes(b"old and longer")
    inode = path.stat().st_ino
    monkeypatch.setattr(outputs, "can_be_replaced", lambda target: False)
    write((path, b"new"))
    assert (path.read_bytes(), path.stat().st_ino) == (b"new", inode)
    assert list(tmp_path.iterdir()) == [path]


@NEEDS_ANOTHER_USER
def test_a_writable_file_in_a_directory_that_is_not(tmp_path):
    path = tmp_path / "d" / "m"
    path.parent.mkdir()
    path.write_bytes(b"old")
    path.parent.chmod(0o555)
    outputs.check([path], [])
    write((path, b"new"))
    assert path.read_bytes() == b"new"
    with pytest.raises(InputError, match="Permission denied"):
        outputs.check([path.with_name("other")], [])
    path.chmod(0o444)
    with pytest.raises(InputError, match="Permission denied"):
        outputs.check([path], [])
    path.parent.chmod(0o755)


def test_two_runs_never_share_a_temporary_file(tmp_path, monkeypatch):
    """An existing one is neither followed nor overwritten."""
    (tmp_path / "mine").write_bytes(b"kept")
    monkeypatch.setattr(outputs.secrets, "token_hex", lambda _: "guessed")
    (tmp_path / ".guessed.part").symlink_to(tmp_path / "mine")
    with pytest.raises(InputError, match="File exists"):
        write((tmp_path / "m", b"new"))
    assert (tmp_path / "mine").read_bytes() == b"kept"
    monkeypatch.undo()
    with Outputs() as one, Outputs() as other:
        one.write(tmp_path / "m", [b"one"])
        other.write(tmp_path / "m", [b"other"])
        parts = [part for part in tmp_path.iterdir() if part.suffix == ".part"]
        assert len(parts) == 3  # with the link
    assert (tmp_path / "m").read_bytes() == b"one"


def test_a_pipe_gets_everything_at_the_end(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with (
        (tmp_path / "got").open("wb") as got,
        subprocess.Popen(["cat", "pipe"], cwd=tmp_path, stdout=got),
    ):
        write((tmp_path / "pipe", b"a" * 200_000))
    assert (tmp_path / "got").read_bytes() == b"a" * 200_000


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_in_the_midst_of_writing_leaves_nothing(tmp_path, sent):
    """A million lines are written slowly enough to be interrupted."""
    program = """
import sys, time
import command
from outputs import Outputs
from pathlib import Path

def slow():
    for number in range(600):
        print("writing", flush=True)
        yield b"line" * 100_000
        time.sleep(0.1)

def main():
    try:
        with Outputs() as out:
            out.write(Path("m"), slow())
    except KeyboardInterrupt:
        return 130

command.run(main)
"""
    (tmp_path / "m").write_bytes(b"old")
    ours = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(SCRIPTS["iscc_manifest"].parent)},
        stdout=subprocess.PIPE,
    )
    try:
        for _ in range(3):
            assert ours.stdout.readline() == b"writing\n"
        assert len(list(tmp_path.iterdir())) == 2
        ours.send_signal(sent)
        assert ours.wait(timeout=10) == 128 + sent
    finally:
        ours.kill()
        ours.wait()
        ours.stdout.close()
    assert (tmp_path / "m").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_signals_wait_until_all_outputs_are_there(tmp_path, monkeypatch):
    """The program cannot be ended between two outputs that replace their targets."""
    replaced = []

    def replace(staged: outputs.Staged) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        replaced.append(staged.path.name)

    monkeypatch.setattr(outputs, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        write((tmp_path / "a", b"a"), (tmp_path / "b", b"b"))
    assert replaced == ["a", "b"]


def refusal(outs: list[Path], inputs: list[Path]) -> str:
    with pytest.raises(InputError) as error:
        outputs.check(outs, inputs)
    return str(error.value)


def test_an_output_is_never_an_input_or_another_output(tmp_path):
    """Files are compared by identity: under other names, through links, in a directory."""
    (tmp_path / "d").mkdir()
    for name in ("a", "d/f"):
        (tmp_path / name).write_bytes(b"kept")
    (tmp_path / "soft").symlink_to(tmp_path / "a")
    (tmp_path / "hard").hardlink_to(tmp_path / "a")
    a, d, new = tmp_path / "a", tmp_path / "d", tmp_path / "new"
    for path in (a, d / ".." / "a", tmp_path / "soft", tmp_path / "hard"):
        assert "also an input or another output" in refusal([path], [a])
        assert "also an input or another output" in refusal([path, a], [])
    for path in (d / "f", d / "new", d / "x" / ".." / "new"):
        assert "also an input or another output" in refusal([path], [d])
    assert "also an input or another output" in refusal([new, tmp_path / "d" / ".." / "new"], [])
    outputs.check([new, a], [d, None, tmp_path / "missing"])


def test_what_cannot_be_written_is_refused_before_any_work(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "loop").symlink_to("loop")
    assert refusal([tmp_path / "no" / "m"], []).endswith("its directory does not exist")
    assert refusal([tmp_path], []).endswith("it is a directory")
    assert refusal([tmp_path / "a" / "m"], []).endswith("its directory does not exist")
    assert refusal([tmp_path / ("x" * 300)], []).endswith("File name too long")
    assert refusal([Path("/dev/fd/99")], []).endswith("Bad file descriptor")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert refusal([Path("m")], []).startswith('cannot write "m": ')


def test_nothing_is_taken_by_devices_without_content(tmp_path):
    outputs.check([Path("/dev/null"), Path("/dev/null")], [Path("/dev/null")])


@pytest.mark.parametrize("options", [["--manifest", "/dev/stdout"], ["--manifest", "/dev/fd/1"]])
def test_standard_output_that_is_an_input_is_refused(tmp_path, program, options):
    (tmp_path / "a").write_bytes(b"kept")
    with (tmp_path / "a").open("ab") as appended:
        done = program("iscc_manifest", "a", *options, stdout=appended)
    assert (done.returncode, (tmp_path / "a").read_bytes()) == (2, b"kept")
