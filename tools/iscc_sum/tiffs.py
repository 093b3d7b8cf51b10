"""Read TIFF: classic and BigTIFF, tiles and strips, OME-TIFF, ImageJ, and other variants that
tifffile supports.

tifffile finds out which pages are which planes, and decodes strips and tiles (with imagecodecs).
Reading them is done here, because tifffile replaces missing ones by zeros, and opens any file that
an OME-TIFF names.
"""

import logging
import math
import os
import struct
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import product, takewhile
from operator import itemgetter
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import tifffile

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
    listening,
    place_axes,
)
from messages import quote
from rasters import jpeg_segments

PALETTE = 3
JPEGS = {6, 7, 33007, 34892}
JPEG_XRS = {22610, 34934}
JPEG_XR_OFFSET, JPEG_XR_BYTES = 0xBCC0, 0xBCC1  # its own tags
# Supported compressions: those that notice missing bytes. Fax does not.
COMPRESSIONS = {1, 5, 8, 32773, 32946, 34887, 34925}  # none, LZW, Deflate, PackBits, LERC, LZMA
COMPRESSIONS |= {33003, 33004, 33005, 34712}  # JPEG 2000
COMPRESSIONS |= {34926, 34927, 34933, 50000, 50001, 50002, 52546}  # Zstandard, WebP, PNG, JPEG XL
COMPRESSIONS |= JPEGS | JPEG_XRS
OWN_NAME = "image"
OTHER_IDENTIFIERS = (
    "expected one identifier (UUID) for each of its files, which no other file has, found others"
)
# Tags that describe how the pixels of a page are stored; equal in all pages of an image.
LAYOUT = {256, 257, 258, 259, 262, 266, 277, 284, 317, 322, 323, 338, 339, 530, 532, 32997, 32998}
LAYOUT |= {278, 320}  # rows of a strip, and the palette
NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # interchangeable types of tags
MOST_LAYOUT_BYTES = 1 << 20
MOST_TAGS = 4096  # in a page

# Rows (among those wanted), columns, and pixels: shape (planes, rows, columns, samples).
Part = tuple[slice, slice, np.ndarray]


def open_tiff(path: Path, siblings: Mapping[str, Path], closing: ExitStack) -> list[Image]:
    """The images in a TIFF file, each only at its full resolution.

    The other files of a multi-file OME-TIFF are found among `siblings`, by name. Files are closed
    by `closing`. Raises UnreadableError, or whatever tifffile raises.
    """
    stream = closing.enter_context(path.open("rb"))
    complaints = closing.enter_context(listening(logging.getLogger("tifffile")))
    # An NDTiff has an index in another file.
    options = {"name": OWN_NAME, "offset": 0, "is_ndtiff": False}
    tif = tifffile.TiffFile(stream, **options)
    ome = ElementTree.fromstring(tif.ome_metadata) if tif.is_ome else None
    if ome is not None and resolve_files(ome, path, siblings):
        resolved = ElementTree.tostring(ome, encoding="unicode")
        tif = tifffile.TiffFile(stream, omexml=resolved, **options)
    len(tif.pages)  # detects a cycle of pages, which would never end
    check_complaints(complaints)
    files = Files(closing, tif, stream.fileno())
    found = [TiffImage(series, files) for series in tif.series]
    check_complaints(complaints)
    if ome is not None:
        check_ome(ome, tif.series)
    if not found:
        raise UnreadableError("expected a TIFF with an image, found none")
    check_images(found, files.size)
    for image in found:
        image.check_pages()
    check_complaints(complaints)  # pages are only read when accessed
    return found


def check_complaints(complaints: Sequence[str]) -> None:
    """Raise UnreadableError if tifffile skipped anything."""
    if complaints:
        raise UnreadableError(f"it is damaged or cut off ({quote(complaints[0])})")


def check_ome(ome: ElementTree.Element, series: Sequence[tifffile.TiffPageSeries]) -> None:
    """Raise UnreadableError if tifffile did not interpret a file as its metadata say."""
    expected = sum(each.tag.endswith("Pixels") for each in ome.iter())
    kinds = [each.kind for each in series]
    if kinds != ["ome"] * expected:
        raise UnreadableError(
            f"expected the pixels of {expected:,} images, as its OME metadata say, found those "
            f"of {kinds.count('ome'):,}"
        )


