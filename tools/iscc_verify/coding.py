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

# For larger pieces, the kernel clears fresh memory each time: with 2 MiB, coding takes a third
# longer.
READ_BYTES = 256 * 1024

# The unit of work: large enough that requesting more costs nothing in comparison, small enough that
# no worker has much left to do when the others have finished.
PORTION_BYTES = 8 * 1024 * 1024
PORTION_DATASETS = 32

# Below this mean size, in bytes, the library's threads cost more than the coding itself (measured).
MIN_BYTES_FOR_THREADS = 1024 * 1024


class Source(NamedTuple):
    """A dataset and its files: one, or those of a directory in order.

    `files` are pairs of the name used in messages and the path; `size` is in bytes.
    """

    name: str
    files: list[tuple[str, Path]]
    size: int


def split_directories(datasets: Sequence[Dataset]) -> list[Dataset]:
    """The datasets, with each directory replaced by the files in it: `dataset/inner/path`."""
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


def code_all(datasets: Sequence[Dataset], wide: bool = True, processes: int = 1) -> list[Entry]:
    """Code all datasets; the entries are in their order, whatever the number of processes.

    The largest are coded first, so that processes finish at about the same time. Raises InputError,
    naming the dataset, if one cannot be read, or if a process dies while reading it.
    """
    sources = [find(dataset) for dataset in datasets]
    sizes = [source.size for source in sources]
    total = sum(sizes)
    if total < MIN_BYTES_FOR_THREADS * len(sizes):
        use_batch_scheduling()
    progress = Progress()
    bytes_read = done = 0

    def report(count: float) -> None:
        nonlocal bytes_read
        bytes_read += count
        progress.report(
            lambda seconds: (
                f"{done:,} of {len(sizes):,} datasets, {bytes_read / 1e9:.1f} of "
                f"{total / 1e9:.1f} GB, {bytes_read / 1e6 / seconds:,.0f} MB/s"
            ),
            share=bytes_read / total if total else None,
        )

    if processes == 1 or len(sources) < 2:
        coded = ((index, code(each, report, wide)) for index, each in enumerate(sources))
    else:
        work = partial(code, wide=wide)
        coded = in_workers(work, sources, sizes, processes, report)
    entries: list[Entry | None] = [None] * len(sources)
    for index, entry in coded:
        entries[index] = entry
        done += 1
    return entries


def in_workers(
    work: Callable,
    items: Sequence[Source | Dataset],
    sizes: Sequence[int],
    processes: int,
    report: workers.Report,
) -> Iterator[tuple[int, object]]:
    """Apply `work(item, report)` to each dataset; yields (index, result) in any order.

    Raises InputError, naming the dataset, if a process dies while reading it.
    """
    try:
        yield from workers.in_processes(work, items, portions(sizes), processes, report)
    except workers.WorkerError as died:
        of = "" if died.index is None else f" that read {quote(items[died.index].name)}"
        raise InputError(f"a process{of} {died.how}") from None


def use_batch_scheduling() -> None:
    """Ask Linux to treat this process, and its child processes, as batch jobs.

    For every file, the library passes 64 pieces of work to another thread, one by one, and waits
    for each. With batch scheduling, a thread that wakes up does not displace the other, which
    halves the time for small files (benchmarks/README.md). If Linux refuses, nothing else changes.
    """
    if hasattr(os, "SCHED_BATCH"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def portions(sizes: Sequence[int]) -> list[list[int]]:
    """Group the indices of datasets, largest first, into portions large enough to hand out."""
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
    """Find the files of a dataset. Raises InputError if it cannot be read or is, e.g., a pipe."""
    name, path = dataset.name, dataset.path
    with reading(name):
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            files = [(f"{name}/{inner}", file) for inner, file in list_files(path, name)]
            return Source(name, files, sum(file.stat().st_size for _, file in files))
        # Opening a pipe could block forever.
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"cannot read {quote(name)}: it is not a regular file")
        return Source(name, [(name, path)], status.st_size)


def code(source: Source, report: Callable[[float], None], wide: bool) -> Entry:
    """Read a dataset once and return its entry, with a WIDE or SUM (narrow) ISCC-CODE.

    A directory is coded as the concatenated bytes of all its files, as `iscc-sum --tree` does.
    `report(n)` is called for every n bytes. Raises InputError, naming the file, if any file cannot
    be read to the end, or changes meanwhile.
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
                raise InputError(f"cannot read {quote(name)}: it was changed while being read")
    return entry_of(source.name, processor, wide)


def entry_of(name: str, processor: IsccSumProcessor, wide: bool) -> Entry:
    """The entry of the bytes given to a processor, which accepts no more afterwards."""
    result = processor.result(wide=wide, add_units=True)
    data_code, instance_code = result.units
    return Entry(name, result.iscc, result.filesize, result.datahash, data_code, instance_code)
