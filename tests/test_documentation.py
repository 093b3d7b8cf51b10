"""What README, tutorial, help and the description of the manifest say is what the software does."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import manifest
from dev.environments import PROJECT
from documents import MANIFEST, README, code_blocks
from oracle import codes_of
from samples import HOSTILE

# Every run takes another time; what is said of it is that it is short.
SECONDS = re.compile(r"[0-9]+\.[0-9] s\b")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with what commands in a document expect to find."""
    (tmp_path / "tools").symlink_to(PROJECT / "tools")
    shutil.copytree(PROJECT / "test-data", tmp_path / "test-data")
    return tmp_path


def session(block: str) -> list[tuple[str, str]]:
    """The commands of a block, each with the output that is shown below it."""
    parts = re.split(r"^\$ ", block, flags=re.M)
    assert parts[0] == "", "a block of a console begins with a command"
    return [
        (command, output) for command, _, output in (part.partition("\n") for part in parts[1:])
    ]


@pytest.mark.parametrize("document", [README, MANIFEST], ids=lambda path: path.stem)
def test_commands_give_what_is_shown(document, place):
    """All of a document, from top to bottom, in one shell each block; Python files are there."""
    for program in code_blocks(document, "python"):
        first, _, _ = program.partition("\n")
        (place / first.removeprefix("# ")).write_text(program)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    blocks = code_blocks(document, "console")
    assert blocks
    for block in blocks:
        commands = session(block)
        script = "".join(f"{command}\necho '----'\n" for command, _ in commands)
        done = subprocess.run(
            ["bash", "-c", f"exec 2>&1\n{script}"],
            cwd=place,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        outputs = SECONDS.sub("0.0 s", done.stdout).split("----\n")
        shown = [
            (command, SECONDS.sub("0.0 s", output).rstrip("\n")) for command, output in commands
        ]
        came = [output.rstrip("\n") for output in outputs[:-1]]
        assert list(zip([command for command, _ in commands], came, strict=True)) == shown


def column_patterns() -> dict[str, str]:
    """The regular expressions in the description of the manifest, by column."""
    rows = re.findall(r"^\| `(\w+)` \|.*\| `(.*)` \|$", MANIFEST.read_text(), re.M)
    return {column: pattern.replace("\\|", "|") for column, pattern in rows}


def test_all_columns_are_described_in_their_order():
    assert [*column_patterns()] == [column.lstrip("#") for column in manifest.COLUMNS]
    header = " TAB ".join(f'"{column}"' for column in manifest.COLUMNS)
    assert f"header   = {header} LF" in MANIFEST.read_text()


@pytest.mark.parametrize("options", [[], ["--narrow"]])
def test_what_is_written_fits_the_description(script, tmp_path, options):
    patterns = [re.compile(pattern) for pattern in column_patterns().values()]
    names = [name for name in HOSTILE if "/" not in name and len(name.encode()) < 250]
    for size, name in enumerate(names):
        (tmp_path / name).write_bytes(b"x" * size * 3000)
    done = script("iscc_sum", *options, "--manifest", "manifest.tsv", "--", *names)
    assert done.returncode == 0, done.stderr
    [_, *lines] = (tmp_path / "manifest.tsv").read_text().removesuffix("\n").split("\n")
    assert len(lines) == len(names)
    for line in lines:
        fields = line.split("\t")
        assert all(p.fullmatch(field) for p, field in zip(patterns, fields, strict=True)), line


@given(
    st.lists(
        st.tuples(
            *(st.from_regex(pattern, fullmatch=True) for pattern in column_patterns().values())
        ),
        min_size=1,
        max_size=3,
    )
)
def test_what_fits_the_description_is_read(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "described.tsv"
    lines = ["\t".join(fields) for fields in [manifest.COLUMNS, *rows]]
    path.write_text("".join(f"{line}\n" for line in lines), newline="\n")
    entries = manifest.read(path, "described.tsv")
    assert [manifest.escape(entry.name) for entry in entries] == [
        row[0].removeprefix("\\") if row[0].startswith("\\#") else row[0] for row in rows
    ]


def test_the_example_in_the_tutorial_is_a_code():
    """Codes in running text, cut off or whole, are those of the image that is meant."""
    code = codes_of((PROJECT / "test-data" / "nuclei.tif").read_bytes()).wide
    for document in (PROJECT / "docs" / "tutorial.md", README):
        for found in re.findall(r"`(ISCC:[A-Z2-7]+)…`", document.read_text()):
            assert code.startswith(found), document
