"""OME-Zarr 0.4 and 0.5 (Zarr 2 and 3): an image, the images of bioformats2raw, or a plate; as a
directory or as a zip file.

The zarr library decodes. What it is told by a file is looked at here first: paths that lead out of
the dataset, codecs that would run code (pickle is one), sizes.
"""

import json
import math
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

import numpy as np
import zarr
from zarr.storage import LocalStore, ZipStore

from images import (
    SAMPLES,
    Image,
    Region,
    Sizes,
    UnreadableError,
    check_at_once,
    check_sizes,
    check_type,
    place_axes,
)
from messages import quote

MOST_METADATA_BYTES = 64 << 20
MOST_SCENES = 100_000
CODECS = {"blosc", "bytes", "bz2", "crc32c", "delta", "gzip", "lz4", "lzma", "shuffle", "transpose"}
CODECS |= {"zlib", "zstd", "sharding_indexed"}
PLACES = {name: place for place, name in enumerate("zctyx")}
DTYPE = re.compile(r"[<>|]?(b1|[iu][1248]|f[248])")

# One thread decodes: it runs beside the one that codes, and other images have other processes.
zarr.config.set({"threading.max_workers": 1, "async.concurrency": 1})


def open_zarr(path: Path, closing: ExitStack) -> list[Image]:
    """The images of a Zarr directory or zip file, each with its full resolution only.

    Raises UnreadableError, or what zarr raises.
    """
    source = Folder(path) if path.is_dir() else Zip(path, closing)
    found = [
        ZarrImage(source, scene, entry)
        for scene in scenes(source)
        for entry in multiscales(source, scene)
    ]
    if not found:
        raise UnreadableError("expected an OME-Zarr with an image, found none")
    return found


class Folder:
    """A directory that holds a Zarr: regular files alone, and no links, which may lead anywhere."""

    def __init__(self, path: Path):
        self.path, self.size = path, 0
        waiting = [path]
        while waiting:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        self.size += entry.stat().st_size
                    else:
                        raise UnreadableError(
                            f"expected only files and directories in it, found {quote(entry.name)}"
                        )
        self.root, self.store = "", LocalStore(path, read_only=True)

    def read(self, name: str) -> bytes | None:
        path = self.path / name
        return path.read_bytes() if path.is_file() and fits(path.stat().st_size) else None


class Zip:
    """A zip file that holds a Zarr, at its root or in a directory."""

    def __init__(self, path: Path, closing: ExitStack):
        self.size = path.stat().st_size
        self.zip = closing.enter_context(zipfile.ZipFile(path))
        self.sizes = {each.filename: each.file_size for each in self.zip.infolist()}
        check_at_once(max(self.sizes.values(), default=0))
        marks = (".zattrs", "zarr.json")
        roots = [str(PurePosixPath(name).parent) for name in self.sizes if name.endswith(marks)]
        if not roots:
            raise UnreadableError("expected an OME-Zarr in a zip file, found another zip file")
        root = min(roots, key=lambda root: (root.count("/") + (root != "."), root))
        self.root = "" if root == "." else f"{root}/"
        self.store = ZipStore(path, mode="r")
        closing.callback(self.store.close)

    def read(self, name: str) -> bytes | None:
        name = self.root + name
        return self.zip.read(name) if fits(self.sizes.get(name, -1)) else None


def fits(size: int) -> bool:
    """Whether metadata are there, and not too long. Raises UnreadableError if they are."""
    if size > MOST_METADATA_BYTES:
        raise UnreadableError(f"expected metadata of at most {MOST_METADATA_BYTES:,} bytes")
    return size >= 0


def join(*parts: object) -> str:
    """A path in a Zarr, from what its metadata say. Raises UnreadableError if it leads out."""
    if not all(isinstance(part, str) for part in parts):
        raise UnreadableError("expected the names of groups and arrays as text")
    path = "/".join(part.strip("/") for part in parts if part.strip("/"))
    if any(part in ("", ".", "..") for part in path.split("/")) or "\\" in path or "\0" in path:
        raise UnreadableError(f"expected a path in the dataset, found {quote(path)}")
    return path


def attributes(source: Folder | Zip, group: str) -> dict:
    """What OME-Zarr says of a group; nothing if there is no such group."""
    prefix = f"{group}/" if group else ""
    if text := source.read(f"{prefix}zarr.json"):
        found = json.loads(text).get("attributes", {})
        return found.get("ome", found)
    text = source.read(f"{prefix}.zattrs")
    return json.loads(text) if text else {}


def scenes(source: Folder | Zip) -> Iterator[str]:
    """The groups with images: of a plate those of its wells, or the numbered ones, or the root."""
    root = attributes(source, "")
    if "plate" in root:
        for well in root["plate"]["wells"]:
            path = join(well["path"])
            for image in attributes(source, path)["well"]["images"]:
                yield join(path, image["path"])
    elif "bioformats2raw.layout" in root:
        series = attributes(source, "OME").get("series")
        if series is not None:
            yield from map(join, series)
            return
        for number in range(MOST_SCENES):
            if not attributes(source, str(number)):
                return
            yield str(number)
    else:
        yield ""


