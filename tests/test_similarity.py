"""iscc_similarity finds every pair, in any order; only equal bytes are exact duplicates."""

import io
import json
import os
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from itertools import combinations, permutations, product
from pathlib import Path
from typing import NamedTuple

import iscc_core
import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from PIL import Image
from scipy.cluster.hierarchy import leaves_list
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

import codes
import coding
import hamming
import iscc_similarity
import links
import manifest
import messages
import picture
import relations
import tables
import workers
from exploring import chance, examples
from links import Links
from manifest import Entry
from oracle import TEST_DATA, codes_of, codes_of_file, distance, manifest_line
from relations import Pairs
from samples import NEEDS_FORK

PAIRS = "#name_a\tname_b\trelation\tdistance\tbits\tsimilarity\tiscc_a\tiscc_b\trow_a\trow_b\n"
CODE = codes_of(b"x").wide
SIMILAR = {"content": "near", "appearance": "looks like"}
CLUSTERS = "#name\tcluster\tcluster_size\trepresentative\trelation\tdistance\tnote\trow\n"


class Done(NamedTuple):
    """The result of a run of the script, in the format of subprocess."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def similarity(tmp_path, monkeypatch, capsys) -> Callable[..., Done]:
    """Run the script in this process, in a fresh directory: similarity("--manifest", "m.tsv")."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Done:
        status = iscc_similarity.main([str(argument) for argument in arguments])
        return Done(status, *capsys.readouterr())

    return run


def iscc(data: int, instance: int, narrow: bool = False) -> str:
    """An ISCC-CODE of a Data-Code and an Instance-Code of 128 bits, or of their first halves.

    An Instance-Code below 2**64 gets 64 more bits, different for each.
    """
    if instance < 1 << 64:
        instance = (instance << 64) + (0x9E3779B97F4A7C15 * (instance + 1) & ((1 << 64) - 1))
    halves = [value.to_bytes(16)[: 8 if narrow else 16] for value in (data, instance)]
    header = b"\x55\x00" if narrow else b"\x57\x00"
    return "ISCC:" + codes.encode(header + b"".join(halves))


def ones(count: int, start: int = 0) -> int:
    """A 128-bit number with `count` bits set, from bit `start` on, counted from the left."""
    return ((1 << count) - 1) << (128 - start - count)


def entry(name: str, data: int, instance: int, narrow: bool = False, size: int = 10**6) -> Entry:
    return Entry(name, iscc(data, instance, narrow), size)


def apart(a: Entry, b: Entry, by: str = "content") -> tuple[int | None, int]:
    """The differing bits of two entries, and the bits compared; None if not comparable."""
    if by == "content":
        wide = all(len(codes.parse(each.iscc).data) == 16 for each in (a, b))
        return distance(a.iscc, b.iscc), 128 if wide else 64
    words = [(each.image_code or "").split() for each in (a, b)]
    hashes = [
        [int.from_bytes(iscc_core.decode_base32(word.removeprefix("ISCC:"))[2:]) for word in each]
        for each in words
    ]
    return min(((x ^ y).bit_count() for x, y in product(*hashes)), default=None), 256


def by_brute_force(
    entries: list[Entry],
    threshold: int,
    reference: list[Entry] | None = None,
    by: str = "content",
) -> Counter:
    """The expected pairs, by comparing all pairs and counting bits one by one."""
    found = Counter()
    pairs = combinations(entries, 2) if reference is None else product(entries, reference)
    for a, b in pairs:
        if (a.pixels is None) != (b.pixels is None):
            continue
        code_a, code_b = codes.parse(a.iscc), codes.parse(b.iscc)
        wide = len(code_a.data) == len(code_b.data) == 16
        same = code_a.instance[: 16 if wide else 8] == code_b.instance[: 16 if wide else 8]
        same &= a.pixels == b.pixels
        for x, y in ((a.filesize, b.filesize), (a.datahash, b.datahash)):
            same &= x is None or y is None or x == y
        differing, bits = apart(a, b, by)
        allowed = threshold if bits > 64 else threshold // 2
        tiny = by == "content" and any(x.filesize is not None and x.filesize < 2048 for x in (a, b))
        if same:
            relation = "exact"
            differing = 0 if by == "appearance" else differing
        elif not tiny and differing is not None and differing <= allowed:
            relation = SIMILAR[by]
        else:
            continue
        found[frozenset((a.name, b.name)), relation, differing, bits] += 1
    return found


def found_links(
    entries: list[Entry],
    threshold: int,
    reference: list[Entry] | None = None,
    by: str = "content",
) -> Links:
    sides = links.fingerprints(entries, reference, by)
    return links.find_links(sides, threshold, limit=10**6)


def named(pairs: Pairs, entries: list[Entry], others: list[Entry]) -> Counter:
    """Pairs in the format of `by_brute_force`."""
    rows = zip(*(each.tolist() for each in pairs), strict=True)
    return Counter(
        (
            frozenset((entries[a].name, others[b].name)),
            "exact" if exact else "looks like" if bits == 256 else "near",
            distance,
            bits,
        )
        for a, b, exact, distance, bits in rows
    )


def found_by_us(entries: list[Entry], threshold: int, by: str = "content") -> Counter:
    found = found_links(entries, threshold, by=by)
    pairs = relations.all_pairs(found)
    assert (pairs.a < pairs.b).all()
    result = named(pairs, entries, entries)
    exact, near = relations.count_pairs(found)
    assert exact == sum(each[1] == "exact" for each in result.elements())
    assert exact + near == result.total()
    return result


# Three points: a-b 10 bits apart, a-c 13, b-c 21 (they share one of the changed bits).
CHAIN = [
    entry("a", 0, 1),
    entry("b", ones(10), 2),
    entry("c", ones(13, start=9), 3),
]


@pytest.mark.parametrize("order", list(permutations(CHAIN)))
def test_a_chain_gives_all_three_pairs_in_every_order(order):
    assert found_by_us(list(order), 22) == Counter(
        {
            (frozenset("ab"), "near", 10, 128): 1,
            (frozenset("ac"), "near", 13, 128): 1,
            (frozenset("bc"), "near", 21, 128): 1,
        }
    )
    assert found_by_us(list(order), 12) == Counter({(frozenset("ab"), "near", 10, 128): 1})


def test_three_equal_copies_are_three_pairs():
    copies = [entry(name, ones(64), 7) for name in "abc"]
    assert found_by_us(copies, 0) == Counter(
        (frozenset(pair), "exact", 0, 128) for pair in ("ab", "ac", "bc")
    )


def test_distance_0_is_not_exact():
    assert found_by_us([entry("a", 0, 1), entry("b", 0, 2)], 0) == Counter(
        {(frozenset("ab"), "near", 0, 128): 1}
    )


def test_what_is_known_to_differ_is_not_exact():
    """Narrow Instance-Codes of 64 bits may agree by chance; different sizes show it."""
    a, b = entry("a", 0, 5, narrow=True, size=10**6), entry("b", 0, 5, narrow=True, size=10**6 + 1)
    same_size = Entry("c", a.iscc, a.filesize, datahash="1e20aa")
    other_hash = Entry("d", a.iscc, a.filesize, datahash="1e20bb")
    for pair, relation in (
        ([a, b], "near"),
        ([same_size, other_hash], "near"),
        ([a, same_size], "exact"),
    ):
        assert [each[1] for each in found_by_us(pair, 12)] == [relation]


def test_wide_instance_codes_are_compared_to_the_last_bit():
    """Two codes that differ in any one bit are of different files; narrow codes have 64 bits."""
    same = iscc(0, 5 << 64)
    for bit in (127, 64, 63, 0):
        other = iscc(0, 5 << 64 ^ 1 << bit)
        [(_, relation, *_)] = found_by_us([Entry("a", same), Entry("b", other)], 0)
        assert relation == "near"
        narrow = iscc(0, 5 << 64 ^ 1 << bit, narrow=True)
        [(_, relation, *_)] = found_by_us([Entry("a", same), Entry("b", narrow)], 0)
        assert relation == ("exact" if bit < 64 else "near")


def test_a_note_that_makes_a_difference_makes_another_fingerprint():
    """Of two datasets with the same code, only the one not noted as tiny is near the third."""
    tiny, large = Entry("tiny", iscc(0, 1), noted="tiny"), Entry("large", iscc(0, 1))
    other = Entry("other", iscc(1, 2))
    for entries in ([tiny, large, other], [large, tiny, other]):
        assert found_by_us(entries, 12) == Counter(
            {
                (frozenset(("tiny", "large")), "exact", 0, 128): 1,
                (frozenset(("large", "other")), "near", 1, 128): 1,
            }
        )


def test_mixed_widths_compare_64_bits_at_half_the_threshold():
    wide = entry("wide", 0, 1)
    narrow = entry("narrow", ones(6), 2, narrow=True)
    assert found_by_us([wide, narrow], 12) == found_by_us([wide, narrow], 13)
    assert found_by_us([wide, narrow], 12) == Counter(
        {(frozenset(("wide", "narrow")), "near", 6, 64): 1}
    )
    assert not found_by_us([wide, narrow], 11)


