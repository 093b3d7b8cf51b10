"""What GitHub and the Tool Shed get: valid files, and a new version for every changed tool."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from test_workflows import TESTS

from dev import release
from dev.environments import PROJECT, REQUIREMENTS, pinned_requirements
from dev.suite import TOOLS, WORKFLOWS
from test_galaxy import number_of_tests
from test_suite import expanded

BIN = Path(sys.executable).parent
GITHUB = PROJECT / ".github"
JOBS = sorted((GITHUB / "workflows").glob("*.yml"))

# As the public repositories of tools have it.
LARGEST_FILE = 1_000_000


def run(*command: object) -> str:
    done = subprocess.run(
        [BIN / command[0], *map(str, command[1:])],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("schema", "paths"),
    {
        "github-workflows": JOBS,
        "dependabot": [GITHUB / "dependabot.yml"],
        "github-issue-config": [GITHUB / "ISSUE_TEMPLATE" / "config.yml"],
        "github-issue-forms": [
            GITHUB / "ISSUE_TEMPLATE" / name for name in ("problem.yml", "idea.yml")
        ],
    }.items(),
)
def test_files_for_github_are_valid(schema, paths):
    run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *paths)


def test_github_workflows_have_no_weakness():
    """Actions pinned by commit, least permissions, no secret or input in a shell; see zizmor."""
    run("zizmor", "--offline", "--persona", "pedantic", GITHUB)


def test_github_lints_all_workflows():
    """By name, since the action does not find them."""
    [action] = [
        step["with"]
        for step in yaml.safe_load((GITHUB / "workflows/test.yml").read_text())["jobs"]["lint"][
            "steps"
        ]
        if "planemo-ci-action" in step.get("uses", "")
    ]
    assert sorted(action["repository-list"].split()) == sorted(
        path.parent.relative_to(PROJECT).as_posix() for path in WORKFLOWS.values()
    )


def test_github_tests_the_oldest_galaxy_that_the_tools_are_made_for():
    """Their profile. The newest one is that of the packages and of the weekly run."""
    profiles = {expanded(tool).get("profile") for tool in TOOLS}
    test = (GITHUB / "workflows/test.yml").read_text()
    assert set(re.findall(r"branch=release_(\S+)", test)) == profiles


def test_github_counts_the_tests():
    """The command that computes their number, run with the shell and tools of this system."""
    steps = yaml.safe_load((GITHUB / "workflows/test.yml").read_text())["jobs"]["report"]["steps"]
    [command] = [step["run"] for step in steps if step.get("name") == "No test is missing"]
    counted = command.splitlines()[0] + '; echo "$expected"'
    done = subprocess.run(
        ["bash", "-c", counted], cwd=PROJECT, check=True, capture_output=True, text=True
    )
    tests = [yaml.safe_load(path.read_text()) for path in TESTS.values()]
    assert int(done.stdout) == sum(map(number_of_tests, TOOLS)) + sum(map(len, tests))


@pytest.mark.parametrize("jobs", JOBS, ids=lambda path: path.stem)
def test_github_has_the_planemo_that_is_used_here(jobs):
    [planemo] = [
        line for line in pinned_requirements(REQUIREMENTS / "dev.in") if "planemo==" in line
    ]
    described = yaml.safe_load(jobs.read_text())
    assert described["env"]["PLANEMO"] == planemo
    for job in described["jobs"].values():
        for step in job.get("steps", []):
            if "planemo-ci-action" in step.get("uses", ""):
                assert step["with"]["planemo-version"] == "${{ env.PLANEMO }}"


@pytest.mark.parametrize("part", ["dev", "galaxy", "pulsar", "tools"])
def test_pins_are_for_every_system(part):
    """Dependabot follows the first lines of these files."""
    assert " --universal --python-version 3.11 " in (REQUIREMENTS / f"{part}.txt").read_text()


def test_the_tool_shed_takes_the_repositories():
    """All checks of planemo, except whether the public Tool Shed has this version already."""
    options = ["--tools", "--ensure_metadata", "--skip", "version_bumped", "--fail_level", "warn"]
    assert run("planemo", "shed_lint", *options, ".").count("Linting repository") == len(TOOLS) + 1


def test_no_file_is_large():
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=PROJECT, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    tracked = [PROJECT / name for name in files if name and (PROJECT / name).is_file()]
    assert tracked
    assert not [path for path in tracked if path.stat().st_size > LARGEST_FILE]


@pytest.fixture
def project(tmp_path: Path, monkeypatch) -> Path:
    """A repository with a tool, published as version 0.1.0+galaxy7 on its main branch."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    (tmp_path / "tools").mkdir()
    (tmp_path / "macros").mkdir()
    (tmp_path / "tools" / "tool.py").write_text("print(1)\n")
    (tmp_path / "README.md").write_text("A tool.\n")
    (tmp_path / release.MACROS).write_text(
        '<macros><token name="@TOOL_VERSION@">0.1.0</token>'
        '<token name="@VERSION_SUFFIX@">7</token></macros>'
    )
    release.git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    commit(tmp_path)
    release.git(tmp_path, "switch", "--quiet", "--create", "change")
    return tmp_path


