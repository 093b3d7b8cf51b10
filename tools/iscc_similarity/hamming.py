"""All pairs of hashes within a Hamming distance: arrays in, arrays out, and no pair missed.

A hash is a row of unsigned 64-bit words, the first bit of which is the highest bit of the first
word. Where the threshold is small beside the number of bits, most pairs are never looked at
(multi-index hashing: Norouzi, Punjani and Fleet, 2012, https://arxiv.org/abs/1307.2982):

    Cut the bits into chunks, and give each a radius, so that the sum of (radius + 1) over all of
    them is more than the threshold. Two hashes within the threshold then differ by no more than
    its radius in at least one chunk: if they did not, they would differ by more than the threshold
    in all. (That the radii need not be equal: Qin et al., 2018, https://doi.org/10.1109/ICDE.2018.00070.)

    So, for each chunk: sort the hashes by it, look up for each hash those whose chunk differs by
    at most the radius, and compare these candidates in full. A pair that several chunks find is
    taken from the first of them.

How to cut is decided by what it costs, which is also compared with brute force: all pairs in tiles
that fit the processor's cache. The set of pairs is the same, whatever is chosen.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import cache, partial
from itertools import accumulate, combinations
from typing import NamedTuple

import numpy as np

import workers

WORD_BITS = 64

# A table of where each value of a chunk begins takes 8 bytes a value: 32 MiB at most.
MOST_CHUNK_BITS = 22

# What is compared at once: arrays of this many 64-bit words stay in a processor's cache.
LOOKUPS_AT_ONCE = 1 << 18
CANDIDATES_AT_ONCE = 1 << 16
TILE_ROWS, TILE_COLUMNS = 16, 4096
# Rows of tiles that one worker takes on.
BAND_ROWS = 64 * TILE_ROWS

NOTHING_NEAR = 255  # more bits than two words have

# How many hashes are compared with all others to tell about how many pairs there are.
SAMPLE = 1000

# Nanoseconds, measured on one core (benchmarks/README.md); only their ratios matter.
COST_OF_SORTING = 75.0  # a hash, for each chunk
COST_OF_TABLE = 3.0  # a value that a chunk may have
COST_OF_CALLS = 40_000.0  # into NumPy, for each pattern of bits that may differ in a chunk
COST_OF_LOOKUP = 6.0  # a hash, for each such pattern
COST_OF_CANDIDATE = 6.0
COST_OF_COMPARISON = 2.0  # by brute force
WORTH_A_WORKER = 50e6  # to start one takes about 20 ms


class Pairs(NamedTuple):
    """Pairs of hashes: indices into the two sets, and distances, each of shape (pairs,)."""

    a: np.ndarray
    b: np.ndarray
    distance: np.ndarray


class Chunk(NamedTuple):
    """The bits of a hash from `start` on, `width` of them, and how many of these may differ."""

    start: int
    width: int
    radius: int


class TooManyPairsError(Exception):
    """There are more pairs than the limit: `about` so many."""

    def __init__(self, about: int):
        super().__init__(about)
        self.about = about


class TooManyCandidatesError(Exception):
    """The hashes are so unevenly spread that brute force is faster."""


def pairs_within(
    hashes_a: np.ndarray,
    hashes_b: np.ndarray | None,
    threshold: int,
    limit: float = math.inf,
    jobs: int = 1,
    look: Callable[[float], None] = lambda done: None,
) -> Pairs:
    """Every pair of hashes at a Hamming distance of at most `threshold`, each once.

    hashes_a    uint64, shape (n, words), up to three words; fold equal hashes before, or all
                their pairs are found
    hashes_b    uint64, shape (m, words): pairs are one of a and one of b, in this order; None:
                pairs are two of a, the smaller index first
    threshold   bits, 0 to 64 * words
    limit       raise TooManyPairsError if there are more, with a guess how many
    jobs        processes that share the work
    look        is told from time to time which fraction is done

    Time: for n random hashes of 128 bits and a threshold of 12, 0.2 s for 100,000 and 3 s for
    1,000,000 on one core; where brute force is faster, n * n / 2 comparisons, and never more than
    about twice these. Memory: about 80 bytes a hash and job, and 20 a pair.
    """
    chunks, cost, by_brute_force = plan(hashes_a, hashes_b, threshold)
    if min(cost, by_brute_force) < WORTH_A_WORKER:
        jobs = 1
    try:
        if cost < by_brute_force:
            # With more candidates than these, brute force would be done already.
            tally = Tally(limit, by_brute_force / COST_OF_CANDIDATE)
            tasks = [
                partial(search, hashes_a, hashes_b, threshold, chunks[:count], tally)
                for count in range(1, len(chunks) + 1)
            ]
            try:
                return joined(run(tasks, tally, jobs, look))
            except TooManyCandidatesError:
                pass
        tally = Tally(limit, math.inf)
        tasks = [
            partial(compare, hashes_a, hashes_b, threshold, start, tally)
            for start in range(0, len(hashes_a), BAND_ROWS)
        ]
        return joined(run(tasks, tally, jobs, look))
    except TooManyPairsError as error:
        raise TooManyPairsError(max(error.about, estimate(hashes_a, hashes_b, threshold))) from None


def distances(hashes_a: np.ndarray, hashes_b: np.ndarray) -> np.ndarray:
    """Hamming distances of all pairs: (n, words) and (m, words) of uint64 to (n, m) of uint8.

    For hashes of up to three words, whose distances uint8 can hold.
    """
    total = np.bitwise_count(hashes_a[:, None, 0] ^ hashes_b[None, :, 0])
    for word in range(1, hashes_a.shape[1]):
        total += np.bitwise_count(hashes_a[:, None, word] ^ hashes_b[None, :, word])
    return total


def nearest(
    hashes_a: np.ndarray, hashes_b: np.ndarray, itself: np.ndarray | None = None
) -> np.ndarray:
    """The distance of each of n hashes, (n, words), to the nearest of m others, (m, words).

    `itself`, int64 and of shape (n,), says which of the others is the hash itself and does not
    count. Gives uint8, shape (n,); NOTHING_NEAR where there is no other. By brute force.
    """
    columns = np.ascontiguousarray(hashes_b.T)
    least = np.full(len(hashes_a), NOTHING_NEAR, dtype=np.uint8)
    for top in range(0, len(hashes_a), TILE_ROWS):
        rows = slice(top, top + TILE_ROWS)
        for left in range(0, len(hashes_b), TILE_COLUMNS):
            apart = distances(hashes_a[rows], columns[:, left : left + TILE_COLUMNS].T)
            if itself is not None:
                i, j = np.arange(len(apart)), itself[rows] - left
                here = (j >= 0) & (j < apart.shape[1])
                apart[i[here], j[here]] = NOTHING_NEAR
            least[rows] = np.minimum(least[rows], apart.min(axis=1))
    return least


def estimate(hashes_a: np.ndarray, hashes_b: np.ndarray | None, threshold: int) -> int:
    """About how many pairs there are, from up to SAMPLE hashes compared with all."""
    sample = np.unique(np.linspace(0, len(hashes_a) - 1, SAMPLE).astype(np.int64))
    others = hashes_a if hashes_b is None else hashes_b
    found = sum(
        np.count_nonzero(distances(hashes_a[[row]], others) <= threshold) for row in sample.tolist()
    )
    if hashes_b is None:
        # Each has found itself, and will find each pair from both ends.
        return (found - len(sample)) * len(hashes_a) // len(sample) // 2
    return found * len(hashes_a) // len(sample)


def plan(
    hashes_a: np.ndarray, hashes_b: np.ndarray | None, threshold: int
) -> tuple[list[Chunk], float, float]:
    """The best chunks to search by, what that would cost, and what brute force would cost."""
    n = len(hashes_a)
    if hashes_b is None:
        sorted_hashes, comparisons = n, n * (n - 1) // 2
    else:
        sorted_hashes, comparisons = n + len(hashes_b), n * len(hashes_b)
    bits = WORD_BITS * hashes_a.shape[1]
    return *cut(bits, threshold, n, sorted_hashes, comparisons), comparisons * COST_OF_COMPARISON


def cut(
    bits: int, threshold: int, lookups: int, sorted_hashes: int, comparisons: int
) -> tuple[list[Chunk], float]:
    """The chunks with which a search costs least, and what it costs if hashes spread evenly.

    `lookups` hashes are looked up, among `comparisons` possible pairs.
    """

    @cache
    def price(width: int, radius: int) -> float:
        patterns = sum(math.comb(width, flips) for flips in range(radius + 1))
        return (
            COST_OF_SORTING * sorted_hashes
            + COST_OF_TABLE * 2**width
            + (COST_OF_CALLS + COST_OF_LOOKUP * lookups) * patterns
            + COST_OF_CANDIDATE * comparisons * patterns / 2**width
        )

    def cost(chunks: list[Chunk]) -> float:
        return sum(price(chunk.width, chunk.radius) for chunk in chunks)

    cheapest = min(layouts(bits, threshold), key=cost)
    return cheapest, cost(cheapest)


def layouts(bits: int, threshold: int) -> Iterator[list[Chunk]]:
    """Ways to cut hashes into chunks whose (radius + 1) add up to threshold + 1.

    The radii of a layout differ by 1 at most; chunks of the smaller radius are as wide as the
    others or narrower.
    """
    for count in range(1, min(threshold + 1, bits) + 1):
        radius, larger = divmod(threshold + 1 - count, count)
        smaller = count - larger
        radii = [radius + 1] * larger + [radius] * smaller
        if larger:
            narrow = range(1, bits // count + 1)
            cuts = [shares(bits - smaller * n, larger) + [n] * smaller for n in narrow]
        else:
            cuts = [shares(bits, count)]
        for widths in cuts:
            starts = accumulate(widths[:-1], initial=0)
            # A chunk may leave bits out: it finds no less then, only more to compare.
            yield [
                Chunk(start, min(width, MOST_CHUNK_BITS), radius)
                for start, width, radius in zip(starts, widths, radii, strict=True)
            ]


def shares(total: int, parts: int) -> list[int]:
    """A whole number in parts that differ by 1 at most."""
    return [total // parts + (part < total % parts) for part in range(parts)]


def search(
    hashes_a: np.ndarray,
    hashes_b: np.ndarray | None,
    threshold: int,
    chunks: list[Chunk],
    tally: "Tally",
) -> Pairs:
    """The pairs that the last of the chunks finds and none before it does."""
    chunk = chunks[-1]
    a = Sorted(hashes_a, chunk)
    b = a if hashes_b is None else Sorted(hashes_b, chunk)
    table = np.zeros((1 << chunk.width) + 1, dtype=np.int64)
    np.cumsum(np.bincount(b.values, minlength=1 << chunk.width), out=table[1:])

    found = []
    for start in range(0, len(a.values), LOOKUPS_AT_ONCE):
        values = a.values[start : start + LOOKUPS_AT_ONCE]
        for flips in flips_within(chunk.width, chunk.radius):
            wanted = values ^ flips
            if hashes_b is not None:
                rows = np.arange(len(values))
                first = table[wanted]
            elif flips:
                # Of two hashes, each of which finds the other, the one with the smaller value.
                rows = np.flatnonzero(values < wanted)
                wanted = wanted[rows]
                first = table[wanted]
            else:
                rows = np.arange(len(values))
                first = rows + (start + 1)
            count = table[wanted + 1] - first
            for i, j in candidates(a, b, rows + start, first, count, threshold, tally):
                i, j = a.order[i], b.order[j]
                differing = hashes_a[i] ^ (hashes_a if hashes_b is None else hashes_b)[j]
                distance = np.bitwise_count(differing).sum(axis=1, dtype=np.uint8)
                ours = distance <= threshold
                for earlier in chunks[:-1]:
                    ours &= np.bitwise_count(part(differing, earlier)) > earlier.radius
                tally.add_pairs(np.count_nonzero(ours))
                found.append(Pairs(i[ours], j[ours], distance[ours]))
    pairs = joined(found)
    if hashes_b is None:
        return Pairs(np.minimum(pairs.a, pairs.b), np.maximum(pairs.a, pairs.b), pairs.distance)
    return pairs


class Sorted:
    """Hashes in the order of the values of a chunk.

    values    int64, shape (n,), ascending
    order     int64, shape (n,): where each of them was before
    rest      uint64, shape (n,): that word of each, of which the chunk holds least
    """

    def __init__(self, hashes: np.ndarray, chunk: Chunk):
        # One sort of numbers that hold both is faster than one of the indices.
        both = part(hashes, chunk) << np.uint64(WORD_BITS - MOST_CHUNK_BITS)
        both |= np.arange(len(hashes), dtype=np.uint64)
        both.sort()
        self.values = (both >> np.uint64(WORD_BITS - MOST_CHUNK_BITS)).astype(np.int64)
        self.order = (both & np.uint64((1 << WORD_BITS - MOST_CHUNK_BITS) - 1)).astype(np.int64)
        word = hashes.shape[1] - 1 if chunk.start + chunk.width / 2 < WORD_BITS else 0
        self.rest = hashes[:, word][self.order]


def part(hashes: np.ndarray, chunk: Chunk) -> np.ndarray:
    """The bits of a chunk as numbers: (n, words) of uint64 to (n,) of uint64."""
    word, offset = divmod(chunk.start, WORD_BITS)
    bits = hashes[:, word] << np.uint64(offset)
    if offset + chunk.width > WORD_BITS:
        bits |= hashes[:, word + 1] >> np.uint64(WORD_BITS - offset)
    return bits >> np.uint64(WORD_BITS - chunk.width)


def flips_within(width: int, radius: int) -> Iterator[int]:
    """Numbers of `width` bits of which at most `radius` are set."""
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
    tally: "Tally",
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions in a and b of pairs that are within the threshold in one word already.

    `rows` of a are beside `count` positions of b, from `first` on. They are looked at in slices,
    of one row at least, so that memory does not grow with the number of candidates.
    """
    some = np.flatnonzero(count)
    rows, first, count = rows[some], first[some], count[some]
    ends = np.cumsum(count)
    starts = ends - count
    row, before = 0, 0
    while row < len(rows):
        stop = max(row + 1, int(np.searchsorted(ends, before + CANDIDATES_AT_ONCE, "right")))
        after = int(ends[stop - 1])
        tally.add_candidates(after - before)
        at = starts[row:stop] - before
        i = filled(at, rows[row:stop], after - before)
        j = filled(at, first[row:stop] - at, after - before)
        j += np.arange(after - before)
        close = np.flatnonzero(np.bitwise_count(a.rest[i] ^ b.rest[j]) <= threshold)
        if len(close):
            yield i[close], j[close]
        row, before = stop, after


