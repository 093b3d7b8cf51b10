"""Lists of names, one per line and nothing else, as Galaxy's tool Filter collection reads them."""

from collections.abc import Iterable, Iterator

from messages import InputError, quote


def list_lines(names: Iterable[str]) -> Iterator[str]:
    return (f"{name}\n" for name in names)


def check_names(names: Iterable[str]) -> None:
    """Raise InputError for a name that a list with one name per line cannot hold."""
    for name in names:
        if "\n" in name or "\r" in name:
            raise InputError(
                f"cannot put {quote(name)} on a list: expected a name on one line, found a line "
                "break"
            )


def check_apart(names: Iterable[str], others: Iterable[str]) -> None:
    """Raise InputError if a name on one of two lists could be read as a name on the other.

    Filter collection strips its lines: " a" on one list would also select a dataset called "a".
    """
    stripped = {name.strip(): name for name in others}
    for name in names:
        if name.strip() in stripped:
            raise InputError(
                f"cannot put {quote(name)} on a list: {quote(stripped[name.strip()])} would be on "
                "both lists; Galaxy's Filter collection ignores leading and trailing whitespace; "
                "rename one of them"
            )
