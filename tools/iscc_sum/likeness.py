"""Whether a panel looks like the part of a plane in which its features lie, cell by cell.

Features may agree where all else differs: letters, scale bars and data bars are the same in all
images of one microscope. So small pictures of panel and plane are compared as well. In most cells
of a grid over the panel, grey values have to rise and fall together.

Matrices, float64, shape (3, 3), map (x, y, 1) of one picture to that of another, in pixels.
"""

from functools import partial

import cv2
import numpy as np

CELLS = 8  # along the longer side of a panel
LEAST_CELL = 6  # pixels along the side of a cell
EDGE = 25  # one part of so many at each edge does not count: a panel may have a frame
SMOOTHING = 1.0  # pixels; compression changes noise, but not what is larger
FLAT = 1.0  # of 255, standard deviation of a cell in which there is nothing to see
LEAST_CORRELATION = 0.7  # of the grey values in a cell that looks alike


def share_alike(panel: np.ndarray, plane: np.ndarray, matrix: np.ndarray) -> float:
    """The share of cells that look alike, of those in which the panel or the plane shows anything.

    Both are uint8, with at most some hundred rows and columns. `matrix` leads from the panel to its
    place in the plane. Returns 0 if there is nothing to see, or the place is too small to compare.
    """
    scale = np.sqrt(abs(np.linalg.det(matrix)))  # pixels of the plane per pixel of the panel
    small, there = reduced(panel, scale), reduced(plane, 1 / scale)
    if min(small.shape) < LEAST_CELL:
        return 0.0
    matrix = resizing(plane.shape, there.shape) @ matrix @ resizing(small.shape, panel.shape)
    part = cv2.warpAffine(
        there,
        matrix[:2],
        small.shape[::-1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    inner = tuple(slice(side // EDGE, side - side // EDGE) for side in small.shape)
    smooth = partial(cv2.GaussianBlur, ksize=(0, 0), sigmaX=SMOOTHING)
    one, other = (smooth(each.astype(np.float64))[inner] for each in (small, part))
    return share_correlated(one, other)


def share_correlated(one: np.ndarray, other: np.ndarray) -> float:
    """As `share_alike`, for pictures of the same shape, float64."""
    cell = max(max(one.shape) / CELLS, LEAST_CELL)
    rows, columns = (max(round(side / cell), 1) for side in one.shape)
    mean = partial(cv2.resize, dsize=(columns, rows), interpolation=cv2.INTER_AREA)
    spread, other_spread = (
        np.sqrt(np.maximum(mean(each**2) - mean(each) ** 2, 0)) for each in (one, other)
    )
    together = mean(one * other) - mean(one) * mean(other)
    correlation = together / np.maximum(spread * other_spread, 1)
    visible = np.maximum(spread, other_spread) > FLAT
    return float((correlation[visible] > LEAST_CORRELATION).mean()) if visible.any() else 0.0


def reduced(picture: np.ndarray, factor: float) -> np.ndarray:
    """A picture with this factor times as many pixels along its sides; never enlarged."""
    rows, columns = (max(round(side * min(factor, 1)), 1) for side in picture.shape)
    return cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_AREA)


def resizing(shape: tuple[int, int], other: tuple[int, int]) -> np.ndarray:
    """The matrix from a picture to the same in another shape. The first pixel begins at -0.5."""
    factors = np.divide(other, shape)[::-1]
    matrix = np.diag([*factors, 1.0])
    matrix[:2, 2] = (factors - 1) / 2
    return matrix
