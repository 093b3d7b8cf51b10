"""The suite as users see it: Galaxy's web pages, in a browser.

The tutorial is followed step by step, and compared with what happens. Without Chromium, these tests
are skipped, except where CI is set. Screenshots are kept in screenshots/.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from matplotlib.image import imread

from dev.browser import Browser, browser, installed
from dev.client import Client
from dev.environments import PROJECT
from dev.local_galaxy import GALAXY_BIN
from dev.suite import WORKFLOWS
from documents import TOUR, TUTORIAL, abridged, columns, labelled_tables
from oracle import TEST_DATA, codes_of_file, distance

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


def test_tour_is_valid():
    """Galaxy's own check."""
    command = [GALAXY_BIN / "gx-validate-tours", TOUR.parent]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_tour(person, tmp_path):
    """A user who follows the tour has the picture at the end."""
    images = {"nuclei.tif": "nuclei.tif", "figure.tif": "nuclei_retouched.tif"}
    person.upload_list("images", folder_of_images(tmp_path / "images", images))
    steps = yaml.safe_load(TOUR.read_text())["steps"]
    person.take_tour(TOUR.stem, [step["title"] for step in steps])
    person.wait_for_state("picture")
    [pair] = columns(person.content("pairs"), ["name_a", "name_b", "distance"])[1:]
    assert pair == ["figure.tif", "nuclei.tif", str(distance_between(*images.values()))]


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
