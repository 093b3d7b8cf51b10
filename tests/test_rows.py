"""A long table is read by column and audited in part: as if all of it were read line by line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import audit
import columns
import iscc_verify
import listing
import manifest
from exploring import EXPLORES, FUZZING, chance, examples
from manifest import Entry
from manifests import SAMPLES, changed_manifest
from messages import InputError
from oracle import TEST_DATA, codes_of

OF_ANY_LENGTH, OF_NONE = 0, 1 << 40


def read(path: Path) -> tuple | str:
    try:
        return iscc_verify.read_manifest(path, "m").spelled_out()
    except InputError as error:
        return str(error)


@EXPLORES
def test_long_tables_are_read_as_line_by_line(tmp_path, monkeypatch):
    random = chance(31)
    path = tmp_path / "m"
    by_column = errors = 0
    for _ in range(20_000 if FUZZING else 1_500):
        path.write_bytes(changed_manifest(random))
        monkeypatch.setattr(columns, "BLOCK_BYTES", random.choice((100, 700, 1 << 20)))
        found = []
        for length in (OF_NONE, OF_ANY_LENGTH):
            monkeypatch.setattr(listing, "LONG", length)
            found.append(read(path))
        assert found[0] == found[1], path.read_bytes()
        if isinstance(found[0], str):
            errors += 1
        else:
            by_column += hasattr(iscc_verify.read_manifest(path, "m"), "rows")
    assert by_column > 1000
    assert errors > 10


def test_most_entries_are_never_spelled_out(monkeypatch):
    monkeypatch.setattr(listing, "LONG", OF_ANY_LENGTH)
    found = iscc_verify.read_manifest(TEST_DATA / "planes.tsv", "m")
    assert (found.unusual, len(found.rows)) == ([], SAMPLES["planes"].count(b"\n") - 1)
    [first, *_] = manifest.read(TEST_DATA / "planes.tsv", "m")
    code = codes_of(b"other")
    entry = Entry(first.name, code.wide, *code[2:])
    apart, missing = found.set_apart([entry])
    assert [each.name for each in apart.entries if each.name == first.name] == [first.name]
    assert len(apart.entries) + len(missing) == len(found.rows)


HEADER = "#name\tiscc\n"
ROWS = "".join(f"{number}.tif\t{codes_of(bytes([number])).wide}\n" for number in range(3))
WIDE = codes_of(b"").wide


@pytest.mark.parametrize(
    "text",
    [
        HEADER + "junk\n" * 10_000 + ROWS,
        HEADER + "junk\n" * 9_999 + ROWS,
        HEADER + ROWS + "junk\n" * 10_001,
        HEADER + ROWS.lower() + "junk\n" * 10_001,
        HEADER + "junk\n" * 10_050 + "x" * 1_000_100 + "\n",
        HEADER + ROWS + "x" * 1_000_100 + "\n",
        HEADER + "junk\n" * 5,
        f"name;iscc\nfoo {WIDE}\0a.tif {WIDE}\0",
        f'{HEADER}[{{"filename": "a.tif", "iscc": "{WIDE}"}}]',
        f'[1,"name","iscc",\n{{"filename": "a.tif", "iscc": "{WIDE}"}}]',
        f'{HEADER}{{"a":1,"a":2}}.tif\t{WIDE}\na.tif\t{WIDE}\n',
        f"[,name,iscc\n{'x' * 1_000_100},a.tif,{WIDE}\n",
        "# " + "a comment\n# " * 1_000 + "\n" + HEADER + ROWS,
        "name\tfilesize\tiscc\n" + ROWS.replace("\t", "\t5\t") + "\t\t\n\t\n\n" * 1_000,
        f"{HEADER}{ROWS}#name\tiscc\tnote\n{ROWS}",
        "\ufeff# a\r\n" + (HEADER + ROWS).replace("\n", "\r\n"),
    ],
)  # fmt: skip
def test_what_is_not_a_plain_table_is_read_line_by_line(tmp_path, text, monkeypatch):
    (tmp_path / "m").write_text(text, newline="")
    found = []
    for length in (OF_NONE, OF_ANY_LENGTH):
        monkeypatch.setattr(listing, "LONG", length)
        found.append(read(tmp_path / "m"))
    assert found[0] == found[1]


def test_lines_that_are_too_short_for_a_code_need_no_memory():
    text = (HEADER + "a\tb\n" * 1_000).encode()
    reader = listing.Collector("m")
    places, alike, _ = columns.read_block(columns.Lines(text, 1), reader)
    assert (len(places), len(alike), len(reader.invalid)) == (0, 0, 1_000)


@pytest.mark.parametrize("name", ["x" * 300, "gone"])
def test_a_manifest_that_cannot_be_read_is_named(script, tmp_path, name):
    (tmp_path / "a.tif").write_bytes(b"a")
    done = script("iscc_verify", "--manifest", name, "a.tif", "--report", "r")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("iscc_verify: cannot read ")


@examples(2_000)
@given(*[st.text("ab./\\_1", max_size=8)] * 2)
def test_names_that_may_be_matched_have_the_same_stem_or_flat_name(name, other):
    if any(key(name) == key(other) for _, key in audit.KEYS):
        same_stem = audit.stem(name) == audit.stem(other)
        assert same_stem or audit.flat_name(name) == audit.flat_name(other)


# Names that have a part in common, or nearly, and ones that have nothing.
NAMES = [
    *("a.tif", "a", "a.ome.tif", "A.tif", "s1/a.tif", "s1_a.tif", "./a.tif", "s1/s2/a", "s1_s2/a"),
    *(".a", ".a.tif", "s1/.a", "s1_.a", "a/", "a.czi/2", "a.zarr/2", "#a.tif", "b\\a.tif", "a.b.c"),
    *("x.tif", "y.tif", "z.tif", "#z", "\u00e4.tif", "\udcff.tif", "a\tb", "", " ", "s1/", "s1"),
]
CODES = [codes_of(bytes([number]) * 5_000 * number) for number in range(6)]
PIXELS = ["imagewalk uint8 z1c1t1y50x100", "imagewalk uint8 z1c1t1y100x50"]
OUTPUTS = ["report", "mismatches", "summary", "result", "passed", "failed"]


def random_entry(random, pixels: list[str | None], may_be_narrow: bool = True) -> Entry:
    code = random.choice(CODES)
    iscc = random.choice((code.wide, code.narrow)) if may_be_narrow else code.wide
    return Entry(random.choice(NAMES), iscc, *code[2:], pixels=random.choice(pixels))


def random_table(random, entries: list[Entry]) -> str:
    """A manifest with all columns or three, perhaps with a line that is not as written."""
    lines = [*manifest.lines(entries)]
    if random.random() < 0.2 and not any(each.pixels for each in entries):
        columns = random.choice((("note", "iscc", "name"), ("iscc", "name", "note")))
        fields = [[getattr(each, column) for column in columns] for each in entries]
        lines = [*manifest.table_lines(columns, fields)]
    if random.random() < 0.3:
        place = random.randrange(1, len(lines))
        lines.insert(
            place, random.choice((lines[place].lower(), lines[place][:90] + "\n", "# a\n"))
        )
    return "".join(lines)


@EXPLORES
def test_reports_on_long_tables_are_those_line_by_line(tmp_path, script, monkeypatch):
    random = chance(32)
    options = [word for name in OUTPUTS for word in (f"--{name}", name)]
    statuses = set()
    refused = 0
    for _ in range(5_000 if FUZZING else 400):
        pixels = random.choice(([None], [None], PIXELS, [None, *PIXELS]))
        listed = [random_entry(random, pixels) for _ in range(random.randrange(1, 12))]
        current = [random_entry(random, pixels, False) for _ in range(random.randrange(1, 6))]
        for name, text in (
            ("m", random_table(random, listed)),
            ("now", "".join(manifest.lines(current))),
        ):
            (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
        ignore = random.choice(([], [], ["--ignore", "missing"], ["--ignore", "extra"]))
        fails = random.choice(("fail", "report"))
        found = []
        for length in (OF_NONE, OF_ANY_LENGTH):
            monkeypatch.setattr(listing, "LONG", length)
            done = script(
                "iscc_verify", "--found", "now", "--manifest", "m", *options, *ignore,
                "--on-mismatch", fails,
            )  # fmt: skip
            written = [
                (tmp_path / name).read_bytes() for name in OUTPUTS if (tmp_path / name).exists()
            ]
            found.append((done.returncode, done.stdout, done.stderr, written))
        assert found[0] == found[1], (tmp_path / "m").read_bytes()
        refused += found[0][0] == 2
        if found[0][0] != 2:
            lines = found[0][3][0].decode("utf-8", "surrogateescape").split("\n")[1:-1]
            statuses |= {line.split("\t")[1] for line in lines}
        for name in OUTPUTS:
            (tmp_path / name).unlink(missing_ok=True)
    assert statuses == set(audit.STATUSES)
    assert refused < 100
