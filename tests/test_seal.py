"""Seals: made, checked and attacked, using iscc-crypto, openssl and a receipt of a real hub.

The fixtures in test-data/seals were made independently: the note was signed by iscc-crypto with an
OpenSSH key, the time stamp was made by `openssl ts`, and the receipt by a hub on loopback.
"""

import base64
import hashlib
import json
import os
import pty
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import base58
import iscc_core
import iscc_crypto
import jcs
import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st
from iscc_schema.protocol_iscc_note import IsccNote

import iscc_seal
import keys
import receipts
import seal
import stamps
import web
from conftest import SCRIPTS
from dev.authority import ENDS, certificate, elliptic_key, make_authority, named, serving
from exploring import EXPLORES, FUZZING, chance, examples
from messages import InputError
from oracle import TEST_DATA, codes_of

SEALS = TEST_DATA / "seals"
TRAIL, SEALED = SEALS / "trail.tsv", SEALS / "trail.seal.json"
TRUSTING = ["--trusted", SEALS / "signer.pub", "--tsa-root", SEALS / "tsa-root.pem"]
TRUSTING += ["--hub", SEALS / "hub.did.json"]
SIGNER = "z6MknZYdGCTx8h37s4z6e892NpgZLLHbUwwTQiviozZ9keLx"  # as the README of the fixtures says
NOTE = json.loads(SEALED.read_text())["note"]
PASSPHRASE = "open sesame, 42 thieves"


@pytest.fixture(autouse=True)
def trail(tmp_path) -> Path:
    """The sealed file, as trail.tsv in the directory where the scripts run."""
    return Path(shutil.copy(TRAIL, tmp_path / "trail.tsv"))


def answers(report: Path) -> dict[str, list[str]]:
    """The answer to each question in a report, with its explanation."""
    lines = report.read_text().splitlines()
    assert lines[0] == "#question\tanswer\texplanation"
    return {question: rest for question, *rest in (line.split("\t") for line in lines[1:])}


# What others made


def test_a_seal_that_others_made_holds(script, tmp_path):
    options = ["--seal", SEALED, *TRUSTING, "--report", "report"]
    done = script("iscc_seal", "verify", "trail.tsv", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        'the seal of "trail.tsv" holds: content same, signature valid, signer trusted, time '
        "stamped, ISCC-ID declared\n"
    )
    found = answers(tmp_path / "report")
    assert list(found) == ["content", "signature", "signer", "time", "ISCC-ID"]
    assert found["signature"][1] == f"it was signed with the key {SIGNER}"
    assert found["time"][1] == (
        '"Test TSA" saw the seal at 2026-11-24T13:55:30Z; the signer claims '
        "2026-11-24T13:55:30.471Z"
    )
    assert found["ISCC-ID"][1] == (
        '"did:web:localhost", hub 0, confirms ISCC:MAIWMEDBATAPEYAA of 2026-11-24T13:55:31Z'
    )


def test_what_is_not_trusted_is_not_taken_for_checked(script, tmp_path):
    trusting = ["--trusted", SEALS / "signer.pub", "--report", "report"]
    done = script("iscc_seal", "verify", "trail.tsv", "--seal", SEALED, *trusting)
    assert done.returncode == 0
    found = answers(tmp_path / "report")
    assert [found[question][0] for question in ("time", "ISCC-ID")] == ["not checked"] * 2


# Signatures, against iscc-crypto, openssl and iscc-schema


def make_key(folder: Path, name: str = "key", passphrase: str = "") -> Path:
    """A key pair made by OpenSSH: NAME and NAME.pub."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "jane@lab"]
    subprocess.run([*command, "-f", folder / name], check=True)
    return folder / name


def sealed_with(script: Callable, folder: Path, key: Path, *options: object) -> dict:
    (folder / "a.tsv").write_bytes(b"a file to seal\n")
    (folder / "out.json").unlink(missing_ok=True)
    done = script("iscc_seal", "sign", "a.tsv", "--key", key, "--seal", "out.json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "out.json").read_text())


def test_our_signatures_are_valid_to_others(script, tmp_path):
    """iscc-crypto accepts the note, openssl its signature, iscc-schema its form."""
    key = make_key(tmp_path)
    note = sealed_with(script, tmp_path, key, "--hub-number", "2748")["note"]
    assert iscc_crypto.verify_json(note).is_valid
    codes = codes_of(b"a file to seal\n")
    assert (note["iscc_code"], note["datahash"]) == (codes.wide, codes.datahash)
    assert note["nonce"].startswith("abc")
    age = datetime.now(UTC) - datetime.fromisoformat(note["timestamp"])
    assert timedelta() <= age < timedelta(minutes=5)
    assert IsccNote.model_validate(note).datahash == codes.datahash

    secret = serialization.load_ssh_private_key(key.read_bytes(), None)
    pem = secret.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (tmp_path / "pub.pem").write_bytes(pem)
    proof = note["signature"].pop("proof")
    (tmp_path / "signed").write_bytes(jcs.canonicalize(note))
    (tmp_path / "signature").write_bytes(base58.b58decode(proof[1:]))
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "pub.pem", "-rawin"]
    command += ["-in", "signed", "-sigfile", "signature"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0


def test_keys_of_all_kinds_sign_alike(script, tmp_path):
    """A key in the formats of OpenSSH, PKCS#8 and iscc-crypto makes notes of one signer."""
    secret = ed25519.Ed25519PrivateKey.generate()
    pair = iscc_crypto.key_from_secret(
        "z" + base58.b58encode(bytes.fromhex("8026") + secret.private_bytes_raw()).decode()
    )
    plain = serialization.NoEncryption()
    for name, form in {
        "openssh": serialization.PrivateFormat.OpenSSH,
        "pkcs8": serialization.PrivateFormat.PKCS8,
    }.items():
        pem = secret.private_bytes(serialization.Encoding.PEM, form, plain)
        (tmp_path / name).write_bytes(pem)
    (tmp_path / "multikey").write_text(pair.secret_key + "\n")
    for name in ("openssh", "pkcs8", "multikey"):
        note = sealed_with(script, tmp_path, tmp_path / name)["note"]
        assert note["signature"]["pubkey"] == pair.public_key
        assert iscc_crypto.verify_json(note, public_key=pair.public_key).is_valid


def test_signatures_of_others_are_valid_to_us():
    pair = iscc_crypto.key_generate()
    unsigned = {name: value for name, value in NOTE.items() if name != "signature"}
    extra = {"gateway": "https://example.org/{iscc_id}", "metahash": "1e20" + 64 * "a"}
    for fields in ({}, extra, {"units": ["ISCC:" + 55 * "A"]}):
        note = iscc_crypto.sign_json({**unsigned, **fields}, pair)
        parts = seal.read(json.dumps({"note": note}).encode(), "seal")
        assert seal.is_signed(parts["note"])
        note["nonce"] = 32 * "0"
        assert not seal.is_signed(note)


TEXTS = st.text(st.characters(codec="utf-8"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXTS,
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters(max_codepoint=127)), inner)
    ),
)


@given(VALUES)
@examples(100)
def test_json_is_written_as_rfc_8785_has_it(value):
    assert seal.canonical(value) == jcs.canonicalize(value)
    assert seal.read_json(seal.canonical(value), "it", 10**6) == value


@given(st.binary(min_size=1, max_size=70))
@examples(300)
def test_base58_is_as_others_have_it(data):
    text = "z" + base58.b58encode(data).decode()
    assert seal.encode(data) == text
    assert seal.decode(text, data[:1], len(data) - 1) == data[1:]
    with pytest.raises(ValueError, match="base58"):
        seal.decode(text, data[:1], len(data))


def test_the_receipt_of_a_hub():
    """Literal values: the hub's answer and its time."""
    sealed = json.loads(SEALED.read_text())
    hub = keys.read_document((SEALS / "hub.did.json").read_bytes(), "hub").methods
    found = receipts.check(sealed["receipt"], NOTE, hub)
    assert (found.iscc_id, found.hub, found.issuer) == (
        "ISCC:MAIWMEDBATAPEYAA",
        0,
        "did:web:localhost",
    )
    assert found.time.isoformat(timespec="seconds") == "2026-11-24T13:55:31+00:00"
    body = iscc_core.decode_base32(found.iscc_id.removeprefix("ISCC:"))[2:]
    assert int.from_bytes(body) >> 12 == round(found.time.timestamp() * 1e6)


# Sealing with a stamp and a declaration, at servers of our own


