"""Malicious images: the right codes, or one sentence that names the dataset; never a wrong code.

Each file is read in a worker, as in the program. Standard error is checked as well: libraries must
not write there. Workers are forked by a separate process (this file run as a program), since a
process that has coded bytes itself, as pytest has, must not fork.
"""

import io
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import imagecodecs
import numpy as np
import psutil
import pytest
import tifffile
import zarr

import images
import pixels
import workers
from dev import processes
from exploring import EXPLORES, FUZZING, chance
from inputs import Dataset
from messages import InputError

MUTATIONS = 10_000 if FUZZING else 160  # of each kind of mutation, of all files together
MOST_SECONDS = 60  # for one file; the worst of these take a few, on a quiet machine
NAME = "hostile.dat"
LIMITS = ("MOST_DECODED", "MOST_DECODED_EXPANSION")  # that tests change

CODE = partial(pixels.code_dataset, wanted=pixels.Wanted(thumbnails=True))
Coded = list | str  # what became of a file: (name, code, pixels), or the complaint


def grey(rows: int = 20, columns: int = 24, dtype: str = "u1", seed: int = 0) -> np.ndarray:
    """A picture in which all rows differ, and no row is all zeros."""
    wheel = np.random.default_rng(seed)
    return wheel.integers(1, np.iinfo(dtype).max, (rows, columns)).astype(dtype)


def colour(rows: int = 20, columns: int = 24) -> np.ndarray:
    return np.stack([grey(rows, columns, seed=seed) for seed in range(3)], axis=-1)


def stack(planes: int = 4, dtype: str = "u1") -> np.ndarray:
    return np.stack([grey(12, 14, dtype, seed) for seed in range(planes)])


class Coding:
    """Codes a file as the program does. Errors that the program would treat as bugs are raised."""

    def __init__(self, siblings: Sequence[Path]):
        named = {"": {each.name: each for each in siblings}}
        self.worker = pixels.Worker(named, CODE, projections=False, skip=False)

    def __call__(self, path: Path, report: Callable[[float], None]) -> Coded:
        warnings.showwarning = warn  # pytest collects them
        try:
            found = self.worker(Dataset((path.name,), path), report)
        except InputError as error:
            return str(error)
        return [(each.entry.name, each.entry.iscc, each.entry.pixels) for each in found]


def warn(message: Warning, category: type, filename: str, *_: object) -> None:
    print(f"{filename}: {message}", file=sys.stderr, flush=True)


def code_all(paths: Sequence[Path], siblings: Sequence[Path] = ()) -> list[Coded]:
    """The result for each of many files, with one worker, and one reader as long as it lives."""
    portions = [[index] for index in range(len(paths))]
    found = workers.in_processes(Coding(siblings), paths, portions, 1, ignore)
    return [result for _, result in sorted(found)]


def ignore(count: float) -> None:
    pass


def answer() -> None:
    """Code what is requested on standard input, and answer on standard output, as JSON."""
    for line in sys.stdin:
        folder, limits, paths, siblings = json.loads(line)
        os.chdir(folder)
        for name, value in limits.items():
            setattr(images, name, value)
        print(json.dumps(code_all([*map(Path, paths)], [*map(Path, siblings)])), flush=True)


Ask = Callable[..., list[Coded]]


@pytest.fixture(scope="module")
def coder(tmp_path_factory) -> Iterator[Ask]:
    """Code files in workers of another process; check that standard error stays empty."""
    errors = tmp_path_factory.mktemp("coder") / "errors"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with errors.open("wb") as stream:
        process = psutil.Popen(
            [sys.executable, __file__],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
        )

    def ask(paths: Sequence[Path], siblings: Sequence[Path] = ()) -> list[Coded]:
        limits = {name: getattr(images, name) for name in LIMITS}
        question = [str(Path.cwd()), limits, [*map(str, paths)], [*map(str, siblings)]]
        print(json.dumps(question), file=process.stdin, flush=True)
        found = json.loads(process.stdout.readline())
        assert errors.read_bytes() == b""
        return [each if isinstance(each, str) else [*map(tuple, each)] for each in found]

    try:
        yield ask
    finally:
        processes.kill(process)


@pytest.fixture
def code(tmp_path: Path, coder) -> Callable[..., Coded]:
    """Code one file, given as bytes or path; check how it ends, and that it ends soon."""

    def run(content: bytes | Path, siblings: Sequence[Path] = (), name: str = NAME) -> Coded:
        path = content
        if isinstance(content, bytes):
            path = tmp_path / name
            path.write_bytes(content)
        start = time.monotonic()
        (found,) = coder([path], siblings)
        assert time.monotonic() - start < MOST_SECONDS
        check(found, path)
        return found

    return run


def check(found: Coded, path: Path) -> None:
    """Check that a message is one sentence that names the dataset."""
    if isinstance(found, str):
        assert found.isprintable()
        assert f'"{path.name[:70]}' in found or not path.name.isprintable()
        assert "was killed" not in found and "ended with" not in found, found
        assert not found.endswith(": None")


# Files that are mutated: small ones of all kinds.


def tiff(array: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **options)
    return stream.getvalue()


def pages(arrays: Sequence[np.ndarray], **options: object) -> bytes:
    """A TIFF of pages without any description."""
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
    """Variants of a file: with changed bytes, mostly in the header, or with parts moved.

    A part may be missing, repeated or elsewhere; or there are more bytes at the end.
    """
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


def code_many(folder: Path, contents: Sequence[bytes], coder: Ask) -> list[Coded]:
    """The result for each of many files; messages are checked, and that nothing else is said."""
    paths = []
    for number, content in enumerate(contents):
        paths.append(folder / f"{number}.dat")
        paths[-1].write_bytes(content)
    start = time.monotonic()
    found = coder(paths)
    assert time.monotonic() - start < MOST_SECONDS + len(contents) / 20
    for result, path in zip(found, paths, strict=True):
        check(result, path)
        path.unlink()
    return found


