"""Images made to harm: the right codes, or one sentence that names the dataset; never a wrong code.

Each file is read in a worker, as the program does it. What is on standard error is looked at, too:
libraries must not write there.
"""

import io
import json
import os
import random
import shutil
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr

import pixels
import workers
from exploring import EXPLORES, FUZZING, chance
from inputs import Dataset
from messages import InputError

MUTATIONS = 10_000 if FUZZING else 160  # of each kind of mutation, of all files together
MOST_SECONDS = 60  # for one file; the worst of these take a few, on a quiet machine
NAME = "hostile.dat"

Coded = list | str  # what became of a file: (name, code, pixels), or the complaint


def grey(rows: int = 20, columns: int = 24, dtype: str = "u1", seed: int = 0) -> np.ndarray:
    """A picture of which no two rows are the same, and no row is all zeros."""
    wheel = np.random.default_rng(seed)
    return wheel.integers(1, np.iinfo(dtype).max, (rows, columns)).astype(dtype)


def colour(rows: int = 20, columns: int = 24) -> np.ndarray:
    return np.stack([grey(rows, columns, seed=seed) for seed in range(3)], axis=-1)


def stack(planes: int = 4, dtype: str = "u1") -> np.ndarray:
    return np.stack([grey(12, 14, dtype, seed) for seed in range(planes)])


def work(item: tuple[Path, dict[str, Path]], report: Callable[[float], None]) -> Coded:
    """Code a file as the program does. An error that the program would call a bug stays one."""
    path, siblings = item
    dataset = Dataset((path.name,), path)
    try:
        found = pixels.code_dataset(dataset, report, siblings, pixels.Wanted(), True)
    except InputError as error:
        found = str(error)
    if isinstance(found, str):
        return found
    return [(each.name, each.iscc, each.pixels) for each in found]


def code_all(paths: Sequence[Path], siblings: Sequence[Path] = ()) -> list[Coded]:
    """What becomes of each of many files; they share a worker as long as it lives."""
    items = [(path, {each.name: each for each in siblings}) for path in paths]
    found: dict[int, Coded] = {}
    left = list(range(len(items)))
    while left:
        try:
            for index, result in workers.in_processes(work, items, [[i] for i in left], 1, ignore):
                found[index] = result
        except workers.WorkerError as died:
            name = paths[died.index].name
            found[died.index] = f'a process that read "{name}" {died.how}'
        left = [index for index in left if index not in found]
    return [found[index] for index in range(len(items))]


def ignore(count: float) -> None:
    pass


@pytest.fixture
def code(tmp_path: Path, capfd) -> Callable[..., Coded]:
    """Code one file, given as bytes or as where it is; check how it ends and that it ends soon."""

    def run(content: bytes | Path, siblings: Sequence[Path] = (), name: str = NAME) -> Coded:
        path = content
        if isinstance(content, bytes):
            path = tmp_path / name
            path.write_bytes(content)
        capfd.readouterr()
        start = time.monotonic()
        (found,) = code_all([path], siblings)
        assert time.monotonic() - start < MOST_SECONDS
        check(found, path)
        said = capfd.readouterr()
        assert said == ("", "")
        return found

    return run


def check(found: Coded, path: Path) -> None:
    """A complaint is one sentence that names the dataset."""
    if isinstance(found, str):
        assert found.isprintable()
        assert f'"{path.name[:70]}' in found or not path.name.isprintable()
        assert "was killed" not in found and "ended with" not in found, found


# Files that are mutated: small ones of all kinds.


def tiff(array: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **options)
    return stream.getvalue()


def pages(arrays: Sequence[np.ndarray], **options: object) -> bytes:
    """A TIFF of pages that nothing is said of."""
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        for array in arrays:
            writer.write(array, metadata=None, contiguous=False, **options)
    return stream.getvalue()


def volume() -> bytes:
    """A TIFF with tiles of two planes each."""
    planes = np.stack([grey(16, 32, seed=seed) for seed in range(4)])
    return tiff(planes, volumetric=True, tile=(2, 16, 16), photometric="minisblack")


