"""Codes of pixels and of appearance, compared with iscc-core, NumPy and exact arithmetic."""

import json
import os
import re
import struct
import subprocess
import sys
import zipfile
import zlib
from fractions import Fraction
from itertools import product
from pathlib import Path

import imagecodecs
import iscc_core
import numcodecs
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from test_appearance import SKIMAGE, weights

import containers
import manifest
from conftest import SCRIPTS
from containers import coded, described, five_axes, pixels_of, stream_of
from dev.environments import PROJECT
from images import NotAnImageError
from manifest import Entry
from oracle import TEST_DATA, codes_of
from samples import HOSTILE, column

TYPES = ("uint8", "uint16", "int16", "uint32", "float32", "float64")
AXES = ("YX", "YXS", "ZYX", "CYX", "TZCYX")
VECTORS = PROJECT / "docs" / "pixels.json"


def is_coded(entry: Entry, array: np.ndarray) -> bool:
    """Whether an entry is that of an array with the axes Z, C, T, Y, X."""
    want = codes_of(stream_of(array))
    return entry[1:6] == (want.wide, *want[2:]) and entry.pixels == described(array)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("axes", AXES)
def test_pixels_have_one_code_in_whatever_they_are_stored(tmp_path, axes, dtype):
    array = pixels_of(axes, dtype)
    expected = five_axes(array, axes)
    writers = containers.containers(axes, dtype)
    assert len(writers) >= 15
    for number, (name, write) in enumerate(writers.items()):
        path = tmp_path / str(number)
        write(path, array, axes)
        [entry] = coded(path)
        if name == "pages, no metadata":  # nothing says what they are, so they are a stack
            planes = expected.reshape(-1, 1, 1, *expected.shape[3:])
            assert is_coded(entry, planes), name
        else:
            assert is_coded(entry, expected), name


@pytest.mark.parametrize("dtype", ["int8", "uint64", "int64", "float16", "int32"])
def test_other_types(tmp_path, dtype):
    array = pixels_of("TZCYX", dtype)
    for number, write in enumerate([containers.tiff(), containers.ome_zarr()]):
        write(tmp_path / str(number), array, "TZCYX")
        [entry] = coded(tmp_path / str(number))
        assert is_coded(entry, five_axes(array, "TZCYX"))


def test_masks_are_zeros_and_ones(tmp_path):
    mask = pixels_of("YX", "uint8") > 150
    want = five_axes(mask.astype("u1"), "YX")
    tifffile.imwrite(tmp_path / "m.tif", mask, photometric="minisblack")
    Pillow.fromarray(mask).convert("1").save(tmp_path / "m.png")
    containers.ome_zarr()(tmp_path / "m.zarr", mask, "YX")
    for name in ("m.tif", "m.png", "m.zarr"):
        [entry] = coded(tmp_path / name)
        assert is_coded(entry, want), name


def test_grey_levels_of_few_bits_are_what_is_written(tmp_path):
    levels = (np.arange(64 * 64) % 16).astype("u1").reshape(64, 64)
    packed = np.packbits(np.unpackbits(levels[..., None], axis=2)[..., 4:].reshape(64, -1), axis=1)
    scanlines = b"".join(b"\0" + row.tobytes() for row in packed)
    (tmp_path / "4.png").write_bytes(png_of(64, 64, 4, 0, scanlines))
    tifffile.imwrite(tmp_path / "4.tif", levels, bitspersample=4, photometric="minisblack")
    assert is_coded(coded(tmp_path / "4.png")[0], five_axes(levels, "YX"))
    assert is_coded(coded(tmp_path / "4.tif")[0], five_axes(levels, "YX"))


