"""DPT under segmentation_models' weights gives its names and outputs."""

import pytest
import torch

from segkit.archs.dpt import Fusion
from segkit.convert.keymap import load_map
from segkit.models.layers import resize
from tests.archs_table import build
from tests.oracles import fixture, image
from tests.test_oracles_modern import CASES, compare, weights_of

MODELS = {"smp_dpt_vit-b16": ("dpt_smp_vit-b16", "smp_dpt")}
"""Fixture -> config, key map."""

OPTIONS = ("model.backbone.pretrained=None",)
UNUSED = 21_843 * 769 + 2 * 768
"""Parameters of the encoder's classifier and last normalization, which the file holds and no output depends on."""


def test_names_and_count():
    content, _ = fixture("modern", "smp_dpt_vit-b16")
    net = build("dpt_smp_vit-b16", 11, OPTIONS, device="meta")
    report = load_map("smp_dpt").check(content["names"], net.state_dict())
    assert report == "segmentation_models, DPT: 286 tensors matched, 4 dropped"
    assert sum(p.numel() for p in net.parameters()) + UNUSED == 137_808_990


@pytest.mark.slow
@torch.inference_mode()
def test_outputs():
    content, stored = fixture("modern", "smp_dpt_vit-b16")
    net, keys = build("dpt_smp_vit-b16", 11, OPTIONS, device="meta"), load_map("smp_dpt")
    kept = {name: shape for name, shape in content["names"].items() if keys.rename(name)[0]}
    net.load_state_dict(keys.apply(weights_of(kept)), strict=True, assign=True)
    net.mean, net.std = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
    x = image(*CASES["A"])
    compare({"logits": resize(net.eval()(x)["logits"], like=x, align_corners=True)}, "A", stored, content)


@torch.no_grad()
def test_the_first_of_two_units_reads_the_deepest_map():
    torch.manual_seed(0)
    block, x = Fusion(4, has_skip=True).eval(), torch.randn(1, 4, 2, 3)
    assert block.skip is not None
    expected = block.project(resize(block.unit(block.skip(x)), size=(4, 6), align_corners=True))
    assert torch.equal(block(x), expected)
