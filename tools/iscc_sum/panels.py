"""Where in which raw image does a figure's panel lie? Local features, one similarity, no guess.

A panel is a part of a raw plane: cut out, turned by any angle, mirrored, resized, its contrast
stretched, compressed. Panel and planes are described by SIFT features, each once. A panel lies in
a plane if many of its features have their nearest one there at a place, an angle and a size that
one similarity (mirror, turn, scale, shift) explains, and chance does not:

    If the panel is not of this plane, the nearest feature is any of the plane's. The share p of
    all pairs (feature of the panel, feature of the plane) that agree with the similarity is then
    the probability that a match agrees; it is counted, not assumed. Two of n matches make the
    similarity, in 4 variants of the panel (mirrored or not, inverted or not), so k agreeing ones
    are expected 2 n (n - 1) C(n - 2, k - 2) p^(k - 2) times by chance (a bound of the a-contrario
    kind: Moisan and Stival, 2004, https://doi.org/10.1023/B:VISI.0000013094.38752.c9).
    `Find.certainty` is minus the decimal logarithm of this number.

Features are not independent of each other (edges, several sizes of one spot), so k counts places,
not matches: cells of a grid over the panel. CERTAIN is far above the best of what cannot be right
(docs/panels.md). And letters, scale bars or a microscope's data bar, burnt into both, do agree: so
most of the panel has to look like its place (`likeness`).

Points are complex numbers, x + iy, in pixels, and a feature's angle and size are one as well
(its `arm`): a similarity is w = a * z + b, and log(a) is (log scale) + i (turn).
"""

from dataclasses import dataclass, replace
from math import lgamma, log, log10

import cv2
import numpy as np

import likeness

# Processes share the work; a library that starts threads of its own would be in their way.
cv2.setNumThreads(1)

SIDE = 1024  # pixels along the longer side when features are made; smaller planes are not enlarged
MOST_FEATURES = 1500  # of a plane
MOST_OF_PANEL = 1000
LEAST_CONTRAST = 0.01  # of a feature (SIFT's contrastThreshold)
RATIO = 0.9  # at most, of the distances of the nearest and the second-nearest descriptor
TOLERANCE = 4.0  # pixels of the plane as its features were made
MOST_TURN = np.radians(20)  # between the similarity's turn and that of a match's own angles
MOST_ZOOM = np.log(1.5)  # the same for sizes
GRID = 24  # cells along the longer side of a panel
MATCHES_PAIRED = 150  # the best matches; similarities are made of two of them
MOST_SIMILARITIES = 300
LEAST_PLACES = 5
PICTURE_SIDE = 320  # pixels, of the small pictures that are compared as well
LEAST_ALIKE = 0.6  # of the cells of a panel that show anything: those that look like their place
CERTAIN = 12.0  # decimal digits
CLEARLY = 1e-6  # probability at which one find is better than another


@dataclass
class Features:
    """Local features of a plane or panel, in its own pixels.

    points       float32, shape (n, 2): x, y
    sizes        float32, shape (n,): diameter, pixels
    angles       float32, shape (n,): radians, from x towards y
    descriptors  uint8, shape (n, 128): square roots of SIFT's values; length about 512
    width, height   pixels of the plane or panel
    pixel        pixels of the plane per pixel of the image of which the features were made
    picture      uint8, shape (rows, columns): a small picture, PICTURE_SIDE at most
    """

    points: np.ndarray
    sizes: np.ndarray
    angles: np.ndarray
    descriptors: np.ndarray
    width: int
    height: int
    pixel: float
    picture: np.ndarray


