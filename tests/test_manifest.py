"""The manifest: names come back as they went in, and what is no manifest is refused."""

from pathlib import Path
from unicodedata import category

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import manifest
from oracle import HEADER, codes_of, manifest_line

WIDE = codes_of(b"some bytes").wide

# Any text but half surrogate pairs, which UTF-8 cannot write; and, as file systems have them,
# bytes that are no UTF-8 (Python holds them as U+DC80 to U+DCFF).
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
FILE_NAME = st.binary(max_size=30).map(lambda name: name.decode("utf-8", "surrogateescape"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("manifests")


def read(path: Path, content: str | bytes) -> list[manifest.Entry]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return manifest.read(path, "m.tsv")


@given(st.lists(TEXT | FILE_NAME, min_size=1, max_size=4))
@example(["", " ", " a ", "#", "#name", "\\", "\\#", "\\t", "\t", "\n", "\r", "\r\n", "a/b"])
@example(["\ufeff", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\0", "ünï.tif"])
@example(["50% done.tif", "it's.tif", 'q"uote.tif', "$(touch x).tif", "`x`", "{0}", "*", "x" * 255])
def test_names_come_back_as_they_went_in(folder, names):
    path = folder / "names.tsv"
    entries = [manifest.Entry(name, WIDE, 10, "1e20" + 64 * "a", "d", "i") for name in names]
    manifest.write(path, entries)
    assert manifest.read(path, "m.tsv") == entries
    # One line a dataset, for every tool that counts line feeds.
    assert path.read_bytes().count(b"\n") == 1 + len(names)


def test_written_as_the_format_says(folder):
    path = folder / "written.tsv"
    content = b"a" * 100
    codes = codes_of(content)
    entry = manifest.Entry("#1\t\\", codes.wide, *codes[2:])
    manifest.write(path, [entry])
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
        (
            "file\tmd5\n",
            '"m.tsv", line 1: expected the header of a manifest, tab-separated with the columns '
            '#name and iscc, but found "file\\tmd5"',
        ),
        (
            f"{WIDE} *a.tif\n",
            f'"m.tsv", line 1: expected the header of a manifest, tab-separated '
            f'with the columns #name and iscc, but found "{WIDE} *a.tif"',
        ),
        (
            f"#name\tiscc\na\t{WIDE}\tb\n",
            '"m.tsv", line 2: expected 2 columns as in the header, found 3',
        ),
        (
            f"#name\tiscc\na\t{WIDE[:-1]}\n",
            '"m.tsv", line 2, "a": no ISCC: 54 characters long; its kind has 55; '
            f'found "{WIDE[:-1]}"',
        ),
        (
            "#name\tiscc\na\t" + codes_of(b"some bytes").instance_code + "\n",
            '"m.tsv", line 2, "a": expected an ISCC-CODE, found a single unit, '
            f'"{codes_of(b"some bytes").instance_code}"',
        ),
        (
            f"#name\tiscc\na\\x\t{WIDE}\n",
            '"m.tsv", line 2, "a\\x": "\\x" means nothing in a name; a backslash is \\\\',
        ),
        (
            f"#name\tiscc\tnote\tnote\na\t{WIDE}\t\t\n",
            '"m.tsv", line 1: expected columns with different names in the header',
        ),
        (
            f"#name\tiscc\tdatahash\na\t{WIDE}\tbanana\n",
            '"m.tsv", line 2, "a": "banana" in the column datahash is no BLAKE3 multihash, '
            "1e20 and 64 hexadecimal digits",
        ),
        (
            f"#name\tiscc\tfilesize\na\t{WIDE}\t1e3\n",
            '"m.tsv", line 2, "a": "1e3" in the column filesize is no number of bytes',
        ),
    ],
)
def test_refusals_name_line_and_reason(folder, content, message):
    with pytest.raises(manifest.InputError) as error:
        read(folder / "refused.tsv", content)
    assert str(error.value) == message


@given(st.binary(max_size=300))
def test_any_bytes_are_a_manifest_or_refused_in_one_line(folder, content):
    try:
        read(folder / "bytes.tsv", content)
    except manifest.InputError as error:
        assert "\n" not in str(error)


@given(TEXT)
def test_quoted_text_is_short_and_printable(text):
    quoted = manifest.shown(text)
    assert not any(category(character) in ("Cc", "Zl", "Zp") for character in quoted)
    assert "\n" not in quoted


def test_a_manifest_is_written_whole_or_not_at_all(folder):
    path = folder / "whole.tsv"
    path.write_text("what was there before")

    def entries():
        yield manifest.Entry("a", WIDE)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        manifest.write(path, entries())
    assert path.read_text() == "what was there before"
    assert list(folder.glob("whole*")) == [path]


def test_a_name_that_is_no_text_is_refused(folder):
    path = folder / "surrogate.tsv"
    with pytest.raises(manifest.InputError, match="it is no text"):
        manifest.write(path, [manifest.Entry("\ud800", WIDE)])
    assert not path.exists()


def test_a_file_without_lines_is_no_manifest(folder):
    """Endless, or a large binary file: told after a million characters."""
    for path, name in ((Path("/dev/zero"), "zero"), (folder / "binary", "binary")):
        if name == "binary":
            path.write_bytes(b"#name\tiscc\n" + b"\0" * 10_000_000)
        number = 1 if name == "zero" else 2
        with pytest.raises(manifest.InputError) as error:
            manifest.read(path, name)
        assert str(error.value) == (
            f'"{name}", line {number}: expected a line of text, found more than 1,000,000 '
            "characters without an end of line"
        )
