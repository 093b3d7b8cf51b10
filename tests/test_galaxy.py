"""The tools in a real Galaxy: their XML tests, and what XML tests cannot show."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from matplotlib.image import imread

from dev import demo
from dev.client import JobError
from dev.environments import PROJECT
from dev.story import page
from dev.suite import ANALYSIS, TOOLS, WORKFLOWS
from documents import DEMO
from oracle import TEST_DATA, codes_of
from samples import HOSTILE, column

pytestmark = pytest.mark.galaxy


def number_of_tests(tool: Path) -> int:
    return tool.read_text().count("<test expect_")


@pytest.fixture(scope="module", autouse=True)
def planemo_beside(request) -> None:
    """Start planemo first, if its results are needed: it runs in parallel with other tests."""
    if any(item.function is test_xml for item in request.session.items):
        request.getfixturevalue("planemo_results")


def test_names_come_out_as_they_went_in(client):
    """Through three tools; two elements have equal content."""
    collection = client.upload_list("hostile", HOSTILE)
    source = {"source|kind": "collection", "source|datasets": collection}

    manifest = client.run("iscc_sum", **source)["manifest"]
    # A manifest writes \ as \\, and # at the beginning of a line as \#.
    written = {name: name.replace("\\", "\\\\") for name in HOSTILE} | {"#name": "\\#name"}
    assert column(client.content(manifest), "#name", "iscc") == [
        (written[name], codes_of(content).wide) for name, content in HOSTILE.items()
    ]

    found = client.run("iscc_similarity", **source, **{"compare|threshold": 0})
    exact = column(client.content(found["pairs"]), "#name_a", "name_b", "relation")
    assert ("-o", "50% done.tif", "exact") in exact
    assert [relation for *_, relation in exact].count("exact") == 1
    clusters = column(client.content(found["clusters"]), "row", "#name")
    in_input_order = sorted((int(row), name) for row, name in clusters)
    assert [name for _, name in in_input_order] == list(written.values())

    listed = {"expected|kind": "manifest", "expected|manifest": manifest}
    checked = client.run("iscc_verify", **source, **listed, outputs=["report", "lists"])
    assert column(client.content(checked["report"]), "#name", "status") == [
        (name, "OK") for name in written.values()
    ]
    assert client.content(checked["passed"]).decode() == "".join(f"{name}\n" for name in HOSTILE)
    assert client.content(checked["failed"]) == b""

    # The same from codes that are pasted into the form: names with no line break in them can be.
    lines = [f"{codes_of(content).wide} *{name}" for name, content in HOSTILE.items()]
    pasted = {"expected|kind": "codes", "expected|codes": "\n".join(lines)}
    report = client.run("iscc_verify", **source, **pasted)["report"]
    assert column(client.content(report), "#name", "status") == [
        (name, "OK") for name in written.values()
    ]


def test_lists_are_what_filter_collection_takes(client):
    """Only one of two equal elements is removed, under any names."""
    collection = client.upload_list("hostile", HOSTILE)
    source = {"source|kind": "collection", "source|datasets": collection}
    lists = client.run("iscc_similarity", **source, lists="exact", outputs=None)
    assert set(lists) == {"keep", "drop", "copies"}
    kept = [name for name in HOSTILE if name != "-o"]
    assert client.content(lists["keep"]).decode() == "".join(f"{name}\n" for name in kept)
    assert client.content(lists["drop"]).decode() == "-o\n"

    def filtered(how: str, names: dict) -> tuple[list[str], list[str]]:
        choice = {"input": collection, "how|how_filter": how, "how|filter_source": names}
        answer = client.start("__FILTER_FROM_FILE__", **choice)
        client.wait(answer["jobs"])
        outputs = {output["output_name"]: output for output in answer["output_collections"]}
        return tuple(
            list(client.elements(outputs[f"output_{part}"])) for part in ("filtered", "discarded")
        )

    assert filtered("remove_if_present", lists["drop"]) == (kept, ["-o"])
    # Filter collection takes no notice of blanks at the ends of its lines, so it does not find
    # these names; our help says so, and why the other way is the safe one.
    unfound = [name for name in kept if name != name.strip()]
    assert unfound
    found = [name for name in kept if name not in unfound]
    assert filtered("remove_if_absent", lists["keep"])[0] == found


def test_one_job_for_each_dataset_of_a_collection(client):
    images = dict(list(HOSTILE.items())[:4])
    collection = client.upload_list("hostile", images)
    mapped = {"batch": True, "values": [collection]}
    answer = client.start("iscc_sum", **{"source|kind": "each", "source|datasets": mapped})
    client.wait(answer["jobs"])
    assert len(answer["jobs"]) == 4
    elements = client.elements(answer["implicit_collections"][0])
    assert list(elements) == list(images)
    for name, content in images.items():
        table = client.content(elements[name])
        assert column(table, "#name", "iscc") == [(name, codes_of(content).wide)]


def test_one_job_for_each_dataset_of_a_nested_collection_knows_the_innermost_name(client):
    """As documented in the form; the manifest of the collection has the full names."""
    datasets = [client.upload("a", HOSTILE["it's.tif"]), client.upload("b", HOSTILE["-o"])]
    collection = client.paired_list("days", {"it's day 1": tuple(datasets)})
    mapped = {"batch": True, "values": [collection]}
    answer = client.start("iscc_sum", **{"source|kind": "each", "source|datasets": mapped})
    client.wait(answer["jobs"])
    tables = [client.content(output) for output in answer["outputs"]]
    assert [name for table in tables for (name,) in column(table, "#name")] == [
        "forward",
        "reverse",
    ]
    whole = {"source|kind": "collection", "source|datasets": collection}
    table = client.content(client.run("iscc_sum", **whole)["manifest"])
    assert column(table, "#name") == [("it's day 1/forward",), ("it's day 1/reverse",)]


def test_a_dataset_that_cannot_be_read_turns_red_and_says_so(client):
    """Its file is deleted from the server's disk after the upload."""
    dataset = client.upload("lost.tif", b"soon gone")
    Path(client.get(f"datasets/{dataset['id']}")["file_name"]).unlink()
    source = {"source|kind": "several", "source|datasets": dataset}
    with pytest.raises(JobError) as error:
        client.run("iscc_sum", **source)
    assert str(error.value) == 'iscc_manifest: cannot read "lost.tif": Galaxy has no file for it\n'


