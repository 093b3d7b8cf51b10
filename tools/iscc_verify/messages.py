"""Messages to the user: errors in one sentence, and the progress of long work."""

import os
import re
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

LONGEST_QUOTE = 80
SECONDS_BETWEEN_REPORTS = 5.0
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


def say(line: str, stream: TextIO | None) -> OSError | None:
    """Write a line to a standard stream, which may be closed (None); return the error, if any.

    After an error, the stream is redirected to nowhere, or the interpreter would fail again at
    exit.
    """
    try:
        if stream is not None:
            print(line, file=stream, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return error
    return None


class Progress:
    """Reports progress on standard error, every few seconds."""

    def __init__(self):
        self.start = self.last_report = time.monotonic()

    def report(self, describe: Callable[[float], str]) -> None:
        """Write `describe(seconds since the start)`, if it is time."""
        now = time.monotonic()
        if now - self.last_report >= SECONDS_BETWEEN_REPORTS:
            self.last_report = now
            say(describe(now - self.start), sys.stderr)