def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Hub:
    """A substitute for an ISCC hub: checks notes like one, and signs receipts with iscc-crypto."""

    def __init__(self, number: int = 0):
        self.number = number
        self.keys = iscc_crypto.key_generate(controller="did:web:hub.example")
        self.declared: dict[str, str] = {}

    def answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        note = json.loads(body)
        IsccNote.model_validate(note)
        if path != "/declaration" or not iscc_crypto.verify_json(note).is_valid:
            return 401, b'{"error": "no"}'
        if int(note["nonce"][:3], 16) != self.number:
            return 422, b'{"error": "Nonce hub_id mismatch"}'
        if note["datahash"] in self.declared:
            said = {"error": "Duplicate declaration", "detail": self.declared[note["datahash"]]}
            return 409, json.dumps(said).encode()
        noted = round(datetime.fromisoformat(note["timestamp"]).timestamp() * 1e6)
        body = (noted + 1000 << 12 | self.number).to_bytes(8)
        iscc_id = "ISCC:" + iscc_core.encode_base32(b"\x60\x11" + body)
        self.declared[note["datahash"]] = iscc_id
        declaration = {"seq": 1, "iscc_id": iscc_id, "iscc_note": note}
        subject = {"id": f"did:key:{note['signature']['pubkey']}", "declaration": declaration}
        credential = {
            "@context": ["https://www.w3.org/ns/credentials/v2"],
            "type": ["VerifiableCredential", "IsccReceipt"],
            "issuer": "did:web:hub.example",
            "credentialSubject": subject,
        }
        receipt = iscc_crypto.sign_vc(credential, self.keys)
        return 201, json.dumps(receipt).encode()


@pytest.fixture
def signer(tmp_path) -> Path:
    return make_key(tmp_path)


@pytest.mark.parametrize("key", [elliptic_key, rsa_key])
def test_sealed_stamped_declared_and_verified(script, tmp_path, signer, key):
    """On loopback: a real `openssl ts`, and a hub that checks its input."""
    authority, hub = make_authority(tmp_path / "tsa", key), Hub(7)
    asked = []

    def stamp(path: str, body: bytes) -> tuple[int, bytes]:
        asked.append(body)
        return 200, authority.reply(body)

    (tmp_path / "paper.tsv").write_bytes(b"#name\tiscc\n")
    with serving(stamp) as tsa_url, serving(hub.answer) as hub_url:
        options = ["--stamp", tsa_url, "--declare", f"{hub_url}/", "--hub-number", "7"]
        done = script("iscc_seal", "sign", "paper.tsv", "--key", signer, "--seal", "s", *options)
    assert done.returncode == 0, done.stderr
    assert f'Sending to "{tsa_url}": the SHA-256' in done.stderr
    assert f'Sending to "{hub_url}/", which makes it public' in done.stderr
    assert b"paper.tsv" not in asked[0]
    (tmp_path / "did.json").write_text(json.dumps(hub.keys.controller_document))
    trusting = ["--trusted", f"{signer}.pub", "--tsa-root", "tsa/root.pem", "--hub", "did.json"]
    check = ["verify", "paper.tsv", "--seal", "s", *trusting, "--report", "report"]
    done = script("iscc_seal", *check, "--passed-on", "copy")
    assert done.stdout == (
        'the seal of "paper.tsv" holds: content same, signature valid, signer trusted, time '
        "stamped, ISCC-ID declared\n"
    )
    assert (tmp_path / "copy").read_bytes() == b"#name\tiscc\n"
    found = answers(tmp_path / "report")
    assert found["signer"][1].endswith('"jane@lab"')
    assert found["time"][1].startswith('"Example stamps" saw the seal at ')
    assert found["ISCC-ID"][1].startswith('"did:web:hub.example", hub 7, confirms ISCC:MA')

    (tmp_path / "paper.tsv").write_bytes(b"#name\tiscd\n")
    done = script("iscc_seal", *check, "--passed-on", "other")
    assert done.returncode == 1
    assert done.stderr.startswith(
        'iscc_seal verify: the seal of "paper.tsv" does not hold: content'
    )
    assert not (tmp_path / "other").exists()
    assert answers(tmp_path / "report")["content"][0] == "changed"
    done = script("iscc_seal", *check, "--on-failure", "report", "--passed-on", "other")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "other").exists()


def test_a_certificate_that_had_expired_and_one_that_has_since(tmp_path):
    old = make_authority(tmp_path / "old", lasts=timedelta(days=-1))
    with pytest.raises(stamps.StampError, match=r"that you trust \(certificate has expired\)"):
        stamps.check(old.stamp(b"data"), b"data", old.root)
    lasts = timedelta(seconds=3)
    until = time.monotonic() + lasts.total_seconds() + 1
    short = make_authority(tmp_path / "short", lasts=lasts)
    reply = short.stamp(b"data")
    assert stamps.check(reply, b"data", short.root).expired is None
    time.sleep(max(0, until - time.monotonic()))
    stamp = stamps.check(reply, b"data", short.root)
    assert stamp.time <= stamp.expired <= datetime.now(UTC)


def test_an_expired_certificate_is_said(script, tmp_path, signer, monkeypatch):
    """An earlier stamp is valid, and the report says that a certificate has expired."""
    expired = datetime(2026, 11, 25, tzinfo=UTC)
    real = stamps.check
    monkeypatch.setattr(stamps, "check", lambda *a: real(*a)._replace(expired=expired))
    options = ["--seal", SEALED, *TRUSTING, "--report", "report"]
    assert script("iscc_seal", "verify", "trail.tsv", *options).returncode == 0
    assert (
        "one of its certificates expired on 2026-11-25, and was valid then"
        in (answers(tmp_path / "report")["time"][1])
    )


# What servers may answer


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, b"nonsense"), "expected a time stamp, but it is not DER"),
        (
            (200, bytes.fromhex("30053003020102")),
            "expected a time stamp, but the authority refused",
        ),
        ((500, b""), 'expected a time stamp, but the server says 500 "Internal Server Error"'),
        (
            (302, b"", ("Location", "/elsewhere")),
            'expected a time stamp, but the server says 302 "Found"',
        ),
        ((200, b"x" * 70_000), "it has more than 65,536 bytes"),
    ],
)
def test_answers_that_are_no_time_stamp(script, tmp_path, signer, answer, said):
    with serving(lambda path, body: answer) as url:
        refuse_to_sign(script, tmp_path, signer, said, "--stamp", url)


def refuse_to_sign(script, folder: Path, key: Path, said: str, *options: object) -> None:
    done = script("iscc_seal", "sign", "trail.tsv", "--key", key, "--seal", "s", *options)
    assert done.returncode == 2
    sentence = done.stderr.splitlines()[-1]
    assert sentence.startswith("iscc_seal sign: ")
    assert said in sentence
    assert not (folder / "s").exists()


def test_a_stamp_of_something_else(script, tmp_path, signer):
    """A stamp of other data; a stamp of these data for another request; a stamp with SHA-1."""
    authority = make_authority(tmp_path / "tsa")
    replies = [authority.stamp(b"other")]
    with serving(lambda path, body: (200, replies[0])) as url:
        refuse_to_sign(script, tmp_path, signer, "it is for other data", "--stamp", url)
    replayed = authority.stamp(b"data")
    with (
        serving(lambda path, body: (200, replayed)) as url,
        pytest.raises(InputError, match="it answers another request"),
    ):
        stamps.request(url, b"data")
    with pytest.raises(stamps.StampError, match="its algorithms are not supported"):
        stamps.check(authority.stamp(b"data", "sha1"), b"data", authority.root)
    for name in ("sha384", "sha512"):
        stamps.check(authority.stamp(b"data", name), b"data", authority.root)


def test_a_clock_that_is_wrong(script, tmp_path, signer, monkeypatch):
    """By more than ten minutes, the tolerance of hubs."""
    authority = make_authority(tmp_path / "tsa")
    real = seal.time_of
    with serving(lambda path, body: (200, authority.reply(body))) as url:
        monkeypatch.setattr(seal, "time_of", lambda note: real(note) - timedelta(minutes=10.2))
        refuse_to_sign(script, tmp_path, signer, "set the clock, or ask another", "--stamp", url)
        monkeypatch.setattr(seal, "time_of", lambda note: real(note) - timedelta(minutes=9.8))
        options = ["--seal", "s", "--stamp", url]
        assert script("iscc_seal", "sign", "trail.tsv", "--key", signer, *options).returncode == 0


def test_what_an_authority_says_beside_the_stamp_is_not_kept(script, tmp_path, signer):
    """Many authorities add the words Operation Okay, or grant a stamp with changes."""
    authority = make_authority(tmp_path / "tsa")

    def talk(path: str, query: bytes) -> tuple[int, bytes]:
        [(tag, [_, token])] = stamps.read_der(authority.reply(query))
        text = (stamps.Tag.SEQUENCE, [(0x0C, b"Operation Okay")])
        status = (stamps.Tag.SEQUENCE, [(stamps.Tag.INTEGER, b"\1"), text])
        return 200, stamps.write_der([(tag, [status, token])])

    with serving(talk) as url:
        options = ["--key", signer, "--seal", "s", "--stamp", url]
        assert script("iscc_seal", "sign", "trail.tsv", *options).returncode == 0
    options = ["--seal", "s", "--trusted", f"{signer}.pub", "--tsa-root", "tsa/root.pem"]
    done = script("iscc_seal", "verify", "trail.tsv", *options)
    assert "time stamped" in done.stdout
    assert b"Okay" not in base64.b64decode(
        json.loads((tmp_path / "s").read_text())["timestamp_token"]
    )


