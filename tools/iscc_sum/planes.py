"""The planes of images as small grey pictures with local features, among which panels are found.

Names are those in manifests of pixels: name/z0c1t0 for a plane of an image with several, and
name/zmaxc1t0 for the maximum along Z. An image of one depth and time point with several channels,
or colours, is also there as a whole, as people see it: the mean of its channels.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

import imagewalk
import panels
from grey import Reduction, stretched
from images import Sizes
from inputs import Dataset
from pixels import check_end, names_of, reporting, take
from reader import Found

# Planes are reduced, while they are read, to at most this many pixels along the longer side.
MOST_SIDE = 2 * panels.SIDE


class Plane(NamedTuple):
    """The name of a plane, and its features."""

    name: str
    features: panels.Features


def read_planes(
    dataset: Dataset, pieces: Iterator[Found | bytes], report: Callable[[float], None]
) -> Iterator[Plane]:
    """The planes of a dataset, and maximum projections, from the pieces that a reader yields.

    Of an image in colour, or with several channels, also the mean of these.
    """
    images = next(pieces).images
    pieces = reporting(pieces, report)
    for name, (dtype, sizes) in zip(names_of(dataset, images), images, strict=True):
        total = np.float32(0)
        is_picture, planes = sizes.z == sizes.t == 1, sizes.z * sizes.c * sizes.t
        for z, c, t in np.ndindex(sizes[:3]):
            grey = stretched(read_plane(dtype, sizes, pieces, MOST_SIDE))
            yield plane(name if planes == 1 else f"{name}/z{z}c{c}t{t}", grey, sizes)
            total = total + grey if is_picture else total
        if is_picture and planes > 1:
            yield plane(name, stretched(total), sizes)
        if sizes.z > 1:
            for c, t in np.ndindex(sizes.c, sizes.t):
                grey = stretched(read_plane(dtype, sizes, pieces, MOST_SIDE))
                yield plane(f"{name}/zmaxc{c}t{t}", grey, sizes)
    check_end(pieces)


def read_figures(
    dataset: Dataset, pieces: Iterator[Found | bytes], report: Callable[[float], None], side: int
) -> Iterator[tuple[str, list[np.ndarray]]]:
    """The pictures in a dataset: the name of each, and its colours, uint8, shape (rows, columns).

    Of a stack, each depth and time point is a picture. Large ones are reduced to `side` pixels.
    """
    images = next(pieces).images
    pieces = reporting(pieces, report)
    for name, (dtype, sizes) in zip(names_of(dataset, images), images, strict=True):
        colours: dict[tuple[int, int], list[np.ndarray]] = {}
        for z, _, t in np.ndindex(sizes[:3]):
            grey = stretched(read_plane(dtype, sizes, pieces, side))
            colours.setdefault((z, t), []).append(grey)
        for (z, t), each in colours.items():
            yield name if len(colours) == 1 else f"{name}/z{z}t{t}", each
    check_end(pieces)


def read_plane(dtype: np.dtype, sizes: Sizes, pieces: Iterator[bytes], side: int) -> np.ndarray:
    """The next plane, reduced to `side` pixels if it is larger."""
    reduction = Reduction(sizes.y, sizes.x, side)
    stored = imagewalk.stored_type(dtype)
    for piece in take(pieces, sizes.y * sizes.x * dtype.itemsize):
        reduction.add(np.frombuffer(piece, stored).reshape(-1, sizes.x))
    return reduction.picture()


def plane(name: str, grey: np.ndarray, sizes: Sizes) -> Plane:
    """A plane with its features, in the pixels of the whole plane."""
    return Plane(name, panels.features(grey, sizes.x, sizes.y))
