"""The entries of a long table, by column. Few of a million lines concern the datasets.

An entry concerns none of them if its flat name, its stem and the beginning of its Instance-Code are
not those of a dataset, and no other line has its name. It is MISSING then, whatever else the audit
finds, so the audit need not see it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np

import columns
from audit import MISSING, Finding, flat_name, stem
from columns import NO_SIZE, Columns
from listing import MOST_WITHOUT_ENTRY, Collector, Invalid, Listed, Listing
from manifest import Entry
from messages import explaining

INSTANCE = 2  # the word of an entry with which its Instance-Code begins
WORD_DIGITS = slice(4, 20)  # of the same word, in a datahash
ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Rows:
    """Some of the entries of a table.

    columns   all entries
    lines     int64, shape (n,): the lines that they are in, ascending
    some      int64: the places of those that are meant, ascending
    """

    columns: Columns
    lines: np.ndarray
    some: np.ndarray

    def __len__(self) -> int:
        return len(self.some)

    def only(self, which: np.ndarray) -> "Rows":
        return Rows(self.columns, self.lines, self.some[which])

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
        columns = self.columns.take(self.some)
        return [
            Listed(line, name, code, None if size == NO_SIZE else size, datahash, pixels)
            for line, name, code, size, datahash, pixels in zip(
                self.lines[self.some].tolist(),
                columns.names,
                columns.isccs(np.arange(len(self))),
                columns.sizes.tolist(),
                columns.datahashes(np.arange(len(self))),
                columns.pixels,
                strict=True,
            )
        ]

    def first_missing(self, count: int) -> list[Finding]:
        """The findings for the first of these entries if all of them are MISSING."""
        return [
            Finding(each.name, MISSING, line=each.line, expected=each.expected)
            for each in self.only(np.s_[:count]).listed()
        ]

    def missing_lines(self, above: int = 0, below: float = np.inf) -> Iterator[str]:
        """The lines of a report on the entries between two lines, all MISSING."""
        lines = self.lines[self.some]
        first, end = np.searchsorted(lines, [above, below], side="right")
        for start in range(first, end, ROWS_AT_ONCE):
            some = self.some[start : min(start + ROWS_AT_ONCE, end)]
            names = [self.columns.names[row] for row in some.tolist()]
            names = [f"\\{name}" if name.startswith("#") else name for name in names]
            found = zip(names, self.lines[some].tolist(), self.columns.isccs(some), strict=True)
            for name, line, code in found:
                yield f"{name}\t{MISSING}\t\t\t\t\t{line}\t{code}\t\n"


class LongListing(NamedTuple):
    """A `listing.Listing` of which most entries are in `rows`; `entries` are in unusual lines."""

    entries: list[Listed]
    invalid: list[Invalid]
    rows: Rows

    def are_of(self, kinds: set[bool]) -> bool:
        pixels = chain(self.rows.columns.pixels, (each.pixels for each in self.entries))
        return {each is not None for each in pixels} <= kinds

    def spelled_out(self) -> Listing:
        entries = sorted([*self.entries, *self.rows.listed()], key=attrgetter("line"))
        return Listing(entries, self.invalid)

    def set_apart(self, datasets: Sequence[Entry]) -> tuple[Listing, Rows]:
        others = [each.name for each in (*self.entries, *self.invalid) if each.name is not None]
        concerning, missing = self.rows.split(datasets, others)
        return self._replace(rows=concerning).spelled_out(), missing


def read(path: Path, name: str) -> Listing | LongListing:
    """Read a table that begins with a header, as `listing.read`, and with the same errors."""
    collector = Collector(name)
    number, numbers, parts = 1, [np.zeros(0, np.int64)], []
    with explaining("read", name), path.open("rb") as stream:
        for block in columns.whole_lines(stream):
            lines = columns.Lines(block, number)
            places, alike, _ = columns.read_block(lines, collector)
            numbers.append(places + number)
            parts.append(alike)
            number += len(lines.starts)
            has_entry = collector.entries or any(map(len, parts))
            if len(collector.invalid) >= MOST_WITHOUT_ENTRY and not has_entry:
                break
    found = np.concatenate(numbers)
    if not len(found):
        return collector.listing()
    rows = Rows(Columns.join(parts), found, np.arange(len(found)))
    return LongListing(collector.entries, collector.invalid, rows)
