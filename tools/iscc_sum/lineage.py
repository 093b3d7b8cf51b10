"""Lineage: from a figure back to the raw data, through a trail.

In a trail, datasets with equal bytes are one dataset, however often they occur. If several lines
record how it was made, all of them count, except those made later than the datasets made from it.
Therefore a tool that undoes another one does not cause a circle.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import trail
from trail import Line

SOURCE, MISSING, DECLARED, COPIED = "source", "not exported", "declared", "copy"
COLUMNS = ("#of", "relation", "distance", "steps_back", "name", "tool", "version", "parameters")
COLUMNS += ("ended", "remark", "datahash")
MOST_KEPT = 20_000_000  # cached sources of lines


class Wanted(NamedTuple):
    """A dataset whose lineage is wanted: a name, and the index of its line, None if there is none.

    For a file, `relation` is how it was found, and `distance` is in how many bits it differs.
    """

    name: str
    line: int | None
    relation: str | None = None
    distance: str | None = None


class Gap(NamedTuple):
    """A dataset whose bytes are in no export."""

    name: str


# A line, by its index, or a missing dataset.
Node = int | Gap


class Lineage:
    """The lines of a trail, and what each was made from."""

    def __init__(self, lines: Sequence[Line]):
        self.lines = lines
        self.makers: dict[str, list[int]] = {}  # by datahash, without copies
        for number, line in enumerate(lines):
            if not line.is_copy:
                self.makers.setdefault(line.entry.datahash, []).append(number)
        self.kept = 0
        self.found: dict[int, list[Node]] = {}  # what each line was made from

    def outputs(self) -> list[int]:
        """The results, by index: lines made from something that nothing else was made from."""
        used = {
            source
            for line in self.lines
            if not (line.is_copy or line.is_of_pixels)
            for source in line.sources
        }
        return [
            number
            for number, line in enumerate(self.lines)
            if line.sources
            and not (line.is_copy or line.is_of_pixels)
            and line.entry.datahash not in used
        ]

    def made_of(self, node: Node) -> list[Node]:
        """What a line was made from; the original of a copy, or of a merely imported dataset."""
        if isinstance(node, Gap):
            return []
        if node in self.found:
            return self.found[node]
        nodes = self.find(node)
        self.kept += len(nodes)
        if self.kept <= MOST_KEPT:
            self.found[node] = nodes
        return nodes

    def find(self, number: int) -> list[Node]:
        """As `made_of`, without the cache."""
        line = self.lines[number]
        nodes: dict[Node, None] = {}
        for source in line.sources or [line.entry.datahash]:
            name = trail.name_not_exported(source)
            makers = [each for each in self.makers.get(source, ()) if each != number]
            in_time = [each for each in makers if not self.is_later(each, number)]
            if name is not None:
                nodes[Gap(name)] = None
            elif source not in self.makers and not line.is_copy:
                nodes[Gap(source)] = None
            elif line.sources:
                nodes |= dict.fromkeys(in_time or makers)
            else:
                nodes |= dict.fromkeys(each for each in in_time if self.lines[each].sources)
        return list(nodes)

    def is_later(self, number: int, other: int) -> bool:
        """Whether a line was made after another one, if both have a time."""
        ended, other_ended = self.lines[number].ended, self.lines[other].ended
        return bool(ended and other_ended) and (ended, number) > (other_ended, other)

    def back(self, number: int) -> list[tuple[int, Node]]:
        """All that a line was made from, itself first, each with the fewest steps back to it."""
        steps: dict[Node, int] = {number: 0}
        for node in (order := [number]):
            for source in self.made_of(node):
                if source not in steps:
                    steps[source] = steps[node] + 1
                    order.append(source)
        return [(steps[node], node) for node in order]

    def remark(self, node: Node) -> str:
        """Remarks on a line, or on a missing dataset."""
        if isinstance(node, Gap):
            return MISSING
        line = self.lines[node]
        remarks = []
        if not self.made_of(node):
            remarks.append(SOURCE)
        elif line.is_copy or not line.sources:
            remarks.append(COPIED)
        if not line.recorded_by:
            remarks.append(DECLARED)
        return ", ".join(remarks)


def rows(lineage: Lineage, wanted: Iterable[Wanted]) -> Iterable[tuple]:
    """The table of lineages: each wanted dataset, then, step by step, what it was made from."""
    for name, number, *found in wanted:
        how = (name, *found)
        if number is None:
            yield (*how, *[None] * (len(COLUMNS) - len(how)))
            continue
        for steps, node in lineage.back(number):
            if isinstance(node, Gap):
                yield (*how, steps, node.name, *[None] * 4, MISSING, None)
                continue
            line = lineage.lines[node]
            made = (line.tool, line.version, line.parameters, line.ended)
            remark = lineage.remark(node)
            yield (*how, steps, line.entry.name, *made, remark, line.entry.datahash)
