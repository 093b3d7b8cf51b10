"""Thumbnails show what is in an image, and contact sheets show the right ones side by side."""

import io
import resource
import tracemalloc
import zipfile
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tifffile
from matplotlib import font_manager
from matplotlib.colors import to_rgb
from PIL import Image as Pillow
from PIL import ImageFont

import columns
import contacts
import manifest
import relations
import sheet
from grey import Reduction, stretched
from images import Sizes
from manifest import Entry
from oracle import TEST_DATA, codes_of
from relations import Places
from samples import HOSTILE, NEEDS_FORK
from thumbnails import Thumbnail

PLANES = TEST_DATA / "planes.tsv"
ORANGE, DARK_BLUE, BLUE = "#e8590c", "#08519c", "#4292c6"
# Of 255, on average: JPEGs are not exact.
MOST_DIFFERENT = 6


def picture(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """A picture with spots, 16 bits."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns]
    found = np.zeros((rows, columns))
    for _ in range(12):
        top, left, size = random.random(3) * (rows, columns, min(rows, columns) / 5) + (0, 0, 3)
        found += np.exp(-((y - top) ** 2 + (x - left) ** 2) / size**2)
    return (found / found.max() * 50_000 + 300).astype("u2")


def expected(planes: np.ndarray, block: int) -> np.ndarray:
    """The means of square blocks of a plane, the middle 99 % of them stretched to 0 to 255."""
    rows, columns = (side // block * block for side in planes.shape)
    means = planes[:rows, :columns].reshape(rows // block, block, columns // block, block)
    means = means.mean(axis=(1, 3))
    low, high = np.percentile(means, [0.5, 99.5])
    return np.clip((means - low) / (high - low) * 255, 0, 255)


def thumbnails(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as packed:
        return {
            name: np.asarray(Pillow.open(io.BytesIO(packed.read(name))))
            for name in packed.namelist()
        }


@pytest.fixture
def coded(program, tmp_path):
    """Run iscc_pixels on images: the entries by name, and the thumbnail of each."""

    def run(*arguments: object) -> tuple[dict[str, Entry], dict[str, np.ndarray]]:
        outputs = ["--manifest", "m.tsv", "--thumbnails", "t.zip"]
        done = program("iscc_pixels", *arguments, *outputs)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        entries = {each.name: each for each in manifest.read(tmp_path / "m.tsv", "m.tsv")}
        found = thumbnails(tmp_path / "t.zip")
        wanted = {name: f"{each.datahash} {each.pixels}.jpg" for name, each in entries.items()}
        assert set(wanted.values()) == set(found)
        return entries, {name: found[wanted[name]] for name in entries}

    return run


def is_like(thumbnail: np.ndarray, want: np.ndarray) -> bool:
    return (
        thumbnail.shape == want.shape
        and np.abs(thumbnail - want.astype(float)).mean() < MOST_DIFFERENT
    )


@pytest.mark.parametrize(
    ("shape", "block"), [((256, 256), 2), ((1000, 504), 8), ((128, 40), 1), ((20, 30), 1)]
)
def test_a_thumbnail_shows_the_image(coded, tmp_path, shape, block):
    image = picture(*shape)
    tifffile.imwrite(tmp_path / "a.tif", image)
    _, found = coded("a.tif")
    assert is_like(found["a.tif"], expected(image, block))
    assert max(found["a.tif"].shape) <= 128


def test_stacks_series_and_channels(coded, tmp_path):
    """A stack is its maximum along Z at the middle time point; channels are averaged."""
    stack = np.stack([picture(256, 192, seed) for seed in range(12)]).reshape(2, 3, 2, 256, 192)
    axes = {"axes": "TZCYX"}
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, metadata=axes, photometric="minisblack")
    _, found = coded("a.ome.tif", "--planes", "--projections")
    reduced = stack[1].reshape(3, 2, 128, 2, 96, 2).mean(axis=(3, 5)).max(axis=0)
    want = np.mean([expected(each, 1) for each in reduced], axis=0)
    assert is_like(found["a.ome.tif"], want)
    assert is_like(found["a.ome.tif/z2c1t0"], expected(stack[0, 2, 1], 2))
    assert is_like(found["a.ome.tif/zmaxc0t1"], expected(stack[1, :, 0].max(axis=0), 2))
    assert not is_like(found["a.ome.tif"], np.mean([expected(each, 2) for each in stack[0, 0]], 0))


def test_what_cannot_be_seen_is_black(coded, tmp_path):
    """One value, no number, or a single pixel."""
    for name, image in {
        "flat.tif": np.full((200, 200), 7, "u1"),
        "nan.tif": np.full((50, 50), np.nan, "f4"),
        "one.tif": np.ones((1, 1), "u1"),
        "huge.tif": np.full((30, 30), 1e300),
    }.items():
        tifffile.imwrite(tmp_path / name, image)
        _, found = coded(name)
        assert not found[name].any(), name


def test_the_same_pixels_have_one_thumbnail(coded, tmp_path):
    image = picture(100, 80)
    tifffile.imwrite(tmp_path / "a.tif", image)
    tifffile.imwrite(tmp_path / "copy.tif", image, compression="zlib")
    tifffile.imwrite(tmp_path / "b.tif", image.reshape(80, 100))
    entries, _ = coded("a.tif", "copy.tif", "b.tif")
    assert len({each.datahash for each in entries.values()}) == 1
    assert len(thumbnails(tmp_path / "t.zip")) == 2  # as the sizes differ


@NEEDS_FORK
def test_thumbnails_do_not_depend_on_processes(program, tmp_path):
    names = [f"{number}.tif" for number in range(9)]
    for number, name in enumerate(names):
        tifffile.imwrite(tmp_path / name, picture(40 + 30 * (number % 4), 60, number))
    contents = set()
    for count in (1, 2, 3):
        outputs = ["--manifest", "m.tsv", "--thumbnails", f"{count}.zip"]
        assert program("iscc_pixels", *names, *outputs, "--processes", count).returncode == 0
        contents.add((tmp_path / f"{count}.zip").read_bytes())
    assert len(contents) == 1
    order = [each.datahash for each in manifest.read(tmp_path / "m.tsv", "m.tsv")]
    assert [name.split()[0] for name in thumbnails(tmp_path / "1.zip")] == order


def test_without_thumbnails_the_manifest_is_the_same(program, tmp_path):
    given = [TEST_DATA / "nuclei_3d.tif", TEST_DATA / "pixels" / "colours.png", "--planes"]
    program("iscc_pixels", *given, "--manifest", "a.tsv")
    program("iscc_pixels", *given, "--manifest", "b.tsv", "--thumbnails", "t.zip")
    assert (tmp_path / "a.tsv").read_bytes() == (tmp_path / "b.tsv").read_bytes()


# ---- sheets


def places_of(drawn: np.ndarray, thumbnail: np.ndarray) -> list[tuple[int, int]]:
    """Where a thumbnail is on a sheet, to the last pixel: (x, y), line by line."""
    rows, columns = thumbnail.shape
    grey = np.where((drawn == drawn[..., :1]).all(axis=2), drawn[..., 0].astype(int), -1)
    lines = np.lib.stride_tricks.sliding_window_view(grey, columns, axis=1)
    starts = np.argwhere((lines == thumbnail[0]).all(axis=2))
    return [
        (x, y)
        for y, x in starts.tolist()
        if (grey[y : y + rows, x : x + columns] == thumbnail).all()
    ]


def colour_beside(drawn: np.ndarray, place: tuple[int, int], thumbnail: np.ndarray) -> tuple:
    """The colour of the frame around a thumbnail."""
    x, y = place
    line = drawn[y + thumbnail.shape[0] // 2, :x]
    is_pale = (line == (0xF1, 0xF3, 0xF5)).all(axis=1)
    return tuple(line[~is_pale][-1].tolist())


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(round(255 * each) for each in to_rgb(colour))


@pytest.fixture
def draw(program, tmp_path):
    """Run iscc_similarity for a sheet: the pixels of the sheet."""

    def run(*arguments: object) -> np.ndarray:
        done = program("iscc_similarity", *arguments, "--sheet", "sheet.png")
        assert done.returncode == 0, done.stderr
        return np.asarray(Pillow.open(tmp_path / "sheet.png").convert("RGB"))

    return run


def test_a_cluster_is_side_by_side(coded, draw, tmp_path):
    """A copy is orange, a retouched image dark blue and before it; an unrelated one is not drawn.

    That the retouched one is near is known from its pixels: few rows of many differ.
    """
    image, other = picture(512, 400), picture(512, 400, seed=1)
    retouched = image.copy()
    retouched[300:310, 200:220] = 0
    for name, pixels in {"a": image, "b": image, "c": retouched, "d": other}.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels)
    _, found = coded("a.tif", "b.tif", "c.tif", "d.tif")
    drawn = draw("--manifest", "m.tsv", "--thumbnails", "t.zip")
    first, copy = sorted(places_of(drawn, found["a.tif"]))
    [near] = places_of(drawn, found["c.tif"])
    assert places_of(drawn, found["d.tif"]) == []
    assert first[0] < near[0] < copy[0]
    assert first[1] == near[1] == copy[1]
    assert colour_beside(drawn, copy, found["b.tif"]) == rgb(ORANGE)
    assert colour_beside(drawn, near, found["c.tif"]) == rgb(DARK_BLUE)
    assert colour_beside(drawn, first, found["a.tif"]) not in (rgb(ORANGE), rgb(DARK_BLUE))


def test_a_figure_is_beside_the_plane_that_it_was_made_of(coded, draw, tmp_path):
    """And beside at most three; the thumbnails are in two files."""
    stack = np.stack([picture(256, 256, seed) for seed in range(6)])
    stack[3:] = stack[2]
    stack[3, 0, 0] += 1  # the same appearance, other pixels
    stack[4, 0, 0] += 2
    stack[5, 0, 0] += 3
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack")
    _, planes = coded("stack.tif", "--planes")
    for name in ("m.tsv", "t.zip"):
        (tmp_path / name).rename(tmp_path / f"archive.{name}")
    grey = Pillow.fromarray((stack[2] // 256).astype("u1"))
    grey.resize((150, 150)).save(tmp_path / "figure.jpg")
    Pillow.fromarray((picture(90, 90, 77) // 256).astype("u1")).save(tmp_path / "other.png")
    _, figures = coded("other.png", "figure.jpg")
    options = ["--reference", "archive.m.tsv", "--thumbnails", "archive.t.zip"]
    options += ["--compare", "appearance", "--matches", "matches.tsv"]
    drawn = draw("--manifest", "m.tsv", "--thumbnails", "t.zip", *options)
    [figure] = places_of(drawn, figures["figure.jpg"])
    beside = [
        place for place in places_of(drawn, planes["stack.tif/z2c0t0"]) if place[0] > figure[0]
    ]
    assert len(beside) == 3
    assert {colour_beside(drawn, each, planes["stack.tif/z2c0t0"]) for each in beside} == {
        rgb(BLUE)
    }
    # The other one has no match: it comes last, beside the nearest, without a colour.
    [other] = places_of(drawn, figures["other.png"])
    assert other[0] > max(beside)[0] or other[1] > figure[1] + sheet.GROUP / 2
    rows = (tmp_path / "matches.tsv").read_text().splitlines()[1:]
    [nearest] = [row.split("\t")[5] for row in rows if row.startswith("other.png\tnone")]
    [place] = [
        each
        for each in places_of(drawn, planes[nearest])
        if each[0] > other[0] and abs(each[1] - other[1]) < sheet.TILE
    ]
    assert colour_beside(drawn, place, planes[nearest]) not in (rgb(BLUE), rgb(ORANGE))


def clusters(sizes: list[int]) -> tuple[columns.Columns, Places]:
    """Entries in clusters of these sizes, all exact duplicates."""
    names = [f"{number} {each}" for number, size in enumerate(sizes) for each in range(size)]
    entries = [Entry(name, codes_of(name.encode()).wide, 9) for name in names]
    number = np.repeat(np.arange(len(sizes)), sizes)
    first = (np.cumsum(sizes, dtype=int) - np.array(sizes, dtype=int))[number.astype(int)]
    relation = np.array(["exact"] * len(names), dtype=object)
    relation[first] = "first"
    distance = np.where(relation == "first", relations.NONE, 0)
    places = Places(number + 1, np.array(sizes, dtype=int)[number], first, relation, distance)
    return columns.Columns.of(entries), places


@pytest.mark.parametrize("count", [0, 1, 3, 30, 60, 61, 300, 2000])
def test_the_largest_clusters_come_first_and_the_rest_is_named(count):
    sizes = [2 + number % 11 for number in range(count)]
    entries, places = clusters(sizes)
    made = contacts.of_clusters("", entries, places, places.relation == "exact", lambda *_: {})
    order = sorted(range(count), key=lambda number: (-sizes[number], number))
    drawn, rest = order[:60], order[60:360]
    assert [group.title for group in made.groups] == [
        f"Cluster {number + 1}: {sizes[number]} images" for number in drawn
    ]
    for number, group in zip(drawn, made.groups, strict=True):
        tiles = [f"{number} {each}" for each in range(min(sizes[number], 8))]
        assert [tile.name for tile in group.tiles] == tiles
        assert group.more == sizes[number] - len(tiles)
    assert [name.split(": ")[0] for name in made.names] == [str(number + 1) for number in rest]
    assert made.more == max(count - 360, 0)
    assert made.heading == (
        f"{count - 60:,} more cluster{'s' * (count > 61)}, without pictures:" if rest else ""
    )


def test_clusters_of_exact_duplicates_alone_come_last():
    """Clusters 2 and 4, the largest, have nothing else; 1 and 3 have one near-duplicate each."""
    entries, places = clusters([2, 5, 3, 4])
    places.relation[[1, 9]] = "near"
    places.distance[[1, 9]] = 7
    made = contacts.of_clusters("", entries, places, places.relation == "exact", lambda *_: {})
    assert [group.title.partition(":")[0] for group in made.groups] == [
        f"Cluster {number}" for number in (3, 1, 2, 4)
    ]
    assert [tile.caption for tile in made.groups[0].tiles] == ["first", "near, 7 bits", "exact"]


@pytest.mark.parametrize("count", [0, 1, 3, 30, 300])
def test_groups_are_on_the_sheet_and_apart(count):
    random = np.random.default_rng(count)
    groups = [sheet.Group("", [sheet.Tile("", None)] * random.integers(1, 9)) for _ in range(count)]
    places, end = sheet.arrange(groups)
    boxes = [
        (x, y, x + sheet.width_of_group(group), y + sheet.GROUP)
        for group, (x, y) in zip(groups, places, strict=True)
    ]
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= sheet.WIDTH
        assert 0 < top < bottom <= end
    for (_, top, right, bottom), (left, other_top, *_) in pairwise(boxes):
        assert (other_top == top and left > right) or other_top > bottom
    # Two groups of four tiles are as wide as one of eight.
    halves, _ = sheet.arrange([sheet.Group("", [sheet.Tile("", None)] * 4)] * 2)
    assert halves[0][1] == halves[1][1]


NAMES = [
    "W" * 20,
    "0123456789" * 3,
    "EXP_MEMBRANE_ROW_HH_COMM.TIF",
    "a\u202fb\u3000c",
    "e" + "\u0301" * 5000,
]
NAMES += [*HOSTILE, "$x^2$", "細胞" * 30, "a" * 500, "\ud800", "\x1b[31m", ""]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
@pytest.mark.filterwarnings("ignore:Glyph")
def test_any_name_can_be_drawn(name):
    lines = sheet.lines_of_name(name)
    assert len(lines) <= 2
    assert all(line.isprintable() for line in lines)
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 8.5 * 100 / 72)
    assert all(font.getlength(line) <= sheet.TILE + 2 for line in lines if line.isascii())
    made = sheet.Sheet(
        "title", [sheet.Group("g", [sheet.Tile(name, None)])], "heading:", [name, name, name], 7
    )
    drawn = Pillow.open(io.BytesIO(sheet.draw(made)))
    assert drawn.width == sheet.WIDTH  # as there are names below


def tiles_of(count: int) -> sheet.Group:
    return sheet.Group("", [sheet.Tile("a.tif", None)] * count)


def test_a_sheet_is_as_wide_as_it_needs_to_be():
    """One with few pictures is not mostly white, and its title has room."""
    title = "1,000,000 datasets compared with 1,000,000 of the reference: 100,000 exact pairs, 100"
    for count in (1, 4, 8):
        content = sheet.draw(sheet.Sheet(title, [tiles_of(count)], "", [], 0))
        drawn = np.asarray(Pillow.open(io.BytesIO(content)).convert("L"))
        assert (drawn[:, -10:] == 255).all()
        assert (drawn[:, -100:] < 255).any()


def test_long_names_lose_their_middle_and_are_broken_at_a_separator():
    assert sheet.lines_of_name("nuclei.tif") == ["nuclei.tif"]
    assert sheet.lines_of_name("figure 2b, final (copy).tif") == ["figure 2b, final", "(copy).tif"]
    assert sheet.lines_of_name("a\u202fb\u3000c.tif") == ["a b c.tif"]
    long = "begin" + "x" * 50 + "the end.tif"
    [first, second] = sheet.lines_of_name(long)
    assert first.startswith("beginxxx")
    assert second.endswith("xthe end.tif")
    assert "…" in first + second
    assert "".join(sheet.lines_of_name("細" * 20)) == "細" * 20


def test_small_images_are_enlarged():
    """As large as possible, by a whole number, so that pixels stay squares."""
    for side, times in {1: 128, 30: 4, 63: 2, 64: 2, 65: 1, 128: 1}.items():
        image = np.random.default_rng(side).integers(0, 255, (side, max(side // 2, 1)), dtype="u1")
        assert (sheet.enlarged(image) == np.kron(image, np.ones((times, times), "u1"))).all()


def jpeg(array: np.ndarray, kind: str = "JPEG") -> bytes:
    out = io.BytesIO()
    Pillow.fromarray(array).save(out, kind)
    return out.getvalue()


GREY = np.zeros((30, 30), "u1")
DAMAGED = {
    "a text": b"JPEG",
    "a cut off JPEG": jpeg(picture(100, 100).astype("u1"))[:300],
    "a PNG": jpeg(GREY, "PNG"),
    "a colour JPEG": jpeg(np.zeros((30, 30, 3), "u1")),
    "a large JPEG": jpeg(np.zeros((129, 30), "u1")),
    "too many bytes": jpeg(GREY) + bytes(1 << 16),
    "nothing": b"",
}


@pytest.mark.parametrize("damage", [*DAMAGED, "compressed", "wrong checksum", "cut off", "other"])
def test_damaged_thumbnails_are_one_sentence(coded, program, tmp_path, damage):
    """Nothing is written; in particular no sheet on which pictures are missing."""
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(tmp_path / name, picture(60, 60))
    coded("a.tif", "b.tif")
    [name] = thumbnails(tmp_path / "t.zip")
    content = (tmp_path / "t.zip").read_bytes()
    method = zipfile.ZIP_DEFLATED if damage == "compressed" else zipfile.ZIP_STORED
    with zipfile.ZipFile(tmp_path / "t.zip", "w", method) as packed:
        packed.writestr(name, DAMAGED.get(damage, jpeg(GREY)))
    if damage == "wrong checksum":
        place = content.index(b"\xff\xd8") + 100
        content = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        (tmp_path / "t.zip").write_bytes(content)
    if damage == "cut off":
        (tmp_path / "t.zip").write_bytes(content[:-30])
    if damage == "other":
        (tmp_path / "t.zip").write_bytes((tmp_path / "a.tif").read_bytes())
    options = ["--manifest", "m.tsv", "--thumbnails", "t.zip", "--pairs", "p.tsv"]
    done = program("iscc_similarity", *options, "--sheet", "s.png")
    assert done.returncode == 2
    assert done.stderr.startswith(
        'iscc_similarity: "t.zip": expected thumbnails from ISCC pixel manifest, found a damaged '
        "or another file ("
    )
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "s.png").exists()
    assert not (tmp_path / "p.tsv").exists()


def test_thumbnails_of_other_images(coded, program, tmp_path):
    for name, seed in {"a.tif": 0, "b.tif": 0, "c.tif": 1}.items():
        tifffile.imwrite(tmp_path / name, picture(60, 60, seed))
    coded("c.tif")
    (tmp_path / "t.zip").rename(tmp_path / "others.zip")
    coded("a.tif", "b.tif")
    options = ["--manifest", "m.tsv", "--thumbnails", "others.zip", "--sheet", "s.png"]
    done = program("iscc_similarity", *options)
    assert done.returncode == 2
    assert done.stderr == (
        'iscc_similarity: "others.zip": expected thumbnails of the images that are compared, found '
        "those of others; make manifest and thumbnails in the same run of ISCC pixel manifest\n"
    )


def test_copies_of_any_image_of_a_cluster_come_last(coded, draw, tmp_path):
    """Ten copies of one retouched image do not hide the other one."""
    image = picture(512, 400)
    retouched, other = image.copy(), image.copy()
    retouched[300:310, 200:220] = 0
    other[100:112, 50:80] = 9999
    images = {"a": image, **{f"b{number}": retouched for number in range(10)}, "c": other}
    for name, pixels in images.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels)
    _, found = coded(*(f"{name}.tif" for name in images))
    drawn = draw("--manifest", "m.tsv", "--thumbnails", "t.zip")
    [first], [last] = places_of(drawn, found["a.tif"]), places_of(drawn, found["c.tif"])
    copies = places_of(drawn, found["b0.tif"])
    assert len(copies) == 6
    assert first[0] < last[0] < sorted(copies)[1][0]


def test_codes_of_bytes_have_no_thumbnails(program, tmp_path):
    """The complaint comes before any dataset is read."""
    (tmp_path / "t.zip").write_bytes(b"")
    given = [TEST_DATA / "cell.png", "lost.tif", "--thumbnails", "t.zip", "--sheet", "s.png"]
    done = program("iscc_similarity", *given)
    assert done.returncode == 2
    assert (
        "--sheet: expected manifests of pixels, found codes of bytes like those of" in done.stderr
    )
    assert "make manifests and thumbnails with ISCC pixel manifest" in done.stderr


def test_a_full_disk_is_one_sentence(program, tmp_path):
    for number in range(8):
        tifffile.imwrite(tmp_path / f"{number}.tif", picture(200, 200, number))
    names = [f"{number}.tif" for number in range(8)]
    outputs = ["--manifest", "m.tsv", "--thumbnails", "t.zip"]
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (9000, 9000))
    done = program("iscc_pixels", *names, *outputs, preexec_fn=limit)
    assert done.returncode == 2
    assert done.stderr == 'iscc_pixels: cannot write "t.zip": File too large\n'
    assert {path.name for path in tmp_path.iterdir()} == set(names)


def test_wide_rows_need_little_memory():
    """A row of numbers, however many rows make a line of the thumbnail."""
    tracemalloc.start()
    try:
        found = Thumbnail(Sizes(1, 1, 1, 4000, 500_000))
        for _ in range(40):
            found.add(np.ones((1, 500_000), "u1"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 8 * 500_000


def test_sums_do_not_depend_on_how_rows_come():
    """To the last bit, including numbers whose sums are not exact."""
    random = np.random.default_rng(0)
    array = (random.normal(size=(600, 40)) * 10.0 ** random.integers(-9, 30, (600, 40))).astype(
        "f4"
    )
    found = set()
    for at_once in (1, 7, 64, 600):
        reduction = Reduction(600, 40, 128)
        for top in range(0, 600, at_once):
            reduction.add(array[top : top + at_once])
        found.add(reduction.picture().tobytes())
    assert len(found) == 1


@pytest.mark.parametrize("factor", [1e-30, 1e-12, 1, 1e12, 1e30])
def test_contrast_is_stretched_whatever_the_unit(factor):
    image = picture(60, 60).astype("f4")
    found = stretched((image / image.max() * factor).astype("f4"))
    assert found.max() == 255
    assert np.abs(found.astype(int) - stretched(image)).max() <= 1


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--sheet", "s.png"], "--sheet: expected thumbnails to draw (--thumbnails), found none"),
        (
            ["--thumbnails", "t.zip"],
            "--thumbnails: expected --sheet as well, to draw them, found none",
        ),
        (
            ["--thumbnails", "t.zip", "--sheet", "t.zip"],
            'cannot write "t.zip": this path is also an input or another output',
        ),
        (
            ["--manifest", PLANES, "--thumbnails", "lost.zip", "--sheet", "s.png"],
            'cannot read "lost.zip": No such file',
        ),
    ],
)
def test_options_that_need_each_other(program, tmp_path, options, complaint):
    (tmp_path / "t.zip").write_bytes(b"")
    given = [] if "--manifest" in options else [TEST_DATA / "cell.png", TEST_DATA / "nuclei.tif"]
    done = program("iscc_similarity", *given, *options)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert (tmp_path / "t.zip").read_bytes() == b""
