"""Seal a file, or check a seal: who vouches for the file, and since when.

    iscc_seal.py sign FILE --key KEY --seal OUT      on the signer's own machine
    iscc_seal.py verify FILE --seal S --trusted KEYS anywhere; needs no network and no account

A seal of a manifest or a trail seals every file in it. `sign --help` and `verify --help` say more.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))  # where PYTHONSAFEPATH leaves it out
    import startup

    startup.begin()

import argparse
import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import coding
import command
import inputs
import keys
import manifest
import outputs
import receipts
import seal
import stamps
from command import Outcome
from inputs import Dataset, Form
from manifest import Entry
from messages import InputError, quote, say

SIGN = """Seal a file on your own machine: sign its hashes and the time with a key of yours.

The seal is a small JSON file to publish beside the file. Nothing is sent anywhere unless --stamp or
--declare asks for it, and what is sent where is said before. The key stays where it is; if it has a
passphrase, that is asked for on the terminal.
"""
VERIFY = """Check a seal of a file. There are five answers, and one sentence to each:

    content    is it the file that was sealed, byte for byte?
    signature  was the seal made with the key that it names, and not changed since?
    signer     whose key is that, among those that you trust?
    time       when was it sealed at the latest, according to a time stamping authority?
    ISCC-ID    was it declared at an ISCC hub, and when?

