"""Commands, options and figures in README, docs and help agree with the software."""

import os
import re
import shutil
import subprocess
import sys
from math import comb
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from matplotlib.image import imread
from test_browser import IMAGES

import appearance
import contacts
import exports
import images
import iscc_similarity
import manifest
import panel_picture
import panel_search
import panels
import picture
import seal
import sheet
import thumbnails
from conftest import SCRIPTS
from dev.environments import PROJECT
from dev.suite import TOOLS
from documents import (
    ADMINISTRATORS,
    COMMAND_LINE,
    DISTANCES,
    DOCS,
    LIMITS,
    MANIFEST,
    NUMBER,
    PIXELS,
    PRIVACY,
    README,
    SEAL,
    SIMILARITY,
    TOURS,
    TRAIL,
    TUTORIAL,
    TUTORIAL_FIGURE,
    code_blocks,
    labelled_tables,
    numbers,
)
from oracle import TEST_DATA, codes_of, codes_of_file, distance, manifest_line
from samples import HOSTILE, column
from test_suite import expanded

DOCUMENTS = [
    PROJECT / name
    for name in subprocess.run(
        ["git", "ls-files", "*.md"], cwd=PROJECT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
]

# For users and administrators: those in which every option has to exist.
PAGES = [README, *sorted(DOCS.glob("*.md"))]
WITH_COMMANDS = [page for page in PAGES if code_blocks(page, "console")]

BENCHMARKS = PROJECT / "benchmarks" / "README.md"

# Every run takes another time; what is said of it is that it is short. Every key is another one.
SECONDS, KEY = re.compile(r"[0-9]+\.[0-9] s\b"), re.compile(r"\bz6Mk\w{44}\b")
PROGRESS = re.compile(r"^[0-9,]+ of [0-9,]+ datasets, .*B/s\n", re.M)  # of what takes long


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with the files that commands in a document use."""
    (tmp_path / "tools").symlink_to(PROJECT / "tools")
    shutil.copytree(PROJECT / "test-data", tmp_path / "test-data")
    return tmp_path


def session(block: str) -> list[tuple[str, str]]:
    """The commands of a block, each with the output shown below it."""
    parts = re.split(r"^\$ ", block, flags=re.M)
    assert parts[0] == "", "a block of a console begins with a command"
    return [
        (command, output) for command, _, output in (part.partition("\n") for part in parts[1:])
    ]


def timeless(output: str) -> str:
    """What does not depend on the time, nor on the speed of the machine."""
    return KEY.sub("z6Mk", SECONDS.sub("0.0 s", PROGRESS.sub("", output)))


def test_commands_are_found():
    assert {COMMAND_LINE, MANIFEST, PIXELS, TRAIL, SEAL} <= set(WITH_COMMANDS)
    for page in PAGES:  # commands with a prompt are in blocks of this kind, or they are not run
        assert page.read_text().count("\n$ ") == "".join(
            f"\n{block}" for block in code_blocks(page, "console")
        ).count("\n$ "), page


@pytest.mark.parametrize("document", WITH_COMMANDS, ids=lambda path: path.stem)
def test_commands_give_what_is_shown(document, place):
    """All blocks of a document, in order, each in one shell; Python blocks become files."""
    for program in code_blocks(document, "python"):
        first, _, _ = program.partition("\n")
        (place / first.removeprefix("# ")).write_text(program)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "LC_ALL": "C"}  # the order of *.tif
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
        outputs = timeless(done.stdout).split("----\n")
        shown = [(command, timeless(output).rstrip("\n")) for command, output in commands]
        came = [output.rstrip("\n") for output in outputs[:-1]]
        assert list(zip([command for command, _ in commands], came, strict=True)) == shown


def column_patterns() -> dict[str, str]:
    """The regular expressions in the description of the manifest, by column."""
    rows = re.findall(r"^\| `(\w+)` \|.*\| `(.*)` \|$", MANIFEST.read_text(), re.M)
    return {column: pattern.replace("\\|", "|") for column, pattern in rows}


def test_all_columns_are_described_in_their_order():
    columns = manifest.COLUMNS + manifest.PIXEL_COLUMNS
    assert [*column_patterns()] == [column.lstrip("#") for column in columns]
    header, more = (
        " TAB ".join(f'"{column}"' for column in each)
        for each in (manifest.COLUMNS, manifest.PIXEL_COLUMNS)
    )
    assert f"header   = {header} [ TAB {more} ] LF" in MANIFEST.read_text()


@pytest.mark.parametrize("options", [[], ["--narrow"]])
def test_what_is_written_fits_the_description(script, tmp_path, options):
    patterns = [re.compile(pattern) for pattern in column_patterns().values()]
    names = [name for name in HOSTILE if "/" not in name and len(name.encode()) < 250]
    for size, name in enumerate(names):
        (tmp_path / name).write_bytes(b"x" * size * 3000)
    done = script("iscc_manifest", *options, "--manifest", "manifest.tsv", "--", *names)
    assert done.returncode == 0, done.stderr
    [_, *lines] = (tmp_path / "manifest.tsv").read_text().removesuffix("\n").split("\n")
    assert len(lines) == len(names)
    for line in lines:
        fields = line.split("\t")
        assert all(p.fullmatch(field) for p, field in zip(patterns, fields, strict=False)), line
        assert len(fields) == len(manifest.COLUMNS)


def test_what_is_written_of_images_fits_the_description(program, tmp_path):
    tifffile.imwrite(tmp_path / "flat", np.ones((50, 50), "u1"), photometric="minisblack")
    images = [TEST_DATA / "nuclei_3d.tif", TEST_DATA / "retina.jpg", "flat"]
    options = ["--planes", "--projections", "--turned", "--manifest", "manifest.tsv"]
    done = program("iscc_pixels", *images, *options)
    assert done.returncode == 0, done.stderr
    patterns = [re.compile(pattern) for pattern in column_patterns().values()]
    [header, *lines] = (tmp_path / "manifest.tsv").read_text().removesuffix("\n").split("\n")
    assert header.split("\t") == [*manifest.COLUMNS, *manifest.PIXEL_COLUMNS]
    assert len(lines) == 1 + 31 + 1 + 1 + 3 + 1
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
    assume(not any("\0" in row[0] for row in rows))  # as no name has it
    path = tmp_path_factory.getbasetemp() / "described.tsv"
    columns = manifest.COLUMNS + manifest.PIXEL_COLUMNS
    lines = ["\t".join(fields) for fields in [columns, *rows]]
    path.write_text("".join(f"{line}\n" for line in lines), newline="\n")
    entries = manifest.read(path, "described.tsv")
    assert [manifest.escape(entry.name) for entry in entries] == [
        row[0].removeprefix("\\") if row[0].startswith("\\#") else row[0] for row in rows
    ]


# Where two files stop to be near-duplicates, related, weakly related; and two unrelated ones.
BANDS = [end for end, _ in picture.BY_CONTENT.bands]


def prose(text: str) -> str:
    """A text without names and what is compared elsewhere: tables, code, links."""
    return re.sub(r"^(\||>? ?#).*$|`.*?`|\]\(.*?\)|<!--.*?-->", "", text, flags=re.M)


def apart(image: str, other: str) -> int:
    return distance(codes_of_file(image).wide, codes_of_file(other).wide)


def test_numbers_in_the_tutorial_are_so():
    """In order. Numbers in its tables are compared in the browser test."""
    near, related, weak, _ = map(str, BANDS)
    retouched = str(apart("nuclei.tif", "nuclei_retouched.tif"))
    expected = [
        *("24138", "128"),  # the ISO standard, and bits that are compared
        "26.1",  # the Galaxy whose words are used; test_publishing.py says which one
        str(len(IMAGES) + 1),  # with the copy
        f"{(TEST_DATA / 'nuclei.tif').stat().st_size:,}",  # bytes, of three images
        *(related, retouched, "128"),  # the threshold, and what was painted over
        *(str(apart("cell.png", "retina.jpg")), "128", near, related, weak),
        *(str(len(IMAGES)), "1"),  # left, and dropped: the copy
        retouched,
    ]
    text = re.sub(r"^> *\d+\. ", "", TUTORIAL.read_text(), flags=re.M)  # numbers of steps
    assert NUMBER.findall(prose(text)) == expected


def test_numbers_in_the_second_tutorial_are_so():
    """In order, as above."""
    stack = tifffile.imread(TEST_DATA / "tutorial" / "stack.tif")
    rows, columns = imread(TEST_DATA / "tutorial" / "figure.jpg").shape
    [_, closest, *_] = labelled_tables(TUTORIAL_FIGURE)["matches"]
    _, _, bits, of, match = closest
    depth = re.search(r"/z(\d+)c", match)[1]
    expected = [
        *(str(len(stack)), str(len(stack) - 1), "8", "8"),  # planes, a plane less, bits of a JPEG
        *(str(len(stack) + 1), "0", str(contacts.MATCHES)),  # lines; numbers begin with 0
        *(depth, bits, of, str(picture.BY_APPEARANCE.farthest), depth, depth),
        *(str(columns), str(rows), "1.0", "3.11"),  # sigma of dev/analysis; the oldest Python
    ]
    text = re.sub(r"^> *\d+\. ", "", TUTORIAL_FIGURE.read_text(), flags=re.M)
    assert NUMBER.findall(prose(text)) == expected


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.stem)
def test_forms_and_help_have_no_other_numbers(tool):
    """Figures for a painted-over nucleus are in test_suite.py; the rest are limits of the code."""
    near, related, weak, unrelated = BANDS
    alike, worth_a_look, _ = (end for end, _ in picture.BY_APPEARANCE.bands)
    bits = apart("nuclei.tif", "nuclei_retouched.tif")
    known = {
        *("24138", "2024", "256", "128", "64"),  # the standard, and how long codes are
        "0",  # the distance that does not mean equal; a flipped byte is in test_similarity.py
        *map(str, [near, near + 1, related, related + 1, weak, unrelated]),
        *map(str, [alike, alike + 1, worth_a_look]),
        *(str(bits), f"{100 - 100 * bits / 128:.1f}", "610", f"{256 * 256:,}"),
        *(f"{limit:,}" for limit in (manifest.TINY, manifest.SMALL)),
        "2000",  # of JPEG 2000
        "2",  # the third image in a file
        f"{panels.CERTAIN:.0f}",
        *(str(limit) for limit in (panel_picture.MOST_ROWS, panel_search.MOST_FITTING)),
        *("0", "1", "2", "10"),  # depth 2, channel 1, time 0; 10 to the power of the certainty
        str(len(list(appearance.turned(np.zeros((32, 32)))))),  # Image-Codes of a figure
        str(thumbnails.MOST_SIDE),
        *(str(sheet.MOST_GROUPS), str(sheet.MOST_NAMED)),
        "3",  # kB of a thumbnail; matches on a contact sheet are in words
        *(f"{limit:,}" for limit in (picture.MOST_IN_HEAT_MAP, iscc_similarity.MOST_IN_MATRIX)),
    }
    root = expanded(tool)
    help_text = re.sub(r"^    .*$|<https:.*?>", "", root.findtext("help"), flags=re.M)
    texts = [help_text, *(each.get("help") or "" for each in root.iter("param"))]
    texts += [each.get("label") or "" for each in root.iter("param")]
    texts += [each.text or "" for each in root.find("inputs").iter("option")]
    found = [number for text in texts for number in NUMBER.findall(text)]
    assert found or tool.stem in ("iscc_trail", "iscc_seal", "iscc_gate")
    assert not set(found) - known


@pytest.mark.parametrize("tour", TOURS, ids=lambda tour: tour.stem)
def test_tours_have_no_other_numbers(tour):
    near, related, _, unrelated = BANDS
    known = {"128", *map(str, (near, related, unrelated)), f"{panels.CERTAIN:.0f}"}
    known |= {"2000"}  # of JPEG 2000
    steps = yaml.safe_load(tour.read_text())["steps"]
    assert not {number for step in steps for number in NUMBER.findall(step["content"])} - known


def test_there_is_a_tour_for_every_form():
    """Except the gate, which is only a step of workflows."""
    opened = re.findall(
        r"- 'a\.title-link\[href\*=\"(\w+)\"\]'", "".join(map(Path.read_text, TOURS))
    )
    assert sorted(opened) == sorted({tool.stem for tool in TOOLS} - {"iscc_gate"})


def test_addresses_of_tours_exist():
    texts = [path.read_text() for path in (*PAGES, *TOURS)]
    addresses = set(re.findall(r"(?<![\w.])/tours/([\w-]+)", "".join(texts)))
    assert addresses == {tour.stem for tour in TOURS}


def examples_in_help(form: str) -> list[list[str]]:
    """The rows of the table in a form's help, below its header; wide gaps separate columns."""
    [tool] = [tool for tool in TOOLS if tool.stem == form]
    blocks = re.findall(r"^    (#\w.*\n(?:    .*\n)+)", expanded(tool).findtext("help"), re.M)
    lines = blocks[0].splitlines()
    [header, *rows] = [re.split(r"  +", line.strip()) for line in lines]
    assert header[0].startswith("#")
    return rows


def test_the_manifest_in_the_help_is_that_of_the_images():
    rows = examples_in_help("iscc_sum")
    assert len(rows) == 2
    for name, *fields in rows:
        codes = codes_of_file(name)
        entry = manifest_line(name, (TEST_DATA / name).read_bytes()).rstrip("\n").split("\t")
        assert fields[1] == str(codes.filesize)
        for field, whole in zip(fields, entry[1:], strict=False):
            assert whole.startswith(field.removesuffix("…"))


def test_the_pairs_in_the_help_are_those_of_the_images():
    rows = examples_in_help("iscc_similarity")
    assert len(rows) == 2
    for name_a, name_b, relation, distance_, similarity in rows:
        bits = apart(*(name.replace("poster", "nuclei") for name in (name_a, name_b)))
        assert (relation == "exact") == (bits == 0)
        assert (distance_, similarity) == (str(bits), f"{100 - 100 * bits / 128:.1f}")


def test_the_pixels_in_the_help_are_those_of_the_stack():
    table = [line.split("\t") for line in (TEST_DATA / "planes.tsv").read_text().splitlines()]
    name, pixels = (table[0].index(column) for column in ("#name", "pixels"))
    rows = examples_in_help("iscc_pixels")
    assert len(rows) == 2
    assert all(row in [[line[name], line[pixels]] for line in table] for row in rows)


def test_the_lineage_in_the_help_is_that_of_the_export(script, tmp_path):
    export = TEST_DATA / "exports" / "invocation.zip"
    script("iscc_trail", export, "--of", "Figure 2b", "--lineage", "l")
    columns = ("#of", "steps_back", "name", "tool", "remark")
    rows = column((tmp_path / "l").read_bytes(), *columns)
    examples = examples_in_help("iscc_trail")
    assert len(examples) == 3
    assert all(row in [[*filter(None, each)] for each in rows] for row in examples)


def test_the_answers_in_the_help_are_those_of_the_seal(script, tmp_path):
    sealed = [TEST_DATA / "seals" / name for name in ("trail.tsv", "trail.seal.json", "signer.pub")]
    options = ("--seal", sealed[1], "--trusted", sealed[2], "--report", "r")
    assert script("iscc_seal", "verify", sealed[0], *options).returncode == 0
    rows = column((tmp_path / "r").read_bytes(), "#question", "answer", "explanation")
    examples = examples_in_help("iscc_seal")
    assert len(examples) == 2
    for question, answer, explanation in examples:
        [found] = [row for row in rows if row[0] == question]
        assert found[1] == answer
        assert found[2].endswith(explanation.removeprefix('"trail.tsv"'))


def test_the_report_in_the_help_is_that_of_the_tutorial():
    """The browser test compares the tutorial's with the tool's output."""
    rows = [[*filter(None, row[:4])] for row in labelled_tables(TUTORIAL)["report"]]
    examples = examples_in_help("iscc_verify")
    assert len(examples) == 3
    assert all(row in rows for row in examples)


def test_limits_are_those_of_the_code():
    near, related, weak, unrelated = map(str, BANDS)
    after_near, after_related = (str(end + 1) for end in BANDS[:2])
    assert numbers(DISTANCES, "bands") == [
        [near],
        [after_near, related],
        [after_related, weak],
        [unrelated],
    ]
    assert numbers(DISTANCES, "sizes") == [[f"{manifest.SMALL:,}"], [f"{manifest.TINY:,}"]]
    alike, worth_a_look, _ = (end for end, _ in picture.BY_APPEARANCE.bands)
    assert numbers(SIMILARITY, "thresholds") == [
        [related, "128", near, weak],
        [str(alike), "256", str(worth_a_look)],
        [near, "128"],
        [str(alike), "256"],
    ]
    assert numbers(SIMILARITY, "sheet") == [
        [str(limit)]
        for limit in (sheet.MOST_GROUPS, sheet.MOST_NAMED, sheet.MOST_TILES, contacts.MATCHES)
    ]
    assert f"at most {thumbnails.MOST_SIDE} pixels along its longer side" in PIXELS.read_text()
    assert numbers(SIMILARITY, "limits") == [
        [f"{picture.MOST_UNLINKED:,}"],
        [f"{picture.MOST_IN_HEAT_MAP:,}"],
        [f"{iscc_similarity.MOST_IN_MATRIX:,}"],
        [f"{iscc_similarity.MOST_PAIRS:,}"],
    ]


def test_limits_for_files_from_strangers_are_those_of_the_code():
    text = PRIVACY.read_text()
    for said in (
        f"at most {images.MOST_MEMORY >> 30} GiB of memory",
        f"{images.MOST_SECONDS // 60} minutes of processor time",
        f"one second for each {images.BYTES_OF_A_SECOND // 1000} kB",
        f"than {images.MOST_PIXEL_BYTES >> 30} GiB and {images.MOST_EXPANSION:,} for each byte",
        f"at most {panels.PICTURE_SIDE} pixels along its longer side",
        f"A value of more than {exports.LONGEST_VALUE:,} characters",
        f"more than {exports.LONGEST_PARAMETERS:,} characters, only",
        f"JSON of more than {exports.MOST_JSON_VALUES // 10**6} million values",
        f"more than {exports.SURELY_HARMLESS_BYTES >> 30} GiB and more than "
        f"{exports.MOST_TIMES_ITS_SIZE} times its size",
        f"**Seals** have at most {seal.LONGEST_SEAL >> 10} KiB",
    ):
        assert said in text, said


def test_every_page_is_in_the_index():
    index = (DOCS / "README.md").read_text()
    pages = [page.name for page in DOCS.glob("*.md") if page.name != "README.md"]
    assert [page for page in pages if f"]({page})" not in index] == []


def within(distance: int, bits: int) -> float:
    """How many pairs of independent codes are that close; bits differ with probability 1/2."""
    return sum(comb(bits, differing) for differing in range(distance + 1)) / 2**bits


def test_independent_codes_come_as_close_as_is_said():
    """One pair in this many, with wide codes, and with narrow ones at half the distance."""
    _, related, weak, _ = BANDS
    wide, narrow = (
        [int(number.replace(",", "")) for number in row if number != "1"]
        for row in numbers(LIMITS, "chance")
    )
    assert wide == pytest.approx([1 / within(end, 128) for end in (related, weak)], rel=0.1)
    assert narrow == pytest.approx([1 / within(end // 2, 64) for end in (related, weak)], rel=0.1)


def test_edits_of_an_image_are_as_far_as_is_said():
    """An uncompressed TIFF: 256 x 256 pixels of 16 bits after a header. By bytes, and by pixels."""
    content = (TEST_DATA / "nuclei.tif").read_bytes()
    header = len(content) - 2 * 256 * 256
    pixels = np.frombuffer(content[header:], "<u2").reshape(256, 256)
    across, down = pixels.copy(), pixels.copy()
    across[128:130] = down[:, 128:130] = 0
    retouched = tifffile.imread(TEST_DATA / "nuclei_retouched.tif")

    def from_the_image(edited: bytes, whole: bytes = content) -> int:
        return distance(codes_of(whole).wide, codes_of(edited).wide)

    edits = (retouched, across, down)
    stream = pixels.astype(">u2").tobytes()
    of_pixels = [from_the_image(each.astype(">u2").tobytes(), stream) for each in edits]
    bits = [from_the_image(content[:header] + each.astype("<u2").tobytes()) for each in edits]
    assert bits[0] == apart("nuclei.tif", "nuclei_retouched.tif")
    said = [row[-2:] for row in numbers(LIMITS, "edits")]
    assert said == [[str(each) for each in row] for row in zip(bits, of_pixels, strict=True)]
    assert from_the_image(3 * content) <= BANDS[0]
    share_half = content[: len(content) // 2] + content[len(content) // 2 :: -1]
    assert from_the_image(share_half) > BANDS[2]


@pytest.mark.parametrize("page", [SIMILARITY, ADMINISTRATORS], ids=lambda path: path.stem)
def test_figures_are_those_of_the_benchmarks(page):
    measured = BENCHMARKS.read_text()
    figures = re.findall(r"[\d.,]+ (?:MiB|s)\b", page.read_text())
    assert len(figures) > 3
    assert not [figure for figure in figures if figure not in measured]


def test_shares_of_panels_are_those_of_the_benchmarks():
    """For each size of a panel, the smallest share and the largest of all variants."""
    rows = re.findall(
        r"^\| (0\.\d+) \| .* \| (\d+) % \| (\d+) % \| (\d+) % \|$", BENCHMARKS.read_text(), re.M
    )
    measured = {}
    for part, *shares in rows:
        measured.setdefault(part, []).append([*map(int, shares)])
    expected = [
        [part, *(number for kind in zip(*shares, strict=True) for number in span(kind))]
        for part, shares in measured.items()
    ]
    assert {len(shares) for shares in measured.values()} == {6}
    assert numbers(LIMITS, "panels") == expected


def span(numbers: tuple[int, ...]) -> list[str]:
    return list(dict.fromkeys([str(min(numbers)), str(max(numbers))]))


def test_false_finds_of_panels_are_those_of_the_benchmarks():
    rows = [
        row
        for row in labelled_tables(LIMITS)["false"]
        if "certainty" in row[-1] or "alone" in row[-1]
    ]
    found = [NUMBER.findall(" ".join(row)) for row in rows]
    assert found == [["12,000", "2.8", "12"], ["1,000", "856"], ["1,000", "862"]]
    measured = BENCHMARKS.read_text()
    assert "12,000 pairs, and not one false find" in measured
    assert f"a certainty of 2.8, where {panels.CERTAIN:.0f} is needed" in measured
    assert "In 856 of 1,000 pairs of different images" in measured
    assert "862 pairs, no find" in measured
    said = "76 % of the panels with 1 to 4 cells, 99 % of those with 5 to 19, and all with more"
    assert said in LIMITS.read_text()
    for cells, share in (("1 to 4", "76 %"), ("5 to 19", "99 %")):
        assert re.search(rf"^\| {cells} \| \d+ \| {share} \|$", measured, re.M)


def test_a_clone_has_the_forms_that_are_named():
    [block] = code_blocks(ADMINISTRATORS, "xml")
    files = [tool.get("file") for tool in ElementTree.fromstring(block).iter("tool")]
    assert [PROJECT / file.removeprefix("/path/to/the/clone/") for file in files] == TOOLS


def test_ephemeris_is_told_to_install_the_suite():
    shed = yaml.safe_load((PROJECT / ".shed.yml").read_text())
    [listed] = [
        yaml.safe_load(block)["tools"]
        for block in code_blocks(ADMINISTRATORS, "yaml")
        if "tool_panel_section_label" in block
    ]
    assert [each["name"] for each in listed] == [*shed["repositories"], shed["suite"]["name"]]
    assert {each["owner"] for each in listed} == {shed["owner"]}


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.stem)
def test_rules_for_resources_match_the_tools(tool):
    """The ids of a tool from a clone, and from a Tool Shed, in any version."""
    [rules] = [
        list(yaml.safe_load(block)["tools"])
        for block in code_blocks(ADMINISTRATORS, "yaml")
        if "mem:" in block
    ]
    for matches in (re.match, re.fullmatch):
        for name in (tool.stem, f"example.org/repos/iscc-suite/{tool.stem}/{tool.stem}/0.1.0"):
            [rule] = [rule for rule in rules if matches(rule, name)]
            assert rules.index(rule) == TOOLS.index(tool)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


def test_links_lead_somewhere():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)]+)\)", document.read_text()):
            if not target.startswith("https://"):
                name, _, anchor = target.partition("#")
                page = document.parent / name if name else document
                assert page.exists(), f"{document}: {target}"
                assert not anchor or anchor in anchors(page), f"{document}: {target}"


