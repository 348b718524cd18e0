"""The server of `segkit annotate`: what the page asks for, and what nobody else gets."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from starlette.testclient import TestClient

from segkit.annotate.app import Desk, build_app
from segkit.annotate.gate import keep_address, last_address
from segkit.annotate.workspace import Workspace
from segkit.cli.main import main
from segkit.data.files.images import read_image
from segkit.data.large.tiff_writer import TiffWriter
from segkit.engine import checkpoint
from segkit.registry import build_model
from tests.annotate.made import mask, outputs, photographs, predictor, workspace

ROOT = Path(__file__).parents[2]
TOKEN = "0123456789abcdef0123456789abcdef"
HOST = "127.0.0.1:8123"
JSON = {"content-type": "application/json"}


class Asked:
    """A client of the application of a workspace."""

    def __init__(self, space: Workspace, page: Path):
        self.space, self.desk = space, Desk(space, outputs(space))
        self.client = TestClient(build_app(self.desk, TOKEN, hosts=(HOST,), page=page), base_url=f"http://{HOST}")

    def get(self, path: str, **options) -> httpx.Response:
        return self.client.get(f"/{TOKEN}/{path}", **options)

    def post(self, path: str, content: object, **options) -> httpx.Response:
        return self.client.post(f"/{TOKEN}/{path}", json=content, **options)

    def edit(self, index: int, version: int, **edit: object) -> httpx.Response:
        name = self.space.entries[index].id
        return self.post(f"api/images/{name}/edits", {"version": version, "edit": edit, "seconds": 0.5})

    def picture(self, path: str) -> np.ndarray:
        response = self.get(path)
        assert response.status_code == 200, response.text
        return cv2.imdecode(np.frombuffer(response.content, np.uint8), cv2.IMREAD_UNCHANGED)


@pytest.fixture
def page(tmp_path) -> Path:
    folder = tmp_path / "page"
    (folder / "inner").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>a page</title>", encoding="utf-8")
    (folder / "main.js").write_text("export const a = 1;", encoding="utf-8")
    (folder / "secret.py").write_text("secret", encoding="utf-8")
    return folder


@pytest.fixture
def asked(tmp_path, page):
    asked = Asked(workspace(photographs(tmp_path / "photos")), page)
    with asked.client:
        yield asked


def test_what_the_page_asks_for(asked):
    project = asked.get("api/project").json()
    assert project["kind"] == "semantic" and project["images_total"] == 3 and not project["review"]
    assert project["classes"][0] == {"name": "cat", "color": "#e69f00"}
    assert project["model"] == {"name": "echo", "has_box": False, "has_mask_start": True, "threshold": 0.49}
    assert asked.post("api/project", {"initial": "AB"}).json()["initial"] == "AB"
    listed = asked.get("api/images?from=1&count=1").json()
    name = asked.space.entries[1].id
    assert listed["total"] == 3 and [row["id"] for row in listed["images"]] == [name]
    image = asked.get(f"api/images/{name}").json()
    assert image["size"] == [240, 320] and image["version"] == 0 and image["objects"] == []
    added = asked.edit(1, 0, do="add", **{"class": 1}).json()
    clicked = asked.edit(1, 1, do="click", object=added["object"], x=120.5, y=90.5, positive=True).json()
    assert clicked["version"] == 2 and clicked["can_undo"] and clicked["changed"] == clicked["objects"][0]["bbox"]
    reference = predictor()
    reference.set_image(read_image(asked.space.entries[1].path))
    expected = reference.click(90, 120, True)
    labels = asked.picture(f"api/images/{name}/labels/0/0/0?v=2")
    np.testing.assert_array_equal(labels[:, :, 2] == 1, expected)  # R comes last here
    probabilities = asked.picture(f"api/images/{name}/probability/0/0/0?v=2")
    np.testing.assert_array_equal(probabilities, np.rint(reference.probabilities * 255).astype(np.uint8))
    tile = asked.picture(f"api/images/{name}/tile/0/0/0")
    np.testing.assert_array_equal(tile[:, :, ::-1], read_image(asked.space.entries[1].path))
    assert asked.post(f"api/images/{asked.space.entries[0].id}/prepare", {}).status_code == 200
    written = asked.post("api/outputs", {}).json()
    assert written["images"] == written["objects"] == 1
    log = (Path(written["folder"]) / "annotate.log.csv").read_text().splitlines()
    assert log[1] == "2.png,1,dog,1,1.0,AB,model,started"


def test_results_are_written_when_another_image_is_opened(asked):
    asked.edit(0, 0, do="add", **{"class": 0})
    asked.edit(0, 1, do="brush", object=1, add=True, radius=5, points=[[20, 20]])
    written = asked.space.project.out / "masks/1.png"
    assert not written.exists()
    asked.get(f"api/images/{asked.space.entries[1].id}")
    end = time.monotonic() + 20
    while not written.exists() and time.monotonic() < end:
        time.sleep(0.01)
        asked.get("api/project")
    assert written.exists()


def test_two_tabs(asked):
    assert asked.edit(0, 0, do="add", **{"class": 0}).status_code == 200
    second = asked.edit(0, 0, do="add", **{"class": 1})
    assert second.status_code == 409 and second.json()["version"] == 1 and "reload" in second.json()["error"]


def test_an_edit_that_is_sent_again_is_made_once(asked):
    name = asked.space.entries[0].id
    body = {"version": 0, "edit": {"do": "add", "class": 0}, "key": "a1"}
    first, again = (asked.post(f"api/images/{name}/edits", body) for _ in range(2))
    assert (first.json()["version"], again.json()["version"], again.status_code) == (1, 1, 200)
    assert first.json()["object"] == again.json()["object"] == 1
    assert asked.post(f"api/images/{name}/edits", body | {"key": "a2"}).status_code == 409
    after = workspace(asked.space.project.folder)  # a new start knows it from the journal
    assert after.edit(after.entries[0], body)["object"] == 1 and after.work_on(after.entries[0]).version == 1


def test_a_new_start_has_the_address_of_the_last(tmp_path):
    first = last_address(tmp_path)
    assert len(first.token) == 32 and first.port == 0 and last_address(tmp_path).token != first.token
    keep_address(tmp_path, first._replace(port=8123))
    assert last_address(tmp_path) == (first.token, 8123)
    path = tmp_path / "address.json"
    assert path.stat().st_mode & 0o777 == 0o600
    for content in ("{", [], {"token": "abc", "port": 1}, {"token": first.token, "port": True}):
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        assert last_address(tmp_path).port == 0
    keep_address(tmp_path, first._replace(port=8123))
    path.chmod(0o644)  # others may have read it
    assert last_address(tmp_path).token != first.token


def test_labels_of_overlapping_and_hidden_objects(asked):
    name = asked.space.entries[1].id
    asked.edit(1, 0, do="add", **{"class": 0})
    asked.edit(1, 1, do="add", **{"class": 0})
    asked.edit(1, 2, do="box", object=1, x0=0, y0=0, x1=20, y1=20, model=False)
    asked.edit(1, 3, do="box", object=2, x0=10, y0=10, x1=30, y1=30, model=False)

    def numbers(version: int) -> np.ndarray:
        return asked.picture(f"api/images/{name}/labels/0/0/0?v={version}")[:, :, 2]

    assert numbers(4)[5, 5] == 1 and numbers(4)[15, 15] == 2 and numbers(4)[50, 50] == 0
    asked.edit(1, 4, do="order", object=1, order=9)
    assert numbers(5)[15, 15] == 1
    asked.edit(1, 5, do="visible", object=1, visible=False)
    assert numbers(6)[15, 15] == 2 and numbers(6)[5, 5] == 0


def test_the_page_and_its_headers(asked):
    index = asked.get("")
    assert index.status_code == 200 and "a page" in index.text
    assert asked.get("page/main.js").headers["content-type"].startswith("text/javascript")
    for response in (index, asked.get("api/project"), asked.get("page/none.js"), asked.get("api/none")):
        assert "default-src 'self'" in response.headers["content-security-policy"]
        assert response.headers["referrer-policy"] == "no-referrer"
    for name in ("secret.py", "inner", "..", "%2e%2e%2fsecret.py", "none.js"):
        assert asked.get(f"page/{name}").status_code == 404


@pytest.mark.parametrize(
    ("headers", "path", "status"),
    [
        ({}, f"/{TOKEN}/api/project", 200),
        ({"origin": f"http://{HOST}"}, f"/{TOKEN}/api/project", 200),
        ({"origin": "https://evil.example"}, f"/{TOKEN}/api/project", 403),
        ({"origin": "null"}, f"/{TOKEN}/api/project", 403),
        ({"origin": f"https://{HOST}"}, f"/{TOKEN}/api/project", 403),
        ({"host": "evil.example"}, f"/{TOKEN}/api/project", 403),
        ({"host": "127.0.0.1:9"}, f"/{TOKEN}/api/project", 403),
        ({"host": ""}, f"/{TOKEN}/api/project", 403),
        ({}, "/", 404),
        ({}, "/api/project", 404),
        ({}, f"/{TOKEN[:-1]}/api/project", 404),
        ({}, f"/{TOKEN}x/api/project", 404),
        ({}, f"/{TOKEN.upper()}/api/project", 404),
        ({}, "/%e2%98%83/api/project", 404),
    ],
)
def test_who_may_ask(asked, headers, path, status):
    response = asked.client.get(path, headers=headers)
    assert response.status_code == status
    assert status == 200 or (set(response.json()) == {"error"} and "cat" not in response.text)


def test_any_numeric_address_where_no_name_is_given(tmp_path, page):
    space = workspace(photographs(tmp_path / "photos"), has_model=False)
    app = build_app(Desk(space, outputs(space)), TOKEN, page=page)
    client = TestClient(app, base_url="http://10.0.0.7:80")
    for host, status in (("10.0.0.7:80", 200), ("localhost:1", 200), ("[::1]:80", 200), ("a.example:80", 403)):
        assert client.get(f"/{TOKEN}/api/project", headers={"host": host}).status_code == status


SPOILED = {
    "add": "class",
    "click": "x",
    "box": "y1",
    "brush": "points",
    "polygon": "points",
    "threshold": "value",
    "class": "class",
    "order": "order",
    "visible": "visible",
    "delete": "object",
    "merge": "objects",
    "split": "object",
    "holes": "object",
    "smooth": "radius",
    "copy": "from",
    "state": "state",
}
"""Edits, and an argument that each needs."""


def garbage(rng: np.random.Generator, names: list[str]) -> tuple[str, str, dict]:
    """A malformed request: method, path and options."""
    odd = ["x", "..", "%2e%2e", "....//", "%00", "a" * 3000, "..%2f..%2fetc%2fpasswd", "a%0d%0ab: c"]
    name = str(rng.choice([*names * 4, *odd]))
    number = str(rng.choice(["0", "-1", "1e9", "99999999999999999999", "nan", "0x1", "٣", "..", "0 ", ""]))
    paths = [
        f"{TOKEN}/api/images/{name}",
        f"{TOKEN}/api/images/{name}/edits",
        f"{TOKEN}/api/images/{name}/prepare",
        f"{TOKEN}/api/images/{name}/{rng.choice(['tile', 'labels', 'probability', '..'])}/{number}/0/{number}",
        f"{TOKEN}/api/images/{names[0]}/labels/0/{number}/0?v={name}",
        f"{TOKEN}/api/images/{names[0]}/probability/0/0/0?object={number}",
        f"{TOKEN}/api/images?from={number}&count={number}&state={name}&search={number}",
        f"{TOKEN}/page/{name}",
        f"{TOKEN}/page/../../../{name}",
        f"{TOKEN}//api/project",
        f"{TOKEN}/api/project",
        f"{TOKEN}/api/outputs",
        f"{name}/api/project",
        f"../{TOKEN}/api/images/{name}",
    ]
    wrong = [None, "x" * 2000, [], {}, [[]], [[1]], [[1, "a"]], [[1e300, 0]] * 3, 10**400, -1.5, "1"]

    def value() -> object:
        return wrong[int(rng.integers(len(wrong)))]

    # one argument of each edit is wrong, the others are right
    right: dict = dict(object=1, x=9, y=9, x0=1, y0=1, x1=9, y1=9, points=[[1, 2], [3, 4], [9, 1]], radius=3, add=True)
    right |= {
        "class": 1,
        "order": 2,
        "visible": False,
        "value": 0.5,
        "objects": [1, 1],
        "positive": True,
        "model": True,
    }
    doing = [*SPOILED, "", "__class__", None, 3, ["add"], "drop"]
    edit = right | {"do": doing[int(rng.integers(len(doing)))]}
    edit |= {SPOILED.get(str(edit["do"]), "x"): value()}
    body: dict = {"version": 2, "edit": edit}
    if rng.random() < 0.3:
        undo = edit | {"do": "undo"}
        body = {"version": value(), "edit": undo} if rng.random() < 0.5 else {"version": 2, "edit": value()}
    body |= {"seconds": value() or "x"} if rng.random() < 0.2 else {}
    text = json.dumps(body)
    bodies = [text] * 8 + [
        text.replace("null", "NaN"),
        text[: len(text) // 2],
        "[" * 100_000,
        '{"a":' * 50_000,
        "",
        "\x00",
        '{"version":0,"version":1}',
        json.dumps([body]),
        '{"version": 2, "edit": {"do": "add", "class": -Infinity}}',
        "{" + " " * 100_000 + "}",
    ]
    content = bodies[int(rng.integers(len(bodies)))].encode()
    if rng.random() < 0.1:
        content = rng.integers(0, 256, 50, dtype=np.uint8).tobytes()
    kinds = ["application/json"] * 6 + ["text/plain", "multipart/form-data", "", "application/x-www-form-urlencoded"]
    headers = {"content-type": kinds[int(rng.integers(len(kinds)))]}
    if rng.random() < 0.15:
        headers["origin"] = str(rng.choice(["null", "https://evil.example", "file://", f"http://{HOST}.evil"]))
    if rng.random() < 0.1:
        headers["host"] = str(rng.choice(["evil.example", "127.0.0.1", "[::1]", "localhost:8123"]))
    method = str(rng.choice(["GET", "POST", "POST", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE"]))
    return method, "/" + paths[int(rng.integers(len(paths)))], {"content": content, "headers": headers}


def test_500_malformed_requests_change_nothing(asked, tmp_path, capfd):
    asked.edit(0, 0, do="add", **{"class": 0})
    asked.edit(0, 1, do="box", object=1, x0=5, y0=5, x1=30, y1=20, model=False)
    (tmp_path / "outside.txt").write_text("outside", encoding="utf-8")
    entry = asked.space.entries[0]
    before, rng, codes = asked.space.work_on(entry).sheet, np.random.default_rng(5), set()
    asks = 0
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    while asks < 500:
        method, path, options = garbage(rng, [entry.id])
        try:
            response = asked.client.request(method, path, **options, follow_redirects=False)
        except (httpx.InvalidURL, UnicodeEncodeError):
            continue  # a client that refuses to ask
        asks += 1
        codes.add(response.status_code)
        assert response.status_code in (200, 400, 403, 404, 405, 409, 413), (method, path, response.text)
        text = response.text
        assert "Traceback" not in text and "outside" not in text and "root:" not in text and ".py" not in text, text
        if response.status_code != 200 and method != "HEAD":
            assert set(response.json()) - {"version"} == {"error"} and "\n" not in response.json()["error"]
    assert codes >= {200, 400, 403, 404, 405}
    assert asked.space.work_on(entry).sheet == before and asked.space.work_on(entry).version == 2
    assert all(asked.space.work_on(one).version == 0 for one in asked.space.entries[1:])
    now = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    journals = {path: when for path, when in now.items() if path.suffix == ".jsonl"}
    assert journals == {path: when for path, when in files.items() if path.suffix == ".jsonl"}
    assert "Traceback" not in capfd.readouterr().err


def test_bodies_that_are_too_large(asked):
    name = asked.space.entries[0].id
    response = asked.client.post(f"/{TOKEN}/api/images/{name}/edits", content=b"x" * (4 << 20) + b"x", headers=JSON)
    assert response.status_code == 413 and "4 MB" in response.json()["error"]


def test_a_damaged_image_is_a_sentence(tmp_path, page, capsys):
    folder = photographs(tmp_path / "photos")
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:500])
    asked = Asked(workspace(folder), page)
    response = asked.get(f"api/images/{asked.space.entries[1].id}")
    assert response.status_code == 500 and "2.png" in response.json()["error"]
    assert asked.get(f"api/images/{asked.space.entries[0].id}").status_code == 200


def test_5000_images_are_listed(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "photos"
    folder.mkdir()
    content = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()
    for number in range(5000):
        (folder / f"{number}.png").write_bytes(content)

    def refuse(*arguments: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("segkit.annotate.workspace.Pixels", refuse)
    space = workspace(folder, has_model=False)
    assert len(space.listed()) == 5000 and len({entry.id for entry in space.entries}) == 5000


MODEL = dict(
    model=dict(
        type="ClickSegmentor",
        num_classes=1,
        backbone=dict(type="PlainEncoder", channels=(4, 6, 8, 8)),
        head=dict(type="UNetHead", channels=(8, 6, 4), upsample="bilinear"),
        radius=3,
    ),
    runner=dict(type="Interactive"),
    inference=dict(clicks=dict(zoom=None, flip=False)),
)


@pytest.fixture
def click_model(tmp_path) -> Path:
    content = {"model": build_model(dict(MODEL["model"])).state_dict(), "config": MODEL, "segkit_version": "0.2.0"}
    checkpoint.save(tmp_path / "clicks.pt", content)
    return tmp_path / "clicks.pt"


def test_the_command_refuses_what_cannot_be(tmp_path, capsys, click_model):
    folder = photographs(tmp_path / "photos")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.json").write_text("[]", encoding="utf-8")
    for words, message in (
        ([str(tmp_path / "none")], "no such folder; name the one that holds the images"),
        ([str(tmp_path / "empty")], "holds no image"),
        ([str(folder), "--port", "70000"], "--port 70000: must be from 0 to 65535"),
        ([str(folder), "--classes", "a,a"], "--classes a,a: must be names"),
        ([str(folder), "--classes", "a", "--config", "x.py"], "--classes and --config: give one of them"),
        ([str(folder), "--out", str(folder)], "is the folder of the images"),
        ([str(folder), "--from", str(tmp_path / "bad.json")], "no list 'findings'"),
        ([str(folder), "--review", str(tmp_path / "none")], "no such file or folder"),
        ([str(folder), "--review", str(tmp_path / "empty")], "neither label maps"),
        ([str(folder), "--model", str(tmp_path / "none.pt")], "none.pt"),
        ([str(folder), "--host", "203.0.113.9"], "cannot listen there"),
    ):
        assert main(["annotate", *words, "--no-open"]) == 2, words
        error = capsys.readouterr().err
        assert message in error and "Traceback" not in error, error
    assert not (tmp_path / "photos_annotated").exists() or not (tmp_path / "photos_annotated/.lock").exists()


def started(*words: str) -> tuple[subprocess.Popen, str]:
    """The command in a process of its own, and the address that it prints."""
    code = "import sys; from segkit.cli.main import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "annotate", *words, "--no-open"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process, re.search(r"http://\S+", process.stdout.readline())[0]


@pytest.mark.slow
def test_the_command_is_killed_and_goes_on(tmp_path, click_model):
    folder = photographs(tmp_path / "photos")
    words = (str(folder), "--classes", "cat,dog", "--model", str(click_model))
    process, address = started(*words)
    try:
        with httpx.Client(base_url=address, headers=JSON, timeout=60) as client:
            assert client.get("").status_code in (200, 404) and client.get("api/project").json()["model"]
            name = client.get("api/images").json()["images"][2]["id"]
            edits: list[dict] = [dict(do="add", **{"class": 1})]
            edits += [dict(do="brush", object=1, add=True, radius=3, points=[[5 + 9 * i, 20]]) for i in range(5)]
            for version, edit in enumerate(edits):
                body = {"version": version, "edit": edit}
                answer = client.post(f"api/images/{name}/edits", content=json.dumps(body)).json()
            second = subprocess.run(
                [sys.executable, "-m", "segkit.cli.main", "annotate", *words],
                capture_output=True,
                text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            assert second.returncode == 2 and "is annotating in it" in second.stderr
        process.kill()
        process.wait()
        assert not (tmp_path / "photos_annotated/masks").exists()
        last = address
        process, address = started(*words)
        assert address == last
        with httpx.Client(base_url=address, headers=JSON, timeout=60) as client:
            again = client.get(f"api/images/{name}").json()
            assert again["objects"] == answer["objects"] and again["version"] == 6
            assert (tmp_path / "photos_annotated/masks/sub/0.png").is_file()
            body = {"version": 6, "edit": dict(do="undo")}
            client.post(f"api/images/{name}/edits", content=json.dumps(body))
        before = (tmp_path / "photos_annotated/objects.json").read_text()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in (0, -signal.SIGINT)
        assert (tmp_path / "photos_annotated/objects.json").read_text() != before
        assert not (tmp_path / "photos_annotated/.lock").exists()
    finally:
        process.kill()


@pytest.mark.slow
def test_an_image_of_108_million_pixels(tmp_path, page):
    """Tiles, strokes, clicks and results of a tiled TIFF of 12,000 x 9,000 take a few hundred MB."""
    import resource

    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    with open(folder / "large.tif", "wb") as file:
        writer = TiffWriter(file, (9000, 12000), np.dtype(np.uint8), samples=3)
        block = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
        for row in range(0, 9000, 256):
            line = np.tile(block, (1, 47, 1))[: min(256, 9000 - row), :12000]
            writer.write(row, 0, np.ascontiguousarray(line))
        writer.close()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    asked = Asked(workspace(folder), page)
    name = asked.space.entries[0].id
    image = asked.get(f"api/images/{name}").json()
    assert image["size"] == [9000, 12000] and image["levels"] == 6
    for level, column, row in ((0, 23, 17), (2, 5, 4), (5, 0, 0)):
        assert asked.picture(f"api/images/{name}/tile/{level}/{column}/{row}").ndim == 3
    asked.edit(0, 0, do="add", **{"class": 0})
    asked.edit(0, 1, do="box", object=1, x0=0, y0=0, x1=12000, y1=9000, model=False)
    answer = asked.edit(0, 2, do="brush", object=1, add=False, radius=300, points=[[100, 100], [11000, 8000]]).json()
    assert 90e6 < answer["objects"][0]["area"] < 108e6
    asked.edit(0, 3, do="add", **{"class": 1})
    clicked = asked.edit(0, 4, do="click", object=2, x=6000, y=4500, positive=True, view=[5800, 4300, 6200, 4700])
    assert clicked.status_code == 200
    labels = asked.picture(f"api/images/{name}/labels/5/0/0")
    assert labels.shape[:2] == (282, 375) and (labels[:, :, 2] == 1).mean() > 0.8
    assert asked.post("api/outputs", {}).json()["objects"] >= 1
    written = cv2.imread(str(asked.space.project.out / "masks/large.png"), cv2.IMREAD_UNCHANGED)
    assert written.shape[:2] == (9000, 12000) and mask(asked.space, 0, 1).sum() == answer["objects"][0]["area"]
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 900
