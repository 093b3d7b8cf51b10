"""Benchmarks of iscc_verify: speed of checking datasets."""

import time
from pathlib import Path

from benchmarks.measure import (
    ISCC_SUM,
    MIB,
    PROJECT,
    PYTHON,
    compare,
    files,
    memory,
    run,
    timed,
)
from benchmarks.similarity import planted, write_manifest

SUM = PROJECT / "tools" / "iscc_sum" / "iscc_manifest.py"
VERIFY = PROJECT / "tools" / "iscc_verify" / "iscc_verify.py"


def all_verifications(folder: Path, runs: int) -> None:
    checked(folder, "Eight files of 128 MiB", files(folder / "eight", 8, 128 * MIB), runs)
    checked(folder, "10,000 files of 16 KiB", files(folder / "many", 10_000, 16 * 1024), runs)
    a_million_lines(folder)


def checked(folder: Path, title: str, paths: list[Path], runs: int) -> None:
    """Check files against their manifest, next to coding them again and to `iscc-sum -c`."""
    manifest, checksums, report = folder / "manifest.tsv", folder / "checksums", folder / "report"
    run([PYTHON, SUM, "--manifest", manifest, "--checksums", checksums, "--processes", 2, *paths])
    verify = [PYTHON, VERIFY, "--manifest", manifest, "--report", report, "--processes", 2, *paths]
    compare(
        f"{title}, checked",
        {
            "iscc_verify.py, 2 processes": [*verify, "--on-mismatch", "fail"],
            "iscc_sum.py, 2 processes": [
                PYTHON,
                SUM,
                "--manifest",
                folder / "m",
                "--processes",
                2,
                *paths,
            ],
            "iscc-sum -c": [ISCC_SUM, "-c", checksums],
        },
        runs,
    )


def a_million_lines(folder: Path) -> None:
    """A manifest of many absent datasets, and 100 that are present but have changed."""
    manifest = folder / "million.tsv"
    write_manifest(manifest, planted(1_000_000))
    paths = []
    for number, path in enumerate(files(folder / "few", 100, 20_000)):
        paths.append(path.rename(path.with_name(f"image {number}.tif")))
    command = [PYTHON, VERIFY, "--manifest", manifest, "--report", folder / "report", *paths]
    start = time.perf_counter()
    memory("A manifest of 1,000,000 lines against 100 datasets", command)
    print(f"  {time.perf_counter() - start:.1f} s; once more {timed(command):.1f} s\n")
