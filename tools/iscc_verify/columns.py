"""What manifests say, by column: millions of lines in arrays, many read at once.

A manifest is read in blocks of whole lines. Lines as iscc_sum and iscc_pixels write them are found
and decoded with NumPy, all of a block together: the right number of fields, nothing escaped, codes
in upper case with their prefix. Every other line is read by `manifest.Reader`, one by one, which
alone decides what is an error, and what else a line may be.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Protocol, Self, TypeVar

import numpy as np

import codes
import manifest
from manifest import MULTIHASH, Entry, Table
from messages import explaining

HASH_BYTES = 16  # of a wide Data-Code, and of a wide Instance-Code
HEADERS = {True: b"\x57\x00", False: b"\x55\x00"}  # of an ISCC-CODE, WIDE or SUM
LENGTHS = {
    wide: len(codes.PREFIX) + codes.characters(codes.HEADER_BYTES + sum(codes.KINDS[header]))
    for wide, header in HEADERS.items()
}
NO_SIZE = -1
BLAKE3_BYTES = 32
NO_HASH = MULTIHASH + "00" * BLAKE3_BYTES
MOST_DIGITS = 18  # of a size
BLOCK_BYTES = 1 << 22
LONGEST_LINE = 4 * manifest.LONGEST_LINE  # bytes
CODES_AT_ONCE = 10_000

# ASCII codes, and what they stand for.
LF, TAB, CR, BACKSLASH, NUMBER_SIGN = b"\n\t\r\\#"
LAST_CONTROL = CR  # NUL, tab and line feed are below it
ZERO = ord("0")
NOT_A_DIGIT = 255
DIGITS = np.frombuffer(codes.BASE32.encode(), np.uint8)
HEX_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)


def values_of_digits(digits: np.ndarray) -> bytes:
    """A table for bytes.translate: the value of each digit, NOT_A_DIGIT for any other byte."""
    values = np.full(256, NOT_A_DIGIT, dtype=np.uint8)
    values[digits] = np.arange(len(digits))
    return values.tobytes()


BASE32_VALUES, HEX_VALUES = map(values_of_digits, (DIGITS, HEX_DIGITS))
# Eight digits, a byte each, are brought together: pairs of 5 bits, then of 10, then of 20. The bits
# of the first and of the second of each pair, and how far the first moves:
STEPS = np.array(
    [
        (0x1F001F001F001F00, 0x001F001F001F001F, 3),
        (0x03FF000003FF0000, 0x000003FF000003FF, 6),
        (0x000FFFFF00000000, 0x00000000000FFFFF, 12),
    ],
    dtype=np.uint64,
)
PREFIX = np.frombuffer(codes.PREFIX.encode(), np.uint8)

# Notes as they are written: the place of the size's in SIZE_NOTES, and whether featureless.
SIZE_NOTES = ("", *manifest.NOTES)
WRITTEN_NOTES = {
    ", ".join(filter(None, (each, manifest.FEATURELESS * featureless))).encode(): (
        number,
        featureless,
    )
    for number, each in enumerate(SIZE_NOTES)
    for featureless in (False, True)
}
Value = TypeVar("Value")


@dataclass(frozen=True)
class Columns(Sequence[Entry]):
    """The entries of manifests, by column. Units are not kept. `columns[row]` is one entry.

    words         uint64, shape (n, 4): Data-Code and Instance-Code, narrow ones padded with zeros
    wide          bool, shape (n,)
    sizes         int64, shape (n,): bytes, or NO_SIZE
    noted         uint8, shape (n,): the note if the size is not known, by its place in SIZE_NOTES
    featureless   bool, shape (n,)
    hashes        uint64, shape (n, 4): the BLAKE3 hash, zeros if not known
    hashed        bool, shape (n,): whether it is known
    pixels, image_codes   texts, or None
    """

    names: list[str]
    words: np.ndarray
    wide: np.ndarray
    sizes: np.ndarray
    noted: np.ndarray
    featureless: np.ndarray
    hashes: np.ndarray
    hashed: np.ndarray
    pixels: list[str | None]
    image_codes: list[str | None]

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Self:
        bodies, wide = decode_all([each.iscc for each in entries])
        hashes = [bytes.fromhex((each.datahash or NO_HASH)[len(MULTIHASH) :]) for each in entries]
        sizes = [NO_SIZE if each.filesize is None else each.filesize for each in entries]
        noted = [
            SIZE_NOTES.index(each.noted) if each.noted in SIZE_NOTES else 0 for each in entries
        ]
        return cls(
            [each.name for each in entries],
            words_of(bodies),
            wide,
            np.array(sizes, dtype=np.int64),
            np.array(noted, dtype=np.uint8),
            np.array([each.is_featureless for each in entries], dtype=bool),
            words_of(np.array(hashes, f"S{BLAKE3_BYTES}").reshape(-1, 1).view(np.uint8)),
            np.array([each.datahash is not None for each in entries], dtype=bool),
            [each.pixels for each in entries],
            [each.image_code for each in entries],
        )

    @classmethod
    def join(cls, parts: list[Self]) -> Self:
        """All parts, one after the other. The list is emptied, as memory for both is too much."""
        fields = [*zip(*map(cls.fields, parts or [cls.of([])]), strict=True)]
        parts.clear()
        joined = []
        while fields:
            field = fields.pop(0)
            joined.append(
                list(chain(*field)) if isinstance(field[0], list) else np.concatenate(field)
            )
        return cls(*joined)

    def fields(self) -> tuple:
        return tuple(vars(self).values())

    def take(self, rows: np.ndarray) -> Self:
        return Columns(
            *(
                [each[row] for row in rows.tolist()] if isinstance(each, list) else each[rows]
                for each in self.fields()
            )
        )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, row: int) -> Entry:
        size = int(self.sizes[row])
        return Entry(
            self.names[row],
            self.isccs(np.array([row]))[0],
            None if size == NO_SIZE else size,
            self.datahashes(np.array([row]))[0],
            noted=SIZE_NOTES[self.noted[row]] or None,
            pixels=self.pixels[row],
            image_code=self.image_codes[row],
            is_featureless=bool(self.featureless[row]),
        )

    def isccs(self, rows: np.ndarray) -> list[str]:
        """The codes of some entries, with their prefix."""
        found = np.empty(len(rows), dtype=object)
        for wide, header in HEADERS.items():
            some = np.flatnonzero(self.wide[rows] == wide)
            half = HASH_BYTES if wide else HASH_BYTES // 2
            hashes = self.words[rows[some]].astype(">u8").view(np.uint8)
            hashes = hashes.reshape(-1, 2, HASH_BYTES)[:, :, :half]
            binary = np.zeros((len(some), len(header) + 2 * half), np.uint8)
            binary[:, : len(header)] = list(header)
            binary[:, len(header) :] = hashes.reshape(-1, 2 * half)
            found[some] = encode_digits(binary)
        return found.tolist()

    def datahashes(self, rows: np.ndarray) -> list[str | None]:
        """The multihashes of some entries."""
        text = self.hashes[rows].astype(">u8").tobytes().hex()
        digits = 2 * BLAKE3_BYTES
        return [
            MULTIHASH + text[at : at + digits] if known else None
            for at, known in zip(
                range(0, len(text), digits), self.hashed[rows].tolist(), strict=True
            )
        ]

    def notes(self) -> list[str]:
        """`Entry.note` of each."""
        limits = (1, manifest.TINY, manifest.SMALL)  # in the order of NOTES
        by_size = (np.searchsorted(limits, self.sizes, side="right") + 1) % len(SIZE_NOTES)
        notes = np.where(self.sizes == NO_SIZE, self.noted, by_size)
        written = {value: note.decode() for note, value in WRITTEN_NOTES.items()}
        return [
            written[each] for each in zip(notes.tolist(), self.featureless.tolist(), strict=True)
        ]

    def comparable(self) -> np.ndarray:
        """`Entry.is_comparable` of each: bool, shape (n,)."""
        tiny = [SIZE_NOTES.index(each) for each in ("empty", "tiny")]
        known = self.sizes != NO_SIZE
        return np.where(known, self.sizes >= manifest.TINY, ~np.isin(self.noted, tiny))


def read(path: Path, name: str) -> Columns:
    """As `manifest.read`, with the same errors."""
    reader = manifest.Reader(name)
    parts: list[Columns] = []
    with explaining("read", name), path.open("rb") as file:
        for numbers, alike, others in read_blocks(file, reader):
            parts.append(alike)
            if others:
                order = np.argsort(np.concatenate([numbers, [*others]]), kind="stable")
                parts[-1] = Columns.join([alike, Columns.of([*others.values()])]).take(order)
    found = Columns.join(parts)
    if not len(found):
        raise manifest.no_entry(name)
    return found


def whole_lines(file: IO[bytes]) -> Iterator[bytes]:
    """A file in blocks that end with a line feed. A line that is too long is a block of its own."""
    rest = b""
    while piece := file.read(BLOCK_BYTES):
        piece = rest + piece
        end = piece.rfind(b"\n") + 1
        if not end and len(piece) > LONGEST_LINE:
            end = len(piece)
        if end:
            yield piece[:end]
        rest = piece[end:]
    if rest:
        yield rest


class LineReader(Protocol):
    """Reads the lines of one file, one after the other; `name` is the user's name for it."""

    name: str
    table: Table | None

    def read(self, number: int, line: str) -> object:
        """What is in a line; None if there is nothing to keep. Raises InputError."""


