"""The web application: predictions over HTTP, health, metrics, a description, and a page to try it.

`build_app` returns an application of Starlette that runs alone or is mounted in another one; all of its links are
relative.
"""

import asyncio
import hmac
import math
import time
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from segkit.data.files.headers import picture_size
from segkit.data.files.images import read_image
from segkit.files import DataError
from segkit.runtime.session import RunError
from segkit.serve.answers import Answer, answer, answer_clicks, colors_of, formats_of
from segkit.serve.batching import Batcher
from segkit.serve.clicks import Clicked, ClickModel
from segkit.serve.describe import description, page_of
from segkit.serve.metrics import Metrics
from segkit.serve.predictor import Predictor
from segkit.serve.requests import Prompt, Refused, image_in, prompt_in, wish_of

PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
"""The pages load nothing from elsewhere."""

DECODERS = 2
"""Threads that read images and write answers, beside the one of the model."""


@dataclass(frozen=True)
class Limits:
    """What a server takes.

    Attributes:
        batch: images of a batch at most.
        wait: seconds that the first image of a batch waits for others.
        bytes: of a request.
        pixels: of an image.
        seconds: from a request to its answer.
        queue: requests under way at most; more are told to come back.
        token: that requests have to state, None for none.
        origins: whose pages may call this server (CORS), () for none.
    """

    batch: int = 8
    wait: float = 0.003
    bytes: int = 20_000_000
    pixels: int = 32_000_000
    seconds: float = 30.0
    queue: int = 256
    token: str | None = None
    origins: Sequence[str] = ()


class Service:
    """A model, the requests to it, and what they count.

    Args:
        predictor: the model.
        limits: what it takes.
        name: of the model, for pages.

    Attributes:
        is_ready: whether new requests are welcome.
    """

    def __init__(self, predictor: Predictor | ClickModel, limits: Limits, name: str):
        self.predictor, self.limits, self.name = predictor, limits, name
        self.metrics = Metrics()
        self.batcher = None
        if not isinstance(predictor, ClickModel):
            self.batcher = Batcher(predictor, limits.batch, limits.wait, self.metrics)
        self.forms = formats_of(predictor)
        self.is_ready = True
        self.under_way = 0
        self._threads = ThreadPoolExecutor(DECODERS, thread_name_prefix="segkit-images")
        self._clicks_thread = ThreadPoolExecutor(1, thread_name_prefix="segkit-clicks")

    async def predict(self, request: Request) -> Response:
        """POST /predict."""
        return await self._answered(request, self._predict)

    async def clicks(self, request: Request) -> Response:
        """POST /clicks."""
        return await self._answered(request, self._click)

    async def _answered(self, request: Request, handler: "Handler") -> Response:
        """Counts a request, and turns what goes wrong with it into an answer."""
        started = time.perf_counter()
        try:
            self._admit()
        except Refused as refused:
            return self._counted(_refusal(refused), started)
        self.under_way += 1
        try:
            response = await handler(request)
        except Refused as refused:
            response = _refusal(refused)
        except Exception:
            traceback.print_exc()  # for who runs the server; whoever asks learns nothing of its inside
            response = _refusal(Refused(500, "the server failed at this request; its log says why"))
        finally:
            self.under_way -= 1
        return self._counted(response, started)

    def _counted(self, response: Response, started: float) -> Response:
        self.metrics.codes[response.status_code] += 1
        self.metrics.latency.observe(time.perf_counter() - started)
        return response

    def _admit(self) -> None:
        if not self.is_ready:
            raise Refused(503, "the server is stopping; ask another one", {"Retry-After": "5"})
        if self.under_way >= self.limits.queue:
            rest = math.ceil(self.metrics.latency.total / max(1, sum(self.metrics.latency.counts)))
            sentence = f"{self.under_way} requests are under way, the most this server takes; try again later"
            raise Refused(503, sentence, {"Retry-After": str(max(1, rest))})

    async def _predict(self, request: Request) -> Response:
        limits, predictor = self.limits, self.predictor
        if isinstance(predictor, ClickModel) or self.batcher is None:
            raise Refused(404, "/predict: this is a click model; POST an image and clicks to /clicks, see /docs")
        run, batcher = asyncio.get_running_loop().run_in_executor, self.batcher
        wish = wish_of(request, self.forms)
        content = await image_in(request, limits.bytes, limits.seconds)
        self._check_size(content, "the image")

        async def predicted() -> Answer:
            image = await run(self._threads, predictor.inputs.read, "the image", content)
            prediction = await batcher.predict(image, wish.form == "probabilities")
            return await run(self._threads, answer, predictor, prediction, image, wish.form, wish.score)

        return await self._in_time(predicted(), request)

    async def _click(self, request: Request) -> Response:
        limits, model = self.limits, self.predictor
        if not isinstance(model, ClickModel):
            raise Refused(404, "/clicks: this model takes no clicks; POST the image to /predict, see /docs")
        run = asyncio.get_running_loop().run_in_executor
        wish = wish_of(request, self.forms)
        prompt = await prompt_in(request, limits.bytes, limits.seconds)
        self._check_size(prompt.image, "the image")
        if prompt.mask is not None:
            self._check_size(prompt.mask, "the mask")

        async def clicked() -> Answer:
            found = await run(self._clicks_thread, answer_of, model, prompt)
            return await run(self._threads, answer_clicks, found, wish.form)

        return await self._in_time(clicked(), request)

    async def _in_time(self, work: Coroutine[None, None, Answer], request: Request) -> Response:
        """Waits for an answer as long as the limit says, and as somebody waits for it."""
        task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_closed(request))
        try:
            async with asyncio.timeout(self.limits.seconds):
                await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not task.done():
                    raise Refused(400, "the connection closed before the answer")
                result = task.result()
        except TimeoutError:
            raise Refused(504, f"no answer within {self.limits.seconds:g} seconds; send a smaller image") from None
        except RunError:
            raise  # of the model, not of the request
        except (DataError, ValueError) as error:
            raise Refused(422, str(error)) from error
        finally:
            task.cancel()  # what is still waiting for the model is then passed over
            gone.cancel()
        return Response(result.content, media_type=result.media_type)

    def _check_size(self, content: bytes, name: str) -> None:
        size = picture_size(content)
        if size is None:
            raise Refused(415, f"{name}: no format that is read here; send PNG, JPEG, TIFF, WebP, BMP or JPEG 2000")
        if size[0] * size[1] > self.limits.pixels:
            shown = f"{size[1]}x{size[0]} pixels, more than {self.limits.pixels:,}"
            way_out = "send a smaller one, or start the server with --max-pixels"
            raise Refused(413, f"{name}: {shown}; {way_out}")

    async def health(self, request: Request) -> Response:
        """GET /health: whether the process lives."""
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """GET /ready: whether requests are taken."""
        is_full = self.under_way >= self.limits.queue
        status = "stopping" if not self.is_ready else "full" if is_full else "ready"
        return JSONResponse({"status": status}, 200 if status == "ready" else 503)

    async def show_metrics(self, request: Request) -> Response:
        """GET /metrics, for Prometheus."""
        waiting = self.under_way if self.batcher is None else self.batcher.length
        text = self.metrics.text(waiting, self.under_way)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def model(self, request: Request) -> Response:
        """GET /model: what the page needs to know."""
        colors = colors_of(self.predictor)
        rows = [{"name": name, "color": list(colors[i])} for i, name in enumerate(self.predictor.classes)]
        kind = self.predictor.kind
        return JSONResponse({"name": self.name, "kind": kind, "classes": rows, "formats": self.forms})

    async def openapi(self, request: Request) -> Response:
        """GET /openapi.json."""
        return JSONResponse(description(self.forms, self.limits.token is not None, self.predictor.kind))

    async def docs(self, request: Request) -> Response:
        """GET /docs: the description as a page."""
        document = description(self.forms, self.limits.token is not None, self.predictor.kind)
        return HTMLResponse(page_of(document), headers=PAGE_HEADERS)


