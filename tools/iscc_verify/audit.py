"""The audit accounts for each dataset and each line of a manifest exactly once.

First, repeated names are set aside as DUPLICATE: all datasets of a name except the first, and all
entries of a name except the first. The entry for each dataset is then found in these steps; what
has been matched is no longer considered:

    1. the same name, or flat name                              OK, or CHANGED
    2. the same part of the name, and the same content          OK
    3. the same content under another name                      MOVED (OK for a code without name)
    4. the same part of the name                                CHANGED
    5. remaining datasets                                       EXTRA
    6. remaining entries                                        MISSING

A flat name has _ for each slash: Galaxy's *Flatten collection* turns s1/forward into s1_forward.

A name without extensions lacks the extensions of each part between slashes: the third image of
a.czi, a.czi/2, and that of a.ome.zarr both become a/2. At first, only the last extension is removed
(together with .ome before it), then up to three. An extension is a letter and up to four more
letters or digits, so 5.12 in a name stays. Other parts of a name are the base name, which follows
the last slash, and the stem, which is the base name up to its first dot.

Parts of names are only used if no counterpart has the same name, and if no other dataset, and no
other remaining entry, has the same part. They are not used for files in a directory, whose names
may recur in every directory. If there is only one dataset and only one entry, and the entry has no
name, they are matched.

**OK is never wrong**: it is reported in one place, for a dataset for which `has_content` holds.
That is true only if everything in the line is true of the bytes, or the pixels, that were read.
Pairing only decides which line that is, each line at most once, so a line without its dataset stays
MISSING. Codes of bytes and of pixels are never paired.
"""

import re
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import product
from typing import NamedTuple, Self

import codes
from listing import UNKNOWN_PIXELS, Listed, Listing
from manifest import Entry
from messages import quote

STATUSES = ("OK", "CHANGED", "MOVED", "DUPLICATE", "MISSING", "EXTRA", "INVALID")
OK, CHANGED, MOVED, DUPLICATE, MISSING, EXTRA, INVALID = STATUSES

BY_NAME, BY_FLAT_NAME, BY_PARTS = "name", "flat name", "name without extensions"
BY_BASE_NAME, BY_STEM = "base name", "stem"
BY_CONTENT, BY_BEING_ALONE = "content", "only one"

# Extensions of a part of a name, between slashes; leading dots do not begin an extension.
LAST_EXTENSION = re.compile(
    r"(?<=[^./])(\.ome)?\.[a-z][a-z0-9]{0,4}(?=/|\Z)", re.ASCII | re.IGNORECASE
)
EXTENSIONS = re.compile(r"(?<=[^./])(\.[a-z][a-z0-9]{0,4}){1,3}(?=/|\Z)", re.ASCII | re.IGNORECASE)


class Finding(NamedTuple):
    """A line of the report.

    `distance`, over `bits` bits, is between the Data-Codes of a changed dataset; it is None where a
    size is too small for it to be meaningful. `matched_by` is what the dataset and the entry have
    in common, `line` is the line of the manifest, `expected` and `actual` are codes. `dataset` is
    the number of the dataset, from 0, None for a line of the manifest without a dataset.
    """

    name: str
    status: str
    distance: int | None = None
    bits: int | None = None
    detail: str | None = None
    matched_by: str | None = None
    line: int | None = None
    expected: str | None = None
    actual: str | None = None
    dataset: int | None = None


COLUMNS = ("#name", *Finding._fields[1:-1])  # of a report
MOST_CULPRITS = 5


class Actual(NamedTuple):
    """A dataset as it is now: its entry, and its hashes of 32 bytes each."""

    entry: Entry
    data: bytes
    instance: bytes

    @classmethod
    def of(cls, entry: Entry) -> Self:
        data = codes.parse(entry.data_code).data
        return cls(entry, data, bytes.fromhex(entry.datahash[4:]))

    def descriptions(self) -> set[tuple[str, int | None, str | None, str | None]]:
        """All that an entry of this content may state: code or hash, size, datahash, and pixels."""
        codes_of_it = [
            codes.PREFIX + codes.encode(header + self.data[:data] + self.instance[:instance])
            for header, (data, instance) in codes.KINDS.items()
            if instance
        ]
        size, datahash = self.entry.filesize, self.entry.datahash
        pixels = {self.entry.pixels, self.entry.pixels and UNKNOWN_PIXELS}
        return set(product([datahash, *codes_of_it], [None, size], [None, datahash], pixels))


