"""Files by the names of other projects load as they are: the key map is found, or what stands in the way is said."""

import os
import sys
import types
from pathlib import Path

import pytest
import torch
from torch import Tensor

from segkit import api
from segkit.cli.main import main
from segkit.convert.find_map import NoFit, choose, family
from segkit.convert.keymap import load_map
from segkit.engine.checkpoint import CheckpointError
from segkit.engine.setup import initialise
from segkit.readers.python_config import dump
from tests.archs_table import build
from tests.oracles import fixture
from tests.tiny import sections

Shapes = dict[str, tuple[int, ...]]


def shapes_of(weights: dict[str, Tensor]) -> Shapes:
    return {name: tuple(value.shape) for name, value in weights.items()}


def conv_bn(names: tuple[str, str], out: int, inner: int, kernel: int = 1, bias: bool = False) -> Shapes:
    """A convolution and a normalization behind it, by their published names."""
    conv, norm = names
    shapes: Shapes = {f"{conv}.weight": (out, inner, kernel, kernel), f"{norm}.num_batches_tracked": ()}
    shapes |= {f"{norm}.{part}": (out,) for part in ("weight", "bias", "running_mean", "running_var")}
    return shapes | ({f"{conv}.bias": (out,)} if bias else {})


def classifier(name: str, out: int, inner: int) -> Shapes:
    return {f"{name}.weight": (out, inner, 1, 1), f"{name}.bias": (out,)}


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> tuple[dict[str, Tensor], Path]:
    """Weights of a U-Net of segmentation_models on ResNet-34, and the file they lie in."""
    names = fixture("smp", "unet_resnet34")[0]["names"]
    weights = {name: torch.rand(shape) if shape else torch.tensor(0) for name, shape in names.items()}
    path = tmp_path_factory.mktemp("published") / "unet.pth"
    torch.save(weights, path)
    return weights, path


@pytest.fixture
def smp_file(stored) -> tuple[dict, dict[str, Tensor], Path]:
    """The config of that model, its published weights and their file."""
    cfg = sections()
    cfg["model"] = dict(num_classes=11, backbone=dict(type="Timm", name="resnet34"), head=dict(type="UNetHead"))
    cfg["losses"] = cfg["losses"][:1]
    return cfg, *stored


def test_a_published_file_loads_as_it_is(smp_file):
    cfg, weights, path = smp_file
    model = api.load_model(cfg, path)
    expected = load_map("smp_unet").apply(weights)
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    model = api.build_model(cfg["model"])
    report = initialise(model, dict(path=str(path)))
    assert "0 dropped, 0 left fresh; names of segmentation_models, Unet (map 'smp_unet')" in report
    assert torch.equal(model.head.classifier.weight, weights["segmentation_head.0.weight"])


def test_a_start_with_other_classes_drops_the_classifier(smp_file):
    cfg, weights, path = smp_file
    cfg["model"]["num_classes"] = 3
    model = api.build_model(cfg["model"])
    report = initialise(model, dict(path=str(path), drop=["head.classifier."]))
    assert "2 dropped, 2 left fresh" in report
    assert torch.equal(model.backbone.encoder.conv1.weight, weights["encoder.conv1.weight"])
    with pytest.raises(CheckpointError, match=r"nearest is 'smp_unet'.*\n.*2 of another shape: head.classifier.weight"):
        api.load_model(cfg, path)


def test_what_fits_no_map_names_the_nearest_and_the_command(smp_file):
    cfg, _, path = smp_file
    cfg["model"]["head"]["attention"] = "scse"
    with pytest.raises(CheckpointError) as problem:
        api.load_model(cfg, path)
    text = str(problem.value)
    assert "unet.pth: no key map matches" in text and "the nearest is 'smp_unet'" in text
    assert "missing: head.blocks" in text and "segkit convert FILE OUT --from MAP --config CONFIG" in text


