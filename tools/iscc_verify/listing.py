r"""What a manifest lists, in whatever format it is: each line an entry, or invalid for a reason.

The format is found by looking. These are read, with a BOM, CRLF, blank lines, comments (#) and
codes in either letter case:

    #name iscc ...                      the manifest of iscc_sum, or any table whose header names
                                        a column for names and one for codes
    ISCC:... *name, ISCC:...  name      iscc-sum; behind a \ the name is escaped, as sha256sum does
    ISCC-SUM (name) = ISCC:...          iscc-sum --tag
      ISCC:...                          iscc-sum --units: indented, below its file's line
    any of these ended by NUL           iscc-sum -z
    1e20...  name, BLAKE3 (name) = ...  the BLAKE3 hash, as datahash or as b3sum --tag writes it
    name code, code name                two columns
    code                                alone: of the only dataset, or of one with that content
    {"iscc": ..., "filename": ...}      JSON: an object, an array, or an object a line

Digests of other kinds (md5sum, sha256sum, SFV, BagIt, hashdeep) are invalid, and called by name.
"""

import io
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import codes
import manifest
from manifest import BLAKE3_MULTIHASH, InputError, shown

# Columns of a table that has a header; iscc_hash and file_id stand in the table of another tool,
# which has a row for each pair, so that a dataset may stand there several times.
NAME_COLUMNS = ("#name", "name", "file_id", "filename")
CODE_COLUMNS = ("iscc", "iscc_hash")
ROWS_ARE_PAIRS = "match_iscc_hash"

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
BEGINNING = 8192  # bytes that are looked at to tell how lines end; no name is as long
BOM = b"\xef\xbb\xbf"
MULTIHASH = "1e20"  # BLAKE3, 32 bytes
DATA_UNIT = "GA"  # how a Data-Code begins

ESCAPED = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


class Listed(NamedTuple):
    """An entry: what a dataset is expected to be.

    line        its number in the manifest, from 1; in a JSON array the number of the object
    name        None for a code that stands alone
    expected    a code that holds an Instance-Code, in capitals with its prefix, or a datahash
    filesize    bytes, None where the manifest does not say
    datahash    what more the manifest says of the BLAKE3 hash, or None
    """

    line: int
    name: str | None
    expected: str
    filesize: int | None = None
    datahash: str | None = None

    @property
    def hashes(self) -> codes.Code:
        """The Data-Code, of 0 bytes where only the hash is listed, and the Instance-Code."""
        if self.expected.startswith(MULTIHASH):
            return codes.Code(b"", bytes.fromhex(self.expected[len(MULTIHASH) :]))
        return codes.parse(self.expected)


class Invalid(NamedTuple):
    """A line that is no entry, and why; `name` is whose line it seems to be, if anyone's."""

    line: int
    name: str | None
    reason: str


class Listing(NamedTuple):
    """All lines of a manifest but comments, in their order."""

    entries: list[Listed]
    invalid: list[Invalid]


class LineError(ValueError):
    """A line that is no entry; the message says why, `name` whose line it seems to be."""

    def __init__(self, reason: str, name: str | None = None):
        super().__init__(reason)
        self.name = name


def read(path: Path, name: str) -> Listing:
    """Read a manifest that the user calls `name`; InputError if there is no entry in it at all."""
    return listing(lines(path, name), name)


