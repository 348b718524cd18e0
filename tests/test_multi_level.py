"""A pyramid from maps of one stride, and errors that name it."""

import pytest
import torch
import torch.nn.functional as F

from segkit.archs.multi_level import MultiLevelNeck
from segkit.ops.resizing import fitted
from segkit.registry import ConfigError, build_model


@torch.no_grad()
def test_every_map_is_projected_resized_and_convolved():
    neck = MultiLevelNeck((6, 6, 6, 6), (16, 16, 16, 16), channels=4)
    assert neck.channels == (4, 4, 4, 4) and neck.strides == (4, 8, 16, 32)
    maps = [torch.randn(2, 6, 5, 7) for _ in range(4)]
    sizes = [(20, 28), (10, 14), (5, 7), (2, 3)]
    for x, out, size, lateral, conv in zip(maps, neck(maps), sizes, neck.laterals, neck.outputs):
        x = F.conv2d(x, lateral.conv.weight, lateral.conv.bias)
        factor = neck.scales[sizes.index(size)]
        x = F.interpolate(x, scale_factor=factor, mode="bilinear") if factor != 1 else x
        expected = F.conv2d(x, conv.conv.weight, conv.conv.bias, padding=1)
        assert tuple(out.shape[2:]) == size and torch.allclose(out, expected, atol=1e-6)


def test_a_patch_of_14_is_told_its_scales():
    with pytest.raises(ConfigError, match=r"\(3.5, 1.75, 0.875, 0.4375\) gives strides of 4, 8, 16"):
        MultiLevelNeck((6,) * 4, (14,) * 4)
    assert MultiLevelNeck((6,) * 4, (14,) * 4, scales=(3.5, 1.75, 0.875, 0.4375)).strides == (4, 8, 16, 32)


VIT = dict(type="Timm", name="vit_tiny_patch16_224")


@pytest.mark.parametrize("head", ["UPerHead", "UNetHead", "DeepLabV3PlusHead"])
def test_with_the_neck_the_head_runs(head):
    backbone = {**VIT, "out_indices": (2, 5, 8, 11)}
    with torch.device("meta"):
        net = build_model(
            dict(num_classes=5, backbone=backbone, neck=dict(type="MultiLevelNeck"), head=dict(type=head))
        )
        logits = net(torch.zeros(2, 3, 97, 131, dtype=torch.uint8))["logits"]
    assert logits.shape[:2] == (2, 5)


def test_a_pyramid_of_too_few_levels_is_not_told_of_a_neck():
    backbone = dict(type="Timm", name="resnet10t", out_indices=(3, 4))
    with torch.device("meta"), pytest.raises(ConfigError, match="level -4: the backbone gives 2") as problem:
        build_model(dict(num_classes=5, backbone=backbone, head=dict(type="UPerHead")))
    assert "MultiLevelNeck" not in str(problem.value)


@pytest.mark.parametrize("head", ["UNetHead", "AttentionUNetHead"])
@pytest.mark.parametrize("size", [(72, 104), (95, 127)])
def test_decoders_that_double_follow_an_encoder_that_rounds_down(head, size):
    """72 is halved to 18, 9, 4 and 2 rows: twice 4 are fewer than the skip's 9."""
    cfg = dict(num_classes=5, backbone=dict(type="Timm", name="convnext_atto"), head=dict(type=head))
    with torch.device("meta"):
        logits = build_model(cfg)(torch.zeros(2, 3, *size, dtype=torch.uint8))["logits"]
    assert logits.shape == (2, 5, *size)


def test_a_doubled_map_is_cut_or_its_last_cells_are_repeated():
    x = torch.arange(4.0).view(1, 1, 2, 2)
    assert fitted(x, (3, 1))[0, 0].tolist() == [[0], [2], [2]]
    assert fitted(x, (2, 3))[0, 0].tolist() == [[0, 1, 1], [2, 3, 3]]
    assert torch.equal(fitted(x, (2, 2)), x)
