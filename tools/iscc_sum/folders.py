"""Select and order the files in a directory for coding.

Selection and order are those of `iscc-sum --tree` (iscc_sum.treewalk in iscc-sum 0.1.0), so that
codes agree. There is one difference, as a directory may come from an untrusted source: an
`.isccignore` must be a small regular file, the cost of matching its patterns is limited, and what
cannot be read is an error.
"""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self
from unicodedata import normalize

from pathspec import PathSpec
from pathspec.patterns import GitWildMatchPattern

from messages import InputError, explaining, quote

IGNORE_FILE = ".isccignore"
METADATA_SUFFIX = ".iscc.json"

MOST_IGNORE_BYTES = 64 * 1024  # total, of all ignore files in a directory
# Maximum number of steps for matching all names with all patterns, if each * tries every length,
# and the steps for a pattern without *.
MOST_STEPS = 1_000_000_000
STEPS_OF_A_PATTERN = 100
# pathspec treats ** as one * if it is a whole path segment, and as two otherwise.
STAR = re.compile(r"(?:^|(?<=/))\*\*(?=/|$)|\*", re.MULTILINE)


class Patterns(NamedTuple):
    """The patterns of ignore files, and the number of * in each of them."""

    spec: PathSpec
    stars: list[int]

    def __add__(self, more: Self) -> Self:
        return Patterns(self.spec + more.spec, self.stars + more.stars)

    def match(self, path: str) -> bool:
        return self.spec.match_file(path) or self.spec.match_file(f"{path}/")

    def steps(self, path: str) -> int:
        """The maximum number of steps that `match` takes."""
        return sum(STEPS_OF_A_PATTERN + 2 * len(path) ** stars for stars in self.stars)


def list_files(root: Path, name: str) -> list[tuple[str, Path]]:
    """The files below a directory, in order, as relative paths with / and absolute paths.

    In each directory, ignore files come first, then the other files by name (NFC, UTF-8), then the
    subdirectories. Excluded are links, `*.iscc.json`, anything that is neither a file nor a
    directory, and what an `.isccignore` excludes. `name` is the user's name for the directory.
    Raises InputError if anything cannot be read.
    """
    found: list[tuple[str, Path]] = []
    steps = bytes_read = 0
    waiting = [("", Patterns(PathSpec([]), []))]
    with reading(name):
        while waiting:
            below, ignored = waiting.pop()
            ignore_file = root / below / IGNORE_FILE
            if os.path.lexists(ignore_file):
                patterns = read_patterns(ignore_file, name, MOST_IGNORE_BYTES - bytes_read)
                bytes_read += ignore_file.stat().st_size
                ignored += patterns
            first, others, directories = [], [], []
            for inner, entry in sorted_entries(root / below):
                path = below + inner
                steps += ignored.steps(path)
                if steps > MOST_STEPS:
                    raise InputError(
                        f"cannot read {quote(name)}: matching all names with the patterns in its "
                        f"{IGNORE_FILE} would take too long"
                    )
                if ignored.stars and ignored.match(path):
                    continue
                if entry.is_dir():
                    directories.append((f"{path}/", ignored))
                elif entry.is_file() and not path.endswith(METADATA_SUFFIX):
                    is_ignore_file = re.fullmatch(r"\..*ignore", inner, re.DOTALL)
                    (first if is_ignore_file else others).append((path, Path(entry.path)))
            found += first + others
            waiting += reversed(directories)
    return found


def tree_order(path: str) -> list[tuple]:
    """A sort key for the paths of all files in a directory, for the order of `list_files`."""
    *above, name = path.split("/")
    is_ignore_file = re.fullmatch(r"\..*ignore", name, re.DOTALL) is not None
    files = (0, not is_ignore_file, normalize("NFC", name).encode(), name.encode())
    return [*((1, True, normalize("NFC", each).encode(), each.encode()) for each in above), files]


def sorted_entries(directory: Path) -> list[tuple[str, os.DirEntry]]:
    """The contents of a directory except links, by name. Raises UnicodeError if not UTF-8."""
    with os.scandir(directory) as entries:
        named = [
            (os.fsencode(entry.name).decode(), entry)  # whatever the locale
            for entry in entries
            if not entry.is_symlink()
        ]
    return sorted(named, key=lambda each: (normalize("NFC", each[0]).encode(), each[0].encode()))


def read_patterns(path: Path, name: str, most_bytes: int) -> Patterns:
    """Read an ignore file of `name`. Raises InputError if it is not a small regular file."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > most_bytes:
        raise InputError(
            f"cannot read {quote(name)}: expected each {IGNORE_FILE} to be a regular file, and all "
            f"of them together to have at most {MOST_IGNORE_BYTES:,} bytes"
        )
    with path.open(encoding="utf-8") as text:  # with line ends, as iscc-sum passes them to pathspec
        lines = list(text)
    spec = PathSpec.from_lines(GitWildMatchPattern, lines)
    return Patterns(spec, [len(STAR.findall(line.rstrip("\n"))) for line in lines])


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn errors about a dataset, or about an ignore file in it, into an InputError."""
    try:
        with explaining("read", name):
            yield
    except UnicodeError:
        raise InputError(
            f"cannot read {quote(name)}: expected UTF-8 in its names and its {IGNORE_FILE}"
        ) from None
    except (ValueError, re.error, RecursionError) as error:
        raise InputError(f"cannot read {quote(name)}: {quote(str(error))}") from None
