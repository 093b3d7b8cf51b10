r"""The ISCC manifest: a table with one dataset per line, readable by people and by many tools.

UTF-8, line feeds, tab-separated, with a header:

    #name  iscc  filesize  datahash  data_code  instance_code  note

Two more columns may follow, `pixels` and `image_code`. In lines with a value in `pixels`, the codes
are of an image's pixels (docs/pixels.md); in all others, they are of bytes.

Names are data. Tab, line feed, carriage return and backslash in a field are written \t \n \r \\,
and a `#` that begins a line \#; nothing else is changed, so names are read as they were written.
Tables made by hand are read as well: a header `Name,ISCC` and commas or semicolons.

**No line with a code is ever lost**, even if files were concatenated, with or without a final line
feed, or have lone carriage returns as line ends. Every reader calls `classify`, and codes decide:
only a line without a code is a comment or a header. A line that was run together with the next one
is invalid: it has that line's code in its last field, or more fields than the header.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from itertools import count
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import NamedTuple, TextIO, TypeVar

import codes
from messages import InputError, explaining, quote

COLUMNS = ("#name", "iscc", "filesize", "datahash", "data_code", "instance_code", "note")
PIXEL_COLUMNS = ("pixels", "image_code")

Line = TypeVar("Line")  # what `read` returns for each line

# Column names, in order of preference; some are from tables of other tools.
NAMES = ("name", "file_id", "filename")
CODES = ("iscc", "iscc_hash")
KNOWN_COLUMNS = {"name", *COLUMNS[1:], *PIXEL_COLUMNS}
# A table of another tool with this column has one row per pair, so it repeats datasets.
ROWS_ARE_PAIRS = "match_iscc_hash"

# Below these sizes (bytes), a Data-Code is of little use: it counts content-defined chunks of about
# a kilobyte each, and one flipped byte changes half or a tenth of them.
TINY = 2_048
SMALL = 20_480
NOTES = ("empty", "tiny", "small")
FEATURELESS = "featureless"  # an image or plane without an Image-Code

LONGEST_LINE = 1_000_000  # characters; longer lines are from binary files
BOM = "\ufeff"
MOST_PARTS = 100  # of a name, between slashes, that are removed one by one

NUMBER_OF_BYTES = re.compile("[0-9]{1,18}")
MULTIHASH = "1e20"  # the beginning of a datahash: BLAKE3, 32 bytes
BLAKE3_MULTIHASH = re.compile("1[eE]20[0-9a-fA-F]{64}")
PIXELS = re.compile(
    "imagewalk (?:u?int(?:8|16|32|64)|float(?:16|32|64)) "
    + "".join(f"{axis}[1-9][0-9]{{0,17}}" for axis in "zctyx")
)
MOST_IMAGE_CODES = 16  # per image: 8 orientations, each inverted or not
IMAGE_CODE = f"{codes.PREFIX}{codes.IMAGE.pattern}"
IMAGE_CODES = re.compile(f"{IMAGE_CODE}(?: {IMAGE_CODE}){{0,{MOST_IMAGE_CODES - 1}}}")
# The beginning of a code or a hash, intact or damaged. For codes without a prefix, see below.
BEGINNING_OF_CODE = re.compile(r"ISCC:[\w-]|1e20[0-9a-f]{40}|\) = [0-9a-f]{64}", re.IGNORECASE)

ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
UNESCAPES = {written: chr(plain) for plain, written in ESCAPES.items()} | {"\\#": "#"}

# Names come from file systems and may contain bytes that are not UTF-8; these are preserved.
TEXT = {"encoding": "utf-8", "errors": "surrogateescape", "newline": "\n"}


class LineError(ValueError):
    """A line that is not an entry; the message says why. `name` is the name it seems to have."""

    def __init__(self, reason: str, name: str | None = None):
        super().__init__(reason)
        self.name = name


class Entry(NamedTuple):
    """A line of a manifest. Fields that a manifest does not contain are None.

    `iscc` is an ISCC-CODE, WIDE or SUM, with its prefix and in upper case; `filesize` is in bytes;
    `datahash` is the BLAKE3 multihash in hex; `data_code` and `instance_code` are the 256-bit
    ISCC-UNITs. `noted` is the note, if the manifest does not contain the size.

    If `pixels` is set, the codes are of pixels, of that type and those sizes. `image_code` is that
    of one image or plane, or several codes separated by spaces; `is_featureless` means that there
    can be none.
    """

    name: str
    iscc: str
    filesize: int | None = None
    datahash: str | None = None
    data_code: str | None = None
    instance_code: str | None = None
    noted: str | None = None
    pixels: str | None = None
    image_code: str | None = None
    is_featureless: bool = False

    @property
    def note(self) -> str:
        """Remarks on the codes: `size_note`, and whether the image is featureless."""
        return ", ".join(filter(None, (self.size_note, FEATURELESS * self.is_featureless)))

    @property
    def size_note(self) -> str:
        """What the size means for similarity: `empty`, `tiny`, `small`, or nothing."""
        if self.filesize is None:
            return self.noted if self.noted in NOTES else ""
        if self.filesize >= SMALL:
            return ""
        if self.filesize >= TINY:
            return "small"
        return "tiny" if self.filesize else "empty"

    @property
    def is_comparable(self) -> bool:
        """Whether the Data-Code is meaningful; below TINY bytes, only equality counts."""
        return self.size_note not in ("empty", "tiny")


class Row(NamedTuple):
    """The fields of an entry, as written except for the name; empty if absent."""

    name: str
    code: str
    filesize: str
    datahash: str
    data_code: str
    instance_code: str
    note: str
    pixels: str
    image_code: str


class Table:
    """The columns of a table, in lower case and without #, and their separator."""

    def __init__(self, columns: list[str], separator: str):
        self.columns, self.separator = columns, separator
        self.rows_are_pairs = ROWS_ARE_PAIRS in columns
        names = [next(each for each in kind if each in columns) for kind in (NAMES, CODES)]
        self.is_escaped = separator == "\t" and names[0] == "name"
        self.last_is_name = names[0] == columns[-1]
        self.last_is_code = columns[-1] in (names[1], "image_code", "from")
        # An empty field is added to each line, for columns that the table does not have.
        places = {name: place for place, name in enumerate(columns)}
        wanted = [*names, *COLUMNS[2:], *PIXEL_COLUMNS]
        self.places = tuple(places.get(name, len(columns)) for name in wanted)  # of Row's fields
        self.select = itemgetter(*self.places)

    def is_like(self, other: "Table") -> bool:
        return (self.columns, self.separator) == (other.columns, other.separator)

    def row(self, line: str) -> Row:
        """The fields of an entry.

        Raises LineError if the number of fields differs from the header, or if a field is not valid
        for its column. The code itself is not checked.
        """
        values = split(line, self.separator)
        if len(values) != len(self.columns):
            raise LineError(
                f"expected {len(self.columns)} columns as in the header, found {len(values)}"
            )
        last = values[-1]
        values.append("")
        row = Row._make(self.select(values))
        if last and not self.last_is_code and contains_code(last):
            if self.last_is_name or not is_code(last):
                raise LineError(
                    "expected one line, found two that were run together: the column "
                    f"{self.columns[-1]} contains a code",
                    row.name,
                )
        if row.filesize and not NUMBER_OF_BYTES.fullmatch(row.filesize):
            raise LineError(
                f"expected a number of bytes in the column filesize, found {quote(row.filesize)}",
                row.name,
            )
        if row.datahash and not BLAKE3_MULTIHASH.fullmatch(row.datahash):
            raise LineError(
                "expected a BLAKE3 multihash, 1e20 and 64 hexadecimal digits, in the column "
                f"datahash, found {quote(row.datahash)}",
                row.name,
            )
        if row.pixels and not PIXELS.fullmatch(row.pixels):
            raise LineError(
                "expected imagewalk, a type and five sizes in the column pixels, found "
                f"{quote(row.pixels)}",
                row.name,
            )
        if row.image_code and not IMAGE_CODES.fullmatch(row.image_code):
            raise LineError(
                f"expected at most {MOST_IMAGE_CODES} Image-Codes of 256 bits, ISCC:EED..., in the "
                "column image_code, one space between them, found "
                f"{not_image_codes(row.image_code)}",
                row.name,
            )
        if self.is_escaped and "\\" in row.name:
            return row._replace(name=unescape(row.name))
        return row


