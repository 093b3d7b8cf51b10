"""The tools in a real Galaxy: their XML tests, and what XML tests cannot show."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dev import demo
from dev.client import Client, JobError
from dev.environments import PROJECT
from dev.local_galaxy import TOOLS
from oracle import codes_of

pytestmark = pytest.mark.galaxy

PLANEMO = Path(sys.executable).parent / "planemo"


def number_of_tests(tool: Path) -> int:
    return tool.read_text().count("<test expect_")


XML_TESTS = [
    pytest.param(tool, index, id=f"{tool.stem}-{index + 1}")
    for tool in TOOLS
    for index in range(number_of_tests(tool))
]


@pytest.fixture(scope="session")
def planemo_results(galaxy, tmp_path_factory) -> Iterator[Callable[[Path], list[dict]]]:
    """Let planemo test all tools, side by side; the results of one tool, when they are there."""
    folder = tmp_path_factory.mktemp("planemo")

    def test(tool: Path) -> list[dict]:
        report = folder / f"{tool.stem}.json"
        command = [PLANEMO, "test", "--engine", "external_galaxy", "--galaxy_url", galaxy.url]
        command += ["--galaxy_admin_key", galaxy.api_key, "--galaxy_user_key", galaxy.api_key]
        command += ["--test_output", folder / f"{tool.stem}.html", "--test_output_json", report]
        done = subprocess.run(
            [*command, tool],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert report.exists(), done.stdout + done.stderr
        results = [each["data"] for each in json.loads(report.read_text())["tests"]]
        return sorted(results, key=lambda result: result["test_index"])

    with ThreadPoolExecutor(len(TOOLS)) as pool:
        futures = {tool: pool.submit(test, tool) for tool in TOOLS}
        yield lambda tool: futures[tool].result()


@pytest.mark.parametrize(("tool", "index"), XML_TESTS)
def test_xml(planemo_results, tool, index):
    results = planemo_results(tool)
    assert len(results) == number_of_tests(tool)
    result = results[index]
    problems = result.get("output_problems") or result.get("execution_problem")
    assert result["status"] == "success", problems


@pytest.fixture
def client(galaxy, request) -> Client:
    return Client(galaxy, request.node.name)


HOSTILE = {
    "50% done.tif": b"a" * 30_000,
    "it's.tif": b"b" * 30_000,
    'q"uote.tif': b"c" * 30_000,
    "$(touch x).tif": b"d" * 30_000,
    "ünï.tif": b"e" * 30_000,
    "`touch y`; touch z & {0} \\n $HOME *.tif": b"f" * 30_000,
    " blanks at both ends ": b"g" * 30_000,
    "-o": b"a" * 30_000,
    "#name": b"h" * 30_000,
    # Galaxy's own upload fails for names of more than about 230 characters.
    "x" * 200 + ".tif": b"i" * 30_000,
}


def column(table: bytes, *names: str) -> list[tuple[str, ...]]:
    rows = [line.split("\t") for line in table.decode().rstrip("\n").split("\n")]
    chosen = [rows[0].index(name) for name in names]
    return [tuple(row[each] for each in chosen) for row in rows[1:]]


def test_names_come_out_as_they_went_in(client):
    """Through all three tools; two elements have equal content."""
    collection = client.upload_list("hostile", HOSTILE)
    source = {"source|kind": "collection", "source|datasets": collection}

    manifest = client.run("iscc_sum", **source)["manifest"]
    # A manifest writes \ as \\, and # at the beginning of a line as \#.
    written = {name: name.replace("\\", "\\\\") for name in HOSTILE} | {"#name": "\\#name"}
    assert column(client.content(manifest), "#name", "iscc") == [
        (written[name], codes_of(content).wide) for name, content in HOSTILE.items()
    ]

    found = client.run("iscc_similarity", **source, threshold=0)
    exact = column(client.content(found["pairs"]), "#name_a", "name_b", "relation")
    assert ("-o", "50% done.tif", "exact") in exact
    assert [relation for *_, relation in exact].count("exact") == 1
    clusters = column(client.content(found["clusters"]), "#name")
    assert [name for (name,) in clusters] == list(written.values())

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
    """One of two equal elements goes, under whatever names, and nothing else."""
    collection = client.upload_list("hostile", HOSTILE)
    source = {"source|kind": "collection", "source|datasets": collection}
    lists = client.run("iscc_similarity", **source, lists="exact", outputs=None)
    assert set(lists) == {"keep", "drop"}
    kept = [name for name in HOSTILE if name != "-o"]
    assert client.content(lists["keep"]).decode() == "".join(f"{name}\n" for name in kept)
    assert client.content(lists["drop"]).decode() == "-o\n"

    def filtered(how: str, names: dict) -> tuple[list[str], list[str]]:
        choice = {"input": collection, "how|how_filter": how, "how|filter_source": names}
        answer = client.start("__FILTER_FROM_FILE__", **choice)
        client.wait(answer["jobs"])
        outputs = {output["output_name"]: output["id"] for output in answer["output_collections"]}
        elements = {
            name: client.get(f"dataset_collections/{number}")["elements"]
            for name, number in outputs.items()
        }
        return tuple(
            [element["element_identifier"] for element in elements[f"output_{part}"]]
            for part in ("filtered", "discarded")
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
    [manifests] = answer["implicit_collections"]
    elements = client.get(f"dataset_collections/{manifests['id']}")["elements"]
    assert [element["element_identifier"] for element in elements] == list(images)
    for element, (name, content) in zip(elements, images.items(), strict=True):
        table = client.content({"id": element["object"]["id"]})
        assert column(table, "#name", "iscc") == [(name, codes_of(content).wide)]


def test_one_job_for_each_dataset_of_a_nested_collection_knows_the_innermost_name(client):
    """As the form says; the whole names are in the manifest of the collection."""
    datasets = [client.upload("a", HOSTILE["it's.tif"]), client.upload("b", HOSTILE["-o"])]
    pair = [
        {"name": name, **dataset}
        for name, dataset in zip(("forward", "reverse"), datasets, strict=True)
    ]
    body = {
        "history_id": client.history,
        "collection_type": "list:paired",
        "element_identifiers": [
            {
                "name": "it's day 1",
                "src": "new_collection",
                "collection_type": "paired",
                "element_identifiers": pair,
            }
        ],
    }
    collection = {"src": "hdca", "id": client.post("dataset_collections", json=body)["id"]}
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
    """Its file is lost from the server's disk after the upload."""
    dataset = client.upload("lost.tif", b"soon gone")
    Path(client.get(f"datasets/{dataset['id']}")["file_name"]).unlink()
    source = {"source|kind": "several", "source|datasets": dataset}
    with pytest.raises(JobError) as error:
        client.run("iscc_sum", **source)
    assert str(error.value) == 'iscc_sum: cannot read "lost.tif": Galaxy has no file of it\n'


