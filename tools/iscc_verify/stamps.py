"""RFC 3161 time stamps: a time stamping authority signs that it has seen a hash, and when.

openssl (`openssl ts -verify`) does the cryptography. However, it accepts input that is not DER, and
ignores the parts of a reply that the signature does not cover. Therefore these have to have exactly
one form here, so that no single byte of a reply can be changed unnoticed.
"""

import hashlib
import os
import re
import secrets
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

import web
from messages import InputError, explaining, quote

SECONDS_FOR_OPENSSL = 60
MOST_OF_OPENSSL = 125  # its highest own exit status; a shell's are higher
LEAST_SECURITY = "2"  # openssl's level of 112 bits: no RSA key below 2048 bits, no SHA-1
DEEPEST = 32  # levels of nested values


class Tag(IntEnum):
    """The DER tags that matter here."""

    BOOLEAN = 0x01
    INTEGER = 0x02
    OCTETS = 0x04
    NULL = 0x05
    OID = 0x06
    TIME = 0x18
    SEQUENCE = 0x30
    SET = 0x31
    CONTEXT_0 = 0xA0
    CONTEXT_1 = 0xA1


CONSTRUCTED = {Tag.SEQUENCE, Tag.SET, *range(0xA0, 0xB0)}
PRIMITIVE = {*range(0x01, 0x1F), *range(0x80, 0x90)} - {0x10, 0x11}


class Id:
    """Object identifiers: signed data, the time stamp in it, its type, RSA, and SHA-256."""

    SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
    STAMP = bytes.fromhex("2a864886f70d0109100104")
    CONTENT_TYPE = bytes.fromhex("2a864886f70d010903")
    RSA = bytes.fromhex("2a864886f70d010101")  # without a hash
    SHA256 = bytes.fromhex("608648016503040201")


# Some authorities name RSA together with a hash, and openssl ignores which one.
RSA_AND_A_HASH = [
    (Tag.OID, bytes.fromhex("2a864886f70d01010b")),  # SHA-256
    (Tag.OID, bytes.fromhex("2a864886f70d01010c")),  # SHA-384
    (Tag.OID, bytes.fromhex("2a864886f70d01010d")),  # SHA-512
]
HASHES = {
    Id.SHA256: "sha256",
    bytes.fromhex("608648016503040202"): "sha384",
    bytes.fromhex("608648016503040203"): "sha512",
}
ECDSA = {
    bytes.fromhex("2a8648ce3d040302"): "sha256",
    bytes.fromhex("2a8648ce3d040303"): "sha384",
    bytes.fromhex("2a8648ce3d040304"): "sha512",
}


UNSUPPORTED = (
    "its algorithms are not supported: expected SHA-256, SHA-384 or SHA-512, with rsaEncryption or "
    "ECDSA"
)

# What reading a malformed certificate may raise.
CERTIFICATE_ERRORS = (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm)


class StampError(Exception):
    """A reply that is not a valid stamp of the data; the message says why, as a clause."""


class Stamp(NamedTuple):
    """A time by which the data existed, and the authority that confirms it.

    `expired` is when the first certificate of the chain to a root expired, None if none has.
    """

    time: datetime
    authority: str
    expired: datetime | None


class Reply(NamedTuple):
    """The parts of a reply that are checked; trees are as returned by `read_der`."""

    hash: str  # name of the hash algorithm
    digest: bytes  # hash of the data
    time: datetime
    nonce: bytes | None
    certificates: list  # like the next two, trees
    issuer: object  # of the signer's certificate
    serial: object


