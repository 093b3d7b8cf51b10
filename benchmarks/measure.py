"""Measure whole processes or functions, in turns: medians of times, and memory."""

import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

PROJECT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
ISCC_SUM = Path(sys.executable).parent / "iscc-sum"
MIB = 1024 * 1024
SECONDS_BETWEEN_LOOKS = 0.01


def machine() -> str:
    """The processor, its cores, and the Python version."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, Python {platform.python_version()}"


def files(folder: Path, count: int, size: int) -> list[Path]:
    """Files of random bytes, all different."""
    folder.mkdir()
    paths = [folder / f"{number}.bin" for number in range(count)]
    for number, path in enumerate(paths):
        chance = random.Random(number)
        with path.open("wb") as out:
            for start in range(0, size, MIB):
                out.write(chance.randbytes(min(MIB, size - start)))
    return paths


def compare(title: str, contenders: dict[str, list[object] | Callable], runs: int) -> float:
    """Time commands or functions in turns; print the medians, and how much faster the first is.

    Returns the median of the first.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(runs):
        for name, contender in contenders.items():
            seconds[name].append(timed(contender))
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    first, *_ = medians
    print(title)
    for name, median in medians.items():
        ratio = "" if name == first else f"   {first} is {median / medians[first]:.2f} x as fast"
        print(f"  {name:26} {median:8.3f} s{ratio}", flush=True)
    print()
    return medians[first]


def timed(contender: list[object] | Callable) -> float:
    start = time.perf_counter()
    if callable(contender):
        contender()
    else:
        run(contender)
    return time.perf_counter() - start


def run(command: list[object]) -> None:
    subprocess.run([str(word) for word in command], stdout=subprocess.DEVNULL, check=True)


def memory(title: str, command: list[object], status: int = 0) -> float:
    """Print the maximum resident size of a command, and return it in MiB.

    A separate process runs and measures it. Raises CalledProcessError if it ends with another
    status.
    """
    measure = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], capture_output=True)\n"
        f"assert done.returncode == {status}, done.stderr\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    words = [str(word) for word in command]
    done = subprocess.run(
        [PYTHON, "-c", measure, *words], capture_output=True, text=True, check=True
    )
    size = int(done.stdout) / 1024
    print(f"{title}: {size:.0f} MiB at most\n", flush=True)
    return size


def memory_together(title: str, command: list[object]) -> float:
    """Print the maximum total memory of a command and its child processes; return it in MiB.

    Shared memory counts once. Raises CalledProcessError if the command fails.
    """
    process = psutil.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)
    most = 0
    while process.poll() is None:
        with suppress(psutil.Error):  # a process may have just ended
            found = [process, *process.children(recursive=True)]
            most = max(most, sum(each.memory_full_info().pss for each in found))
        time.sleep(SECONDS_BETWEEN_LOOKS)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    print(f"{title}: {most / MIB:.0f} MiB at most, all processes together\n", flush=True)
    return most / MIB
