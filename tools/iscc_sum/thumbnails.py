"""Thumbnails of images, to look at: a zip file of small grey pictures (JPEG), for a manifest.

A picture is called by the columns `datahash` and `pixels` of its line in the manifest. So images
with the same pixels share one, whatever they are called, and no name is in the file. A stack is
shown by its maximum along Z, at the middle of its time points.
"""

import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from typing import IO, Self

import numpy as np

from grey import Reduction, stretched
from images import Sizes
from manifest import Entry
from messages import explaining
from outputs import PIECE_BYTES

MOST_SIDE = 128  # pixels along the longer side of a thumbnail
MOST_CHANNELS = 16  # of which the mean is shown, as each takes memory
QUALITY = 60  # of the JPEGs: 3 kB each; with 75, they have 4 kB, and look the same


class Thumbnail:
    """The thumbnail of an image, whose rows are added from the top, plane by plane."""

    def __init__(self, sizes: Sizes):
        self.sizes, self.rows = sizes, 0
        self.plane: Reduction | None = None  # the current one
        self.channels: list[np.ndarray | None] = [None] * min(sizes.c, MOST_CHANNELS)

    def add(self, pixels: np.ndarray) -> None:
        """Add the next rows of a plane: shape (rows, columns)."""
        _, c, t = np.unravel_index(self.rows // self.sizes.y, self.sizes[:3])
        self.rows += len(pixels)
        if t != self.sizes.t // 2 or c >= len(self.channels):
            return
        self.plane = self.plane or Reduction(self.sizes.y, self.sizes.x, MOST_SIDE)
        self.plane.add(pixels)
        if self.rows % self.sizes.y == 0:
            means, before = self.plane.picture(), self.channels[c]
            self.channels[c] = means if before is None else np.maximum(means, before)
            self.plane = None

    def jpeg(self) -> bytes:
        """The mean of the channels, each stretched in contrast."""
        import imagecodecs  # slow to import

        grey = np.mean([stretched(each) for each in self.channels], axis=0)
        return imagecodecs.jpeg8_encode(np.rint(grey).astype(np.uint8), level=QUALITY)


class Kept:
    """Keeps thumbnails, each once, in a temporary file until all are there.

    `name` is the user's name for the file that they will be in. The temporary file is only made if
    there are any. Raises InputError if the system refuses.
    """

    def __init__(self, name: str):
        self.name = name
        self.files = ExitStack()
        self.file: IO[bytes] | None = None
        self.places: dict[str, tuple[int, int]] = {}  # in the file: start and size, by name

    def add(self, entry: Entry, jpeg: bytes) -> None:
        name = name_of(entry)
        if name in self.places:
            return
        with explaining("write", self.name):
            self.file = self.file or self.temporary_file()
            self.places[name] = self.file.tell(), len(jpeg)
            self.file.write(jpeg)

    def packed(self, entries: Iterable[Entry]) -> Iterator[bytes]:
        """The pieces of the zip file, in the order of the entries."""
        with explaining("write", self.name):
            out = self.temporary_file()
            with zipfile.ZipFile(out, "w") as file:
                for name in dict.fromkeys(map(name_of, entries)):
                    start, size = self.places[name]
                    self.file.seek(start)
                    # The time in a zip file would make equal files differ.
                    file.writestr(zipfile.ZipInfo(name), self.file.read(size))
            out.seek(0)
            yield from iter(lambda: out.read(PIECE_BYTES), b"")

    def temporary_file(self) -> IO[bytes]:
        return self.files.enter_context(tempfile.TemporaryFile())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # from writing the rest of a file that failed
            self.files.close()


def name_of(entry: Entry) -> str:
    return f"{entry.datahash} {entry.pixels}.jpg"
