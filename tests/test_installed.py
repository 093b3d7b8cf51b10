"""The suite as installed on a server: from a real Tool Shed, with every job on a real Pulsar.

All XML tests run in test_galaxy.py. Here, only those run that differ in how files get to a job and
back: the job is on another server, which only has what Galaxy sends.
"""

import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree

import pytest
import yaml

from conftest import PLANEMO, problem, programs, reported
from dev.client import Client, JobError
from dev.environments import PROJECT
from dev.local_galaxy import Galaxy, local_galaxy
from dev.remote_jobs import Pulsar, jobs_of, local_pulsar
from dev.suite import TOOLS, WORKFLOWS
from dev.tool_shed import SHED_YML, ToolShed, local_tool_shed
from documents import ADMINISTRATORS, code_blocks
from oracle import TEST_DATA, codes_of
from samples import HOSTILE, column
from test_suite import expanded

SHED = yaml.safe_load(SHED_YML.read_text())
SUITE = SHED["suite"]["name"]
REPOSITORIES = [*SHED["repositories"], SUITE]
[AS_DOCUMENTED] = [
    yaml.safe_load(block)["tools"]
    for block in code_blocks(ADMINISTRATORS, "yaml")
    if "tool_panel_section_label" in block
]


def run(*command: object, folder: Path = PROJECT) -> None:
    """Run a program of our environment, in a directory."""
    done = subprocess.run(
        [PLANEMO.with_name(command[0]), *map(str, command[1:])],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def archives(tmp_path_factory) -> dict[str, list[str]]:
    """The names of the files in each archive that planemo would upload."""
    folder = tmp_path_factory.mktemp("archives")
    options = ["--tar_only", "--shed_target", "local"]
    run("planemo", "shed_upload", *options, PROJECT, folder=folder)
    contents = {}
    for path in folder.glob("shed_upload_*.tar.gz"):
        with tarfile.open(path) as archive:
            name = path.name.removeprefix("shed_upload_").removesuffix(".tar.gz")
            contents[name] = sorted(each.name for each in archive.getmembers() if each.isfile())
    return contents


def test_there_is_a_repository_for_each_tool_and_a_suite(archives):
    assert sorted(archives) == sorted([*(tool.stem for tool in TOOLS), SUITE])
    assert archives[SUITE] == ["repository_dependencies.xml"]


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.stem)
def test_an_archive_holds_what_its_tool_and_its_tests_need(archives, tool):
    root = expanded(tool)
    required = [include.get("path") for include in root.iter("include")]
    named = {
        name
        for each in root.find("tests").iter()
        if each.tag != "metadata"  # whose names of columns are no files
        for name in (each.get("value") or "").split(",")
        if name and (TEST_DATA / name).exists()
    }
    data = {
        file.relative_to(PROJECT).as_posix()
        for name in named
        for file in [TEST_DATA / name, *(TEST_DATA / name).rglob("*")]
        if file.is_file()
    }
    assert archives[tool.stem] == sorted({tool.name, "macros.xml", *required, *data})


def test_the_documented_configuration_is_the_one_that_is_tested():
    shown = [yaml.safe_load(block) for block in code_blocks(ADMINISTRATORS, "yaml")]
    pulsar = Pulsar("https://pulsar.example.org:8913", "its private token")
    assert jobs_of(TOOLS, pulsar) in shown


# A form's conditional with what is chosen in it and the shape of what is given (a list, a folder);
# an output; how a failure ends.
Way = tuple[str | None, ...]


def ways(root: ElementTree.Element) -> list[set[Way]]:
    """The ways in which files get to the job of each of a tool's tests, and back.

    A test that is expected to fail only counts for how it ends, as nothing else is checked.
    """
    forms = list(root.find("inputs").iter("conditional"))
    return [
        failure(test) if test.get("expect_failure") else inputs(forms, test) | outputs(test)
        for test in root.iterfind("tests/test")
    ]


def failure(test: ElementTree.Element) -> set[Way]:
    beside = {("failure", each.tag) for each in test.iter("composite_data")}
    return {("failure", test.get("expect_exit_code"))} | beside


def inputs(forms: Sequence[ElementTree.Element], test: ElementTree.Element) -> set[Way]:
    found = set()
    for form in forms:
        name, choice = form.get("name"), form.find("param")
        given = test.find(f".//conditional[@name='{name}']")
        if given is None:
            found.add((name, choice.find("option[@selected='true']").get("value"), None))
            continue
        chosen = given.find(f"param[@name='{choice.get('name')}']").get("value")
        shapes = {each.get("type") or each.get("class") for each in given.iter()}
        found |= {(name, chosen, shape) for shape in shapes}
    return found


