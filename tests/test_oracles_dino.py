"""DINOv2 and DINOv3 under Hugging Face's names give its outputs; files of other names fit, too."""

import numpy as np
import pytest
import torch
from torch import Tensor

from segkit.convert.find_map import fit
from segkit.convert.keymap import load_map
from segkit.models.bases import Network
from segkit.registry import build_model
from tests.oracles import fixture, image
from tests.test_oracles_modern import CASES, weights_of

VIT = dict(type="Timm", out_indices=(0, 11), final_norm=True)
BACKBONES = {
    "hf_dinov2-s": ("hf_dinov2", VIT | dict(name="vit_small_patch14_dinov2"), "P"),
    "hf_dinov3-s": ("hf_dinov3", VIT | dict(name="vit_small_patch16_dinov3_qkvb"), "A"),
    "hf_dinov3-convnext-t": (
        "hf_dinov3_convnext",
        dict(type="Timm", name="convnext_tiny", norm_levels=(-1,)),
        "A",
    ),
}


def model(backbone: dict) -> Network:
    return build_model(dict(num_classes=2, backbone=backbone, head=dict(type="LinearHead")))


def others(net: Network) -> tuple[str, ...]:
    return tuple(name for name in net.state_dict() if not name.startswith("backbone."))


@torch.inference_mode()
@pytest.mark.parametrize("name", BACKBONES)
def test_the_last_map_is_hugging_faces(name):
    key_map, backbone, case = BACKBONES[name]
    content, stored = fixture("modern", name)
    weights = weights_of(content["names"])
    for key in [key for key in weights if key.endswith("register_tokens")]:
        weights[key] *= 0.5 * np.sqrt(np.prod(weights[key].shape[1:]))  # made as a visible embedding
    net = model(backbone)
    found = fit(weights, net, drop=others(net))
    assert found.name == key_map
    net.load_state_dict(found.apply(), strict=False)
    feature = net.eval().backbone(image(*CASES[case]))[-1]
    entry = content["outputs"][f"{case}/last"]
    tokens = feature.flatten(2).transpose(1, 2)
    prefix = entry["shape"][1] - tokens.shape[1]
    whole = torch.cat([tokens.new_full((1, prefix, tokens.shape[2]), torch.nan), tokens], 1)
    _, rows, columns = entry["slice"].strip("[]").split(",")
    ours = whole[:, slice_of(rows), slice_of(columns)].numpy()
    patches = ~np.isnan(ours)
    assert patches.mean() > 0.7
    assert np.abs(ours - stored[f"{case}/last"])[patches].max() < content["tolerance"] * entry["std"]


def slice_of(text: str) -> slice:
    return slice(*(int(part) if part.strip() else None for part in text.split(":")))


def test_registers_take_the_class_tokens_position_over():
    """The authors' and Hugging Face's table has a row for the class token, timm's has none."""
    net = model(dict(type="Timm", name="vit_small_patch14_reg4_dinov2", out_indices=(11,), final_norm=True))
    state = {n.removeprefix("backbone.encoder.model."): v for n, v in net.state_dict().items() if "backbone" in n}
    theirs: dict[str, Tensor] = {n: v.clone() for n, v in state.items() if n not in ("reg_token", "pos_embed")}
    theirs["register_tokens"], theirs["mask_token"] = state["reg_token"], torch.zeros(1, 384)
    theirs["pos_embed"] = torch.cat([torch.full((1, 1, 384), 2.0), state["pos_embed"]], 1)
    found = fit(theirs, net, drop=others(net))
    renamed = found.apply()
    assert found.name == "dinov2"
    assert torch.equal(renamed["backbone.encoder.model.cls_token"], state["cls_token"] + 2)
    assert torch.equal(renamed["backbone.encoder.model.pos_embed"], state["pos_embed"])
    of_timm = fit(state, net, drop=others(net)).apply()
    assert torch.equal(of_timm["backbone.encoder.model.cls_token"], state["cls_token"])


def test_biases_of_dinov3s_authors_are_split():
    weights = {
        "blocks.0.attn.qkv.bias": torch.arange(6.0),
        "blocks.0.ls1.gamma": torch.ones(2),
        "storage_tokens": torch.ones(1),
    }
    renamed = load_map("dinov3").apply(weights)
    block = "backbone.encoder.model.blocks.0."
    assert renamed.keys() == {
        f"{block}attn.q_bias",
        f"{block}attn.v_bias",
        f"{block}gamma_1",
        "backbone.encoder.model.reg_token",
    }
    assert renamed[f"{block}attn.q_bias"].tolist() == [0, 1] and renamed[f"{block}attn.v_bias"].tolist() == [4, 5]


def test_the_linear_head_of_four_blocks():
    """Its width is that of four maps; the bias starts at 0."""
    backbone = dict(type="Timm", name="test_vit", out_indices=(2, 3, 4, 5), final_norm=True)
    net = build_model(dict(num_classes=3, backbone=backbone, head=dict(type="LinearHead", level=(-4, -3, -2, -1))))
    assert net.head.classifier.weight.shape == (3, 256, 1, 1) and not net.head.classifier.bias.any()
    published = {"decode_head.conv_seg.weight": net.head.classifier.weight, "decode_head.conv_seg.bias": torch.ones(3)}
    published |= {f"decode_head.bn.{name}": value for name, value in net.head.norm.state_dict().items()}
    encoder = tuple(name for name in net.state_dict() if name.startswith("backbone."))
    assert fit(published, net, drop=encoder).name == "dinov2_head"