TIFFS = {
    "strips": lambda: tiff(grey(), rowsperstrip=5),
    "deflate": lambda: tiff(grey(dtype="u2"), rowsperstrip=5, compression="zlib", predictor=2),
    "tiles": lambda: tiff(grey(40, 40), tile=(16, 16), compression="lzw"),
    "big": lambda: tiff(grey(dtype="u2"), bigtiff=True, byteorder=">", compression="packbits"),
    "stack": lambda: tiff(stack(), photometric="minisblack", compression="zlib"),
    "contiguous": lambda: tiff(stack(dtype="u2"), photometric="minisblack"),
    "unknown pages": lambda: pages(stack(9), compression="zlib"),
    "imagej": lambda: tiff(stack(dtype="u2"), imagej=True, metadata={"axes": "ZYX"}),
    "ome": lambda: tiff(stack(), ome=True, metadata={"axes": "TYX"}, compression="zlib"),
    "palette": lambda: tiff(
        grey(), photometric="palette", colormap=np.arange(768, dtype="u2").reshape(3, 256) * 80
    ),
    "planar": lambda: tiff(stack(3), photometric="rgb", planarconfig="separate"),
    "jpeg tiles": lambda: tiff(
        colour(32, 32), compression="jpeg", tile=(16, 16), photometric="rgb"
    ),
    "deep": lambda: volume(),
}
PICTURES = {
    "png": lambda: imagecodecs.png_encode(colour()),
    "png, 16 bits": lambda: imagecodecs.png_encode(grey(dtype="u2")),
    "jpeg": lambda: imagecodecs.jpeg_encode(colour(), level=90),
    "jpeg, grey": lambda: imagecodecs.jpeg_encode(grey(), level=90),
    "jp2": lambda: imagecodecs.jpeg2k_encode(colour(), level=0),
    "j2k": lambda: imagecodecs.jpeg2k_encode(grey(dtype="u2"), codecformat="j2k", level=0),
    "webp": lambda: imagecodecs.webp_encode(colour(), lossless=True),
    "webp, lossy": lambda: imagecodecs.webp_encode(colour(), level=80, lossless=False),
    "bmp": lambda: imagecodecs.bmp_encode(colour()),
}
FILES = TIFFS | PICTURES


# Whatever bytes are changed, and wherever a file is cut off.


def mutations(whole: bytes, wheel: random.Random, count: int) -> Iterator[bytes]:
    """A file with some bytes changed, most of them where its header is; with a part of it gone,
    twice or elsewhere; or with more at its end."""
    for _ in range(count):
        changed = bytearray(whole)
        kind = wheel.randrange(8)
        first, second = sorted(wheel.randrange(len(whole)) for _ in range(2))
        if kind == 0:
            del changed[first:second]
        elif kind == 1:
            changed[first:first] = whole[first:second]
        elif kind == 2:
            changed += wheel.randbytes(wheel.randrange(1, 200))
        else:
            for _ in range(wheel.choice((1, 1, 2, 4))):
                place = wheel.randrange(min(len(whole), wheel.choice((32, 300, len(whole)))))
                changed[place] = wheel.choice((0, 1, 2, 127, 128, 255, wheel.randrange(256)))
        yield bytes(changed)


def code_many(folder: Path, contents: Sequence[bytes], capfd) -> list[Coded]:
    """What becomes of many files; each complaint is checked, and that nothing else is said."""
    paths = []
    for number, content in enumerate(contents):
        paths.append(folder / f"{number}.dat")
        paths[-1].write_bytes(content)
    capfd.readouterr()
    start = time.monotonic()
    found = code_all(paths)
    assert time.monotonic() - start < MOST_SECONDS + len(contents) / 20
    assert capfd.readouterr() == ("", "")
    for result, path in zip(found, paths, strict=True):
        check(result, path)
        path.unlink()
    return found


def codes(found: Coded) -> list:
    """What was found of each image, but for its name."""
    return [] if isinstance(found, str) else [each[1:] for each in found]


