"""The process that reads images: what it passes on, and how it ends."""

import errno
import gc
import os
import signal
import struct
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile

import containers
import imagewalk
import manifest
import pixels
import reader
from conftest import SCRIPTS
from containers import stream_of
from dev import processes
from images import MOST_MEMORY, NotAnImageError
from inputs import Dataset
from messages import InputError
from oracle import TEST_DATA
from reader import Reader
from samples import NEEDS_FORK

pytestmark = NEEDS_FORK
CODE = partial(pixels.code_dataset, wanted=pixels.Wanted())


@pytest.fixture
def start(monkeypatch):
    """Start readers, and end them after the test."""
    started: list[Reader] = []

    def run(ahead: int = reader.AHEAD_BYTES, projections: bool = False) -> Reader:
        monkeypatch.setattr(reader, "AHEAD_BYTES", ahead)
        started.append(Reader({}, projections))
        return started[-1]

    yield run
    for each in started:
        each.close()


def dataset(path: Path) -> Dataset:
    return Dataset((path.name,), path)


@pytest.mark.parametrize("ahead", [100, 250, 1000, 1 << 20])
def test_the_stream_comes_through_memory_of_any_size(tmp_path, monkeypatch, start, ahead):
    array = np.random.default_rng(0).integers(0, 60_000, (5, 3, 1, 24, 25), dtype="u2")
    paths = [tmp_path / name for name in ("a.tif", "b.zarr")]
    for path, write in zip(paths, (containers.tiff(), containers.ome_zarr(2)), strict=True):
        write(path, array[:, :, 0], "ZCYX")
    monkeypatch.setattr(imagewalk, "PIECE_BYTES", 120)
    monkeypatch.setattr(imagewalk, "BAND_BYTES", 300)
    process = start(ahead, projections=True)
    for path in (*paths, *paths):
        found, *pieces = process.read(dataset(path))
        [(dtype, sizes)] = found.images
        assert (dtype, sizes) == (array.dtype, array.shape)
        assert b"".join(pieces) == stream_of(array) + stream_of(array.max(axis=0, keepdims=True))
        assert all(len(piece) in (50, 100) for piece in pieces)


def test_it_goes_on_after_what_is_no_image(tmp_path, start):
    (tmp_path / "text").write_bytes(b"text")
    tifffile.imwrite(tmp_path / "good", np.ones((3, 4), "u1"))
    (tmp_path / "cut").write_bytes((tmp_path / "good").read_bytes()[:-3])
    process = start()
    for _ in range(2):
        with pytest.raises(NotAnImageError, match='"text" as an image: expected TIFF'):
            list(process.read(dataset(tmp_path / "text")))
        with pytest.raises(NotAnImageError, match='"cut" as an image: it is cut off'):
            list(process.read(dataset(tmp_path / "cut")))
        _, *pieces = process.read(dataset(tmp_path / "good"))
        assert pieces == [bytes([1]) * 12]


def test_rows_longer_than_the_memory_are_refused(tmp_path, monkeypatch, start):
    monkeypatch.setattr(imagewalk, "PIECE_BYTES", 100)
    tifffile.imwrite(tmp_path / "x", np.zeros((2, 101), "u1"))
    with pytest.raises(NotAnImageError, match="rows of at most 100 bytes, found one of 101\n"):
        list(start(ahead=100).read(dataset(tmp_path / "x")))


def test_its_end_is_noticed_and_its_exit_code_given(tmp_path, start):
    tifffile.imwrite(tmp_path / "x", np.zeros((2, 101), "u1"))
    process = Reader({}, projections=False)
    assert len(list(process.read(dataset(tmp_path / "x")))) == 2
    os.kill(process.number, signal.SIGTERM)
    with pytest.raises((EOFError, ConnectionError)):
        list(process.read(dataset(tmp_path / "x")))
    assert process.close() == -signal.SIGTERM


@pytest.mark.parametrize(
    ("does", "why"),
    [
        ("os.abort()", "the process that read it was killed by signal 6 (SIGABRT)"),
        ("forever()", "reading it takes more than the limit of 1 s of processor time"),
    ],
)
def test_a_dataset_that_ends_its_reader_is_named_and_can_be_skipped(tmp_path, program, does, why):
    """A library may crash on its input, or never finish."""
    environment = lame_library(tmp_path, does)
    lame, *others = [f"{TEST_DATA}/{name}" for name in ("cell.png", "nuclei.tif", "retina.jpg")]
    done = program("iscc_pixels", lame, *others, "--manifest", "m", env=environment)
    assert done.returncode == 2, done.stderr
    assert done.stderr == f'iscc_pixels: cannot read "{lame}" as an image: {why}\n'
    assert not (tmp_path / "m").exists()
    options = ["--manifest", "m", "--skipped", "s"]
    done = program("iscc_pixels", lame, *others, *options, env=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "s").read_text() == f"#name\treason\n{lame}\t{why}\n"
    assert [each.name for each in manifest.read(tmp_path / "m", "m")] == others


