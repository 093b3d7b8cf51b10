"""Stop a workflow if something does not match.

iscc_verify writes its report and stays green in Galaxy, so that people can read it. This tool reads
the summary of iscc_verify, and fails if there are mismatches, or if no dataset is OK. Otherwise it
passes a dataset on. Steps of a workflow that need this dataset run only then.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))  # where PYTHONSAFEPATH leaves it out
    import startup

    startup.begin()

import argparse
from collections.abc import Iterator

import audit
import command
import inputs
import listing
import outputs
from command import Outcome
from inputs import Dataset, Form
from messages import InputError, explaining, quote

KEYS = ("summary", "pass_on")
FAIL, REPORT = "fail", "report"
MOST_BYTES = 100_000  # of a summary, in which the first mismatches have names
LONGEST_FOUND = 200  # bytes of what is no summary, for a message


def main(argv: list[str] | None = None) -> int:
    return command.execute(make_parser(), stop, argv)


def make_parser() -> command.Parser:
    parser = command.Parser("iscc_gate", __doc__)
    parser.add_inputs("the summary that iscc_verify wrote, and the file to pass on")
    parser.add_output("--passed-on", "a copy of that file, if nothing is a mismatch", required=True)
    parser.add_argument(
        "--on-mismatch",
        choices=[FAIL, REPORT],
        default=FAIL,
        help="fail if something does not match, or pass the file on all the same (default "
        "%(default)s)",
    )
    return parser


def stop(args: argparse.Namespace) -> Outcome:
    """Read the summary, and pass the file on unless something does not match."""
    if args.inputs:
        form = Form(args.inputs, KEYS)
        given = [each for key in KEYS for each in form.datasets(form.one_of(key))]
    else:
        given = [inputs.from_path(path) for path in args.files]
    if len(given) != 2:
        raise InputError(
            "expected two files, the summary that ISCC verify wrote and the file to pass on, found "
            f"{len(given)}"
        )
    outputs.check(args.outputs, [args.inputs, *(each.path for each in given)])
    source, passed = given
    said = why_not(source)
    if said and args.on_mismatch == FAIL:
        return Outcome(said, said)
    with outputs.Outputs() as out:
        out.write(args.passed_on, read_pieces(passed))
    return Outcome(said or "no mismatches")


def why_not(source: Dataset) -> str:
    """What does not match, by a summary; empty if nothing. Raises InputError."""
    summary = read_summary(source)
    first, ignored = summary["first_mismatches"], summary["ignored"]
    mismatches = sum(
        summary[status]
        for status in audit.STATUSES
        if status != audit.OK and status.lower() not in ignored
    )
    if mismatches != summary["mismatches"] or len(first) > mismatches:
        raise refusal(source, f"{mismatches:,} mismatches, as its counts say", "others")
    if mismatches:
        return audit.describe(first, mismatches)
    if not summary[audit.OK]:
        return "no dataset is OK, so nothing was found intact"
    return ""


def read_summary(source: Dataset) -> dict:
    """The summary in a file, with values of the right types. Raises InputError."""
    with explaining("read", source.name), source.path.open("rb") as stream:
        content = stream.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise refusal(source, f"at most {MOST_BYTES:,} bytes", "more")
    try:
        summary = listing.parse_json(content.decode("utf-8"))
    except ValueError as error:
        raise refusal(source, "JSON", str(error)) from None
    numbers, lists = ("datasets", *audit.STATUSES, "mismatches"), ("ignored", "first_mismatches")
    if not isinstance(summary, dict) or set(summary) != {*numbers, *lists}:
        found = content[:LONGEST_FOUND].decode(errors="replace")
        raise refusal(source, f"the keys {', '.join((*numbers, *lists))}", found)
    for key in numbers:
        if type(summary[key]) is not int or summary[key] < 0:
            raise refusal(source, f"a number as {key}", str(summary[key]))
    for key in lists:
        texts = summary[key]
        if not (isinstance(texts, list) and all(isinstance(text, str) for text in texts)):
            raise refusal(source, f"a list of texts as {key}", str(texts))
    return summary


def refusal(source: Dataset, expected: str, found: str) -> InputError:
    return InputError(
        f"{quote(source.name)}: expected the summary of ISCC verify with {expected}, found "
        f"{quote(found)}; choose the summary, in JSON, of this version of ISCC verify"
    )


def read_pieces(source: Dataset) -> Iterator[bytes]:
    """The bytes of a file, in pieces."""
    with explaining("read", source.name), source.path.open("rb") as stream:
        while piece := stream.read(outputs.PIECE_BYTES):
            yield piece


if __name__ == "__main__":
    command.run(main)
