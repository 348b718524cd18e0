"""Official files of SimpleClick and SegNext: descriptions become configs, objects in them are never made."""

import copy

import pytest
import torch
from torch import Tensor

from segkit import api
from segkit.cli.main import main
from segkit.convert.plainvit_file import CLASS, is_official, read_official
from segkit.engine import checkpoint
from segkit.registry import ConfigError, build_model

MADE: list[str] = []


def made() -> dict:
    MADE.append("a loss")
    return {}


class CrossEntropyLoss:
    """Leaves a trace where a file's objects are made."""

    def __reduce__(self):
        return made, ()


BACKBONE = dict(
    img_size=(32, 48), patch_size=(8, 8), in_chans=3, embed_dim=8, depth=4, num_heads=2, mlp_ratio=4, qkv_bias=True
)
NECK = dict(in_dim=8, out_dims=[4, 4, 4, 4])
HEAD = dict(in_channels=[4, 4, 4, 4], in_index=[0, 1, 2, 3], dropout_ratio=0.1, num_classes=1, align_corners=False)
NAMES = (
    ("guide.conv.", "patch_embed_coords.proj."),
    ("backbone.patch_embed.", "backbone.patch_embed.proj."),
    ("backbone.encoder.blocks.", "backbone.blocks."),
    *((f"neck.levels.{i}.", f"neck.down_{4 * 2**i}.") for i in range(4)),
    ("head.projections.", "head.convs."),
    ("head.fuse.conv.", "head.fusion_conv.conv."),
    ("head.doublings.0.", "head.up_conv1."),
    ("head.doublings.1.", "head.up_conv2."),
    ("head.classifier.", "head.conv_seg."),
)
LATE = (
    ("guide.conv.", "visual_prompts_encoder.proj."),
    ("fusion.blocks.", "fusion_blocks."),
    ("head.classifier.", "head.seg_conv."),
    *NAMES,
)


def described(**params) -> dict:
    entries = {name: {"type": "builtin", "value": value, "specified": True} for name, value in params.items()}
    return {"class": CLASS, "params": entries}


def simpleclick(upsample: str = "x1", **own) -> dict:
    """A description as SimpleClick's trainer writes it, with the loss as an object."""
    head = dict(HEAD, channels=8, upsample=upsample, loss_decode=CrossEntropyLoss())
    common = dict(use_disks=True, norm_radius=5, with_prev_mask=True, random_split=False, with_aux_output=False)
    return described(**(common | dict(backbone_params=BACKBONE, neck_params=NECK, head_params=head) | own))


def segnext(kind: str = "self_attention", depth: int = 2, **own) -> dict:
    head = {key: value for key, value in HEAD.items() if key != "in_index"}
    head |= dict(in_select_index=[0, 1, 2, 3], out_channels=8)
    fusion = dict(type=kind, depth=depth, params=dict(dim=8, num_heads=4, mlp_ratio=4, qkv_bias=True))
    backbone = dict(BACKBONE, global_atten_freq=3, img_size=(32, 32))
    parts = dict(backbone_params=backbone, neck_params=NECK, head_params=head, fusion_params=fusion)
    return described(use_disks=True, norm_radius=5, cpu_dist_maps=False, **(parts | own))


def official(config: dict) -> tuple[dict, dict[str, Tensor]]:
    """An official file of a network, and its tensors by segkit's names."""
    content = {"config": config, "state_dict": {"w": torch.ones(1)}}
    with torch.device("cpu"):
        torch.manual_seed(0)
        model = build_model(read_official(content)["config"]["model"])
    own = {key: torch.randn_like(value) for key, value in model.state_dict().items()}
    state = {}
    for key, value in own.items():
        for ours, theirs in LATE if "fusion_params" in config["params"] else NAMES:
            if key.startswith(ours):
                key = theirs + key.removeprefix(ours)
                break
        state[key] = value
    table = state["backbone.pos_embed"]
    state["backbone.pos_embed"] = torch.cat([torch.zeros(1, 1, table.shape[2]), table], 1)
    state |= {"backbone.fc_norm.weight": torch.ones(8), "backbone.fc_norm.bias": torch.ones(8)}
    if "fusion_params" not in config["params"]:
        state |= {"backbone.cls_token": torch.ones(1, 1, 8), "backbone.head.weight": torch.ones(9, 8)}
        for i in (1, 2):
            state.setdefault(f"head.up_conv{i}.0.weight", torch.ones(1))
    return {"config": config, "state_dict": state}, own


@pytest.fixture
def write(tmp_path):
    def save(content: dict, name: str = "official.pth"):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return save