def resolve_files(ome: ElementTree.Element, path: Path, siblings: Mapping[str, Path]) -> bool:
    """Insert the paths of its files into the metadata of an OME-TIFF; whether it has any.

    No file is opened because metadata name it: only datasets of the same run are.
    """
    if any(element.tag.endswith("BinaryOnly") for element in ome):
        raise UnreadableError(
            "its OME metadata are in another file, which cannot be read here; convert it to an "
            "OME-TIFF that contains its metadata"
        )
    own = ome.get("UUID")
    files = [each for each in ome.iter() if each.tag.endswith("UUID")]
    if all(each.text == own for each in files):
        return False
    others = [each for each in files if own is None or each.text != own]
    # If there is only one file, it is this one, whatever its name was.
    is_alone = own is None and len({each.text for each in files}) == 1
    paths: dict[str | None, Path] = {} if own is None else {own: path}
    for each in others:
        other = path if is_alone else find_sibling(each.get("FileName", ""), siblings)
        if not each.text or paths.setdefault(each.text, other) != other:
            raise UnreadableError(OTHER_IDENTIFIERS)
    if len(set(paths.values())) < len(paths):
        raise UnreadableError(OTHER_IDENTIFIERS)
    for each in others:
        other = paths[each.text]
        each.set("FileName", OWN_NAME if other == path else str(other.absolute()))
    return True


def find_sibling(name: str, siblings: Mapping[str, Path]) -> Path:
    """The dataset with this name, or with this name without extensions, which Galaxy may remove."""
    called = name
    while called not in siblings:
        called, dot, _ = called.rpartition(".")
        if not dot:
            raise UnreadableError(
                f"it is one file of several, and {quote(name)} is not among the datasets; put all "
                "files of the image into one collection"
            )
    return siblings[called]


class Files:
    """The files that contain the pages of a TIFF; at most two of them are open."""

    def __init__(self, closing: ExitStack, tif: tifffile.TiffFile, descriptor: int):
        self.tif, self.own = tif, descriptor
        self.other, self.close_other = "", closing.enter_context(ExitStack())
        self.others: set[str] = set()
        self.sorted_pages: list[tuple[int, tifffile.TiffPage]] = []
        self.effort: Effort | None = None

    def read(self, parent: tifffile.TiffFile, offset: int, count: int) -> bytes:
        """Read bytes of a file. Raises UnreadableError if they are not all there."""
        check_at_once(count)
        if offset <= 0 or count <= 0:
            raise UnreadableError("a part of it is missing: expected pixels, found none")
        data = os.pread(self.descriptor(parent), count, offset) if offset < 1 << 63 else b""
        if len(data) < count:
            raise UnreadableError(
                f"it is cut off: expected {count:,} bytes at {offset:,}, found {len(data):,}"
            )
        return data

    def descriptor(self, parent: tifffile.TiffFile) -> int:
        if parent is self.tif:
            return self.own
        if parent.filehandle.path != self.other:
            self.close_other.close()
            self.other = parent.filehandle.path
            self.opened = os.open(self.other, os.O_RDONLY)
            self.close_other.callback(os.close, self.opened)
        return self.opened

    def add(self, pages: Iterable[tifffile.TiffPage]) -> None:
        """Record which files contain these pages."""
        parents = {each.parent for each in pages} - {self.tif}
        self.others |= {each.filehandle.path for each in parents}

    @property
    def size(self) -> int:
        """The size in bytes of the recorded files and of the TIFF itself."""
        return os.fstat(self.own).st_size + sum(Path(each).stat().st_size for each in self.others)

    def pages_between(self, start: int, stop: int) -> Iterator[tuple[int, tifffile.TiffPage]]:
        """The pages of the TIFF itself that are, or whose pixels begin, in a range, and where."""
        if not self.sorted_pages:
            pages = self.tif.pages
            both = ((at, page) for page in pages for at in (page.offset, *page.dataoffsets[:1]))
            self.sorted_pages = sorted(both, key=itemgetter(0))
        first = bisect_left(self.sorted_pages, start, key=itemgetter(0))
        yield from takewhile(lambda each: each[0] < stop, self.sorted_pages[first:])

    def tags(self, page: tifffile.TiffPage) -> Iterator[tuple[int, int, int, bytes]]:
        """The tags of a page as in its file: code, type, length, and values or their offset.

        tifffile does not read the tags of most pages.
        """
        tiff = page.parent.tiff
        head = self.read(page.parent, page.offset, tiff.tagnosize)
        (count,) = struct.unpack(tiff.tagnoformat, head)
        if count > MOST_TAGS:
            raise UnreadableError(f"expected at most {MOST_TAGS:,} tags in a page, found {count:,}")
        size = count * struct.calcsize(tiff.tagheaderformat)
        data = self.read(page.parent, page.offset + len(head), size) if count else b""
        return struct.iter_unpack(tiff.tagheaderformat, data)

    def values(self, parent: tifffile.TiffFile, kind: int, length: int, field: bytes) -> tuple:
        """The numbers of a tag; or its type and bytes, if it is of another type."""
        order, form = parent.tiff.byteorder, tifffile.TIFF.DATA_FORMATS.get(kind, "s")
        size = struct.calcsize(order + form) * length
        if size > len(field):
            if size > MOST_LAYOUT_BYTES:
                raise UnreadableError(
                    f"expected tags of at most {MOST_LAYOUT_BYTES:,} bytes, found one of {size:,}"
                )
            field = self.read(parent, *struct.unpack(parent.tiff.offsetformat, field), size)
        if kind in NUMBERS:
            return struct.unpack(f"{order}{length}{NUMBERS[kind]}", field[:size])
        return kind, field[:size]

    def decoding(self, count: int) -> None:
        """Count what is decoded. Raises UnreadableError if it becomes too much."""
        self.effort = self.effort or Effort(self.size)
        self.effort.spend(count)