def outputs(test: ElementTree.Element) -> set[Way]:
    return {("output", each.get("name")) for each in test if each.tag.startswith("output")}


def fewest_tests(root: ElementTree.Element) -> list[int]:
    """Tests of a tool that together cover all ways of its tests.

    Each is the one that covers most of the remaining ways, so that there are few.
    """
    of_tests = ways(root)
    left, chosen = set().union(*of_tests), []
    while left:
        best = max(range(len(of_tests)), key=lambda index: len(of_tests[index] & left))
        chosen.append(best)
        left -= of_tests[best]
    return sorted(chosen)


TESTED = {tool.stem: fewest_tests(expanded(tool)) for tool in TOOLS}


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.stem)
def test_every_kind_of_input_and_every_output_comes_through_a_tool_shed_and_a_pulsar(tool):
    """The selected tests cover all choices of the form, and all of its outputs."""
    root = expanded(tool)
    of_tests = ways(root)
    come = set().union(*(of_tests[index] for index in TESTED[tool.stem]))
    assert come >= {
        (form.get("name"), option.get("value"), None)
        for form in root.find("inputs").iter("conditional")
        for option in form.findall("param/option")
    }
    assert come >= {("output", each.get("name")) for each in root.find("outputs")}
    takes_collections = root.find("inputs/conditional[@name='source']") is not None
    if takes_collections:
        assert come >= {("source", "collection", "list"), ("source", "collection", "list:paired")}
    takes_directories = tool.stem in ("iscc_sum", "iscc_pixels")
    assert ("Directory" in {way[-1] for way in come}) == takes_directories
    assert {way[0] for way in come} >= {"output", "failure"}


INCLUDED = '<include path="codes.py"/>'


def maimed(folder: Path, name: str, lose_file: bool) -> Path:
    """A copy of iscc_sum under another id that lacks a module, or does not declare it."""
    home = folder / name
    shutil.copytree(PROJECT / "tools" / "iscc_sum", home, ignore=shutil.ignore_patterns("__*"))
    tool = (home / "iscc_sum.xml").rename(home / f"{name}.xml")
    tool.write_text(tool.read_text().replace('<tool id="iscc_sum"', f'<tool id="{name}"'))
    if lose_file:
        (home / "codes.py").unlink()
    else:
        macros = home / "macros.xml"
        assert INCLUDED in macros.read_text()
        macros.write_text(macros.read_text().replace(INCLUDED, ""))
    return tool


class Published(NamedTuple):
    """A Tool Shed with the suite, and a Galaxy that installed it from there and has a Pulsar."""

    shed: ToolShed
    galaxy: Galaxy
    tools: dict[str, str]  # the ids under which Galaxy has them, by our own


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Iterator[Published]:
    """Publish the suite and install it into a Galaxy that has never seen our tools.

    It sends their jobs to a Pulsar, and those of two incomplete ones.
    """
    folder = tmp_path_factory.mktemp("published")
    maimed_tools = [maimed(folder, "lost", True), maimed(folder, "unsaid", False)]
    with local_tool_shed() as shed, ThreadPoolExecutor() as beside:
        target = ["--shed_target", shed.url, "--shed_key", shed.api_key, "--owner", SHED["owner"]]
        published = beside.submit(run, "planemo", "shed_create", *target, PROJECT)
        with (
            local_pulsar() as pulsar,
            local_galaxy(
                tools=maimed_tools,
                tool_shed=shed.url,
                jobs=jobs_of([*TOOLS, *maimed_tools], pulsar),
                name="galaxy-with-tool-shed-and-pulsar",
            ) as galaxy,
        ):
            published.result()
            wanted = [repository | {"tool_shed_url": shed.url} for repository in AS_DOCUMENTED]
            tools_file = folder / "tools.yml"
            tools_file.write_text(yaml.safe_dump({"tools": wanted}))
            install = ["--tools-file", tools_file, "--skip_install_resolver_dependencies"]
            run("shed-tools", "install", "-g", galaxy.url, "-a", galaxy.api_key, *install)
            client = Client(galaxy, "published")
            found = {tool["id"].split("/")[-2]: tool["id"] for tool in panel(client)}
            yield Published(shed, galaxy, found)


def panel(client: Client) -> list[dict]:
    """The tools that came from a Tool Shed."""
    return [tool for tool in client.get("tools?in_panel=false") if "/repos/" in tool["id"]]


