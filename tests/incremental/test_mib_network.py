"""The network of MiB computes what the official code computes, with both norms, and its names map both ways."""

import gzip
import zlib
from ast import literal_eval
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segkit.archs._mib_pyramid import window_means
from segkit.archs.mib_deeplab import MiBDeepLabHead
from segkit.backbones.mib_resnet import ABNResNet
from segkit.cli.convert import main as convert
from segkit.config import load_config
from segkit.convert.keymap import export, load_map
from segkit.engine import checkpoint
from segkit.models.growing_segmentor import sizes_of
from segkit.models.layers import resize
from segkit.ops.in_place_abn import EPS, in_place_scale, in_place_weight
from segkit.registry import ConfigError, build_model

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests/fixtures/mib"
STORED = np.load(FOLDER / "network.npz")
CONFIG = ROOT / "configs/_base_/models/mib_r101_os16.py"
COUNTERS = "num_batches_tracked"


@lru_cache(maxsize=1)
def names() -> list[tuple[str, str, tuple[int, ...]]]:
    """Official name, cssegmentation's and shape of every tensor after a step of 16 and a step of 5 classes."""
    lines = gzip.decompress((FOLDER / "names.txt.gz").read_bytes()).decode().split("\n")
    rows = [line.split(" ") for line in lines]
    return [(mib, csseg, tuple(int(part) for part in shape.split(",") if part)) for mib, csseg, shape in rows]


