"""Plot the distances between datasets (PNG).

A heat map is ordered by hierarchical clustering, so that duplicates are next to each other. It
shows all datasets if there are few, otherwise those that have a duplicate. If these are too many as
well, histograms are drawn instead. Distances are in bits of a scale, NaN where two datasets cannot
be compared. All data come from the caller; only the order is computed here.
"""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from scipy.cluster.hierarchy import dendrogram, fcluster, leaves_list, linkage
from scipy.spatial.distance import squareform

from fonts import MISSING, fonts_for
from manifest import escape
from messages import pluralize

# If there are more datasets, those without a duplicate are left out.
MOST_UNLINKED = 40
# Above these numbers of rows or columns, something is too small: cells, labels, lines between
# cells.
MOST_IN_HEAT_MAP = 400
MOST_LABELS = 200
MOST_LARGE_CELLS = 100
MOST_CHARACTERS = 48

EXACT_COLOUR = "#e8590c"
ITSELF_COLOUR = "#ced4da"
UNKNOWN_COLOUR = "#c9b8d8"
BORDER_COLOUR = "#212529"
MOST_ON_LINEAR_SCALE = 100


class Side(NamedTuple):
    """The datasets of one side: the names of all, and the rows, int64, of those drawn."""

    names: Sequence[str]
    rows: np.ndarray

    @property
    def left_out(self) -> int:
        return len(self.names) - len(self.rows)

    @property
    def counted(self) -> str:
        """The number of datasets drawn, with the total if it differs."""
        of_all = f" of {len(self.names):,}" if self.left_out else ""
        return f"{len(self.rows):,}{of_all}"


class Scale(NamedTuple):
    """How distances are drawn.

    bits               length of the codes
    bands              end of each band of distances, and its name
    colours            of the bands
    colours_of_ends    of distance 0 and of the end of each band
    unknown            label for datasets that cannot be compared
    """

    bits: int
    bands: tuple[tuple[int, str], ...]
    colours: tuple[str, ...]
    colours_of_ends: tuple[str, ...]
    unknown: str

    @property
    def ends(self) -> tuple[int, ...]:
        return (0, *(end for end, _ in self.bands))

    @property
    def farthest(self) -> int:
        """The typical distance between two unrelated datasets."""
        return self.bits // 2

    @property
    def end_labels(self) -> list[str]:
        return [*map(str, self.ends[:-1]), f"{self.farthest}+"]

    @property
    def colour_map(self) -> LinearSegmentedColormap:
        ends = [
            (end / self.farthest, colour)
            for end, colour in zip(self.ends, self.colours_of_ends, strict=True)
        ]
        return LinearSegmentedColormap.from_list("distance", ends).with_extremes(bad=UNKNOWN_COLOUR)


BY_CONTENT = Scale(
    128,
    ((12, "near-duplicate"), (24, "related"), (32, "weak"), (64, "chance")),
    ("#08519c", "#4292c6", "#9ecae1", "#d0d4d8"),
    ("#08306b", "#2b7bba", "#9ecae1", "#e1ecf5", "#fafafa"),
    "too small, or another kind",
)
BY_APPEARANCE = Scale(
    256,
    ((48, "looks like it"), (72, "worth a look"), (128, "chance")),
    ("#08519c", "#6baed6", "#d0d4d8"),
    ("#08306b", "#4292c6", "#c6dbef", "#fafafa"),
    "no Image-Code, or another kind",
)

# Inches.
TREE_WIDTH = 1.4
KEY_WIDTH = 4.2
KEY_HEIGHT = 1.1
DOTS_PER_INCH = 150
POINTS_PER_INCH = 72


