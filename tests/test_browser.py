"""The suite as users see it: Galaxy's web pages, in a browser.

The tutorial is followed step by step, and compared with what happens. Without Chromium, these tests
are skipped, except where CI is set. Screenshots are kept in screenshots/.
"""

import os
import re
import shutil
import subprocess
import sys
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
from documents import (
    TOURS,
    TUTORIAL,
    TUTORIAL_FIGURE,
    abridged,
    code_blocks,
    columns,
    labelled_tables,
)
from oracle import TEST_DATA, codes_of, codes_of_file, distance

pytestmark = pytest.mark.galaxy

SCREENSHOTS = PROJECT / "screenshots"
IMAGES = ["cell.png", "nuclei.tif", "nuclei_3d.tif", "nuclei_retouched.tif", "retina.jpg"]
# What the documentation shows of what is seen here; `make pictures` takes them anew.
PICTURES = {
    "form of ISCC similarity.png": PROJECT / "docs" / "images" / "form.png",
    "heat map.png": PROJECT / "docs" / "images" / "heat-map.png",
}
SHEET = PROJECT / "docs" / "images" / "sheet-of-figure.png"
# Of the brightness, on average: one more field in a form is 0.01, another font less than 0.002.
MOST_DIFFERENT = 0.005
TABLES = labelled_tables(TUTORIAL) | labelled_tables(TUTORIAL_FIGURE)


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


def test_tutorial_from_a_figure_back_to_the_raw_data(person, tmp_path):
    """From a conversion to a seal that a stranger checks."""
    files = {name: f"tutorial/{name}" for name in ("stack.tif", "stack.ome.zarr.zip", "figure.jpg")}
    for name, file in {"originals": "stack.tif", "converted": "stack.ome.zarr.zip"}.items():
        person.upload_list(name, folder_of_images(tmp_path / name, {file: files[file]}))
    person.import_workflow(WORKFLOWS["audit-conversion"])
    person.open_run_form("Audit a conversion with ISCC")
    person.choose("0", "originals")
    person.choose("1", "converted")
    person.screenshot("run form of audit-conversion")
    person.run_workflow(last_output="Images without a difference")
    person.find("td", "stack.ome.zarr.zip")
    person.screenshot("report of audit-conversion")
    as_the_tutorial_says("audit", person.content("Report"))
    [summary] = re.findall("`([0-9]+ dataset: .*?)`", TUTORIAL_FIGURE.read_text())
    assert person.content("Result").decode().replace("\n", " ").startswith(summary)

    person.search_tool("ISCC pixel manifest")
    person.choose("source|datasets", "originals")
    person.switch_on("planes")
    person.switch_on("with_thumbnails")
    person.screenshot_of("#center", "form of ISCC pixel manifest")
    person.run_tool()
    person.wait_for_state("thumbnails")
    number = int(
        person.find(".history-index .content-item", "thumbnails").get_attribute("data-hid")
    )
    person.click(f'.content-item[data-hid="{number - 1}"] .display-btn')
    person.find("#center td", "stack.tif/z19c0t0")
    planes = f"{number - 1}: ISCC pixel manifest"
    person.upload_list(
        "figures", folder_of_images(tmp_path / "figures", {"figure.jpg": files["figure.jpg"]})
    )
    person.search_tool("ISCC pixel manifest")
    person.choose("source|datasets", "figures")
    person.switch_on("with_thumbnails")
    person.run_tool()
    person.wait_for_state("thumbnails")

    person.search_tool("ISCC similarity")
    person.choose("source|kind", "Manifests")
    person.choose("reference|kind", "A reference: manifests")
    person.choose("reference|manifests", planes)
    person.remove("reference|manifests", f"{number + 4}: ISCC pixel manifest")  # of the figure
    person.write('[id="form-element-reference|closest"] input', "3")
    person.choose("compare|by", "Appearance")
    person.choose("contact_sheet|draw", "Draw a contact sheet")
    person.choose("contact_sheet|thumbnails", f"{number}: ISCC pixel manifest")
    person.screenshot_of("#center", "form of ISCC similarity with a contact sheet")
    person.run_tool()
    person.wait_for_state("contact sheet")
    (SCREENSHOTS / "sheet of figure.png").write_bytes(person.content("contact sheet"))
    as_the_tutorial_says("matches", person.content("matches"))
    person.view("contact sheet")
    person.find("#center img")
    person.screenshot("contact sheet")

    person.upload_files([TEST_DATA / "tutorial" / "analysis.zip"])
    paper = {name: files[name] for name in ("figure.jpg", "stack.tif")}
    person.upload_list("paper", folder_of_images(tmp_path / "paper", paper))
    person.import_workflow(WORKFLOWS["verify-lineage"])
    person.open_run_form("Trace files of a paper through an analysis with ISCC")
    person.choose("0", "analysis.zip")
    person.choose("1", "originals")
    person.choose("2", "paper")
    person.run_workflow(last_output="Picture")
    person.find("td", "originals/stack.tif")
    person.screenshot("report of the lineage of a figure")
    as_the_tutorial_says("lineage", person.content("Lineage"))

    author = tmp_path / "author"
    author.mkdir()
    (author / "tools").symlink_to(PROJECT / "tools")
    (author / "trail.tsv").write_bytes(person.content("Trail"))
    [commands] = code_blocks(TUTORIAL_FIGURE, "sh")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(
        ["sh", "-ec", commands], cwd=author, env=os.environ | {"PATH": path}, check=True, timeout=60
    )

    person.click('[title="Create new history"]')
    person.find(".history-index", "This history is empty")
    published = ("trail.tsv", "trail.seal.json", "jane.pub")
    person.upload_files([author / name for name in published])
    deposited = {"Figure 3a.jpg": files["figure.jpg"], "originals_stack.tif": files["stack.tif"]}
    person.upload_list("deposited", folder_of_images(tmp_path / "deposited", deposited))
    person.import_workflow(WORKFLOWS["verify-publication"])
    person.open_run_form("Verify a publication with ISCC")
    for number, dataset in enumerate(published):
        person.choose(str(number), dataset)
    person.screenshot("run form of the stranger")
    person.run_workflow(last_output="All files")
    person.find("td", "claimed")
    person.screenshot("report of the stranger")
    as_the_tutorial_says("vouches", person.content("Who vouches"))
    as_the_tutorial_says("deposited", person.content("All files"))

    edited = (author / "trail.tsv").read_text().replace('"plane": "15"', '"plane": "16"')
    (author / "trail.tsv").write_text(edited)
    person.upload_files([author / "trail.tsv"])
    person.import_workflow(WORKFLOWS["verify-publication"])
    person.open_run_form("Verify a publication with ISCC")
    for number, dataset in enumerate(published):
        person.choose(str(number), dataset)
    person.choose("5", "deposited")
    person.click("#run-workflow")
    person.wait_for_state("All files", "paused")
    assert ["content", "changed"] in columns(person.content("Who vouches"), ["question", "answer"])
    assert difference(SCREENSHOTS / "sheet of figure.png", SHEET) < MOST_DIFFERENT


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
