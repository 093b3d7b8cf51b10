"""Image-Codes and their areas, compared with iscc-core and exact fractions."""

import tracemalloc
from collections.abc import Iterator
from fractions import Fraction
from itertools import product
from pathlib import Path

import iscc_core
import numpy as np
import pytest
import skimage
from PIL import Image as Pillow

import appearance
from appearance import Areas

SKIMAGE = Path(skimage.__file__).parent / "data"


def pictures() -> Iterator[np.ndarray]:
    """Grey pictures of 32 by 32 pixels: pieces of photographs and micrographs, and edges."""
    for name in sorted(SKIMAGE.glob("*.png")):
        image = Pillow.open(name).convert("L")
        for size in (32, 64, 128, 256):
            for left, top in product(
                range(0, image.width - size, 97), range(0, image.height - size, 131)
            ):
                piece = image.crop((left, top, left + size, top + size)).resize((32, 32))
                yield np.asarray(piece)
                if left > 300:
                    break


def test_image_codes_are_those_of_iscc_core():
    compared = 0
    for picture in pictures():
        [code] = appearance.image_codes([picture])
        want = iscc_core.gen_image_code_v0(picture.ravel().tolist(), bits=256)["iscc"]
        if code is not None:
            compared += 1
            assert code == want
        if compared == 520:
            break
    assert compared >= 500


def test_image_codes_of_the_conformance_vectors():
    compared = 0
    for _, function, inputs, outputs in iscc_core.conformance_testdata():
        if function.__name__ == "gen_image_code_v0":
            values, bits = inputs
            [code] = appearance.image_codes([np.array(values, dtype="u1").reshape(32, 32)])
            compared += 1
            if code is None:  # ours says that there are no features
                assert values.count(values[0]) == len(values) or is_featureless(values)
                continue
            short = iscc_core.decode_base32(outputs["iscc"].removeprefix("ISCC:"))[2:]
            assert iscc_core.decode_base32(code.removeprefix("ISCC:"))[2:][: bits // 8] == short
    assert compared >= 3


def is_featureless(values: list[int]) -> bool:
    """Fewer than 8 ones in one of the four 64-bit words of iscc-core's hash."""
    digest = iscc_core.soft_hash_image_v0(values, bits=256)
    words = [int.from_bytes(digest[start : start + 8]) for start in range(0, 32, 8)]
    return min(word.bit_count() for word in words) < 8


@pytest.mark.parametrize(
    "shape", [(32, 32), (64, 96), (7, 5), (100, 33), (31, 200), (1, 50), (999, 3)]
)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32"])
def test_areas_have_equal_sizes(shape, dtype):
    """Compared with exact fractions; areas may contain parts of pixels."""
    random = np.random.default_rng(3)
    array = (random.random(shape) * 200 - (60 if dtype in ("int16", "float32") else 0)).astype(
        dtype
    )
    rows, columns = map(weights, shape)
    exact = rows @ np.vectorize(Fraction)(array.astype(float)) @ columns.T
    low, high = exact.min(), exact.max()
    want = np.vectorize(lambda mean: round((mean - low) / (high - low) * 255))(exact)
    for rows_at_once in (1, 3, 1000):
        areas = Areas(*shape)
        for top in range(0, shape[0], rows_at_once):
            areas.add(array[top : top + rows_at_once])
        assert (appearance.picture_of([areas]) == want).all()


def weights(length: int) -> np.ndarray:
    """The part of each pixel in each of 32 equal parts: fractions, shape (32, length)."""
    part = Fraction(length, 32)
    overlap = [
        [max(Fraction(0), min((i + 1) * part, j + 1) - max(i * part, j)) for j in range(length)]
        for i in range(32)
    ]
    return np.array(overlap, dtype=object)


def test_areas_do_not_depend_on_how_rows_come(tmp_path):
    """To the last bit, including numbers whose sums are not exact."""
    array = (np.random.default_rng(0).random((301, 77)) * 1e9).astype("f4")
    found = set()
    for at_once in (1, 2, 7, 64, 301):
        areas = Areas(301, 77)
        for top in range(0, 301, at_once):
            areas.add(array[top : top + at_once])
        found.add(areas.means().tobytes())
    assert len(found) == 1


def test_areas_of_wide_planes_need_little_memory():
    """A few numbers per column, but not 32; and none after the last row."""
    tracemalloc.start()
    try:
        planes = [Areas(1, 500_000) for _ in range(3)]
        for each in planes:
            each.add(np.ones((1, 500_000), "u1"))
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 500_000
    assert peak < 16 * 8 * 500_000