def heat_map(
    side: Side,
    other: Side | None,
    distances: np.ndarray,
    exact: np.ndarray,
    threshold: int,
    scale: Scale = BY_CONTENT,
) -> bytes:
    """Draw a heat map of one set of datasets (other is None) or of two, similar ones together.

    One set has a dendrogram beside it and a border around each cluster.

    distances, exact    shape (all, all), where `all` are the datasets drawn, those of `other` last
    """
    one_set, count = other is None, len(side.rows)
    columns = count if one_set else len(other.rows)
    cell, left = cell_size(count, columns), TREE_WIDTH if one_set else 0
    figure, axes = figure_for(left, max(columns, 1) * cell, max(count, 1) * cell)
    tree = single_linkage(distances, exact, scale)
    order = np.arange(len(distances)) if tree is None else leaves_list(tree)
    down, across = (order, order) if one_set else (order[order < count], order[order >= count])
    here = np.ix_(down, across)
    draw_cells(axes, distances[here], exact[here], scale)
    colours = {"exact duplicate": EXACT_COLOUR}
    if one_set:
        itself = np.where(np.eye(count, dtype=bool), 1.0, np.nan)
        axes.imshow(itself, cmap=ListedColormap([ITSELF_COLOUR]), **cells(count, count))
        colours["the dataset itself"] = ITSELF_COLOUR
        frames = [] if tree is None else clusters_in_order(tree, order, threshold)
        if tree is not None:
            beside = axes_at(figure, 0, KEY_HEIGHT, 0.95 * TREE_WIDTH, count * cell)
            draw_tree(beside, tree, count, threshold, scale)
        width = 1.8 if count <= MOST_LARGE_CELLS else 1.0
        for start, size in frames:
            frame = {"fill": False, "edgecolor": BORDER_COLOUR, "linewidth": width}
            axes.add_patch(Rectangle((start, start), size, size, **frame))
        clusters = f"{pluralize(len(frames), 'cluster')} (framed)"
        title = f"{pluralize(count, 'dataset')}, {clusters}"
        if side.left_out:
            title = f"{side.counted} datasets in {clusters}; {side.left_out:,} in no cluster"
    else:
        title = f"{side.counted} datasets (down), {other.counted} of the reference (across)"
        if side.left_out or other.left_out:
            title += ": those with a match"
    missing = label_sides(axes, side, down, other, across - (0 if one_set else count), cell)
    axes.set_title(title, loc="left", fontsize=11)
    if np.isnan(distances[here]).any():
        colours[scale.unknown] = UNKNOWN_COLOUR
    add_key(figure, left, axes, threshold, colours, scale)
    if missing:
        x, below_the_key = left / figure.get_figwidth(), -0.1 / figure.get_figheight()
        figure.text(x, below_the_key, MISSING, fontsize=8, va="top")
    return png(figure)


def histograms(
    title: str,
    nearest: np.ndarray,
    exact: np.ndarray,
    title_of_bars: str,
    bars: dict[str, int],
    threshold: int,
    scale: Scale = BY_CONTENT,
) -> bytes:
    """Draw a histogram of the distances to the nearest dataset, and a bar chart of labelled counts.

    nearest, exact    shape (datasets,): distance, and whether it is an exact duplicate
    """
    figure = Figure(figsize=(11, 4.4), dpi=DOTS_PER_INCH, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[2.2, 1])
    near = nearest[~exact & ~np.isnan(nearest)]
    farthest = scale.farthest
    counts = np.bincount(np.minimum(near, farthest).astype(int), minlength=farthest + 1)
    width = farthest / 32
    exact_place, unknown_place = -2.5 * width, farthest + 3 * width
    left.bar([exact_place], [exact.sum()], width=width, color=EXACT_COLOUR, label="exact duplicate")
    start = 0
    for (end, name), colour in zip(scale.bands, scale.colours, strict=True):
        places = np.arange(start, end + 1)
        left.bar(places, counts[places], width=1, color=colour, label=name)
        start = end + 1
    unknown = np.count_nonzero(~exact & np.isnan(nearest))
    left.bar([unknown_place], [unknown], width=width, color=UNKNOWN_COLOUR, label=scale.unknown)
    left.axvline(threshold + 0.5, color=BORDER_COLOUR, linestyle="--", linewidth=1)
    left.set_xticks(
        [exact_place, *scale.ends, unknown_place],
        ["exact", *scale.end_labels, "\nnone"],
    )
    left.set_xlabel(f"Hamming distance in bits of {scale.bits} (dashed: threshold {threshold})")
    left.set_ylabel("datasets")
    left.set_title(title, loc="left", fontsize=11)
    left.margins(y=0.25)  # room for the legend
    left.legend(loc="upper right", ncols=3, framealpha=1, edgecolor="none", fontsize=9)

    drawn = right.bar(list(bars), list(bars.values()), color="#868e96")
    right.bar_label(drawn, [f"{value:,}" if value else "" for value in bars.values()], fontsize=8)
    right.set_title(title_of_bars, loc="left", fontsize=11, pad=14)
    right.tick_params(axis="x", labelrotation=45 if len(bars) > 5 else 0)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        if max((bar.get_height() for bar in axes.patches), default=0) > MOST_ON_LINEAR_SCALE:
            axes.set_yscale("symlog", linthresh=1)
        else:
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    return png(figure)


