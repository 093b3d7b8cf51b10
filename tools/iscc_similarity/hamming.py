"""Find all pairs of hashes within a Hamming distance: arrays in, arrays out, and no pair missed.

A hash is a row of one, two or four unsigned 64-bit words; its first bit is the highest bit of the
first word. If the threshold is small compared with the number of bits, most pairs are never
compared (multi-index hashing: Norouzi, Punjani and Fleet, 2012, https://arxiv.org/abs/1307.2982):

    Cut the bits into chunks and give each chunk a radius, so that (radius + 1), summed over all
    chunks, exceeds the threshold. Two hashes within the threshold then differ by no more than the
    radius in at least one chunk; otherwise, they would differ by more than the threshold in total.
    (The radii need not be equal: Qin et al., 2018, https://doi.org/10.1109/ICDE.2018.00070.)

    For each chunk: sort the hashes by it, look up for each hash those whose chunk differs by at
    most the radius, and compare these candidates in full. A pair that several chunks find is
    taken from the first of them.

The layout of the chunks is the one with the lowest estimated cost. If brute force costs less, all
pairs are compared, in tiles that fit the processor's cache. The set of pairs does not depend on
this choice, but their order does.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from functools import cache, partial
from itertools import accumulate, combinations
from typing import NamedTuple

import numpy as np

import workers
from workers import Report

WORD_BITS = 64

# The table of where each value of a chunk begins takes 8 bytes per value: at most 32 MiB.
MOST_CHUNK_BITS = 22
INDEX_BITS = WORD_BITS - MOST_CHUNK_BITS

# Sizes of blocks: arrays of this many 64-bit words stay in a processor's cache.
LOOKUPS_AT_ONCE = 1 << 18
CANDIDATES_AT_ONCE = 1 << 16
TILE_ROWS, TILE_COLUMNS = 16, 4096
# Rows in the unit of work of one worker.
BAND_ROWS = 64 * TILE_ROWS
REORDERED_AT_ONCE = 1 << 16

NOTHING_NEAR = 0xFFFF  # more bits than any hash has

# Bits that have the same value in nearly all hashes are useless in a chunk. A bit is left out if,
# in a sample, its rarer value has less than this share.
SAMPLE = 1000
LEAST_BALANCE = 1 / 8

# Nanoseconds, measured on one core (benchmarks/README.md); only their ratios matter.
COST_OF_SORTING = 75.0  # per hash and chunk
COST_OF_TABLE = 3.0  # per possible value of a chunk
COST_OF_CALLS = 40_000.0  # of NumPy, per pattern of bits that may differ in a chunk
COST_OF_LOOKUP = 6.0  # per hash and such pattern
COST_OF_CANDIDATE = 6.0  # per word of a folded hash
COST_OF_COMPARISON = 1.0  # by brute force, per word
WORTH_A_WORKER = 50e6  # starting one takes about 20 ms


class HashPairs(NamedTuple):
    """Pairs of hashes: indices (int64) into two sets, and distances (uint16), shape (pairs,)."""

    a: np.ndarray
    b: np.ndarray
    distance: np.ndarray


class Task(NamedTuple):
    """What to compare: the hashes of a with those of b or, if one_set (b is a), with each other."""

    a: np.ndarray
    b: np.ndarray
    one_set: bool
    threshold: int

    @property
    def comparisons(self) -> int:
        n = len(self.a)
        return n * (n - 1) // 2 if self.one_set else n * len(self.b)

    @property
    def words(self) -> int:
        return self.a.shape[1]

    @property
    def folded_words(self) -> int:
        return max(1, self.words // 2)


class Chunk(NamedTuple):
    """`width` bits of a hash, from bit `start` on, of which at most `radius` may differ."""

    start: int
    width: int
    radius: int


class Plan(NamedTuple):
    """How to search: the chunks, after bringing the bits into `order`, if that is not None."""

    chunks: list[Chunk]
    cost: float  # assuming evenly spread hashes
    order: np.ndarray | None


class TooManyPairsError(Exception):
    """There are more pairs than the limit: `count`, which may be an estimate from a sample."""

    def __init__(self, count: int, is_estimate: bool = False, are_exact: bool = False):
        super().__init__(count, is_estimate, are_exact)
        self.count, self.is_estimate, self.are_exact = count, is_estimate, are_exact


class TooManyCandidatesError(Exception):
    """The hashes are so unevenly spread that brute force is faster."""


def pairs_within(
    hashes_a: np.ndarray,
    hashes_b: np.ndarray | None,
    threshold: int,
    limit: float = math.inf,
    processes: int = 1,
    report: Report = lambda share: None,
) -> HashPairs:
    """Find every pair of hashes at a Hamming distance of at most `threshold`, each once.

    hashes_a    uint64, shape (n, words), with one, two or four words. Remove repeated hashes first,
                or all pairs of equal hashes are found
    hashes_b    uint64, shape (m, words): pairs are one hash of a and one of b, in this order;
                None: pairs are two hashes of a, the smaller index first
    threshold   bits, 0 to 64 * words
    limit       maximum number of pairs
    processes   number of processes that share the work
    report      progress callback, called with the share of all work done since the last call

    Raises TooManyPairsError as soon as more than `limit` pairs are found; its count is their
    number.

    Time: for n random hashes of 128 bits and a threshold of 12, 0.2 s for 100,000 and 3 s for
    1,000,000 on one core; where brute force is faster, n * n / 2 comparisons, and never more than
    about twice as many. Memory: about 80 bytes per hash and process, and 20 per pair.
    """
    one_set = hashes_b is None
    task = Task(hashes_a, hashes_a if one_set else hashes_b, one_set, threshold)
    by_brute_force = COST_OF_COMPARISON * task.words * task.comparisons
    plan = make_plan(task)
    if min(plan.cost, by_brute_force) < WORTH_A_WORKER:
        processes = 1
    done = 0.0

    def add(share: float) -> None:
        nonlocal done
        done += share
        report(share)

    if plan.cost < by_brute_force:
        # With more candidates than this, brute force is faster.
        budget = Budget(by_brute_force / (COST_OF_CANDIDATE * task.folded_words))
        find = partial(search, reorder_task(task, plan.order), plan.chunks, budget)
        with suppress(TooManyCandidatesError):
            return run(find, range(len(plan.chunks)), limit, processes, add)
    left = 1 - done
    bands = range(0, len(hashes_a), BAND_ROWS)
    return run(partial(compare, task), bands, limit, processes, lambda share: report(share * left))


def run(
    find: Callable[[int, Report], Iterable[HashPairs]],
    items: Sequence[int],
    limit: float,
    processes: int,
    report: Report,
) -> HashPairs:
    """Collect the pairs that `find(item, report)` finds for all items, in any order.

    Workers are processes, not threads: with arrays that fit a cache, too much of the time is spent
    in Python itself, under its lock.
    """
    work = partial(find_all, find, limit)
    if processes == 1:
        results = ((number, work(item, report)) for number, item in enumerate(items))
    else:
        portions = [[number] for number in range(len(items))]
        results = workers.in_processes(work, items, portions, processes, report)
    with closing(results):  # stops the workers if there are too many pairs
        return concatenate((pairs for _, pairs in results), limit)


def find_all(
    find: Callable[[int, Report], Iterable[HashPairs]], limit: float, item: int, report: Report
) -> HashPairs:
    return concatenate(find(item, report), limit)


def concatenate(blocks: Iterable[HashPairs], limit: float) -> HashPairs:
    """Join blocks of pairs. Raises TooManyPairsError as soon as there are more than `limit`."""
    count = 0
    kept = [HashPairs(*(np.zeros(0, dtype) for dtype in (np.int64, np.int64, np.uint16)))]
    for block in blocks:
        count += len(block.a)
        if count > limit:
            raise TooManyPairsError(count)
        kept.append(block)
    return HashPairs(*(np.concatenate(arrays) for arrays in zip(*kept, strict=True)))


def distances(hashes_a: np.ndarray, hashes_b: np.ndarray) -> np.ndarray:
    """Hamming distances of all pairs: (n, words) and (m, words) of uint64 to (n, m) of uint16.

    With fewer than four words, the result is uint8, which is large enough.
    """
    total = np.bitwise_count(hashes_a[:, None, 0] ^ hashes_b[None, :, 0])
    if hashes_a.shape[1] * WORD_BITS > np.iinfo(total.dtype).max:
        total = total.astype(np.uint16)
    for word in range(1, hashes_a.shape[1]):
        total += np.bitwise_count(hashes_a[:, None, word] ^ hashes_b[None, :, word])
    return total


def nearest(
    hashes_a: np.ndarray, hashes_b: np.ndarray, itself: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The distance of each of n hashes, (n, words), to the nearest of m others, (m, words).

    `itself`, int64, shape (n,), is the index of the hash itself among the others; it does not
    count. Returns uint16, shape (n,), the distances, NOTHING_NEAR if there is no other hash; and
    int64, shape (n,), the index of the nearest hash, the first of several. By brute force.
    """
    columns = np.ascontiguousarray(hashes_b.T)
    least = np.full(len(hashes_a), NOTHING_NEAR, dtype=np.uint16)
    which = np.zeros(len(hashes_a), dtype=np.int64)
    for top in range(0, len(hashes_a), TILE_ROWS):
        rows = slice(top, top + TILE_ROWS)
        for left in range(0, len(hashes_b), TILE_COLUMNS):
            apart = distances(hashes_a[rows], columns[:, left : left + TILE_COLUMNS].T)
            apart = apart.astype(np.uint16, copy=False)  # minima of uint16 take half as long
            if itself is not None:
                i, j = np.arange(len(apart)), itself[rows] - left
                here = (j >= 0) & (j < apart.shape[1])
                apart[i[here], j[here]] = NOTHING_NEAR
            nearest_here = apart.argmin(axis=1)
            distance = np.take_along_axis(apart, nearest_here[:, None], axis=1)[:, 0]
            nearer = distance < least[rows]
            least[rows] = np.where(nearer, distance, least[rows])
            which[rows] = np.where(nearer, nearest_here + left, which[rows])
    return least, which