def test_a_manifest_that_is_none_is_called_by_its_name(client):
    """In the message and in what Galaxy shows below the red dataset."""
    dataset = client.upload("a.tif", b"a")
    manifest = client.upload("it's $(no) manifest", b"hello\tworld\n", ext="tabular")
    source = {"source|kind": "several", "source|datasets": dataset}
    listed = {"expected|kind": "manifest", "expected|manifest": manifest}
    answer = client.start("iscc_verify", **source, **listed)
    message = (
        'iscc_verify: "it\'s $(no) manifest": expected a manifest, but it has no valid entry; '
        'line 1: expected a name and an ISCC code, found "hello\\tworld"'
    )
    with pytest.raises(JobError) as error:
        client.wait(answer["jobs"])
    assert str(error.value) == message + "\n"
    [output] = answer["outputs"]
    shown = client.get(f"datasets/{output['id']}")
    assert (shown["state"], shown["file_size"]) == ("error", 0)
    assert message in shown["misc_info"]


def test_jobs_that_fail_on_mismatch_leave_what_is_intact(client):
    """Mapped over a collection: of its reports, Keep success keeps those of intact datasets."""
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
        **{"expected|kind": "manifest", "expected|manifest": manifest},
    )
    failures = []
    for job in answer["jobs"]:
        try:
            client.wait([job])
        except JobError as error:
            failures.append(str(error))
    assert failures == ['iscc_verify: 1 do not match: "it\'s.tif" is CHANGED\n']
    [reports] = answer["implicit_collections"]
    reports = {"src": "hdca", "id": reports["id"]}
    for tool in ("__KEEP_SUCCESS_DATASETS__", "__FILTER_FAILED_DATASETS__"):
        kept = client.start(tool, input=reports)
        client.wait(kept["jobs"])
        [output] = kept["output_collections"]
        elements = client.get(f"dataset_collections/{output['id']}")["elements"]
        names = [element["element_identifier"] for element in elements]
        assert names == [name for name in images if name != "it's.tif"]


def test_a_requirement_without_its_environment_fails(client):
    """The local Galaxy resolves requirements by name and version, and has nothing else to offer."""
    if "unresolved_requirement" not in json.dumps(client.get("tools?in_panel=false")):
        pytest.skip("the running Galaxy does not have the tool for this test")
    with pytest.raises(JobError):
        client.run("unresolved_requirement")


def test_the_demo_prints_what_the_readme_shows(galaxy, capsys):
    readme = (PROJECT / "README.md").read_text()
    section = readme.partition("## What the demo shows")[2].partition("\n## ")[0]
    pairs, verdict = section.split("```")[1::2]
    demo.run(galaxy)
    printed = capsys.readouterr().out
    assert pairs in printed
    assert verdict in printed


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
