"""`segkit serve`: answers equal predictions, nothing is lost, limits hold, and what is wrong is a sentence."""

import asyncio
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.mask import decode

from segkit import api
from segkit.cli.main import main
from segkit.runtime.metadata import GraphInfo
from segkit.runtime.model import load_exported
from segkit.serve.describe import description
from segkit.serve.metrics import Histogram
from segkit.serve.predictor import open_predictor
from segkit.types import default_palette
from tests.exported import CLASSES, checkpoint_of, config, semantic_graph

pytest.importorskip("onnxruntime")
httpx = pytest.importorskip("httpx")
starlette = pytest.importorskip("starlette")
uvicorn = pytest.importorskip("uvicorn")

from segkit.serve.app import Limits, Service, build_app  # noqa: E402  needs the packages above

ROOT = Path(__file__).parents[1]
PALETTE = [[40 * i, 255 - 40 * i, 90] for i in range(6)]


def png(seed: int, size: tuple[int, int] = (40, 50)) -> bytes:
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return cv2.imencode(".png", image)[1].tobytes()


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A checkpoint of six classes and one of masks that overlap, and the graph of each."""
    folder = tmp_path_factory.mktemp("served")
    for name, count, task, runner in (
        ("six", 6, "semantic", {"type": "Semantic"}),
        ("many", 3, "multi_label", {"type": "MultiLabel"}),
    ):
        net = checkpoint_of(config(count, runner), folder / f"{name}.pt", CLASSES[:count])
        info = GraphInfo(task, classes=CLASSES[:count], palette=PALETTE[:count])
        semantic_graph(net, folder / f"{name}.onnx", info)
    return folder


def service_of(path: Path, **limits: object) -> Service:
    return Service(open_predictor(str(path), "cpu", 1, trust=True), Limits(**limits), path.name)


def client_of(service: Service) -> "httpx.AsyncClient":
    return httpx.AsyncClient(transport=httpx.ASGITransport(build_app(service)), base_url="http://here")


def asked(service: Service, *requests: tuple, **headers: str) -> list:
    """The answers to (method, path, content) one after the other."""

    async def ask() -> list:
        async with client_of(service) as client:
            return [
                await client.request(method, path, content=content, headers=headers)
                for method, path, content in requests
            ]

    return asyncio.run(ask())


def labels_of(content: bytes) -> np.ndarray:
    """The labels of a palette PNG."""
    from PIL import Image

    return np.array(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("name", ["six.onnx", "six.pt"])
def test_answers_of_label_maps(made, name):
    service = service_of(made / name)
    predicted, rle, polygons, overlay, probabilities, accepted = asked(
        service,
        *[("POST", f"/predict?format={form}", png(1)) for form in ("png", "rle", "polygons", "overlay")],
        ("POST", "/predict?format=probabilities", png(1)),
        ("POST", "/predict", png(1)),
    )
    image = cv2.cvtColor(cv2.imdecode(np.frombuffer(png(1), np.uint8), 1), cv2.COLOR_BGR2RGB)
    graph = load_exported(made / "six.onnx", threads=1)
    expected = graph.predict(image, probabilities=True)
    np.testing.assert_array_equal(labels_of(predicted.content), expected["labels"])
    assert predicted.headers["content-type"] == "image/png" and accepted.content == predicted.content
    from PIL import Image

    assert Image.open(io.BytesIO(predicted.content)).getpalette()[:18] == [
        value for color in PALETTE for value in color
    ]
    content = rle.json()
    assert content["size"] == [40, 50] and len(content["classes"]) > 1
    for row in content["classes"]:
        np.testing.assert_array_equal(decode(row["segmentation"]), expected["labels"] == row["label"])
        assert row["name"] == CLASSES[row["label"]] and row["pixels"] == (expected["labels"] == row["label"]).sum()
    for row in polygons.json()["classes"]:  # drawn again they are the mask
        drawn = np.zeros((40, 50), np.uint8)
        for rings in row["polygons"]:
            shapes = [np.array(ring, np.int32).reshape(-1, 1, 2) for ring in rings]
            cv2.drawContours(drawn, shapes[:1], -1, 1, cv2.FILLED)
        assert drawn.sum() >= row["pixels"] and drawn[expected["labels"] == row["label"]].all()
    assert cv2.imdecode(np.frombuffer(overlay.content, np.uint8), 1).shape == (40, 50, 3)
    values = np.load(io.BytesIO(probabilities.content), allow_pickle=False)
    np.testing.assert_allclose(values, expected["probabilities"], atol=1e-5)


def test_masks_that_overlap_and_the_choice_by_accept(made):
    (default,) = asked(service_of(made / "many.onnx"), ("POST", "/predict", png(2)))
    image = cv2.cvtColor(cv2.imdecode(np.frombuffer(png(2), np.uint8), 1), cv2.COLOR_BGR2RGB)
    positive = load_exported(made / "many.onnx").predict(image)["positive"]
    assert len(default.json()["classes"]) >= 2
    for row in default.json()["classes"]:
        np.testing.assert_array_equal(decode(row["segmentation"]), positive[row["label"]])
    for accept, kind in (
        ("image/png", "image/png"),
        ("text/html, application/x-npy", "application/x-npy"),
        ("*/*", "application/json"),
        ("image/*;q=0.8", "image/png"),
    ):
        (response,) = asked(service_of(made / "many.onnx"), ("POST", "/predict", png(2)), accept=accept)
        assert response.headers["content-type"] == kind, accept
    (refused,) = asked(service_of(made / "many.onnx"), ("POST", "/predict", png(2)), accept="text/html")
    assert refused.status_code == 406 and "application/json" in refused.json()["error"]


def test_instances_are_cocos_results(made):
    class Objects:
        kind, classes, palette = "instances", ("cat", "dog"), ()
        inputs = load_exported(made / "six.onnx").inputs

        def predict(self, images, probabilities):
            mask = np.zeros(images[0].shape[:2], np.uint8)
            mask[3:9, 4:14] = 1
            from segkit.data.files.run_lengths import encode_mask

            found = dict(masks=[encode_mask(mask)] * 2, scores=np.array([0.9, 0.2], np.float32))
            return [found | dict(labels=np.array([1, 0]), boxes=np.array([[4, 3, 14, 9.0]] * 2))] * len(images)

    service = Service(Objects(), Limits(), "objects")
    one, both, polygons, overlay, refused = asked(
        service,
        ("POST", "/predict", png(1)),
        ("POST", "/predict?score=0.1", png(1)),
        ("POST", "/predict?format=polygons", png(1)),
        ("POST", "/predict?format=overlay", png(1)),
        ("POST", "/predict?format=png", png(1)),
    )
    (row,) = one.json()["instances"]
    assert (row["category_id"], row["name"], row["score"], row["bbox"]) == (2, "dog", 0.9, [4, 3, 10, 6])
    assert decode(row["segmentation"]).sum() == 60 and len(both.json()["instances"]) == 2
    assert polygons.json()["instances"][0]["polygons"] == [[[4, 3, 4, 8, 13, 8, 13, 3]]]
    assert overlay.status_code == 200 and refused.status_code == 406


def test_a_form_with_a_file(made):
    async def ask() -> list:
        async with client_of(service_of(made / "six.onnx")) as client:
            form = await client.post("/predict", files={"file": ("a b.png", png(3), "image/png")}, data={"x": "1"})
            empty = await client.post("/predict", files={"x": (None, "text")})
            plain = await client.post("/predict", content=png(3))
            cut = await client.post("/predict", content=b"x", headers={"content-type": "multipart/form-data"})
            return [form, empty, plain, cut]

    form, empty, plain, cut = asyncio.run(ask())
    assert form.status_code == 200 and form.content == plain.content
    assert empty.status_code == 400 and "has no file" in empty.json()["error"]
    assert cut.status_code == 400 and "no boundary" in cut.json()["error"]


def test_what_is_wrong_is_a_sentence(made):
    service = service_of(made / "six.onnx", bytes=20_000, pixels=5000)
    bomb = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + (60000).to_bytes(4) * 2 + b"\x08\x02\0\0\0" + b"\0" * 50
    for content, query, status, message in (
        (b"", "", 400, "the body is empty"),
        (b"no image at all", "", 415, "no format that is read here"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "", 415, "no format"),
        (png(1)[:400], "", 422, "breaks off after 400 bytes"),
        (bomb, "", 413, "60000x60000 pixels, more than 5,000"),
        (png(1, (80, 70)), "", 413, "70x80 pixels"),
        (b"x" * 20_001, "", 413, "more than 0.02 MB"),
        (png(1), "?format=gif", 400, "must be one of png"),
        (png(1), "?score=many", 400, "from 0 to 1"),
        (png(1), "?score=nan", 400, "from 0 to 1"),
    ):
        (response,) = asked(service, ("POST", f"/predict{query}", content))
        error = response.json()["error"]
        assert response.status_code == status and message in error, (response.status_code, error)
        assert "Traceback" not in error and "\n" not in error and ".py" not in error
    missing, method, clicks = asked(
        service, ("GET", "/nothing", b""), ("GET", "/predict", b""), ("POST", "/clicks", b"")
    )
    assert clicks.status_code == 404 and "takes no clicks" in clicks.json()["error"]
    assert missing.status_code == 404 and method.status_code == 405 and "/docs" in method.json()["error"]
    assert method.headers["allow"] == "POST"
    text = asked(service, ("GET", "/metrics", b""))[0].text
    assert 'segkit_requests_total{code="413"} 3' in text and "segkit_errors_total 11" in text


def test_a_failure_inside_shows_nothing_of_the_inside(made, capsys):
    class Broken(type(open_predictor(str(made / "six.onnx"), "cpu", 1))):
        def predict(self, images, probabilities):
            if len(images) > 1 or images[0].max() == 255:
                raise RuntimeError("secret /path")
            return super().predict(images, probabilities)

    service = Service(Broken(str(made / "six.onnx"), "cpu", 1), Limits(wait=0.05), "x")

    async def ask() -> list:
        async with client_of(service) as client:
            dark = cv2.imencode(".png", np.full((40, 50, 3), 9, np.uint8))[1].tobytes()
            return await asyncio.gather(*(client.post("/predict", content=one) for one in (png(1), dark, dark)))

    bad, *good = asyncio.run(ask())
    assert bad.status_code == 500 and "secret" not in bad.text and "secret" in capsys.readouterr().err
    assert [one.status_code for one in good] == [200, 200]  # the batch failed, its other images did not


def test_a_token(made):
    for headers, status in (
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Bearer s3cret"}, 200),
    ):
        service = service_of(made / "six.onnx", token="s3cret")
        found = asked(
            service, ("POST", "/predict", png(1)), ("GET", "/metrics", b""), ("GET", "/model", b""), **headers
        )
        assert [one.status_code for one in found] == [status] * 3
    assert [one.status_code for one in asked(service, ("GET", "/health", b""), ("GET", "/", b""))] == [200, 200]
    assert "securitySchemes" in description(["png"], True)["components"]


def test_cors_is_off_unless_asked_for(made):
    for origins, allowed in (((), None), (["https://a.example"], "https://a.example")):
        service = service_of(made / "six.onnx", origins=origins)
        (response,) = asked(service, ("POST", "/predict", png(1)), origin="https://a.example")
        assert response.headers.get("access-control-allow-origin") == allowed


class Slow:
    """Predicts when it is told to."""

    kind, classes, palette = "semantic", (), ()

    def __init__(self, made: Path):
        self.inputs = load_exported(made / "six.onnx").inputs
        self.go, self.sizes = threading.Event(), []

    def predict(self, images, probabilities):
        self.go.wait(20)
        self.sizes.append((len(images), images[0].shape[:2]))
        return [{"labels": np.zeros(image.shape[:2], np.uint8)} for image in images]


def test_requests_of_one_size_share_batches_and_the_queue_is_limited(made):
    slow = Slow(made)
    service = Service(slow, Limits(batch=4, wait=0.05, queue=9), "slow")

    async def ask() -> tuple:
        async with client_of(service) as client:
            sizes = [(8, 9)] * 6 + [(9, 8)] * 3
            tasks = [asyncio.create_task(client.post("/predict", content=png(i, s))) for i, s in enumerate(sizes)]
            while service.under_way < 9:
                await asyncio.sleep(0.01)
            full, ready = await client.post("/predict", content=png(1)), await client.get("/ready")
            slow.go.set()
            return full, ready, await asyncio.gather(*tasks)

    full, ready, done = asyncio.run(ask())
    assert full.status_code == 503 and int(full.headers["retry-after"]) >= 1 and "9 requests" in full.json()["error"]
    assert ready.status_code == 503 and ready.json() == {"status": "full"}
    assert [one.status_code for one in done] == [200] * 9
    assert max(count for count, _ in slow.sizes) <= 4 and len(slow.sizes) < 9
    assert sum(count for count, size in slow.sizes if size == (8, 9)) == 6


def test_the_time_limit(made):
    slow = Slow(made)
    service = Service(slow, Limits(seconds=0.2), "slow")

    async def ask() -> tuple:
        async with client_of(service) as client:
            late = await asyncio.gather(*(client.post("/predict", content=png(i)) for i in range(3)))
            slow.go.set()
            return late, await client.post("/predict", content=png(5, (30, 30)))

    late, after = asyncio.run(ask())
    assert [one.status_code for one in late] == [504] * 3 and "within 0.2 seconds" in late[0].json()["error"]
    assert after.status_code == 200


def test_who_has_gone_is_not_computed(made):
    slow = Slow(made)
    service = Service(slow, Limits(batch=1, wait=0), "slow")

    async def call(is_gone: asyncio.Event) -> None:
        """A request whose body arrives at once, and whose connection closes at the event."""
        waiting = [{"type": "http.request", "body": png(1), "more_body": False}]

        async def receive() -> dict:
            if not waiting:
                await is_gone.wait()
            return waiting.pop() if waiting else {"type": "http.disconnect"}

        async def send(message: dict) -> None:
            pass

        scope = dict(type="http", method="POST", path="/predict", raw_path=b"/predict", root_path="", headers=[])
        await build_app(service)(scope | dict(query_string=b"", http_version="1.1"), receive, send)

    async def ask() -> None:
        stays, leaves = asyncio.Event(), asyncio.Event()
        tasks = [asyncio.create_task(call(event)) for event in (stays, leaves, leaves, leaves)]
        while service.under_way < 4 or service.batcher.length < 3:
            await asyncio.sleep(0.01)
        leaves.set()
        await asyncio.wait_for(asyncio.gather(*tasks[1:]), 10)
        assert service.under_way == 1  # their places in the queue are free again
        slow.go.set()
        await asyncio.wait_for(tasks[0], 10)

    asyncio.run(ask())
    assert len(slow.sizes) == 1 and service.metrics.codes == {200: 1, 400: 3}


def test_more_classes_than_default_colors(made):
    class Many(Slow):
        classes = tuple(f"class {number}" for number in range(300))

        def predict(self, images, probabilities):
            return [{"labels": np.full(image.shape[:2], 299, np.int16)} for image in images]

    service = Service(Many(made), Limits(), "many")
    overlay, model = asked(service, ("POST", "/predict?format=overlay", png(1)), ("GET", "/model", b""))
    assert overlay.status_code == 200 and len(model.json()["classes"]) == 300


@pytest.fixture(scope="module")
def served(made) -> Iterator[tuple[str, Service]]:
    """A real server in a thread: its address and its service."""
    service = service_of(made / "six.onnx")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(build_app(service), log_level="warning"))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", service
        server.should_exit = True
        thread.join(20)


def test_200_requests_at_once(made, served):
    address, service = served
    images = [png(i, ((40, 50), (33, 48))[i % 2]) for i in range(10)]
    graph = load_exported(made / "six.onnx")
    expected = [graph.predict(graph.inputs.read("x", image))["labels"] for image in images]

    async def ask() -> list:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as client:
            return await asyncio.gather(*(client.post("/predict", content=images[i % 10]) for i in range(200)))

    for i, response in enumerate(asyncio.run(ask())):
        assert response.status_code == 200
        np.testing.assert_array_equal(labels_of(response.content), expected[i % 10])
    sizes = service.metrics.batch_sizes
    assert sizes.total == 200 and sum(sizes.counts) < 200  # requests were joined


@pytest.mark.slow
def test_memory_stays_flat_over_a_thousand_requests(made, tmp_path):
    """The peak of the process after 1,000 requests is that after 200, to 5 %; and it ends what it has begun."""
    code = "from segkit.cli.main import main; import sys; sys.exit(main(sys.argv[1:]))"
    words = ["serve", str(made / "six.onnx"), "--port", "0", "--threads", "1"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        address = re.search(r"http://\S+", process.stdout.readline())[0]
        image = png(1, (300, 400))

        def peak() -> int:
            status = Path(f"/proc/{process.pid}/status").read_text()
            return int(re.search(r"VmHWM:\s+(\d+)", status)[1])

        async def ask(count: int) -> list:
            async with httpx.AsyncClient(base_url=address, timeout=120) as client:
                return await asyncio.gather(*(client.post("/predict", content=image) for _ in range(count)))

        peaks = []
        for _ in range(10):
            assert {one.status_code for one in asyncio.run(ask(100))} == {200}
            peaks.append(peak())
        assert peaks[-1] < 1.05 * peaks[1], peaks

        async def interrupted() -> list:
            async with httpx.AsyncClient(base_url=address, timeout=120) as client:
                tasks = [asyncio.create_task(client.post("/predict", content=image)) for _ in range(20)]
                while "under_way 20" not in (await client.get("/metrics")).text and not all(t.done() for t in tasks):
                    await asyncio.sleep(0.005)
                process.send_signal(signal.SIGTERM)
                return await asyncio.gather(*tasks)

        assert {one.status_code for one in asyncio.run(interrupted())} == {200}
        assert process.wait(60) in (0, -signal.SIGTERM)
    finally:
        process.kill()


def test_the_command_refuses_values_and_files(made, tmp_path, capsys, monkeypatch):
    for words, message in (
        (["--port", "70000"], "--port 70000: must be at most 65535"),
        (["--batch", "0"], "--batch 0: must be 1 or more"),
        (["--timeout", "nan"], "--timeout nan: must be a number above 0"),
        (["--max-mb", "-1"], "--max-mb -1.0: must be a number above 0"),
        (["--wait-ms", "nan"], "--wait-ms nan: must be 0 or more"),
        (["--host", ""], "--host '': must be an address"),
        (["--threads", "0"], "threads = 0: must be 1 or more"),
        (["--token", "Schlüssel"], "--token: requests send it in a header"),
        (["--token", " x"], "--token: requests send it in a header"),
    ):
        assert main(["serve", str(made / "six.onnx"), *words]) == 2
        assert message in capsys.readouterr().err
    assert main(["serve", str(made / "six.pt"), "--trust", "--threads", "-1"]) == 2
    assert "threads = -1: must be 1 or more" in capsys.readouterr().err
    monkeypatch.setenv("SEGKIT_TOKEN", "secret\n")
    assert main(["serve", str(made / "six.onnx")]) == 2
    error = capsys.readouterr().err
    assert "SEGKIT_TOKEN: requests send it in a header" in error and "secret" not in error
    monkeypatch.delenv("SEGKIT_TOKEN")
    for file, message in ((tmp_path / "x.onnx", "no such file"), (tmp_path / "x.pt2", r"serve the checkpoint")):
        assert main(["serve", str(file)]) == 2 and message in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve", str(made / "six.onnx")]) == 2
    assert 'pip install "segkit[web]"' in capsys.readouterr().err


def test_the_description_names_every_end_point(made):
    service = service_of(made / "six.onnx")
    document = asked(service, ("GET", "/openapi.json", b""))[0].json()
    routes = {route.path for route in build_app(service).routes}
    assert set(document["paths"]) == routes - {"/clicks", "/", "/docs", "/openapi.json", "/page.js", "/page.css"}
    assert json.loads(json.dumps(document))["paths"]["/predict"]["post"]["responses"].keys() >= {"413", "503", "504"}
    for path in ("/", "/docs"):
        page = asked(service, ("GET", path, b""))[0]
        assert page.status_code == 200 and not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page.text)
        assert "default-src 'self'" in page.headers["content-security-policy"]


def test_a_histogram_by_hand():
    histogram = Histogram((1, 2))
    for value in (0.5, 1, 1.5, 9):
        histogram.observe(value)
    assert histogram.lines("x")[1:] == [
        'x_bucket{le="1"} 2',
        'x_bucket{le="2"} 3',
        'x_bucket{le="+Inf"} 4',
        "x_sum 12.000000",
        "x_count 4",
    ]


def test_the_application_can_be_mounted(made):
    from starlette.applications import Starlette
    from starlette.routing import Mount

    app = Starlette(routes=[Mount("/inner", build_app(service_of(made / "six.onnx")))])

    async def ask() -> object:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            return await client.post("/inner/predict", content=png(1))

    assert asyncio.run(ask()).status_code == 200


def test_default_colors_are_those_of_the_commands(made):
    model = api.load_model(made / "six.pt", trust=True)
    assert model.palette == PALETTE and default_palette(2)[0] == (0, 0, 0)
