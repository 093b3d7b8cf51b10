"""Find the copies and near-copies in a collection of datasets, or of them in another collection.

Two datasets are exact copies when their Instance-Codes are equal. They are near copies when the
Hamming distance of their Data-Codes, 128 bits, is at most the threshold: up to 12 they are
near-duplicates, up to 24 related, up to 32 weakly so; beyond that two unrelated files may come as
close. Datasets below 2,048 bytes are only ever exact copies. What is compared are bytes: a file
that was compressed or converted resembles its origin no more.
"""

import argparse
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import coding
import hamming
import links
import manifest
import relations
import workers
from links import Contents, Links
from manifest import Entry, InputError, shown

THRESHOLD = 12
MOST_BITS = 128
MOST_PAIRS = 1_000_000
MOST_IN_MATRIX = 2_000

# The picture shows the nearest of all datasets, or, where that would be more comparisons, of some.
MOST_COMPARISONS = 1_000_000_000
LEAST_SAMPLE = 1_000

SECONDS_BETWEEN_NEWS = 5.0

PAIR_COLUMNS = (
    "#name_a",
    "name_b",
    "relation",
    "distance",
    "bits",
    "similarity",
    "iscc_a",
    "iscc_b",
    "row_a",
    "row_b",
)
CLUSTER_COLUMNS = (
    "#name",
    "cluster",
    "cluster_size",
    "representative",
    "relation",
    "distance",
    "note",
    "row",
)
MATCH_COLUMNS = (
    "#name",
    "relation",
    "distance",
    "bits",
    "similarity",
    "match",
    "match_iscc",
    "row",
)


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    try:
        entries, reference = read_entries(args)
        check_what_is_asked(args, entries, reference)
        print(compare(args, entries, reference))
    except InputError as error:
        print(f"iscc_similarity: {error}", file=sys.stderr)
        return 2
    return 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="iscc_similarity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    coding.add_arguments(parser).add_argument(
        "--manifest",
        action="append",
        default=[],
        dest="manifests",
        metavar="M",
        help="a manifest whose codes are compared, instead of files; may be given several times",
    )
    parser.add_argument(
        "--reference",
        action="append",
        default=[],
        dest="references",
        metavar="M",
        help="a manifest to compare with: only pairs with one of its datasets count then; may be "
        "given several times",
    )
    parser.add_argument(
        "--threshold",
        type=whole_number(0, MOST_BITS),
        default=THRESHOLD,
        metavar="N",
        help=f"largest Hamming distance of near copies, 0 to {MOST_BITS} (default %(default)s)",
    )
    parser.add_argument(
        "--pairs", type=Path, metavar="OUT", help="table of all pairs, the closest first"
    )
    parser.add_argument(
        "--clusters",
        "--matches",
        type=Path,
        metavar="OUT",
        help="table of all datasets with their clusters; with --reference, with their best match",
    )
    parser.add_argument(
        "--keep", type=Path, metavar="OUT", help="list of the datasets that are no copies"
    )
    parser.add_argument("--drop", type=Path, metavar="OUT", help="list of the others")
    parser.add_argument(
        "--duplicates",
        choices=[relations.EXACT, relations.NEAR],
        default=relations.EXACT,
        help="which copies these two lists are about: exact ones alone, or near ones as well "
        "(default %(default)s)",
    )
    parser.add_argument(
        "--compact",
        action="store_true",
        help="in --pairs, pair each exact copy with the first of its kind alone, and groups of "
        "copies by their closest members",
    )
    parser.add_argument(
        "--max-pairs",
        type=whole_number(1, sys.maxsize),
        default=MOST_PAIRS,
        metavar="N",
        help=f"stop if there are more pairs (default {MOST_PAIRS:,})",
    )
    parser.add_argument(
        "--matrix",
        type=Path,
        metavar="OUT",
        help=f"table of all distances in bits of 128, for up to {MOST_IN_MATRIX:,} datasets",
    )
    parser.add_argument(
        "--picture", type=Path, metavar="OUT", help="the distances as a picture (PNG)"
    )
    return parser.parse_args(argv)


