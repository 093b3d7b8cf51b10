"""ISCC strings: what one says, and whether it is one.

An ISCC is a header of four nibbles (MainType, SubType, Version, Length) and a body of hash bits,
written together in base32 (RFC 4648, no padding) behind the prefix `ISCC:`. Two kinds matter
here (ISO 24138:2024; WIDE is an extension of iscc-sum that the standard does not have yet):

    ISCC-CODE    a Data-Code and an Instance-Code of equal length, one after the other:
                 SubType SUM 64 + 64 bits (narrow), SubType WIDE 128 + 128 bits
    ISCC-UNIT    one Data-Code or one Instance-Code of 64, 128 or 256 bits

The Data-Code is a similarity hash: its Hamming distance says how alike two files are. The
Instance-Code is the beginning of the file's BLAKE3 hash: it is equal for equal bytes alone.
"""

import base64
import re
from typing import NamedTuple

PREFIX = "ISCC:"
BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
ONLY_BASE32 = re.compile(f"[{BASE32}]*")
# `int` has the same base with other digits, and is much faster than `base64`.
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
BOTH_UNITS = ("K4A", "KUA")  # how an ISCC-CODE, WIDE or SUM, begins
HEADER_BYTES = 2
HEADER_CHARACTERS = 4  # 20 bits: the header's 16, and 4 of the body

MAIN_TYPES = {
    0: "a Meta-Code",
    1: "a Semantic-Code",
    2: "a Content-Code",
    3: "a Data-Code of a length or version that is not known",
    4: "an Instance-Code of a length or version that is not known",
    5: "an ISCC-CODE that is neither WIDE nor SUM",
    6: "an ISCC-ID",
    7: "an ISCC-FLAKE",
}


class CodeError(ValueError):
    """A string that is no ISCC of a file's bytes; the message says why."""


class Code(NamedTuple):
    """The hash bits of an ISCC: `data` and `instance` are 8, 16 or 32 bytes, or 0 where absent."""

    data: bytes
    instance: bytes


def parse(text: str) -> Code:
    """Read an ISCC-CODE (WIDE or SUM), a Data-Code or an Instance-Code.

    Letter case, the prefix, dashes and outer white space are free. Everything else is strict:
    a length that does not fit the header, a digit that base32 does not have, or bits set beyond
    the last byte raise CodeError, so that no two spellings of the digits mean the same code.
    """
    digits = digits_of(text)
    if not ONLY_BASE32.fullmatch(digits):
        foreign = next(digit for digit in digits if digit not in BASE32)
        raise CodeError(f"{foreign!r} is not a digit of base32 (A to Z, 2 to 7)")
    if len(digits) < HEADER_CHARACTERS:
        raise CodeError(f"{len(digits)} characters are too few for an ISCC")
    decoded, left_over = decode(digits)
    header = decoded[:HEADER_BYTES]
    if header not in KINDS:
        what = MAIN_TYPES.get(header[0] >> 4, "no known kind of ISCC")
        raise CodeError(f"it is {what}; an ISCC-CODE of a file's bytes begins with K4A or KUA")
    data_bytes, instance_bytes = KINDS[header]
    expected = characters(HEADER_BYTES + data_bytes + instance_bytes)
    if len(digits) != expected:
        raise CodeError(f"{len(digits)} characters long; its kind has {expected}")
    if left_over:
        raise CodeError("its last character has bits set that belong to no byte")
    instance = HEADER_BYTES + data_bytes
    return Code(decoded[HEADER_BYTES:instance], decoded[instance:])


def whole(digits: str) -> re.Match[str] | None:
    """Whether digits are a code that `parse` reads, told without reading it.

    The first three digits are the header's, and so is the first bit of the fourth; the last digit
    has no bit set that belongs to no byte.
    """
    return WHOLE.fullmatch(digits)


def checked(text: str) -> str:
    """The digits of a code, in capitals; raises CodeError, as `parse` does, if it is none."""
    digits = text.removeprefix(PREFIX)
    if whole(digits):
        return digits  # as nearly all are, and much faster
    parse(text)
    return digits_of(text)


def digits_of(text: str) -> str:
    """The digits of what may be an ISCC, without all that is free; nothing is checked."""
    digits = text.strip()
    if digits[: len(PREFIX)].upper() == PREFIX:
        digits = digits[len(PREFIX) :]
    digits = digits.replace("-", "")
    return digits.upper() if digits.isascii() else digits


def distance(a: bytes, b: bytes) -> tuple[int, int]:
    """Hamming distance of two hashes and the bits compared: those of the shorter one."""
    length = min(len(a), len(b))
    difference = int.from_bytes(a[:length]) ^ int.from_bytes(b[:length])
    return difference.bit_count(), 8 * length


def characters(byte_count: int) -> int:
    """How many base32 digits, 5 bits each, write that many bytes."""
    return -(-8 * byte_count // 5)


def encode(binary: bytes) -> str:
    return base64.b32encode(binary).decode("ascii").rstrip("=")


def decode(digits: str) -> tuple[bytes, int]:
    """The bytes of base32 digits, and the bits beyond the last whole byte as a number."""
    number = int(digits.translate(TO_INT_BASE_32), 32)
    bits = 5 * len(digits)
    beyond = bits % 8
    return (number >> beyond).to_bytes(bits // 8), number & ((1 << beyond) - 1)


def pattern(header: bytes, hash_bytes: int) -> str:
    """A regular expression for the codes of one kind."""
    length = characters(HEADER_BYTES + hash_bytes)
    beyond = 5 * length - 8 * (HEADER_BYTES + hash_bytes)
    half = 16 * (header[-1] & 1)
    fourth, last = BASE32[half : half + 16], BASE32[:: 1 << beyond]
    return f"{encode(header)[:3]}[{fourth}][{BASE32}]{{{length - 5}}}[{last}]"


WHOLE = re.compile("|".join(pattern(header, sum(sizes)) for header, sizes in KINDS.items()))
