"""What a request brings, and what is refused of it: each refusal is a status and one sentence."""

import asyncio
import re
from typing import NamedTuple

from starlette.requests import ClientDisconnect, Request

from segkit.serve.answers import ACCEPTED, FORMATS

BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^;\s]{1,70}))', re.IGNORECASE)


class Refused(Exception):
    """A request that is not answered.

    Args:
        status: of HTTP.
        sentence: what is wrong, and the way out.
        headers: of the answer.
    """

    def __init__(self, status: int, sentence: str, headers: dict[str, str] | None = None):
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, headers or {}


class Wish(NamedTuple):
    """The form of the answer, see answers.FORMATS; and the least score of instances."""

    form: str
    score: float


def wish_of(request: Request, available: list[str]) -> Wish:
    """Reads `format` and `score` of the query, and the header Accept.

    Args:
        request: to /predict.
        available: the forms that the model has; the first is the default.

    Raises:
        Refused: they are unknown, or the model has no such form.
    """
    text = request.query_params.get("score", "0.3")
    try:
        score = float(text)
    except ValueError:
        score = -1
    if not 0 <= score <= 1:
        raise Refused(400, f"score={text[:50]}: must be a number from 0 to 1")
    form = request.query_params.get("format")
    if form is not None:
        if form not in FORMATS:
            raise Refused(400, f"format={form[:50]}: must be one of {', '.join(available)}")
        if form not in available:
            raise Refused(406, f"format={form}: this model's predictions have none; it gives {', '.join(available)}")
        return Wish(form, score)
    wanted = [word.partition(";")[0].strip().lower() for word in request.headers.get("accept", "*/*").split(",")]
    for word in wanted:
        if word in ("*/*", "image/*", "application/*", ""):
            kind = word.partition("/")[0]
            fitting = [one for one in available if kind in ("*", "") or FORMATS[one].startswith(kind)]
            if fitting:
                return Wish(fitting[0], score)
        elif ACCEPTED.get(word) in available:
            return Wish(ACCEPTED[word], score)
        elif word == "image/png" and "overlay" in available:
            return Wish("overlay", score)
    raise Refused(406, f"Accept: this model answers {', '.join(sorted({FORMATS[one] for one in available}))}")


async def image_in(request: Request, most: int, seconds: float) -> bytes:
    """Reads the image of a request: the body itself, or the first file of a form.

    Args:
        request: to /predict.
        most: bytes of the body.
        seconds: that it may take to arrive.

    Raises:
        Refused: it is too large, too slow, empty, or a form without a file.
    """
    too_large = f"the body has more than {most / 1e6:g} MB; send a smaller image, or start the server with --max-mb"
    body = await body_in(request, most, seconds, too_large)
    kind = request.headers.get("content-type", "")
    if kind.lower().startswith("multipart/"):
        body = _first_file(body, kind)
    if not body:
        raise Refused(400, "the body is empty; send the bytes of an image, or a form with one file")
    return body


async def body_in(request: Request, most: int, seconds: float, too_large: str) -> bytes:
    """Reads the body of a request.

    Args:
        request: any.
        most: bytes of the body.
        seconds: that it may take to arrive.
        too_large: what is said of a larger one.

    Raises:
        Refused: it is too large, or too slow.
    """
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > most:
        raise Refused(413, too_large, {"Connection": "close"})
    chunks, length = [], 0
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                chunks.append(chunk)
                length += len(chunk)
                if length > most:
                    raise Refused(413, too_large, {"Connection": "close"})
    except TimeoutError:
        raise Refused(408, f"the body did not arrive within {seconds:g} seconds", {"Connection": "close"}) from None
    except ClientDisconnect:
        raise Refused(400, "the connection closed before the body was complete") from None
    return b"".join(chunks)


def _first_file(body: bytes, kind: str) -> bytes:
    """The content of the first part that has a file name, of a body of multipart/form-data (RFC 7578)."""
    found = BOUNDARY.search(kind)
    if found is None:
        raise Refused(400, "the content type multipart/form-data states no boundary")
    boundary = b"\r\n--" + (found[1] or found[2]).encode("latin-1", "replace")
    for part in (b"\r\n" + body).split(boundary)[1:]:
        head, separator, content = part.partition(b"\r\n\r\n")
        if separator and b"filename" in head.lower():
            return content
    raise Refused(400, "the form has no file; send the image as a part with a file name")
