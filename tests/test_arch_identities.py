"""What each paper's construction must satisfy, beyond its size: worked by hand or against a slow reference."""

import pytest
import torch
import torch.nn.functional as F

from segkit.archs.deeplab_v3plus import DeepLabV3PlusHead
from segkit.archs.fcn import FCNHead
from segkit.archs.unet import UNetHead
from segkit.archs.unet_original import UNet
from segkit.models.layers import ASPP, SCSE, ConvBNReLU, DepthwiseSeparable, PyramidPooling, resize
from tests.archs_table import build


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def test_original_unet_eats_a_border_of_92_and_has_the_papers_size():
    with torch.device("meta"):
        net = UNet(1, padding="none", norm=False, mean=(0.0,), std=(1.0,))
        head = FCNHead(net.channels, 2, num_convs=0)
        assert count(net, head) == 31_030_658
        assert head(net(torch.empty(1, 1, 572, 572)))["logits"].shape == (1, 2, 388, 388)
        padded = UNet(3)
        assert count(padded, FCNHead(padded.channels, 2, num_convs=0)) == 31_037_698


@torch.no_grad()
def test_mirror_padding_is_the_valid_network_on_the_mirrored_image():
    net = UNet(1, (2, 3, 4), padding="mirror", norm=False, mean=(0.0,), std=(1.0,)).eval()
    x = torch.randn(1, 1, 40, 44, generator=torch.Generator().manual_seed(0))
    ours = net(x)[0]
    assert ours.shape == (1, 2, 40, 44)
    # Three levels eat 4 * 3 cells on the way up and 4 * 3 + 4 * 4 on the way down: 20 on either side.
    net.padding = "none"
    direct = net(F.pad(x, (20, 20, 20, 20), mode="reflect"))[0]
    assert torch.allclose(ours, direct, atol=1e-6)
    net.padding = "mirror"
    assert net(x[..., :7, :9])[0].shape == (1, 2, 7, 9), "an image smaller than the border is mirrored repeatedly"


def test_unet_refuses_an_unknown_padding():
    with pytest.raises(ValueError, match="must be 'zero', 'none' or 'mirror'"):
        UNet(padding="same")


