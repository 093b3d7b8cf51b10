"""listing detects every format; no line disappears, and no wrong code passes."""

import io
import json
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import iscc_core
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import audit
import codes
import exploring
import listing
import manifest
from exploring import EXPLORES, FUZZING, examples
from manifest import Entry
from messages import InputError
from oracle import HEADER, codes_of, manifest_line

# How many lines are made at random, of one kind and put end to end.
MUTATED = 1_000_000 if FUZZING else 100_000
CONCATENATED = 1_000_000 if FUZZING else 10_000

ISCC_SUM = Path(sys.executable).parent / "iscc-sum"

FILES = {
    "cell 1.tif": b"a" * 30_000,
    "it's (50%) = done.tif": b"b" * 30_000,
    "day 1/ünï  *.tif": b"c" * 3000,
    "-": b"",
}


def hex_digest(content: bytes) -> str:
    return codes_of(content).datahash[4:]


def table_of_pairs() -> str:
    """The seven columns of another tool: one row per pair, in both directions or only one."""
    (a, _x), (b, _y), (c, _z), (d, _empty) = FILES.items()
    digits = {name: codes_of(content).wide[5:] for name, content in FILES.items()}
    rows = [(a, b, "8"), (b, a, "8"), (a, c, "9"), (c, a, "9"), (d, "", "-1")]
    header = "file_id\tfilename\tiscc_hash\tmatch_id\tmatch_filename\tmatch_iscc_hash\tdistance\n"
    return header + "".join(
        f"{one}\tfile\t{digits[one]}\t{other}\tfile\t{digits.get(other, '')}\t{distance}\n"
        for one, other, distance in rows
    )


def lines_of(template: str) -> str:
    """One line per file; `w` is its wide code, `n` the narrow one, `i` the Instance-Code."""
    return "".join(
        template.format(
            name=name,
            w=codes_of(content).wide,
            n=codes_of(content).narrow,
            i=codes_of(content).instance_code,
            hash=codes_of(content).datahash,
            hex=hex_digest(content),
            data=codes_of(content).data_code,
            bare=codes_of(content).wide[5:],
            json=json.dumps(name),
            size=len(content),
        )
        + "\n"
        for name, content in FILES.items()
    )


FORMATS = {
    "manifest": HEADER + "".join(manifest_line(*each) for each in FILES.items()),
    "manifest, narrow": HEADER
    + "".join(manifest_line(*each, narrow=True) for each in FILES.items()),
    "two columns of it": "iscc\t#name\n" + lines_of("{w}\t{name}"),
    "without #": "name\tiscc\tdatahash\n" + lines_of("{name}\t{n}\t{hash}"),
    "iscc-sum": lines_of("{w} *{name}"),
    "iscc-sum, two blanks": lines_of("{n}  {name}"),
    "iscc-sum --tag": lines_of("ISCC-SUM ({name}) = {w}"),
    "iscc-sum --units": lines_of("{w} *{name}\n  {data}\n  {i}"),
    "code, name": lines_of("{bare}\t{name}"),
    "name, code": lines_of("{name}\t{w}"),
    "Instance-Code": lines_of("{i} *{name}"),
    "datahash": lines_of("{hash}  {name}"),
    "datahash, star": lines_of("{hash} *{name}"),
    "b3sum --tag": lines_of("BLAKE3 ({name}) = {hex}"),
    "table of pairs": table_of_pairs(),
    "JSON lines": lines_of('{{"iscc": "{w}", "name": {json}}}'),
    "JSON": json.dumps(
        [
            {"iscc": codes_of(content).narrow, "filename": name, "filesize": len(content)}
            for name, content in FILES.items()
        ],
        indent=1,
    ),
    "JSON object": json.dumps({"iscc": codes_of(b"a" * 30_000).wide, "filename": "cell 1.tif"}),
}