@dataclass
class Find:
    """Where a panel lies in a raw plane: raw = shift + scale * turn(mirror(panel)).

    certainty   decimal digits against chance
    inliers     number of places of the panel that agree
    scale       pixels of the plane per pixel of the panel
    angle       degrees, from x towards y; after mirroring
    mirrored    whether x was mirrored first (x -> width - 1 - x)
    inverted    whether black and white are swapped
    shift       (x, y): where the panel's, or the mirrored panel's, first pixel lies
    corners     float64, shape (4, 2): the panel's corners in pixels of the plane, from its first
                pixel to the right, down and back to the left
    distances   float32, shape (features of the panel,): distance of each descriptor from the
                nearest one that agrees with this place; infinite if there is none
    """

    certainty: float
    inliers: int
    scale: float
    angle: float
    mirrored: bool
    inverted: bool
    shift: tuple[float, float]
    corners: np.ndarray
    distances: np.ndarray


def shrunk(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture of uint8 with at most this many pixels along its longer side."""
    rows, columns = picture.shape
    factor = side / max(rows, columns)
    if factor >= 1:
        return picture
    size = max(1, round(columns * factor)), max(1, round(rows * factor))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def features(grey: np.ndarray, width: int, height: int, most: int = MOST_FEATURES) -> Features:
    """The strongest features of a plane: uint8, shape (rows, columns), perhaps reduced already.

    `width` and `height` are those of the plane.
    """
    image = shrunk(grey, SIDE)
    pixel = max(width, height) / max(image.shape)
    sift = cv2.SIFT_create(
        nfeatures=most, contrastThreshold=LEAST_CONTRAST, enable_precise_upscale=True
    )
    keypoints, descriptors = sift.detectAndCompute(image, None)
    if descriptors is None:
        descriptors = np.zeros((0, 128), np.float32)
    keypoints, descriptors = keypoints[:most], descriptors[:most]  # of equal ones there are more
    points = np.array([k.pt for k in keypoints], np.float32).reshape(-1, 2)
    root = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1))
    return Features(
        points=(points + np.float32(0.5)) * np.float32(pixel) - np.float32(0.5),
        sizes=np.array([k.size for k in keypoints], np.float32) * np.float32(pixel),
        angles=np.radians(np.array([k.angle for k in keypoints], np.float32)),
        descriptors=np.minimum(np.rint(root * 512), 255).astype(np.uint8),
        width=width,
        height=height,
        pixel=pixel,
        picture=shrunk(image, PICTURE_SIDE),
    )


def mirror(panel: Features) -> Features:
    """The features of the panel mirrored left to right."""
    # A descriptor is 4 rows of 4 cells, in the feature's own axes, of 8 directions.
    cells = panel.descriptors.reshape(-1, 4, 4, 8)[:, ::-1, :, -np.arange(8) % 8]
    return replace(
        panel,
        points=panel.points * np.float32([-1, 1]) + np.float32([panel.width - 1, 0]),
        angles=np.float32(np.pi) - panel.angles,
        descriptors=np.ascontiguousarray(cells).reshape(-1, 128),
    )


def invert(panel: Features) -> Features:
    """The features of the panel with black and white swapped: all of them point the other way."""
    cells = panel.descriptors.reshape(-1, 4, 4, 8)[:, ::-1, ::-1]
    return replace(
        panel,
        angles=panel.angles + np.float32(np.pi),
        descriptors=np.ascontiguousarray(cells).reshape(-1, 128),
    )


def match(panel: Features, raw: Features) -> Find | None:
    """Where the panel lies in the raw plane, or None if that is not certain.

    Certain means: CERTAIN digits against chance, and as many more than any other place in the
    plane, which lattices and other repeated or symmetric structures have; and it looks like it.
    """
    finds = all_candidates(panel, raw)
    if not finds:
        return None
    best = max(finds, key=lambda find: find.certainty)
    elsewhere = [find.certainty for find in finds if not same_place(find, best)]
    lead = best.certainty - max([0.0, *elsewhere])
    return best if lead >= CERTAIN and looks_like(panel, raw, best) else None


def looks_like(panel: Features, raw: Features, find: Find) -> bool:
    """Whether most of a panel looks like its place, and not only letters or a data bar."""
    a = find.scale * np.exp(1j * np.radians(find.angle))
    across, down, start = -a if find.mirrored else a, 1j * a, complex(*find.corners[0])
    placed = [
        [across.real, down.real, start.real],
        [across.imag, down.imag, start.imag],
        [0, 0, 1],
    ]
    matrix = (
        likeness.resizing((raw.height, raw.width), raw.picture.shape)
        @ placed
        @ likeness.resizing(panel.picture.shape, (panel.height, panel.width))
    )
    picture = 255 - panel.picture if find.inverted else panel.picture
    return likeness.share_alike(picture, raw.picture, matrix) >= LEAST_ALIKE


def better(one: Find, other: Find) -> bool:
    """Whether a panel clearly lies in the plane of `one` rather than in that of `other`.

    Both planes may show the same field, as frames of a time series do. Then the panel's features
    are nearer to those of its own plane: a sign test over them.
    """
    wins = int((one.distances < other.distances).sum())
    losses = int((one.distances > other.distances).sum())
    return wins > losses and -log_chance(wins + losses, wins, 0.5) > log10(1 / CLEARLY)


def all_candidates(panel: Features, raw: Features) -> list[Find]:
    """The best places of a panel in a plane, as it is, mirrored, inverted and both."""
    return [
        find
        for mirrored, turned in ((False, panel), (True, mirror(panel)))
        for inverted, figure in ((False, turned), (True, invert(turned)))
        for find in candidates(figure, raw, mirrored, inverted)
    ]


def candidates(panel: Features, raw: Features, mirrored: bool, inverted: bool) -> list[Find]:
    """The best place of a panel (mirrored and inverted already) in a plane, and the next best."""
    mine, theirs = nearest(panel.descriptors, raw.descriptors)
    z, w = points(panel), points(raw)
    arms = arm(raw)[theirs] / arm(panel)[mine]
    tolerance = TOLERANCE * raw.pixel
    cell = max(panel.width, panel.height) / GRID
    finds = []
    left = np.ones(len(mine), bool)
    for _ in range(2):
        mine, theirs, arms = mine[left], theirs[left], arms[left]
        agree = most_agreeing(z[mine], w[theirs], arms, tolerance)
        for _ in range(3):
            if agree.sum() < LEAST_PLACES:
                return finds
            a, b = fit(z[mine][agree], w[theirs][agree])
            agree = fits(z[mine], w[theirs], arms, a, b, tolerance)
        k = min(places(z[mine][agree], cell), places(w[theirs][agree], cell * abs(a) / 2))
        if k < LEAST_PLACES:
            return finds
        finds.append(make_find(panel, raw, mirrored, inverted, a, b, len(mine), k))
        left = ~agree
    return finds


def make_find(
    panel: Features,
    raw: Features,
    mirrored: bool,
    inverted: bool,
    a: complex,
    b: complex,
    n: int,
    k: int,
) -> Find:
    """The find w = a * z + b, on which k places of n matches agree."""
    z, w = points(panel), points(raw)
    i, j = np.nonzero(np.abs((a * z + b)[:, None] - w) < TOLERANCE * raw.pixel)
    alike = near(a * arm(panel)[i] / arm(raw)[j])
    i, j = i[alike], j[alike]
    chance = log10(2 * n * (n - 1)) + log_chance(n - 2, k - 2, len(i) / (len(z) * len(w)))
    distances = np.full(len(z), np.inf, np.float32)
    difference = panel.descriptors[i].astype(np.float32) - raw.descriptors[j]
    np.minimum.at(distances, i, np.linalg.norm(difference, axis=1))
    right, bottom = panel.width - 1, panel.height - 1
    corners = np.array([0, right, right + 1j * bottom, 1j * bottom])
    if mirrored:
        corners = right - corners.conj()
    corners = a * corners + b
    return Find(
        certainty=-chance,
        inliers=k,
        scale=abs(a),
        angle=float(np.degrees(np.angle(a))),
        mirrored=mirrored,
        inverted=inverted,
        shift=(float(b.real), float(b.imag)),
        corners=np.stack([corners.real, corners.imag], axis=1),
        distances=distances,
    )


def same_place(one: Find, other: Find) -> bool:
    """Whether all corners are as good as the same: a tenth of the diagonal apart."""
    diagonal = np.linalg.norm(one.corners[0] - one.corners[2])
    return np.linalg.norm(one.corners - other.corners, axis=1).max() < diagonal / 10


def nearest(mine: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matches: indices of descriptors that are each other's nearest, the clearest ones first."""
    none = np.zeros(0, np.int64)
    if len(mine) < 2 or len(theirs) < 2:
        return none, none
    # Lengths are equal but for rounding, so that the nearest has the largest product.
    product = mine.astype(np.float32) @ theirs.astype(np.float32).T
    rows = np.arange(len(mine))
    first = product.argmax(axis=1)
    top = product[rows, first]
    mutual = top == product.max(axis=0)[first]
    product[rows, first] = -np.inf
    second = product.max(axis=1)
    length = np.float32(512**2)
    ratio = (length - np.minimum(top, length)) / np.maximum(length - second, 1)
    kept = np.flatnonzero(mutual & (ratio < RATIO**2))
    kept = kept[np.argsort(ratio[kept], kind="stable")]
    return kept, first[kept]


def points(features: Features) -> np.ndarray:
    return features.points[:, 0] + 1j * features.points[:, 1]


def arm(features: Features) -> np.ndarray:
    return features.sizes * np.exp(1j * features.angles)


def most_agreeing(z: np.ndarray, w: np.ndarray, arms: np.ndarray, tolerance: float) -> np.ndarray:
    """Which matches agree with that similarity of two matches that most agree with: bool, (n,).

    z, w   complex, shape (n,): where each match lies in panel and plane
    arms   complex, shape (n,): its own scale and turn
    """
    i, j = np.triu_indices(min(len(z), MATCHES_PAIRED), 1)
    apart = np.abs(z[i] - z[j]) > 0
    i, j = i[apart], j[apart]
    a = (w[i] - w[j]) / (z[i] - z[j])
    alike = near(a / arms[i]) & near(a / arms[j])
    i, a = i[alike], a[alike]
    step = -(-len(a) // MOST_SIMILARITIES) or 1
    i, a = i[::step, None], a[::step, None]
    if not len(a):
        return np.zeros(len(z), bool)
    agree = fits(z, w, arms, a, w[i] - a * z[i], tolerance)
    return agree[agree.sum(axis=1).argmax()]


def fits(
    z: np.ndarray,
    w: np.ndarray,
    arms: np.ndarray,
    a: np.ndarray | complex,
    b: np.ndarray | complex,
    tolerance: float,
) -> np.ndarray:
    """Whether w is where a * z + b is, with the same scale and turn: bool, broadcast."""
    return (np.abs(a * z + b - w) < tolerance) & near(a / arms)


def near(ratio: np.ndarray) -> np.ndarray:
    """Whether a ratio of two similarities is nearly 1: bool."""
    with np.errstate(divide="ignore"):
        zoom = np.abs(np.log(np.abs(ratio)))
    return (zoom < MOST_ZOOM) & (np.abs(np.angle(ratio)) < MOST_TURN)


def fit(z: np.ndarray, w: np.ndarray) -> tuple[complex, complex]:
    """The a and b with the least squares of a * z + b - w."""
    dz, dw = z - z.mean(), w - w.mean()
    a = np.vdot(dz, dw) / np.vdot(dz, dz).real
    return a, w.mean() - a * z.mean()


def places(z: np.ndarray, cell: float) -> int:
    """Number of cells of a grid in which points lie."""
    return len(np.unique(np.floor(z.real / cell) + 1j * np.floor(z.imag / cell)))


def log_chance(n: int, k: int, p: float) -> float:
    """Upper bound of the decimal logarithm of the probability of k or more of n (p each)."""
    return (lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)) / log(10) + k * log10(p)
