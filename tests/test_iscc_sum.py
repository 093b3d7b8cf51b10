"""iscc_manifest: every code is that of iscc-core, and unreadable datasets are named."""

import json
import os
import random
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from iscc_schema import IsccMeta

import coding
from conftest import SCRIPTS
from inputs import Dataset
from oracle import HEADER, TEST_DATA, codes_of, manifest_line
from samples import NEEDS_FORK, NEEDS_NAMES_OF_BYTES

ISCC_SUM = Path(sys.executable).parent / "iscc-sum"
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
    done = script("iscc_manifest", name, "--manifest", "m.tsv", *narrow)
    assert (done.returncode, done.stderr) == (0, "")
    expected = HEADER + manifest_line(name, CONTENTS[name], narrow=bool(narrow))
    assert (tmp_path / "m.tsv").read_text() == expected


@NEEDS_NAMES_OF_BYTES
def test_rows_stand_in_input_order_under_the_paths_as_given(tmp_path, script):
    names = ["b b.tif", "./a.tif", "-c.tif", "\udcff.tif", "b b.tif"]
    for name in names:
        (tmp_path / name).write_bytes(name.encode("utf-8", "surrogateescape"))
    done = script("iscc_manifest", "--manifest", "m.tsv", "--", *names)
    assert done.returncode == 0
    lines = (tmp_path / "m.tsv").read_text(errors="surrogateescape").splitlines()[1:]
    assert [line.split("\t")[0] for line in lines] == names
    # 7 + 7 + 6 + 5 + 7 bytes
    assert done.stdout.startswith("5 datasets, 32 bytes, ")
    assert done.stdout.endswith("; 5 small, tiny or empty\n")


