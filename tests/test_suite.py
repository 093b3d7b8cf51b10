"""What holds the suite together: formatting, lint, versions, copies, and true test data."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import tifffile
from galaxy.tool_util.loader import load_tool

from dev.environments import CONDA_NAMES, PROJECT, REQUIREMENTS, pinned_requirements
from dev.suite import TOOLS
from oracle import HEADER, TEST_DATA, codes_of, codes_of_file, distance, manifest_line

BIN = Path(sys.executable).parent
TOOL_IDS = [path.stem for path in TOOLS]
# Modules by name, with the folders that have one.
MODULES: dict[str, list[Path]] = {}
for module in sorted((PROJECT / "tools").glob("*/*.py")):
    MODULES.setdefault(module.name, []).append(module)

# What is in test-data, and the bytes of which its code is: of a folder those of its files, in the
# order in which `iscc-sum --tree` takes them.
CONTENTS = {
    path.name: path.read_bytes()
    for path in TEST_DATA.iterdir()
    if path.suffix in (".png", ".jpg", ".tif") or path.name == "empty"
} | {
    "nuclei.zarr": b"".join(
        (TEST_DATA / "nuclei.zarr" / name).read_bytes()
        for name in (".zgroup", "0/.zarray", "0/0.0", "0/1.0")
    )
}
CODES = {
    code for content in CONTENTS.values() for code in codes_of(content)[:2] + codes_of(content)[3:]
}


def expanded(tool: Path) -> ElementTree.Element:
    """A tool's XML with its macros expanded, as Galaxy sees it."""
    return load_tool(str(tool)).getroot()


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_python_is_formatted():
    run(str(BIN / "ruff"), "format", "--check", ".")


def test_python_has_no_lint():
    run(str(BIN / "ruff"), "check", ".")


def test_xml_has_no_lint():
    run(str(BIN / "planemo"), "lint", "--fail_level", "warn", *map(str, TOOLS))


