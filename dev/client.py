"""A client for Galaxy's API, for demo and tests: upload, run tools and workflows, fetch outputs."""

import json
import time
from pathlib import Path

import requests

from dev.local_galaxy import Galaxy

SECONDS_BETWEEN_LOOKS = 0.3
SECONDS_FOR_A_JOB = 900
SECONDS_FOR_AN_ANSWER = 60
MOST_JOBS = 10_000

# States of an invocation in which no more jobs are created.
ENDED = ("scheduled", "completed", "failed", "cancelled")


class JobError(Exception):
    """A Galaxy job failed; the message is what the tool wrote to standard error."""


class Client:
    """A new history in a Galaxy, in which tools run.

    Datasets and collections are given as in tool inputs: {"src": ..., "id": ...}.
    """

    def __init__(self, galaxy: Galaxy, history: str):
        self.api = f"{galaxy.url}/api"
        self.session = requests.Session()
        self.session.headers["x-api-key"] = galaxy.api_key
        self.history = self.post("histories", json={"name": history})["id"]

    def get(self, path: str) -> dict:
        return self.checked(self.session.get(f"{self.api}/{path}", timeout=SECONDS_FOR_AN_ANSWER))

    def post(self, path: str, **body: object) -> dict:
        response = self.session.post(f"{self.api}/{path}", timeout=SECONDS_FOR_AN_ANSWER, **body)
        return self.checked(response)

    def checked(self, response: requests.Response) -> dict:
        if not response.ok:
            raise JobError(f"Galaxy refuses {response.url}: {response.text}")
        return response.json()

    def upload(self, name: str, content: Path | bytes, ext: str = "auto") -> dict:
        """Upload one dataset."""
        target = {"destination": {"type": "hdas"}}
        dataset = self.fetch(target, {name: content}, ext)["outputs"][0]
        return {"src": "hda", "id": dataset["id"]}

    def upload_list(self, name: str, elements: dict[str, Path | bytes]) -> dict:
        """Upload datasets as the elements of a list."""
        target = {"destination": {"type": "hdca"}, "collection_type": "list", "name": name}
        collection = self.fetch(target, elements, "auto")["output_collections"][0]
        return {"src": "hdca", "id": collection["id"]}

    def list_of(self, name: str, datasets: dict[str, dict]) -> dict:
        """Make a list of datasets in the history."""
        return self.collect(name, "list", [{"name": n, **each} for n, each in datasets.items()])

    def paired_list(self, name: str, samples: dict[str, tuple[dict, dict]]) -> dict:
        """Make a list of pairs of datasets in the history."""
        elements = [
            {
                "name": sample,
                "src": "new_collection",
                "collection_type": "paired",
                "element_identifiers": [
                    {"name": "forward", **forward},
                    {"name": "reverse", **reverse},
                ],
            }
            for sample, (forward, reverse) in samples.items()
        ]
        return self.collect(name, "list:paired", elements)

    def collect(self, name: str, kind: str, elements: list[dict]) -> dict:
        """Make a collection of a type, with elements in the form of Galaxy's API."""
        body = {
            "history_id": self.history,
            "name": name,
            "collection_type": kind,
            "element_identifiers": elements,
        }
        return {"src": "hdca", "id": self.post("dataset_collections", json=body)["id"]}

    def elements(self, collection: dict) -> dict[str, dict]:
        """The elements of a flat collection, by their identifiers."""
        elements = self.get(f"dataset_collections/{collection['id']}")["elements"]
        return {
            each["element_identifier"]: {"src": "hda", "id": each["object"]["id"]}
            for each in elements
        }

    def fetch(self, target: dict, contents: dict[str, Path | bytes], ext: str) -> dict:
        """Upload files to Galaxy, and wait until it has them."""
        target["elements"] = [{"src": "files", "name": name, "ext": ext} for name in contents]
        files = {
            f"files_{number}|file_data": c if isinstance(c, bytes) else c.read_bytes()
            for number, c in enumerate(contents.values())
        }
        payload = {"history_id": self.history, "targets": json.dumps([target])}
        response = self.post("tools/fetch", data=payload, files=files)
        self.wait(response["jobs"])
        return response

    def run(self, tool: str, **inputs: object) -> dict[str, dict]:
        """Run a tool, wait for it, and return its outputs by name."""
        return self.outputs(self.start(tool, **inputs))

    def outputs(self, started: dict) -> dict[str, dict]:
        """Wait for a tool that was started, and return its outputs by name."""
        self.wait(started["jobs"])
        return {
            output["output_name"]: {"src": "hda", "id": output["id"]}
            for output in started["outputs"]
        }

    def start(self, tool: str, **inputs: object) -> dict:
        """Start a tool; returns Galaxy's answer, with its jobs and outputs."""
        body = {"history_id": self.history, "tool_id": tool, "inputs": inputs}
        return self.post("tools", json=body)

    def wait(self, jobs: list[dict]) -> None:
        """Wait until jobs have ended. Raises JobError for the first that failed."""
        deadline = time.monotonic() + SECONDS_FOR_A_JOB
        for job in jobs:
            while (state := self.get(f"jobs/{job['id']}")["state"]) != "ok":
                if state in ("error", "deleted", "failed", "paused"):
                    raise JobError(self.get(f"jobs/{job['id']}?full=true")["stderr"])
                if time.monotonic() > deadline:
                    raise JobError(f"a job is still {state} after {SECONDS_FOR_A_JOB} s")
                time.sleep(SECONDS_BETWEEN_LOOKS)

    def import_workflow(self, path: Path) -> str:
        """Import a workflow from a file, as the web page does, and return its id."""
        file = {"archive_file": (path.name, path.read_bytes())}
        return self.post("workflows", files=file)["id"]

    def invoke(self, workflow: str, inputs: dict[str, object]) -> dict[str, dict]:
        """Run a workflow, wait for all of its jobs, and return its outputs by label.

        Raises JobError, with what the tool wrote to standard error, for the first job that fails.
        """
        invocation = self.invocation(workflow, inputs)
        outputs = invocation["outputs"] | invocation["output_collections"]
        return {label: {"src": each["src"], "id": each["id"]} for label, each in outputs.items()}

    def invocation(self, workflow: str, inputs: dict[str, object]) -> dict:
        """As `invoke`, but returns Galaxy's full description of the invocation."""
        body = {"history_id": self.history, "inputs": inputs, "inputs_by": "name"}
        # As the web page does, since tools from a Tool Shed have other ids.
        body["require_exact_tool_versions"] = False
        invocation = self.post(f"workflows/{workflow}/invocations", json=body)
        deadline = time.monotonic() + SECONDS_FOR_A_JOB
        while invocation["state"] not in ENDED:
            if time.monotonic() > deadline:
                raise JobError(f"a workflow is {invocation['state']} after {SECONDS_FOR_A_JOB} s")
            time.sleep(SECONDS_BETWEEN_LOOKS)
            invocation = self.get(f"invocations/{invocation['id']}")
        self.wait(self.get(f"jobs?invocation_id={invocation['id']}&limit={MOST_JOBS}"))
        if invocation["state"] in ("failed", "cancelled"):
            raise JobError(f"a workflow {invocation['state']}: {invocation['messages']}")
        return invocation

    def export(self, path: str, hidden: bool = True) -> bytes:
        """The RO-Crate export of an invocation or a history, as the web pages create it."""
        wanted = {"model_store_format": "rocrate.zip", "include_files": True}
        body = wanted | {"include_hidden": hidden, "include_deleted": False}
        request = self.post(f"{path}/prepare_store_download", json=body)["storage_request_id"]
        deadline = time.monotonic() + SECONDS_FOR_A_JOB
        while self.get(f"short_term_storage/{request}/ready") is not True:
            if time.monotonic() > deadline:
                raise JobError(f"an export is not ready after {SECONDS_FOR_A_JOB} s")
            time.sleep(SECONDS_BETWEEN_LOOKS)
        url = f"{self.api}/short_term_storage/{request}"
        response = self.session.get(url, timeout=SECONDS_FOR_AN_ANSWER)
        response.raise_for_status()
        return response.content

    def content(self, dataset: dict) -> bytes:
        """The bytes of a dataset."""
        url = f"{self.api}/datasets/{dataset['id']}/display"
        response = self.session.get(url, params={"raw": "true"}, timeout=SECONDS_FOR_AN_ANSWER)
        response.raise_for_status()
        return response.content
