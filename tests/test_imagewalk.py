"""The stream of pixels is the same in whatever regions an image is read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import imagewalk
import reader
from containers import stream_of
from exploring import examples
from images import ArrayImage, Sizes


class Chunked(ArrayImage):
    """An array that claims to be decoded in chunks, and records which regions are read."""

    def __init__(self, array: np.ndarray, chunk: Sizes):
        super().__init__(array)
        self.chunk, self.regions = chunk, []

    def read(self, region):
        self.regions.append(region)
        return super().read(region)


@examples(200)
@given(
    st.tuples(*[st.integers(1, 4)] * 3, st.integers(1, 9), st.integers(1, 5)),
    st.tuples(*[st.integers(1, 5)] * 3, st.integers(1, 12)),
    st.sampled_from(["<u1", "<u2", ">u2", "<f4", ">f8", "?"]),
    st.integers(1, 400),
    st.integers(1, 400),
)
def test_the_stream_is_the_same_in_whatever_regions(shape, chunk, dtype, band, slab):
    array = (np.arange(np.prod(shape)).reshape(shape) % 251).astype(dtype)
    sizes = Sizes(*map(min, zip((*chunk, 5), shape, strict=True)))
    image = Chunked(array, sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imagewalk, "BAND_BYTES", band)
        patch.setattr(imagewalk, "SLAB_BYTES", slab)
        patch.setattr(imagewalk, "PIECE_BYTES", max(1, band // 3))
        pieces = [reader.as_stored(rows).tobytes() for rows in imagewalk.walk(image)]
        assert b"".join(pieces) == stream_of(array)
        assert max(map(len, pieces)) <= imagewalk.piece_bytes(image)
    row = array[0, 0, 0, 0].nbytes
    for region in image.regions:
        count = np.prod([len(part) for part in region]) * row
        assert count <= max(slab, band, sizes.y * row)
        assert count <= imagewalk.region_bytes(image)
        if sizes[:3] == (1, 1, 1):  # no planes are decoded together, so none are read together
            assert [len(part) for part in region[:3]] == [1, 1, 1]
