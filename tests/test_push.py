"""`segkit push`: the folder holds data alone, its card tells the run, and the model comes back by its name."""

import copy
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from segkit import api
from segkit.cli.main import main
from segkit.config import load_config, plain_values
from segkit.engine import checkpoint
from segkit.engine.checkpoint import CheckpointError
from segkit.files import DataError
from segkit.hub.facts import base_of, facts_of, intervals, without_places
from segkit.hub.licences import LICENCES, licence_of
from segkit.registry import ConfigError
from tests.test_hub import Handler, use

hub = pytest.importorskip("huggingface_hub")
pytest.importorskip("huggingface_hub.constants")
CLASSES = ["background", "disk", "box", "star", "ring", "bar"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run's folder: checkpoint, log, and scores of images."""
    folder = tmp_path_factory.mktemp("pushed") / "run"
    folder.mkdir()
    cfg = plain_values(dict(load_config("segkit:quickstart/semantic.py")))
    cfg["model"]["backbone"]["channels"] = [8, 8, 8, 8]
    cfg["model"]["head"]["channels"] = [8, 8, 8]
    cfg["val"]["dataset"]["length"] = 4
    cfg["init"] = {"path": "/home/somebody/secret/mit_b0.pth", "drop": ["head"]}
    torch.manual_seed(0)
    net = api.build_model(copy.deepcopy(cfg["model"]))
    palette = [[30 * i, 200 - 30 * i, 60] for i in range(6)]
    texts = {"config": cfg, "classes": CLASSES, "palette": palette, "segkit_version": "0.2.0"}
    ema = {name: value + 1 if value.is_floating_point() else value for name, value in net.state_dict().items()}
    content = {"model": net.state_dict(), "ema": ema, **texts, "step": 600, "scored": 600, "images": 800}
    checkpoint.save(folder / "best.pt", content)
    lines = [
        {"step": 300, "val": {"mIoU": 50.0}},
        {"step": 600, "val": {"mIoU": 71.234, "IoU": {"disk": 3}, "images": 4}},
    ]
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, lines)))
    rows = "".join(f"{i},p,{50 + i},{'' if i % 2 else 40 + i}\n" for i in range(20))
    (folder / "metrics_per_image.csv").write_text(f"id,path,mIoU,IoU.disk\n{rows}")
    return folder


@pytest.fixture(scope="module")
def folder(run) -> Path:
    """What --dry-run writes."""
    target = run.parent / "shapes"
    words = ["push", str(run / "best.pt"), "hf:me/shapes", "--dry-run", "--license", "mit", "--out", str(target)]
    assert main(words) == 0
    return target


