"""iscc_similarity: every pair, whatever the order; exact only where bytes are the same."""

from collections import Counter
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import codes
import hamming
import relations
from manifest import Entry
from oracle import TEST_DATA, codes_of, codes_of_file, distance, manifest_line

PAIRS = "#name_a\tname_b\trelation\tdistance\tbits\tsimilarity\tiscc_a\tiscc_b\trow_a\trow_b\n"
CLUSTERS = "#name\tcluster\tcluster_size\trepresentative\trelation\tdistance\tnote\trow\n"


def iscc(data: int, instance: int, narrow: bool = False) -> str:
    """An ISCC-CODE of a Data-Code of 128 bits and an Instance-Code, a number of 64 bits.

    The Instance-Code is filled up with zeros on the right; narrow takes the first half of each.
    """
    halves = [value.to_bytes(16)[: 8 if narrow else 16] for value in (data, instance << 64)]
    header = b"\x55\x00" if narrow else b"\x57\x00"
    return "ISCC:" + codes.encode(header + b"".join(halves))


def ones(count: int, start: int = 0) -> int:
    """A 128-bit number with `count` bits set, from bit `start` of the left on."""
    return ((1 << count) - 1) << (128 - start - count)


def entry(name: str, data: int, instance: int, narrow: bool = False, size: int = 10**6) -> Entry:
    return Entry(name, iscc(data, instance, narrow), size)


