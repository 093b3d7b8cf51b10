"""Search for panels in raw images, plane by plane, in little memory.

Panels come first: their features are few. Each plane of a raw image is then compared with all of
them as soon as it has been read, in the process that reads it, and only what was found is kept.
A figure that is known to match planes is compared with those alone.
"""

import secrets
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

import montage
import panels
import plane_store
from coding import in_workers
from grey import stretched
from inputs import Dataset
from matches import Match
from panels import MOST_OF_PANEL, Features, Find
from pixels import in_images
from plane_store import Shelf
from planes import MOST_SIDE, Plane, read_figures, read_planes

FIGURE_SIDE = 2 * MOST_SIDE  # pixels; a figure has several panels
MOST_FITTING = 100  # planes that are listed for one panel
SLOWNESS = 1000  # times as long as coding the same bytes takes
SAME_LOOK = 8  # of 255, the mean difference below which a colour adds nothing
LIES_IN = "lies in"  # the relation of a panel to a plane in which it was found


class Panel(NamedTuple):
    """A panel: its name and its features.

    `figure` is the name of its figure, which may be all of it. `looks` are the features of the mean
    of its colours, and of each colour that differs from that. `matches` are what it is known to
    match as a whole.
    """

    name: str
    figure: str
    looks: list[Features]
    matches: Sequence[Match]

    @property
    def is_part(self) -> bool:
        return self.name != self.figure


class Hit(NamedTuple):
    """A panel, by its number, that lies in a plane: `width` pixels wide, with a small picture.

    `find` is None if the panel is known to match the plane, and its place there is not certain.
    `picture` is None if a better hit of the panel is known: only the best one is drawn.
    """

    panel: int
    plane: str
    width: int
    find: Find | None
    picture: np.ndarray | None


class Answer(NamedTuple):
    """A plane that a panel shows: how that is known, and the hit if the plane was searched."""

    relation: str
    plane: str
    distance: int | None
    hit: Hit | None


class Searched(NamedTuple):
    """The best hits in some planes, the number of these, and their feature file if it is kept."""

    hits: list[Hit]
    count: int
    kept: Dataset | None


def read_panels(
    figures: Sequence[Dataset], cut: bool, known: Mapping[str, Sequence[Match]], processes: int
) -> list[Panel]:
    """The panels of all figures, in order: each figure as a whole and, with `cut`, its parts.

    `known` are the matches of figures, by name. These are not cut.
    """
    work = partial(panels_of, cut=cut, known=known)
    found: list[list[Panel]] = [[]] * len(figures)
    for index, result in in_images(work, figures, False, False, processes, SLOWNESS):
        found[index] = result
    return [panel for each in found for panel in each]


def panels_of(
    dataset: Dataset,
    pieces: Iterator,
    report: Callable[[float], None],
    cut: bool,
    known: Mapping[str, Sequence[Match]],
) -> list[Panel]:
    """The panels of the figures in a dataset. What matches as a whole, even a stack, is one."""
    found = []
    whole = (slice(None), slice(None))
    for figure, colours in read_figures(dataset, pieces, report, FIGURE_SIDE):
        looks = looks_of(colours)
        matched = figure if figure in known else dataset.name
        if known.get(matched):
            if all(panel.name != matched for panel in found):
                found.append(panel_of(matched, matched, looks, whole, known[matched]))
            continue
        parts = montage.cut(looks[0]) if cut else [whole]
        found.append(panel_of(figure, figure, looks, whole))
        if len(parts) > 1:
            found += [
                panel_of(f"{figure}/{letters(number)}", figure, looks, part)
                for number, part in enumerate(parts, start=1)
            ]
    return found


def panel_of(
    name: str,
    figure: str,
    looks: Sequence[np.ndarray],
    part: tuple[slice, slice],
    matches: Sequence[Match] = (),
) -> Panel:
    """The panel that is a part of a figure, which looks like this: uint8, shape (rows, columns)."""
    cut = [np.ascontiguousarray(each[part]) for each in looks]
    described = [panels.features(each, *each.shape[::-1], MOST_OF_PANEL) for each in cut]
    return Panel(name, figure, described, matches)