def make_plan(task: Task) -> Plan:
    """Make the cheapest plan for a search, from the bits that vary among a sample of the hashes.

    A bit that is set in a share p of the hashes is equal in two of them with probability
    p * p + (1 - p) * (1 - p), which is 1/2 if it is balanced and 1 if it never varies.
    """
    # A random sample, but the same each time.
    samples = [
        np.random.default_rng(0).choice(hashes, min(SAMPLE, len(hashes)))
        for hashes in (task.a, task.b)
    ]
    bits = bits_of(np.concatenate(samples))
    share = bits.sum(axis=0) / max(1, len(bits))
    usable = np.minimum(share, 1 - share) >= LEAST_BALANCE
    if not usable.any():
        return Plan([], math.inf, None)
    equal = share**2 + (1 - share) ** 2
    information = -np.log2(equal[usable]).mean()
    chunks, cost = cut(np.count_nonzero(usable), task, information)
    order = np.argsort(~usable, kind="stable")
    return Plan(chunks, cost, None if usable.all() else order)


def bits_of(hashes: np.ndarray) -> np.ndarray:
    """The bits of hashes: (n, words) of uint64 to (n, 64 * words) of uint8, 0 or 1."""
    return np.unpackbits(hashes.astype(">u8").view(np.uint8), axis=1)