def test_rsa_has_one_name(tmp_path):
    """Authorities name RSA alone or together with a hash. No signature covers the name."""
    authority = make_authority(tmp_path / "tsa", rsa_key)

    def with_name(reply: bytes, name: str) -> bytes:
        tree = stamps.read_der(reply)
        [(_, [_, (_, [_, (_, [(_, [*_, (_, [(_, [*_, (_, algorithm), _])])])])])])] = tree
        assert algorithm[0] == (stamps.Tag.OID, stamps.Id.RSA)
        algorithm[0] = (stamps.Tag.OID, bytes.fromhex(name))
        return stamps.write_der(tree)

    for name in ("2a864886f70d01010b", "2a864886f70d01010c", "2a864886f70d01010d"):
        with serving(
            lambda path, query, as_=name: (200, with_name(authority.reply(query), as_))
        ) as url:
            reply, _ = stamps.request(url, b"data")
        stamps.check(reply, b"data", authority.root)
        other = with_name(reply, name)
        (tmp_path / "reply").write_bytes(other)
        (tmp_path / "data").write_bytes(b"data")
        authority.run(
            "openssl", "ts", "-verify", "-in", "../reply", "-data", "../data", "-CAfile", "root.pem"
        )
        with pytest.raises(stamps.StampError, match="its algorithms are not supported"):
            stamps.check(other, b"data", authority.root)


def test_a_signature_that_is_no_authoritys(script, tmp_path, signer):
    """A stamp signed with a certificate for another purpose."""
    authority = make_authority(tmp_path / "tsa")
    key = serialization.load_pem_private_key((authority.folder / "tsa.key").read_bytes(), None)
    builder = certificate(named("Stamps"), named("Stamps"), key, ENDS)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
    signed = builder.add_extension(usage, critical=True).sign(key, hashes.SHA256())
    other = signed.public_bytes(serialization.Encoding.PEM)

    def sign_with(pem: bytes, reply: bytes) -> bytes:
        """Sign the content of a reply without `openssl ts`."""
        (authority.folder / "cert.pem").write_bytes(pem)
        [(_, [status, (_, [_, (_, [(_, [_, _, (_, [_, (_, [(_, info)])]), *_])])])])] = (
            stamps.read_der(reply)
        )
        (authority.folder / "info").write_bytes(info)
        command = ["openssl", "cms", "-sign", "-binary", "-cades", "-nodetach", "-md", "sha256"]
        command += ["-econtent_type", "1.2.840.113549.1.9.16.1.4", "-in", "info", "-inkey"]
        command += ["tsa.key", "-signer", "cert.pem", "-outform", "DER"]
        token = stamps.read_der(authority.run(*command))
        return stamps.write_der([(stamps.Tag.SEQUENCE, [status, *token])])

    own = (authority.folder / "tsa.pem").read_bytes()
    assert stamps.check(sign_with(own, authority.stamp(b"data")), b"data", authority.root)
    with serving(lambda path, query: (200, sign_with(other, authority.reply(query)))) as url:
        refuse_to_sign(script, tmp_path, signer, "expected a time stamp, but", "--stamp", url)


def test_certificates_of_the_same_root_by_another(tmp_path):
    """Authorities send a certificate of their root issued by an older root, which is accepted."""
    authority, old = make_authority(tmp_path / "tsa"), make_authority(tmp_path / "old")
    keys_of_roots = [
        serialization.load_pem_private_key((each.folder / "root.key").read_bytes(), None)
        for each in (authority, old)
    ]
    name = x509.load_pem_x509_certificate(authority.root).subject
    crossed = certificate(name, named("Old root"), keys_of_roots[0], ENDS)
    crossed = crossed.sign(keys_of_roots[1], hashes.SHA256())
    config = authority.folder / "tsa.conf"
    config.write_text(config.read_text() + "certs = more.pem\n")
    pem = crossed.public_bytes(serialization.Encoding.PEM)
    (authority.folder / "more.pem").write_bytes(pem)
    assert stamps.check(authority.stamp(b"data"), b"data", authority.root).expired is None


def test_a_root_that_expired_since(tmp_path, monkeypatch):
    """The report names the first certificate of the chain to expire."""
    authority = make_authority(tmp_path / "tsa", root_lasts=timedelta(days=1))
    reply = authority.stamp(b"data")

    class Later(datetime):
        @classmethod
        def now(cls, zone: object) -> datetime:
            return datetime.now(zone) + timedelta(days=2)

    assert stamps.check(reply, b"data", authority.root).expired is None
    monkeypatch.setattr(stamps, "datetime", Later)
    expired = stamps.check(reply, b"data", authority.root).expired
    assert timedelta(hours=23) < expired - datetime.now(UTC) < timedelta(days=1)


@pytest.mark.parametrize(
    "data",
    ["30", "3001", "3080", "308100", "30810101", "10", "1f00", "300130", "0480" + 128 * "00"],
)
def test_what_is_not_der(data):
    """Values without a length or too short; non-canonical lengths and tags."""
    with pytest.raises(stamps.StampError, match="it is not DER"):
        stamps.read_der(bytes.fromhex(data))


def test_fractions_of_a_second():
    """With any number of digits; those below a microsecond are cut off."""
    for text, microseconds in [
        (b"20261124135530Z", 0),
        (b"20261124135530.5Z", 500_000),
        (b"20261124135530.123456789Z", 123_456),
    ]:
        read = stamps.read_time(text)
        assert read == datetime(2026, 11, 24, 13, 55, 30, microseconds, tzinfo=UTC)
    for text in (b"20261324135530Z", b"20261124135530", b"20261124135530.Z", b"261124135530Z"):
        with pytest.raises(stamps.StampError, match="its time is not valid"):
            stamps.read_time(text)


def test_servers_that_are_broken(script, tmp_path, signer, monkeypatch):
    """For example, a server that does not speak HTTP, and one that sends a byte now and then."""

    def answer(listener: socket.socket, pieces: list[bytes]) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.recv(65536)
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(0.3)

    monkeypatch.setattr(web, "SECONDS_FOR_AN_ANSWER", 1)
    slow = [b"HTTP/1.0 200 OK\r\n\r\n", *[b"x"] * 10]
    for pieces, said in [
        ([b"nonsense\r\n\r\n"], "expected an answer, but"),
        (slow, "expected an answer within 1 s, found none"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n"] * 10, "expected an answer within 1 s, found none"),
        ([b"HTTP/1.1 200 OK\r\nX: ", *[b"y"] * 10], "expected an answer within 1 s, found none"),
    ]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=answer, args=(listener, pieces))
            thread.start()
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            refuse_to_sign(script, tmp_path, signer, said, "--stamp", url)
            thread.join()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_receipt_is_not_lost(script, tmp_path, signer):
    """If the seal cannot be written, it is printed, since a hub issues a receipt only once."""
    with serving(Hub().answer) as url:
        options = ["--key", signer, "--seal", "/dev/full", "--declare", url]
        done = script("iscc_seal", "sign", "trail.tsv", *options)
    assert done.returncode == 2
    _, _, printed = done.stderr.partition("The seal, which could not be written:\n")
    text, _, sentence = printed.partition("\niscc_seal sign: ")
    assert sentence == 'cannot write "/dev/full": No space left on device\n'
    (tmp_path / "seal.json").write_text(text)
    options = ["--seal", "seal.json", "--trusted", f"{signer}.pub"]
    assert "ISCC-ID not checked" in script("iscc_seal", "verify", "trail.tsv", *options).stdout


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"credentialStatus": {"x": 1.5}}, 'expected JSON: "1.5" is a fraction'),
        ({"é": "\u202e"}, "expected JSON: a key is not ASCII"),
        ({"issuer": 5}, "it is not an IsccReceipt"),
    ],
)
def test_an_answer_of_a_hub_is_not_lost(script, tmp_path, signer, more, said):
    """After it, the file is declared, and the hub would not say the ISCC-ID again."""
    hub, given = Hub(), []

    def answer(path: str, body: bytes) -> tuple[int, bytes]:
        given.append(json.loads(hub.answer(path, body)[1]) | more)
        return 201, json.dumps(given[0], ensure_ascii=False).encode()

    with serving(answer) as url:
        options = ["--key", signer, "--seal", "s", "--declare", url]
        done = script("iscc_seal", "sign", "trail.tsv", *options)
    assert done.returncode == 2
    printed = done.stderr.partition("The hub's answer:\n")[2]
    text, _, sentence = printed.partition("\niscc_seal sign: ")
    assert said in sentence
    assert "\u202e" not in text
    assert json.loads(text) == given[0]


