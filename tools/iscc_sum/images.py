"""The image interface that all readers share, limits for untrusted files, and file detection.

The first bytes of a file decide, never its name or type: Galaxy's files are called `dataset_1.dat`,
and a BigTIFF has the datatype `binary`. Files may be malicious, so sizes are checked before
anything is decoded.
"""

import logging
import resource
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from messages import InputError, quote

# Maximum size in bytes of what can only be decoded at once: a tile, a strip, a chunk, a PNG.
MOST_AT_ONCE = 1 << 30
# Maximum bytes of pixels in an image, plus this many for each byte of its file. No compression of
# real images comes close, but a file of a few bytes can claim any size.
MOST_PIXEL_BYTES = 1 << 30
MOST_EXPANSION = 2_000
# Maximum number of planes, since each takes some time, however small it is.
MOST_PLANES, BYTES_OF_A_PLANE = 100_000, 100
# What is too large to be kept is decoded several times; this is the maximum total in bytes.
MOST_DECODED = 8 << 30
MOST_DECODED_EXPANSION = 8_000
# Memory limit of a process that reads images, as some decoders trust headers.
MOST_MEMORY = 4 << 30

# Processor time limit for reading a dataset: this many seconds, plus one for each this many bytes.
# The slowest decoders need a tenth of that.
MOST_SECONDS, BYTES_OF_A_SECOND = 600, 100_000

SAMPLES = "s"  # of colour, which TIFF distinguishes from channels