def single_linkage(
    distances: np.ndarray, exact: np.ndarray, scale: Scale = BY_CONTENT
) -> np.ndarray | None:
    """A single-linkage clustering in SciPy's format; None for fewer than two datasets.

    With single linkage, the clusters below a distance are the connected components of the pairs at
    most that far apart. Datasets that cannot be compared are beyond all distances.
    """
    if len(distances) < 2:
        return None
    # Beyond all thresholds, so that what cannot be compared is never in one cluster.
    filled = np.where(np.isnan(distances), scale.bits + 1, distances)
    filled[exact] = 0
    np.fill_diagonal(filled, 0)
    return linkage(squareform(filled, checks=False), method="single", optimal_ordering=True)


def clusters_in_order(tree: np.ndarray, order: np.ndarray, threshold: int) -> list[tuple[int, int]]:
    """The clusters of at least two datasets, as (start, size) in the order of the tree's leaves.

    A single-linkage tree that is cut at the threshold falls into connected components.
    """
    labels = fcluster(tree, threshold, criterion="distance")[order]
    starts = np.flatnonzero(np.diff(labels, prepend=-1))
    sizes = np.diff(starts, append=len(labels))
    return [
        (start, size)
        for start, size in zip(starts.tolist(), sizes.tolist(), strict=True)
        if size > 1
    ]


def cell_size(rows: int, columns: int) -> float:
    """The size of a cell in inches, large enough for a label unless there are too many rows."""
    most = max(rows, columns, 1)
    if most <= MOST_LARGE_CELLS:
        return min(0.6, max(0.16, 7 / most))
    return max(0.1, 16 / most) if most <= MOST_LABELS else 9 / most