def read_text(text: str, name: str) -> Listing:
    """The same for a manifest that was typed or pasted."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    return listing(enumerate(lines, start=1), name)


def lines(path: Path, name: str) -> Iterator[tuple[int, str]]:
    """The lines of a manifest with their numbers.

    Where NUL ends the first of them, as `iscc-sum -z` does it, it ends all. The lines of JSON may
    be as long as they like.
    """
    try:
        with path.open("rb") as stream:
            beginning = stream.read(BEGINNING)
            if stream.seekable():
                stream.seek(0)
            else:  # a pipe, whose beginning does not come twice
                stream = io.BytesIO(beginning + stream.read())
            beginning = beginning.removeprefix(BOM)
            if beginning.lstrip()[:1] in (b"[", b"{"):
                end = b"\n"
            elif is_ended_by_nul(beginning):
                end = b"\0"
            else:
                yield from manifest.lines_of(io.TextIOWrapper(stream, **manifest.TEXT), name)
                return
            content = stream.read().removeprefix(BOM)
    except OSError as error:
        raise InputError(f"cannot read {shown(name)}: {error.strerror}") from None
    for number, record in enumerate(content.split(end), start=1):
        yield number, record.decode("utf-8", "surrogateescape").removesuffix("\r")


def is_ended_by_nul(beginning: bytes) -> bool:
    """Whether NUL stands behind the first entry of a file."""
    first, nul, _ = beginning.partition(b"\0")
    if not nul or b"\n" in first:
        return False
    try:
        entry_of_line(1, first.decode("utf-8", "surrogateescape"))
    except LineError:
        return False
    return True


def listing(numbered: Iterable[tuple[int, str]], name: str) -> Listing:
    """What the lines list; InputError if there is not one entry among them."""
    result = Listing([], [])
    table: Table | None = None
    before: Listed | None = None  # what the line before this one lists
    for number, line in read_json(iter(numbered), result):
        if not line.strip():
            continue
        first = not (table or result.entries or result.invalid)
        if first or "iscc" in line:
            header = Table.of(line, first)
            if header:
                table = header
                continue
        if line.startswith("#"):
            continue
        above, before = before, None
        try:
            if table:
                entry = table.entry(number, line)
            elif (unit_line := UNIT_LINE.fullmatch(line)) and (result.entries or result.invalid):
                if above is None:
                    raise LineError("a unit, and the line above it is no entry")
                check_unit(unit_line[1], above)
                before = above
                continue
            else:
                entry = entry_of_line(number, line)
        except LineError as error:
            result.invalid.append(Invalid(number, error.name, str(error)))
            continue
        before = entry
        if table is None or table.pairs is None or not table.seen(entry):
            result.entries.append(entry)
    if not result.entries:
        why = "it has no entry"
        if result.invalid:
            first = result.invalid[0]
            why = f"it has no valid entry; line {first.line}: {first.reason}"
        raise InputError(f"{shown(name)}: expected a manifest, but {why}")
    return result


class Table:
    """A table with a header: where its columns are."""

    def __init__(self, columns: list[str]):
        self.columns = columns
        self.name = next(columns.index(each) for each in NAME_COLUMNS if each in columns)
        self.code = next(columns.index(each) for each in CODE_COLUMNS if each in columns)
        self.filesize = columns.index("filesize") if "filesize" in columns else None
        self.datahash = columns.index("datahash") if "datahash" in columns else None
        self.is_ours = columns[self.name] in ("#name", "name")
        self.pairs: set[tuple[str | None, str]] | None = (
            set() if ROWS_ARE_PAIRS in columns else None
        )

    @classmethod
    def of(cls, line: str, first: bool) -> "Table | None":
        """The table whose header a line is; without # only where no other line was before."""
        columns = line.lower().split("\t")
        has_name = "#name" in columns or (first and any(each in columns for each in NAME_COLUMNS))
        if not has_name or not any(each in columns for each in CODE_COLUMNS):
            return None
        return cls(columns)

    def entry(self, number: int, line: str) -> Listed:
        fields = line.split("\t")
        if len(fields) != len(self.columns):
            raise LineError(f"{len(fields)} columns, where the header has {len(self.columns)}")
        name = fields[self.name]
        if self.is_ours:
            try:
                name = manifest.unescape(name)
            except ValueError as error:
                raise LineError(str(error), name) from None
        size = datahash = None
        if self.filesize is not None:
            size = fields[self.filesize] or None
        if self.datahash is not None:
            datahash = fields[self.datahash] or None
        if size and not manifest.NUMBER_OF_BYTES.fullmatch(size):
            raise LineError(f"{shown(size)} in the column filesize is no number of bytes", name)
        if datahash is not None and not BLAKE3_MULTIHASH.fullmatch(datahash):
            raise LineError(f"{shown(datahash)} is no BLAKE3 datahash", name)
        return entry_of(number, name, fields[self.code], size and int(size), datahash)

    def seen(self, entry: Listed) -> bool:
        """Whether a table of pairs has had this entry already."""
        key = entry.name, entry.expected
        before = key in self.pairs
        self.pairs.add(key)
        return before


def entry_of_line(number: int, line: str) -> Listed:
    """The entry on a line without a header; raises LineError."""
    if line.lstrip().startswith("{"):
        with suppress(NoJSONError):
            return entry_of_json(number, parsed_json(line))
    # Behind a backslash, a checksum file has a name with escapes.
    escaped = line.startswith("\\")
    text = line[1:] if escaped else line
    if match := ISCC_SUM_TAG.fullmatch(text):
        return entry_of(number, plain(match[1], escaped), match[2])
    if match := BLAKE3_TAG.fullmatch(text):
        return entry_of(number, plain(match[1], escaped), f"{MULTIHASH}{match[2]}")
    if match := OTHER_TAG.fullmatch(text):
        raise LineError(f"{match[1]} digests; ISCC codes are needed")
    if (match := CODE_AND_NAME.fullmatch(text)) and is_code(match[1]):
        return entry_of(number, plain(match[2], escaped), match[1])
    # Anything else has no escapes.
    if is_code(line.strip()):
        return entry_of(number, None, line.strip())
    columns = line.split("\t") if "\t" in line else line.strip().split(" ", 1)
    if len(columns) == 2:
        first, second = columns
        if "\t" not in line and not is_code(first):
            first, _, second = line.strip().rpartition(" ")
            first = first.rstrip(" ")  # columns may be aligned
        if is_code(first) and is_code(second):
            raise LineError("two codes, and no name")
        if is_code(first):
            return entry_of(number, second, first)
        if is_code(second):
            return entry_of(number, first, second)
    raise LineError(why_not(text))


