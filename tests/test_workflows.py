"""The workflows are complete and tidy, and run in a real Galaxy."""

import io
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import imagecodecs
import numpy as np
import pytest
import tifffile
import yaml

import manifest
from conftest import PLANEMO
from containers import five_axes, stream_of
from dev.client import JobError
from dev.environments import PROJECT
from dev.suite import TOOLS, WORKFLOWS
from oracle import HEADER, TEST_DATA, codes_of, distance, manifest_line
from samples import HOSTILE, column
from test_suite import CODES, expanded

FOLDERS = {name: path.parent for name, path in WORKFLOWS.items()}
TESTS = {name: path.with_name(f"{path.stem}-tests.yml") for name, path in WORKFLOWS.items()}
GALAXYS_OWN = {"__FLATTEN__", "__FILTER_FROM_FILE__"}


def parsed(name: str) -> dict:
    return yaml.safe_load(WORKFLOWS[name].read_text())


def test_workflows_are_those_of_the_folder():
    folders = [path for path in (PROJECT / "workflows").iterdir() if path.is_dir()]
    assert sorted(folders) == sorted(FOLDERS.values())


def test_workflows_have_no_lint():
    done = subprocess.run(
        [PLANEMO, "workflow_lint", "--iwc", "--fail_level", "warn", *FOLDERS.values()],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_folder_has_what_the_collections_of_workflows_want(name):
    dockstore = yaml.safe_load((FOLDERS[name] / ".dockstore.yml").read_text())
    [entry] = dockstore["workflows"]
    named = [entry["primaryDescriptorPath"], *entry["testParameterFiles"]]
    assert named == [f"/{WORKFLOWS[name].name}", f"/{TESTS[name].name}"]
    files = {path.name for path in FOLDERS[name].iterdir()}
    beside = {"README.md", "CHANGELOG.md", ".dockstore.yml"}
    assert files == {WORKFLOWS[name].name, TESTS[name].name, *beside}
    newest = re.findall(r"^## \[(.*)\]", (FOLDERS[name] / "CHANGELOG.md").read_text(), re.M)[0]
    assert parsed(name)["release"] == newest


@pytest.mark.parametrize("name", WORKFLOWS)
def test_everything_in_a_workflow_is_explained(name):
    workflow = parsed(name)
    assert workflow["label"]
    assert workflow["doc"]
    assert workflow["license"] == "Apache-2.0"
    assert workflow["creator"]
    readme = (FOLDERS[name] / "README.md").read_text()
    assert readme.startswith(f"# {workflow['label']}\n")
    for part in ("inputs", "outputs", "steps"):
        for label, each in workflow[part].items():
            assert each["doc"].endswith("."), label
            assert part == "steps" or f"**{label}**" in readme, label


@pytest.mark.parametrize("name", WORKFLOWS)
def test_steps_are_our_tools_and_those_of_every_galaxy(name):
    versions = {tool.stem: expanded(tool).get("version") for tool in TOOLS}
    for step in parsed(name)["steps"].values():
        tool = step["tool_id"]
        assert tool in GALAXYS_OWN or step["tool_version"] == versions[tool]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_report_shows_outputs_of_the_workflow(name):
    workflow = parsed(name)
    shown = re.findall(r'output="([^"]*)"', workflow["report"]["markdown"])
    assert shown
    assert set(shown) <= set(workflow["outputs"])


@pytest.mark.parametrize("name", WORKFLOWS)
def test_codes_in_workflow_tests_are_those_of_iscc_core(name):
    found = re.findall("ISCC:[A-Z2-7]+", TESTS[name].read_text())
    assert found
    of_pixels = {
        codes_of(stream_of(five_axes(tifffile.imread(TEST_DATA / image), axes))).wide
        for image, axes in (("nuclei_3d.tif", "ZYX"), ("pixels/crop.tif", "YX"))
    }
    assert set(found) <= CODES | of_pixels


PLANEMO_TESTS = [
    pytest.param(name, index, id=f"{name}-{index + 1}")
    for name in WORKFLOWS
    for index in range(len(yaml.safe_load(TESTS[name].read_text())))
]


@pytest.mark.galaxy
@pytest.mark.parametrize(("name", "index"), PLANEMO_TESTS)
def test_by_planemo(planemo_results, name, index):
    results = planemo_results(WORKFLOWS[name])
    assert len(results) == len(yaml.safe_load(TESTS[name].read_text()))
    result = results[index]
    problems = result.get("output_problems") or result.get("execution_problem")
    assert result["status"] == "success", problems


@pytest.mark.galaxy
@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_editor_finds_nothing_amiss(client, name):
    """No missing value, no tool in another version: what it reports when it opens a workflow."""
    workflow = client.get(
        f"workflows/{client.import_workflow(WORKFLOWS[name])}/download?style=editor"
    )
    assert len(workflow["steps"]) == len(parsed(name)["inputs"] | parsed(name)["steps"])
    assert not workflow["upgrade_messages"]
    assert not any(step["errors"] for step in workflow["steps"].values())


# As it was sent, and as it arrived: of the hostile names one has other bytes, one is lost, one is
# renamed, and something is there that nobody sent.
CHANGED, LOST, RENAMED = "it's.tif", "#name", 'q"uote.tif'
ARRIVED = {name: content for name, content in HOSTILE.items() if name not in (LOST, RENAMED)} | {
    CHANGED: b"B" + HOSTILE[CHANGED][1:],
    "renamed; $(rm).tif": HOSTILE[RENAMED],
    "new.tif": b"new" * 10_000,
}
# Filter collection does not find names with leading or trailing whitespace.
UNFOUND = {name for name in HOSTILE if name != name.strip()}


def written(name: str) -> str:
    """A name as in a table."""
    escaped = name.replace("\\", "\\\\")
    return f"\\{escaped}" if escaped.startswith("#") else escaped


def manifest_of(datasets: dict[str, bytes]) -> bytes:
    lines = [manifest_line(written(name), content) for name, content in datasets.items()]
    return (HEADER + "".join(lines)).encode()


@pytest.fixture
def pairs(client) -> dict:
    """A list of pairs; the second has the contents of the first in reverse order."""
    a, b = client.upload("a", HOSTILE["it's.tif"]), client.upload("b", HOSTILE["#name"])
    return client.paired_list("pairs", {"it's day 1": (a, b), "$(day) 2": (b, a)})


@pytest.mark.galaxy
def test_one_job_for_each_dataset_gives_the_manifest_of_one_job_for_all(client, pairs):
    workflow = client.import_workflow(WORKFLOWS["fingerprint-collection"])
    for collection in (client.upload_list("hostile", HOSTILE), pairs):
        source = {"source|kind": "collection", "source|datasets": collection}
        of_all = client.content(client.run("iscc_sum", **source)["manifest"])
        joined = client.invoke(workflow, {"Collection": collection})["Manifest"]
        assert client.content(joined) == of_all
        if collection != pairs:
            assert of_all == manifest_of(HOSTILE)


@pytest.mark.galaxy
def test_what_is_dropped_is_a_copy_of_what_is_kept(client):
    workflow = client.import_workflow(WORKFLOWS["deduplicate-collection"])
    outputs = client.invoke(workflow, {"Collection": client.upload_list("hostile", HOSTILE)})
    kept = {name: content for name, content in HOSTILE.items() if name != "-o"}
    elements = client.elements(outputs["Deduplicated collection"])
    assert {name: client.content(each) for name, each in elements.items()} == kept
    assert list(client.elements(outputs["Dropped datasets"])) == ["-o"]
    copies = column(client.content(outputs["Copies"]), "#name", "copy_of", "relation")
    assert copies == [("-o", "50% done.tif", "exact")]


@pytest.mark.galaxy
def test_a_flattened_delivery_is_found_in_the_manifest_of_the_nested_one(client, pairs):
    """The output of the first workflow is an input of the third."""
    fingerprint = client.import_workflow(WORKFLOWS["fingerprint-collection"])
    manifest = client.invoke(fingerprint, {"Collection": pairs})["Manifest"]
    verify = client.import_workflow(WORKFLOWS["verify-delivery"])
    outputs = client.invoke(verify, {"Collection": pairs, "Manifest": manifest})
    found = column(client.content(outputs["Report"]), "#name", "status", "matched_by")
    names = ["it's day 1_forward", "it's day 1_reverse", "$(day) 2_forward", "$(day) 2_reverse"]
    assert found == [(name, "OK", "flat name") for name in names]
    assert list(client.elements(outputs["Intact datasets"])) == names


@pytest.mark.galaxy
def test_a_delivery_is_divided_into_what_is_intact_and_the_rest(client):
    workflow = client.import_workflow(WORKFLOWS["verify-delivery"])
    inputs = {
        "Collection": client.upload_list("arrived", ARRIVED),
        "Manifest": client.upload("sent", manifest_of(HOSTILE), ext="tabular"),
    }
    outputs = client.invoke(workflow, inputs)
    wrong = {
        CHANGED: "CHANGED",
        "renamed; $(rm).tif": "MOVED",
        "new.tif": "EXTRA",
    }
    found = column(client.content(outputs["Mismatches"]), "#name", "status")
    assert found == [*wrong.items(), (written(LOST), "MISSING")]
    intact = [name for name in ARRIVED if name not in {*wrong, *UNFOUND}]
    assert list(client.elements(outputs["Intact datasets"])) == intact
    others = [name for name in ARRIVED if name not in intact]
    assert list(client.elements(outputs["Other datasets"])) == others


@pytest.mark.galaxy
def test_a_workflow_that_is_to_stop_stops_and_says_because_of_what(client):
    workflow = client.import_workflow(WORKFLOWS["verify-delivery"])
    inputs = {
        "Collection": client.upload_list("arrived", {"it's.tif": b"cut off"}),
        "Manifest": client.upload("sent", manifest_of({"it's.tif": b"whole"}), ext="tabular"),
        "If something does not match": "fail",
    }
    reason = '1 does not match: "it\'s.tif" is CHANGED'
    with pytest.raises(JobError, match=re.escape(reason)):
        client.invoke(workflow, inputs)
    [invocation] = client.get(f"invocations?history_id={client.history}&view=element")
    assert invocation["state"] == "failed"
    # The invocation names a dataset, and what that says is the reason.
    [message] = invocation["messages"]
    assert message["reason"] == "dataset_failed"
    dataset = client.get(f"datasets/{message['hda_id']}")
    assert reason in dataset["misc_info"]
    # What was found is there and green all the same, and what comes after the gate has not run.
    for output in ("Report", "Mismatches", "Summary"):
        assert client.get(f"datasets/{invocation['outputs'][output]['id']}")["state"] == "ok"
    mismatches = client.content(invocation["outputs"]["Mismatches"])
    assert column(mismatches, "#name", "status") == [("it's.tif", "CHANGED")]
    intact = client.get(
        f"dataset_collections/{invocation['output_collections']['Intact datasets']['id']}"
    )
    assert intact["elements"] == []


@pytest.mark.galaxy
def test_the_origin_of_datasets_is_found_in_an_archive(client):
    known = {"raw/ü '1'.tif": HOSTILE["ünï.tif"], "raw/2.tif": HOSTILE["#name"]}
    manifests = {name: manifest_of({name: content}) for name, content in known.items()}
    workflow = client.import_workflow(WORKFLOWS["trace-against-archive"])
    inputs = {
        "Datasets": client.upload_list("new", HOSTILE),
        "Manifests of the archive": client.upload_list("archive", manifests),
    }
    outputs = client.invoke(workflow, inputs)
    found = column(client.content(outputs["Matches"]), "#name", "relation", "match")

    def best(content: bytes) -> tuple[str, str]:
        """Exact, near within the 24 bits of the workflow's default, or none with the nearest."""
        code = codes_of(content).wide
        distances = {name: distance(code, codes_of(other).wide) for name, other in known.items()}
        for name, other in known.items():
            if content == other:
                return "exact", name
        name = min(distances, key=distances.get)
        if len(content) < manifest.TINY:
            return "none", ""
        return ("near" if distances[name] <= 24 else "none"), name

    assert found == [(written(name), *best(content)) for name, content in HOSTILE.items()]


@pytest.mark.galaxy
def test_twice_the_same_bytes(client):
    """Every output of every workflow, names and bytes."""
    sent = manifest_of(HOSTILE)
    arrived = client.upload_list("arrived", ARRIVED)
    given = {
        "Collection": arrived,
        "Datasets": arrived,
        "Manifest": client.upload("sent", sent, ext="tabular"),
        "Manifests of the archive": client.upload_list("archive", {"sent": sent}),
    }
    named = {"it's $(1).png": "pixels/crop.png", "stack": "nuclei_3d.tif"}
    images = {name: (TEST_DATA / file).read_bytes() for name, file in named.items()}
    uploaded = client.upload_list("images", images)
    given |= dict.fromkeys(("Originals", "Converted images", "Figures"), uploaded)
    given |= dict.fromkeys(("Images of the analysis", "Files of the paper"), uploaded)
    given["Export"] = client.upload("trail", TEST_DATA / "exports" / "stack.tsv", "tabular")
    planes = (TEST_DATA / "planes.tsv").read_bytes()
    seals = {"Manifest or trail": ("delivery.tsv", "tabular")}
    seals["Seal"] = ("seals/delivery.seal.json", "json")
    seals["Public keys that you trust"] = ("seals/jane.pub", "txt")
    for label, (file, ext) in seals.items():
        given[label] = client.upload(label, TEST_DATA / file, ext)
    given["Deposited files"] = uploaded
    given["Pixel manifests of the archive"] = client.upload_list("planes", {"planes": planes})
    features = client.upload("cells.npz", TEST_DATA / "panels" / "archive.npz", "npz")
    given["Feature files of the archive"] = client.list_of("features", {"cells": features})

    def run(name: str) -> dict[str, object]:
        workflow = client.import_workflow(WORKFLOWS[name])
        known = given | ({"Collection": uploaded} if name == "deduplicate-images" else {})
        wanted = {label: each for label, each in known.items() if label in parsed(name)["inputs"]}
        outputs = client.invoke(workflow, wanted)
        assert set(outputs) == set(parsed(name)["outputs"])
        return {
            label: client.content(each)
            if each["src"] == "hda"
            else [(key, client.content(item)) for key, item in client.elements(each).items()]
            for label, each in outputs.items()
        }

    with ThreadPoolExecutor(2) as side_by_side:
        for name in WORKFLOWS:
            once, again = side_by_side.map(run, [name, name])
            assert once == again


@pytest.mark.galaxy
def test_conversions_that_are_not_honest_are_named(client):
    """A stack that is only compressed; in 8 bits; without a plane; and as a lossy JPEG."""
    stack = tifffile.imread(TEST_DATA / "nuclei_3d.tif")
    plane = (stack[15] - stack.min()).astype("u1")
    before = {
        "honest.tif": tiff_of(stack),
        "eight bits.tif": tiff_of(stack),
        "a plane less.tif": tiff_of(stack[::-1]),
        "lossy.png": imagecodecs.png_encode(plane),
    }
    after = {
        "lossy.jpg": imagecodecs.jpeg_encode(plane, level=95),
        "honest.ome.tif": tiff_of(stack, compression="zlib"),
        "eight bits.tif": tiff_of((stack >> 4).astype("u1")),
        "a plane less.tif": tiff_of(stack[::-1][:-1]),
    }
    inputs = {
        "Originals": client.upload_list("before", before),
        "Converted images": client.upload_list("after", after),
    }
    outputs = client.invoke(client.import_workflow(WORKFLOWS["audit-conversion"]), inputs)
    rows = column(client.content(outputs["Report"]), "#name", "status", "matched_by", "detail")
    by_parts = "name without extensions"
    assert rows == [
        ("lossy.jpg", "CHANGED", by_parts, "other values"),
        ("honest.ome.tif", "OK", by_parts, ""),
        ("eight bits.tif", "CHANGED", "name", "type uint8 instead of uint16"),
        (
            "a plane less.tif",
            "CHANGED",
            "name",
            "sizes z30c1t1y61x57 instead of z31c1t1y61x57",
        ),
    ]
    names = column(client.content(outputs["What differs"]), "#name")
    assert [name for (name,) in names] == [row[0] for row in rows if row[1] != "OK"]


def tiff_of(array: np.ndarray, **options: str) -> bytes:
    out = io.BytesIO()
    axes = {"metadata": {"axes": "ZYX"}, "photometric": "minisblack"}
    tifffile.imwrite(out, array, **axes, **options)
    return out.getvalue()
