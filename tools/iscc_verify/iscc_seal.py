"""Seal a file, or check a seal: who vouches for the file, and since when.

    iscc_seal.py sign FILE --key KEY --seal OUT       on the signer's own machine
    iscc_seal.py verify FILE --seal S --trusted KEYS  anywhere; needs no network and no account

A seal of a manifest or a trail covers every file listed in it. For details, see `sign --help` and
`verify --help`.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))  # missing if PYTHONSAFEPATH is set
    import startup

    startup.begin()

import argparse
import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from iscc_sum import IsccSumProcessor

import coding
import command
import inputs
import keys
import manifest
import outputs
import receipts
import seal
import stamps
import web
from command import Outcome
from inputs import Dataset, Form
from manifest import Entry
from messages import InputError, quote, say

SIGN = """Seal a file on your own machine: sign its hashes and the time with your key.

The seal is a small JSON file to be published with the file. Nothing is sent anywhere unless you ask
for it with --stamp or --declare; the script then prints first what it sends, and where. The key is
not copied. If it has a passphrase, the script asks for it.
"""
VERIFY = """Check the seal of a file. The report answers five questions:

    content    is it the file that was sealed, byte for byte?
    signature  was the seal made with the key that it names, and not changed since?
    signer     do you trust that key, and whose is it?
    time       did a time stamping authority see the seal, and when?
    ISCC-ID    was the file declared at an ISCC hub, and when?

