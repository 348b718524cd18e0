"""The web application of `segkit annotate`: the page, and what it asks for.

No path of a request is ever a path of a file: images have ids, and the files of the page are listed. Who may ask is
decided in gate.py.
"""

import asyncio
import contextlib
import json
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from segkit.annotate import tiles
from segkit.annotate.edits import EditError
from segkit.annotate.gate import HEADERS, Gate, refusal
from segkit.annotate.outputs import Outputs
from segkit.annotate.project import Entry
from segkit.annotate.workspace import Stale, Unknown, Workspace
from segkit.files import DataError, parse_json
from segkit.serve.requests import Refused, body_in

MOST_BYTES = 4 << 20
"""Of a request."""

SECONDS = 30.0
"""That a request may take to arrive."""

MOST_ROWS = 5000
"""Of the list of images in one answer."""

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Of the files of the page, by suffix; others are not sent."""

KEPT = "private, max-age=3600"
"""Header of tiles of images, which hardly ever change."""

NEVER_KEPT = "no-store"

Handler = Callable[[Request], Awaitable[Response]]


class Desk:
    """The page's requests on a workspace.

    Args:
        workspace: the images.
        outputs: writes the results.
    """

    def __init__(self, workspace: Workspace, outputs: Outputs):
        self.workspace, self.outputs = workspace, outputs
        self._shown: str | None = None
        self._tasks: set[asyncio.Task] = set()
        self._preparing: asyncio.Task | None = None

    async def project(self, request: Request) -> Response:
        """GET and POST api/project."""
        if request.method == "POST":
            body = await _json_of(request)
            if "initial" in body:
                await run_in_threadpool(self.workspace.set_initial, body["initial"])
        project, assistant = self.workspace.project, self.workspace.assistant
        model = None
        if assistant is not None:
            model = {
                "name": assistant.name,
                "has_box": assistant.has_box,
                "has_mask_start": assistant.has_mask_start,
                "threshold": assistant.threshold,
            }
        rows = [
            {"name": name, "color": f"#{bytes(color).hex()}"} for name, color in zip(project.classes, project.palette)
        ]
        return _answer(
            {
                "kind": project.kind,
                "classes": rows,
                "model": model,
                "initial": project.initial,
                "images_total": len(self.workspace.entries),
                "review": self.workspace.is_review,
                "folder": str(project.folder),
                "out": str(project.out),
            }
        )

    async def images(self, request: Request) -> Response:
        """GET api/images."""
        query = request.query_params
        first = _whole(query.get("from", "0"), "from")
        count = min(_whole(query.get("count", "200"), "count"), MOST_ROWS)
        rows = self.workspace.listed(query.get("state", ""), query.get("search", "")[:200])
        return _answer({"total": len(rows), "images": rows[first : first + count]})

    async def image(self, request: Request) -> Response:
        """GET api/images/ID."""
        entry = self._entry(request)

        def described() -> dict[str, Any]:
            return self.workspace.described(self.workspace.work_on(entry))

        answer = await run_in_threadpool(described)
        self._leave(entry)
        return _answer(answer)

    async def edit(self, request: Request) -> Response:
        """POST api/images/ID/edits."""
        entry = self._entry(request)
        body = await _json_of(request)
        answer = await run_in_threadpool(self.workspace.edit, entry, body)
        self._leave(entry)
        return _answer(answer)

    async def prepare(self, request: Request) -> Response:
        """POST api/images/ID/prepare: answers at once, and does the work of one image at a time."""
        entry = self._entry(request)
        await _json_of(request)
        if self._preparing is None or self._preparing.done():
            self._preparing = self._begin(self.workspace.prepare, entry)
        return _answer({"preparing": entry.id})

    async def image_tile(self, request: Request) -> Response:
        """GET api/images/ID/tile/LEVEL/COLUMN/ROW."""
        entry, place = self._entry(request), _place(request)

        def made() -> bytes:
            pixels = self.workspace.pixels(entry)
            self.workspace.check_tile(pixels.size, *place)
            return tiles.image_tile(pixels, *place)

        content = await run_in_threadpool(made)
        media_type = "image/png" if place[0] == 0 else "image/jpeg"
        return Response(content, media_type=media_type, headers={"Cache-Control": KEPT})

    async def label_tile(self, request: Request) -> Response:
        """GET api/images/ID/labels/LEVEL/COLUMN/ROW."""
        entry, place = self._entry(request), _place(request)

        def made() -> bytes:
            opened = self.workspace.work_on(entry)
            self.workspace.check_tile(opened.size, *place)
            return tiles.label_tile(opened.sheet.layers, opened.size, *place)

        content = await run_in_threadpool(made)
        return Response(content, media_type="image/png", headers={"Cache-Control": NEVER_KEPT})

    async def probability_tile(self, request: Request) -> Response:
        """GET api/images/ID/probability/LEVEL/COLUMN/ROW."""
        entry, place = self._entry(request), _place(request)
        number = request.query_params.get("object")
        wanted = None if number is None else _whole(number, "object")

        def made() -> bytes:
            opened = self.workspace.work_on(entry)
            self.workspace.check_tile(opened.size, *place)
            found = self.workspace.probabilities(opened, wanted)
            return tiles.probability_tile(found.at, opened.size, *place)

        content = await run_in_threadpool(made)
        return Response(content, media_type="image/png", headers={"Cache-Control": NEVER_KEPT})

    async def write(self, request: Request) -> Response:
        """POST api/outputs."""
        await _json_of(request)
        return _answer(await run_in_threadpool(self.written))

    def written(self) -> dict[str, Any]:
        """Writes the results of all images that were edited since they were written; see Outputs.update."""
        waiting = sorted(self.workspace.take_unwritten())
        try:
            return self.outputs.update([self.workspace.entry(name) for name in waiting])
        except BaseException:
            self.workspace.unwritten.update(waiting)
            raise

    def _entry(self, request: Request) -> Entry:
        return self.workspace.entry(request.path_params["image"])

    def _leave(self, entry: Entry) -> None:
        """Writes the results when another image than the last is looked at."""
        if self._shown is not None and self._shown != entry.id and self.workspace.unwritten:
            self._begin(self.written)
        self._shown = entry.id

    def _begin(self, function: Callable[..., Any], *arguments: Any) -> asyncio.Task:
        """Has a thread do what nobody waits for; its errors are printed."""

        async def run() -> None:
            try:
                await run_in_threadpool(function, *arguments)
            except DataError as error:
                print(f"DataError: {error}", file=sys.stderr, flush=True)
            except Exception:
                traceback.print_exc()

        task = asyncio.get_running_loop().create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Waits for what is under way, and writes the results."""
        await asyncio.gather(*self._tasks)
        await run_in_threadpool(self.written)


