"""Refuse a change of the tools that keeps the version that is already published.

The main branch is what the Tool Shed has, so a branch is compared with it:

    python3 -m dev.release origin/main

Exits with status 1 and a one-sentence message if anything in the tools' directories or their macros
differs and the version is not higher.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

from dev.environments import PROJECT

# What affects a tool. Test data and .shed.yml are also published, but need no new version.
PUBLISHED = ["tools", "macros"]
MACROS = "macros/macros.xml"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("published", help="the published commit, usually a branch")
    published = parser.parse_args(argv).published
    files = changed_without_new_version(PROJECT, published)
    if files:
        now = version((PROJECT / MACROS).read_text())
        sys.exit(
            f"{', '.join(files)} changed since {published}, but the version is {now}, not a higher "
            f"one: raise @VERSION_SUFFIX@ in {MACROS}"
        )


def changed_without_new_version(project: Path, published: str) -> list[str]:
    """The files of the tools that differ from a commit, unless the version is higher.

    The comparison is with the point where the branch left that commit's history. Uncommitted
    changes count.
    """
    start = git(project, "merge-base", published, "HEAD").strip()
    files = git(project, "diff", "--name-only", start, "--", *PUBLISHED).splitlines()
    files += git(
        project, "ls-files", "--others", "--exclude-standard", "--", *PUBLISHED
    ).splitlines()
    then = version(git(project, "show", f"{start}:{MACROS}"))
    now = version((project / MACROS).read_text())
    return [] if numbers(now) > numbers(then) else files


def version(macros: str) -> str:
    """The version of the tools in a macros.xml."""
    parts = dict(re.findall(r'<token name="@(TOOL_VERSION|VERSION_SUFFIX)@">([^<]+)<', macros))
    return f"{parts['TOOL_VERSION']}+galaxy{parts['VERSION_SUFFIX']}"


def numbers(version: str) -> list[int]:
    """The numbers in a version, such as 0.1.0+galaxy2, for comparing versions."""
    return [int(number) for number in re.findall(r"\d+", version)]


def git(project: Path, *arguments: str) -> str:
    command = ["git", "-C", str(project), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