@EXPLORES
@pytest.mark.parametrize("kind", FILES)
def test_changed_bytes(kind, tmp_path, capfd):
    """A file that is damaged has codes, or is refused in one sentence; it harms nobody."""
    whole = FILES[kind]()
    changed = list(
        mutations(whole, chance(sorted(FILES).index(kind)), MUTATIONS // len(FILES) + 10)
    )
    found = code_many(tmp_path, [whole, *changed], capfd)
    assert codes(found[0])
    if kind.startswith("png"):  # which has checksums
        for content, result in zip(changed, found[1:], strict=True):
            assert isinstance(result, str) or codes(result) == codes(found[0]), content


@pytest.mark.parametrize("kind", FILES)
def test_cut_off(kind, tmp_path, capfd):
    """A file that is cut off has no other codes than the whole; most often none at all."""
    whole = FILES[kind]()
    step = 1 if FUZZING else max(1, len(whole) // 300)
    ends = sorted({*range(1, len(whole), step), *range(len(whole) - 24, len(whole))})
    found = code_many(tmp_path, [whole, *(whole[:end] for end in ends)], capfd)
    assert codes(found[0])
    for end, result in zip(ends, found[1:], strict=True):
        assert isinstance(result, str) or codes(result) == codes(found[0]), end


# Headers that claim what is not there.

HUGE = 0x7FFFFFF0


def patched(content: bytes, place: int, form: str, *values: int) -> bytes:
    changed = bytearray(content)
    struct.pack_into(form, changed, place, *values)
    return bytes(changed)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*each) for each in chunks)


def png_header(width: int, height: int, depth: int, colour: int) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)


def huge_jpeg() -> bytes:
    whole = PICTURES["jpeg"]()
    return patched(whole, whole.index(b"\xff\xc0") + 5, ">HH", 65_500, 65_500)


def huge_jpeg2000() -> bytes:
    whole = PICTURES["jp2"]()
    return patched(whole, whole.index(b"\xff\x4f\xff\x51") + 8, ">II", HUGE, HUGE)


CLAIMS = {
    "png": lambda: png(png_header(HUGE, HUGE, 8, 2), (b"IDAT", b""), (b"IEND", b"")),
    "png, long": lambda: png(png_header(1, HUGE, 16, 6), (b"IDAT", b""), (b"IEND", b"")),
    "bmp": lambda: patched(PICTURES["bmp"](), 18, "<ii", HUGE, -HUGE),
    "bmp, upside down": lambda: patched(PICTURES["bmp"](), 18, "<ii", 24, -(1 << 31)),
    "jpeg": huge_jpeg,
    "jp2": huge_jpeg2000,
    "webp": lambda: patched(PICTURES["webp, lossy"](), 26, "<HH", 16_383, 16_383),
}


@pytest.mark.parametrize("kind", CLAIMS)
def test_huge_claims(kind, code):
    assert isinstance(code(CLAIMS[kind]()), str)


BYTE, TEXT, SHORT, LONG, DOUBLE, LONG8 = 1, 2, 3, 4, 12, 16
SIZES = {BYTE: 1, TEXT: 1, SHORT: 2, LONG: 4, DOUBLE: 8, LONG8: 8, 6: 1, 5: 8, 13: 4, 99: 1}
LETTERS = {BYTE: "B", SHORT: "H", LONG: "I", LONG8: "Q", DOUBLE: "d", 6: "b", 13: "I"}
DATA_AT = 8
Tags = dict[int, tuple]


