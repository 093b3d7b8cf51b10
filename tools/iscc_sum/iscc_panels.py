"""Find where in which raw image a part of a figure lies, by local features.

Figures are cut into their panels at the gutters. A panel is found in a raw image, or in a plane or
maximum projection of a stack, even if it is a part of it, turned by any angle, mirrored, resized,
stretched in contrast, coloured or compressed. The table says where it lies. Nothing is guessed: a
panel without a certain place has the match "none".

Raw images are read once if their features are kept (--features), and given instead of them later.
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
from collections.abc import Iterator, Sequence

import command
import inputs
import manifest
import outputs
import panel_picture
import panel_search
import plane_store
from command import Outcome
from inputs import Dataset, Form
from messages import InputError, pluralize
from panel_search import Hit, Panel
from panels import Find

NONE = "none"
COLUMNS = ("#panel", "match", "certainty", "features", "scale", "angle", "mirrored", "inverted")
COLUMNS += ("x", "y", "width", "height", "corners")
YES, NO = "yes", "no"


def main(argv: list[str] | None = None) -> int:
    return command.execute(make_parser(), search, argv)


def make_parser() -> command.Parser:
    parser = command.Parser("iscc_panels", __doc__)
    parser.add_datasets()
    parser.add_argument(
        "--raw",
        nargs="+",
        default=[],
        metavar="RAW",
        help="raw images, or feature files made of them before",
    )
    parser.add_output("--finds", "table with a line for each panel")
    parser.add_output("--picture", "each panel beside the raw image, with its outline (PNG)")
    parser.add_output("--features", "keep the features of the raw images in this file")
    parser.add_argument(
        "--uncut", action="store_true", help="do not cut figures into panels at their gutters"
    )
    return parser


def search(args: argparse.Namespace) -> Outcome:
    """Search for panels and write the requested outputs."""
    start = time.monotonic()
    figures, raw = read_given(args)
    if not raw:
        raise InputError("expected raw images, or feature files of them (--raw), found none")
    outputs.check(args.outputs, [args.inputs, *(each.path for each in [*figures, *raw])])
    wanted = panel_search.read_panels(figures, not args.uncut, args.processes)
    best: list[list[Hit]] = [[] for _ in wanted]
    planes = 0
    keep = args.features is not None
    with (
        outputs.Outputs() as out,
        tempfile.TemporaryFile() as kept,
        plane_store.Writer(kept) as writer,
    ):
        for searched in panel_search.search_all(raw, wanted, keep, args.processes):
            panel_search.keep_best(best, searched.hits)
            planes += searched.count
            for plane in searched.kept:
                writer.add(plane)
        rows = panel_search.as_rows(wanted, best)
        if args.finds:
            out.write_lines(args.finds, manifest.table_lines(COLUMNS, lines(rows)))
        if args.picture:
            out.write(args.picture, [panel_picture.draw(rows)])
        if args.features:
            writer.finish()
            kept.seek(0)
            out.write(args.features, iter(lambda: kept.read(outputs.PIECE_BYTES), b""))
    matched = sum(bool(found) for _, found in rows)
    return Outcome(
        f"{matched:,} of {pluralize(len(rows), 'panel')} found in {pluralize(planes, 'plane')}, "
        f"{time.monotonic() - start:.1f} s"
    )


def read_given(args: argparse.Namespace) -> tuple[list[Dataset], list[Dataset]]:
    """The figures, and the raw images or feature files."""
    if not args.inputs:
        return [[inputs.from_path(path) for path in paths] for paths in (args.files, args.raw)]
    if args.raw:
        raise InputError("--raw: the form specifies this already")
    form = Form(args.inputs, ("figures", "raw"))
    return form.datasets(form.one_of("figures")), form.datasets(form.one_of("raw"))


def lines(rows: Sequence[tuple[Panel, list[Hit]]]) -> Iterator[tuple]:
    """A line for each panel and each plane that fits it equally well, the best first."""
    for panel, hits in rows:
        if not hits:
            yield panel.name, NONE, *[None] * (len(COLUMNS) - 2)
        for hit in hits:
            yield panel.name, hit.plane, *described(hit.find)


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
