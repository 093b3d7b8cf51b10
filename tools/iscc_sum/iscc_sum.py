"""Give every dataset its ISCC, and a collection its manifest.

The ISCC (ISO 24138) is computed from a file's bytes. Its Instance-Code says whether two files
are the same, its Data-Code how alike they are. The manifest is a table with one dataset a line:
name, ISCC-CODE, size, BLAKE3 hash, both ISCC-UNITs, and a note where a file is too small for
its similarity to mean anything. A directory has one code, or with --per-file one for each file.
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
    start = time.monotonic()
    try:
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
        coding.finish(summary(entries, time.monotonic() - start))
    except manifest.InputError as error:
        print(f"iscc_sum: {error}", file=sys.stderr)
        return 2
    return 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = coding.Parser(
        prog="iscc_sum", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    coding.add_arguments(parser)
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


def summary(entries: list[manifest.Entry], seconds: float) -> str:
    """One line that says what was done."""
    size = sum(entry.filesize for entry in entries)
    line = f"{len(entries):,} datasets, {size:,} bytes, {seconds:.1f} s"
    too_small = sum(bool(entry.note) for entry in entries)
    if too_small:
        line += f"; {too_small:,} empty or too small for similarity"
    return line


if __name__ == "__main__":
    sys.exit(main())