TYPES = ("bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)))
TYPES += ("float16", "float32", "float64")


class NotAnImageError(InputError):
    """A dataset cannot be read as an image; the message names it and gives the reason."""


class UnreadableError(Exception):
    """A file cannot be read as an image; the message says what was expected and found."""


class Sizes(NamedTuple):
    """The lengths of the axes: depth, channels (or colours), time, rows, columns."""

    z: int
    c: int
    t: int
    y: int
    x: int


class Region(NamedTuple):
    """A part of an image: whole rows of some planes."""

    z: range
    c: range
    t: range
    y: range


class Image(Protocol):
    """An image: an array of numbers with five axes, which is read region by region.

    dtype     NumPy type of a pixel, in native byte order
    sizes     of the image
    chunk     sizes of the parts that are decoded as a whole
    """

    dtype: np.dtype
    sizes: Sizes
    chunk: Sizes

    def read(self, region: Region) -> np.ndarray:
        """The pixels of a region: shape (z, c, t, y, x)."""


class ArrayImage:
    """An image in memory: shape (z, c, t, y, x)."""

    def __init__(self, array: np.ndarray):
        self.array, self.dtype = array, array.dtype.newbyteorder("=")
        self.sizes, self.chunk = Sizes(*array.shape), Sizes(1, 1, 1, 1, array.shape[-1])

    def read(self, region: Region) -> np.ndarray:
        return self.array[tuple(slice(each.start, each.stop) for each in region)]


def check_type(dtype: object) -> np.dtype:
    """The type of the pixels in native byte order. Raises UnreadableError unless numeric."""
    if str(getattr(dtype, "name", dtype)) not in TYPES:
        raise UnreadableError(
            f"expected integers or real numbers as pixels, found {quote(str(dtype))}"
        )
    return np.dtype(dtype).newbyteorder("=")


def check_sizes(sizes: Sizes, dtype: np.dtype, file_bytes: int) -> None:
    """Raise UnreadableError for sizes that are implausible for the file."""
    pixels = dtype.itemsize
    for size in sizes:
        pixels *= size
    if pixels < 1:
        raise UnreadableError("expected pixels, found an image without any")
    check_pixel_bytes(pixels, file_bytes)


def check_images(images: Sequence[Image], file_bytes: int) -> None:
    """Raise UnreadableError if the total size of all images is implausible for the file.

    Many images can refer to the same few bytes: all wells of a plate, or all pages of a TIFF.
    """
    pixels = planes = 0
    for image in images:
        z, c, t, y, x = image.sizes
        pixels += z * c * t * y * x * image.dtype.itemsize
        planes += z * c * t
    check_pixel_bytes(pixels, file_bytes)
    most = MOST_PLANES + file_bytes // BYTES_OF_A_PLANE
    if planes > most:
        raise UnreadableError(
            f"expected at most {most:,} planes in {file_bytes:,} bytes, but it claims {planes:,}"
        )


def check_pixel_bytes(pixels: int, file_bytes: int) -> None:
    """Raise UnreadableError for more bytes of pixels than a file of this size can contain."""
    most = MOST_PIXEL_BYTES + MOST_EXPANSION * file_bytes
    if pixels > most:
        raise UnreadableError(
            f"expected at most {most:,} bytes of pixels in {file_bytes:,} bytes, but it claims "
            f"{pixels:,}"
        )


class Effort:
    """The amount that has been decoded of a dataset so far."""

    def __init__(self, file_bytes: int):
        self.left = MOST_DECODED + MOST_DECODED_EXPANSION * file_bytes

    def spend(self, count: int) -> None:
        """Count bytes before they are decoded. Raises UnreadableError if it becomes too much."""
        self.left -= count
        if self.left < 0:
            raise UnreadableError(
                "its tiles or chunks would have to be decoded too often, because they are deep "
                "and its planes are large; store it with smaller tiles or chunks"
            )


def check_at_once(count: int) -> None:
    """Raise UnreadableError if too many bytes would have to be decoded at once."""
    if count > MOST_AT_ONCE:
        raise UnreadableError(
            f"expected at most {MOST_AT_ONCE:,} bytes to decode at once, found {count:,}"
        )


def place_axes(axes: Sequence[tuple[str, int]]) -> dict[int, str]:
    """Assign z, c and t to axes, by number, except rows, columns and axes of length 1.

    An axis with another name becomes the first free one of z and t, so that an unlabelled stack of
    pages is one in Z. Raises UnreadableError if none is free.
    """
    long = [(number, name) for number, (name, size) in enumerate(axes) if size != 1]
    places = {number: name for number, name in long if name in ("z", "c", "t")}
    for number, name in long:
        if number in places or name in ("y", "x", SAMPLES):
            continue
        free = [place for place in ("z", "t") if place not in places.values()]
        if not free:
            raise UnreadableError(
                "expected no axes besides depth, channel, time, rows and columns, found the axis "
                f"{name!r} as well"
            )
        places[number] = free[0]
    if len(set(places.values())) < len(places):
        raise UnreadableError("expected each axis once, found one twice")
    return places


@contextmanager
def reading_image(name: str) -> Iterator[None]:
    """Turn any error of a library about an untrusted file into one sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about files that cannot be changed
            yield
    except InputError:
        raise
    except UnreadableError as error:
        raise NotAnImageError(f"cannot read {quote(name)} as an image: {error}") from None
    except MemoryError:
        raise NotAnImageError(
            f"cannot read {quote(name)} as an image: reading it needs more than the limit of "
            f"{MOST_MEMORY:,} bytes of memory"
        ) from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # not e.g. gzip's
            raise
        found = quote(f"{type(error).__name__}: {error}")
        raise NotAnImageError(
            f"cannot read {quote(name)} as an image: it is damaged, cut off, or of a kind that "
            f"cannot be read ({found})"
        ) from None


def limit_memory() -> None:
    """Limit the memory of this process, which reads images, to MOST_MEMORY."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if soft == resource.RLIM_INFINITY or soft > MOST_MEMORY:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, hard))


def most_seconds(file_bytes: int) -> int:
    """The processor time limit, in seconds, for reading a dataset of this size."""
    return MOST_SECONDS + file_bytes // BYTES_OF_A_SECOND


def limit_time(file_bytes: int) -> None:
    """Limit the time of this process for reading the next dataset; beyond it, it is killed."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + most_seconds(file_bytes)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))


class Complaints(logging.Handler):
    """Collects what a library could not read and skipped.

    It logs this as an error, or as a warning if a whole image or some of its planes are concerned.
    Other warnings are about things that do not change pixels, such as an invalid date.
    """

    def __init__(self):
        super().__init__(logging.WARNING)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.levelno >= logging.ERROR or " series " in message or " missing " in message:
            self.found.append(message)


@contextmanager
def listening(logger: logging.Logger) -> Iterator[list[str]]:
    """Collect the complaints of a library, and keep its log messages off standard error."""
    complaints, propagate = Complaints(), logger.propagate
    logger.addHandler(complaints)
    logger.propagate = False
    try:
        yield complaints.found
    finally:
        logger.removeHandler(complaints)
        logger.propagate = propagate


KINDS = {
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
    b"MM\0+": "tiff",
    b"\x89PNG\r\n\x1a\n": "png",
    b"\xff\xd8\xff": "jpeg",
    b"BM": "bmp",
    b"\0\0\0\x0cjP  \r\n\x87\n": "jpeg2000",
    b"\xff\x4f\xff\x51": "jpeg2000",
    b"RIFF": "webp",
    b"PK\x03\x04": "zip",
}
# Common other formats, of microscopes for example, for a helpful message.
OTHER_KINDS = {
    b"ZISRAWFILE": "a CZI",
    b"\xda\xce\xbe\x0a": "an ND2",
    b"\x70\0\0\0": "a LIF",
    b"\xd0\xcf\x11\xe0": "an OIB or ZVI",
    b"\x89HDF\r\n\x1a\n": "an HDF5",
    b"GIF8": "a GIF",
    b"%PDF": "a PDF",
}


def kind_of(path: Path) -> str:
    """The reader for a file, by its first bytes. Raises UnreadableError if there is none."""
    with path.open("rb") as stream:
        beginning = stream.read(16)
    for start, kind in KINDS.items():
        if beginning.startswith(start):
            return kind
    for start, kind in OTHER_KINDS.items():
        if beginning.startswith(start):
            raise UnreadableError(
                f"it is {kind} file; convert it to OME-TIFF or OME-Zarr first, with bfconvert or "
                "bioformats2raw"
            )
    found = f"a file that begins with {beginning[:8].hex(' ')}" if beginning else "an empty file"
    raise UnreadableError(
        f"expected TIFF, PNG, JPEG, BMP, JPEG 2000, WebP or OME-Zarr, found {found}"
    )
