"""The suite as users see it: Galaxy's web pages, in a browser.

The tutorial is followed step by step, and compared with what happens. Without Chromium, these tests
are skipped, except where CI is set. Screenshots are kept in screenshots/.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import tifffile
import yaml
from matplotlib.image import imread

from dev.browser import Browser, browser, installed
from dev.client import Client
from dev.environments import PROJECT
from dev.local_galaxy import GALAXY_BIN
from dev.suite import WORKFLOWS
from documents import TOURS, TUTORIAL, abridged, columns, labelled_tables
from oracle import TEST_DATA, codes_of, codes_of_file, distance

pytestmark = pytest.mark.galaxy

SCREENSHOTS = PROJECT / "screenshots"
IMAGES = ["cell.png", "nuclei.tif", "nuclei_3d.tif", "nuclei_retouched.tif", "retina.jpg"]
# What the documentation shows of what is seen here; `make pictures` takes them anew.
PICTURES = {
    "form of ISCC similarity.png": PROJECT / "docs" / "images" / "form.png",
    "heat map.png": PROJECT / "docs" / "images" / "heat-map.png",
}
# Of the brightness, on average: one more field in a form is 0.01, another font less than 0.002.
MOST_DIFFERENT = 0.005
TABLES = labelled_tables(TUTORIAL)


@pytest.fixture(scope="module")
def window(galaxy) -> Iterator[Browser]:
    if not installed():
        reason = "no browser: Debian's packages chromium and chromium-driver are needed"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    shutil.rmtree(SCREENSHOTS, ignore_errors=True)
    with browser(galaxy, SCREENSHOTS) as opened:
        yield opened


@pytest.fixture
def person(window, request) -> Iterator[Browser]:
    """A person with a new history; the last page is always kept as a screenshot."""
    client = Client(window.galaxy, request.node.name)
    window.use_history(client.history)
    yield window
    window.screenshot(f"{request.node.name}, end")


def folder_of_images(folder: Path, files: dict[str, str]) -> list[Path]:
    """Files for an upload, by name, each a copy of one of the test images."""
    folder.mkdir()
    return [Path(shutil.copy(TEST_DATA / image, folder / name)) for name, image in files.items()]


def distance_between(image: str, other: str) -> int:
    return distance(codes_of_file(image).wide, codes_of_file(other).wide)


def difference(picture: Path, other: Path) -> float:
    """The difference between two pictures, from 0 to 1; 1 if their sizes differ."""
    pixels, others = (imread(path)[..., :3] for path in (picture, other))
    return abs(pixels - others).mean() if pixels.shape == others.shape else 1.0


def as_the_tutorial_says(table: str, content: bytes) -> None:
    said = TABLES[table]
    assert abridged(columns(content, said[0]), said) == said


def test_tutorial(person, tmp_path):
    """From upload to a verified collection without copies."""
    files = dict(zip(IMAGES, IMAGES, strict=True)) | {"poster.tif": "nuclei.tif"}
    files = dict(sorted(files.items()))
    person.upload_list("images", folder_of_images(tmp_path / "images", files))
    person.find(".history-index .content-item", "a list with 6")

    person.search_tool("ISCC manifest")
    person.screenshot_of("#center", "form of ISCC manifest")
    person.run_tool()
    person.wait_for_state("ISCC manifest on collection")
    as_the_tutorial_says("manifest", person.content("ISCC manifest on collection"))
    person.view("ISCC manifest on collection")
    person.find("#center td", "nuclei_retouched.tif")
    person.screenshot("manifest")

    person.search_tool("ISCC similarity")
    person.screenshot_of("#center", "form of ISCC similarity")
    person.choose("lists", "Drop exact duplicates only")
    person.tick("outputs", "Matrix")
    person.run_tool()
    person.wait_for_state("matrix")
    as_the_tutorial_says("pairs", person.content("pairs"))
    as_the_tutorial_says("copies", person.content("copies"))
    person.view("pairs")
    person.find("#center td", "poster.tif")
    person.screenshot("pairs")
    (SCREENSHOTS / "heat map.png").write_bytes(person.content("picture"))
    person.view("picture")
    person.find("#center img")
    person.screenshot("picture")

    person.search_tool("Filter collection")
    person.choose("input", "images")
    person.choose("how|how_filter", "PRESENT")
    person.choose("how|filter_source", "drop")
    person.run_tool()
    person.wait_for_state("(filtered)")
    person.find(".history-index .content-item", "a list with 5")
    person.find(".history-index .content-item", "a list with 1")

    came_back = {"cell.png": "cell.png", "eye.jpg": "retina.jpg"}
    came_back |= {"nuclei.tif": "nuclei_retouched.tif"}
    person.upload_list("returned", folder_of_images(tmp_path / "returned", came_back))
    person.search_tool("ISCC verify")
    person.choose("source|datasets", "returned")
    person.choose("expected|manifest", "ISCC manifest on collection")
    person.screenshot_of("#center", "form of ISCC verify")
    person.run_tool()
    person.wait_for_state("report")
    as_the_tutorial_says("report", person.content("report"))
    person.view("report")
    person.find("#center td", "CHANGED")
    person.open_details("report")
    [summary] = re.findall("`([0-9]+ OK, .*?)`", TUTORIAL.read_text())
    person.find(".history-index .content-item", summary)
    person.screenshot("report")

    differences = {
        picture: difference(SCREENSHOTS / picture, PICTURES[picture]) for picture in PICTURES
    }
    assert max(differences.values()) < MOST_DIFFERENT, f"{differences}; see `make pictures`"


def test_deduplicate_with_the_workflow(person, tmp_path):
    files = ["nuclei.tif", "nuclei_retouched.tif", "cell.png"]
    named = dict(zip(files, files, strict=True)) | {"poster.tif": "nuclei.tif"}
    person.upload_list("images", folder_of_images(tmp_path / "images", named))
    person.import_workflow(WORKFLOWS["deduplicate-collection"])
    person.open_run_form("Deduplicate a collection with ISCC")
    person.screenshot("run form of the workflow")
    person.run_workflow(last_output="Deduplicated collection")
    person.find("td", "poster.tif")
    person.screenshot("report of the workflow")


def test_trace_figures_with_the_workflow(person, tmp_path):
    """The report names the plane that a small JPEG was made from, and where a panel lies."""
    client = Client(person.galaxy, "figures and raw images")
    person.use_history(client.history)
    features = client.upload("cells.npz", TEST_DATA / "panels" / "archive.npz", "npz")
    client.list_of("features", {"cells.npz": features})
    archive = folder_of_images(tmp_path / "archive", {"raw images.tsv": "planes.tsv"})
    person.upload_list("archive", archive)
    figures = {"figure 3a.jpg": "pixels/figure.jpg", "figure 4.jpg": "panels/figure_2.jpg"}
    person.upload_list("figures", folder_of_images(tmp_path / "figures", figures))
    person.import_workflow(WORKFLOWS["trace-figure"])
    person.open_run_form("Trace figures to raw images with ISCC")
    person.screenshot("run form of trace-figure")
    person.run_workflow(last_output="Picture")
    person.find("td", "nuclei_3d.tif/z15c0t0")
    person.find("td", "figure 4.jpg/b")
    person.screenshot("report of trace-figure")


def test_trace_the_files_of_a_paper_with_the_workflow(person):
    """The report shows the way back from a figure to the uploaded images."""
    client = Client(person.galaxy, "paper")
    person.use_history(client.history)
    exports = TEST_DATA / "exports"
    client.upload("export.zip", exports / "invocation.zip", "zip")
    client.upload_list("images", {"b.tif": exports / "b.tif"})
    paper = {"figure 2b": exports / "figure_2b", "figure 1.tif": exports / "b.tif"}
    client.upload_list("paper", paper | {"figure 4.png": TEST_DATA / "pixels" / "colours.png"})
    person.import_workflow(WORKFLOWS["verify-lineage"])
    person.open_run_form("Trace files of a paper through an analysis with ISCC")
    person.choose("1", "images")
    person.choose("2", "paper")
    person.screenshot("run form of verify-lineage")
    person.run_workflow(last_output="Picture")
    person.find("td", "images/c.tif")
    person.screenshot("report of verify-lineage")
    (SCREENSHOTS / "lineage.png").write_bytes(person.content("Picture"))
    person.open_tool("iscc_trail")
    person.screenshot_of("#center", "form of ISCC trail")


def test_verify_a_publication_with_the_workflow(person):
    """The report shows who vouches, and which file is not what was sealed."""
    client = Client(person.galaxy, "publication")
    person.use_history(client.history)
    seals = TEST_DATA / "seals"
    client.upload("manifest.tsv", TEST_DATA / "delivery.tsv", "tabular")
    client.upload("manifest.seal.json", seals / "delivery.seal.json", "json")
    client.upload("keys.txt", seals / "jane.pub", "txt")
    client.upload("root.pem", seals / "root.pem", "txt")
    files = {"nuclei.tif": "nuclei_retouched.tif", "cell.png": "cell.png"}
    client.upload_list("files", {name: TEST_DATA / file for name, file in files.items()})
    person.import_workflow(WORKFLOWS["verify-publication"])
    person.open_run_form("Verify a publication with ISCC")
    for number, dataset in enumerate(
        ("manifest.tsv", "manifest.seal.json", "keys.txt", "root.pem")
    ):
        person.choose(str(number), dataset)
    person.screenshot("run form of verify-publication")
    person.run_workflow(last_output="All files")
    person.find("td", "Jane Doe, Example University")
    person.find("td", "CHANGED")
    person.screenshot("report of verify-publication")
    person.open_tool("iscc_seal")
    person.screenshot_of("#center", "form of ISCC seal")


def test_tours_are_valid():
    """Galaxy's own check."""
    command = [GALAXY_BIN / "gx-validate-tours", TOURS[0].parent]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass(frozen=True)