def lower(text: str) -> str:
    """The document with all codes and hashes in lower case."""
    for content in FILES.values():
        for code in codes_of(content):
            if isinstance(code, str) and code.startswith("ISCC:"):
                text = text.replace(code, code.lower()).replace(code[5:], code[5:].lower())
        digest = hex_digest(content)
        text = text.replace(f"1e20{digest}", f"1E20{digest.upper()}")
    return text


def commented(text: str) -> str:
    """The document with comments and blank lines, except inside JSON."""
    if text.startswith(("[", "{")):
        return f"\n\n{text}\n\n"
    return "# made by hand\n\n" + text.replace("\n", "\n#\n \n") + "\n"


VARIANTS = {
    "as it is": lambda text: text,
    "BOM": lambda text: "\ufeff" + text,
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "other case": lower,
    "comments": commented,
    "all": lambda text: "\ufeff" + commented(lower(text)).replace("\n", "\r\n"),
    "no end of line": lambda text: text.removesuffix("\n"),
}


def check(found: listing.Listing, names: list[str]) -> None:
    assert found.invalid == []
    assert [entry.name for entry in found.entries] == names
    for entry in found.entries:
        expected = codes.parse(codes_of(FILES[entry.name]).wide)
        data, instance = entry.hashes
        assert expected.data.startswith(data)
        assert bytes.fromhex(hex_digest(FILES[entry.name])).startswith(instance)
        assert len(instance) >= 8
        assert entry.filesize in (None, len(FILES[entry.name]))
        assert entry.datahash in (None, codes_of(FILES[entry.name]).datahash)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("format_", FORMATS)
def test_formats(tmp_path, format_, variant):
    path = tmp_path / "m"
    path.write_text(VARIANTS[variant](FORMATS[format_]), newline="")
    names = list(FILES)[:1] if format_ == "JSON object" else list(FILES)
    check(listing.read(path, "m"), names)


@pytest.mark.parametrize("variant", ["as it is", "BOM", "CRLF", "other case", "comments"])
@pytest.mark.parametrize("kind", ["wide", "narrow", "instance_code"])
def test_codes_that_stand_alone(tmp_path, kind, variant):
    text = "".join(f"{getattr(codes_of(content), kind)}\n" for content in FILES.values())
    (tmp_path / "m").write_text(VARIANTS[variant](text), newline="")
    found = listing.read(tmp_path / "m", "m")
    assert [entry.name for entry in found.entries] == [None] * 4
    expected = [getattr(codes_of(content), kind) for content in FILES.values()]
    assert [entry.expected for entry in found.entries] == expected


@pytest.mark.parametrize(
    "options",
    [[], ["--tag"], ["--units"], ["--units", "--tag"], ["-z"], ["-z", "--units"], ["--narrow"]],
    ids=" ".join,
)
def test_what_iscc_sum_writes(tmp_path, options):
    names = [name for name in FILES if name != "-"]  # which means standard input there
    (tmp_path / "day 1").mkdir()
    for name in names:
        (tmp_path / name).write_bytes(FILES[name])
    done = subprocess.run([ISCC_SUM, *options, *names], cwd=tmp_path, capture_output=True)
    (tmp_path / "m").write_bytes(done.stdout)
    check(listing.read(tmp_path / "m", "m"), names)


def test_escaped_names_of_checksums():
    """As in our own checksum file and in those of sha256sum."""
    code = codes_of(b"").wide
    text = f"\\{code} *a\\nb\\\\c\n\\ISCC-SUM (a\\rb) = {code}\n{code} *a\\nb\n"
    assert [entry.name for entry in listing.read_text(text, "m").entries] == [
        "a\nb\\c",
        "a\rb",
        "a\\nb",
    ]


NAMES = [
    ("{a}.txt\t{code}", "{a}.txt"),
    ("\\a\t{code}", "\\a"),
    ("a   {code}", "a"),
    ("d41d8cd98f00b204e9800998ecf8427e  {code}", "d41d8cd98f00b204e9800998ecf8427e"),
    ("ISCC-SUM (a) = {code} ", "a"),
    ("ISCC-SUM (a) = b) = {code}", "a) = b"),
    ("{code} *z.zarr/", "z.zarr/"),
    ("{code} *a, b;.tif", "a, b;.tif"),
    ("a, b.tif {code}", "a, b.tif"),
    ("a.tif, {code}", "a.tif"),
    ('"a, b.tif";{code}', "a, b.tif"),
    ("{code},a.tif", "a.tif"),
    ("{code}  a *b", "a *b"),
    ("{code} * a ", " a "),
    (' {{"iscc": "{code}", "filename": null, "name": "a"}}', "a"),
]


