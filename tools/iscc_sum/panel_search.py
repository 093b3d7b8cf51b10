"""Search for panels in raw images, plane by plane, in little memory.

Panels come first: their features are few. Each plane of a raw image is then compared with all of
them as soon as it has been read, in the process that reads it, and only what was found is kept.
"""

import string
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

import montage
import panels
import plane_store
from coding import in_workers
from inputs import Dataset
from panels import MOST_OF_PANEL, Features, Find
from pixels import in_images
from plane_store import Shelf
from planes import MOST_SIDE, THUMBNAIL_SIDE, Plane, read_figures, read_planes

FIGURE_SIDE = 2 * MOST_SIDE  # pixels; a figure has several panels
MOST_FITTING = 100  # planes that are listed for one panel
SLOWNESS = 1000  # times as long as coding the same bytes takes
SAME_LOOK = 8  # of 255, the mean difference below which a colour adds nothing


class Panel(NamedTuple):
    """A panel: its name, its features, and its picture: uint8, shape (rows, columns).

    `looks` are the features of the mean of its colours, and of each colour that differs from that.
    `figure` is the number of its figure; `is_part`, whether it was cut out of it.
    """

    name: str
    figure: int
    is_part: bool
    looks: list[Features]
    picture: np.ndarray


class Hit(NamedTuple):
    """A panel, by its number, that lies in a plane: `width` pixels wide, with a small picture."""

    panel: int
    plane: str
    width: int
    find: Find
    thumbnail: np.ndarray


class Searched(NamedTuple):
    """The hits in some planes, the planes themselves if they are to be kept, and their number."""

    hits: list[Hit]
    kept: list[Plane]
    count: int


def read_panels(figures: Sequence[Dataset], cut: bool, processes: int) -> list[Panel]:
    """The panels of all figures, in order: each figure as a whole and, with `cut`, its parts."""
    work = partial(panels_of, cut=cut)
    found: list[list[Panel]] = [[]] * len(figures)
    for index, result in in_images(work, figures, False, False, processes, SLOWNESS):
        found[index] = [panel._replace(figure=index) for panel in result]
    return [panel for each in found for panel in each]


def panels_of(
    figure: Dataset, pieces: Iterator, report: Callable[[float], None], cut: bool
) -> list[Panel]:
    """The panels of one figure."""
    found = []
    for name, colours in read_figures(figure, pieces, report, FIGURE_SIDE):
        grey = panels.stretched(sum(colours, np.float32(0)))
        looks = [grey]
        if len(colours) > 1:
            looks += [each for each in colours if differs(each, grey)]
        parts = montage.cut(grey) if cut else []
        for number, part in enumerate(
            [(slice(None), slice(None)), *(parts if len(parts) > 1 else [])]
        ):
            described = [
                panels.features(each[part], *each[part].shape[::-1], MOST_OF_PANEL)
                for each in looks
            ]
            called = f"{name}/{letters(number)}" if number else name
            found.append(
                Panel(called, 0, number > 0, described, panels.shrunk(grey[part], THUMBNAIL_SIDE))
            )
    return found


def differs(one: np.ndarray, other: np.ndarray) -> bool:
    return np.abs(one.astype(np.int16) - other).mean() > SAME_LOOK


def letters(number: int) -> str:
    """a to z, then aa, ab and so on, from 1."""
    number, digit = divmod(number - 1, 26)
    return (letters(number) if number else "") + string.ascii_lowercase[digit]


def compare(wanted: Sequence[Panel], plane: Plane) -> Iterator[Hit]:
    """The panels that lie in a plane."""
    for number, panel in enumerate(wanted):
        finds = [find for look in panel.looks if (find := panels.match(look, plane.features))]
        if finds:
            best = max(finds, key=lambda find: find.certainty)
            yield Hit(number, plane.name, plane.features.width, best, plane.thumbnail)


def search_all(
    raw: Sequence[Dataset], wanted: Sequence[Panel], keep: bool, processes: int
) -> Iterator[Searched]:
    """Search raw images, each read once, and feature files; in their order, the images first."""
    stores = [each for each in raw if plane_store.is_one(each.path)]
    images = [each for each in raw if each not in stores]
    work = partial(search_image, wanted=wanted, keep=keep)
    yield from in_order(in_images(work, images, True, False, processes, SLOWNESS))
    shelves = [shelf for store in stores for shelf in plane_store.shelves(store)]
    sizes = [SLOWNESS * plane_store.FEATURE.itemsize * len(shelf.listed) for shelf in shelves]
    work = partial(search_shelf, wanted=wanted, keep=keep)
    yield from in_order(in_workers(work, shelves, sizes, processes, lambda _: None))


def in_order(results: Iterator[tuple[int, object]]) -> Iterator:
    """The results of work, each with its number, in the order of these."""
    waiting: dict[int, object] = {}
    turn = 0
    for number, result in results:
        waiting[number] = result
        while turn in waiting:
            yield waiting.pop(turn)
            turn += 1


def search_image(
    dataset: Dataset,
    pieces: Iterator,
    report: Callable[[float], None],
    wanted: Sequence[Panel],
    keep: bool,
) -> Searched:
    return search_planes(read_planes(dataset, pieces, report), wanted, keep)


def search_shelf(
    shelf: Shelf, report: Callable[[float], None], wanted: Sequence[Panel], keep: bool
) -> Searched:
    return search_planes(plane_store.read_planes(shelf), wanted, keep)


def search_planes(planes: Iterator[Plane], wanted: Sequence[Panel], keep: bool) -> Searched:
    """Compare planes with all panels; with `keep`, the planes are part of the result."""
    hits, kept, count = [], [], 0
    for plane in planes:
        hits += compare(wanted, plane)
        kept += [plane] if keep else []
        count += 1
    return Searched(hits, kept, count)


def keep_best(best: list[list[Hit]], hits: Sequence[Hit]) -> None:
    """Add hits to those of each panel, the best first; none that is clearly worse, and not many."""
    for hit in hits:
        best[hit.panel].append(hit)
    for number in {hit.panel for hit in hits}:
        of = sorted(best[number], key=lambda hit: -hit.find.certainty)
        best[number] = [hit for hit in of if not panels.better(of[0].find, hit.find)][:MOST_FITTING]


def as_rows(wanted: Sequence[Panel], best: Sequence[list[Hit]]) -> list[tuple[Panel, list[Hit]]]:
    """Each panel with its hits.

    A figure that was cut is there either as its parts or, if only that was found, as a whole.
    """
    found = {
        (panel.figure, panel.is_part) for panel, hits in zip(wanted, best, strict=True) if hits
    }
    cut = {panel.figure for panel in wanted if panel.is_part}
    whole = {figure for figure in cut if (figure, True) not in found and (figure, False) in found}
    return [
        (panel, hits)
        for panel, hits in zip(wanted, best, strict=True)
        if panel.is_part == (panel.figure in cut - whole)
    ]
