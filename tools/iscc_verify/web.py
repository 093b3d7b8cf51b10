"""HTTP requests to servers; only `sign` makes any, and only if the user asks for it."""

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
    """A server's answer: the HTTP status, the status with its reason phrase, and the body."""

    status: int
    said: str
    body: bytes


def post(url: str, body: bytes, kind: str) -> Answer:
    """Post bytes of a MIME type to a server, and return its answer.

    Raises InputError if there is no answer.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("https", "http") or "@" in parts.netloc:
            raise InputError(
                "expected the address of a server, with https:// or http:// and without a "
                "password, found another one"
            )
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
    """The body of a response. Raises ValueError if it is too long or too slow."""
    body, deadline = b"", time.monotonic() + SECONDS_FOR_AN_ANSWER
    while piece := response.read1(LONGEST_ANSWER):
        body += piece
        if len(body) > LONGEST_ANSWER:
            raise ValueError(f"it has more than {LONGEST_ANSWER:,} bytes")
        if time.monotonic() > deadline:
            raise ValueError(f"it took more than {SECONDS_FOR_AN_ANSWER} s")
    return body


class Unmoved(urllib.request.HTTPRedirectHandler):
    """Does not follow redirections: data are sent only where the user said."""

    def redirect_request(self, *_: object) -> None:
        return None
