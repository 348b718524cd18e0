"""What CaC-Net, SANet, CPNet, CFNet and the fitted DUpsampling must satisfy beyond their size: worked by hand or
against a slow reference."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segkit.archs._predicted_filter import convolve_each
from segkit.archs.cacnet import ContextAdaptiveConvolution
from segkit.archs.cfnet import AggregatedCooccurrence, CFHead
from segkit.archs.cpnet import Aggregation, CPHead
from segkit.archs.sanet import SAHead, SqueezeAttention
from segkit.inference import slide, whole
from segkit.losses.affinity import Affinity
from tests.archs_table import build


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@torch.no_grad()
def test_each_image_is_convolved_by_its_own_kernels():
    x, kernels = rand(2, 3, 7, 6), rand(2, 3, 3, 3, seed=1)
    ours = convolve_each(x, kernels, dilation=2)
    for image in range(2):
        for channel in range(3):
            alone = F.conv2d(x[image, channel][None, None], kernels[image, channel][None, None], padding=2, dilation=2)
            assert torch.allclose(ours[image, channel], alone[0, 0], atol=1e-5)


@torch.no_grad()
def test_context_adaptive_convolution_by_its_formula():
    part, x = ContextAdaptiveConvolution(4, norm=False), rand(2, 4, 7, 6)
    keys, weights = part.key(x), part.query(x)
    slow = torch.zeros(2, 4, 3, 3)
    for tap in range(9):
        share = weights[:, tap].flatten(1).softmax(1).view(2, 1, 7, 6)
        slow[:, :, tap // 3, tap % 3] = (keys * share).sum((2, 3))
    assert torch.allclose(part.kernels(x), slow, atol=1e-6)
    gate = torch.zeros_like(x)
    for rate in (1, 3, 5):
        for image in range(2):
            gate[image] += F.conv2d(x[image], slow[image][:, None], padding=rate, dilation=rate, groups=4).sigmoid()
    assert torch.allclose(part(x), x * gate, atol=1e-5)


@torch.no_grad()
def test_a_kernel_of_zeros_weighs_all_by_half_per_rate():
    part, x = ContextAdaptiveConvolution(4, norm=False), rand(1, 4, 5, 6)
    nn.init.zeros_(part.key.weight), nn.init.zeros_(part.key.bias)
    assert torch.equal(part(x), 0.5 * 3 * x)
    assert count(ContextAdaptiveConvolution(512, norm=False)) == 267_273
    with pytest.raises(ValueError, match="odd"):
        ContextAdaptiveConvolution(4, 2)


@torch.no_grad()
def test_predicted_kernels_are_each_images_own():
    part, x = ContextAdaptiveConvolution(4).eval(), rand(2, 4, 7, 6)
    assert torch.allclose(part(x), torch.cat([part(x[:1]), part(x[1:])]), atol=1e-6)
    assert not torch.allclose(part.kernels(x)[0], part.kernels(x)[1], atol=1e-3)


@torch.no_grad()
def test_attention_of_one_adds_one_to_the_main_branch():
    block = SqueezeAttention(3, 4).eval()
    last = block.attention[1].bn
    nn.init.zeros_(last.weight), nn.init.ones_(last.bias)
    for size in ((8, 6), (7, 5), (1, 1)):
        x = rand(1, 3, *size)
        assert torch.allclose(block(x), block.main(x) + 1)


@torch.no_grad()
def test_squeezed_attention_multiplies_and_is_added():
    block, x = SqueezeAttention(3, 4).eval(), rand(1, 3, 6, 8)
    attention = F.interpolate(block.attention(F.avg_pool2d(x, 2)), (6, 8), mode="bilinear")
    assert torch.allclose(block(x), (block.main(x) + 1) * attention, atol=1e-6)


@torch.no_grad()
def test_one_classifier_over_all_branches_is_the_sum_of_theirs():
    head = SAHead((3, 4, 5), 2, channels=6, attention_channels=4, levels=(-2, -1)).eval()
    features = [rand(1, c, s, s + 1, seed=c) for c, s in ((3, 12), (4, 7), (5, 7))]
    outputs = head(features)
    branches = [*(b(features[i]) for b, i in zip(head.blocks, (-2, -1))), head.plain(features[-1])]
    weights = head.classifier.weight.split((4, 4, 6), dim=1)
    scores = sum(F.conv2d(x, w) for x, w in zip(branches, weights)) + head.classifier.bias[:, None, None]
    assert torch.allclose(outputs["logits"], scores, atol=1e-5)
    means = torch.cat([x.mean((2, 3)) for x in branches[:2]], dim=1)
    assert torch.allclose(outputs["presence"], head.presence(means), atol=1e-6)


@torch.no_grad()
def test_intra_and_inter_context_are_the_prior_and_its_opposite():
    head, x = CPHead((6,), 3, (8,), channels=4, grid=(3, 5)).eval(), rand(2, 4, 3, 5)
    prior, intra, inter = head.contexts(x)
    assert prior.shape == (2, 15, 15)
    flat, p = x.flatten(2).transpose(1, 2), prior.sigmoid()
    assert torch.allclose(intra.flatten(2), (p @ flat / 15).transpose(1, 2), atol=1e-6)
    assert torch.allclose(inter.flatten(2), ((1 - p) @ flat / 15).transpose(1, 2), atol=1e-6)
    assert torch.allclose(intra + inter, x.mean((2, 3), keepdim=True).expand_as(x), atol=1e-6)
    # the row is the position that asks: its channel j, before the transposition, is what it thinks of position j
    row = head.prior(x)[1, :, 2, 4]
    assert torch.equal(prior[1, 2 * 5 + 4], row)


@torch.no_grad()
def test_a_prior_that_is_the_label_costs_least():
    target = torch.tensor([[[0, 0, 0], [0, 1, 1]]])
    loss, flat = Affinity((2, 3)), target.flatten(1)
    same = (flat[:, :, None] == flat[:, None, :]).float()
    # Recall, specificity and unary term are 0; precision leaves out each row's own pair: 3 of 4 rows, 1 of 2.
    expected = -(4 * torch.tensor(3 / 4).log() + 2 * torch.tensor(1 / 2).log()) / 6
    assert loss(200 * (same - 0.5), target).item() == pytest.approx(expected.item(), abs=1e-5)
    assert loss(torch.zeros(1, 6, 6), target) > 3 * expected


def test_the_prior_takes_one_size_and_says_which():
    head = CPHead((6,), 3, (8,), channels=4, grid=(3, 5))
    with pytest.raises(ValueError, match=r"images of \(24, 40\).*mode='slide', crop=\(24, 40\)"):
        head([rand(1, 6, 3, 6)])
    with pytest.raises(ValueError, match="odd"):
        Aggregation(4, 4, 10)


@torch.no_grad()
def test_aggregation_is_two_separable_kernels():
    part = Aggregation(3, 2, 5).eval()
    x = part.reduce(rand(1, 3, 9, 8))
    for path in part.paths:
        for conv in path:
            nn.init.zeros_(conv.conv.bias)
    columns_last = [path[::-1] for path in part.paths[1:]]
    kernels = 0
    for column, row in (part.paths[0], *columns_last):
        assert column.conv.weight.shape == (2, 1, 5, 1) and row.conv.weight.shape == (2, 1, 1, 5)
        kernels = kernels + column.conv.weight @ row.conv.weight
    dense = F.conv2d(x, kernels, padding=2, groups=2)
    ours = part.paths[0](x) + part.paths[1](x)
    # Behind the first of two convolutions zeros are padded anew: the border differs, no other place.
    assert torch.allclose(ours[..., 2:-2, 2:-2], dense[..., 2:-2, 2:-2], atol=1e-5)


def attend_slowly(part: AggregatedCooccurrence, x: torch.Tensor) -> torch.Tensor:
    """Every head, mixture and position on its own."""
    pooled = F.avg_pool2d(x, 3, 2, 1)
    queries, keys, values = part.compare(x), part.compare(pooled), part.value(pooled)
    heads = []
    for q, k, v in zip(*(t[0].flatten(1).chunk(part.num_heads) for t in (queries, keys, values))):
        shares = (part.share @ q.mean(1)).softmax(0) if part.share is not None else torch.ones(1)
        weight = 0
        for share, q_m, k_m in zip(shares, q.chunk(part.num_mix), k.chunk(part.num_mix)):
            weight = weight + share * (q_m.T @ k_m / len(q) ** 0.5).softmax(1)
        assert torch.allclose(weight.sum(1), torch.ones(len(weight)), atol=1e-6)
        heads.append((weight @ v.T).T)
    return part.norm(part.out(torch.cat(heads).view(1, -1, *x.shape[-2:]))) + x


@torch.no_grad()
@pytest.mark.parametrize(("heads", "mix"), [(1, 1), (4, 1), (2, 3)])
def test_mixtures_of_softmaxes_by_their_formula(heads, mix):
    part = AggregatedCooccurrence(8, heads, num_mix=mix).eval()
    x = rand(1, 8, 7, 5)
    assert torch.allclose(part(x), attend_slowly(part, x), atol=1e-5)


@torch.no_grad()
def test_rows_of_mixed_attention_sum_to_one():
    part = AggregatedCooccurrence(8, 2, num_mix=4).eval()
    queries, keys = rand(1, 2, 16, 6), rand(1, 2, 16, 3, seed=1)
    assert torch.allclose(part.attend(queries, keys, torch.ones(1, 2, 3, 4)), torch.ones(1, 2, 6, 4), atol=1e-6)


def test_published_sizes_of_co_occurrent_attention():
    sizes = [count(AggregatedCooccurrence(512, heads, num_mix=mix)) for heads, mix in ((8, 1), (8, 4), (1, 4))]
    assert sizes == [788_480, 1_577_472, 1_584_640]
    with pytest.raises(ValueError, match="must be a multiple of num_heads = 3"):
        AggregatedCooccurrence(8, 3)


@torch.no_grad()
def test_the_code_gates_channels_of_both_halves():
    head, x = CFHead((6,), 3, channels=8, num_heads=2, num_codes=4).eval(), rand(1, 6, 5, 7)
    nn.init.zeros_(head.gate.weight), nn.init.constant_(head.gate.bias, 50.0)
    reduced = head.reduce(x)
    both = torch.cat([head.cooccur(reduced), head.pool(reduced)], dim=1)
    assert torch.allclose(head([x])["embedding"], 2 * both.relu(), atol=1e-5)


@torch.no_grad()
def test_the_prior_slides_over_larger_images():
    model = build(
        "cpnet_r50",
        5,
        (
            "model.backbone.name='resnet18'",
            "model.backbone.pretrained=None",
            "model.head.channels=16",
            "model.head.grid=[8,8]",
        ),
    ).eval()
    image = torch.randint(0, 256, (1, 3, 64, 96), generator=torch.Generator().manual_seed(0)).float()
    predict = slide(whole(model), (64, 64), stride=(64, 32))
    left, right = (whole(model)(image[..., start : start + 64]) for start in (0, 32))
    ours = predict(image)
    assert torch.allclose(ours[..., :32], left[..., :32], atol=1e-5)
    assert torch.allclose(ours[..., 32:64], (left[..., 32:] + right[..., :32]) / 2, atol=1e-5)
