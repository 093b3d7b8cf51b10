"""iscc_trail records what each dataset was made from; exports are untrusted."""

import gzip
import io
import json
import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
import tifffile
from matplotlib.image import imread

import folders
import lineage_picture
import trail as trails
from exploring import EXPLORES, FACTOR, chance
from lineage import Lineage, Wanted
from lineage_picture import Node, plan
from oracle import TEST_DATA, codes_of, note
from samples import HOSTILE, column

EXPORTS = TEST_DATA / "exports"
COLUMNS = "#name iscc filesize datahash note pixels image_code step tool version parameters from "
COLUMNS += "ended recorded_by"
LATER = "2026-11-28T00:00:40.123456"


def file_attributes(key: str, name: str, **more: object) -> dict:
    """A dataset as Galaxy describes it in an export."""
    given = {
        "model_class": "HistoryDatasetAssociation",
        "encoded_id": key,
        "dataset_uuid": f"uuid of {key}",
        "name": name,
        "hid": 1,
        "state": "ok",
        "extension": "tiff",
        "metadata": {},
        "file_name": f"datasets/{key}.tiff",
        "copied_from_history_dataset_association_id_chain": [],
    }
    return given | more


def job_attributes(key: str, tool: str, into: list[str], out: list[str], **more: object) -> dict:
    given = {
        "model_class": "Job",
        "encoded_id": key,
        "tool_id": tool,
        "tool_version": "1.0",
        "state": "ok",
        "create_time": LATER,
        "update_time": LATER,
        "params": {},
        "input_dataset_mapping": {f"input{number}": [each] for number, each in enumerate(into)},
        "output_dataset_mapping": {f"out{number}": [each] for number, each in enumerate(out)},
        "output_dataset_collection_mapping": {},
    }
    return given | more


def list_attributes(name: str, **elements: str) -> dict:
    """A flat collection, from identifiers and keys of datasets."""
    inside = [
        {"element_identifier": identifier, "hda": {"encoded_id": key}}
        for identifier, key in elements.items()
    ]
    return {"encoded_id": f"c {name}", "display_name": name, "collection": {"elements": inside}}


class Maker:
    """Makes an export of Galaxy, or something similar."""

    def __init__(self, path: Path):
        self.path = path
        self.files: dict[str, bytes] = {}
        self.json: dict[str, object] = {
            "export_attrs.txt": {"galaxy_export_version": "2"},
            "datasets_attrs.txt": [],
            "datasets_attrs.txt.provenance": [],
            "collections_attrs.txt": [],
            "implicit_collection_jobs_attrs.txt": [],
            "jobs_attrs.txt": [],
        }

    def dataset(self, key: str, name: str, content: bytes | None, **more: object) -> None:
        attributes = file_attributes(key, name, **more)
        if content is None:
            del attributes["file_name"]
            self.json["datasets_attrs.txt.provenance"].append(attributes)
            return
        self.json["datasets_attrs.txt"].append(attributes)
        self.files.setdefault(attributes["file_name"], content)

    def job(self, *args: object, **more: object) -> None:
        self.json["jobs_attrs.txt"].append(job_attributes(*args, **more))

    def collection(self, name: str, **elements: str) -> None:
        self.json["collections_attrs.txt"].append(list_attributes(name, **elements))

    def write(self) -> Path:
        with zipfile.ZipFile(self.path, "w", zipfile.ZIP_DEFLATED) as archive:
            for inner, values in self.json.items():
                archive.writestr(inner, json.dumps(values))
            for inner, content in self.files.items():
                archive.writestr(inner, content)
        return self.path


@pytest.fixture
def export(tmp_path) -> Maker:
    """Two raw images, one of them smoothed, and a figure made from that."""
    maker = Maker(tmp_path / "run.zip")
    maker.dataset("a", "raw 1.tif", b"a" * 30_000)
    maker.dataset("b", "raw 2.tif", b"b" * 30_000, hid=2)
    maker.dataset("c", "smoothed", b"c" * 30_000, hid=3)
    maker.dataset("d", "figure", b"d" * 30_000, hid=4)
    maker.job("1", "upload1", [], ["a", "b"])
    maker.job("2", "smooth", ["a"], ["c"], params={"radius": "3", "dbkey": "?"})
    maker.job("3", "panel", ["c", "b"], ["d"])
    return maker


@pytest.fixture
def trail(script, tmp_path) -> Callable[..., bytes]:
    """Make a trail, and return the table."""

    def run(*arguments: object) -> bytes:
        done = script("iscc_trail", *arguments, "--trail", "trail.tsv")
        assert done.returncode == 0, done.stderr
        return (tmp_path / "trail.tsv").read_bytes()

    return run


@pytest.fixture
def lineage(script, tmp_path) -> Callable[..., list[tuple[str, ...]]]:
    """The lineage: of, steps back, name, remark."""

    def run(*arguments: object) -> list[tuple[str, ...]]:
        done = script("iscc_trail", *arguments, "--lineage", "lineage.tsv")
        assert done.returncode == 0, done.stderr
        table = (tmp_path / "lineage.tsv").read_bytes()
        return column(table, "#of", "steps_back", "name", "remark")

    return run


def hashes(*contents: bytes) -> str:
    return " ".join(codes_of(content).datahash for content in contents)


def line(name: str, content: bytes, *how: object) -> str:
    """A line of a trail, with codes of iscc-core."""
    codes = codes_of(content)
    fields = (name, codes.wide, codes.filesize, codes.datahash, note(codes.filesize), "", "")
    return "\t".join(map(str, fields + how))


# What Galaxy 25.1 exported

SMOOTH = ("smooth", "1.2+galaxy0", '{"mode": {"kind": "a", "text": "note /home/x"}, "radius": "5"}')
PANEL = ("panel", "0.3", '{"title": "Panel of all"}')
AGAIN = ("smooth", "1.2+galaxy0", '{"mode": {"kind": "b"}, "radius": "1"}')


def smoothed(content: bytes, radius: int) -> bytes:
    """The output of the tool called smooth in the recorded runs."""
    return bytes((byte + radius) % 256 for byte in content)


def raw_images(export: Path) -> dict[str, bytes]:
    """The images uploaded before a recorded run."""
    beginnings = {"it's 1.tif": "it_s_1.tif_", "b.tif": "b.tif_", "c.tif": "c.tif_"}
    with zipfile.ZipFile(export) as archive:
        members = archive.namelist()
        return {
            name: archive.read(next(each for each in members if f"datasets/{start}" in each))
            for name, start in beginnings.items()
        }


