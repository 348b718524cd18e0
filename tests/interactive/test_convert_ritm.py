"""Official files of RITM: their description becomes a config, their tensors weights; whatever is unknown is said."""

import copy

import pytest
import torch

from segkit import api
from segkit.cli.main import main
from segkit.convert.keymap import load_map
from segkit.convert.ritm_file import is_official, model_section
from segkit.engine import checkpoint
from segkit.engine.setup import initialise
from segkit.registry import build_model
from tests.interactive.ritm import TINY, inputs, networks

HRNET, DEEPLAB = "isegm.model.is_hrnet_model.HRNetModel", "isegm.model.is_deeplab_model.DeeplabModel"


def described(path: str, **values) -> dict:
    """The description of a network whose trainer gave these arguments."""
    entries = {name: {"type": "builtin", "value": value, "specified": True} for name, value in values.items()}
    return {"class": path, "params": entries}


@pytest.fixture(scope="module")
def tiny() -> dict:
    return torch.load(TINY, weights_only=True)


@pytest.fixture
def write(tmp_path):
    def save(content, name="official.pth"):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return save


@torch.inference_mode()
def test_an_official_file_loads_as_it_is(tiny):
    model = api.load_model(None, TINY)
    assert model.classes == ("background", "object") and not model.training
    # Keys, half precision and a nested part of the map, by hand.
    stored = tiny["state_dict"]["feature_extractor.ocr_distri_head.object_context_block.f_pixel.2.weight"]
    own = model.head.relation.query[1].conv.weight
    assert own.dtype == torch.float32 and torch.equal(own, stored.float())
    assert model.config["model"]["backbone"] == dict(
        type="HRNet",
        width=4,
        num_modules=(1, 3, 2),
        num_blocks=2,
        fuse_upsample="bilinear_corners",
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
    )
    image, clicks, previous = inputs()
    found = model.probabilities(image, clicks, previous)
    assert found.shape == (2, 1, 96, 128) and found.isfinite().all()


def test_converts_without_a_config(tmp_path, capsys):
    first = api.load_model(None, TINY).state_dict()
    for name in ("out.pt", "out.safetensors"):
        assert main(["convert", str(TINY), str(tmp_path / name), "--from", "ritm"]) == 0
        assert "929 tensors matched" in capsys.readouterr().out
        again = api.load_model(None, tmp_path / name)
        assert again.config["runner"] == {"type": "Interactive"} and list(again.classes) == ["background", "object"]
        assert all(torch.equal(value, first[key]) for key, value in again.state_dict().items())


def test_every_known_description_names_its_network():
    keys = load_map("ritm")
    for name, variant in networks().items():
        if name in ("hrnet32_itermask", "r101_dh256"):
            continue  # only wider and deeper than others here
        with torch.device("meta"):
            model = build_model(model_section(variant["config"]))
        assert f"{len(variant['shapes'])} tensors matched" in keys.check(variant["shapes"], model.state_dict())


def test_defaults_of_old_files():
    section = model_section(described(HRNET))
    guide = {key: section[key] for key in ("scheme", "encoding", "norm_radius", "previous_mask", "leaky", "groups")}
    assert guide == dict(
        scheme="DMF", encoding="distance", norm_radius=260, previous_mask=False, leaky=False, groups=()
    )
    assert section["backbone"]["width"] == 48 and section["head"]["ocr_width"] == 256
    assert "num_blocks" not in section["backbone"]
    section = model_section(described(DEEPLAB))
    assert section["backbone"]["name"] == "resnet50s" and section["backbone"]["output_stride"] == 8
    assert section["head"] == {"type": "ClickDeepLabHead", "channels": 256, "dropout": 0.5}


def test_arguments_become_ours():
    values = dict(use_rgb_conv=False, conv_extend=True, use_disks=True, norm_radius=3, clicks_groups=[4, 6])
    values |= dict(binary_prev_mask=True, with_prev_mask=True, norm_mean_std=([0.5] * 3, [0.2, 0.2, 0.4]))
    section = model_section(described(DEEPLAB, backbone="resnet101", aspp_dropout=0.0, **values))
    assert (section["scheme"], section["encoding"], section["radius"], section["groups"]) == (
        "Conv1E",
        "disks",
        3,
        (4, 6),
    )
    assert section["previous_mask"] and section["binary_previous"]
    backbone = section["backbone"]
    assert (backbone["name"], backbone["mean"], backbone["std"]) == ("resnet101s", (127.5,) * 3, (51.0, 51.0, 102.0))
    assert section["head"]["dropout"] == 0.0


def test_what_nobody_asked_for_may_be_unknown():
    config = described(HRNET, width=18)
    config["params"] |= {"later": {"type": "builtin", "value": 7, "specified": False}}
    config["params"] |= described(HRNET, backbone_lr_mult=1.0, cpu_dist_maps=True, with_aux_output=False)["params"]
    config["params"]["norm_layer"] = {"type": "class", "value": "torch.nn.BatchNorm2d", "specified": False}
    assert model_section(config) == model_section(described(HRNET, width=18))


