"""From datasets to manifest entries: read each dataset once and code its bytes."""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from iscc_sum import IsccSumProcessor

import workers
from folders import list_files, reading
from inputs import Dataset
from manifest import Entry
from messages import InputError, Progress, quote

# With larger pieces the kernel has to clear fresh memory for each: 2 MiB takes a third longer.
READ_BYTES = 256 * 1024

# What a worker gets at once: large enough that asking for more costs nothing beside the work,
# small enough that no worker is left with much when the others have ended.
PORTION_BYTES = 8 * 1024 * 1024
PORTION_DATASETS = 32

# Below this mean size, in bytes, the library's threads cost more than the coding (measured).
MIN_BYTES_FOR_THREADS = 1024 * 1024


class Source(NamedTuple):
    """A dataset and where its bytes are: one file, or those of a directory, in their order.

    `files` are named as messages call them; `size` is in bytes.
    """

    name: str
    files: list[tuple[str, Path]]
    size: int


def split_directories(datasets: Sequence[Dataset]) -> list[Dataset]:
    """The same datasets, with each directory replaced by the files in it: `dataset/inner/path`."""
    return [
        each
        for dataset in datasets
        for each in (files_in(dataset) if is_directory(dataset) else [dataset])
    ]


def files_in(directory: Dataset) -> list[Dataset]:
    """The files of a directory dataset, as datasets in the order of `iscc-sum --tree`."""
    return [
        Dataset((*directory.identifiers, path), file)
        for path, file in list_files(directory.path, directory.name)
    ]


def is_directory(dataset: Dataset) -> bool:
    with reading(dataset.name):
        return stat.S_ISDIR(dataset.path.stat().st_mode)


def code_all(datasets: Sequence[Dataset], wide: bool = True, jobs: int = 1) -> list[Entry]:
    """The entries of all datasets, in their order, whatever the number of processes.

    The largest come first, so that the last process to end has little left to do. Raises
    InputError, naming the dataset, if one cannot be read, or if a process dies over it.
    """
    sources = [find(dataset) for dataset in datasets]
    sizes = [source.size for source in sources]
    if sum(sizes) < MIN_BYTES_FOR_THREADS * len(sizes):
        use_batch_scheduling()
    progress = Progress()
    bytes_read = done = 0

    def report(count: float) -> None:
        nonlocal bytes_read
        bytes_read += count
        progress.report(
            lambda seconds: (
                f"{done:,} of {len(sizes):,} datasets, {bytes_read / 1e9:.1f} of "
                f"{sum(sizes) / 1e9:.1f} GB, {bytes_read / 1e6 / seconds:,.0f} MB/s"
            )
        )

    if jobs == 1 or len(sources) < 2:
        coded = ((index, code(each, report, wide)) for index, each in enumerate(sources))
    else:
        work = partial(code, wide=wide)
        coded = in_workers(work, sources, sizes, jobs, report)
    entries: list[Entry | None] = [None] * len(sources)
    for index, entry in coded:
        entries[index] = entry
        done += 1
    return entries


def in_workers(
    work: Callable,
    items: Sequence[Source | Dataset],
    sizes: Sequence[int],
    jobs: int,
    report: workers.Report,
) -> Iterator[tuple[int, object]]:
    """What `work(item, report)` makes of each dataset, with its index, in whatever order they come.

    Raises InputError, naming the dataset, if a process dies over it.
    """
    try:
        yield from workers.in_processes(work, items, portions(sizes), jobs, report)
    except workers.WorkerError as died:
        of = "" if died.index is None else f" that read {quote(items[died.index].name)}"
        raise InputError(f"a process{of} {died.how}") from None


def use_batch_scheduling() -> None:
    """Ask Linux to treat this process, and those that it starts, as batch jobs.

    For every file the library passes 64 pieces of work to another thread, one by one, and waits
    for each. A thread that wakes up does then not push the other one aside, which halves the time
    of small files (benchmarks/README.md). Where Linux refuses, nothing else changes.
    """
    if hasattr(os, "SCHED_BATCH"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def portions(sizes: Sequence[int]) -> list[list[int]]:
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


def find(dataset: Dataset) -> Source:
    """Find the files of a dataset. Raises InputError if there is none, or only a pipe, say."""
    name, path = dataset.name, dataset.path
    with reading(name):
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            files = [(f"{name}/{inner}", file) for inner, file in list_files(path, name)]
            return Source(name, files, sum(file.stat().st_size for _, file in files))
        # Opening a pipe would wait for ever.
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"cannot read {quote(name)}: it is not a regular file")
        return Source(name, [(name, path)], status.st_size)


def code(source: Source, report: Callable[[float], None], wide: bool) -> Entry:
    """Read a dataset once and give its entry, with a WIDE or a SUM (narrow) ISCC-CODE.

    The code of a directory is that of the bytes of all its files, one after the other, as
    `iscc-sum --tree` computes it. `report(n)` is called for every n bytes. Raises InputError,
    naming the dataset, if anything of it cannot be read to the end, or changes meanwhile.
    """
    processor = IsccSumProcessor()
    for name, path in source.files:
        with reading(name), path.open("rb", buffering=0) as stream:
            before = os.fstat(stream.fileno())
            length = 0
            while piece := stream.read(READ_BYTES):
                processor.update(piece)
                length += len(piece)
                report(len(piece))
            after = os.fstat(stream.fileno())
            if (before.st_size, before.st_mtime_ns) != (length, after.st_mtime_ns):
                raise InputError(f"cannot read {quote(name)}: it was changed meanwhile")
    return entry_of(source.name, processor, wide)


def entry_of(name: str, processor: IsccSumProcessor, wide: bool) -> Entry:
    """The entry of what a processor was given, which takes nothing more afterwards."""
    result = processor.result(wide=wide, add_units=True)
    data_code, instance_code = result.units
    return Entry(name, result.iscc, result.filesize, result.datahash, data_code, instance_code)
