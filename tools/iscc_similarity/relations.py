"""What the links between contents mean for the datasets: pairs, clusters, matches, what to keep.

Datasets are referred to by their row, their position in the input, from 0. Everything here is the
same for every order of the links.
"""

from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

import hamming
import links
from links import Contents, Links

FIRST, SINGLE, EXACT, NEAR, LINKED = "first", "single", "exact", "near", "linked"


class Place(NamedTuple):
    """A dataset's place in its cluster.

    `cluster` counts from 1 in the order of their representatives, which are the rows that come
    first; `size` is the number of datasets in it. `relation`, to the representative, is SINGLE (it
    is alone), FIRST (it is the representative), EXACT, NEAR, or LINKED (in the cluster through
    others); `distance` is that of the Data-Codes, None for the representative itself.
    """

    cluster: int
    size: int
    representative: int
    relation: str
    distance: int | None


def count_pairs(found: Links, a: Contents, b: Contents | None) -> tuple[int, int]:
    """How many pairs of datasets the links stand for: exact ones, near ones."""
    other = a if b is None else b
    pairs = a.rows.count[found.a] * other.rows.count[found.b]
    exact = int(pairs[found.exact].sum())
    near = int(pairs[~found.exact].sum())
    if b is None:
        exact += links.count_inside(a.rows)
    return exact, near


def all_pairs(found: Links, a: Contents, b: Contents | None) -> Links:
    """Every pair of copies, with rows instead of contents."""
    other = a if b is None else b
    rows_a, rows_b, link = links.products(a.rows, found.a, other.rows, found.b)
    between = with_ends(chosen(found, link), rows_a, rows_b)
    if b is not None:
        return between
    between = with_ends(between, np.minimum(rows_a, rows_b), np.maximum(rows_a, rows_b))
    rows_a, rows_b, content = links.pairs_inside(a.rows)
    return joined(between, copies(a, content, a, content, rows_a, rows_b))


def compact_pairs(found: Links, a: Contents, b: Contents | None) -> Links:
    """The pairs of copies, with rows instead of contents, and exact copies folded.

    Of one set: each exact copy points to the first dataset before it that it is a copy of. Those
    that lead to the same dataset are a group, and two groups are in one pair at most, that of
    their closest contents. With another set: each dataset points to the first one there that it is
    a copy of, and two contents that are near are in one pair, of the first dataset of each.
    """
    exact = chosen(found, found.exact)
    first_a = a.rows.first()
    rows, content = np.arange(len(a.rows.numbers)), a.rows.numbers
    if b is None:
        best = best_of_each(exact.b, exact.a)
        original = np.arange(len(first_a))
        original[exact.b[best]] = exact.a[best]
        origin = original[content]
        folded = copies(a, origin, a, content, first_a[origin], rows)
        group = original
        while (group != group[group]).any():
            group = group[group]
        group_a, group_b = group[found.a], group[found.b]
        pair = np.minimum(group_a, group_b) * len(first_a) + np.maximum(group_a, group_b)
        closest = best_of_each(pair, ~found.exact, closeness(found), found.a, found.b)
        between = chosen(found, closest[(group_a != group_b)[closest]])
        between = with_ends(between, first_a[between.a], first_a[between.b])
        return joined(chosen(folded, folded.a != folded.b), between)
    near = chosen(found, ~found.exact)
    first_b = b.rows.first()
    best = best_of_each(exact.a, exact.b)
    original = np.full(len(first_a), -1)
    original[exact.a[best]] = exact.b[best]
    rows = rows[original[content] >= 0]
    content = content[rows]
    origin = original[content]
    return joined(
        copies(a, content, b, origin, rows, first_b[origin]),
        with_ends(near, first_a[near.a], first_b[near.b]),
    )


def places(found: Links, contents: Contents) -> list[Place]:
    """The place of each dataset, by row, in the clusters that the links of one set connect."""
    count = len(contents.wide)
    first_row = contents.rows.first()
    representative = components(found, count)
    _, cluster = np.unique(representative, return_inverse=True)
    size = np.bincount(cluster, weights=contents.rows.count).astype(np.int64)
    distance, _ = links.measured(contents, representative, contents, np.arange(count))
    relation = np.full(count, LINKED, dtype=object)
    relation[representative == np.arange(count)] = EXACT  # copies of it; it itself see below
    to_first = representative[found.a] == found.a
    relation[found.b[to_first]] = np.where(found.exact[to_first], EXACT, NEAR)

    result = []
    for row, content in enumerate(contents.rows.numbers.tolist()):
        first = int(first_row[representative[content]])
        members = int(size[cluster[content]])
        how, apart = relation[content], int(distance[content])
        if row == first:
            how, apart = (FIRST if members > 1 else SINGLE), None
        result.append(Place(int(cluster[content]) + 1, members, first, how, apart))
    return result


def kept(found: Links, a: Contents, b: Contents | None, near: bool) -> np.ndarray:
    """Which datasets to keep, so that none is a copy of another: bool, shape (rows,).

    In input order, a dataset is kept unless one that is kept already is its copy. With another
    set, it is kept unless one there is its copy. Near copies count if `near` is true.
    """
    counting = found if near else chosen(found, found.exact)
    keep = np.ones(len(a.wide), dtype=bool)
    if b is not None:
        keep[counting.a] = False
        return keep[a.rows.numbers]
    order = np.argsort(counting.b, kind="stable")
    for first, second in zip(counting.a[order].tolist(), counting.b[order].tolist(), strict=True):
        if keep[first]:
            keep[second] = False
    is_first = np.zeros(len(a.rows.numbers), dtype=bool)
    is_first[a.rows.first()] = True
    return keep[a.rows.numbers] & is_first