The seal holds if the content is the same, the signature is valid, the signer is trusted (or any
signer is accepted), and neither the time stamp nor the hub's receipt is wrong. Both are optional,
and are only checked if you name the authorities or the hub that you trust.
"""

FAIL, REPORT = "fail", "report"
REJECT, ACCEPT = "reject", "accept"
COLUMNS = ("#question", "answer", "explanation")
SOURCES = (
    "file",
    "seal",
    "trusted",
    "tsa_root",
    "hub",
)  # keys of a form, besides pasted public keys
MOST_HUBS = 4095
LARGEST_CLOCK_ERROR = 600  # seconds; hubs reject notes that are further off


class Answer(NamedTuple):
    """A question, its answer in a word, an explanation, and whether the seal can still hold."""

    question: str
    answer: str
    explanation: str
    holds: bool = True


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["sign"]:
        return command.execute(make_sign_parser(), sign, argv[1:])
    if argv[:1] == ["verify"]:
        return command.execute(make_verify_parser(), verify, argv[1:])
    parser = command.Parser("iscc_seal", __doc__)
    parser.add_argument("action", metavar="sign|verify", help="what to do; must come first")
    return command.execute(parser, refuse, argv)


def refuse(args: argparse.Namespace) -> Outcome:
    raise InputError(f"expected sign or verify as the first argument, found {quote(args.action)}")


def make_sign_parser() -> command.Parser:
    parser = command.Parser("iscc_seal sign", SIGN)
    parser.add_argument(
        "file", metavar="FILE", help="the file to seal: a manifest, a trail or any other file"
    )
    parser.add_argument(
        "--key",
        type=Path,
        required=True,
        metavar="KEY",
        help="a file with your secret Ed25519 key, in the format of OpenSSH (~/.ssh/id_ed25519), "
        "PEM (PKCS#8) or iscc-crypto",
    )
    parser.add_output("--seal", "the seal to write; must not exist yet", required=True)
    parser.add_argument(
        "--stamp",
        type=web.address,
        metavar="URL",
        help="have the seal stamped by the time stamping authority (RFC 3161) at this address",
    )
    parser.add_argument(
        "--declare",
        type=web.address,
        metavar="URL",
        help="declare the file at the ISCC hub at this address, which publishes its hashes",
    )
    parser.add_argument(
        "--hub-number",
        type=command.integer(0, MOST_HUBS),
        default=0,
        metavar="N",
        help="the number of the hub to declare at (default %(default)s)",
    )
    return parser


def make_verify_parser() -> command.Parser:
    parser = command.Parser("iscc_seal verify", VERIFY)
    parser.add_inputs("the file that was sealed")
    parser.add_argument("--seal", type=Path, metavar="S", help="its seal; required with FILE")
    parser.add_argument(
        "--trusted",
        type=Path,
        metavar="KEYS",
        help="a file with the public keys that you trust: lines with z6Mk..., or with "
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
        help="what to do if you do not trust the key of the signer (default %(default)s)",
    )
    parser.add_output("--report", "table of the five answers")
    parser.add_output("--passed-on", "a copy of the file, if the seal holds")
    parser.add_argument(
        "--on-failure",
        choices=[FAIL, REPORT],
        default=FAIL,
        help="what to do if the seal does not hold: fail with status 1 after writing the report, "
        "or only report it (default %(default)s)",
    )
    return parser


def sign(args: argparse.Namespace) -> Outcome:
    outputs.check(args.outputs, [Path(args.file), args.key])
    check_is_new(args.seal)
    entry = code(inputs.from_path(args.file))
    note = seal.sign(entry, keys.read_secret(args.key), args.hub_number)
    sealed: dict[str, object] = {"note": note}
    said = [f"sealed {quote(entry.name)} with the key {note['signature']['pubkey']}"]
    if args.stamp is not None:
        sealed["timestamp_token"], time = ask_for_stamp(args.stamp, note)
        said.append(f"stamped {format_time(time)}")
    if args.declare is not None:
        say(
            f"Sending to {quote(args.declare)}, which makes it public: the ISCC and hash of the "
            "file (not its name), the time, your public key and the signature.",
            sys.stderr,
        )
        sealed["receipt"], receipt = receipts.declare(args.declare, note)
        said.append(f"declared as {receipt.iscc_id}")
    text = json.dumps(sealed, indent=1) + "\n"
    try:
        seal.read(text.encode(), quote(str(args.seal)))
        check_is_new(args.seal)
        with outputs.Outputs() as out:
            out.write_lines(args.seal, [text])
    except BaseException:
        if "receipt" in sealed:  # a hub issues it only once
            say(f"The seal, which could not be written:\n{text}", sys.stderr)
        raise
    return Outcome(", ".join(said))


def check_is_new(path: Path) -> None:
    """Raise InputError if there is a file already. Seals are not overwritten."""
    if path.is_file():
        raise InputError(
            f"cannot write {quote(str(path))}: there is a file already; choose another name, "
            "or remove that seal with its time stamp and receipt"
        )


def ask_for_stamp(url: str, note: Mapping[str, object]) -> tuple[str, datetime]:
    """A time stamp of a note, in base64, and its time."""
    say(f"Sending to {quote(url)}: the SHA-256 of the seal, for a time stamp.", sys.stderr)
    reply, stamp = stamps.request(url, seal.canonical(note))
    if abs((stamp.time - seal.time_of(note)).total_seconds()) > LARGEST_CLOCK_ERROR:
        raise InputError(
            f"the clock here says {note['timestamp']}, and {quote(url)} says "
            f"{format_time(stamp.time)}; set the clock, or ask another authority"
        )
    return base64.b64encode(reply).decode(), stamp.time


class Given(NamedTuple):
    """What a seal is checked with: the file, the seal, and whom the user trusts (None: nobody).

    `roots` are certificates in PEM, `hub` are keys by their identifiers.
    """

    file: Dataset
    sealed: Mapping[str, object]
    trusted: list[keys.Trusted]
    roots: bytes | None
    hub: Mapping[str, bytes] | None


def verify(args: argparse.Namespace) -> Outcome:
    given = read_given(args)
    note = given.sealed["note"]
    entry = code(given.file)
    answers = [
        check_content(entry, note),
        check_signature(note),
        check_signer(note, given.trusted, args.unknown_signer == ACCEPT),
        check_time(given.sealed, given.roots),
        check_receipt(given.sealed, given.hub),
    ]
    failed = [each for each in answers if not each.holds]
    with outputs.Outputs() as out:
        if args.report:
            rows = (each[:-1] for each in answers)
            out.write_lines(args.report, manifest.table_lines(COLUMNS, rows))
        if args.passed_on and not failed:
            out.write(args.passed_on, read_pieces(given.file, entry))
    summary = ", ".join(f"{each.question} {each.answer}" for each in answers)
    if not failed:
        return Outcome(f"the seal of {quote(entry.name)} holds: {summary}")
    reasons = "; ".join(f"{each.question} {each.answer}: {each.explanation}" for each in failed)
    complaint = f"the seal of {quote(entry.name)} does not hold: {reasons}"
    return Outcome(summary, complaint if args.on_failure == FAIL else "")


def read_given(args: argparse.Namespace) -> Given:
    """Read what the command line or the form names, except for the file itself."""
    given: dict[str, Dataset | None]
    pasted = None
    if args.inputs:
        for option in SOURCES[1:]:
            if getattr(args, option):
                raise InputError(f"--{option.replace('_', '-')}: the form specifies this already")
        form = Form(args.inputs, (*SOURCES, "keys"))
        given = {key: read_one(form, key) for key in SOURCES}
        if form.which("trusted", "keys") == "keys":
            pasted = form.text("keys").encode("utf-8", "surrogatepass")
    else:
        if len(args.files) != 1 or not args.seal:
            raise InputError("expected one file and its seal (--seal)")
        paths = [args.files[0], *(getattr(args, option) for option in SOURCES[1:])]
        given = {
            key: inputs.from_path(str(path)) if path else None
            for key, path in zip(SOURCES, paths, strict=True)
        }
    outputs.check(args.outputs, [args.inputs, *(each.path for each in given.values() if each)])
    trusted, listed = [], given["trusted"]
    if listed:
        trusted = keys.read_trusted(read_contents(listed), quote(listed.name))
    elif pasted is not None:
        trusted = keys.read_trusted(pasted, "the keys in the form")
    elif args.unknown_signer == REJECT:
        raise InputError(
            "expected the keys of signers that you trust (--trusted), found none; to accept any "
            "signer, use --unknown-signer accept"
        )
    roots, hub = None, None
    if root := given["tsa_root"]:
        roots = read_contents(root)
        stamps.check_roots(roots, quote(root.name))
    if document := given["hub"]:
        hub = keys.read_document(read_contents(document), quote(document.name)).methods
    sealed = seal.read(read_contents(given["seal"]), quote(given["seal"].name))
    return Given(given["file"], sealed, trusted, roots, hub)


def read_one(form: Form, key: str) -> Dataset | None:
    """The dataset under a key of the form; None if it is absent and optional."""
    if key not in form.values and key not in ("file", "seal"):
        return None
    form.one_of(key)
    datasets = form.datasets(key)
    if len(datasets) != 1:
        raise InputError(f"expected one dataset as {key}, found {len(datasets)}")
    return datasets[0]


def read_contents(source: Dataset) -> bytes:
    return keys.read_file(source.path, source.name)


def code(source: Dataset) -> Entry:
    """The codes of a file. Raises InputError for a directory."""
    if coding.is_directory(source):
        raise InputError(
            f"{quote(source.name)}: expected a file, found a directory; make a manifest of its "
            "files, and seal that"
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
            f"the hash is that of {quote(entry.name)}, but the ISCC next to it is not: expected "
            f"{entry.iscc}, found {note['iscc_code']}",
            holds=False,
        )
    return Answer(question, "same", f"{quote(entry.name)} is what was sealed, byte for byte")


def check_signature(note: Mapping[str, object]) -> Answer:
    key = note["signature"]["pubkey"]
    if seal.is_signed(note):
        return Answer("signature", "valid", f"it was signed with the key {key}")
    return Answer(
        "signature", "not valid", f"the key {key} did not sign this, or it was changed since", False
    )


def check_signer(
    note: Mapping[str, object], trusted: Sequence[keys.Trusted], accept: bool
) -> Answer:
    """Find the owner of the key in the user's list, not in the seal."""
    text = note["signature"]["pubkey"]
    key = seal.public_key(text)
    owners = [each.owner for each in trusted if each.key == key]
    if owners:
        named = " and ".join(map(quote, dict.fromkeys(filter(None, owners))))
        whose = f"it is the key of {named}" if named else "you trust this key"
        return Answer("signer", "trusted", whose)
    if accept:
        return Answer("signer", "unknown", f"you accept any signer; this one has the key {text}")
    return Answer(
        "signer",
        "unknown",
        f"the key {text} is not among those that you trust; to trust it, get it from its "
        "owner, not from the source of this seal",
        holds=False,
    )


