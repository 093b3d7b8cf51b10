"""Feature files: the features of many planes, so that an archive of images is read only once.

A NumPy file (.npz, a zip file) in which each plane has two arrays, by its number: its features, one
of FEATURE each, and a small grey picture of it. A third one, `planes`, lists names and sizes as
JSON. Nothing in it is trusted: it may come from anybody.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple, Self

import numpy as np

from inputs import Dataset
from messages import InputError, explaining, quote
from panels import MOST_FEATURES, PICTURE_SIDE, Features
from planes import Plane

FORMAT = "ISCC plane features 1"
FEATURE = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("size", "<f4"), ("angle", "<f4"), ("descriptor", "u1", 128)]
)
LONGEST_HEADER = 1 << 28  # bytes, of names and sizes
LONGEST_NAME = 10_000  # characters
LARGEST_SIDE = 1 << 31  # pixels of a plane
HEADER_OF_ARRAY = 1024  # bytes, at most
PLANES = "planes.npy"
PLANES_OF_A_SHELF = 20
# What reading a zip file, JSON or an array raises if it is not one.
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    RuntimeError,  # as for encrypted members, other versions of zip, and deep JSON
)


class Listed(NamedTuple):
    """A plane in a feature file: its name, its sizes, and `Features.pixel`."""

    name: str
    width: int
    height: int
    pixel: float


class Shelf(NamedTuple):
    """Some planes of a feature file, of which the first has the number `start`."""

    name: str
    path: Path
    start: int
    listed: list[Listed]


class Writer:
    """Writes the planes of a feature file one by one."""

    def __init__(self, file: Path | IO[bytes]):
        self.zip = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
        self.listed: list[list] = []

    def add(self, plane: Plane) -> None:
        found = plane.features
        rows = np.zeros(len(found.points), FEATURE)
        rows["x"], rows["y"] = found.points.T
        rows["size"], rows["angle"] = found.sizes, found.angles
        rows["descriptor"] = found.descriptors
        number = len(self.listed)
        self.write(f"{number}.features.npy", rows)
        self.write(f"{number}.picture.npy", found.picture)
        self.listed.append([plane.name, found.width, found.height, found.pixel])

    def add_all(self, store: Dataset) -> None:
        """Add the planes of another feature file."""
        for plane in read_planes(Shelf(store.name, store.path, 0, list_planes(store))):
            self.add(plane)

    def finish(self) -> None:
        """Write the list of the planes."""
        text = json.dumps({"format": FORMAT, "planes": self.listed}).encode()
        self.write(PLANES, np.frombuffer(text, np.uint8))
        self.zip.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.zip.close()

    def write(self, name: str, array: np.ndarray) -> None:
        out = io.BytesIO()
        np.lib.format.write_array(out, array, version=(1, 0), allow_pickle=False)
        # The time in a zip file would make equal files differ.
        self.zip.writestr(zipfile.ZipInfo(name), out.getvalue(), zipfile.ZIP_DEFLATED, 1)


def is_one(path: Path) -> bool:
    """Whether a file is, or claims to be, a feature file."""
    try:
        with zipfile.ZipFile(path) as opened:
            return PLANES in opened.namelist()
    except (OSError, *DAMAGE):
        return False


def shelves(store: Dataset) -> list[Shelf]:
    """The planes of a feature file, some at a time. Raises InputError."""
    listed = list_planes(store)
    starts = range(0, len(listed), PLANES_OF_A_SHELF)
    return [
        Shelf(store.name, store.path, start, listed[start : start + PLANES_OF_A_SHELF])
        for start in starts
    ]


def list_planes(store: Dataset) -> list[Listed]:
    """What a feature file contains. Raises InputError."""
    with opened(store.path, store.name) as file:
        text = read_array(file, PLANES, LONGEST_HEADER)
        if text.dtype != np.uint8 or text.ndim != 1:
            raise ValueError("its list of planes is not a text")
        header = json.loads(text.tobytes())
        if header["format"] != FORMAT:
            raise ValueError(f"its format is {header['format']}")
        listed = [Listed(*each) for each in header["planes"]]
        for each in listed:
            check(each)
        return listed


def check(plane: Listed) -> None:
    """Raise ValueError for a name or sizes that no plane has."""
    if not isinstance(plane.name, str) or not 0 < len(plane.name) <= LONGEST_NAME:
        raise ValueError("a name of a plane is missing or too long")
    plane.name.encode("utf-8", "surrogateescape")
    sizes = (plane.width, plane.height)
    if not all(type(size) is int and 0 < size < LARGEST_SIDE for size in sizes):
        raise ValueError(f"the sizes of {quote(plane.name)} are not possible")
    if type(plane.pixel) not in (int, float) or not 1 <= plane.pixel <= max(sizes):
        raise ValueError(f"the scale of {quote(plane.name)} is not possible")


def read_planes(shelf: Shelf) -> Iterator[Plane]:
    """The planes of a shelf, one by one. Raises InputError."""
    with opened(shelf.path, shelf.name) as file:
        for number, (name, *sizes) in enumerate(shelf.listed, start=shelf.start):
            most = MOST_FEATURES * FEATURE.itemsize
            rows = read_array(file, f"{number}.features.npy", most)
            picture = read_array(file, f"{number}.picture.npy", PICTURE_SIDE**2)
            if rows.dtype != FEATURE or rows.ndim != 1:
                raise ValueError("features are of another type")
            sides = picture.shape
            if (
                picture.dtype != np.uint8
                or len(sides) != 2
                or not 0 < min(sides) <= max(sides) <= PICTURE_SIDE
            ):
                raise ValueError("a picture is of another type")
            points = np.stack([rows["x"], rows["y"]], axis=1)
            arms = np.stack([rows["size"], rows["angle"]], axis=1)
            width, height, pixel = sizes
            inside = (points >= -pixel) & (points <= (width + pixel, height + pixel))
            if not (inside.all() and np.isfinite(arms).all()):
                raise ValueError("features are not in their plane")
            if not (rows["size"] > 0).all():
                raise ValueError("features have no size")
            found = Features(points, *arms.T, rows["descriptor"], *sizes, picture)
            yield Plane(name, found)


def read_array(file: zipfile.ZipFile, name: str, most: int) -> np.ndarray:
    """An array of at most this many bytes. Raises what `opened` expects."""
    if file.getinfo(name).file_size > most + HEADER_OF_ARRAY:
        raise ValueError(f"{name} is too large")
    content = io.BytesIO(file.read(name))
    array = np.lib.format.read_array(content, allow_pickle=False, max_header_size=HEADER_OF_ARRAY)
    if array.nbytes > most:
        raise ValueError(f"{name} is too large")
    return array


@contextmanager
def opened(path: Path, name: str) -> Iterator[zipfile.ZipFile]:
    """A feature file, open. Turns what may be wrong with it into an InputError."""
    try:
        with explaining("read", name), zipfile.ZipFile(path) as file:
            yield file
    except DAMAGE as error:
        raise InputError(
            f"{quote(name)}: expected a feature file of ISCC panels, found a damaged or another "
            f"file ({quote(str(error))})"
        ) from None