The seal holds if the content is the same, the signature valid and the signer trusted, and neither
time stamp nor receipt is wrong. A time stamp or receipt may be absent, or not checked if you do not
say whom you trust for it; then the time is only what the signer claims.
"""

FAIL, REPORT = "fail", "report"
REJECT, ACCEPT = "reject", "accept"
COLUMNS = ("#question", "answer", "explanation")
MOST_HUBS = 4095
LARGEST_CLOCK_ERROR = 600  # seconds; hubs take no note that is further off


class Answer(NamedTuple):
    """The answer to a question, in a word, and a sentence on it; and whether the seal can hold."""

    question: str
    answer: str
    explanation: str
    holds: bool = True


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["sign"]:
        return command.execute(sign_parser(), sign, argv[1:])
    if argv[:1] == ["verify"]:
        return command.execute(verify_parser(), verify, argv[1:])
    parser = command.Parser("iscc_seal", __doc__)
    parser.add_argument("action", choices=["sign", "verify"], help="what to do")
    return command.execute(parser, lambda _: Outcome(""), argv)


def sign_parser() -> command.Parser:
    parser = command.Parser("iscc_seal sign", SIGN)
    parser.add_argument("file", metavar="FILE", help="the file to seal: a manifest, a trail, any")
    parser.add_argument(
        "--key",
        type=Path,
        required=True,
        metavar="KEY",
        help="a file with your secret Ed25519 key: of OpenSSH, as ~/.ssh/id_ed25519, in PEM "
        "(PKCS#8), or of iscc-crypto",
    )
    parser.add_output("--seal", "the seal", required=True)
    parser.add_argument(
        "--stamp",
        metavar="URL",
        help="have the seal stamped by the time stamping authority (RFC 3161) at this address",
    )
    parser.add_argument(
        "--declare",
        metavar="URL",
        help="declare the file at the ISCC hub at this address, for anybody to see",
    )
    parser.add_argument(
        "--hub-number",
        type=command.integer(0, MOST_HUBS),
        default=0,
        metavar="N",
        help="the number of the hub to declare at (default %(default)s)",
    )
    return parser


def verify_parser() -> command.Parser:
    parser = command.Parser("iscc_seal verify", VERIFY)
    parser.add_inputs("the file that was sealed")
    parser.add_argument("--seal", type=Path, metavar="S", help="its seal; needed with a file")
    parser.add_argument(
        "--trusted",
        type=Path,
        metavar="KEYS",
        help="a file with public keys of those you trust: lines with z6Mk..., or with "
        "ssh-ed25519 AAAA... as in authorized_keys or on GitHub; or a did.json",
    )
    parser.add_argument(
        "--tsa-root",
        type=Path,
        metavar="PEM",
        help="root certificates of the time stamping authorities that you trust",
    )
    parser.add_argument(
        "--hub", type=Path, metavar="JSON", help="the did.json of the ISCC hub that you trust"
    )
    parser.add_argument(
        "--unknown-signer",
        choices=[REJECT, ACCEPT],
        default=REJECT,
        help="what to do if the key of the signer is none that you trust (default %(default)s)",
    )
    parser.add_output("--report", "table of the five answers")
    parser.add_output("--passed-on", "the file again, if the seal holds")
    parser.add_argument(
        "--on-failure",
        choices=[FAIL, REPORT],
        default=FAIL,
        help="what to do if the seal does not hold: fail with status 1 when the report is written, "
        "or report it only (default %(default)s)",
    )
    return parser


def sign(args: argparse.Namespace) -> Outcome:
    outputs.check(args.outputs, [Path(args.file), args.key])
    entry = code(inputs.from_path(args.file))
    key = keys.read_secret(args.key)
    note = seal.sign(entry, key, args.hub_number, datetime.now(UTC))
    sealed: dict[str, object] = {"note": note}
    said = [f"sealed {quote(entry.name)} with the key {note['signature']['pubkey']}"]
    if args.stamp:
        tell(f"Sending to {args.stamp}: the SHA-256 of the seal, for a time stamp.")
        reply = stamps.request(args.stamp, seal.canonical(note))
        sealed["timestamp_token"] = base64.b64encode(reply).decode()
        time = stamps.parse(reply).time
        if abs((time - seal.time_of(note)).total_seconds()) > LARGEST_CLOCK_ERROR:
            raise InputError(
                f"the clock here says {note['timestamp']}, and {quote(args.stamp)} says "
                f"{written(time)}; set the clock, or ask another authority"
            )
        said.append(f"stamped {written(time)}")
    if args.declare:
        tell(
            f"Sending to {args.declare}, which makes it public: the ISCC and hash of the file "
            "(not its name), the time, your public key and the signature."
        )
        sealed["receipt"] = receipts.declare(args.declare, note)
        said.append(f"declared as {receipts.read(sealed['receipt'], note).iscc_id}")
    with outputs.Outputs() as out:
        out.write_lines(args.seal, [json.dumps(sealed, indent=1, ensure_ascii=False), "\n"])
    return Outcome(", ".join(said))


def tell(line: str) -> None:
    say(line, sys.stderr)


class Given(NamedTuple):
    """What a seal is checked with: the file, and whom the user trusts. None is not given."""

    file: Dataset
    seal: Dataset
    trusted: list[keys.Trusted]
    tsa_root: Dataset | None
    hub: Dataset | None


def verify(args: argparse.Namespace) -> Outcome:
    given = read_given(args)
    called = quote(given.seal.name)
    sealed = seal.read(contents(given.seal), called)
    entry = code(given.file)
    answers = [
        check_content(entry, sealed["note"]),
        check_signature(sealed["note"]),
        check_signer(sealed["note"], given.trusted, args.unknown_signer == ACCEPT),
        check_time(sealed, given.tsa_root),
        check_receipt(sealed, given.hub),
    ]
    failed = [each for each in answers if not each.holds]
    with outputs.Outputs() as out:
        if args.report:
            rows = (each[:-1] for each in answers)
            out.write_lines(args.report, manifest.table_lines(COLUMNS, rows))
        if args.passed_on and not failed:
            out.write(args.passed_on, pieces(given.file))
    summary = ", ".join(f"{each.question} {each.answer}" for each in answers)
    if not failed:
        return Outcome(f"the seal of {quote(entry.name)} holds: {summary}")
    reasons = "; ".join(f"{each.question} {each.answer}: {each.explanation}" for each in failed)
    complaint = f"the seal of {quote(entry.name)} does not hold: {reasons}"
    return Outcome(summary, complaint if args.on_failure == FAIL else "")


def read_given(args: argparse.Namespace) -> Given:
    """What the command line or the form gives; nothing of the file is read yet."""
    pasted = None
    if args.inputs:
        for option in ("seal", "trusted", "tsa_root", "hub"):
            if getattr(args, option):
                raise InputError(f"--{option.replace('_', '-')}: the form says that already")
        form = Form(args.inputs, ("file", "seal", "trusted", "keys", "tsa_root", "hub"))
        given = {key: one(form, key) for key in ("file", "seal", "trusted", "tsa_root", "hub")}
        if "keys" in form.values:
            pasted = form.text("keys").encode("utf-8", "surrogatepass")
    else:
        if len(args.files) != 1 or not args.seal:
            raise InputError("expected one file and its --seal")
        paths = {"seal": args.seal, "trusted": args.trusted}
        paths |= {"file": args.files[0], "tsa_root": args.tsa_root, "hub": args.hub}
        given = {key: inputs.from_path(str(path)) if path else None for key, path in paths.items()}
    outputs.check(args.outputs, [args.inputs, *(each.path for each in given.values() if each)])
    trusted, listed = [], given.pop("trusted")
    if listed:
        trusted = keys.read_trusted(contents(listed), quote(listed.name))
    elif pasted is not None:
        trusted = keys.read_trusted(pasted, "the keys in the form")
    elif args.unknown_signer == REJECT:
        raise InputError(
            "expected the keys of those whom you trust (--trusted), or to be told that any signer "
            "will do (--unknown-signer accept)"
        )
    return Given(trusted=trusted, **given)


def one(form: Form, key: str) -> Dataset | None:
    """The dataset under a key of the form, which may be absent but for the file and its seal."""
    if key not in form.values and key not in ("file", "seal"):
        return None
    form.one_of(key)
    datasets = form.datasets(key)
    if len(datasets) != 1:
        raise InputError(f"expected one dataset as {key}, found {len(datasets)}")
    return datasets[0]


def contents(source: Dataset) -> bytes:
    return keys.read_file(source.path, quote(source.name))


def code(source: Dataset) -> Entry:
    """The codes of a file. Raises InputError for a directory, which has no bytes of its own."""
    if coding.is_directory(source):
        raise InputError(
            f"cannot seal {quote(source.name)}: it is a directory; make a manifest of its files "
            "and seal that"
        )
    return coding.code_all([source])[0]


def check_content(entry: Entry, note: Mapping[str, str]) -> Answer:
    question = "content"
    if entry.datahash != note["datahash"]:
        return Answer(
            question,
            "changed",
            f"{quote(entry.name)} is not the file that was sealed: expected the datahash "
            f"{note['datahash']}, found {entry.datahash}",
            holds=False,
        )
    if not seal.is_code_of(note["iscc_code"], entry.iscc):
        return Answer(
            question,
            "wrong code",
            f"the hash is that of {quote(entry.name)}, but not the ISCC beside it: expected "
            f"{entry.iscc}, found {note['iscc_code']}",
            holds=False,
        )
    return Answer(
        question, "same", f"{quote(entry.name)} is what was sealed, byte for byte ({entry.iscc})"
    )


def check_signature(note: Mapping[str, object]) -> Answer:
    key = note["signature"]["pubkey"]
    if seal.is_signed(note):
        return Answer("signature", "valid", f"the key {key} signed this, and nothing was changed")
    return Answer(
        "signature",
        "not valid",
        f"the key {key} did not sign this, or it was changed since",
        holds=False,
    )


def check_signer(
    note: Mapping[str, object], trusted: Sequence[keys.Trusted], accept: bool
) -> Answer:
    key = seal.public_key_of(note)
    owners = [each.owner for each in trusted if each.key == key]
    if owners:
        owner = quote(owners[0]) if owners[0] else "no name behind it"
        return Answer("signer", "trusted", f"the key is among those that you trust: {owner}")
    beside = ", and any signer is accepted" if accept else ""
    return Answer(
        "signer",
        "unknown",
        f"nobody that you trust has the key {note['signature']['pubkey']}{beside}; ask its owner, "
        "by another way than this seal came",
        holds=accept,
    )


def check_time(sealed: Mapping[str, object], roots: Dataset | None) -> Answer:
    question, claimed = "time", f"the signer claims {sealed['note']['timestamp']}"
    if "timestamp_token" not in sealed:
        return Answer(question, "claimed", f"{claimed}, and there is no time stamp")
    try:
        reply = base64.b64decode(sealed["timestamp_token"], validate=True)
        if base64.b64encode(reply).decode() != sealed["timestamp_token"]:
            raise stamps.StampError("it is not written in base64 as it has to be")
        pem = contents(roots) if roots else None
        stamp = stamps.check(reply, seal.canonical(sealed["note"]), pem)
    except ValueError as error:
        reason = error if isinstance(error, stamps.StampError) else "it is not base64"
        return Answer(question, "not valid", f"the time stamp is wrong: {reason}; {claimed}", False)
    if not roots:
        return Answer(
            question,
            "not checked",
            f"{claimed}; a time stamp says {written(stamp.time)}, but no root certificate was "
            "given to check it with",
        )
    expired = ""
    if stamp.expired:
        expired = f"; its certificate expired on {stamp.expired:%Y-%m-%d}, and was valid then"
    return Answer(
        question,
        "stamped",
        f"sealed on {written(stamp.time)} at the latest, says {quote(stamp.authority)}{expired}; "
        f"{claimed}",
    )


def check_receipt(sealed: Mapping[str, object], hub: Dataset | None) -> Answer:
    question, note = "ISCC-ID", sealed["note"]
    if "receipt" not in sealed:
        return Answer(question, "none", "there is no receipt of a hub")
    try:
        if not hub:
            receipt = receipts.read(sealed["receipt"], note)
            return Answer(
                question,
                "not checked",
                f"a receipt says {receipt.iscc_id}, but no did.json of a hub was given to check it "
                "with",
            )
        called = quote(hub.name)
        document = seal.read_json(contents(hub), called, keys.LONGEST_FILE)
        receipt = receipts.check(sealed["receipt"], note, keys.methods(document, called))
    except receipts.ReceiptError as error:
        return Answer(question, "not valid", f"the receipt is wrong: {error}", holds=False)
    return Answer(
        question,
        "declared",
        f"{receipt.iscc_id}, declared on {written(receipt.time)} at hub {receipt.hub}, says "
        f"{quote(receipt.issuer)}",
    )


def written(time: datetime) -> str:
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")


def pieces(source: Dataset) -> Iterator[bytes]:
    with source.path.open("rb") as stream:
        while piece := stream.read(outputs.PIECE_BYTES):
            yield piece


if __name__ == "__main__":
    command.run(main)
