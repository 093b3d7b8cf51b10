"""Record, from exports of Galaxy, what each dataset was made from.

An export of a workflow invocation or of a history (in Galaxy: Export, RO-Crate, with hidden files)
contains the jobs that ran. The trail is a table with one line per dataset: its ISCC, as in a
manifest, the tool that made it, the tool's version and parameters, the datasets that it was made
from, and when. Several exports and trails, including trails written by hand, are joined into one.

The lineage leads from results, or from files that iscc_similarity found in the trail, back to the
raw data, as a table and as a graph.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))  # missing if PYTHONSAFEPATH is set
    import startup

    startup.begin()

import argparse
import logging
import time
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

import command
import exports
import inputs
import manifest
import outputs
import trail
from command import Outcome
from inputs import Dataset, Form
from lineage import COLUMNS as LINEAGE_COLUMNS
from lineage import Lineage, Wanted
from lineage import rows as lineage_rows
from matches import NONE
from matches import rows as match_rows
from messages import InputError, Progress, in_lines, pluralize, quote
from trail import Line, Trail

KINDS = ("sources", "pixels", "matches", "names")
MATCH_COLUMNS = ("name", "relation", "distance", "match", "match_iscc")
# How a file was found in the trail, the most certain first; similar ones come between.
EXACT, SAME_PIXELS = "exact", "same pixels"
MOST_CHARACTERS = 1_000_000_000  # per table
MOST_NAMED = 3  # of datasets without bytes


def main(argv: list[str] | None = None) -> int:
    return command.execute(make_parser(), follow, argv)


def make_parser() -> command.Parser:
    parser = command.Parser("iscc_trail", __doc__)
    parser.add_inputs("exports of Galaxy (zip), and trails")
    parser.add_argument(
        "--pixels",
        action="append",
        default=[],
        metavar="M",
        help="a manifest that iscc_pixels made of images in the trail; its lines are added to the "
        "trail. Or one that iscc_manifest made of the same images: its hashes show which files "
        "the names refer to; may be given several times",
    )
    parser.add_output("--trail", "the trail to write")
    parser.add_output("--lineage", "table of the way back from the results")
    parser.add_output("--picture", "graph of the way back from the results (PNG)")
    parser.add_output(
        "--result", "how many files were found, or how many datasets there are, as text"
    )
    of = parser.add_mutually_exclusive_group()
    of.add_argument(
        "--of",
        action="append",
        default=[],
        metavar="NAME",
        help="the lineage of this dataset, instead of all results: its name in the trail, or what "
        "follows a slash in it; may be given several times",
    )
    of.add_argument(
        "--matches",
        metavar="TABLE",
        help="the lineage of files that iscc_similarity found, instead of all results: its table "
        "of matches, made with this trail as the reference",
    )
    return parser


def follow(args: argparse.Namespace) -> Outcome:
    """Make a trail, and write the requested outputs."""
    start = time.monotonic()
    if not args.outputs:
        raise InputError("expected an output, such as --trail, found none")
    form = Form(args.inputs, KINDS) if args.inputs else None
    sources = given(form, "sources", args.files)
    pixels = given(form, "pixels", args.pixels)
    matches = given(form, "matches", [args.matches] if args.matches else [])
    names = args.of
    if form and "names" in form.values:
        names = [line for line in form.text("names").splitlines() if line.strip()]
    paths = [args.inputs, *(each.path for each in sources + pixels + matches)]
    outputs.check(args.outputs, paths)
    whole = Trail()
    missing: dict[str, None] = {}
    for source in sources:
        lines, without_bytes = read(source)
        whole.add(lines)
        missing |= dict.fromkeys(without_bytes)
    of_images = [entry for each in pixels for entry in manifest.read(each.path, each.name)]
    unknown = whole.add_pixels(of_images, pixels[0].name) if pixels else 0
    lineage = Lineage(whole.lines)
    if names:
        wanted = find_names(whole, names)
    elif matches:
        wanted = keep_surest(found for each in matches for found in find_matches(whole, each))
    else:
        wanted = [Wanted(whole.lines[each].entry.name, each) for each in lineage.outputs()]
    with outputs.Outputs() as out:
        if args.trail:
            lines = trail.table_lines(whole.lines, missing)
            out.write_lines(args.trail, not_endless("trail", lines))
        if args.lineage:
            rows = lineage_rows(lineage, wanted)
            lines = manifest.table_lines(LINEAGE_COLUMNS, rows)
            out.write_lines(args.lineage, not_endless("lineage", lines))
        if args.picture:
            # matplotlib's warnings about fonts and directories are of no use to users.
            logging.getLogger("matplotlib").setLevel(logging.ERROR)
            with warnings.catch_warnings(action="ignore"):
                import lineage_picture  # takes half a second

                out.write(args.picture, [lineage_picture.draw(lineage, wanted)])
        if args.result:
            out.write_lines(args.result, [in_lines(result(whole, wanted, bool(matches)))])
    return Outcome(summary(whole, missing, unknown, time.monotonic() - start))


def given(form: Form | None, key: str, paths: list[str]) -> list[Dataset]:
    """The files under a key of the form, or on the command line."""
    if form is None:
        return [inputs.from_path(path) for path in paths]
    return form.datasets(key) if key in form.values else []


def read(source: Dataset) -> tuple[Iterable[Line], list[str]]:
    """The lines of an export or of a trail, and the names of datasets without bytes in it."""
    if not exports.is_export(source.path, source.name):
        lines = trail.read(source.path, source.name)
        return lines, trail.names_not_exported(source.path, source.name, lines)
    progress, coded = Progress(), 0

    def report(count: float) -> None:
        nonlocal coded
        coded += count
        progress.report(
            lambda seconds: (
                f"{coded / 1e9:.1f} GB of {quote(source.name)}, {coded / 1e6 / seconds:,.0f} MB/s"
            )
        )

    export = exports.read(source.path, source.name, report)
    return trail.lines_of(export), trail.without_bytes(export)


def find_names(whole: Trail, names: Iterable[str]) -> list[Wanted]:
    """The datasets with these names, or the only ones whose names end with them."""
    known = trail.by_name(whole.lines)
    numbers = {
        line.entry.name: number for number, line in enumerate(whole.lines) if not line.is_of_pixels
    }
    wanted = []
    for name in names:
        if name not in known:
            raise InputError(
                f"no dataset of the trail is called {quote(name)}: expected a name in the trail, "
                "or what follows a slash in it"
            )
        line = trail.one_of(known[name], name)
        wanted.append(Wanted(name, numbers[line.entry.name]))
    return wanted


def find_matches(whole: Trail, table: Dataset) -> Iterator[Wanted]:
    """The matches of iscc_similarity in the trail, identified by name and code."""
    numbers = {
        (line.entry.name, line.entry.iscc): number for number, line in enumerate(whole.lines)
    }
    for where, row in match_rows(table, MATCH_COLUMNS):
        name, relation, distance, *match = (row[column] for column in MATCH_COLUMNS)
        if relation == NONE:
            yield Wanted(name, None, NONE)
            continue
        number = numbers.get(tuple(match))
        if number is None:
            raise InputError(
                f"{where}: {quote(row['match'])} is not in the trail with this code: expected "
                "matches that were made with this trail as the reference"
            )
        if relation == EXACT and whole.lines[number].is_of_pixels:
            relation = SAME_PIXELS
        yield Wanted(name, number, relation, distance)


def keep_surest(wanted: Iterable[Wanted]) -> list[Wanted]:
    """Keep, for each file, only the most certain kind of match, by bytes and by pixels."""
    ranks = {EXACT: 0, SAME_PIXELS: 1, NONE: 3}

    def rank(each: Wanted) -> int:
        return ranks.get(each.relation, 2)

    of_files: dict[str, dict[Wanted, None]] = {}
    for each in wanted:
        of_files.setdefault(each.name, {})[each] = None
    kept = []
    for matches in of_files.values():
        surest = min(map(rank, matches))
        kept += [each for each in matches if rank(each) == surest]
    return kept


def not_endless(table: str, lines: Iterable[str]) -> Iterator[str]:
    """The lines of a table. Raises InputError if they are too many to be useful."""
    characters = 0
    for line in lines:
        characters += len(line)
        if characters > MOST_CHARACTERS:
            raise InputError(
                f"expected a {table} of at most {MOST_CHARACTERS:,} characters, found more: choose "
                "fewer exports, the lineage of fewer datasets by their names, or only other outputs"
            )
        yield line


def result(whole: Trail, wanted: Sequence[Wanted], are_files: bool) -> str:
    """How many files were found and how, or how many datasets the lineage is of."""
    if not are_files:
        return f"{pluralize(len(wanted), 'dataset')}, {pluralize(whole.steps, 'step')} in the trail"
    relations = {each.name: each.relation for each in wanted}
    counts = Counter(relation for relation in relations.values() if relation != NONE)
    how = ", ".join(f"{relation}: {count:,}" for relation, count in counts.most_common())
    found = f"{counts.total():,} of {pluralize(len(relations), 'file')} found in the trail"
    return found + (f" ({how})" if how else "")


def summary(whole: Trail, missing: Collection[str], unknown: int, seconds: float) -> str:
    """A summary in one line."""
    line = f"{pluralize(len(whole.lines), 'line')}, {pluralize(whole.steps, 'step')}, "
    line += f"{seconds:.1f} s"
    if missing:
        line += f"; {len(missing):,} not exported: {', '.join(map(quote, [*missing][:MOST_NAMED]))}"
    if unknown:
        line += f"; {pluralize(unknown, 'line')} of pixels of no dataset in the trail"
    return line


if __name__ == "__main__":
    command.run(main)
