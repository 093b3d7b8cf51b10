"""Seals: the hashes of a file, signed by somebody, optionally with a witness of the time.

A seal is a JSON object in a file of its own:

    note             an IsccNote of the ISCC Discovery Protocol: hashes of the file, a time, the
                     signer's key and the signature
    timestamp_token  a time stamping authority's reply about the note, in base64 (stamps.py)
    receipt          the IsccReceipt of an ISCC hub for the note (receipts.py)

The last two are optional. A note is signed with Ed25519, in its canonical form (JCS, RFC 8785),
which `canonical` writes for objects with ASCII keys and without fractions. Nothing in a seal is
trusted: its size is limited, and repeated keys and unknown fields are errors.
"""

import base64
import json
import re
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

import codes
from manifest import Entry
from messages import InputError, quote

LONGEST_SEAL = 64 * 1024  # bytes; with a time stamp of a long certificate chain it has 10,000
LONGEST_NOTE = 8192  # bytes, the limit of hubs
LARGEST_INTEGER = 2**53 - 1  # that JSON can represent reliably

VERSION = "ISCC-SIG v1.0"
PUBLIC_KEY, SECRET_KEY = bytes.fromhex("ed01"), bytes.fromhex("8026")  # prefixes of multikeys
KEY_BYTES, SIGNATURE_BYTES = 32, 64
# The y coordinates of Ed25519's points of small order, two of them also in non-canonical form.
P = 2**255 - 19
ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
WEAK_KEYS = {0, 1, P - 1, P, P + 1, ORDER_8, P - ORDER_8}
DEEPEST = 32  # levels of nested values
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

# The fields of a seal, a note and its signature, with their types or patterns.
PARTS = {"note": dict, "timestamp_token": str, "receipt": dict}
NOTE = {
    "iscc_code": "ISCC:[A-Z2-7]{29,68}",
    "datahash": "1e20[0-9a-f]{64}",
    "nonce": "[0-9a-f]{32}",
    "timestamp": r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z",
}
OPTIONAL_IN_NOTE = {"metahash": "1e20[0-9a-f]{64}", "gateway": r"https?://\S{1,2040}"}
SIGNATURE = {
    "version": re.escape(VERSION),
    "pubkey": f"z[{BASE58}]{{40,60}}",
    "proof": f"z[{BASE58}]{{60,100}}",
}
OPTIONAL_IN_SIGNATURE = {"controller": r"\S{1,2048}", "keyid": r"\S{1,2048}"}


def read(data: bytes, called: str) -> dict:
    """The parts of a seal, by name. Raises InputError if it is not a seal."""
    seal = read_json(data, called, LONGEST_SEAL)
    if not isinstance(seal, dict) or not isinstance(seal.get("note"), dict):
        raise InputError(
            f"{called}: expected a seal, a JSON object with a note, found something else"
        )
    for name, part in seal.items():
        if name not in PARTS:
            raise InputError(f"{called}: expected {', '.join(PARTS)}, found {quote(name)} as well")
        if not isinstance(part, PARTS[name]):
            kind = "an object" if PARTS[name] is dict else "a text"
            raise InputError(f"{called}: expected {kind} as {name}, found something else")
    if not is_base64(seal.get("timestamp_token", "")):
        raise InputError(f"{called}: expected the time stamp in base64, found something else")
    check_note(seal["note"], called)
    return seal


def is_base64(text: str) -> bool:
    """Whether a text is base64 in its only valid spelling."""
    try:
        return base64.b64encode(base64.b64decode(text, validate=True)).decode() == text
    except ValueError:
        return False


def check_note(note: Mapping[str, object], called: str) -> None:
    """Raise InputError if a note does not have the form of an IsccNote."""
    if len(canonical(note)) > LONGEST_NOTE:
        raise InputError(f"{called}: expected a note of at most {LONGEST_NOTE:,} bytes, found more")
    texts = {name: value for name, value in note.items() if name not in ("units", "signature")}
    check_fields(texts, NOTE, OPTIONAL_IN_NOTE, called)
    signature = note.get("signature")
    if not isinstance(signature, dict):
        raise InputError(f"{called}: expected a signature in the note, found none")
    check_fields(signature, SIGNATURE, OPTIONAL_IN_SIGNATURE, called)
    units = note.get("units", [""])
    if not isinstance(units, list) or not all(isinstance(each, str) for each in units):
        raise InputError(f"{called}: expected a list of ISCCs as units, found something else")
    try:
        if not all(codes.parse(note["iscc_code"])):
            raise ValueError("expected an ISCC-CODE as iscc_code, found only one of its units")
        time_of(note)
        public_key(note["signature"]["pubkey"])
        decode(note["signature"]["proof"], b"", SIGNATURE_BYTES)
    except ValueError as error:
        raise InputError(f"{called}: {error}") from None


def check_fields(
    fields: Mapping[str, object],
    required: Mapping[str, str],
    optional: Mapping[str, str],
    called: str,
) -> None:
    """Raise InputError unless all required fields are present, and all are known and valid."""
    for name in required:
        if name not in fields:
            raise InputError(f"{called}: expected the field {name}, found none")
    for name, value in fields.items():
        if name not in required and name not in optional:
            known = ", ".join([*required, *optional])
            raise InputError(f"{called}: expected the fields {known}, found {quote(name)} as well")
        pattern = required.get(name) or optional[name]
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            expected = f" {VERSION}" if name == "version" else ""
            found = quote(value if isinstance(value, str) else json.dumps(value))
            raise InputError(f"{called}: expected a valid {name}{expected}, found {found}")