class Lines:
    """The lines of a block, of which the first has this number.

    controls       int64: where control characters up to LAST_CONTROL are
    last           int64, shape (lines,): the place of each line feed in `controls`
    starts, ends   int64, shape (lines,): where each begins, and its line feed
    """

    def __init__(self, block: bytes, number: int):
        self.block = block if block.endswith(b"\n") else block + b"\n"
        self.number = number
        self.bytes = np.frombuffer(self.block, np.uint8)
        self.controls = np.flatnonzero(self.bytes <= LAST_CONTROL)
        self.last = np.flatnonzero(self.bytes[self.controls] == LF)
        self.ends = self.controls[self.last]
        self.starts = np.concatenate([[0], self.ends[:-1] + 1])

    def read(self, place: int, reader: LineReader) -> object:
        """What is in a line, read on its own. Raises InputError."""
        number = self.number + place
        line = self.block[int(self.starts[place]) : int(self.ends[place])]
        text = line.decode("utf-8", "surrogateescape")
        text = manifest.without_end(text, number, reader.name)
        return reader.read(number, text) if text.strip() else None


def read_blocks(
    file: IO[bytes], reader: LineReader
) -> Iterator[tuple[np.ndarray, Columns, dict[int, object]]]:
    """The lines of a file, block by block, as `read_block` reads them. Raises InputError."""
    number = 1
    for block in whole_lines(file):
        lines = Lines(block, number)
        yield read_block(lines, reader)
        number += len(lines.starts)


