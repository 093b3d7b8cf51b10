"""A long table is read by column and audited in part: as if all of it were read line by line."""

from pathlib import Path

import audit
import columns
import iscc_verify
import listing
import manifest
from exploring import EXPLORES, FUZZING, chance
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
    assert (found.entries, len(found.rows)) == ([], SAMPLES["planes"].count(b"\n") - 1)
    [first, *_] = manifest.read(TEST_DATA / "planes.tsv", "m")
    code = codes_of(b"other")
    entry = Entry(first.name, code.wide, *code[2:])
    apart, missing = found.set_apart([entry])
    assert [each.name for each in apart.entries if each.name == first.name] == [first.name]
    assert len(apart.entries) + len(missing) == len(found.rows)


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
    """A manifest with all columns or the name last, perhaps with a line that is not as written."""
    lines = [*manifest.lines(entries)]
    if random.random() < 0.2 and not any(each.pixels for each in entries):
        fields = [(each.note, each.iscc, each.name) for each in entries]
        lines = [*manifest.table_lines(("note", "iscc", "name"), fields)]
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