def test_a_manifest_that_is_none_is_called_by_its_name(client):
    """In the message, and in what Galaxy shows below the red dataset."""
    dataset = client.upload("a.tif", b"a")
    manifest = client.upload("it's $(no) manifest", b"hello\tworld\n", ext="tabular")
    source = {"source|kind": "several", "source|datasets": dataset}
    listed = {"expected|kind": "manifest", "expected|manifest": manifest}
    answer = client.start("iscc_verify", **source, **listed, outputs=["report"])
    message = (
        'iscc_verify: "it\'s $(no) manifest": expected a manifest, but it has no valid entry; '
        'line 1: expected a name and an ISCC code, found "hello\\tworld"; choose the output of '
        "ISCC manifest, or another list of names and ISCC codes"
    )
    with pytest.raises(JobError) as error:
        client.wait(answer["jobs"])
    assert str(error.value) == message + "\n"
    [output] = answer["outputs"]
    shown = client.get(f"datasets/{output['id']}")
    assert (shown["state"], shown["file_size"]) == ("error", 0)
    assert message in shown["misc_info"]


def test_jobs_that_fail_on_mismatch_leave_what_is_intact(client):
    """Mapped over a collection, Keep success keeps the reports of intact datasets."""
    images = dict(list(HOSTILE.items())[:4])
    collection = client.upload_list("images", images)
    source = {"source|kind": "collection", "source|datasets": collection}
    manifest = client.run("iscc_sum", **source)["manifest"]
    damaged = images | {"it's.tif": b"B" + images["it's.tif"][1:]}
    returned = client.upload_list("returned", damaged)
    mapped = {"batch": True, "values": [returned]}
    answer = client.start(
        "iscc_verify",
        **{"source|kind": "each", "source|datasets": mapped, "on_mismatch": "fail"},
        **{"expected|kind": "manifest", "expected|manifest": manifest, "outputs": ["report"]},
    )
    failures = []
    for job in answer["jobs"]:
        try:
            client.wait([job])
        except JobError as error:
            failures.append(str(error))
    assert failures == ['iscc_verify: 1 does not match: "it\'s.tif" is CHANGED\n']
    [reports] = answer["implicit_collections"]
    reports = {"src": "hdca", "id": reports["id"]}
    for tool in ("__KEEP_SUCCESS_DATASETS__", "__FILTER_FAILED_DATASETS__"):
        kept = client.start(tool, input=reports)
        client.wait(kept["jobs"])
        names = list(client.elements(kept["output_collections"][0]))
        assert names == [name for name in images if name != "it's.tif"]


