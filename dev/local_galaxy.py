"""Run a real Galaxy on this machine: `make serve` for a person, a context manager for others.

Galaxy is installed from its packages (.venv/galaxy), with its web client and a Celery worker. It
only listens on loopback, and keeps its data in a fresh directory that is removed at the end. It
serves the suite's tools and Galaxy's own collection tools, and finds the requirements of tools
below .venv/packages, by name and version.
"""

import argparse
import secrets
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import quoteattr

import requests
import yaml

from dev import environments, processes
from dev.suite import TOOLS

GALAXY_BIN = environments.VENV / "galaxy" / "bin"

# Galaxy's command with two changes, which make it start sooner: garbage is collected more rarely
# while a million permanent objects are created, and the description of its API is only generated on
# request.
WEB = """
import gc
gc.set_threshold(100_000, 50, 1000)
import galaxy.webapps.galaxy.fast_app
galaxy.webapps.galaxy.fast_app.include_legacy_openapi = lambda app, galaxy: None
import galaxy.webapps.galaxy.script
galaxy.webapps.galaxy.script.main()
"""

# Celery's command with a change: a database as broker is polled ten times a second instead of once,
# for which there is no setting. Every job depends on it, for uploads and metadata. Galaxy does
# these in four processes, forked from one that imports Galaxy in advance.
CELERY = """
import multiprocessing.forkserver
multiprocessing.set_forkserver_preload(["galaxy.celery.tasks", "galaxy.metadata.set_metadata"])
multiprocessing.forkserver.ensure_running()
import kombu.transport.sqlalchemy
import celery.__main__
kombu.transport.sqlalchemy.Transport.polling_interval = 0.1
celery.__main__.main()
"""

ADMIN = "admin@example.org"
PREFERRED_PORT = 8080
SECONDS_TO_START = 300

# In the format of job_conf.yml: local, with more jobs than cores, as most of them mostly wait.
LOCAL_JOBS = {
    "runners": {"local": {"load": "galaxy.jobs.runners.local:LocalJobRunner", "workers": 4}},
    "execution": {
        "default": "local",
        "environments": {"local": {"runner": "local", "local_slots": 2}},
    },
}

# Tools of every Galaxy that our workflows use, or that our lists are made for.
GALAXY_TOOLS = {
    "Get Data": ["data_source/upload.xml"],
    "Collection Operations": [
        "${model_tools_path}/build_list.xml",
        "${model_tools_path}/flatten_collection.xml",
        "${model_tools_path}/filter_from_file.xml",
        "${model_tools_path}/filter_failed_collection.xml",
        "${model_tools_path}/keep_success_collection.xml",
        "${model_tools_path}/relabel_from_file.xml",
        "${model_tools_path}/tag_collection_from_file.xml",
        "${model_tools_path}/extract_dataset.xml",
        "${model_tools_path}/apply_rules.xml",
    ],
    "Text Manipulation": ["filters/catWrapper.xml", "stats/filtering.xml"],
}


@dataclass(frozen=True)
class Galaxy:
    """How to reach a Galaxy: its address, and its administrator's API key."""

    url: str
    api_key: str


class Settings(NamedTuple):
    """The settings of one run of Galaxy."""

    data: Path  # a fresh directory
    port: int
    tools: Sequence[Path]
    tool_shed: str | None  # address of a Tool Shed to install from
    jobs: dict  # in the format of job_conf.yml
    bootstrap_key: str  # for access before there is a user


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=PREFERRED_PORT, help="where to listen")
    try:
        with local_galaxy(port=parser.parse_args(argv).port) as galaxy:
            print(f"\nGalaxy is at {galaxy.url} (you are {ADMIN}, its administrator).")
            print(f"The key to its API is {galaxy.api_key}.")
            print("Ctrl-C stops it and removes its data.", flush=True)
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        print("\nGalaxy has stopped.")
    except processes.ServerError as error:
        sys.exit(str(error))


@contextmanager
def local_galaxy(
    port: int = 0,
    tools: Sequence[Path] = TOOLS,
    tool_shed: str | None = None,
    jobs: dict = LOCAL_JOBS,
    name: str = "galaxy",
) -> Iterator[Galaxy]:
    """Run a Galaxy, with the suite's tools or others, for the duration of a with-block.

    `port` is used if it is free, otherwise any free one. `tool_shed` is the address of a Tool Shed
    from which tools may be installed, `jobs` is in the format of job_conf.yml, and `name` is the
    name of the directory with its logs. Raises ServerError, with the relevant end of the log, if
    Galaxy does not start.
    """
    with processes.fresh_folder(name) as data:
        key = secrets.token_hex(16)
        settings = Settings(data, processes.free_port(port), tools, tool_shed, jobs, key)
        with started(settings) as galaxy:
            yield galaxy


