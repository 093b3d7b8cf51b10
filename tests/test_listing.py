"""listing: every format, found by looking; no line disappears, and no wrong code passes."""

import json
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import audit
import codes
import listing
import manifest
from manifest import Entry, InputError
from oracle import HEADER, codes_of, manifest_line

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
    """The seven columns of another tool: a row for each pair, both ways, or for one alone."""
    (a, _x), (b, _y), (c, _z), (d, _empty) = FILES.items()
    digits = {name: codes_of(content).wide[5:] for name, content in FILES.items()}
    rows = [(a, b, "8"), (b, a, "8"), (a, c, "9"), (c, a, "9"), (d, "", "-1")]
    header = "file_id\tfilename\tiscc_hash\tmatch_id\tmatch_filename\tmatch_iscc_hash\tdistance\n"
    return header + "".join(
        f"{one}\tfile\t{digits[one]}\t{other}\tfile\t{digits.get(other, '')}\t{distance}\n"
        for one, other, distance in rows
    )


def lines_of(template: str) -> str:
    """A line for each file; `w` is its wide code, `n` the narrow one, `i` the Instance-Code."""
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
    """The same with all codes and hashes in small letters."""
    for content in FILES.values():
        for code in codes_of(content):
            if isinstance(code, str) and code.startswith("ISCC:"):
                text = text.replace(code, code.lower()).replace(code[5:], code[5:].lower())
        digest = hex_digest(content)
        text = text.replace(f"1e20{digest}", f"1E20{digest.upper()}")
    return text


def commented(text: str) -> str:
    """With comments and blank lines, but not inside a JSON document."""
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
    """As our own checksum file and sha256sum write them."""
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
    ("{code} *z.zarr/", "z.zarr"),
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
    """Indented codes are entries; units are only what stands below the entry of their file."""
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
    assert found.invalid[1].reason == "a unit, and the line above it is no entry"


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


def test_json_of_any_length_behind_a_comment(tmp_path):
    items = [{"iscc": codes_of(b"").wide, "name": f"{n}" * 100} for n in range(10_000)]
    (tmp_path / "m").write_text(json.dumps(items))
    assert len(listing.read(tmp_path / "m", "m").entries) == 10_000
    text = "# comment\n\n" + json.dumps(items[:3], indent=1)
    assert len(listing.read_text(text, "m").entries) == 3


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
        (f"{'a' * 32}  a.tif", "32-digit digests as md5sum writes them; ISCC codes are needed"),
        (f"{'a' * 40} *a.tif", "40-digit digests as sha1sum writes them; ISCC codes are needed"),
        (
            f"{'A' * 64}  data/a.tif",
            "64-digit digests as sha256sum or b3sum write them; ISCC codes are needed",
        ),
        (
            f"\\{'a' * 64}  a\\\\b",
            "64-digit digests as sha256sum or b3sum write them; ISCC codes are needed",
        ),
        (f"{'0' * 128}  a", "128-digit digests as sha512sum writes them; ISCC codes are needed"),
        (f"MD5 (a.tif) = {'a' * 32}", "MD5 digests; ISCC codes are needed"),
        (f"SHA256(a.tif)= {'a' * 64}", "64-digit digests"),
        ("a.tif 1A2B3C4D", "CRC-32 checksums as SFV files have them; ISCC codes are needed"),
        ("; made by a tool", "CRC-32 checksums as SFV files have them; ISCC codes are needed"),
        ("BagIt-Version: 1.0", "a file of BagIt; ISCC codes are needed"),
        ("%%%% HASHDEEP-1.0", "the header of hashdeep; ISCC codes are needed"),
        (f"{DATA} *a.tif", "a Data-Code alone: alike is not the same"),
        (DATA, "a Data-Code alone: alike is not the same"),
        (
            f"{WIDE[:-1]} *a.tif",
            f'no ISCC: 54 characters long; its kind has 55; found "{WIDE[:-1]}"',
        ),
        (f"{WIDE[:-1]}1\ta.tif", "'1' is not a digit of base32"),
        (f"a.tif\t{WIDE[:-1]}J", "its last character has bits set that belong to no byte"),
        ("ISCC:MAIABCDEFGHIJKLM a.tif", "it is an ISCC-ID"),
        (f"{WIDE}\t{WIDE}", "two codes, and no name"),
        ("hello", 'expected a name and an ISCC code, found "hello"'),
    ],
)
def test_lines_that_are_no_entries(line, reason):
    """They have a reason, and end nothing; where there is nothing else, it is an error."""
    found = listing.read_text(f"{WIDE} *good\n{line}\n{WIDE} *too\n", "m")
    assert [(entry.line, entry.name) for entry in found.entries] == [(1, "good"), (3, "too")]
    [invalid] = found.invalid
    assert invalid.line == 2
    if not line.startswith("SHA256("):
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
        (f"a\\x\t{WIDE}\t\t", '"\\x" means nothing in a name'),
        (f"a\t{WIDE}\tmany\t", '"many" in the column filesize is no number of bytes'),
        (f"a\t{WIDE}\t\tabc", '"abc" is no BLAKE3 datahash'),
        (f"a\t{WIDE}", "2 columns, where the header has 4"),
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
        ('{"iscc": "x", "name": "a"}', "no ISCC: "),
        (json.dumps({"iscc": WIDE, "name": "a", "filesize": -1}), "expected a number of bytes"),
        (json.dumps({"iscc": WIDE, "name": "a", "filesize": True}), "expected a number of bytes"),
        (json.dumps({"iscc": WIDE, "name": "a", "datahash": "x"}), "expected a BLAKE3 hash"),
        ("{", 'expected a name and an ISCC code, found "{"'),
        (json.dumps({"iscc": WIDE, "name": "\ud83d"}), "is no text"),
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
    """With one to three characters changed, lost, doubled, or exchanged with others."""
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


