"""Read PNG, JPEG, BMP, JPEG 2000 and WebP: one image per file, decoded at once.

libpng, libjpeg-turbo, OpenJPEG and libwebp decode (through imagecodecs). What they would not notice
is checked here: a truncated JPEG, which libjpeg completes with grey, and a second image.
"""

import struct
import zlib
from collections.abc import Callable, Iterator

import imagecodecs
import numpy as np

from images import ArrayImage, UnreadableError, check_at_once, check_type

# libpng scales grey levels of 1, 2 and 4 bits to 8 bits.
GREY = 0
JPEG_END, JPEG_SCAN = 0xD9, 0xDA
# The minimum is one bit per block of 64 pixels, some of which cover two by two times that area.
MOST_JPEG_EXPANSION = 1100
JPEG_JUNK = bytes(range(0xF0, 0x35, -1)) * 2
MOST_SCANS = 100  # each covers the whole image; encoders write about ten
JPEG_SIZES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
JPEG2000_START, JPEG2000_END, JPEG2000_TILE = b"\xff\x4f\xff\x51", b"\xff\xd9", 0xFF90
BMP_HEADERS, BMP_BITS = (40, 52, 56, 108, 124), (1, 4, 8, 24, 32)
JPEG_WITHOUT_LENGTH = {0x00, 0x01, *range(0xD0, 0xD9)}


def read_picture(kind: str, data: bytes) -> ArrayImage:
    """Decode a file of a type in DECODERS. Raises UnreadableError, or what the library raises."""
    picture = DECODERS[kind](data)
    if picture.ndim == 2:
        picture = picture[..., np.newaxis]
    if picture.ndim != 3:
        raise UnreadableError(f"expected one image, found an array of shape {picture.shape}")
    check_type(picture.dtype)
    return ArrayImage(picture.transpose(2, 0, 1)[np.newaxis, :, np.newaxis])


