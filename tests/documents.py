"""Read tables and blocks of the documentation, for tests that compare it with the facts."""

import re
from pathlib import Path

from dev.environments import PROJECT

README = PROJECT / "README.md"
DOCS = PROJECT / "docs"
ADMINISTRATORS = DOCS / "administrators.md"
COMMAND_LINE = DOCS / "command-line.md"
DEMO = DOCS / "demo.md"
DISTANCES = DOCS / "distances.md"
LIMITS = DOCS / "limits.md"
MANIFEST = DOCS / "manifest.md"
PIXELS = DOCS / "pixels.md"
PRIVACY = DOCS / "privacy.md"
SEAL = DOCS / "seal.md"
SIMILARITY = DOCS / "similarity.md"
TOURS = sorted((DOCS / "tours").glob("*.yml"))
TRAIL = DOCS / "trail.md"
TUTORIAL = DOCS / "tutorial.md"
TUTORIAL_FIGURE = DOCS / "tutorial-figure.md"

# A number in running text: not part of a word or a version.
NUMBER = re.compile(r"(?<![\w.])(?:\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?)(?!\w)")


def labelled_tables(path: Path) -> dict[str, list[list[str]]]:
    """The tables of a document that a comment names, <!-- like this -->, as rows, header first."""
    found = re.findall(r"^<!-- (\w+) -->\n((?:\|.*\n)+)", path.read_text(), re.M)
    return {
        label: [cells(line) for line in table.splitlines() if not line.startswith("|--")]
        for label, table in found
    }


def numbers(path: Path, label: str) -> list[list[str]]:
    """The numbers in each row of a labelled table, without its header."""
    return [NUMBER.findall(" ".join(row)) for row in labelled_tables(path)[label][1:]]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def columns(output: bytes, names: list[str]) -> list[list[str]]:
    """Some columns of a tool's output table, with their header."""
    rows = [line.split("\t") for line in output.decode().rstrip("\n").split("\n")]
    rows[0][0] = rows[0][0].lstrip("#")
    chosen = [rows[0].index(name) for name in names]
    return [[row[column] for column in chosen] for row in rows]


def abridged(rows: list[list[str]], as_in: list[list[str]]) -> list[list[str]]:
    """Rows with the same cells abridged as in a document, where "…" stands."""
    return [
        [
            cell[: len(pattern) - 1] + "…" if pattern.endswith("…") else cell
            for cell, pattern in zip(row, patterns, strict=True)
        ]
        for row, patterns in zip(rows, as_in, strict=True)
    ]


def code_blocks(path: Path, language: str) -> list[str]:
    """The contents of code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(), re.M | re.S)