def test_the_folder_holds_data_alone(run, folder):
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["README.md", "config.json", "model.safetensors", "picture.png"]
    described = json.loads((folder / "config.json").read_text())
    assert described["library_name"] == "segkit" and described["classes"] == CLASSES
    for path in folder.iterdir():  # no folder of the machine is published
        assert b"somebody" not in path.read_bytes() and str(run).encode() not in path.read_bytes(), path
    assert described["config"]["init"]["path"] == "mit_b0.pth"
    # the moving average, as load_model takes it; the file is a checkpoint of its own
    model = api.load_model(folder / "model.safetensors")
    expected = api.load_model(run / "best.pt").state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_the_card_tells_the_run(folder):
    text = (folder / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert (front["library_name"], front["license"], front["pipeline_tag"]) == ("segkit", "mit", "image-segmentation")
    (entry,) = front["model-index"]
    assert entry["results"][0]["metrics"] == [{"type": "mIoU", "value": 71.23}]  # of the checkpoint's step
    assert "| mIoU | 71.23 |" in text and "50.00" not in text
    assert "| mIoU | 59.50 (5" in text and "| IoU.disk | 49.00 (" in text
    assert "600 optimizer steps" in text and "Images trained on: 800" in text
    assert "- Began with: `mit_b0.pth`." in text and "NVIDIA Source Code License" in text
    assert 'segkit.load_model("hf:me/shapes")' in text and "![image, truth and prediction" in text
    assert all(name in text for name in CLASSES)


def test_a_click_model_is_used_by_clicks(tmp_path, capsys):
    """Its card shows clicks, and the exported graphs travel together."""
    cfg = plain_values(dict(load_config("segkit:quickstart/interactive.py")))
    content = {"model": api.build_model(copy.deepcopy(cfg["model"])).state_dict(), "config": cfg}
    checkpoint.save(tmp_path / "best.pt", {**content, "segkit_version": "0.2.0"})
    for part in ("encoder", "decoder"):
        (tmp_path / f"m.{part}.onnx").write_bytes(part.encode())
    words = ["push", str(tmp_path / "best.pt"), "hf:me/clicks", "--dry-run", "--license", "mit", "--no-picture"]
    words += ["--out", str(tmp_path / "out"), "--graph", str(tmp_path / "m.encoder.onnx")]
    assert main(words) == 0, capsys.readouterr().err
    text = (tmp_path / "out/README.md").read_text()
    assert "segkit.click_predictor(model)" in text and "segkit.predict(" not in text
    assert "segkit serve m.encoder.onnx" in text and "segkit predict" not in text
    assert (tmp_path / "out/m.decoder.onnx").read_bytes() == b"decoder"
    (tmp_path / "m.decoder.onnx").unlink()
    assert main(words) == 2 and "m.decoder.onnx: is no exported graph" in capsys.readouterr().err


def test_an_interval_by_hand():
    """20 values of one kind and 20 of another: the standard error of the mean is 0.5 / sqrt(40)."""
    rows = [{"id": str(i), "path": "", "x": str(i % 2), "pixels": "9"} for i in range(40)]
    (score,) = intervals(rows)
    assert (
        score.value == 0.5 and abs(score.low - (0.5 - 1.96 * 0.079)) < 0.03 and abs(score.low + score.high - 1) < 0.06
    )
    assert list(intervals(rows[:1])) == [] and list(intervals([])) == []


def test_tables_and_scores_that_somebody_else_wrote(tmp_path):
    rows = [{"id": str(i), "x": "inf" if i else "1", "y": "", None: ["more", "cells"], "z": "2"} for i in range(3)]
    assert [(score.name, score.value) for score in intervals(rows)] == [("z", 2.0)]
    (tmp_path / "images.csv").write_text("id,x\n1," + "9" * 200_000 + "\n")
    with pytest.raises(DataError, match=r"images\.csv: no table of images \(field larger"):
        facts_of({}, tmp_path / "best.pt", None, tmp_path / "images.csv")
    (tmp_path / "scores.json").write_text(
        '{"mIoU": 1' + "0" * 400 + ', "aAcc": 1e999, "mDice": NaN, "Acc": 3, "IoU": {}}'
    )
    assert [
        (score.name, score.value) for score in facts_of({}, tmp_path / "a.pt", tmp_path / "scores.json", None).scores
    ] == [("Acc", 3.0)]
    deep = '{"step": 1, "val": ' + "[" * 100_000
    (tmp_path / "log.jsonl").write_text(deep + '\n{"step": 600, "val": {"mIoU": 7.0}}\n')
    assert [score.value for score in facts_of({"step": 600}, tmp_path / "best.pt", None, None).scores] == [7.0]


def test_base_weights_and_places():
    assert base_of({"model": {"backbone": {"name": "mit_b0", "pretrained": True}}}) == "mit_b0"
    assert base_of({"model": {"head": [{"pretrained": "x.pth"}]}, "init": None}) == "x.pth"
    assert base_of({"model": {"backbone": {"pretrained": None}}}) == ""
    assert without_places({"a": ["/x/y", "~/z", "C:\\d\\e", "rel/f", 3]}) == {"a": ["y", "z", "e", "rel/f", 3]}
    for name, whose in (
        ("mit_b0", "SegFormer"),
        ("vit_small_patch14_dinov2.lvd142m", "DINOv2"),
        ("vit_small_patch16_dinov3", "DINOv3"),
        ("deit3_small_patch16", "DeiT"),
        ("swin_tiny_patch4", "Swin"),
        ("apple/deeplabv3-mobilevit-small", "MobileViT"),
    ):
        assert whose in str(licence_of(name)), name
    assert licence_of("my_own") is None and len(LICENCES) == 15


@pytest.fixture
def repositories(tmp_path, monkeypatch) -> Iterator[Path]:
    """A hub at a local address: repositories are folders, and uploads are copies."""
    Handler.root = tmp_path / "hub"
    Handler.root.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    use(monkeypatch, f"http://127.0.0.1:{server.server_port}", tmp_path / "cache")

    def create_repo(self, repo_id, *, private, exist_ok):
        (Handler.root / repo_id).mkdir(parents=True, exist_ok=exist_ok)
        (Handler.root / f"{repo_id}.private").write_text(str(private))

    def upload_folder(self, *, repo_id, folder_path, commit_message):
        assert "segkit" in commit_message
        shutil.copytree(folder_path, Handler.root / repo_id, dirs_exist_ok=True)

    monkeypatch.setattr(hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(hub.HfApi, "upload_folder", upload_folder)
    monkeypatch.setattr(hub, "get_token", lambda: "hf_x")
    yield Handler.root
    server.shutdown()


def test_a_model_comes_back_by_its_name(run, repositories, capsys):
    graph = run.parent / "shapes.onnx"
    graph.write_bytes(b"graph")
    words = ["push", str(run / "best.pt"), "hf:me/shapes", "--license", "other", "--no-picture", "--private"]
    assert main([*words, "--graph", str(graph), "--dataset", "my/shapes"]) == 0
    assert 'load_model("hf:me/shapes")' in capsys.readouterr().out
    names = sorted(path.name for path in (repositories / "me/shapes").iterdir())
    assert names == ["README.md", "config.json", "model.safetensors", "shapes.onnx"]
    assert (repositories / "me/shapes.private").read_text() == "True"
    front = yaml.safe_load((repositories / "me/shapes/README.md").read_text().split("---")[1])
    assert front["datasets"] == ["my/shapes"] and front["license"] == "other"
    model, expected = api.load_model("hf:me/shapes"), api.load_model(run / "best.pt")
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    np.testing.assert_array_equal(api.predict(model, image)["labels"], api.predict(expected, image)["labels"])
    assert model.classes == CLASSES and model.palette == expected.palette


def changed(repositories: Path, source: Path, name: str, **entries: object) -> str:
    """A repository with other entries in its config.json."""
    target = repositories / "me" / name
    shutil.copytree(source, target)
    described = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**described, **entries}))
    return f"hf:me/{name}"


