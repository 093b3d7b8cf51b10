"""Time stamps of RFC 3161: a time stamping authority signs that it has seen a hash, and when.

The cryptography is openssl's (`openssl ts`). But openssl takes what is not DER, and does not look
at the parts of a reply that no signature covers; so these are compared with the only way that there
is to write them, and no byte of a reply can be another one.
"""

import hashlib
import os
import re
import subprocess
import tempfile
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

import web
from messages import InputError, quote

SECONDS_FOR_OPENSSL = 60
DEEPEST = 32  # values within values


class Tag(IntEnum):
    """What a value of DER begins with, where it matters here."""

    INTEGER = 0x02
    OCTETS = 0x04
    NULL = 0x05
    OID = 0x06
    TIME = 0x18
    SEQUENCE = 0x30
    SET = 0x31
    CONTEXT_0 = 0xA0


CONSTRUCTED = {Tag.SEQUENCE, Tag.SET, *range(0xA0, 0xB0)}
PRIMITIVE = {*range(0x01, 0x1F), *range(0x80, 0x90)} - {0x10, 0x11}


class Id:
    """Object identifiers: signed data, what a time stamp is in it, and RSA without a hash."""

    SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
    STAMP = bytes.fromhex("2a864886f70d0109100104")
    RSA = bytes.fromhex("2a864886f70d010101")


HASHES = {
    bytes.fromhex("608648016503040201"): "sha256",
    bytes.fromhex("608648016503040202"): "sha384",
    bytes.fromhex("608648016503040203"): "sha512",
}
SIGNATURES = {
    bytes.fromhex("2a864886f70d01010b"): "sha256",  # RSA
    bytes.fromhex("2a864886f70d01010c"): "sha384",
    bytes.fromhex("2a864886f70d01010d"): "sha512",
    bytes.fromhex("2a8648ce3d040302"): "sha256",  # ECDSA
    bytes.fromhex("2a8648ce3d040303"): "sha384",
    bytes.fromhex("2a8648ce3d040304"): "sha512",
}


class StampError(ValueError):
    """A reply that is no valid stamp of the data; the message says why, in half a sentence."""


class Stamp(NamedTuple):
    """When the data was there at the latest, and who says so.

    `expired` is when the certificate of the authority expired, None if it has not.
    """

    time: datetime
    authority: str
    expired: datetime | None


class Reply(NamedTuple):
    """The parts of a reply that are looked at; trees are as `read_der` gives them."""

    hash: str  # of the data: the name of its algorithm, and its value
    digest: bytes
    time: datetime
    nonce: bytes | None
    issuer: object  # of the signer's certificate, as trees
    serial: object