def request(url: str, data: bytes) -> tuple[bytes, Stamp]:
    """Request a time stamp of data from an authority, which learns only the data's SHA-256.

    Returns the reply, without the authority's unsigned remarks, and what it says. Raises InputError
    if there is no answer, or if it is not a valid stamp.
    """
    digest = hashlib.sha256(data).digest()
    nonce = (secrets.randbits(62) | 1 << 62).to_bytes(8)  # positive, with one possible spelling
    algorithm = (Tag.SEQUENCE, [(Tag.OID, Id.SHA256), (Tag.NULL, b"")])
    asked = [
        (Tag.INTEGER, b"\1"),
        (Tag.SEQUENCE, [algorithm, (Tag.OCTETS, digest)]),
        (Tag.INTEGER, nonce),
        (Tag.BOOLEAN, b"\xff"),  # the reply has to include the certificate
    ]
    query = write_der([(Tag.SEQUENCE, asked)])
    answer = web.post(url, query, "application/timestamp-query")
    if answer.status != web.OK:
        raise InputError(f"{quote(url)}: expected a time stamp, but the server says {answer.said}")
    try:
        reply = granted(answer.body)
        stamp = check(reply, data, None)
        if parse(reply).nonce != nonce:
            raise StampError("it answers another request")
    except StampError as error:
        raise InputError(f"{quote(url)}: expected a time stamp, but {error}") from None
    return reply, stamp


def granted(reply: bytes) -> bytes:
    """A granted reply in the form that `check` accepts: its status is 0, and it says nothing else.

    RSA has its name without a hash. Raises StampError if the authority refused.
    """
    match read_der(reply):
        case [(Tag.SEQUENCE, [(Tag.SEQUENCE, [(Tag.INTEGER, b"\0" | b"\1"), *_]), token])]:
            status = (Tag.SEQUENCE, [(Tag.INTEGER, b"\0")])
            name_rsa_alone(token)
            return write_der([(Tag.SEQUENCE, [status, token])])
    raise StampError("the authority refused to give one")


def name_rsa_alone(token: object) -> None:
    """In a token signed with RSA, replace its name with a hash, which is not signed."""
    match token:
        case (_, [_, (_, [(_, [*_, (Tag.SET, [(_, [*_, (Tag.SEQUENCE, algorithm), _])])])])]):
            if algorithm[0] in RSA_AND_A_HASH:
                algorithm[0] = (Tag.OID, Id.RSA)


def check(reply: bytes, data: bytes, roots: bytes | None) -> Stamp:
    """Check that a reply is a stamp of data by an authority that leads back to one of the roots.

    `roots` are certificates in PEM; if None, the authority's own certificate is trusted. Raises
    StampError if the stamp is not valid.
    """
    parsed = parse(reply)
    if hashlib.new(parsed.hash, data).digest() != parsed.digest:
        raise StampError("it is for other data")
    try:
        with warnings.catch_warnings(action="ignore"):  # the library's, about certificates
            others = [
                x509.load_der_x509_certificate(write_der([each])) for each in parsed.certificates
            ]
            signer = signer_among(others, parsed)
            trusted = [signer] if roots is None else x509.load_pem_x509_certificates(roots)
            check_signature(reply, data, parsed.time, signer if roots is None else roots)
            return check_certificates(parsed.time, signer, others, trusted, roots is not None)
    except CERTIFICATE_ERRORS:
        raise StampError("its certificates cannot be read") from None


def check_signature(
    reply: bytes, data: bytes, time: datetime, trusted: x509.Certificate | bytes
) -> None:
    """Raise StampError unless a reply is a stamp of data by somebody who was trusted at a time.

    `trusted` is the signer's certificate, or root certificates in PEM.
    """
    is_signer = isinstance(trusted, x509.Certificate)
    with temporary_folder() as folder:
        (folder / "reply").write_bytes(reply)
        (folder / "data").write_bytes(data)
        pem = trusted.public_bytes(Encoding.PEM) if is_signer else trusted
        (folder / "trusted").write_bytes(pem)
        verify = ["ts", "-verify", "-in", folder / "reply", "-data", folder / "data"]
        verify += ["-CAfile", folder / "trusted", *(["-partial_chain"] if is_signer else [])]
        verify += ["-auth_level", LEAST_SECURITY, "-attime", str(int(time.timestamp()))]
        said = openssl(*verify)
        if said and openssl("ts", "-help"):
            raise InputError("cannot run openssl: expected OpenSSL's command ts, found none")
    if said:
        or_not_yours = (
            "" if is_signer else ", or does not lead to a root certificate that you trust"
        )
        raise StampError(f"its signature is not valid{or_not_yours} ({said})")