def read_block(lines: Lines, reader: LineReader) -> tuple[np.ndarray, Columns, dict[int, object]]:
    """The lines of a block. Raises InputError.

    Returns the numbers, int64, of those that are as our tools write them, and their entries; and
    what the reader finds in the others, by number.
    """
    others: dict[int, object] = {}

    def read_other(place: int) -> None:
        if found := lines.read(place, reader):
            others[lines.number + place] = found

    count, first = len(lines.starts), 0
    while reader.table is None and first < count:
        read_other(first)
        first += 1
    if reader.table is None:
        return np.zeros(0, np.int64), Columns.of([]), others
    table = reader.table
    places, alike = read_alike(lines, first, table)
    is_other = lines.ends > lines.starts  # empty lines are nothing
    is_other[:first] = is_other[places] = False
    for place in map(int, np.flatnonzero(is_other)):
        read_other(place)
        if not reader.table.is_like(table):  # the lines below have other columns
            alike = alike.take(np.flatnonzero(places < place))
            places = places[places < place]
            for below in range(place + 1, count):
                read_other(below)
            break
    return places + lines.number, alike, others


def read_alike(lines: Lines, first: int, table: Table) -> tuple[np.ndarray, Columns]:
    """Those lines of a table, from a line on, that are as our tools write them.

    Returns their places, int64, and their entries.
    """
    places, bounds = split(lines, first, table)

    def field(column: int) -> tuple[np.ndarray, np.ndarray]:
        """Where a field of `manifest.Row` begins and ends; empty if the table does not have it."""
        if column == len(table.columns):
            return bounds[:, -1], bounds[:, -1]
        return bounds[:, column] + 1, bounds[:, column + 1]

    name, code, size, datahash, data, instance, note, of_pixels, looks = map(field, table.places)
    words, wide, right = decode_codes(lines.bytes, *code)
    sizes, are_sizes = decode_sizes(lines.bytes, *size)
    hashes, are_hashes = decode_hashes(lines.bytes, *datahash)
    notes, are_notes = decode_texts(lines.block, *note, WRITTEN_NOTES.get)
    pixels, are_pixels = decode_texts(lines.block, *of_pixels, matching(manifest.PIXELS))
    image_codes, are_image_codes = decode_texts(lines.block, *looks, matching(manifest.IMAGE_CODES))
    right &= are_sizes & are_hashes & are_notes & are_pixels & are_image_codes
    # Units are not kept. They say no more than the datahash does, but have to be read without one.
    hashed = datahash[0] < datahash[1]
    right &= hashed | ((data[0] == data[1]) & (instance[0] == instance[1]))
    names = [
        lines.block[start:end].decode("utf-8", "surrogateescape")
        for start, end in zip(*(each.tolist() for each in name), strict=True)
    ]
    noted = np.array([each[0] if each else 0 for each in notes], dtype=np.uint8)
    featureless = np.array([bool(each and each[1]) for each in notes], dtype=bool)
    noted[sizes != NO_SIZE] = 0
    found = Columns(
        names, words, wide, sizes, noted, featureless, hashes, hashed, pixels, image_codes
    )
    return (places, found) if right.all() else (places[right], found.take(np.flatnonzero(right)))


