"""iscc_verify accounts for each dataset and line once, and only equal bytes are OK."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import audit
import codes
import listing
from dev.environments import PROJECT
from exploring import examples
from manifest import Entry
from oracle import HEADER, TEST_DATA, codes_of, codes_of_file, distance, manifest_line

SCRIPT = PROJECT / "tools" / "iscc_verify" / "iscc_verify.py"

REPORT = "#name\tstatus\tdistance\tbits\tdetail\tmatched_by\tline\texpected\tactual\n"


def counts(**found: int) -> str:
    """The counts on standard output."""
    return ", ".join(f"{found.get(status, 0)} {status}" for status in audit.STATUSES) + "\n"


def test_every_status_of_real_images(tmp_path, script):
    names = ["cell.png", "nuclei.tif", "nuclei_3d.tif", "retina.jpg", "microaneurysms.png"]
    for name in names:
        (tmp_path / name).write_bytes((TEST_DATA / name).read_bytes())
    lines = [
        manifest_line(name, (TEST_DATA / name).read_bytes(), narrow=name == "nuclei_3d.tif")
        for name in names
    ]
    broken = f"broken.tif\t{codes_of(b'').wide[:-1]}" + "\t" * 5 + "\n"
    (tmp_path / "m.tsv").write_text(HEADER + "".join(lines) + lines[0] + broken)
    (tmp_path / "nuclei.tif").write_bytes((TEST_DATA / "nuclei_retouched.tif").read_bytes())
    (tmp_path / "it's.tif").write_bytes(b"nobody listed this")
    (tmp_path / "microaneurysms.png").rename(tmp_path / "new name.png")

    present = ["nuclei_3d.tif", "it's.tif", "nuclei.tif", "new name.png", "cell.png", "it's.tif"]
    outputs = [word for name in ("passed", "failed", "summary") for word in (f"--{name}", name)]
    arguments = (*present, "--manifest", "m.tsv", "--report", "r.tsv", *outputs)
    done = script("iscc_verify", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    found = {"OK": 2, "CHANGED": 1, "MOVED": 1, "DUPLICATE": 2}
    found |= {"MISSING": 1, "EXTRA": 1, "INVALID": 1}
    assert done.stdout == counts(**found)
    cell, nuclei, retouched, three_d, retina, small = (
        codes_of_file(name)
        for name in (
            "cell.png",
            "nuclei.tif",
            "nuclei_retouched.tif",
            "nuclei_3d.tif",
            "retina.jpg",
            "microaneurysms.png",
        )
    )
    extra = codes_of(b"nobody listed this").wide
    apart = distance(nuclei.wide, retouched.wide)
    broken_code = codes_of(b"").wide[:-1]
    with pytest.raises(codes.CodeError) as reason:
        codes.parse(broken_code)
    assert (tmp_path / "r.tsv").read_text() == (
        f"{REPORT}"
        f"nuclei_3d.tif\tOK\t\t\t\tname\t4\t{three_d.narrow}\t{three_d.wide}\n"
        f"it's.tif\tEXTRA\t\t\t\t\t\t\t{extra}\n"
        f"nuclei.tif\tCHANGED\t{apart}\t128\t\tname\t3\t{nuclei.wide}\t{retouched.wide}\n"
        'new name.png\tMOVED\t\t\tlisted as "microaneurysms.png"\t'
        f"content\t6\t{small.wide}\t{small.wide}\n"
        f"cell.png\tOK\t\t\t\tname\t2\t{cell.wide}\t{cell.wide}\n"
        "it's.tif\tDUPLICATE\t\t\tanother dataset before it has the same name\t"
        f"\t\t\t{extra}\n"
        f"retina.jpg\tMISSING\t\t\t\t\t5\t{retina.wide}\t\n"
        f"cell.png\tDUPLICATE\t\t\tline 2 lists the same name already\t\t7\t{cell.wide}\t\n"
        f'broken.tif\tINVALID\t\t\t"{broken_code}" is not an ISCC: {reason.value}\t\t8\t\t\n'
    )
    assert (tmp_path / "passed").read_text() == "nuclei_3d.tif\ncell.png\n"
    assert (tmp_path / "failed").read_text() == "it's.tif\nnuclei.tif\nnew name.png\nit's.tif\n"
    assert json.loads((tmp_path / "summary").read_text()) == {
        "datasets": 6,
        **found,
        "mismatches": 7,
        "ignored": [],
        "first_mismatches": [
            '"it\'s.tif" is EXTRA',
            '"nuclei.tif" is CHANGED',
            '"new name.png" is MOVED',
            '"it\'s.tif" is DUPLICATE',
            '"retina.jpg" is MISSING',
        ],
    }

    done = script("iscc_verify", *arguments, "--on-mismatch", "fail", "--ignore", "extra")
    assert (done.returncode, done.stdout) == (1, counts(**found))
    assert done.stderr == (
        'iscc_verify: 6 do not match: "nuclei.tif" is CHANGED, "new name.png" is MOVED, '
        '"it\'s.tif" is DUPLICATE, "retina.jpg" is MISSING, "cell.png" is DUPLICATE, and 1 more\n'
    )
    assert json.loads((tmp_path / "summary").read_text())["ignored"] == ["extra"]
    assert (tmp_path / "r.tsv").read_text().startswith(REPORT)


def listed(name: str | None, content: bytes, line: int, narrow: bool = False) -> listing.Listed:
    computed = codes_of(content)
    return listing.Listed(
        line, name, computed.narrow if narrow else computed.wide, len(content), computed.datahash
    )


def entry_of(name: str, content: bytes) -> Entry:
    computed = codes_of(content)
    return Entry(name, computed.wide, *computed[2:])


def audited(
    manifest_: list[tuple[str | None, bytes]], datasets: list[tuple[str, bytes]]
) -> list[audit.Finding]:
    entries = [listed(name, content, line) for line, (name, content) in enumerate(manifest_, 1)]
    present = [entry_of(name, content) for name, content in datasets]
    return audit.audit(listing.Listing(entries, []), present)


def said(findings: list[audit.Finding]) -> list[tuple]:
    return [(each.name, each.status, each.matched_by, each.line) for each in findings]


# None of them equal, and some too small to compare.
CONTENTS = [random.Random(n).randbytes(3000 if n % 3 else 100) for n in range(40)]
EDITS = ["keep", "change", "rename", "remove", "add", "list twice", "come twice"]


@examples(300)
@given(st.lists(st.sampled_from(EDITS), max_size=12), st.randoms(use_true_random=False))
def test_the_report_says_what_was_edited(edits, chance):
    """Whatever was done to a collection, and in whatever order it comes back."""
    before, after, expected, lines = [], [], [], []
    for number, edit in enumerate(edits):
        name, old, new = f"image {number}.tif", CONTENTS[number], CONTENTS[number + 20]
        if edit != "add":
            before.append((name, old))
        line = len(before)
        if edit in ("keep", "list twice", "come twice"):
            after.append((name, old))
            expected.append((name, "OK", "name", line))
        if edit == "change":
            after.append((name, new))
            expected.append((name, "CHANGED", "name", line))
        if edit == "rename":
            after.append((f"other {number}.tif", old))
            expected.append((f"other {number}.tif", "MOVED", "content", line))
        if edit == "remove":
            lines.append((name, "MISSING", None, line))
        if edit == "add":
            after.append((name, new))
            expected.append((name, "EXTRA", None, None))
        if edit == "list twice":
            before.append((name, new))
            lines.append((name, "DUPLICATE", None, line + 1))
        if edit == "come twice":
            after.append((name, new))
            expected.append((name, "DUPLICATE", None, None))
    order = list(range(len(after)))
    chance.shuffle(order)
    # Of datasets with the same name the first is the one that is looked at.
    order.sort(key=lambda index: expected[index][1] == "DUPLICATE")
    findings = audited(before, [after[index] for index in order])
    assert said(findings) == [expected[index] for index in order] + lines
    for finding in findings:
        if finding.status == "CHANGED":
            number = int(finding.name.split()[1].partition(".")[0])
            old, new = CONTENTS[number], CONTENTS[number + 20]
            comparable = min(len(old), len(new)) >= 2048
            apart = distance(finding.expected, finding.actual) if comparable else None
            assert (finding.distance, finding.bits) == (apart, 128 if comparable else None)
            sizes = f"{len(new):,} bytes instead of {len(old):,}"
            assert finding.detail == (sizes if len(old) != len(new) else None)


NAMES = st.sampled_from(["a", "a.tif", "x/a.tif", "y\\a.tif", "a.png", "x/b", ".a", "..", "/", ""])
SOME = st.sampled_from(CONTENTS[:4])


@examples(300)
@given(
    st.lists(st.tuples(NAMES | st.none(), SOME), max_size=8),
    st.lists(st.tuples(NAMES, SOME), max_size=8),
)
def test_each_dataset_and_each_line_is_accounted_for_once(manifest_, datasets):
    findings = audited(manifest_, datasets)
    of_datasets = findings[: len(datasets)]
    assert [finding.dataset for finding in of_datasets] == list(range(len(datasets)))
    assert [finding.name for finding in of_datasets] == [name for name, _ in datasets]
    assert all(finding.dataset is None for finding in findings[len(datasets) :])
    lines = [finding.line for finding in findings if finding.line is not None]
    assert sorted(lines) == list(range(1, len(manifest_) + 1))
    for finding in findings:
        if finding.status in ("OK", "MOVED", "CHANGED"):
            name, content = manifest_[finding.line - 1]
            same = datasets[finding.dataset][1] == content
            assert same == (finding.status != "CHANGED")
            if finding.status == "MOVED":
                assert name != finding.name


U8, I8 = "imagewalk uint8 z1c1t1y3x3", "imagewalk int8 z1c1t1y3x3"
KINDS = st.sampled_from([None, U8, I8])


@examples(300)
@given(
    st.lists(st.tuples(NAMES | st.none(), SOME, KINDS | st.just("")), max_size=8),
    st.lists(st.tuples(NAMES, SOME, KINDS), max_size=8),
)
def test_codes_of_bytes_and_of_pixels_are_never_paired(manifest_, datasets):
    """OK requires the same pixels, type and sizes; "" means that type and sizes are unknown."""
    lines = [
        listed(name, content, line)._replace(pixels=pixels)
        for line, (name, content, pixels) in enumerate(manifest_, 1)
    ]
    present = [
        entry_of(name, content)._replace(pixels=pixels) for name, content, pixels in datasets
    ]
    findings = audit.audit(listing.Listing(lines, []), present)
    assert [each.dataset for each in findings[: len(datasets)]] == list(range(len(datasets)))
    found = [each.line for each in findings if each.line is not None]
    assert sorted(found) == list(range(1, len(manifest_) + 1))
    rest = [each.line for each in findings[len(datasets) :]]
    assert rest == sorted(rest)
    for finding in findings:
        if finding.status in ("OK", "MOVED", "CHANGED"):
            _, content, pixels = manifest_[finding.line - 1]
            _, content_now, pixels_now = datasets[finding.dataset]
            assert (pixels is None) == (pixels_now is None)
            same = content == content_now and pixels in ("", pixels_now)
            assert same == (finding.status != "CHANGED")
            if finding.status == "OK":
                assert finding.detail == ("type and sizes are not listed" if pixels == "" else None)


def test_what_differs_between_two_images_is_said():
    """Sizes and types, or values; if sizes or types differ, values are not compared."""
    big = [random.Random(n).randbytes(20_000) for n in range(2)]
    wide, flat = "imagewalk uint16 z1c1t1y100x100", "imagewalk uint8 z2c1t1y100x100"

    def changed(content: bytes, pixels: str) -> tuple:
        line = listed("a.czi/1", big[0], 1)._replace(pixels=wide)
        entry = entry_of("a.ome.zarr/1", content)._replace(pixels=pixels)
        [finding] = audit.audit(listing.Listing([line], []), [entry])
        assert (finding.status, finding.matched_by) == ("CHANGED", "name without extensions")
        return finding.distance, finding.detail

    apart = distance(codes_of(big[0]).wide, codes_of(big[1]).wide)
    assert changed(big[1], wide) == (apart, "other values")
    assert changed(big[0], flat) == (
        0,
        "sizes z2c1t1y100x100 instead of z1c1t1y100x100; type uint8 instead of uint16; "
        "the same bytes",
    )
    # Depth that was taken for time is another image, with the same values.
    axes = wide.replace("z1c1t1y100", "z1c1t2y50")
    sizes = "sizes z1c1t2y50x100 instead of z1c1t1y100x100"
    assert changed(big[0], axes) == (0, f"{sizes}; the same values")
    # Whether a copy of real numbers has other values, nobody can know by its code.
    assert changed(big[1], axes) == (apart, sizes)
    real = wide.replace("uint16", "float32")
    assert changed(big[1], real) == (apart, "type float32 instead of uint16")


A, B, C = CONTENTS[1], CONTENTS[2], CONTENTS[4]


@pytest.mark.parametrize(
    ("manifest_", "datasets", "expected"),
    [
        # Base names and stems, where they are unique on both sides.
        ([("data/a.tif", A)], [("a.tif", A)], [("a.tif", "OK", "base name", 1)]),
        ([("C:\\x\\a.tif", A)], [("y/a.tif", B)], [("y/a.tif", "CHANGED", "base name", 1)]),
        ([("a.ome.tif", A)], [("x/a", A)], [("x/a", "OK", "stem", 1)]),
        ([("a.tif", A)], [("a.png", B)], [("a.png", "CHANGED", "name without extensions", 1)]),
        ([(".a", A)], [("a", B)], [("a", "EXTRA", None, None), (".a", "MISSING", None, 1)]),
        (
            [("x/a.tif", A), ("y/a.tif", B)],
            [("a.tif", C)],
            [
                ("a.tif", "EXTRA", None, None),
                ("x/a.tif", "MISSING", None, 1),
                ("y/a.tif", "MISSING", None, 2),
            ],
        ),
        # Names of which only the extensions differ; there may be several with the same base name.
        (
            [("a.czi/1", A), ("b.czi/1", B)],
            [("b.ome.zarr/1", A), ("a.ome.zarr/1", C)],
            [
                ("b.ome.zarr/1", "MOVED", "content", 1),
                ("a.ome.zarr/1", "EXTRA", None, None),
                ("b.czi/1", "MISSING", None, 2),
            ],
        ),
        (
            [("a.czi/1", A), ("b.czi/1", B)],
            [("b.ome.zarr/1", B), ("a.ome.zarr/1", C)],
            [
                ("b.ome.zarr/1", "OK", "name without extensions", 2),
                ("a.ome.zarr/1", "CHANGED", "name without extensions", 1),
            ],
        ),
        (
            [("a.czi/1", A), ("a.nd2/1", B)],
            [("a.ome.zarr/1", C)],
            [
                ("a.ome.zarr/1", "EXTRA", None, None),
                ("a.czi/1", "MISSING", None, 1),
                ("a.nd2/1", "MISSING", None, 2),
            ],
        ),
        # Names of a nested collection, and of the same when it is flattened.
        ([("s1/a", A)], [("s1_a", A)], [("s1_a", "OK", "flat name", 1)]),
        ([("s1_a", A)], [("s1/a", B)], [("s1/a", "CHANGED", "flat name", 1)]),
        (
            [("s1/a", A), ("s2/a", B)],
            [("s1_a", B), ("s2_a", C)],
            [("s1_a", "CHANGED", "flat name", 1), ("s2_a", "CHANGED", "flat name", 2)],
        ),
        (
            [("s/1_a", A), ("s_1/a", B)],
            [("s_1_a", C)],
            [
                ("s_1_a", "EXTRA", None, None),
                ("s/1_a", "MISSING", None, 1),
                ("s_1/a", "MISSING", None, 2),
            ],
        ),
        ([("./s1/a", A)], [("s1_a", A)], [("s1_a", "OK", "flat name", 1)]),
        # A flat name goes before a base name.
        (
            [("x/s1_a", B), ("s1/a", A)],
            [("s1_a", A)],
            [("s1_a", "OK", "flat name", 2), ("x/s1_a", "MISSING", None, 1)],
        ),
        # A whole name goes before a base name.
        (
            [("a.tif", A), ("x/a.tif", B)],
            [("x/a.tif", B), ("a.tif", A)],
            [("x/a.tif", "OK", "name", 2), ("a.tif", "OK", "name", 1)],
        ),
        # A name goes before content, and content before a base name or stem.
        (
            [("a", A), ("b", B)],
            [("a", B), ("b", A)],
            [("a", "CHANGED", "name", 1), ("b", "CHANGED", "name", 2)],
        ),
        (
            [("a", A)],
            [("a", B), ("b", A)],
            [("a", "CHANGED", "name", 1), ("b", "EXTRA", None, None)],
        ),
        (
            [("x/a.tif", A)],
            [("a.tif", B), ("b.tif", A)],
            [("a.tif", "EXTRA", None, None), ("b.tif", "MOVED", "content", 1)],
        ),
        # A copy of what is there under its own name was not moved.
        (
            [("a", A)],
            [("b", A), ("a", A)],
            [("b", "EXTRA", None, None), ("a", "OK", "name", 1)],
        ),
        # Codes without names: of the only dataset, else of one with that content.
        ([(None, A)], [("a", A)], [("a", "OK", "only one", 1)]),
        ([(None, A)], [("a", B)], [("a", "CHANGED", "only one", 1)]),
        (
            [(None, A), (None, B), (None, A)],
            [("x", A), ("y", C), ("z", A)],
            [
                ("x", "OK", "content", 1),
                ("y", "EXTRA", None, None),
                ("z", "OK", "content", 3),
                ("", "MISSING", None, 2),
            ],
        ),
    ],
)
def test_who_belongs_to_whom(manifest_, datasets, expected):
    assert said(audited(manifest_, datasets)) == expected


def test_a_line_of_pixels_that_contradicts_itself_is_explained():
    line = listed("a", A, 1)._replace(pixels=U8)
    entry = entry_of("a", A)._replace(pixels=U8)
    for other, detail in (
        (line._replace(filesize=len(A) + 1), f"{len(A):,} bytes instead of {len(A) + 1:,}"),
        (line._replace(datahash=entry_of("a", B).datahash), "its Instance-Code is as listed, but"),
    ):
        [finding] = audit.audit(listing.Listing([other], []), [entry])
        assert finding.status == "CHANGED"
        assert finding.detail.startswith(detail)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["2024.05.12 a.czi.tif", "2024.05.12 b.czi.tif"], ["2024.05.12 b.ome.zarr"]),
        (["img.001.tif", "img.002.tif"], ["img.002.OME.TIF", "img.001.OME.TIF"]),
        (["40x 0.4NA", "40x 0.95NA"], ["40x 0.95NA.ome.tif", "40x 0.4NA.ome.tif"]),
        (["exp.Control.tif", "exp.Treated.tif"], ["exp.Treated.ome.zarr"]),
        (["x.czi.tif", "x.lif.tif"], ["x.lif.ome.tif", "x.czi.ome.tif"]),
        (["v1.2/a.1.czi/0", "v1.2/a.2.czi/0"], ["v1.2\\a.2.ome.zarr/0"]),
        ([".a.1.tif", "..a.1.tif"], ["..a.1.png", ".a.1.png"]),
    ],
)
def test_dots_in_names_are_no_extensions(before, after):
    """Dots as in dates and numbers: images of a series, in reverse order here, are told apart."""
    manifest_ = [(name, CONTENTS[line]) for line, name in enumerate(before, 1)]
    pairs = list(zip(after, [2, 1], strict=False))
    for status, datasets in (
        ("OK", [(name, CONTENTS[line]) for name, line in pairs]),
        ("CHANGED", [(name, CONTENTS[7]) for name, _ in pairs]),
    ):
        expected = [(name, status, "name without extensions", line) for name, line in pairs]
        assert said(audited(manifest_, datasets))[: len(pairs)] == expected


def test_content_that_is_listed_elsewhere_is_said():
    """Two exchanged datasets, and a copy of a dataset that is present under its own name."""
    before = [("a", A), ("b", B), ("c", C)]
    findings = audited(before, [("a", B), ("b", A), ("c", C), ("copy", C)])
    assert [each.detail for each in findings] == [
        'its content is listed as "b"',
        'its content is listed as "a"',
        None,
        'its content is listed as "c"',
    ]
    assert [each.status for each in findings] == ["CHANGED", "CHANGED", "OK", "EXTRA"]


def test_many_equal_datasets_under_other_names():
    """30,000 of them are MOVED, each matched to its own entry, quickly."""
    before = [(f"old {number}", A) for number in range(30_000)]
    after = [(f"new {number}", A) for number in range(30_000)]
    findings = audited(before, after)
    assert {each.status for each in findings} == {"MOVED"}
    assert [each.line for each in findings] == list(range(1, 30_001))


@given(st.integers(0, 255), st.booleans())
def test_no_bit_of_a_code_may_differ(bit, narrow):
    """Wide codes have 256 bits and narrow ones 128; with any one flipped, nothing is OK."""
    now = audit.Actual.of(entry_of("a", A))
    then = listed("a", A, 1, narrow)
    decoded = bytearray(codes.decode(codes.digits_of(then.expected)))
    bit %= 8 * (len(decoded) - 2)
    decoded[2 + bit // 8] ^= 1 << bit % 8
    flipped = listing.Listed(1, "a", "ISCC:" + codes.encode(bytes(decoded)))
    assert audit.has_content(now, then)
    assert not audit.has_content(now, flipped)


def test_size_and_datahash_have_to_agree_where_they_are_listed():
    now = audit.Actual.of(entry_of("a", A))
    then = listed("a", A, 1)
    assert audit.has_content(now, then._replace(filesize=None, datahash=None))
    assert not audit.has_content(now, then._replace(filesize=len(A) + 1))
    assert not audit.has_content(now, then._replace(datahash="1e20" + "0" * 64))


def folder(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def test_folders_as_a_whole_and_file_by_file(tmp_path, script):
    folder(tmp_path / "z.zarr", {"0/0.0": A, "0/0.1": B, ".zarray": b"{}"})
    whole = codes_of(b"{}" + A + B).wide
    (tmp_path / "whole").write_text(f"#name\tiscc\nz.zarr\t{whole}\n")
    done = script("iscc_verify", "z.zarr", "--manifest", "whole")
    assert done.stdout == counts(OK=1)

    script("iscc_manifest", "z.zarr", "--per-file", "--manifest", "files")
    done = script("iscc_verify", "z.zarr", "--manifest", "files", "--passed", "p")
    assert done.stdout == counts(OK=3)
    assert (tmp_path / "p").read_text() == "z.zarr\n"

    (tmp_path / "z.zarr/0/0.0").rename(tmp_path / "z.zarr/0/1.0")
    (tmp_path / "z.zarr/0/0.1").unlink()
    (tmp_path / "z.zarr/0/9.9").write_bytes(C)
    outputs = ("--passed", "p", "--failed", "f", "--report", "r")
    done = script("iscc_verify", "z.zarr", "--manifest", "files", *outputs)
    assert done.stdout == counts(OK=1, MOVED=1, MISSING=1, EXTRA=1)
    rows = [line.split("\t")[:2] for line in (tmp_path / "r").read_text().splitlines()[1:]]
    assert rows == [
        ["z.zarr/.zarray", "OK"],
        ["z.zarr/0/1.0", "MOVED"],
        ["z.zarr/0/9.9", "EXTRA"],
        ["z.zarr/0/0.1", "MISSING"],
    ]
    assert (tmp_path / "p").read_text() == ""
    assert (tmp_path / "f").read_text() == "z.zarr\n"

    # A file that is missing fails its folder, even where all others are there.
    folder(tmp_path / "y.zarr", {"a": A})
    text = f"#name\tiscc\ny.zarr/a\t{codes_of(A).wide}\ny.zarr/b\t{codes_of(B).wide}\n"
    (tmp_path / "files").write_text(text)
    script("iscc_verify", "y.zarr", "--manifest", "files", *outputs)
    assert (tmp_path / "f").read_text() == "y.zarr\n"


def test_lists_know_folders_from_names_with_slashes(tmp_path, script):
    """A file is OK whatever is listed below its name; a directory may be listed in both forms."""
    folder(tmp_path, {"s": A, "dir/x": B, "dir/y": C})
    lines = [("s", A), ("s/forward", B), ("dir/", B + C), ("dir/x", B), ("dir/y", C)]
    text = "".join(f"{codes_of(content).wide} *{name}\n" for name, content in lines)
    (tmp_path / "m").write_text(text)
    outputs = ("--passed", "p", "--failed", "f", "--summary", "summary")
    done = script("iscc_verify", "s", "dir", "--manifest", "m", *outputs)
    assert done.stdout == counts(OK=4, MISSING=1)
    assert (tmp_path / "p").read_text() == "s\ndir\n"
    assert (tmp_path / "f").read_text() == ""
    assert json.loads((tmp_path / "summary").read_text())["datasets"] == 2


def test_codes_that_were_pasted(tmp_path, script):
    (tmp_path / "a").write_bytes(A)
    dataset = {"element_identifier": "it's", "source_path": "a"}
    for text, expected in (
        (codes_of(A).wide, counts(OK=1)),
        (f"\n  {codes_of(A).narrow.lower()}\r\n", counts(OK=1)),
        (codes_of(B).wide, counts(CHANGED=1)),
        (f"{codes_of(A).instance_code} *it's\n{codes_of(B).wide} *b", counts(OK=1, MISSING=1)),
    ):
        (tmp_path / "inputs.json").write_text(json.dumps({"datasets": dataset, "codes": text}))
        done = script("iscc_verify", "--inputs", "inputs.json")
        assert (done.stdout, done.stderr) == (expected, "")
    (tmp_path / "inputs.json").write_text(json.dumps({"datasets": dataset, "codes": "nothing"}))
    done = script("iscc_verify", "--inputs", "inputs.json")
    assert done.returncode == 2
    assert done.stderr.startswith('iscc_verify: "the codes in the form": expected a manifest, but')


def test_what_iscc_sum_writes_is_verified(tmp_path, script):
    """A file in each of its output formats is verified; after a byte changes, it must fail."""
    iscc_sum = Path(sys.executable).parent / "iscc-sum"
    folder(tmp_path, {"a 1": A, "b": B})
    for options in ([], ["--tag"], ["--units"], ["-z"], ["--narrow"]):
        done = subprocess.run([iscc_sum, *options, "a 1", "b"], cwd=tmp_path, capture_output=True)
        (tmp_path / "m").write_bytes(done.stdout)
        assert script("iscc_verify", "a 1", "b", "--manifest", "m").stdout == counts(OK=2)
        (tmp_path / "b").write_bytes(B[:-1] + b"?")
        done = script("iscc_verify", "a 1", "b", "--manifest", "m")
        assert done.stdout == counts(OK=1, CHANGED=1)
        (tmp_path / "b").write_bytes(B)


@pytest.mark.parametrize(
    ("manifest_lines", "files", "message"),
    [
        (
            "",
            ["a"],
            '"m.tsv": expected a manifest, but it has no entry; choose the output of ISCC '
            "manifest, or another list of names and ISCC codes",
        ),
        (
            "garbage\n",
            ["a"],
            '"m.tsv": expected a manifest, but it has no valid entry; line 1: expected a name and '
            'an ISCC code, found "garbage"',
        ),
        (HEADER, ["a"], '"m.tsv": expected a manifest, but it has no entry'),
        (HEADER + manifest_line("a", b"a"), ["gone"], 'cannot read "gone": No such file'),
        (None, ["a"], 'cannot read "m.tsv": No such file or directory'),
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
    assert done.stderr.endswith(
        "iscc_verify: expected --manifest with the manifest to check against, found none\n"
    )


def test_mismatches_are_the_lines_that_count(tmp_path, script):
    """If everything matches, the list of mismatches only has a header."""
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(name.encode() * 30_000)
    script("iscc_manifest", "a", "b", "--manifest", "m.tsv")
    (tmp_path / "b").write_bytes(b"c" * 30_000)

    for files, ignored, expected in [
        (["a", "b", "c"], [], [("b", "CHANGED"), ("c", "EXTRA")]),
        (["a", "b", "c"], ["extra"], [("b", "CHANGED")]),
        (["a"], [], [("b", "MISSING")]),
        (["a"], ["missing"], []),
    ]:
        options = [f"--ignore={each}" for each in ignored]
        done = script(
            "iscc_verify", *files, "--manifest", "m.tsv", "--mismatches", "x.tsv", *options
        )
        assert done.returncode == 0, done.stderr
        first, *lines = (tmp_path / "x.tsv").read_text().splitlines()
        assert f"{first}\n" == REPORT
        assert [tuple(line.split("\t")[:2]) for line in lines] == expected
        if lines and expected[0][1] == "CHANGED":
            then, now = codes_of(b"b" * 30_000).wide, codes_of(b"c" * 30_000).wide
            bits = distance(then, now)
            assert lines[0] == f"b\tCHANGED\t{bits}\t128\t\tname\t3\t{then}\t{now}"


@pytest.mark.parametrize(
    "option", ["--report", "--mismatches", "--passed", "--failed", "--summary"]
)
def test_no_output_takes_the_place_of_an_input(tmp_path, script, option):
    (tmp_path / "a").write_bytes(b"a")
    script("iscc_manifest", "a", "--manifest", "m.tsv")
    before = (tmp_path / "m.tsv").read_bytes()
    done = script("iscc_verify", "a", "--manifest", "m.tsv", option, "m.tsv")
    assert (done.returncode, (tmp_path / "m.tsv").read_bytes()) == (2, before)


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\r"])
@pytest.mark.parametrize("option", ["--passed", "--failed"])
def test_a_name_with_a_line_break_cannot_be_on_a_list(tmp_path, script, name, option):
    (tmp_path / "f").write_bytes(A)
    dataset = {"element_identifier": name, "source_path": str(tmp_path / "f")}
    write_form(tmp_path, datasets=dataset, codes=codes_of(A).wide)
    done = script("iscc_verify", "--inputs", "inputs.json", option, "list")
    assert done.returncode == 2
    assert "found a line break" in done.stderr
    assert not (tmp_path / "list").exists()


def test_a_list_that_filter_collection_would_take_for_another_is_refused(tmp_path, script):
    """The tool strips lines: "a " that passed would also select "a", which failed."""
    for name in ("a", "a "):
        (tmp_path / name).write_bytes(name.encode())
    script("iscc_manifest", "a", "a ", "--manifest", "m.tsv")
    done = script("iscc_verify", "a", "a ", "--manifest", "m.tsv", "--passed", "p", "--failed", "f")
    assert done.returncode == 0
    (tmp_path / "a").write_bytes(b"changed")
    done = script("iscc_verify", "a", "a ", "--manifest", "m.tsv", "--passed", "p2")
    assert done.returncode == 2
    assert done.stderr.startswith('iscc_verify: cannot put "a " on a list: ')
    assert not (tmp_path / "p2").exists()


def test_a_manifest_that_comes_through_a_pipe_is_read_from_its_beginning(tmp_path, script):
    """In every format, and longer than the part read to detect the format; nothing is lost."""
    names = [f"{number:0100}.bin" for number in range(200)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(b"%d" % number)
    script("iscc_manifest", *names, "--manifest", "m", "--checksums", "c", "--records", "r")
    for manifest_of_all in ("m", "c", "r"):
        command = [sys.executable, SCRIPT, *names[100:], "--manifest", "/dev/stdin"]
        with subprocess.Popen(
            ["cat", manifest_of_all], cwd=tmp_path, stdout=subprocess.PIPE
        ) as pipe:
            done = subprocess.run(
                command, cwd=tmp_path, stdin=pipe.stdout, capture_output=True, text=True
            )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == counts(OK=100, MISSING=100)


def test_a_name_that_ends_with_a_slash_is_a_name_of_its_own(tmp_path, script):
    for name in ("nuclei", "cell"):
        (tmp_path / name).write_bytes(name.encode() * 1000)
    chosen = [
        {"element_identifier": "a/", "source_path": str(tmp_path / "nuclei")},
        {"element_identifier": "a", "source_path": str(tmp_path / "cell")},
    ]
    (tmp_path / "sum.json").write_text(json.dumps({"datasets": chosen}))
    script("iscc_manifest", "--inputs", "sum.json", "--manifest", "m")
    source = {"element_identifier": "m", "source_path": str(tmp_path / "m")}
    (tmp_path / "verify.json").write_text(json.dumps({"datasets": chosen, "manifest": source}))
    done = script("iscc_verify", "--inputs", "verify.json")
    assert done.stdout == counts(OK=2)


def test_a_datahash_that_contradicts_its_code_is_told(tmp_path, script):
    (tmp_path / "a").write_bytes(b"a")
    code, other = codes_of(b"a").wide, codes_of(b"b").datahash
    (tmp_path / "m").write_text(f"#name\tiscc\tdatahash\na\t{code}\t{other}\n")
    script("iscc_verify", "a", "--manifest", "m", "--mismatches", "out")
    [row] = (tmp_path / "out").read_text().splitlines()[1:]
    assert "its Instance-Code is as listed, but its datahash is not" in row.split("\t")


def test_a_data_code_that_contradicts_its_line_is_not_told_of_the_datahash(tmp_path, script):
    (tmp_path / "a").write_bytes(b"a")
    code, other = (codes.parse(codes_of(content).wide) for content in (b"a", b"b"))
    mixed = codes.PREFIX + codes.encode(b"\x57\x00" + other.data + code.instance)
    (tmp_path / "m").write_text(f"#name\tiscc\na\t{mixed}\n")
    script("iscc_verify", "a", "--manifest", "m", "--mismatches", "out")
    [row] = (tmp_path / "out").read_text().splitlines()[1:]
    assert row.split("\t")[:2] == ["a", "CHANGED"]
    assert "datahash" not in row


def test_two_manifests_are_counted(tmp_path, script):
    source = {"element_identifier": "m", "source_path": "m"}
    (tmp_path / "i.json").write_text(json.dumps({"datasets": [], "manifest": [source, source]}))
    done = script("iscc_verify", "--inputs", "i.json")
    assert (done.returncode, done.stderr) == (2, "iscc_verify: expected one manifest, found 2\n")


def test_long_lines_take_no_long_time(tmp_path, script):
    """A name of many directories next to a directory, and a long digest; quickly."""
    (tmp_path / "folder").mkdir()
    code = codes_of(b"").wide
    lines = ["#name\tiscc", f"{'a/' * 100_000}b\t{code}", f"folder\t{code}"]
    (tmp_path / "deep").write_text("\n".join(lines))
    assert script("iscc_verify", "folder", "--manifest", "deep").returncode == 0
    (tmp_path / "digest").write_text(f"BLAKE2{'(' * 990_000}\nfolder\t{code}\n")
    assert script("iscc_verify", "folder", "--manifest", "digest").returncode == 0


def write_form(tmp_path: Path, **inputs: object) -> None:
    (tmp_path / "inputs.json").write_text(json.dumps(inputs))


@pytest.mark.parametrize(
    ("inputs", "arguments", "word"),
    [
        ({"manifest": [], "codes": "x"}, [], "found both"),
        ({}, [], 'expected the key "manifest" or "codes", found none'),
        ({"codes": 1}, [], "expected a text"),
        ({"codes": "x"}, ["--manifest", "m"], "--manifest: "),
        ({"manifest": []}, ["--manifest", "m"], "--manifest: "),
        ({"manifests": [], "codes": "x"}, [], 'found "manifests"'),
    ],
)
def test_two_things_to_check_against_are_refused(tmp_path, script, inputs, arguments, word):
    """Otherwise one of them would silently be ignored."""
    write_form(tmp_path, datasets=[], **inputs)
    (tmp_path / "m").write_text(HEADER + manifest_line("a", b"a"))
    done = script("iscc_verify", "--inputs", "inputs.json", *arguments)
    assert done.returncode == 2
    assert word in done.stderr


def test_a_manifest_whose_lines_end_in_carriage_returns_hides_nothing(tmp_path, script):
    """Alone, and after another manifest; the file of b is missing."""
    (tmp_path / "a").write_bytes(b"a")
    a, b = (HEADER + manifest_line(name, name.encode()) for name in "ab")
    for text in (a + b.replace("\n", "\r"), a.rstrip("\n") + b, a.rstrip("\n") + b[len(HEADER) :]):
        (tmp_path / "m").write_bytes(text.encode())
        done = script("iscc_verify", "a", "--manifest", "m", "--on-mismatch", "fail")
        assert done.returncode in (1, 2)
        for command in (
            ("iscc_manifest", "--join", "m", "--manifest", "joined"),
            ("iscc_similarity", "--manifest", "m"),
        ):
            assert script(*command).returncode == 2


def lists(tmp_path: Path) -> tuple[list[str], list[str]]:
    return tuple((tmp_path / name).read_text().splitlines() for name in ("p", "f"))


LISTS = ("--passed", "p", "--failed", "f", "--report", "r")


def test_a_directory_that_was_emptied_is_reported(tmp_path, script):
    """Its only file is now in the other directory, where it is MOVED."""
    folder(tmp_path / "one", {"x": A})
    folder(tmp_path / "two", {"y": B})
    script("iscc_manifest", "one", "two", "--per-file", "--manifest", "m")
    (tmp_path / "one" / "x").rename(tmp_path / "two" / "z")
    done = script("iscc_verify", "one", "two", "--manifest", "m", *LISTS)
    assert done.stdout == counts(OK=1, MOVED=1, CHANGED=1)
    rows = [line.split("\t") for line in (tmp_path / "r").read_text().splitlines()[1:]]
    assert [[*row[:2], row[4]] for row in rows] == [
        ["two/y", "OK", ""],
        ["two/z", "MOVED", 'listed as "one/x"'],
        ["one", "CHANGED", "no file is left in it"],
    ]
    assert lists(tmp_path) == ([], ["one", "two"])


def test_a_directory_that_lost_a_file_to_another_one_fails(tmp_path, script):
    folder(tmp_path / "one", {"x": A, "w": C})
    folder(tmp_path / "two", {"y": B})
    script("iscc_manifest", "one", "two", "--per-file", "--manifest", "m")
    (tmp_path / "one" / "x").rename(tmp_path / "x")
    done = script("iscc_verify", "one", "two", "x", "--manifest", "m", *LISTS)
    assert done.stdout == counts(OK=2, MOVED=1)
    assert lists(tmp_path) == (["two"], ["one", "x"])


def test_the_same_file_name_in_another_directory_is_not_the_same_name(tmp_path, script):
    """Chunks of all images have the same names: one found in another image was moved."""
    for image in ("one.zarr", "two.zarr"):
        folder(tmp_path / image, {"0/0": image.encode() * 1000})
    folder(tmp_path / "one.zarr", {"0/7": A})
    script("iscc_manifest", "one.zarr", "two.zarr", "--per-file", "--manifest", "m")
    (tmp_path / "one.zarr/0/7").rename(tmp_path / "two.zarr/0/7")
    done = script("iscc_verify", "one.zarr", "two.zarr", "--manifest", "m", *LISTS)
    assert done.stdout == counts(OK=2, MOVED=1)
    assert lists(tmp_path) == ([], ["one.zarr", "two.zarr"])


def test_a_second_line_of_the_same_name_fails_no_dataset(tmp_path, script):
    (tmp_path / "a").write_bytes(A)
    lines = HEADER + manifest_line("a", A) + manifest_line("a", B)
    (tmp_path / "m").write_text(lines)
    done = script("iscc_verify", "a", "--manifest", "m", *LISTS)
    assert done.stdout == counts(OK=1, DUPLICATE=1)
    assert lists(tmp_path) == (["a"], [])


def test_slashes_at_the_end_of_a_name(tmp_path, script):
    """`iscc-sum --tree` adds one to a directory's name; a dataset of a form may have one."""
    folder(tmp_path, {"d/x": A, "f": B})
    items = [
        {"element_identifier": "f/", "source_path": str(tmp_path / "f")},
        {
            "element_identifier": "d",
            "source_path": "",
            "ext": "directory",
            "extra_files_path": str(tmp_path / "d"),
        },
    ]
    write_form(tmp_path, datasets=items)
    options = ["--inputs", "inputs.json", "--manifest", "m", "--checksums", "c"]
    assert script("iscc_manifest", *options).returncode == 0
    for name in "mc":
        manifest = {"element_identifier": "m", "source_path": str(tmp_path / name)}
        write_form(tmp_path, datasets=items, manifest=manifest)
        assert script("iscc_verify", "--inputs", "inputs.json").stdout == counts(OK=2)
    # Beside a file of that name, a directory is still the one without.
    text = f"{codes_of(A).wide} *d/\n{codes_of(B).wide} *f\n"
    (tmp_path / "m").write_text(text)
    assert script("iscc_verify", "d", "f", "--manifest", "m").stdout == counts(OK=2)


