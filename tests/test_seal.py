"""Seals: made, checked and attacked, against iscc-crypto, openssl and the receipt of a real hub.

The fixtures in test-data/seals were made by others: the note signed by iscc-crypto with a key of
OpenSSH, the time stamp by `openssl ts`, the receipt by a hub that ran on loopback.
"""

import base64
import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import base58
import iscc_core
import iscc_crypto
import jcs
import psutil
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
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
from dev.authority import elliptic_key, make_authority, serving
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
    """The sealed file is called trail.tsv where the scripts run."""
    return Path(shutil.copy(TRAIL, tmp_path / "trail.tsv"))


def answers(report: Path) -> dict[str, list[str]]:
    """The answer to each question in a report, and the sentence on it."""
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
    assert SIGNER in found["signature"][1]
    assert found["time"][1] == (
        'sealed on 2026-11-24T13:55:30Z at the latest, says "CN=Test TSA"; the signer claims '
        "2026-11-24T13:55:30.471Z"
    )
    assert found["ISCC-ID"][1] == (
        'ISCC:MAIWMEDBATAPEYAA, declared on 2026-11-24T13:55:31Z at hub 0, says "did:web:localhost"'
    )


def test_what_is_not_trusted_is_not_taken_for_checked(script, tmp_path):
    trusting = ["--trusted", SEALS / "signer.pub", "--report", "report"]
    done = script("iscc_seal", "verify", "trail.tsv", "--seal", SEALED, *trusting)
    assert done.returncode == 0
    found = answers(tmp_path / "report")
    assert [found[question][0] for question in ("time", "ISCC-ID")] == ["not checked"] * 2


# Signatures, against iscc-crypto, openssl and iscc-schema


