"""Draw a lineage (PNG): results at the bottom, and above them what they were made from.

A node is what one step made, however many datasets. Similar nodes are merged until the graph fits a
page: first steps that did the same for the same result, then chains of steps, then nodes the same
number of steps back; the remaining nodes farthest from the results are only counted. igraph orders
the nodes within a layer (Sugiyama's method, which reduces crossings).
"""

import io
import json
import textwrap
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise, takewhile
from typing import NamedTuple

import igraph
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Patch, Rectangle
from matplotlib.path import Path

from fonts import MISSING, fonts_for
from lineage import Gap, Lineage, Wanted
from messages import pluralize

# The largest graph that is legible on a page.
MOST_NODES, MOST_ACROSS, MOST_LAYERS = 24, 5, 10
MOST_NAMES = 3
LETTERS = 34  # per line of text in a node
MOST_LINES = 6
SHORTEST_ROW = 3  # the shortest chain of steps to be merged

FILE, NO_MATCH, RESULT, STEP = "file", "no match", "result", "step"
SOURCE, GAP, MORE = "source", "gap", "more"
# Label, colour and frame; text and frame make nodes distinguishable without colour.
LOOKS = {
    FILE: ("file that was found", "#d0bfff", "solid"),
    NO_MATCH: ("file without a match", "#ffffff", "dashed"),
    RESULT: ("result", "#a5d8ff", "solid"),
    STEP: ("made on the way", "#f1f3f5", "solid"),
    SOURCE: ("source: the trail begins here", "#ffd8a8", "solid"),
    GAP: ("not exported", "#ffc9c9", "dashed"),
    MORE: ("several steps, folded", "#ffffff", "dotted"),
}
COUNTED = {FILE: "file", NO_MATCH: "file", GAP: "dataset"}
FRAME_COLOUR, HOW_COLOUR = "#868e96", "#343a40"
FONT_SIZE = 10
ARROW = {"arrowstyle": "-|>", "mutation_scale": 11, "color": "#495057", "shrinkA": 0, "shrinkB": 0}
TEXT = {"ha": "center", "fontsize": FONT_SIZE, "parse_math": False, "zorder": 3, "clip_on": True}

# Inches.
NODE_WIDTH, NODE_HEIGHT, BETWEEN, MARGIN = 2.4, 1.0, 0.35, 0.03
KEY_WIDTH, KEY_HEIGHT = 6.8, 0.6
LINE_HEIGHT = 0.155  # of text in a node
DOTS_PER_INCH = 120


@dataclass
class Node:
    """What one step made, or several.

    how      how it was made, in words
    tools    the tools that made it
    names    of the datasets, and their places in the trail
    count    number of steps
    into     the nodes made from it
    """

    kind: str
    how: str
    tools: tuple[str, ...] = ()
    names: dict[str, int] = field(default_factory=dict)
    count: int = 1
    into: set[Hashable] = field(default_factory=set)

    def title(self) -> str:
        """Its label: its names, or for a collection what these have in common."""
        names = [name.split("/") for name in sorted(self.names, key=self.names.get)]
        [*above] = takewhile(lambda parts: len(set(parts)) == 1, zip(*names, strict=False))
        if len(names) < 2 or not above:
            return wrapped(listed("/".join(name) for name in names), 3)
        collection = "/".join(part for part, *_ in above)
        inside = listed("/".join(name[len(above) :]) for name in names)
        return wrapped(collection, 2) + "\n" + wrapped(inside, 2)


def listed(names: Iterable[str]) -> str:
    """A few names, and the number of others."""
    names = list(names)
    some = ", ".join(names[:MOST_NAMES])
    return some if len(names) <= MOST_NAMES else f"{names[0]} and {len(names) - 1:,} more"


