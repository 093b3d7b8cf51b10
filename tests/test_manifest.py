"""The manifest: names are preserved, and anything that is not a manifest is refused."""

from collections.abc import Iterable
from pathlib import Path
from unicodedata import category

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import manifest
import outputs
from messages import InputError, quote
from oracle import HEADER, codes_of, manifest_line

WIDE = codes_of(b"some bytes").wide

# Any text but half surrogate pairs, which UTF-8 cannot write; and, as file systems have them,
# bytes that are no UTF-8 (Python holds them as U+DC80 to U+DCFF).
# NUL is in no name: no file system and no database has it.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
FILE_NAME = st.binary(max_size=30).map(
    lambda name: name.replace(b"\0", b"").decode("utf-8", "surrogateescape")
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("manifests")


def write(path: Path, entries: Iterable[manifest.Entry]) -> None:
    with outputs.Outputs() as out:
        out.write_lines(path, manifest.lines(list(entries)))


def read(path: Path, content: str | bytes) -> list[manifest.Entry]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return manifest.read(path, "m.tsv")


@given(st.lists(TEXT | FILE_NAME, min_size=1, max_size=4))
@example(["", " ", " a ", "#", "#name", "\\", "\\#", "\\t", "\t", "\n", "\r", "\r\n", "a/b"])
@example(["\ufeff", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "ünï.tif"])
@example(["50% done.tif", "it's.tif", 'q"uote.tif', "$(touch x).tif", "`x`", "{0}", "*", "x" * 255])
def test_names_come_back_as_they_went_in(folder, names):
    path = folder / "names.tsv"
    entries = [manifest.Entry(name, WIDE, 10, "1e20" + 64 * "a", "d", "i") for name in names]
    write(path, entries)
    assert manifest.read(path, "m.tsv") == entries
    # One line a dataset, for every tool that counts line feeds.
    assert path.read_bytes().count(b"\n") == 1 + len(names)


def test_written_as_the_format_says(folder):
    path = folder / "written.tsv"
    content = b"a" * 100
    codes = codes_of(content)
    entry = manifest.Entry("#1\t\\", codes.wide, *codes[2:])
    write(path, [entry])
    line = manifest_line("\\#1\\t\\\\", content)
    assert path.read_bytes().decode() == HEADER + line


@pytest.mark.parametrize(
    ("size", "note"),
    [(0, "empty"), (1, "tiny"), (2047, "tiny"), (2048, "small"), (20479, "small"), (20480, "")],
)
def test_notes(size, note):
    assert manifest.Entry("a", WIDE, size).note == note


@pytest.mark.parametrize(
    "content",
    [
        f"#name\tiscc\na\t{WIDE}\n",
        f"iscc\t#name\n{WIDE}\ta\n",
        f"name\tiscc\na\t{WIDE}\n",
        f"#name\tcolour\tiscc\na\tred\t{WIDE}\n",
        f"# made yesterday\n#name\tiscc\n\n# this one:\na\t{WIDE}",
        f"\ufeff#name\tiscc\r\na\t{WIDE}\r\n",
        f"#name\tiscc\tfilesize\na\t{WIDE}\t\n",
    ],
)
def test_reads_columns_in_any_order(folder, content):
    [entry] = read(folder / "order.tsv", content)
    assert (entry.name, entry.iscc, entry.filesize) == ("a", WIDE, None)


def test_manifests_end_to_end_are_a_manifest(folder):
    one = f"#name\tiscc\na\t{WIDE}\n"
    other = f"iscc\t#name\tnote\n{WIDE}\tb\t\n{WIDE}\tname\tiscc\n"
    names = [entry.name for entry in read(folder / "joined.tsv", one + other + one)]
    assert names == ["a", "b", "name", "a"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", '"m.tsv": expected a manifest, but it has no entry'),
        (HEADER, '"m.tsv": expected a manifest, but it has no entry'),
        ("# nothing\n\n", '"m.tsv": expected a manifest, but it has no entry'),
        ("file\tmd5\n", '"m.tsv", line 1: expected the header of a manifest'),
        (f"{WIDE} *a.tif\n", '"m.tsv", line 1: expected the header of a manifest'),
        (f"#name\tiscc\na\t{WIDE}\tb\n", '"m.tsv", line 2: expected 2 columns'),
        (
            f"#name\tiscc\na\t{WIDE[:-1]}\n",
            f'"m.tsv", line 2, "a": "{WIDE[:-1]}" is not an ISCC: expected 55',
        ),
        (
            "#name\tiscc\na\t" + codes_of(b"some bytes").instance_code + "\n",
            '"m.tsv", line 2, "a": expected an ISCC-CODE, found an ISCC-UNIT',
        ),
        (f"#name\tiscc\na\\x\t{WIDE}\n", '"m.tsv", line 2, "a\\x": invalid escape sequence "\\x"'),
        (
            f"#name\tiscc\tnote\tNote\na\t{WIDE}\t\t\n",
            '"m.tsv", line 1: expected a header with one',
        ),
        (f"#name\tname\tiscc\na\ta\t{WIDE}\n", '"m.tsv", line 1: expected a header with one'),
        (f"#name\tiscc\tiscc_hash\na\t{WIDE}\t{WIDE}\n", '"m.tsv", line 1: expected a header wit'),
        (
            f"#name\tiscc\tdatahash\na\t{WIDE}\tbanana\n",
            '"m.tsv", line 2, "a": expected a BLAKE3 multihash',
        ),
        (
            f"#name\tiscc\tfilesize\na\t{WIDE}\t1e3\n",
            '"m.tsv", line 2, "a": expected a number of bytes',
        ),
        (f'Name,ISCC\n"a,{WIDE}\n', '"m.tsv", line 2: expected fields with ,'),
    ],
)
def test_refusals_name_line_and_reason(folder, content, message):
    with pytest.raises(InputError) as error:
        read(folder / "refused.tsv", content)
    assert str(error.value).startswith(message)


