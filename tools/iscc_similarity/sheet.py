"""Draw a contact sheet (PNG): groups of images side by side, each with its name and relation.

Groups follow one another like words in a text. Those that are only named come below.
"""

import io
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from fonts import MISSING, fonts_for
from manifest import escape

MOST_GROUPS = 60  # that are drawn
MOST_TILES = 8  # that are drawn of a group; as many are in a line
MOST_NAMED = 300  # more groups

# Sizes in pixels.
PICTURE, FRAME = 128, 4
TILE = PICTURE + 2 * FRAME
GAP = 10
LINE = 15  # of text
TITLE = 20  # of a group
NAME_LINES = 2
GROUP = TITLE + TILE + (1 + NAME_LINES) * LINE + 2 * GAP
WIDTH = MOST_TILES * (TILE + GAP) + 5 * GAP  # of two groups with half as many tiles each
LEAST_WIDTH = 760  # for the key
TITLE_LETTER = 9  # at most, on average
HEAD = 66
DOTS_PER_INCH = 100
POINTS_PER_INCH = 72

TEXT_SIZE = 8.5  # points
LETTERS = 20  # in a line below a picture
LETTERS_OF_NAMES = 85  # in a line of one of the columns of names
SEPARATORS = " _-,;"  # after which a name may be broken
WIDE = "WF"  # East Asian letters that are twice as wide

COLOURS = {"exact": "#e8590c", "near": "#08519c", "looks like": "#4292c6"}
KEY = {
    "exact": "exact: the same content",
    "near": "near: similar content",
    "looks like": "looks like: similar appearance",
}
OTHER_COLOUR, BORDER, PALE = "#adb5bd", "#ced4da", "#f1f3f5"
DARK, FAINT = "#212529", "#868e96"
NO_THUMBNAIL = "no thumbnail"


class Tile(NamedTuple):
    """An image, and how it is related to the first of its group.

    `picture`, its thumbnail if there is one, is uint8, at most PICTURE by PICTURE pixels.
    """

    name: str
    picture: np.ndarray | None
    caption: str = ""
    relation: str = ""


class Group(NamedTuple):
    """Images that belong together. `more` of them are not drawn."""

    title: str
    tiles: list[Tile]
    more: int = 0


class Sheet(NamedTuple):
    """What is on a sheet: groups, and names below a heading. `more` are not named either."""

    title: str
    groups: list[Group]
    heading: str
    names: list[str]
    more: int


class Text(NamedTuple):
    """A text and where it begins, in pixels from the top left corner."""

    x: int
    y: int
    text: str
    colour: str = DARK
    size: float = TEXT_SIZE
    weight: str = "normal"


def draw(sheet: Sheet) -> bytes:
    """A PNG of a sheet."""
    places, height = arrange(sheet.groups)
    right = [x + width_of(group) for group, (x, _) in zip(sheet.groups, places, strict=True)]
    least = WIDTH if sheet.names else LEAST_WIDTH
    width = max([least, 2 * GAP + TITLE_LETTER * len(sheet.title), *(each + GAP for each in right)])
    texts = [Text(GAP, 10, sheet.title, size=11), *key_of(sheet)]
    texts += names_of(sheet, height)
    height += GAP + LINE * (len(sheet.names) + 1) // 2 + 3 * LINE if sheet.names else GAP
    canvas = np.full((height, width, 3), 255, np.uint8)
    for text in texts[1:]:
        if text.text in KEY.values():
            fill(canvas, text.x - 16, text.y + 2, 11, 11, colour_of(text.text.split(":")[0]))
    for group, (x, y) in zip(sheet.groups, places, strict=True):
        texts += draw_group(canvas, group, x, y)
    fonts, missing = fonts_for("".join(each.text for each in texts))
    if missing:
        texts.append(Text(GAP, height - LINE, MISSING, FAINT))
    figure = Figure((width / DOTS_PER_INCH, height / DOTS_PER_INCH), dpi=DOTS_PER_INCH)
    figure.figimage(canvas, origin="upper")
    for text in texts:
        figure.text(
            text.x / width,
            1 - text.y / height,
            text.text,
            color=text.colour,
            fontsize=text.size,
            fontweight=text.weight,
            fontfamily=fonts,
            parse_math=False,  # a dollar sign in a name does not make it a formula
            va="top",
        )
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def arrange(groups: Sequence[Group]) -> tuple[list[tuple[int, int]], int]:
    """The top left corner of each group, and where the last line ends."""
    places, x, y = [], GAP, HEAD
    for group in groups:
        width = width_of(group)
        if x + width > WIDTH - GAP and x > GAP:
            x, y = GAP, y + GROUP + GAP
        places.append((x, y))
        x += width + GAP
    return places, y + GROUP + GAP if groups else y


