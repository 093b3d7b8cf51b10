"""All pairs of hashes within a Hamming distance: arrays in, arrays out.

A hash is a row of unsigned 64-bit words. Every pair is compared, in blocks that keep memory
bounded: time grows with the product of the numbers of hashes.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

# Rows of one block times all columns: 4 million comparisons hold about 100 MB of temporaries.
COMPARISONS_AT_ONCE = 4_000_000


class Pairs(NamedTuple):
    """Pairs of hashes: indices into the two sets, and distances, each of shape (pairs,)."""

    a: np.ndarray
    b: np.ndarray
    distance: np.ndarray


def pairs_within(hashes: np.ndarray, threshold: int) -> Pairs:
    """Every pair i < j of one set at a Hamming distance of at most `threshold`, each once.

    hashes      uint64, shape (n, words)
    threshold   bits, 0 to 64 * words
    """
    blocks = []
    for start, stop in row_blocks(len(hashes), len(hashes)):
        rest = hashes[start:]
        block = distances(hashes[start:stop], rest)
        row, column = np.nonzero(block <= threshold)
        upper = row < column
        row, column = row[upper], column[upper]
        blocks.append(Pairs(row + start, column + start, block[row, column]))
    return joined(blocks)


def pairs_between(hashes_a: np.ndarray, hashes_b: np.ndarray, threshold: int) -> Pairs:
    """Every pair of a hash of one set and a hash of the other within `threshold`.

    hashes_a    uint64, shape (n, words)
    hashes_b    uint64, shape (m, words)
    threshold   bits, 0 to 64 * words
    """
    blocks = []
    for start, stop in row_blocks(len(hashes_a), len(hashes_b)):
        block = distances(hashes_a[start:stop], hashes_b)
        row, column = np.nonzero(block <= threshold)
        blocks.append(Pairs(row + start, column, block[row, column]))
    return joined(blocks)


def distances(hashes_a: np.ndarray, hashes_b: np.ndarray) -> np.ndarray:
    """Hamming distances of all pairs: (n, words) and (m, words) of uint64 to (n, m) of uint16."""
    total = np.zeros((len(hashes_a), len(hashes_b)), dtype=np.uint16)
    for word in range(hashes_a.shape[1]):
        total += np.bitwise_count(hashes_a[:, None, word] ^ hashes_b[None, :, word])
    return total


def row_blocks(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """Cut rows into blocks of at most COMPARISONS_AT_ONCE comparisons with all columns."""
    step = max(1, COMPARISONS_AT_ONCE // max(1, columns))
    for start in range(0, rows, step):
        yield start, min(start + step, rows)


def joined(blocks: list[Pairs]) -> Pairs:
    """Pairs of many blocks as one."""
    if not blocks:
        none = np.zeros(0, dtype=np.intp)
        return Pairs(none, none, np.zeros(0, dtype=np.uint16))
    return Pairs(*(np.concatenate(arrays) for arrays in zip(*blocks, strict=True)))
