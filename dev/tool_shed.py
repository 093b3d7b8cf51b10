"""Run a real Tool Shed on this machine, from Galaxy's packages, for the tests of publishing."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
import yaml

from dev import processes
from dev.environments import PROJECT
from dev.local_galaxy import GALAXY_BIN, answers, database

SHED_YML = PROJECT / ".shed.yml"
SECONDS_TO_START = 120


@dataclass(frozen=True)
class ToolShed:
    """How to reach a Tool Shed: its address, and the API key of the repositories' owner."""

    url: str
    api_key: str


@contextmanager
def local_tool_shed() -> Iterator[ToolShed]:
    """Run a Tool Shed during a with-block, with the owner and categories of .shed.yml.

    Raises ServerError, with the end of its log, if it does not start.
    """
    with processes.fresh_folder("tool-shed") as data:
        port = processes.free_port()
        url = f"http://127.0.0.1:{port}"
        key = secrets.token_hex(16)
        environment = processes.bare_environment(
            TOOL_SHED_CONFIG_FILE=str(configure(data, key)),
            PATH=processes.path_with(data, GALAXY_BIN / "hg"),
        )
        uvicorn = [str(GALAXY_BIN / "uvicorn"), "--host", "127.0.0.1", "--port", str(port)]
        uvicorn += ["--factory", "tool_shed.webapp.fast_factory:factory"]
        with processes.running("Tool Shed", uvicorn, data / "tool_shed.log", environment) as server:
            processes.wait_until(
                lambda: answers(f"{url}/api/version"), [server], "the Tool Shed", SECONDS_TO_START
            )
            yield ToolShed(url, owner_key(url, key))


def configure(data: Path, bootstrap_key: str) -> Path:
    """Write the Tool Shed's configuration into its data directory; return its path."""
    (data / "new").mkdir()
    settings = {
        "database_connection": database(data / "tool_shed.sqlite"),
        "data_dir": str(data),
        "file_path": str(data / "repositories"),
        "new_file_path": str(data / "new"),
        "hgweb_config_dir": str(data),
        "hgweb_repo_prefix": "repos/",
        "whoosh_index_dir": str(data / "index"),
        "admin_users": "admin@example.org",
        "bootstrap_admin_api_key": bootstrap_key,
        "id_secret": secrets.token_hex(16),
        "smtp_server": "localhost:1",
        "email_from": "admin@example.org",
    }
    config = data / "tool_shed.yml"
    config.write_text(yaml.safe_dump({"tool_shed": settings}, sort_keys=False))
    return config


def owner_key(url: str, bootstrap_key: str) -> str:
    """Create the owner and the categories named in .shed.yml; return the owner's API key."""
    shed = yaml.safe_load(SHED_YML.read_text())
    admin = {"x-api-key": bootstrap_key}
    for category in shed["categories"]:
        body = {"name": category, "description": category}
        requests.post(
            f"{url}/api/categories", headers=admin, json=body, timeout=60
        ).raise_for_status()
    owner, password = f"{shed['owner']}@example.org", secrets.token_hex(16)
    user = {"username": shed["owner"], "email": owner, "password": password}
    requests.post(f"{url}/api/users", headers=admin, json=user, timeout=60).raise_for_status()
    answer = requests.get(f"{url}/api/authenticate/baseauth", auth=(owner, password), timeout=60)
    answer.raise_for_status()
    return answer.json()["api_key"]
