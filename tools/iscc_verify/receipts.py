"""Receipts: an ISCC hub confirms that a note was declared to it, and under which ISCC-ID.

A receipt is a verifiable credential of the W3C, signed as eddsa-jcs-2022 says: the SHA-256 of the
proof without its value, and that of the rest, both as canonical JSON, one after the other. An
ISCC-ID is a time and the number of a hub. Nothing in it comes from the content; the receipt alone
binds one to the other.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import seal
import web
from messages import InputError, quote

ISCC_ID = "ISCC:M[AE]I[A-Z2-7]{13}"  # of version 1 and 64 bits; realm 0 or 1
ID_HEADERS = (b"\x60\x11", b"\x61\x11")
HUB_BITS = 12
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ReceiptError(ValueError):
    """What is no valid receipt for a note; the message says why, in half a sentence."""


class Receipt(NamedTuple):
    """What a hub confirms: the ISCC-ID, its time and the hub's number, and who the hub is."""

    iscc_id: str
    time: datetime
    hub: int
    issuer: str


def declare(url: str, note: Mapping[str, object]) -> dict:
    """Declare a note to a hub, and give its receipt, unchecked but for being about this note."""
    answer = web.post(f"{url.rstrip('/')}/declaration", seal.canonical(note), "application/json")
    if answer.status == web.CONFLICT:
        raise InputError(
            f"{quote(url)}: this file is declared already; the hub says "
            f"{quote(answer.body.decode(errors='replace'))}; seal it without declaring it again"
        )
    if answer.status != web.CREATED:
        said = quote(answer.body.decode(errors="replace"))
        raise InputError(
            f"{quote(url)}: expected a receipt, but the hub says {answer.said}: {said}"
        )
    receipt = seal.read_json(answer.body, quote(url), seal.LONGEST_SEAL)
    try:
        read(receipt, note)
    except ReceiptError as error:
        raise InputError(f"{quote(url)}: expected a receipt for this note, but {error}") from None
    return receipt


def check(receipt: object, note: Mapping[str, object], keys: Mapping[str, bytes]) -> Receipt:
    """Check that a hub confirms this note. `keys` are the hub's, by their identifiers.

    Raises ReceiptError if it does not.
    """
    found = read(receipt, note)
    proof = receipt.get("proof")
    match proof:
        case {
            "type": "DataIntegrityProof",
            "cryptosuite": "eddsa-jcs-2022",
            "proofPurpose": "assertionMethod",
            "verificationMethod": str(method),
            "proofValue": str(value),
        }:
            pass
        case _:
            raise ReceiptError("it has no proof of the kind eddsa-jcs-2022")
    whole = receipt.get("@context")
    context = proof.get("@context", whole)
    if not isinstance(context, list) or not isinstance(whole, list):
        raise ReceiptError("it has no context")
    if whole[: len(context)] != context:
        raise ReceiptError("its proof is in another context")
    if method not in keys or method.partition("#")[0] != found.issuer:
        raise ReceiptError(f"it is signed by {quote(method)}, who is not the hub that you trust")
    options = {k: v for k, v in proof.items() if k != "proofValue"}
    document = {k: v for k, v in receipt.items() if k != "proof"}
    signed = b"".join(hashlib.sha256(seal.canonical(each)).digest() for each in (options, document))
    try:
        signature = seal.decode(value[:100], b"", seal.SIGNATURE_BYTES)
    except ValueError:
        raise ReceiptError("its signature is none") from None
    if not seal.verifies(keys[method], signature, signed):
        raise ReceiptError("its signature is not valid")
    return found


def read(receipt: object, note: Mapping[str, object]) -> Receipt:
    """What a receipt says, which nobody vouches for yet.

    Raises ReceiptError if it is about another note, or what it says does not fit together.
    """
    match receipt:
        case {
            "type": [*types],
            "issuer": str(issuer),
            "credentialSubject": {
                "id": str(subject),
                "declaration": {"iscc_id": str(iscc_id), "iscc_note": declared},
            },
        } if "IsccReceipt" in types:
            pass
        case _:
            raise ReceiptError("it is no IsccReceipt")
    if declared != note:
        raise ReceiptError("it is about another note")
    signature = note["signature"]
    if subject != signature.get("controller", f"did:key:{signature['pubkey']}"):
        raise ReceiptError("it is about another signer")
    time, hub = parse(iscc_id)
    if hub != hub_of(note):
        raise ReceiptError(f"it is of hub {hub}, and the note was made for hub {hub_of(note)}")
    return Receipt(iscc_id, time, hub, issuer)


def parse(iscc_id: str) -> tuple[datetime, int]:
    """The time in an ISCC-ID, and the hub's number. Raises ReceiptError if it is none."""
    if not re.fullmatch(ISCC_ID, iscc_id):
        raise ReceiptError(f"{quote(iscc_id)} is no ISCC-ID")
    binary = base64.b32decode(iscc_id.removeprefix("ISCC:"))
    if binary[:2] not in ID_HEADERS:
        raise ReceiptError(f"{quote(iscc_id)} is no ISCC-ID of version 1")
    number = int.from_bytes(binary[2:])
    microseconds, hub = number >> HUB_BITS, number & (1 << HUB_BITS) - 1
    return EPOCH + timedelta(microseconds=microseconds), hub


def hub_of(note: Mapping[str, object]) -> int:
    """The number of the hub that a note was made for: the first 12 bits of its nonce."""
    return int(note["nonce"][:3], 16)
