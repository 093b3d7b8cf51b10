"""From links between fingerprints to datasets: pairs, clusters, matches, and what to keep.

A dataset is identified by its row, its position in the input, from 0. No result depends on the
order of the links.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple, Self

import numpy as np

import hamming
import links
from links import Links

FIRST, SINGLE, EXACT, NEAR, LINKED = "first", "single", "exact", "near", "linked"
LOOKS_LIKE = "looks like"
NONE = -1


class Pairs(NamedTuple):
    """Pairs of duplicates; arrays of shape (pairs,).

    a, b        int64: datasets of both sides
    exact       bool: whether they are exact duplicates, not near ones or images that look alike
    distance    uint16: between their codes, in bits
    bits        uint16: number of bits compared, 64 or 128 of Data-Codes, 256 of Image-Codes
    """

    a: np.ndarray
    b: np.ndarray
    exact: np.ndarray
    distance: np.ndarray
    bits: np.ndarray

    @classmethod
    def of(cls, found: Links, which: np.ndarray, a: np.ndarray, b: np.ndarray) -> Self:
        """Pairs of these datasets, each with the properties of one of the links."""
        return cls(a, b, found.exact[which], found.distance[which], found.bits[which])

    def select(self, which: np.ndarray) -> Self:
        return Pairs(*(each[which] for each in self))


class Place(NamedTuple):
    """A dataset's place in its cluster.

    `cluster` counts from 1. Clusters of several datasets come first; clusters are then in the order
    of their representatives, which are their first datasets. `size` is the number of datasets in
    the cluster. `relation`, to the representative, is SINGLE (the dataset is alone), FIRST (it is
    the representative), EXACT, NEAR or LOOKS_LIKE, or LINKED (it is in the cluster through others).
    `distance` is between both codes; it is None for the representative itself, and where codes
    cannot be compared.
    """

    cluster: int
    size: int
    representative: int
    relation: str
    distance: int | None


@dataclass
class Places(Sequence[Place]):
    """The places of datasets by column, arrays of shape (rows,); `places[row]` is one.

    A distance of NONE means that there is none.
    """

    cluster: np.ndarray
    size: np.ndarray
    representative: np.ndarray
    relation: np.ndarray
    distance: np.ndarray

    def fields(self) -> tuple[np.ndarray, ...]:
        return tuple(vars(self).values())

    def __len__(self) -> int:
        return len(self.cluster)

    def __getitem__(self, row: int) -> Place:
        *place, distance = (each.item(row) for each in self.fields())
        return Place(*place, None if distance == NONE else distance)


def count_pairs(found: Links) -> tuple[int, int]:
    """The numbers of exact and of near pairs of datasets that the links represent."""
    counts = links.pair_counts(found.sides.a.rows, found.a, found.sides.b.rows, found.b)
    return int(counts[found.exact].sum()), int(counts[~found.exact].sum())


def all_pairs(found: Links) -> Pairs:
    """Every pair of duplicates. In one set, a is the dataset that comes first."""
    a, b, link = links.expand(found.sides.a.rows, found.a, found.sides.b.rows, found.b)
    if found.sides.is_one_set:
        a, b = np.minimum(a, b), np.maximum(a, b)
    return Pairs.of(found, link, a, b)


def compact_pairs(found: Links) -> Pairs:
    """Fewer pairs that connect the same datasets.

    In one set, each exact duplicate is in one pair, with the first dataset that it duplicates. The
    datasets that these pairs connect form a group. Two groups are in at most one pair, given by
    their closest fingerprints.

    With a reference, each dataset is in one pair with its first exact duplicate there, and two
    near-duplicate fingerprints are in one pair, of the first dataset of each.
    """
    first_a, first_b = found.sides.a.rows.first(), found.sides.b.rows.first()
    exact, near = found.select(found.exact), found.select(~found.exact)
    if not found.sides.is_one_set:
        return concatenate(
            of_datasets(exact, best_of_each(exact.a, exact.b)),
            Pairs.of(near, slice(None), first_a[near.a], first_b[near.b]),
        )
    backwards = exact._replace(a=exact.b, b=exact.a)
    copies = of_datasets(backwards, best_of_each(backwards.a, backwards.b))
    copies = copies.select(copies.a != copies.b)
    group = np.arange(len(first_a))
    np.minimum.at(group, exact.b, exact.a)
    while (group != group[group]).any():
        group = group[group]
    a, b = group[found.a], group[found.b]
    pair = np.minimum(a, b) * len(first_a) + np.maximum(a, b)
    best = best_of_each(pair, ~found.exact, closeness(found), found.a, found.b)
    best = best[(a != b)[best]]
    return concatenate(
        copies._replace(a=copies.b, b=copies.a),
        Pairs.of(found, best, first_a[found.a[best]], first_a[found.b[best]]),
    )


def places(found: Links) -> Places:
    """The place of each dataset, by row, in the clusters of one set: the connected components."""
    side = found.sides.a
    count = len(side.wide)
    first_row = side.rows.first()
    representative = components(found, count)
    firsts, cluster = np.unique(representative, return_inverse=True)
    size = np.bincount(cluster, weights=side.rows.size).astype(np.int64)
    order = np.lexsort((firsts, size == 1))
    cluster = np.argsort(order)[cluster]
    size = size[order]
    distance, _ = links.code_distances(found.sides, representative, np.arange(count))
    relation = np.full(count, LINKED, dtype=object)
    to_first = representative[found.a] == found.a
    relation[found.b[to_first]] = np.where(found.exact[to_first], EXACT, similar(found))
    comparable = side.comparable & side.comparable[representative]
    distance = np.where(comparable, distance.astype(np.int64), NONE)
    distance[found.b[to_first]] = found.distance[to_first]

    columns = (cluster + 1, size[cluster], first_row[representative], relation, distance)
    result = Places(*(each[side.rows.labels] for each in columns))
    firsts = first_row[firsts]
    result.relation[firsts] = np.where(result.size[firsts] == 1, SINGLE, FIRST)
    result.distance[firsts] = NONE
    return result


def similar(found: Links) -> str:
    """The relation of those that are not exact duplicates, by what was compared."""
    return LOOKS_LIKE if found.sides.by == links.APPEARANCE else NEAR


def keep_mask(found: Links) -> np.ndarray:
    """Select the datasets to keep, so that none duplicates another: bool, shape (rows,).

    In input order, a dataset is kept unless it duplicates one that has been kept already. With a
    reference, it is kept unless it duplicates one there.
    """
    rows = found.sides.a.rows
    keep = np.ones(len(rows.size), dtype=bool)
    if not found.sides.is_one_set:
        keep[found.a] = False
        return keep[rows.labels]
    order = np.argsort(found.b, kind="stable")
    for first, second in zip(found.a[order].tolist(), found.b[order].tolist(), strict=True):
        if keep[first] and first != second:
            keep[second] = False
    return keep[rows.labels] & (rows.first()[rows.labels] == np.arange(len(rows.labels)))


def duplicates_of(found: Links, keep: np.ndarray) -> Pairs:
    """Pair each dataset that `keep_mask` drops with its best match that is kept.

    With a reference, that is its best match there. In one set, it is the first dataset with the
    same fingerprint if that one is kept.
    """
    if found.sides.is_one_set:
        found = found.select(keep[found.sides.a.rows.first()[found.a]])
        found = found._replace(a=found.b, b=found.a)
    matches = best_matches(found)
    return matches.select(~keep[matches.a])


def best_matches(found: Links, count: int = 1) -> Pairs:
    """The best duplicates in b of each dataset of a that has any, in input order.

    At most `count` per dataset, with different fingerprints: exact before near, then the closest,
    then those compared over more bits, then the first.
    """
    first_b = found.sides.b.rows.first()
    order = np.lexsort((first_b[found.b], closeness(found), ~found.exact, found.a))
    _, start = np.unique(found.a[order], return_index=True)
    rank = np.arange(len(order)) - np.repeat(start, np.diff(start, append=len(order)))
    best = concatenate(*(of_datasets(found, order[rank == each]) for each in range(count)))
    return best.select(np.argsort(best.a, kind="stable"))


def of_datasets(found: Links, best: np.ndarray) -> Pairs:
    """Pair each dataset of a with the first dataset of b that the link of its fingerprint leads to.

    `best`, int64, are these links, at most one per fingerprint of a.
    """
    labels, first_b = found.sides.a.rows.labels, found.sides.b.rows.first()
    link = np.full(len(found.sides.a.wide), NONE)
    link[found.a[best]] = best
    rows = np.flatnonzero(link[labels] != NONE)
    link = link[labels[rows]]
    return Pairs.of(found, link, rows, first_b[found.b[link]])


def nearest_pairs(found: Links, rows: np.ndarray) -> Pairs:
    """Pair each of some datasets, int64, with its nearest one, at any distance.

    Of several equally near datasets, the first counts. Datasets that cannot be compared with any
    other are left out.
    """
    _, _, which = nearest(found, rows)
    rows, which = rows[which != NONE], which[which != NONE]
    distance, bits = links.code_distances(found.sides, found.sides.a.rows.labels[rows], which)
    exact = np.zeros(len(rows), dtype=bool)
    return Pairs(rows, found.sides.b.rows.first()[which], exact, distance, bits)


def nearest(found: Links, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distance of some datasets to the nearest other one, or the nearest one of the reference.

    rows    int64, shape (k,): datasets of a

    Returns float64, shape (k,), the distance in `sides.bits`, NaN if nothing can be compared; bool,
    shape (k,), whether there is an exact duplicate; and int64, shape (k,), the fingerprint of b
    with the nearest code, or NONE.
    """
    a, b = found.sides.both
    exact = np.zeros(len(a.wide), dtype=bool)
    exact[found.a[found.exact]] = True
    if found.sides.is_one_set:
        exact[found.b[found.exact]] = True
    wanted = np.zeros(len(a.wide), dtype=bool)
    wanted[a.rows.labels[rows]] = True
    distance = np.full(len(a.wide), np.inf)
    which = np.full(len(a.wide), NONE)
    by_content = found.sides.by == links.CONTENT
    for class_a, class_b in product(range(4), repeat=2):
        if not links.meet(class_a, class_b):
            continue
        of_a, of_b = (
            np.flatnonzero(side.comparable & (links.classes(side, found.sides.by) == each))
            for side, each in ((a, class_a), (b, class_b))
        )
        of_a = of_a[wanted[of_a]]
        if not (len(of_a) and len(of_b)):
            continue
        words = 1 + (class_a & class_b & 1) if by_content else a.codes.shape[2]
        itself = None
        if found.sides.is_one_set and class_a == class_b:
            itself = np.searchsorted(of_b, of_a)
        for x, y in product(range(a.codes.shape[1]), range(b.codes.shape[1])):
            codes_a, codes_b = a.codes[of_a, x, :words], b.codes[of_b, y, :words]
            least, place = hamming.nearest(codes_a, codes_b, itself)
            scaled = least * (found.sides.bits / (words * hamming.WORD_BITS))
            scaled[least == hamming.NOTHING_NEAR] = np.inf
            # Fingerprints are in the order of the input: of equally near ones the first counts.
            first = (scaled == distance[of_a]) & (of_b[place] < which[of_a])
            nearer = np.isfinite(scaled) & ((scaled < distance[of_a]) | first)
            distance[of_a[nearer]] = scaled[nearer]
            which[of_a[nearer]] = of_b[place[nearer]]
    labels = a.rows.labels[rows]
    distance[which == NONE] = np.nan
    return distance[labels], exact[labels], which[labels]


