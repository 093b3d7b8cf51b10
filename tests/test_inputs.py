"""inputs takes names unchanged from paths and forms, in any locale; nothing is guessed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import inputs
from conftest import SCRIPTS
from inputs import Form
from messages import InputError
from oracle import HEADER, TEST_DATA, manifest_line

KEYS = ("datasets", "manifests")


def dataset(identifier: object, **more: object) -> dict[str, object]:
    return {"element_identifier": identifier, "source_path": "f"} | more


def form(tmp_path: Path, content: object) -> Form:
    path = tmp_path / "inputs.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return Form(path, KEYS)


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        (dataset("a.tif"), ["a.tif"]),
        ([dataset("$(touch x).tif"), dataset("b\n")], ["$(touch x).tif", "b\n"]),
        ([dataset(["day 1", "forward"])], ["day 1/forward"]),
        ([dataset("a"), dataset("a")], ["a", "a"]),
        ([], []),
    ],
    ids=["one", "several", "nested", "twice the same", "empty collection"],
)
def test_datasets_of_a_form(tmp_path, chosen, names):
    found = form(tmp_path, {"datasets": chosen}).datasets("datasets")
    assert [each.name for each in found] == names
    assert {each.path for each in found} <= {Path("f")}


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("{", "as JSON"),
        ("[]", 'JSON object, found "[]"'),
        ("[" * 100_000, "as JSON"),
        ({"other": []}, 'found "other"'),
        ({"datasets": [1]}, 'found "1"'),
        ({"datasets": None}, 'found "null"'),
        ({"datasets": dataset({"a": 1})}, "each with element_identifier and source_path"),
        ({"datasets": dataset([])}, "each with element_identifier"),
        ({"datasets": dataset([1])}, "each with element_identifier"),
        ({"datasets": dataset("a\0b")}, "each with element_identifier"),
        ({"datasets": dataset("a", source_path="\0")}, "each with element_identifier"),
        ({"datasets": dataset("a", source_path="\ud800")}, "each with element_identifier"),
        ({"datasets": dataset("a", source_path="")}, 'cannot read "a": Galaxy has no file for it'),
        ({"datasets": dataset("a", ext="zarr", store_root="../b")}, "each with element_identi"),
        ({"datasets": dataset("a", ext="zarr", store_root="..")}, "each with element_identifier"),
        ({"datasets": dataset("a", ext="zarr", store_root=["b"])}, "each with element_identifier"),
        ({"datasets": dataset("a", ext="zarr", store_root="a\0b")}, "each with element_identifi"),
        ({"datasets": dataset("a", ext="zarr")}, 'cannot read "a": Galaxy has no file for it'),
    ],
)
def test_forms_that_are_none_are_refused(tmp_path, content, word):
    with pytest.raises(InputError) as error:
        form(tmp_path, content).datasets("datasets")
    assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_a_form_that_is_not_text_is_not_quoted(tmp_path):
    """It may be any file, such as a key."""
    (tmp_path / "inputs.json").write_bytes(b"secret \xff")
    with pytest.raises(InputError, match="as JSON, found something else") as error:
        Form(tmp_path / "inputs.json", KEYS)
    assert "secret" not in str(error.value)


def test_a_form_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        Form(tmp_path / "gone", KEYS)


def test_one_of_two_keys(tmp_path):
    both = form(tmp_path, {"datasets": [], "manifests": []})
    with pytest.raises(InputError, match='either "datasets" or "manifests", found both'):
        both.which(*KEYS)
    with pytest.raises(InputError, match='expected the key "datasets" or "manifests", found none'):
        form(tmp_path, {}).one_of(*KEYS)
    assert form(tmp_path, {}).which(*KEYS) is None
    assert form(tmp_path, {"manifests": []}).one_of(*KEYS) == "manifests"


def test_different_identifiers_that_make_the_same_name(tmp_path):
    """`c` in `a/b`, and `b/c` in `a`: a manifest could not tell them apart."""
    chosen = [dataset(["a/b", "c"]), dataset(["a", "b/c"])]
    with pytest.raises(InputError) as error:
        form(tmp_path, {"datasets": chosen}).datasets("datasets")
    assert str(error.value) == (
        '"a/b/c" would be the name of two datasets, as "c" in "a/b" and as "b/c" in "a"; '
        "rename one of them"
    )


def test_files_of_directories_that_get_the_name_of_another_dataset(tmp_path, script):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").write_bytes(b"in it")
    (tmp_path / "f").write_bytes(b"beside it")
    items = [
        dataset("d", ext="directory", extra_files_path=str(tmp_path / "d")),
        dataset("d/x", source_path=str(tmp_path / "f")),
    ]
    (tmp_path / "inputs.json").write_text(json.dumps({"datasets": items}))
    options = ["--inputs", "inputs.json", "--manifest", "m"]
    assert script("iscc_manifest", *options).returncode == 0
    done = script("iscc_manifest", *options, "--per-file")
    assert done.returncode == 2
    assert '"d/x" would be the name of two datasets' in done.stderr


def test_joined_names_that_become_the_same(tmp_path, script):
    for name, inner in (("1", "c"), ("2", "b/c")):
        (tmp_path / name).write_text(HEADER + manifest_line(inner, name.encode()))
    manifests = [
        {"element_identifier": ["a/b", "1"], "source_path": str(tmp_path / "1")},
        {"element_identifier": ["a", "2"], "source_path": str(tmp_path / "2")},
    ]
    (tmp_path / "inputs.json").write_text(json.dumps({"manifests": manifests}))
    done = script("iscc_manifest", "--inputs", "inputs.json", "--manifest", "m")
    assert done.returncode == 2
    assert '"a/b/c" would be the name of two datasets' in done.stderr


def test_types_of_galaxy_that_are_directories_and_others(tmp_path):
    files = tmp_path / "dataset_1_files"
    (files / "results" / "0").mkdir(parents=True)
    (files / "results" / "0" / "0").write_bytes(b"a")

    def path(extension: str, beside: Path | str = files, **more: object) -> Path:
        item = dataset("z", ext=extension, extra_files_path=str(beside), **more)
        return form(tmp_path, {"datasets": item}).datasets("datasets")[0].path

    # Galaxy says where the store is; of a directory, the name of the only one in it is data.
    assert path("zarr", store_root="results") == files / "results"
    assert path("ome_zarr", store_root="") == files
    assert path("directory") == files
    assert path("zarr.zip", beside="") == Path("f")
    assert path("html", beside=tmp_path / "none") == Path("f")
    with pytest.raises(InputError, match="of such types, only directory, ome_zarr, zarr can be"):
        path("html")


def test_names_do_not_depend_on_the_locale(tmp_path, program):
    """Paths in arguments, names in a form, and names in a directory, in an ISO 8859-1 locale."""
    locale = "en_US.ISO-8859-1"
    if not shutil.which("localedef"):
        pytest.skip("has no localedef to make a locale with")
    home = tmp_path / "locales"
    home.mkdir()
    made = subprocess.run(
        ["localedef", "-i", "en_US", "-f", "ISO-8859-1", home / locale], capture_output=True
    )
    if made.returncode:
        pytest.skip("has no definitions of locales")
    environment = os.environ | {"LOCPATH": str(home), "LC_ALL": locale}
    says = [sys.executable, "-c", "import sys; print(sys.getfilesystemencoding())"]
    used = subprocess.run(says, env=environment, capture_output=True, text=True).stdout
    if used.strip() == "utf-8":
        pytest.skip("Python does not use the locale")
    (tmp_path / "é.zarr").mkdir()
    for name in ("ünï.tif", "é.zarr/ß", "é.zarr/ä"):
        (tmp_path / name).write_bytes(name.encode())
    items = [dataset("日本.tif", source_path=str(tmp_path / "ünï.tif"))]
    (tmp_path / "inputs.json").write_text(json.dumps({"datasets": items}))
    given = ["--manifest", "m", "--per-file"]
    done = program("iscc_manifest", "ünï.tif", "é.zarr", *given, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    names = [line.split("\t")[0] for line in (tmp_path / "m").read_text("utf-8").splitlines()]
    assert names == ["#name", "ünï.tif", "é.zarr/ß", "é.zarr/ä"]
    done = program("iscc_manifest", "--inputs", "inputs.json", *given, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    content = (tmp_path / "m").read_text("utf-8")
    assert content == HEADER + manifest_line("日本.tif", "ünï.tif".encode())


def test_a_path_is_the_name_but_for_slashes_at_its_end(tmp_path):
    assert inputs.from_path("a//").name == "a"
    assert inputs.from_path("./a b").name == "./a b"
    assert (inputs.from_path("/").name, inputs.from_path("/").path) == ("/", Path("/"))
    with pytest.raises(InputError, match="found an empty one"):
        inputs.from_path("")


def test_the_modules_beside_a_script_are_found_by_all_means(tmp_path, program):
    """With PYTHONSAFEPATH, Python ignores the script's directory; others have such modules."""
    shutil.copy(TEST_DATA / "pixels" / "crop.png", tmp_path / "a")
    for name in ("manifest", "coding", "codes", "inputs"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not this one')")
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1"}
    shutil.copy(TEST_DATA / "exports" / "invocation.zip", tmp_path)
    seals = TEST_DATA / "seals"
    sealed = (seals / "trail.tsv", "--seal", seals / "trail.seal.json")
    arguments = {
        "iscc_manifest": ("a", "--manifest", "m"),
        "iscc_pixels": ("a", "--manifest", "pixels"),
        "iscc_panels": ("a", "--raw", "a", "--finds", "finds"),
        "iscc_trail": ("invocation.zip", "--trail", "trail"),
        "iscc_similarity": ("a", "m"),
        "iscc_verify": ("a", "--manifest", "m", "--summary", "r"),
        "iscc_gate": ("r", "a", "--passed-on", "b"),
        "iscc_seal": ("verify", *sealed, "--trusted", seals / "signer.pub"),
    }
    for script in SCRIPTS:
        done = program(script, *arguments[script], env=environment)
        assert (done.returncode, done.stderr) == (0, "")