def codes(found: Coded) -> list:
    """The entry of each image, without its name."""
    return [] if isinstance(found, str) else [each[1:] for each in found]


@EXPLORES
@pytest.mark.parametrize("kind", FILES)
def test_changed_bytes(kind, tmp_path, coder):
    """A damaged file has codes, or is refused in one sentence; it does no harm."""
    whole = FILES[kind]()
    changed = list(
        mutations(whole, chance(sorted(FILES).index(kind)), MUTATIONS // len(FILES) + 10)
    )
    found = code_many(tmp_path, [whole, *changed], coder)
    assert codes(found[0])
    if kind.startswith("png"):  # which has checksums
        for content, result in zip(changed, found[1:], strict=True):
            assert isinstance(result, str) or codes(result) == codes(found[0]), content


@pytest.mark.parametrize("kind", FILES)
def test_cut_off(kind, tmp_path, coder):
    """A truncated file has the same codes as the whole, or, in most cases, none."""
    whole = FILES[kind]()
    step = 1 if FUZZING else max(1, len(whole) // 120)
    ends = sorted({*range(1, len(whole), step), *range(len(whole) - 24, len(whole))})
    found = code_many(tmp_path, [whole, *(whole[:end] for end in ends)], coder)
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
    """A TIFF with exactly these tags: data at 8, and then page by page.

    `next_pages` are offsets of next pages that differ from the actual ones.
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
    """The file that the tests below start from is a valid TIFF."""
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
    """Several strips may share their bytes, which are then read several times."""
    twice = page(24, 40, [DATA_AT, DATA_AT])
    expected = tiff(np.concatenate([grey(), grey()]))
    assert codes(code(raw_tiff(twice, data=PIXELS))) == codes(code(expected))


def test_pages_in_a_circle(code):
    one = raw_tiff(page(), data=PIXELS)
    start = int.from_bytes(one[4:8], "little")
    assert isinstance(code(raw_tiff(page(), data=PIXELS, next_pages=[start])), str)
    several = raw_tiff(page(), page(), page(), data=PIXELS, next_pages=[None, None, start])
    assert isinstance(code(several), str)
    tags = int.from_bytes(several[start : start + 2], "little")
    (second,) = struct.unpack_from("<I", several, start + 2 + 12 * tags)
    itself = raw_tiff(page(), {}, data=PIXELS, next_pages=[None, second])
    assert isinstance(code(itself), str)


def test_next_page_beyond_the_end(code):
    for place in (1_000_000, 0xFFFFFFF0, 1, 7):
        assert isinstance(
            code(raw_tiff(page(), page(), data=PIXELS, next_pages=[None, place])), str
        )


def test_thousands_of_pages(code):
    """They are planes of one image, unless each claims a lot."""
    many = raw_tiff(*[page(2, 2)] * 3000, data=PIXELS)
    assert codes(code(many))[0][1].endswith("z3000c1t1y2x2")
    lazy = page(30_000, 30_000, t259=(SHORT, [8]), t279=(LONG, [400]))
    assert isinstance(code(raw_tiff(*[lazy] * 3000, data=PIXELS)), str)


def test_many_images_of_the_same_bytes(code):
    """Each claims little more than allowed, all together far too much."""
    each = [page(40_000 + n, 20_000, t259=(SHORT, [8]), t279=(LONG, [400])) for n in range(300)]
    assert "claims" in code(raw_tiff(*each, data=PIXELS))


def test_subifds_that_are_their_own_parents(code):
    start = DATA_AT + len(PIXELS)
    assert isinstance(code(raw_tiff(page(t330=(LONG, [start])), data=PIXELS)), (str, list))
    assert isinstance(code(raw_tiff(page(t330=(LONG, [HUGE] * 9)), data=PIXELS)), (str, list))


# Pages that are not as the first.


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}], ids=["plain", "deflate"])
def test_page_of_another_size(options, code):
    """tifffile only inspects the first, second, eighth and last page.

    It reads all pages as if they were like those.
    """
    planes = [grey(20, 24, seed=seed) for seed in range(12)]
    assert len(codes(code(pages(planes, rowsperstrip=50, **options)))) == 1
    planes[5] = grey(18, 24)
    assert isinstance(code(pages(planes, rowsperstrip=50, **options)), str)


@pytest.mark.parametrize("kind", [LONG, 13])
def test_page_of_another_size_in_numbers_of_any_type(kind, code):
    """The first byte of both heights is the same."""
    alike = [page(t257=(kind, [20]))] * 12
    data = grey(276).tobytes()
    assert codes(code(raw_tiff(*alike, data=data)))[0][1].endswith("z12c1t1y20x24")
    alike[5] = page(t257=(kind, [276]))
    assert "stored in the same way" in code(raw_tiff(*alike, data=data))


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
    assert "stored in the same way" in code(stream.getvalue())


def test_pages_with_strips_elsewhere(code):
    """Strips of the first page are consecutive, those of the second may not be."""
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
    """ImageJ's description omits two pages, or includes two that do not exist."""
    for count in (2, 6):
        text = f"ImageJ=1.53\nimages={count}\nslices={count}\n".encode()
        described = page(t270=(TEXT, text + b"\0"))
        assert isinstance(code(raw_tiff(described, page(), page(), page(), data=PIXELS)), str)


def test_tifffile_with_another_shape_than_its_pages(code):
    """tifffile's description has 5 contiguous planes, but only one is; others follow."""
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
    """An OME-TIFF of some pages, with this in its XML, whether true or not."""
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
    """Files that are not datasets of the run are not opened, wherever they are."""
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


def test_ome_that_names_two_files_alike(code, tmp_path):
    """Files are distinguished by their identifiers, so two with one would be the same."""
    siblings = [tmp_path / NAME, tmp_path / "a.dat", tmp_path / "b.dat"]
    for each in siblings[1:]:
        each.write_bytes(pages(stack(2)))
    own = ' UUID="urn:uuid:1"'
    assert "identifier" in code(ome(named("a.dat", "2") + named("b.dat", "2", 1), own), siblings)
    assert "identifier" in code(ome(named("a.dat", "") + named("b.dat", "2", 1), own), siblings)


def test_ome_that_names_a_file_without_identifier(code, tmp_path):
    """tifffile would open it, wherever it is, once it knows this file's identifier."""
    path, other = tmp_path / NAME, tmp_path / "elsewhere.tif"
    other.write_bytes(pages(stack(4)[2:]))
    data = named(NAME) + named(str(other), "", 1)
    assert "is not among the datasets" in code(ome(data), [path])
    data = named(NAME) + named(other.name, "", 1)
    assert "identifier" in code(ome(data), [path, other])


def test_ome_that_names_a_sibling(code, tmp_path):
    """It may, if that is an OME-TIFF with such pages; anything else is refused."""
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
    rows = zlib.compress(bytes(16_000 * 16_001), 1)
    bomb = png(png_header(16_000, 16_000, 8, 0), (b"IDAT", rows[: len(rows) // 2]), (b"IEND", b""))
    assert isinstance(code(bomb), str)


def test_deflate_bomb_in_a_tiff(code):
    """A strip of 480 bytes that expands to a gigabyte."""
    bomb = zlib.compress(bytes(1 << 28), 1)
    claim = page(t259=(SHORT, [8]), t279=(LONG, [len(bomb)]))
    assert isinstance(code(raw_tiff(claim, data=bomb)), (str, list))


def test_deep_tiles_of_large_planes(code, monkeypatch):
    """Tiles that are too large to be kept are not decoded endlessly."""
    tile = zlib.compress(bytes(1 << 28), 1)
    monkeypatch.setattr(images, "MOST_DECODED", 1 << 29)  # or it takes half a minute
    monkeypatch.setattr(images, "MOST_DECODED_EXPANSION", 0)
    tags = page(32_768, 8192, [DATA_AT], t259=(SHORT, [8]))
    del tags[273], tags[278], tags[279]
    tags |= {322: (LONG, [1024]), 323: (LONG, [1024]), 324: (LONG, [DATA_AT] * 256)}
    tags |= {325: (LONG, [len(tile)] * 256), 32997: (LONG, [4]), 32998: (LONG, [256])}
    assert "too often" in code(raw_tiff(tags, data=tile))


# Zarr.


def zarr_image(
    folder: Path, array: np.ndarray | None = None, version: int = 2, **options: object
) -> Path:
    """An OME-Zarr image in the array "0"."""
    array = stack(3, "u2") if array is None else array
    options = {"chunks": (1, 6, 7)} | options
    if version == 2:
        options.setdefault("chunk_key_encoding", {"name": "v2", "separator": "/"})
    zarr.create_array(folder / "0", data=array, zarr_format=version, fill_value=0, **options)
    describe(folder, version)
    return folder


def describe(folder: Path, version: int, paths: Sequence[object] = ("0",)) -> None:
    axes = [{"name": name} for name in "zyx"]
    found = {"multiscales": [{"axes": axes, "datasets": [{"path": path}]} for path in paths]}
    folder.mkdir(exist_ok=True)
    if version == 2:
        (folder / ".zattrs").write_text(json.dumps(found))
        (folder / ".zgroup").write_text('{"zarr_format": 2}')
    else:
        group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": found}}
        (folder / "zarr.json").write_text(json.dumps(group))


def zipped(folder: Path, prefix: str = "", compression: int = zipfile.ZIP_STORED) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", compression) as archive:
        for each in sorted(folder.rglob("*")):
            if each.is_file():
                archive.write(each, prefix + str(each.relative_to(folder)))
    return path


def change(path: Path, **values: object) -> None:
    """Change the content of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "image.zarr"


@pytest.fixture(params=[2, 3])
def version(request) -> int:
    return request.param


METADATA = {2: ".zarray", 3: "zarr.json"}
EXPECTED = lambda code: codes(code(tiff(stack(3, "u2"), photometric="minisblack")))  # noqa: E731


def test_zarr(code, folder, version):
    """The image that the tests below start from is valid, as a directory and in a zip file."""
    zarr_image(folder, version=version)
    assert codes(code(folder)) == codes(code(zipped(folder))) == EXPECTED(code)
    assert codes(code(zipped(folder, "some/folder/"))) == EXPECTED(code)


def test_zarr_chunks_that_are_missing(code, folder, version):
    """The format defines their value; but an array without any chunk has been lost."""
    zarr_image(folder, version=version)
    chunks = sorted(each for each in folder.rglob("*") if each.is_file() and each.name.isdigit())
    chunks[0].unlink()
    expected = stack(3, "u2")
    expected[0, :6, :7] = 0
    assert codes(code(folder)) == codes(code(tiff(expected, photometric="minisblack")))
    for chunk in chunks[1:]:
        chunk.unlink()
    assert "has no chunks" in code(folder)
    assert "has no chunks" in code(zipped(folder))


def test_zarr_chunks_that_are_missing_and_nothing_said(code, folder):
    zarr_image(folder)
    change(folder / "0" / ".zarray", fill_value=None)
    assert codes(code(folder)) == EXPECTED(code)
    (folder / "0" / "0" / "0" / "0").unlink()
    assert "no fill value" in code(folder)


def test_zarr_chunks_of_other_names(code, folder):
    """If metadata do not declare that chunks are in directories, zarr would find none of them."""
    zarr_image(folder)
    metadata = json.loads((folder / "0" / ".zarray").read_text())
    del metadata["dimension_separator"]
    (folder / "0" / ".zarray").write_text(json.dumps(metadata))
    assert "expected only chunks of the array" in code(folder)
    assert "expected only chunks of the array" in code(zipped(folder))


@pytest.mark.parametrize("kind", ["link", "pipe", "directory", "empty", "cut", "long", "text"])
@pytest.mark.parametrize("compressors", [None, "auto"], ids=["plain", "compressed"])
def test_zarr_chunk_that_is_none(kind, compressors, code, folder, version, tmp_path):
    zarr_image(folder, version=version, compressors=compressors)
    chunk = next(each for each in folder.rglob("0/0/0") if each.is_file())
    content = chunk.read_bytes()
    chunk.unlink()
    if kind == "link":
        (tmp_path / "elsewhere").write_bytes(content)
        chunk.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(chunk)
    elif kind == "directory":
        chunk.mkdir()
    else:
        others = {"empty": b"", "cut": content[:-3], "long": content * 2, "text": b"text"}
        chunk.write_bytes(others[kind])
    found = code(folder)
    if kind == "long" and compressors:  # a frame more may be ignored
        assert isinstance(found, str) or codes(found) == EXPECTED(code)
    else:
        assert isinstance(found, str)


def test_zarr_shard_that_is_empty_or_damaged(code, folder):
    """zarr would fill the first, and report wrong numbers in the second."""
    zarr_image(folder, version=3, shards=(1, 12, 14))
    shard = folder / "0" / "c" / "1" / "0" / "0"
    whole = shard.read_bytes()
    assert codes(code(folder)) == EXPECTED(code)
    for damaged in (b"", whole[:-1], whole[1:], whole[:-70] + b"\xfe" * 66 + whole[-4:]):
        shard.write_bytes(damaged)
        assert isinstance(code(folder), str)
    change(folder / "0" / "zarr.json", codecs=nested_shards(1))
    shard.write_bytes(bytes(336) + struct.pack("<8Q", *[(1 << 64) - 2] * 8))
    assert isinstance(code(folder), str)


@pytest.mark.parametrize(
    "path",
    [
        *("..", "../image.zarr/0", "0/../0", "/etc", "/0", "", ".", "a\0b", "a\\b", "\ud800", "1"),
        *(7, None, ["0"], "x" * 300, "x/" * 10_000),
    ],
    ids=lambda path: repr(path)[:20],
)
def test_zarr_paths(path, code, folder, version):
    zarr_image(folder, version=version)
    describe(folder, version, [path])
    found = code(folder)
    if path == "/0":
        assert codes(found) == EXPECTED(code)
    else:
        assert isinstance(found, str)


def test_zarr_that_names_an_image_twice(code, folder, version):
    zarr_image(folder, version=version)
    describe(folder, version, ["0", "0"])
    assert "twice" in code(folder)


CHANGES_2 = {
    "pickle": {"filters": [{"id": "pickle"}]},
    "text": {"filters": [{"id": "vlen-utf8"}], "dtype": "|O"},
    "json": {"compressor": {"id": "json2"}},
    "unknown codec": {"compressor": {"id": "x" * 1000 + "\n"}},
    "no codec": {"compressor": {}},
    "codec that is none": {"compressor": 7},
    "objects": {"dtype": "|O"},
    "text type": {"dtype": "<U8"},
    "fields": {"dtype": [["a", "<u1"], ["b", "<u1"]]},
    "void": {"dtype": "|V2"},
    "times": {"dtype": "<M8[s]"},
    "complex": {"dtype": "<c8"},
    "other type": {"dtype": "<u4"},
    "delta of objects": {"filters": [{"id": "delta", "dtype": "O"}]},
    "delta of text": {"filters": [{"id": "delta", "dtype": "U1000000000"}]},
    "shuffle of nothing": {"filters": [{"id": "shuffle", "elementsize": 0}]},
    "shuffle of much": {"filters": [{"id": "shuffle", "elementsize": 1 << 40}]},
    "shuffle of less": {"filters": [{"id": "shuffle", "elementsize": -1}]},
    "zero chunks": {"chunks": [0, 6, 7]},
    "negative chunks": {"chunks": [-1, 6, 7]},
    "real chunks": {"chunks": [1.5, 6, 7]},
    "text chunks": {"chunks": ["1", 6, 7]},
    "true chunks": {"chunks": [True, 6, 7]},
    "few chunks": {"chunks": [6, 7]},
    "no chunks": {"chunks": None},
    "huge chunks": {"chunks": [1 << 30, 6, 7]},
    "endless chunks": {"chunks": [10**18, 10**18, 10**18]},
    "other chunks": {"chunks": [1, 12, 14]},
    "endless shape": {"shape": [10**18, 12, 14]},
    "wide shape": {"shape": [3, 10**18, 10**18]},
    "many planes": {"shape": [100_000_000, 2, 2], "chunks": [100_000_000, 2, 2]},
    "many chunks": {"shape": [1, 10_000, 10_000], "chunks": [1, 1, 1]},
    "negative shape": {"shape": [-3, 12, 14]},
    "no pixels": {"shape": [0, 12, 14]},
    "smaller shape": {"shape": [2, 12, 14]},
    "other axes": {"shape": [36, 14], "chunks": [6, 7]},
    "no shape": {"shape": 7},
    "order": {"order": "X"},
    "version": {"zarr_format": 3},
    "version of text": {"zarr_format": "2"},
    "separator": {"dimension_separator": "x"},
    "separators": {"dimension_separator": ["/"]},
    "fill value": {"fill_value": "x"},
    "fill values": {"fill_value": {"a": 1}},
}
CODECS_3 = [{"name": "bytes", "configuration": {"endian": "little"}}]


def grid(shape: object) -> dict:
    return {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}}}


def nested_shards(depth: int) -> list:
    inner = CODECS_3
    for _ in range(depth):
        configuration = {"chunk_shape": [1, 6, 7], "codecs": inner, "index_codecs": CODECS_3}
        inner = [{"name": "sharding_indexed", "configuration": configuration}]
    return inner


CHANGES_3 = {
    "unknown codec": {"codecs": [*CODECS_3, {"name": "numcodecs.pickle"}]},
    "text codec": {"codecs": [{"name": "vlen-utf8"}]},
    "cast": {"codecs": [{"name": "cast_value"}, *CODECS_3]},
    "no codecs": {"codecs": []},
    "codecs that are none": {"codecs": 7},
    "order of codecs": {"codecs": [{"name": "gzip", "configuration": {"level": 1}}, *CODECS_3]},
    "transposed": {"codecs": [{"name": "transpose", "configuration": {"order": [0, 0, 0]}}]},
    "much transposed": {"codecs": [{"name": "transpose", "configuration": {"order": [9, 1, 2]}}]},
    "codec inside": {
        "codecs": [
            {
                "name": "sharding_indexed",
                "configuration": {"chunk_shape": [1, 6, 7], "codecs": [{"name": "pickle"}]},
            }
        ]
    },
    "shards": {"codecs": nested_shards(1)},
    "shards in shards": {"codecs": nested_shards(2)},
    "many shards in shards": {"codecs": nested_shards(100)},
    "zero shards": {
        "codecs": [
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": [0, 0, 0],
                    "codecs": CODECS_3,
                    "index_codecs": CODECS_3,
                },
            }
        ]
    },
    "text type": {"data_type": "string"},
    "raw type": {"data_type": "r16"},
    "struct": {"data_type": {"name": "struct", "configuration": {}}},
    "other type": {"data_type": "uint64"},
    "zero chunks": grid([0, 6, 7]),
    "real chunks": grid([1.0, 6, 7]),
    "endless chunks": grid([10**18, 6, 7]),
    "few chunks": grid([6, 7]),
    "other chunks": grid([1, 12, 14]),
    "other grid": {"chunk_grid": {"name": "rectilinear", "configuration": {"chunk_shape": [1]}}},
    "grid of nothing": {"chunk_grid": None},
    "endless shape": {"shape": [10**18, 12, 14]},
    "smaller shape": {"shape": [2, 12, 14]},
    "transformers": {"storage_transformers": [{"name": "x"}]},
    "encoding": {"chunk_key_encoding": {"name": "x"}},
    "other encoding": {"chunk_key_encoding": {"name": "v2"}},
    "separator": {"chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}}},
    "no array": {"node_type": "group"},
    "no fill value": {"fill_value": None},
    "must understand": {"x": {"must_understand": True}},
}


@pytest.mark.parametrize("kind", CHANGES_2)
@pytest.mark.parametrize("zip_it", [False, True], ids=["directory", "zip"])
def test_zarr_2_metadata(kind, zip_it, code, folder):
    zarr_image(folder, compressors=None)
    change(folder / "0" / ".zarray", **CHANGES_2[kind])
    found = code(zipped(folder) if zip_it else folder)
    assert isinstance(found, str) or codes(found) == EXPECTED(code)


@pytest.mark.parametrize("kind", CHANGES_3)
@pytest.mark.parametrize("zip_it", [False, True], ids=["directory", "zip"])
def test_zarr_3_metadata(kind, zip_it, code, folder):
    zarr_image(folder, version=3, compressors=None)
    change(folder / "0" / "zarr.json", **CHANGES_3[kind])
    found = code(zipped(folder) if zip_it else folder)
    assert isinstance(found, str) or codes(found) == EXPECTED(code)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        "null",
        '"text"',
        "{}",
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        '{"multiscales": 7}',
        '{"multiscales": [7]}',
        '{"multiscales": {"0": 1}}',
        '{"multiscales": [{"axes": [], "datasets": []}]}',
        '{"multiscales": [{"axes": 7, "datasets": [{"path": "0"}]}]}',
        '{"multiscales": [{"axes": [{}], "datasets": [{"path": "0"}]}]}',
        '{"multiscales": [{"axes": ["y", "y", "x"], "datasets": [{"path": "0"}]}]}',
        '{"multiscales": [{"axes": ["z", "y", "y"], "datasets": [{"path": "0"}]}]}',
        '{"multiscales": [{"axes": [null, "y", "x"], "datasets": [{"path": "0"}]}]}',
        '{"multiscales": [{"datasets": [{"path": "0"}]}]}',
        '{"plate": 7}',
        '{"plate": {"wells": [{}]}}',
        '{"plate": {"wells": [{"path": "../image.zarr"}]}}',
        '{"plate": {"wells": [{"path": "A/1"}]}}',
        '{"plate": {"wells": []}}',
        '{"bioformats2raw.layout": 3}',
        '{"a": ' + "1" * 100_000 + "}",
        '\ufeff{"multiscales": []}',
        "\0",
        "NaN",
    ],
    ids=lambda text: text[:40],
)
def test_zarr_groups(text, code, folder):
    zarr_image(folder)
    (folder / ".zattrs").write_text(text)
    assert isinstance(code(folder), str)


@pytest.mark.parametrize("is_zipped", [False, True])
def test_an_image_that_is_missing_among_numbered_ones(is_zipped, code, folder):
    """Or its metadata, which would otherwise make the image before it the last one."""
    for number in range(4):
        zarr_image(folder / str(number))
    (folder / ".zattrs").write_text('{"bioformats2raw.layout": 3}')

    def coded() -> Coded:
        return code(zipped(folder) if is_zipped else folder)

    assert len(coded()) == 4
    (folder / "2" / ".zattrs").unlink()
    assert 'expected the metadata of an OME-Zarr image in "2", found none' in coded()
    shutil.rmtree(folder / "2")
    assert 'expected the metadata of an OME-Zarr image in "2", found none' in coded()
    (folder / "1000000000").mkdir()
    (folder / "1000000000" / "x").touch()
    assert "expected at most 100,000 images, found 1,000,000,000" in coded()


@pytest.mark.parametrize("kind", ["missing", "text", "endless", "twice", "outside", "array"])
def test_zarr_series(kind, code, folder):
    """The layout of bioformats2raw: groups are numbered, or listed."""
    zarr_image(folder / "0" if folder.mkdir() is None else folder)
    (folder / ".zattrs").write_text('{"bioformats2raw.layout": 3}')
    assert codes(code(folder)) == EXPECTED(code)
    series = {
        "missing": ["0", "1"],
        "text": "0",
        "endless": [str(number) for number in range(100_000)],
        "twice": ["0"] * 100_000,
        "outside": ["../image.zarr/0"],
        "array": ["0/0"],
    }
    (folder / "OME").mkdir()
    (folder / "OME" / ".zattrs").write_text(json.dumps({"series": series[kind]}))
    found = code(folder)
    assert isinstance(found, str) or (kind == "text" and codes(found) == EXPECTED(code))


def test_zarr_plate(code, folder):
    zarr_image(folder / "A" / "1" / "0" if (folder / "A" / "1").mkdir(parents=True) is None else "")
    well = folder / "A" / "1" / ".zattrs"
    well.write_text('{"well": {"images": [{"path": "0"}]}}')
    (folder / ".zattrs").write_text('{"plate": {"wells": [{"path": "A/1"}]}}')
    assert codes(code(folder)) == EXPECTED(code)
    for path in ("1", "..", "../1/0", 0):
        well.write_text(json.dumps({"well": {"images": [{"path": "0"}, {"path": path}]}}))
        assert isinstance(code(folder), str)
    well.write_text('{"well": {"images": [{"path": "0"}]}}')
    wells = [{"path": "A/1"}] * 100_000
    (folder / ".zattrs").write_text(json.dumps({"plate": {"wells": wells}}))
    assert "twice" in code(folder)


def test_zarr_consolidated_metadata_that_contradict(code, folder, version):
    """They are not used: those of the array itself are."""
    zarr_image(folder, version=version)
    other = json.loads((folder / "0" / METADATA[version]).read_text()) | {"shape": [1, 2, 3]}
    if version == 2:
        consolidated = {"zarr_consolidated_format": 1, "metadata": {"0/.zarray": other}}
        (folder / ".zmetadata").write_text(json.dumps(consolidated))
    else:
        inline = {"kind": "inline", "must_understand": False, "metadata": {"0": other}}
        change(folder / "zarr.json", consolidated_metadata=inline)
    assert codes(code(folder)) == EXPECTED(code)


@pytest.mark.parametrize("codec", ["gzip", "zstd", "blosc", "bz2", "lzma", "lz4", "zlib"])
def test_zarr_chunk_that_expands(codec, code, folder):
    """Far beyond the size of a chunk."""
    zarr_image(folder, compressors=None)
    encode = getattr(imagecodecs, f"{codec}_encode")
    zeros = bytes(1 << 24 if codec in ("bz2", "lzma") else 1 << 27)
    options = {"lz4": {"header": True}, "blosc": {"typesize": 1}}.get(codec, {})
    (folder / "0" / "0" / "0" / "0").write_bytes(encode(zeros, **options))
    change(folder / "0" / ".zarray", compressor={"id": codec})
    assert isinstance(code(folder), str)


@pytest.mark.parametrize(
    "content",
    [b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0" * 4, bytes(16), b"\xff" * 16, b"\x02\x01\x01\x01" * 4],
    ids=bytes.hex,
)
@pytest.mark.parametrize("codec", ["gzip", "zstd", "blosc", "bz2", "lzma", "lz4", "zlib"])
def test_zarr_chunk_that_claims(codec, content, code, folder):
    zarr_image(folder, compressors=None)
    (folder / "0" / "0" / "0" / "0").write_bytes(content)
    change(folder / "0" / ".zarray", compressor={"id": codec})
    assert isinstance(code(folder), str)


# Zip files.


def zip_file(*entries: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return stream.getvalue()


def test_zip_with_names_that_lead_out(code, folder):
    whole = zipped(zarr_image(folder)).read_bytes()
    for name in ("../0/.zarray", "/etc/passwd", "C:\\x", "0/../../x", "a\0b"):
        stream = io.BytesIO(whole)
        with zipfile.ZipFile(stream, "a") as archive:
            archive.writestr(name, b"{}")
        found = code(stream.getvalue())
        assert isinstance(found, str) or codes(found) == EXPECTED(code)
    assert isinstance(code(whole.replace(b"0/.zarray", b"../zarray")), str)


def test_zip_with_a_name_twice(code, folder):
    stream = io.BytesIO(zipped(zarr_image(folder)).read_bytes())
    with zipfile.ZipFile(stream, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("0/0/0/0", bytes(84))
    assert "twice" in code(stream.getvalue())


def test_zip_with_a_chunk_of_another_name(code, folder):
    """The directory has no checksum; a chunk with a wrong name there would be missing."""
    whole = zipped(zarr_image(folder)).read_bytes()
    assert isinstance(code(patched(whole, whole.rindex(b"0/1/0/0"), "B", 0x39)), str)


def test_zip_that_is_encrypted_or_damaged(code, folder):
    path = zipped(zarr_image(folder, compressors=None))
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("0/1/0/0")
    whole = path.read_bytes()
    data = whole.index(b"0/1/0/0") + len("0/1/0/0")
    assert isinstance(code(patched(whole, data + 3, "B", whole[data + 3] ^ 1)), str)
    central = whole.rindex(b"0/1/0/0") - 46
    for place, form, value in (
        (central + 8, "<H", 1),  # encrypted
        (central + 10, "<H", 99),  # compressed as nobody knows
        (central + 16, "<I", entry.CRC ^ 1),
        (central + 20, "<I", 20),  # sizes
        (central + 24, "<I", 0xFFFFFFF0),
        (central + 42, "<I", 0x7FFFFFFF),  # where it begins
        (central + 42, "<I", 0),
    ):
        assert isinstance(code(patched(whole, place, form, value)), str)


def test_zip_bomb(code, folder):
    zarr_image(folder, compressors=None)
    (folder / "0" / "0" / "0" / "0").write_bytes(bytes(1 << 26))
    assert isinstance(code(zipped(folder, compression=zipfile.ZIP_DEFLATED)), str)
    (folder / "0" / "0" / "0" / "0").unlink()
    (folder / ".zattrs").write_text('{"multiscales": [' + " " * (1 << 27) + "]}")
    assert "metadata" in code(zipped(folder, compression=zipfile.ZIP_DEFLATED))


def test_zip_of_something_else(code):
    assert isinstance(code(zip_file(("word/document.xml", b"<a/>"))), str)
    assert isinstance(code(zip_file((".zattrs", b"{}"))), str)
    assert isinstance(code(b"PK\3\4" + bytes(100)), str)
    assert isinstance(code(zip_file(*((f"{n}/.zattrs", b"{}") for n in range(5000)))), str)


@pytest.mark.parametrize("kind", ["zarr 2", "zarr 3"])
def test_zip_cut_off(kind, tmp_path, coder, folder):
    whole = zipped(zarr_image(folder, version=int(kind[-1]))).read_bytes()
    ends = range(1, len(whole), 1 if FUZZING else 29)
    found = code_many(tmp_path, [whole, *(whole[:end] for end in ends)], coder)
    assert codes(found[0])
    for result in found[1:]:
        assert isinstance(result, str) or codes(result) == codes(found[0])


@EXPLORES
@pytest.mark.parametrize("kind", ["zarr 2", "zarr 3", "zarr 3, shards"])
def test_changed_bytes_of_a_zip(kind, tmp_path, coder, folder):
    """The contents of a zip file have checksums: it has the same codes, or is refused."""
    options = {"shards": (1, 12, 14)} if kind.endswith("shards") else {}
    image = zarr_image(folder, version=int(kind[5]), **options)
    whole = zipped(image).read_bytes()
    changed = list(mutations(whole, chance(len(kind)), MUTATIONS // 4))
    found = code_many(tmp_path, [whole, *changed], coder)
    assert codes(found[0])
    for content, result in zip(changed, found[1:], strict=True):
        assert isinstance(result, str) or codes(result) == codes(found[0]), content


@EXPLORES
@pytest.mark.parametrize("kind", ["zarr 2", "zarr 3", "zarr 3, shards"])
def test_changed_metadata_and_chunks(kind, tmp_path, coder, folder):
    options = {"shards": (1, 12, 14)} if kind.endswith("shards") else {}
    image = zarr_image(folder, version=int(kind[5]), **options)
    files = {
        str(each.relative_to(image)): each.read_bytes()
        for each in image.rglob("*")
        if each.is_file()
    }
    wheel = chance(len(kind) + 1)
    contents = []
    for _ in range(MUTATIONS // 4):
        name = wheel.choice(sorted(files))
        (content,) = mutations(files[name], wheel, 1)
        contents.append(zip_file(*(files | {name: content}).items()))
    code_many(tmp_path, contents, coder)


# Pictures of which there are several, and pictures of other kinds.


def apng() -> bytes:
    rows = zlib.compress(b"".join(b"\0" + bytes(4) for _ in range(4)))
    control = struct.pack(">IIIIIHHBB", 0, 4, 4, 0, 0, 1, 1, 0, 0)
    frames = [(b"acTL", struct.pack(">II", 2, 0)), (b"fcTL", control), (b"IDAT", rows)]
    return png(png_header(4, 4, 8, 0), *frames, (b"IEND", b""))


def animated_webp(start: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    frame = imagecodecs.webp_encode(colour(), lossless=True)[12:]
    size = struct.pack("<I", 23)[:3] + struct.pack("<I", 19)[:3]
    parts = [(b"VP8X", b"\x02\0\0\0" + size), *start, (b"ANIM", bytes(6))]
    parts += [(b"ANMF", bytes(6) + size + b"\x64\0\0\0" + frame)] * 2
    body = b"".join(
        kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
        for kind, content in parts
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def test_animations(code):
    assert "animation" in code(apng())
    assert "animation" in code(animated_webp())
    assert "animation" in code(animated_webp([(b"ICCP", bytes(1000))]))


def test_png_with_damaged_transparency(code):
    """libpng would skip it, and return a picture with fewer channels."""
    rows = zlib.compress(b"".join(b"\0" + bytes(range(4)) for _ in range(4)))
    colours = (b"PLTE", bytes(range(12)))
    whole = png(
        png_header(4, 4, 8, 3), colours, (b"tRNS", b"\0\x50"), (b"IDAT", rows), (b"IEND", b"")
    )
    assert codes(code(whole))[0][1].endswith("z1c4t1y4x4")
    place = whole.index(b"tRNS") + 4
    assert isinstance(code(patched(whole, place + 1, "B", 0x51)), str)


def test_png_with_few_levels_and_transparency(code):
    """Levels are as stored, transparency is 0 or 255."""
    rows = zlib.compress(b"".join(b"\0" + bytes([0x12, 0x30]) for _ in range(4)))
    header, transparent = png_header(4, 4, 4, 0), (b"tRNS", b"\0\x02")
    found = codes(code(png(header, transparent, (b"IDAT", rows), (b"IEND", b""))))
    levels = np.array([[1, 2, 3, 0]] * 4, np.uint8)
    opaque = np.where(levels == 2, 0, 255).astype(np.uint8)
    expected = tiff(np.stack([levels, opaque], -1), planarconfig="contig", extrasamples=[2])
    assert found == codes(code(expected))


def test_jpeg_with_a_thumbnail(code):
    """The end of the thumbnail is not the end of the picture."""
    whole = PICTURES["jpeg"]()
    small = PICTURES["jpeg, grey"]()
    segment = b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small
    both = whole[:2] + segment + whole[2:]
    assert codes(code(both)) == codes(code(whole))
    for end in (len(segment) + 2, len(segment) + 30, len(both) - 1, len(both) - 2):
        assert "cut off" in code(both[:end])


@pytest.mark.parametrize("kind", ["jpeg", "jpeg, grey"])
def test_jpeg_that_was_cut_off_and_then_ended(kind, tmp_path, coder):
    """As repaired by some programs: libjpeg fills the missing part with grey."""
    whole = PICTURES[kind]()
    start = whole.rindex(b"\xff\xda") + 20
    ended = [whole[:end] + b"\xff\xd9" for end in range(start, len(whole) - 4)]
    found = code_many(tmp_path, [whole, *ended], coder)
    wrong = [each for each in found if codes(each) not in ([], codes(found[0]))]
    assert len(wrong) <= len(ended) / 50  # where what is missing happens to be as what is put there
    higher = whole.index(b"\xff\xc0") + 5
    (result,) = code_many(tmp_path, [patched(whole, higher, ">H", 40)], coder)
    assert isinstance(result, str)


def test_jpeg_with_endless_scans(code):
    """Each scan covers the whole picture, but takes only a few bytes."""
    pillow = pytest.importorskip("PIL.Image")
    stream = io.BytesIO()
    pillow.fromarray(colour(64, 64)).save(stream, "JPEG", progressive=True)
    whole = stream.getvalue()
    assert codes(code(whole))
    last = whole.rindex(b"\xff\xda")
    assert "scans" in code(whole[:-2] + whole[last:-2] * 20_000 + whole[-2:])


def test_jpegs_of_other_kinds(code):
    """Four inks are four channels; 12 bits are 16."""
    inks = np.stack([grey(seed=seed) for seed in range(4)], axis=-1)
    found = code(imagecodecs.jpeg8_encode(inks, colorspace="CMYK", outcolorspace="CMYK"))
    assert codes(found)[0][1] == "imagewalk uint8 z1c4t1y20x24"
    deep = imagecodecs.jpeg8_encode(grey(dtype="u2") >> 4, bitspersample=12)
    assert codes(code(deep))[0][1] == "imagewalk uint16 z1c1t1y20x24"


def test_several_jpeg2000_in_one(code):
    whole = PICTURES["jp2"]()
    start = whole.index(b"jp2c") - 4
    box = struct.pack(">I", len(whole) - start) + b"jp2c" + whole[start + 8 :]
    assert codes(code(whole[:start] + box)) == codes(code(whole))
    assert "found 2" in code(whole[:start] + box + box)
    note = struct.pack(">I", 20) + b"xml <a>ABCDE</a>"
    assert codes(code(whole[:start] + box + note[:20])) == codes(code(whole))


NO_IMAGES = {
    "empty": b"",
    "one byte": b"\0",
    "text": b"A text.\n",
    "text, BM": b"BM is what this text begins with, and then it goes on for a while.\n" * 20,
    "text, RIFF": b"RIFF is what this text begins with, and then it goes on for a while.\n" * 20,
    "sound": b"RIFF\x24\0\0\0WAVEfmt " + bytes(40),
    "tiff": b"II*\0",
    "tiff without pages": b"II*\0\0\0\0\0",
    "tiff, more": b"II*\0\x08\0\0\0" + bytes(100),
    "big": b"II+\0\x08\0\0\0" + b"\xff" * 100,
    "jpeg": b"\xff\xd8\xff",
    "jpeg, end": b"\xff\xd8\xff\xd9",
    "jpeg, long": b"\xff\xd8" + b"\xff\x00" * 100_000,
    "png": b"\x89PNG\r\n\x1a\n",
    "png, end": png((b"IEND", b"")),
    "png, two": png(png_header(1, 1, 8, 0), png_header(9, 9, 8, 0), (b"IEND", b"")),
    "jp2": b"\0\0\0\x0cjP  \r\n\x87\n",
    "jp2, circle": b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\x01jp2c" + bytes(8),
    "j2k": b"\xff\x4f\xff\x51" + bytes(60),
    "webp": b"RIFF\x0c\0\0\0WEBPVP8 \xff\xff\xff\xff",
    "gif": b"GIF89a" + bytes(20),
    "pdf": b"%PDF-1.7",
}


@pytest.mark.parametrize("kind", NO_IMAGES)
def test_no_images(kind, code):
    assert isinstance(code(NO_IMAGES[kind]), str)


def test_directories_that_are_no_zarr(code, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    assert isinstance(code(folder), str)
    (folder / "a.tif").write_bytes(tiff(grey()))
    assert isinstance(code(folder), str)


def test_program(program, tmp_path):
    """The whole program ends with one sentence, or continues if it is told to skip."""
    (tmp_path / "cut.tif").write_bytes(tiff(grey())[:-5])
    (tmp_path / "whole.tif").write_bytes(tiff(grey()))
    done = program("iscc_pixels", "cut.tif", "whole.tif", "--manifest", "out.tsv")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith('iscc_pixels: cannot read "cut.tif" as an image: ')
    assert done.stderr.count("\n") == 1
    skipping = ("--manifest", "out.tsv", "--skipped", "skipped.tsv")
    done = program("iscc_pixels", "cut.tif", "whole.tif", *skipping)
    assert (done.returncode, done.stderr) == (0, "")
    assert "cut.tif" in (tmp_path / "skipped.tsv").read_text()


@pytest.mark.parametrize("name", ['a"b', "a\nb", "a\u202eb", "a\tb\x1b[31m", "a\\", "'", "x" * 200])
def test_names_in_messages(name, code):
    assert isinstance(code(b"text", name=name), str)
    assert isinstance(code(tiff(grey())[:-5], name=name), str)


if __name__ == "__main__":
    answer()