def reorder_task(task: Task, order: np.ndarray | None) -> Task:
    """The task with the bits of all hashes in another order, which changes no distance."""
    if order is None:
        return task
    a = reorder_bits(task.a, order)
    return task._replace(a=a, b=a if task.one_set else reorder_bits(task.b, order))


def reorder_bits(hashes: np.ndarray, order: np.ndarray) -> np.ndarray:
    result = np.empty_like(hashes)
    for start in range(0, len(hashes), REORDERED_AT_ONCE):
        some = slice(start, start + REORDERED_AT_ONCE)
        bits = np.take(bits_of(hashes[some]), order, axis=1)
        result[some] = np.packbits(bits, axis=1).view(">u8")
    return result


def cut(bits: int, task: Task, information: float) -> tuple[list[Chunk], float]:
    """The cheapest chunks of the first `bits` bits for a search, and their cost.

    `information` is the negative binary logarithm of the probability that a bit of two hashes is
    equal.
    """
    sorted_hashes = len(task.a) + (0 if task.one_set else len(task.b))

    @cache
    def price(width: int, radius: int) -> float:
        patterns = sum(math.comb(width, flips) for flips in range(radius + 1))
        return (
            COST_OF_SORTING * sorted_hashes
            + COST_OF_TABLE * 2**width
            + (COST_OF_CALLS + COST_OF_LOOKUP * len(task.a)) * patterns
            + COST_OF_CANDIDATE
            * task.folded_words
            * task.comparisons
            * patterns
            / 2 ** (information * width)
        )

    priced = (
        (sum(price(chunk.width, chunk.radius) for chunk in chunks), chunks)
        for chunks in layouts(bits, task.threshold)
    )
    cost, chunks = min(priced)
    return chunks, cost