def signer_among(certificates: Sequence[x509.Certificate], parsed: Reply) -> x509.Certificate:
    """The certificate that a reply names as that of its signer. Raises StampError if unclear."""
    found = []
    for each in certificates:
        named = read_der(each.tbs_certificate_bytes)[0][1]
        if parsed.serial in named and parsed.issuer in named:
            found.append(each)
    if len(found) != 1:
        raise StampError(f"it names one certificate as its signer's, and contains {len(found)}")
    return found[0]


def check_certificates(
    time: datetime,
    signer: x509.Certificate,
    others: Sequence[x509.Certificate],
    trusted: Sequence[x509.Certificate],
    is_complete: bool,
) -> Stamp:
    """Check what openssl does not: that all certificates are the authority's, and no others.

    `others` are all certificates of the reply; unless `is_complete`, nothing is known about their
    issuers. Raises StampError if one is not the authority's, or one of CERTIFICATE_ERRORS.
    """
    chain = [signer]
    while chain[-1] not in trusted:
        left = [each for each in [*trusted, *others] if each not in chain]
        chain.append(issuer_of(chain[-1], left))
    known = {*chain, *(each for each in others if is_same_authority(each, trusted))}
    if is_complete and (len(set(others)) < len(others) or not known.issuperset(others)):
        raise StampError("it contains certificates that are not the authority's")
    ends = min(each.not_valid_after_utc for each in chain)
    names = signer.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    name = str(names[0].value) if names else signer.subject.rfc4514_string()
    expired = ends if ends < datetime.now(UTC) else None
    return Stamp(time, name or "an authority without a name", expired)


def issuer_of(
    certificate: x509.Certificate, candidates: Sequence[x509.Certificate]
) -> x509.Certificate:
    """The first candidate that issued a certificate. Raises StampError if none did."""
    for each in candidates:
        with suppress(InvalidSignature, *CERTIFICATE_ERRORS):
            certificate.verify_directly_issued_by(each)
            return each
    raise StampError("the issuer of one of its certificates is missing")


def check_roots(pem: bytes, called: str) -> None:
    """Raise InputError unless these are certificates in PEM."""
    try:
        with warnings.catch_warnings(action="ignore"):
            x509.load_pem_x509_certificates(pem)
    except CERTIFICATE_ERRORS:
        raise InputError(f"{called}: expected certificates in PEM, found something else") from None


def is_same_authority(certificate: x509.Certificate, trusted: Sequence[x509.Certificate]) -> bool:
    """Whether a certificate has the name and key of a trusted one, whoever issued it."""
    return any(
        certificate.subject == each.subject and certificate.public_key() == each.public_key()
        for each in trusted
    )


def parse(reply: bytes) -> Reply:
    """Parse a reply. Raises StampError if it does not have exactly this structure."""
    match read_der(reply):
        case [(Tag.SEQUENCE, [
            (Tag.SEQUENCE, [(Tag.INTEGER, b"\0")]),
            (Tag.SEQUENCE, [(Tag.OID, Id.SIGNED_DATA), (Tag.CONTEXT_0, [(Tag.SEQUENCE, [
                (Tag.INTEGER, b"\3"),
                (Tag.SET, [algorithm]),
                (Tag.SEQUENCE, [(Tag.OID, Id.STAMP), (Tag.CONTEXT_0, [(Tag.OCTETS, content)])]),
                (Tag.CONTEXT_0, certificates),
                (Tag.SET, [(Tag.SEQUENCE, [
                    (Tag.INTEGER, b"\1"),
                    (Tag.SEQUENCE, [issuer, serial]),
                    same_algorithm,
                    (Tag.CONTEXT_0, attributes),
                    signature,
                    (Tag.OCTETS, _),
                ])]),
            ])])]),
        ])] if algorithm == same_algorithm:  # fmt: skip
            pass
        case _:
            raise StampError("it is not an RFC 3161 time stamp that includes its certificate")
    types = [
        value
        for _, attribute in attributes
        if isinstance(attribute, list)
        for value in attribute[1:]
        if attribute[0] == (Tag.OID, Id.CONTENT_TYPE)
    ]
    if types != [(Tag.SET, [(Tag.OID, Id.STAMP)])]:
        raise StampError("it was not signed as a time stamp")
    hash_of_content = identifier(algorithm, HASHES)
    if identifier(signature, {**ECDSA, Id.RSA: hash_of_content}) != hash_of_content:
        raise StampError(UNSUPPORTED)
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
            extensions = next((value for tag, value in more if tag == Tag.CONTEXT_1), [])
            if any((Tag.BOOLEAN, b"\xff") in list(each) for _, each in extensions):
                raise StampError("it has an extension that is critical, and not known here")
            found = identifier(hash_of_data, HASHES), digest, read_time(time), nonce
            return Reply(*found, certificates, issuer, serial)
    raise StampError("it does not contain the hash and the time of a stamp")


