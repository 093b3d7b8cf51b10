"""Find the copies and near-copies in a collection of datasets.

Two datasets are exact copies when their Instance-Codes are equal. They are near copies when the
Hamming distance of their Data-Codes, 128 bits, is at most the threshold: up to 12 they are
near-duplicates, up to 24 related, up to 32 weakly so; beyond that two unrelated files may come as
close. Datasets below 2,048 bytes are only ever exact copies. What is compared are bytes: a file
that was compressed or converted resembles its origin no more.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import coding
import manifest
import relations

THRESHOLD = 12
MOST_BITS = 128

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


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    try:
        entries = read_entries(args)
        pairs = relations.find_pairs(entries, args.threshold)
        if args.pairs:
            manifest.write_table(args.pairs, PAIR_COLUMNS, pair_rows(entries, pairs))
        clusters = relations.find_clusters(entries, pairs)
        if args.clusters:
            manifest.write_table(args.clusters, CLUSTER_COLUMNS, cluster_rows(entries, clusters))
    except manifest.InputError as error:
        print(f"iscc_similarity: {error}", file=sys.stderr)
        return 2
    print(summary(pairs, clusters))
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
        "--threshold",
        type=threshold,
        default=THRESHOLD,
        metavar="N",
        help=f"largest Hamming distance of near copies, 0 to {MOST_BITS} (default %(default)s)",
    )
    parser.add_argument(
        "--pairs", type=Path, metavar="OUT", help="table of all pairs, the closest first"
    )
    parser.add_argument(
        "--clusters", type=Path, metavar="OUT", help="table of all datasets with their clusters"
    )
    return parser.parse_args(argv)


def threshold(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= MOST_BITS):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to {MOST_BITS}")
    return int(text)


def read_entries(args: argparse.Namespace) -> list[manifest.Entry]:
    """The entries to compare: those of all manifests, or of the datasets, coded here."""
    if args.inputs:
        manifests = coding.from_galaxy(args.inputs, "manifests")
    else:
        manifests = [coding.named_by_path(path) for path in args.manifests]
    outputs = [args.pairs, args.clusters]
    if manifests:
        manifest.check_outputs(outputs, [each.path for each in manifests])
        return [entry for each in manifests for entry in manifest.read(each.path, each.name)]
    datasets = coding.datasets(args)
    manifest.check_outputs(outputs, [each.path for each in datasets])
    return coding.code_all(datasets, jobs=args.jobs)


def pair_rows(entries: list[manifest.Entry], pairs: list[relations.Pair]) -> list[tuple]:
    """The table of pairs: sorted by distance, then names; within a pair, the names in order."""
    rows = []
    for pair in pairs:
        a, b = sorted((pair.a, pair.b), key=lambda row: (entries[row].name, row))
        similarity = 100 * (1 - pair.distance / pair.bits)
        rows.append(
            (
                entries[a].name,
                entries[b].name,
                pair.relation,
                pair.distance,
                pair.bits,
                f"{similarity:.1f}",
                entries[a].iscc,
                entries[b].iscc,
                a + 1,
                b + 1,
            )
        )
    return sorted(rows, key=lambda row: (row[3], row[0], row[1], row[8], row[9]))


def cluster_rows(entries: list[manifest.Entry], clusters: list[relations.Member]) -> list[tuple]:
    """The table of clusters: every dataset once, in input order."""
    return [
        (
            entry.name,
            member.cluster,
            member.size,
            entries[member.representative].name,
            member.relation,
            member.distance,
            entry.note,
            row,
        )
        for row, (entry, member) in enumerate(zip(entries, clusters, strict=True), start=1)
    ]


def summary(pairs: list[relations.Pair], clusters: list[relations.Member]) -> str:
    """One line that says what was found."""
    relation = Counter(pair.relation for pair in pairs)
    groups = {member.cluster for member in clusters if member.size > 1}
    return (
        f"{len(clusters):,} datasets: {relation[relations.EXACT]:,} exact and "
        f"{relation[relations.NEAR]:,} near pairs, {len(groups):,} clusters of copies"
    )


if __name__ == "__main__":
    sys.exit(main())