def width_of(group: Group) -> int:
    return len(group.tiles) * (TILE + GAP) + GAP


def key_of(sheet: Sheet) -> list[Text]:
    """What the colours mean that occur on a sheet."""
    used = {tile.relation for group in sheet.groups for tile in group.tiles}
    shown = [text for relation, text in KEY.items() if relation in used]
    return [Text(GAP + 18 + 240 * number, 38, text) for number, text in enumerate(shown)]


def draw_group(canvas: np.ndarray, group: Group, x: int, y: int) -> Iterator[Text]:
    """Draw the pictures of a group into the canvas; yields its texts."""
    fill(canvas, x, y, width_of(group), GROUP, BORDER)
    fill(canvas, x + 1, y + 1, width_of(group) - 2, GROUP - 2, "white")
    more = f", {group.more:,} of them not drawn" if group.more else ""
    yield Text(x + GAP, y + 6, f"{group.title}{more}", weight="bold")
    y += TITLE + GAP
    for number, tile in enumerate(group.tiles):
        left = x + GAP + number * (TILE + GAP)
        colour = colour_of(tile.relation)
        fill(canvas, left, y, TILE, TILE, colour)
        fill(canvas, left + FRAME, y + FRAME, PICTURE, PICTURE, PALE)
        if tile.picture is None:
            yield Text(left + 32, y + 60, NO_THUMBNAIL, FAINT)
        else:
            picture = enlarged(tile.picture)
            rows, columns = picture.shape
            top, start = y + FRAME + (PICTURE - rows) // 2, left + FRAME + (PICTURE - columns) // 2
            canvas[top : top + rows, start : start + columns] = picture[..., np.newaxis]
        lines = in_lines(tile.name)
        if tile.caption:
            dark = DARK if colour == OTHER_COLOUR else colour
            yield Text(left, y + TILE + 3, tile.caption, dark, weight="bold")
        for line, text in enumerate(lines, start=1 if tile.caption else 0):
            yield Text(left, y + TILE + 3 + line * LINE, text)


def enlarged(picture: np.ndarray) -> np.ndarray:
    """A thumbnail of a small image, each pixel drawn as a square of several."""
    times = PICTURE // max(picture.shape)
    return picture.repeat(times, axis=0).repeat(times, axis=1)


def names_of(sheet: Sheet, top: int) -> Iterator[Text]:
    """The names below the pictures, in two columns."""
    if not sheet.names:
        return
    yield Text(GAP, top, sheet.heading, weight="bold")
    half = -(-len(sheet.names) // 2)
    for number, name in enumerate(sheet.names):
        column, line = divmod(number, half)
        text = shortened(name, LETTERS_OF_NAMES)
        yield Text(GAP + column * WIDTH // 2, top + (line + 1) * LINE + 4, text)
    if sheet.more:
        yield Text(GAP, top + (half + 1) * LINE + 8, f"and {sheet.more:,} more, see the table")


def colour_of(relation: str) -> str:
    return COLOURS.get(relation, OTHER_COLOUR)


def fill(canvas: np.ndarray, x: int, y: int, width: int, height: int, colour: str) -> None:
    canvas[y : y + height, x : x + width] = np.rint(np.multiply(to_rgb(colour), 255))


def in_lines(name: str) -> list[str]:
    """A name in the lines below its picture, without its middle if it is too long.

    It is broken after a space or another separator, if there is one in the second half of a line.
    """
    letters = shortened(name, NAME_LINES * LETTERS)
    first = "".join(fitting(letters, LETTERS))
    if first == letters:
        return [letters]
    last = max(first.rfind(each) for each in SEPARATORS) + 1
    rest = letters[last:].strip()
    if last <= len(first) // 2 or sum(map(width_of_letter, rest)) > LETTERS:
        last = len(first)
    return [letters[:last].rstrip(), letters[last:].strip()]


def shortened(name: str, most: int) -> str:
    """A name on one line, printable, without its middle if it is wider than `most` letters."""
    letters = [each if each.isprintable() else "\ufffd" for each in escape(name)]
    if sum(map(width_of_letter, letters)) <= most:
        return "".join(letters)
    start, end = fitting(letters, most // 2 - 1), fitting(letters[::-1], most // 2 - 1)
    return f"{''.join(start)}…{''.join(end[::-1])}"


def fitting(letters: Sequence[str], most: int) -> list[str]:
    """The first letters that are together at most this wide."""
    widths = np.cumsum([width_of_letter(each) for each in letters])
    return list(letters[: np.searchsorted(widths, most, side="right")])


def width_of_letter(letter: str) -> int:
    return 1 + (unicodedata.east_asian_width(letter) in WIDE)