def test_an_export_of_galaxy_25_1(trail):
    """A smoothed list, one element of it, a panel of all, and a figure of both."""
    table = trail(EXPORTS / "invocation.zip").decode().splitlines()
    raw = raw_images(EXPORTS / "invocation.zip")
    smooth = {name: smoothed(content, 5) for name, content in raw.items()}
    panel = b"".join(smooth.values()) + b"Panel of all\n"
    one = smooth["it's 1.tif"]
    lines = [line(f"images/{name}", c, 1, "upload", "", "", "") for name, c in raw.items()]
    lines += [
        line(f"Smooth on collection 1/{name}", content, 2, *SMOOTH, hashes(raw[name]))
        for name, content in smooth.items()
    ]
    one_of_three = ("__EXTRACT_DATASET__", "1.0.2", '{"which": {"which_dataset": "first"}}')
    lines.append(line("it's 1.tif", one, 3, *one_of_three, hashes(one)))
    sources = hashes(*smooth.values())
    lines.append(line("Panel of all", panel, 4, *PANEL, sources))
    lines.append(line("Panel on dataset 6-8 and collection 5", b"x\n", 4, *PANEL, sources))
    lines.append(line("Figure 2b", smoothed(panel, 1), 5, *AGAIN, hashes(panel, one)))
    assert table[0].split("\t") == COLUMNS.split()
    assert [each.rsplit("\t", 2)[0] for each in table[1:]] == lines
    assert {each.split("\t")[-1] for each in table[1:]} == {"Galaxy"}
    times = [each.split("\t")[-2] for each in table[1:]]
    seconds = [36] * 3 + [39] * 3 + [37] + [40] * 2 + [41]
    assert times == [f"2026-11-28T00:00:{second}Z" for second in seconds]


def test_a_hidden_dataset_that_was_left_out_is_a_gap_and_not_the_end(lineage, script):
    export = EXPORTS / "hidden_left_out.zip"
    rows = lineage(export, "--of", "Figure 2b")
    assert rows[0] == ("Figure 2b", "0", "Figure 2b", "")
    assert ("Figure 2b", "1", "Panel of all", "not exported") in rows
    assert {name for _, _, name, remark in rows if remark == "source"} == {
        f"images/{name}" for name in raw_images(export)
    }
    done = script("iscc_trail", export, "--trail", "/dev/null")
    assert done.stdout.endswith('; 1 not exported: "Panel of all"\n')


def test_of_what_was_purged_an_export_does_not_even_say_the_name(lineage, trail):
    rows = lineage(EXPORTS / "purged.zip", "--of", "Smooth on dataset 3")
    assert [row[1:] for row in rows] == [
        ("0", "Smooth on dataset 3", ""),
        ("1", "dataset 5f4fb23011e86eba", "not exported"),
    ]
    assert trail(EXPORTS / "purged.zip").endswith(b"\n# not exported: dataset 5f4fb23011e86eba\n")


# What it lets through


def test_no_paths_addresses_or_secrets_get_out(trail):
    for recorded in EXPORTS.glob("*.zip"):
        table = trail(recorded).decode()
        for secret in ("/tmp", "upload_file_data", "request_json", "chrom", "dbkey", "__", "@"):
            said = table.replace("__EXTRACT_DATASET__", "")
            assert secret not in said, (recorded, secret)


def test_parameters_are_those_that_the_user_set(export, trail):
    params = {
        "radius": "3",
        "chromInfo": "/galaxy/chrom",
        "__job_resource": {"a": 1},
        "input|__identifier__": "secret",
        "file": "/server/path",
        "quoted": [' "/server/path"', '["/server/path"]', "file:///server/path"],
        "image": {"values": [{"id": "a", "src": "hda"}]},
        "mode": {"__current_case__": 1, "kind": "b", "empty": None, "list": ["/x", "y", 2, True]},
        "text": "x" * 1500,
    }
    export.json["jobs_attrs.txt"][1]["params"] = params
    [(found,)] = [row for row in column(trail(export.write()), "parameters") if "radius" in row[0]]
    assert json.loads(found) == {
        "radius": "3",
        "mode": {"kind": "b", "list": ["y", 2, True]},
        "text": f"{'x' * 1000}... (1,500 characters)",
    }


def test_a_million_characters_of_parameters_are_only_counted(export, trail):
    export.json["jobs_attrs.txt"][1]["params"] = {str(each): "x" * 900 for each in range(1000)}
    assert '{"left out": "9' in trail(export.write()).decode()


def test_uploads_have_no_parameters(export, trail):
    export.json["jobs_attrs.txt"][0]["params"] = {"url": "https://example.org/?token=secret"}
    table = trail(export.write())
    assert b"token" not in table
    assert ("raw 1.tif", "") in column(table, "#name", "parameters")


# How things fit together


def test_several_exports_are_one_trail(export, trail, lineage, tmp_path):
    """An output of one run that is an input of another is one dataset, whatever its name."""
    later = Maker(tmp_path / "later.zip")
    later.dataset("x", "from a colleague", b"d" * 30_000)
    later.dataset("y", "final", b"y" * 30_000)
    later.job("1", "upload1", [], ["x"], update_time="2026-11-29T00:00:00")
    later.job("2", "label", ["x"], ["y"], update_time="2026-11-29T00:00:01")
    later.write()
    for order in (("run.zip", "later.zip"), ("later.zip", "run.zip")):
        export.write()
        rows = lineage(*order, "--of", "final")
        assert {row[1:] for row in rows} == {
            ("0", "final", ""),
            ("1", "from a colleague", "copy"),
            ("1", "figure", ""),
            ("2", "smoothed", ""),
            ("2", "raw 2.tif", "source"),
            ("3", "raw 1.tif", "source"),
        }


def test_a_trail_is_a_manifest(export, trail, script, tmp_path):
    """iscc_verify and iscc_similarity read it unchanged; they find datasets under other names."""
    trail(export.write())
    (tmp_path / "figure 2b.tif").write_bytes(b"d" * 30_000)
    done = script("iscc_verify", "figure 2b.tif", "--manifest", "trail.tsv", "--report", "r.tsv")
    assert done.returncode == 0, done.stderr
    rows = column((tmp_path / "r.tsv").read_bytes(), "#name", "status", "detail")
    assert rows[0] == ("figure 2b.tif", "MOVED", 'listed as "figure"')
    done = script(
        "iscc_similarity", "figure 2b.tif", "--reference", "trail.tsv", "--matches", "m.tsv"
    )
    assert done.returncode == 0, done.stderr
    matches = column((tmp_path / "m.tsv").read_bytes(), "#name", "relation", "match")
    assert matches == [("figure 2b.tif", "exact", "figure")]
    done = script("iscc_trail", "trail.tsv", "--matches", "m.tsv", "--lineage", "l.tsv")
    assert done.returncode == 0, done.stderr
    rows = column((tmp_path / "l.tsv").read_bytes(), "#of", "relation", "steps_back", "name")
    assert rows == [
        ("figure 2b.tif", "exact", "0", "figure"),
        ("figure 2b.tif", "exact", "1", "smoothed"),
        ("figure 2b.tif", "exact", "1", "raw 2.tif"),
        ("figure 2b.tif", "exact", "2", "raw 1.tif"),
    ]


def test_a_trail_comes_back_as_it_went_in(export, trail, tmp_path):
    once = trail(export.write())
    (tmp_path / "copy.tsv").write_bytes(once)
    assert trail("copy.tsv") == once
    assert trail("copy.tsv", "run.zip") == once  # nothing new
    assert trail(*EXPORTS.glob("*.zip")) != once