def test_objects_of_unknown_classes_are_passed_over_and_classes_read(tmp_path, smp_file):
    cfg, weights, _ = smp_file
    module = types.ModuleType("vanished")

    class Buffer:
        pass

    Buffer.__module__, Buffer.__qualname__ = "vanished", "Buffer"
    module.Buffer = Buffer
    sys.modules["vanished"] = module
    meta = {"dataset_meta": {"CLASSES": ["a"] * 11, "PALETTE": [[1, 2, 3]] * 11}}
    torch.save({"state_dict": weights, "meta": meta, "message_hub": Buffer()}, tmp_path / "hub.pth")
    del sys.modules["vanished"]
    model = api.load_model(cfg, tmp_path / "hub.pth")
    assert torch.equal(model.head.classifier.weight, weights["segmentation_head.0.weight"])
    assert model.classes == ["a"] * 11 and model.palette == [[1, 2, 3]] * 11


def test_the_command_takes_a_project_or_finds_the_map(tmp_path, smp_file, capsys):
    cfg, weights, path = smp_file
    (tmp_path / "own.py").write_text(dump(cfg))
    for words in (["--from", "smp"], []):
        assert main(["convert", str(path), str(tmp_path / "o.pt"), "--config", str(tmp_path / "own.py"), *words]) == 0
        assert f"segmentation_models, Unet: {len(weights)} tensors matched" in capsys.readouterr().out
    assert (
        main(["convert", str(path), str(tmp_path / "o.pt"), "--config", str(tmp_path / "own.py"), "--from", "mmseg"])
        == 2
    )
    assert "no key map matches" in capsys.readouterr().err


def test_an_edit_that_shapes_do_not_show_is_chosen_by_the_model():
    """Four maps side by side are classified deep to shallow there: reversed only for a model that has them so."""
    rows = {"fpn_resnet34": (False, "smp_fpn"), "fpn_resnet34_decoder_merge_policy-cat": (True, "smp_fpn_cat")}
    for name, (concat, key_map) in rows.items():
        names = {key: tuple(shape) for key, shape in fixture("smp", name)[0]["names"].items()}
        options = ("model.backbone.name='resnet34'", f"model.head.concat={concat}")
        assert choose(names, build("fpn_r50", 11, options, device="meta"))[0] == key_map


def test_in_place_norms_are_what_files_of_mib_have():
    assert list(family("mib")) == ["mib"] and list(family("mib_abn")) == ["mib_abn"]
    assert set(family("smp")) > {"smp_unet", "smp_fpn"} and len(family("mmseg")) > 5


def test_two_maps_that_differ_are_not_guessed_between():
    net = build("fpn_r50", 11, ("model.backbone.name='resnet34'",), device="meta")
    names = {key: tuple(shape) for key, shape in fixture("smp", "fpn_resnet34")[0]["names"].items()}
    maps = {"a": load_map("smp_fpn")}
    maps["b"] = type(maps["a"])("b", (*maps["a"].rules, (r"^head\.classifier\.bias$", "head.classifier.bias", abs)))
    with pytest.raises(NoFit, match="a, b all fit, and differ; name one"):
        choose(names, net, maps)


def hrnet_head(width: int) -> Shapes:
    """The authors' last layers for 19 classes, whose convolutions keep a bias."""
    total = 15 * width
    return conv_bn(("last_layer.0", "last_layer.1"), total, total, bias=True) | classifier("last_layer.3", 19, total)


def ocr_head(width: int) -> Shapes:
    total, inner, block = 15 * width, "ocr_distri_head.object_context_block", "ocr_distri_head.conv_bn_dropout"
    shapes = conv_bn(("aux_head.0", "aux_head.1"), total, total, bias=True) | classifier("aux_head.3", 19, total)
    shapes |= conv_bn(("conv3x3_ocr.0", "conv3x3_ocr.1"), 512, total, 3, bias=True) | classifier("cls_head", 19, 512)
    for part in ("f_pixel", "f_object"):
        shapes |= conv_bn((f"{inner}.{part}.0", f"{inner}.{part}.1.0"), 256, 512)
        shapes |= conv_bn((f"{inner}.{part}.2", f"{inner}.{part}.3.0"), 256, 256)
    shapes |= conv_bn((f"{inner}.f_down.0", f"{inner}.f_down.1.0"), 256, 512)
    shapes |= conv_bn((f"{inner}.f_up.0", f"{inner}.f_up.1.0"), 512, 256)
    return shapes | conv_bn((f"{block}.0", f"{block}.1.0"), 512, 1024)


