"""The gate: it lets a dataset through if, and only if, a report of iscc_verify has no mismatch."""

import json

import pytest

import audit
from samples import HOSTILE

HEADER = "\t".join(audit.COLUMNS) + "\n"


def row(name: str, status: str, line: str = "") -> str:
    fields = {"#name": name, "status": status, "line": line}
    return "\t".join(fields.get(column, "") for column in audit.COLUMNS) + "\n"


@pytest.fixture
def gate(script, tmp_path):
    """Run the gate over a table with these rows: the result, and what was passed on."""

    def run(text: str, *options: str):
        (tmp_path / "it's.tsv").write_text(text, newline="")
        (tmp_path / "names").write_bytes(b"a\nb\xff\n")
        done = script("iscc_gate", "it's.tsv", "names", "--passed-on", "out", *options)
        passed = tmp_path / "out"
        return done, passed.read_bytes() if passed.exists() else None

    return run


def test_what_iscc_verify_found_decides(script, tmp_path):
    """By its own tables, whatever is counted there; and also by a whole report."""
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode() * 3000)
    script("iscc_manifest", "a", "b", "--manifest", "m")
    for files, options, mismatches, report in [
        ("ab", (), 0, 0),
        ("a", (), 1, 1),
        ("a", ("--ignore", "missing"), 0, 1),
    ]:
        tables = ("--mismatches", "x", "--report", "r")
        assert script("iscc_verify", *files, "--manifest", "m", *tables, *options).returncode == 0
        for table, status in (("x", mismatches), ("r", report)):
            (tmp_path / "out").unlink(missing_ok=True)
            done = script("iscc_gate", table, "m", "--passed-on", "out")
            assert done.returncode == status
            assert done.stderr == status * 'iscc_gate: 1 does not match: "b" is MISSING\n'
            assert (tmp_path / "out").exists() == (status == 0)
    assert (tmp_path / "out").exists() is False


@pytest.mark.parametrize("status", [each for each in audit.STATUSES if each != audit.OK])
def test_every_status_but_ok_is_a_mismatch(gate, status):
    done, passed = gate(HEADER + row("a", audit.OK) + row("b", status, "3"))
    assert (done.returncode, passed) == (1, None)
    assert done.stderr == f'iscc_gate: 1 does not match: "b" is {status}\n'
    done, passed = gate(HEADER + row("b", status), "--on-mismatch", "report")
    assert (done.returncode, passed) == (0, b"a\nb\xff\n")
    assert done.stdout == f'1 does not match: "b" is {status}\n'


def test_a_table_without_mismatches_lets_the_dataset_through(gate):
    for text in (HEADER, HEADER + row("a", audit.OK), "\ufeff" + HEADER.replace("\n", "\r\n")):
        done, passed = gate(text)
        assert (done.returncode, done.stdout) == (0, "everything matches\n")
        assert passed == b"a\nb\xff\n"


def test_the_first_mismatches_are_named(gate):
    rows = [row(r"tab\there", "EXTRA"), row("", "INVALID", "9")]
    done, _ = gate(HEADER + "".join(rows) + "".join(row(f"{n}", "MISSING") for n in range(2000)))
    assert done.stderr.startswith(
        'iscc_gate: 2,002 do not match: "tab\\there" is EXTRA, line 9 is INVALID, "0" is MISSING, '
    )
    assert done.stderr.endswith(", and 1,997 more\n")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected the mismatches that ISCC verify writes, a table with the columns name, st"),
        ("#name\tiscc\na\tISCC:K\n", "expected the mismatches that ISCC verify writes"),
        (HEADER.replace("\tbits", ""), "expected the mismatches that ISCC verify writes"),
        (row("a", "OK"), "expected the mismatches that ISCC verify writes"),
        (
            HEADER + row("a", "ok"),
            "line 2: expected 9 columns as in the header, with a status, fou",
        ),
        (HEADER + row("a", "OK") + "b\n", "line 3: expected 9 columns as in the header"),
        (HEADER + row("a", "OK").rstrip("\n") + "\t\n", "line 2: expected 9 columns"),
        (HEADER + row("a", "OK").rstrip("\n") + HEADER, "line 2: expected 9 columns"),
    ],
)
def test_what_is_not_a_report_opens_no_gate(gate, text, why):
    for options in ((), ("--on-mismatch", "report")):
        done, passed = gate(text, *options)
        assert (done.returncode, passed) == (2, None)
        assert done.stderr.startswith('iscc_gate: "it\'s.tsv"')
        assert why in done.stderr


def test_the_form_of_galaxy(script, tmp_path):
    """Names are data; both datasets have to be there, one of each."""
    (tmp_path / "t").write_text(HEADER)
    for name in HOSTILE:
        datasets = [{"element_identifier": name, "source_path": str(tmp_path / "t")}] * 2
        form = dict(zip(("mismatches", "pass_on"), datasets, strict=True))
        (tmp_path / "form").write_text(json.dumps(form))
        done = script("iscc_gate", "--inputs", "form", "--passed-on", "out")
        assert (done.returncode, done.stderr) == (0, "")
    for form in ({}, {"mismatches": datasets[0]}, {"mismatches": datasets, "pass_on": datasets}):
        (tmp_path / "form").write_text(json.dumps(form))
        assert script("iscc_gate", "--inputs", "form", "--passed-on", "new").returncode == 2
    assert not (tmp_path / "new").exists()
    assert script("iscc_gate", "t", "--passed-on", "new").returncode == 2
    assert script("iscc_gate", "t", "t", "--passed-on", "t").returncode == 2
    assert (tmp_path / "t").read_text() == HEADER
