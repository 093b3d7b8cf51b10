"""Progress of long work: on a terminal a bar that leaves no trace, elsewhere lines."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import unicodedata
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tifffile
from tqdm import tqdm

import messages
from conftest import SCRIPTS
from oracle import HEADER, manifest_line

DRAWN = re.compile(r"\r([^\r\n]*)\x1b\[K\r(?!\x1b)")  # a bar, with the cursor back at the start
AT_ONCE = "messages.SECONDS_BEFORE_BAR = messages.SECONDS_BETWEEN_REDRAWS = 0\n"
NEVER = "messages.SECONDS_BEFORE_BAR = 1e9\n"
LINE = r"[0-3] of 3 datasets, 0\.0 of 0\.0 GB, [\d,]+ MB/s"


class Shown(NamedTuple):
    """How a program ended, and all that it wrote to its terminal."""

    status: int
    output: str

    @property
    def bars(self) -> list[str]:
        return DRAWN.findall(self.output)

    @property
    def screen(self) -> list[str]:
        """What is seen at the end, on a terminal that is wide enough."""
        lines, column = [""], 0
        for part in re.findall(r"\x1b\[K|.", self.output, re.S):
            line = lines[-1]
            if part == "\n":
                lines.append("")
            elif part == "\r":
                column = 0
            elif part == "\x1b[K":
                lines[-1] = line[:column]
            else:
                lines[-1] = line[:column].ljust(column) + part + line[column + 1 :]
                column += 1
        return "\n".join(lines).rstrip().splitlines()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with three files of a megabyte, which are read in four pieces each."""
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode() * 1_000_000)
    return tmp_path


def program(name: str, *arguments: str) -> str:
    return f"import {name}; command.run(lambda: {name}.main({arguments!r}))\n"


MANIFEST = program("iscc_manifest", *"abc", "--manifest", "m")


def python(lines: str) -> list[str]:
    """Run a few lines with the modules of the scripts."""
    folders = [str(SCRIPTS[name].parent) for name in ("iscc_manifest", "iscc_similarity")]
    start = f"import sys; sys.path[1:1] = {folders}\nimport command, messages\n"
    return [sys.executable, "-c", start + lines]


def on_terminal(folder: Path, lines: str, columns: int = 100, keys: bytes = b"", **env) -> Shown:
    """Run a few lines on a terminal; type the keys as soon as there is a bar."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        python(lines),
        cwd=folder,
        env=os.environ | {"TERM": "xterm", "PYTHONIOENCODING": "utf-8"} | env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    written = b""
    try:
        while piece := read(ours):
            written += piece
            if keys and b"\x1b[K" in written:
                os.write(ours, keys)
                keys = b""
        return Shown(process.wait(60), written.decode())
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read(terminal: int) -> bytes:
    """What a program has written; nothing after its end, for which Linux has an error."""
    try:
        return os.read(terminal, 10_000)
    except OSError:
        return b""


# A bar on a terminal


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_terminal_shows_a_bar_until_the_summary(files, processes):
    lines = program("iscc_manifest", *"abc", "--manifest", "m", "--processes", processes)
    shown = on_terminal(files, AT_ONCE + lines)
    assert shown.status == 0
    bar = re.compile(rf" *(\d+)%\|[ \u2588-\u258f]*\| \d\d:\d\d<(?:\?|\d\d:\d\d), {LINE}")
    percent = [int(bar.fullmatch(each)[1]) for each in shown.bars]
    assert percent == sorted(percent)
    assert percent[-1] == 100
    if processes == "1":
        assert percent == [round(100 * done / 3e6) for done in pieces_of(3)]
    [summary] = shown.screen
    assert re.fullmatch(r"3 datasets, 3,000,000 bytes, \d\.\d s", summary)
    assert {len(each) for each in shown.bars} == {99}


def pieces_of(count: int) -> list[int]:
    """How many bytes have been read after each piece of some files of a megabyte."""
    ends = [262_144, 524_288, 786_432, 1_000_000]
    return [file * 1_000_000 + end for file in range(count) for end in ends]


@pytest.mark.parametrize("columns", [1, 2, 10, 40, 60, 300])
def test_a_bar_never_fills_a_line(files, columns):
    shown = on_terminal(files, AT_ONCE + MANIFEST, columns)
    assert shown.status == 0
    assert len(shown.bars) == 12
    assert {len(bar) for bar in shown.bars} == {max(1, columns - 1)}


def test_a_terminal_of_unknown_width_has_80_columns(files):
    shown = on_terminal(files, AT_ONCE + MANIFEST, columns=0)
    assert {len(bar) for bar in shown.bars} == {79}


@pytest.mark.parametrize(
    ("error", "status", "last"),
    [
        ("messages.InputError('no such thing')", 2, "iscc_manifest: no such thing"),
        ("MemoryError", 2, "iscc_manifest: not enough memory: choose fewer datasets"),
        ("KeyError('bug')", 70, "KeyError: 'bug'"),
        ("SystemExit(143)", 143, None),
    ],
)
def test_a_bar_is_gone_before_an_error(files, error, status, last):
    fail = f"""
