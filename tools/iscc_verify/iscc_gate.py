"""Stop a workflow if something does not match: fail if a table of mismatches has lines.

iscc_verify writes its report, and stays green in Galaxy so that people can read it. This tool reads
the mismatches, and passes a dataset on if there are none. What needs that dataset does not run
otherwise.
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
import manifest
import outputs
from audit import Finding
from command import Outcome
from inputs import Dataset, Form
from messages import InputError, explaining, quote

KEYS = ("mismatches", "pass_on")
FAIL, REPORT = "fail", "report"


def main(argv: list[str] | None = None) -> int:
    return command.execute(make_parser(), stop, argv)


def make_parser() -> command.Parser:
    parser = command.Parser("iscc_gate", __doc__)
    parser.add_inputs("the mismatches that iscc_verify wrote, and the file to pass on")
    parser.add_output("--passed-on", "a copy of that file, if nothing is a mismatch", required=True)
    parser.add_argument(
        "--on-mismatch",
        choices=[FAIL, REPORT],
        default=FAIL,
        help="fail if there are mismatches, or pass the file on all the same (default %(default)s)",
    )
    return parser


def stop(args: argparse.Namespace) -> Outcome:
    """Read the mismatches, and pass the file on unless there are any."""
    if args.inputs:
        form = Form(args.inputs, KEYS)
        given = [each for key in KEYS for each in form.datasets(form.one_of(key))]
    else:
        given = [inputs.from_path(path) for path in args.files]
    if len(given) != 2:
        raise InputError(
            "expected two files, the mismatches that ISCC verify wrote and the file to pass on, "
            f"found {len(given)}"
        )
    outputs.check(args.outputs, [args.inputs, *(each.path for each in given)])
    table, passed = given
    culprits = list(read_mismatches(table))
    said = audit.describe(culprits) if culprits else "everything matches"
    if culprits and args.on_mismatch == FAIL:
        return Outcome(said, said)
    with outputs.Outputs() as out:
        out.write(args.passed_on, read_pieces(passed))
    return Outcome(said)


def read_mismatches(table: Dataset) -> Iterator[Finding]:
    """What does not match, by a table of mismatches, or by a whole report."""
    header = "\t".join(audit.COLUMNS)
    found = manifest.read_lines(table.path, table.name)
    _, first = next(found, (0, ""))
    if first != header:
        raise InputError(
            f"{quote(table.name)}: expected the mismatches that ISCC verify writes, a table with "
            f"the columns {', '.join(audit.COLUMNS).lstrip('#')}, found {quote(first)}"
        )
    for number, line in found:
        row = dict(zip(audit.COLUMNS, line.split("\t"), strict=False))
        if line.count("\t") != header.count("\t") or row["status"] not in audit.STATUSES:
            raise InputError(
                f"{quote(table.name)}, line {number}: expected {len(audit.COLUMNS)} columns as in "
                f"the header, with a status, found {quote(line)}"
            )
        if row["status"] != audit.OK:
            yield Finding(manifest.unescape(row["#name"]), row["status"], line=row["line"] or None)


def read_pieces(source: Dataset) -> Iterator[bytes]:
    with explaining("read", source.name), source.path.open("rb") as stream:
        while piece := stream.read(outputs.PIECE_BYTES):
            yield piece


if __name__ == "__main__":
    command.run(main)
