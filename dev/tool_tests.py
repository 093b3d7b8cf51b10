"""Run some of a tool's tests in a running Galaxy; galaxy-tool-test runs one of them or all.

python -m dev.tool_tests 0 3 5 -u URL -k KEY -t TOOL -j REPORT
"""

import sys
from itertools import takewhile

from galaxy.tool_util.verify import script


def main(argv: list[str]) -> None:
    chosen = [int(number) for number in takewhile(str.isdigit, argv)]
    options = script.arg_parser().parse_args(argv[len(chosen) :])
    script.run_tests(options, test_filters=[lambda test: test.test_index not in chosen])


if __name__ == "__main__":
    main(sys.argv[1:])
