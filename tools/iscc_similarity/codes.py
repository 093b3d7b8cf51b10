"""Parse, validate and write ISCC strings.

An ISCC is a header of four nibbles (MainType, SubType, Version, Length) and a body of hash bits,
written together in base32 (RFC 4648, no padding) after the prefix `ISCC:`. Two types matter here
(ISO 24138:2024; WIDE is an extension of iscc-sum that is not yet part of the standard):

    ISCC-CODE    a Data-Code followed by an Instance-Code of equal length:
                 SubType SUM 64 + 64 bits (narrow), SubType WIDE 128 + 128 bits
    ISCC-UNIT    one Data-Code or one Instance-Code of 64, 128 or 256 bits

The Data-Code is a similarity hash: its Hamming distance shows how similar two files are. The
Instance-Code is the beginning of the file's BLAKE3 hash: it is equal only for equal bytes.
"""

import base64
import re
from typing import NamedTuple

PREFIX = "ISCC:"
BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
# `int` reads the same base with other digits, much faster than `base64`.
TO_INT_BASE_32 = str.maketrans(BASE32, "0123456789abcdefghijklmnopqrstuv")

# The header's bytes -> bytes of Data-Code, bytes of Instance-Code.
KINDS = {
    b"\x57\x00": (16, 16),  # ISCC-CODE, WIDE
    b"\x55\x00": (8, 8),  # ISCC-CODE, SUM
    b"\x30\x01": (8, 0),  # Data-Code
    b"\x30\x03": (16, 0),
    b"\x30\x07": (32, 0),
    b"\x40\x01": (0, 8),  # Instance-Code
    b"\x40\x03": (0, 16),
    b"\x40\x07": (0, 32),
}
BOTH_UNITS = ("K4A", "KUA")  # beginnings of an ISCC-CODE, WIDE and SUM
HEADER_BYTES = 2


class CodeError(ValueError):
    """A string that is not an ISCC of a file's bytes; the message says why."""


class Code(NamedTuple):
    """The hash bits of an ISCC: `data` and `instance` have 8, 16 or 32 bytes, or 0 if absent."""

    data: bytes
    instance: bytes


def parse(text: str) -> Code:
    """Parse an ISCC-CODE (WIDE or SUM), a Data-Code or an Instance-Code.

    Letter case, the prefix, dashes and surrounding whitespace are optional or ignored. Everything
    else is strict, so that each code has only one valid spelling of its digits. Raises CodeError if
    the length does not match the header, a digit is not base32, or padding bits are set.
    """
    decoded = decode(normalize(text))
    data_bytes, _ = KINDS[decoded[:HEADER_BYTES]]
    instance = HEADER_BYTES + data_bytes
    return Code(decoded[HEADER_BYTES:instance], decoded[instance:])


def normalize(text: str) -> str:
    """The digits of a code in upper case. Raises CodeError as `parse` does."""
    digits = text.removeprefix(PREFIX)
    if is_valid(digits):
        return digits  # the common case, and much faster
    digits = digits_of(text)
    if not is_valid(digits):
        raise CodeError(why_not(digits))
    return digits


def is_valid(digits: str) -> bool:
    """Whether digits, in upper case, are a valid code; checked by pattern, without decoding."""
    return VALID.fullmatch(digits) is not None


def why_not(digits: str) -> str:
    """Describe what is wrong with invalid digits."""
    if foreign := digits.strip(BASE32):
        return f"{foreign[0]!r} is not a digit of base32 (A to Z, 2 to 7)"
    # Four digits contain the header and four bits of the body; fewer are padded.
    sizes = KINDS.get(decode(digits[:4].ljust(4, BASE32[0])))
    if not sizes:
        return "expected an ISCC-CODE of a file's bytes, which begins with K4A or KUA"
    expected = characters(HEADER_BYTES + sum(sizes))
    if len(digits) != expected:
        return f"expected {expected} characters for this type of ISCC, found {len(digits)}"
    return "its last character has non-zero padding bits"


def digits_of(text: str) -> str:
    """The digits of a possible ISCC, without prefix, dashes and whitespace; not validated."""
    digits = text.strip()
    if digits[: len(PREFIX)].upper() == PREFIX:
        digits = digits[len(PREFIX) :]
    digits = digits.replace("-", "")
    return digits.upper() if digits.isascii() else digits


def characters(byte_count: int) -> int:
    """The number of base32 digits, of 5 bits each, for this number of bytes."""
    return -(-8 * byte_count // 5)


def encode(binary: bytes) -> str:
    return base64.b32encode(binary).decode("ascii").rstrip("=")


def decode(digits: str) -> bytes:
    """The bytes of base32 digits, without the padding bits after the last whole byte."""
    bits = 5 * len(digits)
    number = int(digits.translate(TO_INT_BASE_32), 32)
    return (number >> bits % 8).to_bytes(bits // 8)


def pattern(header: bytes, hash_bytes: int) -> str:
    """A regular expression for the digits of one type of code.

    The first three digits, and the first bit of the fourth, belong to the header. The padding bits
    of the last digit are 0.
    """
    length = characters(HEADER_BYTES + hash_bytes)
    beyond = 5 * length - 8 * (HEADER_BYTES + hash_bytes)
    half = 16 * (header[-1] & 1)
    fourth, last = BASE32[half : half + 16], BASE32[:: 1 << beyond]
    return f"{encode(header)[:3]}[{fourth}][{BASE32}]{{{length - 5}}}[{last}]"


VALID = re.compile("|".join(pattern(header, sum(sizes)) for header, sizes in KINDS.items()))
IMAGE = re.compile(pattern(b"\x21\x07", 32))  # an Image-Code of 256 bits
# A code within a text, of 128 bits or more: too long to occur by chance.
LONG = re.compile(
    "|".join(pattern(header, sum(sizes)) for header, sizes in KINDS.items() if sum(sizes) >= 16)
)
