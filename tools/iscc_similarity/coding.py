"""From datasets to manifest entries: find the datasets, read each once, code its bytes.

Names are data: they are never used as paths, nor paths as names, but for files that the user gave
by their path on the command line.
"""

import argparse
import json
import stat
from dataclasses import dataclass
from pathlib import Path

from iscc_sum import IsccSumProcessor

from manifest import Entry, InputError, shown

READ_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Dataset:
    """A name that the user knows it by, and the file with its bytes."""

    name: str
    path: Path


def add_arguments(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    """The two ways to say which datasets are meant: files, or the inputs of a Galaxy tool."""
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument(
        "--inputs", type=Path, metavar="JSON", help="the inputs of a Galaxy tool, instead of files"
    )
    group.add_argument("files", nargs="*", default=[], metavar="FILE", help="files to read")
    return group


def datasets(args: argparse.Namespace) -> list[Dataset]:
    """The datasets that the arguments of `add_arguments` mean."""
    if args.inputs:
        return required_from_galaxy(args.inputs, "datasets")
    return [named_by_path(path) for path in args.files]


def named_by_path(path: str) -> Dataset:
    """A file under its path as the user wrote it."""
    return Dataset(path, Path(path))


def from_galaxy(path: Path, key: str) -> list[Dataset] | None:
    """The datasets that the JSON file of a tool's inputs has under `key`.

    There stands a dataset or a list of them, each with `element_identifier`, a string or, for an
    element of a collection, the list of identifiers that lead to it, and with `source_path`.
    None means that there is no such key.
    """
    try:
        inputs = json.loads(path.read_text(encoding="utf-8"))
        if key not in inputs:
            return None
        chosen = inputs[key]
        return [from_item(item) for item in (chosen if isinstance(chosen, list) else [chosen])]
    except OSError as error:
        raise InputError(f"cannot read {shown(str(path))}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{shown(str(path))}: expected the inputs of a Galaxy tool as JSON, found {error!r}"
        ) from None


def required_from_galaxy(path: Path, key: str) -> list[Dataset]:
    """The same, where InputError is raised if the form has no such key."""
    chosen = from_galaxy(path, key)
    if chosen is None:
        raise InputError(f"{shown(str(path))}: expected the key {shown(key)}, found none")
    return chosen


def from_item(item: dict) -> Dataset:
    """One dataset of the inputs; the identifiers of a nested collection are joined with /."""
    identifier = item["element_identifier"]
    name = identifier if isinstance(identifier, str) else "/".join(identifier)
    if not item["source_path"]:
        raise InputError(f"cannot read {shown(name)}: Galaxy has no file of it")
    return Dataset(name, Path(item["source_path"]))


def code(dataset: Dataset, wide: bool = True) -> Entry:
    """Read a dataset once and give its entry, with a WIDE or a SUM (narrow) ISCC-CODE.

    Raises InputError, naming the dataset, if it is no regular file or cannot be read to its end.
    """
    processor = IsccSumProcessor()
    try:
        # Opening a pipe would wait for ever, and a directory has no bytes of its own.
        if not stat.S_ISREG(dataset.path.stat().st_mode):
            raise InputError(f"cannot read {shown(dataset.name)}: it is no regular file")
        with dataset.path.open("rb", buffering=0) as stream:
            while chunk := stream.read(READ_BYTES):
                processor.update(chunk)
    except OSError as error:
        raise InputError(f"cannot read {shown(dataset.name)}: {error.strerror}") from None
    result = processor.result(wide=wide, add_units=True)
    data_code, instance_code = result.units
    return Entry(
        dataset.name, result.iscc, result.filesize, result.datahash, data_code, instance_code
    )
