"""The tables of a comparison: columns and rows from pairs of datasets.

Rows are counted from 0 in the pairs and from 1 in the tables. `others` are the entries of the
reference, or the same entries again if there is none. The last two columns of tables of pairs are
for images only: types and sizes, which can explain why images with equal pixel streams differ.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

import links
import manifest
import relations
from manifest import Entry
from relations import Pairs

NONE = "none"  # the relation of a dataset without a match
HOW = ("relation", "distance", "bits", "similarity")  # what `related` returns
PAIR_COLUMNS = ("#name_a", "name_b", *HOW, "iscc_a", "iscc_b", "row_a", "row_b")
PAIR_COLUMNS += ("pixels_a", "pixels_b")
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
MATCH_COLUMNS = ("#name", *HOW, "match", "match_iscc", "row", "pixels", "match_pixels")
COPY_COLUMNS = ("#name", "copy_of", *HOW, "row", "copy_of_row", "pixels", "copy_of_pixels")


def lines(columns: Sequence[str], rows: Iterable[tuple], of_images: bool) -> Iterator[str]:
    """The lines of a table of pairs, with the columns for images only if `of_images`."""
    if not of_images:
        columns, rows = columns[:-2], (row[:-2] for row in rows)
    return manifest.table_lines(columns, rows)


def pair_rows(entries: Sequence[Entry], others: Sequence[Entry], pairs: Pairs) -> Iterator[tuple]:
    """The table of pairs, the closest first.

    Pairs are sorted by the share of differing bits, then those compared over more bits first, then
    by names, then by rows. The two datasets of a pair are sorted by name, except that a dataset of
    a reference always comes second.
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
        one, other = entries[a], others[b]
        isccs, pixels = (one.iscc, other.iscc), (one.pixels, other.pixels)
        yield (name_a, name_b, *related(*how), *isccs, a + 1, b + 1, *pixels)


def related(exact: bool, distance: int, bits: int) -> tuple[str, int, int, str]:
    """How two datasets are related: relation, distance, bits, similarity in percent."""
    relation = relations.LOOKS_LIKE if bits == links.IMAGE_BITS else relations.NEAR
    relation = relations.EXACT if exact else relation
    return relation, distance, bits, f"{100 * (1 - distance / bits):.1f}"


def cluster_rows(entries: Sequence[Entry], places: Sequence[relations.Place]) -> Iterator[tuple]:
    """The table of clusters: every dataset once, by cluster, single datasets last."""
    for row in sorted(range(len(places)), key=lambda row: places[row].cluster):
        entry, place = entries[row], places[row]
        representative = entries[place.representative].name
        cluster = (entry.name, place.cluster, place.size, representative)
        yield (*cluster, place.relation, place.distance, entry.note, row + 1)


def match_rows(
    entries: Sequence[Entry], others: Sequence[Entry], matches: Pairs, nearest: Pairs
) -> Iterator[tuple]:
    """The table of matches: every dataset, in input order, with each of its matches.

    A dataset without a match has the relation NONE, and its `nearest` dataset if there is one.
    """
    found = defaultdict(list)
    for pairs, is_match in ((matches, True), (nearest, False)):
        for row, number, *how in zip(*(each.tolist() for each in pairs), strict=True):
            relation, *apart = related(*how)
            match = others[number]
            how = (relation if is_match else NONE, *apart, match.name, match.iscc)
            found[row].append((*how, row + 1, entries[row].pixels, match.pixels))
    for row, entry in enumerate(entries):
        rows = found[row] or [(NONE, *[None] * 5, row + 1, entry.pixels, None)]
        yield from ((entry.name, *each) for each in rows)


def copy_rows(
    entries: Sequence[Entry], others: Sequence[Entry], duplicates: Pairs
) -> Iterator[tuple]:
    """The table of copies: every dataset that is dropped, and the one that it duplicates."""
    for a, b, *how in zip(*(each.tolist() for each in duplicates), strict=True):
        copy, kept = entries[a], others[b]
        pixels = (copy.pixels, kept.pixels)
        yield (copy.name, kept.name, *related(*how), a + 1, b + 1, *pixels)


def matrix_rows(entries: Sequence[Entry], distances: np.ndarray) -> Iterator[tuple]:
    """The distance matrix: one row per dataset, with an empty field where the distance is NaN."""
    for entry, row in zip(entries, distances.tolist(), strict=True):
        yield (entry.name, *(None if math.isnan(distance) else int(distance) for distance in row))


def sizes_of_clusters(places: Sequence[relations.Place]) -> dict[str, int]:
    """Count the clusters of each size; larger sizes are combined."""
    sizes = [place.size for row, place in enumerate(places) if place.representative == row]
    bars = {}
    start = 1
    for end in (1, 2, 3, 4, 5, 10, 100, 1000, math.inf):
        last = "" if start == end else f" to {end:,}" if end < math.inf else " or more"
        bars[f"{start:,}{last}"] = sum(start <= size <= end for size in sizes)
        start = end + 1
    return bars


def kinds_of_matches(entries: Sequence[Entry], matches: Pairs, similar: str) -> dict[str, int]:
    """Count the datasets with an exact match, with a `similar` one, and with none."""
    exact = len(np.unique(matches.a[matches.exact]))
    near = len(np.unique(matches.a)) - exact
    return {"exact": exact, similar: near, NONE: len(entries) - exact - near}
