"""Check datasets against a manifest: which are intact, changed, moved, missing or extra.

Every dataset is read and coded again and compared with the entries of the manifest, which may have
any of several formats. Alternatively, the current state is taken from other manifests and nothing
is read again; with manifests of pixels, this shows whether a conversion changed an image. The
report has one line per dataset, in input order, then one per line of the manifest without a
dataset:

    OK         the same bytes as when the manifest was made; or the same pixels, type and sizes
    CHANGED    other bytes or pixels; the distance says how much they differ, where sizes allow it
    MOVED      the content is listed, but under another name
    EXTRA      a dataset that the manifest does not list
    MISSING    an entry of the manifest without a dataset
    DUPLICATE  a name that another dataset, or another line, has already
    INVALID    a line that is not an entry, or whose code is of the other kind (bytes, pixels)
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))  # missing if PYTHONSAFEPATH is set
    import startup

    startup.begin()

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import audit
import coding
import command
import inputs
import listing
import lists
import manifest
import outputs
from audit import Directories, Finding
from command import Outcome
from inputs import Dataset, Form
from manifest import Entry
from messages import InputError, in_lines, pluralize, quote
from report import Report

if TYPE_CHECKING:
    from rows import LongListing

FAIL, REPORT = "fail", "report"
CODES_IN_FORM = "the codes in the form"


def main(argv: list[str] | None = None) -> int:
    return command.execute(make_parser(), verify, argv)


def make_parser() -> command.Parser:
    parser = command.Parser("iscc_verify", __doc__)
    parser.add_datasets().add_argument(
        "--found",
        action="append",
        default=[],
        metavar="M",
        help="a manifest of the current data, instead of files; may be given several times",
    )
    parser.add_argument(
        "--manifest",
        metavar="M",
        help="the manifest to check against; required unless a Galaxy form names it",
    )
    parser.add_argument(
        "--of-pixels",
        action="store_true",
        help="the codes to check against are of pixels, although their list does not say so; type "
        "and sizes are then not compared",
    )
    parser.add_output("--report", "table with one line per finding")
    parser.add_output("--mismatches", "table of the mismatches, as in the report")
    parser.add_output("--passed", "list of the datasets that are OK")
    parser.add_output("--failed", "list of the other datasets")
    parser.add_output("--summary", "counts of each status, as JSON")
    parser.add_output("--result", "the same counts, as text")
    parser.add_argument(
        "--on-mismatch",
        choices=[REPORT, FAIL],
        default=REPORT,
        help="what to do if anything but OK is found: report it, or fail with status 1 after all "
        "outputs are written (default %(default)s)",
    )
    parser.add_argument(
        "--ignore",
        action="append",
        choices=["missing", "extra"],
        default=[],
        help="do not count this as a mismatch; may be given twice",
    )
    return parser


def verify(args: argparse.Namespace) -> Outcome:
    listed, datasets, found = read_inputs(args)
    if found:
        checked, entries = Checked([], [each.name for each in found], set()), found
    else:
        directories = {each.name for each in datasets if coding.is_directory(each)}
        in_directories = []  # in general: few manifests list directories, and some are long
        if directories:
            listed = without_slashes(listed.spelled_out(), datasets, directories)
            in_directories = listed.entries
        checked = choose_files(datasets, Directories(directories), in_directories)
        entries = coding.code_all(checked.files, processes=args.processes)
    names = [each.name for each in found or datasets]
    listed, missing = listed.set_apart(entries)
    findings = audit.audit(listed, entries, checked.directories)
    findings += [
        Finding(name, audit.CHANGED, matched_by=audit.BY_NAME, detail="no file is left in it")
        for name in checked.emptied
    ]
    failed = names_that_failed(findings, listed.entries, checked)
    report = Report(findings, missing)
    mismatches = report.without(audit.OK, *map(str.upper, args.ignore))
    counts = report.count_statuses()
    said = ", ".join(f"{counts[status]:,} {status}" for status in audit.STATUSES)
    write_outputs(args, report, mismatches, names, failed, said)
    if args.on_mismatch == FAIL and mismatches.count:
        return Outcome(said, audit.describe(first_of(mismatches), mismatches.count))
    return Outcome(said)


def read_inputs(
    args: argparse.Namespace,
) -> tuple["listing.Listing | LongListing", list[Dataset], list[Entry] | None]:
    """Read what is expected, and the datasets to check or their entries in manifests.

    The bytes of datasets are not read yet.
    """
    pasted = None
    manifests = [inputs.from_path(path) for path in args.found]
    if args.inputs:
        if args.manifest:
            raise InputError(
                f"--manifest: expected it without --inputs, found both; {quote(str(args.inputs))} "
                "names what to check against"
            )
        form = Form(args.inputs, ("datasets", "found", "manifest", "codes"))
        if form.one_of("datasets", "found") == "datasets":
            datasets = form.datasets("datasets")
        else:
            datasets, manifests = [], form.datasets("found")
            if not manifests:
                raise InputError("expected at least one manifest of the current data, found none")
        if form.one_of("manifest", "codes") == "codes":
            pasted, sources = form.text("codes"), []
        else:
            sources = form.datasets("manifest")
            if len(sources) != 1:
                raise InputError(f"expected one manifest, found {len(sources)}")
    elif args.manifest:
        datasets = [inputs.from_path(path) for path in args.files]
        sources = [inputs.from_path(args.manifest)]
    else:
        raise InputError("expected --manifest with the manifest to check against, found none")
    for source in sources:
        if outputs.identity(source.path) in {outputs.identity(each.path) for each in manifests}:
            raise InputError(
                f"{quote(source.name)}: expected two manifests, one of the current data and one to "
                "check it against, found the same file twice; everything in it would be OK; choose "
                "the manifest that was made before"
            )
    read = [args.inputs, *(each.path for each in [*sources, *manifests, *datasets])]
    outputs.check(args.outputs, read)
    found = [entry for each in manifests for entry in read_found(each)] if manifests else None
    if args.passed or args.failed:
        lists.check_names(each.name for each in found or datasets)
    called = CODES_IN_FORM if pasted is not None else sources[0].name
    if pasted is not None:
        listed = listing.read_text(pasted, called)
    else:
        listed = read_manifest(sources[0].path, called)
    if args.of_pixels:
        listed = listed.spelled_out()
    if args.of_pixels and not any(map(audit.is_of_pixels, listed.entries)):
        listed = listed._replace(
            entries=[each._replace(pixels=listing.UNKNOWN_PIXELS) for each in listed.entries]
        )
    return of_kinds(listed, called, found, manifests), datasets, found


def read_manifest(path: Path, called: str) -> "listing.Listing | LongListing":
    if listing.is_long_table(path):
        import rows  # and NumPy

        if found := rows.read(path, called):
            return found
    return listing.read(path, called)


def read_found(source: Dataset) -> list[Entry]:
    """The entries of a manifest that is used instead of datasets. All their fields are required."""
    entries = manifest.read(source.path, source.name)
    for entry in entries:
        if not audit.is_complete(entry):
            raise InputError(
                f"{quote(source.name)}, {quote(entry.name)}: expected a line with iscc, filesize, "
                "datahash and data_code, and valid codes that agree; make this manifest with ISCC "
                "manifest or ISCC pixel manifest"
            )
    return entries


def of_kinds(
    listed: "listing.Listing | LongListing",
    called: str,
    found: list[Entry] | None,
    sources: Sequence[Dataset],
) -> "listing.Listing | LongListing":
    """The listing, in which lines are invalid if nothing to be checked has their kind of code.

    Such a line is left out if its image has a line of the right kind as well, as in a trail or in
    concatenated manifests. Raises InputError if no line is of the right kind. `called` is the
    user's name for the list, `sources` are the manifests of the current data.
    """
    kinds = {audit.is_of_pixels(each) for each in found or ()} or {False}
    if listed.are_of(kinds):
        return listed
    listed = listed.spelled_out()
    others = [each for each in listed.entries if audit.is_of_pixels(each) not in kinds]
    kept = [each for each in listed.entries if audit.is_of_pixels(each) in kinds]
    there, expected = ("pixels", "bytes") if kinds == {True} else ("bytes", "pixels")
    reason = f"its code is of {expected}, and codes of {there} are checked"
    advice = (
        "make a manifest of pixels with ISCC pixel manifest, or one of bytes with ISCC manifest"
    )
    if not found:
        reason = "its codes are of pixels, and datasets are checked as bytes"
        advice = (
            "make a manifest of the datasets with ISCC pixel manifest and check that in their "
            "place (--found), or make this one with ISCC manifest"
        )
    elif there == "pixels" and not kept:
        advice += ", or say that these codes are of pixels (--of-pixels)"
    if not kept and found:
        raise InputError(
            "codes of pixels and of bytes cannot be compared: expected one kind, found codes of "
            f"{there} in {quote(sources[0].name)}, and codes of {expected} in {quote(called)}; "
            f"{advice}"
        )
    if not kept:
        raise InputError(f"{quote(called)}, line {others[0].line}: {reason}; {advice}")
    images = {each.name for each in kept if each.name}
    if there == "pixels":
        images = {way for name in images for way in manifest.ways_up(name)}
    invalid = [
        listing.Invalid(each.line, each.name, f"{reason}; {advice}")
        for each in others
        if images.isdisjoint(
            [each.name] if there == "pixels" else manifest.ways_up(each.name or "")
        )
    ]
    return listing.Listing(kept, [*listed.invalid, *invalid])


def without_slashes(
    listed: listing.Listing, datasets: Sequence[Dataset], directories: set[str]
) -> listing.Listing:
    """The listing with directories named as the datasets are: `iscc-sum --tree` adds a slash."""
    with_slash = {f"{name}/" for name in directories}.difference(each.name for each in datasets)
    if not with_slash:
        return listed
    return listed._replace(
        entries=[
            entry._replace(name=entry.name[:-1]) if entry.name in with_slash else entry
            for entry in listed.entries
        ]
    )


class Checked(NamedTuple):
    """The files or whole directories that are read, each with the name of its dataset.

    `directories` are the names of the datasets that are checked file by file.
    """

    files: list[Dataset]
    owners: list[str]
    directories: set[str]

    @property
    def emptied(self) -> list[str]:
        """The directories that contain no file at all."""
        return sorted(self.directories.difference(self.owners))


def choose_files(
    datasets: Sequence[Dataset], directories: Directories, entries: Sequence[listing.Listed]
) -> Checked:
    """Replace directories by their files if the manifest lists these.

    It does if the name of an entry begins with that of the directory and a slash. If it lists the
    directory as well, that is also checked.
    """
    whole: set[str] = set()
    by_file: set[str] = set()
    for entry in entries:
        whole |= {entry.name} & directories.names
        by_file |= directories.above(entry.name)
    checked = Checked([], [], by_file)
    for dataset in datasets:
        files = coding.files_in(dataset) if dataset.name in by_file else [dataset]
        if dataset.name in by_file & whole:
            files = [dataset, *files]
        checked.files.extend(files)
        checked.owners.extend([dataset.name] * len(files))
    return checked


def names_that_failed(
    findings: Sequence[Finding], entries: Sequence[listing.Listed], checked: Checked
) -> set[str]:
    """The names of datasets that are not OK, or of which a file is changed or missing.

    A name shared by two datasets is included if one of them is not OK.
    """
    directories = Directories(checked.directories)
    listed_as = {entry.line: entry.name for entry in entries} if directories.names else {}
    failed = set(checked.emptied)
    for finding in findings:
        if finding.status == audit.OK:
            continue
        if finding.dataset is None:
            failed |= directories.above(finding.name)
        else:
            failed.add(checked.owners[finding.dataset])
        # A moved file is missing from where it was listed.
        failed |= directories.above(listed_as.get(finding.line))
    return failed


def write_outputs(
    args: argparse.Namespace,
    report: Report,
    mismatches: Report,
    names: Sequence[str],
    failed: set[str],
    said: str,
) -> None:
    """Write the requested outputs; `said` is what standard output says, too."""
    passed, others = (
        [name for name in names if (name in failed) == wanted] for wanted in (False, True)
    )
    if args.passed or args.failed:
        lists.check_apart(passed, others)
    with outputs.Outputs() as out:
        for path, which in ((args.report, report), (args.mismatches, mismatches)):
            if path:
                out.write_lines(path, which.lines())
        if args.passed:
            out.write_lines(args.passed, lists.list_lines(passed))
        if args.failed:
            out.write_lines(args.failed, lists.list_lines(others))
        if args.summary:
            counted = summary(report, mismatches, len(names), args.ignore)
            out.write_lines(args.summary, [json.dumps(counted, indent=2), "\n"])
        if args.result:
            text = f"{pluralize(len(names), 'dataset')}: {said}"
            out.write_lines(args.result, [in_lines(text)])


def first_of(mismatches: Report) -> list[str]:
    return audit.first_of(mismatches.first(audit.MOST_CULPRITS))


def summary(
    report: Report, mismatches: Report, datasets: int, ignore: Sequence[str]
) -> dict[str, object]:
    """Counts of datasets, of report lines with each status, and of mismatches."""
    counts = report.count_statuses()
    return {
        "datasets": datasets,
        **{status: counts[status] for status in audit.STATUSES},
        "mismatches": mismatches.count,
        "ignored": sorted(set(ignore)),
        "first_mismatches": first_of(mismatches),
    }


if __name__ == "__main__":
    command.run(main)
