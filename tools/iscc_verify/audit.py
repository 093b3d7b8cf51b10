"""The audit: each dataset and each line of a manifest is accounted for, exactly once.

First, names that stand twice are set aside as DUPLICATE: of the datasets of a name all but the
first, and of the entries of a name all but the first. An entry that belongs to a dataset is then
looked for in this order, and what has found its counterpart is out of the game:

    1. the same name and the same content                       OK
    2. the same content under another name                      MOVED (OK for a code without name)
    3. the same name and other content                          CHANGED
    4. datasets that are left                                   EXTRA
    5. entries that are left                                    MISSING

A dataset and an entry have the same name if their names are equal, else if their base names (behind
the last slash) are and no other dataset or entry has that one, else if their stems (the base names
without what follows the first dot) are, likewise. Where there is only one dataset and only one
entry, and that has no name, they belong together.

Content is the same if the hash and, where they are listed, the Data-Code and the size are.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import codes
from listing import Listed, Listing
from manifest import Entry, shown

OK = "OK"
CHANGED = "CHANGED"
MOVED = "MOVED"
DUPLICATE = "DUPLICATE"
MISSING = "MISSING"
EXTRA = "EXTRA"
INVALID = "INVALID"
STATUSES = (OK, CHANGED, MOVED, DUPLICATE, MISSING, EXTRA, INVALID)

BY_NAME, BY_BASE_NAME, BY_STEM = "name", "base name", "stem"
BY_CONTENT, BY_BEING_ALONE = "content", "only one"


class Finding(NamedTuple):
    """A line of the report.

    `expected` and `actual` are codes, `distance` of `bits` bits is that of the Data-Codes of what
    changed, None where sizes are too small for it to mean anything. `matched_by` says what the
    dataset and the entry have in common, `line` is that of the manifest. `dataset` is the number of
    the dataset, from 0, None for a line of the manifest that has none.
    """

    name: str
    status: str
    expected: str | None = None
    actual: str | None = None
    distance: int | None = None
    bits: int | None = None
    matched_by: str | None = None
    line: int | None = None
    detail: str | None = None
    dataset: int | None = None


class Actual(NamedTuple):
    """A dataset as it is now: its entry, and its hashes, 16 and 32 bytes."""

    entry: Entry
    data: bytes
    instance: bytes

    @classmethod
    def of(cls, entry: Entry) -> "Actual":
        return cls(entry, codes.parse(entry.iscc).data, bytes.fromhex(entry.datahash[4:]))


def audit(listing: Listing, entries: Sequence[Entry]) -> list[Finding]:
    """What there is to say of datasets, in their order, and of lines without one, in theirs.

    `entries` are those of the datasets as they are now, with wide codes and datahashes.
    """
    actual = [Actual.of(entry) for entry in entries]
    pairing = Pairing(listing.entries, actual)
    pairing.match()
    findings = [pairing.finding(number) for number in range(len(actual))]
    rest = [pairing.left_over(number) for number in range(len(listing.entries))]
    without_dataset = [finding for finding in rest if finding] + [
        Finding(
            invalid.name or "", INVALID, line=invalid.line, detail=invalid.reason, expected=None
        )
        for invalid in listing.invalid
    ]
    return findings + sorted(without_dataset, key=lambda finding: finding.line)


class Pairing:
    """Which dataset belongs to which entry; both are known by their numbers."""

    def __init__(self, listed: Sequence[Listed], actual: Sequence[Actual]):
        self.listed, self.actual = listed, actual
        self.first_dataset = first_of_each(dataset.entry.name for dataset in actual)
        self.first_entry = first_of_each(entry.name for entry in listed)
        self.entry_of: dict[int, int] = {}
        self.matched_by: dict[int, str] = {}
        self.used: set[int] = set()

    def match(self) -> None:
        """Find the counterparts, the surest first, until every dataset has one."""
        if len(self.actual) == 1 and len(self.listed) == 1 and self.listed[0].name is None:
            self.pair(0, 0, BY_BEING_ALONE)
        datasets = len(self.datasets())
        named = []
        for how, key in NAME_KEYS:
            if len(self.entry_of) == datasets:
                return
            named.append((how, self.same_names(key)))
            for dataset, entry in named[-1][1]:
                if same_content(self.listed[entry], self.actual[dataset]):
                    self.pair(dataset, entry, how)
        if len(self.entry_of) < datasets:
            self.match_contents()
        for how, pairs in named:
            for dataset, entry in pairs:
                self.pair(dataset, entry, how)

    def same_names(self, key: Callable[[str], str]) -> list[tuple[int, int]]:
        """Datasets and entries with equal keys of names that no other dataset or entry has."""
        datasets = [(key(self.actual[number].entry.name), number) for number in self.datasets()]
        entries = [(key(self.listed[number].name), number) for number in self.named_entries()]
        alone = [Counter(name for name, _ in each) for each in (datasets, entries)]
        of_name = dict(entries)
        return [
            (number, of_name[name])
            for name, number in datasets
            if name in of_name and alone[0][name] == alone[1][name] == 1
        ]

    def match_contents(self) -> None:
        """Pair datasets with entries of their content, both in their order."""
        by_hash = defaultdict(list)
        for number, entry in enumerate(self.listed):
            if number not in self.used and self.is_first_entry(number):
                by_hash[entry.hashes.instance[:8]].append(number)
        for dataset in self.datasets():
            if dataset in self.entry_of:
                continue
            actual = self.actual[dataset]
            for number in by_hash[actual.instance[:8]]:
                if number not in self.used and same_content(self.listed[number], actual):
                    self.pair(dataset, number, BY_CONTENT)
                    break

    def pair(self, dataset: int, entry: int, how: str) -> None:
        """Let two belong together, if both are still free."""
        if dataset not in self.entry_of and entry not in self.used:
            self.entry_of[dataset] = entry
            self.matched_by[dataset] = how
            self.used.add(entry)

    def datasets(self) -> list[int]:
        """The datasets but those whose name another one had before."""
        return [
            number
            for number, dataset in enumerate(self.actual)
            if self.first_dataset[dataset.entry.name] == number
        ]

    def named_entries(self) -> list[int]:
        return [
            number
            for number, entry in enumerate(self.listed)
            if entry.name is not None and self.is_first_entry(number)
        ]

    def is_first_entry(self, number: int) -> bool:
        name = self.listed[number].name
        return name is None or self.first_entry[name] == number

    def finding(self, dataset: int) -> Finding:
        """What there is to say of a dataset."""
        actual = self.actual[dataset]
        found = Finding(actual.entry.name, EXTRA, actual=actual.entry.iscc, dataset=dataset)
        if self.first_dataset[actual.entry.name] != dataset:
            return found._replace(
                status=DUPLICATE, detail="another dataset before it has the same name"
            )
        if dataset not in self.entry_of:
            return found
        listed = self.listed[self.entry_of[dataset]]
        how = self.matched_by[dataset]
        found = found._replace(expected=listed.expected, matched_by=how, line=listed.line)
        if not same_content(listed, actual):
            return found._replace(status=CHANGED, **difference(listed, actual))
        if how == BY_CONTENT and listed.name is not None:
            return found._replace(status=MOVED, detail=f"listed as {shown(listed.name)}")
        return found._replace(status=OK)

    def left_over(self, number: int) -> Finding | None:
        """What there is to say of an entry that no dataset belongs to; None if one does."""
        entry = self.listed[number]
        if number in self.used:
            return None
        found = Finding(entry.name or "", MISSING, expected=entry.expected, line=entry.line)
        if not self.is_first_entry(number):
            first = self.listed[self.first_entry[entry.name]].line
            return found._replace(
                status=DUPLICATE, detail=f"line {first} lists the same name already"
            )
        return found


def first_of_each(names: Iterable[str | None]) -> dict[str | None, int]:
    """The number of the first of each name."""
    first: dict[str | None, int] = {}
    for number, name in enumerate(names):
        first.setdefault(name, number)
    return first


def base_name(name: str) -> str:
    """What follows the last slash, of either kind."""
    return re.split(r"[/\\]", name)[-1]


def stem(name: str) -> str:
    """The base name up to its first dot; a name that begins with dots keeps them."""
    base = base_name(name)
    bare = base.lstrip(".")
    return base[: len(base) - len(bare)] + bare.partition(".")[0]


NAME_KEYS: tuple[tuple[str, Callable[[str], str]], ...] = (
    (BY_NAME, str),
    (BY_BASE_NAME, base_name),
    (BY_STEM, stem),
)


def same_content(listed: Listed, actual: Actual) -> bool:
    """Whether a dataset is what an entry says, in everything that it says."""
    data, instance = listed.hashes
    return (
        actual.instance[: len(instance)] == instance
        and actual.data[: len(data)] == data
        and listed.filesize in (None, actual.entry.filesize)
        and listed.datahash in (None, actual.entry.datahash)
    )


def difference(listed: Listed, actual: Actual) -> dict[str, object]:
    """Distance, bits and a word on the size of what changed, as fields of a finding."""
    if listed.filesize not in (None, actual.entry.filesize):
        detail = f"{actual.entry.filesize:,} bytes, listed were {listed.filesize:,}"
    else:
        detail = None
    then = Entry("", "", listed.filesize)
    data = listed.hashes.data
    if not (data and then.alike_means_something and actual.entry.alike_means_something):
        return {"detail": detail}
    distance, bits = codes.distance(data, actual.data)
    return {"distance": distance, "bits": bits, "detail": detail}
