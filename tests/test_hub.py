"""Models by name on the Hugging Face hub, from a local server with the hub's layout of files: no network is used."""

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
from safetensors.torch import save_file

from segkit import api
from segkit.config import Config, load_config
from segkit.convert.hub import is_hub_name, read_hub, sections, system_of
from segkit.convert.keymap import export, load_map
from segkit.engine import setup
from segkit.engine.checkpoint import CheckpointError
from segkit.registry import ConfigError, build_model
from segkit.runners.training import check_init
from tests.oracles import ROOT, fixture
from tests.oracles import weights_of as smp_weights

hub = pytest.importorskip("huggingface_hub")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONFIG = {
    "architectures": ["SegformerForSemanticSegmentation"],
    "model_type": "segformer",
    "num_channels": 3,
    "num_encoder_blocks": 4,
    "depths": [2, 2, 2, 2],
    "sr_ratios": [8, 4, 2, 1],
    "hidden_sizes": [32, 64, 160, 256],
    "patch_sizes": [7, 3, 3, 3],
    "strides": [4, 2, 2, 2],
    "num_attention_heads": [1, 2, 5, 8],
    "mlp_ratios": [4, 4, 4, 4],
    "hidden_act": "gelu",
    "decoder_hidden_size": 256,
    "id2label": {"0": "wall", "2": "sky", "1": "building"},
    "label2id": {"wall": 0, "building": 1, "sky": 2},
}
PROCESSOR = {
    "do_normalize": True,
    "do_resize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.25, 0.1],
    "size": {"height": 96, "width": 128},
    "reduce_labels": True,
}


