"""folders selects and orders files as `iscc-sum --tree` does, also in untrusted directories."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from iscc_sum.treewalk import treewalk_iscc

import folders
from messages import InputError
from oracle import HEADER, manifest_line
from samples import NEEDS_NAMES_OF_BYTES

ISCC_SUM = Path(sys.executable).parent / "iscc-sum"
ORDER = [".isccignore", ".zattrs", "C", "b", "é", ".hidden/a", "0/0.0", "0/10", "0/9"]


def test_the_code_of_a_directory_is_that_of_the_command(tree, script):
    """By `iscc-sum --tree`, and by iscc-core for the bytes of the files in that order."""
    done = script("iscc_manifest", "image.zarr", "--manifest", "m.tsv")
    assert done.returncode == 0, done.stderr
    [_, row] = (tree.parent / "m.tsv").read_text().splitlines()
    command = [ISCC_SUM, "--tree", "image.zarr"]
    expected = subprocess.run(command, cwd=tree.parent, capture_output=True, text=True, check=True)
    name, iscc = row.split("\t")[:2]
    assert f"{iscc} *{name}/\n" == expected.stdout
    content = b"".join((tree / name).read_bytes() for name in ORDER)
    assert row == manifest_line("image.zarr", content).rstrip("\n")


def test_a_row_for_each_file_of_a_directory(tree, script):
    (tree.parent / "a.tif").write_bytes(b"a")
    done = script("iscc_manifest", "image.zarr", "a.tif", "--per-file", "--manifest", "m.tsv")
    assert done.returncode == 0, done.stderr
    expected = [manifest_line(f"image.zarr/{n}", (tree / n).read_bytes()) for n in ORDER]
    expected.append(manifest_line("a.tif", b"a"))
    assert (tree.parent / "m.tsv").read_text() == HEADER + "".join(expected)


def test_a_directory_that_is_reached_by_a_link(tree):
    (tree.parent / "here").symlink_to(tree)
    assert [path for path, _ in folders.list_files(tree.parent / "here", "here")] == ORDER


NAMES = [
    "foo\\",
    "b\\",
    "a",
    "b",
    "B",
    "é",
    "e\u0301",
    "10",
    "9",
    ".x",
    ".gitignore",
    ".isccignore",
    "x.iscc.json",
]
PATTERNS = [
    "foo\\\\ ",
    "b\\\\",
    "*.tmp",
    "b",
    "/a",
    "a/",
    "**/9",
    "!9",
    "1?",
    "[ab]",
    "# comment",
    "",
    "a/**",
    "*/.x",
]


@pytest.mark.parametrize("seed", range(60))
def test_files_and_their_order_are_those_of_iscc_sum(tmp_path, seed):
    """In random trees, with ignore files anywhere in them."""
    chance = random.Random(seed)
    directories = [tmp_path]
    for _ in range(6):
        path = chance.choice(directories) / chance.choice([*NAMES[2:10], "d", "e.tmp"])
        path.mkdir(exist_ok=True)
        directories.append(path)
    for directory in directories:
        for name in chance.sample([*NAMES, "c.tmp"], 5):
            path = directory / name
            if path.exists():
                continue
            if name == ".isccignore":
                path.write_text(chance.choice(["\n", "\r\n"]).join(chance.sample(PATTERNS, 3)))
            elif chance.random() < 0.1:
                path.symlink_to(chance.choice(directories))
            else:
                path.touch()
    expected = [path.relative_to(tmp_path).as_posix() for path in treewalk_iscc(tmp_path)]
    assert [path for path, _ in folders.list_files(tmp_path, "d")] == expected


@NEEDS_NAMES_OF_BYTES
def test_names_that_are_not_text(tree):
    (tree / "\udcff").write_bytes(b"a")
    with pytest.raises(InputError, match="expected UTF-8"):
        folders.list_files(tree, "image.zarr")


def ignore_file(tree: Path, kind: str) -> None:
    path = tree / "0" / ".isccignore"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "link":
        (tree.parent / "elsewhere").write_text("*")
        path.symlink_to(tree.parent / "elsewhere")
    elif kind == "directory":
        path.mkdir()
    elif kind == "large":
        path.write_bytes(b"# \n" * 30_000)
    elif kind == "stars":
        path.write_text("*a" * 20 + "*b")
    elif kind == "stars in a row":
        path.write_text("a********b")
    elif kind == "short":  # in names as well as patterns, but very many
        path.write_text("\n".join("abcdefgh") * 2000)
        for number in range(1000):
            (tree / "0" / f"{number}").touch()
    elif kind == "several":
        for name in ("0", ".hidden"):
            (tree / name / ".isccignore").write_bytes(b"# \n" * 15_000)
    elif kind == "many":
        path.write_text("*a*b\n" * 13_000)
        for number in range(1000):
            (tree / "0" / (f"{number}" + "a" * 100)).touch()
    else:
        path.write_text(kind)


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("pipe", "a regular file"),
        ("device", "a regular file"),
        ("link", "a regular file"),
        ("directory", "a regular file"),
        ("large", "at most 65,536 bytes"),
        ("several", "at most 65,536 bytes"),
        ("stars in a row", "would take too long"),
        ("short", "would take too long"),
        ("stars", "would take too long"),
        ("many", "would take too long"),
        ("!", "cannot read"),
        ("[z-a]", "cannot read"),
    ],
)
def test_ignore_files_of_strangers(tree, kind, word):
    """None of them hangs the tool, exhausts memory, or is read from outside the directory."""
    ignore_file(tree, kind)
    with pytest.raises(InputError, match=r'^cannot read "image\.zarr"') as error:
        folders.list_files(tree, "image.zarr")
    assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_patterns_as_people_write_them_are_no_burden(tree):
    """Ten thousand chunks and a few patterns take less than a tenth of the limit."""
    (tree / ".isccignore").write_text("**/.cache/*\n*.tmp\n*~\n")
    patterns = folders.read_patterns(tree / ".isccignore", "d", 100)
    assert 10_000 * patterns.steps("labels/nuclei/0/10.10.10") < folders.MOST_STEPS / 10


def test_a_deep_tree_takes_no_long_time(tmp_path):
    """900 nested directories; time is not quadratic, as parents are not inspected again."""
    here = tmp_path
    calls = []
    for _ in range(900):
        here = here / "d"
    here.mkdir(parents=True)
    (here / "file").touch()
    scandir = os.scandir

    def counted(path):
        calls.append(path)
        return scandir(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", counted)
        [(path, _)] = folders.list_files(tmp_path, "deep")
    assert path == "d/" * 900 + "file"
    assert len(calls) == 901
