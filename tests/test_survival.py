"""What codes and features survive, and what matches by chance: docs/limits.md, recomputed.

Four images are changed, and compared by bytes, by pixels, by appearance and as panels. Figures of
many fields of view are searched for among all of them.
"""

import io
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import iscc_core
import numpy as np
import pytest
import tifffile
from iscc_sum import code_iscc_sum
from PIL import Image as Pillow
from test_appearance import SKIMAGE

import appearance
import containers
import montage
import panels
from appearance import Areas
from documents import LIMITS, labelled_tables
from grey import stretched
from manifest import SMALL, Entry
from oracle import TEST_DATA, codes_of, data_code_bits, distance
from picture import BY_APPEARANCE, BY_CONTENT

PICTURES = ("cell.png", "nuclei.tif", "retina.jpg", "microaneurysms.png")
NEAR, RELATED, WEAK, _ = (end for end, _ in BY_CONTENT.bands)  # bits of 128
ALIKE, WORTH_A_LOOK, _ = (end for end, _ in BY_APPEARANCE.bands)  # bits of 256


def pixels_of(name: str) -> np.ndarray:
    path = TEST_DATA / name
    return tifffile.imread(path) if path.suffix == ".tif" else np.asarray(Pillow.open(path))


def grey_8_bit(array: np.ndarray) -> np.ndarray:
    """Scaled to the full range of 8 bits, as by a program that makes a figure."""
    low, high = np.percentile(array, [0.5, 99.5])
    return (np.clip((array - low) / (high - low), 0, 1) * 255).round().astype("u1")


def through(kind: str, array: np.ndarray, **options: object) -> np.ndarray:
    """An 8-bit picture after saving it in a lossy format."""
    stored = io.BytesIO()
    Pillow.fromarray(array).save(stored, kind, **options)
    return np.asarray(Pillow.open(stored))


def resized(array: np.ndarray, width: int) -> np.ndarray:
    size = (width, round(width * array.shape[0] / array.shape[1]))
    return np.asarray(Pillow.fromarray(array).resize(size, Pillow.Resampling.LANCZOS))


