"""Names that cause problems, a way to read tables, and what not every system has."""

import sys

import pytest

import workers

NEEDS_FORK = pytest.mark.skipif(
    workers.START_METHOD != "fork", reason="a spawned worker does not have what is patched here"
)
NEEDS_NAMES_OF_BYTES = pytest.mark.skipif(
    sys.platform == "darwin", reason="names that are no text cannot be given to files here"
)

# Two of them are equal.
HOSTILE = {
    "50% done.tif": b"a" * 30_000,
    "it's.tif": b"b" * 30_000,
    'q"uote.tif': b"c" * 30_000,
    "$(touch x).tif": b"d" * 30_000,
    "ünï.tif": b"e" * 30_000,
    "`touch y`; touch z & {0} \\n $HOME *.tif": b"f" * 30_000,
    " blanks at both ends ": b"g" * 30_000,
    "-o": b"a" * 30_000,
    "#name": b"h" * 30_000,
    # Galaxy's own upload fails for names of more than about 230 characters.
    "x" * 200 + ".tif": b"i" * 30_000,
}


def column(table: bytes, *names: str) -> list[tuple[str, ...]]:
    """Some columns of a tab-separated table, row by row, without the header."""
    rows = [line.split("\t") for line in table.decode().rstrip("\n").split("\n")]
    chosen = [rows[0].index(name) for name in names]
    return [tuple(row[each] for each in chosen) for row in rows[1:]]
