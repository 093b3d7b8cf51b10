"""Matches that iscc_similarity found before: which images, planes or files show the same."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import manifest
from inputs import Dataset
from messages import InputError, quote

COLUMNS = ("name", "relation", "distance", "match")
NONE = "none"
RELATIONS = ("exact", "near", "looks like", NONE)
CHOOSE = 'choose the output "matches" of ISCC similarity'


class Match(NamedTuple):
    """A raw image or plane that a figure matches, how, and at how many bits of distance."""

    relation: str
    name: str
    distance: int


def read(table: Dataset) -> dict[str, list[Match]]:
    """The matches of each figure, in the order of the table; perhaps none. Raises InputError."""
    found: dict[str, list[Match]] = {}
    for where, row in rows(table, COLUMNS):
        figure, relation, distance, match = (row[column] for column in COLUMNS)
        of_figure = found.setdefault(figure, [])
        if relation not in RELATIONS:
            raise InputError(
                f"{where}: expected exact, near, looks like or none in the column relation, found "
                f"{quote(relation)}; {CHOOSE}, unchanged"
            )
        if relation == NONE:
            continue
        if not manifest.NUMBER_OF_BYTES.fullmatch(distance):
            raise InputError(
                f"{where}: expected a whole number of bits in the column distance, found "
                f"{quote(distance)}; make the table again with ISCC similarity"
            )
        of_figure.append(Match(relation, match, int(distance)))
    return found


def rows(table: Dataset, wanted: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a table of matches with these columns, each with its position for messages."""
    columns: list[str] | None = None
    for number, line in manifest.read_lines(table.path, table.name):
        where, fields = f"{quote(table.name)}, line {number}", line.split("\t")
        if columns is None:
            columns = [field.removeprefix("#") for field in fields]
            if any(columns.count(each) != 1 for each in wanted):
                raise InputError(
                    f"{where}: expected a header with the columns #{', '.join(wanted)}, found "
                    f"{quote(line)}; {CHOOSE}"
                )
            continue
        if len(fields) != len(columns):
            raise InputError(
                f"{where}: expected {len(columns)} columns as in the header, found {len(fields)}; "
                "make the table again with ISCC similarity"
            )
        try:
            row = dict(zip(columns, map(manifest.unescape, fields), strict=True))
        except manifest.LineError as error:
            raise InputError(f"{where}: {error}") from None
        yield where, row
    if columns is None:
        raise InputError(
            f"{quote(table.name)}: expected the table of matches of ISCC similarity, found an "
            f"empty file; {CHOOSE}"
        )
