"""PNG, JPEG, BMP, JPEG 2000 and WebP: one picture a file, which is decoded at once.

libpng, libjpeg-turbo, OpenJPEG and libwebp decode (through imagecodecs). What they would not notice
is looked at here: a JPEG that is cut off, which libjpeg fills up with grey; a second picture.
"""

import struct
from collections.abc import Callable, Iterator

import imagecodecs
import numpy as np

from images import ArrayImage, UnreadableError, check_at_once, check_type

# Grey levels of 1, 2 and 4 bits come out of libpng stretched to 8.
GREY = 0
JPEG_END, JPEG_SCAN = 0xD9, 0xDA
JPEG_SIZES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
JPEG_WITHOUT_LENGTH = {0x00, 0x01, *range(0xD0, 0xD9)}


def read_picture(kind: str, data: bytes) -> ArrayImage:
    """Decode a file of one of DECODERS. Raises UnreadableError, or what the library raises."""
    picture = DECODERS[kind](data)
    if picture.ndim == 2:
        picture = picture[..., np.newaxis]
    if picture.ndim != 3:
        raise UnreadableError(f"expected one picture, found an array of shape {picture.shape}")
    check_type(picture.dtype)
    return ArrayImage(picture.transpose(2, 0, 1)[np.newaxis, :, np.newaxis])


def decode_png(data: bytes) -> np.ndarray:
    """A palette is decoded to RGB, transparency is one more channel; grey levels are as written."""
    chunks = dict(png_chunks(data))
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    if b"acTL" in chunks:
        raise UnreadableError("expected one picture, found an animation")
    check_at_once(width * height * 4 * max(1, depth // 8))
    picture = imagecodecs.png_decode(data)
    if colour == GREY and depth < 8:
        picture = picture // np.uint8(255 // (2**depth - 1))
    return picture


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG, to the last one. Raises UnreadableError if that is not there."""
    place = 8
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        content = data[place + 8 : place + 8 + min(length, 32)]
        place += length + 12
        if place <= len(data):
            yield kind, content
        if kind == b"IEND" and place <= len(data):
            return
    raise UnreadableError("expected a whole PNG, found one that is cut off")


def decode_jpeg(data: bytes) -> np.ndarray:
    for kind, content in jpeg_segments(data):
        if kind in JPEG_SIZES:
            bits, height, width, samples = struct.unpack(">BHHB", content[:6])
            check_at_once(height * width * samples * -(-bits // 8))
    return imagecodecs.jpeg_decode(data)


def jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Markers of a JPEG and what follows. Raises UnreadableError if the end is not there."""
    place = 2
    while (place := data.find(b"\xff", place)) >= 0 and place + 1 < len(data):
        marker = data[place + 1]
        if marker == JPEG_END:
            return
        place += 1 if marker == 0xFF else 2
        if marker in JPEG_WITHOUT_LENGTH or marker == 0xFF:
            continue
        length = int.from_bytes(data[place : place + 2])
        yield marker, data[place + 2 : place + 2 + min(length, 32)]
        place += length
    raise UnreadableError("expected a whole JPEG, found one that is cut off")


def decode_bmp(data: bytes) -> np.ndarray:
    width, height, _, bits = struct.unpack_from("<iiHH", data, 18)
    check_at_once(abs(width) * abs(height) * max(3, bits // 8))
    return imagecodecs.bmp_decode(data)


def decode_jpeg2000(data: bytes) -> np.ndarray:
    start = data.index(b"\xff\x4f\xff\x51")
    right, bottom, left, top = struct.unpack_from(">IIII", data, start + 8)
    (samples,) = struct.unpack_from(">H", data, start + 40)
    check_at_once(max(0, right - left) * max(0, bottom - top) * samples * 2)
    if b"\xff\xd9" not in data[-2:]:
        raise UnreadableError("expected a whole JPEG 2000, found one that is cut off")
    return imagecodecs.jpeg2k_decode(data)


def decode_webp(data: bytes) -> np.ndarray:
    if data[8:12] != b"WEBP" or len(data) < 8 + int.from_bytes(data[4:8], "little"):
        raise UnreadableError("expected a whole WebP, found another RIFF file or one that is cut")
    if b"ANIM" in data[12:64]:
        raise UnreadableError("expected one picture, found an animation")
    return imagecodecs.webp_decode(data)


DECODERS: dict[str, Callable[[bytes], np.ndarray]] = {
    "png": decode_png,
    "jpeg": decode_jpeg,
    "bmp": decode_bmp,
    "jpeg2000": decode_jpeg2000,
    "webp": decode_webp,
}