def check_time(sealed: Mapping[str, object], roots: bytes | None) -> Answer:
    question, claimed = "time", f"the signer claims {sealed['note']['timestamp']}"
    if "timestamp_token" not in sealed:
        return Answer(question, "claimed", f"{claimed}, and there is no time stamp")
    reply = base64.b64decode(sealed["timestamp_token"])
    try:
        stamp = stamps.check(reply, seal.canonical(sealed["note"]), roots)
        check_order(seal.time_of(sealed["note"]), stamp.time)
    except stamps.StampError as error:
        return Answer(question, "not valid", f"the time stamp is wrong: {error}; {claimed}", False)
    if roots is None:
        return Answer(
            question,
            "not checked",
            f"{claimed}; a time stamp says {format_time(stamp.time)}, but no root certificate was "
            "given to check it with",
        )
    expired = ""
    if stamp.expired:
        day = f"{stamp.expired:%Y-%m-%d}"
        expired = f" (one of its certificates expired on {day}, and was valid then)"
    return Answer(
        question,
        "stamped",
        f"{quote(stamp.authority)} saw the seal at {format_time(stamp.time)}{expired}; {claimed}",
    )


def check_order(claimed: datetime, stamped: datetime) -> None:
    """Raise StampError for a stamp of the future, or from before the time that a note claims."""
    tolerance = timedelta(seconds=LARGEST_CLOCK_ERROR)
    if stamped > datetime.now(UTC) + tolerance:
        raise stamps.StampError(f"its time, {format_time(stamped)}, is in the future")
    if claimed > stamped + tolerance:
        raise stamps.StampError(
            f"it is of {format_time(stamped)}, when the seal, by its own time, was not yet made"
        )