def whole_number(least: int, most: int):
    """A type of argument for argparse."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {most}")
        return int(text)

    return read


def read_entries(args: argparse.Namespace) -> tuple[list[Entry], list[Entry] | None]:
    """The entries to compare, and those to compare them with, if any: read, or coded here."""
    datasets = others = None
    if args.inputs:
        manifests = coding.from_galaxy(args.inputs, "manifests")
        references = coding.from_galaxy(args.inputs, "reference_manifests")
        others = coding.from_galaxy(args.inputs, "reference_datasets")
    else:
        manifests = [coding.named_by_path(path) for path in args.manifests] or None
        references = [coding.named_by_path(path) for path in args.references] or None
    if manifests is None:
        datasets = coding.datasets(args)
    groups = (manifests, references, datasets, others)
    inputs = [each.path for group in groups for each in group or []]
    outputs = [args.pairs, args.clusters, args.keep, args.drop, args.matrix, args.picture]
    manifest.check_outputs(outputs, inputs)

    # One call for both, so that workers share all of it.
    coded = coding.code_all((datasets or []) + (others or []), jobs=args.jobs)
    entries = read_manifests(manifests) if datasets is None else coded[: len(datasets)]
    if others is not None:
        return entries, coded[len(datasets or []) :]
    return entries, None if references is None else read_manifests(references)


def read_manifests(manifests: list[coding.Dataset]) -> list[Entry]:
    return [entry for each in manifests for entry in manifest.read(each.path, each.name)]


def check_what_is_asked(
    args: argparse.Namespace, entries: list[Entry], reference: list[Entry] | None
) -> None:
    """Raise InputError for outputs that cannot be made of these entries, before any work."""
    most = max(len(entries), len(reference or []))
    if args.matrix and most > MOST_IN_MATRIX:
        raise InputError(
            f"cannot write a matrix of {most:,} datasets: at most {MOST_IN_MATRIX:,} are possible"
        )
    if args.keep or args.drop:
        for entry in entries:
            if "\n" in entry.name or "\r" in entry.name:
                raise InputError(
                    f"cannot put {shown(entry.name)} on a list: a list has one name a line, and "
                    "this name has a line break"
                )


def compare(args: argparse.Namespace, entries: list[Entry], reference: list[Entry] | None) -> str:
    """Compare all, write what was asked for, and say in one line what was found."""
    hash_numbers: dict[str, int] = {}
    a = links.contents(entries, hash_numbers)
    b = None if reference is None else links.contents(reference, hash_numbers)
    try:
        found = links.find_links(a, b, args.threshold, args.max_pairs, args.jobs, news())
    except hamming.TooManyPairsError as error:
        raise InputError(
            f"about {error.about:,} pairs of different contents are within the threshold "
            f"{args.threshold}, more than the limit of {args.max_pairs:,}: choose a smaller "
            "threshold or a higher limit (--max-pairs); the compact form (--compact) would not "
            "help, as it folds exact copies alone"
        ) from None
    except workers.WorkerError as died:
        raise InputError(
            f"a process that compared codes died with status {died.status}; -9 is what a process "
            "gets that takes too much memory"
        ) from None
    exact, near = relations.count_pairs(found, a, b)
    counts = f"{exact:,} exact and {near:,} near pairs"

    if args.pairs:
        pairs = pairs_to_write(args, found, a, b, exact, counts)
        manifest.write_table(args.pairs, PAIR_COLUMNS, pair_rows(entries, reference, pairs))
    if b is None:
        places = relations.places(found, a)
        groups = len({place.cluster for place in places if place.size > 1})
        summary = f"{len(entries):,} datasets: {counts}, {groups:,} clusters of copies"
        bars = sizes_of_clusters(places)
        if args.clusters:
            manifest.write_table(args.clusters, CLUSTER_COLUMNS, cluster_rows(entries, places))
    else:
        matches = relations.best_matches(found, a, b)
        summary = (
            f"{len(entries):,} datasets and {len(reference):,} of the reference: {counts}, "
            f"{len(matches.a):,} datasets with a match"
        )
        bars = {
            "exact": int(matches.exact.sum()),
            "near": int((~matches.exact).sum()),
            "none": len(entries) - len(matches.a),
        }
        if args.clusters:
            rows = match_rows(entries, reference, matches)
            manifest.write_table(args.clusters, MATCH_COLUMNS, rows)
    kept = relations.kept(found, a, b, near=args.duplicates == relations.NEAR)
    for path, wanted in ((args.keep, True), (args.drop, False)):
        if path:
            of_row = zip(entries, kept.tolist(), strict=True)
            write_list(path, [entry.name for entry, keep in of_row if keep == wanted])
    if args.matrix:
        write_matrix(args.matrix, entries, reference, a, b)
    if args.picture:
        write_picture(args, entries, reference, found, a, b, bars)
    return summary


def news() -> Callable[[float], None]:
    """Says on standard error, every few seconds and not before, how far the comparison is."""
    last = time.monotonic()

    def look(done: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_NEWS:
            last = now
            print(f"compared {done:.0%}", file=sys.stderr, flush=True)

    return look


def pairs_to_write(
    args: argparse.Namespace, found: Links, a: Contents, b: Contents | None, exact: int, counts: str
) -> Links:
    """The pairs as rows of the table; raises InputError if these are more than the limit."""
    if args.compact:
        pairs = relations.compact_pairs(found, a, b)
        if len(pairs.a) > args.max_pairs:
            raise InputError(
                f"the compact form has {len(pairs.a):,} pairs, more than the limit of "
                f"{args.max_pairs:,}: choose a higher limit (--max-pairs)"
            )
        return pairs
    if sum(relations.count_pairs(found, a, b)) > args.max_pairs:
        who = f"the exact copies alone make {exact:,} pairs" if exact > args.max_pairs else counts
        raise InputError(
            f"{who}, more than the limit of {args.max_pairs:,}: choose the compact form "
            "(--compact), in which an exact copy is paired with the first of its kind alone, or "
            "a higher limit (--max-pairs)"
        )
    return relations.all_pairs(found, a, b)


def pair_rows(entries: list[Entry], reference: list[Entry] | None, pairs: Links) -> list[tuple]:
    """The table of pairs: sorted by distance, then names.

    Within a pair of one set the names are in order; the other set's dataset is always the second.
    """
    others = entries if reference is None else reference
    rows = []
    columns = (pairs.a, pairs.b, pairs.exact, pairs.distance, pairs.bits)
    for a, b, exact, distance, bits in zip(*(each.tolist() for each in columns), strict=True):
        if reference is None and (entries[b].name, b) < (entries[a].name, a):
            a, b = b, a
        rows.append(
            (
                entries[a].name,
                others[b].name,
                relations.EXACT if exact else relations.NEAR,
                distance,
                bits,
                similarity(distance, bits),
                entries[a].iscc,
                others[b].iscc,
                a + 1,
                b + 1,
            )
        )
    return sorted(rows, key=lambda row: (row[3], row[0], row[1], row[8], row[9]))


def similarity(distance: int, bits: int) -> str:
    """In percent, with one decimal."""
    return f"{100 * (1 - distance / bits):.1f}"


def cluster_rows(entries: list[Entry], places: list[relations.Place]) -> Iterator[tuple]:
    """The table of clusters: every dataset once, in input order."""
    for row, (entry, place) in enumerate(zip(entries, places, strict=True), start=1):
        representative = entries[place.representative].name
        how = (place.relation, place.distance, entry.note, row)
        yield (entry.name, place.cluster, place.size, representative, *how)


def match_rows(entries: list[Entry], reference: list[Entry], matches: Links) -> Iterator[tuple]:
    """The table of matches: every dataset once, in input order."""
    of_row = {row: number for number, row in enumerate(matches.a.tolist())}
    for row, entry in enumerate(entries):
        number = of_row.get(row)
        if number is None:
            yield (entry.name, "none", None, None, None, None, None, row + 1)
            continue
        match = reference[matches.b[number]]
        relation = relations.EXACT if matches.exact[number] else relations.NEAR
        distance, bits = int(matches.distance[number]), int(matches.bits[number])
        how = (relation, distance, bits, similarity(distance, bits))
        yield (entry.name, *how, match.name, match.iscc, row + 1)


def write_list(path: Path, names: list[str]) -> None:
    """One name a line and nothing else, as Galaxy's tool Filter collection takes them."""
    with manifest.whole_file(path) as out:
        out.writelines(f"{name}\n" for name in names)