def wrapped(text: str, most: int) -> str:
    """Wrap a text into at most this many lines of a node."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return "\n".join(textwrap.wrap(printable, LETTERS, max_lines=most, placeholder=" ..."))


def draw(lineage: Lineage, wanted: Sequence[Wanted]) -> bytes:
    """Draw wanted datasets and all that they were made from, as a PNG."""
    nodes = folded(collect(lineage, wanted))
    drawn = plan(nodes)
    width = max(drawn.width * (NODE_WIDTH + BETWEEN), KEY_WIDTH)
    height = drawn.height * (NODE_HEIGHT + BETWEEN) + KEY_HEIGHT
    figure = Figure((width, height), dpi=DOTS_PER_INCH)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.axis("off")

    def place(point: Sequence[float]) -> tuple[float, float]:
        """The position in inches from the left and from the top."""
        x, y = point
        x = width / 2 + (x - drawn.left + 0.5 - drawn.width / 2) * (NODE_WIDTH + BETWEEN)
        return x, KEY_HEIGHT + (y + 0.5) * (NODE_HEIGHT + BETWEEN)

    kinds = [node.kind for node in nodes.values()]
    fonts, missing = fonts_for("".join(node.title() + node.how for node in nodes.values()))
    for (start, end), bends in zip(drawn.edges, drawn.bends, strict=True):
        (x, y), (to_x, to_y) = place(drawn.places[start]), place(drawn.places[end])
        half = NODE_HEIGHT / 2 if to_y > y else -NODE_HEIGHT / 2
        bent = map(place, bends)
        around = [(across, down + way) for across, down in bent for way in (-half, half)]
        points = [(x, y + half), *around, (to_x, to_y - half)]
        line = "dashed" if kinds[end] == FILE else "solid"  # a match, not a step
        axes.add_patch(FancyArrowPatch(path=Path(points), linestyle=line, **ARROW))
    for node, point in zip(nodes.values(), drawn.places, strict=True):
        x, y = place(point)
        corner = (x - NODE_WIDTH / 2, y - NODE_HEIGHT / 2)
        box = Rectangle(corner, NODE_WIDTH, NODE_HEIGHT, zorder=2, **look(node.kind))
        axes.add_patch(box)
        title = node.title()
        above = len(title.splitlines())
        how = wrapped(node.how, MOST_LINES - above)
        y += (above - len(how.splitlines())) * LINE_HEIGHT / 2  # centres both
        bold = axes.text(x, y - MARGIN, title, va="bottom", weight="bold", family=fonts, **TEXT)
        plain = axes.text(x, y, how, va="top", color=HOW_COLOUR, family=fonts, **TEXT)
        for text in (bold, plain):
            needed = text.get_window_extent().width / DOTS_PER_INCH
            text.set_fontsize(FONT_SIZE * min(1, (NODE_WIDTH - 2 * MARGIN) / max(needed, MARGIN)))
            text.set_clip_path(box)
    if not nodes:
        axes.text(width / 2, height / 2, "no dataset was made from another one", **TEXT)
    patches = [Patch(label=LOOKS[kind][0], **look(kind)) for kind in LOOKS if kind in kinds]
    if missing:
        patches.append(Patch(label=MISSING, visible=False))
    figure.legend(handles=patches, loc="upper left", ncols=3, frameon=False, fontsize=FONT_SIZE)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def look(kind: str) -> dict[str, str]:
    """The matplotlib style of a kind of node."""
    _, colour, frame = LOOKS[kind]
    return {"facecolor": colour, "edgecolor": FRAME_COLOUR, "linestyle": frame}


def collect(lineage: Lineage, wanted: Sequence[Wanted]) -> dict[Hashable, Node]:
    """The nodes of wanted datasets and of all that went into them, by step."""
    nodes: dict[Hashable, Node] = {}
    results = {each.line for each in wanted if not each.relation}
    for each in wanted:
        if each.relation:
            apart = each.distance not in (None, "", "0")
            how = f"{each.relation}, distance {each.distance}" if apart else each.relation
            kind = NO_MATCH if each.line is None else FILE
            node = nodes.setdefault((FILE, each.name), Node(kind, how, (each.relation,)))
            node.names[each.name] = len(nodes)
    waiting: list[int | Gap] = []
    key_of: dict[int | Gap, Hashable] = {}

    def add(node: int | Gap) -> Hashable:
        """The key of a node, which is added if missing."""
        if node not in key_of:
            key_of[node] = put(node)
            waiting.append(node)
        return key_of[node]

    def put(node: int | Gap) -> Hashable:
        """Put a line, or a missing dataset, into the node of its step; return its key."""
        if isinstance(node, Gap):
            nodes[node] = Node(GAP, "not exported", (), {node.name: 0})
            return node
        line = lineage.lines[node]
        kind = RESULT if node in results else STEP if lineage.made_of(node) else SOURCE
        key = (line.step, kind, line.tool, line.is_copy or line.is_of_pixels)
        if not line.step:
            key = (node, kind)
        declared = "" if line.recorded_by else " (declared)"
        made_by = f"{short(line.tool)} {line.version}".strip() + declared
        how = ": ".join(filter(None, (made_by, parameters(line.parameters))))
        how = "decoded pixels" if line.is_of_pixels else how
        tools = tuple(filter(None, [short(line.tool)]))
        nodes.setdefault(key, Node(kind, how, tools)).names[line.entry.name] = node
        return key

    for each in wanted:
        if each.line is not None:
            key = add(each.line)
            if each.relation:
                nodes[key].into.add((FILE, each.name))
    while waiting:
        node = waiting.pop()
        for source in lineage.made_of(node):
            nodes[add(source)].into |= {key_of[node]} - {key_of[source]}
    return nodes


def short(tool: str) -> str:
    """The id of a tool without its Tool Shed."""
    parts = tool.split("/")
    return parts[-2] if len(parts) > 2 else tool


def parameters(text: str) -> str:
    """Readable parameters: radius = 3, mode.kind = a. Other text is unchanged."""
    try:
        values = json.loads(text or "{}")
        return ", ".join(flat(values)) if isinstance(values, dict) else text
    except (ValueError, RecursionError):
        return text


def flat(values: dict, above: str = "") -> Iterable[str]:
    """Each parameter with its value; the name of a section precedes those in it."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name} = {value}"