class Handler(BaseHTTPRequestHandler):
    """Answers /OWNER/NAME/resolve/REVISION/FILE as the hub does; repositories are folders."""

    root: Path

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        path = self._answer()
        if path is not None:
            self.wfile.write(path.read_bytes())

    def log_message(self, *_args: object) -> None:
        pass

    def _answer(self) -> Path | None:
        repository, _, rest = self.path.strip("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        folder = self.root / repository
        for is_wrong, status, code in (
            ("gated" in repository, 403, "GatedRepo"),
            (not folder.is_dir(), 401, "RepoNotFound"),
            (revision not in ("main", COMMIT), 404, "RevisionNotFound"),
            (not (folder / file).is_file(), 404, "EntryNotFound"),
        ):
            if is_wrong:
                self.send_response(status)
                self.send_header("X-Error-Code", code)
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return None
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{abs(hash(self.path)):x}"')
        self.send_header("Content-Length", str((folder / file).stat().st_size))
        self.end_headers()
        return folder / file


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[tuple[Path, str]]:
    """The folder of repositories, and the address that serves it."""
    Handler.root = tmp_path_factory.mktemp("hub")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Handler.root, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def use(monkeypatch: pytest.MonkeyPatch, address: str, cache: Path) -> None:
    """huggingface_hub asks this address, and keeps files in this folder."""
    monkeypatch.setattr(hub.constants, "ENDPOINT", address)
    monkeypatch.setattr(
        hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def repositories(served, monkeypatch, tmp_path) -> Path:
    folder, address = served
    use(monkeypatch, address, tmp_path / "cache")
    return folder


def network() -> torch.nn.Module:
    """SegFormer-B0 with random weights, in evaluation mode."""
    torch.manual_seed(0)
    cfg = load_config(ROOT / "configs/_base_/models/segformer_original_mit-b0.py", ["num_classes=3"])
    net = build_model(cfg["model"])
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, 0, 0.1)
    return net.eval()


@pytest.fixture(scope="module")
def published(served) -> tuple[torch.nn.Module, Path]:
    """The network and its repository, as transformers saves it."""
    net = network()
    folder = served[0] / "owner/segformer"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    save_file(
        {k: v.contiguous() for k, v in export(net.state_dict(), "hf_segformer").items()}, folder / "model.safetensors"
    )
    return net, folder


def repository(
    folder: Path, name: str, source: Path, config: dict | None = None, without: tuple[str, ...] = ()
) -> Path:
    """A copy of a repository with another config.json, without some of its files."""
    target = folder / "owner" / name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for file in source.iterdir():
        if file.name not in without:
            shutil.copy(file, target / file.name)
    if config is not None:
        (target / "config.json").write_text(json.dumps(config))
    return target


def test_one_name_loads_and_predicts(repositories, published):
    net, _ = published
    model = api.load_model("hf:owner/segformer")
    assert model.classes == ["wall", "building", "sky"] and model.num_classes == 3
    assert model.config["model"]["backbone"]["name"] == "mit_b0"
    assert model.mean.flatten().tolist() == pytest.approx([127.5, 102.0, 76.5])
    assert model.std.flatten().tolist() == pytest.approx([51.0, 63.75, 25.5])
    assert model.config["test"]["transforms"] == [{"type": "Resize", "size": (96, 128)}]
    state = net.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    prediction = api.predict(model, image)
    assert prediction["labels"].shape == (50, 70)
    # the network sees the image at the processor's size, normalized by the processor's numbers
    cv2 = pytest.importorskip("cv2")
    seen = torch.from_numpy(cv2.resize(image, (128, 96))).permute(2, 0, 1)[None]
    with torch.no_grad():
        net.mean, net.std = model.mean, model.std
        logits = net(seen)["logits"]
    expected = torch.nn.functional.interpolate(logits, (96, 128), mode="bilinear").softmax(1)
    expected = torch.nn.functional.interpolate(expected, (50, 70), mode="bilinear").argmax(1)[0]
    assert (torch.as_tensor(np.asarray(prediction["labels"])) == expected).float().mean() > 0.98


def test_a_repository_of_segmentation_models(repositories):
    """Its config.json names a class and arguments; the names of its classes are not there."""
    names = fixture("smp", "linknet_resnet34")[0]["names"]
    folder = repositories / "owner/linknet"
    folder.mkdir(parents=True)
    weights = smp_weights(names)
    save_file(weights, folder / "model.safetensors")
    described = {"_model_class": "Linknet", "encoder_name": "resnet34", "classes": 11, "in_channels": 3}
    (folder / "config.json").write_text(json.dumps(described))
    model = api.load_model("hf:owner/linknet")
    assert model.num_classes == 11 and model.config["model"]["head"]["type"] == "LinkNetHead"
    kept = load_map("smp_linknet").apply(weights)
    assert all(torch.equal(model.state_dict()[key], value) for key, value in kept.items())
    (folder / "config.json").write_text(json.dumps(described | {"_model_class": "Linkne"}))
    shutil.rmtree(hub.constants.HF_HUB_CACHE)
    with pytest.raises(CheckpointError, match=r"^hf:owner/linknet: config.json: _model_class = 'Linkne'.*Linknet"):
        api.load_model("hf:owner/linknet")


def test_a_training_starts_from_the_name(repositories, published):
    """With other classes its classifier stays fresh."""
    net, _ = published
    check_init(Config({"init": {"path": "hf:owner/segformer"}}))
    config = copy.deepcopy(api.load_model("hf:owner/segformer").config)
    config["model"]["num_classes"] = 7
    model = build_model(config["model"])
    report = setup.initialise(model, {"path": "hf:owner/segformer", "drop": ["head.classifier"]})
    assert "2 left fresh" in report and "hf_segformer" in report
    assert torch.equal(model.state_dict()["head.fuse.conv.weight"], net.state_dict()["head.fuse.conv.weight"])
    with pytest.raises(CheckpointError, match=r"(?s)hf:owner/segformer: .*2 of another shape: head\.classifier"):
        setup.initialise(model, {"path": "hf:owner/segformer"})


def test_files_of_torch_and_shards_are_read_too(repositories, published):
    net, source = published
    weights = export(net.state_dict(), "hf_segformer")
    folder = repository(repositories, "torch", source, without=("model.safetensors",))
    torch.save(weights, folder / "pytorch_model.bin")
    assert torch.equal(
        read_hub("hf:owner/torch")["model"]["decode_head.classifier.bias"], weights["decode_head.classifier.bias"]
    )
    folder = repository(repositories, "shards", source, without=("model.safetensors",))
    names = sorted(weights)
    files = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    for file, part in zip(files, (names[:50], names[50:])):
        save_file({name: weights[name].contiguous() for name in part}, folder / file)
    index = {"metadata": {}, "weight_map": {name: files[i >= 50] for i, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert read_hub("hf:owner/shards")["model"].keys() == weights.keys()
    repository(repositories, "cut", folder, without=files[1:])
    with pytest.raises(ConfigError, match=rf"the shard {files[1]} is missing"):
        read_hub("hf:owner/cut")


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("code", {"auto_map": {"AutoModel": "modeling.Net"}}, "auto_map, so the model needs code of its repository"),
        (
            "unknown",
            {"model_type": "segforme"},
            "model_type 'segforme', which segkit does not know; did you mean 'segformer'",
        ),
        ("unlabelled", {"id2label": None}, "no id2label"),
        ("gap", {"id2label": {"0": "a", "2": "b"}}, "does not count from 0 to 1"),
        (
            "classifier",
            {"architectures": ["SegformerForImageClassification"]},
            "reads SegformerForSemanticSegmentation",
        ),
        ("odd", {"depths": [1, 2, 3, 4]}, r"depths = \[1, 2, 3, 4\].*none of the published sizes"),
        ("thin", {"mlp_ratios": [8, 8, 4, 4]}, r"mlp_ratios = \[8, 8, 4, 4\], and segkit's"),
    ],
)
def test_configs_that_segkit_cannot_build_are_refused(repositories, published, name, change, message):
    repository(repositories, name, published[1], {**CONFIG, **change})
    with pytest.raises(CheckpointError, match=f"^hf:owner/{name}: .*{message}"):
        api.load_model(f"hf:owner/{name}")


def test_weights_of_another_size_are_refused(repositories, published):
    repository(repositories, "wide", published[1], {**CONFIG, "hidden_sizes": [64, 128, 320, 512]})
    with pytest.raises(CheckpointError, match=r"(?s)^hf:owner/wide: .*of another shape"):
        api.load_model("hf:owner/wide")


def test_a_repository_without_weights_or_config_is_refused(repositories, published):
    repository(repositories, "flax", published[1], without=("model.safetensors",))
    with pytest.raises(CheckpointError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        api.load_model("hf:owner/flax")
    repository(repositories, "bare", published[1], without=("config.json",))
    with pytest.raises(CheckpointError, match=r"the repository has no config\.json"):
        api.load_model("hf:owner/bare")


@pytest.mark.parametrize(
    "processor, mean, std, resize",
    [
        ({}, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), []),
        # apple/deeplabv3-mobilevit-small: pixels in 0..1, one number is the shorter side
        (
            {"do_center_crop": True, "do_flip_channel_order": True, "do_resize": True, "crop_size": 512, "size": 544},
            (0, 0, 0),
            (255, 255, 255),
            [{"type": "Resize", "short": 544}],
        ),
        (
            {"size": {"shortest_edge": 512, "longest_edge": 2048}, "do_normalize": False},
            (0, 0, 0),
            (255, 255, 255),
            [{"type": "Resize", "short": 512, "long": 2048}],
        ),
        ({"size": 300, "do_resize": False, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]}, (0, 0, 0), (255,) * 3, []),
    ],
)
def test_the_processor_becomes_the_input(processor, mean, std, resize):
    described = {"model_type": "mobilevit", "architectures": ["MobileViTForSemanticSegmentation"]}
    cfg = sections(system_of(described, "hf:a/b"), described, processor, ["a", "b"], "hf:a/b")
    backbone = cfg["model"]["backbone"]
    assert backbone["mean"] == pytest.approx(mean) and backbone["std"] == pytest.approx(std)
    assert cfg["test"]["transforms"] == resize
    assert backbone["name"] == "mobilevit_s" and list(cfg["model"]["head"]["rates"]) == [6, 12, 18]
    with torch.device("meta"):
        assert build_model(cfg["model"]).num_classes == 2