def test_a_receipt_is_not_lost_when_interrupted(script, tmp_path, signer, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(iscc_seal.outputs.Outputs, "write_lines", interrupt)
    with serving(lambda *asked: (200, hub.answer(*asked)[1])) as url:
        hub = Hub()
        options = ["--key", signer, "--seal", "s", "--declare", url]
        done = script("iscc_seal", "sign", "trail.tsv", *options)
    assert done.returncode == 130
    printed = done.stderr.partition("The seal, which could not be written:\n")[2]
    sealed = json.loads(printed.partition("\niscc_seal sign: ")[0])
    assert sealed["receipt"]["credentialSubject"]["declaration"]["iscc_note"] == sealed["note"]


def test_a_receipt_without_a_proof(script, tmp_path, signer):
    receipt = json.loads(SEALED.read_text())["receipt"]
    del receipt["proof"]
    with serving(lambda path, body: (201, json.dumps(receipt).encode())) as url:
        said = "it is not an IsccReceipt with a proof"
        refuse_to_sign(script, tmp_path, signer, said, "--declare", url)


def test_a_seal_is_not_written_over(script, tmp_path, signer):
    (tmp_path / "seal.json").write_text("a seal with a receipt")
    done = script("iscc_seal", "sign", "trail.tsv", "--key", signer, "--seal", "seal.json")
    assert done.returncode == 2
    assert 'cannot write "seal.json": there is a file already; choose another name' in done.stderr
    assert (tmp_path / "seal.json").read_text() == "a seal with a receipt"


def test_a_hub_that_refuses(script, tmp_path, signer):
    """It has another number; the file is declared already; it confirms another note."""
    hub = Hub(7)
    with serving(hub.answer) as url:
        refuse_to_sign(script, tmp_path, signer, "Nonce hub_id mismatch", "--declare", url)
        options = ["--declare", url, "--hub-number", "7"]
        done = script("iscc_seal", "sign", "trail.tsv", "--key", signer, "--seal", "one", *options)
        assert done.returncode == 0
        refuse_to_sign(script, tmp_path, signer, "this file is declared already", *options)
        refuse_to_sign(script, tmp_path, signer, hub.declared[NOTE["datahash"]], *options)
    receipt = SEALED.read_text()
    receipt = json.dumps(json.loads(receipt)["receipt"]).encode()
    with serving(lambda path, body: (201, receipt)) as url:
        refuse_to_sign(script, tmp_path, signer, "it is about another note", "--declare", url)
    with serving(lambda path, body: (201, b"{" * 10_000)) as url:
        refuse_to_sign(script, tmp_path, signer, "expected JSON", "--declare", url)


def test_addresses_that_are_none(script, tmp_path, signer):
    said = "expected the address of a server, with https:// or http:// and without a password"
    for url in ("file:///etc/passwd", "ftp://example.org", "-x", "", "http://127.0.0.1:abc/"):
        refuse_to_sign(script, tmp_path, signer, f"argument --stamp: {said}", f"--stamp={url}")
    for url in ("http://[::1", "http://x:0/", "http://x/#y", "http://x/\n", "https:///x"):
        refuse_to_sign(script, tmp_path, signer, f"argument --declare: {said}", "--declare", url)
    for url in ("http://me:secret@127.0.0.1", "http://%6de:secret%40127.0.0.1"):
        done = script("iscc_seal", "sign", "q", "--key", signer, "--seal", "s", "--stamp", url)
        assert (done.returncode, "secret" in done.stderr) == (2, False)
    refuse_to_sign(
        script, tmp_path, signer, "expected an answer, but", "--stamp", "http://127.0.0.1/a b"
    )
    refuse_to_sign(
        script, tmp_path, signer, "expected an answer, but", "--stamp", "http://127.0.0.1:9"
    )


# Attacks on seals


WEAK = [0, 1, seal.P - 1, seal.P, seal.P + 1, seal.ORDER_8, seal.P - seal.ORDER_8]


@pytest.mark.parametrize("y", WEAK)
@pytest.mark.parametrize("sign_bit", [0, 1])
def test_keys_that_anybody_can_sign_with(y, sign_bit):
    """The points of Ed25519 of small order, also in non-canonical form."""
    key = (y + (sign_bit << 255)).to_bytes(32, "little")
    text = seal.encode(seal.PUBLIC_KEY + key)
    with pytest.raises(InputError, match="line 1: expected a public key"):
        keys.read_trusted(f"{text} Mallory".encode(), "keys")
    blob = b"".join(len(each).to_bytes(4) + each for each in (b"ssh-ed25519", key))
    with pytest.raises(InputError, match="line 1: expected a public key"):
        keys.read_trusted(b"ssh-ed25519 " + base64.b64encode(blob), "keys")


def test_the_weak_keys_are_those_with_which_one_signature_is_good_for_much():
    """With the identity as key, the library accepts one signature for any data."""
    identity = (1).to_bytes(32, "little")
    assert seal.verifies(identity, identity + bytes(32), b"anything")
    # Eight times a point of small order is the identity, by the curve's own formula.
    for y in WEAK:
        x = (y * y - 1) * pow(D * y * y + 1, -1, seal.P) % seal.P
        x = next(r for r in roots_of(x))
        assert eight_times((x, y % seal.P)) == (0, 1)


D = -121665 * pow(121666, -1, seal.P) % seal.P


def roots_of(square: int) -> list[int]:
    """Square roots modulo P, which is 5 modulo 8."""
    root = pow(square, (seal.P + 3) // 8, seal.P)
    turned = root * pow(2, (seal.P - 1) // 4, seal.P) % seal.P
    return [each for each in (root, turned) if (each * each - square) % seal.P == 0]


def eight_times(point: tuple[int, int]) -> tuple[int, int]:
    for _ in range(3):
        x, y = point
        product = D * x * x * y * y % seal.P
        point = (
            2 * x * y * pow(1 + product, -1, seal.P) % seal.P,
            (y * y + x * x) * pow(1 - product, -1, seal.P) % seal.P,
        )
    return point


def holds(file: bytes, sealed: bytes, folder: Path) -> bool:
    """Whether a file and its seal pass all checks, the cheapest first."""
    path = folder / "file"
    path.write_bytes(file)
    try:
        parts = seal.read(sealed, "seal")
        note = parts["note"]
        entry = iscc_seal.code(iscc_seal.inputs.from_path(str(path)))
        trusted = keys.read_trusted((SEALS / "signer.pub").read_bytes(), "keys")
        root = (SEALS / "tsa-root.pem").read_bytes()
        hub = keys.read_document((SEALS / "hub.did.json").read_bytes(), "hub").methods
        return (
            iscc_seal.check_content(entry, note).holds
            and iscc_seal.check_signature(note).holds
            and iscc_seal.check_signer(note, trusted, False).holds
            and iscc_seal.check_receipt(parts, hub).answer == "declared"
            and iscc_seal.check_time(parts, root).answer == "stamped"
        )
    except InputError:
        return False


def test_the_untouched_pass(tmp_path):
    assert holds(TRAIL.read_bytes(), SEALED.read_bytes(), tmp_path)


def test_every_byte_of_the_file_counts(tmp_path):
    file, sealed = TRAIL.read_bytes(), SEALED.read_bytes()
    for place in range(len(file)):
        assert not holds(changed(file, place), sealed, tmp_path), place


@EXPLORES
def test_every_byte_of_the_seal_counts(tmp_path):
    """Each byte is changed in one way, and in others with make fuzz; JSON whitespace may change."""
    file, sealed = TRAIL.read_bytes(), SEALED.read_bytes()
    random = chance(1)
    tried = 0
    for place in range(len(sealed)):
        other = changed(sealed, place, random.randrange(1, 128))
        try:
            if json.loads(other) == json.loads(sealed):
                continue
        except ValueError:
            pass
        tried += 1
        assert not holds(file, other, tmp_path), (place, other[place])
    assert tried > 2_800


@EXPLORES
@pytest.mark.parametrize("key", [elliptic_key, rsa_key])
def test_every_byte_of_a_time_stamp_counts(tmp_path, key):
    """Including bytes that no signature covers and openssl ignores."""
    authority, data = make_authority(tmp_path / "tsa", key), b"data"
    reply, roots = authority.stamp(data), authority.root
    stamps.check(reply, data, roots)
    random = chance(2)
    for place in range(0, len(reply), 1 if FUZZING else 7):
        other = changed(reply, place, random.randrange(1, 256))
        with pytest.raises(stamps.StampError):
            stamps.check(other, data, roots)


# Places in the time stamp that openssl takes as it is when one bit in them is another.
OVERLOOKED = [8, 34, 35, 50, 194, 617, 627, 630, 644, 685, 687, 703, 761, 812, 858, 862, 865]


@pytest.mark.parametrize("place", OVERLOOKED)
def test_bytes_that_openssl_overlooks(place, tmp_path):
    sealed = json.loads(SEALED.read_text())
    reply = base64.b64decode(sealed["timestamp_token"])
    data, roots = seal.canonical(sealed["note"]), (SEALS / "tsa-root.pem").read_bytes()
    (tmp_path / "data").write_bytes(data)
    accepted = 0
    for bit in range(8):
        other = changed(reply, place, 1 << bit)
        with pytest.raises(stamps.StampError):
            stamps.check(other, data, roots)
        (tmp_path / "reply").write_bytes(other)
        command = ["openssl", "ts", "-verify", "-in", "reply", "-data", "data", "-CAfile"]
        command.append(SEALS / "tsa-root.pem")
        accepted += subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0
    assert accepted


def changed(data: bytes, place: int, by: int = 1) -> bytes:
    return data[:place] + bytes([data[place] ^ by]) + data[place + 1 :]


def with_note(**fields: object) -> dict:
    """The fixture's seal without its witnesses, with other fields in the note."""
    return {"note": {**NOTE, **fields}}


def with_signature(**fields: object) -> dict:
    return with_note(signature={**NOTE["signature"], **fields})


TEXT = json.dumps(with_note())
BAD_SEALS = {
    "no JSON": ("nonsense", "expected JSON: "),
    "a number": ("7", "expected a seal, a JSON object with a note"),
    "no note": ("{}", "expected a seal, a JSON object with a note"),
    "a key twice": (TEXT[:-1] + ', "note": {}}', "expected JSON: a key occurs twice"),
    "a key twice, inside": (
        TEXT.replace('"nonce"', '"nonce": "' + 32 * "0" + '", "nonce"'),
        "a key occurs twice",
    ),
    "a key written otherwise": (TEXT[:-1] + ', "n\\u006fte": {}}', "a key occurs twice"),
    "another part": (with_note() | {"note2": {}}, 'found "note2" as well'),
    "another field": (with_note(x="y"), 'found "x" as well'),
    "$schema": (with_note(**{"$schema": "x"}), 'found "$schema" as well'),
    "another field in the signature": (with_signature(x="y"), 'found "x" as well'),
    "a field less": ({"note": {k: v for k, v in NOTE.items() if k != "nonce"}}, "the field nonce"),
    "a key that is not ASCII": (TEXT[:-1] + ', "é": 1}', "a key is not ASCII"),
    "a fraction": (TEXT[:-1] + ', "receipt": {"seq": 1.0}}', '"1.0" is a fraction'),
    "an exponent": (TEXT[:-1] + ', "receipt": {"seq": 1e3}}', '"1e3" is a fraction'),
    "not a number": (TEXT[:-1] + ', "receipt": {"seq": NaN}}', '"NaN" is not a number'),
    "a huge integer": (TEXT[:-1] + ', "receipt": {"seq": ' + 5000 * "9" + "}}", "too large"),
    "half a character": (TEXT[:-1] + ', "receipt": {"a": "\\ud800"}}', "expected JSON"),
    "not UTF-8": (TEXT[:-1] + ', "receipt": {"a": "\udcff"}}', "expected JSON"),
    "a byte order mark": ("\ufeff" + TEXT, "expected JSON"),
    "UTF-16": (TEXT.encode("utf-16").decode("utf-8", "surrogateescape"), "expected JSON"),
    "nested a little": (TEXT[:-1] + ', "receipt": {"a": ' + 40 * "[" + 40 * "]" + "}}", "too deep"),
    "minus zero": (TEXT[:-1] + ', "receipt": {"seq": -0}}', "zero has a minus sign"),
    "an integer that is not exact": (
        TEXT[:-1] + ', "receipt": {"seq": 9007199254740992}}',
        "an integer is too large",
    ),
    "no base64": (with_note() | {"timestamp_token": "===="}, "expected the time stamp in base64"),
    "no ASCII in base64": (with_note() | {"timestamp_token": "é"}, "the time stamp in base64"),
    "base64 with bits to spare": (with_note() | {"timestamp_token": "AB=="}, "in base64"),
    "units that are none": (with_note(units=["ISCC:AAAA", 7]), "expected a list of ISCCs as units"),
    "a key that anybody can sign with": (
        with_signature(pubkey=seal.encode(seal.PUBLIC_KEY + (1).to_bytes(32, "little"))),
        "found a weak one",
    ),
    "nested": (30_000 * "[" + 30_000 * "]", "nested too deeply"),
    "huge": (TEXT + 70_000 * " ", "expected at most 65,536 bytes"),
    "a note that is too long": (
        with_note(units=300 * ["ISCC:" + 40 * "A"]),
        "expected a note of at most 8,192 bytes",
    ),
    "an unknown version": (
        with_signature(version="ISCC-SIG v1.1"),
        'expected a valid version ISCC-SIG v1.0, found "ISCC-SIG v1.1"',
    ),
    "another hash": (with_note(datahash="1220" + 64 * "0"), "expected a valid datahash"),
    "an instance code alone": (
        with_note(iscc_code=codes_of(b"a").instance_code),
        "found only one of its units",
    ),
    "a time that there is not": (with_note(timestamp="2026-02-30T00:00:00.000Z"), 'found "2026-02'),
    "a time without a zone": (with_note(timestamp="2026-02-03T00:00:00.000"), "valid timestamp"),
    "a key that is none": (with_signature(pubkey="z6Mk" + 44 * "1"), "in base58"),
    "a proof that is none": (with_signature(proof="z" + 88 * "z"), "in base58"),
    "a proof with zeros before it": (
        with_signature(proof="z1" + NOTE["signature"]["proof"][1:]),
        "in base58",
    ),
    "a receipt that is a text": (with_note() | {"receipt": "x"}, "expected an object as receipt"),
    "a stamp that is none": (with_note() | {"timestamp_token": {}}, "expected a text as"),
}


@pytest.mark.parametrize("sealed", BAD_SEALS)
def test_what_is_no_seal_is_refused_in_a_sentence(script, tmp_path, sealed):
    content, said = BAD_SEALS[sealed]
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "seal.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    options = ["--seal", "seal.json", "--report", "report", "--on-failure", "report"]
    done = script("iscc_seal", "verify", "trail.tsv", *options, "--unknown-signer", "accept")
    assert done.returncode == 2
    assert done.stderr.startswith('iscc_seal verify: "seal.json": ')
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "report").exists()


def fails(script, folder: Path, sealed: dict, *options: object) -> dict[str, list[str]]:
    """The answers for a seal that does not hold."""
    (folder / "seal.json").write_text(json.dumps(sealed))
    options = [*(options or TRUSTING), "--report", "report"]
    done = script("iscc_seal", "verify", "trail.tsv", "--seal", "seal.json", *options)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith('iscc_seal verify: the seal of "trail.tsv" does not hold: ')
    return answers(folder / "report")


def signed_by(secret: ed25519.Ed25519PrivateKey, **fields: object) -> dict:
    """The fixture's note, signed by another key, or with other fields."""
    public = seal.encode(seal.PUBLIC_KEY + secret.public_key().public_bytes_raw())
    note = {**NOTE, **fields, "signature": {"version": seal.VERSION, "pubkey": public}}
    note["signature"]["proof"] = seal.encode(secret.sign(jcs.canonicalize(note)))
    return note


def test_another_key_than_the_trusted_one(script, tmp_path):
    """Signed by a stranger, with the stranger's key or naming the trusted one."""
    note = signed_by(ed25519.Ed25519PrivateKey.generate())
    found = fails(script, tmp_path, {"note": note})
    assert [found[each][0] for each in ("signature", "signer")] == ["valid", "unknown"]
    options = ["--seal", "seal.json", "--unknown-signer", "accept", "--report", "report"]
    assert script("iscc_seal", "verify", "trail.tsv", *options).returncode == 0
    assert answers(tmp_path / "report")["signer"][0] == "unknown"
    note["signature"]["pubkey"] = SIGNER
    found = fails(script, tmp_path, {"note": note})
    assert [found[each][0] for each in ("signature", "signer")] == ["not valid", "trusted"]


def test_a_note_whose_iscc_is_of_another_file(script, tmp_path):
    secret = ed25519.Ed25519PrivateKey.generate()
    other = signed_by(secret, iscc_code=codes_of(b"other").wide)
    found = fails(script, tmp_path, {"note": other}, "--unknown-signer", "accept")
    assert found["content"][0] == "wrong code"
    narrow = signed_by(secret, iscc_code=codes_of(TRAIL.read_bytes()).narrow)
    (tmp_path / "seal.json").write_text(json.dumps({"note": narrow}))
    options = ["--seal", "seal.json", "--unknown-signer", "accept"]
    assert script("iscc_seal", "verify", "trail.tsv", *options).returncode == 0


def test_witnesses_of_something_else(script, tmp_path):
    """The stamp and receipt of the fixture, with a note that somebody else signed."""
    sealed = json.loads(SEALED.read_text())
    sealed["note"] = signed_by(ed25519.Ed25519PrivateKey.generate())
    found = fails(script, tmp_path, sealed)
    assert found["time"] == [
        "not valid",
        "the time stamp is wrong: it is for other data; the signer claims 2026-11-24T13:55:30.471Z",
    ]
    assert found["ISCC-ID"] == ["not valid", "the receipt is wrong: it is about another note"]
    # Nor without anybody to trust for them.
    found = fails(script, tmp_path, sealed, "--trusted", SEALS / "signer.pub")
    assert [found[each][0] for each in ("time", "ISCC-ID")] == ["not valid"] * 2


def test_an_authority_that_is_not_trusted(script, tmp_path):
    other = make_authority(tmp_path / "tsa")
    trusting = [*TRUSTING[:2], "--tsa-root", other.folder / "root.pem"]
    found = fails(script, tmp_path, json.loads(SEALED.read_text()), *trusting)
    assert found["time"][0] == "not valid"


def test_a_certificate_that_nobody_vouches_for(tmp_path):
    """Added to the authority's, which openssl ignores."""
    authority, other = make_authority(tmp_path / "tsa"), make_authority(tmp_path / "other")
    config = authority.folder / "tsa.conf"
    config.write_text(config.read_text() + "certs = more.pem\n")
    (authority.folder / "more.pem").write_bytes((other.folder / "tsa.pem").read_bytes())
    with pytest.raises(
        stamps.StampError, match="it contains certificates that are not the authority's"
    ):
        stamps.check(authority.stamp(b"data"), b"data", authority.root)
    (authority.folder / "more.pem").write_bytes(authority.root)
    assert stamps.check(authority.stamp(b"data"), b"data", authority.root)


def test_weak_keys_of_authorities(tmp_path):
    """As of old certificates, with which anybody can make stamps by now, for any time."""
    for number, bits in enumerate((1024, 2048)):
        make = partial(rsa.generate_private_key, 65537, bits)
        authority = make_authority(tmp_path / f"{number}", make)
        reply = authority.stamp(b"data")
        for roots in (authority.root, None):
            weak = pytest.raises(stamps.StampError, match="too weak")
            with weak if bits == 1024 else nullcontext():
                stamps.check(reply, b"data", roots)


def test_stamps_of_the_future_or_from_before_the_seal(tmp_path, monkeypatch):
    stamp = stamps.Stamp(datetime(2026, 11, 24, 14, tzinfo=UTC), "An authority", None)
    monkeypatch.setattr(stamps, "check", lambda *_: stamp)
    sealed = json.loads(SEALED.read_text())
    for moved, answer in [
        (timedelta(minutes=-14), "stamped"),  # the note is of 13:55:30
        (timedelta(minutes=-15), "not valid"),
        (datetime.now(UTC) - stamp.time + timedelta(minutes=9), "stamped"),
        (datetime.now(UTC) - stamp.time + timedelta(minutes=11), "not valid"),
    ]:
        monkeypatch.setattr(
            stamps, "check", lambda *_, t=stamp.time + moved: stamp._replace(time=t)
        )
        assert iscc_seal.check_time(sealed, b"roots").answer == answer


def test_what_a_stamp_was_signed_as(tmp_path):
    """Its type is signed twice; critical extensions have to be known, and none is."""
    reply = make_authority(tmp_path / "tsa").stamp(b"data")

    def info_and_types(tree: list) -> tuple[list, list]:
        (_, [_, (_, [_, (_, [(_, [_, _, (_, [_, (_, content)]), _, (_, [(_, signed)])])])])]) = (
            tree[0]
        )
        attributes = signed[3][1]
        return content, next(each for _, each in attributes if each[0][1] == stamps.Id.CONTENT_TYPE)

    tree = stamps.read_der(reply)
    content, types = info_and_types(tree)
    types[1] = (stamps.Tag.SET, [(stamps.Tag.OID, bytes.fromhex("2a864886f70d010701"))])
    with pytest.raises(stamps.StampError, match="it was not signed as a time stamp"):
        stamps.parse(stamps.write_der(tree))
    for critical in (b"\xff", b"\0"):
        tree = stamps.read_der(reply)
        content, _ = info_and_types(tree)
        [(_, info)] = stamps.read_der(content[0][1])
        flag = (stamps.Tag.BOOLEAN, critical)
        extension = [(stamps.Tag.OID, b"\x2a\x03"), flag, (stamps.Tag.OCTETS, b"")]
        info.append((stamps.Tag.CONTEXT_1, [(stamps.Tag.SEQUENCE, extension)]))
        content[0] = (stamps.Tag.OCTETS, stamps.write_der([(stamps.Tag.SEQUENCE, info)]))
        refused = pytest.raises(stamps.StampError, match="an extension that is critical")
        with nullcontext() if critical == b"\0" else refused:
            stamps.parse(stamps.write_der(tree))


BAD_STAMPS = ["", "AAAA", base64.b64encode(b"0" * 40_000).decode(), "MIIDpjADAgEAMIID"]


@pytest.mark.parametrize("token", BAD_STAMPS)
def test_stamps_that_are_none(script, tmp_path, token):
    found = fails(script, tmp_path, {"note": NOTE, "timestamp_token": token})
    assert found["time"][0] == "not valid"


def receipt_signed(**fields: object) -> tuple[dict, dict[str, bytes]]:
    """A substitute hub's receipt for the fixture's note, with other fields; and its keys."""
    hub = Hub()
    receipt = json.loads(hub.answer("/declaration", json.dumps(NOTE).encode())[1])
    del receipt["proof"]
    receipt = iscc_crypto.sign_vc({**receipt, **fields}, hub.keys)
    document = json.dumps(hub.keys.controller_document).encode()
    return receipt, keys.read_document(document, "hub").methods


def test_receipts_that_are_none():
    subject = receipt_signed()[0]["credentialSubject"]
    declaration = subject["declaration"]
    other_id = {**declaration, "iscc_id": "ISCC:MAIWMEDBATAPEYAB"}
    no_id = {**declaration, "iscc_id": "ISCC:MAIWMEDBATAPEYA0"}
    header = {**declaration, "iscc_id": "ISCC:MAAWMEDBATAPEYAA"}
    version = iscc_core.encode_base32(b"\x60\x01" + bytes(8))
    version = {**declaration, "iscc_id": f"ISCC:{version}"}
    later = iscc_core.decode_base32(declaration["iscc_id"].removeprefix("ISCC:"))
    later = int.from_bytes(later) + (601_000_000 << 12)
    later = {**declaration, "iscc_id": "ISCC:" + iscc_core.encode_base32(later.to_bytes(10))}
    for fields, said in [
        ({"type": ["VerifiableCredential"]}, "not an IsccReceipt"),
        ({"credentialSubject": {}}, "not an IsccReceipt"),
        ({"credentialSubject": {**subject, "id": "did:key:z6Mk"}}, "another signer"),
        (
            {"credentialSubject": {**subject, "declaration": other_id}},
            "it is from hub 1, but the note",
        ),
        ({"credentialSubject": {**subject, "declaration": no_id}}, "is not an ISCC-ID"),
        ({"credentialSubject": {**subject, "declaration": header}}, "is not an ISCC-ID"),
        ({"credentialSubject": {**subject, "declaration": version}}, "is not an ISCC-ID"),
        (
            {"credentialSubject": {**subject, "declaration": later}},
            "its time is more than 10 minutes from that of the",
        ),
        ({"issuer": "did:web:other.example"}, "not by the hub that you trust"),
        ({"validUntil": "2026-11-25T00:00:00Z"}, "it was valid only until"),
        ({"validFrom": "2126-11-25T00:00:00Z"}, "it is valid only from"),
        ({"validUntil": "2126-11-25T00:00:00"}, "expected a time with a zone as validUntil"),
        ({"validUntil": 5}, "expected a time with a zone as validUntil"),
        ({"validUntil": None}, "expected a time with a zone as validUntil"),
    ]:
        receipt, hub = receipt_signed(**fields)
        with pytest.raises(receipts.ReceiptError, match=said):
            receipts.check(receipt, NOTE, hub)
    receipt, hub = receipt_signed(validUntil="2126-11-25T00:00:00Z")
    assert receipts.check(receipt, NOTE, hub).hub == 0
    receipt, hub = receipt_signed(evidence={"x": 1})  # signed like the rest
    assert receipts.check(receipt, NOTE, hub).hub == 0
    for change in (
        lambda r: r.pop("proof"),
        lambda r: r.update(evidence={"x": 2}),
        lambda r: r.update(more=1),
        lambda r: r["proof"].update(more=1),
        lambda r: r["proof"].update(cryptosuite="eddsa-rdfc-2022"),
        lambda r: r["proof"].update(proofPurpose="authentication"),
        lambda r: r["proof"].update(proofValue="z" + 200 * "1"),
        lambda r: r["proof"].update({"@context": "x"}),
        lambda r: r.update({"@context": {}}),
        lambda r: r["proof"].update(verificationMethod=next(iter(receipt_signed()[1]))),
    ):
        other = json.loads(json.dumps(receipt))
        change(other)
        with pytest.raises(receipts.ReceiptError):
            receipts.check(other, NOTE, hub)


def test_the_context_of_a_proof_is_the_beginning_of_that_of_the_receipt():
    """As in receipts signed by the hub itself."""
    hub = Hub()
    receipt = json.loads(hub.answer("/declaration", json.dumps(NOTE).encode())[1])
    trusted = keys.read_document(json.dumps(hub.keys.controller_document).encode(), "hub").methods
    first = receipt["@context"]
    for whole, of_proof, said in [
        ([*first, "more"], first, None),
        (first, first, None),
        (first, [*first, "more"], "the @context of its proof is not that of the receipt"),
        (first, ["other"], "the @context of its proof is not that of the receipt"),
        (first, first[0], "the @context of its proof is not that of the receipt"),
    ]:
        receipt["@context"], receipt["proof"]["@context"] = whole, of_proof
        options = {k: v for k, v in receipt["proof"].items() if k != "proofValue"}
        document = {k: v for k, v in receipt.items() if k != "proof"}
        parts = [hashlib.sha256(jcs.canonicalize(each)).digest() for each in (options, document)]
        receipt["proof"]["proofValue"] = seal.encode(hub.keys.sk_obj.sign(b"".join(parts)))
        if said:
            with pytest.raises(receipts.ReceiptError, match=said):
                receipts.check(receipt, NOTE, trusted)
        else:
            assert receipts.check(receipt, NOTE, trusted).hub == 0


# Whom a user trusts


def test_lists_of_keys(tmp_path, signer):
    """Keys of OpenSSH and ISCC, names, comments; other types of keys, as GitHub lists them."""
    public = Path(f"{signer}.pub").read_text()
    multikey = iscc_crypto.key_generate().public_key
    text = (
        f"# whom I trust\n\nssh-rsa AAAAB3NzaC1yc2E= x\nsk-ssh-ed25519@openssh.com AAAA y\n"
        f"{public}{multikey} Jane Doe, EMBL\n  {multikey}\n"
    )
    first, second, third = keys.read_trusted(text.encode(), "keys")
    secret = serialization.load_ssh_private_key(signer.read_bytes(), None)
    assert first == (secret.public_key().public_bytes_raw(), "jane@lab")
    assert second == (base58.b58decode(multikey[1:])[2:], "Jane Doe, EMBL")
    assert third == (second.key, "")


def test_lists_of_keys_that_are_odd():
    """Only line feeds end lines; a byte order mark and odd bytes in comments are accepted."""
    ours, other = (iscc_crypto.key_generate().public_key for _ in range(2))
    for odd in "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029":
        text = f"# nobody {odd}{other} Mallory\n{ours} Jane{odd}{other} Mallory\r\n"
        [trusted] = keys.read_trusted(text.encode(), "keys")
        assert trusted.key == base58.b58decode(ours[1:])[2:]
    text = f"\ufeff# J\udce9r\udcf4me\nssh-ed25519-cert-v01@openssh.com AAAA x\n{ours}\n"
    assert len(keys.read_trusted(text.encode("utf-8", "surrogateescape"), "keys")) == 1


def test_documents_of_controllers():
    pair = iscc_crypto.key_generate(controller="did:web:example.org")
    document = pair.controller_document
    [method] = document["verificationMethod"]
    key = pair.pk_obj.public_bytes_raw()

    def read(**fields: object) -> list[keys.Trusted]:
        text = json.dumps({**document, **fields}).encode()
        return keys.read_trusted(text, "did.json")

    assert read() == [(key, "did:web:example.org")]
    assert keys.read_trusted(b"\xef\xbb\xbf" + json.dumps(document).encode(), "did.json") == read()
    assert read(assertionMethod=[method]) == read(assertionMethod=[method], verificationMethod=[])
    relative = {**method, "id": "#key-1"}
    assert read(assertionMethod=["#key-1"], verificationMethod=[relative]) == read()
    other_kind = {**method, "id": f"{document['id']}#p256", "publicKeyMultibase": "zDnaexyz"}
    both = [method, other_kind]
    assert read(assertionMethod=[each["id"] for each in both], verificationMethod=both) == read()
    far = ["2999-01-01T00:00:00Z", "9999-12-31T23:59:59-05:00", "9999-12-31T23:59:59"]
    assert all(read(verificationMethod=[{**method, "expires": each}]) == read() for each in far)
    for gone in (
        {"revoked": "2020-01-01T00:00:00Z"},
        {"expires": "2020-01-01T00:00:00Z"},
        {"controller": "did:web:other.example"},
        {"id": "did:web:example.org#not-for-vouching"},
    ):
        with pytest.raises(InputError, match="an Ed25519 key that may vouch"):
            read(verificationMethod=[{**method, **gone}])
    # A document speaks only for itself: not for another hub, nor for a longer name.
    for name in ("did:web:other.example#key", f"{document['id']}.org#key", "anything#key"):
        with pytest.raises(InputError, match="an Ed25519 key that may vouch"):
            read(verificationMethod=[{**method, "id": name}], assertionMethod=[name])
    twice = [method, {**method, "expires": "2020-01-01T00:00:00Z"}]
    for wrong in (
        {"verificationMethod": twice},
        {"verificationMethod": [{**method, "publicKeyMultibase": "z6Mk" + "6" * 500_000}]},
        {"verificationMethod": [{**method, "expires": 7}]},
        {"id": "example.org"},
    ):
        with pytest.raises(InputError, match="expected a controller document"):
            read(**wrong)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a key of somebody you trust, found none"),
        ("# nobody\nssh-rsa AAAA x\n", "expected a key of somebody you trust, found none"),
        ("nonsense\n", "line 1: expected a public key"),
        ("\n\nssh-ed25519 AAAA x\n", "line 3: expected a public key"),
        ("no-pty ssh-ed25519 AAAA x\n", "line 1: expected a public key"),
        ("ssh-ed25519\n", "line 1: expected a public key"),
        ("{}", "expected a controller document"),
        (
            '{"id": "did:web:x", "assertionMethod": [7], "verificationMethod": []}',
            "controller document",
        ),
        ('{"id": 7, "assertionMethod": [], "verificationMethod": []}', "controller document"),
        ("[1]", "line 1: expected a public key"),
    ],
)
def test_lists_of_keys_that_are_none(text, said):
    with pytest.raises(InputError, match=said):
        keys.read_trusted(text.encode(), "keys")


