"""The tables of a comparison: from pairs of rows, counted from 0, to columns and rows.

Rows are counted from 1 in the tables. `others` are the entries of the reference, or the same
entries again where there is none.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

import relations
from manifest import Entry
from relations import Pairs

HOW = ("relation", "distance", "bits", "similarity")  # what `related` gives
PAIR_COLUMNS = ("#name_a", "name_b", *HOW, "iscc_a", "iscc_b", "row_a", "row_b")
CLUSTER_COLUMNS = (
    "#name",
    "cluster",
    "cluster_size",
    "representative",
    "relation",
    "distance",
    "note",
    "row",
)
MATCH_COLUMNS = ("#name", *HOW, "match", "match_iscc", "row")
COPY_COLUMNS = ("#name", "copy_of", *HOW, "row", "copy_of_row")


def pair_rows(entries: Sequence[Entry], others: Sequence[Entry], pairs: Pairs) -> Iterator[tuple]:
    """The table of pairs: the closest first, by the share of bits that differ, then those of which
    more bits were compared, then by names, then by rows.

    Within a pair of one set the names are in order; a dataset of a reference is always the second.
    """
    one_set = others is entries
    rows = []
    closeness = relations.closeness(pairs)
    columns = (each.tolist() for each in (closeness, *pairs))
    for close, a, b, *how in zip(*columns, strict=True):
        if one_set and (entries[b].name, b) < (entries[a].name, a):
            a, b = b, a
        rows.append((close, entries[a].name, others[b].name, a, b, how))
    for _, name_a, name_b, a, b, how in sorted(rows):
        yield (name_a, name_b, *related(*how), entries[a].iscc, others[b].iscc, a + 1, b + 1)


def related(exact: bool, distance: int, bits: int) -> tuple[str, int, int, str]:
    """How two datasets are related: relation, distance, bits, similarity in percent."""
    relation = relations.EXACT if exact else relations.NEAR
    return relation, distance, bits, f"{100 * (1 - distance / bits):.1f}"


def cluster_rows(entries: Sequence[Entry], places: Sequence[relations.Place]) -> Iterator[tuple]:
    """The table of clusters: every dataset once, in input order."""
    for row, (entry, place) in enumerate(zip(entries, places, strict=True), start=1):
        representative = entries[place.representative].name
        cluster = (entry.name, place.cluster, place.size, representative)
        yield (*cluster, place.relation, place.distance, entry.note, row)


def match_rows(
    entries: Sequence[Entry], others: Sequence[Entry], matches: Pairs
) -> Iterator[tuple]:
    """The table of matches: every dataset once, in input order."""
    match_of = {
        row: match for row, *match in zip(*(each.tolist() for each in matches), strict=True)
    }
    for row, entry in enumerate(entries):
        if row not in match_of:
            yield (entry.name, "none", None, None, None, None, None, row + 1)
            continue
        number, *how = match_of[row]
        match = others[number]
        yield (entry.name, *related(*how), match.name, match.iscc, row + 1)


def copy_rows(
    entries: Sequence[Entry], others: Sequence[Entry], duplicates: Pairs
) -> Iterator[tuple]:
    """The table of copies: every dataset that is dropped, and the one that it is a copy of."""
    for a, b, *how in zip(*(each.tolist() for each in duplicates), strict=True):
        yield (entries[a].name, others[b].name, *related(*how), a + 1, b + 1)


def matrix_rows(entries: Sequence[Entry], distances: np.ndarray) -> Iterator[tuple]:
    """The matrix: a line for each dataset, nothing where the distance is NaN."""
    for entry, row in zip(entries, distances.tolist(), strict=True):
        yield (entry.name, *(None if math.isnan(distance) else int(distance) for distance in row))


def sizes_of_clusters(places: Sequence[relations.Place]) -> dict[str, int]:
    """How many clusters there are of each size, the larger sizes together."""
    sizes = [place.size for row, place in enumerate(places) if place.representative == row]
    bars = {}
    start = 1
    for end in (1, 2, 3, 4, 5, 10, 100, 1000, math.inf):
        last = "" if start == end else f" to {end:,}" if end < math.inf else " or more"
        bars[f"{start:,}{last}"] = sum(start <= size <= end for size in sizes)
        start = end + 1
    return bars


def kinds_of_matches(entries: Sequence[Entry], matches: Pairs) -> dict[str, int]:
    """How many datasets have an exact match, a near one, or none."""
    exact = int(matches.exact.sum())
    near = len(matches.a) - exact
    return {"exact": exact, "near": near, "none": len(entries) - exact - near}
