"""Key maps that write: published names there and back are the same, and other networks are refused."""

import pytest
import torch

from segkit.cli.main import main
from segkit.config import load_config
from segkit.convert.invert import back, source_of, undos
from segkit.convert.keymap import KeyMap, all_maps, export
from segkit.convert.maps.box2mask import merge_order, unfold_order
from segkit.engine import checkpoint
from segkit.readers.torch_file import read_torch
from segkit.registry import ConfigError, build_model
from tests.oracles import ROOT, fixture

NETWORKS = {
    "fcn_r50-d8": ("mmseg", "mmseg", "fcn_r50"),
    "pspnet_r50-d8": ("mmseg", "mmseg", "pspnet_r50"),
    "deeplabv3_r50-d8": ("mmseg", "mmseg", "deeplabv3_r50"),
    "deeplabv3plus_r50-d8": ("mmseg", "mmseg", "deeplabv3plus_r50"),
    "fpn_r50": ("mmseg", "mmseg_context", "semfpn_r50"),
    "upernet_r50": ("mmseg", "mmseg_context", "upernet_r50"),
    "fast_scnn": ("mmseg", "mmseg_fast_scnn", "fast_scnn"),
    "bisenetv1_r18-d32": ("mmseg", "mmseg_bisenet", "bisenet_r18"),
    "fcn_hr18": ("mmseg", "mmseg_hrnet", "fcn_hr18"),
    "upernet_swin-t": ("modern", "mmseg_swin", "upernet_swin-t"),
    "upernet_convnext-t": ("modern", "mmseg_convnext", "upernet_convnext-t"),
    "upernet_deit-s16": ("modern", "mmseg_vit", "upernet_deit-s16"),
    "upernet_deit-s16-ln-mln": ("modern", "mmseg_vit", "upernet_vit-b16_ln-mln"),
    "poolformer_s12_fpn": ("modern", "mmseg_poolformer", "semfpn_poolformer_s12"),
    "setr_vit-l_pup": ("modern", "mmseg_setr", "setr_pup_vit-l"),
}
"""Fixture -> its folder, key map, config of the network."""


@pytest.mark.parametrize("name", NETWORKS)
def test_published_names_there_and_back(name):
    topic, key_map, config = NETWORKS[name]
    keymap = all_maps()[key_map]
    names = fixture(topic, name)[0]["names"]
    kept = {key: shape for key, shape in names.items() if keymap.rename(key)[0] is not None}
    # one number in place of each tensor, which takes no memory
    weights = {key: torch.full((), float(k + 1)).expand(tuple(shape)) for k, (key, shape) in enumerate(kept.items())}
    ours = keymap.apply(weights)
    model = load_config(ROOT / f"configs/_base_/models/{config}.py", ["num_classes=19"])["model"]
    again = export(ours, key_map, model)["state_dict"]
    assert again.keys() == weights.keys()
    for key, value in weights.items():
        assert again[key].shape == value.shape and again[key].flatten()[-1] == value.flatten()[-1], key


def test_every_map_that_writes_is_tried():
    assert {key for key, keymap in all_maps().items() if keymap.writes} == {row[1] for row in NETWORKS.values()}


def test_orders_of_merged_cells_are_inverse():
    value = torch.arange(24.0).view(2, 12)
    assert torch.equal(unfold_order(merge_order(value)), value)
    assert not torch.equal(merge_order(value), value)


def test_rules_are_undone():
    rules = ((r"^a\.(?:b|cc)\.(\d)\.", r"x.\1."), (r"\.old\.", ".new."), (r"^skip\.", None), (r"^a\.(?!z)", "rest."))
    keymap = KeyMap("source", rules)
    assert source_of("x.3.new.w", keymap, several=False) == "a.b.3.old.w"
    assert source_of("rest.q", keymap, several=False) == "a.q"
    assert source_of("head.q", keymap, several=False) is None
    assert undos(r"^a[01]\.", "b.") == () and undos(r"^a\.(\d)\.", "b.") == ()


def test_what_cannot_be_undone_is_refused():
    doubled = KeyMap("source", ((r"^a\.", "b.", torch.neg),))
    with pytest.raises(ConfigError, match="source: neg cannot be undone"):
        back({"b.w": torch.ones(1)}, doubled)
    with pytest.raises(ConfigError, match=r"source: the name head\.w cannot be turned back"):
        back({"head.w": torch.ones(1)}, KeyMap("source", ()))


def test_the_command_writes_what_loads_again(tmp_path, capsys):
    options = ["num_classes=3", "model.backbone.options={'layers': (1, 1, 1, 1)}", "model.backbone.pretrained=None"]
    cfg = load_config(ROOT / "configs/_base_/models/upernet_r50.py", [*options, "model.head.channels=8"])
    torch.manual_seed(0)
    net = build_model(cfg["model"])
    checkpoint.save(tmp_path / "own.pt", {"model": net.state_dict(), "config": {"model": dict(cfg["model"])}})
    line = ["convert", str(tmp_path / "own.pt"), str(tmp_path / "theirs.pth")]
    assert main([*line, "--to", "mmseg_context"]) == 0
    stored = read_torch(tmp_path / "theirs.pth")["state_dict"]
    assert {"backbone.stem.0.weight", "decode_head.fpn_bottleneck.conv.weight", "auxiliary_head.conv_seg.bias"} <= set(
        stored
    )
    again = all_maps()["mmseg_context"].apply(stored)
    assert all(torch.equal(value, again[key]) for key, value in net.state_dict().items())
    assert main([*line, "--to", "mmseg"]) != 0
    assert "--to mmseg: writes FCNHead, PSPHead" in capsys.readouterr().err
    assert main([*line, "--to", "mmseg_contxt"]) != 0
    assert "did you mean 'mmseg_context'" in capsys.readouterr().err
