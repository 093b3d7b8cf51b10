"""Expected codes, computed with iscc-core, the reference implementation of ISO 24138.

It codes about 20 MB/s, and is independent of iscc-sum, which the tools use.
"""

import io
from functools import cache
from pathlib import Path
from typing import NamedTuple

import iscc_core

TEST_DATA = Path(__file__).resolve().parent.parent / "test-data"

# The first line of a manifest.
HEADER = "#name\tiscc\tfilesize\tdatahash\tdata_code\tinstance_code\tnote\n"


class Codes(NamedTuple):
    """All results of iscc-core for some bytes; codes with their prefix."""

    wide: str
    narrow: str
    filesize: int
    datahash: str
    data_code: str
    instance_code: str


@cache
def codes_of(content: bytes) -> Codes:
    data = iscc_core.gen_data_code_v0(io.BytesIO(content), bits=256)["iscc"]
    instance = iscc_core.gen_instance_code_v0(io.BytesIO(content), bits=256)
    units = [data, instance["iscc"]]
    return Codes(
        iscc_core.gen_iscc_code_v0(units, wide=True)["iscc"],
        iscc_core.gen_iscc_code_v0(units)["iscc"],
        len(content),
        instance["datahash"],
        data,
        instance["iscc"],
    )


def codes_of_file(name: str) -> Codes:
    """The codes of a file in test-data."""
    return codes_of((TEST_DATA / name).read_bytes())


def note(filesize: int) -> str:
    """The note of a manifest, as defined in its documentation."""
    if filesize == 0:
        return "empty"
    return "tiny" if filesize < 2048 else "small" if filesize < 20480 else ""


def manifest_line(name: str, content: bytes, narrow: bool = False) -> str:
    """A line of a manifest for a name that needs no escapes."""
    codes = codes_of(content)
    iscc = codes.narrow if narrow else codes.wide
    fields = (name, iscc, *codes[2:], note(codes.filesize))
    return "\t".join(map(str, fields)) + "\n"


@cache
def data_code_bits(iscc: str) -> str:
    """The Data-Code in an ISCC-CODE, as a string of 0 and 1, decoded by iscc-core."""
    digest = iscc_core.decode_base32(iscc.removeprefix("ISCC:"))[2:]
    half = digest[: len(digest) // 2]
    return "".join(f"{byte:08b}" for byte in half)


def distance(iscc_a: str, iscc_b: str) -> int:
    """Differing bits of two Data-Codes, counted one by one over the shorter one."""
    return sum(a != b for a, b in zip(data_code_bits(iscc_a), data_code_bits(iscc_b), strict=False))