class TiffImage:
    """An image that tifffile found: a series of pages.

    A page has the shape (separate samples, depth, rows, columns, samples). Its planes are numbered
    by all axes except rows and columns; its pages by the axes of the series that a page does not
    have.
    """

    def __init__(self, series: tifffile.TiffPageSeries, files: Files):
        page = series.keyframe
        self.series, self.page, self.files = series, page, files
        axes, shape = series.get_axes(squeeze=False).lower(), series.get_shape(squeeze=False)
        if "y" not in axes or "x" not in axes:
            raise UnreadableError(f"expected rows and columns, found the axes {axes.upper()!r}")
        if page.dtype is None or series.transform:
            raise UnreadableError(
                "it is a variant of TIFF that cannot be read; convert it to OME-TIFF"
            )
        if page.compression not in COMPRESSIONS:
            raise UnreadableError(
                f"expected a compression that can be checked, found {quote(str(page.compression))}"
            )
        self.separate, self.depth, rows, columns, self.samples = page.shaped
        self.stored = check_type(page.dtype)
        self.palette = palette_of(page)
        self.dtype = self.stored if self.palette is None else self.palette.dtype
        places = place_axes(list(zip(axes, shape, strict=True)))
        names = [places.get(number, name) for number, name in enumerate(axes)]
        long = {name: size for name, size in zip(names, shape, strict=True) if size != 1}
        self.colours = long.get(SAMPLES, 1) if self.palette is None else self.palette.shape[1]
        channels = long.get("c", 1) * self.colours
        self.sizes = Sizes(long.get("z", 1), channels, long.get("t", 1), rows, columns)
        self.steps = steps(names, shape, page.shaped)
        self.pages = [] if self.is_contiguous else list(series)
        if None in self.pages or len(series) * page.size != math.prod(shape):
            raise UnreadableError("a part of it is missing: expected more pages than there are")
        files.add(self.pages)
        check_sizes(self.sizes, self.dtype, files.size)
        self.deep, self.high, self.wide = 1, page.rowsperstrip, columns
        if page.is_final:
            self.high = 1
        elif page.is_tiled:
            self.deep, self.high, self.wide = page.tiledepth, page.tilelength, page.tilewidth
        # The planes of a page that are stored together are consecutive along one axis.
        along = next((name for name, step in self.steps.items() if step == (0, self.samples)), "")
        deep = {along: min(self.deep, self.depth, long.get(along, 1))}
        colours = self.colours if self.samples > 1 or self.palette is not None else 1
        z, c, t = (deep.get(name, 1) for name in "zct")
        self.chunk = Sizes(z, c * colours, t, min(self.high, rows), columns)

    @property
    def is_contiguous(self) -> bool:
        """Whether all pages are one array in the file; ImageJ then lists only the first."""
        return self.series.dataoffset is not None and not self.series.is_multifile

    def check_pages(self) -> None:
        """Raise UnreadableError if pages are stored unlike the first, or elsewhere than it implies.

        tifffile only inspects some of them, and assumes that the others are the same.
        """
        first = self.layout(self.page)
        for page in [self.page] if self.is_contiguous else self.pages:
            self.check_page(page, first)
        if self.is_contiguous:
            self.check_contiguous(first)

    def check_page(self, page: tifffile.TiffPage, first: dict[int, tuple]) -> None:
        if page is not self.page and (page.offset <= 0 or self.layout(page) != first):
            raise UnreadableError(
                "expected all pages to be stored in the same way, found one that differs"
            )
        if not self.page.is_final or self.page.is_stk or self.page.is_lsm:
            return
        ends = map(sum, zip(page.dataoffsets, self.page.databytecounts, strict=False))
        if list(page.dataoffsets[1:]) != list(ends)[:-1]:
            raise UnreadableError(
                "expected each strip to follow the one before it, found one elsewhere"
            )
        if sum(self.page.databytecounts) < self.page.nbytes:
            raise UnreadableError("a part of it is missing: expected longer strips than there are")

    def check_contiguous(self, first: dict[int, tuple]) -> None:
        """Raise UnreadableError if anything but pixels is where all pages should be, one by one."""
        start = self.series.dataoffset
        stop = start + math.prod(self.series.get_shape(squeeze=False)) * self.stored.itemsize
        for place, page in self.files.pages_between(start, stop):
            if place == page.offset or (place - start) % self.page.nbytes:
                raise UnreadableError("a part of it is missing: expected more pages than there are")
            self.check_page(page, first)
        pages = self.files.tif.pages
        if self.series.kind == "imagej" and len(pages) > 1 and len(pages) != len(self.series):
            raise UnreadableError(
                f"expected {len(self.series):,} pages, as ImageJ's description says, found "
                f"{len(pages):,}"
            )

    def layout(self, page: tifffile.TiffPage) -> dict[int, tuple]:
        """How the pixels of a page are stored, according to its tags."""
        found: dict[int, tuple] = {}
        for code, kind, length, field in self.files.tags(page):
            if code not in LAYOUT or (code == 320 and self.palette is None):
                continue
            if code in found:
                raise UnreadableError("expected each tag once in a page, found one twice")
            found[code] = self.files.values(page.parent, kind, length, field)
        return found

    def read(self, region: Region) -> np.ndarray:
        """The pixels of a region: shape (z, c, t, y, x)."""
        pixels = np.empty((*map(len, region), self.sizes.x), self.dtype)
        wanted: dict[tuple[int, int], list] = defaultdict(list)
        places = np.ndindex(pixels.shape[:3])
        for place, (z, c, t) in zip(places, product(*region[:3]), strict=True):
            page, slab, plane, sample = self.locate(z, c, t)
            wanted[page, slab].append((pixels[place], plane, sample))
        parts = self.contiguous_part if self.page.is_final else self.parts
        for (page, slab), planes in wanted.items():
            for rows, columns, part in parts(page, slab, region.y):
                for target, plane, sample in planes:
                    if self.palette is None:
                        target[rows, columns] = part[plane, ..., sample]
                    else:
                        target[rows, columns] = self.palette[part[plane, ..., 0], sample]
        return pixels

    def locate(self, z: int, c: int, t: int) -> tuple[int, int, int, int]:
        """The position of a plane: page, slab (planes stored together), plane, and sample."""
        channel, colour = divmod(c, self.colours)
        at = {"z": z, "c": channel, "t": t, SAMPLES: colour}
        page = sum(at[name] * step for name, (step, _) in self.steps.items())
        inside = sum(at[name] * step for name, (_, step) in self.steps.items())
        level, sample = divmod(inside, self.samples)
        separate, depth = divmod(level, self.depth)
        slab, plane = divmod(depth, self.deep)
        slab += separate * -(-self.depth // self.deep)
        return page, slab, plane, colour if self.palette is not None else sample

    def contiguous_part(self, page: int, plane: int, wanted: range) -> Iterator[Part]:
        """Some rows of a plane that is stored without strips or tiles."""
        parent, start = self.page.parent, self.series.dataoffset
        if self.is_contiguous:
            start += page * self.page.nbytes
        else:
            parent, start = self.pages[page].parent, self.pages[page].dataoffsets[0]
        row_bytes = self.sizes.x * self.samples * self.stored.itemsize
        start += (plane * self.sizes.y + wanted.start) * row_bytes
        data = self.files.read(parent, start, len(wanted) * row_bytes)
        pixels = np.frombuffer(data, self.stored.newbyteorder(parent.byteorder))
        yield slice(None), slice(None), pixels.reshape(1, len(wanted), self.sizes.x, self.samples)

    def parts(self, page: int, slab: int, wanted: range) -> Iterator[Part]:
        """The strips or tiles that contain some rows, each decoded once."""
        high, wide = self.high, self.wide
        down, across = -(-self.sizes.y // high), -(-self.sizes.x // wide)
        for row in range(wanted.start // high, -(-wanted.stop // high)):
            top = row * high
            first, last = max(wanted.start, top), min(wanted.stop, top + high)
            for column in range(across):
                left = column * wide
                size = min(high, self.sizes.y - top), min(wide, self.sizes.x - left)
                part = self.decode(page, (slab * down + row) * across + column, size)
                rows = slice(first - wanted.start, last - wanted.start)
                columns = slice(left, left + size[1])
                yield rows, columns, part[:, first - top : last - top, : size[1]]

    def decode(self, page: int, index: int, size: tuple[int, int]) -> np.ndarray:
        """A strip or tile: shape (planes, rows, columns, samples).

        Raises UnreadableError if it has fewer rows or columns than `size`.
        """
        keyframe, at = self.page, self.pages[page]
        count = self.deep * self.high * self.wide * self.samples * self.stored.itemsize
        check_at_once(count)
        if index >= min(len(at.dataoffsets), len(at.databytecounts)):
            raise UnreadableError(
                "a part of it is missing: expected more strips or tiles than there are"
            )
        self.files.decoding(count)
        data = self.files.read(at.parent, at.dataoffsets[index], at.databytecounts[index])
        if not keyframe.jpegheader:
            check_end(data, keyframe.compression)
        options = {"jpegtables": at.jpegtables, "jpegheader": keyframe.jpegheader}
        part = at.decode(data, index, **options)[0]
        rows, columns, samples = part.shape[1:]
        is_whole = rows >= size[0] and columns >= size[1] and samples == self.samples
        if not is_whole or part.dtype != self.stored:
            raise UnreadableError(
                f"expected a strip or tile of {(*size, self.samples)} {self.stored}, "
                f"found {part.shape[1:]} {part.dtype}"
            )
        return part


def check_end(data: bytes, compression: int) -> None:
    """Raise UnreadableError if a strip or tile is truncated and its decoder would not notice."""
    if compression in JPEGS:
        deque(jpeg_segments(data), maxlen=0)
    if compression in JPEG_XRS:
        (place,) = struct.unpack_from("<I", data, 4)
        (count,) = struct.unpack_from("<H", data, place)
        tags = dict(struct.iter_unpack("<HxxxxxxI", data[place + 2 : place + 2 + 12 * count]))
        if tags[JPEG_XR_OFFSET] + tags[JPEG_XR_BYTES] > len(data) or not tags[JPEG_XR_BYTES]:
            raise UnreadableError("expected a whole JPEG XR, found one that is cut off")


def steps(
    names: Sequence[str], shape: Sequence[int], page: Sequence[int]
) -> dict[str, tuple[int, int]]:
    """The number of pages, and of planes in a page, that one step along each long axis takes.

    The innermost axes are those of a page. Raises UnreadableError if they do not form one.
    """
    found: dict[str, tuple[int, int]] = {}
    in_page = of_pages = 1
    size = math.prod(page)
    for number in reversed(range(len(names))):
        length = shape[number]
        if math.prod(shape[number:]) > size:
            found[names[number]] = (of_pages, 0)
            of_pages *= length
        elif names[number] not in "yx" and length != 1:
            found[names[number]] = (0, in_page)
            in_page *= length
    rows, columns = (shape[names.index(name)] for name in "yx")
    if (rows, columns) != tuple(page[2:4]) or in_page * rows * columns != size:
        raise UnreadableError("expected pages that together make up the image, found others")
    return {name: step for name, step in found.items() if step != (0, 0)}


def palette_of(page: tifffile.TiffPage) -> np.ndarray | None:
    """The colours of an image with a palette: shape (entries, 3), 8 bits; or None."""
    if page.photometric != PALETTE:
        return None
    colours = np.asarray(page.colormap)
    if colours.ndim != 2 or colours.shape[0] != 3 or colours.shape[1] < 2**page.bitspersample:
        raise UnreadableError("expected a palette with all colours, found one with fewer")
    # TIFF has 16 bits per colour. Programs repeat or shift 8-bit values; old ones store them as is.
    return (colours.T >> 8 if colours.max() > 255 else colours.T).astype(np.uint8)
