"""POST /clicks of `segkit serve`: the masks of click_predictor, nothing computed twice, and refusals in a sentence."""

import asyncio
import base64
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from segkit import api
from segkit.cli.main import main
from segkit.engine import checkpoint
from segkit.registry import build_model
from segkit.runtime.clicks import load_clicks
from segkit.serve import clicks as serving
from segkit.serve.clicks import ClickModel
from segkit.serve.predictor import open_predictor
from tests.interactive.doubles import Echo, drawn
from tests.tiny import sections

pytest.importorskip("onnxruntime")
httpx = pytest.importorskip("httpx")
pytest.importorskip("starlette")

from segkit.serve.app import Limits, Service, build_app  # noqa: E402  needs the packages above
from tests.annotate.made import INPUTS  # noqa: E402
from tests.test_runtime import click_pair  # noqa: E402

IMAGE = drawn(5)[0].permute(1, 2, 0).numpy()
CLICKS = [[20, 30, 1], [5, 70, 0], [40, 12, 1]]


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image[..., ::-1] if image.ndim == 3 else image)[1].tobytes()


def echo() -> ClickModel:
    """A click model that follows from a formula, with the zoom of checkpoints."""
    predictor = api.click_predictor(Echo(), zoom=dict(target=96, min_crop=20))
    return ClickModel(predictor, INPUTS, lambda state, other: state.share(other))


def service_of(model: ClickModel, **limits: object) -> Service:
    return Service(model, Limits(**limits), "clicks")


