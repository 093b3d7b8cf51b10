"""Read OME-Zarr 0.4 and 0.5 (Zarr 2 and 3): an image, the images of bioformats2raw, or a plate; as
a directory or as a zip file.

The zarr library decodes. The metadata that it will use are checked here first: for paths that lead
out of the dataset, for codecs that would run code (such as pickle), and for sizes.
"""

import json
import math
import os
import re
import zipfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from itertools import takewhile
from pathlib import Path, PurePosixPath

import numpy as np
import zarr
from zarr.storage import LocalStore, ZipStore

from images import (
    SAMPLES,
    Effort,
    Image,
    Region,
    Sizes,
    UnreadableError,
    check_at_once,
    check_images,
    check_sizes,
    check_type,
    place_axes,
)
from messages import quote

ZIP_ENTRY = b"PK\x01\x02"  # the beginning of a directory entry
MOST_METADATA_BYTES = 64 << 20
MOST_METADATA_EXPANSION = 16
MOST_SCENES = 100_000
# Maximum number of chunks in an array, plus one for each this many bytes of the dataset. Chunks may
# be missing, representing pixels of one value, but looking for each takes time.
MOST_CHUNKS, BYTES_OF_A_CHUNK = 100_000, 16
CODECS = {"blosc", "bytes", "bz2", "crc32c", "delta", "gzip", "lz4", "lzma", "shuffle", "transpose"}
SHARDING = "sharding_indexed"
CODECS |= {"zlib", "zstd", SHARDING}
PLACES = {name: place for place, name in enumerate(Sizes._fields)}
NUMBER = re.compile("0|[1-9][0-9]{0,9}")  # of an image
LONGEST_NAME, LONGEST_PATH = 60, 1000  # in characters; Linux has limits in bytes
DTYPE = re.compile(r"[<>|]?(b1|[iu][1248]|f[248])")

# One thread decodes: other images are read by other processes.
zarr.config.set({"threading.max_workers": 1, "async.concurrency": 1})


def open_zarr(path: Path, closing: ExitStack) -> list[Image]:
    """The images in a Zarr directory or zip file, each only at its full resolution.

    Raises UnreadableError, or whatever zarr raises.
    """
    source = Folder(path) if path.is_dir() else Zip(path, closing)
    found: dict[str, ZarrImage] = {}
    for scene in scenes(source):
        for entry in multiscales(source, scene):
            path = join(scene, entry["datasets"][0]["path"])
            if path in found:
                raise UnreadableError(f"expected each image once, found {quote(path)} twice")
            found[path] = ZarrImage(source, path, entry)
    if not found:
        raise UnreadableError("expected an OME-Zarr with an image, found none")
    check_images(list(found.values()), source.size)
    return list(found.values())


class Source:
    """The location of a Zarr. Its metadata are read here, the rest by zarr, from `store`.

    `size` is in bytes; `root` is the directory in `store` that contains the Zarr.
    """

    size: int
    root: str
    store: LocalStore | ZipStore

    def begin(self) -> None:
        self.metadata_left = MOST_METADATA_BYTES + MOST_METADATA_EXPANSION * self.size
        self.effort = Effort(self.size)

    def take(self, size: int) -> bool:
        """Whether metadata exist. Raises UnreadableError if they, or all together, are too long."""
        self.metadata_left -= max(0, size)
        if size > MOST_METADATA_BYTES or self.metadata_left < 0:
            raise UnreadableError(
                f"expected metadata of at most {MOST_METADATA_BYTES:,} bytes, found more"
            )
        return size >= 0


class Folder(Source):
    """A directory that contains a Zarr: only regular files, no links, which may lead anywhere."""

    def __init__(self, path: Path):
        self.path = path
        self.size = sum(size or 0 for _, size in self.names(""))
        self.root, self.store = "", LocalStore(path, read_only=True)
        self.begin()

    def read(self, name: str) -> bytes | None:
        path = self.path / name
        return path.read_bytes() if path.is_file() and self.take(path.stat().st_size) else None

    def top(self) -> Iterable[str]:
        """The contents of the root."""
        return (each.name for each in self.path.iterdir())

    def names(self, group: str) -> Iterator[tuple[str, int | None]]:
        """The contents of a group, at any depth, with the sizes of files; not kept in memory.

        Raises UnreadableError for anything that is neither a file nor a directory.
        """
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            with os.scandir(self.path / group / folder) as entries:
                for entry in entries:
                    name = f"{folder}{entry.name}"
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(f"{name}/")
                        yield name, None
                    elif entry.is_file(follow_symlinks=False):
                        yield name, entry.stat(follow_symlinks=False).st_size
                    else:
                        raise UnreadableError(
                            f"expected only files and directories in it, found {quote(entry.name)}"
                        )


