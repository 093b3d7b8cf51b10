"""A real RFC 3161 time stamping authority on this machine (`openssl ts`), for demo and tests."""

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PRIVATE_KEY = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
# Validity of certificates, relative to now.
BEGAN, ENDS = timedelta(days=-365), timedelta(days=40 * 365)

CONFIGURATION = """
[tsa]
default_tsa = only
[only]
serial = serial
signer_cert = tsa.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256, sha384, sha512, sha1
ess_cert_id_alg = sha256
"""


@dataclass(frozen=True)
class Authority:
    """A directory with an authority's certificates and key, as `openssl ts` needs them."""

    folder: Path

    @property
    def root(self) -> bytes:
        """The root certificate of the authority, in PEM."""
        return (self.folder / "root.pem").read_bytes()

    def reply(self, query: bytes) -> bytes:
        """The reply to a query, as an authority sends it over HTTP."""
        (self.folder / "query").write_bytes(query)
        command = ["openssl", "ts", "-reply", "-queryfile", "query", "-config", "tsa.conf"]
        return self.run(*command, "-out", "/dev/stdout")

    def stamp(self, data: bytes, hash_name: str = "sha256") -> bytes:
        """A time stamp of data."""
        (self.folder / "data").write_bytes(data)
        command = ["openssl", "ts", "-query", "-data", "data", f"-{hash_name}", "-cert"]
        return self.reply(self.run(*command, "-out", "/dev/stdout"))

    def run(self, *command: str) -> bytes:
        return subprocess.run(command, cwd=self.folder, check=True, capture_output=True).stdout


def elliptic_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def make_authority(
    folder: Path,
    make_key: Callable[[], PRIVATE_KEY] = elliptic_key,
    lasts: timedelta = ENDS,
    root_lasts: timedelta = ENDS,
) -> Authority:
    """Make a root and an authority whose certificates are valid for this long from now."""
    folder.mkdir()
    root_key, key = make_key(), make_key()
    root_name, name = named("Root of example stamps"), named("Example stamps")
    root = certificate(root_name, root_name, root_key, root_lasts)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
    stamps = certificate(name, root_name, key, lasts).add_extension(usage, critical=True)
    for file, each in (("root.pem", root), ("tsa.pem", stamps)):
        signed = each.sign(root_key, hashes.SHA256())
        (folder / file).write_bytes(signed.public_bytes(Encoding.PEM))
    for file, each in (("root.key", root_key), ("tsa.key", key)):
        pem = each.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / file).write_bytes(pem)
    (folder / "tsa.conf").write_text(CONFIGURATION)
    (folder / "serial").write_text("01\n")
    return Authority(folder)


def named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def certificate(
    name: x509.Name, issuer: x509.Name, key: PRIVATE_KEY, lasts: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + BEGAN)
        .not_valid_after(now + lasts)
        .add_extension(x509.BasicConstraints(ca=name == issuer, path_length=None), critical=True)
    )


@contextmanager
def serving(answer: Callable[[str, bytes], tuple[object, ...]]) -> Iterator[str]:
    """Run a server on loopback during a with-block; yields its address.

    `answer` takes the path and body of a POST request, and returns the status and the body of the
    response, followed by its headers, each a name and a value.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"]))
            status, body, *headers = answer(self.path, asked)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