def png_of(width: int, height: int, depth: int, colour: int, scanlines: bytes) -> bytes:
    """A PNG, chunk by chunk, as specified."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(scanlines)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_a_palette_is_its_colours(tmp_path):
    picture = Pillow.open(SKIMAGE / "coffee.png").convert("RGB").resize((80, 60)).quantize(50)
    want = five_axes(np.asarray(picture.convert("RGB")), "YXS")
    for name in ("p.png", "p.tif", "p.bmp"):
        picture.save(tmp_path / name)
        [entry] = coded(tmp_path / name)
        assert is_coded(entry, want), name


def test_white_that_is_zero_stays_zero(tmp_path):
    array = pixels_of("YX", "uint8")
    tifffile.imwrite(tmp_path / "w.tif", array, photometric="miniswhite")
    assert is_coded(coded(tmp_path / "w.tif")[0], five_axes(array, "YX"))


def test_transparency_is_a_fourth_channel(tmp_path):
    array = np.concatenate([pixels_of("YXS", "uint8"), pixels_of("YXS", "uint8", 1)[..., :1]], 2)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", extrasamples=["unassalpha"])
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(array))
    for name in ("a.tif", "a.png"):
        [entry] = coded(tmp_path / name)
        assert is_coded(entry, five_axes(array, "YXS"))
        assert " z1c4t1" in entry.pixels


def test_complex_numbers_and_axes_beyond_five_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "c.tif", np.ones((9, 9), np.complex64), photometric="minisblack")
    with pytest.raises(NotAnImageError, match=r'^cannot read "x" as an image: .*"complex64"$'):
        coded(tmp_path / "c.tif")
    array = np.ones((2, 3, 2, 2, 9, 9), "u1")
    tifffile.imwrite(tmp_path / "6.tif", array, ome=True, metadata={"axes": "TZCHYX"})
    with pytest.raises(NotAnImageError, match=r"found the axis 'h' as well$"):
        coded(tmp_path / "6.tif")


def test_an_unknown_axis_takes_the_first_of_z_and_t_that_is_free(tmp_path):
    array = pixels_of("TCYX", "uint16")
    tifffile.imwrite(tmp_path / "h.tif", array, ome=True, metadata={"axes": "HCYX"})
    [entry] = coded(tmp_path / "h.tif")
    assert is_coded(entry, five_axes(array, "ZCYX"))


def test_several_images_in_a_file_are_numbered(tmp_path):
    one, two = pixels_of("ZYX", "uint16"), pixels_of("YXS", "uint8", 1, 20, 30)
    with tifffile.TiffWriter(tmp_path / "two.tif", ome=True) as writer:
        writer.write(one, metadata={"axes": "ZYX"}, photometric="minisblack")
        writer.write(two, metadata={"axes": "YXS"}, photometric="rgb")
    first, second = coded(tmp_path / "two.tif")
    assert [first.name, second.name] == ["x/0", "x/1"]
    assert is_coded(first, five_axes(one, "ZYX"))
    assert is_coded(second, five_axes(two, "YXS"))


@pytest.mark.parametrize("version", [2, 3])
def test_images_of_bioformats2raw_and_of_plates(tmp_path, version):
    arrays = [pixels_of("TZCYX", "uint16", seed) for seed in range(2)]
    layout, plate = tmp_path / "layout", tmp_path / "plate"
    containers.describe(layout, version, {"bioformats2raw.layout": 3})
    wells = [{"path": "A/1"}, {"path": "B/2"}]
    containers.describe(plate, version, {"plate": {"wells": wells}})
    for number, array in enumerate(arrays):
        containers.ome_zarr(version, group=str(number))(layout, array, "TZCYX")
        well = wells[number]["path"]
        containers.describe(plate / well, version, {"well": {"images": [{"path": "0"}]}})
        containers.ome_zarr(version, group=f"{well}/0")(plate, array, "TZCYX")
    # Labels are not images.
    containers.ome_zarr(version, group="0/labels/nuclei")(layout, arrays[0], "TZCYX")
    for path in (layout, plate):
        entries = coded(path)
        assert [entry.name for entry in entries] == ["x/0", "x/1"]
        for entry, array in zip(entries, arrays, strict=True):
            assert is_coded(entry, five_axes(array, "TZCYX"))


@pytest.mark.parametrize("inside", ["", "deep/image.zarr/"])
def test_a_zipped_zarr_is_read_where_it_is(tmp_path, inside):
    array = pixels_of("CYX", "uint16")
    containers.ome_zarr()(tmp_path / "z", array, "CYX")
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as packed:
        for path in sorted((tmp_path / "z").rglob("*")):
            if path.is_file():
                packed.write(path, inside + str(path.relative_to(tmp_path / "z")))
    [entry] = coded(tmp_path / "z.zip")
    assert is_coded(entry, five_axes(array, "CYX"))


def test_a_pyramid_is_its_full_resolution(tmp_path):
    array = pixels_of("YX", "uint16", rows=64, columns=64)
    with tifffile.TiffWriter(tmp_path / "p.tif") as writer:
        writer.write(array, subifds=1, tile=(32, 32), photometric="minisblack")
        writer.write(array[::2, ::2], subfiletype=1, tile=(32, 32), photometric="minisblack")
    [entry] = coded(tmp_path / "p.tif")
    assert is_coded(entry, five_axes(array, "YX"))


def write_set(folder: Path, names: list[str]) -> np.ndarray:
    """An OME-TIFF of several files with one plane each, which all describe all; and its pixels."""
    array = pixels_of("ZYX", "uint16")
    blocks = "".join(
        f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{z}'
        "</UUID></TiffData>"
        for z, name in enumerate(names)
    )
    for z, name in enumerate(names):
        description = (
            f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{z}">'
            '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" '
            'SizeX="50" SizeY="37" SizeZ="3" SizeC="1" SizeT="1">'
            f'<Channel ID="Channel:0" SamplesPerPixel="1"/>{blocks}</Pixels></Image></OME>'
        )
        tifffile.imwrite(folder / name, array[z], description=description, metadata=None)
    return array


def test_files_of_an_ome_tiff_may_have_lost_their_endings(tmp_path, program):
    """As in a list for which Galaxy removed the extensions of names."""
    names = ["z0.ome.tif", "z1.ome.tif", "z2.ome.tif"]
    want = five_axes(write_set(tmp_path, names), "ZYX")
    called = ["z0.ome", "z1", "z2.ome.tif"]
    datasets = [
        {"element_identifier": ["set", name], "source_path": str(tmp_path / file)}
        for name, file in zip(called, names, strict=True)
    ]
    (tmp_path / "inputs.json").write_text(json.dumps({"datasets": datasets}))
    done = program("iscc_pixels", "--inputs", "inputs.json", "--manifest", "m.tsv")
    assert done.returncode == 0, done.stderr
    assert all(is_coded(entry, want) for entry in manifest.read(tmp_path / "m.tsv", "m.tsv"))


def test_an_ome_tiff_of_several_files_is_read_if_all_are_there(tmp_path, program):
    names = ["a.ome.tif", "it's $(1).tif", "c.tif"]
    want = five_axes(write_set(tmp_path, names), "ZYX")
    done = program("iscc_pixels", *names, "--manifest", "m.tsv")
    assert done.returncode == 0, done.stderr
    entries = manifest.read(tmp_path / "m.tsv", "m.tsv")
    assert [entry.name for entry in entries] == names
    assert all(is_coded(entry, want) for entry in entries)
    # The file is there, but nobody chose it.
    done = program("iscc_pixels", *names[:2], "--manifest", "m2.tsv")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        'iscc_pixels: cannot read "a.ome.tif" as an image: it is one file of several, and "c.tif" '
        "is not among the datasets; put all files of the image into one collection\n"
    )
    assert not (tmp_path / "m2.tsv").exists()


def test_any_number_of_processes_writes_the_same(tmp_path, program):
    files = [TEST_DATA / name for name in ("nuclei.tif", "nuclei_3d.tif", "cell.png")] * 3
    written = []
    for processes in (1, 2, 5):
        options = [
            "--planes",
            "--projections",
            "--turned",
            "--processes",
            processes,
            "--manifest",
            "m",
        ]
        done = program("iscc_pixels", *files, *options)
        assert done.returncode == 0, done.stderr
        written.append((tmp_path / "m").read_bytes())
    assert written[0] == written[1] == written[2]


def test_long_work_says_how_far_it_is(tmp_path):
    lines = """