@pytest.mark.parametrize("name", ["", "left out", "a,name,iscc", "ISCC:KAAA", "a\tb\\"])
def test_what_was_not_exported_comes_back_as_well(export, trail, tmp_path, name):
    export.dataset("e", name, None)
    export.dataset("f", name, None)
    export.job("4", "cut", ["a"], ["e", "f"])
    export.dataset("g", "of both", b"g" * 30_000)
    export.job("5", "paste", ["e"], ["g"])
    once = trail(export.write())
    assert once.splitlines()[-1].startswith(b"# not exported: ")
    (tmp_path / "copy.tsv").write_bytes(once)
    assert trail("copy.tsv") == once


def test_names_that_were_taken_twice_are_known_again(export, trail, tmp_path):
    """In trails of two runs, each with two datasets of one name."""
    for run, contents in (("one", (b"s", b"t")), ("two", (b"u", b"v"))):
        maker = Maker(tmp_path / f"{run}.zip")
        for number, content in enumerate(contents):
            maker.dataset(str(number), "data", content * 30_000)
        (tmp_path / f"{run}.tsv").write_bytes(trail(maker.write()))
    both = trail("one.tsv", "two.tsv")
    (tmp_path / "both.tsv").write_bytes(both)
    assert trail("both.tsv", "one.tsv", "two.tsv", "one.zip", "two.zip") == both
    assert sorted(column(both, "datahash")) == sorted(
        column(trail("one.zip", "two.zip"), "datahash")
    )


def test_what_a_tool_undid_again_is_no_circle(export, lineage):
    """An image that was inverted twice is the same, but was not made from itself."""
    export.dataset("e", "inverted", b"e" * 30_000, hid=5)
    export.dataset("f", "inverted again", b"a" * 30_000, hid=6)
    export.job("4", "invert", ["a"], ["e"], create_time="2026-11-29T00:00:00")
    export.job("5", "invert", ["e"], ["f"], create_time="2026-11-29T00:00:01")
    rows = lineage(export.write(), "--of", "inverted again")
    assert [row[1:] for row in rows] == [
        ("0", "inverted again", ""),
        ("1", "inverted", ""),
        ("2", "raw 1.tif", "source"),
    ]


def test_datasets_that_are_made_of_each_other_end(export, lineage):
    export.dataset("e", "hen", b"e" * 30_000)
    export.dataset("f", "egg", b"f" * 30_000)
    export.job("4", "lay", ["e"], ["f"])
    export.job("5", "hatch", ["f"], ["e"])
    export.job("6", "eat", ["d"], ["d"])
    rows = lineage(export.write(), "--of", "hen", "--of", "egg", "--of", "figure")
    assert [row[2] for row in rows if row[0] == "hen"] == ["hen", "egg"]


def test_copies_with_another_name_have_a_line_and_the_same_content(export, trail, lineage):
    """Even if the original no longer has a name of its own."""
    chain = {"copied_from_history_dataset_association_id_chain": ["d"], "dataset_uuid": "uuid of d"}
    same = {"file_name": "datasets/d.tiff"} | chain
    export.dataset("e", "Figure 2b", b"", hid=7, **same)
    export.dataset("f", "figure", b"", hid=8, **same)
    rows = column(trail(export.write()), "#name", "tool", "from", "datahash")
    assert ("Figure 2b", "copy", hashes(b"d" * 30_000), hashes(b"d" * 30_000)) in rows
    assert [name for name, *_ in rows].count("figure") == 1
    assert [row[1:] for row in lineage("run.zip", "--of", "Figure 2b")][:3] == [
        ("0", "Figure 2b", "copy"),
        ("1", "figure", ""),
        ("2", "smoothed", ""),
    ]


def test_a_result_of_which_there_are_copies_is_a_result(export, lineage):
    chain = {"copied_from_history_dataset_association_id_chain": ["d"], "dataset_uuid": "uuid of d"}
    export.dataset("e", "Figure 2b", b"", hid=7, file_name="datasets/d.tiff", **chain)
    assert {of for of, *_ in lineage(export.write())} == {"figure"}


def test_a_file_that_somebody_listed_leads_to_the_job_that_made_it(export, lineage, tmp_path):
    """Even if the list has neither times nor sources; the job has a time."""
    figure = codes_of(b"d" * 30_000)
    header = "#name\tiscc\tdatahash\tfrom"
    (tmp_path / "t.tsv").write_text(f"{header}\nFigure 2b\t{figure.wide}\t{figure.datahash}\t\n")
    rows = lineage("t.tsv", export.write(), "--of", "Figure 2b")
    assert [row[1:] for row in rows][:3] == [
        ("0", "Figure 2b", "copy, declared"),
        ("1", "figure", ""),
        ("2", "smoothed", ""),
    ]


def test_what_no_line_of_a_trail_describes_is_a_gap(lineage, tmp_path):
    figure, lost = codes_of(b"f" * 30_000), codes_of(b"lost")
    row = f"figure\t{figure.wide}\t{figure.datahash}\t{lost.datahash}\n"
    (tmp_path / "t.tsv").write_text("#name\tiscc\tdatahash\tfrom\n" + row)
    assert [each[1:] for each in lineage("t.tsv")] == [
        ("0", "figure", "declared"),
        ("1", lost.datahash, "not exported"),
    ]


def test_names_are_data_and_each_is_there_once(export, trail):
    for number, (name, content) in enumerate(HOSTILE.items()):
        export.dataset(f"h{number}", name, content)
    export.dataset("t", "a\tb\nc\\d\r", b"t" * 30_000)
    export.dataset("u", "raw 1.tif", b"u" * 30_000)
    table = trail(export.write())
    names = [name for (name,) in column(table, "#name")]
    assert len(names) == len(set(names))
    for name in HOSTILE:
        assert name.replace("\\", "\\\\").removeprefix("#") in [
            each.removeprefix("\\#") for each in names
        ]
    assert r"a\tb\nc\\d\r" in names
    assert "raw 1.tif (2)" in names


def test_mapped_jobs_are_one_step_and_collections_give_names(export, trail):
    export.collection("images", first="a", second="b")
    export.dataset("e", "smoothed", b"e" * 30_000, hid=9)
    export.job("4", "smooth", ["b"], ["e"], params={"radius": "3"})
    export.collection("smooth images", first="c", second="e")
    export.json["implicit_collection_jobs_attrs.txt"].append({"jobs": ["2", "4"]})
    rows = column(trail(export.write()), "#name", "step", "tool")
    assert rows[:2] == [("images/first", "1", "upload"), ("images/second", "1", "upload")]
    assert ("smooth images/first", "2", "smooth") in rows
    assert ("smooth images/second", "2", "smooth") in rows


def test_jobs_that_failed_made_nothing(export, trail, lineage):
    export.json["jobs_attrs.txt"][1]["state"] = "error"
    export.json["datasets_attrs.txt"][2]["state"] = "error"
    assert "smoothed" not in [name for (name,) in column(trail(export.write()), "#name")]
    rows = lineage("run.zip", "--of", "figure")
    assert ("figure", "1", "smoothed", "not exported") in rows