def by_brute_force(entries: list[Entry], threshold: int) -> Counter:
    """The contract, pair by pair, with bits counted one by one."""
    found = Counter()
    for a, b in combinations(entries, 2):
        code_a, code_b = codes.parse(a.iscc), codes.parse(b.iscc)
        wide = len(code_a.data) == len(code_b.data) == 16
        bits = 128 if wide else 64
        apart = distance(a.iscc, b.iscc)
        same = code_a.instance[: bits // 8] == code_b.instance[: bits // 8]
        tiny = min(a.filesize, b.filesize) < 2048
        if same and a.filesize == b.filesize:
            relation = "exact"
        elif not tiny and apart <= (threshold if wide else threshold // 2):
            relation = "near"
        else:
            continue
        found[frozenset((a.name, b.name)), relation, apart, bits] += 1
    return found


def found_by_us(entries: list[Entry], threshold: int) -> Counter:
    pairs = relations.find_pairs(entries, threshold)
    assert all(pair.a < pair.b for pair in pairs)
    return Counter(
        (frozenset((entries[p.a].name, entries[p.b].name)), p.relation, p.distance, p.bits)
        for p in pairs
    )


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
    assert [pair[:3] for pair in relations.find_pairs(copies, 0)] == [
        (0, 1, "exact"),
        (0, 2, "exact"),
        (1, 2, "exact"),
    ]


def test_distance_0_is_not_exact():
    assert found_by_us([entry("a", 0, 1), entry("b", 0, 2)], 0) == Counter(
        {(frozenset("ab"), "near", 0, 128): 1}
    )


def test_what_is_known_to_differ_is_not_exact():
    """Narrow Instance-Codes of 64 bits may agree by chance; the size tells."""
    a, b = entry("a", 0, 5, narrow=True, size=10**6), entry("b", 0, 5, narrow=True, size=10**6 + 1)
    assert [p.relation for p in relations.find_pairs([a, b], 12)] == ["near"]
    same_size = Entry("c", a.iscc, a.filesize, datahash="1e20aa")
    other_hash = Entry("d", a.iscc, a.filesize, datahash="1e20bb")
    assert [p.relation for p in relations.find_pairs([same_size, other_hash], 12)] == ["near"]
    assert [p.relation for p in relations.find_pairs([a, same_size], 12)] == ["exact"]


def test_mixed_widths_compare_64_bits_at_half_the_threshold():
    wide = entry("wide", 0, 1)
    narrow = entry("narrow", ones(6), 2, narrow=True)
    assert found_by_us([wide, narrow], 12) == found_by_us([wide, narrow], 13)
    assert found_by_us([wide, narrow], 12) == Counter(
        {(frozenset(("wide", "narrow")), "near", 6, 64): 1}
    )
    assert not found_by_us([wide, narrow], 11)


ENTRIES = st.lists(
    st.builds(
        lambda flips, instance, narrow, size: entry(
            "", sum(1 << bit for bit in flips), instance, narrow, size
        ),
        st.sets(st.integers(0, 127), max_size=12),
        st.integers(0, 5),
        st.booleans(),
        st.sampled_from([0, 2047, 2048, 10**6]),
    ),
    max_size=12,
).map(lambda entries: [Entry(str(i), e.iscc, e.filesize) for i, e in enumerate(entries)])


@settings(max_examples=300)
@given(ENTRIES, st.integers(0, 128), st.randoms(use_true_random=False))
def test_pairs_equal_brute_force_in_any_order(entries, threshold, chance):
    expected = by_brute_force(entries, threshold)
    assert found_by_us(entries, threshold) == expected
    chance.shuffle(entries)
    assert found_by_us(entries, threshold) == expected


@settings(max_examples=300)
@given(ENTRIES, st.integers(0, 40))
def test_clusters_are_connected_components(entries, threshold):
    pairs = relations.find_pairs(entries, threshold)
    members = relations.find_clusters(entries, pairs)
    # Spread the smallest row along the pairs until nothing changes.
    first = list(range(len(entries)))
    for _ in entries:
        for pair in pairs:
            first[pair.a] = first[pair.b] = min(first[pair.a], first[pair.b])
    assert [member.representative for member in members] == first
    related = {(pair.a, pair.b): pair.relation for pair in pairs}
    for row, member in enumerate(members):
        assert member.size == first.count(first[row])
        alone = "single" if member.size == 1 else "first"
        others = related.get((first[row], row), "linked")
        assert member.relation == (alone if row == first[row] else others)
    numbers = [member.cluster for member in members]
    assert list(dict.fromkeys(numbers)) == list(range(1, len(set(first)) + 1))


@pytest.mark.parametrize("words", [1, 2])
@pytest.mark.parametrize("count", [0, 1, 2, 700])
def test_blocks_of_hashes_miss_nothing(monkeypatch, words, count):
    """More hashes than a block holds, against an all-at-once count of bits."""
    monkeypatch.setattr(hamming, "COMPARISONS_AT_ONCE", 10_000)
    rng = np.random.default_rng(count)
    hashes = rng.integers(0, 2**64, (count, words), dtype=np.uint64)
    hashes[: count // 2] = hashes[count - count // 2 :] ^ np.uint64(0b1011)
    bits = np.unpackbits(hashes.view(np.uint8), axis=1)
    apart = (bits[:, None] != bits[None]).sum(axis=2)
    threshold = 28 * words

    within = hamming.pairs_within(hashes, threshold)
    a, b = np.nonzero(np.triu(apart <= threshold, k=1))
    assert set(zip(*(array.tolist() for array in within), strict=True)) == set(
        zip(a.tolist(), b.tolist(), apart[a, b].tolist(), strict=True)
    )
    assert len(within.a) == len(a)

    between = hamming.pairs_between(hashes[: count // 3], hashes, threshold)
    a, b = np.nonzero(apart[: count // 3] <= threshold)
    assert sorted(zip(*(array.tolist() for array in between), strict=True)) == sorted(
        zip(a.tolist(), b.tolist(), apart[a, b].tolist(), strict=True)
    )


def test_one_flipped_byte_in_a_megabyte_is_near_and_never_exact(tmp_path, script):
    content = bytearray(np.random.default_rng(1).bytes(10**6))
    (tmp_path / "a").write_bytes(content)
    content[500_000] ^= 1
    (tmp_path / "b").write_bytes(content)
    done = script("iscc_similarity", "a", "b", "--pairs", "p.tsv")
    assert done.stdout == "2 datasets: 0 exact and 1 near pairs, 1 clusters of copies\n"
    row = (tmp_path / "p.tsv").read_text().splitlines()[1].split("\t")
    assert row[:3] == ["a", "b", "near"]
    assert int(row[3]) == distance(row[6], row[7])


def test_tables_of_real_images(tmp_path, script):
    nuclei, retouched = codes_of_file("nuclei.tif").wide, codes_of_file("nuclei_retouched.tif").wide
    files = {"b.tif": "nuclei.tif", "a.tif": "nuclei.tif", "c.tif": "nuclei_retouched.tif"}
    for name, source in files.items():
        (tmp_path / name).write_bytes((TEST_DATA / source).read_bytes())
    (tmp_path / "d.png").write_bytes((TEST_DATA / "microaneurysms.png").read_bytes())
    done = script("iscc_similarity", *files, "d.png", "--pairs", "p.tsv", "--clusters", "c.tsv")
    assert done.stderr == ""
    assert done.stdout == "4 datasets: 1 exact and 2 near pairs, 1 clusters of copies\n"
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


def test_manifests_are_compared_without_reading_a_dataset(tmp_path, script):
    header = "#name\tiscc\tfilesize\tdatahash\tdata_code\tinstance_code\tnote\n"
    content = b"x" * 3000
    (tmp_path / "1.tsv").write_text(header + manifest_line("gone.tif", content))
    (tmp_path / "2.tsv").write_text("iscc\t#name\n" + f"{codes_of(content).narrow}\told.tif\n")
    done = script("iscc_similarity", "--manifest", "1.tsv", "--manifest", "2.tsv", "--pairs", "p")
    assert done.returncode == 0
    [_, row] = (tmp_path / "p").read_text().splitlines()
    assert row.split("\t")[:6] == ["gone.tif", "old.tif", "exact", "0", "64", "100.0"]


def test_tiny_datasets_are_only_ever_exact(tmp_path, script):
    for name, content in {"a": bytes(2047), "b": bytes(2046), "c": bytes(2047), "d": b""}.items():
        (tmp_path / name).write_bytes(content)
    script("iscc_similarity", *"abcd", "--threshold", "128", "--pairs", "p.tsv")
    rows = [line.split("\t") for line in (tmp_path / "p.tsv").read_text().splitlines()[1:]]
    assert [row[:3] for row in rows] == [["a", "c", "exact"]]


@pytest.mark.parametrize("threshold", ["-1", "129", "1.5", "x", "", "\u0661"])
def test_a_threshold_out_of_range_is_refused(script, threshold):
    done = script("iscc_similarity", "a", f"--threshold={threshold}")
    assert done.returncode == 2
    assert f"{threshold!r} is no whole number from 0 to 128" in done.stderr


def test_a_broken_code_is_refused_with_line_and_name(tmp_path, script):
    code = codes_of(b"x").wide
    (tmp_path / "m.tsv").write_text(f"#name\tiscc\na\t{code}\nb\t{code[:-1]}1\n")
    done = script("iscc_similarity", "--manifest", "m.tsv", "--pairs", "p.tsv")
    assert done.returncode == 2
    assert done.stderr == (
        f'iscc_similarity: "m.tsv", line 3, "b": "{code[:-1]}1" is no ISCC: '
        "'1' is not a digit of base32 (A to Z, 2 to 7)\n"
    )
    assert not (tmp_path / "p.tsv").exists()
