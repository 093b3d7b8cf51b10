"""How fast the tools are beside their peers: `make bench`.

Every figure is a median of several runs, whole process against whole process, taken in turns in one
run on one machine, with the files in the page cache. What counts are the ratios: the seconds are
those of this machine and of what else it is doing.
"""

import argparse
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
ISCC_SUM = Path(sys.executable).parent / "iscc-sum"
MIB = 1024 * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="runs of each (default %(default)s)")
    runs = parser.parse_args().runs
    print(f"{machine()}; medians of {runs} runs\n")
    with tempfile.TemporaryDirectory(prefix="iscc-bench-") as name:
        folder = Path(name)
        one_large_file(folder, runs)
        eight_large_files(folder, runs)
        many_small_files(folder, runs)


def machine() -> str:
    """The processor, its cores, and the versions of what is measured."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, Python {platform.python_version()}"


def one_large_file(folder: Path, runs: int) -> None:
    [path] = files(folder / "one", 1, 1024 * MIB)
    manifest = folder / "manifest.tsv"
    compare(
        "One file of 1 GiB",
        {
            "iscc_sum.py": iscc_sum(manifest, 1, [path]),
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
            "iscc_sum.py --jobs 2": iscc_sum(folder / "manifest.tsv", 2, paths),
            "iscc_sum.py --jobs 1": iscc_sum(folder / "manifest.tsv", 1, paths),
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
            "iscc_sum.py --jobs 2": iscc_sum(manifest, 2, paths),
            "iscc_sum.py --jobs 1": iscc_sum(manifest, 1, paths),
            "iscc-sum": [ISCC_SUM, *paths],
        },
        runs,
    )
    memory("One file of 16 KiB", iscc_sum(manifest, 1, paths[:1]))
    memory("10,000 files of 16 KiB", iscc_sum(manifest, 1, paths))


def iscc_sum(manifest: Path, jobs: int, paths: list[Path]) -> list[object]:
    script = PROJECT / "tools" / "iscc_sum" / "iscc_sum.py"
    return [PYTHON, script, "--manifest", manifest, "--jobs", jobs, *paths]


def files(folder: Path, count: int, size: int) -> list[Path]:
    """Files of random bytes, no two alike."""
    folder.mkdir()
    paths = [folder / f"{number}.bin" for number in range(count)]
    for number, path in enumerate(paths):
        chance = random.Random(number)
        with path.open("wb") as out:
            for start in range(0, size, MIB):
                out.write(chance.randbytes(min(MIB, size - start)))
    return paths


def compare(title: str, commands: dict[str, list[object]], runs: int) -> None:
    """Time commands in turns; print each median, and how many times faster the first one is."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            seconds[name].append(timed(command))
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    first, *_ = medians
    print(title)
    for name, median in medians.items():
        ratio = "" if name == first else f"   {first} is {median / medians[first]:.2f} x as fast"
        print(f"  {name:22} {median:7.2f} s{ratio}", flush=True)
    print()


def timed(command: list[object]) -> float:
    start = time.perf_counter()
    run(command)
    return time.perf_counter() - start


def run(command: list[object]) -> None:
    subprocess.run([str(word) for word in command], stdout=subprocess.DEVNULL, check=True)


def memory(title: str, command: list[object]) -> None:
    """Print the largest resident size of a command, measured by a process that runs it alone."""
    measure = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    words = [str(word) for word in command]
    done = subprocess.run(
        [PYTHON, "-c", measure, *words], capture_output=True, text=True, check=True
    )
    print(f"{title}: {int(done.stdout) / 1024:.0f} MiB at most\n", flush=True)


if __name__ == "__main__":
    main()