class Kind(Enum):
    """The kinds of a line that is not a header."""

    COMMENT = "comment"
    ENTRY = "entry"


def classify(
    line: str, table: Table | None, first: bool, ended_by_nul: bool = False
) -> Table | Kind:
    """Classify a line: the header of a table, a comment, or an entry. Raises LineError.

    `table` is the table that contains the line, if any; `first` is whether only comments came
    before it. Names may contain line ends only if lines are `ended_by_nul`. A header has a column
    for names and one for codes, each column once, and contains no code. A second header may only
    have the columns of a manifest, and those of the table before it.
    """
    if not ended_by_nul and ("\r" in line or "\0" in line):
        raise LineError(
            "expected lines that end with a line feed, found a carriage return or a NUL"
        )
    if "ISCC:" in line and not line.startswith("#"):
        return Kind.ENTRY  # the common case
    header = header_of(line)
    has_code = (header is not None or line.startswith("#")) and contains_code(line)
    if header and not has_code:
        names = set(header.columns)
        if len(names) < len(header.columns) or names.issuperset(CODES):
            raise LineError("expected a header with one column for codes and no column twice")
        if first or names <= KNOWN_COLUMNS.union(table.columns if table else ()):
            return header
        raise LineError("expected a second header with columns of the first, found another column")
    if not line.startswith("#"):
        return Kind.ENTRY
    if has_code:
        raise LineError(
            r"it begins with # and contains a code: expected a name that begins with \#, or a "
            "comment without a code"
        )
    return Kind.COMMENT


