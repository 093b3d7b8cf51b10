r"""Read what a manifest lists, in any format: each line is an entry, or invalid for a reason.

The format is detected. These formats are read, with or without a BOM, CRLF line ends, blank lines
and comments (#), and with codes in upper or lower case:

    #name iscc ...                      the manifest of iscc_sum, or any table whose header names
                                        a column for names and one for codes; CSV as well
    ISCC:... *name, ISCC:...  name      iscc-sum; after a leading \ the name is escaped (sha256sum)
    ISCC-SUM (name) = ISCC:...          iscc-sum --tag
      ISCC:...                          iscc-sum --units: indented, below its file's line
    any of these ended by NUL           iscc-sum -z
    1e20...  name, BLAKE3 (name) = ...  the BLAKE3 hash, as datahash or as b3sum --tag writes it
    name code, code name                two columns
    code                                alone: for the only dataset, or for one with that content
    {"iscc": ..., "filename": ...}      JSON: an object, an array, or one object per line

Other digests (md5sum, sha256sum, SFV, BagIt, hashdeep) are invalid; the reason names their type.

No line with a code is lost: `manifest.classify` decides which lines are headers or comments, and
these never contain a code. Every other line has one code. A line is invalid if its name contains a
code as well, because two lines were run together, or if it contains a carriage return or a NUL.
"""

import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

import codes
import manifest
from manifest import (
    BLAKE3_MULTIHASH,
    MULTIHASH,
    Entry,
    Kind,
    LineError,
    Table,
    contains_code,
    is_code,
)
from messages import InputError, explaining, quote

ISCC_SUM_TAG = re.compile(r"ISCC-SUM \((.*)\) = (\S+)\s*", re.IGNORECASE | re.DOTALL)
BLAKE3_TAG = re.compile(r"BLAKE3 \((.*)\) = ([0-9a-f]{64})\s*", re.IGNORECASE | re.DOTALL)
OTHER_TAG = re.compile(
    r"(MD\d|SHA[\d/-]+|BLAKE2[\w/-]*|RMD160|SM3|CRC\d*) ?\(.*\) ?= [0-9a-f]+\s*",
    re.IGNORECASE | re.DOTALL,
)
CODE_AND_NAME = re.compile(r"(\S+) [ *](.*)", re.DOTALL)
DIGEST = re.compile(r"([0-9a-f]{32,128})(?!\S)", re.IGNORECASE)
SFV = re.compile(r"\S.* [0-9a-f]{8}", re.IGNORECASE)
UNIT_LINE = re.compile(r" +(ISCC:[GI]A\S+)", re.IGNORECASE)
PERHAPS_A_CODE = re.compile(r"ISCC:\S*|[A-Z2-7-]{13,}", re.IGNORECASE)

DIGESTS = {
    32: "32-digit digests as md5sum writes them",
    40: "40-digit digests as sha1sum writes them",
    64: "64-digit digests as sha256sum or b3sum write them",
    96: "96-digit digests as sha384sum writes them",
    128: "128-digit digests as sha512sum writes them",
}
ADVICE = "choose the output of ISCC manifest, or another list of names and ISCC codes"
MOST_WITHOUT_ENTRY = 10_000  # lines, after which a file is not a manifest
BEGINNING = 8192  # bytes read to detect the format; names are shorter
LONG = 1 << 20  # bytes of a table; NumPy, by which long ones are read, needs 0.1 s to start
SHORTEST_CODE = codes.characters(codes.HEADER_BYTES + 8)  # 64 bits; requires the prefix
DATA_UNIT = "GA"  # the beginning of a Data-Code
UNKNOWN_PIXELS = ""

# Lone surrogates, which no file name contains; the other ones stand for bytes that are not UTF-8.
HALF_CHARACTER = re.compile(r"[\ud800-\udc7f\udd00-\udfff]")

ESCAPED = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


class Listed(NamedTuple):
    """An entry: the expected properties of a dataset.

    line        its number in the manifest, from 1; in a JSON array, the number of the object
    name        None for a code that stands alone
    expected    a code with an Instance-Code, in upper case with its prefix, or a datahash
    filesize    bytes, None if not listed
    datahash    BLAKE3 multihash, listed in addition to `expected`, or None
    pixels      type and sizes of the image that the code is of, UNKNOWN_PIXELS if not listed, None
                for a code of bytes
    units       Data-Code and Instance-Code, if they add to the above
    """

    line: int
    name: str | None
    expected: str
    filesize: int | None = None
    datahash: str | None = None
    pixels: str | None = None
    units: tuple[str, ...] = ()

    @property
    def hashes(self) -> codes.Code:
        """The Data-Code, of 0 bytes if only the hash is listed, and the Instance-Code."""
        if self.expected.startswith(MULTIHASH):
            return codes.Code(b"", bytes.fromhex(self.expected[len(MULTIHASH) :]))
        return codes.parse(self.expected)


