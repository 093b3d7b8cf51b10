"""Panels of figures: found where they were cut out, and nowhere else.

The images are scikit-image's and those of test-data. Panels are made of them with Pillow, so the
place of each is known.
"""

import cmath
import io
import json
import warnings
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter
from test_appearance import SKIMAGE

import likeness
import montage
import panel_search
import panels
import plane_store
import planes
from dev.environments import PROJECT
from exploring import EXPLORES, FUZZING, chance
from grey import stretched
from oracle import TEST_DATA

FIGURE = TEST_DATA / "panels" / "figure_2.jpg"
RAW = [TEST_DATA / "retina.jpg", TEST_DATA / "cell.png"]
IMAGES = ["camera", "coins", "grass", "gravel", "moon", "hubble_deep_field", "rocket", "chelsea"]


def grey(name: str) -> np.ndarray:
    [path] = SKIMAGE.glob(f"{name}.*")
    return np.asarray(Image.open(path).convert("L"))


def described(image: np.ndarray, most: int = panels.MOST_FEATURES) -> panels.Features:
    rows, columns = image.shape
    return panels.features(stretched(image), columns, rows, most)


@cache
def plane(name: str) -> panels.Features:
    return described(grey(name))


def panel_of(
    image: np.ndarray, part: float, angle: float, mirrored: bool = False, width: int = 300
) -> tuple[np.ndarray, np.ndarray]:
    """A square panel from the middle of an image, and its corners in it, clockwise.

    It shows `part` of the shorter side. It has to be turned by `angle` degrees to lie in the image.
    """
    rows, columns = image.shape
    a = part * min(rows, columns) / width * cmath.exp(1j * cmath.pi * angle / 180)
    middle = complex(columns - 1, rows - 1) / 2
    flip = -1 if mirrored else 1
    centre = (width - 1) / 2

    def place(x: float, y: float) -> complex:
        return a * complex(flip * (x - centre), y - centre) + middle

    start, right, down = place(0, 0), place(1, 0), place(0, 1)
    # Pillow's coordinates are those of the edges of pixels.
    across, along = right - start, down - start
    start += 0.5 + 0.5j - (across + along) / 2
    matrix = (across.real, along.real, start.real, across.imag, along.imag, start.imag)
    made = Image.fromarray(image).transform(
        (width, width), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC
    )
    corners = [place(0, 0), place(width - 1, 0), place(width - 1, width - 1), place(0, width - 1)]
    return np.asarray(made), np.array([(each.real, each.imag) for each in corners])


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "jpeg", quality=quality)
    return np.asarray(Image.open(out).convert("L"))


def drawn_on(image: np.ndarray) -> np.ndarray:
    """With a scale bar, an arrow and a letter."""
    made = Image.fromarray(image)
    draw = ImageDraw.Draw(made)
    draw.rectangle((200, 270, 280, 278), fill=255)
    draw.line((60, 60, 110, 110), fill=255, width=4)
    draw.text((12, 8), "b", fill=255, font_size=36)
    return np.asarray(made)


CHANGES = {
    "as it is": lambda image: image,
    "compressed": lambda image: jpeg(image, 50),
    "darker": lambda image: (255 * (image / 255) ** 1.6).astype(np.uint8),
    "inverted": lambda image: 255 - image,
    "drawn on": drawn_on,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("part", "angle", "mirrored"),
    [(0.75, 0, False), (0.5, 90, False), (0.5, -17, True), (0.35, 163, False), (0.35, 0, True)],
)
def test_panels_are_found_where_they_were_cut_out(change, part, angle, mirrored):
    for name in ("coins", "camera", "retina", "hubble_deep_field"):
        image = grey(name)
        panel, corners = panel_of(image, part, angle, mirrored)
        find = panels.match(described(CHANGES[change](panel), panels.MOST_OF_PANEL), plane(name))
        assert find, name
        width = np.linalg.norm(corners[1] - corners[0])
        assert np.abs(find.corners - corners).max() < 0.02 * width, name
        assert (find.mirrored, find.inverted) == (mirrored, change == "inverted")
        assert abs((find.angle - angle + 180) % 360 - 180) < 1
        assert find.scale == pytest.approx(part * min(image.shape) / 300, rel=0.01)