def test_a_folder_has_the_code_of_its_files(export, trail, tree):
    """In the order of iscc-sum --tree; without its files, it is not exported."""
    (tree / ".isccignore").unlink()
    (tree / "link").unlink()
    (tree / "linked").unlink()
    inside = folders.list_files(tree, "tree")
    kept = {"extension": "zarr", "extra_files_path": "datasets/z_files"}
    export.dataset("z", "image.zarr", b"", metadata={"store_root": "root"}, **kept)
    for path, file in reversed(inside):
        export.files[f"datasets/z_files/root/{path}"] = file.read_bytes()
    export.files["datasets/z_files/root/x.iscc.json"] = b"left out"
    export.dataset("y", "empty.zarr", b"", extension="zarr", extra_files_path="datasets/y_files")
    table, gap, nothing = trail(export.write()).partition(b"# not exported: empty.zarr\n")
    content = b"".join(file.read_bytes() for _, file in inside)
    assert ("image.zarr", codes_of(content).datahash) in column(table, "#name", "datahash")
    assert gap
    assert not nothing


def test_files_beside_a_dataset_have_lines_of_their_own(export, trail):
    export.dataset("h", "report", b"<html>", extension="html", extra_files_path="datasets/h_files")
    export.files["datasets/h_files/plot.png"] = b"png"
    rows = column(trail(export.write()), "#name", "datahash")
    assert ("report", hashes(b"<html>")) in rows
    assert ("report/plot.png", hashes(b"png")) in rows


def test_the_order_of_a_tree_is_that_of_the_files_in_it(tree):
    listed = [path for path, _ in folders.list_files(tree, "tree")]
    assert sorted(sorted(listed), key=folders.tree_order) == listed


# Trails that people write

BY_HAND = """#name	iscc	datahash	tool	parameters	from
microscope/raw 1.tif	{0.wide}	{0.datahash}	Leica SP8	63x, 1.4 NA
edited.tif	{1.wide}	{1.datahash}	Photoshop		{0.datahash}
"""


@pytest.fixture
def by_hand(tmp_path) -> Path:
    content = [codes_of(each * 30_000) for each in (b"w", b"a")]
    path = tmp_path / "by hand.tsv"
    text = BY_HAND.format(*content).replace("NA\n", "NA\t\n")
    path.write_text(text)
    return path


def test_steps_outside_of_galaxy_are_declared(export, by_hand, lineage):
    rows = lineage(export.write(), by_hand, "--of", "smoothed")
    assert [row[1:] for row in rows] == [
        ("0", "smoothed", ""),
        ("1", "raw 1.tif", "copy"),
        ("1", "edited.tif", "declared"),
        ("2", "microscope/raw 1.tif", "source, declared"),
    ]


def test_from_may_be_the_last_column_and_have_several_sources(lineage, tmp_path):
    a, b, c = (codes_of(each * 30_000) for each in (b"a", b"b", b"c"))
    rows = [f"a\t{a.wide}\t{a.datahash}\t", f"b\t{b.wide}\t{b.datahash}\t"]
    rows.append(f"c\t{c.wide}\t{c.datahash}\t{a.datahash} {b.datahash}")
    (tmp_path / "t.tsv").write_text("\n".join(["#name\tiscc\tdatahash\tfrom", *rows]) + "\n")
    assert [name for _, _, name, _ in lineage("t.tsv")] == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("from", "1e20", "expected datahashes, or not-exported: and a name, in the column from"),
        ("step", "two", "expected a number in the column step"),
        ("datahash", "", "expected a datahash, by which a trail identifies datasets, found none"),
        ("parameters", "\\x", "invalid escape sequence"),
    ],
)
def test_a_line_that_is_wrong_is_named(script, export, trail, tmp_path, column, value, why):
    lines = [each.split("\t") for each in trail(export.write()).decode().splitlines()]
    lines[2][lines[0].index(column)] = value
    (tmp_path / "t.tsv").write_text("\n".join("\t".join(each) for each in lines) + "\n")
    done = script("iscc_trail", "t.tsv", "--trail", "out.tsv")
    assert done.returncode == 2
    assert done.stderr.startswith('iscc_trail: "t.tsv", line 3, ')
    assert why in done.stderr
    assert not (tmp_path / "out.tsv").exists()


def test_hashes_in_capitals_are_the_same(by_hand, lineage):
    text = by_hand.read_text()
    source = text.splitlines()[2].rpartition("\t")[2]
    by_hand.write_text(text.replace(f"\t{source}\n", f"\t{source.upper()}\n"))
    assert [row[2] for row in lineage(by_hand)] == ["edited.tif", "microscope/raw 1.tif"]


def test_names_of_slashes(by_hand, script):
    """A dataset may be given by the part of its name after one of the last slashes."""
    name = "/" * 100_000 + "b"
    by_hand.write_text(by_hand.read_text().replace("edited.tif", name))
    for slashes, found in ((0, True), (99, True), (100, False), (99_999, False), (100_000, True)):
        done = script("iscc_trail", by_hand, "--of", "/" * slashes + "b", "--lineage", "l.tsv")
        assert ("no dataset" not in done.stderr) == found


def test_a_manifest_is_no_trail(script, tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    script("iscc_manifest", "a", "--manifest", "m.tsv")
    done = script("iscc_trail", "m.tsv", "--trail", "t.tsv")
    assert done.returncode == 2
    assert "expected a trail with the column from, found none" in done.stderr


@pytest.mark.parametrize("content", [gzip.compress(b"tar", mtime=0), b"II*\0"])
def test_what_is_neither_an_export_nor_a_trail(script, tmp_path, content):
    """Including exports as tar.gz, which Galaxy also offers."""
    (tmp_path / "run.tar.gz").write_bytes(content)
    assert "expected an export of Galaxy as RO-Crate, which is a zip file, or a trail" in refused(
        script, tmp_path, "run.tar.gz"
    )


def test_a_trail_that_comes_through_a_pipe(script, tmp_path):
    """A pipe would be empty when read for the second time."""
    os.mkfifo(tmp_path / "pipe")
    assert "because it is read more than once, found a pipe" in refused(script, tmp_path, "pipe")


def test_a_name_that_is_not_there(export, script):
    done = script("iscc_trail", export.write(), "--trail", "t.tsv", "--of", "nope")
    assert done.returncode == 2
    assert 'no dataset of the trail is called "nope"' in done.stderr


# Pixels


def test_pixels_are_joined_to_the_image_that_they_are_of(export, trail, script, tmp_path):
    """A plane shown in a figure is linked to its stack."""
    stack = (TEST_DATA / "nuclei_3d.tif").read_bytes()
    export.dataset("s", "nuclei_3d.tif", stack)
    export.collection("stacks", **{"nuclei_3d.tif": "s"})
    planes = TEST_DATA / "planes.tsv"
    rows = column(trail(export.write(), "--pixels", planes), "#name", "pixels", "from", "tool")
    of_pixels = [row for row in rows if row[1]]
    assert len(of_pixels) == len(planes.read_text().splitlines()) - 1
    assert {row[2:] for row in of_pixels} == {(codes_of(stack).datahash, "iscc_pixels")}
    (tmp_path / "s.tif").write_bytes(stack)
    done = script("iscc_verify", "s.tif", "--manifest", "trail.tsv", "--ignore", "missing")
    assert "0 INVALID" in done.stdout
    assert of_pixels[0][0].startswith("stacks/nuclei_3d.tif")
    figures = TEST_DATA / "figures.tsv"
    to_trail = ("--manifest", figures, "--reference", "trail.tsv", "--compare", "appearance")
    done = script("iscc_similarity", *to_trail, "--matches", "m.tsv")
    assert done.returncode == 0, done.stderr
    done = script("iscc_trail", "trail.tsv", "--matches", "m.tsv", "--lineage", "l.tsv")
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "l.tsv").read_bytes()
    rows = column(table, "#of", "relation", "distance", "steps_back", "name", "remark")
    assert ("figure.jpg", "looks like", "20", "0", "stacks/nuclei_3d.tif/z15c0t0", "") in rows
    assert ("figure.jpg", "looks like", "20", "1", "stacks/nuclei_3d.tif", "source") in rows