def _whole(text: str, name: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise Refused(400, f"{name} = {text[:50]!r}: must be a whole number from 0 on")
    return int(text)


def _place(request: Request) -> tuple[int, int, int]:
    """Level, column and row of a tile."""
    values = [request.path_params[name] for name in ("level", "column", "row")]
    if not all(value.isascii() and value.isdecimal() and len(value) < 9 for value in values):
        raise Refused(404, "a tile is named by LEVEL/COLUMN/ROW, three whole numbers")
    level, column, row = (int(value) for value in values)
    return level, column, row


async def _json_of(request: Request) -> dict[str, Any]:
    """The object that a request brings."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(400, "Content-Type must be application/json")
    too_large = f"the body has more than {MOST_BYTES / 1e6:.0f} MB; send fewer points at a time"
    body = await body_in(request, MOST_BYTES, SECONDS, too_large)
    try:
        value = parse_json(body.decode("utf-8"), "the body")
    except (DataError, UnicodeDecodeError) as error:
        raise Refused(400, f"the body is no valid JSON ({str(error)[:200]})") from error
    if not isinstance(value, dict):
        raise Refused(400, "the body must be a JSON object")
    return value


def _answer(content: dict[str, Any]) -> Response:
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return Response(text, media_type="application/json", headers={"Cache-Control": NEVER_KEPT})


def _guarded(handler: Handler) -> Handler:
    """Turns what goes wrong into an answer of one sentence."""

    async def guarded(request: Request) -> Response:
        try:
            response = await handler(request)
        except Refused as refused:
            return refusal(refused.status, refused.sentence)
        except Stale as stale:
            return refusal(409, str(stale), version=stale.version)
        except Unknown as error:
            return refusal(404, str(error))
        except EditError as error:
            return refusal(400, str(error))
        except DataError as error:
            # of this machine's files, not of the request
            print(f"DataError: {error}", file=sys.stderr, flush=True)
            return refusal(500, str(error))
        except Exception:
            traceback.print_exc()  # for who runs the server
            return refusal(500, "the server failed at this request; its window says why")
        response.headers.update({name: value for name, value in HEADERS.items() if name not in response.headers})
        return response

    return guarded


def _page_files(folder: Traversable) -> dict[str, tuple[bytes, str]]:
    """The files of the page by name, and their types."""
    found = {}
    for file in folder.iterdir() if folder.is_dir() else ():
        media_type = MEDIA_TYPES.get(PurePosixPath(file.name).suffix)
        if media_type is not None and file.is_file():
            found[file.name] = file.read_bytes(), media_type
    return found


def build_app(desk: Desk, token: str, *, hosts: Sequence[str] = (), page: Traversable | None = None) -> ASGIApp:
    """Builds the application.

    Args:
        desk: the images and the results.
        token: first part of every address, long and random.
        hosts: see Gate.
        page: folder with index.html and its modules; None for that of the package.
    """
    found = _page_files(files("segkit.annotate") / "page" if page is None else page)

    def send(name: str) -> Response:
        if name not in found:
            raise Unknown("the page has no such file")
        content, media_type = found[name]
        return Response(content, media_type=media_type, headers={"Cache-Control": NEVER_KEPT})

    async def index(request: Request) -> Response:
        return send("index.html")

    async def page_file(request: Request) -> Response:
        return send(request.path_params["name"])

    images, tile = f"/{token}/api/images", "{level}/{column}/{row}"
    routes = [
        Route(f"/{token}/", _guarded(index)),
        Route(f"/{token}/page/{{name}}", _guarded(page_file)),
        Route(f"/{token}/api/project", _guarded(desk.project), methods=["GET", "POST"]),
        Route(f"/{token}/api/outputs", _guarded(desk.write), methods=["POST"]),
        Route(images, _guarded(desk.images)),
        Route(f"{images}/{{image}}", _guarded(desk.image)),
        Route(f"{images}/{{image}}/edits", _guarded(desk.edit), methods=["POST"]),
        Route(f"{images}/{{image}}/prepare", _guarded(desk.prepare), methods=["POST"]),
        Route(f"{images}/{{image}}/tile/{tile}", _guarded(desk.image_tile)),
        Route(f"{images}/{{image}}/labels/{tile}", _guarded(desk.label_tile)),
        Route(f"{images}/{{image}}/probability/{tile}", _guarded(desk.probability_tile)),
    ]

    async def missing(request: Request, error: Exception) -> Response:
        return refusal(404, "there is nothing at this address")

    async def wrong_method(request: Request, error: Exception) -> Response:
        return refusal(405, f"{request.method[:10]} is not taken here")

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await desk.close()

    app = Starlette(
        routes=routes,
        exception_handlers={404: missing, 405: wrong_method},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return Gate(app, token, hosts)
