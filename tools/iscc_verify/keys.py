"""Keys: the secret one of a signer, and the public ones of those who are trusted."""

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
OTHER_SSH_KEYS = ("ssh-rsa", "ssh-dss", "ecdsa-sha2-", "sk-")
KINDS = (
    "an Ed25519 key of OpenSSH (ssh-keygen -t ed25519), one in PKCS#8 PEM (openssl genpkey "
    "-algorithm ed25519), or one of iscc-crypto (z3u2...)"
)


class Trusted(NamedTuple):
    """A public key, 32 bytes, and whose it is, as the list says that it comes from."""

    key: bytes
    owner: str


def read_secret(path: Path) -> Ed25519PrivateKey:
    """A secret key from a file; asks for its passphrase on the terminal if it has one.

    Raises InputError, which never quotes from the file.
    """
    called = quote(str(path))
    data = read_file(path, called)
    wrong = f"expected {KINDS}, found something else"
    try:
        try:
            key = load_secret(data, None)
        except TypeError:  # it is encrypted
            wrong = "this is not its passphrase; try again"
            key = load_secret(data, ask(f"Passphrase of {called}: ").encode())
    except (ValueError, TypeError):
        raise InputError(f"{called}: {wrong}") from None
    except UnsupportedAlgorithm:  # of OpenSSH, whose passphrases are for bcrypt
        raise InputError(
            f"{called}: expected the package bcrypt to be installed, which keys of OpenSSH with a "
            "passphrase need, found none"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{called}: expected {KINDS}, found a key of another kind")
    return key


def load_secret(data: bytes, passphrase: bytes | None) -> object:
    """Raises TypeError if a passphrase is needed, ValueError if it is wrong or this is no key."""
    if data.startswith(OPENSSH):
        return load_ssh_private_key(data, passphrase)
    if data.startswith(PEM):
        return load_pem_private_key(data, passphrase)
    text = data.decode("ascii").strip()
    return Ed25519PrivateKey.from_private_bytes(
        seal.decode(text[:100], seal.SECRET_KEY, seal.KEY_BYTES)
    )


def ask(prompt: str) -> str:
    try:
        return getpass.getpass(prompt)
    except EOFError:
        raise InputError("expected a passphrase on the terminal, found none") from None


def read_trusted(data: bytes, called: str) -> list[Trusted]:
    """Keys from a list with one a line, or from a controller document (did.json).

    A line is `z6Mk...` or `ssh-ed25519 AAAA...`, and behind it whose it is. Comments begin with #.
    SSH keys of other kinds are left out, as nobody can seal with them.
    """
    if data.lstrip()[:1] == b"{":
        document = seal.read_json(data, called, LONGEST_FILE)
        return [Trusted(key, document["id"]) for key in methods(document, called).values()]
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{called}: expected a list of keys as text, found other bytes") from None
    trusted = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or line.lstrip().startswith("#") or words[0].startswith(OTHER_SSH_KEYS):
            continue
        try:
            trusted.append(trusted_in(words))
        except (ValueError, UnsupportedAlgorithm):
            raise InputError(
                f"{called}, line {number}: expected a public key, z6Mk... or ssh-ed25519 AAAA..., "
                "and perhaps a name behind it, found something else"
            ) from None
    if not trusted:
        raise InputError(f"{called}: expected a key of somebody you trust, found none")
    return trusted


def trusted_in(words: list[str]) -> Trusted:
    """The key in a line. Raises ValueError if there is none."""
    if words[0] == "ssh-ed25519":
        key = load_ssh_public_key(" ".join(words[:2]).encode())
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError
        return Trusted(key.public_bytes_raw(), " ".join(words[2:]))
    return Trusted(
        seal.decode(words[0][:100], seal.PUBLIC_KEY, seal.KEY_BYTES), " ".join(words[1:])
    )


def methods(document: object, called: str) -> dict[str, bytes]:
    """The keys of a controller document that may vouch for something, by their identifiers.

    Left out are those that were revoked, or have expired by now.
    """
    try:
        owner = document["id"]
        vouching = {
            each if isinstance(each, str) else each["id"] for each in document["assertionMethod"]
        }
        listed = [*document["verificationMethod"]]
        listed += [each for each in document["assertionMethod"] if not isinstance(each, str)]
        found = {
            each["id"]: seal.decode(each["publicKeyMultibase"], seal.PUBLIC_KEY, seal.KEY_BYTES)
            for each in listed
            if each["id"] in vouching and each["controller"] == owner and is_current(each)
        }
        if not isinstance(owner, str) or not re.fullmatch(r"did:\S{1,2000}", owner):
            raise ValueError
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(
            f"{called}: expected a controller document (did.json) whose assertionMethod names "
            "Ed25519 keys (Multikey), found something else"
        ) from None
    if not found:
        raise InputError(f"{called}: expected a key that may vouch for something, found none")
    return found


def is_current(method: Mapping[str, object]) -> bool:
    """Whether a key was not revoked and has not expired. Raises ValueError for no time."""
    expires = method.get("expires")
    if "revoked" in method:
        return False
    return expires is None or datetime.fromisoformat(expires).astimezone(UTC) > datetime.now(UTC)


def read_file(path: Path, called: str) -> bytes:
    """A file that is not endless."""
    with explaining("read", str(path)), path.open("rb") as stream:
        data = stream.read(LONGEST_FILE + 1)
    if len(data) > LONGEST_FILE:
        raise InputError(f"{called}: expected at most {LONGEST_FILE:,} bytes, found more")
    return data
