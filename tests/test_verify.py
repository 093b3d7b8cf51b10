"""iscc_verify: each dataset and each entry is accounted for once, and OK means the same bytes."""

import iscc_verify
import pytest
from hypothesis import given
from hypothesis import strategies as st

import codes
from manifest import Entry
from oracle import HEADER, TEST_DATA, codes_of, codes_of_file, distance, manifest_line

REPORT = "#name\tstatus\texpected\tactual\tdistance\tbits\n"


def test_every_status_of_real_images(tmp_path, script):
    names = ["cell.png", "nuclei.tif", "nuclei_3d.tif", "retina.jpg"]
    for name in names:
        (tmp_path / name).write_bytes((TEST_DATA / name).read_bytes())
    lines = [
        manifest_line(name, (TEST_DATA / name).read_bytes(), narrow=name == "nuclei_3d.tif")
        for name in names
    ]
    (tmp_path / "m.tsv").write_text(HEADER + "".join(lines))
    (tmp_path / "nuclei.tif").write_bytes((TEST_DATA / "nuclei_retouched.tif").read_bytes())
    (tmp_path / "it's.tif").write_bytes(b"nobody listed this")

    present = ["nuclei_3d.tif", "it's.tif", "nuclei.tif", "cell.png"]
    done = script("iscc_verify", *present, "--manifest", "m.tsv", "--report", "r.tsv")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "2 OK, 1 CHANGED, 1 MISSING, 1 EXTRA\n"
    cell, nuclei, retouched, three_d, retina = (
        codes_of_file(name)
        for name in (
            "cell.png",
            "nuclei.tif",
            "nuclei_retouched.tif",
            "nuclei_3d.tif",
            "retina.jpg",
        )
    )
    apart = distance(nuclei.wide, retouched.wide)
    assert (tmp_path / "r.tsv").read_text() == (
        f"{REPORT}"
        f"nuclei_3d.tif\tOK\t{three_d.narrow}\t{three_d.wide}\t\t\n"
        f"it's.tif\tEXTRA\t\t{codes_of(b'nobody listed this').wide}\t\t\n"
        f"nuclei.tif\tCHANGED\t{nuclei.wide}\t{retouched.wide}\t{apart}\t128\n"
        f"cell.png\tOK\t{cell.wide}\t{cell.wide}\t\t\n"
        f"retina.jpg\tMISSING\t{retina.wide}\t\t\t\n"
    )


def entry_of(name: str, content: bytes, narrow: bool = False) -> Entry:
    computed = codes_of(content)
    return Entry(name, computed.narrow if narrow else computed.wide, *computed[2:])


# Contents of which some are tiny, and none equal.
CONTENTS = [b"", b"a", b"b" * 2047, b"c" * 2048, b"d" * 30_000, bytes(8192), bytes(16384)]


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.sampled_from(CONTENTS), st.booleans())),
    st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(CONTENTS)),
)
def test_report_says_what_was_edited(before, after):
    listed = {name: entry_of(name, content, narrow) for name, (content, narrow) in before.items()}
    present = {name: entry_of(name, content) for name, content in after.items()}
    findings = iscc_verify.audit(listed, present)
    # The datasets in their order, then what is missing in the manifest's.
    assert [f.name for f in findings] == [*after, *(name for name in before if name not in after)]
    for finding in findings:
        old, narrow = before.get(finding.name, (None, False))
        new = after.get(finding.name)
        status = (
            "MISSING"
            if new is None
            else "EXTRA"
            if old is None
            else "OK"
            if new == old
            else "CHANGED"
        )
        assert finding.status == status
        comparable = status == "CHANGED" and min(len(old), len(new)) >= 2048
        bits = 64 if narrow else 128
        apart = distance(finding.expected, finding.actual) if comparable else None
        assert (finding.distance, finding.bits) == (apart, bits if comparable else None)


@given(st.integers(0, 255), st.booleans())
def test_no_bit_of_a_code_may_differ(bit, narrow):
    """Wide codes have 256 bits and narrow ones 128; whichever is flipped, it is not OK."""
    now = entry_of("a", CONTENTS[4])
    then = entry_of("a", CONTENTS[4], narrow)
    decoded = bytearray(codes.decode(then.iscc.removeprefix("ISCC:"))[0])
    bit %= 8 * (len(decoded) - 2)
    decoded[2 + bit // 8] ^= 1 << bit % 8
    flipped = Entry("a", "ISCC:" + codes.encode(bytes(decoded)))
    assert iscc_verify.compare(then, now).status == "OK"
    assert iscc_verify.compare(flipped, now).status == "CHANGED"


def test_size_and_datahash_have_to_agree_where_they_are_listed():
    now = entry_of("a", CONTENTS[4])
    other_size = Entry("a", now.iscc, now.filesize + 1)
    other_hash = Entry("a", now.iscc, now.filesize, "1e20" + "0" * 64)
    assert iscc_verify.compare(other_size, now).status == "CHANGED"
    assert iscc_verify.compare(other_hash, now).status == "CHANGED"
    assert iscc_verify.compare(Entry("a", now.iscc), now).status == "OK"


@pytest.mark.parametrize(
    ("manifest_lines", "files", "message"),
    [
        ("", ["a"], '"m.tsv": expected a manifest, but it has no entry'),
        ("garbage\n", ["a"], '"m.tsv", line 1: expected the header of a manifest'),
        (HEADER, ["a"], '"m.tsv": expected a manifest, but it has no entry'),
        (HEADER + manifest_line("a", b"a"), ["gone"], 'cannot read "gone": No such file'),
        (None, ["a"], 'cannot read "m.tsv": No such file or directory'),
        (
            HEADER + 2 * manifest_line("a", b"a"),
            ["a"],
            '"m.tsv": "a" stands there twice; names have to be different to be told apart',
        ),
        (
            HEADER + manifest_line("a", b"a"),
            ["a", "a"],
            'the datasets: "a" stands there twice; names have to be different to be told apart',
        ),
    ],
)
def test_refusals(tmp_path, script, manifest_lines, files, message):
    (tmp_path / "a").write_bytes(b"a")
    if manifest_lines is not None:
        (tmp_path / "m.tsv").write_text(manifest_lines)
    done = script("iscc_verify", *files, "--manifest", "m.tsv", "--report", "r.tsv")
    assert done.returncode == 2
    assert done.stderr.startswith(f"iscc_verify: {message}")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not (tmp_path / "r.tsv").exists()


def test_a_manifest_is_needed(script):
    done = script("iscc_verify", "a")
    assert done.returncode == 2
    assert done.stderr.endswith("iscc_verify: the argument --manifest is needed\n")