def test_xml_is_formatted():
    done = subprocess.run(
        [BIN / "planemo", "format", "--dry-run", "--recursive", "tools"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert "0 file(s) would be reformatted" in done.stdout + done.stderr, done.stdout


def test_modules_of_the_same_name_are_equal():
    """Remote execution sends a tool's own folder alone, so each has a real copy (make copies)."""
    for copies in MODULES.values():
        assert not any(copy.is_symlink() for copy in copies)
        assert len({copy.read_bytes() for copy in copies}) == 1


def test_a_folder_has_no_module_that_its_script_does_not_need():
    """Each is imported, by the script or by a module of the folder that is."""
    for tool in TOOLS:
        modules = {path.stem: path.read_text() for path in tool.parent.glob("*.py")}
        [script] = [name for name in modules if name.startswith("iscc_")]
        needed, new = set(), {script}
        while new:
            needed |= new
            imported = {
                name
                for text in map(modules.get, new)
                for name in re.findall(r"^ *(?:import|from) (\w+)", text, re.M)
            }
            new = imported & set(modules) - needed
        assert needed == set(modules)


@pytest.mark.parametrize("tool", TOOL_IDS)
def test_macros_are_one_file(tool):
    """Galaxy's server reads them, so a link does."""
    assert (PROJECT / "tools" / tool / "macros.xml").readlink() == Path("../../macros/macros.xml")


@pytest.mark.parametrize("tool", TOOLS, ids=TOOL_IDS)
def test_required_files_are_all_modules_of_the_folder(tool):
    required = [include.get("path") for include in expanded(tool).iter("include")]
    assert sorted(required) == sorted(path.name for path in tool.parent.glob("*.py"))


def test_required_packages_are_those_that_are_installed_for_the_tools():
    """By name and version, as Galaxy looks for them, and the same for the fast tests."""
    required = {
        f"{requirement.text}=={requirement.get('version')}"
        for tool in TOOLS
        for requirement in expanded(tool).iter("requirement")
    }
    pinned = pinned_requirements(REQUIREMENTS / "tools.in")
    split = [requirement.split("==") for requirement in pinned]
    assert required == {f"{CONDA_NAMES.get(name, name)}=={version}" for name, version in split}
    assert set(pinned) <= set(pinned_requirements(REQUIREMENTS / "dev.txt"))


def test_versions_agree():
    versions = {expanded(tool).get("version") for tool in TOOLS}
    [citation] = re.findall(r"^version: (.*)$", (PROJECT / "CITATION.cff").read_text(), re.M)
    newest = re.findall(r"^## (.*)$", (PROJECT / "CHANGELOG.md").read_text(), re.M)[0]
    assert versions == {citation} == {newest}


@pytest.mark.parametrize("tool", TOOLS, ids=TOOL_IDS)
def test_codes_in_xml_tests_are_those_of_iscc_core(tool):
    """But for one that is broken on purpose, which stands in a message."""
    tests = ElementTree.tostring(expanded(tool).find("tests"), encoding="unicode")
    found = re.findall(r"ISCC:[A-Z2-7]+|1e20[0-9a-f]{64}", tests)
    assert found
    broken = codes_of_file("nuclei.tif").wide[:-1]
    assert set(found) - {broken} <= CODES


def test_distances_in_xml_tests_are_those_of_iscc_core():
    """7 of 128 bits, and 5 of 64, between the image and its retouched copy, and those of
    unrelated images: bits counted."""
    nuclei, retouched = codes_of_file("nuclei.tif"), codes_of_file("nuclei_retouched.tif")
    assert distance(nuclei.wide, retouched.wide) == 7
    assert distance(nuclei.narrow, retouched.narrow) == 5
    cell, retina = codes_of_file("cell.png").wide, codes_of_file("retina.jpg").wide
    assert [distance(each.wide, retina) for each in (nuclei, retouched)] == [65, 62]
    assert [distance(each.wide, cell) for each in (nuclei, retouched)] == [64, 63]
    assert distance(cell, retina) == 59


def line(name: str, narrow: bool = False) -> str:
    return manifest_line(name, (TEST_DATA / name).read_bytes(), narrow)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "delivery.tsv",
            HEADER
            + line("cell.png")
            + line("nuclei.tif")
            + line("nuclei_3d.tif", narrow=True)
            + line("retina.jpg"),
        ),
        (
            "archive.tsv",
            "iscc\t#name\n"
            f"{codes_of_file('cell.png').narrow}\tcell.png\n"
            f"{codes_of_file('nuclei_retouched.tif').narrow}\told nuclei.tif\n",
        ),
        (
            "broken_manifest.tsv",
            HEADER
            + line("cell.png")
            + line("nuclei.tif").replace(
                codes_of_file("nuclei.tif").wide, codes_of_file("nuclei.tif").wide[:-1]
            ),
        ),
        ("empty_manifest.tsv", HEADER),
        (
            "many.tsv",
            "#name\tiscc\n"
            + "".join(f"{n}\t{codes_of(str(n).encode()).narrow}\n" for n in range(1, 2002)),
        ),
    ],
)
def test_manifests_in_test_data_hold_what_iscc_core_computes(name, content):
    assert (TEST_DATA / name).read_text() == content


def test_the_retouched_image_differs_where_its_readme_says():
    image = tifffile.imread(TEST_DATA / "nuclei.tif")
    retouched = tifffile.imread(TEST_DATA / "nuclei_retouched.tif")
    assert (image != retouched).sum() == 610
    image[86:112, 214:238] = image[86:112, 150:174]
    assert (image == retouched).all()


def test_all_test_data_is_described_and_used():
    readme = (TEST_DATA / "README.md").read_text()
    tests = "".join(tool.read_text() for tool in TOOLS)
    for path in TEST_DATA.iterdir():
        if path.name != "README.md":
            assert f"| `{path.name}` |" in readme
            assert path.name in tests
            assert path.stat().st_size < 300_000
