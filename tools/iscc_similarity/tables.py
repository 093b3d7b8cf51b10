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
from columns import Columns
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


def pair_rows(entries: Columns, others: Columns, pairs: Pairs) -> Iterator[tuple]:
    """The table of pairs, the closest first.

    Pairs are sorted by the share of differing bits, then those compared over more bits first, then
    by names, then by rows. The two datasets of a pair are sorted by name, except that a dataset of
    a reference always comes second.
    """
    one_set = others is entries
    rows = []
    names, other_names = entries.names, others.names
    closeness = relations.closeness(pairs)
    for close, a, b, *how in zip(*(each.tolist() for each in (closeness, *pairs)), strict=True):
        if one_set and (names[b], b) < (names[a], a):
            a, b = b, a
        rows.append((close, names[a], other_names[b], a, b, how))
    rows.sort()
    isccs_a = entries.isccs(np.array([row[3] for row in rows], dtype=np.int64))
    isccs_b = others.isccs(np.array([row[4] for row in rows], dtype=np.int64))
    for (_, name_a, name_b, a, b, how), *isccs in zip(rows, isccs_a, isccs_b, strict=True):
        pixels = (entries.pixels[a], others.pixels[b])
        yield (name_a, name_b, *related(*how), *isccs, a + 1, b + 1, *pixels)


def related(exact: bool, distance: int, bits: int) -> tuple[str, int, int, str]:
    """How two datasets are related: relation, distance, bits, similarity in percent."""
    relation = relations.LOOKS_LIKE if bits == links.IMAGE_BITS else relations.NEAR
    relation = relations.EXACT if exact else relation
    return relation, distance, bits, f"{100 * (1 - distance / bits):.1f}"


def cluster_rows(entries: Columns, places: relations.Places) -> Iterator[tuple]:
    """The table of clusters: every dataset once, by cluster, single datasets last."""
    names, notes = entries.names, entries.notes()
    order = np.argsort(places.cluster, kind="stable")
    fields = (each[order].tolist() for each in (np.arange(len(order)), *places.fields()))
    for row, cluster, size, representative, relation, distance in zip(*fields, strict=True):
        yield (
            names[row],
            cluster,
            size,
            names[representative],
            relation,
            None if distance == relations.NONE else distance,
            notes[row],
            row + 1,
        )


def match_rows(
    entries: Columns, others: Columns, matches: Pairs, nearest: Pairs
) -> Iterator[tuple]:
    """The table of matches: every dataset, in input order, with each of its matches.

    A dataset without a match has the relation NONE, and its `nearest` dataset if there is one.
    """
    found = defaultdict(list)
    for pairs, is_match in ((matches, True), (nearest, False)):
        columns = (others.isccs(pairs.b), *(each.tolist() for each in pairs))
        for iscc, row, number, *how in zip(*columns, strict=True):
            relation, *apart = related(*how)
            how = (relation if is_match else NONE, *apart, others.names[number], iscc)
            found[row].append((*how, row + 1, entries.pixels[row], others.pixels[number]))
    for row, name in enumerate(entries.names):
        rows = found[row] or [(NONE, *[None] * 5, row + 1, entries.pixels[row], None)]
        yield from ((name, *each) for each in rows)


def copy_rows(entries: Columns, others: Columns, duplicates: Pairs) -> Iterator[tuple]:
    """The table of copies: every dataset that is dropped, and the one that it duplicates."""
    for a, b, *how in zip(*(each.tolist() for each in duplicates), strict=True):
        pixels = (entries.pixels[a], others.pixels[b])
        yield (entries.names[a], others.names[b], *related(*how), a + 1, b + 1, *pixels)


def matrix_rows(entries: Columns, distances: np.ndarray) -> Iterator[tuple]:
    """The distance matrix: one row per dataset, with an empty field where the distance is NaN."""
    for name, row in zip(entries.names, distances.tolist(), strict=True):
        yield (name, *(None if math.isnan(distance) else int(distance) for distance in row))


def sizes_of_clusters(places: relations.Places) -> dict[str, int]:
    """Count the clusters of each size; larger sizes are combined."""
    sizes = places.size[places.representative == np.arange(len(places))]
    bars = {}
    start = 1
    for end in (1, 2, 3, 4, 5, 10, 100, 1000, math.inf):
        last = "" if start == end else f" to {end:,}" if end < math.inf else " or more"
        bars[f"{start:,}{last}"] = int(((start <= sizes) & (sizes <= end)).sum())
        start = end + 1
    return bars


def kinds_of_matches(entries: Sequence, matches: Pairs, similar: str) -> dict[str, int]:
    """Count the datasets with an exact match, with a `similar` one, and with none."""
    exact = len(np.unique(matches.a[matches.exact]))
    near = len(np.unique(matches.a)) - exact
    return {"exact": exact, similar: near, NONE: len(entries) - exact - near}