import coding, iscc_pixels, messages
messages.SECONDS_BETWEEN_REPORTS, coding.PORTION_DATASETS = 0, 1
iscc_pixels.main()
"""
    for name in "abc":
        tifffile.imwrite(tmp_path / name, np.ones((5000, 10_000), "u1"), compression="zlib")
    done = subprocess.run(
        [sys.executable, "-c", lines, *"abc", "--manifest", "m"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(SCRIPTS["iscc_pixels"].parent)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    form = r"([0-3]) of 3 datasets, (0\.[0-2]) GB of pixels, [\d,]+ MB/s"
    news = [re.fullmatch(form, line) for line in done.stderr.splitlines()]
    assert all(news), done.stderr
    counts = [(int(line[1]), float(line[2])) for line in news]
    assert counts == sorted(counts)
    assert {count for count, _ in counts} == {0, 1, 2}
    assert counts[-1][1] in (0.1, 0.2)  # 150 million


# ---- Planes and projections


def test_planes_and_projections_have_lines_of_their_own(tmp_path):
    array = pixels_of("TZCYX", "uint16")
    five = five_axes(array, "TZCYX")
    containers.ome_zarr(chunks=lambda shape: (2, 3, 2, 9, 50))(tmp_path / "x", array, "TZCYX")
    entries = coded(tmp_path / "x", planes=True, projections=True)
    expected = {"x": five}
    for z, c, t in product(range(3), range(2), range(4)):
        expected[f"x/z{z}c{c}t{t}"] = five[z : z + 1, c : c + 1, t : t + 1]
    for c, t in product(range(2), range(4)):
        expected[f"x/zmaxc{c}t{t}"] = five[:, c : c + 1, t : t + 1].max(axis=0, keepdims=True)
    assert [entry.name for entry in entries] == list(expected)
    for entry in entries:
        assert is_coded(entry, expected[entry.name]), entry.name
        assert bool(entry.image_code) == (entry.name != "x")


def test_an_image_of_one_plane_has_one_line(tmp_path):
    assert len(coded(TEST_DATA / "nuclei.tif", planes=True, projections=True)) == 1


# ---- Appearance


def test_colours_count_alike(tmp_path):
    """A picture is the mean of its channels, each scaled, so that faint channels count as well."""
    array = pixels_of("YXS", "uint8")
    faint = array.copy()
    faint[..., 2] = faint[..., 2] // 4 * 4
    codes = []
    for number, each in enumerate((faint, faint // np.array([1, 1, 4], "u1"))):
        tifffile.imwrite(tmp_path / f"{number}", each, photometric="rgb")
        codes.append(coded(tmp_path / f"{number}")[0].image_code)
    assert codes[0] == codes[1] is not None


def test_pictures_without_features_have_no_code(tmp_path):
    flat = np.full((64, 64), 7, "u2")
    slope = np.repeat(np.arange(64, dtype="u2")[:, None] * 9, 64, axis=1)
    for number, array in enumerate((flat, slope, np.full((9, 9), np.nan, "f4"))):
        tifffile.imwrite(tmp_path / f"{number}", array, photometric="minisblack")
        [entry] = coded(tmp_path / f"{number}", turned=True)
        assert entry.image_code is None
        assert entry.note.endswith("featureless")


def test_turned_has_all_orientations_upright_first(tmp_path):
    grey = np.asarray(Pillow.open(SKIMAGE / "camera.png"))
    upright = coded(SKIMAGE / "camera.png")[0].image_code
    codes = coded(SKIMAGE / "camera.png", turned=True)[0].image_code.split(" ")
    assert len(set(codes)) == 16
    assert codes[0] == upright
    found = []
    for mirrored in (grey, grey[:, ::-1]):
        for quarters in range(4):
            for inverted in (False, True):
                other = np.rot90(mirrored, quarters)
                other = 255 - other if inverted else other
                (tmp_path / "t.png").write_bytes(
                    imagecodecs.png_encode(np.ascontiguousarray(other))
                )
                found.append(coded(tmp_path / "t.png")[0].image_code)
    for code in found:
        assert min(distance(code, each) for each in codes) <= 8


def distance(code: str, other: str) -> int:
    a, b = (iscc_core.decode_base32(each.removeprefix("ISCC:"))[2:] for each in (code, other))
    return (int.from_bytes(a) ^ int.from_bytes(b)).bit_count()


# ---- Test vectors


def vectors() -> list[dict]:
    """Arrays with their expected codes, by NumPy, exact fractions and iscc-core."""
    found = []
    for axes, dtype in [
        ("YX", "uint8"),
        ("YX", "uint16"),
        ("YX", "float32"),
        ("YXS", "uint8"),
        ("ZYX", "int16"),
        ("CYX", "uint32"),
        ("TZCYX", "uint16"),
        ("ZCTYX", "float64"),
    ]:
        array = pixels_of(axes, dtype, rows=6, columns=5)
        five = five_axes(array, axes)
        want = codes_of(stream_of(five))
        vector = {
            "axes": axes,
            "dtype": dtype,
            "array": array.tolist(),
            "pixels": described(five),
            "filesize": want.filesize,
            "datahash": want.datahash,
            "iscc": want.wide,
            "iscc_narrow": want.narrow,
            "data_code": want.data_code,
            "instance_code": want.instance_code,
        }
        if five.shape[0] == five.shape[2] == 1:
            vector["image_code"] = exact_image_code(five[0, :, 0])
        found.append(vector)
    return found


def exact_image_code(channels: np.ndarray) -> str:
    """The Image-Code of a picture: shape (channels, rows, columns)."""
    total = np.zeros((32, 32), dtype=object)
    for channel in channels:
        rows, columns = map(weights, channel.shape)
        means = rows @ np.vectorize(Fraction)(channel.astype(float)) @ columns.T
        total += (means - means.min()) / (means.max() - means.min()) * 255
    grey = np.vectorize(round)(total / Fraction(len(channels)))
    return iscc_core.gen_image_code_v0(grey.ravel().tolist(), bits=256)["iscc"]


def test_the_published_vectors(tmp_path):
    published = json.loads(VECTORS.read_text())
    assert published["vectors"] == vectors()
    for number, vector in enumerate(published["vectors"]):
        array = np.array(vector["array"], dtype=vector["dtype"])
        containers.tiff()(tmp_path / f"{number}", array, vector["axes"])
        [entry] = coded(tmp_path / f"{number}")
        for field in ("iscc", "filesize", "datahash", "data_code", "instance_code", "pixels"):
            assert getattr(entry, field) == vector[field]
        assert entry.image_code == vector.get("image_code")
        [narrow] = coded(tmp_path / f"{number}", wide=False)
        assert narrow.iscc == vector["iscc_narrow"]


# ---- Files that others made


# All but one of 16 bits a colour, of which Pillow reads 8.
PNGS = sorted(set(SKIMAGE.glob("*.png")) - {SKIMAGE / "chessboard_RGB.png"})


@pytest.mark.parametrize("path", PNGS, ids=lambda path: path.name)
def test_pngs_of_scikit_image(path):
    picture = Pillow.open(path)
    if getattr(picture, "is_animated", False):
        with pytest.raises(NotAnImageError, match=r"found an animation$"):
            coded(path)
        return
    if picture.mode == "P":
        picture = picture.convert("RGB")
    array = np.asarray(picture)
    array = array.astype("u1") if array.dtype == bool else array
    [entry] = coded(path)
    assert is_coded(entry, five_axes(array, "YX" if array.ndim == 2 else "YXS"))


# Computed with `iscc-bio biocode` of iscc-bio 0.2.0, which is right for grey images.
BIOCODES = {
    "brick.png": "ISCC:K4ADCM6UJEVWY35GMW5PGKNDELCSP6VHSVJONTM6ZDINZOBU4VZZU7Y",
    "camera.png": "ISCC:K4AOTQQ2MDJSHJE3VH4UQLRWE5LU2RNGCPIVS2KI453VYT47F7WW6XA",
    "cell.png": "ISCC:K4AL743VN2JZJPXEBFKJCQMLPVRD32LYSOUVADVFUIROQL2RV3AXXTI",
    "coins.png": "ISCC:K4AA235653FHEAAT4FPPTX6REANFE3BA435NPVKZPR5K3V3O5EDAZLI",
    "grass.png": "ISCC:K4AHZHDBQPLPHZ5RPS5OTKCACYTXUCQ653F6WL6KLPQMU3LBN6SBQOY",
    "gravel.png": "ISCC:K4ALDVMCNLYMMVT64SFQ2RJ6A26V35B3V3V6HQFY2GFZEQ5RWXHZB2Q",
    "moon.png": "ISCC:K4ABFQEVKW6E6AKARYDA2RR6QZS3MKQDMX6W6JO6PRUEK3NDASO75KA",
    "nuclei.tif": "ISCC:K4AOUFQYDOLFWKY4MUBJXGRBAJHGHGE4N2JQN5Q6RH65LUTZWQ2KBRY",
    "nuclei_3d.tif": "ISCC:K4ADWPOODR4FZ6W24Z7CVUDOBPOO3PAIQQAQJSO63V34M2DLIOOIV4Y",
    "page.png": "ISCC:K4AONX2A3G3H5AVQPNIB2PW2EHLTSI2GGD65MUQD7GFLPF22BKM5URY",
    "text.png": "ISCC:K4AOHKLMLMEKPNNBEA3QUD4WPAPFABXOS52HYVPGBTNIOKDBCOVH6CA",
}


def test_grey_images_have_the_codes_of_iscc_bio(tmp_path, program):
    """In one run without other output, although libpng has a warning for one of them."""
    images = [(TEST_DATA if name.endswith(".tif") else SKIMAGE) / name for name in BIOCODES]
    done = program("iscc_pixels", *images, "--manifest", "m")
    assert (done.returncode, done.stderr) == (0, "")
    entries = manifest.read(tmp_path / "m", "m")
    assert [entry.iscc for entry in entries] == [*BIOCODES.values()]


@pytest.mark.parametrize("path", sorted(SKIMAGE.glob("*.jpg")), ids=lambda path: path.name)
def test_jpegs_of_scikit_image(path):
    [entry] = coded(path)
    assert is_coded(entry, five_axes(np.asarray(Pillow.open(path)), "YXS"))


def test_tiffs_of_others():
    for path, axes in [
        (SKIMAGE / "multipage.tif", "ZYX"),
        (SKIMAGE / "multipage_rgb.tif", "ZSYX"),
        (TEST_DATA / "nuclei.tif", "YX"),
        (TEST_DATA / "nuclei_3d.tif", "ZYX"),
    ]:
        array = tifffile.imread(path)  # no other library reads all of them
        [entry] = coded(path)
        assert is_coded(entry, five_axes(array, axes)), path.name


def test_a_zarr_of_others():
    """Zipped, from Galaxy's own tests; the only chunk is decoded without zarr."""
    path = TEST_DATA / "pixels" / "images.zarr.zip"
    with zipfile.ZipFile(path) as packed:
        chunk = packed.read("OMEzarrImages/Images/s0/0/0/0/0/0")
    array = np.frombuffer(numcodecs.blosc.decompress(chunk), "u1").reshape(159, 191)
    [entry] = coded(path)
    assert is_coded(entry, five_axes(array, "YX"))


