"""Compare the speed of the tools with similar programs: `make bench`.

Every figure is the median of several runs, taken in turns on one machine, with the files in the
page cache. Only ratios are meaningful: the seconds depend on the machine and its load.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.measure import machine
from benchmarks.panels import all_panels
from benchmarks.pixels import all_pixels
from benchmarks.similarity import all_comparisons
from benchmarks.sums import all_sums
from benchmarks.trail import all_trails
from benchmarks.verify import all_verifications
from benchmarks.workflows import all_workflows

PARTS = {
    "sums": all_sums,
    "pixels": all_pixels,
    "panels": all_panels,
    "trail": all_trails,
    "similarity": all_comparisons,
    "verify": all_verifications,
    "workflows": all_workflows,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="runs of each (default %(default)s)")
    parser.add_argument("parts", nargs="*", choices=PARTS, help="all of them if none is named")
    args = parser.parse_args()
    print(f"{machine()}; medians of {args.runs} runs\n")
    for part in args.parts or PARTS:
        with tempfile.TemporaryDirectory(prefix="iscc-bench-") as name:
            PARTS[part](Path(name), args.runs)


if __name__ == "__main__":
    main()
