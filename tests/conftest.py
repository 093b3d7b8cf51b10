"""Fixtures: the scripts as programs, and one local Galaxy for all tests that need it."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path

import psutil
import pytest
from hypothesis import settings

from dev import processes
from dev.client import Client
from dev.environments import PROJECT
from dev.local_galaxy import Galaxy, local_galaxy
from dev.suite import STEPS, TOOLS, WORKFLOWS
from exploring import FACTOR, FUZZING

PLANEMO = Path(sys.executable).parent / "planemo"
SECONDS_FOR_TESTS = 900
MOST_PROGRAMS = 8

# The same examples in every run, so that what passes here passes elsewhere; others in every run of
# `make fuzz`. How long an example takes says more about the machine than about us.
settings.register_profile("fixed", derandomize=True, database=None, deadline=None)
settings.register_profile(
    "fuzz",
    derandomize=False,
    max_examples=settings.get_profile("default").max_examples * FACTOR,
    deadline=None,
)
settings.load_profile("fuzz" if FUZZING else "fixed")

# In the background of a script a program starts with SIGINT ignored, after nohup with SIGHUP, and
# so does all that it starts: programs to which tests send these signals would not notice.
for number, handler in {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGHUP: signal.SIG_DFL,
}.items():
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

# Galaxy loads all tools when it starts, this one for tests of Galaxy itself among them.
UNRESOLVED_TOOL = Path(__file__).parent / "unresolved_requirement.xml"


@pytest.fixture(scope="session")
def galaxy() -> Iterator[Galaxy]:
    """A local Galaxy, or that of `make serve` if GALAXY_URL and GALAXY_API_KEY are set."""
    if "GALAXY_URL" in os.environ:
        yield Galaxy(os.environ["GALAXY_URL"], os.environ["GALAXY_API_KEY"])
        return
    with local_galaxy(tools=[*TOOLS, *STEPS, UNRESOLVED_TOOL]) as running:
        yield running


@pytest.fixture
def client(galaxy, request) -> Client:
    return Client(galaxy, request.node.name)


@pytest.fixture(scope="session")
def planemo_results(galaxy, tmp_path_factory) -> Iterator[Callable[[Path], list[dict]]]:
    """Let planemo test all tools and workflows in parallel; the results of one, when ready."""
    folder = tmp_path_factory.mktemp("planemo")
    # Planemo writes beside a workflow while it tests it, so it gets a copy.
    shutil.copytree(PROJECT / "workflows", folder / "workflows")
    (folder / "test-data").symlink_to(PROJECT / "test-data")

    def command(path: Path) -> list[object]:
        served = ["--engine", "external_galaxy", "--galaxy_url", galaxy.url]
        keys = ["--galaxy_admin_key", galaxy.api_key, "--galaxy_user_key", galaxy.api_key]
        html, report = folder / f"{path.stem}.html", folder / f"{path.stem}.json"
        outputs = ["--test_output", html, "--test_output_json", report]
        tested = folder / path.relative_to(PROJECT) if path in WORKFLOWS.values() else path
        return [PLANEMO, "test", *served, *keys, *outputs, tested]

    with programs() as start:
        started = {path: start(command(path)) for path in (*TOOLS, *WORKFLOWS.values())}

        def results(path: Path) -> list[dict]:
            tests = reported(folder / f"{path.stem}.json", started[path].result())
            return sorted(tests, key=itemgetter("test_index")) if path in TOOLS else tests

        yield results


@contextmanager
def programs() -> Iterator[Callable[[Sequence[object]], Future[str]]]:
    """Start programs that run in parallel, each for its output; none outlives the with-block.

    Not all at once: Galaxy's database is a file, and may be locked if too many access it.
    """
    started = []

    def output(command: Sequence[object]) -> str:
        process = psutil.Popen(
            list(map(str, command)),
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process.communicate(timeout=SECONDS_FOR_TESTS)[0]

    pool = ThreadPoolExecutor(MOST_PROGRAMS)
    try:
        yield lambda command: pool.submit(output, command)
    finally:
        processes.kill(*started)
        pool.shutdown(cancel_futures=True)


def reported(report: Path, said: str) -> list[dict]:
    """The results in a report of planemo or galaxy-tool-test, which printed something as well."""
    assert report.exists(), said
    return [each["data"] for each in json.loads(report.read_text())["tests"]]


def problem(result: dict) -> object:
    """What was wrong with a test; None if it succeeded."""
    if result["status"] == "success":
        return None
    return result.get("output_problems") or result.get("execution_problem") or result["status"]


# The scripts, by name, and the tools' folders that they are in.
SCRIPTS = {
    "iscc_manifest": PROJECT / "tools" / "iscc_sum" / "iscc_manifest.py",
    "iscc_pixels": PROJECT / "tools" / "iscc_sum" / "iscc_pixels.py",
    "iscc_similarity": PROJECT / "tools" / "iscc_similarity" / "iscc_similarity.py",
    "iscc_verify": PROJECT / "tools" / "iscc_verify" / "iscc_verify.py",
    "iscc_gate": PROJECT / "tools" / "iscc_verify" / "iscc_gate.py",
    "iscc_panels": PROJECT / "tools" / "iscc_sum" / "iscc_panels.py",
    "iscc_trail": PROJECT / "tools" / "iscc_sum" / "iscc_trail.py",
    "iscc_seal": PROJECT / "tools" / "iscc_verify" / "iscc_seal.py",
}
Done = subprocess.CompletedProcess


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Done]:
    """Run a script as a program, in a fresh directory: program("iscc_manifest", "a.tif", ...)."""

    def run(name: str, *arguments: object, **options: object) -> Done:
        given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 120} | options
        return subprocess.run(
            [sys.executable, SCRIPTS[name], *map(str, arguments)],
            cwd=tmp_path,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
            **given,
        )

    return run


@pytest.fixture
def script(program, tmp_path: Path, monkeypatch, capfdbinary) -> Callable[..., Done]:
    """As `program`, but in this process, unless processes are what matters (--processes)."""

    def run(name: str, *arguments: object) -> Done:
        if "--processes" in arguments:
            return program(name, *arguments)
        monkeypatch.chdir(tmp_path)
        capfdbinary.readouterr()
        status = importlib.import_module(name).main(list(map(str, arguments)))
        said = [each.decode("utf-8", "surrogateescape") for each in capfdbinary.readouterr()]
        return Done([name, *arguments], status, *said)

    return run


@pytest.fixture
def tree(tmp_path) -> Path:
    """A directory that makes the selection and order of files difficult."""
    root = tmp_path / "image.zarr"
    for name in (".zattrs", ".hidden/a", "0/10", "0/9", "0/0.0", "b", "C", "é", "d.iscc.json"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 1000)
    (root / ".isccignore").write_text("*.tmp\n")
    (root / "0" / "left.tmp").write_text("out")
    (root / "link").symlink_to(root / "b")
    (root / "linked").symlink_to(root / "0")
    return root
