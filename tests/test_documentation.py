"""What README, tutorial, help and the description of the manifest say is what the software does."""

import os
import re
import shutil
import subprocess
import sys
from math import comb
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_browser import IMAGES

import iscc_similarity
import manifest
import picture
from dev.environments import PROJECT
from dev.suite import TOOLS
from documents import MANIFEST, README, TUTORIAL, code_blocks
from oracle import TEST_DATA, codes_of_file, distance
from samples import HOSTILE
from test_suite import expanded

DOCUMENTS = [
    *PROJECT.glob("*.md"),
    *PROJECT.glob("*/*.md"),
    *PROJECT.glob("workflows/*/*.md"),
]

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


NUMBER = re.compile(r"(?<![\w.])(?:\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?)(?!\w)")

# Where two files stop to be near-duplicates, related, weakly related; and two unrelated ones.
BANDS = [end for end, _ in picture.BANDS]


def prose(text: str) -> str:
    """A text without what is compared elsewhere, or names something: tables, code, links."""
    return re.sub(r"^(\||>? ?#).*$|`.*?`|\]\(.*?\)|<!--.*?-->", "", text, flags=re.M)


def apart(image: str, other: str) -> int:
    return distance(codes_of_file(image).wide, codes_of_file(other).wide)


def test_numbers_in_the_tutorial_are_so():
    """Those of its tables are compared in the browser test. The others, each with its reason."""
    known = {
        "24138": "the number of the ISO standard",
        "26.1": "the Galaxy whose words are used; which one is in test_publishing.py",
        str(len(IMAGES) + 1): "images, with the copy",
        str(len(IMAGES)): "images that are left without the copy",
        "1": "dropped: the copy",
        f"{(TEST_DATA / 'nuclei.tif').stat().st_size:,}": "bytes, of three images",
        str(apart("nuclei.tif", "nuclei_retouched.tif")): "bits, of the retouched image",
        str(apart("cell.png", "retina.jpg")): "bits, of two that are unrelated",
        "128": "bits that are compared",
        **dict.fromkeys(map(str, BANDS), "bits, where a kind of similarity ends"),
    }
    text = re.sub(r"^> *\d+\. ", "", TUTORIAL.read_text(), flags=re.M)  # numbers of steps
    found = NUMBER.findall(prose(text))
    assert found
    assert not set(found) - set(known)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.stem)
def test_numbers_in_forms_and_help_are_so(tool):
    """What one nucleus painted over does is in test_suite.py; the rest are limits of the code."""
    near, related, weak, unrelated = BANDS
    bits = apart("nuclei.tif", "nuclei_retouched.tif")
    known = {
        *("24138", "2024", "256", "128", "64"),  # the standard, and how long codes are
        "0",  # the distance that does not mean equal; a flipped byte is in test_similarity.py
        *map(str, [near, near + 1, related, related + 1, weak, unrelated]),
        *(str(bits), f"{100 - 100 * bits / 128:.1f}", "610", f"{256 * 256:,}"),
        *(f"{limit:,}" for limit in (manifest.TINY, manifest.SMALL)),
        *(f"{limit:,}" for limit in (picture.MOST_IN_HEAT_MAP, iscc_similarity.MOST_IN_MATRIX)),
    }
    root = expanded(tool)
    texts = [root.findtext("help"), *(each.get("help") or "" for each in root.iter("param"))]
    texts += [each.get("label") or "" for each in root.iter("param")]
    texts += [each.text or "" for each in root.find("inputs").iter("option")]
    found = [number for text in texts for number in NUMBER.findall(text)]
    assert found
    assert not set(found) - known


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.stem)
def test_help_is_short(tool):
    assert len(expanded(tool).findtext("help").split()) <= 300


def test_limits_in_the_readme_are_those_of_the_code():
    text = README.read_text()
    near, related, weak, unrelated = BANDS
    for said in (
        f"| up to {near} | near-duplicates",
        f"| {near + 1} to {related} | related",
        f"| {related + 1} to {weak} | weakly related",
        f"about {unrelated} apart",
        f"Below {manifest.SMALL:,} bytes a distance is unreliable",
        f"below {manifest.TINY:,} bytes the tools compare for equality only",
        f"(`--max-pairs`, {iscc_similarity.MOST_PAIRS:,})",
        f"for up to {iscc_similarity.MOST_IN_MATRIX:,} datasets",
        f"of up to {picture.MOST_IN_HEAT_MAP} datasets a heat map",
    ):
        assert said in text


def test_independent_codes_come_as_close_as_the_readme_says():
    """Each of 128 bits differs with a probability of a half: the binomial distribution."""
    weak = BANDS[2]
    pairs = sum(comb(128, bits) for bits in range(weak + 1))
    assert f"fewer than one pair in ten million comes within {weak}" in README.read_text()
    assert pairs / 2**128 < 1e-7


def test_links_lead_somewhere():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
            if not target.startswith("https://"):
                assert (document.parent / target).exists(), f"{document}: {target}"


def test_commands_of_make_exist():
    targets = set(re.findall(r"^([\w-]+):", (PROJECT / "Makefile").read_text(), re.M))
    for document in DOCUMENTS:
        used = set(re.findall(r"`make ([\w-]+)", document.read_text()))
        assert used <= targets, document


def test_options_exist():
    """Of the scripts: what a document says in code, of programs that are not ours left out."""
    helps = [
        subprocess.run(
            [sys.executable, tool.with_suffix(".py"), "--help"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for tool in TOOLS
    ]
    options = set(re.findall(r"--[a-z][a-z-]+", "".join(helps)))
    of_iscc_sum = {"--tag", "--units", "--narrow", "--tree", "--similar"}
    for document in (README, TUTORIAL, MANIFEST):
        said = re.findall(r"`(--[a-z][a-z-]+)[^`]*`", document.read_text())
        assert set(said) <= options | of_iscc_sum, document


def test_the_example_in_the_tutorial_is_a_code():
    """Codes in running text, cut off or whole, are those of the image that is meant."""
    code = codes_of_file("nuclei.tif").wide
    found = re.findall(r"`(ISCC:[A-Z2-7]+)…`", TUTORIAL.read_text())
    assert found
    assert all(map(code.startswith, found))
