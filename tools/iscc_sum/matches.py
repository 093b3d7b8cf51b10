"""Matches that iscc_similarity found before: the raw images and planes that a figure shows."""

from pathlib import Path
from typing import NamedTuple

import manifest
from manifest import LineError
from messages import InputError, quote

COLUMNS = ("#name", "relation", "distance", "match")  # those that are read, of more
NONE = "none"
RELATIONS = ("exact", "near", "looks like", NONE)
CHOOSE = 'choose the output "matches" of ISCC similarity'


class Match(NamedTuple):
    """A raw image or plane that a figure matches, how, and at how many bits of distance."""

    relation: str
    name: str
    distance: int


def read(path: Path, name: str) -> dict[str, list[Match]]:
    """The matches of each figure, in the order of the table; perhaps none. Raises InputError."""
    found: dict[str, list[Match]] = {}
    header: list[str] | None = None
    for number, line in manifest.read_lines(path, name):
        try:
            if header is None:
                header = header_of(line)
                continue
            figure, match = read_line(line, header)
        except LineError as error:
            raise InputError(f"{quote(name)}, line {number}: {error}") from None
        found.setdefault(figure, [])
        if match.relation != NONE:
            found[figure].append(match)
    if header is None:
        raise InputError(
            f"{quote(name)}: expected the table of matches of ISCC similarity, found an empty "
            f"file; {CHOOSE}"
        )
    return found


def header_of(line: str) -> list[str]:
    header = line.split("\t")
    if any(header.count(each) != 1 for each in COLUMNS):
        raise LineError(
            f"expected a header with the columns {', '.join(COLUMNS)}, found {quote(line)}; "
            f"{CHOOSE}"
        )
    return header


def read_line(line: str, header: list[str]) -> tuple[str, Match]:
    """The name of a figure, and its match. Raises LineError."""
    fields = line.split("\t")
    if len(fields) != len(header):
        raise LineError(
            f"expected {len(header)} columns as in the header, found {len(fields)}; make the table "
            "again with ISCC similarity"
        )
    name, relation, distance, match = (fields[header.index(each)] for each in COLUMNS)
    figure = manifest.unescape(name)
    if relation not in RELATIONS:
        raise LineError(
            "expected exact, near, looks like or none in the column relation, found "
            f"{quote(relation)}; {CHOOSE}, unchanged"
        )
    if relation == NONE:
        return figure, Match(NONE, "", 0)
    if not manifest.NUMBER_OF_BYTES.fullmatch(distance):
        raise LineError(
            f"expected a whole number of bits in the column distance, found {quote(distance)}; "
            "make the table again with ISCC similarity"
        )
    return figure, Match(relation, manifest.unescape(match), int(distance))