def identifier(algorithm: object, known: dict[bytes, str]) -> str:
    """The hash used by an algorithm without parameters. Raises StampError for others."""
    match algorithm:
        case (Tag.SEQUENCE, [(Tag.OID, name)] | [(Tag.OID, name), (Tag.NULL, b"")]):
            if name in known:
                return known[name]
    raise StampError(UNSUPPORTED)


def read_time(text: bytes) -> datetime:
    """Read a DER time, in UTC; fractions below a microsecond are cut off."""
    found = re.fullmatch(rb"([0-9]{14})(?:\.([0-9]{1,20}))?Z", text)
    try:
        time = datetime.strptime(found[1].decode(), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except (TypeError, ValueError):
        raise StampError("its time is not valid") from None
    return time.replace(microsecond=int((found[2] or b"0")[:6].ljust(6, b"0")))


def read_der(data: bytes, depth: int = 0) -> list[tuple[int, object]]:
    """Parse DER (ITU-T X.690) into values: the tag of each, and its bytes or inner values.

    Raises StampError for anything else, such as lengths and tags with another possible spelling.
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
        if len(data) < 2:
            raise StampError("it is not DER")
        if not known or length == 0x80 == data[1] or len(content) < length or depth > DEEPEST:
            raise StampError("it is not DER")
        values.append((tag, read_der(content, depth + 1) if tag in CONSTRUCTED else content))
        data = data[start + length :]
    return values


def write_der(values: list[tuple[int, object]]) -> bytes:
    """The reverse of `read_der`."""
    written = b""
    for tag, value in values:
        content = write_der(value) if isinstance(value, list) else value
        length = len(content).to_bytes(-(-len(content).bit_length() // 8))
        if len(content) < 0x80:
            written += bytes([tag, len(content)]) + content
        else:
            written += bytes([tag, 0x80 + len(length)]) + length + content
    return written


@contextmanager
def temporary_folder() -> Iterator[Path]:
    with (
        explaining("write", "files in the temporary directory"),
        tempfile.TemporaryDirectory() as folder,
    ):
        yield Path(folder)


def openssl(*arguments: object) -> str:
    """Run openssl. Returns its error message, or nothing if it succeeded.

    Raises InputError if it cannot be run, or does not finish in time.
    """
    try:
        done = subprocess.run(
            ["openssl", *map(str, arguments)],
            env={**os.environ, "OPENSSL_CONF": os.devnull},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS_FOR_OPENSSL,
        )
    except FileNotFoundError:
        raise InputError(
            "expected openssl to be installed, found no such program; time stamps need it"
        ) from None
    except OSError as error:
        raise InputError(f"cannot run openssl: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise InputError(
            f"cannot run openssl: it did not finish within {SECONDS_FOR_OPENSSL} s"
        ) from None
    if done.returncode < 0 or done.returncode > MOST_OF_OPENSSL:
        raise InputError(f"cannot run openssl: it ended with status {done.returncode}")
    if done.returncode == 0:
        return ""
    said = done.stderr.decode(errors="replace").strip().splitlines() or [""]
    return said[-1].rpartition(":")[2][:100] or "no reason given"