@pytest.mark.galaxy
def test_all_tools_are_installed(published):
    host = published.shed.url.removeprefix("http://")
    for tool in TOOLS:
        version = expanded(tool).get("version")
        name = f"{SHED['owner']}/{tool.stem}/{tool.stem}/{version}"
        assert published.tools[tool.stem] == f"{host}/repos/{name}"
    client = Client(published.galaxy, "repositories")
    status = {each["name"]: each["status"] for each in client.get("tool_shed_repositories")}
    assert status == dict.fromkeys(REPOSITORIES, "Installed")


@pytest.fixture(scope="module")
def tests_on_pulsar(published, tmp_path_factory) -> Iterator[Callable[[], dict[str, dict]]]:
    """Let the Galaxy test its installed tools, in parallel with other tests; returns failures.

    Tests and their data come from that Galaxy, not from this directory. The tools are tested in
    parallel, the tests of one tool are not, since galaxy-tool-test would mix up their uploads.
    """
    folder = tmp_path_factory.mktemp("tests_on_pulsar")
    address = ["-u", published.galaxy.url, "-k", published.galaxy.api_key]
    with programs() as start:
        started = {}
        for tool, indices in TESTED.items():
            where = ["-t", published.tools[tool], "-j", folder / f"{tool}.json"]
            program = [sys.executable, "-m", "dev.tool_tests", *indices, *address, *where]
            started[tool] = start(program)

        def ended() -> dict[str, dict]:
            reports = {
                tool: reported(folder / f"{tool}.json", each.result())
                for tool, each in started.items()
            }
            return {
                tool: {result["test_index"]: problem(result) for result in report}
                for tool, report in reports.items()
            }

        yield ended


@pytest.mark.galaxy
@pytest.mark.parametrize("tool", ["lost", "unsaid"])
@pytest.mark.usefixtures("tests_on_pulsar")
def test_a_module_that_is_not_sent_is_missed(published, tool):
    """Therefore, the tests on Pulsar show that every module is sent."""
    client = Client(published.galaxy, tool)
    source = {"source|kind": "several", "source|datasets": client.upload("a", b"a")}
    with pytest.raises(JobError, match="No module named 'codes'"):
        client.run(tool, **source)


@pytest.mark.galaxy
@pytest.mark.usefixtures("tests_on_pulsar")
def test_workflows_find_the_installed_tools(published):
    client = Client(published.galaxy, "workflow")
    workflow = client.import_workflow(WORKFLOWS["fingerprint-collection"])
    images = dict(list(HOSTILE.items())[:2])
    outputs = client.invoke(workflow, {"Collection": client.upload_list("images", images)})
    expected = [(name, codes_of(content).wide) for name, content in images.items()]
    assert column(client.content(outputs["Manifest"]), "#name", "iscc") == expected


@pytest.mark.galaxy
@pytest.mark.usefixtures("tests_on_pulsar")
def test_a_new_version_is_offered(published, tmp_path):
    """A change is published as an update, and Galaxy shows that there is one."""
    client = Client(published.galaxy, "update")

    def offered() -> dict[str, str]:
        client.get("tool_shed_repositories/check_for_updates")
        return {
            each["name"]: each["tool_shed_status"]["revision_upgrade"]
            for each in client.get("tool_shed_repositories")
            if each["name"] != SUITE
        }

    assert offered() == dict.fromkeys(SHED["repositories"], "False")
    for part in ("tools", "macros", "test-data"):
        shutil.copytree(PROJECT / part, tmp_path / part, symlinks=True)
    shutil.copy(SHED_YML, tmp_path)
    macros = tmp_path / "macros" / "macros.xml"
    changed = re.sub(r'("@VERSION_SUFFIX@">)[0-9]+', r"\g<1>1000", macros.read_text())
    assert changed != macros.read_text()
    macros.write_text(changed)
    target = ["--shed_target", published.shed.url, "--shed_key", published.shed.api_key]
    run("planemo", "shed_update", *target, "--owner", SHED["owner"], tmp_path)
    assert offered() == dict.fromkeys(SHED["repositories"], "True")


@pytest.mark.galaxy
def test_installed_tools_pass_their_tests_on_pulsar(published, tests_on_pulsar):
    assert tests_on_pulsar() == {tool: dict.fromkeys(indices) for tool, indices in TESTED.items()}
    client = Client(published.galaxy, "jobs")
    for tool in published.tools.values():
        jobs = client.get(f"jobs?tool_id={quote(tool)}&view=admin_job_list&limit=1000")
        assert {job["job_runner_name"] for job in jobs} == {"pulsar"}