def make_key(folder: Path, name: str = "key", passphrase: str = "") -> Path:
    """A key pair as OpenSSH makes it: NAME, and NAME.pub."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "jane@lab"]
    subprocess.run([*command, "-f", folder / name], check=True)
    return folder / name


def sealed_with(script: Callable, folder: Path, key: Path, *options: object) -> dict:
    (folder / "a.tsv").write_bytes(b"a file to seal\n")
    done = script("iscc_seal", "sign", "a.tsv", "--key", key, "--seal", "out.json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "out.json").read_text())


def test_our_signatures_are_valid_to_others(script, tmp_path):
    """iscc-crypto takes the note for signed, openssl its signature, iscc-schema its form."""
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
    """One key as OpenSSH, PKCS#8 and iscc-crypto write it makes notes of one signer."""
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
    """Literal values: what the hub answered, when it answered."""
    sealed = json.loads(SEALED.read_text())
    hub = keys.methods(json.loads((SEALS / "hub.did.json").read_text()), "hub")
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
    """A stand-in for an ISCC hub: checks notes as one does, and signs receipts with iscc-crypto."""

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
        body = (time.time_ns() // 1000 << 12 | self.number).to_bytes(8)
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
    """All on loopback: a real `openssl ts`, and a hub that checks what it takes."""
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
    assert f"Sending to {tsa_url}: the SHA-256" in done.stderr
    assert f"Sending to {hub_url}/, which makes it public" in done.stderr
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
    assert '"CN=Example stamps"' in found["time"][1]
    assert f"at hub 7, says {json.dumps('did:web:hub.example')}" in found["ISCC-ID"][1]

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
    with pytest.raises(stamps.StampError, match=r"lead back to the root certificates.*expired"):
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
    """A stamp of then is good, and that the certificate is no longer is said with it."""
    expired = datetime(2026, 11, 25, tzinfo=UTC)
    real = stamps.check
    monkeypatch.setattr(stamps, "check", lambda *a: real(*a)._replace(expired=expired))
    options = ["--seal", SEALED, *TRUSTING, "--report", "report"]
    assert script("iscc_seal", "verify", "trail.tsv", *options).returncode == 0
    assert (
        "its certificate expired on 2026-11-25, and was valid then"
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
        ((307, b""), 'expected a time stamp, but the server says 307 "Temporary Redirect"'),
        ((200, b"x" * 70_000), "expected at most 65,536 bytes, found more"),
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
    """Of other data; of the same, but in answer to another question; with SHA-1."""
    authority = make_authority(tmp_path / "tsa")
    replies = [authority.stamp(b"other")]
    with serving(lambda path, body: (200, replies[0])) as url:
        refuse_to_sign(script, tmp_path, signer, "it is about something else", "--stamp", url)
    replayed = authority.stamp(b"data")
    with (
        serving(lambda path, body: (200, replayed)) as url,
        pytest.raises(InputError, match="it answers another question"),
    ):
        stamps.request(url, b"data")
    with pytest.raises(stamps.StampError, match="signed in a way that is not known"):
        stamps.check(authority.stamp(b"data", "sha1"), b"data", authority.root)
    for name in ("sha384", "sha512"):
        stamps.check(authority.stamp(b"data", name), b"data", authority.root)


def test_a_clock_that_is_wrong(script, tmp_path, signer, monkeypatch):
    authority = make_authority(tmp_path / "tsa")
    monkeypatch.setattr(iscc_seal, "LARGEST_CLOCK_ERROR", -1)
    with serving(lambda path, body: (200, authority.reply(body))) as url:
        refuse_to_sign(script, tmp_path, signer, "set the clock, or ask another", "--stamp", url)


def test_a_hub_that_refuses(script, tmp_path, signer):
    """Its number is another one; the file is declared already; it confirms another note."""
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
    for url in ("file:///etc/passwd", "ftp://example.org", "-x", ""):
        if url:
            said = "expected an address with https:// or http://"
            refuse_to_sign(script, tmp_path, signer, said, f"--stamp={url}")
    refuse_to_sign(
        script, tmp_path, signer, "expected an answer, but", "--stamp", "http://127.0.0.1:9"
    )


# Attacks on seals


def holds(file: bytes, sealed: bytes, folder: Path) -> bool:
    """Whether a file and its seal pass everything, the cheapest first."""
    path = folder / "file"
    path.write_bytes(file)
    try:
        parts = seal.read(sealed, "seal")
        note = parts["note"]
        entry = iscc_seal.code(iscc_seal.inputs.from_path(str(path)))
        trusted = keys.read_trusted((SEALS / "signer.pub").read_bytes(), "keys")
        root, hub = (
            iscc_seal.inputs.from_path(str(SEALS / name))
            for name in ("tsa-root.pem", "hub.did.json")
        )
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
    """Each changed in one way, with make fuzz in others; whitespace of JSON may be any."""
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
def test_every_byte_of_a_time_stamp_counts(tmp_path):
    """Also those that no signature covers, and that openssl does not look at."""
    sealed = json.loads(SEALED.read_text())
    reply = base64.b64decode(sealed["timestamp_token"])
    data, roots = seal.canonical(sealed["note"]), (SEALS / "tsa-root.pem").read_bytes()
    stamps.check(reply, data, roots)
    random = chance(2)
    for place in range(0, len(reply), 1 if FUZZING else 7):
        other = changed(reply, place, random.randrange(1, 256))
        with pytest.raises(stamps.StampError):
            stamps.check(other, data, roots)


# Places in the time stamp that openssl takes as it is when one bit in them is another.
OVERLOOKED = [8, 34, 35, 50, 194, 617, 627, 630, 644, 685, 687, 703, 761, 812, 858, 862, 865]


@pytest.mark.parametrize("place", OVERLOOKED)
def test_bytes_that_openssl_overlooks(place):
    sealed = json.loads(SEALED.read_text())
    reply = base64.b64decode(sealed["timestamp_token"])
    data, roots = seal.canonical(sealed["note"]), (SEALS / "tsa-root.pem").read_bytes()
    for bit in range(8):
        with pytest.raises(stamps.StampError):
            stamps.check(changed(reply, place, 1 << bit), data, roots)


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
    "a key twice": (TEXT[:-1] + ', "note": {}}', "expected JSON: a key is there twice"),
    "a key twice, inside": (
        TEXT.replace('"nonce"', '"nonce": "' + 32 * "0" + '", "nonce"'),
        "a key is there twice",
    ),
    "a key written otherwise": (TEXT[:-1] + ', "n\u006fte": {}}', "a key is there twice"),
    "another part": (with_note() | {"note2": {}}, 'found "note2" as well'),
    "another field": (with_note(x="y"), 'found "x" as well'),
    "$schema": (with_note(**{"$schema": "x"}), 'found "$schema" as well'),
    "another field in the signature": (with_signature(x="y"), 'found "x" as well'),
    "a field less": ({"note": {k: v for k, v in NOTE.items() if k != "nonce"}}, "the field nonce"),
    "a key that is not ASCII": (TEXT[:-1] + ', "é": 1}', "a key is not ASCII"),
    "a fraction": (TEXT[:-1] + ', "receipt": {"seq": 1.0}}', '"1.0" is a fraction'),
    "an exponent": (TEXT[:-1] + ', "receipt": {"seq": 1e3}}', '"1e3" is a fraction'),
    "not a number": (TEXT[:-1] + ', "receipt": {"seq": NaN}}', '"NaN" is no number'),
    "a huge integer": (TEXT[:-1] + ', "receipt": {"seq": ' + 5000 * "9" + "}}", "too large"),
    "half a character": (TEXT[:-1] + ', "receipt": {"a": "\\ud800"}}', "expected JSON"),
    "not UTF-8": (TEXT[:-1] + ', "receipt": {"a": "\udcff"}}', "expected JSON"),
    "UTF-16": ("\ufeff" + TEXT, "expected JSON"),
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
        with_note(iscc_code="ISCC:IAAQDQS4R4WWFLIG5XV7FQWN7OLY3ZTGGMYDDLWXU6TXZDLLYHVN6KA"),
        "expected",
    ),
    "a time that there is not": (with_note(timestamp="2026-02-30T00:00:00.000Z"), "day"),
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
    """The answers on a seal that does not hold."""
    (folder / "seal.json").write_text(json.dumps(sealed))
    options = [*(options or TRUSTING), "--report", "report"]
    done = script("iscc_seal", "verify", "trail.tsv", "--seal", "seal.json", *options)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith('iscc_seal verify: the seal of "trail.tsv" does not hold: ')
    return answers(folder / "report")


def signed_by(secret: ed25519.Ed25519PrivateKey, **fields: object) -> dict:
    """The fixture's note signed by somebody else, or with other fields."""
    public = seal.encode(seal.PUBLIC_KEY + secret.public_key().public_bytes_raw())
    note = {**NOTE, **fields, "signature": {"version": seal.VERSION, "pubkey": public}}
    note["signature"]["proof"] = seal.encode(secret.sign(jcs.canonicalize(note)))
    return note


def test_another_key_than_the_trusted_one(script, tmp_path):
    """Signed by a stranger: as himself, and in the name of the trusted one."""
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
    """The stamp and the receipt of the fixture beside a note that somebody else signed."""
    sealed = json.loads(SEALED.read_text())
    sealed["note"] = signed_by(ed25519.Ed25519PrivateKey.generate())
    found = fails(script, tmp_path, sealed)
    assert found["time"] == [
        "not valid",
        "the time stamp is wrong: it is about something else; the signer claims "
        "2026-11-24T13:55:30.471Z",
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
    """Beside the authority's, where openssl does not look."""
    authority, other = make_authority(tmp_path / "tsa"), make_authority(tmp_path / "other")
    config = authority.folder / "tsa.conf"
    config.write_text(config.read_text() + "certs = more.pem\n")
    (authority.folder / "more.pem").write_bytes((other.folder / "tsa.pem").read_bytes())
    with pytest.raises(stamps.StampError, match="nobody vouches for one of its certificates"):
        stamps.check(authority.stamp(b"data"), b"data", authority.root)
    (authority.folder / "more.pem").write_bytes(authority.root)
    assert stamps.check(authority.stamp(b"data"), b"data", authority.root)


BAD_STAMPS = ["", "AAAA", "é", "====", base64.b64encode(b"0" * 40_000).decode(), "MIIDpjADAgEAMIID"]


@pytest.mark.parametrize("token", BAD_STAMPS)
def test_stamps_that_are_none(script, tmp_path, token):
    found = fails(script, tmp_path, {"note": NOTE, "timestamp_token": token})
    assert found["time"][0] == "not valid"


def receipt_signed(**fields: object) -> tuple[dict, dict[str, bytes]]:
    """A receipt of a stand-in hub for the fixture's note, with other fields; and the hub's keys."""
    hub = Hub()
    receipt = json.loads(hub.answer("/declaration", json.dumps(NOTE).encode())[1])
    del receipt["proof"]
    receipt = iscc_crypto.sign_vc({**receipt, **fields}, hub.keys)
    return receipt, keys.methods(hub.keys.controller_document, "hub")


def test_receipts_that_are_none():
    subject = receipt_signed()[0]["credentialSubject"]
    declaration = subject["declaration"]
    other_id = {**declaration, "iscc_id": "ISCC:MAIWMEDBATAPEYAB"}
    no_id = {**declaration, "iscc_id": "ISCC:MAIWMEDBATAPEYA0"}
    header = {**declaration, "iscc_id": "ISCC:MAAWMEDBATAPEYAA"}
    for fields, said in [
        ({"type": ["VerifiableCredential"]}, "no IsccReceipt"),
        ({"credentialSubject": {}}, "no IsccReceipt"),
        ({"credentialSubject": {**subject, "id": "did:key:z6Mk"}}, "another signer"),
        (
            {"credentialSubject": {**subject, "declaration": other_id}},
            "it is of hub 1, and the note",
        ),
        ({"credentialSubject": {**subject, "declaration": no_id}}, "is no ISCC-ID"),
        ({"credentialSubject": {**subject, "declaration": header}}, "is no ISCC-ID"),
        ({"issuer": "did:web:other.example"}, "who is not the hub that you trust"),
    ]:
        receipt, hub = receipt_signed(**fields)
        with pytest.raises(receipts.ReceiptError, match=said):
            receipts.check(receipt, NOTE, hub)
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


# Whom a user trusts


def test_lists_of_keys(tmp_path, signer):
    """Keys of OpenSSH and of ISCC, names, comments; other kinds of keys, as GitHub lists them."""
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


def test_documents_of_controllers():
    pair = iscc_crypto.key_generate(controller="did:web:example.org")
    document = pair.controller_document
    text = json.dumps(document).encode()
    assert keys.read_trusted(text, "did.json") == [
        (pair.pk_obj.public_bytes_raw(), "did:web:example.org")
    ]
    method = document["verificationMethod"][0]
    document["assertionMethod"] = [dict(method)]
    assert len(keys.read_trusted(json.dumps(document).encode(), "did.json")) == 1
    document["verificationMethod"] = []
    for gone in ({"revoked": "2020-01-01T00:00:00Z"}, {"expires": "2020-01-01T00:00:00Z"}):
        document["assertionMethod"] = [{**method, **gone}]
        with pytest.raises(InputError, match="a key that may vouch"):
            keys.read_trusted(json.dumps(document).encode(), "did.json")
    document["assertionMethod"] = [{**method, "expires": "2999-01-01T00:00:00Z"}]
    assert len(keys.read_trusted(json.dumps(document).encode(), "did.json")) == 1


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


def test_somebody_has_to_be_trusted(script):
    done = script("iscc_seal", "verify", "trail.tsv", "--seal", SEALED)
    assert done.returncode == 2
    assert "expected the keys of those whom you trust (--trusted)" in done.stderr


# Secrets


def test_secrets_appear_nowhere(tmp_path, trail):
    """No output, no error, no file, no command line has the key or its passphrase."""
    key = make_key(tmp_path, passphrase=PASSPHRASE)
    secret = serialization.load_ssh_private_key(key.read_bytes(), PASSPHRASE.encode())
    command = [sys.executable, SCRIPTS["iscc_seal"], "sign", trail, "--key", key, "--seal"]
    before = set(tmp_path.iterdir())
    right, seen = on_a_terminal([*command, tmp_path / "s"], PASSPHRASE)
    assert right == 0
    wrong, seen_then = on_a_terminal([*command, tmp_path / "t"], PASSPHRASE[:-1])
    assert wrong == 2
    assert b"this is not its passphrase; try again" in seen_then
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
    """Run a program on a terminal and answer its first question; its status, and all that one sees.

    Seen are the terminal, and the command lines and environments of the processes at that moment.
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
    "content",
    [
        b"",
        b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----\nsecret stuff\n-----END PRIVATE KEY-----\n",
        b"z3u2secretstuff",
        b"\xff secret stuff",
        b"secret stuff" * 100_000,
    ],
)
def test_what_is_no_key_is_not_quoted(script, tmp_path, content):
    (tmp_path / "key").write_bytes(content)
    done = script("iscc_seal", "sign", "trail.tsv", "--key", "key", "--seal", "s")
    assert done.returncode == 2
    assert done.stderr.startswith('iscc_seal sign: "key": expected ')
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
        assert secret.split()[-1] not in done.stderr
        assert "BEGIN" not in done.stderr


# The command line and the form


def test_directories_are_not_sealed(script, tmp_path, signer):
    (tmp_path / "d").mkdir()
    done = script("iscc_seal", "sign", "d", "--key", signer, "--seal", "s")
    assert done.returncode == 2
    assert "make a manifest of its files and seal that" in done.stderr


def test_what_to_do_has_to_be_said(script):
    for arguments in ([], ["seal"], ["--seal", "x"]):
        done = script("iscc_seal", *arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("iscc_seal: ")
    done = script("iscc_seal", "verify", "trail.tsv", "trail.tsv", "--seal", SEALED)
    assert "expected one file and its --seal" in done.stderr
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
    ]:
        (tmp_path / "form").write_text(json.dumps(form | change))
        done = script("iscc_seal", "verify", "--inputs", "form")
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    done = script("iscc_seal", "verify", "--inputs", "form", "--seal", SEALED)
    assert "--seal: the form says that already" in done.stderr


def test_openssl_is_needed_for_stamps_alone(script, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    done = script("iscc_seal", "verify", "trail.tsv", "--seal", SEALED, *TRUSTING)
    assert done.returncode == 2
    assert "expected openssl to be installed" in done.stderr
    assert web.LONGEST_ANSWER == 65_536
