"""Pyramids of plain Vision Transformers' maps: the necks against plain torch, and the one that comes by itself."""

import pytest
import torch
import torch.nn.functional as F

from segkit.archs.beit import FeatureToPyramid
from segkit.archs.dpt import Reassemble
from segkit.archs.setr import MLANeck
from segkit.archs.vitdet import SimplePyramid
from segkit.registry import ConfigError, build_model

VIT = dict(type="Timm", name="vit_tiny_patch16_224", options=dict(depth=4))


@torch.no_grad()
def test_the_simple_pyramid_reads_the_last_map_alone():
    neck = SimplePyramid((8, 8), (16, 16), channels=6)
    assert neck.channels == (6,) * 4 and neck.strides == (4, 8, 16, 32)
    x = torch.randn(2, 8, 5, 7)
    maps = neck([torch.full_like(x, torch.nan), x])
    assert [tuple(m.shape) for m in maps] == [(2, 6, 20, 28), (2, 6, 10, 14), (2, 6, 5, 7), (2, 6, 3, 4)]
    first, norm, _, second = neck.resizes[0]
    large = F.conv_transpose2d(x, first.weight, first.bias, stride=2)
    large = F.layer_norm(large.permute(0, 2, 3, 1), (4,), norm.weight, norm.bias, 1e-6).permute(0, 3, 1, 2)
    large = F.conv_transpose2d(F.gelu(large), second.weight, second.bias, stride=2)
    conv, _, wide, _ = neck.outputs[0]
    y = F.layer_norm(F.conv2d(large, conv.weight).permute(0, 2, 3, 1), (6,), eps=1e-6).permute(0, 3, 1, 2)
    y = F.layer_norm(F.conv2d(y, wide.weight, padding=1).permute(0, 2, 3, 1), (6,), eps=1e-6).permute(0, 3, 1, 2)
    assert torch.allclose(maps[0], y, atol=1e-5)


def test_the_simple_pyramid_of_patches_of_14_has_strides_of_4_to_32():
    neck = SimplePyramid((8,), (14,), channels=6)
    maps = neck([torch.randn(1, 8, 32, 16)])  # of 448 x 224 pixels
    assert [tuple(m.shape[2:]) for m in maps] == [(112, 56), (56, 28), (28, 14), (14, 7)]


@torch.no_grad()
def test_beits_pyramid_takes_one_map_for_each_level():
    neck = FeatureToPyramid((4,) * 4, (16,) * 4).eval()
    features = [torch.randn(1, 4, 5, 7) for _ in range(4)]
    maps = neck(features)
    assert [tuple(m.shape[2:]) for m in maps] == [(20, 28), (10, 14), (5, 7), (2, 3)]
    assert torch.equal(maps[1], F.conv_transpose2d(features[1], neck.twice.weight, neck.twice.bias, stride=2))
    assert maps[2] is features[2] and torch.equal(maps[3], F.max_pool2d(features[3], 2))
    assert neck.strides == (4, 8, 16, 32)


@torch.no_grad()
def test_mla_sums_from_the_deepest_map_on():
    neck = MLANeck((4, 4), (16, 16), channels=4).eval()
    features = [torch.randn(1, 4, 3, 5) for _ in range(2)]
    deep, shallow = (lat(norm(x)) for x, norm, lat in list(zip(features, neck.norms, neck.laterals))[::-1])
    maps = neck(features)
    assert torch.equal(maps[1], neck.outputs[1](deep))
    assert torch.allclose(maps[0], neck.outputs[0](shallow + deep), atol=1e-6)


@torch.no_grad()
def test_reassemble_projects_the_class_token_into_every_patch():
    neck = Reassemble((12,) * 4, (16,) * 4, channels=(2, 3, 4, 5))
    features = [torch.randn(1, 12, 3, 5) for _ in range(4)]
    maps = neck(features)
    assert [tuple(m.shape) for m in maps] == [(1, 2, 12, 20), (1, 3, 6, 10), (1, 4, 3, 5), (1, 5, 2, 3)]
    linear = neck.readouts[2][0]
    at = F.gelu(linear.weight @ features[2][0, :, 1, 2] + linear.bias)
    assert torch.allclose(
        maps[2][0, :, 1, 2], neck.projects[2].weight[:, :, 0, 0] @ at + neck.projects[2].bias, atol=1e-5
    )


@pytest.mark.parametrize("neck", [FeatureToPyramid, Reassemble])
@pytest.mark.parametrize("strides", [(4, 8, 16, 32), (14,) * 4])
def test_maps_of_other_strides_are_refused_with_a_way_out(neck, strides):
    with pytest.raises(ConfigError, match=r"of one stride that is a multiple of 4; .*SimplePyramid"):
        neck((8,) * 4, strides)


@pytest.mark.parametrize("head", ["UPerHead", "UNetHead", "DeepLabV3PlusHead", "DPTHead", "SemFPNHead"])
def test_a_head_that_needs_a_pyramid_gets_one_on_a_plain_vit_and_says_so(head):
    with torch.device("meta"):
        net = build_model(dict(num_classes=5, backbone=VIT, head=dict(type=head)))
        logits = net(torch.zeros(2, 3, 97, 131, dtype=torch.uint8))["logits"]
    assert logits.shape[:2] == (2, 5) and logits.shape[2] >= 24
    assert type(net.neck) is SimplePyramid
    assert (
        f"model.neck = dict(type='SimplePyramid') makes a pyramid of the backbone's last map, since {head}"
        in net.notes[0]
    )


@pytest.mark.parametrize(
    "parts",
    [
        dict(backbone=VIT, head=dict(type="FCNHead")),
        dict(backbone=dict(VIT, out_indices=(0, 1, 2, 3)), head=dict(type="UPerHead")),  # as mmsegmentation's DeiT
        dict(backbone=dict(VIT, out_indices=(0, 1, 2, 3)), neck=None, head=dict(type="DPTHead")),
        dict(backbone=dict(type="Timm", name="convnext_atto"), head=dict(type="DPTHead")),
    ],
)
def test_no_other_head_gets_a_neck(parts):
    with torch.device("meta"):
        net = build_model(dict(num_classes=5, **parts))
    assert net.neck is None and not net.notes


def test_a_neck_that_needs_a_pyramid_names_the_ways_to_one():
    parts = dict(neck=dict(type="FPN"), head=dict(type="SemFPNHead"))
    with torch.device("meta"), pytest.raises(ConfigError, match=r"SimplePyramid.*\(2, 5, 8, 11\).*MultiLevelNeck"):
        build_model(dict(num_classes=5, backbone=VIT, **parts))
