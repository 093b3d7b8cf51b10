"""Benchmarks of iscc_similarity: speed of comparing codes, with checks that no pair is missed."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np

from benchmarks.measure import ISCC_SUM, MIB, PROJECT, PYTHON, compare, files, memory, timed

TOOL = PROJECT / "tools" / "iscc_similarity"
SCRIPT = TOOL / "iscc_similarity.py"
sys.path.append(str(TOOL))

import columns  # noqa: E402
import hamming  # noqa: E402

THRESHOLD = 12  # of Data-Codes, 128 bits
DEFAULT = 24
LOOKS_LIKE = 48  # of Image-Codes, 256 bits
ROWS_AT_ONCE = 100_000


def all_comparisons(folder: Path, runs: int) -> None:
    alone = beside_faiss("100,000 codes", planted(100_000), THRESHOLD, max(runs, 9))
    beside_faiss("100,000 codes", planted(100_000), DEFAULT, 3)
    image_codes(folder)
    a_million_codes(alone, folder)
    codes_with_bits_in_common(alone)
    a_thousand_rows(folder, runs)
    whole_script(alone, folder, runs)
    ten_million_rows(folder)
    in_shards(folder)
    two_thousand_files(folder, runs)
    ugly_sets(folder)


def planted(count: int, words: int = 2, flips: int = 6) -> np.ndarray:
    """Random hashes, uint64, shape (count, words); a tenth are others with some bits flipped."""
    rng = np.random.default_rng(count)
    hashes = rng.integers(0, 2**64, (count, words), dtype=np.uint64)
    copies = count // 10
    hashes[-copies:] = hashes[rng.integers(0, count - copies, copies)]
    for _ in range(flips):
        bit = rng.integers(0, 64 * words, copies)
        rows = np.arange(count - copies, count)
        hashes[rows, bit // 64] ^= np.uint64(1) << (bit % 64).astype(np.uint64)
    return hashes


def beside_faiss(title: str, hashes: np.ndarray, threshold: int, runs: int) -> float:
    """The comparison alone, next to FAISS, which compares all pairs; both find the same ones."""
    found: dict[str, object] = {}

    def ours(processes: int) -> None:
        found["ours"] = hamming.pairs_within(hashes, None, threshold, processes=processes)

    def theirs() -> None:
        faiss.omp_set_num_threads(1)
        index = faiss.IndexBinaryFlat(64 * hashes.shape[1])
        index.add(hashes.view(np.uint8))
        found["theirs"] = index.range_search(hashes.view(np.uint8), threshold + 1)

    title = f"{title}, threshold {threshold}, the comparison alone"
    alone = compare(title, {"one worker": lambda: ours(1), "two workers": lambda: ours(2)}, runs)
    print(f"FAISS IndexBinaryFlat, one thread, takes {timed(theirs) / alone:.1f} x as long")
    if threshold == THRESHOLD:
        hashed = timed(lambda: by_hashes(hashes))
        print(f"FAISS IndexBinaryMultiHash, one thread, takes {hashed / alone:.1f} x as long")
    print()
    starts, distances, neighbours = found["theirs"]
    queries = np.repeat(np.arange(len(hashes)), np.diff(starts).astype(np.int64))
    once = queries < neighbours
    expected = set(
        zip(
            queries[once].tolist(), neighbours[once].tolist(), distances[once].tolist(), strict=True
        )
    )
    pairs = set(zip(*(each.tolist() for each in found["ours"]), strict=True))
    print(f"  pairs: {len(pairs):,}, those of FAISS: {pairs == expected}\n", flush=True)
    return alone


def by_hashes(hashes: np.ndarray) -> None:
    """All pairs within THRESHOLD, 12 bits, by FAISS's hash tables.

    A code has eight parts of 16 bits. If twelve bits differ, one part differs in one bit at most.
    """
    faiss.omp_set_num_threads(1)
    index = faiss.IndexBinaryMultiHash(64 * hashes.shape[1], 8, 16)
    index.nflip = 1
    index.add(hashes.view(np.uint8))
    index.range_search(hashes.view(np.uint8), THRESHOLD + 1)


def image_codes(folder: Path) -> None:
    """Appearance: all with all, and a hundred figures in 16 orientations with a million planes."""
    beside_faiss("100,000 Image-Codes", planted(100_000, 4, 30), LOOKS_LIKE, 3)
    hashes = planted(1_000_000, 4, 30)
    figures = planted(1_600, 4, 30)
    figures[::16] = hashes[:100]
    start = time.perf_counter()
    found = hamming.pairs_within(figures, hashes, LOOKS_LIKE)
    print(f"1,600 Image-Codes with 1,000,000: {time.perf_counter() - start:.1f} s")
    print(f"  figures found: {len(np.unique(found.a[found.a % 16 == 0]))} of 100\n", flush=True)
    np.save(folder / "looks.npy", hashes)
    program = (
        f"import sys; sys.path.append({str(TOOL)!r}); import numpy, hamming; "
        f"hashes = numpy.load({str(folder / 'looks.npy')!r}); "
        f"hamming.pairs_within(hashes, None, {LOOKS_LIKE}, processes=2)"
    )
    start = time.perf_counter()
    memory("1,000,000 Image-Codes with each other, two workers", [PYTHON, "-c", program])
    print(f"  {time.perf_counter() - start:.0f} s\n", flush=True)


def a_million_codes(alone: float, folder: Path) -> None:
    """The time relative to a hundred thousand codes, memory, and a sample by brute force."""
    hashes = planted(1_000_000)
    time_and_check("1,000,000 codes", hashes, alone)
    np.save(folder / "hashes.npy", hashes)
    program = (
        f"import sys; sys.path.append({str(TOOL)!r}); import numpy, hamming; "
        f"hamming.pairs_within(numpy.load({str(folder / 'hashes.npy')!r}), None, {THRESHOLD})"
    )
    memory("  in a process of its own", [PYTHON, "-c", program])
    for processes in (1, 2):
        start = time.perf_counter()
        hamming.pairs_within(hashes, None, DEFAULT, processes=processes)
        seconds = time.perf_counter() - start
        print(f"1,000,000 codes, threshold {DEFAULT}, {processes} processes: {seconds:.1f} s\n")


def codes_with_bits_in_common(alone: float) -> None:
    """Codes with a third of their bits in common; chunks of such bits would match all pairs."""
    hashes = planted(300_000)
    hashes[:, 0] &= np.uint64((1 << 24) - 1)
    time_and_check("300,000 codes that agree in their first 40 bits", hashes, alone)


def time_and_check(title: str, hashes: np.ndarray, alone: float) -> None:
    """The time of a comparison relative to `alone`, and the pairs of a sample by brute force."""
    start = time.perf_counter()
    found = hamming.pairs_within(hashes, None, THRESHOLD)
    seconds = time.perf_counter() - start
    print(f"{title}: {seconds:.2f} s, {seconds / alone:.1f} x the time of 100,000")
    sample = np.arange(0, len(hashes), len(hashes) // 1000)
    expected = sum(
        np.count_nonzero(hamming.distances(hashes[[row]], hashes) <= THRESHOLD) - 1
        for row in sample.tolist()
    )
    in_pairs = np.isin(found.a, sample).sum() + np.isin(found.b, sample).sum()
    print(f"  pairs of 1,000 of them: {in_pairs}, by brute force {expected}", flush=True)


def a_thousand_rows(folder: Path, runs: int) -> None:
    """The time of starting up: that of the interpreter and NumPy is the least there can be."""
    manifest = folder / "thousand.tsv"
    write_manifest(manifest, planted(1_000))
    compare(
        "A manifest of 1,000 rows",
        {
            "iscc_similarity.py": [PYTHON, SCRIPT, "--manifest", manifest, *tables(folder)],
            "import numpy": [PYTHON, "-c", "import numpy"],
        },
        max(runs, 9),
    )


def tables(folder: Path) -> list[object]:
    """Options for four tables."""
    names = ("pairs", "clusters", "keep", "drop")
    found = [word for name in names for word in (f"--{name}", folder / name)]
    return [*found, "--threshold", THRESHOLD]


def whole_script(alone: float, folder: Path, runs: int) -> None:
    manifest = folder / "manifest.tsv"
    write_manifest(manifest, planted(100_000))
    whole = compare(
        "The whole script on a manifest of 100,000 rows, all tables",
        {"iscc_similarity.py": [PYTHON, SCRIPT, "--manifest", manifest, *tables(folder)]},
        runs,
    )
    print(f"  4 x the comparison alone and 2 s are {4 * alone + 2:.2f} s: {whole:.2f} s\n")
    hashes = planted(1_000_000)
    write_manifest(manifest, hashes)
    command = [PYTHON, SCRIPT, "--manifest", manifest, *tables(folder)]
    comparison: dict[str, list[object] | Callable] = {
        "iscc_similarity.py": command,
        "the comparison alone": lambda: hamming.pairs_within(hashes, None, THRESHOLD),
    }
    compare(f"The whole script on 1,000,000 rows, threshold {THRESHOLD}", comparison, min(runs, 3))
    print(f"  the manifest has {manifest.stat().st_size / MIB:.0f} MiB")
    memory("  memory", command)


def ten_million_rows(folder: Path) -> None:
    """Two processes; of a sample, all pairs that brute force finds are in the table."""
    hashes = planted(10_000_000)
    manifest = folder / "manifest.tsv"
    write_manifest(manifest, hashes)
    command = [PYTHON, SCRIPT, "--manifest", manifest, *tables(folder), "--processes", 2]
    start = time.perf_counter()
    memory("10,000,000 rows, two processes", [*command, "--max-pairs", 10_000_000])
    print(f"  {time.perf_counter() - start:.0f} s")
    start = time.perf_counter()
    hamming.pairs_within(hashes, None, THRESHOLD, processes=2)
    print(f"  the comparison alone: {time.perf_counter() - start:.0f} s")
    expected = set()
    for row in range(0, len(hashes), len(hashes) // 200):
        near = hamming.distances(hashes[[row]], hashes)[0] <= THRESHOLD
        expected |= {tuple(sorted((row, other))) for other in np.flatnonzero(near) if other != row}
    found = {tuple(map(row_of, pair)) for pair in read_pairs(folder / "pairs")}
    print(f"  pairs of 200 rows: {len(expected)}, in the table: {len(expected & found)}\n")


def in_shards(folder: Path) -> None:
    """Four manifests of a million rows: one job, or ten that could run on ten machines."""
    shards = [folder / f"shard {number}.tsv" for number in range(4)]
    hashes = planted(4_000_000)
    names = np.random.default_rng(1).permutation(len(hashes))  # copies are in any shard
    for shard, rows in zip(shards, np.split(names, len(shards)), strict=True):
        write_manifest(shard, hashes[rows], rows)
    pairs = folder / "pairs"
    script = [PYTHON, SCRIPT, "--threshold", THRESHOLD, "--pairs", pairs]

    def job(*manifests: object) -> set[tuple[str, str]]:
        start = time.perf_counter()
        memory(f"{len(manifests) // 2} of 4 shards", [*script, *manifests])
        print(f"  {time.perf_counter() - start:.0f} s", flush=True)
        return read_pairs(pairs)

    whole = job(*(word for shard in shards for word in ("--manifest", shard)))
    joined = set()
    for number, shard in enumerate(shards):
        joined |= job("--manifest", shard)
        for other in shards[number + 1 :]:
            joined |= job("--manifest", shard, "--reference", other)
    print(f"  pairs: {len(whole):,}, of ten jobs: {len(joined):,}, the same: {whole == joined}\n")


def read_pairs(path: Path) -> set[tuple[str, str]]:
    """The names in a table of pairs, the smaller first."""
    with path.open() as lines:
        next(lines)
        return {tuple(sorted(line.split("\t", 2)[:2])) for line in lines}


def row_of(name: str) -> int:
    return int(name.removeprefix("image ").removesuffix(".tif"))


def two_thousand_files(folder: Path, runs: int) -> None:
    paths = files(folder / "files", 2_000, 16 * 1024)
    pairs = folder / "pairs.tsv"
    compare(
        "2,000 files of 16 KiB, coded and compared",
        {
            "iscc_similarity.py, 2 processes": [
                PYTHON,
                SCRIPT,
                "--processes",
                2,
                "--pairs",
                pairs,
                *paths,
            ],
            "iscc_similarity.py, 1 job": [PYTHON, SCRIPT, "--pairs", pairs, *paths],
            "iscc-sum --similar": [ISCC_SUM, "--similar", *paths],
        },
        min(runs, 3),
    )


def ugly_sets(folder: Path) -> None:
    """Sets that defeat shortcuts: they take seconds, and little more memory than an even set."""
    manifest, pairs = folder / "ugly.tsv", folder / "ugly-pairs.tsv"

    def measure(title: str, *options: object, status: int = 0) -> None:
        command = [PYTHON, SCRIPT, "--manifest", manifest, "--pairs", pairs, *options]
        start = time.perf_counter()
        size = memory(title, command, status)
        print(f"  {time.perf_counter() - start:.1f} s, {size / even:.2f} x\n", flush=True)

    hashes = planted(100_000)
    write_manifest(manifest, hashes)
    even = memory(
        "An even set of 100,000", [PYTHON, SCRIPT, "--manifest", manifest, "--pairs", pairs]
    )
    hashes[50_000:] = hashes[0]
    write_manifest(manifest, hashes, equal_from=50_000)
    measure("100,000 codes, half of them equal", status=2)
    measure("The same, compact", "--compact")

    rng = np.random.default_rng(0)
    near = np.zeros((20_000, 2), dtype=np.uint64)
    for _ in range(6):
        bit = rng.integers(0, 128, len(near))
        near[np.arange(len(near)), bit // 64] ^= np.uint64(1) << (bit % 64).astype(np.uint64)
    write_manifest(manifest, near)
    measure("20,000 codes, all within 12 bits of each other", status=2)

    write_manifest(manifest, planted(20_000))
    for threshold, status in ((0, 0), (24, 0), (40, 0), (64, 2), (128, 2)):
        title = f"20,000 codes, threshold {threshold}"
        measure(title, "--threshold", threshold, status=status)


def write_manifest(
    path: Path, hashes: np.ndarray, names: np.ndarray | None = None, equal_from: int | None = None
) -> None:
    """Write Data-Codes, uint64, shape (n, 2), with made-up Instance-Codes.

    `names` are numbers, in general those of the rows. From row `equal_from` on, codes are equal.
    """
    names = np.arange(len(hashes)) if names is None else names
    rng = np.random.default_rng(names[0])  # other ones in every shard
    made_up = rng.integers(0, 256, (len(hashes), 48), dtype=np.uint8)
    if equal_from is not None:
        made_up[equal_from:] = made_up[equal_from]
    with path.open("w") as out:
        out.write("#name\tiscc\tfilesize\tdatahash\tdata_code\tinstance_code\tnote\n")
        for start in range(0, len(hashes), ROWS_AT_ONCE):
            some = slice(start, start + ROWS_AT_ONCE)
            data = hashes[some].astype(">u8").view(np.uint8)
            rest, instance = made_up[some, :16], made_up[some, 16:]
            fields = zip(
                names[some].tolist(),
                encode(b"\x57\x00", data, instance[:, :16]),
                map(bytes.hex, map(bytes, instance)),
                encode(b"\x30\x07", data, rest),
                encode(b"\x40\x07", instance),
                strict=True,
            )
            out.writelines(
                f"image {name}.tif\t{iscc}\t1000000\t1e20{datahash}\t{of_data}\t{of_bytes}\t\n"
                for name, iscc, datahash, of_data, of_bytes in fields
            )


def encode(header: bytes, *parts: np.ndarray) -> list[str]:
    """Codes of one type, of their parts: uint8, shape (n, bytes)."""
    headers = np.tile(np.frombuffer(header, np.uint8), (len(parts[0]), 1))
    return columns.encode_digits(np.hstack([headers, *parts]))