def header_of(line: str) -> Table | None:
    """The table whose header a line is, with at least a column for names and one for codes."""
    lowered = line.lower()
    if "iscc" not in lowered:
        return None
    for separator in "\t,;":
        try:
            columns = [field.strip().removeprefix("#") for field in split(lowered, separator)]
        except LineError:
            continue
        if not (set(columns).isdisjoint(NAMES) or set(columns).isdisjoint(CODES)):
            return Table(columns, separator)
    return None


def not_image_codes(field: str) -> str:
    """What is wrong with a field: the first item that is not an Image-Code, or their number."""
    wrong = (quote(each) for each in field.split(" ") if not re.fullmatch(IMAGE_CODE, each))
    return next(wrong, f"{field.count(' ') + 1}")


def contains_code(text: str) -> bool:
    """Whether a text contains anything that a reader takes for a code, intact or damaged.

    Codes of 64 bits only count with their prefix: `is_code` requires it as well.
    """
    if BEGINNING_OF_CODE.search(text):
        return True
    return codes.LONG.search(text.upper().replace("-", "")) is not None


def is_code(text: str) -> bool:
    """Whether a text is exactly a code or a BLAKE3 hash."""
    digits = codes.digits_of(text)
    has_prefix = text.strip()[: len(codes.PREFIX)].upper() == codes.PREFIX
    is_one = codes.LONG.fullmatch(digits) or (has_prefix and codes.is_valid(digits))
    return bool(is_one or BLAKE3_MULTIHASH.fullmatch(text))


def split(line: str, separator: str) -> list[str]:
    """The fields of a line; fields between commas or semicolons may be quoted. Raises LineError."""
    if separator == "\t":
        return line.split("\t")
    if '"' not in line:
        return [field.strip() for field in line.split(separator)]
    try:
        [fields] = csv.reader([line], delimiter=separator, skipinitialspace=True, strict=True)
    except (csv.Error, ValueError):
        raise LineError(f"expected fields with {separator} between them, quoted or not") from None
    return fields


def entry_of(table: Table, line: str) -> Entry:
    """Read a line of a table. Raises LineError."""
    return read_entry(table.row(line))


def read(
    path: Path,
    name: str,
    may_be_empty: bool = False,
    read_row: Callable[[Table, str], Line] = entry_of,
) -> list[Line]:
    """Read a manifest, in the order of its lines; `name` is the user's name for it.

    Raises InputError, with the line number, for a line that is not an entry. Also raises it for a
    file without a header with the columns `name` and `iscc`, and for one without entries, unless it
    `may_be_empty` after its header.
    """
    reader = Reader(name, read_row)
    entries = [
        entry
        for number, line in read_lines(path, name)
        if (entry := reader.read(number, line)) is not None
    ]
    if not (entries or (may_be_empty and reader.table)):
        raise no_entry(name)
    return entries


class Reader:
    """Reads the lines of one manifest, one after the other; `name` is the user's name for it."""

    def __init__(self, name: str, read_row: Callable[[Table, str], Line] = entry_of):
        self.name, self.read_row = name, read_row
        self.table: Table | None = None
        self.seen: set[Line] = set()

    def read(self, number: int, line: str) -> Line | None:
        """The entry in a line; None if it is a header or a comment, or repeats an entry.

        Raises InputError, with the line number, for any other line.
        """
        try:
            kind = classify(line, self.table, first=self.table is None)
            if isinstance(kind, Table):
                self.table = kind
            elif kind is Kind.ENTRY and self.table is None:
                raise LineError(
                    "expected the header of a manifest with the columns #name and iscc, found "
                    f"{quote(line)}; choose the output of ISCC manifest or ISCC pixel manifest"
                )
            elif kind is Kind.ENTRY:
                entry = self.read_row(self.table, line)
                if not self.table.rows_are_pairs:
                    return entry
                if entry not in self.seen:
                    self.seen.add(entry)
                    return entry
        except LineError as error:
            called = "" if error.name is None else f", {quote(error.name)}"
            raise InputError(f"{quote(self.name)}, line {number}{called}: {error}") from None
        return None


