"""The trail: a manifest that also records from what each dataset was made, how, and when.

    #name  iscc  filesize  datahash  note  pixels  image_code
    step  tool  version  parameters  from  ended  recorded_by

There is one line per dataset, and one for each copy with another name. Datasets are identified by
their datahashes, so trails of several runs can be joined, and renaming breaks nothing.

The column `from` contains the datahashes of the datasets that a dataset was made from. For a copy,
it contains its own datahash. A dataset whose bytes are not in the export appears as
`not-exported:NAME`, followed by what it was made from, so that the trail continues behind it.

Lines from an export of Galaxy are marked in `recorded_by`. It is empty in lines written by a
person, which are declared.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote as percent_encoded
from urllib.parse import unquote

import manifest
from exports import Dataset, Export, Job
from manifest import BLAKE3_MULTIHASH, Entry, LineError, Table
from messages import InputError, pluralize, quote

COLUMNS = (*manifest.COLUMNS[:4], "note", *manifest.PIXEL_COLUMNS)
HOW_COLUMNS = ("step", "tool", "version", "parameters", "from", "ended", "recorded_by")
GALAXY = "Galaxy"
COPY = "copy"
ADVICE = ", or add the manifest that ISCC manifest makes of the same images"
NUMBERS = re.compile(r"(?:\)[0-9]+\( )*")  # after names that were taken, read backwards
PIXELS_TOOL = "iscc_pixels"
NOT_EXPORTED = "not-exported:"
NOT_EXPORTED_COMMENT = "# not exported: "
MOST_LINKS = 10_000_000  # this many hashes take 700 MB
SOURCE_TOKEN = re.compile(f"{BLAKE3_MULTIHASH.pattern}|{NOT_EXPORTED}[^ ]+")


class Line(NamedTuple):
    """A line of a trail.

    `sources`, the column `from`, are datahashes, or tokens of `token_of`; `step` is 0 if there is
    none.
    """

    entry: Entry
    step: int
    tool: str
    version: str
    parameters: str
    sources: tuple[str, ...]
    ended: str
    recorded_by: str

    @property
    def is_copy(self) -> bool:
        return self.entry.datahash in self.sources

    @property
    def is_of_pixels(self) -> bool:
        return self.entry.pixels is not None


def name_not_exported(source: str) -> str | None:
    """The name of a dataset without bytes; None for a datahash."""
    if not source.startswith(NOT_EXPORTED):
        return None
    return unquote(source.removeprefix(NOT_EXPORTED), errors="surrogateescape")


@cache
def token_of(name: str) -> str:
    """The inverse of `name_not_exported`: the entry in the column `from` for this name."""
    return NOT_EXPORTED + percent_encoded(name, errors="surrogateescape")


class Trail:
    """Ordered lines of several exports and tables, with their steps renumbered."""

    def __init__(self):
        self.lines: list[Line] = []
        self.known: set[Line] = set()
        self.names: set[tuple[str, bool]] = set()  # name, and whether it is of pixels
        self.contents: set[tuple[str, bool, str]] = set()  # as in `add`
        self.counts: dict[tuple[str, bool], int] = {}  # how often each name occurred
        self.steps = self.links = 0

    def add(self, lines: Iterable[Line]) -> None:
        """Add the lines of one export or table; known lines are skipped.

        If different datasets have the same name, a number is added to it: names in a manifest are
        unique. Raises InputError if there are too many datahashes.
        """
        numbers: dict[int, int] = {}
        for line in lines:
            self.links += len(line.sources)
            if self.links > MOST_LINKS:
                raise InputError(
                    f"expected at most {MOST_LINKS:,} datahashes in the column from of a trail, "
                    f"found more up to {quote(line.entry.name)}: choose fewer exports"
                )
            # Only what the table contains, so that lines are equal wherever they come from.
            entry = line.entry._replace(data_code=None, instance_code=None)
            plain = without_numbers(entry.name)
            same = line._replace(entry=entry._replace(name=plain), step=0)
            content = (plain, line.is_of_pixels, entry.datahash)
            if same in self.known or (line.is_copy and content in self.contents):
                continue
            self.known.add(same)
            self.contents.add(content)
            called = (entry.name, line.is_of_pixels)
            count = self.counts.get(first := called, 1)
            while called in self.names:
                count += 1
                called = (f"{entry.name} ({count})", line.is_of_pixels)
            self.counts[first] = count
            self.names.add(called)
            step = line.step and numbers.setdefault(line.step, self.steps + len(numbers) + 1)
            self.lines.append(line._replace(entry=entry._replace(name=called[0]), step=step))
        self.steps += len(numbers)

    def add_pixels(self, entries: Sequence[Entry], called: str) -> int:
        """Add lines of pixels, each of a dataset in the trail; return the number of others.

        If lines of bytes are among the entries, their datahashes show which file a name refers to.
        Any other name must be that of a dataset, or its end. Raises InputError if it fits several
        datasets, and if no line of pixels fits any. `called` is the user's name for the manifests.
        """
        found = by_name(self.lines)
        by_datahash = {line.entry.datahash: [line] for line in reversed(self.lines)}
        for entry in entries:
            if not entry.pixels and entry.datahash:
                found[entry.name] = by_datahash.get(entry.datahash, [])
        if not any(entry.pixels for entry in entries):
            raise InputError(
                f"{quote(called)}: expected a manifest of ISCC pixel manifest, found no line of "
                "pixels"
            )
        unknown = 0
        lines = []
        for entry in filter(attrgetter("pixels"), entries):
            name = next((each for each in manifest.ways_up(entry.name) if each in found), "")
            if not found.get(name):
                unknown += 1
                continue
            owner = one_of(found[name], name, f"{quote(called)}: ", ADVICE)
            inner = entry.name[len(name) :]
            how = (0, PIXELS_TOOL, "", "", (owner.entry.datahash,), "", owner.recorded_by)
            lines.append(Line(entry._replace(name=owner.entry.name + inner), *how))
        if not lines:
            raise InputError(
                f"{quote(called)}: expected pixels of images in the trail, but none of its "
                f"{pluralize(unknown, 'line')} is of a dataset there; make it of images in the "
                f"export, under the names that they have there{ADVICE}"
            )
        self.add(lines)
        return unknown


def without_numbers(name: str) -> str:
    """A name without the numbers that were added to it because it was taken."""
    return name[: len(name) - NUMBERS.match(name[::-1]).end()]


def by_name(lines: Iterable[Line]) -> dict[str, list[Line]]:
    """The lines of bytes by name: by the whole name, and by its parts after each slash."""
    found: dict[str, list[Line]] = {}
    for line in lines:
        if not line.is_of_pixels:
            name = line.entry.name
            found.setdefault(name, []).insert(0, line)  # before lines whose names only end with it
            slash = len(name)
            for _ in range(manifest.MOST_PARTS):
                slash = name.rfind("/", 0, slash)
                if slash < 0:
                    break
                found.setdefault(name[slash + 1 :], []).append(line)
    return found


def one_of(found: Sequence[Line], name: str, where: str = "", advice: str = "") -> Line:
    """The line for a name: one with exactly this name, or the only one whose name ends with it.

    Raises InputError if there are several, with `where` before the message and `advice` after it.
    """
    whole = [line for line in found if line.entry.name == name]
    if whole:
        return whole[0]
    if len({line.entry.datahash for line in found}) > 1:
        both = " or ".join(quote(line.entry.name) for line in found[:2])
        raise InputError(f"{where}{quote(name)} could be {both}; write the whole name{advice}")
    return found[0]


def read(path: Path, name: str) -> list[Line]:
    """Read a trail, whoever wrote it. Raises InputError."""

    def read_row(table: Table, line: str) -> Line:
        entry = manifest.entry_of(table, line)
        fields = dict(zip(table.columns, manifest.split(line, table.separator), strict=True))
        step, *how, sources, ended, recorded_by = (
            manifest.unescape(fields.get(column, "")) for column in HOW_COLUMNS
        )
        if "from" not in fields:
            raise LineError("expected a trail with the column from, found none", entry.name)
        if entry.datahash is None:
            raise LineError(
                "expected a datahash, by which a trail identifies datasets, found none", entry.name
            )
        if step and not re.fullmatch("[0-9]{1,9}", step):
            raise LineError(
                f"expected a number in the column step, found {quote(step)}", entry.name
            )
        tokens = [
            each if each.startswith(NOT_EXPORTED) else each.lower() for each in sources.split()
        ]
        for source in tokens:
            if not SOURCE_TOKEN.fullmatch(source):
                raise LineError(
                    "expected datahashes, or not-exported: and a name, in the column from, found "
                    f"{quote(source)}",
                    entry.name,
                )
        return Line(entry, int(step or 0), *how, tuple(tokens), ended, recorded_by)

    return manifest.read(path, name, read_row=read_row)


def table_lines(lines: Sequence[Line], missing: Iterable[str] = ()) -> Iterator[str]:
    """The lines of a trail as a file, followed by comments that name datasets without bytes."""
    rows = (
        (
            *(getattr(line.entry, column.removeprefix("#")) for column in COLUMNS),
            line.step or None,
            line.tool,
            line.version,
            line.parameters,
            " ".join(line.sources),
            line.ended,
            line.recorded_by,
        )
        for line in lines
    )
    for number, text in enumerate(manifest.table_lines((*COLUMNS, *HOW_COLUMNS), rows)):
        if len(text) > manifest.LONGEST_LINE:
            line = lines[number - 1]
            raise InputError(
                f"cannot write the line of {quote(line.entry.name)}, made from "
                f"{len(line.sources):,} datasets: expected at most {manifest.LONGEST_LINE:,} "
                f"characters, as a manifest may have, found {len(text):,}"
            )
        yield text
    yield from dict.fromkeys(map(comment_on, missing))


def comment_on(name: str) -> str:
    """The comment that names a dataset without bytes, valid in a manifest."""
    comment = NOT_EXPORTED_COMMENT + manifest.escape(name)
    try:
        fits = manifest.classify(comment, None, first=False) is manifest.Kind.COMMENT
    except LineError:
        fits = False
    return f"{comment}\n" if fits else f"{NOT_EXPORTED_COMMENT}a name with a code in it\n"


def names_not_exported(path: Path, name: str, lines: Iterable[Line]) -> list[str]:
    """The names of datasets without bytes that a trail mentions, in comments and in `from`."""
    found: dict[str, None] = {}
    for _, line in manifest.read_lines(path, name):
        if line.startswith(NOT_EXPORTED_COMMENT):
            with suppress(LineError):  # a person may have written it
                found[manifest.unescape(line.removeprefix(NOT_EXPORTED_COMMENT))] = None
    for line in lines:
        tokens = map(name_not_exported, line.sources)
        found |= dict.fromkeys(each for each in tokens if each is not None)
    return list(found)


def lines_of(export: Export) -> Iterator[Line]:
    """The lines of an export: first datasets not made by a job, then job by job, then copies."""
    maker = {key: job for job in export.jobs for key in job.outputs}
    unmade = [each for key, each in export.datasets.items() if key not in maker]
    copies = {each.key: each for each in unmade if is_copy(each, export)}
    for dataset in unmade:
        if dataset.key not in copies:
            yield from lines_of_dataset(dataset, export)
    for job in export.jobs:
        made = [export.datasets[key] for key in job.outputs]
        made = [each for each in made if export.entries.get(each.content)]
        sources = sources_of(job.inputs, export, maker) if made else ()
        for dataset in sorted(made, key=attrgetter("number")):
            yield from lines_of_dataset(dataset, export, job, sources)
    for dataset in copies.values():
        yield from lines_of_dataset(dataset, export)


def lines_of_dataset(
    dataset: Dataset, export: Export, job: Job | None = None, sources: tuple[str, ...] = ()
) -> Iterator[Line]:
    """The lines of a dataset, one per file; `sources` are what a job made it from."""
    copied = is_copy(dataset, export)
    for entry in export.entries.get(dataset.content, []):
        yield Line(
            entry._replace(name="/".join(dataset.names) + entry.name),
            job.step if job else 0,
            job.tool if job else COPY if copied else "",
            job.version if job else "",
            as_json(job.parameters) if job and job.parameters else "",
            (entry.datahash,) if copied else sources,
            job.ended if job else "",
            GALAXY,
        )


def as_json(values: dict) -> str:
    """Readable JSON, with characters escaped that UTF-8 cannot represent."""
    return json.dumps(values, ensure_ascii=False).encode(errors="backslashreplace").decode()


def without_bytes(export: Export) -> list[str]:
    """The names of datasets that an export mentions without containing their bytes."""
    return [
        "/".join(each.names)
        for each in export.datasets.values()
        if not export.entries.get(each.content)
    ]


def is_copy(dataset: Dataset, export: Export) -> bool:
    """Whether a dataset has the content of another one in the export."""
    others = (export.datasets.get(key) for key in dataset.copied_from)
    return any(other and other.content == dataset.content for other in others)


def sources_of(keys: Sequence[str], export: Export, maker: dict[str, Job]) -> tuple[str, ...]:
    """The column `from` for a job's inputs; inputs without bytes are followed by their inputs."""
    found: dict[str, None] = {}
    seen: set[str] = set()
    waiting = list(reversed(keys))
    while waiting:
        key = waiting.pop()
        if key in seen:
            continue
        seen.add(key)
        dataset = export.datasets[key]
        entries = export.entries.get(dataset.content)
        if entries:
            found |= dict.fromkeys(entry.datahash for entry in entries)
            continue
        found[token_of("/".join(dataset.names))] = None
        if key in maker:
            waiting += reversed(maker[key].inputs)
    return tuple(found)
