"""Consistency of the suite: formatting, lint, versions, copies, and correct test data."""

import csv
import io
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from importlib.resources import files
from pathlib import Path

import iscc_core
import numcodecs
import numpy as np
import pytest
import tifffile
import zarr
from galaxy.tool_util.loader import load_tool
from PIL import Image, ImageSequence
from scipy.ndimage import gaussian_filter
from test_appearance import weights

import manifest
from conftest import SCRIPTS
from containers import described, five_axes, stream_of
from dev.environments import (
    PROGRAMS,
    PROJECT,
    REQUIREMENTS,
    conda_name_and_version,
    pinned_requirements,
)
from dev.suite import TOOLS
from documents import TUTORIAL_FIGURE
from manifest import Entry
from oracle import HEADER, TEST_DATA, codes_of, codes_of_file, distance, manifest_line

BIN = Path(sys.executable).parent
PIXELS = TEST_DATA / "pixels"
TOOL_IDS = [path.stem for path in TOOLS]
FOLDERS = sorted({path.parent for path in TOOLS})
# Modules by name, with the folders that have one.
MODULES: dict[str, list[Path]] = {}
for module in sorted((PROJECT / "tools").glob("*/*.py")):
    MODULES.setdefault(module.name, []).append(module)

# What is in test-data, and the bytes of which its code is: of a folder those of its files, in the
# order in which `iscc-sum --tree` takes them.
CONTENTS = {
    path.name: path.read_bytes()
    for path in TEST_DATA.iterdir()
    if path.suffix in (".png", ".jpg", ".tif") or path.name == "empty"
} | {
    "nuclei.zarr": b"".join(
        (TEST_DATA / "nuclei.zarr" / name).read_bytes()
        for name in (".zgroup", "0/.zarray", "0/0.0", "0/1.0")
    )
}
CODES = {
    code for content in CONTENTS.values() for code in codes_of(content)[:2] + codes_of(content)[3:]
}


def expanded(tool: Path) -> ElementTree.Element:
    """A tool's XML with its macros expanded, as Galaxy sees it."""
    return load_tool(str(tool)).getroot()


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_python_is_formatted():
    run(str(BIN / "ruff"), "format", "--check", ".")


def test_python_has_no_lint():
    run(str(BIN / "ruff"), "check", ".")


def test_xml_has_no_lint():
    run(str(BIN / "planemo"), "lint", "--fail_level", "warn", *map(str, TOOLS))


