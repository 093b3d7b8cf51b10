"""Keys: the signer's secret key, and the public keys that a user trusts."""

import getpass
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_ssh_private_key,
    load_ssh_public_key,
)

import seal
from messages import InputError, explaining, quote

LONGEST_FILE = 1024 * 1024  # bytes
OPENSSH, PEM = b"-----BEGIN OPENSSH PRIVATE KEY-----", b"-----BEGIN "
ED25519_OF_SSH = "ssh-ed25519"
OTHERS_OF_SSH = ("ssh-", "ecdsa-", "sk-", "webauthn-")
MULTIKEY = "z6Mk"  # the beginning of an Ed25519 public key
KINDS = (
    "a secret Ed25519 key of OpenSSH (ssh-keygen -t ed25519), in PKCS#8 PEM (openssl genpkey "
    "-algorithm ed25519) or of iscc-crypto (z3u2...)"
)


class Trusted(NamedTuple):
    """A public key, 32 bytes, and its owner, as named by the list that contains it."""

    key: bytes
    owner: str


class Document(NamedTuple):
    """A controller document: its subject, and the keys for assertions by their identifiers."""

    owner: str
    methods: dict[str, bytes]


def read_secret(path: Path) -> Ed25519PrivateKey:
    """Read a secret key from a file; asks for its passphrase on the terminal if it has one.

    Raises InputError, which never quotes from the file.
    """
    called = quote(str(path))
    data = read_file(path, str(path)).lstrip()
    found = "a public key" if data.startswith((b"ssh-", MULTIKEY.encode())) else "something else"
    wrong = f"expected {KINDS}, found {found}"
    try:
        try:
            key = load_secret(data, None)
        except TypeError:  # it is encrypted
            wrong = "the passphrase is wrong; try again"
            key = load_secret(data, ask_passphrase(called))
    except (ValueError, TypeError):
        raise InputError(f"{called}: {wrong}") from None
    except UnsupportedAlgorithm:
        raise InputError(
            f"{called}: expected {KINDS}, found one of another kind, as from a hardware token, or "
            "one with a passphrase, which needs the package bcrypt"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{called}: expected {KINDS}, found a key of another kind")
    return key


def load_secret(data: bytes, passphrase: bytes | None) -> object:
    """Read a key in any of the formats.

    Raises TypeError if a passphrase is needed, ValueError if it is wrong or this is not a key.
    """
    if data.startswith(OPENSSH):
        return load_ssh_private_key(data, passphrase)
    if data.startswith(PEM):
        return load_pem_private_key(data, passphrase)
    text = data.decode("ascii").strip()
    secret = seal.decode(text, seal.SECRET_KEY, seal.KEY_BYTES)
    return Ed25519PrivateKey.from_private_bytes(secret)


def ask_passphrase(called: str) -> bytes:
    try:
        with Path("/dev/tty").open("rb"):  # without it, getpass would echo what is typed
            return getpass.getpass(f"Passphrase of {called}: ").encode()
    except (EOFError, OSError):
        raise InputError(
            f"{called}: expected a terminal on which to ask for its passphrase, found none"
        ) from None


def read_trusted(data: bytes, called: str) -> list[Trusted]:
    """Read keys from a list with one per line, or from a controller document (did.json).

    A line is `z6Mk...` or `ssh-ed25519 AAAA...`, optionally followed by the owner. Comments begin
    with #. SSH keys of other types are skipped, since seals cannot be made with them. Raises
    InputError, which never quotes from the list, as it might contain a secret key.
    """
    text = data.decode("utf-8-sig", errors="replace")
    if text.lstrip().startswith("{"):
        document = read_document(data, called)
        return [Trusted(key, document.owner) for key in document.methods.values()]
    trusted = []
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.split()
        if not words or words[0].startswith("#") or is_other_key(words[0]):
            continue
        try:
            trusted.append(parse_line(words))
        except (ValueError, UnsupportedAlgorithm):
            raise InputError(
                f"{called}, line {number}: expected a public key, z6Mk... or ssh-ed25519 AAAA..., "
                f"optionally followed by a name, found {kind_of(line)}"
            ) from None
    if not trusted:
        raise InputError(f"{called}: expected a key of somebody you trust, found none")
    return trusted


def is_other_key(word: str) -> bool:
    return word.startswith(OTHERS_OF_SSH) and word != ED25519_OF_SSH


def kind_of(line: str) -> str:
    """Describe what a line contains instead of a public key."""
    if "PRIVATE KEY" in line or line.lstrip().startswith("z3u2"):
        return "a secret key, which nobody else may have"
    return "something else"


def parse_line(words: list[str]) -> Trusted:
    """The key in a line. Raises ValueError if there is none."""
    if words[0] != ED25519_OF_SSH:
        return Trusted(seal.public_key(words[0]), " ".join(words[1:]))
    key = load_ssh_public_key(" ".join(words[:2]).encode())
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError
    seal.check_public_key(key.public_bytes_raw())
    return Trusted(key.public_bytes_raw(), " ".join(words[2:]))


def read_document(data: bytes, called: str) -> Document:
    """Read a controller document (did.json); only Ed25519 keys are used.

    Keys are skipped if they are not for assertions, were revoked, or have expired.
    """
    document = seal.read_json(data.removeprefix(b"\xef\xbb\xbf"), called, LONGEST_FILE)
    try:
        owner = document["id"]
        if not re.fullmatch(r"did:\S{1,2000}", owner):
            raise ValueError
        vouching = document["assertionMethod"]
        listed = [*document["verificationMethod"]]
        listed += [each for each in vouching if not isinstance(each, str)]
        named = {resolve(each if isinstance(each, str) else each["id"], owner) for each in vouching}
        methods, known = {}, {}
        for each in listed:
            name = resolve(each["id"], owner)
            if known.setdefault(name, each) != each:
                raise ValueError  # two keys with one identifier are ambiguous
            is_own = each["controller"] == owner and name.startswith(f"{owner}#")
            if name in named and is_own and is_usable(each):
                methods[name] = seal.public_key(each["publicKeyMultibase"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise InputError(
            f"{called}: expected a controller document (did.json) whose assertionMethod names "
            "Ed25519 keys (Multikey), found something else"
        ) from None
    if not methods:
        raise InputError(
            f"{called}: expected an Ed25519 key that may vouch for something, and is neither "
            "revoked nor expired, found none"
        )
    return Document(owner, methods)


def resolve(name: str, owner: str) -> str:
    """The full identifier of a key, which may be given relative to its document: #key-1."""
    return owner + name if name.startswith("#") else name


def is_usable(method: Mapping[str, object]) -> bool:
    """Whether a key is for Ed25519, was not revoked, and has not expired.

    Raises ValueError or TypeError if `expires` is not a time.
    """
    if not str(method.get("publicKeyMultibase")).startswith(MULTIKEY) or "revoked" in method:
        return False
    if "expires" not in method:
        return True
    expires = datetime.fromisoformat(method["expires"])
    return (expires if expires.tzinfo else expires.replace(tzinfo=UTC)) > datetime.now(UTC)


def read_file(path: Path, name: str) -> bytes:
    """Read a file of limited size; messages call it `name`. Raises InputError."""
    with explaining("read", name), path.open("rb") as stream:
        data = stream.read(LONGEST_FILE + 1)
    if len(data) > LONGEST_FILE:
        raise InputError(f"{quote(name)}: expected at most {LONGEST_FILE:,} bytes, found more")
    return data