class Invalid(NamedTuple):
    """A line that is not an entry, and why; `name` is the name it seems to contain, if any."""

    line: int
    name: str | None
    reason: str


class Listing(NamedTuple):
    """All lines of a manifest except comments, in order.

    `rows.LongListing` has the same methods.
    """

    entries: list[Listed]
    invalid: list[Invalid]

    def are_of(self, kinds: set[bool]) -> bool:
        """Whether all entries are of these kinds: of pixels if True, of bytes if False."""
        return {each.pixels is not None for each in self.entries} <= kinds

    def spelled_out(self) -> Self:
        """The listing with everything among its entries."""
        return self

    def set_apart(self, datasets: Sequence[Entry]) -> tuple[Self, None]:
        """What the audit of these datasets has to see, and rows that are MISSING in any case."""
        return self, None


def read(path: Path, name: str) -> Listing:
    """Read a manifest that the user calls `name`. Raises InputError if it has no entry."""
    with explaining("read", name), path.open("rb") as stream:
        beginning = stream.read(BEGINNING)
        if stream.seekable():
            stream.seek(0)
        else:  # a pipe, whose beginning cannot be read again
            stream = io.BytesIO(beginning + stream.read())
        ended_by_nul = is_ended_by_nul(beginning.removeprefix(manifest.BOM.encode()))
        return collect(lines(stream, beginning, ended_by_nul, name), name, ended_by_nul)


def is_long_table(path: Path) -> bool:
    """Whether a file is large and begins with a header, perhaps below comments.

    False where `read` may find another format, or that the file cannot be read.
    """
    try:
        if not path.is_file() or path.stat().st_size < LONG:
            return False
        with path.open("rb") as stream:
            beginning = stream.read(BEGINNING)
    except OSError:
        return False
    text = beginning.decode("utf-8", "surrogateescape").removeprefix(manifest.BOM)
    lines = text.split("\n")[:-1]
    rows = (line.lstrip() for line in lines if line.strip() and not line.startswith("#"))
    if "\0" in text or next(rows, "[").startswith(("[", "{")):
        return False
    for line in lines:
        try:
            kind = manifest.classify(line.removesuffix("\r"), None, first=True)
        except LineError:
            return False
        if line.strip() and kind is not Kind.COMMENT:
            return isinstance(kind, Table)
    return False


def read_text(text: str, name: str) -> Listing:
    """As `read`, for a manifest that was typed or pasted."""
    lines = text.removeprefix(manifest.BOM).replace("\r\n", "\n").split("\n")
    return collect(enumerate(lines, start=1), name)


def lines(
    stream: BinaryIO, beginning: bytes, ended_by_nul: bool, name: str
) -> Iterator[tuple[int, str]]:
    """The lines of a manifest with their numbers. Lines of JSON may have any length."""
    begins_with = beginning.removeprefix(manifest.BOM.encode()).lstrip()[:1]
    if not ended_by_nul and begins_with not in (b"[", b"{"):
        yield from manifest.lines_of(io.TextIOWrapper(stream, **manifest.TEXT), name)
        return
    text = stream.read().decode("utf-8", "surrogateescape").removeprefix(manifest.BOM)
    for number, line in enumerate(text.split("\0" if ended_by_nul else "\n"), start=1):
        yield number, line if ended_by_nul else line.removesuffix("\r")


def is_ended_by_nul(beginning: bytes) -> bool:
    """Whether the first entry of a file ends with NUL, not with a line feed.

    A name may contain line feeds, a code may not: if a code is followed by one, lines end with line
    feeds, and the NUL is inside a line.
    """
    first, nul, _ = beginning.partition(b"\0")
    try:
        return bool(nul and entry_of_line(1, first.decode("utf-8", "surrogateescape")))
    except LineError:
        return False


def collect(numbered: Iterable[tuple[int, str]], name: str, ended_by_nul: bool = False) -> Listing:
    """Collect the entries of all lines. Raises InputError if there is none."""
    collector = Collector(name, ended_by_nul)
    for number, line in collector.read_json(iter(numbered)):
        if line.strip():
            collector.read(number, line)
        if len(collector.invalid) == MOST_WITHOUT_ENTRY and not collector.entries:
            break
    return collector.listing()