def test_panels_are_not_found_elsewhere():
    """Each panel in each other image: none, and far from the bound."""
    for name in IMAGES:
        panel, _ = panel_of(grey(name), 0.6, 10)
        found = described(panel, panels.MOST_OF_PANEL)
        for other in IMAGES:
            find = panels.match(found, plane(other))
            assert (find is not None) == (other == name), (name, other)
            finds = panels.candidates(found, plane(other), mirrored=False, inverted=False)
            if other != name:
                assert all(each.certainty < panels.CERTAIN / 2 for each in finds)


BURNT_IN = ("TESCAN VEGA3", "Sample 7-B", "HV 5.00 kV  WD 10.2 mm  mag 2 500 x  HFW 51.8 um")


def burnt_into(image: np.ndarray) -> np.ndarray:
    """With a data bar below, and letters at the top, as electron microscopes write them."""
    rows, columns = image.shape
    made = Image.new("L", (columns, rows + 30))
    made.paste(Image.fromarray(image))
    draw = ImageDraw.Draw(made)
    for text, place in zip(BURNT_IN, ((8, 6), (columns - 120, 6), (8, rows + 4)), strict=True):
        draw.text(place, text, fill=255, font_size=18)
    draw.rectangle((columns - 90, rows + 22, columns - 10, rows + 26), fill=255)
    return np.asarray(made)


@pytest.mark.parametrize("brightest", [255, 20])
def test_letters_and_data_bars_are_not_taken_for_the_image(brightest):
    """Several images of one microscope, bright or dim: found are the right ones, and no others."""
    names = ("camera", "moon", "hubble_deep_field", "rocket", "chelsea")
    small = [np.asarray(Image.fromarray(grey(name)).resize((512, 384))) for name in names]
    images = [burnt_into((image * (brightest / 255)).astype(np.uint8)) for image in small]
    raw = [described(image) for image in images]
    misled = 0
    for number, image in enumerate(images):
        whole = jpeg(np.asarray(Image.fromarray(image).resize((341, 276))), 80)
        for figure in (whole, jpeg(image[192:], 80)):
            panel = described(figure, panels.MOST_OF_PANEL)
            for other, plane in enumerate(raw):
                find = panels.match(panel, plane)
                assert (find is not None) == (other == number), (names[number], names[other])
                if other != number:
                    finds = panels.all_candidates(panel, plane)
                    misled += any(find.certainty >= panels.CERTAIN for find in finds)
    assert misled > 10  # the letters agree


@pytest.mark.parametrize(("size", "turn"), [(1.0, 0), (0.4, 30), (2.5, -100)])
def test_a_panel_looks_like_its_place(size, turn):
    """Whichever of the two pictures is finer, and turned by any angle; and not like another."""
    plane = Image.fromarray(grey("camera")).resize((320, 320))
    a = size * cmath.exp(1j * cmath.pi * turn / 180)
    middle = complex(160, 160) - a * complex(50, 50)  # the panel has 100 x 100 pixels
    matrix = np.array([[a.real, -a.imag, middle.real], [a.imag, a.real, middle.imag], [0, 0, 1]])
    # Pillow's coordinates are those of the edges of pixels.
    edges = (middle + 0.5 + 0.5j) - a * (0.5 + 0.5j)
    cut = (a.real, -a.imag, edges.real, a.imag, a.real, edges.imag)
    smooth = plane.filter(ImageFilter.GaussianBlur(size / 2))
    panel = np.asarray(smooth.transform((100, 100), Image.Transform.AFFINE, cut, 3))
    picture = np.asarray(plane)
    assert likeness.share_alike(panel, picture, matrix) > 0.95
    assert likeness.share_alike(255 - panel, picture, matrix) < 0.1
    assert likeness.share_alike(panel[:, ::-1], picture, matrix) < 0.4
    half = panel.copy()
    half[:, :50] = grey("gravel")[:100, :50]
    assert 0 < likeness.share_alike(half, picture, matrix) < 0.6
    black = np.zeros_like(picture)
    assert likeness.share_alike(panel, black, matrix) == 0
    assert likeness.share_alike(np.zeros_like(panel), black, matrix) == 0
    tiny = np.diag([0.04, 0.04, 1])
    assert likeness.share_alike(panel, picture, tiny) == 0