def test_commands_of_make_exist():
    targets = set(re.findall(r"^([\w-]+):", (PROJECT / "Makefile").read_text(), re.M))
    used = {
        target
        for document in DOCUMENTS
        for target in re.findall(r"`make ([\w-]+)", document.read_text())
    }
    assert used
    assert used <= targets


def test_options_exist():
    """Options in code in the documents exist, except those of other programs."""
    helps = [
        subprocess.run(
            [sys.executable, *command, "--help"], check=True, capture_output=True, text=True
        ).stdout
        for script in SCRIPTS.values()
        for command in ([script], [script, "sign"], [script, "verify"])
        if len(command) == 1 or script == SCRIPTS["iscc_seal"]
    ]
    options = set(re.findall(r"--[a-z][a-z-]+", "".join(helps)))
    of_iscc_sum = {"--tag", "--units", "--narrow", "--tree", "--similar"}
    unknown = {
        (document.name, option)
        for document in PAGES
        for option in re.findall(r"`(--[a-z][a-z-]+)[^`]*`", document.read_text())
        if option not in options | of_iscc_sum
    }
    assert not unknown


def test_the_example_in_the_tutorial_is_a_code():
    """Codes in running text, complete or abridged, are those of the image in question."""
    code = codes_of_file("nuclei.tif").wide
    found = re.findall(r"`(ISCC:[A-Z2-7]+)…`", TUTORIAL.read_text())
    assert found
    assert all(map(code.startswith, found))