@pytest.mark.parametrize(
    "config, head, key_map",
    [
        ("fcn_hr18", hrnet_head, "hrnet"),
        ("ocrnet_hr18", ocr_head, "hrnet_ocr"),
    ],
)
def test_files_of_the_authors_of_hrnet(config, head, key_map):
    net = build(config, 19, ("model.backbone.pretrained=None",), device="meta")
    names = shapes_of(net.backbone.state_dict()) | head(18)
    published = {f"model.{name}": shape for name, shape in names.items()} | {"loss.criterion.weight": (19,)}
    assert choose(published, net)[0] == key_map


def test_a_bias_before_a_normalization_moves_its_mean():
    own = {
        "last_layer.0.weight": torch.ones(2, 2, 1, 1),
        "last_layer.0.bias": torch.tensor([1.0, 2.0]),
        "last_layer.1.running_mean": torch.tensor([5.0, 5.0]),
    }
    renamed = load_map("hrnet").apply(own)
    assert list(renamed) == ["head.convs.0.conv.weight", "head.convs.0.bn.running_mean"]
    assert renamed["head.convs.0.bn.running_mean"].tolist() == [4.0, 3.0]


def semseg_head(system: str) -> Shapes:
    shapes = conv_bn(("cls.0", "cls.1"), 512, 4096, 3) | classifier("cls.4", 19, 512)
    shapes |= conv_bn(("aux.0", "aux.1"), 256, 1024, 3) | classifier("aux.4", 19, 256)
    if system == "psp":
        for i in range(4):
            shapes |= conv_bn((f"ppm.features.{i}.1", f"ppm.features.{i}.2"), 512, 2048)
        return shapes
    for end in ("", "_p"):
        shapes |= conv_bn((f"psa.reduce{end}.0", f"psa.reduce{end}.1"), 512, 2048)
        shapes |= conv_bn((f"psa.attention{end}.0", f"psa.attention{end}.1"), 512, 512)
        shapes[f"psa.attention{end}.3.weight"] = (97 * 97, 512, 1, 1)
    return shapes | conv_bn(("psa.proj.0", "psa.proj.1"), 2048, 1024)


def in_semseg(name: str) -> str:
    """A tensor of a ResNet with a deep stem -> as semseg numbers it: its stem is one list, the last norm in it."""
    return name.replace("conv1.", "layer0.", 1) if name.startswith("conv1.") else name.replace("bn1.", "layer0.7.", 1)


@pytest.mark.parametrize("system", ["psp", "psa"])
def test_files_of_semseg(system):
    options = (
        "model.backbone.name='resnet50'",
        "model.backbone.deep_stem=64",
        "model.backbone.pretrained=None",
        "model.backbone.contract_dilation=False",
        "model.align_corners=True",
    )
    net = build({"psp": "pspnet_r50", "psa": "psanet_r50"}[system], 19, options, device="meta")
    encoder = shapes_of(net.backbone.encoder.state_dict())
    stem = {in_semseg(name) if not name.startswith("layer") else name: shape for name, shape in encoder.items()}
    assert {"layer0.0.weight", "layer0.6.weight", "layer0.7.running_var"} <= stem.keys()
    assert choose(stem | semseg_head(system), net)[0] == f"semseg_{system}"


@pytest.mark.skipif("SEGKIT_DATA" not in os.environ, reason="SEGKIT_DATA names no folder with weights")
def test_the_released_espnet_loads_as_it_is():
    """A file of a torch whose normalizations had no counters."""
    path = Path(os.environ["SEGKIT_DATA"]) / "weights/espnet_p2_q3_cityscapes.pth"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    cfg = sections()
    cfg["model"] = dict(
        num_classes=20, head=dict(type="ESPHead"), backbone=dict(type="ESPNet", blocks=(2, 3), image_in_first=False)
    )
    model = api.load_model(cfg, path)
    assert model.backbone.stem[1].bn.num_batches_tracked == 0
