"""What each form of attention must satisfy, worked by hand or against a slow reference: loops over positions."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segkit.archs.ann import ANNHead
from segkit.archs.ccnet import CrissCrossAttention
from segkit.archs.danet import ChannelAttention, DAHead
from segkit.archs.dnl import DisentangledBlock
from segkit.archs.emanet import EMAHead, EMAttention
from segkit.archs.gcnet import GlobalContext
from segkit.archs.isanet import ISAHead
from segkit.archs.nonlocal_net import NonLocalBlock
from segkit.archs.ocnet import ASPOCHead, ObjectContext, OCHead, PyramidOCHead
from segkit.archs.ocrnet import region_vectors
from segkit.archs.psanet import PointwiseAttention, to_pairwise
from segkit.backbones.hrnet import FUSE_UPSAMPLES, HRModule, HRNet
from segkit.config import load_config
from segkit.models.attention_layers import SelfAttention2d, attend, pool_points
from segkit.registry import ConfigError, build_model
from tests.oracles import ROOT


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def flat(x):
    """[1,C,h,w] -> list of h * w vectors."""
    return list(x[0].flatten(1).T)


@torch.no_grad()
def test_attention_is_a_softmax_mean_per_position():
    query, key, value = torch.randn(1, 3, 2, 4), torch.randn(1, 3, 5, 1), torch.randn(1, 6, 5, 1)
    ours = flat(attend(query, key, value, scale=0.7))
    for one, q in zip(ours, flat(query)):
        weights = [math.exp(0.7 * float(q @ k)) for k in flat(key)]
        expected = sum(w * v for w, v in zip(weights, flat(value))) / sum(weights)
        assert torch.allclose(one, expected, atol=1e-5)


@torch.no_grad()
def test_pyramid_points_are_110_and_start_with_the_mean():
    x = torch.randn(2, 3, 9, 13)
    points = pool_points(x, (1, 3, 6, 8))
    assert points.shape == (2, 3, 110, 1)
    assert torch.allclose(points[:, :, 0, 0], x.mean((2, 3)), atol=1e-6)
    head = ANNHead((8, 16), 3, channels=8, attention_channels=4)
    seen = []
    for part in (head.fusion, head.context):
        part.query.register_forward_hook(lambda _m, _i, output: seen.append(output.shape[2:]))
    assert head([torch.randn(1, 8, 9, 13), torch.randn(1, 16, 9, 13)])["logits"].shape == (1, 3, 9, 13)
    assert seen == [(9, 13), (9, 13)], "the query is made once, at every position, also where it is the key"


@torch.no_grad()
@pytest.mark.parametrize(
    "block",
    [NonLocalBlock(8), GlobalContext(8), DisentangledBlock(8), CrissCrossAttention(8), ChannelAttention()],
    ids=lambda block: type(block).__name__,
)
def test_blocks_start_as_the_identity_and_do_not_stay_it(block):
    x = torch.randn(2, 8, 5, 7)
    assert torch.equal(block.eval()(x), x)
    for parameter in block.parameters():
        parameter.add_(0.5)
    assert not torch.allclose(block(x), x, atol=1e-2)


@torch.no_grad()
def test_dual_attention_starts_as_three_plain_paths():
    head = DAHead((8,), 3, channels=8).eval()
    x = torch.randn(1, 8, 5, 7)
    outputs = head([x])
    position, channel = head.pam_out(head.pam_in(x)), head.cam_out(head.cam_in(x))
    assert torch.allclose(outputs["pam.logits"], head.pam_classifier(position), atol=1e-6)
    assert torch.allclose(outputs["cam.logits"], head.cam_classifier(channel), atol=1e-6)
    assert torch.allclose(outputs["logits"], head.classifier(position + channel), atol=1e-6)


@torch.no_grad()
def test_channels_attend_to_unlike_channels():
    block = ChannelAttention()
    block.gamma.fill_(1)
    x = torch.zeros(1, 2, 1, 2)
    x[0, 0, 0, 0], x[0, 1, 0, 1] = 10, 20
    # Products 100, 0 and 0, 400: each channel takes the other's map.
    assert torch.allclose(block(x) - x, x.flip(1), atol=1e-5)


@torch.no_grad()
def test_disentangled_pairs_ignore_what_all_positions_share():
    block = DisentangledBlock(8).eval()
    block.out.bn.weight.fill_(1)
    x = torch.randn(1, 8, 4, 5)
    expected = flat(block(x))
    query, key, value = (flat(layer(x)) for layer in (block.query, block.key, block.value))
    query, key = ([v - sum(vs) / len(vs) for v in vs] for vs in (query, key))
    unary = torch.stack([m[0] for m in flat(block.mask(x))]).softmax(0)
    for i, q in enumerate(query):
        pair = torch.stack([q @ k for k in key]).div(2 * 0.05).softmax(0)  # 4 channels are compared: their root is 2
        gathered = sum((p + u) * v for p, u, v in zip(pair, unary, value))
        assert torch.allclose(expected[i], flat(x)[i] + block.out(gathered.view(1, -1, 1, 1)).flatten(), atol=1e-4)
    for layer in (block.query, block.key):
        layer.bias.add_(3)
    assert torch.allclose(torch.stack(flat(block(x))), torch.stack(expected), atol=1e-4)


@torch.no_grad()
def test_a_cross_counts_its_own_position_once():
    block = CrissCrossAttention(8, reduction=2, recurrence=1)
    x = torch.randn(1, 8, 3, 4)
    query, key, value = (layer(x)[0] for layer in (block.query, block.key, block.value))
    ours = block.gather(x)[0]
    for i in range(3):
        for j in range(4):
            cross = {(m, j) for m in range(3)} | {(i, n) for n in range(4)}
            weights = torch.stack([query[:, i, j] @ key[:, m, n] for m, n in sorted(cross)]).softmax(0)
            expected = sum(w * value[:, m, n] for w, (m, n) in zip(weights, sorted(cross)))
            assert torch.allclose(ours[:, i, j], expected, atol=1e-5)


@pytest.mark.parametrize("recurrence, share", [(1, 5 + 7 - 1), (2, 35)])
def test_two_crosses_reach_every_position(recurrence, share):
    block = CrissCrossAttention(8, recurrence=recurrence)
    nn.init.ones_(block.gamma)
    x = torch.randn(1, 8, 5, 7, requires_grad=True)
    block(x)[0, :, 2, 3].sum().backward()
    assert int((x.grad.abs().amax(1) > 0).sum()) == share


@torch.no_grad()
def test_interlaced_attention_sees_far_by_phase_and_near_by_window():
    head = ISAHead((4,), 2, channels=4, attention_channels=4, window=(2, 3)).eval()
    x = torch.randn(1, 4, 4, 6)
    ours = head.interlace(x)
    expected = torch.empty_like(x)
    for i in range(2):
        for j in range(3):
            expected[..., i::2, j::3] = head.far(x[..., i::2, j::3])
    for i in range(0, 4, 2):
        for j in range(0, 6, 3):
            expected[..., i : i + 2, j : j + 3] = head.near(expected[..., i : i + 2, j : j + 3])
    assert torch.allclose(ours, expected, atol=1e-6)
    padded = head.interlace(F.pad(x[..., :3, :5], (0, 1, 0, 1)))
    assert torch.allclose(head.interlace(x[..., :3, :5]), padded[..., :3, :5], atol=1e-6)


@torch.no_grad()
def test_sharp_bases_are_a_step_of_k_means():
    x = F.normalize(torch.randn(1, 3, 40), dim=1)
    bases = F.normalize(torch.randn(1, 3, 4), dim=1)
    share = EMAttention.expect(x, 1e4 * bases)
    nearest = (x[0].T @ bases[0]).argmax(1)
    assert torch.equal(share[0], F.one_hot(nearest, 4).float())
    moved = EMAttention.maximize(x, share)[0]
    for k in range(4):
        assert torch.allclose(moved[:, k], F.normalize(x[0][:, nearest == k].mean(1), dim=0), atol=1e-6)


def test_bases_move_in_training_alone_and_learn_nothing_by_gradient():
    head = EMAHead((8,), 3, channels=4, attention_channels=8, num_bases=5)
    x, start = torch.randn(2, 8, 6, 6), head.attention.bases.clone()
    head.eval()([x])
    assert torch.equal(head.attention.bases, start)
    head.train()([x])["logits"].sum().backward()
    moved = head.attention.bases - start
    assert 0 < moved.abs().max() < 0.2
    assert all(p.grad is not None for name, p in head.named_parameters() if not name.startswith("before."))
    assert all(p.grad is None and not p.requires_grad for p in head.before.parameters())
    single = EMAttention(8, 5, momentum=0.25)
    before, image = single.bases.clone(), torch.randn(1, 8, 6, 6)
    bases = before
    for _ in range(3):
        bases = EMAttention.maximize(image.flatten(2), EMAttention.expect(image.flatten(2), bases))
    single(image)
    assert torch.allclose(single.bases, 0.75 * before + 0.25 * bases, atol=1e-6)


@torch.no_grad()
def test_certain_regions_are_the_feature_of_their_pixel():
    x, coarse = torch.randn(2, 6, 4, 5), torch.zeros(2, 3, 4, 5)
    for k, (i, j) in enumerate([(0, 0), (2, 3), (3, 4)]):
        coarse[:, k, i, j] = 1e4
    vectors = region_vectors(coarse, x)
    assert torch.allclose(vectors[..., 0], torch.stack([x[:, :, 0, 0], x[:, :, 2, 3], x[:, :, 3, 4]], dim=2))
    # Weights over the classes sum to 1: equal vectors come back whatever the relation is.
    relation = SelfAttention2d(nn.Conv2d(6, 4, 1), nn.Conv2d(6, 4, 1), nn.Identity(), scale=0.5)
    same = vectors[:, :, :1].expand(-1, -1, 3, -1)
    assert torch.allclose(relation(x, same), vectors[:, :, :1].expand(-1, -1, 4, 5), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    "size, mask", [((5, 5), (9, 9)), ((4, 5), (5, 3)), ((5, 4), (8, 9)), ((5, 6), (4, 2)), ((3, 3), (6, 6))]
)
def test_masks_are_read_by_relative_position(size, mask):
    """Of an even side the middle is the last of the first half, as in the published operator."""
    (height, width), half = size, ((mask[0] - 1) // 2, (mask[1] - 1) // 2)
    for is_collecting in (True, False):
        branch = PointwiseAttention(3, 4, mask, 1, is_collecting).eval()
        branch.mask.weight.mul_(5)
        x = torch.randn(1, 3, height, width)
        reduced = branch.reduce(x)
        whole = branch.mask(branch.hidden(reduced))[0].view(*mask, height, width)
        table = torch.zeros(height * width, height * width)  # [of position j, what i says]
        for i in range(height * width):
            for j in range(height * width):
                down, across = j // width - i // width + half[0], j % width - i % width + half[1]
                if 0 <= down < mask[0] and 0 <= across < mask[1]:
                    table[j, i] = whole[down, across, i // width, i % width]
        table = table if is_collecting else table.T
        expected = reduced.flatten(2) @ table.softmax(0)
        assert torch.allclose(branch(x).flatten(2), expected, atol=1e-5)


@torch.no_grad()
def test_a_mask_that_names_its_middle_is_the_identity():
    mask = torch.zeros(1, 49, 4, 4)
    mask[:, 24] = 1
    assert torch.equal(to_pairwise(mask, (3, 3), (3, 3))[0], torch.eye(16))


def test_the_config_for_ade20k_has_the_published_mask():
    cfg = load_config(ROOT / "configs/psanet/psanet_r50_160k_ade20k_512x512.py")
    with torch.device("meta"):
        model = build_model(cfg["model"])
    assert model.head.collect.mask.weight.shape == (66 * 66, 512, 1, 1)


@torch.no_grad()
def test_object_context_adds_nothing_at_the_start():
    context = ObjectContext(8, 4, 4, 8).eval()
    x = torch.randn(1, 8, 5, 7)
    assert torch.equal(context(x), torch.zeros_like(x))
    assert context.state_dict().keys() >= {"query.0.weight", "value.weight", "out.weight"}


@torch.no_grad()
def test_object_context_of_parts_is_that_of_each_rectangle_alone():
    context = ObjectContext(4, 4, 4, 4, parts=3).eval()
    nn.init.normal_(context.out.weight)
    x = torch.randn(1, 4, 7, 11)
    ours, whole = context(x), ObjectContext(4, 4, 4, 4).eval()
    whole.load_state_dict(context.state_dict())
    # 7 rows are 2, 2 and 3; 11 columns 3, 3 and 5.
    for rows in (slice(0, 2), slice(2, 4), slice(4, 7)):
        for columns in (slice(0, 3), slice(3, 6), slice(6, 11)):
            assert torch.allclose(ours[..., rows, columns], whole(x[..., rows, columns]), atol=1e-6)
    assert context(x[..., :2, :2]).shape == (1, 4, 2, 2), "no more parts than cells"


def test_object_context_heads_have_the_sizes_worked_by_hand():
    def conv(before, after, kernel, extra):
        """extra: numbers per output channel: bias 1, normalization 2."""
        return before * after * kernel**2 + extra * after

    reduce, classify = conv(2048, 512, 3, 3), conv(512, 19, 1, 1)
    context = conv(512, 256, 1, 3) + conv(512, 256, 1, 1) + conv(256, 512, 1, 1)
    base = reduce + context + conv(1024, 512, 1, 3) + classify
    gathered = conv(512, 256, 1, 3) + 2 * conv(512, 512, 1, 1)
    pyramid = reduce + 4 * gathered + conv(512, 2048, 1, 3) + conv(4096, 512, 1, 3) + classify
    small = conv(512, 256, 3, 3) + conv(256, 128, 1, 3) + 2 * conv(256, 256, 1, 1) + conv(256, 256, 1, 3)
    branches = conv(512, 256, 1, 2) + 3 * conv(512, 256, 3, 2)
    asp = reduce + small + branches + conv(1280, 512, 1, 2) + classify
    assert base == 10_369_043
    with torch.device("meta"):
        for head, expected in ((OCHead, base), (PyramidOCHead, pyramid), (ASPOCHead, asp)):
            assert sum(p.numel() for p in head((1024, 2048), 19).parameters()) == expected


@torch.no_grad()
def test_hrnet_has_the_size_the_strides_and_the_stem_it_states():
    with torch.device("meta"):
        sizes = {width: HRNet(width) for width in (18, 48)}
    counts = {width: sum(p.numel() for p in net.parameters()) for width, net in sizes.items()}
    assert counts == {18: 9_562_260, 48: 65_325_120}
    net = HRNet(4, num_modules=(1, 1, 1), num_blocks=1).eval()
    x, clicks = torch.randn(1, 3, 65, 97), torch.zeros(1, 64, 33, 49)
    plain = net(x)
    assert [tuple(f.shape[1:]) for f in plain] == [(4, 17, 25), (8, 9, 13), (16, 5, 7), (32, 3, 4)]
    assert all(torch.equal(a, b) for a, b in zip(plain, net(x, clicks)))
    assert not torch.equal(plain[0], net(x, clicks + 1)[0])


@torch.no_grad()
def test_hrnet_has_timms_names_and_its_outputs_at_even_sizes():
    import timm

    theirs = timm.create_model("hrnet_w18_small_v2", features_only=True, feature_location="", out_indices=(1, 2, 3, 4))
    weights = theirs.state_dict()
    ours = HRNet(18, num_modules=(1, 3, 2), num_blocks=2, fuse_upsample="nearest", pretrained=lambda: weights).eval()
    x = torch.randn(1, 3, 64, 96)
    for a, b in zip(ours(x), theirs.eval()(x)):
        assert torch.allclose(a, b, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("upsample", FUSE_UPSAMPLES)
def test_branches_are_summed_at_each_others_size(upsample):
    module = HRModule((2, 4), 0, upsample).eval()
    fine, coarse = torch.randn(1, 2, 5, 7), torch.randn(1, 4, 3, 4)
    lifted = module.fuse_layers[0][1](coarse)
    resized = {
        "nearest": F.interpolate(lifted, (5, 7)),
        "bilinear": F.interpolate(F.interpolate(lifted, scale_factor=2, mode="bilinear"), (5, 7), mode="bilinear"),
        "bilinear_size": F.interpolate(lifted, (5, 7), mode="bilinear"),
        "bilinear_corners": F.interpolate(lifted, (5, 7), mode="bilinear", align_corners=True),
    }[upsample]
    assert torch.allclose(module([fine, coarse])[0], F.relu(fine + resized), atol=1e-6)


def test_hrnet_names_the_upsamplings_it_knows():
    with pytest.raises(ConfigError, match="bilinear_corners"):
        HRNet(fuse_upsample="cubic")


def test_hrnet_keeps_statistics_with_norm_eval():
    net = HRNet(4, num_modules=(1, 1, 1), num_blocks=1, norm_eval=True).train()
    assert net.training and not net.bn1.training and not net.stage4[0].fuse_layers[0][1][1].training
