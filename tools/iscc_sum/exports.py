"""Read exports of Galaxy: which jobs made which datasets from which, and the datasets' bytes.

An export of an invocation or of a history (a zip file, "RO-Crate" in Galaxy's web pages) contains a
crate that names its files. In addition, for other Galaxy servers, it contains JSON files with the
whole graph of datasets, jobs and collections. These are read (galaxy.model.store, version 2, in
Galaxy 25.1 and 26.1).

Exports are untrusted. Nothing is extracted: members are read one by one, at most as many bytes as
the archive declares, and no name in it becomes a path. Inconsistent exports are refused.
"""

import json
import re
import stat
import zipfile
import zlib
from bisect import bisect_left as bisect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from iscc_sum import IsccSumProcessor

import coding
from folders import IGNORE_FILE, METADATA_SUFFIX, tree_order
from inputs import DIRECTORY_TYPES
from manifest import Entry
from messages import InputError, explaining, quote

VERSION = "2"
FIRST_BYTES = b"PK"

MOST_MEMBERS = 1_000_000
MOST_JSON_BYTES = 256 * 1024 * 1024  # of one member
MOST_JSON_VALUES = 5_000_000  # of one member, estimated by counting separators
MOST_RECORDS = 1_000_000  # per kind
MOST_LINKS = 5_000_000  # between jobs and datasets
LONGEST_TEXT = 10_000  # characters; names in Galaxy have at most 255
DEEPEST_COLLECTION = 20
# Deflate can expand one byte to a thousand, and some masks are nearly as empty. Above this size, an
# export may claim at most this many times its own size.
SURELY_HARMLESS_BYTES = 4 * 1024**3
MOST_TIMES_ITS_SIZE = 200
HEADER_BYTES = 30  # of a member, minimum
ENCRYPTED = 1
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

UPLOADS = ("__DATA_FETCH__", "upload1")
# Parameters set by Galaxy, not by the user.
SET_BY_GALAXY = ("chromInfo", "dbkey", "__")
TIME = re.compile("([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]([0-9]{2}:[0-9]{2}:[0-9]{2})")
BEFORE_A_PATH = " \t\r\n\"'[("
LONGEST_VALUE = 1_000
LONGEST_PARAMETERS = 20_000  # characters, as JSON


class Dataset(NamedTuple):
    """A dataset as a history shows it; copies of a dataset have the same `content`, a UUID.

    `number` is its position in the history. `names` are those of the collections that contain it,
    and its own. `copied_from` are the datasets that it is a copy of, some of which may not be in
    the export.
    """

    key: str
    number: int
    names: tuple[str, ...]
    content: str
    copied_from: tuple[str, ...]


class Job(NamedTuple):
    """A successful run of a tool, with the keys of its input and output datasets.

    Jobs with the same `step` were one step in the history, mapped over a collection. `parameters`
    are those that the user set, `ended` is in UTC, to the second.
    """

    step: int
    tool: str
    version: str
    parameters: dict
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    ended: str


class Export(NamedTuple):
    """A whole export.

    `entries` are the codes of the files of each content, empty if the export does not contain its
    bytes. They are named by the file within the dataset, usually an empty name.
    """

    datasets: dict[str, Dataset]
    jobs: list[Job]
    entries: dict[str, list[Entry]]


def read(path: Path, name: str, report: Callable[[float], None]) -> Export:
    """Read an export that the user calls `name`; `report(n)` is called for every n bytes coded.

    Raises InputError if it is not an export, is damaged, has an unknown version, is too large, or
    is inconsistent.
    """
    with opened(path, name) as archive:
        members = members_of(archive, name, path.stat().st_size)
        about = records_of(archive, members, "export_attrs.txt", name)
        versions = [each.text("galaxy_export_version") for each in about]
        if versions != [VERSION]:
            raise InputError(
                f"{quote(name)}, export_attrs.txt: expected version {VERSION}, which Galaxy 25.1 "
                f"and 26.1 write, found {quote(', '.join(versions))}"
            )
        listed = records_of(archive, members, "datasets_attrs.txt", name)
        beside = records_of(archive, members, "datasets_attrs.txt.provenance", name, needed=False)
        collections = records_of(archive, members, "collections_attrs.txt", name)
        mapped = records_of(archive, members, "implicit_collection_jobs_attrs.txt", name, False)
        records = {each.text("encoded_id"): each for each in beside + listed}
        named = names_in_collections(collections)
        datasets = {
            key: Dataset(
                key,
                each.number("hid"),
                named.get(key) or (each.text("name") or f"dataset {key}",),
                each.text("dataset_uuid") or key,
                tuple(each.texts("copied_from_history_dataset_association_id_chain")),
            )
            for key, each in records.items()
        }
        made = records_of(archive, members, "jobs_attrs.txt", name)
        jobs = read_jobs(made, mapped, datasets, collections)
        entries: dict[str, list[Entry]] = {}
        content_of: dict[str, str] = {}  # by file, each of which is read once
        inside = sorted(members)
        for key, record in records.items():
            content = datasets[key].content
            if record.text("state") == "ok" and not entries.get(content):
                entries[content] = []
                for inner, files in files_of(record, members, inside):
                    for each in files:
                        if content_of.setdefault(each.filename, content) != content:
                            record.refuse("files of one dataset each", each.filename)
                    entries[content].append(code(archive, files, inner, name, report))
        return Export(datasets, jobs, entries)