def audit(
    listing: Listing, entries: Sequence[Entry], directories: Collection[str] = ()
) -> list[Finding]:
    """Audit datasets against a listing: findings for datasets, in order, then for other lines.

    `entries` are those of the datasets as they are now, with wide codes and datahashes.
    `directories` are the names of those that are checked file by file.
    """
    findings = [
        Finding(each.name or "", INVALID, line=each.line, detail=each.reason)
        for each in listing.invalid
    ]
    for of_pixels in (False, True):
        numbers = [n for n, each in enumerate(entries) if is_of_pixels(each) == of_pixels]
        listed = [each for each in listing.entries if is_of_pixels(each) == of_pixels]
        actual = [Actual.of(entries[number]) for number in numbers]
        pairing = Pairing(listed, actual, Directories(directories))
        pairing.match()
        findings += [pairing.finding(place, number) for place, number in enumerate(numbers)]
        findings += pairing.left_over()
    return sorted(findings, key=place_in_report)


def place_in_report(finding: Finding) -> tuple[bool, int, int]:
    """Findings for datasets come first."""
    return finding.dataset is None, finding.dataset or 0, finding.line or 0


def is_complete(entry: Entry) -> bool:
    """Whether an entry has all that `audit` needs, and its codes agree with each other."""
    if not (entry.data_code and entry.datahash) or entry.filesize is None:
        return False
    hashes = codes.Code(b"", bytes.fromhex(entry.datahash[4:]))
    try:
        hashes = hashes._replace(data=codes.parse(entry.data_code).data)
        of_codes = [codes.parse(code) for code in (entry.iscc, entry.instance_code) if code]
    except codes.CodeError:
        return False
    return len(hashes.data) == len(hashes.instance) and all(
        known.startswith(more)
        for each in of_codes
        for known, more in zip(hashes, each, strict=True)
    )


def is_of_pixels(entry: Entry | Listed) -> bool:
    return entry.pixels is not None


class Directories:
    """The names of directories, to find those that contain a name, read as a path."""

    def __init__(self, names: Collection[str]):
        self.names = set(names)
        self.lengths = {len(name) for name in names}

    def above(self, name: str | None) -> set[str]:
        """The directories that contain a name, found quickly even if the name has many slashes."""
        name = name or ""
        beginnings = {name[:length] for length in self.lengths if name[length : length + 1] == "/"}
        return beginnings & self.names


