"""Benchmarks of iscc_sum: speed of coding datasets."""

from pathlib import Path

from benchmarks.measure import ISCC_SUM, MIB, PROJECT, PYTHON, compare, files, memory


def all_sums(folder: Path, runs: int) -> None:
    one_large_file(folder, runs)
    eight_large_files(folder, runs)
    many_small_files(folder, runs)


def one_large_file(folder: Path, runs: int) -> None:
    [path] = files(folder / "one", 1, 1024 * MIB)
    manifest = folder / "manifest.tsv"
    compare(
        "One file of 1 GiB",
        {
            "iscc_manifest.py": iscc_sum(manifest, 1, [path]),
            "iscc-sum": [ISCC_SUM, path],
        },
        runs,
    )
    memory("One file of 1 GiB", iscc_sum(manifest, 1, [path]))


def eight_large_files(folder: Path, runs: int) -> None:
    paths = files(folder / "eight", 8, 128 * MIB)
    compare(
        "Eight files of 128 MiB",
        {
            "iscc_sum.py --processes 2": iscc_sum(folder / "manifest.tsv", 2, paths),
            "iscc_sum.py --processes 1": iscc_sum(folder / "manifest.tsv", 1, paths),
            "iscc-sum": [ISCC_SUM, *paths],
            "sha256sum": ["sha256sum", *paths],
            "md5sum": ["md5sum", *paths],
        },
        runs,
    )


def many_small_files(folder: Path, runs: int) -> None:
    paths = files(folder / "many", 10_000, 16 * 1024)
    manifest = folder / "manifest.tsv"
    compare(
        "10,000 files of 16 KiB",
        {
            "iscc_sum.py --processes 2": iscc_sum(manifest, 2, paths),
            "iscc_sum.py --processes 1": iscc_sum(manifest, 1, paths),
            "iscc-sum": [ISCC_SUM, *paths],
            "sha256sum": ["sha256sum", *paths],
        },
        runs,
    )
    memory("One file of 16 KiB", iscc_sum(manifest, 1, paths[:1]))
    memory("10,000 files of 16 KiB", iscc_sum(manifest, 1, paths))


def iscc_sum(manifest: Path, processes: int, paths: list[Path]) -> list[object]:
    script = PROJECT / "tools" / "iscc_sum" / "iscc_manifest.py"
    return [PYTHON, script, "--manifest", manifest, "--processes", processes, *paths]