def filled(at: np.ndarray, values: np.ndarray, length: int) -> np.ndarray:
    """Each value from its place on up to the next one's; the first place is 0.

    What np.repeat does, but that is slow for values that stand alone, and lets no other thread run.
    """
    steps = np.zeros(length, dtype=np.int64)
    steps[at] = np.diff(values, prepend=0)
    return np.cumsum(steps, out=steps)


def compare(
    hashes_a: np.ndarray,
    hashes_b: np.ndarray | None,
    threshold: int,
    start: int,
    tally: "Tally",
) -> Pairs:
    """The pairs of a band of rows of the first set, from `start` on, by brute force."""
    columns = np.ascontiguousarray((hashes_a if hashes_b is None else hashes_b).T)
    found = []
    for top in range(start, min(start + BAND_ROWS, len(hashes_a)), TILE_ROWS):
        rows = hashes_a[top : top + TILE_ROWS]
        for left in range(top if hashes_b is None else 0, columns.shape[1], TILE_COLUMNS):
            apart = distances(rows, columns[:, left : left + TILE_COLUMNS].T)
            i, j = np.divmod(np.flatnonzero(apart <= threshold), apart.shape[1])
            i, j = i + top, j + left
            if hashes_b is None and left < top + TILE_ROWS:
                upper = i < j
                i, j = i[upper], j[upper]
            tally.add_pairs(len(i))
            found.append(Pairs(i, j, apart[i - top, j - left]))
    return joined(found)


