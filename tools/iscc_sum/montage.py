"""Cut a figure of several panels at its gutters: straight stripes of one colour, from edge to edge.

Journals set panels on white, sometimes on black. A stripe may hold letters only outside of panels,
so one that is not of one colour all along is not a gutter. A part without gutters is a panel.
"""

from collections.abc import Iterator

import numpy as np

LEAST_SIDE = 48  # pixels; smaller parts are labels
LEAST_GUTTER = 3  # pixels
SAME_COLOUR = 12  # of 255, the largest difference in a gutter; JPEG blurs it
DEEPEST = 6  # cuts, one within the other


def cut(grey: np.ndarray) -> list[tuple[slice, slice]]:
    """The panels of a figure of uint8, in reading order; one part if there are no gutters."""
    whole = (slice(0, grey.shape[0]), slice(0, grey.shape[1]))
    found = [each for each in parts(grey, whole, DEEPEST) if is_large(each)]
    return found if len(found) > 1 else [whole]


def is_large(part: tuple[slice, slice]) -> bool:
    return all(each.stop - each.start >= LEAST_SIDE for each in part)


def parts(
    grey: np.ndarray, part: tuple[slice, slice], deepest: int
) -> Iterator[tuple[slice, slice]]:
    """What is left of a part after cutting it into rows, or else into columns, again and again."""
    rows, columns = (stripes(grey[part], axis) for axis in (0, 1))
    if not rows or not columns:  # it is of one colour
        return
    if len(rows) == len(columns) == 1 or deepest == 0:
        yield (
            within(part[0], (rows[0][0], rows[-1][1])),
            within(part[1], (columns[0][0], columns[-1][1])),
        )
        return
    if len(rows) > 1:
        inner = [(within(part[0], stripe), part[1]) for stripe in rows]
    else:
        inner = [(part[0], within(part[1], stripe)) for stripe in columns]
    for each in inner:
        yield from parts(grey, each, deepest - 1)


def within(outer: slice, inner: tuple[int, int]) -> slice:
    start, stop = inner
    return slice(outer.start + start, outer.start + stop)


def stripes(grey: np.ndarray, axis: int) -> list[tuple[int, int]]:
    """The ranges of rows (axis 0) or columns between gutters; none if all of it is one colour."""
    across = 1 - axis
    low, high = grey.min(axis=across).astype(int), grey.max(axis=across).astype(int)
    is_empty = high - low <= SAME_COLOUR
    edges = np.flatnonzero(np.diff(is_empty, prepend=not is_empty[0], append=not is_empty[-1]))
    found: list[tuple[int, int]] = []
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        outside = start == 0 or stop == len(is_empty)
        if is_empty[start] and (outside or stop - start >= LEAST_GUTTER):
            continue
        if found and found[-1][1] == start:
            found[-1] = (found[-1][0], stop)
        else:
            found.append((start, stop))
    return found