def is_export(path: Path, name: str) -> bool:
    """Whether a file begins like a zip archive. Raises InputError if it is not even text."""
    if path.is_fifo():
        raise InputError(
            f"{quote(name)}: expected a file, because it is read more than once, found a pipe; "
            "write its contents to a file first"
        )
    with explaining("read", name), path.open("rb") as file:
        beginning = file.read(1_000)
    if b"\0" in beginning and not beginning.startswith(FIRST_BYTES):
        raise InputError(
            f"{quote(name)}: expected an export of Galaxy as RO-Crate, which is a zip file, or a "
            "trail, which is a table"
        )
    return beginning.startswith(FIRST_BYTES)


@contextmanager
def opened(path: Path, name: str) -> Iterator[zipfile.ZipFile]:
    """Open an archive. Errors in it, now or while it is read, become an InputError."""
    try:
        with explaining("read", name), zipfile.ZipFile(path) as archive:
            yield archive
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        UnicodeError,
        RecursionError,
    ) as error:
        raise InputError(
            f"{quote(name)}: expected an export of Galaxy, which is an intact zip file, found a "
            f"damaged one ({quote(str(error))})"
        ) from None


def members_of(archive: zipfile.ZipFile, name: str, size: int) -> dict[str, zipfile.ZipInfo]:
    """The files in an archive, by name. Raises InputError for what no export contains."""
    listed = archive.infolist()

    def refuse(why: str) -> None:
        raise InputError(f"{quote(name)}: expected an export of Galaxy, but {why}")

    if len(listed) > MOST_MEMBERS:
        refuse(f"it has {len(listed):,} members; at most {MOST_MEMBERS:,} are read")
    members = {}
    for each in listed:
        inner = each.filename
        parts = inner.split("/")
        if inner.startswith("/") or "\\" in inner or ".." in parts or "\0" in each.orig_filename:
            refuse(f"{quote(each.orig_filename)} leads out of it")
        if inner in members:
            refuse(f"{quote(inner)} is in it twice")
        if stat.S_ISLNK(each.external_attr >> 16):
            refuse(f"{quote(inner)} is a link")
        if each.flag_bits & ENCRYPTED or each.compress_type not in COMPRESSIONS:
            refuse(
                f"{quote(inner)} is encrypted, or is compressed with another method than Deflate"
            )
        if not 0 <= each.header_offset <= size - HEADER_BYTES - each.compress_size:
            refuse(f"{quote(inner)} would lie outside of it")
        members[inner] = each
    for one, other in pairwise(sorted(listed, key=lambda each: each.header_offset)):
        if one.header_offset + HEADER_BYTES + one.compress_size > other.header_offset:
            refuse(f"{quote(one.filename)} and {quote(other.filename)} share bytes")
    total = sum(each.file_size for each in listed)
    if total > max(SURELY_HARMLESS_BYTES, MOST_TIMES_ITS_SIZE * size):
        refuse(f"it would unpack to {total:,} bytes, {total // max(size, 1):,} times its size")
    return {inner: each for inner, each in members.items() if not inner.endswith("/")}


