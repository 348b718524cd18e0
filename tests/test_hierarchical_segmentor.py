"""The chain of scales around any network: what it asks of it, and how it composes with windows, views and folding."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit import api
from segkit.config import load_config
from segkit.inference import build_score, slide, whole
from segkit.models.bases import Head
from segkit.registry import ConfigError, build_model
from segkit.settings import InferenceSettings
from segkit.types import Outputs
from tests.oracles import ROOT
from tests.tiny import TinyBackbone, sections


class EmbeddingHead(Head):
    """A 1x1 classifier that also returns what it reads, the window it is told, and a map that is no logits."""

    needs = ("window",)

    def __init__(self, in_channels: tuple[int, ...], num_classes: int):
        super().__init__()
        self.classifier = nn.Conv2d(in_channels[-1], num_classes, 1)
        self.seen: list = []

    def forward(self, features: list[Tensor], window: list | None = None) -> Outputs:
        self.seen.append(window)
        x = features[-1]
        return {"logits": self.classifier(x), "embedding": x, "energy": x.square().mean(1, keepdim=True)}


MODEL = dict(
    type="HierarchicalSegmentor",
    num_classes=3,
    backbone=dict(type="tests.tiny:TinyBackbone", dropout=0.0),
    head=dict(type="tests.test_hierarchical_segmentor:EmbeddingHead"),
    aux=[dict(type="tests.tiny:TinyHead")],
    attention_channels=4,
)


def net(**own) -> nn.Module:
    torch.manual_seed(0)
    return build_model({**MODEL, **own}).eval()


def picture(height: int = 33, width: int = 45, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8, generator=rng)


@torch.no_grad()
def test_scale_one_alone_is_the_network_without_attention():
    model, x = net(test_scales=[1.0]), picture()
    plain = build_model({**{k: v for k, v in MODEL.items() if k != "attention_channels"}, "type": "Segmentor"}).eval()
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("attention.")})
    expected = F.interpolate(plain(x)["logits"], x.shape[2:], mode="bilinear", align_corners=False)
    assert torch.equal(model(x)["logits"], expected)


@torch.no_grad()
def test_the_attention_chooses_between_the_scales():
    """Saturated, it gives one scale alone; sides of the scaled image are rounded down."""
    model, x = net(test_scales=[1.0, 0.5]), picture()
    half = F.interpolate(model.normalize(x), (16, 22), mode="bilinear", align_corners=False)
    small = F.interpolate(model.head(model.backbone(half))["logits"], (16, 22), mode="bilinear", align_corners=False)
    large = model(x)["scale0.logits"]
    for sign, expected in ((1.0, small), (-1.0, large)):
        model.attention.score.weight.fill_(sign * 1e6)
        model.attention.convs[1].bn.bias.fill_(1.0)
        merged = model(x)["logits"]
        wanted = F.interpolate(expected, x.shape[2:], mode="bilinear", align_corners=False)
        assert torch.allclose(merged, wanted, atol=1e-5)


def test_training_merges_every_map_of_logits_by_the_same_attention():
    model, x = net().train(), picture()
    outputs = model(x)
    attention = F.interpolate(outputs["scale0.attention"], x.shape[2:], mode="bilinear")
    assert outputs["logits"].shape == outputs["aux0.logits"].shape == (1, 3, 33, 45)
    half, own = outputs["scale0.aux0.logits"], outputs["scale1.aux0.logits"]
    product = F.interpolate(half, (16, 22), mode="bilinear") * outputs["scale0.attention"]
    expected = F.interpolate(product, (33, 45), mode="bilinear")
    expected = expected + (1 - attention) * F.interpolate(own, (33, 45), mode="bilinear")
    assert torch.allclose(outputs["aux0.logits"], expected, atol=1e-6)
    assert "energy" not in outputs and outputs["scale0.energy"].shape == (1, 1, 8, 11)
    outputs["logits"].sum().backward()
    assert all(p.grad is not None for p in model.attention.parameters())
    assert not any(name.startswith("aux") for name in net()(x))


@torch.no_grad()
def test_heads_are_told_the_window_at_each_scale():
    model = net(test_scales=[0.5, 2.0, 1.0])
    model(picture(32, 32), window=[(8, 16, 40, 48, 64, 64)])
    assert model.head.seen == [
        [(4.0, 8.0, 20.0, 24.0, 32.0, 32.0)],
        [(8, 16, 40, 48, 64, 64)],
        [(16.0, 32.0, 80.0, 96.0, 128.0, 128.0)],
    ]


@torch.no_grad()
def test_windows_views_and_folding_run_the_chain_in_each():
    model, x = net(), picture(40, 56)
    windows = slide(whole(model), (32, 32), stride=(8, 24))(x)
    total, count = torch.zeros(1, 3, 40, 56), torch.zeros(1, 1, 40, 56)
    for y, left in ((0, 0), (8, 0), (0, 24), (8, 24)):
        total[..., y : y + 32, left : left + 32] += model(x[..., y : y + 32, left : left + 32])["logits"]
        count[..., y : y + 32, left : left + 32] += 1
    assert torch.allclose(windows, total / count, atol=1e-6)
    views = build_score(model, InferenceSettings(tta=dict(scales=[1.0], flip=True)))(x, (40, 56))
    mirrored = model(x.flip(-1))["logits"].flip(-1)
    assert torch.allclose(views, (model(x)["logits"].softmax(1) + mirrored.softmax(1)) / 2, atol=1e-6)
    folded = whole(model, fold_norms=True)(x)
    assert torch.allclose(folded, model(x)["logits"], atol=1e-4)


@torch.no_grad()
def test_an_image_smaller_than_a_scale_keeps_a_pixel():
    assert net(test_scales=[0.1, 1.0])(picture(5, 64))["logits"].shape == (1, 3, 5, 64)


@torch.no_grad()
def test_half_precision_is_merged_in_full():
    with torch.autocast("cpu", torch.bfloat16):
        outputs = net()(picture())
    assert outputs["logits"].dtype == torch.float32 and outputs["scale0.logits"].dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (dict(train_scales=[0.5, 2.0]), r"model\.train_scales = \(0\.5, 2\.0\): must be factors above 0, 1 among them"),
        (dict(test_scales=[]), r"model\.test_scales = \(\): must be factors above 0, 1 among them"),
        (dict(train_scales=[1.0]), r"model\.train_scales = \(1\.0,\): must hold another scale beside 1"),
        (dict(train_scales=[1.0, 1.0]), r"model\.train_scales = \(1\.0, 1\.0\): names a scale twice"),
        (dict(head=dict(type="DeepLabV2Head")), r"DeepLabV2Head has no single last convolution; choose another head"),
    ],
)
def test_what_cannot_be_merged_is_refused(own, message):
    with pytest.raises(ConfigError, match=message):
        net(**own)


def test_a_head_without_an_embedding_is_named():
    model = net(head=dict(type="tests.tiny:TinyHead"))
    with pytest.raises(ConfigError, match=r"TinyHead returns no output 'embedding'"):
        model(picture())


def test_a_run_of_a_few_steps_trains_the_attention(tmp_path):
    """With the losses of the shipped config, the low scale's among them, from the embedded data set."""
    cfg = sections()
    cfg["model"] = {**MODEL, "num_classes": 6, "backbone": dict(type="tests.tiny:TinyBackbone")}
    shipped = load_config(ROOT / "configs/_base_/models/hmsa_hr48.py", ["num_classes=6"])["losses"]
    cfg["losses"] = [dict(shipped[0]), dict(shipped[1], on="aux0.logits"), dict(shipped[2])]
    cfg["loop"] = {**cfg["loop"], "steps": 2}
    torch.manual_seed(0)
    before = api.build_model(cfg["model"]).attention.score.weight
    api.train(cfg, tmp_path / "run")
    model = api.load_model(None, tmp_path / "run/last.pt", trust=True)
    assert model.attention.score.weight.shape == before.shape and TinyBackbone in {type(m) for m in model.modules()}
    terms = (tmp_path / "run/log.jsonl").read_text()
    for name in ("RMI", "aux0.BinaryCrossEntropy", "scale0.resized.BinaryCrossEntropy", "scale1.resized.BinaryCross"):
        assert f'"{name}' in terms, terms


def test_the_cityscapes_config_has_the_published_settings():
    path = ROOT / "configs/hmsa/hmsa_hr48_175e_cityscapes_1024x2048.py"
    cfg = load_config(path)
    weights = [row.get("weight", 1.0) for row in cfg["losses"]]
    assert weights == [1.0, 0.4, 0.05] and cfg["losses"][2]["on"] == "scale?.resized.logits"
    assert cfg["optimizer"] == dict(type="SGD", lr=0.005, momentum=0.9, weight_decay=1e-4)
    assert cfg["schedule"] == dict(type="Poly", power=2.0) and cfg["loop"]["epochs"] == 175
    assert cfg["train"]["sampler"] == dict(type="ClassUniform", fraction=0.5, tile=1024)
    assert tuple(cfg["train"]["transforms"][0]["size"]) == (1024, 2048)