def weight(name: str, shape: tuple[int, ...]) -> Tensor:
    """The reference's weights follow from the official names."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    if name.endswith(COUNTERS):
        return torch.zeros(shape, dtype=torch.int64)
    if name.endswith("running_var"):
        return torch.rand(shape, generator=generator) + 0.5
    if len(shape) == 4:
        return torch.randn(shape, generator=generator) * (2 / np.prod(shape[1:])) ** 0.5
    if name.endswith(".weight"):
        return torch.rand(shape, generator=generator) * 0.2 + (0.2 if "bn3" in name or "proj_bn" in name else 0.9)
    return torch.randn(shape, generator=generator) * 0.1


def model_of(*options: str, device: str = "cpu") -> nn.Module:
    cfg = load_config(CONFIG, ["num_classes=16", "model.type=GrowingSegmentor", "model.grown=[5]", *options])
    with torch.device(device):
        return build_model(cfg["model"])


def error(ours: Tensor, stored: np.ndarray, std: float | None = None) -> float:
    """In standard deviations of the stored tensor."""
    assert tuple(ours.shape) == stored.shape
    return float(np.abs(ours.detach().numpy() - stored).max() / (stored.std() if std is None else std))


@pytest.mark.parametrize("norm, key_map", [("iabn", "mib"), ("abn", "mib_abn")])
def test_forward_is_the_published_one(norm, key_map):
    model = model_of(device="meta")
    weights = load_map(key_map).apply({name: weight(name, shape) for name, _, shape in names()})
    model.load_state_dict(weights, strict=True, assign=True)
    x = torch.randn(2, 3, 97, 129, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(x.flatten()[:4].numpy(), STORED["input"])
    with torch.no_grad():
        model.eval()
        body = model.backbone(x)
        outputs = model.head(body)
        assert [f.shape[1] for f in body] == [256, 512, 1024, 2048]
        parts = {
            "body": body[-1][:1, ::64][:, :8],
            "pre_logits": outputs["embedding"][:1, ::8][:, :8],
            "logits_sub": resize(outputs["logits"], like=x)[:1, :4, ::8, ::8],
        }
        for name, part in parts.items():
            assert error(part, STORED[f"{norm}/eval/{name}"], STORED[f"{norm}/eval/{name}_std"]) < 2e-4, name
        assert error(outputs["logits"], STORED[f"{norm}/eval/logits_lowres"]) < 2e-4
        # the image branch normalizes two numbers, one of each image, which magnifies rounding: in float64, which is the
        # same on any processor, the stored float32 numbers turn out to be 2.05e-3 and 2.22e-3 off
        model.double().train()
        logits = model.head(model.backbone(x.double()))["logits"]
    assert error(logits, STORED[f"{norm}/train/logits_lowres"]) < 2.3e-3
    for name in ("mean", "var"):
        ours = getattr(model.head.red_bn, f"running_{name}")
        assert error(ours, STORED[f"{norm}/train/running_{name}_head_red_bn"]) < 2e-3


def test_the_two_norms_differ_by_the_epsilon():
    difference = STORED["iabn/eval/logits_lowres"] - STORED["abn/eval/logits_lowres"]
    assert 1e-4 < np.abs(difference).max() < 5e-3


@pytest.mark.parametrize("case", ["4x5_pool32", "6x7_pool4", "7x6_pool3", "6x9_pool(4,5)", "4x4_poolNone"])
def test_head_at_every_window(case):
    pooling = literal_eval(case.partition("pool")[2])
    head = MiBDeepLabHead((8,), 6, channels=6, hidden=5, pooling=pooling)
    own = head.state_dict()
    for name in own:
        if not name.startswith("classifier"):
            own[name] = weight(f"head.{name}", tuple(own[name].shape))
    head.load_state_dict(own)
    x = torch.from_numpy(STORED[f"head/{case}/input"])
    assert error(head.eval()([x])["embedding"], STORED[f"head/{case}/eval"]) < 1e-5
    assert error(head.train()([x])["embedding"], STORED[f"head/{case}/train"]) < 1e-5


def test_window_means_by_hand():
    x = torch.tensor([[1.0, 2.0, 6.0, 9.0]]).view(1, 1, 1, 4)
    assert window_means(x, (1, 3)).flatten().tolist() == pytest.approx([3, 3, 17 / 3, 17 / 3])
    # Of two cells the second lies to the right: the last window is repeated.
    assert window_means(x, (5, 2)).flatten().tolist() == [1.5, 4, 7.5, 7.5]
    assert window_means(x, (5, 5)).flatten().tolist() == [4.5] * 4


def test_in_place_normalization_is_that_of_the_converted_scale():
    x, stored_weight = torch.from_numpy(STORED["iabn_layer/x"]).requires_grad_(), STORED["iabn_layer/weight"]
    assert (stored_weight < 0).any()
    norm = nn.BatchNorm2d(4)
    original = torch.from_numpy(stored_weight).requires_grad_()
    norm.bias.data = torch.from_numpy(STORED["iabn_layer/bias"])
    del norm.weight
    norm.weight = in_place_scale(original)
    y = nn.functional.leaky_relu(norm(x), 0.01)
    assert error(y, STORED["iabn_layer/y"]) < 1e-5
    y.square().sum().backward()
    assert error(x.grad, STORED["iabn_layer/grad_x_of_sum_y2"]) < 1e-3
    assert error(norm.bias.grad, STORED["iabn_layer/grad_bias"]) < 1e-4
    # abs gives 0 at a weight of 0, which in-place ABN counts as positive.
    stored = STORED["iabn_layer/grad_weight"]
    is_zero = stored_weight == 0
    assert error(original.grad[~is_zero], stored[~is_zero], stored.std()) < 1e-4
    for name in ("mean", "var"):
        assert error(getattr(norm, f"running_{name}"), STORED[f"iabn_layer/running_{name}"]) < 1e-5


def test_scales_there_and_back():
    weight = torch.tensor([0.5, -2.0, 0.0])
    scale = in_place_scale(weight)
    assert scale.tolist() == pytest.approx([0.5 + EPS, 2 + EPS, EPS])
    assert in_place_weight(scale).tolist() == pytest.approx([0.5, 2, 0])
    with pytest.raises(ValueError, match="1 of 2 scales are negative"):
        in_place_weight(torch.tensor([1.0, -1.0]))


@pytest.mark.parametrize("source, column", [("mib", 0), ("csseg", 1)])
@pytest.mark.parametrize("norm", ["", "_abn"])
def test_names_match_one_to_one_and_back(source, column, norm):
    shapes = {f"module.{row[column]}": row[2] for row in names()}
    assert len(shapes) == 650
    model = model_of(device="meta")
    report = load_map(source + norm).check(shapes, model.state_dict())
    assert "650 tensors matched, 0 dropped" in report
    older = {name: shape for name, shape in shapes.items() if not name.endswith(COUNTERS)}
    assert len(older) == 543
    assert "650 tensors matched" in load_map(source + norm).check(older, model.state_dict())
    theirs = {name: weight(names()[i][0], shape) for i, (name, shape) in enumerate(shapes.items()) if len(shape) < 4}
    ours = load_map(source + norm).apply(theirs)
    content = export(ours, source + norm)
    again = content[{"mib": "model_state", "csseg": "segmentor"}[source]]
    assert list(again) == list(theirs)
    assert all(torch.allclose(again[name], value, atol=1e-6) for name, value in theirs.items())


def test_one_step_has_a_plain_classifier():
    shapes = {f"module.{mib}": shape for mib, _, shape in names() if not mib.startswith("cls.1")}
    model = model_of("model.grown=[]", device="meta")
    assert sizes_of(model) == (16,) and "head.classifier.weight" in model.state_dict()
    load_map("mib").check(shapes, model.state_dict())
    back = export(model.state_dict(), "mib_abn")["model_state"]
    assert set(back) == set(shapes)
    with pytest.raises(ConfigError, match="left over"):
        load_map("mib").check(shapes | {"module.cls.1.weight": (5, 256, 1, 1)}, model.state_dict())


def test_parameter_count():
    assert sum(p.numel() for p in model_of(device="meta").parameters()) == 58_040_661


def test_convert_command_both_ways(tmp_path, capsys):
    small = [
        "num_classes=3",
        "model.type=GrowingSegmentor",
        "model.grown=[2]",
        "model.backbone.depth=18",
        "model.head.hidden=4",
        "model.head.channels=4",
    ]
    model = build_model(load_config(CONFIG, small)["model"])
    checkpoint.save(tmp_path / "own.pt", {"model": model.state_dict()})
    assert convert([str(tmp_path / "own.pt"), str(tmp_path / "mib.pth"), "--to", "mib"]) == 0
    file = torch.load(tmp_path / "mib.pth", weights_only=True)
    assert "module.body.mod2.block1.convs.conv1.weight" in file["model_state"]
    done = convert(
        [
            str(tmp_path / "mib.pth"),
            str(tmp_path / "back.pt"),
            "--from",
            "mib",
            "--config",
            str(CONFIG),
            "--cfg-options",
            *small,
        ]
    )
    assert done == 0, capsys.readouterr()
    back = checkpoint.read(tmp_path / "back.pt")["model"]
    assert all(torch.allclose(back[name], value, atol=1e-6) for name, value in model.state_dict().items())
    assert convert([str(tmp_path / "own.pt"), str(tmp_path / "x"), "--to", "mibb"]) != 0
    assert "did you mean 'mib'" in capsys.readouterr().err


@pytest.mark.parametrize("output_stride, dilations", [(16, (1, 1, 1, 2)), (8, (1, 1, 2, 4))])
def test_strides_and_dilations(output_stride, dilations):
    body = ABNResNet(50, output_stride=output_stride)
    assert body.strides == {16: (4, 8, 16, 16), 8: (4, 8, 8, 8)}[output_stride]
    for stage, dilation in zip((body.mod2, body.mod3, body.mod4, body.mod5), dilations):
        assert {block.convs.conv2.dilation[0] for block in stage} == {dilation}
    with torch.no_grad():
        maps = body.eval()(torch.zeros(1, 3, 65, 97))
    assert [tuple(f.shape[2:]) for f in maps] == [(-(-65 // s), -(-97 // s)) for s in body.strides]


def test_pretrained_weights_are_converted(tmp_path):
    published = {f"module.{name}": value for name, value in ABNResNet(18).state_dict().items()}
    published |= {
        "module.mod1.bn1.weight": torch.full((64,), -0.5),
        "module.classifier.fc.weight": torch.zeros(10, 512),
    }
    torch.save({"state_dict": published}, tmp_path / "resnet18_iabn_sync.pth.tar")
    body = ABNResNet(18, pretrained=tmp_path / "resnet18_iabn_sync.pth.tar")
    assert body.mod1.bn1.weight.tolist() == pytest.approx([0.5 + EPS] * 64)
    assert body.mod5.block1.proj_bn.weight.tolist() == pytest.approx([1 + EPS] * 512)
    plain = ABNResNet(18, pretrained=tmp_path / "resnet18_iabn_sync.pth.tar", in_place=False)
    assert plain.mod1.bn1.weight.tolist() == [-0.5] * 64
    with pytest.raises(ConfigError, match=r"backbone.depth = 20: must be one of 18, 34"):
        ABNResNet(20)
    with pytest.raises(ConfigError, match="give the path of a file"):
        ABNResNet(18, pretrained=True)