@pytest.mark.parametrize(("line", "name"), NAMES)
def test_names_that_look_like_something_else(line, name):
    text = line.replace("{code}", codes_of(b"").wide).replace("{{", "{").replace("}}", "}")
    found = listing.read_text(f"{text}\n{codes_of(b'').wide} *last", "m")
    assert [entry.name for entry in found.entries] == [name, "last"]
    assert found.invalid == []


def test_lines_that_look_like_units():
    """Indented codes are entries; units must follow the entry of their file."""
    wide, data = codes_of(b"").wide, codes_of(b"").data_code
    found = listing.read_text(f"  {wide}\n  {wide}\n", "m")
    assert [entry.line for entry in found.entries] == [1, 2]
    found = listing.read_text(f"{wide} *a\nbroken\n  {data}\n\\\n", "m")
    assert [entry.name for entry in found.entries] == ["a"]
    assert [(invalid.line, invalid.name) for invalid in found.invalid] == [
        (2, None),
        (3, None),
        (4, None),
    ]
    assert found.invalid[1].reason == "expected an entry above this ISCC-UNIT, found none"


@pytest.mark.parametrize("line", ["{w} *{n}", "\ufeff{w} *{n}", "{d}  {n}", "{b} *{n}"])
def test_ends_of_lines_that_are_nul(tmp_path, line):
    computed = codes_of(b"")
    entries = [
        line.format(w=computed.wide, d=computed.datahash, b=computed.wide[5:], n=name)
        for name in ("a", "b\nc")
    ]
    text = entries[0] + "\0" + entries[1].removeprefix("\ufeff") + "\0"
    (tmp_path / "m").write_text(text)
    found = listing.read(tmp_path / "m", "m")
    assert [entry.name for entry in found.entries] == ["a", "b\nc"]
    assert found.invalid == []


def test_a_json_object_behind_comments_has_its_line():
    text = "# comment\n\n" + json.dumps({"iscc": codes_of(b"").wide, "name": "a"})
    [entry] = listing.read_text(text, "m").entries
    assert (entry.line, entry.name) == (3, "a")


@pytest.mark.parametrize("wrap", ["{}", "[{}]", '{}\n{{"iscc": 1}}'])
@pytest.mark.parametrize("key", ["iscc", "filename", "filesize", "datahash"])
def test_a_json_object_in_which_a_key_stands_twice_is_refused(wrap, key):
    """Otherwise, one of the two values would not be checked."""
    computed = codes_of(b"")
    record = {"iscc": computed.wide, "filename": "a", "filesize": 0, "datahash": computed.datahash}
    text = json.dumps(record)[:-1] + f', "{key}": {json.dumps(record[key])}}}'
    with pytest.raises(InputError, match="without repeated keys"):
        listing.read_text(wrap.format(text), "m")


def test_names_that_end_in_line_ends_where_lines_end_in_nul(tmp_path):
    wide = codes_of(b"").wide
    names = ["a\nb", "c\r", "\nd", "e/"]
    (tmp_path / "m").write_bytes("".join(f"{wide} *{name}\0" for name in names).encode())
    found = listing.read(tmp_path / "m", "m")
    assert ([entry.name for entry in found.entries], found.invalid) == (names, [])


SHORT = "ISCC:" + codes.encode(b"\x40\x01" + bytes.fromhex(hex_digest(b""))[:8])