def test_files_of_those_who_are_trusted_are_read_in_any_case(script, tmp_path):
    """Even if the seal has neither time stamp nor receipt."""
    (tmp_path / "seal.json").write_text(json.dumps({"note": NOTE}))
    options = ["--seal", "seal.json", "--trusted", SEALS / "signer.pub"]
    for option, said in (("--hub", "a controller document"), ("--tsa-root", "certificates in PEM")):
        (tmp_path / "odd").write_text("{}")
        done = script("iscc_seal", "verify", "trail.tsv", *options, option, "odd")
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
        done = script("iscc_seal", "verify", "trail.tsv", *options, option, "nope")
        assert done.stderr == 'iscc_seal verify: cannot read "nope": No such file or directory\n'


def test_what_is_passed_on_is_what_was_checked(tmp_path):
    source = iscc_seal.inputs.from_path(str(TRAIL))
    entry = iscc_seal.code(source)
    assert b"".join(iscc_seal.read_pieces(source, entry)) == TRAIL.read_bytes()
    other = iscc_seal.code(iscc_seal.inputs.from_path(str(SEALED)))
    with pytest.raises(InputError, match="it was changed while being read"):
        list(iscc_seal.read_pieces(source, other))


def test_somebody_has_to_be_trusted(script):
    done = script("iscc_seal", "verify", "trail.tsv", "--seal", SEALED)
    assert done.returncode == 2
    assert "expected the keys of signers that you trust (--trusted)" in done.stderr


