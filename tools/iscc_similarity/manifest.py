r"""The ISCC manifest: a table with one dataset a line, which people and all three tools read.

UTF-8, line feeds, tab-separated, the header first:

    #name  iscc  filesize  datahash  data_code  instance_code  note

Names are data. Tab, line feed, carriage return and backslash in a field are written \t \n \r \\,
and a `#` that begins a line \#; nothing else is touched, so a name comes back as it went in.
A reader needs the columns `name` and `iscc`, in any order. Other lines that begin with `#` are
comments, so manifests put end to end are a manifest.
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO, NamedTuple, TextIO

import codes

COLUMNS = ("#name", "iscc", "filesize", "datahash", "data_code", "instance_code", "note")

# Below these sizes (bytes) a Data-Code says little: the content-defined chunks that it counts
# are about a kilobyte each, and one flipped byte already changes half or a tenth of them.
TINY = 2_048
SMALL = 20_480
# What is longer is no line of a manifest, but some binary file.
LONGEST_LINE = 1_000_000

NOTES = ("empty", "tiny", "small")

NUMBER_OF_BYTES = re.compile("[0-9]{1,18}")
BLAKE3_MULTIHASH = re.compile("1[eE]20[0-9a-fA-F]{64}")

ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
UNESCAPES = {written: chr(plain) for plain, written in ESCAPES.items()} | {"\\#": "#"}

# Names come from file systems and may hold bytes that are no UTF-8; they go out as they came in.
TEXT = {"encoding": "utf-8", "errors": "surrogateescape", "newline": "\n"}


class InputError(Exception):
    """Something that the user gave cannot be used; the message is one sentence for the user."""


class Entry(NamedTuple):
    """A line of a manifest. What a manifest does not say is None.

    `iscc` is an ISCC-CODE, WIDE or SUM, with its prefix and in capitals, `filesize` is in bytes,
    `datahash` the BLAKE3 multihash in hex, `data_code` and `instance_code` the 256-bit ISCC-UNITs.
    `noted` is the note of a manifest that does not say the size.
    """

    name: str
    iscc: str
    filesize: int | None = None
    datahash: str | None = None
    data_code: str | None = None
    instance_code: str | None = None
    noted: str | None = None

    @property
    def note(self) -> str:
        """What the size means for similarity: `empty`, `tiny`, `small`, or nothing."""
        if self.filesize is None:
            return self.noted if self.noted in NOTES else ""
        if self.filesize >= SMALL:
            return ""
        if self.filesize >= TINY:
            return "small"
        return "tiny" if self.filesize else "empty"

    @property
    def alike_means_something(self) -> bool:
        """Whether the Data-Code can be compared; below TINY bytes only equality counts."""
        return self.note not in ("empty", "tiny")


def write(path: Path, entries: Iterable[Entry]) -> None:
    """Write a manifest, in the order of the entries."""
    rows = (
        (e.name, e.iscc, e.filesize, e.datahash, e.data_code, e.instance_code, e.note)
        for e in entries
    )
    write_table(path, COLUMNS, rows)


def read(path: Path, name: str, may_be_empty: bool = False) -> list[Entry]:
    """Read a manifest, in the order of its lines; `name` is what the user calls it.

    Raises InputError, with the line number, for a line that is no entry, for a file without a
    header that names the columns `name` and `iscc`, and for one without a single entry, unless it
    `may_be_empty` behind its header.
    """
    entries = []
    header: dict[str, int] = {}
    for number, line in lines(path, name):
        fields = line.split("\t")
        if is_header(fields, first=not header and not line.startswith("#")):
            names = [field.lstrip("#") for field in fields]
            if len(set(names)) < len(names):
                raise InputError(
                    f"{line_of(name, number)}: expected columns with different names in the header"
                )
            header = {column: number for number, column in enumerate(names)}
        elif line.startswith("#"):
            continue
        elif not header:
            raise InputError(
                f"{line_of(name, number)}: expected the header of a manifest, tab-separated with "
                f"the columns #name and iscc, but found {shown(line)}"
            )
        elif len(fields) != len(header):
            raise InputError(
                f"{line_of(name, number)}: expected {len(header)} columns as in the header, found "
                f"{len(fields)}"
            )
        else:
            try:
                entries.append(read_entry(fields, header))
            except ValueError as error:
                called = shown(fields[header["name"]])
                raise InputError(f"{line_of(name, number)}, {called}: {error}") from None
    if not entries and not (header and may_be_empty):
        raise InputError(f"{shown(name)}: expected a manifest, but it has no entry")
    return entries


def line_of(name: str, number: int) -> str:
    """A line of a file, as messages call it."""
    return f"{shown(name)}, line {number}"


def is_header(fields: list[str], first: bool) -> bool:
    """Whether a line names the columns.

    An entry's `iscc` field is a code, so a line with `iscc` and `#name` among its fields is a
    header wherever it stands; one with `iscc` and `name` is taken for one only at the beginning.
    """
    return "iscc" in fields and ("#name" in fields or (first and "name" in fields))


def read_entry(fields: list[str], header: dict[str, int]) -> Entry:
    """Make an entry of a line's fields; `header` says which column is where.

    Raises ValueError for a field that cannot be what its column says.
    """
    known = {column: fields[number] for column, number in header.items()}
    name, iscc = unescape(known["name"]), known["iscc"]
    try:
        digits = codes.checked(iscc)
    except codes.CodeError as error:
        raise ValueError(f"no ISCC: {error}; found {shown(iscc)}") from None
    if not digits.startswith(codes.BOTH_UNITS):
        raise ValueError(f"expected an ISCC-CODE, found a single unit, {shown(iscc)}")
    size = known.get("filesize") or None
    if size is not None and not NUMBER_OF_BYTES.fullmatch(size):
        raise ValueError(f"{shown(size)} in the column filesize is no number of bytes")
    datahash = known.get("datahash") or None
    if datahash is not None and not BLAKE3_MULTIHASH.fullmatch(datahash):
        raise ValueError(
            f"{shown(datahash)} in the column datahash is no BLAKE3 multihash, 1e20 and 64 "
            "hexadecimal digits"
        )
    return Entry(
        name,
        codes.PREFIX + digits,
        None if size is None else int(size),
        datahash and datahash.lower(),
        known.get("data_code") or None,
        known.get("instance_code") or None,
        (known.get("note") or None) if size is None else None,
    )


def lines(path: Path, name: str) -> Iterator[tuple[int, str]]:
    """The lines of a text file with their numbers, without line ends, blank lines and BOM."""
    try:
        with path.open(**TEXT) as text:
            yield from lines_of(text, name)
    except OSError as error:
        raise InputError(f"cannot read {shown(name)}: {error.strerror}") from None


def lines_of(text: TextIO, name: str) -> Iterator[tuple[int, str]]:
    """The same of a file that is open."""
    for number in count(1):
        line = text.readline(LONGEST_LINE + 1)
        if not line:
            return
        if len(line) > LONGEST_LINE:
            raise InputError(
                f"{line_of(name, number)}: expected a line of text, found more than "
                f"{LONGEST_LINE:,} characters without an end of line"
            )
        if number == 1:
            line = line.removeprefix("\ufeff")
        line = line.removesuffix("\n").removesuffix("\r")
        if line.strip():
            yield number, line


def write_table(path: Path, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a tab-separated table with a header, names escaped; None is an empty field."""
    with whole_file(path) as out:
        out.write("\t".join(columns) + "\n")
        for row in rows:
            line = "\t".join(["" if field is None else escape(str(field)) for field in row])
            out.write(f"\\{line}\n" if line.startswith("#") else f"{line}\n")


