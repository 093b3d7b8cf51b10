"""RFC 3161 time stamps: a time stamping authority signs that it has seen a hash, and when.

openssl (`openssl ts`) does the cryptography. However, it accepts input that is not DER, and ignores
the parts of a reply that the signature does not cover. Therefore these are compared with their only
valid form, so that no byte of a reply can be changed unnoticed.
"""

import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

import web
from messages import InputError, explaining, quote

SECONDS_FOR_OPENSSL = 60
MOST_OF_OPENSSL = 125  # its highest own exit status; a shell's are higher
FROM_DER, NOWHERE = ("-inform", "DER", "-in"), ("-out", os.devnull)
DEEPEST = 32  # levels of nested values


class Tag(IntEnum):
    """The DER tags that matter here."""

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
    """Object identifiers: signed data, the time stamp in it, and RSA without a hash."""

    SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
    STAMP = bytes.fromhex("2a864886f70d0109100104")
    RSA = bytes.fromhex("2a864886f70d010101")


# Some authorities name RSA together with a hash, and openssl ignores which one.
RSA_AND_A_HASH = [
    (Tag.OID, bytes.fromhex("2a864886f70d01010b")),  # SHA-256
    (Tag.OID, bytes.fromhex("2a864886f70d01010c")),  # SHA-384
    (Tag.OID, bytes.fromhex("2a864886f70d01010d")),  # SHA-512
]
HASHES = {
    bytes.fromhex("608648016503040201"): "sha256",
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
    issuer: object  # of the signer's certificate; like serial, a tree
    serial: object


def request(url: str, data: bytes) -> tuple[bytes, Stamp]:
    """Request a time stamp of data from an authority, which learns only the data's SHA-256.

    Returns the reply, without the authority's unsigned remarks, and what it says. Raises InputError
    if there is no answer, or if it is not a valid stamp.
    """
    with temporary_folder() as folder:
        given, query = folder / "data", folder / "query"
        given.write_bytes(data)
        if said := openssl("ts", "-query", "-data", given, "-sha256", "-cert", "-out", query):
            raise InputError(f"expected openssl to make a query, but it says {quote(said)}")
        asked = query.read_bytes()
    answer = web.post(url, asked, "application/timestamp-query")
    if answer.status != web.OK:
        raise InputError(f"{quote(url)}: expected a time stamp, but the server says {answer.said}")
    try:
        reply = granted(answer.body)
        stamp = check(reply, data, None)
        (_, [_, _, (_, nonce), *_]) = read_der(asked)[0]
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
    with temporary_folder() as folder:
        (folder / "reply").write_bytes(reply)
        (folder / "data").write_bytes(data)
        token, signer, others = folder / "token", folder / "signer", folder / "others"
        # openssl's messages do not tell these failures apart.
        if (
            openssl("ts", "-reply", "-in", folder / "reply", "-token_out", "-out", token)
            or openssl("cms", "-verify", "-noverify", *FROM_DER, token, "-signer", signer, *NOWHERE)
            or openssl("pkcs7", *FROM_DER, token, "-print_certs", "-out", others)
        ):
            raise StampError("its signature is not valid")
        trusted = signer
        if roots is not None:
            trusted = folder / "roots"
            trusted.write_bytes(roots)
        verify = ["ts", "-verify", "-in", folder / "reply", "-data", folder / "data"]
        verify += ["-CAfile", trusted, "-attime", str(int(parsed.time.timestamp()))]
        said = openssl(*verify, *(["-partial_chain"] if roots is None else []))
        if said and roots is None:
            raise StampError(f"its certificate is not for time stamps ({said})")
        if said:
            raise StampError(f"it does not lead back to a root certificate that you trust ({said})")
        return check_certificates(parsed, signer.read_bytes(), others.read_bytes(), roots)


def check_certificates(parsed: Reply, signer: bytes, sent: bytes, roots: bytes | None) -> Stamp:
    """Check what openssl does not: that all certificates are the authority's, and no others.

    All are in PEM. Raises StampError if one is not the authority's, or cannot be read.
    """
    try:
        authority = x509.load_pem_x509_certificate(signer)
        others = x509.load_pem_x509_certificates(sent)
        trusted = x509.load_pem_x509_certificates(roots) if roots is not None else [authority]
        named = read_der(authority.tbs_certificate_bytes)[0][1]
        if parsed.serial not in named or parsed.issuer not in named:
            raise StampError("its signature is not from the certificate that it names")
        chain = [authority]
        while chain[-1] not in trusted:
            left = [each for each in [*trusted, *others] if each not in chain]
            chain.append(issuer_of(chain[-1], left))
        known = {*chain, *(each for each in others if is_same_authority(each, trusted))}
        if roots is not None and (len(set(others)) < len(others) or not known.issuperset(others)):
            raise StampError("it contains certificates that are not the authority's")
        ends = min(each.not_valid_after_utc for each in chain)
        names = authority.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        name = str(names[0].value) if names else authority.subject.rfc4514_string()
    except CERTIFICATE_ERRORS:
        raise StampError("its certificates cannot be read") from None
    return Stamp(parsed.time, name, ends if ends < datetime.now(UTC) else None)


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
            raise StampError("it is not an RFC 3161 time stamp that includes its certificate")
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
            return Reply(
                identifier(hash_of_data, HASHES), digest, read_time(time), nonce, issuer, serial
            )
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

    Raises InputError if it cannot be run, StampError if it does not finish in time.
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
        raise StampError(f"openssl did not finish within {SECONDS_FOR_OPENSSL} s") from None
    if done.returncode < 0 or done.returncode > MOST_OF_OPENSSL:
        raise InputError(f"cannot run openssl: it ended with status {done.returncode}")
    if done.returncode == 0:
        return ""
    said = done.stderr.decode(errors="replace").strip().splitlines() or [""]
    return said[-1].rpartition(":")[2][:100] or "no reason given"