def test_xml_is_formatted():
    done = subprocess.run(
        [BIN / "planemo", "format", "--dry-run", "--recursive", "tools"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert "0 file(s) would be reformatted" in done.stdout + done.stderr, done.stdout


def test_modules_of_the_same_name_are_equal():
    """Remote execution only sends a tool's own directory, so each has a real copy (make copies)."""
    for copies in MODULES.values():
        assert not any(copy.is_symlink() for copy in copies)
        assert len({copy.read_bytes() for copy in copies}) == 1


def files_needed(script: Path) -> list[str]:
    """A script and the modules of its directory that it imports, directly or indirectly."""
    modules = {path.stem: path.read_text() for path in script.parent.glob("*.py")}
    needed, new = set(), {script.stem}
    while new:
        needed |= new
        imported = {
            name
            for text in map(modules.get, new)
            for name in re.findall(r"^ *(?:import|from) (\w+)", text, re.M)
        }
        new = imported & set(modules) - needed
    return sorted(f"{name}.py" for name in needed)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_folder_has_no_module_that_none_of_its_scripts_needs(folder):
    scripts = [script for script in SCRIPTS.values() if script.parent == folder]
    needed = {name for script in scripts for name in files_needed(script)}
    assert needed == {path.name for path in folder.glob("*.py")}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_macros_are_one_file(folder):
    """Only Galaxy's server reads them, so links are sufficient."""
    assert (folder / "macros.xml").readlink() == Path("../../macros/macros.xml")


@pytest.mark.parametrize("tool", TOOLS, ids=TOOL_IDS)
def test_required_files_are_those_that_the_script_needs(tool):
    root = expanded(tool)
    [script] = re.findall(r"\$__tool_directory__/(\w+\.py)", root.findtext("command"))
    assert tool.parent / script in SCRIPTS.values()
    required = [include.get("path") for include in root.iter("include")]
    assert sorted(required) == files_needed(tool.parent / script)


def test_required_packages_are_those_that_are_installed_for_the_tools():
    """By name and version, as Galaxy looks for them, and the same versions for the fast tests."""
    required = {
        f"{requirement.text}=={requirement.get('version')}"
        for tool in TOOLS
        for requirement in expanded(tool).iter("requirement")
    }
    pinned = pinned_requirements(REQUIREMENTS / "tools.in")
    packages = {"==".join(conda_name_and_version(requirement)) for requirement in pinned}
    assert required == packages | {f"{name}=={version}" for name, version in PROGRAMS.items()}
    assert set(pinned) <= set(pinned_requirements(REQUIREMENTS / "dev.txt"))


def test_edam_terms_are_not_obsolete():
    """Those of the forms, in the table that planemo uses for its own check."""
    table = files("edam_ontology").joinpath("EDAM.tsv").read_text(encoding="utf-8")
    rows = csv.DictReader(table.splitlines(), delimiter="\t")
    obsolete = {row["Class ID"].rpartition("/")[2]: row["Obsolete"] == "TRUE" for row in rows}
    for tool in TOOLS:
        root = expanded(tool)
        terms = [each.text for kind in ("topic", "operation") for each in root.iter(f"edam_{kind}")]
        assert len(terms) >= 3
        assert not any(obsolete[term] for term in terms)


def test_versions_agree():
    versions = {expanded(tool).get("version") for tool in TOOLS}
    [citation] = re.findall(r"^version: (.*)$", (PROJECT / "CITATION.cff").read_text(), re.M)
    newest = re.findall(r"^## (.*)$", (PROJECT / "CHANGELOG.md").read_text(), re.M)[0]
    assert versions == {citation} == {newest}


@pytest.mark.parametrize(
    "tool",
    [tool for tool in TOOLS if tool.stem in ("iscc_sum", "iscc_similarity", "iscc_verify")],
    ids=lambda tool: tool.stem,
)
def test_codes_in_xml_tests_are_those_of_iscc_core(tool):
    """Except for a broken code, which is expected in a message. Two codes are of pixels.

    Codes of trails are checked in test_trail.py, and those of seals in test_seal.py; the tests of
    iscc_gate have none.
    """
    tests = ElementTree.tostring(expanded(tool).find("tests"), encoding="unicode")
    found = re.findall(r"ISCC:[A-Z2-7]+|1e20[0-9a-f]{64}", tests)
    assert found
    broken = codes_of_file("nuclei.tif").wide[:-1]
    stack, axes = images()["@STACK@"]
    pixels = (five_axes(stack, axes), five_axes(stack[5], axes[1:]))
    of_pixels = {codes_of(stream_of(each)).wide for each in pixels}
    assert set(found) - {broken} <= CODES | of_pixels


def images() -> dict[str, tuple[np.ndarray, str]]:
    """The contents of the images that iscc_pixels codes in its XML tests, with their axes.

    The pixels of nuclei.tif are the end of the file.
    """
    content = (TEST_DATA / "nuclei.tif").read_bytes()
    image = np.frombuffer(content[-2 * 256 * 256 :], "<u2").reshape(256, 256)
    crop = image[96:160, 96:160]
    colours = np.stack([image[top : top + 40, 100:156] for top in (0, 80, 160)]).astype("u1")
    corners = np.stack([image[:24, :32], image[-24:, -32:]]).astype("u1")
    with Image.open(TEST_DATA / "nuclei_3d.tif") as opened:
        stack = np.stack([np.asarray(page) for page in ImageSequence.Iterator(opened)])
    with zipfile.ZipFile(PIXELS / "images.zarr.zip") as packed:
        [chunk] = [name for name in packed.namelist() if name.endswith("s0/0/0/0/0/0")]
        zipped = np.frombuffer(numcodecs.blosc.decompress(packed.read(chunk)), "u1")
    return {
        "@CROP@": (crop, "YX"),
        "@COLOURS@": (colours, "CYX"),
        "@RED@": (colours[0], "YX"),
        "@GREEN@": (colours[1], "YX"),
        "@BLUE@": (colours[2], "YX"),
        "@TWO_CHANNELS@": (corners, "CYX"),
        "@TWO_DEPTHS@": (corners, "ZYX"),
        "@ZIPPED@": (zipped.reshape(159, 191), "YX"),
        "@STACK@": (stack, "ZYX"),
        "@PROJECTION@": (stack.max(axis=0), "YX"),
        "crop_figure.png": (65535 - np.rot90(crop), "YX"),
    }


def image_code(channels: np.ndarray) -> str:
    """The Image-Code, by iscc-core, of channels: shape (channels, rows, columns).

    It is that of the mean of their thumbnails, each made of the means of 32 by 32 equal areas.
    """
    thumbnails = []
    for channel in channels:
        rows, columns = channel.shape
        fine = channel.astype(float).repeat(32, axis=0).repeat(32, axis=1)
        means = fine.reshape(32, rows, 32, columns).mean(axis=(1, 3))
        thumbnails.append((means - means.min()) / np.ptp(means) * 255)
    picture = np.rint(np.mean(thumbnails, axis=0)).astype(int)
    return iscc_core.gen_image_code_v0(picture.ravel().tolist(), bits=256)["iscc"]


def pixel_line(array: np.ndarray, axes: str, narrow: bool = False) -> str:
    """The fields after the name in the manifest of an image."""
    image = five_axes(array, axes)
    _, _, line = manifest_line("", stream_of(image), narrow).rstrip("\n").partition("\t")
    is_picture = image.shape[0] == image.shape[2] == 1
    code = image_code(image[0, :, 0]) if is_picture else ""
    return "\t".join([line, described(image), code]).rstrip("\t")


def test_lines_in_xml_tests_of_pixels_are_those_of_iscc_core():
    """Tokens contain whole lines; the only other code is the Image-Code of a figure."""
    [tool] = [tool for tool in TOOLS if tool.stem == "iscc_pixels"]
    root = ElementTree.parse(tool).getroot()
    known = images()
    expected = {name: pixel_line(*each) for name, each in known.items() if name.startswith("@")}
    expected["@CROP_NARROW@"] = pixel_line(*known["@CROP@"], narrow=True)
    assert {token.get("name"): token.text for token in root.iter("token")} == expected
    figure, _ = known["crop_figure.png"]
    found = re.findall(r"ISCC:[A-Z2-7]{5,}", ElementTree.tostring(root.find("tests"), "unicode"))
    assert set(found) == {image_code(figure[np.newaxis])}


def with_pillow(name: str) -> np.ndarray:
    with Image.open(PIXELS / name) as image:
        return np.asarray(image)


def with_zarr(name: str) -> np.ndarray:
    return np.squeeze(zarr.open_array(TEST_DATA / name, mode="r")[...])


def test_images_in_test_data_are_what_their_readme_says():
    """As read by Pillow, tifffile and zarr."""
    known = images()
    crop, colours, corners = (known[name][0] for name in ("@CROP@", "@COLOURS@", "@TWO_DEPTHS@"))
    read = {
        "crop.png": with_pillow("crop.png"),
        "crop.tif": tifffile.imread(PIXELS / "crop.tif"),
        "crop_big.tif": tifffile.imread(PIXELS / "crop_big.tif"),
        "crop.ome.zarr": with_zarr("crop.ome.zarr/0"),
        "two_scenes.zarr": with_zarr("two_scenes.zarr/0/0"),
    }
    assert all(np.array_equal(array, crop) for array in read.values())
    assert {array.dtype.newbyteorder("=").name for array in read.values()} == {"uint16"}
    with tifffile.TiffFile(PIXELS / "crop_big.tif") as big:
        assert (big.is_bigtiff, big.byteorder) == (True, ">")
    whole = (TEST_DATA / "nuclei.tif").read_bytes()
    assert (PIXELS / "crop_cut_off.tif").read_bytes() == whole[:4096]
    assert np.array_equal(with_pillow("crop_figure.png"), known["crop_figure.png"][0])
    assert np.array_equal(with_pillow("colours.png"), np.moveaxis(colours, 0, -1))
    assert np.array_equal(with_zarr("two_scenes.zarr/1/0"), corners)
    for depth in range(2):
        assert np.array_equal(with_pillow(f"two_files_z{depth}.ome.tif"), corners[depth])


def test_distances_in_xml_tests_are_those_of_iscc_core():
    """Bits are counted: 7 of 128, and 5 of 64, between the image and its retouched copy.

    Distances between unrelated images are counted as well.
    """
    nuclei, retouched = codes_of_file("nuclei.tif"), codes_of_file("nuclei_retouched.tif")
    assert distance(nuclei.wide, retouched.wide) == 7
    assert distance(nuclei.narrow, retouched.narrow) == 5
    cell, retina = codes_of_file("cell.png").wide, codes_of_file("retina.jpg").wide
    assert [distance(each.wide, retina) for each in (nuclei, retouched)] == [65, 62]
    assert [distance(each.wide, cell) for each in (nuclei, retouched)] == [64, 63]
    assert distance(cell, retina) == 59


def test_distances_by_appearance_in_xml_tests_are_those_of_iscc_core():
    """20 of 256 bits between the upright figure and plane 15, and more to all other planes."""
    [figure, colours] = manifest.read(TEST_DATA / "figures.tsv", "figures.tsv")
    planes = manifest.read(TEST_DATA / "planes.tsv", "planes.tsv")
    pictures = [np.asarray(Image.open(TEST_DATA / "pixels" / "figure.jpg"))]
    pictures += [*tifffile.imread(TEST_DATA / "nuclei_3d.tif")]
    upright, *of_planes = (thumbnail_code(each) for each in pictures)
    assert figure.image_code.split()[0] == upright
    assert [each.image_code for each in planes[1:32]] == of_planes
    found = sorted((apart(figure, each), each.name) for each in planes[1:])
    assert found[0] == (20, "nuclei_3d.tif/z15c0t0")
    assert found[1][0] > 48
    assert min(apart(colours, each) for each in planes[1:]) > 48


def test_thumbnails_are_of_the_images():
    """Each is called by hash and sizes, and looks like what Pillow makes of the image."""
    stack = tifffile.imread(TEST_DATA / "nuclei_3d.tif")
    images = [stack.max(axis=0), *stack]  # small enough that they are not reduced
    sizes = ["z31c1t1y61x57", *["z1c1t1y61x57"] * 31]
    streams = [stack.astype(">u2").tobytes(), *(each.astype(">u2").tobytes() for each in stack)]
    with zipfile.ZipFile(TEST_DATA / "thumbnails.zip") as packed:
        for image, size, stream in zip(images, sizes, streams, strict=True):
            name = f"{codes_of(stream).datahash} imagewalk uint16 {size}.jpg"
            found = np.asarray(Image.open(io.BytesIO(packed.read(name))), dtype=float)
            low, high = np.percentile(image, [0.5, 99.5])
            want = np.clip((image - low) / (high - low) * 255, 0, 255)
            assert abs(found - want).mean() < 20  # most of it is noise; other planes differ by more


def apart(figure: Entry, plane: Entry) -> int:
    """Differing bits between the closest Image-Code of a figure and that of a plane."""
    other = iscc_core.Code(plane.image_code)
    return min((iscc_core.Code(each) ^ other) for each in figure.image_code.split())


def thumbnail_code(picture: np.ndarray) -> str:
    """The Image-Code, by iscc-core, of a plane's means in 32 by 32 equal areas."""
    means = weights(picture.shape[0]) @ picture.astype(object) @ weights(picture.shape[1]).T
    grey = np.rint(((means - means.min()) / np.ptp(means) * 255).astype(float)).astype(int)
    return iscc_core.gen_image_code_v0(grey.ravel().tolist(), bits=256)["iscc"]


def test_manifests_of_conversions_hold_what_iscc_core_computes():
    """Except for the JPEG, which would need a decoder."""
    stack = tifffile.imread(TEST_DATA / "nuclei_3d.tif")
    nuclei = tifffile.imread(TEST_DATA / "nuclei.tif")
    grey = np.clip(nuclei >> 4, 0, 255).astype("u1")
    cell = np.asarray(Image.open(TEST_DATA / "cell.png"))
    before = {"honest": stack, "eight bits": nuclei, "a plane less": stack, "lossy": cell}
    after = {"honest": stack, "eight bits": grey, "a plane less": stack[:-1]}
    exported = (TEST_DATA / "exported.csv").read_text().splitlines()
    for name, images in (("originals.tsv", before), ("converted.tsv", after)):
        entries = manifest.read(TEST_DATA / name, name)
        for entry, (kind, image) in zip(
            entries, images.items(), strict=len(entries) == len(images)
        ):
            array = five_axes(image, "ZYX"[-image.ndim :])
            assert entry.name.partition(".")[0] == kind
            assert entry.iscc == codes_of(stream_of(array)).wide
            assert entry.pixels == described(array)
            if name == "originals.tsv":
                assert f"{entry.name},{entry.iscc}" in exported


def line(name: str, narrow: bool = False) -> str:
    return manifest_line(name, (TEST_DATA / name).read_bytes(), narrow)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "delivery.tsv",
            HEADER
            + line("cell.png")
            + line("nuclei.tif")
            + line("nuclei_3d.tif", narrow=True)
            + line("retina.jpg"),
        ),
        (
            "archive.tsv",
            "iscc\t#name\n"
            f"{codes_of_file('cell.png').narrow}\tcell.png\n"
            f"{codes_of_file('nuclei_retouched.tif').narrow}\told nuclei.tif\n",
        ),
        (
            "broken_manifest.tsv",
            HEADER
            + line("cell.png")
            + line("nuclei.tif").replace(
                codes_of_file("nuclei.tif").wide, codes_of_file("nuclei.tif").wide[:-1]
            ),
        ),
        ("empty_manifest.tsv", HEADER),
        (
            "many.tsv",
            "#name\tiscc\n"
            + "".join(f"{n}\t{codes_of(str(n).encode()).narrow}\n" for n in range(1, 2002)),
        ),
    ],
)
def test_manifests_in_test_data_hold_what_iscc_core_computes(name, content):
    assert (TEST_DATA / name).read_text() == content