class Taken:
    """What the history has before a tour, what is filled in, and what an output says at the end."""

    output: str
    says: list[list[str]]  # some columns and lines, with their header
    lists: dict[str, dict[str, str]] = field(default_factory=dict)  # files of test-data, by name
    files: dict[str, str] = field(default_factory=dict)
    entries: dict[str, tuple[str, str]] = field(default_factory=dict)  # by the title of the step


def code_of_the_crop() -> str:
    """The code of the pixels of pixels/crop.tif and crop.png; see README.md in test-data."""
    pixels = tifffile.imread(TEST_DATA / "nuclei.tif")[96:160, 96:160]
    return codes_of(pixels.astype(">u2").tobytes()).wide


RETOUCHED = str(distance_between("nuclei.tif", "nuclei_retouched.tif"))
JANE = (TEST_DATA / "seals" / "jane.pub").read_text().rstrip("\n")
TAKEN = {
    "check-seal": Taken(
        files={"manifest.tsv": "delivery.tsv", "manifest.seal.json": "seals/delivery.seal.json"},
        entries={
            "The file and its seal": ("file", "manifest.tsv"),
            "Whom do you trust?": ("trusted|keys", JANE),
        },
        output="report",
        says=[
            ["question", "answer"],
            ["content", "same"],
            ["signature", "valid"],
            ["signer", "trusted"],
            ["time", "not checked"],
            ["ISCC-ID", "none"],
        ],
    ),
    "find-copies": Taken(
        lists={"images": {"figure.tif": "nuclei_retouched.tif", "nuclei.tif": "nuclei.tif"}},
        output="pairs",
        says=[["name_a", "name_b", "distance"], ["figure.tif", "nuclei.tif", RETOUCHED]],
    ),
    "find-panels": Taken(
        lists={
            "figures": {"figure_2.jpg": "panels/figure_2.jpg"},
            "raw images": {"cell.png": "cell.png"},
        },
        entries={
            "The figures": ("source|datasets", "figures"),
            "The raw images": ("raw_images|datasets", "raw images"),
        },
        output="finds",
        says=[
            ["panel", "relation", "match"],
            ["figure_2.jpg/a", "none", ""],
            ["figure_2.jpg/b", "lies in", "cell.png"],
            ["figure_2.jpg/c", "none", ""],
        ],
    ),
    "fingerprint-data": Taken(
        lists={"images": {image: image for image in IMAGES}},
        output="ISCC manifest on",
        says=[["name", "iscc"], *([image, codes_of_file(image).wide] for image in IMAGES)],
    ),
    "fingerprint-images": Taken(
        lists={"images": {"raw.tif": "pixels/crop.tif", "sent.png": "pixels/crop.png"}},
        output="ISCC pixel manifest on",
        says=[
            ["name", "iscc"],
            ["raw.tif", code_of_the_crop()],
            ["sent.png", code_of_the_crop()],
        ],
    ),
    "trace-results": Taken(
        files={"export.zip": "exports/invocation.zip"},
        output="lineage",
        says=[
            ["of", "name", "remark", "datahash"],
            ["Figure 2b", "Figure 2b", "", codes_of_file("exports/figure_2b").datahash],
            ["Figure 2b", "images/b.tif", "source", codes_of_file("exports/b.tif").datahash],
        ],
    ),
    "verify-data": Taken(
        lists={"data": {"cell.png": "cell.png", "nuclei.tif": "nuclei_retouched.tif"}},
        files={"manifest.tsv": "delivery.tsv"},
        output="report",
        says=[
            ["name", "status", "distance"],
            ["cell.png", "OK", ""],
            ["nuclei.tif", "CHANGED", RETOUCHED],
            ["nuclei_3d.tif", "MISSING", ""],
            ["retina.jpg", "MISSING", ""],
        ],
    ),
}


