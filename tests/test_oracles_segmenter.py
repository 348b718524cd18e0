"""Segmenter under published weights' names gives mmsegmentation's outputs, at odd sizes too."""

import gzip
import json

import pytest
import torch

from segkit.archs.segmenter import EncoderLayer
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


def test_the_last_layer_of_the_mask_transformer_drops_a_tenth_of_its_paths():
    net = build("segmenter_vit-b_mask", 150, ("model.backbone.pretrained=None",), device="meta")
    assert [layer.drop_path.drop_prob for layer in net.head.layers] == pytest.approx([0, 0.1])


def test_each_branch_of_a_layer_is_dropped_by_itself():
    """At a rate of a half, a quarter of the images keep neither; in evaluation none does."""
    torch.manual_seed(0)
    layer, x = EncoderLayer(8, 2, drop_path=0.5), torch.randn(400, 3, 8)
    unchanged = (layer(x) == x).flatten(1).all(1)
    assert 0.15 < unchanged.float().mean() < 0.35
    assert not (layer.eval()(x) == x).flatten(1).all(1).any()


def test_linear_layers_start_without_biases():
    net = build("segmenter_vit-t_mask", 3, ("model.backbone.pretrained=None",))
    biases = [module.bias for module in net.head.modules() if isinstance(module, torch.nn.Linear)]
    assert not any(bias.any() for bias in biases if bias is not None)
