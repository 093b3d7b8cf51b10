"""Stream the pixels of an image in the order in which they are coded (IMAGEWALK), in little memory.

ISCC Enhancement Proposal IEP-0018 (draft of July 2026): the planes of an image, Z outermost, then
C, then T innermost; in each plane the rows from the top, each from the left, as big-endian numbers;
nothing else. docs/pixels.md defines what the proposal leaves open.
"""

import math
from collections.abc import Iterator

import numpy as np

from images import Image, Region, Sizes

# Approximate bytes per read, if the parts that are decoded as a whole allow it.
BAND_BYTES = 4 << 20
# Planes decoded together are kept up to this many bytes; larger ones are decoded several times.
SLAB_BYTES = 64 << 20
# The unit passed to the library that codes: larger ones would require fresh memory each time.
PIECE_BYTES = 256 * 1024


def walk(image: Image) -> Iterator[np.ndarray]:
    """All rows of an image, in the order of IMAGEWALK: shape (rows, columns).

    Each piece is of one plane, and has at most `piece_bytes` bytes.
    """
    high = piece_bytes(image) // row_bytes(image)
    for region in regions(image):
        pixels = image.read(region)
        for z, c, t in np.ndindex(pixels.shape[:3]):
            for top in range(0, len(region.y), high):
                yield pixels[z, c, t, top : top + high]
        del pixels  # frees it before the next region is read


def row_bytes(image: Image) -> int:
    return image.sizes.x * image.dtype.itemsize


def piece_bytes(image: Image) -> int:
    """The maximum size of a piece: whole rows, at least one."""
    return max(1, PIECE_BYTES // row_bytes(image)) * row_bytes(image)


def region_bytes(image: Image) -> int:
    """The size in bytes of the first region of an image, which is the largest."""
    return math.prod(map(len, next(regions(image)))) * row_bytes(image)


def regions(image: Image) -> Iterator[Region]:
    """The regions in which an image is read; their planes are consecutive in the stream."""
    sizes, chunk = image.sizes, image.chunk
    plane = sizes.y * row_bytes(image)
    # The planes decoded together, and those between them in the stream.
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
        fitting = BAND_BYTES // row_bytes(image)
        rows = max(chunk.y, fitting // chunk.y * chunk.y)
    for part in pieces(sizes.z, chunk.z, z):
        for channels in pieces(sizes.c, chunk.c, c):
            for times in pieces(sizes.t, chunk.t, t):
                for top in range(0, sizes.y, rows):
                    yield Region(part, channels, times, range(top, min(top + rows, sizes.y)))


def pieces(length: int, chunk: int, count: int) -> Iterator[range]:
    """Split an axis into pieces of at most `count`, each of whole chunks or a part of one."""
    step = length if count >= length else max(chunk, count // chunk * chunk)
    for start in range(0, length, step):
        stop = min(start + step, length)
        for first in range(start, stop, count):
            yield range(first, min(first + count, stop))


def stored_type(dtype: np.dtype) -> np.dtype:
    """The type of pixels in the stream: big-endian; True is 1."""
    return np.dtype("u1") if dtype.kind == "b" else dtype.newbyteorder(">")


class Projection:
    """The maximum of an image along Z: an image with one plane per channel and time."""

    def __init__(self, image: Image):
        self.image, self.dtype = image, image.dtype
        self.sizes = image.sizes._replace(z=1)
        self.chunk = image.chunk._replace(z=1)

    def read(self, region: Region) -> np.ndarray:
        """The pixels of a region: shape (1, c, t, y, x). Any NaN makes the maximum NaN."""
        together = self.image.chunk.z
        found = None
        for part in pieces(self.image.sizes.z, together, together):
            pixels = self.image.read(region._replace(z=part)).max(axis=0, keepdims=True)
            found = pixels if found is None else np.maximum(found, pixels)
        return found


def describe(dtype: np.dtype, sizes: Sizes) -> str:
    """The value of the column `pixels`: the walk, the type, and all five sizes."""
    name = stored_type(dtype).name
    z, c, t, y, x = sizes
    return f"imagewalk {name} z{z}c{c}t{t}y{y}x{x}"