# What is compared, and the highest threshold.
BITS = [("content", 128), ("appearance", 256)]
THRESHOLDS = st.one_of(
    *(st.tuples(st.just(by), st.integers(0, most) | st.integers(0, most // 4)) for by, most in BITS)
)


def number_of(bits: set[int]) -> int:
    return sum(1 << bit for bit in bits)


def image_code(bits: set[int]) -> str:
    """The Image-Code of 256 bits with these bits set."""
    return "ISCC:" + codes.encode(b"\x21\x07" + number_of(bits).to_bytes(32))


def entry_lists(names: str) -> st.SearchStrategy[list[Entry]]:
    """Up to a dozen entries with much in common; their names begin with `names`."""
    looks = st.lists(st.sets(st.integers(0, 255), max_size=20), max_size=3)
    entries = st.builds(
        lambda flips, instance, narrow, size, datahash, pixels, looks: Entry(
            "",
            iscc(number_of(flips), instance, narrow),
            size,
            datahash,
            pixels=pixels,
            image_code=" ".join(map(image_code, looks)) or None,
        ),
        st.sets(st.integers(0, 127), max_size=12),
        st.sampled_from([1 << 64, 1 << 64 | 1, 2 << 64, 2 << 64 | 1]),  # halves in common
        st.booleans(),
        st.sampled_from([0, 2047, 2048, 10**6, None]),
        st.sampled_from(["1e20aa", "1e20bb", None, None]),
        st.sampled_from([None, None, "imagewalk uint8 ...", "imagewalk int8 ..."]),
        looks,
    )
    return st.lists(entries, max_size=12).map(
        lambda entries: [each._replace(name=f"{names}{i}") for i, each in enumerate(entries)]
    )


@examples(100)
@given(entry_lists("a"), THRESHOLDS, st.randoms(use_true_random=False))
def test_pairs_equal_brute_force_in_any_order(entries, by_and_threshold, chance):
    by, threshold = by_and_threshold
    expected = by_brute_force(entries, threshold, by=by)
    assert found_by_us(entries, threshold, by) == expected
    chance.shuffle(entries)
    assert found_by_us(entries, threshold, by) == expected


@examples(100)
@given(entry_lists("a"), entry_lists("b"), THRESHOLDS)
def test_pairs_with_a_reference_equal_brute_force(entries, reference, by_and_threshold):
    by, threshold = by_and_threshold
    expected = by_brute_force(entries, threshold, reference, by)
    found = found_links(entries, threshold, reference, by)
    assert named(relations.all_pairs(found), entries, reference) == expected
    assert sum(relations.count_pairs(found)) == expected.total()

    matches = relations.best_matches(found)
    best = {int(row): number for number, row in enumerate(matches.a)}
    for row, each in enumerate(entries):
        # Exact first, then the share of bits that differ, then more bits, then the input's order.
        order = [
            (relation != "exact", differing / bits, -bits, int(other.name[1:]))
            for other in reference
            for names, relation, differing, bits in expected
            if names == {each.name, other.name}
        ]
        assert (row in best) == bool(order)
        if order:
            assert int(matches.b[best[row]]) == min(order)[-1]
            assert matches.exact[best[row]] == (not min(order)[0])

    # Up to three of each, as many as there are different ones.
    several = relations.best_matches(found, 3)
    assert set(named(several, entries, reference)) <= set(expected)
    groups = found.sides.b.rows.labels
    for row, each in enumerate(entries):
        mine = several.b[several.a == row].tolist()
        partners = {
            int(groups[int(other.name[1:])])
            for other in reference
            for names, *_ in expected
            if names == {each.name, other.name}
        }
        assert len(mine) == len({int(groups[other]) for other in mine}) == min(3, len(partners))
        if mine:
            assert mine[0] == int(matches.b[best[row]])

    for near, links_ in ((False, found.select(found.exact)), (True, found)):
        kept = relations.keep_mask(links_)
        for row, each in enumerate(entries):
            copies = [
                relation
                for names, relation, *_ in expected
                if each.name in names and (near or relation == "exact")
            ]
            assert kept[row] == (not copies)
        copied = relations.duplicates_of(links_, kept)
        assert named(copied, entries, reference) <= expected
        assert copied.a.tolist() == np.flatnonzero(~kept).tolist()
        assert near or copied.exact.all()


@pytest.mark.parametrize("count", [1, 700, 1000, 5000])
@pytest.mark.parametrize("shape", ["random", "path", "star"])
def test_components_are_those_of_scipy(count, shape):
    rng = np.random.default_rng(count)
    order = rng.permutation(1000)
    a, b = {
        "random": (rng.integers(0, 1000, count), rng.integers(0, 1000, count)),
        "path": (order[: min(count, 999)], order[1:][:count]),
        "star": (np.full(count, order[0]), rng.integers(0, 1000, count)),
    }[shape]
    found = Links(None, a, b, None, None, None)
    ones = np.ones(len(a), dtype=bool)
    _, labels = connected_components(coo_array((ones, (a, b)), shape=(1000, 1000)), directed=False)
    _, first = np.unique(labels, return_index=True)
    assert (relations.components(found, 1000) == first[labels]).all()


@examples(100)
@given(entry_lists("a"), THRESHOLDS)
def test_clusters_are_connected_components(entries, by_and_threshold):
    by, threshold = by_and_threshold
    pairs = by_brute_force(entries, threshold, by=by)
    related = {names: relation for names, relation, *_ in pairs}
    graph = np.zeros((len(entries), len(entries)))
    for names in related:
        a, b = (int(name[1:]) for name in names)
        graph[a, b] = 1
    count, labels = connected_components(graph, directed=False) if entries else (0, [])
    first = [list(labels).index(label) for label in labels]

    found = found_links(entries, threshold, by=by)
    places = relations.places(found)
    assert [place.representative for place in places] == first
    for row, place in enumerate(places):
        assert place.size == first.count(first[row])
        alone = "single" if place.size == 1 else "first"
        to_first = related.get(frozenset((f"a{first[row]}", f"a{row}")), "linked")
        assert place.relation == (alone if row == first[row] else to_first)
        differing = 0
        if by == "content" or place.relation != "exact":
            differing, _ = apart(entries[first[row]], entries[row], by)
        one_is_tiny = any(
            each.size_note in ("empty", "tiny") for each in (entries[first[row]], entries[row])
        )
        if by == "content" and place.relation == "linked" and one_is_tiny:
            differing = None
        assert place.distance == (None if row == first[row] else differing)
    # Clusters come first, and single datasets last; both in the order of the input.
    by_rows = sorted(set(first), key=lambda row: (first.count(row) == 1, row))
    numbers = {row: number for number, row in enumerate(by_rows, start=1)}
    assert [place.cluster for place in places] == [numbers[row] for row in first]
    assert len(numbers) == count


@examples(100)
@given(entry_lists("a"), THRESHOLDS, st.none() | st.integers(0, 64))
def test_nothing_is_dropped_without_a_kept_copy(entries, by_and_threshold, most):
    """Exact duplicates are dropped, and near-duplicates up to `most` bits unless that is None."""
    by, threshold = by_and_threshold
    of = 256 if by == "appearance" else 128

    def is_dropped(relation: str, differing: int, bits: int) -> bool:
        return relation == "exact" or (most is not None and differing * of // bits <= most)

    copies = {
        names for names, *how in by_brute_force(entries, threshold, by=by) if is_dropped(*how)
    }
    found = found_links(entries, threshold, by=by)
    found = found.select(found.exact) if most is None else found.within(most)
    kept = relations.keep_mask(found)
    assert len(kept) == len(entries)
    for row, each in enumerate(entries):
        earlier = [other.name for other, keep in zip(entries[:row], kept, strict=False) if keep]
        assert kept[row] == (not any(frozenset((name, each.name)) in copies for name in earlier))

    # What was dropped, each with the reason: the first dataset with its fingerprint if that is
    # kept, else, of the kept ones before that, an exact copy, then the closest, then the first.
    copied = relations.duplicates_of(found, kept)
    reasons = dict(zip(copied.a.tolist(), copied.b.tolist(), strict=True))
    assert list(reasons) == [row for row, keep in enumerate(kept) if not keep]
    every = by_brute_force(entries, threshold, by=by)
    assert named(copied, entries, entries) <= every
    how = {names: how for names, *how in every}
    rows = found.sides.a.rows
    first_with_fingerprint = rows.first()[rows.labels].tolist()
    for row, reason in reasons.items():
        first = first_with_fingerprint[row]
        before = [
            (relation != "exact", differing * 256 // bits, bits == 64, other)
            for other in range(first)
            if kept[other] and (names := frozenset((entries[other].name, entries[row].name))) in how
            for relation, differing, bits in [how[names]]
            if is_dropped(relation, differing, bits)
        ]
        assert reason == (first if kept[first] else min(before)[-1])


@examples(100)
@given(entry_lists("a"), THRESHOLDS)
def test_compact_pairs_join_the_same_datasets(entries, by_and_threshold):
    by, threshold = by_and_threshold
    expected = by_brute_force(entries, threshold, by=by)
    found = found_links(entries, threshold, by=by)
    compact = relations.compact_pairs(found)
    pairs = named(compact, entries, entries)
    assert pairs <= expected  # true pairs, each once
    exact = [names for names, relation, *_ in pairs if relation == "exact"]
    related = {names: relation for names, relation, *_ in expected}
    for row, each in enumerate(entries):
        earlier = [
            other.name
            for other in entries[:row]
            if related.get(frozenset((other.name, each.name))) == "exact"
        ]
        assert not earlier or frozenset((earlier[0], each.name)) in exact

    def clusters(pairs: Counter) -> set[frozenset]:
        graph = np.zeros((len(entries), len(entries)))
        for names, *_ in pairs:
            a, b = (int(name[1:]) for name in names)
            graph[a, b] = 1
        _, labels = connected_components(graph, directed=False)
        return {frozenset(np.flatnonzero(labels == label).tolist()) for label in labels}

    if entries:
        assert clusters(pairs) == clusters(expected)


def test_compact_pairs_of_two_groups_are_the_closest():
    """Two groups of files with wide and narrow codes are paired by their closest members.

    a and c differ in 9 of 128 bits, b and c in 0 of 64, and d in 4 of 64 from a and b. The first
    dataset of a fingerprint represents the others.
    """
    entries = [
        entry("a", 0, 1),
        entry("b", 0, 1, narrow=True),
        entry("c", ones(9, start=64), 2),
        entry("d", ones(8, start=60), 2, narrow=True),
        entry("b again", 0, 1, narrow=True),
    ]
    compact = relations.compact_pairs(found_links(entries, 24))
    assert named(compact, entries, entries) == Counter(
        {
            (frozenset(("a", "b")), "exact", 0, 64): 1,
            (frozenset(("a", "b again")), "exact", 0, 64): 1,
            (frozenset(("c", "d")), "exact", 4, 64): 1,
            (frozenset(("b", "c")), "near", 0, 64): 1,
        }
    )


@examples(100)
@given(entry_lists("a"), entry_lists("b"), THRESHOLDS)
def test_estimates_from_all_datasets_are_exact(entries, reference, by_and_threshold):
    by, threshold = by_and_threshold
    for others in (None, reference):
        if entries and others != []:
            estimate = links.estimate_pairs(links.fingerprints(entries, others, by), threshold)
            assert estimate == by_brute_force(entries, threshold, others, by).total()


@examples(100)
@given(entry_lists("a"), entry_lists("b"), THRESHOLDS)
def test_compact_pairs_with_a_reference_name_each_exact_copy_once(
    entries, reference, by_and_threshold
):
    by, threshold = by_and_threshold
    expected = by_brute_force(entries, threshold, reference, by)
    found = found_links(entries, threshold, reference, by)
    pairs = named(relations.compact_pairs(found), entries, reference)
    assert pairs <= expected
    exact = [names for names, relation, *_ in pairs if relation == "exact"]
    for each in entries:
        copies = [
            other.name
            for other in reference
            for names, relation, *_ in expected
            if relation == "exact" and names == {each.name, other.name}
        ]
        mine = [names for names in exact if each.name in names]
        assert mine == [frozenset((each.name, name)) for name in copies[:1]]


def test_a_dropped_dataset_is_a_duplicate_of_one_that_is_kept():
    """Distances: 1-2 10, 2-3 2, 1-3 12. Dataset 3 is closer to 2, which is itself dropped.

    4 equals 3, and 5 equals 2, except for the name; 6 has no duplicate.
    """
    known = [(0, 1), (ones(10), 2), (ones(12), 3), (ones(12), 3), (ones(10), 2), (ones(64, 64), 6)]
    entries = [entry(str(n), data, instance) for n, (data, instance) in enumerate(known, start=1)]
    found = found_links(entries, 12)
    keep = relations.keep_mask(found)
    assert keep.tolist() == [True, False, False, False, False, True]
    pairs = relations.duplicates_of(found, keep)
    assert [tuple(map(int, pair[:2])) for pair in zip(*pairs, strict=True)] == [
        (1, 0),
        (2, 0),
        (3, 0),
        (4, 0),
    ]
    assert pairs.distance.tolist() == [10, 12, 12, 10]
    found = found.select(found.exact)
    keep = relations.keep_mask(found)
    assert keep.tolist() == [True, True, True, False, False, True]
    pairs = relations.duplicates_of(found, keep)
    assert (pairs.a.tolist(), pairs.b.tolist()) == ([3, 4], [2, 1])


SEARCH, BRUTE_FORCE = 10.0**9, 0.0  # what a comparison costs; it decides between the two


def all_distances(hashes_a: np.ndarray, hashes_b: np.ndarray) -> np.ndarray:
    """All Hamming distances, with bits counted all at once."""
    a, b = (np.unpackbits(each.view(np.uint8), axis=1) for each in (hashes_a, hashes_b))
    return (a[:, None] != b[None]).sum(axis=2)


def hashes_with_neighbours(seed: int, count: int, words: int, most_flips: int) -> np.ndarray:
    """Random hashes; half of them are others with some bits flipped."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, (count, words), dtype=np.uint64)
    for row in range(max(1, count // 2), count):
        hashes[row] = hashes[rng.integers(0, row)]
        for bit in rng.integers(0, 64 * words, rng.integers(0, most_flips + 1)):
            hashes[row, bit // 64] ^= np.uint64(1 << int(bit) % 64)
    return hashes


@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize("way", [SEARCH, BRUTE_FORCE], ids=["search", "brute force"])
@pytest.mark.parametrize(
    ("words", "threshold"),
    [
        *((1, threshold) for threshold in (0, 3, 6, 12)),
        *((2, threshold) for threshold in (0, 1, 7, 12, 13, 24)),
        *((4, threshold) for threshold in (0, 13, 48)),
    ],
)
def test_no_pair_of_hashes_is_missed(monkeypatch, words, threshold, way, processes):
    """With more hashes than in a slice, a tile or a band; compared with all distances at once."""
    monkeypatch.setattr(hamming, "COST_OF_COMPARISON", way)
    monkeypatch.setattr(hamming, "WORTH_A_WORKER", 0)
    monkeypatch.setattr(hamming, "LOOKUPS_AT_ONCE", 100)
    monkeypatch.setattr(hamming, "CANDIDATES_AT_ONCE", 50)
    monkeypatch.setattr(hamming, "TILE_COLUMNS", 64)
    monkeypatch.setattr(hamming, "BAND_ROWS", 32)
    for count in (0, 1, 2, 300):
        hashes = hashes_with_neighbours(count, count, words, threshold + 3)
        task = hamming.Task(hashes, hashes, True, threshold)
        if way == BRUTE_FORCE or count > 2:
            assert (hamming.make_plan(task).cost < way * task.comparisons) == (way == SEARCH)
        apart = all_distances(hashes, hashes)

        found = hamming.pairs_within(hashes, None, threshold, processes=processes)
        a, b = np.nonzero(np.triu(apart <= threshold, k=1))
        assert sorted(zip(*(array.tolist() for array in found), strict=True)) == list(
            zip(a.tolist(), b.tolist(), apart[a, b].tolist(), strict=True)
        )

        found = hamming.pairs_within(hashes[: count // 3], hashes, threshold, processes=processes)
        a, b = np.nonzero(apart[: count // 3] <= threshold)
        assert sorted(zip(*(array.tolist() for array in found), strict=True)) == list(
            zip(a.tolist(), b.tolist(), apart[a, b].tolist(), strict=True)
        )


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("way", [SEARCH, BRUTE_FORCE], ids=["search", "brute force"])
@pytest.mark.parametrize("threshold", [1, 12])
@pytest.mark.parametrize("with_others", [False, True])
def test_shares_of_the_work_add_up_to_the_whole(
    monkeypatch, with_others, threshold, way, processes
):
    """Shares are also reported while a chunk or a band of rows is being processed."""
    monkeypatch.setattr(hamming, "COST_OF_COMPARISON", way)
    monkeypatch.setattr(hamming, "WORTH_A_WORKER", 0)
    monkeypatch.setattr(hamming, "LOOKUPS_AT_ONCE", 500)
    hashes = hashes_with_neighbours(1, 2000, 2, 12)
    shares = []
    others = hashes[:700] if with_others else None
    hamming.pairs_within(hashes, others, threshold, processes=processes, report=shares.append)
    assert sum(shares) == pytest.approx(1)
    assert min(shares) >= 0
    if way == BRUTE_FORCE and processes == 1:
        # Of one set, half of the rows are compared with all, and half with the other half.
        half = sum(shares[: len(shares) // 2])
        assert half == pytest.approx(0.5 if with_others else 0.75, abs=0.01)
    parts = 2 if way == BRUTE_FORCE else 13  # bands, or chunks at most
    assert processes == 2 or len(shares) > 2 * parts


def test_hashes_that_differ_in_every_bit():
    """A distance of 256 does not fit into a byte."""
    hashes = np.array([[0] * 4, [2**64 - 1] * 4], dtype=np.uint64)
    assert [each.tolist() for each in hamming.nearest(hashes[:1], hashes[1:])] == [[256], [0]]
    assert not len(hamming.pairs_within(hashes, None, 255).a)
    assert [each.tolist() for each in hamming.pairs_within(hashes, None, 256)] == [[0], [1], [256]]


def test_chunks_are_numbers_of_their_bits():
    """Chunks at the end of a word, across two words, and at the first and last bits of a hash."""
    words = [0x0123456789ABCDEF, 0xFEDCBA9876543210, 0x5A5A00FF12345678, 0x1]
    hashes = np.array([words], dtype=np.uint64)
    for width in (1, 5, 22):
        for start in range(257 - width):
            bits = "".join(f"{word:064b}" for word in words)[start : start + width]
            assert hamming.chunk_of(hashes, hamming.Chunk(start, width, 0)) == [int(bits, 2)]


@pytest.mark.parametrize("bits", [64, 128, 256])
def test_chunks_cannot_all_differ_by_more_than_their_radius(bits):
    """Chunks do not overlap, and their (radius + 1) add up to more than the threshold."""
    for threshold in range(bits + 1):
        layouts = list(hamming.layouts(bits, threshold))
        assert layouts
        for chunks in layouts:
            assert sum(chunk.radius + 1 for chunk in chunks) > threshold
            ends = [0, *(chunk.start + chunk.width for chunk in chunks)]
            starts = [*(chunk.start for chunk in chunks), bits]
            assert all(end <= start for end, start in zip(ends, starts, strict=True))
            assert all(1 <= chunk.width <= hamming.MOST_CHUNK_BITS for chunk in chunks)


def pairs_of_a_sample(hashes: np.ndarray, threshold: int, found: hamming.HashPairs) -> bool:
    """Whether a hundred of the hashes are in as many pairs as by brute force."""
    sample = np.arange(0, len(hashes), len(hashes) // 100)
    expected = (all_distances(hashes[sample], hashes) <= threshold).sum(axis=1) - 1
    degree = np.bincount(np.concatenate([found.a, found.b]), minlength=len(hashes))
    return degree[sample].tolist() == expected.tolist()


def test_hashes_that_crowd_together_are_compared_by_brute_force(monkeypatch):
    """Two groups with 96 of 128 bits in common, and no pair between them.

    The search is given up when brute force would be done; the shares of all work done add up to the
    whole.
    """
    rng = np.random.default_rng(0)
    hashes = np.array([[0, 0], [2**64 - 1] * 2], dtype=np.uint64)[rng.integers(0, 2, 8000)]
    hashes[:, 1] ^= rng.integers(0, 2**32, 8000, dtype=np.uint64)
    given_up, shares = [], []
    search = hamming.search

    def watched(*arguments):
        try:
            yield from search(*arguments)
        except hamming.TooManyCandidatesError:
            given_up.append(sum(shares))
            raise

    monkeypatch.setattr(hamming, "search", watched)
    found = hamming.pairs_within(hashes, None, 3, report=shares.append)
    assert 0 < given_up[0] < 1
    assert sum(shares) == pytest.approx(1)
    assert pairs_of_a_sample(hashes, 3, found)


@pytest.mark.parametrize("with_others", [False, True])
def test_bits_that_do_not_vary_are_not_searched_by(monkeypatch, with_others):
    """40 of the first bits never vary, 16 others vary in one of 20 hashes; brute force is disabled.

    The chunks only use the other 72 bits, so that few candidates are compared.
    """
    monkeypatch.setattr(hamming, "compare", lambda *_: pytest.fail("searched in vain"))
    monkeypatch.setattr(hamming, "REORDERED_AT_ONCE", 1000)
    hashes = hashes_with_neighbours(5, 6000, 2, 10)
    bits = np.unpackbits(hashes.view(np.uint8), axis=1)
    bits[:, :40] = bits[0, :40]
    bits[:, 90:106] = np.random.default_rng(6).random((6000, 16)) < 0.05
    hashes = np.packbits(bits, axis=1).view(np.uint64)
    spent = []
    monkeypatch.setattr(hamming.Budget, "spend", lambda _, candidates: spent.append(candidates))
    if with_others:
        found = hamming.pairs_within(hashes[:3000], hashes, 6)
        apart = hamming.distances(hashes[:3000], hashes) <= 6  # is tested above
        assert sorted(zip(found.a.tolist(), found.b.tolist(), strict=True)) == [
            *map(tuple, np.argwhere(apart).tolist())
        ]
    else:
        found = hamming.pairs_within(hashes, None, 6)
        assert pairs_of_a_sample(hashes, 6, found)
    assert sum(spent) < 6000 * 6000 / 20


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("way", [SEARCH, BRUTE_FORCE], ids=["search", "brute force"])
def test_the_limit_is_for_all_parts_of_the_work_together(monkeypatch, way, processes):
    """2,048 hashes with 12 bits in all combinations of 11: all are within the threshold.

    The bands of brute force have 1,024 rows each, so that no worker finds all pairs.
    """
    monkeypatch.setattr(hamming, "COST_OF_COMPARISON", way)
    monkeypatch.setattr(hamming, "WORTH_A_WORKER", 0)
    hashes = np.zeros((2048, 2), dtype=np.uint64)
    hashes[:, 1] = np.arange(2048)
    for others, count in ((None, 2048 * 2047 // 2), (hashes, 2048 * 2048)):
        found = hamming.pairs_within(hashes, others, 12, limit=count, processes=processes)
        assert len(found.a) == count
        with pytest.raises(hamming.TooManyPairsError) as error:
            hamming.pairs_within(hashes, others, 12, limit=count - 1, processes=processes)
        assert error.value.count > count - 1
        # No part goes on for long when it has found too many by itself.
        with pytest.raises(hamming.TooManyPairsError) as error:
            hamming.pairs_within(hashes, others, 12, limit=1000, processes=processes)
        assert 1000 < error.value.count <= 1000 + hamming.CANDIDATES_AT_ONCE


def test_the_nearest_hash_is_found_in_every_tile():
    """The nearest hash is in each of three tiles of columns in turn; the hash itself is nearer."""
    rng = np.random.default_rng(3)
    hashes = rng.integers(0, 2**64, (3 * hamming.TILE_COLUMNS, 2), dtype=np.uint64)
    itself = np.arange(40) * 300
    apart = all_distances(hashes[itself], hashes)
    apart[np.arange(40), itself] = 200
    assert set(apart.argmin(axis=1) // hamming.TILE_COLUMNS) == {0, 1, 2}
    least, which = hamming.nearest(hashes[itself], hashes, itself)
    assert least.tolist() == apart.min(axis=1).tolist()
    assert which.tolist() == apart.argmin(axis=1).tolist()
    # The only other hash that is near comes before the tile of the hash itself, or after it.
    hashes[5], hashes[9000] = 0, 1
    least, which = hamming.nearest(hashes[[5, 9000]], hashes, np.array([5, 9000]))
    assert (least.tolist(), which.tolist()) == ([2, 2], [9000, 5])
    # Of several that are as near, the first, whichever tile it is in.
    hashes[[7, 10000]] = 3
    assert hamming.nearest(np.full((1, 2), 3, np.uint64), hashes)[1].tolist() == [7]


def test_nothing_is_near_where_there_is_no_other():
    """No other hash is not the same as a distance of 128 bits."""
    zeros, ones_ = np.zeros((1, 2), np.uint64), np.full((1, 2), 2**64 - 1, np.uint64)
    assert hamming.nearest(zeros, ones_)[0].tolist() == [128]
    assert hamming.nearest(zeros, zeros[:0])[0].tolist() == [hamming.NOTHING_NEAR]
    assert hamming.nearest(zeros, zeros, np.array([0]))[0].tolist() == [hamming.NOTHING_NEAR]
    assert hamming.NOTHING_NEAR > 128


def test_one_flipped_byte_in_a_megabyte_is_near_and_never_exact(tmp_path, similarity):
    content = bytearray(np.random.default_rng(1).bytes(10**6))
    (tmp_path / "a").write_bytes(content)
    content[500_000] ^= 1
    (tmp_path / "b").write_bytes(content)
    done = similarity("a", "b", "--pairs", "p.tsv")
    assert done.stdout == "2 datasets: 0 exact pairs, 1 near pair, 1 cluster\n"
    row = (tmp_path / "p.tsv").read_text().splitlines()[1].split("\t")
    assert row[:3] == ["a", "b", "near"]
    assert int(row[3]) == distance(row[6], row[7])


def test_tables_of_real_images(tmp_path, similarity):
    nuclei, retouched = codes_of_file("nuclei.tif").wide, codes_of_file("nuclei_retouched.tif").wide
    files = {"b.tif": "nuclei.tif", "a.tif": "nuclei.tif", "c.tif": "nuclei_retouched.tif"}
    for name, source in files.items():
        (tmp_path / name).write_bytes((TEST_DATA / source).read_bytes())
    (tmp_path / "d.png").write_bytes((TEST_DATA / "microaneurysms.png").read_bytes())
    done = similarity(*files, "d.png", "--pairs", "p.tsv", "--clusters", "c.tsv")
    assert done.stderr == ""
    assert done.stdout == "4 datasets: 1 exact pair, 2 near pairs, 1 cluster\n"
    assert distance(nuclei, retouched) == 7
    # 100 * (1 - 7 / 128) = 94.53
    assert (tmp_path / "p.tsv").read_text() == (
        f"{PAIRS}"
        f"a.tif\tb.tif\texact\t0\t128\t100.0\t{nuclei}\t{nuclei}\t2\t1\n"
        f"a.tif\tc.tif\tnear\t7\t128\t94.5\t{nuclei}\t{retouched}\t2\t3\n"
        f"b.tif\tc.tif\tnear\t7\t128\t94.5\t{nuclei}\t{retouched}\t1\t3\n"
    )
    assert (tmp_path / "c.tsv").read_text() == (
        f"{CLUSTERS}"
        "b.tif\t1\t3\tb.tif\tfirst\t\t\t1\n"
        "a.tif\t1\t3\tb.tif\texact\t0\t\t2\n"
        "c.tif\t1\t3\tb.tif\tnear\t7\t\t3\n"
        "d.png\t2\t1\td.png\tsingle\t\tsmall\t4\n"
    )


@examples(100)
@given(entry_lists("a"), entry_lists("b"), st.sampled_from(BITS))
def test_the_nearest_is_that_of_brute_force(entries, reference, by_and_most):
    """In one set and against a reference; by bits of 128, with distances of 64 bits doubled."""
    by, most = by_and_most
    rows = np.arange(len(entries))
    for others in (None, reference):
        found = found_links(entries, most, others, by)
        nearest, exact, _ = relations.nearest(found, rows)
        # With the highest threshold every pair that can be compared is near, or exact.
        pairs = by_brute_force(entries, most, others, by)
        for row, each in enumerate(entries):
            mine = [pair for pair in pairs if each.name in pair[0]]
            assert exact[row] == any(relation == "exact" for _, relation, *_ in mine)
            if not exact[row]:
                near = [differing * most // bits for _, _, differing, bits in mine]
                assert nearest[row] == min(near) if near else np.isnan(nearest[row])
        if others:
            named_pairs = named(relations.nearest_pairs(found, rows[~exact]), entries, others)
            of_nearest = {(names, *how) for names, _, *how in named_pairs}
            assert of_nearest <= {(names, *how) for names, _, *how in pairs}
            far = rows[~exact & ~np.isnan(nearest)]
            assert relations.nearest_pairs(found, rows[~exact]).a.tolist() == far.tolist()
            apart_by = [differing * most // bits for _, differing, bits in of_nearest]
            assert sorted(set(apart_by)) == sorted(set(nearest[far].tolist()))


def test_manifests_are_compared_without_reading_a_dataset(tmp_path, similarity):
    header = "#name\tiscc\tfilesize\tdatahash\tdata_code\tinstance_code\tnote\n"
    content = b"x" * 3000
    (tmp_path / "1.tsv").write_text(header + manifest_line("gone.tif", content))
    (tmp_path / "2.tsv").write_text("iscc\t#name\n" + f"{codes_of(content).narrow}\told.tif\n")
    done = similarity("--manifest", "1.tsv", "--manifest", "2.tsv", "--pairs", "p")
    assert done.returncode == 0
    [_, row] = (tmp_path / "p").read_text().splitlines()
    assert row.split("\t")[:6] == ["gone.tif", "old.tif", "exact", "0", "64", "100.0"]


def test_an_archive_in_shards_has_the_pairs_of_the_whole(tmp_path, similarity):
    """As docs/similarity.md says: each shard alone, and each two of them, one as the reference."""
    random = chance(7)
    entries = []
    for number in range(90):
        data = random.choice((0, ones(60), random.getrandbits(128)))
        data ^= ones(random.randrange(30), start=random.randrange(90))
        entries.append(entry(str(number), data, number // 2))
    shards = [f"{number}.tsv" for number in range(3)]
    for number, shard in enumerate(shards):
        write_manifest(tmp_path / shard, entries[number::3])

    def rows(*arguments: str) -> list[tuple]:
        """The pairs, by name, without the positions in the inputs."""
        similarity(*arguments, "--pairs", "p.tsv")
        fields = [line.split("\t") for line in (tmp_path / "p.tsv").read_text().splitlines()[1:]]
        return [(*sorted(row[:2]), *row[2:6], *sorted(row[6:8])) for row in fields]

    whole = rows(*(word for shard in shards for word in ("--manifest", shard)))
    joined = [row for shard in shards for row in rows("--manifest", shard)]
    for shard, other in combinations(shards, 2):
        joined += rows("--manifest", shard, "--reference", other)
    assert sorted(joined) == sorted(whole)
    assert {row[2] for row in whole} == {"exact", "near"}


def test_tiny_datasets_are_only_ever_exact(tmp_path, similarity):
    for name, content in {"a": bytes(2047), "b": bytes(2046), "c": bytes(2047), "d": b""}.items():
        (tmp_path / name).write_bytes(content)
    similarity(*"abcd", "--threshold", "128", "--pairs", "p.tsv")
    rows = [line.split("\t") for line in (tmp_path / "p.tsv").read_text().splitlines()[1:]]
    assert [row[:3] for row in rows] == [["a", "c", "exact"]]


@pytest.mark.parametrize("threshold", ["-1", "257", "1.5", "x", "", "\u0661"])
def test_a_threshold_out_of_range_is_refused(similarity, threshold):
    done = similarity("a", f"--threshold={threshold}")
    assert done.returncode == 2
    assert f"argument --threshold: {threshold!r} is not an integer" in done.stderr


def test_a_threshold_beyond_the_data_code_is_refused(similarity):
    done = similarity("a", "--threshold", "129")
    assert done.returncode == 2
    assert "--threshold: expected at most 128 bits, found 129; only --compare appear" in done.stderr


IMAGES = "#name\tiscc\tpixels\timage_code\n"


def image_line(name: str, number: int, *looks: int, pixels: str = "uint8 z1c1t1y9x9") -> str:
    """A line of a manifest of pixels; `looks` are the numbers of bits set in its Image-Codes."""
    of_looks = " ".join(image_code(set(range(count))) for count in looks)
    return f"{name}\t{iscc(number << 64, number)}\timagewalk {pixels}\t{of_looks}\n"


def test_all_outputs_of_pictures_that_look_alike(tmp_path, similarity):
    """a and b differ in 48 bits, b and c in 49, a and d in at least 8; two are featureless.

    All Data-Codes are within 3 bits of each other.
    """
    lines = [image_line("a", 1, 0), image_line("b", 2, 48), image_line("c", 3, 97)]
    lines += [image_line("d", 4, 200, 8), image_line("e", 5), image_line("e2", 5)]
    (tmp_path / "m.tsv").write_text(IMAGES + "".join(lines))
    options = ["--pairs", "p", "--clusters", "c", "--keep", "k", "--drop", "d", "--copies", "y"]
    options += ["--duplicates", "near", "--matrix", "x", "--picture", "i"]
    done = similarity("--manifest", "m.tsv", "--compare", "appearance", *options)
    assert done.stdout == ("6 datasets: 1 exact pair, 3 similar-looking pairs, 2 clusters\n")
    rows = [line.split("\t") for line in (tmp_path / "p").read_text().splitlines()]
    assert rows[0][-2:] == ["pixels_a", "pixels_b"]
    assert [row[:6] for row in rows[1:]] == [
        ["e", "e2", "exact", "0", "256", "100.0"],
        ["a", "d", "looks like", "8", "256", "96.9"],
        ["b", "d", "looks like", "40", "256", "84.4"],
        ["a", "b", "looks like", "48", "256", "81.2"],
    ]
    rows = [line.split("\t") for line in (tmp_path / "c").read_text().splitlines()[1:]]
    assert [row[3:6] for row in rows] == [
        ["a", "first", ""],
        ["a", "looks like", "48"],
        ["a", "looks like", "8"],
        ["e", "first", ""],
        ["e", "exact", "0"],
        ["c", "single", ""],
    ]
    assert (tmp_path / "k").read_text() == "a\nc\ne\n"
    assert (tmp_path / "d").read_text() == "b\nd\ne2\n"
    rows = [line.split("\t") for line in (tmp_path / "y").read_text().splitlines()[1:]]
    assert [row[:4] for row in rows] == [
        ["b", "a", "looks like", "48"],
        ["d", "a", "looks like", "8"],
        ["e2", "e", "exact", "0"],
    ]
    rows = [line.split("\t") for line in (tmp_path / "x").read_text().splitlines()[1:]]
    assert rows[3] == ["d", "8", "40", "89", "0", "", ""]
    assert rows[4] == ["e", "", "", "", "", "0", "0"]
    assert (tmp_path / "i").read_bytes().startswith(b"\x89PNG")


def test_figures_find_the_planes_that_they_look_like(tmp_path, similarity):
    """A figure that may be rotated has several codes, a plane has one. f3 has the pixels of p2."""
    (tmp_path / "figures").write_text(
        IMAGES + image_line("f1", 9, 200, 50) + image_line("f2", 8, 250) + image_line("f3", 2)
    )
    (tmp_path / "planes").write_text(
        IMAGES + image_line("p1", 1, 60) + image_line("p2", 2, 49) + image_line("p3", 3)
    )
    arguments = ["--manifest", "figures", "--reference", "planes", "--compare", "appearance"]
    done = similarity(*arguments, "--closest", "2")
    assert (done.returncode, "expected --matches as well" in done.stderr) == (2, True)
    done = similarity(*arguments, "--matches", "m", "--closest", "2", "--pairs", "p")
    assert done.stdout == (
        "3 datasets compared with 3 of the reference: 1 exact pair, 2 similar-looking pairs, "
        "2 datasets with a match\n"
    )
    rows = [line.split("\t") for line in (tmp_path / "m").read_text().splitlines()]
    assert rows[0][-2:] == ["pixels", "match_pixels"]
    assert [(*row[:4], row[5]) for row in rows[1:]] == [
        ("f1", "looks like", "1", "256", "p2"),
        ("f1", "looks like", "10", "256", "p1"),
        ("f2", "none", "190", "256", "p1"),  # the nearest, though it is far away
        ("f3", "exact", "0", "256", "p2"),
    ]
    rows = [line.split("\t")[:4] for line in (tmp_path / "p").read_text().splitlines()[1:]]
    assert rows == [
        ["f3", "p2", "exact", "0"],
        ["f1", "p2", "looks like", "1"],
        ["f1", "p1", "looks like", "10"],
    ]


def test_more_image_codes_than_there_are_orientations_are_refused(tmp_path, similarity):
    """One line with many codes would take memory for as many in all other lines."""
    for count, status in ((16, 0), (17, 2)):
        codes = image_line("a", 1, *range(60, 60 + count)), image_line("b", 2, 60)
        (tmp_path / "m").write_text(IMAGES + "".join(codes))
        done = similarity("--manifest", "m", "--compare", "appearance")
        assert done.returncode == status
    assert 'line 2, "a": expected at most 16 Image-Codes of 256 bits' in done.stderr
    assert done.stderr.endswith(", found 17\n")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda looks: looks[:-1], image_code({15})[:-1]),
        (lambda looks: looks.replace(image_code({9}), CODE), CODE),
        (lambda looks: looks.replace(" ", "  ", 1), ""),
        (lambda looks: looks.replace(" ", ","), ",".join(map(image_code, ({0}, {1})))),
    ],
    ids=["cut", "of another type", "two spaces", "commas"],
)
def test_of_many_image_codes_the_wrong_one_is_named(tmp_path, similarity, change, found):
    looks = change(" ".join(image_code({bit}) for bit in range(16)))
    (tmp_path / "m").write_text(f"{IMAGES}a\t{iscc(0, 1)}\timagewalk uint8 z1c1t1y9x9\t{looks}\n")
    done = similarity("--manifest", "m", "--compare", "appearance")
    assert done.returncode == 2
    assert done.stderr.endswith(f", one space between them, found {messages.quote(found)}\n")


@pytest.mark.parametrize("side", ["--manifest", "--reference"])
def test_what_has_no_image_code_is_not_compared_by_appearance(tmp_path, similarity, side):
    (tmp_path / "some").write_text(IMAGES + image_line("a", 1, 30))
    (tmp_path / "none").write_text(IMAGES + image_line("b", 2) + image_line("c", 2))
    others = {"--manifest": "--reference", "--reference": "--manifest"}
    done = similarity(side, "none", others[side], "some", "--compare", "appearance", "--pairs", "p")
    assert done.returncode == 2
    where = "the datasets" if side == "--manifest" else "the reference"
    assert f"expected Image-Codes, to compare by appearance, found none in {where}" in done.stderr
    assert "ISCC pixel manifest" in done.stderr
    assert not (tmp_path / "p").exists()


def test_a_picture_without_features_is_named_where_there_is_no_other(tmp_path, similarity):
    columns = IMAGES.replace("iscc", "iscc\tnote")
    row = f"{iscc(0, 1)}\tfeatureless\timagewalk uint8 z1c1t1y9x9\t\n"
    (tmp_path / "m").write_text(f"{columns}blank\t{row}blank too\t{row}")
    done = similarity("--manifest", "m", "--compare", "appearance")
    assert done.returncode == 2
    assert 'in the datasets (there is nothing to see in "blank"); make' in done.stderr


def test_the_key_of_a_mixed_picture_does_not_say_that_images_are_small(
    tmp_path, monkeypatch, similarity
):
    keys = []
    monkeypatch.setattr(picture, "add_key", lambda *arguments: keys.append(arguments[4]))
    (tmp_path / "m").write_text(f"{IMAGES}bytes\t{iscc(0, 1)}\t\t\n{image_line('a', 1, 30)}")
    for by in ("content", "appearance"):
        similarity("--manifest", "m", "--compare", by, "--picture", "p")
    assert ["another kind" in " ".join(key) for key in keys] == [True, True]


@pytest.mark.parametrize("by", ["content", "appearance"])
def test_what_can_be_compared_is_known_before_anything_is_coded(
    tmp_path, monkeypatch, similarity, by
):
    monkeypatch.setattr(coding, "code_all", lambda *_, **__: pytest.fail("coded all the same"))
    (tmp_path / "planes").write_text(IMAGES + image_line("a", 1, 30))
    (tmp_path / "figure.tif").touch()
    done = similarity("figure.tif", "--reference", "planes", "--compare", by)
    assert done.returncode == 2
    found = {
        "content": 'codes of bytes like those of "figure.tif"',
        "appearance": "none in the datasets",
    }
    assert f"found {found[by]}" in done.stderr


def test_codes_of_bytes_and_of_pixels_in_one_table_are_compared_each_within_their_kind(
    tmp_path, similarity
):
    """Codes are equal, sizes and hashes unknown; another pixel type is near, at distance 0."""
    byte_lines = "".join(f"{name}\t{iscc(1 << 64, 1)}\t\t\n" for name in ("b1", "b2"))
    pixel_lines = image_line("p1", 1) + image_line("p2", 1)
    other_type = image_line("p3", 1, pixels="int8 z1c1t1y9x9")
    (tmp_path / "m.tsv").write_text(IMAGES + byte_lines + pixel_lines + other_type)
    done = similarity("--manifest", "m.tsv", "--threshold", "128", "--pairs", "p", "--matrix", "x")
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in (tmp_path / "p").read_text().splitlines()[1:]]
    assert [(*row[:4], *row[10:]) for row in rows] == [
        ("b1", "b2", "exact", "0", "", ""),
        ("p1", "p2", "exact", "0", *["imagewalk uint8 z1c1t1y9x9"] * 2),
        ("p1", "p3", "near", "0", "imagewalk uint8 z1c1t1y9x9", "imagewalk int8 z1c1t1y9x9"),
        ("p2", "p3", "near", "0", "imagewalk uint8 z1c1t1y9x9", "imagewalk int8 z1c1t1y9x9"),
    ]
    rows = [line.split("\t") for line in (tmp_path / "x").read_text().splitlines()[1:]]
    assert rows[0] == ["b1", "0", "0", "", "", ""]
    assert rows[4] == ["p3", "", "", "0", "0", "0"]


def test_tiny_datasets_are_known_by_their_size_or_their_note(tmp_path, similarity):
    """A manifest may have been cut to a few columns. If both are present, the size counts."""
    for columns, row in (("filesize\tnote", "2047\t"), ("note", "tiny"), ("note", "empty")):
        rows = (f"{name}\t{iscc(0, n)}\t{row}\n" for n, name in enumerate("ab"))
        (tmp_path / "m.tsv").write_text(f"#name\tiscc\t{columns}\n" + "".join(rows))
        done = similarity("--manifest", "m.tsv")
        assert done.stdout == "2 datasets: 0 exact pairs, 0 near pairs, 0 clusters\n"
    for columns, row in (("filesize\tnote", "2048\ttiny"), ("note", "small"), ("note", "my own")):
        rows = (f"{name}\t{iscc(0, n)}\t{row}\n" for n, name in enumerate("ab"))
        (tmp_path / "m.tsv").write_text(f"#name\tiscc\t{columns}\n" + "".join(rows))
        done = similarity("--manifest", "m.tsv")
        assert done.stdout == "2 datasets: 0 exact pairs, 1 near pair, 1 cluster\n"


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (f"{CODE[:-1]}1", "base32"),
        (CODE[:-1], "54"),
        (f"{CODE}A", "56"),
        (f"{CODE[:-1]}B", "padding"),
        (CODE.replace("K4A", "MAI"), "begins with K4A or KUA"),
    ],
    ids=["digit", "short", "long", "trailing bits", "header"],
)
@pytest.mark.parametrize("option", ["--manifest", "--reference"])
def test_a_broken_code_is_refused_with_line_and_name(tmp_path, similarity, broken, reason, option):
    (tmp_path / "m.tsv").write_text(f"#name\tiscc\na\t{CODE}\nb\t{broken}\n")
    (tmp_path / "good.tsv").write_text(f"#name\tiscc\na\t{CODE}\n")
    other = "--reference" if option == "--manifest" else "--manifest"
    done = similarity(option, "m.tsv", other, "good.tsv", "--pairs", "p.tsv")
    assert done.returncode == 2
    assert done.stderr.startswith('iscc_similarity: "m.tsv", line 3, "b": ')
    assert reason in done.stderr
    assert f'"{broken}" is not an ISCC: ' in done.stderr
    assert not (tmp_path / "p.tsv").exists()


ALL_OUTPUTS = [
    word
    for option in ("pairs", "clusters", "keep", "drop", "matrix", "picture")
    for word in (f"--{option}", option)
]


def write_manifest(path: Path, entries: list[Entry]) -> None:
    rows = ((entry.name, entry.iscc, entry.filesize) for entry in entries)
    text = "".join(manifest.table_lines(("#name", "iscc", "filesize"), rows))
    path.write_text(text, encoding="utf-8", errors="surrogateescape")


# 1 and 3 are equal; 2 is 10 bits from them and 5 is 8 from 2 and 18 from them; 4 and 6 are alone,
# and 6 is too small to be compared.
SIX = [
    entry("1", 0, 1),
    entry("2", ones(10), 2),
    entry("3", 0, 1),
    entry("4", ones(64, start=64), 4),
    entry("5", ones(18), 5),
    entry("6", 0, 6, size=2000),
]


def test_all_outputs_of_one_set(tmp_path, similarity):
    write_manifest(tmp_path / "m.tsv", SIX)
    at_12 = ("--threshold", 12, "--duplicates", "near")
    done = similarity("--manifest", "m.tsv", *ALL_OUTPUTS, *at_12)
    assert done.stderr == ""
    assert done.stdout == "6 datasets: 1 exact pair, 3 near pairs, 1 cluster\n"
    rows = [line.split("\t") for line in (tmp_path / "pairs").read_text().splitlines()]
    assert [row[:6] + row[8:] for row in rows[1:]] == [
        ["1", "3", "exact", "0", "128", "100.0", "1", "3"],
        ["2", "5", "near", "8", "128", "93.8", "2", "5"],
        ["1", "2", "near", "10", "128", "92.2", "1", "2"],
        ["2", "3", "near", "10", "128", "92.2", "2", "3"],
    ]
    assert (tmp_path / "clusters").read_text() == (
        f"{CLUSTERS}"
        "1\t1\t4\t1\tfirst\t\t\t1\n"
        "2\t1\t4\t1\tnear\t10\t\t2\n"
        "3\t1\t4\t1\texact\t0\t\t3\n"
        "5\t1\t4\t1\tlinked\t18\t\t5\n"
        "4\t2\t1\t4\tsingle\t\t\t4\n"
        "6\t3\t1\t6\tsingle\t\ttiny\t6\n"
    )
    # 5 is a copy of 2 alone, which is not kept.
    assert (tmp_path / "keep").read_text() == "1\n4\n5\n6\n"
    assert (tmp_path / "drop").read_text() == "2\n3\n"
    assert (tmp_path / "matrix").read_text() == (
        "#name\t1\t2\t3\t4\t5\t6\n"
        "1\t0\t10\t0\t64\t18\t\n"
        "2\t10\t0\t10\t74\t8\t\n"
        "3\t0\t10\t0\t64\t18\t\n"
        "4\t64\t74\t64\t0\t82\t\n"
        "5\t18\t8\t18\t82\t0\t\n"
        "6\t\t\t\t\t\t0\n"
    )

    done = similarity("--manifest", "m.tsv", *ALL_OUTPUTS)
    assert (tmp_path / "keep").read_text() == "1\n2\n4\n5\n6\n"
    assert (tmp_path / "drop").read_text() == "3\n"


def test_all_outputs_with_a_reference(tmp_path, similarity):
    """The same six and one narrow code, against three of them and a narrow one 4 bits from 1."""
    write_manifest(tmp_path / "new.tsv", [*SIX, entry("7", ones(60), 7, narrow=True)])
    write_manifest(tmp_path / "old 1.tsv", [SIX[4], SIX[1]])
    write_manifest(tmp_path / "old 2.tsv", [SIX[5], entry("n", ones(4), 8, narrow=True)])
    references = ("--reference", "old 1.tsv", "--reference", "old 2.tsv")
    outputs = [word.replace("--clusters", "--matches") for word in ALL_OUTPUTS]
    done = similarity("--manifest", "new.tsv", *references, *outputs, "--threshold", 12)
    assert done.stderr == ""
    assert done.stdout == (
        "7 datasets compared with 4 of the reference: 3 exact pairs, 8 near pairs, "
        "6 datasets with a match\n"
    )
    rows = [line.split("\t") for line in (tmp_path / "pairs").read_text().splitlines()]
    assert [row[:5] + row[8:] for row in rows[1:]] == [
        ["2", "2", "exact", "0", "128", "2", "2"],
        ["5", "5", "exact", "0", "128", "5", "1"],
        ["6", "6", "exact", "0", "128", "6", "3"],
        ["2", "5", "near", "8", "128", "2", "1"],
        ["5", "2", "near", "8", "128", "5", "2"],
        ["1", "n", "near", "4", "64", "1", "4"],  # of as large a share, but of fewer bits
        ["3", "n", "near", "4", "64", "3", "4"],
        ["4", "n", "near", "4", "64", "4", "4"],
        ["1", "2", "near", "10", "128", "1", "2"],
        ["3", "2", "near", "10", "128", "3", "2"],
        ["2", "n", "near", "6", "64", "2", "4"],
    ]
    # To 1, n is closer than 2: 4 bits of 64, which are 8 of 128, against 10.
    matches = [line.split("\t") for line in (tmp_path / "clusters").read_text().splitlines()]
    assert matches[0] == (
        ["#name", "relation", "distance", "bits", "similarity", "match", "match_iscc", "row"]
    )
    assert [row[:6] + row[7:] for row in matches[1:]] == [
        ["1", "near", "4", "64", "93.8", "n", "1"],
        ["2", "exact", "0", "128", "100.0", "2", "2"],
        ["3", "near", "4", "64", "93.8", "n", "3"],
        ["4", "near", "4", "64", "93.8", "n", "4"],
        ["5", "exact", "0", "128", "100.0", "5", "5"],
        ["6", "exact", "0", "128", "100.0", "6", "6"],
        ["7", "none", "42", "64", "34.4", "5", "7"],  # 5 is the nearest
    ]
    assert matches[2][6] == SIX[1].iscc
    assert (tmp_path / "keep").read_text() == "1\n3\n4\n7\n"
    assert (tmp_path / "drop").read_text() == "2\n5\n6\n"
    # 64 bits count twice: 7 is 60 - 18 = 42, 60 - 10 = 50 and 60 - 4 = 56 bits of 64 away.
    lines = (tmp_path / "matrix").read_text().splitlines()
    assert lines[0] == "#name\t5\t2\t6\tn"
    assert lines[1] == "1\t18\t10\t\t8"
    assert lines[6:] == ["6\t\t\t0\t", "7\t84\t100\t\t112"]


def test_the_inputs_of_galaxy_may_hold_a_reference(tmp_path, similarity):
    for name, content in {"a": b"a" * 3000, "b": b"b" * 3000}.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "m").write_text(f"#name\tiscc\nold\t{codes_of(b'b' * 3000).wide}\n")
    a, b, m = ({"element_identifier": f"'{n}", "source_path": n} for n in "abm")
    for inputs, expected in (
        ({"datasets": [a, b], "reference_manifests": [m]}, ["'b", "old", "exact"]),
        ({"manifests": [m], "reference_datasets": [a, b]}, ["old", "'b", "exact"]),
        ({"datasets": [b], "reference_datasets": [a, b]}, ["'b", "'b", "exact"]),
        ({"manifests": [m], "reference_manifests": [m]}, ["old", "old", "exact"]),
    ):
        (tmp_path / "inputs.json").write_text(json.dumps(inputs))
        done = similarity("--inputs", "inputs.json", "--pairs", "p", "--processes", 2)
        assert done.returncode == 0, done.stderr
        [_, row] = (tmp_path / "p").read_text().splitlines()
        assert row.split("\t")[:3] == expected


@pytest.mark.parametrize(
    ("inputs", "arguments", "message"),
    [
        ({}, [], 'expected the key "datasets" or "manifests", found none'),
        (
            {"datasets": [], "manifests": []},
            [],
            'expected either "datasets" or "manifests", found both',
        ),
        (
            {"datasets": [], "reference_datasets": [], "reference_manifests": []},
            [],
            'expected either "reference_datasets" or "reference_manifests", found both',
        ),
        (
            {"datasets": [], "reference_datasets": []},
            ["--reference", "m"],
            "has a reference already",
        ),
    ],
)
def test_inputs_that_contradict_each_other(tmp_path, similarity, inputs, arguments, message):
    (tmp_path / "inputs.json").write_text(json.dumps(inputs))
    done = similarity("--inputs", "inputs.json", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_reference_of_the_command_line_joins_the_inputs_of_galaxy(tmp_path, similarity):
    (tmp_path / "a").write_bytes(b"a" * 3000)
    (tmp_path / "m").write_text(f"#name\tiscc\nold\t{codes_of(b'a' * 3000).wide}\n")
    inputs = {"datasets": {"element_identifier": "new", "source_path": "a"}}
    (tmp_path / "inputs.json").write_text(json.dumps(inputs))
    done = similarity("--inputs", "inputs.json", "--reference", "m")
    assert done.stdout == (
        "1 dataset compared with 1 of the reference: 1 exact pair, 0 near pairs, "
        "1 dataset with a match\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--compact"], "--compact is a form of the pairs: expected --pairs as well, found none"),
        (
            ["--duplicates", "near"],
            "--duplicates is about lists: expected --keep, --drop or --copies, found none",
        ),
        (["--max-pairs", "0"], "argument --max-pairs: '0' is not an integer"),
        (["--pairs", "p", "--picture", "d"], 'cannot write "d": '),
        (["--pairs", "p", "--keep", "p"], 'cannot write "p": '),
        (["--copies", "m.tsv"], 'cannot write "m.tsv": '),
        (["--clusters", "p", "--matches", "b"], "--clusters and --matches are one table"),
        (
            ["--drop", "p", "--drop-threshold", "9"],
            "--drop-threshold: expected --duplicates near as well, found none",
        ),
        (["--duplicates", "all"], "argument --duplicates: invalid choice: 'all'"),
        (["a"], "argument FILE: not allowed with argument --manifest"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_one_line(
    tmp_path, similarity, arguments, message
):
    write_manifest(tmp_path / "m.tsv", SIX)
    (tmp_path / "d").mkdir()
    done = similarity("--manifest", "m.tsv", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"iscc_similarity: {message}")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "p").exists()


def test_a_name_that_stands_for_two_cannot_be_on_a_list(tmp_path, similarity):
    write_manifest(tmp_path / "m.tsv", [entry("x", 0, 1), entry("y", 0, 1), entry("x", 0, 1)])
    done = similarity("--manifest", "m.tsv", "--pairs", "p", "--keep", "k")
    assert done.returncode == 2
    assert done.stderr.startswith('iscc_similarity: cannot put "x" on a list: ')
    assert [path.name for path in tmp_path.iterdir()] == ["m.tsv"]


def test_exact_copies_with_other_data_codes_are_folded_too(tmp_path, similarity):
    """No file has such codes, but a manifest may; 1,500 make 1,124,250 pairs."""
    rows = (f"{n}\t{iscc(n << 64, 1)}\n" for n in range(1500))
    (tmp_path / "m.tsv").write_text("#name\tiscc\n" + "".join(rows))
    arguments = ("--manifest", "m.tsv", "--pairs", "p", "--threshold", 0)
    done = similarity(*arguments)
    assert done.returncode == 2
    assert done.stderr == (
        "iscc_similarity: there are 1,124,250 exact pairs, more than the limit of 1,000,000: "
        "choose fewer datasets, the compact form (--compact) if they are exact duplicates, or a "
        "higher limit (--max-pairs)\n"
    )
    done = similarity(*arguments, "--compact")
    assert done.returncode == 0
    assert (tmp_path / "p").read_text().count("\texact\t") == 1499


def test_a_matrix_needs_no_pairs(tmp_path, similarity):
    """All 1,999,000 pairs are near, but no output needs them."""
    write_manifest(tmp_path / "m.tsv", [entry(str(n), n << 64, n) for n in range(2000)])
    arguments = ("--manifest", "m.tsv", "--threshold", 128, "--matrix", "x", "--clusters", "c")
    done = similarity(*arguments)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x").read_text().count("\n") == 2001


def test_compact_pairs_of_a_thousand_copies(tmp_path, similarity):
    """499,500 exact pairs in full, 999 compact; a near copy is only paired with the first."""
    near = entry("near", ones(5), 2)
    write_manifest(tmp_path / "m.tsv", [entry(f"{i:04}", 0, 1) for i in range(1000)] + [near])
    arguments = ("--manifest", "m.tsv", "--pairs", "p.tsv", "--max-pairs", 1000)
    done = similarity(*arguments)
    assert done.returncode == 2
    assert done.stderr == (
        "iscc_similarity: there are 499,500 exact pairs and 1,000 near pairs, more than the limit "
        "of 1,000: choose the compact form (--compact), which has 1,000, or a higher limit "
        "(--max-pairs)\n"
    )
    assert not (tmp_path / "p.tsv").exists()
    done = similarity(*arguments, "--compact")
    assert done.returncode == 0
    rows = [line.split("\t") for line in (tmp_path / "p.tsv").read_text().splitlines()]
    assert [row[:4] for row in rows[1:]] == [
        *(["0000", f"{i:04}", "exact", "0"] for i in range(1, 1000)),
        ["0000", "near", "near", "5"],
    ]
    done = similarity(*arguments[:-1], 999, "--compact")
    assert done.stderr == (
        "iscc_similarity: there are 1,000 pairs in the compact form, more than the limit of 999: "
        "choose a smaller threshold, or a higher limit (--max-pairs)\n"
    )


def test_the_limit_counts_pairs_of_datasets(tmp_path, similarity):
    """40 copies of one file, and 40 of a near-duplicate: 1,560 exact and 1,600 near pairs."""
    copies = [entry(f"{i}", ones(5) if i % 2 else 0, i % 2) for i in range(80)]
    write_manifest(tmp_path / "m.tsv", copies)
    done = similarity("--manifest", "m.tsv", "--pairs", "p", "--max-pairs", 3159)
    assert (
        "1,560 exact pairs and 1,600 near pairs, more than the limit of 3,159: choose"
        in done.stderr
    )
    done = similarity("--manifest", "m.tsv", "--pairs", "p", "--max-pairs", 3160)
    assert done.returncode == 0
    assert len((tmp_path / "p").read_text().splitlines()) == 3161
    # Where no pairs are asked for, their number is no matter.
    done = similarity("--manifest", "m.tsv", "--clusters", "c", "--max-pairs", 1)
    assert done.returncode == 0


@NEEDS_FORK
def test_outputs_are_the_same_for_any_number_of_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(hamming, "WORTH_A_WORKER", 0)
    started = []
    in_processes = workers.in_processes

    def counted(work, items, portions, processes, look):
        started.append(processes)
        return in_processes(work, items, portions, processes, look)

    monkeypatch.setattr(workers, "in_processes", counted)
    hashes = hashes_with_neighbours(7, 3000, 2, 14)
    entries = [
        entry(str(i), int.from_bytes(row.astype(">u8").tobytes()), i % 2500, narrow=i % 5 == 0)
        for i, row in enumerate(hashes)
    ]
    write_manifest(tmp_path / "m.tsv", entries)
    names = ("pairs", "clusters", "keep", "drop")
    outputs = [word for name in names for word in (f"--{name}", str(tmp_path / name))]
    results = []
    for processes in ("1", "2", "5"):
        arguments = ["--manifest", str(tmp_path / "m.tsv"), "--processes", processes, *outputs]
        assert iscc_similarity.main(arguments) == 0
        results.append([(tmp_path / name).read_bytes() for name in names])
    # Wide with wide, wide with narrow, narrow with narrow, each.
    assert started == [2, 2, 2, 5, 5, 5]
    assert results[0] == results[1] == results[2]
    assert results[0][0].count(b"\n") > 1000


def test_long_comparisons_say_how_far_they_are(tmp_path, monkeypatch, capsys):
    write_manifest(tmp_path / "m.tsv", [*SIX, entry("7", ones(60), 7, narrow=True)])
    monkeypatch.setattr(messages, "SECONDS_BETWEEN_REPORTS", 0)
    assert iscc_similarity.main(["--manifest", str(tmp_path / "m.tsv")]) == 0
    news = capsys.readouterr().err.splitlines()
    parts = ["narrow with narrow", "narrow with wide", "wide with wide"]
    assert news == [f"compared {part} codes: 100%, 0 s" for part in parts]


def test_comparisons_of_the_same_kind_start_at_0_percent(tmp_path, monkeypatch, capsys):
    """Codes of pixels are compared after those of bytes."""
    write_manifest(tmp_path / "m.tsv", SIX)
    (tmp_path / "p.tsv").write_text(IMAGES + "".join(image_line(f"p{n}", n) for n in range(3)))
    monkeypatch.setattr(messages, "SECONDS_BETWEEN_REPORTS", 0)
    names = [str(tmp_path / name) for name in ("m.tsv", "p.tsv")]
    assert iscc_similarity.main([word for name in names for word in ("--manifest", name)]) == 0
    news = capsys.readouterr().err.splitlines()
    assert news == ["compared wide with wide codes: 100%, 0 s"] * 2


@NEEDS_FORK
def test_a_worker_that_dies_is_an_error(tmp_path, monkeypatch, similarity):
    write_manifest(tmp_path / "m.tsv", SIX)
    monkeypatch.setattr(hamming, "WORTH_A_WORKER", 0)
    monkeypatch.setattr(hamming, "compare", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    done = similarity("--manifest", "m.tsv", "--pairs", "p", "--processes", 2)
    assert done.returncode == 2
    assert done.stderr == (
        "iscc_similarity: a process that compared codes was killed by signal 9 (SIGKILL), probably "
        "because the machine ran out of memory\n"
    )
    assert not (tmp_path / "p").exists()


def test_a_name_with_a_line_break_cannot_stand_on_a_list(tmp_path, similarity):
    write_manifest(tmp_path / "m.tsv", [entry("a\nb", 0, 1), entry("c", 1, 2)])
    done = similarity("--manifest", "m.tsv", *ALL_OUTPUTS)
    assert done.returncode == 2
    assert done.stderr.startswith('iscc_similarity: cannot put "a\\nb" on a list: ')
    assert [path.name for path in tmp_path.iterdir()] == ["m.tsv"]
    done = similarity("--manifest", "m.tsv", "--picture", "picture.png")
    assert done.returncode == 0


def test_a_matrix_that_is_too_large_is_refused(tmp_path, similarity):
    write_manifest(tmp_path / "m.tsv", [entry(str(i), 0, 1) for i in range(2001)])
    for other in ((), ("--reference", tmp_path / "m.tsv")):
        done = similarity("--manifest", "m.tsv", *other, "--matrix", "x")
        assert done.returncode == 2
        assert "--matrix: expected at most 2,000 datasets, found 2,001" in done.stderr


HOSTILE_NAMES = [
    "$x_2$ and $(touch x)",
    "a\tb\nc\\d",
    "\udcff no text",
    "細胞核 세포 نواة ядро \U0001f52c",
    "x" * 300,
    "{0} %s $",
    "",
]


def test_one_dataset_alone_is_compared_with_nothing(tmp_path, similarity):
    (tmp_path / "a b.tif").write_bytes(b"a" * 3000)
    (tmp_path / "none.json").write_text(json.dumps({"datasets": []}))
    for source, found in [(["a b.tif"], '1, "a b.tif"'), (["--inputs", "none.json"], "0")]:
        done = similarity(*source, "--pairs", "p")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "iscc_similarity: expected at least two datasets to compare with each other, found "
            f"{found}: add others, or choose a reference to compare with\n"
        )


def test_a_picture_of_two_empty_collections(tmp_path, similarity):
    (tmp_path / "form").write_text(json.dumps({"datasets": [], "reference_datasets": []}))
    done = similarity("--inputs", "form", "--picture", "p.png", "--matches", "m", "--pairs", "p")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_the_heat_map_leaves_out_what_has_no_duplicate(tmp_path, similarity, monkeypatch):
    """With more than forty datasets; up to forty, also of a reference, all are drawn."""
    drawn = []

    def heat_map(side, other, distances, exact, threshold, scale):
        drawn.append((side, other, distances.shape))
        return b"picture"

    monkeypatch.setattr(picture, "heat_map", heat_map)
    apart = np.random.default_rng(8).integers(0, 2**63, (38, 2)).tolist()
    alone = [entry(f"{n}", a << 64 | b, 100 + n) for n, (a, b) in enumerate(apart)]
    pair = [entry("a", 0, 1), entry("b", ones(5), 2)]
    for count, rows in ((38, range(40)), (39, (0, 40))):
        more = [entry("c", ones(64, 60), 5)] * (count - 38)
        write_manifest(tmp_path / "m.tsv", [pair[0], *alone, *more, pair[1]])
        done = similarity("--manifest", "m.tsv", "--threshold", 5, "--picture", "p")
        assert done.returncode == 0, done.stderr
        side, other, shape = drawn.pop()
        assert (side.rows.tolist(), other, shape) == ([*rows], None, (len(rows),) * 2)
        assert side.names[count + 1] == "b"
    write_manifest(tmp_path / "r.tsv", [entry("c", ones(64, 60), 5), entry("d", ones(4), 6)])
    source = ("--manifest", "m.tsv", "--reference", "r.tsv", "--threshold", 5)
    done = similarity(*source, "--picture", "p")
    assert done.returncode == 0, done.stderr
    side, other, shape = drawn.pop()
    assert (side.rows.tolist(), other.rows.tolist()) == ([0, 39, 40], [0, 1])
    assert side.counted == "3 of 41"
    assert shape == (5, 5)


EXACT_COLOUR = (0xE8, 0x59, 0x0C)  # of cells, and in the key


@pytest.mark.parametrize(
    ("count", "with_reference"),
    [(0, True), (1, True), (2, False), (7, False), (60, True), (101, False), (401, False)],
)
def test_pictures(tmp_path, similarity, count, with_reference):
    """Pictures of this many datasets, with all hostile names; the same bytes each time."""
    names = [HOSTILE_NAMES[i] if i < len(HOSTILE_NAMES) else f"image {i}" for i in range(count)]
    hashes = hashes_with_neighbours(count, count, 2, 20)
    entries = [
        entry(name, int.from_bytes(row.astype(">u8").tobytes()), i // 2, size=1000 + 500 * (i // 2))
        for i, (name, row) in enumerate(zip(names, hashes, strict=True))
    ]
    source = ("--manifest", "m.tsv")
    if entries:
        write_manifest(tmp_path / "m.tsv", entries)
    else:
        (tmp_path / "inputs.json").write_text(json.dumps({"datasets": []}))
        source = ("--inputs", "inputs.json")
    write_manifest(tmp_path / "r.tsv", entries if count > 1 else [entry("other", ones(60), 99)])
    reference = ("--reference", "r.tsv") if with_reference else ()
    pictures = []
    for _ in range(2 if count == 7 else 1):
        done = similarity(*source, *reference, "--picture", "p.png")
        assert (done.returncode, done.stderr) == (0, "")
        pictures.append((tmp_path / "p.png").read_bytes())
    assert len(set(pictures)) == 1
    with Image.open(tmp_path / "p.png") as image:
        assert image.format == "PNG"
        assert all(200 < size < 4000 for size in image.size)
        area = {colour: count for count, colour in image.convert("RGB").getcolors(1 << 24)}
    # In the key there is a small patch of it; two datasets each are equal, and so are 7 and 7.
    assert (area[EXACT_COLOUR] > 1000) == (count > 1)


def test_the_heat_map_shows_what_there_is():
    """Cells by colour: 1 and 3 are exact copies, 2 is 4 and 4 is 64 bits from them."""
    distances = np.array([[0, 4, 0, 64], [4, 0, 4, 64], [0, 4, 0, 64], [64, 64, 64, 0.0]])
    exact = np.eye(4, dtype=bool)
    exact[0, 2] = exact[2, 0] = True
    side = picture.Side(["a", "b", "c", "d"], np.arange(4))
    png = picture.heat_map(side, None, distances, exact, 12)
    with Image.open(io.BytesIO(png)) as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    share = {
        name: (np.abs(pixels - np.array(colour) * 255) < 2).all(axis=1).sum()
        for name, colour in {
            "exact": to_rgb(picture.EXACT_COLOUR),
            "near": picture.BY_CONTENT.colour_map(4 / 64)[:3],
            "far": picture.BY_CONTENT.colour_map(1.0)[:3],
            "itself": to_rgb(picture.ITSELF_COLOUR),
        }.items()
    }
    # 2, 4, 6 and 4 cells of 90 x 90 pixels, less what borders and antialiasing take.
    cell = 90 * 90
    for name, cells in {"exact": 2, "near": 4, "far": 6, "itself": 4}.items():
        assert 0.85 * cells < share[name] / cell < 1.15 * cells, share


@examples(100)
@given(entry_lists("a"), st.sampled_from(BITS), st.sampled_from([0, 12, 40, 127, 128, 256]))
def test_frames_are_the_clusters(entries, by_and_most, threshold):
    """The clusters of the table are framed, in the order of the heat map."""
    by, most = by_and_most
    threshold = min(threshold, most)
    found = found_links(entries, threshold, by=by)
    expected = Counter(place.representative for place in relations.places(found))
    distances, exact = links.distances_by_row(found.sides)
    scale = picture.BY_CONTENT if by == "content" else picture.BY_APPEARANCE
    tree = picture.single_linkage(distances, exact, scale)
    if len(entries) < 2:
        assert tree is None
        return
    order = leaves_list(tree).tolist()
    frames = picture.clusters_in_order(tree, np.array(order), threshold)
    framed = {frozenset(order[start : start + size]) for start, size in frames}
    places = relations.places(found)
    assert framed == {
        frozenset(row for row, place in enumerate(places) if place.representative == first)
        for first, size in expected.items()
        if size > 1
    }


def test_histograms_show_every_dataset():
    """10 exact, 20 at distance 3, 30 at 40, and 40 too small ones have areas of 1 : 2 : 3 : 4."""
    nearest = np.repeat([0, 3, 40, np.nan], [10, 20, 30, 40])
    exact = np.arange(100) < 10
    png = picture.histograms("", nearest, exact, "", {"1": 1}, 12)
    with Image.open(io.BytesIO(png)) as image:
        area = {colour: count for count, colour in image.convert("RGB").getcolors(1 << 24)}
    band = {
        name: colour
        for (_, name), colour in zip(
            picture.BY_CONTENT.bands, picture.BY_CONTENT.colours, strict=True
        )
    }
    colours = (picture.EXACT_COLOUR, band["near-duplicate"], band["chance"], picture.UNKNOWN_COLOUR)
    found = [area[tuple(round(255 * part) for part in to_rgb(colour))] for colour in colours]
    # The bars of distances are half as wide as the other two; the key has a patch of each.
    exact_area, near_area, chance_area, unknown_area = found
    assert 0.8 < unknown_area / (4 * exact_area) < 1.2
    assert 0.7 < near_area / exact_area < 1.4
    assert 0.7 < chance_area / (1.5 * exact_area) < 1.4


def test_bars_count_every_cluster_and_every_dataset():
    """Four single datasets, three pairs, a cluster of twelve; of eight, one exact and two near."""
    entries = [entry(f"{n}", n << 64, n) for n in range(4)]
    for number, copies in enumerate((2, 2, 12, 2), start=4):
        entries += [entry(f"{number} {copy}", number << 64, number) for copy in range(copies)]
    bars = tables.sizes_of_clusters(relations.places(found_links(entries, 0)))
    assert {label: count for label, count in bars.items() if count} == {
        "1": 4,
        "2": 3,
        "11 to 100": 1,
    }
    found = found_links(entries[:8], 1, [entries[0], entry("y", 6 << 64, 77)])
    # Of 0, 1, 2, 3, 4, 4, 5 and 5, with 0 and 6: 0 is exact; 1, 2 and both 4 are a bit from one.
    kinds = tables.kinds_of_matches(entries[:8], relations.best_matches(found), "near")
    assert kinds == {"exact": 1, "near": 4, "none": 3}


def test_labels_are_short_text():
    assert picture.shortened("a\tb\udcff") == "a\\tb\ufffd"
    assert picture.shortened("x" * 30 + "y" * 30) == "x" * 24 + "…" + "y" * 24
    assert picture.fonts_for("cell ядро \n") == (["DejaVu Sans"], False)
    assert picture.fonts_for("cell \U000e0fff") == (["DejaVu Sans"], False)  # is not printable


def test_copies_are_exact_ones_unless_near_ones_are_asked_for(tmp_path, similarity):
    """A chain of three: b is 10 bits from a, c is 13 from a and 21 from b."""
    write_manifest(tmp_path / "m.tsv", [*CHAIN, entry("a2", 0, 1)])
    exact = ["a2\ta\texact\t0\t128\t100.0\t4\t1"]
    near = ["b\ta\tnear\t10\t128\t92.2\t2\t1"]
    beyond = ["c\ta\tnear\t13\t128\t89.8\t3\t1"]
    for options, expected in [
        ([], exact),
        (["--duplicates", "exact"], exact),
        (["--duplicates", "near"], near + exact),
        (["--duplicates", "near", "--threshold", 9], exact),
        (["--duplicates", "near", "--drop-threshold", 9], exact),
        (["--duplicates", "near", "--drop-threshold", 10], near + exact),
        (["--duplicates", "near", "--drop-threshold", 13], near + beyond + exact),
        (["--duplicates", "near", "--drop-threshold", 13, "--threshold", 12], near + exact),
    ]:
        done = similarity("--manifest", "m.tsv", "--copies", "c.tsv", *options)
        assert done.returncode == 0, done.stderr
        header, *lines = (tmp_path / "c.tsv").read_text().splitlines()
        assert header == "#name\tcopy_of\trelation\tdistance\tbits\tsimilarity\trow\tcopy_of_row"
        assert lines == expected


def test_nothing_compared_with_a_reference_has_all_outputs(tmp_path, similarity):
    write_manifest(tmp_path / "m.tsv", SIX)
    reference = {"element_identifier": "m", "source_path": str(tmp_path / "m.tsv")}
    inputs = {"datasets": [], "reference_manifests": [reference]}
    (tmp_path / "inputs.json").write_text(json.dumps(inputs))
    outputs = [f"--{each}={each}" for each in ("pairs", "matches", "keep", "copies", "picture")]
    done = similarity("--inputs", "inputs.json", *outputs)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "picture").stat().st_size > 0


@pytest.mark.parametrize("key", ["manifests", "reference_manifests"])
def test_an_archive_without_a_manifest_is_an_error(tmp_path, similarity, key):
    (tmp_path / "inputs.json").write_text(json.dumps({"datasets": [], key: []}))
    if key == "manifests":
        (tmp_path / "inputs.json").write_text(json.dumps({key: []}))
    done = similarity("--inputs", "inputs.json", "--pairs", "p")
    message = "iscc_similarity: expected one manifest or more, found none\n"
    assert (done.returncode, done.stderr) == (2, message)


def test_a_list_that_filter_collection_would_take_for_another_is_refused(tmp_path, similarity):
    """The tool strips lines: " a" on the list of datasets to drop would also remove "a"."""
    write_manifest(tmp_path / "m.tsv", [entry("x", 0, 1), entry(" a", 0, 1), entry("b", 0, 2)])
    lists = ["--keep", "k", "--drop", "d"]
    assert similarity("--manifest", "m.tsv", *lists).returncode == 0
    write_manifest(tmp_path / "m.tsv", [entry("x", 0, 1), entry(" a", 0, 1), entry("a", 0, 2)])
    done = similarity("--manifest", "m.tsv", *lists, "--pairs", "p")
    assert done.returncode == 2
    assert done.stderr.startswith('iscc_similarity: cannot put " a" on a list: ')
    assert not (tmp_path / "p").exists()


def test_exact_links_of_all_kinds_are_counted_before_there_is_one(monkeypatch):
    """Size, hash and width are known for some: 800 fingerprints, all exact duplicates."""
    hashes = (None, "1e20" + "0" * 64)
    kinds = [*product((False, True), (None, 10**6), hashes)]
    entries = [
        Entry(f"{number}", iscc(number << 64, 1, narrow), size, datahash)
        for number in range(100)
        for narrow, size, datahash in kinds
    ]
    sides = links.fingerprints(entries)
    count = 800 * 799 // 2
    assert len(links.find_links(sides, 0, limit=count).a) == count
    monkeypatch.setattr(links, "expand", lambda *_: pytest.fail("counted too late"))
    with pytest.raises(hamming.TooManyPairsError) as error:
        links.find_links(sides, 0, limit=count - 1)
    assert (error.value.count, error.value.are_exact, error.value.is_estimate) == (
        (count, True, False)
    )


def test_near_links_of_all_widths_are_counted_before_there_is_one(monkeypatch):
    """300 wide and 300 narrow fingerprints in three groups of equal Data-Codes, all near."""
    entries = [
        entry(f"{number} {narrow}", ones(number % 3), number + 1000 * narrow, narrow)
        for number in range(300)
        for narrow in (False, True)
    ]
    sides = links.fingerprints(entries)
    count = 600 * 599 // 2
    found = links.find_links(sides, 128, limit=count)
    assert len(found.a) == count
    assert not found.exact.any()
    with pytest.raises(hamming.TooManyPairsError) as error:
        links.find_links(sides, 128, limit=count - 1)
    assert (error.value.count, error.value.are_exact, error.value.is_estimate) == (
        (count, False, False)
    )


@pytest.mark.parametrize("with_reference", [False, True])
def test_pairs_that_are_not_all_found_are_estimated_in_datasets(monkeypatch, with_reference):
    """3,000 datasets, all near: of 1,000 fingerprints, or with 1,500 of 500; wide and narrow."""
    monkeypatch.setattr(links, "SAMPLE", 100)
    entries = [
        entry(f"{n} {copy}", n << 70, n, narrow=n < 300) for n in range(1000) for copy in range(3)
    ]
    reference = entries[:1500] if with_reference else None
    count = 3000 * 1500 if with_reference else 3000 * 2999 // 2
    with pytest.raises(hamming.TooManyPairsError) as error:
        links.find_links(links.fingerprints(entries, reference), 128, limit=2000)
    assert (error.value.count, error.value.is_estimate) == (count, True)


def test_the_estimate_is_of_a_sample_of_all(monkeypatch):
    """One half is similar, the other is not: 1,000 of 2,000 datasets make 499,500 pairs."""
    monkeypatch.setattr(links, "SAMPLE_COMPARISONS", 500_000)  # 251 of 2,000
    rng = np.random.default_rng(2)
    entries = [
        entry(str(i), int.from_bytes(rng.bytes(16)) if i % 2 else i << 64, i) for i in range(2000)
    ]
    estimate = links.estimate_pairs(links.fingerprints(entries), 12)
    assert 0.9 * 499_500 < estimate < 1.1 * 499_500


def test_pairs_of_fingerprints_that_are_too_many_are_said_in_datasets(tmp_path, similarity):
    """Three fingerprints with one Data-Code, each shared by three datasets."""
    entries = [entry(f"{n} {copy}", 0, n) for n in range(3) for copy in range(3)]
    write_manifest(tmp_path / "m.tsv", entries)
    done = similarity("--manifest", "m.tsv", "--pairs", "p", "--max-pairs", 3)
    assert "there are 9 exact pairs and 27 near pairs, more than the limit" in done.stderr
    with pytest.raises(hamming.TooManyPairsError) as error:
        links.find_links(links.fingerprints(entries), 12, limit=2)
    assert (error.value.count, error.value.is_estimate) == (36, True)


@pytest.mark.parametrize("with_reference", [False, True])
@pytest.mark.parametrize("variants", [1, 16])
def test_the_limit_counts_pairs_of_pictures_and_not_of_their_codes(variants, with_reference):
    """Each code of a picture is within 4 bits of each code of every other picture."""

    def pictures(count: int, variants: int) -> list[Entry]:
        looks = (" ".join(image_code({n, 255 - i}) for i in range(variants)) for n in range(count))
        return [entry(str(n), n << 64, n)._replace(image_code=each) for n, each in enumerate(looks)]

    entries = pictures(20, 16)
    reference = pictures(30, variants) if with_reference else None
    # The first ones are exact copies of those of the reference.
    count = 20 * 30 - 20 if with_reference else 20 * 19 // 2
    sides = links.fingerprints(entries, reference, by=links.APPEARANCE)
    limit = 600 if with_reference else count
    assert np.count_nonzero(~links.find_links(sides, 16, limit).exact) == count
    with pytest.raises(hamming.TooManyPairsError) as error:
        links.find_links(sides, 16, limit - 1)
    assert (error.value.count, error.value.is_estimate) == (limit, True)


def test_an_estimate_is_never_below_what_was_found(tmp_path, similarity, monkeypatch):
    monkeypatch.setattr(links, "estimate_pairs", lambda *_: 3)
    write_manifest(tmp_path / "m.tsv", [entry(str(i), i << 64, i) for i in range(10)])
    arguments = ("--manifest", "m.tsv", "--threshold", 30, "--pairs", "p", "--max-pairs", 44)
    done = similarity(*arguments)
    assert done.stderr == (
        "iscc_similarity: about 45 pairs are within the threshold 30, more than the limit of 44: "
        "choose a smaller threshold, the compact form (--compact) if they are exact duplicates, or "
        "a higher limit (--max-pairs)\n"
    )
    assert similarity(*arguments[:-1], 45).returncode == 0
    # In the compact form they only have to fit into memory.
    monkeypatch.setattr(iscc_similarity, "MOST_LINKS", 44)
    assert "about 45 pairs" in similarity(*arguments, "--compact").stderr


def test_no_comparing_process_outlives_the_first_one(tmp_path):
    """Codes are crowded in two groups, so that each part of the search takes seconds."""
    rng = np.random.default_rng(4)
    data = [
        (-(i % 2)) % (1 << 128) ^ int(tail) for i, tail in enumerate(rng.integers(0, 2**62, 80_000))
    ]
    write_manifest(tmp_path / "m.tsv", [entry("", code, i) for i, code in enumerate(data)])
    script = Path(iscc_similarity.__file__)
    first = psutil.Popen(
        [sys.executable, script, "--manifest", tmp_path / "m.tsv", "--processes", "2"]
    )
    try:
        workers = []
        while not (len(workers) == 2 and all(each.cpu_times().user > 0.2 for each in workers)):
            assert first.poll() is None
            time.sleep(0.05)
            workers = first.children()
    finally:
        first.kill()
        first.wait()
    _, alive = psutil.wait_procs(workers, timeout=3)
    assert not alive


def test_memory_that_is_not_enough_is_said_in_one_sentence(tmp_path, monkeypatch, similarity):
    write_manifest(tmp_path / "m.tsv", SIX)

    def too_much(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(links, "find_links", too_much)
    done = similarity("--manifest", "m.tsv")
    assert done.returncode == 2
    assert "memory" in done.stderr


def test_of_equally_near_datasets_the_first_is_named(tmp_path, similarity):
    """Also where one has a wide code and the other a narrow one: 32 of 128 bits, 16 of 64."""
    write_manifest(tmp_path / "m.tsv", [entry("far", 0, 1)])
    both = [entry("wide", ones(32, 64), 2), entry("narrow", ones(16), 3, narrow=True)]
    for reference in (both, both[::-1]):
        write_manifest(tmp_path / "r.tsv", reference)
        done = similarity("--manifest", "m.tsv", "--reference", "r.tsv", "--matches", "x")
        assert done.returncode == 0, done.stderr
        [_, row] = (tmp_path / "x").read_text().splitlines()
        assert row.split("\t")[1] == "none"
        assert row.split("\t")[5] == reference[0].name


def test_a_letter_of_the_bold_face_alone_is_missing(monkeypatch):
    """As the capital yot of DejaVu Sans, whose regular face is what names are drawn with."""
    manager = picture.fonts_for.__globals__["font_manager"].fontManager
    monkeypatch.setattr(manager, "ttflist", [e for e in manager.ttflist if "DejaVu" in e.name])
    assert picture.fonts_for("cell \u037f") == (["DejaVu Sans"], True)


def test_letters_that_no_font_has_are_announced(monkeypatch):
    """As where no font with Chinese, Japanese or Korean letters is installed."""
    manager = picture.fonts_for.__globals__["font_manager"].fontManager
    monkeypatch.setattr(manager, "ttflist", [e for e in manager.ttflist if "DejaVu" in e.name])
    assert picture.fonts_for("cell") == (["DejaVu Sans"], False)
    assert picture.fonts_for("細胞核") == (["DejaVu Sans"], True)
    sizes = []
    for name in ("a", "核"):
        side = picture.Side([name, "b"], np.arange(2))
        distances, exact = np.array([[0, 4], [4, 0.0]]), np.eye(2, dtype=bool)
        with warnings.catch_warnings(action="ignore"):
            png = picture.heat_map(side, None, distances, exact, 12)
        with Image.open(io.BytesIO(png)) as image:
            sizes.append(image.height)
    assert sizes[1] > sizes[0] + 10  # for the line that says it


def test_the_result_is_what_standard_output_says(tmp_path, similarity):
    write_manifest(tmp_path / "m.tsv", SIX)
    for more in ((), ("--reference", "m.tsv", "--matches", "x")):
        done = similarity("--manifest", "m.tsv", "--result", "r", *more)
        assert done.stdout.startswith("6 datasets")
        text = (tmp_path / "r").read_text()
        assert text.replace("\n", " ").rstrip() == done.stdout.rstrip()
        assert all(len(line) <= 72 for line in text.splitlines())
    assert messages.in_lines("a, " + 66 * "b" + " c-d, e") == f"a,\n{66 * 'b'} c-d,\ne\n"
