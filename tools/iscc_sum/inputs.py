"""Find the datasets given to a tool: paths on the command line, or the form of a Galaxy tool.

Names are data: they are never used as paths, and paths are not used as names, except for files that
the user gave by path. Neither depends on the locale: they are UTF-8, and other bytes are kept.
"""

import json
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from messages import InputError, explaining, quote

# Galaxy's datatypes that are directories. Other datatypes with extra files, such as HTML reports,
# vary, and the code of the main file alone would be wrong for them.
DIRECTORY_TYPES = ("directory", "ome_zarr", "zarr")


class Dataset(NamedTuple):
    """The identifiers of a dataset, and the file or directory with its bytes.

    The last identifier is the dataset's own; those before it are of the collections that contain
    it. `extension` is the name of its Galaxy datatype, None outside Galaxy.
    """

    identifiers: tuple[str, ...]
    path: Path
    extension: str | None = None

    @property
    def name(self) -> str:
        return "/".join(self.identifiers)


def from_path(path: str) -> Dataset:
    """A file or directory, named by its path as the user wrote it, without trailing slashes."""
    if not path:
        raise InputError("expected the path of a file, found an empty one")
    return Dataset((text_of(path.rstrip("/") or path),), Path(path))


def text_of(path: str) -> str:
    """The text of an operating system path: its bytes decoded as UTF-8."""
    return os.fsencode(path).decode("utf-8", "surrogateescape")


def path_of(text: str) -> Path:
    """The inverse of `text_of`. Raises ValueError for a text that cannot be a path."""
    if "\0" in text:
        raise ValueError("a path cannot contain NUL")
    return Path(os.fsdecode(text.encode("utf-8", "surrogateescape")))


def check_names(datasets: Iterable[Dataset]) -> None:
    """Raise InputError if datasets with different identifiers have the same name.

    For example, `a/b` in `c` and `b` in `c/a`, which a manifest could not tell apart. Datasets with
    the same identifiers are allowed.
    """
    known: dict[str, tuple[str, ...]] = {}
    for dataset in datasets:
        name = dataset.name
        other = known.setdefault(name, dataset.identifiers)
        if other != dataset.identifiers:
            ways = " and as ".join(
                " in ".join(map(quote, each[::-1])) for each in (other, dataset.identifiers)
            )
            raise InputError(
                f"{quote(name)} would be the name of two datasets, as {ways}; rename one of them"
            )


class Form:
    """What a Galaxy form passes to a script, as JSON: datasets, or a text, each under a key.

    A dataset has `element_identifier`, a string or, for an element of a collection, the list of
    identifiers that lead to it; `source_path`; and optionally `ext`, `extra_files_path` and
    `store_root`, the name of the directory in `extra_files_path` that is the dataset.
    """

    def __init__(self, path: Path, keys: Collection[str]):
        """Read the file, once, as it may be a pipe. Raises InputError for keys other than these."""
        self.called = quote(str(path))
        try:
            with explaining("read", str(path)):
                self.values = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{self.called}: expected the form of a Galaxy tool as JSON, found something else: "
                f"{error}"
            ) from None
        if not isinstance(self.values, dict):
            found = quote(json.dumps(self.values))
            raise InputError(
                f"{self.called}: expected the form of a Galaxy tool as a JSON object, found {found}"
            )
        for key in self.values:
            if key not in keys:
                expected = ", ".join(map(quote, keys))
                raise InputError(f"{self.called}: expected the keys {expected}, found {quote(key)}")

    def which(self, *keys: str) -> str | None:
        """The one of these keys that is present, or None. Raises InputError for several."""
        found = [key for key in keys if key in self.values]
        if len(found) > 1:
            either = " or ".join(map(quote, keys))
            raise InputError(f"{self.called}: expected either {either}, found both")
        return found[0] if found else None

    def one_of(self, *keys: str) -> str:
        """As `which`, but raises InputError if there is none."""
        key = self.which(*keys)
        if key is None:
            either = " or ".join(map(quote, keys))
            raise InputError(f"{self.called}: expected the key {either}, found none")
        return key

    def text(self, key: str) -> str:
        if not isinstance(self.values[key], str):
            raise InputError(f"{self.called}: expected a text under the key {quote(key)}")
        return self.values[key]

    def datasets(self, key: str) -> list[Dataset]:
        """The datasets under a key, one or a list of them, in order."""
        items = self.values[key]
        datasets = [
            self.dataset(key, item) for item in (items if isinstance(items, list) else [items])
        ]
        check_names(datasets)
        return datasets

    def dataset(self, key: str, item: object) -> Dataset:
        try:
            identifiers = item["element_identifier"]
            if isinstance(identifiers, str):
                identifiers = [identifiers]
            source, beside = item["source_path"] or "", item.get("extra_files_path") or ""
            extension, root = item.get("ext"), item.get("store_root") or ""
            if not isinstance(identifiers, list) or "\0" in "/".join(identifiers):
                raise ValueError("no names")
            if not identifiers or "/" in root or root == "..":
                raise ValueError("no name, or a directory elsewhere")
            source, root = path_of(source), path_of(root)
            beside = path_of(beside) if beside else None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(
                f"{self.called}: expected datasets under the key {quote(key)}, each with "
                f"element_identifier and source_path, found {quote(json.dumps(item))}"
            ) from None
        name = "/".join(identifiers)
        if extension in DIRECTORY_TYPES:
            source = beside and beside / root
        elif beside and has_files(beside, name):
            raise InputError(
                f"cannot code {quote(name)}: a dataset of the type {extension} has files besides "
                f"its main one; of such types, only {', '.join(DIRECTORY_TYPES)} can be coded"
            )
        if source in (None, Path()):
            raise InputError(f"cannot read {quote(name)}: Galaxy has no file for it")
        return Dataset(tuple(identifiers), source, extension)


def has_files(directory: Path, name: str) -> bool:
    """Whether a directory exists and is not empty. `name` is the dataset's."""
    with explaining("read", name):
        return directory.is_dir() and any(directory.iterdir())