def commit(project: Path) -> None:
    release.git(project, "add", "--all")
    identity = ["-c", "user.name=Nobody", "-c", "user.email=nobody@example.org"]
    release.git(project, *identity, "commit", "--quiet", "--message", "A change")


@pytest.mark.parametrize("committed", [True, False])
def test_a_change_of_a_tool_without_a_new_version_is_noticed(project, committed):
    (project / "tools" / "tool.py").write_text("print(2)\n")
    (project / "README.md").write_text("A better tool.\n")
    if committed:
        commit(project)
    assert release.changed_without_new_version(project, "main") == ["tools/tool.py"]


def test_a_new_file_and_a_lower_version_are_noticed(project):
    (project / "tools" / "new.py").write_text("print(2)\n")
    macros = project / release.MACROS
    macros.write_text(macros.read_text().replace(">7<", ">6<"))
    expected = [release.MACROS, "tools/new.py"]
    assert release.changed_without_new_version(project, "main") == expected


@pytest.mark.parametrize(
    ("token", "value"), [("@VERSION_SUFFIX@", "10"), ("@TOOL_VERSION@", "0.2.0")]
)
def test_a_change_of_a_tool_with_a_new_version_may_go_out(project, token, value):
    (project / "tools" / "tool.py").write_text("print(2)\n")
    macros = project / release.MACROS
    macros.write_text(re.sub(f'("{token}">)[^<]+', rf"\g<1>{value}", macros.read_text()))
    commit(project)
    assert release.changed_without_new_version(project, "main") == []


def test_a_change_beside_the_tools_needs_no_new_version(project):
    (project / "README.md").write_text("A better tool.\n")
    commit(project)
    assert release.changed_without_new_version(project, "main") == []


def test_what_has_changed_on_the_main_branch_since_is_no_change_of_ours(project):
    release.git(project, "switch", "--quiet", "main")
    (project / "tools" / "tool.py").write_text("print(3)\n")
    commit(project)
    release.git(project, "switch", "--quiet", "change")
    assert release.changed_without_new_version(project, "main") == []


def test_the_version_is_that_of_the_tools():
    macros = (PROJECT / release.MACROS).read_text()
    [citation] = re.findall(r"^version: (.*)$", (PROJECT / "CITATION.cff").read_text(), re.M)
    assert release.version(macros) == citation


def test_the_containers_that_contributing_asks_for_have_what_the_tools_require():
    """For all tools that require more than one package."""
    text = (PROJECT / "CONTRIBUTING.md").read_text()
    lines = re.findall(r"For (\w+):\n\n```\n#targets\tbase_image\timage_build\n(.*)\n```", text)
    required = {
        tool.stem: sorted(
            f"{requirement.text}={requirement.get('version')}"
            for requirement in expanded(tool).iter("requirement")
        )
        for tool in TOOLS
    }
    assert dict(lines) == {
        tool: ",".join(packages) + "\t\t0"
        for tool, packages in required.items()
        if len(packages) > 1
    }