def layouts(bits: int, threshold: int) -> Iterator[list[Chunk]]:
    """Ways to cut hashes into chunks whose (radius + 1) add up to threshold + 1.

    The radii of a layout differ by at most 1; chunks with the smaller radius are at most as wide as
    the others.
    """
    for count in range(1, min(threshold + 1, bits) + 1):
        radius, more = divmod(threshold, count)
        larger, smaller = more + 1, count - more - 1
        radii = [radius] * larger + [radius - 1] * smaller
        # If no radius is smaller, all of these layouts are the same.
        for narrow in range(1, bits // count + 1):
            widths = shares(bits - smaller * narrow, larger) + [narrow] * smaller
            starts = accumulate(widths[:-1], initial=0)
            # A chunk may leave out bits: it then finds more candidates, never fewer pairs.
            yield [
                Chunk(start, min(width, MOST_CHUNK_BITS), radius)
                for start, width, radius in zip(starts, widths, radii, strict=True)
            ]


def shares(total: int, parts: int) -> list[int]:
    """Split an integer into parts that differ by at most 1."""
    return [total // parts + (part < total % parts) for part in range(parts)]


def search(
    task: Task, chunks: list[Chunk], budget: "Budget", number: int, report: Report
) -> Iterator[HashPairs]:
    """The pairs that the chunk with this number finds and no earlier chunk does."""
    chunk = chunks[number]
    a = Sorted(task.a, chunk)
    b = a if task.one_set else Sorted(task.b, chunk)
    table = np.zeros((1 << chunk.width) + 1, dtype=np.int64)
    np.cumsum(np.bincount(b.values, minlength=1 << chunk.width), out=table[1:])
    patterns = list(patterns_within(chunk.width, chunk.radius))
    share = 1 / (len(chunks) * len(patterns) * len(a.values))  # of the work, per lookup

    for start in range(0, len(a.values), LOOKUPS_AT_ONCE):
        values = a.values[start : start + LOOKUPS_AT_ONCE]
        every = np.arange(len(values))
        for pattern in patterns:
            rows, wanted = every, values ^ pattern
            if task.one_set and pattern:
                # Two hashes would find each other: only the one with the smaller value looks.
                rows = np.flatnonzero(values < wanted)
                wanted = wanted[rows]
            first = rows + (start + 1) if task.one_set and not pattern else table[wanted]
            count = table[wanted + 1] - first
            for i, j, part in candidates(a, b, rows + start, first, count, task.threshold, budget):
                if len(i):
                    i, j = a.order[i], b.order[j]
                    differing = task.a[i] ^ task.b[j]
                    distance = np.bitwise_count(differing).sum(axis=1, dtype=np.uint16)
                    found = distance <= task.threshold
                    for earlier in chunks[:number]:
                        found &= np.bitwise_count(chunk_of(differing, earlier)) > earlier.radius
                    i, j = i[found], j[found]
                    if task.one_set:
                        i, j = np.minimum(i, j), np.maximum(i, j)
                    yield HashPairs(i, j, distance[found])
                report(share * len(values) * part)


class Sorted:
    """Hashes in the order of the values of a chunk.

    values    int64, shape (n,), ascending
    order     int64, shape (n,): the original index of each hash
    folded    uint64, one or two arrays of shape (n,): the exclusive or of both halves of each hash.
              Two folded hashes differ in no more bits than the hashes do, and, unlike halves, are
              rarely similar by chance
    """

    def __init__(self, hashes: np.ndarray, chunk: Chunk):
        # Sorting numbers that hold both value and index is faster than argsort.
        both = chunk_of(hashes, chunk) << np.uint64(INDEX_BITS)
        both |= np.arange(len(hashes), dtype=np.uint64)
        both.sort()
        self.values = (both >> np.uint64(INDEX_BITS)).astype(np.int64)
        self.order = (both & np.uint64((1 << INDEX_BITS) - 1)).astype(np.int64)
        columns = hashes.T
        if len(columns) > 1:
            half = len(columns) // 2
            columns = columns[:half] ^ columns[half:]
        self.folded = [each[self.order] for each in columns]


def chunk_of(hashes: np.ndarray, chunk: Chunk) -> np.ndarray:
    """The bits of a chunk as numbers: (n, words) of uint64 to (n,) of uint64."""
    word, offset = divmod(chunk.start, WORD_BITS)
    bits = hashes[:, word] << np.uint64(offset)
    if offset + chunk.width > WORD_BITS:
        bits |= hashes[:, word + 1] >> np.uint64(WORD_BITS - offset)
    return bits >> np.uint64(WORD_BITS - chunk.width)


def patterns_within(width: int, radius: int) -> Iterator[int]:
    """Integers of `width` bits with at most `radius` bits set."""
    for count in range(radius + 1):
        for bits in combinations(range(width), count):
            yield sum(1 << bit for bit in bits)


def candidates(
    a: Sorted,
    b: Sorted,
    rows: np.ndarray,
    first: np.ndarray,
    count: np.ndarray,
    threshold: int,
    budget: "Budget",
) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Positions in a and b of pairs that may be within the threshold, and the share of the work.

    Each of the `rows` of a is paired with `count` positions of b, from `first` on. This is done in
    slices of at least one row, so that memory does not grow with the number of candidates. The
    shares of all slices add up to 1.
    """
    some = np.flatnonzero(count)
    if not len(some):
        yield some, some, 1.0
    rows, first, count = rows[some], first[some], count[some]
    ends = np.cumsum(count)
    starts = ends - count
    row, before = 0, 0
    while row < len(rows):
        stop = max(row + 1, int(np.searchsorted(ends, before + CANDIDATES_AT_ONCE, "right")))
        after = int(ends[stop - 1])
        budget.spend(after - before)
        at = starts[row:stop] - before
        i = decode_runs(at, rows[row:stop], after - before)
        j = decode_runs(at, first[row:stop] - at, after - before)
        j += np.arange(after - before)
        apart = [
            np.bitwise_count(of_a[i] ^ of_b[j])
            for of_a, of_b in zip(a.folded, b.folded, strict=True)
        ]
        close = np.flatnonzero(sum(apart[1:], apart[0]) <= threshold)
        yield i[close], j[close], (stop - row) / len(rows)
        row, before = stop, after


def decode_runs(starts: np.ndarray, values: np.ndarray, length: int) -> np.ndarray:
    """Run-length decoding: each value from its start up to the next start; the first start is 0.

    The result is that of np.repeat, which is slow for short runs and blocks other threads.
    """
    steps = np.zeros(length, dtype=np.int64)
    steps[starts] = np.diff(values, prepend=0)
    return np.cumsum(steps, out=steps)


class Budget:
    """The number of candidates that one process may compare before brute force is faster."""

    def __init__(self, candidates: float):
        self.left = candidates

    def spend(self, candidates: int) -> None:
        self.left -= candidates
        if self.left < 0:
            raise TooManyCandidatesError


def compare(task: Task, start: int, report: Report) -> Iterator[HashPairs]:
    """Find the pairs of a band of rows of the first set, from `start` on, by brute force."""
    columns = np.ascontiguousarray(task.b.T)
    n = len(task.a)
    for top in range(start, min(start + BAND_ROWS, n), TILE_ROWS):
        rows = task.a[top : top + TILE_ROWS]
        for left in range(top if task.one_set else 0, len(task.b), TILE_COLUMNS):
            apart = distances(rows, columns[:, left : left + TILE_COLUMNS].T)
            i, j = np.divmod(np.flatnonzero(apart <= task.threshold), apart.shape[1])
            i, j = i + top, j + left
            if task.one_set and left < top + TILE_ROWS:
                upper = i < j
                i, j = i[upper], j[upper]
            yield HashPairs(i, j, apart[i - top, j - left].astype(np.uint16))
        # In one set, a row is compared with those below it.
        share = (2 * (n - top) - len(rows)) / n if task.one_set else 1
        report(share * len(rows) / n)
