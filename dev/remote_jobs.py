"""Run a real remote job server on this machine: Pulsar, for the tests of remote jobs.

It has its own directory and environment, and no access to the project: a job only gets what Galaxy
sends. It finds a tool's requirements by name and version below .venv/packages.
"""

import secrets
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from dev import environments, processes
from dev.local_galaxy import LOCAL_JOBS, answers

PULSAR_BIN = environments.VENV / "pulsar" / "bin"
SECONDS_TO_START = 60


@dataclass(frozen=True)
class Pulsar:
    """How to reach a Pulsar: its address, and its access token."""

    url: str
    token: str


@contextmanager
def local_pulsar() -> Iterator[Pulsar]:
    """Run a Pulsar for the duration of a with-block.

    Raises ServerError, with the end of its log, if it does not start.
    """
    with processes.fresh_folder("pulsar") as data:
        port = processes.free_port()
        pulsar = Pulsar(f"http://127.0.0.1:{port}", secrets.token_hex(16))
        command = configure(data, port, pulsar)
        with processes.running(
            "Pulsar", command, data / "pulsar.log", processes.bare_environment()
        ) as server:
            ready = f"{pulsar.url}/jobs/0/status?private_token={pulsar.token}"
            processes.wait_until(lambda: answers(ready), [server], "Pulsar", SECONDS_TO_START)
            yield pulsar


def jobs_of(tools: Sequence[Path], pulsar: Pulsar) -> dict:
    """Job configuration as in job_conf.yml: these tools run on Pulsar, others locally."""
    return {
        "runners": LOCAL_JOBS["runners"]
        | {"pulsar": {"load": "galaxy.jobs.runners.pulsar:PulsarRESTJobRunner"}},
        "execution": {
            "default": "local",
            "environments": LOCAL_JOBS["execution"]["environments"]
            | {
                "pulsar": {
                    "runner": "pulsar",
                    "url": pulsar.url,
                    "private_token": pulsar.token,
                    "default_file_action": "copy",
                    "dependency_resolution": "remote",
                    # Otherwise, outputs come back empty.
                    "outputs_to_working_directory": False,
                }
            },
        },
        "tools": [{"id": tool.stem, "environment": "pulsar"} for tool in tools],
    }


def configure(data: Path, port: int, pulsar: Pulsar) -> list[str]:
    """Let Pulsar write its configuration into its data directory; return its start command."""
    where = ["--directory", str(data), "--host", "127.0.0.1", "--port", str(port), "--force"]
    subprocess.run(
        [PULSAR_BIN / "pulsar-config", *where, "--private_token", pulsar.token],
        check=True,
        capture_output=True,
    )
    resolvers = data / "dependency_resolvers.xml"
    environments.write_dependency_resolvers(resolvers)
    app = yaml.safe_load((data / "app.yml").read_text()) | {
        "staging_directory": str(data / "jobs"),
        "persistence_directory": str(data / "persisted"),
        "tool_dependency_dir": str(data / "dependencies"),
        "dependency_resolvers_config_file": str(resolvers),
    }
    (data / "app.yml").write_text(yaml.safe_dump(app))
    return [str(PULSAR_BIN / "pulsar-serve"), str(data / "server.ini")]