def write_matrix(
    path: Path, entries: list[Entry], reference: list[Entry] | None, a: Contents, b: Contents | None
) -> None:
    """A line for each dataset, and a column for each, or for each of the reference."""
    others = entries if reference is None else reference
    columns = ("#name", *(manifest.escape(entry.name) for entry in others))
    distances, _ = links.distances_by_row(a, a if b is None else b)
    rows = (
        (entry.name, *("" if np.isnan(each) else int(each) for each in row))
        for entry, row in zip(entries, distances, strict=True)
    )
    manifest.write_table(path, columns, rows)


def write_picture(
    args: argparse.Namespace,
    entries: list[Entry],
    reference: list[Entry] | None,
    found: Links,
    a: Contents,
    b: Contents | None,
    bars: dict[str, int],
) -> None:
    """A heat map of few datasets; of many the distances to the nearest, and `bars`."""
    # What matplotlib has to say of folders for its list of fonts helps nobody here.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    import picture  # takes a while to load

    names = [entry.name for entry in entries]
    others = [] if reference is None else [entry.name for entry in reference]
    if max(len(names), len(others)) <= picture.MOST_IN_HEAT_MAP:
        together = a if b is None else links.contents(entries + reference, {})
        distances, exact = links.distances_by_row(together, together)
        if b is None:
            picture.heat_map(args.picture, names, distances, exact, args.threshold)
        else:
            picture.heat_map_of_two(args.picture, names, others, distances, exact, args.threshold)
        return
    most = max(LEAST_SAMPLE, MOST_COMPARISONS // len(others or names))
    rows = np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).astype(np.int64))
    distances, exact = relations.nearest(found, a, b, rows)
    shown = f"{len(names):,}" if len(rows) == len(names) else f"{len(rows):,} of {len(names):,}"
    title = (
        f"Distance to the nearest {'other' if b is None else 'of the reference'}: {shown} datasets"
    )
    beside = "Clusters by size" if b is None else "Datasets by their best match"
    picture.histograms(args.picture, title, distances, exact, beside, bars, args.threshold)


def sizes_of_clusters(places: list[relations.Place]) -> dict[str, int]:
    """How many clusters there are of each size, the larger ones together."""
    sizes = [place.size for row, place in enumerate(places) if place.representative == row]
    ends = (*range(1, 6), 10, 100, 1000, math.inf)
    bars = {}
    start = 1
    for end in ends:
        last = "" if start == end else f" to {end:,}" if end < math.inf else " or more"
        bars[f"{start:,}{last}"] = sum(start <= size <= end for size in sizes)
        start = end + 1
    return bars


if __name__ == "__main__":
    sys.exit(main())