class Plan(NamedTuple):
    """The layout of a graph: edges, by node number, and positions in units of a node.

    `places` are the positions of nodes, from the left and from the top, `bends` those of edges.
    """

    edges: list[tuple[int, int]]
    places: list[tuple[float, float]]
    bends: list[list[tuple[float, float]]]
    left: float
    width: float
    height: float


def plan(nodes: dict[Hashable, Node]) -> Plan:
    """Lay out a graph. An edge over several layers has a bend in each layer between."""
    number = {key: each for each, key in enumerate(nodes)}
    edges = sorted((number[key], number[to]) for key, node in nodes.items() for to in node.into)
    steps = steps_back(nodes)
    top = max(steps.values(), default=0)
    layers = [top - steps[key] for key in nodes]
    parts, bends = [], []
    for start, end in edges:
        way = 1 if layers[end] > layers[start] else -1
        between = range(layers[start] + way, layers[end], way)
        inner = range(len(layers), len(layers) + len(between))
        layers += between
        bends.append(inner)
        parts += pairwise([start, *inner, end])
    graph = igraph.Graph(len(layers), parts, directed=True)
    places = graph.layout_sugiyama(layers=layers).coords if layers else []
    spread(places)
    left = min((x for x, _ in places), default=0)
    return Plan(
        edges,
        places[: len(nodes)],
        [[places[each] for each in inner] for inner in bends],
        left,
        max((x for x, _ in places), default=0) - left + 1,
        max(layers, default=0) + 1,
    )


def spread(places: list[list[float]]) -> None:
    """Move places to the right until they are 1 apart in each layer; igraph does not ensure it."""
    end: dict[float, float] = {}
    for place in sorted(places):
        x, y = place
        place[0] = max(x, end.get(y, x))
        end[y] = place[0] + 1


def fits(nodes: dict[Hashable, Node]) -> bool:
    """Whether a graph is small enough for a page."""
    if len(nodes) > MOST_NODES:
        return False
    drawn = plan(nodes)
    return drawn.width <= MOST_ACROSS and drawn.height <= MOST_LAYERS


def folded(nodes: dict[Hashable, Node]) -> dict[Hashable, Node]:
    """Merge nodes until the graph fits a page."""
    for fold in (fold_alike, fold_rows, fold_layers, fold_rows):
        if not fits(nodes):
            nodes = fold(nodes)
    for nearest in range(MOST_LAYERS - 1, 0, -1):
        if not fits(nodes):
            nodes = fold_farthest(nodes, nearest)
    return nodes


def sources_of(nodes: dict[Hashable, Node]) -> dict[Hashable, list[Hashable]]:
    """The nodes that each node was made from."""
    made_of = defaultdict(list)
    for key, node in nodes.items():
        for each in node.into:
            made_of[each].append(key)
    return made_of