@pytest.mark.parametrize(
    "text",
    ["{} *a", "#name\tiscc\na\t{}", "Name,ISCC\na,{}", '{{"iscc": "{}", "name": "a"}}', "{}"],
)
def test_bare_codes_of_64_bits_are_none(text):
    """Too short to be distinguished from words in lines run together; they need a prefix."""
    assert listing.read_text(text.format(SHORT), "m").entries[0].expected == SHORT
    with pytest.raises(InputError, match="no valid entry"):
        listing.read_text(text.format(SHORT[5:]), "m")


def test_a_dashed_code_behind_a_hash_sign_is_no_comment():
    wide = codes_of(b"").wide
    for code in (f"ISCC:-{SHORT[5:]}", f"{wide[5:20]}-{wide[20:]}"):
        found = listing.read_text(f"{wide} *a\n#gone.tif,{code}\n", "m")
        assert [invalid.line for invalid in found.invalid] == [2]


@pytest.mark.parametrize("name", ["blake3 (1).tif", "ISCC-SUM (2).tif", "sha256 (x) = y"])
def test_names_that_only_look_like_the_beginning_of_a_line(name):
    text = f"# BLAKE3 (256 bits)\n{codes_of(b'').wide} *{name}\n"
    found = listing.read_text(text, "m")
    assert ([entry.name for entry in found.entries], found.invalid) == ([name], [])


def test_a_large_file_that_is_no_manifest_is_told_early(monkeypatch):
    """Not all of its lines are kept for the report."""
    monkeypatch.setattr(listing, "MOST_WITHOUT_ENTRY", 10)
    read = []
    lines = ((number, "no entry") for number in range(1, 1000) if not read.append(number))
    with pytest.raises(InputError, match="line 1: expected a name and an ISCC code"):
        listing.collect(lines, "m")
    assert len(read) == 10
    # Behind an entry, every line is reported.
    text = f"{codes_of(b'').wide} *a\n" + "no entry\n" * 20
    assert len(listing.read_text(text, "m").invalid) == 20


def test_json_of_any_length_behind_a_comment(tmp_path):
    items = [{"iscc": codes_of(b"").wide, "name": f"{n}" * 100} for n in range(10_000)]
    (tmp_path / "m").write_text(json.dumps(items))
    assert len(listing.read(tmp_path / "m", "m").entries) == 10_000
    text = "# comment\n\n" + json.dumps(items[:3], indent=1)
    assert len(listing.read_text(text, "m").entries) == 3


def test_what_a_row_does_not_say_is_not_known():
    text = f"#name\tiscc\tfilesize\tdatahash\na\t{codes_of(b'').wide}\t\t\n"
    [entry] = listing.read_text(text, "m").entries
    assert (entry.filesize, entry.datahash) == (None, None)


def test_tables_end_to_end_have_a_header_each():
    tables = [FORMATS[name] for name in ("manifest", "two columns of it", "manifest, narrow")]
    check(listing.read_text("".join(tables), "m"), list(FILES) * 3)


def test_a_dataset_with_two_codes_in_a_table_of_pairs_is_listed_twice():
    """Otherwise, one of the codes would not be checked; equal lines count once."""
    one, other = codes_of(b"").wide, codes_of(b"a").wide
    header = "file_id\tiscc_hash\tmatch_iscc_hash\tfilesize\n"
    rows = f"a\t{one}\t\t\n" * 2 + f"a\t{other}\t\t\nb\t{one}\t\t\na\t{one}\t\t1\n"
    entries = listing.read_text(header + rows, "m").entries
    assert [(entry.name, entry.expected, entry.filesize) for entry in entries] == [
        ("a", one, None),
        ("a", other, None),
        ("b", one, None),
        ("a", one, 1),
    ]


def test_headers_in_any_letter_case():
    text = f"#NAME\tISCC\na\t{codes_of(b'').wide}\n"
    assert [entry.name for entry in listing.read_text(text, "m").entries] == ["a"]


def test_pasted_text_ends_lines_at_line_feeds_only():
    text = f"\ufeff{codes_of(b'').wide} *x\fy\u2028z\r\n{codes_of(b'').wide} *b"
    assert [entry.name for entry in listing.read_text(text, "m").entries] == ["x\fy\u2028z", "b"]


