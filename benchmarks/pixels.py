"""Benchmarks of iscc_pixels: speed and memory of coding images."""

import sys
from collections import deque
from collections.abc import Callable
from functools import cache, partial
from itertools import chain
from pathlib import Path

import numpy as np
import tifffile
import zarr

from benchmarks.measure import PROJECT, PYTHON, compare, memory_together
from dev.environments import VENV, install

sys.path.insert(0, str(PROJECT / "tools" / "iscc_sum"))

import appearance
import coding
import imagewalk
import pixels
import reader
from images import ArrayImage
from inputs import Dataset

SCRIPT = PROJECT / "tools" / "iscc_sum" / "iscc_pixels.py"
SIMILARITY = PROJECT / "tools" / "iscc_similarity" / "iscc_similarity.py"
# The only other implementation of IMAGEWALK, and the package that reads TIFF for it.
ISCC_BIO = ["iscc-bio==0.2.0", "bioio-tifffile==1.3.0"]

PLANES, SIDE = 16, 2048
SMALL_PLANES, SMALL_SIDE = 10_000, 128


def all_pixels(folder: Path, runs: int) -> None:
    planes = stack()
    (folder / "raw").write_bytes(planes.tobytes())
    stored = store(folder, planes)
    for name, path in stored.items():
        compare(
            f"{PLANES} planes of {SIDE} x {SIDE}, 16 bits, as {name}",
            {
                "iscc_pixels": lambda path=path: code(path),
                "iscc_sum, as many bytes": lambda: coding.code_all([dataset(folder / "raw")]),
                "decoding alone": lambda path=path: decode(path),
                "coding alone": lambda: code_array(planes),
            },
            runs,
        )
        memory_together(name, [PYTHON, SCRIPT, path, "--manifest", folder / "m"])
    with_thumbnails(folder, stored["TIFF"], runs)
    beside_iscc_bio(folder, stored, runs)
    large_images(folder)
    many_planes(folder, runs)


def with_thumbnails(folder: Path, path: Path, runs: int) -> None:
    """What thumbnails cost: of a stack and each of its planes, and a sheet of ten thousand planes.

    Nine of ten small planes are parts of the stack; the tenth is a copy of the one before.
    """
    manifest, archive, sheet = (folder / name for name in ("many.tsv", "many.zip", "sheet.png"))
    code = [PYTHON, SCRIPT, path, "--manifest", manifest, "--planes"]
    contenders = {"with thumbnails": [*code, "--thumbnails", archive], "without": code}
    compare(f"{PLANES} planes of {SIDE} x {SIDE}, 16 bits, each also alone", contenders, runs)
    random, planes = np.random.default_rng(0), tifffile.imread(path)
    small = []
    for number in range(SMALL_PLANES):
        z, y, x = random.integers(0, (PLANES, SIDE - SMALL_SIDE, SIDE - SMALL_SIDE))
        part = planes[z, y : y + SMALL_SIDE, x : x + SMALL_SIDE]
        small.append(small[-1] if number % 10 == 9 else part)
    tifffile.imwrite(folder / "small.tif", np.stack(small), photometric="minisblack")
    code = [PYTHON, SCRIPT, folder / "small.tif", "--planes", "--manifest", manifest]
    memory_together(f"{SMALL_PLANES:,} planes", [*code, "--thumbnails", archive])
    for each in (manifest, archive):
        print(f"  {each.name}: {each.stat().st_size / SMALL_PLANES:,.0f} bytes for each plane")
    find = [PYTHON, SIMILARITY, "--manifest", manifest, "--clusters", folder / "clusters"]
    contenders = {
        "with a contact sheet": [*find, "--thumbnails", archive, "--sheet", sheet],
        "without": find,
    }
    compare(f"iscc_similarity, {SMALL_PLANES:,} planes", contenders, runs)


def stack() -> np.ndarray:
    """Slowly varying planes with camera noise, which compress by half."""
    random = np.random.default_rng(0)
    slow = np.cumsum(random.integers(-3, 4, (SIDE, SIDE)), axis=1) + 2000
    planes = [slow + random.integers(0, 16, (SIDE, SIDE)) for _ in range(PLANES)]
    return np.clip(planes, 0, 65535).astype("u2")