def page(
    width: int = 24, height: int = 20, offsets: Sequence[int] = (DATA_AT,), **more: object
) -> Tags:
    """The tags of a grey page of 8 bits, uncompressed: code to (type, values)."""
    rows = -(-height // len(offsets))
    counts = [rows * width] * len(offsets)
    tags = {256: (LONG, [width]), 257: (LONG, [height]), 258: (SHORT, [8]), 259: (SHORT, [1])}
    tags |= {262: (SHORT, [1]), 273: (LONG, list(offsets)), 277: (SHORT, [1])}
    tags |= {278: (LONG, [rows]), 279: (LONG, counts)}
    return tags | {int(key[1:]): value for key, value in more.items()}


def raw_tiff(*pages: Tags, data: bytes = b"", next_pages: Sequence[int | None] = ()) -> bytes:
    """A TIFF with tags as they are given: data at 8, and then page by page.

    `next_pages` says of each page where the next one is, if that is not where it is.
    """
    content = bytearray(b"II*\0" + bytes(4) + data)
    content += bytes(len(content) % 2)
    next_pages = [*next_pages, *[None] * len(pages)]
    link = 4
    places = []
    for tags, elsewhere in zip(pages, next_pages, strict=False):
        values, entries = bytearray(), bytearray()
        after = len(content) + 2 + 12 * len(tags) + 4
        for code, (kind, value) in sorted(tags.items()):
            if isinstance(value, bytes):
                count, packed = len(value) // SIZES[kind], value
            else:
                count, packed = len(value), struct.pack(f"<{len(value)}{LETTERS[kind]}", *value)
            if len(packed) > 4:
                field = struct.pack("<I", after + len(values))
                values += packed
            else:
                field = packed.ljust(4, b"\0")
            entries += struct.pack("<HHI", code, kind, count) + field
        places.append(len(content))
        if link is not None:
            struct.pack_into("<I", content, link, len(content))
        link = len(content) + 2 + len(entries)
        content += struct.pack("<H", len(tags)) + entries + bytes(4) + values
        if elsewhere is not None:
            struct.pack_into("<I", content, link, elsewhere)
            link = None
    return bytes(content)


PIXELS = grey().tobytes()


def test_made_up_tiff(code):
    """What the tests below begin with is a TIFF."""
    assert codes(code(raw_tiff(page(), data=PIXELS))) == codes(code(tiff(grey())))


TIFF_CLAIMS = {
    "wide": page(HUGE, HUGE, t279=(LONG, [480])),
    "wide, little data": page(HUGE, 1, t279=(LONG, [480])),
    "strips": page(60_000, 60_000, [DATA_AT] * 1000),
    "strip": page(24, 20, t279=(LONG, [HUGE]), t259=(SHORT, [8])),
    "no rows": page(24, 0),
    "no columns": page(0, 20),
    "samples": page(24, 20, t277=(SHORT, [65_535])),
    "bits": page(24, 20, t258=(SHORT, [65_535])),
    "bits of 0": page(24, 20, t258=(SHORT, [0])),
    "depth": page(24, 20, t32997=(LONG, [HUGE])),
    "many rows of a strip": page(24, 40, t278=(LONG, [0xFFFFFFFF])),
    "tile": page(t322=(LONG, [HUGE]), t323=(LONG, [HUGE]), t324=(LONG, [8]), t325=(LONG, [480])),
    "tile of nothing": page(t322=(LONG, [0]), t323=(LONG, [0]), t324=(LONG, [8]), t325=(LONG, [1])),
    "deep tiles": page(
        t322=(LONG, [16]),
        t323=(LONG, [16]),
        t324=(LONG, [8]),
        t325=(LONG, [480]),
        t32997=(LONG, [2]),
        t32998=(LONG, [HUGE]),
    ),
    "beyond the end": page(offsets=[10_000_000]),
    "partly beyond the end": page(offsets=[4000]),
    "nowhere": page(offsets=[0]),
    "one nowhere": page(24, 20, [DATA_AT, 0]),
    "no bytes": page(t279=(LONG, [0])),
    "fewer bytes": page(t279=(LONG, [100]), t259=(SHORT, [32773])),
    "fewer strips": page(24, 20, [DATA_AT], t278=(LONG, [5])),
    "fewer counts": page(24, 20, [DATA_AT, DATA_AT + 240], t279=(LONG, [240])),
    "unknown compression": page(t259=(SHORT, [12_345])),
    "fax": page(t259=(SHORT, [4]), t258=(SHORT, [1])),
    "predictor": page(t317=(SHORT, [77])),
    "sizes as text": page(t256=(TEXT, b"24\0\0")),
    "sizes as real numbers": page(t257=(DOUBLE, [20.5])),
    "negative": page(t257=(6, [-20])),
    "offsets of no type": page(t273=(99, b"\x08\0\0\0")),
    "complex": page(t258=(SHORT, [64]), t339=(SHORT, [6])),
    "palette without colours": page(t262=(SHORT, [3])),
    "short palette": page(t262=(SHORT, [3]), t320=(SHORT, list(range(30)))),
    "jpeg": page(t259=(SHORT, [7])),
}


@pytest.mark.parametrize("kind", TIFF_CLAIMS)
def test_tiff_claims(kind, code):
    assert isinstance(code(raw_tiff(TIFF_CLAIMS[kind], data=PIXELS)), str)


def test_strips_that_overlap(code):
    """That the same bytes are several strips is no error: so they are read several times."""
    twice = page(24, 40, [DATA_AT, DATA_AT])
    expected = tiff(np.concatenate([grey(), grey()]))
    assert codes(code(raw_tiff(twice, data=PIXELS))) == codes(code(expected))


def test_pages_in_a_circle(code):
    one = raw_tiff(page(), data=PIXELS)
    start = int.from_bytes(one[4:8], "little")
    assert isinstance(code(raw_tiff(page(), data=PIXELS, next_pages=[start])), str)
    several = raw_tiff(page(), page(), page(), data=PIXELS, next_pages=[None, None, start])
    assert isinstance(code(several), str)


def test_next_page_beyond_the_end(code):
    for place in (1_000_000, 0xFFFFFFF0, 1, 7):
        assert isinstance(
            code(raw_tiff(page(), page(), data=PIXELS, next_pages=[None, place])), str
        )


def test_thousands_of_pages(code):
    """They are planes of one image; but not if each claims a lot."""
    many = raw_tiff(*[page(2, 2)] * 5000, data=PIXELS)
    assert codes(code(many))[0][1].endswith("z5000c1t1y2x2")
    lazy = page(30_000, 30_000, t259=(SHORT, [8]), t279=(LONG, [400]))
    assert isinstance(code(raw_tiff(*[lazy] * 5000, data=PIXELS)), str)


def test_many_images_of_the_same_bytes(code):
    """Each claims little more than it may, all together claim far too much."""
    each = [page(40_000 + n, 20_000, t259=(SHORT, [8]), t279=(LONG, [400])) for n in range(300)]
    assert "claims" in code(raw_tiff(*each, data=PIXELS))


def test_subifds_that_are_their_own_parents(code):
    start = DATA_AT + len(PIXELS)
    assert isinstance(code(raw_tiff(page(t330=(LONG, [start])), data=PIXELS)), (str, list))
    assert isinstance(code(raw_tiff(page(t330=(LONG, [HUGE] * 9)), data=PIXELS)), (str, list))


# Pages that are not as the first.


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}], ids=["plain", "deflate"])
def test_page_of_another_size(options, code):
    """tifffile looks at the first, second, eighth and last page, and reads all as it found those."""
    planes = [grey(20, 24, seed=seed) for seed in range(12)]
    assert len(codes(code(pages(planes, rowsperstrip=50, **options)))) == 1
    planes[5] = grey(18, 24)
    assert isinstance(code(pages(planes, rowsperstrip=50, **options)), str)


