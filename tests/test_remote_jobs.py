"""The tools on a real remote job server, which has nothing of them but what Galaxy sends."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from conftest import run_tests_in_galaxy
from dev.client import Client, JobError
from dev.environments import PROJECT
from dev.local_galaxy import Galaxy, local_galaxy
from dev.remote_jobs import Pulsar, jobs_of, local_pulsar
from dev.suite import TOOLS
from documents import README, code_blocks
from test_galaxy import number_of_tests

INCLUDED = '<include path="codes.py"/>'


def maimed(folder: Path, name: str, lose_file: bool) -> Path:
    """A copy of iscc_sum under another id that lacks a module, or does not say that it has it."""
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


def test_the_configuration_in_the_readme_is_the_one_that_is_tested():
    shown = [yaml.safe_load(block) for block in code_blocks(README, "yaml")]
    pulsar = Pulsar("https://pulsar.example.org:8913", "its private token")
    assert jobs_of(TOOLS, pulsar) in shown


@pytest.fixture(scope="module")
def remote(tmp_path_factory) -> Iterator[Galaxy]:
    """A Galaxy that sends all jobs of our tools, and of two maimed ones, to a Pulsar."""
    folder = tmp_path_factory.mktemp("maimed")
    maimed_tools = [maimed(folder, "lost", True), maimed(folder, "unsaid", False)]
    tools = [*TOOLS, *maimed_tools]
    with (
        local_pulsar() as pulsar,
        local_galaxy(tools=tools, jobs=jobs_of(tools, pulsar), name="galaxy-with-pulsar") as galaxy,
    ):
        yield galaxy


@pytest.mark.galaxy
def test_tools_pass_their_tests_on_pulsar(remote, tmp_path):
    ended = run_tests_in_galaxy(remote, [tool.stem for tool in TOOLS], tmp_path)
    assert ended == [["success"] * number_of_tests(tool) for tool in TOOLS]
    client = Client(remote, "jobs")
    for tool in TOOLS:
        jobs = client.get(f"jobs?tool_id={tool.stem}&view=admin_job_list&limit=1000")
        assert {job["job_runner_name"] for job in jobs} == {"pulsar"}


@pytest.mark.galaxy
@pytest.mark.parametrize("tool", ["lost", "unsaid"])
def test_a_module_that_is_not_sent_is_missed(remote, tool):
    """So the tests above show that every module is."""
    client = Client(remote, tool)
    source = {"source|kind": "several", "source|datasets": client.upload("a", b"a")}
    with pytest.raises(JobError, match="No module named 'codes'"):
        client.run(tool, **source)
