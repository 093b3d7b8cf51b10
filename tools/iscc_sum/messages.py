"""Messages to the user: errors in one sentence, and the progress of long work."""

import os
import re
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

LONGEST_QUOTE = 80
SECONDS_BETWEEN_REPORTS = 5.0
SECONDS_BEFORE_BAR, SECONDS_BETWEEN_REDRAWS = 1.0, 0.1
BAR, NO_BAR = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}", "{elapsed}{postfix}"
START_OF_LINE, ERASE_TO_END = "\r", "\x1b[K"
USUAL_COLUMNS = 80
LINE_WIDTH, NO_BREAK = 72, "\u00a0"


class InputError(Exception):
    """Something from the user cannot be used; the message is one sentence for the user."""


def quote(text: str) -> str:
    """Quote a text for a message: on one line, printable, and of limited length."""
    if len(text) > LONGEST_QUOTE:
        text = text[: LONGEST_QUOTE - 3] + "..."
    return f'"{printable(text)}"'


def printable(text: str) -> str:
    """A text on one line, whose control characters are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@contextmanager
def explaining(action: str, name: str) -> Iterator[None]:
    """Turn errors of the operating system into an InputError: cannot read "a.tif": ..."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot {action} {quote(name)}: {error.strerror}") from None


def pluralize(count: int, noun: str) -> str:
    """A number and what it counts: 1 dataset, 2,000 datasets."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def in_lines(text: str) -> str:
    """A text in short lines, broken only after commas. Galaxy's reports do not wrap long lines."""
    unbroken = re.sub("(?<!,) ", NO_BREAK, text)
    filled = textwrap.fill(unbroken, LINE_WIDTH, break_on_hyphens=False)
    return filled.replace(NO_BREAK, " ") + "\n"


def say(line: str, stream: TextIO | None, end: str = "\n") -> OSError | None:
    """Write a line to a standard stream, which may be closed (None); return the error, if any.

    After an error, the stream is redirected to nowhere, or the interpreter would fail again at
    exit.
    """
    try:
        if stream is not None:
            print(line, file=stream, end=end, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return error
    return None


class Progress:
    """Reports progress on standard error: a line every few seconds.

    On a terminal, it is a bar that is drawn again and again, if tqdm is installed. The last one
    stays until `erase_bar`.
    """

    bar_is_drawn = False  # by whichever of them

    def __init__(self):
        self.start = self.start_of_part = self.last_call = self.last_report = time.monotonic()
        self.share = 0.0
        self.draws = is_terminal(sys.stderr)
        self.wait = SECONDS_BEFORE_BAR if self.draws else SECONDS_BETWEEN_REPORTS

    def report(
        self, describe: Callable[[float], str], share: float | None = None, beside_bar: str = ""
    ) -> None:
        """Write `describe(seconds since the start)`, if it is time.

        `share` is the part of the work that is done, from 0 to 1, if that is known. If it is less
        than before, other work has begun. A bar shows share and times. The description is beside
        it, or `beside_bar`, which need not repeat them.
        """
        now = time.monotonic()
        if share is not None:
            if share < self.share:
                self.start_of_part = self.last_call
            self.share = share
        self.last_call = now
        if now - self.last_report < self.wait:
            return
        if self.draws:
            try:
                import tqdm  # need not be installed, and takes a while
            except ImportError:
                self.draws, self.wait = False, SECONDS_BETWEEN_REPORTS
                return
            self.wait = SECONDS_BETWEEN_REDRAWS
            text = beside_bar or describe(now - self.start)
            draw_bar(tqdm.tqdm.format_meter, share, now - self.start_of_part, text)
        else:
            say(describe(now - self.start), sys.stderr)
        self.last_report = now


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal on which lines can be erased."""
    return stream is not None and stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def draw_bar(
    format_meter: Callable[..., str], share: float | None, seconds: float, text: str
) -> None:
    """Draw a bar on the last line of the terminal, which it never fills.

    The cursor waits at the start of the line: what Ctrl-C shows there is erased with the bar.
    """
    encoding = sys.stderr.encoding
    bar = format_meter(
        0 if share is None else min(share, 1),
        None if share is None else 1,
        seconds,
        ncols=max(1, columns_of(sys.stderr) - 1),
        ascii=not encoding.lower().startswith("utf"),
        bar_format=NO_BAR if share is None else BAR,
        postfix=printable(text).encode(encoding, "backslashreplace").decode(encoding),
    )
    Progress.bar_is_drawn = True
    say(START_OF_LINE + bar + ERASE_TO_END, sys.stderr, end=START_OF_LINE)


def columns_of(terminal: TextIO) -> int:
    with suppress(OSError):
        if columns := os.get_terminal_size(terminal.fileno()).columns:
            return columns
    return USUAL_COLUMNS


def erase_bar() -> None:
    """Erase the bar of a Progress, if there is one."""
    if Progress.bar_is_drawn:
        Progress.bar_is_drawn = False
        say(START_OF_LINE + ERASE_TO_END, sys.stderr, end="")
