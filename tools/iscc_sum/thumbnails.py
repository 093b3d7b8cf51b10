"""Thumbnails of images, to look at: a zip file of small grey pictures (JPEG), for a manifest.

A picture is called by the columns `datahash` and `pixels` of its line in the manifest. So images
with the same pixels share one, whatever they are called, and no name is in the file. A stack is
shown by its maximum along Z, at the middle of its time points.
"""

import zipfile
from collections.abc import Iterable
from typing import IO

import numpy as np

from grey import Reduction, stretched
from images import Sizes
from manifest import Entry

MOST_SIDE = 128  # pixels along the longer side of a thumbnail
MOST_CHANNELS = 16  # that are shown, as each takes memory
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
    """Keeps thumbnails, each once, in a temporary file until all are there."""

    def __init__(self, file: IO[bytes]):
        self.file = file
        self.places: dict[str, tuple[int, int]] = {}  # in the file: start and size, by name

    def add(self, entry: Entry, jpeg: bytes) -> None:
        if (name := name_of(entry)) not in self.places:
            self.places[name] = self.file.tell(), len(jpeg)
            self.file.write(jpeg)

    def write(self, entries: Iterable[Entry], out: IO[bytes]) -> None:
        """Write the zip file, in the order of the entries."""
        with zipfile.ZipFile(out, "w") as packed:
            for name in dict.fromkeys(map(name_of, entries)):
                start, size = self.places[name]
                self.file.seek(start)
                # The time in a zip file would make equal files differ.
                packed.writestr(zipfile.ZipInfo(name), self.file.read(size))


def name_of(entry: Entry) -> str:
    return f"{entry.datahash} {entry.pixels}.jpg"