def fail(*_): raise {error}
import manifest
manifest.lines = fail
"""
    shown = on_terminal(files, AT_ONCE + fail + MANIFEST)
    assert shown.status == status
    assert len(shown.bars) == 12
    assert shown.screen[-1:] == ([last] if last else [])
    assert not re.search(r"\d%\|", "".join(shown.screen))
    if status == 2:
        assert shown.screen == [last]


def test_a_bar_is_gone_after_an_interrupt(tmp_path):
    """With the ^C that the terminal shows."""
    with (tmp_path / "a").open("wb") as sparse:
        sparse.truncate(2**36)
    lines = AT_ONCE + program("iscc_manifest", "a", "--manifest", "m")
    shown = on_terminal(tmp_path, lines, keys=b"\x03")
    assert "^C" in shown.output
    assert (shown.status, shown.screen) == (130, ["iscc_manifest: interrupted"])


@pytest.mark.parametrize("share", [None, 0, 0.5, 1, 1.01])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_no_text_breaks_a_bar(tmp_path, share, encoding):
    texts = ("\x1b[2J\r\n\udcff\t", "{bar} {0} %s {", "\u4e2d\u00e9" * 100, "")
    lines = f"for text in {texts!a}:\n"
    lines += f"    messages.Progress().report(lambda seconds: text, {share})\n"
    shown = on_terminal(tmp_path, AT_ONCE + lines, 60, PYTHONIOENCODING=encoding)
    assert shown.status == 0
    assert len(shown.bars) == 4
    for bar in shown.bars:
        assert bar.isprintable()
        assert sum(1 + (unicodedata.east_asian_width(each) in "WF") for each in bar) < 60
    assert r"\x1b[2J\r\n\udcff\t" in shown.bars[0]
    assert "{bar} {0} %s {" in shown.bars[1]
    assert ("\u4e2d" in shown.bars[2]) == (encoding == "utf-8")
    start = "00:0" if share is None else f"{min(share, 1):4.0%}|"
    assert all(bar.startswith(start) for bar in shown.bars)


def test_comparisons_have_a_bar_each(tmp_path):
    wide = [manifest_line(name, name.encode() * 3000) for name in "ab"]
    narrow = [manifest_line(name, name.encode() * 3000, narrow=True) for name in "cd"]
    (tmp_path / "m").write_text(HEADER + "".join(wide + narrow))
    shown = on_terminal(tmp_path, AT_ONCE + program("iscc_similarity", "--manifest", "m"))
    bars = [re.fullmatch(r"100%\|.*\| [\d:]+<[\d:]+, compared (.*)", bar)[1] for bar in shown.bars]
    kinds = ["narrow with narrow", "narrow with wide", "wide with wide"]
    assert bars == [f"{kind} codes" for kind in kinds]
    assert shown.screen == ["4 datasets: 0 exact pairs, 0 near pairs, 0 clusters"]


def test_images_have_a_bar_of_their_files(tmp_path):
    """Files count by their sizes: of the first, all that is known is that it has been read."""
    for name in "ab":
        tifffile.imwrite(tmp_path / name, np.ones((50, 500), "u1"))
    one_by_one = "import coding; coding.PORTION_DATASETS = 1\n"
    lines = AT_ONCE + one_by_one + program("iscc_pixels", *"ab", "--manifest", "m")
    bars = on_terminal(tmp_path, lines).bars
    found = [re.match(r" *(\d+)%\|.*, (\d) of 2 datasets", bar).groups() for bar in bars]
    assert list(dict.fromkeys(found)) == [("0", "0"), ("50", "1")]


# When


class Clock:
    """A clock that only goes on when it is told to; what is drawn and said, and when."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.now = 100.0
        self.drawn: list[tuple[float, float, float]] = []
        self.said: list[float] = []
        monkeypatch.setattr(messages.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(messages, "draw_bar", self.draw)
        monkeypatch.setattr(messages, "say", lambda line, stream: self.said.append(self.now))

    def draw(self, format_meter: Callable, share: float, seconds: float, text: str) -> None:
        assert format_meter == tqdm.format_meter
        self.drawn.append((self.now, share, seconds))


@pytest.fixture
def clock(monkeypatch) -> Clock:
    return Clock(monkeypatch)


def test_a_bar_is_drawn_after_a_second_and_ten_times_a_second(clock, monkeypatch):
    monkeypatch.setattr(messages, "is_terminal", lambda stream: True)
    progress = messages.Progress()
    for step in range(1, 1024):  # of a 256th of a second, which has no rounding errors
        clock.now = 100 + step / 256
        progress.report(lambda seconds: "", step / 1024)
    assert not clock.said
    times = [now for now, _, _ in clock.drawn]
    assert times[0] == 101
    assert {b - a for a, b in pairwise(times)} == {26 / 256}


def test_lines_are_written_every_five_seconds(clock, monkeypatch):
    monkeypatch.setattr(messages, "is_terminal", lambda stream: False)
    progress = messages.Progress()
    for step in range(1, 80):
        clock.now = 100 + step / 4
        progress.report(lambda seconds: "", step / 80)
    assert not clock.drawn
    assert clock.said == [105, 110, 115]


def test_the_time_that_is_left_is_that_of_the_present_part(clock, monkeypatch):
    monkeypatch.setattr(messages, "is_terminal", lambda stream: True)
    progress = messages.Progress()
    for share in (0.5, 1, 0.2, 0.8):
        clock.now += 2
        progress.report(lambda seconds: "", share)
    assert clock.drawn == [(102, 0.5, 2), (104, 1, 4), (106, 0.2, 2), (108, 0.8, 4)]


# Lines


def without_tqdm(folder: Path, instead: str) -> str:
    (folder / "modules").mkdir()
    (folder / "modules" / "tqdm.py").write_text(f"raise {instead}")
    return "sys.path.insert(0, 'modules')\n"


@pytest.mark.parametrize("missing", ["tqdm", "a terminal that erases"])
def test_lines_where_no_bar_can_be_drawn(files, missing):
    lines = AT_ONCE + "messages.SECONDS_BETWEEN_REPORTS = 0\n" + MANIFEST
    if missing == "tqdm":
        shown = on_terminal(files, without_tqdm(files, "ImportError") + lines)
    else:
        shown = on_terminal(files, lines, TERM="dumb")
    assert shown.status == 0
    *reports, summary = shown.screen
    assert len(reports) == (11 if missing == "tqdm" else 12)  # the first finds out
    assert all(re.fullmatch(LINE, line) for line in reports)
    assert summary.startswith("3 datasets, ")
    assert "\x1b" not in shown.output


def test_lines_in_a_file_and_tqdm_is_left_alone(files):
    """Standard output may be a terminal."""
    lines = "messages.SECONDS_BETWEEN_REPORTS = 0\nsys.stderr = open('log', 'w')\n"
    shown = on_terminal(files, without_tqdm(files, "SystemExit(1)") + AT_ONCE + lines + MANIFEST)
    assert (shown.status, shown.bars) == (0, [])
    reports = (files / "log").read_text().splitlines()
    assert len(reports) == 12
    assert all(re.fullmatch(LINE, line) for line in reports)


def test_short_work_does_without_tqdm(files):
    shown = on_terminal(files, without_tqdm(files, "SystemExit(1)") + NEVER + MANIFEST)
    assert shown.status == 0
    assert "\x1b" not in shown.output
    [summary] = shown.screen
    assert summary.startswith("3 datasets, ")
