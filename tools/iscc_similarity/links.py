"""Find exact and near-duplicate links between the distinct fingerprints of datasets.

A fingerprint is everything known about a dataset except its name: its codes, size and hash.
Datasets with the same fingerprint are exact duplicates, so they are grouped before anything is
compared. A thousand copies of a file then cost no more than one, and their pairs are only listed on
request.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import NamedTuple, Self

import numpy as np

import hamming
from columns import Columns, decode_alike, words_of
from hamming import TooManyPairsError
from manifest import Entry

CONTENT, APPEARANCE = "content", "appearance"  # what is compared
WIDE_BITS, NARROW_BITS = 128, 64  # of Data-Codes
IMAGE_BITS = 256
MIXING = np.uint64(0x9E3779B97F4A7C15)  # odd, with bits of either value everywhere

# To estimate the number of pairs, a sample of datasets is compared with all others: this many
# datasets, or fewer if that would exceed this many comparisons.
SAMPLE, SAMPLE_COMPARISONS = 1_000, 100_000_000


class Groups:
    """Numbered groups of members, which are integers as well.

    labels     int64, shape (n,): the group of each member
    members    int64, shape (n,): the members, ordered by group, then as given
    size       int64, shape (groups,): the number of members of each group
    start      int64, shape (groups,): where each group begins in `members`
    """

    def __init__(self, labels: np.ndarray, groups: int, members: np.ndarray | None = None):
        order = np.argsort(labels, kind="stable")
        self.labels = labels
        self.members = order if members is None else members[order]
        self.size = np.bincount(labels, minlength=groups)
        self.start = np.cumsum(self.size) - self.size

    def first(self) -> np.ndarray:
        """The first member of each group: int64, shape (groups,). No group may be empty."""
        return self.members[self.start]


class Fingerprints(NamedTuple):
    """The distinct fingerprints of some datasets, in the order of their first occurrence.

    rows          the rows of the datasets, from 0, grouped by fingerprint
    codes         uint64, shape (n, variants, words): Data-Codes of two words, the second 0 if
                  the code is narrow; or Image-Codes of four, where a fingerprint with fewer
                  variants than others repeats its first
    facts         uint64, shape (5, n), equal for exact duplicates: the two words of the
                  Instance-Code, the size in bytes, a number for the datahash, and a number for
                  the type and sizes of an image, 0 if the codes are of bytes
    known         bool, shape (5, n): which of these facts are known
    comparable    bool, shape (n,): whether the Data-Code is meaningful, or there are Image-Codes
    """

    rows: Groups
    codes: np.ndarray
    facts: np.ndarray
    known: np.ndarray
    comparable: np.ndarray

    @property
    def wide(self) -> np.ndarray:
        """Whether the codes are wide, so that their second words are known: bool, shape (n,)."""
        return self.known[1]

    @property
    def of_pixels(self) -> np.ndarray:
        """Whether the codes are of pixels: bool, shape (n,)."""
        return self.facts[4] > 0


class Sides(NamedTuple):
    """What is compared: the datasets of a with those of b, or with each other (b is a).

    `by` is CONTENT or APPEARANCE.
    """

    a: Fingerprints
    b: Fingerprints
    by: str = CONTENT

    @property
    def both(self) -> tuple[Fingerprints, Fingerprints]:
        return self.a, self.b

    @property
    def is_one_set(self) -> bool:
        return self.a is self.b

    @property
    def variants(self) -> int:
        """The largest number of codes of any fingerprint."""
        return max(side.codes.shape[1] for side in self.both)

    @property
    def bits(self) -> int:
        """The largest number of bits compared; the threshold refers to it."""
        return IMAGE_BITS if self.by == APPEARANCE else WIDE_BITS


class Links(NamedTuple):
    """Duplicates among fingerprints; arrays of shape (links,).

    If there is one set, a <= b; a fingerprint shared by several datasets is linked with itself.

    a, b        int64: fingerprints of both sides
    exact       bool: whether they are exact duplicates, not near ones or images that look alike
    distance    uint16: between their codes, in bits
    bits        uint16: number of bits compared, 64 or 128 of Data-Codes, 256 of Image-Codes
    """

    sides: Sides
    a: np.ndarray
    b: np.ndarray
    exact: np.ndarray
    distance: np.ndarray
    bits: np.ndarray

    def within(self, threshold: int) -> Self:
        """The exact duplicates, and other links up to a distance in `sides.bits`."""
        scaled = self.distance.astype(np.int64) * (self.sides.bits // self.bits)
        return self.select(self.exact | (scaled <= threshold))

    def select(self, which: np.ndarray) -> Self:
        return Links(self.sides, *(each[which] for each in self[1:]))


def fingerprints(
    entries: Sequence[Entry], reference: Sequence[Entry] | None = None, by: str = CONTENT
) -> Sides:
    """The fingerprints of datasets, and those of a reference if there is one."""
    given = [entries] if reference is None else [entries, reference]
    found = [each if isinstance(each, Columns) else Columns.of(each) for each in given]
    numbers: dict[str | None, int] = {None: 0}
    groups = [group_entries(each, numbers, by) for each in found]
    firsts = [rows.first() for rows in groups]
    hashes = number_hashes(
        [(each.hashes[rows], each.hashed[rows]) for each, rows in zip(found, firsts, strict=True)]
    )
    sides = [
        describe(each, rows, of_hashes, numbers, by)
        for each, rows, of_hashes in zip(found, groups, hashes, strict=True)
    ]
    return Sides(sides[0], sides[-1], by)


def group_entries(columns: Columns, numbers: dict[str | None, int], by: str) -> Groups:
    """Group entries by everything except their names, in the order of their first occurrence.

    `numbers` assigns numbers to texts, which are only compared for equality.
    """
    keys = [
        *columns.words.T,
        columns.sizes,
        *columns.hashes.T,
        columns.hashed * 4 + columns.wide * 2 + columns.comparable(),
        number_texts(columns.pixels, numbers),
    ]
    if by == APPEARANCE:
        keys.append(number_texts(columns.image_codes, numbers))
    labels, count = number_rows(keys)
    return Groups(labels, count)


def describe(
    columns: Columns, rows: Groups, hashes: np.ndarray, numbers: dict[str | None, int], by: str
) -> Fingerprints:
    """The fingerprints of grouped entries; `hashes` numbers the datahash of each group."""
    first = rows.first()
    words, sizes, wide = columns.words[first], columns.sizes[first], columns.wide[first]
    pixels = number_texts([columns.pixels[row] for row in first.tolist()], numbers)
    similar, comparable = words[:, None, :2], columns.comparable()[first]
    if by == APPEARANCE:
        similar, comparable = image_codes([columns.image_codes[row] for row in first.tolist()])
    every = np.ones(len(first), dtype=bool)
    return Fingerprints(
        rows,
        similar,
        np.stack([*words[:, 2:].T, *(each.astype(np.uint64) for each in (sizes, hashes, pixels))]),
        np.stack([every, wide, sizes >= 0, hashes > 0, every]),
        comparable,
    )


def number_texts(texts: Sequence[str | None], numbers: dict[str | None, int]) -> np.ndarray:
    """A number for each text, int64; new ones are added to `numbers`."""
    for each in dict.fromkeys(texts):
        numbers.setdefault(each, len(numbers))
    return np.fromiter(map(numbers.__getitem__, texts), np.int64, len(texts))


def number_hashes(sides: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
    """A number for each datahash of each side, int64: 0 if not known, the same for equal ones.

    A side is `hashes` and `hashed` of Columns.
    """
    hashes, hashed = (np.concatenate(each) for each in zip(*sides, strict=True))
    labels, _ = number_rows(list(hashes.T))
    numbers = np.where(hashed, labels + 1, 0)
    return np.split(numbers, np.cumsum([len(known) for _, known in sides[:-1]]))


def number_rows(columns: Sequence[np.ndarray]) -> tuple[np.ndarray, int]:
    """Number the distinct rows of some columns of integers, in the order of first occurrence.

    Returns the number of each row, int64, and how many there are.
    """
    mixed = np.zeros(len(columns[0]), dtype=np.uint64)
    for each in columns:
        mixed = (mixed ^ each.astype(np.uint64)) * MIXING
        mixed ^= mixed >> np.uint64(32)
    order = np.argsort(mixed, kind="stable")
    is_new = differs_from_previous(columns, order)
    if (is_new & ~differs_from_previous([mixed], order)).any():  # equal only when mixed
        order = np.lexsort(columns)
        is_new = differs_from_previous(columns, order)
    first = order[is_new]  # of equal rows, the first: both sorts are stable
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    labels = np.empty(len(order), dtype=np.int64)
    labels[order] = rank[np.cumsum(is_new) - 1]
    return labels, len(first)


def differs_from_previous(columns: Sequence[np.ndarray], order: np.ndarray) -> np.ndarray:
    """Whether each row, in this order, differs from the one before it: bool."""
    differs = np.zeros(len(order), dtype=bool)
    differs[:1] = True
    for each in columns:
        in_order = each[order]
        differs[1:] |= in_order[1:] != in_order[:-1]
    return differs


def image_codes(fields: Sequence[str | None]) -> tuple[np.ndarray, np.ndarray]:
    """Decode the Image-Codes in fields of a manifest, each with one or more, or none.

    Several codes are separated by spaces. Returns uint64, shape (fields, variants, 4), and bool,
    shape (fields,): whether a field has any.
    """
    split = [(field or "").split() for field in fields]
    counts = np.array([len(each) for each in split], dtype=np.int64)
    hashes = decode_alike([code for each in split for code in each], IMAGE_BITS // 8)
    words = words_of(hashes)
    variant = np.arange(max(1, counts.max(initial=0)))
    place = (np.cumsum(counts) - counts)[:, None] + np.where(variant < counts[:, None], variant, 0)
    some = counts > 0
    result = np.zeros((len(split), len(variant), words.shape[1]), dtype=np.uint64)
    result[some] = words[place[some]]
    return result, some


def find_links(
    sides: Sides,
    threshold: int,
    limit: float,
    processes: int = 1,
    report: Callable[[str, float], None] = lambda what, share: None,
) -> Links:
    """Find all links between the fingerprints of both sides.

    `threshold` is a Hamming distance in `sides.bits`. A narrow Data-Code is compared over 64 bits,
    with half the threshold, rounded down, even if the other code is wide. If a fingerprint has
    several Image-Codes, the closest pair counts. `report` is a progress callback, called with what
    is being compared and the share of it done since the last call.

    Raises TooManyPairsError with their number if there are more than `limit` exact links, or if
    there are more than `limit` pairs within the threshold. In the latter case, the number is that
    of pairs of datasets, and an estimate if they are too many to count.
    """
    exact = exact_pairs(sides, limit)
    near = near_pairs(sides, threshold, limit, processes, report)
    near = near[:, ~are_exact(sides, *near)]  # most exact ones are within the threshold, too
    a, b = np.concatenate([exact, near], axis=1)
    if sides.is_one_set:
        a, b = np.minimum(a, b), np.maximum(a, b)
    is_exact = np.arange(len(a)) < exact.shape[1]
    distance, bits = code_distances(sides, a, b)
    if sides.by == APPEARANCE:  # equal pixels look the same, even without an Image-Code
        distance[is_exact] = 0
    return Links(sides, a, b, is_exact, distance, bits)


def near_pairs(
    sides: Sides,
    threshold: int,
    limit: float,
    processes: int,
    report: Callable[[str, float], None],
) -> np.ndarray:
    """Pairs of comparable fingerprints within the threshold: int64, shape (2, pairs)."""
    try:
        return pairs_of_codes(sides, threshold, limit, processes, report)
    except TooManyPairsError as error:
        too_many = error
    several = [side.codes.shape[1] > 1 for side in sides.both]
    if all(several):
        try:
            return pairs_one_by_one(sides, threshold, limit, processes, report)
        except TooManyPairsError as error:
            too_many = error
    # With copies, there are more pairs of datasets than of fingerprints.
    copies = any((side.rows.size > 1).any() for side in sides.both)
    if not (too_many.is_estimate or any(several) or copies):
        raise too_many
    # With several codes per fingerprint, too_many counts pairs of codes.
    least = int(limit) + 1 if any(several) else too_many.count
    count = max(least, estimate_pairs(sides, threshold))
    raise TooManyPairsError(count, is_estimate=True)


def pairs_one_by_one(
    sides: Sides,
    threshold: int,
    limit: float,
    processes: int,
    report: Callable[[str, float], None],
) -> np.ndarray:
    """As `near_pairs` if both sides have several codes: one code per fingerprint of a at a time.

    Each code of a fingerprint may match each code of another, so there can be many times as many
    pairs of codes as pairs of fingerprints, too many to hold at once.
    """
    a, count = sides.a, sides.a.codes.shape[1]
    # In one set, each pair is found from both ends, and each fingerprint finds itself.
    most = 2 * limit + len(a.wide) if sides.is_one_set else limit
    found = np.zeros((2, 0), dtype=np.int64)
    for variant in range(count):
        some = sides._replace(a=a._replace(codes=a.codes[:, [variant]]))
        more = pairs_of_codes(
            some,
            threshold,
            most,
            processes,
            lambda what, share: report(f"{what} one by one", share / count),
        )
        found = once(np.concatenate([found, more], axis=1), sides)
        if found.shape[1] > limit:
            raise TooManyPairsError(found.shape[1])
    return found


def pairs_of_codes(
    sides: Sides,
    threshold: int,
    limit: float,
    processes: int,
    report: Callable[[str, float], None],
) -> np.ndarray:
    """As `near_pairs`, comparing all codes at once.

    Also raises TooManyPairsError for too many pairs of codes, with their number, which is an
    estimate if not all of them were found.
    """
    classes_of_both = [
        np.where(side.comparable, classes(side, sides.by), LEFT_OUT) for side in sides.both
    ]
    # Two fingerprints may match by several of their codes.
    most = limit * sides.variants
    found = []
    for class_a, class_b, members_a, members_b in class_pairs(sides, *classes_of_both):
        if not meet(class_a, class_b):
            continue
        words, allowed, what = IMAGE_BITS // hamming.WORD_BITS, threshold, "Image-Codes"
        if sides.by == CONTENT:
            words = 1 + (class_a & class_b & 1)
            allowed = threshold * words * NARROW_BITS // WIDE_BITS
            widths = ("wide" if each & 1 else "narrow" for each in (class_a, class_b))
            what = f"{' with '.join(widths)} codes"
        unique_a, a = group_codes(sides.a.codes[members_a, :, :words], members_a)
        unique_b, b = None, a
        if members_b is not members_a:
            unique_b, b = group_codes(sides.b.codes[members_b, :, :words], members_b)
        try:
            pairs = hamming.pairs_within(
                unique_a, unique_b, allowed, most, processes, partial(report, what)
            )
        except TooManyPairsError as error:
            raise TooManyPairsError(error.count, is_estimate=True) from None
        itself = np.arange(len(unique_a) if a is b else 0)
        u, v = np.concatenate([pairs.a, itself]), np.concatenate([pairs.b, itself])
        found.append((a, u, b, v))
    pairs = once(expand_all(found, most, are_exact=False), sides)
    if pairs.shape[1] > limit:
        raise TooManyPairsError(pairs.shape[1])
    return pairs


def classes(side: Fingerprints, by: str) -> np.ndarray:
    """The class of each code, by its type and length: int64, shape (n,).

    0 and 1 are codes of bytes, 2 and 3 are codes of pixels; odd numbers are wide Data-Codes.
    """
    return 2 * side.of_pixels + (side.wide if by == CONTENT else 0)


def meet(class_a: int, class_b: int) -> bool:
    """Whether codes of these classes are compared: never those of bytes with those of pixels."""
    return class_a // 2 == class_b // 2


def group_codes(variants: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, Groups]:
    """The distinct codes of some fingerprints, and the members that have each, as groups.

    `variants` are the codes of the members, uint64, shape (members, variants, words).
    """
    _, count, words = variants.shape
    unique, labels = group_unique(variants.reshape(-1, words))
    owners = np.repeat(members, count)
    if count > 1:  # a member with fewer codes repeats its first
        labels, owners = np.unique(np.stack([labels, owners]), axis=1)
    return unique, Groups(labels, len(unique), owners)


def once(pairs: np.ndarray, sides: Sides) -> np.ndarray:
    """Pairs of fingerprints without the repetitions that several codes may have caused."""
    if sides.variants == 1:
        return pairs
    if sides.is_one_set:
        pairs = np.sort(pairs, axis=0)
        pairs = pairs[:, pairs[0] != pairs[1]]
    # One number per pair: many times as fast as np.unique with axis=1.
    count = len(sides.b.wide)
    return np.stack(np.divmod(np.unique(pairs[0] * count + pairs[1]), count))


def exact_pairs(sides: Sides, limit: float) -> np.ndarray:
    """Pairs with equal Instance-Codes (over the shorter length) that no other fact contradicts.

    Returns int64, shape (2, pairs). In one set, a fingerprint of several datasets is paired with
    itself.
    """
    # The known facts of each fingerprint, as the bits of an integer.
    classes = [np.packbits(side.known, axis=0)[0] for side in sides.both]
    found = []
    for class_a, class_b, members_a, members_b in class_pairs(sides, *classes):
        shared = np.unpackbits(np.uint8(class_a & class_b), count=5).astype(bool)
        keys = sides.a.facts[shared][:, members_a]
        if members_b is not members_a:
            keys = np.concatenate([keys, sides.b.facts[shared][:, members_b]], axis=1)
        labels, count = number_rows(keys)
        a = b = Groups(labels[: len(members_a)], count, members_a)
        if members_b is not members_a:
            b = Groups(labels[len(members_a) :], count, members_b)
        each = np.arange(count)
        found.append((a, each, b, each))
    pairs = expand_all(found, limit, are_exact=True)
    several = np.flatnonzero((sides.a.rows.size > 1) & sides.is_one_set)
    return np.concatenate([pairs, [several, several]], axis=1)


LEFT_OUT = -1


def class_pairs(
    sides: Sides, classes_a: np.ndarray, classes_b: np.ndarray
) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """Each class of fingerprints of a with each of b; in one set, each pair of classes once.

    Fingerprints of the class LEFT_OUT are left out. Yields both classes and the members of both,
    which are the same object if a class is paired with itself.
    """
    for class_a, class_b in product(*map(np.unique, (classes_a, classes_b))):
        if LEFT_OUT in (class_a, class_b) or (sides.is_one_set and class_b < class_a):
            continue
        members_a = members_b = np.flatnonzero(classes_a == class_a)
        if not (sides.is_one_set and class_a == class_b):
            members_b = np.flatnonzero(classes_b == class_b)
        yield int(class_a), int(class_b), members_a, members_b


def group_unique(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows of an array of shape (n, columns), and the index of each row among them.

    As np.unique with axis=0, but several times as fast.
    """
    order = np.lexsort(keys.T[::-1])
    in_order = keys[order]
    is_new = np.ones(len(keys), dtype=bool)
    is_new[1:] = (in_order[1:] != in_order[:-1]).any(axis=1)
    labels = np.empty(len(keys), dtype=np.int64)
    labels[order] = np.cumsum(is_new) - 1
    return in_order[is_new], labels


