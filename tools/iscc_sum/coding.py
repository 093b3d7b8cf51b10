"""From datasets to manifest entries: find the datasets, read each once, code its bytes.

Names are data: they are never used as paths, nor paths as names, but for files that the user gave
by their path on the command line.
"""

import argparse
import json
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import NoReturn

from iscc_sum import IsccSumProcessor
from iscc_sum.treewalk import treewalk_iscc

import workers
from manifest import Entry, InputError, shown

# With larger pieces the kernel has to clear fresh memory for each: 2 MiB takes a third longer.
READ_BYTES = 256 * 1024

# What a worker gets at once: large enough that asking for more costs nothing beside the work,
# small enough that no worker is left with much when the others have ended.
PORTION_BYTES = 8 * 1024 * 1024
PORTION_DATASETS = 32

# Below this mean size, in bytes, the library's threads cost more than the coding (measured).
HANDING_OVER_COUNTS = 1024 * 1024

SECONDS_BETWEEN_NEWS = 5.0

MOST_JOBS = 1024


# Galaxy's types of datasets that are a folder. Others that have files beside the main one, as HTML
# reports do, are something else each time, and the code of the main file would not be theirs.
DIRECTORY_TYPES = ("directory", "ome_zarr", "zarr")


@dataclass(frozen=True, slots=True)
class Dataset:
    """A name that the user knows it by, and the file, or the directory, with its bytes.

    `extension` is Galaxy's name of its type, None outside Galaxy.
    """

    name: str
    path: Path
    extension: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    """The two ways to say which datasets are meant: files, or the inputs of a Galaxy tool."""
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument(
        "--inputs", type=Path, metavar="JSON", help="the inputs of a Galaxy tool, instead of files"
    )
    group.add_argument(
        "files", nargs="*", default=[], metavar="FILE", help="files or directories to read"
    )
    parser.add_argument(
        "--jobs",
        type=whole_number(1, MOST_JOBS),
        default=1,
        metavar="N",
        help="processes that share the work (default %(default)s)",
    )
    return group


class Parser(argparse.ArgumentParser):
    """One that says what is wrong in one line, as everything else does here."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """A type of argument, for argparse."""

    def read(text: str) -> int:
        if not (re.fullmatch("[0-9]{1,18}", text) and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(
                f"{text[:40]!r} is no whole number from {least} to {most:,}"
            )
        return int(text)

    return read


def finish(line: str) -> None:
    """Say on standard output what was done; raises InputError if there is no room for it."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        # Nobody wants to know. The interpreter must not find that out once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise InputError(f"cannot write to standard output: {error.strerror}") from None


def datasets(args: argparse.Namespace) -> list[Dataset]:
    """The datasets that the arguments of `add_arguments` mean."""
    if args.inputs:
        return required_from_galaxy(args.inputs, "datasets")
    return [named_by_path(path) for path in args.files]


def named_by_path(path: str) -> Dataset:
    """A file or directory under its path as the user wrote it, but for slashes at the end."""
    if not path:
        raise InputError("expected the path of a file, found an empty one")
    return Dataset(path.rstrip("/") or path, Path(path))


def from_galaxy(path: Path, key: str) -> list[Dataset] | None:
    """The datasets that the JSON file of a tool's inputs has under `key`.

    There stands a dataset or a list of them, each with `element_identifier`, a string or, for an
    element of a collection, the list of identifiers that lead to it, with `source_path`, and, if
    wanted, with `ext` and `extra_files_path`. None means that there is no such key.
    """
    items = items_from_galaxy(path, key)
    if items is None:
        return None
    datasets = []
    for item in items:
        try:
            datasets.append(from_item(item))
        except OSError as error:
            where = shown(str(error.filename))
            raise InputError(f"cannot read {where}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(
                f"{shown(str(path))}: expected datasets under the key {shown(key)}, each with "
                f"element_identifier and source_path, found {shown(json.dumps(item))}"
            ) from None
    return datasets


def items_from_galaxy(path: Path, key: str) -> list[dict] | None:
    """The same as they stand there, in a list in any case."""
    inputs = inputs_of_galaxy(path)
    if key not in inputs:
        return None
    return inputs[key] if isinstance(inputs[key], list) else [inputs[key]]


