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
from manifests import HEADER, NAMES, SAMPLES, changed_manifest
from messages import InputError


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


@EXPLORES
def test_changed_manifests_are_read_as_line_by_line(tmp_path, monkeypatch):
    """The same entries, or the same sentence with the same number of a line."""
    random = chance(22)
    path = tmp_path / "m"
    outcomes = {list: 0, str: 0}
    for _ in range(20_000 if FUZZING else 1_500):
        path.write_bytes(changed_manifest(random))
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