WIDE = codes_of(b"").wide
DATA = codes_of(b"").data_code


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"{'a' * 32}  a.tif", "expected ISCC codes, found 32-digit digests as md5sum writes them"),
        (
            f"{'a' * 40} *a.tif",
            "expected ISCC codes, found 40-digit digests as sha1sum writes them",
        ),
        (
            f"{'A' * 64}  data/a.tif",
            "expected ISCC codes, found 64-digit digests as sha256sum or b3sum write them",
        ),
        (
            f"\\{'a' * 64}  a\\\\b",
            "expected ISCC codes, found 64-digit digests as sha256sum or b3sum write them",
        ),
        (
            f"{'0' * 128}  a",
            "expected ISCC codes, found 128-digit digests as sha512sum writes them",
        ),
        (f"MD5 (a.tif) = {'a' * 32}", "expected ISCC codes, found MD5 digests"),
        (f"SHA256(a.tif)= {'a' * 64}", "SHA256 digests"),
        ("a.tif 1A2B3C4D", "expected ISCC codes, found CRC-32 checksums as SFV files have them"),
        ("; made by a tool", "expected ISCC codes, found CRC-32 checksums as SFV files have them"),
        ("BagIt-Version: 1.0", "expected ISCC codes, found a file of BagIt"),
        ("%%%% HASHDEEP-1.0", "expected ISCC codes, found the header of hashdeep"),
        (f"{DATA} *a.tif", "a Data-Code alone"),
        (DATA, "a Data-Code alone"),
        (f"{WIDE[:-1]} *a.tif", f'"{WIDE[:-1]}" is not an ISCC: expected 55'),
        (f"{WIDE[:-1]}1\ta.tif", "'1' is not a digit of base32"),
        (f"a.tif\t{WIDE[:-1]}J", "padding bits"),
        ("ISCC:MAIABCDEFGHIJKLM a.tif", "expected an ISCC-CODE of a file's bytes"),
        (f"{WIDE}\t{WIDE}", "expected a name and a code, found two codes"),
        ("hello", 'expected a name and an ISCC code, found "hello"'),
    ],
)
def test_lines_that_are_no_entries(line, reason):
    """They get a reason, and reading continues; if there are no entries, it is an error."""
    found = listing.read_text(f"{WIDE} *good\n{line}\n{WIDE} *too\n", "m")
    assert [(entry.line, entry.name) for entry in found.entries] == [(1, "good"), (3, "too")]
    [invalid] = found.invalid
    assert invalid.line == 2
    assert reason in invalid.reason
    with pytest.raises(InputError) as error:
        listing.read_text(line, "m")
    assert str(error.value).startswith(
        '"m": expected a manifest, but it has no valid entry; line 1: '
    )
    assert reason in str(error.value)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"a\\x\t{WIDE}\t\t", '"\\x"'),
        (f"a\t{WIDE}\tmany\t", '"many"'),
        (f"a\t{WIDE}\t\tabc", '"abc"'),
        (f"a\t{WIDE}", "found 2"),
        (f"a\t{DATA}\t\t", "a Data-Code alone"),
    ],
)
def test_rows_that_are_no_entries(line, reason):
    header = "#name\tiscc\tfilesize\tdatahash\n"
    found = listing.read_text(f"{header}good\t{WIDE}\t0\t\n{line}\n", "m")
    assert [entry.name for entry in found.entries] == ["good"]
    [invalid] = found.invalid
    assert invalid.line == 3
    assert reason in invalid.reason


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("[]", "expected a name and an ISCC code, found"),
        ('{"iscc": 1, "name": "a"}', "expected the keys iscc and filename, or name, with texts"),
        ('{"iscc": "x"}', "expected the keys iscc and filename, or name, with texts"),
        ('{"iscc": "x", "name": "a"}', "not an ISCC: "),
        (json.dumps({"iscc": WIDE, "name": "a", "filesize": -1}), "expected a number of bytes"),
        (json.dumps({"iscc": WIDE, "name": "a", "filesize": True}), "expected a number of bytes"),
        (json.dumps({"iscc": WIDE, "name": "a", "datahash": "x"}), "expected a BLAKE3 hash"),
        ("{", 'expected a name and an ISCC code, found "{"'),
        (json.dumps({"iscc": WIDE, "name": "\ud83d"}), "cannot be written as UTF-8"),
    ],
)
def test_json_that_is_no_entry(item, reason):
    good = json.dumps({"iscc": WIDE, "name": "good"})
    found = listing.read_text(f"{good}\n{item}\n", "m")
    assert [entry.name for entry in found.entries] == ["good"]
    [invalid] = found.invalid
    assert invalid.line == 2
    assert reason in invalid.reason


