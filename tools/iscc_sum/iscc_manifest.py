"""Compute the ISCC of every dataset, and write a manifest of a collection.

The ISCC (International Standard Content Code) is computed from a file's bytes. Its Instance-Code
shows whether two files are identical, its Data-Code how similar they are. The manifest is a table
with one dataset per line: name, ISCC-CODE, size, BLAKE3 hash, both ISCC-UNITs, and a note if a file
is too small for its similarity to be meaningful. A directory has one code, or, with --per-file, one
for each file.

If datasets were coded one by one, --join joins their manifests.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))  # missing if PYTHONSAFEPATH is set
    import startup

    startup.begin()

import argparse
import time
from importlib.metadata import version

import coding
import command
import inputs
import manifest
import outputs
import records
from command import Outcome
from inputs import Dataset, Form
from messages import InputError, pluralize

KINDS = ("datasets", "manifests")


def main(argv: list[str] | None = None) -> int:
    return command.execute(make_parser(), code_or_join, argv)


def make_parser() -> command.Parser:
    parser = command.Parser("iscc_manifest", __doc__)
    parser.add_datasets().add_argument(
        "--join",
        action="append",
        default=[],
        metavar="M",
        help="a manifest to be joined with others, instead of files; may be given several times",
    )
    parser.add_output("--manifest", "the manifest to write")
    parser.add_output("--checksums", "a file that `iscc-sum -c` checks")
    parser.add_output("--records", "ISCC metadata records, a JSON array")
    parser.add_argument(
        "--narrow",
        action="store_true",
        help="write codes of 128 bits, as in ISO 24138:2024, instead of 256",
    )
    parser.add_argument(
        "--per-file",
        action="store_true",
        help="code each file in a directory, instead of the directory as a whole",
    )
    return parser


def code_or_join(args: argparse.Namespace) -> Outcome:
    if not args.manifest:
        raise InputError("the following arguments are required: --manifest")
    kind, sources = "manifests" if args.join else "datasets", args.join or args.files
    if args.inputs:
        form = Form(args.inputs, KINDS)
        kind = form.one_of(*KINDS)
        sources = form.datasets(kind)
    else:
        sources = [inputs.from_path(path) for path in sources]
    outputs.check(args.outputs, [args.inputs, *(each.path for each in sources)])
    return code(args, sources) if kind == "datasets" else join(args, sources)


def code(args: argparse.Namespace, datasets: list[Dataset]) -> Outcome:
    """Code datasets and write the requested outputs."""
    start = time.monotonic()
    if args.per_file:
        datasets = coding.split_directories(datasets)
        inputs.check_names(datasets)
    entries = coding.code_all(datasets, wide=not args.narrow, processes=args.processes)
    with outputs.Outputs() as out:
        out.write_lines(args.manifest, manifest.lines(entries))
        if args.checksums:
            out.write_lines(args.checksums, records.checksum_lines(datasets, entries))
        if args.records:
            generator = f"iscc-sum {version('iscc-sum')}"
            out.write_lines(args.records, records.record_lines(datasets, entries, generator))
    size = sum(entry.filesize for entry in entries)
    line = f"{pluralize(len(entries), 'dataset')}, {pluralize(size, 'byte')}, "
    line += f"{time.monotonic() - start:.1f} s"
    too_small = sum(bool(entry.note) for entry in entries)
    if too_small:
        line += f"; {too_small:,} small, tiny or empty"
    return Outcome(line)


def join(args: argparse.Namespace, manifests: list[Dataset]) -> Outcome:
    """Join manifests.

    A job that codes one element of a nested collection only knows its innermost identifier. The
    outer ones are put before the names in its manifest: `sample/forward`.
    """
    for option in ("checksums", "records", "narrow", "per_file"):
        if getattr(args, option):
            called = option.replace("_", "-")
            raise InputError(f"--{called} is for datasets, which are not read with --join")
    named = [
        (Dataset((*each.identifiers[:-1], entry.name), each.path), entry)
        for each in manifests
        for entry in manifest.read(each.path, each.name, may_be_empty=True)
    ]
    inputs.check_names(dataset for dataset, _ in named)
    with outputs.Outputs() as out:
        entries = [entry._replace(name=dataset.name) for dataset, entry in named]
        out.write_lines(args.manifest, manifest.lines(entries))
    of_all = pluralize(len(manifests), "manifest")
    return Outcome(f"{pluralize(len(named), 'dataset')} of {of_all}")


if __name__ == "__main__":
    command.run(main)