@pytest.mark.parametrize(
    "config, message",
    [
        (described(HRNET, ocr_widht=48), r"params\.ocr_widht = 48: no such argument .* did you mean 'ocr_width'"),
        (
            described(HRNET, pipeline="s2"),
            r"params\.pipeline = 's2': no such argument of RITM's networks; available: use",
        ),
        (described(HRNET, deeplab_ch=128), r"params\.deeplab_ch"),
        (described("isegm.is_vit_model.ViT"), r"class = 'isegm\.is_vit_model\.ViT': is none of RITM's networks"),
        (described(DEEPLAB, backbone="resnet18"), r"params\.backbone = 'resnet18': must be one of resnet34, resnet50"),
        (described(HRNET, norm_layer="torch.nn.GroupNorm"), r"params\.norm_layer = 'torch\.nn\.GroupNorm': only batch"),
        (described(HRNET, norm_mean_std=3), r"params\.norm_mean_std = 3: must be \(mean"),
        ({"class": HRNET, "params": {"width": 18}}, r"params\.width: holds no value"),
        ({"class": HRNET, "params": [1]}, r"params: is a list"),
    ],
)
def test_what_is_unknown_or_damaged_is_said(config, message, write):
    with pytest.raises(checkpoint.CheckpointError, match=rf"official\.pth: config\.{message}"):
        checkpoint.read(write({"state_dict": {"w": torch.ones(1)}, "config": config}))


def test_files_of_others(tiny, tmp_path, write, capsys):
    plain = write({"state_dict": {"w": torch.ones(2)}}, "plain.pth")
    assert main(["convert", str(plain), str(tmp_path / "out.pt"), "--from", "ritm"]) == 2
    assert "plain.pth: does not describe its network, as files of RITM" in capsys.readouterr().err
    (tmp_path / "cut.pth").write_bytes(TINY.read_bytes()[:500_000])
    assert main(["convert", str(tmp_path / "cut.pth"), str(tmp_path / "out.pt"), "--from", "ritm"]) == 2
    assert "cut.pth: is damaged, it was cut off" in capsys.readouterr().err
    other = write(
        tiny
        | {
            "config": tiny["config"]
            | {"params": tiny["config"]["params"] | described(HRNET, with_prev_mask=False)["params"]}
        }
    )
    with pytest.raises(
        checkpoint.CheckpointError, match=r"official\.pth: does not fit this model.*1 have another shape"
    ):
        api.load_model(None, other)
    with pytest.raises(checkpoint.CheckpointError, match=r"official\.pth: state_dict: holds no tensors"):
        checkpoint.read(write(tiny | {"state_dict": {}}))
    assert not (tmp_path / "out.pt").exists()


class Evil:
    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('executed').touch()",))


def test_nothing_of_the_file_is_executed(tiny, write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(checkpoint.CheckpointError, match="would execute code"):
        checkpoint.read(write(tiny | {"extra": Evil()}))
    assert not (tmp_path / "executed").exists()


def stages(tiny: dict, count: int) -> list[dict]:
    """The same network with another last bias in each stage."""
    found = [copy.deepcopy(tiny) for _ in range(count)]
    for i, stage in enumerate(found):
        stage["state_dict"]["feature_extractor.cls_head.bias"] += i
    return found


@torch.inference_mode()
def test_each_of_several_stages_answers_its_click(tiny, write):
    image, _, previous = inputs()
    model = api.load_model(None, write(stages(tiny, 3)))
    assert [list(model.stages).index(model.stage(n)) for n in range(6)] == [0, 0, 1, 2, 2, 2]
    # 1 and 4 clicks: the first stage, and the last.
    clicks = torch.full((2, 6, 3), -1.0)
    clicks[0, 0], clicks[1, [0, 1, 3, 4]] = torch.tensor([10.0, 10, 0]), torch.tensor([20.0, 30, 0])
    logits = model(image, clicks, previous)["logits"]
    alone = api.load_model(None, TINY)
    expected = alone.probabilities(image, clicks, previous).logit()
    assert torch.allclose(logits[0], expected[0], atol=1e-3) and torch.allclose(logits[1], expected[1] + 2, atol=1e-3)


def test_a_damaged_stage_is_named(tiny, write):
    found = stages(tiny, 2)
    found[1]["config"] = described(HRNET, widht=4)
    with pytest.raises(checkpoint.CheckpointError, match=r"stage 1: config\.params\.widht = 4"):
        checkpoint.read(write(found))
    assert not is_official([]) and not is_official([tiny, {"state_dict": {}}])


def test_the_file_is_right_about_its_network(tmp_path):
    (tmp_path / "evaluate.py").write_text("""
model = dict(num_classes=2, backbone=dict(type="tests.tiny:TinyBackbone"), head=dict(type="tests.tiny:TinyHead"))
inference = dict(threshold=0.3)
""")
    model = api.load_model(tmp_path / "evaluate.py", TINY)
    assert model.config["inference"]["threshold"] == 0.3 and model.config["model"]["backbone"]["width"] == 4
    options = ("model.radius=3", "inference.threshold=0.4")
    model = api.load_model(tmp_path / "evaluate.py", TINY, options=options)
    assert model.radius == 3 and model.config["inference"]["threshold"] == 0.4
    assert api.load_model(None, TINY, options=options).radius == 3


def test_training_starts_from_an_official_file(tiny):
    model = build_model(model_section(tiny["config"]))
    assert "929 tensors loaded" in initialise(model, dict(path=str(TINY)))
    assert torch.equal(model.head.classifier.bias, tiny["state_dict"]["feature_extractor.cls_head.bias"].float())