def components(found: Links, count: int) -> np.ndarray:
    """For each of `count` fingerprints, the smallest one in its connected component.

    SciPy has such a function, but its import takes longer than a comparison of thousands.
    """
    smallest = np.arange(count)
    a, b = found.a, found.b
    while len(a):
        # Where a link joins two components, the larger label points to the smaller one.
        a, b = smallest[a], smallest[b]
        a, b = np.minimum(a, b)[a != b], np.maximum(a, b)[a != b]
        np.minimum.at(smallest, b, a)
        while (smallest != smallest[smallest]).any():
            smallest = smallest[smallest]
    return smallest


def closeness(found: Links | Pairs) -> np.ndarray:
    """Sort keys, the closest first: by the share of differing bits, then by more bits compared."""
    distance = found.distance.astype(np.int64) * (links.IMAGE_BITS // found.bits)
    return 2 * distance + (found.bits == links.NARROW_BITS)


def best_of_each(keys: np.ndarray, *order: np.ndarray) -> np.ndarray:
    """For each distinct key, the index that comes first by the criteria, main criterion first."""
    sorting = np.lexsort((*order[::-1], keys))
    in_order = keys[sorting]
    is_first = np.ones(len(keys), dtype=bool)
    is_first[1:] = in_order[1:] != in_order[:-1]
    return sorting[is_first]


def linked_rows(found: Links) -> tuple[np.ndarray, np.ndarray]:
    """The datasets of both sides that have a duplicate: two arrays of rows, int64.

    In one set, both are the same.
    """
    sides = found.sides
    linked = [np.zeros(len(side.wide), dtype=bool) for side in sides.both]
    linked[0][found.a] = linked[1][found.b] = True
    if sides.is_one_set:
        linked[0] = linked[1] = linked[0] | linked[1]
    a, b = (
        np.flatnonzero(each[side.rows.labels])
        for each, side in zip(linked, sides.both, strict=True)
    )
    return a, b


def concatenate(*parts: Pairs) -> Pairs:
    return Pairs(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
