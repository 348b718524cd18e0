"""Segmenter under published weights' names gives mmsegmentation's outputs, at odd sizes too."""

import gzip
import json

import pytest
import torch

from segkit.convert.find_map import choose
from segkit.convert.keymap import load_map
from segkit.models.layers import resize
from tests.archs_table import build
from tests.oracles import ROOT, fixture, image
from tests.test_oracles_modern import CASES, compare, weights_of


@torch.inference_mode()
def test_outputs_are_mmsegmentations():
    content, stored = fixture("modern", "segmenter_vit-t_mask")
    keys, weights = load_map("mmseg_segmenter"), weights_of(content["names"])
    weights["decode_head.cls_emb"] *= 0.5 * (150 * 192) ** 0.5  # made as a visible embedding
    net = build("segmenter_vit-t_mask", 150, ("model.backbone.pretrained=None",), device="meta").eval()
    keys.check({name: tuple(shape) for name, shape in content["names"].items()}, net.state_dict())
    net.load_state_dict(keys.apply(weights), strict=True, assign=True)
    for case in ("A", "B"):
        x = image(*CASES[case])
        features = net.backbone(x)
        logits = net.head(features)["logits"]
        outputs = {"backbone.0": features[-1], "decode_head": logits, "final": resize(logits, like=x)}
        compare(outputs, case, stored, content)


@pytest.mark.parametrize("model", ["segmenter_vit-s_fcn", "segmenter_vit-b_mask"])
def test_names_of_other_networks(model):
    content = json.loads(gzip.decompress((ROOT / "tests/fixtures/modern" / f"{model}.json.gz").read_bytes()))
    net = build(model, 150, ("model.backbone.pretrained=None",), device="meta")
    assert choose({name: tuple(shape) for name, shape in content["names"].items()}, net)[0] == "mmseg_segmenter"


def test_names_of_the_authors():
    """They multiply rows with the two projections, and the patch embedding has a bias."""
    net = build("segmenter_vit-t_mask", 150, ("model.backbone.pretrained=None",), device="meta")
    shapes = {}
    for name, value in net.state_dict().items():
        for ours, theirs in (
            ("backbone.encoder.model.", "encoder."),
            ("head.class_embedding", "decoder.cls_emb"),
            ("head.project.", "decoder.proj_dec."),
            ("head.patches.weight", "decoder.proj_patch"),
            ("head.classes.weight", "decoder.proj_classes"),
            ("head.norm.", "decoder.decoder_norm."),
            ("head.layers.", "decoder.blocks."),
            (".attention.in_proj_", ".attn.qkv."),
            (".attention.out_proj.", ".attn.proj."),
            (".feed_forward.0.", ".mlp.fc1."),
            (".feed_forward.2.", ".mlp.fc2."),
            ("head.", "decoder."),
        ):
            name = name.replace(ours, theirs)
        shapes[name] = tuple(value.shape)
    shapes |= {"encoder.head.weight": (1000, 192), "encoder.head.bias": (1000,)}
    assert choose(shapes, net)[0] == "segmenter"
    weight = torch.arange(6.0).view(2, 3)
    assert load_map("segmenter").apply({"decoder.proj_patch": weight})["head.patches.weight"].equal(weight.t())