@pytest.mark.parametrize("upsample, factor", [("x1", 1), ("x2", 2), ("x4", 4)])
def test_a_file_of_simpleclick_loads_as_it_is(write, upsample, factor):
    content, own = official(simpleclick(upsample))
    MADE.clear()
    model = api.load_model(None, write(content))
    assert MADE == [], "nothing of the file is executed"
    state = model.state_dict()
    assert state.keys() == own.keys() and all(torch.equal(state[key], value) for key, value in own.items())
    section = model.config["model"]
    assert section["type"] == "ClickSegmentor" and section["scheme"] == "Patch" and section["previous_mask"]
    assert (section["encoding"], section["radius"]) == ("disks", 5)
    expected = dict(type="PlainViT", width=8, depth=4, heads=2, patch_size=8, img_size=(32, 48), global_every=1)
    assert {key: section["backbone"][key] for key in expected} == expected
    assert section["head"] == dict(type="SimpleClickHead", channels=8 * factor, upsample=factor, dropout=0.1)
    assert model.config["inference"]["clicks"] == {"zoom": {"target": (32, 48), "skip": -1}}
    assert model.classes == ("background", "object") and not model.training
    predictor = api.click_predictor(model)
    predictor.set_image(torch.zeros(40, 30, 3, dtype=torch.uint8).numpy())
    assert predictor.click(20, 10).shape == (40, 30)
    assert predictor._session.look.view.input_size == (32, 48)


@pytest.mark.parametrize(
    "kind, depth, fusion",
    [
        ("self_attention", 2, dict(fusion="self", fusion_depth=2, fusion_heads=4)),
        ("naive", 2, dict(fusion="self", fusion_depth=0)),
        ("cross_attention", 1, dict(fusion="cross", fusion_depth=1, fusion_heads=4, fusion_target_norm=False)),
    ],
)
def test_a_file_of_segnext_loads_as_it_is(write, kind, depth, fusion):
    content, own = official(segnext(kind, depth))
    model = api.load_model(None, write(content))
    state = model.state_dict()
    assert state.keys() == own.keys() and all(torch.equal(state[key], value) for key, value in own.items())
    section = model.config["model"]
    assert section["type"] == "LateClickSegmentor"
    assert {key: value for key, value in section.items() if key.startswith("fusion")} == fusion
    assert section["backbone"]["global_every"] == 3 and model.backbone.is_global == [False, False, True, True]
    clicks = model.config["inference"]["clicks"]
    assert clicks == {"zoom": {"target": (32, 32), "squash": True}, "flip": False}


def test_files_convert_without_a_config(write, tmp_path, capsys):
    for name, config in (("simpleclick", simpleclick()), ("segnext_clicks", segnext())):
        content, own = official(config)
        path, out = write(content, f"{name}.pth"), tmp_path / f"{name}.pt"
        assert main(["convert", str(path), str(out), "--from", name]) == 0
        assert f"{len(own)} tensors matched" in capsys.readouterr().out
        again = api.load_model(None, out)
        assert all(torch.equal(value, own[key]) for key, value in again.state_dict().items())
        assert again.config["inference"]["clicks"]["zoom"]


@pytest.mark.parametrize(
    "config, message",
    [
        (simpleclick("x3"), r"head_params\.upsample = 'x3': must be one of x1, x2, x4"),
        (simpleclick(random_split=True), r"params\.random_split = True: only False is known"),
        (simpleclick(heads=3), r"params\.heads = 3: no such argument"),
        (simpleclick(backbone_params=dict(BACKBONE, embed_dmi=3)), r"backbone_params\.embed_dmi = 3: .*'embed_dim'"),
        (simpleclick(backbone_params=dict(BACKBONE, depth=2.5)), r"depth = 2\.5: must be a whole number"),
        (simpleclick(backbone_params=dict(BACKBONE, patch_size=(8, 4))), r"patch_size = \(8, 4\): only square"),
        (simpleclick(backbone_params=dict(BACKBONE, mlp_ratio=2)), r"mlp_ratio = 2: only 4 is known"),
        (simpleclick(neck_params=[4]), r"neck_params: is a list, must be a dict"),
        (segnext("sum"), r"fusion_params\.type = 'sum': must be one of naive, self_attention, cross_attention"),
        (segnext(fusion_params=3), r"fusion_params = 3: must be a dict"),
        (segnext(["a"]), r"fusion_params\.type = \['a'\]: must be one of"),
        (simpleclick(norm_radius="x" * 999), r"norm_radius = 'x{1,80}.*: must be a number above 0"),
        (simpleclick(neck_params=dict(NECK, out_dims=[4])), r"out_dims = \[4\]: must be four widths"),
        (segnext(depth=0), r"fusion_params\.depth = 0: must be a whole number"),
        ({"class": CLASS, "params": {"use_disks": True}}, r"params\.use_disks: holds no value"),
        ({"class": CLASS, "params": [1]}, r"params: is a list"),
    ],
)
def test_what_is_unknown_or_damaged_is_said(config, message, write):
    path = write({"state_dict": {"w": torch.ones(1)}, "config": copy.deepcopy(config)})
    MADE.clear()
    with pytest.raises(checkpoint.CheckpointError, match=rf"official\.pth: config\..*{message}"):
        checkpoint.read(path)
    assert MADE == []


def test_objects_in_files_of_others_are_still_refused(write):
    with pytest.raises(checkpoint.UnknownObjects, match="would execute code"):
        checkpoint.read(write({"state_dict": {"w": torch.ones(1)}, "loss": CrossEntropyLoss()}))
    assert not is_official({"config": {"class": "isegm.model.is_hrnet_model.HRNetModel", "params": {}}})
    assert not is_official([1])
    with pytest.raises(ConfigError, match="state_dict: holds no tensors"):
        read_official({"config": simpleclick(), "state_dict": {}})
