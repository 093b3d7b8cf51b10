"""Questions to servers on the Internet, which only `sign` asks, and only if it is told to."""

import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import NamedTuple

from messages import InputError, quote

LONGEST_ANSWER = 64 * 1024  # bytes
SECONDS_FOR_AN_ANSWER = 60
OK, CREATED, CONFLICT = 200, 201, 409


class Answer(NamedTuple):
    """What a server answers: HTTP's status, what that is called, and the bytes."""

    status: int
    said: str
    body: bytes


def post(url: str, body: bytes, kind: str) -> Answer:
    """Send bytes to a server, say of which kind (a MIME type), and give its answer.

    Raises InputError if there is none.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("https", "http") or "@" in parts.netloc:
            raise InputError("expected an address with https:// or http://, and without a password")
        question = urllib.request.Request(url, body, {"Content-Type": kind})
        opener = urllib.request.build_opener(Unmoved)
        try:
            response = opener.open(question, timeout=SECONDS_FOR_AN_ANSWER)
        except urllib.error.HTTPError as refusal:
            response = refusal
        with response:
            return Answer(
                response.status, f"{response.status} {quote(response.reason)}", read(response)
            )
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise InputError(f"{quote(url)}: expected an answer, but {quote(str(error))}") from None


def read(response: http.client.HTTPResponse) -> bytes:
    """The bytes of a response. Raises ValueError if there are too many, or they come too slowly."""
    body, deadline = b"", time.monotonic() + SECONDS_FOR_AN_ANSWER
    while piece := response.read1(LONGEST_ANSWER):
        body += piece
        if len(body) > LONGEST_ANSWER:
            raise ValueError(f"there are more than {LONGEST_ANSWER:,} bytes")
        if time.monotonic() > deadline:
            raise ValueError(f"it is not there after {SECONDS_FOR_AN_ANSWER} s")
    return body


class Unmoved(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: what is sent goes where the user said, and nowhere else."""

    def redirect_request(self, *_: object) -> None:
        return None