class Collector:
    """Collects the entries of a manifest, line by line; `name` is the user's name for it."""

    def __init__(self, name: str, ended_by_nul: bool = False):
        self.name, self.ended_by_nul = name, ended_by_nul
        self.entries: list[Listed] = []
        self.invalid: list[Invalid] = []
        self.table: Table | None = None
        self.seen: set[tuple] = set()
        self.above: Listed | None = None  # the entry in the line above this one

    def read(self, number: int, line: str) -> None:
        """Collect what is in a line that is not blank."""
        above, self.above = self.above, None
        first = not (self.table or self.entries or self.invalid)
        try:
            kind = manifest.classify(line, self.table, first, self.ended_by_nul)
            if isinstance(kind, Table):
                self.table = kind
            elif kind is Kind.COMMENT:
                self.above = above
            elif self.table:
                self.add_row(number, line)
            elif not first and (unit := UNIT_LINE.fullmatch(line)):
                self.entries[-1] = self.above = with_unit(above, unit[1])
            else:
                self.above = entry_of_line(number, line)
                self.entries.append(self.above)
        except LineError as error:
            self.invalid.append(Invalid(number, error.name, str(error)))

    def add_row(self, number: int, line: str) -> None:
        entry = entry_of_row(number, self.table, line)
        if self.table.rows_are_pairs:
            if entry[1:] in self.seen:
                return
            self.seen.add(entry[1:])
        self.entries.append(entry)

    def listing(self) -> Listing:
        """What was collected. Raises InputError if there is no entry."""
        if self.entries:
            return Listing(self.entries, self.invalid)
        why = "it has no entry"
        if self.invalid:
            first = self.invalid[0]
            why = f"it has no valid entry; line {first.line}: {first.reason}"
        raise InputError(f"{quote(self.name)}: expected a manifest, but {why}; {ADVICE}")

    def read_json(self, numbered: Iterator[tuple[int, str]]) -> Iterable[tuple[int, str]]:
        """Collect the entries of JSON, an array or an object. If it is none, return its lines."""
        skipped = []
        for number, line in numbered:
            skipped.append((number, line))
            if line.strip() and not line.startswith("#"):
                break
        else:
            return skipped
        if line.lstrip()[0] not in "[{":
            return chain(skipped, numbered)
        rest = list(numbered)
        try:
            document = parse_json("\n".join([line, *(each for _, each in rest)]))
        except LineError as error:
            self.invalid.append(Invalid(number, error.name, str(error)))
            return skipped[:-1]
        if document is None:
            return [*skipped, *rest]  # possibly one object per line
        items = enumerate(document, start=1) if isinstance(document, list) else [(number, document)]
        for number, item in items:
            try:
                self.entries.append(entry_of_json(number, item))
            except LineError as error:
                self.invalid.append(Invalid(number, error.name, str(error)))
        return skipped[:-1]


def entry_of_row(number: int, table: Table, line: str) -> Listed:
    """The entry in a row of a table. Raises LineError."""
    row = table.row(line)
    size = int(row.filesize) if row.filesize else None
    entry = entry_of(number, row.name, row.code, size, row.datahash or None)
    entry = entry._replace(pixels=row.pixels or None)
    if not row.datahash:  # contains all that a unit does
        for unit in filter(None, (row.data_code, row.instance_code)):
            entry = with_unit(entry, unit)
    return entry


def entry_of_line(number: int, line: str) -> Listed:
    """The entry in a line without a header. Raises LineError."""
    if line.lstrip().startswith("{") and (item := parse_json(line)) is not None:
        return entry_of_json(number, item)
    name, code = name_and_code(line)
    if name is not None and contains_code(name):
        raise LineError(
            "expected one line, found two that were run together: its name contains a code", name
        )
    return entry_of(number, name, code)


def name_and_code(line: str) -> tuple[str | None, str]:
    """The two parts of a line without a header. Raises LineError if it does not have them."""
    # In checksum files, a leading backslash means that the name is escaped.
    escaped = line.startswith("\\")
    text = line[1:] if escaped else line
    if match := ISCC_SUM_TAG.fullmatch(text):
        return plain(match[1], escaped), match[2]
    if match := BLAKE3_TAG.fullmatch(text):
        return plain(match[1], escaped), f"{MULTIHASH}{match[2]}"
    if match := OTHER_TAG.fullmatch(text):
        raise LineError(f"expected ISCC codes, found {match[1]} digests")
    if (match := CODE_AND_NAME.fullmatch(text)) and is_code(match[1]):
        return plain(match[2], escaped), match[1]
    # Other formats have no escapes.
    if is_code(line.strip()):
        return None, line.strip()
    for columns in two_columns(line):
        codes_in = [is_code(column) for column in columns]
        if all(codes_in):
            raise LineError("expected a name and a code, found two codes")
        if any(codes_in):
            return columns[codes_in.index(False)], columns[codes_in.index(True)]
    raise LineError(why_not(text))