def test_a_publication_whose_manifest_was_edited_is_stopped(client):
    """The answers about the seal are there and green; no file is checked."""
    seals = TEST_DATA / "seals"
    edited = (TEST_DATA / "delivery.tsv").read_bytes().replace(b"cell.png", b"cell.PNG")
    given = {
        "Manifest or trail": client.upload("it's $(the) manifest", edited, "tabular"),
        "Seal": client.upload("seal", seals / "delivery.seal.json", "json"),
        "Public keys that you trust": client.upload("keys", seals / "jane.pub", "txt"),
        "Deposited files": client.upload_list("files", {"cell.PNG": TEST_DATA / "cell.png"}),
    }
    workflow = client.import_workflow(WORKFLOWS["verify-publication"])
    with pytest.raises(JobError):
        client.invocation(workflow, given)
    made = client.get(f"histories/{client.history}/contents?v=dev&view=detailed")
    states = {each["name"]: each.get("state") for each in made}
    assert states["Who vouches"] == "ok"
    assert states["Manifest or trail whose seal holds"] == "error"
    assert states["All files"] == "paused"
    [report] = [each for each in made if each["name"] == "Who vouches"]
    answers = column(client.content(report), "#question", "answer")
    assert answers == [
        ("content", "changed"),
        ("signature", "valid"),
        ("signer", "trusted"),
        ("time", "not checked"),
        ("ISCC-ID", "none"),
    ]


def test_a_requirement_without_its_environment_fails(client):
    """The local Galaxy only resolves requirements by name and version."""
    if "unresolved_requirement" not in json.dumps(client.get("tools?in_panel=false")):
        pytest.skip("the running Galaxy does not have the tool for this test")
    with pytest.raises(JobError):
        client.run("unresolved_requirement")


def test_the_trail_of_a_run_is_what_ran(client):
    """Smoothed stacks, the first of them extracted, and a plane of it as a figure.

    A copy of the figure has another name. The export includes hidden datasets.
    """
    stack = (TEST_DATA / "nuclei_3d.tif").read_bytes()
    other = tiff_of(tifffile.imread(TEST_DATA / "nuclei_3d.tif")[::-1])
    raw = {"it's a stack.tif": stack, "b.tif": other}
    given = {"Stacks": client.upload_list("raw", raw), "Width": 1.5}
    analysis = client.import_workflow(ANALYSIS / "analysis.gxwf.yml")
    invocation = client.invocation(analysis, given)
    figure = client.content(invocation["outputs"]["Figure"])
    copied = {"source": "hda", "content": invocation["outputs"]["Figure"]["id"], "type": "dataset"}
    copy = client.post(f"histories/{client.history}/contents", json=copied)
    renamed = client.session.put(
        f"{client.api}/histories/{client.history}/contents/{copy['id']}", json={"name": "Final"}
    )
    assert renamed.ok
    smooth = [
        client.content(each)
        for each in client.get(f"histories/{client.history}/contents?v=dev&details=all")
        if each["name"].startswith("Smooth") and each.get("extension") == "tiff"
    ]
    assert len(smooth) == 2
    log = client.content(invocation["outputs"]["Log"])

    paths = (f"invocations/{invocation['id']}", f"histories/{client.history}")
    for path, content in [(path, client.export(path)) for path in paths]:
        export = client.upload("export.zip", content)  # Galaxy sees that it is a zip archive
        made = client.run("iscc_trail", sources=export)
        trail = client.content(made["trail"])
        columns = ("#name", "datahash", "step", "tool", "version", "parameters", "from")
        rows = column(trail, *columns)
        hashes = [codes_of(each).datahash for each in (*raw.values(), *smooth)]
        hashes += [codes_of(each).datahash for each in (figure, log)]
        a, b, smooth_a, smooth_b, of_figure, of_log = hashes
        sigma, plane = '{"sigma": "1.5"}', '{"plane": "15"}'
        first = '{"which": {"which_dataset": "first"}}'
        expected = [
            ("raw/it's a stack.tif", a, "1", "upload", "", "", ""),
            ("raw/b.tif", b, "1", "upload", "", "", ""),
            ("Smooth on collection 1/it's a stack.tif", smooth_a, "2", "smooth", "1.2", sigma, a),
            ("Smooth on collection 1/b.tif", smooth_b, "2", "smooth", "1.2", sigma, b),
            ("it's a stack.tif", smooth_a, "3", "__EXTRACT_DATASET__", "1.0.2", first, smooth_a),
            ("Figure 3a", of_figure, "4", "figure", "0.3", plane, smooth_a),
            (rows[6][0], of_log, "4", "figure", "0.3", plane, smooth_a),
        ]
        if path.startswith("histories"):
            expected.append(("Final", of_figure, "", "copy", "", "", of_figure))
        assert rows[: len(expected)] == expected

        files = client.upload_list("files", {"figure.jpg": figure, "raw.tif": stack})
        listed = {"expected|kind": "manifest", "expected|manifest": made["trail"]}
        checked = {"source|kind": "collection", "source|datasets": files}
        report = client.run("iscc_verify", **checked, **listed)["report"]
        assert column(client.content(report), "#name", "status", "detail")[:2] == [
            ("figure.jpg", "MOVED", 'listed as "Figure 3a"'),
            ("raw.tif", "MOVED", """listed as "raw/it's a stack.tif\""""),
        ]
        back = column(client.content(made["lineage"]), "#of", "steps_back", "name", "remark")
        assert [row for row in back if row[0] == "Figure 3a"] == [
            ("Figure 3a", "0", "Figure 3a", ""),
            ("Figure 3a", "1", "Smooth on collection 1/it's a stack.tif", ""),
            ("Figure 3a", "2", "raw/it's a stack.tif", "source"),
        ]