def looks_of(colours: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The mean of the colours of a picture, uint8, and each colour that differs from it."""
    grey = stretched(sum(colours, np.float32(0)))
    return [grey, *(each for each in colours if differs(each, grey))]


def differs(one: np.ndarray, other: np.ndarray) -> bool:
    return np.abs(one.astype(np.int16) - other).mean() > SAME_LOOK


def letters(number: int) -> str:
    """a to z, then aa, ab and so on, from 1."""
    number, digit = divmod(number - 1, 26)
    return (letters(number) if number else "") + string.ascii_lowercase[digit]


def compare(wanted: Sequence[Panel], plane: Plane) -> Iterator[Hit]:
    """The panels that lie in a plane, or are known to match it."""
    for number, panel in enumerate(wanted):
        is_match = any(match.name == plane.name for match in panel.matches)
        if panel.matches and not is_match:
            continue
        find = best_find(panel.looks, plane.features)
        if find or is_match:
            yield Hit(number, plane.name, plane.features.width, find, plane.features.picture)


def best_find(looks: Sequence[Features], plane: Features) -> Find | None:
    """The most certain find of a panel in a plane, of all that it looks like, or None."""
    finds = [find for look in looks if (find := panels.match(look, plane))]
    return max(finds, key=lambda find: find.certainty, default=None)


def search_all(
    raw: Sequence[Dataset], wanted: Sequence[Panel], keep: Path | None, processes: int
) -> Iterator[Searched]:
    """Search raw images, each read once, and feature files; in their order, the images first.

    If `keep` is a directory, a feature file of each result is written there.
    """
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
    keep: Path | None,
) -> Searched:
    return search_planes(read_planes(dataset, pieces, report), wanted, keep)


def search_shelf(
    shelf: Shelf, report: Callable[[float], None], wanted: Sequence[Panel], keep: Path | None
) -> Searched:
    return search_planes(plane_store.read_planes(shelf), wanted, keep)


def search_planes(planes: Iterator[Plane], wanted: Sequence[Panel], keep: Path | None) -> Searched:
    """Compare planes, one at a time, with all panels; write their features to the directory."""
    kept = Dataset(("features",), keep / secrets.token_hex(16)) if keep else None
    best: list[list[Hit]] = [[] for _ in wanted]
    count = 0
    with plane_store.Writer(kept.path) if kept else nullcontext() as writer:
        for plane in planes:
            keep_best(wanted, best, list(compare(wanted, plane)))
            if writer:
                writer.add(plane)
            count += 1
        if writer:
            writer.finish()
    return Searched([hit for of in best for hit in of], count, kept)


def keep_best(wanted: Sequence[Panel], best: Sequence[list[Hit]], hits: Sequence[Hit]) -> None:
    """Add hits to those of each panel, the best first; none that is clearly worse, and not many.

    Hits of a panel with known matches are in the order of these.
    """
    for hit in hits:
        best[hit.panel].append(hit)
    for number in {hit.panel for hit in hits}:
        of = best[number]
        if known := [match.name for match in wanted[number].matches]:
            of.sort(key=lambda hit: known.index(hit.plane))
        else:
            of.sort(key=lambda hit: -hit.find.certainty)
            of[:] = [hit for hit in of if not panels.better(of[0].find, hit.find)]
        of[1:] = [hit._replace(picture=None) for hit in of[1:MOST_FITTING]]


def answers(
    wanted: Sequence[Panel], best: Sequence[Sequence[Hit]]
) -> list[tuple[Panel, list[Answer]]]:
    """Each panel with the planes that it shows.

    A figure that was cut is there either as its parts or, if only that was found, as a whole.
    """
    found = {
        (panel.figure, panel.is_part) for panel, hits in zip(wanted, best, strict=True) if hits
    }
    cut = {panel.figure for panel in wanted if panel.is_part}
    whole = {figure for figure in cut if (figure, True) not in found and (figure, False) in found}
    return [
        (panel, answers_of(panel, hits))
        for panel, hits in zip(wanted, best, strict=True)
        if panel.is_part == (panel.figure in cut - whole)
    ]


def answers_of(panel: Panel, hits: Sequence[Hit]) -> list[Answer]:
    """The known matches of a panel, or else the planes in which it was found.

    An image, as the mean of its channels, shows the same place as each of these: it is listed, or
    they are, whichever is better.
    """
    if not panel.matches:
        listed: list[Hit] = []
        for hit in hits:
            if not any(is_within(hit, other) or is_within(other, hit) for other in listed):
                listed.append(hit)
        return [Answer(LIES_IN, hit.plane, None, hit) for hit in listed]
    of_plane = {hit.plane: hit for hit in reversed(hits)}
    return [
        Answer(relation, name, distance, of_plane.get(name))
        for relation, name, distance in panel.matches
    ]


def is_within(one: Hit, other: Hit) -> bool:
    """Whether the plane of a hit is one of the image that the other is in."""
    return one.plane.startswith(f"{other.plane}/")