def sign(entry: Entry, key: Ed25519PrivateKey, hub: int) -> dict:
    """Sign a note about a file. `hub` is the number of the hub that it is for, 0 to 4095."""
    public = key.public_key().public_bytes_raw()
    note = {
        "iscc_code": entry.iscc,
        "datahash": entry.datahash,
        "nonce": f"{hub:03x}{secrets.token_hex(15)[1:]}",
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
        "signature": {"version": VERSION, "pubkey": encode(PUBLIC_KEY + public)},
    }
    note["signature"]["proof"] = encode(key.sign(canonical(note)))
    return note


def is_code_of(sealed: str, whole: str) -> bool:
    """Whether an ISCC-CODE, WIDE or SUM, could be of the same bytes as a WIDE one."""
    data, instance = codes.parse(sealed)
    wide = codes.parse(whole)
    return (data, instance) == (wide.data[: len(data)], wide.instance[: len(instance)])


def is_signed(note: Mapping[str, object]) -> bool:
    """Whether a note was signed with the key that it names, and not changed since."""
    signature = {k: v for k, v in note["signature"].items() if k != "proof"}
    proof = decode(note["signature"]["proof"], b"", SIGNATURE_BYTES)
    return verifies(
        public_key(note["signature"]["pubkey"]), proof, canonical({**note, "signature": signature})
    )


def verifies(key: bytes, signature: bytes, data: bytes) -> bool:
    """Whether an Ed25519 signature of data is valid for a public key."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def public_key(text: str) -> bytes:
    """The public key, 32 bytes, written as z6Mk... Raises ValueError if it is not one."""
    key = decode(text, PUBLIC_KEY, KEY_BYTES)
    check_public_key(key)
    return key


def check_public_key(key: bytes) -> None:
    """Raise ValueError for a weak key, for which anybody can make signatures."""
    if int.from_bytes(key, "little") % 2**255 in WEAK_KEYS:
        raise ValueError(
            "expected a secure public key, found a weak one, with which anybody can sign"
        )


def time_of(note: Mapping[str, object]) -> datetime:
    """The time of signing claimed by the signer. Raises ValueError for an impossible date."""
    try:
        return datetime.fromisoformat(note["timestamp"])
    except ValueError:
        raise ValueError(
            f"expected a time as timestamp, found {quote(note['timestamp'])}"
        ) from None


def canonical(value: object) -> bytes:
    """JSON in its canonical form, which is what is signed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def encode(data: bytes) -> str:
    """Bytes in multibase base58btc: the letter z, a 1 for each leading zero byte, then digits."""
    number, digits = int.from_bytes(data), ""
    while number:
        number, digit = divmod(number, 58)
        digits = BASE58[digit] + digits
    return "z" + "1" * (len(data) - len(data.lstrip(b"\0"))) + digits


def decode(text: str, prefix: bytes, size: int) -> bytes:
    """The `size` bytes after a prefix. Raises ValueError for anything else."""
    length, number = len(prefix) + size, 0
    if len(text) > 2 * length + 1:
        raise ValueError(f"expected {size} bytes in base58, found more")
    for digit in text[1:]:
        number = 58 * number + BASE58.index(digit)
    data = number.to_bytes(max(length, -(-number.bit_length() // 8)))
    if encode(data) != text or len(data) != length or not data.startswith(prefix):
        raise ValueError(f"expected {size} bytes of this kind in base58, found something else")
    return data[len(prefix) :]


def read_json(data: bytes, called: str, longest: int) -> object:
    """Read JSON that all parsers understand alike: no repeated keys or fractions, ASCII keys.

    Raises InputError for anything else, and for more than `longest` bytes.
    """
    if len(data) > longest:
        raise InputError(f"{called}: expected at most {longest:,} bytes, found more")
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=unique,
            parse_int=integer,
            parse_float=refuse("a fraction"),
            parse_constant=refuse("not a number"),
        )
        check_depth(value)
        canonical(value)  # texts have to be valid Unicode
    except RecursionError:
        raise InputError(f"{called}: expected JSON: it is nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{called}: expected JSON: {error}") from None
    return value


def check_depth(value: object) -> None:
    """Raise ValueError for values nested more deeply than other parsers may accept."""
    depth, values = 0, [value]
    while values := [each for each in values if isinstance(each, dict | list)]:
        depth += 1
        if depth > DEEPEST:
            raise ValueError("it is nested too deeply")
        inner = [each.values() if isinstance(each, dict) else each for each in values]
        values = [each for some in inner for each in some]


def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("a key occurs twice")
    if not all(map(str.isascii, result)):
        raise ValueError("a key is not ASCII")
    return result


def integer(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > LARGEST_INTEGER:
        raise ValueError("an integer is too large")
    if text == "-0":
        raise ValueError("zero has a minus sign")
    return int(text)


def refuse(what: str) -> Callable[[str], object]:
    def found(text: str) -> object:
        raise ValueError(f"{quote(text)} is {what}")

    return found