def test_pages_of_other_sizes_are_other_images(code):
    found = code(pages([grey(20 + n, 24) for n in range(3)]))
    assert [each[0] for each in found] == [f"{NAME}/{number}" for number in range(3)]


def test_pages_with_other_palettes(code):
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        for seed in range(2):
            colours = grey(3, 256, "u2", seed)
            options = {"photometric": "palette", "colormap": colours}
            writer.write(grey(), metadata=None, contiguous=False, **options)
    assert "stored alike" in code(stream.getvalue())


def test_pages_with_strips_elsewhere(code):
    """Where the strips of the first page follow each other, those of the second may not."""
    one, other = page(24, 20, [DATA_AT, DATA_AT + 240]), page(24, 20, [DATA_AT + 240, DATA_AT])
    assert "follow" in code(raw_tiff(one, other, data=PIXELS))
    alone = codes(code(raw_tiff(other, data=PIXELS)))
    assert alone == codes(code(tiff(np.concatenate([grey()[10:], grey()[:10]]))))


def test_more_or_fewer_pages_than_imagej_says(code):
    whole = tiff(stack(4, "u2"), imagej=True, metadata={"axes": "ZYX"})
    assert codes(code(whole))[0][1].endswith("z4c1t1y12x14")
    for count in (3, 5, 9):
        text = whole.replace(b"images=4", b"images=%d" % count)
        assert isinstance(code(text.replace(b"slices=4", b"slices=%d" % count)), str)
    described = tiff(grey(), description="ImageJ=1.11a\nimages=5\nslices=5\n", metadata=None)
    assert isinstance(code(described + bytes(480 * 10)), (str, list))