class Record:
    """An object in one of the JSON files, whose values are validated when accessed."""

    def __init__(self, values: object, called: str):
        self.values, self.called = values, called
        if not isinstance(values, dict):
            self.refuse("an object", values)

    def refuse(self, expected: str, found: object) -> None:
        found = quote(found if isinstance(found, str) else json.dumps(found))
        raise InputError(f"{self.called}: expected {expected}, found {found}")

    def text(self, key: str) -> str:
        """A text; empty if absent."""
        value = self.values.get(key)
        if not (value is None or is_text(value)):
            self.refuse(f"a text of at most {LONGEST_TEXT:,} characters as {key}", value)
        return value or ""

    def number(self, key: str) -> int:
        """A number; 0 if absent."""
        value = self.values.get(key)
        if not isinstance(value, int | None):
            self.refuse(f"an integer as {key}", value)
        return value or 0

    def texts(self, key: str) -> list[str]:
        value = self.values.get(key) or []
        if not (isinstance(value, list) and all(map(is_text, value))):
            self.refuse(f"a list of texts as {key}", value)
        return value

    def listed(self, key: str) -> dict[str, None]:
        """The texts in an object of lists, in order: the datasets of a job."""
        value = self.values.get(key) or {}
        if not isinstance(value, dict):
            self.refuse(f"an object as {key}", value)
        inner = Record(value, self.called)
        return dict.fromkeys(each for name in value for each in inner.texts(name))

    def record(self, key: str) -> "Record":
        return Record(self.values.get(key), self.called)

    def records(self, key: str) -> list["Record"]:
        value = self.values.get(key) or []
        if not isinstance(value, list):
            self.refuse(f"a list as {key}", value)
        return [Record(each, self.called) for each in value]


def is_text(value: object) -> bool:
    """Whether a value is a text of limited length, valid in UTF-8 and without NUL."""
    if not isinstance(value, str) or "\0" in value or len(value) > LONGEST_TEXT:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def records_of(
    archive: zipfile.ZipFile,
    members: dict[str, zipfile.ZipInfo],
    inner: str,
    name: str,
    needed: bool = True,
) -> list[Record]:
    """The objects in a JSON file of an export, a list or a single one; none if there is no file.

    Raises InputError for invalid JSON, too much of it, and a missing file that is `needed`.
    """
    called = f"{quote(name)}, {inner}"
    if inner not in members:
        if needed:
            raise InputError(
                f"{quote(name)}: expected an export of an invocation or a history of Galaxy as "
                f"RO-Crate, but {inner} is not in it"
            )
        return []
    if members[inner].file_size > MOST_JSON_BYTES:
        raise InputError(
            f"{called}: expected at most {MOST_JSON_BYTES:,} bytes, found "
            f"{members[inner].file_size:,}"
        )
    text = archive.read(members[inner])
    count = sum(map(text.count, (b",", b"[", b"{")))
    if count > MOST_JSON_VALUES:
        raise InputError(f"{called}: expected at most {MOST_JSON_VALUES:,} values, found {count:,}")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{called}: expected JSON: {quote(str(error))}") from None
    values = values if isinstance(values, list) else [values]
    if len(values) > MOST_RECORDS:
        raise InputError(
            f"{called}: expected at most {MOST_RECORDS:,} objects, found {len(values):,}"
        )
    return [Record(each, called) for each in values]


def names_in_collections(collections: list[Record]) -> dict[str, tuple[str, ...]]:
    """The names of each dataset in a collection: the collection's, then its identifiers.

    If a dataset is in several collections, the first counts, since it was made there.
    """
    names: dict[str, tuple[str, ...]] = {}
    for collection in collections:
        title = collection.text("display_name")
        for key, identifiers in elements(collection.record("collection")):
            names.setdefault(key, (title, *identifiers))
    return names