class Tally:
    """What has been found in this process so far, and when it is too much."""

    def __init__(self, most_pairs: float, most_candidates: float):
        self.most_pairs, self.most_candidates = most_pairs, most_candidates
        self.pairs = self.candidates = 0

    def add_pairs(self, count: int) -> None:
        self.pairs += count
        if self.pairs > self.most_pairs:
            raise TooManyPairsError(self.pairs)

    def add_candidates(self, count: int) -> None:
        self.candidates += count
        if self.candidates > self.most_candidates:
            raise TooManyCandidatesError


def run(
    tasks: list[Callable[[], Pairs]], tally: Tally, jobs: int, look: Callable[[float], None]
) -> list[Pairs]:
    """The results of all tasks, in their order.

    Workers are processes: of the time that NumPy takes for arrays that fit a cache, too much is
    Python's own. They have a tally each, so what they find together is counted here.
    """
    results: dict[int, Pairs] = {}
    if jobs == 1:
        done = ((number, task()) for number, task in enumerate(tasks))
    else:
        portions = [[number] for number in range(len(tasks))]
        done = workers.in_processes(called, tasks, portions, jobs, lambda _: None)
        tally = Tally(tally.most_pairs, math.inf)
    with closing(done):  # no worker goes on when there are too many pairs
        for number, pairs in done:
            results[number] = pairs
            if jobs > 1:
                tally.add_pairs(len(pairs.a))
            look(len(results) / len(tasks))
    return [results[number] for number in range(len(tasks))]


def called(task: Callable[[], Pairs], read: Callable[[int], None]) -> Pairs:
    """Do a task in a worker."""
    return task()


def joined(blocks: Iterable[Pairs]) -> Pairs:
    """Pairs of many blocks as one."""
    none = Pairs(*(np.zeros(0, dtype) for dtype in (np.int64, np.int64, np.uint8)))
    return Pairs(*(np.concatenate(arrays) for arrays in zip(none, *blocks, strict=True)))
