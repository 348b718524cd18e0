"""What the papers of the first DeepLabs and of what was built on them say of their parts, by hand or against slow
references."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from segkit.archs.deeplab_v1 import LargeFOVHead
from segkit.archs.deeplab_v2 import DeepLabV2Head
from segkit.archs.denseaspp import DenseASPPHead, DenseAtrous
from segkit.archs.hanet import HANetHead, HeightAttention, row_positions
from segkit.archs.parsenet import L2Norm, ParseNetHead
from segkit.backbones.timm_densenet import TimmDenseNet
from segkit.backbones.vgg_dilated import VGG16Dilated
from segkit.convert.keymap import load_map
from segkit.criterion import build_criterion
from segkit.data.loader import collate_train
from segkit.data.transforms.crops import RandomCrop, RandomScaleCrop
from segkit.data.transforms.operations import crop, resize
from segkit.inference import slide, whole
from segkit.losses.coarse_labels import OnCoarseLabels, coarse_labels
from segkit.losses.cross_entropy import CrossEntropy
from segkit.registry import ConfigError, build_model
from tests.archs_table import build


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


NARROW = dict(channels=(3, 4, 5, 6, 7))


@torch.no_grad()
def test_the_dilated_vgg_keeps_every_eighth_pixel():
    net = VGG16Dilated(**NARROW).eval()
    sizes = [tuple(f.shape[2:]) for f in net(torch.randn(1, 3, 321, 65))]
    assert sizes == [(161, 33), (81, 17), (41, 9), (41, 9), (41, 9)]
    assert [tuple(f.shape[2:]) for f in net(torch.randn(1, 3, 64, 30))][1:3] == [(16, 8), (8, 4)]
    # Pooling by 3x3 cells with a stride of 2 takes the largest around every second pixel.
    first = net.stages[0](torch.randn(1, 3, 9, 9))
    around = F.unfold(F.pad(first, (1, 1, 1, 1), value=-1.0), 3).view(1, 3, 9, 9, 9).amax(2)[..., ::2, ::2]
    assert torch.equal(F.max_pool2d(first, 3, 2, padding=1), around)
    more = net(torch.randn(1, 3, 17, 17), torch.randn(1, 3, 17, 17))
    assert len(more) == len(net.channels) == len(net.strides)


@torch.no_grad()
def test_large_fov_sees_as_far_as_its_dilation():
    head = LargeFOVHead((5,), 2, (8,), channels=6, rate=12, mean_pool=False).eval()
    x = torch.zeros(1, 5, 41, 41)
    x[..., 20, 20] = 1
    image = torch.zeros(1, 3, 1, 1)
    moved = (head([x], image)["logits"] - head([0 * x], image)["logits"]).abs().sum((0, 1)) > 1e-7
    assert {tuple(place) for place in moved.nonzero().tolist()} <= {(y, x) for y in (8, 20, 32) for x in (8, 20, 32)}
    pooled = LargeFOVHead((5,), 2, (8,), channels=6, rate=12).eval()
    pooled.load_state_dict(head.state_dict())
    y = torch.randn(1, 5, 9, 9)
    expected = head([F.avg_pool2d(F.pad(y, (1, 1, 1, 1)), 3, 1)], image)["logits"]
    assert torch.allclose(pooled([y], image)["logits"], expected, atol=1e-6)


@torch.no_grad()
def test_side_branches_join_at_the_stride_of_the_last_map():
    net = VGG16Dilated(**NARROW).eval()
    head = LargeFOVHead(net.channels, 2, net.strides, channels=6, side_channels=3).eval()
    for height, width in ((321, 65), (64, 30)):
        image = torch.randn(1, 3, height, width)
        out = head(net(image), image)
        assert out["embedding"].shape == (1, 6 + 5 * 3, -(-height // 8), -(-width // 8))
    with pytest.raises(ValueError, match="five maps of VGG16Dilated"):
        LargeFOVHead((4, 5), 2, (4, 8), side_channels=3)


def gmac(name: str, side: int) -> float:
    model = build(name, 21, device="meta").eval().to("meta")
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, side, side, device="meta"))
    return counter.get_total_flops() / 2e9


def test_deeplab_v1_on_a_resnet_has_the_published_cost():
    assert gmac("deeplab_v1_r101", 513) == pytest.approx(182.5, rel=0.01)


def test_deeplab_v3plus_on_xception_has_the_published_cost():
    """54.17 in the table of the authors' released models, whose crops are 513 x 513."""
    assert gmac("deeplabv3plus_xception65", 513) == pytest.approx(54.17, rel=0.01)