# Secrets


def test_secrets_appear_nowhere(tmp_path, trail):
    """The key and its passphrase are in no output, error, file or command line."""
    key = make_key(tmp_path, passphrase=PASSPHRASE)
    secret = serialization.load_ssh_private_key(key.read_bytes(), PASSPHRASE.encode())
    command = [sys.executable, SCRIPTS["iscc_seal"], "sign", trail, "--key", key, "--seal"]
    before = set(tmp_path.iterdir())
    right, seen = on_a_terminal([*command, tmp_path / "s"], PASSPHRASE)
    assert right == 0
    wrong, seen_then = on_a_terminal([*command, tmp_path / "t"], PASSPHRASE[:-1])
    assert wrong == 2
    assert b"the passphrase is wrong; try again" in seen_then
    assert b"Passphrase of" in seen
    files = [path.read_bytes() for path in set(tmp_path.iterdir()) - before]
    assert len(files) == 1
    raw = secret.private_bytes_raw()
    hidden = [raw, raw.hex().encode(), base64.b64encode(raw), PASSPHRASE[:-1].encode()]
    hidden.append(base58.b58encode(seal.SECRET_KEY + raw))
    for each in (seen, seen_then, *files):
        for what in hidden:
            assert what not in each
    note = json.loads((tmp_path / "s").read_text())["note"]
    assert iscc_crypto.verify_json(note).is_valid