def test_a_million_mutated_lines():
    """Each is an entry or has a reason; a dataset passes with its own code alone."""
    content = b"a" * 30_000
    truth = codes_of(content)
    entry = Entry("x", truth.wide, *truth[2:])
    actual = audit.Actual.of(entry)
    right = {truth.wide, truth.narrow, truth.instance_code, truth.datahash}
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
    chance = random.Random(0)
    entries = passed = 0
    for number in range(1_000_000):
        line = mutated(lines[number % len(lines)], chance)
        try:
            found = listing.entry_of_line(1, line)
        except listing.LineError as error:
            assert str(error)
            continue
        entries += 1
        if audit.same_content(found, actual):
            passed += 1
            assert found.expected in right
    # Mutations of the name, of letter case, of dashes: enough of all kinds.
    assert 20_000 < passed < entries < 900_000


LINES = st.one_of(
    st.sampled_from(
        [line for text in FORMATS.values() for line in text.splitlines() if line.strip()]
    ),
    st.sampled_from(["", " ", "#", "# comment", HEADER.strip(), f"  {DATA}", "\0", "{", "]"]),
    st.text(max_size=40).map(lambda text: " ".join(text.splitlines())),
)


@settings(max_examples=300)
@given(st.lists(LINES, max_size=12))
def test_no_line_disappears(lines):
    """But blank ones, comments, headers, and units that agree with the line above."""
    numbered = list(enumerate(lines, start=1))
    try:
        found = listing.listing(numbered, "m")
    except InputError:
        return
    with suppress(ValueError):
        json.loads("\n".join(lines))
        return  # a JSON document, in which lines mean nothing
    numbers = [each.line for each in (*found.entries, *found.invalid)]
    assert len(set(numbers)) == len(numbers)
    for number, line in numbered:
        quiet = (
            not line.strip()
            or line.startswith(("#", "iscc\t#name", "name\tiscc", "file_id\t"))
            or line.startswith("  ISCC:")
            or "match_iscc_hash" in "".join(lines)
        )
        assert number in numbers or quiet


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
    with pytest.raises(InputError, match="more than 1,000,000 characters without an end of line"):
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
        assert entry[3:] == (other.filesize, other.datahash)
