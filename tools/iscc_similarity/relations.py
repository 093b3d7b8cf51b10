"""Which datasets are copies of which: exact and near pairs, and the clusters that they form.

Datasets are referred to by their row, their position in the input, from 0.
"""

from collections import defaultdict
from itertools import combinations
from typing import NamedTuple

import numpy as np

import codes
import hamming
from manifest import Entry

EXACT = "exact"
NEAR = "near"

WIDE_BYTES = 16
WORD_BYTES = 8


class Pair(NamedTuple):
    """Two datasets that are copies: rows a < b, EXACT or NEAR, Hamming distance of `bits` bits."""

    a: int
    b: int
    relation: str
    distance: int
    bits: int


class Member(NamedTuple):
    """A dataset's place in its cluster, and how it relates to the first dataset there.

    `relation` is `single` (alone), `first`, EXACT, NEAR, or `linked` (in the cluster through
    others). `distance` is the Hamming distance to the first one, None for that one itself.
    """

    cluster: int
    size: int
    representative: int
    relation: str
    distance: int | None


def find_pairs(entries: list[Entry], threshold: int) -> list[Pair]:
    """Every pair of exact or near copies, each once, the same for every order of the entries.

    `threshold` is a Hamming distance of 128 bits, which WIDE codes have. A narrow code is
    compared on 64 bits, with anything, and half the threshold, rounded down.
    """
    parsed = [codes.parse(entry.iscc) for entry in entries]
    exact = exact_pairs(entries, parsed)
    same = {(pair.a, pair.b) for pair in exact}
    near = near_pairs(entries, parsed, threshold)
    return exact + [pair for pair in near if (pair.a, pair.b) not in same]


def exact_pairs(entries: list[Entry], parsed: list[codes.Code]) -> list[Pair]:
    """Pairs with equal Instance-Codes, over the shorter of the two, that nothing contradicts."""
    alike = defaultdict(list)
    for row, code in enumerate(parsed):
        alike[code.instance[:WORD_BYTES]].append(row)
    pairs = []
    for rows in alike.values():
        for a, b in combinations(rows, 2):
            length = min(len(parsed[a].instance), len(parsed[b].instance))
            equal = parsed[a].instance[:length] == parsed[b].instance[:length]
            if equal and not contradict(entries[a], entries[b]):
                pairs.append(Pair(a, b, EXACT, *codes.distance(parsed[a].data, parsed[b].data)))
    return pairs


def contradict(a: Entry, b: Entry) -> bool:
    """Whether something that is known of both, size or datahash, says that they differ."""
    known = ((a.filesize, b.filesize), (a.datahash, b.datahash))
    return any(x is not None and y is not None and x != y for x, y in known)


def near_pairs(entries: list[Entry], parsed: list[codes.Code], threshold: int) -> list[Pair]:
    """Pairs whose Data-Codes are within the threshold, of datasets large enough to compare."""
    comparable = [row for row, entry in enumerate(entries) if entry.alike_means_something]
    is_wide = np.array([len(parsed[row].data) == WIDE_BYTES for row in comparable], dtype=bool)
    rows = np.array(comparable, dtype=np.intp)
    wide, narrow = rows[is_wide], rows[~is_wide]
    wide_hashes = hashes([parsed[row].data for row in wide], words=2)
    narrow_hashes = hashes([parsed[row].data for row in narrow], words=1)
    half = threshold // 2
    compared = [
        (wide, wide, 128, hamming.pairs_within(wide_hashes, threshold)),
        (narrow, narrow, 64, hamming.pairs_within(narrow_hashes, half)),
        (wide, narrow, 64, hamming.pairs_between(wide_hashes[:, :1], narrow_hashes, half)),
    ]
    pairs = []
    for rows_a, rows_b, bits, found in compared:
        for a, b, distance in zip(
            rows_a[found.a].tolist(), rows_b[found.b].tolist(), found.distance.tolist(), strict=True
        ):
            pairs.append(Pair(min(a, b), max(a, b), NEAR, distance, bits))
    return pairs


def hashes(data: list[bytes], words: int) -> np.ndarray:
    """Data-Codes of equal length as an array of uint64, shape (codes, words)."""
    big_endian = np.frombuffer(b"".join(data), dtype=">u8").reshape(-1, words)
    return big_endian.astype(np.uint64)


def find_clusters(entries: list[Entry], pairs: list[Pair]) -> list[Member]:
    """The connected components of the pairs: for each dataset, in input order, its place.

    Clusters are numbered from 1 in the order of their first dataset, the representative.
    """
    first = connected(len(entries), pairs)
    members = defaultdict(list)
    for row, representative in enumerate(first):
        members[representative].append(row)
    number = {representative: count for count, representative in enumerate(members, start=1)}
    to_first = {(pair.a, pair.b): pair for pair in pairs if first[pair.a] == pair.a}

    places = []
    for row, representative in enumerate(first):
        size = len(members[representative])
        if row == representative:
            relation, distance = ("first" if size > 1 else "single"), None
        elif (representative, row) in to_first:
            pair = to_first[representative, row]
            relation, distance = pair.relation, pair.distance
        else:
            a, b = (codes.parse(entries[r].iscc).data for r in (representative, row))
            relation, (distance, _) = "linked", codes.distance(a, b)
        places.append(Member(number[representative], size, representative, relation, distance))
    return places


def connected(count: int, pairs: list[Pair]) -> list[int]:
    """For each of `count` rows the smallest row that pairs connect it with (union-find)."""
    parent = list(range(count))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]  # halve the path for the next time
            row = parent[row]
        return row

    for pair in pairs:
        a, b = root(pair.a), root(pair.b)
        parent[max(a, b)] = min(a, b)
    return [root(row) for row in range(count)]
