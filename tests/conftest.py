"""Fixtures: the scripts as programs, and one local Galaxy for all tests that need it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dev.environments import PROJECT
from dev.local_galaxy import Galaxy, local_galaxy

# Galaxy loads all tools when it starts, this one for tests of Galaxy itself among them.
UNRESOLVED_TOOL = Path(__file__).parent / "unresolved_requirement.xml"


@pytest.fixture(scope="session")
def galaxy() -> Iterator[Galaxy]:
    """A local Galaxy; that of `make serve` if GALAXY_URL and GALAXY_API_KEY say where it is."""
    if "GALAXY_URL" in os.environ:
        yield Galaxy(os.environ["GALAXY_URL"], os.environ["GALAXY_API_KEY"])
        return
    with local_galaxy(extra_tools=(UNRESOLVED_TOOL,)) as running:
        yield running


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Run a tool's script as a program, in a fresh folder: script("iscc_sum", "a.tif", ...)."""

    def run(tool: str, *arguments: object) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, PROJECT / "tools" / tool / f"{tool}.py", *map(str, arguments)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=120,
        )

    return run