def on_a_terminal(command: list[object], typed: str) -> tuple[int, bytes]:
    """Run a program on a terminal and answer its first question; its status, and all visible text.

    This is the terminal's, and the command lines and environments of processes at that moment.
    """
    main, other = pty.openpty()
    process = subprocess.Popen(
        list(map(str, command)), stdin=other, stdout=other, stderr=other, start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),
    )  # fmt: skip
    os.close(other)
    seen = b""
    try:
        deadline = time.monotonic() + 60
        while b": " not in seen and time.monotonic() < deadline:
            seen += read_some(main)
        os.write(main, typed.encode() + b"\n")
        program = psutil.Process(process.pid)
        for each in (program, *program.children(recursive=True)):
            seen += "\n".join([*each.cmdline(), *each.environ().values()]).encode()
        while piece := read_some(main):
            seen += piece
        return process.wait(60), seen
    finally:
        process.kill()
        process.wait()
        os.close(main)


def read_some(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096) if select.select([terminal], [], [], 60)[0] else b""
    except OSError:  # nobody writes there any longer
        return b""


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "found something else"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "else"),
        (b"-----BEGIN PRIVATE KEY-----\nsecret stuff\n-----END PRIVATE KEY-----\n", "else"),
        (b"z3u2secretstuff", "found something else"),
        (b"\xff secret stuff", "found something else"),
        (b"ssh-ed25519 AAAA stuff", "found a public key"),
        (b"\nz6Mkstuff", "found a public key"),
        (b"secret stuff" * 100_000, "found more"),
    ],
)
def test_what_is_no_key_is_not_quoted(script, tmp_path, content, found):
    (tmp_path / "key").write_bytes(content)
    done = script("iscc_seal", "sign", "trail.tsv", "--key", "key", "--seal", "s")
    assert done.returncode == 2
    assert done.stderr.startswith('iscc_seal sign: "key": expected ')
    assert done.stderr.endswith(f"{found}\n")
    assert done.stderr.count("\n") == 1
    assert "stuff" not in done.stderr
    assert not (tmp_path / "s").exists()


