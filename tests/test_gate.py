"""The gate passes a dataset on only if iscc_verify found something OK, and no mismatch."""

import json
from collections.abc import Callable

import pytest

import audit
from samples import HOSTILE

ALL_OK = {"datasets": 2, **dict.fromkeys(audit.STATUSES, 0), "OK": 2}
ALL_OK |= {"mismatches": 0, "ignored": [], "first_mismatches": []}


@pytest.fixture
def gate(script, tmp_path) -> Callable:
    """Run the gate with a summary: the result, and what was passed on."""

    def run(text: str, *options: str):
        (tmp_path / "it's.json").write_text(text, newline="")
        (tmp_path / "names").write_bytes(b"a\nb\xff\n")
        done = script("iscc_gate", "it's.json", "names", "--passed-on", "out", *options)
        passed = tmp_path / "out"
        return done, passed.read_bytes() if passed.exists() else None

    return run


def test_what_iscc_verify_found_decides(script, tmp_path):
    """What is ignored there is ignored here; but something has to be OK."""
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode() * 3000)
    script("iscc_manifest", "a", "b", "--manifest", "m")
    ignore = {each: ("--ignore", each) for each in ("missing", "extra")}
    for files, options, said in [
        ("ab", (), ""),
        ("a", (), '1 does not match: "b" is MISSING'),
        ("a", ignore["missing"], ""),
        ("abc", (), '1 does not match: "c" is EXTRA'),
        ("abc", ignore["extra"], ""),
        ("c", ignore["missing"], '1 does not match: "c" is EXTRA'),
        ("c", (*ignore["missing"], *ignore["extra"]), "no dataset is OK, so nothing was found int"),
    ]:
        done = script("iscc_verify", *files, "--manifest", "m", "--summary", "s", *options)
        assert done.returncode == 0, done.stderr
        (tmp_path / "out").unlink(missing_ok=True)
        done = script("iscc_gate", "s", "m", "--passed-on", "out")
        assert done.returncode == bool(said)
        assert done.stderr.startswith(said and f"iscc_gate: {said}")
        assert (tmp_path / "out").exists() == (not said)
        if not said:
            assert (tmp_path / "out").read_bytes() == (tmp_path / "m").read_bytes()
            assert done.stdout == "no mismatches\n"


@pytest.mark.parametrize("status", [each for each in audit.STATUSES if each != audit.OK])
def test_every_status_but_ok_is_a_mismatch(gate, status):
    found = {status: 1, "mismatches": 1, "first_mismatches": [f'"b" is {status}']}
    done, passed = gate(json.dumps(ALL_OK | found))
    assert (done.returncode, passed) == (1, None)
    assert done.stderr == f'iscc_gate: 1 does not match: "b" is {status}\n'
    done, passed = gate(json.dumps(ALL_OK | found), "--on-mismatch", "report")
    assert (done.returncode, passed) == (0, b"a\nb\xff\n")
    assert done.stdout == f'1 does not match: "b" is {status}\n'


def test_the_first_mismatches_are_named(script, tmp_path):
    (tmp_path / "it's").write_bytes(b"a" * 3000)
    script("iscc_manifest", "it's", "--manifest", "m")
    manifest = (tmp_path / "m").read_text()
    row = manifest.splitlines()[1].removeprefix("it's")
    lost = "".join(f"lost {number}{row}\n" for number in range(7))
    (tmp_path / "m").write_text(f"{manifest}not a code\n{lost}")
    script("iscc_verify", "it's", "--manifest", "m", "--summary", "s")
    done = script("iscc_gate", "s", "m", "--passed-on", "out")
    assert done.returncode == 1
    said = 'iscc_gate: 8 do not match: line 3 is INVALID, "lost 0" is MISSING, '
    assert done.stderr.startswith(said)
    assert done.stderr.endswith(", and 3 more\n")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"mismatches": 1}, "with 0 mismatches, as its counts say"),
        ({"CHANGED": 1}, "with 1 mismatches, as its counts say"),
        ({"MISSING": 1, "ignored": ["extra"]}, "with 1 mismatches, as its counts say"),
        ({"first_mismatches": ['"a" is CHANGED']}, "with 0 mismatches, as its counts say"),
        ({"OK": "2"}, "with a number as OK"),
        ({"OK": -1}, "with a number as OK"),
        ({"OK": True}, "with a number as OK"),
        ({"mismatches": 0.0}, "with a number as mismatches"),
        ({"ignored": "missing"}, "with a list of texts as ignored"),
        ({"first_mismatches": [1]}, "with a list of texts as first_mismatches"),
        ({"more": 1}, "with the keys datasets, OK, CHANGED"),
    ],
)
def test_a_summary_that_contradicts_itself_opens_no_gate(gate, change, why):
    for options in ((), ("--on-mismatch", "report")):
        done, passed = gate(json.dumps(ALL_OK | change), *options)
        assert (done.returncode, passed) == (2, None)
        assert done.stderr.startswith(
            'iscc_gate: "it\'s.json": expected the summary of ISCC verify'
        )
        assert why in done.stderr
        assert done.stderr.count("\n") == 1


WHOLE = json.dumps(ALL_OK)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "5",
        *(WHOLE[:cut] for cut in range(1, len(WHOLE), 7)),
        WHOLE.replace('"OK": 2', '"OK": 0, "OK": 2'),
        WHOLE.replace('"OK": 2, ', ""),
        "[" * 100_000,
        WHOLE + " " * 100_000 + "x",
        "#name\tstatus\n",
    ],
)
def test_what_is_not_a_whole_summary_opens_no_gate(gate, text):
    done, passed = gate(text)
    assert (done.returncode, passed) == (2, None)
    assert done.stderr.endswith("; choose the summary, in JSON, of this version of ISCC verify\n")
    assert done.stderr.count("\n") == 1


def test_the_form_of_galaxy(script, tmp_path):
    """Names are data; both datasets have to be there, one of each."""
    (tmp_path / "t").write_text(WHOLE)
    for name in HOSTILE:
        datasets = [{"element_identifier": name, "source_path": str(tmp_path / "t")}] * 2
        form = dict(zip(("summary", "pass_on"), datasets, strict=True))
        (tmp_path / "form").write_text(json.dumps(form))
        done = script("iscc_gate", "--inputs", "form", "--passed-on", "out")
        assert (done.returncode, done.stderr) == (0, "")
    for form in ({}, {"summary": datasets[0]}, {"summary": datasets, "pass_on": datasets}):
        (tmp_path / "form").write_text(json.dumps(form))
        assert script("iscc_gate", "--inputs", "form", "--passed-on", "new").returncode == 2
    assert not (tmp_path / "new").exists()
    assert script("iscc_gate", "t", "--passed-on", "new").returncode == 2
    assert script("iscc_gate", "t", "t", "--passed-on", "t").returncode == 2
    assert (tmp_path / "t").read_text() == WHOLE