def test_units_that_contradict_their_code():
    other = codes_of(b"other")
    text = f"{WIDE} *a\n  {DATA}\n  {other.instance_code}\n  {other.data_code}\n"
    found = listing.read_text(text, "m")
    assert [invalid.line for invalid in found.invalid] == [3, 4]
    assert f'contradicts "{WIDE}"' in found.invalid[0].reason


def test_empty_manifests_are_errors():
    for text in ("", "\n \n", "# nothing\n", HEADER, "[]", "{}"):
        with pytest.raises(InputError) as error:
            listing.read_text(text, "m")
        assert str(error.value).startswith('"m": expected a manifest, but it has no ')


def mutated(line: str, chance: random.Random) -> str:
    """A text with one to three characters changed, lost, doubled, or exchanged."""
    characters = list(line)
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(characters) + 1)
        what = chance.randrange(4)
        if what == 0 or place == len(characters):
            characters.insert(place, chance.choice("AIQ27a0 -*\t\\#:=(){}\"'\0é"))
        elif what == 1:
            del characters[place]
        elif what == 2:
            characters[place] = chance.choice("ABCIQY27abq019 \t")
        else:
            other = chance.randrange(len(characters))
            characters[place], characters[other] = characters[other], characters[place]
    return "".join(characters).replace("\n", " ").replace("\r", " ")


@EXPLORES
def test_mutated_lines():
    """Each line is an entry or has a reason; a dataset only passes with its own code."""
    content = b"a" * 30_000
    truth = codes_of(content)
    entry = Entry("x", truth.wide, *truth[2:])
    actual = audit.Actual.of(entry)
    right = {truth.wide, truth.narrow, truth.instance_code, truth.datahash}
    # A damaged Instance-Code may become a shorter one of the same file.
    right |= {
        iscc_core.gen_instance_code_v0(io.BytesIO(content), bits=bits)["iscc"] for bits in (64, 128)
    }
    templates = ["{w} *x", "{n}  x", "ISCC-SUM (x) = {w}", "x\t{w}", "{bare}\tx", "{i} *x"]
    templates += ["{hash}  x", "BLAKE3 (x) = {hex}", "{w}", '{{"iscc": "{w}", "name": "x"}}']
    lines = [
        template.format(
            w=truth.wide,
            n=truth.narrow,
            i=truth.instance_code,
            bare=truth.wide[5:],
            hash=truth.datahash,
            hex=truth.datahash[4:],
        )
        for template in templates
    ]
    chance = exploring.chance(0)
    entries = passed = 0
    for number in range(MUTATED):
        line = mutated(lines[number % len(lines)], chance)
        try:
            found = listing.entry_of_line(1, line)
        except listing.LineError as error:
            assert str(error)
            continue
        entries += 1
        if audit.has_content(actual, found):
            passed += 1
            assert found.expected in right
    # Mutations of the name, of letter case, of dashes: enough of all kinds.
    assert 0.02 * MUTATED < passed < entries < 0.9 * MUTATED


ANY_LINE = st.one_of(
    st.sampled_from(
        [line for text in FORMATS.values() for line in text.splitlines() if line.strip()]
    ),
    st.sampled_from(["", " ", "#", "# comment", HEADER.strip(), f"  {DATA}", "\0", "{", "]"]),
    st.text(max_size=40).map(lambda text: " ".join(text.splitlines())),
)


