"""Which fingerprints are duplicates of which: exact and near links between all distinct ones.

A fingerprint is all that is known of a dataset but its name: its codes, size and hash. Datasets
with the same fingerprint are exact duplicates of each other, so they are grouped before anything is
compared: a thousand copies of a file cost no more than one, and are not listed two by two unless
somebody asks for it.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import NamedTuple, Self

import numpy as np

import codes
import hamming
from hamming import TooManyPairsError
from manifest import Entry

WIDE_BITS, NARROW_BITS = 128, 64
HASH_BYTES = WIDE_BITS // 8
WIDE_LENGTH = len(codes.PREFIX) + codes.characters(codes.HEADER_BYTES + 2 * HASH_BYTES)

# The value of each digit of base32, by its number in ASCII.
DIGIT_VALUES = np.zeros(128, dtype=np.uint8)
DIGIT_VALUES[np.frombuffer(codes.BASE32.encode("ascii"), np.uint8)] = np.arange(32)
CODES_AT_ONCE = 10_000

# A sample of datasets is compared with all others to estimate the number of pairs: that many
# datasets, or fewer where these would be more comparisons.
SAMPLE, SAMPLE_COMPARISONS = 1_000, 100_000_000


class Groups:
    """Numbered groups of members, which are numbers as well.

    labels     int64, shape (n,): the group of each member
    members    int64, shape (n,): the members in the order of their groups, then as given
    size       int64, shape (groups,): how many members a group has
    start      int64, shape (groups,): where they begin in `members`
    """

    def __init__(self, labels: np.ndarray, groups: int, members: np.ndarray | None = None):
        order = np.argsort(labels, kind="stable")
        self.labels = labels
        self.members = order if members is None else members[order]
        self.size = np.bincount(labels, minlength=groups)
        self.start = np.cumsum(self.size) - self.size

    def first(self) -> np.ndarray:
        """The first member of each group, none of which is empty: int64, shape (groups,)."""
        return self.members[self.start]


class Fingerprints(NamedTuple):
    """The distinct fingerprints of some datasets, in the order in which they come first.

    rows          the datasets, by their rows from 0, that have each fingerprint
    data          uint64, shape (n, 2): Data-Codes; of narrow ones the second word is 0
    facts         uint64, shape (4, n): what exact duplicates have in common, which are the two
                  words of the Instance-Code, the size in bytes, and a number for the datahash
                  together with the type and sizes of an image
    known         bool, shape (4, n): which of these facts are known
    comparable    bool, shape (n,): whether the Data-Code means something
    """

    rows: Groups
    data: np.ndarray
    facts: np.ndarray
    known: np.ndarray
    comparable: np.ndarray

    @property
    def wide(self) -> np.ndarray:
        """Whether the codes are wide, so that their second words are known: bool, shape (n,)."""
        return self.known[1]


class Sides(NamedTuple):
    """What is compared: the datasets of a with those of b, or with each other (b is a)."""

    a: Fingerprints
    b: Fingerprints

    @property
    def is_one_set(self) -> bool:
        return self.a is self.b


class Links(NamedTuple):
    """Duplicates among fingerprints; arrays of shape (links,).

    Of one set a <= b; a fingerprint that several datasets have is linked with itself.

    a, b        int64: fingerprints of both sides
    exact       bool: whether they are exact duplicates; near-duplicates otherwise
    distance    uint8: of their Data-Codes, in bits
    bits        uint8: how many bits were compared, 64 or 128
    """

    sides: Sides
    a: np.ndarray
    b: np.ndarray
    exact: np.ndarray
    distance: np.ndarray
    bits: np.ndarray

    def select(self, which: np.ndarray) -> Self:
        return Links(self.sides, *(each[which] for each in self[1:]))


def fingerprints(entries: Sequence[Entry], reference: Sequence[Entry] | None = None) -> Sides:
    """The fingerprints of datasets, and those of a reference, if there is one."""
    hash_numbers: dict[tuple, int] = {(None, None): 0}
    a = group_entries(entries, hash_numbers)
    return Sides(a, a if reference is None else group_entries(reference, hash_numbers))


def group_entries(entries: Sequence[Entry], hash_numbers: dict[tuple, int]) -> Fingerprints:
    """Group entries by all but their names; `hash_numbers` numbers the datahashes so far."""
    numbers: dict[tuple, int] = {}
    # The same stream of pixels is another image where its type or sizes are others.
    known = (
        (each.iscc, each.filesize, (each.datahash, each.pixels), each.is_comparable)
        for each in entries
    )
    labels = np.fromiter((numbers.setdefault(each, len(numbers)) for each in known), np.int64)
    bodies, wide = decode_all([iscc for iscc, *_ in numbers])
    codes_of_each = bodies.view(">u8").astype(np.uint64).reshape(-1, 2, 2)
    sizes = [-1 if size is None else size for _, size, _, _ in numbers]
    hashes = [hash_numbers.setdefault(each, len(hash_numbers)) for _, _, each, _ in numbers]
    sizes, hashes = np.array([sizes, hashes], dtype=np.int64)
    return Fingerprints(
        Groups(labels, len(numbers)),
        codes_of_each[:, 0],
        np.stack([*codes_of_each[:, 1].T, sizes.astype(np.uint64), hashes.astype(np.uint64)]),
        np.stack([np.ones(len(numbers), dtype=bool), wide, sizes >= 0, hashes > 0]),
        np.array([comparable for *_, comparable in numbers], dtype=bool),
    )


def decode_all(isccs: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The hashes in ISCC-CODEs, as codes.parse reads them one by one, but all at once.

    Gives uint8, shape (codes, 32): Data-Code and Instance-Code, 16 bytes each, narrow ones filled
    up with zeros; and bool, shape (codes,): whether each is wide.
    """
    bodies = np.zeros((len(isccs), 2, HASH_BYTES), dtype=np.uint8)
    wide = np.array([len(iscc) == WIDE_LENGTH for iscc in isccs], dtype=bool)
    for half, of_width in ((HASH_BYTES, wide), (HASH_BYTES // 2, ~wide)):
        members = np.flatnonzero(of_width)
        for start in range(0, len(members), CODES_AT_ONCE):
            rows = members[start : start + CODES_AT_ONCE]
            text = "".join(isccs[row] for row in rows.tolist()).encode("ascii")
            digits = np.frombuffer(text, np.uint8).reshape(len(rows), -1)[:, len(codes.PREFIX) :]
            # Five bits a digit, one after the other; the last ones belong to no byte.
            bits = np.unpackbits(DIGIT_VALUES[digits][:, :, None], axis=2)[:, :, 3:]
            hash_bytes = np.packbits(bits.reshape(len(rows), -1), axis=1)[:, codes.HEADER_BYTES :]
            bodies[rows, :, :half] = hash_bytes[:, : 2 * half].reshape(-1, 2, half)
    return bodies.reshape(-1, 2 * HASH_BYTES), wide


def find_links(
    sides: Sides,
    threshold: int,
    limit: float,
    jobs: int = 1,
    report: Callable[[str, float], None] = lambda what, share: None,
) -> Links:
    """All links of the fingerprints of both sides.

    `threshold` is a Hamming distance of 128 bits, which wide codes have. A narrow code is compared
    on 64 bits, with anything, and half the threshold, rounded down. `report` is told what is being
    compared, and which share of that has been done since it was last told.

    Raises TooManyPairsError if there are more than `limit` exact links, with their number, or more
    than `limit` pairs within the threshold; then its number is that of pairs of datasets, and an
    estimate, if it is too large to be counted.
    """
    exact = exact_pairs(sides, limit)
    near = near_pairs(sides, threshold, limit, jobs, report)
    near = near[:, ~are_exact(sides, *near)]  # exact ones are within the threshold as well, mostly
    a, b = np.concatenate([exact, near], axis=1)
    if sides.is_one_set:
        a, b = np.minimum(a, b), np.maximum(a, b)
    is_exact = np.arange(len(a)) < exact.shape[1]
    return Links(sides, a, b, is_exact, *data_code_distances(sides, a, b))


def near_pairs(
    sides: Sides,
    threshold: int,
    limit: float,
    jobs: int,
    report: Callable[[str, float], None],
) -> np.ndarray:
    """Pairs of comparable fingerprints within the threshold: int64, shape (2, pairs)."""
    widths = [np.where(side.comparable, side.wide, LEFT_OUT) for side in sides]
    found = []
    for wide_a, wide_b, members_a, members_b in class_pairs(sides, *widths):
        words = 2 if wide_a and wide_b else 1
        unique_a, labels_a = group_unique(sides.a.data[members_a, :words])
        a = b = Groups(labels_a, len(unique_a), members_a)
        unique_b = None
        if members_b is not members_a:
            unique_b, labels_b = group_unique(sides.b.data[members_b, :words])
            b = Groups(labels_b, len(unique_b), members_b)
        allowed = threshold * words * NARROW_BITS // WIDE_BITS
        what = " with ".join("wide" if wide else "narrow" for wide in (wide_a, wide_b)) + " codes"
        try:
            pairs = hamming.pairs_within(
                unique_a, unique_b, allowed, limit, jobs, partial(report, what)
            )
        except TooManyPairsError as error:
            count = max(error.count, estimate_pairs(sides, threshold))
            raise TooManyPairsError(count, is_estimate=True) from None
        itself = np.arange(len(unique_a) if a is b else 0)
        u, v = np.concatenate([pairs.a, itself]), np.concatenate([pairs.b, itself])
        found.append((a, u, b, v))
    return expand_all(found, limit, are_exact=False)


def exact_pairs(sides: Sides, limit: float) -> np.ndarray:
    """Pairs with equal Instance-Codes, over the shorter of the two, that nothing contradicts.

    Gives int64, shape (2, pairs). Of one set, a fingerprint of several datasets is one with itself.
    """
    # Which facts are known of a fingerprint, as the bits of a number.
    classes = [np.packbits(side.known, axis=0)[0] for side in sides]
    found = []
    for class_a, class_b, members_a, members_b in class_pairs(sides, *classes):
        shared = np.unpackbits(np.uint8(class_a & class_b), count=4).astype(bool)
        keys = sides.a.facts[shared][:, members_a].T
        if members_b is not members_a:
            keys = np.concatenate([keys, sides.b.facts[shared][:, members_b].T])
        unique, labels = group_unique(keys)
        a = b = Groups(labels[: len(members_a)], len(unique), members_a)
        if members_b is not members_a:
            b = Groups(labels[len(members_a) :], len(unique), members_b)
        each = np.arange(len(unique))
        found.append((a, each, b, each))
    pairs = expand_all(found, limit, are_exact=True)
    several = np.flatnonzero((sides.a.rows.size > 1) & sides.is_one_set)
    return np.concatenate([pairs, [several, several]], axis=1)


LEFT_OUT = -1


def class_pairs(
    sides: Sides, classes_a: np.ndarray, classes_b: np.ndarray
) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """Each class of fingerprints of a with each of b; of one set, each two classes once.

    Fingerprints of the class LEFT_OUT are left out. Gives both classes and the members of both,
    which are the same object if a class meets itself.
    """
    for class_a, class_b in product(*map(np.unique, (classes_a, classes_b))):
        if LEFT_OUT in (class_a, class_b) or (sides.is_one_set and class_b < class_a):
            continue
        members_a = members_b = np.flatnonzero(classes_a == class_a)
        if not (sides.is_one_set and class_a == class_b):
            members_b = np.flatnonzero(classes_b == class_b)
        yield int(class_a), int(class_b), members_a, members_b


def group_unique(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows of an array of shape (n, columns), and which of them each row is.

    As np.unique does with axis=0, but several times as fast.
    """
    order = np.lexsort(keys.T[::-1])
    in_order = keys[order]
    is_new = np.ones(len(keys), dtype=bool)
    is_new[1:] = (in_order[1:] != in_order[:-1]).any(axis=1)
    labels = np.empty(len(keys), dtype=np.int64)
    labels[order] = np.cumsum(is_new) - 1
    return in_order[is_new], labels


# Pairs of groups: u[k] of a with v[k] of b, which stand for pairs of their members.
GroupPairs = tuple[Groups, np.ndarray, Groups, np.ndarray]


def expand_all(found: Sequence[GroupPairs], limit: float, are_exact: bool) -> np.ndarray:
    """All pairs of members, unless there are too many: int64, shape (2, pairs)."""
    count = sum(int(pair_counts(*each).sum()) for each in found)
    if count > limit:
        raise TooManyPairsError(count, are_exact=are_exact)
    none = np.zeros((2, 0), dtype=np.int64)
    return np.concatenate([none, *(expand(*each)[:2] for each in found)], axis=1)


def pair_counts(a: Groups, u: np.ndarray, b: Groups, v: np.ndarray) -> np.ndarray:
    """How many pairs `expand` gives for each pair of groups: int64, shape (len(u),)."""
    with_itself = (u == v) & (a is b)
    return np.where(with_itself, a.size[u] * (a.size[u] - 1) // 2, a.size[u] * b.size[v])


def expand(a: Groups, u: np.ndarray, b: Groups, v: np.ndarray) -> np.ndarray:
    """Each member of group u[k] of a with each one of group v[k] of b, for each k.

    Where both are the same group (b is a), each two of its members once, the first one first. Gives
    int64, shape (3, pairs): the members of both sides, and k.
    """
    sizes = a.size[u] * b.size[v]
    k = np.repeat(np.arange(len(u)), sizes)
    position = np.arange(len(k)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    i, j = np.divmod(position, b.size[v[k]])
    if a is b:
        once = (i < j) | (u[k] != v[k])
        i, j, k = i[once], j[once], k[once]
    return np.stack([a.members[a.start[u[k]] + i], b.members[b.start[v[k]] + j], k])


def are_exact(sides: Sides, i: np.ndarray, j: np.ndarray | slice) -> np.ndarray:
    """Whether fingerprints i of a and j of b are exact duplicates: bool, shape (pairs,)."""
    a, b = sides
    agree = [
        (fact_a[i] == fact_b[j]) | ~(known_a[i] & known_b[j])
        for fact_a, fact_b, known_a, known_b in zip(a.facts, b.facts, a.known, b.known, strict=True)
    ]
    return np.logical_and.reduce(agree)


def data_code_distances(
    sides: Sides, i: np.ndarray, j: np.ndarray | slice
) -> tuple[np.ndarray, np.ndarray]:
    """Hamming distances of the Data-Codes of fingerprints i of a and j of b, and the bits compared.

    Both uint8, shape (pairs,). Codes of different lengths are compared over the shorter one. Their
    distance divided by the bits is the Normalized Prefix Hamming Distance (NPHD) of the ISCC
    project: https://github.com/iscc/iscc-usearch
    """
    a, b = sides
    both_wide = a.wide[i] & b.wide[j]
    apart = np.bitwise_count(a.data[i] ^ b.data[j])
    distance = apart[..., 0] + np.where(both_wide, apart[..., 1], 0).astype(np.uint8)
    return distance, np.where(both_wide, WIDE_BITS, NARROW_BITS).astype(np.uint8)


def distances_to_all(sides: Sides, i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distances of fingerprints i of a to all of b, and which of these are exact duplicates.

    float64, shape (len(i), n): bits of 128 (of 64 doubled), 0 for exact duplicates, and NaN where a
    dataset is too small to be compared; bool, of the same shape.
    """
    some, every = i[:, None], slice(None)  # without a copy of every fingerprint
    distance, bits = data_code_distances(sides, some, every)
    scaled = distance * (WIDE_BITS / bits)
    scaled[~(sides.a.comparable[some] & sides.b.comparable)] = np.nan
    exact = are_exact(sides, some, every)
    scaled[exact] = 0
    return scaled, exact


def distances_by_row(sides: Sides) -> tuple[np.ndarray, np.ndarray]:
    """The same for each dataset of a and each of b: both arrays of shape (rows of a, rows of b)."""
    distances, exact = distances_to_all(sides, np.arange(len(sides.a.wide)))
    rows = np.ix_(sides.a.rows.labels, sides.b.rows.labels)
    return distances[rows], exact[rows]


def estimate_pairs(sides: Sides, threshold: int) -> int:
    """About how many pairs of datasets are duplicates, from a sample of the datasets of a."""
    rows = len(sides.a.rows.labels)
    count = min(rows, SAMPLE, SAMPLE_COMPARISONS // len(sides.b.wide) + 1)
    found = 0
    # By chance, as the input may have a period, but by the same each time.
    for row in np.random.default_rng(0).permutation(rows)[:count]:
        [distances], [exact] = distances_to_all(sides, sides.a.rows.labels[[row]])
        found += int(sides.b.rows.size[exact | (distances <= threshold)].sum())
    if sides.is_one_set:  # each has found itself, and will find each pair from both ends
        return (found - count) * rows // (2 * count)
    return found * rows // count