# ---- The script


def test_names_are_data(tmp_path, program):
    content = (TEST_DATA / "microaneurysms.png").read_bytes()
    for name in HOSTILE:
        (tmp_path / name).write_bytes(content)
    names = [name if not name.startswith("-") else f"./{name}" for name in HOSTILE]
    done = program("iscc_pixels", *names, "--manifest", "m.tsv")
    assert done.returncode == 0, done.stderr
    entries = manifest.read(tmp_path / "m.tsv", "m.tsv")
    assert [entry.name for entry in entries] == names
    assert len({entry[1:] for entry in entries}) == 1


def test_what_is_no_image_ends_the_job_or_is_listed(tmp_path, program):
    (tmp_path / "it's.txt").write_text("no image\n")
    (tmp_path / "cut.tif").write_bytes((TEST_DATA / "nuclei.tif").read_bytes()[:90_000])
    files = ["it's.txt", TEST_DATA / "nuclei.tif", "cut.tif"]
    done = program("iscc_pixels", *files, "--manifest", "m.tsv")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "m.tsv").exists()
    done = program("iscc_pixels", *files, "--manifest", "m.tsv", "--skipped", "s.tsv")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("; skipped 2 datasets\n")
    listed = column((tmp_path / "s.tsv").read_bytes(), "#name", "reason")
    assert [name for name, _ in listed] == ["it's.txt", "cut.tif"]
    assert listed[0][1].startswith("expected TIFF, PNG")
    assert listed[1][1].startswith("it is cut off")
    assert len(manifest.read(tmp_path / "m.tsv", "m.tsv")) == 1
    done = program("iscc_pixels", "it's.txt", "--manifest", "n.tsv", "--skipped", "t.tsv")
    assert done.returncode == 2
    assert "expected an image among the datasets, found none" in done.stderr


