"""Read images in a separate process, ahead of the one that codes them.

Coding holds Python's lock, and decoding needs it again and again, so threads of one process would
take turns (benchmarks/README.md). Untrusted files are only opened in this separate process. It has
limits of memory and time, and is silent; if it dies, the dataset is named.
"""

import ctypes
import gc
import mmap
import os
import signal
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from multiprocessing import Pipe
from pathlib import Path
from typing import NamedTuple

import numpy as np

import imagewalk
from coding import find
from images import (
    Image,
    Sizes,
    UnreadableError,
    check_at_once,
    kind_of,
    limit_memory,
    limit_time,
    reading_image,
)
from inputs import Dataset
from messages import InputError, quote
from outputs import undisturbed
from rasters import read_picture
from tiffs import open_tiff
from zarrs import open_zarr

# The siblings of datasets: for each collection, paths by name.
Siblings = Mapping[str, Mapping[str, Path]]

# Maximum bytes decoded but not yet coded; must hold at least one row.
AHEAD_BYTES = 32 << 20
PR_SET_PDEATHSIG = 1  # of Linux
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc
KEPT_BYTES = 256 << 20


class Found(NamedTuple):
    """The contents of a dataset, and the sizes of their parts.

    images         the type and sizes of each image
    piece_bytes    size of the longest piece of the stream
    region_bytes   size of the largest region decoded as a whole
    """

    images: list[tuple[np.dtype, Sizes]]
    piece_bytes: int
    region_bytes: int


def read_images(
    dataset: Dataset, siblings: Siblings, projections: bool
) -> Iterator[Found | np.ndarray]:
    """The contents of a dataset, then the rows of each image, and of its projections if it has a Z.

    Raises NotAnImageError if it cannot be read as an image, and InputError if it cannot be read.
    """
    collection = dataset.name.rpartition("/")[0]
    try:
        with reading_image(dataset.name), ExitStack() as closing:
            images = open_images(dataset.path, siblings.get(collection, {}), closing)
            yield look(images)
            for image in images:
                yield from imagewalk.walk(image)
                if projections and image.sizes.z > 1:
                    yield from imagewalk.walk(imagewalk.Projection(image))
    except OSError as error:
        raise InputError(f"cannot read {quote(dataset.name)}: {error.strerror}") from None


def look(images: Sequence[Image]) -> Found:
    """Describe images. Raises UnreadableError for rows that are too long."""
    piece_bytes = max(map(imagewalk.piece_bytes, images))
    if piece_bytes > AHEAD_BYTES:
        raise UnreadableError(
            f"expected rows of at most {AHEAD_BYTES:,} bytes, found one of {piece_bytes:,}"
        )
    described = [(image.dtype, image.sizes) for image in images]
    return Found(described, piece_bytes, max(map(imagewalk.region_bytes, images)))


def open_images(path: Path, siblings: Mapping[str, Path], closing: ExitStack) -> list[Image]:
    """The images in a file or a directory; files are closed by `closing`."""
    kind = "zarr" if path.is_dir() else kind_of(path)
    if kind in ("zarr", "zip"):
        return open_zarr(path, closing)
    if kind == "tiff":
        return open_tiff(path, siblings, closing)
    check_at_once(path.stat().st_size)
    return [read_picture(kind, path.read_bytes())]


def read_here(dataset: Dataset, siblings: Siblings, projections: bool) -> Iterator[Found | bytes]:
    """As `read_images`, with rows as in the stream, and without a separate process."""
    for item in read_images(dataset, siblings, projections):
        yield item if isinstance(item, Found) else as_stored(item).tobytes()


def as_stored(rows: np.ndarray) -> np.ndarray:
    return rows.astype(imagewalk.stored_type(rows.dtype), copy=False)


class Reader:
    """The process that reads images; it ends with its parent, or when it is closed."""

    def __init__(self, siblings: Siblings, projections: bool):
        self.siblings, self.projections = siblings, projections
        self.memory = mmap.mmap(-1, AHEAD_BYTES)
        self.connection, theirs = Pipe()
        with undisturbed(), warnings.catch_warnings():
            # Python warns about forking with threads. The library's threads are not needed here.
            warnings.simplefilter("ignore")
            parent = os.getpid()
            self.number = os.fork()
            if not self.number:
                self.connection.close()
                self.connection = theirs
                self.serve(parent)
        theirs.close()

    def close(self) -> int:
        """End the process if it has not ended by itself, and return its exit code."""
        self.connection.close()
        os.kill(self.number, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(self.number, 0)[1])

    def read(self, dataset: Dataset) -> Iterator[Found | bytes]:
        """The contents of a dataset, then the streams of its images and projections, in pieces.

        A piece has whole rows of one plane. Raises what `read_images` does, and EOFError or OSError
        if the process has ended.
        """
        self.connection.send(dataset)
        while (message := self.connection.recv()) is not None:
            match message:
                case (int(start), int(stop)):
                    piece = self.memory[start:stop]
                    self.connection.send_bytes(b"")
                    yield piece
                case Found():
                    yield message
                case error:
                    raise error

    def serve(self, parent: int) -> None:
        """In the process: read what is requested until the parent is gone."""
        try:
            end_with(parent)
            for number in (signal.SIGINT, signal.SIGHUP):  # these are for the parent
                signal.signal(number, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            silence()
            limit_memory()
            keep_memory()
            gc.enable()  # libraries leave cycles that contain the metadata of files
            while True:
                self.answer(self.connection.recv())
        finally:
            os._exit(0)

    def answer(self, dataset: Dataset) -> None:
        sent = waiting = 0  # pieces, and those not yet received
        answer = None
        try:
            limit_time(find(dataset).size)
            items = read_images(dataset, self.siblings, self.projections)
            found = next(items)
            self.connection.send(found)
            places = max(1, min(AHEAD_BYTES, 2 * found.region_bytes) // found.piece_bytes)
            for rows in items:
                start = sent % places * found.piece_bytes
                if waiting == places:
                    self.connection.recv_bytes()
                    waiting -= 1
                stored = imagewalk.stored_type(rows.dtype)
                target = np.ndarray(rows.shape, stored, self.memory, start)
                target[...] = rows
                self.connection.send((start, start + target.nbytes))
                sent, waiting = sent + 1, waiting + 1
                del rows  # frees its region before the next one is read
        except Exception as error:
            error.add_note(traceback.format_exc())
            answer = error.with_traceback(None)  # frees the memory of what failed
        self.connection.send(answer)
        for _ in range(waiting):
            self.connection.recv_bytes()


def end_with(parent: int) -> None:
    """Let Linux end this process when its parent ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def silence() -> None:
    """Silence standard error, where libpng prints warnings directly."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def keep_memory() -> None:
    """Let this process reuse memory for one region after the other.

    Otherwise, the kernel would have to clear fresh memory for each, which can take longer than
    decoding it.
    """
    with suppress(AttributeError):  # only glibc has this
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 32 << 20)
        ctypes.CDLL(None).mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
