"""From images to manifest entries: for each image, and optionally each plane and projection."""

import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from iscc_sum import IsccSumProcessor

import appearance
import imagewalk
import workers
from appearance import Areas
from coding import entry_of, find, in_workers
from images import NotAnImageError, Sizes, limit_memory, limit_time, most_seconds
from inputs import Dataset
from manifest import Entry
from messages import InputError, Progress, quote
from reader import Found, Reader, Siblings, read_here, silence
from thumbnails import Kept, Thumbnail


class Wanted(NamedTuple):
    """What to code of each image besides the image itself, and how."""

    wide: bool = True
    planes: bool = False
    projections: bool = False
    turned: bool = False
    thumbnails: bool = False


class Coded(NamedTuple):
    """What was made of an image or plane: its entry, and its thumbnail (JPEG) if that is wanted."""

    entry: Entry
    jpeg: bytes | None


def code_images(
    datasets: Sequence[Dataset],
    wanted: Wanted,
    kept: Kept,
    skip: bool = False,
    processes: int = 1,
) -> tuple[list[list[Entry]], list[tuple[str, str]]]:
    """Code all images; the entries are in the order of datasets, whatever the number of processes.

    Thumbnails are added to `kept` if these are wanted. Raises InputError, naming the dataset, if
    one cannot be read as an image. With `skip`, such datasets are returned with the reason instead;
    then InputError is only raised if all are skipped.
    """
    work = partial(code_dataset, wanted=wanted)
    found: list[list[Entry] | str] = [[]] * len(datasets)
    for index, result in in_images(work, datasets, wanted.projections, skip, processes):
        if isinstance(result, str):
            found[index] = result
            continue
        found[index] = [each.entry for each in result]
        for entry, jpeg in result:
            if jpeg is not None:
                kept.add(entry, jpeg)
    skipped = [
        (dataset.name, result)
        for dataset, result in zip(datasets, found, strict=True)
        if isinstance(result, str)
    ]
    if skipped and len(skipped) == len(datasets):
        name, reason = skipped[0]
        raise InputError(
            f"expected an image among the datasets, found none; {quote(name)}: {reason}"
        )
    check_names(datasets, found)
    return [result for result in found if not isinstance(result, str)], skipped


def in_images(
    work: Callable,
    datasets: Sequence[Dataset],
    projections: bool,
    skip: bool,
    processes: int,
    slowness: int = 1,
) -> Iterator[tuple[int, object]]:
    """Apply `work(dataset, pieces, report)` to each dataset; yields (index, result) in any order.

    `pieces` are what its reader yields. `slowness` is how many times as long as coding the work
    takes. Raises InputError, naming the dataset, if one cannot be read as an image; with `skip`,
    the result is the reason instead.
    """
    sizes = [find(dataset).size * slowness for dataset in datasets]
    progress, total = Progress(), sum(sizes)
    pixel_bytes = bytes_done = done = 0

    def report(count: float) -> None:
        nonlocal pixel_bytes
        pixel_bytes += count
        progress.report(
            lambda seconds: (
                f"{done:,} of {len(datasets):,} datasets, {pixel_bytes / 1e9:.1f} GB of pixels, "
                f"{pixel_bytes / 1e6 / seconds:,.0f} MB/s"
            ),
            share=bytes_done / total if total else None,
        )

    worker = Worker(find_siblings(datasets), work, projections, skip)
    for index, result in in_workers(worker, datasets, sizes, processes, report):
        yield index, result
        done += 1
        bytes_done += sizes[index]


def find_siblings(datasets: Sequence[Dataset]) -> Siblings:
    """The paths of the datasets in each collection, by name, if these are unique.

    On the command line, directories are the collections.
    """
    named = Counter(dataset.name for dataset in datasets)
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for dataset in datasets:
        if named[dataset.name] == 1:
            collection, _, name = dataset.name.rpartition("/")
            found[collection][name] = dataset.path
    return found


def check_names(datasets: Sequence[Dataset], found: Sequence[list[Entry] | str]) -> None:
    """Raise InputError if an image in a dataset has the name of another dataset or image."""
    known: dict[str, tuple[str, ...]] = {}
    for dataset, entries in zip(datasets, found, strict=True):
        for entry in entries if isinstance(entries, list) else []:
            if known.setdefault(entry.name, dataset.identifiers) != dataset.identifiers:
                raise InputError(
                    f"{quote(entry.name)} would be the name of two images, one of them in "
                    f"{quote(dataset.name)}; rename one of the datasets"
                )


