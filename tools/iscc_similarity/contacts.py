"""What is on a contact sheet: the images of each cluster, or each dataset with its best matches."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np

import relations
import tables
from columns import Columns
from messages import pluralize
from relations import Pairs, Places
from sheet import MOST_GROUPS, MOST_NAMED, MOST_TILES, Group, Sheet, Tile

MATCHES = 3  # of a dataset
NAMES = 3  # of a cluster that is named only

# Finds the thumbnails of entries, by row; int64, shape (n,).
Find = Callable[[Columns, np.ndarray], dict[int, np.ndarray]]


def of_clusters(
    title: str, entries: Columns, places: Places, is_again: np.ndarray, find: Find
) -> Sheet:
    """A sheet with the clusters, the largest first.

    `is_again`, bool, shape (rows,), says which images are equal to an earlier one. There is nothing
    to see in these, so they come last in their cluster; and clusters of equal images come after all
    others.
    """
    rows = np.flatnonzero(places.size > 1)
    cluster, size, _, relation, distance = (each[rows] for each in places.fields())
    is_again = is_again[rows]
    to_look_at = np.bincount(cluster, ~is_again & (relation != relations.FIRST)) > 0
    rows = rows[np.lexsort((rows, distance, is_again, cluster, -size, ~to_look_at[cluster]))]
    starts = np.flatnonzero(np.diff(places.cluster[rows]))
    clusters = [each.tolist() for each in np.split(rows, starts + 1) if len(each)]
    drawn, rest = clusters[:MOST_GROUPS], clusters[MOST_GROUPS:]
    shown = [cluster[:MOST_TILES] for cluster in drawn]
    pictures = find(entries, np.array([*chain(*shown)], dtype=np.int64))

    def tile(row: int) -> Tile:
        place = places[row]
        caption = captioned(place.relation, place.distance)
        return Tile(entries.names[row], pictures.get(row), caption, place.relation)

    groups = [
        Group(
            f"Cluster {places.cluster[cluster[0]]}: {pluralize(len(cluster), 'image')}",
            [*map(tile, rows)],
            len(cluster) - len(rows),
        )
        for cluster, rows in zip(drawn, shown, strict=True)
    ]
    names = [
        f"{places.cluster[cluster[0]]}: {listed([entries.names[row] for row in cluster])}"
        for cluster in rest[:MOST_NAMED]
    ]
    heading = f"{pluralize(len(rest), 'more cluster')}, without pictures:" if rest else ""
    return Sheet(title, groups, heading, names, len(rest) - len(names))


def of_matches(
    title: str, entries: Columns, others: Columns, matches: Pairs, nearest: Pairs, find: Find
) -> Sheet:
    """A sheet with each dataset beside its matches; those without a match come last.

    `matches` has the best ones of each dataset, the best first, and `nearest` the nearest datasets
    of those without a match.
    """
    matched = np.unique(matches.a)
    without = np.setdiff1d(np.arange(len(entries)), matched)
    order = [*matched.tolist(), *without.tolist()]
    drawn, rest = order[:MOST_GROUPS], order[MOST_GROUPS:]
    found: dict[int, list[tuple]] = defaultdict(list)
    for pairs in (matches, nearest):
        some = pairs.select(np.isin(pairs.a, drawn))
        for row, other, *how in zip(*(each.tolist() for each in some), strict=True):
            relation, distance, *_ = tables.related(*how)
            relation = relation if pairs is matches else tables.NONE
            found[row].append((other, captioned(relation, distance), relation))
    theirs = sorted({other for row in drawn for other, *_ in found[row]})
    pictures = find(entries, np.array(drawn, dtype=np.int64))
    other_pictures = find(others, np.array(theirs, dtype=np.int64))
    groups = [
        Group(
            f"Dataset {row + 1:,}",
            [
                Tile(entries.names[row], pictures.get(row)),
                *(
                    Tile(others.names[other], other_pictures.get(other), *how)
                    for other, *how in found[row]
                ),
            ],
        )
        for row in drawn
    ]
    has_match = set(matched.tolist())
    names = [
        f"{row + 1:,}: {entries.names[row]}" + ("" if row in has_match else " (no match)")
        for row in rest[:MOST_NAMED]
    ]
    heading = f"{pluralize(len(rest), 'more dataset')}, without pictures:" if rest else ""
    return Sheet(title, groups, heading, names, len(rest) - len(names))


def captioned(relation: str, distance: int | None) -> str:
    if relation == tables.NONE:
        return f"no match, {pluralize(distance, 'bit')}"
    is_plain = distance is None or relation == relations.EXACT
    return relation if is_plain else f"{relation}, {pluralize(distance, 'bit')}"


def listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES:,} more" if len(names) > NAMES else ""
    return ", ".join(names[:NAMES]) + more
