"""The workflows on many small datasets: how long they take in the local Galaxy, and at what."""

import random
import time
from pathlib import Path

from dev.client import MOST_JOBS, Client
from dev.local_galaxy import local_galaxy
from dev.suite import WORKFLOWS

# Large enough for a distance to mean something.
SIZE = 24 * 1024


def all_workflows(folder: Path, runs: int) -> None:
    """Those whose time depends on the number of datasets, once, whatever `runs`: Galaxy's part of
    the time is by far the larger, and not ours to compare. Nothing is put into `folder`."""
    with local_galaxy() as galaxy:
        client = Client(galaxy, "benchmark")
        hundred = uploaded(client, 100)
        timed(client, "fingerprint-collection", {"Collection": hundred})
        thousand = uploaded(client, 1_000)
        found = timed(client, "deduplicate-collection", {"Collection": thousand})
        given = {"Collection": thousand, "Manifest": found["Manifest"]}
        timed(client, "verify-delivery", given)


def uploaded(client: Client, count: int) -> dict:
    """A list of datasets of 24 KiB, of which every tenth is a copy of the one before it."""
    contents = {}
    for number in range(count):
        chance = random.Random(number - 1 if number % 10 == 9 else number)
        contents[f"{number}.bin"] = chance.randbytes(SIZE)
    start = time.monotonic()
    collection = client.upload_list(f"{count} datasets", contents)
    print(f"\nUpload of {count:,} datasets: {time.monotonic() - start:.1f} s", flush=True)
    return collection


def timed(client: Client, name: str, inputs: dict[str, dict]) -> dict[str, dict]:
    """Run a workflow; print how long it took, and how long the jobs of our tools ran in it.

    The rest is Galaxy's: it prepares jobs, waits for them, and looks into what they have written.
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
