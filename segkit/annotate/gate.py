"""Who may ask the server of `segkit annotate`: who knows the token, by the server's own name, from its own page.

A page of another origin could have a browser on this machine ask for it, and a name of the internet can be made to
point to 127.0.0.1; neither knows the token, and both are refused before it is looked at.
"""

import hmac
import ipaddress
import json
import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from segkit.files import DataError, parse_json, read_text, whole_file
from segkit.serve.app import PAGE_HEADERS

ADDRESS = "address.json"
"""In the folder of the results, for its owner alone: a page that is open finds the server again after a new start."""

TOKEN = re.compile("[0-9a-f]{32}")

HEADERS = {**PAGE_HEADERS, "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin"}
"""Of every answer: nothing is loaded from elsewhere, and the address with the token is told to nobody."""


class Address(NamedTuple):
    """The token of a server, and its port, 0 for any."""

    token: str
    port: int


def last_address(folder: Path) -> Address:
    """Returns the address of the last start, or a new one.

    Args:
        folder: of the results.
    """
    path = folder / ADDRESS
    try:
        if path.stat().st_mode & 0o077 == 0 or os.name == "nt":
            content = parse_json(read_text(path, 1000), path)
            token, port = content["token"], content["port"]
            if isinstance(token, str) and TOKEN.fullmatch(token) and type(port) is int and 0 < port < 65536:
                return Address(token, port)
    except (OSError, DataError, KeyError, TypeError):
        pass
    return Address(secrets.token_hex(16), 0)


def keep_address(folder: Path, address: Address) -> None:
    """Writes the address for the next start, readable by nobody else.

    Raises:
        DataError: it cannot be written.
    """
    with whole_file(folder / ADDRESS, "check the rights of --out") as draft:
        draft.touch(0o600)
        draft.write_text(json.dumps(address._asdict()), encoding="utf-8")


def refusal(status: int, sentence: str, **more: Any) -> Response:
    """Returns an error as a JSON answer of one sentence."""
    return JSONResponse({"error": sentence} | more, status, headers=HEADERS)


class Gate:
    """Lets requests in that know the token, by the server's own name, from its own pages.

    Args:
        app: takes the others.
        token: first part of every address.
        hosts: names, with the port, that the server is asked by; () for any numeric address and `localhost`.
    """

    def __init__(self, app: ASGIApp, token: str, hosts: Sequence[str]):
        self.app, self._token, self._hosts = app, token.encode(), {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or hands it on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        refused = self._refusal(Request(scope))
        await (self.app if refused is None else refused)(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "").lower()
        origin = request.headers.get("origin")
        if not self._is_own(host):
            return refusal(403, "this server is not asked by that name; open the address that it has printed")
        if origin is not None and origin.lower() != f"http://{host}":
            return refusal(403, "requests of other pages are refused")
        first = request.url.path.split("/")[1] if request.url.path.startswith("/") else ""
        if not hmac.compare_digest(first.encode("utf-8", "replace"), self._token):
            return refusal(404, "there is nothing here; open the address that segkit annotate has printed, as a whole")
        return None

    def _is_own(self, host: str) -> bool:
        if self._hosts:
            return host in self._hosts
        # a name that another machine could point here is none of these
        name = host.rpartition(":")[0].strip("[]") if not host.endswith("]") else host.strip("[]")
        if (name or host) == "localhost":
            return True
        try:
            ipaddress.ip_address(name or host)
        except ValueError:
            return False
        return True
