"""What the scripts share as programs: options, exit status, signals.

Exit status: 0 done; 1 a mismatch or an invalid seal, if that has to fail; 2 bad usage or bad input,
with a one-sentence message on standard error; 70 a bug, with a traceback; 130 and 143 interrupted.
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
from messages import InputError, erase_bar, printable, say
from startup import BUG

MISMATCH, BAD_INPUT, INTERRUPTED = 1, 2, 130
MOST_PROCESSES = 1024


class Outcome(NamedTuple):
    """A summary line for standard output, and a complaint if the program has to fail."""

    summary: str
    complaint: str = ""


class Parser(argparse.ArgumentParser):
    """Parses the options of a script, and keeps track of those that name output files."""

    def __init__(self, prog: str, description: str):
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(prog=prog, description=description, formatter_class=formatter)
        self.outputs: list[str] = []

    def add_output(self, option: str, what: str, required: bool = False) -> None:
        """Add an option that names an output file."""
        action = self.add_argument(option, type=Path, metavar="OUT", help=what, required=required)
        self.outputs.append(action.dest)

    def add_inputs(self, what: str, required: bool = True) -> argparse._MutuallyExclusiveGroup:
        """Add the two ways to name inputs: files, or a Galaxy form."""
        group = self.add_mutually_exclusive_group(required=required)
        group.add_argument(
            "--inputs", type=Path, metavar="JSON", help="a Galaxy tool form, instead of files"
        )
        group.add_argument("files", nargs="*", default=[], metavar="FILE", help=what)
        return group

    def add_datasets(self, required: bool = True) -> argparse._MutuallyExclusiveGroup:
        """Add the two ways to name datasets, and --processes."""
        group = self.add_inputs("files or directories to read", required)
        self.add_argument(
            "--processes",
            type=integer(1, MOST_PROCESSES),
            default=1,
            metavar="N",
            help="number of processes that share the work (default %(default)s)",
        )
        return group

    def read(self, argv: list[str] | None) -> argparse.Namespace:
        """Parse the options; `outputs` of the result are all output files."""
        args = self.parse_args(argv)
        paths = [getattr(args, name) for name in self.outputs]
        args.outputs = [path for path in paths if path is not None]
        return args

    def error(self, message: str) -> NoReturn:
        raise InputError(printable(message))


def integer(least: int, most: int) -> Callable[[str], int]:
    """An argparse type for integers in a range."""

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
    """Parse the arguments, do the work, report the outcome, and return the exit status."""
    complaint, status = "", 0
    try:
        args = parser.read(argv)
        try:
            outcome = work(args)
        finally:
            erase_bar()
        # If an output goes to standard output, the next program expects nothing else there.
        data_goes_there = any(map(outputs.is_standard_output, args.outputs))
        failed = say(outcome.summary, sys.stderr if data_goes_there else sys.stdout)
        if failed and not data_goes_there and not isinstance(failed, BrokenPipeError):
            raise InputError(f"cannot write to standard output: {failed.strerror}")
        if outcome.complaint:
            complaint, status = outcome.complaint, MISMATCH
    except InputError as error:
        complaint, status = str(error), BAD_INPUT
    except MemoryError:
        complaint, status = "not enough memory: choose fewer datasets", BAD_INPUT
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
    for descriptor in range(3):  # or a file opened later would become standard output
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)
    if sys.stdout is not None:  # names may have letters that it cannot encode
        sys.stdout.reconfigure(errors="backslashreplace")
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, unwind)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # or the exit status of workers would be lost
    gc.disable()  # searching a million entries for cycles takes seconds, and they have none
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # raised outside `execute`
        sys.exit(INTERRUPTED)


def unwind(number: int, frame: object) -> NoReturn:
    """Exit by an exception, so that no temporary file and no worker is left."""
    sys.exit(128 + number)