def test_what_travels_is_data(run, folder, repositories):
    """A stranger's config.json may name registered classes alone, and a newer format is refused."""
    config = json.loads((folder / "config.json").read_text())["config"]
    evil = copy.deepcopy(config)
    evil["model"]["backbone"] = {"type": "os:system", "command": "touch /tmp/pwned"}
    for name, entries, error, message in (
        ("evil", {"config": evil}, ConfigError, r"names 'os:system' at model\.backbone.*code outside of segkit"),
        ("newer", {"format": 2}, CheckpointError, "format 2, this version reads up to 1"),
        ("empty", {"config": None}, CheckpointError, "no sections under 'config'"),
        ("named", {"classes": "abc"}, CheckpointError, "'classes' holds no list of names"),
    ):
        with pytest.raises(error, match=message):
            api.load_model(changed(repositories, folder, name, **entries))


def test_code_of_ones_own_is_not_published(run, tmp_path, capsys):
    content = checkpoint.read(run / "best.pt")
    content["config"]["model"]["head"] = {"type": "tests.tiny:TinyHead"}
    checkpoint.save(tmp_path / "own.pt", content)
    words = ["hf:me/x", "--license", "mit", "--dry-run", "--out", str(tmp_path / "out")]
    assert main(["push", str(tmp_path / "own.pt"), *words]) == 2
    error = capsys.readouterr().err
    assert "names 'tests.tiny:TinyHead' at model.head" in error and "what is published holds no code" in error
    torch.save(content["model"], tmp_path / "plain.pt")
    assert main(["push", str(tmp_path / "plain.pt"), *words]) == 2
    assert "plain.pt: is no checkpoint of segkit" in capsys.readouterr().err
    assert main(["push", str(run / "best.pt"), *words[:1], *words[3:]]) == 2
    assert "--license: state the licence" in (error := capsys.readouterr().err) and "NVIDIA Source Code" in error
    for name in ("me/x", "hf:x", "hf:me/x/y", "hf:../x", "hf:me/ü"):
        assert main(["push", str(run / "best.pt"), name, *words[1:]]) == 2
        assert f"{name}: is no name on the hub" in capsys.readouterr().err
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("mine")
    assert main(["push", str(run / "best.pt"), *words[:4], "--out", str(tmp_path / "full")]) == 2
    assert "holds other files" in capsys.readouterr().err
    assert main(["push", str(run / "best.pt"), *words, "--graph", str(run / "best.pt")]) == 2
    assert "is no exported graph" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


class Refusing(BaseHTTPRequestHandler):
    """Answers every request with one status."""

    status = 200

    def do_POST(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        pass


def test_why_an_upload_fails(run, tmp_path, monkeypatch, capsys):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    use(monkeypatch, f"http://127.0.0.1:{server.server_port}", tmp_path / "cache")
    words = ["push", str(run / "best.pt"), "hf:me/shapes", "--license", "mit", "--no-picture"]

    def error() -> str:
        assert main(words) == 2
        text = capsys.readouterr().err
        assert text.startswith("ConfigError: hf:me/shapes: ") and text.count("\n") == 1
        return text

    monkeypatch.setattr(hub, "get_token", lambda: None)
    assert "no token on this machine; run `hf auth login`" in error()
    monkeypatch.setattr(hub, "get_token", lambda: "hf_x")
    for status, message in ((401, "does not accept the token"), (403, "may not write there"), (409, "add --update")):
        Refusing.status = status
        assert message in error()
    server.shutdown()
    server.server_close()
    assert "the hub cannot be reached" in error()
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    assert "the hub cannot be reached" in error()
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    assert 'pip install "segkit[hub]"' in error()


def test_the_picture_shows_image_truth_and_prediction(folder, run, tmp_path, capsys):
    from segkit.data.files.images import read_image

    picture = read_image(folder / "picture.png")
    assert picture.shape[1] > 2 * picture.shape[0] and len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    content = checkpoint.read(run / "best.pt")
    content["config"]["val"]["dataset"] = {"type": "Folder", "root": str(tmp_path / "none"), "classes": CLASSES}
    checkpoint.save(tmp_path / "away.pt", content)
    out = tmp_path / "out"
    assert main(["push", str(tmp_path / "away.pt"), "hf:me/x", "--license", "mit", "--dry-run", "--out", str(out)]) == 0
    assert "note: no picture" in capsys.readouterr().out and not (out / "picture.png").exists()