def decode_png(data: bytes) -> np.ndarray:
    """Decode a PNG: a palette to RGB, transparency as a channel, grey levels as stored."""
    kinds = []
    for kind, content in png_chunks(data):
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", content[:10])
            check_at_once(width * height * 4 * max(1, depth // 8))
        kinds.append(kind)
    if b"acTL" in kinds:
        raise UnreadableError("expected one image, found an animation")
    if kinds[0] != b"IHDR" or kinds.count(b"IHDR") > 1:
        raise UnreadableError("expected a PNG that begins with its sizes, found another beginning")
    picture = imagecodecs.png_decode(data)
    if colour == GREY and depth < 8:
        levels = picture if picture.ndim == 2 else picture[..., 0]  # transparency is not scaled
        levels //= np.uint8(255 // (2**depth - 1))
    return picture


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG, to the last one. Raises UnreadableError for a damaged one.

    libpng skips damaged chunks that are not critical, such as the transparency.
    """
    view, place = memoryview(data), 8
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 8 + length
        if end + 4 > len(data):
            break
        if zlib.crc32(view[place + 4 : end]) != int.from_bytes(view[end : end + 4]):
            raise UnreadableError("expected an intact PNG, found one with a wrong checksum")
        yield kind, data[place + 8 : min(end, place + 40)]
        if kind == b"IEND":
            return
        place = end + 4
    raise UnreadableError("expected a complete PNG, found one that is cut off")


def decode_jpeg(data: bytes) -> np.ndarray:
    """Decode twice, with data inserted before the end once: this changes an incomplete image.

    libjpeg fills missing data with grey and only issues a warning, which is not available here. A
    complete image does not depend on data after it.
    """
    scans = 0
    for kind, content in jpeg_segments(data):
        scans += kind == JPEG_SCAN
        if scans > MOST_SCANS:
            raise UnreadableError(f"expected a JPEG with at most {MOST_SCANS} scans, found more")
        if kind in JPEG_SIZES:
            bits, height, width, samples = struct.unpack(">BHHB", content[:6])
            check_at_once(height * width * samples * -(-bits // 8))
            if height * width * samples > MOST_JPEG_EXPANSION * len(data):
                raise UnreadableError("expected a complete JPEG, found one with too little data")
        end = int.from_bytes(content) if kind == JPEG_END else 0
    picture = imagecodecs.jpeg_decode(data)
    longer = imagecodecs.jpeg_decode(data[:end] + JPEG_JUNK + data[end:])
    if not np.array_equal(picture, longer):
        raise UnreadableError("expected a complete JPEG, found one with too little data")
    return picture


def jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The markers of a JPEG and what follows each; for its end, the position.

    Raises UnreadableError if the end is missing.
    """
    place = 2
    while (place := data.find(b"\xff", place)) >= 0 and place + 1 < len(data):
        marker = data[place + 1]
        if marker == JPEG_END:
            yield marker, place.to_bytes(8)
            return
        place += 1 if marker == 0xFF else 2
        if marker in JPEG_WITHOUT_LENGTH or marker == 0xFF:
            continue
        length = int.from_bytes(data[place : place + 2])
        yield marker, data[place + 2 : place + 2 + min(length, 32)]
        place += length
    raise UnreadableError("expected a complete JPEG, found one that is cut off")


def decode_bmp(data: bytes) -> np.ndarray:
    """Decode a BMP: palettes to RGB, or to grey if entry i is grey level i; no fourth byte.

    Not decoded by imagecodecs, which reads beyond the end of a damaged file.
    """
    start, header, width, height, _, bits, compression = struct.unpack_from("<IIiiHHI", data, 10)
    if header not in BMP_HEADERS or bits not in BMP_BITS or compression:
        raise UnreadableError(
            "expected an uncompressed BMP of 1, 4, 8, 24 or 32 bits, found another BMP"
        )
    if width < 1 or height == 0:
        raise UnreadableError("expected pixels, found an image without any")
    check_at_once(width * abs(height) * max(3, bits // 8))
    row_bytes = -(-width * bits // 32) * 4
    if len(data) < start + row_bytes * abs(height):
        raise UnreadableError("expected a complete BMP, found one that is cut off")
    rows = np.frombuffer(data, np.uint8, row_bytes * abs(height), start).reshape(-1, row_bytes)
    rows = rows[::-1] if height > 0 else rows
    if bits > 8:
        return rows[:, : width * bits // 8].reshape(abs(height), width, bits // 8)[..., 2::-1]
    if bits < 8:
        levels = np.unpackbits(rows, axis=1).reshape(len(rows), -1, bits)
        rows = np.packbits(levels, axis=2)[..., 0] >> (8 - bits)
    (used,) = struct.unpack_from("<I", data, 46)
    palette = np.frombuffer(data[14 + header : start], np.uint8)[: 4 * min(used or 256, 2**bits)]
    palette = palette[: len(palette) // 4 * 4].reshape(-1, 4)[:, 2::-1]
    if not len(palette) or rows[:, :width].max() >= len(palette):
        raise UnreadableError("expected a palette with all colours, found one with fewer")
    if bits == 8 and (palette == np.arange(len(palette))[:, np.newaxis]).all():
        return rows[:, :width]
    return palette[rows[:, :width]]


def decode_jpeg2000(data: bytes) -> np.ndarray:
    stream = data if data.startswith(JPEG2000_START) else jpeg2000_stream(data)
    right, bottom, left, top = struct.unpack_from(">IIII", stream, 8)
    (samples,) = struct.unpack_from(">H", stream, 40)
    # OpenJPEG uses 32 bits per sample, and then the image is copied.
    check_at_once(max(0, right - left) * max(0, bottom - top) * samples * 2)
    check_jpeg2000_tiles(stream)
    return imagecodecs.jpeg2k_decode(data)


def jpeg2000_stream(data: bytes) -> bytes:
    """The codestream in the boxes of a JP2. Raises UnreadableError unless there is exactly one."""
    found, place = [], 0
    while place < len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        start = place + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start)
            start += 8
        end = place + length if length else len(data)
        if end < start or end > len(data):
            raise UnreadableError("expected a complete JPEG 2000, found one that is cut off")
        if kind == b"jp2c":
            found.append(data[start:end])
        place = end
    if len(found) != 1 or not found[0].startswith(JPEG2000_START):
        raise UnreadableError(f"expected one image, found {len(found)}")
    return found[0]


def check_jpeg2000_tiles(stream: bytes) -> None:
    """Raise UnreadableError if not all tiles are there, to the last byte.

    OpenJPEG replaces missing or truncated tiles by grey.
    """
    width, height, _, _, wide, high, left_of_tiles, top_of_tiles = struct.unpack_from(
        ">IIIIIIII", stream, 8
    )
    across = -(-(width - left_of_tiles) // wide)
    tiles = across * -(-(height - top_of_tiles) // high)
    parts: dict[int, int] = {}
    expected: dict[int, int] = {}
    place = 2
    while place + 4 <= len(stream):
        marker, length = struct.unpack_from(">HH", stream, place)
        if marker == JPEG2000_TILE:
            tile, length, part, count = struct.unpack_from(">HIBB", stream, place + 4)
            length = length or len(stream) - 2 - place  # the last tile may omit its length
            if length < 14 or part != parts.get(tile, 0):
                break
            parts[tile] = part + 1
            expected[tile] = count or expected.get(tile, 0)
        elif marker >> 8 != 0xFF or length < 2:
            break
        else:
            length += 2
        place += length
    is_whole = len(stream) - place == 2 and stream.endswith(JPEG2000_END)
    if (
        not is_whole
        or len(parts) != tiles
        or any(expected[tile] not in (0, count) for tile, count in parts.items())
    ):
        raise UnreadableError("expected a complete JPEG 2000, found one that is cut off or damaged")


def decode_webp(data: bytes) -> np.ndarray:
    end = 8 + int.from_bytes(data[4:8], "little")
    if data[8:12] != b"WEBP" or len(data) < end:
        raise UnreadableError(
            "expected a complete WebP, found another RIFF file, or one that is cut off"
        )
    place, pictures = 12, 0
    while place + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, place)
        if kind in (b"ANIM", b"ANMF"):
            raise UnreadableError("expected one image, found an animation")
        pictures += kind in (b"VP8 ", b"VP8L")
        place += 8 + length + length % 2
    if pictures != 1 or place > end + 1:
        raise UnreadableError("expected a complete WebP with one image, found another WebP")
    return imagecodecs.webp_decode(data)


DECODERS: dict[str, Callable[[bytes], np.ndarray]] = {
    "png": decode_png,
    "jpeg": decode_jpeg,
    "bmp": decode_bmp,
    "jpeg2000": decode_jpeg2000,
    "webp": decode_webp,
}
