"""What codes of pixels and of appearance survive: the table in docs/pixels.md, recomputed."""

import io
from collections.abc import Callable
from pathlib import Path

import iscc_core
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from test_appearance import SKIMAGE

import appearance
import containers
from appearance import Areas
from documents import PIXELS
from manifest import Entry
from oracle import TEST_DATA

PICTURES = ("cell.png", "nuclei.tif", "retina.jpg", "microaneurysms.png")
NEAR, RELATED, WEAK = 12, 28, 32  # bits of 128
ALIKE, WORTH_A_LOOK = 48, 72  # bits of 256


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


def cropped(array: np.ndarray, share: float) -> np.ndarray:
    rows, columns = (round(size * share) for size in array.shape[:2])
    return array[rows : array.shape[0] - rows, columns : array.shape[1] - columns]


Change = Callable[[np.ndarray], np.ndarray]
CHANGES: dict[str, Change] = {
    "one pixel": lambda array: with_patch(array, 1 / (array.shape[0] * array.shape[1])),
    "a patch of 0.25 % of the area": lambda array: with_patch(array, 0.0025),
    "a patch of 1 % of the area": lambda array: with_patch(array, 0.01),
    "brightness + 1": lambda array: array + np.minimum(1, np.iinfo(array.dtype).max - array),
    "contrast stretched, 8 bits": grey_8_bit,
    "the same, gamma 0.7": lambda array: (255 * (grey_8_bit(array) / 255) ** 0.7).astype("u1"),
    "the same, JPEG of quality 90": lambda array: through("JPEG", grey_8_bit(array), quality=90),
    "the same, JPEG of quality 50": lambda array: through("JPEG", grey_8_bit(array), quality=50),
    "the same, 300 pixels wide": lambda array: resized(grey_8_bit(array), 300),
    "the same, with noise": with_noise,
    "the same, with a scale bar": with_scale_bar,
    "cropped by 2 % on each side": lambda array: cropped(array, 0.02),
    "cropped by 10 % on each side": lambda array: cropped(array, 0.1),
    "turned by 90°": lambda array: np.rot90(array),
    "mirrored": lambda array: array[:, ::-1],
    "inverted": lambda array: np.iinfo(array.dtype).max - array,
}
LOSSLESS = "stored without loss, in any of at least {} formats"
TURNED = ("turned by 90°", "mirrored", "inverted")


def entry_of(path: Path, array: np.ndarray, turned: bool = False) -> Entry:
    options = {"photometric": "rgb" if array.ndim == 3 else "minisblack", "metadata": None}
    tifffile.imwrite(path, np.ascontiguousarray(array), **options)
    return coded(path, turned)


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


@pytest.fixture(scope="module")
def distances(tmp_path_factory) -> dict[str, list[tuple[int, int, int]]]:
    """For each change, of each picture: Data-Codes, Image-Codes, and these with `turned`."""
    folder = tmp_path_factory.mktemp("survival")
    found = {}
    for change, make in CHANGES.items():
        found[change] = []
        for name in PICTURES:
            array = pixels_of(name)
            original = entry_of(folder / "original.tif", array)
            changed = entry_of(folder / "changed.tif", make(array))
            turned = entry_of(folder / "changed.tif", make(array), turned=True)
            found[change].append(
                (
                    data_distance(original, changed),
                    image_distance(original, changed),
                    image_distance(original, turned),
                )
            )
    return found


def span(numbers: list[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low} \N{EN DASH} {high}" if low < high else str(low)


def test_what_is_stored_without_loss_is_equal(tmp_path):
    """In as many formats as the table states, for every picture."""
    equal = []
    for name in PICTURES:
        array = np.ascontiguousarray(pixels_of(name)[:128, :128])
        axes = "YX" if array.ndim == 2 else "YXS"
        original = entry_of(tmp_path / name, array)
        writers = containers.containers(axes, array.dtype.name)
        if axes == "YXS":  # pages of which nothing is known are a stack, not colours
            del writers["pages, no metadata"]
        for number, write in enumerate(writers.values()):
            write(tmp_path / f"{name}{number}", array, axes)
            assert coded(tmp_path / f"{name}{number}") == original
        equal.append(len(writers))
    assert f"| {LOSSLESS.format(min(equal))} | **equal** | **equal** | |" in PIXELS.read_text()


def test_the_table_says_what_is_so(distances):
    text = PIXELS.read_text()
    for change, rows in distances.items():
        data, image, turned = zip(*rows, strict=True)
        last = span(turned) if change in TURNED else ""
        line = f"| {change} | {span(data)} | {span(image)} | {last} |".replace("|  |", "| |")
        assert line in text, line


def test_edits_stay_near_and_other_values_are_far(distances):
    data = {change: [each[0] for each in rows] for change, rows in distances.items()}
    edits = ["one pixel", "a patch of 0.25 % of the area", "a patch of 1 % of the area"]
    assert max(data["one pixel"]) <= NEAR
    assert max(distance for edit in edits for distance in data[edit]) <= RELATED
    for change in set(CHANGES) - set(edits):
        assert min(data[change]) > WEAK, change


def test_figures_look_like_their_originals(distances):
    image = {change: [each[1] for each in rows] for change, rows in distances.items()}
    figures = [change for change in CHANGES if change.startswith(("contrast", "the same"))]
    assert len(figures) == 7
    for change in figures:
        most = WORTH_A_LOOK if "scale bar" in change else ALIKE
        assert max(image[change]) <= most, change
    for change in TURNED:
        assert min(image[change]) > WORTH_A_LOOK, change
        assert max(each[2] for each in distances[change]) <= ALIKE, change


# ---- Figures of many images

PHOTOGRAPHS = ("astronaut", "brick", "camera", "cell", "chelsea", "coffee", "coins", "grass")
PHOTOGRAPHS += ("gravel", "ihc", "moon", "motorcycle_left")
FIELD = 200  # pixels
FIGURES: dict[str, Change] = {
    name: CHANGES[name]
    for name in CHANGES
    if name.startswith(("contrast", "the same", "cropped")) or name in TURNED
}
FIGURES["the same, in green"] = lambda array: np.stack(
    [np.zeros_like(array), grey_8_bit(array), np.zeros_like(array)], axis=-1
)


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
def test_the_table_says_which_figures_are_found(fields, change):
    """With the codes of all orientations, the only match is the picture itself."""
    pictures = [*fields.values()]
    apart = distances_to(pictures, [FIGURES[change](each) for each in pictures], turned=True)
    own = apart.diagonal()
    others = apart + 1000 * np.eye(len(own), dtype=int)
    first, near = (own < others.min(axis=1)).mean(), (own <= ALIKE).mean()
    line = f"| {change} | {100 * first:.0f} % | {100 * near:.0f} % |"
    assert line in PIXELS.read_text(), line


def test_unrelated_pictures_do_not_look_alike(fields):
    """Except two rotated fields at the rim of a round photograph, similar to people as well."""
    pictures = [*fields.values()]
    upright = distances_to(pictures, pictures, turned=False)
    assert (upright + 1000 * np.eye(len(pictures), dtype=int)).min() > WORTH_A_LOOK
    turned = distances_to(pictures, pictures, turned=True)
    names = [*fields]
    alike = {frozenset((names[i], names[j])) for i, j in np.argwhere(turned <= ALIKE) if i != j}
    assert alike == {frozenset(("retina 6 1", "retina 5 0"))}
    text = PIXELS.read_text()
    assert f"{len(pictures)} fields of view" in text
