"""What is published: the archives, and a real Tool Shed from which a fresh Galaxy installs them."""

import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from conftest import PLANEMO, run_tests_in_galaxy
from dev.client import Client
from dev.environments import PROJECT
from dev.local_galaxy import Galaxy, local_galaxy
from dev.suite import TOOLS, WORKFLOWS
from dev.tool_shed import SHED_YML, ToolShed, local_tool_shed
from documents import README, code_blocks
from oracle import TEST_DATA, codes_of
from samples import HOSTILE, column
from test_galaxy import number_of_tests
from test_suite import expanded

SHED = yaml.safe_load(SHED_YML.read_text())
SUITE = SHED["suite"]["name"]
REPOSITORIES = [*SHED["repositories"], SUITE]
[AS_IN_README] = [
    yaml.safe_load(block)["tools"]
    for block in code_blocks(README, "yaml")
    if "tool_panel_section_label" in block
]


def run(*command: object, folder: Path = PROJECT) -> None:
    """Run a program of our environment, in a folder."""
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


class Published(NamedTuple):
    """A Tool Shed with the suite, and a Galaxy that has installed it from there."""

    shed: ToolShed
    galaxy: Galaxy
    tools: dict[str, str]  # the ids under which Galaxy has them, by our own


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Iterator[Published]:
    """Publish the suite and install it into a Galaxy that has never seen our tools."""
    with (
        local_tool_shed() as shed,
        local_galaxy(tools=[], tool_shed=shed.url, name="galaxy-with-tool-shed") as galaxy,
    ):
        target = ["--shed_target", shed.url, "--shed_key", shed.api_key, "--owner", SHED["owner"]]
        run("planemo", "shed_create", *target, PROJECT)
        wanted = [repository | {"tool_shed_url": shed.url} for repository in AS_IN_README]
        tools_file = tmp_path_factory.mktemp("install") / "tools.yml"
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


@pytest.mark.galaxy
def test_installed_tools_pass_their_tests(published, tmp_path):
    names = [published.tools[tool.stem] for tool in TOOLS]
    ended = run_tests_in_galaxy(published.galaxy, names, tmp_path)
    assert ended == [["success"] * number_of_tests(tool) for tool in TOOLS]


@pytest.mark.galaxy
def test_workflows_find_the_installed_tools(published):
    client = Client(published.galaxy, "workflow")
    workflow = client.import_workflow(WORKFLOWS["fingerprint-collection"])
    images = dict(list(HOSTILE.items())[:2])
    outputs = client.invoke(workflow, {"Collection": client.upload_list("images", images)})
    expected = [(name, codes_of(content).wide) for name, content in images.items()]
    assert column(client.content(outputs["Manifest"]), "#name", "iscc") == expected


@pytest.mark.galaxy
def test_a_new_version_is_offered(published, tmp_path):
    """What was changed since is published as an update, and Galaxy says that there is one."""
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
