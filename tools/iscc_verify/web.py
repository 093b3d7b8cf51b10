"""HTTP requests to servers; only `sign` makes any, and only if the user asks for it."""

import argparse
import http.client
import queue
import threading
import urllib.error
import urllib.parse
import urllib.request
from typing import NamedTuple

from messages import InputError, quote

LONGEST_ANSWER = 64 * 1024  # bytes
SECONDS_FOR_AN_ANSWER = 60
OK, REDIRECTED, CONFLICT = 200, 300, 409


class Answer(NamedTuple):
    """A server's answer: the HTTP status, the status with its reason phrase, and the body."""

    status: int
    said: str
    body: bytes


def address(text: str) -> str:
    """An argparse type for addresses of servers. The message quotes nothing: it may be secret."""
    try:
        parts = urllib.parse.urlsplit(text)
        is_one = parts.scheme in ("https", "http") and parts.hostname and parts.port != 0
    except ValueError:
        is_one = False
    if not is_one or set("@%") & set(parts.netloc) or "#" in text or not text.isprintable():
        raise argparse.ArgumentTypeError(
            "expected the address of a server, with https:// or http:// and without a password, "
            "found another one"
        )
    return text


def post(url: str, body: bytes, kind: str) -> Answer:
    """Post bytes of a MIME type to a server, and return its answer.

    Raises InputError if there is no answer in time. The time limits of the library are for each
    step, and there may be any number of steps; therefore a thread waits.
    """
    answers: queue.SimpleQueue[Answer | Exception] = queue.SimpleQueue()

    def wait() -> None:
        try:
            answers.put(exchange(url, body, kind))
        except Exception as error:
            answers.put(error)

    threading.Thread(target=wait, daemon=True).start()
    try:
        answer = answers.get(timeout=SECONDS_FOR_AN_ANSWER)
    except queue.Empty:
        raise InputError(
            f"{quote(url)}: expected an answer within {SECONDS_FOR_AN_ANSWER} s, found none"
        ) from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def exchange(url: str, body: bytes, kind: str) -> Answer:
    """As `post`, however long it takes."""
    try:
        question = urllib.request.Request(url, body, {"Content-Type": kind})
        opener = urllib.request.build_opener(Unmoved)
        try:
            response = opener.open(question, timeout=SECONDS_FOR_AN_ANSWER)
        except urllib.error.HTTPError as refusal:
            response = refusal
        with response:
            body = response.read(LONGEST_ANSWER + 1)
            if len(body) > LONGEST_ANSWER:
                raise ValueError(f"it has more than {LONGEST_ANSWER:,} bytes")
            return Answer(response.status, f"{response.status} {quote(response.reason)}", body)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise InputError(f"{quote(url)}: expected an answer, but {quote(str(error))}") from None


class Unmoved(urllib.request.HTTPRedirectHandler):
    """Does not follow redirections: data are sent only where the user said."""

    def redirect_request(self, *_: object) -> None:
        return None
