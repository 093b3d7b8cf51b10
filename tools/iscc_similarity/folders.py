"""The files in a directory: which they are, and in which order they are coded.

The order and the choice are those of `iscc-sum --tree` (iscc_sum.treewalk in iscc-sum 0.1.0), so
that its codes and ours agree. What is different: a directory may come from strangers. So an
`.isccignore` is read only if it is a small regular file, its patterns may only cost so much, and
what cannot be read is an error.
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

MOST_IGNORE_BYTES = 64 * 1024  # of all ignore files of a directory
# Steps that it may take to match all names with all patterns, if each * tries every length, and
# those of a pattern that has none.
MOST_STEPS = 1_000_000_000
STEPS_OF_A_PATTERN = 100
# pathspec takes ** for one * where it is a whole segment, and for two elsewhere.
STAR = re.compile(r"(?:^|(?<=/))\*\*(?=/|$)|\*", re.MULTILINE)


class Patterns(NamedTuple):
    """The patterns of ignore files, and how many * each of them has; none where there is none."""

    spec: PathSpec
    stars: list[int]

    def __add__(self, more: Self) -> Self:
        return Patterns(self.spec + more.spec, self.stars + more.stars)

    def match(self, path: str) -> bool:
        return self.spec.match_file(path) or self.spec.match_file(f"{path}/")

    def steps(self, path: str) -> int:
        """How many steps `match` takes at most."""
        return sum(STEPS_OF_A_PATTERN + 2 * len(path) ** stars for stars in self.stars)


def list_files(root: Path, name: str) -> list[tuple[str, Path]]:
    """The files below a directory, in order, with their paths in it (/ between the parts).

    In each directory, ignore files come first, then the other files by name (NFC, UTF-8), then the
    subdirectories. Left out are links, `*.iscc.json`, what is neither a file nor a directory, and
    what an `.isccignore` says. `name` is what the user calls the directory. Raises InputError if
    anything cannot be read.
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
    """By what to sort the paths of all files in a directory, for the order of `list_files`."""
    *above, name = path.split("/")
    is_ignore_file = re.fullmatch(r"\..*ignore", name, re.DOTALL) is not None
    files = (0, not is_ignore_file, normalize("NFC", name).encode(), name.encode())
    return [*((1, True, normalize("NFC", each).encode(), each.encode()) for each in above), files]


def sorted_entries(directory: Path) -> list[tuple[str, os.DirEntry]]:
    """What a directory contains but links, by name; UnicodeError if one is not UTF-8."""
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
    with path.open(encoding="utf-8") as text:  # with their line ends, as pathspec gets them
        lines = list(text)
    spec = PathSpec.from_lines(GitWildMatchPattern, lines)
    return Patterns(spec, [len(STAR.findall(line.rstrip("\n"))) for line in lines])


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn what goes wrong with a dataset, or with an ignore file in it, into a sentence."""
    try:
        with explaining("read", name):
            yield
    except UnicodeError:
        raise InputError(
            f"cannot read {quote(name)}: expected UTF-8 in its names and its {IGNORE_FILE}"
        ) from None
    except (ValueError, re.error, RecursionError) as error:
        raise InputError(f"cannot read {quote(name)}: {quote(str(error))}") from None
