"""Which contents are copies of which: exact and near links between all distinct contents.

A content is what is known of a dataset but its name. Datasets of one content are exact copies of
each other, so they are folded together before anything is compared: a thousand copies of a file
cost no more than one, and are not listed two by two unless somebody asks for it.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np

import codes
import hamming
from manifest import Entry

WIDE_BITS, NARROW_BITS = 128, 64
HASH_BYTES = WIDE_BITS // 8
WIDE_LENGTH = len(codes.PREFIX) + codes.characters(codes.HEADER_BYTES + 2 * HASH_BYTES)

# The value of each digit of base32, by its number in ASCII.
DIGIT_VALUES = np.zeros(128, dtype=np.uint8)
DIGIT_VALUES[np.frombuffer(codes.BASE32.encode("ascii"), np.uint8)] = np.arange(32)
CODES_AT_ONCE = 10_000

UNKNOWN = -1


class TooManyExactError(Exception):
    """There are more exact links than the limit: `count` of them."""

    def __init__(self, count: int):
        super().__init__(count)
        self.count = count


class Links(NamedTuple):
    """Pairs of copies; arrays of shape (links,).

    a, b        int64: which two; contents, or rows of the input, from 0
    exact       bool: whether they are exact copies; near ones otherwise
    distance    uint8: of their Data-Codes, in bits
    bits        uint8: how many bits were compared, 64 or 128
    """

    a: np.ndarray
    b: np.ndarray
    exact: np.ndarray
    distance: np.ndarray
    bits: np.ndarray


class Members:
    """The members of numbered sets, given the number of the set for each member.

    count    int64, shape (sets,): how many members a set has
    """

    def __init__(self, numbers: np.ndarray, sets: int):
        self.numbers = numbers
        self.count = np.bincount(numbers, minlength=sets)
        self.order = np.argsort(numbers, kind="stable")
        self.start = np.cumsum(self.count) - self.count

    def first(self) -> np.ndarray:
        """The smallest member of each set, none of which is empty: int64, shape (sets,)."""
        return self.order[self.start]


def products(
    a: Members, u: np.ndarray, b: Members, v: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each member of the sets `u` of a with each of the sets `v` of b, for each of these pairs.

    Gives the members of a, those of b, and the pairs that they come from, by number.
    """
    sizes = a.count[u] * b.count[v]
    pair = np.repeat(np.arange(len(u)), sizes)
    within = np.arange(len(pair)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    i, j = np.divmod(within, b.count[v][pair])
    return a.order[a.start[u][pair] + i], b.order[b.start[v][pair] + j], pair


def pairs_inside(a: Members) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each two members of the same set, the smaller first, and the number of the set."""
    several = np.flatnonzero(a.count > 1)
    one, two, number = products(a, several, a, several)
    once = one < two
    return one[once], two[once], several[number[once]]


def count_inside(a: Members) -> int:
    """How many pairs `pairs_inside` gives."""
    return int((a.count * (a.count - 1) // 2).sum())


class Contents(NamedTuple):
    """The distinct contents of some datasets, in the order in which they come first.

    rows          the rows of the datasets, from 0, that have each content
    data          uint64, shape (contents, 2): Data-Codes; of narrow ones the second word is 0
    instance      uint64, shape (contents, 2): the same for Instance-Codes
    wide          bool, shape (contents,)
    size          int64, shape (contents,): bytes, or UNKNOWN
    datahash      int64, shape (contents,): a number for each datahash, or UNKNOWN
    comparable    bool, shape (contents,): whether the Data-Code means something
    """

    rows: Members
    data: np.ndarray
    instance: np.ndarray
    wide: np.ndarray
    size: np.ndarray
    datahash: np.ndarray
    comparable: np.ndarray


def contents(
    entries: Sequence[Entry], reference: Sequence[Entry] | None
) -> tuple[Contents, Contents | None]:
    """Fold entries into contents, and those of a reference, if there is one."""
    hash_numbers: dict[str, int] = {}
    a = folded_entries(entries, hash_numbers)
    return a, None if reference is None else folded_entries(reference, hash_numbers)


def folded_entries(entries: Sequence[Entry], hash_numbers: dict[str, int]) -> Contents:
    """Fold entries into contents; datahashes get the numbers that `hash_numbers` has for them."""
    numbers: dict[tuple, int] = {}
    row_contents = np.empty(len(entries), dtype=np.int64)
    firsts = []
    for row, entry in enumerate(entries):
        known = (entry.iscc, entry.filesize, entry.datahash, entry.alike_means_something)
        row_contents[row] = number = numbers.setdefault(known, len(firsts))
        if number == len(firsts):
            firsts.append(entry)
    bodies, wide = decoded([entry.iscc for entry in firsts])
    hashes = bodies.view(">u8").astype(np.uint64).reshape(-1, 2, 2)
    sizes = [UNKNOWN if entry.filesize is None else entry.filesize for entry in firsts]
    datahashes = [
        UNKNOWN
        if entry.datahash is None
        else hash_numbers.setdefault(entry.datahash, len(hash_numbers))
        for entry in firsts
    ]
    return Contents(
        Members(row_contents, len(firsts)),
        hashes[:, 0],
        hashes[:, 1],
        wide,
        np.array(sizes, dtype=np.int64),
        np.array(datahashes, dtype=np.int64),
        np.array([entry.alike_means_something for entry in firsts], dtype=bool),
    )


def decoded(isccs: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The hashes in ISCC-CODEs, as codes.parse reads them one by one, but all at once.

    Gives uint8, shape (codes, 32): Data-Code and Instance-Code, 16 bytes each, narrow ones filled
    up with zeros; and bool, shape (codes,): whether each is wide.
    """
    bodies = np.zeros((len(isccs), 2, HASH_BYTES), dtype=np.uint8)
    lengths = np.array([len(iscc) for iscc in isccs], dtype=np.int64)
    for length in np.unique(lengths).tolist():
        alike = np.flatnonzero(lengths == length)
        for start in range(0, len(alike), CODES_AT_ONCE):
            rows = alike[start : start + CODES_AT_ONCE]
            text = "".join(isccs[row] for row in rows.tolist()).encode("ascii")
            digits = np.frombuffer(text, np.uint8).reshape(-1, length)[:, len(codes.PREFIX) :]
            # Five bits a digit, one after the other; the last ones belong to no byte.
            bits = np.unpackbits(DIGIT_VALUES[digits][:, :, None], axis=2)[:, :, 3:]
            hash_bytes = np.packbits(bits.reshape(len(rows), -1), axis=1)[:, codes.HEADER_BYTES :]
            half = HASH_BYTES if length == WIDE_LENGTH else HASH_BYTES // 2
            bodies[rows, 0, :half] = hash_bytes[:, :half]
            bodies[rows, 1, :half] = hash_bytes[:, half : 2 * half]
    return bodies.reshape(-1, 2 * HASH_BYTES), lengths == WIDE_LENGTH


def find_links(
    a: Contents,
    b: Contents | None,
    threshold: int,
    limit: int,
    jobs: int = 1,
    look: Callable[[str, float], None] = lambda what, done: None,
) -> Links:
    """All links of contents of a with those of b, or among those of a where b is None, a < b.

    `threshold` is a Hamming distance of 128 bits, which wide codes have. A narrow code is compared
    on 64 bits, with anything, and half the threshold, rounded down. `look` is told what is being
    compared, and which fraction of it is done. Raises TooManyExactError if there are more exact
    links than `limit`, and TooManyPairsError of hamming if there are more links at all.
    """
    other = a if b is None else b
    try:
        exact_a, exact_b = exact_pairs(a, b, limit)
    except hamming.TooManyPairsError as error:
        raise TooManyExactError(error.about) from None
    near_a, near_b = near_pairs(a, b, threshold, limit, jobs, look)
    # Exact copies that are within the threshold, as nearly all are, have been found twice.
    distance, bits = measured(a, exact_a, other, exact_b)
    within = distance.astype(np.int64) * WIDE_BITS <= threshold * bits.astype(np.int64)
    alone = ~(within & a.comparable[exact_a] & other.comparable[exact_b])
    all_a = np.concatenate([near_a, exact_a[alone]])
    all_b = np.concatenate([near_b, exact_b[alone]])
    if len(all_a) > limit:
        raise hamming.TooManyPairsError(len(all_a))
    return Links(all_a, all_b, same(a, all_a, other, all_b), *measured(a, all_a, other, all_b))


def near_pairs(
    a: Contents,
    b: Contents | None,
    threshold: int,
    limit: int,
    jobs: int,
    look: Callable[[str, float], None],
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of comparable contents whose Data-Codes are within the threshold."""
    other = a if b is None else b
    found = []
    for wide_a, wide_b in product((True, False), repeat=2):
        if b is None and wide_b > wide_a:
            continue  # the same as the other way round
        rows_a = np.flatnonzero(a.comparable & (a.wide == wide_a))
        rows_b = np.flatnonzero(other.comparable & (other.wide == wide_b))
        words = 2 if wide_a and wide_b else 1
        unique_a, members_a = folded(a.data[rows_a, :words])
        unique_b = members_b = None
        if b is not None or wide_a != wide_b:
            unique_b, members_b = folded(other.data[rows_b, :words])
        allowed = threshold * words * NARROW_BITS // WIDE_BITS
        what = " with ".join("wide" if wide else "narrow" for wide in (wide_a, wide_b))
        news = partial(look, f"{what} codes")
        room = limit - sum(len(i) for i, _ in found)
        try:
            pairs = hamming.pairs_within(unique_a, unique_b, allowed, room, jobs, news)
            i, j = expanded(members_a, members_b, pairs.a, pairs.b, room)
        except hamming.TooManyPairsError as error:
            raise hamming.TooManyPairsError(limit - room + error.about) from None
        found.append((rows_a[i], rows_b[j]))
    return ordered(found, b)


def exact_pairs(a: Contents, b: Contents | None, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs with equal Instance-Codes, over the shorter of the two, that nothing contradicts."""
    other = a if b is None else b
    kinds_a, kinds_b = kinds(a), kinds(other)
    none = np.zeros(0, dtype=np.int64)
    groups = []
    for kind_a, kind_b in product(np.unique(kinds_a), np.unique(kinds_b)):
        if b is None and kind_b < kind_a:
            continue  # the same as the other way round
        rows_a, rows_b = np.flatnonzero(kinds_a == kind_a), np.flatnonzero(kinds_b == kind_b)
        known = kind_a & kind_b
        keys_a, keys_b = keys(a, rows_a, known), keys(other, rows_b, known)
        if b is None and kind_a == kind_b:
            _, members_a = folded(keys_a)
            members_b, numbers = None, none
        else:
            _, both = folded(np.concatenate([keys_a, keys_b]))
            members_a = Members(both.numbers[: len(keys_a)], len(both.count))
            members_b = Members(both.numbers[len(keys_a) :], len(both.count))
            numbers = np.arange(len(both.count))
        groups.append((rows_a, rows_b, members_a, members_b, numbers))
    count = sum(count_expanded(*members, n, n) for _, _, *members, n in groups)
    if count > limit:
        raise hamming.TooManyPairsError(count)
    found = []
    for rows_a, rows_b, members_a, members_b, numbers in groups:
        i, j = expanded(members_a, members_b, numbers, numbers, limit)
        found.append((rows_a[i], rows_b[j]))
    return ordered(found, b)


# What may be known of a content, as bits of a number.
IS_WIDE, HAS_SIZE, HAS_DATAHASH = 1, 2, 4


def kinds(contents: Contents) -> np.ndarray:
    """What is known of each content: int64, shape (contents,)."""
    return (
        IS_WIDE * contents.wide
        + HAS_SIZE * (contents.size != UNKNOWN)
        + HAS_DATAHASH * (contents.datahash != UNKNOWN)
    )


def keys(contents: Contents, rows: np.ndarray, known: int) -> np.ndarray:
    """What exact copies agree in, given what is known of both: uint64, shape (rows, columns)."""
    columns = [contents.instance[rows, 0]]
    if known & IS_WIDE:
        columns.append(contents.instance[rows, 1])
    if known & HAS_SIZE:
        columns.append(contents.size[rows].astype(np.uint64))
    if known & HAS_DATAHASH:
        columns.append(contents.datahash[rows].astype(np.uint64))
    return np.stack(columns, axis=1)


def folded(keys: np.ndarray) -> tuple[np.ndarray, Members]:
    """The distinct rows of an array of shape (n, columns), and which rows are equal to each."""
    order = np.lexsort(keys.T[::-1])
    in_order = keys[order]
    is_new = np.ones(len(keys), dtype=bool)
    is_new[1:] = (in_order[1:] != in_order[:-1]).any(axis=1)
    numbers = np.empty(len(keys), dtype=np.int64)
    numbers[order] = np.cumsum(is_new) - 1
    return in_order[is_new], Members(numbers, np.count_nonzero(is_new))


def expanded(
    a: Members, b: Members | None, u: np.ndarray, v: np.ndarray, limit: float
) -> tuple[np.ndarray, np.ndarray]:
    """Each member of the sets u of a with each of the sets v of b.

    Where b is None: of the sets v of a, and each two members of one set as well. Raises
    hamming.TooManyPairsError, with their exact number, if there are more than `limit`.
    """
    count = count_expanded(a, b, u, v)
    if count > limit:
        raise hamming.TooManyPairsError(count)
    other = a if b is None else b
    i, j, _ = products(a, u, other, v)
    if b is None:
        one, two, _ = pairs_inside(a)
        i, j = np.concatenate([i, one]), np.concatenate([j, two])
    return i, j


def count_expanded(a: Members, b: Members | None, u: np.ndarray, v: np.ndarray) -> int:
    """How many pairs `expanded` gives."""
    other = a if b is None else b
    return int((a.count[u] * other.count[v]).sum()) + (count_inside(a) if b is None else 0)


def ordered(
    found: list[tuple[np.ndarray, np.ndarray]], b: Contents | None
) -> tuple[np.ndarray, np.ndarray]:
    """All pairs together; where both are of one set, the smaller number first."""
    none = np.zeros((2, 0), dtype=np.int64)
    i, j = np.concatenate([none, *found], axis=1)
    return (i, j) if b is not None else (np.minimum(i, j), np.maximum(i, j))


def same(a: Contents, i: np.ndarray, b: Contents, j: np.ndarray | slice) -> np.ndarray:
    """Whether contents i of a and j of b are exact copies: bool, shape (pairs,)."""
    equal = a.instance[i] == b.instance[j]
    equal[:, 1] |= ~(a.wide[i] & b.wide[j])
    result = equal.all(axis=1)
    for known_a, known_b in ((a.size[i], b.size[j]), (a.datahash[i], b.datahash[j])):
        result &= (known_a == known_b) | (known_a == UNKNOWN) | (known_b == UNKNOWN)
    return result


def measured(
    a: Contents, i: np.ndarray, b: Contents, j: np.ndarray | slice
) -> tuple[np.ndarray, np.ndarray]:
    """Hamming distance of the Data-Codes of contents i of a and j of b, and the bits compared."""
    both_wide = a.wide[i] & b.wide[j]
    apart = np.bitwise_count(a.data[i] ^ b.data[j])
    distance = apart[:, 0] + np.where(both_wide, apart[:, 1], 0).astype(np.uint8)
    return distance, np.where(both_wide, WIDE_BITS, NARROW_BITS).astype(np.uint8)


def distances_to_all(a: Contents, i: int, b: Contents) -> tuple[np.ndarray, np.ndarray]:
    """The distances of content i of a to all of b, and which of these are exact copies.

    float64, shape (contents,): bits of 128 (of 64 doubled), 0 for exact copies, and NaN where a
    content is too small to be compared; bool, shape (contents,).
    """
    one, every = np.array([i]), slice(None)  # without a copy of every content
    distance, bits = measured(a, one, b, every)
    scaled = distance * (WIDE_BITS / bits)
    scaled[~(a.comparable[one] & b.comparable)] = np.nan
    exact = same(a, one, b, every)
    scaled[exact] = 0
    return scaled, exact


def distances_by_row(a: Contents, b: Contents) -> tuple[np.ndarray, np.ndarray]:
    """The same for each dataset of a and each of b: both arrays of shape (rows, rows of b)."""
    by_content = [distances_to_all(a, i, b) for i in range(len(a.wide))]
    rows = np.ix_(a.rows.numbers, b.rows.numbers)
    shape = (len(a.wide), len(b.wide))
    distances, exact = (np.reshape([each[k] for each in by_content], shape) for k in (0, 1))
    return distances[rows], exact.astype(bool)[rows]