def test_imagej_with_separate_pages(code):
    """Of two pages ImageJ's description says nothing, or of two that there are not."""
    for count in (2, 6):
        text = f"ImageJ=1.53\nimages={count}\nslices={count}\n".encode()
        described = page(t270=(TEXT, text + b"\0"))
        assert isinstance(code(raw_tiff(described, page(), page(), page(), data=PIXELS)), str)


def test_tifffile_with_another_shape_than_its_pages(code):
    """Where tifffile's description says 5 planes in one piece, one is, and then come others."""
    text = json.dumps({"shape": [5, 20, 24]}).encode()
    content = raw_tiff(page(t270=(TEXT, text + b"\0")), page(), data=PIXELS)
    assert isinstance(code(content + bytes(480 * 5)), str)


# OME-XML, which names files and says what is in them.

OME = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"{attributes}>{images}</OME>'
IMAGE = (
    '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="{x}" '
    'SizeY="{y}" SizeZ="{z}" SizeC="{c}" SizeT="{t}"><Channel ID="Channel:0:0"/>{data}</Pixels>'
    "</Image>"
)


def ome(data: str, attributes: str = "", planes: int = 2, start: str = "", **sizes: int) -> bytes:
    """An OME-TIFF of some pages, with this in its XML, whatever is true."""
    given = {"x": 14, "y": 12, "z": planes, "c": 1, "t": 1} | sizes
    text = start + OME.format(attributes=attributes, images=IMAGE.format(data=data, **given))
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        for number, plane in enumerate(stack(planes)):
            description = text.encode() if number == 0 else None
            options = {"metadata": None, "contiguous": False}
            writer.write(plane, description=description, **options)
    return stream.getvalue()


def named(file: str, uuid: str = "urn:uuid:1", first: int = 0, ifd: int = 0) -> str:
    name = file.replace("&", "&amp;").replace('"', "&quot;")
    return (
        f'<TiffData FirstZ="{first}" IFD="{ifd}" PlaneCount="1">'
        f'<UUID FileName="{name}">{uuid}</UUID></TiffData>'
    )


PLAIN = '<TiffData FirstZ="0" IFD="0"/><TiffData FirstZ="1" IFD="1"/>'


