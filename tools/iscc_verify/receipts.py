"""Receipts: an ISCC hub confirms that a note was declared to it, and under which ISCC-ID.

A receipt is a W3C verifiable credential, signed according to eddsa-jcs-2022: what is signed is the
SHA-256 of the proof without its value, followed by the SHA-256 of the rest, both as canonical JSON.
An ISCC-ID consists of a time and the number of a hub. It is not computed from the content; only the
receipt links the two.
"""

import base64
import hashlib
import re
import sys
import urllib.parse
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import seal
import web
from messages import InputError, printable, quote, say

ID_HEADERS = (b"\x60\x11", b"\x61\x11")  # of an ISCC-ID of version 1 and 64 bits, realm 0 or 1
HUB_BITS = 12
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LONGEST_WAY = timedelta(minutes=10)  # between the times of the note and the hub


class ReceiptError(Exception):
    """A receipt that is not valid for a note; the message says why, as a clause."""


class Receipt(NamedTuple):
    """What a hub confirms: the ISCC-ID, with its time and hub number, and the hub's identity."""

    iscc_id: str
    time: datetime
    hub: int
    issuer: str


def declare(url: str, note: Mapping[str, object]) -> tuple[dict, Receipt]:
    """Declare a note to a hub. Returns the receipt, as received and parsed.

    The receipt is checked, except for the hub's signature. Raises InputError if the hub refuses. An
    answer that is not the receipt expected is printed, since a hub does not repeat it.
    """
    parts = urllib.parse.urlsplit(url)
    path = parts.path.rstrip("/") + "/declaration"
    to = parts._replace(path=path).geturl()
    answer = web.post(to, seal.canonical(note), "application/json")
    said = f"{answer.said}: {quote(answer.body.decode(errors='replace'))}"
    if answer.status == web.CONFLICT:
        raise InputError(
            f"{quote(url)}: this file is declared already; the hub says {said}; seal it without "
            "declaring it again"
        )
    if not web.OK <= answer.status < web.REDIRECTED:
        raise InputError(f"{quote(url)}: expected a receipt, found {said}")
    try:
        receipt = seal.read_json(answer.body, "the answer", seal.LONGEST_SEAL)
        return receipt, check(receipt, note, None)
    except (InputError, ReceiptError) as error:
        lines = answer.body.decode(errors="replace").splitlines()
        say("\n".join(["The hub's answer:", *map(printable, lines)]), sys.stderr)
        raise InputError(
            f"{quote(url)}: expected a receipt for this note, found something else: {error}; keep "
            "the answer above, since the file may be declared now"
        ) from None


def check(receipt: object, note: Mapping[str, object], keys: Mapping[str, bytes] | None) -> Receipt:
    """Check that a hub confirms this note, and return what the receipt says.

    `keys` are the hub's, by their identifiers; if None, its signature is not checked. Raises
    ReceiptError if the receipt is about another note, is not signed, or contradicts itself.
    """
    match receipt:
        case {
            "@context": [*context],
            "type": [*types],
            "issuer": str(issuer),
            "credentialSubject": {
                "id": str(subject),
                "declaration": {"iscc_id": str(iscc_id), "iscc_note": declared},
            },
            "proof": {
                "type": "DataIntegrityProof",
                "cryptosuite": "eddsa-jcs-2022",
                "proofPurpose": "assertionMethod",
                "verificationMethod": str(method),
                "proofValue": str(value),
            },
        } if "IsccReceipt" in types:
            pass
        case _:
            raise ReceiptError("it is not an IsccReceipt with a proof of the type eddsa-jcs-2022")
    of_proof = receipt["proof"].get("@context", context)
    if not isinstance(of_proof, list) or context[: len(of_proof)] != of_proof:
        raise ReceiptError("the @context of its proof is not that of the receipt")
    if declared != note:
        raise ReceiptError("it is about another note")
    signature = note["signature"]
    if subject != signature.get("controller", f"did:key:{signature['pubkey']}"):
        raise ReceiptError("it is about another signer")
    time, hub = parse(iscc_id)
    if hub != hub_of(note):
        raise ReceiptError(f"it is from hub {hub}, but the note was made for hub {hub_of(note)}")
    if abs(time - seal.time_of(note)) > LONGEST_WAY:
        raise ReceiptError("its time is more than 10 minutes from that of the note")
    if keys is not None:
        if method not in keys or method.partition("#")[0] != issuer:
            raise ReceiptError(f"it was signed by {quote(method)}, not by the hub that you trust")
        check_proof(receipt, value, keys[method])
        check_times(receipt)
    return Receipt(iscc_id, time, hub, issuer)


def check_proof(receipt: Mapping[str, object], value: str, key: bytes) -> None:
    """Raise ReceiptError unless a receipt is signed with the secret key to this public one."""
    options = {k: v for k, v in receipt["proof"].items() if k != "proofValue"}
    document = {k: v for k, v in receipt.items() if k != "proof"}
    hashes = [hashlib.sha256(seal.canonical(each)).digest() for each in (options, document)]
    try:
        signature = seal.decode(value, b"", seal.SIGNATURE_BYTES)
    except ValueError:
        raise ReceiptError("its signature is not valid base58") from None
    if not seal.verifies(key, signature, b"".join(hashes)):
        raise ReceiptError("its signature is not valid")


def check_times(receipt: Mapping[str, object]) -> None:
    """Raise ReceiptError unless a receipt is valid now, as far as it says."""
    now = datetime.now(UTC)
    if time_in(receipt, "validFrom", now) > now:
        raise ReceiptError(f"it is valid only from {quote(receipt['validFrom'])}")
    if time_in(receipt, "validUntil", now) < now:
        raise ReceiptError(f"it was valid only until {quote(receipt['validUntil'])}")
    if time_in(receipt["proof"], "expires", now) < now:
        raise ReceiptError(f"it was valid only until {quote(receipt['proof']['expires'])}")


def time_in(values: Mapping[str, object], key: str, otherwise: datetime) -> datetime:
    """The time under a key, if any. Raises ReceiptError if it is not a time with a zone."""
    try:
        time = datetime.fromisoformat(values[key]) if key in values else otherwise
        if time.tzinfo is None:
            raise ValueError
    except (TypeError, ValueError):
        raise ReceiptError(
            f"expected a time with a zone as {key}, found {quote(str(values[key]))}"
        ) from None
    return time


def parse(iscc_id: str) -> tuple[datetime, int]:
    """The time and the hub number in an ISCC-ID. Raises ReceiptError if it is not one."""
    if re.fullmatch("ISCC:[A-Z2-7]{16}", iscc_id):
        binary = base64.b32decode(iscc_id.removeprefix("ISCC:"))
        if binary[:2] in ID_HEADERS:
            number = int.from_bytes(binary[2:])
            microseconds, hub = number >> HUB_BITS, number & (1 << HUB_BITS) - 1
            return EPOCH + timedelta(microseconds=microseconds), hub
    raise ReceiptError(f"{quote(iscc_id)} is not an ISCC-ID of version 1")


def hub_of(note: Mapping[str, object]) -> int:
    """The number of the hub that a note was made for: the first 12 bits of its nonce."""
    return int(note["nonce"][:3], 16)
