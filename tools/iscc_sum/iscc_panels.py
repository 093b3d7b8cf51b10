"""Find the raw image that a panel of a figure comes from, and its place there.

Figures are cut into their panels at the gutters. A panel is found by its local features in a raw
image, or in a plane or maximum projection of a stack, even if it is a part of it, turned by any
angle, mirrored, resized, stretched in contrast, coloured or compressed. The table says where it
lies. Nothing is guessed: a panel without a certain place has the relation "none".

Raw images are read once if their features are kept (--features), and given instead of them later.
For that, figures are not needed. Figures that iscc_similarity has matched as a whole (--matches)
are only compared with what they match.
"""

import os
import sys
from pathlib import Path

# Processes share the work (--processes); NumPy's threads would be in their way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))  # missing if PYTHONSAFEPATH is set
    import startup

    startup.begin()

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import command
import inputs
import manifest
import matches
import outputs
import panel_picture
import panel_search
import plane_store
from command import Outcome
from inputs import Dataset, Form
from matches import Match
from messages import InputError, pluralize, quote
from panel_search import Answer, Hit, Panel
from panels import Find

COLUMNS = ("#panel", "relation", "match", "distance", "certainty", "features", "scale", "angle")
COLUMNS += ("mirrored", "inverted", "x", "y", "width", "height", "corners")
YES, NO = "yes", "no"


def main(argv: list[str] | None = None) -> int:
    return command.execute(make_parser(), search, argv)


def make_parser() -> command.Parser:
    parser = command.Parser("iscc_panels", __doc__)
    parser.add_datasets(required=False)
    parser.add_argument(
        "--raw",
        nargs="+",
        default=[],
        metavar="RAW",
        help="raw images, or feature files made of them before",
    )
    parser.add_argument(
        "--matches",
        metavar="TABLE",
        help="table of matches of iscc_similarity; a figure with a match there is not cut",
    )
    parser.add_output("--finds", "table with a line for each panel")
    parser.add_output("--picture", "each panel beside the raw image, with its outline (PNG)")
    parser.add_output("--result", "how many panels were found, as text")
    parser.add_output("--features", "keep the features of the raw images in this file")
    parser.add_argument(
        "--uncut", action="store_true", help="do not cut figures into panels at their gutters"
    )
    return parser


def search(args: argparse.Namespace) -> Outcome:
    """Search for panels and write the requested outputs."""
    start = time.monotonic()
    keep = args.features is not None
    figures, raw, known = read_given(args)
    if not raw:
        raise InputError(
            "expected raw images or feature files (--raw), found none; give at least one"
        )
    if not (figures or keep):
        raise InputError(
            "expected figures to search for, or --features to make a feature file, found neither; "
            "give at least one of them"
        )
    given = [*figures, *raw, *known]
    outputs.check(args.outputs, [args.inputs, *(each.path for each in given)])
    matched = read_matches(known[0], figures) if known else {}
    wanted = panel_search.read_panels(figures, not args.uncut, matched, args.processes)
    best: list[list[Hit]] = [[] for _ in wanted]
    planes = 0
    with (
        outputs.Outputs() as out,
        tempfile.TemporaryFile() as kept,
        tempfile.TemporaryDirectory() as folder,
        plane_store.Writer(kept) as writer,
    ):
        parts = Path(folder) if keep else None
        for searched in panel_search.search_all(raw, wanted, parts, args.processes):
            panel_search.keep_best(wanted, best, searched.hits)
            planes += searched.count
            if searched.kept:
                writer.add_all(searched.kept)
                searched.kept.path.unlink()
        rows = panel_search.answers(wanted, best)
        if args.finds:
            out.write_lines(args.finds, manifest.table_lines(COLUMNS, lines(rows)))
        if args.picture:
            out.write(args.picture, [panel_picture.draw(rows)])
        summary = summarize(rows, planes, bool(known))
        if args.result:
            out.write_lines(args.result, [f"{summary}\n"])
        if keep:
            writer.finish()
            kept.seek(0)
            out.write(args.features, iter(lambda: kept.read(outputs.PIECE_BYTES), b""))
    return Outcome(f"{summary}, {time.monotonic() - start:.1f} s")


def summarize(rows: Sequence[tuple[Panel, list[Answer]]], planes: int, by_relation: bool) -> str:
    """How many panels were found; with `by_relation`, also how."""
    if not rows:
        return f"features of {pluralize(planes, 'plane')} kept"
    counts = Counter(answers[0].relation for _, answers in rows if answers)
    of = f"{len(rows):,} figures and panels" if by_relation else pluralize(len(rows), "panel")
    found = f"{counts.total():,} of {of} found"
    if by_relation:
        order = [*matches.RELATIONS, panel_search.LIES_IN]
        how = [f"{relation}: {counts[relation]:,}" for relation in order if counts[relation]]
        found += f" ({', '.join(how)})" if how else ""
    return f"{found}, {pluralize(planes, 'plane')} searched"


def read_given(
    args: argparse.Namespace,
) -> tuple[list[Dataset], list[Dataset], list[Dataset]]:
    """The figures, the raw images or feature files, and the table of matches if there is one."""
    if not args.inputs:
        given = (args.files, args.raw, [args.matches] if args.matches else [])
        return tuple([inputs.from_path(path) for path in paths] for paths in given)
    for option in ("raw", "matches"):
        if getattr(args, option):
            raise InputError(f"--{option}: the form specifies this already")
    form = Form(args.inputs, ("figures", "raw", "matches"))
    return tuple(
        form.datasets(key) if form.which(key) else [] for key in ("figures", "raw", "matches")
    )


def read_matches(table: Dataset, figures: Sequence[Dataset]) -> dict[str, list[Match]]:
    """The matches of the figures. Raises InputError if they are of others."""
    found = matches.read(table)
    names = {each.name for each in figures}
    if names.isdisjoint(part for name in found for part in manifest.ways_up(name)):
        raise InputError(
            f"{quote(table.name)}: expected matches of the figures, found the names of others; "
            "choose the table that was made with the same figures under the same names"
        )
    return found


def lines(rows: Sequence[tuple[Panel, list[Answer]]]) -> Iterator[tuple]:
    """A line for each panel and each plane that it shows, the best first."""
    for panel, answers in rows:
        if not answers:
            yield panel.name, matches.NONE, *[None] * (len(COLUMNS) - 2)
        for relation, plane, distance, hit in answers:
            place = described(hit.find) if hit and hit.find else [None] * (len(COLUMNS) - 4)
            yield panel.name, relation, plane, distance, *place


def described(find: Find) -> tuple:
    """How certain a place is, how the panel was changed, and where it lies in the plane."""
    (left, top), (right, bottom) = find.corners.min(axis=0), find.corners.max(axis=0)
    return (
        f"{find.certainty:.0f}",
        find.inliers,
        f"{find.scale:.3f}",
        f"{round(find.angle, 1) + 0:.1f}",
        YES if find.mirrored else NO,
        YES if find.inverted else NO,
        *(f"{each:.0f}" for each in (left, top, right - left + 1, bottom - top + 1)),
        " ".join(f"{x:.0f},{y:.0f}" for x, y in find.corners),
    )


if __name__ == "__main__":
    command.run(main)