def test_a_name_that_another_image_has_is_refused(tmp_path, program):
    with tifffile.TiffWriter(tmp_path / "a") as writer:
        writer.write(np.ones((9, 9), "u1"), photometric="minisblack")
        writer.write(np.ones((5, 9), "u1"), photometric="minisblack")
    form = {
        "datasets": [
            {"element_identifier": "a", "source_path": str(tmp_path / "a")},
            {"element_identifier": ["a", "0"], "source_path": str(TEST_DATA / "cell.png")},
        ]
    }
    (tmp_path / "inputs.json").write_text(json.dumps(form))
    done = program("iscc_pixels", "--inputs", "inputs.json", "--manifest", "m.tsv")
    assert done.returncode == 2, done.stdout
    assert done.stderr == (
        'iscc_pixels: "a/0" would be the name of two images, one of them in "a/0"; rename one of '
        "the datasets\n"
    )


def test_narrow_codes_and_joined_manifests(tmp_path, program, script):
    for name, option in (("wide", []), ("narrow", ["--narrow"])):
        done = program("iscc_pixels", TEST_DATA / "nuclei.tif", "--manifest", name, *option)
        assert done.returncode == 0, done.stderr
    array = tifffile.imread(TEST_DATA / "nuclei.tif")
    want = codes_of(stream_of(five_axes(array, "YX")))
    [wide], [narrow] = (manifest.read(tmp_path / name, name) for name in ("wide", "narrow"))
    assert (wide.iscc, narrow.iscc) == (want.wide, want.narrow)
    assert wide.image_code == narrow.image_code
    assert (
        script("iscc_manifest", "--join", "wide", "--join", "narrow", "--manifest", "m").returncode
        == 0
    )
    assert manifest.read(tmp_path / "m", "m") == [wide, narrow]