@cache
def inputs_of_galaxy(path: Path) -> dict:
    """What the JSON file of a tool's inputs holds; it is read once, as it may be a pipe."""
    try:
        inputs = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {shown(str(path))}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{shown(str(path))}: expected the inputs of a Galaxy tool as JSON, found {error!r}"
        ) from None
    if not isinstance(inputs, dict):
        raise InputError(
            f"{shown(str(path))}: expected the inputs of a Galaxy tool as a JSON object, found "
            f"{shown(json.dumps(inputs))}"
        )
    return inputs


def required_from_galaxy(path: Path, key: str) -> list[Dataset]:
    """The same, where InputError is raised if there is no such key."""
    chosen = from_galaxy(path, key)
    if chosen is None:
        raise InputError(f"{shown(str(path))}: expected the key {shown(key)}, found none")
    return chosen


def either_from_galaxy(
    path: Path, datasets_key: str, manifests_key: str
) -> tuple[list[Dataset] | None, list[Dataset] | None]:
    """The datasets, or else the manifests; raises InputError if the inputs have both."""
    datasets = from_galaxy(path, datasets_key)
    manifests = from_galaxy(path, manifests_key)
    if datasets is not None and manifests is not None:
        raise InputError(
            f"{shown(str(path))}: expected either {shown(datasets_key)} or "
            f"{shown(manifests_key)}, found both"
        )
    return datasets, manifests


def from_item(item: dict) -> Dataset:
    """One dataset of the inputs; the identifiers of a nested collection are joined with /."""
    identifier = item["element_identifier"]
    name = identifier if isinstance(identifier, str) else "/".join(identifier)
    source, beside = item["source_path"] or "", item.get("extra_files_path") or ""
    if isinstance(identifier, dict) or b"\0" in os.fsencode(source + beside):
        raise ValueError("no name, or no path")
    extension = item.get("ext")
    is_directory = extension in DIRECTORY_TYPES
    if not is_directory and beside and Path(beside).is_dir() and any(Path(beside).iterdir()):
        raise InputError(
            f"cannot code {shown(name)}: a dataset of the type {extension} has files beside its "
            f"main one; of such types only {', '.join(DIRECTORY_TYPES)} can be coded"
        )
    if not (beside if is_directory else source):
        raise InputError(f"cannot read {shown(name)}: Galaxy has no file of it")
    return Dataset(name, unpacked(Path(beside)) if is_directory else Path(source), extension)


def unpacked(files: Path) -> Path:
    """The folder of a directory dataset in Galaxy, which keeps an archive's folder inside its own.

    The name of that folder is the name of what was uploaded, and no part of the data.
    """
    inside = list(files.iterdir()) if files.is_dir() else []
    alone = len(inside) == 1 and inside[0].is_dir() and not inside[0].is_symlink()
    return inside[0] if alone else files


def expanded(datasets: list[Dataset]) -> list[Dataset]:
    """The same, with each directory replaced by the files in it, named `dataset/inner/path`."""
    return [
        each
        for dataset in datasets
        for each in (files_of_tree(dataset) if dataset.path.is_dir() else [dataset])
    ]


def files_of_tree(dataset: Dataset) -> list[Dataset]:
    """The files of a directory dataset in the order in which `iscc-sum --tree` takes them.

    Left out are links, `*.iscc.json`, and what an `.isccignore` says. Raises InputError if a
    directory cannot be read.
    """
    root = dataset.path.resolve()
    with readable(dataset.name):
        return [
            Dataset(f"{dataset.name}/{path.relative_to(root).as_posix()}", path)
            for path in treewalk_iscc(root)
        ]