class Worker:
    """What a worker does with each dataset; its reader lives as long as it does, or until it dies.

    Returns the result of `work`; or, with `skip`, why a dataset cannot be read as an image.
    """

    def __init__(self, siblings: Siblings, work: Callable, projections: bool, skip: bool):
        self.siblings, self.work = siblings, work
        self.projections, self.skip = projections, skip
        self.reader: Reader | None = None

    def __call__(self, dataset: Dataset, report: Callable[[float], None]) -> object:
        try:
            return self.work(dataset, self.read(dataset), report)
        except NotAnImageError as error:
            if not self.skip:
                raise
            return str(error).removeprefix(f"cannot read {quote(dataset.name)} as an image: ")

    def read(self, dataset: Dataset) -> Iterator[Found | bytes]:
        """The reader's messages. Also raises InputError if the reader dies over the dataset."""
        if workers.START_METHOD != "fork":  # then this process reads, within limits
            silence()
            limit_memory()
            limit_time(find(dataset).size)
            yield from read_here(dataset, self.siblings, self.projections)
            return
        if not self.reader:
            try:
                self.reader = Reader(self.siblings, self.projections)
            except OSError as error:
                raise InputError(f"a process could not be started: {error.strerror}") from None
        try:
            yield from self.reader.read(dataset)
        except (EOFError, OSError):
            code = self.reader.close()
            self.reader = None
            died = f"the process that read it {workers.describe_end(code)}"
            if code in (-signal.SIGKILL, -signal.SIGTERM):  # not necessarily because of the dataset
                raise InputError(f"cannot read {quote(dataset.name)}: {died}") from None
            if code == -signal.SIGXCPU:
                seconds = most_seconds(find(dataset).size)
                died = f"reading it takes more than the limit of {seconds:,} s of processor time"
            raise NotAnImageError(
                f"cannot read {quote(dataset.name)} as an image: {died}"
            ) from None


def code_dataset(
    dataset: Dataset,
    pieces: Iterator[Found | bytes],
    report: Callable[[float], None],
    wanted: Wanted,
) -> list[Coded]:
    """Code the images in a dataset, from the pieces that a reader yields."""
    images = next(pieces).images
    pieces = reporting(pieces, report)
    coded = [
        each
        for name, (dtype, sizes) in zip(names_of(dataset, images), images, strict=True)
        for each in code_image(name, dtype, sizes, pieces, wanted)
    ]
    check_end(pieces)
    return coded


def names_of(dataset: Dataset, images: Sequence[object]) -> list[str]:
    """The names of the images in a dataset."""
    if len(images) == 1:
        return [dataset.name]
    return [f"{dataset.name}/{number}" for number in range(len(images))]


def reporting(pieces: Iterator[bytes], report: Callable[[float], None]) -> Iterator[bytes]:
    for piece in pieces:
        report(len(piece))
        yield piece


def code_image(
    name: str,
    dtype: np.dtype,
    sizes: Sizes,
    pieces: Iterator[bytes],
    wanted: Wanted,
) -> Iterator[Coded]:
    """Code an image, its planes if there are several, and its projections."""
    whole = Coder(name, dtype, sizes, wanted)
    one_plane = sizes._replace(z=1, c=1, t=1)
    plane_bytes = sizes.y * sizes.x * dtype.itemsize
    planes: list[Coded] = []
    for z, c, t in np.ndindex(sizes[:3]):
        coders = [whole]
        if wanted.planes and one_plane != sizes:
            coders.append(Coder(f"{name}/z{z}c{c}t{t}", dtype, one_plane, wanted))
        for piece in take(pieces, plane_bytes):
            for coder in coders:
                coder.add(piece)
        planes += [coder.coded() for coder in coders[1:]]
    yield whole.coded()
    yield from planes
    if wanted.projections and sizes.z > 1:
        for c, t in np.ndindex(sizes.c, sizes.t):
            plane = Coder(f"{name}/zmaxc{c}t{t}", dtype, one_plane, wanted)
            for piece in take(pieces, plane_bytes):
                plane.add(piece)
            yield plane.coded()


def check_end(pieces: Iterator[bytes]) -> None:
    """Take the end of a stream, without which its reader waits."""
    if next(pieces, None) is not None:
        raise AssertionError("the reader gave more than it found")


def take(pieces: Iterator[bytes], count: int) -> Iterator[bytes]:
    """The next pieces, of this many bytes in total."""
    while count:
        piece = next(pieces)
        count -= len(piece)
        yield piece


class Coder:
    """Codes an image, or a plane, from the pieces of its stream."""

    def __init__(self, name: str, dtype: np.dtype, sizes: Sizes, wanted: Wanted):
        self.name, self.dtype, self.sizes, self.wanted = name, dtype, sizes, wanted
        self.processor = IsccSumProcessor()
        channels = sizes.c if sizes.z == sizes.t == 1 else 0  # otherwise it is a stack or a series
        self.channels = [Areas(sizes.y, sizes.x) for _ in range(channels)]
        self.thumbnail = Thumbnail(sizes) if wanted.thumbnails else None
        self.rows = 0

    def add(self, piece: bytes) -> None:
        """Add whole rows of one plane, which follow those added before."""
        self.processor.update(piece)
        stored = imagewalk.stored_type(self.dtype)
        rows = np.frombuffer(piece, stored).reshape(-1, self.sizes.x)
        if self.channels:
            self.channels[self.rows // self.sizes.y].add(rows)
        if self.thumbnail:
            self.thumbnail.add(rows)
        self.rows += len(rows)

    def coded(self) -> Coded:
        return Coded(self.entry(), self.thumbnail.jpeg() if self.thumbnail else None)

    def entry(self) -> Entry:
        entry = entry_of(self.name, self.processor, self.wanted.wide)
        entry = entry._replace(pixels=imagewalk.describe(self.dtype, self.sizes))
        if not self.channels:
            return entry
        picture = appearance.picture_of(self.channels)
        pictures = appearance.turned(picture) if self.wanted.turned else [picture]
        found = appearance.image_codes(pictures)
        if not found[0]:
            return entry._replace(is_featureless=True)
        return entry._replace(image_code=" ".join(filter(None, found)))
