"""What the scripts have in common as programs: options, exit status, signals.

Exit status: 0 done; 1 something does not match, or a seal does not hold, and that has to fail; 2
bad usage or bad input, with one sentence on standard error; 70 a bug, with a traceback; 130 and 143
interrupted.
"""

import argparse
import gc
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

import outputs
from messages import InputError, say
from startup import BUG

MISMATCH, BAD_INPUT, INTERRUPTED = 1, 2, 130
MOST_PROCESSES = 1024


class Outcome(NamedTuple):
    """What was done, in a line for standard output; and why the program fails all the same."""

    summary: str
    complaint: str = ""


class Parser(argparse.ArgumentParser):
    """Reads the options of a script, and knows which of them are files to write."""

    def __init__(self, prog: str, description: str):
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(prog=prog, description=description, formatter_class=formatter)
        self.outputs: list[str] = []

    def add_output(self, option: str, what: str, required: bool = False) -> None:
        """Add an option that names a file to write."""
        action = self.add_argument(option, type=Path, metavar="OUT", help=what, required=required)
        self.outputs.append(action.dest)

    def add_inputs(self, what: str) -> argparse._MutuallyExclusiveGroup:
        """Add the two ways to name what is to be read: files, and a Galaxy form."""
        group = self.add_mutually_exclusive_group(required=True)
        group.add_argument(
            "--inputs", type=Path, metavar="JSON", help="the form of a Galaxy tool, not files"
        )
        group.add_argument("files", nargs="*", default=[], metavar="FILE", help=what)
        return group

    def add_datasets(self) -> argparse._MutuallyExclusiveGroup:
        """Add the two ways to name datasets, and --jobs."""
        group = self.add_inputs("files or directories to read")
        self.add_argument(
            "--jobs",
            type=integer(1, MOST_PROCESSES),
            default=1,
            metavar="N",
            help="processes that share the work (default %(default)s)",
        )
        return group

    def read(self, argv: list[str] | None) -> argparse.Namespace:
        """Read the options; the files to write are in `outputs` as well."""
        args = self.parse_args(argv)
        paths = [getattr(args, name) for name in self.outputs]
        args.outputs = [path for path in paths if path is not None]
        return args

    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def integer(least: int, most: int) -> Callable[[str], int]:
    """A type of argument, for argparse."""

    def read(text: str) -> int:
        if not (re.fullmatch("[0-9]{1,18}", text) and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(
                f"{text[:40]!r} is not an integer between {least} and {most:,}"
            )
        return int(text)

    return read


def execute(
    parser: Parser, work: Callable[[argparse.Namespace], Outcome], argv: list[str] | None
) -> int:
    """Do the work that the arguments ask for, say how it ended, and give the exit status."""
    complaint, status = "", 0
    try:
        args = parser.read(argv)
        outcome = work(args)
        # Where an output goes to standard output, the next program expects nothing else there.
        data_goes_there = any(map(outputs.is_standard_output, args.outputs))
        failed = say(outcome.summary, sys.stderr if data_goes_there else sys.stdout)
        if failed and not data_goes_there and not isinstance(failed, BrokenPipeError):
            raise InputError(f"cannot write to standard output: {failed.strerror}")
        if outcome.complaint:
            complaint, status = outcome.complaint, MISMATCH
    except InputError as error:
        complaint, status = str(error), BAD_INPUT
    except MemoryError:
        complaint, status = "there is not enough memory: choose fewer datasets", BAD_INPUT
    except KeyboardInterrupt:
        complaint, status = "interrupted", INTERRUPTED
    except Exception:
        say(traceback.format_exc(), sys.stderr)
        return BUG
    if complaint:
        say(f"{parser.prog}: {complaint}", sys.stderr)
    return status


def run(main: Callable[[], int]) -> NoReturn:
    """Run a script's main function as a program."""
    for descriptor in range(3):  # or the first file that is opened would be standard output
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, unwind)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # or nobody could say how a worker ended
    gc.disable()  # a million entries have no cycles, but looking for them takes seconds
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # before `execute` looks out for it, or after
        sys.exit(INTERRUPTED)


def unwind(number: int, frame: object) -> NoReturn:
    """End in order: no temporary file and no worker is left."""
    sys.exit(128 + number)
