"""From images to manifest entries: one for each image, and for each plane and projection if wanted.

Images are always read by workers, never in the process that speaks to the user: where a library
dies of a file that was made to harm, a worker dies, and the message names the dataset.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from iscc_sum import IsccSumProcessor

import appearance
import imagewalk
from appearance import Thumbnail
from coding import entry_of, find, in_workers
from images import (
    Image,
    NotAnImageError,
    Sizes,
    check_at_once,
    kind_of,
    limit_memory,
    limit_time,
    reading_image,
)
from imagewalk import Rows
from inputs import Dataset
from manifest import Entry
from messages import InputError, Progress, quote
from rasters import read_picture
from tiffs import open_tiff
from zarrs import open_zarr


class Wanted(NamedTuple):
    """What to code of each image: besides itself, and how."""

    wide: bool = True
    planes: bool = False
    projections: bool = False
    turned: bool = False


def code_images(
    datasets: Sequence[Dataset], wanted: Wanted, skip: bool = False, jobs: int = 1
) -> tuple[list[list[Entry]], list[tuple[str, str]]]:
    """The entries of each dataset, in their order, whatever the number of processes.

    Raises InputError, naming the dataset, if one cannot be read; or, to `skip` it, gives its name
    and why as well. Raises it too if a process dies over a dataset, and if all are skipped.
    """
    sizes = [find(dataset).size for dataset in datasets]
    siblings = find_siblings(datasets)
    progress = Progress()
    pixel_bytes = done = 0

    def report(count: float) -> None:
        nonlocal pixel_bytes
        pixel_bytes += count
        progress.report(
            lambda seconds: (
                f"{done:,} of {len(datasets):,} datasets, {pixel_bytes / 1e9:.1f} GB of pixels, "
                f"{pixel_bytes / 1e6 / seconds:,.0f} MB/s"
            )
        )

    work = partial(code_in_worker, siblings=siblings, wanted=wanted, skip=skip)
    found: list[list[Entry] | str] = [[]] * len(datasets)
    for index, result in in_workers(work, datasets, sizes, jobs, report):
        found[index] = result
        done += 1
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


def find_siblings(datasets: Sequence[Dataset]) -> dict[str, dict[str, Path]]:
    """The paths of the datasets in each collection by their names in it, where these are unique.

    On the command line the directories are the collections.
    """
    named = Counter(dataset.name for dataset in datasets)
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for dataset in datasets:
        if named[dataset.name] == 1:
            collection, _, name = dataset.name.rpartition("/")
            found[collection][name] = dataset.path
    return found


def check_names(datasets: Sequence[Dataset], found: Sequence[list[Entry] | str]) -> None:
    """Raise InputError if an image in one dataset has the name of another dataset, or image."""
    known: dict[str, tuple[str, ...]] = {}
    for dataset, entries in zip(datasets, found, strict=True):
        for entry in entries if isinstance(entries, list) else []:
            if known.setdefault(entry.name, dataset.identifiers) != dataset.identifiers:
                raise InputError(
                    f"{quote(entry.name)} would be the name of two images, one of them in "
                    f"{quote(dataset.name)}; rename one of the datasets"
                )


def code_in_worker(
    dataset: Dataset,
    report: Callable[[float], None],
    siblings: dict[str, dict[str, Path]],
    wanted: Wanted,
    skip: bool,
) -> list[Entry] | str:
    """The entries of a dataset; or, to skip it, why it cannot be read as an image."""
    limit_memory()
    limit_time(find(dataset).size)
    silence()
    collection = dataset.name.rpartition("/")[0]
    try:
        return code_dataset(dataset, report, siblings.get(collection, {}), wanted)
    except NotAnImageError as error:
        if not skip:
            raise
        return str(error).removeprefix(f"cannot read {quote(dataset.name)} as an image: ")


def silence() -> None:
    """Let this process, a worker, say nothing on standard error: libpng warns there by itself."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def code_dataset(
    dataset: Dataset, report: Callable[[float], None], siblings: dict[str, Path], wanted: Wanted
) -> list[Entry]:
    """The entries of a dataset.

    Raises NotAnImageError if it cannot be read as an image, and InputError if it cannot be read.
    """
    try:
        with reading_image(dataset.name), ExitStack() as closing:
            images = open_images(dataset.path, siblings, closing)
            names = [dataset.name]
            if len(images) > 1:
                names = [f"{dataset.name}/{number}" for number in range(len(images))]
            return [
                entry
                for name, image in zip(names, images, strict=True)
                for entry in code_image(name, image, report, wanted)
            ]
    except OSError as error:
        raise InputError(f"cannot read {quote(dataset.name)}: {error.strerror}") from None


