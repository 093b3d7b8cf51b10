"""Check datasets against a manifest: which are intact, changed, moved, missing, or not listed.

Every dataset is read and coded again and compared with what the manifest lists, in whatever format
that is. The report has a line for each dataset, in input order, and after them one for each line
of the manifest that no dataset belongs to:

    OK         the same bytes as when the manifest was made
    CHANGED    other bytes; the distance says how much they differ, where sizes allow to say it
    MOVED      the content is listed, but under another name
    EXTRA      a dataset that the manifest does not list
    MISSING    an entry of the manifest without a dataset
    DUPLICATE  a name that another dataset, or another line, has already
    INVALID    a line that is no entry
"""

import argparse
import gc
import json
import re
import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path

import audit
import coding
import listing
import manifest
from audit import Finding
from manifest import InputError, shown

COLUMNS = ("#name", *Finding._fields[1:-1])
# What people read first comes first.
MISMATCH_COLUMNS = ("#name", "status", "distance", "bits", "detail", "line", "expected", "actual")

FAIL, REPORT = "fail", "report"
MOST_CULPRITS = 5
BUG = 70  # EX_SOFTWARE


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    gc.disable()  # a million entries have no cycles, but looking for them takes seconds
    try:
        listed, datasets = read_inputs(args)
        files, owners, folders = file_by_file(datasets, listed.entries)
        entries = coding.code_all(files, jobs=args.jobs)
        findings = audit.audit(listed, entries)
        failed = names_that_failed(findings, owners, folders)
        culprits = [each for each in findings if counts_as_mismatch(each, args.ignore)]
        write_outputs(args, findings, culprits, [each.name for each in datasets], failed)
        counts = Counter(finding.status for finding in findings)
        coding.finish(", ".join(f"{counts[status]:,} {status}" for status in audit.STATUSES))
    except InputError as error:
        print(f"iscc_verify: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("iscc_verify: interrupted", file=sys.stderr)
        return 130
    except MemoryError:
        print("iscc_verify: there is not enough memory for what is listed", file=sys.stderr)
        return 2
    except Exception:  # a bug of ours must not end with 1, which says that something does not match
        traceback.print_exc()
        return BUG
    if culprits and args.on_mismatch == FAIL:
        print(f"iscc_verify: {named(culprits)}", file=sys.stderr)
        return 1
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
    parser.add_argument(
        "--mismatches",
        type=Path,
        metavar="OUT",
        help="table of the lines of the report that are mismatches",
    )
    parser.add_argument(
        "--passed", type=Path, metavar="OUT", help="list of the datasets that are OK"
    )
    parser.add_argument("--failed", type=Path, metavar="OUT", help="list of the other datasets")
    parser.add_argument(
        "--summary", type=Path, metavar="OUT", help="counts of each status, as JSON"
    )
    parser.add_argument(
        "--on-mismatch",
        choices=[REPORT, FAIL],
        default=REPORT,
        help="what to do if anything but OK is found: report it, or fail with status 1 when all "
        "outputs are written (default %(default)s)",
    )
    parser.add_argument(
        "--ignore",
        action="append",
        choices=["missing", "extra"],
        default=[],
        help="do not count this as a mismatch; may be given twice",
    )
    args = parser.parse_args(argv)
    if args.files and not args.manifest:
        parser.error("the argument --manifest is needed")
    return args


def read_inputs(args: argparse.Namespace) -> tuple[listing.Listing, list[coding.Dataset]]:
    """What is expected, and the datasets to check; nothing of them is read yet."""
    source = pasted = None
    if args.manifest:
        source = coding.named_by_path(args.manifest)
    else:
        pasted = coding.inputs_of_galaxy(args.inputs).get("codes")
        if pasted is None:
            [source, *more] = coding.required_from_galaxy(args.inputs, "manifest") or [None]
            if source is None or more:
                raise InputError(f"expected one manifest, found {1 + len(more) if source else 0}")
        elif not isinstance(pasted, str):
            raise InputError(f'{shown(str(args.inputs))}: expected a text under the key "codes"')
    datasets = coding.datasets(args)
    inputs = [args.inputs, source and source.path, *(each.path for each in datasets)]
    outputs = [args.report, args.mismatches, args.passed, args.failed, args.summary]
    manifest.check_outputs(outputs, inputs)
    if args.passed or args.failed:
        manifest.check_names_of_list(each.name for each in datasets)
    if source:
        return listing.read(source.path, source.name), datasets
    return listing.read_text(pasted, "the codes in the form"), datasets


def file_by_file(
    datasets: Sequence[coding.Dataset], entries: Sequence[listing.Listed]
) -> tuple[list[coding.Dataset], list[str], set[str]]:
    """The datasets, folders as their files where the manifest lists these.

    That it does if the name of an entry begins with that of the folder and a slash; if it lists the
    folder as well, that is checked, too. Gives with each dataset the name of the one that it is, or
    that it is a file of, and the names of all folders that are checked file by file.
    """
    folders = {each.name for each in datasets if each.path.is_dir()}
    whole, by_file = set(), set()
    if folders:  # few manifests are about folders, and some are long
        longest = max(map(len, folders))
        for entry in entries:
            whole |= {entry.name} & folders
            by_file |= folders_above(entry.name or "", longest) & folders
    result, owners = [], []
    for dataset in datasets:
        of_dataset = [dataset]
        if dataset.name in by_file:
            of_dataset = coding.files_of_tree(dataset)
            if dataset.name in whole:
                of_dataset = [dataset, *of_dataset]
        result += of_dataset
        owners += [dataset.name] * len(of_dataset)
    return result, owners, by_file


def folders_above(name: str, longest: int) -> set[str]:
    """What a name, read as a path, has before its slashes, but nothing longer than that."""
    return {name[: slash.start()] for slash in re.finditer("/", name[: longest + 1])}


def write_outputs(
    args: argparse.Namespace,
    findings: Sequence[Finding],
    culprits: Sequence[Finding],
    names: Sequence[str],
    failed: set[str],
) -> None:
    """Write what was asked for; `culprits` are the findings that do not match."""
    passed = [name for name in names if name not in failed]
    if args.passed or args.failed:
        manifest.check_lists(passed, failed)
    if args.report:
        manifest.write_table(args.report, COLUMNS, (finding[:-1] for finding in findings))
    if args.mismatches:
        columns = attrgetter("name", *MISMATCH_COLUMNS[1:])
        manifest.write_table(args.mismatches, MISMATCH_COLUMNS, map(columns, culprits))
    if args.passed:
        manifest.write_list(args.passed, passed)
    if args.failed:
        manifest.write_list(args.failed, (name for name in names if name in failed))
    if args.summary:
        with manifest.whole_file(args.summary) as out:
            json.dump(summary(findings, culprits, len(names), args.ignore), out, indent=2)
            out.write("\n")


def names_that_failed(
    findings: Sequence[Finding], owners: Sequence[str], folders: set[str]
) -> set[str]:
    """The names of datasets that are not OK, or, of a folder, of which a file is not, or missing.

    A name that two datasets have is among them if one of them is not OK.
    """
    failed = set()
    longest = max(map(len, folders), default=0)
    for finding in findings:
        if finding.status == audit.OK:
            continue
        if finding.dataset is not None:
            failed.add(owners[finding.dataset])
        elif folders:
            failed |= folders_above(finding.name, longest) & folders
    return failed


def counts_as_mismatch(finding: Finding, ignore: Sequence[str]) -> bool:
    return finding.status != audit.OK and finding.status.lower() not in ignore


def summary(
    findings: Sequence[Finding], culprits: Sequence[Finding], datasets: int, ignore: Sequence[str]
) -> dict[str, object]:
    """Counts of datasets, of lines of the report with each status, and of mismatches."""
    counts = Counter(finding.status for finding in findings)
    return {
        "datasets": datasets,
        **{status: counts[status] for status in audit.STATUSES},
        "mismatches": len(culprits),
        "ignored": sorted(set(ignore)),
    }


def named(culprits: Sequence[Finding]) -> str:
    """How many do not match, and the first few of them."""
    first = [
        f"{shown(each.name) if each.name or each.line is None else f'line {each.line}'} is "
        f"{each.status}"
        for each in culprits[:MOST_CULPRITS]
    ]
    more = len(culprits) - len(first)
    rest = f", and {more:,} more" if more else ""
    verb = "does" if len(culprits) == 1 else "do"
    return f"{len(culprits):,} {verb} not match: {', '.join(first)}{rest}"


if __name__ == "__main__":
    sys.exit(main())