def test_the_retouched_image_differs_where_its_readme_says():
    image = tifffile.imread(TEST_DATA / "nuclei.tif")
    retouched = tifffile.imread(TEST_DATA / "nuclei_retouched.tif")
    assert (image != retouched).sum() == 610
    image[86:112, 214:238] = image[86:112, 150:174]
    assert (image == retouched).all()


def test_data_of_the_tutorial_are_as_described():
    """The planes, and the figure: a plane smoothed by SciPy, halved, stretched, within a JPEG's
    errors."""
    folder = TEST_DATA / "tutorial"
    planes = tifffile.imread(TEST_DATA / "nuclei_3d.tif")[8:28]
    assert np.array_equal(tifffile.imread(folder / "stack.tif"), planes)
    assert np.array_equal(
        zarr.open(f"zip://stack.ome.zarr/0::{folder / 'stack.ome.zarr.zip'}"), planes
    )
    smooth = gaussian_filter(planes[15], (1, 1))[:60, :56].reshape(30, 2, 28, 2).mean(axis=(1, 3))
    grey = (smooth - smooth.min()) / np.ptp(smooth) * 255
    assert np.abs(np.asarray(Image.open(folder / "figure.jpg")) - grey).mean() < 3


def test_all_test_data_is_described_and_used():
    readme = (TEST_DATA / "README.md").read_text()
    tutorial = TUTORIAL_FIGURE.read_text()
    tests = "".join(tool.read_text() for tool in TOOLS)
    tests += "".join(path.read_text() for path in (PROJECT / "workflows").glob("*/*-tests.yml"))
    folders = (
        PIXELS,
        *(TEST_DATA / name for name in ("exports", "panels", "reports", "seals", "tutorial")),
    )
    for path in [*TEST_DATA.iterdir(), *(path for folder in folders for path in folder.iterdir())]:
        if path.name != "README.md" and path not in folders:
            name = path.relative_to(TEST_DATA).as_posix()
            assert f"| `{name}` |" in readme
            assert name in tests or (path.name in tutorial and path.parent.name == "tutorial")
            assert path.stat().st_size < 300_000