@pytest.mark.parametrize("column", ["data_code", "instance_code"])
@pytest.mark.parametrize("name", ["a", "old"])
def test_units_beside_a_code_are_checked(tmp_path, script, column, name):
    """If there is no datahash; also in bits that the code of the same line does not have."""
    (tmp_path / "a").write_bytes(A)
    right, other = codes_of(A), codes_of(B)
    decoded = bytearray(codes.decode(codes.digits_of(getattr(right, column))))
    decoded[-1] ^= 1
    last_bit = "ISCC:" + codes.encode(bytes(decoded))
    for unit, is_ok in (
        (getattr(right, column).lower(), True),
        (last_bit, False),
        (getattr(other, column), False),
    ):
        for text in (
            f"#name\tiscc\t{column}\n{name}\t{right.narrow}\t{unit}\n",
            f"{right.narrow} *{name}\n  {unit}\n",
        ):
            (tmp_path / "m").write_text(text)
            done = script("iscc_verify", "a", "--manifest", "m")
            ok = counts(OK=1) if name == "a" else counts(MOVED=1)
            assert (done.stdout == ok) == is_ok


def test_many_slashes_take_no_long_time():
    """Only few prefixes of a name are tried, however many slashes it has."""
    names = {"d" * length for length in (3, 2000)}
    directories = audit.Directories(names)
    assert directories.lengths == {3, 2000}
    assert directories.above("ddd/a") == {"ddd"}
    assert directories.above("d" * 2000 + "/" * 1900) == {"d" * 2000}
    assert directories.above("ddd") == directories.above(None) == set()
    assert audit.Directories({"a", "a/b"}).above("a/b/c") == {"a", "a/b"}