def test_mask2former_is_built_from_its_config():
    """Every tensor of the published file has its place, and the shape that config.json says."""
    swin = {"model_type": "swin", "embed_dim": 96, "depths": [2, 2, 6, 2], "window_size": 7}
    described = {
        "model_type": "mask2former",
        "architectures": ["Mask2FormerForUniversalSegmentation"],
        "backbone_config": swin,
        "num_queries": 100,
        "hidden_dim": 256,
    }
    classes = [str(i) for i in range(150)]
    cfg = sections(system_of(described, "hf:a/b"), described, PROCESSOR, classes, "hf:a/b")
    names, _ = fixture("modern", "hf_mask2former_swin-t")
    with torch.device("meta"):
        net = build_model(cfg["model"])
    shapes = {name: tuple(shape) for name, shape in names["names"].items()}
    assert "tensors matched" in load_map("hf_mask2former").check(shapes, net.state_dict())
    swin["window_size"] = 9
    with pytest.raises(ConfigError, match=r"backbone_config.window_size = 9, which is none of the published sizes"):
        sections(system_of(described, "hf:a/b"), described, PROCESSOR, classes, "hf:a/b")


SWIN_T = {"model_type": "swin", "embed_dim": 96, "depths": [2, 2, 6, 2], "window_size": 7}
CONVNEXT_T = {"model_type": "convnext", "hidden_sizes": [96, 192, 384, 768], "depths": [3, 3, 9, 3]}