# ---- The two kinds of codes


def manifests_of_both_kinds(tmp_path: Path, program, script) -> None:
    assert program("iscc_pixels", TEST_DATA / "nuclei.tif", "--manifest", "p").returncode == 0
    assert script("iscc_manifest", TEST_DATA / "nuclei.tif", "--manifest", "b").returncode == 0


def test_codes_of_pixels_are_not_compared_with_codes_of_bytes(tmp_path, program, script):
    manifests_of_both_kinds(tmp_path, program, script)
    for arguments in (
        ["--manifest", "p", "--reference", "b"],
        ["--manifest", "b", "--reference", "p"],
        [TEST_DATA / "nuclei.tif", "--reference", "p"],
    ):
        done = script("iscc_similarity", *arguments, "--pairs", "pairs")
        assert done.returncode == 2
        assert "codes of pixels and of bytes cannot be compared" in done.stderr
        assert "ISCC pixel manifest" in done.stderr
        assert not (tmp_path / "pairs").exists()
    twice = ("--manifest", "p", "--manifest", "p")
    assert script("iscc_similarity", *twice, "--pairs", "pairs").returncode == 0


def test_codes_of_pixels_are_not_verified_as_bytes(tmp_path, program, script):
    manifests_of_both_kinds(tmp_path, program, script)
    done = script("iscc_verify", TEST_DATA / "nuclei.tif", "--manifest", "p", "--report", "r")
    assert done.returncode == 2
    assert "its codes are of pixels" in done.stderr
    assert "ISCC manifest" in done.stderr
    lines = [(tmp_path / name).read_text() for name in ("p", "b")]
    for other, statuses in (
        (lines[0], ["OK"]),
        (lines[0].replace("nuclei", "x"), ["INVALID", "OK"]),
    ):
        (tmp_path / "both").write_text(other + lines[1])
        done = script(
            "iscc_verify", TEST_DATA / "nuclei.tif", "--manifest", "both", "--report", "r"
        )
        assert done.returncode == 0, done.stderr
        found = column((tmp_path / "r").read_bytes(), "status")
        assert sorted(status for [status] in found) == statuses


