"""Write the output files of a run: all of them completely, or none."""

import os
import re
import secrets
import signal
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self

from messages import InputError, explaining, quote

PIECE_BYTES = 1 << 20
LINES_AT_ONCE = 1_000


class Staged(NamedTuple):
    """The temporary content of the output file `path`; `part` is its path, None if unnamed."""

    path: Path
    content: IO[bytes]
    part: Path | None


class Outputs:
    """The output files of a run: written when the with-block ends, and untouched if it fails.

    Each is written next to its target, under a random, unused name, and replaces the target,
    keeping its mode, when all are complete; so no target is ever seen half written. Some targets
    cannot be replaced without changing more than the content: a file with several names, one of
    another user, or one in a read-only directory; a pipe; an open descriptor. Then the content is
    copied over the target. If the disk is full at that moment, the file is left empty. A signal
    that ends the program takes effect before or after all this.
    """

    def __enter__(self) -> Self:
        self.staged: list[Staged] = []
        return self

    def write(self, path: Path, pieces: Iterable[bytes]) -> None:
        """Write pieces of a file. Raises InputError if the system refuses."""
        with explaining("write", str(path)):
            target = Path(os.path.realpath(path))
            part = None
            if descriptor(path) is None and can_be_replaced(target):
                part = target.with_name(f".{secrets.token_hex(16)}.part")
            with undisturbed():
                content = tempfile.TemporaryFile() if part is None else part.open("xb")  # noqa: SIM115
                self.staged.append(Staged(path, content, part))
            content.writelines(pieces)
            content.flush()

    def write_lines(self, path: Path, lines: Iterable[str]) -> None:
        """Write lines of text, which include their line feeds, as UTF-8."""
        # Names come from file systems and may contain bytes that are not UTF-8; these are
        # preserved.
        try:
            self.write(path, encoded(iter(lines)))
        except UnicodeEncodeError as error:
            raise InputError(
                f"cannot write {quote(error.object)}: it contains characters that cannot be "
                "written as UTF-8"
            ) from None

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            with undisturbed():
                for each in self.staged:
                    each.content.close()
                    if each.part:
                        each.part.unlink(missing_ok=True)

    def commit(self) -> None:
        # What may fail comes first. Writing to a pipe may block, so it can be interrupted.
        for each in self.staged:
            if not each.part and not each.path.is_file():
                copy(each)
        with undisturbed():
            for each in self.staged:
                if not each.part and each.path.is_file():
                    copy(each)
            for each in self.staged:
                if each.part:
                    replace(each)


def copy(staged: Staged) -> None:
    with explaining("write", str(staged.path)):
        number = descriptor(staged.path)
        staged.content.seek(0)
        target = staged.path if number is None else os.dup(number)
        with open(target, "wb", buffering=0) as out:  # noqa: PTH123
            try:
                while piece := staged.content.read(PIECE_BYTES):
                    while piece:
                        piece = piece[out.write(piece) :]
            except OSError:
                if number is None and staged.path.is_file():
                    out.truncate(0)  # or it would look complete
                raise


def replace(staged: Staged) -> None:
    with explaining("write", str(staged.path)):
        target = Path(os.path.realpath(staged.path))
        with suppress(FileNotFoundError):
            staged.part.chmod(stat.S_IMODE(target.stat().st_mode))
        staged.part.replace(target)


def can_be_replaced(target: Path) -> bool:
    """Whether replacing a file would change nothing but its content."""
    if not os.access(target.parent, os.W_OK | os.X_OK):
        return False
    try:
        status = target.stat()
    except FileNotFoundError:
        return True
    ours = (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid())
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and ours


def check(paths: Iterable[Path], inputs: Iterable[Path | None]) -> None:
    """Raise InputError if an output cannot be written, or is also an input or another output.

    Files are compared by identity, not by path: a link to an input is that input. This is called
    before any work is done and anything is written.
    """
    taken = {identity(path) for path in inputs if path}
    for path in paths:
        with explaining("write", str(path)):
            number = descriptor(path)
            target = Path(os.path.realpath(path)) if number is None else path
            if number is not None:
                os.fstat(number)
            elif target.is_dir():
                raise OSError(None, "it is a directory")
            elif not target.parent.is_dir():
                raise OSError(None, "its directory does not exist")
            elif not os.access(target if target.exists() else target.parent, os.W_OK):
                raise OSError(None, "Permission denied")
            places = {identity(each) for each in (target, *target.parents)} - {None}
            if not taken.isdisjoint(places):
                raise OSError(None, "this path is also an input or another output")
        taken.add(identity(target))


def identity(path: Path) -> object:
    """What all paths to a file have in common; the path if there is no file yet.

    None for character devices, such as a terminal and /dev/null.
    """
    try:
        status = path.stat()
    except OSError:
        return os.path.realpath(path)
    return None if stat.S_ISCHR(status.st_mode) else (status.st_dev, status.st_ino)


def is_standard_output(path: Path) -> bool:
    if descriptor(path) == 1:
        return True
    with suppress(OSError):
        return identity(path) == identity(Path("/dev/fd/1")) is not None
    return False


def descriptor(path: Path) -> int | None:
    """The number of an open file that is named by its number, like /dev/stdout."""
    name = {"/dev/stdout": "/dev/fd/1", "/dev/stderr": "/dev/fd/2"}.get(str(path), str(path))
    match = re.fullmatch("/dev/fd/([0-9]{1,9})|/proc/self/fd/([0-9]{1,9})", name)
    return int(match[1] or match[2]) if match else None


def encoded(lines: Iterator[str]) -> Iterator[bytes]:
    """Lines as UTF-8, many at a time. Raises UnicodeEncodeError with the line that cannot be."""
    while some := list(islice(lines, LINES_AT_ONCE)):
        try:
            yield "".join(some).encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            yield from (line.encode("utf-8", "surrogateescape") for line in some)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Delay signals that end the program until the end of the block.

    They are caught rather than blocked, because a blocked signal would be delivered to another
    thread; the library that codes bytes has some.
    """
    caught: list[int] = []
    before = {
        number: signal.signal(number, lambda number, frame: caught.append(number))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in caught[:1]:
            signal.raise_signal(number)
