"""Find the thumbnails of images in zip files of iscc_pixels.

A thumbnail is called by the columns `datahash` and `pixels` of an image. Nothing in these files is
trusted: they may come from anybody.
"""

import io
import struct
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
from PIL import Image

from columns import Columns
from inputs import Dataset
from messages import InputError, explaining, quote

# Limits of a thumbnail: bytes, several times as many as one has, and pixels along a side.
MOST_BYTES, MOST_SIDE = 1 << 15, 128
# What the standard library raises for a damaged zip file.
DAMAGE = (zipfile.BadZipFile, struct.error, ValueError, EOFError, RuntimeError, OverflowError)


class Gallery:
    """The thumbnails in some files, which stay open as long as the gallery."""

    def __init__(self, files: Sequence[Dataset]):
        self.names = [each.name for each in files]
        self.opened = ExitStack()
        self.zips = []
        for each in files:
            with reading(each.name):
                self.zips.append(self.opened.enter_context(zipfile.ZipFile(each.path)))

    def __enter__(self) -> "Gallery":
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.close()

    def find(self, entries: Columns, rows: np.ndarray) -> dict[int, np.ndarray]:
        """The thumbnails of some entries, by row, where there are any: uint8, two axes."""
        found = {}
        hashes = entries.datahashes(rows)
        for row, datahash in zip(rows.tolist(), hashes, strict=True):
            picture = self.read(f"{datahash} {entries.pixels[row]}.jpg")
            if picture is not None:
                found[row] = picture
        return found

    def read(self, member: str) -> np.ndarray | None:
        """The first thumbnail of this name. Raises InputError if it is damaged."""
        for name, packed in zip(self.names, self.zips, strict=True):
            if member not in packed.NameToInfo:
                continue
            with reading(name):
                info = packed.getinfo(member)
                if info.compress_type != zipfile.ZIP_STORED or info.file_size > MOST_BYTES:
                    raise ValueError(f"{member} is compressed or too large")
                return decode(packed.read(info))
        return None


def decode(jpeg: bytes) -> np.ndarray:
    """A grey JPEG: uint8, shape (rows, columns). Raises ValueError for anything else."""
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as picture:
            if picture.mode == "L" and max(picture.size) <= MOST_SIDE:
                return np.asarray(picture)
    except Exception as error:  # any error of a library about an untrusted file
        raise ValueError(f"a thumbnail cannot be read: {error}") from None
    raise ValueError(
        f"expected a grey thumbnail of at most {MOST_SIDE} pixels, found {picture.mode} of "
        f"{picture.width} x {picture.height}"
    )


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn what may be wrong with a file into an InputError."""
    try:
        with explaining("read", name):
            yield
    except DAMAGE as error:
        raise InputError(
            f"{quote(name)}: expected thumbnails from ISCC pixel manifest, found a damaged or "
            f"another file ({quote(str(error))})"
        ) from None