def elements(collection: Record, depth: int = 0) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The datasets in a collection, each with the identifiers that lead to it."""
    if depth > DEEPEST_COLLECTION:
        raise InputError(
            f"{collection.called}: expected collections nested at most {DEEPEST_COLLECTION} levels "
            "deep, found deeper ones"
        )
    for element in collection.records("elements"):
        identifier = element.text("element_identifier")
        if element.values.get("child_collection"):
            inner = elements(element.record("child_collection"), depth + 1)
            yield from ((key, (identifier, *names)) for key, names in inner)
        elif element.values.get("hda"):
            yield element.record("hda").text("encoded_id"), (identifier,)


def read_jobs(
    records: list[Record],
    mapped: list[Record],
    datasets: dict[str, Dataset],
    collections: list[Record],
) -> list[Job]:
    """The successful jobs, in the order in which they were started."""
    inside = {
        each.text("encoded_id"): {key: None for key, _ in elements(each.record("collection"))}
        for each in collections
    }
    together = {job: number for number, each in enumerate(mapped) for job in each.texts("jobs")}
    steps: dict[object, int] = {}
    jobs = []
    links = 0
    done: set[str] = set()
    for record in sorted(records, key=lambda each: each.text("create_time")):
        if record.text("state") != "ok":
            continue
        key = record.text("encoded_id")
        into = record.listed("input_dataset_mapping")
        out = record.listed("output_dataset_mapping")
        # Tools that only reorganize collections make copies, which Galaxy only lists as
        # collections.
        for each in record.listed("output_dataset_collection_mapping"):
            made = inside.get(each, {})
            if out.keys().isdisjoint(made.keys()):
                out |= made
        links += len(into) + len(out)
        if links > MOST_LINKS:
            raise InputError(
                f"{record.called}: expected at most {MOST_LINKS:,} datasets of jobs, found more"
            )
        for each in (*into, *out):  # exports omit purged datasets
            datasets.setdefault(each, Dataset(each, 0, (f"dataset {each}",), each, ()))
        tool = record.text("tool_id")
        params = record.values.get("params") or {}
        step = steps.setdefault(together.get(key, key), len(steps) + 1)
        jobs.append(
            Job(
                step,
                "upload" if tool in UPLOADS else tool,
                "" if tool in UPLOADS else record.text("tool_version"),
                {} if tool in UPLOADS else parameters_of(params),
                tuple(into),
                tuple(each for each in out if each not in done),
                time_of(record.text("update_time")),
            )
        )
        done.update(out)  # not |=, which would copy the set for dict keys
    return jobs


def parameters_of(params: object) -> dict:
    """The parameters of a job that the user set; texts longer than a kilobyte are shortened.

    Parameters added by Galaxy, datasets, and absolute paths are left out. If the rest is too long
    for a table, everything is replaced by a remark.
    """
    kept = user_values(params)
    kept = kept if isinstance(kept, dict) else {}
    size = len(json.dumps(kept))
    return kept if size <= LONGEST_PARAMETERS else {"left out": f"{size:,} characters"}


def user_values(value: object) -> object:
    """A parameter, or what remains of several; None if it is left out."""
    if isinstance(value, dict):
        if "values" in value and isinstance(value["values"], list):  # datasets
            return None
        kept = {
            name: user_values(inner)
            for name, inner in value.items()
            if not (name.startswith(SET_BY_GALAXY) or "|__" in name)
        }
        return {name: inner for name, inner in kept.items() if inner is not None} or None
    if isinstance(value, list):
        kept = [user_values(inner) for inner in value]
        return [inner for inner in kept if inner is not None] or None
    if isinstance(value, str):
        if value.lstrip(BEFORE_A_PATH).startswith(("/", "file:")):
            return None
        cut = f"{value[:LONGEST_VALUE]}... ({len(value):,} characters)"
        return cut if len(value) > LONGEST_VALUE else value
    return value


def time_of(text: str) -> str:
    """A time as Galaxy writes it, which is in UTC, to the second; empty if it is not one."""
    found = TIME.match(text)
    return f"{found[1]}T{found[2]}Z" if found else ""


def files_of(
    record: Record, members: dict[str, zipfile.ZipInfo], inside: list[str]
) -> Iterator[tuple[str, list[zipfile.ZipInfo]]]:
    """The parts of a dataset with codes of their own: a suffix of its name, and members.

    These are its main file and each of its extra files, such as those of a report. A directory is
    one part with all its files, in the order of `iscc-sum --tree`. Yields nothing if the export
    does not contain its bytes. `inside` are the names of all members, sorted.
    """
    below = record.text("extra_files_path")
    beside = {}
    if below:
        root = record.record("metadata").text("store_root")
        start = "/".join(part for part in (below, root) if part) + "/"
        found = inside[bisect(inside, start) : bisect(inside, start[:-1] + chr(ord("/") + 1))]
        beside = {inner[len(start) :]: members[inner] for inner in found}
    if record.text("extension") in DIRECTORY_TYPES:
        if any(inner.rpartition("/")[2] == IGNORE_FILE for inner in beside):
            record.refuse(f"directories without {IGNORE_FILE}", record.text("name"))
        counted = [inner for inner in beside if not inner.endswith(METADATA_SUFFIX)]
        if counted:
            yield "", [beside[inner] for inner in sorted(counted, key=tree_order)]
        return
    file_name = record.text("file_name")
    if not file_name:
        return
    if file_name not in members:
        record.refuse("files of this export as file_name", file_name)
    yield "", [members[file_name]]
    for inner in sorted(beside, key=tree_order):
        yield f"/{inner}", [beside[inner]]


def code(
    archive: zipfile.ZipFile,
    members: list[zipfile.ZipInfo],
    called: str,
    name: str,
    report: Callable[[float], None],
) -> Entry:
    """The entry of the concatenated bytes of members."""
    processor = IsccSumProcessor()
    for member in members:
        length = 0
        with archive.open(member) as stream:
            while piece := stream.read(coding.READ_BYTES):
                processor.update(piece)
                length += len(piece)
                report(len(piece))
        if length != member.file_size:
            raise InputError(
                f"{quote(name)}: expected {member.file_size:,} bytes of "
                f"{quote(member.filename)}, found {length:,}"
            )
    return coding.entry_of(called, processor, wide=True)