class Pairing:
    """Which dataset belongs to which entry, both given by number.

    first_dataset    the first dataset of each name; only these are paired
    first_entry      the first entry of each name; only these, and those without a name, are paired
    pairs            the entry of each paired dataset, and what they have in common
    used             the entries in these pairs
    listed_as        the first entry with the content of each dataset that was not OK by its name
    """

    def __init__(
        self, listed: Sequence[Listed], actual: Sequence[Actual], directories: Directories
    ):
        self.listed, self.actual, self.directories = listed, actual, directories
        self.first_dataset = first_of_each(dataset.entry.name for dataset in actual)
        self.first_entry = first_of_each(entry.name for entry in listed)
        self.pairs: dict[int, tuple[int, str]] = {}
        self.used: set[int] = set()
        self.listed_as: dict[int, int] = {}

    def match(self) -> None:
        """Pair datasets and entries, the most certain matches first."""
        if len(self.actual) == 1 and len(self.listed) == 1 and self.listed[0].name is None:
            self.pair(0, 0, BY_BEING_ALONE)
        same_names = self.same_names()
        for dataset, entry, how in same_names:
            if how in (BY_NAME, BY_FLAT_NAME) or self.has_content(dataset, entry):
                self.pair(dataset, entry, how)
        self.match_contents()
        for dataset, entry, how in same_names:
            self.pair(dataset, entry, how)

    def same_names(self) -> list[tuple[int, int, str]]:
        """Datasets and entries with the same name, and which part of their names is the same."""
        pairs = [
            (number, self.first_entry[name], BY_NAME)
            for name, number in self.first_dataset.items()
            if name in self.first_entry
        ]
        datasets = self.with_a_part(self.first_dataset, self.first_entry)
        entries = self.with_a_part(self.first_entry, self.first_dataset) if datasets else {}
        for how, key in KEYS:
            if not (datasets and entries):
                break
            rivals = Counter(map(key, self.first_dataset))
            same = defaultdict(list)
            for name in entries:
                same[key(name)].append(name)
            for name in list(datasets):
                if rivals[key(name)] == len(same[key(name)]) == 1:
                    [listed] = same[key(name)]
                    pairs.append((datasets.pop(name), entries.pop(listed), how))
        return pairs

    def with_a_part(self, names: dict[str, int], others: dict[str, int]) -> dict[str, int]:
        """The names that may be matched by a part: not among the others, and not in a directory."""
        return {
            name: number
            for name, number in names.items()
            if name not in others and not self.directories.above(name)
        }

    def match_contents(self) -> None:
        """Pair each unpaired dataset with the first unpaired entry of its content.

        For each dataset that is not OK so far, record the first entry of its content, paired or
        not.
        """
        wanted = {
            dataset: self.actual[dataset].descriptions()
            for dataset in self.first_dataset.values()
            if not self.is_ok(dataset)
        }
        if not wanted:
            return
        every = set().union(*wanted.values())
        queues: dict[tuple, deque[int]] = defaultdict(deque)
        for number, entry in enumerate(self.listed):
            if entry[2:6] in every and self.is_first_entry(number):
                queues[entry[2:6]].append(number)
        first = {description: queue[0] for description, queue in queues.items()}
        for dataset, descriptions in wanted.items():
            known = [each for each in descriptions if each in queues]
            if known:
                self.listed_as[dataset] = min(first[each] for each in known)
            for each in known:
                while queues[each] and queues[each][0] in self.used:
                    queues[each].popleft()
            free = [queues[each][0] for each in known if queues[each]]
            if free and self.has_content(dataset, min(free)):
                self.pair(dataset, min(free), BY_CONTENT)

    def is_ok(self, dataset: int) -> bool:
        return dataset in self.pairs and self.has_content(dataset, self.pairs[dataset][0])

    def has_content(self, dataset: int, entry: int) -> bool:
        return has_content(self.actual[dataset], self.listed[entry])

    def pair(self, dataset: int, entry: int, how: str) -> None:
        """Match a dataset to an entry, unless either is taken."""
        if dataset not in self.pairs and entry not in self.used:
            self.pairs[dataset] = entry, how
            self.used.add(entry)

    def is_first_entry(self, number: int) -> bool:
        return self.first_entry.get(self.listed[number].name, number) == number

    def finding(self, dataset: int, number: int) -> Finding:
        """The finding for a dataset, which has this number among all datasets."""
        actual = self.actual[dataset]
        found = Finding(actual.entry.name, EXTRA, actual=actual.entry.iscc, dataset=number)
        if self.first_dataset[actual.entry.name] != dataset:
            return found._replace(
                status=DUPLICATE, detail="another dataset before it has the same name"
            )
        if dataset in self.listed_as:
            elsewhere = self.listed[self.listed_as[dataset]]
            where = f"line {elsewhere.line}" if elsewhere.name is None else quote(elsewhere.name)
            found = found._replace(detail=f"its content is listed as {where}")
        if dataset not in self.pairs:
            return found
        entry, how = self.pairs[dataset]
        listed = self.listed[entry]
        found = found._replace(expected=listed.expected, matched_by=how, line=listed.line)
        if not has_content(actual, listed):
            distance, bits = comparable_distance(listed, actual)
            detail = "; ".join(filter(None, (what_changed(listed, actual), found.detail))) or None
            return found._replace(status=CHANGED, distance=distance, bits=bits, detail=detail)
        if how == BY_CONTENT and listed.name is not None:
            return found._replace(status=MOVED, detail=f"listed as {quote(listed.name)}")
        unknown = "type and sizes are not listed" if listed.pixels == UNKNOWN_PIXELS else None
        return found._replace(status=OK, detail=unknown)

    def left_over(self) -> Iterator[Finding]:
        """The findings for entries without a dataset."""
        for number, entry in enumerate(self.listed):
            if number in self.used:
                continue
            status, detail = MISSING, None
            if not self.is_first_entry(number):
                first = self.listed[self.first_entry[entry.name]].line
                status, detail = DUPLICATE, f"line {first} lists the same name already"
            name = entry.name or ""
            yield Finding(name, status, expected=entry.expected, line=entry.line, detail=detail)