def test_keys_of_other_kinds(script, tmp_path):
    for number, other in enumerate((elliptic_key(), rsa_key())):
        form = serialization.PrivateFormat.PKCS8
        pem = other.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        (tmp_path / f"{number}").write_bytes(pem)
        refuse_to_sign(script, tmp_path, tmp_path / f"{number}", "found a key of another kind")


def test_a_secret_key_among_the_trusted_is_not_quoted(script, tmp_path, signer):
    for secret in (signer.read_text(), iscc_crypto.key_generate().secret_key):
        (tmp_path / "keys").write_text(secret)
        done = script("iscc_seal", "verify", "trail.tsv", "--seal", SEALED, "--trusted", "keys")
        assert done.returncode == 2
        assert '"keys", line 1: expected a public key' in done.stderr
        assert "found a secret key" in done.stderr
        assert secret.split()[-1] not in done.stderr
        assert "BEGIN" not in done.stderr


# The command line and the form


def test_a_public_key_in_pem_is_not_called_secret(script, tmp_path):
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "keys").write_bytes(key.public_bytes(serialization.Encoding.PEM, form))
    done = script("iscc_seal", "verify", "trail.tsv", "--seal", SEALED, "--trusted", "keys")
    assert '"keys", line 1: expected a public key' in done.stderr
    assert done.stderr.endswith("found something else\n")


def test_all_owners_of_a_key_are_named(script, tmp_path):
    lines = [f"{SIGNER} {owner}\n" for owner in ("Jane", "", "Joe", "Jane")]
    (tmp_path / "keys").write_text("".join(lines))
    options = ["--seal", SEALED, "--trusted", "keys", "--report", "report"]
    script("iscc_seal", "verify", "trail.tsv", *options)
    assert answers(tmp_path / "report")["signer"][1] == 'it is the key of "Jane" and "Joe"'


def test_certificates_that_the_library_warns_of(program, tmp_path):
    """As of the serial number 0, which some roots have that systems trust."""
    command = ["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-keyout", "key.pem"]
    command += ["-subj", "/CN=old", "-set_serial", "0", "-out", "old.pem"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    roots = (SEALS / "tsa-root.pem").read_bytes() + (tmp_path / "old.pem").read_bytes()
    (tmp_path / "roots.pem").write_bytes(roots)
    options = ["--seal", SEALED, *TRUSTING[:2], "--tsa-root", "roots.pem"]
    done = program("iscc_seal", "verify", "trail.tsv", *options)
    assert "time stamped" in done.stdout
    assert done.stderr == ""


def test_names_that_standard_output_cannot_encode(program, tmp_path, signer):
    """As in a C locale: they are escaped, and the seal is made."""
    (tmp_path / "é.tsv").write_text("a")
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = program("iscc_seal", "sign", "é.tsv", "--key", signer, "--seal", "s", env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith('sealed "\\xe9.tsv" with the key z6Mk')


def test_directories_are_not_sealed(script, tmp_path, signer):
    (tmp_path / "d").mkdir()
    done = script("iscc_seal", "sign", "d", "--key", signer, "--seal", "s")
    assert done.returncode == 2
    assert "make a manifest of its files, and seal that" in done.stderr


def test_what_to_do_has_to_be_said(script):
    for arguments in ([], ["seal"], ["--seal", "x"], ["--", "sign"]):
        done = script("iscc_seal", *arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("iscc_seal: ")
    done = script("iscc_seal", "verify", "trail.tsv", "trail.tsv", "--seal", SEALED)
    assert "expected one file and its seal (--seal)" in done.stderr
    for output in ("trail.tsv", "seal.json"):
        done = script("iscc_seal", "sign", "trail.tsv", "--key", "seal.json", "--seal", output)
        assert "this path is also an input or another output" in done.stderr


def test_a_form(script, tmp_path):
    """As Galaxy fills it in; names are data."""

    def dataset(name: str, path: Path) -> dict:
        return {"element_identifier": name, "source_path": str(path)}

    form = {
        "file": dataset("$(x) `y`.tsv", TRAIL),
        "seal": dataset("seal", SEALED),
        "keys": (SEALS / "signer.pub").read_text(),
        "tsa_root": dataset("root", SEALS / "tsa-root.pem"),
        "hub": dataset("hub", SEALS / "hub.did.json"),
    }
    (tmp_path / "form").write_text(json.dumps(form))
    done = script("iscc_seal", "verify", "--inputs", "form", "--report", "report")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('the seal of "$(x) `y`.tsv" holds: ')
    listed = {**form, "trusted": dataset("list", SEALS / "signer.pub")}
    del listed["keys"]
    (tmp_path / "form").write_text(json.dumps(listed))
    assert script("iscc_seal", "verify", "--inputs", "form").returncode == 0
    for change, said in [
        ({"seal": [form["seal"]] * 2}, "expected one dataset as seal, found 2"),
        ({"keys": 7}, 'expected a text under the key "keys"'),
        ({"more": 7}, 'found "more"'),
        ({"trusted": listed["trusted"]}, 'expected either "trusted" or "keys", found both'),
    ]:
        (tmp_path / "form").write_text(json.dumps(form | change))
        done = script("iscc_seal", "verify", "--inputs", "form")
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    (tmp_path / "form").write_text(json.dumps(form | {"hub": dataset("a hub", Path("/no/where"))}))
    done = script("iscc_seal", "verify", "--inputs", "form")
    assert done.stderr == 'iscc_seal verify: cannot read "a hub": No such file or directory\n'
    done = script("iscc_seal", "verify", "--inputs", "form", "--seal", SEALED)
    assert "--seal: the form specifies this already" in done.stderr


def test_openssl_is_needed_for_stamps_alone(script, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    done = script("iscc_seal", "verify", "trail.tsv", "--seal", SEALED, *TRUSTING)
    assert done.returncode == 2
    assert "expected openssl to be installed" in done.stderr
    sealed = tmp_path / "seal.json"
    sealed.write_text(json.dumps({"note": NOTE}))
    done = script("iscc_seal", "verify", "trail.tsv", "--seal", sealed, *TRUSTING)
    assert done.returncode == 0


def test_an_openssl_that_does_not_work_is_no_forged_stamp(script, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "openssl"
    fake.write_text("#!/bin/sh\nexit 127\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(fake.parent))
    done = script("iscc_seal", "verify", "trail.tsv", "--seal", SEALED, *TRUSTING)
    assert done.returncode == 2
    assert done.stderr == "iscc_seal verify: cannot run openssl: it ended with status 127\n"
    fake.write_text("#!/bin/sh\nexit 1\n")
    done = script("iscc_seal", "verify", "trail.tsv", "--seal", SEALED, *TRUSTING)
    assert done.returncode == 2
    assert "cannot run openssl: expected OpenSSL's command ts, found none" in done.stderr
    fake.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setenv("PATH", f"{fake.parent}:/bin:/usr/bin")
    monkeypatch.setattr(stamps, "SECONDS_FOR_OPENSSL", 0.2)
    done = script("iscc_seal", "verify", "trail.tsv", "--seal", SEALED, *TRUSTING)
    assert done.returncode == 2
    assert "cannot run openssl: it did not finish within 0.2 s" in done.stderr
