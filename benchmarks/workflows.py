"""Time the workflows on many small datasets in the local Galaxy."""

import random
import time
from pathlib import Path

from dev.client import MOST_JOBS, Client
from dev.local_galaxy import local_galaxy
from dev.suite import WORKFLOWS

# Large enough for a distance to be meaningful.
SIZE = 24 * 1024


def all_workflows(folder: Path, runs: int) -> None:
    """Run workflows whose time depends on the number of datasets.

    Each runs once, whatever `runs`: most of the time is Galaxy's, which is not compared here.
    Nothing is written into `folder`.
    """
    with local_galaxy() as galaxy:
        client = Client(galaxy, "benchmark")
        hundred = uploaded(client, 100)
        timed(client, "fingerprint-collection", {"Collection": hundred})
        thousand = uploaded(client, 1_000)
        found = timed(client, "deduplicate-collection", {"Collection": thousand})
        given = {"Collection": thousand, "Manifest": found["Manifest"]}
        timed(client, "verify-delivery", given)


def uploaded(client: Client, count: int) -> dict:
    """A list of datasets of 24 KiB; every tenth is a copy of the one before it."""
    contents = {}
    for number in range(count):
        chance = random.Random(number - 1 if number % 10 == 9 else number)
        contents[f"{number}.bin"] = chance.randbytes(SIZE)
    start = time.monotonic()
    collection = client.upload_list(f"{count} datasets", contents)
    print(f"\nUpload of {count:,} datasets: {time.monotonic() - start:.1f} s", flush=True)
    return collection


def timed(client: Client, name: str, inputs: dict[str, dict]) -> dict[str, dict]:
    """Run a workflow; print its time, and the time that jobs of our tools ran in it.

    The rest is Galaxy's: preparing jobs, waiting for them, and inspecting their outputs.
    """
    before = {job["id"] for job in jobs_of(client)}
    start = time.monotonic()
    outputs = client.invoke(client.import_workflow(WORKFLOWS[name]), inputs)
    print(f"{name}: {time.monotonic() - start:.1f} s", flush=True)
    running: dict[str, list[float]] = {}
    for job in jobs_of(client):
        metrics = client.get(f"jobs/{job['id']}/metrics") if job["id"] not in before else []
        for metric in metrics:
            if metric["name"] == "runtime_seconds":
                running.setdefault(job["tool_id"], []).append(float(metric["raw_value"]))
    for tool, seconds in running.items():
        print(f"  {tool}: {len(seconds)} jobs, {sum(seconds):.0f} s running", flush=True)
    return outputs


def jobs_of(client: Client) -> list[dict]:
    return client.get(f"jobs?history_id={client.history}&limit={MOST_JOBS}")