class Zip(Source):
    """A zip file that contains a Zarr, at its root or in a directory."""

    def __init__(self, path: Path, closing: ExitStack):
        self.size = path.stat().st_size
        self.zip = closing.enter_context(zipfile.ZipFile(path))
        entries = self.zip.infolist()
        self.sizes = {each.filename: each.file_size for each in entries}
        if len(self.sizes) < len(entries):
            raise UnreadableError("expected each file in a zip file once, found one twice")
        for each in entries:  # the directory has no checksum
            name = each.orig_filename.encode("utf-8", "replace")
            if ZIP_ENTRY in each.comment + each.extra + name:
                raise UnreadableError(
                    "expected a zip file with an intact directory, found a damaged one"
                )
            self.zip.open(each).close()
        self.sorted_names = sorted(self.sizes)
        check_at_once(max(self.sizes.values(), default=0))
        marks = (".zattrs", "zarr.json")
        roots = [str(PurePosixPath(name).parent) for name in self.sizes if name.endswith(marks)]
        if not roots:
            raise UnreadableError("expected an OME-Zarr in a zip file, found another zip file")
        root = min(roots, key=lambda root: (root.count("/") + (root != "."), root))
        self.root = "" if root == "." else f"{root}/"
        self.store = ZipStore(path, mode="r")
        closing.callback(self.close)
        self.begin()

    def read(self, name: str) -> bytes | None:
        name = self.root + name
        return self.zip.read(name) if self.take(self.sizes.get(name, -1)) else None

    def close(self) -> None:
        with suppress(AttributeError):  # a ZipStore that has read nothing cannot be closed
            self.store.close()

    def top(self) -> Iterable[str]:
        """The contents of the root."""
        inside = (name for name in self.sizes if name.startswith(self.root))
        return {name.removeprefix(self.root).partition("/")[0] for name in inside}

    def names(self, group: str) -> Iterator[tuple[str, int | None]]:
        """The contents of a group, at any depth, with the sizes of files."""
        start = f"{self.root}{group}/"
        first = bisect_right(self.sorted_names, start)
        for name in takewhile(lambda each: each.startswith(start), self.sorted_names[first:]):
            size = None if name.endswith("/") else self.sizes[name]
            yield name.removeprefix(start).rstrip("/"), size


def join(*parts: object) -> str:
    """Join parts of a path from Zarr metadata. Raises UnreadableError if it leads outside."""
    if not all(isinstance(part, str) for part in parts):
        raise UnreadableError(
            "expected the names of groups and arrays as text, found another value"
        )
    path = "/".join(filter(None, (part.strip("/") for part in parts)))
    names = path.split("/")
    is_inside = all(0 < len(name) <= LONGEST_NAME and name not in (".", "..") for name in names)
    if not is_inside or len(path) > LONGEST_PATH or "\\" in path or "\0" in path:
        raise UnreadableError(f"expected a path inside the dataset, found {quote(path)}")
    return path


def attributes(source: Folder | Zip, group: str) -> dict:
    """The OME-Zarr metadata of a group; empty if there is no such group."""
    prefix = f"{group}/" if group else ""
    if text := source.read(f"{prefix}zarr.json"):
        found = json.loads(text).get("attributes", {})
        return found.get("ome", found)
    text = source.read(f"{prefix}.zattrs")
    return json.loads(text) if text else {}


def scenes(source: Folder | Zip) -> Iterator[str]:
    """The groups with images: those of a plate's wells, the numbered ones, or the root."""
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
        # A missing number means a lost image.
        last = max((int(name) for name in source.top() if NUMBER.fullmatch(name)), default=-1)
        if last >= MOST_SCENES:
            raise UnreadableError(f"expected at most {MOST_SCENES:,} images, found {last:,}")
        yield from map(str, range(last + 1))
    else:
        yield ""