def open_images(path: Path, siblings: dict[str, Path], closing: ExitStack) -> list[Image]:
    """The images in a file, or in a directory; files are closed with `closing`."""
    kind = "zarr" if path.is_dir() else kind_of(path)
    if kind in ("zarr", "zip"):
        return open_zarr(path, closing)
    if kind == "tiff":
        return open_tiff(path, siblings, closing)
    check_at_once(path.stat().st_size)
    return [read_picture(kind, path.read_bytes())]


def code_image(
    name: str, image: Image, report: Callable[[float], None], wanted: Wanted
) -> list[Entry]:
    """The entry of an image, those of its planes if there are several, and of its projections."""
    whole = Coder(name, image.dtype, image.sizes, wanted)
    one_plane = image.sizes._replace(z=1, c=1, t=1)
    planes: list[Entry] = []
    plane = None
    for rows in imagewalk.walk(image):
        if wanted.planes and one_plane != image.sizes and rows.top == 0:
            plane = Coder(f"{name}/z{rows.z}c{rows.c}t{rows.t}", image.dtype, one_plane, wanted)
        coders = [whole, plane] if plane else [whole]
        for piece in imagewalk.stream(rows.pixels):
            for coder in coders:
                coder.processor.update(piece)
        whole.see(rows, rows.c)
        if plane:
            plane.see(rows, 0)
            if rows.is_last:
                planes.append(plane.entry())
        report(rows.pixels.nbytes)
    return [whole.entry(), *planes, *code_projections(name, image, report, wanted)]


def code_projections(
    name: str, image: Image, report: Callable[[float], None], wanted: Wanted
) -> Iterator[Entry]:
    """The entries of the maximum along Z of each channel and time, if there is a Z and wanted."""
    if not wanted.projections or image.sizes.z == 1:
        return
    projection = imagewalk.Projection(image)
    for rows in imagewalk.walk(projection):
        if rows.top == 0:
            sizes = projection.sizes._replace(c=1, t=1)
            plane = Coder(f"{name}/zmaxc{rows.c}t{rows.t}", image.dtype, sizes, wanted)
        for piece in imagewalk.stream(rows.pixels):
            plane.processor.update(piece)
        plane.see(rows, 0)
        report(rows.pixels.nbytes * image.sizes.z)
        if rows.is_last:
            yield plane.entry()


class Coder:
    """Makes the entry of an image, or of a plane: `processor` gets its stream, `see` its rows."""

    def __init__(self, name: str, dtype: np.dtype, sizes: Sizes, wanted: Wanted):
        self.name, self.dtype, self.sizes, self.wanted = name, dtype, sizes, wanted
        self.processor = IsccSumProcessor()
        channels = sizes.c if sizes.z == sizes.t == 1 else 0  # or it is not one picture
        self.thumbnails = [Thumbnail(sizes.y, sizes.x) for _ in range(channels)]

    def see(self, rows: Rows, channel: int) -> None:
        if self.thumbnails:
            self.thumbnails[channel].add(rows.pixels)

    def entry(self) -> Entry:
        entry = entry_of(self.name, self.processor, self.wanted.wide)
        entry = entry._replace(pixels=imagewalk.describe(self.dtype, self.sizes))
        if not self.thumbnails:
            return entry
        picture = appearance.picture_of(self.thumbnails)
        pictures = appearance.turned(picture) if self.wanted.turned else [picture]
        found = appearance.image_codes(pictures)
        if not found[0]:
            return entry._replace(is_featureless=True)
        return entry._replace(image_code=" ".join(filter(None, found)))