def no_entry(name: str) -> InputError:
    return InputError(f"{quote(name)}: expected a manifest, but it has no entry")


def read_entry(row: Row) -> Entry:
    """Make an entry of a row. Raises LineError."""
    digits = digits_of(row.code, row.name)
    if not digits.startswith(codes.BOTH_UNITS):
        raise LineError(f"expected an ISCC-CODE, found an ISCC-UNIT, {quote(row.code)}", row.name)
    return Entry(
        row.name,
        codes.PREFIX + digits,
        int(row.filesize) if row.filesize else None,
        row.datahash.lower() or None,
        row.data_code or None,
        row.instance_code or None,
        None if row.filesize else row.note.partition(",")[0] or None,
        row.pixels or None,
        row.image_code or None,
        row.note.endswith(FEATURELESS),
    )


def ways_up(name: str) -> Iterator[str]:
    """A name, and the part of it before each slash, longest first.

    One of these is the image that a line of pixels belongs to: `b.tif/0/z1c0t0` belongs to `b.tif`.
    """
    end = len(name)
    for _ in range(MOST_PARTS):
        yield name[:end]
        end = name.rfind("/", 0, end)
        if end <= 0:
            break


def digits_of(code: str, name: str | None) -> str:
    """The digits of a code in upper case. Raises LineError, with the name, if it is not a code."""
    try:
        return codes.normalize(code)
    except codes.CodeError as error:
        raise LineError(f"{quote(code)} is not an ISCC: {error}", name) from None


def read_lines(path: Path, name: str) -> Iterator[tuple[int, str]]:
    """The lines of a text file with their numbers, without line ends, blank lines and BOM."""
    with explaining("read", name), path.open(**TEXT) as text:
        yield from lines_of(text, name)


def lines_of(text: TextIO, name: str) -> Iterator[tuple[int, str]]:
    """As `read_lines`, for an open file."""
    for number in count(1):
        line = text.readline(LONGEST_LINE + 3)  # with BOM or carriage return, and line feed
        if not line:
            return
        line = without_end(line, number, name)
        if line.strip():
            yield number, line


def without_end(line: str, number: int, name: str) -> str:
    """A line without its end, and the first one without BOM. Raises InputError if too long."""
    if number == 1:
        line = line.removeprefix(BOM)
    line = line.removesuffix("\n").removesuffix("\r")
    if len(line) > LONGEST_LINE:
        raise InputError(
            f"{quote(name)}, line {number}: expected a line of text, found more than "
            f"{LONGEST_LINE:,} characters without a line feed"
        )
    return line


def lines(entries: Sequence[Entry]) -> Iterator[str]:
    """The lines of a manifest; with the columns for images if any entry is of one."""
    columns, fields = COLUMNS, COLUMNS[1:]
    if any(entry.pixels or entry.image_code for entry in entries):
        columns, fields = (*COLUMNS, *PIXEL_COLUMNS), (*COLUMNS[1:], *PIXEL_COLUMNS)
    return table_lines(columns, map(attrgetter("name", *fields), entries))


def table_lines(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """The lines of a table with a header, names escaped; None is an empty field."""
    yield "\t".join(columns) + "\n"
    for row in rows:
        fields = [field if isinstance(field, str) else written(field) for field in row]
        line = "\t".join(fields)
        if "\\" in line or not "".join(fields).isprintable():  # rare, and slow
            line = "\t".join(map(escape, fields))
        yield f"\\{line}\n" if line.startswith("#") else f"{line}\n"


def written(value: object) -> str:
    return "" if value is None else str(value)


def escape(field: str) -> str:
    return field.translate(ESCAPES)


def unescape(field: str) -> str:
    """Undo `escape`. Raises LineError for an invalid escape sequence."""
    if "\\" not in field:
        return field

    def plain(match: re.Match[str]) -> str:
        if match[0] not in UNESCAPES:
            raise LineError(
                f"invalid escape sequence {quote(match[0])}; write a backslash as \\\\", field
            )
        return UNESCAPES[match[0]]

    return re.sub(r"\\.?", plain, field, flags=re.DOTALL)
