"""iscc_sum: every code is that of iscc-core, and what cannot be read is refused by name."""

import json
import os
import random
from pathlib import Path

import pytest

import coding
from oracle import TEST_DATA, manifest_line

HEADER = "#name\tiscc\tfilesize\tdatahash\tdata_code\tinstance_code\tnote\n"
IMAGES = sorted(path for path in TEST_DATA.iterdir() if path.suffix in (".png", ".jpg", ".tif"))


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


CONTENTS = {
    "empty": b"",
    "one byte": b"a",
    "100 kB": noise(100_000),
    # More than one read of 2 MiB, and not a multiple of it.
    "3 MB": noise(3_000_000),
    "zeros": bytes(50_000),
} | {image.name: image.read_bytes() for image in IMAGES}


@pytest.mark.parametrize("width", ["wide", "narrow"])
@pytest.mark.parametrize("name", CONTENTS)
def test_codes_are_those_of_iscc_core(tmp_path, script, name, width):
    (tmp_path / name).write_bytes(CONTENTS[name])
    narrow = ["--narrow"] if width == "narrow" else []
    done = script("iscc_sum", name, "--manifest", "m.tsv", *narrow)
    assert (done.returncode, done.stderr) == (0, "")
    expected = HEADER + manifest_line(name, CONTENTS[name], narrow=bool(narrow))
    assert (tmp_path / "m.tsv").read_text() == expected


def test_rows_stand_in_input_order_under_the_paths_as_given(tmp_path, script):
    names = ["b b.tif", "./a.tif", "-c.tif", "\udcff.tif", "b b.tif"]
    for name in names:
        (tmp_path / name).write_bytes(name.encode("utf-8", "surrogateescape"))
    done = script("iscc_sum", "--manifest", "m.tsv", "--", *names)
    assert done.returncode == 0
    lines = (tmp_path / "m.tsv").read_text(errors="surrogateescape").splitlines()[1:]
    assert [line.split("\t")[0] for line in lines] == names
    # 7 + 7 + 6 + 5 + 7 bytes
    assert done.stdout.startswith("5 datasets, 32 bytes, ")
    assert done.stdout.endswith("; 5 empty or too small for similarity\n")


def test_an_output_that_is_a_pipe(tmp_path, script):
    (tmp_path / "a").write_bytes(b"a")
    done = script("iscc_sum", "a", "--manifest", "/dev/stdout")
    assert done.stdout.startswith(HEADER + manifest_line("a", b"a"))


def unreadable(folder: Path, kind: str) -> None:
    path = folder / "gone.tif"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "forbidden":
        if os.geteuid() == 0:
            pytest.skip("root may read everything")
        path.touch(mode=0)
    elif kind == "dangling link":
        path.symlink_to("nowhere")
    elif kind == "failing":
        # The kernel opens this file and refuses to read it at position 0.
        path.symlink_to("/proc/self/mem")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "No such file or directory"),
        ("dangling link", "No such file or directory"),
        ("directory", "it is no regular file"),
        ("pipe", "it is no regular file"),
        ("forbidden", "Permission denied"),
        ("failing", "Input/output error"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, script, kind, reason):
    unreadable(tmp_path, kind)
    (tmp_path / "a.tif").write_bytes(b"a")
    done = script("iscc_sum", "a.tif", "gone.tif", "--manifest", "m.tsv")
    assert done.returncode == 2
    assert done.stderr == f'iscc_sum: cannot read "gone.tif": {reason}\n'
    assert done.stdout == ""
    assert not list(tmp_path.glob("m.tsv*"))


def test_an_output_that_cannot_be_written(tmp_path, script):
    (tmp_path / "a").write_bytes(b"a")
    done = script("iscc_sum", "a", "--manifest", "no/m.tsv")
    assert done.returncode == 2
    assert done.stderr == 'iscc_sum: cannot write "no/m.tsv": No such file or directory\n'


def dataset(identifier: str | list[str]) -> dict[str, object]:
    return {"element_identifier": identifier, "source_path": "f"}


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        (dataset("a.tif"), ["a.tif"]),
        (
            [dataset("$(touch x).tif"), dataset("b\n")],
            ["$(touch x).tif", "b\n"],
        ),
        ([dataset(["day 1", "forward"])], ["day 1/forward"]),
        ([], []),
    ],
    ids=["one", "several", "nested", "empty collection"],
)
def test_reads_the_inputs_of_a_tool(tmp_path, chosen, names):
    (tmp_path / "inputs.json").write_text(json.dumps({"datasets": chosen}))
    found = coding.from_galaxy(tmp_path / "inputs.json", "datasets")
    assert [each.name for each in found] == names
    assert {each.path for each in found} <= {Path("f")}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, 'cannot read "inputs.json": No such file or directory'),
        ("{}", '"inputs.json": expected the key "datasets", found none'),
        ("{", '"inputs.json": expected the inputs of a Galaxy tool as JSON, found '),
        (
            '{"datasets": [1]}',
            '"inputs.json": expected the inputs of a Galaxy tool as JSON, found ',
        ),
    ],
)
def test_inputs_that_are_none_are_refused(tmp_path, script, content, message):
    if content is not None:
        (tmp_path / "inputs.json").write_text(content)
    done = script("iscc_sum", "--inputs", "inputs.json", "--manifest", "m.tsv")
    assert done.returncode == 2
    assert done.stderr.startswith(f"iscc_sum: {message}")
    assert done.stderr.count("\n") == 1


def test_bad_usage(script):
    done = script("iscc_sum", "--manifest", "m.tsv")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("iscc_sum: error: ")
    assert "Traceback" not in done.stderr