def test_one_cell_of_sixty_four_is_another():
    picture = chance(1).randbytes(160 * 160)
    one = np.frombuffer(picture, np.uint8).reshape(160, 160).astype(float)
    other = one.copy()
    other[40:60, 100:120] = one[60:80, 100:120]
    assert likeness.share_correlated(one, other) == 63 / 64
    flat = np.full_like(one, 128)
    assert likeness.share_correlated(one, flat) == 0
    assert likeness.share_correlated(flat, flat) == 0


def test_only_colours_that_differ_are_looked_for():
    image = grey("camera")
    dark = np.zeros_like(image)
    assert len(panel_search.looks_of([image])) == 1
    assert len(panel_search.looks_of([image, image, image])) == 1
    assert len(panel_search.looks_of([dark, image, dark])) == 3  # green is the mean itself
    assert len(panel_search.looks_of([image, image[::-1], dark])) == 4


def stripes(side: int) -> np.ndarray:
    return np.tile((np.arange(side) // 16 % 2 * 255).astype(np.uint8), (side, 1))


WITHOUT_A_PLACE = {
    "blank": np.zeros((300, 300), np.uint8),
    "one pixel": np.full((1, 1), 7, np.uint8),
    "a row": np.arange(200, dtype=np.uint8)[None, :],
    "stripes": stripes(512),
    "a chessboard": np.where(stripes(512) == stripes(512).T, 255, 0).astype(np.uint8),
    "noise": chance(1).randbytes(300 * 300),
    "a gradient": np.tile(np.linspace(0, 255, 300).astype(np.uint8), (300, 1)),
}


@pytest.mark.parametrize("name", WITHOUT_A_PLACE)
def test_what_has_no_place(name):
    image = WITHOUT_A_PLACE[name]
    if isinstance(image, bytes):
        image = np.frombuffer(image, np.uint8).reshape(300, 300)
    others = [plane("coins"), *(described(np.asarray(each)) for each in (image,))]
    with warnings.catch_warnings(action="error"):
        part = described(image[: len(image) // 2 + 1, : image.shape[1] // 2 + 1], 1000)
        assert panels.match(part, others[0]) is None
        if name in ("stripes", "a chessboard", "blank", "a gradient"):  # many places, or none
            assert panels.match(part, others[1]) is None


def test_frames_that_look_alike_are_all_named():
    """The same field with other noise, as frames of a time series; the same frame twice."""
    image, random = grey("coins").astype(float), np.random.default_rng(1)
    frames = [
        np.clip(image + random.normal(0, 6, image.shape), 0, 255).astype(np.uint8) for _ in range(4)
    ]
    panel, _ = panel_of(frames[2], 0.5, 0)
    found = described(panel, panels.MOST_OF_PANEL)
    finds = [panels.match(found, described(frame)) for frame in frames]
    assert all(finds)
    assert not any(panels.better(finds[other], finds[2]) for other in (0, 1, 3))
    again = panels.match(found, described(frames[2]))
    assert not panels.better(finds[2], again)
    assert not panels.better(again, finds[2])


# Figures and images


def test_raw_images_that_are_the_same_are_all_named(program, tmp_path):
    """Two copies, and frames of a time series: all of them, in their order, from either source."""
    image, random = grey("coins"), np.random.default_rng(1)
    frames = [
        np.clip(image + random.normal(0, 6, image.shape), 0, 255).astype(np.uint8) for _ in range(2)
    ]
    pages = [Image.fromarray(each) for each in (*frames, frames[1])]
    pages[0].save(tmp_path / "series.tif", save_all=True, append_images=pages[1:])
    for name in ("one.png", "other.png"):
        Image.fromarray(image).save(tmp_path / name)
    Image.fromarray(panel_of(image, 0.5, 0)[0]).save(tmp_path / "figure.png")
    raw = ["one.png", "series.tif", "other.png"]
    program("iscc_panels", "figure.png", "--raw", *raw, "--finds", "f", "--features", "x.npz")
    rows = columns(tmp_path / "f")
    by_plane = {row["match"]: list(row.values())[3:] for row in rows}
    of_series = [f"series.tif/{plane}" for plane in ("z0c0t0", "z1c0t0", "z2c0t0", "zmaxc0t0")]
    assert sorted(by_plane) == ["one.png", "other.png", *of_series]
    assert by_plane["one.png"] == by_plane["other.png"]
    assert by_plane["series.tif/z1c0t0"] == by_plane["series.tif/z2c0t0"]
    program("iscc_panels", "figure.png", "--raw", "x.npz", "--finds", "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "f").read_bytes()
    # A part of the second frame: its frame and the copy of it come first.
    Image.fromarray(panel_of(frames[1], 0.5, 0)[0]).save(tmp_path / "frame.png")
    program("iscc_panels", "frame.png", "--raw", *raw, "--finds", "f")
    assert [row["match"] for row in columns(tmp_path / "f")][:2] == of_series[1:3]


def columns(path: Path) -> list[dict[str, str]]:
    header, *lines = (line.split("\t") for line in path.read_text("utf-8").splitlines())
    return [dict(zip(header, line, strict=True)) for line in lines]


def test_a_figure_of_three_panels(program, tmp_path):
    """In images, and in the feature file of these: the same bytes."""
    outputs = ["--finds", "f", "--picture", "p", "--features", "x.npz"]
    done = program("iscc_panels", FIGURE, "--raw", *RAW, *outputs, "--processes", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 of 3 panels found, 5 planes searched, ")
    rows = columns(tmp_path / "f")
    first = {row["#panel"][-1]: row for row in reversed(rows)}
    assert "retina.jpg" in first["a"]["match"]
    assert first["b"]["match"].endswith("cell.png")
    assert first["c"]["relation"] == "none"
    assert {row["#panel"][-1] for row in rows} == {"a", "b", "c"}
    # The mean of the colours is not listed: it shows the same place as the green channel.
    assert first["a"]["match"].endswith("retina.jpg/z0c1t0")
    assert not any(row["match"].endswith("retina.jpg") for row in rows)
    # They were cut out at these places (test-data/README.md).
    for letter, box in (("a", (400, 500, 500, 500)), ("b", (200, 250, 300, 300))):
        found = [int(first[letter][each]) for each in ("x", "y", "width", "height")]
        assert np.abs(np.subtract(found, box)).max() < 0.02 * box[2]
    assert (first["a"]["mirrored"], first["b"]["mirrored"]) == ("yes", "no")
    outputs = ["--finds", "f2", "--picture", "p2", "--features", "y.npz"]
    done = program("iscc_panels", FIGURE, "--raw", "x.npz", *outputs)
    assert done.returncode == 0, done.stderr
    for one, other in (("f", "f2"), ("p", "p2"), ("x.npz", "y.npz")):
        assert (tmp_path / one).read_bytes() == (tmp_path / other).read_bytes()


WHOLE = "it's $(whole).png"


def test_figures_that_match_as_a_whole(program, tmp_path):
    """They are compared with what they match, and with nothing else."""
    (tmp_path / WHOLE).write_bytes(RAW[1].read_bytes())
    (tmp_path / "figure_2.jpg").write_bytes(FIGURE.read_bytes())
    (tmp_path / "copy.png").write_bytes(RAW[1].read_bytes())  # no match of it is in the table
    figures = [WHOLE, "figure_2.jpg", "copy.png"]
    table = TEST_DATA / "panels" / "matches.tsv"
    done = program("iscc_panels", "--raw", *RAW, "--features", "x.npz")
    assert done.stdout.startswith("features of 5 planes kept, ")
    outputs = ["--finds", "f", "--picture", "p", "--result", "r"]
    done = program("iscc_panels", *figures, "--raw", "x.npz", "--matches", table, *outputs)
    result = "4 of 5 figures and panels found (exact: 1, lies in: 3), 5 planes searched"
    assert (tmp_path / "r").read_text() == f"{result}\n"
    assert done.stdout.startswith(f"{result}, ")
    rows = {row["#panel"]: row for row in columns(tmp_path / "f")}
    assert [*rows] == [WHOLE, *(f"figure_2.jpg/{letter}" for letter in "abc"), "copy.png"]
    matched = rows[WHOLE]
    assert (matched["relation"], matched["distance"]) == ("exact", "0")
    assert (matched["match"], matched["corners"]) == ("cell.png", "")  # its path is longer here
    assert (rows["copy.png"]["relation"], rows["copy.png"]["distance"]) == ("lies in", "")
    # A stack that matches is one figure, however many planes it has.
    with Image.new("L", (60, 60)) as plane:
        plane.save(tmp_path / "stack.tif", save_all=True, append_images=[plane, plane])
    stack = matches("stack.tif\texact\t0\tcell.png")
    (tmp_path / "m").write_text(stack)
    program("iscc_panels", "stack.tif", "--raw", "x.npz", "--matches", "m", "--finds", "f")
    assert [row["#panel"] for row in columns(tmp_path / "f")] == ["stack.tif"]
    # Where the match is one of the planes, the place in it is told.
    (tmp_path / "cell.png").write_bytes(RAW[1].read_bytes())
    program("iscc_panels", *figures, "--raw", "cell.png", "--matches", table, *outputs)
    rows = {row["#panel"]: row for row in columns(tmp_path / "f")}
    assert rows[WHOLE]["corners"] == "0,0 549,0 549,659 0,659"
    assert (rows[WHOLE]["match"], rows[WHOLE]["relation"]) == ("cell.png", "exact")


def matches(*lines: str) -> str:
    return "\n".join(["#name\trelation\tdistance\tmatch", *lines]) + "\n"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", '"m": expected the table of matches of ISCC similarity, found an empty file; choose'),
        ("#name\tiscc\n", "line 1: expected a header with the columns #name, relation, distance"),
        (matches().replace("match", "relation"), "line 1: expected a header with the columns"),
        (matches("a\texact\t0"), "line 2: expected 4 columns as in the header, found 3"),
        (matches("a\tsame\t0\tb"), 'none in the column relation, found "same"; choose the output'),
        (matches("a\texact\t-1\tb"), 'bits in the column distance, found "-1"'),
        (matches("a\texact\t0\t\\x"), r'invalid escape sequence "\x"'),
        (matches("\\y\texact\t0\tb"), r'invalid escape sequence "\y"'),
        (matches("a\texact\t0\tb"), "expected matches of the figures, found the names of others"),
        (matches(), "expected matches of the figures, found the names of others"),
    ],
)
def test_tables_that_are_not_of_matches(script, tmp_path, content, expected):
    (tmp_path / "m").write_text(content)
    done = script("iscc_panels", FIGURE, "--raw", RAW[1], "--matches", "m", "--finds", "f")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith('iscc_panels: "m"')
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "f").exists()


def test_the_documentation_shows_what_is_drawn(program, tmp_path):
    program("iscc_panels", FIGURE, "--raw", *RAW, "--picture", "p")
    drawn, shown = (
        np.asarray(Image.open(path).convert("L")).astype(float)
        for path in (tmp_path / "p", PROJECT / "docs" / "images" / "panels.png")
    )
    assert drawn.shape == shown.shape
    # Without the names, which are paths here.
    assert np.abs(drawn[50:330] - shown[50:330]).mean() < 1


def test_a_montage_of_six(program, tmp_path):
    """Four from the raw images, two from others: four at the right place, two none."""
    names = ["coins", "grass", "moon", "chelsea", "gravel", "rocket"]
    sheet = Image.new("L", (3 * 260, 2 * 260), 255)
    corners = {}
    for number, name in enumerate(names):
        panel, corners[name] = panel_of(grey(name), 0.6, 0, width=240)
        sheet.paste(Image.fromarray(panel), (10 + number % 3 * 260, 10 + number // 3 * 260))
    sheet.save(tmp_path / "montage.jpg", quality=85)
    raw = [
        path
        for name in ("coins", "moon", "chelsea", "rocket")
        for path in SKIMAGE.glob(f"{name}.*")
    ]
    program("iscc_panels", "montage.jpg", "--raw", *raw, "--finds", "f", "--processes", "2")
    found = {row["#panel"]: row for row in reversed(columns(tmp_path / "f"))}
    assert [*found] == [f"montage.jpg/{letter}" for letter in "fedcba"]
    for letter, name in zip("abcdef", names, strict=True):
        row = found[f"montage.jpg/{letter}"]
        if name in ("grass", "gravel"):
            assert row["relation"] == "none"
            continue
        assert f"/{name}." in row["match"]
        left, top = corners[name].min(axis=0)
        width = corners[name].max(axis=0)[0] - left
        assert abs(int(row["x"]) - left) < 0.02 * width
        assert abs(int(row["y"]) - top) < 0.02 * width


def test_figures_are_cut_at_their_gutters():
    """White or black ones; neither at a letter, nor within a panel that has a dark stripe."""
    image = grey("coins")[:200, :200]
    for colour in (255, 0):
        sheet = np.full((430, 640), colour, np.uint8)
        sheet[10:210, 10:210] = sheet[10:210, 220:420] = sheet[10:210, 430:630] = image
        sheet[220:420, 10:310], sheet[220:420, 320:630] = (
            grey("chelsea")[:200, :300],
            image[:, :1].repeat(310, 1),
        )
        assert montage.cut(sheet)[:4] == [
            (slice(10, 210), slice(10, 210)),
            (slice(10, 210), slice(220, 420)),
            (slice(10, 210), slice(430, 630)),
            (slice(220, 420), slice(10, 310)),
        ]
    assert montage.cut(image) == [(slice(0, 200), slice(0, 200))]
    assert montage.cut(np.zeros((300, 200), np.uint8)) == [(slice(0, 300), slice(0, 200))]


@pytest.mark.parametrize(("rows", "columns", "side"), [(7, 11, 4), (100, 30, 32), (5, 9, 100)])
def test_large_planes_are_reduced_to_means(rows, columns, side):
    image = np.random.default_rng(1).integers(0, 4096, (rows, columns)).astype(np.uint16)
    reduction = planes.Reduction(rows, columns, side)
    for top in range(0, rows, 3):
        reduction.add(image[top : top + 3])
    block = -(-max(rows, columns) // side)
    expected = [
        [image[y : y + block, x : x + block].mean() for x in range(0, columns, block)]
        for y in range(0, rows, block)
    ]
    assert np.allclose(reduction.picture(), expected)


# Feature files, which anybody can make


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("store") / "x.npz"
    with path.open("wb") as stream, plane_store.Writer(stream) as writer:
        for name in ("coins", "moon"):
            writer.add(planes.Plane(name, plane(name)))
        writer.finish()
    return path


def refused(script, folder: Path, content: bytes) -> str:
    (folder / "x.npz").write_bytes(content)
    small = TEST_DATA / "pixels" / "crop.png"  # soon read, so nothing is said of progress
    done = script("iscc_panels", small, "--raw", "x.npz", "--finds", "f")
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("iscc_panels: ")
    assert not (folder / "f").exists()
    return done.stderr


def with_members(store: Path, changed: dict[str, bytes | None]) -> bytes:
    """A feature file with other members."""
    out = io.BytesIO()
    with zipfile.ZipFile(store) as old, zipfile.ZipFile(out, "w") as new:
        members = {name: old.read(name) for name in old.namelist()} | changed
        for name, content in members.items():
            if content is not None:
                new.writestr(name, content)
    return out.getvalue()


def array(values: np.ndarray, **options: object) -> bytes:
    out = io.BytesIO()
    np.save(out, values, **options)
    return out.getvalue()


def listing(planes: object, **more: object) -> bytes:
    header = {"format": plane_store.FORMAT, "planes": planes} | more
    return array(np.frombuffer(json.dumps(header).encode(), np.uint8))


ONE = ["coins", 384, 303, 1.0]


@pytest.mark.parametrize(
    "changed",
    [
        {"planes.npy": listing([ONE], format="other")},
        {"planes.npy": listing("x")},
        {"planes.npy": listing([[*ONE, 5]])},
        {"planes.npy": listing([["", 384, 303, 1.0]])},
        {"planes.npy": listing([["x" * 20_000, 384, 303, 1.0]])},
        {"planes.npy": listing([["\ud800", 384, 303, 1.0]])},
        {"planes.npy": listing([["x", 0, 303, 1.0]])},
        {"planes.npy": listing([["x", True, 303, 1.0]])},
        {"planes.npy": listing([["x", 384, 303, 1e9]])},
        {"planes.npy": listing([["x", 384, 303, float("nan")]])},
        {"planes.npy": array(np.array([{"a": 1}], object), allow_pickle=True)},
        {"planes.npy": b"[" * 100_000},
        {"0.features.npy": None},
        {"0.features.npy": array(np.zeros(3))},
        {"0.features.npy": array(np.zeros(1501, plane_store.FEATURE))},
        {"0.features.npy": array(np.zeros(5, plane_store.FEATURE))},
        {"0.features.npy": array(np.frombuffer(b"\xff" * 720, plane_store.FEATURE))},
        {"0.features.npy": array(np.array([(5, 5, 1, np.nan, [0] * 128)], plane_store.FEATURE))},
        {"0.features.npy": array(np.array([(5, 306, 1, 0, [0] * 128)], plane_store.FEATURE))},
        {"0.features.npy": b"\x93NUMPY\x01\x00\xff\xff" + b" " * 400},
        {"1.picture.npy": array(np.zeros((0, 5), np.uint8))},
        {"1.picture.npy": array(np.zeros((5, 5)))},
        {"1.picture.npy": array(np.zeros((321, 320), np.uint8))},
        {"1.picture.npy": array(np.zeros((1, 320**2), np.uint8))},
    ],
)
def test_feature_files_that_are_wrong(script, tmp_path, store, changed):
    said = refused(script, tmp_path, with_members(store, changed))
    assert "expected a feature file of ISCC panels, found a damaged or another file" in said


@EXPLORES
def test_a_zip_file_of_an_unknown_version(script, tmp_path, store):
    content = bytearray(store.read_bytes())
    content[content.index(b"PK\x01\x02") + 6] = 228  # the version that is needed to read it
    assert 'x.npz" as an image: it is damaged' in refused(script, tmp_path, bytes(content))


def test_feature_files_that_are_changed(script, tmp_path, store):
    """A table or a sentence, nothing else."""
    content, random = store.read_bytes(), chance(5)
    panel = Image.fromarray(panel_of(grey("coins"), 0.5, 0)[0])
    panel.save(tmp_path / "panel.png")
    for _ in range(300 if FUZZING else 12):
        broken = bytearray(content)
        for _ in range(random.choice((1, 3, 30))):
            place = random.choice((random.randrange(len(broken)), -random.randrange(1, 400)))
            broken[place] = random.randrange(256)
        if random.random() < 0.2:
            del broken[random.randrange(len(broken)) :]
        (tmp_path / "x.npz").write_bytes(broken)
        done = script("iscc_panels", "panel.png", "--raw", "x.npz", "--finds", "f")
        assert done.returncode in (0, 2), done.stderr
        assert done.stderr.count("\n") == (done.returncode == 2)


@pytest.mark.parametrize("shape", [(1, 1), (1, 320), (320, 1), (7, 300)])
@pytest.mark.parametrize("size", [(384, 303, 1.0), (384, 303, 300.0), (2**31 - 1, 303, 1.0)])
def test_feature_files_with_pictures_of_something_else(script, tmp_path, store, shape, size):
    """The features are those of the panel's image; the picture, and even the sizes, are not."""
    picture = np.frombuffer(chance(1).randbytes(shape[0] * shape[1]), np.uint8).reshape(shape)
    changed = {"0.picture.npy": array(picture), "planes.npy": listing([["x", *size]])}
    (tmp_path / "x.npz").write_bytes(with_members(store, changed))
    Image.fromarray(panel_of(grey("coins"), 0.5, 0)[0]).save(tmp_path / "panel.png")
    with warnings.catch_warnings(action="error"):
        done = script(
            "iscc_panels", "panel.png", "--raw", "x.npz", "--finds", "f", "--picture", "p"
        )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_needed(script, tmp_path):
    done = script("iscc_panels", "--raw", RAW[1], "--finds", "f")
    assert done.stderr == (
        "iscc_panels: expected figures to search for, or --features to make a feature file, "
        "found neither; give at least one of them\n"
    )
    done = script("iscc_panels", FIGURE, "--finds", "f")
    assert done.stderr == (
        "iscc_panels: expected raw images or feature files (--raw), found none; give at least one\n"
    )
    for figure, raw in ((FIGURE, TEST_DATA / "delivery.tsv"), (TEST_DATA / "delivery.tsv", RAW[1])):
        done = script("iscc_panels", figure, "--raw", raw, "--finds", "f")
        assert done.returncode == 2
        assert 'delivery.tsv" as an image: expected TIFF' in done.stderr
        assert not (tmp_path / "f").exists()