def multiscales(source: Folder | Zip, scene: str) -> list[dict]:
    """The images of a group, with their resolutions. Raises UnreadableError if it has none."""
    found = attributes(source, scene).get("multiscales")
    if not found:
        where = f" in {quote(scene)}" if scene else ""
        raise UnreadableError(f"expected the metadata of an OME-Zarr image{where}, found none")
    return found


class ZarrImage:
    """The full resolution of an image in OME-Zarr."""

    def __init__(self, source: Folder | Zip, path: str, multiscale: dict):
        metadata = array_metadata(source, path)
        if "axes" not in multiscale:
            raise UnreadableError("expected an OME-Zarr that names its axes (0.3 or newer)")
        named = [each if isinstance(each, str) else each["name"] for each in multiscale["axes"]]
        names, shape = [name.lower() for name in named], metadata["shape"]
        names = ["samples" if name == SAMPLES else name for name in names]  # not in OME-Zarr
        if len(names) != len(shape) or len(set(names)) < len(names) or not {"y", "x"} <= set(names):
            raise UnreadableError(
                f"expected rows, columns and a name for each axis, found {quote(', '.join(named))} "
                f"for {len(shape)} axes"
            )
        places = place_axes(list(zip(names, shape, strict=True)))
        self.names = [places.get(n, name) for n, name in enumerate(names)]
        self.long = [n for n, name in enumerate(names) if name in ("y", "x") or n in places]
        self.source, self.dtype = source, metadata["dtype"]
        self.chunk_bytes = math.prod(metadata["chunks"]) * self.dtype.itemsize
        check_at_once(self.chunk_bytes)
        self.sizes = self.place(shape)
        check_sizes(self.sizes, self.dtype, source.size)
        check_chunks(source, path, metadata)
        version = metadata["zarr_format"]
        where = (source.root + path).strip("/")
        self.array = zarr.open_array(source.store, path=where, mode="r", zarr_format=version)
        if self.array.shape != tuple(shape) or self.array.dtype.newbyteorder("=") != self.dtype:
            raise UnreadableError(
                "expected an array of the shape and type in its metadata, found another"
            )
        self.chunk = self.place([min(pair) for pair in zip(self.array.chunks, shape, strict=True)])

    def place(self, lengths: list[int]) -> Sizes:
        """The lengths of the array's axes, as those of z, c, t, y and x."""
        found = {self.names[number]: int(lengths[number]) for number in self.long}
        return Sizes(*(found.get(name, 1) for name in Sizes._fields))

    def read(self, region: Region) -> np.ndarray:
        """The pixels of a region: shape (z, c, t, y, x)."""
        wanted = region._asdict() | {"x": range(self.sizes.x)}
        parts = [wanted[name] if n in self.long else range(1) for n, name in enumerate(self.names)]
        chunks = 1
        for part, length in zip(parts, self.array.chunks, strict=True):
            chunks *= -(-part.stop // length) - part.start // length
        self.source.effort.spend(chunks * self.chunk_bytes)
        pixels = self.array[tuple(slice(part.start, part.stop) for part in parts)]
        order = sorted(range(len(parts)), key=lambda n: PLACES.get(self.names[n], 0))
        return np.asarray(pixels).transpose(order).reshape([*map(len, wanted.values())])


def array_metadata(source: Folder | Zip, path: str) -> dict:
    """Shape, chunks, type and format of an array. Raises UnreadableError if unsafe."""
    if text := source.read(f"{path}/zarr.json"):
        found = json.loads(text)
        grid, dtype = found["chunk_grid"], found["data_type"]
        chunks, codecs = grid["configuration"]["chunk_shape"], found["codecs"]
        if grid["name"] != "regular" or found.get("storage_transformers"):
            raise UnreadableError("expected a regular grid of chunks, found another arrangement")
        version, fill = 3, found["fill_value"]
        encoding = found.get("chunk_key_encoding", {"name": "default"})
        start = {"default": "c", "v2": ""}[encoding["name"]]
        separator = (encoding.get("configuration") or {}).get("separator", "/" if start else ".")
    elif text := source.read(f"{path}/.zarray"):
        found = json.loads(text)
        dtype, chunks, version = found["dtype"], found["chunks"], 2
        start, separator, fill = "", found.get("dimension_separator", "."), found.get("fill_value")
        codecs = [found.get("compressor"), *(found.get("filters") or [])]
        if not (isinstance(dtype, str) and DTYPE.fullmatch(dtype)):
            raise UnreadableError(
                f"expected integers or real numbers as pixels, found {quote(str(dtype))}"
            )
    else:
        raise UnreadableError(
            f"a part of it is missing: expected the array {quote(path)}, found none"
        )
    check_codecs([codec for codec in codecs if codec is not None])
    shape = found["shape"]
    for lengths in (shape, chunks):
        if not all(type(length) is int and length > 0 for length in lengths):
            raise UnreadableError(
                f"expected an array with pixels, found the shape {quote(str(lengths))}"
            )
    if len(shape) != len(chunks):
        raise UnreadableError(
            f"expected chunks with the {len(shape)} axes of their array, found {len(chunks)} axes"
        )
    return {
        "shape": shape,
        "chunks": chunks,
        "dtype": check_type(np.dtype(dtype)),
        "zarr_format": version,
        "fill": fill,
        "separator": separator,
        "start": f"{start}{separator}" if start else "",
    }


def check_chunks(source: Folder | Zip, path: str, metadata: dict) -> None:
    """Raise UnreadableError if an array has files besides chunks, or no or too many chunks.

    zarr fills missing chunks. A chunk may be missing because the metadata name it differently, or
    because it was lost.
    """
    pairs = zip(metadata["shape"], metadata["chunks"], strict=True)
    counts = [-(-length // chunk) for length, chunk in pairs]
    expected = math.prod(counts)
    most = MOST_CHUNKS + source.size // BYTES_OF_A_CHUNK
    if expected > most:
        raise UnreadableError(
            f"expected at most {most:,} chunks in {source.size:,} bytes, but it claims {expected:,}"
        )
    start, separator = metadata["start"], metadata["separator"]
    if separator not in ("/", "."):
        raise UnreadableError(f"expected chunks named with / or ., found {quote(str(separator))}")
    number = "(0|[1-9][0-9]{0,17})"
    key = re.compile(re.escape(start) + re.escape(separator).join([number] * len(counts)))
    found = 0
    for name, size in source.names(path):
        match = key.fullmatch(name)
        if match and size == 0:
            raise UnreadableError(f"a part of it is missing: the chunk {quote(name)} is empty")
        if match and size is not None:
            found += 1
            is_chunk = all(int(n) < count for n, count in zip(match.groups(), counts, strict=True))
        else:
            last = name.rpartition("/")[2]
            is_directory = size is None and not match and separator == "/"
            is_chunk = is_directory or last.startswith(".") or last == "zarr.json"
        if not is_chunk:
            raise UnreadableError(
                f"expected only chunks of the array {quote(path)}, found {quote(name)}"
            )
    if not found:
        raise UnreadableError(f"a part of it is missing: the array {quote(path)} has no chunks")
    if found < expected and metadata["fill"] is None:
        raise UnreadableError(
            f"a part of it is missing: the array {quote(path)} has {found:,} of {expected:,} "
            "chunks, and no fill value for the others"
        )


def check_codecs(codecs: list[dict], in_shard: bool = False) -> None:
    """Raise UnreadableError for a codec that is not known to do nothing but decode.

    Nested shards are refused: zarr fills an inner shard that is not where the outer index says.
    """
    known = CODECS - {SHARDING} if in_shard else CODECS
    for codec in codecs:
        name = str(codec.get("name", codec.get("id"))).removeprefix("numcodecs.")
        if name not in known:
            where = " in a shard" if in_shard else ""
            raise UnreadableError(
                f"expected one of the codecs {', '.join(sorted(known))}{where}, found {quote(name)}"
            )
        configuration = codec.get("configuration") or {}
        check_codecs(configuration.get("codecs", []), True)
        check_codecs(configuration.get("index_codecs", []), True)
