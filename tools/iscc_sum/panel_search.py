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

    `figure` is the name of its figure, which may be all of it. `looks` are the features of the mean
    of its colours, and of each colour that differs from that.
    """

    name: str
    figure: str
    looks: list[Features]
    picture: np.ndarray

    @property
    def is_part(self) -> bool:
        return self.name != self.figure


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
        found[index] = result
    return [panel for each in found for panel in each]


def panels_of(
    dataset: Dataset, pieces: Iterator, report: Callable[[float], None], cut: bool
) -> list[Panel]:
    """The panels of the figures in a dataset."""
    found = []
    for figure, colours in read_figures(dataset, pieces, report, FIGURE_SIDE):
        grey = panels.stretched(sum(colours, np.float32(0)))
        looks = [grey, *(each for each in colours if differs(each, grey))]
        whole = (slice(None), slice(None))
        parts = montage.cut(grey) if cut else [whole]
        found.append(panel_of(figure, figure, looks, whole))
        if len(parts) > 1:
            found += [
                panel_of(f"{figure}/{letters(number)}", figure, looks, part)
                for number, part in enumerate(parts, start=1)
            ]
    return found


def panel_of(
    name: str, figure: str, looks: Sequence[np.ndarray], part: tuple[slice, slice]
) -> Panel:
    """The panel that is a part of a figure, which looks like this: uint8, shape (rows, columns)."""
    cut = [np.ascontiguousarray(each[part]) for each in looks]
    described = [panels.features(each, *each.shape[::-1], MOST_OF_PANEL) for each in cut]
    return Panel(name, figure, described, panels.shrunk(cut[0], THUMBNAIL_SIDE))


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
    stores, images = [], []
    for each in raw:
        (stores if plane_store.is_one(each.path) else images).append(each)
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