def test_ome(code):
    assert codes(code(ome(PLAIN))) == codes(code(tiff(stack(2), photometric="minisblack")))


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../../x.tif",
        "x.tif",
        "/dev/zero",
        "/proc/self/environ",
        "image",
        "",
        "http://localhost/x.tif",
        'a "b"\u202e\u0007c'.replace("\u0007", ""),
        "x" * 100_000,
    ],
    ids=repr,
)
@pytest.mark.parametrize("attributes", ["", ' UUID="urn:uuid:0"'], ids=["", "own"])
def test_ome_that_names_files(name, attributes, code, tmp_path, monkeypatch):
    """Files that are no datasets of the run are not opened, wherever they are."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for place in (folder / "image", folder / "x.tif", tmp_path / "x.tif"):
        place.write_bytes(tiff(stack(2), photometric="minisblack"))
    data = named(name) + named("b.tif", "urn:uuid:2", 1)
    assert "is not among the datasets" in code(ome(data, attributes))


def test_ome_that_names_itself(code, tmp_path):
    path = tmp_path / NAME
    expected = codes(code(ome(PLAIN)))
    itself = named(NAME) + named(NAME, first=1, ifd=1)
    assert codes(code(ome(itself), [path])) == expected
    assert codes(code(ome(itself, ' UUID="urn:uuid:1"'), [path])) == expected
    twice = named(NAME) + named(NAME, "urn:uuid:2", 1, 1)
    assert isinstance(code(ome(twice), [path]), str)
    assert isinstance(code(ome(twice, ' UUID="urn:uuid:1"'), [path]), str)


def test_ome_that_names_a_sibling(code, tmp_path):
    """It may, if that is an OME-TIFF with such pages; whatever else is refused."""
    sibling = tmp_path / "sibling.dat"
    data = named(NAME) + named(sibling.name, "urn:uuid:2", 1)
    both = ome(data, ' UUID="urn:uuid:1"')
    sibling.write_bytes(pages(stack(4)[2:]))
    found = codes(code(both, [tmp_path / NAME, sibling]))
    assert found == codes(code(tiff(stack(4)[[0, 2]], photometric="minisblack")))
    for other in (b"", b"text", tiff(grey()), tiff(stack(2, "u2")), pages(stack(4)[2:])[:-500]):
        sibling.write_bytes(other)
        assert isinstance(code(both, [tmp_path / NAME, sibling]), str)
    sibling.unlink()
    assert isinstance(code(both, [tmp_path / NAME, sibling]), str)
    sibling.mkdir()
    assert isinstance(code(both, [tmp_path / NAME, sibling]), str)


@pytest.mark.parametrize(
    ("data", "sizes"),
    [
        (PLAIN, {"z": 1}),
        (PLAIN, {"z": 3}),
        (PLAIN, {"x": 15}),
        (PLAIN, {"y": 6}),
        (PLAIN, {"x": 12, "y": 14}),
        (PLAIN, {"t": 1 << 40}),
        (PLAIN, {"z": 0}),
        (PLAIN, {"z": -2}),
        ("", {}),
        ('<TiffData FirstZ="0" IFD="0"/>', {}),
        ('<TiffData FirstZ="5" IFD="0"/>', {}),
        ('<TiffData FirstZ="-1" IFD="0"/>', {}),
        ('<TiffData FirstZ="0" IFD="7"/><TiffData FirstZ="1" IFD="1"/>', {}),
        ('<TiffData FirstZ="0" IFD="0" PlaneCount="1000000000"/>', {}),
        ('<TiffData FirstZ="x" IFD="0"/>', {}),
        ("<MetadataOnly/>", {}),
    ],
)
def test_ome_that_disagrees_with_its_pages(data, sizes, code):
    assert isinstance(code(ome(data, **sizes)), str)


def test_ome_that_is_no_sensible_xml(code):
    laughs = "<!DOCTYPE OME [" + '<!ENTITY a0 "ha">'
    laughs += "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12)) + "]>"
    assert isinstance(code(ome(PLAIN + "&a11;", start=laughs)), str)
    outside = '<!DOCTYPE OME [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    assert isinstance(code(ome(named("&x;") + "&x;", start=outside)), str)
    assert isinstance(code(ome("<a>" * 50_000 + "</a>" * 50_000)), (str, list))
    assert isinstance(code(ome("<a>")), str)
    assert isinstance(code(ome(PLAIN).replace(b"</OME>", b"</OMA>")), (str, list))
    binary = OME.format(attributes="", images='<BinaryOnly MetadataFile="x" UUID="y"/>')
    assert isinstance(code(tiff(grey(), description=binary, metadata=None)), str)


# What expands.


def test_png_bomb(code):
    rows = zlib.compress(bytes(32_000 * 32_001), 1)
    bomb = png(png_header(32_000, 32_000, 8, 0), (b"IDAT", rows[: len(rows) // 2]), (b"IEND", b""))
    assert isinstance(code(bomb), str)


def test_deflate_bomb_in_a_tiff(code):
    """A strip of 480 bytes that expands to a gigabyte."""
    bomb = zlib.compress(bytes(1 << 30), 1)
    claim = page(t259=(SHORT, [8]), t279=(LONG, [len(bomb)]))
    assert isinstance(code(raw_tiff(claim, data=bomb)), (str, list))


def test_deep_tiles_of_large_planes(code):
    """Tiles that are too large to be kept are not decoded without end."""
    tile = zlib.compress(bytes(256 * 1024 * 1024), 1)
    tags = page(32_768, 8192, [DATA_AT], t259=(SHORT, [8]))
    del tags[273], tags[278], tags[279]
    tags |= {322: (LONG, [1024]), 323: (LONG, [1024]), 324: (LONG, [DATA_AT] * 256)}
    tags |= {325: (LONG, [len(tile)] * 256), 32997: (LONG, [4]), 32998: (LONG, [256])}
    assert "too often" in code(raw_tiff(tags, data=tile))