def test_outputs_that_would_destroy_an_input(tmp_path, script):
    """Whichever input it is; test_outputs.py tests what counts as one."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_bytes(b"kept")
    inputs = json.dumps({"datasets": [dataset("f") | {"source_path": "d/f"}]})
    (tmp_path / "inputs.json").write_text(inputs)
    for arguments, output in (
        (["d"], "d/f"),
        (["--inputs", "inputs.json"], "inputs.json"),
        (["--inputs", "inputs.json"], "d/f"),
        (["d", "--checksums", "m"], "m"),
        (["d", "--records", "m"], "m"),
        (["--join", "d/f"], "d/f"),
    ):
        done = script("iscc_manifest", *arguments, "--manifest", output)
        assert done.returncode == 2
        assert "this path is also an input or another output" in done.stderr
    assert (tmp_path / "d" / "f").read_bytes() == b"kept"
    assert (tmp_path / "inputs.json").read_text() == inputs


def test_paths_that_no_file_can_have(tmp_path, script):
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "loop").symlink_to("pool")
    (tmp_path / "pool").symlink_to("loop")
    done = script("iscc_manifest", "loop", "--manifest", "m.tsv")
    assert done.stderr == 'iscc_manifest: cannot read "loop": Too many levels of symbolic links\n'
    for output in ("x" * 300, f"{'x' * 300}/m.tsv"):
        done = script("iscc_manifest", "a", "--manifest", output)
        assert done.returncode == 2
        assert done.stderr == f'iscc_manifest: cannot write "{"x" * 77}...": File name too long\n'
    assert not list(tmp_path.glob("m.tsv*"))


def test_inputs_may_come_through_a_pipe(tmp_path, script):
    (tmp_path / "f").write_bytes(b"a")
    os.mkfifo(tmp_path / "inputs.json")
    content = json.dumps({"datasets": [dataset("a")]})
    writer = threading.Thread(target=(tmp_path / "inputs.json").write_text, args=[content])
    writer.start()
    done = script("iscc_manifest", "--inputs", "inputs.json", "--manifest", "m.tsv")
    writer.join()
    assert (done.returncode, done.stderr) == (0, "")


def unreadable(folder: Path, kind: str) -> None:
    path = folder / "gone.tif"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "forbidden":
        if os.geteuid() == 0:
            pytest.skip("root may read everything")
        path.touch(mode=0)
    elif kind == "dangling link":
        path.symlink_to("nowhere")
    elif kind == "failing":
        if sys.platform != "linux":
            pytest.skip("has no file that opens and cannot be read")
        # The kernel opens this file and refuses to read it at position 0.
        path.symlink_to("/proc/self/mem")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "No such file or directory"),
        ("dangling link", "No such file or directory"),
        ("pipe", "it is not a regular file"),
        ("forbidden", "Permission denied"),
        ("failing", "Input/output error"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, script, kind, reason):
    unreadable(tmp_path, kind)
    (tmp_path / "a.tif").write_bytes(b"a")
    done = script("iscc_manifest", "a.tif", "gone.tif", "--manifest", "m.tsv")
    assert done.returncode == 2
    assert done.stderr == f'iscc_manifest: cannot read "gone.tif": {reason}\n'
    assert done.stdout == ""
    assert not list(tmp_path.glob("m.tsv*"))


def test_paths_that_are_odd(tmp_path, script):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_bytes(b"a")
    done = script("iscc_manifest", "", "--manifest", "m")
    assert done.stderr == "iscc_manifest: expected the path of a file, found an empty one\n"
    done = script("iscc_manifest", "d/", "--manifest", "m", "--checksums", "c")
    assert (tmp_path / "m").read_text() == HEADER + manifest_line("d", b"a")
    assert (tmp_path / "c").read_text() == f"{codes_of(b'a').wide} *d/\n"


def dataset(identifier: str | list[str]) -> dict[str, object]:
    return {"element_identifier": identifier, "source_path": "f"}


def test_twenty_thousand_datasets_in_one_job(tmp_path, script):
    """Through the inputs of a tool, as in Galaxy: the list of arguments does not grow."""
    (tmp_path / "f").write_bytes(b"a")
    chosen = [dataset(["plate", f"{number}.tif"]) for number in range(20_000)]
    (tmp_path / "inputs.json").write_text(json.dumps({"datasets": chosen}))
    done = script(
        "iscc_manifest", "--inputs", "inputs.json", "--manifest", "m.tsv", "--processes", 2
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "m.tsv").open() as lines:
        assert next(lines) == HEADER
        for number, line in enumerate(lines):
            assert line == manifest_line(f"plate/{number}.tif", b"a")
    assert number == 19_999
    assert done.stdout.startswith("20,000 datasets, 20,000 bytes, ")


@pytest.fixture
def driver(tmp_path) -> Callable[..., subprocess.CompletedProcess]:
    """Run a few lines with our modules in a separate process, in `tmp_path`.

    The process that runs the tests must not fork: it has coded bytes itself, and the threads that
    the library keeps for that would be missing in its children.
    """

    def run(lines: str, **values: object) -> subprocess.CompletedProcess:
        imports = "import errno, multiprocessing, os, signal\nfrom pathlib import Path\n"
        imports += "import coding, messages\nfrom inputs import from_path\n"
        imports += "from messages import InputError\n"
        setting = "".join(f"{name} = {value!r}\n" for name, value in values.items())
        return subprocess.run(
            [sys.executable, "-c", imports + setting + textwrap.dedent(lines)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(SCRIPTS["iscc_manifest"].parent)},
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("processes", [1, 2])
def test_an_unreadable_file_in_a_directory_is_an_error(tree, driver, whole, processes):
    """The command iscc-sum skips it and returns another code, with exit status 0."""
    done = driver(
        """
        opened = Path.open

        def refusing(path, *arguments, **options):
            if path.name == "10":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return opened(path, *arguments, **options)

        Path.open = refusing
        datasets = [from_path("image.zarr"), from_path("image.zarr/b")]
        try:
            found = datasets if WHOLE else coding.split_directories(datasets)
            coding.code_all(found, processes=PROCESSES)
        except InputError as error:
            print(error)
        """,
        WHOLE=whole,
        PROCESSES=processes,
    )
    assert done.stdout == 'cannot read "image.zarr/0/10": Input/output error\n'


# Processes


@pytest.mark.parametrize("narrow", [[], ["--narrow"]])
def test_output_is_the_same_for_any_number_of_processes(tmp_path, script, narrow):
    names = []
    for number in range(100):
        name = f"{number}.bin"
        (tmp_path / name).write_bytes(noise(number**3 % 70_001))
        names.append(name)
    outputs = set()
    for processes in (1, 2, 5):
        more = ["--checksums", "c", "--records", "r", "--processes", processes, *narrow]
        done = script("iscc_manifest", *names, "--manifest", "m", *more)
        assert (done.returncode, done.stderr) == (0, "")
        outputs.add(tuple((tmp_path / name).read_bytes() for name in "mcr"))
    [(table, _, _)] = outputs
    expected = [manifest_line(n, (tmp_path / n).read_bytes(), bool(narrow)) for n in names]
    assert table.decode() == HEADER + "".join(expected)


@NEEDS_FORK
@pytest.mark.parametrize("processes", [2, 5])
def test_a_process_that_is_killed_is_an_error_that_names_the_dataset(tmp_path, driver, processes):
    for number in range(200):
        (tmp_path / f"{number}.bin").write_bytes(b"a" * number)
    done = driver(
        """
        code = coding.code

        def killed(source, report, wide):
            if source.name == "123.bin":
                os.kill(os.getpid(), signal.SIGKILL)
            return code(source, report, wide)

        coding.code = killed
        try:
            names = [f"{number}.bin" for number in range(200)]
            coding.code_all([from_path(name) for name in names], processes=PROCESSES)
        except InputError as error:
            print(error)
        print(multiprocessing.active_children())
        """,
        PROCESSES=processes,
    )
    assert done.stdout == (
        'a process that read "123.bin" was killed by signal 9 (SIGKILL), probably because the '
        "machine ran out of memory\n[]\n"
    )


@NEEDS_FORK
def test_our_own_bugs_show_where_they_are(tmp_path, driver):
    for name in "ab":
        (tmp_path / name).touch()
    done = driver(
        """
        def buggy(source, report, wide):
            return 1 / 0

        coding.code = buggy
        coding.code_all([from_path("a"), from_path("b")], processes=2)
        """
    )
    assert done.returncode == 1
    assert "in buggy" in done.stderr
    assert "ZeroDivisionError: division by zero" in done.stderr


@given(st.lists(st.integers(0, 20 * 2**20)))
def test_portions_hold_everything_once_the_largest_first(sizes):
    portions = coding.portions(sizes)
    indices = [index for portion in portions for index in portion]
    assert sorted(indices) == list(range(len(sizes)))
    assert [sizes[i] for i in indices] == sorted(sizes, reverse=True)
    for portion in portions:
        assert 1 <= len(portion) <= coding.PORTION_DATASETS
        assert len(portion) == 1 or sum(sizes[i] for i in portion) <= coding.PORTION_BYTES


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=100_000) | st.integers(0, 200_000).map(noise), st.integers(1, 5000))
def test_any_split_of_any_bytes_gives_the_code_of_iscc_core(tmp_path, content, chunk):
    path = tmp_path / "content"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coding, "READ_BYTES", chunk)
        [entry] = coding.code_all([Dataset(("content",), path)])
    assert (entry.iscc, *entry_codes(entry)) == (codes_of(content).wide, *codes_of(content)[2:])


def entry_codes(entry) -> tuple:
    return entry.filesize, entry.datahash, entry.data_code, entry.instance_code


@pytest.mark.parametrize("processes", [1, 2])
def test_long_work_says_how_far_it_is(tmp_path, driver, processes):
    for name in "abc":
        with (tmp_path / name).open("wb") as sparse:
            sparse.truncate(100_000_000)
    done = driver(
        """
        messages.SECONDS_BETWEEN_REPORTS = 0
        coding.code_all([from_path(name) for name in "abc"], processes=PROCESSES)
        """,
        PROCESSES=processes,
    )
    form = r"([0-3]) of 3 datasets, (0\.[0-3]) of 0\.3 GB, [\d,]+ MB/s"
    news = [re.fullmatch(form, line) for line in done.stderr.splitlines()]
    assert news
    assert all(news)
    counts = [(int(line[1]), float(line[2])) for line in news]
    assert counts == sorted(counts)
    assert counts[-1][1] == 0.3


# Checksums and records


def test_the_command_accepts_the_checksum_file(tree, script):
    names = ["50% done.tif", "it's.tif", "ünï.tif", " a ", "$(touch x).tif", "image.zarr"]
    for name in names[:-1]:
        (tree.parent / name).write_bytes(name.encode() * 1000)
    done = script("iscc_manifest", *names, "--manifest", "m", "--checksums", "c")
    assert done.returncode == 0, done.stderr
    command = [ISCC_SUM, "--check", "--strict", "c"]
    checked = subprocess.run(command, cwd=tree.parent, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.count(": OK") == len(names)
    (tree.parent / "it's.tif").write_bytes(b"changed")
    checked = subprocess.run(command, cwd=tree.parent, capture_output=True, text=True)
    assert checked.returncode == 1
    assert "it's.tif: FAILED" in checked.stdout


def test_names_that_the_command_cannot_read_are_escaped_in_the_checksum_file(tmp_path, script):
    (tmp_path / "a\\b\nc\rd").write_bytes(b"a")
    script("iscc_manifest", "a\\b\nc\rd", "--manifest", "m", "--checksums", "c")
    assert (tmp_path / "c").read_bytes().decode() == f"\\{codes_of(b'a').wide} *a\\\\b\\nc\\rd\n"


@NEEDS_NAMES_OF_BYTES
def test_records_validate_as_iscc_metadata(tree, script):
    names = ["cell.png", "a.tif.gz", "noend", "it's \\ ünï\n.TIFF", "\udcff.txt", "image.zarr"]
    for name in names[:-1]:
        (tree.parent / name).write_bytes(b"a")
    done = script("iscc_manifest", *names, "--manifest", "m", "--records", "r")
    assert done.returncode == 0, done.stderr
    records = json.loads((tree.parent / "r").read_text(encoding="utf-8"))
    for record in records:
        # The schema has no word for bytes of a name that are no text.
        IsccMeta.model_validate(record | {"filename": record["filename"].replace("\udcff", "?")})
        assert list(record)[:1] == ["$schema"]
    assert [record["filename"] for record in records] == names
    assert [record.get("mediatype") for record in records] == [
        "image/png",
        None,
        None,
        "image/tiff",
        "text/plain",
        None,
    ]
    codes = codes_of(b"a")
    assert records[0] == {
        "$schema": "http://purl.org/iscc/schema/0.8.0.json",
        "iscc": codes.wide,
        "filename": "cell.png",
        "filesize": 1,
        "mediatype": "image/png",
        "datahash": codes.datahash,
        "units": [codes.data_code, codes.instance_code],
        "generator": "iscc-sum 0.1.0",
    }


def test_an_empty_collection_has_empty_outputs(tmp_path, script):
    (tmp_path / "inputs.json").write_text('{"datasets": []}')
    done = script("iscc_manifest", "--inputs", "inputs.json", "--manifest", "m", "--records", "r")
    assert done.returncode == 0
    assert (tmp_path / "m").read_text() == HEADER
    assert json.loads((tmp_path / "r").read_text()) == []


@pytest.mark.parametrize("processes", ["0", "-1", "x", "1.5", "1025", "1" * 30])
def test_a_number_of_processes_that_is_none(script, processes):
    done = script("iscc_manifest", "a", "--manifest", "m", f"--processes={processes}")
    assert done.returncode == 2
    assert done.stderr == (
        f"iscc_manifest: argument --processes: {processes!r} is not an integer between 1 and "
        "1,024\n"
    )


@pytest.mark.parametrize("options", [[], ["--narrow"], ["--per-file"]])
def test_manifests_of_single_datasets_join_into_that_of_all(tmp_path, script, options):
    """Byte for byte, with the full names of a nested collection."""
    paths = [["it's 1", "forward"], ["it's 1", "a/b\t\\"], ["#2", "forward"], ["plain"], "in none"]
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "in it").write_bytes(b"tiny")
    chosen = []
    for number, path in enumerate(paths):
        (tmp_path / str(number)).write_bytes(b"content %d" % number * 5_000 * (number > 0))
        chosen.append({"element_identifier": path, "source_path": str(tmp_path / str(number))})
    folder = {"source_path": "", "ext": "zarr", "extra_files_path": str(tmp_path / "folder")}
    chosen.append({"element_identifier": ["it's 1", "folder"], **folder})
    manifests = []
    for number, dataset in enumerate(chosen):
        # A job of its own knows the innermost identifier alone.
        path = dataset["element_identifier"]
        single = dataset | {"element_identifier": path if isinstance(path, str) else path[-1]}
        (tmp_path / "inputs.json").write_text(json.dumps({"datasets": [single]}))
        source = tmp_path / f"{number}.tsv"
        done = script("iscc_manifest", "--inputs", "inputs.json", "--manifest", source, *options)
        assert (done.returncode, done.stderr) == (0, "")
        manifests.append({"element_identifier": path, "source_path": str(source)})
    (tmp_path / "inputs.json").write_text(json.dumps({"datasets": chosen}))
    done = script("iscc_manifest", "--inputs", "inputs.json", "--manifest", "all.tsv", *options)
    assert (done.returncode, done.stderr) == (0, "")

    (tmp_path / "inputs.json").write_text(json.dumps({"manifests": manifests}))
    done = script("iscc_manifest", "--inputs", "inputs.json", "--manifest", "joined.tsv")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "6 datasets of 6 manifests\n"
    assert (tmp_path / "joined.tsv").read_bytes() == (tmp_path / "all.tsv").read_bytes()


def test_a_manifest_of_nothing_is_joined(tmp_path, script):
    """An empty directory, file by file: one job for all would have no line for it either."""
    (tmp_path / "none").mkdir()
    (tmp_path / "a").write_bytes(b"a")
    for names in (["a"], ["none"], ["none", "a"]):
        script("iscc_manifest", *names, "--per-file", "--manifest", f"{''.join(names)}.tsv")
    done = script(
        "iscc_manifest", "--join", "none.tsv", "--join", "a.tsv", "--manifest", "joined.tsv"
    )
    assert (done.returncode, done.stdout) == (0, "1 dataset of 2 manifests\n")
    assert (tmp_path / "joined.tsv").read_bytes() == (tmp_path / "nonea.tsv").read_bytes()


def test_a_note_without_a_size_is_joined(tmp_path, script):
    line = f"a\t{codes_of(b'a').narrow}\ttiny\n"
    (tmp_path / "m").write_text("#name\tiscc\tnote\n" + line)
    done = script("iscc_manifest", "--join", "m", "--manifest", "joined.tsv")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "joined.tsv").read_text().splitlines()[1].split("\t")[-1] == "tiny"


def test_a_manifest_alone_needs_no_list(tmp_path, script):
    (tmp_path / "a").write_bytes(b"a")
    script("iscc_manifest", "a", "--manifest", "m")
    single = {"element_identifier": ["it's", "a"], "source_path": str(tmp_path / "m")}
    (tmp_path / "inputs.json").write_text(json.dumps({"manifests": single}))
    done = script("iscc_manifest", "--inputs", "inputs.json", "--manifest", "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out").read_text() == HEADER + manifest_line("it's/a", b"a")


def test_datasets_and_manifests_at_once_are_an_error(tmp_path, script):
    (tmp_path / "inputs.json").write_text(json.dumps({"datasets": [], "manifests": []}))
    done = script("iscc_manifest", "--inputs", "inputs.json", "--manifest", "out")
    message = '"inputs.json": expected either "datasets" or "manifests", found both'
    assert (done.returncode, done.stderr) == (2, f"iscc_manifest: {message}\n")


def test_manifests_given_by_path_are_joined_in_their_order(tmp_path, script):
    (tmp_path / "a").write_bytes(b"a" * 30_000)
    (tmp_path / "b").write_bytes(b"b" * 30_000)
    for names in (["a"], ["b"], ["b", "a"]):
        script("iscc_manifest", *names, "--manifest", f"{''.join(names)}.tsv")
    done = script("iscc_manifest", "--join", "b.tsv", "--join", "a.tsv", "--manifest", "joined.tsv")
    assert (done.returncode, done.stdout) == (0, "2 datasets of 2 manifests\n")
    assert (tmp_path / "joined.tsv").read_bytes() == (tmp_path / "ba.tsv").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--join", "m", "--narrow"], "--narrow is for datasets, which are not read with --join"),
        (["--join", "m", "--per-file"], "--per-file is for datasets, which are not read with"),
        (["--join", "m", "--checksums", "c"], "--checksums is for datasets, which are not read"),
        (["--join", "m", "--records", "r"], "--records is for datasets, which are not read with"),
        (["--join", "none"], 'cannot read "none": No such file or directory'),
        (["--join", "m", "--join", "text"], '"text", line 1: expected the header of a manifest'),
        (["--join", "m", "--join", "empty"], '"empty": expected a manifest, but it has no entry'),
        (
            ["--join", "m", "--join", "out"],
            'cannot write "out": this path is also an input or another output',
        ),
        (["--join", "m", "text"], "argument FILE: not allowed with argument --join"),
    ],
)
def test_what_cannot_be_joined_is_said(tmp_path, script, arguments, message):
    (tmp_path / "text").write_text("no manifest")
    (tmp_path / "empty").touch()
    script("iscc_manifest", "text", "--manifest", "m")
    done = script("iscc_manifest", *arguments, "--manifest", "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"iscc_manifest: {message}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "m", "text"]