async def _closed(request: Request) -> None:
    """Returns when whoever asks has gone; to be called once the body was read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def answer_of(model: ClickModel, prompt: Prompt) -> Clicked:
    """Reads the mask of a request, and answers its clicks."""
    mask = None if prompt.mask is None else read_image("the mask", 3, content=prompt.mask).max(-1) > 0
    return model.answer(prompt.image, prompt.clicks, mask)


def _refusal(refused: Refused) -> Response:
    return JSONResponse({"error": refused.sentence}, refused.status, headers=refused.headers)


Handler = Callable[[Request], Awaitable[Response]]


def _with_token(handler: Handler, token: str | None) -> Handler:
    """Answers 401 where the request does not state the token."""
    if token is None:
        return handler
    expected = f"Bearer {token}".encode()

    async def checked(request: Request) -> Response:
        stated = request.headers.get("authorization", "").encode("utf-8", "replace")
        if not hmac.compare_digest(stated, expected):
            sentence = "this server asks for a token: send the header 'Authorization: Bearer TOKEN'"
            return _refusal(Refused(401, sentence, {"WWW-Authenticate": "Bearer"}))
        return await handler(request)

    return checked


def _file(name: str, media_type: str) -> Handler:
    content = (files("segkit.serve") / "page" / name).read_bytes()

    async def send(request: Request) -> Response:
        return Response(content, media_type=media_type, headers=PAGE_HEADERS)

    return send


def build_app(service: Service) -> Starlette:
    """Builds the application of a service, to be run alone or mounted in another.

    Args:
        service: the model and its limits.
    """
    token = service.limits.token
    routes = [
        Route("/predict", _with_token(service.predict, token), methods=["POST"]),
        Route("/clicks", _with_token(service.clicks, token), methods=["POST"]),
        Route("/metrics", _with_token(service.show_metrics, token)),
        Route("/model", _with_token(service.model, token)),
        Route("/health", service.health),
        Route("/ready", service.ready),
        Route("/openapi.json", service.openapi),
        Route("/docs", service.docs),
        Route("/", _file("index.html", "text/html; charset=utf-8")),
        Route("/page.js", _file("page.js", "text/javascript; charset=utf-8")),
        Route("/page.css", _file("page.css", "text/css; charset=utf-8")),
    ]
    middleware = []
    if service.limits.origins:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=list(service.limits.origins),
            allow_methods=["POST", "GET"],
            allow_headers=["Authorization", "Content-Type"],
        )
        middleware.append(cors)

    async def missing(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": f"{request.url.path[:200]}: there is nothing here; see /docs"}, 404)

    async def wrong_method(request: Request, error: Exception) -> Response:
        sentence = f"{request.method[:10]} {request.url.path[:200]}: this method is not taken here; see /docs"
        return JSONResponse({"error": sentence}, 405, headers=getattr(error, "headers", None))

    return Starlette(routes=routes, middleware=middleware, exception_handlers={404: missing, 405: wrong_method})