def test_tables_made_by_hand_are_read(folder):
    """Headers in any letter case, commas or semicolons, names in quotes if necessary."""
    for separator in ",;":
        rows = ["Name,ISCC,colour", f"a.tif,{WIDE},red", f'"a, ""b"";.tif", {WIDE.lower()} ,']
        text = "\n".join(rows)
        if separator == ";":
            text = "\n".join([rows[0].replace(",", ";"), rows[1].replace(",", ";"), ""])
            text += f'"a, ""b"";.tif"; {WIDE.lower()} ;'
        entries = read(folder / "table.csv", text)
        assert [(entry.name, entry.iscc) for entry in entries] == [
            ("a.tif", WIDE),
            ('a, "b";.tif', WIDE),
        ]


def test_a_table_of_pairs_lists_each_dataset_once(folder):
    text = "file_id\tiscc_hash\tmatch_iscc_hash\n" + f"a\t{WIDE}\t{WIDE}\n" * 2 + f"b\t{WIDE}\t\n"
    assert [entry.name for entry in read(folder / "pairs.tsv", text)] == ["a", "b"]
    # In any other table, what stands twice is there twice.
    text = text.replace("match_iscc_hash", "colour")
    assert [entry.name for entry in read(folder / "pairs.tsv", text)] == ["a", "a", "b"]


def test_a_datahash_in_capitals_is_the_same(folder):
    datahash = codes_of(b"some bytes").datahash
    [entry] = read(folder / "hash.tsv", f"#name\tiscc\tdatahash\na\t{WIDE}\t{datahash.upper()}\n")
    assert entry.datahash == datahash


CODE = codes_of(b"").narrow


