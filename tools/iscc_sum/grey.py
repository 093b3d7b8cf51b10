"""Small grey pictures of planes: reduced while their rows come, their contrast stretched."""

import numpy as np

SATURATED = (0.5, 99.5)  # percentiles that become black and white


class Reduction:
    """A plane whose rows are added from the top, reduced to the means of square blocks.

    Rows are added one by one, so the result does not depend on how many come together.
    """

    def __init__(self, rows: int, columns: int, side: int):
        self.block = -(-max(rows, columns) // side)
        self.starts = np.arange(0, columns, self.block)
        self.widths = np.diff(self.starts, append=columns)
        self.total = np.zeros(columns)  # of the rows of the current block
        self.count = 0  # of these rows
        self.means: list[np.ndarray] = []

    def add(self, pixels: np.ndarray) -> None:
        """Add the next rows: shape (rows, columns). NaN and infinity count as 0."""
        for row in pixels:
            if row.dtype.kind == "f":
                with np.errstate(over="ignore"):  # to infinity
                    row = row.astype(np.float32)
                row = np.nan_to_num(row, posinf=0, neginf=0)
            self.total += row
            self.count += 1
            if self.count == self.block:
                self.finish_block()

    def finish_block(self) -> None:
        means = np.add.reduceat(self.total, self.starts) / (self.widths * self.count)
        self.means.append(means.astype(np.float32))
        self.total[:] = 0
        self.count = 0

    def picture(self) -> np.ndarray:
        """The reduced plane, float32: shape (rows, columns)."""
        if self.count:
            self.finish_block()
        return np.array(self.means)


def stretched(picture: np.ndarray) -> np.ndarray:
    """A picture of any real type as uint8, its contrast stretched: shape (rows, columns)."""
    low, high = np.percentile(picture, SATURATED)
    if not 0 < high - low < np.inf:
        low, high = picture.min(), picture.max()
    if not 0 < high - low < np.inf:
        return np.zeros(picture.shape, np.uint8)
    grey = (picture.astype(np.float32) - low) * (255 / (high - low))
    return np.clip(grey, 0, 255).astype(np.uint8)
