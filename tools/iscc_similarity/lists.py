"""Lists of names, one a line and nothing else, as Galaxy's tool Filter collection takes them."""

from collections.abc import Iterable, Iterator

from messages import InputError, quote


def list_lines(names: Iterable[str]) -> Iterator[str]:
    return (f"{name}\n" for name in names)


def check_names(names: Iterable[str]) -> None:
    """Raise InputError for a name that a list with one name a line cannot hold."""
    for name in names:
        if "\n" in name or "\r" in name:
            raise InputError(
                f"cannot put {quote(name)} on a list: a list has one name a line, and this name "
                "has a line break"
            )


def check_apart(names: Iterable[str], others: Iterable[str]) -> None:
    """Raise InputError if a name on one of two lists would be taken for one on the other.

    Filter collection strips its lines: " a" on one list would stand for a dataset called "a".
    """
    stripped = {name.strip(): name for name in others}
    for name in names:
        if name.strip() in stripped:
            raise InputError(
                f"cannot put {quote(name)} on a list: {quote(stripped[name.strip()])} would be on "
                "both lists; Galaxy's Filter collection ignores leading and trailing whitespace; "
                "rename one of them"
            )