def test_equal_streams_of_another_shape_are_no_exact_duplicates(tmp_path, program, script):
    array = pixels_of("YX", "uint16", rows=64, columns=128)
    for name, each in {
        "a": array,
        "b": array.copy(),
        "c": array.reshape(128, 64),
        "d": array.view("i2"),
    }.items():
        tifffile.imwrite(
            tmp_path / name,
            each,
            photometric="minisblack",
            compression="zlib" if name == "b" else None,
        )
    assert program("iscc_pixels", *"abcd", "--manifest", "p").returncode == 0
    entries = manifest.read(tmp_path / "p", "p")
    assert len({entry.instance_code for entry in entries}) == 1
    assert script("iscc_similarity", "--manifest", "p", "--pairs", "pairs").returncode == 0
    found = column((tmp_path / "pairs").read_bytes(), "#name_a", "name_b", "relation", "distance")
    assert [pair for pair in found if pair[2] == "exact"] == [("a", "b", "exact", "0")]
    assert {pair[2:] for pair in found} == {("exact", "0"), ("near", "0")}
    assert len(found) == 6


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        (7, "65536", "in the column pixels"),
        (7, "imagewalk uint16 z1c1t1y256", "in the column pixels"),
        (7, "imagewalk complex64 z1c1t1y1x1", "in the column pixels"),
        (8, "ISCC:EED", "in the column image_code"),
        (8, "ISCC:KUA57", "in the column image_code"),
    ],
)
def test_columns_of_images_are_checked(tmp_path, field, value, complaint):
    [entry] = coded(TEST_DATA / "nuclei.tif")
    header, line = manifest.lines([entry])
    fields = line.rstrip("\n").split("\t")
    fields[field] = value
    (tmp_path / "m").write_text(header + "\t".join(fields) + "\n")
    with pytest.raises(manifest.InputError, match=complaint):
        manifest.read(tmp_path / "m", "m")


def test_manifests_of_images_run_together_lose_no_line(tmp_path):
    """With or without a final line feed: two lines, or none that is valid."""
    [entry] = coded(TEST_DATA / "nuclei.tif")
    header, line = manifest.lines([entry])
    (tmp_path / "m").write_text(header + line + header + line)
    assert manifest.read(tmp_path / "m", "m") == [entry, entry]
    for cut in (header + line.rstrip("\n") + header + line, header + line.rstrip("\n") + line):
        (tmp_path / "m").write_text(cut)
        with pytest.raises(manifest.InputError, match=r"line 2.*in the column|expected 9 columns"):
            manifest.read(tmp_path / "m", "m")
