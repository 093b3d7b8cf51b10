"""Manifests of bytes and of pixels, and ways in which their lines may be changed."""

import codes
import manifest
from manifest import Entry
from oracle import TEST_DATA

COMMENT = b"# a comment\n"
HEADER = b"#name\tiscc\tfilesize\tdatahash\tdata_code\tinstance_code\tnote"
OTHER_HEADERS = [
    b"#name\tiscc",
    b"name\tfilesize\tiscc\tnote",
    b"name,iscc",
    HEADER + b"\tpixels\timage_code",
]
# Examples of manifests, of bytes and of pixels.
SAMPLES = {
    name: (TEST_DATA / f"{name}.tsv").read_bytes()
    for name in ("converted", "delivery", "figures", "originals", "planes")
}
NAMES = [
    "it's 50%",
    "\u00e4\u00a0b\u2028",
    "\udcff\udce2",
    "#hash",
    "tab\tname",
    "a\\b\n",
    ' "',
    "",
]
OF_NAMES = [
    Entry(
        name,
        codes.PREFIX + codes.encode(b"\x55\x00" + bytes([number] * 16)),
        None if number % 3 == 0 else 100**number,
        noted=(None, "tiny", "small", "empty")[number % 4],
        is_featureless=number % 2 == 0,
    )
    for number, name in enumerate(NAMES)
]
SAMPLES["names"] = "".join(manifest.lines(OF_NAMES)).encode("utf-8", "surrogateescape")


CHANGES = [
    lambda line, random: line.replace(b"\t", b"", 1),
    lambda line, random: line + b"\t",
    lambda line, random: line + b"\r",
    lambda line, random: line.lower(),
    lambda line, random: line.replace(b"ISCC:", b"", 1),
    lambda line, random: b"#" + line,
    lambda line, random: b"\\" + line,
    lambda line, random: b"",
    lambda line, random: b" \t ",
    lambda line, random: COMMENT[:-1],
    lambda line, random: HEADER,
    lambda line, random: random.choice(OTHER_HEADERS),
    lambda line, random: line[: random.randrange(len(line) + 1)],
    lambda line, random: line.replace(b"ISCC:K", b"ISCC:\xc3\xa9", 1),
    lambda line, random: b"\xff\xe2\x82" + line,
    lambda line, random: line + line,
    lambda line, random: swapped(line, random),
    lambda line, random: swapped(line, random),
    lambda line, random: swapped(line, random),
]


def swapped(line: bytes, random) -> bytes:
    """With another byte somewhere, which may be what fields of a manifest consist of."""
    place = random.randrange(len(line) + 1)
    some = b"A7QYIaf09K1e20:\t\\\r\0#,x" + bytes([random.randrange(256)])
    return line[:place] + bytes([random.choice(some)]) + line[place + 1 :]


def changed_manifest(random) -> bytes:
    """A few lines of a sample, of which one or two may be changed, perhaps with another below."""
    lines = random.choice([*SAMPLES.values()]).splitlines()[:8]
    for _ in range(random.choice((0, 1, 1, 2))):
        place = random.randrange(len(lines))
        lines[place] = random.choice(CHANGES)(lines[place], random)
    if random.random() < 0.2:
        lines += random.choice([*SAMPLES.values()]).splitlines()[:4]
    text = b"\n".join(lines) + random.choice((b"", b"\n", b"\n\n"))
    return random.choice((b"", b"", b"\xef\xbb\xbf")) + text