@examples(300)
@given(st.lists(ANY_LINE, max_size=12))
@example(["#", json.dumps({"iscc": WIDE, "name": "a"})])
@example(["# comment", "", json.dumps({"iscc": WIDE, "name": "a"}), "# comment"])
def test_no_line_disappears(lines):
    """Except blank lines, comments, headers, and units that agree with the line above."""
    numbered = list(enumerate(lines, start=1))
    try:
        found = listing.collect(numbered, "m")
    except InputError:
        return
    numbers = [each.line for each in (*found.entries, *found.invalid)]
    assert len(set(numbers)) == len(numbers)
    for number, line in numbered:
        quiet = (
            not line.strip()
            or line.startswith(("#", "iscc\t#name", "name\tiscc", "file_id\t"))
            or line.startswith("  ISCC:")
            or "match_iscc_hash" in "".join(lines)
            or is_json_array(lines)
        )
        assert number in numbers or quiet


def is_json_array(lines: list[str]) -> bool:
    """Whether lines, without comments, are a JSON array, in which line ends mean nothing."""
    content = "\n".join(line for line in lines if not line.startswith("#"))
    try:
        return isinstance(json.loads(content), list)
    except ValueError:
        return False


# What a manifest may be made of, put end to end. Names and contents of a few datasets: small ones,
# since iscc-core codes them; the names make two lines in one look like a single one.
DATASETS = {
    name: name.encode() for name in ("a.tif", "b.tif", "x/c.tif", "d e.tif", "f", "g.h.tif")
}
LINE_OF = {
    "iscc-sum": "{w} *{name}",
    "two blanks": "{n}  {name}",
    "tag": "ISCC-SUM ({name}) = {w}",
    "units": "{w} *{name}\n  {data}\n  {i}",
    "code, name": "{bare}\t{name}",
    "name, code": "{name}\t{w}",
    "CSV": "{name},{w}",
    "datahash": "{hash}  {name}",
    "b3sum": "BLAKE3 ({name}) = {hex}",
    "JSON": '{{"iscc": "{w}", "name": "{name}"}}',
    "alone": "{n}",
    "md5sum": "d41d8cd98f00b204e9800998ecf8427e  {name}",
}
TABLES = {
    HEADER: "{name}\t{w}\t{size}\t{hash}\t{data}\t{i}\ttiny",
    "#name\tiscc\n": "{name}\t{n}",
    "iscc\t#name\n": "{w}\t{name}",
    "#name\tiscc\tinstance_code\n": "{name}\t{w}\t{i}",
    "Name,ISCC\n": "{name},{w}",
    "name;iscc;colour\n": "{name};{w};red",
}
COMMENTS = ["# made by hand\n", "#\n", "\n", " \n", "#1.tif\t{w}\n", "# name and iscc\n"]


def part(chance: random.Random) -> bytes:
    """A manifest of some format, with some line ends, perhaps without the last one."""
    header, template = "", chance.choice(list(LINE_OF.values()))
    if chance.random() < 0.5:
        header, template = chance.choice(list(TABLES.items()))
    text = header
    for name in chance.sample(list(DATASETS), chance.choice([0, 1, 1, 1, 2, 4])):
        if chance.random() < 0.2:
            text += filled(chance.choice(COMMENTS), name)
        text += filled(template, name) + "\n"
        if chance.random() < 0.05:
            text += header
    if chance.random() < 0.3:
        text = text.removesuffix("\n")
    if chance.random() < 0.2:
        text = text.lower()
    ends = chance.choices(["\n", "\r\n", "\r", "\0"], [6, 2, 1, 1])[0]
    bom = "\ufeff" if chance.random() < 0.1 else ""
    return (bom + text.replace("\n", ends)).encode()


def filled(template: str, name: str) -> str:
    computed = codes_of(DATASETS[name])
    return template.format(
        name=name,
        w=computed.wide,
        n=computed.narrow,
        i=computed.instance_code,
        data=computed.data_code,
        bare=computed.wide[5:],
        hash=computed.datahash,
        hex=computed.datahash[4:],
        size=computed.filesize,
    )