def write_list(path: Path, names: Iterable[str]) -> None:
    """Write one name a line and nothing else, as Galaxy's tool Filter collection takes them."""
    with whole_file(path) as out:
        out.writelines(f"{name}\n" for name in names)


def check_names_of_list(names: Iterable[str]) -> None:
    """Raise InputError for a name that a list with one name a line cannot hold."""
    for name in names:
        if "\n" in name or "\r" in name:
            raise InputError(
                f"cannot put {shown(name)} on a list: a list has one name a line, and this name "
                "has a line break"
            )


def check_lists(names: Iterable[str], others: Iterable[str]) -> None:
    """Raise InputError if a name on one of two lists would be taken for one on the other.

    Filter collection takes no notice of blanks at the ends of a line: it would take a dataset
    called "a" for one that is listed as " a".
    """
    as_read = {name.strip(): name for name in others}
    for name in names:
        if name.strip() in as_read:
            raise InputError(
                f"cannot put {shown(name)} on a list: {shown(as_read[name.strip()])} belongs on "
                "the other one, and these lists are read by names alone, without blanks at the "
                "ends; rename one of them"
            )


def check_outputs(outputs: list[Path | None], inputs: list[Path | None]) -> None:
    """Raise InputError if one of the outputs cannot be a file, or would take the place of another
    that is an input or an output here: before any work is done, and anything is written."""
    taken = {real(path) for path in inputs if path}
    for path in outputs:
        if path is None or descriptor(path) is not None:
            continue
        try:
            if not path.parent.is_dir():
                raise InputError(f"cannot write {shown(str(path))}: its folder does not exist")
            if path.is_dir():
                raise InputError(f"cannot write {shown(str(path))}: it is a folder")
        except OSError as error:
            raise InputError(f"cannot write {shown(str(path))}: {error.strerror}") from None
        target = real(path)
        if not taken.isdisjoint([target, *target.parents]):
            raise InputError(f"cannot write {shown(str(path))}: it is read or written here already")
        taken.add(target)