@torch.no_grad()
def test_unet_head_joins_the_map_of_each_stride_and_skips_absent_ones():
    channels, strides = (4, 8, 16), (4, 8, 16)
    head = UNetHead(channels, 2, strides, channels=(8, 8, 8, 8)).eval()
    assert [block.conv1.conv.in_channels for block in head.blocks] == [16 + 8, 8 + 4, 8, 8]
    features = [torch.randn(1, c, -(-65 // s), -(-97 // s)) for c, s in zip(channels, strides)]
    assert head(features, size=(65, 97))["logits"].shape == (1, 2, 65, 97)
    with pytest.raises(ValueError, match="5 blocks, but an encoder of stride 16 allows 4"):
        UNetHead(channels, 2, strides)
    with pytest.raises(ValueError, match="'scse'"):
        UNetHead(channels, 2, strides, channels=(8,), attention="cbam")


@torch.no_grad()
def test_unet_hypercolumns_are_the_resized_maps_of_all_blocks():
    """With weights for the last map alone it is the plain head; the others are resized bilinearly."""
    channels, strides = (4, 8, 16), (2, 4, 8)
    plain = UNetHead(channels, 2, strides, channels=(6, 5, 3)).eval()
    columns = UNetHead(channels, 2, strides, channels=(6, 5, 3), hypercolumns=True).eval()
    state = plain.state_dict()
    state["classifier.weight"] = torch.cat([torch.zeros(2, 6 + 5, 3, 3), state["classifier.weight"]], 1)
    columns.load_state_dict(state)
    features = [torch.randn(1, c, -(-33 // s), -(-41 // s)) for c, s in zip(channels, strides)]
    outputs, embedding = plain(features, size=(33, 41)), columns(features, size=(33, 41))["embedding"]
    torch.testing.assert_close(columns(features, size=(33, 41))["logits"], outputs["logits"])
    torch.testing.assert_close(embedding[:, 11:], outputs["embedding"])
    first = columns.blocks[0](features[-1], features[1], (9, 11))
    resized = torch.nn.functional.interpolate(first, (33, 41), mode="bilinear", align_corners=False)
    torch.testing.assert_close(embedding[:, :6], resized)


@torch.no_grad()
def test_unet_block_doubles_cells_in_place():
    block = UNetHead((1,), 1, (2,), channels=(1,)).blocks[0]
    block.conv1 = block.conv2 = torch.nn.Identity()
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert block(x, None, (3, 4))[0, 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4]]


@torch.no_grad()
def test_pooling_of_a_constant_is_the_same_in_every_grid():
    pooling = PyramidPooling(3, 2).eval()
    for project in pooling.projects[1:]:
        project.load_state_dict(pooling.projects[0].state_dict())
    first, *others = pooling(torch.ones(1, 3, 7, 9))
    assert first.shape == (1, 2, 1, 1) and others[-1].shape == (1, 2, 6, 6)
    assert all(torch.allclose(first.expand_as(other), other, atol=1e-6) for other in others)


@torch.no_grad()
def test_a_rate_beyond_the_map_leaves_the_centre_tap():
    conv = ConvBNReLU(2, 3, dilation=9).eval()
    x = torch.randn(1, 2, 8, 8)
    assert torch.allclose(conv(x), F.relu(conv.bn(F.conv2d(x, conv.conv.weight[:, :, 1:2, 1:2]))), atol=1e-5)


@torch.no_grad()
def test_aspp_is_mean_then_pointwise_then_rates():
    aspp = ASPP(2, 3, (2, 4)).eval()
    x = torch.randn(1, 2, 6, 7)
    parts = aspp(x)
    assert torch.equal(parts[0], aspp.image_pool.project(x.mean((2, 3), keepdim=True)))
    assert torch.equal(parts[0].expand(-1, -1, 6, 7), aspp.image_pool(x))
    assert torch.equal(parts[1], aspp.pointwise(x))
    assert torch.equal(parts[3], aspp.dilated[1](x))


@torch.no_grad()
def test_scse_with_zero_gates_scales_by_one_or_by_half():
    x = torch.randn(1, 16, 3, 4)
    for combine, factor in (("sum", 1.0), ("max", 0.5)):
        gate = SCSE(16, 2, combine)
        for part in (gate.excite, gate.position):
            part.weight.zero_(), part.bias.zero_()
        expected = factor * x if combine == "sum" else x * 0.5
        assert torch.allclose(gate(x), expected)
    assert count(SCSE(64, 2)) == 4_257 and count(SCSE(256, 2)) == 66_177
    with pytest.raises(ValueError, match="'sum' or 'max'"):
        SCSE(8, combine="mean")


def test_depthwise_forms():
    full, bare = DepthwiseSeparable(6, 4), DepthwiseSeparable(6, 4, depthwise_norm=False)
    assert count(full) == 6 * 9 + 2 * 6 + 6 * 4 + 2 * 4
    assert count(bare) == 6 * 9 + 6 * 4 + 2 * 4


@torch.no_grad()
def test_resize_follows_align_corners():
    x = torch.tensor([[[[0.0, 2.0]]]])
    assert resize(x, size=(1, 3), align_corners=True)[0, 0, 0].tolist() == [0, 1, 2]
    assert resize(x, size=(1, 4))[0, 0, 0].tolist() == [0, 0.5, 1.5, 2]
    assert resize(x, size=(1, 2)) is x


@torch.no_grad()
def test_several_levels_are_joined_at_the_size_of_the_first():
    head = FCNHead((2, 3), 4, level=(-2, -1), num_convs=0, dropout=0.0)
    fine, coarse = torch.randn(1, 2, 6, 8), torch.randn(1, 3, 3, 4)
    embedding = head([fine, coarse])["embedding"]
    assert torch.equal(embedding, torch.cat([fine, resize(coarse, size=(6, 8))], dim=1))


def test_a_level_the_backbone_lacks_is_named():
    with pytest.raises(ValueError, match="level -4: the backbone gives 2 feature maps"):
        DeepLabV3PlusHead((8, 16), 3)


@torch.no_grad()
def test_scse_gates_the_maps_of_any_decoder():
    options = ("model.backbone.name='resnet18'", "model.backbone.pretrained=None")
    plain = build("deeplabv3plus_r50", 5, options)
    gated = build("deeplabv3plus_r50", 5, (*options, "model.neck={'type': 'SCSEGates'}")).eval()
    assert count(gated) - count(plain) == sum(count(SCSE(width, 2)) for width in plain.backbone.channels)
    for gate in gated.neck.gates:
        for layer in (gate.excite, gate.position):
            layer.weight.zero_()
            layer.bias.zero_()
    features = [torch.randn(2, width, 6, 5) for width in gated.backbone.channels]
    assert all(torch.equal(out, x / 2) for out, x in zip(gated.neck(features), features))  # the larger of two halves
    assert gated(torch.zeros(1, 3, 65, 97))["logits"].shape[1] == 5
