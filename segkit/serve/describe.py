"""The end points of a server as OpenAPI 3.1, and as a page of plain HTML that needs no network."""

import html
from typing import Any, Literal

from segkit import __version__
from segkit.serve.answers import FORMATS
from segkit.serve.clicks import MOST_CLICKS
from segkit.serve.predictor import Kind

MEANINGS = {
    "png": "a PNG of labels with the palette of the classes",
    "overlay": "a PNG of the image with the prediction drawn over it",
    "rle": "JSON with a mask of each class, or of each instance, as COCO run lengths",
    "polygons": "JSON with polygons in pixels: lists of rings [x, y, x, y, ...], the outer one first, then its holes",
    "probabilities": "a .npy file, float32 [classes, height, width]",
}
MEANINGS_OF_CLICKS = {
    "png": "a grey PNG, 255 on the object and 0 beside it",
    "overlay": "a PNG of the image with the mask drawn over it",
    "rle": "JSON with the mask as COCO run lengths",
    "polygons": "JSON with polygons in pixels: lists of rings [x, y, x, y, ...], the outer one first, then its holes",
    "probabilities": "a .npy file, float32 [height, width]",
}
REFUSALS = {
    "400": "no image, or a wrong value in the query or the body",
    "406": "the model has no such form of answer",
    "408": "the body arrives too slowly",
    "413": "too many bytes or pixels",
    "415": "no known format of images",
    "422": "the image is damaged or of other channels than the model's",
    "503": "too many requests under way; the header Retry-After says when to come back",
    "504": "the prediction took too long",
}


def description(forms: list[str], has_token: bool, kind: Kind | Literal["clicks"] = "semantic") -> dict[str, Any]:
    """Returns the OpenAPI document.

    Args:
        forms: of the answers that the model gives; the first is the default.
        has_token: whether requests state a token.
        kind: of the model.
    """
    refusals = {**({"401": "no token, or a wrong one"} if has_token else {}), **REFUSALS}
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    answers: dict[str, Any] = {"200": {"description": "the prediction", "content": _contents(forms)}}
    answers |= {code: {"description": text, "content": error} for code, text in refusals.items()}
    meanings = MEANINGS_OF_CLICKS if kind == "clicks" else MEANINGS
    form = _parameter("format", {"type": "string", "enum": forms, "default": forms[0]}, "the form of the answer")
    chosen = "The query or the header Accept says which form the answer has: "
    chosen += "; ".join(f"{name} - {meanings[name]}" for name in forms) + "."
    name, post = ("/clicks", _clicks(chosen)) if kind == "clicks" else ("/predict", _predict(chosen))
    post = {**post, "parameters": [form, *post.get("parameters", [])], "responses": answers}
    if has_token:
        post["security"] = [{"token": []}]
    paths = {
        name: {"post": post},
        "/model": {"get": _plain("Names and colors of the classes, and the forms of answers.", "application/json")},
        "/health": {"get": _plain("Whether the process lives.", "application/json")},
        "/ready": {"get": _plain("200 while requests are taken, 503 while it is full or stops.", "application/json")},
        "/metrics": {
            "get": _plain("Requests, errors, latencies, batches and the queue, for Prometheus.", "text/plain")
        },
    }
    schemas = {"Error": {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}}
    components: dict[str, Any] = {"schemas": schemas}
    if has_token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    info = {"title": "segkit", "version": __version__, "description": "Predictions of a segmentation model."}
    return {"openapi": "3.1.0", "info": info, "servers": [{"url": "."}], "paths": paths, "components": components}


def _predict(chosen: str) -> dict[str, Any]:
    """The end point of models that predict images alone; chosen: what is said of the form of the answer."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    form = {"schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}}
    score = {"type": "number", "minimum": 0, "maximum": 1, "default": 0.3}
    return {
        "summary": "Predicts an image.",
        "description": f"The image is the body itself, or the first file of a form. {chosen}",
        "parameters": [_parameter("score", score, "of instances: least score of those in the answer")],
        "requestBody": {
            "required": True,
            "content": {"image/*": binary, "application/octet-stream": binary, "multipart/form-data": form},
        },
    }


def _clicks(chosen: str) -> dict[str, Any]:
    """The end point of click models."""
    row = {"type": "array", "prefixItems": [{"type": "number"}] * 3, "minItems": 3, "maxItems": 3}
    clicks = {
        "type": "array",
        "items": row,
        "minItems": 1,
        "maxItems": MOST_CLICKS,
        "description": "row and column in pixels, and 1 on the object or 0 beside it, in the order of the clicks",
    }

    def body(image: dict[str, str]) -> dict[str, Any]:
        return {
            "schema": {
                "type": "object",
                "properties": {"image": image, "clicks": clicks, "mask": image},
                "required": ["image", "clicks"],
            }
        }

    return {
        "summary": "Segments the object that clicks mark.",
        "description": "Each request brings the image, all clicks, and where wanted a mask to start from, an image "
        f"file that is not black on the object: a form with these parts, or JSON with images in base64. {chosen}",
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": body({"type": "string", "format": "binary"}),
                "application/json": body({"type": "string", "contentEncoding": "base64"}),
            },
        },
    }


def _contents(forms: list[str]) -> dict[str, Any]:
    binary, json_object = {"type": "string", "format": "binary"}, {"type": "object"}
    kinds = {FORMATS[name] for name in forms}
    return {kind: {"schema": json_object if kind == "application/json" else binary} for kind in sorted(kinds)}


def _parameter(name: str, schema: dict[str, Any], text: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": text}


def _plain(summary: str, kind: str) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": "as said", "content": {kind: {}}}}}


def page_of(document: dict[str, Any]) -> str:
    """Returns an OpenAPI document as a page of HTML.

    Args:
        document: as of `description`.
    """
    sections = []
    for path, methods in document["paths"].items():
        for method, entry in methods.items():
            rows = "".join(
                f"<tr><td><code>{_text(one['name'])}</code></td><td>{_text(_schema(one['schema']))}</td>"
                f"<td>{_text(one['description'])}</td></tr>"
                for one in entry.get("parameters", [])
            )
            answers = "".join(
                f"<tr><td><code>{_text(code)}</code></td><td>{_text(', '.join(one.get('content', {})))}</td>"
                f"<td>{_text(one['description'])}</td></tr>"
                for code, one in entry["responses"].items()
            )
            query = f"<h3>Query</h3><table><tbody>{rows}</tbody></table>" if rows else ""
            sections.append(
                f"<section><h2><span class='method'>{_text(method.upper())}</span> {_text(path)}</h2>"
                f"<p>{_text(entry['summary'])}</p><p>{_text(entry.get('description', ''))}</p>{query}"
                f"<h3>Answers</h3><table><tbody>{answers}</tbody></table></section>"
            )
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>segkit: end points</title>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'><link rel='stylesheet' href='page.css'>"
        f"</head><body><header><h1>End points</h1><p><a href='.'>Try it</a> · <a href='openapi.json'>OpenAPI "
        f"{_text(document['openapi'])}</a></p></header><main>{''.join(sections)}</main></body></html>"
    )


def _schema(schema: dict[str, Any]) -> str:
    choices = schema.get("enum")
    text = ", ".join(map(str, choices)) if choices else f"{schema['type']} {schema['minimum']} to {schema['maximum']}"
    return f"{text} (default {schema['default']})"


def _text(value: str) -> str:
    return html.escape(str(value))