def is_code(text: str) -> bool:
    """Whether a text is a code, or a datahash, to the last digit."""
    return bool(BLAKE3_MULTIHASH.fullmatch(text) or codes.whole(codes.digits_of(text)))


def why_not(text: str) -> str:
    """What a line seems to be that is no entry."""
    if (match := DIGEST.match(text)) and len(match[1]) in DIGESTS:
        return f"{DIGESTS[len(match[1])]}; ISCC codes are needed"
    if text.startswith("%%%%"):
        return "the header of hashdeep; ISCC codes are needed"
    if text.lower().startswith("bagit-version"):
        return "a file of BagIt; ISCC codes are needed"
    if text.startswith(";") or SFV.fullmatch(text):
        return "CRC-32 checksums as SFV files have them; ISCC codes are needed"
    for match in PERHAPS_A_CODE.finditer(text):
        try:
            codes.parse(match[0])
        except codes.CodeError as error:
            return f"no ISCC: {error}; found {shown(match[0])}"
    return f"expected a name and an ISCC code, found {shown(text)}"


def entry_of(
    number: int,
    name: str | None,
    text: str,
    filesize: int | None = None,
    datahash: str | None = None,
) -> Listed:
    """The entry of a name and its code, or datahash; raises LineError."""
    datahash = datahash and datahash.lower()
    if BLAKE3_MULTIHASH.fullmatch(text):
        return Listed(number, name, text.lower(), filesize, datahash)
    try:
        digits = codes.checked(text)
    except codes.CodeError as error:
        raise LineError(f"no ISCC: {error}; found {shown(text)}", name) from None
    if digits.startswith(DATA_UNIT):
        raise LineError("a Data-Code alone: alike is not the same", name)
    return Listed(number, name, codes.PREFIX + digits, filesize, datahash)


def check_unit(text: str, entry: Listed) -> None:
    """Raise LineError if a line of --units is no unit, or contradicts the entry above it."""
    try:
        unit = codes.parse(text)
    except codes.CodeError as error:
        raise LineError(f"no ISCC: {error}; found {shown(text)}", entry.name) from None
    for known, further in zip(entry.hashes, unit, strict=True):
        length = min(len(known), len(further))
        if known[:length] != further[:length]:
            raise LineError(f"{shown(text)} contradicts {shown(entry.expected)}", entry.name)


def plain(name: str, escaped: bool) -> str:
    """A name as it is, where sha256sum's escapes may stand in it.

    A folder has a slash at the end, as iscc-sum --tree writes it.
    """
    name = name.rstrip("/") or name
    if not escaped:
        return name
    return re.sub(r"\\.", lambda match: ESCAPED.get(match[0], match[0]), name)


def read_json(numbered: Iterator[tuple[int, str]], result: Listing) -> Iterable[tuple[int, str]]:
    """Add the entries of a JSON document, an array or one object; give the lines if it is none."""
    first = next((each for each in numbered if is_no_comment(each[1])), None)
    if first is None:
        return ()
    if first[1].lstrip()[0] not in "[{":
        return chain([first], numbered)
    lines = [first, *numbered]
    try:
        document = parsed_json("\n".join(line for _, line in lines))
    except NoJSONError:
        return lines  # objects, one a line, perhaps
    for number, item in enumerate(document if isinstance(document, list) else [document], start=1):
        try:
            result.entries.append(entry_of_json(number, item))
        except LineError as error:
            result.invalid.append(Invalid(number, error.name, str(error)))
    return ()


def is_no_comment(line: str) -> bool:
    """Whether there is something on a line; a # may begin the header of a table as well."""
    return bool(line.strip()) and (not line.startswith("#") or "\t" in line)


def not_text(name: str) -> bool:
    """Whether a name has halves of characters, which no file can hold."""
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return True
    return False


class NoJSONError(Exception):
    """A text is no JSON."""


def parsed_json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise NoJSONError from None


def entry_of_json(number: int, item: object) -> Listed:
    """The entry in a JSON object; raises LineError."""
    if not isinstance(item, dict):
        raise LineError(f"expected a JSON object, found {shown(json.dumps(item))}")
    name, iscc = item.get("filename") or item.get("name"), item.get("iscc")
    if not isinstance(name, str) or not isinstance(iscc, str):
        raise LineError("expected the keys iscc and filename, or name, with texts")
    if not_text(name):
        raise LineError(f"the name {shown(name)} is no text")
    size, datahash = item.get("filesize"), item.get("datahash")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
        raise LineError("expected a number of bytes as filesize", name)
    if datahash is not None and not (
        isinstance(datahash, str) and BLAKE3_MULTIHASH.fullmatch(datahash)
    ):
        raise LineError("expected a BLAKE3 hash, 1e20 and 64 digits, as datahash", name)
    return entry_of(number, name, iscc, size, datahash)
