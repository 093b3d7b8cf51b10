"""Run a script of the suite, from any directory: `python tools SUBCOMMAND ...`."""

import os
import sys
from pathlib import Path

# Not iscc_gate: outside of a workflow, `verify --on-mismatch fail` does the same.
SCRIPTS = {
    "manifest": "iscc_sum/iscc_manifest.py",
    "pixels": "iscc_sum/iscc_pixels.py",
    "panels": "iscc_sum/iscc_panels.py",
    "trail": "iscc_sum/iscc_trail.py",
    "similarity": "iscc_similarity/iscc_similarity.py",
    "verify": "iscc_verify/iscc_verify.py",
    "seal": "iscc_verify/iscc_seal.py",
}
FOLDER = Path(__file__).parent
BAD_USAGE = 2


def main() -> int:
    [_, *arguments] = sys.argv
    if not arguments:
        print(usage(), file=sys.stderr)
        return BAD_USAGE
    [subcommand, *rest] = arguments
    if subcommand in ("-h", "--help"):
        print(usage())
        return 0
    if subcommand not in SCRIPTS:
        [*most, last] = SCRIPTS
        expected = f"expected {', '.join(most)} or {last}"
        print(f"tools: {subcommand[:40]!r} is not a subcommand: {expected}", file=sys.stderr)
        return BAD_USAGE
    # The script takes the place of this process. Options of Python, such as -X utf8, come before
    # the path of this directory; after `python -m tools`, -m would be among them.
    options = [] if __package__ else sys.orig_argv[1 : -len(sys.argv)]
    script = str(FOLDER / SCRIPTS[subcommand])
    os.execv(sys.executable, [sys.executable, *options, script, *rest])  # noqa: S606


def usage() -> str:
    """The subcommands, each with the first line of its script's help."""
    import ast  # takes as long as all other imports

    lines = ["usage: python tools SUBCOMMAND ...", ""]
    for subcommand, script in SCRIPTS.items():
        help_text = ast.get_docstring(ast.parse((FOLDER / script).read_text(encoding="utf-8")))
        lines.append(f"  {subcommand:10}  {help_text.splitlines()[0]}")
    return "\n".join([*lines, "", "`python tools SUBCOMMAND --help` explains its options."])


if __name__ == "__main__":
    sys.exit(main())