def two_columns(line: str) -> Iterator[list[str]]:
    """The ways to read a line as two columns: tabs, CSV, or a space before or after the code."""
    for separator in "\t,;":
        with suppress(LineError):
            columns = manifest.split(line, separator)
            if len(columns) == 2:
                yield columns
            if separator == "\t" and len(columns) > 1:
                return
    before, _, last = line.strip().rpartition(" ")
    yield [before.rstrip(" "), last]  # columns may be aligned
    first, _, behind = line.strip().partition(" ")
    yield [first, behind]


def why_not(text: str) -> str:
    """Describe a line that is not an entry."""
    if (match := DIGEST.match(text)) and len(match[1]) in DIGESTS:
        return f"expected ISCC codes, found {DIGESTS[len(match[1])]}"
    if text.startswith("%%%%"):
        return "expected ISCC codes, found the header of hashdeep"
    if text.lower().startswith("bagit-version"):
        return "expected ISCC codes, found a file of BagIt"
    if text.startswith(";") or SFV.fullmatch(text):
        return "expected ISCC codes, found CRC-32 checksums as SFV files have them"
    for match in PERHAPS_A_CODE.finditer(text):
        try:
            codes.parse(match[0])
        except codes.CodeError as error:
            return f"{quote(match[0])} is not an ISCC: {error}"
    return f"expected a name and an ISCC code, found {quote(text)}"


def entry_of(
    number: int,
    name: str | None,
    text: str,
    filesize: int | None = None,
    datahash: str | None = None,
) -> Listed:
    """The entry of a name and its code, or datahash. Raises LineError."""
    datahash = datahash and datahash.lower()
    if BLAKE3_MULTIHASH.fullmatch(text):
        return Listed(number, name, text.lower(), filesize, datahash)
    digits = manifest.digits_of(text, name)
    if len(digits) == SHORTEST_CODE and not is_code(text):
        raise LineError(f"a code of 64 bits needs the prefix {codes.PREFIX}", name)
    if digits.startswith(DATA_UNIT):
        raise LineError(
            "a Data-Code alone cannot show identity; an ISCC-CODE or Instance-Code is needed", name
        )
    return Listed(number, name, codes.PREFIX + digits, filesize, datahash)


def with_unit(entry: Listed | None, unit: str) -> Listed:
    """The entry with an ISCC-UNIT that the manifest lists next to it. Raises LineError."""
    if not is_code(unit):
        raise LineError(why_not(unit), entry and entry.name)
    if entry is None:
        raise LineError("expected an entry above this ISCC-UNIT, found none")
    for known, more in zip(entry.hashes, codes.parse(unit), strict=True):
        if not (known.startswith(more) or more.startswith(known)):
            raise LineError(f"{quote(unit)} contradicts {quote(entry.expected)}", entry.name)
    return entry._replace(units=(*entry.units, unit))


def plain(name: str, escaped: bool) -> str:
    """Undo sha256sum's escapes in a name, if it has any."""
    if not escaped:
        return name
    return re.sub(r"\\.", lambda match: ESCAPED.get(match[0], match[0]), name)


def parse_json(text: str) -> object:
    """Read JSON; None if it is not JSON. Raises LineError if an object has a key twice."""
    try:
        return json.loads(text, object_pairs_hook=unique)
    except LineError:
        raise
    except (ValueError, RecursionError):
        return None


def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise LineError("expected a JSON object without repeated keys, found one with a key twice")
    return made


def entry_of_json(number: int, item: object) -> Listed:
    """The entry in a JSON object. Raises LineError."""
    if not isinstance(item, dict):
        raise LineError(f"expected a JSON object, found {quote(json.dumps(item))}")
    name, iscc = item.get("filename") or item.get("name"), item.get("iscc")
    if not isinstance(name, str) or not isinstance(iscc, str):
        raise LineError("expected the keys iscc and filename, or name, with texts")
    if HALF_CHARACTER.search(name):
        raise LineError(f"the name {quote(name)} cannot be written as UTF-8")
    size, datahash = item.get("filesize"), item.get("datahash")
    if size is not None and (type(size) is not int or size < 0):
        raise LineError("expected a number of bytes as filesize, found something else", name)
    if datahash is not None and not BLAKE3_MULTIHASH.fullmatch(str(datahash)):
        raise LineError(
            "expected a BLAKE3 hash, 1e20 and 64 digits, as datahash, found something else", name
        )
    pixels = item.get("pixels") or None
    if pixels is not None and not manifest.PIXELS.fullmatch(str(pixels)):
        raise LineError(
            "expected imagewalk, a type and five sizes as pixels, found something else", name
        )
    return entry_of(number, name, iscc, size, datahash)._replace(pixels=pixels)
