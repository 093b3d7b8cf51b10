"""Check datasets against a manifest: which are intact, changed, missing, or not listed.

Every dataset is read and coded again and compared with the entry of its name. The report has a
line for each of them, in input order, and after them one for each entry that has no dataset:

    OK         the same bytes as when the manifest was made
    CHANGED    other bytes; the distance says how much they differ, where sizes allow to say it
    EXTRA      a dataset that the manifest does not list
    MISSING    an entry of the manifest without a dataset
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import codes
import coding
import manifest

OK = "OK"
CHANGED = "CHANGED"
MISSING = "MISSING"
EXTRA = "EXTRA"
STATUSES = (OK, CHANGED, MISSING, EXTRA)


class Finding(NamedTuple):
    """A line of the report. `distance` of `bits` bits is that of the Data-Codes."""

    name: str
    status: str
    expected: str | None = None
    actual: str | None = None
    distance: int | None = None
    bits: int | None = None


COLUMNS = ("#name", *Finding._fields[1:])


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    try:
        source = expected(args)
        listed = by_name(manifest.read(source.path, source.name), manifest.shown(source.name))
        datasets = coding.datasets(args)
        names = by_name(datasets, "the datasets")
        inputs = [args.inputs, source.path, *(each.path for each in datasets)]
        manifest.check_outputs([args.report], inputs)
        entries = coding.code_all(datasets, jobs=args.jobs)
        present = dict(zip(names, entries, strict=True))
        findings = audit(listed, present)
        if args.report:
            manifest.write_table(args.report, COLUMNS, findings)
        count = Counter(finding.status for finding in findings)
        coding.finish(", ".join(f"{count[status]:,} {status}" for status in STATUSES))
    except manifest.InputError as error:
        print(f"iscc_verify: {error}", file=sys.stderr)
        return 2
    return 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = coding.Parser(
        prog="iscc_verify",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    coding.add_arguments(parser)
    parser.add_argument(
        "--manifest",
        metavar="M",
        help="the manifest to check against; needed with files, a Galaxy tool has it in its inputs",
    )
    parser.add_argument("--report", type=Path, metavar="OUT", help="table of what was found")
    args = parser.parse_args(argv)
    if args.files and not args.manifest:
        parser.error("the argument --manifest is needed")
    return args


def expected(args: argparse.Namespace) -> coding.Dataset:
    """The manifest that says what the datasets should be."""
    if args.manifest:
        return coding.named_by_path(args.manifest)
    sources = coding.required_from_galaxy(args.inputs, "manifest")
    if len(sources) != 1:
        raise manifest.InputError(f"expected one manifest, found {len(sources)}")
    return sources[0]


def by_name(items: Iterable, where: str) -> dict:
    """Entries or datasets under their names, in order; a name that stands twice is an error."""
    named: dict = {}
    for item in items:
        if item.name in named:
            raise manifest.InputError(
                f"{where}: {manifest.shown(item.name)} stands there twice; "
                "names have to be different to be told apart"
            )
        named[item.name] = item
    return named


def audit(listed: dict[str, manifest.Entry], present: dict[str, manifest.Entry]) -> list[Finding]:
    """Compare the entries of a manifest with those of the datasets as they are now."""
    findings = [compare(listed.get(name), entry) for name, entry in present.items()]
    missing = (entry for name, entry in listed.items() if name not in present)
    return findings + [Finding(entry.name, MISSING, expected=entry.iscc) for entry in missing]


def compare(listed: manifest.Entry | None, present: manifest.Entry) -> Finding:
    """What there is to say of one dataset."""
    if listed is None:
        return Finding(present.name, EXTRA, actual=present.iscc)
    expected = codes.parse(listed.iscc)
    actual = codes.parse(present.iscc)
    same_code = (
        actual.data[: len(expected.data)] == expected.data
        and actual.instance[: len(expected.instance)] == expected.instance
    )
    same_size = listed.filesize in (None, present.filesize)
    same_datahash = listed.datahash in (None, present.datahash)
    if same_code and same_size and same_datahash:
        return Finding(present.name, OK, listed.iscc, present.iscc)
    if listed.alike_means_something and present.alike_means_something:
        measured = codes.distance(expected.data, actual.data)
        return Finding(present.name, CHANGED, listed.iscc, present.iscc, *measured)
    return Finding(present.name, CHANGED, listed.iscc, present.iscc)


if __name__ == "__main__":
    sys.exit(main())
