"""The stream of an image's pixels that its code is made of (IMAGEWALK), in little memory.

ISCC Enhancement Proposal IEP-0018 (draft of July 2026): the planes of an image, Z outermost, then
C, then T innermost; of each plane the rows from the top, each from the left, as big-endian numbers;
nothing else. What the proposal leaves open is decided in docs/pixels.md.
"""

import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, product
from typing import NamedTuple

import numpy as np

from images import Image, Region, Sizes

# A read is of about so many bytes, where what is decoded together allows it. Two are in memory:
# the next is decoded while one is coded.
BAND_BYTES = 4 << 20
# So many bytes of planes that are decoded together are kept, or else decoded several times.
SLAB_BYTES = 64 << 20
# How long the thread that decodes waits for Python's lock while bytes are coded: Python's own 5 ms
# are longer than it takes to decode a strip.
SWITCH_SECONDS = 0.0005
# What goes to the library that codes: with more it would have to wait for fresh memory.
PIECE_BYTES = 256 * 1024


class Rows(NamedTuple):
    """Some rows of a plane, from row `top`, maybe to the last: shape (rows, columns)."""

    z: int
    c: int
    t: int
    top: int
    is_last: bool
    pixels: np.ndarray


def walk(image: Image) -> Iterator[Rows]:
    """All rows of an image, in the order of IMAGEWALK.

    A thread decodes the next region meanwhile: decoders let go of Python's lock, coding does not.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        with ThreadPoolExecutor(1) as helper:
            waiting = None
            for region in chain(regions(image), [None]):
                after = helper.submit(image.read, region) if region else None
                if waiting:
                    yield from rows_of(*waiting, image.sizes.y)
                waiting = (region, after)
    finally:
        sys.setswitchinterval(interval)


def regions(image: Image) -> Iterator[Region]:
    """The regions that an image is read in; their planes follow each other in the stream."""
    sizes, chunk = image.sizes, image.chunk
    plane = sizes.y * sizes.x * image.dtype.itemsize
    # As many planes as are decoded together, and those between them in the stream.
    deep_z, deep_c = chunk.z > 1, chunk.c > 1
    t = sizes.t if deep_z or deep_c else chunk.t
    c = sizes.c if deep_z else chunk.c
    z = chunk.z
    most = max(1, SLAB_BYTES // plane)
    z = min(z, max(1, most // (c * t)))
    c = min(c, max(1, most // t)) if z == 1 else c
    t = min(t, most) if z == c == 1 else t
    rows = sizes.y
    if z == c == t == 1 and plane > BAND_BYTES:
        fitting = BAND_BYTES // (sizes.x * image.dtype.itemsize)
        rows = max(chunk.y, fitting // chunk.y * chunk.y)
    for part in pieces(sizes.z, chunk.z, z):
        for channels in pieces(sizes.c, chunk.c, c):
            for times in pieces(sizes.t, chunk.t, t):
                for top in range(0, sizes.y, rows):
                    yield Region(part, channels, times, range(top, min(top + rows, sizes.y)))


def pieces(length: int, chunk: int, count: int) -> Iterator[range]:
    """An axis in pieces of at most `count`, each of whole chunks or of a part of one."""
    step = length if count >= length else max(chunk, count // chunk * chunk)
    for start in range(0, length, step):
        stop = min(start + step, length)
        for first in range(start, stop, count):
            yield range(first, min(first + count, stop))


def rows_of(region: Region, read: Future[np.ndarray], height: int) -> Iterator[Rows]:
    """What was read of a region, plane by plane, in the order of the stream."""
    pixels = read.result()
    is_last = region.y.stop == height
    for z, c, t in product(*map(enumerate, region[:3])):
        yield Rows(z[1], c[1], t[1], region.y.start, is_last, pixels[z[0], c[0], t[0]])


def stream(pixels: np.ndarray) -> Iterator[bytes]:
    """Rows as big-endian bytes, in pieces that the library takes fast; True is 1."""
    stored = np.dtype("u1") if pixels.dtype.kind == "b" else pixels.dtype.newbyteorder(">")
    high = max(1, PIECE_BYTES // max(1, pixels.shape[1] * stored.itemsize))
    piece = np.empty((min(high, len(pixels)), pixels.shape[1]), stored)
    for top in range(0, len(pixels), high):
        rows = pixels[top : top + high]
        piece[: len(rows)] = rows
        yield piece[: len(rows)].tobytes()


class Projection:
    """The maximum of an image along Z: an image with one plane for each channel and time."""

    def __init__(self, image: Image):
        self.image, self.dtype = image, image.dtype
        self.sizes = image.sizes._replace(z=1)
        self.chunk = image.chunk._replace(z=1)

    def read(self, region: Region) -> np.ndarray:
        """The pixels of a region: shape (1, c, t, y, x). A pixel that is once NaN is NaN."""
        together = self.image.chunk.z
        found = None
        for part in pieces(self.image.sizes.z, together, together):
            pixels = self.image.read(region._replace(z=part)).max(axis=0, keepdims=True)
            found = pixels if found is None else np.maximum(found, pixels)
        return found


def describe(dtype: np.dtype, sizes: Sizes) -> str:
    """What the column `pixels` says: the walk, the type, and all five sizes."""
    name = "uint8" if dtype.kind == "b" else dtype.name
    z, c, t, y, x = sizes
    return f"imagewalk {name} z{z}c{c}t{t}y{y}x{x}"