@pytest.mark.parametrize(
    ("line", "table", "is_first", "what"),
    [
        ("#name\tiscc", None, True, "header"),
        ("#name\tiscc\tcolour", None, True, "header"),
        ("iscc\t#name", None, True, "header"),
        ("name\tISCC", None, True, "header"),
        ("#name\tiscc\tnote", "#name\tiscc", False, "header"),
        ("#name\tiscc\tcolour", "#name\tiscc\tcolour", False, "header"),
        # A header that is not the first has no column that nobody knows.
        ("#name\tiscc\tcolour", "#name\tiscc", False, "invalid"),
        ("a.tif\tname\tiscc", "#name\tiscc", False, "invalid"),
        # A header and a comment contain no code, be it complete or not.
        (f"#name\tiscc\t{CODE}", None, True, "invalid"),
        (f"a\t{CODE}\t#name\tiscc", "#name\tiscc", False, "entry"),
        (f"name\tiscc\t{CODE[5:]}", None, True, "entry"),
        ("# a comment", None, True, "comment"),
        ("#iscc and name", None, True, "comment"),
        (f"#1.tif\t{CODE}", None, True, "invalid"),
        (f"# {CODE[:-1]}", None, True, "invalid"),
        (f"#a{CODE[5:].lower()}b", None, True, "invalid"),
        (f"# 1e20{64 * 'a'}", None, True, "invalid"),
        (f"#BLAKE3 (a) = {64 * 'a'}", None, True, "invalid"),
        # Line ends that are something else, or nothing.
        ("#name\tiscc\ra\tb", None, True, "invalid"),
        ("# comment\r# comment", None, True, "invalid"),
        (f"a\t{CODE}\0", "#name\tiscc", False, "invalid"),
        (f"a\t{CODE}\rb\t{CODE}", "#name\tiscc", False, "invalid"),
        (f"a\t{CODE}", "#name\tiscc", False, "entry"),
        ("anything else", "#name\tiscc", False, "entry"),
    ],
)
def test_what_a_line_is(line, table, is_first, what):
    before = table and manifest.classify(table, None, first=True)
    try:
        kind = manifest.classify(line, before, is_first)
    except manifest.LineError:
        assert what == "invalid"
        return
    assert ("header" if isinstance(kind, manifest.Table) else kind.value) == what


@pytest.mark.parametrize(
    ("columns", "fields"),
    [
        (manifest.COLUMNS, ("a", CODE, "0", "", "", "", f"{CODE} *b")),
        (manifest.COLUMNS, ("a", CODE, "0", "", "", "", f"b\\t{CODE[5:]}")),
        (("iscc", "#name"), (CODE, f"a{CODE} *b")),
        (("iscc", "#name"), (CODE, CODE)),
        (("#name", "iscc"), ("a", f"{CODE}{CODE} *b")),
        (("#name", "iscc", "colour"), ("a", CODE, f"red1e20{64 * 'a'}  b")),
    ],
)
def test_a_line_that_swallowed_the_next_one_is_refused(folder, columns, fields):
    """The last line feed was missing; the next line may be of any format."""
    text = "\t".join(columns) + "\n" + "\t".join(fields) + "\n"
    with pytest.raises(InputError, match="line 2"):
        read(folder / "merged.tsv", text)


def test_a_code_may_stand_in_a_column_of_its_own(folder):
    """Also the last one; and in a name that is not in the last column."""
    unit = codes_of(b"some bytes").instance_code
    text = f"#name\tiscc\tinstance_code\n{CODE}.tif\t{WIDE}\t{unit}\n"
    [entry] = read(folder / "unit.tsv", text)
    assert (entry.name, entry.instance_code) == (f"{CODE}.tif", unit)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_manifest_or_refused_in_one_line(folder, content):
    try:
        read(folder / "bytes.tsv", content)
    except InputError as error:
        assert "\n" not in str(error)


@given(TEXT)
def test_quoted_text_is_short_and_printable(text):
    quoted = quote(text)
    assert not any(category(character) in ("Cc", "Zl", "Zp") for character in quoted)
    assert "\n" not in quoted


def test_a_file_without_lines_is_no_manifest(folder):
    """Endless, or a large binary file: refused after a million characters."""
    for path, name in ((Path("/dev/zero"), "zero"), (folder / "binary", "binary")):
        if name == "binary":
            path.write_bytes(b"#name\tiscc\n" + b"\0" * 10_000_000)
        number = 1 if name == "zero" else 2
        with pytest.raises(InputError) as error:
            manifest.read(path, name)
        assert str(error.value) == (
            f'"{name}", line {number}: expected a line of text, found more than 1,000,000 '
            "characters without a line feed"
        )


def test_a_line_may_have_a_million_characters(folder):
    for length, end in ((1_000_000, "\n"), (1_000_000, "\r\n"), (1_000_000, ""), (1_000_001, "\n")):
        name = "x" * (length - len(f"\t{WIDE}"))
        path = folder / "long.tsv"
        text = f"#name\tiscc\n{name}\t{WIDE}{end}"
        if length == 1_000_000:
            assert [entry.name for entry in read(path, text)] == [name]
        else:
            with pytest.raises(InputError, match=r"line 2: expected a line of text"):
                read(path, text)
