"""Find the thumbnails of images in zip files of iscc_pixels.

A thumbnail is called by the columns `datahash` and `pixels` of an image. Nothing in these files is
trusted: they may come from anybody.
"""

import errno
import io
import struct
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from PIL import Image, UnidentifiedImageError

from columns import Columns
from inputs import Dataset
from messages import InputError, explaining, quote

# Limits of a thumbnail: bytes, several times as many as one has, and pixels along a side.
MOST_BYTES, MOST_SIDE = 1 << 15, 128
# What the standard library raises for a damaged zip file.
DAMAGE = (zipfile.BadZipFile, struct.error, ValueError, EOFError, RuntimeError, OverflowError)


def check(files: Sequence[Dataset]) -> None:
    """Raise InputError unless all of these are zip files, by their ends."""
    for each in files:
        with reading(each.name), each.path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise ValueError("it is not a zip file")


def find(files: Sequence[Dataset], entries: Columns, rows: np.ndarray) -> dict[int, np.ndarray]:
    """The thumbnails of some entries, by row, where there are any: uint8, two axes.

    The first file that has one counts. Raises InputError for a damaged file or thumbnail.
    """
    wanted = {
        row: f"{datahash} {entries.pixels[row]}.jpg"
        for row, datahash in zip(rows.tolist(), entries.datahashes(rows), strict=True)
        if datahash is not None and entries.pixels[row] is not None
    }
    found: dict[str, np.ndarray] = {}
    for each in files:
        with reading(each.name), zipfile.ZipFile(each.path) as packed:
            for name in {*wanted.values()} - {*found}:
                if name in packed.NameToInfo:
                    found[name] = decode(read(packed, name))
    return {row: found[name] for row, name in wanted.items() if name in found}


def read(packed: zipfile.ZipFile, name: str) -> bytes:
    info = packed.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > MOST_BYTES:
        raise ValueError(f"{name} is compressed or too large")
    return packed.read(info)


def decode(jpeg: bytes) -> np.ndarray:
    """A grey JPEG: uint8, shape (rows, columns). Raises ValueError for anything else."""
    try:
        with (
            warnings.catch_warnings(action="ignore"),  # about files that cannot be changed
            Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as picture,
        ):
            if picture.mode == "L" and max(picture.size) <= MOST_SIDE:
                return np.asarray(picture)
            found = f"{picture.mode} of {picture.width} x {picture.height}"
    except UnidentifiedImageError:
        raise ValueError("a thumbnail is not a JPEG") from None
    except Exception as error:  # any error of a library about an untrusted file
        raise ValueError(f"a thumbnail cannot be read: {error}") from None
    raise ValueError(f"expected a grey thumbnail of at most {MOST_SIDE} pixels, found {found}")


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn what may be wrong with a file into an InputError."""
    try:
        with explaining("read", name):
            try:
                yield
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                raise ValueError("a place in it is not possible") from None
    except DAMAGE as error:
        raise InputError(
            f"{quote(name)}: expected thumbnails from ISCC pixel manifest, found a damaged or "
            f"another file ({quote(str(error))})"
        ) from None
