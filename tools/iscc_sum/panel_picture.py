"""Draw what was found: each panel beside the raw plane, with its outline drawn in."""

import io
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from fonts import fonts_for
from panel_search import Hit, Panel

MOST_ROWS = 40
WIDTH, HEIGHT, TITLE = 6.0, 2.6, 0.45  # inches, of a row and of the text above it
DOTS_PER_INCH = 110
OUTLINE = "#e8590c"
LONGEST_TITLE = 70  # characters


def draw(rows: Sequence[tuple[Panel, list[Hit]]]) -> bytes:
    """A PNG with a row for each panel that was found, the others named below."""
    found = [(panel, hits[0]) for panel, hits in rows if hits]
    missing = [panel.name for panel, hits in rows if not hits]
    shown = found[:MOST_ROWS]
    texts = [remark for remark in (more(found), without(missing)) if remark]
    height = max(len(shown) * (HEIGHT + TITLE), 0.2) + 0.3 * len(texts)
    names = "".join([*texts, *(panel.name + hit.plane for panel, hit in shown)])
    fonts, _ = fonts_for(names)
    figure = Figure((WIDTH, height), dpi=DOTS_PER_INCH)
    text = {"family": fonts, "parse_math": False, "fontsize": 9, "va": "top"}
    for number, (panel, hit) in enumerate(shown):
        top = height - number * (HEIGHT + TITLE)
        title = f"{shortened(panel.name)}\n{shortened(hit.plane)}"
        figure.text(0.02, (top - 0.05) / height, title, **text)
        bottom = (top - TITLE - HEIGHT) / height
        for left, picture in ((0.02, panel.picture), (0.52, hit.thumbnail)):
            axes = figure.add_axes((left, bottom + 0.02 / height, 0.46, HEIGHT * 0.96 / height))
            axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
            axes.axis("off")
        corners = (hit.find.corners + 0.5) * hit.thumbnail.shape[1] / hit.width - 0.5
        axes.add_patch(Polygon(corners, fill=False, edgecolor=OUTLINE, linewidth=1.8))
        axes.plot(*corners[0], marker="o", color=OUTLINE, markersize=4)
    for number, remark in enumerate(texts):
        figure.text(0.02, (0.3 * (len(texts) - number) - 0.05) / height, remark, **text)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def more(found: Sequence[object]) -> str:
    left = len(found) - MOST_ROWS
    return f"and {left:,} more, which the table lists" if left > 0 else ""


def without(missing: Sequence[str]) -> str:
    return f"not found: {shortened(', '.join(missing))}" if missing else ""


def shortened(text: str) -> str:
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return printable if len(printable) <= LONGEST_TITLE else printable[: LONGEST_TITLE - 1] + "…"