@pytest.mark.parametrize(
    ("manifest_", "datasets", "expected"),
    [
        # The size counts where it is listed, whatever the name.
        ([("x", A)], [("y", A)], [("y", "MOVED", "content", 1)]),
        # A second line of a name, and a second dataset, are in no pair, not even by content.
        (
            [("a", A), ("a", B)],
            [("b", B)],
            [
                ("b", "EXTRA", None, None),
                ("a", "MISSING", None, 1),
                ("a", "DUPLICATE", None, 2),
            ],
        ),
        (
            [("b", B)],
            [("a", A), ("a", B)],
            [
                ("a", "EXTRA", None, None),
                ("a", "DUPLICATE", None, None),
                ("b", "MISSING", None, 1),
            ],
        ),
        # An entry that is taken by its name is no rival of one with the same base name.
        (
            [("a.tif", A), ("x/a.tif", B)],
            [("a.tif", A), ("y/a.tif", C)],
            [
                ("a.tif", "OK", "name", 1),
                ("y/a.tif", "EXTRA", None, None),
                ("x/a.tif", "MISSING", None, 2),
            ],
        ),
        (
            [("a.tif", A), ("x/a.png", B)],
            [("a.tif", A), ("a.jpg", C)],
            [
                ("a.tif", "OK", "name", 1),
                ("a.jpg", "EXTRA", None, None),
                ("x/a.png", "MISSING", None, 2),
            ],
        ),
        # Dots at the beginning belong to the stem.
        ([("..a.x", A)], [("..a.y", B)], [("..a.y", "CHANGED", "name without extensions", 1)]),
        (
            [(".a.x", A)],
            [("..a.y", B)],
            [("..a.y", "EXTRA", None, None), (".a.x", "MISSING", None, 1)],
        ),
    ],
)
def test_who_does_not_belong_together(manifest_, datasets, expected):
    assert said(audited(manifest_, datasets)) == expected