def posted(service: Service, *requests: dict) -> list:
    """The answers to POST /clicks, one after the other."""

    async def ask() -> list:
        transport = httpx.ASGITransport(build_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return [await client.post(**{"url": "/clicks", **request}) for request in requests]

    return asyncio.run(ask())


def form(image: bytes = png(IMAGE), clicks: object = CLICKS, mask: bytes | None = None) -> dict:
    files = {"image": ("a b.png", image, "image/png")} | ({} if mask is None else {"mask": ("m.png", mask)})
    return {"files": files, "data": {"clicks": json.dumps(clicks)}}


def mask_of(response: "httpx.Response") -> np.ndarray:
    assert response.status_code == 200, response.text
    return cv2.imdecode(np.frombuffer(response.content, np.uint8), cv2.IMREAD_UNCHANGED)


def clicked(predictor: object, clicks: list = CLICKS, mask: np.ndarray | None = None) -> np.ndarray:
    """The mask of click_predictor after all clicks."""
    predictor.set_image(IMAGE)
    if mask is not None:
        predictor.set_mask(mask)
    for y, x, sign in clicks:
        predictor.click(y, x, bool(sign))
    return predictor.mask


def test_masks_are_those_of_click_predictor_and_nothing_is_computed_twice():
    model, predictor = echo(), api.click_predictor(Echo(), zoom=dict(target=96, min_crop=20))
    start = np.zeros(IMAGE.shape[:2], bool)
    start[10:30, 20:60] = True
    lists = [CLICKS[:1], CLICKS[:2], CLICKS, CLICKS[:2], [[44, 60, 1]], CLICKS[:1]]
    answers = posted(service_of(model), *[form(clicks=one) for one in lists], form(mask=png(start * np.uint8(9))))
    for one, answer in zip(lists, answers):
        expected = clicked(predictor, one)
        assert 0 < expected.mean() < 1
        np.testing.assert_array_equal(mask_of(answer), expected * np.uint8(255))
    np.testing.assert_array_equal(mask_of(answers[-1]) > 0, clicked(predictor, mask=start))
    assert not np.array_equal(clicked(predictor, mask=start), clicked(predictor))
    # 1 + 1 + 1 clicks, a shorter list and the first one again for nothing, another object 1, three on the mask
    assert (model.encoded, model.passes) == (1, 7)


def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(serving, "KEPT_PIXELS", 2 * IMAGE.shape[0] * IMAGE.shape[1])
    model = echo()
    images = [png(np.roll(IMAGE, 7 * i, 1)) for i in range(3)]
    order = [0, 1, 0, 2, 0, 1]  # room for two: 1 goes when 2 comes
    posted(service_of(model), *[form(images[i], [[20, 30, 1], [3 + n, 4, 0]]) for n, i in enumerate(order)])
    assert model.encoded == 4 and len(model._images) == 2 and len(model._answers) == 2


def test_forms_of_request_and_answer():
    service = service_of(echo())
    image, expected = png(IMAGE), clicked(api.click_predictor(Echo(), zoom=dict(target=96, min_crop=20)))
    text = json.dumps({"image": base64.b64encode(image).decode(), "clicks": CLICKS}).encode()
    by_json, rle, polygons, overlay, probabilities = posted(
        service,
        {"content": text},
        *[form() | {"params": {"format": name}} for name in ("rle", "polygons", "overlay", "probabilities")],
    )
    from pycocotools.mask import decode

    np.testing.assert_array_equal(mask_of(by_json) > 0, expected)
    np.testing.assert_array_equal(decode(rle.json()["segmentation"]), expected)
    assert rle.json()["pixels"] == expected.sum() and len(polygons.json()["polygons"]) >= 1
    assert mask_of(overlay).shape == IMAGE.shape
    values = np.load(io.BytesIO(probabilities.content), allow_pickle=False)
    assert values.dtype == np.float32 and np.array_equal(
        values > service.predictor._clicker.settings.threshold, expected
    )


def test_graphs_and_checkpoints_by_their_files(tmp_path):
    path = click_pair(tmp_path)
    expected = clicked(load_clicks(path), CLICKS[:2])
    for name in ("m.encoder.onnx", "m.decoder.onnx"):
        model = open_predictor(str(tmp_path / name), "cpu", 1)
        np.testing.assert_array_equal(mask_of(posted(service_of(model), form(clicks=CLICKS[:2]))[0]) > 0, expected)
    cfg = sections()
    cfg["model"] = {**cfg["model"], "type": "ClickSegmentor", "num_classes": 1, "aux": []}
    cfg = {**cfg, "losses": cfg["losses"][:1], "runner": {"type": "Interactive"}, "inference": {}}
    torch.manual_seed(2)
    net = build_model(cfg["model"])
    checkpoint.save(tmp_path / "m.pt", {"model": net.state_dict(), "config": cfg, "classes": None, "palette": None})
    served = open_predictor(str(tmp_path / "m.pt"), "cpu", 1, trust=True)
    expected = clicked(api.click_predictor(api.load_model(tmp_path / "m.pt", trust=True)))
    np.testing.assert_array_equal(mask_of(posted(service_of(served), form())[0]) > 0, expected)


def test_what_is_wrong_is_a_sentence():
    service = service_of(echo(), bytes=40_000, pixels=20_000)
    for request, status, message in (
        (form(b""), 400, "there is no image"),
        (form(clicks=[]), 400, "clicks: must be rows [row, column, 1"),
        (form(clicks=[[1, 2]]), 400, "clicks: must be rows"),
        (form(clicks=[[1, 2, "in"]]), 400, "clicks: must be rows"),
        (form(clicks=[[float("nan"), 2, 1]]), 400, "clicks: must be rows"),
        (form(clicks=[[1, 2, 1]] * 101), 400, "clicks: 101, and a request takes 100 at most"),
        (form(clicks=[[1, 2, 1], [400, 2, 1]]), 422, "click at row 400, column 2: the image has"),
        (form(b"no image"), 415, "the image: no format"),
        (form(png(IMAGE)[:300]), 422, "breaks off after 300 bytes"),
        (form(mask=png(IMAGE[:9])), 422, "mask of (9, "),
        (form(mask=b"none"), 415, "the mask: no format"),
        (form(png(np.zeros((200, 101), np.uint8))), 413, "the image: 101x200 pixels, more than 20,000"),
        (form(mask=png(np.zeros((200, 101), np.uint8))), 413, "the mask: 101x200 pixels"),
        ({"content": b"x" * 40_001}, 413, "more than 0.04 MB"),
        ({"content": b"[1]"}, 400, "neither a form nor a JSON object"),
        ({"json": {"image": "%%", "clicks": CLICKS}}, 400, "image: in JSON it is the bytes of an image file in base64"),
        (form() | {"params": {"format": "gif"}}, 400, "must be one of png, rle"),
        (form() | {"url": "/predict"}, 404, "this is a click model"),
    ):
        (response,) = posted(service, request)
        error = response.json()["error"]
        assert response.status_code == status and message in error and "\n" not in error, (status, error)
    assert mask_of(posted(service, form())[0]).shape == IMAGE.shape[:2], "the next request is answered"


def test_the_description(tmp_path):
    async def ask() -> tuple:
        transport = httpx.ASGITransport(build_app(service_of(echo())))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.get("/openapi.json"), await client.get("/docs"), await client.get("/model")

    document, page, model = asyncio.run(ask())
    assert "/predict" not in document.json()["paths"] and "maxItems" in document.text and "/clicks" in page.text
    fields = document.json()["paths"]["/clicks"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert fields["required"] == ["image", "clicks"] and model.json()["kind"] == "clicks"


def test_the_command_names_the_files_of_a_click_model(tmp_path: Path, capsys: pytest.CaptureFixture):
    click_pair(tmp_path)
    assert main(["serve", str(tmp_path / "m.onnx")]) == 2
    assert "m.encoder.onnx" in capsys.readouterr().err
