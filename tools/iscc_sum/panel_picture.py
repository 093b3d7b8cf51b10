"""Draw what was found: each panel beside the raw image or plane, with its outline drawn in."""

import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from fonts import fonts_for
from panel_search import LIES_IN, Answer, Hit, Panel

MOST_ROWS = 40
WIDTH, HEIGHT, TITLE = 6.0, 2.6, 0.45  # inches, of a row and of the text above it
DOTS_PER_INCH = 110
OUTLINE = "#e8590c"
LONGEST_TITLE = 70  # characters
NOT_SEARCHED = "No picture: no plane of this name\nis in the raw images that were searched."


def draw(rows: Sequence[tuple[Panel, list[Answer]]]) -> bytes:
    """A PNG with a row for each panel that was found, the others named below."""
    found = [(panel, answers[0]) for panel, answers in rows if answers]
    missing = [panel.name for panel, answers in rows if not answers]
    shown = found[:MOST_ROWS]
    texts = [remark for remark in (more(found), without(missing)) if remark]
    height = max(len(shown) * (HEIGHT + TITLE), 0.2) + 0.3 * len(texts)
    names = "".join([*texts, *(panel.name + answer.plane for panel, answer in shown)])
    fonts, _ = fonts_for(names)
    figure = Figure((WIDTH, height), dpi=DOTS_PER_INCH)
    text = {"family": fonts, "parse_math": False, "fontsize": 9, "va": "top"}
    for number, (panel, answer) in enumerate(shown):
        top = height - number * (HEIGHT + TITLE)
        title = f"{shortened(panel.name)}\n{relation(answer)}"
        figure.text(0.02, (top - 0.05) / height, title, **text)
        bottom = (top - TITLE - HEIGHT) / height
        one, other = (
            figure.add_axes((left, bottom + 0.02 / height, 0.46, HEIGHT * 0.96 / height))
            for left in (0.02, 0.52)
        )
        show(one, panel.looks[0].picture)
        if answer.hit:
            show_hit(other, answer.hit)
        else:
            other.axis("off")
            other.text(0.5, 0.5, NOT_SEARCHED, ha="center", fontsize=9, transform=other.transAxes)
    for number, remark in enumerate(texts):
        figure.text(0.02, (0.3 * (len(texts) - number) - 0.05) / height, remark, **text)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def show(axes: Axes, picture: object) -> None:
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
    axes.autoscale(False)  # an outline along the edge would make the picture smaller
    axes.axis("off")


def show_hit(axes: Axes, hit: Hit) -> None:
    """The plane, and the outline of the panel if its place is certain; a dot marks its top left."""
    show(axes, hit.picture)
    if hit.find:
        corners = (hit.find.corners + 0.5) * hit.picture.shape[1] / hit.width - 0.5
        axes.add_patch(
            Polygon(corners, fill=False, edgecolor=OUTLINE, linewidth=1.8, clip_on=False)
        )
        axes.plot(*corners[0], marker="o", color=OUTLINE, markersize=4, clip_on=False)


def relation(answer: Answer) -> str:
    """How a panel is related to which plane."""
    plane = shortened(answer.plane)
    if answer.relation == LIES_IN:
        return f"{LIES_IN} {plane}"
    if answer.relation == "exact":
        return f"has the same pixels as {plane}"
    how = "is a near-duplicate of" if answer.relation == "near" else answer.relation
    return f"{how} {plane} ({answer.distance} bits differ)"


def more(found: Sequence[object]) -> str:
    left = len(found) - MOST_ROWS
    return f"and {left:,} more, which the table lists" if left > 0 else ""


def without(missing: Sequence[str]) -> str:
    return f"not found ({len(missing):,}): {shortened(', '.join(missing))}" if missing else ""


def shortened(text: str) -> str:
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return printable if len(printable) <= LONGEST_TITLE else printable[: LONGEST_TITLE - 1] + "…"