def test_the_first_line_with_the_content_is_named():
    """Two other lines list it, and there is a dataset with each of these names."""
    before = [("x", A), ("y", A), ("z", B)]
    findings = audited(before, [("x", A), ("y", A), ("z", A)])
    assert findings[2].status == "CHANGED"
    assert findings[2].detail == 'its content is listed as "x"'


def test_content_is_found_by_a_line_that_does_not_say_the_size():
    sizeless = listing.Listed(1, "old", codes_of(A).wide)
    for entry in (sizeless, sizeless._replace(filesize=len(A))):
        [finding] = audit.audit(listing.Listing([entry], []), [entry_of("new", A)])
        assert (finding.status, finding.matched_by) == ("MOVED", "content")
    other = sizeless._replace(filesize=len(A) + 1)
    findings = audit.audit(listing.Listing([other], []), [entry_of("new", A)])
    assert [finding.status for finding in findings] == ["EXTRA", "MISSING"]


# ---- What is there, by manifests


def test_manifests_take_the_place_of_datasets(tmp_path, script):
    """There are no datasets to read, only two manifests, one of them with a new name."""
    (tmp_path / "m").write_text(HEADER + manifest_line("a", A) + manifest_line("b", B))
    (tmp_path / "f1").write_text(HEADER + manifest_line("b", C))
    (tmp_path / "f2").write_text(HEADER + manifest_line("new", A))
    arguments = ["--found", "f1", "--found", "f2", "--manifest", "m", "--report", "r"]
    done = script("iscc_verify", *arguments, "--passed", "p", "--failed", "x", "--summary", "s")
    assert (done.returncode, done.stdout) == (0, counts(CHANGED=1, MOVED=1))
    rows = [line.split("\t")[:2] for line in (tmp_path / "r").read_text().splitlines()[1:]]
    assert rows == [["b", "CHANGED"], ["new", "MOVED"]]
    assert lists_of(tmp_path, "p", "x") == ("", "b\nnew\n")
    assert json.loads((tmp_path / "s").read_text())["datasets"] == 2
    found, manifests = (
        [{"source_path": str(tmp_path / name), "element_identifier": name} for name in names]
        for names in (["f1", "f2"], ["m"])
    )
    write_form(tmp_path, found=found, manifest=manifests)
    done = script("iscc_verify", "--inputs", "inputs.json", "--report", "again")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "again").read_text() == (tmp_path / "r").read_text()