@pytest.mark.parametrize(
    ("sent", "how"),
    [
        (9, "9 (SIGKILL), probably because the machine ran out of memory"),
        (15, "15 (SIGTERM)"),
    ],
)
def test_a_reader_that_is_killed_ends_the_run(tmp_path, program, sent, how):
    """As Linux does when memory is short: the dataset being read is not to blame."""
    environment = lame_library(tmp_path, f"os.kill(os.getpid(), {sent})")
    path = TEST_DATA / "cell.png"
    arguments = [path, "--manifest", "m", "--skipped", "s"]
    done = program("iscc_pixels", *arguments, env=environment)
    assert done.returncode == 2
    assert done.stderr == (
        f'iscc_pixels: cannot read "{path}": the process that read it was killed by signal {how}\n'
    )
    assert not (tmp_path / "m").exists()
    assert not (tmp_path / "s").exists()


def test_its_end_is_known_where_we_were_told_not_to_ask(tmp_path, program):
    """If a parent program ignores SIGCHLD, so do its children, and exit statuses are lost."""
    environment = lame_library(tmp_path, "os.abort()")
    with (tmp_path / "sitecustomize.py").open("a") as stream:
        stream.write("import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n")
    done = program("iscc_pixels", TEST_DATA / "cell.png", "--manifest", "m", env=environment)
    assert done.returncode == 2, done.stderr
    assert done.stderr.endswith("the process that read it was killed by signal 6 (SIGABRT)\n")


def test_an_end_in_the_midst_of_a_message_is_an_end_too(monkeypatch):
    def answer(process: Reader, _: Dataset) -> None:
        os.write(process.connection.fileno(), struct.pack("!i", 1000) + b"the first bytes of them")
        os._exit(3)

    monkeypatch.setattr(Reader, "answer", answer)
    worker = pixels.Worker({}, CODE, projections=False, skip=True)
    why = worker(dataset(TEST_DATA / "cell.png"), lambda count: None)
    assert why == "the process that read it ended with status 3"


def test_what_failed_gives_its_memory_back_at_once(monkeypatch, start):
    def fail(*_: object) -> None:
        gc.disable()
        _half_of_the_pixels = np.empty(MOST_MEMORY * 3 // 4, "u1")
        raise ValueError("they are damaged")

    monkeypatch.setattr(reader, "open_images", fail)
    process = start()
    for _ in range(2):
        with pytest.raises(NotAnImageError, match="they are damaged"):
            list(process.read(dataset(TEST_DATA / "cell.png")))


def lame_library(tmp_path: Path, does: str, seconds: int = 1) -> dict[str, str]:
    """An environment in which PNGs are decoded by this code, with a time limit in seconds."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys, time\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'rasters':\n"
        "            import imagecodecs\n"
        "            original = imagecodecs.png_decode\n"
        f"            imagecodecs.png_decode = lambda data: {does}\n"
        "            import images\n"
        f"            images.MOST_SECONDS, images.BYTES_OF_A_SECOND = {seconds}, 1 << 40\n"
        "def forever():\n"
        "    while True:\n"
        "        pass\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    return {"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"}


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_none_is_left_when_the_first_process_goes(tmp_path, sent):
    environment = lame_library(tmp_path, "forever()", seconds=60)
    command = [sys.executable, SCRIPTS["iscc_pixels"], TEST_DATA / "cell.png", "--manifest", "m"]
    ours = psutil.Popen([*map(str, command)], cwd=tmp_path, env=environment, start_new_session=True)
    others: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 20
        while not (len(others) == 2 and others[1].cpu_times().user > 0.5):
            assert ours.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
            others = ours.children(recursive=True)
        if sent == signal.SIGINT:  # Ctrl-C reaches all of them
            os.killpg(ours.pid, sent)
        else:
            ours.send_signal(sent)
        _, alive = psutil.wait_procs([ours, *others], timeout=10)
        assert not alive
    finally:
        processes.kill(ours, *others)
    assert not (tmp_path / "m").exists()


def test_a_terminal_that_closes_does_not_end_what_nohup_started(tmp_path):
    """All processes of the terminal then get SIGHUP; the first one ignores it."""
    does = "open('begun', 'x').close() or time.sleep(2) or original(data)"
    environment = lame_library(tmp_path, does)
    with (tmp_path / "sitecustomize.py").open("a") as stream:
        stream.write("import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n")
    command = [sys.executable, SCRIPTS["iscc_pixels"], TEST_DATA / "cell.png", "--manifest", "m"]
    ours = psutil.Popen([*map(str, command)], cwd=tmp_path, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 20
        while not (tmp_path / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(ours.pid, signal.SIGHUP)
        assert ours.wait(20) == 0
    finally:
        processes.kill(ours)


@pytest.mark.parametrize("call", ["Pipe", "os.fork", "mmap.mmap"])
def test_one_that_cannot_be_started_is_an_error(tmp_path, monkeypatch, call):
    def refuse(*_: object) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(f"reader.{call}", refuse)
    worker = pixels.Worker({}, CODE, projections=False, skip=True)
    with pytest.raises(InputError, match="a process could not be started: Resource temporarily"):
        worker(dataset(TEST_DATA / "cell.png"), lambda count: None)