def tiff_of(stack: np.ndarray) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, stack, photometric="minisblack", metadata=None, software=False)
    return out.getvalue()


def test_the_demo_prints_what_is_documented(galaxy, capsys):
    text = DEMO.read_text()
    tables, questions = text.split("```")[1::2], re.findall(r"\*(.*?\?)\*", text)
    chapters = demo.run(galaxy)
    for chapter, name in {1: "contact-sheet", 6: "lineage"}.items():
        picture = imread(io.BytesIO(chapters[chapter].picture))
        shown = imread(PROJECT / "docs" / "images" / f"{name}.png")
        assert np.abs(picture - shown).mean() < 0.002  # of the brightness
    pictures = sum(chapter.picture is not None for chapter in chapters)
    written = page("title", "introduction", chapters, "end")
    assert written.count("<img alt=") == pictures == 4
    assert all(chapter.question in written and chapter.answer in written for chapter in chapters)
    printed = capsys.readouterr().out
    assert (len(tables), len(questions)) == (9, 9)
    assert all(map(str.strip, tables))
    assert all(each in printed for each in tables + questions)


def test_names_of_datasets_in_no_collection_come_out_as_they_went_in(client):
    names = ["it's.tif", "$(touch x).tif", "ünï.tif"]
    datasets = [client.upload(name, HOSTILE[name]) for name in names]
    several = {"source|kind": "several", "source|datasets": datasets}
    manifest = client.run("iscc_sum", **several)["manifest"]
    expected = [(name, codes_of(HOSTILE[name]).wide) for name in names]
    assert column(client.content(manifest), "#name", "iscc") == expected
    each = {"source|kind": "each", "source|datasets": datasets[0]}
    manifest = client.run("iscc_sum", **each)["manifest"]
    assert column(client.content(manifest), "#name", "iscc") == expected[:1]


XML_TESTS = [
    pytest.param(tool, index, id=f"{tool.stem}-{index + 1}")
    for tool in TOOLS
    for index in range(number_of_tests(tool))
]


@pytest.mark.parametrize(("tool", "index"), XML_TESTS)
def test_xml(planemo_results, tool, index):
    results = planemo_results(tool)
    assert len(results) == number_of_tests(tool)
    result = results[index]
    problems = result.get("output_problems") or result.get("execution_problem")
    assert result["status"] == "success", problems