def lists_of(folder: Path, *names: str) -> tuple[str, ...]:
    return tuple((folder / name).read_text() for name in names)


def pixel_line(name: str, content: bytes, pixels: str = U8) -> str:
    return manifest_line(name, content).removesuffix("\n") + f"\t{pixels}\t\n"


PIXEL_HEADER = HEADER.removesuffix("\n") + "\tpixels\timage_code\n"


@pytest.mark.parametrize(
    ("found", "manifest_"),
    [
        (HEADER + manifest_line("a", A), PIXEL_HEADER + pixel_line("a", A)),
        (PIXEL_HEADER + pixel_line("a", A), HEADER + manifest_line("a", A)),
        (PIXEL_HEADER + pixel_line("a", A), f"{codes_of(A).wide} *a\n"),
    ],
)
def test_codes_of_bytes_and_of_pixels_are_not_checked_against_each_other(
    tmp_path, script, found, manifest_
):
    (tmp_path / "f").write_text(found)
    (tmp_path / "m").write_text(manifest_)
    done = script("iscc_verify", "--found", "f", "--manifest", "m", "--report", "r")
    assert done.returncode == 2
    assert "codes of pixels and of bytes cannot be compared" in done.stderr
    there, listed_ = ("pixels", "bytes") if "pixels" in found else ("bytes", "pixels")
    assert f'found codes of {there} in "f", and codes of {listed_} in "m"; ' in done.stderr
    assert "ISCC pixel manifest" in done.stderr
    assert ("--of-pixels" in done.stderr) == (there == "pixels")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("options", [[], ["--of-pixels"]])