def request(url: str, data: bytes) -> bytes:
    """A time stamp of data from an authority, which learns the SHA-256 of the data alone.

    Raises InputError if there is no answer, or none that is a valid stamp.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, query = Path(folder, "data"), Path(folder, "query")
        given.write_bytes(data)
        openssl("ts", "-query", "-data", given, "-sha256", "-cert", "-out", query)
        asked = query.read_bytes()
    answer = web.post(url, asked, "application/timestamp-query")
    if answer.status != web.OK:
        raise InputError(f"{quote(url)}: expected a time stamp, but the server says {answer.said}")
    try:
        check(answer.body, data, None)
        (_, [_, _, (_, nonce), *_]) = read_der(asked)[0]
        if parse(answer.body).nonce != nonce:
            raise StampError("it answers another question")
    except StampError as error:
        raise InputError(f"{quote(url)}: expected a time stamp, but {error}") from None
    return answer.body


def check(reply: bytes, data: bytes, roots: bytes | None) -> Stamp:
    """Check that a reply is a stamp of data by an authority for whom one of the roots vouches.

    `roots` are certificates in PEM; without them only the authority's own word is checked. Raises
    StampError if the stamp is not valid.
    """
    parsed = parse(reply)
    if hashlib.new(parsed.hash, data).digest() != parsed.digest:
        raise StampError("it is about something else")
    with tempfile.TemporaryDirectory() as folder:
        places = {
            name: Path(folder, name)
            for name in ("reply", "data", "roots", "token", "signer", "others")
        }
        places["reply"].write_bytes(reply)
        places["data"].write_bytes(data)
        openssl("ts", "-reply", "-in", places["reply"], "-token_out", "-out", places["token"])
        token = ("-inform", "DER", "-in", places["token"], "-out", os.devnull)
        if openssl("cms", "-verify", "-noverify", *token, "-signer", places["signer"]):
            raise StampError("its signature is not valid")
        pkcs7 = ("pkcs7", "-inform", "DER", "-in", places["token"], "-print_certs")
        openssl(*pkcs7, "-out", places["others"])
        try:
            signer = x509.load_pem_x509_certificate(places["signer"].read_bytes())
            others = x509.load_pem_x509_certificates(places["others"].read_bytes())
        except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm):
            raise StampError("its certificates cannot be read") from None
        named = read_der(signer.tbs_certificate_bytes)[0][1]
        if parsed.serial not in named or parsed.issuer not in named:
            raise StampError("it is signed with another certificate than it says")
        authority, expired = signer.subject.rfc4514_string(), None
        if roots is not None:
            places["roots"].write_bytes(roots)
            check_issuers(others, roots)
            verify = ("ts", "-verify", "-in", places["reply"], "-data", places["data"])
            verify += ("-CAfile", places["roots"])
            if said := openssl(*verify, "-attime", str(int(parsed.time.timestamp()))):
                raise StampError(f"it does not lead back to the root certificates given ({said})")
            if openssl(*verify):
                expired = min(each.not_valid_after_utc for each in [signer, *others])
        return Stamp(parsed.time, authority, expired)


def check_issuers(certificates: list[x509.Certificate], roots: bytes) -> None:
    """Raise StampError unless each certificate was issued by another, or one of the roots.

    Openssl looks at those alone that lead from the signer to a root.
    """
    try:
        issuers = [*certificates, *x509.load_pem_x509_certificates(roots)]
    except ValueError:
        raise InputError("expected root certificates in PEM, found something else") from None
    for each in certificates:
        if not any(is_issued_by(each, issuer) for issuer in issuers):
            raise StampError("nobody vouches for one of its certificates")


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def parse(reply: bytes) -> Reply:
    """Take a reply apart. Raises StampError if it is written in any other way than this one."""
    match read_der(reply):
        case [(Tag.SEQUENCE, [(Tag.SEQUENCE, [(Tag.INTEGER, status), *_]), *_])] if status != b"\0":
            raise StampError("the authority refused it")
        case [(Tag.SEQUENCE, [
            (Tag.SEQUENCE, [(Tag.INTEGER, b"\0")]),
            (Tag.SEQUENCE, [(Tag.OID, Id.SIGNED_DATA), (Tag.CONTEXT_0, [(Tag.SEQUENCE, [
                (Tag.INTEGER, b"\3"),
                (Tag.SET, [algorithm]),
                (Tag.SEQUENCE, [(Tag.OID, Id.STAMP), (Tag.CONTEXT_0, [(Tag.OCTETS, content)])]),
                (Tag.CONTEXT_0, _),
                (Tag.SET, [(Tag.SEQUENCE, [
                    (Tag.INTEGER, b"\1"),
                    (Tag.SEQUENCE, [issuer, serial]),
                    same_algorithm,
                    (Tag.CONTEXT_0, _),
                    signature,
                    (Tag.OCTETS, _),
                ])]),
            ])])]),
        ])] if algorithm == same_algorithm:  # fmt: skip
            pass
        case _:
            raise StampError("it is not written as a time stamp with its certificate is")
    hash_of_content = identifier(algorithm, HASHES)
    if identifier(signature, {**SIGNATURES, Id.RSA: hash_of_content}) != hash_of_content:
        raise StampError("it is signed in a way that is not known here")
    match read_der(content):
        case [(Tag.SEQUENCE, [
            (Tag.INTEGER, b"\1"),
            (Tag.OID, _),
            (Tag.SEQUENCE, [hash_of_data, (Tag.OCTETS, digest)]),
            (Tag.INTEGER, _),
            (Tag.TIME, time),
            *more,
        ])]:  # fmt: skip
            nonce = next((value for tag, value in more if tag == Tag.INTEGER), None)
            return Reply(
                identifier(hash_of_data, HASHES), digest, read_time(time), nonce, issuer, serial
            )
    raise StampError("it does not say what was stamped, and when")


def identifier(algorithm: object, known: dict[bytes, str]) -> str:
    """The hash that an algorithm uses, without parameters. Raises StampError for others."""
    match algorithm:
        case (Tag.SEQUENCE, [(Tag.OID, name)] | [(Tag.OID, name), (Tag.NULL, b"")]):
            if name in known:
                return known[name]
    raise StampError("it is signed in a way that is not known here")


def read_time(text: bytes) -> datetime:
    found = re.fullmatch(rb"([0-9]{14})(?:\.([0-9]{1,6}))?Z", text)
    try:
        time = datetime.strptime(found[1].decode(), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except (TypeError, ValueError):
        raise StampError("its time is none") from None
    return time.replace(microsecond=int((found[2] or b"0").ljust(6, b"0")))


def read_der(data: bytes, depth: int = 0) -> list[tuple[int, object]]:
    """The values that DER (ITU-T X.690) consists of: the tag of each, and its bytes or values.

    Raises StampError for what is not DER: lengths and tags that could be written otherwise.
    """
    values = []
    while data:
        tag, start, length = data[0], 2, int.from_bytes(data[1:2])
        if length > 0x80:
            start += length - 0x80
            length = int.from_bytes(data[2:start])
            if length < 0x80 or data[2] == 0:
                raise StampError("it is not DER")
        content = data[start : start + length]
        known = tag in CONSTRUCTED or tag in PRIMITIVE
        if not known or length == 0x80 == data[1] or len(content) < length or depth > DEEPEST:
            raise StampError("it is not DER")
        values.append((tag, read_der(content, depth + 1) if tag in CONSTRUCTED else content))
        data = data[start + length :]
    return values


def openssl(*arguments: object) -> str:
    """Run openssl; give what it says is wrong, nothing if all is well."""
    environment = {"PATH": os.environ.get("PATH", os.defpath), "OPENSSL_CONF": os.devnull}
    try:
        done = subprocess.run(
            ["openssl", *map(str, arguments)],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS_FOR_OPENSSL,
        )
    except FileNotFoundError:
        raise InputError("expected openssl to be installed, found no such program") from None
    except subprocess.TimeoutExpired:
        raise StampError("openssl does not come to an end with it") from None
    if done.returncode == 0:
        return ""
    said = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
    return said[-1].rpartition(":")[2][:100] or "no reason given"