@torch.no_grad()
def test_the_pyramid_is_the_sum_of_its_rates():
    head, x = DeepLabV2Head((3, 4), 2, rates=(1, 3)), torch.randn(1, 4, 9, 8)
    expected = sum(F.conv2d(x, b.weight, b.bias, padding=r, dilation=r) for b, r in zip(head.branches, (1, 3)))
    assert torch.allclose(head([x[:, :3], x])["logits"], expected, atol=1e-6)
    vgg = DeepLabV2Head((512,), 21, hidden=1024)
    assert count(vgg) == 37_877_652 - 14_714_688
    assert all(len([m for m in branch.modules() if isinstance(m, nn.Conv2d)]) == 3 for branch in vgg.branches)


SCALED = dict(
    num_classes=3,
    type="MultiScaleSegmentor",
    backbone=dict(type="VGG16Dilated", **NARROW),
    head=dict(type="LargeFOVHead", channels=6),
    align_corners=True,
    attention_channels=8,
)


def scaled(**own) -> nn.Module:
    return build_model({**SCALED, **own}).eval()


def stack(outputs: dict, scales: int) -> torch.Tensor:
    """[B,S,K,h,w]: the scores of all scales at the size of the merged ones."""
    size = outputs["logits"].shape[2:]
    maps = [outputs[f"scale{i}.logits"] for i in range(scales)]
    return torch.stack([F.interpolate(one, size, mode="bilinear", align_corners=True) for one in maps], 1)


@torch.no_grad()
def test_attention_to_scale_weighs_the_scores_of_the_scales():
    image = torch.randint(0, 256, (2, 3, 65, 97), dtype=torch.uint8)
    model = scaled()
    outputs = model(image)
    assert [tuple(outputs[f"scale{i}.logits"].shape[2:]) for i in range(3)] == [(9, 13), (7, 10), (5, 7)]
    scores = stack(outputs, 3)
    assert outputs["logits"].shape == (2, 3, 9, 13)
    assert (outputs["logits"] <= scores.amax(1) + 1e-6).all() and (outputs["logits"] >= scores.amin(1) - 1e-6).all()
    nn.init.zeros_(model.attention.scores.weight), nn.init.zeros_(model.attention.scores.bias)
    assert torch.allclose(model(image)["logits"], scores.mean(1), atol=1e-6)
    for i in range(3):
        model.attention.scores.bias.copy_(torch.eye(3)[i] * 1e4)
        assert torch.equal(model(image)["logits"], scores[:, i])
    # A scale is the network on the resized image, and nothing else.
    half = F.interpolate(model.normalize(image), (33, 49), mode="bilinear", align_corners=True)
    alone = model.head(model.backbone(half), image=half)["logits"]
    assert torch.equal(alone, outputs["scale2.logits"])


@torch.no_grad()
def test_scores_of_scales_merge_by_maximum_or_mean():
    image = torch.randint(0, 256, (1, 3, 65, 97), dtype=torch.uint8)
    for merge, expected in (("max", lambda s: s.amax(1)), ("mean", lambda s: s.mean(1))):
        model = scaled(merge=merge, scales=(0.5, 1.0))
        outputs = model(image)
        scores = stack(outputs, 2)
        assert torch.equal(outputs["logits"], expected(scores)) and model.attention is None
        assert outputs["logits"].shape == outputs["scale1.logits"].shape
        if merge == "max":
            assert all((outputs["logits"] >= scores[:, i]).all() for i in range(2))


def test_attention_of_three_scales_has_the_published_size():
    with torch.device("meta"):
        model = build_model({**SCALED, "attention_channels": 512, "head": dict(type="LargeFOVHead")})
    assert count(model.attention) == 14_157_827
    with pytest.raises(ConfigError, match="DeepLabV2Head has no single last convolution; choose 'max' or 'mean'"):
        scaled(head=dict(type="DeepLabV2Head"))
    with pytest.raises(ConfigError, match="'attention', 'max', 'mean'"):
        scaled(merge="sum")
    with pytest.raises(ConfigError, match="one or more positive factors"):
        scaled(scales=(1.0, 0.0))


