"""What a request brings, and what is refused of it: each refusal is a status and one sentence."""

import asyncio
import base64
import json
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from starlette.requests import ClientDisconnect, Request

from segkit.serve.answers import ACCEPTED, FORMATS
from segkit.serve.clicks import MOST_CLICKS, Wanted

BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^;\s]{1,70}))', re.IGNORECASE)

NAME = re.compile(rb'[;\s]name=(?:"([^"\r\n]*)"|([^;\s]+))', re.IGNORECASE)
"""Name of a part of a form."""


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


class Prompt(NamedTuple):
    """What a request to /clicks brings.

    Attributes:
        image: bytes of an image file.
        clicks: one or more, in the order in which they were made.
        mask: bytes of an image file, the mask to start from; None for none.
    """

    image: bytes
    clicks: list[Wanted]
    mask: bytes | None


class Wish(NamedTuple):
    """The form of the answer, see answers.FORMATS; and the least score of instances."""

    form: str
    score: float


def wish_of(request: Request, available: list[str]) -> Wish:
    """Reads `format` and `score` of the query, and the header Accept.

    Args:
        request: to /predict or /clicks.
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
    body = await body_in(request, most, seconds, _too_large(most))
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


def _too_large(most: int) -> str:
    return f"the body has more than {most / 1e6:g} MB; send a smaller image, or start the server with --max-mb"


def _first_file(body: bytes, kind: str) -> bytes:
    """The content of the first part that has a file name."""
    for head, content in _parts(body, kind):
        if b"filename" in head.lower():
            return content
    raise Refused(400, "the form has no file; send the image as a part with a file name")


def _parts(body: bytes, kind: str) -> Iterator[tuple[bytes, bytes]]:
    """The header and the content of each part of a body of multipart/form-data (RFC 7578)."""
    found = BOUNDARY.search(kind)
    if found is None:
        raise Refused(400, "the content type multipart/form-data states no boundary")
    boundary = b"\r\n--" + (found[1] or found[2]).encode("latin-1", "replace")
    for part in (b"\r\n" + body).split(boundary)[1:]:
        head, separator, content = part.partition(b"\r\n\r\n")
        if separator:
            yield head, content


async def prompt_in(request: Request, most: int, seconds: float) -> Prompt:
    """Reads image, clicks and mask of a request: a form with parts of these names, or JSON with images in base64.

    Args:
        request: to /clicks.
        most: bytes of the body.
        seconds: that it may take to arrive.

    Raises:
        Refused: it is too large, too slow, or lacks what a model needs.
    """
    body = await body_in(request, most, seconds, _too_large(most))
    kind = request.headers.get("content-type", "")
    values = _named_parts(body, kind) if kind.lower().startswith("multipart/") else _json_fields(body)
    if not values.get("image"):
        raise Refused(
            400, "there is no image; send a form with the parts `image` and `clicks`, or JSON with these names"
        )
    return Prompt(values["image"], _clicks_of(values.get("clicks")), values.get("mask") or None)


def _named_parts(body: bytes, kind: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for head, content in _parts(body, kind):
        found = NAME.search(head)
        if found is not None:
            values.setdefault((found[1] or found[2]).decode("latin-1"), content)
    return values


def _json_fields(body: bytes) -> dict[str, Any]:
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise Refused(400, "the body is neither a form nor a JSON object; send the parts `image` and `clicks`")
    for name in ("image", "mask"):
        try:
            values[name] = base64.b64decode(values.get(name) or "", validate=True)
        except (ValueError, TypeError):
            raise Refused(400, f"{name}: in JSON it is the bytes of an image file in base64") from None
    return values


def _clicks_of(value: Any) -> list[Wanted]:
    """Reads clicks: rows of row, column and 1 on the object or 0 beside it; as JSON text in a form."""
    if isinstance(value, bytes):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    is_rows = isinstance(value, list) and all(_is_click(row) for row in value)
    if not is_rows or not value:
        raise Refused(
            400, "clicks: must be rows [row, column, 1 on the object or 0 beside it] in pixels, such as [[120, 80, 1]]"
        )
    if len(value) > MOST_CLICKS:
        raise Refused(400, f"clicks: {len(value)}, and a request takes {MOST_CLICKS} at most; start from a mask")
    return [(y, x, sign > 0) for y, x, sign in value]


def _is_click(row: Any) -> bool:
    # a whole number of any length may stand in JSON
    is_numbers = isinstance(row, list) and len(row) == 3 and all(isinstance(one, int | float) for one in row)
    return is_numbers and all(abs(one) < 1e9 and math.isfinite(one) for one in row)