def test_of_a_file_only_the_surest_matches_count(export, program, tmp_path):
    """Matches by bytes, else by pixels, else by similarity; none only if there is no other."""
    export.dataset("s", "nuclei_3d.tif", (TEST_DATA / "nuclei_3d.tif").read_bytes())
    stack = tifffile.imread(TEST_DATA / "nuclei_3d.tif")
    tifffile.imwrite(tmp_path / "plane.tif", stack[15], photometric="minisblack")
    for name in ("nuclei_3d.tif", "pixels/figure.jpg", "pixels/colours.png"):
        shutil.copy(TEST_DATA / name, tmp_path)
    files = ("nuclei_3d.tif", "plane.tif", "figure.jpg", "colours.png")
    known = ("--reference", "trail.tsv", "--compare", "appearance", "--threshold", "72")
    for arguments in (
        (
            "iscc_trail",
            export.write(),
            "--pixels",
            TEST_DATA / "planes.tsv",
            "--trail",
            "trail.tsv",
        ),
        ("iscc_manifest", *files, "--manifest", "bytes.tsv"),
        ("iscc_pixels", *files, "--manifest", "pixels.tsv"),
    ):
        done = program(*arguments)
        assert done.returncode == 0, done.stderr
    both = ("--manifest", "bytes.tsv", "--manifest", "pixels.tsv", "--matches", "matches.tsv")
    assert program("iscc_similarity", *both, *known).returncode == 0
    done = program("iscc_trail", "trail.tsv", "--matches", "matches.tsv", "--lineage", "l.tsv")
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "l.tsv").read_bytes()
    rows = column(table, "#of", "relation", "distance", "steps_back", "name")
    assert [row for row in rows if row[3] in ("0", "")] == [
        ("nuclei_3d.tif", "exact", "0", "0", "nuclei_3d.tif"),
        ("plane.tif", "same pixels", "0", "0", "nuclei_3d.tif/z15c0t0"),
        ("figure.jpg", "looks like", "20", "0", "nuclei_3d.tif/z15c0t0"),
        ("colours.png", "none", "", "", ""),
    ]


def test_pixels_of_no_dataset_are_counted_and_of_several_refused(export, script, tmp_path):
    planes = TEST_DATA / "planes.tsv"
    lines = len(planes.read_text().splitlines()) - 1
    given = ("--pixels", planes, "--trail", "t.tsv")
    done = script("iscc_trail", export.write(), *given)
    assert done.returncode == 2
    assert f"none of its {lines} lines is of a dataset there" in done.stderr
    more = ("--pixels", TEST_DATA / "originals.tsv")
    export.dataset("l", "lossy.png", b"l" * 30_000)
    done = script("iscc_trail", export.write(), *given, *more)
    others = len((TEST_DATA / "originals.tsv").read_text().splitlines()) - 2
    assert done.stdout.endswith(f"; {lines + others} lines of pixels of no dataset in the trail\n")
    export.dataset("s", "nuclei_3d.tif", b"s" * 30_000)
    export.dataset("r", "nuclei_3d.tif", b"r" * 30_000)
    export.collection("one", **{"nuclei_3d.tif": "s"})
    export.collection("other", **{"nuclei_3d.tif": "r"})
    several = '"nuclei_3d.tif" could be "one/nuclei_3d.tif" or "other/nuclei_3d.tif"; write the '
    several += "whole name"
    done = script("iscc_trail", export.write(), *given)
    assert done.returncode == 2
    advice = "add the manifest that ISCC manifest makes of the same images"
    assert done.stderr.endswith(f'planes.tsv": {several}, or {advice}\n')
    done = script("iscc_trail", "run.zip", "--trail", "t.tsv", "--of", "nuclei_3d.tif")
    assert (done.returncode, done.stderr) == (2, f"iscc_trail: {several}\n")


def test_a_manifest_of_bytes_says_which_image_is_meant(export, trail, program, tmp_path):
    """Even if two datasets of the trail have the same name in their collections."""
    stack = (TEST_DATA / "nuclei_3d.tif").read_bytes()
    export.dataset("r", "nuclei_3d.tif", b"r" * 30_000)
    export.dataset("s", "nuclei_3d.tif", stack)
    export.collection("raw", **{"nuclei_3d.tif": "r"})
    export.collection("smoothed", **{"nuclei_3d.tif": "s"})
    (tmp_path / "nuclei_3d.tif").write_bytes(stack)
    program("iscc_manifest", "nuclei_3d.tif", "--manifest", "bytes.tsv")
    given = ("--pixels", TEST_DATA / "planes.tsv", "--pixels", "bytes.tsv")
    wanted = ("#name", "pixels", "from")
    rows = column(trail(export.write(), *given), *wanted)
    of_pixels = [(name, made_of) for name, pixels, made_of in rows if pixels]
    assert ("smoothed/nuclei_3d.tif/z15c0t0", codes_of(stack).datahash) in of_pixels
    assert not any(name.startswith("raw") for name, _ in of_pixels)
    (tmp_path / "nuclei_3d.tif").write_bytes(stack[:-1])
    program("iscc_manifest", "nuclei_3d.tif", "--manifest", "bytes.tsv")
    done = program("iscc_trail", "run.zip", *given, "--trail", "trail.tsv")
    assert done.returncode == 2
    assert "expected pixels of images in the trail" in done.stderr


# The picture


def run_of(steps: int, tmp_path: Path, across: int = 1) -> Path:
    """A trail of this many steps, each over a list of this many datasets."""
    rows = ["#name\tiscc\tdatahash\tstep\ttool\tversion\tparameters\tfrom\tended\trecorded_by"]
    before: list[str] = []
    for step in range(steps):
        now = []
        for each in range(across):
            codes = codes_of(f"{step} {each}".encode())
            sources = before[each : each + 1]
            made = (step + 1, f"tool{step}", "1.0", "{}", " ".join(sources), "", "Galaxy")
            name = f"list {step}/image {each}" if across > 1 else f"data {step}"
            rows.append("\t".join(map(str, (name, codes.wide, codes.datahash, *made))))
            now.append(codes.datahash)
        before = now
    path = tmp_path / f"{steps}.tsv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize(
    ("steps", "across"), [(1, 1), (5, 1), (50, 1), (500, 1), (5, 40), (12, 12)]
)
def test_a_picture_fits_a_page(script, tmp_path, steps, across):
    done = script("iscc_trail", run_of(steps, tmp_path, across), "--picture", "p.png")
    assert done.returncode == 0, done.stderr
    height, width, _ = imread(tmp_path / "p.png").shape
    assert width < 1700
    assert height < 1800


