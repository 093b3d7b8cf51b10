"""Questions to servers on the Internet, which only `sign` asks, and only if it is told to."""

import urllib.error
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
    if not url.startswith(("https://", "http://")):
        raise InputError(f"{quote(url)}: expected an address with https:// or http://")
    try:
        question = urllib.request.Request(url, body, {"Content-Type": kind})
        with urllib.request.build_opener(Unmoved).open(
            question, timeout=SECONDS_FOR_AN_ANSWER
        ) as response:
            answer = Answer(response.status, response.reason, response.read(LONGEST_ANSWER + 1))
    except urllib.error.HTTPError as refusal:
        with refusal:
            answer = Answer(refusal.code, refusal.reason, refusal.read(LONGEST_ANSWER + 1))
    except (OSError, ValueError) as error:
        raise InputError(f"{quote(url)}: expected an answer, but {error}") from None
    if len(answer.body) > LONGEST_ANSWER:
        raise InputError(f"{quote(url)}: expected at most {LONGEST_ANSWER:,} bytes, found more")
    return answer._replace(said=f"{answer.status} {quote(answer.said)}")


class Unmoved(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: what is sent goes where the user said, and nowhere else."""

    def redirect_request(self, *_: object) -> None:
        return None