def split(lines: Lines, first: int, table: Table) -> tuple[np.ndarray, np.ndarray]:
    """The lines of a table, from a line on, that have all fields and nothing unusual in them.

    Returns their places, int64, shape (n,), and what is around their fields, int64, shape
    (n, columns + 1): the byte before the first one, the tabs, and the line feed.
    """
    fields = len(table.columns)
    # A line that was run together with the next one has to show.
    shows = table.last_is_code or table.columns[-1] in ("note", "pixels")
    if table.separator != "\t" or table.rows_are_pairs or not shows:
        return np.zeros(0, np.int64), np.zeros((0, fields + 1), np.int64)
    right = np.diff(lines.last, prepend=-1) == fields
    right &= lines.bytes[lines.starts] != NUMBER_SIGN
    length = lines.ends - lines.starts
    right &= (length >= min(LENGTHS.values())) & (length <= manifest.LONGEST_LINE)
    control = lines.bytes[lines.controls]
    unusual = lines.controls[(control != TAB) & (control != LF)]
    right[np.searchsorted(lines.ends, unusual)] = False
    if b"\\" in lines.block:
        right[np.searchsorted(lines.ends, np.flatnonzero(lines.bytes == BACKSLASH))] = False
    right[:first] = False
    places = np.flatnonzero(right)
    around = lines.controls[lines.last[places][:, None] - np.arange(fields - 1, -1, -1)]
    return places, np.column_stack([lines.starts[places] - 1, around])