@pytest.mark.parametrize("tour", TOURS, ids=lambda tour: tour.stem)
def test_tour(person, tour):
    """A user who follows a tour has its results at the end."""
    taken = TAKEN[tour.stem]
    client = Client(person.galaxy, tour.stem)
    for name, files in taken.lists.items():
        client.upload_list(name, {each: TEST_DATA / file for each, file in files.items()})
    for name, file in taken.files.items():
        client.upload(name, TEST_DATA / file)
    person.use_history(client.history)
    steps = yaml.safe_load(tour.read_text())["steps"]
    person.take_tour(tour.stem, steps, taken.entries)
    person.wait_for_state(taken.output)
    said = columns(person.content(taken.output), taken.says[0])
    assert [line for line in taken.says if line not in said] == []


def test_an_error_is_one_sentence_that_names_the_culprit(person):
    client = Client(person.galaxy, "error")
    person.use_history(client.history)
    broken = TEST_DATA / "broken_manifest.tsv"
    client.upload("delivery.tsv", broken, "tabular")
    person.open_tool("iscc_similarity")
    person.choose("source|kind", "Manifests")
    person.choose("source|manifests", "delivery.tsv")
    person.run_tool()
    person.wait_for_state("picture", "error")
    person.open_details("picture")
    code = codes_of_file("nuclei.tif").wide[:-1]
    sentence = (
        f'iscc_similarity: "delivery.tsv", line 3, "nuclei.tif": "{code}" is not an ISCC: '
        "expected 55 characters for this type of ISCC, found 54"
    )
    person.find(".history-index .content-item", sentence)
    assert "Traceback" not in person.find(".history-index").text