# Pairs of groups, u[k] of a with v[k] of b, which represent all pairs of their members.
GroupPairs = tuple[Groups, np.ndarray, Groups, np.ndarray]


def expand_all(found: Sequence[GroupPairs], limit: float, are_exact: bool) -> np.ndarray:
    """All pairs of members, unless there are too many: int64, shape (2, pairs).

    Raises TooManyPairsError if there are more than `limit`.
    """
    count = sum(int(pair_counts(*each).sum()) for each in found)
    if count > limit:
        raise TooManyPairsError(count, are_exact=are_exact)
    none = np.zeros((2, 0), dtype=np.int64)
    return np.concatenate([none, *(expand(*each)[:2] for each in found)], axis=1)


def pair_counts(a: Groups, u: np.ndarray, b: Groups, v: np.ndarray) -> np.ndarray:
    """The number of pairs that `expand` returns for each pair of groups: int64, shape (len(u),)."""
    with_itself = (u == v) & (a is b)
    return np.where(with_itself, a.size[u] * (a.size[u] - 1) // 2, a.size[u] * b.size[v])


def expand(a: Groups, u: np.ndarray, b: Groups, v: np.ndarray) -> np.ndarray:
    """Pair each member of group u[k] of a with each member of group v[k] of b, for each k.

    If both are the same group (b is a), each two of its members are paired once, the earlier one
    first. Returns int64, shape (3, pairs): the members of both sides, and k.
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
    a, b = sides.both
    agree = [
        (fact_a[i] == fact_b[j]) | ~(known_a[i] & known_b[j])
        for fact_a, fact_b, known_a, known_b in zip(a.facts, b.facts, a.known, b.known, strict=True)
    ]
    return np.logical_and.reduce(agree)


def code_distances(
    sides: Sides, i: np.ndarray, j: np.ndarray | slice
) -> tuple[np.ndarray, np.ndarray]:
    """Hamming distances between the codes of fingerprints i of a and j of b, and the bits compared.

    Both uint16, shape (pairs,). If there are several Image-Codes, the closest pair counts.
    Data-Codes of different lengths are compared over the shorter one. Their distance divided by the
    bits is the Normalized Prefix Hamming Distance (NPHD) of the ISCC project:
    https://github.com/iscc/iscc-usearch
    """
    a, b = sides.both
    bits = np.full(np.broadcast(a.wide[i], b.wide[j]).shape, IMAGE_BITS, dtype=np.uint16)
    last_counts = np.uint16(1)  # whether the words after the first are known
    if sides.by == CONTENT:
        both_wide = a.wide[i] & b.wide[j]
        bits[:] = np.where(both_wide, WIDE_BITS, NARROW_BITS)
        last_counts = both_wide.astype(np.uint16)
    least = bits.copy()
    for of_a, of_b in product(a.codes.swapaxes(0, 1), b.codes.swapaxes(0, 1)):
        first, *others = (
            np.bitwise_count(of_a[i, word] ^ of_b[j, word]) for word in range(of_a.shape[1])
        )
        apart = first.astype(np.uint16)
        for other in others:
            apart += last_counts * other
        np.minimum(least, apart, out=least)
    return least, bits


def distances_to_all(sides: Sides, i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances of fingerprints i of a to all of b, and whether these are exact duplicates.

    Returns float64, shape (len(i), n): in `sides.bits` (distances of 64 bits are doubled), 0 for
    exact duplicates, and NaN where two cannot be compared; and bool, of the same shape.
    """
    some, every = i[:, None], slice(None)  # without a copy of every fingerprint
    distance, bits = code_distances(sides, some, every)
    scaled = distance * (sides.bits / bits)
    comparable = sides.a.comparable[some] & sides.b.comparable
    comparable &= sides.a.of_pixels[some] == sides.b.of_pixels
    scaled[~comparable] = np.nan
    exact = are_exact(sides, some, every)
    scaled[exact] = 0
    return scaled, exact


def distances_by_row(sides: Sides) -> tuple[np.ndarray, np.ndarray]:
    """As `distances_to_all`, for all datasets: both arrays of shape (rows of a, rows of b)."""
    distances, exact = distances_to_all(sides, np.arange(len(sides.a.wide)))
    rows = np.ix_(sides.a.rows.labels, sides.b.rows.labels)
    return distances[rows], exact[rows]


def estimate_pairs(sides: Sides, threshold: int) -> int:
    """Estimate how many pairs of datasets are duplicates, from a sample of the datasets of a."""
    rows = len(sides.a.rows.labels)
    count = min(rows, SAMPLE, SAMPLE_COMPARISONS // len(sides.b.wide) + 1)
    found = 0
    # A random sample, as the input may be periodic, but the same each time.
    for row in np.random.default_rng(0).permutation(rows)[:count]:
        [distances], [exact] = distances_to_all(sides, sides.a.rows.labels[[row]])
        found += int(sides.b.rows.size[exact | (distances <= threshold)].sum())
    if sides.is_one_set:  # each dataset finds itself, and each pair is found from both ends
        return (found - count) * rows // (2 * count)
    return found * rows // count
