"""Manifests read by column: the same entries and the same errors as line by line."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import codes
import columns
import links
import manifest
from columns import Columns
from exploring import EXPLORES, FUZZING, chance, examples
from manifest import Entry
from messages import InputError
from oracle import TEST_DATA

COMMENT = b"# a comment\n"
HEADER = b"#name\tiscc\tfilesize\tdatahash\tdata_code\tinstance_code\tnote"
OTHER_HEADERS = [
    b"#name\tiscc",
    b"name\tfilesize\tiscc\tnote",
    b"name,iscc",
    HEADER + b"\tpixels\timage_code",
]
# Examples of manifests, of bytes and of pixels.
SAMPLES = {
    name: (TEST_DATA / f"{name}.tsv").read_bytes()
    for name in ("converted", "delivery", "figures", "originals", "planes")
}
NAMES = [
    "it's 50%",
    "\u00e4\u00a0b\u2028",
    "\udcff\udce2",
    "#hash",
    "tab\tname",
    "a\\b\n",
    ' "',
    "",
]
OF_NAMES = [
    Entry(
        name,
        codes.PREFIX + codes.encode(b"\x55\x00" + bytes([number] * 16)),
        None if number % 3 == 0 else 100**number,
        noted=(None, "tiny", "small", "empty")[number % 4],
        is_featureless=number % 2 == 0,
    )
    for number, name in enumerate(NAMES)
]
SAMPLES["names"] = "".join(manifest.lines(OF_NAMES)).encode("utf-8", "surrogateescape")


def kept(entry: Entry) -> Entry:
    """What columns keep of an entry."""
    noted = entry.noted if entry.noted in manifest.NOTES else None
    return entry._replace(data_code=None, instance_code=None, noted=noted)


def line_by_line(path: Path) -> list[Entry] | str:
    try:
        return [kept(entry) for entry in manifest.read(path, "m")]
    except InputError as error:
        return str(error)


def by_column(path: Path) -> list[Entry] | str:
    try:
        return list(columns.read(path, "m"))
    except InputError as error:
        return str(error)


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("block", [1, 300, 1 << 24])
def test_manifests_are_read_as_line_by_line(tmp_path, name, block, monkeypatch):
    monkeypatch.setattr(columns, "BLOCK_BYTES", block)
    path = tmp_path / "m"
    path.write_bytes(SAMPLES[name])
    entries = by_column(path)
    assert entries == line_by_line(path)
    assert [*Columns.of(entries)] == entries
    assert Columns.of(entries).notes() == [each.note for each in entries]
    assert Columns.of(entries).comparable().tolist() == [each.is_comparable for each in entries]


def test_names_come_back(tmp_path):
    (tmp_path / "m").write_bytes(SAMPLES["names"])
    assert [each.name for each in by_column(tmp_path / "m")] == NAMES


def test_most_lines_are_read_many_at_once(tmp_path, monkeypatch):
    """All but headers, comments, and names with escapes."""
    read = []
    reader_read = manifest.Reader.read
    monkeypatch.setattr(
        manifest.Reader,
        "read",
        lambda self, number, line: read.append(line) or reader_read(self, number, line),
    )
    for content in SAMPLES.values():
        (tmp_path / "m").write_bytes(content)
        columns.read(tmp_path / "m", "m")
    assert all("\\" in line or line.startswith("#") for line in read)
    assert len(read) == len(SAMPLES) + sum("\\" in line for line in read)


CHANGES = [
    lambda line, random: line.replace(b"\t", b"", 1),
    lambda line, random: line + b"\t",
    lambda line, random: line + b"\r",
    lambda line, random: line.lower(),
    lambda line, random: line.replace(b"ISCC:", b"", 1),
    lambda line, random: b"#" + line,
    lambda line, random: b"\\" + line,
    lambda line, random: b"",
    lambda line, random: b" \t ",
    lambda line, random: COMMENT[:-1],
    lambda line, random: HEADER,
    lambda line, random: random.choice(OTHER_HEADERS),
    lambda line, random: line[: random.randrange(len(line) + 1)],
    lambda line, random: line.replace(b"ISCC:K", b"ISCC:\xc3\xa9", 1),
    lambda line, random: b"\xff\xe2\x82" + line,
    lambda line, random: line + line,
    lambda line, random: swapped(line, random),
    lambda line, random: swapped(line, random),
    lambda line, random: swapped(line, random),
]


def swapped(line: bytes, random) -> bytes:
    """With another byte somewhere, which may be what fields of a manifest consist of."""
    place = random.randrange(len(line) + 1)
    some = b"A7QYIaf09K1e20:\t\\\r\0#,x" + bytes([random.randrange(256)])
    return line[:place] + bytes([random.choice(some)]) + line[place + 1 :]


@EXPLORES
def test_changed_manifests_are_read_as_line_by_line(tmp_path, monkeypatch):
    """The same entries, or the same sentence with the same number of a line."""
    random = chance(22)
    path = tmp_path / "m"
    outcomes = {list: 0, str: 0}
    for _ in range(20_000 if FUZZING else 1_500):
        lines = random.choice([*SAMPLES.values()]).splitlines()[:8]
        for _ in range(random.choice((0, 1, 1, 2))):
            place = random.randrange(len(lines))
            lines[place] = random.choice(CHANGES)(lines[place], random)
        if random.random() < 0.2:
            lines += random.choice([*SAMPLES.values()]).splitlines()[:4]
        text = b"\n".join(lines) + random.choice((b"", b"\n", b"\n\n"))
        path.write_bytes(random.choice((b"", b"", b"\xef\xbb\xbf")) + text)
        monkeypatch.setattr(columns, "BLOCK_BYTES", random.choice((100, 700, 1 << 20)))
        expected = line_by_line(path)
        assert by_column(path) == expected, path.read_bytes()
        outcomes[type(expected)] += 1
    assert min(outcomes.values()) > 200


@pytest.mark.parametrize("field", range(7))
@pytest.mark.parametrize(
    "value", ["", "0", "9" * 18, "9" * 19, "1e20" + "0" * 64, "-1", "tiny", "x"]
)
def test_every_field_with_other_values(tmp_path, field, value):
    fields = SAMPLES["converted"].decode().splitlines()[1].split("\t")
    fields[field] = value
    path = tmp_path / "m"
    path.write_text(HEADER.decode() + "\n" + "\t".join(fields) + "\n")
    assert by_column(path) == line_by_line(path)


def test_a_line_that_is_too_long(tmp_path, monkeypatch):
    path = tmp_path / "m"
    monkeypatch.setattr(columns, "BLOCK_BYTES", 1 << 20)
    row = SAMPLES["converted"].splitlines()[1]
    for content in (
        b"x" * 6_000_000,
        HEADER + b"\n" + b"x" * 6_000_000,
        HEADER + b"\n" + b"x" * 1_000_000 + row + b"\n",
        HEADER + b"\n" + b"x" * (3 << 20) + row + row + b"\n" + row,
        b"\xef\xbb\xbf# " + b"x" * 999_998 + b"\r\n" + HEADER + b"\r\nx\r\n",
    ):
        path.write_bytes(content)
        assert by_column(path) == line_by_line(path)
    assert by_column(path).startswith('"m", line 3')


def test_codes_are_decoded_all_at_once_as_one_by_one(monkeypatch):
    monkeypatch.setattr(columns, "CODES_AT_ONCE", 7)
    rng = np.random.default_rng(5)
    isccs = []
    for number in range(50):
        header, size = (b"\x57\x00", 32) if number % 3 else (b"\x55\x00", 16)
        isccs.append(codes.PREFIX + codes.encode(header + rng.bytes(size)))
    bodies, wide = columns.decode_all(isccs)
    for text, body, is_wide in zip(isccs, bodies, wide.tolist(), strict=True):
        code = codes.parse(text)
        assert body.tobytes() == code.data.ljust(16, b"\0") + code.instance.ljust(16, b"\0")
        assert is_wide == (len(code.data) == 16)
    entries = Columns.of([Entry(str(number), iscc) for number, iscc in enumerate(isccs)])
    order = rng.permutation(50)
    assert entries.isccs(order) == [isccs[row] for row in order.tolist()]
    assert [each.iscc for each in entries.take(order)] == entries.isccs(order)


@pytest.mark.parametrize("mixing", [links.MIXING, np.uint64(0)])
@examples(100)
@given(rows=st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 1)), max_size=30))
def test_rows_are_numbered_by_their_first_occurrence(mixing, rows):
    """Even if all of them are equal when mixed."""
    numbers = {}
    expected = [numbers.setdefault(row, len(numbers)) for row in rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(links, "MIXING", mixing)
        labels, count = links.number_rows(list(np.array(rows, dtype=np.int64).reshape(-1, 2).T))
    assert labels.tolist() == expected
    assert count == len(numbers)