def test_datasets_and_codes_of_pixels_are_refused_before_anything_is_read(
    tmp_path, script, options
):
    """Reading could take hours. The message names the manifest, and what to do."""
    line = manifest_line("a", A) if options else pixel_line("a", A)
    (tmp_path / "m").write_text((HEADER if options else PIXEL_HEADER) + line)
    done = script("iscc_verify", "no such file", "--manifest", "m", "--report", "r", *options)
    assert done.returncode == 2
    reason = '"m", line 2: its codes are of pixels, and datasets are checked as bytes; make a man'
    assert done.stderr.startswith(f"iscc_verify: {reason}")
    assert "(--found)" in done.stderr
    assert done.stderr.count("\n") == 1


def test_lines_of_pixels_do_not_say_that_a_folder_is_listed_file_by_file(tmp_path, script):
    """Images in a directory that contains several have names that begin with the directory's."""
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "chunk").write_bytes(A)
    lines = manifest_line("z", A).rstrip("\n") + "\t\t\n", pixel_line("z/0", B)
    (tmp_path / "m").write_text(PIXEL_HEADER + "".join(lines))
    done = script("iscc_verify", "z", "--manifest", "m", "--report", "r")
    assert (done.returncode, done.stdout) == (0, counts(OK=1))


def test_lines_of_an_image_of_both_kinds_do_not_make_each_other_invalid(tmp_path, script):
    """As in a trail or in concatenated manifests: each line is meant for its kind."""
    no_pixels = [manifest_line(name, A).rstrip("\n") + "\t\t\n" for name in ("d/a.tif", "b.txt")]
    planes = [pixel_line(name, B) for name in ("d/a.tif", "d/a.tif/0/z1c0t0", "lost.tif")]
    (tmp_path / "m").write_text(PIXEL_HEADER + "".join(no_pixels + planes))
    for name in ("d/a.tif", "b.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(A)
    done = script("iscc_verify", "d/a.tif", "b.txt", "--manifest", "m", "--report", "r")
    assert (done.returncode, done.stdout) == (0, counts(OK=2, INVALID=1))
    assert "\nlost.tif\tINVALID" in (tmp_path / "r").read_text()
    (tmp_path / "f").write_text(PIXEL_HEADER + "".join(planes))
    done = script("iscc_verify", "--found", "f", "--manifest", "m", "--report", "r")
    assert (done.returncode, done.stdout) == (0, counts(OK=3, INVALID=1))
    assert "\nb.txt\tINVALID" in (tmp_path / "r").read_text()


def test_a_name_of_many_parts_needs_no_memory_for_each(tmp_path, script):
    """A line of pixels next to lines of bytes: the square of its length would be 45 GB."""
    deep = "d" + "/a" * 150_000
    no_pixels = manifest_line("b.txt", A).rstrip("\n") + "\t\t\n"
    (tmp_path / "m").write_text(PIXEL_HEADER + no_pixels + pixel_line(deep, B))
    (tmp_path / "b.txt").write_bytes(A)
    done = script("iscc_verify", "b.txt", "--manifest", "m")
    assert (done.returncode, done.stdout) == (0, counts(OK=1, INVALID=1))


def test_lines_of_a_kind_that_is_not_there_are_invalid(tmp_path, script):
    both = PIXEL_HEADER + pixel_line("p", A) + pixel_line("b", B, "")
    (tmp_path / "m").write_text(both)
    (tmp_path / "f").write_text(PIXEL_HEADER + pixel_line("p", A))
    done = script("iscc_verify", "--found", "f", "--manifest", "m", "--report", "r")
    assert (done.returncode, done.stdout) == (0, counts(OK=1, INVALID=1))
    report = (tmp_path / "r").read_text()
    assert "its code is of bytes, and codes of pixels are checked" in report
    assert "--of-pixels" not in report
    # Where a list says of some lines that they are of pixels, the others are of bytes.
    (tmp_path / "f").write_text(PIXEL_HEADER + pixel_line("p", A) + pixel_line("b", B))
    options = ["--found", "f", "--manifest", "m", "--of-pixels"]
    assert script("iscc_verify", *options).stdout == counts(OK=1, EXTRA=1, INVALID=1)
    (tmp_path / "b").write_bytes(B)
    done = script("iscc_verify", "b", "--manifest", "m", "--report", "r")
    assert (done.returncode, done.stdout) == (0, counts(OK=1, INVALID=1))
    assert "its codes are of pixels, and datasets are checked as" in (tmp_path / "r").read_text()
    (tmp_path / "f").write_text(both)
    done = script("iscc_verify", "--found", "f", "--manifest", "m", "--report", "r")
    assert (done.returncode, done.stdout) == (0, counts(OK=2))


def test_a_list_may_be_declared_to_be_of_pixels(tmp_path, script):
    """As exported from OMERO annotations: names and codes. Type and sizes are then unknown."""
    (tmp_path / "omero.csv").write_text(f"name,iscc\na.czi,{codes_of(A).wide}\n")
    (tmp_path / "f").write_text(PIXEL_HEADER + pixel_line("a.ome.tif", A))
    options = ["--found", "f", "--manifest", "omero.csv", "--report", "r"]
    assert script("iscc_verify", *options).returncode == 2
    done = script("iscc_verify", *options, "--of-pixels")
    assert (done.returncode, done.stdout) == (0, counts(OK=1))
    row = (tmp_path / "r").read_text().splitlines()[1].split("\t")
    assert (row[5], row[4]) == ("name without extensions", "type and sizes are not listed")
    write_form(
        tmp_path,
        found={"source_path": str(tmp_path / "f"), "element_identifier": "f"},
        codes=codes_of(A).wide,
    )
    done = script("iscc_verify", "--inputs", "inputs.json", "--report", "r")
    assert 'codes of bytes in "the codes in the form"' in done.stderr
    done = script("iscc_verify", "--inputs", "inputs.json", "--report", "r", "--of-pixels")
    assert (done.returncode, done.stdout) == (0, counts(OK=1))


@pytest.mark.parametrize("column", ["data_code", "instance_code"])
@pytest.mark.parametrize("code", ["garbage", "ISCC:GAD", "\u0663", codes_of(C).wide])
def test_what_is_there_has_no_codes_that_are_none(tmp_path, script, column, code):
    """Codes of other bytes are refused as well."""
    fields = dict(zip(HEADER.split("\t"), manifest_line("a", A).split("\t"), strict=True))
    fields[column] = code
    (tmp_path / "f").write_text(HEADER + "\t".join(fields.values()))
    (tmp_path / "m").write_text(HEADER + manifest_line("a", A))
    done = script("iscc_verify", "--found", "f", "--manifest", "m", "--report", "r")
    assert done.returncode == 2
    assert done.stderr.startswith('iscc_verify: "f", "a": expected a line with iscc, filesize, da')
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("column", ["filesize", "datahash", "data_code"])
def test_what_is_there_has_to_be_known_in_full(tmp_path, script, column):
    """Columns must be complete and agree, or OK might be true of one of them only."""
    (tmp_path / "m").write_text(HEADER + manifest_line("a", A))
    place = HEADER.removeprefix("#").rstrip("\n").split("\t").index(column)
    for other in (
        "",
        "12345" if column == "filesize" else manifest_line("a", C).split("\t")[place],
    ):
        fields = manifest_line("a", A).split("\t")
        fields[place] = other
        (tmp_path / "f").write_text(HEADER + "\t".join(fields))
        done = script("iscc_verify", "--found", "f", "--manifest", "m", "--report", "r")
        if column == "filesize" and other:  # nothing else says the size
            assert done.stdout == counts(CHANGED=1)
        else:
            assert done.returncode == 2
            assert 'iscc_verify: "f", "a": expected a line with iscc, filesize, da' in done.stderr


def test_json_says_pixels_as_a_table_does(tmp_path, script):
    """Such a code is not taken for one of bytes; type and sizes are compared."""
    (tmp_path / "f").write_text(PIXEL_HEADER + "".join(pixel_line(name, A) for name in "abcd"))
    items = [
        {"name": name, "iscc": codes_of(A).wide, "pixels": pixels}
        for name, pixels in zip("abcd", (U8, I8, "uint8 3x3", 7), strict=True)
    ]
    (tmp_path / "m").write_text(json.dumps(items))
    options = ["--found", "f", "--manifest", "m", "--report", "r", "--ignore", "extra"]
    done = script("iscc_verify", *options)
    assert (done.returncode, done.stdout) == (0, counts(OK=1, CHANGED=1, EXTRA=2, INVALID=2))
    assert "expected imagewalk, a type and five sizes as pixels" in (tmp_path / "r").read_text()


def test_a_manifest_is_not_checked_against_itself(tmp_path, script):
    """Everything would be OK; a Galaxy form proposes the newest table in both places."""
    (tmp_path / "m").write_text(HEADER + manifest_line("a", A))
    (tmp_path / "link").symlink_to("m")
    (tmp_path / "other").write_text(HEADER + manifest_line("a", A))
    done = script("iscc_verify", "--found", "other", "--found", "link", "--manifest", "m")
    assert done.returncode == 2
    assert done.stderr.startswith(
        'iscc_verify: "m": expected two manifests, one of the current data'
    )
    assert done.stderr.count("\n") == 1
    done = script("iscc_verify", "--found", "other", "--manifest", "m")
    assert (done.returncode, done.stdout) == (0, counts(OK=1))


def test_files_and_manifests_of_what_is_there_exclude_each_other(tmp_path, script):
    (tmp_path / "m").write_text(HEADER + manifest_line("m", A))
    done = script("iscc_verify", "m", "--found", "m", "--manifest", "m")
    assert done.returncode == 2
    assert "--found: not allowed with argument" in done.stderr


def test_the_result_has_the_counts_of_standard_output(tmp_path, script):
    (tmp_path / "a").write_bytes(A)
    (tmp_path / "m").write_text(HEADER + manifest_line("a", A) + manifest_line("b", B))
    done = script("iscc_verify", "a", "--manifest", "m", "--result", "r")
    assert done.stdout == counts(OK=1, MISSING=1)
    text = (tmp_path / "r").read_text()
    assert text.replace(",\n", ", ") == f"1 dataset: {done.stdout}"
    assert all(len(line) <= 72 for line in text.splitlines())


def test_the_first_mismatches_are_in_the_order_of_the_report(tmp_path, script):
    """Directories without a file are at its end, below the lines that are missing."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "m.tsv").write_text(
        HEADER + manifest_line("empty/a", b"") + manifest_line("b", b"")
    )
    arguments = ("empty", "--manifest", "m.tsv", "--report", "r.tsv", "--on-mismatch", "fail")
    done = script("iscc_verify", *arguments)
    rows = [line.split("\t")[:2] for line in (tmp_path / "r.tsv").read_text().splitlines()[1:]]
    assert rows == [["empty/a", "MISSING"], ["b", "MISSING"], ["empty", "CHANGED"]]
    assert done.stderr == (
        'iscc_verify: 3 do not match: "empty/a" is MISSING, "b" is MISSING, "empty" is CHANGED\n'
    )