def steps_back(nodes: dict[Hashable, Node]) -> dict[Hashable, int]:
    """The number of steps from each node to a result, on the longest path.

    In and beyond cycles, each node is one step behind all nodes that come before it.
    """
    made_of = sources_of(nodes)
    left = {key: len(node.into) for key, node in nodes.items()}
    steps = {key: 0 for key in nodes if not left[key]}
    for key in (waiting := list(steps)):
        for each in made_of[key]:
            left[each] -= 1
            if not left[each]:
                steps[each] = steps[key] + 1
                waiting.append(each)
    beyond = count(max(steps.values(), default=-1) + 1)
    return {key: steps[key] if key in steps else next(beyond) for key in nodes}


def merged(nodes: dict[Hashable, Node], into: dict[Hashable, Hashable]) -> dict[Hashable, Node]:
    """The nodes, with some of them merged into others."""
    result: dict[Hashable, Node] = {}
    for key, node in nodes.items():
        to = into.get(key, key)
        if to not in result:
            result[to] = Node(node.kind, node.how, count=0)
        # Nodes that come later in `nodes` were mostly made earlier.
        result[to].tools = tuple(dict.fromkeys(node.tools + result[to].tools))
        result[to].names |= node.names
        result[to].count += node.count
        result[to].into |= {into.get(each, each) for each in node.into} - {to}
    return result


def fold_alike(nodes: dict[Hashable, Node]) -> dict[Hashable, Node]:
    """Merge nodes made in the same way for the same nodes, beginning with the results."""
    steps = steps_back(nodes)
    first: dict[Hashable, Hashable] = {}
    into: dict[Hashable, Hashable] = {}
    for key in sorted(nodes, key=steps.get):
        node = nodes[key]
        made = frozenset(into.get(each, each) for each in node.into)
        into[key] = first.setdefault((node.kind, node.how, made), key)
    return merged(nodes, into)


def fold_rows(nodes: dict[Hashable, Node]) -> dict[Hashable, Node]:
    """Merge chains of steps, each made only from the one before, and only for the next."""
    made_of = sources_of(nodes)

    def inner(key: Hashable) -> bool:
        node = nodes[key]
        return node.kind == STEP and len(node.into) == 1 and len(made_of[key]) == 1

    into: dict[Hashable, Hashable] = {}
    for start in nodes:
        if not inner(start) or inner(*made_of[start]):
            continue
        row = [start]
        while inner(following := next(iter(nodes[row[-1]].into))) and following != start:
            row.append(following)
        if len(row) >= SHORTEST_ROW:
            into |= dict.fromkeys(row, start)
    return summed_up(nodes, into)


def fold_layers(nodes: dict[Hashable, Node]) -> dict[Hashable, Node]:
    """Merge nodes of one kind that are as many steps back; edges to the next layer remain."""
    steps = steps_back(nodes)
    first: dict[Hashable, Hashable] = {}
    into = {key: first.setdefault((node.kind, steps[key]), key) for key, node in nodes.items()}
    for key, node in nodes.items():
        node.into = {each for each in node.into if steps[each] == steps[key] - 1} or node.into
    return summed_up(nodes, into)


def fold_farthest(nodes: dict[Hashable, Node], nearest: int) -> dict[Hashable, Node]:
    """Keep nodes close to the results, and count the others in a single node."""
    steps = steps_back(nodes)
    farthest = [key for key in nodes if steps[key] >= nearest]
    return summed_up(nodes, dict.fromkeys(farthest, MORE))


def summed_up(nodes: dict[Hashable, Node], into: dict[Hashable, Hashable]) -> dict[Hashable, Node]:
    """The nodes, with some merged into others that only contain their number and tools."""
    kinds = defaultdict(list)
    for key, to in into.items():
        kinds[to].append(nodes[key].kind)
    result = merged(nodes, into)
    for key, inside in kinds.items():
        node = result[key]
        if len(inside) > 1:
            are_mixed = set(inside) != {inside[0]}
            noun = "step" if are_mixed else COUNTED.get(node.kind, "step")
            tools = ", ".join(node.tools)
            node.how = pluralize(node.count, noun) + (f": {tools}" if tools else "")
            if are_mixed or inside[0] == STEP:
                node.kind, node.names = MORE, {}
    return result
