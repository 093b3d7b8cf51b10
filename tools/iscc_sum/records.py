"""The codes of datasets in two formats of other programs: checksum lines and records."""

import json
import mimetypes
from collections.abc import Iterator, Sequence
from pathlib import Path

from inputs import Dataset
from manifest import Entry

SCHEMA = "http://purl.org/iscc/schema/0.8.0.json"

# Only Python's own list: the system's differs between machines.
MEDIATYPES = mimetypes.MimeTypes()


def checksum_lines(datasets: Sequence[Dataset], entries: Sequence[Entry]) -> Iterator[str]:
    r"""A line `ISCC:... *name` per dataset, in the format that `iscc-sum` writes and checks.

    The name of a directory ends with a slash. A line feed, carriage return or backslash in a name
    is written \n \r \\, and the line then begins with a backslash, as in sha256sum and related
    programs; `iscc-sum` cannot read such a line.
    """
    for dataset, entry in zip(datasets, entries, strict=True):
        name = entry.name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        mark = "" if name == entry.name else "\\"
        slash = "/" if dataset.path.is_dir() else ""
        yield f"{mark}{entry.iscc} *{name}{slash}\n"


def record_lines(
    datasets: Sequence[Dataset], entries: Sequence[Entry], generator: str
) -> Iterator[str]:
    """A JSON array of ISCC metadata records (iscc-schema 0.8.0), one per dataset."""
    yield "["
    for number, (dataset, entry) in enumerate(zip(datasets, entries, strict=True)):
        yield ",\n" if number else "\n"
        yield json.dumps(record(dataset, entry, generator))
    yield "\n]\n"


def record(dataset: Dataset, entry: Entry, generator: str) -> dict[str, object]:
    """One record; the media type is left out if unknown."""
    mediatype = mediatype_of(dataset)
    return {
        "$schema": SCHEMA,
        "iscc": entry.iscc,
        "filename": entry.name,
        "filesize": entry.filesize,
        **({"mediatype": mediatype} if mediatype else {}),
        "datahash": entry.datahash,
        "units": [entry.data_code, entry.instance_code],
        "generator": generator,
    }


def mediatype_of(dataset: Dataset) -> str | None:
    """The media type, by the dataset's Galaxy datatype, or else by its file extension."""
    if dataset.path.is_dir():
        return None
    end = Path(dataset.name).suffix if dataset.extension is None else f".{dataset.extension}"
    mediatype, encoding = MEDIATYPES.guess_type(f"x{end}")
    return None if encoding else mediatype
