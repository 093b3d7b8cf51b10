"""The Image-Code of ISO 24138: a hash of what an image looks like, not of its pixels.

The standard hashes a grey image of 32 by 32 pixels. Here, this is made from a plane of any type
and size: the mean of each of 32 by 32 equal areas, scaled to 0 to 255. Borders are not trimmed,
since they are part of a microscope's image. Sums are exact or in a fixed order, so codes depend
neither on how an image was read nor on the machine.
"""

import math

import numpy as np

import codes

SIDE = 32
BLOCK = 8
# An image has no features if any of the four blocks has fewer bits set than this.
LEAST_ONES = 8
HEADER = b"\x21\x07"  # Content-Code, Image, version 0, 256 bits
# Sums of integers of up to this many bits are exact.
EXACT_BITS = 32


class Areas:
    """The means of 32 by 32 areas of a plane, whose rows are added from the top.

    Columns are only added up once per line of areas, as a plane may have millions of them.
    """

    def __init__(self, rows: int, columns: int):
        self.rows, self.columns, self.next = rows, columns, 0
        # The limits of areas: after this many columns, and this many 1/32 parts of the next.
        self.whole, self.part = np.divmod(np.arange(SIDE + 1) * columns, SIDE)
        self.areas = np.zeros((SIDE, SIDE))  # sums
        self.sums: np.ndarray | None = None  # of columns, in the current line of areas

    def add(self, pixels: np.ndarray) -> None:
        """Add the next rows: shape (rows, columns). NaN and infinity count as 0.

        A row counts for an area by the part of it inside, in integer parts of 1/32.
        """
        exact = pixels.dtype.kind in "bui" and pixels.dtype.itemsize * 8 <= EXACT_BITS
        if not exact:
            pixels = np.nan_to_num(pixels.astype(np.float64), posinf=0, neginf=0)
        stop = self.next + len(pixels)
        for area in range(self.next * SIDE // self.rows, -(-stop * SIDE // self.rows)):
            top, bottom = area * self.rows, (area + 1) * self.rows  # in parts of 1/32
            first, last = max(self.next, top // SIDE), min(stop, -(-bottom // SIDE))
            whole = range(max(first, -(-top // SIDE)), min(last, bottom // SIDE))
            edges = [row for row in range(first, last) if row not in whole]
            sums = np.zeros(self.columns) if self.sums is None else self.sums
            if exact and whole:
                part = pixels[whole.start - self.next : whole.stop - self.next]
                sums += SIDE * part.sum(axis=0, dtype=np.float64)
            for row in edges if exact else range(first, last):
                weight = min(bottom, (row + 1) * SIDE) - max(top, row * SIDE)
                sums += weight * pixels[row - self.next].astype(np.float64)
            is_done = bottom <= stop * SIDE
            if is_done:
                self.areas[area] = self.across(sums)
            self.sums = None if is_done else sums
        self.next = stop

    def across(self, sums: np.ndarray) -> np.ndarray:
        """The sums of a line of areas, from the sums of its columns."""
        totals, beyond = (np.zeros(self.columns + 1) for _ in range(2))
        np.cumsum(sums, out=totals[1:])
        beyond[:-1] = sums
        return np.diff(SIDE * totals[self.whole] + self.part * beyond[self.whole])

    def means(self) -> np.ndarray:
        """The means, scaled to 0 to 255: shape (32, 32); all 0 if they are equal."""
        low, high = self.areas.min(), self.areas.max()
        if not (math.isfinite(low) and math.isfinite(high) and high > low):
            return np.zeros((SIDE, SIDE))
        return (self.areas - low) / (high - low) * 255


def picture_of(channels: list[Areas]) -> np.ndarray:
    """The mean of the channels of an image, each scaled: integers, shape (32, 32)."""
    total = np.zeros((SIDE, SIDE))
    for each in channels:
        total += each.means()
    return np.rint(total / len(channels)).astype(np.uint8)


def turned(picture: np.ndarray) -> list[np.ndarray]:
    """An image in 8 orientations, each as it is and inverted, the upright one first."""
    return [
        variant
        for mirrored in (picture, picture[:, ::-1])
        for upright in (np.rot90(mirrored, quarters) for quarters in range(4))
        for variant in (upright, 255 - upright)
    ]


def image_codes(pictures: list[np.ndarray]) -> list[str | None]:
    """The Image-Codes of grey images of shape (32, 32), 256 bits each; None without features.

    Bit for bit as `gen_image_code_v0` of ISO 24138's reference implementation.
    """
    rows = np.array(pictures, dtype=np.float64).reshape(-1, SIDE)
    columns = cosine_transform(rows).reshape(-1, SIDE, SIDE).transpose(0, 2, 1).reshape(-1, SIDE)
    frequencies = cosine_transform(columns).reshape(-1, SIDE, SIDE).transpose(0, 2, 1)
    corners = ((0, 0), (0, BLOCK), (BLOCK, 0), (BLOCK, BLOCK))
    blocks = [
        frequencies[:, y : y + BLOCK, x : x + BLOCK].reshape(-1, BLOCK**2) for y, x in corners
    ]
    values = np.stack(blocks, axis=1)  # four blocks per image
    ordered = np.sort(values, axis=2)
    medians = (ordered[:, :, BLOCK**2 // 2 - 1] + ordered[:, :, BLOCK**2 // 2]) / 2
    bits = values > medians[:, :, None]
    has_features = (bits.sum(axis=2) >= LEAST_ONES).all(axis=1)
    digests = np.packbits(bits.reshape(len(pictures), -1), axis=1)
    return [
        codes.PREFIX + codes.encode(HEADER + digest.tobytes()) if clear else None
        for digest, clear in zip(digests, has_features, strict=True)
    ]


def cosine_transform(rows: np.ndarray) -> np.ndarray:
    """The discrete cosine transform (DCT-II, unscaled) of each row: shape (rows, 2^n).

    By B. G. Lee's recursion ("A new algorithm to compute the discrete cosine transform", 1984), as
    in the standard's reference implementation: another order of summation would change some bits.
    """
    length = rows.shape[1]
    if length == 1:
        return rows
    half = length // 2
    head, tail = rows[:, :half], rows[:, : half - 1 : -1]
    cosines = [math.cos((i + 0.5) * math.pi / length) * 2.0 for i in range(half)]
    even = cosine_transform(head + tail)
    odd = cosine_transform((head - tail) / np.array(cosines))
    found = np.empty_like(rows)
    found[:, 0::2] = even
    found[:, 1:-1:2] = odd[:, :-1] + odd[:, 1:]
    found[:, -1] = odd[:, -1]
    return found
