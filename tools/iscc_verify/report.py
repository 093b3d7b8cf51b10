"""The report of an audit: a line for each finding, and for each row that is MISSING."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, Self

import audit
import manifest
from audit import Finding

if TYPE_CHECKING:
    from rows import Rows


class Report(NamedTuple):
    """Findings in the order of the report, and the rows that are MISSING in addition to them.

    If there are such rows, each finding is for a dataset or a line.
    """

    findings: list[Finding]
    missing: "Rows | None" = None

    def count_statuses(self) -> Counter[str]:
        """The number of lines with each status."""
        counts = Counter(finding.status for finding in self.findings)
        counts[audit.MISSING] += self.missing_count
        return counts

    @property
    def missing_count(self) -> int:
        return 0 if self.missing is None else len(self.missing)

    @property
    def count(self) -> int:
        return len(self.findings) + self.missing_count

    def without(self, *statuses: str) -> Self:
        findings = [each for each in self.findings if each.status not in statuses]
        return Report(findings, None if audit.MISSING in statuses else self.missing)

    def first(self, count: int) -> list[Finding]:
        """The first findings, in the order of the report."""
        first = self.findings[:count]
        if self.missing is not None:
            first += self.missing.first_missing(count)
            first.sort(key=audit.place_in_report)
        return first[:count]

    def lines(self) -> Iterator[str]:
        """The lines of the report, with its header."""
        rows = (finding[:-1] for finding in self.findings)
        lines = manifest.table_lines(audit.COLUMNS, rows)
        if self.missing is None:
            yield from lines
            return
        yield next(lines)
        above = 0
        for finding, line in zip(self.findings, lines, strict=True):
            if finding.dataset is None:
                yield from self.missing.missing_lines(above, finding.line)
                above = finding.line
            yield line
        yield from self.missing.missing_lines(above)