def real(path: Path) -> Path:
    """The path without links; of links that lead to each other, the path as it is."""
    return Path(os.path.realpath(path))


def descriptor(path: Path) -> int | None:
    """The number of an open file that is named by its number, as /dev/stdout is."""
    name = {"/dev/stdout": "/dev/fd/1", "/dev/stderr": "/dev/fd/2"}.get(str(path), str(path))
    match = re.fullmatch("/dev/fd/([0-9]{1,9})|/proc/self/fd/([0-9]{1,9})", name)
    return int(match[1] or match[2]) if match else None


@contextmanager
def whole_file(path: Path, binary: bool = False) -> Iterator[IO]:
    """Open a file to write, of text or bytes, that is there whole or not at all.

    It gets its name when the block ends. Raises InputError if it cannot be written.
    """
    number = descriptor(path)
    part = target = None
    try:
        if number is not None:
            sys.stdout.flush()  # may be the same file, and what it holds back comes before
            opened: Path | int = os.dup(number)
        elif path.exists() and not path.is_file():
            opened = path  # a pipe, which cannot be swapped
        else:
            target = real(path)
            opened = part = target.with_name(f"{target.name[:50]}.{os.getpid()}.part")
        with open(opened, "wb") if binary else open(opened, "w", **TEXT) as out:  # noqa: PTH123
            yield out
        if part:
            part.replace(target)
    except OSError as error:
        raise InputError(f"cannot write {shown(str(path))}: {error.strerror}") from None
    except UnicodeEncodeError as error:
        raise InputError(f"cannot write {shown(error.object)}: it is no text") from None
    finally:
        if part:
            with suppress(OSError):  # it was never made, or has got its name
                part.unlink()


def escape(field: str) -> str:
    if field.isprintable() and "\\" not in field:
        return field  # as nearly all are, and much faster
    return field.translate(ESCAPES)


def unescape(field: str) -> str:
    """Undo `escape`; raises ValueError for a backslash that escapes nothing."""

    if "\\" not in field:
        return field

    def plain(match: re.Match[str]) -> str:
        written = match[0]
        if written not in UNESCAPES:
            raise ValueError(f"{shown(written)} means nothing in a name; a backslash is \\\\")
        return UNESCAPES[written]

    return re.sub(r"\\.?", plain, field, flags=re.DOTALL)


def counted(number: int, thing: str) -> str:
    """A number and what it counts, as messages say it: 1 dataset, 2,000 datasets."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def shown(text: str) -> str:
    """Text as a message quotes it: on one line, printable, and not endless."""
    text = text if len(text) <= 80 else text[:77] + "..."
    printable = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return '"' + "".join(printable) + '"'
