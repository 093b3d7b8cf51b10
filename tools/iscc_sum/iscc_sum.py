"""Give every dataset its ISCC, and a collection its manifest.

The ISCC (ISO 24138) is computed from a file's bytes. Its Instance-Code says whether two files
are the same, its Data-Code how alike they are. The manifest is a table with one dataset a line:
name, ISCC-CODE, size, BLAKE3 hash, both ISCC-UNITs, and a note where a file is too small for
its similarity to mean anything. A directory has one code, or with --per-file one for each file.

Where each dataset was coded by itself, --join puts the manifests together.
"""

import argparse
import sys
import time
from pathlib import Path

# This script has the name of the library that codes the bytes: while that is imported, the folder
# of the script is searched last. (A worker that is spawned imports the script under another name.)
if __name__ != "iscc_sum":
    sys.path.append(sys.path.pop(0))
    import iscc_sum  # noqa: F401

    sys.path.insert(0, sys.path.pop())

import coding
import manifest
import records


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    try:
        manifests = manifests_to_join(args)
        coding.finish(code(args) if manifests is None else join(args, manifests))
    except manifest.InputError as error:
        print(f"iscc_sum: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("iscc_sum: interrupted", file=sys.stderr)
        return 130
    return 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = coding.Parser(
        prog="iscc_sum", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    coding.add_arguments(parser).add_argument(
        "--join",
        action="append",
        default=[],
        metavar="M",
        help="a manifest to put together with others, instead of files; may be given several times",
    )
    parser.add_argument(
        "--manifest", type=Path, required=True, metavar="OUT", help="the manifest to write"
    )
    parser.add_argument(
        "--checksums", type=Path, metavar="OUT", help="a file that `iscc-sum -c` checks"
    )
    parser.add_argument(
        "--records", type=Path, metavar="OUT", help="ISCC metadata records, a JSON array"
    )
    parser.add_argument(
        "--narrow",
        action="store_true",
        help="write codes of 128 bits, as ISO 24138:2024 has them, instead of 256",
    )
    parser.add_argument(
        "--per-file",
        action="store_true",
        help="code each file in a directory, instead of all of them as one",
    )
    return parser.parse_args(argv)


def code(args: argparse.Namespace) -> str:
    """Code datasets, write what was asked for, and say in one line what was done."""
    start = time.monotonic()
    datasets = coding.datasets(args)
    manifest.check_outputs(
        [args.manifest, args.checksums, args.records],
        [args.inputs, *(each.path for each in datasets)],
    )
    if args.per_file:
        datasets = coding.expanded(datasets)
    entries = coding.code_all(datasets, wide=not args.narrow, jobs=args.jobs)
    manifest.write(args.manifest, entries)
    if args.checksums:
        records.write_checksums(args.checksums, datasets, entries)
    if args.records:
        records.write_records(args.records, datasets, entries)
    return summary(entries, time.monotonic() - start)


def manifests_to_join(args: argparse.Namespace) -> list[tuple[str, coding.Dataset]] | None:
    """The manifests, each with what comes before the names in it; None if datasets are to be coded.

    A job that codes one element of a nested collection knows no more than its innermost identifier.
    The others, `sample/` say, come before the names in the manifest that it wrote.
    """
    if not args.inputs:
        return [("", coding.named_by_path(path)) for path in args.join] or None
    items = coding.items_from_galaxy(args.inputs, "manifests")
    if items is None:
        return None
    _, manifests = coding.either_from_galaxy(args.inputs, "datasets", "manifests")
    identifiers = [item["element_identifier"] for item in items]
    outer = [[] if isinstance(each, str) else each[:-1] for each in identifiers]
    return [
        ("".join(f"{identifier}/" for identifier in path), each)
        for path, each in zip(outer, manifests, strict=True)
    ]


def join(args: argparse.Namespace, manifests: list[tuple[str, coding.Dataset]]) -> str:
    """Put manifests together, and say in one line what was done."""
    for option in ("checksums", "records", "narrow", "per_file"):
        if getattr(args, option):
            called = option.replace("_", "-")
            raise manifest.InputError(f"--{called} is for datasets, which are not read with --join")
    manifest.check_outputs([args.manifest], [args.inputs, *(each.path for _, each in manifests)])
    entries = [
        entry._replace(name=before + entry.name)
        for before, each in manifests
        for entry in manifest.read(each.path, each.name, may_be_empty=True)
    ]
    manifest.write(args.manifest, entries)
    of_all = manifest.counted(len(manifests), "manifest")
    return f"{manifest.counted(len(entries), 'dataset')} of {of_all}"


def summary(entries: list[manifest.Entry], seconds: float) -> str:
    """One line that says what was done."""
    size = sum(entry.filesize for entry in entries)
    count, of_bytes = manifest.counted(len(entries), "dataset"), manifest.counted(size, "byte")
    line = f"{count}, {of_bytes}, {seconds:.1f} s"
    too_small = sum(bool(entry.note) for entry in entries)
    if too_small:
        line += f"; {too_small:,} small, tiny or empty"
    return line


if __name__ == "__main__":
    sys.exit(main())