@pytest.mark.parametrize(("encoder", "name"), [(SWIN_T, "swin"), (CONVNEXT_T, "convnext")], ids=["swin", "convnext"])
def test_upernet_is_built_from_its_config(encoder, name):
    """Of two systems of one model_type the encoder tells which; every published tensor has its place."""
    described = {
        "model_type": "upernet",
        "architectures": ["UperNetForSemanticSegmentation"],
        "backbone_config": encoder,
        "hidden_size": 512,
        "pool_scales": [1, 2, 3, 6],
    }
    classes = [str(i) for i in range(150)]
    cfg = sections(system_of(described, "hf:a/b"), described, PROCESSOR, classes, "hf:a/b")
    names, _ = fixture("modern", f"hf_upernet_{name}-t")
    with torch.device("meta"):
        net = build_model(cfg["model"])
    shapes = {name: tuple(shape) for name, shape in names["names"].items()}
    assert "tensors matched" in load_map(f"hf_upernet_{name}").check(shapes, net.state_dict())
    described["backbone_config"] = {"model_type": "resnet"}
    with pytest.raises(ConfigError, match=r"backbone_config.model_type = 'resnet', and segkit's upernet_swin-t has"):
        sections(system_of(described, "hf:a/b"), described, PROCESSOR, classes, "hf:a/b")


@pytest.mark.parametrize(
    "processor, message",
    [
        ({"do_flip_channel_order": False}, "do_flip_channel_order"),
        ({"image_mean": [0.5], "image_std": [0.5]}, "not three numbers"),
        ({"size": {"max_height": 3}}, "size of preprocessor_config.json"),
        ({"rescale_factor": 0}, "rescale_factor"),
    ],
)
def test_processors_that_segkit_does_not_follow_are_refused(processor, message):
    described = {"model_type": "mobilevit", "architectures": ["MobileViTForSemanticSegmentation"]}
    with pytest.raises(ConfigError, match=f"^hf:a/b: .*{message}"):
        sections(system_of(described, "hf:a/b"), described, processor, ["a", "b"], "hf:a/b")


def test_names_that_cannot_be_fetched_are_explained(repositories, published, monkeypatch, tmp_path):
    for name, message in (
        ("owner/nothing", "there is no such repository"),
        ("owner/gated", "is gated; log in"),
        ("owner/segformer@v9", "has no revision 'v9'"),
        ("owner/a/b", "is no name on the hub"),
    ):
        with pytest.raises(CheckpointError, match=rf"^hf:{name}: .*{message}"):
            api.load_model(f"hf:{name}")
    read_hub("hf:owner/segformer")
    cache = Path(hub.constants.HF_HUB_CACHE)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    assert read_hub("hf:owner/segformer")["classes"] == ["wall", "building", "sky"]  # what was fetched once is kept
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(CheckpointError, match=r"config\.json is not on this machine and the hub cannot be reached"):
        api.load_model("hf:owner/segformer")
    assert cache.is_dir() and is_hub_name("hf:a/b") and not is_hub_name("a/b.pt")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match=r'pip install "segkit\[hub\]"'):
        api.load_model("hf:owner/segformer")