def test_a_picture_of_a_long_analysis_with_an_input_at_each_step_fits_a_page(export, script):
    """Raw data are drawn next to the step that uses them, not all at the top."""
    for number in range(40):
        before = "d" if number == 0 else f"made{number - 1}"
        export.dataset(f"raw{number}", f"reference {number}", b"r%d" % number)
        export.dataset(f"made{number}", f"corrected {number}", b"m%d" % number)
        into = [before, f"raw{number}", f"lost{number}"]
        export.job(f"j{number:02}", f"correct {number}", into, [f"made{number}"])
    done = script("iscc_trail", export.write(), "--picture", "p.png")
    assert done.returncode == 0, done.stderr
    height, width, _ = imread(export.path.parent / "p.png").shape
    assert width < 1700
    assert height < 1800


def test_a_picture_of_datasets_that_are_made_of_each_other(script, tmp_path):
    """No analysis has such cycles, but a table may."""
    rows = []
    for number in range(60):
        codes = [codes_of(b"%d" % (each % 60)) for each in (number, number + 1, number + 7)]
        sources = " ".join(each.datahash for each in codes[1:])
        rows.append(f"{number}\t{codes[0].wide}\t{codes[0].datahash}\ttool\t{sources}\n")
    (tmp_path / "t.tsv").write_text("#name\tiscc\tdatahash\ttool\tfrom\n" + "".join(rows))
    done = script("iscc_trail", "t.tsv", "--picture", "p.png", "--of", "0", "--of", "30")
    assert done.returncode == 0, done.stderr
    height, width, _ = imread(tmp_path / "p.png").shape
    assert width < 1700
    assert height < 1800


def test_a_picture_with_something_missing_at_each_step_fits_a_page(script, tmp_path):
    path = run_of(30, tmp_path)
    lines = path.read_text().splitlines()
    for number in range(2, len(lines)):
        fields = lines[number].split("\t")
        fields[-3] += f" not-exported:data%20{number}"
        lines[number] = "\t".join(fields)
    path.write_text("\n".join(lines))
    done = script("iscc_trail", path, "--picture", "p.png")
    assert done.returncode == 0, done.stderr
    height, width, _ = imread(tmp_path / "p.png").shape
    assert width < 1700
    assert height < 1800


def test_boxes_do_not_overlap():
    """Even if several consecutive steps have two inputs besides the previous step."""
    into = {
        f"{letter}{step}": {f"a{step - 1}"} if step else () for step in range(8) for letter in "abc"
    }
    nodes = {key: Node("step", "", into=set(each)) for key, each in into.items()}
    places = sorted((y, x) for x, y in plan(nodes).places)
    assert all(to - x >= 1 for (y, x), (of, to) in pairwise(places) if y == of)


def test_edges_bend_where_they_pass_layers_and_nowhere_else():
    """Including an edge next to a node without edges."""
    into = {"alone": "", "raw": "ab", "a": "b", "b": "f", "f": ""}
    nodes = {key: Node("step", "", into=set(each)) for key, each in into.items()}
    drawn = plan(nodes)
    assert len(drawn.edges) == 4
    for (start, end), bends in zip(drawn.edges, drawn.bends, strict=True):
        layers = [drawn.places[start][1], *(y for _, y in bends), drawn.places[end][1]]
        assert [to - each for each, to in pairwise(layers)] == [1] * (len(bends) + 1)
    assert [len(bends) for bends in drawn.bends] == [0, 1, 0, 0]


def test_a_folded_row_names_its_tools_in_their_order(tmp_path):
    lines = trails.read(run_of(50, tmp_path), "50.tsv")
    wanted = [Wanted("data 49", 49)]
    nodes = lineage_picture.folded(lineage_picture.collect(Lineage(lines), wanted))
    hows = [node.how for node in nodes.values() if node.kind == lineage_picture.MORE]
    assert hows == ["48 steps: " + ", ".join(f"tool{number}" for number in range(1, 49))]


def test_a_picture_shows_any_names_and_says_nothing_of_fonts(export, program):
    for number, name in enumerate((*HOSTILE, "核の画像", "W" * 500)):
        export.dataset(f"n{number}", name, name.encode())
        export.job(f"n{number}", name, ["d"], [f"n{number}"], params={name: name})
    done = program("iscc_trail", export.write(), "--picture", "p.png")
    assert (done.returncode, done.stderr) == (0, "")


def test_parameters_in_a_picture_may_be_nested_deeply(script, tmp_path):
    path = run_of(1, tmp_path)
    path.write_text(path.read_text().replace("{}", '{"a":' * 950 + "1" + "}" * 950))
    done = script("iscc_trail", path, "--picture", "p.png", "--of", "data 0")
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(20)
def test_two_long_rows_of_the_same_steps_are_drawn_in_seconds(script, tmp_path, export):
    for row in "xy":
        for number in range(2_500):
            export.dataset(f"{row}{number}", f"{row}{number}", f"{row}{number}".encode())
            before = f"{row}{number - 1}" if number else "a"
            export.job(f"{row}{number}", "next", [before], [f"{row}{number}"])
    done = script("iscc_trail", export.write(), "--picture", "p.png")
    assert done.returncode == 0, done.stderr


def test_letters_stay_inside_their_node(script, tmp_path):
    """Including wide ones: nothing is drawn to the left of the nodes."""
    path = run_of(2, tmp_path)
    path.write_text(path.read_text().replace("data 0", "W" * 60).replace("tool0", "M" * 60))
    done = script("iscc_trail", path, "--picture", "p.png")
    assert done.returncode == 0, done.stderr
    picture = imread(tmp_path / "p.png")
    assert (picture[80:, :18] == 1).all()


# Exports that somebody made to do harm


def refused(script: Callable, tmp_path: Path, export: Path) -> str:
    """The message that refuses an export: one sentence, status 2, and nothing is written."""
    before = sorted(tmp_path.rglob("*"))
    given = ("--trail", "t.tsv", "--lineage", "l.tsv", "--picture", "p.png")
    done = script("iscc_trail", export, *given)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("iscc_trail: ")
    assert sorted(tmp_path.rglob("*")) == before
    return done.stderr


@pytest.mark.parametrize(
    "inner", ["../out.txt", "datasets/../../out.txt", "/etc/out.txt", "..", "a\\..\\b"]
)
def test_members_that_lead_out(export, script, tmp_path, inner):
    export.files[inner] = b"x"
    assert "leads out of it" in refused(script, tmp_path, export.write())


