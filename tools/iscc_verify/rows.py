"""The entries of a long table, by column. Few of a million lines concern the datasets.

Names that the audit may match have the same flat name or the same stem (`audit.KEYS`). So if a line
has neither in common with a dataset, nor the beginning of its Instance-Code, nor its name with any
other line, no dataset can be paired with it, and it changes no other finding: it is MISSING. Such
lines are set apart. Everything that is unusual is left to `listing`.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np

import columns
import manifest
from audit import MISSING, Finding, flat_name, stem
from columns import NO_SIZE, Columns
from listing import MOST_WITHOUT_ENTRY, Collector, Invalid, Listed, Listing
from manifest import Entry
from messages import InputError, explaining

INSTANCE = 2  # the word of an entry with which its Instance-Code begins
WORD_DIGITS = slice(4, 20)  # of the same word, in a datahash
ROWS_AT_ONCE = 10_000
LINE_OF_REPORT = "\t".join(
    map(manifest.written, Finding("%s", MISSING, line="%s", expected="%s")[:-1])
)
LINE_OF_REPORT += "\n"


@dataclass(frozen=True)
class Rows:
    """Some of the entries of a table.

    columns   all entries
    lines     int64, shape (n,): the lines that they are in, ascending
    chosen    int64: the places of some of them, ascending
    """

    columns: Columns
    lines: np.ndarray
    chosen: np.ndarray

    def __len__(self) -> int:
        return len(self.chosen)

    def only(self, which: np.ndarray | slice) -> "Rows":
        return Rows(self.columns, self.lines, self.chosen[which])

    def split(self, datasets: Sequence[Entry], others: Sequence[str]) -> tuple["Rows", "Rows"]:
        """The entries that may concern datasets, and those that are MISSING for certain.

        `others` are the names in all other lines of the manifest.
        """
        names = self.columns.names
        flat_names = {flat_name(each.name) for each in datasets}
        stems = {stem(each.name) for each in datasets}
        concern = np.array(
            [stem(name) in stems or flat_name(name) in flat_names for name in names], bool
        )
        instances = [int(each.datahash[WORD_DIGITS], 16) for each in datasets]
        concern |= np.isin(self.columns.words[:, INSTANCE], np.array(instances, np.uint64))
        # Equal names have equal hashes. If other names do, too, nothing is lost.
        hashes = np.fromiter(map(hash, chain(names, others)), np.int64)
        ordered = np.sort(hashes)
        repeated = ordered[1:][ordered[1:] == ordered[:-1]]
        concern |= np.isin(hashes[: len(names)], repeated)
        return self.only(concern), self.only(~concern)

    def listed(self) -> list[Listed]:
        """The entries as they are when they are read line by line."""
        starts = range(0, len(self), ROWS_AT_ONCE)
        return [each for start in starts for each in self.listed_from(start)]

    def listed_from(self, start: int) -> Iterator[Listed]:
        """The next few entries from a place on."""
        chosen = self.chosen[start : start + ROWS_AT_ONCE]
        columns = self.columns.take(chosen)
        every = np.arange(len(chosen))
        for line, name, code, size, datahash, pixels in zip(
            self.lines[chosen].tolist(),
            columns.names,
            columns.isccs(every),
            columns.sizes.tolist(),
            columns.datahashes(every),
            columns.pixels,
            strict=True,
        ):
            known = None if size == NO_SIZE else size
            yield Listed(line, name, code, known, datahash, pixels)

    def first_missing(self, count: int) -> list[Finding]:
        """The findings for the first of these entries, as MISSING."""
        return [
            Finding(each.name, MISSING, line=each.line, expected=each.expected)
            for each in self.only(np.s_[:count]).listed()
        ]

    def missing_lines(self, above: int = 0, below: int | None = None) -> Iterator[str]:
        """The lines of a report for the entries between two lines, as MISSING."""
        lines = self.lines[self.chosen]
        first = int(np.searchsorted(lines, above))
        end = len(lines) if below is None else int(np.searchsorted(lines, below))
        for start in range(first, end, ROWS_AT_ONCE):
            some = self.chosen[start : min(start + ROWS_AT_ONCE, end)]
            names = [self.columns.names[row] for row in some.tolist()]
            # Rows have no character that needs an escape, except for # at the beginning.
            names = [f"\\{name}" if name.startswith("#") else name for name in names]
            codes = self.columns.isccs(some)
            for fields in zip(names, self.lines[some].tolist(), codes, strict=True):
                yield LINE_OF_REPORT % fields


class LongListing(NamedTuple):
    """A `Listing` of a long table: its rows, and the entries in `unusual` lines."""

    unusual: list[Listed]
    invalid: list[Invalid]
    rows: Rows

    def are_of(self, kinds: set[bool]) -> bool:
        pixels = chain(self.rows.columns.pixels, (each.pixels for each in self.unusual))
        return {each is not None for each in pixels} <= kinds

    def spelled_out(self) -> Listing:
        entries = sorted([*self.unusual, *self.rows.listed()], key=attrgetter("line"))
        return Listing(entries, self.invalid)

    def set_apart(self, datasets: Sequence[Entry]) -> tuple[Listing, Rows | None]:
        others = [each.name for each in (*self.unusual, *self.invalid) if each.name is not None]
        concerning, missing = self.rows.split(datasets, others)
        # Rows keep all columns, which are large.
        return self._replace(rows=concerning).spelled_out(), missing if len(missing) else None


def read(path: Path, name: str) -> LongListing | None:
    """Read a table that begins with a header; None if `listing.read` has to, or has to say why not.

    That is the case for a file with an error, or one that does not seem to be a manifest.
    """
    collector = Collector(name)
    numbers, parts = [np.zeros(0, np.int64)], []
    first = math.inf  # the first line with an entry
    with suppress(InputError), explaining("read", name), path.open("rb") as stream:
        for found, alike, _ in columns.read_blocks(stream, collector):
            numbers.append(found)
            parts.append(alike)
            unusual = (each.line for each in collector.entries[:1])
            first = min([first, *found[:1].tolist(), *unusual])
            wrong = collector.invalid[MOST_WITHOUT_ENTRY - 1 :]
            if wrong and wrong[0].line < first:
                return None
        lines = np.concatenate(numbers)
        if len(lines):
            rows = Rows(Columns.join(parts), lines, np.arange(len(lines)))
            return LongListing(collector.entries, collector.invalid, rows)
    return None
