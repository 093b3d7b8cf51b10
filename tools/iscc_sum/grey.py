"""Small grey pictures of planes: reduced while their rows come, their contrast stretched."""

import numpy as np

SATURATED = (0.5, 99.5)  # percentiles that become black and white


class Reduction:
    """A plane whose rows are added from the top, reduced to the means of square blocks."""

    def __init__(self, rows: int, columns: int, side: int):
        self.columns = columns
        self.block = -(-max(rows, columns) // side)
        self.starts = np.arange(0, columns, self.block)
        self.means: list[np.ndarray] = []
        self.waiting: list[np.ndarray] = []
        self.count = 0  # of rows waiting

    def add(self, pixels: np.ndarray) -> None:
        """Add the next rows: shape (rows, columns). NaN and infinity count as 0."""
        rows = np.nan_to_num(pixels.astype(np.float32), posinf=0, neginf=0)
        while len(rows):
            some = rows[: self.block - self.count]
            self.waiting.append(some.sum(axis=0, dtype=np.float64))
            self.count += len(some)
            rows = rows[len(some) :]
            if self.count == self.block:
                self.finish_block()

    def finish_block(self) -> None:
        sums = np.add.reduceat(sum(self.waiting), self.starts)
        widths = np.diff(self.starts, append=self.columns)
        self.means.append((sums / (widths * self.count)).astype(np.float32))
        self.waiting, self.count = [], 0

    def picture(self) -> np.ndarray:
        """The reduced plane, float32: shape (rows, columns)."""
        if self.count:
            self.finish_block()
        return np.array(self.means)


def stretched(picture: np.ndarray) -> np.ndarray:
    """A picture of any real type as uint8, its contrast stretched: shape (rows, columns)."""
    low, high = np.percentile(picture, SATURATED)
    grey = (picture.astype(np.float32) - low) * (255 / max(high - low, 1e-9))
    return np.clip(grey, 0, 255).astype(np.uint8)
