"""Parts of networks of instances against slow references, other implementations, and by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segkit.archs.condinst import CondInstHead
from segkit.archs.fpn import FPN
from segkit.archs.mask2former import Mask2FormerHead, blocked_positions
from segkit.archs.solov2 import SOLOv2Head
from segkit.backbones.timm_detection import TimmDetection
from segkit.backbones.timm_swin import Block
from segkit.convert.maps.box2mask import merge_order
from segkit.losses.instances.fcos import FCOS, giou_loss
from segkit.models.layers import DeformableConv2d
from segkit.ops.instances.cell_results import CellRules, best_cells
from segkit.ops.instances.deformable_attention import cell_centers, deformable_attention, sine_positions
from segkit.ops.instances.dynamic_masks import chosen_of_objects, dynamic_masks, parameter_counts
from segkit.ops.instances.fcos import assign_places, centerness, places_of
from segkit.ops.instances.query_results import at_original
from segkit.ops.resizing import aligned_bilinear
from segkit.registry import ConfigError


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_maps_behind_the_deepest():
    features = [rand(1, 3, 6, 10), rand(1, 4, 3, 5, seed=1)]
    pooled = FPN((3, 4), (8, 16), channels=2, num_levels=2, extra_levels=2)
    maps = pooled(features)
    assert pooled.strides == (8, 16, 32, 64) and pooled.channels == (2,) * 4
    assert torch.equal(maps[2], maps[1][:, :, ::2, ::2]) and torch.equal(maps[3], maps[2][:, :, ::2, ::2])
    convs = FPN((3, 4), (8, 16), channels=2, num_levels=2, extra_levels=2, extra_convs=True)
    maps = convs(features)
    torch.testing.assert_close(maps[2], F.conv2d(maps[1], convs.extra[0].conv.weight, convs.extra[0].conv.bias, 2, 1))
    deep = F.conv2d(maps[2].relu(), convs.extra[1].conv.weight, convs.extra[1].conv.bias, 2, 1)
    torch.testing.assert_close(maps[3], deep)
    assert maps[2].shape[2:] == (2, 3) and (maps[2] < 0).any()


@torch.no_grad()
def test_deformable_convolution_without_offsets_is_a_convolution_and_offsets_move_it():
    x = rand(2, 3, 9, 8)
    for modulated, factor in ((False, 1.0), (True, 0.5)):
        conv = DeformableConv2d(3, 4, stride=2, modulated=modulated)
        plain = F.conv2d(x, conv.weight, stride=2, padding=1)
        torch.testing.assert_close(conv(x), factor * plain)  # weights of taps start at sigmoid(0)
    conv = DeformableConv2d(3, 4)
    conv.conv_offset.bias[::2] = 1.0  # every tap one row down
    torch.testing.assert_close(conv(x)[:, :, 1:-2], F.conv2d(x, conv.weight, padding=1)[:, :, 2:-1])
    with pytest.raises(ConfigError, match="deformable_stages = 5"):
        TimmDetection("resnet18", deformable_stages=5)


@torch.no_grad()
def test_deformable_attention_is_the_sum_of_bilinear_samples():
    sizes, heads, channels = [(3, 4), (2, 2)], 2, 3
    values = rand(1, 16, heads, channels)
    places = torch.rand(1, 5, heads, 2, 3, 2, generator=torch.Generator().manual_seed(1)) * 1.4 - 0.2
    weights = rand(1, 5, heads, 2, 3, seed=2)
    expected = torch.zeros(1, 5, heads, channels)
    for q, m, level, p in ((q, m, v, p) for q in range(5) for m in range(heads) for v in range(2) for p in range(3)):
        height, width = sizes[level]
        x, y = places[0, q, m, level, p].tolist()
        x, y = x * width - 0.5, y * height - 0.5
        for row, column in ((r, c) for r in range(height) for c in range(width)):
            share = max(0, 1 - abs(x - column)) * max(0, 1 - abs(y - row))
            value = values[0, (0, 12)[level] + row * width + column, m]
            expected[0, q, m] += weights[0, q, m, level, p] * share * value
    torch.testing.assert_close(deformable_attention(values, sizes, places, weights), expected.flatten(2))
    assert cell_centers([(1, 2)], values.device).tolist() == [[0.25, 0.5], [0.75, 0.5]]


def test_positions_by_hand():
    codes = sine_positions((2, 3), 8, torch.device("cpu"))
    assert codes.shape == (6, 8)
    angle = 2 * math.pi * 2 / (3 + 1e-6)  # the second of three columns
    expected = [math.sin(angle), math.cos(angle), math.sin(angle / 100), math.cos(angle / 100)]
    assert codes[1, 4:].tolist() == pytest.approx(expected, abs=1e-5)
    assert torch.equal(codes[1, :4], codes[0, :4])  # rows come first


def test_a_query_without_a_mask_sees_everything():
    logits = torch.full((1, 2, 4, 4), -1.0)
    logits[0, 0, :2] = 1.0
    blocked = blocked_positions(logits, (2, 2))
    assert blocked.tolist() == [[[False, False, True, True], [False] * 4]]


@torch.no_grad()
@pytest.mark.parametrize("shift", [0, 2])
def test_a_swin_block_pads_before_it_shifts(shift):
    from timm.models.swin_transformer import SwinTransformerBlock

    theirs = SwinTransformerBlock(8, (8, 12), num_heads=2, window_size=4, shift_size=shift, dynamic_mask=True).eval()
    ours = Block(theirs).eval()
    x = rand(2, 8, 12, 8)
    torch.testing.assert_close(ours(x), theirs(x))
    # of a map that is no whole number of windows: what timm makes of it padded
    odd = rand(2, 6, 11, 8)
    expected = theirs._attn(F.pad(theirs.norm1(odd), (0, 0, 0, 1, 0, 2)))[:, :6, :11]
    torch.testing.assert_close(ours._attend(ours.norm1(odd)), expected)
    # one window holds the whole map: timm does not shift it, detectors do
    small = SwinTransformerBlock(8, (4, 4), num_heads=2, window_size=4, shift_size=shift, dynamic_mask=True).eval()
    assert Block(small).shift == (shift, shift)


@torch.no_grad()
def test_published_merging_of_cells_in_timms_order():
    from timm.models.swin_transformer import PatchMerging

    merge, x = PatchMerging(3), rand(1, 4, 6, 3)
    scale, bias, weight = rand(12, seed=1), rand(12, seed=2), rand(6, 12, seed=3)
    cells = F.unfold(x.permute(0, 3, 1, 2), 2, stride=2).transpose(1, 2)
    published = F.layer_norm(cells, (12,), scale, bias) @ weight.T
    for parameter, value in ((merge.norm.weight, scale), (merge.norm.bias, bias), (merge.reduction.weight, weight)):
        parameter.copy_(merge_order(value))
    torch.testing.assert_close(merge(x).flatten(1, 2), published)


@torch.no_grad()
def test_dynamic_masks_are_networks_of_their_own():
    features, inner, count = rand(4, 5, 6), 3, 2
    parameters = rand(count, sum(parameter_counts(4, inner)), seed=1)
    assert sum(parameter_counts(16, 8)) == 233
    places, reach = torch.tensor([[20.0, 12.0], [4.0, 36.0]]), torch.tensor([64.0, 128.0])
    made = dynamic_masks(features, parameters, places, reach, stride=8, inner=inner)
    for i in range(count):
        x = (
            torch.stack(
                [
                    (places[i, 0] - (torch.arange(6) * 8 + 4)).expand(5, 6),
                    (places[i, 1] - (torch.arange(5) * 8 + 4)).unsqueeze(1).expand(5, 6),
                ]
            )
            / reach[i]
        )
        x = torch.cat([x, features]).unsqueeze(0)
        w1, w2, w3, b1, b2, b3 = parameters[i].split(parameter_counts(4, inner))
        x = F.conv2d(x, w1.view(inner, 6, 1, 1), b1).relu()
        x = F.conv2d(x, w2.view(inner, inner, 1, 1), b2).relu()
        expected = aligned_bilinear(F.conv2d(x, w3.view(1, inner, 1, 1), b3), 2)[0, 0]
        torch.testing.assert_close(made[i], expected, rtol=1e-4, atol=1e-5)


def test_chosen_places_are_shared_out():
    objects = torch.tensor([0, 0, 0, 1, 2, 2])
    quality = torch.tensor([0.1, 0.9, 0.5, 0.2, 0.3, 0.8])
    assert chosen_of_objects(objects, quality, 9).tolist() == [0, 1, 2, 3, 4, 5]  # three each
    assert chosen_of_objects(objects, quality, 8).tolist() == [1, 2, 3, 4, 5]  # two each, though six are not too many
    assert chosen_of_objects(objects, quality, 5).tolist() == [1, 3, 5]  # one each
    assert chosen_of_objects(torch.tensor([1, 1, 0, 0, 0, 1]), quality, 5).tolist() == [1, 2, 4, 5]  # two each
    assert chosen_of_objects(objects[:0], quality[:0], 5).tolist() == []


def test_places_of_objects_by_hand():
    places = places_of([(4, 4), (2, 2)], (8, 16), torch.device("cpu"))
    assert places.points[:5].tolist() == [[4, 4], [12, 4], [20, 4], [28, 4], [4, 12]]
    assert places.near[::16].tolist() == [-1, 64] and places.far[::16].tolist() == [64, math.inf]
    boxes = torch.tensor([[0.0, 0.0, 32.0, 32.0], [0.0, 0.0, 9.0, 9.0]])
    assigned = assign_places(places, boxes)
    # within 12 pixels of (16, 16); (4, 4) is on that edge and in the smaller box
    expected = torch.full((20,), -1)
    expected[[5, 6, 9, 10]] = 0
    expected[0] = 1
    assert torch.equal(assigned.objects, expected)
    assert assigned.distances[5].tolist() == [12, 12, 20, 20]
    assert centerness(assigned.distances[[5]]).item() == pytest.approx(0.6)
    wide = assign_places(places, torch.tensor([[0.0, 0.0, 100.0, 100.0]])).objects
    assert not (wide[:16] >= 0).any()  # they end at 28, further than 12 from its centre
    assert assign_places(places, boxes[:0]).objects.tolist() == [-1] * 20


def test_fcos_losses_by_hand():
    found, true = torch.tensor([[2.0, 2, 2, 2], [1, 1, 1, 1]]), torch.tensor([[2.0, 2, 2, 2], [1, 1, 3, 1]])
    assert giou_loss(found, true).tolist() == pytest.approx([0, 0.5])
    apart = giou_loss(torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([[1.0, 1, 0, 0]]))
    assert apart.item() == pytest.approx(1.5)  # no overlap, 2 of the hull's 4 are theirs
    loss = FCOS(strides=(8,))
    maps = [[torch.zeros(1, 2, 4, 4)], [torch.full((1, 4, 4, 4), 2.0)], [torch.zeros(1, 1, 4, 4)]]
    box, label = [torch.tensor([[0.0, 0.0, 32.0, 32.0]])], [torch.tensor([1])]
    terms = loss(*maps, box, label)
    # four places; a zero logit costs log(2) / 4 times alpha, or 1 - alpha where the class is not there
    assert terms["category"].item() == pytest.approx((4 * 0.25 + 28 * 0.75) / 4 * math.log(2) / 4, rel=1e-5)
    assert terms["centerness"].item() == pytest.approx(math.log(2), rel=1e-5)
    # 1.5 and 2.5 strides to opposite sides against 2 and 2: of two 4 x 4 boxes 3.5 x 3.5 are shared
    shared, union, hull = 3.5**2, 32 - 3.5**2, 4.5**2
    assert terms["box"].item() == pytest.approx(1 - shared / union + (hull - union) / hull, rel=1e-5)


@torch.no_grad()
def test_a_detector_finds_the_object_its_maps_say():
    head = CondInstHead(
        (32,) * 5, 2, strides=(8, 16, 32, 64, 128), channels=32, depth=1, mask_channels=8, mask_depth=1, mask_features=2
    ).eval()
    sizes = [(8, 8), (4, 4), (2, 2), (1, 1), (1, 1)]
    outputs = {
        name: [torch.full((1, channels, *size), value) for size in sizes]
        for name, channels, value in (
            ("categories", 2, -20.0),
            ("distances", 4, 0.0),
            ("centerness", 1, 0.0),
            ("controllers", sum(parameter_counts(2, 8)), 0.0),
        )
    }
    outputs |= {"mask_features": torch.zeros(1, 2, 8, 8), "image": torch.zeros(1, 3, 64, 64)}
    outputs["categories"][0][0, 1, 3, 4] = 2.0  # at x 36, y 28
    outputs["categories"][0][0, 1, 3, 5] = 1.0  # its worse neighbour's box is the same: suppressed
    outputs["categories"][0][0, 0, 3, 5] = 1.0  # another class is not
    outputs["distances"][0][0, :, 3, 4] = torch.tensor([2.0, 1.0, 2.0, 1.0])
    outputs["distances"][0][0, :, 3, 5] = torch.tensor([3.0, 1.0, 1.0, 1.0])
    outputs["controllers"][0][0, -1] = 1.0  # the last bias: a mask that is everywhere
    (found,) = head.instances(outputs, [dict(size=(128, 128), valid=(64, 64))])
    assert found.labels.tolist() == [1, 0]
    chances = [torch.tensor(x).sigmoid().item() / 2 for x in (2.0, 1.0)]
    assert found.scores.tolist() == pytest.approx(chances)
    assert found.boxes.tolist() == [[40, 40, 104, 72]] * 2 and found.masks.all() and found.masks.shape == (2, 128, 128)


@torch.no_grad()
def test_cells_too_small_or_worse_are_dropped():
    features = torch.full((2, 4, 4), -1.0)
    features[0, :2], features[1, :3] = 1.0, 1.0
    kernels = torch.tensor([[9.0, 0.0], [0.0, 9.0], [9.0, 0.0]])
    scores = torch.tensor([[0.9, 0.0], [0.8, 0.6], [0.04, 0.0]])
    best = best_cells(scores, kernels, features, torch.tensor([4.0, 4.0, 4.0]), CellRules())
    sure = torch.tensor(9.0).sigmoid().item()
    iou = 8 / 12
    # the second of class 0 decays by its overlap with the first, class 1 stands alone
    assert best.labels.tolist() == [0, 1, 0]
    assert best.scores.tolist() == pytest.approx([0.9 * sure, 0.6 * sure, 0.8 * sure * math.exp(-2 * iou**2)], rel=1e-5)
    few = best_cells(scores, kernels, features, torch.tensor([8.0, 4.0, 4.0]), CellRules(limit=1))
    assert few.labels.tolist() == [0] and few.scores.tolist() == pytest.approx([0.8 * sure])
    linear = best_cells(scores, kernels, features, torch.tensor([4.0] * 3), CellRules(decay="linear"))
    assert linear.scores[2].item() == pytest.approx(0.8 * sure * (1 - iou), rel=1e-5)


def test_masks_of_the_file_by_hand():
    maps = torch.arange(16.0).view(1, 4, 4)
    assert torch.equal(at_original(maps, (4, 4), dict(size=(2, 3), valid=(2, 3))), maps[:, :2, :3])
    whole = at_original(maps, (8, 8), dict(size=(8, 8)))
    torch.testing.assert_close(whole, nn.Upsample(scale_factor=2, mode="bilinear")(maps.unsqueeze(0))[0])


def test_heads_that_learn_from_masks_have_no_level_features():
    image, sizes = torch.zeros(1, 3, 64, 64), [(16, 16), (8, 8), (4, 4), (2, 2), (1, 1)]
    features = [rand(1, 32, *size) for size in sizes]
    solo = SOLOv2Head(
        (32,) * 5,
        2,
        strides=(4, 8, 16, 32, 64),
        channels=64,
        depth=1,
        grids=(5, 4, 3, 2, 2),
        groups=2,
        kernel_channels=16,
        kernel_conv=3,
        mask_channels=8,
        mask_groups=4,
        level_features=0,
    )
    outputs = solo(features, image)
    assert "level_features" not in outputs and solo.kernels.weight.shape == (16, 64, 3, 3)
    assert outputs["mask_features"].shape == (1, 16, 16, 16) and (outputs["mask_features"] >= 0).all()
    assert [x.shape for x in outputs["kernels"]] == [(1, 16, side, side) for side in (5, 4, 3, 2, 2)]
    queries = Mask2FormerHead((32,) * 4, 2, channels=32, num_queries=3, encoder_layers=1, layers=1)
    outputs = queries(features[:4], image)
    assert set(outputs) == {"class_logits", "mask_logits", "image"} and outputs["mask_logits"][1].shape == (
        1,
        3,
        16,
        16,
    )
    with pytest.raises(ValueError, match="one grid per map"):
        SOLOv2Head((32,) * 4, 2, strides=(4, 8, 16, 32))