def decode_codes(
    text: np.ndarray, start: np.ndarray, end: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The `words` of ISCC-CODEs, which are `wide`, and whether each is a code: bool."""
    hashes = np.zeros((len(start), 2, HASH_BYTES), np.uint8)
    right = np.zeros(len(start), dtype=bool)
    wide = end - start == LENGTHS[True]
    for is_wide, length in LENGTHS.items():
        rows = np.flatnonzero(end - start == length)
        letters = gather(text, start[rows], length)
        digits = digit_values(letters[:, len(PREFIX) :], BASE32_VALUES)
        decoded = decode_digits(digits)
        half = HASH_BYTES if is_wide else HASH_BYTES // 2
        header, padding = HEADERS[is_wide], 5 * digits.shape[1] % 8
        hashes[rows, :, :half] = decoded[:, len(header) :].reshape(-1, 2, half)
        right[rows] = (
            (letters[:, : len(PREFIX)] == PREFIX).all(axis=1)
            & (digits != NOT_A_DIGIT).all(axis=1)
            & (decoded[:, : len(header)] == np.frombuffer(header, np.uint8)).all(axis=1)
            & (digits[:, -1] % (1 << padding) == 0)
        )
    return words_of(hashes.reshape(-1, 2 * HASH_BYTES)), wide, right


def gather(text: np.ndarray, start: np.ndarray, length: int) -> np.ndarray:
    """The bytes from each start on: uint8, shape (len(start), length)."""
    if not len(start):
        return np.zeros((0, length), np.uint8)
    return np.lib.stride_tricks.sliding_window_view(text, length)[start]


def decode_sizes(
    text: np.ndarray, start: np.ndarray, end: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of bytes, NO_SIZE if empty: int64; and whether each is one: bool."""
    most = min(max((end - start).max(initial=0), 1), MOST_DIGITS)
    place = end[:, None] - np.arange(most, 0, -1)
    digits = np.where(place >= start[:, None], text[place] - ZERO, 0)
    numbers = digits.astype(np.int64) @ 10 ** np.arange(most - 1, -1, -1, dtype=np.int64)
    right = (digits <= 9).all(axis=1) & (end - start <= MOST_DIGITS)
    return np.where(start == end, NO_SIZE, numbers), right


def decode_hashes(
    text: np.ndarray, start: np.ndarray, end: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The hashes in datahashes, zeros if empty: uint64, shape (n, 4); and whether each is right."""
    hashes = np.zeros((len(start), BLAKE3_BYTES), np.uint8)
    right = start == end
    rows = np.flatnonzero(end - start == len(NO_HASH))
    letters = gather(text, start[rows], len(NO_HASH))
    digits = digit_values(letters[:, len(MULTIHASH) :], HEX_VALUES)
    hashes[rows] = digits[:, ::2] << 4 | digits[:, 1::2]
    is_multihash = letters[:, : len(MULTIHASH)] == np.frombuffer(MULTIHASH.encode(), np.uint8)
    right[rows] = is_multihash.all(axis=1) & (digits != NOT_A_DIGIT).all(axis=1)
    return words_of(hashes), right


def decode_texts(
    block: bytes, start: np.ndarray, end: np.ndarray, decode: Callable[[bytes], Value | None]
) -> tuple[list[Value | None], np.ndarray]:
    """Fields, of which many are equal; None if empty; and whether `decode` knows each: bool."""
    if (start == end).all():
        return [None] * len(start), np.ones(len(start), dtype=bool)
    texts = [block[each] for each in map(slice, start.tolist(), end.tolist())]
    decoded = {each: decode(each) for each in set(texts) - {b""}}
    found = [decoded.get(each) for each in texts]
    return found, np.array(
        [not text or value is not None for text, value in zip(texts, found, strict=True)]
    )


def matching(pattern: re.Pattern[str]) -> Callable[[bytes], str | None]:
    """A function that decodes what matches a pattern, and nothing else."""

    def decode(field: bytes) -> str | None:
        text = field.decode("ascii", "replace")
        return text if pattern.fullmatch(text) else None

    return decode


def decode_all(isccs: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Decode the hashes in ISCC-CODEs, as codes.parse does for one, but all at once.

    Returns uint8, shape (codes, 32): Data-Code and Instance-Code, 16 bytes each, narrow ones padded
    with zeros; and bool, shape (codes,): whether each code is wide.
    """
    bodies = np.zeros((len(isccs), 2, HASH_BYTES), dtype=np.uint8)
    wide = np.array([len(iscc) == LENGTHS[True] for iscc in isccs], dtype=bool)
    for half, of_width in ((HASH_BYTES, wide), (HASH_BYTES // 2, ~wide)):
        rows = np.flatnonzero(of_width)
        hashes = decode_alike([isccs[row] for row in rows.tolist()], 2 * half)
        bodies[rows, :, :half] = hashes.reshape(-1, 2, half)
    return bodies.reshape(-1, 2 * HASH_BYTES), wide


def decode_alike(isccs: Sequence[str], hash_bytes: int) -> np.ndarray:
    """Decode the hashes in valid codes of one type: uint8, shape (codes, hash_bytes)."""
    hashes = np.zeros((len(isccs), hash_bytes), dtype=np.uint8)
    for start in range(0, len(isccs), CODES_AT_ONCE):
        some = isccs[start : start + CODES_AT_ONCE]
        text = "".join(some).encode("ascii")
        digits = np.frombuffer(text, np.uint8).reshape(len(some), -1)[:, len(codes.PREFIX) :]
        decoded = decode_digits(digit_values(digits, BASE32_VALUES))
        hashes[start : start + len(some)] = decoded[:, codes.HEADER_BYTES :]
    return hashes


def digit_values(letters: np.ndarray, values_of: bytes) -> np.ndarray:
    """The values of digits, or NOT_A_DIGIT: uint8, in the shape of the letters."""
    values = letters.tobytes().translate(values_of)
    return np.frombuffer(values, np.uint8).reshape(letters.shape)


def decode_digits(digits: np.ndarray) -> np.ndarray:
    """The bytes of base32 digits, uint8, shape (n, digits), without the padding bits."""
    count, length = digits.shape
    # Eight digits are five bytes.
    eights = -(-length // 8)
    padded = np.zeros((count, 8 * eights), dtype=np.uint8)
    padded[:, :length] = digits
    numbers = words_of(padded)
    for first, second, move in STEPS:
        numbers = (numbers & first) >> move | numbers & second
    decoded = numbers.astype(">u8").view(np.uint8).reshape(count, eights, 8)[:, :, 3:]
    return decoded.reshape(count, 5 * eights)[:, : 5 * length // 8]


def encode_digits(binary: np.ndarray) -> list[str]:
    """Codes of one type, with their prefix, of their bytes: uint8, shape (n, bytes)."""
    count, length = binary.shape
    fives = -(-length // 5)
    padded = np.zeros((count, fives, 5), np.uint8)
    padded.reshape(count, 5 * fives)[:, :length] = binary
    eights = np.zeros((count, fives, 8), np.uint8)
    eights[:, :, 3:] = padded
    numbers = eights.view(">u8").astype(np.uint64)
    digits = (numbers >> np.arange(35, -1, -5, dtype=np.uint64)).astype(np.uint8) % 32
    width = codes.characters(length)
    letters = DIGITS[digits].reshape(count, 8 * fives)[:, :width]
    text = letters.tobytes().decode("ascii")
    return [codes.PREFIX + text[at : at + width] for at in range(0, len(text), width)]


def words_of(hashes: np.ndarray) -> np.ndarray:
    """Hashes, uint8, shape (n, 8 k), as numbers: uint64, shape (n, k)."""
    return np.ascontiguousarray(hashes).view(">u8").astype(np.uint64)
