"""Find duplicates and near-duplicates in a collection, or between it and a reference.

Datasets are exact duplicates if their Instance-Codes are equal; sizes, hashes and types of pixels
must agree where they are known. They are near if the Hamming distance of their Data-Codes is at
most the threshold: up to 12 of 128 bits they are near-duplicates, up to 24 related, up to 32 weakly
related; larger distances are chance. Datasets below 2,048 bytes are compared for equality only.
Files are compared by their bytes: a compressed or converted file is not similar to the original.

Manifests of iscc_pixels have codes of pixels, and Image-Codes, which say what a single image or
plane looks like. By appearance, images look alike if their Image-Codes differ in at most 48 of 256
bits; up to 72 bits they are worth a look. Codes of bytes are never compared with codes of pixels.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))  # missing if PYTHONSAFEPATH is set
    import startup

    startup.begin()

import argparse
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np

import columns
import command
import inputs
import links
import lists
import manifest
import outputs
import relations
import tables
import workers
from columns import Columns
from command import Outcome
from hamming import TooManyPairsError
from inputs import Dataset, Form
from links import Links
from messages import InputError, Progress, in_lines, pluralize, quote
from relations import Pairs

THRESHOLDS = {links.CONTENT: 24, links.APPEARANCE: 48}
DROP_THRESHOLDS = {links.CONTENT: 12, links.APPEARANCE: 48}
MOST_PAIRS = 1_000_000
MOST_LINKS = 10_000_000  # in memory, a few hundred MiB
MOST_IN_MATRIX = 2_000
MOST_CLOSEST = 100
ALL = 1 + 1e-6  # as the sum of many shares

# The histogram shows distances of all datasets, or of a sample if all would take more comparisons.
MOST_COMPARISONS = 1_000_000_000
LEAST_SAMPLE = 1_000
# A dataset without a match is listed with its nearest one, unless that would take more comparisons
# than these, which take a minute.
MOST_COMPARISONS_OF_NEAREST = 20_000_000_000

KINDS = ("datasets", "manifests")
REFERENCE_KINDS = ("reference_datasets", "reference_manifests")
THUMBNAILS = "thumbnails"


def main(argv: list[str] | None = None) -> int:
    return command.execute(make_parser(), find_duplicates, argv)


def make_parser() -> command.Parser:
    parser = command.Parser("iscc_similarity", __doc__)
    parser.usage = "%(prog)s (FILE ... | --manifest M) [--reference M] [OPTION ...]"
    parser.add_datasets().add_argument(
        "--manifest",
        action="append",
        default=[],
        dest="manifests",
        metavar="M",
        help="a manifest to compare, instead of files; may be given several times",
    )
    parser.add_argument(
        "--reference",
        action="append",
        default=[],
        dest="references",
        metavar="M",
        help="a manifest to compare with; only pairs with one of its datasets then count; may be "
        "given several times",
    )
    parser.add_argument(
        "--compare",
        choices=[*THRESHOLDS],
        default=links.CONTENT,
        help="bytes or pixels, or what images look like (default %(default)s)",
    )
    parser.add_argument(
        "--threshold",
        type=command.integer(0, links.IMAGE_BITS),
        metavar="N",
        help=f"maximum distance, in bits (default {THRESHOLDS[links.CONTENT]} of "
        f"{links.WIDE_BITS}, by appearance {THRESHOLDS[links.APPEARANCE]} of {links.IMAGE_BITS})",
    )
    parser.add_output("--pairs", "table of all pairs, the closest first")
    parser.add_output("--clusters", "table of all datasets with their clusters")
    parser.add_output("--matches", "with --reference: table of all datasets with their best match")
    parser.add_argument(
        "--closest",
        type=command.integer(1, MOST_CLOSEST),
        metavar="N",
        help="in --matches, up to N of each dataset, the best first (default 1)",
    )
    parser.add_output("--keep", "list of the datasets that are not duplicates")
    parser.add_output("--drop", "list of the datasets that are duplicates")
    parser.add_output("--copies", "table of the duplicates, each with the dataset it duplicates")
    parser.add_argument(
        "--duplicates",
        choices=[relations.EXACT, relations.NEAR],
        help="which duplicates --keep, --drop and --copies are about: exact ones only, or also "
        f"near-duplicates, or images that look alike (default {relations.EXACT})",
    )
    parser.add_argument(
        "--drop-threshold",
        type=command.integer(0, links.IMAGE_BITS),
        metavar="N",
        help=f"with --duplicates near: maximum distance (default {DROP_THRESHOLDS[links.CONTENT]}, "
        f"by appearance {DROP_THRESHOLDS[links.APPEARANCE]})",
    )
    parser.add_argument(
        "--compact",
        action="store_true",
        help="in --pairs, each exact duplicate once, two groups by their closest members",
    )
    parser.add_argument(
        "--max-pairs",
        type=command.integer(1, 10**15),
        default=MOST_PAIRS,
        metavar="N",
        help=f"stop if there are more pairs (default {MOST_PAIRS:,})",
    )
    parser.add_output(
        "--matrix",
        f"table of all distances, in bits of 128 or 256, for up to {MOST_IN_MATRIX:,} datasets",
    )
    parser.add_output("--picture", "plot of the distances (PNG)")
    parser.add_argument(
        "--thumbnails",
        action="append",
        default=[],
        metavar="ZIP",
        help="thumbnails of the images, made by iscc_pixels; may be given several times",
    )
    parser.add_output(
        "--sheet",
        "contact sheet of the thumbnails (PNG): each cluster, or each match",
    )
    parser.add_output("--result", "the numbers of pairs, clusters or matches, as text")
    return parser


class Source(NamedTuple):
    """What to compare, or the reference: datasets to be coded here, and manifests of others."""

    datasets: list[Dataset]
    manifests: list[Dataset]


def find_duplicates(args: argparse.Namespace) -> Outcome:
    """Compare all datasets, write the requested outputs, and return a summary of one line."""
    check_options(args)
    given, thumbnails = read_given(args)
    entries, *references = read_entries(args, given, thumbnails)
    sides = links.fingerprints(entries, *references, by=args.compare)
    [others] = references or [entries]
    of_images = any(any(side.pixels) for side in (entries, *references))
    found, nearest = find_links(args, sides), None
    exact, near = relations.count_pairs(found)
    count = pluralize(len(entries), "dataset")
    if sides.is_one_set:
        places = relations.places(found)
        bars = tables.sizes_of_clusters(places)
        rows = tables.cluster_rows(entries, places)
        table = manifest.table_lines(tables.CLUSTER_COLUMNS, rows)
        what = pluralize(sum(bars.values()) - bars["1"], "cluster")
    else:
        matches = relations.best_matches(found, args.closest or 1)
        bars = tables.kinds_of_matches(entries, matches, relations.similar(found))
        what = pluralize(len(np.unique(matches.a)), "dataset") + " with a match"
        count += f" compared with {len(others):,} of the reference"
        if args.matches or args.sheet:
            nearest = find_nearest(found, np.setdiff1d(np.arange(len(entries)), matches.a))
            if nearest is None:
                what += "; the nearest of the others is not listed, because there are too many"
                nearest = matches.select(np.zeros(len(matches.a), dtype=bool))
        if args.matches:
            rows = tables.match_rows(entries, others, matches, nearest)
            table = tables.lines(tables.MATCH_COLUMNS, rows, of_images)

    summary = f"{count}: {count_of_pairs(args, exact, near, ', ')}, {what}"
    with outputs.Outputs() as out:
        if args.pairs:
            pairs = pairs_to_write(args, found, exact, near)
            rows = tables.pair_rows(entries, others, pairs)
            out.write_lines(args.pairs, tables.lines(tables.PAIR_COLUMNS, rows, of_images))
        if args.clusters or args.matches:
            out.write_lines(args.clusters or args.matches, table)
        if args.keep or args.drop or args.copies:
            write_lists(args, out, entries, others, found, of_images)
        if args.matrix:
            distances, _ = links.distances_by_row(sides)
            header = ("#name", *map(manifest.escape, others.names))
            rows = tables.matrix_rows(entries, distances)
            out.write_lines(args.matrix, manifest.table_lines(header, rows))
        if args.picture:
            out.write(args.picture, [draw(args, entries, others, found, bars)])
        if args.sheet:
            title, _, _ = summary.partition(";")
            drawn = draw_sheet(title, thumbnails, entries, others, found, nearest)
            out.write(args.sheet, [drawn])
        if args.result:
            out.write_lines(args.result, [in_lines(summary)])
    return Outcome(summary)


def count_of_pairs(args: argparse.Namespace, exact: int, near: int, conjunction: str) -> str:
    similar = pluralize(near, "near pair")
    if args.compare == links.APPEARANCE:
        similar = pluralize(near, "similar-looking pair")
    return f"{pluralize(exact, 'exact pair')}{conjunction}{similar}"


def check_options(args: argparse.Namespace) -> None:
    """Raise InputError for options that need or exclude others; set default thresholds."""
    if args.threshold is None:
        args.threshold = THRESHOLDS[args.compare]
    if args.compare == links.CONTENT and args.threshold > links.WIDE_BITS:
        raise InputError(
            f"--threshold: expected at most {links.WIDE_BITS} bits, found {args.threshold}; only "
            "--compare appearance has more"
        )
    if args.drop_threshold is None:
        args.drop_threshold = DROP_THRESHOLDS[args.compare]
    elif args.duplicates != relations.NEAR:
        raise InputError("--drop-threshold: expected --duplicates near as well, found none")
    if args.clusters and args.matches:
        raise InputError("--clusters and --matches are one table: expected one of them, found both")
    if args.closest and not args.matches:
        raise InputError("--closest is about matches: expected --matches as well, found none")
    if args.compact and not args.pairs:
        raise InputError("--compact is a form of the pairs: expected --pairs as well, found none")
    if args.duplicates and not (args.keep or args.drop or args.copies):
        raise InputError(
            "--duplicates is about lists: expected --keep, --drop or --copies, found none"
        )
    if args.thumbnails and not args.sheet:
        raise InputError("--thumbnails: expected --sheet as well, to draw them, found none")


def read_given(args: argparse.Namespace) -> tuple[list[Source], list[Dataset]]:
    """What to compare, and the reference if there is one; and the files of thumbnails."""
    files, manifests, references, thumbnails = (
        [inputs.from_path(path) for path in paths]
        for paths in (args.files, args.manifests, args.references, args.thumbnails)
    )
    found = [Source(files, manifests)]
    if args.inputs:
        form = Form(args.inputs, (*KINDS, *REFERENCE_KINDS, THUMBNAILS))
        kinds = [form.one_of(*KINDS), form.which(*REFERENCE_KINDS)]
        if kinds[1] and references:
            raise InputError(f"--reference: {form.called} has a reference already")
        found = [read_source(form, kind) for kind in kinds if kind]
        if form.which(THUMBNAILS):
            thumbnails += form.datasets(THUMBNAILS)
    if args.sheet and not thumbnails:
        raise InputError("--sheet: expected thumbnails to draw (--thumbnails), found none")
    return [*found, Source([], references)] if references else found, thumbnails


def read_source(form: Form, kind: str) -> Source:
    datasets = form.datasets(kind)
    if kind.endswith("datasets"):
        return Source(datasets, [])
    if not datasets:
        raise InputError("expected one manifest or more, found none")
    return Source([], datasets)


def read_entries(
    args: argparse.Namespace, sources: list[Source], thumbnails: list[Dataset]
) -> list[Columns]:
    """Read the entries of each source, or code them, after all checks that need no work."""
    given = [*thumbnails, *(each for source in sources for part in source for each in part)]
    outputs.check(args.outputs, [args.inputs, *(each.path for each in given)])
    read = [
        Columns.join([columns.read(each.path, each.name) for each in source.manifests])
        for source in sources
    ]
    names = [each.name for each in sources[0].datasets] + read[0].names
    most = max(len(source.datasets) + len(part) for source, part in zip(sources, read, strict=True))
    if most < 2 and len(sources) == 1:
        called = "".join(f", {quote(name)}" for name in names)
        raise InputError(
            f"expected at least two datasets to compare with each other, found {most}{called}: add "
            "others, or choose a reference to compare with"
        )
    if args.matrix and most > MOST_IN_MATRIX:
        raise InputError(f"--matrix: expected at most {MOST_IN_MATRIX:,} datasets, found {most:,}")
    if args.keep or args.drop:
        lists.check_names(names)
    if args.sheet:
        check_sheet(sources, read, thumbnails)
    check_kinds(args, sources, read)
    if not any(source.datasets for source in sources):
        return read
    import coding  # slow to import

    # One call for both sources, so that workers share all the work and start only once.
    coded = coding.code_all(
        [each for source in sources for each in source.datasets], processes=args.processes
    )
    ours = len(sources[0].datasets)
    return [
        Columns.join([part, Columns.of(more)])
        for part, more in zip(read, (coded[:ours], coded[ours:]), strict=False)
    ]


def check_sheet(sources: list[Source], read: list[Columns], thumbnails: list[Dataset]) -> None:
    """Raise InputError if no image can have a thumbnail, or a file of them is no zip file."""
    import gallery  # slow to import

    names = [each.name for each in sources[0].datasets] + read[0].names
    if not any(any(side.pixels) for side in read):
        raise InputError(
            "--sheet: expected manifests of pixels, found codes of bytes like those of "
            f"{quote(''.join(names[:1]))}; make manifests and thumbnails with ISCC pixel manifest"
        )
    gallery.check(thumbnails)


def check_kinds(args: argparse.Namespace, sources: list[Source], read: list[Columns]) -> None:
    """Raise InputError if nothing can be compared: no Image-Codes, or pixels on one side only.

    `read` is what the manifests say. Other datasets have codes of bytes, and no Image-Codes.
    """
    if args.compare == links.APPEARANCE:
        whats = ("the datasets", "the reference")
        for what, source, side in zip(whats, sources, read, strict=False):
            if (source.datasets or side.names) and not any(side.image_codes):
                featureless = np.flatnonzero(side.featureless)[:1].tolist()
                why = "".join(
                    f" (there is nothing to see in {quote(side.names[row])})" for row in featureless
                )
                raise InputError(
                    f"expected Image-Codes, to compare by appearance, found none in {what}{why}; "
                    "make a manifest of single images, or of planes, with ISCC pixel manifest"
                )
    kinds = [
        {each is not None for each in side.pixels} | {False for _ in source.datasets[:1]}
        for source, side in zip(sources, read, strict=True)
    ]
    if len(kinds) == 2 and all(kinds) and kinds[0].isdisjoint(kinds[1]):
        ours_like, theirs_like = (
            quote([*side.names[:1], *(each.name for each in source.datasets[:1])][0])
            for source, side in zip(sources, read, strict=True)
        )
        of_pixels, of_bytes = "codes of pixels", "codes of bytes"
        ours, theirs = (of_pixels, of_bytes) if True in kinds[0] else (of_bytes, of_pixels)
        raise InputError(
            f"{of_pixels} and of bytes cannot be compared: expected one kind, found {ours} like "
            f"those of {ours_like}, and {theirs} in the reference, like those of {theirs_like}; "
            "make a manifest of pixels with ISCC pixel manifest, or one of bytes with ISCC manifest"
        )


def find_links(args: argparse.Namespace, sides: links.Sides) -> Links:
    """Find the links of all fingerprints. Raises InputError for too many, or if a worker dies."""
    # Each link is at least one row of the full table of pairs. Without that table, the links only
    # have to fit into memory.
    full_table = args.pairs and not args.compact
    limit = args.max_pairs if full_table else max(args.max_pairs, MOST_LINKS)
    try:
        return links.find_links(sides, args.threshold, limit, args.processes, progress())
    except TooManyPairsError as error:
        about = "about " if error.is_estimate else ""
        count = f"{about}{error.count:,} pairs are within the threshold {args.threshold}"
        if error.are_exact:
            count = f"there are {error.count:,} exact pairs"
        advice = smaller(args, near=not error.are_exact)
        if full_table:
            advice += ", the compact form (--compact) if they are exact duplicates"
        raise too_many(count, limit, advice) from None
    except workers.WorkerError as died:
        raise InputError(f"a process that compared codes {died.how}") from None


def find_nearest(found: Links, rows: np.ndarray) -> Pairs | None:
    """The nearest dataset to each of some datasets; None if that would take too long."""
    a, b = found.sides.both
    comparisons = len(b.wide) * a.codes.shape[1] * b.codes.shape[1]
    if len(rows) * comparisons > MOST_COMPARISONS_OF_NEAREST:
        return None
    report = progress()
    parts = np.array_split(rows, len(rows) * comparisons // MOST_COMPARISONS + 1)
    pairs = []
    for part in parts:
        pairs.append(relations.nearest_pairs(found, part))
        report("what has no match", 1 / len(parts))
    return relations.concatenate(*pairs)


def progress() -> Callable[[str, float], None]:
    """A progress callback that adds up shares of the work and reports how far the comparison is."""
    progress = Progress()
    done: Counter[str] = Counter()

    def report(what: str, share: float) -> None:
        done[what] += share
        if done[what] > ALL:  # codes of pixels come after those of bytes, and are called the same
            done[what] = share
        progress.report(
            lambda seconds: f"compared {what}: {done[what]:.0%}, {seconds:,.0f} s",
            share=done[what],
            beside_bar=f"compared {what}",
        )

    return report


def pairs_to_write(args: argparse.Namespace, found: Links, exact: int, near: int) -> Pairs:
    """The pairs for the table. Raises InputError if there are more than the limit."""
    if not args.compact and exact + near <= args.max_pairs:
        return relations.all_pairs(found)
    compact = relations.compact_pairs(found)
    compact_fits = len(compact.a) <= args.max_pairs
    if args.compact and compact_fits:
        return compact
    if args.compact:
        count = f"there are {len(compact.a):,} pairs in the compact form"
    else:
        count = f"there are {count_of_pairs(args, exact, near, ' and ')}"
    advice = smaller(args, near > 0)
    if compact_fits:
        advice = f"the compact form (--compact), which has {len(compact.a):,}"
    raise too_many(count, args.max_pairs, advice)


def smaller(args: argparse.Namespace, near: bool) -> str:
    """Advice on how to get fewer pairs."""
    return "a smaller threshold" if near and args.threshold else "fewer datasets"


def too_many(count: str, limit: int, advice: str) -> InputError:
    return InputError(
        f"{count}, more than the limit of {limit:,}: choose {advice}, or a higher limit "
        "(--max-pairs)"
    )


def write_lists(
    args: argparse.Namespace,
    out: outputs.Outputs,
    entries: Columns,
    others: Columns,
    found: Links,
    of_images: bool,
) -> None:
    """Write what to keep and to drop. Raises InputError if a name would be on both lists."""
    near = args.duplicates == relations.NEAR
    found = found.within(args.drop_threshold) if near else found.select(found.exact)
    mask = relations.keep_mask(found)
    keep, drop = (
        [name for name, kept in zip(entries.names, mask.tolist(), strict=True) if kept == wanted]
        for wanted in (True, False)
    )
    if args.keep or args.drop:
        lists.check_apart(drop, keep)
    if args.keep:
        out.write_lines(args.keep, lists.list_lines(keep))
    if args.drop:
        out.write_lines(args.drop, lists.list_lines(drop))
    if args.copies:
        duplicates = relations.duplicates_of(found, mask)
        rows = tables.copy_rows(entries, others, duplicates)
        out.write_lines(args.copies, tables.lines(tables.COPY_COLUMNS, rows, of_images))


def draw(
    args: argparse.Namespace,
    entries: Columns,
    others: Columns,
    found: Links,
    bars: dict[str, int],
) -> bytes:
    """Draw a heat map (PNG), or, if it would be too large, histograms of distances and `bars`."""
    import picture  # slow to import

    with quiet_drawing():
        names, other_names = entries.names, others.names
        one_set = found.sides.is_one_set
        scale = picture.BY_APPEARANCE if args.compare == links.APPEARANCE else picture.BY_CONTENT
        rows, other_rows = relations.linked_rows(found)
        are_few = max(len(entries), len(others)) <= picture.MOST_UNLINKED
        if are_few:
            rows, other_rows = np.arange(len(entries)), np.arange(len(others))
        if are_few or 0 < max(len(rows), len(other_rows)) <= picture.MOST_IN_HEAT_MAP:
            shown = [entries[row] for row in rows.tolist()]
            if not one_set:
                shown += [others[row] for row in other_rows.tolist()]
            distances, exact = links.distances_by_row(links.fingerprints(shown, by=args.compare))
            down = picture.Side(names, rows)
            across = None if one_set else picture.Side(other_names, other_rows)
            return picture.heat_map(down, across, distances, exact, args.threshold, scale)
        most = max(LEAST_SAMPLE, MOST_COMPARISONS // len(other_names))
        rows = np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).astype(np.int64))
        distances, exact, _ = relations.nearest(found, rows)
        drawn = "" if len(rows) == len(names) else f"{len(rows):,} of "
        which = "other" if one_set else "of the reference"
        title = f"Distance to the nearest {which}: {drawn}{len(names):,} datasets"
        beside = "Clusters by size" if one_set else "Datasets by their best match"
        return picture.histograms(title, distances, exact, beside, bars, args.threshold, scale)


def draw_sheet(
    title: str,
    thumbnails: list[Dataset],
    entries: Columns,
    others: Columns,
    found: Links,
    nearest: Pairs | None,
) -> bytes:
    """Draw a contact sheet (PNG). Raises InputError if not one image on it has a thumbnail."""
    import contacts  # slow to import
    import gallery
    import sheet

    find = partial(gallery.find, thumbnails)
    if found.sides.is_one_set:
        rows, places = found.sides.a.rows, relations.places(found)
        is_again = rows.first()[rows.labels] != np.arange(len(entries))
        drawn = contacts.of_clusters(title, entries, places, is_again, find)
    else:
        matches = relations.best_matches(found, contacts.MATCHES)
        drawn = contacts.of_matches(title, entries, others, matches, nearest, find)
    tiles = [tile for group in drawn.groups for tile in group.tiles]
    if tiles and all(tile.picture is None for tile in tiles):
        raise InputError(
            f"{quote(thumbnails[0].name)}: expected thumbnails of the images that are compared, "
            "found those of others; make manifest and thumbnails in the same run of ISCC pixel "
            "manifest"
        )
    with quiet_drawing():
        return sheet.draw(drawn)


@contextmanager
def quiet_drawing() -> Iterator[None]:
    """Suppress warnings of the libraries about fonts and directories, which do not help users."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


if __name__ == "__main__":
    command.run(main)