def check_receipt(sealed: Mapping[str, object], hub: Mapping[str, bytes] | None) -> Answer:
    question = "ISCC-ID"
    if "receipt" not in sealed:
        return Answer(question, "none", "there is no receipt of a hub")
    try:
        receipt = receipts.check(sealed["receipt"], sealed["note"], hub)
    except receipts.ReceiptError as error:
        return Answer(question, "not valid", f"the receipt is wrong: {error}", holds=False)
    if hub is None:
        return Answer(
            question,
            "not checked",
            f"a receipt says {receipt.iscc_id}, but no did.json of a hub was given to check it "
            "with",
        )
    return Answer(
        question,
        "declared",
        f"{quote(receipt.issuer)}, hub {receipt.hub}, confirms {receipt.iscc_id} of "
        f"{format_time(receipt.time)}",
    )


def format_time(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def read_pieces(source: Dataset, entry: Entry) -> Iterator[bytes]:
    """The bytes of a file. Raises InputError if they no longer have this entry."""
    processor = IsccSumProcessor()
    with source.path.open("rb") as stream:
        while piece := stream.read(outputs.PIECE_BYTES):
            processor.update(piece)
            yield piece
    if coding.entry_of(source.name, processor, wide=True).datahash != entry.datahash:
        raise InputError(f"cannot read {quote(source.name)}: it was changed while being read")


if __name__ == "__main__":
    command.run(main)