def store(folder: Path, planes: np.ndarray) -> dict[str, Path]:
    found = {}
    for name, options in {
        "TIFF": {},
        "TIFF, big-endian": {"byteorder": ">"},
        "TIFF, deflate": {"compression": "zlib", "rowsperstrip": 64},
        "TIFF, LZW": {"compression": "lzw", "rowsperstrip": 64},
        "TIFF, zstd": {"compression": "zstd", "rowsperstrip": 64},
    }.items():
        found[name] = folder / f"{len(found)}.tif"
        options |= {"photometric": "minisblack", "metadata": {"axes": "ZYX"}}
        tifffile.imwrite(found[name], planes, **options)
    for name, chunks in {
        "OME-Zarr, one plane per chunk": (1, SIDE, SIDE),
        "OME-Zarr, chunks 16 planes deep": (16, 512, 512),
    }.items():
        found[name] = folder / f"{len(found)}.zarr"
        axes = [{"name": axis, "type": "space"} for axis in "zyx"]
        group = zarr.create_group(found[name], zarr_format=2)
        group.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": "0"}]}]
        array = group.create_array("0", shape=planes.shape, chunks=chunks, dtype=planes.dtype)
        array[...] = planes
    return found


def dataset(path: Path) -> Dataset:
    return Dataset((path.name,), path)


def code(path: Path, wanted: pixels.Wanted = pixels.Wanted()) -> None:  # noqa: B008
    worker(wanted)(dataset(path), ignore)


@cache
def worker(wanted: pixels.Wanted) -> pixels.Worker:
    """A worker whose reader is started only once, as for a collection."""
    work = partial(pixels.code_dataset, wanted=wanted)
    return pixels.Worker({}, work, wanted.projections, skip=False)


def ignore(count: float) -> None:
    pass


def code_array(planes: np.ndarray) -> None:
    image = ArrayImage(planes[:, None, None])
    pieces = (reader.as_stored(rows).tobytes() for rows in imagewalk.walk(image))
    found = iter([reader.look([image])])
    pixels.code_dataset(dataset(Path("x")), chain(found, pieces), ignore, pixels.Wanted())


def decode(path: Path) -> None:
    reader.keep_memory()
    deque(reader.read_images(dataset(path), {}, projections=False), maxlen=0)


def beside_iscc_bio(folder: Path, stored: dict[str, Path], runs: int) -> None:
    home = VENV / "iscc-bio"
    install(home, ISCC_BIO, pinned_by="\n".join(ISCC_BIO))
    for name, path in stored.items():
        if path.is_dir():  # it reads nothing of a directory, without failing
            continue
        ours = [PYTHON, SCRIPT, path, "--manifest", folder / "m"]
        theirs = ["env", "LOGURU_LEVEL=ERROR", home / "bin" / "iscc-bio", "biocode", path]
        compare(f"{name}, whole programs", {"iscc_pixels.py": ours, "iscc-bio": theirs}, runs)


def large_images(folder: Path) -> None:
    """Images that would not fit into 200 MiB."""
    plane = stack()[0]
    large, colours = (
        np.tile(plane, (4, 8)),
        np.tile((plane >> 4).astype("u1")[..., None], (8, 8, 3)),
    )
    strip, slide = folder / "strip.tif", folder / "slide.tif"
    tifffile.imwrite(strip, large, photometric="minisblack", metadata=None)
    options = {"photometric": "rgb", "tile": (512, 512), "compression": "zstd", "metadata": None}
    tifffile.imwrite(slide, colours, **options)
    for what, path in {
        f"One strip of {large.shape}, 16 bits": strip,
        f"A slide of {colours.shape}, 8 bits, in tiles": slide,
    }.items():
        memory_together(what, [PYTHON, SCRIPT, path, "--manifest", folder / "m"])


def many_planes(folder: Path, runs: int) -> None:
    random = np.random.default_rng(1)
    planes = random.integers(0, 4000, (1000, 512, 512), dtype="u2")
    path = folder / "many.tif"
    tifffile.imwrite(path, planes, photometric="minisblack", metadata={"axes": "ZYX"})
    compare(
        "A thousand planes of 512 x 512, 16 bits",
        {
            "the image": lambda: code(path),
            "and each plane": lambda: code(path, pixels.Wanted(planes=True)),
            "Image-Codes alone": lambda: image_codes(planes),
            "turned, alone": lambda: image_codes(planes, appearance.turned),
        },
        runs,
    )


def image_codes(planes: np.ndarray, variants: Callable = lambda picture: [picture]) -> None:
    for plane in planes:
        areas = appearance.Areas(*plane.shape)
        areas.add(plane)
        appearance.image_codes(variants(appearance.picture_of([areas])))