def names_in(text: str) -> set[str]:
    """The datasets whose code or BLAKE3 hash is anywhere in a text."""
    lowered = text.lower()
    return {
        name
        for name, content in DATASETS.items()
        for computed in [codes_of(content)]
        if any(
            each.lower() in lowered
            for each in (computed.wide[5:], computed.narrow[5:], computed.datahash[4:])
        )
    }


@EXPLORES
def test_manifests_put_end_to_end(tmp_path):
    """Of any formats: no line with a code is lost, and only intact datasets are OK."""
    chance = exploring.chance(1)
    path = tmp_path / "m"
    lines = read = 0
    while lines < CONCATENATED:
        content = b"".join(part(chance) for _ in range(chance.randint(1, 4)))
        path.write_bytes(content)
        lines += content.count(b"\n") + content.count(b"\r") + content.count(b"\0")
        strict = None
        with suppress(InputError):
            strict = manifest.read(path, "m")
        text = content.decode().removeprefix("\ufeff")
        if strict is not None:
            # What every line with a code lists, since none was refused.
            with_codes = [line for line in text.split("\n") if names_in(line)]
            assert len(strict) == len(with_codes)
        try:
            found = listing.read(path, "m")
        except InputError:
            continue
        read += 1
        by_line = {each.line for each in (*found.entries, *found.invalid)}
        by_nul = listing.is_ended_by_nul(text.encode()[: listing.BEGINNING])
        for number, line in enumerate(text.split("\0" if by_nul else "\n"), start=1):
            is_unit = line.startswith("  ") and number - 1 in by_line | {number - 1}
            assert number in by_line or is_unit or not names_in(line)
        check_audit(chance, found, text)
    assert read > lines / 100


def check_audit(chance: random.Random, found: listing.Listing, text: str) -> None:
    """OK is only reported for intact datasets; if a listed one is gone, not everything is OK."""
    names = sorted(names_in(text))
    changed = chance.choice(names) if names else None
    for gone in (*names, None):
        contents = {name: DATASETS[name] for name in names if name != gone}
        if gone is None and changed:
            contents[changed] = b"changed"
        computed = {name: codes_of(content) for name, content in contents.items()}
        entries = [Entry(name, each.wide, *each[2:]) for name, each in computed.items()]
        findings = audit.audit(found, entries)
        assert all(f.status != audit.OK or contents[f.name] == DATASETS[f.name] for f in findings)
        if names:
            assert any(finding.status != audit.OK for finding in findings), (gone, changed)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_manifest_or_an_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)
    with pytest.raises(InputError):
        listing.read(path, "m")


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        listing.read(tmp_path / "gone", "gone")
    (tmp_path / "long").write_bytes(b"a" * 100_000_000)
    with pytest.raises(InputError, match="more than 1,000,000 characters"):
        listing.read(tmp_path / "long", "long")
    (tmp_path / "long").write_bytes(WIDE.encode() + b" *a\0" + b"b" * 3_000_000)
    found = listing.read(tmp_path / "long", "long")
    assert (len(found.entries), len(found.invalid)) == (1, 1)


@pytest.mark.parametrize("format_", ["manifest", "manifest, narrow", "two columns of it"])
def test_manifest_reads_the_same(tmp_path, format_):
    """The strict reader of iscc_similarity and this one agree on what iscc_sum writes."""
    (tmp_path / "m").write_text(FORMATS[format_])
    found = listing.read(tmp_path / "m", "m")
    strict = manifest.read(tmp_path / "m", "m")
    kind = "narrow" if "narrow" in format_ else "wide"
    expected = [(name, getattr(codes_of(content), kind)) for name, content in FILES.items()]
    assert [(entry.name, entry.expected) for entry in found.entries] == expected
    assert [(entry.name, entry.iscc) for entry in strict] == expected
    for entry, other in zip(found.entries, strict, strict=True):
        assert entry[3:5] == (other.filesize, other.datahash)