def test_every_scale_has_a_loss_and_so_has_the_merged_map():
    cfg = dict(type="OnCoarseLabels", loss=dict(type="CrossEntropy"), target="mask", at="native", align_corners=True)
    criterion = build_criterion([dict(cfg, on="logits"), dict(cfg, on="scale?.logits")], True)
    model = scaled(aux=[dict(type="FCNHead", channels=4)]).train()
    image = torch.randint(0, 256, (2, 3, 65, 97), dtype=torch.uint8)
    mask = torch.randint(0, 3, (2, 65, 97))
    outputs = model(image)
    terms = criterion(outputs, dict(image=image, mask=mask), 0)
    assert sorted(terms) == ["OnCoarseLabels", *(f"scale{i}.OnCoarseLabels" for i in range(3))]
    expected = F.cross_entropy(outputs["scale0.logits"], mask[:, ::8, ::8])
    assert terms["scale0.OnCoarseLabels"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert {"scale0.aux0.logits", "scale2.aux0.logits"} <= outputs.keys()


def test_coarse_labels_by_hand():
    target = torch.arange(9).expand(9, 9)
    # Centres of thirds of nine pixels, and ends and middle.
    assert coarse_labels(target, (9, 3))[0].tolist() == [1, 4, 7]
    assert coarse_labels(target, (9, 3), align_corners=True)[0].tolist() == [0, 4, 8]
    assert coarse_labels(target, (9, 4), align_corners=True)[0].tolist() == [0, 3, 5, 8]  # 8 / 3, 16 / 3
    assert coarse_labels(target.T, (1, 9), align_corners=True)[:, 0].tolist() == [0]
    assert torch.equal(coarse_labels(target, (9, 9)), target)
    logits, labels = torch.randn(1, 3, 2, 2), torch.randint(0, 3, (1, 4, 4))
    expected = F.cross_entropy(logits, labels[:, 1::2, 1::2])
    assert OnCoarseLabels(CrossEntropy())(logits, labels).item() == pytest.approx(expected.item(), rel=1e-6)


@torch.no_grad()
def test_parsenet_brings_feature_and_context_to_one_length():
    x = torch.randn(2, 6, 4, 5)
    norm = L2Norm(6, 10.0)
    assert torch.allclose(norm(x).norm(dim=1), torch.tensor(10.0))
    norm.scale.copy_(torch.arange(6.0))
    by_hand = x[1, :, 2, 3] / x[1, :, 2, 3].square().sum().sqrt() * torch.arange(6.0)
    assert torch.allclose(norm(x)[1, :, 2, 3], by_hand, atol=1e-6)
    head = ParseNetHead((3,), 2, channels=6, local_scale=10.0, rate=1).eval()
    seen = []
    head.convs.register_forward_hook(lambda *arguments: seen.append(arguments[2]))
    embedding = head([torch.randn(2, 3, 5, 5)])["embedding"]
    assert torch.allclose(embedding[:, 6:], norm_of(seen[0].mean((2, 3), keepdim=True)).expand(-1, -1, 5, 5))
    assert torch.allclose(embedding[:, :6], norm_of(seen[0]))
    # Of a constant map the mean is each position: context and local feature are one.
    for conv in head.convs[0], head.convs[2]:
        nn.init.ones_(conv.conv.bias), conv.conv.weight.mul_(0)
    embedding = head([torch.ones(1, 3, 5, 5)])["embedding"]
    assert torch.allclose(embedding[:, :6], embedding[:, 6:])


def norm_of(x: torch.Tensor) -> torch.Tensor:
    return 10 * x / x.square().sum(1, keepdim=True).sqrt()


@torch.no_grad()
def test_parsenet_needs_its_normalization_where_channels_differ():
    heads = [
        ParseNetHead((3,), 2, channels=6, rate=1, normalize=flag, local_scale=1, context_scale=1).eval()
        for flag in (True, False)
    ]
    heads[1].load_state_dict(heads[0].state_dict(), strict=False)
    x = torch.randn(1, 3, 5, 5).abs()
    assert not torch.allclose(heads[0]([x])["logits"], heads[1]([x])["logits"], atol=1e-3)
    for head in heads:
        for layer in head.convs[0], head.convs[2]:
            nn.init.zeros_(layer.conv.bias)
    # A hundredfold feature gives the same directions, and a hundredfold unnormalized score.
    first, large = (heads[0]([x * factor])["logits"] for factor in (1, 100))
    assert torch.allclose(first, large, atol=1e-5)
    bias = heads[1].classifier.bias.view(-1, 1, 1)
    assert torch.allclose(heads[1]([100 * x])["logits"] - bias, 100 * (heads[1]([x])["logits"] - bias), rtol=1e-3)


@torch.no_grad()
def test_late_fusion_adds_two_classifiers():
    head = ParseNetHead((3,), 2, channels=6, rate=1, late=True).eval()
    outputs = head([torch.randn(1, 3, 5, 6)])
    local, context = outputs["embedding"].split(6, 1)
    expected = F.conv2d(local, head.late[0].weight, head.late[0].bias)
    expected = expected + F.conv2d(context, head.late[1].weight, head.late[1].bias)
    assert torch.allclose(outputs["logits"], expected, atol=1e-5)


@torch.no_grad()
def test_the_dilated_densenet_keeps_its_eighth():
    net = TimmDenseNet("densenet121").eval()
    x = torch.randn(1, 3, 65, 97)
    sizes = [tuple(f.shape[1:]) for f in net(x)]
    assert sizes == [(64, 33, 49), (256, 17, 25), (512, 9, 13), (1024, 9, 13), (1024, 9, 13)]
    assert net.strides == (2, 4, 8, 8, 8) and net.channels == (64, 256, 512, 1024, 1024)
    deep = [m.dilation for n, m in net.named_modules() if n.endswith("denseblock4.denselayer3.conv2") for _ in (0,)]
    assert [m.dilation[0] for n, m in net.named_modules() if n.endswith("denselayer3.conv2")] == [1, 1, 2, 4]
    assert deep == [(4, 4)]
    assert TimmDenseNet("densenet121", dilations=(2,)).strides == (2, 4, 8, 16, 16)
    with pytest.raises(ConfigError, match="name a DenseNet of timm"):
        TimmDenseNet("resnet18")


def test_the_row_of_dilations_sees_127_cells():
    blocks = [
        DenseAtrous(1 + i, 1, hidden=2, dilation=rate, dropout=0.0, norm_first=i > 0).eval()
        for i, rate in enumerate((3, 6, 12, 18, 24))
    ]
    for block in blocks:
        block.norm2 = nn.Identity()
        if block.norm1 is not None:
            block.norm1 = nn.Identity()
        for conv in block.conv1, block.conv2:
            nn.init.ones_(conv.weight), nn.init.ones_(conv.bias)
    x = torch.ones(1, 1, 1, 151, requires_grad=True)
    y = x
    for block in blocks:
        y = torch.cat([block(y), y], 1)
    y[0, 0, 0, 75].backward()
    seen = x.grad[0, 0, 0].nonzero()
    assert int(seen.max() - seen.min()) + 1 == 1 + 2 * (3 + 6 + 12 + 18 + 24) == 127


def published_denseaspp(growth: int, stem: int, blocks: tuple[int, ...], hidden: int, out: int) -> dict:
    """Name -> shape of the authors' network, as their files hold them, without counters."""
    shapes: dict[str, tuple[int, ...]] = {"features.conv0.weight": (stem, 3, 7, 7)}

    def norm(name: str, width: int) -> None:
        shapes.update({f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")})

    norm("features.norm0", stem)
    width = stem
    for i, layers in enumerate(blocks, 1):
        for j in range(1, layers + 1):
            name = f"features.denseblock{i}.denselayer{j}"
            norm(f"{name}.norm.1", width), norm(f"{name}.norm.2", 4 * growth)
            shapes[f"{name}.conv.1.weight"] = (4 * growth, width, 1, 1)
            shapes[f"{name}.conv.2.weight"] = (growth, 4 * growth, 3, 3)
            width += growth
        norm(f"features.transition{i}.norm", width)
        shapes[f"features.transition{i}.conv.weight"] = (width // 2, width, 1, 1)
        width //= 2
    norm("features.norm5", width)
    for i, rate in enumerate((3, 6, 12, 18, 24)):
        if i:
            norm(f"ASPP_{rate}.norm.1", width)
        norm(f"ASPP_{rate}.norm.2", hidden)
        shapes |= {
            f"ASPP_{rate}.conv.1.weight": (hidden, width, 1, 1),
            f"ASPP_{rate}.conv.1.bias": (hidden,),
            f"ASPP_{rate}.conv.2.weight": (out, hidden, 3, 3),
            f"ASPP_{rate}.conv.2.bias": (out,),
        }
        width += out
    return shapes | {"classification.1.weight": (19, width, 1, 1), "classification.1.bias": (19,)}


@pytest.mark.parametrize(
    "name, form",
    [
        ("denseaspp_densenet121", (32, 64, (6, 12, 24, 16), 128, 64)),
        ("denseaspp_densenet161", (48, 96, (6, 12, 36, 24), 512, 128)),
    ],
)
def test_published_denseaspp_names_match_one_to_one(name, form):
    own = build(name, 19, device="meta").state_dict()
    published = published_denseaspp(*form)
    report = load_map("denseaspp").check(published, own)
    assert f"{len(own)} tensors matched, 0 dropped" in report


@torch.no_grad()
def test_height_attention_weighs_rows():
    block = HeightAttention(8, 5, rows=4, reduction=4).eval()
    below, x = torch.randn(2, 8, 9, 6), torch.randn(2, 5, 12, 7)
    places = row_positions(None, (64, 64), rows=4, batch=2)
    assert places.tolist() == [[0, 1, 2, 3]] * 2
    ratio = block(below, x, places) / x
    assert torch.allclose(ratio, ratio[..., :1].expand_as(ratio), atol=1e-5), "one weight along each row"
    assert ((ratio > 0) & (ratio < 1)).all()
    assert not torch.equal(block(below, x, places), block(below, x, places.flip(1))), "height matters"
    nn.init.zeros_(block.gate.weight), nn.init.zeros_(block.gate.bias)
    assert torch.allclose(block(below, x, places), 0.5 * x)


def test_height_attention_has_the_published_sizes():
    head = HANetHead((64, 256, 512, 1024, 2048), 19)
    assert [count(part) for part in head.attention.values()] == [216_976, 319_520, 59_476, 9_731]
    assert count(head.attention) == 605_703
    assert [*HANetHead((8, 8, 8, 8), 2, channels=8, places=(1, 4)).attention] == ["1", "4"]
    with pytest.raises(ValueError, match="in 0 to 4"):
        HANetHead((8, 8, 8, 8), 2, channels=8, places=(5,))


def test_noise_moves_places_by_two_at_most_and_in_training_alone():
    block = HeightAttention(8, 5, rows=16, reduction=4, noise=5.0, dropout=0.0)
    seen = []
    block.position.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    places = row_positions(None, (64, 64), rows=16, batch=8)
    for mode in (True, False):
        block.train(mode)(torch.randn(8, 8, 16, 4), torch.randn(8, 5, 16, 4), places)
    moved = seen[0] - places
    assert moved.abs().max() == 2 and seen[0].min() == 0 and seen[0].max() == 16
    assert torch.equal(seen[1], places)


def test_rows_of_a_crop_know_their_place():
    # Half a picture of 64 rows, from its row 16 on; sixteenths of the picture have 4 rows, of the crop 2.
    crop_of = (16, 0, 48, 10, 64, 100)
    assert row_positions([crop_of], (32, 10), rows=16, batch=1)[0].tolist() == [4 + i // 2 for i in range(16)]
    # The lower half of the crop is padding.
    padded = row_positions([(48, 0, 64, 10, 64, 100)], (32, 10), rows=4, batch=1)
    assert padded[0].tolist() == [3, 3, 4, 4]
    assert row_positions(None, (1024, 9), rows=16, batch=1)[0].tolist() == list(range(16))
    with pytest.raises(ValueError, match="H, W of the whole image"):
        row_positions([(0, 0, 8, 8)], (8, 8), rows=4, batch=1)


def test_a_crop_carries_its_place_to_the_model():
    rng = np.random.default_rng(0)
    sample = dict(image=np.zeros((40, 60, 3), np.uint8), meta=dict(id="a", path="a", size=(40, 60)))
    cut = RandomCrop((16, 16))(sample, rng)
    y, x = (int(v) for v in cut["window"][:2])
    again = crop(cut, 4, 5, (8, 8))
    for one, expected in ((cut, (y, x, y + 16, x + 16)), (again, (y + 4, x + 5, y + 12, x + 13))):
        assert collate_train([one])["window"] == [(*expected, 40, 60)]
    doubled = collate_train([resize(again, (16, 24))])["window"][0]
    assert doubled == (2 * y + 8, 3 * x + 15, 2 * y + 24, 3 * x + 39, 80, 180)
    enlarged = RandomScaleCrop((16, 16), 2.0, 2.0)(sample, rng)
    y, x = (int(v) for v in enlarged["window"][:2])
    assert collate_train([enlarged])["window"] == [(y, x, y + 16, x + 16, 80, 120)]
    # Twice the picture, an eighth of its height from y on.
    places = row_positions(collate_train([enlarged])["window"], (16, 16), rows=8, batch=1)[0]
    assert places.tolist() == [(y + 2 * i) * 8 // 80 for i in range(8)]


@torch.no_grad()
def test_sliding_windows_tell_the_model_their_rows():
    small = ("model.backbone.name='resnet18'", "model.backbone.pretrained=None", "model.head.channels=8")
    model = build("hanet_r101", 3, small).eval()
    seen = []
    model.head.register_forward_pre_hook(lambda _m, _a, named: seen.append(named), with_kwargs=True)
    image = torch.randint(0, 256, (1, 3, 48, 32), dtype=torch.uint8)
    scores = slide(whole(model), (32, 32), stride=(16, 16))(image)
    assert scores.shape == (1, 3, 48, 32)
    places = [row_positions(named["window"], named["size"], rows=16, batch=1)[0].tolist() for named in seen]
    assert places == [[i * 2 * 16 // 48 for i in range(16)], [(16 + i * 2) * 16 // 48 for i in range(16)]]
    told = model(image[..., 16:, :], window=[(16, 0, 48, 32, 48, 32)])["logits"]
    assert not torch.equal(told, model(image[..., 16:, :])["logits"])


@torch.no_grad()
def test_every_dilation_of_the_row_sees_the_positive_part_of_all_before_it():
    head = DenseASPPHead((8,), 3, hidden=6, channels=2, rates=(1, 2, 3)).eval()
    for module in head.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean), nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.weight), nn.init.normal_(module.bias)
    x = torch.randn(2, 8, 7, 9)

    def norm(values: torch.Tensor, bn: nn.BatchNorm2d) -> torch.Tensor:
        return F.batch_norm(values, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=bn.eps)

    feature = norm(F.conv2d(norm(x, head.transition[0]).relu(), head.transition[2].weight), head.norm)
    found = [feature.clamp(min=0)]
    for rate, block in zip((1, 2, 3), head.row):
        joined = torch.cat(found[::-1], 1)
        inner = joined if rate == 1 else norm(joined, block.norm1).relu()
        inner = norm(F.conv2d(inner, block.conv1.weight, block.conv1.bias), block.norm2).relu()
        found.append(F.conv2d(inner, block.conv2.weight, block.conv2.bias, padding=rate, dilation=rate))
    scores = F.conv2d(torch.cat(found[::-1], 1), head.classifier.weight, head.classifier.bias)
    assert torch.allclose(head([x])["logits"], scores, atol=1e-5)


@torch.no_grad()
def test_hanet_with_open_gates_is_deeplab():
    head = HANetHead((4, 5, 6, 7), 3, channels=8, low_channels=2, rates=(1, 2)).eval()
    plain = HANetHead((4, 5, 6, 7), 3, channels=8, low_channels=2, rates=(1, 2), places=()).eval()
    plain.load_state_dict({k: v for k, v in head.state_dict().items() if not k.startswith("attention")})
    for part in head.attention.values():
        nn.init.zeros_(part.gate.weight), nn.init.constant_(part.gate.bias, 100.0)
    features = [torch.randn(2, width, side, side) for width, side in ((4, 16), (5, 8), (6, 8), (7, 8))]
    asked = dict(window=None, size=(64, 64))
    assert torch.allclose(head(features, **asked)["logits"], plain(features, **asked)["logits"], atol=1e-5)
    # Half of what leaves the last attended map, which the classifier reads.
    nn.init.zeros_(head.attention["3"].gate.bias)
    embedding = plain(features, **asked)["embedding"]
    assert torch.allclose(head(features, **asked)["embedding"], 0.5 * embedding, atol=1e-5)