def multiscales(source: Folder | Zip, scene: str) -> list[dict]:
    """The images of a group, each with its resolutions. Raises UnreadableError if it has none."""
    found = attributes(source, scene).get("multiscales")
    if not found:
        where = f" in {quote(scene)}" if scene else ""
        raise UnreadableError(f"expected the metadata of an OME-Zarr image{where}, found none")
    return found


class ZarrImage:
    """The full resolution of an image in OME-Zarr."""

    def __init__(self, source: Folder | Zip, scene: str, multiscale: dict):
        path = join(scene, multiscale["datasets"][0]["path"])
        metadata = array_metadata(source, path)
        if "axes" not in multiscale:
            raise UnreadableError("expected an OME-Zarr that names its axes (0.3 or newer)")
        named = [each if isinstance(each, str) else each["name"] for each in multiscale["axes"]]
        names, shape = [name.lower() for name in named], metadata["shape"]
        names = ["samples" if name == SAMPLES else name for name in names]  # no axis of OME-Zarr
        if len(names) != len(shape) or len(set(names)) < len(names) or not {"y", "x"} <= set(names):
            raise UnreadableError(
                f"expected rows, columns and a name for each axis, found {quote(', '.join(named))} "
                f"for {len(shape)} axes"
            )
        places = place_axes(list(zip(names, shape, strict=True)))
        self.names = [places.get(n, name) for n, name in enumerate(names)]
        self.long = [n for n, name in enumerate(names) if name in ("y", "x") or n in places]
        check_at_once(math.prod(metadata["chunks"]) * metadata["dtype"].itemsize)
        self.dtype = check_type(metadata["dtype"])
        self.sizes = self.place(shape)
        check_sizes(self.sizes, self.dtype, source.size)
        version = metadata["zarr_format"]
        where = (source.root + path).strip("/")
        self.array = zarr.open_array(source.store, path=where, mode="r", zarr_format=version)
        if self.array.shape != tuple(shape) or self.array.dtype.newbyteorder("=") != self.dtype:
            raise UnreadableError("expected an array as its metadata say")
        self.chunk = self.place([min(pair) for pair in zip(self.array.chunks, shape, strict=True)])

    def place(self, lengths: list[int]) -> Sizes:
        """The lengths of axes as those of z, c, t, y and x."""
        found = {self.names[number]: int(lengths[number]) for number in self.long}
        return Sizes(*(found.get(name, 1) for name in "zctyx"))

    def read(self, region: Region) -> np.ndarray:
        """The pixels of a region: shape (z, c, t, y, x)."""
        wanted = dict(zip("zct", region[:3], strict=True))
        wanted |= {"y": region.y, "x": range(self.sizes.x)}
        parts = [wanted[name] if n in self.long else range(1) for n, name in enumerate(self.names)]
        pixels = self.array[tuple(slice(part.start, part.stop) for part in parts)]
        order = sorted(range(len(parts)), key=lambda n: PLACES.get(self.names[n], 0))
        shape = [len(wanted[name]) for name in "zctyx"]
        return np.asarray(pixels).transpose(order).reshape(shape)


def array_metadata(source: Folder | Zip, path: str) -> dict:
    """Shape, chunks, type and format of an array. Raises UnreadableError for what is not safe."""
    if text := source.read(f"{path}/zarr.json"):
        found = json.loads(text)
        grid, dtype = found["chunk_grid"], found["data_type"]
        chunks, codecs = grid["configuration"]["chunk_shape"], found["codecs"]
        if grid["name"] != "regular" or found.get("storage_transformers"):
            raise UnreadableError("expected a regular grid of chunks")
        version = 3
    elif text := source.read(f"{path}/.zarray"):
        found = json.loads(text)
        dtype, chunks, version = found["dtype"], found["chunks"], 2
        codecs = [found.get("compressor"), *(found.get("filters") or [])]
        if not (isinstance(dtype, str) and DTYPE.fullmatch(dtype)):
            raise UnreadableError(f"expected integers or real numbers as pixels, found {dtype}")
    else:
        raise UnreadableError(f"a part of it is missing: expected an array, {quote(path)}")
    check_codecs([codec for codec in codecs if codec is not None])
    shape = found["shape"]
    for lengths in (shape, chunks):
        if not all(type(length) is int and length > 0 for length in lengths):
            raise UnreadableError(f"expected an array with pixels, found the shape {lengths}")
    if len(shape) != len(chunks):
        raise UnreadableError("expected chunks with the axes of their array")
    return {
        "shape": shape,
        "chunks": chunks,
        "dtype": check_type(np.dtype(dtype)),
        "zarr_format": version,
    }


def check_codecs(codecs: list[dict]) -> None:
    """Raise UnreadableError for a codec that is not known to do nothing but decode."""
    for codec in codecs:
        name = str(codec.get("name", codec.get("id"))).removeprefix("numcodecs.")
        if name not in CODECS:
            raise UnreadableError(f"expected one of the usual codecs, found {quote(name)}")
        configuration = codec.get("configuration") or {}
        check_codecs(configuration.get("codecs", []))
        check_codecs(configuration.get("index_codecs", []))