def copied(found: Links, a: Contents, b: Contents | None, near: bool) -> Links:
    """For each dataset that `kept` does not keep why: a dataset that it is a copy of, with rows.

    That one is kept, or of the other set. It is the first dataset of the same content, or, where
    that is not kept either, the best (as in `best_matches`) of those before it. In input order.
    """
    counting = found if near else chosen(found, found.exact)
    if b is not None:
        return best_matches(counting, a, b)
    keep = kept(found, a, b, near)
    first = a.rows.first()
    kept_content = keep[first]
    reasons = chosen(counting, kept_content[counting.a] & ~kept_content[counting.b])
    of_others = best_matches(with_ends(reasons, reasons.b, reasons.a), a, a)
    rows = np.flatnonzero(~keep & kept_content[a.rows.numbers])
    content = a.rows.numbers[rows]
    of_its_own = copies(a, content, a, content, rows, first[content])
    both = joined(of_others, of_its_own)
    return chosen(both, np.argsort(both.a))


def best_matches(found: Links, a: Contents, b: Contents) -> Links:
    """For each dataset of a that has a copy in b the best of them, with rows, in input order.

    Exact before near, then the closest, then the one of which more bits were compared, then the one
    that comes first.
    """
    first_b = b.rows.first()
    best = best_of_each(found.a, ~found.exact, closeness(found), first_b[found.b])
    link = np.full(len(a.wide), -1)
    link[found.a[best]] = best
    rows = np.flatnonzero(link[a.rows.numbers] >= 0)
    matches = chosen(found, link[a.rows.numbers[rows]])
    return with_ends(matches, rows, first_b[matches.b])


def nearest(
    found: Links, a: Contents, b: Contents | None, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How far the nearest other dataset (of the other set, if there is one) is from some datasets.

    rows    int64, shape (k,): datasets of a

    Gives float64, shape (k,), bits of 128, NaN where nothing can be compared, and bool, shape
    (k,), whether there is an exact copy.
    """
    exact = np.zeros(len(a.wide), dtype=bool)
    exact[found.a[found.exact]] = True
    if b is None:
        exact[found.b[found.exact]] = True
        exact |= a.rows.count > 1
    other = a if b is None else b
    contents = np.zeros(len(a.wide), dtype=bool)
    contents[a.rows.numbers[rows]] = True
    distance = np.full(len(a.wide), np.nan)
    for wide_a, wide_b in product((True, False), repeat=2):
        chosen_a = np.flatnonzero(contents & a.comparable & (a.wide == wide_a))
        chosen_b = np.flatnonzero(other.comparable & (other.wide == wide_b))
        words = 2 if wide_a and wide_b else 1
        itself = np.searchsorted(chosen_b, chosen_a) if b is None and wide_a == wide_b else None
        least = hamming.nearest(a.data[chosen_a, :words], other.data[chosen_b, :words], itself)
        scaled = np.where(least == hamming.NOTHING_NEAR, np.nan, least * (2.0 / words))
        distance[chosen_a] = np.fmin(distance[chosen_a], scaled)
    return distance[a.rows.numbers[rows]], exact[a.rows.numbers[rows]]


def components(found: Links, count: int) -> np.ndarray:
    """For each of `count` contents the smallest one that links connect it with."""
    ones = np.ones(len(found.a), dtype=bool)
    _, labels = connected_components(
        coo_array((ones, (found.a, found.b)), shape=(count, count)), directed=False
    )
    _, smallest, label = np.unique(labels, return_index=True, return_inverse=True)
    return smallest[label]


def closeness(found: Links) -> np.ndarray:
    """What to sort links by, the closest first: differing bits in 128, then more bits compared."""
    distance = found.distance.astype(np.int64) * (links.WIDE_BITS // found.bits)
    return 2 * distance + (found.bits != links.WIDE_BITS)


def best_of_each(keys: np.ndarray, *order: np.ndarray) -> np.ndarray:
    """For each distinct key the index that comes first in the order, the main criterion first."""
    sorting = np.lexsort((*order[::-1], keys))
    in_order = keys[sorting]
    is_first = np.ones(len(keys), dtype=bool)
    is_first[1:] = in_order[1:] != in_order[:-1]
    return sorting[is_first]


def copies(
    a: Contents, i: np.ndarray, b: Contents, j: np.ndarray, rows_a: np.ndarray, rows_b: np.ndarray
) -> Links:
    """Exact links between rows, the contents of which are i and j."""
    return Links(rows_a, rows_b, np.ones(len(i), dtype=bool), *links.measured(a, i, b, j))


def chosen(found: Links, which: np.ndarray) -> Links:
    return Links(*(each[which] for each in found))


def with_ends(found: Links, a: np.ndarray, b: np.ndarray) -> Links:
    """The same links between others: rows instead of contents."""
    return found._replace(a=a, b=b)


def joined(*parts: Links) -> Links:
    return Links(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