def first_of_each(names: Iterable[str | None]) -> dict[str, int]:
    """The number of the first item of each name; None does not count as a name."""
    first: dict[str, int] = {}
    for number, name in enumerate(names):
        if name is not None:
            first.setdefault(name, number)
    return first


def flat_name(name: str) -> str:
    """The name that an element of a nested collection gets when the collection is flattened."""
    return name.removeprefix("./").replace("/", "_")


def without_last_extension(name: str) -> str:
    return LAST_EXTENSION.sub("", name.replace("\\", "/"))


def without_extensions(name: str) -> str:
    return EXTENSIONS.sub("", name.replace("\\", "/"))


def base_name(name: str) -> str:
    """The part after the last slash or backslash."""
    return name.replace("\\", "/").rpartition("/")[2]


def stem(name: str) -> str:
    """The base name up to its first dot, not counting leading dots."""
    base = base_name(name)
    bare = base.lstrip(".")
    return base[: len(base) - len(bare)] + bare.partition(".")[0]


# What names may have in common, the most certain first. Names with any of these in common have the
# same flat name or the same stem; rows.py relies on that.
KEYS = (
    (BY_FLAT_NAME, flat_name),
    (BY_PARTS, without_last_extension),
    (BY_PARTS, without_extensions),
    (BY_BASE_NAME, base_name),
    (BY_STEM, stem),
)


def has_content(actual: Actual, listed: Listed) -> bool:
    """Whether everything that an entry states is true of a dataset."""
    hashes = [listed.hashes, *map(codes.parse, listed.units)]
    return (
        all(actual.instance.startswith(instance) for _, instance in hashes)
        and all(actual.data.startswith(data) for data, _ in hashes)
        and listed.filesize in (None, actual.entry.filesize)
        and listed.datahash in (None, actual.entry.datahash)
        and (listed.pixels == UNKNOWN_PIXELS or listed.pixels == actual.entry.pixels)
    )


def what_changed(listed: Listed, actual: Actual) -> str | None:
    """What changed, in a few words, as far as the distance does not show it."""
    if listed.pixels and (changed := what_pixels_changed(listed, actual)):
        return changed
    if listed.filesize not in (None, actual.entry.filesize):
        return f"{actual.entry.filesize:,} bytes instead of {listed.filesize:,}"
    same_instance = actual.instance.startswith(listed.hashes.instance)
    if same_instance and listed.datahash not in (None, actual.entry.datahash):
        return "its Instance-Code is as listed, but its datahash is not"
    return None


def what_pixels_changed(listed: Listed, actual: Actual) -> str:
    """What changed of an image: its sizes, its type, or its values.

    If sizes or types differ, codes cannot show whether values do, unless the byte streams are
    equal.
    """
    (_, then_type, then_sizes), (_, type_now, sizes_now) = (
        pixels.split() for pixels in (listed.pixels, actual.entry.pixels)
    )
    same_stream = actual.instance.startswith(listed.hashes.instance)
    changed = []
    if sizes_now != then_sizes:
        changed.append(f"sizes {sizes_now} instead of {then_sizes}")
    if type_now != then_type:
        changed.append(f"type {type_now} instead of {then_type}")
    if changed and same_stream:
        changed.append("the same values" if type_now == then_type else "the same bytes")
    if not (changed or same_stream):
        changed.append("other values")
    return "; ".join(changed)


def comparable_distance(listed: Listed, actual: Actual) -> tuple[int | None, int | None]:
    """Hamming distance between the Data-Codes, and the number of bits of the listed one.

    (None, None) where a distance would be meaningless.
    """
    then, data = Entry("", "", listed.filesize), listed.hashes.data
    if not (data and then.is_comparable and actual.entry.is_comparable):
        return None, None
    difference = int.from_bytes(data) ^ int.from_bytes(actual.data[: len(data)])
    return difference.bit_count(), 8 * len(data)


def first_of(culprits: Sequence[Finding]) -> list[str]:
    """The first few mismatches, each as a clause."""
    return [
        f"{quote(each.name) if each.name or each.line is None else f'line {each.line}'} is "
        f"{each.status}"
        for each in culprits[:MOST_CULPRITS]
    ]


def describe(first: Sequence[str], count: int) -> str:
    """The number of mismatches, and the first few of them."""
    more = count - len(first)
    rest = f", and {more:,} more" if more else ""
    verb = "does" if count == 1 else "do"
    return f"{count:,} {verb} not match: {', '.join(first)}{rest}"