def figure_for(left: float, width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with axes of this size, `left` from its edge and above the key; all in inches."""
    size = (max(left + width, left + KEY_WIDTH), height + KEY_HEIGHT)
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH)
    return figure, axes_at(figure, left, KEY_HEIGHT, width, height)


def axes_at(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add axes at a position in inches."""
    all_width, all_height = figure.get_size_inches()
    return figure.add_axes(
        (left / all_width, bottom / all_height, width / all_width, height / all_height)
    )


def cells(rows: int, columns: int) -> dict:
    """Arguments for imshow to draw one value per cell, with the first row at the top."""
    return {
        "extent": (0, max(columns, 1), max(rows, 1), 0),
        "aspect": "auto",
        "interpolation": "none",
    }


def draw_cells(axes: Axes, distances: np.ndarray, exact: np.ndarray, scale: Scale) -> None:
    """Colour the cells by distance, and mark exact duplicates."""
    if not distances.size:  # draw one white cell
        distances, exact = np.full((1, 1), scale.farthest), np.zeros((1, 1), dtype=bool)
    colours = {"cmap": scale.colour_map, "vmin": 0, "vmax": scale.farthest}
    axes.imshow(distances, **colours, **cells(*distances.shape))
    overlay = np.where(exact, 1.0, np.nan)
    axes.imshow(overlay, cmap=ListedColormap([EXACT_COLOUR]), **cells(*exact.shape))
    rows, columns = distances.shape
    if max(rows, columns) <= MOST_LARGE_CELLS:  # or equal neighbours would merge
        between = {"color": "white", "linewidth": 0.8, "zorder": 0.5}
        axes.hlines(range(1, rows), 0, columns, **between)
        axes.vlines(range(1, columns), 0, rows, **between)


def draw_tree(axes: Axes, tree: np.ndarray, count: int, threshold: int, scale: Scale) -> None:
    """Draw the dendrogram to the left of the cells, its leaves next to their rows."""
    dendrogram(
        tree,
        orientation="left",
        ax=axes,
        no_labels=True,
        color_threshold=0,
        above_threshold_color="#495057",
    )
    for lines in axes.collections:
        lines.set_linewidth(1.0 if count <= MOST_LARGE_CELLS else 0.5)
    axes.axvline(threshold, color=BORDER_COLOUR, linestyle="--", linewidth=0.8)
    axes.text(threshold, 0, f"threshold {threshold} ", ha="right", va="bottom", fontsize=8)
    axes.set_ylim(10 * count, 0)  # SciPy uses 10 units per leaf
    axes.set_xlim(max(scale.farthest, tree[-1, 2]) * 1.03, -scale.farthest / 128)
    axes.set_axis_off()


def label_sides(
    axes: Axes,
    side: Side,
    down: np.ndarray,
    other: Side | None,
    across: np.ndarray,
    cell: float,
) -> bool:
    """Label rows and columns with numbers from 1 and names, as long as these are legible.

    If both sides are the same, the columns have no names. Returns whether characters are missing in
    all fonts.
    """
    missing = False
    axes.tick_params(length=0)
    axes.yaxis.tick_right()
    axes.set_yticks([])
    axes.set_xticks([])
    size = min(9.0, 0.72 * cell * POINTS_PER_INCH)
    if len(down) <= MOST_LABELS:
        missing |= set_labels(axes.yaxis, labels(side, down), size)
    if len(across) <= MOST_LABELS:
        if other is None:
            numbers = [str(row + 1) for row in side.rows[across].tolist()]
            set_labels(axes.xaxis, numbers, size)
        else:
            axes.xaxis.tick_top()
            missing |= set_labels(axes.xaxis, labels(other, across), size)
        if other or len(across) > 9:
            axes.tick_params(axis="x", labelrotation=90)
    return missing


def labels(side: Side, order: np.ndarray) -> list[str]:
    return [f"{row + 1}  {shortened(side.names[row])}" for row in side.rows[order].tolist()]


def set_labels(axis: Axis, labels: list[str], size: float) -> bool:
    """Label the middles of cells; dollar signs in a name do not make it a formula.

    Returns whether characters are missing in all fonts.
    """
    fonts, missing = fonts_for("".join(labels))
    places = np.arange(len(labels)) + 0.5
    axis.set_ticks(places, labels, fontsize=size, fontfamily=fonts, parse_math=False)
    return missing


def shortened(name: str) -> str:
    """A name as a label: on one line, printable, and without its middle if it is long."""
    text = escape(name)
    if len(text) > MOST_CHARACTERS:
        half = MOST_CHARACTERS // 2
        text = f"{text[:half]}…{text[-half:]}"
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def add_key(
    figure: Figure,
    left: float,
    axes: Axes,
    threshold: int,
    colours: dict[str, str],
    scale: Scale,
) -> None:
    """Add a colour bar with the bands of distances and the threshold, and a legend."""
    key = axes_at(figure, left, 0.3, KEY_WIDTH, 0.18)
    bar = figure.colorbar(axes.images[0], cax=key, orientation="horizontal")
    bar.outline.set_visible(False)
    bar.set_ticks(scale.ends, labels=scale.end_labels)
    key.tick_params(labelsize=8, length=3)
    for start, (end, name) in zip(scale.ends, scale.bands, strict=False):
        key.text((start + end) / 2, 1.15, name, ha="center", va="bottom", fontsize=7.5)
        key.axvline(end, color="white", linewidth=1)
    if threshold <= scale.farthest:
        key.plot([threshold], [-0.25], marker="^", color=BORDER_COLOUR, clip_on=False)
    key.set_xlabel(
        f"Hamming distance in bits of {scale.bits} (▲ threshold {threshold})", fontsize=8
    )
    patches = [Patch(color=colour, label=label) for label, colour in colours.items()]
    key.legend(
        handles=patches,
        loc="center left",
        bbox_to_anchor=(1.02, 0.5),
        frameon=False,
        fontsize=8,
        handlelength=1,
        handleheight=1,
    )


def png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", bbox_inches="tight", pad_inches=0.15)
    return out.getvalue()
