"""Find the copies and near-copies in a collection of datasets, or of them in another collection.

Two datasets are exact copies when their Instance-Codes are equal. They are near copies when the
Hamming distance of their Data-Codes, 128 bits, is at most the threshold: up to 12 they are
near-duplicates, up to 24 related, up to 32 weakly so; beyond that two unrelated files may come as
close. Datasets below 2,048 bytes are only ever exact copies. What is compared are bytes: a file
that was compressed or converted resembles its origin no more.
"""

import argparse
import gc
import logging
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

import coding
import hamming
import links
import manifest
import relations
import tables
import workers
from links import Contents, Links
from manifest import Entry, InputError, shown

THRESHOLD = 12
MOST_PAIRS = 1_000_000
MOST_LINKS = 10_000_000  # in memory, a few hundred MiB
MOST_IN_MATRIX = 2_000

# The picture shows the nearest of all datasets, or, where that would be more comparisons, of some.
MOST_COMPARISONS = 1_000_000_000
LEAST_SAMPLE = 1_000


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    gc.disable()  # a million entries have no cycles, but looking for them takes seconds
    try:
        entries, reference = read_entries(args)
        coding.finish(compare(args, entries, reference))
    except InputError as error:
        print(f"iscc_similarity: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("iscc_similarity: interrupted", file=sys.stderr)
        return 130
    except MemoryError:
        print(
            "iscc_similarity: there is not enough memory for all pairs: choose fewer datasets, or "
            "a lower limit (--max-pairs)",
            file=sys.stderr,
        )
        return 2
    return 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = coding.Parser(
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
        type=coding.whole_number(0, links.WIDE_BITS),
        default=THRESHOLD,
        metavar="N",
        help="largest Hamming distance of near copies, in bits of 128 (default %(default)s)",
    )
    parser.add_argument(
        "--pairs", type=Path, metavar="OUT", help="table of all pairs, sorted by distance"
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
        "--copies", type=Path, metavar="OUT", help="table of the others, and what each is a copy of"
    )
    parser.add_argument(
        "--duplicates",
        choices=[relations.EXACT, relations.NEAR],
        help="which copies these three are about: exact ones alone, or near ones as well "
        f"(default {relations.EXACT})",
    )
    parser.add_argument(
        "--compact",
        action="store_true",
        help="in --pairs, pair each exact copy with the first of its kind alone, and groups of "
        "copies by their closest members",
    )
    parser.add_argument(
        "--max-pairs",
        type=coding.whole_number(1, 10**15),
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


def read_entries(args: argparse.Namespace) -> tuple[list[Entry], list[Entry] | None]:
    """The entries to compare, and those of the reference, if any: read, or coded here."""
    ours, theirs = sources(args)
    inputs = [each.path for source in (ours, theirs) if source for each in source.datasets]
    outputs = [args.pairs, args.clusters, args.keep, args.drop, args.copies]
    outputs += [args.matrix, args.picture]
    manifest.check_outputs(outputs, [args.inputs, *inputs])

    read = [source.read() if source else [] for source in (ours, theirs)]
    check_what_is_asked(args, *read)
    # One call for both, so that workers share all of it and are started once.
    to_code = [each for part in read for each in part if isinstance(each, coding.Dataset)]
    coded = iter(coding.code_all(to_code, jobs=args.jobs))
    entries, reference = (
        [next(coded) if isinstance(each, coding.Dataset) else each for each in part]
        for part in read
    )
    return entries, None if theirs is None else reference


class Source(NamedTuple):
    """What to compare, or the reference: datasets, or manifests of datasets."""

    datasets: list[coding.Dataset]
    are_manifests: bool

    def read(self) -> list[coding.Dataset] | list[Entry]:
        """The datasets, which are still to be coded, or the entries of the manifests."""
        if not self.are_manifests:
            return self.datasets
        if not self.datasets:
            raise InputError("expected one manifest or more, found none")
        return [entry for each in self.datasets for entry in manifest.read(each.path, each.name)]


def sources(args: argparse.Namespace) -> tuple[Source, Source | None]:
    """What to compare, and the reference if there is one."""
    references = [coding.named_by_path(path) for path in args.references]
    theirs = Source(references, are_manifests=True) if references else None
    if not args.inputs:
        if args.manifests:
            manifests = [coding.named_by_path(path) for path in args.manifests]
            return Source(manifests, are_manifests=True), theirs
        return Source(coding.datasets(args), are_manifests=False), theirs
    ours = source_from_galaxy(args.inputs, "datasets", "manifests")
    if ours is None:
        raise InputError(
            f'{shown(str(args.inputs))}: expected the key "datasets" or "manifests", found none'
        )
    reference = source_from_galaxy(args.inputs, "reference_datasets", "reference_manifests")
    if reference and theirs:
        raise InputError(f"--reference: {shown(str(args.inputs))} has a reference already")
    return ours, reference or theirs


def source_from_galaxy(inputs: Path, datasets_key: str, manifests_key: str) -> Source | None:
    """What stands under one of two keys in the inputs of a Galaxy tool."""
    datasets, manifests = coding.either_from_galaxy(inputs, datasets_key, manifests_key)
    if manifests is not None:
        return Source(manifests, are_manifests=True)
    return None if datasets is None else Source(datasets, are_manifests=False)


def check_what_is_asked(
    args: argparse.Namespace,
    ours: list[coding.Dataset] | list[Entry],
    theirs: list[coding.Dataset] | list[Entry],
) -> None:
    """Raise InputError for outputs that cannot be made of these datasets, before any work."""
    if args.compact and not args.pairs:
        raise InputError("--compact is a form of the pairs: expected --pairs as well, found none")
    if args.duplicates and not (args.keep or args.drop or args.copies):
        raise InputError(
            "--duplicates is about lists: expected --keep, --drop or --copies, found none"
        )
    most = max(len(ours), len(theirs))
    if args.matrix and most > MOST_IN_MATRIX:
        raise InputError(
            f"cannot write a matrix of {most:,} datasets: at most {MOST_IN_MATRIX:,} are possible"
        )
    if args.keep or args.drop:
        manifest.check_names_of_list(each.name for each in ours)


def compare(args: argparse.Namespace, entries: list[Entry], reference: list[Entry] | None) -> str:
    """Compare all, write what was asked for, and say in one line what was found."""
    a, b = links.contents(entries, reference)
    found = find_links(args, a, b)
    exact, near = relations.count_pairs(found, a, b)
    others = entries if reference is None else reference

    # Whatever may be refused comes before anything is written.
    pairs = pairs_to_write(args, found, a, b, exact, near) if args.pairs else None
    kept, dropped = (
        lists_to_write(args, entries, found, a, b) if args.keep or args.drop else ([], [])
    )
    if b is None:
        places = relations.places(found, a)
        bars = tables.sizes_of_clusters(places)
        what = manifest.counted(sum(bars.values()) - bars["1"], "cluster") + " of copies"
        table = (tables.CLUSTER_COLUMNS, tables.cluster_rows(entries, places))
    else:
        matches = relations.best_matches(found, a, b)
        bars = tables.kinds_of_matches(entries, matches)
        what = manifest.counted(len(matches.a), "dataset") + " with a match"
        table = (tables.MATCH_COLUMNS, tables.match_rows(entries, others, matches))

    if pairs is not None:
        manifest.write_table(
            args.pairs, tables.PAIR_COLUMNS, tables.pair_rows(entries, others, pairs)
        )
    if args.clusters:
        manifest.write_table(args.clusters, *table)
    if args.keep:
        manifest.write_list(args.keep, kept)
    if args.drop:
        manifest.write_list(args.drop, dropped)
    if args.copies:
        copied = relations.copied(found, a, b, near=args.duplicates == relations.NEAR)
        rows = tables.copy_rows(entries, others, copied)
        manifest.write_table(args.copies, tables.COPY_COLUMNS, rows)
    if args.matrix:
        distances, _ = links.distances_by_row(a, a if b is None else b)
        columns = ("#name", *(manifest.escape(other.name) for other in others))
        manifest.write_table(args.matrix, columns, tables.matrix_rows(entries, distances))
    if args.picture:
        # What the libraries have to say of fonts and folders helps nobody here.
        logging.getLogger("matplotlib").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            write_picture(args, entries, reference, found, a, b, bars)
    count = manifest.counted(len(entries), "dataset")
    if b is not None:
        count += f" and {len(others):,} of the reference"
    pairs_of_both = [manifest.counted(exact, "exact pair"), manifest.counted(near, "near pair")]
    return f"{count}: {', '.join([*pairs_of_both, what])}"


def find_links(args: argparse.Namespace, a: Contents, b: Contents | None) -> Links:
    """The links of all contents; raises InputError if there are too many, or a worker dies."""
    # Each link of contents is a row of the full table of pairs at least. Otherwise they only have
    # to fit into memory.
    full_table = args.pairs and not args.compact
    limit = args.max_pairs if full_table else max(args.max_pairs, MOST_LINKS)
    compact = ", the compact form (--compact) if they are exact copies" if full_table else ""
    smaller = "a smaller threshold" if args.threshold else "fewer datasets"
    try:
        return links.find_links(a, b, args.threshold, limit, args.jobs, news())
    except links.TooManyExactError as error:
        raise InputError(
            f"different contents make {error.count:,} exact pairs, more than the limit of "
            f"{limit:,}: choose fewer datasets{compact}, or a higher limit (--max-pairs)"
        ) from None
    except hamming.TooManyPairsError as error:
        raise InputError(
            f"about {error.about:,} pairs are within the threshold {args.threshold}, more than "
            f"the limit of {limit:,}: choose {smaller}{compact}, or a higher limit (--max-pairs)"
        ) from None
    except workers.WorkerError as died:
        raise InputError(f"a process that compared codes {died.how}") from None


def news() -> Callable[[str, float], None]:
    """Says on standard error, every few seconds and not before, how far the comparison is."""
    start = last = time.monotonic()

    def look(what: str, done: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= coding.SECONDS_BETWEEN_NEWS:
            last = now
            seconds = f"{now - start:,.0f} s"
            print(f"compared {what}: {done:.0%}, {seconds}", file=sys.stderr, flush=True)

    return look


def pairs_to_write(
    args: argparse.Namespace, found: Links, a: Contents, b: Contents | None, exact: int, near: int
) -> Links:
    """The pairs as rows of the table; raises InputError if these are more than the limit."""
    if not args.compact and exact + near <= args.max_pairs:
        return relations.all_pairs(found, a, b)
    compact = relations.compact_pairs(found, a, b)
    if args.compact and len(compact.a) <= args.max_pairs:
        return compact
    if args.compact:
        count = f"the compact form has {len(compact.a):,} pairs"
    elif exact > args.max_pairs:
        count = f"the exact copies alone make {exact:,} pairs"
    else:
        count = f"there are {exact:,} exact and {near:,} near pairs"
    if len(compact.a) <= args.max_pairs:
        advice = (
            f"the compact form (--compact), in which an exact copy is paired with the first of its "
            f"kind alone and which has {len(compact.a):,}"
        )
    elif near:
        advice = "a smaller threshold"
    else:
        advice = "fewer datasets"
    raise InputError(
        f"{count}, more than the limit of {args.max_pairs:,}: choose {advice}, or a higher limit "
        "(--max-pairs)"
    )


def lists_to_write(
    args: argparse.Namespace, entries: list[Entry], found: Links, a: Contents, b: Contents | None
) -> tuple[list[str], list[str]]:
    """The names to keep and those to drop; raises InputError if one were on both lists."""
    kept = relations.kept(found, a, b, near=args.duplicates == relations.NEAR).tolist()
    lists = tuple(
        [entry.name for entry, keep in zip(entries, kept, strict=True) if keep == wanted]
        for wanted in (True, False)
    )
    manifest.check_lists(lists[1], lists[0])
    return lists


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
    import picture  # takes a while to load

    names = [entry.name for entry in entries]
    others = [] if reference is None else [entry.name for entry in reference]
    if max(len(names), len(others)) <= picture.MOST_IN_HEAT_MAP:
        together, _ = (a, b) if b is None else links.contents(entries + reference, None)
        distances, exact = links.distances_by_row(together, together)
        if b is None:
            picture.heat_map(args.picture, names, distances, exact, args.threshold)
        else:
            picture.heat_map_of_two(args.picture, names, others, distances, exact, args.threshold)
        return
    most = max(LEAST_SAMPLE, MOST_COMPARISONS // len(others or names))
    rows = np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).astype(np.int64))
    distances, exact = relations.nearest(found, a, b, rows)
    shown_ones = (
        f"{len(names):,}" if len(rows) == len(names) else f"{len(rows):,} of {len(names):,}"
    )
    which = "other" if b is None else "of the reference"
    title = f"Distance to the nearest {which}: {shown_ones} datasets"
    beside = "Clusters by size" if b is None else "Datasets by their best match"
    picture.histograms(args.picture, title, distances, exact, beside, bars, args.threshold)


if __name__ == "__main__":
    sys.exit(main())