@contextmanager
def started(settings: Settings) -> Iterator[Galaxy]:
    """Configure Galaxy, start it and its Celery worker, and wait until both are ready."""
    url = f"http://127.0.0.1:{settings.port}"
    environment = processes.bare_environment(
        GALAXY_CONFIG_FILE=str(configure(settings, url)),
        GALAXY_CONFIG_SINGLE_USER=ADMIN,
        PATH=processes.path_with(settings.data, GALAXY_BIN / "hg"),  # to install from a Tool Shed
    )
    python = str(GALAXY_BIN / "python")
    web = [python, "-c", WEB, "--bind", f"127.0.0.1:{settings.port}"]
    celery = [python, "-c", CELERY]
    celery += ["--app", "galaxy.celery", "worker", "--loglevel", "INFO"]
    celery += ["--concurrency", "4", "--pool", "threads"]
    celery += ["--queues", "celery,galaxy.internal,galaxy.external"]
    print("Starting Galaxy; this takes about a minute.", flush=True)
    start = time.monotonic()
    with (
        processes.running("Galaxy", web, settings.data / "galaxy.log", environment) as web_server,
        processes.running("Celery", celery, settings.data / "celery.log", environment) as worker,
    ):
        servers = [worker, web_server]
        for name, ready in {
            "Galaxy": lambda: answers(f"{url}/api/version"),
            "Celery": lambda: " ready." in worker.log.read_text(errors="replace"),
        }.items():
            processes.wait_until(ready, servers, name, SECONDS_TO_START)
        galaxy = Galaxy(url, administrator_key(url, settings.bootstrap_key))
        print(f"Galaxy is ready after {time.monotonic() - start:.0f} s.", flush=True)
        try:
            yield galaxy
        finally:
            # Celery's remaining work is useless, and an orderly exit takes it 7 s.
            processes.kill(worker.process)


def administrator_key(url: str, bootstrap_key: str) -> str:
    """Create the administrator in Galaxy, and get an API key for this user."""
    header = {"x-api-key": bootstrap_key}
    user = requests.post(
        f"{url}/api/users", headers=header, json={"remote_user_email": ADMIN}, timeout=60
    )
    user.raise_for_status()
    key = requests.post(f"{url}/api/users/{user.json()['id']}/api_key", headers=header, timeout=60)
    key.raise_for_status()
    return key.json()


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


def configure(settings: Settings, url: str) -> Path:
    """Write Galaxy's configuration into its data directory; return the path of the main file."""
    data = settings.data
    (data / "tool_conf.xml").write_text(tool_conf(settings.tools))
    environments.write_dependency_resolvers(data / "dependency_resolvers.xml")
    (data / "container_resolvers.xml").write_text("<containers_resolvers/>")
    (data / "tool_data_tables.xml").write_text("<tables/>")
    shed = (
        f"<tool_shed name='local' url={quoteattr(settings.tool_shed)}/>"
        if settings.tool_shed
        else ""
    )
    (data / "tool_sheds.xml").write_text(f"<tool_sheds>{shed}</tool_sheds>")
    # Not files: Celery's transport may read them while they are being written.
    broker = f"sqlalchemy+{database(data / 'broker.sqlite')}"
    galaxy = {
        "data_dir": str(data),
        "database_connection": database(data / "universe.sqlite"),
        "admin_users": ADMIN,
        "bootstrap_admin_api_key": settings.bootstrap_key,
        "galaxy_infrastructure_url": url,
        "tool_config_file": str(data / "tool_conf.xml"),
        "tool_sheds_config_file": str(data / "tool_sheds.xml"),
        "dependency_resolvers_config_file": str(data / "dependency_resolvers.xml"),
        "tour_config_dir": str(environments.PROJECT / "docs" / "tours"),
        "tool_test_data_directories": str(environments.PROJECT / "test-data"),
        # Without resolvers that would access the Internet.
        "container_resolvers_config_file": str(data / "container_resolvers.xml"),
        "tool_data_table_config_path": str(data / "tool_data_tables.xml"),
        "involucro_auto_init": False,
        "conda_auto_init": False,
        "conda_auto_install": False,
        # Uploads and metadata in a worker that has imported Galaxy, not in a new process each. Not
        # "extended_celery": with it, a failed job is "ok" for a moment.
        "enable_celery_tasks": True,
        "metadata_strategy": "directory_celery",
        "amqp_internal_connection": broker,
        "celery_conf": {
            "broker_url": broker,
            "result_backend": f"db+{database(data / 'results.sqlite')}",
        },
        "outputs_to_working_directory": True,
        "object_store_store_by": "uuid",
        "job_config": settings.jobs,
        "job_handler_monitor_sleep": 0.2,
        "job_runner_monitor_sleep": 0.2,
        "workflow_monitor_sleep": 0.2,
    }
    config = data / "galaxy.yml"
    config.write_text(yaml.safe_dump({"galaxy": galaxy}, sort_keys=False))
    return config


def database(path: Path) -> str:
    """The address of a new database in a file, for SQLAlchemy.

    Whoever finds it locked waits for a minute. With the usual 5 s, Celery loses messages, and
    Galaxy loses jobs, when the disk is busy. Readers do not lock it (WAL, a permanent setting of
    the file).
    """
    with closing(sqlite3.connect(path)) as new:
        new.execute("PRAGMA journal_mode = WAL")
    return f"sqlite:///{path}?isolation_level=IMMEDIATE&timeout=60"


def tool_conf(tools: Sequence[Path]) -> str:
    """Galaxy's list of tools: ours first, by absolute path, then those of every Galaxy."""
    sections = {"ISCC": [str(path) for path in tools]} | GALAXY_TOOLS
    lines = ["<toolbox>"]
    for number, (name, files) in enumerate(sections.items()):
        lines.append(f'<section id="section{number}" name={quoteattr(name)}>')
        lines += [f"<tool file={quoteattr(file)}/>" for file in files]
        lines.append("</section>")
    lines.append("</toolbox>")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
