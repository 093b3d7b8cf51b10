"""Benchmarks of iscc_trail: speed of reading exports, by their bytes and by their jobs."""

import json
import zipfile
from pathlib import Path

from benchmarks.measure import MIB, PROJECT, PYTHON, compare, files, memory

SUM = PROJECT / "tools" / "iscc_sum" / "iscc_manifest.py"
TRAIL = PROJECT / "tools" / "iscc_sum" / "iscc_trail.py"
JOBS = 10_000


def all_trails(folder: Path, runs: int) -> None:
    large_datasets(folder, runs)
    many_jobs(folder, runs)


def large_datasets(folder: Path, runs: int) -> None:
    """Next to coding the same files outside the archive, and to testing the archive."""
    paths = files(folder / "large", 4, 256 * MIB)
    export = folder / "large.zip"
    write_export(export, {path.name: path.read_bytes() for path in paths}, jobs=4)
    compare(
        "An export of four datasets of 256 MiB, compressed as Galaxy does",
        {
            "iscc_trail.py": [PYTHON, TRAIL, export, "--trail", folder / "trail"],
            "iscc_manifest.py, files": [PYTHON, SUM, *paths, "--manifest", folder / "manifest"],
            "python -m zipfile -t": [PYTHON, "-m", "zipfile", "-t", export],
        },
        runs,
    )


def many_jobs(folder: Path, runs: int) -> None:
    """A chain of jobs, next to reading the same JSON."""
    export = folder / "jobs.zip"
    write_export(export, {str(each): b"%d" % each for each in range(JOBS)}, JOBS)
    read = (
        "import json, sys, zipfile\n"
        "archive = zipfile.ZipFile(sys.argv[1])\n"
        "for name in archive.namelist():\n"
        "    content = archive.read(name)\n"
        "    name.endswith('.txt') and json.loads(content)"
    )
    trail = [PYTHON, TRAIL, export, "--trail", folder / "trail"]
    compare(
        f"An export of {JOBS:,} jobs",
        {"iscc_trail.py": trail, "reading all of it": [PYTHON, "-c", read, export]},
        runs,
    )
    lineage = ["--lineage", folder / "lineage", "--picture", folder / "picture.png"]
    memory("The same, with lineage and picture", [*trail, *lineage])


def write_export(path: Path, contents: dict[str, bytes], jobs: int) -> None:
    """Write what iscc_trail reads of an export: a chain of jobs, each using the previous output."""
    datasets = [
        {"encoded_id": name, "name": name, "state": "ok", "file_name": f"datasets/{name}"}
        for name in contents
    ]
    names = list(contents)
    made = [
        {
            "encoded_id": names[number],
            "tool_id": "smooth",
            "state": "ok",
            "params": {"radius": "3"},
            "create_time": f"2026-11-28T00:00:00.{number:06}",
            "input_dataset_mapping": {"image": names[number - 1 : number]},
            "output_dataset_mapping": {"output": [names[number]]},
        }
        for number in range(jobs)
    ]
    described = {
        "export_attrs": {"galaxy_export_version": "2"},
        "datasets_attrs": datasets,
        "collections_attrs": [],
        "jobs_attrs": made,
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, values in described.items():
            archive.writestr(f"{name}.txt", json.dumps(values))
        for name, content in contents.items():
            archive.writestr(f"datasets/{name}", content)