def with_patch(array: np.ndarray, share: float) -> np.ndarray:
    """A picture with a painted square that has this share of the area."""
    array = array.copy()
    side = round((share * array.shape[0] * array.shape[1]) ** 0.5)
    array[array.shape[0] // 3 :, array.shape[1] // 3 :][:side, :side] = array.min()
    return array


def with_scale_bar(array: np.ndarray) -> np.ndarray:
    array = grey_8_bit(array)
    rows, columns = array.shape[:2]
    array[rows * 92 // 100 : rows * 95 // 100, columns * 70 // 100 : columns * 95 // 100] = 255
    return array


def with_noise(array: np.ndarray) -> np.ndarray:
    array = grey_8_bit(array)
    noise = np.random.default_rng(0).normal(0, 5, array.shape)
    return np.clip(array + noise, 0, 255).round().astype("u1")


def with_more_bits(array: np.ndarray) -> np.ndarray:
    return array.astype(f"u{2 * array.itemsize}")


def in_green(array: np.ndarray) -> np.ndarray:
    grey = grey_8_bit(array) if array.ndim == 2 else grey_8_bit(array.mean(axis=2))
    return np.stack([np.zeros_like(grey), grey, np.zeros_like(grey)], axis=-1)


def turned_by_17_degrees(array: np.ndarray) -> np.ndarray:
    """The whole image; the corners are black."""
    whole = Pillow.fromarray(grey_8_bit(array))
    return np.asarray(whole.rotate(17, Pillow.Resampling.BICUBIC, expand=True))


def in_a_montage(array: np.ndarray) -> np.ndarray:
    """Beside itself, upside down; 10 white pixels are between the two."""
    array = grey_8_bit(array)
    gutter = np.full_like(array, 255)[:, :10]
    return np.concatenate([array, gutter, array[::-1]], axis=1)


def cropped(array: np.ndarray, share: float) -> np.ndarray:
    rows, columns = (round(size * share) for size in array.shape[:2])
    return array[rows : array.shape[0] - rows, columns : array.shape[1] - columns]


Change = Callable[[np.ndarray], np.ndarray]
CHANGES: dict[str, Change] = {
    "one pixel": lambda array: with_patch(array, 1 / (array.shape[0] * array.shape[1])),
    "a patch of 0.25 % of the area": lambda array: with_patch(array, 0.0025),
    "a patch of 1 % of the area": lambda array: with_patch(array, 0.01),
    "stored in twice as many bits": with_more_bits,
    "brightness + 1": lambda array: array + np.minimum(1, np.iinfo(array.dtype).max - array),
    "contrast stretched, 8 bits": grey_8_bit,
    "the same, gamma 0.7": lambda array: (255 * (grey_8_bit(array) / 255) ** 0.7).astype("u1"),
    "the same, JPEG of quality 90": lambda array: through("JPEG", grey_8_bit(array), quality=90),
    "the same, JPEG of quality 50": lambda array: through("JPEG", grey_8_bit(array), quality=50),
    "the same, 300 pixels wide": lambda array: resized(grey_8_bit(array), 300),
    "the same, with noise": with_noise,
    "the same, in green": in_green,
    "the same, with a scale bar": with_scale_bar,
    "cropped by 2 % on each side": lambda array: cropped(array, 0.02),
    "cropped by 10 % on each side": lambda array: cropped(array, 0.1),
    "turned by 90°": lambda array: np.rot90(array),
    "mirrored": lambda array: array[:, ::-1],
    "inverted": lambda array: np.iinfo(array.dtype).max - array,
    "turned by 17°": turned_by_17_degrees,
    "in a montage": in_a_montage,
}
EDITS = ("one pixel", "a patch of 0.25 % of the area", "a patch of 1 % of the area")
TURNED = ("turned by 90°", "mirrored", "inverted")


def entry_of(path: Path, array: np.ndarray, description: str | None = None) -> Entry:
    """The entry of an uncompressed TIFF, which is written."""
    kind = "rgb" if array.ndim == 3 else "minisblack"
    options = {"photometric": kind, "metadata": None, "description": description}
    tifffile.imwrite(path, np.ascontiguousarray(array), **options)
    return coded(path)


def coded(path: Path, turned: bool = False) -> Entry:
    [entry] = containers.coded(path, turned=turned)
    return entry


def bits_apart(code: str, other: str, hash_bytes: int) -> int:
    a, b = (
        iscc_core.decode_base32(each.removeprefix("ISCC:"))[2 : 2 + hash_bytes]
        for each in (code, other)
    )
    return (int.from_bytes(a) ^ int.from_bytes(b)).bit_count()


def data_distance(one: Entry, other: Entry) -> int:
    return bits_apart(one.data_code, other.data_code, 16)


def image_distance(one: Entry, other: Entry) -> int:
    """The distance between the closest codes, if one side has several."""
    return min(bits_apart(one.image_code, each, 32) for each in other.image_code.split(" "))


def byte_distance(one: Path, other: Path) -> int:
    return distance(*(code_iscc_sum(str(path), wide=True).iscc for path in (one, other)))


def features_of(array: np.ndarray, most: int) -> panels.Features:
    rows, columns = array.shape
    return panels.features(stretched(array), columns, rows, most)


def grey(array: np.ndarray) -> np.ndarray:
    """The mean of the colours."""
    return array if array.ndim == 2 else array.mean(axis=2).astype(array.dtype)


class Distances(NamedTuple):
    """Of a picture and a changed one.

    turned   that of the Image-Codes of all orientations, if the change is one of TURNED
    found    whether the changed picture, or each panel of it, has a certain place in the picture
    """

    bytes: int
    pixels: int
    appearance: int
    turned: int | None
    found: bool


@pytest.fixture(scope="module")
def distances(tmp_path_factory) -> dict[str, list[Distances]]:
    """For each change, of each picture; all are uncompressed TIFF."""
    folder = tmp_path_factory.mktemp("survival")
    found = {change: [] for change in CHANGES}
    for name in PICTURES:
        array = pixels_of(name)
        original = entry_of(folder / "original.tif", array)
        raw = features_of(grey(array), panels.MOST_FEATURES)
        for change, make in CHANGES.items():
            changed = make(array)
            entry = entry_of(folder / "changed.tif", changed)
            turned = coded(folder / "changed.tif", turned=True) if change in TURNED else None
            figure = grey(changed)
            parts = montage.cut(figure) if change == "in a montage" else [...]
            cut = [features_of(figure[part], panels.MOST_OF_PANEL) for part in parts]
            found[change].append(
                Distances(
                    byte_distance(folder / "original.tif", folder / "changed.tif"),
                    data_distance(original, entry),
                    image_distance(original, entry),
                    turned and image_distance(original, turned),
                    all(panels.match(each, raw) for each in cut),
                )
            )
    return found


def span(numbers: Iterable[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low} \N{EN DASH} {high}" if low < high else str(low)


def within(most: int, word: str, numbers: Sequence[int]) -> str:
    """What the table says of distances, of which at most `most` is a match."""
    if min(numbers) > most:
        return "no"
    return f"{word if max(numbers) <= most else 'partly'} ({span(numbers)})"


@pytest.fixture(scope="module")
def table() -> dict[str, list[str]]:
    """What the documentation says of each change: bytes, pixels, appearance, panels."""
    rows = labelled_tables(LIMITS)["survival"]
    return {change: said for change, *said in rows}


def test_what_is_stored_without_loss_is_equal(tmp_path):
    """In as many formats as is said, for a part of every picture."""
    equal = []
    for name in PICTURES:
        array = np.ascontiguousarray(pixels_of(name)[:128, :128])
        original = entry_of(tmp_path / name, array)
        axes, writers = lossless(array)
        for number, write in enumerate(writers.values()):
            write(tmp_path / f"{name}{number}", array, axes)
            assert coded(tmp_path / f"{name}{number}") == original
        equal.append(len(writers))
    assert f"at least {min(equal)} lossless formats" in LIMITS.read_text()


def lossless(array: np.ndarray) -> tuple[str, dict[str, containers.Writer]]:
    axes = "YX" if array.ndim == 2 else "YXS"
    writers = containers.containers(axes, array.dtype.name)
    if axes == "YXS":  # pages of which nothing is known are a stack, not colours
        del writers["pages, no metadata"]
    return axes, writers


# The bytes of pixels are in the same order, after another header; and those that are compressed.
UNCOMPRESSED = ("BigTIFF", "TIFF, strips")
COMPRESSED = ("TIFF, deflate", "TIFF, LZW", "OME-TIFF, tiles, zstd", "PNG", "JPEG 2000, lossless")


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ("saved as another uncompressed TIFF", UNCOMPRESSED),
        ("saved in a compressed format", COMPRESSED),
    ],
)
def test_bytes_in_other_formats(tmp_path, table, change, kinds):
    found = []
    for name in PICTURES:
        array = np.ascontiguousarray(pixels_of(name))
        entry_of(tmp_path / "original", array)
        axes, writers = lossless(array)
        for kind in kinds:
            writers[kind](tmp_path / "stored", array, axes)
            found.append(byte_distance(tmp_path / "original", tmp_path / "stored"))
    assert table[change][:3] == [within(RELATED, "near", found), "same", "same"]


def test_a_description_moves_the_code_of_bytes_alone(tmp_path, table):
    """Of 200 and of 5,000 characters, before the pixels of a TIFF."""
    found = []
    for name in PICTURES:
        array = np.ascontiguousarray(pixels_of(name))
        original = entry_of(tmp_path / "original", array)
        for count in (200, 5000):
            described = entry_of(tmp_path / "described", array, description="x" * count)
            assert described == original
            found.append(byte_distance(tmp_path / "original", tmp_path / "described"))
    assert table["metadata edited"][:3] == [within(RELATED, "near", found), "same", "same"]


def test_the_table_says_what_is_so(distances, table):
    for change, rows in distances.items():
        of_bytes, pixels, image, turned, found = zip(*rows, strict=True)
        near = within(RELATED, "near", of_bytes), within(RELATED, "near", pixels)
        looks = within(ALIKE, "looks like", image)
        if change in TURNED:
            looks = f"{looks}; if turned back: {within(ALIKE, 'looks like', turned)}"
        panel = "yes" if all(found) else f"{sum(found)} of {len(found)}"
        said = [cell.partition(", found")[0] for cell in table[change]]
        assert said == [*near, looks, panel]


def test_every_row_of_the_table_is_compared(table):
    others = {"what happened", "renamed, copied or moved", "metadata edited"}
    others |= {"saved as another uncompressed TIFF", "saved in a compressed format"}
    others |= {"another plane of the stack"}
    assert set(table) == set(CHANGES) | others


def test_planes_of_a_stack(tmp_path, table):
    """Each is compared with the next one, and with the whole stack."""
    stack = tifffile.imread(TEST_DATA / "nuclei_3d.tif")
    paths = [tmp_path / f"{number}.tif" for number in range(len(stack))]
    planes = [entry_of(path, plane) for path, plane in zip(paths, stack, strict=True)]
    of_bytes = [byte_distance(*each) for each in pairwise(paths)]
    pixels = [data_distance(*each) for each in pairwise(planes)]
    image = [image_distance(*each) for each in pairwise(planes)]
    assert table["another plane of the stack"] == [
        within(RELATED, "near", of_bytes),
        within(RELATED, "near", pixels),
        within(ALIKE, "looks like", image),
        "not measured",
    ]
    whole = coded(TEST_DATA / "nuclei_3d.tif")
    assert whole.image_code is None
    apart = min(data_distance(whole, each) for each in planes)
    assert apart > WEAK


def test_edits_stay_near_and_other_values_are_far(distances):
    large = [name != "microaneurysms.png" for name in PICTURES]
    assert large == [pixels_of(name).nbytes >= SMALL for name in PICTURES]
    pixels = {change: [each.pixels for each in rows] for change, rows in distances.items()}
    assert max(pixels["one pixel"]) <= NEAR
    most = {
        way: max(
            getattr(each, way)
            for edit in EDITS
            for each, is_large in zip(distances[edit], large, strict=True)
            if is_large
        )
        for way in ("bytes", "pixels")
    }
    assert max(most.values()) <= NEAR
    said = f"at most {most['bytes']} bits by bytes, and {most['pixels']} by pixels"
    assert said in LIMITS.read_text(), said
    for change in set(CHANGES) - set(EDITS):
        assert min(pixels[change]) > WEAK, change


def test_figures_look_like_their_originals(distances):
    image = {change: [each.appearance for each in rows] for change, rows in distances.items()}
    figures = [change for change in CHANGES if change.startswith(("contrast", "the same"))]
    assert len(figures) == 8
    for change in figures:
        most = WORTH_A_LOOK if "scale bar" in change else ALIKE
        assert max(image[change]) <= most, change
    for change in TURNED:
        assert min(image[change]) > WORTH_A_LOOK, change
        assert max(each.turned for each in distances[change]) <= ALIKE, change


# ---- Figures of many images

PHOTOGRAPHS = ("astronaut", "brick", "camera", "cell", "chelsea", "coffee", "coins", "grass")
PHOTOGRAPHS += ("gravel", "ihc", "moon", "motorcycle_left")
FIELD = 200  # pixels
FIGURES: dict[str, Change] = {
    name: CHANGES[name]
    for name in CHANGES
    if name.startswith(("contrast", "the same", "cropped")) or name in TURNED
}


@pytest.fixture(scope="module")
def fields() -> dict[str, np.ndarray]:
    """Fields of view of micrographs and photographs, in grey, without overlaps."""
    paths = [SKIMAGE / f"{name}.png" for name in PHOTOGRAPHS]
    paths += [SKIMAGE / f"{name}.jpg" for name in ("hubble_deep_field", "retina", "rocket")]
    found = {}
    for path in paths:
        image = np.asarray(Pillow.open(path).convert("L"))
        for row in range(image.shape[0] // FIELD):
            for column in range(image.shape[1] // FIELD):
                top, left = row * FIELD, column * FIELD
                field = image[top : top + FIELD, left : left + FIELD]
                found[f"{path.stem} {row} {column}"] = field
    assert len(found) >= 100
    return found


def looks(picture: np.ndarray, turned: bool) -> list[str]:
    """The Image-Codes of a picture in memory: shape (rows, columns), or with colours."""
    channels = []
    for channel in np.atleast_3d(picture).transpose(2, 0, 1):
        channels.append(Areas(*channel.shape))
        channels[-1].add(np.ascontiguousarray(channel))
    grey = appearance.picture_of(channels)
    return appearance.image_codes(appearance.turned(grey) if turned else [grey])


def distances_to(pictures: list[np.ndarray], figures: list[np.ndarray], turned: bool) -> np.ndarray:
    """The distances between the closest codes of each figure and each picture."""

    def bits(codes: list[str]) -> np.ndarray:
        return np.array([list(iscc_core.decode_base32(code[5:])[2:]) for code in codes], "u1")

    wanted = bits([looks(picture, turned=False)[0] for picture in pictures])
    found = []
    for figure in figures:
        codes = [code for code in looks(figure, turned) if code]
        if not codes:  # it has become featureless
            found.append(np.full(len(wanted), 256))
            continue
        apart = np.bitwise_count(bits(codes)[:, None] ^ wanted).sum(axis=2, dtype=int)
        found.append(apart.min(axis=0))
    return np.array(found)


@pytest.mark.parametrize("change", FIGURES)
def test_the_table_says_which_figures_are_found(fields, change, table):
    """With the codes of all orientations, the only match is the picture itself."""
    pictures = [*fields.values()]
    apart = distances_to(pictures, [FIGURES[change](each) for each in pictures], turned=True)
    own = apart.diagonal()
    others = apart + 1000 * np.eye(len(own), dtype=int)
    first, near = (own < others.min(axis=1)).mean(), (own <= ALIKE).mean()
    assert table[change][2].endswith(f", found: {100 * near:.0f} %"), near
    if change.startswith("cropped"):
        said = rf"{100 * first:.0f} % of (the figures|those) {change}"
        assert re.search(said, LIMITS.read_text()), first
    else:
        assert first == 1


def test_unrelated_pictures_do_not_look_alike(fields):
    """Except two rotated fields at the rim of a round photograph, similar to people as well."""
    pictures = [*fields.values()]
    upright = distances_to(pictures, pictures, turned=False)
    assert (upright + 1000 * np.eye(len(pictures), dtype=int)).min() > WORTH_A_LOOK
    turned = distances_to(pictures, pictures, turned=True)
    names = [*fields]
    alike = {frozenset((names[i], names[j])) for i, j in np.argwhere(turned <= ALIKE) if i != j}
    assert alike == {frozenset(("retina 6 1", "retina 5 0"))}
    assert f"{len(pictures)} fields of view" in LIMITS.read_text()


def test_unrelated_pixels_are_far_apart(fields):
    """As 8-bit streams of pixels, which are what an uncompressed file of them has."""
    codes = [codes_of(np.ascontiguousarray(field).tobytes()).wide for field in fields.values()]
    bits = np.array([[*map(int, data_code_bits(code))] for code in codes])
    apart = (bits[:, None] != bits).sum(axis=2)[np.triu_indices(len(bits), 1)]
    said = f"{len(apart):,} pairs, the closest {apart.min()} bits apart"
    assert said in LIMITS.read_text(), said
