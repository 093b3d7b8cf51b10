"""The codes of datasets in two formats that other programs read: checksum lines, and records."""

import json
import mimetypes
from importlib.metadata import version
from pathlib import Path

from coding import Dataset
from manifest import Entry, whole_file

SCHEMA = "http://purl.org/iscc/schema/0.8.0.json"

# Python's own list alone, since that of the system is another one on every machine.
MEDIATYPES = mimetypes.MimeTypes()


def write_checksums(path: Path, datasets: list[Dataset], entries: list[Entry]) -> None:
    r"""Write a line `ISCC:... *name` for each dataset, as `iscc-sum` does, which can check them.

    A name behind which a directory stands ends with a slash. A line feed, carriage return or
    backslash in a name is written \n \r \\, and then a backslash begins the line, as sha256sum
    and its kin have it; `iscc-sum` cannot read such a line.
    """
    with whole_file(path) as out:
        for dataset, entry in zip(datasets, entries, strict=True):
            name = entry.name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
            mark = "" if name == entry.name else "\\"
            slash = "/" if dataset.path.is_dir() else ""
            out.write(f"{mark}{entry.iscc} *{name}{slash}\n")


def write_records(path: Path, datasets: list[Dataset], entries: list[Entry]) -> None:
    """Write an array of ISCC metadata records (iscc-schema 0.8.0), one for each dataset."""
    generator = f"iscc-sum {version('iscc-sum')}"
    with whole_file(path) as out:
        out.write("[")
        for number, (dataset, entry) in enumerate(zip(datasets, entries, strict=True)):
            out.write(",\n" if number else "\n")
            out.write(json.dumps(record(dataset, entry, generator)))
        out.write("\n]\n")


def record(dataset: Dataset, entry: Entry, generator: str) -> dict[str, object]:
    """What iscc-schema says of a file; the media type is left out where it is not known."""
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
    """The media type by Galaxy's type of the dataset, or else by the end of its name."""
    if dataset.path.is_dir():
        return None
    end = Path(dataset.name).suffix if dataset.extension is None else f".{dataset.extension}"
    mediatype, encoding = MEDIATYPES.guess_type(f"x{end}")
    return None if encoding else mediatype