def test_links(export, script, tmp_path):
    with zipfile.ZipFile(export.write(), "a") as archive:
        link = zipfile.ZipInfo("datasets/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert '"datasets/link" is a link' in refused(script, tmp_path, export.path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name(export, script, tmp_path):
    with zipfile.ZipFile(export.write(), "a") as archive:
        archive.writestr("jobs_attrs.txt", "[]")
    assert '"jobs_attrs.txt" is in it twice' in refused(script, tmp_path, export.path)


def test_a_bomb_of_zeros(export, script, tmp_path, monkeypatch):
    import exports

    monkeypatch.setattr(exports, "SURELY_HARMLESS_BYTES", 1_000_000)
    export.dataset("z", "zeros", bytes(50_000_000))
    assert "it would unpack to 50," in refused(script, tmp_path, export.write())


@pytest.mark.parametrize("apart", [0, 29])
def test_a_bomb_of_members_that_share_their_bytes(export, script, tmp_path, apart):
    """All bytes, or only the last byte of one and the first of the next one's header."""
    content = export.write().read_bytes()
    entry = content.index(b"PK\x01\x02")
    size = struct.unpack("<H", content[entry + 28 : entry + 30])[0]
    extra = content[entry : entry + 46 + size]
    stored, place = struct.unpack("<I18xI", extra[20:46])
    place += apart and apart + stored
    twin = extra[:42] + struct.pack("<I", place) + b"x" * size
    end = content.index(b"PK\x05\x06")
    count, length = struct.unpack("<HI", content[end + 10 : end + 16])
    ending = struct.pack("<HHI", count + 1, count + 1, length + len(twin))
    export.path.write_bytes(
        content[:end] + twin + content[end : end + 8] + ending + content[end + 16 :]
    )
    assert "share bytes" in refused(script, tmp_path, export.path)


def test_a_file_that_is_read_again_and_again(export, script, tmp_path):
    """Gigabytes in kilobytes are prevented: each file belongs to one dataset and its copies."""
    export.dataset("e", "other", b"", file_name="datasets/a.tiff")
    assert "expected files of one dataset each" in refused(script, tmp_path, export.write())


def test_a_member_beyond_the_end(export, script, tmp_path):
    content = export.write().read_bytes()
    entry = content.rindex(b"PK\x01\x02")  # a dataset
    place = struct.pack("<HHQ", 1, 8, 1 << 63)
    name = struct.unpack("<H", content[entry + 28 : entry + 30])[0]
    changed = bytearray(content)
    changed[entry + 46 + name : entry + 46 + name] = place
    changed[entry + 42 : entry + 46] = b"\xff" * 4
    changed[entry + 30 : entry + 32] = struct.pack("<H", len(place))
    end = changed.index(b"PK\x05\x06")
    length = struct.unpack("<I", changed[end + 12 : end + 16])[0] + len(place)
    changed[end + 12 : end + 16] = struct.pack("<I", length)
    export.path.write_bytes(changed)
    assert "would lie outside of it" in refused(script, tmp_path, export.path)


def test_an_encrypted_member(export, script, tmp_path):
    content = bytearray(export.write().read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    export.path.write_bytes(content)
    assert "is encrypted" in refused(script, tmp_path, export.path)


def test_a_file_that_is_damaged(export, script, tmp_path):
    export.files["datasets/a.tiff"] = bytes(range(256)) * 400
    content = bytearray(export.write().read_bytes())
    place = content.index(b"datasets/a.tiff") + 200
    content[place] ^= 255
    export.path.write_bytes(content)
    assert "an intact zip file" in refused(script, tmp_path, export.path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_an_archive_that_is_cut_off(export, script, tmp_path, share):
    content = export.write().read_bytes()
    export.path.write_bytes(content[: int(len(content) * share)])
    assert "an intact zip file" in refused(script, tmp_path, export.path)


def test_another_version(export, script, tmp_path):
    export.json["export_attrs.txt"] = {"galaxy_export_version": "3"}
    said = refused(script, tmp_path, export.write())
    assert 'expected version 2, which Galaxy 25.1 and 26.1 write, found "3"' in said


def test_another_zip(script, tmp_path):
    path = TEST_DATA / "pixels" / "images.zarr.zip"
    said = refused(script, tmp_path, path)
    assert "expected an export of an invocation or a history of Galaxy as RO-Crate" in said


@pytest.mark.parametrize(
    ("member", "text"),
    [
        ("jobs_attrs.txt", "[" * 100_000),
        ("jobs_attrs.txt", '[{"a":' * 50_000),
        ("jobs_attrs.txt", "{"),
        ("jobs_attrs.txt", "\xff"),
        ("jobs_attrs.txt", "[1]"),
        ("jobs_attrs.txt", '[{"state": "ok", "input_dataset_mapping": 1}]'),
        ("jobs_attrs.txt", '[{"state": "ok", "input_dataset_mapping": {"a": 1}}]'),
        ("jobs_attrs.txt", '[{"state": "ok", "output_dataset_mapping": {"a": [1]}}]'),
        ("jobs_attrs.txt", '[{"state": 5}]'),
        ("datasets_attrs.txt", '[{"encoded_id": "a", "hid": "x"}]'),
        ("datasets_attrs.txt", '[{"encoded_id": "a", "name": ["x"]}]'),
        ("datasets_attrs.txt", '[{"encoded_id": "a", "name": "a\\u0000b"}]'),
        ("datasets_attrs.txt", '[{"encoded_id": "a", "name": "\\ud800"}]'),
        ("datasets_attrs.txt", '[{"encoded_id": "a", "state": "ok", "file_name": "/etc/passwd"}]'),
        ("datasets_attrs.txt", '[{"encoded_id": "a", "state": "ok", "file_name": "../../x"}]'),
        ("collections_attrs.txt", '[{"collection": 1}]'),
        ("collections_attrs.txt", "5"),
        ("export_attrs.txt", "[]"),
        ("implicit_collection_jobs_attrs.txt", '[{"jobs": [[]]}]'),
    ],
)
def test_json_that_is_wrong(export, script, tmp_path, member, text):
    export.write()
    content = io.BytesIO()
    with zipfile.ZipFile(export.path) as old, zipfile.ZipFile(content, "w") as new:
        for each in old.namelist():
            new.writestr(each, text.encode("latin-1") if each == member else old.read(each))
    export.path.write_bytes(content.getvalue())
    assert member in refused(script, tmp_path, export.path)


def test_collections_within_collections_without_end(export, script, tmp_path):
    collection: dict = {"elements": []}
    for _ in range(100):
        collection = {"elements": [{"element_identifier": "x", "child_collection": collection}]}
    export.json["collections_attrs.txt"].append({"display_name": "deep", "collection": collection})
    assert "at most 20 levels deep" in refused(script, tmp_path, export.write())


def test_json_of_gigabytes(export, script, tmp_path, monkeypatch):
    import exports

    monkeypatch.setattr(exports, "MOST_JSON_BYTES", 1000)
    assert "expected at most 1,000 bytes" in refused(script, tmp_path, export.write())


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("MOST_JSON_VALUES", "expected at most 10 values, found "),
        ("MOST_LINKS", "expected at most 10 datasets of jobs"),
        ("LONGEST_TEXT", "expected a text of at most 10 characters as "),
    ],
)
def test_json_that_would_be_much_more_in_memory(export, script, tmp_path, monkeypatch, limit, said):
    import exports

    monkeypatch.setattr(exports, limit, 10)
    export.job("4", "panel", ["a", "b", "c", "d"], [])
    assert said in refused(script, tmp_path, export.write())


@pytest.mark.timeout(30)
def test_thousands_of_copies_and_of_one_name(export, trail):
    """Time is proportional to their number, not to its square."""
    chain = "copied_from_history_dataset_association_id_chain"
    copied = {chain: ["d"], "dataset_uuid": "uuid of d"}
    for number in range(20_000):
        export.dataset(f"m{number}", f"copy {number}", b"", file_name="datasets/d.tiff", **copied)
        export.dataset(f"n{number}", "data", b"%d" % number)
    lines = trail(export.write()).splitlines()
    assert len(lines) == 1 + 4 + 40_000
    assert any(line.startswith(b"data (20000)\t") for line in lines)


@pytest.mark.timeout(20)
def test_sixty_thousand_jobs_in_seconds(export, script):
    for number in range(60_000):
        export.job(f"j{number}", "next", [f"k{number - 1}"], [f"k{number}"])
    done = script("iscc_trail", export.write(), "--trail", "t.tsv")
    assert "; 60,001 not exported: " in done.stdout, done.stderr


@pytest.mark.timeout(20)
def test_thousands_of_names(by_hand, lineage):
    header, *_, line = by_hand.read_text().splitlines()
    names = [f"data/{number}.tif" for number in range(6_000)]
    lines = [line.replace("edited.tif", name) for name in names]
    by_hand.write_text("\n".join([header, *lines]) + "\n")
    wanted = [each for name in names for each in ("--of", name)]
    assert [row[0] for row in lineage(by_hand, *wanted) if row[1] == "0"] == names


@pytest.mark.timeout(20)
def test_hundreds_of_datasets_that_are_the_same(export, lineage):
    """For example tables of zeros: each may have come from any other."""
    for number in range(800):
        export.dataset(f"e{number}", f"raw/{number}", b"%d" % number)
        export.dataset(f"f{number}", f"once/{number}", b"one")
        export.dataset(f"g{number}", f"twice/{number}", b"two")
        export.job(f"f{number}", "tool", [f"e{number}"], [f"f{number}"])
        export.job(f"g{number}", "tool", [f"f{number}"], [f"g{number}"])
    assert len(lineage(export.write())) == 4 + 800 + 800 * 801  # as many as were there before


@pytest.mark.parametrize("table", ["trail", "lineage"])
def test_a_table_that_would_fill_the_disk(export, script, tmp_path, monkeypatch, table):
    import iscc_trail

    monkeypatch.setattr(iscc_trail, "MOST_CHARACTERS", 500)
    done = script("iscc_trail", export.write(), f"--{table}", "t.tsv")
    assert done.returncode == 2
    assert f"expected a {table} of at most 500 characters, found more" in done.stderr
    assert not (tmp_path / "t.tsv").exists()


def test_a_trail_that_would_fill_the_memory(export, script, tmp_path, monkeypatch):
    import trail

    monkeypatch.setattr(trail, "MOST_LINKS", 2)
    assert "at most 2 datahashes in the column from" in refused(script, tmp_path, export.write())


def test_a_line_that_no_tool_would_read(export, script, tmp_path, monkeypatch):
    import manifest

    monkeypatch.setattr(manifest, "LONGEST_LINE", 300)
    said = refused(script, tmp_path, export.write())
    assert said.startswith('iscc_trail: cannot write the line of "figure", made from 2 datasets')


def test_ten_thousand_jobs(export, lineage):
    """A chain of jobs, in any order in the export."""
    for number in range(10_000):
        export.dataset(f"k{number}", f"data {number}", b"%d" % number)
        export.job(f"j{number}", "next", [f"k{number - 1}" if number else "a"], [f"k{number}"])
    export.json["jobs_attrs.txt"].reverse()
    rows = lineage(export.write(), "--of", "data 9999")
    assert len(rows) == 10_001
    assert rows[-1] == ("data 9999", "10000", "raw 1.tif", "source")


def changed(value: object, random: Random) -> object:
    """JSON with one value changed somewhere."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = random.choice([*value])
        return value | {key: changed(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.9:
        number = random.randrange(len(value))
        return [*value[:number], changed(value[number], random), *value[number + 1 :]]
    others = (None, True, -1, 10**30, 1e308, "", "a", "../x", "\ud800", "1b33dd040178f869", [], {})
    return random.choice([*others, [value], {"a": value}, [None], {"hda": None}, value])


def outcome(script: Callable, tmp_path: Path) -> int:
    """The result for a changed export: a complete trail, or one sentence and no output."""
    for name in ("t.tsv", "l.tsv"):
        (tmp_path / name).unlink(missing_ok=True)
    done = script("iscc_trail", "changed.zip", "--trail", "t.tsv", "--lineage", "l.tsv")
    assert done.returncode in (0, 2), done.stderr
    written = {path.name for path in tmp_path.iterdir()} - {"run.zip"}
    if done.returncode:
        assert done.stderr.count("\n") == 1
        assert written == {"changed.zip"}
    else:
        assert written == {"changed.zip", "t.tsv", "l.tsv"}
    return done.returncode


@EXPLORES
@pytest.mark.timeout(3600)
def test_exports_with_changed_json(script, tmp_path):
    random = chance(1)
    with zipfile.ZipFile(EXPORTS / "hidden_left_out.zip") as recorded:
        members = {name: recorded.read(name) for name in recorded.namelist()}
    described = [name for name in members if "attrs" in name and json.loads(members[name])]
    outcomes = []
    for _ in range(200 * FACTOR):
        name = random.choice(described)
        values = json.loads(members[name])
        for _ in range(random.choice((1, 1, 3, 10))):
            values = changed(values, random)
        with zipfile.ZipFile(tmp_path / "changed.zip", "w") as archive:
            for each, content in (members | {name: json.dumps(values).encode()}).items():
                archive.writestr(each, content)
        outcomes.append(outcome(script, tmp_path))
    assert set(outcomes) == {0, 2}


@EXPLORES
@pytest.mark.timeout(3600)
def test_exports_with_changed_bytes(script, tmp_path):
    random = chance(2)
    content = (EXPORTS / "purged.zip").read_bytes()
    directory = content.index(b"PK\x01\x02")
    for _ in range(150 * FACTOR):
        some = bytearray(content)
        for _ in range(random.choice((1, 1, 3, 10))):
            start = random.choice((0, directory))  # as often where it says what is where
            place = random.randrange(start, len(some))
            some[place : place + random.choice((0, 1))] = random.randbytes(random.choice((0, 1)))
        (tmp_path / "changed.zip").write_bytes(some)
        outcome(script, tmp_path)


def test_the_result_counts_files_or_results(script, tmp_path):
    """Of the two files one was found; the results of the export are a figure and a log."""
    given = [EXPORTS / "stack.tsv", "--pixels", TEST_DATA / "planes.tsv"]
    done = script(
        "iscc_trail", *given, "--matches", EXPORTS / "matches.tsv", "--result", "result.txt"
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "result.txt").read_text() == (
        "1 of 2 files found in the trail (looks like: 1)\n"
    )
    done = script("iscc_trail", EXPORTS / "invocation.zip", "--result", "result.txt")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "result.txt").read_text() == "2 datasets, 5 steps in the trail\n"


def test_the_key_of_a_narrow_picture_is_complete(script, tmp_path):
    """The white to the right of it is not cut off."""
    given = [EXPORTS / "stack.tsv", "--pixels", TEST_DATA / "planes.tsv"]
    done = script("iscc_trail", *given, "--matches", EXPORTS / "matches.tsv", "--picture", "p.png")
    assert done.returncode == 0, done.stderr
    key = imread(tmp_path / "p.png")[:60, :, :3]
    assert (key[:, -8:] == 1).all()
    assert (key < 0.5).any(axis=(0, 2)).sum() > 300
