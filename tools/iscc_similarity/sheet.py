"""Draw a contact sheet (PNG): groups of images side by side, each with its name and relation.

Groups follow one another like words in a text. Those that are only named come below.
"""

import io
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from matplotlib import font_manager
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from fonts import FIRST, MISSING, characters_of, fonts_for
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
LEAST_WIDTH = 760
HEAD = 66
DOTS_PER_INCH = 100
POINTS_PER_INCH = 72

TEXT_SIZE, TITLE_SIZE = 8.5, 11  # points
SEPARATORS = " _-,;"  # after which a name may be broken
MOST_LETTERS = 200  # of a name; some letters have no width

COLOURS = {"exact": "#e8590c", "near": "#08519c", "looks like": "#4292c6"}
KEY = {
    "exact": "exact: the same content",
    "near": "near: similar content",
    "looks like": "looks like: similar appearance",
    "linked": "linked: similar to another of its cluster",
    "none": "no match: the nearest image",
}
BOX = 11  # pixels, of a colour in the key
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
    right = [x + width_of_group(group) for group, (x, _) in zip(sheet.groups, places, strict=True)]
    title = Text(GAP, 10, sheet.title, size=TITLE_SIZE)
    key = key_of(sheet)
    right += [each.x + width_of(each.text, each.size) for each in (title, *key)]
    width = int(max([WIDTH if sheet.names else LEAST_WIDTH, *(each + GAP for each in right)]))
    texts = [title, *key, *names_below(sheet, height)]
    height += GAP + LINE * (len(sheet.names) + 1) // 2 + 3 * LINE if sheet.names else GAP
    canvas = np.full((height, width, 3), 255, np.uint8)
    for text, relation in zip(key, relations_of(sheet), strict=True):
        fill(canvas, text.x - 16, text.y + 2, BOX, BOX, colour_of(relation))
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
        width = width_of_group(group)
        if x + width > WIDTH - GAP and x > GAP:
            x, y = GAP, y + GROUP + GAP
        places.append((x, y))
        x += width + GAP
    return places, y + GROUP + GAP if groups else y


def width_of_group(group: Group) -> int:
    return len(group.tiles) * (TILE + GAP) + GAP


def relations_of(sheet: Sheet) -> list[str]:
    """The relations that occur on a sheet, in the order of the key."""
    used = {tile.relation for group in sheet.groups for tile in group.tiles}
    return [relation for relation in KEY if relation in used]


def key_of(sheet: Sheet) -> list[Text]:
    """What the colours on a sheet mean, beside a box of each."""
    texts, x = [], GAP + 18
    for relation in relations_of(sheet):
        texts.append(Text(x, 38, KEY[relation]))
        x += int(width_of(KEY[relation])) + 40
    return texts


def draw_group(canvas: np.ndarray, group: Group, x: int, y: int) -> Iterator[Text]:
    """Draw the pictures of a group into the canvas; yields its texts."""
    width = width_of_group(group)
    fill(canvas, x, y, width, GROUP, BORDER)
    fill(canvas, x + 1, y + 1, width - 2, GROUP - 2, "white")
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
        lines = lines_of_name(tile.name)
        if tile.caption:
            dark = DARK if colour == OTHER_COLOUR else colour
            yield Text(left, y + TILE + 3, tile.caption, dark, weight="bold")
        for line, text in enumerate(lines, start=1 if tile.caption else 0):
            yield Text(left, y + TILE + 3 + line * LINE, text)


def enlarged(picture: np.ndarray) -> np.ndarray:
    """A thumbnail of a small image, each pixel drawn as a square of several."""
    times = PICTURE // max(picture.shape)
    return picture.repeat(times, axis=0).repeat(times, axis=1)


def names_below(sheet: Sheet, top: int) -> Iterator[Text]:
    """The names below the pictures, in two columns."""
    if not sheet.names:
        return
    yield Text(GAP, top, sheet.heading, weight="bold")
    half = -(-len(sheet.names) // 2)
    for number, name in enumerate(sheet.names):
        column, line = divmod(number, half)
        text = shortened(name, WIDTH / 2 - 2 * GAP)
        yield Text(GAP + column * WIDTH // 2, top + (line + 1) * LINE + 4, text)
    if sheet.more:
        yield Text(GAP, top + (half + 1) * LINE + 8, f"and {sheet.more:,} more, see the table")


def colour_of(relation: str) -> str:
    return COLOURS.get(relation, OTHER_COLOUR)


def fill(canvas: np.ndarray, x: int, y: int, width: int, height: int, colour: str) -> None:
    canvas[y : y + height, x : x + width] = np.rint(np.multiply(to_rgb(colour), 255))


def lines_of_name(name: str) -> list[str]:
    """A name in the lines below its picture, without its middle if it is too long.

    It is broken after a space or another separator, if there is one in the second half of a line.
    """
    text = shortened(name, NAME_LINES * TILE * 0.95)  # as a line may end before a wide letter
    first = fitting(text, TILE)
    if first == text:
        return [text]
    last = max(first.rfind(each) for each in SEPARATORS) + 1
    if last <= len(first) // 2 or width_of(text[last:].strip()) > TILE:
        last = len(first)
    return [text[:last].rstrip(), fitting(text[last:].strip(), TILE)]


def shortened(name: str, most: float) -> str:
    """A name on one line, printable, without its middle if it is wider than `most` pixels."""
    text = "".join(map(drawn, escape(name)))
    if len(text) <= MOST_LETTERS and width_of(text) <= most:
        return text
    half = (most - width_of("…")) / 2
    start, end = text[: MOST_LETTERS // 2], text[-MOST_LETTERS // 2 :]
    return f"{fitting(start, half)}…{fitting(end[::-1], half)[::-1]}"


def drawn(letter: str) -> str:
    """A letter as it is drawn: any kind of space as a space, control characters as a mark."""
    if unicodedata.category(letter) == "Zs":
        return " "
    return letter if letter.isprintable() else "\ufffd"


def fitting(text: str, most: float) -> str:
    """The beginning of a text that is at most this wide."""
    widths = np.cumsum([width_of_letter(each) for each in text])
    return text[: np.searchsorted(widths, most, side="right")]


def width_of(text: str, size: float = TEXT_SIZE) -> float:
    """The width of a text, in pixels."""
    return sum(map(width_of_letter, text)) * size / TEXT_SIZE


@cache
def width_of_letter(letter: str) -> float:
    """In pixels; a letter that the first font does not have is taken for a full-width one."""
    font = font_manager.get_font(font_manager.findfont(FIRST))
    font.set_size(TEXT_SIZE, DOTS_PER_INCH)
    if ord(letter) in characters_of(font_manager.findfont(FIRST)):
        return font.load_char(ord(letter)).linearHoriAdvance / 65536
    return TEXT_SIZE * DOTS_PER_INCH / POINTS_PER_INCH