def code_all(datasets: list[Dataset], wide: bool = True, jobs: int = 1) -> list[Entry]:
    """The entries of all datasets, in their order, whatever the number of processes.

    The largest come first, so that the last process to end has little left to do. Raises
    InputError, naming the dataset, if one cannot be read, or if a process dies over it.
    """
    sizes = [size_of(dataset) for dataset in datasets]
    if sum(sizes) < HANDING_OVER_COUNTS * len(sizes):
        let_threads_hand_over()
    progress = Progress(len(datasets), sum(sizes))
    entries: list[Entry | None] = [None] * len(datasets)
    if jobs == 1 or len(datasets) < 2:
        coded = ((i, code(each, progress.read, wide)) for i, each in enumerate(datasets))
    else:
        work = partial(code, wide=wide)
        coded = workers.in_processes(work, datasets, portions(sizes), jobs, progress.look)
    try:
        for index, entry in coded:
            entries[index] = entry
            progress.datasets += 1
    except workers.WorkerError as died:
        raise InputError(
            f"the process that read {shown(datasets[died.index].name)} {died.how}"
        ) from None
    return entries


def let_threads_hand_over() -> None:
    """Ask Linux to treat this process, and those that it starts, as one that nobody waits for.

    For every file the library passes 64 pieces of work to another thread, one by one, and waits
    for each. A thread that wakes up does then not push the other one aside, which halves the time
    of small files (benchmarks/README.md). Where Linux refuses, nothing else changes.
    """
    if hasattr(os, "SCHED_BATCH"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def portions(sizes: list[int]) -> list[list[int]]:
    """Indices of datasets, the largest first, in portions that are worth handing out."""
    result: list[list[int]] = []
    room = files = 0
    for index in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
        if files == 0 or room < sizes[index]:
            result.append([])
            room, files = PORTION_BYTES, PORTION_DATASETS
        result[-1].append(index)
        room -= sizes[index]
        files -= 1
    return result


def size_of(dataset: Dataset) -> int:
    """The bytes of a dataset; raises InputError if there is none, or only a pipe, say."""
    with readable(dataset.name):
        status = dataset.path.stat()
        if stat.S_ISDIR(status.st_mode):
            return sum(file.path.stat().st_size for file in files_of_tree(dataset))
        # Opening a pipe would wait for ever.
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"cannot read {shown(dataset.name)}: it is no regular file")
        return status.st_size


def code(dataset: Dataset, read: Callable[[int], None], wide: bool) -> Entry:
    """Read a dataset once and give its entry, with a WIDE or a SUM (narrow) ISCC-CODE.

    The code of a directory is that of the bytes of all its files, one after the other, as
    `iscc-sum --tree` computes it. `read(n)` is called for every n bytes. Raises InputError,
    naming the dataset, if anything of it cannot be read to the end.
    """
    processor = IsccSumProcessor()
    files = files_of_tree(dataset) if dataset.path.is_dir() else [dataset]
    for file in files:
        with readable(file.name), file.path.open("rb", buffering=0) as stream:
            while chunk := stream.read(READ_BYTES):
                processor.update(chunk)
                read(len(chunk))
    result = processor.result(wide=wide, add_units=True)
    data_code, instance_code = result.units
    return Entry(
        dataset.name, result.iscc, result.filesize, result.datahash, data_code, instance_code
    )


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turn what the operating system says into a sentence that names the dataset."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot read {shown(name)}: {error.strerror}") from None
    except UnicodeError:
        raise InputError(
            f"cannot read {shown(name)}: a name or an .isccignore in it is no UTF-8"
        ) from None
    except (ValueError, re.error, RecursionError) as error:
        raise InputError(f"cannot read {shown(name)}: {shown(str(error))}") from None


class Progress:
    """Says on standard error, every few seconds and not before, how far the work is."""

    def __init__(self, datasets: int, total_bytes: int):
        self.all_datasets = datasets
        self.all_bytes = total_bytes
        self.datasets = 0
        self.bytes = 0
        self.start = self.last_news = time.monotonic()

    def read(self, byte_count: int) -> None:
        """Count bytes that were read just now."""
        self.look(self.bytes + byte_count)

    def look(self, byte_count: int) -> None:
        """Learn how many bytes have been read so far, and say it if it is time."""
        self.bytes = byte_count
        now = time.monotonic()
        if now - self.last_news >= SECONDS_BETWEEN_NEWS:
            self.last_news = now
            rate = self.bytes / 1e6 / (now - self.start)
            print(
                f"{self.datasets:,} of {self.all_datasets:,} datasets, {self.bytes / 1e9:.1f} of "
                f"{self.all_bytes / 1e9:.1f} GB, {rate:,.0f} MB/s",
                file=sys.stderr,
                flush=True,
            )
