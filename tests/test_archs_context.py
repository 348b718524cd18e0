"""What the constructions of these papers must satisfy beyond their size: worked by hand or against a slow reference."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segkit.archs.apcnet import AdaptiveContext
from segkit.archs.contextnet import ContextNet
from segkit.archs.dmnet import DynamicFilter
from segkit.archs.encnet import EncHead, Encoding
from segkit.archs.espnet import ESP
from segkit.archs.fastfcn import JPU
from segkit.archs.fpn import FPN
from segkit.archs.icnet import ICNet
from segkit.archs.pointrend import PointRendHead, cell_centers, choose_points, sample, uncertainty
from segkit.archs.semfpn import SemFPNHead
from segkit.archs.upernet import UPerHead
from segkit.convert.keymap import load_map
from segkit.losses.cross_entropy import CrossEntropy
from segkit.losses.point_rend import AtPoints, labels_at
from segkit.models.layers import resize
from tests.archs_table import build


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_fpn_adds_the_nearest_of_twice_the_size():
    neck = FPN((3, 2, 2), (4, 8, 16), channels=1, num_levels=2)
    for conv, value in ((neck.laterals[0], 1.0), (neck.laterals[1], 10.0)):
        nn.init.constant_(conv.conv.weight, value)
    for conv in neck.outputs:
        nn.init.dirac_(conv.conv.weight)
    for part in (*neck.laterals, *neck.outputs):
        nn.init.zeros_(part.conv.bias)
    shallow, deep = torch.ones(1, 2, 3, 3), torch.tensor([[1.0, 2.0], [3.0, 4.0]]).expand(1, 2, 2, 2)
    fine, coarse = neck([torch.ones(1, 3, 6, 6), shallow, deep])
    assert torch.equal(coarse[0, 0], 20 * deep[0, 0])
    # 3 cells from 2: nearest takes cells 0, 0, 1. Two channels of ones through weights of 1 make 2.
    assert torch.equal(fine[0, 0], 2 + 20 * torch.tensor([[1.0, 1, 2], [1, 1, 2], [3, 3, 4]]))
    assert (neck.channels, neck.strides) == ((1, 1), (8, 16))


def test_sem_fpn_head_doubles_as_often_as_the_stride_says():
    head = SemFPNHead((8,) * 4, 3, strides=(4, 8, 16, 32), channels=4)
    convs = [sum(isinstance(m, nn.Conv2d) for m in path.modules()) for path in head.paths]
    doublings = [sum(isinstance(m, nn.Upsample) for m in path) for path in head.paths]
    assert (convs, doublings) == ([1, 1, 2, 3], [0, 1, 2, 3])


@torch.no_grad()
def test_uper_net_takes_the_four_deepest_maps_at_the_finest_ones_size():
    head = UPerHead((2, 3, 4, 5, 6), 7, channels=8).eval()
    features = [rand(1, c, -(-65 // s), -(-97 // s)) for c, s in zip((2, 3, 4, 5, 6), (2, 4, 8, 16, 32))]
    expected = head(features)["logits"]
    assert expected.shape == (1, 7, 17, 25)
    features[0] = features[0] + 1
    assert torch.equal(head(features)["logits"], expected), "the stem's map is not used"


def encode_slowly(encode: Encoding, x: torch.Tensor) -> torch.Tensor:
    residual = x.flatten(2).transpose(1, 2).unsqueeze(2) - encode.codewords
    weight = (encode.scale * residual.square().sum(3)).softmax(2)
    return (weight.unsqueeze(3) * residual).sum(1)


@torch.no_grad()
def test_encoding_is_the_sum_of_weighted_residuals():
    encode, x = Encoding(6, 4), rand(2, 6, 5, 7)
    assert torch.allclose(encode(x), encode_slowly(encode, x), atol=1e-5)
    nn.init.zeros_(encode.scale)
    # Equal weights: the mean residual, times positions / codewords.
    mean = x.mean((2, 3))[:, None] - encode.codewords
    assert torch.allclose(encode(x), mean * 35 / 4, atol=1e-5)


@torch.no_grad()
def test_the_order_of_pixels_does_not_change_the_code():
    head = EncHead((8,), 3, channels=8, num_codes=4).eval()
    # Equal weights of all nine taps but the middle one would mix neighbours: keep the middle one alone.
    kernel = head.fuse.conv.weight
    kernel.mul_(F.pad(torch.ones(1, 1, 1, 1), (1, 1, 1, 1)))
    x = rand(1, 8, 4, 4)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    shuffled = x.flatten(2)[..., order].view_as(x)
    ours, other = head([x]), head([shuffled])
    assert torch.allclose(ours["presence"], other["presence"], atol=1e-5)
    assert torch.allclose(ours["logits"].flatten(2)[..., order], other["logits"].flatten(2), atol=1e-5)


@torch.no_grad()
def test_jpu_replaces_the_deepest_map_by_one_of_the_third():
    neck = JPU((2, 3, 4, 5), (4, 8, 16, 32), channels=6, dilations=(1, 2)).eval()
    features = [rand(1, c, 64 // s, 96 // s) for c, s in zip((2, 3, 4, 5), (4, 8, 16, 32))]
    out = neck(features)
    assert [tuple(x.shape[1:]) for x in out] == [(2, 16, 24), (3, 8, 12), (4, 4, 6), (12, 8, 12)]
    assert (neck.channels, neck.strides) == ((2, 3, 4, 12), (4, 8, 16, 8))
    assert all(torch.equal(a, b) for a, b in zip(out[:3], features[:3]))


@torch.no_grad()
def test_dynamic_filters_are_each_images_own():
    part, x = DynamicFilter(5, 4, 3).eval(), rand(2, 5, 6, 7)
    together = part(x)
    assert torch.allclose(together, torch.cat([part(x[:1]), part(x[1:])]), atol=1e-5)
    kernel = part.predict(F.adaptive_avg_pool2d(x, 3))[1, 2]
    patch = F.pad(part.reduce(x)[1, 2], (1, 1, 1, 1))[3:6, 2:5]
    value = (patch * kernel).sum() * part.norm.weight[2] / (1 + part.norm.eps) ** 0.5
    assert together[1, 2, 3, 2] == pytest.approx(max(value.item(), 0), abs=1e-5)
    with pytest.raises(ValueError, match="odd"):
        DynamicFilter(5, 4, 2)


@torch.no_grad()
def test_adaptive_context_gathers_regions_by_each_positions_affinity():
    part, x = AdaptiveContext(5, 4, 2).eval(), rand(1, 5, 4, 4)
    nn.init.zeros_(part.affinity.weight)
    part.affinity.bias.copy_(torch.tensor([100.0, -100, -100, 0]))
    # Affinities 1, 0, 0, 0.5: the first region and half of the last.
    regions = part.reduce_regions(F.adaptive_avg_pool2d(x, 2))[0].flatten(1)
    context = (regions[:, 0] + regions[:, 3] / 2).view(1, 4, 1, 1).expand(1, 4, 4, 4)
    expected = part.fusion(F.relu(part.residual(context) + part.reduce(x)))
    assert torch.allclose(part(x), expected, atol=1e-5)


def point_head(**own) -> PointRendHead:
    torch.manual_seed(0)
    return PointRendHead((6, 6), 3, strides=(4, 8), coarse_channels=4, channels=5, level=-2, **own)


@torch.no_grad()
def test_points_at_centres_are_the_cells():
    x = rand(2, 3, 4, 5)
    index = torch.arange(20).expand(2, -1)
    assert torch.allclose(sample(x, cell_centers(index, (4, 5)), False), x.flatten(2), atol=1e-5)


@torch.no_grad()
def test_no_subdivision_is_the_coarse_head_and_all_points_are_the_dense_network():
    features = [rand(1, 6, 5, 6), rand(1, 6, 3, 3, seed=1)]
    none = point_head(subdivisions=0).eval()(features)
    assert torch.equal(none["logits"], none["coarse.logits"])
    head = point_head(subdivisions=1, subdivision_points=10_000).eval()
    out = head(features)
    every = cell_centers(torch.arange(120).unsqueeze(0), (10, 12))
    dense = head.classify(features[0], out["coarse.logits"], every).unflatten(2, (10, 12))
    assert torch.allclose(out["logits"], dense, atol=1e-5)
    head.subdivision_points = 7
    few, doubled = head(features)["logits"], resize(out["coarse.logits"], size=(10, 12))
    changed = ~torch.isclose(few, doubled, atol=1e-6).all(1).flatten()
    expected = uncertainty(doubled.flatten(2)).topk(7, dim=1)[1][0]
    assert sorted(changed.nonzero().flatten().tolist()) == sorted(expected.tolist())


@torch.no_grad()
def test_chosen_points_are_the_least_certain_of_the_drawn():
    # Two classes that cross at x = 0.5: the closer a point is to it, the less certain.
    slope = torch.linspace(-1, 1, 64).expand(1, 1, 64, 64)
    coarse = torch.cat([slope, -slope], dim=1)
    places = choose_points(coarse, 100, 3, 0.75, generator=torch.Generator().manual_seed(0))
    again = choose_points(coarse, 100, 3, 0.75, generator=torch.Generator().manual_seed(0))
    assert torch.equal(places, again) and places.shape == (1, 100, 2)
    distance = (places[0, :, 0] - 0.5).abs()
    # 75 of 300 uniform points: those within about an eighth of the line; the other 25 are anywhere.
    assert distance[:75].max() < 0.17 and distance[75:].max() > 0.3
    one = uncertainty(torch.tensor([[[-3.0, 0.1, 2.0]]]))
    assert one.argmax() == 1, "a single class is unsure near probability 0.5"


def test_loss_at_points_reads_the_pixel_under_each():
    target = torch.tensor([[[0, 1], [2, 255]]])
    places = torch.tensor([[[0.1, 0.2], [0.9, 0.4], [0.3, 0.99], [1.0, 1.0]]])
    assert labels_at(target, places).tolist() == [[0, 1, 2, 255]]
    soft = torch.stack([target, target + 10], dim=1)
    assert labels_at(soft, places).tolist() == [[[0, 1, 2, 255], [10, 11, 12, 265]]]
    # Corners are centres: three columns lie at 0, 0.5 and 1.
    row = torch.tensor([[[4, 5, 6]]])
    assert labels_at(row, torch.tensor([[[0.2, 0.0], [0.3, 0.0], [0.8, 0.0]]]), True).tolist() == [[4, 5, 6]]
    logits = rand(1, 3, 4)
    expected = F.cross_entropy(logits[0, :, :3].T, torch.tensor([0, 1, 2]))
    assert AtPoints(CrossEntropy())(logits, places, target) == pytest.approx(expected.item(), rel=1e-5)


@torch.no_grad()
def test_ic_net_runs_its_deep_half_on_a_quarter_of_the_image():
    net = ICNet(encoder="resnet18", channels=(4, 6, 8), pool_channels=8).eval()
    sizes = []
    net.encoder.layer4.register_forward_hook(lambda _m, _i, x: sizes.append(tuple(x.shape[2:])))
    features = net(rand(1, 3, 256, 320))
    # 256 x 320 halved, stem, pool rounded up, stage: 17 x 21; halved again: 8 x 10, a 32nd of the image.
    assert [tuple(f.shape[1:]) for f in features] == [(4, 32, 40), (6, 17, 21), (8, 8, 10)]
    assert sizes == [(8, 10)]


def test_context_net_variants_differ_in_the_small_copys_size_alone():
    sizes = []
    for reduction in (2, 4, 8):
        net = ContextNet(reduction=reduction).eval()
        net.context.register_forward_hook(lambda _m, inputs, _o: sizes.append(inputs[0].shape[-2:]))
        with torch.no_grad():
            assert net(rand(1, 3, 64, 96))[1].shape == (1, 128, 8, 12)
    assert [tuple(size) for size in sizes] == [(32, 48), (16, 24), (8, 12)]


@torch.no_grad()
def test_esp_adds_up_its_dilations_from_the_second_on():
    block = ESP(7, 16).eval()
    block.norm = nn.Identity()
    x = rand(1, 7, 40, 40)
    reduced = block.reduce(x)
    parts = [F.conv2d(reduced, b.weight, padding=2**i, dilation=2**i) for i, b in enumerate(block.branches)]
    assert [p.shape[1] for p in parts] == [4, 3, 3, 3, 3]
    expected = torch.cat([parts[0], *(sum(parts[1 : i + 1]) for i in range(1, 5))], dim=1)
    assert torch.allclose(block(x), expected, atol=1e-5)


def load_espnet(real_data) -> nn.Module:
    path = real_data / "weights" / "espnet_p2_q3_cityscapes.pth"
    if not path.is_file():
        pytest.skip("no weights/espnet_p2_q3_cityscapes.pth under SEGKIT_DATA")
    weights = torch.load(path, map_location="cpu", weights_only=True)
    model = build("espnet_p2_q3", 20)
    model.load_state_dict(load_map("espnet").apply(weights), strict=True)
    return model.eval()


TO_CAMVID = {0: 3, 1: 4, 2: 1, 8: 5, 10: 0, 13: 8}
"""Cityscapes' road, sidewalk, building, vegetation, sky, car -> the same in CamVid's masks."""


def share_found(model: nn.Module, image: np.ndarray, mask: np.ndarray) -> float:
    """image: uint8 [H,W,3] RGB; mask: CamVid's -> share of the pixels of TO_CAMVID's classes that the model finds."""
    resized = cv2.resize(image, (1024, 512))
    labels = model(torch.from_numpy(resized).permute(2, 0, 1)[None])["logits"].argmax(1)[0].numpy()
    found = np.full(labels.shape, 255)
    for theirs, ours in TO_CAMVID.items():
        found[labels == theirs] = ours
    found = cv2.resize(found.astype(np.uint8), mask.shape[::-1], interpolation=cv2.INTER_NEAREST)
    asked = np.isin(mask, list(TO_CAMVID.values()))
    return (found == mask)[asked].mean()


@torch.no_grad()
def test_published_espnet_labels_a_street_when_its_channels_are_in_order(real_data):
    model = load_espnet(real_data)
    paths = sorted((real_data / "camvid" / "test").glob("*.jpg"))[::80]
    if not paths:
        pytest.skip("no camvid/test under SEGKIT_DATA")
    right, swapped = [], []
    for path in paths:
        image = cv2.imread(str(path))[..., ::-1].copy()
        mask = cv2.imread(str(path.parents[1] / "testannot" / f"{path.stem}.png"), cv2.IMREAD_GRAYSCALE)
        right.append(share_found(model, image, mask))
        swapped.append(share_found(model, image[..., ::-1].copy(), mask))
    # Trained on German streets, asked about Cambridge: most pixels, and fewer with red and blue exchanged.
    assert np.mean(right) > 0.6
    assert np.mean(right) > np.mean(swapped)
